//! One address that asks without end, and the others that do not notice; a whole site behind one address.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::AtWork;
use common::wire::{call, closed_within, message};
use quorate_core::{Code, Error};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test]
async fn an_address_that_opens_connections_without_end_is_turned_away_and_no_other() {
    let mut at_work = AtWork::start(&["--connections-per-address", "2"]).await;
    let host = at_work.host.address;
    // Another address of this machine: the whole of 127.0.0.0/8 is.
    let mut turned_away = 0;
    for _ in 0..40 {
        let mut stream = from([127, 0, 0, 2], host).await;
        if closed_at_once(&mut stream).await {
            turned_away += 1;
        }
    }
    assert!((10..=20).contains(&turned_away), "{turned_away} of 40 were turned away; a burst is 20");
    at_work.counts_the_next_machine().await;
    assert!(at_work.host.log().contains("too many connections of one address"));

    // It may come back, a little later.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!closed_at_once(&mut from([127, 0, 0, 2], host).await).await);
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn an_address_that_sends_requests_without_end_is_told_when_to_come_back() {
    let mut at_work = AtWork::start(&["--requests-per-address", "1"]).await;
    let (site, host) = (&at_work.site, at_work.host.address);
    let mut requests = site.http2(host).await;
    // Two machines have asked already.
    let mut answered = 2;
    let started = Instant::now();
    let refused = loop {
        let (status, what) = call(&mut requests, &message()).await;
        if status != "0" {
            break (status, what);
        }
        answered += 1;
        assert!(answered <= 10 + started.elapsed().as_secs() + 1, "a burst is 10");
    };
    assert!(answered >= 10, "the burst passes, not {answered}");
    assert_eq!(refused.0, "8", "RESOURCE_EXHAUSTED");
    let busy = Error::new(
        Code::Busy,
        "this address sends more requests than the host takes from one; retry after 1 second",
        "wait: the client tries again by itself",
    );
    assert_eq!(refused.1, busy.to_string().replace(' ', "%20"));
    for _ in 2..answered {
        at_work.counted_another();
    }
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let (status, _) = call(&mut requests, &message()).await;
    assert_eq!(status, "0", "the same connection goes on a little later");
    at_work.counted_another();
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

/// Ten thousand machines behind one router start in the same second: none is turned away. That many
/// connections at once are in `bad_connections`; here they come and go.
#[tokio::test]
async fn a_whole_site_behind_one_address_is_let_in() {
    let mut at_work = AtWork::start(&[]).await;
    let host = at_work.host.address;
    for _ in 0..5_000 {
        let stream = TcpStream::connect(host).await.unwrap();
        // The host reads the end at once, and no port of this machine waits for it.
        stream.set_zero_linger().unwrap();
    }
    at_work.counts_the_next_machine().await;
    assert!(!at_work.host.log().contains("of one address"));
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn no_limit_is_a_choice() {
    let options = ["--connections-per-address", "0", "--requests-per-address", "0"];
    let mut at_work = AtWork::start(&options).await;
    let mut requests = at_work.site.http2(at_work.host.address).await;
    for _ in 0..50 {
        assert_eq!(call(&mut requests, &message()).await.0, "0");
        at_work.counted_another();
    }
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

async fn from(address: [u8; 4], host: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(host).await.unwrap()
}

/// Whether the host closes a connection before anything is said. One that it keeps it keeps for seconds.
async fn closed_at_once(stream: &mut TcpStream) -> bool {
    let patience = Duration::from_millis(100);
    let mut byte = [0];
    match tokio::time::timeout(patience, stream.peek(&mut byte)).await {
        Err(_) => false,
        Ok(_) => {
            closed_within(patience, stream).await;
            true
        }
    }
}
