//! Products: whoever holds them can follow every reference in them, and they survive JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::catalog::{Catalog, Products};
use quorate_core::license_state::{self, Facts, License, Term};
use quorate_core::product_key::KeyId;
use quorate_fuzz::{Edit, vendor};
use std::sync::LazyLock;

fuzz_target!(|edit: Edit<'_>| {
    for json in [edit.piece(), &edit.apply(&EXAMPLE)] {
        if let Ok(products) = serde_json::from_slice::<Products>(json) {
            check(&products);
        }
    }
    if let Ok(catalog) = serde_json::from_slice::<Catalog>(&edit.apply(&WHOLE)) {
        let json = serde_json::to_string(&catalog).expect("a catalog is text");
        assert_eq!(serde_json::from_str::<Catalog>(&json).expect("it was just written"), catalog);
        let service = &catalog.products.dns_service;
        assert_eq!(catalog.srv_name("example.com"), format!("_{service}._tcp.example.com."));
    }
});

fn check(products: &Products) {
    let json = serde_json::to_string(products).expect("products are text");
    assert_eq!(&serde_json::from_str::<Products>(&json).expect("they were just written"), products);
    for sku in &products.skus {
        assert!(products.application(sku.application).is_some());
        let policy = products.policy(sku);
        assert!(policy.threshold > 0);
        // Any policy that was let through gives a state, whatever its figures.
        let now = vendor::noon();
        for term in [None, Some(Term::Renewable), Some(Term::Permanent)] {
            let license = term.map(|term| License { granted: now, term });
            license_state::evaluate(policy, &Facts { license, ..Facts::first_run(now) }, now);
        }
    }
    for group in &products.key_groups {
        assert!(products.sku(group.sku).is_some());
        assert!(KeyId::new(group.number, 0).is_ok());
        for name in &group.activates {
            assert!(products.skus.iter().any(|sku| sku.group.as_ref() == Some(name)));
        }
    }
}

static EXAMPLE: LazyLock<Vec<u8>> =
    LazyLock::new(|| serde_json::to_vec(&catalog().products).expect("products are text"));

static WHOLE: LazyLock<Vec<u8>> =
    LazyLock::new(|| serde_json::to_vec(&catalog()).expect("a catalog is text"));

fn catalog() -> Catalog {
    vendor::catalog(&"contoso".parse().expect("this is a vendor id"))
}
