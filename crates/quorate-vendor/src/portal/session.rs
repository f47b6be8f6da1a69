//! Signing in and out, and what every page asks of its visitor.

use super::address::Asked;
use super::fault::Fault;
use super::{Frame, Page, page, page_with, status_of};
use crate::access::Scope;
use crate::accounts::{SessionToken, SignedIn};
use crate::api::Web;
use crate::device::DeviceToken;
use crate::service::Service;
use askama::Template;
use axum::Form;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use quorate_core::{Code, Error, Result, words};
use quorate_edge::server::Peer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// Somebody who has signed in.
pub struct Visitor {
    pub signed_in: SignedIn,
    pub token: SessionToken,
}

impl Visitor {
    /// Whose session it is.
    pub async fn of(web: &Web, token: SessionToken) -> Result<Self> {
        let asked = token.clone();
        let signed_in = web.ask(move |service| service.signed_in(&asked)).await?;
        Ok(Self { signed_in, token })
    }

    /// Refuses what the visitor may not.
    pub fn may(&self, scope: Scope) -> Result<()> {
        if self.signed_in.account.customer.is_some() {
            let what = "this page is for the vendor's own people; you are one of a customer's";
            return Err(Error::new(Code::NotPermitted, what, "use your own pages, by the links above"));
        }
        self.signed_in.access.may(scope)
    }

    /// Asks the service in the visitor's name, when he may.
    pub async fn ask<T: Send + 'static>(
        &self,
        web: &Web,
        scope: Scope,
        question: impl FnOnce(&Service) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.may(scope)?;
        let actor = self.signed_in.access.actor.clone();
        web.ask(move |service| question(&service.by(actor))).await
    }

    /// Asks about what is the visitor's own: he is one of this customer's people.
    pub async fn ask_own<T: Send + 'static>(
        &self,
        web: &Web,
        question: impl FnOnce(&Service, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let customer = self.signed_in.account.customer.ok_or_else(|| {
            Error::new(Code::NotPermitted, "this page is for customers", "use the pages of the vendor")
        })?;
        let actor = self.signed_in.access.actor.clone();
        web.ask(move |service| question(&service.by(actor), customer)).await
    }
}

impl FromRequestParts<Web> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> std::result::Result<Self, Response> {
        let found = match session(&parts.headers) {
            Some(token) => Self::of(web, token).await,
            None => Err(Error::new(Code::NotSignedIn, "nobody is signed in", "sign in")),
        };
        match found {
            Ok(visitor) => Ok(visitor),
            Err(error) if error.code == Code::NotSignedIn => {
                let to = if parts.method == "GET" { parts.uri.path() } else { "/" };
                Err(Redirect::to(&format!("/sign-in?to={to}")).into_response())
            }
            Err(error) => Err(Fault::from(error).into_response()),
        }
    }
}

/// What a form of the visitor's own session sends.
pub struct Posted<T> {
    pub visitor: Visitor,
    pub form: T,
    /// As it came.
    pub body: Bytes,
}

impl<T: DeserializeOwned> FromRequest<Web> for Posted<T> {
    type Rejection = Response;

    async fn from_request(request: Request, web: &Web) -> std::result::Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, web).await?;
        let refuse = |what: &str, next: &str| {
            Fault::from(Error::new(Code::RequestInvalid, what, next)).into_response()
        };
        let request = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(request, web)
            .await
            .map_err(|_| refuse("the form is too large, or broke off", "send less, or send it again"))?;
        let again = |bytes: &Bytes| Request::from_parts(parts.clone(), bytes.clone().into());
        let token = Form::<Token>::from_request(again(&body), web).await;
        if token.map(|Form(token)| token.csrf).ok().as_deref() != Some(&visitor.token.form_token()) {
            return Err(refuse("the form is not of this session", "open the page again, and send its form"));
        }
        match Form::<T>::from_request(again(&body), web).await {
            Ok(Form(form)) => Ok(Self { visitor, form, body }),
            Err(error) => {
                let what = format!("the form cannot be read: {}", error.body_text());
                Err(refuse(&what, "fill in each of its fields"))
            }
        }
    }
}

#[derive(Deserialize)]
struct Token {
    csrf: String,
}

/// A form that sends nothing but its token.
#[derive(Deserialize)]
pub struct Nothing {}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    error: Option<Error>,
    name: String,
    to: String,
    /// What the button says that leads to the provider.
    openid: Option<String>,
}

impl SignInPage {
    fn new(web: &Web, to: String) -> Self {
        let openid = web.openid().map(|provider| provider.called().to_owned());
        Self { frame: Frame::nobody(web), error: None, name: String::new(), to, openid }
    }
}

/// The page to sign in, with what went wrong.
pub fn again(web: &Web, error: Error, name: String, to: String) -> Page {
    let status = status_of(Some(&error));
    page_with(status, &SignInPage { error: Some(error), name, ..SignInPage::new(web, to) })
}

#[derive(Deserialize)]
pub struct To {
    #[serde(default)]
    pub to: String,
}

pub async fn form(State(web): State<Web>, Asked(To { to }): Asked<To>) -> Page {
    page(&SignInPage::new(&web, to))
}

#[derive(Deserialize)]
pub struct Credentials {
    name: String,
    password: String,
    #[serde(default)]
    to: String,
}

pub async fn sign_in(
    State(web): State<Web>,
    peer: Option<axum::Extension<Peer>>,
    headers: HeaderMap,
    Form(Credentials { name, password, to }): Form<Credentials>,
) -> Page {
    // Another site's form would sign the visitor in as somebody else.
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        let what = "the form comes from another site";
        return Err(Error::new(Code::RequestInvalid, what, "open the page itself, and sign in there").into());
    }
    let signed_in = match may_try(&web, peer) {
        Ok(()) => {
            let (name, password) = (name.clone(), zeroize::Zeroizing::new(password));
            let device = device(&headers);
            web.ask(move |service| service.sign_in_from(device.as_ref(), &name, &password)).await
        }
        Err(error) => Err(error),
    };
    match signed_in {
        Ok(given) => Ok((set_cookies(&given), Redirect::to(ours(&to))).into_response()),
        Err(error) => again(&web, error, name, to),
    }
}

/// Counts an attempt to sign in from an address, and refuses it when there were too many.
pub fn may_try(web: &Web, peer: Option<axum::Extension<Peer>>) -> Result<()> {
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
    web.sign_ins().take(address, Instant::now()).map_err(|wait| {
        Error::new(
            Code::TooManyAttempts,
            "this address has tried to sign in too often",
            format!("try again after {}", words::counted(wait.as_secs().max(1), "second")),
        )
    })
}

/// Where to go after signing in. Only a path of ours: a browser takes "//elsewhere" for another site.
pub fn ours(to: &str) -> &str {
    let ours = to.starts_with('/') && !to.starts_with("//");
    let ours = ours && !to.contains(|c: char| c == '\\' || c.is_control());
    if ours { to } else { "/" }
}

pub async fn sign_out(State(web): State<Web>, posted: Posted<Nothing>) -> Page {
    let token = posted.visitor.token;
    web.ask(move |service| service.sign_out(&token)).await?;
    let ended = format!("{COOKIE}=; {SESSIONS}; Max-Age=0");
    Ok(([(header::SET_COOKIE, ended)], Redirect::to("/sign-in")).into_response())
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    frame: Frame,
    error: Option<Error>,
}

pub async fn password_form(State(web): State<Web>, visitor: Visitor) -> Page {
    if visitor.signed_in.account.identity.is_some() {
        let error = Error::new(
            Code::RequestInvalid,
            "you sign in by OpenID Connect and have no password here",
            "change your password at the provider",
        );
        return Err(error.into());
    }
    page(&PasswordPage { frame: Frame::of(&visitor, &web, "/password"), error: None })
}

#[derive(Deserialize)]
pub struct Passwords {
    old: String,
    new: String,
}

pub async fn password(State(web): State<Web>, headers: HeaderMap, posted: Posted<Passwords>) -> Page {
    let device = device(&headers);
    let Posted { visitor, form, .. } = posted;
    let (name, actor) = (visitor.signed_in.account.name.clone(), visitor.signed_in.access.actor.clone());
    let changed = web
        .ask(move |service| service.by(actor).change_password(device.as_ref(), &name, &form.old, &form.new))
        .await;
    match changed {
        Ok(given) => Ok((set_cookies(&given), Redirect::to("/")).into_response()),
        Err(error) => {
            let frame = Frame::of(&visitor, &web, "/password");
            page_with(StatusCode::BAD_REQUEST, &PasswordPage { frame, error: Some(error) })
        }
    }
}

/// The session of a request.
pub fn session(headers: &HeaderMap) -> Option<SessionToken> {
    cookie(headers, COOKIE).map(SessionToken::new)
}

/// What the browser has kept of having signed in before.
fn device(headers: &HeaderMap) -> Option<DeviceToken> {
    cookie(headers, DEVICE).map(DeviceToken::new)
}

/// The value of this cookie among those of a request.
pub fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// Gives the browser a session.
pub fn set_session(session: &SessionToken) -> (header::HeaderName, String) {
    (header::SET_COOKIE, format!("{COOKIE}={}; {SESSIONS}", session.reveal()))
}

fn set_cookies(
    (session, device): &(SessionToken, DeviceToken),
) -> AppendHeaders<[(header::HeaderName, String); 2]> {
    AppendHeaders([
        set_session(session),
        (header::SET_COOKIE, format!("{DEVICE}={}; {DEVICES}", device.reveal())),
    ])
}

/// The prefix makes browsers refuse it from any other host, path or without TLS.
const COOKIE: &str = "__Host-quorate";
const SESSIONS: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";
const DEVICE: &str = "__Host-quorate-device";
/// A year from the last time that somebody signed in.
const DEVICES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=31536000";
