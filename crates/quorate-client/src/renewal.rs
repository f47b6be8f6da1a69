//! The renewal loop: asks a host whenever a product is due, for as long as the program runs.
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
        let mut next: Option<Timestamp> = None;
        for client in clients {
            let due = match client.due() {
                Ok(due) => due,
                Err(error) => {
                    tell(client, &Err(error));
                    continue;
                }
            };
            if due <= client.now() {
                tokio::select! {
                    outcome = client.activate() => tell(client, &outcome),
                    () = &mut stop => return,
                }
            }
            // What came of it is in the store by now; where that cannot be written, hosts must not suffer.
            let due = client.due().ok().filter(|due| *due > client.now());
            let due = due.unwrap_or_else(|| LONGEST_SLEEP.after(client.now()));
            next = Some(next.map_or(due, |next| next.min(due)));
        }
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

const SHORTEST_SLEEP: Interval = Interval::seconds(1);
const LONGEST_SLEEP: Interval = Interval::minutes(5);
