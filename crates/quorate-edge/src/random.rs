//! Random bytes from the system, for keys, nonces and CMIDs.

use quorate_core::activation::Nonce;
use quorate_core::identifier::Cmid;

/// `N` random bytes.
///
/// # Panics
///
/// When the operating system has no randomness to give. Nothing safe could be done without it, and no
/// supported system ever refuses.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random number from 0 to `last`, both included, each with the same chance.
pub fn up_to(last: u32) -> u32 {
    up_to_from(last, || u32::from_be_bytes(bytes()))
}

/// The same from a source of 32 random bits. What lies past the last whole multiple of the choices is drawn
/// again: a remainder alone would favour the low numbers.
pub fn up_to_from(last: u32, mut bits: impl FnMut() -> u32) -> u32 {
    let Some(choices) = last.checked_add(1) else { return bits() };
    let excess = (u32::MAX % choices + 1) % choices;
    loop {
        let drawn = bits();
        if drawn <= u32::MAX - excess {
            return drawn % choices;
        }
    }
}

/// A new client machine id: a UUID of version 4.
pub fn cmid() -> Cmid {
    Cmid(uuid::Builder::from_random_bytes(bytes()).into_uuid())
}

/// A nonce for one request.
pub fn nonce() -> Nonce {
    Nonce(u128::from_be_bytes(bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_cmid_is_a_random_uuid_of_its_own() {
        let cmids: HashSet<Cmid> = (0..1000).map(|_| cmid()).collect();
        assert_eq!(cmids.len(), 1000);
        for cmid in cmids {
            assert_eq!(cmid.0.get_version_num(), 4, "{cmid}");
            assert_eq!(cmid.0.get_variant(), uuid::Variant::RFC4122, "{cmid}");
        }
    }

    #[test]
    fn a_number_that_would_favour_some_is_drawn_again() {
        // 2^32 is a multiple of 3 and 1 more: the last number is one too many.
        let mut bits = [u32::MAX, 7].into_iter();
        assert_eq!(up_to_from(2, || bits.next().unwrap()), 1);
        assert_eq!(up_to_from(2, || u32::MAX - 1), 2);
        // A power of two divides it.
        assert_eq!(up_to_from(3, || u32::MAX), 3);
        assert_eq!(up_to_from(0, || u32::MAX), 0);
        assert_eq!(up_to_from(u32::MAX, || u32::MAX), u32::MAX);
        // Here nearly half is drawn again.
        let mut bits = [(1 << 31) + 1, u32::MAX, 1 << 31].into_iter();
        assert_eq!(up_to_from(1 << 31, || bits.next().unwrap()), 1 << 31);
    }

    #[test]
    fn the_systems_numbers_stay_within() {
        assert!((0..1000).all(|_| up_to(2) <= 2));
    }
}
