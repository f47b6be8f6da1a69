//! Activating: by a host of this network or at the vendor's service, as the edition in use has it, and keeping
//! what came of it.
//!
//! What is asked of a host is in `by_host`, what is asked of the service in [`crate::by_service`].

use crate::discovery::{Dns, Found};
use crate::host_address::HostAddress;
use crate::known_host::{HostSetting, known_host};
use crate::registration::Vendor;
use crate::store::Store;
use crate::stored::{Edition, HeldLicense, InstalledKey, LastAttempt, Product, Stored};
use crate::transport;
use quorate_core::activation::Trust;
use quorate_core::catalog::Sku;
use quorate_core::hardware::Components;
use quorate_core::identifier::ApplicationId;
use quorate_core::license_state::{self, Event, LicenseState, Situation};
use quorate_core::policy::Policy;
use quorate_core::product_key::KeyId;
use quorate_core::schedule::{Attempt, Intervals};
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::https::ProxyUrl;
use quorate_edge::machine::Machine;
use quorate_edge::random;
use std::path::{Path, PathBuf};

/// One application's product on this machine.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) vendor: Vendor,
    pub(crate) store: Store,
    pub(crate) machine: Machine,
    pub(crate) dns: Dns,
    pub(crate) clock: Clock,
    pub(crate) host_file: Option<PathBuf>,
    pub(crate) way: ServiceWay,
}

/// The way to the vendor's service, where it is another than the usual one.
#[derive(Clone, Debug, Default)]
pub struct ServiceWay {
    /// Its URL, instead of the catalog's.
    pub url: Option<String>,
    /// The proxy, instead of the one that the environment names.
    pub proxy: Option<ProxyUrl>,
}

/// An activation that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated {
    /// Who activated the product.
    pub by: Activator,
    /// The license state now.
    pub state: LicenseState,
}

/// Who activates products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activator {
    /// A host of this network.
    Host(ByHost),
    /// The vendor, with a product key of the machine's own.
    Vendor(ByVendor),
}

/// How a host activated the product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByHost {
    /// The host that answered.
    pub host: HostAddress,
    /// How it was found.
    pub found: Found,
    /// How many machines have asked it.
    pub count: u32,
    /// How many the policy needs.
    pub threshold: u32,
}

/// How the vendor activated the product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByVendor {
    /// The product key.
    pub key: InstalledKey,
    /// On how many machines the key is activated, and on how many it may be; a telephone does not tell.
    pub machines: Option<(u32, u32)>,
}

impl Activated {
    /// How a host activated the product, if one did.
    pub fn by_host(&self) -> Option<&ByHost> {
        match &self.by {
            Activator::Host(host) => Some(host),
            Activator::Vendor(_) => None,
        }
    }
}

/// The product as it stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// What is stored.
    pub product: Product,
    /// What was wrong with the license file, if it had to be made anew.
    pub damage: Option<Error>,
    /// The edition.
    pub sku: Sku,
    /// The product key by which the product is that edition; none for the registered one.
    pub key: Option<InstalledKey>,
    /// Why the key that was last brought into use is not: by this catalog, it is for something else.
    pub unfit: Option<Error>,
    /// On how many machines that key was activated when it was here, and on how many it may be.
    pub machines: Option<(u32, u32)>,
    /// Whether this is the edition in use, of several that are installed side by side.
    pub in_use: bool,
    /// Its policy.
    pub policy: Policy,
    /// The license state now.
    pub state: LicenseState,
    /// How often the initial grace may be restarted still.
    pub rearms_left: u32,
    /// The time by which it was judged: the latest seen, where the clock has been set back.
    pub judged_at: Timestamp,
    /// The intervals in force.
    pub intervals: Intervals,
    /// The host that is asked before DNS is, if one is known.
    pub host: Result<Option<(HostAddress, Found)>>,
    /// What the product is activated by, or why there is nothing that holds.
    pub license: Result<Option<HeldLicense>>,
}

impl Status {
    /// What an administrator should know first: what the situation itself says, what is wrong with the store, or
    /// how the last attempt failed.
    pub fn problem(&self) -> Option<Error> {
        let last = self.product.last.as_ref().and_then(|last| last.error.clone());
        let of_the_situation = match self.state.situation {
            Situation::OutOfToleranceGrace => Some(Error::new(
                Code::HardwareChanged,
                "the activation was given to other hardware: the machine has changed, or its store was copied",
                "activate this machine: `quorate activate`",
            )),
            Situation::NonGenuineGrace => Some(match self.sku.channel.has_own_key() {
                true => Error::new(
                    Code::Revoked,
                    "the vendor has revoked the product key by which this product was activated",
                    "ask the vendor; install another key: `quorate install-key`",
                ),
                false => Error::new(
                    Code::Revoked,
                    "the vendor has revoked the key or the host by which this product was activated",
                    "ask whoever runs the host; another host may activate it: `quorate activate`",
                ),
            }),
            Situation::Unlicensed => Some(no_key(&self.sku)),
            // How the last attempt failed says what to do about it.
            Situation::Notification if last.is_none() => Some(Error::new(
                Code::GraceOver,
                "the time in which the product runs without an activation is over",
                match self.key.is_none() && self.sku.channel.has_own_key() {
                    true => "`quorate install-key KEY`",
                    false => "`quorate activate`",
                },
            )),
            _ => None,
        };
        of_the_situation
            .or(self.damage.clone())
            .or(self.unfit.clone())
            .or(self.license.clone().err())
            .or(last)
    }
}

impl Client {
    /// The product of an application of a registered vendor.
    pub fn new(vendor: Vendor, application: ApplicationId, machine: Machine, dns: Dns, clock: Clock) -> Self {
        let store = Store::new(&vendor.directory, application);
        Self { vendor, store, machine, dns, clock, host_file: None, way: ServiceWay::default() }
    }

    /// The same, heeding what this machine says about its host: the environment and this file. They are read
    /// whenever a host is asked.
    pub fn with_host_file(self, file: PathBuf) -> Self {
        Self { host_file: Some(file), ..self }
    }

    /// The same, with another way to the vendor's service.
    pub fn with_service(self, way: ServiceWay) -> Self {
        Self { way, ..self }
    }

    /// Every registered product in a state directory, by the root that was registered with it, and what is
    /// wrong with those that cannot be opened: for an administrator's eyes. A product that asks whether it is
    /// licensed uses [`Client::open`].
    pub fn all(state: &Path, machine: &Machine, dns: &Dns, clock: &Clock) -> Result<(Vec<Self>, Vec<Error>)> {
        let (mut clients, mut errors) = (Vec::new(), Vec::new());
        for vendor in Vendor::all(state, clock.now())? {
            match vendor.and_then(|vendor| Ok((Store::all(&vendor.directory)?, vendor))) {
                Ok((stores, vendor)) => clients.extend(stores.into_iter().map(|store| {
                    let (vendor, machine, dns) = (vendor.clone(), machine.clone(), dns.clone());
                    let way = ServiceWay::default();
                    Self { vendor, store, machine, dns, clock: clock.clone(), host_file: None, way }
                })),
                Err(error) => errors.push(error),
            }
        }
        Ok((clients, errors))
    }

    /// The vendor.
    pub fn vendor(&self) -> &Vendor {
        &self.vendor
    }

    /// The product as it stands, without asking anybody. The time is noted now and then, and at once when the
    /// hardware has changed, so that nothing is gained by setting the clock back.
    pub fn status(&self) -> Result<Status> {
        let now = self.clock.now();
        self.status_of(self.look(now)?, now)
    }

    /// The status of what a product key makes of the product, whether it is in use or not; without a key, that of
    /// the registered edition.
    pub fn status_with(&self, key: Option<KeyId>) -> Result<Status> {
        let now = self.clock.now();
        self.status_seen(self.look(now)?, key, now)
    }

    /// The status of every edition that is installed side by side: the registered one first, then those of
    /// product keys. One of them is in use.
    pub fn all_statuses(&self) -> Result<Vec<Status>> {
        let now = self.clock.now();
        let stored = self.look(now)?;
        let products = &self.vendor.catalog.products;
        let fitting = stored.installation.keys.iter().filter(|key| stored.installation.fits(key, products));
        let keys = fitting.map(|key| Some(key.id));
        // A registered edition that needs a key of its own and has none is not one of several.
        let registered = products.sku(stored.installation.sku);
        let own = stored.installation.key(products).is_none()
            || registered.is_some_and(|registered| !registered.channel.has_own_key());
        let editions: Vec<Option<KeyId>> = own.then_some(None).into_iter().chain(keys).collect();
        editions.into_iter().map(|key| self.status_seen(stored.clone(), key, now)).collect()
    }

    fn status_seen(&self, mut stored: Stored, key: Option<KeyId>, now: Timestamp) -> Result<Status> {
        let in_use = stored.installation.key(&self.vendor.catalog.products).map(|key| key.id) == key;
        stored.installation.in_use = key;
        if !in_use {
            // The last attempt was not for this one.
            (stored.product.last, stored.product.next_request) = (None, None);
        }
        Ok(Status { in_use, ..self.status_of(stored, now)? })
    }

    /// Reads the store and notes what a look at the machine shows.
    fn look(&self, now: Timestamp) -> Result<Stored> {
        let mut stored = self.store.read(&self.machine, now)?;
        let before = stored.product.clone();
        self.note_machine(&mut stored, now.max(before.latest_time));
        if stored.product == before && now <= NOTED_EVERY.after(before.latest_time) {
            return Ok(stored);
        }
        let noted = self.store.update(&self.machine, now, |stored| {
            self.note_machine(stored, now.max(stored.product.latest_time));
            stored.product.latest_time = stored.product.latest_time.max(now);
            Ok(())
        });
        if noted.is_err() {
            // The license is the same without it; but what can't be noted must not begin anew at each look, so
            // other hardware counts from the last time that could be.
            stored.product = before;
            let since = stored.product.latest_time;
            self.note_machine(&mut stored, since);
        }
        Ok(stored)
    }

    fn status_of(&self, stored: Stored, now: Timestamp) -> Result<Status> {
        let edition = self.edition(&stored);
        let sku = self.vendor.sku(edition.sku)?.clone();
        let policy = self.policy(&stored)?;
        let trust = self.trust(&stored.product);
        let (facts, judged_at) = stored.facts(trust, now);
        let state = license_state::evaluate(&policy, &facts, judged_at);
        let license = stored.license(trust, now);
        let intervals = Intervals::new(&policy, stored.product.host_intervals);
        let host = self.known_host(&stored.product);
        let key = stored.installation.key(&self.vendor.catalog.products).cloned();
        let unfit = match (&key, stored.installation.in_use) {
            (None, Some(id)) if stored.installation.keys.iter().any(|key| key.id == id) => Some(Error::new(
                Code::ProductKeyUnsuited,
                format!(
                    "by catalog {} of {}, product key {id} is not for {}",
                    self.vendor.catalog.number, self.vendor.catalog.vendor_name, sku.name
                ),
                "register the edition that the key is for, or a newer catalog; or `quorate remove-key` it",
            )),
            _ => None,
        };
        let machines = stored.product.activation(edition).and_then(|activation| activation.machines);
        let rearms_left = policy.rearm_limit.saturating_sub(facts.rearms);
        let Stored { product, damage, .. } = stored;
        Ok(Status {
            product,
            damage,
            sku,
            key,
            unfit,
            machines,
            in_use: true,
            policy,
            state,
            rearms_left,
            judged_at,
            intervals,
            host,
            license,
        })
    }

    fn note_machine(&self, stored: &mut Stored, now: Timestamp) {
        stored.note_machine(&self.vendor.catalog.products, &self.machine, now);
    }

    /// Asks a host or the vendor's service, and keeps what came of it. A failure leaves the license that was held
    /// before untouched.
    pub async fn activate(&self) -> Result<Activated> {
        let asking = self.store.update(&self.machine, self.clock.now(), |stored| {
            self.prepare(stored)?;
            Ok(stored.clone())
        })?;
        let edition = self.edition(&asking);
        let sku = self.vendor.sku(edition.sku)?;
        match edition.key {
            Some(key) => self.activate_at_service(&asking, key).await,
            None if sku.channel.has_own_key() => Err(no_key(sku)),
            None => self.activate_by_host(&asking).await,
        }
    }

    /// Looks at the machine before anything is asked for it.
    pub(crate) fn prepare(&self, stored: &mut Stored) -> Result<()> {
        self.note_machine(stored, self.clock.now().max(stored.product.latest_time));
        let tolerance = self.policy(stored)?.hardware;
        let machine = self.machine.components();
        let same = |was: &Components| tolerance.compare(was, &machine).tolerated;
        if same(&stored.product.components) {
            return Ok(());
        }
        // On other hardware the copy of a machine becomes a machine of its own; once is enough. What it was activated as
        // before, it is again.
        stored.product.renew_cmid(&self.machine);
        let edition = self.edition(stored);
        let activated = stored.product.activation(edition).map(|activation| &activation.components);
        if let Some(components) = activated.filter(|components| same(components)).cloned() {
            stored.product.components = components;
        }
        Ok(())
    }

    /// Does something to what is stored as it was when somebody was asked: another key may have come into use
    /// meanwhile.
    pub(crate) fn as_asked<T>(
        &self,
        stored: &mut Stored,
        asking: &Stored,
        change: impl FnOnce(&mut Stored) -> Result<T>,
    ) -> Result<T> {
        let in_use = std::mem::replace(&mut stored.installation.in_use, asking.installation.in_use);
        let changed = change(stored);
        stored.installation.in_use = in_use;
        changed
    }

    /// Notes how an attempt ended and when to try again, if what was asked for is still in use. The error is an
    /// outcome too, and the store is to be kept.
    pub(crate) fn note_attempt(
        &self,
        stored: &mut Stored,
        asked: Option<KeyId>,
        outcome: Result<Activated>,
        count: Option<u32>,
        now: Timestamp,
    ) -> Result<Result<Activated>> {
        if stored.installation.in_use != asked {
            return Ok(outcome);
        }
        let (facts, judged_at) = stored.facts(self.trust(&stored.product), now);
        let state = license_state::evaluate(&self.policy(stored)?, &facts, judged_at);
        if outcome.is_err() && state.situation == Situation::Licensed && state.until.is_none() {
            // It holds for good, and was asked for without need.
            stored.product.last = None;
            return Ok(outcome);
        }
        let attempt = Attempt { at: now, activated: outcome.is_ok() };
        let intervals = Intervals::new(&self.policy(stored)?, stored.product.host_intervals);
        // What the vendor has activated for this hardware is not renewed.
        let for_good = matches!(&outcome, Ok(Activated { by: Activator::Vendor(_), .. }));
        let next = intervals.next(attempt, u32::from_be_bytes(random::bytes()));
        stored.product.next_request = (!for_good).then_some(next);
        let error = outcome.as_ref().err().cloned();
        stored.product.last = Some(LastAttempt { attempt, count, error });
        Ok(outcome)
    }

    /// When the product should ask next; one that never asked should at once, and one that is activated by a key of
    /// its own need not ask again.
    pub fn due(&self) -> Result<Option<Timestamp>> {
        let now = self.clock.now();
        // Looked at as by `status`, so that time and hardware are noted where nobody else may write.
        let stored = self.look(now)?;
        let (edition, policy) = (self.edition(&stored), self.policy(&stored)?);
        let own_key = self.vendor.sku(edition.sku)?.channel.has_own_key();
        let (facts, judged_at) = stored.facts(self.trust(&stored.product), now);
        let licensed = license_state::evaluate(&policy, &facts, judged_at).situation == Situation::Licensed;
        // Without a key, there is nothing that could be asked.
        if own_key && (licensed || edition.key.is_none()) {
            return Ok(None);
        }
        let intervals = Intervals::new(&policy, stored.product.host_intervals);
        let mut next = stored.product.next_request.unwrap_or(Timestamp::MIN);
        let behind = policy.clock_tolerance.after(now) < stored.product.latest_time;
        if let Some(last) = stored.product.last.as_ref().filter(|_| behind) {
            // The clock has been wrong, and a host's signed time puts it right: as soon as a failure would.
            next = next.min(intervals.activation.after(last.attempt.at));
        }
        // A clock that once ran ahead may have put it off for years.
        let longest = intervals.renewal.max(intervals.activation);
        Ok(Some(if next > longest.after(now) { Timestamp::MIN } else { next }))
    }

    /// The time by this client's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Restarts the initial grace, as often as the policy permits.
    pub fn rearm(&self) -> Result<Status> {
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| self.apply(stored, Event::Rearmed, now))?;
        self.status()
    }

    /// Sets the host by hand, or goes back to discovery.
    pub fn set_host(&self, host: Option<HostAddress>) -> Result<()> {
        self.store.update(&self.machine, self.clock.now(), |stored| {
            stored.product.fixed_host = host;
            stored.product.cached_host = None;
            Ok(())
        })
    }

    /// Sets the port of the host that was set by hand.
    pub fn set_port(&self, port: u16) -> Result<HostAddress> {
        self.store.update(&self.machine, self.clock.now(), |stored| {
            let Some(host) = &mut stored.product.fixed_host else {
                return Err(Error::new(
                    Code::NotSetUp,
                    "no host is set by hand, and DNS says each host's port",
                    format!("set the host with its port: `quorate set-host HOST:{port}`"),
                ));
            };
            host.port = port;
            Ok(host.clone())
        })
    }

    /// The hosts to ask, in order, with how they were found; or why there are none.
    pub async fn discover(&self) -> Result<Vec<(HostAddress, Found)>> {
        let stored = self.store.read(&self.machine, self.clock.now())?;
        let sku = self.vendor.sku(self.edition(&stored).sku)?;
        if sku.channel.has_own_key() {
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!(
                    "{} ({}) is activated at the vendor's service; no host is asked",
                    sku.name, sku.channel
                ),
                "`quorate activate`",
            ));
        }
        let product = stored.product;
        let mut hosts = Vec::from_iter(self.known_host(&product)?);
        if hosts.iter().any(|(_, found)| found.is_set()) {
            return Ok(hosts);
        }
        match self.published().await {
            Ok(published) => {
                let others =
                    published.into_iter().filter(|host| hosts.iter().all(|(known, _)| known != host));
                hosts.extend(others.map(|host| (host, Found::Dns)).collect::<Vec<_>>());
            }
            Err(error) if hosts.is_empty() => return Err(error),
            // The host that answered last is asked all the same.
            Err(_) => {}
        }
        Ok(hosts)
    }

    pub(crate) fn known_host(&self, product: &Product) -> Result<Option<(HostAddress, Found)>> {
        let setting = match &self.host_file {
            Some(file) if product.fixed_host.is_none() => HostSetting::read(file)?,
            _ => HostSetting::default(),
        };
        known_host(product.fixed_host.as_ref(), &setting, product.cached_host.as_ref())
    }

    pub(crate) async fn published(&self) -> Result<Vec<HostAddress>> {
        self.dns.hosts(&self.vendor.catalog, random::up_to).await
    }

    /// Lets an event happen to what is stored, by the rules of the license state.
    pub(crate) fn apply(&self, stored: &mut Stored, event: Event, now: Timestamp) -> Result<()> {
        let policy = self.policy(stored)?;
        let (facts, judged_at) = stored.facts(self.trust(&stored.product), now);
        let facts = facts.after(event, &policy, judged_at)?;
        let trust = self.trust(&stored.product);
        stored.keep(&facts, trust);
        Ok(())
    }

    /// What the product is at the moment.
    pub(crate) fn edition(&self, stored: &Stored) -> Edition {
        stored.installation.edition(&self.vendor.catalog.products)
    }

    /// The policy of the edition in use; but for a product that is not activated, nothing is gained by a key that
    /// brings another channel's policy along.
    pub(crate) fn policy(&self, stored: &Stored) -> Result<Policy> {
        let products = &self.vendor.catalog.products;
        let in_use = products.policy(self.vendor.sku(self.edition(stored).sku)?);
        // Where the catalog has dropped the registered edition, it goes by the key's alone.
        Ok(match products.sku(stored.installation.sku) {
            Some(registered) => in_use.unless_stricter(products.policy(registered)),
            None => in_use.clone(),
        })
    }

    /// Whom to believe at the other end of a connection.
    pub(crate) fn peer(&self) -> transport::Peer<'_> {
        transport::Peer { root: &self.vendor.root, vendor: &self.vendor.catalog.vendor, clock: &self.clock }
    }

    pub(crate) fn trust(&self, product: &Product) -> Trust<'_> {
        Trust {
            root: &self.vendor.root,
            vendor: &self.vendor.catalog.vendor,
            catalog: &self.vendor.catalog,
            newest_revocations: product.newest_revocations,
        }
    }
}

/// What an edition that needs a product key of its own lacks.
pub(crate) fn no_key(sku: &Sku) -> Error {
    Error::new(
        Code::ProductKeyMissing,
        format!("no product key of {} ({}) is installed", sku.name, sku.channel),
        "`quorate install-key KEY`",
    )
}

/// Writing costs a flush to the disk, and a product may ask for its status at every window it opens.
const NOTED_EVERY: Interval = Interval::hours(1);
