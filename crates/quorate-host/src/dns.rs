//! DNS publishing: an SRV record for each vendor in each domain, by dynamic update (RFC 2136), signed with
//! TSIG (RFC 8945).
//!
//! The host adds its own record and removes only what it has itself published before and does not mean any
//! more, so that several hosts stand side by side; publishing again changes nothing. What it has published is
//! in its store. Afterwards it asks the server, since an update that was accepted and is not visible helps
//! nobody. Each name in each domain is an update of its own: one that fails keeps no other from its turn.

mod name_server;
mod record;
mod tsig;

pub use record::SrvRecord;
pub use tsig::TsigKey;

use crate::store::{Place, Published, Store};
use name_server::{Failed, NameServer};
use quorate_core::catalog::Catalog;
use quorate_core::{Error, Result};
use quorate_edge::clock::Clock;
use std::net::SocketAddr;

/// Where and how a host is published: one domain.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The domain, which is the zone that is updated.
    pub domain: String,
    /// The primary name server of the domain.
    pub server: SocketAddr,
    /// The key that permits the update.
    pub key: Option<TsigKey>,
    /// The name under which clients reach this host.
    pub target: String,
    /// Hosts with the lowest priority are asked first.
    pub priority: u16,
    /// The share of this host among those of one priority.
    pub weight: u16,
    /// For how many seconds the record may be cached.
    pub ttl: u32,
}

/// One name in one domain: what was to be done there, and what became of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The domain.
    pub domain: String,
    /// The record that this host is to have there; none when its own are only removed.
    pub record: Option<SrvRecord>,
    /// Own records of this host that are removed.
    pub removed: Vec<SrvRecord>,
    /// Whether the server gives out just that.
    pub result: Result<()>,
}

impl Publication {
    /// A publication with the defaults.
    pub fn new(domain: impl Into<String>, server: SocketAddr, target: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            server,
            key: None,
            target: target.into(),
            priority: PRIORITY,
            weight: WEIGHT,
            ttl: TTL,
        }
    }

    /// The record of this host for a vendor's clients.
    pub fn record(&self, catalog: &Catalog, port: u16) -> Result<SrvRecord> {
        Ok(SrvRecord {
            owner: record::name(&catalog.srv_name(&self.domain))?.to_ascii(),
            ttl: self.ttl,
            priority: self.priority,
            weight: self.weight,
            port,
            target: record::host_name(&self.target)?.to_ascii(),
        })
    }

    /// Where that is.
    pub fn place(&self) -> Result<Place> {
        Ok(Place { domain: domain(&self.domain)?, server: self.server })
    }

    fn wanted(&self, catalogs: &[&Catalog], port: u16) -> Result<Wanted> {
        let mut records: Vec<SrvRecord> = Vec::new();
        for catalog in catalogs {
            let record = self.record(catalog, port)?;
            // Vendors may share a name of their service.
            if !records.contains(&record) {
                records.push(record);
            }
        }
        Ok(Wanted { place: self.place()?, records })
    }
}

/// A domain's name as the store has it.
pub fn domain(text: &str) -> Result<String> {
    Ok(record::host_name(text)?.to_ascii().trim_end_matches('.').to_owned())
}

/// The publications that were made before, without their keys, which are not kept.
pub fn remembered(store: &Store) -> Result<Vec<Publication>> {
    let mut publications: Vec<Publication> = Vec::new();
    for Published { place, record, .. } in store.published()? {
        let known = |known: &Publication| known.domain == place.domain && known.server == place.server;
        // The newest comes first, and tells how it was meant last.
        if !publications.iter().any(known) {
            let SrvRecord { ttl, priority, weight, target, .. } = record;
            let Place { domain, server } = place;
            publications.push(Publication { domain, server, key: None, target, priority, weight, ttl });
        }
    }
    publications.reverse();
    Ok(publications)
}

/// The record to add by hand as long as nobody has said where.
pub fn example(catalog: &Catalog, port: u16) -> SrvRecord {
    SrvRecord {
        owner: catalog.srv_name("YOUR.DOMAIN"),
        ttl: TTL,
        priority: PRIORITY,
        weight: WEIGHT,
        port,
        target: "THIS.HOST.YOUR.DOMAIN.".to_owned(),
    }
}

/// Publishes this host in every domain for the vendors of these catalogs, and removes what it has published
/// before in these domains otherwise, or for other vendors.
pub async fn publish(
    store: &mut Store,
    publications: &[Publication],
    catalogs: &[&Catalog],
    port: u16,
    clock: &Clock,
) -> Vec<Attempt> {
    let wanted: Vec<Result<Wanted>> =
        publications.iter().map(|publication| publication.wanted(catalogs, port)).collect();
    let mut attempts = Vec::new();
    for (publication, here) in publications.iter().zip(&wanted) {
        let all = wanted.iter().flatten().collect::<Vec<_>>();
        match here.as_ref().map_err(Error::clone).and_then(|here| plan(store, here, &all)) {
            Ok(changes) => {
                for change in changes {
                    attempts.push(change.attempt(store, publication.key.as_ref(), clock).await);
                }
            }
            Err(error) => attempts.push(Attempt {
                domain: publication.domain.clone(),
                record: None,
                removed: Vec::new(),
                result: Err(error),
            }),
        }
    }
    attempts
}

/// Removes every record that this host has published in places that are `chosen`, with the key for each.
pub async fn withdraw(
    store: &mut Store,
    chosen: impl Fn(&Place) -> bool,
    key: impl Fn(&Place) -> Option<TsigKey>,
    clock: &Clock,
) -> Result<Vec<Attempt>> {
    let own: Vec<Published> =
        store.published()?.into_iter().filter(|published| chosen(&published.place)).collect();
    let mut attempts = Vec::new();
    for change in removals(own) {
        let key = key(&change.place);
        attempts.push(change.attempt(store, key.as_ref(), clock).await);
    }
    Ok(attempts)
}

/// Records of this host in domains where it is not to be published any more.
pub fn left(store: &Store, publications: &[Publication]) -> Result<Vec<Published>> {
    let places: Vec<Place> = publications.iter().filter_map(|publication| publication.place().ok()).collect();
    let mut published = store.published()?;
    published.retain(|published| places.iter().all(|place| place.domain != published.place.domain));
    Ok(published)
}

/// What is to be in one place.
struct Wanted {
    place: Place,
    records: Vec<SrvRecord>,
}

/// What is to be done about one name in one place.
struct Change {
    place: Place,
    owner: String,
    add: Option<SrvRecord>,
    /// Own records that are not meant any more.
    remove: Vec<Published>,
}

/// What is to be done in one place, when this is wanted in all.
fn plan(store: &mut Store, here: &Wanted, all: &[&Wanted]) -> Result<Vec<Change>> {
    let (domain, server) = (&here.place.domain, here.place.server);
    let is_used = |place: &Place| all.iter().any(|wanted| wanted.place == *place);
    for published in store.published()? {
        if published.place.domain == *domain && !is_used(&published.place) {
            store.move_published(domain, published.place.server, server)?;
        }
    }
    let at_home = |place: &Place| *place == here.place;
    let mut own = store.published()?;
    own.retain(|published| {
        let mut wanted =
            all.iter().filter(|wanted| at_home(&wanted.place)).flat_map(|wanted| &wanted.records);
        at_home(&published.place) && !wanted.any(|record| *record == published.record)
    });
    let mut changes = removals(own);
    for record in &here.records {
        match changes.iter_mut().find(|change| change.owner == record.owner && change.add.is_none()) {
            Some(change) => change.add = Some(record.clone()),
            None => changes.push(Change {
                place: here.place.clone(),
                owner: record.owner.clone(),
                add: Some(record.clone()),
                remove: Vec::new(),
            }),
        }
    }
    Ok(changes)
}

/// The removal of all of these, by place and name.
fn removals(own: Vec<Published>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for published in own {
        let (place, owner) = (published.place.clone(), published.record.owner.clone());
        match changes.iter_mut().find(|change| change.place == place && change.owner == owner) {
            Some(change) => change.remove.push(published),
            None => changes.push(Change { place, owner, add: None, remove: vec![published] }),
        }
    }
    changes
}

impl Change {
    async fn attempt(self, store: &mut Store, key: Option<&TsigKey>, clock: &Clock) -> Attempt {
        let result = self.make(store, key, clock).await;
        let removed = self.remove.into_iter().map(|published| published.record).collect();
        Attempt { domain: self.place.domain, record: self.add, removed, result }
    }

    async fn make(&self, store: &mut Store, key: Option<&TsigKey>, clock: &Clock) -> Result<()> {
        let server = NameServer {
            address: self.place.server,
            key,
            zone: record::name(&self.place.domain)?,
            owner: record::name(&self.owner)?,
        };
        let sent = match &self.add {
            Some(record) => Some(store.remember_published(&self.place, record)?),
            None => None,
        };
        let remove: Vec<&SrvRecord> = self.remove.iter().map(|published| &published.record).collect();
        if let Err(failed) = server.update(self.add.as_ref(), &remove, clock.now()).await {
            if let (Failed::Refused(_), Some(id)) = (&failed, sent) {
                store.forget_refused(id)?;
            }
            return Err(failed.into_error());
        }
        let given = server.query().await?;
        let is_added = |record: &&SrvRecord| self.add.as_ref().is_some_and(|add| add.is(record));
        let expected = self.add.iter().map(|record| (record, true));
        // What only gets another TTL is removed and added again.
        let gone = remove.iter().copied().filter(|record| !is_added(record)).map(|record| (record, false));
        for (record, is_there) in expected.chain(gone) {
            if name_server::holds(&given, record)? != is_there {
                let does = if is_there { "does not give out" } else { "still gives out" };
                return Err(server.failed(
                    &format!("the server accepted the update and {does} {record}"),
                    "look for a second primary server of the domain, and name the right one with --dns-server",
                ));
            }
        }
        let gone: Vec<i64> = self.remove.iter().map(|published| published.id).collect();
        let there = sent.zip(self.add.as_ref().map(|record| record.ttl));
        store.confirm_published(there, &gone, clock.now())
    }
}

/// As the mechanism that administrators know publishes a host.
pub const PRIORITY: u16 = 0;
/// Likewise.
pub const WEIGHT: u16 = 0;
/// Likewise: one hour.
pub const TTL: u32 = 3_600;
