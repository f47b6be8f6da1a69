//! Registration: which vendor's products are on this machine, and which edition of each.
//!
//! A product's installer hands over the vendor root and the signed catalog, and names the edition that was
//! installed. Both files are kept beside the license store, one directory for each vendor.

use crate::store::Store;
use crate::stored::Installation;
use quorate_core::catalog::{Catalog, Channel, Sku};
use quorate_core::certificate::VendorRoot;
use quorate_core::identifier::{ActivationId, VendorId};
use quorate_core::{Code, Error, Result, Timestamp, signed};
use quorate_edge::files::{self, Access};
use quorate_edge::machine::Machine;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

/// What a vendor has given to this machine, verified.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// The vendor's directory.
    pub directory: PathBuf,
    /// The vendor root.
    pub root: VendorRoot,
    /// The catalog.
    pub catalog: Catalog,
}

impl Vendor {
    /// The vendor whose files are in this directory, by the root that was registered there.
    pub fn open(directory: PathBuf, now: Timestamp) -> Result<Self> {
        let root = read_root(&directory.join(ROOT))?;
        Self::trusted(directory, root, now)
    }

    /// The vendor whose catalog is in this directory, by a root that is known from elsewhere.
    pub fn trusted(directory: PathBuf, root: VendorRoot, now: Timestamp) -> Result<Self> {
        let id: VendorId =
            directory.file_name().and_then(|name| name.to_str()).unwrap_or_default().parse()?;
        let jws = files::read_text(&directory.join(CATALOG))?;
        let catalog = signed::verify::<Catalog>(&jws, &root, &id, now)?.document;
        Ok(Self { directory, root, catalog })
    }

    /// Every vendor that is registered in a state directory.
    pub fn all(state: &Path, now: Timestamp) -> Result<Vec<Result<Self>>> {
        let entries = match std::fs::read_dir(state) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files::reading(state, &error)),
        };
        let mut directories = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| files::reading(state, &error))?.path();
            if path.join(CATALOG).is_file() {
                directories.push(path);
            }
        }
        directories.sort();
        Ok(directories.into_iter().map(|directory| Self::open(directory, now)).collect())
    }

    /// Puts root (in PEM) and catalog into the vendor's directory.
    pub(crate) fn keep(&self, root: &[u8], catalog: &str) -> Result<()> {
        // Nothing in it is secret, and a product that runs as an ordinary user must read its license.
        std::fs::create_dir_all(&self.directory).map_err(|error| files::writing(&self.directory, &error))?;
        files::write(&self.directory.join(ROOT), root, Access::Public)?;
        files::write(&self.directory.join(CATALOG), catalog.trim().as_bytes(), Access::Public)
    }

    /// The SKU with this activation id.
    pub fn sku(&self, id: ActivationId) -> Result<&Sku> {
        self.catalog.products.sku(id).ok_or_else(|| {
            Error::new(
                Code::ProductKeyUnsuited,
                format!(
                    "catalog {} of {} has no product {id}",
                    self.catalog.number, self.catalog.vendor_name
                ),
                "register the vendor's newest catalog: `quorate register`",
            )
        })
    }
}

/// Registers a vendor's catalog and one installed edition. A newer catalog takes the place of an older; an
/// edition of an application takes the place of the one before, without restarting its grace.
pub fn register(
    state: &Path,
    root: &Path,
    catalog: &Path,
    edition: Option<ActivationId>,
    machine: &Machine,
    now: Timestamp,
) -> Result<(Vendor, Installation)> {
    let vendor_root = read_root(root)?;
    let jws = files::read_text(catalog)?;
    let new = signed::verify_own_vendor::<Catalog>(&jws, &vendor_root, now)?.document;
    let directory = state.join(new.vendor.as_str());
    // Where either file was lost, registering again is the cure.
    if directory.join(CATALOG).exists() && directory.join(ROOT).exists() {
        let known = Vendor::open(directory.clone(), now)?;
        if known.root != vendor_root {
            return Err(Error::new(
                Code::UntrustedRoot,
                format!(
                    "vendor {} is registered here with another root (SHA-256 {}…)",
                    new.vendor,
                    &known.root.fingerprint()[..23]
                ),
                format!("ask the vendor; if it has a new root, remove {} first", directory.display()),
            ));
        }
        if known.catalog.number > new.number {
            return Err(Error::new(
                Code::StaleNumber,
                format!("this is catalog {}, but {} is registered already", new.number, known.catalog.number),
                "use the vendor's newest catalog",
            ));
        }
    }
    let sku = choose(&new, edition)?.clone();
    let vendor = Vendor { directory, root: vendor_root, catalog: new };
    vendor.keep(&files::read(root)?, &jws)?;
    let installation = Store::new(&vendor.directory, sku.application).install(sku.id, machine, now)?;
    Ok((vendor, installation))
}

/// The edition that was named or, when the catalog has only one that hosts activate, that one.
fn choose(catalog: &Catalog, edition: Option<ActivationId>) -> Result<&Sku> {
    let skus = || catalog.products.skus.iter();
    let list = |channel: fn(Channel) -> bool| {
        let named = skus().filter(|sku| channel(sku.channel)).map(|sku| format!("{} ({})", sku.id, sku.name));
        named.collect::<Vec<_>>().join(", ")
    };
    let is_client = |channel: Channel| channel == Channel::KmsClient;
    // A host's edition is not one of a machine.
    let is_machine = |channel: Channel| channel != Channel::KmsHost;
    if let Some(id) = edition {
        return skus().find(|sku| sku.id == id && is_machine(sku.channel)).ok_or_else(|| {
            Error::new(
                Code::ProductKeyUnsuited,
                format!("catalog {} has no edition {id} for machines", catalog.number),
                format!("name one of: {}", list(is_machine)),
            )
        });
    }
    let mut clients = skus().filter(|sku| is_client(sku.channel));
    match (clients.next(), clients.count()) {
        (Some(only), 0) => Ok(only),
        (first, more) => Err(Error::new(
            Code::ProductKeyUnsuited,
            format!("the catalog has {} editions that hosts activate", first.map_or(0, |_| more + 1)),
            format!(
                "name one with --product: {}",
                list(if first.is_some() { is_client } else { is_machine })
            ),
        )),
    }
}

fn read_root(path: &Path) -> Result<VendorRoot> {
    let der = CertificateDer::from_pem_slice(&files::read(path)?).map_err(|error| {
        Error::new(
            Code::DocumentInvalid,
            format!("{} is not a certificate in PEM ({error})", path.display()),
            "give the vendor's root certificate, vendor-root.pem",
        )
    })?;
    VendorRoot::from_der(der.to_vec())
}

const ROOT: &str = "vendor-root.pem";
const CATALOG: &str = "catalog.jws";
