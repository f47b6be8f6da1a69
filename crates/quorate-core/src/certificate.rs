//! Certificates: who may say what, and the one way to find out.
//!
//! Every chain is vendor root → activation CA → one certificate with one role. The role is its fixed DNS
//! name, `contoso.host.quorate.internal` for an activation host, `contoso.issuer.quorate.internal` for
//! what signs catalogs and `contoso.machine.quorate.internal` for a machine that is activated by telephone, so
//! that a host cannot pass itself off as the vendor, nor one vendor as another.
//! The same host certificate is the TLS identity and signs responses. Verification is webpki's.
//!
//! Which product key a host or a machine was certified for, and what a host may activate, is in a private
//! extension of the certificate, in DER:
//!
//! ```text
//! Entitlement ::= SEQUENCE {
//!     version      INTEGER (1),
//!     keyId        UTF8String,            -- "00096-000-000004"
//!     extendedPid  UTF8String,
//!     skuGroups    SEQUENCE OF UTF8String }
//! ```

use crate::extended_pid::ExtendedPid;
use crate::identifier::VendorId;
use crate::product_key::KeyId;
use crate::{Code, Error, Result, Timestamp};
use aws_lc_rs::digest;
use der::{Decode, Encode, Sequence};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// What the holder of a certificate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An activation host at a customer's.
    Host,
    /// The vendor's service, signing catalogs, packs, licenses and revocation lists.
    Issuer,
    /// One machine that a product key activates by telephone: it signs its own license, once, with what it
    /// found in a slot of the key's license pack.
    Machine,
}

impl Role {
    /// The DNS name in certificates of this role; clients send a host's as SNI whatever address they dial.
    pub fn server_name(self, vendor: &VendorId) -> String {
        match self {
            Role::Host => format!("{vendor}.host.quorate.internal"),
            Role::Issuer => format!("{vendor}.issuer.quorate.internal"),
            Role::Machine => format!("{vendor}.machine.quorate.internal"),
        }
    }

    fn usage(self) -> KeyUsage {
        match self {
            Role::Host => KeyUsage::server_auth(),
            Role::Issuer | Role::Machine => KeyUsage::required_if_present(DOCUMENT_SIGNING),
        }
    }
}

/// The vendor whose host is meant by an SNI, if it has the form of one.
pub fn vendor_of_host_name(name: &str) -> Option<VendorId> {
    name.strip_suffix(".host.quorate.internal")?.parse().ok()
}

/// The vendor root: the one thing a client must have been given.
#[derive(Clone, PartialEq, Eq)]
pub struct VendorRoot {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
}

impl VendorRoot {
    /// A root from its certificate in DER.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self> {
        let der = CertificateDer::from(der.into());
        let anchor = webpki::anchor_from_trusted_cert(&der)
            .map_err(|error| {
                Error::new(
                    Code::DocumentInvalid,
                    format!("the vendor root is not a root certificate ({error})"),
                    "fetch the vendor's root certificate again",
                )
            })?
            .to_owned();
        Ok(Self { der, anchor })
    }

    /// The certificate in DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the certificate, for a person to compare.
    pub fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.der);
        let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// Verifies that `chain` (end entity first) leads to this root, is valid at `now` and is made out for
    /// `vendor` in `role`; gives what the end entity says.
    pub fn verify(
        &self,
        vendor: &VendorId,
        role: Role,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<VerifiedCertificate> {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Err(malformed("it carries no certificate"));
        };
        let parsed = EndEntityCert::try_from(end_entity).map_err(|error| malformed(&error.to_string()))?;
        let now =
            UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap_or_default()));
        parsed
            .verify_for_usage(
                &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
                std::slice::from_ref(&self.anchor),
                intermediates,
                now,
                role.usage(),
                None,
                None,
            )
            .map_err(|error| self.explain(&error.into(), vendor, role))?;
        let expected = role.server_name(vendor);
        let name =
            ServerName::try_from(expected.as_str()).map_err(|_| malformed("the vendor id is too long"))?;
        parsed
            .verify_is_valid_for_subject_name(&name)
            .map_err(|error| self.explain(&error.into(), vendor, role))?;
        VerifiedCertificate::read(end_entity)
    }

    /// Says in our words why a chain was refused.
    pub fn explain(&self, fault: &ChainFault, vendor: &VendorId, role: Role) -> Error {
        match fault {
            ChainFault::Ended { now, not_after } => Error::new(
                Code::CertificateExpired,
                format!("the certificate ended at {}; the clock here says {}", utc(*not_after), utc(*now)),
                "compare this machine's clock; if it is right, the certificate must be renewed",
            ),
            ChainFault::NotBegun { now, not_before } => Error::new(
                Code::CertificateExpired,
                format!("the certificate begins at {}; the clock here says {}", utc(*not_before), utc(*now)),
                "set this machine's clock",
            ),
            ChainFault::WrongName => Error::new(
                Code::CertificateWrongName,
                format!("the certificate is not made out for {}", role.server_name(vendor)),
                "it belongs to another vendor or another role; ask who runs the machine at this address",
            ),
            ChainFault::WrongUsage => Error::new(
                Code::CertificateWrongName,
                format!("the certificate may not be used as {}", role.server_name(vendor)),
                "it belongs to another role; ask who runs the machine at this address",
            ),
            ChainFault::UnknownIssuer => Error::new(
                Code::UntrustedRoot,
                format!("the certificate does not chain to the root of vendor {vendor}"),
                format!(
                    "this machine trusts the root with SHA-256 {}…; ask the vendor for its own",
                    &self.fingerprint()[..23]
                ),
            ),
            ChainFault::Other(why) => malformed(why),
        }
    }
}

/// Why a chain was refused. Both webpki, for documents, and rustls, for connections, are put in these words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// A certificate has ended.
    Ended {
        /// The time of the comparison.
        now: UnixTime,
        /// The certificate's end.
        not_after: UnixTime,
    },
    /// A certificate has not begun.
    NotBegun {
        /// The time of the comparison.
        now: UnixTime,
        /// The certificate's beginning.
        not_before: UnixTime,
    },
    /// The certificate is made out for another name.
    WrongName,
    /// The certificate is for another use.
    WrongUsage,
    /// The chain does not lead to the root, or a signature in it does not match.
    UnknownIssuer,
    /// Anything else, in the verifier's words.
    Other(String),
}

impl From<webpki::Error> for ChainFault {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as Webpki;
        match error {
            Webpki::CertExpired { time, not_after } => Self::Ended { now: time, not_after },
            Webpki::CertNotValidYet { time, not_before } => Self::NotBegun { now: time, not_before },
            Webpki::CertNotValidForName(_) => Self::WrongName,
            Webpki::RequiredEkuNotFoundContext(_) => Self::WrongUsage,
            Webpki::UnknownIssuer | Webpki::InvalidSignatureForPublicKey => Self::UnknownIssuer,
            other => Self::Other(other.to_string()),
        }
    }
}

impl std::fmt::Debug for VendorRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VendorRoot({})", &self.fingerprint()[..23])
    }
}

/// What is known of a certificate whose chain has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCertificate {
    /// The serial number in hexadecimal, by which it is revoked.
    pub serial: String,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// The public key as an uncompressed point.
    pub public_key: Vec<u8>,
    /// For a host or a machine: the product key, and what it may activate.
    pub entitlement: Option<Entitlement>,
}

impl VerifiedCertificate {
    fn read(der: &CertificateDer<'_>) -> Result<Self> {
        let certificate =
            x509_cert::Certificate::from_der(der).map_err(|error| malformed(&error.to_string()))?;
        let tbs = certificate.tbs_certificate();
        let validity = tbs.validity();
        let [not_before, not_after] =
            [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
        let time =
            |seconds| i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let entitlement = tbs
            .extensions()
            .into_iter()
            .flatten()
            .find(|extension| extension.extn_id.to_string() == ENTITLEMENT_OID_TEXT)
            .map(|extension| Entitlement::from_der(extension.extn_value.as_bytes()))
            .transpose()?;
        // DER writes a zero before a serial number whose highest bit is set; no tool shows it.
        let serial = tbs.serial_number().as_bytes();
        let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
        Ok(Self {
            serial: serial.iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: time(not_before).unwrap_or(Timestamp::MIN),
            not_after: time(not_after).unwrap_or(Timestamp::MAX),
            public_key: tbs.subject_public_key_info().subject_public_key.raw_bytes().to_vec(),
            entitlement,
        })
    }
}

/// The product key for which a certificate was issued, and what its holder may activate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// The product key.
    pub key: KeyId,
    /// The extended PID that the vendor gave to this activation.
    pub extended_pid: ExtendedPid,
    /// The groups of client SKUs that a host may activate; none for a machine.
    pub sku_groups: Vec<String>,
}

impl Entitlement {
    /// The extension's value.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        let content = EntitlementDer {
            version: 1,
            key: self.key.to_string(),
            extended_pid: self.extended_pid.to_string(),
            sku_groups: self.sku_groups.clone(),
        };
        content.to_der().map_err(|error| {
            Error::new(
                Code::Internal,
                format!("cannot encode an entitlement ({error})"),
                "please report this",
            )
        })
    }

    /// Reads the extension's value.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let content = EntitlementDer::from_der(der)
            .map_err(|error| malformed(&format!("its entitlement cannot be read: {error}")))?;
        if content.version != 1 {
            return Err(malformed(&format!("its entitlement is of version {}", content.version)));
        }
        let (key, extended_pid): (KeyId, ExtendedPid) = (content.key.parse()?, content.extended_pid.parse()?);
        if extended_pid.key != key {
            return Err(malformed(&format!("its entitlement names key {key} and key {}", extended_pid.key)));
        }
        Ok(Self { key, extended_pid, sku_groups: content.sku_groups })
    }
}

/// The entitlement extension's object identifier.
///
/// The arc is the one that RFC 5612 reserves for documentation: nothing in this closed PKI can collide with
/// it, and it will be replaced before 1.0 by the private enterprise number that the project applies for.
pub const ENTITLEMENT_OID: &[u64] = &[1, 3, 6, 1, 4, 1, 32473, 1688, 1];
const ENTITLEMENT_OID_TEXT: &str = "1.3.6.1.4.1.32473.1688.1";

/// The extended key usage of certificates that sign documents (RFC 9336), as arcs.
pub const DOCUMENT_SIGNING_OID: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 36];
/// The same as the content of its DER encoding.
const DOCUMENT_SIGNING: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x24];

#[derive(Sequence)]
struct EntitlementDer {
    version: u8,
    key: String,
    extended_pid: String,
    sku_groups: Vec<String>,
}

fn malformed(why: &str) -> Error {
    Error::new(
        Code::DocumentInvalid,
        format!("a certificate cannot be used: {why}"),
        "the file or the answer is damaged, or not from Quorate; fetch it again",
    )
}

fn utc(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| "an impossible time".to_owned(), |time| time.to_string())
}
