//! The book: every machine that has asked, the statistics, and one event for each request.
//!
//! It is kept in the host's own SQLite file ([`sqlite`]), or in a PostgreSQL that several hosts share
//! ([`postgres`]): then they share one count. Which machines count is decided by the CMID tables of the ledger
//! ([`crate::ledger`]); the book tells it what it has not seen yet, and keeps what it decides, both in one
//! transaction.

pub mod postgres;
pub mod sqlite;

use quorate_core::cmid_table::Machine;
use quorate_core::hardware::HardwareId;
use quorate_core::identifier::{ActivationId, ApplicationId, Cmid, VendorId};
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Result, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What machines are counted by: one application of one vendor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// The vendor.
    pub vendor: VendorId,
    /// Its application.
    pub application: ApplicationId,
}

/// One machine's request, as it is kept.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it is counted.
    pub account: Account,
    /// The machine.
    pub cmid: Cmid,
    /// Its hardware.
    pub hardware: HardwareId,
    /// When it asked last, by a clock that may have been set back since.
    pub at: Timestamp,
    /// Its name.
    pub name: String,
    /// The edition that it asked for.
    pub sku: ActivationId,
    /// Its license status when it asked.
    pub status: LicenseStatus,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// From which address it asked.
    pub address: String,
    /// Until when the answer licenses it, if the count was enough.
    pub licensed_until: Option<Timestamp>,
}

/// How one request ended, for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; the client's status when it asked.
    Answered(LicenseStatus),
    /// Refused.
    Failed,
}

impl Outcome {
    /// As it is stored: the client's license status, or -1 for a refused request.
    fn number(self) -> i64 {
        match self {
            Outcome::Answered(status) => i64::from(status.number()),
            Outcome::Failed => -1,
        }
    }
}

/// The cumulative statistics of one application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Refused requests.
    pub failed: u64,
    /// Answered requests by the client's status, at the status's number.
    pub by_status: [u64; LicenseStatus::ALL.len()],
}

impl Statistics {
    /// Every request, answered or refused.
    pub fn total(&self) -> u64 {
        self.failed + self.by_status.iter().sum::<u64>()
    }

    /// From outcomes as they are stored, with their numbers of requests.
    fn new(rows: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut statistics = Self::default();
        for (outcome, requests) in rows {
            let requests = requests.unsigned_abs();
            match usize::try_from(outcome).ok().and_then(|number| statistics.by_status.get_mut(number)) {
                Some(status) => *status = requests,
                None => statistics.failed = requests,
            }
        }
        statistics
    }
}

/// Something that happened, to be looked up later.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Which kind, by the number that administrators know: 12290 is a request.
    pub kind: u32,
    /// The vendor, where one is concerned.
    pub vendor: Option<String>,
    /// Its application.
    pub application: Option<String>,
    /// `0`, or the code of the error.
    pub result: String,
    /// The name of the machine that asked.
    pub machine: Option<String>,
    /// Its CMID.
    pub cmid: Option<String>,
    /// The other fields of this kind.
    pub fields: serde_json::Value,
}

/// A request was answered or refused.
pub const REQUEST: u32 = 12290;
/// DNS publishing failed.
pub const DNS_FAILED: u32 = 12293;
/// The host was published in DNS.
pub const DNS_PUBLISHED: u32 = 12294;

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// None before this time.
    pub since: Option<Timestamp>,
    /// None from this time on.
    pub until: Option<Timestamp>,
    /// Of this kind only.
    pub kind: Option<u32>,
    /// Of this machine only, by its name or CMID.
    pub machine: Option<String>,
    /// Only those that failed.
    pub failed: bool,
    /// The newest so many.
    pub limit: u32,
}

/// A machine as the book knows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientRecord {
    /// The vendor.
    pub vendor: String,
    /// The application.
    pub application: String,
    /// The edition.
    pub sku: String,
    /// The machine.
    pub cmid: String,
    /// Its name.
    pub name: String,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// From which address it asked last.
    pub address: String,
    /// Its license status when it asked last, by its documented number.
    pub status: u32,
    /// When it asked for the first time.
    pub first_seen: Timestamp,
    /// When it asked last.
    pub last_seen: Timestamp,
    /// Until when it is licensed by what it was answered; nothing before the count was enough.
    pub licensed_until: Option<Timestamp>,
}

/// An account whose machines a batch needs, and how far the ledger has read it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The account.
    pub account: Account,
    /// Machines last seen before this are not wanted.
    pub cutoff: Timestamp,
    /// What the book said when it was read last; `None` when it never was.
    pub cursor: Option<i64>,
}

/// What a batch writes.
#[derive(Debug, Default)]
pub struct Writes {
    /// Machines seen.
    pub seen: Vec<Seen>,
    /// Outcomes for the statistics.
    pub outcomes: Vec<(Account, Outcome)>,
    /// Events.
    pub events: Vec<Event>,
}

/// Who decides about a batch, with everything in view that the book holds.
pub trait Clerk {
    /// Is shown a machine of an account that it has not seen yet, or sees again: then the last holds.
    fn restore(&mut self, account: &Account, cmid: Cmid, machine: Machine);
    /// Decides what the batch does.
    fn decide(&mut self) -> Writes;
}

/// Where machines, statistics and events are kept.
pub trait Book: Send {
    /// Shows the clerk what is new of these accounts, and keeps what it then decides: in one transaction, and durable
    /// when this returns. Gives the accounts' new cursors. When it fails, nothing was kept.
    fn commit(&mut self, wanted: &[Wanted], clerk: &mut dyn Clerk) -> Result<Vec<i64>>;

    /// Forgets machines that were last seen before `cutoff` and are not licensed at `now`, as many as can be found
    /// among `most`. Says whether there is more to look for.
    fn forget(&mut self, account: &Account, cutoff: Timestamp, now: Timestamp, most: u32) -> Result<bool>;

    /// Forgets up to `most` events that are older than `before`, or more than `kept` from the newest, and says whether
    /// there may be more.
    fn forget_events(&mut self, before: Timestamp, kept: u64, most: u32) -> Result<bool>;

    /// How many machines of an account were seen since `cutoff`.
    fn count(&mut self, account: &Account, cutoff: Timestamp) -> Result<u32>;

    /// The cumulative statistics of an account.
    fn statistics(&mut self, account: &Account) -> Result<Statistics>;

    /// Every machine, by vendor, application and name.
    fn clients(&mut self) -> Result<Vec<ClientRecord>>;

    /// The events that are wanted, the oldest first.
    fn events(&mut self, filter: &EventFilter) -> Result<Vec<Event>>;
}

/// Where the book is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// In the host's own file.
    Own,
    /// In a PostgreSQL, by its connection string. It may hold a password.
    Postgres(String),
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Own => "Own",
            Self::Postgres(_) => "Postgres(…)",
        })
    }
}

impl Location {
    /// Opens the book of the host in this directory.
    pub fn open(&self, directory: &Path) -> Result<Box<dyn Book>> {
        Ok(match self {
            Self::Own => Box::new(sqlite::SqliteBook::open(directory)?),
            Self::Postgres(url) => Box::new(postgres::PostgresBook::open(url)?),
        })
    }
}

impl Writes {
    /// The outcomes, added up: one row for each account and outcome, in a fixed order, so that those who write at the
    /// same time do not wait for one another in a circle.
    fn totals(&self) -> BTreeMap<(Account, i64), i64> {
        let mut totals = BTreeMap::new();
        for (account, outcome) in &self.outcomes {
            *totals.entry((account.clone(), outcome.number())).or_insert(0) += 1;
        }
        totals
    }
}
