//! How a machine with a product key of its own (MAK or retail) is activated at the vendor's service.
//!
//! As with hosts, the key itself never travels: the machine sends its Installation ID, with a proof under the
//! key's verifier. What comes back is a [machine license](crate::machine_license). Neither is a secret, and
//! neither is of use to another machine, so both may travel in files: machines without a network write their
//! requests into one ([`RequestEntry`] after [`RequestEntry`], a line each), a connected one has them answered,
//! and each finds its own in the file of [`AnswerEntry`]s.

use crate::catalog::KeyGroup;
use crate::error::plain;
use crate::hardware::HardwareId;
use crate::host_activation::UsedSoFar;
use crate::identifier::VendorId;
use crate::installation_id::InstallationId;
use crate::product_key::{KeyId, Verifier};
use crate::{Code, Error, Result, words};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// `POST /v1/activations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeyActivationRequest {
    /// Which key, on which machine.
    pub installation_id: InstallationId,
    /// The machine's whole hardware id, of which the Installation ID has room for the beginning alone.
    pub hardware: HardwareId,
    /// 256-bit authentication code over both under the key's verifier, as base64.
    pub proof: String,
}

impl KeyActivationRequest {
    /// A request for the machine and key of `installation_id`.
    pub fn new(installation_id: InstallationId, hardware: HardwareId, verifier: &Verifier) -> Self {
        let proof = verifier.prove(PURPOSE, &message(&installation_id, hardware));
        Self { installation_id, hardware, proof }
    }

    /// Whether the sender holds the product key.
    pub fn is_proven(&self, verifier: &Verifier) -> bool {
        self.installation_id.verify(verifier).is_ok()
            && self.hardware.short() == self.installation_id.hardware()
            && verifier.is_proven(PURPOSE, &message(&self.installation_id, self.hardware), &self.proof)
    }
}

fn message(installation_id: &InstallationId, hardware: HardwareId) -> String {
    format!("{installation_id}|{hardware}")
}

/// The answer to a [`KeyActivationRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyActivationResponse {
    /// The signed machine license.
    pub license: String,
    /// The newest signed revocation list.
    pub revocations: String,
    /// On how many machines the key is activated, this one included.
    pub machines: u32,
    /// On how many it may be.
    pub machines_allowed: u32,
}

/// Decides on one more activation of a MAK or retail key; the same machine again is free, however often.
pub fn grant(group: &KeyGroup, allowed: u32, key: KeyId, before: UsedSoFar) -> Result<()> {
    if before.times > 0 || before.machines < allowed {
        return Ok(());
    }
    Err(Error::new(
        Code::MachinesUsedUp,
        format!(
            "product key {key} ({}) is activated on {}; {} allowed",
            group.name,
            words::counted(before.machines as usize, "machine"),
            words::are(allowed)
        ),
        "ask the vendor to raise the limit, or for another key; a machine that was activated before may be again",
    ))
}

/// One line of a file of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RequestEntry {
    /// Which vendor's service to ask.
    pub vendor: VendorId,
    /// The name of the machine, for the person who carries the file; the service never sees it.
    #[serde(deserialize_with = "plain_name")]
    pub machine: String,
    /// What to ask.
    pub request: KeyActivationRequest,
}

/// One line of a file of answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AnswerEntry {
    /// Whose answer it is.
    pub vendor: VendorId,
    /// The name of the machine, as in the request.
    #[serde(deserialize_with = "plain_name")]
    pub machine: String,
    /// Which request it answers.
    pub installation_id: InstallationId,
    /// The machine license, or why there is none.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What was granted.
    Granted {
        /// The signed machine license.
        license: String,
        /// The signed revocation list of the day.
        revocations: String,
    },
    /// Why it was refused.
    #[serde(deserialize_with = "refusal")]
    Error(Error),
}

/// Reads a file of requests or answers: each line that is not blank, with its number and what it holds.
pub fn read_entries<T: DeserializeOwned>(text: &str) -> Vec<(usize, Result<T>)> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let read = |(line, number): (&str, usize)| {
        let entry = serde_json::from_str(line).map_err(|error| {
            Error::new(
                Code::DocumentInvalid,
                format!("it is no request or answer ({})", plain(&without_place(&error))),
                "have that line made again: `quorate export-request` on its machine, then `quorate forward-requests`",
            )
        });
        (number, entry)
    };
    lines.map(read).collect()
}

/// An entry as the line of a file.
pub fn write_entry<T: Serialize>(entry: &T) -> Result<String> {
    serde_json::to_string(entry).map_err(|error| {
        Error::new(Code::Internal, format!("an entry cannot be written ({error})"), "please report this")
    })
}

/// A file of requests with one more. An earlier request of the same machine for the same key gives way; a line that
/// cannot be read stays, for whoever has the file answered to be told.
pub fn with_request(text: &str, entry: &RequestEntry) -> Result<String> {
    let same = |other: &RequestEntry| {
        let (one, two) = (&entry.request.installation_id, &other.request.installation_id);
        (&entry.vendor, one.key(), one.hardware()) == (&other.vendor, two.key(), two.hardware())
    };
    let others = text.lines().filter(|line| {
        !line.trim().is_empty() && !serde_json::from_str(line).is_ok_and(|other: RequestEntry| same(&other))
    });
    let line = write_entry(entry)?;
    Ok(others.chain([line.as_str()]).flat_map(|line| [line, "\n"]).collect())
}

/// A name out of a file that anybody may have written, as it can be shown in a terminal.
fn plain_name<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    String::deserialize(deserializer).map(|name| plain(&name))
}

fn refusal<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Error, D::Error> {
    Error::deserialize(deserializer).map(Error::from_outside)
}

/// The parser counts lines within what it was given, which is always one.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line 1").next().unwrap_or(&text).to_owned()
}

const PURPOSE: &str = "machine activation";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product_key::ProductKey;

    fn key() -> ProductKey {
        ProductKey::new(KeyId::new(97, 1).unwrap(), [1; 8])
    }

    fn request(machine: u8) -> KeyActivationRequest {
        let verifier = key().verifier();
        let hardware = HardwareId::from_bytes(&[machine; 32]).unwrap();
        let iid = InstallationId::new(key().id(), &verifier, hardware.short(), 1);
        KeyActivationRequest::new(iid, hardware, &verifier)
    }

    #[test]
    fn fifty_machines_and_each_again_for_free() {
        let products = crate::catalog::tests::products();
        let group = products.key_group(97).unwrap();
        let allowed = products.machines_allowed(group);
        assert_eq!(allowed, 50);
        let grant = |machines, times| super::grant(group, allowed, key().id(), UsedSoFar { machines, times });
        (0..50).for_each(|machines| grant(machines, 0).unwrap());
        let error = grant(50, 0).unwrap_err();
        assert_eq!(error.code, Code::MachinesUsedUp);
        assert_eq!(
            error.what,
            "product key 00097-000-000001 (MAK) is activated on 50 machines; 50 are allowed"
        );
        (1..50).for_each(|times| grant(50, times).unwrap());
    }

    #[test]
    fn a_proof_holds_for_its_own_request_and_key_alone() {
        let request = request(1);
        assert!(request.is_proven(&key().verifier()));
        let other = ProductKey::new(key().id(), [2; 8]).verifier();
        assert!(!request.is_proven(&other));
        let two = self::request(2);
        let moved = KeyActivationRequest { installation_id: two.installation_id, ..request.clone() };
        assert!(!moved.is_proven(&key().verifier()));
        let elsewhere = KeyActivationRequest { hardware: two.hardware, ..request };
        assert!(!elsewhere.is_proven(&key().verifier()));
    }

    #[test]
    fn entries_are_lines_and_a_bad_one_spoils_no_other() {
        let entry = |machine: u8| RequestEntry {
            vendor: "contoso".parse().unwrap(),
            machine: format!("pc-{machine}"),
            request: request(machine),
        };
        let line = |machine: u8| write_entry(&entry(machine)).unwrap();
        let text = format!("{}\n\n{{\"vendor\": \"contoso\"}}\r\n{}", line(1), line(2));
        let read = read_entries::<RequestEntry>(&text);
        assert_eq!(read[0], (1, Ok(entry(1))));
        assert_eq!(read[2], (4, Ok(entry(2))));
        let error = read[1].1.as_ref().unwrap_err();
        assert_eq!(error.what, "it is no request or answer (missing field `machine`)");

        // Asked again, a machine has one line still.
        let added = with_request(&text, &entry(2)).unwrap();
        assert_eq!(added, format!("{}\n{{\"vendor\": \"contoso\"}}\n{}\n", line(1), line(2)));
        assert_eq!(with_request(&added, &entry(1)).unwrap().lines().last(), Some(line(1).as_str()));
        assert_eq!(with_request(&added, &entry(3)).unwrap().lines().count(), 4);

        let answers = [
            Answer::Granted { license: "e30.e30.e30".to_owned(), revocations: "e30.e30.e30".to_owned() },
            Answer::Error(Error::new(Code::KeyBlocked, "it is blocked", "ask")),
        ];
        for answer in answers {
            let installation_id = request(1).installation_id;
            let (vendor, machine) = ("contoso".parse().unwrap(), "pc-1".to_owned());
            let entry = AnswerEntry { vendor, machine, installation_id, answer };
            let line = write_entry(&entry).unwrap();
            assert_eq!(read_entries::<AnswerEntry>(&line), [(1, Ok(entry))]);
        }
        // What a file says is shown in a terminal, and must not steer it.
        let mischief = line(1).replace("pc-1", "pc\\u001b[31m\\nok");
        let (_, read) = &read_entries::<RequestEntry>(&mischief)[0];
        assert_eq!(read.as_ref().unwrap().machine, "pc [31m ok");
    }
}
