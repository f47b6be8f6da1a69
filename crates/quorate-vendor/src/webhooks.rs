//! Webhooks: programs of the vendor that are told of activations, and of keys that are nearly or quite used up.
//!
//! A message is kept in the turn in which the thing happens, so none is lost and none is of what did not happen. It
//! is sent until it is answered with a success, with growing pauses; it may come twice, and bears its number for
//! that. Headers and signature are those of the Standard Webhooks specification, which libraries of many languages
//! verify.

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
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use tokio::task::JoinSet;
use url::Host;
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

    /// Sends what is due, and says how much that was. Several services may do so at a time.
    pub async fn deliver(&self, poster: &Poster) -> Result<usize> {
        let (service, now) = (self.clone(), self.clock.now());
        let taken = blocking(move || {
            service.sql.change(|session| webhooks::take_due(session, now, LEASE.after(now), AT_A_TIME))
        })
        .await?;
        let sent = taken.len();
        let mut sending = JoinSet::new();
        for outgoing in taken {
            let (service, poster) = (self.clone(), poster.clone());
            sending.spawn(async move {
                let answer = post(&poster, &outgoing, now).await;
                blocking(move || service.note_delivery(&outgoing, answer)).await
            });
        }
        while let Some(noted) = sending.join_next().await {
            noted.unwrap_or_else(|error| {
                Err(Error::new(Code::Internal, format!("a delivery failed ({error})"), "please report this"))
            })?;
        }
        Ok(sent)
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
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(Code::Internal, format!("a delivery failed ({error})"), "please report this"))
    })
}

/// A message is signed, and may be read on its way only within one machine.
fn check_url(url: &str) -> Result<()> {
    let refuse = |what: &str| {
        let next = "write it as in \"https://shop.contoso.example/quorate\"";
        Err(Error::new(Code::AddressInvalid, what, next))
    };
    if url.contains('@') {
        return refuse("the URL of the webhook holds a user's name");
    }
    if url.len() > 2_000 || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("the URL of the webhook is too long, or holds spaces");
    }
    let Some(parsed) = crate::typed_url::parse(url) else {
        return refuse("this is not the URL of a webhook");
    };
    let here = match parsed.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if here => Ok(()),
        "http" => refuse("the URL of the webhook is not https"),
        _ => refuse("this is not the URL of a webhook"),
    }
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
const AT_A_TIME: u32 = 8;
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
