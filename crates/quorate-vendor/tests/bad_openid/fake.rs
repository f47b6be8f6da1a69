//! A provider that answers whatever a test wants.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quorate_core::Timestamp;
use quorate_edge::server::{self, Limits};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What makes an ID token of the claims that would be right.
pub type Maker = Box<dyn Fn(&Fake, Value) -> String + Send>;

/// Path, `Authorization`, form.
pub type Asked = (String, String, BTreeMap<String, String>);

/// A provider that answers whatever a test wants.
pub struct Fake {
    pub issuer: String,
    pub key: KeyPair,
    /// Other answers than the right ones, by their paths: a status and a body.
    pub answers: Mutex<BTreeMap<&'static str, (u16, String)>>,
    pub token: Mutex<Maker>,
    /// What was asked.
    pub asked: Mutex<Vec<Asked>>,
}

impl Fake {
    pub async fn start() -> Arc<Self> {
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

    pub fn answers(&self, path: &'static str, status: u16, body: impl Into<String>) {
        self.answers.lock().unwrap().insert(path, (status, body.into()));
    }

    pub fn makes(&self, maker: impl Fn(&Fake, Value) -> String + Send + 'static) {
        *self.token.lock().unwrap() = Box::new(maker);
    }

    pub fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _, _)| asked == path).count()
    }

    pub fn description(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer, "authorization_endpoint": at("/auth?tenant=1"), "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"), "userinfo_endpoint": at("/me")
        })
    }

    pub fn signer(&self) -> EncodingKey {
        EncodingKey::from_ec_der(&self.key.serialize_der())
    }

    pub fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.signer(), Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("one".to_owned());
        jwk
    }

    pub fn sign(&self, claims: &Value) -> String {
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

pub fn header() -> Header {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("one".to_owned());
    header
}
