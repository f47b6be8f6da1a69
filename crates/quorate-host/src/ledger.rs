//! The ledger: counts machines, and has every count on the disk before anybody is told.
//!
//! One thread owns the tables and the database. It takes whatever requests have queued up while the last
//! batch was being flushed and commits them together (group commit), so that a flush is shared by all who
//! wait for it. When the disk refuses, the whole batch is taken back and each asker gets the error. Between
//! batches it forgets machines whose time is over, a few at a time.

use crate::store::{Account, Outcome, Seen, Store};
use quorate_core::activation::ActivationRequest;
use quorate_core::catalog::Products;
use quorate_core::cmid_table::{CmidTable, Machine, Observation};
use quorate_core::identifier::{ApplicationId, Cmid};
use quorate_core::policy::Policy;
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::clock::Clock;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The way to the ledger's thread; cheap to clone. The thread ends when the last of these is gone.
#[derive(Clone, Debug)]
pub struct Ledger {
    entries: SyncSender<Entry>,
}

impl Ledger {
    /// Starts the thread over a store.
    pub fn start(store: Store, clock: Clock) -> Result<Self> {
        let (entries, queue) = sync_channel(QUEUE);
        let keeper = Keeper { store, tables: HashMap::new(), clock };
        std::thread::Builder::new().name("ledger".to_owned()).spawn(move || keeper.run(&queue)).map_err(
            |error| {
                Error::new(
                    Code::Internal,
                    format!("the ledger's thread cannot be started ({error})"),
                    "check the system's limits",
                )
            },
        )?;
        Ok(Self { entries })
    }

    /// Counts a machine. When this returns, the count is durable.
    pub async fn count(
        &self,
        account: Account,
        request: &ActivationRequest,
        retention: Interval,
        now: Timestamp,
    ) -> Result<Observation> {
        let (answer, answered) = oneshot::channel();
        let seen = Seen {
            account,
            cmid: request.cmid,
            hardware: request.hardware,
            at: now,
            name: request.machine_name.clone(),
        };
        self.send(Entry::Counted { seen, retention, outcome: Outcome::Answered(request.status), answer })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Notes a refused request in the statistics, when there is time for it.
    pub fn note_failure(&self, account: Account) {
        if let Err(error) = self.send(Entry::Failed(account)) {
            tracing::debug!(%error, "a failed request is missing from the statistics");
        }
    }

    fn send(&self, entry: Entry) -> Result<()> {
        self.entries.try_send(entry).map_err(|error| match error {
            TrySendError::Full(_) => Error::new(
                Code::Busy,
                format!("the host has {QUEUE} requests waiting and takes no more for the moment"),
                "wait: the client tries again by itself",
            ),
            TrySendError::Disconnected(_) => stopped(),
        })
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
    Counted {
        seen: Seen,
        retention: Interval,
        outcome: Outcome,
        answer: oneshot::Sender<Result<Observation>>,
    },
    Failed(Account),
}

/// What the thread owns.
struct Keeper {
    store: Store,
    tables: HashMap<Account, Counted>,
    clock: Clock,
}

/// The machines of an account, and how long each is counted.
struct Counted {
    retention: Interval,
    table: CmidTable,
}

impl Keeper {
    fn run(mut self, queue: &Receiver<Entry>) {
        let mut forget_at = Instant::now() + FORGET_SOON;
        loop {
            match queue.recv_timeout(forget_at.saturating_duration_since(Instant::now())) {
                Ok(first) => {
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

    /// Forgets some of the machines whose time is over. Gives how long to wait before the next.
    fn forget(&mut self) -> Duration {
        let now = self.clock.now();
        let mut more = false;
        for (account, counted) in &self.tables {
            match self.store.forget(account, counted.table.cutoff(now), FORGET) {
                Ok(forgotten) => more |= forgotten == FORGET,
                Err(error) => {
                    tracing::warn!(%error, next = error.next, "old machines could not be forgotten")
                }
            }
        }
        if more { FORGET_SOON } else { FORGET_EVERY }
    }

    fn commit(&mut self, batch: Vec<Entry>) {
        self.drop_outdated(&batch);
        let mut seen = Vec::new();
        let mut outcomes = Vec::new();
        let mut answers = Vec::new();
        let mut undo: Vec<(Account, Cmid, Option<Machine>)> = Vec::new();
        for entry in batch {
            match entry {
                Entry::Failed(account) => outcomes.push((account, Outcome::Failed)),
                Entry::Counted { seen: machine, retention, outcome, answer } => {
                    let account = machine.account.clone();
                    let table = match self.table(&account, retention, machine.at) {
                        Ok(table) => table,
                        Err(error) => {
                            // The asker may have gone; then nobody needs the answer.
                            let _ = answer.send(Err(error));
                            continue;
                        }
                    };
                    undo.push((account.clone(), machine.cmid, table.machine(machine.cmid)));
                    let observation = table.observe(machine.cmid, machine.hardware, machine.at);
                    outcomes.push((account, outcome));
                    if !observation.clone {
                        seen.push(machine);
                    }
                    answers.push((answer, observation));
                }
            }
        }
        let kept = self.store.record(&seen, &outcomes);
        if let Err(error) = &kept {
            tracing::error!(%error, requests = answers.len(), "requests could not be kept and were refused");
            for (account, cmid, before) in undo.into_iter().rev() {
                if let Some(counted) = self.tables.get_mut(&account) {
                    counted.table.undo(cmid, before);
                }
            }
        }
        for (answer, observation) in answers {
            let _ = answer.send(kept.clone().map(|()| observation));
        }
    }

    /// The table of an account, read from the store the first time it is needed.
    fn table(&mut self, account: &Account, retention: Interval, now: Timestamp) -> Result<&mut CmidTable> {
        use std::collections::hash_map::Entry;
        match self.tables.entry(account.clone()) {
            Entry::Occupied(counted) => Ok(&mut counted.into_mut().table),
            Entry::Vacant(place) => {
                let mut table = CmidTable::new(retention);
                self.store.machines(account, table.cutoff(now), |cmid, hardware, last_seen| {
                    table.restore(cmid, Machine { hardware, last_seen });
                })?;
                Ok(&mut place.insert(Counted { retention, table }).table)
            }
        }
    }

    /// Drops the tables for which a new catalog says another time, so that they are read again. Between
    /// batches everything in a table is in the store.
    fn drop_outdated(&mut self, batch: &[Entry]) {
        for entry in batch {
            if let Entry::Counted { seen, retention, .. } = entry
                && self.tables.get(&seen.account).is_some_and(|counted| counted.retention != *retention)
            {
                self.tables.remove(&seen.account);
            }
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
/// Machines that are forgotten at a time: a few milliseconds' work.
const FORGET: u32 = 1_000;
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
/// After the start, and while there are more.
const FORGET_SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
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
        Ledger::start(Store::open_or_create(directory.path()).unwrap(), clock).unwrap()
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
            ledger.count(office("contoso"), &request(machine), RETENTION, now).await.unwrap();
        }
        drop(ledger);
        let ledger = super::tests::ledger(&directory);
        assert_eq!(ledger.count(office("contoso"), &request(5), RETENTION, now).await.unwrap().count, 5);
        ledger.note_failure(office("contoso"));
        ledger.count(office("contoso"), &request(5), RETENTION, now).await.unwrap();
        let store = Store::open(directory.path()).unwrap();
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
            tasks.spawn(
                async move { ledger.count(office("contoso"), &request(machine), RETENTION, START).await },
            );
        }
        for counted in tasks.join_all().await {
            assert!(!counted.unwrap().clone);
        }
        assert_eq!(ledger.count(office("contoso"), &request(1), RETENTION, START).await.unwrap().count, 100);
    }

    /// Two vendors may use one application id; a machine of the one is none of the other.
    #[tokio::test]
    async fn each_vendors_machines_are_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = super::tests::ledger(&directory);
        for machine in 1..=3 {
            ledger.count(office("contoso"), &request(machine), RETENTION, START).await.unwrap();
        }
        let other = ledger.count(office("fabrikam"), &request(1), RETENTION, START).await.unwrap();
        assert_eq!(other, Observation { count: 1, clone: false });
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.count(&office("contoso"), START).unwrap(), 3);
        assert_eq!(store.statistics(&office("fabrikam")).unwrap().total(), 1);
    }

    /// A new catalog takes effect while the host runs, and loses no machine that it still counts.
    #[tokio::test]
    async fn machines_are_counted_as_long_as_the_newest_catalog_says() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = super::tests::ledger(&directory);
        let later = Interval::days(20).after(START);
        ledger.count(office("contoso"), &request(1), RETENTION, START).await.unwrap();
        let count = async |machine, retention| {
            ledger.count(office("contoso"), &request(machine), retention, later).await.unwrap().count
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
        ledger.count(office("contoso"), &request(1), RETENTION, START).await.unwrap();
        ledger.count(office("contoso"), &request(2), RETENTION, lately).await.unwrap();
        let store = Store::open(directory.path()).unwrap();
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
