//! The book in a PostgreSQL, or whatever speaks its protocol, that several hosts share: they have one count.
//!
//! Each account has a row with a number. Who commits a batch locks the rows of its accounts, reads what others have
//! written under higher numbers than it has seen, decides, and writes under the next number. So each host's tables
//! are exact whenever it counts, and a batch costs what has changed since the last, not what there is.
//!
//! Nothing here is particular to PostgreSQL: no advisory locks, no notifications, no extensions. How the
//! connection is made, and made anew, is in [`quorate_edge::postgres`].

use super::{Account, Book, Clerk, ClientRecord, Event, EventFilter, Seen, Statistics, Wanted, Writes};
use postgres::{IsolationLevel, Row, Transaction};
use quorate_core::cmid_table::Machine;
use quorate_core::hardware::HardwareId;
use quorate_core::identifier::{Cmid, Uuid};
use quorate_core::{Result, Timestamp};
use quorate_edge::postgres::Server;
use std::collections::BTreeMap;

/// A connection to the shared book.
pub struct PostgresBook(Server);

impl PostgresBook {
    /// Connects, and makes the tables where there are none.
    pub fn open(url: &str) -> Result<Self> {
        let mut server = Server::new(url, "quorate-host")?;
        server.with(|client| {
            let mut attempts = 0;
            loop {
                attempts += 1;
                let made = client.transaction().and_then(|mut transaction| {
                    transaction.batch_execute(SCHEMA)?;
                    transaction.commit()
                });
                match made {
                    // Hosts that start together for the first time make the same tables at the same time; the second
                    // finds them there.
                    Err(error) if error.as_db_error().is_some() && attempts < 5 => {}
                    made => return made,
                }
            }
        })?;
        Ok(Self(server))
    }
}

impl Book for PostgresBook {
    fn commit(&mut self, wanted: &[Wanted], clerk: &mut dyn Clerk) -> Result<Vec<i64>> {
        self.0.with(|client| {
            let mut transaction =
                client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start()?;
            let mut numbers = Vec::new();
            for wanted in wanted {
                let number = lock(&mut transaction, &wanted.account)?;
                news(&mut transaction, wanted, clerk)?;
                numbers.push(number + 1);
            }
            let writes = clerk.decide();
            let accounts = || wanted.iter().zip(&numbers).map(|(wanted, number)| (&wanted.account, *number));
            write_seen(&mut transaction, &writes.seen, &accounts().collect())?;
            write_outcomes(&mut transaction, &writes)?;
            write_events(&mut transaction, &writes.events)?;
            for (account, number) in accounts() {
                let (vendor, application) = key(account);
                transaction.execute(
                    "UPDATE account SET number = $3 WHERE vendor = $1 AND application = $2",
                    &[&vendor, &application, &number],
                )?;
            }
            transaction.commit()?;
            Ok(numbers)
        })
    }

    fn forget(&mut self, account: &Account, cutoff: Timestamp, now: Timestamp, most: u32) -> Result<bool> {
        let (vendor, application) = key(account);
        let forgotten = self.0.with(|client| {
            client.execute(
                "DELETE FROM machine WHERE vendor = $1 AND application = $2 AND cmid IN (
                     SELECT cmid FROM machine WHERE vendor = $1 AND application = $2 AND last_seen < $3
                     AND (licensed_until IS NULL OR licensed_until < $4) LIMIT $5)",
                &[&vendor, &application, &cutoff.as_second(), &now.as_second(), &i64::from(most)],
            )
        })?;
        Ok(forgotten == u64::from(most))
    }

    fn forget_events(&mut self, before: Timestamp, kept: u64, most: u32) -> Result<bool> {
        let kept = i64::try_from(kept).unwrap_or(i64::MAX);
        let forgotten = self.0.with(|client| {
            client.execute(
                "DELETE FROM event WHERE id IN (
                     SELECT id FROM event WHERE at < $1 OR id <= (SELECT max(id) FROM event) - $2
                     ORDER BY id LIMIT $3)",
                &[&before.as_second(), &kept, &i64::from(most)],
            )
        })?;
        Ok(forgotten == u64::from(most))
    }

    fn count(&mut self, account: &Account, cutoff: Timestamp) -> Result<u32> {
        let (vendor, application) = key(account);
        let count: i64 = self.0.with(|client| {
            let row = client.query_one(
                "SELECT count(*) FROM machine WHERE vendor = $1 AND application = $2 AND last_seen >= $3",
                &[&vendor, &application, &cutoff.as_second()],
            )?;
            row.try_get(0)
        })?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn statistics(&mut self, account: &Account) -> Result<Statistics> {
        let (vendor, application) = key(account);
        let rows: Vec<(i64, i64)> = self.0.with(|client| {
            let rows = client.query(
                "SELECT outcome, requests FROM statistic WHERE vendor = $1 AND application = $2",
                &[&vendor, &application],
            )?;
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
        })?;
        Ok(Statistics::new(rows))
    }

    fn clients(&mut self) -> Result<Vec<ClientRecord>> {
        self.0.with(|client| {
            let rows = client.query(
                "SELECT vendor, application, sku, cmid, name, virtual_machine, address, status, first_seen,
                     last_seen, licensed_until
                 FROM machine ORDER BY vendor, application, name, cmid",
                &[],
            )?;
            rows.iter().map(client_record).collect()
        })
    }

    fn events(&mut self, filter: &EventFilter) -> Result<Vec<Event>> {
        let since = filter.since.unwrap_or(Timestamp::MIN).as_second();
        let until = filter.until.unwrap_or(Timestamp::MAX).as_second();
        let kind = filter.kind.map(i64::from);
        let mut events: Vec<Event> = self.0.with(|client| {
            let rows = client.query(
                "SELECT at, kind, vendor, application, result, machine, cmid, fields FROM event
                 WHERE at >= $1 AND at < $2 AND ($3::bigint IS NULL OR kind = $3)
                 AND ($4::text IS NULL OR lower(machine) = lower($4) OR cmid = $4) AND (NOT $5 OR result <> '0')
                 ORDER BY id DESC LIMIT $6",
                &[&since, &until, &kind, &filter.machine, &filter.failed, &i64::from(filter.limit)],
            )?;
            rows.iter().map(event).collect()
        })?;
        events.reverse();
        Ok(events)
    }
}

/// Locks an account until the transaction ends, and gives its number.
fn lock(transaction: &mut Transaction<'_>, account: &Account) -> std::result::Result<i64, postgres::Error> {
    let (vendor, application) = key(account);
    transaction.execute(
        "INSERT INTO account (vendor, application, number) VALUES ($1, $2, 0)
         ON CONFLICT (vendor, application) DO NOTHING",
        &[&vendor, &application],
    )?;
    let row = transaction.query_one(
        "SELECT number FROM account WHERE vendor = $1 AND application = $2 FOR UPDATE",
        &[&vendor, &application],
    )?;
    row.try_get(0)
}

/// Shows the clerk what others have written.
fn news(
    transaction: &mut Transaction<'_>,
    wanted: &Wanted,
    clerk: &mut dyn Clerk,
) -> std::result::Result<(), postgres::Error> {
    let (vendor, application) = key(&wanted.account);
    let rows = transaction.query(
        "SELECT cmid, hardware, last_seen FROM machine
         WHERE vendor = $1 AND application = $2 AND number > $3 AND last_seen >= $4",
        &[&vendor, &application, &wanted.cursor.unwrap_or(-1), &wanted.cutoff.as_second()],
    )?;
    for row in rows {
        let (cmid, hardware): (&[u8], &[u8]) = (row.try_get(0)?, row.try_get(1)?);
        let cmid = Uuid::from_slice(cmid).ok().map(Cmid);
        let machine = HardwareId::from_bytes(hardware).zip(Timestamp::from_second(row.try_get(2)?).ok());
        // What cannot be read is no machine; the check of the columns has let it in.
        if let Some((cmid, (hardware, last_seen))) = cmid.zip(machine) {
            clerk.restore(&wanted.account, cmid, Machine { hardware, last_seen });
        }
    }
    Ok(())
}

fn write_seen(
    transaction: &mut Transaction<'_>,
    seen: &[Seen],
    numbers: &BTreeMap<&Account, i64>,
) -> std::result::Result<(), postgres::Error> {
    // One statement must not touch a row twice: of several requests of a machine, the last counts.
    let mut last: BTreeMap<(&Account, Uuid), &Seen> = BTreeMap::new();
    for seen in seen {
        last.insert((&seen.account, seen.cmid.0), seen);
    }
    for (account, number) in numbers {
        let of_account: Vec<&Seen> =
            last.iter().filter(|((of, _), _)| of == account).map(|(_, seen)| *seen).collect();
        if of_account.is_empty() {
            continue;
        }
        let (vendor, application) = key(account);
        let column =
            |value: fn(&Seen) -> Vec<u8>| of_account.iter().map(|seen| value(seen)).collect::<Vec<_>>();
        let text = |value: fn(&Seen) -> &str| of_account.iter().map(|seen| value(seen)).collect::<Vec<_>>();
        let licensed: Vec<Option<i64>> =
            of_account.iter().map(|seen| seen.licensed_until.map(Timestamp::as_second)).collect();
        transaction.execute(
            "INSERT INTO machine (vendor, application, cmid, hardware, first_seen, last_seen, name, sku, status,
                 virtual_machine, address, licensed_until, number)
             SELECT $1, $2, cmid, hardware, at, at, name, sku, status, virtual_machine, address, licensed_until, $12
             FROM unnest($3::bytea[], $4::bytea[], $5::bigint[], $6::text[], $7::bytea[], $8::bigint[], $9::bool[],
                 $10::text[], $11::bigint[])
                 AS new (cmid, hardware, at, name, sku, status, virtual_machine, address, licensed_until)
             ON CONFLICT (vendor, application, cmid) DO UPDATE SET
                 hardware = excluded.hardware, last_seen = greatest(machine.last_seen, excluded.last_seen),
                 name = excluded.name, sku = excluded.sku, status = excluded.status,
                 virtual_machine = excluded.virtual_machine, address = excluded.address,
                 licensed_until = coalesce(excluded.licensed_until, machine.licensed_until),
                 number = excluded.number",
            &[
                &vendor,
                &application,
                &column(|seen| seen.cmid.0.as_bytes().to_vec()),
                &column(|seen| seen.hardware.as_bytes().to_vec()),
                &of_account.iter().map(|seen| seen.at.as_second()).collect::<Vec<i64>>(),
                &text(|seen| &seen.name),
                &column(|seen| seen.sku.0.as_bytes().to_vec()),
                &of_account.iter().map(|seen| i64::from(seen.status.number())).collect::<Vec<i64>>(),
                &of_account.iter().map(|seen| seen.virtual_machine).collect::<Vec<bool>>(),
                &text(|seen| &seen.address),
                &licensed,
                number,
            ],
        )?;
    }
    Ok(())
}

fn write_outcomes(
    transaction: &mut Transaction<'_>,
    writes: &Writes,
) -> std::result::Result<(), postgres::Error> {
    for ((account, outcome), requests) in writes.totals() {
        let (vendor, application) = key(&account);
        transaction.execute(
            "INSERT INTO statistic (vendor, application, outcome, requests) VALUES ($1, $2, $3, $4)
             ON CONFLICT (vendor, application, outcome)
             DO UPDATE SET requests = statistic.requests + excluded.requests",
            &[&vendor, &application, &outcome, &requests],
        )?;
    }
    Ok(())
}

fn write_events(
    transaction: &mut Transaction<'_>,
    events: &[Event],
) -> std::result::Result<(), postgres::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let optional = |value: fn(&Event) -> &Option<String>| {
        events.iter().map(|event| value(event).as_deref()).collect::<Vec<Option<&str>>>()
    };
    transaction.execute(
        "INSERT INTO event (at, kind, vendor, application, result, machine, cmid, fields)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[])",
        &[
            &events.iter().map(|event| event.at.as_second()).collect::<Vec<i64>>(),
            &events.iter().map(|event| i64::from(event.kind)).collect::<Vec<i64>>(),
            &optional(|event| &event.vendor),
            &optional(|event| &event.application),
            &events.iter().map(|event| event.result.as_str()).collect::<Vec<&str>>(),
            &optional(|event| &event.machine),
            &optional(|event| &event.cmid),
            &events.iter().map(|event| event.fields.to_string()).collect::<Vec<String>>(),
        ],
    )?;
    Ok(())
}

fn key(account: &Account) -> (&str, &[u8]) {
    (account.vendor.as_str(), account.application.0.as_bytes())
}

fn client_record(row: &Row) -> std::result::Result<ClientRecord, postgres::Error> {
    let id = |index: usize| -> std::result::Result<String, postgres::Error> {
        let bytes: &[u8] = row.try_get(index)?;
        Ok(Uuid::from_slice(bytes).unwrap_or_default().to_string())
    };
    let status: i64 = row.try_get(7)?;
    let licensed: Option<i64> = row.try_get(10)?;
    Ok(ClientRecord {
        vendor: row.try_get(0)?,
        application: id(1)?,
        sku: id(2)?,
        cmid: id(3)?,
        name: row.try_get(4)?,
        virtual_machine: row.try_get(5)?,
        address: row.try_get(6)?,
        status: u32::try_from(status).unwrap_or_default(),
        first_seen: moment(row.try_get(8)?),
        last_seen: moment(row.try_get(9)?),
        licensed_until: licensed.map(moment),
    })
}

fn event(row: &Row) -> std::result::Result<Event, postgres::Error> {
    let (kind, fields): (i64, &str) = (row.try_get(1)?, row.try_get(7)?);
    Ok(Event {
        at: moment(row.try_get(0)?),
        kind: u32::try_from(kind).unwrap_or_default(),
        vendor: row.try_get(2)?,
        application: row.try_get(3)?,
        result: row.try_get(4)?,
        machine: row.try_get(5)?,
        cmid: row.try_get(6)?,
        fields: serde_json::from_str(fields).unwrap_or_default(),
    })
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// As in the host's own file ([`super::sqlite::SCHEMA`]), and for each account the number of its last change.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS account (
    vendor TEXT NOT NULL,
    application BYTEA NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (vendor, application)
);
CREATE TABLE IF NOT EXISTS machine (
    vendor TEXT NOT NULL,
    application BYTEA NOT NULL,
    cmid BYTEA NOT NULL CHECK (length(cmid) = 16),
    hardware BYTEA NOT NULL CHECK (length(hardware) = 32),
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    name TEXT NOT NULL,
    sku BYTEA NOT NULL,
    status BIGINT NOT NULL,
    virtual_machine BOOLEAN NOT NULL,
    address TEXT NOT NULL,
    licensed_until BIGINT,
    number BIGINT NOT NULL,
    PRIMARY KEY (vendor, application, cmid)
);
CREATE INDEX IF NOT EXISTS machine_by_last_seen ON machine (vendor, application, last_seen);
CREATE INDEX IF NOT EXISTS machine_by_number ON machine (vendor, application, number);
CREATE TABLE IF NOT EXISTS statistic (
    vendor TEXT NOT NULL,
    application BYTEA NOT NULL,
    outcome BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (vendor, application, outcome)
);
CREATE TABLE IF NOT EXISTS event (
    id BIGSERIAL PRIMARY KEY,
    at BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    vendor TEXT,
    application TEXT,
    result TEXT NOT NULL,
    machine TEXT,
    cmid TEXT,
    fields TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_by_time ON event (at);
";
