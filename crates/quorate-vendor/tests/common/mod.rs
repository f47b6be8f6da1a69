//! A vendor for tests, set up by `quorate-vendor` itself, and what a customer's host sends.

// Each file of tests uses its own part of this.
#![allow(dead_code)]

pub mod browser;
#[path = "../../../quorate-host/tests/common/cluster.rs"]
pub mod cluster;
pub mod openid;
pub mod people;
pub mod place;
pub mod web;

use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_edge::clock::Clock;
use quorate_vendor::service::Service;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tempfile::TempDir;

/// A vendor's directories.
pub struct Vendor {
    directory: TempDir,
}

impl Vendor {
    /// A place where nothing has been set up.
    pub fn nowhere() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A vendor without products.
    pub fn without_products() -> Self {
        let vendor = Self::nowhere();
        vendor.init("contoso", "https://127.0.0.1").succeeds();
        vendor
    }

    /// A vendor with the products of the shipped example.
    pub fn new() -> Self {
        let vendor = Self::without_products();
        vendor.import(EXAMPLE.as_bytes()).succeeds();
        vendor
    }

    pub fn init(&self, id: &str, url: &str) -> Ran {
        let root = self.path("root");
        let root = root.to_str().unwrap();
        self.run(&["init", "--vendor", id, "--name", "Contoso Ltd", "--url", url, "--root-dir", root])
    }

    /// Imports a product file with this content.
    pub fn import(&self, products: &[u8]) -> Ran {
        std::fs::write(self.products(), products).unwrap();
        self.run(&["product", "import", self.products().to_str().unwrap()])
    }

    /// Where [`Vendor::import`] writes.
    pub fn products(&self) -> PathBuf {
        self.path("products.toml")
    }

    /// The directory of the service.
    pub fn service_directory(&self) -> PathBuf {
        self.path("vendor")
    }

    /// A path beside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(vendor_program(&self.service_directory()).args(arguments))
    }

    /// A product key of this group, as `key issue` shows it.
    pub fn key(&self, group: u16) -> ProductKey {
        let out = self.run(&["key", "issue", "--group", &group.to_string()]).succeeds();
        let (id, key) = out.trim_end().split_once("  ").unwrap();
        let key: ProductKey = key.parse().unwrap();
        assert_eq!(key.id().to_string(), id);
        key
    }

    /// Makes a license pack of this many slots for a key.
    pub fn pack(&self, key: KeyId, slots: u32) -> Ran {
        let file = self.path("host.pack");
        let (key, slots) = (key.to_string(), slots.to_string());
        self.run(&["pack", &key, "--slots", &slots, "--out", file.to_str().unwrap()])
    }

    pub fn confirm(&self, installation_id: &InstallationId) -> Ran {
        self.run(&["confirm", &installation_id.to_string()])
    }

    /// The service, as a program of the vendor opens it.
    pub fn service(&self) -> Service {
        Service::open(&self.service_directory(), Clock::system()).unwrap()
    }
}

/// `quorate-vendor` in this directory, whatever the environment says.
pub fn vendor_program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-vendor"));
    command.env_remove("QUORATE_VENDOR_DIR").env_remove("QUORATE_LOG").arg("--dir").arg(directory);
    command
}

/// A program that ends with the test, also when that fails.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a machine on which this key is installed shows.
pub fn installation_id(key: &ProductKey, machine: u8) -> InstallationId {
    InstallationId::new(key.id(), &key.verifier(), ShortHardwareId([machine; 6]), 1)
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

    /// Wrong usage, of which it says this among other things.
    #[track_caller]
    pub fn is_wrong_usage(&self, what: &str) {
        assert!(self.err.contains(what), "{self:?}");
        assert_eq!((self.status, self.out.as_str()), (Some(2), ""));
    }
}

/// Key groups of the example.
pub const HOST_KEYS: u16 = 96;
pub const MAKS: u16 = 97;
pub const RETAIL_KEYS: u16 = 98;
/// The public keys of KMS clients in the shipped example.
pub const SETUP_KEYS: u16 = 99;
/// The groups, as errors list them.
pub const GROUPS: &str = "96 (Contoso Office host keys), 97 (Contoso Office MAKs), \
     98 (Contoso Office retail keys), 99 (Contoso Office Standard client setup keys), \
     120 (Contoso OS host keys)";
pub const EXAMPLE: &str = include_str!("../../examples/contoso.toml");
