//! The REST interface: JSON over HTTPS, errors as RFC 9457 problems that carry our code and next step.
//!
//! Nobody signs in here: what proves the right to an activation is in the request itself.

use crate::service::Service;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use quorate_core::host_activation::HostActivationRequest;
use quorate_core::key_activation::KeyActivationRequest;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use quorate_edge::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The routes over a service.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/activations", post(activate_key))
        .route("/v1/host-activations", post(activate_host))
        .route("/v1/catalog", get(catalog))
        .route("/v1/revocations", get(revocations))
        .fallback(async || Answer::<()>(Err(nothing_here())))
        .method_not_allowed_fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, wrong_method()))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(Shared { service: Arc::new(service), turns: Arc::new(Semaphore::new(AT_A_TIME)) })
}

async fn activate_host(service: State<Shared>, body: Body) -> Response {
    let activate = |service: &Service, request: &HostActivationRequest| service.activate_host(request);
    activated(service, body, "host", |request| request.installation_id.key(), activate).await
}

async fn activate_key(service: State<Shared>, body: Body) -> Response {
    let activate = |service: &Service, request: &KeyActivationRequest| service.activate_key(request);
    activated(service, body, "machine", |request| request.installation_id.key(), activate).await
}

/// Reads a request and answers it.
async fn activated<Q: DeserializeOwned + Send + 'static, A: Serialize + Send + 'static>(
    State(service): State<Shared>,
    body: Body,
    who: &'static str,
    key: impl FnOnce(&Q) -> KeyId,
    activate: impl FnOnce(&Service, &Q) -> Result<A> + Send + 'static,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), not_read(rejection.status())),
    };
    let request: Q = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let what = format!("the request cannot be read: {error}");
            return Answer::<()>(Err(Error::new(Code::RequestInvalid, what, COMPARE))).into_response();
        }
    };
    let key = key(&request);
    let answer = service.ask(move |service| activate(service, &request)).await;
    match &answer {
        Ok(_) => tracing::info!(%key, who, "activated"),
        Err(error) => tracing::info!(%key, who, code = error.code.as_str(), error.what, "not activated"),
    }
    Answer(answer).into_response()
}

async fn catalog(State(service): State<Shared>) -> Response {
    document(service.ask(|service| service.catalog_jws()).await)
}

async fn revocations(State(service): State<Shared>) -> Response {
    document(service.ask(|service| service.revocations_jws()).await)
}

/// A signed document as it is.
fn document(jws: Result<String>) -> Response {
    match jws {
        Ok(jws) => ([(header::CONTENT_TYPE, "application/jose")], jws).into_response(),
        Err(error) => Answer::<()>(Err(error)).into_response(),
    }
}

type Body = std::result::Result<Bytes, BytesRejection>;

/// The service, a few callers at a time: it waits for the database, so it is kept off the network's threads.
#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    turns: Arc<Semaphore>,
}

impl Shared {
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Service) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let service = Arc::clone(&self.service);
        let answer = tokio::task::spawn_blocking(move || question(&service));
        answer.await.unwrap_or_else(|error| {
            Err(Error::new(Code::Internal, format!("a request failed ({error})"), "please report this"))
        })
    }
}

/// JSON, or a problem.
struct Answer<T>(Result<T>);

impl<T: serde::Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(answer) => axum::Json(answer).into_response(),
            Err(error) => problem(status(error.code), error),
        }
    }
}

fn problem(status: StatusCode, error: Error) -> Response {
    let problem = Problem::new(status.as_u16(), error);
    let mut response = (status, axum::Json(problem)).into_response();
    let kind = header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::RequestInvalid | Code::InstallationIdInvalid | Code::IdentifierInvalid => {
            StatusCode::BAD_REQUEST
        }
        Code::ProofInvalid | Code::KeyBlocked => StatusCode::FORBIDDEN,
        Code::KeyUnknown | Code::CustomerUnknown | Code::CertificateUnknown | Code::NotSetUp => {
            StatusCode::NOT_FOUND
        }
        Code::ActivationsUsedUp | Code::MachinesUsedUp | Code::SlotsUsedUp | Code::ProductKeyUnsuited => {
            StatusCode::CONFLICT
        }
        Code::Unwritable | Code::DiskFull | Code::StoreDamaged | Code::DatabaseUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn nothing_here() -> Error {
    Error::new(Code::NotSetUp, "there is nothing at this path", PATHS)
}

fn wrong_method() -> Error {
    Error::new(Code::RequestInvalid, "this path does not take requests of this method", PATHS)
}

fn not_read(status: StatusCode) -> Error {
    let what = match status {
        StatusCode::PAYLOAD_TOO_LARGE => format!("the request has more than {LARGEST_BODY} bytes"),
        _ => "the request broke off".to_owned(),
    };
    Error::new(Code::RequestInvalid, what, COMPARE)
}

const PATHS: &str = "the requests are POST /v1/host-activations, POST /v1/activations, GET /v1/catalog and \
                     GET /v1/revocations";
const COMPARE: &str = "compare it with the documentation of the requests (docs/protocol.md)";

/// How many wait for the database at a time, each with a connection of its own.
const AT_A_TIME: usize = 8;
/// A host activation, the larger of the two, is below 2 KB.
const LARGEST_BODY: usize = 64 * 1024;
