//! The license store: the files in which a machine remembers one application's product ([`crate::stored`]).
//!
//! The *installation* says which edition and which product keys are installed and since when; it changes only
//! when something is installed. The *license* file changes with every request. Both know when the product first
//! ran and how often its grace was restarted, so that losing one of them restarts nothing. Both are written whole,
//! and one process changes them at a time. Anybody may read them; what proves that a key is held is in a third file,
//! of the owner alone ([`crate::key_ring`]).
//!
//! What becomes of a store: `docs/license-store.md`, each line with a test.

use crate::sealed_file::{self, Found};
use crate::stored::{Installation, Product, Stored};
use quorate_core::identifier::{ActivationId, ApplicationId};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::files::{self, Access};
use quorate_edge::machine::Machine;
use std::path::{Path, PathBuf};

/// The files of one application's product.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    pub(crate) application: ApplicationId,
}

impl Store {
    /// Whose product it is of.
    pub fn application(&self) -> ApplicationId {
        self.application
    }

    /// The store of an application in a vendor's directory.
    pub fn new(directory: &Path, application: ApplicationId) -> Self {
        Self { directory: directory.to_owned(), application }
    }

    /// Every store in a vendor's directory.
    pub fn all(directory: &Path) -> Result<Vec<Self>> {
        let entries = std::fs::read_dir(directory).map_err(|error| files::reading(directory, &error))?;
        let mut applications: Vec<ApplicationId> = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| files::reading(directory, &error))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(INSTALLATION));
            applications.extend(id.and_then(|id| id.parse::<ApplicationId>().ok()));
        }
        applications.sort();
        Ok(applications.into_iter().map(|application| Self::new(directory, application)).collect())
    }

    /// Notes that an edition is installed. Whatever was known before stays: installing again restarts no
    /// grace.
    pub fn install(&self, sku: ActivationId, machine: &Machine, now: Timestamp) -> Result<Installation> {
        let _lock = files::lock(&self.file(LOCK))?;
        let before = match sealed_file::read::<Installation>(&self.file(INSTALLATION))? {
            Found::Whole(before) => Some(before),
            Found::Missing | Found::Damaged(_) => None,
        };
        let product = self.product(machine, now)?;
        let first_run = before.as_ref().map_or(now, |before| before.first_run);
        let first_run = product.as_ref().map_or(first_run, |(product, _)| first_run.min(product.first_run));
        let before = before.unwrap_or_else(|| Installation::new(sku, first_run));
        let rearms = product.as_ref().map_or(0, |(product, _)| product.rearms).max(before.rearms);
        // An edition that never had a key yet has lost none.
        let key_removed = before.key_removed && before.sku == sku;
        let mut installation = Installation { sku, first_run, rearms, key_removed, ..before };
        if let Some((product, _)) = &product {
            installation.revoked.extend(product.revoked.iter().map(|(key, revocation)| (*key, *revocation)));
        }
        sealed_file::write(&self.file(INSTALLATION), &installation, Access::Public)?;
        if product.is_none() {
            sealed_file::write(&self.file(LICENSE), &Product::new(machine, first_run, now), Access::Public)?;
        }
        Ok(installation)
    }

    /// What is stored. A license file that is lost or damaged is made anew, in memory: without a license, and
    /// without a new grace.
    pub fn read(&self, machine: &Machine, now: Timestamp) -> Result<Stored> {
        let installation = match sealed_file::read::<Installation>(&self.file(INSTALLATION))? {
            Found::Whole(installation) => installation,
            Found::Missing => {
                return Err(Error::new(
                    Code::NotSetUp,
                    format!("{} is not installed here", self.application),
                    "`quorate register CATALOG --root FILE`",
                ));
            }
            Found::Damaged(error) => {
                return Err(Error::new(
                    error.code,
                    error.what,
                    "register the product again: `quorate register`",
                ));
            }
        };
        let (product, damage) = match self.product(machine, now)? {
            Some(found) => found,
            None => (Product::new(machine, installation.first_run, now), None),
        };
        Ok(Stored { installation, product, damage })
    }

    /// Changes what is stored while no other process does, and keeps the change.
    pub fn update<T>(
        &self,
        machine: &Machine,
        now: Timestamp,
        change: impl FnOnce(&mut Stored) -> Result<T>,
    ) -> Result<T> {
        self.update_then(machine, now, change, |_| Ok(()))
    }

    /// The same, and does something more before any other process can see the change.
    pub fn update_then<T>(
        &self,
        machine: &Machine,
        now: Timestamp,
        change: impl FnOnce(&mut Stored) -> Result<T>,
        then: impl FnOnce(&T) -> Result<()>,
    ) -> Result<T> {
        let _lock = files::lock(&self.file(LOCK))?;
        let before = self.read(machine, now)?;
        let mut stored = before.clone();
        let result = change(&mut stored)?;
        if before.damage.is_some() {
            let (damaged, aside) = (self.file(LICENSE), self.file(DAMAGED));
            std::fs::rename(&damaged, &aside).map_err(|error| files::writing(&aside, &error))?;
        }
        // The license first: were there no room for the second, the grace would not have been restarted.
        sealed_file::write(&self.file(LICENSE), &stored.product, Access::Public)?;
        if stored.installation != before.installation {
            sealed_file::write(&self.file(INSTALLATION), &stored.installation, Access::Public)?;
        }
        then(&result)?;
        Ok(result)
    }

    /// The license file's content, if there is one, and what was wrong with it.
    fn product(&self, machine: &Machine, now: Timestamp) -> Result<Option<(Product, Option<Error>)>> {
        Ok(match sealed_file::read::<Product>(&self.file(LICENSE))? {
            Found::Whole(product) => Some((product, None)),
            Found::Missing => None,
            // When it first ran is with the installation; here the latest possible moment.
            Found::Damaged(error) => Some((Product::new(machine, now, now), Some(error))),
        })
    }

    /// Where the secrets of the product keys are.
    pub(crate) fn key_ring(&self) -> PathBuf {
        self.file(KEYS)
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}{suffix}", self.application))
    }
}

const INSTALLATION: &str = ".installed.json";
const LICENSE: &str = ".license.json";
const KEYS: &str = ".keys.json";
const DAMAGED: &str = ".license.damaged";
const LOCK: &str = ".lock";
