//! The book: the same behaviour on SQLite and on a real PostgreSQL, and what is PostgreSQL's own: hosts that share
//! one count, a host that dies under load, a database whose primary dies.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::cluster::Cluster;
use common::{Host, OFFICE, PROGRAM, Site, stderr, stdout, until};
use quorate_core::cmid_table::Machine;
use quorate_core::hardware::HardwareId;
use quorate_core::identifier::{ActivationId, Cmid, Uuid};
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Interval, Timestamp};
use quorate_host::book::{
    Account, Book, Clerk, Event, EventFilter, Location, Outcome, REQUEST, Seen, Wanted, Writes,
};
use quorate_host::store::Store;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn a_book_in_the_hosts_own_file() {
    let directory = tempfile::tempdir().unwrap();
    Store::open_or_create(directory.path()).unwrap();
    behaves(&|| Location::Own.open(directory.path()).unwrap());
}

#[test]
fn a_book_in_postgresql() {
    let (cluster, nowhere) = (Cluster::start(), PathBuf::new());
    behaves(&|| Location::Postgres(cluster.url(&[])).open(&nowhere).unwrap());
}

/// Whatever it is kept in, a book keeps all of a batch or nothing, adds up, lists and forgets.
fn behaves(open: &dyn Fn() -> Box<dyn Book>) {
    let mut book = open();
    let first = commit(&mut *book, None, vec![seen(1, 0, None), seen(2, 0, Some(180)), seen(1, 0, None)]);
    assert_eq!(first.restored, []);
    // Read anew, as after a restart, with a machine that is too old to count.
    commit(&mut *book, Some(first.cursor), vec![seen(3, 20, None)]);
    let mut book = open();
    let again = commit(&mut *book, None, vec![]);
    let mut restored: Vec<u128> = again.restored.iter().map(|(cmid, _)| cmid.0.as_u128()).collect();
    restored.sort_unstable();
    // Shown again, a machine is as it was shown last.
    restored.dedup();
    assert_eq!(restored, [1, 2, 3]);
    assert_eq!(again.restored.iter().find(|(cmid, _)| *cmid == machine(2)).unwrap().1.hardware, hardware(2));
    assert_eq!(book.count(&office(), day(0)).unwrap(), 3);
    assert_eq!(book.count(&office(), day(10)).unwrap(), 1);
    let statistics = book.statistics(&office()).unwrap();
    assert_eq!((statistics.total(), statistics.failed, statistics.by_status[2]), (4, 0, 4));

    // What was known of a machine is kept, what is new is taken; an answer that was not enough takes nothing away.
    commit(&mut *book, Some(again.cursor), vec![Seen { name: "renamed".to_owned(), ..seen(2, 5, None) }]);
    let clients = book.clients().unwrap();
    let two = clients.iter().find(|client| client.cmid == machine(2).to_string()).unwrap();
    assert_eq!((two.name.as_str(), two.first_seen, two.last_seen), ("renamed", day(0), day(5)));
    assert_eq!((two.licensed_until, two.status, two.virtual_machine), (Some(day(180)), 2, true));
    assert_eq!(two.sku, Uuid::from_u128(7).to_string());

    // Machines go when their time is over; those that are licensed still stay in the list.
    assert!(!book.forget(&office(), day(40), day(40), 100).unwrap());
    let left: Vec<String> = book.clients().unwrap().into_iter().map(|client| client.name).collect();
    assert_eq!(left, ["renamed"]);
    assert!(!book.forget(&office(), day(200), day(200), 100).unwrap());
    assert_eq!(book.clients().unwrap().len(), 0);
    // A few at a time, among those that stay.
    let crowd = (10..60).map(|number| seen(number, if number % 3 == 0 { 250 } else { 200 }, None)).collect();
    commit(&mut *book, Some(again.cursor), crowd);
    let mut slices = 1;
    while book.forget(&office(), day(240), day(240), 7).unwrap() {
        slices += 1;
    }
    assert_eq!((book.clients().unwrap().len(), book.count(&office(), day(250)).unwrap()), (16, 16));
    // A book that merges first takes as many slices again for that.
    assert!((5..=16).contains(&slices), "{slices}");

    // Events: by time, kind, machine and outcome; the newest, the oldest of them first.
    let (mut events, failed) = (Vec::new(), |number| number % 3 == 0);
    for number in 0..10u32 {
        events.push(event(number, if failed(number) { "Q303" } else { "0" }));
    }
    commit_writes(&mut *book, Some(again.cursor), Writes { events, ..Writes::default() });
    let listed = |book: &mut dyn Book, filter: EventFilter| -> Vec<u64> {
        let events = book.events(&EventFilter { limit: filter.limit.max(100), ..filter }).unwrap();
        events
            .iter()
            .filter(|event| event.kind != 1)
            .map(|event| event.fields["number"].as_u64().unwrap())
            .collect()
    };
    let all = EventFilter { kind: Some(REQUEST), ..EventFilter::default() };
    assert_eq!(listed(&mut *book, all.clone()), (0..10).collect::<Vec<u64>>());
    assert_eq!(
        listed(&mut *book, EventFilter { since: Some(day(3)), until: Some(day(5)), ..all.clone() }),
        [3, 4]
    );
    assert_eq!(listed(&mut *book, EventFilter { failed: true, ..all.clone() }), [0, 3, 6, 9]);
    assert_eq!(listed(&mut *book, EventFilter { machine: Some("PC-4".to_owned()), ..all.clone() }), [4]);
    assert_eq!(listed(&mut *book, EventFilter { kind: Some(12294), ..all.clone() }), [0; 0]);
    let newest = book.events(&EventFilter { limit: 2, ..all.clone() }).unwrap();
    assert_eq!(newest.iter().map(|event| event.at).collect::<Vec<_>>(), [day(8), day(9)]);
    assert!(book.forget_events(day(4), 1_000, 3).unwrap());
    assert!(!book.forget_events(day(4), 1_000, 3).unwrap());
    assert_eq!(listed(&mut *book, all.clone()), (4..10).collect::<Vec<u64>>());
    assert!(!book.forget_events(day(0), 2, 100).unwrap());
    assert_eq!(listed(&mut *book, all), [8, 9]);

    // All or nothing: a batch that cannot be kept leaves no part of it. An empty one changes nothing.
    let before = (book.statistics(&office()).unwrap(), book.clients().unwrap().len());
    commit(&mut *book, Some(again.cursor), vec![]);
    assert_eq!((book.statistics(&office()).unwrap(), book.clients().unwrap().len()), before);
}

/// Two hosts write at the same time: neither misses a machine of the other's, nor counts one twice.
#[test]
fn hosts_that_share_a_book_count_together() {
    let cluster = Cluster::start();
    let hosts: Vec<_> = (0..3u128)
        .map(|host| {
            let url = cluster.url(&[]);
            std::thread::spawn(move || {
                let mut book = Location::Postgres(url).open(&PathBuf::new()).unwrap();
                let (mut cursor, mut known) = (None, std::collections::BTreeSet::new());
                for round in 0..50u128 {
                    let number = host * 1_000 + round;
                    let done = commit(&mut *book, cursor, vec![seen(number, 0, None)]);
                    known.extend(done.restored.iter().map(|(cmid, _)| cmid.0.as_u128()));
                    known.insert(number);
                    cursor = Some(done.cursor);
                }
                let last = commit(&mut *book, cursor, vec![]);
                known.extend(last.restored.iter().map(|(cmid, _)| cmid.0.as_u128()));
                known
            })
        })
        .collect();
    let known: Vec<_> = hosts.into_iter().map(|host| host.join().unwrap()).collect();
    let all: std::collections::BTreeSet<u128> = known.iter().flatten().copied().collect();
    assert_eq!(all.len(), 150);
    // Who ended last has seen everything.
    assert!(known.contains(&all));
    let mut book = Location::Postgres(cluster.url(&[])).open(&PathBuf::new()).unwrap();
    assert_eq!(book.count(&office(), day(0)).unwrap(), 150);
    assert_eq!(book.statistics(&office()).unwrap().total(), 150);
}

/// Threshold 5 is met by machines spread over three hosts; one of them dies, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn three_hosts_share_one_count_and_one_may_die() {
    let cluster = Cluster::start();
    let mut network = Network::new(&cluster.url(&[]));
    let mut hosts: Vec<Host> = (1..=3).map(|number| network.host(number)).collect();
    for number in 1..=5u32 {
        let host = &hosts[number as usize % 3];
        assert_eq!(network.site.ask(number, host.address).await, Ok(number), "machine {number}");
    }
    // The first, which was told 1, is told 5 by another host.
    assert_eq!(network.site.ask(1, hosts[0].address).await, Ok(5));
    assert_eq!(network.site.client(1).status().unwrap().state.status, LicenseStatus::Licensed);

    // A host is killed while machines ask all three: what was answered is counted, whoever answered.
    let addresses: Vec<SocketAddr> = hosts.iter().map(|host| host.address).collect();
    let mut asking = tokio::task::JoinSet::new();
    for number in 6..=30u32 {
        let (client, addresses) = (network.site.client(number), addresses.clone());
        asking.spawn(async move {
            // As with SRV records: a host that fails is struck, and another is asked.
            for host in 0..3 {
                let address = addresses[(number as usize + host) % 3].to_string();
                client.set_host(Some(address.parse().unwrap())).unwrap();
                if client.activate().await.is_ok() {
                    return true;
                }
            }
            false
        });
        if number == 15 {
            hosts[1].kill();
        }
    }
    assert!(asking.join_all().await.into_iter().all(|answered| answered));
    let site = &network.site;
    assert_eq!(site.ask(1, hosts[0].address).await, Ok(30));
    assert_eq!(site.ask(2, hosts[2].address).await, Ok(30));
    let clients = stdout(&network.run(1, &["clients", "--json"]));
    let clients: Value = serde_json::from_str(&clients).unwrap();
    assert_eq!(clients["clients"].as_array().unwrap().len(), 30);
    let shown = stdout(&network.run(3, &["dlv"]));
    assert!(shown.contains("    Current count: 30\n"), "{shown}");
}

/// With `sslmode=require` nothing is said in the clear, and to no server that this machine has no reason to trust.
#[test]
fn the_shared_database_is_reached_by_tls() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let cluster = Cluster::start_with_tls(&certified.cert.pem(), &certified.signing_key.serialize_pem());
    let site = Site::new();
    Store::open_or_create(&site.host_directory()).unwrap();
    let trusted = site.directory.path().join("database-ca.pem");
    std::fs::write(&trusted, certified.cert.pem()).unwrap();
    let asked = |url: &str, trusted: Option<&Path>| -> Output {
        let mut host = Command::new(PROGRAM);
        host.args(["--dir", &site.host_directory().display().to_string(), "--database", url, "clients"]);
        if let Some(file) = trusted {
            host.env("SSL_CERT_FILE", file);
        }
        host.output().unwrap()
    };
    let known = asked(&cluster.tls_url(), Some(&trusted));
    assert!(known.status.success(), "{}", stderr(&known));
    let stranger = asked(&cluster.tls_url(), None);
    assert!(stderr(&stranger).contains("Q611"), "{}", stderr(&stranger));
    assert!(stderr(&stranger).contains("UnknownIssuer"), "{}", stderr(&stranger));
    // The server would not have it otherwise.
    let clear = asked(&cluster.url(&[]), None);
    assert!(stderr(&clear).contains("no encryption"), "{}", stderr(&clear));
    assert_eq!(cluster.sql("SELECT count(*) FROM account"), "0");
}

/// The primary dies, the standby is promoted: hosts go on by themselves, and nothing that was answered is lost.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_survive_the_death_of_the_databases_primary() {
    let mut primary = Cluster::start();
    let standby = primary.standby();
    let mut network = Network::new(&primary.url(&[&standby]));
    let host = network.host(1);
    for number in 1..=3u32 {
        assert_eq!(network.site.ask(number, host.address).await, Ok(number));
    }
    primary.kill();
    // Meanwhile machines are told so, and keep what they have.
    let error = network.site.ask(4, host.address).await.unwrap_err();
    assert_eq!(error.code, Code::DatabaseUnavailable, "{error}");
    assert!(error.what.starts_with("the shared database "), "{error}");
    standby.promote();
    let site = &network.site;
    until("the host counts again", async || site.ask(4, host.address).await == Ok(4)).await;
    for number in 1..=3 {
        assert_eq!(site.ask(number, host.address).await, Ok(4));
    }
}

#[test]
fn a_database_that_is_not_there_is_named_and_its_password_is_not() {
    let site = Site::activated();
    let run = |url: &str, arguments: &[&str]| {
        site.command().args(["--database", url]).args(arguments).output().unwrap()
    };
    let secret = "postgresql://quorate:geheim1@127.0.0.1:1/quorate";
    for arguments in [&["clients"][..], &["events"], &["dlv"], &["serve", "--listen", "127.0.0.1:0"]] {
        let output = run(secret, arguments);
        let report = stderr(&output);
        assert!(
            report.contains("Q611") && report.contains("the shared database cannot be reached"),
            "{report}"
        );
        assert!(!report.contains("geheim1") && output.status.code() == Some(1), "{report}");
    }
    let report = stderr(&run("mysql://quorate:geheim1@db/quorate", &["clients"]));
    assert!(
        report.starts_with("error Q507: the database is not given as a PostgreSQL connection string\n"),
        "{report}"
    );
    assert!(!report.contains("geheim1"), "{report}");
    // From a file, where no list of processes shows it.
    let file = site.write("database", format!("{secret}\n").as_bytes());
    let report = stderr(&run(&format!("@{}", file.display()), &["clients"]));
    assert!(report.contains("Q611") && !report.contains("geheim1"), "{report}");
}

/// The commands over a host of its own: who is licensed, and what happened.
#[tokio::test(flavor = "multi_thread")]
async fn clients_and_events_are_listed() {
    let site = Site::activated();
    let host = site.serve(&[]);
    for number in 1..=5u32 {
        site.ask(number, host.address).await.unwrap();
    }
    site.ask(1, host.address).await.unwrap();
    let json = |arguments: &[&str]| -> Value {
        {
            let output = site.run(arguments);
            serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
        }
    };
    let all = json(&["clients", "--json"]);
    let names = |list: &Value| -> Vec<String> {
        let list = list["clients"].as_array().unwrap().iter();
        list.map(|client| client["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all), ["pc-1", "pc-2", "pc-3", "pc-4", "pc-5"]);
    assert_eq!(names(&json(&["clients", "--licensed", "--json"])), ["pc-1", "pc-5"]);
    assert_eq!(names(&json(&["clients", "--unlicensed", "--name", "PC-3", "--json"])), ["pc-3"]);
    assert_eq!(names(&json(&["clients", "--ending-within", "30d", "--json"])), [""; 0]);
    let text = stdout(&site.run(&["clients"]));
    assert!(text.ends_with("5 machines, 2 of them licensed.\n"), "{text}");
    assert_eq!(stdout(&site.run(&["clients", "--csv"])).lines().count(), 6);

    let events = json(&["events", "--json"]);
    let events = events["events"].as_array().unwrap();
    assert_eq!(events.len(), 6);
    let last = &events[5];
    assert_eq!(
        (&last["kind"], &last["result"], &last["machine"]),
        (&12290.into(), &"0".into(), &"pc-1".into())
    );
    for field in
        ["threshold", "client-time", "virtual-machine", "license-status", "minutes-left", "activation-id"]
    {
        assert!(!last["fields"][field].is_null(), "{field}: {last}");
    }
    assert_eq!(last["fields"]["count"], 5);
    assert_eq!(json(&["events", "--client", "pc-2", "--json"])["events"].as_array().unwrap().len(), 1);
    assert_eq!(json(&["events", "--failed", "--json"])["events"].as_array().unwrap().len(), 0);
    assert_eq!(
        json(&["events", "--since", "1h", "--limit", "2", "--json"])["events"].as_array().unwrap().len(),
        2
    );
    let report = stderr(&site.run(&["events", "--since", "yesterday"]));
    assert!(report.starts_with("error Q306: \"yesterday\" is neither a time nor an interval\n"), "{report}");
}

/// Several hosts of one customer, each with a directory and a credential of its own, and one database.
struct Network {
    site: Site,
    url: String,
}

impl Network {
    fn new(url: &str) -> Self {
        Self { site: Site::new(), url: url.to_owned() }
    }

    /// Installs and activates a host, and starts it.
    fn host(&mut self, number: u32) -> Host {
        let (key, pack) = (self.site.key.reveal(), self.site.pack.to_str().unwrap().to_owned());
        assert_eq!(stderr(&self.run(number, &["ipk", &key, "--pack", &pack])), "");
        let shown = stdout(&self.run(number, &["dti"]));
        let spoken = self.site.vendor.confirm(&shown.lines().nth(1).unwrap().parse().unwrap()).unwrap();
        assert_eq!(stderr(&self.run(number, &["atp", &spoken.confirmation_id.to_string()])), "");
        let mut command = self.command(number);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        Host::start(command)
    }

    fn command(&self, number: u32) -> Command {
        let directory = self.site.directory.path().join(format!("host-{number}"));
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("QUORATE_HOST_DATABASE", &self.url).arg("--dir").arg(directory);
        command
    }

    fn run(&self, number: u32, arguments: &[&str]) -> Output {
        self.command(number).args(arguments).output().unwrap()
    }
}

/// What a batch was shown, and the cursor after it.
struct Done {
    restored: Vec<(Cmid, Machine)>,
    cursor: i64,
}

/// Keeps machines, each with its outcome and an event of a kind that no filter here asks for.
fn commit(book: &mut dyn Book, cursor: Option<i64>, seen: Vec<Seen>) -> Done {
    let outcomes = seen.iter().map(|seen| (seen.account.clone(), Outcome::Answered(seen.status))).collect();
    commit_writes(book, cursor, Writes { seen, outcomes, events: Vec::new() })
}

fn commit_writes(book: &mut dyn Book, cursor: Option<i64>, writes: Writes) -> Done {
    struct Shown(Vec<(Cmid, Machine)>, Option<Writes>);
    impl Clerk for Shown {
        fn restore(&mut self, account: &Account, cmid: Cmid, machine: Machine) {
            assert_eq!(*account, office());
            self.0.push((cmid, machine));
        }
        fn decide(&mut self) -> Writes {
            self.1.take().unwrap()
        }
    }
    let mut shown = Shown(Vec::new(), Some(writes));
    let wanted = [Wanted { account: office(), cutoff: day(0), cursor }];
    let cursors = book.commit(&wanted, &mut shown).unwrap();
    Done { restored: shown.0, cursor: cursors[0] }
}

fn seen(number: u128, at: u32, licensed: Option<u32>) -> Seen {
    Seen {
        account: office(),
        cmid: machine(number),
        hardware: hardware(number),
        at: day(at),
        name: format!("pc-{number}"),
        sku: ActivationId(Uuid::from_u128(7)),
        status: LicenseStatus::InitialGrace,
        virtual_machine: true,
        address: "192.0.2.1:50000".to_owned(),
        licensed_until: licensed.map(day),
    }
}

fn event(number: u32, result: &str) -> Event {
    Event {
        at: day(number),
        kind: REQUEST,
        vendor: Some("contoso".to_owned()),
        application: None,
        result: result.to_owned(),
        machine: Some(format!("pc-{number}")),
        cmid: None,
        fields: serde_json::json!({ "number": number }),
    }
}

fn office() -> Account {
    Account { vendor: "contoso".parse().unwrap(), application: OFFICE.parse().unwrap() }
}

fn machine(number: u128) -> Cmid {
    Cmid(Uuid::from_u128(number))
}

fn hardware(number: u128) -> HardwareId {
    HardwareId::from_bytes(&[number as u8; 32]).unwrap()
}

fn day(number: u32) -> Timestamp {
    Interval::days(number).after(Timestamp::from_second(1_700_000_000).unwrap())
}
