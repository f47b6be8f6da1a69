//! `quorate-host serve`: what is in force of options, file and settings, and what changes while it runs.

use super::dns::DnsOptions;
use crate::book::Location;
use crate::config::Config;
use crate::ledger::EventRetention;
use crate::limit;
use crate::log;
use crate::server::{self, Live, Options};
use crate::settings::{Patience, Settings};
use crate::store::Store;
use quorate_core::hardware::Components;
use quorate_core::{Interval, Result};
use quorate_edge::clock::Clock;
use quorate_edge::command_line;
use quorate_edge::config::Url;
use quorate_edge::rate::Rate;
use quorate_edge::server::Limits;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The options of `serve`.
#[derive(clap::Args)]
pub struct Serve {
    /// The address to listen on [default: [::]:1688].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    dns: DnsOptions,
    /// The proxy to the vendor's service instead of the one that HTTPS_PROXY names.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Close a connection that has not finished its TLS handshake after this many seconds [default: 10].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    handshake_limit: Option<u64>,
    /// Close a connection without a request after this many seconds [default: 30].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    idle_limit: Option<u64>,
    /// New connections a second that one address may open, and ten times as many at once; 0 is no limit [default: 1000].
    #[arg(long, value_name = "N")]
    connections_per_address: Option<u32>,
    /// Requests a second that one address may send, and ten times as many at once; 0 is no limit [default: 1000].
    #[arg(long, value_name = "N")]
    requests_per_address: Option<u32>,
    /// Offer /metrics (Prometheus) and /healthz here: plain HTTP for the loopback or the monitoring's network.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

/// Where all of it is read: once at the start, and again at each reload.
pub struct Sources {
    /// The host's directory.
    pub directory: PathBuf,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--database`.
    pub database: Option<String>,
    /// The options of `serve`.
    pub serve: Serve,
}

/// What is in force.
struct InForce {
    config: Config,
    listen: SocketAddr,
    book: Location,
    events: EventRetention,
    requests_per_address: u32,
    metrics: Option<SocketAddr>,
    live: Live,
}

impl Sources {
    /// Runs the host until it is asked to stop.
    pub fn run(self, hardware: Components, clock: Clock) -> Result<()> {
        let config = Config::load(self.config.as_deref())?;
        log::start(&config)?;
        // There is nothing yet, or it can't be read: then the host says so when it starts. Nothing is changed by a look.
        let settings =
            Store::look(&self.directory).and_then(|store| Settings::read(&store)).unwrap_or_default();
        let first = self.in_force(config, &settings)?;
        let (changes, reloads) = watch::channel(first.live.clone());
        let options = Options {
            limits: first.live.limits,
            publications: first.live.publications.clone(),
            proxy: first.live.proxy.clone(),
            patience: first.live.patience,
            book: first.book.clone(),
            events: first.events,
            requests_per_address: Rate::per_second(first.requests_per_address),
            monitoring: first.metrics,
            reloads: Some(reloads),
            ..Options::new(self.directory.clone(), hardware)
        };
        quorate_edge::server::runtime()?.block_on(async {
            let listener = quorate_edge::server::listen(first.listen).await?;
            let hangups = signal(SignalKind::hangup());
            let stop = quorate_edge::stop::asked();
            let watching = self.watch(first, settings, hangups, changes);
            tokio::select! {
                served = server::serve(options, listener, clock, stop) => served,
                () = watching => Ok(()),
            }
        })
    }

    /// Everything that may stand in several places, from the first that has it.
    fn in_force(&self, config: Config, settings: &Settings) -> Result<InForce> {
        let serve = &self.serve;
        let listen = serve.listen.unwrap_or_else(|| config.listen(settings));
        let limits = config.limits.or(Limits::default());
        let limits = Limits {
            handshake: serve.handshake_limit.map_or(limits.handshake, Duration::from_secs),
            idle: serve.idle_limit.map_or(limits.idle, Duration::from_secs),
            per_address: serve.connections_per_address.map_or(limits.per_address, Rate::per_second),
            ..limits
        };
        let requests = serve.requests_per_address.or(config.requests_per_address);
        let requests_per_address = requests.unwrap_or(limit::REQUESTS_PER_ADDRESS);
        let metrics = serve.metrics.or(config.metrics);
        // Parsed here, since clap would repeat what it can't read, and that may hold a password.
        let proxy = match &serve.proxy {
            Some(proxy) => Some(proxy.parse()?),
            None => config.proxy()?,
        };
        let patience: Patience = config.patience.or(settings.patience);
        let publications = serve.dns.in_force(&config, settings)?;
        let (events, book) = (config.events(), location(self.database.as_deref(), &config)?);
        let live = Live { limits, publications, proxy, patience };
        Ok(InForce { config, listen, book, events, requests_per_address, metrics, live })
    }

    /// Takes over what has changed, when SIGHUP asks for it and whenever a command has made a setting.
    async fn watch(
        &self,
        running: InForce,
        mut settings: Settings,
        hangups: std::io::Result<tokio::signal::unix::Signal>,
        changes: watch::Sender<Live>,
    ) {
        let mut hangups =
            hangups.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be handled")).ok();
        let mut config = running.config.clone();
        let mut told = None;
        let mut store = None;
        loop {
            let asked = async {
                let heard = match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => None,
                };
                if heard.is_none() {
                    std::future::pending::<()>().await;
                }
            };
            let asked = tokio::time::timeout(LOOK_EVERY, asked).await.is_ok();
            // What can't be read for a moment is looked at again in the next.
            store = store.or_else(|| Store::open(&self.directory).ok());
            let set = store.as_ref().and_then(|store| Settings::read(store).ok());
            let set = set.unwrap_or_else(|| settings.clone());
            if !asked && set == settings {
                continue;
            }
            let read = match asked {
                true => Config::load(self.config.as_deref()),
                false => Ok(config.clone()),
            };
            match read.and_then(|config| self.in_force(config, &set)) {
                Ok(now) => {
                    tracing::info!("the configuration is taken over");
                    let waiting = running.waits_for_a_restart(&now);
                    if !waiting.is_empty() {
                        tracing::warn!(keys = waiting.join(" "), "what has changed here needs a restart");
                    }
                    changes.send_replace(now.live);
                    (config, settings, told) = (now.config, set, None);
                }
                // A setting is tried again in the next moment, since a file that goes with it may be on its way.
                Err(error) => {
                    if asked || told.as_ref() != Some(&error) {
                        tracing::error!(%error, next = error.next, "the configuration stays as it was");
                    }
                    told = Some(error);
                }
            }
        }
    }
}

impl InForce {
    fn waits_for_a_restart(&self, now: &Self) -> Vec<&'static str> {
        let log = |config: &Config| (config.log_target, config.log.clone());
        [
            ("listen.address", self.listen != now.listen),
            ("database", self.book != now.book),
            ("limits.connections", self.live.limits.connections != now.live.limits.connections),
            ("limits.requests-per-address", self.requests_per_address != now.requests_per_address),
            ("metrics.address", self.metrics != now.metrics),
            ("log", log(&self.config) != log(&now.config)),
            ("events", (self.events.age, self.events.most) != (now.events.age, now.events.most)),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

/// Where the book is: what was given, or what a file holds, where no list of processes shows it.
pub fn location(database: Option<&str>, config: &Config) -> Result<Location> {
    let given = database.map(Url::given).or_else(|| config.database.clone());
    Ok(given.map(|url| url.read()).transpose()?.map_or(Location::Own, Location::Postgres))
}

/// As text, for `config show`.
pub fn shown(
    config: &Config,
    settings: &Settings,
    directory: &Path,
) -> Vec<(&'static str, String, &'static str)> {
    let (limits, events) = (config.limits.or(Limits::default()), config.events());
    let from = |file: bool, set: bool| match (file, set) {
        (true, _) => "file",
        (false, true) => "command",
        (false, false) => "default",
    };
    let text = |text: &dyn std::fmt::Display| format!("\"{text}\"");
    let seconds =
        |time: Duration| text(&Interval::seconds(u32::try_from(time.as_secs()).unwrap_or(u32::MAX)));
    let url = |url: &Option<Url>, otherwise: &str| match url {
        None => text(&otherwise),
        Some(Url::Given(_)) => "(hidden)".to_owned(),
        Some(Url::File(path)) => format!("(hidden, in {})", path.display()),
    };
    let patience = |own: Option<Interval>, set: Option<Interval>| match own.or(set) {
        Some(interval) => text(&interval),
        None => "(the vendor's policy)".to_owned(),
    };
    let listen = config.listen(settings);
    let a_second = |rate: Option<Rate>| rate.map_or(0, |rate| rate.per_second).to_string();
    let requests = config.requests_per_address.unwrap_or(limit::REQUESTS_PER_ADDRESS);
    let (own, set) = (config.patience, settings.patience);
    let own_file = directory.join(crate::store::FILE).display().to_string();
    vec![
        ("listen.address", text(&listen), from(config.listen.is_some(), settings.port.is_some())),
        ("database.url", url(&config.database, &own_file), from(config.database.is_some(), false)),
        ("proxy.url", url(&config.proxy, ""), from(config.proxy.is_some(), false)),
        ("limits.handshake", seconds(limits.handshake), from(config.limits.handshake.is_some(), false)),
        ("limits.idle", seconds(limits.idle), from(config.limits.idle.is_some(), false)),
        ("limits.request", seconds(limits.request), from(config.limits.request.is_some(), false)),
        (
            "limits.connections",
            limits.connections.to_string(),
            from(config.limits.connections.is_some(), false),
        ),
        (
            "limits.connections-per-address",
            a_second(limits.per_address),
            from(config.limits.connections_per_address.is_some(), false),
        ),
        (
            "limits.requests-per-address",
            requests.to_string(),
            from(config.requests_per_address.is_some(), false),
        ),
        (
            "metrics.address",
            config.metrics.map_or_else(|| "(off)".to_owned(), |address| text(&address)),
            from(config.metrics.is_some(), false),
        ),
        (
            "log.to",
            text(&config.log_target.unwrap_or_default().name()),
            from(config.log_target.is_some(), false),
        ),
        (
            "log.format",
            text(&match config.log.format.unwrap_or_default() {
                command_line::LogFormat::Text => "text",
                command_line::LogFormat::Json => "json",
            }),
            from(config.log.format.is_some(), false),
        ),
        (
            "log.filter",
            text(&config.log.filter.as_deref().unwrap_or("info")),
            from(config.log.filter.is_some(), false),
        ),
        ("events.keep", text(&events.age), from(config.events_keep.is_some(), false)),
        ("events.most", events.most.to_string(), from(config.events_most.is_some(), false)),
        (
            "intervals.activation",
            patience(own.activation, set.activation),
            from(own.activation.is_some(), set.activation.is_some()),
        ),
        (
            "intervals.renewal",
            patience(own.renewal, set.renewal),
            from(own.renewal.is_some(), set.renewal.is_some()),
        ),
    ]
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
