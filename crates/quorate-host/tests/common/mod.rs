//! A customer's site for tests: a vendor made through its library, a directory for the host, the real
//! `quorate-host` as a process, and honest machines that ask through the client library.
//!
//! Everything lies in one temporary directory, every port is the system's choice, and nothing that was
//! started outlives its value here.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

pub mod cluster;
pub mod name_server;
pub mod sandbox;
pub mod wire;

use quorate_client::Client;
use quorate_client::discovery::Dns;
use quorate_client::host_address::HostAddress;
use quorate_client::registration;
use quorate_client::transport;
use quorate_core::activation::ActivationRequest;
use quorate_core::hardware::{Component, Components};
use quorate_core::identifier::ActivationId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_state::LicenseStatus;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Code, Result};
use quorate_edge::clock::Clock;
use quorate_edge::files::{self, Access};
use quorate_edge::machine::Machine;
use quorate_edge::random;
use quorate_edge::server;
use quorate_proto::request;
use quorate_proto::v1::ActivateRequest;
use quorate_vendor::authority::Directories;
use quorate_vendor::keys::Issue;
use quorate_vendor::products;
use quorate_vendor::service::{Service, Vendor};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::{NamedTempFile, TempDir};

/// A vendor and a customer of it, who has bought a host key.
pub struct Site {
    pub directory: TempDir,
    pub vendor: Service,
    pub key: ProductKey,
    pub pack: PathBuf,
}

impl Site {
    /// A customer of Contoso who has done nothing yet.
    pub fn new() -> Self {
        Self::of_vendor("contoso", "https://activation.contoso.example")
    }

    /// A customer of another vendor, whose service is at `url`.
    pub fn of_vendor(id: &str, url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let directories = Directories {
            service: directory.path().join("vendor"),
            root: directory.path().join("vendor-root-offline"),
        };
        let vendor = Vendor { id: id.parse().unwrap(), name: format!("{id} Ltd"), url: url.to_owned() };
        Service::create(&directories, &vendor, &Clock::system()).unwrap();
        let vendor = Service::open(&directories.service, Clock::system()).unwrap();
        vendor.import(products::read_products(Path::new(PRODUCTS)).unwrap()).unwrap();
        for (name, text) in [(ROOT, vendor.authority().root_pem()), (CATALOG, vendor.catalog_jws().unwrap())]
        {
            files::write(&directory.path().join(name), text.as_bytes(), Access::Public).unwrap();
        }
        let key = vendor.issue_few(&Issue::of(HOST_KEYS, 1)).unwrap().remove(0);
        let site = Self { pack: directory.path().join("office.pack"), directory, vendor, key };
        let pack = site.vendor.pack(site.key.id(), 3).unwrap();
        site.write("office.pack", pack.as_bytes());
        site
    }

    /// A customer whose vendor's service can be reached, and whose host is activated there.
    pub async fn online() -> Self {
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let site = Self::of_vendor("contoso", &format!("https://{}", listener.local_addr().unwrap()));
        let service = Service::open(&site.directory.path().join("vendor"), Clock::system()).unwrap();
        let tls = service.authority().service_tls("127.0.0.1", Clock::system().now()).unwrap();
        tokio::spawn(quorate_vendor::command::serve(service, tls, listener, std::future::pending()));
        assert_eq!(stderr(&site.install(&site.key.reveal(), &site.pack)), "");
        assert_eq!(stderr(&site.run(&["ato"])), "");
        site
    }

    /// Issues another host key, with its pack.
    pub fn another_key(&mut self) -> (ProductKey, PathBuf) {
        let key = self.issue(HOST_KEYS);
        let pack = self.vendor.pack(key.id(), 3).unwrap();
        let pack = self.write(&format!("{}.pack", key.id()), pack.as_bytes());
        (key, pack)
    }

    /// A customer whose host key is installed, but not activated.
    pub fn installed() -> Self {
        let site = Self::new();
        let installed = site.install(&site.key.reveal(), &site.pack);
        assert_eq!(stderr(&installed), "");
        assert!(installed.status.success());
        site
    }

    /// A customer whose host is activated, by telephone.
    pub fn activated() -> Self {
        let mut site = Self::installed();
        let confirmation_id = site.confirmation_id();
        let activated = site.run(&["atp", &confirmation_id]);
        assert_eq!(stderr(&activated), "");
        assert!(activated.status.success());
        site
    }

    /// What the phone desk says to the Installation ID that the host shows.
    pub fn confirmation_id(&mut self) -> String {
        let installation_id: InstallationId = self.installation_id().parse().unwrap();
        self.vendor.confirm(&installation_id).unwrap().confirmation_id.to_string()
    }

    /// The Installation ID that `dti` shows.
    pub fn installation_id(&self) -> String {
        let shown = stdout(&self.run(&["dti"]));
        shown.lines().nth(1).unwrap_or_else(|| panic!("dti showed no Installation ID: {shown}")).to_owned()
    }

    /// Issues another key of a group.
    pub fn issue(&mut self, group: u16) -> ProductKey {
        self.vendor.issue_few(&Issue::of(group, 1)).unwrap().remove(0)
    }

    /// Writes a file beside the pack and gives its path.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        files::write(&path, content, Access::Public).unwrap();
        path
    }

    /// The host's directory.
    pub fn host_directory(&self) -> PathBuf {
        self.directory.path().join("host")
    }

    /// The host's database file.
    pub fn database(&self) -> PathBuf {
        self.host_directory().join("host.db")
    }

    /// The program with its directory, and without what the environment might tell it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_clear().arg("--dir").arg(self.host_directory()).stdin(Stdio::null());
        command
    }

    /// Runs one command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        finish(self.command().args(arguments))
    }

    /// `ipk`.
    pub fn install(&self, key: &str, pack: &Path) -> Output {
        finish(self.command().args(["ipk", key, "--pack"]).arg(pack))
    }

    /// A command is refused with exactly this.
    pub fn refuses(&self, arguments: &[&str], report: &str) {
        assert_refused(&self.run(arguments), report);
    }

    /// What `dlv` says the count is.
    pub fn count(&self) -> String {
        let shown = stdout(&self.run(&["dlv"]));
        let line = shown.lines().find_map(|line| line.strip_prefix("    Current count: "));
        line.unwrap_or_else(|| panic!("dlv shows no count: {shown}")).to_owned()
    }

    /// Starts the daemon.
    pub fn serve(&self, options: &[&str]) -> Host {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(options);
        Host::start(command)
    }

    /// An honest machine with the product on it; the same again for the same number.
    pub fn client(&self, number: u32) -> Client {
        let machine = Machine::played(&format!("pc-{number}"), &format!("machine {number}"));
        let (state, clock) = (self.directory.path().join(format!("pc-{number}")), Clock::system());
        let (root, catalog) = (self.directory.path().join(ROOT), self.directory.path().join(CATALOG));
        let edition: ActivationId = OFFICE_STANDARD.parse().unwrap();
        let (vendor, _) =
            registration::register(&state, &root, &catalog, Some(edition), &machine, clock.now()).unwrap();
        let application = vendor.sku(edition).unwrap().application;
        Client::new(vendor, application, machine, Dns::default(), clock)
    }

    /// A machine asks the host at an address. Gives the count that the host answered, enough or not.
    pub async fn ask(&self, number: u32, host: SocketAddr) -> Result<u32> {
        let client = self.client(number);
        client.set_host(Some(HostAddress { name: host.ip().to_string(), port: host.port() })).unwrap();
        match client.activate().await {
            Ok(activated) => Ok(activated.by_host().unwrap().count),
            Err(error) if error.code == Code::CountTooLow => {
                Ok(client.status().unwrap().product.last.unwrap().count.unwrap())
            }
            Err(error) => Err(error),
        }
    }

    /// A machine asks the host at an address, both by a clock of the test. Says whether it was answered.
    pub async fn ask_by(&self, clock: &Clock, host: SocketAddr) -> Result<()> {
        let authority = self.vendor.authority();
        let peer = transport::Peer { root: authority.root(), vendor: authority.vendor(), clock };
        let request = ActivateRequest { client_time_ms: clock.now().as_millisecond(), ..request() };
        transport::ask(&peer, &[host], request).await.map(drop).map_err(|refusal| refusal.error)
    }
}

/// A daemon; killed when dropped.
pub struct Host {
    child: Child,
    log: NamedTempFile,
    pub address: SocketAddr,
}

impl Host {
    pub fn start(mut command: Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(log.reopen().unwrap()).spawn().unwrap();
        let ended = || child.try_wait().unwrap().is_some();
        let port = listening_port(log.path(), ended);
        Self { child, log, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, as a service manager stops it. Gives what it has logged.
    pub fn stop(mut self) -> String {
        self.terminate();
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}; its log:\n{}", self.log());
                return self.log();
            }
            assert!(started.elapsed() < PATIENCE, "the host does not stop; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, as a service manager begins to stop it.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGHUP, as a service manager reloads it.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// How many files and connections it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself; then both say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host at work, which has counted some machines.
pub struct AtWork {
    pub site: Site,
    pub host: Host,
    counted: u32,
}

impl AtWork {
    /// Starts a host and has it count two machines.
    pub async fn start(options: &[&str]) -> Self {
        let site = Site::activated();
        let host = site.serve(options);
        let mut at_work = Self { site, host, counted: 0 };
        at_work.counts_the_next_machine().await;
        at_work.counts_the_next_machine().await;
        at_work
    }

    /// A machine that has not asked before is answered at once, and the count is right.
    pub async fn counts_the_next_machine(&mut self) {
        self.counted += 1;
        let started = Instant::now();
        assert_eq!(self.site.ask(self.counted, self.host.address).await, Ok(self.counted));
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "an honest machine waited {took:?}");
    }

    /// A machine that the test has asked for by hand is counted as well.
    pub fn counted_another(&mut self) {
        self.counted += 1;
    }

    /// The host is killed and started again, and has lost nothing.
    pub async fn has_lost_nothing(mut self) {
        assert_eq!(self.site.count(), self.counted.to_string());
        self.host.kill();
        self.host = self.site.serve(&[]);
        assert_eq!(self.site.ask(1, self.host.address).await, Ok(self.counted));
    }
}

/// What a machine that has never asked before sends.
pub fn request() -> ActivateRequest {
    let cmid = random::cmid();
    request::to_wire(&ActivationRequest {
        application: OFFICE.parse().unwrap(),
        sku: OFFICE_STANDARD.parse().unwrap(),
        cmid,
        hardware: Components::new([(Component::MachineId, cmid.to_string().as_str())]).id(),
        status: LicenseStatus::InitialGrace,
        minutes_left: 43_200,
        threshold: 5,
        client_time: Clock::system().now(),
        machine_name: "pc".to_owned(),
        virtual_machine: false,
        nonce: random::nonce(),
        previous_cmid: None,
    })
}

/// Tries until it is so, for as long as anything here may take.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "{what}: still not so");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The port in the daemon's log, as soon as it is there.
pub fn listening_port(log: &Path, mut ended: impl FnMut() -> bool) -> u16 {
    let started = Instant::now();
    loop {
        let has_ended = ended();
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("the activation host is listening"));
        let port = |line: &str| {
            let (_, port) = line.split_once("port=").or_else(|| line.split_once("\"port\":"))?;
            port.trim_end().trim_end_matches('}').split(',').next()?.parse().ok()
        };
        if let Some(port) = line.and_then(port) {
            return port;
        }
        assert!(!has_ended && started.elapsed() < PATIENCE, "the host does not listen; its log:\n{text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command that must end by itself.
pub fn finish(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    // What a command prints here is far less than a pipe holds.
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the command does not end: {command:?}: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// A command has ended with status 1, has printed nothing, and has said exactly this.
pub fn assert_refused(output: &Output, report: &str) {
    assert_eq!(stderr(output), format!("{report}\n"));
    assert_eq!(stdout(output), "");
    assert_eq!(output.status.code(), Some(1));
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A product key id of the example's office host keys.
pub fn host_key_id(serial: u32) -> KeyId {
    KeyId::new(HOST_KEYS, serial).unwrap()
}

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate-host");
/// The key groups of the example.
pub const HOST_KEYS: u16 = 96;
pub const MAKS: u16 = 97;
/// The office suite in the example.
pub const OFFICE: &str = "0ff1ce15-a989-479d-af46-f275c6370663";
/// Its Standard edition in the example, and its KMSHost edition.
pub const OFFICE_STANDARD: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02";
pub const OFFICE_HOST: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f01";
pub const PRODUCTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../quorate-vendor/examples/contoso.toml");
const ROOT: &str = "vendor-root.pem";
const CATALOG: &str = "catalog.jws";
const PATIENCE: Duration = Duration::from_secs(20);
