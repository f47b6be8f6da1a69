//! What the host remembers of itself: one SQLite file with the installed keys and what the vendors have said. The
//! machines seen are in the book ([`crate::book`]), in the same file unless hosts share one.
//!
//! The daemon and the commands open the same file. Each change is whole and on the disk before its method
//! returns; the key revision lets the daemon notice what a command has changed. Key ids and application ids
//! are each vendor's own, so whatever is kept by one is kept by its vendor as well.

mod published;

pub use published::{Place, Published};

use quorate_core::hardware::Components;
use quorate_core::identifier::VendorId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::Credential;
use quorate_core::product_key::{KeyId, PartialKey, Verifier};
use quorate_core::{Code, Error, Result};
use quorate_edge::database::Database;
use quorate_edge::files::{self, Access};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::path::Path;
use zeroize::Zeroizing;

/// The host's database.
pub struct Store {
    database: Database,
}

/// An installed host key.
#[derive(Clone, Debug)]
pub struct InstalledKey {
    /// Whose key it is.
    pub vendor: VendorId,
    /// Group and serial.
    pub id: KeyId,
    /// The last five characters.
    pub partial: PartialKey,
    /// What proves to the vendor that the key is held here; the key itself is not kept.
    pub verifier: Verifier,
    /// The machine on which it was installed.
    pub hardware: Components,
    /// The Installation ID: the same until the host is activated and that activation has ended, or the key
    /// is installed on other hardware.
    pub installation_id: InstallationId,
    /// The license pack, as it was given.
    pub pack: String,
    /// What the vendor has said, to every key of its own.
    pub documents: Documents,
    /// A request for a certificate that was made and not yet granted, as far as is known here.
    pub request: Option<PendingRequest>,
    /// What the host is activated with, once it is.
    pub activation: Option<HostActivation>,
}

/// The newest signed documents of a vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// The catalog.
    pub catalog: String,
    /// The revocation list.
    pub revocations: String,
}

/// A signing request with its private key. It is kept before it is sent: when the answer is lost, the same is
/// sent again, and the vendor counts it once.
#[derive(Clone)]
pub struct PendingRequest {
    /// PKCS #10 in DER.
    pub signing_request: Vec<u8>,
    /// The private key in PKCS #8.
    pub private_key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PendingRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PendingRequest(…)")
    }
}

/// An activation of the host.
#[derive(Clone, Debug)]
pub struct HostActivation {
    /// The Installation ID for which it was given.
    pub installation_id: InstallationId,
    /// Certificate and private key.
    pub credential: Credential,
}

/// An installed key as it was found. Which one it is can be said even when what is in it can't be read.
#[derive(Debug)]
pub struct StoredKey {
    /// Whose key it is.
    pub vendor: VendorId,
    /// Group and serial.
    pub id: KeyId,
    /// The last five characters.
    pub partial: PartialKey,
    /// The whole of it.
    pub content: Result<InstalledKey>,
}

/// What a host's database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The host keys.
    pub keys: Vec<KeyId>,
    /// How many machines.
    pub machines: u64,
}

impl Store {
    /// Opens the host's database in this directory.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        match path.try_exists() {
            Ok(true) => Self::at(&path),
            Ok(false) => Err(Error::new(
                Code::NotSetUp,
                format!("there is no host in {}", directory.display()),
                "install a host key (`quorate-host ipk KEY --pack FILE`), or name the host's directory with --dir",
            )),
            Err(error) => Err(files::reading(&path, &error)),
        }
    }

    fn at(path: &Path) -> Result<Self> {
        let mut database = Database::open(path)?;
        database.migrate(MIGRATIONS)?;
        Ok(Self { database })
    }

    /// Writes everything of this moment into a file, while the host goes on. Host keys and credentials are in it, so
    /// it is the owner's alone.
    pub fn back_up(&self, to: &Path) -> Result<()> {
        if to.exists() {
            return Err(Error::new(
                Code::AlreadyThere,
                format!("{} is there already", to.display()),
                "name another file, or remove that one",
            ));
        }
        self.database.back_up(to)
    }

    /// Finds out whether a file is a host's database and everything in it is sound; says what is in it.
    pub fn verify(path: &Path) -> Result<Content> {
        // A look must not change the file that is looked at.
        let scratch = tempfile::tempdir().map_err(|error| files::writing(path, &error))?;
        let copy = scratch.path().join(FILE);
        std::fs::copy(path, &copy).map_err(|error| files::reading(path, &error))?;
        let journal = path.with_extension("db-wal");
        if journal.exists() {
            std::fs::copy(&journal, copy.with_extension("db-wal"))
                .map_err(|error| files::reading(&journal, &error))?;
        }
        let examine = || {
            let store = Self::at(&copy)?;
            store.database.check_everything()?;
            let mut keys = Vec::new();
            for key in store.keys()? {
                keys.push(key.content?.id);
            }
            let machines = store.database.read(|connection| {
                let count = "SELECT count(*) FROM (SELECT vendor, application, cmid FROM machine
                                                   UNION SELECT vendor, application, cmid FROM seen)";
                connection.query_row(count, [], |row| row.get::<_, i64>(0))
            })?;
            Ok(Content { keys, machines: machines.unsigned_abs() })
        };
        // The errors speak of the copy.
        examine().map_err(|error: Error| Error {
            what: error.what.replace(&*copy.to_string_lossy(), &path.to_string_lossy()),
            ..error
        })
    }

    /// Puts a backup in the place of what a directory holds. What was there is kept beside it. No daemon may run.
    pub fn restore(directory: &Path, backup: &Path) -> Result<Content> {
        let content = Self::verify(backup)?;
        if !directory.exists() {
            files::make_private_directory(directory)?;
        }
        let path = directory.join(FILE);
        if path.exists() {
            match Database::open(&path) {
                Ok(database) => database.close_alone()?,
                // What is damaged is what a backup is for; its journal would be put into the new file.
                Err(error) if error.code == Code::StoreDamaged => {}
                Err(error) => return Err(error),
            }
            for suffix in ["db", "db-wal", "db-shm"] {
                let (from, to) =
                    (path.with_extension(suffix), path.with_extension(format!("{suffix}.before-restore")));
                if from.exists() {
                    std::fs::rename(&from, &to).map_err(|error| files::writing(&to, &error))?;
                }
            }
        }
        files::write(&path, &files::read(backup)?, Access::OfDirectory)?;
        Ok(content)
    }

    /// As [`Store::open`], for a look that leaves the file as it is, sound or not.
    pub fn look(directory: &Path) -> Result<Self> {
        let store = Self::open(directory)?;
        store.database.leave_as_it_is();
        Ok(store)
    }

    /// As [`Store::open`], but makes directory and database when they are not there.
    pub fn open_or_create(directory: &Path) -> Result<Self> {
        if !directory.exists() {
            files::make_private_directory(directory)?;
        }
        let path = directory.join(FILE);
        Database::create_if_missing(&path, |connection| {
            connection.execute_batch(SCHEMA)?;
            connection.execute_batch(crate::book::sqlite::SCHEMA)
        })?;
        Self::at(&path)
    }

    /// Finds out whether the whole file is sound, by a connection of its own: it would keep a part of all that it reads.
    pub fn check(&self) -> Result<()> {
        let checked = Database::open(self.database.path())?.check();
        if checked.is_err() {
            self.database.leave_as_it_is();
        }
        checked
    }

    /// A number that rises whenever a key is installed, activated or removed.
    pub fn key_revision(&self) -> Result<i64> {
        self.database.read(|connection| {
            connection.query_row("SELECT coalesce(max(revision), 0) FROM key_revision", [], |row| row.get(0))
        })
    }

    /// Installs a key, or puts the record of an installed one in place of the old. Its documents are taken
    /// when the vendor's are still those of `before`, or nobody knows any.
    pub fn put_key(&mut self, key: &InstalledKey, before: Option<&Documents>) -> Result<()> {
        let internal = |error: serde_json::Error| {
            Error::new(
                Code::Internal,
                format!("a host key cannot be written ({error})"),
                "please report this",
            )
        };
        let hardware = serde_json::to_string(&key.hardware).map_err(internal)?;
        let credential = key.activation.as_ref().map(|activation| {
            serde_json::to_string(&activation.credential.to_text()).map(Zeroizing::new).map_err(internal)
        });
        let credential = credential.transpose()?;
        self.database.change(|transaction| {
            put_documents(transaction, &key.vendor, before, &key.documents)?;
            transaction.execute(
                "INSERT OR REPLACE INTO host_key
                     (vendor, id, partial, verifier, hardware, installation_id, pack,
                      signing_request, private_key, activated, credential)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    key.vendor.as_str(),
                    key.id.to_string(),
                    key.partial.0,
                    key.verifier.as_bytes(),
                    hardware,
                    key.installation_id.to_string(),
                    key.pack,
                    key.request.as_ref().map(|request| request.signing_request.as_slice()),
                    key.request.as_ref().map(|request| request.private_key.as_slice()),
                    key.activation.as_ref().map(|activation| activation.installation_id.to_string()),
                    credential.as_ref().map(|text| text.as_str()),
                ],
            )?;
            raise_key_revision(transaction)
        })
    }

    /// Keeps the request with which a key is about to be activated; says whether the key is there. It changes nothing
    /// of what the host answers with, so nobody need look at the keys again.
    pub fn put_request(&mut self, vendor: &VendorId, id: KeyId, request: &PendingRequest) -> Result<bool> {
        self.database.change(|transaction| {
            let changed = transaction.execute(
                "UPDATE host_key SET signing_request = ?3, private_key = ?4 WHERE vendor = ?1 AND id = ?2",
                params![
                    vendor.as_str(),
                    id.to_string(),
                    request.signing_request,
                    request.private_key.as_slice(),
                ],
            )?;
            Ok(changed > 0)
        })
    }

    /// Puts newer documents of a vendor in the place of those of `before`. What somebody else has replaced
    /// meanwhile stays.
    pub fn put_documents(&mut self, vendor: &VendorId, before: &Documents, newer: &Documents) -> Result<()> {
        self.database.change(|transaction| {
            put_documents(transaction, vendor, Some(before), newer)?;
            raise_key_revision(transaction)
        })
    }

    /// Removes a key; with a vendor's last key, what the vendor said.
    pub fn remove_key(&mut self, vendor: &VendorId, id: KeyId) -> Result<()> {
        self.database.change(|transaction| {
            transaction.execute(
                "DELETE FROM host_key WHERE vendor = ?1 AND id = ?2",
                [vendor.as_str(), &id.to_string()],
            )?;
            transaction.execute(
                "DELETE FROM vendor WHERE id = ?1 AND id NOT IN (SELECT vendor FROM host_key)",
                [vendor.as_str()],
            )?;
            raise_key_revision(transaction)
        })
    }

    /// The installed keys.
    pub fn keys(&self) -> Result<Vec<StoredKey>> {
        let rows: Vec<StoredKeyRow> = self.database.read(|connection| {
            let mut select = connection.prepare(
                "SELECT vendor, host_key.id, partial, verifier, hardware, installation_id, pack, catalog,
                     revocations, signing_request, private_key, activated, credential
                 FROM host_key JOIN vendor ON vendor.id = host_key.vendor ORDER BY vendor, host_key.id",
            )?;
            select.query_map([], StoredKeyRow::read)?.collect()
        })?;
        rows.into_iter()
            .map(|row| {
                let vendor: VendorId = row.vendor.parse()?;
                let id: KeyId = row.id.parse()?;
                let partial = PartialKey(row.partial.clone());
                let content = row.content(&vendor, id).ok_or_else(|| {
                    self.database.damaged(&format!("the record of host key {id} cannot be read"))
                });
                Ok(StoredKey { vendor, id, partial, content })
            })
            .collect()
    }

    /// A setting that was made here, if any.
    pub fn setting(&self, name: &str) -> Result<Option<String>> {
        self.database.read(|connection| setting(connection, name))
    }

    /// Makes a setting.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.database.change(|transaction| {
            transaction
                .execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)", [name, value])?;
            Ok(())
        })
    }
}

/// A row as it is, before anything in it is believed.
struct StoredKeyRow {
    vendor: String,
    id: String,
    partial: String,
    verifier: Zeroizing<Vec<u8>>,
    hardware: String,
    installation_id: String,
    pack: String,
    documents: Documents,
    request: Option<PendingRequest>,
    activation: Option<(String, Zeroizing<String>)>,
}

impl StoredKeyRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let private_key = row.get::<_, Option<Vec<u8>>>(10)?.map(Zeroizing::new);
        let request = row.get::<_, Option<Vec<u8>>>(9)?.zip(private_key);
        let credential = row.get::<_, Option<String>>(12)?.map(Zeroizing::new);
        Ok(Self {
            vendor: row.get(0)?,
            id: row.get(1)?,
            partial: row.get(2)?,
            verifier: Zeroizing::new(row.get(3)?),
            hardware: row.get(4)?,
            installation_id: row.get(5)?,
            pack: row.get(6)?,
            documents: Documents { catalog: row.get(7)?, revocations: row.get(8)? },
            request: request
                .map(|(signing_request, private_key)| PendingRequest { signing_request, private_key }),
            activation: row.get::<_, Option<String>>(11)?.zip(credential),
        })
    }

    fn content(self, vendor: &VendorId, id: KeyId) -> Option<InstalledKey> {
        let activation = match self.activation {
            Some((installation_id, credential)) => Some(HostActivation {
                installation_id: installation_id.parse().ok()?,
                credential: Credential::from_text(&serde_json::from_str(&credential).ok()?)?,
            }),
            None => None,
        };
        Some(InstalledKey {
            vendor: vendor.clone(),
            id,
            partial: PartialKey(self.partial),
            verifier: Verifier::from_bytes(self.verifier.as_slice().try_into().ok()?),
            hardware: serde_json::from_str(&self.hardware).ok()?,
            installation_id: self.installation_id.parse().ok()?,
            pack: self.pack,
            documents: self.documents,
            request: self.request,
            activation,
        })
    }
}

fn put_documents(
    transaction: &Transaction<'_>,
    vendor: &VendorId,
    before: Option<&Documents>,
    newer: &Documents,
) -> rusqlite::Result<()> {
    let vendor = vendor.as_str();
    let Some(before) = before else {
        transaction.execute(
            "INSERT INTO vendor (id, catalog, revocations) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET catalog = ?2, revocations = ?3",
            params![vendor, newer.catalog, newer.revocations],
        )?;
        return Ok(());
    };
    transaction.execute(
        "UPDATE vendor SET catalog = ?3 WHERE id = ?1 AND catalog = ?2",
        params![vendor, before.catalog, newer.catalog],
    )?;
    transaction.execute(
        "UPDATE vendor SET revocations = ?3 WHERE id = ?1 AND revocations = ?2",
        params![vendor, before.revocations, newer.revocations],
    )?;
    Ok(())
}

fn raise_key_revision(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("UPDATE key_revision SET revision = revision + 1", [])?;
    Ok(())
}

fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0)).optional()
}

// The tables of the book are in the same file: `book/sqlite.rs`.
const SCHEMA: &str = "
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE vendor (id TEXT PRIMARY KEY, catalog TEXT NOT NULL, revocations TEXT NOT NULL) STRICT;
CREATE TABLE host_key (
    vendor TEXT NOT NULL REFERENCES vendor (id),
    id TEXT NOT NULL,
    partial TEXT NOT NULL,
    verifier BLOB NOT NULL,
    hardware TEXT NOT NULL,
    installation_id TEXT NOT NULL,
    pack TEXT NOT NULL,
    signing_request BLOB,
    private_key BLOB,
    activated TEXT,
    credential TEXT,
    PRIMARY KEY (vendor, id)
) STRICT;
CREATE TABLE key_revision (revision INTEGER NOT NULL) STRICT;
INSERT INTO key_revision (revision) VALUES (1);
CREATE TABLE published (
    -- Another each time that the record is sent.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    domain TEXT NOT NULL,
    server TEXT NOT NULL,
    owner TEXT NOT NULL,
    ttl INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    port INTEGER NOT NULL,
    target TEXT NOT NULL,
    -- When the name server last gave it out.
    seen INTEGER,
    UNIQUE (domain, server, owner, priority, weight, port, target)
) STRICT;
PRAGMA user_version = 1;
";

/// What leads from each form of the file to the next. The first release has form 1.
const MIGRATIONS: &[&str] = &[];
pub(crate) const FILE: &str = "host.db";
