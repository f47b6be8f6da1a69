//! Customers and product keys: found, issued, limited, blocked.

use super::session::{Nothing, Posted, Visitor};
use super::{Frame, Page, UsageView, filters, pack_file, page};
use crate::access::Scope;
use crate::api::Web;
use crate::keys::{Issue, IssuedKey, KeyChange, NewLimits};
use crate::once::Once;
use crate::service::Service;
use crate::store::activations::ActivationFilter;
use crate::store::keys::KeyFilter;
use crate::view::{ActivationView, CustomerView, KeyView};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect};
use quorate_core::certificate::Role;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use quorate_edge::random;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "customers.html")]
struct Customers {
    frame: Frame,
    name: String,
    customers: Vec<CustomerView>,
    next: Option<String>,
}

pub async fn customers(State(web): State<Web>, visitor: Visitor, Query(wanted): Query<Named>) -> Page {
    let Named { name, after } = wanted;
    let containing = name.clone();
    let question = move |service: &Service| service.customers(&containing, &after, ROWS);
    let found = visitor.ask(&web, Scope::Read, question).await?;
    let next = found.last().filter(|_| found.len() == ROWS as usize).map(|customer| customer.name.clone());
    let customers = found.into_iter().map(CustomerView::from).collect();
    page(&Customers { frame: Frame::of(&visitor, &web, "/customers"), name, customers, next })
}

#[derive(Deserialize)]
pub struct CustomerForm {
    name: String,
    #[serde(default)]
    note: String,
}

pub async fn add_customer(State(web): State<Web>, posted: Posted<CustomerForm>) -> Page {
    let Posted { visitor, form, .. } = posted;
    let question = move |service: &Service| service.add_customer(&form.name, &form.note);
    let customer = visitor.ask(&web, Scope::Keys, question).await?;
    Ok(Redirect::to(&format!("/customers/{}", customer.id)).into_response())
}

pub async fn change_customer(
    State(web): State<Web>,
    Path(id): Path<i64>,
    posted: Posted<CustomerForm>,
) -> Page {
    let Posted { visitor, form, .. } = posted;
    let question = move |service: &Service| service.change_customer(id, Some(&form.name), Some(&form.note));
    visitor.ask(&web, Scope::Keys, question).await?;
    Ok(Redirect::to(&format!("/customers/{id}")).into_response())
}

#[derive(Template)]
#[template(path = "customer.html")]
struct CustomerPage {
    frame: Frame,
    customer: CustomerView,
    usages: Vec<UsageView>,
    more: bool,
}

pub async fn customer(State(web): State<Web>, visitor: Visitor, Path(id): Path<i64>) -> Page {
    let (customer, usages) = visitor
        .ask(&web, Scope::Read, move |service| Ok((service.customer(id)?, service.usages_of(id, ROWS)?)))
        .await?;
    let more = usages.len() == ROWS as usize;
    let usages = usages.iter().map(UsageView::from).collect();
    let frame = Frame::of(&visitor, &web, "/customers");
    page(&CustomerPage { frame, customer: customer.into(), usages, more })
}

#[derive(Clone, Deserialize)]
pub struct Wanted {
    last_five: Option<String>,
    #[serde(default, deserialize_with = "number")]
    group: Option<u16>,
    customer: Option<i64>,
    blocked: Option<bool>,
    after: Option<String>,
}

/// A field of a form that was left empty is none.
fn number<'de, D: serde::Deserializer<'de>, T: std::str::FromStr>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.trim().is_empty());
    let number = text.map(|text| text.trim().parse()).transpose();
    number.map_err(|_| serde::de::Error::custom("a number was expected"))
}

struct Group {
    number: u16,
    name: String,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    frame: Frame,
    wanted: Wanted,
    groups: Vec<Group>,
    keys: Vec<KeyView>,
    next: Option<String>,
    once: String,
}

pub async fn list(State(web): State<Web>, visitor: Visitor, Query(wanted): Query<Wanted>) -> Page {
    let partial = wanted.last_five.clone().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = KeyFilter {
        group: wanted.group,
        customer: wanted.customer,
        partial,
        blocked: wanted.blocked,
        after: wanted.after.as_deref().map(str::parse).transpose()?,
    };
    let (keys, groups) = visitor
        .ask(&web, Scope::Read, move |service| {
            let current = service.newest()?;
            let groups = current.iter().flat_map(|current| &current.catalog.products.key_groups);
            let groups = groups.map(|group| Group { number: group.number, name: group.name.clone() });
            Ok((service.keys(&filter, ROWS)?, groups.collect()))
        })
        .await?;
    let next = keys.last().filter(|_| keys.len() == ROWS as usize).map(|key| next(&wanted, key.id));
    let keys = keys.iter().map(KeyView::from).collect();
    let once = random::nonce().0.to_string();
    page(&Keys { frame: Frame::of(&visitor, &web, "/keys"), wanted, groups, keys, next, once })
}

/// The address of the next page.
fn next(wanted: &Wanted, last: KeyId) -> String {
    let mut address = format!("/keys?after={last}");
    if let Some(group) = wanted.group {
        address += &format!("&group={group}");
    }
    if let Some(customer) = wanted.customer {
        address += &format!("&customer={customer}");
    }
    if wanted.blocked == Some(true) {
        address += "&blocked=true";
    }
    address
}

#[derive(Deserialize)]
pub struct IssueForm {
    group: u16,
    count: u32,
    #[serde(default)]
    customer: String,
    once: String,
}

#[derive(Template)]
#[template(path = "issued.html")]
struct Issued {
    frame: Frame,
    keys: Vec<IssuedKey>,
}

/// The keys are in the page itself, since they are kept nowhere; when it is loaded again, they are the same.
pub async fn issue(State(web): State<Web>, posted: Posted<IssueForm>) -> Page {
    let Posted { visitor, form, body } = posted;
    // Negative numbers are no tokens'.
    let sender = -visitor.signed_in.account.id;
    let once = Once::new(sender, visitor.token.reveal(), &form.once, "portal", &body)?;
    let customer = Some(form.customer.trim().to_owned()).filter(|name| !name.is_empty());
    let issue = Issue { group: form.group, count: form.count, customer };
    let question = move |service: &Service| service.issue_once(Some(&once), &issue);
    let keys = visitor.ask(&web, Scope::Keys, question).await?;
    page(&Issued { frame: Frame::of(&visitor, &web, "/keys"), keys })
}

#[derive(Template)]
#[template(path = "key.html")]
struct Key {
    frame: Frame,
    usage: UsageView,
    activations: Vec<ActivationView>,
}

pub async fn one(State(web): State<Web>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let id: KeyId = id.parse()?;
    let (usage, activations) = visitor
        .ask(&web, Scope::Read, move |service| {
            let filter = ActivationFilter { key: Some(id), ..ActivationFilter::default() };
            Ok((service.usage(id)?, service.activations(&filter, 200)?))
        })
        .await?;
    let activations = activations.into_iter().map(ActivationView::from).collect();
    let frame = Frame::of(&visitor, &web, "/keys");
    page(&Key { frame, usage: UsageView::from(&usage), activations })
}

#[derive(Deserialize)]
pub struct Slots {
    slots: u32,
}

pub async fn pack(State(web): State<Web>, Path(id): Path<String>, posted: Posted<Slots>) -> Page {
    let (id, slots) = (id.parse::<KeyId>()?, posted.form.slots);
    if !(1..=1_000).contains(&slots) {
        let what = format!("a pack for {slots} activations by telephone was asked for");
        return Err(Error::new(Code::RequestInvalid, what, "ask for 1 to 1000").into());
    }
    let pack = posted.visitor.ask(&web, Scope::Desk, move |service| service.pack(id, slots)).await?;
    Ok(pack_file(&id.to_string(), pack))
}

#[derive(Deserialize)]
pub struct Limits {
    #[serde(default, deserialize_with = "number")]
    hosts: Option<u32>,
    #[serde(default, deserialize_with = "number")]
    reactivations: Option<u32>,
    #[serde(default, deserialize_with = "number")]
    machines: Option<u32>,
}

pub async fn limit(State(web): State<Web>, Path(id): Path<String>, posted: Posted<Limits>) -> Page {
    let Limits { hosts, reactivations, machines } = posted.form;
    let question = move |service: &Service, id: KeyId| {
        // The form has the fields of the key's kind, and an empty one means what the group says.
        let limits = match service.usage(id)?.role {
            Some(Role::Machine) => NewLimits { machines: Some(machines), ..NewLimits::default() },
            _ => NewLimits { hosts: Some(hosts), reactivations: Some(reactivations), machines: None },
        };
        service.change_key(id, &KeyChange { limits, ..KeyChange::default() }).map(drop)
    };
    change(&web, &posted.visitor, &id, question).await
}

#[derive(Deserialize)]
pub struct Assigned {
    #[serde(default)]
    customer: String,
}

pub async fn assign(State(web): State<Web>, Path(id): Path<String>, posted: Posted<Assigned>) -> Page {
    let customer = Some(posted.form.customer.trim().to_owned()).filter(|name| !name.is_empty());
    let question = move |service: &Service, id: KeyId| service.assign_key(id, customer.as_deref()).map(drop);
    change(&web, &posted.visitor, &id, question).await
}

#[derive(Deserialize)]
pub struct Machine {
    machine: String,
}

pub async fn release(State(web): State<Web>, Path(id): Path<String>, posted: Posted<Machine>) -> Page {
    let machine = posted.form.machine.trim().parse()?;
    let question = move |service: &Service, id: KeyId| service.release_machine(id, machine);
    change(&web, &posted.visitor, &id, question).await
}

pub async fn block(State(web): State<Web>, Path(id): Path<String>, posted: Posted<Nothing>) -> Page {
    change(&web, &posted.visitor, &id, |service, id| service.block_key(id).map(drop)).await
}

pub async fn unblock(State(web): State<Web>, Path(id): Path<String>, posted: Posted<Nothing>) -> Page {
    change(&web, &posted.visitor, &id, |service, id| service.unblock_key(id).map(drop)).await
}

/// Changes a key and shows it again.
async fn change(
    web: &Web,
    visitor: &Visitor,
    id: &str,
    question: impl FnOnce(&Service, KeyId) -> Result<()> + Send + 'static,
) -> Page {
    let id: KeyId = id.parse()?;
    visitor.ask(web, Scope::Keys, move |service| question(service, id)).await?;
    Ok(Redirect::to(&format!("/keys/{id}")).into_response())
}

/// Of a page.
const ROWS: u32 = 50;
