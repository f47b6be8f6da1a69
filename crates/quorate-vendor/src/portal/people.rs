//! Who may come in: tokens of programs, users.

use super::session::{Posted, Visitor};
use super::{Frame, Page, filters, page};
use crate::access::Scope;
use crate::accounts::Role;
use crate::api::Web;
use crate::service::Service;
use crate::store::accounts::AccountRecord;
use crate::view::TokenView;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use quorate_core::{Code, Error, Interval};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use zeroize::Zeroizing;

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens {
    frame: Frame,
    tokens: Vec<TokenView>,
    scopes: [Scope; 5],
    /// The new one, shown this once.
    made: Option<String>,
}

pub async fn tokens(State(web): State<Web>, visitor: Visitor) -> Page {
    tokens_page(&web, &visitor, None).await
}

async fn tokens_page(web: &Web, visitor: &Visitor, made: Option<String>) -> Page {
    let tokens = visitor.ask(web, Scope::Admin, |service| service.tokens()).await?;
    let tokens = tokens.iter().map(TokenView::from).collect();
    page(&Tokens { frame: Frame::of(visitor, web, "/tokens"), tokens, scopes: Scope::ALL, made })
}

/// The name, the days, and a field for each scope.
#[derive(Deserialize)]
pub struct NewToken {
    name: String,
    #[serde(default)]
    days: String,
    #[serde(flatten)]
    others: HashMap<String, String>,
}

pub async fn add_token(State(web): State<Web>, posted: Posted<NewToken>) -> Page {
    let Posted { visitor, form, .. } = posted;
    let lasts = match form.days.trim() {
        "" => None,
        days => match days.parse::<u32>() {
            Ok(days @ 1..=3_650) => Some(Interval::days(days)),
            _ => {
                let what = "the number of days is not one from 1 to 3650";
                return Err(Error::new(Code::RequestInvalid, what, "correct it, or leave it empty").into());
            }
        },
    };
    let scopes: BTreeSet<Scope> =
        Scope::ALL.into_iter().filter(|scope| form.others.contains_key(scope.as_str())).collect();
    let question = move |service: &Service| service.add_token(&form.name, &scopes, lasts);
    let (_, token) = visitor.ask(&web, Scope::Admin, question).await?;
    tokens_page(&web, &visitor, Some(token.reveal().to_owned())).await
}

pub async fn revoke_token(
    State(web): State<Web>,
    Path(id): Path<i64>,
    posted: Posted<super::session::Nothing>,
) -> Page {
    posted.visitor.ask(&web, Scope::Admin, move |service| service.revoke_token(id)).await?;
    Ok(Redirect::to("/tokens").into_response())
}

#[derive(Template)]
#[template(path = "users.html")]
struct Users {
    frame: Frame,
    users: Vec<AccountRecord>,
    roles: [Role; 4],
    /// A name and its password, shown this once.
    made: Option<(String, Zeroizing<String>)>,
}

pub async fn users(State(web): State<Web>, visitor: Visitor) -> Page {
    users_page(&web, &visitor, None).await
}

async fn users_page(web: &Web, visitor: &Visitor, made: Option<(String, Zeroizing<String>)>) -> Page {
    let users = visitor.ask(web, Scope::Admin, |service| service.accounts()).await?;
    page(&Users { frame: Frame::of(visitor, web, "/users"), users, roles: Role::ALL, made })
}

#[derive(Deserialize)]
pub struct NewUser {
    name: String,
    role: String,
    #[serde(default)]
    customer: String,
}

pub async fn add_user(State(web): State<Web>, posted: Posted<NewUser>) -> Page {
    let Posted { visitor, form, .. } = posted;
    let role: Role = form.role.parse()?;
    let question = move |service: &Service| {
        let customer = Some(form.customer.trim()).filter(|name| !name.is_empty());
        service.add_account(&form.name, role, customer, None)
    };
    let (account, password) = visitor.ask(&web, Scope::Admin, question).await?;
    users_page(&web, &visitor, password.map(|password| (account.name, password))).await
}

#[derive(Deserialize)]
pub struct UserName {
    name: String,
}

pub async fn new_password(State(web): State<Web>, posted: Posted<UserName>) -> Page {
    let Posted { visitor, form: UserName { name }, .. } = posted;
    let of = name.clone();
    let password = visitor.ask(&web, Scope::Admin, move |service| service.set_password(&of, None)).await?;
    users_page(&web, &visitor, password.map(|password| (name, password))).await
}

pub async fn close(web: State<Web>, posted: Posted<UserName>) -> Page {
    set_closed(web, posted, true).await
}

pub async fn open(web: State<Web>, posted: Posted<UserName>) -> Page {
    set_closed(web, posted, false).await
}

async fn set_closed(State(web): State<Web>, posted: Posted<UserName>, close: bool) -> Page {
    let Posted { visitor, form, .. } = posted;
    if close && form.name == visitor.signed_in.account.name {
        let what = "this is the account that you use";
        return Err(Error::new(Code::RequestInvalid, what, "let another admin close it").into());
    }
    visitor.ask(&web, Scope::Admin, move |service| service.set_closed(&form.name, close)).await?;
    Ok(Redirect::to("/users").into_response())
}
