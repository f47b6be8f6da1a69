//! The book in the host's own SQLite file. Nobody else writes it, so what the ledger has read once stays true.
//!
//! A request is appended to the table `seen`, and costs the same however many machines there are: what a million
//! machines are known by lies scattered over the whole file. Later, a few at a time and in the order of the file,
//! what was appended is merged into the table `machine`. Whoever reads takes both together, as of one moment; only the
//! host that serves writes.

use super::{Account, Book, Clerk, ClientRecord, Event, EventFilter, Seen, Statistics, Wanted, Writes};
use quorate_core::cmid_table::Machine;
use quorate_core::hardware::HardwareId;
use quorate_core::identifier::{Cmid, Uuid};
use quorate_core::{Result, Timestamp};
use quorate_edge::database::Database;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The tables of the book within the host's database.
pub struct SqliteBook {
    database: Database,
    /// Up to which machine those whose time is over have been looked for. There is no index for that: each request
    /// would have to move its machine in it.
    walked: BTreeMap<Account, Cmid>,
    /// How much may wait to be merged.
    most_waiting: u32,
}

impl SqliteBook {
    /// Opens the book in the host's directory.
    pub fn open(directory: &Path) -> Result<Self> {
        let database = Database::open(&directory.join(crate::store::FILE))?;
        Ok(Self { database, walked: BTreeMap::new(), most_waiting: MOST_WAITING })
    }

    fn load(&self, wanted: &Wanted, clerk: &mut dyn Clerk) -> Result<()> {
        let mut damaged = false;
        self.database.read_together(|connection| {
            for table in [
                "SELECT cmid, hardware, last_seen FROM machine
                 WHERE vendor = ?1 AND application = ?2 AND last_seen >= ?3",
                // These were seen later, the last of them last.
                "SELECT cmid, hardware, at FROM seen
                 WHERE vendor = ?1 AND application = ?2 AND at >= ?3 ORDER BY id",
            ] {
                let mut select = connection.prepare(table)?;
                let account = &wanted.account;
                let mut rows = select.query(params![
                    account.vendor.as_str(),
                    account.application.0.as_bytes(),
                    wanted.cutoff.as_second()
                ])?;
                while let Some(row) = rows.next()? {
                    let cmid = Cmid(Uuid::from_bytes(row.get(0)?));
                    let hardware = HardwareId::from_bytes(&row.get::<_, [u8; 32]>(1)?);
                    match hardware.zip(Timestamp::from_second(row.get(2)?).ok()) {
                        Some((hardware, last_seen)) => {
                            clerk.restore(account, cmid, Machine { hardware, last_seen });
                        }
                        None => damaged = true,
                    }
                }
            }
            Ok(())
        })?;
        if damaged {
            return Err(self.database.damaged("a machine cannot be read"));
        }
        Ok(())
    }
}

impl Book for SqliteBook {
    fn commit(&mut self, wanted: &[Wanted], clerk: &mut dyn Clerk) -> Result<Vec<i64>> {
        for wanted in wanted.iter().filter(|wanted| wanted.cursor.is_none()) {
            self.load(wanted, clerk)?;
        }
        let writes = clerk.decide();
        let most_waiting = self.most_waiting;
        self.database.change(|transaction| {
            write_seen(transaction, &writes.seen)?;
            if waiting(transaction)? > most_waiting {
                // As many again as have come, and as many more.
                merge(transaction, 2 * u32::try_from(writes.seen.len()).unwrap_or(u32::MAX / 2))?;
            }
            write_outcomes(transaction, &writes)?;
            write_events(transaction, &writes.events)
        })?;
        Ok(vec![0; wanted.len()])
    }

    fn forget(&mut self, account: &Account, cutoff: Timestamp, now: Timestamp, most: u32) -> Result<bool> {
        let (vendor, application) = (account.vendor.as_str(), account.application.0.as_bytes());
        let merged = self.database.change(|transaction| merge(transaction, most))?;
        if merged == most {
            // A machine that was seen lately might wait still, and would be forgotten with what is old of it.
            return Ok(true);
        }
        // What comes before every machine is the empty one.
        let from: Vec<u8> = self.walked.get(account).map_or_else(Vec::new, |cmid| cmid.0.as_bytes().to_vec());
        let to: Option<[u8; 16]> = self.database.read(|connection| {
            let last = "SELECT cmid FROM machine WHERE vendor = ?1 AND application = ?2 AND cmid > ?3
                        ORDER BY cmid LIMIT 1 OFFSET ?4 - 1";
            connection.query_row(last, params![vendor, application, from, most], |row| row.get(0)).optional()
        })?;
        self.database.change(|transaction| {
            // Between two bounds always, or SQLite would look at every machine behind the first.
            let to = to.unwrap_or([0xff; 16]);
            transaction
                .execute(FORGET, params![vendor, application, from, to, cutoff.as_second(), now.as_second()])
        })?;
        match to {
            Some(last) => self.walked.insert(account.clone(), Cmid(Uuid::from_bytes(last))),
            None => self.walked.remove(account),
        };
        Ok(to.is_some())
    }

    fn forget_events(&mut self, before: Timestamp, kept: u64, most: u32) -> Result<bool> {
        let kept = i64::try_from(kept).unwrap_or(i64::MAX);
        let forgotten = self.database.change(|transaction| {
            transaction.execute(
                // There is no index by time: ids are the order in which things happened, and what came before something
                // old is old, whatever a clock said then.
                "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?3) AND id <= max(
                     (SELECT max(id) FROM event) - ?2,
                     coalesce((SELECT max(id) FROM (SELECT id, at FROM event ORDER BY id LIMIT ?3) WHERE at < ?1), 0))",
                params![before.as_second(), kept, most],
            )
        })?;
        Ok(u32::try_from(forgotten) == Ok(most))
    }

    fn count(&mut self, account: &Account, cutoff: Timestamp) -> Result<u32> {
        self.database.read(|connection| {
            connection.query_row(
                "SELECT (SELECT count(*) FROM machine
                         WHERE vendor = ?1 AND application = ?2 AND last_seen >= ?3)
                      + (SELECT count(*) FROM
                             -- In the order of the machines, so that each page of these is read once.
                             (SELECT DISTINCT cmid FROM seen
                              WHERE vendor = ?1 AND application = ?2 AND at >= ?3 ORDER BY cmid) AS waiting
                         WHERE NOT EXISTS
                             (SELECT 1 FROM machine WHERE vendor = ?1 AND application = ?2
                              AND machine.cmid = waiting.cmid AND last_seen >= ?3))",
                params![account.vendor.as_str(), account.application.0.as_bytes(), cutoff.as_second()],
                |row| row.get(0),
            )
        })
    }

    fn statistics(&mut self, account: &Account) -> Result<Statistics> {
        let rows: Vec<(i64, i64)> = self.database.read(|connection| {
            let mut select = connection
                .prepare("SELECT outcome, requests FROM statistic WHERE vendor = ?1 AND application = ?2")?;
            let account = params![account.vendor.as_str(), account.application.0.as_bytes()];
            select.query_map(account, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        Ok(Statistics::new(rows))
    }

    fn clients(&mut self) -> Result<Vec<ClientRecord>> {
        // Merged in memory: a listing writes nothing, and the host that serves is not held up.
        let mut clients: HashMap<(String, String, String), ClientRecord> = HashMap::new();
        self.database.read_together(|connection| {
            for table in [
                "SELECT vendor, application, sku, cmid, name, virtual_machine, address, status, first_seen,
                     last_seen, licensed_until FROM machine",
                "SELECT vendor, application, sku, cmid, name, virtual_machine, address, status, at,
                     at, licensed_until FROM seen ORDER BY id",
            ] {
                let mut select = connection.prepare(table)?;
                for seen in select.query_map([], client)? {
                    let mut seen = seen?;
                    let id = (seen.vendor.clone(), seen.application.clone(), seen.cmid.clone());
                    if let Some(known) = clients.get(&id) {
                        seen.first_seen = known.first_seen;
                        seen.last_seen = seen.last_seen.max(known.last_seen);
                        seen.licensed_until = seen.licensed_until.or(known.licensed_until);
                    }
                    clients.insert(id, seen);
                }
            }
            Ok(())
        })?;
        let mut clients: Vec<ClientRecord> = clients.into_values().collect();
        clients.sort_by(|one, other| in_order(one).cmp(&in_order(other)));
        Ok(clients)
    }

    fn events(&mut self, filter: &EventFilter) -> Result<Vec<Event>> {
        let mut events = self.database.read(|connection| select_events(connection, filter))?;
        events.reverse();
        Ok(events)
    }
}

fn write_seen(transaction: &Transaction<'_>, seen: &[Seen]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO seen (vendor, application, cmid, hardware, at, name, sku, status, virtual_machine, address,
             licensed_until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for seen in seen {
        insert.execute(params![
            seen.account.vendor.as_str(),
            seen.account.application.0.as_bytes(),
            seen.cmid.0.as_bytes(),
            seen.hardware.as_bytes(),
            seen.at.as_second(),
            seen.name,
            seen.sku.0.as_bytes(),
            seen.status.number(),
            seen.virtual_machine,
            seen.address,
            seen.licensed_until.map(Timestamp::as_second),
        ])?;
    }
    Ok(())
}

/// How much was seen and is not merged yet; their numbers follow each other.
fn waiting(transaction: &Transaction<'_>) -> rusqlite::Result<u32> {
    let mut select = transaction
        .prepare_cached("SELECT coalesce((SELECT max(id) FROM seen) - (SELECT min(id) FROM seen) + 1, 0)")?;
    select.query_row([], |row| row.get(0))
}

/// Merges up to so many of what was seen first into what is known of the machines, and says how many.
fn merge(transaction: &Transaction<'_>, most: u32) -> rusqlite::Result<u32> {
    let mut last = transaction.prepare_cached("SELECT min(id) - 1 + ?1 FROM seen")?;
    let Some(last) = last.query_row([most], |row| row.get::<_, Option<i64>>(0))? else { return Ok(0) };
    let mut merge = transaction.prepare_cached(
        "INSERT INTO machine (vendor, application, cmid, hardware, first_seen, last_seen, name, sku, status,
             virtual_machine, address, licensed_until)
         SELECT vendor, application, cmid, hardware, at, at, name, sku, status, virtual_machine, address,
             licensed_until
         FROM seen WHERE id <= ?1 ORDER BY vendor, application, cmid, id
         ON CONFLICT (vendor, application, cmid) DO UPDATE
         SET hardware = excluded.hardware, last_seen = max(last_seen, excluded.last_seen), name = excluded.name,
             sku = excluded.sku, status = excluded.status, virtual_machine = excluded.virtual_machine,
             address = excluded.address, licensed_until = coalesce(excluded.licensed_until, licensed_until)",
    )?;
    merge.execute([last])?;
    let merged = transaction.prepare_cached("DELETE FROM seen WHERE id <= ?1")?.execute([last])?;
    Ok(u32::try_from(merged).unwrap_or(u32::MAX))
}

fn write_outcomes(transaction: &Transaction<'_>, writes: &Writes) -> rusqlite::Result<()> {
    let mut statistic = transaction.prepare_cached(
        "INSERT INTO statistic (vendor, application, outcome, requests) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (vendor, application, outcome) DO UPDATE SET requests = requests + ?4",
    )?;
    for ((account, outcome), requests) in writes.totals() {
        let application = account.application.0.as_bytes();
        statistic.execute(params![account.vendor.as_str(), application, outcome, requests])?;
    }
    Ok(())
}

fn write_events(transaction: &Transaction<'_>, events: &[Event]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO event (at, kind, vendor, application, result, machine, cmid, fields)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for event in events {
        insert.execute(params![
            event.at.as_second(),
            event.kind,
            event.vendor,
            event.application,
            event.result,
            event.machine,
            event.cmid,
            event.fields.to_string(),
        ])?;
    }
    Ok(())
}

fn select_events(connection: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<Event>> {
    let mut select = connection.prepare(
        "SELECT at, kind, vendor, application, result, machine, cmid, fields FROM event
         WHERE at >= ?1 AND at < ?2 AND (?3 IS NULL OR kind = ?3)
         AND (?4 IS NULL OR machine = ?4 COLLATE NOCASE OR cmid = ?4) AND (?5 = 0 OR result <> '0')
         ORDER BY id DESC LIMIT ?6",
    )?;
    let since = filter.since.unwrap_or(Timestamp::MIN).as_second();
    let until = filter.until.unwrap_or(Timestamp::MAX).as_second();
    let wanted = params![since, until, filter.kind, filter.machine, filter.failed, filter.limit];
    select.query_map(wanted, event)?.collect()
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        at: time(row, 0)?,
        kind: row.get(1)?,
        vendor: row.get(2)?,
        application: row.get(3)?,
        result: row.get(4)?,
        machine: row.get(5)?,
        cmid: row.get(6)?,
        fields: serde_json::from_str(&row.get::<_, String>(7)?).unwrap_or_default(),
    })
}

fn client(row: &Row<'_>) -> rusqlite::Result<ClientRecord> {
    let id = |index| row.get::<_, [u8; 16]>(index).map(|bytes| Uuid::from_bytes(bytes).to_string());
    Ok(ClientRecord {
        vendor: row.get(0)?,
        application: id(1)?,
        sku: id(2)?,
        cmid: id(3)?,
        name: row.get(4)?,
        virtual_machine: row.get(5)?,
        address: row.get(6)?,
        status: row.get(7)?,
        first_seen: time(row, 8)?,
        last_seen: time(row, 9)?,
        licensed_until: match row.get::<_, Option<i64>>(10)? {
            Some(_) => Some(time(row, 10)?),
            None => None,
        },
    })
}

fn in_order(client: &ClientRecord) -> [&str; 4] {
    [&client.vendor, &client.application, &client.name, &client.cmid]
}

fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    let seconds = row.get(index)?;
    Timestamp::from_second(seconds).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, seconds))
}

/// Of the machines between two, those whose time is over.
const FORGET: &str = "DELETE FROM machine WHERE vendor = ?1 AND application = ?2 AND cmid > ?3 AND cmid <= ?4
     AND last_seen < ?5 AND (licensed_until IS NULL OR licensed_until < ?6)";
/// With as many machines again that have not asked lately, a host still starts within seconds.
const MOST_WAITING: u32 = 1_000_000;

/// The book's tables. Times are seconds since 1970, UTC; GUIDs and hardware ids are their bytes. Outcomes are the
/// client's license status, or -1 for a refused request.
pub const SCHEMA: &str = "
CREATE TABLE machine (
    vendor TEXT NOT NULL,
    application BLOB NOT NULL,
    cmid BLOB NOT NULL,
    hardware BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    name TEXT NOT NULL,
    sku BLOB NOT NULL,
    status INTEGER NOT NULL,
    virtual_machine INTEGER NOT NULL,
    address TEXT NOT NULL,
    licensed_until INTEGER,
    PRIMARY KEY (vendor, application, cmid)
) STRICT, WITHOUT ROWID;
CREATE TABLE seen (
    id INTEGER PRIMARY KEY,
    vendor TEXT NOT NULL,
    application BLOB NOT NULL,
    cmid BLOB NOT NULL,
    hardware BLOB NOT NULL,
    at INTEGER NOT NULL,
    name TEXT NOT NULL,
    sku BLOB NOT NULL,
    status INTEGER NOT NULL,
    virtual_machine INTEGER NOT NULL,
    address TEXT NOT NULL,
    licensed_until INTEGER
) STRICT;
CREATE TABLE statistic (
    vendor TEXT NOT NULL,
    application BLOB NOT NULL,
    outcome INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (vendor, application, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    vendor TEXT,
    application TEXT,
    result TEXT NOT NULL,
    machine TEXT,
    cmid TEXT,
    fields TEXT NOT NULL
) STRICT;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use quorate_core::identifier::{ActivationId, ApplicationId};
    use quorate_core::license_state::LicenseStatus;

    struct Decided(Writes);

    impl Clerk for Decided {
        fn restore(&mut self, _: &Account, _: Cmid, _: Machine) {}
        fn decide(&mut self) -> Writes {
            std::mem::take(&mut self.0)
        }
    }

    #[test]
    fn what_waits_to_be_merged_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        Store::open_or_create(directory.path()).unwrap();
        let mut book = SqliteBook::open(directory.path()).unwrap();
        book.most_waiting = 20;
        let id = Uuid::from_u128;
        let account = Account { vendor: "contoso".parse().unwrap(), application: ApplicationId(id(1)) };
        let seen = |number: u128| Seen {
            account: account.clone(),
            cmid: Cmid(id(number % 7)),
            hardware: HardwareId::from_bytes(&[1; 32]).unwrap(),
            at: Timestamp::UNIX_EPOCH,
            name: number.to_string(),
            sku: ActivationId(id(2)),
            status: LicenseStatus::Licensed,
            virtual_machine: false,
            address: String::new(),
            licensed_until: None,
        };
        for batch in 0..20 {
            let seen = (0..5).map(|number| seen(batch * 5 + number)).collect();
            book.commit(&[], &mut Decided(Writes { seen, ..Writes::default() })).unwrap();
            let waiting = book.database.change(waiting).unwrap();
            assert!(waiting <= 20, "{waiting}");
            let machines = u32::try_from((batch + 1) * 5).unwrap().min(7);
            assert_eq!(book.count(&account, Timestamp::UNIX_EPOCH).unwrap(), machines);
        }
        // Of each machine, what was seen last.
        let mut names: Vec<String> = book.clients().unwrap().into_iter().map(|client| client.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["93", "94", "95", "96", "97", "98", "99"]);
    }

    /// Forgetting looks at so many machines at a time, and at no more.
    #[test]
    fn machines_are_forgotten_between_two_bounds() {
        let directory = tempfile::tempdir().unwrap();
        Store::open_or_create(directory.path()).unwrap();
        let book = SqliteBook::open(directory.path()).unwrap();
        let plan: String = book
            .database
            .read(|connection| {
                let nothing = [rusqlite::types::Null; 6];
                connection.query_row(&format!("EXPLAIN QUERY PLAN {FORGET}"), nothing, |row| row.get(3))
            })
            .unwrap();
        assert!(plan.contains("cmid>? AND cmid<?"), "{plan}");
    }

    /// An event that a wrong clock dated years ahead does not keep those after it.
    #[test]
    fn an_event_of_the_future_keeps_no_other() {
        let directory = tempfile::tempdir().unwrap();
        Store::open_or_create(directory.path()).unwrap();
        let mut book = SqliteBook::open(directory.path()).unwrap();
        let event = |second: i64| Event {
            at: Timestamp::from_second(second).unwrap(),
            kind: 1,
            vendor: None,
            application: None,
            result: String::new(),
            machine: None,
            cmid: None,
            fields: serde_json::Value::Null,
        };
        let mut events: Vec<Event> = (0..20).map(event).collect();
        events.insert(2, event(1_000_000));
        book.commit(&[], &mut Decided(Writes { events, ..Writes::default() })).unwrap();
        let before = Timestamp::from_second(15).unwrap();
        while book.forget_events(before, 1_000, 5).unwrap() {}
        let filter = EventFilter { limit: 100, ..EventFilter::default() };
        let left: Vec<i64> = book.events(&filter).unwrap().iter().map(|event| event.at.as_second()).collect();
        assert_eq!(left, [15, 16, 17, 18, 19]);
        // And by number.
        while book.forget_events(Timestamp::MIN, 3, 1).unwrap() {}
        assert_eq!(book.events(&filter).unwrap().len(), 3);
    }
}
