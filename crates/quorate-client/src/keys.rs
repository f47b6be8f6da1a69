//! Product keys on a machine: installing one, removing one, and finding the product that a key is for.
//!
//! Several keys may be installed for a product, beside the edition that its installer registered; one of them is in
//! use. A key that is installed comes into use, and a key that is removed gives way to the one before it, or to
//! the registered edition. Each keeps its own activation, so that changing over and back loses nothing.

use crate::activation::Client;
use crate::by_service;
use crate::key_ring::{HeldKey, KeyRing};
use crate::stored::InstalledKey;
use crate::stored::Stored;
use quorate_core::catalog::{Channel, Sku};
use quorate_core::license_state::Event;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Code, Error, Result};
use std::collections::BTreeSet;

impl Client {
    /// Installs a product key, with its license pack if there is one, and brings it into use.
    pub fn install_key(&self, key: &ProductKey, pack: Option<&str>) -> Result<InstalledKey> {
        self.licensed_by(key)?.ok_or_else(|| unknown_group(key, std::slice::from_ref(self)))?;
        let installed = InstalledKey { id: key.id(), partial: key.partial() };
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| {
            let held = HeldKey::new(key, pack.map(|pack| pack.trim().to_owned()));
            if let Some(pack) = &held.pack {
                by_service::open_pack(pack, &held, self.trust(&stored.product), now)?;
            }
            KeyRing::to_change(self.store.key_ring())?.add(held)?;
            let installation = &mut stored.installation;
            if !installation.keys.contains(&installed) {
                installation.keys.push(installed.clone());
            }
            if installation.in_use.replace(key.id()) != Some(key.id()) {
                // What was said before was said to another edition.
                (stored.product.last, stored.product.next_request) = (None, None);
            }
            if stored.product.activation(self.edition(stored)).is_none() {
                self.apply(stored, Event::KeyInstalled, now)?;
            }
            Ok(installed)
        })
    }

    /// Removes a product key and what it was activated by.
    pub fn remove_key(&self, id: KeyId) -> Result<()> {
        let now = self.clock.now();
        let remove = |stored: &mut Stored| {
            let Stored { installation, product, .. } = stored;
            let was_in_use = installation.in_use == Some(id);
            installation.keys.retain(|key| key.id != id);
            product.activations.retain(|activation| activation.edition.key != Some(id));
            if was_in_use {
                let products = &self.vendor.catalog.products;
                let fitting = installation.keys.iter().rev().find(|key| installation.fits(key, products));
                installation.in_use = fitting.map(|key| key.id);
                (product.last, product.next_request) = (None, None);
            }
            let edition = self.edition(stored);
            if edition.key.is_none() && self.vendor.sku(edition.sku)?.channel.has_own_key() {
                self.apply(stored, Event::KeyRemoved, now)?;
            }
            Ok(())
        };
        // What proves the key goes last: a key without it could be removed again, but not be asked for.
        let forget = |(): &()| KeyRing::to_change(self.store.key_ring())?.remove(id);
        self.store.update_then(&self.machine, now, remove, forget)
    }

    /// The keys that are installed.
    pub fn installed_keys(&self) -> Result<Vec<InstalledKey>> {
        Ok(self.store.read(&self.machine, self.clock.now())?.installation.keys)
    }

    /// What a key makes of this product; `None` when this vendor's catalog does not know the key's group.
    fn licensed_by(&self, key: &ProductKey) -> Result<Option<&Sku>> {
        let catalog = &self.vendor.catalog;
        let group = catalog.products.key_group(key.id().group());
        let Some(sku) = group.and_then(|group| catalog.products.sku(group.sku)) else { return Ok(None) };
        if sku.channel == Channel::KmsHost {
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!("product key {} is for {} ({})", key.id(), sku.name, sku.channel),
                "it belongs on the activation host: `quorate-host ipk KEY --pack FILE`",
            ));
        }
        if sku.application != self.store.application() {
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!("product key {} is for {}, which is not installed here", key.id(), sku.name),
                format!("install that product first, or use a key for {}", self.application_name()),
            ));
        }
        let registered = self.store.read(&self.machine, self.clock.now())?.installation.sku;
        let registered = self.vendor.sku(registered)?;
        if !catalog.products.same_edition(registered, sku) {
            return Err(Error::new(
                Code::ProductKeyUnsuited,
                format!(
                    "product key {} is for {}; installed here is {}, another edition",
                    key.id(),
                    sku.name,
                    registered.name
                ),
                format!("install that edition, or use a key for {}", registered.name),
            ));
        }
        Ok(Some(sku))
    }

    /// The product's name without its edition.
    fn application_name(&self) -> &str {
        let application = self.vendor.catalog.products.application(self.store.application());
        application.map_or("this product", |application| application.name.as_str())
    }
}

/// The product that a key is for, of those that are registered. Keys do not name their vendor; where the catalogs of
/// several know such a key, the vendor must be named.
pub fn product_of<'c>(key: &ProductKey, clients: &'c [Client], vendor: Option<&str>) -> Result<&'c Client> {
    let of_vendor =
        |client: &&Client| vendor.is_none_or(|vendor| client.vendor.catalog.vendor.as_str() == vendor);
    if !clients.iter().any(|client| of_vendor(&client)) {
        let mut known: Vec<&str> =
            clients.iter().map(|client| client.vendor.catalog.vendor.as_str()).collect();
        known.dedup();
        return Err(Error::new(
            Code::IdentifierInvalid,
            // Somebody may have typed the key in its place, so the text is not repeated.
            "no vendor of that short name is registered here",
            format!("name one of: {}", known.join(", ")),
        ));
    }
    let (mut fitting, mut refused) = (Vec::new(), None);
    for client in clients.iter().filter(of_vendor) {
        match client.licensed_by(key) {
            Ok(Some(_)) => fitting.push(client),
            Ok(None) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match fitting[..] {
        [client] => Ok(client),
        [] => Err(refused.unwrap_or_else(|| unknown_group(key, clients))),
        _ => {
            let vendors: Vec<&str> =
                fitting.iter().map(|client| client.vendor.catalog.vendor.as_str()).collect();
            Err(Error::new(
                Code::ProductKeyUnsuited,
                format!("{} vendors registered here have keys of group {}", fitting.len(), key.id().group()),
                format!("name the key's own with --vendor: {}", vendors.join(", ")),
            ))
        }
    }
}

/// The installed key that `name` names: its last five characters or its key id, with its vendor where that is needed:
/// `contoso/00097-000-000001`. Somebody may have typed the key itself, so no other text is repeated.
pub fn named<'c>(name: &str, clients: &'c [Client]) -> Result<(&'c Client, InstalledKey)> {
    let (vendor, name) = name.split_once('/').map_or((None, name), |(vendor, name)| (Some(vendor), name));
    let id: Option<KeyId> = name.parse().ok();
    let last = name.trim_start_matches('…');
    if id.is_none() && (last.len() != 5 || !last.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Err(Error::new(
            Code::IdentifierInvalid,
            "what was given is neither the last five characters of a product key nor a key id",
            "`quorate status --all` shows those of the installed keys",
        ));
    }
    // A product whose store cannot be read keeps no other from being named.
    let installed = |client: &'c Client| {
        client.installed_keys().unwrap_or_default().into_iter().map(move |key| (client, key))
    };
    let known: Vec<(&Client, InstalledKey)> = clients.iter().flat_map(installed).collect();
    // Vendors number their keys alike, and the last five characters come from the number.
    let vendors: BTreeSet<&str> = known.iter().map(|(client, _)| vendor_of(client)).collect();
    let whole = |client: &Client, key: &InstalledKey| match vendors.len() {
        0 | 1 => key.id.to_string(),
        _ => format!("{}/{}", vendor_of(client), key.id),
    };
    let is_named = |(client, key): &&(&'c Client, InstalledKey)| {
        vendor.is_none_or(|vendor| vendor == vendor_of(client))
            && (Some(key.id) == id || key.partial.0.eq_ignore_ascii_case(last))
    };
    let named: Vec<&(&Client, InstalledKey)> = known.iter().filter(is_named).collect();
    match named[..] {
        [(client, key)] => Ok((client, key.clone())),
        [] => {
            let of_vendor = if vendor.is_some() { " of this vendor" } else { "" };
            let what = format!("no product key{of_vendor} that is installed ends so or has that id");
            let known: Vec<String> = known
                .iter()
                .map(|(client, key)| format!("…{} ({})", key.partial, whole(client, key)))
                .collect();
            let next = match known.is_empty() {
                true => "no product key is installed: `quorate install-key KEY`".to_owned(),
                false => format!("name one of: {}", known.join(", ")),
            };
            Err(Error::new(Code::ProductKeyMissing, what, next))
        }
        _ => {
            let ids: Vec<String> = named.iter().map(|(client, key)| whole(client, key)).collect();
            Err(Error::new(
                Code::IdentifierInvalid,
                format!("{} product keys that are installed end so or have that id", named.len()),
                format!("name one by its key id: {}", ids.join(", ")),
            ))
        }
    }
}

fn vendor_of(client: &Client) -> &str {
    client.vendor.catalog.vendor.as_str()
}

fn unknown_group(key: &ProductKey, clients: &[Client]) -> Error {
    let mut catalogs: Vec<String> = clients
        .iter()
        .map(|client| {
            format!("{}, catalog {}", client.vendor.catalog.vendor_name, client.vendor.catalog.number)
        })
        .collect();
    catalogs.dedup();
    Error::new(
        Code::ProductKeyUnsuited,
        format!(
            "no product registered here has keys of group {} ({})",
            key.id().group(),
            catalogs.join("; ")
        ),
        "it may be another vendor's: compare the key with its certificate; if the product is newer, register the \
         vendor's newest catalog: `quorate register`",
    )
}
