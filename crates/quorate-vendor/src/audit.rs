//! The audit log, as it is shown and verified.

use crate::service::Service;
use crate::store::audit::{self, Entry};
use quorate_core::Result;

impl Service {
    /// So many entries before this number, the newest first.
    pub fn audit(&self, before: Option<u64>, most: u32) -> Result<Vec<Entry>> {
        self.sql.read(|session| audit::list(session, before, most))
    }

    /// Follows the whole chain, and gives its newest entry. `kept` is the hash of an entry that somebody has kept
    /// elsewhere.
    pub fn verify_audit(&self, kept: Option<&str>) -> Result<Option<Entry>> {
        self.sql.read(|session| audit::verify(session, kept))
    }
}
