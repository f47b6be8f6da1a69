//! Hosts and machines that are activated online.

use crate::keys::{known_key, usable_key};
use crate::rights::Rights;
use crate::service::{Actor, Service, Turn};
use crate::sha256::sha256;
use crate::store::activations::{self, Activation, ActivationFilter, How, NewActivation, PerDay};
use crate::webhooks;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::certificate::Role;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::host_activation::{HostActivationRequest, HostActivationResponse, UsedSoFar};
use quorate_core::key_activation::{KeyActivationRequest, KeyActivationResponse};
use quorate_core::machine_license::MachineLicense;
use quorate_core::product_key::{KeyId, Verifier};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::random;

impl Service {
    /// Activates a host online. The same request again gets the same certificate again and is not counted, so
    /// that a lost answer costs nothing.
    pub fn activate_host(&self, request: &HostActivationRequest) -> Result<HostActivationResponse> {
        let installation_id = request.installation_id;
        let id = installation_id.key();
        // Nobody takes a turn who has not proven that he holds a key.
        let signing_request = request.verify(&self.verifier(id)?).map_err(|_| {
            not_proven(
                id,
                "install it on the host again (`quorate-host upk`, `quorate-host ipk`), then `quorate-host ato`",
            )
        })?;
        let hash = sha256(&signing_request);
        self.by(Actor::service()).change(|turn| {
            let record = usable_key(turn.session, id)?;
            let current = self.catalog_in(turn.session)?;
            let rights = Rights::of(&record, &current.catalog)?.limited_to(Role::Host)?;
            let chain = match activations::issued(turn.session, &installation_id, &hash)? {
                Some(chain) => chain,
                None => {
                    let before = activations::used_so_far(turn.session, id, installation_id.hardware())?;
                    let last = activations::newest(turn.session, id, installation_id.hardware())?;
                    let how = match last.is_some_and(|last| rights.is_renewal(last, turn.now)) {
                        true => How::Renewal,
                        false => {
                            rights.grant(before)?;
                            How::Online
                        }
                    };
                    let (entitlement, validity) =
                        (rights.entitlement(turn.now), rights.group.certificate_validity);
                    let (chain, certificate) =
                        self.authority.certify_host(&signing_request, &entitlement, validity, turn.now)?;
                    let issued = Some((&hash, chain.as_slice()));
                    let new = NewActivation {
                        installation_id: &installation_id,
                        how,
                        at: turn.now,
                        issued,
                        certificate: Some(&certificate),
                    };
                    keep(turn, &rights, before, &new)?;
                    chain
                }
            };
            Ok(HostActivationResponse {
                certificate_chain: chain.iter().map(|certificate| BASE64.encode(certificate)).collect(),
                catalog: current.jws.clone(),
                revocations: self.revocations_in(turn.session)?,
            })
        })
    }

    /// Activates a machine that has a MAK or a retail key. The same machine again is free, so that a lost answer
    /// costs nothing.
    pub fn activate_key(&self, request: &KeyActivationRequest) -> Result<KeyActivationResponse> {
        let installation_id = request.installation_id;
        let id = installation_id.key();
        if !request.is_proven(&self.verifier(id)?) {
            return Err(not_proven(
                id,
                "install it on the machine again (`quorate install-key`), then `quorate activate`",
            ));
        }
        self.by(Actor::service()).change(|turn| {
            let record = usable_key(turn.session, id)?;
            let rights =
                Rights::of(&record, &self.catalog_in(turn.session)?.catalog)?.limited_to(Role::Machine)?;
            let before = activations::used_so_far(turn.session, id, installation_id.hardware())?;
            rights.grant(before)?;
            let license = self.authority.sign(&MachineLicense {
                vendor: self.authority.vendor().clone(),
                installation_id,
                hardware: request.hardware,
                sku: rights.sku.id,
                extended_pid: rights.entitlement(turn.now).extended_pid,
                granted: turn.now,
            })?;
            if !activations::is_activated(turn.session, &installation_id)? {
                let (how, at) = (How::Online, turn.now);
                let new = NewActivation {
                    installation_id: &installation_id,
                    how,
                    at,
                    issued: None,
                    certificate: None,
                };
                keep(turn, &rights, before, &new)?;
            }
            Ok(KeyActivationResponse {
                license,
                revocations: self.revocations_in(turn.session)?,
                machines: before.machines_then(),
                machines_allowed: rights.machines_allowed,
            })
        })
    }

    /// So many of the activations that are wanted, the newest first.
    pub fn activations(&self, filter: &ActivationFilter, most: u32) -> Result<Vec<Activation>> {
        self.sql.read(|session| activations::list(session, filter, most))
    }

    /// How many activations there were on each day since.
    pub fn activations_per_day(&self, since: Timestamp) -> Result<Vec<PerDay>> {
        self.sql.read(|session| activations::per_day(session, since))
    }

    /// A machine does not count any more, as when it was scrapped: another may take its place. Its license is not taken
    /// from it.
    pub fn release_machine(&self, id: KeyId, machine: ShortHardwareId) -> Result<()> {
        self.change(|turn| {
            known_key(turn.session, id)?;
            let released = activations::release(turn.session, id, machine, turn.now)?;
            if released == 0 {
                return Err(Error::new(
                    Code::NotFound,
                    format!("product key {id} does not count machine {machine}"),
                    format!("compare it with the machines that the key's page, or `quorate-vendor key show {id}`, lists"),
                ));
            }
            let detail = serde_json::json!({ "machine": machine.to_string(), "activations": released });
            turn.note("machine.release", &id.to_string(), detail)
        })
    }

    /// What proves that somebody holds a key. Who can't prove it learns nothing of the key, not even whether there
    /// is one.
    fn verifier(&self, id: KeyId) -> Result<Verifier> {
        let record = self.sql.read(|session| crate::store::keys::find(session, id))?;
        Ok(record.map_or_else(|| Verifier::from_bytes(random::bytes()), |record| record.verifier))
    }
}

/// Keeps an activation, notes it, and tells the webhooks.
pub(crate) fn keep(
    turn: &mut Turn<'_, '_>,
    rights: &Rights,
    before: UsedSoFar,
    new: &NewActivation<'_>,
) -> Result<()> {
    activations::add(turn.session, new)?;
    let (id, machine) = (new.installation_id.key(), new.installation_id.hardware());
    let detail = serde_json::json!({
        "how": new.how.as_str(), "machine": machine.to_string(), "certificate": new.certificate
    });
    turn.note("activation", &id.to_string(), detail)?;
    let now_on = (before.machines_then(), before.times == 0);
    webhooks::announce(turn, rights, new.installation_id, new.how.as_str(), now_on)
}

fn not_proven(id: KeyId, next: &str) -> Error {
    Error::new(
        Code::ProofInvalid,
        format!("the proof that the sender holds product key {id} of this vendor does not hold"),
        format!("compare the key with its certificate and {next}"),
    )
}
