//! Products as they are reviewed, signed and kept.

use crate::common::EXAMPLE;
use crate::common::place::in_both;
use crate::refused;
use quorate_core::Code;
use quorate_vendor::keys::Issue;
use quorate_vendor::products::parse_products;

#[test]
fn products_are_reviewed_before_they_are_signed() {
    in_both(|place| {
        let service = place.service();
        let changed = EXAMPLE.replace("Office MAKs\"", "Office MAKs\"\nmachines = 75");
        let changed = parse_products(&changed, "new.toml").unwrap();
        let said: Vec<String> =
            service.differences(&changed).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(said, ["~ key group 97 (Contoso Office MAKs): machines: not set → 75"]);
        assert_eq!(service.catalog().unwrap().number, 1);

        assert_eq!(service.import(changed.clone()).unwrap().catalog.number, 2);
        assert_eq!(service.differences(&changed).unwrap(), []);
        assert_eq!(service.import(changed.clone()).unwrap().catalog.number, 2);
        let history: Vec<u64> = service.catalogs().unwrap().iter().map(|entry| entry.number).collect();
        assert_eq!(history, [2, 1]);
        // What is exported can be imported again.
        let exported = parse_products(&service.product_file(Some(1)).unwrap(), "old.toml").unwrap();
        assert_eq!(exported, parse_products(EXAMPLE, "contoso.toml").unwrap());
        assert_eq!(parse_products(&service.product_file(None).unwrap(), "new.toml").unwrap(), changed);
        refused(service.product_file(Some(9)), Code::NotFound, "there is no catalog 9");
    });
}

#[test]
fn a_key_group_stays_while_there_are_keys_of_it() {
    in_both(|place| {
        let service = place.service();
        let group = EXAMPLE.find("[[key-group]]\nnumber = 98").unwrap();
        let end = EXAMPLE.find("[[key-group]]\nnumber = 99").unwrap();
        let without = format!("{}{}", &EXAMPLE[..group], &EXAMPLE[end..]);
        let without = parse_products(&without, "new.toml").unwrap();
        service.issue_few(&Issue::of(98, 3)).unwrap();
        refused(
            service.import(without),
            Code::CatalogInvalid,
            "key group 98 is not in the file, and 3 of its keys were issued",
        );
        // Nor may they become keys of another channel.
        let moved = EXAMPLE.replace(
            "name = \"Contoso Office retail keys\"\nsku = \"6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f05\"",
            "name = \"Contoso Office retail keys\"\nsku = \"6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f04\"",
        );
        assert_ne!(moved, EXAMPLE);
        refused(
            service.import(parse_products(&moved, "new.toml").unwrap()),
            Code::CatalogInvalid,
            "key group 98 is to change from RETAIL channel to VOLUME_MAK channel, and 3 of its keys were issued",
        );
        assert_eq!(service.catalog().unwrap().number, 1);
    });
}
