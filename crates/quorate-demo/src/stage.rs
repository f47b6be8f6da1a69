//! The stage: a vendor's service, an activation host and machines, each with its own directory.

use crate::name_server::{DOMAIN, HOST, NameServer};
use quorate_client::Client;
use quorate_client::discovery::Dns;
use quorate_client::registration;
use quorate_core::identifier::{ActivationId, VendorId};
use quorate_core::product_key::ProductKey;
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::files::{self, Access};
use quorate_edge::machine::Machine;
use quorate_edge::server;
use quorate_host::dns::{Publication, TsigKey};
use quorate_host::keys::{self, HostKey};
use quorate_host::server::Options;
use quorate_host::store::Store;
use quorate_vendor::authority::Directories;
use quorate_vendor::command as vendor_command;
use quorate_vendor::keys::Issue;
use quorate_vendor::products;
use quorate_vendor::service::{Service, Vendor};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Everything that runs.
pub struct Stage {
    /// Where all state is.
    pub directory: PathBuf,
    /// The clock that every part of the story goes by.
    pub clock: StoryClock,
    /// The vendor.
    pub vendor: Service,
    /// The DNS server.
    pub name_server: NameServer,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// The real time, or earlier by an amount that the story sets.
#[derive(Clone, Default)]
pub struct StoryClock {
    seconds_back: Arc<AtomicU32>,
}

impl StoryClock {
    /// The clock for the programs.
    pub fn clock(&self) -> Clock {
        let (back, system) = (Arc::clone(&self.seconds_back), Clock::system());
        Clock::new(move || Interval::seconds(back.load(Ordering::Relaxed)).before(system.now()))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// Moves the clock to this much before the real time.
    pub fn set_back(&self, interval: Interval) {
        self.seconds_back.store(interval.as_seconds(), Ordering::Relaxed);
    }
}

impl Stage {
    /// Sets up the vendor of the shipped example, its HTTPS service and the DNS server.
    pub async fn set_up(directory: &Path) -> Result<Self> {
        let clock = StoryClock::default();
        let listener = loopback().await?;
        let url = format!("https://{}", address(&listener)?);
        let directories =
            Directories { service: directory.join("vendor"), root: directory.join("vendor-root-offline") };
        let vendor = Vendor { id: vendor_id()?, name: "Contoso Ltd".to_owned(), url };
        Service::create(&directories, &vendor, &clock.clock())?;
        let vendor = Service::open(&directories.service, clock.clock())?;

        let products = directory.join("products.toml");
        files::write(&products, PRODUCTS.as_bytes(), Access::Public)?;
        vendor.import(products::read_products(&products)?)?;
        vendor_command::write_catalog(&vendor, &directory.join("product"), &mut std::io::sink())?;

        let name_server = NameServer::start(&directory.join("dns")).await?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let serving = Service::open(&directories.service, clock.clock())?;
        let tls = serving.authority().service_tls(&serving.service_name()?, clock.now())?;
        tasks.spawn(vendor_command::serve(serving, tls, listener, when(stopped)));
        Ok(Self { directory: directory.to_owned(), clock, vendor, name_server, tasks, stop })
    }

    /// Has the vendor issue a host key with its license pack, as a customer gets them.
    pub fn issue_host_key(&mut self) -> Result<(ProductKey, PathBuf)> {
        let key = self.vendor.issue_few(&Issue::of(HOST_KEYS, 1))?.remove(0);
        let pack = self.directory.join("office.pack");
        files::write(&pack, self.vendor.pack(key.id(), 12)?.as_bytes(), Access::Private)?;
        Ok((key, pack))
    }

    /// Installs a host key on the host.
    pub fn install_host_key(&self, key: &ProductKey, pack: &Path) -> Result<HostKey> {
        let hardware = Machine::read(None)?.components();
        let pack = files::read_text(pack)?;
        keys::install(&mut self.host_store()?, &key.reveal(), &pack, &hardware, self.clock.now())
    }

    /// The host's store.
    pub fn host_store(&self) -> Result<Store> {
        Store::open_or_create(&self.directory.join("host"))
    }

    /// Whether the host's daemon runs.
    pub fn host_runs(&self) -> bool {
        quorate_host::settings::Serving::is_under_way(&self.directory.join("host"))
    }

    /// The host's book of machines.
    pub fn host_book(&self) -> Result<Box<dyn quorate_host::book::Book>> {
        quorate_host::book::Location::Own.open(&self.directory.join("host"))
    }

    /// Starts the activation host, which publishes itself; `every` is how often it does its daily work, if not daily.
    pub async fn start_host(&mut self, every: Option<Duration>) -> Result<SocketAddr> {
        let listener = loopback().await?;
        let address = address(&listener)?;
        let publication = Publication {
            key: Some(TsigKey::read(&files::read_text(&self.name_server.key_file)?)?),
            ..Publication::new(DOMAIN, self.name_server.address, HOST)
        };
        let hardware = Machine::read(None)?.components();
        let usual = Options::new(self.directory.join("host"), hardware);
        let every = every.unwrap_or(usual.every);
        let options = Options { publications: vec![publication], every, ..usual };
        let (clock, stopped) = (self.clock.clock(), when(self.stop.subscribe()));
        self.tasks.spawn(async move {
            if let Err(error) = quorate_host::server::serve(options, listener, clock, stopped).await {
                eprintln!("{}", error.report());
            }
        });
        Ok(address)
    }

    /// A machine on which the product has just been installed.
    pub fn install_product(&self, number: u32) -> Result<Client> {
        let machine = machine(number);
        let text = toml::to_string(&machine).map_err(|error| {
            Error::new(
                Code::Internal,
                format!("a machine cannot be described ({error})"),
                "please report this",
            )
        })?;
        files::write(&self.directory.join(format!("pc-{number}.toml")), text.as_bytes(), Access::Public)?;
        let product = self.directory.join("product");
        let edition: ActivationId = OFFICE_STANDARD.parse()?;
        let (vendor, _) = registration::register(
            &self.directory.join(format!("pc-{number}")),
            &product.join("vendor-root.pem"),
            &product.join("catalog.jws"),
            Some(edition),
            &machine,
            self.clock.now(),
        )?;
        let application = vendor.sku(edition)?.application;
        Ok(Client::new(vendor, application, machine, self.dns(), self.clock.clock()))
    }

    /// A machine on which the product was installed before.
    pub fn open_client(&self, number: u32) -> Result<Client> {
        let directory = self.directory.join(format!("pc-{number}"));
        let (mut clients, _) = Client::all(&directory, &machine(number), &self.dns(), &self.clock.clock())?;
        clients.pop().ok_or_else(|| {
            Error::new(Code::NotSetUp, format!("pc-{number} has no product"), "install it first")
        })
    }

    /// How machines look names up.
    pub fn dns(&self) -> Dns {
        Dns { server: Some(self.name_server.address), domains: vec![DOMAIN.to_owned()] }
    }

    /// Stops the host and the vendor's service.
    pub async fn strike(mut self) {
        // Whoever does not hear it has stopped already.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

fn machine(number: u32) -> Machine {
    Machine::played(&format!("pc-{number}"), &format!("demo machine {number}"))
}

async fn loopback() -> Result<TcpListener> {
    server::listen((Ipv4Addr::LOCALHOST, 0).into()).await
}

fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| {
        Error::new(
            Code::AddressUnavailable,
            format!("loopback has no address ({error})"),
            "see that it is up",
        )
    })
}

fn vendor_id() -> Result<VendorId> {
    "contoso".parse()
}

async fn when(mut stopped: watch::Receiver<bool>) {
    // An error means that the stage is gone, which is a stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

const PRODUCTS: &str = include_str!("../../quorate-vendor/examples/contoso.toml");
/// The key group of office host keys in the example.
const HOST_KEYS: u16 = 96;
/// The office suite's Standard edition in the example.
pub const OFFICE_STANDARD: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02";
