//! The slots of license packs: those that are free, and those that were given to an Installation ID.

use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::{SealedSlot, SlotSecret};
use quorate_core::product_key::KeyId;
use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Row, Session, Value, values};
use zeroize::Zeroizing;

/// One slot of a license pack.
#[derive(Debug)]
pub struct Slot {
    /// Its number in the pack.
    pub number: u32,
    /// What opens it.
    pub secret: SlotSecret,
    /// The serial number of its certificate.
    pub certificate: String,
}

/// Keeps new slots of a key, numbered on from those it has. Their certificates end at `ends`.
pub fn add(
    session: &mut Session<'_>,
    key: KeyId,
    slots: &[(Slot, SealedSlot)],
    ends: Timestamp,
) -> Result<()> {
    let rows = slots.iter().map(|(slot, sealed)| -> [Value; 7] {
        [
            key.group().into(),
            key.serial().into(),
            slot.number.into(),
            slot.secret.as_bytes().into(),
            sealed.sealed.as_str().into(),
            slot.certificate.as_str().into(),
            ends.into(),
        ]
    });
    session.insert(
        "INSERT INTO slot (key_group, serial, number, secret, sealed, certificate, ends) VALUES",
        rows,
    )
}

/// How many slots of a key can still be given, since their certificates hold beyond `until`, and how many it has in all.
pub fn left(session: &mut Session<'_>, key: KeyId, until: Timestamp) -> Result<(u32, u32)> {
    let mut row = session.row(
        "SELECT coalesce(sum(CASE WHEN installation_id IS NULL AND ends > $3 THEN 1 ELSE 0 END), 0), count(*)
         FROM slot WHERE key_group = $1 AND serial = $2",
        values![key.group(), key.serial(), until],
    )?;
    Ok((row.take()?, row.take()?))
}

/// The highest number of a slot of this key, or 0.
pub fn highest(session: &mut Session<'_>, key: KeyId) -> Result<u32> {
    let select = "SELECT coalesce(max(number), 0) FROM slot WHERE key_group = $1 AND serial = $2";
    session.row(select, values![key.group(), key.serial()])?.take()
}

/// What a key's pack holds: every slot whose certificate has not ended, given or not, so that the newest pack opens by
/// any Confirmation ID.
pub fn sealed(session: &mut Session<'_>, key: KeyId, now: Timestamp) -> Result<Vec<SealedSlot>> {
    let rows = session.rows(
        "SELECT number, sealed FROM slot WHERE key_group = $1 AND serial = $2 AND ends > $3 ORDER BY number",
        values![key.group(), key.serial(), now],
    )?;
    rows.into_iter().map(|mut row| Ok(SealedSlot { number: row.take()?, sealed: row.take()? })).collect()
}

/// The slot that an Installation ID was given last, if it is good still: its certificate holds beyond `until` and is not
/// revoked.
pub fn given(
    session: &mut Session<'_>,
    installation_id: &InstallationId,
    until: Timestamp,
) -> Result<Option<Slot>> {
    let select = "SELECT number, secret, certificate FROM slot WHERE installation_id = $1 AND ends > $2
                  AND certificate NOT IN (SELECT certificate FROM revoked_certificate) ORDER BY number DESC LIMIT 1";
    session.find(select, values![installation_id.digits(), until])?.map(slot).transpose()
}

/// Gives the next free slot of its key, whose certificate holds beyond `until`, to an Installation ID; `None` when there
/// is none.
pub fn give(
    session: &mut Session<'_>,
    installation_id: &InstallationId,
    until: Timestamp,
) -> Result<Option<Slot>> {
    let key = installation_id.key();
    let free = session.find(
        "SELECT number, secret, certificate FROM slot
         WHERE key_group = $1 AND serial = $2 AND installation_id IS NULL AND ends > $3 ORDER BY number LIMIT 1",
        values![key.group(), key.serial(), until],
    )?;
    let Some(free) = free.map(slot).transpose()? else { return Ok(None) };
    session.execute(
        "UPDATE slot SET installation_id = $4 WHERE key_group = $1 AND serial = $2 AND number = $3",
        values![key.group(), key.serial(), free.number, installation_id.digits()],
    )?;
    Ok(Some(free))
}

fn slot(mut row: Row) -> Result<Slot> {
    Ok(Slot {
        number: row.take()?,
        secret: SlotSecret::from_bytes(*row.take::<Zeroizing<[u8; 16]>>()?),
        certificate: row.take()?,
    })
}
