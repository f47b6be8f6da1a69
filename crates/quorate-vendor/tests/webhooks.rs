//! Webhooks: what a receiver is told, how often, and that none waits for another.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::place::{in_both, key};
use common::{HOST_KEYS, MAKS, Vendor, installation_id, vendor_program};
use quorate_core::Timestamp;
use quorate_core::product_key::ProductKey;
use quorate_edge::clock::Clock;
use quorate_edge::https::Poster;
use quorate_edge::server::{self, Limits};
use quorate_vendor::keys::NewLimits;
use quorate_vendor::metrics::Metrics;
use quorate_vendor::service::Service;
use quorate_vendor::store::webhooks::WebhookState;
use quorate_vendor::webhooks::{Courier, Event};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A program that is told: what came, and with which status it answers next.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<(HeaderMap, String)>>>, Arc<Mutex<Vec<u16>>>);

impl Receiver {
    /// Listens, by TLS where there is a certificate; its port.
    async fn listen(&self, tls: Option<rustls::ServerConfig>) -> u16 {
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().route("/hook", post(receive)).with_state(self.clone());
        let (never, traffic) = (std::future::pending(), Arc::default());
        tokio::spawn(server::serve(listener, tls.map(Arc::new), router, Limits::default, traffic, never));
        port
    }

    /// Waits until so many messages have come.
    #[track_caller]
    fn has(&self, count: usize, within: Duration) {
        let started = Instant::now();
        while self.0.lock().unwrap().len() < count {
            assert!(started.elapsed() < within, "{} of {count} came", self.0.lock().unwrap().len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.0.lock().unwrap().push((headers, String::from_utf8(body.to_vec()).unwrap()));
    let status = receiver.1.lock().unwrap().pop().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

#[test]
fn a_webhook_is_told_until_it_has_heard() {
    in_both(|place| {
        static LATER: AtomicI64 = AtomicI64::new(0);
        LATER.store(0, Ordering::Relaxed);
        let now = || {
            let second = Timestamp::now().as_second() + LATER.load(Ordering::Relaxed);
            Timestamp::from_second(second).unwrap()
        };
        let service = place.service_at(Clock::new(now));
        let runtime = runtime();
        let receiver = Receiver::default();
        let url = format!("http://127.0.0.1:{}/hook", runtime.block_on(receiver.listen(None)));
        let (webhook, secret) = service.add_webhook(&url, &BTreeSet::from(Event::ALL)).unwrap();
        service.add_webhook(&url, &BTreeSet::from([Event::LimitReached])).unwrap();
        let mak = key(&service, MAKS);
        service.limit_key(mak.id(), &NewLimits { machines: Some(Some(5)), ..NewLimits::default() }).unwrap();
        service.pack(mak.id(), 9).unwrap();
        for machine in 1..=5 {
            service.confirm(&installation_id(&mak, machine)).unwrap();
        }
        // Asked again, nothing has happened.
        service.confirm(&installation_id(&mak, 5)).unwrap();

        let poster = Poster::new(&Clock::system()).unwrap();
        *receiver.1.lock().unwrap() = vec![500];
        let deliver = || {
            let mut courier = Courier::new(service.clone(), poster.clone());
            runtime.block_on(async {
                let taken = courier.take_up().await.unwrap();
                courier.arrive().await.unwrap();
                taken
            })
        };
        let all = || std::iter::from_fn(|| Some(deliver()).filter(|sent| *sent > 0)).sum::<usize>();
        let sent = all();
        let said = |list: Vec<(HeaderMap, String)>| -> Vec<Value> {
            list.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
        };
        let came = std::mem::take(&mut *receiver.0.lock().unwrap());
        // Five activations, one of them near the limit and one at it, of which another program is told as well.
        assert_eq!((sent, came.len()), (8, 8));
        let secret = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = |(headers, body): &(HeaderMap, String)| {
            let header = |name: &str| headers[name].to_str().unwrap();
            let message = format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp"));
            let signature = header("webhook-signature").strip_prefix("v1,").unwrap();
            let signature = BASE64.decode(signature).unwrap();
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes(), &signature).is_ok()
        };
        assert_eq!(came.iter().filter(|message| signed(message)).count(), 7);
        let ids: Vec<_> = came.iter().map(|(headers, _)| headers["webhook-id"].clone()).collect();
        let kinds: Vec<String> =
            said(came).iter().map(|message| message["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "activation").count(), 5);
        assert_eq!(kinds.iter().filter(|kind| *kind == "limit-near").count(), 1);
        assert_eq!(kinds.iter().filter(|kind| *kind == "limit-reached").count(), 2);

        let state = |id: i64| {
            let states = service.webhook_states().unwrap();
            states.into_iter().find(|(record, _)| record.id == id).unwrap().1
        };
        let states = [state(webhook.id), state(webhook.id + 1)];
        assert_eq!(states.iter().map(|state| state.waiting).sum::<u64>(), 1);
        assert!(states.iter().any(|state| state.delivered.is_some()));

        // The one that was answered with 500 comes again, after five seconds, under its number.
        LATER.store(6, Ordering::Relaxed);
        assert_eq!(deliver(), 1);
        let again = std::mem::take(&mut *receiver.0.lock().unwrap());
        assert_eq!(again.len(), 1);
        assert!(ids.contains(&again[0].0["webhook-id"]));
        LATER.store(100_000, Ordering::Relaxed);
        assert_eq!(deliver(), 0);
        let deliveries = service.deliveries(webhook.id, 99).unwrap();
        assert!(deliveries.iter().all(|delivery| delivery.delivered.is_some()), "{deliveries:?}");
        let twice = deliveries.iter().filter(|delivery| delivery.attempts == 2).count();
        assert!(
            twice <= 1 && deliveries.iter().all(|delivery| delivery.said == "delivered"),
            "{deliveries:?}"
        );

        // One that is never answered is given up after three days.
        let nowhere = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = format!("http://{}/", nowhere.local_addr().unwrap());
        drop(nowhere);
        let (lost, _) = service.add_webhook(&closed, &BTreeSet::from([Event::Activation])).unwrap();
        let host = key(&service, HOST_KEYS);
        service.pack(host.id(), 1).unwrap();
        service.confirm(&installation_id(&host, 1)).unwrap();
        for _ in 0..12 {
            all();
            LATER.fetch_add(21 * 60 * 60, Ordering::Relaxed);
        }
        let delivery = service.deliveries(lost.id, 1).unwrap().remove(0);
        assert_eq!((delivery.attempts, delivery.due, delivery.delivered), (11, None, None));
        assert!(delivery.said.contains("connection refused"), "{}", delivery.said);
        let WebhookState { delivered, waiting, given_up, trouble } = state(lost.id);
        assert_eq!((delivered, waiting, given_up, trouble), (None, 0, 1, Some(delivery.said)));
        let sound = state(webhook.id);
        assert!(sound.delivered.is_some() && (sound.waiting, sound.given_up, sound.trouble) == (0, 0, None));
        // What was removed is told nothing, not even what was on its way.
        service.confirm(&installation_id(&key(&service, MAKS), 1)).unwrap_err();
        service.remove_webhook(lost.id).unwrap();
        assert_eq!(service.deliveries(lost.id, 9).unwrap().len(), 1);
        assert!(service.deliveries_before(lost.id, Some(delivery.id), 9).unwrap().is_empty());
        assert_eq!(service.deliveries_before(lost.id, Some(delivery.id + 1), 9).unwrap().len(), 1);
    });
}

/// However much waits for a receiver that answers nothing, another is told at once, and goes on being told.
#[test]
fn a_silent_receiver_keeps_no_other_waiting() {
    in_both(|place| {
        let (service, runtime, receiver) = (place.service(), runtime(), Receiver::default());
        let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let silent_url = format!("http://{}/", silent.local_addr().unwrap());
        let port = runtime.block_on(receiver.listen(None));
        service.add_webhook(&silent_url, &BTreeSet::from([Event::LimitReached])).unwrap();
        place.meddle(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO delivery (id, webhook, event, body, created, attempts, due, said)
             SELECT i, 1, 'limit-reached', '{}', 1, 0, 1, '' FROM n",
        );
        let url = format!("http://127.0.0.1:{port}/hook");
        service.add_webhook(&url, &BTreeSet::from([Event::Activation])).unwrap();
        let mak = key_with_pack(&service);
        let poster = Poster::new(&Clock::system()).unwrap();
        let courier = runtime.spawn(Courier::new(service.clone(), poster).run(Metrics::default()));
        for machine in 1..=3 {
            service.confirm(&installation_id(&mak, machine)).unwrap();
            receiver.has(machine.into(), Duration::from_secs(3));
        }
        // Meanwhile the silent one has a few at a time, not all that it could have.
        silent.set_nonblocking(true).unwrap();
        let connections = std::iter::from_fn(|| silent.accept().ok()).count();
        assert!((1..=4).contains(&connections), "{connections}");
        courier.abort();
    });
}

/// Everybody who changes something waits for his turn; a look that finds nothing takes none.
#[test]
fn a_look_that_finds_nothing_takes_no_turn() {
    in_both(|place| {
        let (service, runtime) = (place.service(), runtime());
        service.add_webhook("http://127.0.0.1:9/", &BTreeSet::from(Event::ALL)).unwrap();
        let poster = Poster::new(&Clock::system()).unwrap();
        let mut courier = Courier::new(service, poster);
        let looked = place.during_a_turn(|| {
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), courier.take_up()).await })
        });
        assert_eq!(looked.expect("it waits for its turn").unwrap(), 0);
    });
}

/// A receiver that knows nothing newer than TLS 1.2, and one on this machine in plain HTTP, while the environment names a
/// proxy for everything that is not there.
#[test]
fn receivers_are_reached_by_old_tls_and_on_this_machine_without_a_proxy() {
    let vendor = Vendor::new();
    let (service, runtime) = (vendor.service(), runtime());
    let (by_tls, plain) = (Receiver::default(), Receiver::default());
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = vendor.path("roots.pem");
    std::fs::write(&root, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let own = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&own, &Issuer::new(ca, ca_key)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], own.into())
        .unwrap();
    let (tls_port, port) =
        runtime.block_on(async { (by_tls.listen(Some(tls)).await, plain.listen(None).await) });
    for url in [format!("https://localhost:{tls_port}/hook"), format!("http://127.0.0.1:{port}/hook")] {
        service.add_webhook(&url, &BTreeSet::from([Event::Activation])).unwrap();
    }
    let mak = key_with_pack(&service);
    service.confirm(&installation_id(&mak, 1)).unwrap();
    let nowhere = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let mut child = vendor_program(&vendor.service_directory())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .envs([("HTTP_PROXY", &proxy), ("http_proxy", &proxy), ("ALL_PROXY", &proxy)])
        .env("SSL_CERT_FILE", &root)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let came = std::panic::catch_unwind(|| {
        plain.has(1, Duration::from_secs(20));
        by_tls.has(1, Duration::from_secs(20));
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let said = service
        .webhooks()
        .unwrap()
        .iter()
        .map(|hook| service.deliveries(hook.id, 1).unwrap())
        .collect::<Vec<_>>();
    assert!(came.is_ok(), "{said:?}");
}

fn key_with_pack(service: &Service) -> ProductKey {
    let mak = key(service, MAKS);
    service.pack(mak.id(), 9).unwrap();
    mak
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
