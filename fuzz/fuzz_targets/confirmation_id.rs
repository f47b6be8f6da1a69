//! Confirmation IDs: every slot secret comes back from the digits that conceal it, and what is read keeps
//! its digits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::SlotSecret;
use quorate_core::product_key::{KeyId, Verifier};

fuzz_target!(|input: ([u8; 16], [u8; 32], [u8; 6], u16, &str)| {
    let (secret, verifier, hardware, nonce, text) = input;
    match text.parse::<ConfirmationId>() {
        Ok(id) => {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(id.to_string().replace('-', ""), digits);
            assert_eq!(id.to_string().parse::<ConfirmationId>(), Ok(id));
        }
        Err(error) => assert_eq!(error.code, Code::ConfirmationIdInvalid),
    }

    let key = KeyId::new(96, 4).expect("both are in range");
    let verifier = Verifier::from_bytes(verifier);
    let asked = InstallationId::new(key, &verifier, ShortHardwareId(hardware), nonce);
    let secret = SlotSecret::from_bytes(secret);
    let dictated = ConfirmationId::conceal(&secret, &asked, &verifier);
    let typed: ConfirmationId = dictated.to_string().parse().expect("the phone desk gave it");
    assert!(typed.reveal(&asked, &verifier) == secret);
});
