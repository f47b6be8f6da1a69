//! What Prometheus reads: counted while the host works, or looked up when somebody asks.
//!
//! Labels hold names of vendors, applications, key ids and codes; never anything of a machine, and nothing
//! that a client can make up. docs/monitoring.md describes every metric; a test compares.

use crate::book::Account;
use crate::credentials::{Active, Credentials};
use crate::dns::Attempt;
use crate::limit::Limit;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use quorate_core::cmid_table::Observation;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Error, Result, Timestamp};
use quorate_edge::server::Traffic;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is counted while the host works; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    clones: Family<AccountLabels, Counter>,
    machines: Family<AccountLabels, Gauge>,
    published: Family<DomainLabels, Gauge>,
    publish_failures: Family<DomainLabels, Counter>,
    vendor_asked: Gauge,
    /// What the ledger does.
    pub ledger: Meter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    result: &'static str,
    vendor: String,
    application: String,
    license_status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabels {
    vendor: String,
    application: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DomainLabels {
    domain: String,
}

impl Metrics {
    /// A request has ended. The account is one that exists, where one was named; the status is the client's.
    pub fn request(&self, account: Option<&Account>, status: u32, answer: Result<Observation, &Error>) {
        let labels = account.map(AccountLabels::new);
        let status = LicenseStatus::from_number(status).map(|status| status.to_string());
        let name = |of: fn(&AccountLabels) -> &String| labels.as_ref().map(of).cloned().unwrap_or_default();
        let request = RequestLabels {
            result: answer.map_or_else(|error| error.code.as_str(), |_| "0"),
            vendor: name(|labels| &labels.vendor),
            application: name(|labels| &labels.application),
            license_status: status.unwrap_or_default(),
        };
        self.requests.get_or_create(&request).inc();
        if let (Some(labels), Ok(observation)) = (labels, answer) {
            self.machines.get_or_create(&labels).set(observation.count.into());
            // There from the first answer on: Prometheus sees no increase in what appears with 1.
            self.clones.get_or_create(&labels).inc_by(observation.clone.into());
        }
    }

    /// So many machines are counted.
    pub fn machines(&self, account: &Account, count: u32) {
        self.machines.get_or_create(&AccountLabels::new(account)).set(count.into());
    }

    /// The host was published in a domain, or was not.
    pub fn published(&self, attempt: &Attempt, now: Timestamp) {
        let labels = DomainLabels { domain: attempt.domain.clone() };
        // Both are there from the first attempt on: an alert compares with what is there.
        let (at, failures) =
            (self.published.get_or_create_owned(&labels), self.publish_failures.get_or_create_owned(&labels));
        match &attempt.result {
            Ok(()) => {
                at.set(now.as_second());
            }
            Err(_) => {
                failures.inc();
            }
        }
    }

    /// Every vendor has answered with its newest documents.
    pub fn vendors_answered(&self, now: Timestamp) {
        self.vendor_asked.set(now.as_second());
    }
}

impl AccountLabels {
    fn new(account: &Account) -> Self {
        Self { vendor: account.vendor.to_string(), application: account.application.to_string() }
    }
}

/// What the ledger does.
#[derive(Clone, Debug)]
pub struct Meter {
    waiting: Gauge,
    batch: Histogram,
    commit: Histogram,
    failed: Counter,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            waiting: Gauge::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            // From a quarter of a millisecond to eight seconds.
            commit: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            failed: Counter::default(),
        }
    }
}

impl Meter {
    /// An entry waits.
    pub fn queued(&self) {
        self.waiting.inc();
    }

    /// So many entries do not wait any more.
    pub fn taken(&self, entries: usize) {
        self.waiting.dec_by(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// A batch of so many entries was committed, or was refused by the book.
    pub fn committed(&self, entries: usize, took: Duration, kept: bool) {
        self.batch.observe(f64::from(u32::try_from(entries).unwrap_or(u32::MAX)));
        self.commit.observe(took.as_secs_f64());
        if !kept {
            self.failed.inc();
        }
    }
}

/// Everything that there is to read, in Prometheus' text format.
#[derive(Debug)]
pub struct Exposition(Registry);

impl Exposition {
    /// Over what is counted, and what can be looked up.
    pub fn new(
        metrics: &Metrics,
        credentials: Credentials,
        traffic: Arc<Traffic>,
        limit: Arc<Limit>,
    ) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", build);
        let Metrics { requests, clones, machines, published, publish_failures, vendor_asked, ledger } =
            metrics.clone();
        registry.register("requests", "Requests for activation that have ended", requests);
        registry.register("clones", "Answered requests under the CMID of other hardware", clones);
        registry.register("machines", "Machines that are counted", machines);
        registry.register("dns_published_timestamp_seconds", "When the host was last published", published);
        registry.register("dns_failures", "Attempts to publish that failed", publish_failures);
        let help = "When every vendor last answered with its newest documents; 0 if not since the start";
        registry.register("vendor_answered_timestamp_seconds", help, vendor_asked);
        registry.register("ledger_waiting", "Entries that wait for the ledger", ledger.waiting);
        registry.register("ledger_batch_entries", "Entries that were committed together", ledger.batch);
        registry.register("ledger_commit_seconds", "How long a commit took", ledger.commit);
        registry.register("ledger_failures", "Batches that could not be kept", ledger.failed);
        registry.register_collector(Box::new(LookedUp { credentials, traffic, limit }));
        Self(registry)
    }

    /// The text of now.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0).map_err(|error| {
            Error::new(
                Code::Internal,
                format!("the metrics cannot be written ({error})"),
                "please report this",
            )
        })?;
        Ok(text)
    }
}

/// What is known elsewhere.
#[derive(Debug)]
struct LookedUp {
    credentials: Credentials,
    traffic: Arc<Traffic>,
    limit: Arc<Limit>,
}

impl Collector for LookedUp {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let traffic = &self.traffic;
        let open = i64::try_from(traffic.open.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let accepted = traffic.accepted.load(Ordering::Relaxed);
        one(&mut encoder, "connections", "Connections that are open", &ConstGauge::new(open))?;
        let help = "Connections that were accepted";
        one(&mut encoder, "connections_accepted", help, &ConstCounter::new(accepted))?;
        let help = "Connections that were closed at once: too many at a time, or too many of one address";
        let name = "connections_turned_away";
        let mut turned_away = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, counter) in [("full", &traffic.turned_away), ("address", &traffic.over_rate)] {
            let counter = ConstCounter::new(counter.load(Ordering::Relaxed));
            counter.encode(turned_away.encode_family(&[("reason", reason)])?)?;
        }
        let failed = ConstCounter::new(traffic.failed_handshakes.load(Ordering::Relaxed));
        one(&mut encoder, "handshake_failures", "Connections that ended in their TLS handshake", &failed)?;
        let refused = ConstCounter::new(self.limit.refused());
        let help = "Requests that were refused unread: too many of one address";
        one(&mut encoder, "requests_over_rate", help, &refused)?;
        vendors(&mut encoder, &self.credentials.current())
    }
}

/// What the credentials say.
fn vendors(encoder: &mut DescriptorEncoder, active: &Active) -> fmt::Result {
    let vendors = || active.vendors().map(|(vendor, credentials)| (vendor.as_str(), credentials));
    let keys = vendors().map(|(vendor, credentials)| {
        let usable = credentials.keys().map_or(0, <[_]>::len);
        (vec![("vendor", vendor.to_owned())], i64::try_from(usable).unwrap_or(i64::MAX))
    });
    gauges(encoder, "usable_keys", "Keys that may answer", keys)?;
    let ends = vendors().flat_map(|(vendor, credentials)| {
        credentials.keys().unwrap_or_default().iter().map(move |key| {
            let labels = vec![("vendor", vendor.to_owned()), ("key", key.entitlement.key.to_string())];
            (labels, key.ends.as_second())
        })
    });
    let help = "When the certificate of a key ends";
    gauges(encoder, "certificate_expiry_timestamp_seconds", help, ends)?;
    let numbers = vendors().map(|(vendor, credentials)| {
        let number = i64::try_from(credentials.revocation_list.number).unwrap_or(i64::MAX);
        (vec![("vendor", vendor.to_owned())], number)
    });
    gauges(encoder, "revocation_list_number", "The number of the revocation list", numbers)?;
    let issued = vendors().map(|(vendor, credentials)| {
        (vec![("vendor", vendor.to_owned())], credentials.revocation_list.issued.as_second())
    });
    let help = "When the vendor signed the revocation list";
    gauges(encoder, "revocation_list_issued_timestamp_seconds", help, issued)
}

type Labels = Vec<(&'static str, String)>;

fn gauges(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels, i64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn one(encoder: &mut DescriptorEncoder, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

const PREFIX: &str = "quorate_host";
