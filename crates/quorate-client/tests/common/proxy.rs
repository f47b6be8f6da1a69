//! tinyproxy, started for one test: a forward proxy as companies have them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running proxy; it is ended when this is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Proxy {
    /// One that serves everybody on this machine.
    pub fn open() -> Self {
        Self::with("")
    }

    /// One that asks for this name and password.
    pub fn for_user(name: &str, password: &str) -> Self {
        Self::with(&format!("BasicAuth {name} {password}\n"))
    }

    fn with(settings: &str) -> Self {
        for _ in 0..10 {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let log = directory.path().join("log");
            let configuration = format!(
                "Port {}\nListen 127.0.0.1\nTimeout 60\nLogFile \"{}\"\nLogLevel Connect\nAllow 127.0.0.1\n{settings}",
                address.port(),
                log.display()
            );
            let file = directory.path().join("tinyproxy.conf");
            std::fs::write(&file, configuration).unwrap();
            let mut child = Command::new("tinyproxy")
                .args(["-d", "-c"])
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("tinyproxy is not installed: run ./setup");
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(10) {
                if TcpStream::connect(address).is_ok() {
                    return Self { address, child, directory };
                }
                if child.try_wait().unwrap().is_some() {
                    // Another program was quicker at this port.
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("tinyproxy finds no free port");
    }

    /// Whether somebody has been connected to this address through it.
    pub fn has_connected_to(&self, address: SocketAddr) -> bool {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        log.contains(&format!("CONNECT {address} "))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
