//! Requests of one address, whatever they ask for: over its rate they are answered "busy" before they are read.
//!
//! New connections have a limit of their own, in the accept loop; this one holds who sends without end over
//! connections that are open.

use quorate_edge::rate::{self, Limiter, Rate};
use quorate_edge::server::Peer;
use quorate_proto::status;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::body::Body;
use tower_service::Service;

/// A gRPC service within the limit.
#[derive(Clone, Debug)]
pub struct Limited<S> {
    service: S,
    limit: Arc<Limit>,
}

/// The limit, and how often it was met.
#[derive(Debug)]
pub struct Limit {
    limiter: Limiter,
    refused: AtomicU64,
}

impl Limit {
    /// A limit by this rate; none limits nothing.
    pub fn new(rate: Option<Rate>) -> Arc<Self> {
        Arc::new(Self { limiter: Limiter::new(rate), refused: AtomicU64::new(0) })
    }

    /// Requests that were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// These services within this limit.
    pub fn over<S>(self: &Arc<Self>, service: S) -> Limited<S> {
        Limited { service, limit: Arc::clone(self) }
    }

    /// What a request is refused with, if it is.
    fn refusal(&self, peer: &Peer) -> Option<tonic::Status> {
        let wait = self.limiter.take(peer.address.ip(), Instant::now()).err()?;
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        // A flood of requests must not become one of events.
        if refused.is_power_of_two() {
            tracing::warn!(refused, address = %peer.address, "too many requests of one address: refused");
        }
        let mut status = status::to_status(&rate::over_limit(wait));
        // By this name clients of gRPC know how long not to try again (proposal A6).
        let pause = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        status.metadata_mut().insert("grpc-retry-pushback-ms", pause.into());
        Some(status)
    }
}

impl<S, B> Service<http::Request<B>> for Limited<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let refusal = request.extensions().get().and_then(|peer| self.limit.refusal(peer));
        match refusal {
            Some(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
            None => Box::pin(self.service.call(request)),
        }
    }
}

/// Requests a second of one address unless told otherwise, and ten times as many at once. A machine sends
/// one in hours, so this is a site of millions behind one address.
pub const REQUESTS_PER_ADDRESS: u32 = 1_000;
