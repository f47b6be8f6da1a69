//! What a host does beside answering: it reads changed keys, fetches the vendors' news, renews its certificates and
//! publishes itself, each in a task of its own, none of which can stop the host.

use super::{DAY, HOUR, Live, MINUTE, Notes};
use crate::book::{self, Event};
use crate::credentials::{Active, Credentials};
use crate::dns::{self, Publication};
use crate::documents;
use crate::keys::{self, Installed};
use crate::metrics::Metrics;
use crate::report;
use crate::store::Store;
use quorate_core::catalog::Catalog;
use quorate_core::hardware::Components;
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::clock::Clock;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Puts new credentials in place when a command has installed, activated or removed a key or the vendor has
/// said something new; and now and then, since certificates begin and end, and clocks are set.
pub async fn watch_keys(
    store: Store,
    credentials: Credentials,
    hardware: Components,
    clock: Clock,
    changed: watch::Sender<i64>,
) {
    let mut loaded = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let revision = *changed.borrow();
        let read = || -> Result<Option<i64>> {
            let newest = store.key_revision()?;
            if newest == revision && loaded.elapsed() < LOAD_EVERY {
                return Ok(None);
            }
            let keys = Installed::all(&store, clock.now())?;
            credentials.replace(Active::load(&keys, &hardware, clock.now()));
            Ok(Some(newest))
        };
        let before = credentials.current();
        match read() {
            Ok(None) => {}
            Ok(Some(newest)) => {
                loaded = Instant::now();
                if newest != revision || before.serving().ne(credentials.current().serving()) {
                    tracing::info!("host keys have changed");
                    changed.send_replace(newest);
                }
            }
            Err(error) => tracing::error!(%error, next = error.next, "host keys cannot be read"),
        }
    }
}

/// When something is due that is done at the start, daily, and whenever keys have changed; sooner after a
/// failure.
#[derive(Clone)]
pub struct Rhythm {
    every: Duration,
    changes: watch::Receiver<i64>,
    failures: u32,
}

impl Rhythm {
    /// As often as this, and at each change.
    pub fn new(every: Duration, changes: watch::Receiver<i64>) -> Self {
        Self { every, changes, failures: 0 }
    }

    /// Waits until it is to be done again.
    async fn wait(&mut self, succeeded: bool) {
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        let pause = self.pause();
        let changed = async {
            if self.changes.changed().await.is_err() {
                // Nobody is left to tell of changes: the host stops.
                std::future::pending::<()>().await;
            }
        };
        // Either is a reason to go on.
        let _ = tokio::time::timeout(pause, changed).await;
    }

    /// One minute after the first failure, then two, four and so on, up to an hour.
    fn pause(&self) -> Duration {
        match self.failures {
            0 => self.every,
            failures => (MINUTE * 2u32.pow((failures - 1).min(6))).min(HOUR).min(self.every),
        }
    }
}

/// Fetches what the vendors say since. A host without any way out is no fault, and is mentioned once a day.
pub async fn fetch_daily(
    mut store: Store,
    metrics: Metrics,
    live: watch::Receiver<Live>,
    clock: Clock,
    mut rhythm: Rhythm,
) {
    let mut mentioned: Option<(Error, Instant)> = None;
    loop {
        let proxy = live.borrow().proxy.clone();
        let fetched = documents::fetch_all(&mut store, proxy.as_ref(), &clock).await;
        if fetched.is_ok() {
            metrics.vendors_answered(clock.now());
        }
        if let Err(error) = &fetched {
            let known = |(before, at): &(Error, Instant)| before == error && at.elapsed() < DAY;
            if !mentioned.as_ref().is_some_and(known) {
                match error.code {
                    Code::ServiceUnreachable => tracing::info!(%error, "no news from the vendor"),
                    _ => tracing::warn!(%error, next = error.next, "no news from the vendor"),
                }
                mentioned = Some((error.clone(), Instant::now()));
            }
        }
        rhythm.wait(fetched.is_ok()).await;
    }
}

/// Renews the host's own certificates before they end. What the vendor refuses is asked again the next day only.
pub async fn renew_in_time(
    mut store: Store,
    hardware: Components,
    live: watch::Receiver<Live>,
    clock: Clock,
    mut rhythm: Rhythm,
) {
    loop {
        let proxy = live.borrow().proxy.clone();
        let renewed = keys::renew(&mut store, &hardware, proxy.as_ref(), &clock).await;
        let succeeded = match &renewed {
            Ok(renewed) => renewed.iter().all(|(_, result)| !result.as_ref().is_err_and(keys::is_transient)),
            Err(_) => false,
        };
        match renewed {
            Ok(renewed) => {
                for (id, result) in renewed {
                    let until = result.map(|key| key.certificate(clock.now()));
                    match until {
                        Ok(Some(Ok(certificate))) => {
                            tracing::info!(key = %id, until = %certificate.not_after, "the host's certificate is renewed");
                        }
                        Ok(_) => tracing::error!(key = %id, "the host's new certificate is not valid now"),
                        Err(error) => {
                            tracing::warn!(key = %id, %error, next = error.next, "the host's certificate could not be renewed");
                        }
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, next = error.next, "the host's certificates cannot be looked at")
            }
        }
        rhythm.wait(succeeded).await;
    }
}

/// Publishes the host. A failure is an event and never stops the host.
pub async fn publish_daily(
    mut store: Store,
    notes: Notes,
    credentials: Credentials,
    mut live: watch::Receiver<Live>,
    port: u16,
    clock: Clock,
    mut rhythm: Rhythm,
) {
    loop {
        let publications = live.borrow_and_update().publications.clone();
        let active = credentials.current();
        let everywhere = publish(&mut store, &notes, &active, &publications, port, &clock).await;
        tokio::select! {
            () = rhythm.wait(everywhere) => {}
            Ok(()) = live.changed() => {
                let publications = live.borrow().publications.clone();
                if let Err(error) = note_domains(&mut store, &publications) {
                    tracing::error!(%error, next = error.next, "where the host is published cannot be noted");
                }
            }
        }
    }
}

/// Notes for `dlv` where the host is to be published.
pub fn note_domains(store: &mut Store, publications: &[Publication]) -> Result<()> {
    let domains = publications.iter().filter_map(|publication| publication.place().ok());
    let domains: Vec<String> = domains.map(|place| place.domain).collect();
    store.set(report::PUBLISHING, &domains.join(" "))
}

/// An attempt to publish, for the book.
fn dns_event(attempt: &dns::Attempt, now: Timestamp) -> Event {
    let failure = attempt.result.as_ref().err();
    Event {
        at: now,
        kind: if failure.is_some() { book::DNS_FAILED } else { book::DNS_PUBLISHED },
        vendor: None,
        application: None,
        result: failure.map_or_else(|| "0".to_owned(), |error| error.code.as_str().to_owned()),
        machine: None,
        cmid: None,
        fields: serde_json::json!({
            "domain": attempt.domain,
            "record": attempt.record.as_ref().map(ToString::to_string),
            "removed": attempt.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "what": failure.map(|error| error.what.as_str()),
        }),
    }
}

/// Publishes the record of every vendor for which this host answers, in every domain, and removes those of
/// others. Says whether it succeeded everywhere.
async fn publish(
    store: &mut Store,
    notes: &Notes,
    active: &Active,
    publications: &[Publication],
    port: u16,
    clock: &Clock,
) -> bool {
    let catalogs: Vec<&Catalog> = active.serving().collect();
    if publications.is_empty() {
        for catalog in &catalogs {
            let record = dns::example(catalog, port);
            tracing::info!(%record, "DNS publishing is off; add this record by hand");
        }
    }
    let attempts = dns::publish(store, publications, &catalogs, port, clock).await;
    for attempt in &attempts {
        let domain = &attempt.domain;
        notes.ledger.note(dns_event(attempt, clock.now()), None);
        notes.metrics.published(attempt, clock.now());
        let record = attempt.record.as_ref().map(tracing::field::display);
        let removed = |text: &dyn std::fmt::Display| tracing::info!(record = %text, "removed from DNS");
        match &attempt.result {
            Ok(()) => {
                if let Some(record) = record {
                    tracing::info!(event = book::DNS_PUBLISHED, record, "DNS published");
                }
                attempt.removed.iter().for_each(|record| removed(record));
            }
            Err(error) if record.is_some() => tracing::error!(
                event = book::DNS_FAILED,
                domain,
                %error,
                next = error.next,
                record,
                "DNS publishing failed; the record can be added by hand"
            ),
            Err(error) => {
                tracing::error!(event = book::DNS_FAILED, domain, %error, next = error.next, "DNS publishing failed")
            }
        }
    }
    match dns::left(store, publications) {
        Ok(left) => {
            for published in left {
                tracing::warn!(
                    record = %published.record,
                    "this host is not to be published in that domain any more; `quorate-host dns withdraw` \
                     removes the record"
                );
            }
        }
        Err(error) => tracing::error!(%error, next = error.next, "what was published cannot be read"),
    }
    attempts.iter().all(|attempt| attempt.result.is_ok())
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOAD_EVERY: Duration = HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_after_minutes() {
        let pauses = |every: Duration| {
            let changes = watch::channel(0).1;
            let rhythm = |failures| Rhythm { every, changes: changes.clone(), failures };
            [0, 1, 2, 3, 6, 7, u32::MAX].map(|failures| rhythm(failures).pause().as_secs() / 60)
        };
        assert_eq!(pauses(DAY), [24 * 60, 1, 2, 4, 32, 60, 60]);
        assert_eq!(pauses(MINUTE), [1; 7]);
    }
}
