//! The identifiers that are GUIDs or plain names: vendor, application, activation id (SKU), CMID.
//!
//! Each is a type of its own, so that an application id is never taken for a SKU. A CMID is a random
//! UUID that stands for one client machine; it says nothing about the machine itself.

use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
pub use uuid::Uuid;

macro_rules! guid {
    ($(#[doc = $doc:literal])+ $name:ident, $called:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                // `Uuid` also reads braces, URNs and plain hexadecimal, which nobody here writes.
                Uuid::try_parse(text).ok().filter(|_| text.len() == 36).map(Self).ok_or_else(|| {
                    Error::new(
                        Code::IdentifierInvalid,
                        format!("{} is not {}", quoted(text), $called),
                        "write it as 8-4-4-4-12 hexadecimal digits, as in \
                         \"f81d4fae-7dec-41d0-a765-00a0c91e6bf6\"",
                    )
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

guid! {
    /// One application of a vendor: machines are counted per application.
    ApplicationId, "an application id"
}
guid! {
    /// One SKU (edition and channel) of an application; administrators call it the activation id.
    ActivationId, "an activation id"
}
guid! {
    /// One client machine: a random (version 4) UUID, made again when the hardware no longer matches.
    Cmid, "a client machine id (CMID)"
}

/// The short name of a vendor, as it stands in certificates: a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VendorId(String);

impl VendorId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VendorId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let sound = (1..=63).contains(&text.len())
            && text.chars().all(label)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if sound {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(
                Code::IdentifierInvalid,
                format!("{} is not a vendor id", quoted(text)),
                "use 1 to 63 of a-z, 0-9 and \"-\", not at the ends, as in \"contoso\"",
            ))
        }
    }
}

impl TryFrom<String> for VendorId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<VendorId> for String {
    fn from(id: VendorId) -> Self {
        id.0
    }
}

impl fmt::Display for VendorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A typed text as an error shows it: quoted, without control characters, cut to a readable length.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        format!("{text:?}")
    } else {
        let head: String = text.chars().take(SHOWN).collect();
        format!("{head:?}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_usual_form_of_a_guid_is_read() {
        let text = "bfe7a195-4f8f-4f0b-a622-cf13c7d16864";
        assert_eq!(text.parse::<ActivationId>().unwrap().to_string(), text);
        for wrong in
            ["", "bfe7a195", "{bfe7a195-4f8f-4f0b-a622-cf13c7d16864}", "bfe7a1954f8f4f0ba622cf13c7d16864"]
        {
            let error = wrong.parse::<Cmid>().unwrap_err();
            assert_eq!(error.code, Code::IdentifierInvalid);
            assert_eq!(error.what, format!("{wrong:?} is not a client machine id (CMID)"));
        }
    }

    #[test]
    fn a_vendor_id_is_a_dns_label() {
        assert!("contoso-2".parse::<VendorId>().is_ok());
        for wrong in ["", "Contoso", "con.toso", "-a", "a-", &"a".repeat(64)] {
            assert!(wrong.parse::<VendorId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 16]) {
            let cmid = Cmid(Uuid::from_bytes(bytes));
            prop_assert_eq!(cmid.to_string().parse::<Cmid>().unwrap(), cmid);
            prop_assert_eq!(cmid.to_string().to_uppercase().parse::<Cmid>().unwrap(), cmid);
            prop_assert_eq!(cmid.0.into_bytes(), bytes);
        }

        #[test]
        fn a_cmid_of_another_length_is_refused(bytes: [u8; 16], length in 0..80usize) {
            prop_assume!(length != 36);
            let uuid = Uuid::from_bytes(bytes);
            let text: String = uuid.to_string().chars().cycle().take(length).collect();
            // Other programs write UUIDs in these forms.
            for text in [text, uuid.simple().to_string(), uuid.braced().to_string(), uuid.urn().to_string()] {
                prop_assert_eq!(text.parse::<Cmid>().unwrap_err().code, Code::IdentifierInvalid);
            }
        }

        #[test]
        fn a_single_character_that_does_not_belong_is_refused(
            bytes: [u8; 16], place in 0..36usize, other: char,
        ) {
            prop_assume!(match place {
                8 | 13 | 18 | 23 => other != '-',
                _ => !other.is_ascii_hexdigit(),
            });
            let text = Uuid::from_bytes(bytes).to_string();
            let text: String =
                text.chars().enumerate().map(|(at, c)| if at == place { other } else { c }).collect();
            prop_assert_eq!(text.parse::<Cmid>().unwrap_err().code, Code::IdentifierInvalid);
        }

        #[test]
        fn no_text_panics(text in ".*|[0-9a-fA-F-]{36}") {
            let _ = text.parse::<Cmid>();
        }
    }
}
