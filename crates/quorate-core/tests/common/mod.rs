//! A vendor for tests, with a real PKI: root, activation CA, host and issuer certificates.
//!
//! Every certificate is made by rcgen when a test asks for it, so that each test says in its own lines what
//! is wrong with the one it tries.

// Each test has use for a part of it.
#![allow(dead_code)]

use quorate_core::activation::{ActivationRequest, ActivationResponse, Nonce};
use quorate_core::catalog::{Catalog, Products};
use quorate_core::certificate::{DOCUMENT_SIGNING_OID, ENTITLEMENT_OID, Entitlement, Role, VendorRoot};
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::hardware::{Component, Components};
use quorate_core::identifier::VendorId;
use quorate_core::license_state::LicenseStatus;
use quorate_core::product_key::KeyId;
use quorate_core::revocation::RevocationList;
use quorate_core::signed::Signer;
use quorate_core::{Interval, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use std::collections::BTreeSet;

/// A vendor with its root and its activation CA, both good from 2026 to the end of 2035.
pub struct Vendor {
    pub id: VendorId,
    pub root: VendorRoot,
    ca: CertificateDer<'static>,
    ca_issuer: Issuer<'static, KeyPair>,
}

impl Vendor {
    pub fn new(id: &str) -> Self {
        Self::with_ca(id, |_| ())
    }

    /// A vendor whose activation CA is changed before it is signed.
    pub fn with_ca(id: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root_params = ca_params(&format!("{id} root"));
        let root_key = KeyPair::generate().unwrap();
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);

        let mut params = ca_params(&format!("{id} activation CA"));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let ca = params.signed_by(&key, &root_issuer).unwrap();
        Self {
            id: id.parse().unwrap(),
            root: VendorRoot::from_der(root.der().to_vec()).unwrap(),
            ca: ca.der().clone(),
            ca_issuer: Issuer::new(params, key),
        }
    }

    /// A host that may activate the Office clients.
    pub fn host(&self) -> Holder {
        self.host_with(|_| ())
    }

    /// The same, changed before it is signed.
    pub fn host_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Holder {
        let mut params = leaf_params(Role::Host, &self.id);
        params.custom_extensions = vec![entitlement_extension(&entitlement("office-clients"))];
        change(&mut params);
        self.certify(params)
    }

    /// What signs the vendor's catalogs, packs and revocation lists.
    pub fn issuer(&self) -> Holder {
        self.certify(leaf_params(Role::Issuer, &self.id))
    }

    /// What is in a slot of the license pack of this product key.
    pub fn machine(&self, key: KeyId) -> Holder {
        let mut params = leaf_params(Role::Machine, &self.id);
        let extended_pid = ExtendedPid { key, ..entitlement("office-clients").extended_pid };
        params.custom_extensions =
            vec![entitlement_extension(&Entitlement { key, extended_pid, sku_groups: vec![] })];
        self.certify(params)
    }

    fn certify(&self, params: CertificateParams) -> Holder {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca_issuer).unwrap();
        Holder { chain: vec![certificate.der().clone(), self.ca.clone()], params, key }
    }
}

/// Who holds a certificate and its private key.
pub struct Holder {
    /// End entity first; the root is not included.
    pub chain: Vec<CertificateDer<'static>>,
    params: CertificateParams,
    key: KeyPair,
}

impl Holder {
    pub fn signer(&self) -> Signer {
        self.signer_with(&self.chain)
    }

    /// This holder's key, with whatever chain it claims.
    pub fn signer_with(&self, chain: &[CertificateDer<'_>]) -> Signer {
        Signer::new(self.key.serialized_der(), chain)
    }

    /// The public key as an uncompressed point.
    pub fn public_key(&self) -> &[u8] {
        self.key.public_key_raw()
    }

    /// Signs a host certificate with this certificate, as if it were a CA.
    pub fn certify_a_host(&self, vendor: &VendorId) -> Holder {
        let params = {
            let mut params = leaf_params(Role::Host, vendor);
            params.custom_extensions = vec![entitlement_extension(&entitlement("office-clients"))];
            params
        };
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.chain.iter().cloned());
        Holder { chain, params, key }
    }
}

/// A certificate of this role and vendor, without an entitlement.
pub fn leaf_params(role: Role, vendor: &VendorId) -> CertificateParams {
    let mut params = params(&format!("{vendor} {role:?}"), vec![role.server_name(vendor)]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage(role)];
    params
}

pub fn usage(role: Role) -> ExtendedKeyUsagePurpose {
    match role {
        Role::Host => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Issuer | Role::Machine => ExtendedKeyUsagePurpose::Other(DOCUMENT_SIGNING_OID.to_vec()),
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name, vec![]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn params(name: &str, dns_names: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(dns_names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2036, 1, 1);
    params
}

/// What product key 00096-000-000004 allows: one group of client SKUs.
pub fn entitlement(group: &str) -> Entitlement {
    Entitlement {
        key: host_key(),
        extended_pid: "55041-00096-000-000004-03-1033-7600.0000-0012026".parse().unwrap(),
        sku_groups: vec![group.to_owned()],
    }
}

pub fn entitlement_extension(entitlement: &Entitlement) -> CustomExtension {
    CustomExtension::from_oid_content(ENTITLEMENT_OID, entitlement.to_der().unwrap())
}

pub fn host_key() -> KeyId {
    KeyId::new(96, 4).unwrap()
}

/// The middle of a day on which every certificate is good.
pub fn noon() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

/// The catalog of a vendor with two applications: Office, activated by hosts or with a MAK, and Visio.
pub fn catalog(vendor: &VendorId) -> Catalog {
    Catalog {
        vendor: vendor.clone(),
        vendor_name: "Contoso".to_owned(),
        number: 3,
        issued: noon(),
        service_url: "https://activation.contoso.example".to_owned(),
        products: products(),
    }
}

fn products() -> Products {
    serde_json::from_value(serde_json::json!({
        "dns-service": "contoso-kms",
        "application": [
            {"id": id(1), "name": "Contoso Office", "product-number": 55041},
            {"id": id(2), "name": "Contoso Visio", "product-number": 55042}
        ],
        "sku": [
            {"id": id(10), "application": id(1), "name": "Office, KMS host", "description": "Office KMS",
             "channel": "kms-host", "policy": "office"},
            {"id": id(OFFICE), "application": id(1), "name": "Office Standard", "description": "Office client",
             "channel": "kms-client", "group": "office-clients", "policy": "office"},
            {"id": id(OFFICE_MAK), "application": id(1), "name": "Office Standard MAK",
             "description": "Office", "channel": "mak", "policy": "office"},
            {"id": id(VISIO), "application": id(2), "name": "Visio Standard", "description": "Visio client",
             "channel": "kms-client", "group": "visio-clients", "policy": "office"}
        ],
        "key-group": [
            {"number": 96, "name": "Office hosts", "sku": id(10), "activates": ["office-clients"]},
            {"number": 97, "name": "Office MAKs", "sku": id(OFFICE_MAK)},
            {"number": 99, "name": "Office setup keys", "sku": id(OFFICE)}
        ],
        "policy": {"office": {"threshold": 5}}
    }))
    .unwrap()
}

/// A GUID that differs from others of this catalog in its last byte.
pub fn id(last: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{last:02x}")
}

/// What a machine with Office Standard asks at noon.
pub fn request() -> ActivationRequest {
    ActivationRequest {
        application: id(1).parse().unwrap(),
        sku: id(OFFICE).parse().unwrap(),
        cmid: "f81d4fae-7dec-41d0-a765-00a0c91e6bf6".parse().unwrap(),
        hardware: Components::new([(Component::Board, "one")]).id(),
        status: LicenseStatus::InitialGrace,
        minutes_left: 43_200,
        threshold: 5,
        client_time: noon(),
        machine_name: "desk-1".to_owned(),
        virtual_machine: false,
        nonce: Nonce(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        previous_cmid: None,
    }
}

/// The honest answer to a request.
pub fn response(request: &ActivationRequest) -> ActivationResponse {
    ActivationResponse {
        application: request.application,
        sku: request.sku,
        cmid: request.cmid,
        hardware: request.hardware,
        nonce: request.nonce,
        count: 4,
        host_pid: entitlement("office-clients").extended_pid,
        host_time: noon(),
        activation_interval: Interval::hours(2),
        renewal_interval: Interval::days(7),
        clone: false,
    }
}

/// A revocation list on which nothing stands.
pub fn revocations(vendor: &VendorId, number: u64) -> RevocationList {
    RevocationList {
        vendor: vendor.clone(),
        number,
        issued: noon(),
        keys: BTreeSet::new(),
        certificates: BTreeSet::new(),
    }
}

/// The last byte of SKU ids.
pub const OFFICE: u8 = 11;
pub const OFFICE_MAK: u8 = 12;
pub const VISIO: u8 = 13;
