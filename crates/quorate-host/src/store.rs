//! What the host remembers: one SQLite file with the installed keys, the machines seen and the statistics.
//!
//! The daemon and the commands open the same file. Each change is whole and on the disk before its method
//! returns; the key revision lets the daemon notice what a command has changed.

use quorate_core::hardware::HardwareId;
use quorate_core::identifier::{ApplicationId, Cmid, Uuid};
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::Credential;
use quorate_core::license_state::LicenseStatus;
use quorate_core::product_key::{KeyId, PartialKey, Verifier};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::database::Database;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::Path;
use zeroize::Zeroizing;

/// The host's database.
pub struct Store {
    database: Database,
}

/// An installed host key.
#[derive(Clone, Debug)]
pub struct InstalledKey {
    /// Group and serial.
    pub id: KeyId,
    /// The last five characters.
    pub partial: PartialKey,
    /// What proves to the vendor that the key is held here; the key itself is not kept.
    pub verifier: Verifier,
    /// The Installation ID, the same until the host is activated or the key installed again.
    pub installation_id: InstallationId,
    /// The license pack, as it was given.
    pub pack: String,
    /// The newest signed catalog that came with pack or activation.
    pub catalog: String,
    /// The newest signed revocation list.
    pub revocations: String,
    /// Certificate and private key, once the host is activated.
    pub credential: Option<Credential>,
}

/// One machine's request, as it is kept.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The application by which it is counted.
    pub application: ApplicationId,
    /// The machine.
    pub cmid: Cmid,
    /// Its hardware.
    pub hardware: HardwareId,
    /// When it asked.
    pub at: Timestamp,
    /// Its name.
    pub name: String,
}

/// How one request ended, for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; the client's status when it asked.
    Answered(LicenseStatus),
    /// Refused.
    Failed,
}

/// The cumulative statistics of one application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Refused requests.
    pub failed: u64,
    /// Answered requests by the client's status, at the status's number.
    pub by_status: [u64; LicenseStatus::ALL.len()],
}

impl Statistics {
    /// Every request, answered or refused.
    pub fn total(&self) -> u64 {
        self.failed + self.by_status.iter().sum::<u64>()
    }
}

impl Store {
    /// Opens the host's database in this directory, making both when they are not there.
    pub fn open(directory: &Path) -> Result<Self> {
        if !directory.exists() {
            quorate_edge::files::make_private_directory(directory)?;
        }
        let path = directory.join("host.db");
        Database::create_if_missing(&path, SCHEMA)?;
        Ok(Self { database: Database::open(&path)? })
    }

    /// Finds out whether the whole file is sound.
    pub fn check(&self) -> Result<()> {
        self.database.check()
    }

    /// A number that rises whenever a key is installed, activated or removed.
    pub fn key_revision(&self) -> Result<i64> {
        self.database.read(|connection| {
            connection.query_row("SELECT coalesce(max(revision), 0) FROM key_revision", [], |row| row.get(0))
        })
    }

    /// Installs a key, or puts the record of an installed one in place of the old.
    pub fn put_key(&mut self, key: &InstalledKey) -> Result<()> {
        let credential = match &key.credential {
            Some(credential) => {
                Some(Zeroizing::new(serde_json::to_string(&credential.to_text()).map_err(|error| {
                    Error::new(
                        Code::Internal,
                        format!("a credential cannot be written ({error})"),
                        "please report this",
                    )
                })?))
            }
            None => None,
        };
        self.database.change(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO host_key
                     (id, partial, verifier, installation_id, pack, catalog, revocations, credential)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    key.id.to_string(),
                    key.partial.0,
                    key.verifier.as_bytes(),
                    key.installation_id.to_string(),
                    key.pack,
                    key.catalog,
                    key.revocations,
                    credential.as_ref().map(|text| text.as_str()),
                ],
            )?;
            raise_key_revision(transaction)
        })
    }

    /// Removes a key.
    pub fn remove_key(&mut self, id: KeyId) -> Result<()> {
        self.database.change(|transaction| {
            transaction.execute("DELETE FROM host_key WHERE id = ?1", [id.to_string()])?;
            raise_key_revision(transaction)
        })
    }

    /// The installed keys.
    pub fn keys(&self) -> Result<Vec<InstalledKey>> {
        let rows = self.database.read(|connection| {
            let mut select = connection.prepare(
                "SELECT id, partial, verifier, installation_id, pack, catalog, revocations, credential
                 FROM host_key ORDER BY id",
            )?;
            let rows = select.query_map([], |row| {
                Ok((
                    (
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        Zeroizing::new(row.get::<_, [u8; 32]>(2)?),
                    ),
                    (row.get::<_, String>(3)?, row.get(4)?, row.get(5)?, row.get(6)?),
                    row.get::<_, Option<String>>(7)?.map(Zeroizing::new),
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|((id, partial, verifier), (installation_id, pack, catalog, revocations), credential)| {
                let credential = credential
                    .map(|text| {
                        serde_json::from_str(&text)
                            .ok()
                            .and_then(|text| Credential::from_text(&text))
                            .ok_or_else(|| self.database.damaged("a host credential cannot be read"))
                    })
                    .transpose()?;
                Ok(InstalledKey {
                    id: id.parse()?,
                    partial: PartialKey(partial),
                    verifier: Verifier::from_bytes(*verifier),
                    installation_id: installation_id.parse()?,
                    pack,
                    catalog,
                    revocations,
                    credential,
                })
            })
            .collect()
    }

    /// Keeps what a batch of requests did: machines seen, outcomes for the statistics. All or nothing.
    pub fn record(&mut self, seen: &[Seen], outcomes: &[(ApplicationId, Outcome)]) -> Result<()> {
        self.database.change(|transaction| {
            let mut machine = transaction.prepare(
                "INSERT INTO machine (application, cmid, hardware, first_seen, last_seen, name)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5)
                 ON CONFLICT (application, cmid) DO UPDATE
                 SET hardware = ?3, last_seen = max(last_seen, ?4), name = ?5",
            )?;
            for seen in seen {
                machine.execute(params![
                    seen.application.0.as_bytes(),
                    seen.cmid.0.as_bytes(),
                    seen.hardware.as_bytes(),
                    seen.at.as_second(),
                    seen.name,
                ])?;
            }
            let mut statistic = transaction.prepare(
                "INSERT INTO statistic (application, outcome, requests) VALUES (?1, ?2, 1)
                 ON CONFLICT (application, outcome) DO UPDATE SET requests = requests + 1",
            )?;
            for (application, outcome) in outcomes {
                statistic.execute(params![application.0.as_bytes(), outcome_number(*outcome)])?;
            }
            Ok(())
        })
    }

    /// Forgets machines last seen before `cutoff`.
    pub fn forget(&mut self, application: ApplicationId, cutoff: Timestamp) -> Result<()> {
        self.database.change(|transaction| {
            transaction.execute(
                "DELETE FROM machine WHERE application = ?1 AND last_seen < ?2",
                params![application.0.as_bytes(), cutoff.as_second()],
            )?;
            Ok(())
        })
    }

    /// Gives every machine of an application to `each`.
    pub fn machines(
        &self,
        application: ApplicationId,
        mut each: impl FnMut(Cmid, HardwareId, Timestamp),
    ) -> Result<()> {
        let damaged = || self.database.damaged("a machine cannot be read");
        let rows = self.database.read(|connection| {
            let mut select =
                connection.prepare("SELECT cmid, hardware, last_seen FROM machine WHERE application = ?1")?;
            let rows = select.query_map([application.0.as_bytes()], |row| {
                Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        for (cmid, hardware, last_seen) in rows {
            let cmid = Cmid(Uuid::from_bytes(cmid));
            let hardware = HardwareId::from_bytes(&hardware).ok_or_else(damaged)?;
            each(cmid, hardware, Timestamp::from_second(last_seen).map_err(|_| damaged())?);
        }
        Ok(())
    }

    /// How many machines of an application were seen since `cutoff`.
    pub fn count(&self, application: ApplicationId, cutoff: Timestamp) -> Result<u32> {
        self.database.read(|connection| {
            connection.query_row(
                "SELECT count(*) FROM machine WHERE application = ?1 AND last_seen >= ?2",
                params![application.0.as_bytes(), cutoff.as_second()],
                |row| row.get(0),
            )
        })
    }

    /// The cumulative statistics of an application.
    pub fn statistics(&self, application: ApplicationId) -> Result<Statistics> {
        let rows: Vec<(i64, i64)> = self.database.read(|connection| {
            let mut select =
                connection.prepare("SELECT outcome, requests FROM statistic WHERE application = ?1")?;
            select.query_map([application.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        let mut statistics = Statistics::default();
        for (outcome, requests) in rows {
            let requests = requests.unsigned_abs();
            match usize::try_from(outcome).ok().and_then(|number| statistics.by_status.get_mut(number)) {
                Some(status) => *status = requests,
                None => statistics.failed = requests,
            }
        }
        Ok(statistics)
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

fn raise_key_revision(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("UPDATE key_revision SET revision = revision + 1", [])?;
    Ok(())
}

fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn outcome_number(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Answered(status) => i64::from(status.number()),
        Outcome::Failed => -1,
    }
}

// Times are seconds since 1970, UTC; GUIDs and hardware ids are their bytes. Outcomes are the client's license
// status, or -1 for a refused request.
const SCHEMA: &str = "
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE host_key (
    id TEXT PRIMARY KEY,
    partial TEXT NOT NULL,
    verifier BLOB NOT NULL,
    installation_id TEXT NOT NULL,
    pack TEXT NOT NULL,
    catalog TEXT NOT NULL,
    revocations TEXT NOT NULL,
    credential TEXT
) STRICT;
CREATE TABLE key_revision (revision INTEGER NOT NULL) STRICT;
INSERT INTO key_revision (revision) VALUES (1);
CREATE TABLE machine (
    application BLOB NOT NULL,
    cmid BLOB NOT NULL,
    hardware BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (application, cmid)
) STRICT, WITHOUT ROWID;
CREATE INDEX machine_by_last_seen ON machine (application, last_seen);
CREATE TABLE statistic (
    application BLOB NOT NULL,
    outcome INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (application, outcome)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
";
