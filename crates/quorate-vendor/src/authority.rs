//! The vendor's certificates: root → activation CA → host and issuer certificates.
//!
//! The root's key lies in a directory of its own and is used once, to certify the activation CA; after that
//! it belongs where no network reaches it. The CA's key signs host certificates; the issuer's signs catalogs,
//! packs and revocation lists.

use crate::token::{TokenKey, TokenPlace};
use der::Decode;
use quorate_core::certificate::{DOCUMENT_SIGNING_OID, ENTITLEMENT_OID, Entitlement, Role, VendorRoot};
use quorate_core::identifier::VendorId;
use quorate_core::license_pack::Credential;
use quorate_core::signed::{Document, Signer};
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::files::{self, Access};
use quorate_edge::random;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The vendor's signing keys and their certificates.
pub struct Authority {
    vendor: VendorId,
    root: VendorRoot,
    ca_certificate: CertificateDer<'static>,
    ca: Issuer<'static, CaKey>,
    documents: Signer,
}

/// Where the files of an authority are.
#[derive(Clone, Debug)]
pub struct Directories {
    /// The activation CA, the issuer and the database: needed every day.
    pub service: PathBuf,
    /// The root's key: needed once.
    pub root: PathBuf,
}

impl Directories {
    /// Refuses a root that could not be moved offline by itself.
    pub fn check(&self) -> Result<()> {
        if !real(&self.root).starts_with(real(&self.service)) {
            return Ok(());
        }
        Err(Error::new(
            Code::AddressInvalid,
            format!(
                "the root's directory {} is in the service's, {}: the root's key must not stay where the service runs",
                self.root.display(),
                self.service.display()
            ),
            "choose a directory elsewhere with --root-dir, best on a medium that can be taken away",
        ))
    }

    /// The files that [`Authority::create`] may write.
    pub fn files(&self) -> Vec<PathBuf> {
        let at_root = [ROOT_KEY, ROOT].map(|name| self.root.join(name));
        let at_service = Authority::FILES.map(|name| self.service.join(name));
        at_root.into_iter().chain(at_service).collect()
    }
}

impl Authority {
    /// What [`Authority::create`] writes into the service's directory; of the CA's key, the file or where the token is.
    pub const FILES: [&str; 6] = [CA_KEY, CA_TOKEN, CA, ISSUER_KEY, ISSUER, ROOT];

    /// Whether all are there that belong together, so far as their names tell.
    pub fn are_whole(is_there: impl Fn(&str) -> bool) -> std::result::Result<(), &'static str> {
        let missing = [CA, ISSUER_KEY, ISSUER, ROOT].into_iter().find(|name| !is_there(name));
        let key_missing = (!is_there(CA_KEY) && !is_there(CA_TOKEN)).then_some(CA_KEY);
        missing.or(key_missing).map_or(Ok(()), Err)
    }

    /// Makes root, activation CA and issuer, and writes them; the CA's key is made in a token, where one is named. The
    /// caller makes sure that none is there yet, and takes away what was made when this fails.
    pub fn create(
        directories: &Directories,
        vendor: &VendorId,
        name: &str,
        token: Option<TokenKey>,
        now: Timestamp,
    ) -> Result<()> {
        files::make_private_directory(&directories.root)?;
        files::make_private_directory(&directories.service)?;

        let root_key = new_key()?;
        let mut root = ca_params(&format!("{name} root"), 1);
        valid(&mut root, now, ROOT_VALIDITY);
        let root_certificate = root.self_signed(&root_key).map_err(internal)?;
        let root = Issuer::new(root, root_key);

        let ca_key = match token {
            Some(key) => CaKey::Token(key),
            None => CaKey::File(new_key()?),
        };
        let mut ca = ca_params(&format!("{name} activation CA"), 0);
        valid(&mut ca, now, CA_VALIDITY);
        let ca_certificate = ca.signed_by(&ca_key, &root).map_err(internal)?;
        let ca = Issuer::new(ca, ca_key);

        let issuer_key = new_key()?;
        let mut issuer = end_entity_params(&Role::Issuer.server_name(vendor))?;
        issuer.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(DOCUMENT_SIGNING_OID.to_vec())];
        valid(&mut issuer, now, CA_VALIDITY);
        let issuer_certificate = sign(issuer, &issuer_key, &ca)?;

        let key = |key: &KeyPair| Zeroizing::new(key.serialize_pem());
        let (at_root, at_service) =
            (|name| directories.root.join(name), |name| directories.service.join(name));
        files::write(&at_root(ROOT_KEY), key(root.key()).as_bytes(), Access::Private)?;
        files::write(&at_root(ROOT), root_certificate.pem().as_bytes(), Access::Public)?;
        files::write(&at_service(ROOT), root_certificate.pem().as_bytes(), Access::Public)?;
        files::write(&at_service(CA), ca_certificate.pem().as_bytes(), Access::Public)?;
        match ca.key() {
            CaKey::File(ca_key) => {
                files::write(&at_service(CA_KEY), key(ca_key).as_bytes(), Access::OfDirectory)?;
            }
            CaKey::Token(key) => {
                let place = toml::to_string(key.place()).map_err(internal)?;
                files::write(&at_service(CA_TOKEN), place.as_bytes(), Access::OfDirectory)?;
            }
        }
        files::write(&at_service(ISSUER), issuer_certificate.pem().as_bytes(), Access::Public)?;
        files::write(&at_service(ISSUER_KEY), key(&issuer_key).as_bytes(), Access::OfDirectory)
    }

    /// Reads what [`Authority::create`] wrote into the service's directory.
    pub fn load(directory: &Path, vendor: VendorId) -> Result<Self> {
        let root = VendorRoot::from_der(certificate(&directory.join(ROOT))?.to_vec())?;
        let (ca_certificate, ca_key) = ca_key(directory)?;
        let ca = Issuer::from_ca_cert_der(&ca_certificate, ca_key)
            .map_err(|error| damaged(&directory.join(CA), &error))?;
        let (issuer, issuer_key) = certified_key(directory, ISSUER, ISSUER_KEY)?;
        let chain = [issuer, ca_certificate.clone()];
        // When it was made: that it ends is for those to say who read what it has signed.
        let since = not_before(&chain[0]).map_err(|error| damaged(&directory.join(ISSUER), &error))?;
        root.verify(&vendor, Role::Issuer, &chain, since).map_err(|_| {
            Error::new(
                Code::StoreDamaged,
                format!(
                    "{} is not of the vendor {vendor}, whose database this is",
                    directory.join(ISSUER).display()
                ),
                "name the database that belongs to the directory, or restore the directory from a backup",
            )
        })?;
        let documents = Signer::new(issuer_key.serialized_der(), &chain);
        Ok(Self { vendor, root, ca_certificate, ca, documents })
    }

    /// Finds out whether the CA can sign, before anybody asks for it: a token may be away, or refuse its PIN.
    pub fn check(&self) -> Result<()> {
        match self.ca.key() {
            CaKey::Token(key) => key.check(),
            CaKey::File(_) => Ok(()),
        }
    }

    /// The vendor.
    pub fn vendor(&self) -> &VendorId {
        &self.vendor
    }

    /// The vendor root.
    pub fn root(&self) -> &VendorRoot {
        &self.root
    }

    /// The vendor root in PEM.
    pub fn root_pem(&self) -> String {
        pem::encode_config(
            &pem::Pem::new("CERTIFICATE", self.root.der().as_ref()),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        )
    }

    /// Signs a document as the vendor.
    pub fn sign<T: Document>(&self, document: &T) -> Result<String> {
        self.documents.sign(document)
    }

    /// Certifies a host's public key, from its signing request in DER. With the chain comes the serial number by which
    /// the certificate is revoked.
    pub fn certify_host(
        &self,
        signing_request: &[u8],
        entitlement: &Entitlement,
        validity: Interval,
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, String)> {
        let request = rcgen::CertificateSigningRequestParams::from_der(&signing_request.into())
            .ok()
            .filter(|request| request.public_key.algorithm() == &PKCS_ECDSA_P256_SHA256)
            .ok_or_else(|| {
                Error::new(
                    Code::RequestInvalid,
                    "the signing request is not PKCS #10 for a P-256 key",
                    "update Quorate on the host",
                )
            })?;
        self.chain(Role::Host, &request.public_key, entitlement, validity, now)
    }

    /// Makes a complete credential, for a slot of a license pack, and gives its serial number with it.
    pub fn credential(
        &self,
        role: Role,
        entitlement: &Entitlement,
        validity: Interval,
        now: Timestamp,
    ) -> Result<(Credential, String)> {
        let key = new_key()?;
        let (chain, serial) = self.chain(role, &key, entitlement, validity, now)?;
        Ok((Credential { chain, private_key: Zeroizing::new(key.serialize_der()) }, serial))
    }

    /// A TLS configuration for the vendor's own service under `name`, certified by the activation CA.
    pub fn service_tls(&self, name: &str, now: Timestamp) -> Result<rustls::ServerConfig> {
        let key = new_key()?;
        let mut params = end_entity_params(name)?;
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            params.subject_alt_names = vec![SanType::IpAddress(address)];
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        valid(&mut params, now, SERVICE_VALIDITY);
        let certificate = sign(params, &key, &self.ca)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(internal)?;
        tls(vec![certificate.der().clone(), self.ca_certificate.clone()], private)
    }

    fn chain(
        &self,
        role: Role,
        key: &impl PublicKeyData,
        entitlement: &Entitlement,
        validity: Interval,
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, String)> {
        let mut params = end_entity_params(&role.server_name(&self.vendor))?;
        let serial = serial_number();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.extended_key_usages = vec![match role {
            Role::Host => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Issuer | Role::Machine => ExtendedKeyUsagePurpose::Other(DOCUMENT_SIGNING_OID.to_vec()),
        }];
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(ENTITLEMENT_OID, entitlement.to_der()?)];
        valid(&mut params, now, validity);
        let certificate = sign(params, key, &self.ca)?;
        let serial = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((vec![certificate.der().clone(), self.ca_certificate.clone()], serial))
    }
}

/// The CA's key, in a file or in a token.
enum CaKey {
    File(KeyPair),
    Token(TokenKey),
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::File(key) => key.der_bytes(),
            Self::Token(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::File(key) => key.algorithm(),
            Self::Token(key) => key.algorithm(),
        }
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::File(key) => key.sign(message),
            Self::Token(key) => key.sign(message),
        }
    }
}

/// Signs a certificate; what was wrong with the token is told as the token told it.
fn sign(
    params: CertificateParams,
    key: &impl PublicKeyData,
    ca: &Issuer<'_, CaKey>,
) -> Result<rcgen::Certificate> {
    params.signed_by(key, ca).map_err(|error| match ca.key() {
        CaKey::Token(_) => TokenKey::take_fault().unwrap_or_else(|| internal(error)),
        CaKey::File(_) => internal(error),
    })
}

/// The CA's certificate with its key: that of the token, when the directory names one.
fn ca_key(directory: &Path) -> Result<(CertificateDer<'static>, CaKey)> {
    let place = directory.join(CA_TOKEN);
    if !place.exists() {
        let (certificate, key) = certified_key(directory, CA, CA_KEY)?;
        return Ok((certificate, CaKey::File(key)));
    }
    let (path, certificate) = (directory.join(CA), certificate(&directory.join(CA))?);
    let parsed = x509_cert::Certificate::from_der(&certificate).map_err(|error| damaged(&path, &error))?;
    let public = parsed.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec();
    let key = TokenKey::of(TokenPlace::read(&place)?, public);
    Ok((certificate, CaKey::Token(key)))
}

/// A serial number that nobody can foresee, positive and of the same length always (RFC 5280, 4.1.2.2).
fn serial_number() -> [u8; 16] {
    let mut serial: [u8; 16] = random::bytes();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

/// A path without links, also when the last part of it is not there yet.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        // `..` behind a directory that is not there.
        (Some(parent), None) => real(parent).parent().unwrap_or(Path::new("/")).to_owned(),
        (None, _) => path,
    }
}

/// A TLS configuration from a certificate and a key that the vendor has from elsewhere, in PEM.
pub fn tls_from_files(certificates: &Path, private_key: &Path) -> Result<rustls::ServerConfig> {
    let unusable = |path: &Path, why: &dyn std::fmt::Display| {
        Error::new(Code::DocumentInvalid, format!("{} cannot be used: {why}", path.display()), GIVE_A_PAIR)
    };
    let chain = CertificateDer::pem_slice_iter(&files::read(certificates)?)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| unusable(certificates, &error))?;
    if chain.is_empty() {
        return Err(unusable(certificates, &"it holds no certificate"));
    }
    let key = files::read_secret(private_key, "who has read it can pass for this service")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(private_key, &error))?;
    tls(chain, key)
}

fn tls(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<rustls::ServerConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(internal)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            Error::new(
                Code::DocumentInvalid,
                format!("the TLS certificate and key cannot be used ({error})"),
                GIVE_A_PAIR,
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(internal)
}

fn ca_params(name: &str, path_length: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn end_entity_params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(internal)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Certificates begin a little early: the clocks of a network differ by up to the documented four hours.
fn valid(params: &mut CertificateParams, now: Timestamp, validity: Interval) {
    let date = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    params.not_before = date(Interval::hours(4).before(now));
    params.not_after = date(validity.after(now));
}

/// A certificate with its private key. A key of another certificate would sign what nobody believes.
fn certified_key(directory: &Path, name: &str, key_name: &str) -> Result<(CertificateDer<'static>, KeyPair)> {
    let (certificate, path) = (certificate(&directory.join(name))?, directory.join(key_name));
    let key = key(&path)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(internal)?;
    let signing_key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&private)
        .map_err(|_| damaged(&path, &"it is not an ECDSA key"))?;
    CertifiedKey::new(vec![certificate.clone()], signing_key)
        .keys_match()
        .map_err(|_| damaged(&path, &format!("it does not belong to {name}")))?;
    Ok((certificate, key))
}

fn certificate(path: &Path) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(&files::read(path)?).map_err(|error| damaged(path, &error))
}

fn key(path: &Path) -> Result<KeyPair> {
    let text = files::read_secret(path, "who has read it can sign as the vendor")?;
    KeyPair::from_pem(&text).map_err(|error| damaged(path, &error))
}

fn not_before(certificate: &CertificateDer<'_>) -> std::result::Result<Timestamp, String> {
    let parsed = x509_cert::Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let since = parsed.tbs_certificate().validity().not_before.to_unix_duration().as_secs();
    let since = i64::try_from(since).ok().and_then(|since| Timestamp::from_second(since).ok());
    since.ok_or_else(|| "it begins at no time".to_owned())
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        Code::StoreDamaged,
        format!("{} is damaged: {error}", path.display()),
        "restore the directory from a backup",
    )
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("a certificate cannot be made ({error})"), "please report this")
}

const GIVE_A_PAIR: &str = "give a certificate chain and the private key that belongs to it, in PEM";

const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key.pem";
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key.pem";
/// In its place, where the key is in a token.
const CA_TOKEN: &str = "ca-token.toml";
const ISSUER: &str = "issuer.pem";
const ISSUER_KEY: &str = "issuer.key.pem";

const ROOT_VALIDITY: Interval = Interval::days(20 * 365);
const CA_VALIDITY: Interval = Interval::days(10 * 365);
/// Made anew at each start, and a service may run for years without one: so as long as its CA.
const SERVICE_VALIDITY: Interval = CA_VALIDITY;
