//! The phone desk: license packs made and made again, and the Confirmation ID for an Installation ID.

use crate::activations::keep;
use crate::keys::{known_key, usable_key};
use crate::rights::Rights;
use crate::service::{Service, Turn};
use crate::store::activations::{How, NewActivation};
use crate::store::keys::KeyRecord;
use crate::store::slots::Slot;
use crate::store::{activations, slots};
use crate::usage::Usage;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::certificate::Role;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::{LicensePack, SealedSlot, SlotSecret};
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use quorate_edge::random;
use std::collections::BTreeMap;

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
                turn.note("pack.make", &id.to_string(), serde_json::json!({ "slots": missing }))?;
            }
            self.authority.sign(&LicensePack {
                vendor: self.authority.vendor().clone(),
                key: id,
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

    /// The Confirmation ID for an Installation ID; the same again for the same.
    pub fn confirm(&self, installation_id: &InstallationId) -> Result<Confirmed> {
        let id = installation_id.key();
        self.change(|turn| {
            let record = usable_key(turn.session, id)?;
            installation_id.verify(&record.verifier)?;
            let slot = match slots::given(turn.session, installation_id)? {
                Some(slot) => {
                    if !activations::is_activated(turn.session, installation_id)? {
                        // The machine was released, and counts again.
                        self.count(turn, &record, installation_id, &slot)?;
                    }
                    slot
                }
                None => self.give_slot(turn, &record, installation_id)?,
            };
            Ok(Confirmed {
                confirmation_id: ConfirmationId::conceal(&slot.secret, installation_id, &record.verifier),
                usage: self.usage_of(turn.session, record)?,
            })
        })
    }

    fn give_slot(
        &self,
        turn: &mut Turn<'_, '_>,
        record: &KeyRecord,
        installation_id: &InstallationId,
    ) -> Result<Slot> {
        let rights = Rights::of(record, &self.catalog_in(turn.session)?.catalog)?;
        let slot = slots::give(turn.session, installation_id, rights.worth_giving(turn.now))?;
        let slot = match slot {
            Some(slot) => slot,
            None => {
                // Whoever has used up the key is told that first.
                self.grant(turn, record, installation_id)?;
                return Err(Error::new(
                    Code::SlotsUsedUp,
                    format!("product key {} has no slot left in its license pack", record.id),
                    format!("make the customer a new pack: `quorate-vendor pack {} --out FILE`", record.id),
                ));
            }
        };
        self.count(turn, record, installation_id, &slot)?;
        Ok(slot)
    }

    /// What the key is worth, and on which machines it is, when it may be on this one.
    fn grant(
        &self,
        turn: &mut Turn<'_, '_>,
        record: &KeyRecord,
        installation_id: &InstallationId,
    ) -> Result<(Rights, BTreeMap<ShortHardwareId, u32>)> {
        let rights = Rights::of(record, &self.catalog_in(turn.session)?.catalog)?;
        let before = activations::by_machine(turn.session, record.id)?;
        rights.grant(installation_id.hardware(), &before)?;
        Ok((rights, before))
    }

    /// Counts one more activation, when there is one left.
    fn count(
        &self,
        turn: &mut Turn<'_, '_>,
        record: &KeyRecord,
        installation_id: &InstallationId,
        slot: &Slot,
    ) -> Result<()> {
        let (rights, before) = self.grant(turn, record, installation_id)?;
        // A machine's license is no certificate of a host, which could be revoked.
        let certificate = (rights.role == Role::Host).then_some(slot.certificate.as_str());
        let (how, at) = (How::Phone, turn.now);
        let new = NewActivation { installation_id, how, at, issued: None, certificate };
        keep(turn, &rights, &before, &new)
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
