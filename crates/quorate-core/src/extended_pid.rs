//! Extended PIDs: one line that says which key activated what, where and when.
//!
//! The shape is the documented one, `55041-00096-199-000004-03-1033-7600.0000-3632009`: product, key group,
//! serial (three and six digits), channel, locale, build, then the day of the year and the year.

use crate::identifier::quoted;
use crate::product_key::KeyId;
use crate::{Code, Error, Result, Timestamp};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An extended product id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExtendedPid {
    /// The vendor's number for the product line, five digits.
    pub product: u32,
    /// Key group and serial of the product key.
    pub key: KeyId,
    /// How the product was licensed, two digits: see [`crate::catalog::Channel::number`].
    pub channel: u8,
    /// The locale of the machine as a language id, at least four digits (1033 is English, United States).
    pub locale: u16,
    /// The build of the system on the machine, two numbers of at least four digits.
    pub build: (u16, u16),
    /// The day of activation, UTC.
    pub date: Date,
}

impl ExtendedPid {
    /// The date part for an activation at `now`.
    pub fn date_of(now: Timestamp) -> Date {
        TimeZone::UTC.to_datetime(now).date()
    }
}

impl fmt::Display for ExtendedPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:05}-{}-{:02}-{:04}-{:04}.{:04}-{:03}{:04}",
            self.product,
            self.key,
            self.channel,
            self.locale,
            self.build.0,
            self.build.1,
            self.date.day_of_year(),
            self.date.year(),
        )
    }
}

impl FromStr for ExtendedPid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        read(text).ok_or_else(|| {
            Error::new(
                Code::IdentifierInvalid,
                format!("{} is not an extended PID", quoted(text)),
                "its shape is \"55041-00096-199-000004-03-1033-7600.0000-3632009\"",
            )
        })
    }
}

fn read(text: &str) -> Option<ExtendedPid> {
    let number = |part: &str, length: usize| -> Option<u32> {
        (part.len() == length && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    // Four digits are the documented width; later systems have builds of five, and then none leads with 0.
    let word = |part: &str| {
        let padded = part.len() == 5 && part.starts_with('0');
        let value = number(part, part.len().clamp(4, 5)).filter(|_| !padded)?;
        u16::try_from(value).ok()
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [product, group, high, low, channel, locale, build, date] = parts[..] else { return None };
    let (major, minor) = build.split_once('.')?;
    let (day, year) = (date.len() == 7 && date.is_ascii()).then(|| date.split_at(3))?;
    let first = Date::new(i16::try_from(number(year, 4)?).ok()?, 1, 1).ok()?;
    let day = i16::try_from(number(day, 3)?).ok()?;
    Some(ExtendedPid {
        product: number(product, 5)?,
        key: format!("{group}-{high}-{low}").parse().ok()?,
        channel: u8::try_from(number(channel, 2)?).ok()?,
        locale: word(locale)?,
        build: (word(major)?, word(minor)?),
        date: first.with().day_of_year(day).build().ok()?,
    })
}

impl TryFrom<String> for ExtendedPid {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ExtendedPid> for String {
    fn from(pid: ExtendedPid) -> Self {
        pid.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_example() {
        let text = "55041-00096-199-000004-03-1033-7600.0000-3632009";
        let pid: ExtendedPid = text.parse().unwrap();
        assert_eq!(pid.key, KeyId::new(96, 199_000_004).unwrap());
        assert_eq!(pid.date, Date::new(2009, 12, 29).unwrap());
        assert_eq!(pid.to_string(), text);
    }

    #[test]
    fn each_number_is_written_in_one_way() {
        for text in [
            "55041-00096-199-000004-03-01033-7600.0000-3632009",
            "55041-00096-199-000004-03-1033-07600.0000-3632009",
            "55041-00096-199-000004-03-1033-7600.00100-3632009",
        ] {
            assert_eq!(text.parse::<ExtendedPid>().unwrap_err().code, Code::IdentifierInvalid, "{text}");
        }
        let later = "55041-00096-199-000004-03-1033-19045.0000-3632009";
        assert_eq!(later.parse::<ExtendedPid>().unwrap().to_string(), later);
    }

    proptest! {
        #[test]
        fn round_trip(
            product in 0..100_000u32, group in 0..=KeyId::MAX_GROUP, serial in 0..=KeyId::MAX_SERIAL,
            channel in 0..100u8, locale: u16, build: (u16, u16),
            day in 1..=365i16, year in 1_970..=9_998i16,
        ) {
            let date = Date::new(year, 1, 1).unwrap().with().day_of_year(day).build().unwrap();
            let pid = ExtendedPid { product, key: KeyId::new(group, serial).unwrap(), channel, locale, build, date };
            prop_assert_eq!(pid.to_string().parse::<ExtendedPid>().unwrap(), pid);
        }

        #[test]
        fn no_text_panics(text in "[0-9.-]{40,52}|.*") {
            let _ = text.parse::<ExtendedPid>();
        }
    }
}
