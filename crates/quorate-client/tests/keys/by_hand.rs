//! MAKs are activated by telephone and by files.

use super::*;

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
        "Q102 (0xC004F035): the license pack is for product key 00097-000-000002, the key given is 00097-000-000001",
        "use the product key and the license pack that belong together",
    );
    // Another vendor's key of the same number, to which this vendor's pack does not belong.
    let strangers = Vendor::new("fabrikam").key(MAKS);
    assert_eq!(strangers.id(), key.id());
    Pc::with_product(3, &vendor)
        .run(&["install-key", &strangers.reveal(), "--pack", pack.to_str().unwrap()])
        .fails(
            "Q102 (0xC004F035): the product key has the number 00097-000-000001, but is not the key of vendor contoso \
             with it",
            "it is another vendor's, or the license pack is: use those that belong together",
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
