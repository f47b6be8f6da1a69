//! The schedule: when a machine asks again.
//!
//! Machines that start together would otherwise ask together for ever, and a host that comes back after an
//! outage would meet them all at once. So each waits a random part of the second half of its interval: never
//! longer than the policy says, and after one renewal a fleet is spread over days.

use crate::policy::Policy;
use crate::{Interval, Timestamp};
use serde::{Deserialize, Serialize};

/// The last time a machine asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// Whether it was activated or renewed by it.
    pub activated: bool,
}

/// The intervals in force: the policy's or, where the host asks for more patience, the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Intervals {
    /// While not activated, and after a renewal that failed.
    pub activation: Interval,
    /// While activated.
    pub renewal: Interval,
}

impl Intervals {
    /// The policy's intervals, raised to the host's if it gave any. A host may raise them, up to the
    /// documented 30 days, and never so far that an activation would run out before it is renewed.
    pub fn new(policy: &Policy, by_host: Option<Intervals>) -> Self {
        let longest = Interval::days(30).min(policy.validity);
        let raised = |own: Interval, host: Option<Interval>| own.max(host.unwrap_or(own).min(longest));
        Self {
            activation: raised(policy.activation_interval, by_host.map(|intervals| intervals.activation)),
            renewal: raised(policy.renewal_interval, by_host.map(|intervals| intervals.renewal)),
        }
    }

    /// When to ask after this attempt. `draw` is a random number; it decides the part of the interval.
    pub fn next(&self, attempt: Attempt, draw: u32) -> Timestamp {
        let interval = if attempt.activated { self.renewal } else { self.activation };
        spread(interval, draw).after(attempt.at)
    }
}

/// From half the interval to the whole of it, evenly over all draws.
fn spread(interval: Interval, draw: u32) -> Interval {
    let half = u64::from(interval.as_seconds() / 2);
    let part = half * u64::from(draw) / u64::from(u32::MAX);
    // Both are at most half of a number of 32 bits.
    let shorter = u32::try_from(half - part).unwrap_or(0);
    Interval::seconds(interval.as_seconds() - shorter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn intervals() -> Intervals {
        Intervals::new(&Policy::default(), None)
    }

    /// Random numbers that are the same at every run (SplitMix64).
    fn draws() -> impl Iterator<Item = u32> {
        (1u64..).map(|index| {
            let mut z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            // The upper half of the number.
            ((z ^ (z >> 31)) >> 32) as u32
        })
    }

    #[test]
    fn a_success_is_followed_by_the_renewal_interval_and_a_failure_by_the_activation_interval() {
        let next = |activated, draw| intervals().next(Attempt { at: START, activated }, draw);
        assert_eq!(next(true, u32::MAX), Interval::days(7).after(START));
        assert_eq!(next(true, 0), Interval::hours(84).after(START));
        assert_eq!(next(false, u32::MAX), Interval::hours(2).after(START));
        assert_eq!(next(false, 0), Interval::hours(1).after(START));
    }

    #[test]
    fn a_host_may_raise_the_intervals_and_not_lower_them() {
        let policy = Policy::default();
        let by_host = |activation, renewal| Intervals::new(&policy, Some(Intervals { activation, renewal }));
        let raised = by_host(Interval::hours(6), Interval::days(14));
        assert_eq!((raised.activation, raised.renewal), (Interval::hours(6), Interval::days(14)));
        assert_eq!(by_host(Interval::minutes(1), Interval::minutes(1)), intervals());
        assert_eq!(by_host(Interval::days(90), Interval::days(90)).renewal, Interval::days(30));
    }

    /// Ten thousand machines activated in the same second: their renewals fill the second half of the week,
    /// and no minute has more than a few times its share.
    #[test]
    fn machines_that_start_together_do_not_renew_together() {
        let mut by_minute = std::collections::BTreeMap::<i64, u32>::new();
        for draw in draws().take(10_000) {
            let next = intervals().next(Attempt { at: START, activated: true }, draw);
            *by_minute.entry(next.as_second() / 60).or_default() += 1;
        }
        let (first, last) = (*by_minute.keys().next().unwrap(), *by_minute.keys().last().unwrap());
        assert!(first >= 84 * 60 && last <= 7 * 24 * 60, "{first} to {last}");
        assert!(last - first > 83 * 60, "the whole half of the interval is used");
        // 5,040 minutes for 10,000 machines: two each on average.
        assert!(by_minute.values().max().unwrap() <= &12);
    }

    /// A host is away for a day. Each machine asks on its own clock meanwhile; when the host is back, what
    /// arrives in any minute stays near the average of the hour.
    #[test]
    fn after_an_outage_machines_do_not_come_back_together() {
        let outage_ends = 24 * 60;
        let mut arrivals = std::collections::BTreeMap::<i64, u32>::new();
        let mut draw = draws();
        for _ in 0..10_000 {
            // The worst start: every machine fails in the same second, when the host goes away.
            let mut at = START;
            while at.as_second() / 60 < outage_ends {
                at = intervals().next(Attempt { at, activated: false }, draw.next().unwrap());
            }
            *arrivals.entry(at.as_second() / 60).or_default() += 1;
        }
        assert!(arrivals.keys().all(|minute| (outage_ends..outage_ends + 120).contains(minute)));
        // Ten thousand over at most two hours, more of them in the first: 83 a minute on average.
        let busiest = arrivals.values().max().unwrap();
        assert!(*busiest <= 200, "{busiest} in one minute");
    }

    proptest! {
        #[test]
        fn never_later_than_the_interval_nor_sooner_than_half(seconds: u32, draw: u32) {
            let spread = spread(Interval::seconds(seconds), draw).as_seconds();
            prop_assert!(spread <= seconds && spread >= seconds / 2);
        }
    }
}
