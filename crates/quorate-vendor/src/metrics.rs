//! What Prometheus reads of the service: counted while it works, or looked up when somebody asks.
//!
//! Labels hold the service's own names (routes, codes); never anything of a customer or a machine, and nothing that a
//! client can make up.

use crate::service::Service;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, prometheus_text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use quorate_core::{Code, Error, Result};
use quorate_edge::monitoring::Pages;
use quorate_edge::server::Traffic;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is counted while the service works; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    activations: Family<ActivationLabels, Counter>,
    confirmations: Family<ConfirmationLabels, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActivationLabels {
    of: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfirmationLabels {
    by: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    result: &'static str,
}

impl Metrics {
    /// A request has ended; the route is one of the service's own.
    pub fn request(&self, route: &str, status: u16) {
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), status }).inc();
    }

    /// A host or a machine was activated, or was not.
    pub fn activation(&self, of: &'static str, code: Option<Code>) {
        let result = code.map_or("0", Code::as_str);
        self.activations.get_or_create(&ActivationLabels { of, result }).inc();
    }

    /// A Confirmation ID was asked for by telephone, and there was one or there was none: at the desk (`desk`), on the
    /// customer's own pages (`customer`), on the automated line (`line`).
    pub fn confirmation(&self, by: &'static str, code: Option<Code>) {
        let result = code.map_or("0", Code::as_str);
        self.confirmations.get_or_create(&ConfirmationLabels { by, result }).inc();
    }

    /// Messages were taken to be sent, or could not be looked up.
    pub fn deliveries(&self, result: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.deliveries.get_or_create(&DeliveryLabels { result }).inc_by(count);
    }

    /// The pages for whoever watches over the service.
    pub fn pages(&self, service: Service, traffic: Arc<Traffic>) -> Pages {
        let registry = self.registry(traffic);
        let text = move || {
            let mut text = String::new();
            prometheus_text::encode(&mut text, &registry).map_err(|error| {
                Error::new(
                    Code::Internal,
                    format!("the metrics cannot be written ({error})"),
                    "please report this",
                )
            })?;
            Ok(text)
        };
        let health = move || {
            let service = service.clone();
            async move { tokio::task::spawn_blocking(move || well(&service)).await.unwrap_or_else(stopped) }
        };
        Pages::new(text, health)
    }

    fn registry(&self, traffic: Arc<Traffic>) -> Registry {
        let mut registry = Registry::with_prefix("quorate_vendor");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", build);
        let Metrics { requests, activations, confirmations, deliveries } = self.clone();
        registry.register("requests", "Requests that have ended", requests);
        registry.register("activations", "Activations that were asked for online", activations);
        registry.register("confirmations", "Confirmation IDs that were asked for", confirmations);
        registry.register("webhook_messages", "Messages to webhooks that were taken up", deliveries);
        registry.register_collector(Box::new(Connections(traffic)));
        registry
    }
}

/// The service is well when its database answers and there is something to sell.
fn well(service: &Service) -> Result<serde_json::Map<String, serde_json::Value>> {
    let catalog = service.current()?.catalog.number;
    service.revocations_jws()?;
    let vendor = service.authority().vendor().to_string();
    Ok(serde_json::Map::from_iter([
        ("vendor".to_owned(), vendor.into()),
        ("catalog".to_owned(), catalog.into()),
    ]))
}

fn stopped<T>(error: tokio::task::JoinError) -> Result<T> {
    Err(Error::new(Code::Internal, format!("the service could not be asked ({error})"), "please report this"))
}

#[derive(Debug)]
struct Connections(Arc<Traffic>);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Self(traffic) = self;
        let open = i64::try_from(traffic.open.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let mut one = |name: &str, help: &str, metric: &dyn Encode| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.kind())?)
        };
        one("connections", "Connections that are open", &ConstGauge::new(open))?;
        for (name, help, count) in [
            ("connections_accepted", "Connections that were accepted", &traffic.accepted),
            ("connections_refused", "Connections that were closed at once", &traffic.turned_away),
            ("connections_over_rate", "Connections of addresses over their limit", &traffic.over_rate),
            (
                "handshakes_failed",
                "Connections that ended in their TLS handshake",
                &traffic.failed_handshakes,
            ),
        ] {
            one(name, help, &ConstCounter::new(count.load(Ordering::Relaxed)))?;
        }
        Ok(())
    }
}

/// A metric of either kind.
trait Encode {
    fn encode(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result;
    fn kind(&self) -> prometheus_client::metrics::MetricType;
}

impl<M: EncodeMetric> Encode for M {
    fn encode(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        EncodeMetric::encode(self, encoder)
    }

    fn kind(&self) -> prometheus_client::metrics::MetricType {
        self.metric_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_is_described() {
        let metrics = Metrics::default();
        // One of which nothing was counted is not shown.
        metrics.request("/v1/catalog", 200);
        metrics.activation("host", None);
        metrics.confirmation("desk", None);
        metrics.deliveries("taken", 1);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &metrics.registry(Arc::default())).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let named: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
        let described = include_str!("../../../docs/interface.md").lines();
        let rows = described
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|row| row.split(['`', '{']).next());
        let rows: BTreeSet<&str> = rows.filter(|name| name.starts_with("quorate_vendor_")).collect();
        assert_eq!(named, rows, "what is exported, and what docs/interface.md describes");
    }
}
