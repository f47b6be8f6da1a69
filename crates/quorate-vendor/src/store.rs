//! What the vendor's service remembers, in SQLite or in PostgreSQL.
//!
//! Everything here is plain keeping and finding, one file for each thing that is kept; whether something may happen is
//! decided by those who call. They pass the session of their turn ([`quorate_edge::sql`]), so that what they decide by
//! is still true when it is written.

pub mod accounts;
pub mod activations;
pub mod answers;
pub mod audit;
pub mod catalogs;
pub mod customers;
pub mod keys;
pub mod revocations;
pub mod rows;
pub mod slots;
pub mod tokens;
pub mod webhooks;

use quorate_core::{Code, Error, Result};
use quorate_edge::database::Database;
use quorate_edge::files;
use quorate_edge::sql::{Location, Session, Sql, values};
use std::path::Path;

/// Makes the tables, with the vendor's name and so on as settings.
pub fn create(location: &Location, settings: &[(&str, &str)]) -> Result<()> {
    Sql::create(location, PROGRAM, SCHEMA, |session| {
        keep(session)?;
        session.execute("INSERT INTO revocation_list (number) VALUES (1)", values![])?;
        for (name, value) in settings {
            session.execute("INSERT INTO setting (name, value) VALUES ($1, $2)", values![*name, *value])?;
        }
        Ok(())
    })
}

/// Makes the tables with rows that were in others: all of them, or no tables.
pub fn create_filled(location: &Location, fill: impl FnOnce(&mut Session<'_>) -> Result<()>) -> Result<()> {
    let fill = |session: &mut Session<'_>| {
        fill(session)?;
        keep(session)
    };
    let Location::File(path) = location else { return Sql::create(location, PROGRAM, SCHEMA, fill) };
    // A file of another name until it is whole; more than memory holds may go into it.
    let new = path.with_extension("restoring.db");
    let gone = || {
        for extension in ["restoring.db", "restoring.db-wal", "restoring.db-shm"] {
            let _ = std::fs::remove_file(path.with_extension(extension));
        }
    };
    gone();
    let new_location = Location::File(new.clone());
    Sql::create(&new_location, PROGRAM, SCHEMA, |_| Ok(()))
        .and_then(|()| Sql::open(&new_location, PROGRAM)?.change(fill))
        // Only the file itself is put in its place; that not all could be moved into it is told here alone.
        .and_then(|()| Database::open(&new)?.close_alone())
        .and_then(|()| files::put_in_place(&new, path))
        .inspect_err(|_| gone())
}

/// What the database itself sees to.
fn keep(session: &mut Session<'_>) -> Result<()> {
    session.keep_rows("audit", "number")
}

/// Opens what [`create`] made for the vendor of this directory.
pub fn open(location: &Location, directory: &Path) -> Result<Sql> {
    let nowhere = || {
        Error::new(
            Code::NotSetUp,
            format!("there is no vendor in {}", directory.display()),
            "set one up with `quorate-vendor init`, or name its directory with --dir",
        )
    };
    if let Location::File(path) = location {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(nowhere()),
            Err(error) => return Err(files::reading(path, &error)),
        }
    }
    let sql = Sql::open(location, PROGRAM)?;
    sql.migrate(&[])?;
    Ok(sql)
}

/// A setting of [`create`].
pub fn setting(session: &mut Session<'_>, name: &str) -> Result<String> {
    session.row("SELECT value FROM setting WHERE name = $1", values![name])?.take()
}

/// A row's number that comes after all others of its table.
fn next_number(session: &mut Session<'_>, table: &str, column: &str) -> Result<i64> {
    session.row(&format!("SELECT coalesce(max({column}), 0) + 1 FROM {table}"), values![])?.take()
}

/// The name under which a database's administrator sees it.
const PROGRAM: &str = "quorate-vendor";

// Times are seconds since 1970, UTC. Verifiers and slot secrets are secrets; whoever reads the database could have any
// Installation ID confirmed.
const SCHEMA: &str = "
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE catalog (number BIGINT PRIMARY KEY, jws TEXT NOT NULL, at BIGINT NOT NULL);
CREATE TABLE customer (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    note TEXT NOT NULL,
    created BIGINT NOT NULL
);
CREATE TABLE key_serial (key_group BIGINT PRIMARY KEY, last BIGINT NOT NULL);
CREATE TABLE key_run (
    key_group BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    touched BIGINT NOT NULL,
    PRIMARY KEY (key_group, first)
);
CREATE TABLE product_key (
    key_group BIGINT NOT NULL,
    serial BIGINT NOT NULL,
    verifier BYTEA NOT NULL,
    partial TEXT NOT NULL,
    issued BIGINT NOT NULL,
    customer BIGINT REFERENCES customer (id),
    blocked BIGINT,
    hosts BIGINT,
    reactivations BIGINT,
    machines BIGINT,
    PRIMARY KEY (key_group, serial)
);
CREATE INDEX product_key_by_partial ON product_key (partial);
CREATE INDEX product_key_by_customer ON product_key (customer, key_group, serial);
CREATE INDEX product_key_blocked ON product_key (key_group, serial) WHERE blocked IS NOT NULL;
CREATE TABLE revocation_list (number BIGINT NOT NULL);
CREATE TABLE revoked_certificate (certificate TEXT PRIMARY KEY, at BIGINT NOT NULL);
CREATE TABLE slot (
    key_group BIGINT NOT NULL,
    serial BIGINT NOT NULL,
    number BIGINT NOT NULL,
    secret BYTEA NOT NULL,
    sealed TEXT NOT NULL,
    certificate TEXT NOT NULL,
    ends BIGINT NOT NULL,
    installation_id TEXT,
    PRIMARY KEY (key_group, serial, number),
    FOREIGN KEY (key_group, serial) REFERENCES product_key (key_group, serial)
);
CREATE INDEX slot_by_installation_id ON slot (installation_id) WHERE installation_id IS NOT NULL;
CREATE TABLE activation (
    id BIGINT PRIMARY KEY,
    key_group BIGINT NOT NULL,
    serial BIGINT NOT NULL,
    hardware TEXT NOT NULL,
    how TEXT NOT NULL,
    at BIGINT NOT NULL,
    installation_id TEXT NOT NULL,
    request BYTEA,
    chain TEXT,
    certificate TEXT,
    released BIGINT,
    FOREIGN KEY (key_group, serial) REFERENCES product_key (key_group, serial)
);
CREATE INDEX activation_by_key ON activation (key_group, serial, id);
CREATE INDEX activation_by_machine ON activation (key_group, serial, hardware) WHERE released IS NULL;
CREATE INDEX activation_by_time ON activation (at);
CREATE INDEX activation_by_certificate ON activation (certificate) WHERE certificate IS NOT NULL;
CREATE UNIQUE INDEX activation_by_request ON activation (installation_id, request);
CREATE TABLE token (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    revoked BIGINT
);
CREATE TABLE account (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    customer BIGINT REFERENCES customer (id),
    password TEXT,
    issuer TEXT,
    subject TEXT,
    created BIGINT NOT NULL,
    closed BIGINT,
    UNIQUE (issuer, subject),
    CHECK ((password IS NULL) = (subject IS NOT NULL)),
    CHECK ((issuer IS NULL) = (subject IS NULL))
);
CREATE TABLE openid_used (mark BYTEA PRIMARY KEY, ends BIGINT NOT NULL);
CREATE TABLE sign_in_failure (
    account BIGINT NOT NULL,
    device BYTEA NOT NULL,
    failures BIGINT NOT NULL,
    failed BIGINT,
    PRIMARY KEY (account, device)
);
CREATE TABLE portal_session (
    hash BYTEA PRIMARY KEY,
    account BIGINT NOT NULL REFERENCES account (id),
    ends BIGINT NOT NULL
);
CREATE INDEX portal_session_by_account ON portal_session (account);
CREATE TABLE answer (
    token BIGINT NOT NULL,
    name TEXT NOT NULL,
    request BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (token, name)
);
CREATE INDEX answer_by_time ON answer (at);
CREATE TABLE webhook (
    id BIGINT PRIMARY KEY,
    url TEXT NOT NULL,
    secret BYTEA NOT NULL,
    events TEXT NOT NULL,
    created BIGINT NOT NULL,
    removed BIGINT
);
CREATE TABLE delivery (
    id BIGINT PRIMARY KEY,
    webhook BIGINT NOT NULL REFERENCES webhook (id),
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    created BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    due BIGINT,
    delivered BIGINT,
    said TEXT NOT NULL
);
CREATE INDEX delivery_due ON delivery (webhook, due, id) WHERE due IS NOT NULL;
CREATE INDEX delivery_by_webhook ON delivery (webhook, id);
CREATE INDEX delivery_by_time ON delivery (created);
CREATE TABLE audit (
    number BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash BYTEA NOT NULL
);
";
