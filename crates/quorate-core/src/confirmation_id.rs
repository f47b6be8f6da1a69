//! Confirmation IDs: 48 digits that the phone desk reads back and a person types.
//!
//! Eight groups, called A to H, of five digits and a Damm check digit: 132 bits, of which four are the
//! format version and 128 the secret of one slot of the license pack. The secret is masked with a key
//! derived from the product key's verifier and the Installation ID, so a Confirmation ID works for that
//! one Installation ID alone, and overheard digits are worth nothing without the product key.

use crate::digit_groups::{self, Mistake};
use crate::installation_id::InstallationId;
use crate::license_pack::SlotSecret;
use crate::product_key::Verifier;
use crate::{Code, Error, Result};
use std::fmt;
use std::str::FromStr;

/// A slot secret, masked for one Installation ID.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfirmationId {
    masked: [u8; 16],
}

impl ConfirmationId {
    /// The Confirmation ID that reveals `secret` to the machine that showed `installation_id`.
    pub fn conceal(secret: &SlotSecret, installation_id: &InstallationId, verifier: &Verifier) -> Self {
        Self { masked: xor(secret.as_bytes(), &mask(installation_id, verifier)) }
    }

    /// The letters of the groups.
    pub const LETTERS: [char; GROUPS] = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'];

    /// Finds out whether six digits can be the group with this letter, before the rest is typed.
    pub fn check_group(letter: char, typed: &str) -> Result<()> {
        digit_groups::check_one(typed).map_err(|mistake| {
            let what = format!("group {letter} of the Confirmation ID {mistake}");
            Error::new(Code::ConfirmationIdInvalid, what, "have this group read to you again")
        })
    }

    /// The secret that this ID reveals on the machine that showed `installation_id`. For any other
    /// Installation ID the result opens no slot.
    pub fn reveal(&self, installation_id: &InstallationId, verifier: &Verifier) -> SlotSecret {
        SlotSecret::from_bytes(xor(&self.masked, &mask(installation_id, verifier)))
    }
}

/// Eight groups joined by `-`.
impl fmt::Display for ConfirmationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = [0; BYTES];
        number[0] = VERSION;
        number[1..].copy_from_slice(&self.masked);
        digit_groups::write::<GROUPS>(&number, f)
    }
}

/// A Confirmation ID opens a credential, so `Debug` does not show it.
impl fmt::Debug for ConfirmationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfirmationId(…)")
    }
}

impl FromStr for ConfirmationId {
    type Err = Error;

    /// Reads 48 digits, however spaced; names the first group that is wrong by its letter.
    fn from_str(text: &str) -> Result<Self> {
        let number = digit_groups::read::<GROUPS, BYTES>(text).map_err(|mistake| mistyped(&mistake))?;
        let [version, masked @ ..] = number;
        if version != VERSION {
            return Err(Error::new(
                Code::ConfirmationIdInvalid,
                format!("the Confirmation ID is of version {version}, which this program does not know"),
                "have the ID read to you again; if it is the same, update Quorate on this machine",
            ));
        }
        Ok(Self { masked })
    }
}

fn mask(installation_id: &InstallationId, verifier: &Verifier) -> [u8; 16] {
    let tag = verifier.tag("confirmation id", installation_id.digits().as_bytes());
    let mut mask = [0; 16];
    mask.copy_from_slice(&tag[..16]);
    mask
}

fn xor(left: &[u8; 16], right: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|index| left[index] ^ right[index])
}

fn mistyped(mistake: &Mistake) -> Error {
    let what = match mistake {
        Mistake::NotADigit(place, c) => {
            format!("character {} of the Confirmation ID, {c:?}, is not a digit", place + 1)
        }
        Mistake::Length(length) => format!("the Confirmation ID has {length} digits, not {}", GROUPS * 6),
        Mistake::Group(index) => {
            format!(
                "group {} of the Confirmation ID has a typing error",
                ConfirmationId::LETTERS[*index % GROUPS]
            )
        }
        Mistake::TooLarge => "no phone desk gives this Confirmation ID".to_owned(),
    };
    Error::new(Code::ConfirmationIdInvalid, what, "type the ID again, eight groups of six digits")
}

const VERSION: u8 = 1;
const GROUPS: usize = 8;
const BYTES: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::ShortHardwareId;
    use crate::product_key::{KeyId, ProductKey};
    use proptest::prelude::*;

    fn machine(nonce: u16) -> (InstallationId, Verifier) {
        let key = KeyId::new(96, 4).unwrap();
        let verifier = ProductKey::new(key, [3; 8]).verifier();
        (InstallationId::new(key, &verifier, ShortHardwareId([1; 6]), nonce), verifier)
    }

    proptest! {
        #[test]
        fn round_trip(secret: [u8; 16], nonce: u16) {
            let (iid, verifier) = machine(nonce);
            let cid = ConfirmationId::conceal(&SlotSecret::from_bytes(secret), &iid, &verifier);
            let typed: ConfirmationId = cid.to_string().parse().unwrap();
            prop_assert_eq!(*typed.reveal(&iid, &verifier).as_bytes(), secret);
        }

        #[test]
        fn it_works_for_its_installation_id_alone(secret: [u8; 16], nonce: u16, other: u16) {
            prop_assume!(nonce != other);
            let (iid, verifier) = machine(nonce);
            let cid = ConfirmationId::conceal(&SlotSecret::from_bytes(secret), &iid, &verifier);
            prop_assert_ne!(*cid.reveal(&machine(other).0, &verifier).as_bytes(), secret);
        }

        #[test]
        fn every_typo_in_a_group_is_caught(secret: [u8; 16]) {
            let (iid, verifier) = machine(1);
            let cid = ConfirmationId::conceal(&SlotSecret::from_bytes(secret), &iid, &verifier);
            let digits = cid.to_string().replace('-', "");
            // Groups have letters here: translate them to the numbers that the shared test expects.
            crate::installation_id::tests::typos_are_named(&digits, |text| {
                text.parse::<ConfirmationId>().map(drop).map_err(|error| {
                    let letter = error.what.as_bytes()["group ".len()];
                    error.what.replacen(char::from(letter), &(letter - b'A' + 1).to_string(), 1)
                })
            }, "Confirmation ID");
        }

        #[test]
        fn each_group_is_checked_by_itself(secret: [u8; 16]) {
            let (iid, verifier) = machine(1);
            let cid = ConfirmationId::conceal(&SlotSecret::from_bytes(secret), &iid, &verifier).to_string();
            for (letter, group) in ConfirmationId::LETTERS.into_iter().zip(cid.split('-')) {
                prop_assert_eq!(ConfirmationId::check_group(letter, group), Ok(()));
                let last = if group.ends_with('9') { "0" } else { "9" };
                let error = ConfirmationId::check_group(letter, &format!("{}{last}", &group[..5])).unwrap_err();
                prop_assert_eq!(error.what, format!("group {letter} of the Confirmation ID has a typing error"));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9 -]{40,60}|.*") {
            let _ = text.parse::<ConfirmationId>();
        }
    }
}
