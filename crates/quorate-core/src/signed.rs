//! Signed documents: JWS in compact form, ES256, with the certificate chain in the `x5c` header.
//!
//! Any language can check them with a stock library. Each kind of document has its own `typ` and its own
//! role of signer, so that one can't be passed off as another.

use crate::certificate::{Role, VendorRoot, VerifiedCertificate};
use crate::identifier::VendorId;
use crate::{Code, Error, Result, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind of document that is signed.
pub trait Document: Serialize + DeserializeOwned {
    /// The `typ` header.
    const TYPE: &'static str;
    /// What an error calls it.
    const CALLED: &'static str;
    /// Who may sign it.
    const ROLES: &'static [Role];

    /// The vendor that the document itself names, if it names one.
    fn vendor(&self) -> Option<&VendorId> {
        None
    }
}

/// A private key with its certificate chain.
pub struct Signer {
    key: EncodingKey,
    x5c: Vec<String>,
}

impl Signer {
    /// A signer with a P-256 key in PKCS #8 and its chain, end entity first.
    pub fn new(pkcs8: &[u8], chain: &[CertificateDer<'_>]) -> Self {
        Self {
            key: EncodingKey::from_ec_der(pkcs8),
            x5c: chain.iter().map(|der| BASE64.encode(der)).collect(),
        }
    }

    /// The document as a JWS.
    pub fn sign<T: Document>(&self, document: &T) -> Result<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(T::TYPE.to_owned());
        header.x5c = Some(self.x5c.clone());
        jsonwebtoken::encode(&header, document, &self.key).map_err(|error| {
            Error::new(
                Code::StoreDamaged,
                format!("{} cannot be signed ({error})", T::CALLED),
                "the private key is damaged: activate again",
            )
        })
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// A document whose signature and chain have been verified, with the signer's certificate.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    /// What was signed.
    pub document: T,
    /// Who signed it.
    pub signer: VerifiedCertificate,
    /// In which role.
    pub role: Role,
}

/// Verifies a JWS down to `root` and gives its document. Nothing of the payload is looked at before the
/// chain and the signature have been found good.
pub fn verify<T: Document>(
    jws: &str,
    root: &VendorRoot,
    vendor: &VendorId,
    now: Timestamp,
) -> Result<Verified<T>> {
    let jws = jws.trim();
    let chain = chain::<T>(jws)?;
    let (signer, role) = signer::<T>(root, vendor, &chain, now)?;
    let mut validation = Validation::new(Algorithm::ES256);
    // Our documents are not JWTs: they have no `exp`, and time is compared by the rules of each.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_ec_der(&signer.public_key);
    let data = jsonwebtoken::decode::<T>(jws, &key, &validation).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => Error::new(
            Code::SignatureInvalid,
            format!("the signature of {} does not match: it was changed after signing", T::CALLED),
            "fetch it again; if this repeats, someone on the way is changing it",
        ),
        _ => malformed::<T>(&error.to_string()),
    })?;
    let document = data.claims;
    if let Some(other) = document.vendor().filter(|named| *named != vendor) {
        return Err(Error::new(
            Code::CertificateWrongName,
            format!("{} of vendor {other} was signed by vendor {vendor}", T::CALLED),
            "ask both vendors; only a document's own vendor may sign it",
        ));
    }
    Ok(Verified { document, signer, role })
}

/// The end of the chain and its role, if that may sign this kind of document.
fn signer<T: Document>(
    root: &VendorRoot,
    vendor: &VendorId,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<(VerifiedCertificate, Role)> {
    let mut refused = None;
    for role in T::ROLES {
        match root.verify(vendor, *role, chain, now) {
            Ok(signer) => return Ok((signer, *role)),
            // Most documents have one signer; of several, the first says what is usual.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| malformed::<T>("nobody signs such documents")))
}

/// Verifies a document that names its vendor itself, where no vendor is expected yet: at registration, or
/// when a license pack is installed. The name is believed only because the whole then verifies for it.
pub fn verify_own_vendor<T: Document>(jws: &str, root: &VendorRoot, now: Timestamp) -> Result<Verified<T>> {
    let claimed: T = peek(jws)?;
    let vendor = claimed.vendor().ok_or_else(|| malformed::<T>("it names no vendor"))?;
    verify(jws, root, vendor, now)
}

/// What a document claims, unverified.
pub(crate) fn peek<T: Document>(jws: &str) -> Result<T> {
    chain::<T>(jws.trim())?;
    jsonwebtoken::dangerous::insecure_decode::<T>(jws.trim())
        .map(|data| data.claims)
        .map_err(|error| malformed::<T>(&error.to_string()))
}

/// The chain that a JWS carries, end entity first, unverified.
pub fn chain<T: Document>(jws: &str) -> Result<Vec<CertificateDer<'static>>> {
    let header = jsonwebtoken::decode_header(jws).map_err(|error| malformed::<T>(&error.to_string()))?;
    if header.typ.as_deref() != Some(T::TYPE) {
        let found = header.typ.unwrap_or_default();
        return Err(malformed::<T>(&format!("its type is {}", crate::identifier::quoted(&found))));
    }
    header
        .x5c
        .ok_or_else(|| malformed::<T>("it carries no certificates"))?
        .iter()
        .map(|certificate| {
            let der = BASE64.decode(certificate).map_err(|error| malformed::<T>(&error.to_string()))?;
            Ok(CertificateDer::from(der))
        })
        .collect()
}

fn malformed<T: Document>(why: &str) -> Error {
    Error::new(
        Code::DocumentInvalid,
        format!("this is not {} ({why})", T::CALLED),
        format!("give the file or address of {}", T::CALLED),
    )
}

impl Document for crate::catalog::Catalog {
    const TYPE: &'static str = "quorate-catalog+jws";
    const CALLED: &'static str = "a catalog";
    const ROLES: &'static [Role] = &[Role::Issuer];

    fn vendor(&self) -> Option<&VendorId> {
        Some(&self.vendor)
    }
}
