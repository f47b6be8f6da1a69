//! The daemon: gRPC on TCP 1688 over TLS 1.3, one method, one event for each request.

mod upkeep;

use crate::book::{self, Account, Event};
use crate::credentials::{Active, Credentials, VendorCredentials};
use crate::dns::Publication;
use crate::health::Health;
use crate::inquiries;
use crate::keys::Installed;
use crate::ledger::{self, Asked, EventRetention, Ledger};
use crate::limit::{self, Limit};
use crate::metrics::{Exposition, Metrics};
use crate::monitoring;
use crate::report;
use crate::settings::{Patience, Serving};
use crate::store::Store;
use quorate_core::activation::{self, ActivationRequest, ActivationResponse};
use quorate_core::cmid_table::Observation;
use quorate_core::hardware::Components;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::https::ProxyUrl;
use quorate_edge::rate::Rate;
use quorate_edge::server::{self, Limits, Peer};
use quorate_proto::v1::activation_server::{Activation, ActivationServer};
use quorate_proto::v1::{ActivateRequest, ActivateResponse};
use quorate_proto::{request, status};
use sd_notify::NotifyState;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use upkeep::{Rhythm, fetch_daily, note_domains, publish_daily, renew_in_time, watch_keys};

/// How the daemon runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's directory.
    pub directory: PathBuf,
    /// Time limits and numbers of connections.
    pub limits: Limits,
    /// Requests of one address.
    pub requests_per_address: Option<Rate>,
    /// Where the host is published.
    pub publications: Vec<Publication>,
    /// The machine that this is: a key that was installed on another is not used.
    pub hardware: Components,
    /// The proxy to the vendors' services, instead of the one that HTTPS_PROXY names.
    pub proxy: Option<ProxyUrl>,
    /// Where machines, statistics and events are kept.
    pub book: book::Location,
    /// How long events are kept.
    pub events: EventRetention,
    /// Where `/metrics` and `/healthz` are, if anywhere.
    pub monitoring: Option<SocketAddr>,
    /// How often the vendors are asked for news, and the host is published again.
    pub every: Duration,
    /// How patient clients are to be.
    pub patience: Patience,
    /// What takes the place of some of these while the host runs.
    pub reloads: Option<watch::Receiver<Live>>,
}

/// What may change while the host runs, without a connection being dropped.
#[derive(Clone, Debug)]
pub struct Live {
    /// As in [`Options`], except for the number of connections.
    pub limits: Limits,
    /// As in [`Options`].
    pub publications: Vec<Publication>,
    /// As in [`Options`].
    pub proxy: Option<ProxyUrl>,
    /// As in [`Options`].
    pub patience: Patience,
}

impl Options {
    /// As `quorate-host serve` runs unless it is told otherwise.
    pub fn new(directory: PathBuf, hardware: Components) -> Self {
        let (limits, publications) = (Limits::default(), Vec::new());
        let (book, events) = (book::Location::Own, EventRetention::default());
        let (patience, reloads) = (Patience::default(), None);
        Self {
            directory,
            limits,
            requests_per_address: Rate::per_second(limit::REQUESTS_PER_ADDRESS),
            publications,
            hardware,
            proxy: None,
            book,
            events,
            monitoring: None,
            every: DAY,
            patience,
            reloads,
        }
    }

    /// What may change, as it is at first.
    pub fn live(&self) -> Live {
        let (publications, proxy) = (self.publications.clone(), self.proxy.clone());
        Live { limits: self.limits, publications, proxy, patience: self.patience }
    }
}

/// Serves on `listener` until `stop` completes.
pub async fn serve(
    options: Options,
    listener: TcpListener,
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let mut store = Store::open_or_create(&options.directory)?;
    store.check()?;
    // Read before the keys: a change in between is then noticed.
    let revision = store.key_revision()?;
    let keys = Installed::all(&store, clock.now())?;
    // The first change comes after all reading: a damaged store is left as it is.
    let _serving = Serving::begin(&options.directory)?;
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    store.set(report::PORT, &port.to_string())?;
    note_domains(&mut store, &options.publications)?;
    // The sender of what nobody changes is kept, so that waiting for it waits for ever.
    let (_unchanged, live) = watch::channel(options.live());
    let live = options.reloads.unwrap_or(live);
    let credentials = Credentials::new(Active::load(&keys, &options.hardware, clock.now()));
    let activated = |key: &Installed| key.key.as_ref().is_ok_and(|key| key.installed.activation.is_some());
    if keys.is_empty() {
        tracing::warn!(
            "no host key is installed here; clients are refused until `quorate-host ipk` and `ato`"
        );
    } else if !keys.iter().any(activated) {
        tracing::warn!("this host is not activated; clients are refused until `quorate-host ato`");
    }
    let tls = tls(Arc::new(credentials.clone()), &clock)?;
    let (location, directory) = (options.book.clone(), options.directory.clone());
    // A connection to PostgreSQL has threads of its own, and is not made on those that serve.
    let book = tokio::task::spawn_blocking(move || location.open(&directory));
    let book = book.await.unwrap_or_else(|error| {
        Err(Error::new(Code::Internal, format!("the book cannot be opened ({error})"), "please report this"))
    })?;
    let monitoring = match options.monitoring {
        Some(address) => Some(quorate_edge::monitoring::listen(address).await?),
        None => None,
    };
    let metrics = Metrics::default();
    let ledger = Ledger::start(book, options.events, clock.clone(), metrics.ledger.clone())?;
    let notes = Notes { ledger: ledger.clone(), metrics: metrics.clone() };
    let answers = Answers {
        credentials: credentials.clone(),
        notes: notes.clone(),
        live: live.clone(),
        clock: clock.clone(),
    };
    let health = Health::new(credentials.clone(), ledger, Store::open(&options.directory)?, clock.clone());
    let routes = tonic::service::Routes::new(
        ActivationServer::new(answers).max_decoding_message_size(LARGEST_REQUEST),
    );
    let routes = inquiries::add(routes, health.clone())?.prepare();

    let (changed, changes) = watch::channel(revision);
    let rhythm = Rhythm::new(options.every, changes);
    let (news, published) = (Store::open(&options.directory)?, Store::open(&options.directory)?);
    let renewed = Store::open(&options.directory)?;
    let (hardware, proxied) = (options.hardware.clone(), live.clone());
    let tasks = [
        tokio::spawn(renew_in_time(renewed, hardware, proxied, clock.clone(), rhythm.clone())),
        tokio::spawn(watch_keys(store, credentials.clone(), options.hardware, clock.clone(), changed)),
        tokio::spawn(fetch_daily(news, metrics.clone(), live.clone(), clock.clone(), rhythm.clone())),
        tokio::spawn(publish_daily(
            published,
            notes,
            credentials.clone(),
            live.clone(),
            port,
            clock.clone(),
            rhythm,
        )),
    ];
    tracing::info!(port, "the activation host is listening");
    // Nobody waits for it unless systemd has started the host.
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "systemd could not be told that the host is ready");
    }
    let limit = Limit::new(options.requests_per_address);
    let traffic = Arc::<server::Traffic>::default();
    let monitoring = monitoring.map(|listener| {
        let exposition =
            Exposition::new(&metrics, credentials.clone(), Arc::clone(&traffic), Arc::clone(&limit));
        let count = monitoring::count_machines(options.book, options.directory, credentials, clock, metrics);
        [
            tokio::spawn(quorate_edge::monitoring::serve(listener, monitoring::pages(exposition, health))),
            tokio::spawn(count),
        ]
    });
    let routes = limit.over(routes);
    server::serve(listener, Some(Arc::new(tls)), routes, || live.borrow().limits, traffic, stop).await;
    for task in tasks.into_iter().chain(monitoring.into_iter().flatten()) {
        task.abort();
    }
    Ok(())
}

/// An answer, and what was counted for it.
type Answer = (ActivateResponse, Account, Observation);

/// What the gRPC method needs.
struct Answers {
    credentials: Credentials,
    notes: Notes,
    live: watch::Receiver<Live>,
    clock: Clock,
}

/// Who keeps what has happened: the book, for administrators, and the metrics, for Prometheus.
#[derive(Clone)]
struct Notes {
    ledger: Ledger,
    metrics: Metrics,
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
        match &answer {
            Ok((_, account, observation)) => {
                self.notes.metrics.request(Some(account), wire.license_status, Ok(*observation));
            }
            Err(error) => self.note_refusal(peer.as_ref(), &wire, error),
        }
        answer.map(|(answer, ..)| Response::new(answer)).map_err(|error| self.refusal(peer.as_ref(), &error))
    }
}

impl Answers {
    /// An error as it is sent. That the host is revoked is the vendor's word, so the list goes along.
    fn refusal(&self, peer: Option<&Peer>, error: &Error) -> Status {
        let active = self.credentials.current();
        let vendor = active.by_server_name(peer.and_then(|peer| peer.server_name.as_deref()));
        match vendor {
            Ok(vendor) if error.code == Code::Revoked => status::to_status_with(error, &vendor.revocations),
            _ => status::to_status(error),
        }
    }

    async fn answer(&self, peer: Option<&Peer>, wire: &ActivateRequest) -> Result<Answer> {
        let request = request::from_wire(wire)?;
        let active = self.credentials.current();
        let vendor = active.by_server_name(peer.and_then(|peer| peer.server_name.as_deref()))?;
        self.decide(vendor, peer, request).await
    }

    /// Notes a refused request, which the ledger has not seen.
    fn note_refusal(&self, peer: Option<&Peer>, wire: &ActivateRequest, error: &Error) {
        let active = self.credentials.current();
        let vendor = active.by_server_name(peer.and_then(|peer| peer.server_name.as_deref())).ok();
        let request = request::from_wire(wire).ok();
        // Anybody can make up an application; there is a row for those that exist.
        let account = vendor.zip(request.as_ref()).and_then(|(vendor, request)| {
            let application = vendor.catalog.products.application(request.application)?.id;
            Some(Account { vendor: vendor.catalog.vendor.clone(), application })
        });
        self.notes.metrics.request(account.as_ref(), wire.license_status, Err(error));
        let event = Event {
            at: self.clock.now(),
            kind: book::REQUEST,
            vendor: vendor.map(|vendor| vendor.catalog.vendor.to_string()),
            application: account.as_ref().map(|account| account.application.to_string()),
            result: error.code.as_str().to_owned(),
            machine: request.as_ref().map(|request| request.machine_name.clone()),
            cmid: request.as_ref().map(|request| request.cmid.to_string()),
            fields: serde_json::json!({
                "what": error.what,
                "threshold": wire.threshold,
                "client-time": request.as_ref().map(|request| request.client_time),
                "virtual-machine": wire.virtual_machine,
                "license-status": wire.license_status,
                "minutes-left": wire.minutes_left,
                "activation-id": request.as_ref().map(|request| request.sku),
                "address": peer.map(|peer| peer.address.to_string()),
            }),
        };
        self.notes.ledger.note(event, account);
    }

    async fn decide(
        &self,
        vendor: &VendorCredentials,
        peer: Option<&Peer>,
        request: ActivationRequest,
    ) -> Result<Answer> {
        let now = self.clock.now();
        let keys = vendor.keys()?;
        let entitlements = keys.iter().map(|key| &key.entitlement);
        let entitlement = activation::admit(&request, &vendor.catalog, entitlements, now)?;
        let key = keys.iter().find(|key| key.entitlement == *entitlement);
        let sku = vendor.catalog.products.sku(request.sku);
        let (Some(key), Some(sku)) = (key, sku) else {
            return Err(Error::new(Code::Internal, "an admitted product has gone", "please report this"));
        };
        let policy = vendor.catalog.products.policy(sku);
        let retention = ledger::retention(&vendor.catalog.products, request.application);
        let account = Account { vendor: vendor.catalog.vendor.clone(), application: request.application };
        let asked = Asked {
            account: account.clone(),
            request: request.clone(),
            address: peer.map(|peer| peer.address.to_string()).unwrap_or_default(),
            at: now,
            retention,
            threshold: policy.threshold,
            validity: policy.validity,
        };
        let counted = self.notes.ledger.count(asked).await?;
        let observation = counted.observation;
        let intervals = self.live.borrow().patience.over(policy);
        let response = key.signer.sign(&ActivationResponse {
            application: request.application,
            sku: request.sku,
            cmid: request.cmid,
            hardware: request.hardware,
            nonce: request.nonce,
            count: observation.count,
            host_pid: entitlement.extended_pid.clone(),
            host_time: now,
            activation_interval: intervals.activation,
            renewal_interval: intervals.renewal,
            clone: observation.clone,
        })?;
        // It was signed while the count was flushed, and leaves when that is done.
        let observation = counted.kept().await?;
        Ok((ActivateResponse { response, revocations: vendor.revocations.clone() }, account, observation))
    }
}

/// One event for each request, with the fields that administrators know from event 12290.
fn event(peer: Option<&Peer>, wire: &ActivateRequest, answer: &Result<Answer>) {
    let result = match answer {
        Ok(_) => "0".to_owned(),
        Err(error) => error.code.to_string(),
    };
    let what = answer.as_ref().err().map(|error| error.what.as_str());
    let observation = answer.as_ref().ok().map(|(.., observation)| observation);
    let address = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
    tracing::info!(
        event = book::REQUEST,
        result,
        what,
        count = observation.map(|observation| observation.count),
        clone = observation.map(|observation| observation.clone),
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

/// TLS as clients expect it, with certificates from there.
pub fn tls(
    certificates: Arc<dyn rustls::server::ResolvesServerCert>,
    clock: &Clock,
) -> Result<rustls::ServerConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut config = rustls::ServerConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| {
            Error::new(Code::Internal, format!("TLS 1.3 is not available ({error})"), "please report this")
        })?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A machine asks once in hours and never takes a session up again: a ticket would be made for nothing.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A request is below 400 bytes.
const LARGEST_REQUEST: usize = 16 * 1024;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
