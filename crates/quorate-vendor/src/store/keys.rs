//! Product keys, as far as the vendor keeps them: what verifies them, never the keys.
//!
//! Keys are issued in runs. While a long one lasts, the keys that it has written so far are nobody's: they are found by
//! nobody, and go when the run does not come to its end.

use quorate_core::product_key::{KeyId, PartialKey, Verifier};
use quorate_core::{Code, Error, Result, Timestamp, words};
use quorate_edge::sql::{Row, Session, Value, values};
use zeroize::Zeroizing;

/// A product key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Group and serial.
    pub id: KeyId,
    /// What proves that somebody holds it.
    pub verifier: Verifier,
    /// The last five characters.
    pub partial: PartialKey,
    /// When it was issued.
    pub issued: Timestamp,
    /// The customer whose it is.
    pub customer: Option<i64>,
    /// That customer's name.
    pub customer_name: Option<String>,
    /// Since when it is taken back.
    pub blocked: Option<Timestamp>,
    /// Where it differs from its key group.
    pub limits: Limits,
}

/// How often a key may be activated, where it is not as often as its group says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// A host key: on how many machines.
    pub hosts: Option<u32>,
    /// A host key: how often again on each.
    pub reactivations: Option<u32>,
    /// A MAK or retail key: on how many machines.
    pub machines: Option<u32>,
}

/// Which keys are wanted.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Of this group.
    pub group: Option<u16>,
    /// Of this customer.
    pub customer: Option<i64>,
    /// With these last five characters.
    pub partial: Option<String>,
    /// Blocked, or not.
    pub blocked: Option<bool>,
    /// Behind this one, in the order of group and serial.
    pub after: Option<KeyId>,
}

impl KeyFilter {
    /// Every key of a customer.
    pub fn of_customer(customer: i64) -> Self {
        Self { customer: Some(customer), ..Self::default() }
    }
}

/// A key, if it was issued here.
pub fn find(session: &mut Session<'_>, id: KeyId) -> Result<Option<KeyRecord>> {
    let select = format!("{SELECT} WHERE {ISSUED} AND key_group = $1 AND serial = $2");
    session.find(&select, values![id.group(), id.serial()])?.map(record).transpose()
}

/// So many of the keys that are wanted, in the order of group and serial.
pub fn list(session: &mut Session<'_>, filter: &KeyFilter, most: u32) -> Result<Vec<KeyRecord>> {
    let (wanted, values) = conditions(filter);
    let select = format!("{SELECT} WHERE {wanted} ORDER BY key_group, serial LIMIT {most}");
    session.rows(&select, &values)?.into_iter().map(record).collect()
}

/// How many keys are wanted, with those of later pages.
pub fn count_of(session: &mut Session<'_>, filter: &KeyFilter) -> Result<u64> {
    let (wanted, values) = conditions(filter);
    session.row(&format!("SELECT count(*) FROM product_key WHERE {wanted}"), &values)?.take()
}

fn conditions(filter: &KeyFilter) -> (String, Vec<Value>) {
    let (mut conditions, mut values) = (vec![ISSUED.to_owned()], Vec::new());
    let mut add = |condition: &str, wanted: Vec<Value>| {
        let mut condition = condition.to_owned();
        for value in wanted {
            values.push(value);
            condition = condition.replacen('?', &format!("${}", values.len()), 1);
        }
        conditions.push(condition);
    };
    if let Some(group) = filter.group {
        add("key_group = ?", vec![group.into()]);
    }
    if let Some(customer) = filter.customer {
        add("customer = ?", vec![customer.into()]);
    }
    if let Some(partial) = &filter.partial {
        add("partial = ?", vec![partial.to_uppercase().into()]);
    }
    match filter.blocked {
        Some(true) => add("blocked IS NOT NULL", vec![]),
        Some(false) => add("blocked IS NULL", vec![]),
        None => {}
    }
    if let Some(after) = filter.after {
        add("(key_group, serial) > (?, ?)", vec![after.group().into(), after.serial().into()]);
    }
    (conditions.join(" AND "), values)
}

/// How many keys were issued in a group.
pub fn count(session: &mut Session<'_>, group: u16) -> Result<u64> {
    let select = format!("SELECT count(*) FROM product_key WHERE {ISSUED} AND key_group = $1");
    session.row(&select, values![group])?.take()
}

/// The key groups of which a key was issued.
pub fn groups(session: &mut Session<'_>) -> Result<Vec<u16>> {
    let rows = session.rows("SELECT key_group FROM key_serial ORDER BY key_group", values![])?;
    rows.into_iter().map(|mut row| row.take()).collect()
}

/// Sets so many serials of a group aside, and gives the first of them. None is ever used twice.
pub fn reserve(session: &mut Session<'_>, group: u16, count: u32) -> Result<u32> {
    let last = session.find("SELECT last FROM key_serial WHERE key_group = $1", values![group])?;
    let last: u32 = last.map_or(Ok(0), |mut row| row.take())?;
    let end = last.checked_add(count).filter(|end| *end <= KeyId::MAX_SERIAL).ok_or_else(|| {
        Error::new(
            Code::SerialsUsedUp,
            format!(
                "key group {group} has {} left; {} wanted",
                words::counted(KeyId::MAX_SERIAL.saturating_sub(last), "serial"),
                words::are(count)
            ),
            "add another key group for the same SKU to the product file",
        )
    })?;
    session.execute(
        "INSERT INTO key_serial (key_group, last) VALUES ($1, $2) ON CONFLICT (key_group) DO UPDATE SET last = $2",
        values![group, end],
    )?;
    Ok(last + 1)
}

/// Notes that a run with these serials has begun.
pub fn begin_run(session: &mut Session<'_>, group: u16, first: u32, last: u32, now: Timestamp) -> Result<()> {
    let insert = "INSERT INTO key_run (key_group, first, last, touched) VALUES ($1, $2, $3, $4)";
    session.execute(insert, values![group, first, last, now]).map(drop)
}

/// Notes that a run still goes on, and says whether it does: somebody may have given it up.
pub fn touch_run(session: &mut Session<'_>, group: u16, first: u32, now: Timestamp) -> Result<bool> {
    let update = "UPDATE key_run SET touched = $3 WHERE key_group = $1 AND first = $2 AND touched > 0";
    Ok(session.execute(update, values![group, first, now])? > 0)
}

/// A run will not come to its end: its keys go when runs are swept.
pub fn give_up_run(session: &mut Session<'_>, group: u16, first: u32) -> Result<()> {
    let update = "UPDATE key_run SET touched = 0 WHERE key_group = $1 AND first = $2";
    session.execute(update, values![group, first]).map(drop)
}

/// The run has come to its end: its keys are issued. Says whether it was still going on.
pub fn end_run(session: &mut Session<'_>, group: u16, first: u32) -> Result<bool> {
    let delete = "DELETE FROM key_run WHERE key_group = $1 AND first = $2 AND touched > 0";
    Ok(session.execute(delete, values![group, first])? > 0)
}

/// What was removed of a run.
#[derive(Debug)]
pub struct Swept {
    /// The first key of the run.
    pub first: KeyId,
    /// Its last one.
    pub last: KeyId,
    /// Whether that was all, and nothing is left of it.
    pub whole: bool,
}

/// Removes a part of the keys of a run that was given up, or that nobody has touched since; none when there is no such
/// run. A run of which anything was removed is given up for good.
pub fn sweep_runs(session: &mut Session<'_>, since: Timestamp, most: u32) -> Result<Option<Swept>> {
    let select = "SELECT key_group, first, last FROM key_run WHERE touched < $1 LIMIT 1";
    let Some(mut run) = session.find(select, values![since])? else { return Ok(None) };
    let (group, first, last): (u16, u32, u32) = (run.take()?, run.take()?, run.take()?);
    give_up_run(session, group, first)?;
    let delete = format!(
        "DELETE FROM product_key WHERE key_group = $1 AND serial IN
         (SELECT serial FROM product_key WHERE key_group = $1 AND serial BETWEEN $2 AND $3 LIMIT {most})"
    );
    let whole = session.execute(&delete, values![group, first, last])? == 0;
    if whole {
        let delete = "DELETE FROM key_run WHERE key_group = $1 AND first = $2";
        session.execute(delete, values![group, first])?;
    }
    Ok(Some(Swept { first: KeyId::new(group, first)?, last: KeyId::new(group, last)?, whole }))
}

/// Keeps new keys.
pub fn add(session: &mut Session<'_>, keys: &[KeyRecord]) -> Result<()> {
    let rows = keys.iter().map(|key| -> [Value; 6] {
        [
            key.id.group().into(),
            key.id.serial().into(),
            key.verifier.as_bytes().into(),
            key.partial.0.as_str().into(),
            key.issued.into(),
            key.customer.into(),
        ]
    });
    session.insert(
        "INSERT INTO product_key (key_group, serial, verifier, partial, issued, customer) VALUES",
        rows,
    )
}

/// Takes a key back, or gives it free again.
pub fn set_blocked(session: &mut Session<'_>, id: KeyId, blocked: Option<Timestamp>) -> Result<()> {
    let update = "UPDATE product_key SET blocked = $3 WHERE key_group = $1 AND serial = $2";
    session.execute(update, values![id.group(), id.serial(), blocked]).map(drop)
}

/// Changes how often a key may be activated.
pub fn set_limits(session: &mut Session<'_>, id: KeyId, limits: &Limits) -> Result<()> {
    session
        .execute(
            "UPDATE product_key SET hosts = $3, reactivations = $4, machines = $5
             WHERE key_group = $1 AND serial = $2",
            values![id.group(), id.serial(), limits.hosts, limits.reactivations, limits.machines],
        )
        .map(drop)
}

/// Makes a key a customer's, or nobody's.
pub fn assign(session: &mut Session<'_>, id: KeyId, customer: Option<i64>) -> Result<()> {
    let update = "UPDATE product_key SET customer = $3 WHERE key_group = $1 AND serial = $2";
    session.execute(update, values![id.group(), id.serial(), customer]).map(drop)
}

/// Makes each of these keys a customer's, or nobody's, and gives those that are not there.
pub fn assign_all(session: &mut Session<'_>, keys: &[(KeyId, Option<i64>)]) -> Result<Vec<KeyId>> {
    let mut missing = Vec::new();
    for keys in keys.chunks(ROWS_AT_ONCE) {
        // Numbers only, which need no quotation.
        let rows = keys.iter().map(|(id, customer)| {
            let customer = customer.map_or("NULL".to_owned(), |customer| customer.to_string());
            format!("({}, {}, {customer})", id.group(), id.serial())
        });
        let given =
            format!("WITH given (of_group, number, new) AS (VALUES {})", Vec::from_iter(rows).join(", "));
        let update = format!(
            "{given} UPDATE product_key SET customer = CAST(given.new AS BIGINT) FROM given
             WHERE {ISSUED} AND key_group = given.of_group AND serial = given.number"
        );
        if session.execute(&update, values![])? as usize == keys.len() {
            continue;
        }
        let select = format!(
            "{given} SELECT of_group, number FROM given WHERE NOT EXISTS
             (SELECT 1 FROM product_key WHERE {ISSUED} AND key_group = given.of_group AND serial = given.number)"
        );
        for mut row in session.rows(&select, values![])? {
            missing.push(KeyId::new(row.take()?, row.take()?)?);
        }
    }
    Ok(missing)
}

fn record(mut row: Row) -> Result<KeyRecord> {
    Ok(KeyRecord {
        id: KeyId::new(row.take()?, row.take()?)?,
        verifier: Verifier::from_bytes(*row.take::<Zeroizing<[u8; 32]>>()?),
        partial: PartialKey(row.take()?),
        issued: row.take()?,
        customer: row.take()?,
        customer_name: row.take()?,
        blocked: row.take()?,
        limits: Limits { hosts: row.take()?, reactivations: row.take()?, machines: row.take()? },
    })
}

const SELECT: &str = "SELECT key_group, serial, verifier, partial, issued, customer,
    (SELECT name FROM customer WHERE customer.id = product_key.customer), blocked, hosts, reactivations, machines
    FROM product_key";
/// In one statement.
const ROWS_AT_ONCE: usize = 1_000;
/// Not of a run that has not come to its end.
const ISSUED: &str = "NOT EXISTS (SELECT 1 FROM key_run WHERE key_run.key_group = product_key.key_group
    AND product_key.serial BETWEEN key_run.first AND key_run.last)";
