//! Tokens of programs that use the interface: their hashes, never the tokens.

use super::next_number;
use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Row, Session, values};

/// A token, as far as the vendor keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its number.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// What it permits, as in `read,desk`.
    pub scopes: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Since when it is taken back.
    pub revoked: Option<Timestamp>,
}

/// Keeps a new token.
pub fn add(
    session: &mut Session<'_>,
    hash: &[u8; 32],
    name: &str,
    scopes: &str,
    created: Timestamp,
    expires: Option<Timestamp>,
) -> Result<i64> {
    let id = next_number(session, "token", "id")?;
    session.execute(
        "INSERT INTO token (id, name, hash, scopes, created, expires) VALUES ($1, $2, $3, $4, $5, $6)",
        values![id, name, hash, scopes, created, expires],
    )?;
    Ok(id)
}

/// The token with this hash.
pub fn with_hash(session: &mut Session<'_>, hash: &[u8; 32]) -> Result<Option<TokenRecord>> {
    session.find(&format!("{SELECT} WHERE hash = $1"), values![hash])?.map(token).transpose()
}

/// A token by its number.
pub fn find(session: &mut Session<'_>, id: i64) -> Result<Option<TokenRecord>> {
    session.find(&format!("{SELECT} WHERE id = $1"), values![id])?.map(token).transpose()
}

/// All of them, in the order in which they were made.
pub fn list(session: &mut Session<'_>) -> Result<Vec<TokenRecord>> {
    session.rows(&format!("{SELECT} ORDER BY id"), values![])?.into_iter().map(token).collect()
}

/// Takes a token back.
pub fn revoke(session: &mut Session<'_>, id: i64, at: Timestamp) -> Result<()> {
    let update = "UPDATE token SET revoked = $2 WHERE id = $1 AND revoked IS NULL";
    session.execute(update, values![id, at]).map(drop)
}

fn token(mut row: Row) -> Result<TokenRecord> {
    Ok(TokenRecord {
        id: row.take()?,
        name: row.take()?,
        scopes: row.take()?,
        created: row.take()?,
        expires: row.take()?,
        revoked: row.take()?,
    })
}

const SELECT: &str = "SELECT id, name, scopes, created, expires, revoked FROM token";
