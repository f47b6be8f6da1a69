//! A vendor, activation hosts, machines and a clock for tests: the real programs and libraries, on loopback.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

pub mod bind;
pub mod desk;
pub mod name_server;
pub mod peers;
pub mod proxy;
pub mod terminal;

use quorate_client::Client;
use quorate_client::discovery::Dns;
use quorate_client::host_address::HostAddress;
use quorate_client::registration;
use quorate_core::identifier::{ActivationId, ApplicationId};
use quorate_core::license_state::LicenseStatus;
use quorate_core::signed::Signer;
use quorate_core::{Interval, Result, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::files::{self, Access};
use quorate_edge::machine::Machine;
use quorate_edge::server::{self, Limits};
use quorate_host::credentials::{Active, Credentials};
use quorate_host::keys::{self, HostKey};
use quorate_host::server::Options;
use quorate_host::store::Store;
use quorate_proto::v1::activation_server::{Activation, ActivationServer};
use quorate_vendor::authority::Directories;
use quorate_vendor::command::write_catalog;
use quorate_vendor::keys::Issue;
use quorate_vendor::products;
use quorate_vendor::service::{Service, Vendor as VendorName};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A vendor, and the two files that its product ships with.
pub struct Vendor {
    pub service: Service,
    pub directory: TempDir,
    clock: Clock,
}

impl Vendor {
    /// A vendor whose office suite is activated once one machine has asked.
    pub fn new(id: &str) -> Self {
        Self::with(id, &products(id, 1), Clock::system())
    }

    /// A vendor with these products.
    pub fn with(id: &str, products: &str, clock: Clock) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let directories =
            Directories { service: directory.path().join("vendor"), root: directory.path().join("root") };
        let vendor = VendorName {
            id: id.parse().unwrap(),
            name: format!("{id} Ltd"),
            url: "https://127.0.0.1".to_owned(),
        };
        Service::create(&directories, &vendor, &clock).unwrap();
        let service = Service::open(&directories.service, clock.clone()).unwrap();
        let mut vendor = Self { service, directory, clock };
        vendor.import(products);
        vendor
    }

    /// Signs a new catalog with these products.
    pub fn import(&mut self, products: &str) {
        let file = self.directory.path().join("products.toml");
        files::write(&file, products.as_bytes(), Access::Public).unwrap();
        self.service.import(products::read_products(&file).unwrap()).unwrap();
        write_catalog(&self.service, &self.directory.path().join("product"), &mut std::io::sink()).unwrap();
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("product/vendor-root.pem")
    }

    pub fn catalog(&self) -> PathBuf {
        self.directory.path().join("product/catalog.jws")
    }

    /// The beginning of the root's fingerprint, as errors show it.
    pub fn fingerprint(&self) -> String {
        self.service.authority().root().fingerprint()[..23].to_owned()
    }

    /// An activation host of a customer, activated by telephone and listening.
    pub async fn host(&mut self) -> Host {
        self.host_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same, listening on this address.
    pub async fn host_at(&mut self, address: IpAddr) -> Host {
        self.host_with_key(HOST_KEYS, address).await
    }

    /// The same, with a key of this group.
    pub async fn host_with_key(&mut self, group: u16, address: IpAddr) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let key = self.service.issue_few(&Issue::of(group, 1)).unwrap().remove(0);
        let pack = self.service.pack(key.id(), 1).unwrap();
        let now = self.clock.now();
        {
            let mut store = Store::open_or_create(directory.path()).unwrap();
            let hardware = machine(0).components();
            let installed = keys::install(&mut store, &key.reveal(), &pack, &hardware, now).unwrap();
            let spoken = self
                .service
                .confirm(&installed.installed.installation_id)
                .unwrap()
                .confirmation_id
                .to_string();
            keys::confirm(&mut store, installed, &spoken, now).unwrap();
        }
        Host::serve(directory, self.clock.clone(), address).await
    }
}

/// The shipped example with another vendor's service name, and this threshold for the office suite.
pub fn products(vendor: &str, threshold: u32) -> String {
    EXAMPLE
        .replace("contoso-kms", &format!("{vendor}-kms"))
        .replace("threshold = 5", &format!("threshold = {threshold}"))
}

/// A running activation host.
pub struct Host {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
    _directory: TempDir,
}

impl Host {
    /// A host on which no key is installed.
    pub async fn without_key() -> Self {
        Self::serve(tempfile::tempdir().unwrap(), Clock::system(), Ipv4Addr::LOCALHOST.into()).await
    }

    /// A host of the vendor that has gone wrong: it is believed, and then it answers like this.
    pub async fn replaced_by<A: Activation>(self, answers: A) -> SocketAddr {
        let directory = self._directory.path().to_owned();
        let clock = Clock::system();
        let installed = keys::Installed::all(&Store::open(&directory).unwrap(), clock.now()).unwrap();
        let active = Active::load(&installed, &machine(0).components(), clock.now());
        let tls = quorate_host::server::tls(Arc::new(Credentials::new(active)), &clock).unwrap();
        self.stop().await;
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = ActivationServer::new(answers);
        let tls = Some(Arc::new(tls));
        tokio::spawn(server::serve(
            listener,
            tls,
            service,
            Limits::default,
            Arc::default(),
            std::future::pending(),
        ));
        address
    }

    /// What it signs its answers with.
    pub fn signer(&self) -> Signer {
        let store = Store::open(self._directory.path()).unwrap();
        let key = HostKey::select(&store, None, Clock::system().now()).unwrap();
        let credential = key.installed.activation.unwrap().credential;
        Signer::new(&credential.private_key, &credential.chain)
    }

    async fn serve(directory: TempDir, clock: Clock, address: IpAddr) -> Self {
        let listener = server::listen((address, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = Options::new(directory.path().to_owned(), machine(0).components());
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // A test that ends drops the other half.
            let _ = stopped.await;
        };
        let task = tokio::spawn(quorate_host::server::serve(options, listener, clock, stopped));
        Self { address, stop, task, _directory: directory }
    }

    pub fn host_address(&self) -> HostAddress {
        self.address.to_string().parse().unwrap()
    }

    /// Stops it; nothing listens at its address any more.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// A machine of the customer, with the directory in which it keeps its licenses.
pub struct Pc {
    pub machine: Machine,
    directory: TempDir,
}

impl Pc {
    /// A machine on which nothing is installed.
    pub fn new(number: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = machine(number);
        let text = format!(
            "name = \"pc-{number}\"\nkind = \"physical\"\n[readings]\nmachine-id = [\"test machine {number}\"]\n"
        );
        files::write(&directory.path().join("machine.toml"), text.as_bytes(), Access::Public).unwrap();
        Self { machine, directory }
    }

    /// A machine on which the Standard edition of the vendor's office suite has just been installed.
    pub fn with_product(number: u32, vendor: &Vendor) -> Self {
        let pc = Self::new(number);
        let now = vendor.clock.now();
        let edition = Some(STANDARD.parse::<ActivationId>().unwrap());
        registration::register(&pc.state(), &vendor.root(), &vendor.catalog(), edition, &pc.machine, now)
            .unwrap();
        pc
    }

    /// Another machine with all the files of this one, as when a disk is copied.
    pub fn copied_to(&self, number: u32) -> Self {
        let copy = Self::new(number);
        let status = Command::new("cp").arg("-a").arg(self.state()).arg(copy.state()).status().unwrap();
        assert!(status.success());
        copy
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn machine_file(&self) -> PathBuf {
        self.directory.path().join("machine.toml")
    }

    /// The license store of the vendor's office suite.
    pub fn store(&self, vendor: &str) -> PathBuf {
        self.state().join(vendor).join(format!("{OFFICE}.license.json"))
    }

    /// The office suite of the only vendor, as its program sees it.
    pub fn client(&self, clock: &Clock) -> Client {
        self.client_with(&Dns::default(), clock)
    }

    pub fn client_with(&self, dns: &Dns, clock: &Clock) -> Client {
        let (mut clients, errors) = Client::all(&self.state(), &self.machine, dns, clock).unwrap();
        assert_eq!((clients.len(), errors), (1, vec![]));
        clients.remove(0)
    }

    /// The office suite, with the host set by hand.
    pub fn client_of(&self, host: &Host, clock: &Clock) -> Client {
        let client = self.client(clock);
        client.set_host(Some(host.host_address())).unwrap();
        client
    }

    pub fn license(&self) -> LicenseStatus {
        self.client(&Clock::system()).status().unwrap().state.status
    }

    /// `quorate` with these arguments, on this machine.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(&mut self.command(arguments))
    }

    /// The same, before it is run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let (state, machine) = (self.state(), self.machine_file());
        let mut command = quorate(&state, &machine);
        command.args(arguments);
        command
    }

    /// `quorate activate` with the host set to this address.
    pub fn activate_at(&self, address: SocketAddr) -> Ran {
        self.run(&["set-host", &address.to_string()]).succeeds();
        self.run(&["activate"])
    }

    /// `quorate activate` that looks for its host with this name server.
    pub fn activate_by_dns(&self, server: SocketAddr, domain: &str) -> Ran {
        self.run(&["--dns-server", &server.to_string(), "--domain", domain, "activate"])
    }
}

/// The program, in this state directory and on this machine, whatever the environment says.
pub fn quorate(state: &Path, machine: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    for variable in ["QUORATE_DIR", "QUORATE_MACHINE", "QUORATE_DNS_SERVER", "QUORATE_DOMAIN", "QUORATE_HOST"]
    {
        command.env_remove(variable);
    }
    for variable in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(variable).env_remove(variable.to_lowercase());
    }
    command.env("QUORATE_HOST_FILE", state.with_file_name("host"));
    command.arg("--dir").arg(state).arg("--machine").arg(machine);
    command
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn from(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it printed, when it succeeded.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!((self.status, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    /// It printed nothing but this error and ended with 1.
    #[track_caller]
    pub fn fails(self, what: &str, next: &str) {
        assert_eq!(self.err, format!("error {what}\nnext: {next}\n"));
        assert_eq!((self.status, self.out.as_str()), (Some(1), ""));
    }

    /// The same, when what it says ends in another program's words.
    #[track_caller]
    pub fn fails_from(self, what: &str, next: &str) {
        assert!(self.err.starts_with(&format!("error {what}")), "{self:?}");
        assert!(self.err.ends_with(&format!(")\nnext: {next}\n")), "{self:?}");
        assert_eq!((self.status, self.out.as_str()), (Some(1), ""));
    }

    /// The product was not activated, for this reason.
    #[track_caller]
    pub fn is_not_activated(&self, what: &str, next: &str) {
        assert_eq!(self.err, format!("error {what}\nnext: {next}\n"));
        assert_eq!(
            (self.status, self.out.as_str()),
            (Some(1), "Contoso Office, Standard edition: not activated.\n")
        );
    }

    /// The product was not renewed, for this reason, and is licensed all the same.
    #[track_caller]
    pub fn is_not_renewed(&self, what: &str, next: &str) {
        assert_eq!(self.err, format!("error {what}\nnext: {next}\n"));
        let holds = "Contoso Office, Standard edition: asked without success; the activation holds.\n";
        assert_eq!((self.status, self.out.as_str()), (Some(1), holds));
    }

    /// The value of a line of `quorate status`.
    #[track_caller]
    pub fn line(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        self.out.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// A machine that differs from others in its readings.
pub fn machine(number: u32) -> Machine {
    Machine::played(&format!("pc-{number}"), &format!("test machine {number}"))
}

/// A clock that a test moves.
#[derive(Clone)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    /// Set to the real time, and standing still.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Timestamp::now().as_second())))
    }

    pub fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::new(move || hands.now())
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub fn forward(&self, interval: Interval) {
        self.0.fetch_add(interval.as_seconds().into(), Ordering::SeqCst);
    }

    pub fn back(&self, interval: Interval) {
        self.0.fetch_sub(interval.as_seconds().into(), Ordering::SeqCst);
    }
}

pub fn office() -> ApplicationId {
    OFFICE.parse().unwrap()
}

/// Two editions of the example that hosts activate, and the application that they are of.
pub const STANDARD: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02";
pub const PROFESSIONAL: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f03";
pub const OFFICE: &str = "0ff1ce15-a989-479d-af46-f275c6370663";
/// The editions that hosts activate, as errors list them.
pub const EDITIONS: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02 (Contoso Office, Standard edition), \
     6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f03 (Contoso Office, Professional edition), \
     9a1b7c42-3e5d-4f60-8b21-7d4e2f9a6c02 (Contoso OS, Enterprise edition)";
/// All that a machine can have.
pub const ALL_EDITIONS: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02 (Contoso Office, Standard edition), \
     6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f03 (Contoso Office, Professional edition), \
     6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f04 (Contoso Office, Standard edition (MAK)), \
     6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f05 (Contoso Office, Home edition), \
     9a1b7c42-3e5d-4f60-8b21-7d4e2f9a6c02 (Contoso OS, Enterprise edition)";
pub const HOST_KEYS: u16 = 96;
const EXAMPLE: &str = include_str!("../../../quorate-vendor/examples/contoso.toml");
