//! What the vendor's service remembers: one SQLite file.
//!
//! Everything here is plain keeping and finding; whether something may happen is decided in
//! [`crate::service`]. A change is on the disk before the method returns.

use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::SlotSecret;
use quorate_core::product_key::{KeyId, PartialKey, Verifier};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::database::Database;
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use zeroize::Zeroizing;

/// The vendor's database.
pub struct Store {
    database: Database,
}

/// A product key, as far as the vendor keeps it.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Group and serial.
    pub id: KeyId,
    /// What proves that somebody holds it.
    pub verifier: Verifier,
    /// The last five characters.
    pub partial: PartialKey,
    /// When it was issued.
    pub issued: Timestamp,
    /// For whom.
    pub customer: String,
    /// Whether it has been taken back.
    pub blocked: bool,
}

/// One slot of a license pack that has been assigned, or can be.
#[derive(Debug)]
pub struct Slot {
    /// Its number in the pack.
    pub number: u32,
    /// What opens it.
    pub secret: SlotSecret,
}

/// How a host was activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Over HTTPS.
    Online,
    /// By Installation ID and Confirmation ID.
    Phone,
}

impl How {
    fn as_str(self) -> &'static str {
        match self {
            How::Online => "online",
            How::Phone => "phone",
        }
    }
}

impl Store {
    /// Makes an empty database, with the vendor's name and so on as settings.
    pub fn create(path: &Path, settings: &[(&str, &str)]) -> Result<()> {
        Database::open(path)?.change(|transaction| {
            transaction.execute_batch(SCHEMA)?;
            for (name, value) in settings {
                transaction
                    .execute("INSERT INTO setting (name, value) VALUES (?1, ?2)", params![name, value])?;
            }
            Ok(())
        })
    }

    /// Opens the database that [`Store::create`] made.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::new(
                Code::NotSetUp,
                format!("there is no vendor in {}", path.parent().unwrap_or(path).display()),
                "set one up with `quorate-vendor init`, or name its directory with --dir",
            ));
        }
        Ok(Self { database: Database::open(path)? })
    }

    /// A setting of [`Store::create`].
    pub fn setting(&self, name: &str) -> Result<String> {
        self.database.read(|connection| {
            connection.query_row("SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0))
        })
    }

    /// The newest signed catalog and its number, if there is one.
    pub fn newest_catalog(&self) -> Result<Option<(u64, String)>> {
        self.database.read(|connection| {
            connection
                .query_row("SELECT number, jws FROM catalog ORDER BY number DESC LIMIT 1", [], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, row.get(1)?))
                })
                .optional()
        })
    }

    /// Keeps a signed catalog under its number.
    pub fn add_catalog(&mut self, number: u64, jws: &str) -> Result<()> {
        self.database.change(|transaction| {
            transaction
                .execute("INSERT INTO catalog (number, jws) VALUES (?1, ?2)", params![number as i64, jws])?;
            Ok(())
        })
    }

    /// The highest serial issued in a key group, or 0.
    pub fn highest_serial(&self, group: u16) -> Result<u32> {
        self.database.read(|connection| {
            connection.query_row(
                "SELECT coalesce(max(serial), 0) FROM product_key WHERE key_group = ?1",
                [group],
                |row| row.get(0),
            )
        })
    }

    /// Keeps new keys, all or none.
    pub fn add_keys(&mut self, keys: &[KeyRecord]) -> Result<()> {
        self.database.change(|transaction| {
            let mut insert = transaction.prepare(
                "INSERT INTO product_key (key_group, serial, verifier, partial, issued, customer)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for key in keys {
                insert.execute(params![
                    key.id.group(),
                    key.id.serial(),
                    key.verifier.as_bytes(),
                    key.partial.0,
                    key.issued.as_second(),
                    key.customer,
                ])?;
            }
            Ok(())
        })
    }

    /// A key, if it was issued here.
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>> {
        self.database.read(|connection| {
            connection
                .query_row(
                    &format!("{SELECT_KEY} WHERE key_group = ?1 AND serial = ?2"),
                    params![id.group(), id.serial()],
                    key_record,
                )
                .optional()
        })
    }

    /// Every key, in the order of group and serial.
    pub fn keys(&self) -> Result<Vec<KeyRecord>> {
        self.database.read(|connection| {
            let mut select = connection.prepare(&format!("{SELECT_KEY} ORDER BY key_group, serial"))?;
            select.query_map([], key_record)?.collect()
        })
    }

    /// Takes a key back. Its number in the next revocation list follows from [`Store::revocations`].
    pub fn block_key(&mut self, id: KeyId) -> Result<()> {
        self.database.change(|transaction| {
            transaction.execute(
                "UPDATE product_key SET blocked = 1 WHERE key_group = ?1 AND serial = ?2 AND blocked = 0",
                params![id.group(), id.serial()],
            )?;
            Ok(())
        })
    }

    /// The blocked keys, and the number of the list that names them: one more for each key ever blocked.
    pub fn revocations(&self) -> Result<(u64, BTreeSet<KeyId>)> {
        let blocked: BTreeSet<KeyId> =
            self.keys()?.into_iter().filter(|key| key.blocked).map(|key| key.id).collect();
        Ok((1 + blocked.len() as u64, blocked))
    }

    /// How often a host key was activated on each machine.
    pub fn activations(&self, key: KeyId) -> Result<BTreeMap<ShortHardwareId, u32>> {
        let rows: Vec<(String, u32)> = self.database.read(|connection| {
            let mut select = connection.prepare(
                "SELECT hardware, count(*) FROM activation WHERE key_group = ?1 AND serial = ?2 GROUP BY hardware",
            )?;
            select.query_map(params![key.group(), key.serial()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        rows.into_iter().map(|(hardware, times)| Ok((hardware.parse()?, times))).collect()
    }

    /// Notes an activation.
    pub fn add_activation(
        &mut self,
        installation_id: &InstallationId,
        how: How,
        at: Timestamp,
    ) -> Result<()> {
        self.database.change(|transaction| insert_activation(transaction, installation_id, how, at))
    }

    /// Keeps the slots of a key's new pack, numbered on from those it has.
    pub fn add_slots(&mut self, key: KeyId, slots: &[Slot]) -> Result<()> {
        self.database.change(|transaction| {
            let mut insert = transaction
                .prepare("INSERT INTO slot (key_group, serial, number, secret) VALUES (?1, ?2, ?3, ?4)")?;
            for slot in slots {
                insert.execute(params![key.group(), key.serial(), slot.number, slot.secret.as_bytes()])?;
            }
            Ok(())
        })
    }

    /// How many slots a key's packs have.
    pub fn slots(&self, key: KeyId) -> Result<u32> {
        self.database.read(|connection| {
            connection.query_row(
                "SELECT count(*) FROM slot WHERE key_group = ?1 AND serial = ?2",
                params![key.group(), key.serial()],
                |row| row.get(0),
            )
        })
    }

    /// The slot that was assigned to this Installation ID before.
    pub fn assigned_slot(&self, installation_id: &InstallationId) -> Result<Option<Slot>> {
        self.database.read(|connection| {
            connection
                .query_row(
                    "SELECT number, secret FROM slot WHERE installation_id = ?1",
                    [installation_id.digits()],
                    slot,
                )
                .optional()
        })
    }

    /// Assigns the next free slot of its key to an Installation ID and notes the activation, both or
    /// neither; `None` when every slot is taken.
    pub fn assign_slot(&mut self, installation_id: &InstallationId, at: Timestamp) -> Result<Option<Slot>> {
        let key = installation_id.key();
        self.database.change(|transaction| {
            let free = transaction
                .query_row(
                    "SELECT number, secret FROM slot
                     WHERE key_group = ?1 AND serial = ?2 AND installation_id IS NULL ORDER BY number LIMIT 1",
                    params![key.group(), key.serial()],
                    slot,
                )
                .optional()?;
            let Some(free) = free else { return Ok(None) };
            transaction.execute(
                "UPDATE slot SET installation_id = ?4 WHERE key_group = ?1 AND serial = ?2 AND number = ?3",
                params![key.group(), key.serial(), free.number, installation_id.digits()],
            )?;
            insert_activation(transaction, installation_id, How::Phone, at)?;
            Ok(Some(free))
        })
    }
}

fn insert_activation(
    transaction: &Transaction<'_>,
    installation_id: &InstallationId,
    how: How,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let key = installation_id.key();
    transaction.execute(
        "INSERT INTO activation (key_group, serial, hardware, how, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            key.group(),
            key.serial(),
            installation_id.hardware().to_string(),
            how.as_str(),
            at.as_second()
        ],
    )?;
    Ok(())
}

fn key_record(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyRecord> {
    let verifier = Zeroizing::new(row.get::<_, [u8; 32]>(2)?);
    Ok(KeyRecord {
        id: KeyId::new(row.get(0)?, row.get(1)?)
            .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(1, 0))?,
        verifier: Verifier::from_bytes(*verifier),
        partial: PartialKey(row.get(3)?),
        issued: Timestamp::from_second(row.get(4)?)
            .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(4, 0))?,
        customer: row.get(5)?,
        blocked: row.get(6)?,
    })
}

fn slot(row: &rusqlite::Row<'_>) -> rusqlite::Result<Slot> {
    let secret = Zeroizing::new(row.get::<_, [u8; 16]>(1)?);
    Ok(Slot { number: row.get(0)?, secret: SlotSecret::from_bytes(*secret) })
}

const SELECT_KEY: &str =
    "SELECT key_group, serial, verifier, partial, issued, customer, blocked FROM product_key";

// Times are seconds since 1970, UTC. Verifiers and slot secrets are secrets; the file is the owner's alone.
const SCHEMA: &str = "
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE catalog (number INTEGER PRIMARY KEY, jws TEXT NOT NULL) STRICT;
CREATE TABLE product_key (
    key_group INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    verifier BLOB NOT NULL,
    partial TEXT NOT NULL,
    issued INTEGER NOT NULL,
    customer TEXT NOT NULL,
    blocked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key_group, serial)
) STRICT, WITHOUT ROWID;
CREATE TABLE slot (
    key_group INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    number INTEGER NOT NULL,
    secret BLOB NOT NULL,
    installation_id TEXT UNIQUE,
    PRIMARY KEY (key_group, serial, number),
    FOREIGN KEY (key_group, serial) REFERENCES product_key (key_group, serial)
) STRICT, WITHOUT ROWID;
CREATE TABLE activation (
    id INTEGER PRIMARY KEY,
    key_group INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    hardware TEXT NOT NULL,
    how TEXT NOT NULL,
    at INTEGER NOT NULL,
    FOREIGN KEY (key_group, serial) REFERENCES product_key (key_group, serial)
) STRICT;
CREATE INDEX activation_by_key ON activation (key_group, serial);
";
