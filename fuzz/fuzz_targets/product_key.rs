//! Product keys: what is read is written and read back the same, and no error shows what was typed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_fuzz::Edit;

fuzz_target!(|input: (u16, u32, [u8; 8], Edit<'_>)| {
    let (group, serial, secret, edit) = input;
    if let Ok(text) = str::from_utf8(edit.piece()) {
        let _ = read(text);
    }
    let Ok(id) = KeyId::new(group, serial) else { return };
    let issued = ProductKey::new(id, secret);
    let whole = issued.reveal();
    assert_eq!(read(&whole), Ok(issued));

    let typed = String::from_utf8_lossy(&edit.apply(whole.as_bytes())).into_owned();
    if let Err(error) = read(&typed) {
        let shown = format!("{error:?} {error} {}", error.report());
        for five in whole.split('-') {
            assert!(!shown.contains(five), "{five} of {whole}, typed as {typed:?}, is shown: {shown}");
        }
    }
});

fn read(text: &str) -> quorate_core::Result<ProductKey> {
    let key =
        text.parse::<ProductKey>().inspect_err(|error| assert_eq!(error.code, Code::ProductKeyInvalid))?;
    assert_eq!(key.reveal().parse::<ProductKey>().as_ref(), Ok(&key));
    assert_eq!(key.partial().0, key.reveal()[24..]);
    assert!(!format!("{key:?}").contains(&key.reveal()[..23]));
    Ok(key)
}
