//! A number written in groups of six digits, five of the number and a check digit: the common form of
//! Installation and Confirmation IDs.

use crate::check_digit;

/// What is wrong with a text that should be groups of digits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The character at this place (from 0, separators not counted) is not a digit.
    NotADigit(usize, char),
    /// So many digits, where there should be six for each group.
    Length(usize),
    /// The group with this number (from 0) fails its check digit.
    Group(usize),
    /// Every group is sound, but the number is larger than the bytes that should hold it.
    TooLarge,
}

/// Writes a big-endian number in `GROUPS` groups joined by `-`.
///
/// The caller knows that the number is below 10^(5 × GROUPS).
pub(crate) fn write<const GROUPS: usize>(number: &[u8], out: &mut impl std::fmt::Write) -> std::fmt::Result {
    let mut rest = number.to_vec();
    let mut groups = [0u32; GROUPS];
    for group in groups.iter_mut().rev() {
        *group = divide(&mut rest, 100_000);
    }
    debug_assert!(rest.iter().all(|byte| *byte == 0), "the number does not fit its groups");
    for (index, group) in groups.iter().enumerate() {
        let separator = if index == 0 { "" } else { "-" };
        write!(out, "{separator}{group:05}{}", check_digit::damm(digits_of(*group)))?;
    }
    Ok(())
}

/// Reads what [`write`] wrote, however it is spaced, into a big-endian number of `BYTES` bytes.
pub(crate) fn read<const GROUPS: usize, const BYTES: usize>(text: &str) -> Result<[u8; BYTES], Mistake> {
    let mut digits = Vec::with_capacity(GROUPS * 6);
    let mut length = 0;
    for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        let digit = c.to_digit(10).ok_or(Mistake::NotADigit(length, c))?;
        // A decimal digit always fits; texts far too long are counted, not kept.
        length += 1;
        if length <= GROUPS * 6 {
            digits.push(u8::try_from(digit).unwrap_or_default());
        }
    }
    if length != GROUPS * 6 {
        return Err(Mistake::Length(length));
    }
    let mut number = [0u8; BYTES];
    for (index, group) in digits.chunks_exact(6).enumerate() {
        if !check_digit::is_sound(group.iter().copied()) {
            return Err(Mistake::Group(index));
        }
        let value = group[..5].iter().fold(0u32, |value, digit| value * 10 + u32::from(*digit));
        multiply_add(&mut number, 100_000, value).ok_or(Mistake::TooLarge)?;
    }
    Ok(number)
}

/// Finds out whether a text is one sound group; if not, says what is wrong with it, as in "has a typing error".
pub(crate) fn check_one(typed: &str) -> Result<(), String> {
    match read::<1, 3>(typed) {
        Ok(_) => Ok(()),
        Err(Mistake::Length(length)) => Err(format!("has {length} digits, not 6")),
        Err(Mistake::NotADigit(_, c)) => Err(format!("has {c:?} in it, which is not a digit")),
        Err(Mistake::Group(_) | Mistake::TooLarge) => Err("has a typing error".to_owned()),
    }
}

fn digits_of(group: u32) -> [u8; 5] {
    // Each is a remainder by ten.
    [10_000, 1_000, 100, 10, 1].map(|place| u8::try_from(group / place % 10).unwrap_or_default())
}

/// Divides a big-endian number in place and returns the remainder.
fn divide(number: &mut [u8], divisor: u32) -> u32 {
    let mut remainder = 0;
    for byte in number {
        let value = (remainder << 8) | u32::from(*byte);
        // The remainder is below the divisor, so the quotient is below 256.
        *byte = u8::try_from(value / divisor).unwrap_or(u8::MAX);
        remainder = value % divisor;
    }
    remainder
}

/// Multiplies a big-endian number in place and adds; `None` when it no longer fits.
fn multiply_add(number: &mut [u8], factor: u32, addend: u32) -> Option<()> {
    let mut carry = addend;
    for byte in number.iter_mut().rev() {
        let value = u32::from(*byte) * factor + carry;
        *byte = value.to_be_bytes()[3];
        carry = value >> 8;
    }
    (carry == 0).then_some(())
}
