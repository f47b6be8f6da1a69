//! Machines with a MAK or a retail key at the vendor's service: online over real HTTPS and at the phone desk.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::web::{Web, is_problem, parts};
use common::{EXAMPLE, HOST_KEYS, MAKS, SETUP_KEYS, Vendor, installation_id};
use quorate_core::activation::Trust;
use quorate_core::catalog::Catalog;
use quorate_core::certificate::Role;
use quorate_core::hardware::HardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::{KeyActivationRequest, KeyActivationResponse};
use quorate_core::license_pack::LicensePack;
use quorate_core::machine_license;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Timestamp, signed};
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_a_license_that_is_its_own() {
    let vendor = Vendor::new();
    let (key, web) = (vendor.key(MAKS), Web::serve(&vendor).await);
    let granted = activated(&web, &key, 1).await;
    assert_eq!((granted.machines, granted.machines_allowed), (1, 50));
    let catalog = vendor.service().catalog().unwrap();
    let id = installation_id(&key, 1);
    let license = machine_license::accept(&granted.license, &id, hardware(1), trust(&web, &catalog)).unwrap();
    assert_eq!(license.sku.to_string(), "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f04");
    assert!(license.extended_pid.to_string().starts_with("55041-00097-000-000001-03-1033-"), "{license:?}");
    let other = installation_id(&key, 2);
    machine_license::accept(&granted.license, &other, hardware(2), trust(&web, &catalog)).unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_of_machines_and_the_same_one_again_is_free() {
    let vendor = Vendor::new();
    vendor.import(EXAMPLE.replace("Office MAKs\"", "Office MAKs\"\nmachines = 2").as_bytes()).succeeds();
    let (key, web) = (vendor.key(MAKS), Web::serve(&vendor).await);
    for machine in [1, 1, 2, 1, 2] {
        assert!(activated(&web, &key, machine).await.machines <= 2);
    }
    // A key that was installed again shows another Installation ID of the same machine.
    let again = InstallationId::new(key.id(), &key.verifier(), installation_id(&key, 1).hardware(), 77);
    assert_eq!(parts(ask(&web, &key, again).await).await.0, 200);
    is_problem(
        parts(ask(&web, &key, installation_id(&key, 3)).await).await,
        409,
        "Q406",
        "The product key is activated on as many machines as it may be.",
        "product key 00097-000-000001 (Contoso Office MAKs) is activated on 2 machines; 2 are allowed",
        "ask the vendor to raise the limit, or for another key; a machine that was activated before may be again",
    );
    // The phone desk counts the same machines.
    vendor.pack(key.id(), 3).succeeds();
    vendor.confirm(&installation_id(&key, 3)).fails(
        "Q406 (0xC004C020): product key 00097-000-000001 (Contoso Office MAKs) is activated on 2 machines; \
         2 are allowed",
        "release a machine that is gone, raise the key's limit, or issue another key",
    );
    vendor.confirm(&installation_id(&key, 2)).succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_the_keys_pack_makes_a_machine_certificate() {
    let vendor = Vendor::new();
    let key = vendor.key(MAKS);
    vendor.pack(key.id(), 1).succeeds();
    let id = installation_id(&key, 1);
    let spoken = vendor.confirm(&id).succeeds();
    let spoken = spoken.lines().last().unwrap().strip_prefix("Confirmation ID: ").unwrap().to_owned();
    let now = Timestamp::now();
    let pack = std::fs::read_to_string(vendor.path("host.pack")).unwrap();
    let (pack, root) = LicensePack::open(&pack, now).unwrap();
    let confirmation_id: quorate_core::confirmation_id::ConfirmationId = spoken.parse().unwrap();
    let credential = pack.unseal(&confirmation_id.reveal(&id, &key.verifier())).unwrap();
    let certificate = root.verify(&pack.vendor, Role::Machine, &credential.chain, now).unwrap();
    let entitlement = certificate.entitlement.unwrap();
    assert_eq!((entitlement.key, entitlement.sku_groups), (key.id(), vec![]));
    // It is none with which a host could answer.
    root.verify(&pack.vendor, Role::Host, &credential.chain, now).unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_activated_without_a_good_key_of_his_own() {
    let vendor = Vendor::new();
    let (key, blocked) = (vendor.key(MAKS), vendor.key(MAKS));
    let web = Web::serve(&vendor).await;
    let id = installation_id(&key, 1);
    let wrong_proof = |answer, id: KeyId| {
        is_problem(
            answer,
            403,
            "Q404",
            "The proof that the caller holds the product key does not hold.",
            &format!("the proof that the sender holds product key {id} of this vendor does not hold"),
            "compare the key with its certificate and install it on the machine again (`quorate install-key`), \
             then `quorate activate`",
        );
    };
    let guessed = ProductKey::new(key.id(), [1; 8]);
    wrong_proof(parts(ask(&web, &guessed, installation_id(&guessed, 1)).await).await, key.id());
    // An Installation ID that was overheard is not enough.
    wrong_proof(parts(ask(&web, &guessed, id).await).await, key.id());
    let unissued = ProductKey::new(KeyId::new(97, 9).unwrap(), [1; 8]);
    wrong_proof(parts(ask(&web, &unissued, installation_id(&unissued, 1)).await).await, unissued.id());
    for (group, detail, next) in [
        (
            HOST_KEYS,
            "product key 00096-000-000001 is of \"Contoso Office host keys\", which activates hosts, not machines",
            "install it on an activation host: `quorate-host ipk`",
        ),
        (
            SETUP_KEYS,
            "product key 00099-000-000001 is of \"Contoso Office Standard client setup keys\": nothing is \
             activated with it here",
            "use a host key, a MAK or a retail key; KMS clients are activated by the customer's host",
        ),
    ] {
        let key = vendor.key(group);
        let title = "The product key is sound, but is not one for this product, edition or program.";
        is_problem(
            parts(ask(&web, &key, installation_id(&key, 1)).await).await,
            409,
            "Q102",
            title,
            detail,
            next,
        );
    }
    vendor.run(&["key", "block", &blocked.id().to_string()]).succeeds();
    let (status, _, problem) = parts(ask(&web, &blocked, installation_id(&blocked, 1)).await).await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("Q402")), "{problem}");
    // None of them was counted.
    assert_eq!(activated(&web, &key, 1).await.machines, 1);
    let list = signed::verify::<quorate_core::revocation::RevocationList>(
        &activated(&web, &key, 1).await.revocations,
        &web.root,
        &"contoso".parse().unwrap(),
        Timestamp::now(),
    );
    assert!(list.unwrap().document.keys.contains(&blocked.id()));
}

async fn ask(web: &Web, key: &ProductKey, id: InstallationId) -> reqwest::Response {
    let machine = id.hardware().0[0];
    let request = KeyActivationRequest::new(id, hardware(machine), &key.verifier());
    web.send(Method::POST, "/v1/activations", serde_json::to_string(&request).unwrap()).await
}

/// Of a machine whose Installation IDs are those of [`installation_id`].
fn hardware(machine: u8) -> HardwareId {
    HardwareId::from_bytes(&[machine; 32]).unwrap()
}

async fn activated(web: &Web, key: &ProductKey, machine: u8) -> KeyActivationResponse {
    let (status, _, answer) = parts(ask(web, key, installation_id(key, machine)).await).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_value(answer).unwrap()
}

fn trust<'a>(web: &'a Web, catalog: &'a Catalog) -> Trust<'a> {
    Trust { root: &web.root, vendor: &catalog.vendor, catalog, newest_revocations: 0 }
}
