//! Requests that arrive whole but cannot be answered: another version, broken fields, too large, never
//! ending, for another vendor; and requests under way when the host is killed.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::wire::{begin, call, frame, handshake, message, send};
use common::{AtWork, Site, request, until};
use quorate_core::certificate::VendorRoot;
use quorate_core::identifier::VendorId;
use quorate_core::{Code, Error};
use quorate_host::book::Location;
use quorate_proto::v1::ActivateRequest;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_client_of_another_version_is_told_both_versions() {
    let mut at_work = AtWork::start(&[]).await;
    for version in [0, 2, u32::MAX] {
        let request = ActivateRequest { protocol_version: version, ..request() };
        let error = Error::new(
            Code::ProtocolVersion,
            format!("the client speaks version {version} of the protocol, this host version 1"),
            "update the older of the two",
        );
        assert_eq!(at_work.site.send(at_work.host.address, request).await, Err(error));
    }
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn a_request_with_a_field_that_cannot_be_is_refused() {
    let mut at_work = AtWork::start(&[]).await;
    let broken = |change: fn(&mut ActivateRequest)| {
        let mut request = request();
        change(&mut request);
        request
    };
    let cases = [
        (broken(|r| r.nonce.truncate(3)), "nonce has 3 bytes, not 16"),
        (broken(|r| r.hardware_id.clear()), "hardware_id has 0 bytes, not 32"),
        (broken(|r| r.hardware_id.push(0)), "hardware_id has 33 bytes, not 32"),
        (broken(|r| r.license_status = 7), "license_status 7 is not one of 0 to 6"),
        (broken(|r| r.client_time_ms = i64::MAX), "client_time_ms 9223372036854775807 is not a time"),
        (broken(|r| r.machine_name = "x".repeat(256)), "machine_name has 256 bytes, at most 255 are allowed"),
        (ActivateRequest { protocol_version: 1, ..ActivateRequest::default() }, "nonce has 0 bytes, not 16"),
    ];
    for (request, what) in cases {
        let error = Error::new(
            Code::RequestInvalid,
            format!("the request cannot be: {what}"),
            "update the client; if it is not Quorate's own, compare it with the published .proto",
        );
        assert_eq!(at_work.site.send(at_work.host.address, request).await, Err(error));
    }
    let cmid = broken(|r| r.cmid = "'; DROP TABLE machine; --".to_owned());
    let error = at_work.site.send(at_work.host.address, cmid).await.unwrap_err();
    assert_eq!(error.what, "\"'; DROP TABLE machine; --\" is not a client machine id (CMID)");
    assert_eq!(error.code, Code::IdentifierInvalid);

    let early = broken(|r| r.client_time_ms = 0);
    assert_eq!(at_work.site.send(at_work.host.address, early).await.unwrap_err().code, Code::ClockSkew);
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn a_client_of_a_vendor_without_a_key_here_is_told_so() {
    let mut at_work = AtWork::start(&[]).await;
    let address = at_work.host.address;
    let stranger = Site::of_vendor("fabrikam", "https://activation.fabrikam.example");
    let error = Error::new(
        Code::HostNotActivated,
        format!("the host at {address} has no activated key of vendor fabrikam"),
        "activate the host (`quorate-host ato`), or set another",
    );
    assert_eq!(stranger.ask(1, address).await, Err(error));
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn a_host_that_is_not_activated_says_so_and_serves_as_soon_as_it_is() {
    let mut site = Site::installed();
    let host = site.serve(&[]);
    assert_eq!(site.ask(1, host.address).await.unwrap_err().code, Code::HostNotActivated);
    let confirmation_id = site.confirmation_id();
    assert!(site.run(&["atp", &confirmation_id]).status.success());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(site.ask(1, host.address).await, Ok(1));
}

#[tokio::test]
async fn a_client_that_names_no_host_is_refused_at_the_handshake() {
    let mut at_work = AtWork::start(&[]).await;
    let site = &at_work.site;
    let mut silent = site.tls();
    silent.enable_sni = false;
    let nameless = handshake(silent, &site.host_name(), at_work.host.address).await;
    let odd = handshake(site.tls(), "www.example.com", at_work.host.address).await;
    let other = handshake(site.tls(), "fabrikam.host.quorate.internal", at_work.host.address).await;
    for refused in [nameless, odd, other] {
        assert_eq!(refused.err().unwrap().to_string(), "received fatal alert: AccessDenied");
    }
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_or_none_is_refused_and_its_connection_goes_on() {
    let mut at_work = AtWork::start(&[]).await;
    let site = &at_work.site;
    let mut connection = site.http2(at_work.host.address).await;
    let (status, words) = call(&mut connection, &[0; 16 * 1024 + 1]).await;
    assert_eq!(status, "11");
    assert_eq!(
        words.replace("%20", " "),
        "Error, decoded message length too large: found 16385 bytes, the limit is: 16384 bytes"
    );
    let (status, _) = call(&mut connection, b"\xff\xff\xff\xff garbage").await;
    assert_eq!(status, "13");
    // Four gigabytes are announced, and nothing is kept ready for them.
    let (response, mut body) = begin(&mut connection);
    body.send_data(Bytes::from_static(b"\x00\xff\xff\xff\xff0123456789"), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "11");
    let (status, _) = call(&mut connection, &message()).await;
    assert_eq!(status, "0");
    at_work.counted_another();
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test]
async fn requests_that_never_end_do_not_hold_the_host() {
    let mut at_work = AtWork::start(&[]).await;
    let (mut connections, mut under_way) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut connection = at_work.site.http2(at_work.host.address).await;
        for _ in 0..50 {
            let (response, mut body) = begin(&mut connection);
            let mut start = frame(&message());
            let last_byte = start.split_off(start.len() - 1);
            body.send_data(start, false).unwrap();
            under_way.push((response, body, last_byte));
        }
        connections.push(connection);
    }
    at_work.counts_the_next_machine().await;

    // They were all under way: the last of them is answered as soon as it ends.
    let (response, mut body, last_byte) = under_way.pop().unwrap();
    body.send_data(last_byte, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    at_work.counted_another();
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_machine_that_was_answered_is_still_counted_after_a_kill() {
    let site = Site::activated();
    let mut answered = HashSet::new();
    for round in 1..=50 {
        let mut host = site.serve(&[]);
        let mut asking = JoinSet::new();
        let answers = Arc::new(AtomicUsize::new(0));
        for _ in 0..8 {
            let authority = site.vendor.authority();
            asking.spawn(ask_until_it_fails(
                authority.root().clone(),
                authority.vendor().clone(),
                host.address,
                Arc::clone(&answers),
            ));
        }
        until("somebody is answered", async || answers.load(Ordering::Relaxed) > 0).await;
        // At another moment of the work each time.
        tokio::time::sleep(Duration::from_millis(37 * round % 100)).await;
        host.kill();
        let new: Vec<String> = asking.join_all().await.into_iter().flatten().collect();
        assert!(!new.is_empty(), "nobody was answered in round {round}");
        answered.extend(new);

        let mut counted = HashSet::new();
        let mut book = Location::Own.open(&site.host_directory()).unwrap();
        counted.extend(book.clients().unwrap().into_iter().map(|client| client.cmid));
        drop(book);
        assert_eq!(answered.difference(&counted).count(), 0, "machines are missing after round {round}");

        if round % 10 != 0 {
            continue;
        }
        let host = site.serve(&[]);
        let first = ask_once(&site, host.address).await;
        assert!(counted.insert(first));
        assert_eq!(site.count(), counted.len().to_string());
    }
}

/// Many machines ask, one after the other. Gives those that were answered.
async fn ask_until_it_fails(
    root: VendorRoot,
    vendor: VendorId,
    host: SocketAddr,
    answers: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut answered = Vec::new();
    loop {
        let request = request();
        let cmid = request.cmid.clone();
        match send(&root, &vendor, host, request).await {
            Ok(_) => {
                answered.push(cmid);
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => return answered,
        }
    }
}

async fn ask_once(site: &Site, host: SocketAddr) -> String {
    let request = request();
    let cmid = request.cmid.clone();
    site.send(host, request).await.unwrap();
    cmid
}
