//! The license state: from the policy, the stored facts and the time, what a product may do now.
//!
//! ```text
//! initial grace ──activation──▶ licensed ──validity ends──▶ grace ──ends──▶ notification
//!       │                          ▲                          │             (or reduced functionality)
//!       └──────ends──▶ notification┴────────renewal───────────┘
//! ```
//!
//! Nothing here remembers anything: the same facts at the same moment always give the same state.

use crate::policy::{AfterGrace, Policy};
use crate::{Interval, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// License status, with the numbers that administrators know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicenseStatus {
    /// No product is installed, or nothing is known of it.
    Unlicensed = 0,
    /// Activated.
    Licensed = 1,
    /// Installed lately and not activated yet.
    InitialGrace = 2,
    /// The activation has expired, or the hardware has changed too much.
    OutOfToleranceGrace = 3,
    /// The vendor has revoked the key or the host.
    NonGenuineGrace = 4,
    /// All grace is over.
    Notification = 5,
    /// The grace was extended.
    ExtendedGrace = 6,
}

impl LicenseStatus {
    /// Every status, in the order of the numbers.
    pub const ALL: [LicenseStatus; 7] = [
        LicenseStatus::Unlicensed,
        LicenseStatus::Licensed,
        LicenseStatus::InitialGrace,
        LicenseStatus::OutOfToleranceGrace,
        LicenseStatus::NonGenuineGrace,
        LicenseStatus::Notification,
        LicenseStatus::ExtendedGrace,
    ];

    /// The documented number.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The status with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl fmt::Display for LicenseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LicenseStatus::Unlicensed => "Unlicensed",
            LicenseStatus::Licensed => "Licensed",
            LicenseStatus::InitialGrace => "Initial grace period",
            LicenseStatus::OutOfToleranceGrace => "License expired or hardware out of tolerance",
            LicenseStatus::NonGenuineGrace => "Non-genuine grace period",
            LicenseStatus::Notification => "Notification",
            LicenseStatus::ExtendedGrace => "Extended grace period",
        })
    }
}

/// What is stored about one product on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When the product first ran, or its grace was restarted.
    pub first_run: Timestamp,
    /// When the activation in the store was granted or last renewed, if there is one.
    pub activated: Option<Timestamp>,
}

/// What the product may do, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LicenseState {
    /// The status.
    pub status: LicenseStatus,
    /// When the status ends by itself; `None` when it does not.
    pub until: Option<Timestamp>,
    /// What the user should meet.
    pub mode: Mode,
}

/// How a product behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Everything works and nothing is shown.
    Full,
    /// Everything works, with a warning.
    Notify,
    /// Documents can be viewed, not changed.
    ReadOnly,
}

impl LicenseState {
    /// The time left in this status; zero when it does not end.
    pub fn remaining(&self, now: Timestamp) -> Interval {
        self.until.map_or(Interval::ZERO, |until| Interval::between(now, until))
    }
}

/// The state that follows from the facts.
pub fn evaluate(policy: &Policy, facts: &Facts, now: Timestamp) -> LicenseState {
    let full = |status, until| LicenseState { status, until: Some(until), mode: Mode::Full };
    // An activation takes the place of the initial grace, even when it has run out.
    let Some(activated) = facts.activated else {
        let end = policy.initial_grace.after(facts.first_run);
        return if now < end { full(LicenseStatus::InitialGrace, end) } else { over(policy) };
    };
    let expiry = policy.validity.after(activated);
    let end = policy.grace.after(expiry);
    if now < expiry {
        full(LicenseStatus::Licensed, expiry)
    } else if now < end {
        full(LicenseStatus::OutOfToleranceGrace, end)
    } else {
        over(policy)
    }
}

fn over(policy: &Policy) -> LicenseState {
    let mode = match policy.after_grace {
        AfterGrace::Notification => Mode::Notify,
        AfterGrace::ReducedFunctionality => Mode::ReadOnly,
    };
    LicenseState { status: LicenseStatus::Notification, until: None, mode }
}

/// When the machine should ask next: the renewal interval after a success, the activation interval after
/// anything else, at once when it never asked.
pub fn next_request(policy: &Policy, last_attempt: Option<Attempt>) -> Option<Timestamp> {
    let attempt = last_attempt?;
    let interval = if attempt.activated { policy.renewal_interval } else { policy.activation_interval };
    Some(interval.after(attempt.at))
}

/// The last time a machine asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// Whether it was activated or renewed by it.
    pub activated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn day(day: u32) -> Timestamp {
        Interval::days(day).after(START)
    }

    #[test]
    fn the_documented_life_of_a_machine() {
        use LicenseStatus::*;
        let policy = Policy::default();
        let status = |activated: Option<u32>, now: u32| {
            let facts = Facts { first_run: START, activated: activated.map(day) };
            evaluate(&policy, &facts, day(now)).status
        };
        assert_eq!(status(None, 0), InitialGrace);
        assert_eq!(status(None, 29), InitialGrace);
        assert_eq!(status(None, 30), Notification);
        assert_eq!(status(Some(10), 10), Licensed);
        assert_eq!(status(Some(10), 189), Licensed);
        assert_eq!(status(Some(10), 190), OutOfToleranceGrace);
        assert_eq!(status(Some(10), 219), OutOfToleranceGrace);
        assert_eq!(status(Some(10), 220), Notification);
        assert_eq!(status(Some(230), 230), Licensed);
    }

    #[test]
    fn retail_editions_become_view_only() {
        let policy = Policy { after_grace: AfterGrace::ReducedFunctionality, ..Policy::default() };
        let facts = Facts { first_run: START, activated: None };
        assert_eq!(evaluate(&policy, &facts, day(31)).mode, Mode::ReadOnly);
        assert_eq!(evaluate(&policy, &facts, day(29)).mode, Mode::Full);
    }

    #[test]
    fn a_success_is_followed_by_the_renewal_interval_and_a_failure_by_the_activation_interval() {
        let policy = Policy::default();
        let next = |activated| next_request(&policy, Some(Attempt { at: START, activated })).unwrap();
        assert_eq!(next(true), day(7));
        assert_eq!(next(false), Interval::hours(2).after(START));
        assert_eq!(next_request(&policy, None), None);
    }

    #[test]
    fn numbers_are_the_documented_ones() {
        for (number, status) in LicenseStatus::ALL.into_iter().enumerate() {
            assert_eq!(status.number() as usize, number);
            assert_eq!(LicenseStatus::from_number(status.number()), Some(status));
        }
        assert_eq!(LicenseStatus::from_number(7), None);
    }
}
