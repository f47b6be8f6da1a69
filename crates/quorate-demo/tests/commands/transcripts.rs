//! The main commands as sessions at a terminal, compared with files of their exact output.

// The one that a user has to give a name to is for others.
#[allow(dead_code)]
#[path = "../../../quorate-client/tests/common/proxy.rs"]
mod proxy;

use crate::support::{self, Terminal};
use proxy::Proxy;
use quorate_edge::machine::Machine;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

#[test]
fn help() {
    Terminal::new().follow("help.txt");
}

#[test]
fn the_story_online() {
    Terminal::new().follow("demo.txt");
}

#[test]
fn the_story_by_telephone() {
    Terminal::new().follow("demo-phone.txt");
}

#[test]
fn the_story_with_one_machine_too_few() {
    Terminal::new().follow("demo-4.txt");
}

#[test]
fn the_story_of_a_leaked_key() {
    Terminal::new().follow("demo-leak.txt");
}

#[test]
fn a_vendor_sets_up() {
    vendor_terminal().follow("vendor.txt");
}

/// Case study 1 of the article: the host key, the failed activation, the telephone, the status.
#[test]
fn a_host_is_activated_by_telephone() {
    let (mut terminal, key) = vendor_with_host_key("https://127.0.0.1:1");
    terminal.set("KEY", &key);
    terminal.set("MISTYPED", format!("{}{}", if key.starts_with('B') { 'C' } else { 'B' }, &key[1..]));
    terminal.run("quorate-vendor catalog --out product");
    // As the package has started it.
    let host = Daemon::host(&terminal);
    terminal.set("HOST", format!("127.0.0.1:{}", host.port));
    machines(&terminal, 5);
    terminal.follow("host-by-phone.txt");
}

/// An activation host in ten minutes: online, through a proxy, with its file.
#[test]
fn a_host_is_activated_online() {
    let (mut terminal, key) = vendor_with_host_key("https://127.0.0.1");
    terminal.set("KEY", key);
    let service = Daemon::vendor(&terminal);
    terminal.set("SERVICE", format!("https://127.0.0.1:{}", service.port));
    let proxy = Proxy::open();
    terminal.set("PROXY", format!("http://{}", proxy.address));
    std::fs::write(terminal.directory().join("tsig.key"), "hmac-sha256:kms1:AAECAwQFBgcICQoLDA0ODw==\n")
        .unwrap();
    terminal.run("chmod 600 tsig.key");
    let book = include_str!("../../../../docs/administrators.md");
    let host_toml = book.split("```").find_map(|block| block.strip_prefix("toml\n")).unwrap();
    let host_toml = host_toml.replace("/etc/quorate/tsig.key", "tsig.key");
    std::fs::write(terminal.directory().join("host.toml"), host_toml).unwrap();
    let _host = Daemon::host(&terminal);
    terminal.follow("host-online.txt");
    assert!(proxy.has_connected_to((Ipv4Addr::LOCALHOST, service.port).into()));
}

/// Case study 2 of the article: machines without the domain's DNS, the host set by its address.
#[test]
fn machines_outside_the_domain_are_activated() {
    let (mut terminal, key) = vendor_with_host_key("https://127.0.0.1:1");
    terminal.run("quorate-vendor catalog --out product");
    terminal.run(&format!("quorate-host ipk {key} --pack office.pack"));
    let installation_id = terminal.run("quorate-host dti | sed -n 2p");
    let confirmed = terminal.run(&format!("quorate-vendor confirm {installation_id}"));
    let confirmation_id = confirmed.split_whitespace().last().unwrap();
    terminal.run(&format!("quorate-host atp {confirmation_id}"));
    let host = Daemon::host(&terminal);
    terminal.set("HOST", format!("127.0.0.1:{}", host.port));
    machines(&terminal, 5);
    terminal.follow("client.txt");
}

/// The article's first question and its last: KMS or MAK, and how to change over; with a MAK in each of its ways.
#[test]
fn machines_are_activated_with_a_mak() {
    let mut terminal = vendor_terminal();
    terminal.run(
        "quorate-vendor init --vendor contoso --name 'Contoso Ltd' --url https://127.0.0.1 --root-dir root",
    );
    terminal.run("quorate-vendor product import products.toml");
    terminal.run("quorate-vendor catalog --out product");
    let issued = terminal.run("quorate-vendor key issue --group 97");
    let key = issued.split_whitespace().last().unwrap();
    terminal.run("quorate-vendor pack 00097-000-000001 --out mak.pack");
    terminal.set("MAK", key);
    terminal.set("LAST5", &key[24..]);
    let issued = terminal.run("quorate-vendor key issue --group 99");
    terminal.set("SETUP_KEY", issued.split_whitespace().last().unwrap());
    let service = Daemon::vendor(&terminal);
    terminal.set("SERVICE", format!("https://127.0.0.1:{}", service.port));
    machines(&terminal, 3);
    terminal.follow("mak.txt");
}

/// Files that describe machines to play.
fn machines(terminal: &Terminal, count: u32) {
    for number in 1..=count {
        let machine = Machine::played(&format!("pc-{number}"), &number.to_string());
        let text = toml::to_string(&machine).unwrap();
        std::fs::write(terminal.directory().join(format!("pc-{number}.toml")), text).unwrap();
    }
}

/// A vendor with a service at this URL, which has issued a host key and its pack.
fn vendor_with_host_key(url: &str) -> (Terminal, String) {
    let terminal = vendor_terminal();
    terminal.run(&format!(
        "quorate-vendor init --vendor contoso --name 'Contoso Ltd' --url {url} --root-dir root"
    ));
    terminal.run("quorate-vendor product import products.toml");
    let issued = terminal.run("quorate-vendor key issue --group 96");
    terminal.run("quorate-vendor pack 00096-000-000001 --out office.pack");
    (terminal, issued.split_whitespace().last().unwrap().to_owned())
}

fn vendor_terminal() -> Terminal {
    let terminal = Terminal::new();
    let products = concat!(env!("CARGO_MANIFEST_DIR"), "/../quorate-vendor/examples/contoso.toml");
    std::fs::copy(products, terminal.directory().join("products.toml")).unwrap();
    terminal
}

/// A program that serves until this is dropped.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    fn host(terminal: &Terminal) -> Self {
        Self::start(terminal, "quorate-host", "host", "port=")
    }

    fn vendor(terminal: &Terminal) -> Self {
        Self::start(terminal, "quorate-vendor", "vendor", "address=127.0.0.1:")
    }

    /// Starts `PROGRAM serve` in its directory. Its log says, behind `label`, at which port it listens.
    fn start(terminal: &Terminal, program: &str, directory: &str, label: &str) -> Self {
        let mut child = Command::new(support::programs().join(program))
            .args(["--dir", directory, "serve", "--listen", "127.0.0.1:0"])
            .current_dir(terminal.directory())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("is listening") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "{program} has stopped");
        }
        let port = line.rsplit_once(label).unwrap().1.trim().parse().unwrap();
        // Whatever it writes later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, port }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
