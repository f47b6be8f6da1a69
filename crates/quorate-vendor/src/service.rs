//! The service: what the vendor says of its products and keys, kept and signed.
//!
//! Used by the HTTPS interface and by the command line alike. Each method is one thing that somebody asks of
//! a vendor, and either happens whole or not at all: what it decides by and what it writes are of one turn at the
//! database, in which nobody else changes anything, in this program or another. What it did is in the audit log with it.
//! This file is the vendor itself; the methods are where their subjects are ([`crate::products`], [`crate::keys`],
//! [`crate::customers`], [`crate::activations`], [`crate::phone`], [`crate::revocation`], [`crate::audit`]).

use crate::address::{self, Typed};
use crate::authority::{Authority, Directories};
use crate::store::{self, audit, catalogs};
use crate::token::{TokenKey, TokenPlace};
use quorate_core::catalog::Catalog;
use quorate_core::identifier::VendorId;
use quorate_core::{Code, Error, Result, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::sql::{Location, Session, Sql};
use quorate_edge::{files, machine};
use rustls::pki_types::ServerName;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A vendor that has been set up, as somebody uses it: what he changes is noted under his name.
#[derive(Clone)]
pub struct Service {
    pub(crate) authority: Arc<Authority>,
    pub(crate) sql: Arc<Sql>,
    pub(crate) clock: Clock,
    settings: Arc<Settings>,
    signed: Arc<Mutex<Signed>>,
    by: Actor,
}

/// Who the vendor is.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// Its short name.
    pub id: VendorId,
    /// Its name as people know it.
    pub name: String,
    /// Where its service will be reached.
    pub url: String,
}

/// Who changes something, as the audit log says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// Somebody at the command line of the service's machine, by the name under which the system knows him. Behind it
    /// stands who he was before `sudo`, as far as what he typed can be believed.
    pub fn command_line() -> Self {
        Self::at_command_line(&machine::user(), std::env::var("SUDO_USER").ok().as_deref())
    }

    fn at_command_line(user: &str, sudo_user: Option<&str>) -> Self {
        let is_name = |name: &&str| {
            (1..=LONGEST_USER).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let before = sudo_user.filter(is_name).map(|name| format!(", SUDO_USER={name}"));
        Self(format!("command line ({user}{})", before.unwrap_or_default()))
    }

    /// The service, for a host or a machine that has proven its right.
    pub fn service() -> Self {
        Self("service".to_owned())
    }

    /// Somebody by this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

/// One turn at the database: looks, decides, writes, and notes what was done.
pub(crate) struct Turn<'t, 'c> {
    pub(crate) session: &'t mut Session<'c>,
    pub(crate) now: Timestamp,
    by: &'t Actor,
}

impl Turn<'_, '_> {
    /// Notes what is done in the audit log.
    pub(crate) fn note(&mut self, action: &str, subject: &str, detail: serde_json::Value) -> Result<()> {
        let note = audit::Note { at: self.now, who: &self.by.0, action, subject, detail: &detail };
        audit::add(self.session, &note)
    }
}

pub(crate) struct Settings {
    name: String,
    url: String,
}

/// The newest documents that were signed or verified here, so that each is once.
#[derive(Default)]
struct Signed {
    catalog: Option<Arc<Current>>,
    revocations: Option<(u64, String)>,
}

/// The newest catalog.
#[derive(Debug)]
pub struct Current {
    /// As it was signed.
    pub jws: String,
    /// What it says.
    pub catalog: Catalog,
}

impl Service {
    /// Sets a vendor up, with the database in its own directory. Refuses to replace any that are there.
    pub fn create(directories: &Directories, vendor: &Vendor, clock: &Clock) -> Result<()> {
        Self::create_in(directories, &own_database(&directories.service), None, vendor, clock)
    }

    /// Sets a vendor up: certificates, with the CA's key in a token where one is named, and the tables in this database.
    pub fn create_in(
        directories: &Directories,
        database: &Location,
        token: Option<&TokenPlace>,
        vendor: &Vendor,
        clock: &Clock,
    ) -> Result<()> {
        let name = checked_name(vendor)?;
        service_host(&vendor.url)?;
        directories.check()?;
        files::make_private_directory(&directories.service)?;
        let _alone = lock(&directories.service)?;
        let mut made = directories.files();
        if let Location::File(database) = database {
            // A journal that is left over would be taken for the new database's own.
            made.extend(["db", "db-wal", "db-shm"].map(|extension| database.with_extension(extension)));
        }
        if let Some(path) = made.iter().find(|path| path.exists()) {
            return Err(Error::new(
                Code::AlreadyThere,
                format!("{} is there already", path.display()),
                "a vendor is set up once; choose other directories for another vendor",
            ));
        }
        let settings = [(VENDOR, vendor.id.as_str()), (NAME, name), (URL, vendor.url.as_str())];
        let key = token.map(TokenKey::generate).transpose()?;
        Authority::create(directories, &vendor.id, name, key, clock.now())
            .and_then(|()| store::create(database, &settings))
            .map_err(|error| {
                // Half a vendor would only be in the way of the next attempt, and so would the key that was made for it.
                for path in &made {
                    let _ = std::fs::remove_file(path);
                }
                match token.map(|place| (place, TokenKey::remove(place))) {
                    Some((place, Err(_))) => Error {
                        what: format!("{}; the key {:?} stays in the token", error.what, place.label),
                        next: format!(
                            "{}, after you have removed that key with the token's own tool",
                            error.next
                        ),
                        ..error
                    },
                    _ => error,
                }
            })
    }

    /// Opens the vendor in this directory.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self> {
        Self::open_in(directory, &own_database(directory), clock)
    }

    /// Opens the vendor with the certificates in this directory and this database.
    pub fn open_in(directory: &Path, database: &Location, clock: Clock) -> Result<Self> {
        let sql = store::open(database, directory)?;
        let (authority, settings) = sql.read(|session| Self::vendor_in(session, directory))?;
        Ok(Self {
            authority: Arc::new(authority),
            sql: Arc::new(sql),
            clock,
            settings: Arc::new(settings),
            signed: Arc::default(),
            by: Actor::command_line(),
        })
    }

    /// The vendor whose tables these are, with the certificates in this directory.
    pub(crate) fn vendor_in(session: &mut Session<'_>, directory: &Path) -> Result<(Authority, Settings)> {
        let settings = Settings { name: store::setting(session, NAME)?, url: store::setting(session, URL)? };
        Ok((Authority::load(directory, store::setting(session, VENDOR)?.parse()?)?, settings))
    }

    /// The same vendor, as somebody else uses it.
    pub fn by(&self, by: Actor) -> Self {
        Self { by, ..self.clone() }
    }

    /// The certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The vendor's name as people know it.
    pub fn vendor_name(&self) -> &str {
        &self.settings.name
    }

    /// Where the service is reached.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// The host part of the service's URL: what its TLS certificate is made out for.
    pub fn service_name(&self) -> Result<String> {
        service_host(&self.settings.url)
    }

    /// Finds out whether the database is sound.
    pub fn check(&self) -> Result<()> {
        self.sql.check()
    }

    /// What the vendor's clock says.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The newest signed catalog.
    pub fn catalog_jws(&self) -> Result<String> {
        Ok(self.current()?.jws.clone())
    }

    /// The newest catalog.
    pub fn catalog(&self) -> Result<Catalog> {
        Ok(self.current()?.catalog.clone())
    }

    /// The newest catalog, as it was signed and what it says.
    pub fn current(&self) -> Result<Arc<Current>> {
        self.sql.read(|session| self.catalog_in(session))
    }

    /// The newest catalog, when products have been imported.
    pub fn newest(&self) -> Result<Option<Arc<Current>>> {
        self.sql.read(|session| self.newest_in(session))
    }

    pub(crate) fn catalog_in(&self, session: &mut Session<'_>) -> Result<Arc<Current>> {
        self.newest_in(session)?.ok_or_else(|| {
            Error::new(
                Code::NotSetUp,
                "no products have been imported yet",
                "`quorate-vendor product import FILE`",
            )
        })
    }

    fn newest_in(&self, session: &mut Session<'_>) -> Result<Option<Arc<Current>>> {
        let Some(newest) = catalogs::newest(session)? else { return Ok(None) };
        let known = self.signed().catalog.clone();
        if let Some(known) = known.filter(|known| known.catalog.number == newest) {
            return Ok(Some(known));
        }
        let current = Arc::new(self.catalog_of(session, newest)?);
        self.signed().catalog = Some(Arc::clone(&current));
        Ok(Some(current))
    }

    /// A catalog by its number.
    pub(crate) fn catalog_of(&self, session: &mut Session<'_>, number: u64) -> Result<Current> {
        let jws = catalogs::find(session, number)?.ok_or_else(|| {
            Error::new(
                Code::NotFound,
                format!("there is no catalog {number}"),
                "`quorate-vendor product history` shows those there are",
            )
        })?;
        let verified =
            signed::verify(&jws, self.authority.root(), self.authority.vendor(), self.clock.now())?;
        Ok(Current { jws, catalog: verified.document })
    }

    /// The newest revocation list, made by `make` under its number when it is not known here.
    pub(crate) fn signed_revocations(
        &self,
        number: u64,
        make: impl FnOnce() -> Result<String>,
    ) -> Result<String> {
        let known = self.signed().revocations.clone();
        if let Some((_, jws)) = known.filter(|(known, _)| *known == number) {
            return Ok(jws);
        }
        let jws = make()?;
        self.signed().revocations = Some((number, jws.clone()));
        Ok(jws)
    }

    /// Changes something in a turn of its own.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&mut Turn<'_, '_>) -> Result<T>) -> Result<T> {
        self.sql.change(|session| work(&mut Turn { session, now: self.clock.now(), by: &self.by }))
    }

    fn signed(&self) -> std::sync::MutexGuard<'_, Signed> {
        // Each is put there whole.
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until nobody else sets a vendor up in this directory; nobody does until the result is dropped.
pub(crate) fn lock(directory: &Path) -> Result<std::fs::File> {
    files::lock(&directory.join(LOCK))
}

/// The database in the vendor's own directory.
pub fn own_database(directory: &Path) -> Location {
    Location::File(directory.join(DATABASE))
}

/// The vendor's name, which stands in certificates.
fn checked_name(vendor: &Vendor) -> Result<&str> {
    let refused = |what: &str, next: &str| Err(Error::new(Code::RequestInvalid, what, next));
    let name = vendor.name.trim();
    if name.is_empty() {
        return refused("the vendor has no name", "give the name that people know it by, with --name");
    }
    if name.chars().any(char::is_control) {
        return refused("the vendor's name holds a control character", "write it in one line of plain text");
    }
    let length = name.chars().count();
    if length > LONGEST_NAME {
        return refused(
            &format!("the vendor's name has {length} characters"),
            &format!("a certificate has room for {LONGEST_NAME}: shorten it"),
        );
    }
    Ok(name)
}

/// The host in the URL of the service, which is kept and signed for good; the paths of requests are put behind it.
fn service_host(url: &str) -> Result<String> {
    let next = "write it as in \"https://activation.contoso.example\"";
    // Hosts and machines take a sign of this kind for a user's name; what it may be the password of is not shown.
    if url.contains('@') {
        let what = "the URL of the activation service holds a user's name";
        return Err(Error::new(Code::AddressInvalid, what, next));
    }
    let refused = |what: &str| {
        Error::new(Code::AddressInvalid, format!("{} {what}", quorate_core::identifier::quoted(url)), next)
    };
    let parsed = address::parse(url).filter(|parsed| parsed.scheme() == "https");
    let parsed = parsed.ok_or_else(|| refused("is not the URL of an activation service"))?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(refused("has a \"?\" or \"#\", behind which no path of a request can stand"));
    }
    // Paths are put behind it as it was typed, and must lead to where it is read to lead.
    let path = Typed::of(url).map(|typed| if typed.rest.is_empty() { "/" } else { typed.rest });
    let host = parsed.host_str().filter(|_| path == Some(parsed.path()));
    let host = host.filter(|host| host.starts_with('[') || ServerName::try_from(*host).is_ok());
    host.map(str::to_owned).ok_or_else(|| refused("is not the URL of an activation service"))
}

/// A variable that anybody can set must not fill the log: what systems have at most for a user's name.
const LONGEST_USER: usize = 256;
/// The database in the vendor's own directory.
const DATABASE: &str = "vendor.db";
/// What X.520 lets a certificate's common name have, 64, without the words that stand behind the name in it.
const LONGEST_NAME: usize = 64 - " activation CA".len();
pub(crate) const LOCK: &str = "vendor.lock";
const VENDOR: &str = "vendor";
const NAME: &str = "name";
const URL: &str = "url";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_types_is_whom_the_system_knows() {
        let who = |sudo_user| Actor::at_command_line("root", sudo_user).0;
        assert_eq!(who(None), "command line (root)");
        assert_eq!(who(Some("ann")), "command line (root, SUDO_USER=ann)");
        let long = "x".repeat(257);
        for no_name in ["", "ann\nroot", "a b", long.as_str()] {
            assert_eq!(who(Some(no_name)), "command line (root)");
        }
    }
}
