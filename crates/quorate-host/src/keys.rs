//! Host keys: installing one, and activating the host with it, online or by telephone.
//!
//! The product key is turned into its verifier at once and not kept. The license pack brings the vendor root;
//! whoever installs the pack decides to trust it, and from then on packs of the same vendor must bring the
//! same root.

use crate::store::{InstalledKey, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::catalog::{Catalog, Channel, Sku};
use quorate_core::certificate::{Role, VendorRoot};
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::hardware::HardwareId;
use quorate_core::host_activation::{HostActivationRequest, HostActivationResponse};
use quorate_core::identifier::{ActivationId, quoted};
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::{Credential, LicensePack};
use quorate_core::product_key::ProductKey;
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, Result, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::https::ServiceClient;
use quorate_edge::random;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

/// An installed key with what its pack and catalog say about it, verified.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// The record in the store.
    pub installed: InstalledKey,
    /// The vendor root.
    pub root: VendorRoot,
    /// The license pack.
    pub pack: LicensePack,
    /// The newest catalog.
    pub catalog: Catalog,
    /// The SKU that the key licenses.
    pub sku: Sku,
}

impl HostKey {
    /// Verifies what is installed.
    pub fn read(installed: InstalledKey, now: Timestamp) -> Result<Self> {
        let (pack, root) = LicensePack::open(&installed.pack, now)?;
        let catalog: Catalog = signed::verify(&installed.catalog, &root, &pack.vendor, now)?.document;
        let group = catalog.products.key_group(installed.id.group());
        let sku = group.and_then(|group| catalog.products.sku(group.sku)).cloned();
        match sku {
            Some(sku) if sku.channel == Channel::KmsHost => Ok(Self { installed, root, pack, catalog, sku }),
            Some(sku) => Err(unsuited(format!(
                "the product key is for {} ({}), not for an activation host",
                sku.name, sku.channel
            ))),
            None => {
                Err(unsuited(format!("catalog {} does not know the product key's group", catalog.number)))
            }
        }
    }

    /// Every installed key.
    pub fn all(store: &Store, now: Timestamp) -> Result<Vec<Self>> {
        store.keys()?.into_iter().map(|installed| Self::read(installed, now)).collect()
    }

    /// Every installed key, of which there must be one.
    pub fn at_least_one(store: &Store, now: Timestamp) -> Result<Vec<Self>> {
        let keys = Self::all(store, now)?;
        if keys.is_empty() {
            return Err(Error::new(
                Code::ProductKeyMissing,
                "no host key is installed",
                "`quorate-host ipk KEY --pack FILE`",
            ));
        }
        Ok(keys)
    }

    /// The key for this activation id, or the only one there is.
    pub fn select(store: &Store, id: Option<ActivationId>, now: Timestamp) -> Result<Self> {
        let mut keys = Self::at_least_one(store, now)?;
        let known: Vec<String> =
            keys.iter().map(|key| format!("{} ({})", key.sku.id, key.sku.name)).collect();
        match id {
            Some(id) => match keys.iter().position(|key| key.sku.id == id) {
                Some(index) => Ok(keys.swap_remove(index)),
                None => Err(Error::new(
                    Code::ProductKeyMissing,
                    format!("no host key is installed for {id}"),
                    format!("name one of: {}", known.join(", ")),
                )),
            },
            None if keys.len() == 1 => Ok(keys.swap_remove(0)),
            None => Err(Error::new(
                Code::ProductKeyMissing,
                format!("{} host keys are installed", keys.len()),
                format!("add the activation id of one: {}", known.join(", ")),
            )),
        }
    }

    /// The certificate with which the host is activated, if it is.
    pub fn certificate(
        &self,
        now: Timestamp,
    ) -> Option<Result<quorate_core::certificate::VerifiedCertificate>> {
        let credential = self.installed.credential.as_ref()?;
        Some(self.root.verify(&self.pack.vendor, Role::Host, &credential.chain, now))
    }
}

/// Installs a host key with its license pack.
pub fn install(
    store: &mut Store,
    key: &str,
    pack_jws: &str,
    hardware: HardwareId,
    now: Timestamp,
) -> Result<HostKey> {
    let key: ProductKey = key.parse()?;
    let (pack, root) = LicensePack::open(pack_jws, now)?;
    if pack.key != key.id() {
        return Err(unsuited(format!(
            "the license pack is for product key {}, the key given is {} (…{})",
            pack.key,
            key.id(),
            key.partial()
        )));
    }
    for other in HostKey::all(store, now)? {
        if other.pack.vendor == pack.vendor && other.root != root {
            return Err(Error::new(
                Code::UntrustedRoot,
                format!(
                    "the license pack brings another root for vendor {} than the one trusted here ({}…)",
                    pack.vendor,
                    &other.root.fingerprint()[..23]
                ),
                "ask the vendor; if it has a new root, remove its keys here first (`quorate-host upk`)",
            ));
        }
    }
    let verifier = key.verifier();
    let installation_id =
        InstallationId::new(key.id(), &verifier, hardware.short(), u16::from_be_bytes(random::bytes()));
    let installed = InstalledKey {
        id: key.id(),
        partial: key.partial(),
        verifier,
        installation_id,
        catalog: pack.catalog.clone(),
        revocations: pack.revocations.clone(),
        pack: pack_jws.trim().to_owned(),
        credential: None,
    };
    let host_key = HostKey::read(installed, now)?;
    store.put_key(&host_key.installed)?;
    Ok(host_key)
}

/// Activates the host at the vendor's service. The private key is made here and stays here.
pub async fn activate_online(
    store: &mut Store,
    key: HostKey,
    service: Option<&str>,
    proxy: Option<&str>,
    clock: &Clock,
) -> Result<HostKey> {
    let now = clock.now();
    let private_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| internal(&error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, Role::Host.server_name(&key.pack.vendor));
    let signing_request = params.serialize_request(&private_key).map_err(|error| internal(&error))?;
    let request = HostActivationRequest::new(
        key.installed.installation_id,
        signing_request.der(),
        &key.installed.verifier,
    );
    let url = service.unwrap_or(&key.catalog.service_url);
    let client = ServiceClient::new(url, &key.root, proxy, clock)?;
    // The vendor counts what it grants, so see first that it could be kept.
    store.put_key(&key.installed)?;
    let response: HostActivationResponse = client.post("/v1/host-activations", &request).await?;

    let chain = response
        .certificate_chain
        .iter()
        .map(|certificate| BASE64.decode(certificate).map(CertificateDer::from))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|_| not_ours("its certificates cannot be read"))?;
    let certificate = key.root.verify(&key.pack.vendor, Role::Host, &chain, now)?;
    if certificate.public_key != private_key.public_key_raw() {
        return Err(not_ours("the certificate is for another key than the one sent"));
    }
    let catalog: Catalog = signed::verify(&response.catalog, &key.root, &key.pack.vendor, now)?.document;
    if catalog.number < key.catalog.number {
        return Err(Error::new(
            Code::StaleNumber,
            format!(
                "the service gave catalog {}, but {} is here already",
                catalog.number, key.catalog.number
            ),
            "ask the vendor why its service is behind",
        ));
    }
    let list: RevocationList =
        signed::verify(&response.revocations, &key.root, &key.pack.vendor, now)?.document;
    let before: RevocationList =
        signed::verify(&key.installed.revocations, &key.root, &key.pack.vendor, now)?.document;
    list.check_number(before.number)?;

    let credential = Credential { chain, private_key: Zeroizing::new(private_key.serialize_der()) };
    let installed = InstalledKey {
        catalog: response.catalog,
        revocations: response.revocations,
        credential: Some(credential),
        ..key.installed
    };
    store.put_key(&installed)?;
    HostKey::read(installed, now)
}

/// Activates the host with a Confirmation ID from the phone desk.
pub fn confirm(store: &mut Store, key: HostKey, typed: &str, now: Timestamp) -> Result<HostKey> {
    let confirmation_id: ConfirmationId = typed.parse()?;
    let secret = confirmation_id.reveal(&key.installed.installation_id, &key.installed.verifier);
    let credential = key.pack.unseal(&secret).ok_or_else(|| {
        Error::new(
            Code::ConfirmationIdInvalid,
            format!(
                "the Confirmation ID is not for Installation ID {}, or not for this license pack",
                key.installed.installation_id
            ),
            "read the Installation ID to the phone desk again (`quorate-host dti`); \
             if the vendor has made a newer pack, install it first (`quorate-host ipk`)",
        )
    })?;
    key.root.verify(&key.pack.vendor, Role::Host, &credential.chain, now)?;
    let installed = InstalledKey { credential: Some(credential), ..key.installed };
    store.put_key(&installed)?;
    HostKey::read(installed, now)
}

/// Reads an activation id as an argument: a GUID, with the list of known ones in the error.
pub fn activation_id(text: &str) -> Result<ActivationId> {
    text.parse().map_err(|_| {
        Error::new(
            Code::IdentifierInvalid,
            format!("{} is not an activation id", quoted(text)),
            "`quorate-host dlv all` shows the activation ids of the installed keys",
        )
    })
}

fn unsuited(what: String) -> Error {
    Error::new(Code::ProductKeyUnsuited, what, "use the host key and the license pack that belong together")
}

fn not_ours(why: &str) -> Error {
    Error::new(
        Code::DocumentInvalid,
        format!("the activation service's answer cannot be used: {why}"),
        "try again; if it repeats, report it to the vendor",
    )
}

fn internal(error: &rcgen::Error) -> Error {
    Error::new(Code::Internal, format!("a signing request cannot be made ({error})"), "please report this")
}
