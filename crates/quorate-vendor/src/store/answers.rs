//! Answers that were given once and may be asked for again, by the idempotency key of the request: sealed, so that who
//! reads the database reads no product key.

use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Session, values};
use zeroize::Zeroizing;

/// The hash of the request, and the sealed answer.
pub type Kept = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// The answer to the request that a token made under this name.
pub fn find(session: &mut Session<'_>, token: i64, name: &str, old: Timestamp) -> Result<Option<Kept>> {
    let select = "SELECT request, sealed FROM answer WHERE token = $1 AND name = $2 AND at >= $3";
    session.find(select, values![token, name, old])?.map(|mut row| Ok((row.take()?, row.take()?))).transpose()
}

/// Forgets the answers of before `old`.
pub fn forget(session: &mut Session<'_>, old: Timestamp) -> Result<()> {
    session.execute("DELETE FROM answer WHERE at < $1", values![old]).map(drop)
}

/// Keeps an answer, and forgets those of before `old`.
pub fn add(
    session: &mut Session<'_>,
    (token, name): (i64, &str),
    request: &[u8; 32],
    sealed: &[u8],
    at: Timestamp,
    old: Timestamp,
) -> Result<()> {
    forget(session, old)?;
    session
        .execute(
            "INSERT INTO answer (token, name, request, sealed, at) VALUES ($1, $2, $3, $4, $5)",
            values![token, name, request, sealed, at],
        )
        .map(drop)
}
