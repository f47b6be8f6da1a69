//! The license store: one file for each application, written whole, locked between processes.
//!
//! What makes a license is the host's signed response, kept as it came: it is verified again whenever the
//! store is read, so that nothing is gained by editing the file. The rest is what the client remembers for
//! itself.

use crate::host_address::HostAddress;
use quorate_core::activation::{self, Trust};
use quorate_core::hardware::HardwareId;
use quorate_core::identifier::{ActivationId, ApplicationId, Cmid};
use quorate_core::license_state::{Attempt, Facts};
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::files::{self, Access};
use quorate_edge::random;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is stored of one application's product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Product {
    /// The installed edition.
    pub sku: ActivationId,
    /// This machine.
    pub cmid: Cmid,
    /// The CMID before this one, when a new one had to be made and no host knows of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_cmid: Option<Cmid>,
    /// The hardware that the CMID was made for.
    pub hardware: HardwareId,
    /// When the product first ran.
    pub first_run: Timestamp,
    /// The latest time seen: a clock that is set back gains nothing.
    pub latest_time: Timestamp,
    /// The host that the administrator has set, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_host: Option<HostAddress>,
    /// The host that answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_host: Option<HostAddress>,
    /// The signed response by which the product is activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The highest number of a revocation list seen.
    #[serde(default)]
    pub newest_revocations: u64,
    /// The last time that a host was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastAttempt>,
}

/// How the last attempt went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LastAttempt {
    /// When, and whether the product was activated or renewed.
    pub attempt: Attempt,
    /// The count that the host gave, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// What went wrong, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

impl Product {
    /// A product that runs for the first time.
    pub fn new(sku: ActivationId, cmid: Cmid, hardware: HardwareId, now: Timestamp) -> Self {
        Self {
            sku,
            cmid,
            previous_cmid: None,
            hardware,
            first_run: now,
            latest_time: now,
            fixed_host: None,
            cached_host: None,
            response: None,
            newest_revocations: 0,
            last: None,
        }
    }

    /// Makes a new CMID, because the one in use belongs to other hardware. An activation does not survive it.
    pub fn renew_cmid(&mut self, hardware: HardwareId) {
        self.previous_cmid = Some(self.cmid);
        self.cmid = random::cmid();
        self.hardware = hardware;
        self.response = None;
    }

    /// The response by which the product is activated, if it holds for the machine with this hardware and for
    /// its policy.
    pub fn license(
        &self,
        machine: HardwareId,
        trust: Trust<'_>,
    ) -> Result<Option<activation::ActivationResponse>> {
        let Some(jws) = &self.response else { return Ok(None) };
        if self.hardware != machine {
            return Err(Error::new(
                Code::HardwareChanged,
                "the license in the store was given to other hardware: the store was copied, or the hardware \
                 has changed",
                "activate this machine: `quorate activate`",
            ));
        }
        // Verified as of the time when it was given: a host's certificate may end before the license does.
        let claimed = activation::claimed_time(jws)?;
        let response = activation::verify_license(jws, self.sku, trust, claimed)?.document;
        let holds =
            response.cmid == self.cmid && response.hardware == self.hardware && response.sku == self.sku;
        let sku = trust.catalog.products.sku(self.sku).filter(|_| holds);
        Ok(sku
            .is_some_and(|sku| {
                activation::check_count(trust.catalog.products.policy(sku), response.count).is_ok()
            })
            .then_some(response))
    }

    /// What the license state follows from. A license that does not verify is none.
    pub fn facts(&self, machine: HardwareId, trust: Trust<'_>, now: Timestamp) -> (Facts, Timestamp) {
        let activated = self.license(machine, trust).ok().flatten().map(|response| response.host_time);
        (Facts { first_run: self.first_run, activated }, now.max(self.latest_time))
    }
}

/// The product of an application.
pub fn read(directory: &Path, application: ApplicationId) -> Result<Product> {
    parse(&path(directory, application))
}

/// The applications that have a product here.
pub fn applications(directory: &Path) -> Result<Vec<ApplicationId>> {
    let entries = std::fs::read_dir(directory).map_err(|error| files::reading(directory, &error))?;
    let mut applications = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| files::reading(directory, &error))?.path();
        let is_store = path.extension().is_some_and(|extension| extension == "json");
        let id: Option<ApplicationId> =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        applications.extend(id.filter(|_| is_store));
    }
    applications.sort();
    Ok(applications)
}

/// Changes the product of an application while no other process does, and keeps the change.
pub fn update<T>(
    directory: &Path,
    application: ApplicationId,
    change: impl FnOnce(&mut Product) -> Result<T>,
) -> Result<T> {
    let _lock = files::lock(&directory.join(format!("{application}.lock")))?;
    let path = path(directory, application);
    let mut product = parse(&path)?;
    let result = change(&mut product)?;
    save(&path, &product)?;
    Ok(result)
}

/// As [`update`], for a product that may not be there yet.
pub fn update_or_create<T>(
    directory: &Path,
    application: ApplicationId,
    create: impl FnOnce() -> Product,
    change: impl FnOnce(&mut Product) -> Result<T>,
) -> Result<T> {
    let _lock = files::lock(&directory.join(format!("{application}.lock")))?;
    let path = path(directory, application);
    let mut product = if path.exists() { parse(&path)? } else { create() };
    let result = change(&mut product)?;
    save(&path, &product)?;
    Ok(result)
}

fn parse(path: &Path) -> Result<Product> {
    serde_json::from_slice(&files::read(path)?).map_err(|error| {
        Error::new(
            Code::StoreDamaged,
            format!("the license store {} is damaged: {error}", path.display()),
            "restore it from a backup, or remove it and activate again",
        )
    })
}

fn save(path: &Path, product: &Product) -> Result<()> {
    let text = serde_json::to_vec_pretty(product).map_err(|error| {
        Error::new(
            Code::Internal,
            format!("a license store cannot be written ({error})"),
            "please report this",
        )
    })?;
    files::write(path, &text, Access::Private)
}

fn path(directory: &Path, application: ApplicationId) -> PathBuf {
    directory.join(format!("{application}.json"))
}
