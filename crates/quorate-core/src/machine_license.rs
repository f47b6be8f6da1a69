//! Machine licenses: what a machine that has its own product key, a MAK or a retail key, is activated by.
//!
//! One signed document for one Installation ID, that is for one product key on one machine. The vendor's service
//! signs it, online or for a machine without a network. By telephone, 48 digits cannot carry it: there the
//! Confirmation ID opens a slot of the key's license pack, and with the credential in it the machine signs the
//! same document itself, and forgets the private key. Either way the chain ends in the vendor root, and the
//! document is worth nothing on another machine.

use crate::activation::Trust;
use crate::catalog::Sku;
use crate::certificate::Role;
use crate::extended_pid::ExtendedPid;
use crate::hardware::HardwareId;
use crate::identifier::{ActivationId, VendorId};
use crate::installation_id::InstallationId;
use crate::product_key::KeyId;
use crate::signed::{self, Document, Signer};
use crate::{Code, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

/// The signed document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineLicense {
    /// Which vendor.
    pub vendor: VendorId,
    /// Which key, on which machine.
    pub installation_id: InstallationId,
    /// The machine's whole hardware id, of which the Installation ID has room for the beginning alone.
    pub hardware: HardwareId,
    /// The edition that is licensed.
    pub sku: ActivationId,
    /// The extended PID of this activation.
    pub extended_pid: ExtendedPid,
    /// When it was granted, by the clock of whoever signed it.
    pub granted: Timestamp,
}

impl Document for MachineLicense {
    const TYPE: &'static str = "quorate-license+jws";
    const CALLED: &'static str = "a machine license";
    const ROLES: &'static [Role] = &[Role::Issuer, Role::Machine];

    fn vendor(&self) -> Option<&VendorId> {
        Some(&self.vendor)
    }
}

impl MachineLicense {
    /// Signs the license of a machine that was activated by telephone, with what its slot held.
    pub fn sign_by_machine(
        installation_id: InstallationId,
        hardware: HardwareId,
        extended_pid: ExtendedPid,
        trust: Trust<'_>,
        signer: &Signer,
        now: Timestamp,
    ) -> Result<String> {
        let sku = licensed_sku(installation_id.key(), trust)?.id;
        signer.sign(&Self {
            vendor: trust.vendor.clone(),
            installation_id,
            hardware,
            sku,
            extended_pid,
            granted: now,
        })
    }
}

/// Accepts a license that was just given for `installation_id`, on this hardware.
pub fn accept(
    jws: &str,
    installation_id: &InstallationId,
    hardware: HardwareId,
    trust: Trust<'_>,
) -> Result<MachineLicense> {
    let license = verify(jws, installation_id.key(), trust)?;
    if license.installation_id == *installation_id && license.hardware == hardware {
        return Ok(license);
    }
    Err(Error::new(
        Code::ResponseMismatch,
        format!(
            "the license is for Installation ID {}, this machine's is {installation_id}",
            license.installation_id
        ),
        "export a request on this machine (`quorate export-request FILE`) and have that answered",
    ))
}

/// Verifies a license for a product key as of the time when it was given, since what signed it may end before
/// the license does. This is done whenever one is read from the store.
pub fn verify(jws: &str, key: KeyId, trust: Trust<'_>) -> Result<MachineLicense> {
    let at = signed::peek::<MachineLicense>(jws)?.granted;
    let verified = signed::verify::<MachineLicense>(jws, trust.root, trust.vendor, at)?;
    let license = verified.document;
    let mismatch = |what: String| {
        Error::new(Code::ResponseMismatch, what, "activate again: `quorate activate`, or by telephone")
    };
    let for_key = license.installation_id.key();
    if for_key != key {
        return Err(mismatch(format!("the license is for product key {for_key}, not for {key}")));
    }
    if license.extended_pid.key != key {
        return Err(mismatch(format!(
            "the license names product key {key} and key {}",
            license.extended_pid.key
        )));
    }
    if license.hardware.short() != license.installation_id.hardware() {
        return Err(mismatch("the license names two machines".to_owned()));
    }
    // The vendor speaks for every key; a machine for the key of its slot alone.
    let slot = verified.signer.entitlement.map(|entitlement| entitlement.key);
    if verified.role != Role::Issuer && slot != Some(key) {
        let slot = slot.map_or_else(|| "no key".to_owned(), |slot| format!("key {slot}"));
        return Err(Error::new(
            Code::NotEntitled,
            format!("the license for product key {key} was signed with a slot of {slot}"),
            "use the license pack that belongs to the key",
        ));
    }
    let sku = licensed_sku(key, trust)?;
    if license.sku != sku.id {
        return Err(mismatch(format!(
            "the license is for product {}; product key {key} licenses {} ({})",
            license.sku, sku.name, sku.id
        )));
    }
    Ok(license)
}

/// The SKU that a product key licenses on the machine on which it is installed, by the catalog.
pub fn licensed_sku(key: KeyId, trust: Trust<'_>) -> Result<&Sku> {
    let products = &trust.catalog.products;
    let sku = products.key_group(key.group()).and_then(|group| products.sku(group.sku));
    let Some(sku) = sku else {
        return Err(Error::new(
            Code::ProductKeyUnsuited,
            format!(
                "catalog {} of {} has no key group {}: the product key is another vendor's, or newer",
                trust.catalog.number,
                trust.catalog.vendor_name,
                key.group()
            ),
            "compare the key with its certificate; register the vendor's newest catalog: `quorate register`",
        ));
    };
    if sku.channel.has_own_key() {
        return Ok(sku);
    }
    Err(Error::new(
        Code::ProductKeyUnsuited,
        format!("product key {key} is for {} ({}), which no service activates", sku.name, sku.channel),
        "a KMS client is activated by a host of its network: `quorate activate`",
    ))
}
