//! The key ring: what proves that product keys are held, in a file of the owner alone.
//!
//! The keys themselves are not kept, only the verifiers that are derived from them. Changing the ring is for
//! whoever holds the store's lock.

use crate::sealed_file::{self, Found};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::{KeyId, ProductKey, Verifier};
use quorate_core::{Code, Error, Result};
use quorate_edge::files::Access;
use quorate_edge::random;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The keys that are held for one application's product.
#[derive(Debug)]
pub struct KeyRing {
    path: PathBuf,
    keys: Vec<HeldKey>,
}

/// A key that is held.
#[derive(Clone, Debug)]
pub struct HeldKey {
    /// Group and serial.
    pub id: KeyId,
    /// What proves it.
    pub verifier: Verifier,
    /// The license pack that came with it, for activation by telephone.
    pub pack: Option<String>,
    nonce: u16,
}

impl HeldKey {
    /// A key as it was typed.
    pub fn new(key: &ProductKey, pack: Option<String>) -> Self {
        let nonce = u16::from_be_bytes(random::bytes());
        Self { id: key.id(), verifier: key.verifier(), pack, nonce }
    }

    /// The Installation ID of this hardware for the key: the same until the key is installed anew.
    pub fn installation_id(&self, hardware: ShortHardwareId) -> InstallationId {
        InstallationId::new(self.id, &self.verifier, hardware, self.nonce)
    }
}

impl KeyRing {
    /// Reads the ring; without a file, it is empty.
    pub fn read(path: PathBuf) -> Result<Self> {
        let entries = match sealed_file::read::<Vec<Entry>>(&path)? {
            Found::Whole(entries) => entries,
            Found::Missing => Vec::new(),
            Found::Damaged(error) => return Err(install_again(error.what)),
        };
        let keys = entries.into_iter().map(Entry::read).collect::<Option<Vec<HeldKey>>>();
        let damaged = || install_again(format!("{} is damaged: a verifier cannot be read", path.display()));
        Ok(Self { keys: keys.ok_or_else(damaged)?, path })
    }

    /// The ring to put a key into: one that is damaged gives way, since its keys must be typed again anyway.
    pub fn to_change(path: PathBuf) -> Result<Self> {
        match Self::read(path.clone()) {
            Err(error) if error.code == Code::StoreDamaged => Ok(Self { path, keys: Vec::new() }),
            read => read,
        }
    }

    /// A key that is installed.
    pub fn get(&self, id: KeyId) -> Result<&HeldKey> {
        self.keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| install_again(format!("{} does not hold product key {id}", self.path.display())))
    }

    /// Adds a key. The same key again keeps its Installation ID, and its pack unless it came with a newer one; another
    /// of the same number is not taken for it.
    pub fn add(&mut self, key: HeldKey) -> Result<()> {
        match self.keys.iter_mut().find(|held| held.id == key.id) {
            Some(held) if held.verifier == key.verifier => held.pack = key.pack.or(held.pack.take()),
            Some(_) => {
                return Err(Error::new(
                    Code::ProductKeyUnsuited,
                    format!(
                        "another product key with the number {} is installed: one of both is another vendor's",
                        key.id
                    ),
                    format!(
                        "compare both with their certificates; to change it, first `quorate remove-key {}`",
                        key.id
                    ),
                ));
            }
            None => self.keys.push(key),
        }
        self.write()
    }

    /// Forgets a key.
    pub fn remove(&mut self, id: KeyId) -> Result<()> {
        self.keys.retain(|key| key.id != id);
        self.write()
    }

    fn write(&self) -> Result<()> {
        let entries: Vec<Entry> = self.keys.iter().map(Entry::of).collect();
        sealed_file::write(&self.path, &entries, Access::Private)
    }
}

/// A key in the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    id: KeyId,
    verifier: Zeroizing<String>,
    nonce: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pack: Option<String>,
}

impl Entry {
    fn of(key: &HeldKey) -> Self {
        let verifier = Zeroizing::new(BASE64.encode(key.verifier.as_bytes()));
        Self { id: key.id, verifier, nonce: key.nonce, pack: key.pack.clone() }
    }

    fn read(self) -> Option<HeldKey> {
        let bytes = Zeroizing::new(BASE64.decode(self.verifier.as_bytes()).ok()?);
        let verifier = Verifier::from_bytes(bytes.as_slice().try_into().ok()?);
        Some(HeldKey { id: self.id, verifier, pack: self.pack, nonce: self.nonce })
    }
}

fn install_again(what: String) -> Error {
    Error::new(Code::StoreDamaged, what, "install the product key again: `quorate install-key`")
}
