//! The loop that renews in the background: it asks when a product is due and not before, goes on after a failure,
//! and ends when it is told to.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Hands, Pc, Vendor, products};
use quorate_client::activation::{Activated, Client};
use quorate_client::renewal;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Interval, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// On one thread, so that the timers of everything here can be moved on.
#[tokio::test]
async fn each_renewal_comes_when_it_is_due() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 1), hands.clock());
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let client = pc.client_of(&host, &hands.clock());
    let (stop, stopped) = oneshot::channel::<()>();
    let (told, mut heard) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let tell = |_: &Client, outcome: &Result<Activated>| {
            told.send(outcome.as_ref().map(|_| ()).map_err(|error| error.code)).unwrap();
        };
        let stop = async {
            let _ = stopped.await;
        };
        renewal::run(&[client], tell, stop).await;
    });

    // What was never activated is due at once.
    assert_eq!(heard.recv().await, Some(Ok(())));
    assert_eq!(pc.client(&hands.clock()).status().unwrap().state.status, LicenseStatus::Licensed);
    five_minutes_pass().await;
    hands.forward(Interval::days(3));
    five_minutes_pass().await;
    assert_eq!(heard.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    hands.forward(Interval::days(4));
    five_minutes_pass().await;
    assert_eq!(heard.recv().await, Some(Ok(())));

    host.stop().await;
    hands.forward(Interval::days(7));
    five_minutes_pass().await;
    assert_eq!(heard.recv().await, Some(Err(Code::HostUnreachable)));
    // A failure is followed by another try, in hours and not in a tight loop.
    five_minutes_pass().await;
    assert_eq!(heard.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    hands.forward(Interval::days(7));
    five_minutes_pass().await;
    assert_eq!(heard.recv().await, Some(Err(Code::HostUnreachable)));

    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
}

/// Moves the timers on by the longest time that the loop sleeps, and lets it do what it then finds to do.
async fn five_minutes_pass() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(300)).await;
    tokio::time::resume();
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_activates_by_itself_and_ends_when_it_is_stopped() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    pc.run(&["set-host", &host.address.to_string()]).succeeds();
    let child = pc.command(&["run"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while pc.license() != LicenseStatus::Licensed {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not activate");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.contains("renewing in the background") && said.contains("activated"), "{said}");
}
