//! What an operator asks a host: metrics, health, and what tools of gRPC ask any server.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::sandbox::Sandbox;
use common::wire::{ask, closed_within};
use common::{AtWork, Host, OFFICE, PROGRAM, Site, request, until};
use quorate_core::Code;
use quorate_proto::v1::ActivateRequest;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use yaml_rust2::{Yaml, YamlLoader};

const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

#[tokio::test]
async fn metrics_tell_what_has_happened() {
    let at_work = AtWork::start(&METRICS).await;
    let (site, host) = (&at_work.site, &at_work.host);
    let skewed = ActivateRequest { client_time_ms: 0, license_status: 1, ..request() };
    assert_eq!(site.send(host.address, skewed).await.unwrap_err().code, Code::ClockSkew);
    let made_up = "11111111-2222-4333-8444-555555555555".to_owned();
    let elsewhere = ActivateRequest { application_id: made_up.clone(), license_status: 99, ..request() };
    assert!(site.send(host.address, elsewhere).await.is_err());
    let clone = ActivateRequest { hardware_id: vec![7; 32], ..request() };
    site.send(host.address, clone.clone()).await.unwrap();
    site.send(host.address, ActivateRequest { hardware_id: vec![8; 32], ..clone }).await.unwrap();
    let mut garbage = TcpStream::connect(host.address).await.unwrap();
    garbage.write_all(b"hello\r\n").await.unwrap();
    closed_within(Duration::from_secs(3), &mut garbage).await;

    let text = body(&get(monitoring(host), "/metrics").await);
    let value = |name: &str| value(&text, name);
    let of_office = format!("vendor=\"contoso\",application=\"{OFFICE}\"");
    let requests = |result: &str, account: &str, status: &str| {
        value(&format!(
            "quorate_host_requests_total{{result=\"{result}\",{account},license_status=\"{status}\"}}"
        ))
    };
    assert_eq!(requests("0", &of_office, "Initial grace period"), Some(4.0), "{text}");
    assert_eq!(requests("Q304", &of_office, "Licensed"), Some(1.0), "{text}");
    // What a client made up is no label.
    assert!(!text.contains(&made_up), "{text}");
    assert_eq!(requests("Q306", "vendor=\"\",application=\"\"", ""), Some(1.0), "{text}");
    assert_eq!(value(&format!("quorate_host_machines{{{of_office}}}")), Some(3.0));
    assert_eq!(value(&format!("quorate_host_clones_total{{{of_office}}}")), Some(1.0));
    assert_eq!(value("quorate_host_connections_accepted_total"), Some(7.0));
    assert_eq!(value("quorate_host_handshake_failures_total"), Some(1.0));
    assert_eq!(value("quorate_host_connections_turned_away_total{reason=\"address\"}"), Some(0.0));
    assert_eq!(value("quorate_host_ledger_waiting"), Some(0.0));
    assert!(value("quorate_host_ledger_commit_seconds_count") >= Some(4.0));
    assert_eq!(value("quorate_host_usable_keys{vendor=\"contoso\"}"), Some(1.0));
    assert_eq!(value("quorate_host_revocation_list_number{vendor=\"contoso\"}"), Some(1.0), "{text}");
    let key = site.key.id();
    let ends =
        format!("quorate_host_certificate_expiry_timestamp_seconds{{vendor=\"contoso\",key=\"{key}\"}}");
    let now = quorate_edge::clock::Clock::system().now().as_second() as f64;
    assert!(value(&ends) > Some(now), "{text}");
    assert_eq!(value("quorate_host_build_info{version=\"0.1.0\"}"), Some(1.0));
    for secret in ["pc-1", &site.key.reveal()] {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }
    at_work.site.count();
}

/// Machines that were counted before are in the metrics of a host that was just started.
#[tokio::test]
async fn machines_are_told_before_anybody_asks() {
    let mut at_work = AtWork::start(&[]).await;
    at_work.host.kill();
    at_work.host = at_work.site.serve(&METRICS);
    let name = format!("quorate_host_machines{{vendor=\"contoso\",application=\"{OFFICE}\"}}");
    let address = monitoring(&at_work.host);
    until("the machines are told", async || {
        value(&body(&get(address, "/metrics").await), &name) == Some(2.0)
    })
    .await;
}

#[tokio::test]
async fn every_metric_is_described_and_every_alert_asks_for_one_that_is_there() {
    let unreachable = ["--dns-server", "127.0.0.1:1", "--host-name", "kms.test", "--publish", "site.test"];
    let at_work = AtWork::start(&[&METRICS[..], &unreachable].concat()).await;
    let mut names = BTreeSet::new();
    until("the attempt to publish is told", async || {
        let text = body(&get(monitoring(&at_work.host), "/metrics").await);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names = types.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        text.contains("quorate_host_dns_failures_total{domain=\"site.test\"} 1")
    })
    .await;
    let described = repository("docs/monitoring.md");
    let rows = described.lines().filter_map(|line| line.strip_prefix("| `quorate_"));
    let rows: BTreeSet<String> =
        rows.map(|row| format!("quorate_{}", row.split('`').next().unwrap())).collect();
    assert_eq!(names, rows, "what is exported, and what docs/monitoring.md describes");

    let alerts = YamlLoader::load_from_str(&repository("packaging/prometheus/alerts.yml")).unwrap();
    let rules = alerts[0]["groups"][0]["rules"].as_vec().unwrap();
    for rule in rules {
        let (alert, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        assert!(!matches!(rule["annotations"]["summary"], Yaml::BadValue), "{alert} says what it is");
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let mut asked = words.filter(|word| word.starts_with("quorate_")).peekable();
        assert!(asked.peek().is_some() || expression.starts_with("up{"), "{alert}: {expression}");
        for word in asked {
            let histogram = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(names.contains(histogram), "{alert} asks for {word}");
        }
    }
    assert!(rules.len() >= 8);
}

#[tokio::test]
async fn a_host_without_a_key_is_not_healthy() {
    let at_work = AtWork::start(&METRICS).await;
    let (site, host) = (&at_work.site, &at_work.host);
    let healthy = get(monitoring(host), "/healthz").await;
    assert!(healthy.starts_with("HTTP/1.1 200 "), "{healthy}");
    assert_eq!(body(&healthy), "{\"status\":\"ok\",\"vendors\":[\"contoso\"]}\n");
    let mut requests = site.http2(host.address).await;
    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "quorate.v1.Activation"] {
        let answer: HealthCheckResponse = ask(&mut requests, CHECK, &check(service)).await.unwrap();
        assert_eq!(answer.status, 1, "SERVING");
    }
    let unknown = ask::<HealthCheckResponse>(&mut requests, CHECK, &check("another")).await;
    assert_eq!(unknown.unwrap_err(), "5", "NOT_FOUND");
    let watch = ask::<HealthCheckResponse>(&mut requests, "/grpc.health.v1.Health/Watch", &check("")).await;
    assert_eq!(watch.unwrap_err(), "12", "UNIMPLEMENTED");

    assert!(site.run(&["upk"]).status.success());
    until("it is told", async || get(monitoring(host), "/healthz").await.starts_with("HTTP/1.1 503 ")).await;
    let sick = get(monitoring(host), "/healthz").await;
    assert!(sick.contains("content-type: application/problem+json"), "{sick}");
    let problem: serde_json::Value = serde_json::from_str(&body(&sick)).unwrap();
    assert_eq!(problem["code"], "Q302");
    assert_eq!(problem["detail"], "this host has no activated key that may answer");
    let answer: HealthCheckResponse = ask(&mut requests, CHECK, &check("")).await.unwrap();
    assert_eq!(answer.status, 2, "NOT_SERVING");
}

#[tokio::test]
async fn a_host_on_a_full_disk_is_not_healthy_until_there_is_room() {
    let site = Site::activated();
    let mut sandbox = Sandbox::new();
    let directory = site.directory.path().join("full");
    sandbox.mount("1m", &directory, &site.host_directory());
    let log = site.directory.path().join("full.log");
    let place = directory.display();
    sandbox.succeed(&format!(
        "env -i '{PROGRAM}' --dir '{place}' serve --listen 127.0.0.1:0 --metrics 127.0.0.1:0 2>'{}' &",
        log.display()
    ));
    common::listening_port(&log, || false);
    let address = metrics_address(&std::fs::read_to_string(&log).unwrap());
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
    sandbox.run(&format!("cat /dev/zero > '{place}/filler'"));
    // The database may have a little room left in what it has already.
    until("it is told", async || get(address, "/healthz").await.starts_with("HTTP/1.1 503 ")).await;
    let problem: serde_json::Value = serde_json::from_str(&body(&get(address, "/healthz").await)).unwrap();
    assert_eq!(problem["code"], "Q603");
    sandbox.succeed(&format!("rm '{place}/filler'"));
    until("it is well", async || get(address, "/healthz").await.starts_with("HTTP/1.1 200 ")).await;
}

#[tokio::test]
async fn a_tool_learns_what_can_be_called() {
    let at_work = AtWork::start(&[]).await;
    let mut requests = at_work.site.http2(at_work.host.address).await;
    let question = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let list = question(MessageRequest::ListServices(String::new()));
    let answer: ServerReflectionResponse = ask(&mut requests, path, &list).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!() };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["quorate.v1.Activation", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let symbol = question(MessageRequest::FileContainingSymbol("quorate.v1.Activation".to_owned()));
    let answer: ServerReflectionResponse = ask(&mut requests, path, &symbol).await.unwrap();
    let Some(MessageResponse::FileDescriptorResponse(file)) = answer.message_response else { panic!() };
    let name = b"ActivateRequest";
    assert!(file.file_descriptor_proto[0].windows(name.len()).any(|part| part == name));
}

#[tokio::test]
async fn only_what_is_there_is_answered_and_only_for_reading() {
    let at_work = AtWork::start(&METRICS).await;
    let address = monitoring(&at_work.host);
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404 "));
    assert!(say(address, "POST", "/metrics").await.starts_with("HTTP/1.1 405 "));
    assert_eq!(body(&say(address, "HEAD", "/metrics").await), "");
    // One directory has one daemon; this is about the address.
    let taken = Site::new().run(&["serve", "--listen", "127.0.0.1:0", "--metrics", &address.to_string()]);
    let said = common::stderr(&taken);
    assert!(said.contains("error Q506"), "{said}");
    assert!(said.contains("with --metrics, or metrics.address in the configuration file"), "{said}");
}

/// Where the second listener of a host is.
fn monitoring(host: &Host) -> SocketAddr {
    metrics_address(&host.log())
}

fn metrics_address(log: &str) -> SocketAddr {
    let (_, port) = log.split_once("metrics_port=").unwrap();
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

async fn get(address: SocketAddr, path: &str) -> String {
    say(address, "GET", path).await
}

/// A request in the plainest HTTP, and everything that comes back.
async fn say(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8(closed_within(Duration::from_secs(10), &mut stream).await).unwrap()
}

fn body(response: &str) -> String {
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

fn repository(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

const CHECK: &str = "/grpc.health.v1.Health/Check";
