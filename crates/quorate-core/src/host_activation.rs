//! How a host key is activated: what a host sends to the vendor's service, and what the service grants.
//!
//! The product key itself never travels. Online, the host sends its Installation ID and a certificate signing
//! request, with a proof under the key's verifier over both; by telephone, the Installation ID alone is
//! enough, since the Confirmation ID is worthless without the key. How many machines a key serves is the
//! same rule either way.

use crate::catalog::KeyGroup;
use crate::hardware::ShortHardwareId;
use crate::installation_id::InstallationId;
use crate::product_key::{KeyId, Verifier};
use crate::{Code, Error, Result, words};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/host-activations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostActivationRequest {
    /// Which key, on which machine.
    pub installation_id: InstallationId,
    /// PKCS #10 in DER, as base64: the public key to certify. Its private key stays on the host.
    pub signing_request: String,
    /// 256-bit authentication code over both under the key's verifier, as base64.
    pub proof: String,
}

impl HostActivationRequest {
    /// A request for the machine and key of `installation_id`.
    pub fn new(installation_id: InstallationId, signing_request: &[u8], verifier: &Verifier) -> Self {
        let signing_request = BASE64.encode(signing_request);
        let proof = verifier.prove(PURPOSE, &message(&installation_id, &signing_request));
        Self { installation_id, signing_request, proof }
    }

    /// Confirms that the sender holds the product key, and gives the signing request in DER.
    pub fn verify(&self, verifier: &Verifier) -> Result<Vec<u8>> {
        self.installation_id.verify(verifier)?;
        let refused = || {
            Error::new(
                Code::ProofInvalid,
                format!(
                    "the proof that the sender holds product key {} does not hold",
                    self.installation_id.key()
                ),
                "install the product key on the host again (`quorate-host ipk`), then `quorate-host ato`",
            )
        };
        let message = message(&self.installation_id, &self.signing_request);
        if !verifier.is_proven(PURPOSE, &message, &self.proof) {
            return Err(refused());
        }
        BASE64.decode(&self.signing_request).map_err(|_| refused())
    }
}

fn message(installation_id: &InstallationId, signing_request: &str) -> String {
    format!("{installation_id}|{signing_request}")
}

const PURPOSE: &str = "host activation";

/// The answer to a [`HostActivationRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostActivationResponse {
    /// The host certificate and the activation CA's, in DER, as base64.
    pub certificate_chain: Vec<String>,
    /// The newest signed catalog.
    pub catalog: String,
    /// The newest signed revocation list.
    pub revocations: String,
}

/// How one more activation of a host key is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A machine that this key was not activated on before.
    NewHost,
    /// A machine that has it already.
    Reactivation,
}

/// Decides on one more activation. `before` holds, for each machine, how often the key was activated there.
pub fn grant(
    group: &KeyGroup,
    key: KeyId,
    machine: ShortHardwareId,
    before: &BTreeMap<ShortHardwareId, u32>,
) -> Result<Grant> {
    match before.get(&machine) {
        None if (before.len() as u64) < u64::from(group.hosts) => Ok(Grant::NewHost),
        None => Err(Error::new(
            Code::HostsUsedUp,
            format!(
                "product key {key} is activated on {}; {} are allowed",
                words::counted(before.len(), "host"),
                group.hosts
            ),
            "ask the vendor to raise the limit, or for another host key",
        )),
        Some(times) if *times <= group.reactivations => Ok(Grant::Reactivation),
        Some(times) => Err(Error::new(
            Code::ReactivationsUsedUp,
            format!(
                "product key {key} was activated again {} times on this host; {} are allowed",
                times - 1,
                group.reactivations
            ),
            "ask the vendor to allow more re-activations, or for another host key",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product_key::ProductKey;

    #[test]
    fn six_hosts_each_again_nine_times() {
        let products = crate::catalog::tests::products();
        let group = products.key_group(96).unwrap();
        let key = KeyId::new(96, 4).unwrap();
        let mut before = BTreeMap::new();
        for host in 1..=6u8 {
            let machine = ShortHardwareId([host; 6]);
            assert_eq!(grant(group, key, machine, &before), Ok(Grant::NewHost));
            before.insert(machine, 1);
        }
        let seventh = grant(group, key, ShortHardwareId([7; 6]), &before).unwrap_err();
        assert_eq!(seventh.code, Code::HostsUsedUp);
        assert_eq!(seventh.what, "product key 00096-000-000004 is activated on 6 hosts; 6 are allowed");
        let first = ShortHardwareId([1; 6]);
        for times in 1..=9 {
            before.insert(first, times);
            assert_eq!(grant(group, key, first, &before), Ok(Grant::Reactivation));
        }
        before.insert(first, 10);
        let tenth = grant(group, key, first, &before).unwrap_err();
        assert_eq!(tenth.code, Code::ReactivationsUsedUp);
        assert_eq!(
            tenth.what,
            "product key 00096-000-000004 was activated again 9 times on this host; 9 are allowed"
        );
    }

    #[test]
    fn a_proof_holds_for_its_own_request_alone() {
        let key = ProductKey::new(KeyId::new(96, 4).unwrap(), [1; 8]);
        let verifier = key.verifier();
        let iid = InstallationId::new(key.id(), &verifier, ShortHardwareId([1; 6]), 1);
        let request = HostActivationRequest::new(iid, b"csr", &verifier);
        assert_eq!(request.verify(&verifier).unwrap(), b"csr");
        let exchanged = HostActivationRequest { signing_request: BASE64.encode(b"evil"), ..request.clone() };
        assert_eq!(exchanged.verify(&verifier).unwrap_err().code, Code::ProofInvalid);
        let other = ProductKey::new(key.id(), [2; 8]).verifier();
        assert_eq!(request.verify(&other).unwrap_err().code, Code::InstallationIdInvalid);
    }
}
