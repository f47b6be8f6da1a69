//! Activation by a host of this network: find one, ask it, believe it or not, compare the count.

use crate::activation::{Activated, Activator, ByHost, Client};
use crate::discovery::Found;
use crate::host_address::HostAddress;
use crate::round::Round;
use crate::stored::{Activation, Product, Stored};
use crate::transport::{self, Refusal};
use quorate_core::activation::{self, AcceptedResponse, ActivationRequest};
use quorate_core::license_state::{self, Event};
use quorate_core::revocation::RevocationList;
use quorate_core::schedule::Intervals;
use quorate_core::{Code, Error, Result, Timestamp, signed};
use quorate_edge::random;
use quorate_proto::request;

impl Client {
    /// Asks a host and keeps what came of it.
    pub(crate) async fn activate_by_host(&self, asking: &Stored) -> Result<Activated> {
        let (outcome, revoked) = self.ask_hosts(asking).await;
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| {
            stored.product.latest_time = stored.product.latest_time.max(now);
            if let Some(list) = &revoked.list {
                stored.note_list(list, now);
            }
            let (outcome, count) = self.as_asked(stored, asking, |stored| {
                let (outcome, count) = match outcome {
                    Ok(answer) => self.keep_answer(stored, answer, now)?,
                    Err(error) => (Err(error), None),
                };
                if outcome.is_err() && revoked.license {
                    self.apply(stored, Event::Revoked, now)?;
                }
                Ok((outcome, count))
            })?;
            self.note_attempt(stored, asking.installation.in_use, outcome, count, now)
        })?
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
            )
            .map_err(|error| match error.code {
                // It is no file that somebody gave.
                Code::DocumentInvalid => Error {
                    what: format!("the host's answer is not to be read: {}", error.what),
                    next: "report this to whoever runs the host".to_owned(),
                    ..error
                },
                _ => error,
            })?;
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
        let newest = revocations.list.as_ref().map_or(0, |list| list.number);
        if list.check_number(asking.product.newest_revocations.max(newest)).is_err() {
            return;
        }
        let edition = self.edition(asking);
        let held = asking.product.activation(edition).and_then(|activation| {
            let at = activation::claimed_time(&activation.document).ok()?;
            activation::verify_license(&activation.document, edition.sku, trust, at).ok()
        });
        revocations.license = held.is_some_and(|held| list.check_host(&held.signer).is_err());
        revocations.list = Some(list);
    }

    fn request(&self, asking: &Stored) -> Result<ActivationRequest> {
        let sku = self.vendor.sku(self.edition(asking).sku)?;
        let policy = self.policy(asking)?;
        let client_time = self.clock.now();
        let product = &asking.product;
        let (facts, judged_at) = asking.facts(self.trust(product), client_time);
        let state = license_state::evaluate(&policy, &facts, judged_at);
        Ok(ActivationRequest {
            application: sku.application,
            sku: sku.id,
            cmid: product.cmid,
            hardware: product.hardware(),
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
    fn keep_answer(
        &self,
        stored: &mut Stored,
        answer: Answer,
        now: Timestamp,
    ) -> Result<(Result<Activated>, Option<u32>)> {
        let Answer { product: asked, accepted, jws, host, found } = answer;
        let (edition, policy) = (self.edition(stored), self.policy(stored)?);
        let response = accepted.response;
        let product = &mut stored.product;
        product.newest_revocations = product.newest_revocations.max(accepted.revocations);
        product.cached_host = Some(host.clone());
        product.host_intervals =
            Some(Intervals { activation: response.activation_interval, renewal: response.renewal_interval });
        (product.cmid, product.components) = (asked.cmid, asked.components.clone());
        product.previous_cmid = None;
        // The host has just said what time it is: a clock that once ran ahead is forgotten.
        product.latest_time = now.max(response.host_time);
        if let Err(error) = activation::check_count(&policy, response.count) {
            return Ok((Err(error), Some(response.count)));
        }
        stored.product.activate(Activation {
            edition,
            document: jws,
            components: asked.components,
            out_of_tolerance: None,
            host_revoked: None,
            machines: None,
        });
        let (facts, judged_at) = stored.facts(self.trust(&stored.product), now);
        let state = license_state::evaluate(&policy, &facts, judged_at);
        let by = ByHost { host, found, count: response.count, threshold: policy.threshold };
        Ok((Ok(Activated { by: Activator::Host(by), state }), Some(response.count)))
    }
}

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
    /// The newest list.
    list: Option<RevocationList>,
    /// Whether what this product was activated by is in it.
    license: bool,
}
