//! Vendor roots and chains: no DER panics, a root keeps its DER, and nothing that the vendor's CA has not
//! signed is believed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::certificate::{Role, VendorRoot};
use quorate_fuzz::Edit;
use quorate_fuzz::vendor::{Vendor, noon};
use rustls_pki_types::CertificateDer;
use std::sync::LazyLock;

fuzz_target!(|edit: Edit<'_>| {
    let Genuine { vendor, chain } = &*GENUINE;
    for der in [edit.piece(), &edit.apply(vendor.root.der())] {
        match VendorRoot::from_der(der) {
            Ok(root) => {
                assert_eq!(root.der().as_ref(), der);
                assert_eq!(root.fingerprint().len(), 32 * 3 - 1);
                let _ = root.verify(&vendor.id, Role::Host, chain, noon());
                // The root itself is a CA and so is nobody's host.
                let itself = [root.der().clone()];
                assert!(root.verify(&vendor.id, Role::Host, &itself, noon()).is_err());
            }
            Err(error) => assert_eq!(error.code, Code::DocumentInvalid),
        }
    }
    for role in [Role::Host, Role::Issuer] {
        let edited = CertificateDer::from(edit.apply(&chain[0]));
        let same = edited == chain[0];
        let verified = vendor.root.verify(&vendor.id, role, &[edited, chain[1].clone()], noon());
        assert_eq!(verified.is_ok(), same && role == Role::Host);
    }
});

struct Genuine {
    vendor: Vendor,
    chain: Vec<CertificateDer<'static>>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let vendor = Vendor::new("contoso");
    Genuine { chain: vendor.host().chain, vendor }
});
