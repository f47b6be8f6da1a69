//! What `quorate activate` says when no host answers as a host should, and that a license held so far
//! outlives it.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::name_server::{DOMAIN, NameServer};
use common::peers::{ClosedPort, SilentNameServer, SilentPort, plain_http, slow};
use common::{Hands, Host, Pc, Vendor};
use quorate_client::discovery::Found;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Interval};
use quorate_edge::clock::Clock;
use quorate_edge::server;
use quorate_proto::v1::activation_server::Activation;
use quorate_proto::v1::{ActivateRequest, ActivateResponse};
use std::net::Ipv4Addr;
use tonic::{Request, Response, Status};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_cannot_be_reached() {
    let (pc, closed) = (Pc::with_product(1, &Vendor::new("contoso")), ClosedPort::new());
    pc.activate_at(closed.address).is_not_activated(
        &format!("Q502 (0xC004F074): the host at {} cannot be reached: connection refused", closed.address),
        RUNS,
    );
    let status = pc.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---OOB_GRACE---");
    assert_eq!(status.line("ERROR CODE"), "Q502 (0xC004F074)");
    assert_eq!(status.line("NEXT"), RUNS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_without_tls_is_not_a_host() {
    let (pc, address) = (Pc::with_product(1, &Vendor::new("contoso")), plain_http());
    pc.activate_at(address).is_not_activated(
        &format!(
            "Q505: what answers at {address} is not an activation host: \
             received corrupt message of type InvalidContentType"
        ),
        COMPARE,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_port_is_given_up_after_five_seconds() {
    let (pc, silent) = (Pc::with_product(1, &Vendor::new("contoso")), SilentPort::new());
    pc.activate_at(silent.address).is_not_activated(
        &format!(
            "Q505: what answers at {} is not an activation host: no TLS within 5 seconds",
            silent.address
        ),
        COMPARE,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_an_impostor_is_not_believed() {
    let (vendor, mut impostor) = (Vendor::new("contoso"), Vendor::new("contoso"));
    let (pc, host) = (Pc::with_product(1, &vendor), impostor.host().await);
    pc.activate_at(host.address).is_not_activated(
        &format!(
            "Q201: the host at {} is not believed: the certificate does not chain to the root of vendor contoso",
            host.address
        ),
        &format!(
            "this machine trusts the root with SHA-256 {}…; ask the vendor for its own",
            vendor.fingerprint()
        ),
    );
}

/// The vendor's own web service has a certificate under the same root, for another name.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_vendor_is_not_its_host() {
    let vendor = Vendor::new("contoso");
    let pc = Pc::with_product(1, &vendor);
    let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = vendor.service.authority().service_tls("127.0.0.1", Clock::system().now()).unwrap();
    tokio::spawn(quorate_vendor::command::serve(vendor.service, tls, listener, std::future::pending()));
    pc.activate_at(address).is_not_activated(
        &format!(
            "Q203: the host at {address} is not believed: \
             the certificate is not made out for contoso.host.quorate.internal"
        ),
        "it belongs to another vendor or another role; ask who runs the machine at this address",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_an_activated_key_of_the_vendor_says_so() {
    let vendor = Vendor::new("contoso");
    let (without_key, of_another) = (Host::without_key().await, Vendor::new("fabrikam").host().await);
    for host in [without_key, of_another] {
        Pc::with_product(1, &vendor).activate_at(host.address).is_not_activated(
            &format!(
                "Q302 (0xC004F041): the host at {} has no activated key of vendor contoso",
                host.address
            ),
            "activate the host (`quorate-host ato`), or set another",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_certificate_has_ended_is_not_believed() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let hands = Hands::new();
    let client = pc.client_of(&host, &hands.clock());
    client.activate().await.unwrap();
    // Past the certificate's five years, within the ten of what signed it.
    hands.forward(Interval::days(5 * 365 + 1));
    let error = client.activate().await.unwrap_err();
    assert_eq!(error.code, Code::CertificateExpired);
    let start = format!("the host at {} is not believed: the certificate ended at ", host.address);
    assert!(error.what.starts_with(&start), "{}", error.what);
    assert!(error.what.ends_with(&format!("; the clock here says {}", hands.now())), "{}", error.what);
    assert_eq!(error.next, "compare this machine's clock; if it is right, the certificate must be renewed");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_more_than_four_hours_are_refused_with_both_times() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let hands = Hands::new();
    let client = pc.client_of(&host, &hands.clock());
    hands.forward(Interval::minutes(4 * 60 + 10));
    let error = client.activate().await.unwrap_err();
    assert_eq!(error.code, Code::ClockSkew);
    let (start, client_says) = (" minutes apart, 240 are allowed: ", format!("{:.0}", hands.now()));
    assert!(error.what.contains(&format!("{start}the client's says {client_says}, the host's ")), "{error}");
    assert_eq!(error.next, "set the clock that is wrong");
    // Three hours are well.
    hands.back(Interval::minutes(70));
    client.activate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_leaves_the_license_as_it_was() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let address = host.address;
    pc.activate_at(address).succeeds();
    let license = pc.run(&["status"]);
    host.stop().await;
    pc.run(&["activate"]).is_not_renewed(
        &format!("Q502 (0xC004F074): the host at {address} cannot be reached: connection refused"),
        RUNS,
    );
    let after = pc.run(&["status"]);
    assert_eq!(after.line("LICENSE STATUS"), "---LICENSED---");
    assert_eq!(after.line("ERROR CODE"), "Q502 (0xC004F074)");
    for same in ["PRODUCT ID", "CLIENT MACHINE ID", "HOST"] {
        assert_eq!(after.line(same), license.line(same));
    }
}

/// What a host of the vendor may do that has gone wrong behind its certificate.
#[derive(Clone, Copy)]
enum Wayward {
    NeverAnswers,
    AnswersNoDocument,
    FailsWithoutCode,
}

#[tonic::async_trait]
impl Activation for Wayward {
    async fn activate(&self, _: Request<ActivateRequest>) -> Result<Response<ActivateResponse>, Status> {
        match self {
            Self::NeverAnswers => std::future::pending().await,
            Self::AnswersNoDocument => Ok(Response::new(ActivateResponse {
                response: "no document".into(),
                revocations: String::new(),
            })),
            Self::FailsWithoutCode => Err(Status::internal("out of order")),
        }
    }
}

/// Whatever answers in the host's place, the license held so far stays, and each has an error of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_takes_no_license_away() {
    let mut vendor = Vendor::new("contoso");
    let pc = Pc::with_product(1, &vendor);
    let host = vendor.host().await;
    pc.activate_at(host.address).succeeds();
    let license = pc.run(&["status"]);
    let wayward = async |vendor: &mut Vendor, how| vendor.host().await.replaced_by(how).await;
    let silent = SilentPort::new();
    for (address, what, next) in [
        (
            wayward(&mut vendor, Wayward::NeverAnswers).await,
            "Q502 (0xC004F074): the host at ADDRESS cannot be reached: no answer within 5 seconds",
            RUNS,
        ),
        (
            wayward(&mut vendor, Wayward::AnswersNoDocument).await,
            "Q209 (0x8007000D): the host's answer is not to be read: this is not an activation response (InvalidToken)",
            "report this to whoever runs the host",
        ),
        (
            wayward(&mut vendor, Wayward::FailsWithoutCode).await,
            "Q505: what answers at ADDRESS is not an activation host: it answered Internal",
            COMPARE,
        ),
        (
            slow(host.address),
            "Q505: what answers at ADDRESS is not an activation host: no TLS within 5 seconds",
            COMPARE,
        ),
        (
            silent.address,
            "Q505: what answers at ADDRESS is not an activation host: no TLS within 5 seconds",
            COMPARE,
        ),
        (
            plain_http(),
            "Q505: what answers at ADDRESS is not an activation host: received corrupt message of type \
             InvalidContentType",
            COMPARE,
        ),
    ] {
        pc.activate_at(address).is_not_renewed(&what.replace("ADDRESS", &address.to_string()), next);
        let after = pc.run(&["status"]);
        for same in ["LICENSE STATUS", "PRODUCT ID", "CLIENT MACHINE ID"] {
            assert_eq!(after.line(same), license.line(same));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_in_which_no_host_is_published_is_named() {
    let (pc, names) = (Pc::with_product(1, &Vendor::new("contoso")), NameServer::publishing(&[]).await);
    pc.activate_by_dns(names.address, DOMAIN).is_not_activated(
        "Q501 (0x8007232B): no host is published in DNS: _contoso-kms._tcp.corp.test. does not exist",
        "publish the host there, or set it by hand: `quorate set-host HOST`",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_refuses_is_named() {
    let (pc, names) = (Pc::with_product(1, &Vendor::new("contoso")), NameServer::publishing(&[]).await);
    pc.activate_by_dns(names.address, "elsewhere.test").is_not_activated(
        &format!(
            "Q503 (0x8007267C): {} refused (REFUSED) when asked for _contoso-kms._tcp.elsewhere.test.",
            names.address
        ),
        BY_ADDRESS,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_never_answers_is_given_up() {
    let (pc, names) = (Pc::with_product(1, &Vendor::new("contoso")), SilentNameServer::new().await);
    let started = std::time::Instant::now();
    pc.activate_by_dns(names.address, DOMAIN).is_not_activated(
        &format!(
            "Q503 (0x8007267C): {} did not answer within 4 seconds when asked for _contoso-kms._tcp.corp.test.",
            names.address
        ),
        BY_ADDRESS,
    );
    let took = started.elapsed().as_secs_f32();
    assert!((3.5..20.0).contains(&took), "took {took} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_is_not_there_is_named() {
    let (pc, closed) = (Pc::with_product(1, &Vendor::new("contoso")), ClosedPort::new());
    let ran = pc.activate_by_dns(closed.address, DOMAIN);
    assert!(ran.err.starts_with(&format!("error Q503 (0x8007267C): {} ", closed.address)), "{ran:?}");
    assert!(ran.err.ends_with(&format!("\nnext: {BY_ADDRESS}\n")), "{ran:?}");
    assert_eq!(ran.status, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_without_an_address_is_named() {
    let (pc, names) = (Pc::with_product(1, &Vendor::new("contoso")), NameServer::publishing(&[]).await);
    pc.run(&["set-host", "kms.corp.test"]).succeeds();
    pc.activate_by_dns(names.address, DOMAIN).is_not_activated(
        "Q502 (0xC004F074): the host's name kms.corp.test has no address in DNS",
        "compare the name, or set the host by its IP address: `quorate set-host ADDRESS`",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_is_drawn_when_the_first_is_dead() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host, dead) = (Pc::with_product(1, &vendor), vendor.host().await, ClosedPort::new());
    let published = [(0, "dead", dead.address.port()), (10, "live", host.address.port())];
    let names = NameServer::publishing(&published).await;
    let activated = pc.client_with(&names.dns(), &Clock::system()).activate().await.unwrap();
    assert_eq!(
        activated.by_host().unwrap().host.to_string(),
        format!("live.corp.test:{}", host.address.port())
    );
    assert_eq!(activated.by_host().unwrap().found, Found::Dns);
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_answers_is_told_rather_than_that_another_is_dead() {
    let vendor = Vendor::new("contoso");
    let (pc, host, dead) = (Pc::with_product(1, &vendor), Host::without_key().await, ClosedPort::new());
    for order in [[0, 10], [10, 0]] {
        let published = [(order[0], "dead", dead.address.port()), (order[1], "empty", host.address.port())];
        let names = NameServer::publishing(&published).await;
        pc.activate_by_dns(names.address, DOMAIN).is_not_activated(
            &format!(
                "Q302 (0xC004F041): the host at {} has no activated key of vendor contoso",
                host.address
            ),
            "activate the host (`quorate-host ato`), or set another",
        );
    }
}

/// A name that is no host name cannot be kept in the store, so it is not followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_target_is_no_host_name_is_passed_over() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let port = host.address.port();
    let odd = NameServer::publishing(&[(0, "*", port)]).await;
    pc.activate_by_dns(odd.address, DOMAIN).is_not_activated(
        "Q501 (0x8007232B): no host is published in DNS: _contoso-kms._tcp.corp.test. names nothing that could be a host",
        "publish the host there, or set it by hand: `quorate set-host HOST`",
    );
    let both = NameServer::publishing(&[(0, "*", port), (10, "kms", port)]).await;
    pc.activate_by_dns(both.address, DOMAIN).succeeds();
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

const RUNS: &str = "see that it runs (`quorate-host serve`) and that the firewall lets its TCP port through";
const COMPARE: &str = "compare address and port; the usual port is 1688";
const BY_ADDRESS: &str = "try again, or set the host by its IP address: `quorate set-host ADDRESS`";
