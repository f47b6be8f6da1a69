//! GUIDs, CMIDs, vendor ids and host names: what is read is written the same, and an error shows a hostile
//! text tamely.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::certificate::{Role, vendor_of_host_name};
use quorate_core::identifier::{ActivationId, ApplicationId, Cmid, VendorId, quoted};

fuzz_target!(|text: &str| {
    let shown = quoted(text);
    assert!(!shown.chars().any(char::is_control));
    // Sixty characters, each written as `\u{10ffff}` at worst, and the quotes.
    assert!(shown.chars().count() <= 60 * 10 + 3);

    match text.parse::<Cmid>() {
        Ok(cmid) => {
            assert_eq!(cmid.to_string(), text.to_ascii_lowercase());
            assert_eq!(text.parse::<ActivationId>().map(|id| id.0), Ok(cmid.0));
            assert_eq!(text.parse::<ApplicationId>().map(|id| id.0), Ok(cmid.0));
        }
        Err(error) => assert_eq!(error.code, Code::IdentifierInvalid),
    }
    match text.parse::<VendorId>() {
        Ok(vendor) => {
            assert_eq!(vendor.as_str(), text);
            assert_eq!(vendor_of_host_name(&Role::Host.server_name(&vendor)), Some(vendor));
        }
        Err(error) => assert_eq!(error.code, Code::IdentifierInvalid),
    }
    if let Some(vendor) = vendor_of_host_name(text) {
        assert_eq!(Role::Host.server_name(&vendor), text);
    }
});
