//! BIND 9, started for one test: what answers in most networks that Quorate will meet.

use quorate_client::discovery::Dns;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running `named`; it is ended when this is dropped.
pub struct Bind {
    /// Where it answers; it does so at the same port of `::1` where the machine has IPv6.
    pub address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Bind {
    /// Serves these zones, each a name and its records, and `broken.test`, for which it can only fail. It
    /// refuses all other questions.
    pub fn serving(zones: &[(&str, &str)]) -> Self {
        let directory = written(zones);
        for _ in 0..10 {
            let address = free_port();
            if let Some(child) = start(&directory, address.port()) {
                return Self { address, child, _directory: directory };
            }
        }
        panic!("named finds no free port");
    }

    /// Looks for hosts in these domains with this server.
    pub fn dns(&self, domains: &[&str]) -> Dns {
        Dns {
            server: Some(self.address),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        }
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with `named.conf` and these zones.
pub fn written(zones: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let mut configuration = format!(
        "options {{\n  directory \"{path}\";\n  session-keyfile \"{path}/session.key\";\n  pid-file none;\n  \
         listen-on {{ 127.0.0.1; }};\n  listen-on-v6 {{ ::1; }};\n  recursion no;\n  \
         dnssec-validation no;\n  notify no;\n}};\ncontrols {{ }};\n\
         zone \"broken.test\" {{ type primary; file \"missing\"; }};\n"
    );
    for (name, records) in zones {
        // The lying zones name what is not there, which the server would refuse to load.
        configuration += &format!(
            "zone \"{name}\" {{ type primary; file \"{name}.zone\"; check-names ignore; \
             check-integrity no; }};\n"
        );
        let zone = format!(
            "$TTL 60\n$ORIGIN {name}.\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\n\
             ns A 127.0.0.1\n{records}\n"
        );
        std::fs::write(directory.path().join(format!("{name}.zone")), zone).unwrap();
    }
    std::fs::write(directory.path().join("named.conf"), configuration).unwrap();
    directory
}

/// Starts the server and waits until it answers; nothing when another has taken the port meanwhile.
fn start(directory: &TempDir, port: u16) -> Option<Child> {
    let mut child = Command::new(NAMED)
        .arg("-g")
        .args(["-n", "1", "-p", &port.to_string(), "-c"])
        .arg(directory.path().join("named.conf"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{NAMED} cannot be started ({error}): install the Debian package bind9, as ./setup does")
        });
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    loop {
        let before = said.len();
        assert!(log.read_line(&mut said).unwrap() > 0, "named has ended:\n{said}");
        let line = said[before..].trim_end();
        if line.ends_with("address in use") {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        if line.ends_with(" running") {
            break;
        }
    }
    // Whatever it writes later must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Some(child)
}

/// A port that is free for UDP and TCP, in both families where there are both.
fn free_port() -> SocketAddr {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        let v6 = (Ipv6Addr::LOCALHOST, address.port());
        if UdpSocket::bind(address).is_ok()
            && (!has_ipv6 || (UdpSocket::bind(v6).is_ok() && TcpListener::bind(v6).is_ok()))
        {
            return address;
        }
    }
}

/// An ordinary user's path may lack its directory.
pub const NAMED: &str = "/usr/sbin/named";
