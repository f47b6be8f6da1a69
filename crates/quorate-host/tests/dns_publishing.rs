//! DNS publishing against real name servers: the same behaviour at BIND 9 and at Knot.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::name_server::{DOMAIN, Kind, NAME, NameServer, free_port};
use common::{Site, until};
use quorate_core::catalog::Catalog;
use quorate_core::{Error, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::machine::Machine;
use quorate_edge::server;
use quorate_host::dns::{self, Attempt, Publication, SrvRecord, TsigKey};
use quorate_host::server::Options;
use quorate_host::store::Store;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;

/// A host without its gRPC side: what it publishes, and what it remembers of that.
struct Host {
    publications: Vec<Publication>,
    catalogs: Vec<Catalog>,
    port: u16,
    clock: Clock,
    store: Store,
    _directory: TempDir,
}

impl Host {
    fn new(name: &str, server: &NameServer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let publication = Publication {
            key: Some(server.key(name)),
            ..Publication::new(DOMAIN, server.address, format!("{name}.{DOMAIN}"))
        };
        Self {
            publications: vec![publication],
            catalogs: vec![Site::new().vendor.catalog().unwrap()],
            port: 1688,
            clock: Clock::system(),
            store: Store::open_or_create(&directory.path().join("host")).unwrap(),
            _directory: directory,
        }
    }

    fn publication(&mut self) -> &mut Publication {
        &mut self.publications[0]
    }

    async fn attempts(&mut self) -> Vec<Attempt> {
        let catalogs: Vec<&Catalog> = self.catalogs.iter().collect();
        dns::publish(&mut self.store, &self.publications, &catalogs, self.port, &self.clock).await
    }

    /// Publishes and gives the lines that have been removed by that.
    async fn publishes(&mut self) -> Vec<String> {
        all_well(self.attempts().await)
    }

    /// Fails to publish in its only domain.
    async fn fails(&mut self) -> Error {
        let attempts = self.attempts().await;
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        attempts[0].result.clone().unwrap_err()
    }

    /// Withdraws and gives the lines that have been removed.
    async fn withdraws(&mut self) -> Vec<String> {
        let key = self.publication().key.clone();
        let attempts = dns::withdraw(&mut self.store, |_| true, |_| key.clone(), &self.clock).await;
        all_well(attempts.unwrap())
    }

    /// The records that it believes to be in DNS, or may be.
    fn remembers(&self) -> Vec<String> {
        self.store.published().unwrap().iter().map(|published| published.record.to_string()).collect()
    }
}

fn all_well(attempts: Vec<Attempt>) -> Vec<String> {
    attempts
        .into_iter()
        .flat_map(|attempt| {
            assert_eq!(attempt.result, Ok(()));
            attempt.removed
        })
        .map(|record| record.to_string())
        .collect()
}

fn line(numbers: &str, host: &str) -> String {
    format!("{NAME} 3600 IN SRV {numbers} {host}.{DOMAIN}.")
}

async fn the_record_is_there_with_its_numbers(kind: Kind) {
    let server = NameServer::start(kind, "");
    let mut host = Host::new("kms1", &server);
    host.publishes().await;
    assert_eq!(server.records(NAME), [line("0 0 1688", "kms1")]);
    let publication = host.publication();
    (publication.priority, publication.weight, publication.ttl) = (10, 20, 600);
    host.port = 1700;
    assert_eq!(host.publishes().await, [line("0 0 1688", "kms1")]);
    let record = format!("{NAME} 600 IN SRV 10 20 1700 kms1.{DOMAIN}.");
    assert_eq!(server.records(NAME), [record.as_str()]);
    assert_eq!(host.remembers(), [record]);
}

async fn publishing_again_changes_nothing(kind: Kind) {
    let server = NameServer::start(kind, "");
    let mut host = Host::new("kms1", &server);
    host.publishes().await;
    let serial = server.serial();
    assert_eq!(host.publishes().await, [""; 0]);
    // However the names are written.
    host.publication().domain = "Corp.Example.com.".to_owned();
    host.publication().target = format!("KMS1.{DOMAIN}.");
    assert_eq!(host.publishes().await, [""; 0]);
    assert_eq!(server.serial(), serial);
    assert_eq!(server.records(NAME).len(), 1);
    assert_eq!(host.remembers().len(), 1);
}

type Edit = fn(&mut Host);

async fn of_each_change_one_record_stays(kind: Kind) {
    let server = NameServer::start(kind, "");
    let mut host = Host::new("kms1", &server);
    host.publishes().await;
    let changes: [(Edit, String); 5] = [
        (|host| host.port = 1700, line("0 0 1700", "kms1")),
        (|host| host.publication().priority = 1, line("1 0 1700", "kms1")),
        (|host| host.publication().weight = 2, line("1 2 1700", "kms1")),
        (|host| host.publication().target = format!("kms3.{DOMAIN}"), line("1 2 1700", "kms3")),
        (|host| host.publication().ttl = 60, line("1 2 1700", "kms3").replace(" 3600 ", " 60 ")),
    ];
    for (change, record) in changes {
        change(&mut host);
        host.publishes().await;
        assert_eq!(server.records(NAME), [record.as_str()]);
        assert_eq!(host.remembers(), [record]);
    }
    // The vendor is not served here any more.
    host.catalogs.clear();
    assert_eq!(host.publishes().await.len(), 1);
    assert_eq!(server.records(NAME), [""; 0]);
    assert_eq!(host.remembers(), [""; 0]);
    assert!(host.attempts().await.is_empty());
}

/// Beside a record that somebody has added by hand.
async fn hosts_do_not_tread_on_each_other(kind: Kind) {
    let by_hand = line("50 0 1688", "by-hand");
    let server = NameServer::start(kind, &by_hand);
    let (mut one, mut two) = (Host::new("kms1", &server), Host::new("kms2", &server));
    let (first, second) = tokio::join!(one.publishes(), two.publishes());
    assert_eq!((first.len(), second.len()), (0, 0));
    assert_eq!(server.records(NAME), [line("0 0 1688", "kms1"), line("0 0 1688", "kms2"), by_hand.clone()]);
    one.port = 1700;
    one.publishes().await;
    assert_eq!(server.records(NAME), [line("0 0 1688", "kms2"), line("0 0 1700", "kms1"), by_hand.clone()]);
    assert_eq!(one.withdraws().await, [line("0 0 1700", "kms1")]);
    assert_eq!(server.records(NAME), [line("0 0 1688", "kms2"), by_hand.clone()]);
    // There is nothing left to do for it.
    assert_eq!(one.withdraws().await, [""; 0]);
    assert_eq!(two.withdraws().await, [line("0 0 1688", "kms2")]);
    assert_eq!(server.records(NAME), [by_hand]);
}

/// What is refused is not remembered: it is not there.
async fn each_refusal_says_what_is_wrong(kind: Kind) {
    let server = NameServer::start(kind, "");
    let address = server.address;
    let host = || Host::new("kms1", &server);
    let refused = async |mut host: Host, what: &str, next: &str| {
        let error = host.fails().await;
        let what =
            format!("_contoso-kms._tcp.{} cannot be changed at {address}: {what}", host.publication().domain);
        assert_eq!(
            (error.code.to_string(), error.what, error.next),
            ("Q508".to_owned(), what, next.to_owned())
        );
        assert_eq!(host.remembers(), [""; 0]);
    };

    let mut unknown = host();
    unknown.publication().key = Some(TsigKey::read("hmac-sha256:nobody:c2VjcmV0c2VjcmV0c2VjcmV0").unwrap());
    refused(
        unknown,
        "the server does not know the TSIG key \"nobody\", or not for this (NOTAUTH, BADKEY)",
        NOT_KNOWN,
    )
    .await;

    let mut other_algorithm = host();
    let text = server.key_text("kms1").replace("hmac-sha256", "hmac-sha512");
    other_algorithm.publication().key = Some(TsigKey::read(&text).unwrap());
    refused(
        other_algorithm,
        "the server does not know the TSIG key \"kms1\", or not for this (NOTAUTH, BADKEY)",
        NOT_KNOWN,
    )
    .await;

    let mut wrong = host();
    wrong.publication().key = Some(TsigKey::read("hmac-sha256:kms1:c2VjcmV0c2VjcmV0c2VjcmV0").unwrap());
    refused(
        wrong,
        "the server has another secret for the TSIG key \"kms1\" (NOTAUTH, BADSIG)",
        "copy the key's secret from the server's configuration into the key file anew",
    )
    .await;

    let mut unsigned = host();
    unsigned.publication().key = None;
    refused(
        unsigned,
        &format!(
            "the server takes no update of {DOMAIN} without a signature, or is not its primary server ({})",
            match kind {
                Kind::Bind => "REFUSED",
                Kind::Knot => "NOTAUTH",
            }
        ),
        &format!("give the TSIG key with --tsig-key; `dig SOA {DOMAIN}` shows the primary server"),
    )
    .await;

    let mut elsewhere = host();
    elsewhere.publication().domain = "other.example".to_owned();
    refused(
        elsewhere,
        "the server is not the primary server of a zone other.example (NOTAUTH)",
        "name the zone with --publish and its primary server with --dns-server: `dig SOA other.example` shows \
         both",
    )
    .await;
    assert_eq!(server.serial(), "1");
}

async fn a_clock_that_is_off_is_named_with_the_hours(kind: Kind) {
    let server = NameServer::start(kind, "");
    for off in [-3600, 3600] {
        let mut host = Host::new("kms1", &server);
        host.clock = Clock::new(move || {
            let now = Clock::system().now();
            Timestamp::from_second(now.as_second() + off).unwrap()
        });
        let error = host.fails().await;
        // A second may pass on the way.
        let what = error.what.replace("3599", "3600").replace("3601", "3600");
        assert!(
            what.ends_with(
                ": the clocks of this host and of the server differ by 3600 seconds, and may by 300 \
                 (NOTAUTH, BADTIME)"
            ),
            "{what}"
        );
        assert_eq!(error.next, "set the clocks of both, best by NTP");
        assert_eq!(host.remembers(), [""; 0]);
    }
    // What RFC 8945 lets pass.
    let mut host = Host::new("kms1", &server);
    host.clock = Clock::new(|| Timestamp::from_second(Clock::system().now().as_second() - 240).unwrap());
    host.publishes().await;
    assert_eq!(server.records(NAME), [line("0 0 1688", "kms1")]);
}

/// The vendor gives its service another name, which the name server does not permit.
async fn a_name_that_is_not_permitted_is_refused_and_keeps_no_other_from_its_turn(kind: Kind) {
    let server = NameServer::start(kind, "");
    let mut host = Host::new("kms1", &server);
    host.publishes().await;
    host.catalogs[0].products.dns_service = "fabrikam-kms".to_owned();
    let attempts = host.attempts().await;
    assert_eq!(attempts.len(), 2);
    assert_eq!((&attempts[0].record, &attempts[0].result), (&None, &Ok(())));
    let error = attempts[1].result.clone().unwrap_err();
    let (why, next) = match kind {
        Kind::Bind => (
            "the server does not permit TSIG key \"kms1\" to change this name (REFUSED)",
            "permit it there (docs/dns-publishing.md), or add the record by hand (`quorate-host dns show`)",
        ),
        Kind::Knot => {
            ("the server does not know the TSIG key \"kms1\", or not for this (NOTAUTH, BADKEY)", NOT_KNOWN)
        }
    };
    let what = format!("_fabrikam-kms._tcp.{DOMAIN} cannot be changed at {}: {why}", server.address);
    assert_eq!((error.what, error.next.as_str()), (what, next));
    assert_eq!(server.records(NAME), [""; 0]);
    assert_eq!(host.remembers(), [""; 0]);
}

async fn one_domain_that_fails_keeps_no_other_from_its_turn(kind: Kind) {
    let server = NameServer::start(kind, "");
    let mut host = Host::new("kms1", &server);
    let publication = |domain: &str, address| Publication::new(domain, address, format!("kms1.{DOMAIN}"));
    host.publications.insert(0, publication("no name", server.address));
    host.publications.insert(1, publication("other.example", free_port()));
    let attempts = host.attempts().await;
    let results: Vec<_> =
        attempts.iter().map(|attempt| (attempt.domain.as_str(), attempt.result.is_ok())).collect();
    assert_eq!(results, [("no name", false), ("other.example", false), (DOMAIN, true)]);
    assert_eq!(server.records(NAME), [line("0 0 1688", "kms1")]);
}

/// An answer that was lost: the server may have added the record, so it is removed when it is stale.
async fn what_may_have_been_published_is_remembered(kind: Kind) {
    let mut server = NameServer::start(kind, "");
    let mut host = Host::new("kms1", &server);
    host.publishes().await;
    server.stop();
    host.port = 1700;
    let error = host.fails().await;
    assert!(error.what.ends_with(": connection refused"), "{error}");
    assert_eq!(host.remembers(), [line("0 0 1700", "kms1"), line("0 0 1688", "kms1")]);
    server.run();
    host.port = 1701;
    host.publishes().await;
    assert_eq!(server.records(NAME), [line("0 0 1701", "kms1")]);
    assert_eq!(host.remembers(), [line("0 0 1701", "kms1")]);
}

/// More than a datagram holds goes over TCP.
async fn many_stale_records_are_removed_at_once(kind: Kind) {
    let stale = (1..=30).map(|port| line(&format!("0 0 {port}"), "kms1"));
    let server = NameServer::start(kind, &stale.collect::<Vec<_>>().join("\n"));
    let mut host = Host::new("kms1", &server);
    let place = host.publication().place().unwrap();
    for port in 1..=30 {
        let record = host.publications[0].record(&host.catalogs[0], port).unwrap();
        host.store.remember_published(&place, &record).unwrap();
    }
    assert_eq!(host.publishes().await.len(), 30);
    assert_eq!(server.records(NAME), [line("0 0 1688", "kms1")]);
}

/// The zone has moved to another server with all that is in it.
async fn a_new_primary_server_takes_the_place_of_the_old(kind: Kind) {
    let mut old = NameServer::start(kind, "");
    let mut host = Host::new("kms1", &old);
    host.publishes().await;
    old.stop();
    let new = NameServer::start(kind, &line("0 0 1688", "kms1"));
    let key = new.key("kms1");
    let publication = host.publication();
    (publication.server, publication.key, publication.priority) = (new.address, Some(key), 7);
    assert_eq!(host.publishes().await, [line("0 0 1688", "kms1")]);
    assert_eq!(new.records(NAME), [line("7 0 1688", "kms1")]);
    assert_eq!(host.remembers(), [line("7 0 1688", "kms1")]);
}

/// The whole host: the name server is down when it starts, and nobody restarts the host.
async fn a_name_server_that_comes_back_is_told(kind: Kind) {
    let mut name_server = NameServer::start(kind, "");
    name_server.stop();
    let site = Site::activated();
    let mut options = Options::new(site.host_directory(), Machine::read(None).unwrap().components());
    options.every = Duration::from_secs(1);
    options.publications = vec![Publication {
        key: Some(name_server.key("kms1")),
        ..Publication::new(DOMAIN, name_server.address, format!("kms1.{DOMAIN}"))
    }];
    let listener = server::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving =
        tokio::spawn(quorate_host::server::serve(options, listener, Clock::system(), std::future::pending()));
    let store = || Store::open(&site.host_directory()).unwrap();
    until("it has been tried", async || store().published().unwrap().len() == 1).await;
    assert_eq!(store().published().unwrap()[0].seen, None);
    name_server.run();
    let record = line(&format!("0 0 {port}"), "kms1");
    until("it is published", async || name_server.records(NAME) == [record.as_str()]).await;
    serving.abort();
}

const NOT_KNOWN: &str = "make the key known to the server under the same name and with the same algorithm, and \
                         permit it to change this name (docs/dns-publishing.md)";

macro_rules! against_both {
    ($($behaviour:ident)*) => {
        mod bind {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(super::Kind::Bind).await;
            })*
        }
        mod knot {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(super::Kind::Knot).await;
            })*
        }
    };
}

against_both! {
    the_record_is_there_with_its_numbers
    publishing_again_changes_nothing
    of_each_change_one_record_stays
    hosts_do_not_tread_on_each_other
    each_refusal_says_what_is_wrong
    a_clock_that_is_off_is_named_with_the_hours
    a_name_that_is_not_permitted_is_refused_and_keeps_no_other_from_its_turn
    one_domain_that_fails_keeps_no_other_from_its_turn
    what_may_have_been_published_is_remembered
    many_stale_records_are_removed_at_once
    a_new_primary_server_takes_the_place_of_the_old
    a_name_server_that_comes_back_is_told
}

/// BIND shows those who have the key another view of the zone than everybody else.
#[tokio::test]
async fn a_record_that_clients_do_not_see_is_not_published() {
    let mut server = NameServer::start(Kind::Bind, "");
    let documented = server.documented();
    let (keys, zone) = documented.split_at(documented.find("zone ").unwrap());
    server.copy_zone("others.zone");
    server.restart_with(&format!(
        "{keys}view signed {{ match-clients {{ key kms1; }};\n{zone}}};\n\
         view others {{ match-clients {{ any; }};\n{}}};\n",
        zone.replace(&format!("{DOMAIN}.zone"), "others.zone")
    ));
    let mut host = Host::new("kms1", &server);
    let error = host.fails().await;
    assert_eq!(
        error.what,
        format!(
            "_contoso-kms._tcp.{DOMAIN} cannot be changed at {}: the server accepted the update and does not give \
             out {}",
            server.address,
            line("0 0 1688", "kms1")
        )
    );
    assert_eq!(host.remembers(), [line("0 0 1688", "kms1")]);
}

/// As behind a firewall that drops what comes.
#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let server = NameServer::start(Kind::Bind, "");
    let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut host = Host::new("kms1", &server);
    host.publication().server = silent.local_addr().unwrap();
    let error = host.fails().await;
    assert!(error.what.ends_with(": the server did not answer within 5 seconds"), "{error}");
    // It may have been done all the same.
    assert_eq!(host.remembers(), [line("0 0 1688", "kms1")]);
}

#[tokio::test]
async fn records_are_names_and_not_addresses() {
    let catalog = Site::new().vendor.catalog().unwrap();
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    let record = |target: &str| Publication::new(DOMAIN, server, target).record(&catalog, 1688);
    assert_eq!(
        record("kms1.corp.example.com").map(|record: SrvRecord| record.to_string()),
        Ok(line("0 0 1688", "kms1"))
    );
    let error = record("192.0.2.10").unwrap_err();
    assert_eq!(
        error.report().to_string(),
        "error Q507: \"192.0.2.10\" is not a domain name\n\
         next: write it as in \"corp.example.com\""
    );
}
