//! `[openid]` of the configuration file.

use crate::accounts::Role;
use crate::address::{self, Flaw};
use quorate_core::{Code, Error, Result};
use quorate_edge::config::Entry;
use quorate_edge::files;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Which provider, and who has which role.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The provider's name for itself, to the letter.
    pub issuer: String,
    /// The service's name at the provider.
    pub client_id: String,
    secret_file: PathBuf,
    ca_file: Option<PathBuf>,
    /// What the button says.
    pub name: String,
    /// What the provider is asked to tell.
    pub scopes: Vec<String>,
    /// The claim that gives roles.
    pub claim: String,
    /// Values of that claim, the mightiest role first.
    roles: [(Role, Vec<String>); 3],
}

impl Settings {
    /// The role of somebody of whom the provider says these values: the mightiest of several.
    pub fn role(&self, values: &[&str]) -> Option<Role> {
        let gives = |wanted: &String| values.contains(&wanted.as_str());
        self.roles.iter().find(|(_, wanted)| wanted.iter().any(gives)).map(|(role, _)| *role)
    }

    /// Finds out whether the files that it names can be used.
    pub fn check(&self) -> Result<()> {
        self.secret()?;
        self.trusted().map(drop)
    }

    /// Reads the client's secret.
    pub fn secret(&self) -> Result<Zeroizing<String>> {
        let text = files::read_secret(
            &self.secret_file,
            "with it, somebody can pass for this service at the provider",
        )?;
        let secret = text.trim();
        if secret.is_empty() || secret.chars().any(char::is_whitespace) {
            return Err(Error::new(
                Code::DocumentInvalid,
                format!("{} does not hold a secret and nothing else", self.secret_file.display()),
                "put the secret that the provider shows for this client into the file, alone on one line",
            ));
        }
        Ok(Zeroizing::new(secret.to_owned()))
    }

    /// Reads the certificates that are trusted besides those of the machine.
    pub fn trusted(&self) -> Result<Vec<CertificateDer<'static>>> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let pem = files::read(path)?;
        let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        certificates.ok().filter(|certificates| !certificates.is_empty()).ok_or_else(|| {
            Error::new(
                Code::DocumentInvalid,
                format!("{} holds no certificates in PEM", path.display()),
                "give the file with the certificate of the authority that the provider's own chains to",
            )
        })
    }
}

/// The keys of the table, as they are read.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    issuer: Option<String>,
    client_id: Option<String>,
    secret_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    name: Option<String>,
    scopes: Option<Vec<String>>,
    claim: Option<String>,
    admin: Vec<String>,
    support: Vec<String>,
    read_only: Vec<String>,
    any: bool,
}

impl Keys {
    /// Takes a key, when it is one of these.
    pub fn take(&mut self, entry: &Entry<'_>) -> Result<bool> {
        match entry.key() {
            "openid.issuer" => {
                let sound = |text: &str| is_issuer(text).then(|| text.to_owned());
                let wanted = "the https URL that the provider calls its issuer, as in \"https://login.contoso.example\"";
                self.issuer = Some(entry.parsed(wanted, sound)?);
            }
            "openid.client-id" => self.client_id = Some(entry.text()?),
            "openid.client-secret-file" => self.secret_file = Some(entry.path()?),
            "openid.ca-file" => self.ca_file = Some(entry.path()?),
            "openid.name" => {
                let short = |text: &str| {
                    (1..=60).contains(&text.trim().chars().count()).then(|| text.trim().to_owned())
                };
                self.name =
                    Some(entry.parsed("at most 60 characters, as in \"Sign in with Contoso\"", short)?);
            }
            "openid.scopes" => {
                let scopes = entry.texts()?;
                if scopes.iter().any(|scope| !scope.bytes().all(|byte| byte.is_ascii_graphic())) {
                    return Err(
                        entry.wanted("names without spaces in brackets, as in [\"profile\", \"groups\"]")
                    );
                }
                self.scopes = Some(scopes);
            }
            "openid.claim" => self.claim = Some(entry.text()?),
            "openid.admin" => self.admin = entry.texts()?,
            "openid.support" => self.support = entry.texts()?,
            "openid.read-only" => self.read_only = entry.texts()?,
            _ => return Ok(false),
        }
        self.any = true;
        Ok(true)
    }

    /// The settings, when there are any; `path` is the file's.
    pub fn finish(self, path: &Path) -> Result<Option<Settings>> {
        if !self.any {
            return Ok(None);
        }
        let lacks = |key: &str| {
            let what = format!("{} has some of [openid], but no openid.{key}", path.display());
            Error::new(Code::DocumentInvalid, what, "add it, or leave out all of [openid]")
        };
        let roles =
            [(Role::Admin, self.admin), (Role::Support, self.support), (Role::ReadOnly, self.read_only)];
        if roles.iter().all(|(_, values)| values.is_empty()) {
            return Err(lacks("admin, openid.support or openid.read-only"));
        }
        let mut scopes = self.scopes.unwrap_or_else(|| ["profile", "email"].map(str::to_owned).into());
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        Ok(Some(Settings {
            issuer: self.issuer.ok_or_else(|| lacks("issuer"))?,
            client_id: self.client_id.ok_or_else(|| lacks("client-id"))?,
            secret_file: self.secret_file.ok_or_else(|| lacks("client-secret-file"))?,
            ca_file: self.ca_file,
            name: self.name.unwrap_or_else(|| "Sign in with OpenID Connect".to_owned()),
            scopes,
            claim: self.claim.unwrap_or_else(|| "groups".to_owned()),
            roles,
        }))
    }
}

/// Discovery 1.0, section 3: no query and no fragment.
fn is_issuer(text: &str) -> bool {
    let sound: std::result::Result<(), Flaw> = address::check(text);
    sound.is_ok() && text.is_ascii() && !text.contains(['?', '#'])
}
