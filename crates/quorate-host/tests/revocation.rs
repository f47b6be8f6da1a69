//! A vendor takes a key back: the host hears of it, by itself or when a command does, stops answering with it
//! and says why; and nobody brings an old list back.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Site, assert_refused, request, stderr, stdout, until};
use quorate_core::license_state::Situation;
use quorate_core::{Code, Error};
use quorate_edge::clock::Clock;
use quorate_edge::https::ServiceClient;
use quorate_edge::machine::Machine;
use quorate_edge::server;
use quorate_host::documents;
use quorate_host::keys::HostKey;
use quorate_host::server::Options;
use quorate_host::store::Store;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// What clients of a host hear whose only key was taken back by list 2.
fn revoked(site: &Site) -> Error {
    Error::new(
        Code::Revoked,
        format!("the vendor has revoked product key {} (revocation list 2)", site.key.id()),
        "install and activate another host key on the host",
    )
}

async fn is_revoked(site: &Site, host: SocketAddr) -> bool {
    site.send(host, request()).await == Err(revoked(site))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_host_hears_that_its_key_was_taken_back() {
    let mut site = Site::online().await;
    let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let host = listener.local_addr().unwrap();
    let options = Options {
        every: Duration::from_millis(200),
        ..Options::new(site.host_directory(), Machine::read(None).unwrap().components())
    };
    tokio::spawn(quorate_host::server::serve(options, listener, Clock::system(), std::future::pending()));
    for (machine, count) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (1, 5)] {
        assert_eq!(site.ask(machine, host).await, Ok(count));
    }

    site.vendor.block_key(site.key.id()).unwrap();
    until("the key is revoked", async || is_revoked(&site, host).await).await;
    // The machine that it had activated hears it at its next renewal, from the vendor's own list.
    let machine = site.client(1);
    assert_eq!(machine.status().unwrap().state.situation, Situation::Licensed);
    assert_eq!(machine.activate().await.unwrap_err().code, Code::Revoked);
    assert_eq!(machine.status().unwrap().state.situation, Situation::NonGenuineGrace);
    let shown = stdout(&site.run(&["dlv"]));
    for line in [
        format!(
            "License Status: Unlicensed (Q208 (0xC004C003): the vendor has revoked product key {} (revocation list 2))",
            site.key.id()
        ),
        "Activation host is not enabled on this computer: install and activate another host key on the host"
            .to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in {shown}");
    }

    // Another key of the vendor takes over, without a restart.
    let (other, pack) = site.another_key();
    assert!(site.install(&other.reveal(), &pack).status.success());
    assert_eq!(stderr(&site.run(&["ato", &other.id().to_string()])), "");
    until("the other key answers", async || site.send(host, request()).await.is_ok()).await;
    machine.activate().await.unwrap();
    assert_eq!(machine.status().unwrap().state.situation, Situation::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_asks_for_news_when_it_starts() {
    let site = Site::online().await;
    site.vendor.block_key(site.key.id()).unwrap();
    let host = site.serve(&[]);
    until("the key is revoked", async || is_revoked(&site, host.address).await).await;
    assert!(host.log().contains("a host key cannot be used"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_that_is_refused_brings_the_news_too() {
    let site = Site::online().await;
    let host = site.serve(&[]);
    assert_eq!(site.ask(1, host.address).await, Ok(1));
    site.vendor.block_key(site.key.id()).unwrap();
    let report = format!(
        "error Q402 (0xC004C003): product key {} (…{}) is blocked by the vendor\n\
         next: ask the vendor why, or for another key",
        site.key.id(),
        site.key.partial()
    );
    assert_refused(&site.run(&["ato"]), &report);
    until("the key is revoked", async || is_revoked(&site, host.address).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_way_out_serves_and_mentions_it_once() {
    let site = Site::activated();
    let host = site.serve(&["--proxy", "http://127.0.0.1:1"]);
    until("it is mentioned", async || host.log().contains("no news from the vendor")).await;
    assert_eq!(site.ask(1, host.address).await, Ok(1));
    assert_eq!(host.log().matches("no news from the vendor").count(), 1);
    assert!(!host.log().contains("ERROR") && !host.log().contains("WARN"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_is_refused() {
    let mut site = Site::online().await;
    let old = site.vendor.revocations_jws().unwrap();
    let (other, pack) = site.another_key();
    site.vendor.block_key(other.id()).unwrap();
    let host = site.serve(&[]);
    let now = || Clock::system().now();
    let key = || HostKey::select(&Store::open(&site.host_directory()).unwrap(), None, now()).unwrap();
    until("list 2 is here", async || key().revocations.number == 2).await;
    drop(host);

    // By a service that is behind, or by somebody who plays it.
    let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = site.vendor.authority().service_tls("127.0.0.1", now()).unwrap();
    let answer =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{old}", old.len());
    tokio::spawn(async move {
        let mut tls = tls;
        tls.alpn_protocols.clear();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let service = ServiceClient::new(&url, &key().root, None, "", &Clock::system()).unwrap();
    let mut store = Store::open(&site.host_directory()).unwrap();
    let refusal = documents::fetch(&mut store, &key(), &service, now()).await.unwrap_err();
    assert_eq!(
        refusal.report(),
        "error Q207: the service gave revocation list 1, but 2 is here already\n\
         next: ask the vendor why its service is behind"
    );
    assert_eq!(key().revocations.number, 2);

    // Nor by a license pack: this one was made before.
    assert!(site.install(&site.key.reveal(), &site.pack).status.success());
    assert_eq!(key().revocations.number, 2);
    assert!(pack.exists());
}
