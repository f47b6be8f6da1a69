//! Programs that are told of what happens, and how that goes.

use super::address::Named;
use super::session::{Nothing, Posted, Visitor};
use super::{Frame, Page, filters, page, page_with, status_of};
use crate::access::Scope;
use crate::api::Web;
use crate::service::Service;
use crate::store::webhooks::WebhookState;
use crate::view::{DeliveryView, WebhookView};
use crate::webhooks::Event;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use quorate_core::Error;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use zeroize::Zeroizing;

struct Listed {
    webhook: WebhookView,
    state: WebhookState,
}

#[derive(Template)]
#[template(path = "webhooks.html")]
struct Webhooks {
    frame: Frame,
    webhooks: Vec<Listed>,
    events: [Event; 3],
    /// Why the new one was not made, and what was typed.
    error: Option<Error>,
    typed: Typed,
    /// The new one's secret, shown this once.
    made: Option<Zeroizing<String>>,
}

/// What stands in the form.
#[derive(Default)]
struct Typed {
    url: String,
    events: BTreeSet<Event>,
}

pub async fn list(State(web): State<Web>, visitor: Visitor) -> Page {
    page(&listed(&web, &visitor).await?)
}

async fn listed(web: &Web, visitor: &Visitor) -> Result<Webhooks, Error> {
    let webhooks = visitor.ask(web, Scope::Admin, |service| service.webhook_states()).await?;
    let webhooks = webhooks.into_iter();
    let webhooks = webhooks.map(|(record, state)| Listed { webhook: WebhookView::from(&record), state });
    let frame = Frame::of(visitor, web, "/webhooks");
    let (error, typed, made) = (None, Typed::default(), None);
    Ok(Webhooks { frame, webhooks: webhooks.collect(), events: Event::ALL, error, typed, made })
}

/// The address, and a field for each event.
#[derive(Deserialize)]
pub struct NewWebhook {
    url: String,
    #[serde(flatten)]
    others: HashMap<String, String>,
}

pub async fn add(State(web): State<Web>, posted: Posted<NewWebhook>) -> Page {
    let Posted { visitor, form, .. } = posted;
    visitor.may(Scope::Admin)?;
    let url = form.url.trim().to_owned();
    let chosen = Event::ALL.into_iter().filter(|event| form.others.contains_key(event.as_str()));
    let typed = Typed { url: url.clone(), events: chosen.collect() };
    let events = typed.events.clone();
    let added = visitor.ask(&web, Scope::Admin, move |service| service.add_webhook(&url, &events)).await;
    match added {
        Ok((_, secret)) => page(&Webhooks { made: Some(secret), ..listed(&web, &visitor).await? }),
        Err(error) => {
            let status = status_of(Some(&error));
            page_with(status, &Webhooks { error: Some(error), typed, ..listed(&web, &visitor).await? })
        }
    }
}

pub async fn remove(State(web): State<Web>, Named(id): Named<i64>, posted: Posted<Nothing>) -> Page {
    posted.visitor.ask(&web, Scope::Admin, move |service| service.remove_webhook(id)).await?;
    Ok(Redirect::to("/webhooks").into_response())
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct Messages {
    frame: Frame,
    webhook: WebhookView,
    messages: Vec<DeliveryView>,
}

pub async fn messages(State(web): State<Web>, visitor: Visitor, Named(id): Named<i64>) -> Page {
    let question =
        move |service: &Service| Ok((service.webhook(id)?, service.deliveries(id, MOST_MESSAGES)?));
    let (webhook, messages) = visitor.ask(&web, Scope::Admin, question).await?;
    let messages = messages.iter().map(DeliveryView::from).collect();
    let frame = Frame::of(&visitor, &web, "/webhooks");
    page(&Messages { frame, webhook: WebhookView::from(&webhook), messages })
}

const MOST_MESSAGES: u32 = 50;
