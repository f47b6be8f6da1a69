//! The shapes that the description names and that are no views of ours: what hosts and machines send, problems, and
//! the parameters that several operations have.
//!
//! The core does not describe itself; a test compares these shapes with what it reads and writes.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What went wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
#[allow(dead_code)]
pub struct Problem {
    /// Always `about:blank`: the code says more than a URI could.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, with the figures.
    pub detail: String,
    /// The stable code, as in `Q403`.
    pub code: String,
    /// What to do next.
    pub next: String,
}

/// What `quorate-host ato` sends.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostActivationRequest {
    /// Which key, on which machine: nine groups of six digits.
    pub installation_id: String,
    /// PKCS #10 in DER, as base64, for a P-256 key.
    pub signing_request: String,
    /// HMAC-SHA256 over both under the key's verifier, as base64.
    pub proof: String,
}

/// A host's certificate.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostActivationResponse {
    /// The host certificate and the activation CA's, in DER, as base64.
    pub certificate_chain: Vec<String>,
    /// The newest signed catalog.
    pub catalog: String,
    /// The newest signed revocation list.
    pub revocations: String,
}

/// What a machine with a MAK or a retail key sends.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeyActivationRequest {
    /// Which key, on which machine: nine groups of six digits.
    pub installation_id: String,
    /// The machine's hardware id, in hexadecimal.
    pub hardware: String,
    /// HMAC-SHA256 over both under the key's verifier, as base64.
    pub proof: String,
}

/// A machine's license.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
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

/// A page of a list that begins with the newest.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Before {
    /// How many, up to 1000; 50 unless told.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Only those before this number: `next` of the page before.
    pub before: Option<u64>,
}

/// Up to which number.
pub fn before(wanted: Option<u64>) -> quorate_core::Result<Option<u64>> {
    match wanted {
        Some(before) if i64::try_from(before).is_err() => Err(quorate_core::Error::new(
            quorate_core::Code::RequestInvalid,
            format!("before is {before}"),
            "give `next` of the page before",
        )),
        before => Ok(before),
    }
}

/// How many are wanted.
pub fn limit(wanted: Option<u32>) -> quorate_core::Result<u32> {
    match wanted.unwrap_or(50) {
        limit @ 1..=1_000 => Ok(limit),
        limit => Err(quorate_core::Error::new(
            quorate_core::Code::RequestInvalid,
            format!("limit is {limit}"),
            "ask for 1 to 1000 at a time",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::hardware::{HardwareId, ShortHardwareId};
    use quorate_core::installation_id::InstallationId;
    use quorate_core::product_key::{KeyId, ProductKey};
    use quorate_core::{host_activation, key_activation};

    /// What the core writes is read by the shape, and what the shape writes by the core.
    fn same<C, S>(core: &C)
    where
        C: Serialize + serde::de::DeserializeOwned,
        S: Serialize + serde::de::DeserializeOwned,
    {
        let written = serde_json::to_value(core).unwrap();
        let shape: S = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&shape).unwrap(), written);
        serde_json::from_value::<C>(written).unwrap();
    }

    #[test]
    fn the_shapes_are_those_of_the_core() {
        let key = ProductKey::new(KeyId::new(96, 1).unwrap(), [1; 8]);
        let hardware = HardwareId::from_bytes(&[1; 32]).unwrap();
        let iid = InstallationId::new(key.id(), &key.verifier(), ShortHardwareId([1; 6]), 1);
        let host = host_activation::HostActivationRequest::new(iid, b"csr", &key.verifier());
        same::<_, HostActivationRequest>(&host);
        let machine = key_activation::KeyActivationRequest::new(iid, hardware, &key.verifier());
        same::<_, KeyActivationRequest>(&machine);
        same::<_, HostActivationResponse>(&host_activation::HostActivationResponse {
            certificate_chain: vec![String::new()],
            catalog: String::new(),
            revocations: String::new(),
        });
        same::<_, KeyActivationResponse>(&key_activation::KeyActivationResponse {
            license: String::new(),
            revocations: String::new(),
            machines: 1,
            machines_allowed: 2,
        });
    }
}
