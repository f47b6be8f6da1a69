//! Extended PIDs: there is one way to write each, so what is read is written the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::extended_pid::ExtendedPid;
use quorate_fuzz::Edit;

fuzz_target!(|edit: Edit<'_>| {
    let example = b"55041-00096-199-000004-03-1033-7600.0000-3632009";
    for bytes in [edit.piece(), &edit.apply(example)] {
        let Ok(text) = str::from_utf8(bytes) else { continue };
        match text.parse::<ExtendedPid>() {
            Ok(pid) => assert_eq!(pid.to_string(), text),
            Err(error) => assert_eq!(error.code, Code::IdentifierInvalid),
        }
    }
});
