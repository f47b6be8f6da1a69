//! What a product key is worth: the rules of the core, with the catalog's figures and the key's own.

use crate::products::key_group;
use crate::store::keys::KeyRecord;
use quorate_core::catalog::{Application, Catalog, Channel, KeyGroup, Sku};
use quorate_core::certificate::{Entitlement, Role};
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::host_activation::UsedSoFar;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Interval, Result, Timestamp, host_activation, key_activation};

/// What a product key is worth by the catalog.
pub(crate) struct Rights {
    pub(crate) key: KeyId,
    /// The key group, with the key's own limits in place of the group's.
    pub(crate) group: KeyGroup,
    pub(crate) sku: Sku,
    /// The five digits that begin its extended PIDs.
    product: u32,
    /// What a key's holder becomes: an activation host, or one activated machine.
    pub(crate) role: Role,
    /// For the key of a machine: on how many.
    pub(crate) machines_allowed: u32,
}

impl Rights {
    pub(crate) fn of(record: &KeyRecord, catalog: &Catalog) -> Result<Self> {
        let (group, sku, application) = kind(record.id, catalog)?;
        let role = match sku.channel {
            Channel::KmsHost => Role::Host,
            Channel::Mak | Channel::Retail => Role::Machine,
            Channel::KmsClient => {
                return Err(Error::new(
                    Code::ProductKeyUnsuited,
                    format!(
                        "product key {} is of {:?}: nothing is activated with it here",
                        record.id, group.name
                    ),
                    "use a host key, a MAK or a retail key; KMS clients are activated by the customer's host",
                ));
            }
        };
        let limits = &record.limits;
        let machines_allowed = limits.machines.unwrap_or_else(|| catalog.products.machines_allowed(group));
        let (mut group, sku) = (group.clone(), sku.clone());
        group.hosts = limits.hosts.unwrap_or(group.hosts);
        group.reactivations = limits.reactivations.unwrap_or(group.reactivations);
        Ok(Self { key: record.id, group, sku, product: application.product_number, role, machines_allowed })
    }

    /// Refuses a key of the other kind.
    pub(crate) fn limited_to(self, role: Role) -> Result<Self> {
        if self.role == role {
            return Ok(self);
        }
        let (what, next) = match self.role {
            Role::Host => {
                ("activates hosts, not machines", "install it on an activation host: `quorate-host ipk`")
            }
            _ => ("activates machines, not hosts", "install it on the machine itself: `quorate install-key`"),
        };
        Err(Error::new(
            Code::ProductKeyUnsuited,
            format!("product key {} is of {:?}, which {what}", self.key, self.group.name),
            next,
        ))
    }

    pub(crate) fn entitlement(&self, now: Timestamp) -> Entitlement {
        Entitlement {
            key: self.key,
            extended_pid: ExtendedPid {
                product: self.product,
                key: self.key,
                channel: self.sku.channel.number(),
                locale: LOCALE,
                build: BUILD,
                date: ExtendedPid::date_of(now),
            },
            sku_groups: self.group.activates.clone(),
        }
    }

    /// On how many machines the key may be activated, hosts or others.
    pub(crate) fn allowed(&self) -> u32 {
        match self.role {
            Role::Machine => self.machines_allowed,
            Role::Host | Role::Issuer => self.group.hosts,
        }
    }

    /// Until when the certificate of a slot must hold at least to be given to somebody. A host that was activated by
    /// telephone asks for another certificate in the last 30 days of its own; what ends together with that is no help.
    pub(crate) fn worth_giving(&self, now: Timestamp) -> Timestamp {
        let quarter = Interval::seconds(self.group.certificate_validity.as_seconds() / 4);
        quarter.min(SHORTEST_HELP).after(now)
    }

    /// Whether a host that was last certified then asks because its certificate is to end, as hosts do after two thirds of
    /// its time. That costs nothing, or a host would use up its re-activations by working as it should.
    pub(crate) fn is_renewal(&self, last: Timestamp, now: Timestamp) -> bool {
        let half = Interval::seconds(self.group.certificate_validity.as_seconds() / 2);
        half.after(last) <= now
    }

    /// Decides on one more activation, after those before it.
    pub(crate) fn grant(&self, before: UsedSoFar) -> Result<()> {
        match self.role {
            Role::Machine => key_activation::grant(&self.group, self.machines_allowed, self.key, before),
            Role::Host | Role::Issuer => host_activation::grant(&self.group, self.key, before).map(drop),
        }
    }
}

/// Of which group a key is, and of which edition of which application.
pub(crate) fn kind(key: KeyId, catalog: &Catalog) -> Result<(&KeyGroup, &Sku, &Application)> {
    let group = key_group(catalog, key.group())?;
    let sku = catalog.products.sku(group.sku);
    let found = sku.and_then(|sku| Some((group, sku, catalog.products.application(sku.application)?)));
    found.ok_or_else(|| {
        Error::new(Code::Internal, "a key group of the catalog leads nowhere", "please report this")
    })
}

/// Whether a key is a public client setup key: everybody has it, it makes a machine a client of an activation host, and
/// nothing is activated with it or counted.
pub(crate) fn is_public(key: KeyId, catalog: &Catalog) -> Result<bool> {
    Ok(kind(key, catalog)?.1.channel == Channel::KmsClient)
}

/// Of a certificate that holds for years.
const SHORTEST_HELP: Interval = Interval::days(90);
/// English, United States: the locale of the documented example.
const LOCALE: u16 = 1033;
/// The generation of our own certificates, in the place of a system's build.
const BUILD: (u16, u16) = (1, 0);
