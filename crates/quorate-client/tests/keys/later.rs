//! What becomes of licenses, machines and keys later: copies, leaks, damage, revocation, catalogs that change.

use super::*;

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
    // No service signs this while there are keys; a vendor that came from elsewhere may have.
    let file = vendor.directory.path().join("without.toml");
    std::fs::write(&file, format!("{}{}", &text[..group], &text[end..])).unwrap();
    let newest = vendor.service.catalog().unwrap();
    let products = quorate_vendor::products::read_products(&file).unwrap();
    let without = quorate_core::catalog::Catalog { number: newest.number + 1, products, ..newest };
    std::fs::write(vendor.catalog(), vendor.service.authority().sign(&without).unwrap()).unwrap();
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
