//! What an administrator has set by command (`sprt`, `sai`, …), and what a running daemon notes for `dlv`.
//!
//! It lies in the host's store. An option of `serve` comes first, then the configuration file, then this.

use crate::store::Store;
use quorate_core::policy::Policy;
use quorate_core::schedule::Intervals;
use quorate_core::{Code, Error, Interval, Result};
use quorate_edge::files;
use std::fs::{File, TryLockError};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was set by command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The port to listen on.
    pub port: Option<u16>,
    /// The priority of the SRV record.
    pub priority: Option<u16>,
    /// That the host is not to be published.
    pub unpublished: bool,
    /// How patient clients are to be.
    pub patience: Patience,
}

/// How long clients are to wait between requests, when the host says it. It can be longer than the policy, and never
/// shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// While not activated.
    pub activation: Option<Interval>,
    /// While activated.
    pub renewal: Option<Interval>,
}

impl Patience {
    /// In minutes, as documented: from a quarter of an hour to 30 days.
    pub const MINUTES: RangeInclusive<i64> = 15..=30 * 24 * 60;
    /// The same.
    pub const RANGE: RangeInclusive<Interval> = Interval::minutes(15)..=Interval::days(30);

    /// This, or what another says where this says nothing.
    pub fn or(self, other: Self) -> Self {
        Self { activation: self.activation.or(other.activation), renewal: self.renewal.or(other.renewal) }
    }

    /// What a client is told.
    pub fn over(self, policy: &Policy) -> Intervals {
        let longer = |own: Interval, host: Option<Interval>| host.map_or(own, |host| host.max(own));
        Intervals {
            activation: longer(policy.activation_interval, self.activation),
            renewal: longer(policy.renewal_interval, self.renewal),
        }
    }
}

impl Settings {
    /// What is in the store.
    pub fn read(store: &Store) -> Result<Self> {
        // What cannot be read was not written here, and counts as not set.
        let number = |name| Ok::<_, Error>(store.setting(name)?.and_then(|text| text.parse::<u32>().ok()));
        let minutes = |name| {
            let set = number(name)?.filter(|minutes| Patience::MINUTES.contains(&i64::from(*minutes)));
            Ok::<_, Error>(set.map(Interval::minutes))
        };
        Ok(Self {
            port: number(SET_PORT)?.and_then(|port| u16::try_from(port).ok()),
            priority: number(SET_PRIORITY)?.and_then(|priority| u16::try_from(priority).ok()),
            unpublished: store.setting(SET_PUBLISHING)?.is_some_and(|set| set == "off"),
            patience: Patience { activation: minutes(SET_ACTIVATION)?, renewal: minutes(SET_RENEWAL)? },
        })
    }
}

/// The lock of the daemon that serves from a directory.
#[derive(Debug)]
pub struct Serving(#[expect(dead_code, reason = "it is held, not read")] File);

impl Serving {
    /// Takes the lock; refused while another process has it. The system gives it back however that one ends.
    pub fn begin(directory: &Path) -> Result<Self> {
        let path = lock_path(directory);
        let file = files::lock_file(&path)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                // `dlv` holds it for a moment when it looks.
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(files::writing(&path, &error)),
            }
        }
        Err(Error::new(
            Code::AlreadyServing,
            format!("another `quorate-host serve` runs with {}", directory.display()),
            "stop it first (`systemctl stop quorate-host`), or give this one a directory of its own with --dir",
        ))
    }

    /// Whether a daemon serves from this directory now.
    pub fn is_under_way(directory: &Path) -> bool {
        let file = File::options().write(true).open(lock_path(directory));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn lock_path(directory: &Path) -> PathBuf {
    directory.join("serving.lock")
}

/// The names in the store.
pub(crate) const SET_PORT: &str = "set-port";
pub(crate) const SET_PRIORITY: &str = "set-priority";
pub(crate) const SET_PUBLISHING: &str = "set-publishing";
pub(crate) const SET_ACTIVATION: &str = "set-activation-interval";
pub(crate) const SET_RENEWAL: &str = "set-renewal-interval";

const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_can_ask_for_more_patience_and_not_for_less() {
        let policy = Policy::default();
        let (shorter, longer) = (Interval::minutes(15), Interval::days(30));
        let told = Patience { activation: Some(shorter), renewal: Some(longer) }.over(&policy);
        assert_eq!((told.activation, told.renewal), (policy.activation_interval, longer));
    }

    #[test]
    fn there_is_one_daemon_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!Serving::is_under_way(directory.path()));
        let first = Serving::begin(directory.path()).unwrap();
        assert!(Serving::is_under_way(directory.path()));
        assert_eq!(Serving::begin(directory.path()).unwrap_err().code, Code::AlreadyServing);
        drop(first);
        assert!(!Serving::is_under_way(directory.path()));
        Serving::begin(directory.path()).unwrap();
    }
}
