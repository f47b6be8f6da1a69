//! Whether the host can do its work: it has a key that may answer, and its store and its book accept writes.
//!
//! Asked by `/healthz` ([`crate::monitoring`]) and, on the main port, by the health service that gRPC knows.

use crate::credentials::Credentials;
use crate::ledger::Ledger;
use crate::store::Store;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_proto::v1::activation_server;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthService;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Finds out whether the host is healthy; cheap to clone.
#[derive(Clone)]
pub struct Health {
    credentials: Credentials,
    ledger: Ledger,
    clock: Clock,
    writing: Arc<Mutex<Writing>>,
}

/// The store that is written to, and what came of it last.
struct Writing {
    store: Option<Store>,
    last: Option<(Instant, Result<()>)>,
}

impl Health {
    /// Over what the host works with.
    pub fn new(credentials: Credentials, ledger: Ledger, store: Store, clock: Clock) -> Self {
        let writing = Arc::new(Mutex::new(Writing { store: Some(store), last: None }));
        Self { credentials, ledger, clock, writing }
    }

    /// The vendors for which the host can answer, or why it can't for any.
    pub async fn check(&self) -> Result<Vec<String>> {
        let active = self.credentials.current();
        let vendors: Vec<String> = active.serving().map(|catalog| catalog.vendor.to_string()).collect();
        if vendors.is_empty() {
            let refused = active.vendors().find_map(|(_, vendor)| vendor.keys().err());
            return Err(refused.unwrap_or_else(|| {
                Error::new(
                    Code::HostNotActivated,
                    "this host has no activated key that may answer",
                    "see `quorate-host dlv all`; install and activate a key: `quorate-host ipk` and `ato`",
                )
            }));
        }
        self.writes().await.map(|()| vendors)
    }

    /// Writes something. Whoever asks again within a second is told the same: anybody may ask, and each time
    /// is a flush of the disk.
    async fn writes(&self) -> Result<()> {
        let mut writing = self.writing.lock().await;
        if let Some((at, result)) = &writing.last
            && at.elapsed() < ASKED_AGAIN
        {
            return result.clone();
        }
        let result = match self.write(&mut writing.store).await {
            Ok(()) => self.ledger.probe().await,
            failed => failed,
        };
        writing.last = Some((Instant::now(), result.clone()));
        result
    }

    async fn write(&self, place: &mut Option<Store>) -> Result<()> {
        let Some(mut store) = place.take() else {
            return Err(Error::new(
                Code::Internal,
                "writing to the store did not end",
                "restart the host and report this",
            ));
        };
        let now = self.clock.now().to_string();
        let written = tokio::task::spawn_blocking(move || {
            let result = store.set(CHECKED, &now);
            (store, result)
        });
        let (store, result) = written.await.map_err(|error| {
            Error::new(
                Code::Internal,
                format!("the store cannot be written to ({error})"),
                "please report this",
            )
        })?;
        *place = Some(store);
        result
    }
}

#[tonic::async_trait]
impl HealthService for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> std::result::Result<Response<HealthCheckResponse>, Status> {
        match request.into_inner().service.as_str() {
            "" | SERVICE => {
                let status = match Health::check(self).await {
                    Ok(_) => ServingStatus::Serving,
                    Err(_) => ServingStatus::NotServing,
                };
                Ok(Response::new(HealthCheckResponse { status: status.into() }))
            }
            _ => Err(Status::not_found("there is no such service here")),
        }
    }

    type WatchStream = tonic::codegen::tokio_stream::Empty<std::result::Result<HealthCheckResponse, Status>>;

    /// Nobody needs to watch a host for long: machines ask once in hours. A stream to whoever wants one would
    /// keep connections open.
    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> std::result::Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask again with Check"))
    }
}

/// As the generated code names it.
const SERVICE: &str = <activation_server::ActivationServer<()> as NamedService>::NAME;
/// The setting that is written.
const CHECKED: &str = "health-checked";
const ASKED_AGAIN: Duration = Duration::from_secs(1);
