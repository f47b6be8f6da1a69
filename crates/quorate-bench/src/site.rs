//! A vendor and a customer's activated hosts, made through the libraries that the programs use.

use quorate_core::extended_pid::ExtendedPid;
use quorate_core::hardware::{Component, Components, HardwareId};
use quorate_core::identifier::{ActivationId, ApplicationId, Cmid, Uuid};
use quorate_core::license_pack::Credential;
use quorate_core::license_state::LicenseStatus;
use quorate_core::product_key::ProductKey;
use quorate_core::signed::Signer;
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::files;
use quorate_edge::machine::Machine;
use quorate_host::book::{Account, Clerk, Location, Seen, Writes};
use quorate_host::keys::{self, HostKey};
use quorate_host::store::Store;
use quorate_vendor::authority::Directories;
use quorate_vendor::command;
use quorate_vendor::keys::Issue;
use quorate_vendor::products;
use quorate_vendor::service::{Service, Vendor};
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::TempDir;

/// The vendor, its customer's key, and a directory for everything.
pub struct Site {
    directory: TempDir,
    key: ProductKey,
    root: CertificateDer<'static>,
}

impl Site {
    /// Makes all of it.
    pub fn new() -> Result<Self> {
        let failed = |error: std::io::Error| files::writing(&std::env::temp_dir(), &error);
        let directory = tempfile::tempdir().map_err(failed)?;
        let at = |name: &str| directory.path().join(name);
        let directories = Directories { service: at("vendor"), root: at("vendor-root-offline") };
        let vendor = Vendor {
            id: VENDOR.parse()?,
            name: "Contoso Ltd".to_owned(),
            url: "https://activation.contoso.example".to_owned(),
        };
        Service::create(&directories, &vendor, &Clock::system())?;
        let vendor = Service::open(&directories.service, Clock::system())?;
        vendor.import(products::read_products(Path::new(PRODUCTS))?)?;
        let key = vendor.issue_few(&Issue::of(HOST_KEYS, 1))?.remove(0);
        let root = vendor.authority().root().der().clone();
        let site = Self { directory, key, root };
        let host = site.host_directory("model");
        let now = Clock::system().now();
        let mut store = Store::open_or_create(&host)?;
        let pack = vendor.pack(site.key.id(), 1)?;
        let hardware = Machine::read(None)?.components();
        let host_key = keys::install(&mut store, &site.key.reveal(), &pack, &hardware, now)?;
        let installation_id = keys::installation_id(&mut store, host_key, now)?;
        let confirmation_id = vendor.confirm(&installation_id)?.confirmation_id;
        let host_key = HostKey::select(&store, None, now)?;
        keys::confirm(&mut store, host_key, &confirmation_id.to_string(), now)?;
        Ok(site)
    }

    /// Whom clients believe.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The directory of another host, activated and with nothing counted.
    pub fn host(&self, name: &str) -> Result<PathBuf> {
        let directory = self.host_directory(name);
        files::make_private_directory(&directory)?;
        // The journal of the model was moved into its file when the last who had it open closed it.
        let (from, to) = (self.host_directory("model").join(FILE), directory.join(FILE));
        std::fs::copy(&from, &to).map_err(|error| files::writing(&to, &error))?;
        Ok(directory)
    }

    /// Issues so many keys into a file, by the vendor's own command.
    pub fn issue(&self, count: u32) -> Result<()> {
        let (vendor, file) = (self.directory.path().join("vendor"), self.directory.path().join("keys.csv"));
        let (vendor, file) = (vendor.display().to_string(), file.display().to_string());
        let count = count.to_string();
        let arguments = [
            "quorate-vendor",
            "--dir",
            &vendor,
            "key",
            "issue",
            "--group",
            "97",
            "--count",
            &count,
            "--out",
            &file,
        ];
        match command::main(arguments.map(Into::into)) {
            ExitCode::SUCCESS => Ok(()),
            _ => Err(Error::new(Code::Internal, "the keys were not issued", "look at the error above")),
        }
    }

    /// Has a host know machines that asked just now.
    pub fn fill(&self, directory: &Path, machines: u32) -> Result<()> {
        let mut book = Location::Own.open(directory)?;
        let at = Clock::system().now();
        for first in (0..machines).step_by(AT_ONCE as usize) {
            let numbers = first..(first + AT_ONCE).min(machines);
            book.commit(&[], &mut Crowd { numbers, at })?;
        }
        // As it would be after some hours.
        let account = Account { vendor: VENDOR.parse()?, application: APPLICATION };
        while book.forget(&account, Timestamp::MIN, at, AT_ONCE)? {}
        Ok(())
    }

    /// Signs as the host does.
    pub fn signer(&self) -> Result<Signer> {
        let credential = credential(&self.host_directory("model"))?;
        Ok(Signer::new(&credential.private_key, &credential.chain))
    }

    /// What the host calls itself.
    pub fn host_pid(&self) -> Result<ExtendedPid> {
        let now = Clock::system().now();
        let key = HostKey::select(&Store::open(&self.host_directory("model"))?, None, now)?;
        let certificate = key.certificate(now).ok_or_else(not_activated)??;
        Ok(certificate.entitlement.ok_or_else(not_activated)?.extended_pid)
    }

    fn host_directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Certificate and private key of the host in a directory.
pub fn credential(directory: &Path) -> Result<Credential> {
    let key = HostKey::select(&Store::open(directory)?, None, Clock::system().now())?;
    Ok(key.installed.activation.ok_or_else(not_activated)?.credential)
}

/// The CMID of a machine by its number; those of numbers that follow each other are far apart.
pub fn cmid(number: u128) -> Cmid {
    Cmid(Uuid::from_u128(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
}

/// The hardware of a machine by its number.
pub fn hardware(number: u128) -> HardwareId {
    Components::new([(Component::MachineId, number.to_string().as_str())]).id()
}

/// Machines that are told to the book in one transaction.
struct Crowd {
    numbers: std::ops::Range<u32>,
    at: Timestamp,
}

impl Clerk for Crowd {
    fn restore(&mut self, _: &Account, _: Cmid, _: quorate_core::cmid_table::Machine) {}

    fn decide(&mut self) -> Writes {
        // The name is a constant of this file and is known to parse.
        let Ok(vendor) = VENDOR.parse() else { return Writes::default() };
        let account = Account { vendor, application: APPLICATION };
        let seen = self.numbers.clone().map(|number| Seen {
            account: account.clone(),
            cmid: cmid(number.into()),
            hardware: hardware(number.into()),
            at: self.at,
            name: format!("pc-{number}"),
            sku: EDITION,
            status: LicenseStatus::InitialGrace,
            virtual_machine: false,
            address: "192.0.2.1:50000".to_owned(),
            licensed_until: None,
        });
        Writes { seen: seen.collect(), ..Writes::default() }
    }
}

fn not_activated() -> Error {
    Error::new(Code::HostNotActivated, "the model of a host is not activated", "please report this")
}

/// The vendor of the example.
pub const VENDOR: &str = "contoso";
/// Its office suite.
pub const APPLICATION: ApplicationId =
    ApplicationId(Uuid::from_u128(0x0ff1_ce15_a989_479d_af46_f275_c637_0663));
/// The Standard edition of that.
pub const EDITION: ActivationId = ActivationId(Uuid::from_u128(0x6d5f_1a5e_6f0b_4d7e_9c63_0a3c_1d8e_5f02));
const HOST_KEYS: u16 = 96;
const PRODUCTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../quorate-vendor/examples/contoso.toml");
const FILE: &str = "host.db";
const AT_ONCE: u32 = 50_000;
