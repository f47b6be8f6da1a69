//! Keys in files and on screens: none is issued that nobody has, and none is half assigned.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::place::in_both;
use common::{MAKS, Vendor};
use quorate_core::Code;
use quorate_vendor::keys::Issue;
use quorate_vendor::store::keys::KeyFilter;
use std::process::Stdio;

#[test]
fn a_file_assigns_all_of_its_keys_or_none() {
    in_both(|place| {
        let service = place.service();
        service.add_customer("Fabrikam", "").unwrap();
        service.add_customer("Northwind", "").unwrap();
        let issued = service.issue_few(&Issue::of(MAKS, 3)).unwrap();
        let customers = || -> Vec<Option<String>> {
            let keys = service.keys(&KeyFilter::default(), 9).unwrap();
            keys.into_iter().map(|key| key.customer_name).collect()
        };
        let ids: Vec<String> = issued.iter().map(|key| key.id().to_string()).collect();
        let [first, second, third] = ids.as_slice() else { panic!("{ids:?}") };

        let csv = format!("key-id,customer\n{first},Fabrikam\n{second},northwind\n{third},Fabrikam\n");
        assert_eq!(service.assign_keys(csv.as_bytes(), "sold.csv").unwrap(), 3);
        let before = customers();
        assert_eq!(before, ["Fabrikam", "Northwind", "Fabrikam"].map(|name| Some(name.to_owned())));
        let entry = &service.audit(None, 1).unwrap()[0];
        assert_eq!((entry.action.as_str(), entry.subject.as_str()), ("key.assign-file", "sold.csv"));

        let product_key = issued[0].reveal();
        let csv = format!(
            "key-id,customer\n{first},\n{second},Tailspin\n{first},Fabrikam\n00097-000-000009,Fabrikam\n\
             {product_key},Fabrikam\n{third}\n"
        );
        let error = service.assign_keys(csv.as_bytes(), "sold.csv").unwrap_err();
        assert_eq!(error.code, Code::DocumentInvalid);
        for said in [
            "line 3: there is no customer \"Tailspin\"",
            &format!("line 4: {first} is in line 2 already"),
            "line 5: product key 00097-000-000009 was not issued by this vendor",
            "line 6: ",
            "line 7: it has 1 field, not 2",
        ] {
            assert!(error.what.contains(said), "{error}");
        }
        assert!(!error.what.contains(&*product_key), "{error}");
        let csv = format!("id,customer\n{first},Fabrikam\n");
        let error = service.assign_keys(csv.as_bytes(), "sold.csv").unwrap_err();
        assert_eq!(error.what, "line 1 of sold.csv names the columns \"id\", \"customer\"");
        assert_eq!(error.next, "write as its first line the columns: key-id, customer");
        let error =
            service.assign_keys(format!("{product_key},Fabrikam\n").as_bytes(), "sold.csv").unwrap_err();
        assert_eq!(error.what, "line 1 of sold.csv names the columns one of 29 characters, \"Fabrikam\"");
        assert_eq!(customers(), before);

        // Back to nobody.
        service.assign_keys(format!("customer,key-id\n,{first}\n").as_bytes(), "back.csv").unwrap();
        assert_eq!(customers()[0], None);
    });
}

/// A reader that has gone, as of a pipe, has seen no key: none is issued.
#[test]
fn keys_that_nobody_has_seen_are_not_issued() {
    let vendor = Vendor::new();
    for arguments in [&["key", "issue", "--group", "97"][..], &["--json", "key", "issue", "--group", "97"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = common::vendor_program(&vendor.service_directory());
        let output = program.args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("Q602"), "{said}");
        assert!(said.contains("standard output cannot be written: broken pipe"), "{said}");
        assert!(said.contains("keys that were shown are not issued"), "{said}");
    }
    let service = vendor.service();
    assert_eq!(service.keys(&KeyFilter::default(), 9).unwrap().len(), 0);
    // A serial that was set aside is not used again, so that no key can be taken for another.
    let shown = vendor.run(&["key", "issue", "--group", &MAKS.to_string()]).succeeds();
    assert!(shown.starts_with("00097-000-000003  "), "{shown}");
}

/// However many keys a customer has, each is shown.
#[test]
fn every_key_of_a_customer_is_shown() {
    let vendor = Vendor::new();
    vendor.run(&["customer", "add", "Fabrikam"]).succeeds();
    let issue = ["key", "issue", "--group", "97", "--count", "1001", "--customer", "Fabrikam"];
    vendor.run(&issue).succeeds();
    let shown = vendor.run(&["customer", "show", "Fabrikam"]).succeeds();
    let ids = |shown: &str| shown.lines().filter(|line| line.starts_with("Product key: ")).count();
    assert_eq!(ids(&shown), 1_001);
    assert!(shown.contains("Product key:   00097-000-001001 "));
    let shown = vendor.run(&["--json", "customer", "show", "Fabrikam"]).succeeds();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["keys"].as_array().unwrap().len(), 1_001);
}
