//! The client accepts nothing that does not chain to the vendor root in its catalog.
//!
//! With real certificates and real signatures, each way of giving a client (or a host) something to believe
//! is tried once: a wrong root, another time, another name or role, a missing entitlement, a changed or
//! replayed document, a stale or revoking list. Each is refused with its own code and text.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{
    OFFICE_MAK, VISIO, Vendor, catalog, entitlement, entitlement_extension, host_key, id, leaf_params, noon,
    request, response, revocations, usage,
};
use quorate_core::activation::{
    AcceptedResponse, ActivationRequest, ActivationResponse, Trust, accept, admit, check_count,
    verify_license,
};
use quorate_core::catalog::Catalog;
use quorate_core::certificate::{Entitlement, Role};
use quorate_core::hardware::{Component, Components};
use quorate_core::license_pack::LicensePack;
use quorate_core::policy::Policy;
use quorate_core::product_key::{KeyId, ProductKey, Verifier};
use quorate_core::revocation::RevocationList;
use quorate_core::signed::{self, Document};
use quorate_core::{Code, Interval, Result, Timestamp};
use rcgen::{CustomExtension, SerialNumber, date_time_ymd};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

#[test]
fn a_genuine_response_is_accepted() {
    let story = Story::new();
    let accepted = story.accept(&story.honest_response(), &story.list()).unwrap();
    assert_eq!(accepted.response, response(&story.request));
    assert_eq!(accepted.revocations, NEWEST);

    // What is read from the store later is verified again, at the time when it was given.
    let stored = verify_license(&story.honest_response(), story.request.sku, story.trust(), noon()).unwrap();
    assert_eq!(stored.document, accepted.response);
    assert_eq!(stored.signer.entitlement, Some(entitlement("office-clients")));
    assert_eq!(stored.signer.not_after, timestamp("2036-01-01T00:00:00Z"));
}

// ——— The root and the chain ———

#[test]
fn wrong_root() {
    let story = Story::new();
    // Everything as it should be, names included, but made by someone who is not the vendor.
    let forger = Vendor::new("contoso");
    assert_refused(
        story.accept(&forger.host().signer().sign(&response(&story.request)).unwrap(), &story.list()),
        Code::UntrustedRoot,
        "the certificate does not chain to the root of vendor contoso",
    );
    assert_refused(
        story.accept(
            &story.honest_response(),
            &forger.issuer().signer().sign(&revocations(&forger.id, 9)).unwrap(),
        ),
        Code::UntrustedRoot,
        "the certificate does not chain to the root of vendor contoso",
    );
    let error = story.vendor.root.verify(&forger.id, Role::Host, &forger.host().chain, noon()).unwrap_err();
    let fingerprint = &story.vendor.root.fingerprint()[..23];
    assert_eq!(
        error.next,
        format!("this machine trusts the root with SHA-256 {fingerprint}…; ask the vendor for its own")
    );
}

#[test]
fn a_chain_without_its_activation_ca() {
    let story = Story::new();
    assert_refused(
        story.verify_host(&story.vendor.host().chain[..1]),
        Code::UntrustedRoot,
        "the certificate does not chain to the root of vendor contoso",
    );
}

#[test]
fn no_chain_at_all() {
    let story = Story::new();
    assert_refused(
        story.verify_host(&[]),
        Code::DocumentInvalid,
        "a certificate cannot be used: it carries no certificate",
    );
}

#[test]
fn a_host_certificate_cannot_certify_another() {
    let story = Story::new();
    let made_by_a_host = story.vendor.host().certify_a_host(&story.vendor.id);
    assert_refused(
        story.accept(&made_by_a_host.signer().sign(&response(&story.request)).unwrap(), &story.list()),
        Code::DocumentInvalid,
        "a certificate cannot be used: EndEntityUsedAsCa",
    );
}

#[test]
fn expired_certificate() {
    let story = Story::new();
    let host = story.vendor.host_with(|params| params.not_after = date_time_ymd(2026, 5, 31));
    assert_refused(
        story.accept(&host.signer().sign(&response(&story.request)).unwrap(), &story.list()),
        Code::CertificateExpired,
        "the certificate ended at 2026-05-31T00:00:00Z; the clock here says 2026-06-01T12:00:00Z",
    );
}

#[test]
fn certificate_that_is_not_valid_yet() {
    let story = Story::new();
    let host = story.vendor.host_with(|params| params.not_before = date_time_ymd(2026, 6, 2));
    assert_refused(
        story.accept(&host.signer().sign(&response(&story.request)).unwrap(), &story.list()),
        Code::CertificateExpired,
        "the certificate begins at 2026-06-02T00:00:00Z; the clock here says 2026-06-01T12:00:00Z",
    );
}

#[test]
fn expired_activation_ca() {
    let story = Story::of(Vendor::with_ca("contoso", |params| params.not_after = date_time_ymd(2026, 5, 31)));
    assert_refused(
        story.accept(&story.honest_response(), &story.list()),
        Code::CertificateExpired,
        "the certificate ended at 2026-05-31T00:00:00Z; the clock here says 2026-06-01T12:00:00Z",
    );
}

/// webpki asks for the usage in every certificate below the root, not in the last one alone.
#[test]
fn an_activation_ca_that_names_usages_issues_only_for_these() {
    let story = Story::of(Vendor::with_ca("contoso", |params| {
        params.extended_key_usages = vec![usage(Role::Host)];
    }));
    assert_eq!(story.verify_host(&story.vendor.host().chain), Ok(()));
    assert_refused(
        story.verify::<RevocationList>(&story.list()),
        Code::CertificateWrongName,
        "the certificate may not be used as contoso.issuer.quorate.internal",
    );
}

// ——— The name and the role ———

#[test]
fn wrong_san() {
    let story = Story::new();
    let fabrikam = "fabrikam".parse().unwrap();
    let host = story.vendor.host_with(|params| {
        params.subject_alt_names = leaf_params(Role::Host, &fabrikam).subject_alt_names;
    });
    assert_refused(
        story.accept(&host.signer().sign(&response(&story.request)).unwrap(), &story.list()),
        Code::CertificateWrongName,
        "the certificate is not made out for contoso.host.quorate.internal",
    );
    assert!(story.vendor.root.verify(&fabrikam, Role::Host, &host.chain, noon()).is_ok());
}

#[test]
fn a_host_cannot_sign_for_the_vendor() {
    let story = Story::new();
    let host = story.vendor.host().signer();
    let may_not = "the certificate may not be used as contoso.issuer.quorate.internal";
    assert_refused(
        story.verify::<Catalog>(&host.sign(&story.catalog).unwrap()),
        Code::CertificateWrongName,
        may_not,
    );
    // Else a revoked host would clear itself.
    let own_list = host.sign(&revocations(&story.vendor.id, NEWEST + 1)).unwrap();
    assert_refused(story.accept(&story.honest_response(), &own_list), Code::CertificateWrongName, may_not);
}

#[test]
fn a_host_with_the_usage_of_an_issuer_still_lacks_its_name() {
    let story = Story::new();
    // A certificate without any usage may be used for all; the name alone stands in the way then.
    for usages in [vec![usage(Role::Issuer)], vec![]] {
        let host = story.vendor.host_with(|params| params.extended_key_usages = usages);
        assert_refused(
            story.verify::<Catalog>(&host.signer().sign(&story.catalog).unwrap()),
            Code::CertificateWrongName,
            "the certificate is not made out for contoso.issuer.quorate.internal",
        );
    }
}

#[test]
fn an_issuer_cannot_answer_for_a_host() {
    let story = Story::new();
    let jws = story.vendor.issuer().signer().sign(&response(&story.request)).unwrap();
    assert_refused(
        story.accept(&jws, &story.list()),
        Code::CertificateWrongName,
        "the certificate may not be used as contoso.host.quorate.internal",
    );
}

// ——— The entitlement ———

#[test]
fn no_entitlement() {
    let story = Story::new();
    let host = story.vendor.host_with(|params| params.custom_extensions.clear());
    assert_refused(
        story.accept(&host.signer().sign(&response(&story.request)).unwrap(), &story.list()),
        Code::NotEntitled,
        "the host's certificate does not entitle it to activate Office Standard",
    );
}

#[test]
fn entitlement_for_another_sku_group() {
    let story = Story::new();
    let host = story.vendor.host_with(|params| {
        params.custom_extensions = vec![entitlement_extension(&entitlement("visio-clients"))];
    });
    assert_refused(
        story.accept(&host.signer().sign(&response(&story.request)).unwrap(), &story.list()),
        Code::NotEntitled,
        "the host's certificate does not entitle it to activate Office Standard",
    );
}

#[test]
fn entitlement_that_cannot_be_read() {
    let story = Story::new();
    let host = story.vendor.host_with(|params| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            quorate_core::certificate::ENTITLEMENT_OID,
            b"not DER".to_vec(),
        )];
    });
    let error =
        story.accept(&host.signer().sign(&response(&story.request)).unwrap(), &story.list()).unwrap_err();
    assert_eq!(error.code, Code::DocumentInvalid);
    assert!(error.what.starts_with("a certificate cannot be used: its entitlement cannot be read: "));
}

// ——— The signature ———

#[test]
fn changed_payload() {
    let story = Story::new();
    let changed =
        with_payload(&story.honest_response(), |payload| *payload.get_mut("count").unwrap() = json!(5));
    assert_refused(
        story.accept(&changed, &story.list()),
        Code::SignatureInvalid,
        "the signature of an activation response does not match: it was changed after signing",
    );
    let cleared = with_payload(&story.list(), |payload| *payload.get_mut("number").unwrap() = json!(8));
    assert_refused(
        story.accept(&story.honest_response(), &cleared),
        Code::SignatureInvalid,
        "the signature of a revocation list does not match: it was changed after signing",
    );
}

#[test]
fn chain_in_the_header_swapped_for_another_hosts() {
    let story = Story::new();
    let other = story.vendor.host();
    let swapped = with_header(&story.honest_response(), |header| {
        *header.get_mut("x5c").unwrap() = x5c(&other.chain);
    });
    let does_not_match =
        "the signature of an activation response does not match: it was changed after signing";
    assert_refused(story.accept(&swapped, &story.list()), Code::SignatureInvalid, does_not_match);
    // A forger with a key of its own claims a genuine host's chain: what it signs is not that host's.
    let forger = Vendor::new("contoso").host();
    let claimed = forger.signer_with(&other.chain).sign(&response(&story.request)).unwrap();
    assert_refused(story.accept(&claimed, &story.list()), Code::SignatureInvalid, does_not_match);
}

#[test]
fn algorithm_none_is_refused() {
    let story = Story::new();
    let unsigned =
        with_header(&story.honest_response(), |header| *header.get_mut("alg").unwrap() = json!("none"));
    let without_signature = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    for jws in [unsigned, without_signature] {
        let error = story.accept(&jws, &story.list()).unwrap_err();
        assert_eq!(error.code, Code::DocumentInvalid);
        // The rest of the text is the JSON parser's.
        assert!(error.what.starts_with("this is not an activation response ("), "{}", error.what);
    }
}

#[test]
fn public_key_used_as_a_secret_is_refused() {
    let story = Story::new();
    let host = story.vendor.host();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.typ = Some(ActivationResponse::TYPE.to_owned());
    header.x5c = Some(host.chain.iter().map(|der| STANDARD.encode(der)).collect());
    // Everyone knows the public key: a verifier that lets the document choose the algorithm is lost here.
    let secret = jsonwebtoken::EncodingKey::from_secret(host.public_key());
    let jws = jsonwebtoken::encode(&header, &response(&story.request), &secret).unwrap();
    assert_refused(
        story.accept(&jws, &story.list()),
        Code::DocumentInvalid,
        "this is not an activation response (InvalidAlgorithm)",
    );
}

#[test]
fn a_document_of_another_type_is_refused() {
    let story = Story::new();
    let catalog = story.vendor.issuer().signer().sign(&story.catalog).unwrap();
    assert_refused(
        story.accept(&story.honest_response(), &catalog),
        Code::DocumentInvalid,
        "this is not a revocation list (its type is \"quorate-catalog+jws\")",
    );
    assert_refused(
        story.accept(&story.list(), &story.list()),
        Code::DocumentInvalid,
        "this is not an activation response (its type is \"quorate-revocations+jws\")",
    );
    let typeless = with_header(&story.honest_response(), |header| {
        header.as_object_mut().unwrap().remove("typ");
    });
    assert_refused(
        story.accept(&typeless, &story.list()),
        Code::DocumentInvalid,
        "this is not an activation response (its type is \"\")",
    );
}

#[test]
fn a_header_without_usable_certificates_is_refused() {
    let story = Story::new();
    let with_chain = |chain: Value| {
        with_header(&story.honest_response(), |header| *header.get_mut("x5c").unwrap() = chain)
    };
    let missing = with_header(&story.honest_response(), |header| {
        header.as_object_mut().unwrap().remove("x5c");
    });
    for (jws, what) in [
        (missing, "this is not an activation response (it carries no certificates)"),
        (with_chain(json!([])), "a certificate cannot be used: it carries no certificate"),
    ] {
        assert_refused(story.accept(&jws, &story.list()), Code::DocumentInvalid, what);
    }
    // Neither base64 nor, decoded, a certificate.
    for x5c in ["*", "AAAA"] {
        let error = story.accept(&with_chain(json!([x5c])), &story.list()).unwrap_err();
        assert_eq!(error.code, Code::DocumentInvalid, "{x5c}: {error}");
    }
}

#[test]
fn a_document_cut_off_anywhere_is_refused() {
    let story = Story::new();
    let (response, list) = (story.honest_response(), story.list());
    for length in 0..response.len() {
        let error = story.accept(&response[..length], &list).unwrap_err();
        assert!(
            matches!(error.code, Code::DocumentInvalid | Code::SignatureInvalid),
            "cut off at {length}: {error}"
        );
    }
    for length in 0..list.len() {
        let error = story.accept(&response, &list[..length]).unwrap_err();
        assert!(
            matches!(error.code, Code::DocumentInvalid | Code::SignatureInvalid),
            "cut off at {length}: {error}"
        );
    }
    assert!(story.accept(&response, &list).is_ok());
}

// ——— The request that it answers ———

#[test]
fn replayed_nonce() {
    let mut story = Story::new();
    let recorded = story.honest_response();
    story.request.nonce.0 += 1;
    assert_refused(
        story.accept(&recorded, &story.list()),
        Code::NonceMismatch,
        "the response answers another request than the one sent: it was replayed",
    );
}

/// A license lasts from the time in the response, so nobody may date one ahead.
#[test]
fn response_of_another_time() {
    let story = Story::new();
    for hours in [-5i64, 5, 24 * 365 * 4] {
        let mut answer = response(&story.request);
        answer.host_time = Timestamp::from_second(noon().as_second() + hours * 3_600).unwrap();
        let error = story.accept_answer(&answer).unwrap_err();
        assert_eq!(error.code, Code::ClockSkew, "{hours} hours");
    }
    let mut answer = response(&story.request);
    answer.host_time = Interval::hours(4).after(noon());
    assert!(story.accept_answer(&answer).is_ok());
}

#[test]
fn response_for_another_machine() {
    let story = Story::new();
    let mut answer = response(&story.request);
    answer.cmid = "0e0e0e0e-7dec-41d0-a765-00a0c91e6bf6".parse().unwrap();
    let what = "the response is for machine 0e0e0e0e-7dec-41d0-a765-00a0c91e6bf6 and product \
                00000000-0000-4000-8000-00000000000b, not for this one";
    assert_refused(story.accept_answer(&answer), Code::ResponseMismatch, what);
}

#[test]
fn response_for_another_sku() {
    let story = Story::new();
    let mut answer = response(&story.request);
    answer.sku = id(VISIO).parse().unwrap();
    let what = "the response is for machine f81d4fae-7dec-41d0-a765-00a0c91e6bf6 and product \
                00000000-0000-4000-8000-00000000000d, not for this one";
    assert_refused(story.accept_answer(&answer), Code::ResponseMismatch, what);
}

#[test]
fn response_for_another_application_or_other_hardware() {
    let story = Story::new();
    let mut other_application = response(&story.request);
    other_application.application = id(2).parse().unwrap();
    let mut other_hardware = response(&story.request);
    other_hardware.hardware = Components::new([(Component::Board, "two")]).id();
    for answer in [other_application, other_hardware] {
        assert_eq!(story.accept_answer(&answer).unwrap_err().code, Code::ResponseMismatch);
    }
}

#[test]
fn request_for_a_product_that_the_clients_catalog_does_not_know() {
    let mut story = Story::new();
    story.request.sku = id(99).parse().unwrap();
    assert_refused(
        story.accept_answer(&response(&story.request)),
        Code::ProductKeyUnsuited,
        "catalog 3 has no product 00000000-0000-4000-8000-000000000063",
    );
}

// ——— The revocation list ———

#[test]
fn stale_revocation_list() {
    let story = Story::new();
    let older = story.sign_list(&revocations(&story.vendor.id, NEWEST - 1));
    assert_refused(
        story.accept(&story.honest_response(), &older),
        Code::StaleNumber,
        "revocation list 6 came, but list 7 has been seen already",
    );
    let newer = story.sign_list(&revocations(&story.vendor.id, NEWEST + 1));
    assert_eq!(story.accept(&story.honest_response(), &newer).unwrap().revocations, NEWEST + 1);
}

#[test]
fn revoked_key() {
    let story = Story::new();
    let mut list = revocations(&story.vendor.id, 8);
    list.keys.insert(host_key());
    assert_refused(
        story.accept(&story.honest_response(), &story.sign_list(&list)),
        Code::Revoked,
        "the vendor has revoked product key 00096-000-000004 (revocation list 8)",
    );
}

/// The second serial number has its highest bit set: DER writes a zero before it, which is no part of it.
#[test]
fn revoked_certificate() {
    let story = Story::new();
    for (serial, written) in [(vec![0x1a, 0x2b, 0x03], "1a2b03"), (vec![0xfa, 0x2b, 0x03], "fa2b03")] {
        let host = story.vendor.host_with(|params| {
            params.serial_number = Some(SerialNumber::from_slice(&serial));
        });
        let jws = host.signer().sign(&response(&story.request)).unwrap();
        assert!(story.accept(&jws, &story.list()).is_ok());

        let mut list = revocations(&story.vendor.id, 8);
        list.certificates.insert(written.to_owned());
        assert_refused(
            story.accept(&jws, &story.sign_list(&list)),
            Code::Revoked,
            &format!("the vendor has revoked host certificate {written} (revocation list 8)"),
        );
        // Another host of the same key is not touched.
        assert!(story.accept(&story.honest_response(), &story.sign_list(&list)).is_ok());
    }
}

// ——— License packs ———

#[test]
fn a_pack_brings_its_root_and_its_catalog_verifies_against_it() {
    let story = Story::new();
    let (pack, root) = LicensePack::open(&story.sign_pack(&story.pack()), noon()).unwrap();
    assert_eq!(root, story.vendor.root);
    assert_eq!(pack.key, host_key());
    let catalog = signed::verify::<Catalog>(&pack.catalog, &root, &pack.vendor, noon()).unwrap();
    assert_eq!(catalog.document, story.catalog);
    assert_eq!(catalog.signer.entitlement, None);
    let list = signed::verify::<RevocationList>(&pack.revocations, &root, &pack.vendor, noon()).unwrap();
    assert_eq!(list.document.number, NEWEST);
}

/// Vendors number their keys alike: the pack tells its key from another vendor's of the same number.
#[test]
fn a_pack_is_for_one_key() {
    let pack = Story::new().pack();
    assert_eq!(pack.check_key(host_key(), &host_verifier()), Ok(()));
    let other = KeyId::new(96, 5).unwrap();
    assert_refused(
        pack.check_key(other, &host_verifier()),
        Code::ProductKeyUnsuited,
        "the license pack is for product key 00096-000-000004, the key given is 00096-000-000005",
    );
    assert_refused(
        pack.check_key(host_key(), &ProductKey::new(host_key(), [2; 8]).verifier()),
        Code::ProductKeyUnsuited,
        "the product key has the number 00096-000-000004, but is not the key of vendor contoso with it",
    );
    // What passes at one vendor tells nothing of a pack of another.
    let elsewhere = LicensePack::check_of(&"fabrikam".parse().unwrap(), host_key(), &host_verifier());
    assert_ne!(elsewhere, pack.key_check);
    assert_eq!(elsewhere.len(), 4);
}

#[test]
fn a_pack_with_a_root_that_does_not_match_its_chain() {
    let story = Story::new();
    let mut pack = story.pack();
    pack.root = STANDARD.encode(Vendor::new("contoso").root.der());
    assert_refused(
        LicensePack::open(&story.sign_pack(&pack), noon()),
        Code::UntrustedRoot,
        "the certificate does not chain to the root of vendor contoso",
    );
}

#[test]
fn a_pack_that_was_changed_signed_by_a_host_or_is_of_another_vendor() {
    let story = Story::new();
    let changed = with_payload(&story.sign_pack(&story.pack()), |payload| {
        *payload.get_mut("key").unwrap() = json!("00096-000-000005");
    });
    assert_refused(
        LicensePack::open(&changed, noon()),
        Code::SignatureInvalid,
        "the signature of a license pack does not match: it was changed after signing",
    );
    assert_refused(
        LicensePack::open(&story.vendor.host().signer().sign(&story.pack()).unwrap(), noon()),
        Code::CertificateWrongName,
        "the certificate may not be used as contoso.issuer.quorate.internal",
    );
    let mut other = story.pack();
    other.vendor = "fabrikam".parse().unwrap();
    assert_refused(
        LicensePack::open(&story.sign_pack(&other), noon()),
        Code::CertificateWrongName,
        "the certificate is not made out for fabrikam.issuer.quorate.internal",
    );
}

// ——— What a host admits ———

#[test]
fn a_host_admits_what_its_key_covers() {
    let story = Story::new();
    let held = [entitlement("visio-clients"), entitlement("office-clients")];
    assert_eq!(story.admit(&held), Ok(&held[1]));
}

#[test]
fn a_host_refuses_a_product_that_it_does_not_know() {
    let mut story = Story::new();
    story.request.sku = id(99).parse().unwrap();
    assert_refused(
        story.admit(&[entitlement("office-clients")]),
        Code::HostCannotActivate,
        "this host's catalog 3 has no product 00000000-0000-4000-8000-000000000063",
    );
}

#[test]
fn a_host_refuses_a_product_of_another_application() {
    let mut story = Story::new();
    story.request.application = id(2).parse().unwrap();
    assert_refused(
        story.admit(&[entitlement("office-clients")]),
        Code::RequestInvalid,
        "product 00000000-0000-4000-8000-00000000000b is not of application \
         00000000-0000-4000-8000-000000000002",
    );
}

#[test]
fn a_host_refuses_a_mak_product() {
    let mut story = Story::new();
    story.request.sku = id(OFFICE_MAK).parse().unwrap();
    assert_refused(
        story.admit(&[entitlement("office-clients")]),
        Code::HostCannotActivate,
        "Office Standard MAK is in the VOLUME_MAK channel: hosts activate KMS clients only",
    );
}

#[test]
fn a_host_refuses_a_product_that_its_key_does_not_cover() {
    let story = Story::new();
    for held in [vec![], vec![entitlement("visio-clients")]] {
        assert_refused(
            story.admit(&held),
            Code::HostCannotActivate,
            "no host key that is activated here covers Office Standard",
        );
    }
}

#[test]
fn clocks_may_differ_by_four_hours_and_no_more() {
    let mut story = Story::new();
    let held = [entitlement("office-clients")];
    for (client, what) in [
        ("2026-06-01T16:00:00Z", None),
        ("2026-06-01T08:00:00Z", None),
        (
            "2026-06-01T16:01:00Z",
            Some(
                "the clocks are 241 minutes apart, 240 are allowed: the client's says \
                 2026-06-01T16:01:00Z, the host's 2026-06-01T12:00:00Z",
            ),
        ),
        (
            "2026-06-01T07:59:00Z",
            Some(
                "the clocks are 241 minutes apart, 240 are allowed: the client's says \
                 2026-06-01T07:59:00Z, the host's 2026-06-01T12:00:00Z",
            ),
        ),
    ] {
        story.request.client_time = timestamp(client);
        match what {
            None => assert_eq!(story.admit(&held), Ok(&held[0]), "{client}"),
            Some(what) => assert_refused(story.admit(&held), Code::ClockSkew, what),
        }
    }
}

#[test]
fn a_count_that_is_too_low_says_how_many_are_missing() {
    let policy = Policy { threshold: 5, ..Policy::default() };
    let low = |count| {
        let error = check_count(&policy, count).unwrap_err();
        assert_eq!(error.code, Code::CountTooLow);
        (error.what, error.next)
    };
    assert_eq!(
        low(4),
        (
            "count 4 of 5: the host has not been asked by enough machines yet".to_owned(),
            "wait: `quorate run` asks again by itself. 1 more machine must ask this host; \
             clones of one image count once"
                .to_owned()
        )
    );
    assert_eq!(
        low(2),
        (
            "count 2 of 5: the host has not been asked by enough machines yet".to_owned(),
            "wait: `quorate run` asks again by itself. 3 more machines must ask this host; \
             clones of one image count once"
                .to_owned()
        )
    );
    assert_eq!(check_count(&policy, 5), Ok(()));
}

/// One vendor, its catalog, and one machine's request at noon.
struct Story {
    vendor: Vendor,
    catalog: Catalog,
    request: ActivationRequest,
}

impl Story {
    fn new() -> Self {
        Self::of(Vendor::new("contoso"))
    }

    fn of(vendor: Vendor) -> Self {
        Self { catalog: catalog(&vendor.id), request: request(), vendor }
    }

    fn trust(&self) -> Trust<'_> {
        Trust {
            root: &self.vendor.root,
            vendor: &self.vendor.id,
            catalog: &self.catalog,
            newest_revocations: NEWEST,
        }
    }

    fn accept(&self, response: &str, list: &str) -> Result<AcceptedResponse> {
        accept(response, list, &self.request, self.trust(), noon())
    }

    /// A genuine host gives this answer.
    fn accept_answer(&self, answer: &ActivationResponse) -> Result<AcceptedResponse> {
        self.accept(&self.vendor.host().signer().sign(answer).unwrap(), &self.list())
    }

    fn verify<T: Document>(&self, jws: &str) -> Result<signed::Verified<T>> {
        signed::verify(jws, &self.vendor.root, &self.vendor.id, noon())
    }

    fn verify_host(&self, chain: &[CertificateDer<'_>]) -> Result<()> {
        self.vendor.root.verify(&self.vendor.id, Role::Host, chain, noon()).map(drop)
    }

    fn admit<'e>(&self, held: &'e [Entitlement]) -> Result<&'e Entitlement> {
        admit(&self.request, &self.catalog, held, noon())
    }

    fn honest_response(&self) -> String {
        self.vendor.host().signer().sign(&response(&self.request)).unwrap()
    }

    fn list(&self) -> String {
        self.sign_list(&revocations(&self.vendor.id, NEWEST))
    }

    fn sign_list(&self, list: &RevocationList) -> String {
        self.vendor.issuer().signer().sign(list).unwrap()
    }

    fn pack(&self) -> LicensePack {
        LicensePack {
            vendor: self.vendor.id.clone(),
            key: host_key(),
            key_check: LicensePack::check_of(&self.vendor.id, host_key(), &host_verifier()),
            root: STANDARD.encode(self.vendor.root.der()),
            catalog: self.vendor.issuer().signer().sign(&self.catalog).unwrap(),
            revocations: self.list(),
            slots: vec![],
        }
    }

    fn sign_pack(&self, pack: &LicensePack) -> String {
        self.vendor.issuer().signer().sign(pack).unwrap()
    }
}

/// What proves the host key.
fn host_verifier() -> Verifier {
    ProductKey::new(host_key(), [1; 8]).verifier()
}

#[track_caller]
fn assert_refused<T>(result: Result<T>, code: Code, what: &str) {
    match result {
        Ok(_) => panic!("this should have been refused with {code}: {what}"),
        Err(error) => assert_eq!((error.code, error.what.as_str()), (code, what)),
    }
}

/// The JWS with its header changed and its signature kept.
fn with_header(jws: &str, change: impl FnOnce(&mut Value)) -> String {
    with_part(jws, 0, change)
}

/// The JWS with its payload changed and its signature kept.
fn with_payload(jws: &str, change: impl FnOnce(&mut Value)) -> String {
    with_part(jws, 1, change)
}

fn with_part(jws: &str, index: usize, change: impl FnOnce(&mut Value)) -> String {
    let mut parts: Vec<String> = jws.split('.').map(str::to_owned).collect();
    let mut value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[index]).unwrap()).unwrap();
    change(&mut value);
    parts[index] = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&value).unwrap());
    parts.join(".")
}

fn x5c(chain: &[CertificateDer<'_>]) -> Value {
    chain.iter().map(|der| STANDARD.encode(der)).collect()
}

fn timestamp(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The number of the newest revocation list that the client has seen.
const NEWEST: u64 = 7;
