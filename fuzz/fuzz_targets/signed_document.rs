//! Signed documents: whatever is done to a response or a revocation list, it is refused or it still says
//! what was signed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::activation::{self, ActivationRequest, ActivationResponse, Trust};
use quorate_core::catalog::Catalog;
use quorate_core::certificate::Role;
use quorate_core::revocation::RevocationList;
use quorate_core::signed::{self, Document};
use quorate_fuzz::vendor::{self, Vendor, noon};
use quorate_fuzz::{Edit, Part};
use std::fmt::Debug;
use std::sync::LazyLock;

fuzz_target!(|input: (bool, Part, Edit<'_>)| {
    let (in_list, part, edit) = input;
    let (mut response, mut list) = (GENUINE.response.clone(), GENUINE.list.clone());
    let edited = if in_list { &mut list } else { &mut response };
    *edited = part.edit(edited, &edit);

    if let Ok(text) = str::from_utf8(edit.piece()) {
        assert!(verify::<ActivationResponse>(text).is_none());
    }
    assert!(verify::<Catalog>(edited).is_none());
    let said = vendor::response(&GENUINE.request);
    only(verify::<ActivationResponse>(&response), &said);
    only(verify::<RevocationList>(&list), &vendor::revocations(&GENUINE.vendor.id, 7));

    let trust = Trust {
        root: &GENUINE.vendor.root,
        vendor: &GENUINE.vendor.id,
        catalog: &GENUINE.catalog,
        newest_revocations: 7,
    };
    if let Ok(accepted) = activation::accept(&response, &list, &GENUINE.request, trust, noon()) {
        assert_eq!((accepted.response, accepted.revocations), (said, 7));
    }
});

fn verify<T: Document>(jws: &str) -> Option<T> {
    let Vendor { root, id, .. } = &GENUINE.vendor;
    let verified = signed::verify::<T>(jws, root, id, noon()).ok()?;
    assert_eq!(verified.signer.entitlement.is_some(), T::ROLES == [Role::Host]);
    Some(verified.document)
}

fn only<T: PartialEq + Debug>(found: Option<T>, signed: &T) {
    if let Some(found) = found {
        assert_eq!(&found, signed);
    }
}

struct Genuine {
    vendor: Vendor,
    catalog: Catalog,
    request: ActivationRequest,
    response: String,
    list: String,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let vendor = Vendor::new("contoso");
    let request = vendor::request();
    let response = vendor.host().signer().sign(&vendor::response(&request));
    let list = vendor.issuer().signer().sign(&vendor::revocations(&vendor.id, 7));
    Genuine {
        catalog: vendor::catalog(&vendor.id),
        request,
        response: response.expect("the host holds a key"),
        list: list.expect("the issuer holds a key"),
        vendor,
    }
});
