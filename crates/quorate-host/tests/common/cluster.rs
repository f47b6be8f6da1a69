//! PostgreSQL, started for one test: a temporary cluster on a free port, and a standby of it where one is wanted.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server; it is ended when this is dropped.
pub struct Cluster {
    pub address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Cluster {
    /// A server with an empty database.
    pub fn start() -> Self {
        Self::run(initialised())
    }

    /// The same, to be reached by TLS alone, with this certificate and key in PEM.
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let directory = initialised();
        let data = directory.path().join("data");
        for (name, content) in [("server.crt", certificate), ("server.key", key)] {
            std::fs::write(data.join(name), content).unwrap();
            std::fs::set_permissions(data.join(name), Permissions::from_mode(0o600)).unwrap();
            own(&data.join(name));
        }
        // `is_ready` and `sql` come over the socket.
        std::fs::write(data.join("pg_hba.conf"), "local all all trust\nhostssl all all all trust\n").unwrap();
        std::fs::write(data.join("postgresql.auto.conf"), "ssl = on\n").unwrap();
        Self::run(directory)
    }

    /// A standby that follows this one, so closely that a commit waits for it.
    pub fn standby(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        own(directory.path());
        let data = directory.path().join("data");
        let source =
            format!("host=127.0.0.1 port={} user=quorate application_name=standby", self.address.port());
        run(as_owner("pg_basebackup")
            .args(["--write-recovery-conf", "--checkpoint=fast", "--dbname", &source, "--pgdata"])
            .arg(&data));
        let standby = Self::run(directory);
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.sql("SELECT pg_reload_conf()");
        let started = Instant::now();
        while self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1" {
            assert!(started.elapsed() < PATIENCE, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(50));
        }
        standby
    }

    /// Makes a standby the server that takes writes.
    pub fn promote(&self) {
        // It has no standby of its own to wait for.
        self.sql("SELECT pg_promote()");
        self.sql("ALTER SYSTEM RESET synchronous_standby_names");
        self.sql("SELECT pg_reload_conf()");
    }

    /// SIGKILL to the server and all its processes.
    pub fn kill(&mut self) {
        let pid = std::fs::read_to_string(self.directory.path().join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        // Its children end by themselves when it has gone.
        run(Command::new("kill").args(["-9", pid]));
        self.child.wait().unwrap();
    }

    /// The same server at the same address, after it was killed.
    pub fn again(mut self) -> Self {
        let (address, directory) =
            (self.address, std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap()));
        drop(self);
        Self::at(address, directory)
            .unwrap_or_else(|_| panic!("PostgreSQL does not start again at {address}"))
    }

    /// What a host connects with: this server, and others behind it.
    pub fn url(&self, others: &[&Cluster]) -> String {
        let all = std::iter::once(self).chain(others.iter().copied());
        let hosts: Vec<String> = all.map(|cluster| cluster.address.to_string()).collect();
        format!("postgresql://quorate@{}/postgres?sslmode=disable", hosts.join(","))
    }

    /// The same by TLS.
    pub fn tls_url(&self) -> String {
        format!("postgresql://quorate@{}/postgres?sslmode=require", self.address)
    }

    /// The first value of what a statement gives.
    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap()
    }

    /// The same, or what the database said against it.
    pub fn try_sql(&self, statement: &str) -> Result<String, String> {
        let output = Command::new(program("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--username=quorate", "--host"])
            .arg(self.directory.path())
            .args([format!("--port={}", self.address.port()), "--dbname=postgres".to_owned()])
            .args(["--command", statement])
            .output()
            .unwrap();
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    fn run(directory: TempDir) -> Self {
        let mut directory = directory;
        for _ in 0..10 {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            match Self::at(address, directory) {
                Ok(cluster) => return cluster,
                // Another program was quicker at this port.
                Err(again) => directory = again,
            }
        }
        panic!("PostgreSQL does not start in {}", directory.path().display());
    }

    fn at(address: SocketAddr, directory: TempDir) -> Result<Self, TempDir> {
        let mut child = as_owner("postgres")
            .arg("-D")
            .arg(directory.path().join("data"))
            .args(["-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", &format!("unix_socket_directories={}", directory.path().display())])
            .args(["-c", "wal_level=replica", "-c", "hot_standby=on"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while started.elapsed() < PATIENCE && child.try_wait().unwrap().is_none() {
            if TcpStream::connect(address).is_ok() && is_ready(directory.path(), address) {
                return Ok(Self { address, child, directory });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(directory)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A quick stop; what is in it goes with its directory.
        let _ = as_owner("pg_ctl")
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(self.directory.path().join("data"))
            .stderr(Stdio::null())
            .status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(socket: &Path, address: SocketAddr) -> bool {
    let port = address.port().to_string();
    let asked = Command::new(program("pg_isready")).args(["-q", "-p", &port, "-h"]).arg(socket).status();
    asked.unwrap().success()
}

/// A directory with a cluster's files.
fn initialised() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    own(directory.path());
    run(as_owner("initdb")
        .args(["--auth=trust", "--username=quorate", "--encoding=UTF8", "--pgdata"])
        .arg(directory.path().join("data")));
    directory
}

/// A program of the newest PostgreSQL that Debian has installed.
fn program(name: &str) -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed: run ./setup");
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is not installed: run ./setup").join("bin").join(name)
}

/// The server refuses to run as root; tests that do use the package's own user.
fn as_owner(name: &str) -> Command {
    if !is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program(name));
    // It must be able to stand where it is started.
    command.current_dir("/");
    command
}

fn own(directory: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres:postgres").arg(directory));
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

const PATIENCE: Duration = Duration::from_secs(30);
