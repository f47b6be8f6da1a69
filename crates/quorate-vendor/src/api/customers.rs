//! Customers over the interface.

use super::extract::{Asked, Caller, Named, Sent};
use super::schema::{self, limit};
use super::{Answer, Web};
use crate::access::Scope;
use crate::view::CustomerView;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which customers are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Only those whose name contains this.
    #[param(pattern = r"^[^\x00]*$")]
    name: Option<String>,
    /// How many, up to 1000; 50 unless told.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only those behind this name: `next` of the page before.
    #[param(pattern = r"^[^\x00]*$")]
    after: Option<String>,
}

/// Customers, in the order of their names.
#[derive(Serialize, ToSchema)]
pub struct CustomerPage {
    customers: Vec<CustomerView>,
    /// `after` of the next page; null when this is the last.
    next: Option<String>,
}

/// A new customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomer {
    /// Its name, of which there is one, however it is capitalised.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[^\x00-\x1F\x7F-\x9F\s][^\x00-\x1F\x7F-\x9F]*$"
    )]
    name: String,
    /// What you want to remember.
    #[serde(default)]
    #[schema(max_length = 2000, pattern = r"^[^\x00-\x1F\x7F-\x9F]*$")]
    note: String,
}

/// What changes; what is not there stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerChanges {
    /// The new name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[^\x00-\x1F\x7F-\x9F\s][^\x00-\x1F\x7F-\x9F]*$"
    )]
    name: Option<String>,
    /// The new note.
    #[schema(max_length = 2000, pattern = r"^[^\x00-\x1F\x7F-\x9F]*$")]
    note: Option<String>,
}

/// List customers
#[utoipa::path(
    get, path = "/v1/customers", tag = "customers", security(("token" = [])), params(Wanted),
    responses(
        (status = 200, body = CustomerPage),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(web: State<Web>, caller: Caller, Asked(wanted): Asked<Wanted>) -> Answer<CustomerPage> {
    let limit = limit(wanted.limit)?;
    let (name, after) = (wanted.name.unwrap_or_default(), wanted.after.unwrap_or_default());
    let question = move |service: &crate::service::Service| service.customers(&name, &after, limit);
    let customers = caller.ask(&web, Scope::Read, question).await?;
    let next = customers.last().filter(|_| customers.len() == limit as usize);
    let next = next.map(|customer| customer.name.clone());
    Ok(Json(CustomerPage { next, customers: customers.into_iter().map(CustomerView::from).collect() }))
}

/// Add a customer
#[utoipa::path(
    post, path = "/v1/customers", tag = "customers", security(("token" = [])), request_body = NewCustomer,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "The request may be sent again under the same key")),
    responses(
        (status = 200, body = CustomerView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn add(
    web: State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Sent(new, body): Sent<NewCustomer>,
) -> Answer<CustomerView> {
    let once = caller.once(&headers, "POST /v1/customers", &body)?;
    let question = move |service: &crate::service::Service| {
        service.add_customer_once(once.as_ref(), &new.name, &new.note)
    };
    Ok(Json(caller.ask(&web, Scope::Keys, question).await?.into()))
}

/// One customer
#[utoipa::path(
    get, path = "/v1/customers/{id}", tag = "customers", security(("token" = [])), params(("id" = i64, Path, description = "The customer's number")),
    responses(
        (status = 200, body = CustomerView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(web: State<Web>, caller: Caller, Named(id): Named<i64>) -> Answer<CustomerView> {
    Ok(Json(caller.ask(&web, Scope::Read, move |service| service.customer(id)).await?.into()))
}

/// Change a customer
#[utoipa::path(
    patch, path = "/v1/customers/{id}", tag = "customers", security(("token" = [])), request_body = CustomerChanges,
    params(("id" = i64, Path, description = "The customer's number")),
    responses(
        (status = 200, body = CustomerView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    web: State<Web>,
    caller: Caller,
    Named(id): Named<i64>,
    Sent(changes, _): Sent<CustomerChanges>,
) -> Answer<CustomerView> {
    let question = move |service: &crate::service::Service| {
        service.change_customer(id, changes.name.as_deref(), changes.note.as_deref())
    };
    Ok(Json(caller.ask(&web, Scope::Keys, question).await?.into()))
}
