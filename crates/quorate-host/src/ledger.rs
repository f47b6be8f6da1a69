//! The ledger: counts machines, and has every count on the disk before anybody is told.
//!
//! One thread owns the tables and the database. It takes whatever requests have queued up while the last
//! batch was being flushed and commits them together (group commit), so that a flush is shared by all who
//! wait for it. When the disk refuses, the whole batch is taken back and each asker gets the error.

use crate::store::{Outcome, Seen, Store};
use quorate_core::activation::ActivationRequest;
use quorate_core::cmid_table::{CmidTable, Machine, Observation};
use quorate_core::identifier::{ApplicationId, Cmid};
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;

/// The way to the ledger's thread; cheap to clone. The thread ends when the last of these is gone.
#[derive(Clone, Debug)]
pub struct Ledger {
    entries: SyncSender<Entry>,
}

impl Ledger {
    /// Starts the thread over a store.
    pub fn start(store: Store) -> Result<Self> {
        let (entries, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || Keeper { store, tables: HashMap::new() }.run(&queue))
            .map_err(|error| {
                Error::new(
                    Code::Internal,
                    format!("the ledger's thread cannot be started ({error})"),
                    "check the system's limits",
                )
            })?;
        Ok(Self { entries })
    }

    /// Counts a machine. When this returns, the count is durable.
    pub async fn count(
        &self,
        request: &ActivationRequest,
        retention: Interval,
        now: Timestamp,
    ) -> Result<Observation> {
        let (answer, answered) = oneshot::channel();
        let seen = Seen {
            application: request.application,
            cmid: request.cmid,
            hardware: request.hardware,
            at: now,
            name: request.machine_name.clone(),
        };
        self.send(Entry::Counted { seen, retention, outcome: Outcome::Answered(request.status), answer })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Notes a refused request in the statistics, when there is time for it.
    pub fn note_failure(&self, application: ApplicationId) {
        if let Err(error) = self.send(Entry::Failed(application)) {
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

enum Entry {
    Counted {
        seen: Seen,
        retention: Interval,
        outcome: Outcome,
        answer: oneshot::Sender<Result<Observation>>,
    },
    Failed(ApplicationId),
}

/// What the thread owns.
struct Keeper {
    store: Store,
    tables: HashMap<ApplicationId, CmidTable>,
}

impl Keeper {
    fn run(mut self, queue: &Receiver<Entry>) {
        while let Ok(first) = queue.recv() {
            let batch: Vec<Entry> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
            self.commit(batch);
        }
    }

    fn commit(&mut self, batch: Vec<Entry>) {
        let mut seen = Vec::new();
        let mut outcomes = Vec::new();
        let mut answers = Vec::new();
        let mut undo: Vec<(ApplicationId, Cmid, Option<Machine>)> = Vec::new();
        for entry in batch {
            match entry {
                Entry::Failed(application) => outcomes.push((application, Outcome::Failed)),
                Entry::Counted { seen: machine, retention, outcome, answer } => {
                    let application = machine.application;
                    let table = match self.table(application, retention, machine.at) {
                        Ok(table) => table,
                        Err(error) => {
                            // The asker may have gone; then nobody needs the answer.
                            let _ = answer.send(Err(error));
                            continue;
                        }
                    };
                    undo.push((application, machine.cmid, table.machine(machine.cmid)));
                    let observation = table.observe(machine.cmid, machine.hardware, machine.at);
                    outcomes.push((application, outcome));
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
            for (application, cmid, before) in undo.into_iter().rev() {
                if let Some(table) = self.tables.get_mut(&application) {
                    table.undo(cmid, before);
                }
            }
        }
        for (answer, observation) in answers {
            let _ = answer.send(kept.clone().map(|()| observation));
        }
    }

    /// The table of an application, read from the store the first time it is needed.
    fn table(
        &mut self,
        application: ApplicationId,
        retention: Interval,
        now: Timestamp,
    ) -> Result<&mut CmidTable> {
        use std::collections::hash_map::Entry;
        match self.tables.entry(application) {
            Entry::Occupied(table) => Ok(table.into_mut()),
            Entry::Vacant(place) => {
                let mut table = CmidTable::new(retention);
                self.store.forget(application, table.cutoff(now))?;
                self.store.machines(application, |cmid, hardware, last_seen| {
                    table.restore(cmid, Machine { hardware, last_seen });
                })?;
                Ok(place.insert(table))
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

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::activation::Nonce;
    use quorate_core::hardware::HardwareId;
    use quorate_core::identifier::{ActivationId, Uuid};
    use quorate_core::license_state::LicenseStatus;

    const OFFICE: ApplicationId = ApplicationId(Uuid::from_u128(1));
    const RETENTION: Interval = Interval::days(30);

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
        let now = Timestamp::UNIX_EPOCH;
        let ledger = Ledger::start(Store::open(directory.path()).unwrap()).unwrap();
        for machine in 1..=4 {
            ledger.count(&request(machine), RETENTION, now).await.unwrap();
        }
        drop(ledger);
        let ledger = Ledger::start(Store::open(directory.path()).unwrap()).unwrap();
        assert_eq!(ledger.count(&request(5), RETENTION, now).await.unwrap().count, 5);
        ledger.note_failure(OFFICE);
        ledger.count(&request(5), RETENTION, now).await.unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.count(OFFICE, now).unwrap(), 5);
        let statistics = store.statistics(OFFICE).unwrap();
        assert_eq!((statistics.total(), statistics.failed), (7, 1));
    }

    #[tokio::test]
    async fn requests_that_come_together_are_each_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(Store::open(directory.path()).unwrap()).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for machine in (1..=100u8).chain(1..=100) {
            let ledger = ledger.clone();
            tasks.spawn(
                async move { ledger.count(&request(machine), RETENTION, Timestamp::UNIX_EPOCH).await },
            );
        }
        for counted in tasks.join_all().await {
            assert!(!counted.unwrap().clone);
        }
        assert_eq!(ledger.count(&request(1), RETENTION, Timestamp::UNIX_EPOCH).await.unwrap().count, 100);
    }
}
