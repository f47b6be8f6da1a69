//! The automated telephone line as the telephony platform reaches it: `POST /voice`, for each step of a call.
//!
//! It is there when the service has been given the platform's secret. It is not in `/openapi.json`: who calls it is told
//! by each answer what to ask next. Whoever does not sign his request learns nothing but that.

use super::extract::whole;
use super::{LARGEST_BODY, Refusal, Web};
use crate::service::{Actor, Service};
use crate::voice::signature::Secret;
use crate::voice::{Call, twiml};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use axum::routing::post;
use quorate_core::confirmation_id::ConfirmationId;
use quorate_core::installation_id::InstallationId;
use quorate_core::{Code, Error, Result};
use std::sync::Arc;

/// The line, for the platform that has this secret.
pub(crate) fn line(secret: Secret) -> Router<Web> {
    let secret = Arc::new(secret);
    let answer = async move |State(web): State<Web>, uri: Uri, headers: HeaderMap, body: Body| {
        step(&web, &secret, &uri, &headers, body).await
    };
    Router::new().route(PATH, post(answer))
}

type Body = std::result::Result<Bytes, BytesRejection>;

/// Answers one request of a call.
async fn step(
    web: &Web,
    secret: &Secret,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> std::result::Result<impl IntoResponse + use<>, Refusal> {
    let body = whole(body, LARGEST_BODY)?;
    let fields: Vec<_> = form_urlencoded::parse(&body).collect();
    let base = web.service.url().trim_end_matches('/');
    let asked = format!("{base}{}", uri.path_and_query().map_or(PATH, |asked| asked.as_str()));
    let signature = headers.get(SIGNATURE).map(|value| value.as_bytes()).unwrap_or_default();
    if !secret.has_signed(signature, &asked, &fields) {
        return Err(Refusal::from(unsigned()));
    }
    let call = Call::of_query(uri.query().unwrap_or_default())?;
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
    let digits = field("Digits").unwrap_or_default();
    // The key that ends a group is not among its digits; alone, it is no silence.
    let finished = field("FinishedOnKey").filter(|key| ["*", "#"].contains(key));
    let keys = if digits.is_empty() { finished.unwrap_or_default() } else { digits }.to_owned();
    let counted = web.clone();
    let answer = web.ask(move |service| {
        let service = service.by(Actor::named("telephone line"));
        let confirm = |id: &InstallationId| {
            let confirmed = confirm(&service, id);
            counted.count_confirmation("line", &confirmed);
            confirmed
        };
        Ok(call.answer(service.vendor_name(), &keys, confirm))
    });
    let text = twiml::write(&answer.await?, &format!("{base}{PATH}"))?;
    // It may be a Confirmation ID.
    Ok(([(header::CONTENT_TYPE, "text/xml; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], text))
}

/// Asks the phone desk. Anybody can call, so a blocked key is not told from others before it is shown to be there.
fn confirm(service: &Service, installation_id: &InstallationId) -> Result<ConfirmationId> {
    let confirmed = service.inquire(installation_id).and_then(|_| service.confirm(installation_id));
    let key = installation_id.key();
    match &confirmed {
        Ok(_) => tracing::info!(%key, "confirmed by telephone"),
        Err(error) => tracing::info!(%key, code = error.code.as_str(), "not confirmed by telephone"),
    }
    confirmed.map(|confirmed| confirmed.confirmation_id)
}

fn unsigned() -> Error {
    Error::new(
        Code::NotPermitted,
        "the request is not signed with the secret of the telephone line",
        "compare the platform's secret with the file of --voice-secret-file, and the URL that it asks with the service's",
    )
}

const PATH: &str = "/voice";
const SIGNATURE: &str = "x-twilio-signature";
