//! Product keys on machines: installed, changed, removed; and MAKs activated online, through a proxy, by
//! telephone and by files, with the built program against the vendor's real service and a real forward proxy.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

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

// ——— Installing, changing over, removing ———

#[tokio::test(flavor = "multi_thread")]
async fn a_mak_is_installed_and_activated_online() {
    let mut vendor = Vendor::new("contoso");
    let (pc, service) = (Pc::with_product(1, &vendor), Online::serve(&vendor).await);
    let key = vendor.key(MAKS);
    let partial = key.partial();
    assert_eq!(
        install(&pc, &key).succeeds(),
        format!(
            "Product key …{partial} (00097-000-000001) is installed and in use: {MAK_EDITION}, MAK (at the vendor's \
             service).\nnext: quorate activate; or by telephone: quorate installation-id, then quorate confirm\n"
        )
    );
    let status = pc.run(&["/dstatus"]);
    assert_eq!(status.line("ACTIVATION"), "MAK (at the vendor's service)");
    assert_eq!(status.line("LICENSE NAME"), MAK_EDITION);
    assert_eq!(status.line("LICENSE DESCRIPTION"), "Contoso Office, VOLUME_MAK channel");
    assert_eq!(status.line("LICENSE STATUS"), "---OOB_GRACE---");
    assert_eq!(status.line("LAST 5 CHARACTERS OF INSTALLED PRODUCT KEY"), partial.to_string());
    assert!(!status.out.contains("HOST:"), "{status:?}");

    let activate = ["activate", "--service", &service.url()].map(ToOwned::to_owned);
    let activate = activate.each_ref().map(String::as_str);
    for _ in 0..2 {
        // The same machine again is free.
        assert_eq!(
            pc.run(&activate).succeeds(),
            format!(
                "{MAK_EDITION}: activated by its vendor for this hardware; 1 of 50 machines have this key.\n"
            )
        );
    }
    let status = pc.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---LICENSED---");
    assert!(status.line("PRODUCT ID").starts_with("55041-00097-000-000001-03-1033-"), "{status:?}");
    assert_eq!(status.line("MACHINES ACTIVATED WITH THE KEY"), "1 of 50");
    assert!(!status.out.contains("REMAINING GRACE") && !status.out.contains("ERROR"), "{status:?}");
    // It holds for good: nothing is asked again.
    assert!(pc.run(&["run", "--once"]).err.contains("nothing is due"));
    let doctor = pc.run(&["doctor"]).succeeds();
    assert!(doctor.contains("ok      license             55041-00097-000-000001-03-1033-"), "{doctor}");

    // What proves the key is the owner's alone, and the key itself is nowhere.
    let ring = pc.state().join("contoso").join(format!("{OFFICE}.keys.json"));
    assert_eq!(std::fs::metadata(ring).unwrap().permissions().mode() & 0o777, 0o600);
    for entry in std::fs::read_dir(pc.state().join("contoso")).unwrap() {
        let text = String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).replace('-', "");
        assert!(!text.contains(&key.reveal().replace('-', "")[..20]));
    }
}

/// The article's case: KMS and MAK both installed. Which is in use is the first line; changing over loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn kms_and_mak_side_by_side() {
    let mut vendor = Vendor::new("contoso");
    let (pc, service) = (Pc::with_product(1, &vendor), Online::serve(&vendor).await);
    let host = vendor.host().await;
    let (mak, setup) = (vendor.key(MAKS), vendor.key(SETUP_KEYS));
    pc.activate_at(host.address).succeeds();
    install(&pc, &mak).succeeds();
    let all = editions(&pc);
    assert_eq!(
        all,
        [
            (
                KMS_EDITION,
                "KMS (by a host of this network), installed beside the one in use",
                "---LICENSED---"
            ),
            (MAK_EDITION, "MAK (at the vendor's service)", "---OOB_GRACE---"),
        ]
        .map(|(name, activation, status)| [name, activation, status].map(ToOwned::to_owned))
    );
    pc.run(&["activate", "--service", &service.url()]).succeeds();

    // Back to KMS by the public key of its clients, without asking anybody.
    let text = install(&pc, &setup).succeeds();
    assert!(text.ends_with("It is activated on this machine already.\n"), "{text}");
    let status = pc.run(&["status"]);
    assert_eq!(status.line("ACTIVATION"), "KMS (by a host of this network)");
    assert_eq!(status.line("LICENSE STATUS"), "---LICENSED---");
    assert_eq!(status.line("LAST 5 CHARACTERS OF INSTALLED PRODUCT KEY"), setup.partial().to_string());
    let activated: Vec<String> = editions(&pc).into_iter().map(|[.., status]| status).collect();
    assert_eq!(activated, ["---LICENSED---"; 3]);

    // Without that key, the MAK is in use again; without any, the edition that was registered.
    let removed = pc.run(&[&format!("/unpkey:{}", setup.partial())]).succeeds();
    assert!(removed.ends_with(&format!(
        "is removed. In use is {MAK_EDITION}, MAK (at the vendor's service).\nnext: quorate status\n"
    )));
    assert_eq!(pc.license(), LicenseStatus::Licensed);
    pc.run(&["remove-key", &mak.id().to_string()]).succeeds();
    assert_eq!(editions(&pc), [[KMS_EDITION, "KMS (by a host of this network)", "---LICENSED---"]]);
    // What a removed key was activated by is gone; the same machine is free at the vendor.
    install(&pc, &mak).succeeds();
    assert_eq!(pc.license(), LicenseStatus::InitialGrace);
    let again = pc.run(&["activate", "--service", &service.url()]).succeeds();
    assert!(again.contains("1 of 50 machines"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retail_edition_needs_its_key() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 5), hands.clock());
    let (pc, service) = (Pc::new(1), Online::serve(&vendor).await);
    let (catalog, root) = (vendor.catalog(), vendor.root());
    let register =
        ["register", catalog.to_str().unwrap(), "--root", root.to_str().unwrap(), "--product", HOME];
    assert!(pc.run(&register).succeeds().contains("next: quorate install-key KEY"));
    assert_eq!(pc.run(&["status"]).line("LICENSE STATUS"), "---OOB_GRACE---");
    pc.run(&["activate"]).is_not_activated_product(
        "Contoso Office, Home edition",
        "Q103 (0xC004F014): no product key of Contoso Office, Home edition (RETAIL channel) is installed",
        "`quorate install-key KEY`",
    );
    let (one, other) = (vendor.key(RETAIL_KEYS), Pc::new(2));
    install(&pc, &one).succeeds();
    let activated = pc.run(&["activate", "--service", &service.url()]).succeeds();
    assert!(activated.contains("1 of 1 machines"), "{activated}");
    // Sold one by one: on another machine it does nothing.
    other.run(&register).succeeds();
    install(&other, &one).succeeds();
    other.run(&["activate", "--service", &service.url()]).is_not_activated_product(
        "Contoso Office, Home edition",
        "Q406 (0xC004C020): product key 00098-000-000001 (Contoso Office retail keys) is activated on 1 machines; \
         1 are allowed",
        "ask the vendor to raise the limit, or for another key; a machine that was activated before may be again",
    );
    let removed = pc.run(&["remove-key", &one.partial().to_string()]).succeeds();
    assert!(removed.ends_with("has no product key now.\nnext: quorate install-key KEY\n"), "{removed}");
    let status = pc.run(&["status", "--exit-code"]);
    assert_eq!((status.line("LICENSE STATUS"), status.status), ("---UNLICENSED---", Some(4)));
    assert_eq!(status.line("ERROR CODE"), "Q103 (0xC004F014)");
}

// ——— Online, through proxies ———

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_reached_through_a_proxy() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    let (url, dead) = (service.url(), ClosedPort::new());
    let dead = format!("http://{}", dead.address);
    let activate = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["activate", "--service", &url], arguments].concat();
        Ran::from(pc.command(&arguments).envs(environment.iter().copied()))
    };
    let open = Proxy::open();
    let through = format!("http://{}", open.address);
    activate(&[], &[("HTTPS_PROXY", &through)]).succeeds();
    assert!(open.has_connected_to(service.address));

    // What is named wins over the environment; what NO_PROXY names is reached without one.
    let named = Proxy::open();
    activate(&["--proxy", &format!("http://{}", named.address)], &[("HTTPS_PROXY", &dead)]).succeeds();
    assert!(named.has_connected_to(service.address));
    let without = Proxy::open();
    let through = format!("http://{}", without.address);
    activate(&[], &[("HTTPS_PROXY", &through), ("NO_PROXY", "127.0.0.1")]).succeeds();
    assert!(!without.has_connected_to(service.address));
    let refused = activate(&[], &[("https_proxy", &dead)]);
    assert!(
        refused.err.contains("error Q504 (0x80072EE7): the activation service https://127.0.0.1:"),
        "{refused:?}"
    );
    assert!(
        refused.err.contains(" cannot be reached through the proxy that is set: connection refused\n"),
        "{refused:?}"
    );
    // The license that was held stays.
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_ask_who_is_there() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    let proxy = Proxy::for_user("alice", "wonder4land");
    let activate = |proxy: &str| pc.run(&["activate", "--service", &service.url(), "--proxy", proxy]);
    for (stranger, why) in [
        ("", "the proxy asks for a user's name and password"),
        ("alice:wrong4you@", "the proxy refuses to connect to it, or to take the name and password"),
    ] {
        let ran = activate(&format!("http://{stranger}{}", proxy.address));
        assert!(ran.err.contains("error Q504 (0x80072EE7)"), "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
        assert!(!ran.err.contains("wrong4you"), "{ran:?}");
    }
    let with_password = format!("http://alice:wonder4land@{}", proxy.address);
    activate(&with_password).succeeds();
    assert!(proxy.has_connected_to(service.address));
    let from_the_environment =
        Ran::from(pc.command(&["activate", "--service", &service.url()]).env("HTTPS_PROXY", &with_password));
    from_the_environment.succeeds();
    for malformed in ["alice:wonder4land@proxy", "ftp://alice:wonder4land@proxy"] {
        activate(malformed)
            .fails("Q507: the proxy is not given as a URL", "write it as in \"http://proxy.example:3128\"");
    }
}

// ——— By telephone ———

#[test]
fn a_mak_is_activated_by_telephone() {
    let mut vendor = Vendor::new("contoso");
    let key = vendor.key(MAKS);
    let pack = vendor.pack(&key, 3);
    let (pc, other) = (with_key(1, &vendor, &key), with_key(2, &vendor, &key));
    let id = installation_id(&pc);
    assert_ne!(id, installation_id(&other));
    assert_eq!(installation_id(&pc), id);
    let spoken = vendor.confirm(&id);
    pc.run(&["confirm", &spoken]).fails_for(
        MAK_EDITION,
        "Q605: no license pack of product key 00097-000-000001 is here",
        "get it from the vendor and give it: `quorate confirm CONFIRMATION_ID --pack FILE`",
    );
    // A digit of group C is wrong; and the whole is for another machine.
    let mut typo = spoken.clone().into_bytes();
    typo[14] = if typo[14] == b'9' { b'0' } else { typo[14] + 1 };
    let typo = pc.run(&["confirm", std::str::from_utf8(&typo).unwrap()]);
    assert!(typo.err.contains("group C of the Confirmation ID has a typing error"), "{typo:?}");
    let path = pack.to_str().unwrap();
    let for_another = other.run(&["confirm", &spoken, "--pack", path]);
    assert!(for_another.err.contains("Q105 (0xC004F01F): the Confirmation ID is not for Installation ID"));
    assert_eq!((pc.license(), other.license()), (LicenseStatus::InitialGrace, LicenseStatus::InitialGrace));

    // In groups, as it is read out; and for the other machine by the slash form, with the pack installed.
    let groups: Vec<&str> = spoken.split('-').collect();
    let confirmed = pc.run(&[&["confirm", "--pack", path][..], &groups].concat()).succeeds();
    assert_eq!(confirmed, format!("{MAK_EDITION}: activated by its vendor for this hardware.\n"));
    assert_eq!(pc.license(), LicenseStatus::Licensed);
    other.run(&["install-key", &key.reveal(), "--pack", path]).succeeds();
    let spoken = vendor.confirm(&installation_id(&other));
    other.run(&[&format!("/actcid:{spoken}")]).succeeds();
    assert_eq!(other.license(), LicenseStatus::Licensed);
    // The desk gives the same again for the same, and it does no harm.
    other.run(&["confirm", &vendor.confirm(&installation_id(&other))]).succeeds();
    let status = other.run(&["status"]);
    assert!(status.line("PRODUCT ID").starts_with("55041-00097-000-000001-"), "{status:?}");
}

#[test]
fn what_belongs_to_another_key_activates_nothing() {
    let mut vendor = Vendor::new("contoso");
    let (key, second) = (vendor.key(MAKS), vendor.key(MAKS));
    let (pack, others) = (vendor.pack(&key, 1), vendor.pack(&second, 1));
    let mut forger = Vendor::new("contoso");
    let forged_key = forger.key(MAKS);
    let forged = forger.pack(&forged_key, 1);
    let pc = with_key(1, &vendor, &key);
    let spoken = vendor.confirm(&installation_id(&pc));
    let confirm = |pack: &Path| pc.run(&["confirm", &spoken, "--pack", pack.to_str().unwrap()]);
    confirm(&others).fails_for(
        MAK_EDITION,
        "Q102 (0xC004F035): the license pack is for product key 00097-000-000002, the key is 00097-000-000001",
        "use the license pack that belongs to the key",
    );
    let brought = confirm(&forged);
    assert!(
        brought.err.contains("Q201: the license pack of vendor contoso brings another root"),
        "{brought:?}"
    );
    let damaged = pc.state().join("damaged.pack");
    std::fs::write(&damaged, &std::fs::read(&pack).unwrap()[..500]).unwrap();
    assert!(confirm(&damaged).err.contains("error Q209 (0x8007000D)"));
    assert_eq!(pc.license(), LicenseStatus::InitialGrace);

    // A KMS client has nothing to read out.
    let kms = Pc::with_product(2, &vendor);
    kms.run(&["/dinstid"]).fails(
        "Q102 (0xC004F035): Contoso Office, Standard edition (VOLUME_KMSCLIENT channel) is activated by a host, not by \
         the vendor",
        "`quorate activate`; to change to a key of this machine's own: `quorate install-key KEY`",
    );
    // A key that was blocked before the call gets no further by a Confirmation ID of the day before.
    vendor.service.block_key(second.id()).unwrap();
    assert!(
        vendor.service.confirm(&installation_id(&with_key(3, &vendor, &second)).parse().unwrap()).is_err()
    );
}

// ——— By files ———

#[tokio::test(flavor = "multi_thread")]
async fn isolated_machines_are_activated_by_files() {
    let mut vendor = Vendor::with("contoso", &products("contoso", 5), Clock::system());
    vendor.import(&products("contoso", 5).replace("Office MAKs\"", "Office MAKs\"\nmachines = 2"));
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let connected = Pc::with_product(9, &vendor);
    let pcs: Vec<Pc> = (1..=3).map(|number| with_key(number, &vendor, &key)).collect();
    let stick = tempfile::tempdir().unwrap();
    let path = |name: &str| stick.path().join(name).to_str().unwrap().to_owned();
    let (requests, answers) = (path("requests"), path("answers"));
    for (pc, number) in pcs.iter().zip(1..) {
        // Exported twice, a machine is in it once.
        pc.run(&["export-request", &requests]).succeeds();
        let exported = pc.run(&["export-request", &requests]).succeeds();
        let count = if number == 1 { "1 request".to_owned() } else { format!("{number} requests") };
        assert!(exported.starts_with(&format!("{requests} holds {count}. ")), "{exported}");
    }
    assert!(!std::fs::read_to_string(&requests).unwrap().contains(&key.reveal()[..5]));
    // One line is damaged on the way, and the third machine is one too many.
    let mut text = std::fs::read_to_string(&requests).unwrap();
    text.insert_str(0, "{\"vendor\":\"contoso\",\n");
    std::fs::write(&requests, text).unwrap();
    let forwarded = connected.run(&["forward-requests", &requests, &answers, "--service", &service.url()]);
    assert_eq!(forwarded.status, Some(1));
    assert!(
        forwarded.out.starts_with("line 1: Q209 (0x8007000D): it is no request or answer ("),
        "{forwarded:?}"
    );
    assert!(forwarded.out.contains("\nline 4 (pc-3): Q406 (0xC004C020): "), "{forwarded:?}");
    assert!(forwarded.out.contains(&format!("{answers} holds 3 answers.\n")), "{forwarded:?}");
    assert!(forwarded.err.starts_with("error Q209 (0x8007000D): 2 lines of "), "{forwarded:?}");

    // A bad line among good ones: the good one is applied, the bad one named.
    let mut text = std::fs::read_to_string(&answers).unwrap();
    text.insert_str(0, "no answer\n");
    std::fs::write(&answers, &text).unwrap();
    let imported = pcs[0].run(&["import-response", &answers]);
    assert_eq!(imported.status, Some(1));
    assert!(
        imported.out.starts_with("line 1: Q209 (0x8007000D): it is no request or answer ("),
        "{imported:?}"
    );
    assert!(imported.out.ends_with(&format!(
        "{MAK_EDITION}: activated by its vendor for this hardware.\n2 answers are for other machines.\n"
    )));
    assert_eq!(pcs[0].license(), LicenseStatus::Licensed);
    std::fs::write(&answers, text.trim_start_matches("no answer\n")).unwrap();
    assert_eq!(
        pcs[1].run(&["import-response", &answers]).succeeds(),
        format!(
            "{MAK_EDITION}: activated by its vendor for this hardware.\n2 answers are for other machines.\n"
        )
    );
    let refused = pcs[2].run(&["import-response", &answers]);
    assert!(
        refused.out.starts_with("line 3 (pc-3): Q406 (0xC004C020): product key 00097-000-000001"),
        "{refused:?}"
    );
    assert_eq!((refused.status, pcs[2].license()), (Some(1), LicenseStatus::InitialGrace));
    assert_eq!(pcs[2].run(&["status"]).line("ERROR CODE"), "Q406 (0xC004C020)");
    let nothing = connected.run(&["import-response", &answers]);
    assert!(nothing.err.starts_with("error Q210: none of the 3 answers in "), "{nothing:?}");

    // A license for another machine under this one's name is not one.
    let lines: Vec<&str> = text.lines().skip(1).collect();
    let jws = |line: &str| line.split("\"license\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let exchanged = lines[0].replace(&jws(lines[0]), &jws(lines[1]));
    let fresh = with_key(1, &vendor, &key);
    let (ring, theirs) = (key_ring(&fresh), key_ring(&pcs[0]));
    std::fs::copy(theirs, ring).unwrap();
    std::fs::write(&answers, exchanged).unwrap();
    let ran = fresh.run(&["import-response", &answers]);
    assert!(ran.out.contains("line 1 (pc-1): Q210: the license is for Installation ID"), "{ran:?}");
    assert_eq!(fresh.license(), LicenseStatus::InitialGrace);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_forwarded_by_those_who_know_the_vendor_and_reach_it() {
    let mut vendor = Vendor::new("contoso");
    let key = vendor.key(MAKS);
    let (pc, stranger) = (with_key(1, &vendor, &key), Pc::with_product(2, &Vendor::new("fabrikam")));
    let stick = tempfile::tempdir().unwrap();
    let path = |name: &str| stick.path().join(name).to_str().unwrap().to_owned();
    let (requests, answers) = (path("requests"), path("answers"));
    pc.run(&["export-request", &requests]).succeeds();
    let ran = stranger.run(&["forward-requests", &requests, &answers]);
    assert!(
        ran.out.contains("line 1 (pc-1): Q605: vendor contoso is not registered on this machine"),
        "{ran:?}"
    );
    let closed = ClosedPort::new();
    let url = format!("https://{}", closed.address);
    let ran = pc.run(&["forward-requests", &requests, &answers, "--service", &url]);
    // That the service could not be reached is no answer for the machine, and no file is written.
    assert!(ran.err.starts_with("error Q504 (0x80072EE7)"), "{ran:?}");
    assert_eq!((ran.out.as_str(), Path::new(&answers).exists()), ("", false));

    // Files of another kind are left as they are.
    let letter = path("letter");
    std::fs::write(&letter, "Dear ink\n").unwrap();
    for arguments in [&["export-request", &letter][..], &["forward-requests", &requests, &letter]] {
        let ran = pc.run(arguments);
        assert!(
            ran.err.starts_with(&format!("error Q606: {letter} is there already, and holds no ")),
            "{ran:?}"
        );
    }
    let itself = pc.run(&["forward-requests", &requests, &requests]);
    assert!(itself.err.contains("is there already, and holds no answers"), "{itself:?}");
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "Dear ink\n");
    let swapped = pc.run(&["import-response", &requests]);
    assert!(swapped.err.contains("holds no answers; it holds requests"), "{swapped:?}");
}

// ——— Keys that do not fit ———

#[test]
fn a_key_is_for_one_product() {
    let mut vendor = Vendor::new("contoso");
    let pc = Pc::with_product(1, &vendor);
    let (mak, host) = (vendor.key(MAKS), vendor.key(SYSTEM_HOST_KEYS));
    let mut system = vendor.key(common::HOST_KEYS).reveal();
    pc.run(&["install-key", &system]).fails(
        "Q102 (0xC004F035): product key 00096-000-000001 is for Contoso Office, KMSHost edition (VOLUME_KMS channel)",
        "it belongs on the activation host: `quorate-host ipk KEY --pack FILE`",
    );
    install(&pc, &host).fails(
        "Q102 (0xC004F035): product key 00120-000-000001 is for Contoso OS, KMSHost edition (VOLUME_KMS channel)",
        "it belongs on the activation host: `quorate-host ipk KEY --pack FILE`",
    );
    // A key of another application of the vendor.
    vendor.import(&(products("contoso", 1) + SYSTEM_SETUP_KEYS));
    let (catalog, root) = (vendor.catalog(), vendor.root());
    registration::register(
        &pc.state(),
        &root,
        &catalog,
        Some(common::STANDARD.parse().unwrap()),
        &pc.machine,
        Clock::system().now(),
    )
    .unwrap();
    system = vendor.key(121).reveal();
    pc.run(&["install-key", &system]).fails(
        "Q102 (0xC004F035): product key 00121-000-000001 is for Contoso OS, Enterprise edition, which is not installed \
         here",
        "install that product first, or use a key for Contoso Office",
    );
    let unknown = ProductKey::new(KeyId::new(500, 1).unwrap(), [1; 8]);
    install(&pc, &unknown).fails(
        "Q102 (0xC004F035): no product registered here has keys of group 500 (contoso Ltd, catalog 2)",
        "compare the key with its certificate; if the product is newer, register the vendor's newest catalog: \
         `quorate register`",
    );
    // A typing error never shows the key.
    let typed = mak.reveal();
    let typo = format!("{}{}", if typed.starts_with('B') { 'C' } else { 'B' }, &typed[1..]);
    let ran = pc.run(&["/inpkey:".to_owned() + &typo].each_ref().map(String::as_str));
    assert!(ran.err.starts_with("error Q101 (0xC004F050): the product key has a typing error"), "{ran:?}");
    assert!(!ran.err.contains(&typed[6..17]), "{ran:?}");
    for (typed, what) in [
        ("WRONG", "Q103 (0xC004F014): no product key that is installed ends so or has that id"),
        (&typed, "Q106: what was given is neither the last five characters of a product key nor a key id"),
    ] {
        let ran = pc.run(&["remove-key", typed]);
        assert!(ran.err.starts_with(&format!("error {what}\n")), "{ran:?}");
        assert!(!ran.err.contains(&mak.reveal()), "{ran:?}");
    }
    // In groups, and from standard input.
    let groups: Vec<&str> = typed.split('-').collect();
    pc.run(&[&["install-key"][..], &groups].concat()).succeeds();
    assert_eq!(pc.run(&["status"]).line("LICENSE NAME"), MAK_EDITION);
}

#[test]
fn where_two_vendors_have_such_keys_the_vendor_is_named() {
    let (mut contoso, fabrikam) = (Vendor::new("contoso"), Vendor::new("fabrikam"));
    let pc = Pc::with_product(1, &contoso);
    let edition = Some(common::STANDARD.parse().unwrap());
    let now = Clock::system().now();
    registration::register(&pc.state(), &fabrikam.root(), &fabrikam.catalog(), edition, &pc.machine, now)
        .unwrap();
    let key = contoso.key(MAKS);
    install(&pc, &key).fails(
        "Q102 (0xC004F035): 2 vendors registered here have keys of group 97",
        "name the key's own with --vendor: contoso, fabrikam",
    );
    pc.run(&["install-key", &key.reveal(), "--vendor", "contoso"]).succeeds();
}

// ——— What happens to machines and keys later ———

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_on_other_hardware_is_another_machine() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    pc.run(&["activate", "--service", &service.url()]).succeeds();
    let copy = pc.copied_to(2);
    let status = copy.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---OOT_GRACE---");
    assert_eq!(status.line("ERROR CODE"), "Q607 (0xC004F00F)");
    // To telephone, it has an Installation ID of its own.
    assert_ne!(installation_id(&copy), installation_id(&pc));
    let activated = copy.run(&["activate", "--service", &service.url()]).succeeds();
    assert!(activated.contains("2 of 50 machines"), "{activated}");
    assert_eq!((copy.license(), pc.license()), (LicenseStatus::Licensed, LicenseStatus::Licensed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_leaked_dies_when_the_machine_asks() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let (pc, late) = (with_key(1, &vendor, &key), with_key(2, &vendor, &key));
    let activate = ["activate".to_owned(), "--service".to_owned(), service.url()];
    let activate = activate.each_ref().map(String::as_str);
    pc.run(&activate).succeeds();
    vendor.service.block_key(key.id()).unwrap();
    for pc in [&pc, &late] {
        let ran = pc.run(&activate);
        assert!(ran.err.contains("error Q402 (0xC004C003): product key 00097-000-000001"), "{ran:?}");
    }
    let status = pc.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---NON_GENUINE_GRACE---");
    assert_eq!(status.line("NEXT"), "ask the vendor; install another key: `quorate install-key`");
    // The edition beside it is not concerned, nor is another key.
    let all = editions(&pc);
    assert_eq!(all[0][2], "---OOB_GRACE---");
    let another = vendor.key(MAKS);
    install(&pc, &another).succeeds();
    assert_eq!(pc.license(), LicenseStatus::InitialGrace);
    pc.run(&activate).succeeds();
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_named_and_licenses_nothing() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    let activate = |pc: &Pc| pc.run(&["activate", "--service", &service.url()]);
    activate(&pc).succeeds();
    // Without what proves the key, the license holds, and nothing can be asked.
    let ring = key_ring(&pc);
    let whole = std::fs::read(&ring).unwrap();
    for damage in [None, Some(&whole[..whole.len() / 2]), Some(&b"{}"[..])] {
        match damage {
            None => std::fs::remove_file(&ring).unwrap(),
            Some(bytes) => std::fs::write(&ring, bytes).unwrap(),
        }
        assert_eq!(pc.license(), LicenseStatus::Licensed);
        let ran = activate(&pc);
        assert!(ran.err.contains("error Q604 (0x8007000D): "), "{ran:?}");
        assert!(ran.err.ends_with("next: install the product key again: `quorate install-key`\n"), "{ran:?}");
        install(&pc, &key).succeeds();
        activate(&pc).succeeds();
    }
    // Without the license file, the license is gone, and is free to have again.
    std::fs::remove_file(pc.store("contoso")).unwrap();
    assert_eq!(pc.license(), LicenseStatus::InitialGrace);
    assert!(activate(&pc).succeeds().contains("1 of 50 machines"));
    // A license of another machine, written into the store, is out of tolerance at best.
    let other = with_key(2, &vendor, &key);
    activate(&other).succeeds();
    std::fs::copy(other.store("contoso"), pc.store("contoso")).unwrap();
    assert_eq!(pc.license(), LicenseStatus::OutOfToleranceGrace);
}

/// One key for one machine: whatever is copied, imported again or edited, it licenses no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_license_does_not_move_to_another_machine() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    let stick = tempfile::tempdir().unwrap();
    let path = |name: &str| stick.path().join(name).to_str().unwrap().to_owned();
    let (requests, answers) = (path("requests"), path("answers"));
    pc.run(&["export-request", &requests]).succeeds();
    pc.run(&["forward-requests", &requests, &answers, "--service", &service.url()]).succeeds();
    pc.run(&["import-response", &answers]).succeeds();
    assert_eq!(pc.license(), LicenseStatus::Licensed);

    // The answer that was kept is not one for the copy.
    let copy = pc.copied_to(2);
    let ran = copy.run(&["import-response", &answers]);
    assert!(ran.err.starts_with("error Q210: none of the 1 answers in "), "{ran:?}");
    assert_eq!(copy.license(), LicenseStatus::OutOfToleranceGrace);

    // Nor is the store, with this machine's hardware written into it and the checksum made right.
    let edited = pc.copied_to(3);
    let readings = serde_json::to_value(edited.machine.components()).unwrap();
    edit_store(&edited, |content| {
        content["components"] = readings.clone();
        let activation = &mut content["activations"][0];
        activation["components"] = readings.clone();
        activation.as_object_mut().unwrap().remove("out-of-tolerance");
    });
    let status = edited.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---OOB_GRACE---");
    assert_eq!(
        status.line("ERROR DESCRIPTION"),
        "the stored activation is of other hardware than the store says"
    );
}

/// Nor does a description that says little, or that fits two machines, make them one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_says_of_the_hardware_is_not_believed() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let machines: Vec<Pc> = (1..=2).map(|number| full_machine(number, &vendor)).collect();
    let pc = &machines[0];
    install(pc, &key).succeeds();
    let readings = |pc: &Pc| -> serde_json::Value {
        let machine = quorate_edge::machine::Machine::read(Some(&pc.machine_file())).unwrap();
        serde_json::to_value(machine.components()).unwrap()
    };
    let both = {
        let (one, other) = (readings(pc), readings(&machines[1]));
        let mut both = one.clone();
        for (component, values) in other.as_object().unwrap() {
            let mut all: Vec<String> = serde_json::from_value(one[component].clone()).unwrap();
            all.extend(serde_json::from_value::<Vec<String>>(values.clone()).unwrap());
            all.sort();
            all.dedup();
            both[component] = all.into();
        }
        both
    };
    let processor = serde_json::json!({ "processor": readings(pc)["processor"] });
    for (written, machines) in [(serde_json::json!({}), 1), (processor, 1), (both, 1)] {
        edit_store(pc, |content| content["components"] = written.clone());
        let activated = pc.run(&["activate", "--service", &service.url()]).succeeds();
        // What was really read is what was asked for, each time.
        assert!(activated.contains(&format!("; {machines} of 50 machines")), "{activated}");
    }
    // A machine that shows nothing of itself is given nothing for good.
    let bare = Pc::with_product(3, &vendor);
    std::fs::write(bare.machine_file(), "name = \"bare\"\nkind = \"container\"\n[readings]\n").unwrap();
    install(&bare, &key).succeeds();
    let ran = bare.run(&["activate", "--service", &service.url()]);
    assert!(
        ran.err.contains("error Q607 (0xC004F00F): too little can be read of this machine's hardware"),
        "{ran:?}"
    );
}

/// A machine of the same model as others, with a number of its own.
fn full_machine(number: u32, vendor: &Vendor) -> Pc {
    let pc = Pc::with_product(number, vendor);
    let text = format!(
        "name = \"pc-{number}\"\nkind = \"physical\"\n[readings]\nmachine-id = [\"m{number}\"]\nboard = [\"X1\"]\n\
         disk = [\"d{number}\"]\nnetwork = [\"n{number}\"]\nprocessor = [\"model 85\"]\n"
    );
    std::fs::write(pc.machine_file(), text).unwrap();
    pc
}

/// Parts exchanged, an attempt in vain, and the parts put back: the machine is again what it was activated as.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_comes_back_to_what_it_was() {
    let mut vendor = Vendor::new("contoso");
    vendor.import(&products("contoso", 1).replace("Office MAKs\"", "Office MAKs\"\nmachines = 1"));
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = full_machine(1, &vendor);
    let before = std::fs::read_to_string(pc.machine_file()).unwrap();
    let activate = || pc.run(&["activate", "--service", &service.url()]);
    install(&pc, &key).succeeds();
    activate().succeeds();
    let card = before.replace("n1", "n9");
    std::fs::write(pc.machine_file(), &card).unwrap();
    activate().succeeds();
    std::fs::write(pc.machine_file(), card.replace("m1", "m9").replace("d1", "d9")).unwrap();
    assert!(activate().err.contains("error Q406"));
    std::fs::write(pc.machine_file(), &card).unwrap();
    activate().succeeds();
    let status = pc.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---LICENSED---");
    assert!(!status.out.contains("ERROR"), "{status:?}");
}

/// A list speaks of every key that is installed, whoever shows it; and a key that never activated anything, and is
/// revoked, gives no grace.
#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_heeded_for_every_key() {
    let mut vendor = Vendor::new("contoso");
    let (service, host) = (Online::serve(&vendor).await, vendor.host().await);
    let (first, second, blocked) = (vendor.key(MAKS), vendor.key(MAKS), vendor.key(MAKS));
    let pc = with_key(1, &vendor, &first);
    let activate = || pc.run(&["activate", "--service", &service.url()]);
    activate().succeeds();
    vendor.service.block_key(first.id()).unwrap();
    vendor.service.block_key(blocked.id()).unwrap();
    install(&pc, &second).succeeds();
    activate().succeeds();
    pc.run(&["remove-key", &second.id().to_string()]).succeeds();
    let status = || pc.run(&["status"]).line("LICENSE STATUS").to_owned();
    assert_eq!(status(), "---NON_GENUINE_GRACE---");
    // Forgetting one file forgets nothing.
    let installed = pc.state().join("contoso").join(format!("{OFFICE}.installed.json"));
    std::fs::remove_file(&installed).unwrap();
    let (catalog, root) = (vendor.catalog(), vendor.root());
    let register = [
        "register",
        catalog.to_str().unwrap(),
        "--root",
        root.to_str().unwrap(),
        "--product",
        common::STANDARD,
    ];
    pc.run(&register).succeeds();
    install(&pc, &first).succeeds();
    assert_eq!(status(), "---NON_GENUINE_GRACE---");

    let late = Pc::with_product(2, &vendor);
    install(&late, &blocked).succeeds();
    let ran = late.run(&["activate", "--service", &service.url()]);
    assert!(ran.err.contains("error Q402"), "{ran:?}");
    assert!(ran.out.ends_with(": not activated.\n"), "{ran:?}");
    assert_eq!(late.license(), LicenseStatus::InitialGrace);
    drop(host);
}

/// Where the catalog no longer knows a key, the status says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_drops_a_key_group_is_named() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    pc.run(&["activate", "--service", &service.url()]).succeeds();
    let text = products("contoso", 1);
    let group = text.find("[[key-group]]\nnumber = 97").unwrap();
    let end = group + text[group + 5..].find("[[key-group]]").unwrap() + 5;
    vendor.import(&format!("{}{}", &text[..group], &text[end..]));
    let (catalog, root) = (vendor.catalog(), vendor.root());
    let register = [
        "register",
        catalog.to_str().unwrap(),
        "--root",
        root.to_str().unwrap(),
        "--product",
        common::STANDARD,
    ];
    pc.run(&register).succeeds();
    let status = pc.run(&["status"]);
    assert_eq!(status.line("LICENSE NAME"), KMS_EDITION);
    assert_eq!(
        status.line("ERROR DESCRIPTION"),
        "by catalog 2 of contoso Ltd, product key 00097-000-000001 is not for Contoso Office, Standard edition"
    );
    let confirm = pc.run(&["installation-id", "--key", &key.partial().to_string()]);
    assert!(confirm.err.starts_with("error Q102"), "{confirm:?}");
}

/// Each step is a small change, and all of them together are another machine.
#[tokio::test(flavor = "multi_thread")]
async fn small_changes_add_up() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = Pc::with_product(1, &vendor);
    let parts = ["machine-id", "board", "disk", "network", "processor"];
    let change = |changed: usize| {
        let reading = |(index, part): (usize, &&str)| {
            format!("{part} = [\"{}\"]\n", if index < changed { "new" } else { "old" })
        };
        let readings: String = parts.iter().enumerate().map(reading).collect();
        let text = format!("name = \"pc-1\"\nkind = \"physical\"\n[readings]\n{readings}");
        std::fs::write(pc.machine_file(), text).unwrap();
    };
    let status = || pc.run(&["status"]).line("LICENSE STATUS").to_owned();
    change(0);
    install(&pc, &key).succeeds();
    let activate = || pc.run(&["activate", "--service", &service.url()]).succeeds();
    assert!(activate().contains("1 of 50 machines"));
    change(1);
    assert!(activate().contains("1 of 50 machines"));
    assert_eq!(status(), "---LICENSED---");
    change(3);
    assert_eq!(status(), "---OOT_GRACE---");
    assert!(activate().contains("2 of 50 machines"));
    // The hardware of before is the one that the first activation was for.
    change(0);
    assert_eq!(status(), "---OOT_GRACE---");
}

/// Out-of-tolerance grace begins once, whatever happens to the other editions.
#[tokio::test(flavor = "multi_thread")]
async fn the_grace_of_a_copy_ends() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 5), hands.clock());
    let (key, setup) = (vendor.key(MAKS), vendor.key(SETUP_KEYS));
    let pack = std::fs::read_to_string(vendor.pack(&key, 1)).unwrap();
    let pc = Pc::with_product(1, &vendor);
    let client = pc.client(&hands.clock());
    client.install_key(&key, Some(&pack)).unwrap();
    let (_, id) = client.installation_id(None).unwrap();
    client.confirm(&vendor.confirm(&id.to_string()), None, None).unwrap();

    let copied = pc.copied_to(2);
    let copy = copied.client(&hands.clock());
    let situation = |client: &Client| client.status().unwrap().state.situation;
    assert_eq!(situation(&copy), Situation::OutOfToleranceGrace);
    for day in 0..31 {
        // A public key comes into use, a host is looked for in vain, and it goes again.
        copy.install_key(&setup, None).unwrap();
        copy.set_host(Some("127.0.0.1:1".parse().unwrap())).unwrap();
        copy.activate().await.unwrap_err();
        copy.remove_key(setup.id()).unwrap();
        assert_eq!(
            situation(&copy),
            if day < 30 { Situation::OutOfToleranceGrace } else { Situation::Notification }
        );
        hands.forward(Interval::days(1));
    }
    assert_eq!(situation(&client), Situation::Licensed);
}

/// What a host says late is not said of the key that has come into use meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_for_what_was_asked() {
    let mut vendor = Vendor::new("contoso");
    let key = vendor.key(MAKS);
    let pc = Pc::with_product(1, &vendor);
    let (silent, clock) = (SilentPort::new(), Clock::system());
    let client = pc.client(&clock);
    client.set_host(Some(silent.address.to_string().parse().unwrap())).unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.activate().await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    client.install_key(&key, None).unwrap();
    assert!(asking.await.unwrap().is_err());
    let status = client.status().unwrap();
    assert_eq!(
        (status.sku.name.as_str(), status.product.last, status.product.next_request),
        (MAK_EDITION, None, None)
    );
}

/// A key that was taken back stays so: neither an answer nor a pack from before brings it back, nor does forgetting.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stays_revoked() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let (key, other) = (vendor.key(MAKS), vendor.key(MAKS));
    let (pack, others) = (vendor.pack(&key, 2), vendor.pack(&other, 2));
    let pc = with_key(1, &vendor, &key);
    let spoken = vendor.confirm(&installation_id(&pc));
    let stick = tempfile::tempdir().unwrap();
    let path = |name: &str| stick.path().join(name).to_str().unwrap().to_owned();
    let (requests, answers) = (path("requests"), path("answers"));
    pc.run(&["export-request", &requests]).succeeds();
    pc.run(&["forward-requests", &requests, &answers, "--service", &service.url()]).succeeds();
    pc.run(&["import-response", &answers]).succeeds();
    vendor.service.block_key(key.id()).unwrap();
    assert_eq!(pc.run(&["activate", "--service", &service.url()]).status, Some(1));
    let revoked = || pc.run(&["status"]).line("LICENSE STATUS").to_owned();
    assert_eq!(revoked(), "---NON_GENUINE_GRACE---");
    assert!(pc.run(&["rearm"]).err.contains("the grace of a revoked product cannot be restarted"));

    let from_before = "the vendor has revoked product key 00097-000-000001 (revocation list 2); what came is from before, \
                       with list 1";
    let imported = pc.run(&["import-response", &answers]);
    assert!(
        imported.out.contains(&format!("line 1 (pc-1): Q208 (0xC004C003): {from_before}\n")),
        "{imported:?}"
    );
    std::fs::remove_file(pc.store("contoso")).unwrap();
    let confirmed = pc.run(&["confirm", &spoken, "--pack", pack.to_str().unwrap()]);
    assert!(confirmed.err.starts_with(&format!("error Q208 (0xC004C003): {from_before}\n")), "{confirmed:?}");
    pc.run(&["remove-key", &key.id().to_string()]).succeeds();
    assert!(!install(&pc, &key).succeeds().contains("activated on this machine already"));
    let imported = pc.run(&["import-response", &answers]);
    assert!(imported.err.starts_with("error Q208") || imported.err.starts_with("error Q210"), "{imported:?}");
    // What it had activated is gone with the file; what is left of the initial grace is all there is.
    assert_eq!(revoked(), "---OOB_GRACE---");

    // Another key's pack from before is as good as ever, though a newer list has been seen.
    install(&pc, &other).succeeds();
    let spoken = vendor.confirm(&installation_id(&pc));
    pc.run(&["confirm", &spoken, "--pack", others.to_str().unwrap()]).succeeds();
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

/// Neither a file from before nor the telephone is anybody's word on what time it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_or_carried_sets_no_clock() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 5), hands.clock());
    let key = vendor.key(MAKS);
    let pack = std::fs::read_to_string(vendor.pack(&key, 1)).unwrap();
    let client = Pc::with_product(1, &vendor);
    let client = client.client(&hands.clock());
    client.install_key(&key, Some(&pack)).unwrap();
    let (_, id) = client.installation_id(None).unwrap();
    let spoken = vendor.confirm(&id.to_string());
    hands.forward(Interval::days(100));
    client.confirm(&spoken, None, None).unwrap();
    let latest = client.status().unwrap().judged_at;
    hands.back(Interval::days(90));
    client.confirm(&spoken, None, None).unwrap();
    assert_eq!(client.status().unwrap().judged_at, latest);
}

/// A key changes the channel of an installed edition, and makes no other of it.
#[test]
fn a_key_makes_no_other_edition() {
    let mut vendor = Vendor::new("contoso");
    let (mak, setup, retail) = (vendor.key(MAKS), vendor.key(SETUP_KEYS), vendor.key(RETAIL_KEYS));
    let (professional, home, standard) = (Pc::new(1), Pc::new(2), Pc::with_product(3, &vendor));
    let (catalog, root) = (vendor.catalog(), vendor.root());
    let (catalog, root) = (catalog.to_str().unwrap(), root.to_str().unwrap());
    let register = |edition| ["register", catalog, "--root", root, "--product", edition];
    professional.run(&register(common::PROFESSIONAL)).succeeds();
    home.run(&register(HOME)).succeeds();
    for (pc, key, what, installed) in [
        (&professional, &mak, MAK_EDITION, "Contoso Office, Professional edition"),
        (&home, &setup, KMS_EDITION, "Contoso Office, Home edition"),
        (&standard, &retail, "Contoso Office, Home edition", KMS_EDITION),
    ] {
        install(pc, key).fails(
            &format!(
                "Q102 (0xC004F035): product key {} is for {what}; installed here is {installed}, another edition",
                key.id()
            ),
            &format!("install that edition, or use a key for {installed}"),
        );
    }
    // The installer puts another edition in its place: the key of the one before means nothing there.
    install(&standard, &mak).succeeds();
    standard.run(&register(HOME)).succeeds();
    assert_eq!(standard.run(&["status"]).line("LICENSE NAME"), "Contoso Office, Home edition");
    // And a product that lost its key needs none as a KMS client.
    install(&home, &retail).succeeds();
    home.run(&["remove-key", &retail.id().to_string()]).succeeds();
    assert_eq!(home.run(&["status"]).line("LICENSE STATUS"), "---UNLICENSED---");
    home.run(&register(common::STANDARD)).succeeds();
    assert_eq!(home.run(&["status"]).line("LICENSE STATUS"), "---OOB_GRACE---");
}

#[test]
fn a_key_is_not_taken_for_another_of_its_number_and_never_shown() {
    let (mut vendor, mut namesake) = (Vendor::new("contoso"), Vendor::new("contoso"));
    let (key, other) = (vendor.key(MAKS), namesake.key(MAKS));
    let pc = with_key(1, &vendor, &key);
    let before = installation_id(&pc);
    install(&pc, &other).fails(
        "Q102 (0xC004F035): another product key with the number 00097-000-000001 is installed: one of both is another \
         vendor's",
        "compare both with their certificates; to change it, first `quorate remove-key 00097-000-000001`",
    );
    assert_eq!(installation_id(&pc), before);
    // Typed in the wrong place, it is not repeated either.
    let typed = key.reveal();
    for arguments in [&[&typed[..]][..], &["install-key", &typed, "--vendor", &typed], &["status", &typed]] {
        let ran = pc.run(arguments);
        assert!(ran.status != Some(0) && !ran.err.contains(&typed[..17]), "{ran:?}");
    }
}

/// Somebody else's words in a file cannot steer the terminal in which they are shown.
#[test]
fn what_files_say_is_shown_as_plain_text() {
    let vendor = Vendor::new("contoso");
    let pc = Pc::with_product(1, &vendor);
    let file = pc.state().join("requests");
    let id = "000000-".repeat(9);
    let line = |vendor: &str, name: &str| {
        format!(
            "{{\"vendor\":\"{vendor}\",\"machine\":\"{name}\",\"request\":{{\"installation-id\":\"{}\",\"hardware\":\"{}\",\
             \"proof\":\"\"}}}}\n",
            id.trim_end_matches('-'),
            "0".repeat(64)
        )
    };
    std::fs::write(&file, line("nobody", "pc\\u001b[2J\\nline 9 (boss): activated")).unwrap();
    let answers = pc.state().join("answers");
    let ran = pc.run(&["forward-requests", file.to_str().unwrap(), answers.to_str().unwrap()]);
    let out = format!("{}{}", ran.out, ran.err);
    assert!(!out.contains('\u{1b}') && !out.contains("\nline 9"), "{ran:?}");
}

// ——— The port ———

#[test]
fn the_port_is_that_of_the_host_that_was_set() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    pc.run(&["/setprt:1700"]).fails(
        "Q605: no host is set by hand, and DNS says each host's port",
        "set the host with its port: `quorate set-host HOST:1700`",
    );
    pc.run(&["/sethst:192.0.2.1"]).succeeds();
    assert_eq!(
        pc.run(&["/setprt:1700"]).succeeds(),
        "The host is set to 192.0.2.1:1700.\nnext: quorate activate\n"
    );
    for port in ["0", "65536", "no", "-1"] {
        pc.run(&["set-port", "--", port]).fails(
            &format!("Q507: \"{port}\" is not a port"),
            "give a number from 1 to 65535; hosts listen on 1688 unless they are told otherwise",
        );
    }
}

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
