//! What `quorate-vendor` says of arguments, product files and keys that cannot be used, to the letter; and
//! that nothing has changed then.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{EXAMPLE, GROUPS, HOST_KEYS, Ran, SETUP_KEYS, Vendor, installation_id, vendor_program};
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::{KeyId, ProductKey};

#[test]
fn a_vendor_is_set_up_once() {
    let vendor = Vendor::new();
    let key = vendor.key(HOST_KEYS);
    let before = std::fs::read(vendor.path("root/root.key.pem")).unwrap();
    vendor.init("contoso", "https://127.0.0.1").fails(
        &format!("Q606: {} is there already", vendor.path("root/root.key.pem").display()),
        "a vendor is set up once; choose other directories for another vendor",
    );
    // With the root moved offline, as it should be, the service's directory is still taken.
    std::fs::rename(vendor.path("root"), vendor.path("safe")).unwrap();
    vendor.init("fabrikam", "https://127.0.0.1").fails(
        &format!("Q606: {} is there already", vendor.path("vendor/ca.key.pem").display()),
        "a vendor is set up once; choose other directories for another vendor",
    );
    assert!(!vendor.path("root").exists());
    assert_eq!(std::fs::read(vendor.path("safe/root.key.pem")).unwrap(), before);
    assert!(vendor.run(&["key", "list"]).succeeds().starts_with(&key.id().to_string()));
}

/// The root's directory is to be moved away; what the service needs must not be moved with it, nor stay.
#[test]
fn the_roots_directory_is_not_in_the_services() {
    let vendor = Vendor::nowhere();
    let service = vendor.service_directory();
    std::os::unix::fs::symlink(vendor.path("."), vendor.path("link")).unwrap();
    for root in [service.clone(), service.join("root"), vendor.path("link/vendor/a/../root")] {
        let root = root.to_str().unwrap();
        let init =
            ["init", "--vendor", "contoso", "--name", "C", "--url", "https://127.0.0.1", "--root-dir", root];
        vendor.run(&init).fails(
            &format!(
                "Q507: the root's directory {root} is in the service's, {}: \
                 the root's key must not stay where the service runs",
                service.display()
            ),
            "choose a directory elsewhere with --root-dir, best on a medium that can be taken away",
        );
    }
    assert!(!service.exists());
    vendor.init("contoso", "https://127.0.0.1").succeeds();
}

#[test]
fn a_vendor_id_is_a_dns_label() {
    let vendor = Vendor::nowhere();
    for id in ["", "Contoso", "con toso", "con.toso", "-contoso", "contoso-", "contosö", &"c".repeat(64)] {
        vendor.init(id, "https://127.0.0.1").is_wrong_usage("--vendor");
    }
    vendor.init("Contoso", "https://127.0.0.1").is_wrong_usage("\"Contoso\" is not a vendor id");
    assert!(!vendor.service_directory().exists() && !vendor.path("root").exists());
}

#[test]
fn a_url_is_one_that_hosts_can_reach() {
    let vendor = Vendor::nowhere();
    for url in [
        "",
        "contoso.example",
        "http://contoso.example",
        "ftp://contoso.example",
        "https://",
        "https:///v1",
        "https://:8443",
        "https://contoso.example:0x50",
        "https://contoso.example:70000",
        "https://contoso example",
        "https://[::1",
        "https://contoso.example/x/../y",
        "https://contoso.example/{t}",
        "https://192.0.2.256",
        "https:activation.contoso.example",
    ] {
        vendor.init("contoso", url).fails(
            &format!("Q507: {url:?} is not the URL of an activation service"),
            "write it as in \"https://activation.contoso.example\"",
        );
    }
    for url in ["https://user:secret@contoso.example", "https://activation.contoso.example/@quorate"] {
        vendor.init("contoso", url).fails(
            "Q507: the URL of the activation service holds a user's name",
            "write it as in \"https://activation.contoso.example\"",
        );
    }
    for url in
        ["https://activation.contoso.example?tenant=7", "https://activation.contoso.example/quorate#top"]
    {
        vendor.init("contoso", url).fails(
            &format!("Q507: {url:?} has a \"?\" or \"#\", behind which no path of a request can stand"),
            "write it as in \"https://activation.contoso.example\"",
        );
    }
    assert!(!vendor.service_directory().exists() && !vendor.path("root").exists());
    for url in ["https://activation.contoso.example/quorate", "https://192.0.2.1:8443", "https://[::1]:8443"]
    {
        Vendor::nowhere().init("contoso", url).succeeds();
    }
}

#[test]
fn a_vendor_has_a_name_that_a_certificate_has_room_for() {
    let vendor = Vendor::nowhere();
    let root = vendor.path("root");
    let init = |name: &str| {
        let (url, root) = ("https://127.0.0.1", root.to_str().unwrap());
        vendor.run(&["init", "--vendor", "contoso", "--name", name, "--url", url, "--root-dir", root])
    };
    let give_one = "give the name that people know it by, with --name";
    for (name, what, next) in [
        ("", "the vendor has no name", give_one),
        (" \t", "the vendor has no name", give_one),
        ("Contoso\nLtd", "the vendor's name holds a control character", "write it in one line of plain text"),
        (&"é".repeat(51), "the vendor's name has 51 characters", "a certificate has room for 50: shorten it"),
    ] {
        init(name).fails(&format!("Q306: {what}"), next);
    }
    assert!(!vendor.service_directory().exists() && !root.exists());
    init(&"é".repeat(50)).succeeds();
}

#[test]
fn nothing_works_before_a_vendor_is_set_up() {
    let vendor = Vendor::nowhere();
    let directory = vendor.service_directory();
    std::fs::write(vendor.products(), EXAMPLE).unwrap();
    let (products, out) = (vendor.products(), vendor.path("out"));
    let (products, out) = (products.to_str().unwrap(), out.to_str().unwrap());
    let id = installation_id(&ProductKey::new(KeyId::new(96, 1).unwrap(), [1; 8]), 1).to_string();
    let commands: [&[&str]; 8] = [
        &["product", "import", products],
        &["key", "issue", "--group", "96"],
        &["key", "list"],
        &["key", "block", "00096-000-000001"],
        &["catalog", "--out", out],
        &["pack", "00096-000-000001", "--out", out],
        &["confirm", &id],
        &["serve", "--listen", "127.0.0.1:0"],
    ];
    // A directory that is missing, and one that is empty.
    for _ in 0..2 {
        for arguments in commands {
            vendor.run(arguments).fails(
                &format!("Q605: there is no vendor in {}", directory.display()),
                "set one up with `quorate-vendor init`, or name its directory with --dir",
            );
        }
        std::fs::create_dir_all(&directory).unwrap();
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    assert!(!vendor.path("out").exists());
}

/// As `quorate --json` does; and what has no result says so.
#[test]
fn with_json_an_error_is_json_as_well() {
    let vendor = Vendor::nowhere();
    let ran = vendor.run(&["--json", "key", "list"]);
    let error = serde_json::json!({ "error": {
        "code": "Q605",
        "known-number": null,
        "what": format!("there is no vendor in {}", vendor.service_directory().display()),
        "next": "set one up with `quorate-vendor init`, or name its directory with --dir"
    }});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.err).unwrap(), error);
    assert_eq!((ran.status, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1));
    for arguments in [&["serve"][..], &["completions", "bash"], &["man-pages", "man"]] {
        let refused = format!("`{}` has no result to print as JSON", arguments[0]);
        vendor.run(&[&["--json"], arguments].concat()).is_wrong_usage(&refused);
    }
}

#[test]
fn one_customer_is_not_several() {
    let vendor = Vendor::without_products();
    for (csv, said) in [("name\nFabrikam\n", "1 customer added.\n"), ("name\nA\nB\n", "2 customers added.\n")]
    {
        std::fs::write(vendor.path("new.csv"), csv).unwrap();
        let file = vendor.path("new.csv");
        assert_eq!(vendor.run(&["customer", "import", file.to_str().unwrap()]).succeeds(), said);
    }
}

#[test]
fn nothing_can_be_sold_before_products_are_imported() {
    let vendor = Vendor::without_products();
    let out = vendor.path("out");
    let commands: [&[&str]; 2] =
        [&["key", "issue", "--group", "96"], &["catalog", "--out", out.to_str().unwrap()]];
    for arguments in commands {
        vendor
            .run(arguments)
            .fails("Q605: no products have been imported yet", "`quorate-vendor product import FILE`");
    }
    assert_eq!(vendor.run(&["key", "list"]).succeeds(), "");
}

#[test]
fn a_product_file_with_a_mistake_is_refused_and_the_mistake_named() {
    let vendor = Vendor::new();
    let file = vendor.products();
    let refused = |from: &str, to: &str, line: Option<usize>, what: &str, next: &str| {
        let products = EXAMPLE.replacen(from, to, 1);
        assert_ne!(products, EXAMPLE, "{from:?} is not in the example");
        let place = line.map(|line| format!(", line {line}")).unwrap_or_default();
        vendor.import(products.as_bytes()).fails(&format!("Q107: {}{place}: {what}", file.display()), next);
    };
    let line_of = |text: &str| EXAMPLE.lines().position(|line| line.starts_with(text)).map(|index| index + 1);
    let compare = "compare it with the shipped example";

    refused(
        "threshold = 5",
        "threshold = 0",
        None,
        "policy \"office\": threshold is 0",
        "a threshold is at least 1; 5 and 25 are usual",
    );
    refused(
        "\ngrace = \"30d\"",
        "\ngrace = \"181d\"",
        None,
        "policy \"office\": grace (181d) is longer than validity (180d)",
        "make grace the shorter of the two",
    );
    refused(
        "3c1d8e5f02\"",
        "3c1d8e5f01\"",
        None,
        "activation id 6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f01 appears twice",
        "give each its own",
    );
    refused(
        "policy = \"system\"",
        "policy = \"systems\"",
        None,
        "SKU \"Contoso OS, KMSHost edition\" has policy \"systems\", which is not in the file",
        "add the policy, or correct the name",
    );
    refused(
        "activates = [\"office-clients\"]",
        "activates = [\"office-client\"]",
        None,
        "key group 96 activates \"office-client\", but no SKU is in that group",
        "put the client SKUs into the group, or correct its name",
    );
    refused(
        "rearm-limit",
        "rearm-limits",
        line_of("rearm-limit"),
        "unknown field `rearm-limits`, expected one of `threshold`, `activation-interval`, \
         `renewal-interval`, `validity`, `initial-grace`, `grace`, `after-grace`, `cmid-retention`, \
         `clock-tolerance`, `rearm-limit`, `hardware`",
        compare,
    );
    refused(
        "renewal-interval = \"7d\"",
        "renewal-interval = \"a week\"",
        line_of("renewal-interval"),
        "\"a week\" is not an interval",
        "write a whole number and its unit, as in \"180d\", \"2h\" or \"90m\"",
    );
    refused(
        "threshold = 25",
        "threshold = -25",
        line_of("threshold = 25"),
        "invalid value: integer `-25`, expected u32",
        compare,
    );
    refused(
        "channel = \"mak\"",
        "channel = \"phone\"",
        line_of("channel = \"mak\""),
        "unknown variant `phone`, expected one of `kms-host`, `kms-client`, `mak`, `retail`",
        compare,
    );
    let last = "activates = [\"system-clients\", \"office-clients\"]";
    refused(last, "activates = [\"system-clients\"", line_of(last), "unclosed array, expected `]`", compare);

    // Nothing of it was imported: the catalog is the first one still.
    assert_eq!(vendor.service().catalog().unwrap().number, 1);
    // The same products again are no new catalog.
    let said = vendor.import(EXAMPLE.as_bytes()).succeeds();
    assert_eq!(said, "Nothing differs from catalog 1, which stays the newest.\n");
}

#[test]
fn a_file_that_is_no_product_file_is_refused() {
    let vendor = Vendor::without_products();
    let file = vendor.products();
    let compare = "compare it with the shipped example";
    let at = |line: usize| format!("Q107: {}, line {line}: ", file.display());
    let without_service = EXAMPLE.replace("\ndns-service", "\n# dns-service");
    vendor
        .import(without_service.as_bytes())
        .fails(&format!("Q107: {}: missing field `dns-service`", file.display()), compare);
    vendor.import(b"").fails(&format!("Q107: {}: missing field `dns-service`", file.display()), compare);
    vendor
        .import(b"# \n\n<html></html>\n")
        .fails(&format!("{}key with no value, expected `=`", at(3)), compare);
    vendor.import(b"dns-service = \"\xff\"").fails(
        &format!("Q209 (0x8007000D): {} is not a text file", file.display()),
        "give the file that was meant",
    );
    let missing = vendor.path("none.toml");
    vendor.run(&["product", "import", missing.to_str().unwrap()]).fails(
        &format!("Q601: {} cannot be read: no such file or directory", missing.display()),
        "check the path",
    );
    let directory = vendor.service_directory();
    vendor.run(&["product", "import", directory.to_str().unwrap()]).fails(
        &format!("Q601: {} cannot be read: is a directory", directory.display()),
        "give a file, not a directory",
    );
    assert_eq!(vendor.service().catalog_jws().unwrap_err().what, "no products have been imported yet");
}

#[test]
fn keys_are_of_a_group_that_there_is() {
    let vendor = Vendor::new();
    for group in ["0", "95", "4096", "65535"] {
        vendor
            .run(&["key", "issue", "--group", group])
            .fails(&format!("Q409: catalog 1 has no key group {group}"), &format!("choose one of: {GROUPS}"));
    }
    for wrong in [&["65536"][..], &["office"], &["96", "--count", "0"], &["96", "--count", "10000001"]] {
        let ran = vendor.run(&[&["key", "issue", "--group"], wrong].concat());
        ran.is_wrong_usage("invalid value");
    }
    vendor
        .run(&["key", "issue", "--group", "96", "--count", "100001"])
        .fails("Q306: 100001 keys are too many to be shown", "write them into a file: --out keys.csv");
    assert_eq!(vendor.run(&["key", "list"]).succeeds(), "");
}

#[test]
fn a_public_key_is_shown_and_not_counted() {
    let vendor = Vendor::new();
    let key = vendor.key(SETUP_KEYS);
    let id = key.id().to_string();
    vendor.run(&["customer", "add", "Fabrikam"]).succeeds();
    vendor.run(&["key", "assign", &id, "Fabrikam"]).succeeds();
    let shown = vendor.run(&["key", "show", &id]).succeeds();
    let issued = vendor.service().key(key.id()).unwrap().issued;
    let expected = format!(
        "Product key:   {id} (…{}), Contoso Office Standard client setup keys\n\
         Customer:      Fabrikam\n\
         For:           Contoso Office, Standard edition\n\
         Issued:        {issued:.0}\n\
         Public:        it makes a machine a client of an activation host; nothing is activated with it or counted\n",
        key.partial()
    );
    assert_eq!(shown, expected);
    let host = vendor.key(HOST_KEYS);
    vendor.run(&["key", "assign", &host.id().to_string(), "Fabrikam"]).succeeds();
    let customer = vendor.run(&["customer", "show", "Fabrikam"]).succeeds();
    assert!(customer.ends_with(&format!("Activated on:  0 of 6 hosts\n\n{expected}")), "{customer}");
    let json = vendor.run(&["--json", "key", "show", &id]).succeeds();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["usage"]["public"], &json["usage"]["activates"], &json["activations"]),
        (&serde_json::json!(true), &serde_json::json!("nothing"), &serde_json::json!([]))
    );
    let public = format!("Q102 (0xC004F035): product key {id} is a public client setup key: ");
    vendor.run(&["key", "block", &id]).fails(
        &format!("{public}nothing is activated with it, so blocking it takes nothing back"),
        "block the host key by which the machines are activated",
    );
    for limit in [&["--machines", "3"][..], &["--hosts", "3"], &["--usual"]] {
        vendor.run(&[&["key", "limit", &id], limit].concat()).fails(
            &format!("{public}it is never counted and has no limit"),
            "limit the host key by which the machines are activated",
        );
    }
    assert_eq!(vendor.run(&["key", "list", "--blocked"]).succeeds(), "");
}

/// What is typed of keys is answered by what fits, and what changes nothing is said to and is no entry of the audit log.
#[test]
fn what_changes_nothing_is_said() {
    let vendor = Vendor::new();
    let (host, mak, setup) =
        (vendor.key(HOST_KEYS).id(), vendor.key(common::MAKS).id(), vendor.key(SETUP_KEYS).id());
    for (id, kind, options) in [
        (host, "activates hosts", "--hosts N, --reactivations N, or --usual for what its key group says"),
        (mak, "activates machines", "--machines N, or --usual for what its key group says"),
        (setup, "is never counted", "none: limit the host key by which the machines are activated"),
    ] {
        vendor.run(&["key", "limit", &id.to_string()]).fails(
            &format!("Q306: no limit is given for product key {id}, which {kind}"),
            &format!("its options are: {options}"),
        );
    }
    for typed in ["RXW", "RXWDCC", "RX DC"] {
        vendor.run(&["key", "list", "--last-five", typed]).fails(
            "Q306: --last-five was given something else than five letters and digits",
            "give the last five characters of the key, as `quorate-vendor key list` shows them",
        );
    }
    let unknown = vendor.run(&["key", "list", "--group", "4000"]);
    assert!(unknown.err.starts_with("error Q409: catalog 1 has no key group 4000\n"), "{unknown:?}");

    let id = host.to_string();
    let entries = || vendor.run(&["audit", "list"]).succeeds().lines().count();
    assert_eq!(
        vendor.run(&["key", "unblock", &id]).succeeds(),
        format!("Product key {id} was not blocked; nothing changed.\n")
    );
    vendor.run(&["key", "block", &id]).succeeds();
    vendor.run(&["token", "add", "shop", "--scope", "read"]).succeeds();
    vendor.run(&["token", "revoke", "1"]).succeeds();
    let before = entries();
    let again = vendor.run(&["key", "block", &id]).succeeds();
    assert!(again.starts_with(&format!("Product key {id} is blocked since ")), "{again}");
    let again_token = vendor.run(&["token", "revoke", "1"]).succeeds();
    assert!(again_token.starts_with("Token 1 (shop) was taken back "), "{again_token}");
    for again in [again, again_token] {
        assert!(again.ends_with("; nothing changed.\n"), "{again}");
    }
    assert_eq!(entries(), before);
}

#[test]
fn packs_are_for_keys_that_were_issued_and_activate() {
    let vendor = Vendor::new();
    let (setup, blocked) = (vendor.key(SETUP_KEYS), vendor.key(HOST_KEYS));
    vendor.run(&["key", "block", &blocked.id().to_string()]).succeeds();
    vendor.pack(KeyId::new(96, 9).unwrap(), 1).fails(&unknown("00096-000-000009"), UNKNOWN_NEXT);
    vendor.pack(setup.id(), 1).fails(PUBLIC, PUBLIC_NEXT);
    vendor.pack(blocked.id(), 1).fails(&is_blocked(&blocked), BLOCKED_NEXT);
    vendor.pack(blocked.id(), 0).is_wrong_usage("invalid value '0' for '--slots <N>'");
    // Somebody may have typed the product key itself, so it is not repeated.
    for typed in ["96-1", &vendor.key(HOST_KEYS).reveal()] {
        for arguments in [&["pack", typed, "--out", "x"][..], &["key", "block", typed]] {
            vendor.run(arguments).fails(
                "Q106: what was given is not a key id",
                "write group and serial as in \"00096-000-000004\"; `key list` shows them",
            );
        }
    }
    assert!(!vendor.path("host.pack").exists());
    let nowhere = vendor.path("missing/host.pack");
    let key = vendor.key(HOST_KEYS).id().to_string();
    vendor.run(&["pack", &key, "--out", nowhere.to_str().unwrap()]).fails(
        &format!("Q602: {} cannot be written: no such file or directory", nowhere.display()),
        "check the disk and the path",
    );
}

#[test]
fn a_mistyped_installation_id_is_refused_by_its_group() {
    let vendor = Vendor::new();
    let key = vendor.key(HOST_KEYS);
    vendor.pack(key.id(), 1).succeeds();
    let id = installation_id(&key, 1).to_string();
    let next = "read the ID again from the machine, nine groups of six digits";
    for group in 0..9 {
        let mut typed = id.clone().into_bytes();
        let place = group * 7 + 2;
        typed[place] = if typed[place] == b'9' { b'0' } else { typed[place] + 1 };
        vendor
            .run(&["confirm", &String::from_utf8(typed).unwrap()])
            .fails(&format!("Q104: group {} of the Installation ID has a typing error", group + 1), next);
    }
    vendor
        .run(&["confirm", &id[..id.len() - 1]])
        .fails("Q104: the Installation ID has 53 digits, not 54", next);
    vendor
        .run(&["confirm", "12345O"])
        .fails("Q104: character 6 of the Installation ID, 'O', is not a digit", next);
    vendor.run(&["confirm"]).is_wrong_usage("INSTALLATION_ID");
    // However it is spaced, it is the same.
    let groups: Vec<&str> = id.split('-').collect();
    let spaced = vendor.run(&[&["confirm"], &groups[..]].concat()).succeeds();
    assert_eq!(vendor.run(&["confirm", &id]).succeeds(), spaced);
    let looked = vendor.run(&["inquire", &id]).succeeds();
    assert!(looked.contains("\nWould cost:    nothing: the same Confirmation ID comes again"), "{looked}");
    vendor.run(&["key", "block", &key.id().to_string()]).succeeds();
    let looked = vendor.run(&["inquire", &id]).succeeds();
    assert!(looked.contains("\nWould be refused, Q402 (0xC004C003): product key "), "{looked}");
}

#[test]
fn the_phone_desk_helps_nobody_without_a_good_key() {
    let vendor = Vendor::new();
    let key = vendor.key(HOST_KEYS);
    vendor.pack(key.id(), 1).succeeds();

    let unissued = ProductKey::new(KeyId::new(96, 9).unwrap(), [1; 8]);
    vendor.confirm(&installation_id(&unissued, 1)).fails(&unknown("00096-000-000009"), UNKNOWN_NEXT);
    let guessed = ProductKey::new(key.id(), [1; 8]);
    vendor.confirm(&installation_id(&guessed, 1)).fails(
        "Q104: the Installation ID was not made with product key 00096-000-000001",
        "read the ID again from the machine, after installing the right key there",
    );
    vendor.confirm(&installation_id(&vendor.key(SETUP_KEYS), 1)).fails(PUBLIC, PUBLIC_NEXT);
    // None of them took the slot.
    vendor.confirm(&installation_id(&key, 1)).succeeds();
    vendor.run(&["key", "block", &key.id().to_string()]).succeeds();
    vendor.confirm(&installation_id(&key, 1)).fails(&is_blocked(&key), BLOCKED_NEXT);
}

#[test]
fn what_there_is_to_choose_from_is_listed() {
    let vendor = Vendor::new();
    vendor
        .run(&["token", "add", "shop", "--scope", "write"])
        .is_wrong_usage("[possible values: read, desk, keys, products, admin]");
    let hook = ["webhook", "add", "https://shop.example/", "--event", "sale"];
    vendor.run(&hook).is_wrong_usage("[possible values: activation, limit-near, limit-reached]");
    vendor
        .run(&["user", "add", "ann", "--role", "boss"])
        .is_wrong_usage("[possible values: admin, support, read-only, customer]");
}

#[test]
fn slots_and_hosts_are_used_up_with_the_figures() {
    let vendor = Vendor::new();
    let key = vendor.key(HOST_KEYS);
    let no_slot = |ran: Ran| {
        ran.fails(
            "Q405 (0xC004C008): product key 00096-000-000001 has no slot left in its license pack",
            "make the customer a new pack: `quorate-vendor pack 00096-000-000001 --out FILE`",
        );
    };
    no_slot(vendor.confirm(&installation_id(&key, 1)));
    vendor.pack(key.id(), 2).succeeds();
    let spoken = |ran: Ran| ran.succeeds().lines().last().unwrap().to_owned();
    let first = spoken(vendor.confirm(&installation_id(&key, 1)));
    assert_ne!(spoken(vendor.confirm(&installation_id(&key, 2))), first);
    no_slot(vendor.confirm(&installation_id(&key, 3)));
    // The same Installation ID takes no second slot.
    assert_eq!(spoken(vendor.confirm(&installation_id(&key, 1))), first);

    vendor.pack(key.id(), 10).succeeds();
    for machine in 3..=6 {
        vendor.confirm(&installation_id(&key, machine)).succeeds();
    }
    vendor.confirm(&installation_id(&key, 7)).fails(
        "Q403 (0xC004C008): product key 00096-000-000001 is activated on 6 hosts; 6 are allowed",
        "release a host that is gone, raise the key's limit, or issue another key",
    );
    // The same machine with its key installed again is not a new host.
    let again = InstallationId::new(key.id(), &key.verifier(), ShortHardwareId([1; 6]), 2);
    assert_ne!(spoken(vendor.confirm(&again)), first);
}

#[test]
fn a_key_that_was_not_issued_cannot_be_blocked() {
    let vendor = Vendor::new();
    vendor.run(&["key", "block", "00096-000-000001"]).fails(&unknown("00096-000-000001"), UNKNOWN_NEXT);
    let key = vendor.key(HOST_KEYS).id().to_string();
    for _ in 0..2 {
        vendor.run(&["key", "block", &key]).succeeds();
    }
    assert_eq!(vendor.run(&["key", "list"]).succeeds().matches("blocked").count(), 1);
}

/// Two administrators at a time, or a script: no serial is given out twice, and none of them fails.
#[test]
fn keys_issued_at_the_same_time_are_distinct() {
    let vendor = Vendor::new();
    let directory = vendor.service_directory();
    let programs: Vec<_> = (0..6)
        .map(|_| {
            let mut command = vendor_program(&directory);
            command.args(["key", "issue", "--group", "96", "--count", "5"]);
            std::thread::spawn(move || Ran::from(&mut command))
        })
        .collect();
    let mut keys: Vec<String> = Vec::new();
    for program in programs {
        keys.extend(program.join().unwrap().succeeds().lines().map(str::to_owned));
    }
    keys.sort();
    let ids: Vec<&str> = keys.iter().map(|line| &line[..16]).collect();
    let expected: Vec<String> = (1..=30).map(|serial| format!("00096-000-{serial:06}")).collect();
    assert_eq!(ids, expected);
    assert_eq!(vendor.run(&["key", "list"]).succeeds().lines().count(), 30);
}

/// The limit holds however many ask at once.
#[test]
fn hosts_that_call_at_the_same_time_do_not_exceed_the_limit() {
    let vendor = Vendor::new();
    let key = vendor.key(HOST_KEYS);
    vendor.pack(key.id(), 12).succeeds();
    let calls: Vec<_> = (1..=10)
        .map(|machine| {
            let mut command = vendor_program(&vendor.service_directory());
            command.args(["confirm", &installation_id(&key, machine).to_string()]);
            std::thread::spawn(move || Ran::from(&mut command))
        })
        .collect();
    let (confirmed, refused): (Vec<Ran>, Vec<Ran>) =
        calls.into_iter().map(|call| call.join().unwrap()).partition(|ran| ran.status == Some(0));
    assert_eq!((confirmed.len(), refused.len()), (6, 4));
    for ran in refused {
        ran.fails(
            "Q403 (0xC004C008): product key 00096-000-000001 is activated on 6 hosts; 6 are allowed",
            "release a host that is gone, raise the key's limit, or issue another key",
        );
    }
}

fn unknown(key: &str) -> String {
    format!("Q401 (0xC004C003): product key {key} was not issued by this vendor")
}

fn is_blocked(key: &ProductKey) -> String {
    format!("Q402 (0xC004C003): product key {} (…{}) is blocked by the vendor", key.id(), key.partial())
}

const UNKNOWN_NEXT: &str =
    "compare the key with its certificate; `quorate-vendor key list` shows those issued";
const BLOCKED_NEXT: &str = "find out why it was blocked before you unblock it or issue another key";

const PUBLIC: &str = "Q102 (0xC004F035): product key 00099-000-000001 is of \"Contoso Office Standard client setup \
                      keys\": nothing is activated with it here";
const PUBLIC_NEXT: &str =
    "use a host key, a MAK or a retail key; KMS clients are activated by the customer's host";
