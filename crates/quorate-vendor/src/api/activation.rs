//! What hosts and machines ask: activations, the catalog, the revocation list. Nobody signs in for it.

use super::extract::Sent;
use super::{Refusal, Web, schema, status};
use crate::service::Service;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use quorate_core::host_activation::HostActivationRequest;
use quorate_core::key_activation::KeyActivationRequest;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use serde::Serialize;

/// Activate a host
///
/// The same request again gets the same certificate and is not counted.
#[utoipa::path(
    post, path = "/v1/host-activations", tag = "activation",
    request_body = schema::HostActivationRequest,
    responses(
        (status = 200, body = schema::HostActivationResponse),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn activate_host(web: State<Web>, Sent(request, _): Sent<HostActivationRequest>) -> Response {
    let key = request.installation_id.key();
    activated(web, "host", key, move |service| service.activate_host(&request)).await
}

/// Activate a machine with a MAK or a retail key
///
/// The same machine again is free.
#[utoipa::path(
    post, path = "/v1/activations", tag = "activation",
    request_body = schema::KeyActivationRequest,
    responses(
        (status = 200, body = schema::KeyActivationResponse),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn activate_key(web: State<Web>, Sent(request, _): Sent<KeyActivationRequest>) -> Response {
    let key = request.installation_id.key();
    activated(web, "machine", key, move |service| service.activate_key(&request)).await
}

async fn activated<A: Serialize + Send + 'static>(
    State(web): State<Web>,
    who: &'static str,
    key: KeyId,
    activate: impl FnOnce(&Service) -> Result<A> + Send + 'static,
) -> Response {
    match web.ask(activate).await {
        Ok(answer) => {
            web.metrics.activation(who, None);
            tracing::info!(%key, who, "activated");
            Json(answer).into_response()
        }
        Err(error) => {
            web.metrics.activation(who, Some(error.code));
            tracing::info!(%key, who, code = error.code.as_str(), error.what, "not activated");
            Refusal::from(for_customers(error)).into_response()
        }
    }
}

/// The newest signed catalog
#[utoipa::path(
    get, path = "/v1/catalog", tag = "activation",
    responses(
        (status = 200, body = String, content_type = "application/jose"),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn catalog(State(web): State<Web>) -> Response {
    document(web.ask(|service| service.catalog_jws()).await.map_err(for_customers))
}

/// The newest signed revocation list
#[utoipa::path(
    get, path = "/v1/revocations", tag = "activation",
    responses(
        (status = 200, body = String, content_type = "application/jose"),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revocations(State(web): State<Web>) -> Response {
    document(web.ask(|service| service.revocations_jws()).await.map_err(for_customers))
}

/// A signed document as it is.
pub fn document(jws: Result<String>) -> Response {
    match jws {
        Ok(jws) => ([(header::CONTENT_TYPE, "application/jose")], jws).into_response(),
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// What a customer is told when the service itself is at fault. What is wrong with its database or its token is for the
/// vendor, and so is what to do about it; the vendor finds both in the log, under the code that is told.
fn for_customers(error: Error) -> Error {
    if status(error.code) != StatusCode::SERVICE_UNAVAILABLE {
        return error;
    }
    tracing::error!(code = error.code.as_str(), error.what, error.next, "the service cannot answer");
    Error::new(
        Code::ServiceUnable,
        format!("the vendor's activation service cannot answer for the moment ({} there)", error.code),
        "try again later: nothing is used up, and what was asked already is not counted twice; if it lasts, tell the vendor",
    )
}
