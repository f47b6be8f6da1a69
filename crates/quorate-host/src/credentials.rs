//! The credentials with which the host answers: certificates by vendor, chosen by the name a client asks for.
//!
//! One host serves several vendors on one port. A client sends its vendor's host name as SNI; the host shows
//! a certificate of that vendor, and signs with the one whose entitlement covers the product.

use crate::store::InstalledKey;
use quorate_core::catalog::Catalog;
use quorate_core::certificate::{Entitlement, Role, vendor_of_host_name};
use quorate_core::identifier::VendorId;
use quorate_core::license_pack::{Credential, LicensePack};
use quorate_core::signed::{self, Signer};
use quorate_core::{Code, Error, Result, Timestamp};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Every credential that is active on this host.
#[derive(Debug, Default)]
pub struct Active {
    vendors: HashMap<VendorId, VendorCredentials>,
}

/// What the host has of one vendor.
#[derive(Debug)]
pub struct VendorCredentials {
    /// The newest catalog.
    pub catalog: Catalog,
    /// The newest signed revocation list, to staple.
    pub revocations: String,
    revocations_number: u64,
    /// The activated keys.
    pub keys: Vec<ActiveKey>,
}

/// One activated key.
#[derive(Debug)]
pub struct ActiveKey {
    /// What it may activate.
    pub entitlement: Entitlement,
    /// Signs responses.
    pub signer: Signer,
    tls: Arc<CertifiedKey>,
}

impl Active {
    /// The credentials of the installed keys that are activated and valid now. A key that can't be used is
    /// logged and left out; it must not keep the others from serving.
    pub fn load(keys: &[InstalledKey], now: Timestamp) -> Self {
        let mut active = Self::default();
        for key in keys {
            let Some(credential) = &key.credential else { continue };
            if let Err(error) = active.add(key, credential, now) {
                tracing::error!(key = %key.id, %error, next = error.next, "a host key cannot be used");
            }
        }
        active
    }

    /// What the host has of a vendor, by the server name that a client sent.
    pub fn by_server_name(&self, name: Option<&str>) -> Result<&VendorCredentials> {
        let vendor = name.and_then(vendor_of_host_name);
        vendor.as_ref().and_then(|vendor| self.vendors.get(vendor)).ok_or_else(|| {
            Error::new(
                Code::HostNotActivated,
                match vendor {
                    Some(vendor) => format!("this host has no activated key of vendor {vendor}"),
                    None => "the client did not say which vendor's host it wants".to_owned(),
                },
                "activate the host: `quorate-host ato`, or by telephone `dti` and `atp`",
            )
        })
    }

    fn add(&mut self, key: &InstalledKey, credential: &Credential, now: Timestamp) -> Result<()> {
        let (pack, root) = LicensePack::open(&key.pack, now)?;
        let certificate = root.verify(&pack.vendor, Role::Host, &credential.chain, now)?;
        let entitlement = certificate.entitlement.ok_or_else(|| unusable("it carries no entitlement"))?;
        let catalog = signed::verify::<Catalog>(&key.catalog, &root, &pack.vendor, now)?.document;
        let list = signed::verify::<quorate_core::revocation::RevocationList>(
            &key.revocations,
            &root,
            &pack.vendor,
            now,
        )?
        .document;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credential.private_key.to_vec()));
        let signing_key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&private)
            .map_err(|error| unusable(&error.to_string()))?;
        let active = ActiveKey {
            entitlement,
            signer: Signer::new(&credential.private_key, &credential.chain),
            tls: Arc::new(CertifiedKey::new(credential.chain.clone(), signing_key)),
        };
        let vendor = self.vendors.entry(pack.vendor).or_insert_with(|| VendorCredentials {
            catalog: catalog.clone(),
            revocations: key.revocations.clone(),
            revocations_number: list.number,
            keys: Vec::new(),
        });
        if catalog.number > vendor.catalog.number {
            vendor.catalog = catalog;
        }
        if list.number > vendor.revocations_number {
            vendor.revocations.clone_from(&key.revocations);
            vendor.revocations_number = list.number;
        }
        vendor.keys.push(active);
        Ok(())
    }
}

fn unusable(why: &str) -> Error {
    Error::new(
        Code::StoreDamaged,
        format!("a host certificate cannot be used: {why}"),
        "activate the host again: `quorate-host ato`",
    )
}

/// The active credentials, which are replaced whole when keys change. Every TLS handshake looks here.
#[derive(Clone, Debug)]
pub struct Credentials(Arc<RwLock<Arc<Active>>>);

impl Credentials {
    /// Starts with these.
    pub fn new(active: Active) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(active))))
    }

    /// Those of now.
    pub fn current(&self) -> Arc<Active> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place.
    pub fn replace(&self, active: Active) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(active);
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Without a certificate, rustls ends the handshake with an `access_denied` alert, which clients
        // report as "host not activated".
        let active = self.current();
        let vendor = active.by_server_name(hello.server_name()).ok()?;
        vendor.keys.first().map(|key| Arc::clone(&key.tls))
    }
}
