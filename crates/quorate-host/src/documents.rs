//! What a vendor says after the license pack was made: its newest catalog and revocation list.
//!
//! Both carry numbers that only rise. What is newer than what is here is kept, what is older is refused,
//! whoever brings it: the vendor's service at activation and daily, or a license pack.

use crate::keys::{BY_TELEPHONE, HostKey, Installed};
use crate::store::{Documents, Store};
use quorate_core::catalog::Catalog;
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, Result, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_edge::https::{ProxyUrl, ServiceClient};

/// Asks the service of every vendor that has a readable key here. The vendors are asked one after the other,
/// and one that fails does not keep the others from being asked; the first failure is given.
pub async fn fetch_all(store: &mut Store, proxy: Option<&ProxyUrl>, clock: &Clock) -> Result<()> {
    let mut keys: Vec<HostKey> =
        Installed::all(store, clock.now())?.into_iter().filter_map(|installed| installed.key.ok()).collect();
    keys.dedup_by(|one, other| one.installed.vendor == other.installed.vendor);
    let mut result = Ok(());
    for key in keys {
        let fetched =
            match ServiceClient::new(&key.catalog.service_url, &key.root, proxy, BY_TELEPHONE, clock) {
                Ok(service) => fetch(store, &key, &service, clock.now()).await,
                Err(error) => Err(error),
            };
        result = result.and(fetched);
    }
    result
}

/// Asks the service of one vendor. What is good is kept, also when the rest can't be had.
pub async fn fetch(store: &mut Store, key: &HostKey, service: &ServiceClient, now: Timestamp) -> Result<()> {
    let here = &key.installed.documents;
    // The revocation list first: it is what matters when the connection breaks off.
    let revocations = match service.get("/v1/revocations").await {
        Ok(said) => check_revocations(key, &said, now).map(|()| said),
        Err(error) => Err(error),
    };
    let catalog = match service.get("/v1/catalog").await {
        Ok(said) => check_catalog(key, &said, now).map(|()| said),
        Err(error) => Err(error),
    };
    keep(
        store,
        key,
        &Documents {
            catalog: catalog.as_ref().unwrap_or(&here.catalog).clone(),
            revocations: revocations.as_ref().unwrap_or(&here.revocations).clone(),
        },
    )?;
    revocations.and(catalog).map(drop)
}

/// Finds out whether these documents are the vendor's and not older than what is here.
pub fn check(key: &HostKey, said: &Documents, now: Timestamp) -> Result<()> {
    check_catalog(key, &said.catalog, now)?;
    check_revocations(key, &said.revocations, now)
}

/// The newer of what is here and what a license pack brings, each for itself.
pub fn newer(key: &HostKey, pack: &Documents, now: Timestamp) -> Documents {
    let here = &key.installed.documents;
    let catalog = if check_catalog(key, &pack.catalog, now).is_ok() { &pack.catalog } else { &here.catalog };
    let revocations = if check_revocations(key, &pack.revocations, now).is_ok() {
        &pack.revocations
    } else {
        &here.revocations
    };
    Documents { catalog: catalog.clone(), revocations: revocations.clone() }
}

fn keep(store: &mut Store, key: &HostKey, said: &Documents) -> Result<()> {
    if *said == key.installed.documents {
        return Ok(());
    }
    tracing::info!(vendor = %key.installed.vendor, "the vendor's catalog or revocation list is newer");
    store.put_documents(&key.installed.vendor, &key.installed.documents, said)
}

fn check_catalog(key: &HostKey, said: &str, now: Timestamp) -> Result<()> {
    let catalog: Catalog = signed::verify(said, &key.root, &key.installed.vendor, now)?.document;
    if catalog.number >= key.catalog.number {
        return Ok(());
    }
    Err(Error::new(
        Code::StaleNumber,
        format!("the service gave catalog {}, but {} is here already", catalog.number, key.catalog.number),
        "ask the vendor why its service is behind",
    ))
}

fn check_revocations(key: &HostKey, said: &str, now: Timestamp) -> Result<()> {
    let list: RevocationList = signed::verify(said, &key.root, &key.installed.vendor, now)?.document;
    if list.number >= key.revocations.number {
        return Ok(());
    }
    Err(Error::new(
        Code::StaleNumber,
        format!(
            "the service gave revocation list {}, but {} is here already",
            list.number, key.revocations.number
        ),
        "ask the vendor why its service is behind",
    ))
}
