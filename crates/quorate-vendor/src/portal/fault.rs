//! What went wrong, as a page around which everything else is as on any other: who made a mistake goes on from there.

use super::session::{Visitor, session};
use super::{Frame, guard};
use crate::api::Web;
use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use quorate_core::Error;

/// What went wrong. The page of it is made by [`framed`], for all routes in one place.
#[derive(Clone)]
pub struct Fault(Error);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = crate::api::status(self.0.code).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Makes the page of what went wrong, with the navigation of whoever has signed in.
pub async fn framed(State(web): State<Web>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Fault>() {
        Some(Fault(error)) => fault_page(&web, &headers, response.status(), &error).await,
        None => response,
    }
}

/// The page for an address that leads nowhere, when it is a browser that asks.
pub(crate) async fn astray(
    web: &Web,
    headers: &HeaderMap,
    status: StatusCode,
    error: &Error,
) -> Option<Response> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return None;
    }
    let mut page = fault_page(web, headers, status, error).await;
    guard(&mut page);
    Some(page)
}

async fn fault_page(web: &Web, headers: &HeaderMap, status: StatusCode, error: &Error) -> Response {
    let visitor = match session(headers) {
        Some(token) => Visitor::of(web, token).await.ok(),
        None => None,
    };
    let frame = visitor.map_or_else(|| Frame::nobody(web), |visitor| Frame::of(&visitor, web, ""));
    match (FaultPage { frame, error }).render() {
        Ok(page) => (status, Html(page)).into_response(),
        Err(_) => status.into_response(),
    }
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage<'e> {
    frame: Frame,
    error: &'e Error,
}
