//! The phone desk, and the pages of a customer: its keys, its packs, and the desk for itself.

use super::session::{Nothing, Posted, Visitor};
use super::{Frame, Page, UsageView, pack_file, page, page_with};
use crate::access::Scope;
use crate::api::Web;
use crate::keys::known_key;
use crate::phone::Confirmed;
use crate::service::Service;
use crate::view::CustomerView;
use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
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
}

pub async fn form(State(web): State<Web>, visitor: Visitor) -> Page {
    if visitor.signed_in.account.customer.is_none() {
        visitor.signed_in.access.may(Scope::Desk)?;
    }
    let group = |number| Group { number, typed: String::new(), wrong: false };
    let frame = Frame::of(&visitor, &web, "/desk");
    page(&Desk { frame, error: None, groups: (1..=GROUPS).map(group).collect() })
}

/// The groups `g1` to `g9`.
#[derive(Deserialize)]
pub struct Typed {
    #[serde(flatten)]
    fields: HashMap<String, String>,
}

struct Letter {
    letter: char,
    digits: String,
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

pub async fn confirm(State(web): State<Web>, posted: Posted<Typed>) -> Page {
    let Posted { visitor, form, .. } = posted;
    let typed: Vec<String> = (1..=GROUPS)
        .map(|number| form.fields.get(&format!("g{number}")).cloned().unwrap_or_default().trim().to_owned())
        .collect();
    let frame = || Frame::of(&visitor, &web, "/desk");
    let confirmed = match typed.concat().parse::<InstallationId>() {
        Ok(installation_id) => confirmed(&web, &visitor, installation_id).await,
        Err(error) => Err(error),
    };
    let confirmed = match confirmed {
        Ok(confirmed) => confirmed,
        Err(error) if error.code == Code::InstallationIdInvalid => {
            let group = |(index, typed): (usize, &String)| {
                let digits = typed.chars().map(|c| c.to_digit(10).and_then(|digit| u8::try_from(digit).ok()));
                let digits: Option<Vec<u8>> = digits.collect();
                let sound = digits.is_some_and(|digits| digits.len() == 6 && check_digit::is_sound(digits));
                Group { number: index + 1, typed: typed.clone(), wrong: !sound }
            };
            let groups = typed.iter().enumerate().map(group).collect();
            return page_with(StatusCode::BAD_REQUEST, &Desk { frame: frame(), error: Some(error), groups });
        }
        Err(error) => return Err(super::Fault { error, frame: Some(Box::new(frame())) }),
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
    page(&ConfirmedPage { frame: frame(), confirmation_id, groups, usage, qr })
}

/// At the vendor's desk for anybody, at the customer's own page for its keys alone.
async fn confirmed(web: &Web, visitor: &Visitor, installation_id: InstallationId) -> Result<Confirmed> {
    if visitor.signed_in.account.customer.is_none() {
        let confirmed = visitor.ask(web, Scope::Desk, move |service| service.confirm(&installation_id)).await;
        web.count_confirmation("desk", &confirmed);
        return confirmed;
    }
    let confirmed = visitor
        .ask_own(web, move |service, customer| {
            own_key(service, installation_id.key(), customer)?;
            service.confirm(&installation_id)
        })
        .await;
    web.count_confirmation("customer", &confirmed);
    confirmed
}

#[derive(Template)]
#[template(path = "my.html")]
struct My {
    frame: Frame,
    customer: CustomerView,
    usages: Vec<UsageView>,
}

pub async fn my(State(web): State<Web>, visitor: Visitor) -> Page {
    let (customer, usages) = visitor
        .ask_own(&web, |service, customer| {
            Ok((service.customer(customer)?, service.usages_of(customer, MOST)?))
        })
        .await?;
    let usages = usages.iter().map(UsageView::from).collect();
    page(&My { frame: Frame::of(&visitor, &web, "/my"), customer: customer.into(), usages })
}

pub async fn my_pack(State(web): State<Web>, Path(id): Path<String>, posted: Posted<Nothing>) -> Page {
    let id: KeyId = id.parse()?;
    let question = move |service: &Service, customer| {
        own_key(service, id, customer)?;
        let left = service.usage(id)?.left().clamp(1, SLOTS);
        service.pack(id, left)
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
const MOST: u32 = 200;
/// As many activations as a customer may prepare by itself.
const SLOTS: u32 = 12;
