//! Signing in by an OpenID Connect provider: a real one, `oidc-provider` of npm, and a real browser.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod accounts;
mod browser;
#[path = "../common/mod.rs"]
mod common;
mod program;
mod provider;
mod setups;

use crate::common::openid::{Stand, Wanderer, shown};
use crate::common::people::people;
use crate::common::place::Place;
use crate::common::web::Web;
use crate::provider::RealProvider;
use quorate_vendor::accounts::{Role, SessionToken};
use quorate_vendor::service::Service;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};

/// What the provider says of some people.
fn staff() -> Value {
    json!({
        "1": { "preferred_username": "anna", "email": "anna@contoso.example", "groups": ["bosses", "all"] },
        "2": { "email": "sam@contoso.example", "email_verified": true, "groups": ["desk", "all"] },
        "3": { "preferred_username": "rolf", "groups": "all" },
        "4": { "preferred_username": "nick", "groups": ["Bosses", "gardeners"] },
        "5": { "preferred_username": "nora" },
    })
}

/// A vendor with its people, a provider, and the portal that leads there.
async fn portal(place: &Place) -> (Web, RealProvider) {
    place.ask(people);
    let stand = Stand::new(place).await;
    let provider = RealProvider::start(&stand.redirect(), staff());
    let web = stand.serve(&provider.issuer, "RS256", "name = 'Sign in with Example'\n").await;
    (web, provider)
}

/// Somebody who uses a browser by hand, as far as a session or an error.
async fn by_hand(wanderer: &mut Wanderer, web: &Web, login: &str) -> Result<SessionToken, String> {
    let back = to_the_way_back(wanderer, web, login).await;
    finish(wanderer, web, &back).await
}

/// The same, as far as where the provider sends the browser.
async fn to_the_way_back(wanderer: &mut Wanderer, web: &Web, login: &str) -> Url {
    let there = wanderer.begin(web, "/keys").await;
    let (at, page) = wanderer.follow(there.as_str(), &web.url("/")).await;
    // With a session of its own, the provider does not ask.
    let Some(page) = page else { return at };
    assert!(at.path().starts_with("/who/"), "{at}: {}", page.text().await.unwrap());
    let answer = wanderer.ask(&at, Some(&[("login", login)])).await;
    let next = at.join(answer.headers()["location"].to_str().unwrap()).unwrap();
    wanderer.follow(next.as_str(), &web.url("/")).await.0
}

async fn finish(wanderer: &mut Wanderer, web: &Web, back: &Url) -> Result<SessionToken, String> {
    let answer = wanderer.ask(back, None).await;
    let site = web.address.to_string();
    if answer.status() == StatusCode::SEE_OTHER {
        assert_eq!(answer.headers()["location"], "/keys");
        assert_eq!(wanderer.cookie(&site, "__Host-quorate-openid"), None, "it is used up");
        return Ok(SessionToken::new(wanderer.cookie(&site, "__Host-quorate").unwrap()));
    }
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer", "the code stays here");
    let (code, what, _) = shown(&answer.text().await.unwrap()).unwrap();
    Err(format!("{code} {what}"))
}

/// Anew at vendor and provider.
async fn anew(web: &Web, login: &str) -> Result<SessionToken, String> {
    by_hand(&mut Wanderer::new(web), web, login).await
}

fn role(place: &Place, token: &SessionToken) -> Option<Role> {
    place.ask(|service| role_of(service, token))
}

fn role_of(service: &Service, token: &SessionToken) -> Option<Role> {
    service.signed_in(token).ok().map(|signed_in| signed_in.role)
}
