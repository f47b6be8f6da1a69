//! Where machines find their host: by setting, from the last time, in DNS; with a real BIND 9 and real hosts.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::bind::Bind;
use common::peers::ClosedPort;
use common::{Host, Pc, Ran, Vendor, quorate};
use quorate_client::discovery::Found;
use quorate_core::Code;
use quorate_core::license_state::LicenseStatus;
use quorate_edge::clock::Clock;
use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_published_under_an_alias_activates() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let port = host.address.port();
    let records = format!("{SRV} 0 0 {port} alias\nalias CNAME other\nother CNAME kms\nkms A 127.0.0.1");
    let bind = Bind::serving(&[(CORP, &records)]);
    assert_eq!(
        pc.activate_by_dns(bind.address, CORP).succeeds(),
        format!("{OFFICE} activated by alias.corp.test:{port} (DNS), count 1 of 1.\n")
    );
    // It is known by the name in the record, so that the alias can be moved.
    assert_eq!(pc.run(&["status"]).line("HOST"), format!("alias.corp.test:{port} (answered last)"));
}

/// The name has an address in each family, and nobody listens at one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_reached_in_whichever_family_it_answers() {
    let mut vendor = Vendor::new("contoso");
    let hosts = [vendor.host().await, vendor.host_at(Ipv6Addr::LOCALHOST.into()).await];
    for host in hosts {
        let pc = Pc::with_product(1, &vendor);
        let port = host.address.port();
        let records = format!("{SRV} 0 0 {port} kms\nkms A 127.0.0.1\nkms AAAA ::1");
        let bind = Bind::serving(&[(CORP, &records)]);
        let client = pc.client_with(&bind.dns(&[CORP]), &Clock::system());
        assert_eq!(
            client.activate().await.unwrap().by_host().unwrap().host.to_string(),
            format!("kms.corp.test:{port}")
        );
        host.stop().await;
        assert_eq!(
            client.activate().await.unwrap_err().what,
            format!(
                "the host cannot be reached at any of its addresses: [::1]:{port}: connection refused; \
                 127.0.0.1:{port}: connection refused"
            )
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_with_nothing_but_ipv6_works() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host_at(Ipv6Addr::LOCALHOST.into()).await);
    let port = host.address.port();
    let bind = Bind::serving(&[(CORP, &format!("{SRV} 0 0 {port} kms\nkms AAAA ::1"))]);
    let server = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bind.address.port());
    assert_eq!(
        pc.activate_by_dns(server, CORP).succeeds(),
        format!("{OFFICE} activated by kms.corp.test:{port} (DNS), count 1 of 1.\n")
    );
    pc.run(&["set-host", &format!("[::1]:{port}")]).succeeds();
    assert_eq!(
        pc.run(&["activate"]).succeeds(),
        format!("{OFFICE} activated by [::1]:{port} (set by hand), count 1 of 1.\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_tried_by_priority_and_in_every_order_within_one() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let records =
        format!("{SRV} 20 0 1688 last\n{SRV} 0 0 1 a\n{SRV} 0 0 2 b\n{SRV} 0 0 3 c\n{SRV} 10 7 4 middle");
    let bind = Bind::serving(&[(CORP, &records)]);
    let client = pc.client_with(&bind.dns(&[CORP]), &Clock::system());
    let mut orders = BTreeSet::new();
    for _ in 0..200 {
        let hosts = client.discover().await.unwrap();
        assert!(hosts.iter().all(|(_, found)| *found == Found::Dns));
        let names: Vec<_> = hosts.iter().map(|(host, _)| host.name.split('.').next().unwrap()).collect();
        assert_eq!(names[3..], ["middle", "last"]);
        orders.insert(names[..3].concat());
    }
    // Each of the six is left out with a chance of less than one in 10^15.
    assert_eq!(Vec::from_iter(orders), ["abc", "acb", "bac", "bca", "cab", "cba"]);
}

/// The answer does not fit in a datagram and is asked for again over TCP.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_hosts_are_all_found() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let records: String = (1..=100).map(|n| format!("{SRV} {n} 0 1688 kms-{n}\n")).collect();
    let bind = Bind::serving(&[(CORP, &records)]);
    let hosts = pc.client_with(&bind.dns(&[CORP]), &Clock::system()).discover().await.unwrap();
    let names: Vec<_> = hosts.into_iter().map(|(host, _)| host.name).collect();
    assert_eq!(names, Vec::from_iter((1..=100).map(|n| format!("kms-{n}.corp.test"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_domain_with_a_host_is_the_one() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let published = |name: &str| format!("{SRV} 0 0 1688 {name}");
    let bind = Bind::serving(&[(EMPTY, ""), (CORP, &published("one")), ("two.test", &published("two"))]);
    let server = bind.address.to_string();
    // A domain for which the server fails, or which it refuses, does not end the look.
    for first in [EMPTY, "broken.test", "elsewhere.test"] {
        let arguments = [
            "--dns-server",
            &server,
            "--domain",
            first,
            "--domain",
            CORP,
            "--domain",
            "two.test",
            "discover",
        ];
        assert_eq!(pc.run(&arguments).succeeds(), format!("{OFFICE} one.corp.test:1688 (DNS)\n"));
    }
    let mut command = quorate(&pc.state(), &pc.machine_file());
    command.env("QUORATE_DNS_SERVER", server).env("QUORATE_DOMAIN", "empty.test,two.test").arg("discover");
    assert_eq!(Ran::from(&mut command).succeeds(), format!("{OFFICE} two.two.test:1688 (DNS)\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_hosts_are_struck_and_another_is_drawn() {
    let mut vendor = Vendor::new("contoso");
    let (host, dead) = (vendor.host().await, [ClosedPort::new(), ClosedPort::new(), ClosedPort::new()]);
    let port = host.address.port();
    let mut records = format!("{SRV} 0 1 {port} kms\nkms A 127.0.0.1\n");
    for (number, dead) in dead.iter().enumerate() {
        records += &format!("{SRV} 0 100 {} dead-{number}\ndead-{number} A 127.0.0.1\n", dead.address.port());
    }
    let bind = Bind::serving(&[(CORP, &records)]);
    for number in 1..=5 {
        let pc = Pc::with_product(number, &vendor);
        let client = pc.client_with(&bind.dns(&[CORP]), &Clock::system());
        assert_eq!(
            client.activate().await.unwrap().by_host().unwrap().host.to_string(),
            format!("kms.corp.test:{port}")
        );
        assert_eq!(pc.license(), LicenseStatus::Licensed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_that_answered_last_goes_first_and_dns_is_asked_again_when_it_dies() {
    let mut vendor = Vendor::new("contoso");
    let (pc, first, second) = (Pc::with_product(1, &vendor), vendor.host().await, vendor.host().await);
    let record = |host: &Host, priority, name: &str| {
        format!("{SRV} {priority} 0 {} {name}\n{name} A 127.0.0.1\n", host.address.port())
    };
    let before = Bind::serving(&[(CORP, &record(&first, 0, "one"))]);
    let client = pc.client_with(&before.dns(&[CORP]), &Clock::system());
    assert_eq!(client.activate().await.unwrap().by_host().unwrap().found, Found::Dns);
    let after = Bind::serving(&[(CORP, &(record(&first, 10, "one") + &record(&second, 0, "two")))]);
    let client = pc.client_with(&after.dns(&[CORP]), &Clock::system());
    let asked = |activated: quorate_client::activation::Activated| {
        (activated.by_host().unwrap().found, activated.by_host().unwrap().host.name.clone())
    };
    assert_eq!(asked(client.activate().await.unwrap()), (Found::Cached, "one.corp.test".to_owned()));
    first.stop().await;
    assert_eq!(asked(client.activate().await.unwrap()), (Found::Dns, "two.corp.test".to_owned()));
    assert_eq!(asked(client.activate().await.unwrap()), (Found::Cached, "two.corp.test".to_owned()));
}

/// By hand, then the environment, then the machine's file, then DNS; each shown as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_setting_names_the_host() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let address = host.address;
    let records = format!("{SRV} 0 0 {} kms\nkms A 127.0.0.1", address.port());
    let bind = Bind::serving(&[(CORP, &records)]);
    let run = |variable: &str, argument: &str| {
        let mut command = quorate(&pc.state(), &pc.machine_file());
        command.env("QUORATE_DNS_SERVER", bind.address.to_string()).env("QUORATE_DOMAIN", CORP);
        Ran::from(command.env("QUORATE_HOST", variable).arg(argument))
    };
    let gone = ClosedPort::new().address.to_string();
    let file = pc.state().with_file_name("host");
    assert_eq!(run("", "discover").succeeds(), format!("{OFFICE} kms.corp.test:{} (DNS)\n", address.port()));
    std::fs::write(&file, format!("{address}\n")).unwrap();
    assert_eq!(run("", "discover").succeeds(), format!("{OFFICE} {address} (this machine's host file)\n"));
    assert_eq!(
        run("", "activate").succeeds(),
        format!("{OFFICE} activated by {address} (this machine's host file), count 1 of 1.\n")
    );
    std::fs::write(&file, &gone).unwrap();
    let variable = address.to_string();
    assert_eq!(
        run(&variable, "activate").succeeds(),
        format!("{OFFICE} activated by {address} (environment variable QUORATE_HOST), count 1 of 1.\n")
    );
    assert_eq!(
        run(&variable, "status").line("HOST"),
        format!("{address} (environment variable QUORATE_HOST)")
    );
    // The host in the file is the only one asked, though another is known and published.
    run("", "activate").is_not_renewed(
        &format!("Q502 (0xC004F074): the host at {gone} cannot be reached: connection refused"),
        "see that it runs (`quorate-host serve`) and that the firewall lets its TCP port through",
    );
    pc.run(&["set-host", &variable]).succeeds();
    assert_eq!(run(&gone, "discover").succeeds(), format!("{OFFICE} {address} (set by hand)\n"));
    assert_eq!(run("not a host", "activate").status, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_no_host_is_said_by_every_command_that_needs_it() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let file = pc.state().with_file_name("host");
    std::fs::write(&file, "kms:0\n").unwrap();
    let what = format!("{}: \"kms:0\" is not a host: a port is a number from 1 to 65535", file.display());
    let next = "write it as in \"kms.example.com\", \"192.0.2.10:1688\" or \"[2001:db8::10]:1688\"";
    pc.run(&["discover"]).fails(&format!("Q507: {what}"), next);
    pc.run(&["activate"]).is_not_activated(&format!("Q507: {what}"), next);
    assert_eq!(pc.run(&["status"]).line("HOST"), format!("({what})"));
    let error = pc.client(&Clock::system()).with_host_file(file).discover().await.unwrap_err();
    assert_eq!((error.code, error.what), (Code::AddressInvalid, what));
}

const CORP: &str = "corp.test";
const EMPTY: &str = "empty.test";
const SRV: &str = "_contoso-kms._tcp SRV";
const OFFICE: &str = "Contoso Office, Standard edition:";
