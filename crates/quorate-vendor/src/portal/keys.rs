//! Customers and product keys: found, issued, limited, blocked.

use super::address::{Asked, Named};
use super::session::{Nothing, Posted, Visitor};
use super::{Frame, Page, UsageView, filters, pack_file, page, page_with, status_of};
use crate::access::Scope;
use crate::api::Web;
use crate::keys::{Issue, IssuedKey, KeyChange, NewLimits};
use crate::once::Once;
use crate::phone::for_vendor;
use crate::service::Service;
use crate::store::activations::ActivationFilter;
use crate::store::keys::KeyFilter;
use crate::view::{ActivationView, CustomerView, KeyView};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use quorate_core::certificate::Role;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use quorate_edge::random;
use serde::Deserialize;

#[derive(Default, Deserialize)]
pub struct Called {
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
    /// Why the new one was not added, and what was typed.
    error: Option<Error>,
    typed: CustomerForm,
}

pub async fn customers(State(web): State<Web>, visitor: Visitor, Asked(wanted): Asked<Called>) -> Page {
    customers_page(&web, &visitor, wanted, None, CustomerForm::default()).await
}

async fn customers_page(
    web: &Web,
    visitor: &Visitor,
    wanted: Called,
    error: Option<Error>,
    typed: CustomerForm,
) -> Page {
    let Called { name, after } = wanted;
    let containing = name.clone();
    let question = move |service: &Service| service.customers(&containing, &after, ROWS);
    let found = visitor.ask(web, Scope::Read, question).await?;
    let next = found.last().filter(|_| found.len() == ROWS as usize).map(|customer| customer.name.clone());
    let customers = found.into_iter().map(CustomerView::from).collect();
    let (frame, status) = (Frame::of(visitor, web, "/customers"), status_of(error.as_ref()));
    page_with(status, &Customers { frame, name, customers, next, error, typed })
}

#[derive(Clone, Default, Deserialize)]
pub struct CustomerForm {
    name: String,
    #[serde(default)]
    note: String,
}

pub async fn add_customer(State(web): State<Web>, posted: Posted<CustomerForm>) -> Page {
    let Posted { visitor, form, .. } = posted;
    visitor.may(Scope::Keys)?;
    let typed = form.clone();
    let question = move |service: &Service| service.add_customer(&form.name, &form.note);
    match visitor.ask(&web, Scope::Keys, question).await {
        Ok(customer) => Ok(Redirect::to(&format!("/customers/{}", customer.id)).into_response()),
        Err(error) => customers_page(&web, &visitor, Called::default(), Some(error), typed).await,
    }
}

pub async fn change_customer(
    State(web): State<Web>,
    Named(id): Named<i64>,
    posted: Posted<CustomerForm>,
) -> Page {
    let Posted { visitor, form, .. } = posted;
    visitor.may(Scope::Keys)?;
    let typed = form.clone();
    let question = move |service: &Service| service.change_customer(id, Some(&form.name), Some(&form.note));
    match visitor.ask(&web, Scope::Keys, question).await {
        Ok(_) => Ok(Redirect::to(&format!("/customers/{id}")).into_response()),
        Err(error) => customer_page(&web, &visitor, id, Some((error, typed))).await,
    }
}

#[derive(Template)]
#[template(path = "customer.html")]
struct CustomerPage {
    frame: Frame,
    customer: CustomerView,
    usages: Vec<UsageView>,
    /// How many keys it has, shown or not.
    keys: u64,
    /// Why it was not changed, and what was typed; or what it is.
    error: Option<Error>,
    typed: CustomerForm,
}

pub async fn customer(State(web): State<Web>, visitor: Visitor, Named(id): Named<i64>) -> Page {
    customer_page(&web, &visitor, id, None).await
}

async fn customer_page(web: &Web, visitor: &Visitor, id: i64, failed: Option<(Error, CustomerForm)>) -> Page {
    let (customer, usages, keys) = visitor
        .ask(web, Scope::Read, move |service| {
            let filter = KeyFilter::of_customer(id);
            Ok((service.customer(id)?, service.usages_of(&filter, ROWS)?, service.count_keys(&filter)?))
        })
        .await?;
    let usages = usages.iter().map(UsageView::from).collect();
    let (error, typed) = failed.unzip();
    let typed =
        typed.unwrap_or_else(|| CustomerForm { name: customer.name.clone(), note: customer.note.clone() });
    let (frame, status) = (Frame::of(visitor, web, "/customers"), status_of(error.as_ref()));
    page_with(status, &CustomerPage { frame, customer: customer.into(), usages, keys, error, typed })
}

#[derive(Clone, Default, Deserialize)]
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
    /// Why none were issued, and what was typed.
    error: Option<Error>,
    typed: IssueForm,
}

pub async fn list(State(web): State<Web>, visitor: Visitor, Asked(wanted): Asked<Wanted>) -> Page {
    keys_page(&web, &visitor, wanted, None, IssueForm::default()).await
}

async fn keys_page(
    web: &Web,
    visitor: &Visitor,
    wanted: Wanted,
    error: Option<Error>,
    typed: IssueForm,
) -> Page {
    let partial = wanted.last_five.clone().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = KeyFilter {
        group: wanted.group,
        customer: wanted.customer,
        partial,
        blocked: wanted.blocked,
        after: wanted.after.as_deref().map(str::parse).transpose()?,
    };
    let (keys, groups) = visitor
        .ask(web, Scope::Read, move |service| {
            let current = service.newest()?;
            let groups = current.iter().flat_map(|current| &current.catalog.products.key_groups);
            let groups = groups.map(|group| Group { number: group.number, name: group.name.clone() });
            Ok((service.keys(&filter, ROWS)?, groups.collect()))
        })
        .await?;
    let next = keys.last().filter(|_| keys.len() == ROWS as usize).map(|key| next(&wanted, key.id));
    let keys = keys.iter().map(KeyView::from).collect();
    // After a failure that may have come after the keys were issued, they are the same when it is sent again.
    let used = error.as_ref().is_some_and(|error| error.code == Code::IdempotencyKeyReused);
    let once = Some(typed.once.clone()).filter(|once| !once.is_empty() && !used);
    let once = once.unwrap_or_else(|| random::nonce().0.to_string());
    let (frame, status) = (Frame::of(visitor, web, "/keys"), status_of(error.as_ref()));
    page_with(status, &Keys { frame, wanted, groups, keys, next, once, error, typed })
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

#[derive(Clone, Deserialize)]
pub struct IssueForm {
    group: u16,
    count: u32,
    #[serde(default)]
    customer: String,
    once: String,
}

impl Default for IssueForm {
    fn default() -> Self {
        Self { group: 0, count: 1, customer: String::new(), once: String::new() }
    }
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
    visitor.may(Scope::Keys)?;
    // Negative numbers are no tokens'.
    let sender = -visitor.signed_in.account.id;
    let once = Once::new(sender, visitor.token.reveal(), &form.once, "portal", &body)?;
    let customer = Some(form.customer.trim().to_owned()).filter(|name| !name.is_empty());
    let issue = Issue { group: form.group, count: form.count, customer };
    let question = move |service: &Service| service.issue_once(Some(&once), &issue);
    match visitor.ask(&web, Scope::Keys, question).await {
        Ok(keys) => page(&Issued { frame: Frame::of(&visitor, &web, "/keys"), keys }),
        Err(error) => keys_page(&web, &visitor, Wanted::default(), Some(error), form).await,
    }
}

#[derive(Template)]
#[template(path = "key.html")]
struct Key {
    frame: Frame,
    usage: UsageView,
    activations: Vec<ActivationView>,
    /// Whether there are more.
    more: bool,
    /// Why nothing was changed, and what was typed; or what it is.
    error: Option<Error>,
    typed: KeyForms,
}

/// What stands in the forms of a key's page.
#[derive(Default)]
struct KeyForms {
    hosts: String,
    reactivations: String,
    machines: String,
    customer: String,
    machine: String,
}

impl KeyForms {
    /// What the key is.
    fn of(key: &KeyView) -> Self {
        let text = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        Self {
            hosts: text(key.hosts),
            reactivations: text(key.reactivations),
            machines: text(key.machines),
            customer: key.customer.as_ref().map(|customer| customer.name.clone()).unwrap_or_default(),
            machine: String::new(),
        }
    }
}

pub async fn one(State(web): State<Web>, visitor: Visitor, Named(id): Named<KeyId>) -> Page {
    key_page(&web, &visitor, id, None, |_| ()).await
}

async fn key_page(
    web: &Web,
    visitor: &Visitor,
    id: KeyId,
    error: Option<Error>,
    typed: impl FnOnce(&mut KeyForms),
) -> Page {
    let (usage, activations) = visitor
        .ask(web, Scope::Read, move |service| {
            let filter = ActivationFilter { key: Some(id), ..ActivationFilter::default() };
            Ok((service.usage(id)?, service.activations(&filter, ROWS + 1)?))
        })
        .await?;
    let more = activations.len() > ROWS as usize;
    let activations = activations.into_iter().take(ROWS as usize).map(ActivationView::from).collect();
    let usage = UsageView::from(&usage);
    let mut forms = KeyForms::of(&usage.key);
    typed(&mut forms);
    let (frame, status) = (Frame::of(visitor, web, "/keys"), status_of(error.as_ref()));
    page_with(status, &Key { frame, usage, activations, more, error, typed: forms })
}

#[derive(Deserialize)]
pub struct Slots {
    slots: u32,
}

pub async fn pack(State(web): State<Web>, Named(id): Named<KeyId>, posted: Posted<Slots>) -> Page {
    let slots = posted.form.slots;
    if !(1..=1_000).contains(&slots) {
        let what = format!("a pack for {slots} activations by telephone was asked for");
        return Err(Error::new(Code::RequestInvalid, what, "ask for 1 to 1000").into());
    }
    let pack = posted.visitor.ask(&web, Scope::Desk, move |service| service.pack(id, slots)).await;
    let pack = pack.map_err(for_vendor)?;
    Ok(pack_file(&id.to_string(), pack))
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Limits {
    hosts: String,
    reactivations: String,
    machines: String,
}

pub async fn limit(State(web): State<Web>, Named(id): Named<KeyId>, posted: Posted<Limits>) -> Page {
    let Limits { hosts, reactivations, machines } = posted.form.clone();
    let question = move |service: &Service, id: KeyId| {
        // The form has the fields of the key's kind, and an empty one means what the group says.
        let limits = match service.usage(id)?.role {
            Some(Role::Machine) => {
                NewLimits { machines: Some(limit_of("machines", &machines)?), ..NewLimits::default() }
            }
            _ => NewLimits {
                hosts: Some(limit_of("hosts", &hosts)?),
                reactivations: Some(limit_of("re-activations", &reactivations)?),
                machines: None,
            },
        };
        service.change_key(id, &KeyChange { limits, ..KeyChange::default() }).map(drop)
    };
    let Limits { hosts, reactivations, machines } = posted.form;
    let typed =
        |forms: &mut KeyForms| *forms = KeyForms { hosts, reactivations, machines, ..std::mem::take(forms) };
    change(&web, &posted.visitor, id, question, typed).await
}

fn limit_of(what: &str, typed: &str) -> Result<Option<u32>> {
    match typed.trim() {
        "" => Ok(None),
        number => number.parse().map(Some).map_err(|_| {
            let what = format!("the number of {what} cannot be read");
            Error::new(
                Code::RequestInvalid,
                what,
                "type digits, or leave it empty for what the key group says",
            )
        }),
    }
}

#[derive(Deserialize)]
pub struct Assigned {
    #[serde(default)]
    customer: String,
}

pub async fn assign(State(web): State<Web>, Named(id): Named<KeyId>, posted: Posted<Assigned>) -> Page {
    let typed = posted.form.customer;
    let customer = Some(typed.trim().to_owned()).filter(|name| !name.is_empty());
    let question = move |service: &Service, id: KeyId| service.assign_key(id, customer.as_deref()).map(drop);
    change(&web, &posted.visitor, id, question, |forms| forms.customer = typed).await
}

#[derive(Deserialize)]
pub struct Machine {
    machine: String,
}

pub async fn release(State(web): State<Web>, Named(id): Named<KeyId>, posted: Posted<Machine>) -> Page {
    let typed = posted.form.machine;
    let machine = typed.trim().to_owned();
    let question = move |service: &Service, id: KeyId| service.release_machine(id, machine.parse()?);
    change(&web, &posted.visitor, id, question, |forms| forms.machine = typed).await
}

pub async fn block(State(web): State<Web>, Named(id): Named<KeyId>, posted: Posted<Nothing>) -> Page {
    change(&web, &posted.visitor, id, |service, id| service.block_key(id).map(drop), |_| ()).await
}

pub async fn unblock(State(web): State<Web>, Named(id): Named<KeyId>, posted: Posted<Nothing>) -> Page {
    change(&web, &posted.visitor, id, |service, id| service.unblock_key(id).map(drop), |_| ()).await
}

/// Changes a key and shows it again; when that fails, with what was typed.
async fn change(
    web: &Web,
    visitor: &Visitor,
    id: KeyId,
    question: impl FnOnce(&Service, KeyId) -> Result<()> + Send + 'static,
    typed: impl FnOnce(&mut KeyForms),
) -> Page {
    visitor.may(Scope::Keys)?;
    match visitor.ask(web, Scope::Keys, move |service| question(service, id)).await {
        Ok(()) => Ok(Redirect::to(&format!("/keys/{id}")).into_response()),
        Err(error) => key_page(web, visitor, id, Some(error), typed).await,
    }
}

/// Of a page.
const ROWS: u32 = 50;
