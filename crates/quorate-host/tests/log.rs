//! Where the log goes: a real rsyslog and a real journal receive it, in a namespace of their own.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::sandbox::Sandbox;
use common::{PROGRAM, Site, until};
use std::net::SocketAddr;
use std::path::Path;

/// A `/dev` and a `/run` in which nobody receives anything yet, in a directory of the test's.
fn nobody_listens(directory: &Path) -> Sandbox {
    let mut sandbox = Sandbox::new();
    let dev = directory.join("dev");
    std::fs::create_dir(&dev).unwrap();
    let dev = dev.display();
    sandbox.succeed(&format!(
        "for device in null zero full random urandom; do
            touch {dev}/$device && mount --bind /dev/$device {dev}/$device || exit 1
        done
        mount --rbind {dev} /dev && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal"
    ));
    sandbox
}

/// A host that writes its log there. Its address, since the log does not come here.
fn serve(sandbox: &mut Sandbox, site: &Site, target: &str, more: &str) -> SocketAddr {
    let address = common::name_server::free_port();
    let config = site.write("host.toml", format!("[log]\nto = '{target}'\n{more}").as_bytes());
    site.write("stderr", b"");
    let options = format!("--config '{}' --listen {address}", config.display());
    sandbox.start(&site.host_directory(), &site.directory.path().join("stderr"), &options);
    address
}

async fn answered(site: &Site, machine: u32, address: SocketAddr) {
    until("the host answers", async || site.ask(machine, address).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_has_each_request_with_its_severity() {
    let site = Site::activated();
    let directory = tempfile::tempdir().unwrap();
    let mut sandbox = nobody_listens(directory.path());
    let messages = directory.path().join("messages");
    let config = directory.path().join("rsyslog.conf");
    let text = format!(
        "module(load=\"imuxsock\")\n\
         template(name=\"plain\" type=\"string\" string=\"%syslogfacility-text%.%syslogseverity-text% %programname%:%msg%\\n\")\n\
         *.* action(type=\"omfile\" file=\"{}\" template=\"plain\")\n",
        messages.display()
    );
    std::fs::write(&config, text).unwrap();
    let daemon = format!(
        "rsyslogd -n -f '{}' -i '{}' & syslog=$!; until test -S /dev/log; do sleep 0.05; done",
        config.display(),
        directory.path().join("rsyslogd.pid").display()
    );
    sandbox.succeed(&daemon);
    let address = serve(&mut sandbox, &site, "syslog", "");
    answered(&site, 1, address).await;
    let log = || std::fs::read_to_string(&messages).unwrap_or_default();
    let request =
        "daemon.notice quorate-host: quorate_host::server: request event=12290 result=\"0\" count=1";
    until("it is there", async || log().contains("machine=pc-1 ")).await;
    assert!(log().contains(request), "{}", log());
    assert_eq!(std::fs::read_to_string(site.directory.path().join("stderr")).unwrap(), "");
    // The syslog daemon is started again: nothing but what it missed is missing.
    sandbox.succeed("kill $syslog; wait $syslog; rm -f /dev/log");
    sandbox.succeed(&daemon);
    answered(&site, 2, address).await;
    until("it is there again", async || log().contains("machine=pc-2 ")).await;
    sandbox.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_has_the_fields_of_each_request() {
    let site = Site::activated();
    let directory = tempfile::tempdir().unwrap();
    let mut sandbox = nobody_listens(directory.path());
    sandbox.succeed(
        "test -s /etc/machine-id || { echo 'there is no /etc/machine-id'; exit 1; }
        /lib/systemd/systemd-journald 2>/dev/null &
        until test -S /run/systemd/journal/socket; do sleep 0.05; done",
    );
    let address = serve(&mut sandbox, &site, "journald", "");
    answered(&site, 7, address).await;
    let mut journal = |matches: &str| {
        sandbox.run(&format!("journalctl --directory=/run/log/journal --no-pager --output=cat {matches}")).1
    };
    let mut found = String::new();
    let request = "-t quorate-host QUORATE_RESULT=0 QUORATE_MACHINE=pc-7 PRIORITY=5 --output=verbose";
    until("it is there", async || {
        found = journal(request);
        found.contains("QUORATE_COUNT=1")
    })
    .await;
    for field in
        ["MESSAGE=request", "QUORATE_THRESHOLD=5", "QUORATE_ADDRESS=127.0.0.1:", "QUORATE_EVENT=12290"]
    {
        assert!(found.contains(field), "{field} is not in {found}");
    }
    assert!(journal("-t quorate-host").contains("the activation host is listening"));
    sandbox.kill();
}

#[test]
fn a_log_that_nobody_receives_is_an_error() {
    let site = Site::activated();
    let directory = tempfile::tempdir().unwrap();
    let mut sandbox = nobody_listens(directory.path());
    for (target, socket) in [("journald", "/run/systemd/journal/socket"), ("syslog", "/dev/log")] {
        let config = site.write("host.toml", format!("[log]\nto = '{target}'\n").as_bytes());
        let (config, host) = (config.display(), site.host_directory());
        for command in [format!("config check '{config}'"), format!("--config '{config}' serve")] {
            let (status, printed) =
                sandbox.run(&format!("env -i '{PROGRAM}' --dir '{}' {command}", host.display()));
            let expected = format!(
                "error Q602: the log cannot be written to {target}: {socket} does not exist\n\
                 next: start that service, or write the log to standard error: log.to = \"stderr\"\n"
            );
            assert_eq!((status, printed), (1, expected), "{command}");
        }
    }
}
