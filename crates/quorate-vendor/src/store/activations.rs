//! What was activated: which key, on which machine, how and when.

use super::next_number;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::host_activation::UsedSoFar;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::sql::{Row, Session, Value, values};
use rustls::pki_types::CertificateDer;

/// How a host or a machine was activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Over HTTPS.
    Online,
    /// By Installation ID and Confirmation ID.
    Phone,
    /// Over HTTPS, since the host's certificate was to end: it counts for nothing.
    Renewal,
}

impl How {
    /// As it is kept and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            How::Online => "online",
            How::Phone => "phone",
            How::Renewal => "renewal",
        }
    }
}

/// An activation that happens.
pub struct NewActivation<'a> {
    /// Of which key on which machine.
    pub installation_id: &'a InstallationId,
    /// How.
    pub how: How,
    /// When.
    pub at: Timestamp,
    /// What was asked, by its hash, and the certificates that were issued.
    pub issued: Option<(&'a [u8; 32], &'a [CertificateDer<'static>])>,
    /// The serial number of the certificate, where a host has one.
    pub certificate: Option<&'a str>,
}

/// An activation that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Its number; they rise with time.
    pub id: u64,
    /// Of which key.
    pub key: KeyId,
    /// On which machine.
    pub machine: ShortHardwareId,
    /// `online`, `phone` or `renewal`.
    pub how: String,
    /// When.
    pub at: Timestamp,
    /// The serial number of the certificate, where a host has one.
    pub certificate: Option<String>,
    /// What has become of that certificate.
    pub standing: Option<Standing>,
    /// Since when its machine does not count any more.
    pub released: Option<Timestamp>,
}

/// What has become of a host's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the newest that the host has of this key.
    Current,
    /// The host has a newer one.
    Superseded,
    /// It was revoked.
    Revoked,
}

impl Standing {
    /// As it is kept and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Current => "current",
            Standing::Superseded => "superseded",
            Standing::Revoked => "revoked",
        }
    }
}

/// Which activations are wanted.
#[derive(Clone, Debug, Default)]
pub struct ActivationFilter {
    /// Of this key.
    pub key: Option<KeyId>,
    /// Of this customer's keys.
    pub customer: Option<i64>,
    /// Since this time.
    pub since: Option<Timestamp>,
    /// Before this one, as they are listed: the newest first.
    pub before: Option<u64>,
}

/// Notes an activation.
pub fn add(session: &mut Session<'_>, new: &NewActivation<'_>) -> Result<()> {
    let (id, key) = (next_number(session, "activation", "id")?, new.installation_id.key());
    let chain = new.issued.map(|(_, chain)| {
        let chain: Vec<String> = chain.iter().map(|der| BASE64.encode(der)).collect();
        chain.join(" ")
    });
    session
        .execute(
            "INSERT INTO activation
                 (id, key_group, serial, hardware, how, at, installation_id, request, chain, certificate)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            values![
                id,
                key.group(),
                key.serial(),
                new.installation_id.hardware().to_string(),
                new.how.as_str(),
                new.at,
                new.installation_id.digits(),
                new.issued.map(|(request, _)| request),
                chain,
                new.certificate
            ],
        )
        .map(drop)
}

/// The certificates that were issued for this very request, in DER: when its answer was lost, it comes again.
pub fn issued(
    session: &mut Session<'_>,
    installation_id: &InstallationId,
    request: &[u8; 32],
) -> Result<Option<Vec<CertificateDer<'static>>>> {
    let select = "SELECT chain FROM activation WHERE installation_id = $1 AND request = $2";
    let Some(mut row) = session.find(select, values![installation_id.digits(), request])? else {
        return Ok(None);
    };
    let chain: String = row.take()?;
    let decode = |der| BASE64.decode(der).map(CertificateDer::from);
    let chain: std::result::Result<_, _> = chain.split(' ').map(decode).collect();
    chain.map(Some).map_err(|_| {
        Error::new(
            Code::StoreDamaged,
            "the database holds an issued certificate that cannot be read",
            "put a backup in its place; nothing was changed",
        )
    })
}

/// Whether an Installation ID was activated, on a machine that still counts.
pub fn is_activated(session: &mut Session<'_>, installation_id: &InstallationId) -> Result<bool> {
    let select = "SELECT 1 FROM activation WHERE installation_id = $1 AND released IS NULL LIMIT 1";
    Ok(session.find(select, values![installation_id.digits()])?.is_some())
}

/// How far a key is used up before it is activated on this machine; only what counts.
pub fn used_so_far(session: &mut Session<'_>, key: KeyId, machine: ShortHardwareId) -> Result<UsedSoFar> {
    let times = session
        .row(
            "SELECT count(*) FROM activation
             WHERE key_group = $1 AND serial = $2 AND hardware = $3 AND released IS NULL AND how <> 'renewal'",
            values![key.group(), key.serial(), machine.to_string()],
        )?
        .take()?;
    Ok(UsedSoFar { machines: machines(session, key)?, times })
}

/// When a machine that counts was last activated with a key, or its certificate renewed.
pub fn newest(session: &mut Session<'_>, key: KeyId, machine: ShortHardwareId) -> Result<Option<Timestamp>> {
    let select = "SELECT at FROM activation
         WHERE key_group = $1 AND serial = $2 AND hardware = $3 AND released IS NULL ORDER BY id DESC LIMIT 1";
    let row = session.find(select, values![key.group(), key.serial(), machine.to_string()])?;
    row.map(|mut row| row.take()).transpose()
}

/// On how many machines a key is activated that count.
pub fn machines(session: &mut Session<'_>, key: KeyId) -> Result<u32> {
    // An index has all that this needs; `count(DISTINCT hardware)` would sort it once more.
    let select = "SELECT count(*) FROM (SELECT 1 FROM activation
         WHERE key_group = $1 AND serial = $2 AND released IS NULL GROUP BY hardware) AS machine";
    session.row(select, values![key.group(), key.serial()])?.take()
}

/// The machine does not count any more; says how many activations that were.
pub fn release(
    session: &mut Session<'_>,
    key: KeyId,
    machine: ShortHardwareId,
    now: Timestamp,
) -> Result<u64> {
    session.execute(
        "UPDATE activation SET released = $4
         WHERE key_group = $1 AND serial = $2 AND hardware = $3 AND released IS NULL",
        values![key.group(), key.serial(), machine.to_string(), now],
    )
}

/// Whose certificate this is.
pub fn of_certificate(session: &mut Session<'_>, certificate: &str) -> Result<Option<Activation>> {
    let select = format!("{SELECT} WHERE certificate = $1 ORDER BY id LIMIT 1");
    session.find(&select, values![certificate])?.map(activation).transpose()
}

/// The certificates that this machine has had of this key, the one that it was given last at the end. One that was given
/// by telephone may have been given again.
pub fn certificates(session: &mut Session<'_>, key: KeyId, machine: ShortHardwareId) -> Result<Vec<String>> {
    let select = "SELECT certificate FROM activation
         WHERE key_group = $1 AND serial = $2 AND hardware = $3 AND certificate IS NOT NULL
         GROUP BY certificate ORDER BY max(id)";
    let rows = session.rows(select, values![key.group(), key.serial(), machine.to_string()])?;
    rows.into_iter().map(|mut row| row.take()).collect()
}

/// So many of the activations that are wanted, the newest first.
pub fn list(session: &mut Session<'_>, filter: &ActivationFilter, most: u32) -> Result<Vec<Activation>> {
    let before = filter.before.unwrap_or(u64::MAX);
    let (mut conditions, mut wanted): (_, Vec<Value>) = (vec!["id < $1".to_owned()], vec![before.into()]);
    if let Some(key) = filter.key {
        wanted.extend([key.group().into(), key.serial().into()]);
        conditions.push("key_group = $2 AND serial = $3".to_owned());
    }
    if let Some(customer) = filter.customer {
        wanted.push(customer.into());
        conditions.push(format!(
            "(key_group, serial) IN (SELECT key_group, serial FROM product_key WHERE customer = ${})",
            wanted.len()
        ));
    }
    conditions.extend(filter.since.map(|since| format!("at >= {}", since.as_second())));
    let select = format!("{SELECT} WHERE {} ORDER BY id DESC LIMIT {most}", conditions.join(" AND "));
    session.rows(&select, &wanted)?.into_iter().map(activation).collect()
}

/// How many activations there were on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerDay {
    /// Days since 1970, UTC.
    pub day: i64,
    /// `online` or `phone`.
    pub how: String,
    /// How many.
    pub count: u64,
}

/// How many activations there were on each day since.
pub fn per_day(session: &mut Session<'_>, since: Timestamp) -> Result<Vec<PerDay>> {
    let rows = session.rows(
        "SELECT at / 86400 AS day, how, count(*) FROM activation WHERE at >= $1 GROUP BY at / 86400, how ORDER BY day",
        values![since],
    )?;
    rows.into_iter()
        .map(|mut row| Ok(PerDay { day: row.take()?, how: row.take()?, count: row.take()? }))
        .collect()
}

fn activation(mut row: Row) -> Result<Activation> {
    Ok(Activation {
        id: row.take()?,
        key: KeyId::new(row.take()?, row.take()?)?,
        machine: row.parse()?,
        how: row.take()?,
        at: row.take()?,
        certificate: row.take()?,
        standing: row.take::<Option<i64>>()?.map(|number| match number {
            0 => Standing::Current,
            1 => Standing::Superseded,
            _ => Standing::Revoked,
        }),
        released: row.take()?,
    })
}

const SELECT: &str = "SELECT id, key_group, serial, hardware, how, at, certificate,
    CASE WHEN certificate IS NULL THEN NULL
    WHEN EXISTS (SELECT 1 FROM revoked_certificate AS revoked WHERE revoked.certificate = activation.certificate) THEN 2
    WHEN EXISTS (SELECT 1 FROM activation AS later WHERE later.key_group = activation.key_group
        AND later.serial = activation.serial AND later.hardware = activation.hardware
        AND later.certificate <> activation.certificate AND later.id > (SELECT max(same.id) FROM activation AS same
            WHERE same.certificate = activation.certificate)) THEN 1
    ELSE 0 END, released FROM activation";
