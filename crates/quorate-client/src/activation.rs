//! Activating: find a host, ask it, believe it or not, compare the count, keep what came of it.

use crate::discovery::{Dns, Found};
use crate::host_address::HostAddress;
use crate::registration::Vendor;
use crate::store::{self, LastAttempt, Product};
use crate::transport;
use quorate_core::activation::{self, AcceptedResponse, ActivationRequest, Trust};
use quorate_core::catalog::Sku;
use quorate_core::identifier::ApplicationId;
use quorate_core::license_state::{self, Attempt, LicenseState};
use quorate_core::policy::Policy;
use quorate_core::{Code, Error, Interval, Result};
use quorate_edge::clock::Clock;
use quorate_edge::machine::Machine;
use quorate_edge::random;
use quorate_proto::request;

/// One application's product on this machine.
#[derive(Clone, Debug)]
pub struct Client {
    vendor: Vendor,
    application: ApplicationId,
    machine: Machine,
    dns: Dns,
    clock: Clock,
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
    /// The installed edition.
    pub sku: Sku,
    /// Its policy.
    pub policy: Policy,
    /// The license state now.
    pub state: LicenseState,
    /// The response by which the product is activated, or why there is none that holds.
    pub license: Result<Option<activation::ActivationResponse>>,
}

impl Client {
    /// The product of an application of a registered vendor.
    pub fn new(vendor: Vendor, application: ApplicationId, machine: Machine, dns: Dns, clock: Clock) -> Self {
        Self { vendor, application, machine, dns, clock }
    }

    /// Every registered product in a state directory.
    pub fn all(state: &std::path::Path, machine: &Machine, dns: &Dns, clock: &Clock) -> Result<Vec<Self>> {
        let mut clients = Vec::new();
        for vendor in Vendor::all(state, clock.now())? {
            for application in store::applications(&vendor.directory)? {
                clients.push(Self::new(
                    vendor.clone(),
                    application,
                    machine.clone(),
                    dns.clone(),
                    clock.clone(),
                ));
            }
        }
        Ok(clients)
    }

    /// The vendor.
    pub fn vendor(&self) -> &Vendor {
        &self.vendor
    }

    /// The product as it stands, without asking anybody. The time is noted, so that nothing is gained by
    /// setting the clock back afterwards.
    pub fn status(&self) -> Result<Status> {
        let product = store::read(&self.vendor.directory, self.application)?;
        let now = self.clock.now();
        if now > NOTED_EVERY.after(product.latest_time) {
            // Where it cannot be written, the license is the same without it.
            let _ = store::update(&self.vendor.directory, self.application, |product| {
                product.latest_time = product.latest_time.max(now);
                Ok(())
            });
        }
        let sku = self.vendor.sku(product.sku)?.clone();
        let policy = self.vendor.catalog.products.policy(&sku).clone();
        let (machine, trust) = (self.machine.hardware(), self.trust(&product));
        let (facts, now) = product.facts(machine, trust, now);
        let state = license_state::evaluate(&policy, &facts, now);
        let license = product.license(machine, trust);
        Ok(Status { product, sku, policy, state, license })
    }

    /// Asks a host and keeps what came of it. A failure leaves the license that was held before untouched.
    pub async fn activate(&self) -> Result<Activated> {
        let directory = &self.vendor.directory;
        let product = store::update(directory, self.application, |product| {
            // A store that was copied with its machine's image: the copy becomes a machine of its own.
            if product.hardware != self.machine.hardware() {
                product.renew_cmid(self.machine.hardware());
            }
            Ok(product.clone())
        })?;
        let outcome = self.ask_hosts(&product).await;
        let now = self.clock.now();
        store::update(directory, self.application, |product| {
            product.latest_time = product.latest_time.max(now);
            match outcome {
                Ok(answer) => self.keep(product, answer),
                Err(error) => {
                    let attempt = Attempt { at: now, activated: false };
                    product.last = Some(LastAttempt { attempt, count: None, error: Some(error.clone()) });
                    // The error is the outcome, and the store is to be kept: both are given on.
                    Ok(Err(error))
                }
            }
        })?
    }

    /// Sets the host by hand, or goes back to discovery.
    pub fn set_host(&self, host: Option<HostAddress>) -> Result<()> {
        store::update(&self.vendor.directory, self.application, |product| {
            product.fixed_host = host;
            product.cached_host = None;
            Ok(())
        })
    }

    /// The hosts to ask, in order, with how they were found; or why there are none.
    pub async fn discover(&self) -> Result<Vec<(HostAddress, Found)>> {
        let product = store::read(&self.vendor.directory, self.application)?;
        if let Some(host) = product.fixed_host {
            return Ok(vec![(host, Found::SetByHand)]);
        }
        let cached = product.cached_host.into_iter().map(|host| (host, Found::Cached));
        let published = self.published().await?.into_iter().map(|host| (host, Found::Dns));
        Ok(cached.chain(published).collect())
    }

    async fn ask_hosts(&self, product: &Product) -> Result<Answer> {
        if let Some(host) = &product.fixed_host {
            return self.ask_host(product, host, Found::SetByHand).await;
        }
        if let Some(host) = &product.cached_host
            && let Ok(answer) = self.ask_host(product, host, Found::Cached).await
        {
            return Ok(answer);
        }
        let mut failure: Option<Error> = None;
        for host in self.published().await? {
            match self.ask_host(product, &host, Found::Dns).await {
                Ok(answer) => return Ok(answer),
                // What a host answered says more than that another could not be reached.
                Err(error) if error.code == Code::HostUnreachable && failure.is_some() => {}
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::new(
                Code::NoHostFound,
                "DNS names no host that could be asked",
                "set the host by hand: `quorate set-host HOST`",
            )
        }))
    }

    async fn published(&self) -> Result<Vec<HostAddress>> {
        self.dns
            .hosts(&self.vendor.catalog, |total| match total.checked_add(1) {
                Some(choices) => u32::from_be_bytes(random::bytes()) % choices,
                None => u32::from_be_bytes(random::bytes()),
            })
            .await
    }

    async fn ask_host(&self, product: &Product, host: &HostAddress, found: Found) -> Result<Answer> {
        let mut failure: Option<Error> = None;
        for address in self.dns.addresses(host).await? {
            let mut asking = product.clone();
            match self.ask_address(&mut asking, address).await {
                Ok((accepted, jws)) => {
                    return Ok(Answer { product: asking, accepted, jws, host: host.clone(), found });
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::new(
                Code::HostUnreachable,
                format!("the host's name {} has no address in DNS", host.name),
                "set the host by its IP address: `quorate set-host ADDRESS`",
            )
        }))
    }

    /// Asks once and, when the host has seen this CMID on other hardware, once more with a new one.
    async fn ask_address(
        &self,
        product: &mut Product,
        address: std::net::SocketAddr,
    ) -> Result<(AcceptedResponse, String)> {
        let peer = transport::Peer {
            root: &self.vendor.root,
            vendor: &self.vendor.catalog.vendor,
            clock: &self.clock,
        };
        for attempt in 1..=2 {
            let request = self.request(product)?;
            let answer = transport::ask(&peer, address, request::to_wire(&request)).await?;
            let accepted = activation::accept(
                &answer.response,
                &answer.revocations,
                &request,
                self.trust(product),
                self.clock.now(),
            )?;
            if !accepted.response.clone {
                return Ok((accepted, answer.response));
            }
            if attempt == 1 {
                product.renew_cmid(self.machine.hardware());
            }
        }
        Err(Error::new(
            Code::ResponseMismatch,
            "the host takes a new, random CMID for that of another machine",
            "report this to whoever runs the host",
        ))
    }

    fn request(&self, product: &Product) -> Result<ActivationRequest> {
        let sku = self.vendor.sku(product.sku)?;
        let policy = self.vendor.catalog.products.policy(sku);
        let client_time = self.clock.now();
        let (facts, now) = product.facts(self.machine.hardware(), self.trust(product), client_time);
        let state = license_state::evaluate(policy, &facts, now);
        Ok(ActivationRequest {
            application: sku.application,
            sku: sku.id,
            cmid: product.cmid,
            hardware: product.hardware,
            status: state.status,
            minutes_left: state.remaining(now).as_minutes(),
            threshold: policy.threshold,
            client_time,
            machine_name: self.machine.name.clone(),
            virtual_machine: self.machine.virtual_machine,
            nonce: random::nonce(),
            previous_cmid: product.previous_cmid,
        })
    }

    /// Keeps an answer. Whether it activates the product is a matter of the count.
    fn keep(&self, product: &mut Product, answer: Answer) -> Result<Result<Activated>> {
        let Answer { product: asked, accepted, jws, host, found } = answer;
        let sku = self.vendor.sku(product.sku)?;
        let policy = self.vendor.catalog.products.policy(sku);
        let count = accepted.response.count;
        let enough = activation::check_count(policy, count);
        let attempt = Attempt { at: self.clock.now(), activated: enough.is_ok() };
        product.last = Some(LastAttempt { attempt, count: Some(count), error: enough.clone().err() });
        product.newest_revocations = product.newest_revocations.max(accepted.revocations);
        product.cached_host = Some(host.clone());
        (product.cmid, product.hardware, product.previous_cmid) = (asked.cmid, asked.hardware, None);
        if let Err(error) = enough {
            return Ok(Err(error));
        }
        product.response = Some(jws);
        // The host has just said what time it is: a clock that once ran ahead is forgotten.
        product.latest_time = self.clock.now().max(accepted.response.host_time);
        let (facts, now) = product.facts(self.machine.hardware(), self.trust(product), product.latest_time);
        let state = license_state::evaluate(policy, &facts, now);
        Ok(Ok(Activated { host, found, count, threshold: policy.threshold, state }))
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
