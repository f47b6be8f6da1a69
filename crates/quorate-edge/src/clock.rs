//! The clock, as a value: programs take the system's, tests and the demo one that they can move.

use quorate_core::Timestamp;
use std::sync::Arc;
use std::time::SystemTime;

/// Something that tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        // The years that a system clock can show all fit into a timestamp.
        Self::new(|| Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX))
    }

    /// A clock that asks `tell`.
    pub fn new(tell: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// TLS compares certificates with the same clock as everything else.
#[cfg(any(feature = "server", feature = "https", feature = "tls"))]
impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let seconds = u64::try_from(self.now().as_second()).ok()?;
        Some(rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}
