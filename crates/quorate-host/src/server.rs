//! The daemon: gRPC on TCP 1688 over TLS 1.3, one method, one event for each request.

use crate::credentials::{Active, Credentials};
use crate::dns::{self, Publication};
use crate::keys::HostKey;
use crate::ledger::Ledger;
use crate::report;
use crate::store::Store;
use quorate_core::activation::{self, ActivationRequest, ActivationResponse};
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::server::{self, Limits, Peer};
use quorate_proto::v1::activation_server::{Activation, ActivationServer};
use quorate_proto::v1::{ActivateRequest, ActivateResponse};
use quorate_proto::{request, status};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// How the daemon runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's directory.
    pub directory: PathBuf,
    /// Time limits and numbers of connections.
    pub limits: Limits,
    /// Where the host is published.
    pub publications: Vec<Publication>,
}

/// Serves on `listener` until `stop` completes.
pub async fn serve(
    options: Options,
    listener: TcpListener,
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let mut store = Store::open(&options.directory)?;
    store.check()?;
    // Read before the keys: a change in between is then noticed.
    let revision = store.key_revision()?;
    let keys = store.keys()?;
    // The first change comes after all reading: a damaged store is left as it is.
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    store.set(report::PORT, &port.to_string())?;
    let credentials = Credentials::new(Active::load(&keys, clock.now()));
    if keys.iter().all(|key| key.credential.is_none()) {
        tracing::warn!("this host is not activated; clients are refused until `quorate-host ato`");
    }
    let tls = tls(credentials.clone(), &clock)?;
    let ledger = Ledger::start(Store::open(&options.directory)?)?;
    let answers = Answers { credentials: credentials.clone(), ledger, clock: clock.clone() };
    let routes = tonic::service::Routes::new(
        ActivationServer::new(answers).max_decoding_message_size(LARGEST_REQUEST),
    )
    .prepare();

    let watch = tokio::spawn(watch_keys(store, revision, credentials, clock.clone()));
    let publish = tokio::spawn(publish_daily(options.directory.clone(), options.publications, port, clock));
    tracing::info!(port, "the activation host is listening");
    server::serve(listener, Arc::new(tls), routes, options.limits, stop).await;
    watch.abort();
    publish.abort();
    Ok(())
}

/// What the gRPC method needs.
struct Answers {
    credentials: Credentials,
    ledger: Ledger,
    clock: Clock,
}

#[tonic::async_trait]
impl Activation for Answers {
    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> std::result::Result<Response<ActivateResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let wire = request.into_inner();
        let answer = self.answer(peer.as_ref(), &wire).await;
        event(peer.as_ref(), &wire, &answer);
        answer.map(Response::new).map_err(|error| status::to_status(&error))
    }
}

impl Answers {
    async fn answer(&self, peer: Option<&Peer>, wire: &ActivateRequest) -> Result<ActivateResponse> {
        let request = request::from_wire(wire)?;
        let answer = self.decide(peer, &request).await;
        if answer.is_err() {
            self.ledger.note_failure(request.application);
        }
        answer
    }

    async fn decide(&self, peer: Option<&Peer>, request: &ActivationRequest) -> Result<ActivateResponse> {
        let active = self.credentials.current();
        let vendor = active.by_server_name(peer.and_then(|peer| peer.server_name.as_deref()))?;
        let now = self.clock.now();
        let entitlements = vendor.keys.iter().map(|key| &key.entitlement);
        let entitlement = activation::admit(request, &vendor.catalog, entitlements, now)?;
        let key = vendor.keys.iter().find(|key| key.entitlement == *entitlement);
        let sku = vendor.catalog.products.sku(request.sku);
        let (Some(key), Some(sku)) = (key, sku) else {
            return Err(Error::new(Code::Internal, "an admitted product has gone", "please report this"));
        };
        let policy = vendor.catalog.products.policy(sku);
        let observation = self.ledger.count(request, policy.cmid_retention, now).await?;
        let response = key.signer.sign(&ActivationResponse {
            application: request.application,
            sku: request.sku,
            cmid: request.cmid,
            hardware: request.hardware,
            nonce: request.nonce,
            count: observation.count,
            host_pid: entitlement.extended_pid.clone(),
            host_time: now,
            activation_interval: policy.activation_interval,
            renewal_interval: policy.renewal_interval,
            clone: observation.clone,
        })?;
        Ok(ActivateResponse { response, revocations: vendor.revocations.clone() })
    }
}

/// One event for each request, with the fields that administrators know from event 12290.
fn event(peer: Option<&Peer>, wire: &ActivateRequest, answer: &Result<ActivateResponse>) {
    let result = match answer {
        Ok(_) => "0".to_owned(),
        Err(error) => error.code.to_string(),
    };
    let what = answer.as_ref().err().map(|error| error.what.as_str());
    let address = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
    tracing::info!(
        result,
        what,
        threshold = wire.threshold,
        machine = %wire.machine_name.escape_debug(),
        cmid = %wire.cmid.escape_debug(),
        client_time_ms = wire.client_time_ms,
        virtual_machine = wire.virtual_machine,
        license_status = wire.license_status,
        minutes_left = wire.minutes_left,
        activation_id = %wire.activation_id.escape_debug(),
        address,
        "request"
    );
}

fn tls(credentials: Credentials, clock: &Clock) -> Result<rustls::ServerConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut config = rustls::ServerConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| {
            Error::new(Code::Internal, format!("TLS 1.3 is not available ({error})"), "please report this")
        })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(credentials));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Puts new credentials in place when a command has installed, activated or removed a key.
async fn watch_keys(store: Store, mut revision: i64, credentials: Credentials, clock: Clock) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let read = || -> Result<Option<i64>> {
            let newest = store.key_revision()?;
            if newest == revision {
                return Ok(None);
            }
            let keys = store.keys()?;
            tracing::info!(keys = keys.len(), "host keys have changed");
            credentials.replace(Active::load(&keys, clock.now()));
            Ok(Some(newest))
        };
        match read() {
            Ok(newest) => revision = newest.unwrap_or(revision),
            Err(error) => tracing::error!(%error, next = error.next, "host keys cannot be read"),
        }
    }
}

/// Publishes at the start and then daily. A failure is an event and never stops the host.
async fn publish_daily(directory: PathBuf, publications: Vec<Publication>, port: u16, clock: Clock) {
    loop {
        let published = publish_once(&directory, &publications, port, &clock).await;
        if let Err(error) = published {
            tracing::error!(%error, next = error.next, "DNS publishing failed");
        }
        tokio::time::sleep(PUBLISH_EVERY).await;
    }
}

/// Publishes every vendor's record in every domain, and notes where it succeeded.
pub async fn publish_once(
    directory: &Path,
    publications: &[Publication],
    port: u16,
    clock: &Clock,
) -> Result<()> {
    let mut store = Store::open(directory)?;
    let keys = HostKey::all(&store, clock.now())?;
    let mut published = Vec::new();
    for key in &keys {
        if publications.is_empty() {
            let line = dns::record_line(&key.catalog.srv_name("YOUR.DOMAIN"), "THIS.HOST.YOUR.DOMAIN", port);
            tracing::info!(record = line, "DNS publishing is off; add this record by hand");
        }
        for publication in publications {
            let name = key.catalog.srv_name(&publication.domain);
            match publication.publish(&name, clock.now()).await {
                Ok(()) => {
                    tracing::info!(record = publication.record_line(&name), "DNS published");
                    if !published.contains(&publication.domain) {
                        published.push(publication.domain.clone());
                    }
                }
                Err(error) => tracing::error!(
                    %error,
                    next = error.next,
                    record = publication.record_line(&name),
                    "DNS publishing failed; the record can be added by hand"
                ),
            }
        }
    }
    store.set(report::PUBLISHED, &published.join(" "))
}

/// A request is below 400 bytes.
const LARGEST_REQUEST: usize = 16 * 1024;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const PUBLISH_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
