//! Webhooks: programs of the vendor that are told of activations, and of keys that are nearly or quite used up.
//!
//! A message is kept in the turn in which the thing happens, so none is lost and none is of what did not happen. It
//! is sent until it is answered with a success, with growing pauses; it may come twice, and bears its number for
//! that. Headers and signature are those of the Standard Webhooks specification, which libraries of many languages
//! verify.

use crate::address::{self, Flaw};
use crate::metrics::Metrics;
use crate::rights::Rights;
use crate::service::{Service, Turn};
use crate::store::webhooks::{self, DeliveryRecord, Outgoing, WebhookRecord, WebhookState};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::installation_id::InstallationId;
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::https::Poster;
use quorate_edge::random;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use zeroize::Zeroizing;

/// What a program can be told of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A host or a machine was activated.
    Activation,
    /// A key is activated on nearly as many as it may be: four fifths of them.
    LimitNear,
    /// A key is activated on as many as it may be.
    LimitReached,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 3] = [Event::Activation, Event::LimitNear, Event::LimitReached];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Activation => "activation",
            Event::LimitNear => "limit-near",
            Event::LimitReached => "limit-reached",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Event {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text).ok_or_else(|| {
            Error::new(
                Code::RequestInvalid,
                format!("{text:?} is not an event"),
                "the events are activation, limit-near and limit-reached",
            )
        })
    }
}

impl Service {
    /// A new webhook, with the secret of its signatures, which is shown this once.
    pub fn add_webhook(
        &self,
        url: &str,
        events: &BTreeSet<Event>,
    ) -> Result<(WebhookRecord, Zeroizing<String>)> {
        check_url(url)?;
        if events.is_empty() {
            return Err(Error::new(
                Code::RequestInvalid,
                "the webhook is to be told of nothing",
                "give at least one of activation, limit-near and limit-reached",
            ));
        }
        let secret = Zeroizing::new(random::bytes::<32>());
        let record = self.change(|turn| {
            let names: Vec<&str> = events.iter().map(|event| event.as_str()).collect();
            let id = webhooks::add(turn.session, url, secret.as_slice(), &names.join(","), turn.now)?;
            turn.note("webhook.add", url, serde_json::json!({ "id": id, "events": names }))?;
            known(webhooks::find(turn.session, id)?, id)
        })?;
        Ok((record, Zeroizing::new(format!("whsec_{}", BASE64.encode(secret.as_slice())))))
    }

    /// Every webhook that was ever made.
    pub fn webhooks(&self) -> Result<Vec<WebhookRecord>> {
        self.sql.read(webhooks::list)
    }

    /// One webhook.
    pub fn webhook(&self, id: i64) -> Result<WebhookRecord> {
        self.sql.read(|session| known(webhooks::find(session, id)?, id))
    }

    /// Every webhook that was ever made, and how it goes with its messages.
    pub fn webhook_states(&self) -> Result<Vec<(WebhookRecord, WebhookState)>> {
        self.sql.read(|session| {
            let records = webhooks::list(session)?.into_iter();
            let state = |record: WebhookRecord| {
                let state = webhooks::state(session, record.id)?;
                Ok((record, state))
            };
            records.map(state).collect()
        })
    }

    /// A webhook is told nothing more.
    pub fn remove_webhook(&self, id: i64) -> Result<WebhookRecord> {
        self.change(|turn| {
            let record = known(webhooks::find(turn.session, id)?, id)?;
            if record.removed.is_some() {
                return Ok(record);
            }
            webhooks::remove(turn.session, id, turn.now)?;
            turn.note("webhook.remove", &record.url, serde_json::json!({ "id": id }))?;
            known(webhooks::find(turn.session, id)?, id)
        })
    }

    /// So many messages to a webhook, the newest first.
    pub fn deliveries(&self, id: i64, most: u32) -> Result<Vec<DeliveryRecord>> {
        self.deliveries_before(id, None, most)
    }

    /// The same, of those before this number.
    pub fn deliveries_before(&self, id: i64, before: Option<u64>, most: u32) -> Result<Vec<DeliveryRecord>> {
        self.sql.read(|session| {
            known(webhooks::find(session, id)?, id)?;
            webhooks::deliveries(session, id, before, most)
        })
    }

    fn note_delivery(&self, outgoing: &Outgoing, answer: std::result::Result<(), String>) -> Result<()> {
        let now = self.clock.now();
        let (delivered, due, said) = match answer {
            Ok(()) => (Some(now), None, "delivered".to_owned()),
            Err(said) => (None, pause(outgoing.attempts).map(|pause| pause.after(now)), said),
        };
        self.sql.change(|session| {
            webhooks::note_attempt(session, outgoing.id, delivered, due, &said)?;
            webhooks::forget(session, KEPT.before(now))
        })
    }
}

/// Carries messages to the webhooks, to each a few at a time: one that answers slowly, or not at all, keeps no other
/// waiting. Several services may each have one on the same database.
pub struct Courier {
    service: Service,
    poster: Poster,
    /// The places of each webhook; a message that is on its way has one.
    places: BTreeMap<i64, Arc<Semaphore>>,
    sending: JoinSet<Result<()>>,
}

impl Courier {
    /// One that carries nothing yet.
    pub fn new(service: Service, poster: Poster) -> Self {
        Self { service, poster, places: BTreeMap::new(), sending: JoinSet::new() }
    }

    /// Carries what is due, for as long as the service runs.
    pub async fn run(mut self, metrics: Metrics) {
        loop {
            match self.take_up().await {
                Ok(0) => {}
                Ok(taken) => metrics.deliveries("taken", taken),
                Err(error) => {
                    metrics.deliveries("failed", 1);
                    tracing::warn!(%error, next = error.next, "messages to webhooks could not be looked up");
                }
            }
            let pause = tokio::time::sleep(LOOK_EVERY);
            tokio::select! {
                // There is room for another, which may be due already.
                Some(ended) = self.sending.join_next() => {
                    note_ended(ended, &metrics);
                    while let Some(ended) = self.sending.try_join_next() {
                        note_ended(ended, &metrics);
                    }
                }
                () = pause => {}
            }
        }
    }

    /// Sets out with what is due, as far as there are places, and says how much that is.
    pub async fn take_up(&mut self) -> Result<usize> {
        let now = self.service.clock.now();
        let free = |places: &Arc<Semaphore>| u32::try_from(places.available_permits()).unwrap_or(EACH);
        self.places.retain(|_, places| free(places) < EACH);
        let room: BTreeMap<i64, u32> =
            self.places.iter().map(|(webhook, places)| (*webhook, free(places))).collect();
        let service = self.service.clone();
        let taken = blocking(move || {
            // Others need their turns; who has nothing to take takes none.
            let due = service.sql.read(|session| webhooks::due(session, now, EACH, &room))?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            service.sql.change(|session| webhooks::take(session, &due, now, LEASE.after(now)))
        })
        .await?;
        let count = taken.len();
        for outgoing in taken {
            let places = self.places.entry(outgoing.webhook);
            let places = Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(EACH as usize))));
            let (service, poster) = (self.service.clone(), self.poster.clone());
            // Taken within the room that there was.
            let place = places.try_acquire_owned().ok();
            self.sending.spawn(async move {
                let answer = post(&poster, &outgoing, now).await;
                let noted = blocking(move || service.note_delivery(&outgoing, answer)).await;
                drop(place);
                noted
            });
        }
        Ok(count)
    }

    /// Waits until everything has come to what it comes to.
    pub async fn arrive(&mut self) -> Result<()> {
        while let Some(ended) = self.sending.join_next().await {
            ended.unwrap_or_else(|error| Err(failed(&error)))?;
        }
        Ok(())
    }
}

/// What could not be noted is sent again when its time with this one is over.
fn note_ended(ended: std::result::Result<Result<()>, JoinError>, metrics: &Metrics) {
    if let Err(error) = ended.unwrap_or_else(|error| Err(failed(&error))) {
        metrics.deliveries("failed", 1);
        tracing::warn!(%error, next = error.next, "what became of a message to a webhook could not be noted");
    }
}

/// Tells the webhooks of an activation, when the key is on `machines` now and `new` says whether this is one more.
pub(crate) fn announce(
    turn: &mut Turn<'_, '_>,
    rights: &Rights,
    installation_id: &InstallationId,
    how: &str,
    (machines, new): (u32, bool),
) -> Result<()> {
    let hooks = webhooks::list(turn.session)?;
    if hooks.iter().all(|hook| hook.removed.is_some()) {
        return Ok(());
    }
    let allowed = rights.allowed();
    let near = u64::from(machines) * 5 >= u64::from(allowed) * 4;
    let was_near = u64::from(machines.saturating_sub(1)) * 5 >= u64::from(allowed) * 4;
    let mut events = vec![Event::Activation];
    if new && machines == allowed {
        events.push(Event::LimitReached);
    } else if new && near && !was_near {
        events.push(Event::LimitNear);
    }
    for event in events {
        let wanted = |hook: &&WebhookRecord| {
            hook.removed.is_none() && hook.events.split(',').any(|name| name == event.as_str())
        };
        let to: Vec<i64> = hooks.iter().filter(wanted).map(|hook| hook.id).collect();
        let body = serde_json::json!({
            "type": event.as_str(),
            "timestamp": turn.now,
            "data": {
                "key": installation_id.key(),
                "machine": installation_id.hardware().to_string(),
                "how": how,
                "activated": machines,
                "allowed": allowed,
            }
        });
        webhooks::send(turn.session, &to, event.as_str(), &body.to_string(), turn.now)?;
    }
    Ok(())
}

async fn post(poster: &Poster, outgoing: &Outgoing, now: Timestamp) -> std::result::Result<(), String> {
    let (id, time) = (format!("msg_{}", outgoing.id), now.as_second().to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &outgoing.secret);
    let signature = hmac::sign(&key, format!("{id}.{time}.{}", outgoing.body).as_bytes());
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", time),
        ("webhook-signature", format!("v1,{}", BASE64.encode(signature))),
    ];
    match poster.post(&outgoing.url, headers, outgoing.body.clone()).await {
        Ok(200..=299) => Ok(()),
        Ok(status) => Err(format!("answered with status {status}")),
        Err(why) => Err(why),
    }
}

/// Work at the database, off the network's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(failed(&error)))
}

fn failed(error: &JoinError) -> Error {
    Error::new(Code::Internal, format!("a delivery failed ({error})"), "please report this")
}

fn check_url(url: &str) -> Result<()> {
    address::check(url).map_err(|flaw| {
        let what = match flaw {
            Flaw::UserName => "the URL of the webhook holds a user's name",
            Flaw::Characters => "the URL of the webhook is too long, or holds spaces",
            Flaw::Letters => {
                "the URL of the webhook holds letters beyond ASCII (write a name as \"xn--…\", the rest percent-encoded)"
            }
            Flaw::Plain => "the URL of the webhook is not https",
            Flaw::NoUrl => "this is not the URL of a webhook",
        };
        Error::new(Code::AddressInvalid, what, "write it as in \"https://shop.contoso.example/quorate\"")
    })
}

fn known(record: Option<WebhookRecord>, id: i64) -> Result<WebhookRecord> {
    record.ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format!("there is no webhook {id}"),
            "list the webhooks to find its number",
        )
    })
}

/// How long to wait after the attempt of this number, from 0; none when it was the last: three days in all.
fn pause(attempts: u32) -> Option<Interval> {
    let pauses = [
        Interval::seconds(5),
        Interval::seconds(30),
        Interval::minutes(5),
        Interval::minutes(30),
        Interval::hours(2),
        Interval::hours(5),
        Interval::hours(10),
        Interval::hours(14),
        Interval::hours(20),
        Interval::hours(20),
    ];
    pauses.get(attempts as usize).copied()
}

/// So long, a message is of the one who has taken it; longer than its sending takes.
const LEASE: Interval = Interval::minutes(2);
/// Messages of one webhook that are on their way from here at a time.
const EACH: u32 = 4;
/// Each look is a statement for each webhook, which reads nothing but what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const KEPT: Interval = Interval::days(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_by_https_or_stay_on_the_machine() {
        for url in [
            "https://shop.example/hook",
            "https://shop.example:8443/",
            "http://127.0.0.1:9/x",
            "http://[::1]:9/",
            "http://localhost",
        ] {
            check_url(url).unwrap();
        }
        for (url, what) in [
            ("http://shop.example/hook", "the URL of the webhook is not https"),
            ("http://127.0.0.1.evil.example/", "the URL of the webhook is not https"),
            ("https://user:secret@shop.example/", "the URL of the webhook holds a user's name"),
            ("https://", "this is not the URL of a webhook"),
            ("shop.example", "this is not the URL of a webhook"),
            ("ftp://shop.example", "this is not the URL of a webhook"),
            ("https://shop.example:99999/", "this is not the URL of a webhook"),
            ("https://shop.example/a b", "the URL of the webhook is too long, or holds spaces"),
        ] {
            assert_eq!(check_url(url).unwrap_err().what, what, "{url}");
        }
    }

    #[test]
    fn a_message_is_given_up_after_three_days() {
        let total: u32 = (0..).map_while(pause).map(Interval::as_minutes).sum::<u32>() / 60;
        assert!((71..=73).contains(&total), "{total}");
        assert_eq!(pause(10), None);
    }
}
