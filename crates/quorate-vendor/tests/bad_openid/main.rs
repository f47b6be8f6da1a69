//! Signing in by an OpenID Connect provider that is down, slow, wrong or hostile: each is told, and nobody gets in.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod attempt;
#[path = "../common/mod.rs"]
mod common;
mod endpoints;
mod fake;
mod id_token;

use crate::common::openid::{Stand, Wanderer, field, shown};
use crate::common::place::Place;
use crate::common::web::Web;
use fake::Fake;
use quorate_vendor::accounts::SessionToken;
use reqwest::{StatusCode, Url};

async fn portal(place: &Place, fake: &Fake) -> Web {
    Stand::new(place).await.serve(&fake.issuer, "q", "").await
}

/// From the beginning to a session, or to an error: its code and what happened.
async fn sign_in(web: &Web) -> Result<SessionToken, (String, String)> {
    sign_in_with(web, |_| {}).await
}

/// The same, with another answer than the right one.
async fn sign_in_with(web: &Web, change: impl FnOnce(&mut Url)) -> Result<SessionToken, (String, String)> {
    let mut wanderer = Wanderer::new(web);
    let mut back = match begin(&mut wanderer, web).await {
        Ok(there) => back(web, &there),
        Err((code, what, _)) => return Err((code, what)),
    };
    change(&mut back);
    finish(&mut wanderer, web, &back).await
}

async fn begin(wanderer: &mut Wanderer, web: &Web) -> Result<Url, (String, String, String)> {
    let answer = wanderer.ask(&web.url("/sign-in/openid?to=/keys").parse().unwrap(), None).await;
    match answer.headers().get("location") {
        Some(there) => Ok(there.to_str().unwrap().parse().unwrap()),
        None => Err(shown(&answer.text().await.unwrap()).unwrap()),
    }
}

/// The provider's code is the nonce.
fn back(web: &Web, there: &Url) -> Url {
    let mut back: Url = web.url("/sign-in/openid/callback").parse().unwrap();
    let (code, state) = (field(there, "nonce").unwrap(), field(there, "state").unwrap());
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", &state);
    back
}

async fn finish(wanderer: &mut Wanderer, web: &Web, back: &Url) -> Result<SessionToken, (String, String)> {
    let answer = wanderer.ask(back, None).await;
    if answer.status() == StatusCode::SEE_OTHER {
        let session = wanderer.cookie(&web.address.to_string(), "__Host-quorate").unwrap();
        return Ok(SessionToken::new(session));
    }
    let cookies = answer.headers().get_all("set-cookie").iter().count();
    let page = answer.text().await.unwrap();
    assert!(page.contains("name=\"password\""), "a password is taken still: {page}");
    let (code, what, next) = shown(&page).unwrap();
    assert!(!next.is_empty());
    // An attempt is taken away when it was answered, and nothing is given.
    assert!(cookies <= 1 && (cookies == 1 || code == "Q710"), "{code}: {cookies}");
    Err((code, what))
}
