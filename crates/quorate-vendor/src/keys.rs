//! Product keys: issued one at a time or by the million, given to customers, limited, found again.
//!
//! What blocks them is in [`crate::revocation`], what they are worth in `rights`, how far they are used up in
//! [`crate::usage`].

use crate::customers;
use crate::once::Once;
use crate::products::{channel, key_group};
use crate::revocation;
use crate::rights::{self, Rights};
use crate::service::{Actor, Service, Turn};
use crate::sha256::sha256;
use crate::store;
use crate::store::audit::hex;
use crate::store::customers::folded;
use crate::store::keys::{self, KeyFilter, KeyRecord, Limits};
use quorate_core::catalog::Channel;
use quorate_core::certificate::Role;
use quorate_core::product_key::{KeyId, ProductKey, Verifier};
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::random;
use quorate_edge::sql::Session;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use zeroize::Zeroizing;

/// Which keys are to be issued.
#[derive(Clone, Debug)]
pub struct Issue {
    /// Of which key group.
    pub group: u16,
    /// How many.
    pub count: u32,
    /// For which customer, by name.
    pub customer: Option<String>,
}

/// A product key as it is shown once.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IssuedKey {
    /// Its id.
    pub id: KeyId,
    /// The key itself.
    pub product_key: Zeroizing<String>,
}

/// Limits that are to change: `None` leaves one as it is, `Some(None)` makes it the key group's again.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewLimits {
    /// A host key: on how many machines.
    pub hosts: Option<Option<u32>>,
    /// A host key: how often again on each.
    pub reactivations: Option<Option<u32>>,
    /// A MAK or retail key: on how many machines.
    pub machines: Option<Option<u32>>,
}

/// What is to change of a key; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// The customer's name, or nobody's.
    pub customer: Option<Option<String>>,
    /// Whether it is blocked.
    pub blocked: Option<bool>,
    /// Its limits.
    pub limits: NewLimits,
}

impl Issue {
    /// So many keys of a group, for nobody yet.
    pub fn of(group: u16, count: u32) -> Self {
        Self { group, count, customer: None }
    }
}

impl Service {
    /// Issues product keys, all or none, and gives them away a part at a time. They are given this once and not kept;
    /// until this returns, none of them is worth anything. When it fails, what was given is to be thrown away.
    pub fn issue_keys(&self, issue: &Issue, give: &mut dyn FnMut(&[ProductKey]) -> Result<()>) -> Result<()> {
        self.sweep()?;
        let run = self.change(|turn| {
            let run = self.begin(turn, issue)?;
            if run.long {
                keys::begin_run(turn.session, issue.group, run.first, run.last, turn.now)?;
            }
            Ok(run)
        })?;
        let issued = self.issue_run(issue, &run, give);
        if issued.is_err() && run.long {
            // Nobody has these keys. What cannot be removed now goes when keys are issued again.
            let _ = self
                .change(|turn| keys::give_up_run(turn.session, issue.group, run.first))
                .and_then(|()| self.sweep());
        }
        issued
    }

    /// Issues a few keys.
    pub fn issue_few(&self, issue: &Issue) -> Result<Vec<ProductKey>> {
        let mut issued = Vec::new();
        self.issue_keys(issue, &mut |keys| {
            issued.extend_from_slice(keys);
            Ok(())
        })?;
        Ok(issued)
    }

    /// Issues a few keys, once under an idempotency key.
    pub fn issue_once(&self, once: Option<&Once>, issue: &Issue) -> Result<Vec<IssuedKey>> {
        if issue.count == 0 || issue.count > MOST_AT_ONCE {
            return Err(Error::new(
                Code::RequestInvalid,
                format!("{} keys were asked for", issue.count),
                format!(
                    "ask for 1 to {MOST_AT_ONCE} at a time; `quorate-vendor key issue --out FILE` issues millions"
                ),
            ));
        }
        self.change_once(once, |turn| {
            let run = self.begin(turn, issue)?;
            let made = make_keys(issue.group, run.first..run.last + 1)?;
            let records: Vec<KeyRecord> =
                made.iter().map(|(key, verifier)| record(key, verifier, run.customer, turn.now)).collect();
            keys::add(turn.session, &records)?;
            self.end_or_touch(turn, issue, &run, run.last)?;
            let issued = made
                .iter()
                .map(|(key, _)| IssuedKey { id: key.id(), product_key: Zeroizing::new(key.reveal()) });
            Ok(issued.collect())
        })
    }

    /// Sets the serials aside, and finds the customer.
    fn begin(&self, turn: &mut Turn<'_, '_>, issue: &Issue) -> Result<Run> {
        let current = self.catalog_in(turn.session)?;
        key_group(&current.catalog, issue.group)?;
        let customer = match &issue.customer {
            Some(name) => Some(customers::named(turn.session, name)?.id),
            None => None,
        };
        let first = keys::reserve(turn.session, issue.group, issue.count)?;
        let (last, long) = (first + issue.count.saturating_sub(1), issue.count > CHUNK);
        Ok(Run { first, last, long, customer, channel: channel(&current.catalog.products, issue.group) })
    }

    /// The processor makes the keys of the next part while the database keeps those of this one.
    fn issue_run(
        &self,
        issue: &Issue,
        run: &Run,
        give: &mut dyn FnMut(&[ProductKey]) -> Result<()>,
    ) -> Result<()> {
        let group = issue.group;
        std::thread::scope(|scope| {
            let make = |first: u32| {
                let end = first.saturating_add(CHUNK).min(run.last + 1);
                scope.spawn(move || make_keys(group, first..end))
            };
            let mut next = Some(make(run.first));
            while let Some(made) = next.take() {
                // The thread computes; it has nothing to panic of.
                let made = made.join().map_err(|_| stopped())??;
                let (keys, verifiers): (Vec<_>, Vec<_>) = made.into_iter().unzip();
                let last = keys.last().map_or(run.last, |key| key.id().serial());
                if last < run.last {
                    next = Some(make(last + 1));
                }
                // Before they are worth anything: what cannot be given is not issued.
                give(&keys)?;
                self.change(|turn| {
                    let records: Vec<KeyRecord> = keys
                        .iter()
                        .zip(&verifiers)
                        .map(|(key, verifier)| record(key, verifier, run.customer, turn.now))
                        .collect();
                    keys::add(turn.session, &records)?;
                    self.end_or_touch(turn, issue, run, last)
                })?;
            }
            Ok(())
        })
    }

    fn end_or_touch(&self, turn: &mut Turn<'_, '_>, issue: &Issue, run: &Run, written: u32) -> Result<()> {
        // Others may have changed the products meanwhile, to whom keys that nobody has yet are no hindrance.
        let current = self.catalog_in(turn.session)?;
        if channel(&current.catalog.products, issue.group) != run.channel {
            return Err(dropped(current.catalog.number, issue.group, run.channel));
        }
        if written < run.last {
            let goes_on = keys::touch_run(turn.session, issue.group, run.first, turn.now)?;
            return if goes_on { Ok(()) } else { Err(stopped()) };
        }
        if run.long && !keys::end_run(turn.session, issue.group, run.first)? {
            return Err(stopped());
        }
        let (first, last) = (KeyId::new(issue.group, run.first)?, KeyId::new(issue.group, run.last)?);
        let detail = serde_json::json!({ "count": issue.count, "last": last, "customer": issue.customer });
        turn.note("key.issue", &first.to_string(), detail)
    }

    /// Removes what is left of runs that did not come to their end.
    fn sweep(&self) -> Result<()> {
        let since = RUN_GIVEN_UP.before(self.clock.now());
        let part = |turn: &mut Turn<'_, '_>| {
            let Some(swept) = keys::sweep_runs(turn.session, since, CHUNK)? else { return Ok(false) };
            if swept.whole {
                let detail = serde_json::json!({ "last": swept.last });
                turn.note("key.discard", &swept.first.to_string(), detail)?;
            }
            Ok(true)
        };
        // It is nobody's doing who issues keys next.
        while self.by(Actor::named("clean-up")).change(part)? {}
        Ok(())
    }

    /// So many of the keys that are wanted, in the order of group and serial.
    pub fn keys(&self, filter: &KeyFilter, most: u32) -> Result<Vec<KeyRecord>> {
        self.sql.read(|session| keys::list(session, filter, most))
    }

    /// How many keys are wanted.
    pub fn count_keys(&self, filter: &KeyFilter) -> Result<u64> {
        self.sql.read(|session| keys::count_of(session, filter))
    }

    /// One key.
    pub fn key(&self, id: KeyId) -> Result<KeyRecord> {
        self.sql.read(|session| known_key(session, id))
    }

    /// Makes a key a customer's, or nobody's.
    pub fn assign_key(&self, id: KeyId, customer: Option<&str>) -> Result<KeyRecord> {
        let customer = Some(customer.map(str::to_owned));
        self.change_key(id, &KeyChange { customer, ..KeyChange::default() })
    }

    /// Makes every key of a CSV file a customer's, or nobody's: the columns are `key-id` and `customer`. All of them or
    /// none.
    pub fn assign_keys(&self, csv: &[u8], file: &str) -> Result<u32> {
        let customers::Rows { read: rows, mut bad } =
            customers::read_csv::<Assignment>(csv, file, &["key-id", "customer"], &[])?;
        if rows.len() > MOST_ASSIGNED {
            return Err(Error::new(
                Code::RequestInvalid,
                format!("{file} assigns {} keys", rows.len()),
                format!("write several files, of at most {MOST_ASSIGNED} rows each"),
            ));
        }
        let names: BTreeSet<String> = rows.iter().map(|(_, row)| folded(&row.customer)).collect();
        // Before the turn: a customer stays when it is there.
        let known = self.sql.read(|session| store::customers::among(session, &names))?;
        let (mut keys, mut lines) = (Vec::new(), BTreeMap::new());
        for (line, row) in rows {
            let id = match row.key_id.parse::<KeyId>() {
                Ok(id) => id,
                Err(error) => {
                    bad.push((line, error.what));
                    continue;
                }
            };
            if let Some(first) = lines.insert(id, line) {
                bad.push((line, format!("{id} is in line {first} already")));
            }
            match known.get(&folded(&row.customer)) {
                Some(customer) => keys.push((id, Some(customer.id))),
                None if row.customer.is_empty() => keys.push((id, None)),
                None => bad.push((line, format!("there is no customer {:?}", row.customer))),
            }
        }
        self.change(|turn| {
            for id in keys::assign_all(turn.session, &keys)? {
                bad.push((lines.get(&id).copied().unwrap_or_default(), unknown_key(id).what));
            }
            customers::refuse_lines(file, bad)?;
            let sum = hex(&sha256(csv));
            turn.note("key.assign-file", file, serde_json::json!({ "count": keys.len(), "sha-256": sum }))
        })?;
        Ok(u32::try_from(keys.len()).unwrap_or(u32::MAX))
    }

    /// Changes how often a key may be activated.
    pub fn limit_key(&self, id: KeyId, limits: &NewLimits) -> Result<KeyRecord> {
        self.change_key(id, &KeyChange { limits: *limits, ..KeyChange::default() })
    }

    /// Changes what is known of a key: all of it or nothing.
    pub fn change_key(&self, id: KeyId, change: &KeyChange) -> Result<KeyRecord> {
        self.change(|turn| {
            let record = known_key(turn.session, id)?;
            if let Some(customer) = &change.customer {
                assign(turn, id, customer.as_deref())?;
            }
            if !change.limits.is_nothing() {
                self.limit(turn, &record, &change.limits)?;
            }
            if let Some(block) = change.blocked {
                let current = self.catalog_in(turn.session)?;
                revocation::set_blocked(turn, &record, &current.catalog, block)?;
            }
            known_key(turn.session, id)
        })
    }

    fn limit(&self, turn: &mut Turn<'_, '_>, record: &KeyRecord, new: &NewLimits) -> Result<()> {
        let id = record.id;
        let current = self.catalog_in(turn.session)?;
        if rights::is_public(id, &current.catalog)? {
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!(
                    "product key {id} is a public client setup key: it is never counted and has no limit"
                ),
                "limit the host key by which the machines are activated",
            ));
        }
        let rights = Rights::of(record, &current.catalog)?;
        new.check(id, rights.role)?;
        let limits = Limits {
            hosts: new.hosts.unwrap_or(record.limits.hosts),
            reactivations: new.reactivations.unwrap_or(record.limits.reactivations),
            machines: new.machines.unwrap_or(record.limits.machines),
        };
        keys::set_limits(turn.session, id, &limits)?;
        let detail = serde_json::json!({
            "hosts": limits.hosts, "reactivations": limits.reactivations, "machines": limits.machines
        });
        turn.note("key.limit", &id.to_string(), detail)
    }
}

/// A row of a CSV file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Assignment {
    key_id: String,
    /// Empty, where the key is to be nobody's.
    customer: String,
}

fn assign(turn: &mut Turn<'_, '_>, id: KeyId, customer: Option<&str>) -> Result<()> {
    let customer = customer.map(|name| customers::named(turn.session, name)).transpose()?;
    keys::assign(turn.session, id, customer.as_ref().map(|customer| customer.id))?;
    let name = customer.map(|customer| customer.name);
    turn.note("key.assign", &id.to_string(), serde_json::json!({ "customer": name }))
}

impl NewLimits {
    fn is_nothing(&self) -> bool {
        self.hosts.is_none() && self.reactivations.is_none() && self.machines.is_none()
    }

    fn check(&self, id: KeyId, role: Role) -> Result<()> {
        let is_host = role == Role::Host;
        let refuse = |code, what: String, next: &str| Err(Error::new(code, what, next));
        if !is_host && (self.hosts.is_some() || self.reactivations.is_some()) {
            return refuse(
                Code::ProductKeyUnsuited,
                format!("product key {id} activates machines: it has no limit of hosts or re-activations"),
                "limit the machines",
            );
        }
        if is_host && self.machines.is_some() {
            return refuse(
                Code::ProductKeyUnsuited,
                format!("product key {id} activates hosts: it has no limit of machines"),
                "limit the hosts, or the re-activations on each",
            );
        }
        if [self.hosts, self.machines].contains(&Some(Some(0))) {
            return refuse(
                Code::RequestInvalid,
                format!("product key {id} cannot have a limit of 0"),
                "block the key, if it is to activate nothing more",
            );
        }
        Ok(())
    }
}

/// One change, for which everybody else waits.
const MOST_ASSIGNED: usize = 100_000;

/// The serials that are issued in one go.
struct Run {
    first: u32,
    last: u32,
    /// Whether it takes several turns.
    long: bool,
    /// For which customer.
    customer: Option<i64>,
    /// Of which channel the key group was when it began.
    channel: Option<Channel>,
}

/// Keys with these serials, by all processors.
fn make_keys(group: u16, serials: Range<u32>) -> Result<Vec<(ProductKey, Verifier)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = serials.len().div_ceil(threads).max(1);
    let make = |serials: Range<u32>| -> Result<Vec<_>> {
        serials
            .map(|serial| {
                let key = ProductKey::new(KeyId::new(group, serial)?, random::bytes());
                let verifier = key.verifier();
                Ok((key, verifier))
            })
            .collect()
    };
    std::thread::scope(|scope| {
        let shares = serials.clone().step_by(share).map(|first| {
            let end = first.saturating_add(u32::try_from(share).unwrap_or(u32::MAX)).min(serials.end);
            scope.spawn(move || make(first..end))
        });
        let shares: Vec<_> = shares.collect();
        let mut keys = Vec::with_capacity(serials.len());
        for share in shares {
            keys.extend(share.join().map_err(|_| stopped())??);
        }
        Ok(keys)
    })
}

fn record(key: &ProductKey, verifier: &Verifier, customer: Option<i64>, now: Timestamp) -> KeyRecord {
    KeyRecord {
        id: key.id(),
        verifier: verifier.clone(),
        partial: key.partial(),
        issued: now,
        customer,
        customer_name: None,
        blocked: None,
        limits: Limits::default(),
    }
}

pub(crate) fn known_key(session: &mut Session<'_>, id: KeyId) -> Result<KeyRecord> {
    keys::find(session, id)?.ok_or_else(|| unknown_key(id))
}

fn unknown_key(id: KeyId) -> Error {
    Error::new(
        Code::KeyUnknown,
        format!("product key {id} was not issued by this vendor"),
        "compare the key with its certificate; `quorate-vendor key list` shows those issued",
    )
}

pub(crate) fn usable_key(session: &mut Session<'_>, id: KeyId) -> Result<KeyRecord> {
    let record = known_key(session, id)?;
    usable(&record)?;
    Ok(record)
}

pub(crate) fn usable(record: &KeyRecord) -> Result<()> {
    if record.blocked.is_none() {
        return Ok(());
    }
    Err(Error::new(
        Code::KeyBlocked,
        format!("product key {} (…{}) is blocked by the vendor", record.id, record.partial),
        "ask the vendor why, or for another key",
    ))
}

fn stopped() -> Error {
    Error::new(
        Code::Internal,
        "the keys were not issued: the run stopped before its end",
        "issue them again; none of these keys is worth anything",
    )
}

fn dropped(catalog: u64, group: u16, was: Option<Channel>) -> Error {
    let channel = was.map(|channel| format!(" of {channel}")).unwrap_or_default();
    Error::new(
        Code::KeyGroupUnknown,
        format!(
            "the keys were not issued: catalog {catalog} came meanwhile, and has no key group {group}{channel}"
        ),
        "import products with the key group as it was and issue them again, or issue keys of another; none of these keys \
         is worth anything",
    )
}

/// How many keys are issued in one turn, while others wait.
const MOST_AT_ONCE: u32 = 1_000;
/// How many keys are kept in one turn, so that others are served between.
const CHUNK: u32 = 10_000;
/// After this time without a sign of life, a run has ended without coming to its end.
const RUN_GIVEN_UP: Interval = Interval::minutes(10);
