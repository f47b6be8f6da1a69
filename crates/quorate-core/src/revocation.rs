//! The revocation list: keys and host certificates that the vendor has taken back.
//!
//! It carries a number that only rises. Hosts fetch it and staple it to every response; a client that has
//! seen number 7 never accepts 6 again, so an old list cannot bring a revoked host back.

use crate::certificate::{Role, VerifiedCertificate};
use crate::identifier::VendorId;
use crate::product_key::KeyId;
use crate::signed::Document;
use crate::{Code, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The signed list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RevocationList {
    /// Which vendor.
    pub vendor: VendorId,
    /// Rises with every list.
    pub number: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// Product keys that are void.
    pub keys: BTreeSet<KeyId>,
    /// Serial numbers (hexadecimal) of host certificates that are void.
    pub certificates: BTreeSet<String>,
}

impl Document for RevocationList {
    const TYPE: &'static str = "quorate-revocations+jws";
    const CALLED: &'static str = "a revocation list";
    const ROLES: &'static [Role] = &[Role::Issuer];

    fn vendor(&self) -> Option<&VendorId> {
        Some(&self.vendor)
    }
}

impl RevocationList {
    /// Refuses a list older than the newest one seen so far.
    pub fn check_number(&self, newest_seen: u64) -> Result<()> {
        if self.number >= newest_seen {
            return Ok(());
        }
        Err(Error::new(
            Code::StaleNumber,
            format!("revocation list {} came, but list {newest_seen} has been seen already", self.number),
            "wait: hosts fetch the newest list daily; meanwhile another host may have it",
        ))
    }

    /// Refuses a host whose certificate or key is on the list.
    pub fn check_host(&self, certificate: &VerifiedCertificate) -> Result<()> {
        let key = certificate.entitlement.as_ref().map(|entitlement| entitlement.key);
        let revoked = match key {
            Some(key) if self.keys.contains(&key) => format!("product key {key}"),
            _ if self.certificates.contains(&certificate.serial) => {
                format!("host certificate {}", certificate.serial)
            }
            _ => return Ok(()),
        };
        Err(Error::new(
            Code::Revoked,
            format!("the vendor has revoked {revoked} (revocation list {})", self.number),
            "install and activate another host key on the host",
        ))
    }
}
