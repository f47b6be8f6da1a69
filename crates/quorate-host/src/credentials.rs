//! The credentials with which the host answers: certificates by vendor, chosen by the name a client asks for.
//!
//! One host serves several vendors on one port. A client sends its vendor's host name as SNI; the host shows
//! a certificate of that vendor, and signs with the one whose entitlement covers the product.

use crate::keys::{HostKey, Installed};
use quorate_core::catalog::Catalog;
use quorate_core::certificate::{Entitlement, vendor_of_host_name};
use quorate_core::hardware::Components;
use quorate_core::identifier::VendorId;
use quorate_core::revocation::RevocationList;
use quorate_core::signed::Signer;
use quorate_core::{Code, Error, Result, Timestamp};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Every credential that is active on this host.
#[derive(Debug, Default)]
pub struct Active {
    vendors: BTreeMap<VendorId, VendorCredentials>,
}

/// What the host has of one vendor.
#[derive(Debug)]
pub struct VendorCredentials {
    /// The newest catalog.
    pub catalog: Catalog,
    /// The newest signed revocation list, to staple.
    pub revocations: String,
    /// What it says.
    pub revocation_list: RevocationList,
    /// The keys that may answer; the one whose certificate lasts longest comes first.
    keys: Vec<ActiveKey>,
    /// Why another key may not, with a certificate under which clients can be told so.
    refused: Option<(Error, Arc<CertifiedKey>)>,
}

/// One key that may answer.
#[derive(Debug)]
pub struct ActiveKey {
    /// What it may activate.
    pub entitlement: Entitlement,
    /// Signs responses.
    pub signer: Signer,
    /// When its certificate ends.
    pub ends: Timestamp,
    tls: Arc<CertifiedKey>,
}

impl Active {
    /// The credentials of the installed keys that are activated and may answer now. A key that can't be used
    /// is logged and left out; it must not keep the others from serving.
    pub fn load(keys: &[Installed], hardware: &Components, now: Timestamp) -> Self {
        let mut active = Self::default();
        for installed in keys {
            let added = match &installed.key {
                Ok(key) => active.add(key, hardware, now),
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = added {
                tracing::error!(key = %installed.id, %error, next = error.next, "a host key cannot be used");
            }
        }
        for vendor in active.vendors.values_mut() {
            vendor.keys.sort_by_key(|key| std::cmp::Reverse(key.ends));
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

    /// The catalogs of the vendors for which this host answers.
    pub fn serving(&self) -> impl Iterator<Item = &Catalog> {
        self.vendors.values().filter(|vendor| !vendor.keys.is_empty()).map(|vendor| &vendor.catalog)
    }

    /// Every vendor of which the host has a credential, whether it may answer or not.
    pub fn vendors(&self) -> impl Iterator<Item = (&VendorId, &VendorCredentials)> {
        self.vendors.iter()
    }

    fn add(&mut self, key: &HostKey, hardware: &Components, now: Timestamp) -> Result<()> {
        let (Some(activation), Some(certificate)) = (&key.installed.activation, key.certificate(now)) else {
            return Ok(());
        };
        let (credential, certificate) = (&activation.credential, certificate?);
        let entitlement = certificate.entitlement.ok_or_else(|| unusable("it carries no entitlement"))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credential.private_key.to_vec()));
        let signing_key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&private)
            .map_err(|error| unusable(&error.to_string()))?;
        let tls = Arc::new(CertifiedKey::new(credential.chain.clone(), signing_key));
        let vendor = self.vendors.entry(key.installed.vendor.clone()).or_insert_with(|| VendorCredentials {
            catalog: key.catalog.clone(),
            revocations: key.installed.documents.revocations.clone(),
            revocation_list: key.revocations.clone(),
            keys: Vec::new(),
            refused: None,
        });
        if let Err(error) = key.standing(hardware, now) {
            vendor.refused = Some((as_clients_are_told(&error), tls));
            return Err(error);
        }
        let signer = Signer::new(&credential.private_key, &credential.chain);
        vendor.keys.push(ActiveKey { entitlement, signer, ends: certificate.not_after, tls });
        Ok(())
    }
}

impl VendorCredentials {
    /// The keys that may answer, or why none may.
    pub fn keys(&self) -> Result<&[ActiveKey]> {
        match &self.refused {
            Some((error, _)) if self.keys.is_empty() => Err(error.clone()),
            _ => Ok(&self.keys),
        }
    }

    fn tls(&self) -> Option<&Arc<CertifiedKey>> {
        let refused = self.refused.as_ref().map(|(_, tls)| tls);
        self.keys.first().map(|key| &key.tls).or(refused)
    }
}

/// A client can do nothing about the host's hardware, and must not take it for its own.
fn as_clients_are_told(error: &Error) -> Error {
    match error.code {
        Code::HardwareChanged => Error::new(
            Code::HostNotActivated,
            "this host's key was activated on another machine",
            "tell the host's administrator: `quorate-host dlv` there says what to do; meanwhile ask another host",
        ),
        _ => error.clone(),
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
        vendor.tls().cloned()
    }
}
