//! What product keys are worth: hosts and machines activated online and by telephone, license packs.
//!
//! The rules are the core's; here they meet what the vendor remembers, one decision at a time.

use crate::service::{Service, key_group};
use crate::store::{KeyRecord, Slot};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::catalog::{Catalog, Channel, KeyGroup, Sku};
use quorate_core::certificate::{Entitlement, Role};
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::host_activation::{self, HostActivationRequest, HostActivationResponse};
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::{self, KeyActivationRequest, KeyActivationResponse};
use quorate_core::license_pack::{LicensePack, SealedSlot, SlotSecret};
use quorate_core::machine_license::MachineLicense;
use quorate_core::product_key::{KeyId, Verifier};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::{files, random};
use rustls::pki_types::CertificateDer;

impl Service {
    /// Makes a license pack with fresh slots for a host key, a MAK or a retail key.
    pub fn pack(&mut self, id: KeyId, slots: u32) -> Result<String> {
        let _alone = files::lock(&self.lock)?;
        let record = self.usable_key(id)?;
        let catalog = self.catalog()?;
        let rights = Rights::of(&record, &catalog)?;
        let now = self.clock.now();
        let (entitlement, validity) = (rights.entitlement(now), rights.group.certificate_validity);
        let first = self.store.slots(id)? + 1;
        let mut secrets = Vec::new();
        let mut sealed = Vec::new();
        for number in first..first.saturating_add(slots) {
            let credential = self.authority.credential(rights.role, &entitlement, validity, now)?;
            let secret = SlotSecret::from_bytes(random::bytes());
            sealed.push(SealedSlot::seal(number, &credential, &secret, self.authority.vendor(), id)?);
            secrets.push(Slot { number, secret });
        }
        let revocations = self.revocations_jws()?;
        let pack = self.authority.sign(&LicensePack {
            vendor: self.authority.vendor().clone(),
            key: id,
            root: BASE64.encode(self.authority.root().der()),
            catalog: self.catalog_jws()?,
            revocations,
            slots: sealed,
        })?;
        self.store.add_slots(id, &secrets, validity.after(now))?;
        Ok(pack)
    }

    /// Activates a host online. The same request again gets the same certificate again and is not counted, so
    /// that a lost answer costs nothing.
    pub fn activate_host(&mut self, request: &HostActivationRequest) -> Result<HostActivationResponse> {
        let _alone = files::lock(&self.lock)?;
        let installation_id = request.installation_id;
        let id = installation_id.key();
        let signing_request = request.verify(&self.verifier(id)?).map_err(|_| {
            not_proven(
                id,
                "install it on the host again (`quorate-host upk`, `quorate-host ipk`), then `quorate-host ato`",
            )
        })?;
        let record = self.usable_key(id)?;
        let catalog = self.catalog()?;
        let rights = Rights::of(&record, &catalog)?.limited_to(Role::Host)?;
        let hash = sha256(&signing_request);
        let chain = match self.store.issued(&installation_id, &hash)? {
            Some(chain) => chain.into_iter().map(CertificateDer::from).collect(),
            None => {
                self.grant(&rights, &installation_id)?;
                let now = self.clock.now();
                let (entitlement, validity) = (rights.entitlement(now), rights.group.certificate_validity);
                let chain = self.authority.certify_host(&signing_request, &entitlement, validity, now)?;
                self.store.add_activation(&installation_id, &hash, &chain, now)?;
                chain
            }
        };
        Ok(HostActivationResponse {
            certificate_chain: chain.iter().map(|certificate| BASE64.encode(certificate)).collect(),
            catalog: self.catalog_jws()?,
            revocations: self.revocations_jws()?,
        })
    }

    /// Activates a machine that has a MAK or a retail key. The same machine again is free, so that a lost answer
    /// costs nothing.
    pub fn activate_key(&mut self, request: &KeyActivationRequest) -> Result<KeyActivationResponse> {
        let _alone = files::lock(&self.lock)?;
        let installation_id = request.installation_id;
        let id = installation_id.key();
        if !request.is_proven(&self.verifier(id)?) {
            return Err(not_proven(
                id,
                "install it on the machine again (`quorate install-key`), then `quorate activate`",
            ));
        }
        let record = self.usable_key(id)?;
        let catalog = self.catalog()?;
        let rights = Rights::of(&record, &catalog)?.limited_to(Role::Machine)?;
        self.grant(&rights, &installation_id)?;
        let now = self.clock.now();
        let license = self.authority.sign(&MachineLicense {
            vendor: self.authority.vendor().clone(),
            installation_id,
            hardware: request.hardware,
            sku: rights.sku.id,
            extended_pid: rights.entitlement(now).extended_pid,
            granted: now,
        })?;
        let revocations = self.revocations_jws()?;
        self.store.add_machine(&installation_id, now)?;
        let machines = u32::try_from(self.store.activations(id)?.len()).unwrap_or(u32::MAX);
        Ok(KeyActivationResponse {
            license,
            revocations,
            machines,
            machines_allowed: rights.machines_allowed,
        })
    }

    /// What proves that somebody holds a key. Who can't prove it learns nothing of the key, not even whether there
    /// is one.
    fn verifier(&self, id: KeyId) -> Result<Verifier> {
        Ok(match self.store.key(id)? {
            Some(record) => record.verifier,
            None => Verifier::from_bytes(random::bytes()),
        })
    }

    /// The phone desk: the Confirmation ID for an Installation ID; the same again for the same.
    pub fn confirm(&mut self, installation_id: &InstallationId) -> Result<ConfirmationId> {
        let _alone = files::lock(&self.lock)?;
        let record = self.usable_key(installation_id.key())?;
        installation_id.verify(&record.verifier)?;
        let slot = match self.store.assigned_slot(installation_id)? {
            Some(slot) => slot,
            None => self.assign_slot(&record, installation_id)?,
        };
        Ok(ConfirmationId::conceal(&slot.secret, installation_id, &record.verifier))
    }

    fn assign_slot(&mut self, record: &KeyRecord, installation_id: &InstallationId) -> Result<Slot> {
        let catalog = self.catalog()?;
        self.grant(&Rights::of(record, &catalog)?, installation_id)?;
        self.store.assign_slot(installation_id, self.clock.now())?.ok_or_else(|| {
            Error::new(
                Code::SlotsUsedUp,
                format!("product key {} has no slot left in its license pack", record.id),
                format!("make the customer a new pack: `quorate-vendor pack {}`", record.id),
            )
        })
    }

    fn grant(&self, rights: &Rights<'_>, installation_id: &InstallationId) -> Result<()> {
        let (key, machine) = (installation_id.key(), installation_id.hardware());
        let before = self.store.activations(key)?;
        match rights.role {
            Role::Machine => {
                key_activation::grant(rights.group, rights.machines_allowed, key, machine, &before)
            }
            Role::Host | Role::Issuer => {
                host_activation::grant(rights.group, key, machine, &before).map(drop)
            }
        }
    }
}

/// What a product key is worth by the catalog.
struct Rights<'c> {
    key: KeyId,
    group: &'c KeyGroup,
    sku: &'c Sku,
    /// The five digits that begin its extended PIDs.
    product: u32,
    /// What a key's holder becomes: an activation host, or one activated machine.
    role: Role,
    /// For the key of a machine: on how many.
    machines_allowed: u32,
}

impl<'c> Rights<'c> {
    fn of(record: &KeyRecord, catalog: &'c Catalog) -> Result<Self> {
        let group = key_group(catalog, record.id.group())?;
        let products = &catalog.products;
        let sku = products.sku(group.sku);
        let (sku, application) =
            sku.zip(sku.and_then(|sku| products.application(sku.application))).ok_or_else(|| {
                Error::new(Code::Internal, "a key group of the catalog leads nowhere", "please report this")
            })?;
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
        let machines_allowed = products.machines_allowed(group);
        Ok(Self { key: record.id, group, sku, product: application.product_number, role, machines_allowed })
    }

    /// Refuses a key of the other kind.
    fn limited_to(self, role: Role) -> Result<Self> {
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

    fn entitlement(&self, now: Timestamp) -> Entitlement {
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
}

fn not_proven(id: KeyId, next: &str) -> Error {
    Error::new(
        Code::ProofInvalid,
        format!("the proof that the sender holds product key {id} of this vendor does not hold"),
        format!("compare the key with its certificate and {next}"),
    )
}

fn sha256(content: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
    hash
}

/// English, United States: the locale of the documented example.
const LOCALE: u16 = 1033;
/// The generation of our own certificates, in the place of a system's build.
const BUILD: (u16, u16) = (1, 0);
