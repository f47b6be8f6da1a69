//! Host keys: installing one, and activating the host with it, online or by telephone.
//!
//! The product key is turned into its verifier at once and not kept. The license pack brings the vendor root;
//! whoever installs the pack decides to trust it, and from then on packs of the same vendor must bring the
//! same root.

use crate::book::Account;
use crate::documents;
use crate::store::{Documents, HostActivation, InstalledKey, PendingRequest, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::catalog::{Catalog, Channel, Sku};
use quorate_core::certificate::{Role, VendorRoot, VerifiedCertificate};
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::hardware::Components;
use quorate_core::host_activation::{HostActivationRequest, HostActivationResponse};
use quorate_core::identifier::{ActivationId, VendorId};
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::{Credential, LicensePack};
use quorate_core::product_key::{KeyId, PartialKey, ProductKey};
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, Interval, Result, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::https::{ProxyUrl, ServiceClient};
use quorate_edge::random;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::collections::BTreeSet;
use std::time::Duration;
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
    /// The newest revocation list.
    pub revocations: RevocationList,
    /// The SKU that the key licenses.
    pub sku: Sku,
}

impl HostKey {
    /// Verifies what is installed.
    pub fn read(installed: InstalledKey, now: Timestamp) -> Result<Self> {
        let (pack, root) = LicensePack::open(&installed.pack, now)?;
        let catalog: Catalog =
            signed::verify(&installed.documents.catalog, &root, &installed.vendor, now)?.document;
        let revocations =
            signed::verify(&installed.documents.revocations, &root, &installed.vendor, now)?.document;
        let group = catalog.products.key_group(installed.id.group());
        let sku = group.and_then(|group| catalog.products.sku(group.sku)).cloned();
        match sku {
            Some(sku) if sku.channel == Channel::KmsHost => {
                Ok(Self { installed, root, pack, catalog, revocations, sku })
            }
            Some(sku) => Err(unsuited(format!(
                "the product key is for {} ({}), not for an activation host",
                sku.name, sku.channel
            ))),
            None => {
                Err(unsuited(format!("catalog {} does not know the product key's group", catalog.number)))
            }
        }
    }

    /// The readable key that `name` names, or the only one there is.
    pub fn select(store: &Store, name: Option<&str>, now: Timestamp) -> Result<Self> {
        Installed::select(store, name, now)?.key
    }

    /// The certificate with which the host is activated, if it is.
    pub fn certificate(&self, now: Timestamp) -> Option<Result<VerifiedCertificate>> {
        let credential = &self.installed.activation.as_ref()?.credential;
        Some(self.root.verify(&self.installed.vendor, Role::Host, &credential.chain, now))
    }

    /// The certificate with which the host may answer; `None` before it is activated, an error when the
    /// certificate has ended, the vendor has taken it back, or this is another machine.
    pub fn standing(&self, hardware: &Components, now: Timestamp) -> Result<Option<VerifiedCertificate>> {
        let Some(certificate) = self.certificate(now).transpose()? else { return Ok(None) };
        self.revocations.check_host(&certificate)?;
        self.check_hardware(hardware)?;
        Ok(Some(certificate))
    }

    /// Refuses another machine than the one on which the key was installed, by the vendor's tolerance.
    pub fn check_hardware(&self, hardware: &Components) -> Result<()> {
        let tolerance = &self.catalog.products.policy(&self.sku).hardware;
        let compared = tolerance.compare(&self.installed.hardware, hardware);
        if compared.tolerated {
            return Ok(());
        }
        Err(Error::new(
            Code::HardwareChanged,
            format!(
                "host key {} (…{}) was installed on other hardware: {} of {} points agree, {} percent must",
                self.installed.id,
                self.installed.partial,
                compared.same,
                compared.whole,
                tolerance.required_percent
            ),
            "install the key on this machine (`quorate-host ipk` again), then activate it (`quorate-host ato`)",
        ))
    }

    /// Where the machines of the key's own application are counted.
    pub fn account(&self) -> Account {
        Account { vendor: self.installed.vendor.clone(), application: self.sku.application }
    }
}

/// An installed key, whether it can be used or not: one that can't must not keep others from being seen.
#[derive(Debug)]
pub struct Installed {
    /// Whose key it is.
    pub vendor: VendorId,
    /// Group and serial.
    pub id: KeyId,
    /// The last five characters.
    pub partial: PartialKey,
    /// The key, or why it cannot be read now.
    pub key: Result<HostKey>,
}

impl Installed {
    /// Every installed key.
    pub fn all(store: &Store, now: Timestamp) -> Result<Vec<Self>> {
        let keys = store.keys()?.into_iter().map(|stored| Self {
            vendor: stored.vendor,
            id: stored.id,
            partial: stored.partial,
            key: stored.content.and_then(|installed| HostKey::read(installed, now)),
        });
        Ok(keys.collect())
    }

    /// Every installed key, of which there must be one.
    pub fn at_least_one(store: &Store, now: Timestamp) -> Result<Vec<Self>> {
        let keys = Self::all(store, now)?;
        if keys.is_empty() {
            return Err(missing("no host key is installed".to_owned(), "`quorate-host ipk KEY --pack FILE`"));
        }
        Ok(keys)
    }

    /// The key that `name` names, or the only one there is. A name is an activation id, a key id, or the
    /// last five characters of the key. Somebody may have typed the key itself, so no other text is repeated.
    pub fn select(store: &Store, name: Option<&str>, now: Timestamp) -> Result<Self> {
        let mut keys = Self::at_least_one(store, now)?;
        let vendors: BTreeSet<&VendorId> = keys.iter().map(|key| &key.vendor).collect();
        // Vendors number their keys alike, and the last five characters come from the number.
        let with_vendor = vendors.len() > 1;
        let lines: Vec<String> = keys.iter().map(|key| key.line(with_vendor)).collect();
        let known = lines.join("; ");
        let Some(name) = name else {
            if keys.len() == 1 {
                return Ok(keys.swap_remove(0));
            }
            return Err(missing(
                format!("{} host keys are installed", keys.len()),
                format!("name one by its activation id, key id or last five characters: {known}"),
            ));
        };
        let name = Name::read(name)?;
        let named: Vec<usize> = (0..keys.len()).filter(|index| name.names(&keys[*index])).collect();
        match named[..] {
            [index] => Ok(keys.swap_remove(index)),
            [] => {
                Err(missing(format!("no host key is installed for {name}"), format!("name one of: {known}")))
            }
            _ => {
                let what = format!("{} host keys are installed for {name}", named.len());
                let known: Vec<&str> = named.iter().map(|index| lines[*index].as_str()).collect();
                let known = known.join("; ");
                let name = match with_vendor {
                    true => "name one by its vendor and key id",
                    false => "name one by its key id or last five characters",
                };
                Err(missing(what, format!("{name}: {known}")))
            }
        }
    }

    /// The key as lists show it, and as [`Name`] reads it.
    fn line(&self, with_vendor: bool) -> String {
        let id = match with_vendor {
            true => format!("{}/{}", self.vendor, self.id),
            false => self.id.to_string(),
        };
        match &self.key {
            Ok(key) => format!("{}, {id}, …{}, {}", key.sku.id, self.partial, key.sku.name),
            Err(error) => format!("{id}, …{}, cannot be read ({})", self.partial, error.code),
        }
    }
}

/// What a person calls an installed key, with its vendor where that is needed: `contoso/00096-000-000001`.
struct Name {
    vendor: Option<VendorId>,
    which: Which,
}

enum Which {
    Sku(ActivationId),
    Key(KeyId),
    LastFive(String),
}

impl Name {
    fn read(text: &str) -> Result<Self> {
        let vendor = text.split_once('/').and_then(|(vendor, rest)| Some((vendor.parse().ok()?, rest)));
        let (vendor, text) = vendor.map_or((None, text), |(vendor, rest)| (Some(vendor), rest));
        Ok(Self { vendor, which: Which::read(text)? })
    }

    fn names(&self, installed: &Installed) -> bool {
        let of_vendor = self.vendor.as_ref().is_none_or(|vendor| installed.vendor == *vendor);
        of_vendor && self.which.names(installed)
    }
}

impl Which {
    fn read(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Sku(id));
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Key(id));
        }
        let last = text.trim_start_matches('…');
        if last.len() == 5 && last.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Self::LastFive(last.to_ascii_uppercase()));
        }
        Err(Error::new(
            Code::IdentifierInvalid,
            "what was given is not an activation id, a key id or the last five characters of a key",
            "`quorate-host dlv all` shows those of the installed keys",
        ))
    }

    fn names(&self, installed: &Installed) -> bool {
        match self {
            Self::Sku(id) => installed.key.as_ref().is_ok_and(|key| key.sku.id == *id),
            Self::Key(id) => installed.id == *id,
            Self::LastFive(last) => installed.partial.0 == *last,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.which {
            Which::Sku(id) => id.fmt(f)?,
            Which::Key(id) => id.fmt(f)?,
            Which::LastFive(_) => f.write_str("these five characters")?,
        }
        self.vendor.as_ref().map_or(Ok(()), |vendor| write!(f, " of vendor {vendor}"))
    }
}

/// Installs a host key with its license pack. Installed again on the same machine, with a newer pack perhaps,
/// the key stays activated and keeps its Installation ID, and nothing that the vendor said later is lost.
pub fn install(
    store: &mut Store,
    key: &str,
    pack_jws: &str,
    hardware: &Components,
    now: Timestamp,
) -> Result<HostKey> {
    let key: ProductKey = key.parse()?;
    let (pack, root) = LicensePack::open(pack_jws, now)?;
    let verifier = key.verifier();
    pack.check_key(key.id(), &verifier)?;
    let of_vendor = Installed::all(store, now)?
        .into_iter()
        .filter_map(|installed| installed.key.ok())
        .filter(|other| other.installed.vendor == pack.vendor);
    let of_vendor: Vec<HostKey> = of_vendor.collect();
    if let Some(other) = of_vendor.iter().find(|other| other.root != root) {
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
    let before = of_vendor.first();
    let brought = Documents { catalog: pack.catalog.clone(), revocations: pack.revocations.clone() };
    let documents = before.map_or_else(|| brought.clone(), |before| documents::newer(before, &brought, now));
    let same = of_vendor.iter().find(|other| {
        let installed = &other.installed;
        installed.id == key.id() && installed.verifier == verifier && other.check_hardware(hardware).is_ok()
    });
    let installed = match same {
        Some(same) => InstalledKey { pack: pack_jws.trim().to_owned(), documents, ..same.installed.clone() },
        None => InstalledKey {
            vendor: pack.vendor,
            id: key.id(),
            partial: key.partial(),
            installation_id: InstallationId::new(key.id(), &verifier, hardware.id().short(), nonce()),
            verifier,
            hardware: hardware.clone(),
            pack: pack_jws.trim().to_owned(),
            documents,
            request: None,
            activation: None,
        },
    };
    let host_key = HostKey::read(installed, now)?;
    store.put_key(&host_key.installed, before.map(|before| &before.installed.documents))?;
    Ok(host_key)
}

/// The Installation ID to read to the phone desk. It is a fresh one when the activation that was given for
/// the last has ended, or soon will: for that, the desk would only repeat the Confirmation ID.
pub fn installation_id(store: &mut Store, key: HostKey, now: Timestamp) -> Result<InstallationId> {
    let installed = key.installed.clone();
    let used = installed.activation.as_ref().map(|activation| activation.installation_id);
    let ends = match key.certificate(now) {
        Some(Ok(certificate)) => certificate.not_after <= RENEWED_BY_PHONE.after(now),
        Some(Err(_)) => true,
        None => false,
    };
    if !ends || used != Some(installed.installation_id) {
        return Ok(installed.installation_id);
    }
    // The hardware as it stood in the last, so that the vendor knows the machine again.
    let hardware = installed.installation_id.hardware();
    let installation_id = InstallationId::new(installed.id, &installed.verifier, hardware, nonce());
    let documents = installed.documents.clone();
    store.put_key(&InstalledKey { installation_id, request: None, ..installed }, Some(&documents))?;
    Ok(installation_id)
}

/// Activates the host at the vendor's service. The private key is made here and stays here.
pub async fn activate_online(
    store: &mut Store,
    key: HostKey,
    service: Option<&str>,
    proxy: Option<&ProxyUrl>,
    clock: &Clock,
) -> Result<HostKey> {
    let now = clock.now();
    let url = service.unwrap_or(&key.catalog.service_url);
    let client = ServiceClient::new(url, &key.root, proxy, BY_TELEPHONE, clock)?;
    let pending = match &key.installed.request {
        Some(request) => request.clone(),
        None => signing_request(&key.installed.vendor)?,
    };
    // The vendor counts what it grants, so what is granted must have been kept.
    if !store.put_request(&key.installed.vendor, key.installed.id, &pending)? {
        return Err(removed(key.installed.id));
    }
    let request = HostActivationRequest::new(
        key.installed.installation_id,
        &pending.signing_request,
        &key.installed.verifier,
    );
    let answer: Result<HostActivationResponse> = client.post("/v1/host-activations", &request).await;
    if answer.as_ref().is_err_and(|error| error.code == Code::KeyBlocked)
        && let Err(error) = documents::fetch(store, &key, &client, now).await
    {
        // The refusal says what is wrong; the list only spares the daemon a day.
        tracing::debug!(%error, "the revocation list could not be fetched");
    }
    let response = answer?;

    let chain = response
        .certificate_chain
        .iter()
        .map(|certificate| BASE64.decode(certificate).map(CertificateDer::from))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|_| not_ours("its certificates cannot be read"))?;
    let certificate = key.root.verify(&key.installed.vendor, Role::Host, &chain, now)?;
    let private_key = KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(pending.private_key.as_slice()),
        &PKCS_ECDSA_P256_SHA256,
    )
    .map_err(|error| internal(&error))?;
    if certificate.public_key != private_key.public_key_raw() {
        return Err(not_ours("the certificate is for another key than the one sent"));
    }
    let said = Documents { catalog: response.catalog, revocations: response.revocations };
    documents::check(&key, &said, now)?;
    let credential = Credential { chain, private_key: pending.private_key };
    // By a clock that is ahead, the new certificate may be due already; it must not be asked for in every second.
    let due = two_thirds(&certificate).max(now.as_second().saturating_add(SHORTEST_RENEWAL));
    store.set(&renewal_name(&key.installed), &due.to_string())?;
    activated(store, key, credential, Some(said), now)
}

/// As [`activate_online`], but an attempt that did not reach the service, or came when that was busy, is made again
/// after a pause, of which `tell` is told. What the service refuses it refuses once.
pub async fn activate_online_patiently(
    store: &mut Store,
    key: HostKey,
    service: Option<&str>,
    proxy: Option<&ProxyUrl>,
    clock: &Clock,
    tell: impl Fn(&Error, Duration),
) -> Result<HostKey> {
    let (vendor, id) = (key.installed.vendor.clone(), key.installed.id);
    let mut key = key;
    for pause in PAUSES {
        match activate_online(store, key, service, proxy, clock).await {
            Err(error) if is_transient(&error) => {
                tell(&error, pause);
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
        // The request that was sent is in the store, and the same is sent again.
        key = find(store, &vendor, id, clock.now())?;
    }
    activate_online(store, key, service, proxy, clock).await
}

/// Whether the same may succeed a little later.
pub fn is_transient(error: &Error) -> bool {
    matches!(error.code, Code::ServiceUnreachable | Code::ServiceUnable | Code::Busy)
}

fn find(store: &Store, vendor: &VendorId, id: KeyId, now: Timestamp) -> Result<HostKey> {
    let mut keys = Installed::all(store, now)?.into_iter();
    let key = keys.find(|key| key.vendor == *vendor && key.id == id);
    key.map_or_else(|| Err(removed(id)), |key| key.key)
}

fn removed(id: KeyId) -> Error {
    missing(format!("host key {id} was removed"), "`quorate-host ipk KEY --pack FILE`")
}

/// Asks the service again for the certificate of every host key that was activated online and has a third of its
/// validity left or less. Gives what became of each.
pub async fn renew(
    store: &mut Store,
    hardware: &Components,
    proxy: Option<&ProxyUrl>,
    clock: &Clock,
) -> Result<Vec<(KeyId, Result<HostKey>)>> {
    let now = clock.now();
    let keys = Installed::all(store, now)?.into_iter().filter_map(|installed| installed.key.ok());
    let mut due: Vec<HostKey> = Vec::new();
    for key in keys.filter(|key| key.installed.activation.is_some() && key.check_hardware(hardware).is_ok()) {
        if renewal(store, &key.installed)?.is_some_and(|at| at <= now) {
            due.push(key);
        }
    }
    let mut renewed = Vec::new();
    for key in due {
        let id = key.installed.id;
        renewed.push((id, activate_online(store, key, None, proxy, clock).await));
    }
    Ok(renewed)
}

/// When the certificate of a key is to be renewed online; never when it came by telephone.
pub fn renewal(store: &Store, key: &InstalledKey) -> Result<Option<Timestamp>> {
    let noted = store.setting(&renewal_name(key))?;
    Ok(noted
        .and_then(|seconds| seconds.parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok()))
}

fn renewal_name(key: &InstalledKey) -> String {
    format!("renewal {} {}", key.vendor, key.id)
}

/// When two thirds of its validity are over.
fn two_thirds(certificate: &VerifiedCertificate) -> i64 {
    let (begins, ends) = (certificate.not_before.as_second(), certificate.not_after.as_second());
    begins + (ends - begins) / 3 * 2
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
    key.root.verify(&key.installed.vendor, Role::Host, &credential.chain, now)?;
    store.set(&renewal_name(&key.installed), "")?;
    activated(store, key, credential, None, now)
}

fn activated(
    store: &mut Store,
    key: HostKey,
    credential: Credential,
    said: Option<Documents>,
    now: Timestamp,
) -> Result<HostKey> {
    let before = key.installed.documents.clone();
    let installed = InstalledKey {
        request: None,
        activation: Some(HostActivation { installation_id: key.installed.installation_id, credential }),
        documents: said.unwrap_or_else(|| before.clone()),
        ..key.installed
    };
    store.put_key(&installed, Some(&before))?;
    HostKey::read(installed, now)
}

/// So many seconds lie at least between two renewals.
const SHORTEST_RENEWAL: i64 = 60 * 60;
/// As long before its end, monitoring warns of a certificate that is not renewed online.
const RENEWED_BY_PHONE: Interval = Interval::days(30);
/// Between attempts to reach the service.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// What can be done when there is no way to the service.
pub(crate) const BY_TELEPHONE: &str = "activate by telephone: `quorate-host dti`, then `quorate-host atp`";

fn signing_request(vendor: &VendorId) -> Result<PendingRequest> {
    let private_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| internal(&error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, Role::Host.server_name(vendor));
    let signing_request = params.serialize_request(&private_key).map_err(|error| internal(&error))?;
    Ok(PendingRequest {
        signing_request: signing_request.der().to_vec(),
        private_key: Zeroizing::new(private_key.serialize_der()),
    })
}

fn nonce() -> u16 {
    u16::from_be_bytes(random::bytes())
}

fn missing(what: String, next: impl Into<String>) -> Error {
    Error::new(Code::ProductKeyMissing, what, next)
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
