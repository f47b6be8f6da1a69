//! The configuration file, the settings made by command, and the daemon's life: what wins, what is taken over while
//! it runs, and how it ends.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::wire::{begin, call, frame, message};
use common::{Host, Site, stderr, stdout, until};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;

#[test]
fn the_file_is_checked_and_shown_without_its_secrets() {
    let site = Site::installed();
    let text = "[listen]\naddress = '127.0.0.1:1700'\n[proxy]\nurl = 'http://user:secret@proxy.test:3128'\n\
        [database]\nurl-file = 'database-url'\n[[dns]]\ndomain = 'corp.test'\nserver = '127.0.0.1'\n\
        host-name = 'kms.corp.test'\n";
    let path = site.write("host.toml", text.as_bytes());
    let file = path.to_str().unwrap();
    let place = path.with_file_name("database-url");
    site.refuses(
        &["config", "check", file],
        &format!(
            "error Q601: {} cannot be read: no such file or directory\nnext: check the path",
            place.display()
        ),
    );
    site.write("database-url", b"postgres://user:secret@db.test/quorate\n");
    assert_eq!(stdout(&site.run(&["config", "check", file])), format!("{file} is in order.\n"));
    assert!(site.run(&["spri", "7"]).status.success());
    let shown = stdout(&site.run(&["--config", file, "config", "show"]));
    for line in [
        format!("# file: {file}"),
        "listen.address = \"127.0.0.1:1700\"  # file".to_owned(),
        format!("database.url = (hidden, in {})  # file", place.display()),
        "proxy.url = (hidden)  # file".to_owned(),
        "limits.idle = \"30s\"  # default".to_owned(),
        "# dns: corp.test at 127.0.0.1:53 as kms.corp.test, priority 7, weight 0, ttl 3600, no key  # file"
            .to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in {shown}");
    }
    assert!(!shown.contains("secret"));
    site.refuses(
        &["--config", "/nowhere/host.toml", "config", "show"],
        "error Q601: /nowhere/host.toml cannot be read: no such file or directory\nnext: check the path",
    );
    assert!(
        stdout(&site.run(&["config", "show"]))
            .contains("intervals.renewal = (the vendor's policy)  # default\n")
    );
}

#[test]
fn a_mistake_in_the_file_keeps_the_host_from_starting() {
    let site = Site::activated();
    let file = site.write("host.toml", b"[limits]\nidel = '3s'\n");
    site.refuses(
        &["--config", file.to_str().unwrap(), "serve"],
        &format!(
            "error Q209 (0x8007000D): line 2 of {}: \"limits.idel\" is not a key of this file\n\
             next: did you mean limits.idle? docs/host-config.md has all keys",
            file.display()
        ),
    );
}

/// The option wins over the file, and the file over the setting.
#[tokio::test]
async fn the_first_that_says_something_wins() {
    let site = Site::activated();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (set, in_file) = (free(), free());
    assert_eq!(
        stdout(&site.run(&["/sprt", &set.port().to_string()])),
        format!("The host listens on port {} from the next start of `quorate-host serve`.\n", set.port())
    );
    let file = site.write("host.toml", format!("[listen]\naddress = '{in_file}'\n").as_bytes());
    let serve = |file: bool, options: &[&str]| {
        let mut command = site.command();
        if file {
            command.env("QUORATE_HOST_CONFIG", site.directory.path().join("host.toml"));
        }
        command.arg("serve").args(options);
        Host::start(command).address.port()
    };
    assert_eq!(serve(false, &[]), set.port());
    assert_eq!(serve(true, &[]), in_file.port());
    let third = free();
    assert_eq!(serve(true, &["--listen", &third.to_string()]), third.port());
    let told = stdout(&site.run(&["--config", file.to_str().unwrap(), "sprt", "1700"]));
    assert!(told.contains("has listen.address, which comes first.\nnext: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_host_takes_settings_and_file_over() {
    let site = Site::activated();
    let file = site.write("host.toml", b"");
    let mut command = site.command();
    command.args(["--config", file.to_str().unwrap(), "serve", "--listen", "127.0.0.1:0"]);
    let host = Host::start(command);
    assert_eq!(site.ask(1, host.address).await, Ok(1));
    let line = |name: &str| {
        let shown = stdout(&site.run(&["--config", file.to_str().unwrap(), "dlv"]));
        let name = format!("    {name}: ");
        shown.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
    };
    assert_eq!(line("Activation interval"), "120 minutes");
    assert_eq!(line("Listening on Port"), host.address.port().to_string());

    // Below the policy it stays as the policy says.
    for (minutes, shown) in [("15", "120 minutes"), ("600", "600 minutes")] {
        assert_eq!(stderr(&site.run(&["/sai", minutes])), "");
        assert_eq!(line("Activation interval"), shown);
    }
    until("it is taken over", async || intervals(&site, host.address).await == (600, 7 * 24 * 60)).await;

    // The file comes first, with SIGHUP; the connection that is open stays.
    let mut open = site.http2(host.address).await;
    assert_eq!(call(&mut open, &message()).await.0, "0");
    site.write(
        "host.toml",
        b"[listen]\naddress = '127.0.0.1:1'\n[intervals]\nactivation = '5h'\nrenewal = '8d'\n",
    );
    let before = host.log().matches("the configuration is taken over").count();
    host.hang_up();
    until("it is taken over", async || {
        host.log().matches("the configuration is taken over").count() > before
    })
    .await;
    assert_eq!(intervals(&site, host.address).await, (300, 8 * 24 * 60));
    assert_eq!(call(&mut open, &message()).await.0, "0");
    // The address was given as an option, which wins; nothing needs a restart.
    assert!(!host.log().contains("needs a restart"), "{}", host.log());

    // A limit by address holds for those who connect from now on.
    let other = async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((std::net::Ipv4Addr::new(127, 0, 0, 3), 0).into()).unwrap();
        let mut stream = socket.connect(host.address).await.unwrap();
        tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await.is_ok()
    };
    site.write("host.toml", b"[limits]\nconnections-per-address = 1\n");
    let before = host.log().matches("the configuration is taken over").count();
    host.hang_up();
    until("it is taken over", async || {
        host.log().matches("the configuration is taken over").count() > before
    })
    .await;
    let mut turned_away = false;
    for _ in 0..20 {
        turned_away |= other().await;
    }
    assert!(turned_away, "20 connections at once, where 10 are allowed");
    site.write(
        "host.toml",
        b"[listen]\naddress = '127.0.0.1:1'\n[intervals]\nactivation = '5h'\nrenewal = '8d'\n",
    );
    host.hang_up();
    until("it is taken over again", async || {
        host.log().matches("the configuration is taken over").count() > before + 1
    })
    .await;

    // With a mistake everything stays as it was.
    site.write("host.toml", b"[intervals]\nrenewal = '8 years'\n");
    host.hang_up();
    until("it is told", async || host.log().contains("the configuration stays as it was")).await;
    assert_eq!(intervals(&site, host.address).await, (300, 8 * 24 * 60));
    site.write("host.toml", b"[limits]\nconnections = 100\n[log]\nformat = 'json'\n");
    host.hang_up();
    until("it is told", async || host.log().contains("what has changed here needs a restart")).await;
    assert!(host.log().contains("limits.connections log"), "{}", host.log());
    // It waits still at the next reload, and no more when it is as it runs.
    let waits = || host.log().matches("needs a restart").count();
    host.hang_up();
    until("it is told again", async || waits() == 2).await;
    site.write("host.toml", b"");
    let before = host.log().matches("the configuration is taken over").count();
    host.hang_up();
    until("it is taken over", async || {
        host.log().matches("the configuration is taken over").count() > before
    })
    .await;
    assert_eq!(waits(), 2, "{}", host.log());
    host.stop();
    assert!(line("Listening on Port").ends_with(" (not running)"));
}

#[test]
fn minutes_and_ports_have_their_bounds() {
    let site = Site::new();
    for arguments in [
        ["sai", "14"],
        ["sai", "43201"],
        ["sri", "14"],
        ["sri", "43201"],
        ["sprt", "0"],
        ["sprt", "65536"],
        ["spri", "65536"],
        ["spri", "-1"],
    ] {
        assert_eq!(site.run(&arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(!site.host_directory().exists());
}

#[test]
fn a_second_daemon_is_refused() {
    let site = Site::activated();
    let host = site.serve(&[]);
    let second = site.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(stderr(&second).ends_with(&format!(
        "error Q612: another `quorate-host serve` runs with {}\n\
         next: stop it first (`systemctl stop quorate-host`), or give this one a directory of its own with --dir\n",
        site.host_directory().display()
    )), "{}", stderr(&second));
    assert_eq!(second.status.code(), Some(1));
    drop(host);
    site.serve(&[]);
}

#[test]
fn log_lines_can_be_json() {
    let site = Site::activated();
    let file =
        site.write("host.toml", b"[log]\nformat = 'json'\nfilter = 'info,quorate_host::server=debug'\n");
    let mut command = site.command();
    command.args(["--config", file.to_str().unwrap(), "serve", "--listen", "127.0.0.1:0"]);
    let host = Host::start(command);
    let log = host.stop();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string() && line["message"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
    assert!(log.lines().count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_when_the_host_stops() {
    let site = Site::activated();
    let host = site.serve(&[]);
    let address = host.address;
    let mut requests = site.http2(address).await;
    let message = frame(&message());
    let (response, mut body) = begin(&mut requests);
    body.send_data(message.slice(..10), false).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    host.terminate();
    until("it accepts nobody more", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    body.send_data(message.slice(10..), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = answer.data().await {
        length += data.unwrap().len();
    }
    assert!(length > 100, "{length}");
    assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    // Stopping asserts that it ends with 0.
    tokio::task::spawn_blocking(move || host.stop()).await.unwrap();
}

/// What a machine hears from the host, in minutes.
async fn intervals(site: &Site, host: SocketAddr) -> (u32, u32) {
    site.ask(1, host).await.unwrap();
    let told = site.client(1).status().unwrap().intervals;
    (told.activation.as_minutes(), told.renewal.as_minutes())
}
