//! Files of requests and answers: whatever is done to one line, the others are read as they were, and what is read
//! is written and read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::Code;
use quorate_core::hardware::HardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::{
    Answer, AnswerEntry, KeyActivationRequest, RequestEntry, read_entries, with_request, write_entry,
};
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_fuzz::Edit;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::LazyLock;

fuzz_target!(|edit: Edit<'_>| {
    let Genuine { request, answer } = &*GENUINE;
    around(request, &edit);
    around(answer, &edit);
    if let Ok(text) = str::from_utf8(edit.piece()) {
        let added = with_request(text, request).expect("an entry can be written");
        assert_eq!(
            read_entries::<RequestEntry>(&added).last().map(|(_, entry)| entry),
            Some(&Ok(request.clone()))
        );
    }
});

/// A line that is edited, between two that are not.
fn around<T: Serialize + DeserializeOwned + PartialEq + Clone + Debug>(entry: &T, edit: &Edit<'_>) {
    let line = write_entry(entry).expect("an entry can be written");
    let edited = edit.apply(line.as_bytes());
    let Ok(edited) = str::from_utf8(&edited) else { return };
    let read = read_entries::<T>(&format!("{line}\n{edited}\n{line}"));
    let (first, last) = (&read[0].1, &read[read.len() - 1].1);
    assert_eq!((first, last), (&Ok(entry.clone()), &Ok(entry.clone())));
    for (_, found) in &read {
        match found {
            Ok(found) => {
                let again = read_entries::<T>(&write_entry(found).expect("an entry can be written"));
                assert_eq!(again, [(1, Ok(found.clone()))]);
            }
            Err(error) => assert_eq!(error.code, Code::DocumentInvalid),
        }
    }
}

struct Genuine {
    request: RequestEntry,
    answer: AnswerEntry,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let key = ProductKey::new(KeyId::new(97, 1).expect("both are in range"), [1; 8]);
    let hardware = HardwareId::from_bytes(&[1; 32]).expect("it is long enough");
    let installation_id = InstallationId::new(key.id(), &key.verifier(), hardware.short(), 1);
    let request = KeyActivationRequest::new(installation_id, hardware, &key.verifier());
    let (vendor, machine) = ("contoso".parse().expect("it is a vendor id"), "pc-1".to_owned());
    Genuine {
        request: RequestEntry { vendor, machine: machine.clone(), request },
        answer: AnswerEntry {
            vendor: "contoso".parse().expect("it is a vendor id"),
            machine,
            installation_id,
            answer: Answer::Granted {
                license: "e30.e30.e30".to_owned(),
                revocations: "e30.e30.e30".to_owned(),
            },
        },
    }
});
