//! The audit log, as it is shown and verified.

use crate::service::Service;
use crate::store::audit::{self, Entry};
use quorate_core::{Code, Error, Result};

impl Service {
    /// So many entries before this number, the newest first.
    pub fn audit(&self, before: Option<u64>, most: u32) -> Result<Vec<Entry>> {
        self.sql.read(|session| audit::list(session, before, most))
    }

    /// Follows the whole chain, and gives its newest entry. `kept` is the hash of an entry that somebody has kept
    /// elsewhere.
    pub fn verify_audit(&self, kept: Option<&str>) -> Result<Option<Entry>> {
        let kept = kept.map(str::trim);
        if kept.is_some_and(|kept| kept.len() != 64 || !kept.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(Error::new(
                Code::RequestInvalid,
                "what was given is not a hash of the audit log: one has 64 digits from 0 to 9 and a to f",
                "give the hash that `quorate-vendor audit verify` printed, whole",
            ));
        }
        self.sql.read(|session| audit::verify(session, kept))
    }
}
