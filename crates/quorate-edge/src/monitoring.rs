//! The second listener, for whoever watches over a service: `/metrics` for Prometheus, `/healthz` for probes.
//!
//! It is plain HTTP without any sign-in, and is meant for the loopback or the network of the monitoring. What
//! it tells is no secret, but is nobody else's business either: it is off unless an address is given.

use crate::problem::Problem;
use crate::server::{self, Limits};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, StatusCode};
use quorate_core::{Error, Result};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tower_service::Service;

/// Listens where the pages are to be.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let named =
        |next: &str| next.replace("--listen", "--metrics, or metrics.address in the configuration file");
    let listener = server::listen(address).await;
    let listener = listener.map_err(|error| Error { next: named(&error.next), ..error })?;
    // With port 0, the one that the system has chosen.
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    tracing::info!(address = %address.ip(), metrics_port = port, "metrics and health are at hand");
    Ok(listener)
}

/// Serves the pages for as long as the program runs.
pub async fn serve(listener: TcpListener, pages: Pages) {
    let limits = Limits { connections: CONNECTIONS, per_address: None, ..Limits::default() };
    server::serve(listener, None, pages, || limits, Arc::default(), std::future::pending()).await;
}

type Exposition = dyn Fn() -> Result<String> + Send + Sync;
type Said = serde_json::Map<String, serde_json::Value>;
type Health = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Said>> + Send>> + Send + Sync;

/// The pages; cheap to clone.
#[derive(Clone)]
pub struct Pages {
    exposition: Arc<Exposition>,
    health: Arc<Health>,
}

impl Pages {
    /// Over what there is to tell: the text of the metrics, and what is well, as fields beside `"status": "ok"`.
    pub fn new<H: Future<Output = Result<serde_json::Map<String, serde_json::Value>>> + Send + 'static>(
        exposition: impl Fn() -> Result<String> + Send + Sync + 'static,
        health: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self {
        Self { exposition: Arc::new(exposition), health: Arc::new(move || Box::pin(health())) }
    }

    async fn page(self, method: Method, path: String) -> http::Response<String> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n".to_owned());
            response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let response = match path.as_str() {
            "/metrics" => match (self.exposition)() {
                Ok(text) => page(StatusCode::OK, METRICS, text),
                Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
            },
            "/healthz" => match (self.health)().await {
                Ok(said) => {
                    let mut all = serde_json::Map::from_iter([("status".to_owned(), "ok".into())]);
                    all.extend(said);
                    let all = serde_json::Value::Object(all);
                    page(StatusCode::OK, "application/json", format!("{all}\n"))
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

const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus's text format, as its client library writes it.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A Prometheus or two, and some probes.
const CONNECTIONS: usize = 64;
