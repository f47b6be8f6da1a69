//! Product keys: 25 characters that people type, and what is derived from them.
//!
//! A key is five groups of five characters of an alphabet without look-alikes. The last five are the only
//! ones ever shown or logged, so they carry nothing of the secret: 22 bits of the serial, scattered so that
//! keys that follow one another look different. The twenty before them carry a checksum (18 bits), the secret
//! (50), the format version (3), the key group (12) and the rest of the serial (8).
//!
//! ```
//! use quorate_core::product_key::{KeyId, ProductKey};
//!
//! let key = ProductKey::new(KeyId::new(96, 4)?, *b"8 random");
//! let typed = key.reveal().to_lowercase().replace('-', " ");
//! assert_eq!(typed.parse::<ProductKey>()?.id().to_string(), "00096-000-000004");
//!
//! // A typing error is noticed without asking anybody, and no error shows what was typed.
//! let mistyped = format!("{}2", &key.reveal()[..28]);
//! let error = mistyped.parse::<ProductKey>().unwrap_err();
//! assert_eq!(error.code.as_str(), "Q101");
//! assert!(!error.to_string().contains(&mistyped[..5]));
//! # Ok::<(), quorate_core::Error>(())
//! ```
//!
//! The vendor does not keep keys, only a [`Verifier`] derived from the secret. Whoever holds the key can
//! derive the same verifier and so prove that he holds it (see [`crate::installation_id`]).

use crate::{Code, Error, Result};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A whole product key. It never prints itself; [`ProductKey::reveal`] is called once, when it is issued.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ProductKey {
    group: u16,
    serial: u32,
    secret: u64,
}

impl ProductKey {
    /// The key with this id and secret; the secret is cut to its 50 bits.
    pub fn new(id: KeyId, secret: [u8; 8]) -> Self {
        Self { group: id.group, serial: id.serial, secret: u64::from_be_bytes(secret) & SECRET.mask() as u64 }
    }

    /// The key group and serial.
    pub fn id(&self) -> KeyId {
        KeyId { group: self.group, serial: self.serial }
    }

    /// The last five characters: what status pages and logs show.
    pub fn partial(&self) -> PartialKey {
        PartialKey(self.reveal()[24..].to_owned())
    }

    /// The whole key as it is typed. Only the one who issues it calls this.
    pub fn reveal(&self) -> String {
        let mut characters = [0u8; LENGTH];
        write(&mut characters[..HEAD], self.head());
        write(&mut characters[HEAD..], scatter(self.group, self.serial & SERIAL_LOW).into());
        let groups: Vec<&str> =
            characters.chunks(5).map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
        groups.join("-")
    }

    /// What the vendor keeps of the key.
    ///
    /// Fifty bits of secret could be searched by someone who saw an Installation ID; the derivation is
    /// slowed so far that a vendor still issues a million keys in a minute.
    pub fn verifier(&self) -> Verifier {
        let mut salt = b"quorate verifier 1".to_vec();
        salt.extend(self.group.to_be_bytes());
        salt.extend(self.serial.to_be_bytes());
        let mut key = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            VERIFIER_ROUNDS,
            &salt,
            &self.secret.to_be_bytes(),
            &mut key,
        );
        Verifier(key)
    }

    /// What the first twenty characters carry.
    fn head(&self) -> u128 {
        let payload = SECRET.place(self.secret.into())
            | VERSION.place(1)
            | GROUP.place(self.group.into())
            | SERIAL_HIGH.place((self.serial >> SERIAL_LOW_BITS).into());
        CHECKSUM.place(checksum(payload, self.serial)) | payload
    }
}

impl FromStr for ProductKey {
    type Err = Error;

    /// Reads a key in any case, with or without the dashes. No error ever repeats the key.
    fn from_str(text: &str) -> Result<Self> {
        let (mut head, mut tail) = (0u128, 0u32);
        let mut count = 0usize;
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let digit = ALPHABET.iter().position(|known| char::from(*known) == c.to_ascii_uppercase());
            let Some(digit) = digit else {
                return Err(mistyped(format!(
                    "character {} of the product key, {c:?}, is not used in product keys",
                    count + 1
                )));
            };
            count += 1;
            // 24²⁰ is below 2⁹², and 24⁵ below 2²³.
            if count <= HEAD {
                head = head * 24 + digit as u128;
            } else if count <= LENGTH {
                tail = tail * 24 + digit as u32;
            }
        }
        if count != LENGTH {
            return Err(mistyped(format!("the product key has {count} characters, not {LENGTH}")));
        }
        let typing_error =
            || mistyped("the product key has a typing error: its checksum does not match".to_owned());
        if tail > SERIAL_LOW {
            return Err(typing_error());
        }
        let group = GROUP.of(head) as u16;
        let serial = (SERIAL_HIGH.of(head) as u32) << SERIAL_LOW_BITS | gather(group, tail);
        let payload = head & ((1 << CHECKSUM.low) - 1);
        if head >> CHECKSUM.low != checksum(payload, serial) {
            return Err(typing_error());
        }
        if VERSION.of(head) != 1 {
            return Err(Error::new(
                Code::ProductKeyInvalid,
                format!(
                    "the product key is of version {}, which this program does not know",
                    VERSION.of(head)
                ),
                "update Quorate on this machine",
            ));
        }
        if serial > KeyId::MAX_SERIAL {
            return Err(mistyped("the product key holds a serial that is never issued".to_owned()));
        }
        Ok(Self { group, serial, secret: SECRET.of(head) as u64 })
    }
}

impl fmt::Debug for ProductKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProductKey({}, …{})", self.id(), self.partial())
    }
}

/// Which key it is: group and serial. Not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId {
    group: u16,
    serial: u32,
}

impl KeyId {
    /// The highest key group: 12 bits.
    pub const MAX_GROUP: u16 = 4_095;
    /// The highest serial: nine digits, as an extended PID has room for.
    pub const MAX_SERIAL: u32 = 999_999_999;

    /// A key id, when both numbers are in their range.
    pub fn new(group: u16, serial: u32) -> Result<Self> {
        if group <= Self::MAX_GROUP && serial <= Self::MAX_SERIAL {
            Ok(Self { group, serial })
        } else {
            Err(Error::new(
                Code::IdentifierInvalid,
                format!("{group} and {serial} are not a key group and a serial"),
                format!("key groups go to {}, serials to {}", Self::MAX_GROUP, Self::MAX_SERIAL),
            ))
        }
    }

    /// The key group.
    pub fn group(self) -> u16 {
        self.group
    }

    /// The serial within the group.
    pub fn serial(self) -> u32 {
        self.serial
    }
}

/// As in an extended PID: group, then the serial as three and six digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}-{:03}-{:06}", self.group, self.serial / 1_000_000, self.serial % 1_000_000)
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = |part: &str, length: usize| {
            (part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse::<u32>().ok())
                .flatten()
        };
        let parts: Vec<&str> = text.split('-').collect();
        let numbers = match parts[..] {
            [group, high, low] => digits(group, 5).zip(digits(high, 3)).zip(digits(low, 6)),
            _ => None,
        };
        numbers
            .and_then(|((group, high), low)| {
                KeyId::new(u16::try_from(group).ok()?, high * 1_000_000 + low).ok()
            })
            .ok_or_else(|| {
                Error::new(
                    Code::IdentifierInvalid,
                    // Somebody may have typed the product key itself, so the text is not repeated.
                    "what was given is not a key id",
                    "write group and serial as in \"00096-000-000004\"; `key list` shows them",
                )
            })
    }
}

impl TryFrom<String> for KeyId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// The last five characters of a product key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartialKey(pub String);

impl fmt::Display for PartialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret derived from a product key, by which both sides can prove that they know the key.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Verifier([u8; 32]);

impl Verifier {
    /// A verifier read back from a store.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The verifier for keeping in a store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A message authentication code under this verifier; `purpose` keeps uses apart.
    pub fn tag(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(message);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// The whole of such a code as text: proof that the sender of `message` holds the product key.
    pub fn prove(&self, purpose: &str, message: &str) -> String {
        BASE64.encode(self.tag(purpose, message.as_bytes()))
    }

    /// Whether what a sender gave as [`Verifier::prove`] proves it.
    pub fn is_proven(&self, purpose: &str, message: &str, proof: &str) -> bool {
        let expected = self.tag(purpose, message.as_bytes());
        BASE64
            .decode(proof)
            .is_ok_and(|sent| aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &sent).is_ok())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

/// A typed text as an error shows it, where somebody may have typed a product key: what is as long as one is not repeated.
pub fn quoted_unless_a_key(text: &str) -> String {
    match text.chars().count() {
        length if length >= LENGTH => format!("one of {length} characters"),
        _ => format!("{text:?}"),
    }
}

/// A run of bits in the head.
struct Field {
    low: u32,
    width: u32,
}

impl Field {
    const fn mask(&self) -> u128 {
        (1 << self.width) - 1
    }

    const fn place(&self, value: u128) -> u128 {
        (value & self.mask()) << self.low
    }

    const fn of(&self, number: u128) -> u128 {
        (number >> self.low) & self.mask()
    }
}

/// Writes a number in the digits of the alphabet, as wide as there is room.
fn write(characters: &mut [u8], mut number: u128) {
    for character in characters.iter_mut().rev() {
        // The remainder is an index into the alphabet.
        *character = ALPHABET[(number % 24) as usize];
        number /= 24;
    }
}

/// Scatters the low bits of a serial over their range, each group from another place in it: there are fewer
/// endings than keys, but neighbours in neighbouring groups do not share theirs.
fn scatter(group: u16, serial_low: u32) -> u32 {
    (serial_low.wrapping_add(place(group))).wrapping_mul(SCATTER) & SERIAL_LOW
}

/// Undoes [`scatter`].
fn gather(group: u16, scattered: u32) -> u32 {
    scattered.wrapping_mul(GATHER).wrapping_sub(place(group)) & SERIAL_LOW
}

/// Groups begin 1,024 serials apart, mixed so that those with neighbouring numbers are far from one another.
fn place(group: u16) -> u32 {
    (u32::from(group).wrapping_mul(GROUP_STRIDE) & u32::from(KeyId::MAX_GROUP)) << 10
}

fn checksum(payload: u128, serial: u32) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"quorate product key 1");
    context.update(&payload.to_be_bytes());
    context.update(&serial.to_be_bytes());
    let digest = context.finish();
    let head = digest.as_ref()[..4].iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
    head & CHECKSUM.mask()
}

fn mistyped(what: String) -> Error {
    Error::new(Code::ProductKeyInvalid, what, "compare the key with its certificate and type it again")
}

const ALPHABET: &[u8; 24] = b"BCDFGHJKMPQRTVWXY2346789";
const LENGTH: usize = 25;
/// The characters before the last five.
const HEAD: usize = 20;
const CHECKSUM: Field = Field { low: 73, width: 18 };
const SECRET: Field = Field { low: 23, width: 50 };
const VERSION: Field = Field { low: 20, width: 3 };
const GROUP: Field = Field { low: 8, width: 12 };
const SERIAL_HIGH: Field = Field { low: 0, width: 8 };
const SERIAL_LOW_BITS: u32 = 22;
const SERIAL_LOW: u32 = (1 << SERIAL_LOW_BITS) - 1;
/// Odd, so that it has an inverse: multiplying by it is a permutation.
/// Odd, so that no two groups begin at the same place.
const GROUP_STRIDE: u32 = 1_597;
const SCATTER: u32 = 2_654_435_761;
/// Its inverse modulo 2³².
const GATHER: u32 = 244_002_641;
const VERIFIER_ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(383);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = ProductKey> {
        (0..=KeyId::MAX_GROUP, 0..=KeyId::MAX_SERIAL, any::<[u8; 8]>())
            .prop_map(|(group, serial, secret)| ProductKey::new(KeyId::new(group, serial).unwrap(), secret))
    }

    proptest! {
        #[test]
        fn round_trip(key in any_key()) {
            prop_assert_eq!(&key.reveal().parse::<ProductKey>().unwrap(), &key);
            prop_assert_eq!(&key.reveal().to_lowercase().replace('-', " ").parse::<ProductKey>().unwrap(), &key);
            prop_assert_eq!(key.id().to_string().parse::<KeyId>().unwrap(), key.id());
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<ProductKey>();
            let _ = text.parse::<KeyId>();
        }

        #[test]
        fn nothing_printed_shows_the_key(key in any_key()) {
            let whole = key.reveal();
            let printed = format!("{key:?} {} {:?}", key.partial(), key.verifier());
            prop_assert!(!printed.contains(&whole));
            prop_assert!(!printed.contains(&whole[..23]));
            prop_assert_eq!(key.partial().0, &whole[24..]);
        }
    }

    /// The last five characters may be seen by anybody: over many secrets of one key they are always the same.
    #[test]
    fn the_last_five_characters_say_nothing_of_the_secret() {
        let partials: std::collections::BTreeSet<String> = (0..1_000u64)
            .map(|secret| ProductKey::new(KeyId::new(96, 4).unwrap(), secret.to_be_bytes()).partial().0)
            .collect();
        assert_eq!(partials.len(), 1);
    }

    #[test]
    fn keys_that_follow_one_another_end_differently() {
        let partials: std::collections::BTreeSet<String> = (1..=10_000)
            .map(|serial| ProductKey::new(KeyId::new(96, serial).unwrap(), [7; 8]).partial().0)
            .collect();
        assert_eq!(partials.len(), 10_000);
        assert_eq!(SCATTER.wrapping_mul(GATHER), 1);
    }

    /// Every single-character typo and every swap of neighbours of many keys: at most one in 2¹⁶ may pass.
    /// With 18 bits of checksum the expected rate is one in 2¹⁸: about 3 of 720,000 typos pass, and twelve
    /// (one in 2¹⁶) would be far from it. The keys are fixed, so the test is too.
    #[test]
    fn typos_are_caught() {
        let (mut tried, mut passed) = (0u32, 0u32);
        for serial in 0..1_200u32 {
            let secret = digest::digest(&digest::SHA256, &serial.to_be_bytes());
            let secret: [u8; 8] = secret.as_ref()[..8].try_into().unwrap();
            let key = ProductKey::new(KeyId::new(96, serial).unwrap(), secret).reveal().replace('-', "");
            let mut attempt = |typo: &[u8]| {
                tried += 1;
                passed += u32::from(std::str::from_utf8(typo).unwrap().parse::<ProductKey>().is_ok());
            };
            for place in 0..LENGTH {
                for other in ALPHABET.iter().filter(|other| **other != key.as_bytes()[place]) {
                    let mut typo = key.clone().into_bytes();
                    typo[place] = *other;
                    attempt(&typo);
                }
                if place > 0 && key.as_bytes()[place] != key.as_bytes()[place - 1] {
                    let mut typo = key.clone().into_bytes();
                    typo.swap(place, place - 1);
                    attempt(&typo);
                }
            }
        }
        assert!(tried > 700_000);
        assert!(
            f64::from(passed) <= f64::from(tried) / f64::from(1 << 16),
            "{passed} of {tried} typos passed"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let key = ProductKey::new(KeyId::new(96, 4).unwrap(), [7; 8]).reveal();
        let what = |text: &str| text.parse::<ProductKey>().unwrap_err().what;
        assert_eq!(what(""), "the product key has 0 characters, not 25");
        assert_eq!(what(&key[..20]), "the product key has 17 characters, not 25");
        assert_eq!(what(&format!("{key}B")), "the product key has 26 characters, not 25");
        let with_zero = format!("0{}", &key[1..]);
        assert_eq!(what(&with_zero), "character 1 of the product key, '0', is not used in product keys");
        let first = if key.starts_with('B') { 'C' } else { 'B' };
        let typo = format!("{first}{}", &key[1..]);
        assert_eq!(what(&typo), "the product key has a typing error: its checksum does not match");
    }
}
