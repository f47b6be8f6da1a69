//! For applications: "am I licensed, and what must I show?" in a few lines.
//!
//! ```no_run
//! use quorate_client::{Client, Mode};
//!
//! # fn main() -> Result<(), quorate_core::Error> {
//! // Both come from the vendor (`quorate-vendor catalog`) and are compiled in.
//! # const ROOT: &[u8] = b""; const CATALOG: &str = "";
//! let client = Client::open(ROOT, CATALOG, "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02".parse()?)?;
//! let check = client.check();
//! match check.mode {
//!     Mode::Full => {}
//!     Mode::Notify => println!("{}", check.text),
//!     Mode::ReadOnly => println!("View only. {}", check.text),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same with everything given, as a test of the application has it. This runs as it stands:
//!
//! ```
//! use quorate_client::{Client, Mode};
//! use quorate_core::Interval;
//! use quorate_core::license_state::Situation;
//! use quorate_edge::{clock::Clock, machine::Machine};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use quorate_vendor::{authority::Directories, command::write_catalog, products, service::{Service, Vendor}};
//! # let scratch = tempfile::tempdir()?;
//! # let path = |name: &str| scratch.path().join(name);
//! # let directories = Directories { service: path("vendor"), root: path("root") };
//! # let vendor = Vendor {
//! #     id: "contoso".parse()?,
//! #     name: "Contoso Ltd".to_owned(),
//! #     url: "https://activation.contoso.example".to_owned(),
//! # };
//! # Service::create(&directories, &vendor, &Clock::system())?;
//! # let service = Service::open(&directories.service, Clock::system())?;
//! # std::fs::write(path("products.toml"), include_str!("../../quorate-vendor/examples/contoso.toml"))?;
//! # service.import(products::read_products(&path("products.toml"))?)?;
//! # write_catalog(&service, &path("product"), &mut std::io::sink())?;
//! # let (root, catalog) = (std::fs::read(path("product/vendor-root.pem"))?, service.catalog_jws()?);
//! # let state = path("state");
//! let edition = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02".parse()?;
//! let machine = Machine::played("pc-1", "any text that differs from machine to machine");
//! let open = |clock| Client::open_at(&state, &root, &catalog, edition, machine.clone(), clock);
//!
//! // At its first start the product is in its initial grace: full function, nothing to show.
//! let check = open(Clock::system())?.check();
//! assert_eq!((check.mode, check.situation), (Mode::Full, Situation::InitialGrace));
//!
//! // When nothing has activated it for 31 days, it says so.
//! let later = Interval::days(31).after(Clock::system().now());
//! let check = open(Clock::new(move || later))?.check();
//! assert_eq!(check.mode, Mode::Notify);
//! assert!(check.text.starts_with("Contoso Office, Standard edition is not activated."));
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::check`] asks nobody and takes no runtime: it reads two small files and verifies what they hold.
//! Renewing is the work of `quorate run`, or of [`crate::renewal::run`] inside the application.

use crate::activation::Client;
use crate::discovery::Dns;
use crate::known_host;
use crate::registration::Vendor;
use quorate_core::catalog::Catalog;
use quorate_core::certificate::VendorRoot;
use quorate_core::identifier::ActivationId;
use quorate_core::license_state::{Mode, Situation};
use quorate_core::policy::AfterGrace;
use quorate_core::{Code, Error, Result, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::machine::Machine;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

/// What an application should do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// How to behave.
    pub mode: Mode,
    /// Where the product stands.
    pub situation: Situation,
    /// When that ends by itself.
    pub until: Option<Timestamp>,
    /// What to show, when the mode is not [`Mode::Full`]; else empty.
    pub text: String,
}

impl Client {
    /// Opens the product of an application on this machine, installing it at the first time. The root (a
    /// certificate in PEM) and the signed catalog are those that were compiled in. Whatever root lies in the
    /// state directory, which is the administrator's, is not looked at; a newer catalog there is.
    pub fn open(root: &[u8], catalog: &str, edition: ActivationId) -> Result<Self> {
        let state = std::env::var_os("QUORATE_DIR").map_or_else(|| PathBuf::from(STATE), PathBuf::from);
        let client = Self::open_at(&state, root, catalog, edition, Machine::read(None)?, Clock::system())?;
        Ok(client.with_host_file(known_host::FILE.into()))
    }

    /// As [`Client::open`], with everything that it takes from its surroundings given.
    pub fn open_at(
        state: &Path,
        root: &[u8],
        catalog: &str,
        edition: ActivationId,
        machine: Machine,
        clock: Clock,
    ) -> Result<Self> {
        let now = clock.now();
        let der = CertificateDer::from_pem_slice(root).map_err(|error| {
            Error::new(
                Code::DocumentInvalid,
                format!("the vendor root that is compiled in is not a certificate in PEM ({error})"),
                "ask the maker of this program",
            )
        })?;
        let vendor_root = VendorRoot::from_der(der.to_vec())?;
        let own = signed::verify_own_vendor::<Catalog>(catalog, &vendor_root, now)?.document;
        let directory = state.join(own.vendor.as_str());
        // A catalog that another root has signed, or that is damaged, is as good as none.
        let registered = Vendor::trusted(directory.clone(), vendor_root.clone(), now)
            .ok()
            .filter(|vendor| vendor.catalog.number >= own.number);
        let kept = registered.is_some();
        let vendor = registered.unwrap_or(Vendor { directory, root: vendor_root, catalog: own });
        let application = vendor.sku(edition)?.application;
        let client = Self::new(vendor, application, machine, Dns::default(), clock);
        let installed = client.store.read(&client.machine, now);
        if installed.is_ok_and(|stored| stored.installation.sku == edition) {
            if !kept {
                // An ordinary user may not write there; the product goes by its own catalog all the same.
                let _ = client.vendor.keep(root, catalog);
            }
            return Ok(client);
        }
        client.vendor.keep(root, catalog)?;
        client.store.install(edition, &client.machine, now)?;
        Ok(client)
    }

    /// Whether the product is licensed and what to show. Asks nobody, never fails and never panics: a store
    /// that cannot be read counts as one without an activation, and the text says why.
    pub fn check(&self) -> Check {
        match self.status() {
            Ok(status) => {
                let text = match status.state.mode {
                    Mode::Full => String::new(),
                    Mode::Notify | Mode::ReadOnly => self.explain(&status.sku.name, status.problem()),
                };
                let (situation, until) = (status.state.situation, status.state.until);
                Check { mode: status.state.mode, situation, until, text }
            }
            Err(error) => Check {
                mode: self.mode_without_a_store(),
                situation: Situation::Unlicensed,
                until: None,
                text: self.explain("This product", Some(error)),
            },
        }
    }

    fn explain(&self, product: &str, problem: Option<Error>) -> String {
        let why = problem.map(|error| {
            let known = error.code.known_number().map(|number| format!(", 0x{number:08X}"));
            let mut letters = error.what.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            format!(" {first}{} ({}{}).", letters.as_str(), error.code.as_str(), known.unwrap_or_default())
        });
        format!("{product} is not activated.{}", why.unwrap_or_default())
    }

    /// The strictest of what the catalog's policies say: nothing is won by damaging a file.
    fn mode_without_a_store(&self) -> Mode {
        let products = &self.vendor.catalog.products;
        let strict = products
            .skus
            .iter()
            .any(|sku| products.policy(sku).after_grace == AfterGrace::ReducedFunctionality);
        if strict { Mode::ReadOnly } else { Mode::Notify }
    }
}

const STATE: &str = "/var/lib/quorate";
