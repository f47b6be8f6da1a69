//! `webhook`: programs that are told of what happens.

use super::output::Output;
use crate::service::Service;
use crate::store::webhooks::{DeliveryRecord, WebhookRecord};
use crate::view::{DeliveryView, WebhookView};
use crate::webhooks::Event;
use clap::Subcommand;
use quorate_core::Result;
use std::collections::BTreeSet;
use std::io::Write;

#[derive(Subcommand)]
pub enum WebhookCommand {
    /// Tell a program of what happens. The secret of its signatures is shown this once.
    Add {
        /// Where the messages go: https, or http to this very machine.
        url: String,
        /// Of what; may be given more than once.
        #[arg(long = "event", value_name = "EVENT", required = true)]
        events: Vec<Event>,
    },
    /// List the webhooks.
    List,
    /// Tell a webhook nothing more.
    Remove {
        /// Its number, as `webhook list` shows it.
        #[arg(value_name = "NUMBER")]
        id: i64,
    },
    /// What has become of the last messages to a webhook.
    Deliveries {
        /// Its number.
        #[arg(value_name = "NUMBER")]
        id: i64,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        most: u32,
    },
}

impl WebhookCommand {
    pub fn run<W: Write>(self, service: &Service, output: &mut Output<'_, W>) -> Result<()> {
        match self {
            Self::Add { url, events } => {
                let (record, secret) = service.add_webhook(&url, &BTreeSet::from_iter(events))?;
                let (about, secret) = (WebhookView::from(&record), secret.as_str());
                output.say(&serde_json::json!({ "about": about, "secret": secret }), || secret.to_owned())
            }
            Self::List => output.list::<_, WebhookView>("webhooks", &service.webhooks()?, line),
            Self::Remove { id } => {
                let record = service.remove_webhook(id)?;
                output.say(&WebhookView::from(&record), || format!("{} is told nothing more.", record.url))
            }
            Self::Deliveries { id, most } => {
                output.list::<_, DeliveryView>("deliveries", &service.deliveries(id, most)?, delivery)
            }
        }
    }
}

fn line(webhook: &WebhookRecord) -> String {
    let removed = webhook.removed.map(|at| format!("  removed {at:.0}")).unwrap_or_default();
    format!("{:>4}  {}  {}{removed}", webhook.id, webhook.url, webhook.events)
}

fn delivery(delivery: &DeliveryRecord) -> String {
    let next = delivery.due.map(|at| format!("; again at {at:.0}")).unwrap_or_default();
    let attempts = quorate_core::words::counted(delivery.attempts as usize, "attempt");
    format!("{:.0}  {}  {attempts}: {}{next}", delivery.created, delivery.event, delivery.said)
}
