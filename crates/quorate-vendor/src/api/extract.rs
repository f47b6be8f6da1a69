//! What a request brings: who sends it, its path, query and body; each with our errors in place of the framework's.

use super::{Refusal, Web};
use crate::access::{Access, Scope};
use crate::once::Once;
use crate::service::Service;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use quorate_core::product_key::quoted_unless_a_key;
use quorate_core::{Code, Error, Result};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use utoipa::IntoParams;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{Object, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use zeroize::Zeroizing;

/// The sender, by the token.
pub struct Caller {
    access: Access,
    id: i64,
    token: Zeroizing<String>,
}

impl Caller {
    /// Asks the service in the sender's name, when the token permits it.
    pub async fn ask<T: Send + 'static>(
        self,
        web: &Web,
        scope: Scope,
        question: impl FnOnce(&Service) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.access.may(scope)?;
        let Access { actor, scopes } = self.access;
        let answer = web.ask(move |service| question(&service.by(actor))).await;
        answer.map_err(|error| match error.code {
            // It names customers that are called alike, for whoever may see them.
            Code::CustomerUnknown if !scopes.contains(&Scope::Read) => {
                Error::new(error.code, error.what, "correct the name or the number")
            }
            _ => error,
        })
    }

    /// Under which key the request is done once, if the sender gives one.
    pub fn once(&self, headers: &HeaderMap, path: &str, body: &[u8]) -> Result<Option<Once>> {
        let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
        let key = String::from_utf8_lossy(key.as_bytes());
        Once::new(self.id, &self.token, &key, path, body).map(Some)
    }
}

impl FromRequestParts<Web> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> std::result::Result<Self, Refusal> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|header| header.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::from(Error::new(
                Code::NotSignedIn,
                "the request bears no token",
                "make one with `quorate-vendor token add`, and send it in the header Authorization: Bearer TOKEN",
            )));
        }
        let token = Zeroizing::new(token.trim().to_owned());
        let asked = token.clone();
        let (id, access) = web.ask(move |service| service.access_by_token(&asked)).await?;
        Ok(Self { access, id, token })
    }
}

/// The query of a request. What it may hold is what the description of the interface names.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned + IntoParams> FromRequestParts<Web> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Web) -> std::result::Result<Self, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let known = T::into_params(|| None);
        let mut given = BTreeSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let refuse =
                |what: String, next: &str| Refusal::from(Error::new(Code::RequestInvalid, what, next));
            let Some(parameter) = known.iter().find(|known| known.name == name) else {
                let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
                let what = format!("the query has no parameter {}", quoted_unless_a_key(&name));
                return Err(refuse(what, &format!("its parameters are: {}", names.join(", "))));
            };
            // Each by itself, so that the one that cannot be read is named.
            let one = form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            if read::<T>(&one).is_err() {
                // What was given may be a product key in the wrong place, so it is not repeated.
                let what = format!("the parameter {name} of the query takes {}", takes(parameter));
                return Err(refuse(what, COMPARE));
            }
            if !given.insert(name.clone()) {
                return Err(refuse(format!("the query has the parameter {name} twice"), "give it once"));
            }
        }
        read(query).map(Self).map_err(|error| invalid("the query", &error))
    }
}

fn read<T: DeserializeOwned>(query: &str) -> std::result::Result<T, String> {
    let uri = format!("/?{query}").parse().map_err(|_| "it has no form of one".to_owned())?;
    Query::try_from_uri(&uri).map(|Query(read)| read).map_err(|error| error.body_text())
}

/// What a parameter takes, as it is described.
fn takes(parameter: &Parameter) -> &'static str {
    let Some(RefOr::T(Schema::Object(Object { schema_type, .. }))) = &parameter.schema else {
        return "a value of another form";
    };
    let is = |wanted: Type| match schema_type {
        SchemaType::Type(one) => *one == wanted,
        SchemaType::Array(several) => several.contains(&wanted),
        SchemaType::AnyValue => false,
    };
    match (is(Type::Integer), is(Type::Boolean)) {
        (true, _) => "a number",
        (_, true) => "true or false",
        _ => "a value of another form",
    }
}

/// What stands in the path of a request.
pub struct Named<T>(pub T);

impl<T: std::str::FromStr> FromRequestParts<Web> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> std::result::Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(parts, web).await;
        let Path(text) = path.map_err(|error| invalid("the path", &error.body_text()))?;
        // It may be a product key in the wrong place, so it is not repeated.
        text.parse().map(Self).map_err(|_| invalid("the path", "it does not name one"))
    }
}

/// The body of a request, as JSON, and as it came.
pub struct Sent<T>(pub T, pub Bytes);

impl<T: DeserializeOwned> FromRequest<Web> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, web: &Web) -> std::result::Result<Self, Refusal> {
        let body = whole(Bytes::from_request(request, web).await, super::LARGEST_BODY)?;
        // As a list of values, an object would be read as well.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("the request", "it is not a JSON object"));
        }
        match serde_json::from_slice(&body) {
            Ok(sent) => Ok(Self(sent, body)),
            Err(error) => Err(invalid("the request", &error.to_string())),
        }
    }
}

/// The body of a request, as text.
pub struct Text(pub String);

impl FromRequest<Web> for Text {
    type Rejection = Refusal;

    async fn from_request(request: Request, web: &Web) -> std::result::Result<Self, Refusal> {
        let body = whole(Bytes::from_request(request, web).await, super::LARGEST_FILE)?;
        let text = String::from_utf8(body.to_vec());
        text.map(Self).map_err(|_| invalid("the request", "it is not UTF-8"))
    }
}

pub(super) fn whole(
    body: std::result::Result<Bytes, BytesRejection>,
    largest: usize,
) -> std::result::Result<Bytes, Refusal> {
    body.map_err(|rejection| {
        let what = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                format!("the request has more than {largest} bytes")
            }
            _ => "the request broke off".to_owned(),
        };
        Refusal { status: rejection.status(), error: Error::new(Code::RequestInvalid, what, COMPARE) }
    })
}

fn invalid(what: &str, why: &str) -> Refusal {
    Refusal::from(Error::new(Code::RequestInvalid, format!("{what} cannot be read: {why}"), COMPARE))
}

const COMPARE: &str = "compare it with the description of the interface (GET /openapi.json)";
