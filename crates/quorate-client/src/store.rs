//! The license store: what a machine remembers of one application's product, in two files.
//!
//! The *installation* says which edition and which product keys are installed and since when; it changes only
//! when something is installed. The *license* file changes with every request. Both know when the product first
//! ran and the earlier counts, so that losing one of them restarts nothing. Both are written whole, and one
//! process changes them at a time. Anybody may read them; what proves that a key is held is in a third file, of
//! the owner alone ([`crate::key_ring`]).
//!
//! What makes a license is a signed document, the host's response or the vendor's machine license, kept as it
//! came: it is verified again whenever the store is read, so that nothing is gained by editing the file.
//!
//! What becomes of a store: `docs/license-store.md`, each line with a test.

use crate::host_address::HostAddress;
use crate::sealed_file::{self, Found};
use quorate_core::activation::{self, ActivationResponse, Trust};
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::hardware::{Components, HardwareId};
use quorate_core::identifier::{ActivationId, ApplicationId, Cmid};
use quorate_core::license_state::{Facts, License, Term};
use quorate_core::machine_license::{self, MachineLicense};
use quorate_core::policy::Policy;
use quorate_core::product_key::{KeyId, PartialKey};
use quorate_core::schedule::{Attempt, Intervals};
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::files::{self, Access};
use quorate_edge::machine::Machine;
use quorate_edge::random;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of one application's product.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    pub(crate) application: ApplicationId,
}

/// What the files hold.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What is installed.
    pub installation: Installation,
    /// What is remembered of its activation.
    pub product: Product,
    /// What was wrong with the license file, if it had to be made anew.
    pub damage: Option<Error>,
}

/// Which edition and which keys are installed, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Installation {
    /// The edition that the installer registered.
    pub sku: ActivationId,
    /// The product keys, in the order in which they were installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<InstalledKey>,
    /// The key in use; without one, the product is the registered edition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<KeyId>,
    /// Whether the product needs a key and has none any more. One that never had a key yet is in its initial grace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_removed: bool,
    /// When the product first ran, or its initial grace was restarted.
    pub first_run: Timestamp,
    /// How often the initial grace was restarted.
    pub rearms: u32,
}

/// A product key that is installed, as far as anybody may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InstalledKey {
    /// Group and serial.
    pub id: KeyId,
    /// The last five characters.
    pub partial: PartialKey,
    /// The edition that it licenses.
    pub sku: ActivationId,
}

impl Installation {
    /// The key in use, if one is.
    pub fn key(&self) -> Option<&InstalledKey> {
        self.keys.iter().find(|key| Some(key.id) == self.in_use)
    }

    /// The edition in use: that of the key in use, or else the one that was registered.
    pub fn edition(&self) -> ActivationId {
        self.key().map_or(self.sku, |key| key.sku)
    }
}

/// What is remembered of a product's activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Product {
    /// This machine.
    pub cmid: Cmid,
    /// The CMID before this one, when a new one had to be made and no host knows of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_cmid: Option<Cmid>,
    /// The hardware that the CMID was made for, as hosts are told. Small changes do not change it.
    pub hardware: HardwareId,
    /// The same by component, so that it can be weighed against the hardware of now.
    pub components: Components,
    /// Since when the hardware has been another than the one that was activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_tolerance: Option<Timestamp>,
    /// Since when the vendor is known to have revoked the host that activated the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// What came of the product keys that are activated at the vendor's service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<KeyId, KeyActivation>,
    /// When the product first ran, as the installation says too.
    pub first_run: Timestamp,
    /// The latest time seen: a clock that is set back gains nothing.
    pub latest_time: Timestamp,
    /// The host that the administrator has set, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_host: Option<HostAddress>,
    /// The host that answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_host: Option<HostAddress>,
    /// The signed response of the host that activated the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The highest number of a revocation list seen.
    #[serde(default)]
    pub newest_revocations: u64,
    /// The intervals that the host asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_intervals: Option<Intervals>,
    /// The last time that a host or the vendor's service was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastAttempt>,
    /// When to ask again, drawn when the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_request: Option<Timestamp>,
}

/// How the last attempt went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LastAttempt {
    /// When, and whether the product was activated or renewed.
    pub attempt: Attempt,
    /// The count that a host gave, if one answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// What went wrong, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// What came of one product key at the vendor's service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeyActivation {
    /// The signed machine license.
    pub license: String,
    /// On how many machines the key was activated then, and on how many it may be; a telephone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<(u32, u32)>,
    /// Since when the vendor is known to have revoked the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

/// A license that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldLicense {
    /// The response of a host whose count was enough.
    Host(ActivationResponse),
    /// A machine license of the key in use.
    Key(MachineLicense),
}

impl HeldLicense {
    /// The extended PID: the host's, or this activation's own.
    pub fn extended_pid(&self) -> &ExtendedPid {
        match self {
            Self::Host(response) => &response.host_pid,
            Self::Key(license) => &license.extended_pid,
        }
    }

    fn as_fact(&self) -> License {
        match self {
            Self::Host(response) => License { granted: response.host_time, term: Term::Renewable },
            Self::Key(license) => License { granted: license.granted, term: Term::Permanent },
        }
    }
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
        let installation = match before {
            Some(before) => Installation { sku, first_run, ..before },
            None => {
                Installation { sku, keys: Vec::new(), in_use: None, key_removed: false, first_run, rearms: 0 }
            }
        };
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

impl Product {
    /// A product of which nothing is known but when it first ran.
    fn new(machine: &Machine, first_run: Timestamp, now: Timestamp) -> Self {
        let components = machine.components();
        Self {
            cmid: random::cmid(),
            previous_cmid: None,
            hardware: components.id(),
            components,
            out_of_tolerance: None,
            revoked: None,
            keys: BTreeMap::new(),
            first_run,
            latest_time: now,
            fixed_host: None,
            cached_host: None,
            response: None,
            newest_revocations: 0,
            host_intervals: None,
            last: None,
            next_request: None,
        }
    }

    /// Makes a new CMID for the hardware of now, because the one in use is another machine's.
    pub fn renew_cmid(&mut self, machine: &Machine) {
        self.previous_cmid = Some(self.cmid);
        self.cmid = random::cmid();
        self.components = machine.components();
        self.hardware = self.components.id();
    }

    /// The host's response that is stored, if it is genuine, was enough, is of this edition and not of the future.
    fn license(
        &self,
        sku: ActivationId,
        trust: Trust<'_>,
        now: Timestamp,
    ) -> Result<Option<ActivationResponse>> {
        let Some(jws) = &self.response else { return Ok(None) };
        // Verified as of the time when it was given: a host's certificate may end before the license does.
        let at = activation::claimed_time(jws)?;
        let response = activation::verify_license(jws, sku, trust, at)?.document;
        let policy = trust.catalog.products.sku(sku).map(|sku| trust.catalog.products.policy(sku));
        let tolerance = policy.map_or(Interval::ZERO, |policy| policy.clock_tolerance);
        if response.host_time > tolerance.after(now) {
            return Err(Error::new(
                Code::ClockSetBack,
                format!(
                    "the clock says {now:.0}, but the product was activated at {:.0}",
                    response.host_time
                ),
                "set this machine's clock; the activation counts again then",
            ));
        }
        let enough = policy.is_some_and(|policy| activation::check_count(policy, response.count).is_ok());
        Ok(Some(response).filter(|response| enough && response.sku == sku))
    }

    /// The license of a product key, if it is genuine and was given to this machine or one it was before.
    fn machine_license(&self, key: KeyId, trust: Trust<'_>) -> Result<Option<MachineLicense>> {
        let activation = self.keys.get(&key);
        activation.map(|activation| machine_license::verify(&activation.license, key, trust)).transpose()
    }
}

impl Stored {
    /// What the product is activated by, or why that does not count.
    pub fn license(&self, trust: Trust<'_>, now: Timestamp) -> Result<Option<HeldLicense>> {
        let Self { installation, product, .. } = self;
        match self.own_key(trust) {
            Some(key) => Ok(product.machine_license(key, trust)?.map(HeldLicense::Key)),
            None => Ok(product.license(installation.edition(), trust, now)?.map(HeldLicense::Host)),
        }
    }

    /// What the license state follows from, and the time by which to judge it. A license that does not
    /// verify is none.
    pub fn facts(&self, trust: Trust<'_>, now: Timestamp) -> (Facts, Timestamp) {
        let Self { installation, product, .. } = self;
        let license = self.license(trust, now).ok().flatten();
        let now = now.max(product.latest_time);
        let revoked = match self.own_key(trust) {
            Some(key) => product.keys.get(&key).and_then(|activation| activation.revoked),
            None => product.revoked,
        };
        let facts = Facts {
            first_run: installation.first_run.min(product.first_run),
            rearms: installation.rearms,
            key_installed: !installation.key_removed,
            license: license.map(|license| license.as_fact()),
            // A license that was given to another CMID is one given to other hardware.
            out_of_tolerance: match self.is_for_this_machine(trust) {
                true => product.out_of_tolerance,
                false => product.out_of_tolerance.or(Some(now)),
            },
            revoked,
        };
        (facts, now)
    }

    /// Keeps what has become of the facts.
    pub fn keep(&mut self, facts: &Facts, trust: Trust<'_>) {
        let own_key = self.own_key(trust);
        let Self { installation, product, .. } = self;
        (installation.first_run, installation.rearms) = (facts.first_run, facts.rearms);
        product.first_run = facts.first_run;
        product.out_of_tolerance = facts.out_of_tolerance;
        match own_key {
            Some(key) if facts.license.is_none() => drop(product.keys.remove(&key)),
            Some(key) => {
                if let Some(activation) = product.keys.get_mut(&key) {
                    activation.revoked = facts.revoked;
                }
            }
            None => {
                product.revoked = facts.revoked;
                if facts.license.is_none() {
                    product.response = None;
                }
            }
        }
    }

    /// Weighs the machine of now against the one that the CMID was made for, and notes the result.
    pub fn note_machine(&mut self, policy: &Policy, machine: &Machine, trust: Trust<'_>, now: Timestamp) {
        let is_for_this_machine = self.is_for_this_machine(trust);
        let product = &mut self.product;
        let tolerated = policy.hardware.compare(&product.components, &machine.components()).tolerated;
        if !tolerated {
            product.out_of_tolerance = product.out_of_tolerance.or(Some(now));
        } else if is_for_this_machine {
            product.out_of_tolerance = None;
        }
    }

    /// The key in use, if it is one that is activated at the vendor's service.
    pub fn own_key(&self, trust: Trust<'_>) -> Option<KeyId> {
        let key = self.installation.key()?;
        let sku = trust.catalog.products.sku(key.sku)?;
        sku.channel.has_own_key().then_some(key.id)
    }

    /// Whether what the product is activated by was given to the CMID and the hardware of now. After a change of
    /// hardware it was not.
    fn is_for_this_machine(&self, trust: Trust<'_>) -> bool {
        let product = &self.product;
        match self.own_key(trust) {
            Some(key) => {
                let activation = product.keys.get(&key);
                let claimed = activation.and_then(|activation| {
                    machine_license::claimed_installation_id(&activation.license).ok()
                });
                claimed.is_none_or(|claimed| claimed.hardware() == product.hardware.short())
            }
            None => {
                let claimed = product.response.as_ref().and_then(|jws| activation::claimed_machine(jws).ok());
                claimed.is_none_or(|claimed| claimed == (product.cmid, product.hardware))
            }
        }
    }
}

const INSTALLATION: &str = ".installed.json";
const LICENSE: &str = ".license.json";
const KEYS: &str = ".keys.json";
const DAMAGED: &str = ".license.damaged";
const LOCK: &str = ".lock";
