//! How a host key is activated: what a host sends to the vendor's service, and what the service grants.
//!
//! The product key itself never travels. Online, the host sends its Installation ID and a certificate signing
//! request, with a proof under the key's verifier over both; by telephone, the Installation ID alone is
//! enough, since the Confirmation ID is worthless without the key. How many machines a key serves is the
//! same rule either way.

use crate::catalog::KeyGroup;
use crate::installation_id::InstallationId;
use crate::product_key::{KeyId, Verifier};
use crate::{Code, Error, Result, words};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

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

/// How far a key is used up, before one more activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsedSoFar {
    /// On how many machines it is activated.
    pub machines: u32,
    /// How often on the one that asks; 0 when it is none of these.
    pub times: u32,
}

impl UsedSoFar {
    /// On how many machines it is after one more activation.
    pub fn machines_then(self) -> u32 {
        self.machines.saturating_add(u32::from(self.times == 0))
    }
}

/// Decides on one more activation.
pub fn grant(group: &KeyGroup, key: KeyId, before: UsedSoFar) -> Result<Grant> {
    match before.times {
        0 if before.machines < group.hosts => Ok(Grant::NewHost),
        0 => Err(Error::new(
            Code::HostsUsedUp,
            format!(
                "product key {key} is activated on {}; {} allowed",
                words::counted(before.machines as usize, "host"),
                words::are(group.hosts)
            ),
            "ask the vendor to raise the limit, or for another host key",
        )),
        times if times <= group.reactivations => Ok(Grant::Reactivation),
        times => Err(Error::new(
            Code::ReactivationsUsedUp,
            format!(
                "product key {key} was activated again {} on this host; {} allowed",
                words::counted(times - 1, "time"),
                words::are(group.reactivations)
            ),
            "ask the vendor to allow more re-activations, or for another host key",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::ShortHardwareId;
    use crate::product_key::ProductKey;

    #[test]
    fn six_hosts_each_again_nine_times() {
        let products = crate::catalog::tests::products();
        let group = products.key_group(96).unwrap();
        let key = KeyId::new(96, 4).unwrap();
        for machines in 0..6 {
            assert_eq!(grant(group, key, UsedSoFar { machines, times: 0 }), Ok(Grant::NewHost));
        }
        let used_up = |times| UsedSoFar { machines: 6, times };
        let seventh = grant(group, key, used_up(0)).unwrap_err();
        assert_eq!(seventh.code, Code::HostsUsedUp);
        assert_eq!(seventh.what, "product key 00096-000-000004 is activated on 6 hosts; 6 are allowed");
        for times in 1..=9 {
            assert_eq!(grant(group, key, used_up(times)), Ok(Grant::Reactivation));
        }
        let tenth = grant(group, key, used_up(10)).unwrap_err();
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
