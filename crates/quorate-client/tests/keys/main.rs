//! Product keys on machines: installed, changed, removed; and MAKs activated online, through a proxy, by
//! telephone and by files, with the built program against the vendor's real service and a real forward proxy.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod by_hand;
mod installing;
mod later;
mod reaching;

use common::desk::{MAKS, Online, RETAIL_KEYS, SETUP_KEYS, SYSTEM_HOST_KEYS};
use common::peers::{ClosedPort, SilentPort};
use common::proxy::Proxy;
use common::{Hands, OFFICE, Pc, Ran, Vendor, products};
use quorate_client::{Client, registration};
use quorate_core::Interval;
use quorate_core::license_state::{LicenseStatus, Situation};
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_edge::clock::Clock;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const MAK_EDITION: &str = "Contoso Office, Standard edition (MAK)";
const KMS_EDITION: &str = "Contoso Office, Standard edition";
const HOME: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f05";

/// A machine with the Standard edition on which this key has been installed.
fn with_key(number: u32, vendor: &Vendor, key: &ProductKey) -> Pc {
    let pc = Pc::with_product(number, vendor);
    install(&pc, key).succeeds();
    pc
}

fn install(pc: &Pc, key: &ProductKey) -> Ran {
    pc.run(&["install-key", &key.reveal()])
}

fn installation_id(pc: &Pc) -> String {
    let shown = pc.run(&["installation-id"]);
    shown.line("Installation ID").to_owned()
}

fn key_ring(pc: &Pc) -> PathBuf {
    pc.state().join("contoso").join(format!("{OFFICE}.keys.json"))
}

/// Name, activation and status of every edition that is installed.
fn editions(pc: &Pc) -> Vec<[String; 3]> {
    let out = pc.run(&["/dstatusall"]).succeeds();
    let values = |name: &str| {
        let prefix = format!("{name}: ");
        let values = out.lines().filter_map(|line| line.strip_prefix(&prefix).map(ToOwned::to_owned));
        values.collect::<Vec<String>>()
    };
    let (names, activations) = (values("LICENSE NAME"), values("ACTIVATION"));
    let rows = names.into_iter().zip(activations).zip(values("LICENSE STATUS"));
    rows.map(|((name, activation), status)| [name, activation, status]).collect()
}

impl Ran {
    /// It failed for this product.
    #[track_caller]
    fn fails_for(self, product: &str, what: &str, next: &str) {
        self.is_not_activated_product(product, what, next);
    }

    #[track_caller]
    fn is_not_activated_product(&self, product: &str, what: &str, next: &str) {
        assert_eq!(self.err, format!("error {what}\nnext: {next}\n"));
        assert_eq!((self.status, self.out.as_str()), (Some(1), &*format!("{product}: not activated.\n")));
    }
}

const SYSTEM_SETUP_KEYS: &str = r#"
[[key-group]]
number = 121
name = "Contoso OS client setup keys"
sku = "9a1b7c42-3e5d-4f60-8b21-7d4e2f9a6c02"
"#;

/// Changes the license file as somebody could who knows its checksum.
fn edit_store(pc: &Pc, change: impl FnOnce(&mut serde_json::Value)) {
    let path = pc.store("contoso");
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut file["content"]);
    let content = serde_json::to_string(&file["content"]).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content.as_bytes());
    let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(path, format!("{{\"sha256\":\"{sha256}\",\"content\":{content}}}")).unwrap();
}
