//! A server as a process of its own, and what the system says of it.

use crate::servers::Kind;
use quorate_core::{Code, Error, Result};
use quorate_edge::files;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; ends with this.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Processor time so far.
pub struct ProcessorTime {
    /// Of all threads.
    pub whole: Duration,
    /// Of the ledger's thread.
    pub ledger: Duration,
}

impl Process {
    /// Starts a server over a host's directory and waits until it listens.
    pub fn start(kind: Kind, directory: &Path, options: &[&str]) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(
                Code::Internal,
                format!("a server cannot be started ({error})"),
                "check the system's limits",
            )
        };
        let path = directory.join(format!("{}.log", kind.name()));
        let log = std::fs::File::create(&path).map_err(|error| files::writing(&path, &error))?;
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(program)
            .arg(kind.name())
            .arg(directory)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut process = Self { child, address: (Ipv4Addr::LOCALHOST, 0).into() };
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let port = text.split_once("listening port=").map(|(_, rest)| rest);
            let port = port.and_then(|rest| rest.split_once('\n')).map(|(port, _)| port.trim().parse());
            if let Some(Ok(port)) = port {
                process.address.set_port(port);
                return Ok(process);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        Err(Error::new(Code::Internal, format!("a server does not listen: {log}"), "see what its log says"))
    }

    /// Processor time so far.
    pub fn processor_time(&self) -> ProcessorTime {
        let (mut whole, mut ledger) = (Duration::ZERO, Duration::ZERO);
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        for thread in threads.into_iter().flatten().flatten() {
            let time = scheduled(&thread.path().join("schedstat"));
            whole += time;
            let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            if name.trim() == "ledger" {
                ledger += time;
            }
        }
        ProcessorTime { whole, ledger }
    }

    /// Memory that it holds, in megabytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 =
            line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default();
        kilobytes / 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of this thread so far.
pub fn thread_time() -> Duration {
    scheduled(Path::new("/proc/thread-self/schedstat"))
}

/// The first figure there is the time on a processor, in nanoseconds.
fn scheduled(path: &Path) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(first.unwrap_or_default())
}

const PATIENCE: Duration = Duration::from_secs(60);
