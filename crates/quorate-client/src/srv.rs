//! SRV records: in which order hosts are tried (RFC 2782).
//!
//! Lowest priority first; among equals a random draw by weight, so that hosts share the load as their
//! administrator has said.

use crate::host_address::HostAddress;

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Drawn more often among equals.
    pub weight: u16,
    /// The host.
    pub host: HostAddress,
}

/// Puts records in the order in which to try them. `draw(last)` gives a random number from 0 to `last`, both
/// included.
///
/// RFC 2782 draws from 0 to the sum of the weights and takes the first record whose running sum reaches that.
/// The 0 is there for records without weight, which stand first; where all have one it would be a share too
/// many for whichever stands first, and is not drawn.
pub fn in_order(mut records: Vec<Srv>, draw: &mut impl FnMut(u32) -> u32) -> Vec<HostAddress> {
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::new();
    while let Some(first) = records.first() {
        let equals: Vec<u32> = records
            .iter()
            .take_while(|record| record.priority == first.priority)
            .map(|record| u32::from(record.weight))
            .collect();
        ordered.push(records.remove(drawn(&equals, draw)).host);
    }
    ordered
}

/// Which of these weights is drawn; they are sorted, and there is at least one.
fn drawn(weights: &[u32], draw: &mut impl FnMut(u32) -> u32) -> usize {
    let total: u32 = weights.iter().sum();
    let weightless = weights.iter().take_while(|weight| **weight == 0).count();
    let mark = match (weightless, total) {
        // Weight 0 everywhere is the usual case.
        (_, 0) => 0,
        (0, _) => 1 + draw(total - 1),
        (_, _) => draw(total),
    };
    if mark == 0 {
        // Each record without weight has the same chance, whatever order the server gave them in.
        let last = u32::try_from(weightless).unwrap_or(u32::MAX).saturating_sub(1);
        return usize::try_from(draw(last)).unwrap_or(0);
    }
    let mut running = 0;
    let reached = weights.iter().position(|weight| {
        running += weight;
        running >= mark
    });
    reached.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_edge::random;

    fn record(priority: u16, weight: u16, name: &str) -> Srv {
        Srv { priority, weight, host: HostAddress { name: name.to_owned(), port: 1688 } }
    }

    fn names(records: &[Srv], draw: u32) -> Vec<String> {
        in_order(records.to_vec(), &mut |last| draw.min(last)).into_iter().map(|host| host.name).collect()
    }

    #[test]
    fn lower_priorities_go_first_and_weights_are_drawn() {
        let records = [record(10, 0, "last"), record(0, 1, "light"), record(0, 3, "heavy")];
        assert_eq!(names(&records, 0), ["light", "heavy", "last"]);
        for draw in 1..=3 {
            assert_eq!(names(&records, draw), ["heavy", "light", "last"]);
        }
        assert_eq!(names(&[], 0), [""; 0]);
    }

    #[test]
    fn without_weights_each_host_has_the_same_chance() {
        let records = [record(0, 0, "a"), record(0, 0, "b"), record(0, 0, "c")];
        let firsts: Vec<String> = (0..3).map(|draw| names(&records, draw).remove(0)).collect();
        assert_eq!(firsts, ["a", "b", "c"]);
    }

    /// Over every number that can be drawn, exactly.
    #[test]
    fn weights_have_their_share() {
        let records = [record(0, 10, "light"), record(0, 30, "heavy")];
        let heavy_first = (0..40).filter(|draw| names(&records, *draw)[0] == "heavy").count();
        assert_eq!(heavy_first, 30);
    }

    #[test]
    fn the_greatest_weights_do_not_overflow() {
        let records = vec![record(0, u16::MAX, "a"); 1000];
        assert_eq!(names(&records, u32::MAX).len(), 1000);
    }

    /// Many draws through the same mapping that the program uses, from a fixed sequence instead of the system's
    /// random bytes. The bound is the chi-square value that chance exceeds once in a million.
    #[test]
    fn many_draws_follow_the_weights() {
        // Weights, and the chance of each to come first.
        let cases: [(&[u16], &[f64]); 6] = [
            (&[1, 1], &[1. / 2., 1. / 2.]),
            (&[0, 0, 0], &[1. / 3., 1. / 3., 1. / 3.]),
            (&[10, 30, 60], &[0.1, 0.3, 0.6]),
            // A host without weight beside others has the "very small chance" of RFC 2782: one in the sum + 1.
            (&[0, 9], &[0.1, 0.9]),
            (&[0, 0, 18], &[0.5 / 19., 0.5 / 19., 18. / 19.]),
            (&[7, 0, 3, 1], &[7. / 12., 1. / 12., 3. / 12., 1. / 12.]),
        ];
        for (weights, chances) in cases {
            let records: Vec<Srv> =
                weights.iter().enumerate().map(|(i, weight)| record(0, *weight, &format!("h{i}"))).collect();
            let mut sequence = Sequence(2782);
            let mut counts = vec![0.; weights.len()];
            for _ in 0..DRAWS {
                let order =
                    in_order(records.clone(), &mut |last| random::up_to_from(last, || sequence.next()));
                assert_eq!(order.len(), weights.len());
                let first: usize = order[0].name[1..].parse().unwrap();
                counts[first] += 1.;
            }
            let chi_square: f64 = counts
                .iter()
                .zip(chances)
                .map(|(count, chance)| {
                    (count - f64::from(DRAWS) * chance).powi(2) / (f64::from(DRAWS) * chance)
                })
                .sum();
            let bound = ONCE_IN_A_MILLION[weights.len() - 2];
            assert!(chi_square < bound, "{weights:?}: {counts:?}, {chi_square} is not below {bound}");
        }
    }

    /// The second is drawn by weight too, from those that are left.
    #[test]
    fn many_draws_follow_the_weights_in_the_second_place() {
        let records = [record(0, 1, "h0"), record(0, 1, "h1"), record(0, 2, "h2")];
        let mut sequence = Sequence(1688);
        let mut counts = [0.; 3];
        for _ in 0..DRAWS {
            let order = in_order(records.to_vec(), &mut |last| random::up_to_from(last, || sequence.next()));
            counts[order[1].name[1..].parse::<usize>().unwrap()] += 1.;
        }
        // h0 second: h1 first (1/4), then 1 of 3; or h2 first (1/2), then 1 of 2. The same for h1.
        let chances = [1. / 12. + 1. / 4., 1. / 12. + 1. / 4., 1. / 3.];
        let chi_square: f64 = counts
            .iter()
            .zip(chances)
            .map(|(count, chance)| (count - f64::from(DRAWS) * chance).powi(2) / (f64::from(DRAWS) * chance))
            .sum();
        assert!(chi_square < ONCE_IN_A_MILLION[1], "{counts:?}, {chi_square}");
    }

    /// SplitMix64: a sequence with no visible pattern, the same in every run.
    struct Sequence(u64);

    impl Sequence {
        fn next(&mut self) -> u32 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()
        }
    }

    const DRAWS: u32 = 50_000;
    /// For two, three and four possible outcomes.
    const ONCE_IN_A_MILLION: [f64; 3] = [23.93, 27.63, 30.66];
}
