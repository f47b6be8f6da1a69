//! The way there and back: what is asked, and answers that are to another attempt.

use crate::common::openid::{Stand, Wanderer, field, on_the_network};
use crate::common::place::{Place, in_both};
use crate::fake::Fake;
use crate::{back, begin, finish, portal, sign_in, sign_in_with};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use quorate_core::Timestamp;
use quorate_edge::clock::Clock;
use reqwest::Url;
use serde_json::json;
use std::sync::atomic::{AtomicI64, Ordering};

/// What is changed in the way back.
type Detour = fn(&mut Url);

/// What the provider is asked, to the letter.
#[test]
fn the_provider_is_asked_by_the_rules() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let stand = Stand::new(&place).await;
        let redirect = stand.redirect();
        let web = stand.serve(&fake.issuer, "q", "scopes = ['groups']\n").await;
        let mut wanderer = Wanderer::new(&web);
        let answer = wanderer.ask(&web.url("/sign-in/openid").parse().unwrap(), None).await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("__Host-quorate-openid="), "{cookie}");
        assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"), "{cookie}");
        let there: Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
        assert!(there.as_str().starts_with(&format!("{}/auth?tenant=1&", fake.issuer)), "{there}");
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", "q"),
            ("redirect_uri", redirect.as_str()),
            ("scope", "openid groups"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(field(&there, name).as_deref(), Some(value));
        }
        finish(&mut wanderer, &web, &back(&web, &there)).await.unwrap();
        let asked = fake.asked.lock().unwrap().clone();
        let (_, authorization, form) = asked.iter().find(|(path, _, _)| path == "/token").unwrap();
        assert_eq!((form["grant_type"].as_str(), &form["redirect_uri"]), ("authorization_code", &redirect));
        let hash = digest::digest(&digest::SHA256, form["code_verifier"].as_bytes());
        assert_eq!(field(&there, "code_challenge"), Some(BASE64URL.encode(hash)));
        let sent = BASE64.decode(authorization.strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), "q:the-client%27s-secret%3A100%25%26more%2B");
        assert!(!form.contains_key("client_secret"));
        // The ID token said enough.
        assert_eq!(fake.asked("/me"), 0);
    });
}

/// Answers that the browser brings.
#[test]
fn an_answer_is_to_this_attempt_and_of_this_provider() {
    let over = "this sign-in is over: it was begun in another browser or another window, more than 10m ago, or has \
                ended already";
    fn set(url: &mut Url, name: &str, value: Option<&str>) {
        let others: Vec<_> = url.query_pairs().into_owned().filter(|(of, _)| of != name).collect();
        let own = value.map(|value| (name.to_owned(), value.to_owned()));
        url.query_pairs_mut().clear().extend_pairs(others.into_iter().chain(own));
    }
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = portal(&place, &fake).await;
        let not_believed =
            |why: &str| format!("the OpenID Connect provider {} is not believed: {why}", fake.issuer);
        let refuses =
            |why: &str| format!("the OpenID Connect provider {} refuses the sign-in: {why}", fake.issuer);
        let cases: [(&str, Detour, &str, String); 9] = [
            ("no state", |url| set(url, "state", None), "Q710", over.to_owned()),
            ("state", |url| set(url, "state", Some("x")), "Q710", over.to_owned()),
            ("nothing", |url| url.set_query(None), "Q710", over.to_owned()),
            (
                "twice",
                |url| {
                    url.query_pairs_mut().append_pair("state", "x");
                },
                "Q710",
                over.to_owned(),
            ),
            ("no code", |url| set(url, "code", None), "Q708", not_believed("its answer holds no code")),
            (
                "another provider's",
                |url| set(url, "iss", Some("https://evil.example")),
                "Q708",
                not_believed("the answer is of \"https://evil.example\""),
            ),
            ("refused", |url| set(url, "error", Some("access_denied")), "Q708", refuses("access_denied")),
            (
                "refused oddly",
                |url| set(url, "error", Some("<b>hm</b>")),
                "Q708",
                refuses("something unknown"),
            ),
            (
                "refused by nobody",
                |url| {
                    set(url, "error", Some("access_denied"));
                    set(url, "state", Some("x"));
                },
                "Q710",
                over.to_owned(),
            ),
        ];
        for (name, change, code, what) in cases {
            let refused = sign_in_with(&web, change).await.unwrap_err();
            assert_eq!(refused, (code.to_owned(), what), "{name}");
        }
        assert_eq!(fake.asked("/token"), 0, "no code was given away");
        sign_in_with(&web, |url| set(url, "iss", Some(&fake.issuer))).await.unwrap();
        // Where the provider says that it always names itself, it does.
        let mut description = fake.description();
        description["authorization_response_iss_parameter_supported"] = json!(true);
        fake.answers("/.well-known/openid-configuration", 200, description.to_string());
        let web = portal(&place, &fake).await;
        let (code, what) = sign_in(&web).await.unwrap_err();
        assert_eq!(
            (code.as_str(), what),
            ("Q708", not_believed("the answer does not say of whom it is (iss)"))
        );
        sign_in_with(&web, |url| set(url, "iss", Some(&fake.issuer))).await.unwrap();
    });
}

/// Somebody else's window, or another window, ends nothing.
#[test]
fn what_is_no_answer_to_an_attempt_leaves_it() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = portal(&place, &fake).await;
        let mut wanderer = Wanderer::new(&web);
        let before = begin(&mut wanderer, &web).await.unwrap();
        let there = begin(&mut wanderer, &web).await.unwrap();
        for back in [back(&web, &before), web.url("/sign-in/openid/callback?state=x&code=y").parse().unwrap()]
        {
            assert_eq!(finish(&mut wanderer, &web, &back).await.unwrap_err().0, "Q710");
        }
        finish(&mut wanderer, &web, &back(&web, &there)).await.unwrap();
    });
}

/// A provider that gives tokens for the same code again and again.
#[test]
fn an_attempt_is_used_once_whatever_the_provider_permits() {
    in_both(|place| {
        on_the_network(async {
            let fake = Fake::start().await;
            let web = portal(place, &fake).await;
            let (mut wanderer, site) = (Wanderer::new(&web), web.address.to_string());
            let there = begin(&mut wanderer, &web).await.unwrap();
            let back = back(&web, &there);
            let kept = wanderer.cookie(&site, "__Host-quorate-openid").unwrap().to_owned();
            let first = finish(&mut wanderer, &web, &back).await.unwrap();
            for _ in 0..2 {
                wanderer.put(&site, "__Host-quorate-openid", &kept);
                assert_eq!(finish(&mut wanderer, &web, &back).await.unwrap_err().0, "Q710");
            }
            assert_eq!(fake.asked("/token"), 3);
            place.ask(|service| service.signed_in(&first).unwrap());
        });
    });
}

#[test]
fn an_attempt_ends_after_ten_minutes() {
    static LATER: AtomicI64 = AtomicI64::new(0);
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let clock = Clock::new(|| {
            Timestamp::from_second(Timestamp::now().as_second() + LATER.load(Ordering::Relaxed)).unwrap()
        });
        let stand = Stand::new(&place).await;
        let service = tokio::task::block_in_place(|| place.service_at(clock.clone()));
        let web = stand.serve_at(service, clock, &fake.issuer, "q", "").await;
        let mut wanderer = Wanderer::new(&web);
        let there = begin(&mut wanderer, &web).await.unwrap();
        let too_late = begin(&mut Wanderer::new(&web), &web).await.unwrap();
        assert_ne!(there, too_late);
        LATER.store(601, Ordering::Relaxed);
        assert_eq!(finish(&mut wanderer, &web, &back(&web, &there)).await.unwrap_err().0, "Q710");
        // The service's own clock is what a token is compared with.
        let (code, what) = sign_in(&web).await.unwrap_err();
        assert!(code == "Q708" && what.contains("its ID token ended at"), "{code} {what}");
        LATER.store(0, Ordering::Relaxed);
        sign_in(&web).await.unwrap();
    });
}
