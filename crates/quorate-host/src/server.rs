//! The daemon: gRPC on TCP 1688 over TLS 1.3, one method, one event for each request.

use crate::credentials::{Active, Credentials, VendorCredentials};
use crate::dns::{self, Publication};
use crate::documents;
use crate::keys::Installed;
use crate::ledger::{self, Ledger};
use crate::limit::{self, Limit};
use crate::report;
use crate::store::{Account, Store};
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
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

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
    /// How often the vendors are asked for news, and the host is published again.
    pub every: Duration,
}

impl Options {
    /// As `quorate-host serve` runs unless it is told otherwise.
    pub fn new(directory: PathBuf, hardware: Components) -> Self {
        Self {
            directory,
            limits: Limits::default(),
            requests_per_address: Rate::per_second(limit::REQUESTS_PER_ADDRESS),
            publications: Vec::new(),
            hardware,
            proxy: None,
            every: DAY,
        }
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
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    store.set(report::PORT, &port.to_string())?;
    let credentials = Credentials::new(Active::load(&keys, &options.hardware, clock.now()));
    let activated = |key: &Installed| key.key.as_ref().is_ok_and(|key| key.installed.activation.is_some());
    if keys.is_empty() {
        tracing::warn!(
            "no host key is installed here; clients are refused until `quorate-host ipk` and `ato`"
        );
    } else if !keys.iter().any(activated) {
        tracing::warn!("this host is not activated; clients are refused until `quorate-host ato`");
    }
    let tls = tls(credentials.clone(), &clock)?;
    let ledger = Ledger::start(Store::open(&options.directory)?, clock.clone())?;
    let answers = Answers { credentials: credentials.clone(), ledger, clock: clock.clone() };
    let routes = tonic::service::Routes::new(
        ActivationServer::new(answers).max_decoding_message_size(LARGEST_REQUEST),
    )
    .prepare();

    let (changed, changes) = watch::channel(revision);
    let rhythm = Rhythm { every: options.every, changes, failures: 0 };
    let (news, published) = (Store::open(&options.directory)?, Store::open(&options.directory)?);
    let tasks = [
        tokio::spawn(watch_keys(store, credentials.clone(), options.hardware, clock.clone(), changed)),
        tokio::spawn(fetch_daily(news, options.proxy, clock.clone(), rhythm.clone())),
        tokio::spawn(publish_daily(published, credentials, options.publications, port, clock, rhythm)),
    ];
    tracing::info!(port, "the activation host is listening");
    let limit = Limit::new(options.requests_per_address);
    let traffic = Arc::default();
    server::serve(listener, Some(Arc::new(tls)), limit.over(routes), options.limits, traffic, stop).await;
    for task in tasks {
        task.abort();
    }
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
        answer.map(|(answer, _)| Response::new(answer)).map_err(|error| self.refusal(peer.as_ref(), &error))
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

    async fn answer(
        &self,
        peer: Option<&Peer>,
        wire: &ActivateRequest,
    ) -> Result<(ActivateResponse, Observation)> {
        let request = request::from_wire(wire)?;
        let active = self.credentials.current();
        let vendor = active.by_server_name(peer.and_then(|peer| peer.server_name.as_deref()))?;
        let account = Account { vendor: vendor.catalog.vendor.clone(), application: request.application };
        let answer = self.decide(vendor, account.clone(), &request).await;
        // Anybody can make up an application; there is a row for those that exist.
        if answer.is_err() && vendor.catalog.products.application(request.application).is_some() {
            self.ledger.note_failure(account);
        }
        answer
    }

    async fn decide(
        &self,
        vendor: &VendorCredentials,
        account: Account,
        request: &ActivationRequest,
    ) -> Result<(ActivateResponse, Observation)> {
        let now = self.clock.now();
        let keys = vendor.keys()?;
        let entitlements = keys.iter().map(|key| &key.entitlement);
        let entitlement = activation::admit(request, &vendor.catalog, entitlements, now)?;
        let key = keys.iter().find(|key| key.entitlement == *entitlement);
        let sku = vendor.catalog.products.sku(request.sku);
        let (Some(key), Some(sku)) = (key, sku) else {
            return Err(Error::new(Code::Internal, "an admitted product has gone", "please report this"));
        };
        let policy = vendor.catalog.products.policy(sku);
        let retention = ledger::retention(&vendor.catalog.products, request.application);
        let observation = self.ledger.count(account, request, retention, now).await?;
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
        Ok((ActivateResponse { response, revocations: vendor.revocations.clone() }, observation))
    }
}

/// One event for each request, with the fields that administrators know from event 12290.
fn event(peer: Option<&Peer>, wire: &ActivateRequest, answer: &Result<(ActivateResponse, Observation)>) {
    let result = match answer {
        Ok(_) => "0".to_owned(),
        Err(error) => error.code.to_string(),
    };
    let what = answer.as_ref().err().map(|error| error.what.as_str());
    let observation = answer.as_ref().ok().map(|(_, observation)| observation);
    let address = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
    tracing::info!(
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

/// Puts new credentials in place when a command has installed, activated or removed a key or the vendor has
/// said something new; and now and then, since certificates begin and end, and clocks are set.
async fn watch_keys(
    store: Store,
    credentials: Credentials,
    hardware: Components,
    clock: Clock,
    changed: watch::Sender<i64>,
) {
    let mut loaded = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let revision = *changed.borrow();
        let read = || -> Result<Option<i64>> {
            let newest = store.key_revision()?;
            if newest == revision && loaded.elapsed() < LOAD_EVERY {
                return Ok(None);
            }
            let keys = Installed::all(&store, clock.now())?;
            credentials.replace(Active::load(&keys, &hardware, clock.now()));
            Ok(Some(newest))
        };
        let before = credentials.current();
        match read() {
            Ok(None) => {}
            Ok(Some(newest)) => {
                loaded = Instant::now();
                if newest != revision || before.serving().ne(credentials.current().serving()) {
                    tracing::info!("host keys have changed");
                    changed.send_replace(newest);
                }
            }
            Err(error) => tracing::error!(%error, next = error.next, "host keys cannot be read"),
        }
    }
}

/// When something is due that is done at the start, daily, and whenever keys have changed; sooner after a
/// failure.
#[derive(Clone)]
struct Rhythm {
    every: Duration,
    changes: watch::Receiver<i64>,
    failures: u32,
}

impl Rhythm {
    /// Waits until it is to be done again.
    async fn wait(&mut self, succeeded: bool) {
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        let pause = self.pause();
        let changed = async {
            if self.changes.changed().await.is_err() {
                // Nobody is left to tell of changes: the host stops.
                std::future::pending::<()>().await;
            }
        };
        // Either is a reason to go on.
        let _ = tokio::time::timeout(pause, changed).await;
    }

    /// One minute after the first failure, then two, four and so on, up to an hour.
    fn pause(&self) -> Duration {
        match self.failures {
            0 => self.every,
            failures => (MINUTE * 2u32.pow((failures - 1).min(6))).min(HOUR).min(self.every),
        }
    }
}

/// Fetches what the vendors say since. A host without any way out is no fault, and is mentioned once a day.
async fn fetch_daily(mut store: Store, proxy: Option<ProxyUrl>, clock: Clock, mut rhythm: Rhythm) {
    let mut mentioned: Option<(Error, Instant)> = None;
    loop {
        let fetched = documents::fetch_all(&mut store, proxy.as_ref(), &clock).await;
        if let Err(error) = &fetched {
            let known = |(before, at): &(Error, Instant)| before == error && at.elapsed() < DAY;
            if !mentioned.as_ref().is_some_and(known) {
                match error.code {
                    Code::ServiceUnreachable => tracing::info!(%error, "no news from the vendor"),
                    _ => tracing::warn!(%error, next = error.next, "no news from the vendor"),
                }
                mentioned = Some((error.clone(), Instant::now()));
            }
        }
        rhythm.wait(fetched.is_ok()).await;
    }
}

/// Publishes the host. A failure is an event and never stops the host.
async fn publish_daily(
    mut store: Store,
    credentials: Credentials,
    publications: Vec<Publication>,
    port: u16,
    clock: Clock,
    mut rhythm: Rhythm,
) {
    loop {
        let active = credentials.current();
        let (published, everywhere) = publish(&active, &publications, port, &clock).await;
        if let Err(error) = store.set(report::PUBLISHED, &published.join(" ")) {
            tracing::error!(%error, next = error.next, "where the host is published cannot be noted");
        }
        rhythm.wait(everywhere).await;
    }
}

/// Publishes the record of every vendor for which this host answers, in every domain. Gives the domains in
/// which it succeeded, and whether it did everywhere.
async fn publish(
    active: &Active,
    publications: &[Publication],
    port: u16,
    clock: &Clock,
) -> (Vec<String>, bool) {
    let mut published = Vec::new();
    let mut everywhere = true;
    for catalog in active.serving() {
        if publications.is_empty() {
            let line = dns::record_line(&catalog.srv_name("YOUR.DOMAIN"), "THIS.HOST.YOUR.DOMAIN", port);
            tracing::info!(record = line, "DNS publishing is off; add this record by hand");
        }
        for publication in publications {
            let name = catalog.srv_name(&publication.domain);
            let record = publication.record_line(&name, port);
            match publication.publish(&name, port, clock.now()).await {
                Ok(()) => {
                    tracing::info!(record, "DNS published");
                    if !published.contains(&publication.domain) {
                        published.push(publication.domain.clone());
                    }
                }
                Err(error) => {
                    everywhere = false;
                    tracing::error!(
                        %error,
                        next = error.next,
                        record,
                        "DNS publishing failed; the record can be added by hand"
                    );
                }
            }
        }
    }
    (published, everywhere)
}

/// A request is below 400 bytes.
const LARGEST_REQUEST: usize = 16 * 1024;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOAD_EVERY: Duration = HOUR;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_after_minutes() {
        let pauses = |every: Duration| {
            let changes = watch::channel(0).1;
            let rhythm = |failures| Rhythm { every, changes: changes.clone(), failures };
            [0, 1, 2, 3, 6, 7, u32::MAX].map(|failures| rhythm(failures).pause().as_secs() / 60)
        };
        assert_eq!(pauses(DAY), [24 * 60, 1, 2, 4, 32, 60, 60]);
        assert_eq!(pauses(MINUTE), [1; 7]);
    }
}
