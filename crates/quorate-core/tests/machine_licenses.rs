//! A machine license counts only when the vendor, or a slot of the very key's license pack, has signed it for
//! this key, on this machine, for the edition that the key licenses.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Holder, OFFICE, OFFICE_MAK, Vendor, catalog, entitlement, id, noon};
use quorate_core::activation::Trust;
use quorate_core::catalog::Catalog;
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::hardware::HardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::machine_license::{self, MachineLicense};
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Code, Result, Timestamp};

#[test]
fn the_vendor_and_a_slot_of_the_key_may_sign() {
    let story = Story::new();
    let license = story.license();
    for signer in [story.vendor.issuer(), story.vendor.machine(key(1))] {
        let jws = signer.signer().sign(&license).unwrap();
        assert_eq!(
            machine_license::accept(&jws, &license.installation_id, hardware(1), story.trust()),
            Ok(license.clone())
        );
    }
}

#[test]
fn a_machine_signs_what_its_key_licenses() {
    let story = Story::new();
    let license = story.license();
    let signer = story.vendor.machine(key(1)).signer();
    let sign = |iid| {
        MachineLicense::sign_by_machine(
            iid,
            hardware(1),
            license.extended_pid.clone(),
            story.trust(),
            &signer,
            noon(),
        )
    };
    let jws = sign(license.installation_id).unwrap();
    assert_eq!(
        machine_license::accept(&jws, &license.installation_id, hardware(1), story.trust()),
        Ok(license.clone())
    );

    let error = sign(iid(KeyId::new(99, 1).unwrap(), 1)).unwrap_err();
    assert_eq!(error.code, Code::ProductKeyUnsuited);
    assert_eq!(
        error.what,
        "product key 00099-000-000001 is for Office Standard (VOLUME_KMSCLIENT channel), which no service activates"
    );
}

#[test]
fn nobody_else_may_sign() {
    let story = Story::new();
    story.refused(&story.vendor.host(), &story.license(), Code::CertificateWrongName);
    story.refused(&Vendor::new("contoso").issuer(), &story.license(), Code::UntrustedRoot);
    story.refused(&Vendor::new("fabrikam").machine(key(1)), &story.license(), Code::UntrustedRoot);
    let error = story.refused(&story.vendor.machine(key(2)), &story.license(), Code::NotEntitled);
    assert_eq!(
        error,
        "the license for product key 00097-000-000001 was signed with a slot of key 00097-000-000002"
    );
}

#[test]
fn a_license_is_for_one_key_one_machine_and_one_edition() {
    let story = Story::new();
    let issuer = story.vendor.issuer();
    let refused = |change: &dyn Fn(&mut MachineLicense), code| {
        let mut license = story.license();
        change(&mut license);
        story.refused(&issuer, &license, code)
    };
    assert_eq!(
        refused(&|license| license.installation_id = iid(key(2), 1), Code::ResponseMismatch),
        "the license is for product key 00097-000-000002, not for 00097-000-000001"
    );
    assert_eq!(
        refused(&|license| license.extended_pid.key = key(2), Code::ResponseMismatch),
        "the license names product key 00097-000-000001 and key 00097-000-000002"
    );
    let other_machine = iid(key(1), 2);
    assert_eq!(
        refused(&|license| license.installation_id = other_machine, Code::ResponseMismatch),
        "the license names two machines"
    );
    let both = |license: &mut MachineLicense| {
        (license.installation_id, license.hardware) = (other_machine, hardware(2));
    };
    assert_eq!(
        refused(&both, Code::ResponseMismatch),
        format!(
            "the license is for Installation ID {other_machine}, this machine's is {}",
            story.license().installation_id
        )
    );
    assert!(refused(&|license| license.sku = id(OFFICE).parse().unwrap(), Code::ResponseMismatch).ends_with(
        "product key 00097-000-000001 licenses Office Standard MAK (00000000-0000-4000-8000-00000000000c)"
    ));
    refused(&|license| license.vendor = "fabrikam".parse().unwrap(), Code::CertificateWrongName);
    // Before any certificate of the chain had begun, or after all have ended.
    for granted in ["2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z"] {
        let granted: Timestamp = granted.parse().unwrap();
        refused(&|license| license.granted = granted, Code::CertificateExpired);
    }
}

#[test]
fn a_key_of_an_unknown_group_licenses_nothing() {
    let story = Story::new();
    let jws = story.vendor.issuer().signer().sign(&story.license()).unwrap();
    let unknown = machine_license::verify(&jws, KeyId::new(500, 1).unwrap(), story.trust());
    assert_eq!(unknown.unwrap_err().code, Code::ResponseMismatch);
    let error = machine_license::licensed_sku(KeyId::new(500, 1).unwrap(), story.trust()).unwrap_err();
    assert_eq!(
        error.what,
        "catalog 3 of Contoso has no key group 500: the product key is another vendor's, or newer"
    );
}

struct Story {
    vendor: Vendor,
    catalog: Catalog,
}

impl Story {
    fn new() -> Self {
        let vendor = Vendor::new("contoso");
        let catalog = catalog(&vendor.id);
        Self { vendor, catalog }
    }

    fn trust(&self) -> Trust<'_> {
        let Self { vendor, catalog } = self;
        Trust { root: &vendor.root, vendor: &vendor.id, catalog, newest_revocations: 1 }
    }

    /// For the first MAK on the first machine.
    fn license(&self) -> MachineLicense {
        MachineLicense {
            vendor: self.vendor.id.clone(),
            installation_id: iid(key(1), 1),
            hardware: hardware(1),
            sku: id(OFFICE_MAK).parse().unwrap(),
            extended_pid: ExtendedPid { key: key(1), ..entitlement("office-clients").extended_pid },
            granted: noon(),
        }
    }

    /// Why a machine with the first MAK refuses a license.
    fn refused(&self, signer: &Holder, license: &MachineLicense, code: Code) -> String {
        let jws = signer.signer().sign(license).unwrap();
        let expected = iid(key(1), 1);
        let accepted: Result<_> = machine_license::accept(&jws, &expected, hardware(1), self.trust());
        let error = accepted.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        error.what
    }
}

fn key(serial: u32) -> KeyId {
    KeyId::new(97, serial).unwrap()
}

fn iid(key: KeyId, machine: u8) -> InstallationId {
    let verifier = ProductKey::new(key, [9; 8]).verifier();
    InstallationId::new(key, &verifier, hardware(machine).short(), 0)
}

fn hardware(machine: u8) -> HardwareId {
    HardwareId::from_bytes(&[machine; 32]).unwrap()
}
