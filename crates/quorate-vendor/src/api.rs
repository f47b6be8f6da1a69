//! The REST interface: JSON over HTTPS, errors as RFC 9457 problems that carry our code and next step.
//!
//! Two kinds of callers: hosts and machines, who sign in nowhere, since what proves the right to an activation is in
//! the request itself ([`activation`]); and the vendor's own programs, by a token. Every operation describes itself,
//! and `/openapi.json` is made of these descriptions. A telephony platform is of a third kind ([`voice`]).

mod activation;
mod catalogs;
mod customers;
mod extract;
mod keys;
mod overview;
mod read_on;
mod schema;
mod tokens;
mod voice;
mod webhooks;

use crate::metrics::Metrics;
use crate::openid::Provider;
use crate::portal;
use crate::service::Service;
use crate::voice::signature::Secret;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use quorate_core::{Code, Error, Result};
use quorate_edge::problem::Problem;
use quorate_edge::rate::{Limiter, Rate};
use std::sync::Arc;
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes over a service, with its telephone line when there is a secret for it, and with a provider by which people
/// sign in when there is one.
pub fn router(
    service: Service,
    telephone: Option<Secret>,
    openid: Option<Provider>,
    metrics: Metrics,
) -> Router {
    let web = Web::new(service, openid, metrics.clone());
    let (router, description) = described().split_for_parts();
    let description = Arc::new(description.to_pretty_json().unwrap_or_default());
    let openapi = get(async move || {
        ([(header::CONTENT_TYPE, "application/json")], description.as_str().to_owned()).into_response()
    });
    router
        .route("/openapi.json", openapi)
        .merge(telephone.map(voice::line).unwrap_or_default())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .merge(portal::routes(web.clone()))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(metrics, counted))
        .layer(middleware::map_request(read_on::read_on))
        .with_state(web)
}

/// Counts a request by its route, or as one to nowhere.
async fn counted(
    State(metrics): State<Metrics>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    metrics.request(route.as_ref().map_or("", MatchedPath::as_str), response.status().as_u16());
    response
}

/// The operations with their descriptions.
fn described() -> OpenApiRouter<Web> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(activation::activate_host))
        .routes(routes!(activation::activate_key))
        .routes(routes!(activation::catalog))
        .routes(routes!(activation::revocations))
        .routes(routes!(customers::list, customers::add))
        .routes(routes!(customers::one, customers::change))
        .routes(routes!(keys::list, keys::issue))
        .routes(routes!(keys::one, keys::change))
        .routes(routes!(keys::usage))
        .routes(routes!(keys::pack))
        .routes(routes!(keys::release))
        .routes(routes!(keys::inquire))
        .routes(routes!(keys::confirm))
        .routes(routes!(overview::activations))
        .routes(routes!(overview::revoked, overview::revoke))
        .routes(routes!(overview::audit))
        .routes(routes!(catalogs::file))
        .routes(routes!(tokens::list, tokens::add))
        .routes(routes!(tokens::revoke))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(catalogs::list, catalogs::import))
                .routes(routes!(catalogs::differences))
                .layer(DefaultBodyLimit::max(LARGEST_FILE)),
        )
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quorate activation service",
        description = "Products, product keys, customers, activations by internet and by telephone.\n\n\
            Times are RFC 3339 in UTC. Errors are `application/problem+json` (RFC 9457) with a stable `code` and what to \
            do `next`. Lists that grow come in pages: `next` of one is `after` (or `before`) of the following. Operations \
            that take an `Idempotency-Key` may be sent again within a day and are done once.",
        license(name = "Apache-2.0 OR MIT"),
    ),
    modifiers(&BearerTokens),
    tags(
        (name = "activation", description = "What hosts and machines ask. No token: the request proves its right."),
        (name = "customers", description = "To whom keys are issued."),
        (name = "keys", description = "Product keys: issued, found, limited, blocked."),
        (name = "desk", description = "The phone desk: Installation ID in, Confirmation ID out."),
        (name = "products", description = "Products and policies, signed as catalogs."),
        (name = "overview", description = "What happened."),
        (name = "tokens", description = "Tokens of programs."),
        (name = "webhooks", description = "Programs that are told of what happens."),
    )
)]
struct Description;

struct BearerTokens;

impl utoipa::Modify for BearerTokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The service, a few callers at a time: it waits for the database, so it is kept off the network's threads.
#[derive(Clone)]
pub(crate) struct Web {
    service: Service,
    turns: Arc<Semaphore>,
    sign_ins: Arc<Limiter>,
    openid: Option<Arc<Provider>>,
    metrics: Metrics,
}

impl Web {
    fn new(service: Service, openid: Option<Provider>, metrics: Metrics) -> Self {
        let sign_ins = Arc::new(Limiter::new(Some(SIGN_INS)));
        let (turns, openid) = (Arc::new(Semaphore::new(AT_A_TIME)), openid.map(Arc::new));
        Self { service, turns, sign_ins, openid, metrics }
    }

    /// The provider by which people sign in, where there is one.
    pub(crate) fn openid(&self) -> Option<&Provider> {
        self.openid.as_deref()
    }

    /// The vendor's name as people know it.
    pub(crate) fn vendor_name(&self) -> &str {
        self.service.vendor_name()
    }

    /// How often each address may try to sign in.
    pub(crate) fn sign_ins(&self) -> &Limiter {
        &self.sign_ins
    }

    /// Counts a Confirmation ID that was asked for.
    pub(crate) fn count_confirmation<T>(&self, by: &'static str, confirmed: &Result<T>) {
        self.metrics.confirmation(by, confirmed.as_ref().err().map(|error| error.code));
    }

    /// Asks the service for something.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Service) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // The semaphore is never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let service = self.service.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // The place is taken until the work is done, whether or not somebody still waits for it.
            let _turn = turn;
            question(&service)
        });
        answer.await.unwrap_or_else(|error| {
            Err(Error::new(Code::Internal, format!("a request failed ({error})"), "please report this"))
        })
    }
}

/// JSON, or a problem.
pub(crate) type Answer<T> = std::result::Result<Json<T>, Refusal>;

/// An error, as a problem with the status that says it.
pub(crate) struct Refusal {
    status: StatusCode,
    error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { status: status(error.code), error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        refusal(self.status, self.error)
    }
}

fn refusal(status: StatusCode, error: Error) -> Response {
    let mut response = (status, Json(Problem::new(status.as_u16(), error))).into_response();
    let kind = header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    }
    response
}

/// Which status of HTTP says it.
pub(crate) fn status(code: Code) -> StatusCode {
    match code {
        Code::RequestInvalid
        | Code::InstallationIdInvalid
        | Code::IdentifierInvalid
        | Code::AddressInvalid
        | Code::DocumentInvalid
        | Code::CatalogInvalid
        | Code::SignInOver => StatusCode::BAD_REQUEST,
        Code::NotSignedIn | Code::SignInFailed => StatusCode::UNAUTHORIZED,
        Code::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        Code::ProofInvalid
        | Code::KeyBlocked
        | Code::NotPermitted
        | Code::NoRole
        | Code::ProviderNotBelieved => StatusCode::FORBIDDEN,
        Code::KeyUnknown
        | Code::KeyGroupUnknown
        | Code::CustomerUnknown
        | Code::CertificateUnknown
        | Code::NotFound
        | Code::NotSetUp => StatusCode::NOT_FOUND,
        Code::HostsUsedUp
        | Code::ReactivationsUsedUp
        | Code::MachinesUsedUp
        | Code::SerialsUsedUp
        | Code::SlotsUsedUp
        | Code::ProductKeyUnsuited
        | Code::AlreadyThere => StatusCode::CONFLICT,
        Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Unwritable
        | Code::DiskFull
        | Code::StoreDamaged
        | Code::DatabaseUnavailable
        | Code::TokenUnavailable
        | Code::PinRefused
        | Code::ServiceUnable
        | Code::ProviderUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A browser is told so by a page, a program by a problem.
async fn nothing_here(State(web): State<Web>, headers: HeaderMap) -> Response {
    let page = portal::astray(&web, &headers, StatusCode::NOT_FOUND, &portal::nothing_here()).await;
    let problem =
        || refusal(StatusCode::NOT_FOUND, Error::new(Code::NotFound, "there is nothing at this path", PATHS));
    page.unwrap_or_else(problem)
}

/// The same: the address is one that a form goes to, say.
async fn wrong_method(State(web): State<Web>, headers: HeaderMap) -> Response {
    let page = portal::astray(&web, &headers, StatusCode::METHOD_NOT_ALLOWED, &portal::no_page()).await;
    let what = "this path does not take requests of this method";
    let problem = || refusal(StatusCode::METHOD_NOT_ALLOWED, Error::new(Code::RequestInvalid, what, PATHS));
    page.unwrap_or_else(problem)
}

/// An office behind one address signs in in the morning; whoever guesses is soon slow.
const SIGN_INS: Rate = Rate { per_second: 1, burst: 30 };
const PATHS: &str = "GET /openapi.json describes every path";
/// How many wait for the database at a time, each with a connection of its own.
const AT_A_TIME: usize = 8;
/// A host activation, the largest request, is below 2 KB.
const LARGEST_BODY: usize = 64 * 1024;
/// A product file of hundreds of SKUs is below 256 KB.
const LARGEST_FILE: usize = 512 * 1024;
