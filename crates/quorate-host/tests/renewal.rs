//! The certificate with which the host is activated is renewed before it ends, while the host runs; the clock is
//! played.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{HOST_KEYS, PRODUCTS, Site, stderr, until};
use quorate_core::hardware::Components;
use quorate_core::{Code, Interval, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::server;
use quorate_host::keys::{self, HostKey};
use quorate_host::server::Options;
use quorate_host::store::Store;
use quorate_vendor::products;
use quorate_vendor::service::Service;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
    let (hands, clock) = played();
    let (site, mut store) = activated_online(&clock).await;
    let until_when = |store: &Store| certificate_end(store, &clock);
    let first = until_when(&store);
    let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let host = listener.local_addr().unwrap();
    let options = Options {
        every: Duration::from_millis(100),
        ..Options::new(site.host_directory(), Components::default())
    };
    tokio::spawn(quorate_host::server::serve(options, listener, clock.clone(), std::future::pending()));
    let ask = async || site.ask_by(&clock, host).await;
    assert_eq!(ask().await, Ok(()));

    // Of thirty days, nineteen are over: more than a third is left.
    hands.store(Interval::days(19).as_seconds(), Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(until_when(&store), first);
    hands.store(Interval::days(21).as_seconds(), Ordering::Relaxed);
    until("it is renewed", async || until_when(&store) > first).await;
    let second = until_when(&store);
    assert!(Interval::between(first, second) >= Interval::days(20), "{first} {second}");
    // When the first has ended, clients see the second, and the host was not started again.
    hands.store(Interval::days(32).as_seconds(), Ordering::Relaxed);
    until("the new certificate is taken", async || ask().await.is_ok()).await;

    // What came by telephone later is not renewed online.
    let key = HostKey::select(&store, None, clock.now()).unwrap();
    let vendor = Service::open(&site.directory.path().join("vendor"), clock.clone()).unwrap();
    let pack = vendor.pack(key.installed.id, 1).unwrap();
    let hardware = Components::default();
    let key = keys::install(&mut store, &site.key.reveal(), &pack, &hardware, clock.now()).unwrap();
    assert!(keys::renewal(&store, &key.installed).unwrap().is_some());
    let spoken = vendor.confirm(&key.installed.installation_id).unwrap().confirmation_id.to_string();
    let key = keys::confirm(&mut store, key, &spoken, clock.now()).unwrap();
    assert_eq!(keys::renewal(&store, &key.installed).unwrap(), None);
    hands.store(Interval::days(32 + 29).as_seconds(), Ordering::Relaxed);
    assert!(keys::renew(&mut store, &hardware, None, &clock).await.unwrap().is_empty());
}

/// An attempt that failed must not bring about the next, however it failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_fails_is_not_tried_again_at_once() {
    let mut unreachable = Site::of_vendor("contoso", "https://127.0.0.1:1");
    assert_eq!(stderr(&unreachable.install(&unreachable.key.reveal(), &unreachable.pack)), "");
    let spoken = unreachable.confirmation_id();
    assert_eq!(stderr(&unreachable.run(&["atp", &spoken])), "");
    let refused = Site::online().await;
    let id = refused.key.id();
    refused.vendor.block_key(id).unwrap();
    // With the refusal comes the list that says so, which is news, once.
    for (site, most) in [(unreachable, 1), (refused, 2)] {
        let mut store = Store::open(&site.host_directory()).unwrap();
        store.set(&format!("renewal contoso {}", site.key.id()), "0").unwrap();
        let host = site.serve(&[]);
        let failed = || host.log().matches("the host's certificate could not be renewed").count();
        until("it is tried", async || failed() > 0).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!((1..=most).contains(&failed()), "{}", host.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vendor_refuses_leaves_the_host_as_it_is() {
    let (hands, clock) = played();
    let (site, mut store) = activated_online(&clock).await;
    site.vendor.block_key(site.key.id()).unwrap();
    let first = certificate_end(&store, &clock);
    hands.store(Interval::days(25).as_seconds(), Ordering::Relaxed);
    let renewed = keys::renew(&mut store, &Components::default(), None, &clock).await.unwrap();
    let [(id, Err(error))] = renewed.as_slice() else { panic!("{renewed:?}") };
    assert_eq!((*id, error.code), (site.key.id(), Code::KeyBlocked));
    assert!(!keys::is_transient(error));
    assert_eq!(certificate_end(&store, &clock), first);
}

/// To a clock that is ahead of the vendor's, a new certificate is due as soon as it has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_asks_once_an_hour() {
    let (_, clock) = played();
    let (_site, mut store) = activated_online(&clock).await;
    let hardware = Components::default();
    for (ahead, times) in [(21 * 24 * 60, 1), (21 * 24 * 60 + 1, 0), (21 * 24 * 60 + 62, 1)] {
        let ahead = Clock::new(move || Interval::minutes(ahead).after(Clock::system().now()));
        let renewed = keys::renew(&mut store, &hardware, None, &ahead).await.unwrap();
        assert_eq!(renewed.iter().filter(|(_, result)| result.is_ok()).count(), times, "{renewed:?}");
        assert_eq!(renewed.len(), times);
    }
}

/// A clock that is ahead by as many seconds as its hands say.
fn played() -> (Arc<AtomicU32>, Clock) {
    let hands = Arc::new(AtomicU32::new(0));
    let on = Arc::clone(&hands);
    let ahead = move || Interval::seconds(on.load(Ordering::Relaxed)).after(Clock::system().now());
    (hands, Clock::new(ahead))
}

/// A customer whose vendor's service lives by this clock, and gives host certificates for thirty days.
async fn activated_online(clock: &Clock) -> (Site, Store) {
    let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let mut site = Site::of_vendor("contoso", &format!("https://{}", listener.local_addr().unwrap()));
    let name = "name = \"Contoso Office host keys\"";
    let products = std::fs::read_to_string(Path::new(PRODUCTS)).unwrap();
    let products = products.replace(name, &format!("{name}\ncertificate-validity = \"30d\""));
    let products = site.write("products.toml", products.as_bytes());
    site.vendor.import(products::read_products(&products).unwrap()).unwrap();
    let key = site.issue(HOST_KEYS);
    let pack = site.vendor.pack(key.id(), 1).unwrap();
    site.key = key;
    let service = Service::open(&site.directory.path().join("vendor"), clock.clone()).unwrap();
    let tls = service.authority().service_tls("127.0.0.1", clock.now()).unwrap();
    tokio::spawn(quorate_vendor::command::serve(service, tls, listener, std::future::pending()));
    let mut store = Store::open_or_create(&site.host_directory()).unwrap();
    let hardware = Components::default();
    let key = keys::install(&mut store, &site.key.reveal(), &pack, &hardware, clock.now()).unwrap();
    keys::activate_online(&mut store, key, None, None, clock).await.unwrap();
    (site, store)
}

fn certificate_end(store: &Store, clock: &Clock) -> Timestamp {
    let key = HostKey::select(store, None, clock.now()).unwrap();
    key.certificate(clock.now()).unwrap().unwrap().not_after
}
