//! The service over real HTTPS: a host key activated online, and every way to ask for it wrongly.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::web::{Web, client, content_type, is_problem, parts};
use common::{HOST_KEYS, MAKS, Vendor, installation_id};
use quorate_core::catalog::Catalog;
use quorate_core::certificate::Role;
use quorate_core::host_activation::{HostActivationRequest, HostActivationResponse};
use quorate_core::identifier::VendorId;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::revocation::RevocationList;
use quorate_core::{Interval, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::https::ServiceClient;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use reqwest::Method;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_activated_with_the_key_that_it_made_itself() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let (status, kind, answer) = parts(web.activate(body(&key, 1, &pair)).await).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"), "{answer}");
    let answer: HostActivationResponse = serde_json::from_value(answer).unwrap();

    let chain: Vec<CertificateDer<'_>> =
        answer.certificate_chain.iter().map(|der| BASE64.decode(der).unwrap().into()).collect();
    let now = Timestamp::now();
    let certificate = web.root.verify(&contoso(), Role::Host, &chain, now).unwrap();
    assert_eq!(certificate.public_key, pair.public_key_raw());
    let days = Interval::between(now, certificate.not_after).as_days();
    assert!((5 * 365 - 1..=5 * 365).contains(&days), "{days}");
    let entitlement = certificate.entitlement.unwrap();
    assert_eq!(
        (entitlement.key, &entitlement.sku_groups[..]),
        (key.id(), &["office-clients".to_owned()][..])
    );
    assert!(entitlement.extended_pid.to_string().starts_with("55041-00096-000-000001-03-1033-"));
    let catalog = signed::verify::<Catalog>(&answer.catalog, &web.root, &contoso(), now).unwrap();
    assert_eq!(catalog.document.number, 1);
    let list = signed::verify::<RevocationList>(&answer.revocations, &web.root, &contoso(), now).unwrap();
    assert_eq!((list.document.number, list.document.keys.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hosts_each_nine_times_again() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    for machine in 1..=6 {
        assert_eq!(web.activate(body(&key, machine, &pair)).await.status(), 200);
    }
    is_problem(
        parts(web.activate(body(&key, 7, &pair)).await).await,
        409,
        "Q403",
        "The product key is activated on as many hosts as it may be.",
        "product key 00096-000-000001 is activated on 6 hosts; 6 are allowed",
        "ask the vendor to raise the limit, or for another host key",
    );
    for _ in 1..=9 {
        assert_eq!(web.activate(body(&key, 1, &pair)).await.status(), 200);
    }
    is_problem(
        parts(web.activate(body(&key, 1, &pair)).await).await,
        409,
        "Q410",
        "The product key was activated again on this host as often as it may be.",
        "product key 00096-000-000001 was activated again 9 times on this host; 9 are allowed",
        "ask the vendor to allow more re-activations, or for another host key",
    );
    // Another machine's turns are its own.
    assert_eq!(web.activate(body(&key, 2, &pair)).await.status(), 200);
}

/// A host whose answer was lost asks again in the same words, and so does who has recorded it.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_is_not_counted() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let same = body(&key, 1, &pair);
    let (status, _, first) = parts(web.activate(same.clone()).await).await;
    assert_eq!(status, 200);
    for _ in 0..20 {
        let (status, _, again) = parts(web.activate(same.clone()).await).await;
        assert_eq!((status, &again["certificate-chain"]), (200, &first["certificate-chain"]));
    }
    // Nine other requests are left to this host, and then the first is still answered.
    for _ in 1..=9 {
        assert_eq!(web.activate(body(&key, 1, &pair)).await.status(), 200);
    }
    assert_eq!(web.activate(body(&key, 1, &pair)).await.status(), 409);
    assert_eq!(web.activate(same.clone()).await.status(), 200);
    // A key that is blocked is activated no more, whatever was granted before.
    vendor.run(&["key", "block", &key.id().to_string()]).succeeds();
    assert_eq!(web.activate(same).await.status(), 403);
}

/// Nobody restarts a service that runs well: its certificate lasts as long as the activation CA.
#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_certificate_lasts_for_years() {
    let vendor = Vendor::new();
    let web = Web::serve(&vendor).await;
    let later = Clock::new(|| Interval::days(9 * 365).after(Timestamp::now()));
    let url = format!("https://{}", web.address);
    let service = ServiceClient::new(&url, &web.root, None, "", &later).unwrap();
    assert!(service.get("/v1/revocations").await.is_ok());
}

/// Requests that come together are decided one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_for_requests_that_come_together() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let web = std::sync::Arc::new(web);
    let asked: Vec<_> = (1..=20)
        .map(|machine| {
            let (web, body) = (web.clone(), body(&key, machine, &pair));
            tokio::spawn(async move { web.activate(body).await.status().as_u16() })
        })
        .collect();
    let mut granted = 0;
    for status in asked {
        match status.await.unwrap() {
            200 => granted += 1,
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!(granted, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    let sound = request(&key, 1, &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let changed = |field: &str, value: serde_json::Value| {
        let mut request = sound.clone();
        request[field] = value;
        request.to_string().into_bytes()
    };
    let without_proof = json!({"installation-id": sound["installation-id"], "signing-request": ""});
    for (body, detail) in [
        (b"".to_vec(), "it is not a JSON object"),
        (b"{\"installation-id\":".to_vec(), "EOF while parsing a value at line 1 column 19"),
        (b"installation-id=1".to_vec(), "it is not a JSON object"),
        (b"[1]".to_vec(), "it is not a JSON object"),
        (b"{\"\xff\"".to_vec(), "invalid unicode code point at line 1 column 3"),
        (
            changed("product-key", json!("x")),
            "unknown field `product-key`, expected one of `installation-id`, `signing-request`, `proof`",
        ),
        (without_proof.to_string().into_bytes(), "missing field `proof`"),
        (changed("proof", json!(7)), "invalid type: integer `7`, expected a string"),
        (changed("installation-id", json!("123456")), "Q104: the Installation ID has 6 digits, not 54"),
        (format!("{}x", sound).into_bytes(), "trailing characters"),
        (vec![b'['; 60_000], "it is not a JSON object"),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let (status, kind, problem) = parts(web.activate(body).await).await;
        assert_eq!((status, kind.as_str()), (400, "application/problem+json"), "{shown}");
        assert_eq!(problem["code"], "Q306", "{shown}");
        let start = format!("the request cannot be read: {detail}");
        let found = problem["detail"].as_str().unwrap();
        assert!(found.starts_with(&start), "{shown}: {found}");
        assert_eq!(problem["next"], COMPARE, "{shown}");
    }
    // None of them was counted.
    for machine in 1..=6 {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        assert_eq!(web.activate(body(&key, machine, &pair)).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_request_is_refused_by_its_size() {
    let vendor = Vendor::new();
    let web = Web::serve(&vendor).await;
    let refused = |answer| {
        is_problem(
            answer,
            413,
            "Q306",
            "A request lacks a field or carries one that cannot be.",
            "the request has more than 65536 bytes",
            COMPARE,
        );
    };
    // The answer comes before the request has ended, so the client may find the connection closed first.
    for size in [65_537, 200_000] {
        let mut tries = 0..20;
        let answer = loop {
            tries.next().expect("one of twenty is answered in time");
            let request = web.client.post(web.url("/v1/host-activations")).body(vec![b' '; size]);
            if let Ok(answer) = request.send().await {
                break answer;
            }
        };
        refused(parts(answer).await);
    }
    // At the limit it is read, and found wanting.
    assert_eq!(web.activate(vec![b' '; 65_536]).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_activated_without_proof_that_he_holds_the_key() {
    let vendor = Vendor::new();
    let (key, blocked, mak) = (vendor.key(HOST_KEYS), vendor.key(HOST_KEYS), vendor.key(MAKS));
    let taken_back = vendor.key(HOST_KEYS);
    let web = Web::serve(&vendor).await;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let wrong_proof = |answer, key: KeyId| {
        is_problem(
            answer,
            403,
            "Q404",
            "The proof that the caller holds the product key does not hold.",
            &format!("the proof that the sender holds product key {key} of this vendor does not hold"),
            "compare the key with its certificate and install it on the host again (`quorate-host upk`, \
             `quorate-host ipk`), then `quorate-host ato`",
        );
    };
    // A proof for another signing request (someone on the way puts his own key in), for none, and garbage.
    let other = request(&key, 1, &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let mut exchanged = request(&key, 1, &pair);
    exchanged["proof"] = other["proof"].clone();
    wrong_proof(parts(web.activate(exchanged.to_string()).await).await, key.id());
    for proof in ["", "AAAA", "not base64!"] {
        exchanged["proof"] = json!(proof);
        wrong_proof(parts(web.activate(exchanged.to_string()).await).await, key.id());
    }
    // Whoever guesses learns nothing: neither that the key was issued, nor that it is blocked.
    vendor.run(&["key", "block", &taken_back.id().to_string()]).succeeds();
    for id in [key.id(), taken_back.id(), KeyId::new(96, 9).unwrap()] {
        let guessed = ProductKey::new(id, [1; 8]);
        wrong_proof(parts(web.activate(body(&guessed, 1, &pair)).await).await, id);
    }
    is_problem(
        parts(web.activate(body(&mak, 1, &pair)).await).await,
        409,
        "Q102",
        "The product key is sound, but is not one for this product, edition or program.",
        "product key 00097-000-000001 is of \"Contoso Office MAKs\", which activates machines, not hosts",
        "install it on the machine itself: `quorate install-key`",
    );
    // A key that is blocked by a command stops working in the service that runs.
    assert_eq!(web.activate(body(&blocked, 1, &pair)).await.status(), 200);
    vendor.run(&["key", "block", &blocked.id().to_string()]).succeeds();
    is_problem(
        parts(web.activate(body(&blocked, 1, &pair)).await).await,
        403,
        "Q402",
        "The vendor has blocked this product key.",
        &format!("product key 00096-000-000002 (…{}) is blocked by the vendor", blocked.partial()),
        "ask the vendor why, or for another key",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_p256_keys_are_certified() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    let refused = |answer| {
        is_problem(
            answer,
            400,
            "Q306",
            "A request lacks a field or carries one that cannot be.",
            "the signing request is not PKCS #10 for a P-256 key",
            "update Quorate on the host",
        );
    };
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        refused(parts(web.activate(body(&key, 1, &pair)).await).await);
    }
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let der = signing_request(&pair);
    // Its signature is over other content; cut off; nothing.
    let mut changed = der.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for der in [&changed[..], &der[..der.len() - 1], b"", b"garbage"] {
        let request = HostActivationRequest::new(installation_id(&key, 1), der, &key.verifier());
        refused(parts(web.activate(serde_json::to_vec(&request).unwrap()).await).await);
    }
    // A refused request is not counted: the host has all of its activations.
    for _ in 0..10 {
        assert_eq!(web.activate(body(&key, 1, &pair)).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_problems_too() {
    let vendor = Vendor::new();
    let web = Web::serve(&vendor).await;
    let paths = "GET /openapi.json describes every path";
    for path in ["/v1", "/v1/catalog/", "/v2/catalog", "/v1/host-activations/1", "/../vendor.db", "/%00"] {
        is_problem(
            parts(web.get(path).await).await,
            404,
            "Q704",
            "There is nothing of this number, of this name, or at this path.",
            "there is nothing at this path",
            paths,
        );
    }
    for (method, path) in [
        (Method::GET, "/v1/host-activations"),
        (Method::PUT, "/v1/host-activations"),
        (Method::POST, "/v1/catalog"),
        (Method::DELETE, "/v1/revocations"),
    ] {
        let answer = web.send(method, path, "").await;
        assert!(answer.headers().contains_key("allow"), "{path}");
        is_problem(
            parts(answer).await,
            405,
            "Q306",
            "A request lacks a field or carries one that cannot be.",
            "this path does not take requests of this method",
            paths,
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_and_revocations_are_signed_documents() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    let document = async |path: &str| {
        let response = web.get(path).await;
        assert_eq!((response.status().as_u16(), content_type(&response).as_str()), (200, "application/jose"));
        response.text().await.unwrap()
    };
    let now = Timestamp::now;
    let catalog = document("/v1/catalog").await;
    let verified = signed::verify::<Catalog>(&catalog, &web.root, &contoso(), now()).unwrap().document;
    assert_eq!((verified.number, verified.vendor_name.as_str()), (1, "Contoso Ltd"));
    // Neither passes for the other.
    assert!(signed::verify::<RevocationList>(&catalog, &web.root, &contoso(), now()).is_err());

    let list = document("/v1/revocations").await;
    let list = signed::verify::<RevocationList>(&list, &web.root, &contoso(), now()).unwrap().document;
    assert_eq!((list.number, list.keys), (1, BTreeSet::new()));
    vendor.run(&["key", "block", &key.id().to_string()]).succeeds();
    let list = document("/v1/revocations").await;
    let list = signed::verify::<RevocationList>(&list, &web.root, &contoso(), now()).unwrap().document;
    assert_eq!((list.number, list.keys), (2, BTreeSet::from([key.id()])));
    // Each list is signed once. Blocking the key again makes no other.
    vendor.run(&["key", "block", &key.id().to_string()]).succeeds();
    let again = document("/v1/revocations").await;
    assert_eq!(document("/v1/revocations").await, again);
    let again = signed::verify::<RevocationList>(&again, &web.root, &contoso(), now()).unwrap().document;
    assert_eq!(again.number, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn phone_desk_and_service_share_one_count() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(HOST_KEYS), Web::serve(&vendor).await);
    vendor.pack(key.id(), 3).succeeds();
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    for machine in 1..=4 {
        assert_eq!(web.activate(body(&key, machine, &pair)).await.status(), 200);
    }
    for machine in 5..=6 {
        let said = vendor.confirm(&installation_id(&key, machine)).succeeds();
        assert_eq!(vendor.confirm(&installation_id(&key, machine)).succeeds(), said);
    }
    assert_eq!(web.activate(body(&key, 7, &pair)).await.status(), 409);
    vendor.confirm(&installation_id(&key, 7)).fails(
        "Q403 (0xC004C008): product key 00096-000-000001 is activated on 6 hosts; 6 are allowed",
        "release a host that is gone, raise the key's limit, or issue another key",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_root_refuses_the_service() {
    let (vendor, other) = (Vendor::new(), Vendor::without_products());
    let web = Web::serve(&vendor).await;
    let mut others = RootCertStore::empty();
    others.add(other.service().authority().root().der().clone()).unwrap();
    // The other vendor's root has the same name, and not the key that signed this service's chain.
    for (roots, why) in [(RootCertStore::empty(), "UnknownIssuer"), (others, "BadSignature")] {
        let error = client(roots).get(web.url("/v1/catalog")).send().await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(&format!("InvalidCertificate({why})")), "{text}");
    }
    assert_eq!(web.get("/v1/catalog").await.status(), 200);
    // Nor is anything served without TLS.
    let plain = format!("http://{}/v1/catalog", web.address);
    assert!(client(RootCertStore::empty()).get(plain).send().await.is_err());
}

fn contoso() -> VendorId {
    "contoso".parse().unwrap()
}

/// What a host with this key pair posts, as JSON.
fn request(key: &ProductKey, machine: u8, pair: &KeyPair) -> serde_json::Value {
    let request =
        HostActivationRequest::new(installation_id(key, machine), &signing_request(pair), &key.verifier());
    serde_json::to_value(request).unwrap()
}

fn body(key: &ProductKey, machine: u8, pair: &KeyPair) -> String {
    request(key, machine, pair).to_string()
}

fn signing_request(pair: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(pair).unwrap().der().to_vec()
}

const COMPARE: &str = "compare it with the description of the interface (GET /openapi.json)";
