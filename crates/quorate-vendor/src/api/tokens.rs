//! Tokens over the interface.

use super::extract::{Caller, Named, Sent};
use super::{Answer, Web, schema};
use crate::access::Scope;
use crate::service::Service;
use crate::view::TokenView;
use axum::Json;
use axum::extract::State;
use quorate_core::{Code, Error, Interval};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Every token, in the order in which they were made.
#[derive(Serialize, ToSchema)]
pub struct Tokens {
    tokens: Vec<TokenView>,
}

/// A token that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What will use it.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[^\x00-\x1F\x7F-\x9F\s][^\x00-\x1F\x7F-\x9F]*$"
    )]
    name: String,
    /// What it permits.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// For how many days it lasts; for ever, unless told.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
}

/// A token as it is shown, this once.
#[derive(Serialize, ToSchema)]
pub struct MadeToken {
    /// What is kept of it.
    about: TokenView,
    /// The token itself.
    token: String,
}

/// List tokens
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", security(("token" = [])),
    responses(
        (status = 200, body = Tokens),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(web: State<Web>, caller: Caller) -> Answer<Tokens> {
    let tokens = caller.ask(&web, Scope::Admin, |service| service.tokens()).await?;
    Ok(Json(Tokens { tokens: tokens.iter().map(TokenView::from).collect() }))
}

/// Make a token
///
/// It is in this answer and kept nowhere.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", security(("token" = [])), request_body = NewToken,
    responses(
        (status = 200, body = MadeToken),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn add(web: State<Web>, caller: Caller, Sent(new, _): Sent<NewToken>) -> Answer<MadeToken> {
    let lasts = match new.days {
        None => None,
        Some(days @ 1..=3_650) => Some(Interval::days(days)),
        Some(days) => {
            let what = format!("the token is to last for {days} days");
            return Err(Error::new(Code::RequestInvalid, what, "let it last for 1 to 3650 days").into());
        }
    };
    let question =
        move |service: &Service| service.add_token(&new.name, &BTreeSet::from_iter(new.scopes), lasts);
    let (record, token) = caller.ask(&web, Scope::Admin, question).await?;
    Ok(Json(MadeToken { about: TokenView::from(&record), token: token.reveal().to_owned() }))
}

/// Take a token back
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", security(("token" = [])), params(("id" = i64, Path, description = "The token's number")),
    responses(
        (status = 200, body = TokenView),
        (status = "4XX", body = schema::Problem, content_type = "application/problem+json"),
        (status = "5XX", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(web: State<Web>, caller: Caller, Named(id): Named<i64>) -> Answer<TokenView> {
    let record = caller.ask(&web, Scope::Admin, move |service| service.revoke_token(id)).await?;
    Ok(Json(TokenView::from(&record)))
}
