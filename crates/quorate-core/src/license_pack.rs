//! License packs: one file per host key, with which a host can be activated by telephone.
//!
//! A pack holds the vendor root, the signed catalog and a number of *slots*. Each slot is a complete
//! vendor-issued credential (certificate chain and private key), sealed with AES-256-GCM under a key derived
//! from that slot's 128-bit secret. A Confirmation ID reveals one secret. So 48 dictated digits give a full
//! X.509 credential, the number of activations is bounded by the vendor, and nobody can make a slot.

use crate::certificate::{Role, VendorRoot};
use crate::identifier::VendorId;
use crate::product_key::{KeyId, Verifier};
use crate::signed::{self, Document};
use crate::{Code, Error, Result, Timestamp};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The signed pack.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LicensePack {
    /// Which vendor.
    pub vendor: VendorId,
    /// The product key that this pack is for.
    pub key: KeyId,
    /// What tells that key from another vendor's of the same number: see [`LicensePack::check_of`].
    pub key_check: String,
    /// The vendor root in DER, as base64: whoever installs the pack decides to trust it.
    pub root: String,
    /// The signed catalog.
    pub catalog: String,
    /// The signed revocation list of the day.
    pub revocations: String,
    /// The sealed credentials.
    pub slots: Vec<SealedSlot>,
}

impl Document for LicensePack {
    const TYPE: &'static str = "quorate-pack+jws";
    const CALLED: &'static str = "a license pack";
    const ROLES: &'static [Role] = &[Role::Issuer];

    fn vendor(&self) -> Option<&VendorId> {
        Some(&self.vendor)
    }
}

impl LicensePack {
    /// Reads a pack and verifies it against the root that it brings along. The caller compares that root
    /// with the one he trusts for this vendor already, if any.
    pub fn open(jws: &str, now: Timestamp) -> Result<(LicensePack, VendorRoot)> {
        // The root is inside; it is believed because the pack verifies against it, and is the caller's to trust.
        let claimed: LicensePack = signed::peek(jws)?;
        let root = BASE64.decode(&claimed.root).map_err(|error| damaged(&error.to_string()))?;
        let root = VendorRoot::from_der(root)?;
        let verified = signed::verify::<LicensePack>(jws, &root, &claimed.vendor, now)?;
        Ok((verified.document, root))
    }

    /// What a pack says of its key beyond the number: the first 16 bits of a code under the key's verifier, in
    /// hexadecimal. A key of another vendor passes once in 65,536 times; whoever has the pack alone and searches for the
    /// key's 50 bits is left with 2³⁴ keys, of which he can tell none from the other.
    pub fn check_of(vendor: &VendorId, key: KeyId, verifier: &Verifier) -> String {
        let [a, b, ..] = verifier.tag("license pack", format!("{vendor}|{key}").as_bytes());
        format!("{a:02x}{b:02x}")
    }

    /// Refuses a product key that is not the one this pack is for. Vendors number their keys alike, so the number
    /// alone does not tell.
    pub fn check_key(&self, key: KeyId, verifier: &Verifier) -> Result<()> {
        let (what, next) = if self.key != key {
            (
                format!("the license pack is for product key {}, the key given is {key}", self.key),
                "use the product key and the license pack that belong together",
            )
        } else if self.key_check != Self::check_of(&self.vendor, key, verifier) {
            (
                format!(
                    "the product key has the number {key}, but is not the key of vendor {} with it",
                    self.vendor
                ),
                "it is another vendor's, or the license pack is: use those that belong together",
            )
        } else {
            return Ok(());
        };
        Err(Error::new(Code::ProductKeyUnsuited, what, next))
    }

    /// The credential in whichever slot this secret opens.
    pub fn unseal(&self, secret: &SlotSecret) -> Option<Credential> {
        self.slots.iter().find_map(|slot| slot.unseal(secret, &self.vendor, self.key))
    }
}

/// One sealed credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SealedSlot {
    /// Its number within the pack.
    pub number: u32,
    /// The ciphertext and tag, as base64.
    pub sealed: String,
}

impl SealedSlot {
    /// Seals a credential under a secret that is used for this slot alone.
    pub fn seal(
        number: u32,
        credential: &Credential,
        secret: &SlotSecret,
        vendor: &VendorId,
        key: KeyId,
    ) -> Result<Self> {
        let text = Zeroizing::new(
            serde_json::to_vec(&credential.to_text()).map_err(|error| sealing(&error.to_string()))?,
        );
        let mut sealed = text.to_vec();
        let context = context(vendor, key, number);
        sealing_key(secret, &context)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key([0; NONCE_LEN]),
                Aad::from(&context),
                &mut sealed,
            )
            .map_err(|error| sealing(&error.to_string()))?;
        Ok(Self { number, sealed: BASE64.encode(sealed) })
    }

    fn unseal(&self, secret: &SlotSecret, vendor: &VendorId, key: KeyId) -> Option<Credential> {
        let mut sealed = Zeroizing::new(BASE64.decode(&self.sealed).ok()?);
        let context = context(vendor, key, self.number);
        let text = sealing_key(secret, &context)
            .open_in_place(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::from(&context), &mut sealed)
            .ok()?;
        let text: CredentialText = serde_json::from_slice(text).ok()?;
        Credential::from_text(&text)
    }
}

/// The 128 bits that open one slot.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SlotSecret([u8; 16]);

impl SlotSecret {
    /// A secret from random bytes, or read back from a store.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The secret, for keeping in the vendor's store.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Debug for SlotSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SlotSecret(…)")
    }
}

/// A certificate chain with its private key: what makes a machine an activation host.
#[derive(Clone)]
pub struct Credential {
    /// End entity first; the root is not included.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key in PKCS #8.
    pub private_key: Zeroizing<Vec<u8>>,
}

impl Credential {
    /// The credential as JSON text, for sealing or for a store that is itself protected.
    pub fn to_text(&self) -> CredentialText {
        CredentialText {
            chain: self.chain.iter().map(|der| BASE64.encode(der)).collect(),
            private_key: BASE64.encode(self.private_key.as_slice()),
        }
    }

    /// Reads what [`Credential::to_text`] wrote.
    pub fn from_text(text: &CredentialText) -> Option<Self> {
        let chain = text.chain.iter().map(|der| BASE64.decode(der).map(CertificateDer::from));
        Some(Self {
            chain: chain.collect::<std::result::Result<_, _>>().ok()?,
            private_key: Zeroizing::new(BASE64.decode(&text.private_key).ok()?),
        })
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({} certificates)", self.chain.len())
    }
}

/// A credential as text; wiped when dropped.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "kebab-case")]
pub struct CredentialText {
    chain: Vec<String>,
    private_key: String,
}

/// Binds a sealed slot to its place, so that slots cannot be moved between packs.
fn context(vendor: &VendorId, key: KeyId, number: u32) -> Vec<u8> {
    format!("quorate slot 1|{vendor}|{key}|{number}").into_bytes()
}

/// The key of one slot. It seals one message only, so a constant nonce is sound.
fn sealing_key(secret: &SlotSecret, context: &[u8]) -> LessSafeKey {
    let info = [context];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"quorate slot")
        .extract(secret.as_bytes())
        .expand(&info, &AES_256_GCM)
        .map(UnboundKey::from)
        // HKDF-SHA256 gives up to 8160 bytes, AES-256 takes 32.
        .expect("HKDF gives a key of the length the cipher asked for");
    LessSafeKey::new(key)
}

fn sealing(why: &str) -> Error {
    Error::new(Code::Internal, format!("a slot cannot be sealed ({why})"), "please report this")
}

fn damaged(why: &str) -> Error {
    Error::new(
        Code::DocumentInvalid,
        format!("this license pack is damaged ({why})"),
        "download the license pack again from the vendor",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_opens_with_its_secret_in_its_place_alone() {
        let vendor: VendorId = "contoso".parse().unwrap();
        let key = KeyId::new(96, 4).unwrap();
        let credential = Credential {
            chain: vec![CertificateDer::from(vec![1, 2, 3])],
            private_key: Zeroizing::new(vec![4, 5, 6]),
        };
        let secret = SlotSecret::from_bytes([7; 16]);
        let slot = SealedSlot::seal(3, &credential, &secret, &vendor, key).unwrap();
        let opened = slot.unseal(&secret, &vendor, key).unwrap();
        assert_eq!(opened.chain, credential.chain);
        assert_eq!(opened.private_key, credential.private_key);

        assert!(slot.unseal(&SlotSecret::from_bytes([8; 16]), &vendor, key).is_none());
        assert!(slot.unseal(&secret, &vendor, KeyId::new(96, 5).unwrap()).is_none());
        assert!(slot.unseal(&secret, &"fabrikam".parse().unwrap(), key).is_none());
        let moved = SealedSlot { number: 4, ..slot };
        assert!(moved.unseal(&secret, &vendor, key).is_none());
    }
}
