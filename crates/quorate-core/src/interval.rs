//! A length of time as policies state it: whole seconds, written `180d`, `2h` or `90m`.
//!
//! The documents of volume activation count some things in minutes and others in days; a type that prints
//! its own unit ends the guessing. A day is 24 hours: licenses do not know daylight saving time.

use crate::{Code, Error, Result};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A non-negative length of time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    seconds: u32,
}

impl Interval {
    /// No time at all.
    pub const ZERO: Interval = Interval { seconds: 0 };

    /// An interval of whole seconds.
    pub const fn seconds(seconds: u32) -> Self {
        Self { seconds }
    }

    /// An interval of whole minutes.
    pub const fn minutes(minutes: u32) -> Self {
        Self { seconds: minutes * 60 }
    }

    /// An interval of whole hours.
    pub const fn hours(hours: u32) -> Self {
        Self::minutes(hours * 60)
    }

    /// An interval of whole days of 24 hours.
    pub const fn days(days: u32) -> Self {
        Self::hours(days * 24)
    }

    /// The time from `earlier` to `later`, cut to whole seconds; zero when `later` is before it.
    pub fn between(earlier: Timestamp, later: Timestamp) -> Self {
        let seconds = later.duration_since(earlier).as_secs().clamp(0, i64::from(u32::MAX));
        // The clamp above keeps the value in range.
        Self { seconds: u32::try_from(seconds).unwrap_or(u32::MAX) }
    }

    /// Whole seconds.
    pub const fn as_seconds(self) -> u32 {
        self.seconds
    }

    /// Whole minutes, cut: the unit in which the documents count the time left.
    pub const fn as_minutes(self) -> u32 {
        self.seconds / 60
    }

    /// Whole days, cut.
    pub const fn as_days(self) -> u32 {
        self.seconds / 86_400
    }

    /// This long after `start`; the end of time when that would be past it.
    pub fn after(self, start: Timestamp) -> Timestamp {
        start.saturating_add(self.duration()).unwrap_or(Timestamp::MAX)
    }

    /// This long before `end`; the beginning of time when that would be past it.
    pub fn before(self, end: Timestamp) -> Timestamp {
        end.saturating_sub(self.duration()).unwrap_or(Timestamp::MIN)
    }

    fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.seconds))
    }
}

impl From<Interval> for std::time::Duration {
    fn from(interval: Interval) -> Self {
        Self::from_secs(u64::from(interval.seconds))
    }
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(
                Code::CatalogInvalid,
                format!("{} is not an interval", crate::identifier::quoted(text)),
                "write a whole number and its unit, as in \"180d\", \"2h\" or \"90m\"",
            )
        };
        let span: Span = text.parse().map_err(|_| invalid())?;
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| invalid())?;
        let seconds = u32::try_from(duration.as_secs()).map_err(|_| invalid())?;
        if duration.subsec_nanos() != 0 {
            return Err(invalid());
        }
        Ok(Self { seconds })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            0 => f.write_str("0s"),
            s if s % 86_400 == 0 => write!(f, "{}d", s / 86_400),
            s if s % 3_600 == 0 => write!(f, "{}h", s / 3_600),
            s if s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error: Error| serde::de::Error::custom(format!("{}; {}", error.what, error.next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_units_that_people_write() {
        for (text, expected) in [
            ("180d", Interval::days(180)),
            ("180 days", Interval::days(180)),
            ("2h", Interval::hours(2)),
            ("90m", Interval::minutes(90)),
            ("1d 12h", Interval::hours(36)),
        ] {
            assert_eq!(text.parse::<Interval>().unwrap(), expected, "{text}");
        }
        for text in ["", "180", "-2h", "soon", "1.5h30", "200y"] {
            assert_eq!(text.parse::<Interval>().unwrap_err().code, Code::CatalogInvalid, "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(seconds: u32) {
            let interval = Interval::seconds(seconds);
            prop_assert_eq!(interval.to_string().parse::<Interval>().unwrap(), interval);
        }
    }
}
