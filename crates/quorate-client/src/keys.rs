//! Product keys on a machine: installing one, removing one, and finding the product that a key is for.
//!
//! Several keys may be installed for a product, beside the edition that its installer registered; one of them is in
//! use. A key that is installed comes into use, and a key that is removed gives way to the one before it, or to
//! the registered edition. Each keeps its own activation, so that changing over and back loses nothing.

use crate::activation::Client;
use crate::by_service;
use crate::key_ring::{HeldKey, KeyRing};
use crate::store::InstalledKey;
use quorate_core::catalog::{Channel, Sku};
use quorate_core::identifier::VendorId;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Code, Error, Result};

impl Client {
    /// Installs a product key, with its license pack if there is one, and brings it into use.
    pub fn install_key(&self, key: &ProductKey, pack: Option<&str>) -> Result<InstalledKey> {
        let sku = self.licensed_by(key)?.ok_or_else(|| unknown_group(key, std::slice::from_ref(self)))?;
        let installed = InstalledKey { id: key.id(), partial: key.partial(), sku: sku.id };
        let now = self.clock.now();
        self.store.update(&self.machine, now, |stored| {
            if let Some(pack) = pack {
                by_service::open_pack(pack, key.id(), self.trust(&stored.product), now)?;
            }
            let mut ring = KeyRing::to_change(self.store.key_ring())?;
            ring.add(HeldKey::new(key, pack.map(|pack| pack.trim().to_owned())))?;
            let installation = &mut stored.installation;
            installation.key_removed = false;
            match installation.keys.iter_mut().find(|known| known.id == key.id()) {
                Some(known) => *known = installed.clone(),
                None => installation.keys.push(installed.clone()),
            }
            if installation.in_use.replace(key.id()) != Some(key.id()) {
                // What was said before was said to another edition.
                (stored.product.last, stored.product.next_request) = (None, None);
            }
            Ok(installed)
        })
    }

    /// Removes a product key and what it was activated by.
    pub fn remove_key(&self, id: KeyId) -> Result<()> {
        self.store.update(&self.machine, self.clock.now(), |stored| {
            if stored.installation.in_use == Some(id) {
                (stored.product.last, stored.product.next_request) = (None, None);
            }
            stored.product.keys.remove(&id);
            let installation = &mut stored.installation;
            installation.keys.retain(|key| key.id != id);
            if installation.in_use == Some(id) {
                installation.in_use = installation.keys.last().map(|key| key.id);
            }
            let edition = self.vendor.sku(installation.edition())?;
            installation.key_removed = installation.in_use.is_none() && edition.channel.has_own_key();
            KeyRing::to_change(self.store.key_ring())?.remove(id)
        })
    }

    /// The keys that are installed.
    pub fn installed_keys(&self) -> Result<Vec<InstalledKey>> {
        Ok(self.store.read(&self.machine, self.clock.now())?.installation.keys)
    }

    /// The edition of this product that a key licenses; `None` when this vendor's catalog does not know the key's
    /// group.
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
pub fn product_of<'c>(
    key: &ProductKey,
    clients: &'c [Client],
    vendor: Option<&VendorId>,
) -> Result<&'c Client> {
    let of_vendor = |client: &&Client| vendor.is_none_or(|vendor| client.vendor.catalog.vendor == *vendor);
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

/// The installed key that `name` names: its last five characters or its key id. Somebody may have typed the key
/// itself, so no other text is repeated.
pub fn named<'c>(name: &str, clients: &'c [Client]) -> Result<(&'c Client, InstalledKey)> {
    let id: Option<KeyId> = name.parse().ok();
    let last = name.trim_start_matches('…');
    if id.is_none() && (last.len() != 5 || !last.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Err(Error::new(
            Code::IdentifierInvalid,
            "what was given is neither the last five characters of a product key nor a key id",
            "`quorate status --all` shows those of the installed keys",
        ));
    }
    let (mut named, mut known) = (Vec::new(), Vec::new());
    for client in clients {
        for key in client.installed_keys()? {
            known.push(format!("…{} ({})", key.partial, key.id));
            if Some(key.id) == id || key.partial.0.eq_ignore_ascii_case(last) {
                named.push((client, key));
            }
        }
    }
    let missing = |what: &str| {
        let next = match known.is_empty() {
            true => "no product key is installed: `quorate install-key KEY`".to_owned(),
            false => format!("name one of: {}", known.join(", ")),
        };
        Error::new(Code::ProductKeyMissing, what, next)
    };
    match named.len() {
        1 => Ok(named.remove(0)),
        0 => Err(missing("no product key that is installed ends so or has that id")),
        _ => Err(missing("several product keys that are installed end so")),
    }
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
        "compare the key with its certificate; if the product is newer, register the vendor's newest catalog: \
         `quorate register`",
    )
}
