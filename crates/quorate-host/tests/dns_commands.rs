//! The host in DNS, from end to end: `serve`, `dns show`, `dns publish`, `dns withdraw` and `dlv`, with a real
//! name server.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::name_server::{DOMAIN, Kind, NAME, NameServer};
use common::{Host, Site, assert_refused, stderr, stdout, until};
use std::path::PathBuf;

/// A customer with an activated host and a name server.
struct Network {
    site: Site,
    server: NameServer,
    address: String,
    key_file: PathBuf,
}

impl Network {
    fn new() -> Self {
        let (site, server) = (Site::activated(), NameServer::start(Kind::Bind, ""));
        let key_file = site.write("tsig.key", server.key_text("kms1").as_bytes());
        Self { site, address: server.address.to_string(), server, key_file }
    }

    /// The options that publish the host, and these.
    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let key_file = self.key_file.to_str().unwrap();
        let options = ["--publish", DOMAIN, "--dns-server", &self.address];
        [&options[..], &["--host-name", HOST_NAME, "--tsig-key", key_file], more].concat()
    }

    fn serve(&self, more: &[&str]) -> Host {
        self.site.serve(&self.options(more))
    }

    async fn gives_out(&self, record: &str) {
        until(record, async || self.server.records(NAME) == [record]).await;
    }

    /// What a command prints that succeeds.
    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.site.run(arguments);
        assert_eq!(stderr(&output), "");
        assert_eq!(output.status.code(), Some(0));
        stdout(&output)
    }

    /// The lines of `dlv` about DNS.
    fn dlv(&self) -> Vec<String> {
        let shown = self.prints(&["dlv"]);
        shown.lines().filter(|line| line.contains("DNS")).map(|line| line.trim().to_owned()).collect()
    }
}

fn line(numbers: &str) -> String {
    format!("{NAME} 3600 IN SRV {numbers} {HOST_NAME}.")
}

#[tokio::test]
async fn a_host_comes_changes_and_is_withdrawn() {
    let network = Network::new();
    let key_file = network.key_file.to_str().unwrap();
    assert_eq!(
        network.prints(&["dns", "show"]),
        "_contoso-kms._tcp.YOUR.DOMAIN. 3600 IN SRV 0 0 1688 THIS.HOST.YOUR.DOMAIN.\n"
    );
    assert_eq!(network.dlv(), ["DNS publishing disabled"]);

    let host = network.serve(&[]);
    let first = line(&format!("0 0 {}", host.address.port()));
    network.gives_out(&first).await;
    until("dlv", async || {
        network.dlv() == ["DNS publishing enabled: corp.example.com (priority 0, weight 0)"]
    })
    .await;
    assert_eq!(network.prints(&["dns", "show"]), format!("{first}\n"));

    // It stops as a service manager stops it, and its record stays.
    assert!(host.stop().contains(&format!("DNS published event=12294 record={first}")));
    assert_eq!(network.server.records(NAME), [first]);

    // Another port and another priority: only the new record is there.
    let host = network.serve(&["--priority", "5", "--weight", "7"]);
    let second = line(&format!("5 7 {}", host.address.port()));
    network.gives_out(&second).await;
    assert_eq!(
        network.prints(&["dns", "withdraw", "--tsig-key", key_file]),
        format!(
            "Removed: {second}\n\
             next: start `quorate-host serve` without --publish, or set `quorate-host cdns`; it publishes the host at its start and daily\n"
        )
    );
    assert_eq!(network.server.records(NAME), [""; 0]);
    assert!(!host.stop().contains(network.server.key_text("kms1").rsplit(':').next().unwrap()));

    // By hand, and then as before but for one number.
    assert_eq!(
        network.prints(&[&["dns", "publish"], &network.options(&[])[..]].concat()),
        format!("Published: {}\n", second.replace(" 5 7 ", " 0 0 "))
    );
    assert_eq!(
        network.prints(&["dns", "publish", "--tsig-key", key_file, "--priority", "9"]),
        format!(
            "Removed: {}\nPublished: {}\n",
            second.replace(" 5 7 ", " 0 0 "),
            second.replace(" 5 7 ", " 9 0 ")
        )
    );
    let host = network.site.serve(&[]);
    until("the log", async || {
        host.log().contains("this host is not to be published in that domain any more")
    })
    .await;
    assert_eq!(
        network.dlv(),
        ["DNS publishing disabled", "Still in DNS: corp.example.com (priority 9, weight 0)"]
    );
    let withdraw = ["dns", "withdraw", "--tsig-key", key_file];
    assert_eq!(network.prints(&withdraw), format!("Removed: {}\n", second.replace(" 5 7 ", " 9 0 ")));
    assert_eq!(network.server.records(NAME), [""; 0]);
    assert_eq!(
        network.prints(&withdraw),
        "There is nothing to remove: this host has no record in DNS that it knows of.\n"
    );
}

#[tokio::test]
async fn with_its_key_a_vendor_leaves_dns() {
    let network = Network::new();
    let host = network.serve(&[]);
    network.gives_out(&line(&format!("0 0 {}", host.address.port()))).await;
    network.prints(&["upk"]);
    until("it is removed", async || network.server.records(NAME).is_empty()).await;
    until("the log", async || host.log().contains("removed from DNS")).await;
}

#[tokio::test]
async fn a_domain_that_fails_is_told_beside_one_that_succeeds() {
    let network = Network::new();
    let options = network.options(&["--publish", "other.example"]);
    let output = network.site.run(&[&["dns", "publish"], &options[..]].concat());
    assert_eq!(stdout(&output), format!("Published: {}\n", line("0 0 1688")));
    assert_eq!(
        stderr(&output),
        format!(
            "error Q508: _contoso-kms._tcp.other.example cannot be changed at {}: the server is not the primary \
             server of a zone other.example (NOTAUTH)\n\
             next: name the zone with --publish and its primary server with --dns-server: `dig SOA other.example` \
             shows both\n",
            network.address
        )
    );
    assert_eq!(output.status.code(), Some(1));
    let host = network.site.serve(&options);
    network.gives_out(&line(&format!("0 0 {}", host.address.port()))).await;
    until("dlv", async || {
        network.dlv()
            == [
                "DNS publishing enabled: corp.example.com (priority 0, weight 0)",
                "DNS publishing enabled: other.example (not published yet; why is in the log of `quorate-host serve`)",
            ]
    })
    .await;

    // Withdrawn where it is told, and only there.
    let key_file = network.key_file.to_str().unwrap();
    let elsewhere = ["dns", "withdraw", "--publish", "other.example", "--tsig-key", key_file];
    let said = network.prints(&elsewhere);
    assert!(
        said.contains(&format!("Still published: {}\n", line(&format!("0 0 {}", host.address.port())))),
        "{said}"
    );
    assert_eq!(network.server.records(NAME).len(), 1);
}

#[test]
fn records_for_adding_by_hand_need_no_server() {
    let site = Site::installed();
    let show =
        ["dns", "show", "--publish", "a.example", "--publish", "B.example.", "--host-name", "kms.a.example"];
    let output = site.run(&[&show[..], &["--priority", "3", "--weight", "4", "--ttl", "60"]].concat());
    assert_eq!(
        stdout(&output),
        "_contoso-kms._tcp.a.example. 60 IN SRV 3 4 1688 kms.a.example.\n\
         _contoso-kms._tcp.b.example. 60 IN SRV 3 4 1688 kms.a.example.\n"
    );
    let address = site.run(&["dns", "show", "--publish", "a.example", "--host-name", "192.0.2.10"]);
    assert_refused(
        &address,
        "error Q507: \"192.0.2.10\" is not a domain name\nnext: write it as in \"corp.example.com\"",
    );
}

#[test]
fn what_is_missing_is_said() {
    let site = Site::new();
    let no_host = site.run(&["dns", "show"]);
    assert_eq!(no_host.status.code(), Some(1));
    assert!(stderr(&no_host).starts_with("error Q605: there is no host in "), "{}", stderr(&no_host));
    for (arguments, lacks) in [
        (&["dns", "publish", "--publish", "a.example", "--host-name", "b"][..], "--dns-server"),
        (&["dns", "publish", "--publish", "a.example", "--dns-server", "127.0.0.1"], "--host-name"),
        (&["serve", "--publish", "a.example", "--host-name", "b"], "--dns-server"),
        (&["dns", "show", "--publish", "a.example"], "--host-name"),
        (&["dns", "withdraw", "--dns-server", "127.0.0.1"], "--publish"),
    ] {
        let output = site.run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(lacks), "{}", stderr(&output));
    }

    let site = Site::installed();
    site.refuses(
        &["dns", "publish"],
        "error Q302 (0xC004F041): this host has no activated key that it could be published for\n\
         next: activate it with `quorate-host ato`; `quorate-host dlv all` shows how each key stands",
    );
    let site = Site::activated();
    site.refuses(
        &["dns", "publish"],
        "error Q507: no domain is given, and this host has not been published yet\n\
         next: give --publish DOMAIN --dns-server ADDRESS --host-name NAME --tsig-key FILE",
    );
}

/// Published by the file, with the priority that a command has set, and not any more when a command says so.
#[tokio::test]
async fn the_file_and_commands_say_how_the_host_is_published() {
    let network = Network::new();
    let text = format!(
        "[[dns]]\ndomain = '{DOMAIN}'\nserver = '{}'\nhost-name = '{HOST_NAME}'\ntsig-key-file = 'tsig.key'\n",
        network.address
    );
    let file = network.site.write("host.toml", text.as_bytes());
    let config = ["--config", file.to_str().unwrap()];
    let mut command = network.site.command();
    command.args(config).args(["serve", "--listen", "127.0.0.1:0"]);
    let host = Host::start(command);
    let record = |numbers: &str| line(&format!("{numbers} {}", host.address.port()));
    network.gives_out(&record("0 0")).await;
    assert_eq!(network.prints(&["/spri:4"]), "The host's SRV records have priority 4.\n");
    network.gives_out(&record("4 0")).await;
    assert_eq!(network.prints(&["/cpri"]), "The host's SRV records have priority 0.\n");
    network.gives_out(&record("0 0")).await;

    assert!(network.prints(&["/cdns"]).starts_with("DNS publishing is off.\n"));
    until("dlv", async || network.dlv().first().is_some_and(|line| line == "DNS publishing disabled")).await;
    // The key for the domain is in the file as well.
    let withdrawn = network.prints(&[&config[..], &["dns", "withdraw"]].concat());
    assert_eq!(withdrawn, format!("Removed: {}\n", record("0 0")));
    assert_eq!(
        network.prints(&["/sdns"]),
        "DNS publishing is on, where the configuration file or --publish says.\n"
    );
    network.gives_out(&record("0 0")).await;
}

const HOST_NAME: &str = "kms1.corp.example.com";
