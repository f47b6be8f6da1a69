//! Where programs want to be told of what happens, and what is on its way to them.

use super::next_number;
use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Row, Session, Value, values};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// An address that is told of some events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRecord {
    /// Its number.
    pub id: i64,
    /// The address.
    pub url: String,
    /// Of what, as in `activation,limit-reached`.
    pub events: String,
    /// Since when.
    pub created: Timestamp,
    /// Since when it is told no more.
    pub removed: Option<Timestamp>,
}

/// A message, as it goes out.
#[derive(Debug)]
pub struct Outgoing {
    /// Its number.
    pub id: i64,
    /// To which webhook.
    pub webhook: i64,
    /// Where to.
    pub url: String,
    /// What its signature is made with.
    pub secret: Zeroizing<Vec<u8>>,
    /// The message.
    pub body: String,
    /// How often it was sent before.
    pub attempts: u32,
}

/// What has become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its number.
    pub id: u64,
    /// What happened.
    pub event: String,
    /// When.
    pub created: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is sent next; none when it was delivered, or given up.
    pub due: Option<Timestamp>,
    /// When it was delivered.
    pub delivered: Option<Timestamp>,
    /// What the last attempt came to.
    pub said: String,
}

/// How it goes with the messages to an address that are not forgotten yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// When the last one was delivered.
    pub delivered: Option<Timestamp>,
    /// How many are on their way.
    pub waiting: u64,
    /// How many were sent for three days in vain.
    pub given_up: u64,
    /// What the last attempt came to, when it came to nothing.
    pub trouble: Option<String>,
}

/// Keeps a new address.
pub fn add(session: &mut Session<'_>, url: &str, secret: &[u8], events: &str, now: Timestamp) -> Result<i64> {
    let id = next_number(session, "webhook", "id")?;
    let insert = "INSERT INTO webhook (id, url, secret, events, created) VALUES ($1, $2, $3, $4, $5)";
    session.execute(insert, values![id, url, secret, events, now])?;
    Ok(id)
}

/// An address by its number.
pub fn find(session: &mut Session<'_>, id: i64) -> Result<Option<WebhookRecord>> {
    session.find(&format!("{SELECT} WHERE id = $1"), values![id])?.map(webhook).transpose()
}

/// All of them, in the order in which they were made.
pub fn list(session: &mut Session<'_>) -> Result<Vec<WebhookRecord>> {
    session.rows(&format!("{SELECT} ORDER BY id"), values![])?.into_iter().map(webhook).collect()
}

/// Tells an address nothing more, not even what is on its way.
pub fn remove(session: &mut Session<'_>, id: i64, now: Timestamp) -> Result<()> {
    session.execute("UPDATE webhook SET removed = $2 WHERE id = $1", values![id, now])?;
    let update = "UPDATE delivery SET due = NULL, said = 'the webhook was removed' WHERE webhook = $1 AND due IS NOT NULL";
    session.execute(update, values![id]).map(drop)
}

/// Sends a message to each of these addresses, from now on.
pub fn send(session: &mut Session<'_>, to: &[i64], event: &str, body: &str, now: Timestamp) -> Result<()> {
    let first = next_number(session, "delivery", "id")?;
    let rows = (first..).zip(to).map(|(id, webhook)| -> [Value; 8] {
        [
            id.into(),
            (*webhook).into(),
            event.into(),
            body.into(),
            now.into(),
            0u32.into(),
            now.into(),
            "".into(),
        ]
    });
    session
        .insert("INSERT INTO delivery (id, webhook, event, body, created, attempts, due, said) VALUES", rows)
}

/// So many messages that are due to each address at most, by their numbers. `room` is how many more an
/// address may have, where that is not `each`.
pub fn due(
    session: &mut Session<'_>,
    now: Timestamp,
    each: u32,
    room: &BTreeMap<i64, u32>,
) -> Result<Vec<i64>> {
    let mut due = Vec::new();
    for mut row in session.rows("SELECT id FROM webhook WHERE removed IS NULL", values![])? {
        // Each by itself: behind however many messages to one address, those to another are found at once.
        let webhook: i64 = row.take()?;
        let most = room.get(&webhook).copied().unwrap_or(each);
        let select = "SELECT id FROM delivery WHERE webhook = $1 AND due <= $2 ORDER BY due, id LIMIT $3";
        for mut row in session.rows(select, values![webhook, now, i64::from(most)])? {
            due.push(row.take()?);
        }
    }
    Ok(due)
}

/// Takes those of these messages that are due still, for whoever sends them: until `again` they are nobody else's.
pub fn take(
    session: &mut Session<'_>,
    ids: &[i64],
    now: Timestamp,
    again: Timestamp,
) -> Result<Vec<Outgoing>> {
    let mut taken = Vec::new();
    for id in ids {
        let update = "UPDATE delivery SET due = $3 WHERE id = $1 AND due <= $2";
        if session.execute(update, values![*id, now, again])? == 0 {
            continue;
        }
        let mut row = session.row(
            "SELECT delivery.id, webhook.id, url, secret, body, attempts
             FROM delivery JOIN webhook ON webhook.id = delivery.webhook WHERE delivery.id = $1",
            values![*id],
        )?;
        taken.push(Outgoing {
            id: row.take()?,
            webhook: row.take()?,
            url: row.take()?,
            secret: row.take()?,
            body: row.take()?,
            attempts: row.take()?,
        });
    }
    Ok(taken)
}

/// Notes what an attempt came to: delivered, to be sent again, or given up when neither.
pub fn note_attempt(
    session: &mut Session<'_>,
    id: i64,
    delivered: Option<Timestamp>,
    due: Option<Timestamp>,
    said: &str,
) -> Result<()> {
    // Somebody else may have delivered it after all, or the webhook may have been removed meanwhile.
    let update = "UPDATE delivery SET attempts = attempts + 1, delivered = $2, said = $4,
             due = CASE WHEN (SELECT removed FROM webhook WHERE webhook.id = delivery.webhook) IS NULL
                   THEN CAST($3 AS BIGINT) END
         WHERE id = $1 AND delivered IS NULL";
    session.execute(update, values![id, delivered, due, said]).map(drop)
}

/// Forgets messages of before this time that are not on their way any more.
pub fn forget(session: &mut Session<'_>, before: Timestamp) -> Result<()> {
    session.execute("DELETE FROM delivery WHERE created < $1 AND due IS NULL", values![before]).map(drop)
}

/// How it goes with the messages to an address.
pub fn state(session: &mut Session<'_>, webhook: i64) -> Result<WebhookState> {
    let mut row = session.row(
        "SELECT max(delivered), count(due), count(*) - count(due) - count(delivered)
         FROM delivery WHERE webhook = $1",
        values![webhook],
    )?;
    let (delivered, waiting, given_up) = (row.take()?, row.take()?, row.take()?);
    // The newest that was sent at all: what became of older ones tells less.
    let select = "SELECT said FROM delivery WHERE webhook = $1 AND delivered IS NULL AND attempts > 0
                  AND id = (SELECT max(id) FROM delivery WHERE webhook = $1 AND attempts > 0)";
    let trouble = session.find(select, values![webhook])?.map(|mut row| row.take()).transpose()?;
    Ok(WebhookState { delivered, waiting, given_up, trouble })
}

/// So many messages to an address, the newest first.
pub fn deliveries(
    session: &mut Session<'_>,
    webhook: i64,
    before: Option<u64>,
    most: u32,
) -> Result<Vec<DeliveryRecord>> {
    let rows = session.rows(
        &format!(
            "SELECT id, event, created, attempts, due, delivered, said FROM delivery
             WHERE webhook = $1 AND id < $2 ORDER BY id DESC LIMIT {most}"
        ),
        values![webhook, before.unwrap_or(u64::MAX)],
    )?;
    let read = |mut row: Row| {
        Ok(DeliveryRecord {
            id: row.take()?,
            event: row.take()?,
            created: row.take()?,
            attempts: row.take()?,
            due: row.take()?,
            delivered: row.take()?,
            said: row.take()?,
        })
    };
    rows.into_iter().map(read).collect()
}

fn webhook(mut row: Row) -> Result<WebhookRecord> {
    Ok(WebhookRecord {
        id: row.take()?,
        url: row.take()?,
        events: row.take()?,
        created: row.take()?,
        removed: row.take()?,
    })
}

const SELECT: &str = "SELECT id, url, events, created, removed FROM webhook";
