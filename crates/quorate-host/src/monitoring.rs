//! The second listener, for whoever watches over the host: `/metrics` for Prometheus, `/healthz` for probes.
//!
//! It is plain HTTP without any sign-in, and is meant for the loopback or the network of the monitoring. What
//! it tells is no secret, but is nobody else's business either: it is off unless an address is given.

use crate::book::{self, Account};
use crate::credentials::Credentials;
use crate::health::Health;
use crate::ledger;
use crate::metrics::{Exposition, Metrics};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, StatusCode};
use quorate_core::{Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::problem::Problem;
use quorate_edge::server::{self, Limits};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tower_service::Service;

/// Listens where the pages are to be.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = server::listen(address)
        .await
        .map_err(|error| Error { next: error.next.replace("--listen", "--metrics"), ..error })?;
    // With port 0, the one that the system has chosen.
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    tracing::info!(address = %address.ip(), metrics_port = port, "metrics and health are at hand");
    Ok(listener)
}

/// Serves the pages for as long as the host runs.
pub async fn serve(listener: TcpListener, pages: Pages) {
    let limits = Limits { connections: CONNECTIONS, per_address: None, ..Limits::default() };
    server::serve(listener, None, pages, || limits, Arc::default(), std::future::pending()).await;
}

/// The pages; cheap to clone.
#[derive(Clone)]
pub struct Pages {
    exposition: Arc<Exposition>,
    health: Health,
}

impl Pages {
    /// Over what there is to tell.
    pub fn new(exposition: Exposition, health: Health) -> Self {
        Self { exposition: Arc::new(exposition), health }
    }

    async fn page(self, method: Method, path: String) -> http::Response<String> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n".to_owned());
            response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let response = match path.as_str() {
            "/metrics" => match self.exposition.text() {
                Ok(text) => page(StatusCode::OK, Exposition::CONTENT_TYPE, text),
                Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
            },
            "/healthz" => match self.health.check().await {
                Ok(vendors) => {
                    let json = serde_json::json!({ "status": "ok", "vendors": vendors });
                    page(StatusCode::OK, "application/json", format!("{json}\n"))
                }
                Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error),
            },
            _ => page(StatusCode::NOT_FOUND, TEXT, "here are /metrics and /healthz\n".to_owned()),
        };
        if method == Method::HEAD { response.map(|_| String::new()) } else { response }
    }
}

impl<B> Service<http::Request<B>> for Pages {
    type Response = http::Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (pages, method) = (self.clone(), request.method().clone());
        let path = request.uri().path().to_owned();
        Box::pin(async move { Ok(pages.page(method, path).await) })
    }
}

fn problem(status: StatusCode, error: &Error) -> http::Response<String> {
    // A problem is text and numbers, which JSON always has a place for.
    let json = serde_json::to_string(&Problem::new(status.as_u16(), error.clone())).unwrap_or_default();
    page(status, "application/problem+json", format!("{json}\n"))
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> http::Response<String> {
    let mut response = http::Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

/// Looks up every minute how many machines are counted: some are forgotten without anybody asking, and where
/// hosts share a book, others count too.
pub async fn count_machines(
    location: book::Location,
    directory: PathBuf,
    credentials: Credentials,
    clock: Clock,
    metrics: Metrics,
) {
    let mut open = None;
    loop {
        let (active, clock, metrics) = (credentials.current(), clock.clone(), metrics.clone());
        let (location, directory) = (location.clone(), directory.clone());
        let counting = tokio::task::spawn_blocking(move || -> Result<Box<dyn book::Book>> {
            let mut book = match open {
                Some(book) => book,
                None => location.open(&directory)?,
            };
            for catalog in active.serving() {
                for application in &catalog.products.applications {
                    let account = Account { vendor: catalog.vendor.clone(), application: application.id };
                    let retention = ledger::retention(&catalog.products, application.id);
                    let count = book.count(&account, retention.before(clock.now()))?;
                    metrics.machines(&account, count);
                }
            }
            Ok(book)
        });
        open = match counting.await {
            Ok(Ok(book)) => Some(book),
            Ok(Err(error)) => {
                tracing::warn!(%error, next = error.next, "machines could not be counted for the metrics");
                None
            }
            Err(error) => {
                tracing::error!(%error, "machines could not be counted for the metrics");
                None
            }
        };
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
/// A Prometheus or two, and some probes.
const CONNECTIONS: usize = 64;
const COUNT_EVERY: Duration = Duration::from_secs(60);
