//! What a machine says when DNS has no host for it, fails, or lies; with a real BIND 9.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::bind::Bind;
use common::peers::{SilentNameServer, plain_http};
use common::{Hands, Pc, Ran, Vendor};
use quorate_client::discovery::Found;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Interval};
use quorate_edge::clock::Clock;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Each way to have no host has its own words.
#[tokio::test(flavor = "multi_thread")]
async fn negative_answers_are_told_apart() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let bind = Bind::serving(&[
        ("empty.test", ""),
        ("text.test", "_contoso-kms._tcp TXT \"not an SRV record\""),
        ("none.test", "_contoso-kms._tcp SRV 0 0 0 ."),
        ("odd.test", "_contoso-kms._tcp SRV 0 0 1688 no\\032host"),
    ]);
    for (domains, what) in [
        (&["empty.test"][..], "_contoso-kms._tcp.empty.test. does not exist"),
        (&["text.test"], "_contoso-kms._tcp.text.test. has no such record"),
        (&["none.test"], "_contoso-kms._tcp.none.test. says that there is no such service here"),
        (&["odd.test"], "_contoso-kms._tcp.odd.test. names nothing that could be a host"),
        (
            &["empty.test", "text.test"],
            "_contoso-kms._tcp.empty.test. does not exist; _contoso-kms._tcp.text.test. has no such record",
        ),
    ] {
        look(&pc, &bind.address.to_string(), domains).is_not_activated(
            &format!("Q501 (0x8007232B): no host is published in DNS: {what}"),
            "publish the host there, or set it by hand: `quorate set-host HOST`",
        );
    }
    assert_eq!(pc.license(), LicenseStatus::InitialGrace);
}

/// A server that does not know is not a server that says no.
#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_name_server_are_told_apart() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let bind = Bind::serving(&[("empty.test", ""), ("corp.test", "branch NS ns.elsewhere.test.")]);
    let address = bind.address.to_string();
    for (domains, what) in [
        (&["elsewhere.test"][..], "refused (REFUSED) when asked for _contoso-kms._tcp.elsewhere.test."),
        (&["broken.test"], "failed (SERVFAIL) when asked for _contoso-kms._tcp.broken.test."),
        (
            &["branch.corp.test"],
            "only referred to other name servers when asked for _contoso-kms._tcp.branch.corp.test.",
        ),
        // Whether there is a host is open while one of them is.
        (
            &["empty.test", "broken.test", "elsewhere.test"],
            "failed (SERVFAIL) when asked for _contoso-kms._tcp.broken.test.",
        ),
    ] {
        look(&pc, &address, domains)
            .is_not_activated(&format!("Q503 (0x8007267C): {address} {what}"), BY_ADDRESS);
    }
    let server = SilentNameServer::new().await;
    let silent = server.address.to_string();
    look(&pc, &silent, &["one.test", "two.test"]).is_not_activated(
        &format!(
            "Q503 (0x8007267C): {silent} did not answer within 4 seconds when asked for \
             _contoso-kms._tcp.one.test."
        ),
        BY_ADDRESS,
    );
}

/// Who can write to DNS can send machines anywhere, and gains nothing by it.
#[tokio::test(flavor = "multi_thread")]
async fn lying_records_activate_nothing() {
    let (mut vendor, mut impostor) = (Vendor::new("contoso"), Vendor::new("contoso"));
    let (wrong_root, other_vendor) = (impostor.host().await, Vendor::new("fabrikam").host().await);
    let pc = Pc::with_product(1, &vendor);
    let web = plain_http();
    let lies = [
        (
            web.port(),
            "web",
            format!(
                "Q505: what answers at {web} is not an activation host: \
                 received corrupt message of type InvalidContentType"
            ),
            "compare address and port; the usual port is 1688".to_owned(),
        ),
        (
            wrong_root.address.port(),
            "impostor",
            format!(
                "Q201: the host at {} is not believed: the certificate does not chain to the root of vendor \
                 contoso",
                wrong_root.address
            ),
            format!(
                "this machine trusts the root with SHA-256 {}…; ask the vendor for its own",
                vendor.fingerprint()
            ),
        ),
        (
            other_vendor.address.port(),
            "other",
            format!(
                "Q302 (0xC004F041): the host at {} has no activated key of vendor contoso",
                other_vendor.address
            ),
            "activate the host (`quorate-host ato`), or set another".to_owned(),
        ),
        (
            1688,
            "nowhere",
            "Q502 (0xC004F074): the host's name nowhere.corp.test has no address in DNS".to_owned(),
            "compare the name, or set the host by its IP address: `quorate set-host ADDRESS`".to_owned(),
        ),
    ];
    let mut all = String::new();
    for (port, name, what, next) in &lies {
        let mut records = format!("_contoso-kms._tcp SRV 0 0 {port} {name}\n");
        if *name != "nowhere" {
            records += &format!("{name} A 127.0.0.1\n");
        }
        let bind = Bind::serving(&[("corp.test", &records)]);
        look(&pc, &bind.address.to_string(), &["corp.test"]).is_not_activated(what, next);
        assert_eq!(pc.license(), LicenseStatus::InitialGrace);
        assert_eq!(pc.run(&["status"]).line("HOST"), "(none yet; looked for in DNS)");
        all += &records;
    }
    // Of all together, what came nearest to a host is told.
    let bind = Bind::serving(&[("corp.test", &all)]);
    let (_, _, what, next) = &lies[2];
    look(&pc, &bind.address.to_string(), &["corp.test"]).is_not_activated(what, next);
    // One true host behind all of them is found.
    let host = vendor.host().await;
    all += &format!("_contoso-kms._tcp SRV 10 0 {} kms\nkms A 127.0.0.1\n", host.address.port());
    let bind = Bind::serving(&[("corp.test", &all)]);
    let activated = pc.client_with(&bind.dns(&["corp.test"]), &Clock::system()).activate().await.unwrap();
    assert_eq!(
        (activated.by_host().unwrap().found, &activated.by_host().unwrap().host.name[..]),
        (Found::Dns, "kms.corp.test")
    );
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

/// DNS that has nothing better does not cover up what is wrong with the host that answered last.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_cached_host_says_is_told_when_dns_has_none() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host, hands) = (Pc::with_product(1, &vendor), vendor.host().await, Hands::new());
    let (port, records) = (host.address.port(), "kms A 127.0.0.1");
    let with = format!("_contoso-kms._tcp SRV 0 0 {port} kms\n{records}");
    let bind = Bind::serving(&[("corp.test", &with), ("empty.test", records)]);
    pc.client_with(&bind.dns(&["corp.test"]), &hands.clock()).activate().await.unwrap();
    let client = pc.client_with(&bind.dns(&["empty.test"]), &hands.clock());
    hands.forward(Interval::minutes(250));
    assert_eq!(client.activate().await.unwrap_err().code, Code::ClockSkew);
    host.stop().await;
    let error = client.activate().await.unwrap_err();
    assert_eq!(error.code, Code::NoHostFound);
    assert_eq!(
        error.what,
        format!(
            "kms.corp.test:{port}, which answered last time, cannot be reached; and no host is published in \
             DNS: _contoso-kms._tcp.empty.test. does not exist"
        )
    );
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

/// A host that has failed is left out of the same round, though DNS names it too.
#[tokio::test(flavor = "multi_thread")]
async fn a_cached_host_that_failed_is_not_asked_twice() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let address = host.address;
    let records = format!("_contoso-kms._tcp SRV 0 0 {} kms\nkms A 127.0.0.1", address.port());
    let bind = Bind::serving(&[("corp.test", &records)]);
    let client = pc.client_with(&bind.dns(&["corp.test"]), &Clock::system());
    client.activate().await.unwrap();
    host.stop().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let (listener, counted) = (TcpListener::bind(address).unwrap(), calls.clone());
    // It hangs up at once, and lives as long as the program of tests.
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert_eq!(client.activate().await.unwrap_err().code, Code::NotAHost);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// `quorate activate` with this name server and these domains.
fn look(pc: &Pc, server: &str, domains: &[&str]) -> Ran {
    let mut arguments = vec!["--dns-server", server];
    for domain in domains {
        arguments.extend(["--domain", domain]);
    }
    arguments.push("activate");
    pc.run(&arguments)
}

const BY_ADDRESS: &str = "try again, or set the host by its IP address: `quorate set-host ADDRESS`";
