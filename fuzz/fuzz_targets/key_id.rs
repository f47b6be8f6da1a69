//! Key ids: there is one way to write each, so what is read is written the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::product_key::KeyId;

fuzz_target!(|text: &str| {
    match text.parse::<KeyId>() {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            assert_eq!(KeyId::new(id.group(), id.serial()), Ok(id));
        }
        Err(error) => assert_eq!(error.code, Code::IdentifierInvalid),
    }
});
