//! What the pages for whoever watches over the host tell, where it has to be looked up.

use crate::book::{self, Account};
use crate::credentials::Credentials;
use crate::health::Health;
use crate::ledger;
use crate::metrics::{Exposition, Metrics};
use quorate_core::Result;
use quorate_edge::clock::Clock;
use quorate_edge::monitoring::Pages;
use std::path::PathBuf;
use std::time::Duration;

/// The pages of a host.
pub fn pages(exposition: Exposition, health: Health) -> Pages {
    Pages::new(
        move || exposition.text(),
        move || {
            let health = health.clone();
            async move {
                let vendors = health.check().await?;
                Ok(serde_json::Map::from_iter([("vendors".to_owned(), vendors.into())]))
            }
        },
    )
}

/// Looks up every minute how many machines are counted: some are forgotten without anybody asking, and where
/// hosts share a book, others count too.
pub async fn count_machines(
    location: book::Location,
    directory: PathBuf,
    credentials: Credentials,
    clock: Clock,
    metrics: Metrics,
) {
    let mut open = None;
    loop {
        let (active, clock, metrics) = (credentials.current(), clock.clone(), metrics.clone());
        let (location, directory) = (location.clone(), directory.clone());
        let counting = tokio::task::spawn_blocking(move || -> Result<Box<dyn book::Book>> {
            let mut book = match open {
                Some(book) => book,
                None => location.open(&directory)?,
            };
            for catalog in active.serving() {
                for application in &catalog.products.applications {
                    let account = Account { vendor: catalog.vendor.clone(), application: application.id };
                    let retention = ledger::retention(&catalog.products, application.id);
                    let count = book.count(&account, retention.before(clock.now()))?;
                    metrics.machines(&account, count);
                }
            }
            Ok(book)
        });
        open = match counting.await {
            Ok(Ok(book)) => Some(book),
            Ok(Err(error)) => {
                tracing::warn!(%error, next = error.next, "machines could not be counted for the metrics");
                None
            }
            Err(error) => {
                tracing::error!(%error, "machines could not be counted for the metrics");
                None
            }
        };
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

const COUNT_EVERY: Duration = Duration::from_secs(60);
