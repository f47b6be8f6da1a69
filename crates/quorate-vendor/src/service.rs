//! The service: decides what the vendor grants, keeps it, signs it.
//!
//! Used by the HTTPS interface and by the command line alike. Each method is one thing that somebody asks of
//! a vendor, and either happens whole or not at all. What counts before it decides (the next number, the hosts
//! that a key has left) holds a lock meanwhile, since commands run beside the service.

use crate::authority::{Authority, Directories};
use crate::store::{KeyRecord, Slot, Store};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::catalog::{Catalog, Channel, KeyGroup, Products};
use quorate_core::certificate::Entitlement;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::host_activation::{self, HostActivationRequest, HostActivationResponse};
use quorate_core::identifier::VendorId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::{LicensePack, SealedSlot, SlotSecret};
use quorate_core::product_key::{KeyId, ProductKey, Verifier};
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, Result, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::{files, random};
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

/// A vendor that has been set up.
pub struct Service {
    authority: Authority,
    store: Store,
    clock: Clock,
    lock: PathBuf,
    /// The newest revocation list that was signed, by its number.
    revocations: Option<(u64, String)>,
}

/// Who the vendor is.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// Its short name.
    pub id: VendorId,
    /// Its name as people know it.
    pub name: String,
    /// Where its service will be reached.
    pub url: String,
}

impl Service {
    /// Sets a vendor up: certificates and an empty database. Refuses to replace any that are there.
    pub fn create(directories: &Directories, vendor: &Vendor, clock: &Clock) -> Result<()> {
        service_host(&vendor.url)?;
        directories.check()?;
        files::make_private_directory(&directories.service)?;
        let _alone = files::lock(&directories.service.join(LOCK))?;
        let database = directories.service.join(DATABASE);
        let mut made = directories.files();
        // A journal that is left over would be taken for the new database's own.
        made.extend([DATABASE, "vendor.db-wal", "vendor.db-shm"].map(|name| directories.service.join(name)));
        if let Some(path) = made.iter().find(|path| path.exists()) {
            return Err(Error::new(
                Code::AlreadyThere,
                format!("{} is there already", path.display()),
                "a vendor is set up once; choose other directories for another vendor",
            ));
        }
        let settings =
            [(VENDOR, vendor.id.as_str()), (NAME, vendor.name.as_str()), (URL, vendor.url.as_str())];
        Authority::create(directories, &vendor.id, &vendor.name, clock.now())
            .and_then(|()| Store::create(&database, &settings))
            .inspect_err(|_| {
                // Half a vendor would only be in the way of the next attempt.
                for path in &made {
                    let _ = std::fs::remove_file(path);
                }
            })
    }

    /// Opens the vendor in this directory.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self> {
        let store = Store::open(&directory.join(DATABASE))?;
        let authority = Authority::load(directory, store.setting(VENDOR)?.parse()?)?;
        Ok(Self { authority, store, clock, lock: directory.join(LOCK), revocations: None })
    }

    /// The certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The host part of the service's URL: what its TLS certificate is made out for.
    pub fn service_name(&self) -> Result<String> {
        service_host(&self.store.setting(URL)?)
    }

    /// Signs a new catalog with these products, under the next number.
    pub fn import(&mut self, products: Products) -> Result<Catalog> {
        let _alone = files::lock(&self.lock)?;
        let number = self.store.newest_catalog()?.map_or(1, |(number, _)| number + 1);
        let catalog = Catalog {
            vendor: self.authority.vendor().clone(),
            vendor_name: self.store.setting(NAME)?,
            number,
            issued: self.clock.now(),
            service_url: self.store.setting(URL)?,
            products,
        };
        let jws = self.authority.sign(&catalog)?;
        self.store.add_catalog(number, &jws)?;
        Ok(catalog)
    }

    /// The newest signed catalog.
    pub fn catalog_jws(&self) -> Result<String> {
        self.store.newest_catalog()?.map(|(_, jws)| jws).ok_or_else(|| {
            Error::new(
                Code::NotSetUp,
                "no products have been imported yet",
                "`quorate-vendor product import FILE`",
            )
        })
    }

    /// The newest catalog.
    pub fn catalog(&self) -> Result<Catalog> {
        let jws = self.catalog_jws()?;
        let verified =
            signed::verify(&jws, self.authority.root(), self.authority.vendor(), self.clock.now())?;
        Ok(verified.document)
    }

    /// Issues product keys. They are returned this once and not kept.
    pub fn issue_keys(&mut self, group: u16, count: u32, customer: &str) -> Result<Vec<ProductKey>> {
        let _alone = files::lock(&self.lock)?;
        let catalog = self.catalog()?;
        key_group(&catalog, group)?;
        let first = self.store.highest_serial(group)? + 1;
        let issued = self.clock.now();
        let keys = (0..count)
            .map(|offset| {
                Ok(ProductKey::new(KeyId::new(group, first.saturating_add(offset))?, random::bytes()))
            })
            .collect::<Result<Vec<_>>>()?;
        let records: Vec<KeyRecord> = keys
            .iter()
            .map(|key| KeyRecord {
                id: key.id(),
                verifier: key.verifier(),
                partial: key.partial(),
                issued,
                customer: customer.to_owned(),
                blocked: false,
            })
            .collect();
        self.store.add_keys(&records)?;
        Ok(keys)
    }

    /// Every key that was issued.
    pub fn keys(&self) -> Result<Vec<KeyRecord>> {
        self.store.keys()
    }

    /// Takes a key back: it is activated no more, and hosts that have it stop at the next renewals.
    pub fn block_key(&mut self, id: KeyId) -> Result<()> {
        self.known_key(id)?;
        self.store.block_key(id)
    }

    /// The newest signed revocation list. Each is signed once, however many ask for it.
    pub fn revocations_jws(&mut self) -> Result<String> {
        let newest = self.store.revocations_number()?;
        if let Some((number, jws)) = &self.revocations
            && *number == newest
        {
            return Ok(jws.clone());
        }
        let (number, keys) = self.store.revocations()?;
        let jws = self.authority.sign(&RevocationList {
            vendor: self.authority.vendor().clone(),
            number,
            issued: self.clock.now(),
            keys,
            certificates: Default::default(),
        })?;
        self.revocations = Some((number, jws.clone()));
        Ok(jws)
    }

    /// Makes a license pack with fresh slots for a host key.
    pub fn pack(&mut self, id: KeyId, slots: u32) -> Result<String> {
        let _alone = files::lock(&self.lock)?;
        let record = self.usable_key(id)?;
        let catalog = self.catalog()?;
        let group = host_key_group(&catalog, &record)?;
        let now = self.clock.now();
        let entitlement = entitlement(&catalog, group, id, now)?;
        let first = self.store.slots(id)? + 1;
        let mut secrets = Vec::new();
        let mut sealed = Vec::new();
        for number in first..first.saturating_add(slots) {
            let credential = self.authority.host_credential(&entitlement, group.certificate_validity, now)?;
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
        self.store.add_slots(id, &secrets, group.certificate_validity.after(now))?;
        Ok(pack)
    }

    /// Activates a host online. The same request again gets the same certificate again and is not counted, so
    /// that a lost answer costs nothing.
    pub fn activate_host(&mut self, request: &HostActivationRequest) -> Result<HostActivationResponse> {
        let _alone = files::lock(&self.lock)?;
        let installation_id = request.installation_id;
        let signing_request = self.proven(request)?;
        let record = self.usable_key(installation_id.key())?;
        let catalog = self.catalog()?;
        let group = host_key_group(&catalog, &record)?;
        let hash = sha256(&signing_request);
        let chain = match self.store.issued(&installation_id, &hash)? {
            Some(chain) => chain.into_iter().map(CertificateDer::from).collect(),
            None => {
                self.grant(group, &installation_id)?;
                let now = self.clock.now();
                let entitlement = entitlement(&catalog, group, record.id, now)?;
                let validity = group.certificate_validity;
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

    /// The signing request of somebody who has proven that he holds the key. Who can't learns nothing of the
    /// key, not even whether there is one.
    fn proven(&self, request: &HostActivationRequest) -> Result<Vec<u8>> {
        let id = request.installation_id.key();
        let verifier = match self.store.key(id)? {
            Some(record) => record.verifier,
            None => Verifier::from_bytes(random::bytes()),
        };
        request.verify(&verifier).map_err(|_| {
            Error::new(
                Code::ProofInvalid,
                format!("the proof that the sender holds product key {id} of this vendor does not hold"),
                "compare the key with its certificate and install it on the host again (`quorate-host upk`, \
                 `quorate-host ipk`), then `quorate-host ato`",
            )
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
        self.grant(host_key_group(&catalog, record)?, installation_id)?;
        self.store.assign_slot(installation_id, self.clock.now())?.ok_or_else(|| {
            Error::new(
                Code::SlotsUsedUp,
                format!("product key {} has no slot left in its license pack", record.id),
                format!("make the customer a new pack: `quorate-vendor pack {}`", record.id),
            )
        })
    }

    fn grant(&self, group: &KeyGroup, installation_id: &InstallationId) -> Result<()> {
        let before = self.store.activations(installation_id.key())?;
        host_activation::grant(group, installation_id.key(), installation_id.hardware(), &before).map(drop)
    }

    fn known_key(&self, id: KeyId) -> Result<KeyRecord> {
        self.store.key(id)?.ok_or_else(|| {
            Error::new(
                Code::KeyUnknown,
                format!("product key {id} was not issued by this vendor"),
                "compare the key with its certificate; `quorate-vendor key list` shows those issued",
            )
        })
    }

    fn usable_key(&self, id: KeyId) -> Result<KeyRecord> {
        let record = self.known_key(id)?;
        if record.blocked {
            return Err(Error::new(
                Code::KeyBlocked,
                format!("product key {id} (…{}) is blocked by the vendor", record.partial),
                "ask the vendor why, or for another key",
            ));
        }
        Ok(record)
    }
}

fn sha256(content: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
    hash
}

fn key_group(catalog: &Catalog, number: u16) -> Result<&KeyGroup> {
    catalog.products.key_group(number).ok_or_else(|| {
        let known: Vec<String> = catalog
            .products
            .key_groups
            .iter()
            .map(|group| format!("{} ({})", group.number, group.name))
            .collect();
        Error::new(
            Code::CatalogInvalid,
            format!("catalog {} has no key group {number}", catalog.number),
            format!("choose one of: {}", known.join(", ")),
        )
    })
}

fn host_key_group<'c>(catalog: &'c Catalog, record: &KeyRecord) -> Result<&'c KeyGroup> {
    let group = key_group(catalog, record.id.group())?;
    let sku = catalog.products.sku(group.sku);
    if sku.is_some_and(|sku| sku.channel == Channel::KmsHost) {
        return Ok(group);
    }
    Err(Error::new(
        Code::ProductKeyUnsuited,
        format!("product key {} is of {:?}, which are not host keys", record.id, group.name),
        "use a key of a group that activates clients",
    ))
}

fn entitlement(catalog: &Catalog, group: &KeyGroup, key: KeyId, now: Timestamp) -> Result<Entitlement> {
    let sku = catalog
        .products
        .sku(group.sku)
        .zip(catalog.products.sku(group.sku).and_then(|sku| catalog.products.application(sku.application)));
    let (sku, application) = sku.ok_or_else(|| {
        Error::new(Code::Internal, "a key group of the catalog leads nowhere", "please report this")
    })?;
    Ok(Entitlement {
        key,
        extended_pid: ExtendedPid {
            product: application.product_number,
            key,
            channel: sku.channel.number(),
            locale: LOCALE,
            build: BUILD,
            date: ExtendedPid::date_of(now),
        },
        sku_groups: group.activates.clone(),
    })
}

fn service_host(url: &str) -> Result<String> {
    let authority = url.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    // An IPv6 address is in brackets, which hold colons; a port follows the last one.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => ServerName::try_from(host).is_ok(),
    };
    if !is_host || port.is_some_and(|port| port.parse::<NonZeroU16>().is_err()) {
        return Err(Error::new(
            Code::AddressInvalid,
            format!("{} is not the URL of an activation service", quorate_core::identifier::quoted(url)),
            "write it as in \"https://activation.contoso.example\"",
        ));
    }
    Ok(host.to_owned())
}

/// Reads a product file.
pub fn read_products(path: &Path) -> Result<Products> {
    let text = files::read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        // What the file contradicts itself in, or lacks, is not at any one line.
        let part = error.span().filter(|span| *span != (0..0));
        let line = part.map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
        let place = line.map(|line| format!(", line {line}")).unwrap_or_default();
        // The checks of `Products` put the next step behind a semicolon.
        let message = error.message();
        let (what, next) =
            message.split_once("; ").unwrap_or((message, "compare it with the shipped example"));
        Error::new(Code::CatalogInvalid, format!("{}{place}: {what}", path.display()), next)
    })
}

/// English, United States: the locale of the documented example.
const LOCALE: u16 = 1033;
/// The generation of our own certificates, in the place of a system's build.
const BUILD: (u16, u16) = (1, 0);

const DATABASE: &str = "vendor.db";
const LOCK: &str = "vendor.lock";
const VENDOR: &str = "vendor";
const NAME: &str = "name";
const URL: &str = "url";
