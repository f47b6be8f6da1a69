//! Answers of an honest host that do not come as it gave them, from somebody who has a host's keys: a machine
//! believes none of them, says why, and keeps the license that it has.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{HOST_KEYS, Host, Pc, Vendor, products};
use quorate_client::stored;
use quorate_client::transport::{self, Peer};
use quorate_core::activation::ActivationResponse;
use quorate_core::certificate::VendorRoot;
use quorate_core::identifier::VendorId;
use quorate_core::product_key::KeyId;
use quorate_edge::clock::Clock;
use quorate_proto::v1::activation_server::Activation;
use quorate_proto::v1::{ActivateRequest, ActivateResponse};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use tonic::{Request, Response, Status};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_replayed_is_refused() {
    let mut trial = Trial::begin().await;
    let recorded = OnceLock::new();
    let address =
        trial.changed_by(move |answer: ActivateResponse| recorded.get_or_init(|| answer).clone()).await;
    // What it records is genuine, and answers this request.
    trial.licensed.activate_at(address).succeeds();
    // To another machine it is no use either.
    trial.nobody_believes(
        address,
        "Q206: the response answers another request than the one sent: it was replayed",
        "ask again; if this repeats, someone on the way is answering for the host",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_changed_is_refused() {
    let mut trial = Trial::begin().await;
    let address = trial
        .changed_by(|answer| ActivateResponse {
            response: changed(&answer.response, "count", json!(1_000)),
            ..answer
        })
        .await;
    trial.nobody_believes(
        address,
        "Q205: the signature of an activation response does not match: it was changed after signing",
        FETCH_AGAIN,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_list_that_was_changed_or_left_out_is_refused() {
    let mut trial = Trial::begin().await;
    let address = trial
        .changed_by(|answer| ActivateResponse {
            revocations: changed(&answer.revocations, "number", json!(1_000)),
            ..answer
        })
        .await;
    trial.nobody_believes(
        address,
        "Q205: the signature of a revocation list does not match: it was changed after signing",
        FETCH_AGAIN,
    );
    let address = trial.changed_by(|answer| ActivateResponse { revocations: String::new(), ..answer }).await;
    trial.nobody_believes(
        address,
        "Q209 (0x8007000D): the host's answer is not to be read: this is not a revocation list (InvalidToken)",
        "report this to whoever runs the host",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_signed_with_a_key_for_other_products_is_refused() {
    let mut trial = Trial::begin().await;
    let unentitled = trial.vendor.host_with_key(SYSTEM_KEYS, Ipv4Addr::LOCALHOST.into()).await;
    let address = trial.signed_again_by(unentitled).await;
    trial.nobody_believes(
        address,
        "Q204 (0xC004F042): the host's certificate does not entitle it to activate Contoso Office, Standard edition",
        "set or publish a host whose key covers this product",
    );
    // It is for the key alone: one for this product signs the same to everybody's satisfaction.
    let entitled = trial.vendor.host().await;
    let address = trial.signed_again_by(entitled).await;
    trial.licensed.activate_at(address).succeeds();
}

/// Its revocation is in the list that it does not show.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_host_with_an_older_list_is_refused_by_who_has_seen_the_newer() {
    let mut vendor = Vendor::new("contoso");
    let (pc, revoked) = (Pc::with_product(1, &vendor), vendor.host().await);
    pc.activate_at(revoked.address).succeeds();
    vendor.service.block_key(KeyId::new(HOST_KEYS, 1).unwrap()).unwrap();
    let newer = vendor.host().await;
    pc.activate_at(newer.address).succeeds();
    let held = activations(&pc);
    pc.activate_at(revoked.address).is_not_renewed(
        "Q207: revocation list 1 came, but list 2 has been seen already",
        "wait: hosts fetch the newest list daily; meanwhile another host may have it",
    );
    assert_eq!(activations(&pc), held);
    // The newer is still the newest.
    pc.activate_at(newer.address).succeeds();
    assert_eq!(pc.client(&Clock::system()).status().unwrap().product.newest_revocations, 2);
}

/// A vendor, an honest host of it, and a machine that this has activated.
struct Trial {
    vendor: Vendor,
    honest: Host,
    licensed: Pc,
}

impl Trial {
    async fn begin() -> Self {
        let products = products("contoso", 1) + SYSTEM_KEY_GROUP;
        let mut vendor = Vendor::with("contoso", &products, Clock::system());
        let (licensed, honest) = (Pc::with_product(1, &vendor), vendor.host().await);
        licensed.activate_at(honest.address).succeeds();
        Self { vendor, honest, licensed }
    }

    /// Where somebody answers who changes what the honest host says.
    async fn changed_by(
        &mut self,
        change: impl Fn(ActivateResponse) -> ActivateResponse + Send + Sync + 'static,
    ) -> SocketAddr {
        let host = self.vendor.host().await;
        self.in_place_of(host, change).await
    }

    /// Where this host answers what the honest one says, under its own signature.
    async fn signed_again_by(&self, host: Host) -> SocketAddr {
        let signer = host.signer();
        self.in_place_of(host, move |answer| {
            let response: ActivationResponse = serde_json::from_value(payload(&answer.response)).unwrap();
            ActivateResponse { response: signer.sign(&response).unwrap(), ..answer }
        })
        .await
    }

    async fn in_place_of(
        &self,
        host: Host,
        change: impl Fn(ActivateResponse) -> ActivateResponse + Send + Sync + 'static,
    ) -> SocketAddr {
        let authority = self.vendor.service.authority();
        let (root, vendor) = (authority.root().clone(), authority.vendor().clone());
        host.replaced_by(Middleman { honest: self.honest.address, root, vendor, change }).await
    }

    /// Neither the machine that has a license nor one that has none takes what it is answered there.
    #[track_caller]
    fn nobody_believes(&self, address: SocketAddr, what: &str, next: &str) {
        let held = activations(&self.licensed);
        self.licensed.activate_at(address).is_not_renewed(what, next);
        assert_eq!(activations(&self.licensed), held);
        let unlicensed = Pc::with_product(2, &self.vendor);
        unlicensed.activate_at(address).is_not_activated(what, next);
        assert!(activations(&unlicensed).is_empty());
    }
}

/// Asks the honest host whatever it is asked, and changes the answer.
struct Middleman<C> {
    honest: SocketAddr,
    root: VendorRoot,
    vendor: VendorId,
    change: C,
}

#[tonic::async_trait]
impl<C> Activation for Middleman<C>
where
    C: Fn(ActivateResponse) -> ActivateResponse + Send + Sync + 'static,
{
    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let clock = Clock::system();
        let peer = Peer { root: &self.root, vendor: &self.vendor, clock: &clock };
        let answer = transport::ask(&peer, &[self.honest], request.into_inner()).await.unwrap();
        Ok(Response::new((self.change)(answer)))
    }
}

/// What a machine keeps of its activations.
fn activations(pc: &Pc) -> Vec<stored::Activation> {
    pc.client(&Clock::system()).status().unwrap().product.activations
}

/// A JWS with one field of its payload changed, and its signature as it was.
fn changed(jws: &str, field: &str, value: Value) -> String {
    let mut payload = payload(jws);
    *payload.get_mut(field).unwrap() = value;
    let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
    let mut parts: Vec<&str> = jws.split('.').collect();
    parts[1] = &payload;
    parts.join(".")
}

fn payload(jws: &str) -> Value {
    let encoded = jws.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

/// Host keys of the operating system with which Office is not activated.
const SYSTEM_KEYS: u16 = 121;
const SYSTEM_KEY_GROUP: &str = r#"
[[key-group]]
number = 121
name = "Contoso OS host keys, without Office"
sku = "9a1b7c42-3e5d-4f60-8b21-7d4e2f9a6c01"
activates = ["system-clients"]
"#;
const FETCH_AGAIN: &str = "fetch it again; if this repeats, someone on the way is changing it";
