//! Entitlements: DER has one way to write each, so what is read is written the same, byte for byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::certificate::Entitlement;
use quorate_fuzz::{Edit, vendor};
use std::sync::LazyLock;

fuzz_target!(|edit: Edit<'_>| {
    for der in [edit.piece(), &edit.apply(&EXAMPLE)] {
        match Entitlement::from_der(der) {
            Ok(entitlement) => assert_eq!(entitlement.to_der().as_deref(), Ok(der)),
            Err(error) => {
                assert!(matches!(error.code, Code::DocumentInvalid | Code::IdentifierInvalid), "{error}");
            }
        }
    }
});

static EXAMPLE: LazyLock<Vec<u8>> =
    LazyLock::new(|| vendor::entitlement("office-clients").to_der().expect("it is the tests' own"));
