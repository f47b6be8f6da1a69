//! To the OpenID Connect provider, and back.

use super::Page;
use super::address::Asked;
use super::session::{To, again, cookie, may_try, ours, set_session};
use crate::api::Web;
use crate::openid::attempt::Attempt;
use crate::openid::{self, Answer, LASTS, Provider};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use quorate_core::{Code, Error, Result};
use quorate_edge::server::Peer;

/// Sends the browser to the provider. It is a link, which anybody may follow: another site that leads there begins what
/// only the visitor himself can finish.
pub async fn begin(State(web): State<Web>, Asked(To { to }): Asked<To>) -> Page {
    let begun = match provider(&web) {
        Ok(provider) => provider.begin(&to).await,
        Err(error) => Err(error),
    };
    match begun {
        Ok((attempt, there)) => {
            let kept = format!("{COOKIE}={}; {ATTEMPTS}; Max-Age={}", *attempt.reveal(), LASTS.as_seconds());
            Ok(([(header::SET_COOKIE, kept)], Redirect::to(&there)).into_response())
        }
        Err(error) => again(&web, error, String::new(), to),
    }
}

/// Takes whoever the provider sends back.
pub async fn complete(
    State(web): State<Web>,
    peer: Option<axum::Extension<Peer>>,
    headers: HeaderMap,
    answer: std::result::Result<Query<Answer>, QueryRejection>,
) -> Response {
    let attempt = cookie(&headers, COOKIE).and_then(Attempt::read);
    let to = attempt.as_ref().map(|attempt| attempt.to().to_owned()).unwrap_or_default();
    // With a field that comes twice, for instance, it is no answer to anything.
    let answer = answer.map(|Query(answer)| answer).unwrap_or_default();
    // What is no answer to it leaves it: another window may be the one that is answered.
    let used = attempt.as_ref().is_some_and(|attempt| answer.is_to(attempt));
    let completed = async {
        let provider = provider(&web)?;
        let attempt = attempt.ok_or_else(openid::over)?;
        may_try(&web, peer)?;
        let person = provider.complete(&attempt, &answer).await?;
        web.ask(move |service| service.sign_in_by_openid(&person, &attempt.mark())).await
    };
    let page = match completed.await {
        Ok(session) => (AppendHeaders([set_session(&session)]), Redirect::to(ours(&to))).into_response(),
        Err(error) => {
            if error.code == Code::NoRole {
                tracing::warn!(%error, "somebody whom the OpenID Connect provider knows was refused");
            }
            again(&web, error, String::new(), to).into_response()
        }
    };
    // An attempt is for one answer, whatever that says.
    match used {
        true => (AppendHeaders([(header::SET_COOKIE, format!("{COOKIE}=; {ATTEMPTS}; Max-Age=0"))]), page)
            .into_response(),
        false => page,
    }
}

fn provider(web: &Web) -> Result<&Provider> {
    web.openid().ok_or_else(|| {
        Error::new(
            Code::NotFound,
            "nobody signs in by OpenID Connect here",
            "sign in by name and password; an admin sets it up with [openid] in the configuration",
        )
    })
}

/// The prefix makes browsers refuse it from any other host, path or without TLS. It has to come along when the
/// provider's site sends the browser back, so it is Lax.
const COOKIE: &str = "__Host-quorate-openid";
const ATTEMPTS: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";
