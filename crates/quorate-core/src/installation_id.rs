//! Installation IDs: 54 digits that a machine shows and a person reads to the vendor's phone desk.
//!
//! Nine groups of six digits, each group five digits and a Damm check digit. Together they carry 149 bits:
//! version (3), key group (12), serial (30), hardware id (48), nonce (16) and a 40-bit authentication code
//! under the product key's verifier. So the caller proves that he holds the key without reading it aloud,
//! and the desk knows which machine asks.

use crate::digit_groups::{self, Mistake};
use crate::hardware::ShortHardwareId;
use crate::product_key::{KeyId, Verifier};
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One machine's request, for one product key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstallationId {
    key: KeyId,
    hardware: ShortHardwareId,
    nonce: u16,
    tag: [u8; TAG_BYTES],
}

impl InstallationId {
    /// The Installation ID of this machine for the key behind `verifier`. A fresh `nonce` makes a fresh ID,
    /// for which the phone desk gives a fresh Confirmation ID.
    pub fn new(key: KeyId, verifier: &Verifier, hardware: ShortHardwareId, nonce: u16) -> Self {
        let mut id = Self { key, hardware, nonce, tag: [0; TAG_BYTES] };
        id.tag = id.expected_tag(verifier);
        id
    }

    /// How many groups of six digits it has.
    pub const GROUPS: usize = GROUPS;

    /// Finds out whether six digits can be the group of this number, from 1, before the rest is read.
    pub fn check_group(number: usize, typed: &str) -> Result<()> {
        digit_groups::check_one(typed).map_err(|mistake| {
            let what = format!("group {number} of the Installation ID {mistake}");
            Error::new(Code::InstallationIdInvalid, what, "read this group again from the machine")
        })
    }

    /// The product key for which activation is asked.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The machine that asks.
    pub fn hardware(&self) -> ShortHardwareId {
        self.hardware
    }

    /// Confirms that whoever made this ID held the product key.
    pub fn verify(&self, verifier: &Verifier) -> Result<()> {
        let expected = self.expected_tag(verifier);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &self.tag).map_err(|_| {
            Error::new(
                Code::InstallationIdInvalid,
                format!("the Installation ID was not made with product key {}", self.key),
                "read the ID again from the machine, after installing the right key there",
            )
        })
    }

    /// Every digit, without separators: what other values are bound to.
    pub fn digits(&self) -> String {
        self.to_string().replace('-', "")
    }

    fn expected_tag(&self, verifier: &Verifier) -> [u8; TAG_BYTES] {
        let tag = verifier.tag("installation id", &self.authenticated());
        let [a, b, c, d, e, ..] = tag;
        [a, b, c, d, e]
    }

    /// Everything but the tag, at whole bytes.
    fn authenticated(&self) -> [u8; 14] {
        let mut bytes = [0; 14];
        bytes[..6].copy_from_slice(&self.head().to_be_bytes()[2..]);
        bytes[6..12].copy_from_slice(&self.hardware.0);
        bytes[12..].copy_from_slice(&self.nonce.to_be_bytes());
        bytes
    }

    /// Version, key group and serial: 45 bits.
    fn head(&self) -> u64 {
        VERSION << 42 | u64::from(self.key.group()) << 30 | u64::from(self.key.serial())
    }
}

/// Nine groups joined by `-`.
impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = [0; BYTES];
        number[..14].copy_from_slice(&self.authenticated());
        number[14..].copy_from_slice(&self.tag);
        digit_groups::write::<GROUPS>(&number, f)
    }
}

impl FromStr for InstallationId {
    type Err = Error;

    /// Reads 54 digits, however spaced; names the first group that is wrong.
    fn from_str(text: &str) -> Result<Self> {
        let number = digit_groups::read::<GROUPS, BYTES>(text).map_err(|mistake| mistyped(&mistake))?;
        let mut head = [0; 8];
        head[2..].copy_from_slice(&number[..6]);
        let head = u64::from_be_bytes(head);
        if head >> 42 != VERSION {
            return Err(Error::new(
                Code::InstallationIdInvalid,
                "no machine shows this Installation ID: its first groups may have been mixed up",
                "read the ID again from the machine, nine groups of six digits, in their order",
            ));
        }
        // Twelve and thirty bits.
        let (group, serial) = ((head >> 30 & 0xFFF) as u16, (head & 0x3FFF_FFFF) as u32);
        let key = KeyId::new(group, serial).map_err(|_| mistyped(&Mistake::TooLarge))?;
        let mut hardware = [0; 6];
        hardware.copy_from_slice(&number[6..12]);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&number[14..]);
        Ok(Self {
            key,
            hardware: ShortHardwareId(hardware),
            nonce: u16::from_be_bytes([number[12], number[13]]),
            tag,
        })
    }
}

impl TryFrom<String> for InstallationId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<InstallationId> for String {
    fn from(id: InstallationId) -> Self {
        id.to_string()
    }
}

fn mistyped(mistake: &Mistake) -> Error {
    let what = match mistake {
        Mistake::NotADigit(place, c) => {
            format!("character {} of the Installation ID, {c:?}, is not a digit", place + 1)
        }
        Mistake::Length(length) => format!("the Installation ID has {length} digits, not {}", GROUPS * 6),
        Mistake::Group(index) => format!("group {} of the Installation ID has a typing error", index + 1),
        Mistake::TooLarge => "no machine shows this Installation ID".to_owned(),
    };
    Error::new(
        Code::InstallationIdInvalid,
        what,
        "read the ID again from the machine, nine groups of six digits",
    )
}

const VERSION: u64 = 1;
const GROUPS: usize = 9;
const BYTES: usize = 19;
const TAG_BYTES: usize = 5;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::product_key::ProductKey;
    use proptest::prelude::*;

    fn any_id() -> impl Strategy<Value = (InstallationId, Verifier)> {
        (0..=KeyId::MAX_GROUP, 0..=KeyId::MAX_SERIAL, any::<[u8; 8]>(), any::<[u8; 6]>(), any::<u16>())
            .prop_map(|(group, serial, secret, hardware, nonce)| {
                let key = KeyId::new(group, serial).unwrap();
                let verifier = ProductKey::new(key, secret).verifier();
                (InstallationId::new(key, &verifier, ShortHardwareId(hardware), nonce), verifier)
            })
    }

    proptest! {
        #[test]
        fn round_trip((id, verifier) in any_id()) {
            let text = id.to_string();
            prop_assert_eq!(text.len(), 54 + 8);
            let read: InstallationId = text.replace('-', " ").parse().unwrap();
            prop_assert_eq!(read, id);
            prop_assert!(read.verify(&verifier).is_ok());
        }

        #[test]
        fn every_typo_in_a_group_is_caught_and_named((id, _) in any_id()) {
            typos_are_named(&id.digits(), |text| {
                text.parse::<InstallationId>().map(drop).map_err(|error| error.what)
            }, "Installation ID");
        }

        #[test]
        fn each_group_is_checked_by_itself((id, _) in any_id()) {
            for (number, group) in (1..=InstallationId::GROUPS).zip(id.to_string().split('-')) {
                prop_assert_eq!(InstallationId::check_group(number, group), Ok(()));
                let last = if group.ends_with('9') { "0" } else { "9" };
                let error = InstallationId::check_group(number, &format!("{}{last}", &group[..5])).unwrap_err();
                let what = format!("group {number} of the Installation ID has a typing error");
                prop_assert_eq!(error.what, what);
            }
        }

        #[test]
        fn another_key_cannot_have_made_it((id, _) in any_id(), secret: [u8; 8]) {
            let other = ProductKey::new(id.key(), secret).verifier();
            prop_assert_eq!(id.verify(&other).unwrap_err().code, Code::InstallationIdInvalid);
        }

        #[test]
        fn no_text_panics(text in "[0-9 -]{40,70}|.*") {
            let _ = text.parse::<InstallationId>();
        }
    }

    /// Shared with Confirmation IDs: each wrong digit and each swap of neighbours inside a group.
    pub(crate) fn typos_are_named(
        digits: &str,
        parse: impl Fn(&str) -> std::result::Result<(), String>,
        called: &str,
    ) {
        let expect = |typo: Vec<u8>, place: usize| {
            let typo = String::from_utf8(typo).unwrap();
            let expected = format!("group {} of the {called} has a typing error", place / 6 + 1);
            assert_eq!(parse(&typo), Err(expected), "{digits} typed as {typo}");
        };
        for place in 0..digits.len() {
            for digit in b'0'..=b'9' {
                if digit != digits.as_bytes()[place] {
                    let mut typo = digits.as_bytes().to_vec();
                    typo[place] = digit;
                    expect(typo, place);
                }
            }
            if place % 6 > 0 && digits.as_bytes()[place] != digits.as_bytes()[place - 1] {
                let mut typo = digits.as_bytes().to_vec();
                typo.swap(place, place - 1);
                expect(typo, place);
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let what = |text: &str| text.parse::<InstallationId>().unwrap_err().what;
        assert_eq!(what("12345"), "the Installation ID has 5 digits, not 54");
        assert_eq!(what("12x"), "character 3 of the Installation ID, 'x', is not a digit");
        assert_eq!(
            what(&"0".repeat(54)),
            "no machine shows this Installation ID: its first groups may have been mixed up"
        );
    }
}
