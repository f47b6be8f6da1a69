//! Products: what is signed, and what a changed product file would change.

use super::session::{Posted, Visitor};
use super::{Frame, Page, filters, page_with, status_of};
use crate::access::Scope;
use crate::api::Web;
use crate::products::parse_products;
use crate::service::Service;
use crate::view::CatalogView;
use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Redirect};
use quorate_core::catalog::{Channel, KeyGroup, Products};
use quorate_core::{Error, Result, Timestamp, words};
use serde::Deserialize;

struct Group {
    number: u16,
    name: String,
    sku: String,
    channel: String,
    allowed: String,
}

#[derive(Template)]
#[template(path = "products.html")]
struct ProductsPage {
    frame: Frame,
    /// Number and time of the newest catalog; none before the first product file.
    newest: Option<(u64, Timestamp)>,
    groups: Vec<Group>,
    history: Vec<CatalogView>,
    file: String,
    differences: Option<Vec<String>>,
    error: Option<Error>,
}

impl ProductsPage {
    /// The number of the next catalog.
    fn next(&self) -> u64 {
        self.newest.map_or(1, |(number, _)| number + 1)
    }
}

async fn page_of(web: &Web, visitor: &Visitor, changed: Option<String>) -> Page {
    let (products, file) = visitor
        .ask(web, Scope::Read, move |service| {
            let current = service.newest()?;
            let file = match &changed {
                Some(file) => file.clone(),
                None if current.is_some() => service.product_file(None)?,
                None => String::new(),
            };
            let differences = changed.map(|file| differences_of(service, &file));
            let group = |products: &Products, group: &KeyGroup| {
                let sku = products.sku(group.sku);
                let channel = sku.map(|sku| sku.channel);
                let allowed = match channel {
                    Some(Channel::KmsHost) => {
                        let again = words::counted(group.reactivations, "time");
                        format!("{}, each again {again}", words::counted(group.hosts, "host"))
                    }
                    Some(Channel::Mak | Channel::Retail) => {
                        words::counted(products.machines_allowed(group), "machine")
                    }
                    _ => "a public key".to_owned(),
                };
                Group {
                    number: group.number,
                    name: group.name.clone(),
                    sku: sku.map(|sku| sku.name.clone()).unwrap_or_default(),
                    channel: channel.map(|channel| channel.to_string()).unwrap_or_default(),
                    allowed,
                }
            };
            let products = current.as_ref().map(|current| &current.catalog.products);
            let of_all =
                |products: &Products| products.key_groups.iter().map(|one| group(products, one)).collect();
            let groups = products.map(of_all).unwrap_or_default();
            let history = service.catalogs()?.into_iter().map(CatalogView::from).collect();
            let newest = current.map(|current| (current.catalog.number, current.catalog.issued));
            Ok(((newest, groups, history, differences), file))
        })
        .await?;
    let (newest, groups, history, differences) = products;
    let (differences, error) = match differences {
        None => (None, None),
        Some(Ok(differences)) => (Some(differences), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let frame = Frame::of(visitor, web, "/products");
    let status = status_of(error.as_ref());
    page_with(status, &ProductsPage { frame, newest, groups, history, file, differences, error })
}

fn differences_of(service: &Service, file: &str) -> Result<Vec<String>> {
    let differences = service.differences(&parse_products(file, FILE)?)?;
    Ok(differences.iter().map(ToString::to_string).collect())
}

pub async fn current(State(web): State<Web>, visitor: Visitor) -> Page {
    page_of(&web, &visitor, None).await
}

pub async fn file(State(web): State<Web>, visitor: Visitor) -> Page {
    let file = visitor.ask(&web, Scope::Read, |service| service.product_file(None)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], file).into_response())
}

#[derive(Deserialize)]
pub struct ProductFile {
    file: String,
}

pub async fn differences(State(web): State<Web>, posted: Posted<ProductFile>) -> Page {
    posted.visitor.may(Scope::Products)?;
    page_of(&web, &posted.visitor, Some(posted.form.file)).await
}

pub async fn import(State(web): State<Web>, posted: Posted<ProductFile>) -> Page {
    let Posted { visitor, form, .. } = posted;
    let question = move |service: &Service| service.import(parse_products(&form.file, FILE)?).map(drop);
    visitor.ask(&web, Scope::Products, question).await?;
    Ok(Redirect::to("/products").into_response())
}

/// As errors name it.
const FILE: &str = "the product file";
