//! Running the service: metrics and health, a database that is down, the configuration file.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::cluster::Cluster;
use common::web::{Web, parts};
use common::{Ran, Vendor, vendor_program};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::Stdio;

/// While its database is down, every request is told so; when it is back, service goes on by itself.
#[test]
fn a_database_that_is_down_is_named() {
    let mut place = common::place::Place::in_postgres();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let web = runtime.block_on(Web::serve_service(place.service()));
    let catalog = || runtime.block_on(async { web.get("/v1/catalog").await });
    assert_eq!(catalog().status(), 200);
    place.cluster.as_mut().unwrap().kill();
    // The processes of the server end one after the other; the last may answer once more.
    let started = std::time::Instant::now();
    while catalog().status() == 200 {
        assert!(started.elapsed().as_secs() < 20, "it does not notice");
    }
    let (status, kind, problem) = runtime.block_on(async { parts(web.get("/v1/catalog").await).await });
    assert_eq!((status, kind.as_str()), (503, "application/problem+json"));
    // In words for a customer; the vendor's own programs are told what is wrong.
    assert_eq!(problem["code"], "Q412", "{problem}");
    assert_eq!(
        problem["detail"], "the vendor's activation service cannot answer for the moment (Q611 there)",
        "{problem}"
    );
    let next = problem["next"].as_str().unwrap();
    assert!(next.starts_with("try again later: nothing is used up"), "{problem}");
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
    let vendor = Vendor::without_products();
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
        let (status, health) = get(format!("http://127.0.0.1:{port}/healthz")).await;
        assert!(status == 503 && health.contains("Q605"), "{status} {health}");
        vendor.import(common::EXAMPLE.as_bytes()).succeeds();
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
