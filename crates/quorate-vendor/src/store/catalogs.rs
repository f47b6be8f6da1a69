//! Every catalog that was ever signed.

use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Session, values};

/// A catalog's place in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// When it was signed.
    pub at: Timestamp,
}

/// The number of the newest catalog, if there is any.
pub fn newest(session: &mut Session<'_>) -> Result<Option<u64>> {
    session.row("SELECT max(number) FROM catalog", values![])?.take()
}

/// A signed catalog by its number.
pub fn find(session: &mut Session<'_>, number: u64) -> Result<Option<String>> {
    session
        .find("SELECT jws FROM catalog WHERE number = $1", values![number])?
        .map(|mut row| row.take())
        .transpose()
}

/// Keeps a signed catalog under its number.
pub fn add(session: &mut Session<'_>, number: u64, jws: &str, at: Timestamp) -> Result<()> {
    let insert = "INSERT INTO catalog (number, jws, at) VALUES ($1, $2, $3)";
    session.execute(insert, values![number, jws, at]).map(drop)
}

/// All of them, the newest first.
pub fn list(session: &mut Session<'_>) -> Result<Vec<Entry>> {
    let rows = session.rows("SELECT number, at FROM catalog ORDER BY number DESC", values![])?;
    rows.into_iter().map(|mut row| Ok(Entry { number: row.take()?, at: row.take()? })).collect()
}
