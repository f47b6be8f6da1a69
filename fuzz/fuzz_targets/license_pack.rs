//! License packs: whatever is done to a pack, it is refused or it still holds what the vendor put into it.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use quorate_core::license_pack::{Credential, LicensePack, SealedSlot, SlotSecret};
use quorate_core::product_key::Verifier;
use quorate_fuzz::vendor::{self, Vendor, noon};
use quorate_fuzz::{Edit, Part};
use rustls_pki_types::CertificateDer;
use std::sync::LazyLock;

fuzz_target!(|input: (Part, [u8; 16], Edit<'_>)| {
    let (part, secret, edit) = input;
    if let Ok(text) = str::from_utf8(edit.piece()) {
        assert!(LicensePack::open(text, noon()).is_err());
    }
    if let Ok((pack, root)) = LicensePack::open(&part.edit(&GENUINE.jws, &edit), noon()) {
        assert_eq!(root, GENUINE.vendor.root);
        assert_eq!(json(&pack), json(&GENUINE.pack));
        let opened = pack.unseal(&SlotSecret::from_bytes(SECRET)).expect("the slot is as it was");
        assert_eq!(opened.chain, credential().chain);
        assert_eq!(pack.unseal(&SlotSecret::from_bytes(secret)).is_some(), secret == SECRET);
    }
});

fn json(pack: &LicensePack) -> String {
    serde_json::to_string(pack).expect("a pack is text")
}

/// A pack keeps whatever is sealed into it; these bytes stand for a certificate and its key.
fn credential() -> Credential {
    Credential {
        chain: vec![CertificateDer::from(b"certificate".to_vec())],
        private_key: b"key".to_vec().into(),
    }
}

struct Genuine {
    vendor: Vendor,
    pack: LicensePack,
    jws: String,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let vendor = Vendor::new("contoso");
    let signer = vendor.issuer().signer();
    let key = vendor::host_key();
    let slot = SealedSlot::seal(1, &credential(), &SlotSecret::from_bytes(SECRET), &vendor.id, key);
    let pack = LicensePack {
        vendor: vendor.id.clone(),
        key,
        key_check: LicensePack::check_of(&vendor.id, key, &Verifier::from_bytes([9; 32])),
        root: STANDARD.encode(vendor.root.der()),
        catalog: signer.sign(&vendor::catalog(&vendor.id)).expect("the issuer holds a key"),
        revocations: signer.sign(&vendor::revocations(&vendor.id, 7)).expect("the issuer holds a key"),
        slots: vec![slot.expect("the credential is short")],
    };
    Genuine { jws: signer.sign(&pack).expect("the issuer holds a key"), pack, vendor }
});

const SECRET: [u8; 16] = [7; 16];
