//! What has been taken back, under a number that only rises.

use quorate_core::product_key::KeyId;
use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Session, values};
use std::collections::BTreeSet;

/// The number of the newest revocation list.
pub fn number(session: &mut Session<'_>) -> Result<u64> {
    session.row("SELECT number FROM revocation_list", values![])?.take()
}

/// Something was taken back or given free: the next list has another number.
pub fn raise_number(session: &mut Session<'_>) -> Result<()> {
    session.execute("UPDATE revocation_list SET number = number + 1", values![]).map(drop)
}

/// The blocked keys.
pub fn keys(session: &mut Session<'_>) -> Result<BTreeSet<KeyId>> {
    let rows =
        session.rows("SELECT key_group, serial FROM product_key WHERE blocked IS NOT NULL", values![])?;
    rows.into_iter().map(|mut row| KeyId::new(row.take()?, row.take()?)).collect()
}

/// The revoked certificates, by their serial numbers.
pub fn certificates(session: &mut Session<'_>) -> Result<BTreeSet<String>> {
    let rows = session.rows("SELECT certificate FROM revoked_certificate", values![])?;
    rows.into_iter().map(|mut row| row.take()).collect()
}

/// Whether a certificate is revoked.
pub fn is_revoked(session: &mut Session<'_>, certificate: &str) -> Result<bool> {
    let select = "SELECT 1 FROM revoked_certificate WHERE certificate = $1";
    Ok(session.find(select, values![certificate])?.is_some())
}

/// Revokes a certificate that is not revoked yet.
pub fn add(session: &mut Session<'_>, certificate: &str, at: Timestamp) -> Result<()> {
    let insert = "INSERT INTO revoked_certificate (certificate, at) VALUES ($1, $2)";
    session.execute(insert, values![certificate, at]).map(drop)
}
