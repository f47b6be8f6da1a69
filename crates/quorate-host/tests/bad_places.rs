//! Addresses that cannot be listened on, directories that cannot be used, disks that are full or read-only,
//! a database that is damaged.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::sandbox::{Sandbox, without_privileges};
use common::wire::{call, message};
use common::{AtWork, PROGRAM, Site, assert_refused, stderr};
use quorate_core::{Code, Error};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn a_port_in_use_is_named() {
    let site = Site::activated();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = other.local_addr().unwrap();
    let report = format!(
        "error Q506: cannot listen on {address}: address already in use\n\
         next: see what uses it (`ss -ltnp 'sport = :{}'`), or choose another port with --listen",
        address.port()
    );
    site.refuses(&["serve", "--listen", &address.to_string()], &report);
}

#[tokio::test]
async fn a_second_host_on_the_port_of_the_first_does_not_disturb_it() {
    let mut at_work = AtWork::start(&[]).await;
    let address = at_work.host.address;
    let report = format!(
        "error Q506: cannot listen on {address}: address already in use\n\
         next: see what uses it (`ss -ltnp 'sport = :{}'`), or choose another port with --listen",
        address.port()
    );
    at_work.site.refuses(&["serve", "--listen", &address.to_string()], &report);
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

#[test]
fn an_address_that_this_machine_does_not_have_is_refused() {
    // RFC 5737 keeps this network for documentation.
    Site::activated().refuses(
        &["serve", "--listen", "192.0.2.1:1688"],
        "error Q506: cannot listen on 192.0.2.1:1688: cannot assign requested address\n\
         next: choose an address of this machine with --listen",
    );
}

/// As for every program here, wrong usage is status 2.
#[test]
fn an_address_that_is_none_is_wrong_usage() {
    let output = Site::new().run(&["serve", "--listen", "localhost:1688"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "error: invalid value 'localhost:1688' for '--listen <ADDRESS:PORT>': invalid socket address syntax\n\n\
         For more information, try '--help'.\n"
    );
}

#[test]
fn a_directory_that_is_a_file_is_refused() {
    let site = Site::new();
    let file = site.write("host", b"a file");
    let report = format!(
        "error Q602: {} cannot be written: not a directory\nnext: check the disk and the path",
        site.database().display()
    );
    site.refuses(SERVE, &report);
    let unreadable = report.replace("Q602", "Q601").replace("written", "read");
    site.refuses(&["dti"], &unreadable);
    assert_refused(&site.install(&site.key.reveal(), &site.pack), &report);
    assert_eq!(std::fs::read(file).unwrap(), b"a file");
}

#[test]
fn a_directory_that_this_user_may_not_use_is_refused() {
    let site = Site::activated();
    let (directory, database) = (site.host_directory(), site.database());
    let before = std::fs::read(&database).unwrap();
    let report = format!(
        "error Q602: {} cannot be written: permission denied\n\
         next: run the command as the user who owns it, or with sudo",
        database.display()
    );
    for (file, mode) in [(&directory, 0o000), (&directory, 0o500), (&database, 0o000), (&database, 0o400)] {
        let usual = std::fs::metadata(file).unwrap().permissions();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = without_privileges(site.command().args(SERVE));
        std::fs::set_permissions(file, usual).unwrap();
        assert_refused(&output, &report);
    }
    assert_eq!(std::fs::read(&database).unwrap(), before);
    assert_eq!(site.count(), "0");
}

#[test]
fn a_read_only_file_system_is_named() {
    let site = Site::activated();
    let mut sandbox = Sandbox::new();
    let directory = site.directory.path().join("read-only");
    sandbox.mount("1m", &directory, &site.host_directory());
    sandbox.succeed(&format!("mount -o remount,bind,ro '{}'", directory.display()));
    let refused = |what: &Path| {
        format!(
            "error Q602: {} cannot be written: read-only file system\n\
             next: mount the file system for writing\n",
            what.display()
        )
    };
    let file = directory.join("host.db");
    let ipk = format!("ipk {} --pack '{}'", site.key.reveal(), site.pack.display());
    // `ato` too is refused before the vendor is asked: nobody listens there.
    for command in ["serve --listen 127.0.0.1:0", "ato --service https://127.0.0.1:1", "upk", &ipk] {
        let output =
            sandbox.run(&format!("timeout 20 '{PROGRAM}' --dir '{}' {command}", directory.display()));
        assert_eq!(output, (1, refused(&file)), "{command}");
    }
    let new = directory.join("new");
    let output = sandbox.run(&format!("timeout 20 '{PROGRAM}' --dir '{}' {ipk}", new.display()));
    assert_eq!(output, (1, refused(&new)));
}

#[test]
fn commands_on_a_full_disk_lose_nothing() {
    let site = Site::activated();
    let mut sandbox = Sandbox::new();
    let directory = site.directory.path().join("full");
    sandbox.mount("1m", &directory, &site.host_directory());
    sandbox.run(&format!("cat /dev/zero > '{}/filler'", directory.display()));
    let full = |what: &Path| {
        format!(
            "error Q603: {}/host.db cannot be written: no space left on device\n\
             next: free some space; nothing that was stored before is lost\n",
            what.display()
        )
    };
    let ipk = format!("ipk {} --pack '{}'", site.key.reveal(), site.pack.display());
    for command in ["serve --listen 127.0.0.1:0", "ato --service https://127.0.0.1:1", "upk", &ipk] {
        let output =
            sandbox.run(&format!("timeout 20 '{PROGRAM}' --dir '{}' {command}", directory.display()));
        assert_eq!(output, (1, full(&directory)), "{command}");
    }
    let new = directory.join("new");
    let output = sandbox.run(&format!("timeout 20 '{PROGRAM}' --dir '{}' {ipk}", new.display()));
    assert_eq!(output, (1, full(&new)));

    sandbox.succeed(&format!("rm '{}/filler'", directory.display()));
    let shown = sandbox.succeed(&format!("timeout 20 '{PROGRAM}' --dir '{}' dlv", directory.display()));
    assert!(shown.contains("License Status: Licensed"), "{shown}");
    // What failed halfway is not in the way.
    sandbox.succeed(&format!("timeout 20 '{PROGRAM}' --dir '{}' {ipk}", new.display()));
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_machines_until_there_is_space_again() {
    let site = Site::activated();
    let mut sandbox = Sandbox::new();
    let directory = site.directory.path().join("full");
    let place = directory.display();
    sandbox.mount("1m", &directory, &site.host_directory());
    let address = sandbox.serve(&directory, &site.directory.path().join("full.log"));
    assert_eq!(site.ask(1, address).await, Ok(1));

    sandbox.run(&format!("cat /dev/zero > '{place}/filler'"));
    let mut counted = 1;
    let refusal = loop {
        match site.ask(counted + 1, address).await {
            // The database may have a little room left in what it has already.
            Ok(count) if count < 10 => counted += 1,
            Ok(count) => panic!("{count} machines were counted on a full disk"),
            Err(error) => break error,
        }
    };
    let full = Error::new(
        Code::DiskFull,
        format!("{place}/host.db cannot be written: no space left on device"),
        "free some space; nothing that was stored before is lost",
    );
    assert_eq!(refusal, full);
    // Every machine is refused alike, and told that it may try again.
    assert_eq!(site.ask(99, address).await, Err(full));
    let mut connection = site.http2(address).await;
    let (status, _) = call(&mut connection, &message()).await;
    assert_eq!(status, "14", "UNAVAILABLE: may be tried again");

    sandbox.succeed(&format!("rm '{place}/filler'"));
    assert_eq!(site.ask(counted + 1, address).await, Ok(counted + 1));
    assert_eq!(site.ask(1, address).await, Ok(counted + 1));

    sandbox.kill();
    let address = sandbox.serve(&directory, &site.directory.path().join("again.log"));
    assert_eq!(site.ask(1, address).await, Ok(counted + 1));
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_as_it_is() {
    let mut at_work = AtWork::start(&[]).await;
    let site = &at_work.site;
    let database = site.database();
    // After a kill the last machines are in the journal alone: it counts as much as the file.
    at_work.host.kill();
    let files = [database.clone(), database.with_extension("db-wal")];
    let sound = files.each_ref().map(|file| std::fs::read(file).unwrap());
    assert!(!sound[1].is_empty());

    let size = sound[0].len();
    let pack = std::fs::read(&site.pack).unwrap();
    // Somewhere in the license pack, which the journal does not have.
    let find = |part: &[u8]| sound[0].windows(part.len()).position(|window| window == part);
    let place = pack.chunks(100).skip(100).find_map(find).unwrap();
    let page = place / 4096 * 4096;
    let mut overwritten = sound[0].clone();
    overwritten[page..page + 4096].fill(0xAA);
    let unsound = "it is not a sound database";
    let cases = [
        ("garbage", b"garbage ".repeat(1000), unsound),
        ("zeros", vec![0; size], unsound),
        ("nothing", Vec::new(), "it is empty"),
        ("cut off in the header", sound[0][..50].to_vec(), unsound),
        ("cut off after a page", sound[0][..4096].to_vec(), unsound),
        ("cut off in the middle", sound[0][..size / 2].to_vec(), unsound),
        ("cut off by one byte", sound[0][..size - 1].to_vec(), "it is cut off"),
        ("overwritten in the middle", overwritten, unsound),
    ];
    for (name, content, why) in cases {
        std::fs::write(&files[0], &content).unwrap();
        std::fs::write(&files[1], &sound[1]).unwrap();
        let output = site.run(SERVE);
        let report = format!(
            "error Q604 (0x8007000D): {} is damaged: {why}\n\
             next: put a backup of the whole directory in its place; the file was not changed",
            database.display()
        );
        assert_refused(&output, &report);
        assert!(std::fs::read(&files[0]).unwrap() == content, "{name}: the file was changed");
        assert!(std::fs::read(&files[1]).unwrap() == sound[1], "{name}: the journal was changed");
    }
    // A lost file is not a new beginning either, while its journal is there.
    std::fs::remove_file(&files[0]).unwrap();
    let report = format!(
        "error Q604 (0x8007000D): {} is damaged: it is missing, but its journal {} is there\n\
         next: put a backup of the whole directory in its place; the file was not changed",
        files[0].display(),
        files[1].display()
    );
    site.refuses(SERVE, &report);

    for (file, content) in files.iter().zip(&sound) {
        std::fs::write(file, content).unwrap();
    }
    at_work.host = at_work.site.serve(&[]);
    at_work.counts_the_next_machine().await;
    at_work.has_lost_nothing().await;
}

const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];
