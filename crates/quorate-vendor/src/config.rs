//! The configuration file of the vendor's service. `docs/vendor-config.md` documents the keys, and a test compares it
//! with [`KEYS`].

use crate::authority;
use crate::openid::{self, settings::Settings};
use crate::voice::signature::Secret;
use quorate_core::{Code, Error, Result};
use quorate_edge::config::{Entry, Kind, LimitKeys, LogKeys, Url};
use quorate_edge::files;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the file says; what it does not say is `None`.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The file, when there is one.
    pub path: Option<PathBuf>,
    /// `listen.address`.
    pub listen: Option<SocketAddr>,
    /// `tls.certificate`.
    pub tls_certificate: Option<PathBuf>,
    /// `tls.key`.
    pub tls_key: Option<PathBuf>,
    /// `database`.
    pub database: Option<Url>,
    /// `metrics.address`.
    pub metrics: Option<SocketAddr>,
    /// `voice.secret-file`.
    pub voice_secret: Option<PathBuf>,
    /// `openid`.
    pub openid: Option<Settings>,
    /// `limits`.
    pub limits: LimitKeys,
    /// `log`.
    pub log: LogKeys,
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
        let mut openid = openid::settings::Keys::default();
        KIND.read(text, path, |entry| if openid.take(entry)? { Ok(()) } else { config.take(entry) })?;
        config.openid = openid.finish(path)?;
        if config.tls_certificate.is_some() != config.tls_key.is_some() {
            return Err(Error::new(
                Code::DocumentInvalid,
                format!("{} has one of tls.certificate and tls.key", path.display()),
                "add the other, or leave out both",
            ));
        }
        Ok(config)
    }

    /// Finds out whether what it names can be used as well.
    pub fn check(&self) -> Result<()> {
        if let Some(url) = &self.database {
            quorate_edge::postgres::check(&url.read()?)?;
        }
        if let Some((certificate, key)) = self.tls_certificate.as_ref().zip(self.tls_key.as_ref()) {
            authority::tls_from_files(certificate, key)?;
        }
        self.voice_secret.as_deref().map(Secret::read).transpose()?;
        self.openid.as_ref().map(Settings::check).transpose().map(drop)
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<()> {
        if self.limits.take(entry)? || self.log.take(entry)? {
            return Ok(());
        }
        let address = |wanted| entry.parsed(wanted, |text| text.parse().ok());
        match entry.key() {
            "listen.address" => self.listen = Some(address("an address and a port as in \"[::]:8443\"")?),
            "tls.certificate" => self.tls_certificate = Some(entry.path()?),
            "tls.key" => self.tls_key = Some(entry.path()?),
            "database.url" | "database.url-file" => entry.url(&mut self.database)?,
            "metrics.address" => {
                self.metrics = Some(address("an address and a port as in \"127.0.0.1:9689\"")?)
            }
            "voice.secret-file" => self.voice_secret = Some(entry.path()?),
            _ => return Err(entry.unknown()),
        }
        Ok(())
    }
}

/// The vendor's files.
const KIND: Kind = Kind {
    usual: "/etc/quorate/vendor.toml",
    keys: KEYS,
    lists: &[],
    document: "docs/vendor-config.md",
    example: "packaging/quorate-vendor.toml",
};

/// Every key there is.
pub const KEYS: &[&str] = &[
    "listen.address",
    "tls.certificate",
    "tls.key",
    "database.url",
    "database.url-file",
    "metrics.address",
    "voice.secret-file",
    "openid.issuer",
    "openid.client-id",
    "openid.client-secret-file",
    "openid.ca-file",
    "openid.name",
    "openid.scopes",
    "openid.claim",
    "openid.admin",
    "openid.support",
    "openid.read-only",
    "limits.handshake",
    "limits.idle",
    "limits.request",
    "limits.connections",
    "limits.connections-per-address",
    "log.format",
    "log.filter",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Role;

    fn read(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("/etc/quorate/vendor.toml"))
    }

    #[test]
    fn what_the_file_says() {
        let config = read(
            "[listen]\naddress = '[::]:443'\n[tls]\ncertificate = 'tls.pem'\nkey = '/k'\n[database]\nurl-file = 'db'\n\
             [limits]\nidle = '5s'\n[log]\nformat = 'json'\n",
        )
        .unwrap();
        assert_eq!(config.listen.unwrap().port(), 443);
        assert_eq!(config.tls_certificate.as_deref(), Some(Path::new("/etc/quorate/tls.pem")));
        assert_eq!(config.database, Some(Url::File("/etc/quorate/db".into())));
        assert_eq!(config.limits.or(quorate_edge::server::Limits::default()).idle.as_secs(), 5);
    }

    #[test]
    fn a_provider_and_who_has_which_role() {
        assert!(read("[voice]\nsecret-file = 's'\n").unwrap().openid.is_none());
        let least =
            "[openid]\nissuer = 'https://login.example/a/'\nclient-id = 'q'\nclient-secret-file = 's'\n";
        let settings = read(&format!("{least}support = ['desk', 'both']\nread-only = ['all', 'both']\n"));
        let settings = settings.unwrap().openid.unwrap();
        assert_eq!(settings.issuer, "https://login.example/a/");
        assert_eq!(
            (settings.name.as_str(), settings.claim.as_str()),
            ("Sign in with OpenID Connect", "groups")
        );
        assert_eq!(settings.scopes, ["openid", "profile", "email"]);
        for (values, role) in [
            (&["all", "desk"][..], Some(Role::Support)),
            (&["all"], Some(Role::ReadOnly)),
            (&["both"], Some(Role::Support)),
            (&["Desk", "des", ""], None),
            (&[], None),
        ] {
            assert_eq!(settings.role(values), role, "{values:?}");
        }
        let settings =
            read(&format!("{least}admin = ['a']\nname = ' Go '\nclaim = 'roles'\nscopes = ['groups']\n"));
        let settings = settings.unwrap().openid.unwrap();
        assert_eq!((settings.name.as_str(), settings.claim.as_str()), ("Go", "roles"));
        assert_eq!(settings.scopes, ["openid", "groups"]);
        let lacks = |key: &str| format!("/etc/quorate/vendor.toml has some of [openid], but no openid.{key}");
        for (text, what) in [
            (least.to_owned(), lacks("admin, openid.support or openid.read-only")),
            ("[openid]\nadmin = ['a']".to_owned(), lacks("issuer")),
            (format!("{}admin = ['a']", least.replace("client-id = 'q'", "")), lacks("client-id")),
            (
                format!("{}admin = ['a']", least.replace("client-secret-file = 's'", "")),
                lacks("client-secret-file"),
            ),
        ] {
            assert_eq!(read(&text).unwrap_err().what, what, "{text}");
        }
        for issuer in [
            "http://login.example",
            "login.example",
            "https://u:p@login.example",
            "https://login.example/?a",
            "https://",
            "https://l\u{f6}gin.example",
        ] {
            let error = read(&least.replace("https://login.example/a/", issuer)).unwrap_err();
            assert_eq!(
                error.what,
                "line 2 of /etc/quorate/vendor.toml: the value of openid.issuer cannot be used"
            );
        }
        read(&format!("{}admin = ['a']", least.replace("https://login.example/a/", "http://[::1]:8/")))
            .unwrap();
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_without_their_value() {
        for (text, what, next) in [
            (
                "[tls]\nkey = 'k'",
                "F has one of tls.certificate and tls.key",
                "add the other, or leave out both",
            ),
            (
                "\n[listen]\nadress = 443",
                "line 3 of F: \"listen.adress\" is not a key of this file",
                "did you mean listen.address? docs/vendor-config.md has all keys",
            ),
            (
                "[metrics]\naddress = 'secret'",
                "line 2 of F: the value of metrics.address cannot be used",
                "it wants an address and a port as in \"127.0.0.1:9689\"",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.what, what.replace('F', "/etc/quorate/vendor.toml"), "{text}");
            assert_eq!((error.next.as_str(), error.code), (next, Code::DocumentInvalid), "{text}");
        }
        assert!(!format!("{:?}", read("[database]\nurl = 'postgres://u:pa55@h/d'")).contains("pa55"));
    }

    /// The document, the example and the program know the same keys.
    #[test]
    fn the_document_and_the_example_have_every_key() {
        let key = |line: &'static str| line.strip_prefix("| `").and_then(|rest| rest.split_once('`'));
        let documented: Vec<&str> = DOCUMENT.lines().filter_map(key).map(|(key, _)| key).collect();
        assert_eq!(documented, KEYS);
        let (mut section, mut in_example) = (String::new(), Vec::new());
        for line in EXAMPLE.lines() {
            // A key that is commented out has no space behind the sign; a comment has.
            let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                in_example.push(format!("{section}.{key}"));
            }
        }
        assert_eq!(in_example, KEYS);
        assert!(read(EXAMPLE).is_ok(), "{:?}", read(EXAMPLE));
    }

    const EXAMPLE: &str = include_str!("../../../packaging/quorate-vendor.toml");
    const DOCUMENT: &str = include_str!("../../../docs/vendor-config.md");
}
