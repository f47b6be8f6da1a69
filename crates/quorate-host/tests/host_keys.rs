//! Host keys over the years: a newer pack, several keys of one edition, other hardware, a certificate that
//! ends, a record that cannot be read, an answer that was lost.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{OFFICE_HOST, PROGRAM, Site, request, stderr, stdout, until};
use quorate_core::hardware::Components;
use quorate_core::{Code, Error, Interval};
use quorate_edge::clock::Clock;
use quorate_edge::{random, server};
use quorate_host::book::Location;
use quorate_host::keys::{self, HostKey};
use quorate_host::report;
use quorate_host::server::Options;
use quorate_host::store::Store;
use quorate_proto::v1::ActivateRequest;
use quorate_vendor::keys::Issue;
use quorate_vendor::products;
use quorate_vendor::service::Service;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[tokio::test]
async fn a_newer_pack_leaves_the_host_activated() {
    let site = Site::activated();
    let host = site.serve(&[]);
    let installation_id = site.installation_id();
    let changed =
        std::fs::read_to_string(PRODUCTS).unwrap().replace("Office MAKs\"", "Office MAKs\"\nmachines = 75");
    site.vendor.import(products::parse_products(&changed, "products.toml").unwrap()).unwrap();
    let newer = site.vendor.pack(site.key.id(), 3).unwrap();
    let newer = site.write("newer.pack", newer.as_bytes());
    let catalog = || {
        let store = Store::open(&site.host_directory()).unwrap();
        HostKey::select(&store, None, Clock::system().now()).unwrap().catalog.number
    };
    assert_eq!(catalog(), 1);
    // The older pack afterwards brings the older catalog back for nobody.
    for pack in [&newer, &site.pack] {
        let installed = site.install(&site.key.reveal(), pack);
        assert!(stdout(&installed).ends_with("\nnext: quorate-host dlv\n"), "{installed:?}");
        assert_eq!((catalog(), site.installation_id()), (2, installation_id.clone()));
        assert!(stdout(&site.run(&["dlv"])).contains("License Status: Licensed\n"));
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert!(site.ask(1, host.address).await.is_ok());
    }
}

#[test]
fn two_keys_of_one_edition_are_told_apart() {
    let mut site = Site::installed();
    let (other, pack) = site.another_key();
    assert_eq!(stderr(&site.install(&other.reveal(), &pack)), "");
    let known = [&site.key, &other].map(|key| {
        format!("{OFFICE_HOST}, {}, …{}, Contoso Office, KMSHost edition", key.id(), key.partial())
    });
    let known = known.join("; ");
    site.refuses(
        &["dti"],
        &format!(
            "error Q103 (0xC004F014): 2 host keys are installed\n\
             next: name one by its activation id, key id or last five characters: {known}"
        ),
    );
    site.refuses(
        &["dti", OFFICE_HOST],
        &format!(
            "error Q103 (0xC004F014): 2 host keys are installed for {OFFICE_HOST}\n\
             next: name one by its key id or last five characters: {known}"
        ),
    );
    let shown = |name: &str| stdout(&site.run(&["dti", name]));
    let partial = other.partial().to_string();
    assert_eq!(shown(&other.id().to_string()), shown(&partial));
    assert_eq!(shown(&partial), shown(&partial.to_lowercase()));
    assert_ne!(shown(&partial), shown(&site.key.partial().to_string()));
    assert!(site.run(&["upk", &partial]).status.success());
    assert_eq!(stderr(&site.run(&["dti"])), "");
}

#[test]
fn all_is_all_in_any_case() {
    let site = Site::activated();
    let shown = |all: &str| {
        let shown = stdout(&site.run(&["dlv", all]));
        shown.lines().filter(|line| !line.starts_with("Trusted time")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown("ALL"), shown("all"));
    assert!(shown("All").contains(&"License Status: Licensed".to_owned()));
}

#[tokio::test]
async fn a_copied_host_answers_nobody_until_it_is_activated_there() {
    let site = Site::new();
    let machine = |name: &str| {
        let text = format!("name = {name:?}\nkind = \"physical\"\n[readings]\nmachine-id = [{name:?}]\n");
        site.write(&format!("{name}.toml"), text.as_bytes()).display().to_string()
    };
    let (here, elsewhere) = (machine("here"), machine("elsewhere"));
    let (key, pack) = (site.key.reveal(), site.pack.display().to_string());
    let install = |machine: &str| ["--machine", machine, "ipk", &key, "--pack", &pack].map(str::to_owned);
    let installed = |site: &Site, machine: &str| {
        let arguments = install(machine);
        let ran = site.run(&arguments.each_ref().map(String::as_str));
        assert_eq!(stderr(&ran), "");
        let shown = stdout(&site.run(&["--machine", machine, "dti"]));
        shown.lines().nth(1).unwrap().to_owned()
    };
    let first = installed(&site, &here);
    let spoken = site.vendor.confirm(&first.parse().unwrap()).unwrap().confirmation_id.to_string();
    assert_eq!(stderr(&site.run(&["--machine", &here, "atp", &spoken])), "");
    assert!(stdout(&site.run(&["--machine", &here, "dlv"])).contains("License Status: Licensed\n"));

    let what = format!(
        "host key {} (…{}) was installed on other hardware: 0 of 35 points agree, 60 percent must",
        site.key.id(),
        site.key.partial()
    );
    let next =
        "install the key on this machine (`quorate-host ipk` again), then activate it (`quorate-host ato`)";
    let shown = stdout(&site.run(&["--machine", &elsewhere, "dlv"]));
    assert!(shown.contains(&format!("License Status: Unlicensed (Q607 (0xC004F00F): {what})\n")), "{shown}");
    assert!(
        shown.ends_with(&format!("Activation host is not enabled on this computer: {next}\n")),
        "{shown}"
    );
    // The copy is not activated in the original's name either.
    for command in [&["dti"][..], &["ato"], &["atp", &spoken]] {
        let arguments = [&["--machine", &elsewhere], command].concat();
        site.refuses(&arguments, &format!("error Q607 (0xC004F00F): {what}\nnext: {next}"));
    }
    let mut command = site.command();
    command.args(["--machine", &elsewhere, "serve", "--listen", "127.0.0.1:0"]);
    let host = common::Host::start(command);
    assert!(host.log().contains("was installed on other hardware"), "{}", host.log());
    let told = Error::new(
        Code::HostNotActivated,
        "this host's key was activated on another machine",
        "tell the host's administrator: `quorate-host dlv` there says what to do; meanwhile ask another host",
    );
    assert_eq!(site.send(host.address, request()).await, Err(told));

    let second = installed(&site, &elsewhere);
    assert_ne!(first, second);
    let spoken = site.vendor.confirm(&second.parse().unwrap()).unwrap().confirmation_id.to_string();
    assert_eq!(stderr(&site.run(&["--machine", &elsewhere, "atp", &spoken])), "");
    until("it answers", async || site.send(host.address, request()).await.is_ok()).await;
}

/// Years later, the phone desk must not repeat a Confirmation ID that opens a certificate that has ended.
#[test]
fn when_the_activation_has_ended_the_phone_desk_gives_a_new_one() {
    let site = Site::activated();
    let later = || Interval::days(6 * 365).after(Clock::system().now());
    let mut store = Store::open(&site.host_directory()).unwrap();
    let key = |store: &Store| HostKey::select(store, None, later()).unwrap();
    let before = key(&store).installed.installation_id;
    // A year before its end it is the same still.
    let early = Interval::days(4 * 365).after(Clock::system().now());
    let installed = key(&store);
    assert_eq!(keys::installation_id(&mut store, installed, early).unwrap(), before);
    let installed = key(&store);
    let fresh = keys::installation_id(&mut store, installed, later()).unwrap();
    assert_ne!(fresh, before);
    assert_eq!(fresh.hardware(), before.hardware());
    let installed = key(&store);
    assert_eq!(keys::installation_id(&mut store, installed, later()).unwrap(), fresh, "until it is used");
    // Three weeks before the end, so that the host need not stop for it.
    let other = Site::activated();
    let mut others = Store::open(&other.host_directory()).unwrap();
    let soon = Interval::days(5 * 365 - 21).after(Clock::system().now());
    let installed = HostKey::select(&others, None, soon).unwrap();
    let before_end = installed.installed.installation_id;
    assert_ne!(keys::installation_id(&mut others, installed, soon).unwrap(), before_end);

    let mut book = Location::Own.open(&site.host_directory()).unwrap();
    let here = report::Host { hardware: key(&store).installed.hardware, ..report::Host::default() };
    let shown = report::dlv(&store, &mut *book, &key(&store), &here, later()).unwrap();
    assert!(shown.contains("License Status: Unlicensed (Q202: the certificate ended at "), "{shown}");
    assert!(shown.contains("Activation host is not enabled on this computer: "), "{shown}");

    // The pack's other slots have ended as well: the desk does not hand them out.
    let directory = site.directory.path().join("vendor");
    let vendor = Service::open(&directory, Clock::new(later)).unwrap();
    assert_eq!(vendor.confirm(&fresh).unwrap_err().code, Code::SlotsUsedUp);
    let pack = vendor.pack(site.key.id(), 1).unwrap();
    let spoken = vendor.confirm(&fresh).unwrap().confirmation_id.to_string();
    let hardware = key(&store).installed.hardware.clone();
    keys::install(&mut store, &site.key.reveal(), &pack, &hardware, later()).unwrap();
    let installed = key(&store);
    let activated = keys::confirm(&mut store, installed, &spoken, later()).unwrap();
    assert!(activated.standing(&hardware, later()).unwrap().is_some());
}

/// The certificate that clients see is one that is valid, as long as there is one; also between two readings
/// of the keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_leaves_the_place_to_another() {
    let site = Site::new();
    let directory = site.directory.path().join("vendor");
    let seconds_on = Arc::new(AtomicU32::new(0));
    let clock = {
        let on = Arc::clone(&seconds_on);
        Clock::new(move || Interval::seconds(on.load(Ordering::Relaxed)).after(Clock::system().now()))
    };
    let hardware = Components::default();
    let mut store = Store::open_or_create(&site.host_directory()).unwrap();
    let vendor = Service::open(&directory, Clock::system()).unwrap();
    let products = std::fs::read_to_string(PRODUCTS).unwrap();
    let name = "name = \"Contoso Office host keys\"";
    for validity in ["30d", "1825d"] {
        let products = products.replace(name, &format!("{name}\ncertificate-validity = {validity:?}"));
        let products = site.write("products.toml", products.as_bytes());
        vendor.import(products::read_products(&products).unwrap()).unwrap();
        let key = vendor.issue_few(&Issue::of(common::HOST_KEYS, 1)).unwrap().remove(0);
        let pack = vendor.pack(key.id(), 1).unwrap();
        let now = Clock::system().now();
        let installed = keys::install(&mut store, &key.reveal(), &pack, &hardware, now).unwrap();
        let spoken =
            vendor.confirm(&installed.installed.installation_id).unwrap().confirmation_id.to_string();
        keys::confirm(&mut store, installed, &spoken, now).unwrap();
    }

    let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let host = listener.local_addr().unwrap();
    let options = Options::new(site.host_directory(), hardware);
    tokio::spawn(quorate_host::server::serve(options, listener, clock.clone(), std::future::pending()));
    let ask = async || site.ask_by(&clock, host).await;
    assert_eq!(ask().await, Ok(()));
    seconds_on.store(Interval::days(365).as_seconds(), Ordering::Relaxed);
    assert_eq!(ask().await, Ok(()));
}

#[tokio::test]
async fn a_key_that_cannot_be_read_does_not_disturb_the_others() {
    let mut site = Site::activated();
    let (broken, pack) = site.another_key();
    assert_eq!(stderr(&site.install(&broken.reveal(), &pack)), "");
    let database = rusqlite::Connection::open(site.database()).unwrap();
    let changed = database
        .execute("UPDATE host_key SET hardware = 'x' WHERE id = ?1", [broken.id().to_string()])
        .unwrap();
    assert_eq!(changed, 1);
    drop(database);

    let host = site.serve(&[]);
    assert_eq!(site.ask(1, host.address).await, Ok(1));
    assert!(host.log().contains(&format!("the record of host key {} cannot be read", broken.id())));
    let all = stdout(&site.run(&["dlv", "all"]));
    assert!(all.contains("License Status: Licensed\n"), "{all}");
    assert!(all.contains(&format!("Product Key ID: {}\n", broken.id())), "{all}");
    let (another, another_pack) = site.another_key();
    assert_eq!(stderr(&site.install(&another.reveal(), &another_pack)), "");
    assert_eq!(
        stdout(&site.run(&["upk", &broken.id().to_string()])),
        format!("Removed product key …{} of {}.\n", broken.partial(), broken.id())
    );
    assert!(!stdout(&site.run(&["dlv", "all"])).contains(&broken.id().to_string()));
}

/// Key numbers are each vendor's own.
#[test]
fn two_vendors_keys_of_one_number_stand_side_by_side() {
    let site = Site::activated();
    let other = Site::of_vendor("fabrikam", "https://activation.fabrikam.example");
    assert_eq!(other.key.id(), site.key.id());
    assert_eq!(stderr(&site.install(&other.key.reveal(), &other.pack)), "");
    let all = stdout(&site.run(&["dlv", "all"]));
    assert_eq!(all.matches("License Status: Licensed\n").count(), 1, "{all}");
    assert_eq!(all.matches("License Status: Unlicensed\n").count(), 1, "{all}");
}

#[test]
fn a_request_whose_answer_was_lost_is_sent_again() {
    let site = Site::installed();
    let pending = || {
        assert_eq!(site.run(&["ato", "--service", "https://127.0.0.1:1"]).status.code(), Some(1));
        let store = Store::open(&site.host_directory()).unwrap();
        let key = HostKey::select(&store, None, Clock::system().now()).unwrap();
        key.installed.request.unwrap().signing_request
    };
    assert_eq!(pending(), pending());
}

#[tokio::test]
async fn a_key_that_is_activated_while_the_host_runs_is_published_at_once() {
    let mut site = Site::installed();
    let host = site.serve(&[]);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let record = format!(
        "_contoso-kms._tcp.YOUR.DOMAIN. 3600 IN SRV 0 0 {} THIS.HOST.YOUR.DOMAIN.",
        host.address.port()
    );
    assert!(!host.log().contains(&record), "a host that is not activated is not published");
    let spoken = site.confirmation_id();
    assert_eq!(stderr(&site.run(&["atp", &spoken])), "");
    until("it is published", async || host.log().contains(&record)).await;
}

#[tokio::test]
async fn every_request_is_an_event_with_its_count_and_a_clone_is_visible() {
    let site = Site::activated();
    let host = site.serve(&[]);
    let first = request();
    let clone = ActivateRequest { hardware_id: vec![7; 32], ..first.clone() };
    assert!(site.send(host.address, first).await.is_ok());
    assert!(site.send(host.address, clone).await.is_ok());
    let log = host.log();
    let events: Vec<&str> = log.lines().filter(|line| line.contains(" request ")).collect();
    assert_eq!(events.len(), 2, "{log}");
    assert!(events[0].contains("count=1 clone=false") && events[1].contains("count=1 clone=true"), "{log}");
}

#[tokio::test]
async fn made_up_applications_take_no_room() {
    let site = Site::activated();
    let host = site.serve(&[]);
    let rows = || {
        let database = rusqlite::Connection::open(site.database()).unwrap();
        database.query_row("SELECT count(*) FROM statistic", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    for _ in 0..20 {
        let made_up = ActivateRequest { application_id: random::cmid().to_string(), ..request() };
        assert!(site.send(host.address, made_up).await.is_err());
    }
    // What is refused of an application that exists is counted.
    let early = ActivateRequest { client_time_ms: 0, ..request() };
    assert!(site.send(host.address, early).await.is_err());
    until("it is counted", async || rows() == 1).await;
    assert!(stdout(&site.run(&["dlv"])).contains("Failed requests received: 1\n"));
}

#[test]
fn secrets_may_come_from_standard_input() {
    let mut site = Site::new();
    let piped = |site: &Site, text: &str, arguments: &str| {
        let (dir, pack) = (site.host_directory(), site.pack.display().to_string());
        let script = format!("echo ' {text} ' | '{PROGRAM}' --dir '{}' {arguments}", dir.display());
        let script = script.replace("PACK", &pack);
        Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    assert_eq!(stderr(&piped(&site, &site.key.reveal(), "ipk - --pack 'PACK'")), "");
    let spoken = site.confirmation_id();
    assert_eq!(stderr(&piped(&site, &spoken.replace('-', " "), &format!("atp - {OFFICE_HOST}"))), "");
    assert!(stdout(&site.run(&["dlv"])).contains("License Status: Licensed\n"));
}

#[test]
fn limits_are_from_a_second_to_a_day() {
    let site = Site::new();
    for limit in ["--handshake-limit", "--idle-limit"] {
        for seconds in ["0", "86401", "18446744073709551615", "-1"] {
            let output = site.run(&["serve", &format!("{limit}={seconds}")]);
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        }
    }
    assert!(!site.host_directory().exists());
}

const PRODUCTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../quorate-vendor/examples/contoso.toml");
