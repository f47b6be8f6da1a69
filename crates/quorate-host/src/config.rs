//! The configuration file of the host: TOML, every key optional, each checked when it is read.
//!
//! A mistake is met with the line and what is wanted there; an unknown key with the nearest known one. Values are
//! never repeated in errors, since some are passwords. `docs/host-config.md` documents the keys, and a test compares
//! it with [`KEYS`].

use crate::dns::{self, Publication, TsigKey};
use crate::ledger::EventRetention;
use crate::log::LogTarget;
use crate::settings::{Patience, Settings};
use quorate_core::identifier::quoted;
use quorate_core::{Code, Error, Interval, Result};
use quorate_edge::command_line::{self, LogFormat};
use quorate_edge::files;
use quorate_edge::https::ProxyUrl;
use quorate_edge::rate::Rate;
use quorate_edge::server::Limits;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

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
    /// `limits.handshake`.
    pub handshake: Option<Interval>,
    /// `limits.idle`.
    pub idle: Option<Interval>,
    /// `limits.request`.
    pub request: Option<Interval>,
    /// `limits.connections`.
    pub connections: Option<usize>,
    /// `limits.connections-per-address`.
    pub connections_per_address: Option<u32>,
    /// `limits.requests-per-address`.
    pub requests_per_address: Option<u32>,
    /// `metrics.address`.
    pub metrics: Option<SocketAddr>,
    /// `log.to`.
    pub log_target: Option<LogTarget>,
    /// `log.format`.
    pub log_format: Option<LogFormat>,
    /// `log.filter`.
    pub log_filter: Option<String>,
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

/// A URL that may hold a password, or the file that it stands in.
#[derive(Clone, PartialEq, Eq)]
pub enum Url {
    /// As it is.
    Given(String),
    /// In a file that others cannot read.
    File(PathBuf),
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Url {
    /// The URL.
    pub fn read(&self) -> Result<String> {
        match self {
            Self::Given(url) => Ok(url.clone()),
            Self::File(path) => Ok(files::read_text(path)?.trim().to_owned()),
        }
    }
}

impl Config {
    /// The file that is named, or the usual one when it is there, or none.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        match named.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Self::read(path),
            None if Path::new(USUAL).exists() => Self::read(Path::new(USUAL)),
            None => Ok(Self::default()),
        }
    }

    /// Reads one file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path)?, path)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        Reader { text, path }.config()
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

    /// The limits, where it names any.
    pub fn limits(&self, otherwise: Limits) -> Limits {
        Limits {
            handshake: self.handshake.map_or(otherwise.handshake, Into::into),
            idle: self.idle.map_or(otherwise.idle, Into::into),
            request: self.request.map_or(otherwise.request, Into::into),
            connections: self.connections.unwrap_or(otherwise.connections),
            per_address: self.connections_per_address.map_or(otherwise.per_address, Rate::per_second),
        }
    }
}

impl Domain {
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

/// A file that is being read.
struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn config(&self) -> Result<Config> {
        let table = DeTable::parse(self.text).map_err(|error| {
            // What TOML says is about the form and repeats no value.
            let what = format!("it is not TOML: {}", error.message());
            self.wrong(
                &error.span().unwrap_or(0..0),
                what,
                "write it as in the example, packaging/quorate-host.toml",
            )
        })?;
        let mut config = Config { path: Some(self.path.to_owned()), ..Config::default() };
        for (section, value) in table.get_ref() {
            let name = section.get_ref().as_ref();
            if !sections().any(|known| known == name) {
                return Err(self.unknown(&section.span(), name));
            }
            if name == "dns" {
                config.dns = self.domains(value)?;
                continue;
            }
            let DeValue::Table(table) = value.get_ref() else {
                let wanted = format!("a table: write [{name}] on a line of its own, and its keys below");
                return Err(self.wanted(&value.span(), name, &wanted));
            };
            for (key, value) in table {
                let full = format!("{name}.{}", key.get_ref());
                self.set(&mut config, &full, &key.span(), value)?;
            }
        }
        Ok(config)
    }

    fn set(&self, config: &mut Config, key: &str, at: &Range<usize>, value: &Value<'_>) -> Result<()> {
        match key {
            "listen.address" => {
                let wanted = "an address and a port as in \"[::]:1688\"";
                config.listen = Some(self.parsed(key, value, wanted, |text| text.parse().ok())?);
            }
            "database.url" => self.url(&mut config.database, key, value, Url::Given)?,
            "database.url-file" => self.url(&mut config.database, key, value, |path| self.file(&path))?,
            "proxy.url" => {
                self.parsed(key, value, "a URL as in \"http://proxy.example:3128\"", |text| {
                    text.parse::<ProxyUrl>().ok()
                })?;
                self.url(&mut config.proxy, key, value, Url::Given)?;
            }
            "proxy.url-file" => self.url(&mut config.proxy, key, value, |path| self.file(&path))?,
            "limits.handshake" => config.handshake = Some(self.time(key, value, SECOND..=DAY)?),
            "limits.idle" => config.idle = Some(self.time(key, value, SECOND..=DAY)?),
            "limits.request" => config.request = Some(self.time(key, value, SECOND..=DAY)?),
            "limits.connections" => {
                let connections = self.number(key, value, 1..=200_000)?;
                config.connections = Some(usize::try_from(connections).unwrap_or(usize::MAX));
            }
            "limits.connections-per-address" => {
                config.connections_per_address =
                    u32::try_from(self.number(key, value, 0..=MOST_A_SECOND)?).ok();
            }
            "limits.requests-per-address" => {
                config.requests_per_address = u32::try_from(self.number(key, value, 0..=MOST_A_SECOND)?).ok();
            }
            "metrics.address" => {
                let wanted = "an address and a port as in \"127.0.0.1:9688\"";
                config.metrics = Some(self.parsed(key, value, wanted, |text| text.parse().ok())?);
            }
            "log.to" => {
                let wanted = "\"stderr\", \"journald\" or \"syslog\"";
                config.log_target = Some(self.parsed(key, value, wanted, LogTarget::named)?);
            }
            "log.format" => {
                let format = self.parsed(key, value, "\"text\" or \"json\"", |text| match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })?;
                config.log_format = Some(format);
            }
            "log.filter" => {
                let wanted = "a level or levels of modules, as in \"info\" or \"info,quorate_host=debug\"";
                let sound = |text: &str| command_line::is_log_filter(text).then(|| text.to_owned());
                config.log_filter = Some(self.parsed(key, value, wanted, sound)?);
            }
            "events.keep" => config.events_keep = Some(self.time(key, value, DAY..=Interval::days(3_650))?),
            "events.most" => config.events_most = Some(self.number(key, value, 1..=1_000_000_000)?),
            "intervals.activation" => {
                config.patience.activation = Some(self.time(key, value, Patience::RANGE)?)
            }
            "intervals.renewal" => config.patience.renewal = Some(self.time(key, value, Patience::RANGE)?),
            _ => return Err(self.unknown(at, key)),
        }
        Ok(())
    }

    fn domains(&self, value: &Value<'_>) -> Result<Vec<Domain>> {
        let wanted = "tables: write [[dns]] on a line of its own for each domain";
        let DeValue::Array(tables) = value.get_ref() else {
            return Err(self.wanted(&value.span(), "dns", wanted));
        };
        let domain = |table: &Value<'_>| match table.get_ref() {
            DeValue::Table(keys) => self.domain(keys, &table.span()),
            _ => Err(self.wanted(&table.span(), "dns", wanted)),
        };
        tables.iter().map(domain).collect()
    }

    fn domain(&self, table: &DeTable<'_>, at: &Range<usize>) -> Result<Domain> {
        let (mut domain, mut server, mut host_name, mut tsig_key_file) = (None, None, None, None);
        let (mut priority, mut weight, mut ttl) = (None, None, None);
        for (key, value) in table {
            let full = format!("dns.{}", key.get_ref());
            let full = full.as_str();
            let name = |text: &str| dns::domain(text).ok().map(|_| text.to_owned());
            match full {
                "dns.domain" => {
                    domain = Some(self.parsed(full, value, "a domain as in \"corp.example.com\"", name)?);
                }
                "dns.server" => {
                    let wanted = "an IP address, and a port unless it is 53, as in \"192.0.2.53\"";
                    let address = |text: &str| command_line::name_server(text).ok();
                    server = Some(self.parsed(full, value, wanted, address)?);
                }
                "dns.host-name" => {
                    let wanted = "the name of this host as in \"kms1.corp.example.com\"";
                    host_name = Some(self.parsed(full, value, wanted, name)?);
                }
                "dns.tsig-key-file" => {
                    tsig_key_file = Some(self.beside(&self.text_of(full, value)?));
                }
                "dns.priority" => priority = u16::try_from(self.number(full, value, 0..=65_535)?).ok(),
                "dns.weight" => weight = u16::try_from(self.number(full, value, 0..=65_535)?).ok(),
                "dns.ttl" => ttl = u32::try_from(self.number(full, value, 0..=LONGEST_TTL)?).ok(),
                _ => return Err(self.unknown(&key.span(), full)),
            }
        }
        let missing = |key: &str| self.wrong(at, format!("this [[dns]] has no {key}"), "add it below");
        Ok(Domain {
            domain: domain.ok_or_else(|| missing("domain"))?,
            server: server.ok_or_else(|| missing("server"))?,
            host_name: host_name.ok_or_else(|| missing("host-name"))?,
            tsig_key_file,
            priority,
            weight,
            ttl,
        })
    }

    fn text_of(&self, key: &str, value: &Value<'_>) -> Result<String> {
        self.parsed(key, value, "a text in quotation marks", |text| {
            Some(text.to_owned()).filter(|text| !text.is_empty())
        })
    }

    fn parsed<T>(
        &self,
        key: &str,
        value: &Value<'_>,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        value.get_ref().as_str().and_then(parse).ok_or_else(|| self.wanted(&value.span(), key, wanted))
    }

    fn time(&self, key: &str, value: &Value<'_>, range: RangeInclusive<Interval>) -> Result<Interval> {
        let wanted = format!("a time from {} to {}, as in \"{}\"", range.start(), range.end(), range.start());
        self.parsed(key, value, &wanted, |text| text.parse().ok().filter(|time| range.contains(time)))
    }

    fn number(&self, key: &str, value: &Value<'_>, range: RangeInclusive<u64>) -> Result<u64> {
        let integer = value.get_ref().as_integer();
        let number = integer.and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            self.wanted(&value.span(), key, &wanted)
        })
    }

    fn url(
        &self,
        place: &mut Option<Url>,
        key: &str,
        value: &Value<'_>,
        make: impl FnOnce(String) -> Url,
    ) -> Result<()> {
        let url = make(self.text_of(key, value)?);
        match place.replace(url) {
            None => Ok(()),
            Some(_) => Err(self.wrong(
                &value.span(),
                "url and url-file stand side by side",
                "keep one of them; a file that others cannot read is the safer place",
            )),
        }
    }

    fn file(&self, path: &str) -> Url {
        Url::File(self.beside(path))
    }

    /// Paths are seen from the file's own directory.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn wanted(&self, at: &Range<usize>, key: &str, wanted: &str) -> Error {
        self.wrong(at, format!("the value of {key} cannot be used"), format!("it wants {wanted}"))
    }

    fn unknown(&self, at: &Range<usize>, key: &str) -> Error {
        let near = |known: &&str| strsim::damerau_levenshtein(key, known);
        let nearest = sections().chain(KEYS.iter().copied()).min_by_key(near).unwrap_or_default();
        let next = match key.split_once('.') {
            // Somebody may have left out the table's name.
            None if key.len() > 2 => KEYS.iter().find(|known| known.ends_with(&format!(".{key}"))).copied(),
            _ => None,
        };
        let next = format!("did you mean {}? docs/host-config.md has all keys", next.unwrap_or(nearest));
        self.wrong(at, format!("{} is not a key of this file", quoted(key)), next)
    }

    fn wrong(&self, at: &Range<usize>, what: impl AsRef<str>, next: impl Into<String>) -> Error {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let what = format!("line {line} of {}: {}", self.path.display(), what.as_ref());
        Error::new(Code::DocumentInvalid, what, next)
    }
}

/// The names of the tables.
fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.split('.').next())
}

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

/// Read when no other file is named.
pub const USUAL: &str = "/etc/quorate/host.toml";

const SECOND: Interval = Interval::seconds(1);
const DAY: Interval = Interval::days(1);
const MOST_A_SECOND: u64 = 1_000_000;
/// RFC 2181, 8.
const LONGEST_TTL: u64 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

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
                "it wants tables: write [[dns]] on a line of its own for each domain",
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
