//! Activating: find a host, ask it, believe it or not, compare the count, keep what came of it.

use crate::discovery::{Dns, Found};
use crate::host_address::HostAddress;
use crate::known_host::{HostSetting, known_host};
use crate::registration::Vendor;
use crate::round::Round;
use crate::store::{LastAttempt, Product, Store, Stored};
use crate::transport::{self, Refusal};
use quorate_core::activation::{self, AcceptedResponse, ActivationRequest, Trust};
use quorate_core::catalog::Sku;
use quorate_core::identifier::ApplicationId;
use quorate_core::license_state::{self, Event, LicenseState, Situation};
use quorate_core::policy::Policy;
use quorate_core::revocation::RevocationList;
use quorate_core::schedule::{Attempt, Intervals};
use quorate_core::{Code, Error, Interval, Result, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::machine::Machine;
use quorate_edge::random;
use quorate_proto::request;
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
}

/// An activation that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated {
    /// The host that answered.
    pub host: HostAddress,
    /// How it was found.
    pub found: Found,
    /// How many machines have asked it.
    pub count: u32,
    /// How many the policy needs.
    pub threshold: u32,
    /// The license state now.
    pub state: LicenseState,
}

/// The product as it stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// What is stored.
    pub product: Product,
    /// What was wrong with the license file, if it had to be made anew.
    pub damage: Option<Error>,
    /// The installed edition.
    pub sku: Sku,
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
    /// The response by which the product is activated, or why there is none that holds.
    pub license: Result<Option<activation::ActivationResponse>>,
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
            Situation::NonGenuineGrace => Some(Error::new(
                Code::Revoked,
                "the vendor has revoked the key or the host by which this product was activated",
                "ask whoever runs the host; another host may activate it: `quorate activate`",
            )),
            // How the last attempt failed says what to do about it.
            Situation::Notification if last.is_none() => Some(Error::new(
                Code::GraceOver,
                "the time in which the product runs without an activation is over",
                "`quorate activate`",
            )),
            _ => None,
        };
        of_the_situation.or(self.damage.clone()).or(self.license.clone().err()).or(last)
    }
}

impl Client {
    /// The product of an application of a registered vendor.
    pub fn new(vendor: Vendor, application: ApplicationId, machine: Machine, dns: Dns, clock: Clock) -> Self {
        let store = Store::new(&vendor.directory, application);
        Self { vendor, store, machine, dns, clock, host_file: None }
    }

    /// The same, heeding what this machine says about its host: the environment and this file. They are read
    /// whenever a host is asked.
    pub fn with_host_file(self, file: PathBuf) -> Self {
        Self { host_file: Some(file), ..self }
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
                    Self { vendor, store, machine, dns, clock: clock.clone(), host_file: None }
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
        let mut stored = self.store.read(&self.machine, now)?;
        let sku = self.vendor.sku(stored.installation.sku)?.clone();
        let policy = self.vendor.catalog.products.policy(&sku).clone();
        let before = stored.product.clone();
        stored.product.note_machine(&policy, &self.machine, now.max(before.latest_time));
        if stored.product != before || now > NOTED_EVERY.after(before.latest_time) {
            // Where it cannot be written, the license is the same without it.
            let _ = self.store.update(&self.machine, now, |stored| {
                stored.product.note_machine(&policy, &self.machine, now.max(stored.product.latest_time));
                stored.product.latest_time = stored.product.latest_time.max(now);
                Ok(())
            });
        }
        let trust = self.trust(&stored.product);
        let (facts, judged_at) = stored.facts(trust, now);
        let state = license_state::evaluate(&policy, &facts, judged_at);
        let license = stored.product.license(sku.id, trust, now);
        let intervals = Intervals::new(&policy, stored.product.host_intervals);
        let host = self.known_host(&stored.product);
        let Stored { installation, product, damage } = stored;
        let rearms_left = policy.rearm_limit.saturating_sub(installation.rearms);
        Ok(Status { product, damage, sku, policy, state, rearms_left, judged_at, intervals, host, license })
    }

    /// Asks a host and keeps what came of it. A failure leaves the license that was held before untouched.
    pub async fn activate(&self) -> Result<Activated> {
        let now = self.clock.now();
        let asking = self.store.update(&self.machine, now, |stored| {
            let policy = self.policy(stored)?;
            stored.product.note_machine(policy, &self.machine, now);
            let machine = self.machine.components();
            // On other hardware the copy of a machine becomes a machine of its own; once is enough.
            if !policy.hardware.compare(&stored.product.components, &machine).tolerated {
                stored.product.renew_cmid(&self.machine);
            }
            Ok(stored.clone())
        })?;
        let (outcome, revoked) = self.ask_hosts(&asking).await;
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| {
            stored.product.latest_time = stored.product.latest_time.max(now);
            stored.product.newest_revocations = stored.product.newest_revocations.max(revoked.newest);
            let (outcome, count) = match outcome {
                Ok(answer) => self.keep(stored, answer, now)?,
                Err(error) => (Err(error), None),
            };
            if outcome.is_err() && revoked.license {
                self.apply(stored, Event::Revoked, now)?;
            }
            let attempt = Attempt { at: now, activated: outcome.is_ok() };
            let intervals = Intervals::new(self.policy(stored)?, stored.product.host_intervals);
            stored.product.next_request = Some(intervals.next(attempt, u32::from_be_bytes(random::bytes())));
            let error = outcome.as_ref().err().cloned();
            stored.product.last = Some(LastAttempt { attempt, count, error });
            // The error is the outcome, and the store is to be kept: both are given on.
            Ok(outcome)
        })?
    }

    /// When the product should ask a host next; a product that never asked should at once.
    pub fn due(&self) -> Result<Timestamp> {
        let now = self.clock.now();
        let stored = self.store.read(&self.machine, now)?;
        let intervals = Intervals::new(self.policy(&stored)?, stored.product.host_intervals);
        let mut next = stored.product.next_request.unwrap_or(Timestamp::MIN);
        let behind = self.policy(&stored)?.clock_tolerance.after(now) < stored.product.latest_time;
        if let Some(last) = stored.product.last.as_ref().filter(|_| behind) {
            // The clock has been wrong, and a host's signed time puts it right: as soon as a failure would.
            next = next.min(intervals.activation.after(last.attempt.at));
        }
        // A clock that once ran ahead may have put it off for years.
        let longest = intervals.renewal.max(intervals.activation);
        Ok(if next > longest.after(now) { Timestamp::MIN } else { next })
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

    /// The hosts to ask, in order, with how they were found; or why there are none.
    pub async fn discover(&self) -> Result<Vec<(HostAddress, Found)>> {
        let product = self.store.read(&self.machine, self.clock.now())?.product;
        let mut hosts = Vec::from_iter(self.known_host(&product)?);
        if hosts.iter().any(|(_, found)| found.is_set()) {
            return Ok(hosts);
        }
        match self.published().await {
            Ok(published) => hosts.extend(published.into_iter().map(|host| (host, Found::Dns))),
            Err(error) if hosts.is_empty() => return Err(error),
            // The host that answered last is asked all the same.
            Err(_) => {}
        }
        Ok(hosts)
    }

    fn known_host(&self, product: &Product) -> Result<Option<(HostAddress, Found)>> {
        let setting = match &self.host_file {
            Some(file) if product.fixed_host.is_none() => HostSetting::read(file)?,
            _ => HostSetting::default(),
        };
        known_host(product.fixed_host.as_ref(), &setting, product.cached_host.as_ref())
    }

    /// Asks one host after the other until one answers. Whatever happens, says what was learnt of revocations.
    async fn ask_hosts(&self, asking: &Stored) -> (Result<Answer>, Revocations) {
        let mut revocations = Revocations::default();
        let outcome = self.ask_hosts_in_turn(asking, &mut revocations).await;
        (outcome, revocations)
    }

    async fn ask_hosts_in_turn(&self, asking: &Stored, revocations: &mut Revocations) -> Result<Answer> {
        let mut round = Round::default();
        if let Some((host, found)) = self.known_host(&asking.product)? {
            match self.ask_host(asking, &host, found, revocations).await {
                Err(error) if !found.is_set() => round.strike(&host, error),
                asked => return asked,
            }
        }
        let published = match self.published().await {
            Ok(published) => published,
            Err(error) => return Err(round.failure_without_dns(error)),
        };
        for host in published {
            if round.has_struck(&host) {
                continue;
            }
            match self.ask_host(asking, &host, Found::Dns, revocations).await {
                Ok(answer) => return Ok(answer),
                Err(error) => round.strike(&host, error),
            }
        }
        Err(round.failure().unwrap_or_else(|| {
            Error::new(
                Code::NoHostFound,
                "DNS names no host that could be asked",
                "set the host by hand: `quorate set-host HOST`",
            )
        }))
    }

    async fn published(&self) -> Result<Vec<HostAddress>> {
        self.dns.hosts(&self.vendor.catalog, random::up_to).await
    }

    async fn ask_host(
        &self,
        asking: &Stored,
        host: &HostAddress,
        found: Found,
        revocations: &mut Revocations,
    ) -> Result<Answer> {
        let addresses = self.dns.addresses(host).await?;
        let mut asking = asking.clone();
        let (accepted, jws) = self.ask_addresses(&mut asking, &addresses, revocations).await?;
        Ok(Answer { product: asking.product, accepted, jws, host: host.clone(), found })
    }

    /// Asks once and, when the host has seen this CMID on other hardware, once more with a new one.
    async fn ask_addresses(
        &self,
        asking: &mut Stored,
        addresses: &[std::net::SocketAddr],
        revocations: &mut Revocations,
    ) -> Result<(AcceptedResponse, String)> {
        let peer = self.peer();
        for attempt in 1..=2 {
            let request = self.request(asking)?;
            let answer = match transport::ask(&peer, addresses, request::to_wire(&request)).await {
                Ok(answer) => answer,
                Err(Refusal { error, revocations: list }) => {
                    if let Some(list) = list {
                        self.note_revocations(asking, &list, revocations);
                    }
                    return Err(error);
                }
            };
            self.note_revocations(asking, &answer.revocations, revocations);
            let accepted = activation::accept(
                &answer.response,
                &answer.revocations,
                &request,
                self.trust(&asking.product),
                self.clock.now(),
            )?;
            if !accepted.response.clone {
                return Ok((accepted, answer.response));
            }
            if attempt == 1 {
                asking.product.renew_cmid(&self.machine);
            }
        }
        Err(Error::new(
            Code::ResponseMismatch,
            "the host takes a new, random CMID for that of another machine",
            "report this to whoever runs the host",
        ))
    }

    /// Looks into a revocation list that a host has shown: is what this product was activated by in it? The
    /// list is the vendor's word, whoever shows it; one that does not verify says nothing.
    fn note_revocations(&self, asking: &Stored, jws: &str, revocations: &mut Revocations) {
        let trust = self.trust(&asking.product);
        let list = signed::verify::<RevocationList>(jws, trust.root, trust.vendor, self.clock.now());
        let Ok(list) = list.map(|verified| verified.document) else { return };
        if list.check_number(asking.product.newest_revocations.max(revocations.newest)).is_err() {
            return;
        }
        revocations.newest = list.number;
        let held = asking.product.response.as_ref().and_then(|jws| {
            let at = activation::claimed_time(jws).ok()?;
            activation::verify_license(jws, asking.installation.sku, trust, at).ok()
        });
        revocations.license = held.is_some_and(|held| list.check_host(&held.signer).is_err());
    }

    fn request(&self, asking: &Stored) -> Result<ActivationRequest> {
        let sku = self.vendor.sku(asking.installation.sku)?;
        let policy = self.vendor.catalog.products.policy(sku);
        let client_time = self.clock.now();
        let product = &asking.product;
        let (facts, judged_at) = asking.facts(self.trust(product), client_time);
        let state = license_state::evaluate(policy, &facts, judged_at);
        Ok(ActivationRequest {
            application: sku.application,
            sku: sku.id,
            cmid: product.cmid,
            hardware: product.hardware,
            status: state.status,
            minutes_left: state.remaining(judged_at).as_minutes(),
            threshold: policy.threshold,
            client_time,
            machine_name: self.machine.name.clone(),
            virtual_machine: self.machine.is_virtual(),
            nonce: random::nonce(),
            previous_cmid: product.previous_cmid,
        })
    }

    /// Keeps an answer. Whether it activates the product is a matter of the count, which is given as well.
    fn keep(
        &self,
        stored: &mut Stored,
        answer: Answer,
        now: Timestamp,
    ) -> Result<(Result<Activated>, Option<u32>)> {
        let Answer { product: asked, accepted, jws, host, found } = answer;
        let policy = self.policy(stored)?;
        let response = accepted.response;
        let product = &mut stored.product;
        product.newest_revocations = product.newest_revocations.max(accepted.revocations);
        product.cached_host = Some(host.clone());
        product.host_intervals =
            Some(Intervals { activation: response.activation_interval, renewal: response.renewal_interval });
        (product.cmid, product.hardware, product.components) = (asked.cmid, asked.hardware, asked.components);
        product.previous_cmid = None;
        // The host has just said what time it is: a clock that once ran ahead is forgotten.
        product.latest_time = now.max(response.host_time);
        if let Err(error) = activation::check_count(policy, response.count) {
            return Ok((Err(error), Some(response.count)));
        }
        product.response = Some(jws);
        product.out_of_tolerance = None;
        product.revoked = None;
        // What was tolerated is from now on how the machine is known.
        product.components = self.machine.components();
        let (facts, judged_at) = stored.facts(self.trust(&stored.product), now);
        let state = license_state::evaluate(policy, &facts, judged_at);
        let activated = Activated { host, found, count: response.count, threshold: policy.threshold, state };
        Ok((Ok(activated), Some(response.count)))
    }

    /// Lets an event happen to what is stored, by the rules of the license state.
    fn apply(&self, stored: &mut Stored, event: Event, now: Timestamp) -> Result<()> {
        let policy = self.policy(stored)?;
        let (facts, judged_at) = stored.facts(self.trust(&stored.product), now);
        let facts = facts.after(event, policy, judged_at)?;
        stored.installation.first_run = facts.first_run;
        stored.installation.rearms = facts.rearms;
        stored.product.first_run = facts.first_run;
        stored.product.revoked = facts.revoked;
        stored.product.out_of_tolerance = facts.out_of_tolerance;
        if facts.license.is_none() {
            stored.product.response = None;
        }
        Ok(())
    }

    fn policy(&self, stored: &Stored) -> Result<&Policy> {
        Ok(self.vendor.catalog.products.policy(self.vendor.sku(stored.installation.sku)?))
    }

    /// Whom to believe at the other end of a connection.
    pub(crate) fn peer(&self) -> transport::Peer<'_> {
        transport::Peer { root: &self.vendor.root, vendor: &self.vendor.catalog.vendor, clock: &self.clock }
    }

    fn trust(&self, product: &Product) -> Trust<'_> {
        Trust {
            root: &self.vendor.root,
            vendor: &self.vendor.catalog.vendor,
            catalog: &self.vendor.catalog,
            newest_revocations: product.newest_revocations,
        }
    }
}

/// Writing costs a flush to the disk, and a product may ask for its status at every window it opens.
const NOTED_EVERY: Interval = Interval::hours(1);

/// What a host answered, and the product as it was when it asked (a clone has a new CMID by then).
struct Answer {
    product: Product,
    accepted: AcceptedResponse,
    jws: String,
    host: HostAddress,
    found: Found,
}

/// What hosts have shown of revocations in one round.
#[derive(Default)]
struct Revocations {
    /// The number of the newest list.
    newest: u64,
    /// Whether what this product was activated by is in it.
    license: bool,
}
