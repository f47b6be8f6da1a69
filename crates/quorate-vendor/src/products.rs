//! Products, SKUs, key groups and policies: a file that can be reviewed, signed as the next catalog.

use crate::service::{Current, Service};
use crate::store::{catalogs, keys};
use quorate_core::catalog::{Catalog, Channel, KeyGroup, Products};
use quorate_core::catalog_diff::{self, Difference};
use quorate_core::{Code, Error, Result};
use quorate_edge::files;
use std::path::Path;
use std::sync::Arc;

impl Service {
    /// Signs a new catalog with these products, under the next number. Products that are those of the newest catalog
    /// make none.
    pub fn import(&self, products: Products) -> Result<Arc<Current>> {
        self.change(|turn| {
            let newest = catalogs::newest(turn.session)?;
            let number = newest.map_or(1, |newest| newest + 1);
            let mut differences = 0;
            if newest.is_some() {
                let current = self.catalog_in(turn.session)?;
                if current.catalog.products == products {
                    return Ok(());
                }
                differences = catalog_diff::between(Some(&current.catalog.products), &products).len();
            }
            let before = match newest {
                Some(_) => Some(self.catalog_in(turn.session)?),
                None => None,
            };
            for group in keys::groups(turn.session)? {
                let was = before.as_ref().and_then(|before| channel(&before.catalog.products, group));
                let is = channel(&products, group);
                if is.is_some() && (was.is_none() || was == is) {
                    continue;
                }
                // There may be millions; they are counted for who reads the error.
                let issued = keys::count(turn.session, group)?;
                if issued == 0 {
                    continue;
                }
                return Err(match was.zip(is) {
                    Some((was, is)) => Error::new(
                        Code::CatalogInvalid,
                        format!("key group {group} is to change from {was} to {is}, and {issued} of its keys were issued"),
                        "make another key group for the other channel, or these keys would be worth nothing",
                    ),
                    None => Error::new(
                        Code::CatalogInvalid,
                        format!("key group {group} is not in the file, and {issued} of its keys were issued"),
                        "keep the key group, or these keys would be worth nothing; block keys that are to end",
                    ),
                });
            }
            let catalog = Catalog {
                vendor: self.authority.vendor().clone(),
                vendor_name: self.vendor_name().to_owned(),
                number,
                issued: turn.now,
                service_url: self.url().to_owned(),
                products,
            };
            catalogs::add(turn.session, number, &self.authority.sign(&catalog)?, turn.now)?;
            let detail = serde_json::json!({ "differences": differences });
            turn.note("product.import", &format!("catalog {number}"), detail)
        })?;
        self.current()
    }

    /// What another product file would change; the first one brings all that is in it.
    pub fn differences(&self, products: &Products) -> Result<Vec<Difference>> {
        let newest = self.newest()?;
        Ok(catalog_diff::between(newest.as_ref().map(|newest| &newest.catalog.products), products))
    }

    /// Every catalog that was signed, the newest first.
    pub fn catalogs(&self) -> Result<Vec<catalogs::Entry>> {
        self.sql.read(catalogs::list)
    }

    /// The products of a catalog, as a product file.
    pub fn product_file(&self, number: Option<u64>) -> Result<String> {
        let products = match number {
            None => self.current()?.catalog.products.clone(),
            Some(number) => self.sql.read(|session| self.catalog_of(session, number))?.catalog.products,
        };
        toml::to_string(&products).map_err(|error| {
            Error::new(
                Code::Internal,
                format!("a product file cannot be written ({error})"),
                "please report this",
            )
        })
    }
}

/// Of which channel the keys of a group are.
pub(crate) fn channel(products: &Products, group: u16) -> Option<Channel> {
    products.sku(products.key_group(group)?.sku).map(|sku| sku.channel)
}

pub(crate) fn key_group(catalog: &Catalog, number: u16) -> Result<&KeyGroup> {
    catalog.products.key_group(number).ok_or_else(|| {
        let known: Vec<String> = catalog
            .products
            .key_groups
            .iter()
            .map(|group| format!("{} ({})", group.number, group.name))
            .collect();
        Error::new(
            Code::KeyGroupUnknown,
            format!("catalog {} has no key group {number}", catalog.number),
            format!("choose one of: {}", known.join(", ")),
        )
    })
}

/// Reads a product file.
pub fn read_products(path: &Path) -> Result<Products> {
    parse_products(&files::read_text(path)?, &path.display().to_string())
}

/// Reads the text of a product file; errors name it.
pub fn parse_products(text: &str, name: &str) -> Result<Products> {
    toml::from_str(text).map_err(|error| {
        // What the file contradicts itself in, or lacks, is not at any one line.
        let part = error.span().filter(|span| *span != (0..0));
        let line = part.map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
        let place = line.map(|line| format!(", line {line}")).unwrap_or_default();
        // The checks of `Products` put the next step behind a semicolon.
        let message = error.message();
        let (what, next) =
            message.split_once("; ").unwrap_or((message, "compare it with the shipped example"));
        Error::new(Code::CatalogInvalid, format!("{name}{place}: {what}"), next)
    })
}
