//! The phone desk: license packs made and made again, and the Confirmation ID for an Installation ID.

use crate::activations::keep;
use crate::keys::{known_key, usable_key};
use crate::rights::Rights;
use crate::service::{Service, Turn};
use crate::store::activations::{How, NewActivation};
use crate::store::slots::Slot;
use crate::store::{activations, slots};
use crate::usage::Usage;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::certificate::Role;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::host_activation::UsedSoFar;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::{LicensePack, SealedSlot, SlotSecret};
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use quorate_edge::random;

/// What the desk tells the caller.
#[derive(Debug)]
pub struct Confirmed {
    /// To be typed on the machine.
    pub confirmation_id: ConfirmationId,
    /// How far the key is used up now.
    pub usage: Usage,
}

impl Service {
    /// The license pack of a host key, a MAK or a retail key, good for at least so many activations by telephone. What
    /// its slots lack is made; those of earlier packs are in it as well, so that it opens by any Confirmation ID.
    pub fn pack(&self, id: KeyId, wanted: u32) -> Result<String> {
        self.change(|turn| {
            let record = usable_key(turn.session, id)?;
            let current = self.catalog_in(turn.session)?;
            let rights = Rights::of(&record, &current.catalog)?;
            let (left, _) = slots::left(turn.session, id, rights.worth_giving(turn.now))?;
            let missing = wanted.saturating_sub(left);
            if missing > 0 {
                self.add_slots(turn, id, &rights, missing)?;
            }
            // Also of one that is as it was: who has it and a Confirmation ID of the key has a certificate.
            let action = if missing > 0 { "pack.make" } else { "pack.give" };
            turn.note(action, &id.to_string(), serde_json::json!({ "slots": missing }))?;
            self.authority.sign(&LicensePack {
                vendor: self.authority.vendor().clone(),
                key: id,
                key_check: LicensePack::check_of(self.authority.vendor(), id, &record.verifier),
                root: BASE64.encode(self.authority.root().der()),
                catalog: current.jws.clone(),
                revocations: self.revocations_in(turn.session)?,
                slots: slots::sealed(turn.session, id, turn.now)?,
            })
        })
    }

    fn add_slots(&self, turn: &mut Turn<'_, '_>, id: KeyId, rights: &Rights, count: u32) -> Result<()> {
        let (entitlement, validity) = (rights.entitlement(turn.now), rights.group.certificate_validity);
        let first = slots::highest(turn.session, id)? + 1;
        let make = |number| {
            let (credential, certificate) =
                self.authority.credential(rights.role, &entitlement, validity, turn.now)?;
            let secret = SlotSecret::from_bytes(random::bytes());
            let sealed = SealedSlot::seal(number, &credential, &secret, self.authority.vendor(), id)?;
            Ok((Slot { number, secret, certificate }, sealed))
        };
        let made: Vec<_> = (first..first.saturating_add(count)).map(make).collect::<Result<_>>()?;
        slots::add(turn.session, id, &made, validity.after(turn.now))
    }

    /// The Confirmation ID for an Installation ID; the same again for the same, until what it opens is revoked or of no
    /// help any more: then it is one more activation, with a Confirmation ID of its own.
    pub fn confirm(&self, installation_id: &InstallationId) -> Result<Confirmed> {
        let id = installation_id.key();
        self.change(|turn| {
            let record = usable_key(turn.session, id)?;
            installation_id.verify(&record.verifier)?;
            let rights = Rights::of(&record, &self.catalog_in(turn.session)?.catalog)?;
            let slot = match slots::given(turn.session, installation_id, rights.worth_giving(turn.now))? {
                Some(slot) => {
                    if !activations::is_activated(turn.session, installation_id)? {
                        // The machine was released, and counts again.
                        count(turn, &rights, installation_id, &slot)?;
                    }
                    slot
                }
                None => give_slot(turn, &rights, installation_id)?,
            };
            Ok(Confirmed {
                confirmation_id: ConfirmationId::conceal(&slot.secret, installation_id, &record.verifier),
                usage: self.usage_of(turn.session, record)?,
            })
        })
    }

    /// How far the key of an Installation ID is used up. Whoever shows one that was made without the key learns nothing.
    pub fn inquire(&self, installation_id: &InstallationId) -> Result<Usage> {
        self.sql.read(|session| {
            let record = known_key(session, installation_id.key())?;
            installation_id.verify(&record.verifier)?;
            // Nothing is confirmed for a public key, so there is nothing to inquire.
            Rights::of(&record, &self.catalog_in(session)?.catalog)?;
            self.usage_of(session, record)
        })
    }
}

fn give_slot(turn: &mut Turn<'_, '_>, rights: &Rights, installation_id: &InstallationId) -> Result<Slot> {
    let Some(slot) = slots::give(turn.session, installation_id, rights.worth_giving(turn.now))? else {
        // Whoever has used up the key is told that first.
        granted(turn, rights, installation_id)?;
        return Err(Error::new(
            Code::SlotsUsedUp,
            format!("product key {} has no slot left in its license pack", rights.key),
            format!("make the customer a new pack: `quorate-vendor pack {} --out FILE`", rights.key),
        ));
    };
    count(turn, rights, installation_id, &slot)?;
    Ok(slot)
}

/// How far the key is used up, when it may be activated on this machine.
fn granted(turn: &mut Turn<'_, '_>, rights: &Rights, installation_id: &InstallationId) -> Result<UsedSoFar> {
    let used = activations::used_so_far(turn.session, rights.key, installation_id.hardware())?;
    rights.grant(used)?;
    Ok(used)
}

/// Counts one more activation, when there is one left.
fn count(
    turn: &mut Turn<'_, '_>,
    rights: &Rights,
    installation_id: &InstallationId,
    slot: &Slot,
) -> Result<()> {
    let used = granted(turn, rights, installation_id)?;
    // A machine's license is no certificate of a host, which could be revoked.
    let certificate = (rights.role == Role::Host).then_some(slot.certificate.as_str());
    let (how, at) = (How::Phone, turn.now);
    let new = NewActivation { installation_id, how, at, issued: None, certificate };
    keep(turn, rights, used, &new)
}
