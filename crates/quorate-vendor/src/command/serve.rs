//! `quorate-vendor serve`: the service on HTTPS, and what it does besides.

use crate::api;
use crate::authority;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::openid::Provider;
use crate::service::Service;
use crate::voice::signature::Secret;
use crate::webhooks::Courier;
use quorate_core::Result;
use quorate_edge::clock::Clock;
use quorate_edge::command_line;
use quorate_edge::config::LimitKeys;
use quorate_edge::https::Poster;
use quorate_edge::monitoring;
use quorate_edge::server::{self, Limits};
use sd_notify::NotifyState;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The options of `serve`.
#[derive(clap::Args)]
pub struct Serve {
    /// The address to listen on [default: "[::]:8443"].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A certificate chain from elsewhere, in PEM, instead of one by the activation CA.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key that belongs to it, in PEM; nobody but its owner may read it.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Where /metrics and /healthz are to be had, without TLS and without signing in; nowhere, unless told.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Answer the telephone: a file with the secret by which a telephony platform signs what it asks at /voice; while a
    /// new one takes its place, with both, each on a line.
    #[arg(long, value_name = "FILE")]
    voice_secret_file: Option<PathBuf>,
}

impl Serve {
    /// Serves until the program is asked to stop.
    pub fn run(self, open: impl FnOnce() -> Result<Service>, config: Config, clock: &Clock) -> Result<()> {
        let Self { listen, tls_certificate, tls_key, metrics, voice_secret_file } = self;
        let log = &config.log;
        command_line::start_log_as(log.format.unwrap_or_default(), log.filter.as_deref());
        let service = open()?;
        if service.newest()?.is_none() {
            // The first product file can be imported in the portal, or over the interface.
            tracing::warn!("no products have been imported yet: nothing can be activated until then");
        }
        service.authority().check()?;
        let pair = tls_certificate.zip(tls_key).or(config.tls_certificate.zip(config.tls_key));
        let tls = match pair {
            Some((certificate, key)) => authority::tls_from_files(&certificate, &key)?,
            None => service.authority().service_tls(&service.service_name()?, clock.now())?,
        };
        let voice_secret = voice_secret_file.or(config.voice_secret);
        let telephone = voice_secret.as_deref().map(Secret::read).transpose()?;
        let openid = config.openid.map(|settings| Provider::new(settings, service.url(), clock));
        let openid = openid.transpose()?;
        let listen = listen.or(config.listen).unwrap_or(USUAL);
        let limits = config.limits;
        server::runtime()?.block_on(async {
            let listener = server::listen(listen).await?;
            let address = listener.local_addr().unwrap_or(listen);
            let metrics = match metrics.or(config.metrics) {
                Some(address) => Some(monitoring::listen(address).await?),
                None => None,
            };
            tracing::info!(%address, "the activation service is listening");
            if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
                tracing::debug!(%error, "nobody wants to know that the service has started");
            }
            let beside = Beside { telephone, openid, metrics, limits };
            serve_with(service, beside, tls, listener, quorate_edge::stop::asked()).await;
            Ok(())
        })
    }
}

/// Answers on `listener` until `stop` completes.
pub async fn serve(
    service: Service,
    tls: rustls::ServerConfig,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    serve_with(service, Beside::default(), tls, listener, stop).await;
}

/// What the service does besides.
#[derive(Default)]
pub struct Beside {
    /// Answers the telephone, with the secret by which its requests are signed.
    pub telephone: Option<Secret>,
    /// Lets people sign in by this OpenID Connect provider.
    pub openid: Option<Provider>,
    /// Has the pages for whoever watches over it here.
    pub metrics: Option<TcpListener>,
    /// Limits other than the usual ones.
    pub limits: LimitKeys,
}

/// The same, and something besides.
pub async fn serve_with(
    service: Service,
    beside: Beside,
    tls: rustls::ServerConfig,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    let (traffic, counted) = (Arc::default(), Metrics::default());
    let Beside { telephone, openid, metrics, limits } = beside;
    let mut tasks =
        vec![tokio::spawn(deliver(service.clone(), counted.clone())), tokio::spawn(forget(service.clone()))];
    if let Some(listener) = metrics {
        let pages = counted.pages(service.clone(), Arc::clone(&traffic));
        tasks.push(tokio::spawn(monitoring::serve(listener, pages)));
    }
    let router = api::router(service, telephone, openid, counted);
    server::serve(listener, Some(Arc::new(tls)), router, move || limits.or(Limits::default()), traffic, stop)
        .await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Tells the webhooks, for as long as the service runs.
async fn deliver(service: Service, metrics: Metrics) {
    match Poster::new(&service.clock) {
        Ok(poster) => Courier::new(service, poster).run(metrics).await,
        Err(error) => tracing::error!(%error, next = error.next, "no webhook is told of anything"),
    }
}

/// Forgets, every hour, what is kept for a while only.
async fn forget(service: Service) {
    loop {
        let service = service.clone();
        let forgotten = tokio::task::spawn_blocking(move || service.forget_answers()).await;
        if let Ok(Err(error)) = forgotten {
            tracing::warn!(%error, next = error.next, "what is kept for a while could not be forgotten");
        }
        tokio::time::sleep(FORGET_EVERY).await;
    }
}

/// Where it listens, unless it is told.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 8443);
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
