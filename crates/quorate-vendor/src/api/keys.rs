//! Product keys and the phone desk over the interface.

use super::activation::document;
use super::extract::{Asked, Caller, Named, Sent};
use super::schema::{self, limit};
use super::{Answer, Refusal, Web};
use crate::access::Scope;
use crate::keys::{Issue, IssuedKey, NewLimits};
use crate::phone::for_vendor;
use crate::service::Service;
use crate::store::keys::KeyFilter;
use crate::view::{ConfirmedView, InquiryView, KeyView, UsageView};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use quorate_core::Result;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::KeyId;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which keys are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "kebab-case")]
pub struct Wanted {
    /// Only those of this key group.
    #[param(maximum = 4095)]
    group: Option<u16>,
    /// Only those of the customer with this number.
    customer: Option<i64>,
    /// Only those with these last five characters.
    #[param(pattern = r"^[^\x00]*$")]
    last_five: Option<String>,
    /// Only those that are blocked, or those that are not.
    blocked: Option<bool>,
    /// How many, up to 1000; 50 unless told.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only those behind this id: `next` of the page before.
    #[param(pattern = "^0([0-3][0-9]{3}|40[0-8][0-9]|409[0-5])-[0-9]{3}-[0-9]{6}$")]
    after: Option<String>,
}

/// Keys, in the order of their ids.
#[derive(Serialize, ToSchema)]
pub struct KeyPage {
    keys: Vec<KeyView>,
    /// `after` of the next page; null when this is the last.
    next: Option<String>,
}

/// Which keys are to be issued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeys {
    /// Of which key group.
    #[schema(maximum = 4095)]
    group: u16,
    /// How many, up to 1000; 1 unless told.
    #[serde(default = "one_key")]
    #[schema(minimum = 1, maximum = 1000, default = 1)]
    count: u32,
    /// The name of the customer whose they are.
    #[serde(default)]
    #[schema(pattern = r"^[^\x00]*$")]
    customer: Option<String>,
}

fn one_key() -> u32 {
    1
}

/// Keys as they are shown, this once.
#[derive(Serialize, ToSchema)]
pub struct Issued {
    #[schema(value_type = Vec<IssuedKeyView>)]
    keys: Vec<IssuedKey>,
}

/// A product key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
pub struct IssuedKeyView {
    /// Its id.
    id: String,
    /// The key itself.
    product_key: String,
}

/// What changes; what is not there stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyChanges {
    /// The name of the customer whose it is; null makes it nobody's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = r"^[^\x00]*$")]
    customer: Option<Option<String>>,
    /// Whether it is blocked.
    blocked: Option<bool>,
    /// A host key: on how many hosts; null for as many as its group says.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    hosts: Option<Option<u32>>,
    /// A host key: how often again on each; null for as often as its group says.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    reactivations: Option<Option<u32>>,
    /// A MAK or retail key: on how many machines; null for as many as its group says.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    machines: Option<Option<u32>>,
}

/// Tells null from what is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For how many activations a pack is to be good.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// At least so many by telephone, up to 1000; 12 unless told.
    #[serde(default = "twelve")]
    #[schema(minimum = 1, maximum = 1000, default = 12)]
    slots: u32,
}

fn twelve() -> u32 {
    12
}

/// A machine that is to count no more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The beginning of its hardware id, as activations list it.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    machine: String,
}

/// What the caller at the desk reads.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Inquiry {
    /// Nine groups of six digits; dashes and spaces do not matter.
    installation_id: String,
}

/// List product keys
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", security(("token" = [])), params(Wanted),
    responses(
        (status = 200, body = KeyPage),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(web: State<Web>, caller: Caller, Asked(wanted): Asked<Wanted>) -> Answer<KeyPage> {
    let limit = limit(wanted.limit)?;
    if let Some(group) = wanted.group {
        // No key has a group beyond.
        KeyId::new(group, 0)?;
    }
    let filter = KeyFilter {
        group: wanted.group,
        customer: wanted.customer,
        partial: wanted.last_five,
        blocked: wanted.blocked,
        after: wanted.after.map(|after| after.parse()).transpose()?,
    };
    let keys = caller.ask(&web, Scope::Read, move |service| service.keys(&filter, limit)).await?;
    let next = keys.last().filter(|_| keys.len() == limit as usize).map(|key| key.id.to_string());
    Ok(Json(KeyPage { next, keys: keys.iter().map(KeyView::from).collect() }))
}

/// Issue product keys
///
/// They are in this answer and kept nowhere; send an idempotency key, so that a lost answer can be asked for again.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", security(("token" = [])), request_body = NewKeys,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "The request may be sent again under the same key")),
    responses(
        (status = 200, body = Issued),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn issue(
    web: State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Sent(new, body): Sent<NewKeys>,
) -> Answer<Issued> {
    let once = caller.once(&headers, "POST /v1/keys", &body)?;
    let issue = Issue { group: new.group, count: new.count, customer: new.customer };
    let question = move |service: &Service| service.issue_once(once.as_ref(), &issue);
    Ok(Json(Issued { keys: caller.ask(&web, Scope::Keys, question).await? }))
}

/// One product key
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "keys", security(("token" = [])), params(("id" = String, Path, pattern = "^0([0-3][0-9]{3}|40[0-8][0-9]|409[0-5])-[0-9]{3}-[0-9]{6}$", description = "The key's id, as in 00096-000-000004")),
    responses(
        (status = 200, body = KeyView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(web: State<Web>, caller: Caller, Named(id): Named<KeyId>) -> Answer<KeyView> {
    let key = caller.ask(&web, Scope::Read, move |service| service.key(id)).await?;
    Ok(Json(KeyView::from(&key)))
}

/// Change a product key
///
/// Its customer, its limits, whether it is blocked: all of it or nothing.
#[utoipa::path(
    patch, path = "/v1/keys/{id}", tag = "keys", security(("token" = [])), request_body = KeyChanges,
    params(("id" = String, Path, pattern = "^0([0-3][0-9]{3}|40[0-8][0-9]|409[0-5])-[0-9]{3}-[0-9]{6}$", description = "The key's id, as in 00096-000-000004")),
    responses(
        (status = 200, body = KeyView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    web: State<Web>,
    caller: Caller,
    Named(id): Named<KeyId>,
    Sent(changes, _): Sent<KeyChanges>,
) -> Answer<KeyView> {
    let KeyChanges { customer, blocked, hosts, reactivations, machines } = changes;
    let change =
        crate::keys::KeyChange { customer, blocked, limits: NewLimits { hosts, reactivations, machines } };
    let key = caller.ask(&web, Scope::Keys, move |service| service.change_key(id, &change)).await?;
    Ok(Json(KeyView::from(&key)))
}

/// How far a product key is used up
///
/// Of a public client setup key, with which nothing is activated, it says so.
#[utoipa::path(
    get, path = "/v1/keys/{id}/usage", tag = "keys", security(("token" = [])), params(("id" = String, Path, pattern = "^0([0-3][0-9]{3}|40[0-8][0-9]|409[0-5])-[0-9]{3}-[0-9]{6}$", description = "The key's id, as in 00096-000-000004")),
    responses(
        (status = 200, body = UsageView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn usage(web: State<Web>, caller: Caller, Named(id): Named<KeyId>) -> Answer<UsageView> {
    let usage = caller.ask(&web, Scope::Read, move |service| service.usage(id)).await?;
    Ok(Json(UsageView::from(&usage)))
}

/// Make a license pack, or make it again
///
/// It holds the slots of earlier packs as well, so it opens by any Confirmation ID.
#[utoipa::path(
    post, path = "/v1/keys/{id}/pack", tag = "desk", security(("token" = [])), request_body = Slots,
    params(("id" = String, Path, pattern = "^0([0-3][0-9]{3}|40[0-8][0-9]|409[0-5])-[0-9]{3}-[0-9]{6}$", description = "The key's id, as in 00096-000-000004")),
    responses(
        (status = 200, body = String, content_type = "application/jose"),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn pack(
    web: State<Web>,
    caller: Caller,
    Named(id): Named<KeyId>,
    Sent(Slots { slots }, _): Sent<Slots>,
) -> Response {
    if !(1..=1_000).contains(&slots) {
        return Refusal::from(quorate_core::Error::new(
            quorate_core::Code::RequestInvalid,
            format!("slots is {slots}"),
            "ask for 1 to 1000",
        ))
        .into_response();
    }
    let pack = caller.ask(&web, Scope::Desk, move |service| service.pack(id, slots)).await;
    document(pack.map_err(for_vendor))
}

/// Stop counting a machine
///
/// As when it was scrapped: another may take its place.
#[utoipa::path(
    post, path = "/v1/keys/{id}/released-machines", tag = "keys", security(("token" = [])), request_body = Machine,
    params(("id" = String, Path, pattern = "^0([0-3][0-9]{3}|40[0-8][0-9]|409[0-5])-[0-9]{3}-[0-9]{6}$", description = "The key's id, as in 00096-000-000004")),
    responses(
        (status = 200, body = UsageView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn release(
    web: State<Web>,
    caller: Caller,
    Named(id): Named<KeyId>,
    Sent(machine, _): Sent<Machine>,
) -> Answer<UsageView> {
    let machine: ShortHardwareId = machine.machine.parse()?;
    let question = move |service: &Service| {
        service.release_machine(id, machine)?;
        service.usage(id)
    };
    Ok(Json(UsageView::from(&caller.ask(&web, Scope::Keys, question).await?)))
}

/// Look an Installation ID up
///
/// Whose key it is, how far it is used up, and what a Confirmation ID would cost; nothing is given away.
#[utoipa::path(
    post, path = "/v1/inquiries", tag = "desk", security(("token" = [])), request_body = Inquiry,
    responses(
        (status = 200, body = InquiryView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn inquire(
    web: State<Web>,
    caller: Caller,
    Sent(inquiry, _): Sent<Inquiry>,
) -> Answer<InquiryView> {
    let installation_id: InstallationId = inquiry.installation_id.parse()?;
    let inquiry = caller.ask(&web, Scope::Desk, move |service| service.inquire(&installation_id)).await?;
    Ok(Json(InquiryView::from(inquiry)))
}

/// Confirm an Installation ID
///
/// The same Installation ID gets the same Confirmation ID.
#[utoipa::path(
    post, path = "/v1/confirmations", tag = "desk", security(("token" = [])), request_body = Inquiry,
    responses(
        (status = 200, body = ConfirmedView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn confirm(
    web: State<Web>,
    caller: Caller,
    Sent(inquiry, _): Sent<Inquiry>,
) -> Answer<ConfirmedView> {
    let installation_id: InstallationId = inquiry.installation_id.parse()?;
    let confirmed: Result<_> =
        caller.ask(&web, Scope::Desk, move |service| service.confirm(&installation_id)).await;
    web.count_confirmation("desk", &confirmed);
    Ok(Json(ConfirmedView::from(&confirmed.map_err(for_vendor)?)))
}
