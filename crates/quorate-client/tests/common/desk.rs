//! What the vendor offers machines with a product key of their own: its service over real HTTPS, and its phone
//! desk.

use super::Vendor;
use quorate_core::product_key::ProductKey;
use quorate_edge::server;
use quorate_vendor::command::serve;
use quorate_vendor::keys::Issue;
use quorate_vendor::service::Service;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The groups of keys in the shipped example.
pub const MAKS: u16 = 97;
pub const RETAIL_KEYS: u16 = 98;
pub const SETUP_KEYS: u16 = 99;
pub const SYSTEM_HOST_KEYS: u16 = 120;

/// A service that runs until the test ends.
pub struct Online {
    pub address: SocketAddr,
}

impl Online {
    /// Serves this vendor.
    pub async fn serve(vendor: &Vendor) -> Self {
        let service = Service::open(&vendor.directory.path().join("vendor"), vendor.clock.clone()).unwrap();
        let name = service.service_name().unwrap();
        let tls = service.authority().service_tls(&name, vendor.clock.now()).unwrap();
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(service, tls, listener, std::future::pending()));
        Self { address }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Vendor {
    /// A product key of this group.
    pub fn key(&mut self, group: u16) -> ProductKey {
        self.service.issue_few(&Issue::of(group, 1)).unwrap().remove(0)
    }

    /// A license pack of this many slots for a key, in a file.
    pub fn pack(&mut self, key: &ProductKey, slots: u32) -> PathBuf {
        let file = self.directory.path().join(format!("{}.pack", key.id()));
        std::fs::write(&file, self.service.pack(key.id(), slots).unwrap()).unwrap();
        file
    }

    /// What the phone desk reads out for this Installation ID.
    pub fn confirm(&mut self, installation_id: &str) -> String {
        self.service.confirm(&installation_id.parse().unwrap()).unwrap().confirmation_id.to_string()
    }
}
