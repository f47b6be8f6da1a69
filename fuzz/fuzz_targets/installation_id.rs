//! Installation IDs: every machine's is read back as it was shown, and what is read keeps its digits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::{KeyId, Verifier};

fuzz_target!(|input: (u16, u32, [u8; 32], [u8; 6], u16, &str)| {
    let (group, serial, verifier, hardware, nonce, text) = input;
    match text.parse::<InstallationId>() {
        Ok(id) => {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(id.digits(), digits);
            assert_eq!(id.to_string().parse::<InstallationId>(), Ok(id));
        }
        Err(error) => assert_eq!(error.code, Code::InstallationIdInvalid),
    }

    let Ok(key) = KeyId::new(group, serial) else { return };
    let verifier = Verifier::from_bytes(verifier);
    let shown = InstallationId::new(key, &verifier, ShortHardwareId(hardware), nonce);
    let read: InstallationId = shown.to_string().parse().expect("a machine showed it");
    assert_eq!(read, shown);
    assert_eq!((read.key(), read.hardware()), (key, ShortHardwareId(hardware)));
    assert_eq!(read.verify(&verifier), Ok(()));
});
