//! Providers that are set up in other ways, change their keys, stop, or see an answer twice.

use crate::common::openid::{Stand, Wanderer, field, on_the_network, shown};
use crate::common::place::Place;
use crate::common::web::client_of;
use crate::provider::RealProvider;
use crate::{anew, by_hand, finish, portal, role, staff, to_the_way_back};
use quorate_vendor::accounts::Role;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::StatusCode;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

/// Every algorithm that the provider signs with here, both ways to send the secret, claims in the token and beside it.
#[test]
fn a_provider_may_be_set_up_in_other_ways() {
    on_the_network(async {
        for (client, other) in [
            ("PS256", json!({ "inIdToken": true })),
            ("ES256", json!({ "basic": false })),
            ("EdDSA", json!({ "basic": false, "inIdToken": true })),
        ] {
            let place = tokio::task::block_in_place(Place::in_sqlite);
            let stand = Stand::new(&place).await;
            let provider = RealProvider::start_with(&stand.redirect(), staff(), other);
            let web = stand.serve(&provider.issuer, client, "").await;
            let token = anew(&web, "2").await.unwrap();
            assert_eq!(role(&place, &token), Some(Role::Support), "{client}");
        }
    });
}

#[test]
fn a_provider_changes_its_keys_and_stops() {
    on_the_network(async {
        let place = tokio::task::block_in_place(Place::in_sqlite);
        let (web, mut provider) = portal(&place).await;
        anew(&web, "1").await.unwrap();
        tokio::task::block_in_place(|| provider.restart());
        // The keys that are known are others.
        anew(&web, "1").await.unwrap();
        provider.stop();
        // What it says about itself is known; that it is not there shows when the code is to be redeemed.
        let mut wanderer = Wanderer::new(&web);
        let there = wanderer.begin(&web, "/keys").await;
        let back = format!(
            "/sign-in/openid/callback?code=x&state={}&iss={}",
            field(&there, "state").unwrap(),
            provider.issuer
        );
        let refused = finish(&mut wanderer, &web, &web.url(&back).parse().unwrap()).await.unwrap_err();
        assert!(refused.starts_with("Q707 the OpenID Connect provider cannot be used"), "{refused}");
        assert!(refused.ends_with("/token\": connection refused"), "{refused}");
    });
}

/// What came back once does not come back again, neither here nor at the provider.
#[test]
fn an_answer_is_good_once_and_in_its_own_browser() {
    on_the_network(async {
        let place = tokio::task::block_in_place(Place::in_sqlite);
        let (web, _provider) = portal(&place).await;
        let site = web.address.to_string();
        let cookie = "__Host-quorate-openid";
        let mut wanderer = Wanderer::new(&web);
        let back = to_the_way_back(&mut wanderer, &web, "1").await;
        let kept = wanderer.cookie(&site, cookie).unwrap().to_owned();
        let over = "Q710 this sign-in is over: it was begun in another browser or another window, more than 10m ago, \
                    or has ended already";
        // In another browser, with no attempt or with one of its own.
        let mut other = Wanderer::new(&web);
        assert_eq!(finish(&mut other, &web, &back).await.unwrap_err(), over);
        other.begin(&web, "/keys").await;
        assert_eq!(finish(&mut other, &web, &back).await.unwrap_err(), over);
        // Somebody puts his own state into it; what the code is for, the provider knows.
        let there = other.begin(&web, "/keys").await;
        let mut stolen = back.clone();
        stolen.query_pairs_mut().clear().extend_pairs([
            ("code", field(&back, "code").unwrap()),
            ("state", field(&there, "state").unwrap()),
            ("iss", field(&back, "iss").unwrap()),
        ]);
        let refused = finish(&mut other, &web, &stolen).await.unwrap_err();
        assert!(
            refused.starts_with("Q708") && refused.ends_with("refuses the sign-in: invalid_grant"),
            "{refused}"
        );
        // The code is burnt; a new one is good for one session.
        let mut wanderer = Wanderer::new(&web);
        let back = to_the_way_back(&mut wanderer, &web, "1").await;
        let kept_too = wanderer.cookie(&site, cookie).unwrap().to_owned();
        assert_ne!(kept, kept_too);
        finish(&mut wanderer, &web, &back).await.unwrap();
        assert_eq!(finish(&mut wanderer, &web, &back).await.unwrap_err(), over);
        wanderer.put(&site, cookie, &kept_too);
        let refused = finish(&mut wanderer, &web, &back).await.unwrap_err();
        assert!(
            refused.starts_with("Q708") && refused.ends_with("refuses the sign-in: invalid_grant"),
            "{refused}"
        );
    });
}

/// TLS 1.2 and an authority that no machine trusts by itself.
#[test]
fn a_provider_in_the_own_network_is_trusted_by_its_authority() {
    on_the_network(async {
        let place = tokio::task::block_in_place(Place::in_sqlite);
        let (key, certificate, ca) = certificates();
        let path = |name: &str, text: &str| {
            std::fs::write(place.path(name), text).unwrap();
            place.path(name)
        };
        let files = json!({ "key": path("p.key", &key), "certificate": path("p.pem", &certificate) });
        let ca_file = path("ca.pem", &ca);
        let trusts = format!("ca-file = '{}'\n", ca_file.display());

        let stand = Stand::new(&place).await;
        let provider = RealProvider::start_with(&stand.redirect(), staff(), json!({ "tls": files }));
        assert!(provider.issuer.starts_with("https://"));
        let web = stand.serve(&provider.issuer, "RS256", &trusts).await;
        let mut roots = RootCertStore::empty();
        roots.add(web.root.der().clone()).unwrap();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let token = by_hand(&mut Wanderer::with(roots), &web, "1").await.unwrap();
        assert_eq!(role(&place, &token), Some(Role::Admin));

        // Without it.
        let web = Stand::new(&place).await.serve(&provider.issuer, "RS256", "").await;
        let page = client_of(&web.root).get(web.url("/sign-in/openid")).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
        let (code, what, _) = shown(&page.text().await.unwrap()).unwrap();
        assert_eq!(code, "Q707");
        assert!(what.ends_with("invalid peer certificate: unknownissuer"), "{what}");
    });
}

/// The key and the certificate of "localhost", and its authority.
fn certificates() -> (String, String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &Issuer::new(ca, &ca_key)).unwrap();
    (key.serialize_pem(), certificate.pem(), ca_certificate.pem())
}
