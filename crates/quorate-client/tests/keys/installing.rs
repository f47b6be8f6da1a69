//! Keys are installed, changed, removed and refused, and the port of the host that was set.

use super::*;

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
        "Q406 (0xC004C020): product key 00098-000-000001 (Contoso Office retail keys) is activated on 1 machine; \
         1 is allowed",
        "ask the vendor to raise the limit, or for another key; a machine that was activated before may be again",
    );
    let removed = pc.run(&["remove-key", &one.partial().to_string()]).succeeds();
    assert!(removed.ends_with("has no product key now.\nnext: quorate install-key KEY\n"), "{removed}");
    let status = pc.run(&["status", "--exit-code"]);
    assert_eq!((status.line("LICENSE STATUS"), status.status), ("---UNLICENSED---", Some(4)));
    assert_eq!(status.line("ERROR CODE"), "Q103 (0xC004F014)");
}

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
        "it may be another vendor's: compare the key with its certificate; if the product is newer, register the vendor's newest catalog: \
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

    // Number and last five characters of both are the same.
    let mut fabrikam = fabrikam;
    let other = fabrikam.key(MAKS);
    assert_eq!((other.id(), other.partial()), (key.id(), key.partial()));
    pc.run(&["install-key", &other.reveal(), "--vendor", "fabrikam"]).succeeds();
    let last = key.partial().to_string();
    for name in [last.as_str(), "00097-000-000001"] {
        pc.run(&["remove-key", name]).fails(
            "Q106: 2 product keys that are installed end so or have that id",
            "name one by its key id: contoso/00097-000-000001, fabrikam/00097-000-000001",
        );
    }
    pc.run(&["remove-key", &format!("northwind/{last}")]).fails(
        "Q103 (0xC004F014): no product key of this vendor that is installed ends so or has that id",
        &format!("name one of: …{last} (contoso/00097-000-000001), …{last} (fabrikam/00097-000-000001)"),
    );
    pc.run(&["remove-key", "fabrikam/00097-000-000001"]).succeeds();
    pc.run(&["installation-id", "--key", &format!("contoso/{last}")]).succeeds();
}

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
