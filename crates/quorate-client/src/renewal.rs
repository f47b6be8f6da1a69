//! The renewal loop: asks a host, or the vendor's service, whenever a product is due, for as long as the program runs.
//!
//! When each product asks next is drawn at the end of each attempt and kept in its store, so that a restart
//! neither hastens nor delays it.

use crate::activation::{Activated, Client};
use quorate_core::{Interval, Result, Timestamp};
use std::future::Future;
use std::time::Duration;

/// Renews until `stop` completes. `tell` hears of each attempt.
pub async fn run(
    clients: &[Client],
    mut tell: impl FnMut(&Client, &Result<Activated>),
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        let next = tokio::select! {
            next = once(clients, &mut tell) => next,
            () = &mut stop => return,
        };
        let now = clients.first().map(Client::now);
        let wait = match (next, now) {
            (Some(next), Some(now)) => Interval::between(now, next),
            _ => LONGEST_SLEEP,
        };
        // A sleeping machine's timers stand still, so the clock is looked at often; and never in a tight loop.
        let wait = wait.clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        tokio::select! {
            () = tokio::time::sleep(Duration::from(wait)) => {}
            () = &mut stop => return,
        }
    }
}

/// Asks for every product that is due, and says when the next one is.
pub async fn once(
    clients: &[Client],
    tell: &mut impl FnMut(&Client, &Result<Activated>),
) -> Option<Timestamp> {
    let mut next: Option<Timestamp> = None;
    for client in clients {
        let mut due = match client.due() {
            Ok(Some(due)) => due,
            Ok(None) => continue,
            Err(error) => {
                tell(client, &Err(error));
                continue;
            }
        };
        if due <= client.now() {
            let outcome = client.activate().await;
            tell(client, &outcome);
            // What came of it is in the store by now; where that cannot be written, nobody must suffer for it.
            due = match client.due() {
                Ok(None) => continue,
                Ok(Some(due)) if due > client.now() => due,
                Ok(Some(_)) | Err(_) => LONGEST_SLEEP.after(client.now()),
            };
        }
        next = Some(next.map_or(due, |next| next.min(due)));
    }
    next
}

const SHORTEST_SLEEP: Interval = Interval::seconds(1);
const LONGEST_SLEEP: Interval = Interval::minutes(5);
