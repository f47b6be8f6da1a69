//! The license state: from the policy, the stored facts and the time, what a product may do now.
//!
//! ```text
//! initial grace ──activated──▶ licensed ──validity ends──▶ grace ──ends──▶ notification
//!       │                       ▲ │ │                        │      (or reduced functionality)
//!       │                       │ │ └─hardware changed─▶ out-of-tolerance grace ──ends──▶ notification
//!       └──ends──▶ notification─┘ └───revoked──────────▶ non-genuine grace ──────ends──▶ notification
//! ```
//!
//! ```
//! use quorate_core::license_state::{Event, Facts, License, Situation, Term, evaluate};
//! use quorate_core::policy::Policy;
//! use quorate_core::{Interval, Timestamp};
//!
//! let (policy, start) = (Policy::default(), Timestamp::UNIX_EPOCH);
//! let day = |number| Interval::days(number).after(start);
//! let installed = Facts::first_run(start);
//! assert_eq!(evaluate(&policy, &installed, day(29)).situation, Situation::InitialGrace);
//!
//! let license = License { granted: day(29), term: Term::Renewable };
//! let activated = installed.after(Event::Activated(license), &policy, day(29))?;
//! assert_eq!(evaluate(&policy, &activated, day(200)).situation, Situation::Licensed);
//! assert_eq!(evaluate(&policy, &activated, day(29 + 180)).situation, Situation::ExpiryGrace);
//! assert_eq!(evaluate(&policy, &activated, day(29 + 180 + 30)).situation, Situation::Notification);
//! # Ok::<(), quorate_core::Error>(())
//! ```
//!
//! Nothing here remembers anything: [`Facts`] are what is stored, an [`Event`] makes other facts of them, and
//! [`evaluate`] says what they amount to at a moment. The whole table of situations and events is in
//! `docs/license-states.md`, which a test compares with this code.

use crate::policy::{AfterGrace, Policy};
use crate::{Code, Error, Interval, Result, Timestamp, words};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Facts {
    /// When the product first ran, or its initial grace was restarted.
    pub first_run: Timestamp,
    /// How often the initial grace was restarted.
    pub rearms: u32,
    /// Whether a product key is installed, as the public one of a KMS client edition is from the start.
    pub key_installed: bool,
    /// What the product is activated by, if it ever was with this key.
    pub license: Option<License>,
    /// Since when the hardware has been another than the one that was activated.
    pub out_of_tolerance: Option<Timestamp>,
    /// Since when the vendor is known to have revoked the key or the host.
    pub revoked: Option<Timestamp>,
}

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct License {
    /// When it was granted, or renewed the last time; by the clock of whoever signed it.
    pub granted: Timestamp,
    /// How long it holds from then.
    pub term: Term,
}

/// How long an activation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// For the policy's validity, until it is renewed: activation by a host.
    Renewable,
    /// As long as the hardware stays: activation by MAK or retail key.
    Permanent,
}

impl Facts {
    /// A product that runs for the first time.
    pub fn first_run(now: Timestamp) -> Self {
        Self {
            first_run: now,
            rearms: 0,
            key_installed: true,
            license: None,
            out_of_tolerance: None,
            revoked: None,
        }
    }

    /// The facts after an event. Whatever is not a change leaves them as they were: a failure to renew takes
    /// nothing away.
    pub fn after(mut self, event: Event, policy: &Policy, now: Timestamp) -> Result<Self> {
        match event {
            Event::Activated(license) => {
                self.license = Some(license);
                self.out_of_tolerance = None;
                self.revoked = None;
            }
            Event::NotActivated => {}
            Event::HardwareChanged => self.out_of_tolerance = self.out_of_tolerance.or(Some(now)),
            Event::HardwareRestored => self.out_of_tolerance = None,
            Event::Revoked => self.revoked = self.revoked.or(Some(now)),
            Event::KeyInstalled => {
                self.key_installed = true;
                self.license = None;
                self.revoked = None;
            }
            Event::KeyRemoved => {
                self.key_installed = false;
                self.license = None;
            }
            Event::Rearmed => return self.rearmed(policy, now),
        }
        Ok(self)
    }

    fn rearmed(mut self, policy: &Policy, now: Timestamp) -> Result<Self> {
        let refuse = |what: String, next: &str| Err(Error::new(Code::RearmRefused, what, next));
        if self.revoked.is_some() {
            return refuse(
                "the grace of a revoked product cannot be restarted".to_owned(),
                "ask the vendor or whoever runs the host",
            );
        }
        if evaluate(policy, &self, now).status == LicenseStatus::Licensed {
            return refuse(
                "the product is licensed; there is no grace to restart".to_owned(),
                "nothing needs to be done",
            );
        }
        if self.rearms >= policy.rearm_limit {
            return refuse(
                format!(
                    "the initial grace was restarted {}; {} allowed",
                    words::counted(self.rearms, "time"),
                    words::are(policy.rearm_limit)
                ),
                "activate the product",
            );
        }
        self.rearms += 1;
        self.first_run = now;
        // What has run out would otherwise decide over the new grace.
        self.license = None;
        self.out_of_tolerance = None;
        Ok(self)
    }
}

/// Something that happens to a product, other than time passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was activated, or renewed.
    Activated(License),
    /// It asked and was not activated: no host answered, or the count was too low.
    NotActivated,
    /// The hardware is another than the one that was activated.
    HardwareChanged,
    /// The hardware is the activated one again.
    HardwareRestored,
    /// The vendor has revoked the key or the host.
    Revoked,
    /// A product key was installed, in place of another or of none.
    KeyInstalled,
    /// The product key was removed.
    KeyRemoved,
    /// The initial grace was restarted.
    Rearmed,
}

/// What the product may do, why, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LicenseState {
    /// The status, as the documents number it.
    pub status: LicenseStatus,
    /// Why: the documents have one status for two situations.
    pub situation: Situation,
    /// When the situation ends by itself; `None` when it does not.
    pub until: Option<Timestamp>,
    /// What the user should meet.
    pub mode: Mode,
}

/// Where a product stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Situation {
    /// Never activated, in its initial grace.
    InitialGrace,
    /// Activated.
    Licensed,
    /// The activation has run out without a renewal.
    ExpiryGrace,
    /// The hardware is another than the one that was activated.
    OutOfToleranceGrace,
    /// The key or the host has been revoked.
    NonGenuineGrace,
    /// All grace is over.
    Notification,
    /// No product key is installed.
    Unlicensed,
}

impl Situation {
    /// Every situation, in the order of a product's life.
    pub const ALL: [Situation; 7] = [
        Situation::InitialGrace,
        Situation::Licensed,
        Situation::ExpiryGrace,
        Situation::OutOfToleranceGrace,
        Situation::NonGenuineGrace,
        Situation::Notification,
        Situation::Unlicensed,
    ];

    /// The documented status for it.
    pub fn status(self) -> LicenseStatus {
        match self {
            Situation::InitialGrace => LicenseStatus::InitialGrace,
            Situation::Licensed => LicenseStatus::Licensed,
            Situation::ExpiryGrace | Situation::OutOfToleranceGrace => LicenseStatus::OutOfToleranceGrace,
            Situation::NonGenuineGrace => LicenseStatus::NonGenuineGrace,
            Situation::Notification => LicenseStatus::Notification,
            Situation::Unlicensed => LicenseStatus::Unlicensed,
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Situation::InitialGrace => "initial grace",
            Situation::Licensed => "licensed",
            Situation::ExpiryGrace => "grace after expiry",
            Situation::OutOfToleranceGrace => "out-of-tolerance grace",
            Situation::NonGenuineGrace => "non-genuine grace",
            Situation::Notification => "notification",
            Situation::Unlicensed => "unlicensed",
        })
    }
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
    /// The time left in this situation; zero when it does not end.
    pub fn remaining(&self, now: Timestamp) -> Interval {
        self.until.map_or(Interval::ZERO, |until| Interval::between(now, until))
    }
}

/// The state that follows from the facts.
pub fn evaluate(policy: &Policy, facts: &Facts, now: Timestamp) -> LicenseState {
    let state = |situation: Situation, until| {
        let mode = match (situation, policy.after_grace) {
            (Situation::Notification | Situation::Unlicensed, AfterGrace::Notification) => Mode::Notify,
            (Situation::Notification | Situation::Unlicensed, AfterGrace::ReducedFunctionality) => {
                Mode::ReadOnly
            }
            _ => Mode::Full,
        };
        LicenseState { status: situation.status(), situation, until, mode }
    };
    // A grace that has ended is notification, whatever it was for.
    let grace = |situation: Situation, end: Timestamp| {
        if now < end { state(situation, Some(end)) } else { state(Situation::Notification, None) }
    };
    if !facts.key_installed {
        return state(Situation::Unlicensed, None);
    }
    if let Some(revoked) = facts.revoked {
        return grace(Situation::NonGenuineGrace, policy.grace.after(revoked));
    }
    let Some(license) = facts.license else {
        return grace(Situation::InitialGrace, policy.initial_grace.after(facts.first_run));
    };
    let expiry = match license.term {
        Term::Renewable => Some(policy.validity.after(license.granted)),
        Term::Permanent => None,
    };
    if let Some(changed) = facts.out_of_tolerance {
        // Changing the hardware gives no more time than the activation would have had.
        let end = policy.grace.after(changed);
        let end = expiry.map_or(end, |expiry| end.min(policy.grace.after(expiry)));
        return grace(Situation::OutOfToleranceGrace, end);
    }
    match expiry {
        Some(expiry) if now >= expiry => grace(Situation::ExpiryGrace, policy.grace.after(expiry)),
        until => state(Situation::Licensed, until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn day(day: u32) -> Timestamp {
        Interval::days(day).after(START)
    }

    fn by_host(granted: u32) -> Option<License> {
        Some(License { granted: day(granted), term: Term::Renewable })
    }

    fn facts() -> Facts {
        Facts::first_run(START)
    }

    fn at(facts: Facts, now: u32) -> Situation {
        evaluate(&Policy::default(), &facts, day(now)).situation
    }

    #[test]
    fn the_documented_life_of_a_machine() {
        use Situation::*;
        let activated = Facts { license: by_host(10), ..facts() };
        let cases = [
            (facts(), 0, InitialGrace),
            (facts(), 29, InitialGrace),
            (facts(), 30, Notification),
            (activated, 10, Licensed),
            (activated, 189, Licensed),
            (activated, 190, ExpiryGrace),
            (activated, 219, ExpiryGrace),
            (activated, 220, Notification),
            (Facts { license: by_host(230), ..facts() }, 230, Licensed),
        ];
        for (facts, now, expected) in cases {
            assert_eq!(at(facts, now), expected, "day {now}");
        }
    }

    #[test]
    fn an_activation_by_mak_does_not_end_but_changed_hardware_does() {
        let license = Some(License { granted: day(10), term: Term::Permanent });
        let facts = Facts { license, ..facts() };
        assert_eq!(at(facts, 5_000), Situation::Licensed);
        let changed = facts.after(Event::HardwareChanged, &Policy::default(), day(100)).unwrap();
        assert_eq!(at(changed, 129), Situation::OutOfToleranceGrace);
        assert_eq!(at(changed, 130), Situation::Notification);
        let restored = changed.after(Event::HardwareRestored, &Policy::default(), day(131)).unwrap();
        assert_eq!(at(restored, 131), Situation::Licensed);
    }

    #[test]
    fn changed_hardware_gives_no_more_time_than_the_activation_had() {
        let facts = Facts { license: by_host(0), ..facts() };
        let changed = facts.after(Event::HardwareChanged, &Policy::default(), day(200)).unwrap();
        assert_eq!(at(changed, 209), Situation::OutOfToleranceGrace);
        assert_eq!(at(changed, 210), Situation::Notification);
        // Changing it again does not start another grace.
        let again = changed.after(Event::HardwareChanged, &Policy::default(), day(209)).unwrap();
        assert_eq!(again, changed);
    }

    #[test]
    fn retail_editions_become_view_only() {
        let policy = Policy { after_grace: AfterGrace::ReducedFunctionality, ..Policy::default() };
        assert_eq!(evaluate(&policy, &facts(), day(31)).mode, Mode::ReadOnly);
        assert_eq!(evaluate(&policy, &facts(), day(29)).mode, Mode::Full);
        assert_eq!(evaluate(&Policy::default(), &facts(), day(31)).mode, Mode::Notify);
    }

    #[test]
    fn the_initial_grace_is_restarted_a_limited_number_of_times() {
        let policy = Policy { rearm_limit: 2, ..Policy::default() };
        let mut rearmed = facts();
        for times in 1..=2 {
            rearmed = rearmed.after(Event::Rearmed, &policy, day(30 * times)).unwrap();
            assert_eq!(at(rearmed, 30 * times), Situation::InitialGrace);
        }
        let error = rearmed.after(Event::Rearmed, &policy, day(90)).unwrap_err();
        assert_eq!(error.code, Code::RearmRefused);
        assert_eq!(error.what, "the initial grace was restarted 2 times; 2 are allowed");
    }

    #[test]
    fn numbers_are_the_documented_ones() {
        for (number, status) in LicenseStatus::ALL.into_iter().enumerate() {
            assert_eq!(status.number() as usize, number);
            assert_eq!(LicenseStatus::from_number(status.number()), Some(status));
        }
        assert_eq!(LicenseStatus::from_number(7), None);
    }

    /// A product in a situation on day 400, as it usually comes to be in it.
    fn usual(situation: Situation) -> Facts {
        let now = day(400);
        let facts = Facts { first_run: day(0), license: by_host(395), ..facts() };
        match situation {
            Situation::InitialGrace => Facts { first_run: day(395), license: None, ..facts },
            Situation::Licensed => facts,
            Situation::ExpiryGrace => Facts { license: by_host(215), ..facts },
            Situation::OutOfToleranceGrace => Facts { out_of_tolerance: Some(now), ..facts },
            Situation::NonGenuineGrace => Facts { revoked: Some(now), ..facts },
            Situation::Notification => Facts { license: by_host(100), ..facts },
            Situation::Unlicensed => Facts { key_installed: false, license: None, ..facts },
        }
    }

    /// The table in the documentation is made by this code.
    #[test]
    fn the_documented_table_is_what_happens() {
        let policy = Policy::default();
        let now = day(400);
        let events = [
            ("activated or renewed", Event::Activated(License { granted: now, term: Term::Renewable })),
            ("no host, or count too low", Event::NotActivated),
            ("hardware changed", Event::HardwareChanged),
            ("hardware restored", Event::HardwareRestored),
            ("revoked", Event::Revoked),
            ("key installed", Event::KeyInstalled),
            ("key removed", Event::KeyRemoved),
            ("rearmed", Event::Rearmed),
        ];
        let mut table = String::from("| situation | status | its time ends |");
        events.iter().for_each(|(name, _)| write!(table, " {name} |").unwrap());
        table += "\n|---|---|---|";
        events.iter().for_each(|_| table += "---|");
        table.push('\n');
        for situation in Situation::ALL {
            let facts = usual(situation);
            let state = evaluate(&policy, &facts, now);
            assert_eq!(state.situation, situation);
            write!(table, "| **{situation}** | {} |", situation.status().number()).unwrap();
            let mut cell = |after: Option<Situation>| match after {
                None => table += " refused |",
                Some(after) if after == situation => table += " – |",
                Some(after) => write!(table, " {after} |").unwrap(),
            };
            cell(Some(match state.until {
                Some(until) => evaluate(&policy, &facts, until).situation,
                None => situation,
            }));
            for (_, event) in events {
                let after = facts.after(event, &policy, now);
                cell(after.ok().map(|facts| evaluate(&policy, &facts, now).situation));
            }
            table.push('\n');
        }
        let documented = include_str!("../../../docs/license-states.md");
        assert!(documented.contains(&table), "docs/license-states.md should contain:\n{table}");
    }
}
