//! What happened: activations, what was revoked, the audit log.

use super::extract::{Asked, Caller, Sent};
use super::schema::{self, Before, before, limit};
use super::{Answer, Web};
use crate::access::Scope;
use crate::service::Service;
use crate::store::activations::ActivationFilter;
use crate::view::{ActivationView, AuditView, RevokedHostView};
use axum::Json;
use axum::extract::State;
use quorate_core::{Code, Error, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::{IntoParams, ToSchema};

/// Which activations are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Only those of this key.
    #[param(pattern = "^0([0-3][0-9]{3}|40[0-8][0-9]|409[0-5])-[0-9]{3}-[0-9]{6}$")]
    key: Option<String>,
    /// Only those of the keys of the customer with this number.
    customer: Option<i64>,
    /// Only those since this time, RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// How many, up to 1000; 50 unless told.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only those before this number: `next` of the page before.
    before: Option<u64>,
}

/// Activations, the newest first.
#[derive(Serialize, ToSchema)]
pub struct Activations {
    activations: Vec<ActivationView>,
    /// `before` of the next page; null when this is the last.
    next: Option<u64>,
}

/// Revoked certificates.
#[derive(Serialize, ToSchema)]
pub struct Revoked {
    /// Their serial numbers, in hexadecimal.
    certificates: BTreeSet<String>,
}

/// A certificate that is to be revoked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Its serial number, in hexadecimal; colons do not matter.
    #[schema(pattern = r"^[^\x00]*$")]
    certificate: String,
}

/// Entries of the audit log, the newest first.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    entries: Vec<AuditView>,
    /// `before` of the next page; null when this is the last.
    next: Option<u64>,
}

/// List activations
#[utoipa::path(
    get, path = "/v1/activations", tag = "overview", security(("token" = [])), params(Wanted),
    responses(
        (status = 200, body = Activations),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn activations(
    web: State<Web>,
    caller: Caller,
    Asked(wanted): Asked<Wanted>,
) -> Answer<Activations> {
    let limit = limit(wanted.limit)?;
    let time = |text: String| {
        text.parse::<Timestamp>().map_err(|_| {
            Error::new(Code::RequestInvalid, "since is not a time", "write it as in 2026-01-31T00:00:00Z")
        })
    };
    let filter = ActivationFilter {
        key: wanted.key.map(|key| key.parse()).transpose()?,
        customer: wanted.customer,
        since: wanted.since.map(time).transpose()?,
        before: before(wanted.before)?,
    };
    let question = move |service: &Service| service.activations(&filter, limit);
    let activations = caller.ask(&web, Scope::Read, question).await?;
    let next = activations.last().filter(|_| activations.len() == limit as usize);
    let next = next.map(|activation| activation.id);
    Ok(Json(Activations { next, activations: activations.into_iter().map(ActivationView::from).collect() }))
}

/// List revoked certificates
#[utoipa::path(
    get, path = "/v1/revoked-certificates", tag = "overview", security(("token" = [])),
    responses(
        (status = 200, body = Revoked),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revoked(web: State<Web>, caller: Caller) -> Answer<Revoked> {
    let certificates = caller.ask(&web, Scope::Read, |service| service.revoked_certificates()).await?;
    Ok(Json(Revoked { certificates }))
}

/// Revoke the certificate of one host
///
/// Those that the host had of the key before are revoked with it; a newer one is not.
#[utoipa::path(
    post, path = "/v1/revoked-certificates", tag = "overview", security(("token" = [])), request_body = Certificate,
    responses(
        (status = 200, body = RevokedHostView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    web: State<Web>,
    caller: Caller,
    Sent(sent, _): Sent<Certificate>,
) -> Answer<RevokedHostView> {
    let question = move |service: &Service| service.revoke_certificate(&sent.certificate);
    Ok(Json(RevokedHostView::from(&caller.ask(&web, Scope::Keys, question).await?)))
}

/// The audit log
#[utoipa::path(
    get, path = "/v1/audit", tag = "overview", security(("token" = [])), params(Before),
    responses(
        (status = 200, body = AuditPage),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn audit(web: State<Web>, caller: Caller, Asked(page): Asked<Before>) -> Answer<AuditPage> {
    let (limit, before) = (limit(page.limit)?, before(page.before)?);
    let entries = caller.ask(&web, Scope::Admin, move |service| service.audit(before, limit)).await?;
    let next = entries.last().filter(|_| entries.len() == limit as usize).map(|entry| entry.number);
    Ok(Json(AuditPage { next, entries: entries.into_iter().map(AuditView::from).collect() }))
}
