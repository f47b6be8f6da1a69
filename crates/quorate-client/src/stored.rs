//! What is remembered of one product: what is installed, and what each of its editions was activated by.
//!
//! What makes a license is a signed document, a host's response or a machine license, kept as it came: it is
//! verified again whenever it is looked at. The document names the hardware that it was given to by a hash; beside it
//! stand the components that were hashed, which are weighed against the machine of now. So what can be edited here
//! cannot move a license to another machine.

use crate::host_address::HostAddress;
use quorate_core::activation::{self, ActivationResponse, Trust};
use quorate_core::catalog::Products;
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::hardware::{Components, HardwareId};
use quorate_core::identifier::{ActivationId, Cmid};
use quorate_core::license_state::{Facts, License, Term};
use quorate_core::machine_license::{self, MachineLicense};
use quorate_core::product_key::{KeyId, PartialKey};
use quorate_core::revocation::RevocationList;
use quorate_core::schedule::{Attempt, Intervals};
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::machine::Machine;
use quorate_edge::random;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the files of a product hold.
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
    /// Whether the last key was removed. A product that never had a key yet is in its initial grace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_removed: bool,
    /// The keys that the vendor is known to have revoked. They stay here when they are removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revoked: BTreeMap<KeyId, Revocation>,
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
}

/// What is known of a revoked key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Revocation {
    /// Since when it is known here.
    pub since: Timestamp,
    /// The number of the list that named the key: only a newer one can take it back.
    pub list: u64,
}

/// What a product is at the moment: the SKU, and the key when it is activated with one of the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Edition {
    /// The SKU.
    pub sku: ActivationId,
    /// The MAK or retail key; none for what hosts activate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
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
    /// The hardware that the CMID was made for, by component: what hosts and the vendor are told, hashed. Small
    /// changes of the machine do not change it.
    pub components: Components,
    /// When the product first ran, as the installation says too.
    pub first_run: Timestamp,
    /// How often the initial grace was restarted, as the installation says too.
    #[serde(default)]
    pub rearms: u32,
    /// The latest time seen: a clock that is set back gains nothing.
    pub latest_time: Timestamp,
    /// The host that the administrator has set, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_host: Option<HostAddress>,
    /// The host that answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_host: Option<HostAddress>,
    /// The keys that the vendor is known to have revoked, as the installation says too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revoked: BTreeMap<KeyId, Revocation>,
    /// What each edition was activated by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activations: Vec<Activation>,
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

/// What one edition was activated by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Activation {
    /// The edition.
    pub edition: Edition,
    /// The signed response of a host, or the signed machine license.
    pub document: String,
    /// The hardware that it was given to, by component: together they make the hash that the document names.
    pub components: Components,
    /// Since when the machine has been another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_tolerance: Option<Timestamp>,
    /// Since when the vendor is known to have revoked the host that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_revoked: Option<Timestamp>,
    /// For a key of the machine's own: on how many machines it was activated then, and on how many it may be; a
    /// telephone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<(u32, u32)>,
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

/// A license that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldLicense {
    /// The response of a host whose count was enough.
    Host(ActivationResponse),
    /// A machine license of a key of the machine's own.
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

    fn hardware(&self) -> HardwareId {
        match self {
            Self::Host(response) => response.hardware,
            Self::Key(license) => license.hardware,
        }
    }

    fn as_fact(&self) -> License {
        match self {
            Self::Host(response) => License { granted: response.host_time, term: Term::Renewable },
            Self::Key(license) => License { granted: license.granted, term: Term::Permanent },
        }
    }
}

impl Installation {
    /// An edition that is installed for the first time.
    pub fn new(sku: ActivationId, first_run: Timestamp) -> Self {
        let (keys, revoked) = (Vec::new(), BTreeMap::new());
        Self { sku, keys, in_use: None, key_removed: false, revoked, first_run, rearms: 0 }
    }

    /// The key in use, if one is that fits the registered edition. What the key licenses is the catalog's word.
    pub fn key(&self, products: &Products) -> Option<&InstalledKey> {
        self.keys.iter().find(|key| Some(key.id) == self.in_use).filter(|key| self.fits(key, products))
    }

    /// Whether a key is for the registered edition. Where the catalog has dropped that, it goes by the key alone.
    pub fn fits(&self, key: &InstalledKey, products: &Products) -> bool {
        let licensed = products.key_group(key.id.group()).and_then(|group| products.sku(group.sku));
        match (licensed, products.sku(self.sku)) {
            (Some(licensed), Some(registered)) => products.same_edition(registered, licensed),
            (licensed, None) => licensed.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// What the product is at the moment: what the key in use makes of it, or else what was registered.
    pub fn edition(&self, products: &Products) -> Edition {
        let key = self.key(products).map(|key| key.id);
        let group = key.and_then(|key| products.key_group(key.group()));
        let sku = group.map_or(self.sku, |group| group.sku);
        let has_own_key = products.sku(sku).is_some_and(|sku| sku.channel.has_own_key());
        Edition { sku, key: key.filter(|_| has_own_key) }
    }
}

impl Product {
    /// A product of which nothing is known but when it first ran.
    pub fn new(machine: &Machine, first_run: Timestamp, now: Timestamp) -> Self {
        Self {
            cmid: random::cmid(),
            previous_cmid: None,
            components: machine.components(),
            first_run,
            rearms: 0,
            latest_time: now,
            fixed_host: None,
            cached_host: None,
            revoked: BTreeMap::new(),
            activations: Vec::new(),
            newest_revocations: 0,
            host_intervals: None,
            last: None,
            next_request: None,
        }
    }

    /// The hardware as hosts and the vendor are told.
    pub fn hardware(&self) -> HardwareId {
        self.components.id()
    }

    /// Makes a new CMID for the hardware of now, because the one in use is another machine's.
    pub fn renew_cmid(&mut self, machine: &Machine) {
        self.previous_cmid = Some(self.cmid);
        self.cmid = random::cmid();
        self.components = machine.components();
    }

    /// What an edition was activated by.
    pub fn activation(&self, edition: Edition) -> Option<&Activation> {
        self.activations.iter().find(|activation| activation.edition == edition)
    }

    /// Keeps what an edition is activated by from now on.
    pub fn activate(&mut self, activation: Activation) {
        self.activations.retain(|before| before.edition != activation.edition);
        self.activations.push(activation);
    }
}

impl Stored {
    /// What an edition is activated by, or why that does not count.
    pub fn license(&self, trust: Trust<'_>, now: Timestamp) -> Result<Option<HeldLicense>> {
        let edition = self.installation.edition(&trust.catalog.products);
        let Some(activation) = self.product.activation(edition) else { return Ok(None) };
        let license = match edition.key {
            Some(key) => {
                let license = machine_license::verify(&activation.document, key, trust)?;
                let sku = trust.catalog.products.sku(edition.sku);
                let tolerance = sku.map(|sku| trust.catalog.products.policy(sku).hardware);
                if !tolerance.is_some_and(|tolerance| tolerance.knows(&activation.components)) {
                    return Err(too_little_known());
                }
                Some(HeldLicense::Key(license))
            }
            None => response(&activation.document, edition.sku, trust, now)?.map(HeldLicense::Host),
        };
        match license {
            Some(license) if license.hardware() != activation.components.id() => Err(Error::new(
                Code::ResponseMismatch,
                "the stored activation is of other hardware than the store says",
                "activate this machine: `quorate activate`",
            )),
            license => Ok(license),
        }
    }

    /// What the license state follows from, and the time by which to judge it. A license that does not
    /// verify is none.
    pub fn facts(&self, trust: Trust<'_>, now: Timestamp) -> (Facts, Timestamp) {
        let Self { installation, product, .. } = self;
        let edition = installation.edition(&trust.catalog.products);
        let has_own_key =
            trust.catalog.products.sku(edition.sku).is_some_and(|sku| sku.channel.has_own_key());
        let activation = product.activation(edition);
        let revoked = match edition.key {
            // Only what was activated can be taken back; a key that never activated anything gives no grace.
            Some(key) => activation.and(self.revocation(key)).map(|revocation| revocation.since),
            None => activation.and_then(|activation| activation.host_revoked),
        };
        let facts = Facts {
            first_run: installation.first_run.min(product.first_run),
            rearms: installation.rearms.max(product.rearms),
            key_installed: !(installation.key_removed && has_own_key),
            license: self.license(trust, now).ok().flatten().map(|license| license.as_fact()),
            out_of_tolerance: activation.and_then(|activation| activation.out_of_tolerance),
            revoked,
        };
        (facts, now.max(product.latest_time))
    }

    /// Keeps what has become of the facts.
    pub fn keep(&mut self, facts: &Facts, trust: Trust<'_>) {
        let Self { installation, product, .. } = self;
        let edition = installation.edition(&trust.catalog.products);
        installation.key_removed = !facts.key_installed;
        (installation.first_run, installation.rearms) = (facts.first_run, facts.rearms);
        (product.first_run, product.rearms) = (facts.first_run, facts.rearms);
        if let (Some(key), Some(since)) = (edition.key, facts.revoked) {
            let list = product.newest_revocations;
            let revocation = *installation.revoked.entry(key).or_insert(Revocation { since, list });
            product.revoked.insert(key, revocation);
        }
        if facts.license.is_none() {
            product.activations.retain(|activation| activation.edition != edition);
        }
        for activation in product.activations.iter_mut().filter(|activation| activation.edition == edition) {
            activation.out_of_tolerance = facts.out_of_tolerance;
            activation.host_revoked = facts.revoked.filter(|_| edition.key.is_none());
        }
    }

    /// What is known of a revoked key. Both files know it, so that losing one forgets nothing.
    pub fn revocation(&self, key: KeyId) -> Option<Revocation> {
        self.installation.revoked.get(&key).or(self.product.revoked.get(&key)).copied()
    }

    /// Notes what a revocation list says of the keys that are installed, whoever showed it. A newer list without a
    /// key takes its revocation back.
    pub fn note_list(&mut self, list: &RevocationList, now: Timestamp) {
        let Self { installation, product, .. } = self;
        product.newest_revocations = product.newest_revocations.max(list.number);
        let ids: BTreeSet<KeyId> = installation.keys.iter().map(|key| key.id).collect();
        let known: Vec<KeyId> = installation.revoked.keys().chain(product.revoked.keys()).copied().collect();
        for id in ids.into_iter().chain(known) {
            let before = installation.revoked.get(&id).or(product.revoked.get(&id)).copied();
            let after = match before {
                _ if list.keys.contains(&id) => {
                    Some(before.unwrap_or(Revocation { since: now, list: list.number }))
                }
                Some(before) if list.number < before.list => Some(before),
                _ => None,
            };
            for revoked in [&mut installation.revoked, &mut product.revoked] {
                match after {
                    Some(revocation) => drop(revoked.insert(id, revocation)),
                    None => drop(revoked.remove(&id)),
                }
            }
        }
    }

    /// Weighs the machine of now against the one that each activation was given to, by the policy of its own edition,
    /// and notes since when it is another.
    pub fn note_machine(&mut self, products: &Products, machine: &Machine, now: Timestamp) {
        let machine = machine.components();
        for activation in &mut self.product.activations {
            let Some(sku) = products.sku(activation.edition.sku) else { continue };
            let tolerance = products.policy(sku).hardware;
            let tolerated = tolerance.compare(&activation.components, &machine).tolerated;
            activation.out_of_tolerance = match tolerated {
                true => None,
                false => activation.out_of_tolerance.or(Some(now)),
            };
        }
    }
}

/// Why a machine that shows nothing of itself has no license for good.
pub(crate) fn too_little_known() -> Error {
    Error::new(
        Code::HardwareChanged,
        "too little can be read of this machine's hardware to tell it from others",
        "give it a machine id (`systemd-machine-id-setup`), or have a host of this network activate it",
    )
}

/// A host's response that is stored, if it is genuine, was enough, is of this edition and not of the future.
fn response(
    jws: &str,
    sku: ActivationId,
    trust: Trust<'_>,
    now: Timestamp,
) -> Result<Option<ActivationResponse>> {
    // Verified as of the time when it was given: a host's certificate may end before the license does.
    let at = activation::claimed_time(jws)?;
    let response = activation::verify_license(jws, sku, trust, at)?.document;
    let policy = trust.catalog.products.sku(sku).map(|sku| trust.catalog.products.policy(sku));
    let tolerance = policy.map_or(Interval::ZERO, |policy| policy.clock_tolerance);
    if response.host_time > tolerance.after(now) {
        return Err(Error::new(
            Code::ClockSetBack,
            format!("the clock says {now:.0}, but the product was activated at {:.0}", response.host_time),
            "set this machine's clock; the activation counts again then",
        ));
    }
    let enough = policy.is_some_and(|policy| activation::check_count(policy, response.count).is_ok());
    Ok(Some(response).filter(|response| enough && response.sku == sku))
}
