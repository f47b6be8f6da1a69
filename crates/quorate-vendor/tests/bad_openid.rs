//! Signing in by an OpenID Connect provider that is down, slow, wrong or hostile: each is told, and nobody gets in.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use aws_lc_rs::digest;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use common::openid::{SECRET, Stand, Wanderer, field, shown};
use common::people::{PASSWORD, people};
use common::place::{Place, in_both};
use common::web::Web;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quorate_core::Timestamp;
use quorate_edge::clock::Clock;
use quorate_edge::server::{self, Limits};
use quorate_vendor::accounts::SessionToken;
use quorate_vendor::service::Service;
use rcgen::{KeyPair, PublicKeyData};
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What makes an ID token of the claims that would be right.
type Maker = Box<dyn Fn(&Fake, Value) -> String + Send>;
/// Path, `Authorization`, form.
type Asked = (String, String, BTreeMap<String, String>);
/// What is changed in an ID token.
type Change = fn(&mut Value);
/// What is changed in the way back.
type Detour = fn(&mut Url);
/// What is the matter, what the ID token says then, and how it is refused.
type Case = (&'static str, Change, &'static str);

/// A provider that answers whatever a test wants.
struct Fake {
    issuer: String,
    key: KeyPair,
    /// Other answers than the right ones, by their paths: a status and a body.
    answers: Mutex<BTreeMap<&'static str, (u16, String)>>,
    token: Mutex<Maker>,
    /// What was asked.
    asked: Mutex<Vec<Asked>>,
}

impl Fake {
    async fn start() -> Arc<Self> {
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let fake = Arc::new(Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            key: KeyPair::generate().unwrap(),
            answers: Mutex::default(),
            token: Mutex::new(Box::new(|fake, claims| fake.sign(&claims))),
            asked: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&fake));
        let never = std::future::pending();
        tokio::spawn(server::serve(listener, None, router, Limits::default, Arc::default(), never));
        fake
    }

    fn answers(&self, path: &'static str, status: u16, body: impl Into<String>) {
        self.answers.lock().unwrap().insert(path, (status, body.into()));
    }

    fn makes(&self, maker: impl Fn(&Fake, Value) -> String + Send + 'static) {
        *self.token.lock().unwrap() = Box::new(maker);
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _, _)| asked == path).count()
    }

    fn description(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer, "authorization_endpoint": at("/auth?tenant=1"), "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"), "userinfo_endpoint": at("/me")
        })
    }

    fn signer(&self) -> EncodingKey {
        EncodingKey::from_ec_der(&self.key.serialize_der())
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.signer(), Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("one".to_owned());
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&header(), claims, &self.signer()).unwrap()
    }

    fn right(&self, nonce: &str) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": self.issuer, "sub": "1", "aud": "q", "exp": now + 60, "iat": now, "nonce": nonce,
            "preferred_username": "anna", "groups": ["all"]
        })
    }

    fn right_answer(&self, path: &str, form: &BTreeMap<String, String>) -> Option<Value> {
        Some(match path {
            "/.well-known/openid-configuration" => self.description(),
            // Other kinds of keys than those known here are no hindrance.
            "/jwks" => json!({ "keys": [{ "kty": "??" }, self.jwk(), { "kty": "EC", "crv": "P-521" }] }),
            "/token" => {
                let maker = self.token.lock().unwrap();
                json!({ "id_token": maker(self, self.right(&form["code"])), "access_token": "at", "token_type": "Bearer" })
            }
            "/me" => json!({ "sub": "1", "groups": ["desk"] }),
            _ => return None,
        })
    }
}

async fn answer(State(fake): State<Arc<Fake>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let form: BTreeMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    fake.asked.lock().unwrap().push((uri.path().to_owned(), authorization.unwrap_or_default(), form.clone()));
    let other = fake.answers.lock().unwrap().get(uri.path()).cloned();
    let (status, body) = match other {
        Some((0, _)) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            (200, String::new())
        }
        Some(other) => other,
        None => match fake.right_answer(uri.path(), &form) {
            Some(right) => (200, right.to_string()),
            None => (404, String::new()),
        },
    };
    // A redirect is an answer like another.
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    (status, [("location", format!("{}/elsewhere", fake.issuer))], body).into_response()
}

fn header() -> Header {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("one".to_owned());
    header
}

/// A token as somebody puts it together who has no library for it.
fn by_hand(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), BASE64URL.encode(signature))
}

fn on_the_network(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test);
}

async fn portal(place: &Place, fake: &Fake) -> Web {
    Stand::new(place).await.serve(&fake.issuer, "q", "").await
}

/// From the beginning to a session, or to an error: its code and what happened.
async fn sign_in(web: &Web) -> Result<SessionToken, (String, String)> {
    sign_in_with(web, |_| {}).await
}

/// The same, with another answer than the right one.
async fn sign_in_with(web: &Web, change: impl FnOnce(&mut Url)) -> Result<SessionToken, (String, String)> {
    let mut wanderer = Wanderer::new(web);
    let mut back = match begin(&mut wanderer, web).await {
        Ok(there) => back(web, &there),
        Err((code, what, _)) => return Err((code, what)),
    };
    change(&mut back);
    finish(&mut wanderer, web, &back).await
}

async fn begin(wanderer: &mut Wanderer, web: &Web) -> Result<Url, (String, String, String)> {
    let answer = wanderer.ask(&web.url("/sign-in/openid?to=/keys").parse().unwrap(), None).await;
    match answer.headers().get("location") {
        Some(there) => Ok(there.to_str().unwrap().parse().unwrap()),
        None => Err(shown(&answer.text().await.unwrap()).unwrap()),
    }
}

/// The provider's code is the nonce.
fn back(web: &Web, there: &Url) -> Url {
    let mut back: Url = web.url("/sign-in/openid/callback").parse().unwrap();
    let (code, state) = (field(there, "nonce").unwrap(), field(there, "state").unwrap());
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", &state);
    back
}

async fn finish(wanderer: &mut Wanderer, web: &Web, back: &Url) -> Result<SessionToken, (String, String)> {
    let answer = wanderer.ask(back, None).await;
    if answer.status() == StatusCode::SEE_OTHER {
        let session = wanderer.cookie(&web.address.to_string(), "__Host-quorate").unwrap();
        return Ok(SessionToken::new(session));
    }
    assert!(
        answer.headers().get_all("set-cookie").iter().count() == 1,
        "an attempt is taken away, nothing given"
    );
    let page = answer.text().await.unwrap();
    assert!(page.contains("name=\"password\""), "a password is taken still: {page}");
    let (code, what, next) = shown(&page).unwrap();
    assert!(!next.is_empty());
    Err((code, what))
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

/// What stands where a provider should.
#[test]
fn what_is_no_provider_is_told() {
    const HOME: &str = "/.well-known/openid-configuration";
    let place = Place::in_sqlite();
    on_the_network(async {
        place.ask(people);
        let describes = |change: fn(&mut Value)| {
            move |fake: &Fake| {
                let mut description = fake.description();
                change(&mut description);
                fake.answers(HOME, 200, description.to_string());
            }
        };
        type Breaks = Box<dyn Fn(&Fake)>;
        let cases: Vec<(Breaks, &str)> = vec![
            (
                Box::new(describes(|all| all["issuer"] = json!("https://evil.example"))),
                "{home}: it is of the issuer \"https://evil.example\", and not of \"{issuer}\"",
            ),
            (
                Box::new(describes(|all| {
                    all["issuer"] = json!(format!("{}/", all["issuer"].as_str().unwrap()))
                })),
                "{home}: it is of the issuer \"{issuer}/\", and not of \"{issuer}\"",
            ),
            (
                Box::new(describes(|all| all["token_endpoint"] = json!("http://evil.example/token"))),
                "{home}: it names \"http://evil.example/token\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| all["authorization_endpoint"] = json!("javascript:alert(1)"))),
                "{home}: it names \"javascript:alert(1)\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| {
                    all["authorization_endpoint"] = json!("https://a.example/\r\nSet-Cookie: a=b")
                })),
                "{home}: it names \"https://a.example/\\r\\nSet-Cookie: a=b\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| all["jwks_uri"] = json!("https://l\u{f6}gin.example/"))),
                "{home}: it names \"https://l\u{f6}gin.example/\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| drop(all.as_object_mut().unwrap().remove("token_endpoint")))),
                "{home}: answered with HTTP status 200 and no such JSON",
            ),
            (
                Box::new(|fake| fake.answers(HOME, 200, "<html>")),
                "{home}: answered with HTTP status 200 and no such JSON",
            ),
            (Box::new(|fake| fake.answers(HOME, 302, "")), "{home}: answered with HTTP status 302"),
            (Box::new(|fake| fake.answers(HOME, 503, "{}")), "{home}: answered with HTTP status 503"),
            (
                Box::new(|fake| fake.answers(HOME, 200, " ".repeat(600 * 1024))),
                "{home}: the answer is larger than 512 KB",
            ),
            (Box::new(|fake| fake.answers(HOME, 0, "")), "{home}: operation timed out"),
            (
                Box::new(|fake| fake.answers("/jwks", 404, "")),
                "\"{issuer}/jwks\": answered with HTTP status 404",
            ),
            (
                Box::new(|fake| fake.answers("/jwks", 200, "{\"keys\": 1}")),
                "\"{issuer}/jwks\": answered with HTTP status 200 and no such JSON",
            ),
            // With no key that is known here, nothing is believed.
            (Box::new(|fake| fake.answers("/jwks", 200, "{\"keys\": [1, {}]}")), ""),
            (
                Box::new(|fake| fake.answers("/token", 200, "{\"access_token\": \"at\"}")),
                "\"{issuer}/token\": answered with HTTP status 200 and no such JSON",
            ),
            (
                Box::new(|fake| fake.answers("/token", 500, "at")),
                "\"{issuer}/token\": answered with HTTP status 500 and no such JSON",
            ),
            (
                Box::new(|fake| {
                    fake.makes(|fake, mut claims| {
                        claims.as_object_mut().unwrap().remove("groups");
                        fake.sign(&claims)
                    });
                    fake.answers("/me", 401, "");
                }),
                "\"{issuer}/me\": answered with HTTP status 401",
            ),
        ];
        for (breaks, expected) in cases {
            let fake = Fake::start().await;
            breaks(&fake);
            let web = portal(&place, &fake).await;
            let began = Instant::now();
            let (code, what) = sign_in(&web).await.unwrap_err();
            assert!(began.elapsed() < Duration::from_secs(10), "{expected}: {:?}", began.elapsed());
            if expected.is_empty() {
                assert!(code == "Q708" && what.ends_with("does not publish"), "{code} {what}");
                continue;
            }
            let home = format!("\"{}{HOME}\"", fake.issuer);
            let expected = expected.replace("{home}", &home).replace("{issuer}", &fake.issuer);
            assert_eq!(
                (code.as_str(), what),
                ("Q707", format!("the OpenID Connect provider cannot be used: {expected}"))
            );
        }
    });
}

/// The provider's own refusals are shown by their names alone.
#[test]
fn what_the_token_endpoint_refuses_is_told_without_its_words() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = portal(&place, &fake).await;
        for (error, shown) in [
            ("invalid_client", "invalid_client"),
            ("invalid_grant", "invalid_grant"),
            ("server_error", "server_error"),
            ("my secret is 7", "something unknown"),
        ] {
            let body = json!({ "error": error, "error_description": "your secret is hunter2" });
            fake.answers("/token", 401, body.to_string());
            let (code, what) = sign_in(&web).await.unwrap_err();
            let expected =
                format!("the OpenID Connect provider {} refuses the sign-in: {shown}", fake.issuer);
            assert_eq!((code.as_str(), what), ("Q708", expected));
        }
        // Userinfo of somebody else.
        fake.answers.lock().unwrap().clear();
        fake.makes(|fake, mut claims| {
            claims.as_object_mut().unwrap().remove("groups");
            fake.sign(&claims)
        });
        let token = sign_in(&web).await.unwrap();
        assert_eq!(place.ask(|service| service.signed_in(&token).unwrap().account.role), "support");
        let asked = fake.asked.lock().unwrap().clone();
        assert_eq!(asked.iter().find(|(path, _, _)| path == "/me").unwrap().1, "Bearer at");
        for said in [json!({ "sub": "2", "groups": ["bosses"] }), json!({ "groups": ["bosses"] })] {
            fake.answers("/me", 200, said.to_string());
            let (code, what) = sign_in(&web).await.unwrap_err();
            assert!(
                code == "Q708" && what.ends_with("its userinfo endpoint speaks of somebody else"),
                "{what}"
            );
        }
        // Nor does it replace what is signed.
        fake.answers(
            "/me",
            200,
            json!({ "sub": "1", "groups": ["all"], "preferred_username": "root" }).to_string(),
        );
        sign_in(&web).await.unwrap();
        let names: Vec<_> =
            place.ask(|service| service.accounts().unwrap()).into_iter().map(|of| of.name).collect();
        assert_eq!(names, ["anna"]);
        // It is asked for a name as well; without any, somebody is called what the provider calls him for itself.
        fake.makes(|fake, mut claims| {
            claims["sub"] = json!("2");
            claims["preferred_username"] = json!("\u{7}");
            fake.sign(&claims)
        });
        fake.answers("/me", 200, json!({ "sub": "2", "email": " bert@contoso.example" }).to_string());
        sign_in(&web).await.unwrap();
        fake.makes(|fake, mut claims| {
            claims["sub"] = json!("3".repeat(255));
            claims["preferred_username"] = json!("");
            fake.sign(&claims)
        });
        fake.answers("/me", 200, json!({ "sub": "3".repeat(255), "name": "x".repeat(101) }).to_string());
        sign_in(&web).await.unwrap();
        let names: Vec<_> =
            place.ask(|service| service.accounts().unwrap()).into_iter().map(|of| of.name).collect();
        assert_eq!(names, ["3".repeat(100).as_str(), "anna", "bert@contoso.example"]);
    });
}

/// Without a provider there is no way to it; with one that is down, a password is good still.
#[test]
fn passwords_are_taken_whatever_the_provider_does() {
    let place = Place::in_sqlite();
    on_the_network(async {
        place.ask(people);
        let web = Web::serve_service(place.ask(Service::clone)).await;
        let page = web.get("/sign-in").await.text().await.unwrap();
        assert!(!page.contains("/sign-in/openid"), "{page}");
        for path in ["/sign-in/openid", "/sign-in/openid/callback?code=x&state=y"] {
            let answer = web.get(path).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            assert_eq!(shown(&answer.text().await.unwrap()).unwrap().0, "Q704");
        }
        let nowhere = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let issuer = format!("http://{}", nowhere.local_addr().unwrap());
        drop(nowhere);
        let web = Stand::new(&place).await.serve(&issuer, "q", "name = 'Go <there>'\n").await;
        let page = web.get("/sign-in").await.text().await.unwrap();
        assert!(page.contains(">Go &#60;there&#62;</a>"), "{page}");
        let answer = web.get("/sign-in/openid").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let page = answer.text().await.unwrap();
        let (code, what, next) = shown(&page).unwrap();
        assert_eq!(code, "Q707");
        assert!(what.ends_with("connection refused"), "{what}");
        assert!(next.starts_with("sign in by name and password, or try again later"), "{next}");
        let form = [("name", "alice"), ("password", PASSWORD), ("to", "/keys")];
        let mut wanderer = Wanderer::new(&web);
        let answer = wanderer.ask(&web.url("/sign-in").parse().unwrap(), Some(&form)).await;
        assert_eq!(
            (answer.status(), &answer.headers()["location"]),
            (StatusCode::SEE_OTHER, &"/keys".parse().unwrap())
        );
    });
}

/// A provider that does not answer is not asked by everybody at once, and one that answers again is found again.
#[test]
fn a_provider_that_is_down_is_left_alone_for_a_moment() {
    const HOME: &str = "/.well-known/openid-configuration";
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        fake.answers(HOME, 503, "");
        let web = portal(&place, &fake).await;
        let mut wanderer = Wanderer::new(&web);
        for _ in 0..20 {
            assert_eq!(begin(&mut wanderer, &web).await.unwrap_err().0, "Q707");
        }
        assert!(fake.asked(HOME) <= 2, "{}", fake.asked(HOME));
        fake.answers.lock().unwrap().clear();
        let began = Instant::now();
        while begin(&mut wanderer, &web).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "it is not found again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        sign_in(&web).await.unwrap();
        // Known for an hour.
        let asked = fake.asked(HOME);
        sign_in(&web).await.unwrap();
        assert_eq!(fake.asked(HOME), asked);
        // Who tries codes is slowed down like who tries passwords.
        let mut refused = 0;
        for _ in 0..40 {
            let there = begin(&mut wanderer, &web).await.unwrap();
            let mut back = back(&web, &there);
            back.query_pairs_mut()
                .clear()
                .append_pair("error", "x")
                .append_pair("state", &field(&there, "state").unwrap());
            let (code, _) = finish(&mut wanderer, &web, &back).await.unwrap_err();
            refused += i32::from(code == "Q706");
        }
        assert!(refused > 0);
    });
}
