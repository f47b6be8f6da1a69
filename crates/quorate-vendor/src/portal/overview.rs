//! What happened: the first page with its chart, activations, revocation, the audit log.

use super::address::Asked;
use super::session::{Posted, Visitor};
use super::{Frame, Page, filters, page, page_with, status_of};
use crate::access::Scope;
use crate::api::Web;
use crate::revocation::RevokedHost;
use crate::service::Service;
use crate::store::activations::{ActivationFilter, PerDay};
use crate::store::keys::KeyFilter;
use crate::view::{ActivationView, AuditView, KeyView};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use quorate_core::product_key::KeyId;
use quorate_core::{Error, Interval, Result, Timestamp, words};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    chart: Chart,
    activations: Vec<ActivationView>,
}

pub async fn home(State(web): State<Web>, visitor: Visitor) -> Page {
    if visitor.signed_in.account.customer.is_some() {
        return Ok(Redirect::to("/my").into_response());
    }
    let (now, per_day, latest) = visitor
        .ask(&web, Scope::Read, |service| {
            let now = service.now();
            let per_day = service.activations_per_day(Interval::days(DAYS - 1).before(now))?;
            Ok((now, per_day, service.activations(&ActivationFilter::default(), 10)?))
        })
        .await?;
    let activations = latest.into_iter().map(ActivationView::from).collect();
    page(&Home { frame: Frame::of(&visitor, &web, "/"), chart: Chart::new(now, &per_day), activations })
}

/// Activations over time, a bar for each day.
struct Chart {
    days: u32,
    counts: Vec<(Timestamp, u64, u64)>,
}

struct Bar {
    day: String,
    x: usize,
    online: u64,
    phone: u64,
    online_y: u64,
    online_height: u64,
    phone_y: u64,
    phone_height: u64,
}

impl Chart {
    fn new(now: Timestamp, per_day: &[PerDay]) -> Self {
        let day = |back: u32| Interval::days(back).before(now);
        let of = |at: Timestamp, how: &str| {
            let number = at.as_second().div_euclid(SECONDS);
            per_day.iter().filter(|day| day.day == number && day.how == how).map(|day| day.count).sum()
        };
        let counts = (0..DAYS).rev().map(day).map(|at| (at, of(at, "online"), of(at, "phone")));
        Self { days: DAYS, counts: counts.collect() }
    }

    fn bars(&self) -> Vec<Bar> {
        let most = self.most().max(1);
        let height = |count: u64| count * HEIGHT / most;
        let bar = |(index, (at, online, phone)): (usize, &(Timestamp, u64, u64))| {
            let (online_height, phone_height) = (height(*online), height(*phone));
            let online_y = HEIGHT - online_height;
            Bar {
                day: at.strftime("%Y-%m-%d").to_string(),
                x: index * WIDTH,
                online: *online,
                phone: *phone,
                online_y,
                online_height,
                phone_y: online_y - phone_height,
                phone_height,
            }
        };
        self.counts.iter().enumerate().map(bar).collect()
    }

    /// On the busiest day.
    fn most(&self) -> u64 {
        self.counts.iter().map(|(_, online, phone)| online + phone).max().unwrap_or(0)
    }

    fn width(&self) -> usize {
        self.counts.len() * WIDTH
    }

    fn online(&self) -> u64 {
        self.counts.iter().map(|(_, online, _)| online).sum()
    }

    fn phone(&self) -> u64 {
        self.counts.iter().map(|(_, _, phone)| phone).sum()
    }

    fn said(&self) -> String {
        format!("{} online and {} by telephone in {} days", self.online(), self.phone(), self.days)
    }

    fn first_day(&self) -> String {
        self.counts.first().map(|(at, ..)| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
    }

    fn last_day(&self) -> String {
        self.counts.last().map(|(at, ..)| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    before: Option<u64>,
    key: Option<String>,
}

#[derive(Template)]
#[template(path = "activations.html")]
struct Activations {
    frame: Frame,
    key: Option<KeyId>,
    activations: Vec<ActivationView>,
    next: Option<u64>,
}

pub async fn activations(State(web): State<Web>, visitor: Visitor, Asked(wanted): Asked<Wanted>) -> Page {
    let key: Option<KeyId> = wanted.key.as_deref().map(str::parse).transpose()?;
    let filter = ActivationFilter { key, before: wanted.before, ..ActivationFilter::default() };
    let listed = visitor.ask(&web, Scope::Read, move |service| service.activations(&filter, ROWS)).await?;
    let next = listed.last().filter(|_| listed.len() == ROWS as usize).map(|activation| activation.id);
    let activations = listed.into_iter().map(ActivationView::from).collect();
    page(&Activations { frame: Frame::of(&visitor, &web, "/activations"), key, activations, next })
}

#[derive(Template)]
#[template(path = "revocation.html")]
struct Revocation {
    frame: Frame,
    keys: Vec<KeyView>,
    /// How many are blocked, shown or not.
    blocked: u64,
    certificates: BTreeSet<String>,
    /// What was just revoked.
    done: Option<RevokedHost>,
    /// Why nothing was revoked, and what was typed.
    error: Option<Error>,
    typed: String,
}

pub async fn revocation(State(web): State<Web>, visitor: Visitor) -> Page {
    page(&revocation_page(&web, &visitor).await?)
}

async fn revocation_page(web: &Web, visitor: &Visitor) -> Result<Revocation> {
    let (keys, blocked, certificates) = visitor
        .ask(web, Scope::Read, |service| {
            let filter = KeyFilter { blocked: Some(true), ..KeyFilter::default() };
            Ok((service.keys(&filter, ROWS)?, service.count_keys(&filter)?, service.revoked_certificates()?))
        })
        .await?;
    let keys = keys.iter().map(KeyView::from).collect();
    let frame = Frame::of(visitor, web, "/revocation");
    Ok(Revocation { frame, keys, blocked, certificates, done: None, error: None, typed: String::new() })
}

#[derive(Deserialize)]
pub struct Certificate {
    certificate: String,
}

pub async fn revoke(State(web): State<Web>, posted: Posted<Certificate>) -> Page {
    let Posted { visitor, form: Certificate { certificate: typed }, .. } = posted;
    visitor.may(Scope::Keys)?;
    let certificate = typed.clone();
    let question = move |service: &Service| service.revoke_certificate(&certificate);
    match visitor.ask(&web, Scope::Keys, question).await {
        Ok(host) => page(&Revocation { done: Some(host), ..revocation_page(&web, &visitor).await? }),
        Err(error) => {
            let status = status_of(Some(&error));
            page_with(
                status,
                &Revocation { error: Some(error), typed, ..revocation_page(&web, &visitor).await? },
            )
        }
    }
}

#[derive(Deserialize)]
pub struct Before {
    before: Option<u64>,
    #[serde(default)]
    verify: bool,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    frame: Frame,
    entries: Vec<AuditView>,
    next: Option<u64>,
    verified: Option<String>,
}

pub async fn audit(State(web): State<Web>, visitor: Visitor, Asked(page_of): Asked<Before>) -> Page {
    let (entries, verified) = visitor
        .ask(&web, Scope::Admin, move |service| {
            let verified = match page_of.verify {
                true => service.verify_audit(None)?.map(|last| {
                    let entries = words::counted(usize::try_from(last.number).unwrap_or(usize::MAX), "entry");
                    format!("{entries}, none changed and none missing. Hash of the last: {}", last.hash)
                }),
                false => None,
            };
            Ok((service.audit(page_of.before, ROWS)?, verified))
        })
        .await?;
    let next = entries.last().filter(|_| entries.len() == ROWS as usize).map(|entry| entry.number);
    let entries = entries.into_iter().map(AuditView::from).collect();
    page(&Audit { frame: Frame::of(&visitor, &web, "/audit"), entries, next, verified })
}

const DAYS: u32 = 30;
const SECONDS: i64 = 24 * 60 * 60;
/// Of a bar with the space beside it, and of the whole chart, in the units of its picture.
const WIDTH: usize = 18;
const HEIGHT: u64 = 120;
/// Of a page.
const ROWS: u32 = 50;
