//! BIND 9 and Knot DNS, each started for one test as `docs/dns-publishing.md` sets it up: what stands there is
//! what runs here, with other paths, other ports and fresh keys.

use quorate_host::dns::TsigKey;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Knot,
}

/// A primary server of [`DOMAIN`] that lets the keys `kms1` and `kms2` change Contoso's record; it is ended
/// when this is dropped.
pub struct NameServer {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Option<Child>,
    directory: TempDir,
}

impl NameServer {
    /// Starts it, with these records in the zone.
    pub fn start(kind: Kind, records: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for host in ["kms1", "kms2"] {
            make_key(kind, host, directory.path());
        }
        let zone = format!(
            "$TTL 60\n$ORIGIN {DOMAIN}.\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n{records}\n"
        );
        std::fs::write(directory.path().join(format!("{DOMAIN}.zone")), zone).unwrap();
        let mut server = Self { kind, address: free_port(), child: None, directory };
        for _ in 0..10 {
            server.configure(&server.documented());
            if server.try_run() {
                return server;
            }
            // Another has taken the port meanwhile.
            server.address = free_port();
        }
        panic!("{kind:?} does not start:\n{}", server.log());
    }

    /// Starts it with another configuration of the zone.
    pub fn restart_with(&mut self, zones: &str) {
        self.stop();
        self.configure(zones);
        self.run();
    }

    /// Copies the zone's file to another name.
    pub fn copy_zone(&self, name: &str) {
        let directory = self.directory.path();
        std::fs::copy(directory.join(format!("{DOMAIN}.zone")), directory.join(name)).unwrap();
    }

    /// The configuration of the documentation.
    pub fn documented(&self) -> String {
        let (first_line, theirs) = match self.kind {
            Kind::Bind => ("// /etc/bind/named.conf.local", ["/etc/bind", "/var/lib/bind"]),
            Kind::Knot => ("# /etc/knot/knot.conf", ["/etc/knot", "/var/lib/knot"]),
        };
        let mut text = snippet(first_line);
        for path in theirs {
            text = text.replace(&format!("{path}/"), &format!("{}/", self.directory.path().display()));
        }
        for host in ["kms1", "kms2"] {
            let placeholder = format!("SECRET-OF-{}", host.to_uppercase());
            text = text.replace(&placeholder, self.key_text(host).rsplit(':').next().unwrap());
        }
        text
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again where it was, with what it had.
    pub fn run(&mut self) {
        assert!(self.try_run(), "{:?} does not start:\n{}", self.kind, self.log());
    }

    /// The key of a host, as `--tsig-key` takes it.
    pub fn key_text(&self, host: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(host).with_extension("tsig"))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub fn key(&self, host: &str) -> TsigKey {
        TsigKey::read(&self.key_text(host)).unwrap()
    }

    /// The SRV records of a name that it gives out, as lines.
    pub fn records(&self, name: &str) -> Vec<String> {
        self.ask(name, "SRV")
    }

    /// The serial of the zone, which rises with every change.
    pub fn serial(&self) -> String {
        self.ask(DOMAIN, "SOA")[0].split(' ').nth(6).unwrap().to_owned()
    }

    fn ask(&self, name: &str, kind: &str) -> Vec<String> {
        let said = self.dig(name, kind).unwrap_or_else(|| panic!("no answer; its log:\n{}", self.log()));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut records: Vec<String> = said.lines().map(words).filter(|line| !line.is_empty()).collect();
        records.sort();
        records
    }

    /// Asks with the tool of the same house.
    fn dig(&self, name: &str, kind: &str) -> Option<String> {
        let (program, package, once) = match self.kind {
            Kind::Bind => ("/usr/bin/dig", "bind9-dnsutils", "+tries=1"),
            Kind::Knot => ("/usr/bin/kdig", "knot-dnsutils", "+retry=0"),
        };
        let (server, port) = (format!("@{}", self.address.ip()), self.address.port().to_string());
        let options =
            [&server, "-p", &port, name, kind, "+noall", "+answer", "+norecurse", "+timeout=1", once];
        let said = Command::new(program)
            .args(options)
            .env_clear()
            .output()
            .unwrap_or_else(|error| missing(program, package, &error));
        said.status.success().then(|| String::from_utf8(said.stdout).unwrap())
    }

    fn configure(&self, zones: &str) {
        let (directory, port) = (self.directory.path().display(), self.address.port());
        let general = match self.kind {
            Kind::Bind => format!(
                "options {{\n  directory \"{directory}\";\n  session-keyfile \"{directory}/session.key\";\n  \
                 pid-file none;\n  listen-on {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  recursion no;\n  \
                 dnssec-validation no;\n  notify no;\n}};\ncontrols {{ }};\n"
            ),
            Kind::Knot => format!(
                "server:\n    rundir: \"{directory}\"\n    listen: 127.0.0.1@{port}\n    udp-workers: 1\n    \
                 tcp-workers: 1\n    background-workers: 1\nlog:\n  - target: stderr\n    any: info\n\
                 database:\n    storage: \"{directory}\"\n"
            ),
        };
        std::fs::write(self.configuration(), format!("{general}{zones}")).unwrap();
    }

    /// Runs it in the foreground and waits until it answers; says whether it does.
    fn try_run(&mut self) -> bool {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let (program, package) = match self.kind {
            Kind::Bind => ("/usr/sbin/named", "bind9"),
            Kind::Knot => ("/usr/sbin/knotd", "knot"),
        };
        let mut command = Command::new(program);
        if self.kind == Kind::Bind {
            command.args(["-g", "-n", "1", "-p", &self.address.port().to_string()]);
        }
        command.arg("-c").arg(self.configuration()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|error| missing(program, package, &error)));
        let started = Instant::now();
        while self.dig(DOMAIN, "SOA").is_none_or(|said| said.trim().is_empty()) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap().is_some();
            if ended || self.log().contains("address in use") || started.elapsed() > PATIENCE {
                self.stop();
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    fn configuration(&self) -> PathBuf {
        self.directory.path().join("configuration")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the key of a host with the commands of the documentation.
fn make_key(kind: Kind, host: &str, directory: &Path) {
    let commands = match kind {
        Kind::Bind => snippet("tsig-keygen"),
        Kind::Knot => snippet("keymgr"),
    };
    let commands =
        commands.replace("/etc/bind/", "").replace("kms1", host).replace("tsig.key", &format!("{host}.tsig"));
    let made = Command::new("/bin/sh")
        .args(["-e", "-c", &commands])
        .current_dir(directory)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(
        made.status.success(),
        "a key cannot be made ({said}): install the Debian packages bind9 and knot, as ./setup does"
    );
}

/// The block of the documentation that begins so.
fn snippet(beginning: &str) -> String {
    let mut blocks =
        DOCUMENTATION.split("\n```").skip(1).step_by(2).filter_map(|block| Some(block.split_once('\n')?.1));
    let block = blocks.find(|block| block.starts_with(beginning));
    block
        .unwrap_or_else(|| panic!("docs/dns-publishing.md has no block that begins with {beginning}"))
        .to_owned()
}

fn missing(program: &str, package: &str, error: &std::io::Error) -> ! {
    panic!("{program} cannot be started ({error}): install the Debian package {package}, as ./setup does")
}

/// A port that is free for UDP and TCP.
pub fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// The zone.
pub const DOMAIN: &str = "corp.example.com";
/// The name in it that may be changed.
pub const NAME: &str = "_contoso-kms._tcp.corp.example.com.";
const DOCUMENTATION: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dns-publishing.md"));
const PATIENCE: Duration = Duration::from_secs(20);
