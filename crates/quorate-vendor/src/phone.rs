//! The phone desk: license packs made and made again, and the Confirmation ID for an Installation ID.

use crate::activations::keep;
use crate::keys::{known_key, usable, usable_key};
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
use quorate_core::host_activation::UsedSoFar;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::{LicensePack, SealedSlot, SlotSecret};
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use quorate_edge::random;
use quorate_edge::sql::Session;

/// What the desk tells the caller.
#[derive(Debug)]
pub struct Confirmed {
    /// To be typed on the machine.
    pub confirmation_id: ConfirmationId,
    /// How far the key is used up now.
    pub usage: Usage,
}

/// What is known of an Installation ID before anything is given away.
#[derive(Debug)]
pub struct Inquiry {
    /// How far its key is used up.
    pub usage: Usage,
    /// What a Confirmation ID would cost, or why there would be none.
    pub cost: Result<Cost>,
}

/// What a Confirmation ID costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The machine was activated: the same Confirmation ID comes again.
    Nothing,
    /// The host is known: one more of its re-activations.
    Reactivation {
        /// Which it will be.
        number: u32,
        /// How many are allowed.
        allowed: u32,
    },
    /// A machine with a MAK that counts already: a slot of the license pack, and nothing else.
    Slot,
    /// One more of the hosts or machines.
    Machine,
}

impl Cost {
    /// What it is for a key that is used up so far, as a sentence without its stop.
    pub fn said(self, usage: &Usage) -> String {
        match self {
            Cost::Nothing => "nothing: the same Confirmation ID comes again".to_owned(),
            Cost::Reactivation { number, allowed } => {
                format!("re-activation {number} of {allowed} on this host")
            }
            Cost::Slot => "a slot of the license pack: this machine counts already".to_owned(),
            Cost::Machine => format!(
                "one more {}: the key is then activated on {} of {}",
                usage.called(),
                usage.machines + 1,
                usage.allowed
            ),
        }
    }
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

    /// How far the key of an Installation ID is used up, and what a Confirmation ID would cost. Whoever shows one that was
    /// made without the key learns nothing.
    pub fn inquire(&self, installation_id: &InstallationId) -> Result<Inquiry> {
        self.sql.read(|session| {
            let record = known_key(session, installation_id.key())?;
            installation_id.verify(&record.verifier)?;
            // Nothing is confirmed for a public key, so there is nothing to inquire.
            let rights = Rights::of(&record, &self.catalog_in(session)?.catalog)?;
            let cost = match self.cost(session, &record, &rights, installation_id) {
                Err(error) if !is_refusal(error.code) => return Err(error),
                cost => cost,
            };
            Ok(Inquiry { usage: self.usage_of(session, record)?, cost })
        })
    }

    fn cost(
        &self,
        session: &mut Session<'_>,
        record: &KeyRecord,
        rights: &Rights,
        installation_id: &InstallationId,
    ) -> Result<Cost> {
        usable(record)?;
        let until = rights.worth_giving(self.clock.now());
        let given = slots::given(session, installation_id, until)?.is_some();
        if given && activations::is_activated(session, installation_id)? {
            return Ok(Cost::Nothing);
        }
        let used = granted(session, rights, installation_id)?;
        if !given && slots::left(session, rights.key, until)?.0 == 0 {
            return Err(no_slot(rights.key));
        }
        Ok(match (used.times, rights.role) {
            (0, _) => Cost::Machine,
            (number, Role::Host | Role::Issuer) => {
                Cost::Reactivation { number, allowed: rights.group.reactivations }
            }
            (_, Role::Machine) => Cost::Slot,
        })
    }
}

/// A refusal as the vendor's own people read it: "ask the vendor" is no advice to them.
pub(crate) fn for_vendor(error: Error) -> Error {
    let next = match error.code {
        Code::HostsUsedUp => "release a host that is gone, raise the key's limit, or issue another key",
        Code::MachinesUsedUp => "release a machine that is gone, raise the key's limit, or issue another key",
        Code::ReactivationsUsedUp => "raise the key's limit of re-activations, or issue another key",
        Code::KeyBlocked => "find out why it was blocked before you unblock it or issue another key",
        _ => return error,
    };
    Error::new(error.code, error.what, next)
}

/// Whether this is said of the key, which may change, and not of the service.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::KeyBlocked
            | Code::HostsUsedUp
            | Code::ReactivationsUsedUp
            | Code::MachinesUsedUp
            | Code::SlotsUsedUp
    )
}

fn give_slot(turn: &mut Turn<'_, '_>, rights: &Rights, installation_id: &InstallationId) -> Result<Slot> {
    let Some(slot) = slots::give(turn.session, installation_id, rights.worth_giving(turn.now))? else {
        // Whoever has used up the key is told that first.
        granted(turn.session, rights, installation_id)?;
        return Err(no_slot(rights.key));
    };
    count(turn, rights, installation_id, &slot)?;
    Ok(slot)
}

fn no_slot(key: KeyId) -> Error {
    Error::new(
        Code::SlotsUsedUp,
        format!("product key {key} has no slot left in its license pack"),
        format!("make the customer a new pack: `quorate-vendor pack {key} --out FILE`"),
    )
}

/// How far the key is used up, when it may be activated on this machine.
fn granted(
    session: &mut Session<'_>,
    rights: &Rights,
    installation_id: &InstallationId,
) -> Result<UsedSoFar> {
    let used = activations::used_so_far(session, rights.key, installation_id.hardware())?;
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
    let used = granted(turn.session, rights, installation_id)?;
    // A machine's license is no certificate of a host, which could be revoked.
    let certificate = (rights.role == Role::Host).then_some(slot.certificate.as_str());
    let (how, at) = (How::Phone, turn.now);
    let new = NewActivation { installation_id, how, at, issued: None, certificate };
    keep(turn, rights, used, &new)
}
