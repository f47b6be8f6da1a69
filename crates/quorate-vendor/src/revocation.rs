//! What is taken back: keys, and certificates of hosts. The signed list of it is in every answer.

use crate::keys::KeyChange;
use crate::rights;
use crate::service::{Service, Turn};
use crate::store::keys::{self, KeyRecord};
use crate::store::{activations, revocations};
use quorate_core::catalog::Catalog;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::product_key::KeyId;
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, Result};
use quorate_edge::sql::Session;
use std::collections::BTreeSet;

/// A host of which a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedHost {
    /// The key by which it was activated.
    pub key: KeyId,
    /// Which machine it is.
    pub machine: ShortHardwareId,
    /// The serial numbers that are revoked since just now, the oldest first; none when all were before.
    pub revoked: Vec<String>,
    /// A newer certificate of the host, which is good still.
    pub newer: Option<String>,
}

impl Service {
    /// Takes a key back: it is activated no more, and hosts that have it stop at the next renewals. A key that is
    /// blocked already stays so.
    pub fn block_key(&self, id: KeyId) -> Result<KeyRecord> {
        self.change_key(id, &KeyChange { blocked: Some(true), ..KeyChange::default() })
    }

    /// Gives a blocked key free again.
    pub fn unblock_key(&self, id: KeyId) -> Result<KeyRecord> {
        self.change_key(id, &KeyChange { blocked: Some(false), ..KeyChange::default() })
    }

    /// Revokes the certificate of one host, by its serial number, with those that the host had of the key before it: they
    /// may be good for years still, and whoever has the newer one's private key may have theirs. The key's other hosts go
    /// on.
    pub fn revoke_certificate(&self, certificate: &str) -> Result<RevokedHost> {
        let certificate = certificate.trim().replace(':', "").to_ascii_lowercase();
        self.change(|turn| {
            let of = activations::of_certificate(turn.session, &certificate)?.ok_or_else(|| {
                Error::new(
                    Code::CertificateUnknown,
                    "no host has a certificate of this vendor with that serial number",
                    "`quorate-vendor key show KEY_ID` lists a key's certificates",
                )
            })?;
            let all = activations::certificates(turn.session, of.key, of.machine)?;
            let named = all.iter().rposition(|one| *one == certificate).unwrap_or_default();
            let mut host = RevokedHost { key: of.key, machine: of.machine, revoked: Vec::new(), newer: None };
            for (index, one) in all.into_iter().enumerate() {
                match (index <= named, revocations::is_revoked(turn.session, &one)?) {
                    (true, false) => {
                        revocations::add(turn.session, &one, turn.now)?;
                        host.revoked.push(one);
                    }
                    (false, false) => host.newer = Some(one),
                    (_, true) => {}
                }
            }
            if !host.revoked.is_empty() {
                revocations::raise_number(turn.session)?;
                let machine = of.machine.to_string();
                let detail =
                    serde_json::json!({ "key": of.key, "machine": machine, "revoked": host.revoked });
                turn.note("certificate.revoke", &certificate, detail)?;
            }
            Ok(host)
        })
    }

    /// The serial numbers of the revoked certificates.
    pub fn revoked_certificates(&self) -> Result<BTreeSet<String>> {
        self.sql.read(revocations::certificates)
    }

    /// The newest signed revocation list. Each is signed once, however many ask for it.
    pub fn revocations_jws(&self) -> Result<String> {
        self.sql.read(|session| self.revocations_in(session))
    }

    pub(crate) fn revocations_in(&self, session: &mut Session<'_>) -> Result<String> {
        let number = revocations::number(session)?;
        self.signed_revocations(number, || {
            self.authority.sign(&RevocationList {
                vendor: self.authority.vendor().clone(),
                number,
                issued: self.clock.now(),
                keys: revocations::keys(session)?,
                certificates: revocations::certificates(session)?,
            })
        })
    }
}

/// Blocks a key or gives it free; one that is so already makes no other list.
pub(crate) fn set_blocked(
    turn: &mut Turn<'_, '_>,
    record: &KeyRecord,
    catalog: &Catalog,
    block: bool,
) -> Result<()> {
    if record.blocked.is_some() == block {
        return Ok(());
    }
    if block && rights::is_public(record.id, catalog)? {
        return Err(Error::new(
            Code::ProductKeyUnsuited,
            format!(
                "product key {} is a public client setup key: nothing is activated with it, so blocking it takes \
                 nothing back",
                record.id
            ),
            "block the host key by which the machines are activated",
        ));
    }
    keys::set_blocked(turn.session, record.id, block.then_some(turn.now))?;
    revocations::raise_number(turn.session)?;
    let action = if block { "key.block" } else { "key.unblock" };
    turn.note(action, &record.id.to_string(), serde_json::json!({}))
}
