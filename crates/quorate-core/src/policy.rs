//! Policies: the vendor's signed numbers by which a product is activated, kept and lost.
//!
//! The defaults are the documented ones of volume activation for an office suite; a product file states
//! only what differs. Both sides read the same policy, but each its own part: the host how long it
//! remembers a machine and how far clocks may differ, the client everything else.

use crate::hardware::HardwareTolerance;
use crate::{Code, Error, Interval, Result};
use serde::{Deserialize, Serialize};

/// The numbers for one or more SKUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Policy {
    /// How many distinct machines must have asked before a client activates itself.
    pub threshold: u32,
    /// How often a client that is not activated asks.
    pub activation_interval: Interval,
    /// How often an activated client renews.
    pub renewal_interval: Interval,
    /// How long an activation lasts from the last renewal.
    pub validity: Interval,
    /// Full function from the first start, before any activation.
    pub initial_grace: Interval,
    /// Full function after the validity has ended, or after the hardware has changed.
    pub grace: Interval,
    /// What a user sees when all grace is over.
    pub after_grace: AfterGrace,
    /// How long a host counts a machine after its last request.
    pub cmid_retention: Interval,
    /// How far the clocks of client and host may differ.
    pub clock_tolerance: Interval,
    /// How often the initial grace may be restarted.
    pub rearm_limit: u32,
    /// How much of a machine may change before it is another.
    pub hardware: HardwareTolerance,
}

/// What a product does when no grace is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterGrace {
    /// Full function with a warning, as volume editions do (the red title bar).
    Notification,
    /// Documents can be viewed but not changed, as in retail editions.
    ReducedFunctionality,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            threshold: 5,
            activation_interval: Interval::minutes(120),
            renewal_interval: Interval::minutes(10_080),
            validity: Interval::days(180),
            initial_grace: Interval::days(30),
            grace: Interval::days(30),
            after_grace: AfterGrace::Notification,
            cmid_retention: Interval::days(30),
            clock_tolerance: Interval::hours(4),
            rearm_limit: 5,
            hardware: HardwareTolerance::default(),
        }
    }
}

impl Policy {
    /// This policy, with whatever is stricter in `other` for a product that is not activated: nobody gains by
    /// bringing a key of another channel into use.
    pub fn unless_stricter(&self, other: &Policy) -> Policy {
        let after_grace = match (self.after_grace, other.after_grace) {
            (AfterGrace::Notification, AfterGrace::Notification) => AfterGrace::Notification,
            _ => AfterGrace::ReducedFunctionality,
        };
        let initial_grace = self.initial_grace.min(other.initial_grace);
        let rearm_limit = self.rearm_limit.min(other.rearm_limit);
        Policy { after_grace, initial_grace, rearm_limit, ..self.clone() }
    }

    /// Refuses a policy that contradicts itself; `name` is the one it has in the product file.
    pub fn check(&self, name: &str) -> Result<()> {
        let refuse = |what: String, next: &str| {
            Err(Error::new(Code::CatalogInvalid, format!("policy {name:?}: {what}"), next))
        };
        if self.threshold == 0 {
            return refuse("threshold is 0".to_owned(), "a threshold is at least 1; 5 and 25 are usual");
        }
        for (field, interval) in
            [("activation-interval", self.activation_interval), ("renewal-interval", self.renewal_interval)]
        {
            if interval < Interval::minutes(15) || interval > Interval::days(30) {
                return refuse(format!("{field} is {interval}"), "intervals go from 15m to 30d");
            }
        }
        if self.validity < self.renewal_interval {
            return refuse(
                format!(
                    "validity ({}) is shorter than renewal-interval ({})",
                    self.validity, self.renewal_interval
                ),
                "a machine must have time to renew: make validity several renewal intervals long",
            );
        }
        if self.grace > self.validity {
            return refuse(
                format!("grace ({}) is longer than validity ({})", self.grace, self.validity),
                "make grace the shorter of the two",
            );
        }
        if self.cmid_retention < self.renewal_interval {
            return refuse(
                format!(
                    "cmid-retention ({}) is shorter than renewal-interval ({})",
                    self.cmid_retention, self.renewal_interval
                ),
                "activated machines would leave the count between two renewals: make cmid-retention longer",
            );
        }
        if self.clock_tolerance == Interval::ZERO {
            return refuse("clock-tolerance is 0s".to_owned(), "clocks always differ a little; 4h is usual");
        }
        self.hardware.check(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_named_with_their_figures() {
        let what = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check("office").unwrap_err().what
        };
        assert!(Policy::default().check("office").is_ok());
        assert_eq!(what(|p| p.threshold = 0), "policy \"office\": threshold is 0");
        assert_eq!(
            what(|p| p.grace = Interval::days(181)),
            "policy \"office\": grace (181d) is longer than validity (180d)"
        );
        assert_eq!(
            what(|p| p.renewal_interval = Interval::minutes(1)),
            "policy \"office\": renewal-interval is 1m"
        );
        assert_eq!(
            what(|p| p.validity = Interval::days(6)),
            "policy \"office\": validity (6d) is shorter than renewal-interval (7d)"
        );
        assert_eq!(
            what(|p| p.cmid_retention = Interval::days(6)),
            "policy \"office\": cmid-retention (6d) is shorter than renewal-interval (7d)"
        );
    }
}
