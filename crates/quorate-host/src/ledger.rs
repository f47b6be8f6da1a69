//! The ledger: counts machines, and has every count on the disk before anybody is told.
//!
//! One thread owns the tables and the database. It takes whatever requests have queued up while the last
//! batch was being flushed and commits them together (group commit), so that a flush is shared by all who
//! wait for it. When the disk refuses, the whole batch is taken back and each asker gets the error. Between
//! batches it forgets machines whose time is over, a few at a time.

use crate::book::{self, Account, Book, Clerk, Event, Outcome, Seen, Wanted, Writes};
use crate::metrics::Meter;
use quorate_core::activation::ActivationRequest;
use quorate_core::catalog::Products;
use quorate_core::cmid_table::{CmidTable, Machine, Observation};
use quorate_core::identifier::{ApplicationId, Cmid};
use quorate_core::policy::Policy;
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::clock::Clock;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The way to the ledger's thread; cheap to clone. The thread ends when the last of these is gone.
#[derive(Clone, Debug)]
pub struct Ledger {
    entries: SyncSender<Entry>,
    meter: Meter,
}

/// A request that is to be counted, with what the policy of its product says.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where.
    pub account: Account,
    /// What was asked.
    pub request: ActivationRequest,
    /// From which address.
    pub address: String,
    /// When.
    pub at: Timestamp,
    /// How long machines of the application are counted.
    pub retention: Interval,
    /// How many the product needs.
    pub threshold: u32,
    /// How long it is activated by an answer that is enough.
    pub validity: Interval,
}

/// How long events are kept, and how many at most.
#[derive(Clone, Copy, Debug)]
pub struct EventRetention {
    /// How long.
    pub age: Interval,
    /// How many.
    pub most: u64,
}

impl Default for EventRetention {
    /// A quarter of a year, and some hundred megabytes.
    fn default() -> Self {
        Self { age: Interval::days(90), most: 1_000_000 }
    }
}

impl Ledger {
    /// Starts the thread over a book.
    pub fn start(book: Box<dyn Book>, retention: EventRetention, clock: Clock, meter: Meter) -> Result<Self> {
        let (entries, queue) = sync_channel(QUEUE);
        let keeper = Keeper { book, tables: BTreeMap::new(), retention, clock, meter: meter.clone() };
        std::thread::Builder::new().name("ledger".to_owned()).spawn(move || keeper.run(&queue)).map_err(
            |error| {
                Error::new(
                    Code::Internal,
                    format!("the ledger's thread cannot be started ({error})"),
                    "check the system's limits",
                )
            },
        )?;
        Ok(Self { entries, meter })
    }

    /// Counts a machine. The count is on its way to the disk: nobody may be told before it is there.
    pub async fn count(&self, asked: Asked) -> Result<Count> {
        let (answer, answered) = oneshot::channel();
        self.send(Entry::Counted { asked: Box::new(asked), answer })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Notes something that happened, when there is time for it; a refused request counts in the statistics of its
    /// account.
    pub fn note(&self, event: Event, refused: Option<Account>) {
        if let Err(error) = self.send(Entry::Noted { event: Box::new(event), refused }) {
            tracing::debug!(%error, "an event is missing from the book");
        }
    }

    /// Finds out whether the book takes requests: it is opened for writing and nothing is written.
    pub async fn probe(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Entry::Probe { answer })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn send(&self, entry: Entry) -> Result<()> {
        // Before it is sent: the thread may take it at once.
        self.meter.queued();
        self.entries.try_send(entry).inspect_err(|_| self.meter.taken(1)).map_err(|error| match error {
            TrySendError::Full(_) => Error::new(
                Code::Busy,
                format!("the host has {QUEUE} requests waiting and takes no more for the moment"),
                "wait: the client tries again by itself",
            ),
            TrySendError::Disconnected(_) => stopped(),
        })
    }
}

/// A count that is being flushed. What an answer needs can be made ready meanwhile.
#[derive(Debug)]
pub struct Count {
    /// What it is if it can be kept.
    pub observation: Observation,
    kept: oneshot::Receiver<Result<()>>,
}

impl Count {
    /// When this returns, the count is durable.
    pub async fn kept(self) -> Result<Observation> {
        let kept = self.kept.await.unwrap_or_else(|_| Err(stopped()));
        kept.map(|()| self.observation)
    }
}

/// How long machines of an application are counted: its editions are counted together, so as long as the
/// policy of any of them says.
pub fn retention(products: &Products, application: ApplicationId) -> Interval {
    let of_application = products.skus.iter().filter(|sku| sku.application == application);
    let longest = of_application.map(|sku| products.policy(sku).cmid_retention).max();
    longest.unwrap_or_else(|| Policy::default().cmid_retention)
}

enum Entry {
    Counted { asked: Box<Asked>, answer: oneshot::Sender<Result<Count>> },
    Noted { event: Box<Event>, refused: Option<Account> },
    Probe { answer: oneshot::Sender<Result<()>> },
}

/// What the thread owns.
struct Keeper {
    book: Box<dyn Book>,
    tables: BTreeMap<Account, Counted>,
    retention: EventRetention,
    clock: Clock,
    meter: Meter,
}

/// The machines of an account, how long each is counted, and how far the book has been read.
struct Counted {
    retention: Interval,
    table: CmidTable,
    cursor: Option<i64>,
}

impl Keeper {
    fn run(mut self, queue: &Receiver<Entry>) {
        let mut forget_at = Instant::now() + FORGET_SOON;
        let mut flushed = Instant::now();
        loop {
            match queue.recv_timeout(forget_at.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    // Those who ask meanwhile share the flush.
                    std::thread::sleep(PACE.saturating_sub(flushed.elapsed()));
                    flushed = Instant::now();
                    let batch = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
                    self.commit(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= forget_at {
                forget_at = Instant::now() + self.forget();
            }
        }
    }

    /// Forgets some of the machines and events whose time is over. Gives how long to wait before the next.
    fn forget(&mut self) -> Duration {
        let now = self.clock.now();
        let mut forgotten = Vec::new();
        for (account, counted) in &self.tables {
            forgotten.push(self.book.forget(account, counted.table.cutoff(now), now, FORGET));
        }
        let before = self.retention.age.before(now);
        forgotten.push(self.book.forget_events(before, self.retention.most, FORGET));
        let mut more = false;
        for left in forgotten {
            match left {
                Ok(left) => more |= left,
                Err(error) => {
                    tracing::warn!(%error, next = error.next, "what is old could not be forgotten")
                }
            }
        }
        if more { FORGET_SOON } else { FORGET_EVERY }
    }

    fn commit(&mut self, batch: Vec<Entry>) {
        let (entries, started) = (batch.len(), Instant::now());
        self.meter.taken(entries);
        let wanted = self.wanted(&batch);
        let mut clerk = Batch { tables: &mut self.tables, batch, waiting: Vec::new(), undo: Vec::new() };
        let kept = self.book.commit(&wanted, &mut clerk);
        self.meter.committed(entries, started.elapsed(), kept.is_ok());
        let Batch { waiting, undo, batch, .. } = clerk;
        match &kept {
            Ok(cursors) => {
                for (wanted, cursor) in wanted.iter().zip(cursors) {
                    if let Some(counted) = self.tables.get_mut(&wanted.account) {
                        counted.cursor = Some(*cursor);
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, requests = undo.len(), "requests could not be kept and were refused");
                for (account, cmid, before) in undo.into_iter().rev() {
                    if let Some(counted) = self.tables.get_mut(&account) {
                        counted.table.undo(cmid, before);
                    }
                }
                // What was read only in part is read again.
                self.tables.retain(|_, counted| counted.cursor.is_some());
            }
        }
        let kept = kept.map(drop);
        for waiting in waiting {
            // The asker may have gone; then nobody needs the answer.
            let _ = waiting.send(kept.clone());
        }
        // Those that were never decided about, because the book could not even be read.
        for entry in batch {
            match (entry, &kept) {
                (Entry::Counted { answer, .. }, Err(error)) => drop(answer.send(Err(error.clone()))),
                (Entry::Probe { answer }, Err(error)) => drop(answer.send(Err(error.clone()))),
                _ => {}
            }
        }
    }

    /// The accounts whose tables a batch needs, in a fixed order. A table for which a new catalog says another time is
    /// read again: between batches everything in it is in the book.
    fn wanted(&mut self, batch: &[Entry]) -> Vec<Wanted> {
        let mut wanted = BTreeMap::new();
        for entry in batch {
            let Entry::Counted { asked, .. } = entry else { continue };
            let (account, retention) = (&asked.account, asked.retention);
            if self.tables.get(account).is_some_and(|counted| counted.retention != retention) {
                self.tables.remove(account);
            }
            let counted = self.tables.entry(account.clone()).or_insert_with(|| Counted {
                retention,
                table: CmidTable::new(retention),
                cursor: None,
            });
            let (cutoff, cursor) = (counted.table.cutoff(asked.at), counted.cursor);
            wanted.insert(account.clone(), Wanted { account: account.clone(), cutoff, cursor });
        }
        wanted.into_values().collect()
    }
}

/// A batch while it is decided about.
struct Batch<'a> {
    tables: &'a mut BTreeMap<Account, Counted>,
    batch: Vec<Entry>,
    waiting: Vec<oneshot::Sender<Result<()>>>,
    undo: Vec<(Account, Cmid, Option<Machine>)>,
}

impl Clerk for Batch<'_> {
    fn restore(&mut self, account: &Account, cmid: Cmid, machine: Machine) {
        if let Some(counted) = self.tables.get_mut(account) {
            counted.table.restore(cmid, machine);
        }
    }

    fn decide(&mut self) -> Writes {
        let mut writes = Writes::default();
        for entry in std::mem::take(&mut self.batch) {
            match entry {
                Entry::Probe { answer } => self.waiting.push(answer),
                Entry::Noted { event, refused } => {
                    writes.outcomes.extend(refused.map(|account| (account, Outcome::Failed)));
                    writes.events.push(*event);
                }
                Entry::Counted { asked, answer } => {
                    let Some(Counted { table, .. }) = self.tables.get_mut(&asked.account) else { continue };
                    let cmid = asked.request.cmid;
                    self.undo.push((asked.account.clone(), cmid, table.machine(cmid)));
                    let observation = table.observe(cmid, asked.request.hardware, asked.at);
                    writes.outcomes.push((asked.account.clone(), Outcome::Answered(asked.request.status)));
                    writes.events.push(asked.event(observation));
                    if !observation.clone {
                        // By a clock that was set back, it may have been seen later.
                        let last_seen = table.machine(cmid).map_or(asked.at, |machine| machine.last_seen);
                        writes.seen.push(asked.seen(observation, last_seen));
                    }
                    let (keeper, kept) = oneshot::channel();
                    let _ = answer.send(Ok(Count { observation, kept }));
                    self.waiting.push(keeper);
                }
            }
        }
        writes
    }
}

impl Asked {
    fn seen(&self, observation: Observation, last_seen: Timestamp) -> Seen {
        let request = &self.request;
        Seen {
            account: self.account.clone(),
            cmid: request.cmid,
            hardware: request.hardware,
            at: last_seen,
            name: request.machine_name.clone(),
            sku: request.sku,
            status: request.status,
            virtual_machine: request.virtual_machine,
            address: self.address.clone(),
            licensed_until: (observation.count >= self.threshold).then(|| self.validity.after(self.at)),
        }
    }

    fn event(&self, observation: Observation) -> Event {
        let request = &self.request;
        Event {
            at: self.at,
            kind: book::REQUEST,
            vendor: Some(self.account.vendor.to_string()),
            application: Some(self.account.application.to_string()),
            result: "0".to_owned(),
            machine: Some(request.machine_name.clone()),
            cmid: Some(request.cmid.to_string()),
            fields: serde_json::json!({
                "threshold": request.threshold,
                "client-time": request.client_time,
                "virtual-machine": request.virtual_machine,
                "license-status": request.status.number(),
                "minutes-left": request.minutes_left,
                "activation-id": request.sku,
                "count": observation.count,
                "clone": observation.clone,
                "address": self.address,
            }),
        }
    }
}

fn stopped() -> Error {
    Error::new(Code::Internal, "the ledger has stopped", "restart the host and report this")
}

/// Requests that may wait: at ten thousand a second, less than a second's worth.
const QUEUE: usize = 8_192;
/// Requests that are committed together.
const BATCH: usize = 512;
/// From one flush to the next at least: under load a flush is shared by more, and nobody notices the delay.
const PACE: Duration = Duration::from_millis(2);
/// Machines that are forgotten at a time: a few milliseconds' work.
const FORGET: u32 = 1_000;
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
/// After the start, and while there are more.
const FORGET_SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use quorate_core::activation::Nonce;
    use quorate_core::hardware::HardwareId;
    use quorate_core::identifier::{ActivationId, Uuid};
    use quorate_core::license_state::LicenseStatus;

    const OFFICE: ApplicationId = ApplicationId(Uuid::from_u128(1));
    const START: Timestamp = Timestamp::UNIX_EPOCH;
    const RETENTION: Interval = Interval::days(30);

    fn office(vendor: &str) -> Account {
        Account { vendor: vendor.parse().unwrap(), application: OFFICE }
    }

    fn ledger(directory: &tempfile::TempDir) -> Ledger {
        let clock = Clock::new(|| Interval::days(40).after(START));
        Store::open_or_create(directory.path()).unwrap();
        Ledger::start(book(directory), EventRetention::default(), clock, Meter::default()).unwrap()
    }

    async fn count(ledger: &Ledger, asked: Asked) -> Result<Observation> {
        ledger.count(asked).await?.kept().await
    }

    fn book(directory: &tempfile::TempDir) -> Box<dyn Book> {
        book::Location::Own.open(directory.path()).unwrap()
    }

    fn asked(vendor: &str, machine: u8, retention: Interval, at: Timestamp) -> Asked {
        Asked {
            account: office(vendor),
            request: request(machine),
            address: "192.0.2.1:50000".to_owned(),
            at,
            retention,
            threshold: 5,
            validity: Interval::days(180),
        }
    }

    fn failure() -> Event {
        Event {
            at: START,
            kind: book::REQUEST,
            vendor: None,
            application: None,
            result: "Q303".to_owned(),
            machine: None,
            cmid: None,
            fields: serde_json::Value::Null,
        }
    }

    fn request(machine: u8) -> ActivationRequest {
        ActivationRequest {
            application: OFFICE,
            sku: ActivationId(Uuid::from_u128(2)),
            cmid: Cmid(Uuid::from_u128(machine.into())),
            hardware: HardwareId::from_bytes(&[machine; 32]).unwrap(),
            status: LicenseStatus::InitialGrace,
            minutes_left: 0,
            threshold: 5,
            client_time: Timestamp::UNIX_EPOCH,
            machine_name: format!("pc-{machine}"),
            virtual_machine: false,
            nonce: Nonce(0),
            previous_cmid: None,
        }
    }

    #[tokio::test]
    async fn what_was_counted_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let now = START;
        let ledger = super::tests::ledger(&directory);
        for machine in 1..=4 {
            count(&ledger, asked("contoso", machine, RETENTION, now)).await.unwrap();
        }
        drop(ledger);
        let ledger = super::tests::ledger(&directory);
        assert_eq!(count(&ledger, asked("contoso", 5, RETENTION, now)).await.unwrap().count, 5);
        ledger.note(failure(), Some(office("contoso")));
        count(&ledger, asked("contoso", 5, RETENTION, now)).await.unwrap();
        let mut store = book(&directory);
        assert_eq!(store.count(&office("contoso"), now).unwrap(), 5);
        let statistics = store.statistics(&office("contoso")).unwrap();
        assert_eq!((statistics.total(), statistics.failed), (7, 1));
    }

    #[tokio::test]
    async fn requests_that_come_together_are_each_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = super::tests::ledger(&directory);
        let mut tasks = tokio::task::JoinSet::new();
        for machine in (1..=100u8).chain(1..=100) {
            let ledger = ledger.clone();
            tasks.spawn(async move { count(&ledger, asked("contoso", machine, RETENTION, START)).await });
        }
        for counted in tasks.join_all().await {
            assert!(!counted.unwrap().clone);
        }
        assert_eq!(count(&ledger, asked("contoso", 1, RETENTION, START)).await.unwrap().count, 100);
    }

    /// Two vendors may use one application id; a machine of the one is none of the other.
    #[tokio::test]
    async fn each_vendors_machines_are_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = super::tests::ledger(&directory);
        for machine in 1..=3 {
            count(&ledger, asked("contoso", machine, RETENTION, START)).await.unwrap();
        }
        let other = count(&ledger, asked("fabrikam", 1, RETENTION, START)).await.unwrap();
        assert_eq!(other, Observation { count: 1, clone: false });
        let mut store = book(&directory);
        assert_eq!(store.count(&office("contoso"), START).unwrap(), 3);
        assert_eq!(store.statistics(&office("fabrikam")).unwrap().total(), 1);
    }

    /// A new catalog takes effect while the host runs, and loses no machine that it still counts.
    #[tokio::test]
    async fn machines_are_counted_as_long_as_the_newest_catalog_says() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = super::tests::ledger(&directory);
        let later = Interval::days(20).after(START);
        count(&ledger, asked("contoso", 1, RETENTION, START)).await.unwrap();
        let count = async |machine, retention| {
            count(&ledger, asked("contoso", machine, retention, later)).await.unwrap().count
        };
        assert_eq!(count(2, RETENTION).await, 2);
        assert_eq!(count(3, Interval::days(10)).await, 2);
        assert_eq!(count(4, RETENTION).await, 4);
    }

    /// By the ledger's clock, 40 days have passed since the start.
    #[tokio::test]
    async fn old_machines_are_forgotten_while_the_host_runs() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = super::tests::ledger(&directory);
        let lately = Interval::days(39).after(START);
        count(&ledger, asked("contoso", 1, RETENTION, START)).await.unwrap();
        count(&ledger, asked("contoso", 2, RETENTION, lately)).await.unwrap();
        let mut store = book(&directory);
        let started = Instant::now();
        while store.count(&office("contoso"), Timestamp::MIN).unwrap() != 1 {
            assert!(started.elapsed() < Duration::from_secs(10), "it is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[test]
    fn an_applications_longest_retention_holds_for_all_its_editions() {
        let text = include_str!("../../quorate-vendor/examples/contoso.toml");
        let text = text.replace("[policy.office-retail]", "[policy.office-retail]\ncmid-retention = \"90d\"");
        let products: Products = toml::from_str(&text).unwrap();
        let retention = |name: &str| {
            let application = products.applications.iter().find(|application| application.name == name);
            super::retention(&products, application.unwrap().id)
        };
        assert_eq!(retention("Contoso Office"), Interval::days(90));
        assert_eq!(retention("Contoso OS"), Interval::days(30));
    }
}
