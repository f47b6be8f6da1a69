//! The phone desk, and the pages of a customer: its keys, its packs, and the desk for itself.

use super::address::{Asked, Named};
use super::session::{Nothing, Posted, Visitor};
use super::{Frame, Page, UsageView, pack_file, page, page_with, status_of};
use crate::access::Scope;
use crate::api::Web;
use crate::keys::known_key;
use crate::phone::{self, Inquiry};
use crate::service::Service;
use crate::store::keys::KeyFilter;
use crate::view::CustomerView;
use askama::Template;
use axum::extract::State;
use qrcode::QrCode;
use qrcode::render::svg;
use quorate_core::check_digit;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result};
use serde::Deserialize;
use std::collections::HashMap;

/// A group of an Installation ID, as it was typed.
struct Group {
    number: usize,
    typed: String,
    wrong: bool,
}

#[derive(Template)]
#[template(path = "desk.html")]
struct Desk {
    frame: Frame,
    error: Option<Error>,
    groups: Vec<Group>,
    looked: Option<Looked>,
}

/// What is known of the Installation ID in the form.
struct Looked {
    usage: UsageView,
    /// What a Confirmation ID would cost; none when it would be refused.
    cost: Option<String>,
}

pub async fn form(State(web): State<Web>, visitor: Visitor) -> Page {
    if visitor.signed_in.account.customer.is_none() {
        visitor.may(Scope::Desk)?;
    }
    let group = |number| Group { number, typed: String::new(), wrong: false };
    let frame = Frame::of(&visitor, &web, "/desk");
    page(&Desk { frame, error: None, groups: (1..=GROUPS).map(group).collect(), looked: None })
}

/// The groups `g1` to `g9`.
#[derive(Deserialize)]
pub struct Typed {
    #[serde(flatten)]
    fields: HashMap<String, String>,
}

impl Typed {
    fn groups(&self) -> Vec<String> {
        let group = |number| self.fields.get(&format!("g{number}")).cloned().unwrap_or_default();
        (1..=GROUPS).map(|number| group(number).trim().to_owned()).collect()
    }
}

/// Shows whose key it is and what a Confirmation ID would cost, before anything is given away.
pub async fn look(State(web): State<Web>, posted: Posted<Typed>) -> Page {
    let Posted { visitor, form, .. } = posted;
    let typed = form.groups();
    let inquiry = at_desk(&web, &visitor, &typed, Service::inquire).await;
    // Who is refused here asks for no Confirmation ID; he is counted as one who did.
    let refused = match &inquiry {
        Ok(Inquiry { cost: Err(error), .. }) | Err(error) => Some(error.clone()),
        Ok(_) => None,
    };
    if let Some(error) = refused {
        web.count_confirmation(by(&visitor), &Err::<(), _>(error));
    }
    match inquiry {
        Ok(inquiry) => {
            let (usage, cost) = (UsageView::from(&inquiry.usage), inquiry.cost.as_ref().ok());
            let cost = cost.map(|cost| cost.said(&inquiry.usage));
            let error = inquiry.cost.err().map(|error| read_by(&visitor, error));
            desk(&web, &visitor, typed, error, Some(Looked { usage, cost }))
        }
        Err(error) => desk(&web, &visitor, typed, Some(error), None),
    }
}

#[derive(Template)]
#[template(path = "confirmed.html")]
struct ConfirmedPage {
    frame: Frame,
    confirmation_id: String,
    groups: Vec<Letter>,
    usage: UsageView,
    qr: String,
}

struct Letter {
    letter: char,
    digits: String,
}

pub async fn confirm(State(web): State<Web>, posted: Posted<Typed>) -> Page {
    let Posted { visitor, form, .. } = posted;
    let typed = form.groups();
    let confirmed = at_desk(&web, &visitor, &typed, Service::confirm).await;
    web.count_confirmation(by(&visitor), &confirmed);
    let confirmed = match confirmed {
        Ok(confirmed) => confirmed,
        // It may have changed since it was looked at.
        Err(error) => {
            let inquiry = at_desk(&web, &visitor, &typed, Service::inquire).await.ok();
            let looked = inquiry.map(|inquiry| Looked { usage: UsageView::from(&inquiry.usage), cost: None });
            return desk(&web, &visitor, typed, Some(error), looked);
        }
    };
    let confirmation_id = confirmed.confirmation_id.to_string();
    let groups = ('A'..).zip(confirmation_id.split('-'));
    let groups = groups.map(|(letter, digits)| Letter { letter, digits: digits.to_owned() }).collect();
    let qr = QrCode::new(confirmation_id.as_bytes()).map_err(|error| {
        Error::new(Code::Internal, format!("a QR code cannot be made ({error})"), "please report this")
    })?;
    let qr = qr.render::<svg::Color<'_>>().min_dimensions(180, 180).build();
    // It stands in a page.
    let qr = qr.split_once("?>").map_or(qr.as_str(), |(_, svg)| svg).to_owned();
    let usage = UsageView::from(&confirmed.usage);
    let frame = Frame::of(&visitor, &web, "/desk");
    page(&ConfirmedPage { frame, confirmation_id, groups, usage, qr })
}

/// As the metrics name it.
fn by(visitor: &Visitor) -> &'static str {
    if visitor.signed_in.account.customer.is_none() { "desk" } else { "customer" }
}

/// Asks of the Installation ID that was typed: the vendor's desk for anybody, the customer's own for its keys alone.
async fn at_desk<T: Send + 'static>(
    web: &Web,
    visitor: &Visitor,
    typed: &[String],
    question: fn(&Service, &InstallationId) -> Result<T>,
) -> Result<T> {
    let installation_id: InstallationId = typed.concat().parse()?;
    let answer = if visitor.signed_in.account.customer.is_none() {
        visitor.ask(web, Scope::Desk, move |service| question(service, &installation_id)).await
    } else {
        visitor
            .ask_own(web, move |service, customer| {
                own_key(service, installation_id.key(), customer)?;
                question(service, &installation_id)
            })
            .await
    };
    answer.map_err(|error| read_by(visitor, error))
}

/// A refusal for whoever reads it: the vendor's people can do what a customer can only ask for. A pack, a customer can get
/// by itself.
fn read_by(visitor: &Visitor, error: Error) -> Error {
    match visitor.signed_in.account.customer {
        None => phone::for_vendor(error),
        Some(_) if error.code == Code::SlotsUsedUp => Error {
            next: "download the key's license pack on the page Keys, and confirm again; the machine needs that newer pack"
                .to_owned(),
            ..error
        },
        Some(_) => error,
    }
}

/// The desk with what was typed, what is known of it, and what went wrong.
fn desk(
    web: &Web,
    visitor: &Visitor,
    typed: Vec<String>,
    error: Option<Error>,
    looked: Option<Looked>,
) -> Page {
    let check = error.as_ref().is_some_and(|error| error.code == Code::InstallationIdInvalid);
    let group = |(index, typed): (usize, String)| {
        let digits = typed.chars().map(|c| c.to_digit(10).and_then(|digit| u8::try_from(digit).ok()));
        let digits: Option<Vec<u8>> = digits.collect();
        let sound = digits.is_some_and(|digits| digits.len() == 6 && check_digit::is_sound(digits));
        Group { number: index + 1, typed, wrong: check && !sound }
    };
    let groups = typed.into_iter().enumerate().map(group).collect();
    let status = status_of(error.as_ref());
    page_with(status, &Desk { frame: Frame::of(visitor, web, "/desk"), error, groups, looked })
}

#[derive(Deserialize)]
pub struct Found {
    #[serde(default)]
    last_five: String,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "my.html")]
struct My {
    frame: Frame,
    customer: CustomerView,
    last_five: String,
    /// Whether there are so many keys that one is looked for.
    search: bool,
    usages: Vec<UsageView>,
    /// How many keys are found, on this page and others.
    found: u64,
    next: Option<String>,
}

pub async fn my(State(web): State<Web>, visitor: Visitor, Asked(wanted): Asked<Found>) -> Page {
    let last_five = wanted.last_five.trim().to_owned();
    let partial = Some(last_five.clone()).filter(|text| !text.is_empty());
    let after = wanted.after.as_deref().map(str::parse).transpose()?;
    let (customer, usages, found) = visitor
        .ask_own(&web, move |service, customer| {
            let all = KeyFilter { partial, ..KeyFilter::of_customer(customer) };
            let found = service.count_keys(&all)?;
            Ok((
                service.customer(customer)?,
                service.usages_of(&KeyFilter { after, ..all }, MOST + 1)?,
                found,
            ))
        })
        .await?;
    let more = usages.len() > MOST as usize;
    let usages: Vec<UsageView> = usages.iter().take(MOST as usize).map(UsageView::from).collect();
    let next = usages.last().filter(|_| more).map(|last| last.key.id.clone());
    let (frame, search) = (Frame::of(&visitor, &web, "/my"), found > MOST.into() || !last_five.is_empty());
    page(&My { frame, customer: customer.into(), last_five, search, usages, found, next })
}

pub async fn my_pack(State(web): State<Web>, Named(id): Named<KeyId>, posted: Posted<Nothing>) -> Page {
    let question = move |service: &Service, customer| {
        own_key(service, id, customer)?;
        service.pack(id, service.usage(id)?.slots_wanted())
    };
    let pack = posted.visitor.ask_own(&web, question).await?;
    Ok(pack_file(&id.to_string(), pack))
}

/// Refuses a key that is not this customer's, in the same words as one that there is not.
fn own_key(service: &Service, id: KeyId, customer: i64) -> Result<()> {
    let found = service.sql.read(|session| known_key(session, id));
    match found {
        Ok(key) if key.customer == Some(customer) => Ok(()),
        Err(error) if error.code != Code::KeyUnknown => Err(error),
        _ => Err(Error::new(
            Code::KeyUnknown,
            format!("product key {id} is not one of yours"),
            "compare the key with those on your page",
        )),
    }
}

const GROUPS: usize = 9;
/// Keys on a customer's page.
const MOST: u32 = 50;
