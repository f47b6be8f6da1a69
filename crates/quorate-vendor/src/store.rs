//! What the vendor's service remembers: one SQLite file.
//!
//! Everything here is plain keeping and finding; whether something may happen is decided in
//! [`crate::service`]. A change is on the disk before the method returns.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::SlotSecret;
use quorate_core::product_key::{KeyId, PartialKey, Verifier};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::database::Database;
use quorate_edge::files;
use rusqlite::{OptionalExtension, Transaction, params};
use rustls::pki_types::CertificateDer;
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

/// How a host or a machine was activated.
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
        Database::create_if_missing(path, |connection| {
            connection.execute_batch(SCHEMA)?;
            for (name, value) in settings {
                connection
                    .execute("INSERT INTO setting (name, value) VALUES (?1, ?2)", params![name, value])?;
            }
            Ok(())
        })?;
        // There must be room for its journal as well, or the vendor would be set up and could not be used.
        Database::open(path)?.change(|transaction| {
            transaction.execute("UPDATE revocation_list SET number = number", []).map(drop)
        })
    }

    /// Opens the database that [`Store::create`] made.
    pub fn open(path: &Path) -> Result<Self> {
        match path.try_exists() {
            Ok(true) => Ok(Self { database: Database::open(path)? }),
            Ok(false) => Err(Error::new(
                Code::NotSetUp,
                format!("there is no vendor in {}", path.parent().unwrap_or(path).display()),
                "set one up with `quorate-vendor init`, or name its directory with --dir",
            )),
            Err(error) => Err(files::reading(path, &error)),
        }
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

    /// Takes a key back, which makes another revocation list under the next number; a key that is blocked
    /// already makes none.
    pub fn block_key(&mut self, id: KeyId) -> Result<()> {
        self.database.change(|transaction| {
            let blocked = transaction.execute(
                "UPDATE product_key SET blocked = 1 WHERE key_group = ?1 AND serial = ?2 AND blocked = 0",
                params![id.group(), id.serial()],
            )?;
            if blocked > 0 {
                transaction.execute("UPDATE revocation_list SET number = number + 1", [])?;
            }
            Ok(())
        })
    }

    /// The number of the newest revocation list. It only rises.
    pub fn revocations_number(&self) -> Result<u64> {
        self.database.read(|connection| {
            connection
                .query_row("SELECT number FROM revocation_list", [], |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
        })
    }

    /// The blocked keys, with the number of the list that names them all.
    pub fn revocations(&self) -> Result<(u64, BTreeSet<KeyId>)> {
        self.database.read(|connection| {
            // One statement, so that number and keys are of the same moment.
            let mut select = connection.prepare(
                "SELECT number, key_group, serial FROM revocation_list
                 LEFT JOIN product_key ON blocked = 1",
            )?;
            let mut rows = select.query([])?;
            let (mut number, mut blocked) = (0, BTreeSet::new());
            while let Some(row) = rows.next()? {
                number = row.get::<_, i64>(0)?.unsigned_abs();
                if let Some((group, serial)) = row.get::<_, Option<u16>>(1)?.zip(row.get(2)?) {
                    let id = KeyId::new(group, serial)
                        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(1, 0))?;
                    blocked.insert(id);
                }
            }
            Ok((number, blocked))
        })
    }

    /// How often a key was activated on each machine.
    pub fn activations(&self, key: KeyId) -> Result<BTreeMap<ShortHardwareId, u32>> {
        let rows: Vec<(String, u32)> = self.database.read(|connection| {
            let mut select = connection.prepare(
                "SELECT hardware, count(*) FROM activation WHERE key_group = ?1 AND serial = ?2 GROUP BY hardware",
            )?;
            select.query_map(params![key.group(), key.serial()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        rows.into_iter().map(|(hardware, times)| Ok((hardware.parse()?, times))).collect()
    }

    /// The certificates that were issued for this very request, in DER: when its answer was lost, it comes
    /// again.
    pub fn issued(
        &self,
        installation_id: &InstallationId,
        request: &[u8; 32],
    ) -> Result<Option<Vec<Vec<u8>>>> {
        let chain: Option<String> = self.database.read(|connection| {
            connection
                .query_row(
                    "SELECT chain FROM activation WHERE installation_id = ?1 AND request = ?2",
                    params![installation_id.digits(), request],
                    |row| row.get(0),
                )
                .optional()
        })?;
        let damaged = || self.database.damaged("an issued certificate cannot be read");
        let decode = |chain: String| {
            chain.split(' ').map(|der| BASE64.decode(der).map_err(|_| damaged())).collect::<Result<_>>()
        };
        chain.map(decode).transpose()
    }

    /// Notes an activation online: what was asked, by its hash, and what was issued.
    pub fn add_activation(
        &mut self,
        installation_id: &InstallationId,
        request: &[u8; 32],
        chain: &[CertificateDer<'_>],
        at: Timestamp,
    ) -> Result<()> {
        let chain: Vec<String> = chain.iter().map(|der| BASE64.encode(der)).collect();
        self.database.change(|transaction| {
            insert_activation(
                transaction,
                installation_id,
                How::Online,
                Some((request, &chain.join(" "))),
                at,
            )
        })
    }

    /// Notes an activation of a machine online, once for each Installation ID.
    pub fn add_machine(&mut self, installation_id: &InstallationId, at: Timestamp) -> Result<()> {
        self.database.change(|transaction| {
            let known = transaction
                .query_row(
                    "SELECT 1 FROM activation WHERE installation_id = ?1",
                    [installation_id.digits()],
                    |_| Ok(()),
                )
                .optional()?;
            match known {
                Some(()) => Ok(()),
                None => insert_activation(transaction, installation_id, How::Online, None, at),
            }
        })
    }

    /// Keeps the slots of a key's new pack, numbered on from those it has. Their certificates end at `ends`.
    pub fn add_slots(&mut self, key: KeyId, slots: &[Slot], ends: Timestamp) -> Result<()> {
        self.database.change(|transaction| {
            let mut insert = transaction.prepare(
                "INSERT INTO slot (key_group, serial, number, secret, ends) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for slot in slots {
                let (number, secret) = (slot.number, slot.secret.as_bytes());
                insert.execute(params![key.group(), key.serial(), number, secret, ends.as_second()])?;
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
    /// neither; `None` when every slot is taken, or its certificate has ended.
    pub fn assign_slot(&mut self, installation_id: &InstallationId, at: Timestamp) -> Result<Option<Slot>> {
        let key = installation_id.key();
        self.database.change(|transaction| {
            let free = transaction
                .query_row(
                    "SELECT number, secret FROM slot
                     WHERE key_group = ?1 AND serial = ?2 AND installation_id IS NULL AND ends > ?3
                     ORDER BY number LIMIT 1",
                    params![key.group(), key.serial(), at.as_second()],
                    slot,
                )
                .optional()?;
            let Some(free) = free else { return Ok(None) };
            transaction.execute(
                "UPDATE slot SET installation_id = ?4 WHERE key_group = ?1 AND serial = ?2 AND number = ?3",
                params![key.group(), key.serial(), free.number, installation_id.digits()],
            )?;
            insert_activation(transaction, installation_id, How::Phone, None, at)?;
            Ok(Some(free))
        })
    }
}

fn insert_activation(
    transaction: &Transaction<'_>,
    installation_id: &InstallationId,
    how: How,
    issued: Option<(&[u8; 32], &str)>,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let key = installation_id.key();
    transaction.execute(
        "INSERT INTO activation
             (key_group, serial, hardware, how, at, installation_id, request, chain)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            key.group(),
            key.serial(),
            installation_id.hardware().to_string(),
            how.as_str(),
            at.as_second(),
            installation_id.digits(),
            issued.map(|(request, _)| request),
            issued.map(|(_, chain)| chain),
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
CREATE INDEX blocked_key ON product_key (key_group, serial) WHERE blocked = 1;
CREATE TABLE revocation_list (number INTEGER NOT NULL) STRICT;
INSERT INTO revocation_list (number) VALUES (1);
CREATE TABLE slot (
    key_group INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    number INTEGER NOT NULL,
    secret BLOB NOT NULL,
    ends INTEGER NOT NULL,
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
    installation_id TEXT NOT NULL,
    request BLOB,
    chain TEXT,
    FOREIGN KEY (key_group, serial) REFERENCES product_key (key_group, serial)
) STRICT;
CREATE INDEX activation_by_key ON activation (key_group, serial);
CREATE UNIQUE INDEX activation_by_request ON activation (installation_id, request);
";
