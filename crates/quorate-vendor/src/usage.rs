//! How far a key is used up: what whoever serves a customer sees, before it is too late.

use crate::keys::known_key;
use crate::rights::{self, Rights};
use crate::service::Service;
use crate::store::keys::{self, KeyFilter, KeyRecord};
use crate::store::{activations, slots};
use quorate_core::catalog::Sku;
use quorate_core::certificate::Role;
use quorate_core::product_key::KeyId;
use quorate_core::{Result, words};
use quorate_edge::sql::Session;

/// How far a key is used up, as the desk and the customer see it.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The key.
    pub key: KeyRecord,
    /// The name of its key group.
    pub group: String,
    /// The edition it is for.
    pub sku: Sku,
    /// Whether it activates hosts, or machines. A public client setup key activates neither and is never counted.
    pub role: Option<Role>,
    /// On how many it is activated.
    pub machines: u32,
    /// On how many it may be.
    pub allowed: u32,
    /// How many activations by telephone its license pack is good for.
    pub slots_left: u32,
    /// How many it was made for; 0 when there is no pack.
    pub slots: u32,
}

impl Usage {
    /// What it is activated on is called: a host or a machine.
    pub(crate) fn called(&self) -> &'static str {
        if self.role == Some(Role::Host) { "host" } else { "machine" }
    }

    /// On how many more it may be activated.
    pub fn left(&self) -> u32 {
        self.allowed.saturating_sub(self.machines)
    }

    /// For how many activations by telephone the customer's own license pack is made: as many as it can use.
    pub(crate) fn slots_wanted(&self) -> u32 {
        let least = if self.role == Some(Role::Host) { SLOTS_LOW + 1 } else { 1 };
        self.left().clamp(least, MOST_WANTED)
    }

    /// Whether a pack that was made runs low. Hosts come back when their certificates end, machines do not.
    fn runs_low(&self) -> bool {
        let enough = if self.role == Some(Role::Host) { u32::MAX } else { self.left() };
        self.slots > 0 && self.slots_left <= SLOTS_LOW && self.slots_left < enough
    }

    /// What whoever serves the customer should know before it is too late.
    pub fn warning(&self) -> Option<String> {
        self.role?;
        let called = self.called();
        if self.key.blocked.is_some() {
            return Some("this key is blocked".to_owned());
        }
        if self.left() == 0 {
            let allowed = words::counted(self.allowed, called);
            return Some(format!("this key is used up: {} of {allowed}", self.machines));
        }
        // Of a small number, the last one; of a large one, the last fifth.
        if self.allowed > 1 && self.left() <= (self.allowed / 5).max(1) {
            let left = words::counted(self.left(), called);
            return Some(format!("this key is nearly used up: {left} left of {}", self.allowed));
        }
        if self.runs_low() {
            let left = words::counted(self.slots_left, "activation");
            return Some(format!("the license pack is good for {left} by telephone: make a new one"));
        }
        None
    }
}

impl Service {
    /// How far each of these keys is used up: so many of them, in the order of group and serial.
    pub fn usages_of(&self, filter: &KeyFilter, most: u32) -> Result<Vec<Usage>> {
        self.sql.read(|session| {
            let keys = keys::list(session, filter, most)?;
            keys.into_iter().map(|key| self.usage_of(session, key)).collect()
        })
    }

    /// How far a key is used up.
    pub fn usage(&self, id: KeyId) -> Result<Usage> {
        self.sql.read(|session| {
            let record = known_key(session, id)?;
            self.usage_of(session, record)
        })
    }

    pub(crate) fn usage_of(&self, session: &mut Session<'_>, key: KeyRecord) -> Result<Usage> {
        let current = self.catalog_in(session)?;
        let (group, sku, _) = rights::kind(key.id, &current.catalog)?;
        let (group, sku) = (group.name.clone(), sku.clone());
        if rights::is_public(key.id, &current.catalog)? {
            return Ok(Usage {
                key,
                group,
                sku,
                role: None,
                machines: 0,
                allowed: 0,
                slots_left: 0,
                slots: 0,
            });
        }
        let rights = Rights::of(&key, &current.catalog)?;
        let machines = activations::machines(session, key.id)?;
        let (slots_left, slots) = slots::left(session, key.id, rights.worth_giving(self.clock.now()))?;
        Ok(Usage {
            allowed: rights.allowed(),
            group,
            sku,
            role: Some(rights.role),
            machines,
            slots_left,
            slots,
            key,
        })
    }
}

/// A pack with so few slots left is made again before it is too late.
const SLOTS_LOW: u32 = 2;
/// As many activations as a customer may prepare by itself.
const MOST_WANTED: u32 = 12;
