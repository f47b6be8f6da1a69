//! Products over the interface: as the product file has them, in TOML.

use super::extract::{Caller, Named, Text};
use super::{Answer, Web, schema};
use crate::access::Scope;
use crate::products::parse_products;
use crate::service::Service;
use crate::view::{CatalogView, DifferenceView};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Signed catalogs, the newest first.
#[derive(Serialize, ToSchema)]
pub struct Catalogs {
    catalogs: Vec<CatalogView>,
}

/// The number of the newest catalog.
#[derive(Serialize, ToSchema)]
pub struct Imported {
    number: u64,
}

/// What a product file would change.
#[derive(Serialize, ToSchema)]
pub struct Differences {
    differences: Vec<DifferenceView>,
}

/// List signed catalogs
#[utoipa::path(
    get, path = "/v1/catalogs", tag = "products", security(("token" = [])),
    responses(
        (status = 200, body = Catalogs),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(web: State<Web>, caller: Caller) -> Answer<Catalogs> {
    let catalogs = caller.ask(&web, Scope::Read, |service| service.catalogs()).await?;
    Ok(Json(Catalogs { catalogs: catalogs.into_iter().map(CatalogView::from).collect() }))
}

/// Sign a product file as the next catalog
///
/// The products of the newest catalog make no other.
#[utoipa::path(
    post, path = "/v1/catalogs", tag = "products", security(("token" = [])), request_body(content = String, content_type = "application/toml"),
    responses(
        (status = 200, body = Imported),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn import(web: State<Web>, caller: Caller, Text(file): Text) -> Answer<Imported> {
    let question = move |service: &Service| service.import(parse_products(&file, FILE)?);
    let current = caller.ask(&web, Scope::Products, question).await?;
    Ok(Json(Imported { number: current.catalog.number }))
}

/// What a product file would change
#[utoipa::path(
    post, path = "/v1/catalogs/differences", tag = "products", security(("token" = [])), request_body(content = String, content_type = "application/toml"),
    responses(
        (status = 200, body = Differences),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn differences(web: State<Web>, caller: Caller, Text(file): Text) -> Answer<Differences> {
    let question = move |service: &Service| service.differences(&parse_products(&file, FILE)?);
    let differences = caller.ask(&web, Scope::Read, question).await?;
    Ok(Json(Differences { differences: differences.into_iter().map(DifferenceView::from).collect() }))
}

/// The product file of a catalog
#[utoipa::path(
    get, path = "/v1/catalogs/{number}/products", tag = "products", security(("token" = [])), params(("number" = u64, Path, description = "The catalog's number")),
    responses(
        (status = 200, body = String, content_type = "application/toml"),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn file(web: State<Web>, caller: Caller, Named(number): Named<u64>) -> Response {
    let file = caller.ask(&web, Scope::Read, move |service| service.product_file(Some(number))).await;
    match file {
        Ok(file) => ([(header::CONTENT_TYPE, "application/toml")], file).into_response(),
        Err(error) => super::Refusal::from(error).into_response(),
    }
}

/// As errors name it.
const FILE: &str = "the product file";
