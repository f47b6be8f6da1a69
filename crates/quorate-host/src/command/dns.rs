//! The options of DNS publishing, and `quorate-host dns`.

use crate::config::Config;
use crate::credentials::Active;
use crate::dns::{self, Attempt, Publication, SrvRecord, TsigKey};
use crate::keys::Installed;
use crate::report;
use crate::settings::Settings;
use crate::store::{Place, Store};
use clap::Subcommand;
use quorate_core::catalog::Catalog;
use quorate_core::hardware::Components;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::{self, print};
use quorate_edge::files;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where and how the host is published.
#[derive(clap::Args)]
pub struct DnsOptions {
    /// Publish the host in this domain by dynamic DNS update; may be repeated.
    #[arg(long, value_name = "DOMAIN")]
    publish: Vec<String>,
    /// The primary name server of these domains.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = command_line::name_server)]
    dns_server: Option<SocketAddr>,
    /// The name under which clients reach this host.
    #[arg(long, value_name = "NAME")]
    host_name: Option<String>,
    /// A file with the TSIG key for the updates: hmac-sha256:NAME:BASE64.
    #[arg(long, value_name = "FILE")]
    tsig_key: Option<PathBuf>,
    /// Hosts with the lowest priority are asked first [default: 0].
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u16>,
    /// The share of this host among those of one priority [default: 0].
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u16>,
    /// For how many seconds the record may be cached [default: 3600].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=LONGEST_TTL))]
    ttl: Option<u32>,
}

/// What can be done about DNS by hand.
#[derive(Subcommand)]
pub enum DnsCommand {
    /// Print the records of this host as lines for a zone file.
    #[command(
        mut_arg("publish", |arg| arg.requires("host_name").help(AGAIN)),
        mut_arg("dns_server", |arg| arg.hide(true)),
        mut_arg("tsig_key", |arg| arg.hide(true))
    )]
    Show(DnsOptions),
    /// Publish the host now, as `serve` does at its start and daily.
    #[command(mut_arg("publish", |arg| arg.requires("host_name").requires("dns_server").help(AGAIN)))]
    Publish(DnsOptions),
    /// Remove what this host has published, and nothing else.
    #[command(
        mut_arg("publish", |arg| arg.help(ONLY)),
        mut_arg("dns_server", |arg| arg.requires("publish").help(NOW_AT)),
        mut_arg("host_name", |arg| arg.hide(true)),
        mut_arg("priority", |arg| arg.hide(true)),
        mut_arg("weight", |arg| arg.hide(true)),
        mut_arg("ttl", |arg| arg.hide(true))
    )]
    Withdraw(DnsOptions),
}

// What the options of `serve` say here.
const AGAIN: &str = "The domain; may be repeated [default: where the host was published]";
const ONLY: &str = "Only in this domain; may be repeated [default: wherever the host was published]";
const NOW_AT: &str = "The primary name server of these domains [default: as when it was published]";

impl DnsCommand {
    /// Does it.
    pub fn run(
        self,
        store: &mut Store,
        config: &Config,
        hardware: &Components,
        clock: &Clock,
        out: &mut impl Write,
    ) -> Result<()> {
        let settings = Settings::read(store)?;
        let port = store.setting(report::PORT)?.and_then(|port| port.parse().ok()).or(settings.port);
        let port = port.unwrap_or(quorate_proto::DEFAULT_PORT);
        let now = clock.now();
        match self {
            Self::Show(options) => {
                let catalogs = catalogs(Installed::at_least_one(store, now)?)?;
                show(&options.publications_or_remembered(store, config, &settings)?, &catalogs, port, out)
            }
            Self::Publish(options) => {
                let publications = options.publications_or_remembered(store, config, &settings)?;
                let active = Active::load(&Installed::at_least_one(store, now)?, hardware, now);
                let catalogs: Vec<&Catalog> = active.serving().collect();
                if catalogs.is_empty() {
                    return Err(Error::new(
                        Code::HostNotActivated,
                        "this host has no activated key that it could be published for",
                        "activate it with `quorate-host ato`; `quorate-host dlv all` shows how each key stands",
                    ));
                }
                if publications.is_empty() {
                    return Err(Error::new(
                        Code::AddressInvalid,
                        "no domain is given, and this host has not been published yet",
                        "give --publish DOMAIN --dns-server ADDRESS --host-name NAME --tsig-key FILE",
                    ));
                }
                let publish = dns::publish(store, &publications, &catalogs, port, clock);
                tell(quorate_edge::server::runtime()?.block_on(publish), out)
            }
            Self::Withdraw(options) => withdraw(store, config, &options, clock, out),
        }
    }
}

impl DnsOptions {
    /// Where `serve` publishes the host: what was typed, or else what the file says, unless a command has set that
    /// it shall not be.
    pub fn in_force(&self, config: &Config, settings: &Settings) -> Result<Vec<Publication>> {
        match self.publish.is_empty() {
            false => self.typed(settings),
            true if settings.unpublished => Ok(Vec::new()),
            true => self.configured(config, settings),
        }
    }

    /// What the file says, with the options that were typed.
    fn configured(&self, config: &Config, settings: &Settings) -> Result<Vec<Publication>> {
        let key = self.key()?;
        let configured = config.publications(settings)?.into_iter();
        Ok(configured
            .map(|publication| {
                let key = key.clone().or_else(|| publication.key.clone());
                self.adjusted(Publication { key, ..publication })
            })
            .collect())
    }

    /// The publications that were typed. The options that each needs are there: clap has made sure.
    fn typed(&self, settings: &Settings) -> Result<Vec<Publication>> {
        let key = self.key()?;
        // Only `show` does without a server, and asks none.
        let server = self.dns_server.unwrap_or_else(|| SocketAddr::from(([0u16; 8], 0)));
        let publications = self.publish.iter().zip(self.host_name.iter().cycle());
        let publications = publications.map(|(domain, target)| {
            let priority = settings.priority.unwrap_or(dns::PRIORITY);
            let publication = Publication::new(domain, server, target);
            self.adjusted(Publication { key: key.clone(), priority, ..publication })
        });
        Ok(publications.collect())
    }

    /// The publications that were typed, or else those of the file, or else those that were made before.
    fn publications_or_remembered(
        &self,
        store: &Store,
        config: &Config,
        settings: &Settings,
    ) -> Result<Vec<Publication>> {
        if !self.publish.is_empty() {
            return self.typed(settings);
        }
        let configured = self.configured(config, settings)?;
        if !configured.is_empty() {
            return Ok(configured);
        }
        let key = self.key()?;
        let remembered = dns::remembered(store)?.into_iter();
        Ok(remembered
            .map(|publication| self.adjusted(Publication { key: key.clone(), ..publication }))
            .collect())
    }

    fn adjusted(&self, publication: Publication) -> Publication {
        Publication {
            server: self.dns_server.unwrap_or(publication.server),
            target: self.host_name.clone().unwrap_or(publication.target),
            priority: self.priority.unwrap_or(publication.priority),
            weight: self.weight.unwrap_or(publication.weight),
            ttl: self.ttl.unwrap_or(publication.ttl),
            ..publication
        }
    }

    fn key(&self) -> Result<Option<TsigKey>> {
        let read = |path: &PathBuf| TsigKey::read(&files::read_text(path)?);
        self.tsig_key.as_ref().map(read).transpose()
    }
}

fn show(publications: &[Publication], catalogs: &[Catalog], port: u16, out: &mut impl Write) -> Result<()> {
    let mut shown: Vec<SrvRecord> = Vec::new();
    for catalog in catalogs {
        if publications.is_empty() {
            shown.push(dns::example(catalog, port));
        }
        for publication in publications {
            shown.push(publication.record(catalog, port)?);
        }
    }
    shown.dedup();
    shown.iter().try_for_each(|record| print(out, &record.to_string()))
}

fn withdraw(
    store: &mut Store,
    config: &Config,
    options: &DnsOptions,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<()> {
    let key = options.key()?;
    let configured = options.configured(config, &Settings::default())?;
    // The file may have a key for the domain.
    let key = |place: &Place| {
        let of_file = || {
            let same =
                |other: &&Publication| dns::domain(&other.domain).is_ok_and(|domain| domain == place.domain);
            configured.iter().find(same).and_then(|publication| publication.key.clone())
        };
        key.clone().or_else(of_file)
    };
    let domains: Vec<String> =
        options.publish.iter().map(|domain| dns::domain(domain)).collect::<Result<_>>()?;
    if let Some(server) = options.dns_server {
        for published in
            store.published()?.iter().filter(|published| domains.contains(&published.place.domain))
        {
            store.move_published(&published.place.domain, published.place.server, server)?;
        }
    }
    let chosen = |place: &Place| domains.is_empty() || domains.contains(&place.domain);
    let withdraw = dns::withdraw(store, chosen, key, clock);
    let attempts = quorate_edge::server::runtime()?.block_on(withdraw)?;
    if attempts.is_empty() {
        print(out, "There is nothing to remove: this host has no record in DNS that it knows of.")?;
    }
    tell(attempts, out)?;
    for published in store.published()?.iter().filter(|published| !chosen(&published.place)) {
        print(out, &format!("Still published: {}", published.record))?;
    }
    if store.setting(report::PUBLISHING)?.is_some_and(|domains| !domains.is_empty()) {
        let next = "start `quorate-host serve` without --publish, or set `quorate-host cdns`; it publishes the host at its start and daily";
        print(out, &format!("next: {next}"))?;
    }
    Ok(())
}

/// Says what has become of each, and fails when one has failed.
fn tell(attempts: Vec<Attempt>, out: &mut impl Write) -> Result<()> {
    let mut failed: Option<Error> = None;
    for attempt in attempts {
        if let Err(error) = attempt.result {
            if let Some(before) = failed.replace(error) {
                command_line::tell(&before);
            }
            continue;
        }
        for record in &attempt.removed {
            print(out, &format!("Removed: {record}"))?;
        }
        if let Some(record) = &attempt.record {
            print(out, &format!("Published: {record}"))?;
        }
    }
    failed.map_or(Ok(()), Err)
}

/// One catalog of each vendor. A key that cannot be read keeps no other's from being shown.
fn catalogs(keys: Vec<Installed>) -> Result<Vec<Catalog>> {
    let mut catalogs: Vec<Catalog> = Vec::new();
    let mut failed = None;
    for installed in keys {
        match installed.key {
            Ok(key) if catalogs.iter().any(|catalog| catalog.vendor == key.catalog.vendor) => {}
            Ok(key) => catalogs.push(key.catalog),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if catalogs.is_empty() => Err(error),
        _ => Ok(catalogs),
    }
}

/// RFC 2181, 8.
const LONGEST_TTL: i64 = 0x7fff_ffff;
