//! The configuration file of the host. `docs/host-config.md` documents the keys, and a test compares it with [`KEYS`].

use crate::dns::{self, Publication, TsigKey};
use crate::ledger::EventRetention;
use crate::log::LogTarget;
use crate::settings::{Patience, Settings};
use quorate_core::{Interval, Result};
use quorate_edge::command_line;
use quorate_edge::config::{Entry, Kind, LimitKeys, LogKeys, MOST_A_SECOND, Table, Url};
use quorate_edge::files;
use quorate_edge::https::ProxyUrl;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the file says; what it does not say is `None`.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The file, when there is one.
    pub path: Option<PathBuf>,
    /// `listen.address`.
    pub listen: Option<SocketAddr>,
    /// The tables of `dns`.
    pub dns: Vec<Domain>,
    /// `database`.
    pub database: Option<Url>,
    /// `proxy`.
    pub proxy: Option<Url>,
    /// Those of `limits` that are about connections.
    pub limits: LimitKeys,
    /// `limits.requests-per-address`.
    pub requests_per_address: Option<u32>,
    /// `metrics.address`.
    pub metrics: Option<SocketAddr>,
    /// `log.to`.
    pub log_target: Option<LogTarget>,
    /// `log.format` and `log.filter`.
    pub log: LogKeys,
    /// `events.keep`.
    pub events_keep: Option<Interval>,
    /// `events.most`.
    pub events_most: Option<u64>,
    /// `intervals`.
    pub patience: Patience,
}

/// One `[[dns]]`: a domain in which the host is published.
#[derive(Clone, Debug)]
pub struct Domain {
    /// The domain.
    pub domain: String,
    /// Its primary name server.
    pub server: SocketAddr,
    /// The name under which clients reach this host.
    pub host_name: String,
    /// A file with the TSIG key.
    pub tsig_key_file: Option<PathBuf>,
    /// Of the SRV record.
    pub priority: Option<u16>,
    /// Of the SRV record.
    pub weight: Option<u16>,
    /// Of the SRV record, in seconds.
    pub ttl: Option<u32>,
}

impl Config {
    /// The file that is named, or the usual one when it is there, or none.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        KIND.choose(named).map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// Reads one file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path)?, path)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut config = Self { path: Some(path.to_owned()), ..Self::default() };
        KIND.read(text, path, |entry| config.take(entry))?;
        Ok(config)
    }

    /// Finds out whether what it names can be used as well.
    pub fn check(&self) -> Result<()> {
        self.publications(&Settings::default())?;
        if let Some(url) = &self.database {
            quorate_edge::postgres::check(&url.read()?)?;
        }
        self.log_target.unwrap_or_default().check()?;
        self.proxy().map(drop)
    }

    /// The address to listen on.
    pub fn listen(&self, settings: &Settings) -> SocketAddr {
        let port = settings.port.unwrap_or(quorate_proto::DEFAULT_PORT);
        self.listen.unwrap_or_else(|| SocketAddr::from(([0u16; 8], port)))
    }

    /// How long events are kept.
    pub fn events(&self) -> EventRetention {
        let usual = EventRetention::default();
        EventRetention {
            age: self.events_keep.unwrap_or(usual.age),
            most: self.events_most.unwrap_or(usual.most),
        }
    }

    /// Where the host is published.
    pub fn publications(&self, settings: &Settings) -> Result<Vec<Publication>> {
        self.dns.iter().map(|domain| domain.publication(settings)).collect()
    }

    /// The proxy to the vendors' services.
    pub fn proxy(&self) -> Result<Option<ProxyUrl>> {
        self.proxy.as_ref().map(|url| url.read()?.parse()).transpose()
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<()> {
        if self.limits.take(entry)? || self.log.take(entry)? {
            return Ok(());
        }
        match entry.key() {
            "dns" => self.dns = entry.tables()?.iter().map(Domain::read).collect::<Result<_>>()?,
            "listen.address" => {
                let wanted = "an address and a port as in \"[::]:1688\"";
                self.listen = Some(entry.parsed(wanted, |text| text.parse().ok())?);
            }
            "database.url" | "database.url-file" => entry.url(&mut self.database)?,
            "proxy.url" => {
                let is_url = |text: &str| text.parse::<ProxyUrl>().ok();
                entry.parsed("a URL as in \"http://proxy.example:3128\"", is_url)?;
                entry.url(&mut self.proxy)?;
            }
            "proxy.url-file" => entry.url(&mut self.proxy)?,
            "limits.requests-per-address" => {
                self.requests_per_address = u32::try_from(entry.number(0..=MOST_A_SECOND)?).ok();
            }
            "metrics.address" => {
                let wanted = "an address and a port as in \"127.0.0.1:9688\"";
                self.metrics = Some(entry.parsed(wanted, |text| text.parse().ok())?);
            }
            "log.to" => {
                let wanted = "\"stderr\", \"journald\" or \"syslog\"";
                self.log_target = Some(entry.parsed(wanted, LogTarget::named)?);
            }
            "events.keep" => self.events_keep = Some(entry.time(DAY..=Interval::days(3_650))?),
            "events.most" => self.events_most = Some(entry.number(1..=1_000_000_000)?),
            "intervals.activation" => self.patience.activation = Some(entry.time(Patience::RANGE)?),
            "intervals.renewal" => self.patience.renewal = Some(entry.time(Patience::RANGE)?),
            _ => return Err(entry.unknown()),
        }
        Ok(())
    }
}

impl Domain {
    fn read(table: &Table<'_>) -> Result<Self> {
        let (mut domain, mut server, mut host_name, mut tsig_key_file) = (None, None, None, None);
        let (mut priority, mut weight, mut ttl) = (None, None, None);
        for entry in &table.entries {
            let name = |text: &str| dns::domain(text).ok().map(|_| text.to_owned());
            match entry.key() {
                "dns.domain" => domain = Some(entry.parsed("a domain as in \"corp.example.com\"", name)?),
                "dns.server" => {
                    let wanted = "an IP address, and a port unless it is 53, as in \"192.0.2.53\"";
                    server = Some(entry.parsed(wanted, |text| command_line::name_server(text).ok())?);
                }
                "dns.host-name" => {
                    let wanted = "the name of this host as in \"kms1.corp.example.com\"";
                    host_name = Some(entry.parsed(wanted, name)?);
                }
                "dns.tsig-key-file" => tsig_key_file = Some(entry.path()?),
                "dns.priority" => priority = u16::try_from(entry.number(0..=65_535)?).ok(),
                "dns.weight" => weight = u16::try_from(entry.number(0..=65_535)?).ok(),
                "dns.ttl" => ttl = u32::try_from(entry.number(0..=LONGEST_TTL)?).ok(),
                _ => return Err(entry.unknown()),
            }
        }
        Ok(Self {
            domain: domain.ok_or_else(|| table.missing("domain"))?,
            server: server.ok_or_else(|| table.missing("server"))?,
            host_name: host_name.ok_or_else(|| table.missing("host-name"))?,
            tsig_key_file,
            priority,
            weight,
            ttl,
        })
    }

    /// What is published there, without the key that permits it.
    pub fn unsigned(&self, settings: &Settings) -> Publication {
        Publication {
            priority: self.priority.or(settings.priority).unwrap_or(dns::PRIORITY),
            weight: self.weight.unwrap_or(dns::WEIGHT),
            ttl: self.ttl.unwrap_or(dns::TTL),
            ..Publication::new(&self.domain, self.server, &self.host_name)
        }
    }

    fn publication(&self, settings: &Settings) -> Result<Publication> {
        let key = |path: &PathBuf| TsigKey::read(&files::read_text(path)?);
        let key = self.tsig_key_file.as_ref().map(key).transpose()?;
        Ok(Publication { key, ..self.unsigned(settings) })
    }
}

/// The host's files.
const KIND: Kind = Kind {
    usual: "/etc/quorate/host.toml",
    keys: KEYS,
    lists: &["dns"],
    document: "docs/host-config.md",
    example: "packaging/quorate-host.toml",
};

/// Every key there is.
pub const KEYS: &[&str] = &[
    "listen.address",
    "dns.domain",
    "dns.server",
    "dns.host-name",
    "dns.tsig-key-file",
    "dns.priority",
    "dns.weight",
    "dns.ttl",
    "database.url",
    "database.url-file",
    "proxy.url",
    "proxy.url-file",
    "limits.handshake",
    "limits.idle",
    "limits.request",
    "limits.connections",
    "limits.connections-per-address",
    "limits.requests-per-address",
    "metrics.address",
    "log.to",
    "log.format",
    "log.filter",
    "events.keep",
    "events.most",
    "intervals.activation",
    "intervals.renewal",
];

const DAY: Interval = Interval::days(1);
/// RFC 2181, 8.
const LONGEST_TTL: u64 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::Code;

    fn read(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("/etc/quorate/host.toml"))
    }

    #[test]
    fn an_empty_file_says_nothing() {
        let config = read("").unwrap();
        assert_eq!(config.listen, None);
        assert!(config.publications(&Settings::default()).unwrap().is_empty());
    }

    #[test]
    fn every_domain_is_a_publication_of_its_own() {
        let config = read(
            "[[dns]]\ndomain = 'one.test'\nserver = '192.0.2.1'\nhost-name = 'kms.one.test'\npriority = 3\n\
             [[dns]]\ndomain = 'two.test'\nserver = '[2001:db8::1]:5353'\nhost-name = 'kms.two.test'\nttl = 60\n",
        )
        .unwrap();
        let settings = Settings { priority: Some(9), ..Settings::default() };
        let publications = config.publications(&settings).unwrap();
        let told: Vec<String> = publications
            .iter()
            .map(|p| format!("{} {} {} {} {} {}", p.domain, p.server, p.target, p.priority, p.weight, p.ttl))
            .collect();
        assert_eq!(
            told,
            [
                "one.test 192.0.2.1:53 kms.one.test 3 0 3600",
                "two.test [2001:db8::1]:5353 kms.two.test 9 0 60"
            ]
        );
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_without_their_value() {
        for (text, what, next) in [
            (
                "\n[limts]\n",
                "line 2 of F: \"limts\" is not a key of this file",
                "did you mean limits? docs/host-config.md has all keys",
            ),
            (
                "[limits]\nidel = \"3s\"",
                "line 2 of F: \"limits.idel\" is not a key of this file",
                "did you mean limits.idle? docs/host-config.md has all keys",
            ),
            (
                "host-name = 'x'",
                "line 1 of F: \"host-name\" is not a key of this file",
                "did you mean dns.host-name? docs/host-config.md has all keys",
            ),
            (
                "[limits]\n\nidle = 30",
                "line 3 of F: the value of limits.idle cannot be used",
                "it wants a time from 1s to 1d, as in \"1s\"",
            ),
            (
                "[limits]\nidle = '2d'",
                "line 2 of F: the value of limits.idle cannot be used",
                "it wants a time from 1s to 1d, as in \"1s\"",
            ),
            (
                "[limits]\nconnections = -1",
                "line 2 of F: the value of limits.connections cannot be used",
                "it wants a whole number from 1 to 200000",
            ),
            (
                "[log]\nformat = 'xml'",
                "line 2 of F: the value of log.format cannot be used",
                "it wants \"text\" or \"json\"",
            ),
            (
                "[intervals]\nrenewal = '14m'",
                "line 2 of F: the value of intervals.renewal cannot be used",
                "it wants a time from 15m to 30d, as in \"15m\"",
            ),
            (
                "[proxy]\nurl = 'user:secret@proxy'",
                "line 2 of F: the value of proxy.url cannot be used",
                "it wants a URL as in \"http://proxy.example:3128\"",
            ),
            (
                "[proxy]\nurl = 'http://p'\nurl-file = 'f'",
                "line 3 of F: url and url-file stand side by side",
                "keep one of them; a file that others cannot read is the safer place",
            ),
            ("[[dns]]\ndomain = 'x.test'", "line 1 of F: this [[dns]] has no server", "add it below"),
            (
                "[dns]\ndomain = 'x.test'",
                "line 1 of F: the value of dns cannot be used",
                "it wants tables: write [[dns]] on a line of its own for each",
            ),
            (
                "listen = 3",
                "line 1 of F: the value of listen cannot be used",
                "it wants a table: write [listen] on a line of its own, and its keys below",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.what, what.replace('F', "/etc/quorate/host.toml"), "{text}");
            assert_eq!((error.next.as_str(), error.code), (next, Code::DocumentInvalid), "{text}");
        }
        let error = read("[database]\nurl = 'postgres://u:secret@h/d\n").unwrap_err();
        assert!(error.what.starts_with("line 2 of /etc/quorate/host.toml: it is not TOML: "), "{error}");
        assert!(!error.report().contains("secret"), "{error}");
    }

    #[test]
    fn secrets_are_not_in_what_debug_prints() {
        let config =
            read("[database]\nurl = 'postgres://u:secret@h/d'\n[proxy]\nurl = 'http://u:secret@h'").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }

    /// The document, the example and the program know the same keys.
    #[test]
    fn the_document_and_the_example_have_every_key() {
        let (mut documented, mut section) = (Vec::new(), String::new());
        for line in DOCUMENT.lines() {
            let key = line.strip_prefix("| `").and_then(|rest| rest.split_once('`'));
            // Other tables of the document name commands, which have no dot.
            documented.extend(key.filter(|(key, _)| key.contains('.')).map(|(key, _)| key.to_owned()));
        }
        let mut in_example = Vec::new();
        let mut whole = String::new();
        for line in EXAMPLE.lines() {
            // A key that is commented out has no space behind the sign; a comment has.
            let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_matches(['[', ']']).to_owned();
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                in_example.push(format!("{section}.{key}"));
            }
            // A URL stands beside the file with it, as the other way; one of them is read.
            if !line.starts_with("url = ") {
                whole += line;
            }
            whole.push('\n');
        }
        assert_eq!(documented, KEYS);
        assert_eq!(in_example, KEYS);
        assert!(read(EXAMPLE).is_ok(), "{:?}", read(EXAMPLE));
        assert!(read(&whole).is_ok(), "{:?}", read(&whole));
    }

    const EXAMPLE: &str = include_str!("../../../packaging/quorate-host.toml");
    const DOCUMENT: &str = include_str!("../../../docs/host-config.md");
}
