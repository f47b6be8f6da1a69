//! People who sign in, and their sessions: hashes of passwords and of sessions, nothing that could be used. Who signs in
//! by an OpenID Connect provider has no password here.

use super::next_number;
use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Row, Session, values};

/// Somebody who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its number.
    pub id: i64,
    /// The name to sign in with.
    pub name: String,
    /// What he may do, as in `support`.
    pub role: String,
    /// For a customer's own people: which customer.
    pub customer: Option<i64>,
    /// As whom an OpenID Connect provider knows him; none, when he signs in by password.
    pub identity: Option<Identity>,
    /// Since when there is the account.
    pub created: Timestamp,
    /// Since when it is closed.
    pub closed: Option<Timestamp>,
}

/// Somebody to an OpenID Connect provider. The subject is the provider's own name for him, which is nobody else's ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// Who he is there.
    pub subject: String,
}

/// How somebody proves who he is.
pub struct Proof {
    /// The password's argon2 hash, in PHC form; none, when he signs in by an OpenID Connect provider.
    pub password: Option<String>,
}

/// How often that failed, since it last succeeded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    /// Wrong passwords.
    pub count: u32,
    /// When the last of them came.
    pub last: Option<Timestamp>,
}

/// An account by its name.
pub fn named(session: &mut Session<'_>, folded: &str) -> Result<Option<(AccountRecord, Proof)>> {
    let select = format!("SELECT {COLUMNS}, password FROM account WHERE folded = $1");
    let Some(mut row) = session.find(&select, values![folded])? else { return Ok(None) };
    let account = account(&mut row)?;
    Ok(Some((account, Proof { password: row.take()? })))
}

/// An account by its number.
pub fn find(session: &mut Session<'_>, id: i64) -> Result<Option<AccountRecord>> {
    let select = format!("SELECT {COLUMNS} FROM account WHERE id = $1");
    session.find(&select, values![id])?.map(|mut row| account(&mut row)).transpose()
}

/// The account of somebody whom an OpenID Connect provider knows.
pub fn of_identity(session: &mut Session<'_>, identity: &Identity) -> Result<Option<AccountRecord>> {
    let select = format!("SELECT {COLUMNS} FROM account WHERE issuer = $1 AND subject = $2");
    let found = session.find(&select, values![&identity.issuer, &identity.subject])?;
    found.map(|mut row| account(&mut row)).transpose()
}

/// All of them, in the order of their names.
pub fn list(session: &mut Session<'_>) -> Result<Vec<AccountRecord>> {
    let rows = session.rows(&format!("SELECT {COLUMNS} FROM account ORDER BY folded"), values![])?;
    rows.into_iter().map(|mut row| account(&mut row)).collect()
}

/// Keeps a new account, whose name is not taken.
pub fn add(
    session: &mut Session<'_>,
    (name, folded): (&str, &str),
    role: &str,
    customer: Option<i64>,
    password: &str,
    now: Timestamp,
) -> Result<i64> {
    let id = next_number(session, "account", "id")?;
    session.execute(
        "INSERT INTO account (id, name, folded, role, customer, password, created)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values![id, name, folded, role, customer, password, now],
    )?;
    Ok(id)
}

/// Keeps a new account without a password, whose name is not taken.
pub fn add_identity(
    session: &mut Session<'_>,
    (name, folded): (&str, &str),
    role: &str,
    identity: &Identity,
    now: Timestamp,
) -> Result<i64> {
    let id = next_number(session, "account", "id")?;
    session.execute(
        "INSERT INTO account (id, name, folded, role, issuer, subject, created)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values![id, name, folded, role, &identity.issuer, &identity.subject, now],
    )?;
    Ok(id)
}

/// Notes what somebody may do now.
pub fn set_role(session: &mut Session<'_>, id: i64, role: &str) -> Result<()> {
    session.execute("UPDATE account SET role = $2 WHERE id = $1", values![id, role]).map(drop)
}

/// Uses what can be used once, and says whether that was the first time. It is remembered until `ends`.
pub fn use_once(session: &mut Session<'_>, mark: &[u8; 32], now: Timestamp, ends: Timestamp) -> Result<bool> {
    session.execute("DELETE FROM openid_used WHERE ends <= $1", values![now])?;
    let insert = "INSERT INTO openid_used (mark, ends) VALUES ($1, $2) ON CONFLICT (mark) DO NOTHING";
    Ok(session.execute(insert, values![mark, ends])? == 1)
}

/// Gives an account another password; whoever is signed in as it is so no more.
pub fn set_password(session: &mut Session<'_>, id: i64, password: &str) -> Result<()> {
    session.execute("UPDATE account SET password = $2 WHERE id = $1", values![id, password])?;
    forgive(session, id)?;
    end_all(session, id)
}

/// Closes an account, or opens it again.
pub fn set_closed(session: &mut Session<'_>, id: i64, closed: Option<Timestamp>) -> Result<()> {
    session.execute("UPDATE account SET closed = $2 WHERE id = $1", values![id, closed])?;
    forgive(session, id)?;
    end_all(session, id)
}

/// Wrong passwords for an account from one known browser, or from all others together, which have no bytes.
pub fn failures(session: &mut Session<'_>, id: i64, device: &[u8]) -> Result<Failures> {
    let select = "SELECT failures, failed FROM sign_in_failure WHERE account = $1 AND device = $2";
    let Some(mut row) = session.find(select, values![id, device])? else { return Ok(Failures::default()) };
    Ok(Failures { count: row.take()?, last: row.take()? })
}

/// Notes how many there are now.
pub fn set_failures(session: &mut Session<'_>, id: i64, device: &[u8], failures: Failures) -> Result<()> {
    let upsert = "INSERT INTO sign_in_failure (account, device, failures, failed) VALUES ($1, $2, $3, $4)
                  ON CONFLICT (account, device) DO UPDATE SET failures = $3, failed = $4";
    session.execute(upsert, values![id, device, failures.count, failures.last]).map(drop)
}

/// Forgets those of a browser, and of the account's other known browsers those before `since`.
pub fn forget_failures(session: &mut Session<'_>, id: i64, device: &[u8], since: Timestamp) -> Result<()> {
    let delete = "DELETE FROM sign_in_failure
                  WHERE account = $1 AND (device = $2 OR (device <> $3 AND failed <= $4))";
    session.execute(delete, values![id, device, STRANGERS, since]).map(drop)
}

fn forgive(session: &mut Session<'_>, id: i64) -> Result<()> {
    session.execute("DELETE FROM sign_in_failure WHERE account = $1", values![id]).map(drop)
}

/// Keeps a session by its hash, and forgets those that have ended.
pub fn begin(
    session: &mut Session<'_>,
    hash: &[u8; 32],
    account: i64,
    now: Timestamp,
    ends: Timestamp,
) -> Result<()> {
    session.execute("DELETE FROM portal_session WHERE ends <= $1", values![now])?;
    let insert = "INSERT INTO portal_session (hash, account, ends) VALUES ($1, $2, $3)";
    session.execute(insert, values![hash, account, ends]).map(drop)
}

/// Whose session this is, while it lasts and the account is open.
pub fn of_session(
    session: &mut Session<'_>,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<AccountRecord>> {
    let select = format!(
        "SELECT {COLUMNS} FROM account WHERE closed IS NULL AND id =
         (SELECT account FROM portal_session WHERE hash = $1 AND ends > $2)"
    );
    session.find(&select, values![hash, now])?.map(|mut row| account(&mut row)).transpose()
}

/// Ends a session.
pub fn end(session: &mut Session<'_>, hash: &[u8; 32]) -> Result<()> {
    session.execute("DELETE FROM portal_session WHERE hash = $1", values![hash]).map(drop)
}

/// Ends every session of an account.
pub fn end_all(session: &mut Session<'_>, account: i64) -> Result<()> {
    session.execute("DELETE FROM portal_session WHERE account = $1", values![account]).map(drop)
}

fn account(row: &mut Row) -> Result<AccountRecord> {
    Ok(AccountRecord {
        id: row.take()?,
        name: row.take()?,
        role: row.take()?,
        customer: row.take()?,
        identity: identity(row.take()?, row.take()?),
        created: row.take()?,
        closed: row.take()?,
    })
}

fn identity(issuer: Option<String>, subject: Option<String>) -> Option<Identity> {
    issuer.zip(subject).map(|(issuer, subject)| Identity { issuer, subject })
}

/// In the place of a known browser.
pub const STRANGERS: &[u8] = &[];
const COLUMNS: &str = "id, name, role, customer, issuer, subject, created, closed";
