//! What this host has published in DNS, so that it later removes its own records and nobody else's.
//!
//! A record is kept before it is sent, and until it is seen to be gone: whatever happens in between, none is
//! forgotten that may still be there.

use super::Store;
use crate::dns::SrvRecord;
use quorate_core::{Result, Timestamp};
use rusqlite::{Row, params};
use std::net::SocketAddr;

/// A zone at its primary server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The zone's name, without the last dot.
    pub domain: String,
    /// The primary server.
    pub server: SocketAddr,
}

/// A record that this host has published, or has tried to.
#[derive(Clone, Debug)]
pub struct Published {
    /// Another each time that the record is sent.
    pub id: i64,
    /// Where.
    pub place: Place,
    /// The record.
    pub record: SrvRecord,
    /// When the server last gave it out.
    pub seen: Option<Timestamp>,
}

impl Store {
    /// Every record that may be in DNS because of this host, the newest first.
    pub fn published(&self) -> Result<Vec<Published>> {
        let rows: Vec<_> = self.database.read(|connection| {
            let mut select = connection.prepare(
                "SELECT id, domain, server, owner, ttl, priority, weight, port, target, seen
                 FROM published ORDER BY id DESC",
            )?;
            select.query_map([], read)?.collect()
        })?;
        let damaged = || self.database.damaged("a record that was published in DNS cannot be read");
        rows.into_iter()
            .map(|(id, domain, server, record, seen): Columns| {
                let server = server.parse().map_err(|_| damaged())?;
                let seen = seen.map(Timestamp::from_second).transpose().map_err(|_| damaged())?;
                Ok(Published { id, place: Place { domain, server }, record, seen })
            })
            .collect()
    }

    /// Keeps a record that is about to be sent, and gives the id for it. The TTL that it had stays with it
    /// until the new one is confirmed.
    pub fn remember_published(&mut self, place: &Place, record: &SrvRecord) -> Result<i64> {
        let SrvRecord { owner, ttl, priority, weight, port, target } = record;
        self.database.change(|transaction| {
            transaction.query_row(
                "INSERT OR REPLACE INTO published
                     (domain, server, owner, ttl, priority, weight, port, target, seen)
                 SELECT ?1, ?2, ?3, coalesce(max(ttl), ?4), ?5, ?6, ?7, ?8, max(seen) FROM published
                 WHERE (domain, server, owner, priority, weight, port, target)
                     = (?1, ?2, ?3, ?5, ?6, ?7, ?8)
                 RETURNING id",
                params![place.domain, place.server.to_string(), owner, ttl, priority, weight, port, target],
                |row| row.get(0),
            )
        })
    }

    /// Keeps what the server was seen to have: one record with its TTL, if any, and none of those.
    pub fn confirm_published(
        &mut self,
        there: Option<(i64, u32)>,
        gone: &[i64],
        now: Timestamp,
    ) -> Result<()> {
        self.database.change(|transaction| {
            if let Some((id, ttl)) = there {
                transaction.execute(
                    "UPDATE published SET ttl = ?2, seen = ?3 WHERE id = ?1",
                    params![id, ttl, now.as_second()],
                )?;
            }
            for id in gone {
                transaction.execute("DELETE FROM published WHERE id = ?1", [id])?;
            }
            Ok(())
        })
    }

    /// Forgets a record that the server has refused, unless it has been there before.
    pub fn forget_refused(&mut self, id: i64) -> Result<()> {
        self.database.change(|transaction| {
            transaction.execute("DELETE FROM published WHERE id = ?1 AND seen IS NULL", [id])?;
            Ok(())
        })
    }

    /// A domain's primary server is another now, and has what the one before had.
    pub fn move_published(&mut self, domain: &str, from: SocketAddr, to: SocketAddr) -> Result<()> {
        self.database.change(|transaction| {
            transaction.execute(
                "UPDATE OR REPLACE published SET server = ?3 WHERE domain = ?1 AND server = ?2",
                [domain, &from.to_string(), &to.to_string()],
            )?;
            Ok(())
        })
    }
}

type Columns = (i64, String, String, SrvRecord, Option<i64>);

fn read(row: &Row<'_>) -> rusqlite::Result<Columns> {
    let record = SrvRecord {
        owner: row.get(3)?,
        ttl: row.get(4)?,
        priority: row.get(5)?,
        weight: row.get(6)?,
        port: row.get(7)?,
        target: row.get(8)?,
    };
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, record, row.get(9)?))
}
