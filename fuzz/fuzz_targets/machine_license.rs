//! Machine licenses: whatever is done to one, it is refused or it still says what was signed, whoever signed it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::activation::Trust;
use quorate_core::catalog::Catalog;
use quorate_core::extended_pid::ExtendedPid;
use quorate_core::hardware::HardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::machine_license::{self, MachineLicense};
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_fuzz::vendor::{self, Vendor, noon};
use quorate_fuzz::{Edit, Part};
use std::sync::LazyLock;

fuzz_target!(|input: (bool, Part, Edit<'_>)| {
    let (by_machine, part, edit) = input;
    let Genuine { vendor, catalog, license, jws } = &*GENUINE;
    let trust = Trust { root: &vendor.root, vendor: &vendor.id, catalog, newest_revocations: 0 };
    let accept = |jws: &str| machine_license::accept(jws, &license.installation_id, license.hardware, trust);
    if let Ok(text) = str::from_utf8(edit.piece()) {
        assert!(accept(text).is_err());
    }
    if let Ok(accepted) = accept(&part.edit(&jws[usize::from(by_machine)], &edit)) {
        assert_eq!(&accepted, license);
    }
});

struct Genuine {
    vendor: Vendor,
    catalog: Catalog,
    license: MachineLicense,
    /// By the issuer, and by the machine.
    jws: [String; 2],
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let vendor = Vendor::new("contoso");
    let key = ProductKey::new(KeyId::new(97, 1).expect("both are in range"), [1; 8]);
    let hardware = HardwareId::from_bytes(&[1; 32]).expect("it is long enough");
    let license = MachineLicense {
        vendor: vendor.id.clone(),
        installation_id: InstallationId::new(key.id(), &key.verifier(), hardware.short(), 1),
        hardware,
        sku: vendor::id(vendor::OFFICE_MAK).parse().expect("it is a GUID"),
        extended_pid: ExtendedPid { key: key.id(), ..vendor::entitlement("office-clients").extended_pid },
        granted: noon(),
    };
    let jws = [vendor.issuer(), vendor.machine(key.id())]
        .map(|holder| holder.signer().sign(&license).expect("the signer holds a key"));
    Genuine { catalog: vendor::catalog(&vendor.id), vendor, license, jws }
});
