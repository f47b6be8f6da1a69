//! The hardware id: which machine this is, without saying what the machine is.
//!
//! The edges read what identifies a machine (machine id, board, processor); here the readings become one
//! SHA-256, so that neither the host nor the vendor ever learns a serial number or a MAC address.
//! Installation IDs have room for its first 48 bits.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::{Code, Error, Result};

/// A hash over the readings that identify one machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HardwareId([u8; 32]);

impl HardwareId {
    /// The hardware id of a machine with these readings, each a name and a value, in any order.
    pub fn from_readings<'a>(readings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut readings: Vec<_> = readings.into_iter().collect();
        readings.sort_unstable();
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"quorate hardware 1");
        for (name, value) in readings {
            // Lengths first, so that no two sets of readings run together into the same bytes.
            for part in [name, value] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part.as_bytes());
            }
        }
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        Self(id)
    }

    /// The id as it came over the wire; `None` when it is not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The whole hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What fits into an Installation ID.
    pub fn short(&self) -> ShortHardwareId {
        let [a, b, c, d, e, f, ..] = self.0;
        ShortHardwareId([a, b, c, d, e, f])
    }
}

impl fmt::Display for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HardwareId({})", self.short())
    }
}

impl FromStr for HardwareId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hexadecimal(text).map(Self).ok_or_else(|| not_an_id(text, 64))
    }
}

impl TryFrom<String> for HardwareId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HardwareId> for String {
    fn from(id: HardwareId) -> Self {
        id.to_string()
    }
}

/// The first 48 bits of a hardware id: enough to tell the machines of one product key apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortHardwareId(pub [u8; 6]);

impl fmt::Display for ShortHardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ShortHardwareId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hexadecimal(text).map(Self).ok_or_else(|| not_an_id(text, 12))
    }
}

fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn not_an_id(text: &str, digits: usize) -> Error {
    Error::new(
        Code::IdentifierInvalid,
        format!("{} is not a hardware id", crate::identifier::quoted(text)),
        format!("a hardware id is {digits} hexadecimal digits"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_readings_does_not_matter_and_their_limits_do() {
        let id = HardwareId::from_readings([("board", "x1"), ("cpu", "y")]);
        assert_eq!(id, HardwareId::from_readings([("cpu", "y"), ("board", "x1")]));
        assert_ne!(id, HardwareId::from_readings([("board", "x"), ("1cpu", "y")]));
        assert_eq!(id.to_string().parse::<HardwareId>().unwrap(), id);
        assert_eq!(id.short().to_string().parse::<ShortHardwareId>().unwrap(), id.short());
    }
}
