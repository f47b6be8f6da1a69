//! The Damm check digit: one decimal digit that catches every wrong digit and every swapped pair.
//!
//! From H. Michael Damm, *Total anti-symmetrische Quasigruppen* (2004). People read Installation and
//! Confirmation IDs over the telephone in groups of six; with this digit in each group, the group that
//! was misheard is known at once.

/// The check digit for a run of decimal digits (each 0 to 9).
pub fn damm(digits: impl IntoIterator<Item = u8>) -> u8 {
    digits.into_iter().fold(0, |interim, digit| QUASIGROUP[usize::from(interim)][usize::from(digit % 10)])
}

/// Whether a run of digits that ends with its check digit is sound.
pub fn is_sound(digits: impl IntoIterator<Item = u8>) -> bool {
    // The diagonal of the quasigroup is zero, so a right check digit leads back to zero.
    damm(digits) == 0
}

/// The weakly totally anti-symmetric quasigroup of order ten given by Damm.
const QUASIGROUP: [[u8; 10]; 10] = [
    [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
    [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
    [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
    [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
    [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
    [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
    [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
    [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
    [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
    [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example() {
        assert_eq!(damm([5, 7, 2]), 4);
        assert!(is_sound([5, 7, 2, 4]));
    }
}
