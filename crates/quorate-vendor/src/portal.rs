//! The portal: pages made on the server, for the vendor's people and for its customers'.
//!
//! No page needs a script; one script makes the phone desk quicker. Whoever signs in has a cookie that no script reads
//! and no other site can use: each form bears a token of its session. Pages, styles and the script are part of the
//! program.

mod address;
mod desk;
mod fault;
mod keys;
mod openid;
mod overview;
mod people;
mod products;
mod session;
mod webhooks;

use crate::access::Scope;
use crate::api::Web;
use crate::openid::CALLBACK;
use crate::view::UsageView;
use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use fault::Fault;
use quorate_core::{Code, Error};
use session::Visitor;

pub(crate) use address::{no_page, nothing_here};
pub(crate) use fault::astray;

/// The pages.
pub(crate) fn routes(web: Web) -> Router<Web> {
    Router::new()
        .route("/", get(overview::home))
        .route("/sign-in", get(session::form).post(session::sign_in))
        .route("/sign-in/openid", get(openid::begin))
        .route(CALLBACK, get(openid::complete))
        .route("/sign-out", post(session::sign_out))
        .route("/password", get(session::password_form).post(session::password))
        .route("/customers", get(keys::customers).post(keys::add_customer))
        .route("/customers/{id}", get(keys::customer).post(keys::change_customer))
        .route("/keys", get(keys::list).post(keys::issue))
        .route("/keys/{id}", get(keys::one))
        .route("/keys/{id}/pack", post(keys::pack))
        .route("/keys/{id}/limit", post(keys::limit))
        .route("/keys/{id}/assign", post(keys::assign))
        .route("/keys/{id}/release", post(keys::release))
        .route("/keys/{id}/block", post(keys::block))
        .route("/keys/{id}/unblock", post(keys::unblock))
        .route("/activations", get(overview::activations))
        .route("/revocation", get(overview::revocation).post(overview::revoke))
        .route("/audit", get(overview::audit))
        .route("/products", get(products::current))
        .route("/products/file", get(products::file))
        .route("/products/diff", post(products::differences))
        .route("/products/import", post(products::import))
        .route("/desk", get(desk::form).post(desk::look))
        .route("/desk/confirm", post(desk::confirm))
        .route("/tokens", get(people::tokens).post(people::add_token))
        .route("/tokens/{id}/revoke", post(people::revoke_token))
        .route("/webhooks", get(webhooks::list).post(webhooks::add))
        .route("/webhooks/{id}", get(webhooks::messages))
        .route("/webhooks/{id}/remove", post(webhooks::remove))
        .route("/users", get(people::users).post(people::add_user))
        .route("/users/password", post(people::new_password))
        .route("/users/close", post(people::close))
        .route("/users/open", post(people::open))
        .route("/my", get(desk::my))
        .route("/my/{id}/pack", post(desk::my_pack))
        .layer(middleware::from_fn_with_state(web, fault::framed))
        .layer(middleware::from_fn(guarded))
        .route("/assets/portal.css", get(async || asset("text/css", include_str!("../assets/portal.css"))))
        .route("/assets/desk.js", get(async || asset("text/javascript", include_str!("../assets/desk.js"))))
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
}

/// What browsers are told about every page: nothing of elsewhere in it, it in nothing of elsewhere, kept nowhere.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    guard(&mut response);
    response
}

fn guard(response: &mut Response) {
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=3600")];
    (headers, content).into_response()
}

/// What is around every page.
struct Frame {
    vendor: String,
    /// The name of whoever has signed in.
    who: Option<String>,
    role: &'static str,
    /// Whether he has a password here.
    password: bool,
    scopes: Vec<Scope>,
    csrf: String,
    /// The page, as the navigation names it.
    at: &'static str,
}

/// A page of the navigation.
struct Item {
    path: &'static str,
    name: &'static str,
}

impl Frame {
    /// Around the page for somebody who has signed in.
    fn of(visitor: &Visitor, web: &Web, at: &'static str) -> Self {
        Self {
            vendor: web.vendor_name().to_owned(),
            who: Some(visitor.signed_in.account.name.clone()),
            role: visitor.signed_in.role.as_str(),
            password: visitor.signed_in.account.identity.is_none(),
            scopes: visitor.signed_in.access.scopes.iter().copied().collect(),
            csrf: visitor.token.form_token(),
            at,
        }
    }

    /// Around the page for anybody.
    fn nobody(web: &Web) -> Self {
        Self {
            vendor: web.vendor_name().to_owned(),
            who: None,
            role: "",
            password: false,
            scopes: Vec::new(),
            csrf: String::new(),
            at: "",
        }
    }

    fn items(&self) -> Vec<Item> {
        if self.is_customer() {
            return vec![Item { path: "/my", name: "Keys" }, Item { path: "/desk", name: "Telephone" }];
        }
        let all = [
            ("/", "Overview", Scope::Read),
            ("/customers", "Customers", Scope::Read),
            ("/keys", "Keys", Scope::Read),
            ("/activations", "Activations", Scope::Read),
            ("/desk", "Phone desk", Scope::Desk),
            ("/products", "Products", Scope::Read),
            ("/revocation", "Revocation", Scope::Read),
            ("/audit", "Audit", Scope::Admin),
            ("/tokens", "Tokens", Scope::Admin),
            ("/webhooks", "Webhooks", Scope::Admin),
            ("/users", "Users", Scope::Admin),
        ];
        let items = all.into_iter().filter(|(_, _, scope)| self.scopes.contains(scope));
        items.map(|(path, name, _)| Item { path, name }).collect()
    }

    fn is_customer(&self) -> bool {
        self.who.is_some() && self.scopes.is_empty()
    }

    fn may_read(&self) -> bool {
        self.scopes.contains(&Scope::Read)
    }

    fn may_keys(&self) -> bool {
        self.scopes.contains(&Scope::Keys)
    }

    fn may_desk(&self) -> bool {
        self.scopes.contains(&Scope::Desk)
    }

    fn may_products(&self) -> bool {
        self.scopes.contains(&Scope::Products)
    }
}

/// A page, or what went wrong.
type Page = Result<Response, Fault>;

/// Renders a page.
fn page(template: &impl Template) -> Page {
    page_with(StatusCode::OK, template)
}

/// The status of a page that may say what went wrong, with what was typed still in its form.
fn status_of(error: Option<&Error>) -> StatusCode {
    error.map_or(StatusCode::OK, |error| crate::api::status(error.code))
}

fn page_with(status: StatusCode, template: &impl Template) -> Page {
    let page = template.render().map_err(|error| {
        Error::new(Code::Internal, format!("a page cannot be made ({error})"), "please report this")
    })?;
    Ok((status, Html(page)).into_response())
}

/// A license pack, as a file.
fn pack_file(key: &str, pack: String) -> Response {
    let disposition = format!("attachment; filename=\"{key}.pack\"");
    (
        [(header::CONTENT_TYPE, "application/jose".to_owned()), (header::CONTENT_DISPOSITION, disposition)],
        pack,
    )
        .into_response()
}

/// Formats of values in templates.
mod filters {
    use quorate_core::Timestamp;

    #[askama::filter_fn]
    pub fn minute(at: &Timestamp, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(at.strftime("%Y-%m-%d %H:%M").to_string())
    }

    #[askama::filter_fn]
    pub fn day(at: &Timestamp, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(at.strftime("%Y-%m-%d").to_string())
    }
}

/// A product file in a form; each of its bytes may take three.
const LARGEST_FORM: usize = 1536 * 1024;
