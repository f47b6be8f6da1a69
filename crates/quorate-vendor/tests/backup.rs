//! Backups: the vendor whole in one file, put back in either database, or not at all.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::cluster::Cluster;
use common::people::people;
use common::place::{Place, in_both, key};
use common::{HOST_KEYS, MAKS, Ran, Vendor, installation_id, vendor_program};
use quorate_core::Code;
use quorate_core::hardware::ShortHardwareId;
use quorate_edge::clock::Clock;
use quorate_edge::sql::Location;
use quorate_vendor::access::Scope;
use quorate_vendor::keys::{Issue, NewLimits};
use quorate_vendor::service::{self, Service};
use quorate_vendor::store::rows;
use quorate_vendor::webhooks::Event;
use quorate_vendor::{accounts, backup};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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
    let left: BTreeSet<_> =
        std::fs::read_dir(&beside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["vendor.db-wal", "vendor.lock"].map(Into::into)));

    // Whatever else is given is refused, and nothing is written.
    let whole = std::fs::read(&file).unwrap();
    let nowhere = vendor.path("nowhere");
    let end = whole.windows(8).position(|window| window == b"end.json").unwrap();
    let mut changed = whole.clone();
    let name = whole.windows(11).position(|window| window == b"Contoso Ltd").unwrap();
    changed[name] = b'K';
    for (called, content) in [
        ("cut off", &whole[..whole.len() / 2]),
        ("without its end", &whole[..end]),
        ("changed", &changed),
        ("empty", &b""[..]),
        ("garbage", &[b'x'; 5_000]),
    ] {
        let bad = vendor.path("bad.backup");
        std::fs::write(&bad, content).unwrap();
        let ran = Ran::from(vendor_program(&nowhere).args(["restore", bad.to_str().unwrap()]));
        assert!(ran.err.contains("is not a whole backup"), "{called}: {ran:?}");
        assert!(!Path::new(&nowhere).exists(), "{called}");
    }
}

/// What PostgreSQL keeps may be backed up by its own means; then a replica needs the files alone.
#[test]
fn a_replica_is_made_of_a_backup_without_the_database() {
    let (cluster, other_cluster) = (Cluster::start(), Cluster::start());
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
    let out = run(&["backup", "--without-database", file.to_str().unwrap()]).succeeds();
    assert!(out.contains("holds the certificates and signing keys. "), "{out}");
    run(&["verify"]).succeeds();
    // A replica on another machine, made of the backup.
    let elsewhere = vendor.path("elsewhere");
    let other = |arguments: &[&str]| Ran::from(vendor_program(&elsewhere).args(arguments));
    let refused = other(&["restore", file.to_str().unwrap()]);
    assert!(refused.err.contains(" holds no database"), "{refused:?}");
    assert!(!elsewhere.exists());
    // Nothing is left where the database cannot be opened, so that the next attempt finds its way free.
    for nothing in [&other_cluster.url(&[]), "postgresql://127.0.0.1:1/none?connect_timeout=1"] {
        let refused = other(&["--database", nothing, "restore", file.to_str().unwrap()]);
        assert!(refused.err.starts_with("error Q6"), "{refused:?}");
        assert!(!elsewhere.exists(), "{refused:?}");
    }
    // Nor where it is another vendor's.
    let (another, at) = (other_cluster.url(&[]), vendor.path("fabrikam"));
    let mut init = vendor_program(&at);
    init.args(["--database", &another, "init", "--vendor", "fabrikam", "--name", "Fabrikam", "--url"]);
    Ran::from(init.args(["https://127.0.0.1", "--root-dir", vendor.path("fabrikam-root").to_str().unwrap()]))
        .succeeds();
    other(&["--database", &another, "restore", file.to_str().unwrap()]).fails(
        &format!(
            "Q604 (0x8007000D): {} is not of the vendor fabrikam, whose database this is",
            elsewhere.join("issuer.pem").display()
        ),
        "name the database that belongs to the directory, or restore the directory from a backup",
    );
    assert!(!elsewhere.exists());
    other(&["--database", &url, "restore", file.to_str().unwrap()]).succeeds();
    assert_eq!(other(&["--database", &url, "key", "list"]).succeeds().lines().count(), 1);
    // A connection string may hold a password: it is repeated nowhere.
    let wrong = vendor.run(&["--database", "postgres://u:secret@h:port/d", "key", "list"]);
    assert!(!wrong.err.contains("secret") && wrong.err.contains("Q507"), "{wrong:?}");
}

/// From SQLite to PostgreSQL and back: the same keys, activations, people, sessions, messages and log.
#[test]
fn a_vendor_moves_from_one_database_to_the_other_and_back() {
    let (from, cluster) = (Place::in_sqlite(), Cluster::start());
    let service = from.service();
    let (token, access, session) = fill(&service);
    // Of a sign-in by a provider, which takes a provider.
    from.meddle("INSERT INTO openid_used (mark, ends) VALUES (x'0102', 4000000000)");
    let kept = service.verify_audit(None).unwrap().unwrap();

    let file = from.path("sqlite.backup");
    backup::back_up(&service, &from.service_directory(), &file, true).unwrap();
    let everything = contents(&file);
    assert_eq!(everything.keys().map(String::as_str).collect::<BTreeSet<_>>(), with_rows());
    let postgres = Location::Postgres(cluster.url(&[]));
    let there = from.path("there");
    let back = from.path("back");
    let sqlite = service::own_database(&back);
    let mut last = file;
    for (number, (directory, database)) in [(&there, &postgres), (&back, &sqlite)].into_iter().enumerate() {
        backup::restore(directory, database, &last, &Clock::system()).unwrap();
        let moved = Service::open_in(directory, database, Clock::system()).unwrap();
        moved.check().unwrap();
        assert_eq!(moved.verify_audit(Some(&kept.hash)).unwrap().unwrap(), kept);
        last = from.path(&format!("{number}.backup"));
        backup::back_up(&moved, directory, &last, true).unwrap();
        assert_eq!(contents(&last), everything);
        // It is not only there, it is in use.
        assert_eq!(moved.signed_in(&session).unwrap().account.name, "alice");
        assert_eq!(moved.access_by_token(&token).unwrap().0, access);
        assert_eq!(moved.catalog_jws().unwrap(), service.catalog_jws().unwrap());
        // A second restore into the same database finds it taken, and leaves nothing.
        let again = from.path("again");
        if let Location::Postgres(_) = database {
            let error = backup::restore(&again, database, &last, &Clock::system()).unwrap_err();
            assert_eq!(error.code, Code::AlreadyThere, "{error}");
            assert!(!again.exists());
        }
    }
    // The log is kept there as well, and goes on.
    let here = rusqlite::Connection::open(back.join("vendor.db")).unwrap();
    for statement in ["UPDATE audit SET who = 'bob'", "DELETE FROM audit"] {
        assert!(
            cluster.try_sql(statement).unwrap_err().contains("rows of audit are only added"),
            "{statement}"
        );
        let refused = here.execute_batch(statement).unwrap_err().to_string();
        assert!(refused.contains("rows of audit are only added"), "{statement}: {refused}");
    }
    for (directory, database) in [(&there, &postgres), (&back, &sqlite)] {
        let moved = Service::open_in(directory, database, Clock::system()).unwrap();
        assert_eq!(key(&moved, MAKS).id().serial(), 4);
        moved.verify_audit(Some(&kept.hash)).unwrap();
    }
}

/// Who comes second finds a vendor there, and takes nothing of it away.
#[test]
fn of_two_restores_at_once_one_is_done() {
    let place = Place::in_sqlite();
    let service = place.service();
    service.issue_few(&Issue::of(MAKS, 500)).unwrap();
    let file = place.path("vendor.backup");
    backup::back_up(&service, &place.service_directory(), &file, true).unwrap();
    for round in 0..5 {
        let there = place.path(&format!("there-{round}"));
        let restore = || backup::restore(&there, &service::own_database(&there), &file, &Clock::system());
        let ended = std::thread::scope(|scope| {
            let both = [scope.spawn(restore), scope.spawn(restore)];
            both.map(|one| one.join().unwrap())
        });
        let refused: Vec<_> = ended.iter().filter_map(|one| one.as_ref().err()).collect();
        assert!(refused.len() == 1 && refused[0].code == Code::AlreadyThere, "{ended:?}");
        let restored = Service::open(&there, Clock::system()).unwrap();
        restored.check().unwrap();
        assert_eq!(restored.keys(&Default::default(), 1_000).unwrap().len(), 500);
    }
}

/// An entry is what a restore holds in memory.
#[test]
fn entries_are_small_however_large_the_rows() {
    let place = Place::in_sqlite();
    place.meddle(
        "WITH RECURSIVE number (n) AS (VALUES (2) UNION ALL SELECT n + 1 FROM number WHERE n < 40)
         INSERT INTO catalog SELECT n, replace(hex(zeroblob(100000)), '00', 'ab'), 0 FROM number",
    );
    let file = place.path("vendor.backup");
    backup::back_up(&place.service(), &place.service_directory(), &file, true).unwrap();
    let mut archive = tar::Archive::new(std::fs::File::open(&file).unwrap());
    let sizes: Vec<u64> = archive.entries().unwrap().map(|entry| entry.unwrap().size()).collect();
    assert!(sizes.iter().sum::<u64>() > 7_500_000, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 1_500_000), "{sizes:?}");
}

/// A table that is forgotten here would be lost with the next restore.
#[test]
fn every_table_is_in_a_backup() {
    in_both(|place| {
        let listed: BTreeSet<String> = rows::TABLES.iter().map(|table| table.name.to_owned()).collect();
        let mut found: BTreeSet<String> = match &place.cluster {
            Some(cluster) => {
                let all = cluster
                    .sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
                all.lines().map(str::to_owned).collect()
            }
            None => {
                let file = rusqlite::Connection::open(place.service_directory().join("vendor.db")).unwrap();
                let mut select = file.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
                let names = select.query_map([], |row| row.get(0)).unwrap();
                names.map(Result::unwrap).collect()
            }
        };
        assert!(found.remove("schema_form"));
        assert_eq!(listed, found);
    });
}

/// Whatever goes wrong on the way, nothing is left behind, neither files nor tables.
#[test]
fn a_restore_that_fails_leaves_nothing() {
    in_both(|place| {
        let service = place.service();
        key(&service, MAKS);
        let file = place.path("vendor.backup");
        // A row that refers to nothing: the last of it is noticed late, when most has been put in.
        let stray = "INSERT INTO delivery (id, webhook, event, body, created, attempts, said) VALUES (1, 7, '', '', 1, 0, '')";
        match &place.cluster {
            Some(_) => place.meddle(&format!("SET session_replication_role = replica; {stray}")),
            None => place.meddle(&format!("PRAGMA foreign_keys = OFF; {stray}")),
        }
        backup::back_up(&service, &place.service_directory(), &file, true).unwrap();
        let (elsewhere, cluster) = (place.path("elsewhere"), Cluster::start());
        let postgres = Location::Postgres(cluster.url(&[]));
        for database in [&service::own_database(&elsewhere), &postgres] {
            for directory_is_there in [false, true] {
                if directory_is_there {
                    std::fs::create_dir(&elsewhere).unwrap();
                }
                let error = backup::restore(&elsewhere, database, &file, &Clock::system()).unwrap_err();
                let (code, what) = match database {
                    Location::File(_) => (Code::StoreDamaged, "is not a whole backup"),
                    Location::Postgres(_) => (Code::DatabaseUnavailable, "violates foreign key constraint"),
                };
                assert_eq!(error.code, code, "{error}");
                assert!(error.what.contains(what), "{error}");
                assert_eq!(elsewhere.exists(), directory_is_there);
                if directory_is_there {
                    std::fs::remove_file(elsewhere.join("vendor.lock")).unwrap();
                    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
                    std::fs::remove_dir(&elsewhere).unwrap();
                }
            }
        }
        let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
        assert_eq!(cluster.sql(tables), "0");
    });
}

/// Something of everything: a token and its number, and a session.
fn fill(service: &Service) -> (String, i64, accounts::SessionToken) {
    people(service);
    let mak = key(service, MAKS);
    let host = key(service, HOST_KEYS);
    service.issue_few(&Issue::of(MAKS, 2)).unwrap();
    service.add_webhook("https://shop.example/", &BTreeSet::from(Event::ALL)).unwrap();
    service.pack(host.id(), 3).unwrap();
    service.pack(mak.id(), 2).unwrap();
    for machine in 1..=2 {
        service.confirm(&installation_id(&mak, machine)).unwrap();
        service.confirm(&installation_id(&host, machine)).unwrap();
    }
    service.release_machine(mak.id(), ShortHardwareId([1; 6])).unwrap();
    let limits = NewLimits { machines: Some(Some(7)), ..NewLimits::default() };
    service.limit_key(mak.id(), &limits).unwrap();
    service.block_key(mak.id()).unwrap();
    let newest = service.activations(&Default::default(), 1).unwrap().remove(0);
    service.revoke_certificate(&newest.certificate.unwrap()).unwrap();
    let (record, token) = service.add_token("shop", &BTreeSet::from([Scope::Read]), None).unwrap();
    service.sign_in("sam", "guess").unwrap_err();
    let session = service.sign_in("alice", common::people::PASSWORD).unwrap();
    (token.reveal().to_owned(), record.id, session)
}

/// The tables of which [`fill`] leaves rows.
fn with_rows() -> BTreeSet<&'static str> {
    let none = ["key_run", "answer"];
    rows::TABLES.iter().map(|table| table.name).filter(|name| !none.contains(name)).collect()
}

/// The rows of a backup by their tables, in an order that does not depend on the database.
fn contents(file: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut archive = tar::Archive::new(std::fs::File::open(file).unwrap());
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let Some((_, table)) = name.strip_prefix("rows/").and_then(|name| name.split_once('-')) else {
            continue;
        };
        let text = std::io::read_to_string(entry).unwrap();
        tables.entry(table.to_owned()).or_default().extend(text.lines().map(str::to_owned));
    }
    tables
}
