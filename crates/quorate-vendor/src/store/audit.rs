//! Who did what and when: entries that are added and never changed.
//!
//! The database refuses to change or remove one ([`Session::keep_rows`]), which stops mistakes and whoever may do no more
//! than read and write rows. Who owns the database can take that away. So
//! each entry bears the SHA-256 of its content and of the entry before it. Whoever has kept the hash of one entry
//! elsewhere can tell later whether it, or any before it, was changed or taken away.

use crate::sha256::sha256;
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::sql::{Row, Session, values};
use std::fmt::Write;
use zeroize::Zeroizing;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who: a user, a token, somebody at the command line, or the service by itself.
    pub who: String,
    /// What was done, as in `key.block`.
    pub action: String,
    /// To what: a key id, a customer's name.
    pub subject: String,
    /// The figures, as JSON.
    pub detail: String,
    /// SHA-256 over all this and the hash before it, in hexadecimal.
    pub hash: String,
}

/// What is to be noted.
pub struct Note<'a> {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: &'a str,
    /// What was done.
    pub action: &'a str,
    /// To what.
    pub subject: &'a str,
    /// The figures.
    pub detail: &'a serde_json::Value,
}

/// Adds an entry.
pub fn add(session: &mut Session<'_>, note: &Note<'_>) -> Result<()> {
    let (number, before) = match head(session)? {
        Some(entry) => (entry.number + 1, entry.hash),
        None => (1, String::new()),
    };
    let detail = note.detail.to_string();
    let hash = chained(&before, number, note.at, [note.who, note.action, note.subject, &detail]);
    session
        .execute(
            "INSERT INTO audit (number, at, who, action, subject, detail, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            values![number, note.at, note.who, note.action, note.subject, detail, &hash],
        )
        .map(drop)
}

/// The newest entry.
pub fn head(session: &mut Session<'_>) -> Result<Option<Entry>> {
    session.find(&format!("{SELECT} ORDER BY number DESC LIMIT 1"), values![])?.map(entry).transpose()
}

/// So many entries before this number (all, when there is none), the newest first.
pub fn list(session: &mut Session<'_>, before: Option<u64>, most: u32) -> Result<Vec<Entry>> {
    let select = format!("{SELECT} WHERE number < $1 ORDER BY number DESC LIMIT {most}");
    session.rows(&select, values![before.unwrap_or(u64::MAX)])?.into_iter().map(entry).collect()
}

/// Follows the whole chain and gives its newest entry. `kept` is the hash of an entry as somebody has kept it
/// elsewhere, which must be there still.
pub fn verify(session: &mut Session<'_>, kept: Option<&str>) -> Result<Option<Entry>> {
    let (mut last, mut found): (Option<Entry>, bool) = (None, kept.is_none());
    loop {
        let after = last.as_ref().map_or(0, |entry| entry.number);
        let select = format!("{SELECT} WHERE number > $1 ORDER BY number LIMIT {PAGE}");
        let page = session.rows(&select, values![after])?;
        if page.is_empty() {
            break;
        }
        for row in page {
            let entry = entry(row)?;
            let (number, before) = last.as_ref().map_or((1, ""), |last| (last.number + 1, &last.hash));
            if entry.number != number {
                return Err(broken(format!("entry {number} of the audit log is missing")));
            }
            let texts = [&entry.who, &entry.action, &entry.subject, &entry.detail].map(String::as_str);
            if hex(&chained(before, number, entry.at, texts)) != entry.hash {
                return Err(broken(format!(
                    "entry {number} of the audit log, or one before it, was changed"
                )));
            }
            found |= kept.is_some_and(|kept| kept.eq_ignore_ascii_case(&entry.hash));
            last = Some(entry);
        }
    }
    if found {
        return Ok(last);
    }
    let entries = last.map_or(0, |last| last.number);
    Err(broken(format!(
        "none of the {entries} entries of the audit log has the hash that was kept: the log was cut off or written anew"
    )))
}

/// A JSON array tells every text from its neighbours.
fn chained(before: &str, number: u64, at: Timestamp, texts: [&str; 4]) -> [u8; 32] {
    let content = serde_json::json!([before, number, at.as_second(), texts]).to_string();
    sha256(content.as_bytes())
}

fn entry(mut row: Row) -> Result<Entry> {
    Ok(Entry {
        number: row.take()?,
        at: row.take()?,
        who: row.take()?,
        action: row.take()?,
        subject: row.take()?,
        detail: row.take()?,
        hash: hex(row.take::<Zeroizing<[u8; 32]>>()?.as_slice()),
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn broken(what: String) -> Error {
    Error::new(
        Code::StoreDamaged,
        what,
        "compare it with a backup; find out who could write to the database, and treat its keys as known to him",
    )
}

const SELECT: &str = "SELECT number, at, who, action, subject, detail, hash FROM audit";
const PAGE: u32 = 1_000;
