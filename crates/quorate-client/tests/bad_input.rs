//! What `quorate` says of files and arguments that cannot be used, to the letter; and that it changes
//! nothing then.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{ALL_EDITIONS, EDITIONS, PROFESSIONAL, Pc, Ran, STANDARD, Vendor, products, quorate};
use std::path::{Path, PathBuf};

#[test]
fn nothing_works_before_a_product_is_registered() {
    let pc = Pc::new(1);
    for arguments in
        [&["status"][..], &["activate"], &["set-host", "kms.corp.test"], &["clear-host"], &["discover"]]
    {
        pc.run(arguments).fails(
            &format!("Q605: no product is registered in {}", pc.state().display()),
            "`quorate register CATALOG --root FILE`, or name the directory with --dir",
        );
    }
    assert!(!pc.state().exists());
}

#[test]
fn a_state_directory_that_is_a_file_is_named() {
    let pc = Pc::new(1);
    std::fs::write(pc.state(), "").unwrap();
    pc.run(&["status"]).fails(
        &format!("Q601: {} cannot be read: not a directory", pc.state().display()),
        "check the disk and the path",
    );
}

#[test]
fn a_catalog_that_cannot_be_read_is_refused() {
    let shop = Shop::new();
    let missing = shop.vendor.directory.path().join("none.jws");
    shop.register(&missing, &[]).fails(
        &format!("Q601: {} cannot be read: no such file or directory", missing.display()),
        "check the path",
    );
    shop.register(&shop.file(b"\xff\xfe\x00"), &[]).fails(
        &format!("Q209 (0x8007000D): {} is not a text file", shop.changed().display()),
        "give the file that was meant",
    );
    let give = "give the file or address of a catalog";
    for garbage in ["", "garbage", "a.b.c", "{}"] {
        shop.register(&shop.file(garbage.as_bytes()), &[])
            .fails_from("Q209 (0x8007000D): this is not a catalog (", give);
    }
    // Cut anywhere, it is no catalog any more.
    let whole = shop.catalog();
    for length in [10, whole.find('.').unwrap(), whole.rfind('.').unwrap(), whole.len() - 2] {
        let ran = shop.register(&shop.file(&whole.as_bytes()[..length]), &[]);
        assert_eq!(ran.status, Some(1), "cut to {length} bytes: {ran:?}");
        assert!(ran.err.starts_with("error Q20"), "cut to {length} bytes: {ran:?}");
    }
    shop.register(&shop.vendor.root(), &[]).fails_from("Q209 (0x8007000D): this is not a catalog (", give);
    assert!(!shop.pc.state().exists());
}

#[test]
fn a_catalog_that_was_changed_after_signing_is_refused() {
    let shop = Shop::new();
    let whole = shop.catalog();
    let [header, payload, signature] = whole.split('.').collect::<Vec<_>>()[..] else { panic!("{whole}") };
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let lower = payload.replace("\"threshold\":25", "\"threshold\":1");
    assert_ne!(lower, payload);
    let changed = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(lower));
    shop.register(&shop.file(changed.as_bytes()), &[]).fails(
        "Q205: the signature of a catalog does not match: it was changed after signing",
        "fetch it again; if this repeats, someone on the way is changing it",
    );
    assert!(!shop.pc.state().exists());
}

#[test]
fn a_catalog_under_another_vendors_root_is_refused() {
    let (shop, other) = (Shop::new(), Vendor::new("fabrikam"));
    shop.register_with(&other.catalog(), &shop.vendor.root(), &[]).fails(
        "Q201: the certificate does not chain to the root of vendor fabrikam",
        &format!(
            "this machine trusts the root with SHA-256 {}…; ask the vendor for its own",
            shop.vendor.fingerprint()
        ),
    );
    assert!(!shop.pc.state().exists());
}

#[test]
fn a_vendor_that_is_registered_keeps_its_root() {
    let (shop, impostor) = (Shop::new(), Vendor::new("contoso"));
    shop.register(&shop.vendor.catalog(), &["--product", STANDARD]).succeeds();
    shop.register_with(&impostor.catalog(), &impostor.root(), &["--product", STANDARD]).fails(
        &format!(
            "Q201: vendor contoso is registered here with another root (SHA-256 {}…)",
            shop.vendor.fingerprint()
        ),
        &format!(
            "ask the vendor; if it has a new root, remove {} first",
            shop.pc.state().join("contoso").display()
        ),
    );
}

#[test]
fn a_root_that_is_none_is_refused() {
    let shop = Shop::new();
    let catalog = shop.vendor.catalog();
    shop.register_with(&catalog, &shop.file(b"not a certificate"), &[]).fails(
        &format!(
            "Q209 (0x8007000D): {} is not a certificate in PEM (no items found)",
            shop.changed().display()
        ),
        "give the vendor's root certificate, vendor-root.pem",
    );
    let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    shop.register_with(&catalog, &shop.file(empty), &[]).fails_from(
        "Q209 (0x8007000D): the vendor root is not a root certificate (",
        "fetch the vendor's root certificate again",
    );
    let missing = shop.vendor.directory.path().join("none.pem");
    shop.register_with(&catalog, &missing, &[]).fails(
        &format!("Q601: {} cannot be read: no such file or directory", missing.display()),
        "check the path",
    );
    assert!(!shop.pc.state().exists());
}

#[test]
fn an_older_catalog_does_not_take_the_place_of_a_newer() {
    let mut shop = Shop::new();
    let older = shop.file(shop.catalog().as_bytes());
    shop.vendor.import(&products("contoso", 4));
    shop.register(&shop.vendor.catalog(), &["--product", STANDARD]).succeeds();
    let kept = shop.pc.state().join("contoso/catalog.jws");
    let before = std::fs::read(&kept).unwrap();
    shop.register(&older, &["--product", STANDARD])
        .fails("Q207: this is catalog 1, but 2 is registered already", "use the vendor's newest catalog");
    assert_eq!(std::fs::read(&kept).unwrap(), before);
    // The same catalog again is no mistake.
    shop.register(&shop.vendor.catalog(), &["--product", STANDARD]).succeeds();
}

#[test]
fn an_edition_must_be_named_and_known() {
    let shop = Shop::new();
    let catalog = shop.vendor.catalog();
    shop.register(&catalog, &[]).fails(
        "Q102 (0xC004F035): the catalog has 3 editions that hosts activate",
        &format!("name one with --product: {EDITIONS}"),
    );
    let host_edition = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f01";
    for unknown in ["00000000-0000-4000-8000-000000000000", host_edition] {
        shop.register(&catalog, &["--product", unknown]).fails(
            &format!("Q102 (0xC004F035): catalog 1 has no edition {unknown} for machines"),
            &format!("name one of: {ALL_EDITIONS}"),
        );
    }
    let ran = shop.register(&catalog, &["--product", "Standard"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.err.contains("\"Standard\" is not an activation id"), "{ran:?}");
    assert!(!shop.pc.state().exists());
}

#[test]
fn an_edition_that_the_newest_catalog_has_dropped_is_named() {
    let mut shop = Shop::new();
    shop.register(&shop.vendor.catalog(), &["--product", STANDARD]).succeeds();
    let without = shop_without_standard();
    shop.vendor.import(&without);
    // Another edition of another application brings the newer catalog along.
    shop.register(&shop.vendor.catalog(), &["--product", "9a1b7c42-3e5d-4f60-8b21-7d4e2f9a6c02"]).succeeds();
    let ran = shop.pc.run(&["status"]);
    assert_eq!(
        ran.err,
        format!(
            "error Q102 (0xC004F035): catalog 2 of contoso Ltd has no product {STANDARD}\n\
             next: register the vendor's newest catalog: `quorate register`\n"
        )
    );
    // Registering what is installed now puts it right.
    shop.register(&shop.vendor.catalog(), &["--product", PROFESSIONAL]).succeeds();
    let status = shop.pc.run(&["status"]).succeeds();
    assert_eq!(status.matches("LICENSE STATUS: ---OOB_GRACE---").count(), 2, "{status}");
}

#[test]
fn a_host_that_is_no_address_is_refused_and_not_kept() {
    let shop = Shop::new();
    let pc = &shop.pc;
    shop.register(&shop.vendor.catalog(), &["--product", STANDARD]).succeeds();
    pc.run(&["set-host", "kms.corp.test:1700"]).succeeds();
    let neither = "it has neither the form of a domain name nor of an IP address";
    let port = "a port is a number from 1 to 65535";
    let url = "it is a URL, and a host name or an IP address is wanted";
    let too_long = "a".repeat(64);
    for (typed, why) in [
        ("", neither),
        (" ", neither),
        ("kms corp", neither),
        ("kms..corp", neither),
        ("kms/corp", neither),
        ("https://kms.corp.test", url),
        ("käse.corp.test", neither),
        ("192.0.2.256", neither),
        ("192.0.2", neither),
        ("[2001:db8::10", port),
        ("[2001:db8::10]1688", "a colon must follow the bracket"),
        ("[2001:db8::10]:", port),
        ("[2001:db8::g]:1688", neither),
        (&too_long, neither),
        ("kms:0", port),
        ("kms:65536", port),
        ("kms:-1", port),
        ("kms:", port),
        ("kms:1688:1688", port),
        ("192.0.2.10:70000", port),
    ] {
        let shown = if typed.len() > 60 { format!("{:?}…", &typed[..60]) } else { format!("{typed:?}") };
        pc.run(&["set-host", "--", typed]).fails(
            &format!("Q507: {shown} is not a host: {why}"),
            "write it as in \"kms.example.com\", \"192.0.2.10:1688\" or \"[2001:db8::10]:1688\"",
        );
    }
    assert_eq!(pc.run(&["status"]).line("HOST"), "kms.corp.test:1700 (set by hand)");
}

/// Slash forms that are none of this program's; what was typed behind the colon may be a key.
#[test]
fn a_slash_form_of_another_program_is_sent_there() {
    let pc = Pc::new(1);
    for (typed, what) in [
        ("/ipk:BCDFG", "/ipk is not a command of quorate: type `quorate-host ipk`"),
        ("/DLV", "/dlv is not a command of quorate: type `quorate-host dlv`"),
        (
            "/skms",
            "quorate does not know this slash form; it knows /dstatus, /dstatusall, /act, /sethst, /setprt, \
             /remhst, /inpkey, /unpkey, /dinstid, /actcid, /dhistorykms, /rearm",
        ),
    ] {
        let ran = pc.run(&[typed]);
        assert_eq!(ran.err.lines().next().unwrap(), format!("error: {what}"));
        assert!(!ran.err.contains("BCDFG"), "{ran:?}");
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""));
    }
    let url = "Q507: \"https://kms.corp.test\" is not a host: it is a URL, and a host name or an IP address is wanted";
    let shop = Shop::new();
    shop.register(&shop.vendor.catalog(), &["--product", STANDARD]).succeeds();
    let ran = shop.pc.run(&["/sethst:https://kms.corp.test"]);
    assert!(ran.err.starts_with(&format!("error {url}\n")), "{ran:?}");
}

#[test]
fn a_machine_file_that_describes_none_is_refused() {
    let shop = Shop::new();
    let run = |file: &Path| Ran::from(quorate(&shop.pc.state(), file).arg("status"));
    run(&shop.file(b"name = \"pc\"\n")).fails(
        &format!(
            "Q209 (0x8007000D): {} does not describe a machine: missing field `kind`",
            shop.changed().display()
        ),
        "it needs a name, a kind (physical, virtual or container) and a table of readings",
    );
}

/// A vendor, and a machine on which its product is being installed.
struct Shop {
    vendor: Vendor,
    pc: Pc,
}

impl Shop {
    fn new() -> Self {
        Self {
            vendor: Vendor::with("contoso", &products("contoso", 5), quorate_edge::clock::Clock::system()),
            pc: Pc::new(1),
        }
    }

    fn catalog(&self) -> String {
        std::fs::read_to_string(self.vendor.catalog()).unwrap()
    }

    /// Where [`Shop::file`] writes.
    fn changed(&self) -> PathBuf {
        self.vendor.directory.path().join("changed")
    }

    fn file(&self, content: &[u8]) -> PathBuf {
        std::fs::write(self.changed(), content).unwrap();
        self.changed()
    }

    fn register(&self, catalog: &Path, more: &[&str]) -> Ran {
        self.register_with(catalog, &self.vendor.root(), more)
    }

    fn register_with(&self, catalog: &Path, root: &Path, more: &[&str]) -> Ran {
        let (catalog, root) = (catalog.to_str().unwrap(), root.to_str().unwrap());
        self.pc.run(&[&["register", catalog, "--root", root], more].concat())
    }
}

/// The example without the office suite's Standard edition and what belongs to it.
fn shop_without_standard() -> String {
    let products = products("contoso", 5);
    let tables: Vec<&str> = products.split("\n\n").filter(|table| !table.contains(STANDARD)).collect();
    assert_eq!(products.split("\n\n").count() - tables.len(), 2);
    tables.join("\n\n")
}
