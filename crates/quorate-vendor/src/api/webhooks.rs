//! Webhooks over the interface.

use super::extract::{Asked, Caller, Named, Sent};
use super::schema::{self, Before, before, limit};
use super::{Answer, Web};
use crate::access::Scope;
use crate::service::Service;
use crate::view::{DeliveryView, WebhookView};
use crate::webhooks::Event;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Every webhook, in the order in which they were made.
#[derive(Serialize, ToSchema)]
pub struct Webhooks {
    webhooks: Vec<WebhookView>,
}

/// A webhook that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where the messages go: `https`, or `http` to this very machine, without anybody's name in it.
    // Each URL that can be taken is of this form; of its host and port, a pattern could not say everything.
    #[schema(max_length = 2000, pattern = r"^[Hh][Tt][Tt][Pp][Ss]?://[!-?A-\[\]-~]+$")]
    url: String,
    /// Of what it is told.
    #[schema(min_items = 1)]
    events: Vec<Event>,
}

/// A webhook with the secret of its signatures, which is shown this once.
#[derive(Serialize, ToSchema)]
pub struct MadeWebhook {
    /// What is kept of it.
    about: WebhookView,
    /// As in the Standard Webhooks specification: `whsec_` and base64.
    secret: String,
}

/// Messages to a webhook, the newest first.
#[derive(Serialize, ToSchema)]
pub struct Deliveries {
    deliveries: Vec<DeliveryView>,
    /// `before` of the next page; null when this is the last.
    next: Option<u64>,
}

/// List webhooks
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", security(("token" = [])),
    responses(
        (status = 200, body = Webhooks),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(web: State<Web>, caller: Caller) -> Answer<Webhooks> {
    let webhooks = caller.ask(&web, Scope::Admin, |service| service.webhooks()).await?;
    Ok(Json(Webhooks { webhooks: webhooks.iter().map(WebhookView::from).collect() }))
}

/// Make a webhook
///
/// Its secret is in this answer and shown nowhere else.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", security(("token" = [])), request_body = NewWebhook,
    responses(
        (status = 200, body = MadeWebhook),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn add(web: State<Web>, caller: Caller, Sent(new, _): Sent<NewWebhook>) -> Answer<MadeWebhook> {
    let question = move |service: &Service| service.add_webhook(&new.url, &BTreeSet::from_iter(new.events));
    let (record, secret) = caller.ask(&web, Scope::Admin, question).await?;
    Ok(Json(MadeWebhook { about: WebhookView::from(&record), secret: secret.to_string() }))
}

/// Tell a webhook nothing more
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "webhooks", security(("token" = [])),
    params(("id" = i64, Path, description = "The webhook's number")),
    responses(
        (status = 200, body = WebhookView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(web: State<Web>, caller: Caller, Named(id): Named<i64>) -> Answer<WebhookView> {
    let record = caller.ask(&web, Scope::Admin, move |service| service.remove_webhook(id)).await?;
    Ok(Json(WebhookView::from(&record)))
}

/// What has become of its messages
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", security(("token" = [])),
    params(("id" = i64, Path, description = "The webhook's number"), Before),
    responses(
        (status = 200, body = Deliveries),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn deliveries(
    web: State<Web>,
    caller: Caller,
    Named(id): Named<i64>,
    Asked(page): Asked<Before>,
) -> Answer<Deliveries> {
    let (limit, before) = (limit(page.limit)?, before(page.before)?);
    let question = move |service: &Service| service.deliveries_before(id, before, limit);
    let deliveries = caller.ask(&web, Scope::Admin, question).await?;
    let next = deliveries.last().filter(|_| deliveries.len() == limit as usize).map(|last| last.id);
    Ok(Json(Deliveries { next, deliveries: deliveries.iter().map(DeliveryView::from).collect() }))
}
