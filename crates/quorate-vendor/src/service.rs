//! The service: what the vendor says of its products and keys, kept and signed.
//!
//! Used by the HTTPS interface and by the command line alike. Each method is one thing that somebody asks of
//! a vendor, and either happens whole or not at all. What counts before it decides (the next number, the hosts
//! that a key has left) holds a lock meanwhile, since commands run beside the service. What keys
//! are worth, [`crate::activations`] decides.

use crate::authority::{Authority, Directories};
use crate::store::{KeyRecord, Store};
use quorate_core::catalog::{Catalog, KeyGroup, Products};
use quorate_core::identifier::VendorId;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, Result, signed};
use quorate_edge::clock::Clock;
use quorate_edge::{files, random};
use rustls::pki_types::ServerName;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

/// A vendor that has been set up.
pub struct Service {
    pub(crate) authority: Authority,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) lock: PathBuf,
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

    pub(crate) fn known_key(&self, id: KeyId) -> Result<KeyRecord> {
        self.store.key(id)?.ok_or_else(|| {
            Error::new(
                Code::KeyUnknown,
                format!("product key {id} was not issued by this vendor"),
                "compare the key with its certificate; `quorate-vendor key list` shows those issued",
            )
        })
    }

    pub(crate) fn usable_key(&self, id: KeyId) -> Result<KeyRecord> {
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

pub(crate) fn key_group(catalog: &Catalog, number: u16) -> Result<&KeyGroup> {
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

const DATABASE: &str = "vendor.db";
const LOCK: &str = "vendor.lock";
const VENDOR: &str = "vendor";
const NAME: &str = "name";
const URL: &str = "url";
