//! A vendor's directory that is damaged or whose disk is full, and an address that cannot be listened on:
//! each is named, and nothing that was kept is lost.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::web::client_of;
use common::{EXAMPLE, HOST_KEYS, Ran, Vendor, installation_id, vendor_program};
use quorate_edge::files::{self, Access};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

#[test]
fn a_damaged_signing_key_is_named() {
    let vendor = Vendor::new();
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    for (name, certificate) in [("ca.key.pem", "ca.pem"), ("issuer.key.pem", "issuer.pem")] {
        let file = vendor.service_directory().join(name);
        let whole = std::fs::read_to_string(&file).unwrap();
        let stranger = format!("it does not belong to {certificate}");
        for (content, why) in [
            ("", ""),
            ("garbage", ""),
            (&whole[..whole.len() / 2], ""),
            (&ed25519, ""),
            (&p256, stranger.as_str()),
        ] {
            std::fs::write(&file, content).unwrap();
            for arguments in [&["key", "list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
                let ran = vendor.run(arguments);
                let start = format!("error Q604 (0x8007000D): {} is damaged: {why}", file.display());
                assert!(ran.err.starts_with(&start), "{content:?}: {ran:?}");
                assert!(ran.err.ends_with("\nnext: restore the directory from a backup\n"), "{ran:?}");
                assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
            }
        }
        std::fs::remove_file(&file).unwrap();
        vendor.run(&["key", "list"]).fails(
            &format!("Q601: {} cannot be read: no such file or directory", file.display()),
            "check the path",
        );
        std::fs::write(&file, whole).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    vendor.run(&["key", "list"]).succeeds();
}

#[test]
fn a_signing_key_that_others_can_read_is_not_used() {
    let vendor = Vendor::new();
    for name in ["ca.key.pem", "issuer.key.pem"] {
        let file = vendor.service_directory().join(name);
        let set = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o644);
        vendor.run(&["key", "list"]).fails(
            &format!("Q613: {} can be read by others than its owner (mode 644)", file.display()),
            &format!("chmod 600 {}; who has read it can sign as the vendor", file.display()),
        );
        set(0o400);
        vendor.run(&["key", "list"]).succeeds();
    }
}

#[test]
fn a_damaged_certificate_is_named() {
    let vendor = Vendor::new();
    for name in ["root.pem", "ca.pem", "issuer.pem"] {
        let file = vendor.service_directory().join(name);
        let whole = std::fs::read_to_string(&file).unwrap();
        for content in ["", "garbage", &whole[..whole.len() / 2]] {
            std::fs::write(&file, content).unwrap();
            let ran = vendor.run(&["key", "list"]);
            let start = format!("error Q604 (0x8007000D): {} is damaged: ", file.display());
            assert!(ran.err.starts_with(&start), "{content:?}: {ran:?}");
            assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
        }
        std::fs::write(&file, whole).unwrap();
    }
    vendor.run(&["key", "list"]).succeeds();
}

#[test]
fn a_damaged_database_is_named_and_left_as_it_is() {
    let vendor = Vendor::new();
    vendor.key(HOST_KEYS);
    let file = vendor.service_directory().join("vendor.db");
    let whole = std::fs::read(&file).unwrap();
    assert!(whole.starts_with(b"SQLite format 3\0") && whole.len() > 16_384, "{}", whole.len());
    let overwritten = [&whole[..100], &vec![0xA5; whole.len() - 100]].concat();
    for (called, content) in [
        ("empty", &b""[..]),
        ("garbage", &[b'x'; 20_000]),
        ("cut off", &whole[..whole.len() / 2]),
        ("cut to a beginning", &whole[..100]),
        ("overwritten", &overwritten),
    ] {
        std::fs::write(&file, content).unwrap();
        for arguments in
            [&["key", "list"][..], &["key", "issue", "--group", "96"], &["serve", "--listen", "127.0.0.1:0"]]
        {
            let ran = vendor.run(arguments);
            let start = format!("error Q604 (0x8007000D): {} is damaged: ", file.display());
            assert!(ran.err.starts_with(&start), "{called}: {ran:?}");
            assert!(ran.err.contains("\nnext: "), "{called}: {ran:?}");
            assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""), "{called}");
        }
        assert!(std::fs::read(&file).unwrap() == content, "{called}: it was changed");
    }
    std::fs::write(&file, whole).unwrap();
    assert_eq!(vendor.run(&["key", "list"]).succeeds().lines().count(), 1);
}

#[test]
fn a_port_in_use_is_named() {
    let vendor = Vendor::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    vendor.run(&["serve", "--listen", &address.to_string()]).fails(
        &format!("Q506: cannot listen on {address}: address already in use"),
        &format!(
            "see what uses it (`ss -ltnp 'sport = :{}'`), or choose another port with --listen",
            address.port()
        ),
    );
    // An address of documentation, which no machine has.
    vendor.run(&["serve", "--listen", "192.0.2.1:8443"]).fails(
        "Q506: cannot listen on 192.0.2.1:8443: cannot assign requested address",
        "choose an address of this machine with --listen",
    );
    for wrong in ["8443", "localhost:8443", "127.0.0.1", "127.0.0.1:65536"] {
        vendor.run(&["serve", "--listen", wrong]).is_wrong_usage("invalid value");
    }
}

#[test]
fn a_certificate_from_elsewhere_must_fit_its_key() {
    let vendor = Vendor::new();
    let (certificate, key) = (vendor.path("site.pem"), vendor.path("site.key.pem"));
    let ca = vendor.service_directory().join("ca.pem");
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let serve = |content: &str, key_content: &str| {
        std::fs::write(&certificate, content).unwrap();
        files::write(&key, key_content.as_bytes(), Access::Private).unwrap();
        let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
        vendor.run(&["serve", "--listen", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key])
    };
    let give = "give a certificate chain and the private key that belongs to it, in PEM";
    let ca = std::fs::read_to_string(ca).unwrap();
    serve(&ca, &p256).fails(
        "Q209 (0x8007000D): the TLS certificate and key cannot be used \
         (keys may not be consistent: KeyMismatch)",
        give,
    );
    serve("garbage", &p256).fails(
        &format!("Q209 (0x8007000D): {} cannot be used: it holds no certificate", certificate.display()),
        give,
    );
    serve(&ca, "garbage")
        .fails(&format!("Q209 (0x8007000D): {} cannot be used: no items found", key.display()), give);
    vendor.run(&["serve", "--tls-certificate", "site.pem"]).is_wrong_usage("--tls-key");

    // One that others can read is not used, and `config check` says so before.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = vendor.path("vendor.toml");
    std::fs::write(&file, "[tls]\ncertificate = \"site.pem\"\nkey = \"site.key.pem\"\n").unwrap();
    let (file, path) = (file.to_str().unwrap(), key.to_str().unwrap());
    let certificate = certificate.to_str().unwrap();
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", path][..],
        &["serve", "--listen", "127.0.0.1:0", "--config", file],
        &["config", "check", file],
    ] {
        vendor.run(arguments).fails(
            &format!("Q613: {path} can be read by others than its owner (mode 644)"),
            &format!("chmod 600 {path}; who has read it can pass for this service"),
        );
    }
}

/// The program itself: it says where it listens, answers, and ends well when asked to.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_runs_until_it_is_asked_to_stop() {
    // Products may come later.
    let vendor = Vendor::without_products();
    let mut program = vendor_program(&vendor.service_directory())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let warning = lines.next().unwrap().unwrap();
    assert!(warning.contains("no products have been imported yet"), "{warning}");
    let listening = lines.next().unwrap().unwrap();
    let (_, address) = listening.split_once("the activation service is listening address=").unwrap();
    let client = client_of(vendor.service().authority().root());
    let catalog = || client.get(format!("https://{address}/v1/catalog")).send();
    assert_eq!(catalog().await.unwrap().status(), 404);
    vendor.import(EXAMPLE.as_bytes()).succeeds();
    assert_eq!(catalog().await.unwrap().status(), 200);
    // Commands work beside it.
    vendor.key(HOST_KEYS);

    let asked = Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap();
    assert!(asked.success());
    assert_eq!(program.wait().unwrap().code(), Some(0));
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.iter().all(|line| !line.contains("ERROR") && !line.contains("panicked")), "{rest:?}");
}

#[test]
fn a_full_disk_loses_nothing() {
    let vendor = Vendor::new();
    let key = vendor.key(HOST_KEYS);
    vendor.pack(key.id(), 1).succeeds();
    let id = installation_id(&key, 1).to_string();
    let products = vendor.path("changed.toml");
    std::fs::write(&products, EXAMPLE.replace("Office host keys\"", "Office host keys\"\nhosts = 7"))
        .unwrap();
    let script = format!(
        "list() {{ \"$VENDOR\" key list; }}
         cp -a \"$STATE/.\" \"$DISK\"; list
         cat /dev/zero > \"$DISK/fill\" 2>/dev/null || true
         tell \"$VENDOR\" key issue --group 96
         tell \"$VENDOR\" key block {key}
         tell \"$VENDOR\" product import '{products}'
         tell \"$VENDOR\" pack {key} --out \"$DISK/host.pack\"
         tell \"$VENDOR\" confirm {id}
         rm \"$DISK/fill\"; list
         \"$VENDOR\" key issue --group 96 | cut -c1-16
         \"$VENDOR\" product import '{products}' | head -n1
         \"$VENDOR\" confirm {id} | wc -l",
        key = key.id(),
        products = products.display(),
    );
    let ran = on_its_own_disk(&vendor, &script);
    let list = vendor.run(&["key", "list"]).succeeds();
    assert_eq!(
        ran.out,
        format!(
            "{list}{}{list}00096-000-000002\nCatalog 2: 2 applications, 7 SKUs, 5 key groups.\n14\n",
            "ended with 1\n".repeat(5)
        )
    );
    let errors: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("error ")).collect();
    assert_eq!(errors.len(), 5, "{}", ran.err);
    for error in errors {
        assert!(error.starts_with("error Q603: "), "{error}");
        assert!(error.ends_with(" cannot be written: no space left on device"), "{error}");
    }
}

/// Wherever the space runs out, nothing half-made is in the way when there is space again.
#[test]
fn a_set_up_that_failed_can_be_done_again() {
    let (mut failed, mut succeeded) = (0, 0);
    for kilobytes in (0..=360).step_by(12) {
        let vendor = Vendor::nowhere();
        std::fs::write(vendor.products(), EXAMPLE).unwrap();
        let script = format!(
            "dd if=/dev/zero of=\"$DISK/fill\" bs=1k count=$((640 - {kilobytes})) 2>/dev/null
             init() {{
                 \"$VENDOR\" init --vendor contoso --name Contoso --url https://127.0.0.1 \\
                     --root-dir \"$DISK/root\" > /dev/null
             }}
             export QUORATE_VENDOR_DIR=\"$DISK/vendor\"
             tell init; ls \"$DISK\"; ls \"$DISK/vendor\"; rm \"$DISK/fill\"
             if test $ended = 1; then init; fi
             \"$VENDOR\" product import '{}' | head -n1",
            vendor.products().display()
        );
        let ran = on_its_own_disk(&vendor, &script);
        let imported = "Catalog 1: 2 applications, 7 SKUs, 5 key groups.\n";
        if ran.err.is_empty() {
            succeeded += 1;
            let made = ran.out.strip_prefix("ended with 0\nfill\nroot\nvendor\nca.key.pem\n");
            assert!(made.is_some_and(|out| out.ends_with(imported)), "{kilobytes} KiB: {ran:?}");
        } else {
            failed += 1;
            assert!(ran.err.starts_with("error Q603: "), "{kilobytes} KiB: {ran:?}");
            assert_eq!(ran.err.lines().count(), 2, "{kilobytes} KiB: {ran:?}");
            // Only the lock and an empty directory for the root are left.
            assert_eq!(
                ran.out,
                format!("ended with 1\nfill\nroot\nvendor\nvendor.lock\n{imported}"),
                "{kilobytes} KiB"
            );
        }
    }
    assert!(failed > 5 && succeeded > 2, "{failed} failed, {succeeded} succeeded");
}

/// Wherever the space runs out, a restore brings back all or nothing, and says which.
#[test]
fn a_restore_without_space_is_no_restore() {
    let vendor = Vendor::new();
    vendor.run(&["key", "issue", "--group", "97", "--count", "900"]).succeeds();
    let backup = vendor.path("vendor.backup");
    vendor.run(&["backup", backup.to_str().unwrap()]).succeeds();
    let (mut failed, mut succeeded) = (0, 0);
    for kilobytes in (0..=630).step_by(15) {
        let script = format!(
            "dd if=/dev/zero of=\"$DISK/fill\" bs=1k count=$((640 - {kilobytes})) 2>/dev/null
             export QUORATE_VENDOR_DIR=\"$DISK/vendor\"
             tell \"$VENDOR\" restore '{}' | head -n1; rm \"$DISK/fill\"
             if test -e \"$DISK/vendor\"; then ls \"$DISK/vendor\"; \"$VENDOR\" key list | wc -l; fi",
            backup.display()
        );
        let ran = on_its_own_disk(&vendor, &script);
        std::fs::remove_dir(vendor.path("disk")).unwrap();
        if ran.err.is_empty() {
            succeeded += 1;
            let files = "ca.key.pem\nca.pem\nissuer.key.pem\nissuer.pem\nroot.pem\nvendor.db\nvendor.lock\n";
            let out = ran.out.split_once('\n').unwrap().1;
            assert_eq!(out, format!("{files}900\n"), "{kilobytes} KiB: {ran:?}");
        } else {
            failed += 1;
            assert!(ran.err.starts_with("error Q603: "), "{kilobytes} KiB: {ran:?}");
            assert_eq!(ran.out, "ended with 1\n", "{kilobytes} KiB");
        }
    }
    assert!(failed > 5 && succeeded > 2, "{failed} failed, {succeeded} succeeded");
}

/// Runs a script for which `$DISK` is a disk of its own of 640 KiB, which `$VENDOR` uses; `$STATE` is the
/// vendor's own directory, and `tell` runs a command and says how it ended.
fn on_its_own_disk(vendor: &Vendor, script: &str) -> Ran {
    let disk = vendor.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=640k tmpfs \"$DISK\"; echo mounted
         tell() {{ ended=0; \"$@\" || ended=$?; echo \"ended with $ended\"; }}
         {script}"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-euc", &script])
        .env("DISK", &disk)
        .env("STATE", vendor.service_directory())
        .env("VENDOR", env!("CARGO_BIN_EXE_quorate-vendor"))
        .env("QUORATE_VENDOR_DIR", &disk);
    let mut ran = Ran::from(&mut command);
    ran.out = ran
        .out
        .strip_prefix("mounted\n")
        .unwrap_or_else(|| {
            panic!("this test needs unprivileged user and mount namespaces (`unshare -rm`): {ran:?}")
        })
        .to_owned();
    ran
}
