//! Who may come in: tokens of programs, users.

use super::address::Named;
use super::session::{Posted, Visitor};
use super::{Frame, Page, filters, page, page_with, status_of};
use crate::access::Scope;
use crate::accounts::Role;
use crate::api::Web;
use crate::service::Service;
use crate::store::accounts::AccountRecord;
use crate::view::TokenView;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use quorate_core::{Code, Error, Interval, Result};
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
    /// Why none was made, and what was typed.
    error: Option<Error>,
    typed: NewToken,
}

pub async fn tokens(State(web): State<Web>, visitor: Visitor) -> Page {
    page(&tokens_page(&web, &visitor).await?)
}

async fn tokens_page(web: &Web, visitor: &Visitor) -> Result<Tokens> {
    let tokens = visitor.ask(web, Scope::Admin, |service| service.tokens()).await?;
    let tokens = tokens.iter().map(TokenView::from).collect();
    let (frame, scopes) = (Frame::of(visitor, web, "/tokens"), Scope::ALL);
    Ok(Tokens { frame, tokens, scopes, made: None, error: None, typed: NewToken::default() })
}

/// The name, the days, and a field for each scope.
#[derive(Clone, Default, Deserialize)]
pub struct NewToken {
    name: String,
    #[serde(default)]
    days: String,
    #[serde(flatten)]
    others: HashMap<String, String>,
}

impl NewToken {
    fn permits(&self, scope: &Scope) -> bool {
        self.others.contains_key(scope.as_str())
    }

    fn lasts(&self) -> Result<Option<Interval>> {
        match self.days.trim() {
            "" => Ok(None),
            days => match days.parse::<u32>() {
                Ok(days @ 1..=3_650) => Ok(Some(Interval::days(days))),
                _ => {
                    let what = "the number of days is not one from 1 to 3650";
                    Err(Error::new(Code::RequestInvalid, what, "correct it, or leave it empty"))
                }
            },
        }
    }
}

pub async fn add_token(State(web): State<Web>, posted: Posted<NewToken>) -> Page {
    let Posted { visitor, form, .. } = posted;
    visitor.may(Scope::Admin)?;
    let typed = form.clone();
    let question = move |service: &Service| {
        let scopes: BTreeSet<Scope> = Scope::ALL.into_iter().filter(|scope| form.permits(scope)).collect();
        service.add_token(&form.name, &scopes, form.lasts()?)
    };
    match visitor.ask(&web, Scope::Admin, question).await {
        Ok((_, token)) => {
            let made = Some(token.reveal().to_owned());
            page(&Tokens { made, ..tokens_page(&web, &visitor).await? })
        }
        Err(error) => {
            let status = status_of(Some(&error));
            page_with(status, &Tokens { error: Some(error), typed, ..tokens_page(&web, &visitor).await? })
        }
    }
}

pub async fn revoke_token(
    State(web): State<Web>,
    Named(id): Named<i64>,
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
    /// Why none was added, and what was typed.
    error: Option<Error>,
    typed: NewUser,
}

pub async fn users(State(web): State<Web>, visitor: Visitor) -> Page {
    page(&users_page(&web, &visitor).await?)
}

async fn users_page(web: &Web, visitor: &Visitor) -> Result<Users> {
    let users = visitor.ask(web, Scope::Admin, |service| service.accounts()).await?;
    let (frame, roles) = (Frame::of(visitor, web, "/users"), Role::ALL);
    Ok(Users { frame, users, roles, made: None, error: None, typed: NewUser::default() })
}

#[derive(Clone, Default, Deserialize)]
pub struct NewUser {
    name: String,
    role: String,
    #[serde(default)]
    customer: String,
}

pub async fn add_user(State(web): State<Web>, posted: Posted<NewUser>) -> Page {
    let Posted { visitor, form, .. } = posted;
    visitor.may(Scope::Admin)?;
    let typed = form.clone();
    let question = move |service: &Service| {
        let customer = Some(form.customer.trim()).filter(|name| !name.is_empty());
        service.add_account(&form.name, form.role.parse()?, customer, None)
    };
    match visitor.ask(&web, Scope::Admin, question).await {
        Ok((account, password)) => {
            let made = password.map(|password| (account.name, password));
            page(&Users { made, ..users_page(&web, &visitor).await? })
        }
        Err(error) => {
            let status = status_of(Some(&error));
            page_with(status, &Users { error: Some(error), typed, ..users_page(&web, &visitor).await? })
        }
    }
}

#[derive(Deserialize)]
pub struct UserName {
    name: String,
}

pub async fn new_password(State(web): State<Web>, posted: Posted<UserName>) -> Page {
    let Posted { visitor, form: UserName { name }, .. } = posted;
    let of = name.clone();
    let password = visitor.ask(&web, Scope::Admin, move |service| service.set_password(&of, None)).await?;
    let made = password.map(|password| (name, password));
    page(&Users { made, ..users_page(&web, &visitor).await? })
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
