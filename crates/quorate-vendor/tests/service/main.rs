//! The service itself, in SQLite and in PostgreSQL, a file for each thing that it keeps.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod audit;
#[path = "../common/mod.rs"]
mod common;
mod concurrency;
mod customers;
mod desk;
mod keys;
mod limits;
mod products;
mod tables;

use crate::common::installation_id;
use quorate_core::Code;
use quorate_core::hardware::HardwareId;
use quorate_core::host_activation::HostActivationRequest;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::KeyActivationRequest;
use quorate_core::product_key::ProductKey;
use quorate_vendor::service::Service;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

#[track_caller]
fn refused<T: std::fmt::Debug>(result: quorate_core::Result<T>, code: Code, what: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code, error.what.as_str()), (code, what));
}

fn activate(service: &Service, key: &ProductKey, machine: u8) -> quorate_core::Result<u32> {
    let verifier = key.verifier();
    let hardware = HardwareId::from_bytes(&[machine; 32]).unwrap();
    let iid = InstallationId::new(key.id(), &verifier, hardware.short(), 1);
    let request = KeyActivationRequest::new(iid, hardware, &verifier);
    service.activate_key(&request).map(|answer| answer.machines)
}

/// Each time with a key pair of its own, as after a new installation.
fn activate_host(service: &Service, key: &ProductKey, machine: u8) -> quorate_core::Result<()> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let request = CertificateParams::default().serialize_request(&pair).unwrap();
    let iid = installation_id(key, machine);
    service.activate_host(&HostActivationRequest::new(iid, request.der(), &key.verifier())).map(drop)
}
