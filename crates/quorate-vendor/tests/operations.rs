//! Running the service: webhooks, metrics and health, a database that is down, backups.

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
use common::cluster::Cluster;
use common::place::{in_both, key};
use common::web::{Web, parts};
use common::{HOST_KEYS, MAKS, Ran, Vendor, installation_id, vendor_program};
use quorate_core::Timestamp;
use quorate_edge::clock::Clock;
use quorate_edge::https::Poster;
use quorate_edge::server::{self, Limits};
use quorate_vendor::keys::NewLimits;
use quorate_vendor::store::webhooks::WebhookState;
use quorate_vendor::webhooks::Event;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// A program that is told: what came, and with which status it answers next.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<(HeaderMap, String)>>>, Arc<Mutex<Vec<u16>>>);

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
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let receiver = Receiver::default();
        let url = runtime.block_on(async {
            let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
            let serving = server::serve(
                listener,
                None,
                router,
                Limits::default,
                Arc::default(),
                std::future::pending(),
            );
            tokio::spawn(serving);
            format!("http://{address}/hook")
        });
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
        let sent = runtime.block_on(async {
            let mut sent = 0;
            loop {
                match service.deliver(&poster).await.unwrap() {
                    0 => return sent,
                    more => sent += more,
                }
            }
        });
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
        assert_eq!(runtime.block_on(service.deliver(&poster)).unwrap(), 1);
        let again = std::mem::take(&mut *receiver.0.lock().unwrap());
        assert_eq!(again.len(), 1);
        assert!(ids.contains(&again[0].0["webhook-id"]));
        LATER.store(100_000, Ordering::Relaxed);
        assert_eq!(runtime.block_on(service.deliver(&poster)).unwrap(), 0);
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
            while runtime.block_on(service.deliver(&poster)).unwrap() > 0 {}
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

        // An address that answers nothing keeps no other waiting.
        let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url_of_silent = format!("http://{}/", silent.local_addr().unwrap());
        service.add_webhook(&url_of_silent, &BTreeSet::from([Event::Activation])).unwrap();
        service.pack(mak.id(), 9).unwrap();
        service.limit_key(mak.id(), &NewLimits { machines: Some(Some(50)), ..NewLimits::default() }).unwrap();
        for machine in 10..=15 {
            service.confirm(&installation_id(&mak, machine)).unwrap();
        }
        receiver.0.lock().unwrap().clear();
        assert!(runtime.block_on(service.deliver(&poster)).unwrap() <= 4);
        assert_eq!(receiver.0.lock().unwrap().len(), 2);
    });
}

/// While its database is down, every request is told so; when it is back, service goes on by itself.
#[test]
fn a_database_that_is_down_is_named() {
    let mut place = common::place::Place::in_postgres();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let web = runtime.block_on(Web::serve_service(place.service()));
    let catalog = || runtime.block_on(async { web.get("/v1/catalog").await });
    assert_eq!(catalog().status(), 200);
    place.cluster.as_mut().unwrap().kill();
    let (status, kind, problem) = runtime.block_on(async { parts(web.get("/v1/catalog").await).await });
    assert_eq!((status, kind.as_str()), (503, "application/problem+json"));
    assert_eq!(problem["code"], "Q611", "{problem}");
    let Some(cluster) = place.cluster.take() else { return };
    place.cluster = Some(cluster.again());
    let started = std::time::Instant::now();
    while catalog().status() != 200 {
        assert!(started.elapsed().as_secs() < 20, "it does not come back");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn the_program_tells_how_it_is() {
    let vendor = Vendor::new();
    let mut child = vendor_program(&vendor.service_directory())
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = |label: &str| {
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains(label)).unwrap();
        line.split(label).nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let port = said("metrics_port=");
    let address = said("address=");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = common::web::client_of(vendor.service().authority().root());
        let get = async |url: String| {
            let answer = client.get(url).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(get(format!("https://{address}/v1/catalog")).await.0, 200);
        assert_eq!(get(format!("https://{address}/nowhere/at/all")).await.0, 404);
        let (status, health) = get(format!("http://127.0.0.1:{port}/healthz")).await;
        let health: Value = serde_json::from_str(&health).unwrap();
        assert_eq!(
            (status, health),
            (200, serde_json::json!({"status": "ok", "vendor": "contoso", "catalog": 1}))
        );
        let (_, metrics) = get(format!("http://127.0.0.1:{port}/metrics")).await;
        for line in [
            "quorate_vendor_requests_total{route=\"/v1/catalog\",status=\"200\"} 1",
            // What a client makes up is no label.
            "quorate_vendor_requests_total{route=\"\",status=\"404\"} 1",
            // However many connections the client makes of its requests.
            "quorate_vendor_connections_accepted_total ",
        ] {
            assert!(metrics.lines().any(|known| known.starts_with(line)), "{line}\n{metrics}");
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_backup_holds_the_vendor_whole() {
    let vendor = Vendor::new();
    let issued = vendor.key(HOST_KEYS);
    let listed = vendor.run(&["key", "list"]).succeeds();
    let (file, elsewhere) = (vendor.path("vendor.backup"), vendor.path("elsewhere"));
    let file_name = file.to_str().unwrap();
    let out = vendor.run(&["backup", file_name]).succeeds();
    assert_eq!(out, format!("{file_name} holds all of the vendor. Keep it where only you can read it.\n"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    vendor
        .run(&["backup", file_name])
        .fails(&format!("Q606: {file_name} is there already"), "give another name");

    let other = |arguments: &[&str]| Ran::from(vendor_program(&elsewhere).args(arguments));
    other(&["restore", file_name]).succeeds();
    assert_eq!(other(&["key", "list"]).succeeds(), listed);
    let sound = other(&["verify"]).succeeds();
    assert!(sound.starts_with("The database is sound, and the audit log of "), "{sound}");
    // It signs as the vendor: a Confirmation ID from there opens.
    other(&["pack", &issued.id().to_string(), "--out", vendor.path("x.pack").to_str().unwrap()]).succeeds();
    let refused = other(&["restore", file_name]);
    assert!(refused.err.contains("is there already"), "{refused:?}");

    // A journal that was left there would be taken for the restored database's own.
    let beside = vendor.path("beside");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("vendor.db-wal"), "old").unwrap();
    let ran = Ran::from(vendor_program(&beside).args(["restore", file_name]));
    assert!(ran.err.contains("vendor.db-wal is there already"), "{ran:?}");
    assert_eq!(std::fs::read_dir(&beside).unwrap().count(), 1);

    // Whatever else is given is refused, and nothing is written.
    let whole = std::fs::read(&file).unwrap();
    let nowhere = vendor.path("nowhere");
    for (called, content) in
        [("cut off", &whole[..whole.len() / 2]), ("empty", &b""[..]), ("garbage", &[b'x'; 5_000])]
    {
        let bad = vendor.path("bad.backup");
        std::fs::write(&bad, content).unwrap();
        let ran = Ran::from(vendor_program(&nowhere).args(["restore", bad.to_str().unwrap()]));
        assert!(ran.err.contains("is not a whole backup"), "{called}: {ran:?}");
        assert!(!Path::new(&nowhere).exists(), "{called}");
    }
}

#[test]
fn what_postgresql_keeps_it_backs_up_itself() {
    let cluster = Cluster::start();
    let vendor = Vendor::nowhere();
    let root = vendor.path("root");
    let url = cluster.url(&[]);
    let run = |arguments: &[&str]| vendor.run(&[&["--database", url.as_str()], arguments].concat());
    let init =
        ["init", "--vendor", "contoso", "--name", "Contoso", "--url", "https://127.0.0.1", "--root-dir"];
    run(&[&init[..], &[root.to_str().unwrap()]].concat()).succeeds();
    std::fs::write(vendor.products(), common::EXAMPLE).unwrap();
    run(&["product", "import", vendor.products().to_str().unwrap()]).succeeds();
    run(&["key", "issue", "--group", "96"]).succeeds();
    assert_eq!(run(&["key", "list"]).succeeds().lines().count(), 1);
    let file = vendor.path("vendor.backup");
    let out = run(&["backup", file.to_str().unwrap()]).succeeds();
    assert!(out.ends_with("The database is in PostgreSQL: back it up with pg_dump.\n"), "{out}");
    run(&["verify"]).succeeds();
    // A replica on another machine, made of the backup.
    let elsewhere = vendor.path("elsewhere");
    let other = |arguments: &[&str]| Ran::from(vendor_program(&elsewhere).args(arguments));
    let refused = other(&["restore", file.to_str().unwrap()]);
    assert!(refused.err.contains("name that database with --database"), "{refused:?}");
    assert!(!elsewhere.exists());
    other(&["--database", &url, "restore", file.to_str().unwrap()]).succeeds();
    assert_eq!(other(&["--database", &url, "key", "list"]).succeeds().lines().count(), 1);
    // A connection string may hold a password: it is repeated nowhere.
    let wrong = vendor.run(&["--database", "postgres://u:secret@h:port/d", "key", "list"]);
    assert!(!wrong.err.contains("secret") && wrong.err.contains("Q507"), "{wrong:?}");
}

/// One line of the file is another database, for every command; an option comes before it.
#[test]
fn the_configuration_file_is_heeded_by_every_command() {
    let vendor = Vendor::new();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("vendor.toml");
    let path = file.to_str().unwrap();
    let ran = |arguments: &[&str]| {
        Ran::from(vendor_program(&vendor.service_directory()).args(["--config", path]).args(arguments))
    };
    std::fs::write(&file, "[database]\nurl-file = \"url\"\n").unwrap();
    std::fs::write(place.path().join("url"), "postgresql://127.0.0.1:1/none?connect_timeout=1\n").unwrap();
    assert_eq!(ran(&["config", "check"]).succeeds(), format!("{path} is in order.\n"));
    let away = ran(&["product", "history"]);
    assert!(away.err.starts_with("error Q611"), "{away:?}");
    let cluster = Cluster::start();
    std::fs::write(place.path().join("url"), cluster.url(&[])).unwrap();
    let empty = ran(&["product", "history"]);
    assert!(empty.err.starts_with("error Q605"), "{empty:?}");

    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    std::fs::write(&file, format!("[listen]\naddress = \"{address}\"\n")).unwrap();
    let refused = ran(&["serve"]);
    assert!(refused.err.starts_with(&format!("error Q506: cannot listen on {address}: ")), "{refused:?}");
    std::fs::write(&file, format!("[metrics]\naddress = \"{address}\"\n")).unwrap();
    let refused = ran(&["serve", "--listen", "127.0.0.1:0"]);
    let advice = "or choose another port with --metrics, or metrics.address in the configuration file";
    assert!(refused.err.contains(advice), "{refused:?}");
    let elsewhere = ran(&["serve", "--listen", "192.0.2.1:8443"]);
    assert!(elsewhere.err.contains("192.0.2.1:8443"), "{elsewhere:?}");

    std::fs::write(&file, "[listn]\n").unwrap();
    ran(&["product", "history"]).fails(
        &format!("Q209 (0x8007000D): line 1 of {path}: \"listn\" is not a key of this file"),
        "did you mean listen? docs/vendor-config.md has all keys",
    );
}
