//! ID tokens that are not of this provider, for this service and for this sign-in.

use crate::common::openid::{SECRET, on_the_network};
use crate::common::place::Place;
use crate::fake::{Fake, Maker, header};
use crate::{portal, sign_in};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quorate_core::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

/// What is changed in an ID token.
type Change = fn(&mut Value);

/// What is the matter, what the ID token says then, and how it is refused.
type Case = (&'static str, Change, &'static str);

/// A token as somebody puts it together who has no library for it.
fn by_hand(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), BASE64URL.encode(signature))
}

/// The claims of a token, one by one.
#[test]
fn an_id_token_is_of_this_provider_for_this_sign_in() {
    fn now() -> i64 {
        Timestamp::now().as_second()
    }
    let good: &[(&str, Change)] = &[
        ("as it is", |_| {}),
        ("several audiences", |claims| {
            claims["aud"] = json!(["another", "q"]);
            claims["azp"] = json!("q");
        }),
        ("a clock that is behind", |claims| {
            claims["exp"] = json!(now() - 40);
        }),
        ("a clock that is ahead", |claims| {
            claims["iat"] = json!(now() + 40);
            claims["nbf"] = json!(now() + 40);
        }),
        ("fractions", |claims| claims["exp"] = json!(now() as f64 + 30.5)),
    ];
    let bad: &[Case] = &[
        (
            "issuer",
            |claims| claims["iss"] = json!("https://evil.example"),
            "is of the issuer \"https://evil.example\"",
        ),
        (
            "no issuer",
            |claims| drop(claims.as_object_mut().unwrap().remove("iss")),
            "is of the issuer nobody",
        ),
        ("issuers", |claims| claims["iss"] = json!([claims["iss"]]), "is of the issuer nobody"),
        ("audience", |claims| claims["aud"] = json!("another"), "is for \"another\""),
        ("audiences", |claims| claims["aud"] = json!(["Q", "qq"]), "is for \"Q\""),
        ("no audience", |claims| claims["aud"] = Value::Null, "is for nobody"),
        (
            "others as well",
            |claims| claims["aud"] = json!(["q", "another"]),
            "is for others as well, and not said to be given to us",
        ),
        ("given to another", |claims| claims["azp"] = json!("another"), "was given to \"another\""),
        ("ended", |claims| claims["exp"] = json!(now() - 61), "ended at 20"),
        ("no end", |claims| claims["exp"] = Value::Null, "does not say when it ends (exp)"),
        (
            "an end that is none",
            |claims| claims["exp"] = json!("9999999999"),
            "has a time that is none (exp)",
        ),
        ("not made yet", |claims| claims["iat"] = json!(now() + 120), "begins at 20"),
        (
            "no beginning",
            |claims| drop(claims.as_object_mut().unwrap().remove("iat")),
            "does not say when it was made",
        ),
        ("not begun", |claims| claims["nbf"] = json!(1e300), "begins at 1000000"),
        ("nonce", |claims| claims["nonce"] = json!("another"), "is the answer to another sign-in (nonce)"),
        (
            "no nonce",
            |claims| drop(claims.as_object_mut().unwrap().remove("nonce")),
            "is the answer to another sign-in",
        ),
        ("nobody", |claims| claims["sub"] = json!(""), "does not say who has signed in (sub)"),
        ("a number", |claims| claims["sub"] = json!(1), "does not say who has signed in (sub)"),
        ("too long", |claims| claims["sub"] = json!("1".repeat(256)), "does not say who has signed in (sub)"),
        ("odd", |claims| claims["sub"] = json!("1\u{0}"), "does not say who has signed in (sub)"),
        ("no claims", |claims| *claims = json!("text"), "has a signature that does not match"),
    ];
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = portal(&place, &fake).await;
        for (name, change) in good {
            fake.makes(|fake, mut claims| {
                change(&mut claims);
                fake.sign(&claims)
            });
            sign_in(&web).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        for (name, change, expected) in bad {
            fake.makes(|fake, mut claims| {
                change(&mut claims);
                fake.sign(&claims)
            });
            let (code, what) = sign_in(&web).await.unwrap_err();
            let expected = format!(
                "the OpenID Connect provider {} is not believed: its ID token {expected}",
                fake.issuer
            );
            assert!(code == "Q708" && what.starts_with(&expected), "{name}: {code} {what}");
        }
        assert_eq!(place.ask(|service| service.accounts().unwrap().len()), 1);
    });
}

/// Signatures that are none, or not the provider's.
#[test]
fn an_id_token_is_signed_with_a_key_of_the_provider() {
    let unknown = "is not a token that is signed by an algorithm that is known here";
    let no_match = "has a signature that does not match";
    let not_published = "is signed with a key that the provider does not publish";
    let secretly = |secret: Vec<u8>| -> Maker {
        Box::new(move |_, claims| {
            let mut header = header();
            header.alg = Algorithm::HS256;
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap()
        })
    };
    let with = |change: fn(&mut Header)| -> Maker {
        Box::new(move |fake, claims| {
            let mut header = header();
            change(&mut header);
            jsonwebtoken::encode(&header, &claims, &fake.signer()).unwrap()
        })
    };
    let stranger = || EncodingKey::from_ec_der(&KeyPair::generate().unwrap().serialize_der());
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = portal(&place, &fake).await;
        let hmac = "is signed by HS256, which needs no key of the provider";
        let public = fake.key.subject_public_key_info();
        let cases: Vec<(&str, Maker, &str)> = vec![
            ("none", Box::new(|_, claims| by_hand(&json!({ "alg": "none" }), &claims, b"")), unknown),
            (
                "NONE",
                Box::new(|_, claims| by_hand(&json!({ "alg": "NONE", "kid": "one" }), &claims, b"")),
                unknown,
            ),
            ("the client's secret", secretly(SECRET.as_bytes().to_vec()), hmac),
            ("the public key", secretly(public.clone()), hmac),
            ("the public key in PEM", secretly(fake.key.public_key_pem().into_bytes()), hmac),
            ("the public key as published", secretly(serde_json::to_vec(&fake.jwk()).unwrap()), hmac),
            (
                "no signature",
                Box::new(|_, claims| by_hand(&json!({ "alg": "ES256", "kid": "one" }), &claims, b"")),
                no_match,
            ),
            (
                "another's key",
                Box::new(move |_, claims| jsonwebtoken::encode(&header(), &claims, &stranger()).unwrap()),
                no_match,
            ),
            (
                "a key that it brings itself",
                Box::new(move |_, claims| {
                    let (mut header, key) = (Header::new(Algorithm::ES256), stranger());
                    header.jwk = Some(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap());
                    jsonwebtoken::encode(&header, &claims, &key).unwrap()
                }),
                no_match,
            ),
            (
                "changed after signing",
                Box::new(|fake, mut claims| {
                    let token = fake.sign(&claims);
                    claims["sub"] = json!("2");
                    let (head, signature) =
                        (token.split_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
                    format!("{head}.{}.{signature}", BASE64URL.encode(claims.to_string()))
                }),
                no_match,
            ),
            (
                "another algorithm",
                Box::new(|_, claims| by_hand(&json!({ "alg": "RS256", "kid": "one" }), &claims, &[1; 256])),
                not_published,
            ),
            (
                "another curve",
                Box::new(|_, claims| by_hand(&json!({ "alg": "ES384", "kid": "one" }), &claims, &[1; 96])),
                not_published,
            ),
            ("another key", with(|header| header.kid = Some("two".to_owned())), not_published),
            (
                "an access token",
                with(|header| header.typ = Some("at+jwt".to_owned())),
                "is a token of another kind",
            ),
            (
                "more to understand",
                with(|header| header.crit = Some(vec!["exp".to_owned()])),
                "has a header that must be understood and is not",
            ),
            ("nothing", Box::new(|_, _| String::new()), unknown),
            ("rubbish", Box::new(|_, _| "a.b.c".to_owned()), unknown),
            ("encrypted", Box::new(|_, _| "e30.e30.e30.e30.e30".to_owned()), unknown),
            ("long", Box::new(|_, _| ".".repeat(100_000)), unknown),
        ];
        for (name, maker, expected) in cases {
            *fake.token.lock().unwrap() = maker;
            let (code, what) = sign_in(&web).await.unwrap_err();
            assert!(
                code == "Q708" && what.ends_with(&format!(": its ID token {expected}")),
                "{name}: {code} {what}"
            );
        }
        // However often a key was not known, the provider was asked once more for its keys.
        assert_eq!((fake.asked("/jwks"), fake.asked("/.well-known/openid-configuration")), (2, 1));
        assert_eq!(place.ask(|service| service.accounts().unwrap().len()), 0);
        fake.makes(|fake, claims| fake.sign(&claims));
        sign_in(&web).await.unwrap();

        // A key for encryption signs nothing.
        let mut jwk = fake.jwk();
        jwk.common.public_key_use = Some(PublicKeyUse::Encryption);
        fake.answers("/jwks", 200, json!({ "keys": [jwk] }).to_string());
        let (_, what) = sign_in(&portal(&place, &fake).await).await.unwrap_err();
        assert!(what.ends_with(not_published), "{what}");
        // Without a name for the key, the one that fits is taken.
        let mut jwk = fake.jwk();
        jwk.common.key_id = None;
        fake.answers("/jwks", 200, json!({ "keys": [jwk] }).to_string());
        *fake.token.lock().unwrap() = with(|header| header.kid = None);
        sign_in(&portal(&place, &fake).await).await.unwrap();
    });
}
