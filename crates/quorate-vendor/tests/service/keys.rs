//! Product keys: found, and issued in runs that come to their end or leave nothing.

use crate::common::place::{in_both, key};
use crate::common::{EXAMPLE, HOST_KEYS, MAKS};
use crate::{activate, refused};
use quorate_core::product_key::ProductKey;
use quorate_core::{Code, Error};
use quorate_vendor::keys::Issue;
use quorate_vendor::products::parse_products;
use quorate_vendor::store::keys::KeyFilter;

#[test]
fn keys_are_found_by_what_people_know_of_them() {
    in_both(|place| {
        let service = place.service();
        service.add_customer("Fabrikam", "").unwrap();
        let issue = Issue { customer: Some("fabrikam".to_owned()), ..Issue::of(MAKS, 3) };
        let keys = service.issue_few(&issue).unwrap();
        key(&service, HOST_KEYS);
        let found = |filter: KeyFilter, most| {
            let keys = service.keys(&filter, most).unwrap();
            keys.into_iter().map(|key| (key.id.to_string(), key.customer_name)).collect::<Vec<_>>()
        };
        let of_fabrikam = |id: &str| (id.to_owned(), Some("Fabrikam".to_owned()));
        let all = found(KeyFilter::default(), 9);
        assert_eq!(all.len(), 4);
        assert_eq!(all[0], ("00096-000-000001".to_owned(), None));
        assert_eq!(all[3], of_fabrikam("00097-000-000003"));
        let after = KeyFilter { after: Some(keys[0].id()), ..KeyFilter::default() };
        assert_eq!(found(after, 1), [of_fabrikam("00097-000-000002")]);
        // However it was typed.
        let partial = Some(keys[1].partial().0.to_lowercase());
        assert_eq!(
            found(KeyFilter { partial, ..KeyFilter::default() }, 9),
            [of_fabrikam("00097-000-000002")]
        );
        let customer = Some(service.customer_named("Fabrikam").unwrap().id);
        assert_eq!(found(KeyFilter { customer, ..KeyFilter::default() }, 9).len(), 3);
        let group = Some(HOST_KEYS);
        assert_eq!(found(KeyFilter { group, customer, ..KeyFilter::default() }, 9), []);

        service.block_key(keys[2].id()).unwrap();
        let blocked = |blocked| KeyFilter { blocked: Some(blocked), ..KeyFilter::default() };
        assert_eq!(found(blocked(true), 9), [of_fabrikam("00097-000-000003")]);
        assert_eq!(found(blocked(false), 9).len(), 3);

        service.assign_key(keys[0].id(), None).unwrap();
        assert_eq!(found(KeyFilter { customer, ..KeyFilter::default() }, 9).len(), 2);
        refused(
            service.assign_key(keys[0].id(), Some("Nobody")),
            Code::CustomerUnknown,
            "there is no customer \"Nobody\"",
        );
        let issue = Issue { customer: Some("Nobody".to_owned()), ..Issue::of(MAKS, 1) };
        refused(service.issue_few(&issue), Code::CustomerUnknown, "there is no customer \"Nobody\"");
    });
}

#[test]
fn a_long_run_of_keys_is_issued_whole() {
    in_both(|place| {
        let service = place.service();
        let mut issued: Vec<ProductKey> = Vec::new();
        service
            .issue_keys(&Issue::of(MAKS, 25_001), &mut |keys| {
                // Until all are there, none is anybody's.
                if issued.is_empty() {
                    assert_eq!(service.keys(&KeyFilter::default(), 9).unwrap().len(), 0);
                    assert_eq!(
                        service.usage(keys[0].id()).unwrap_err().code,
                        Code::KeyUnknown,
                        "a key of a run that goes on"
                    );
                }
                issued.extend_from_slice(keys);
                Ok(())
            })
            .unwrap();
        let serials: Vec<u32> = issued.iter().map(|key| key.id().serial()).collect();
        assert_eq!(serials, (1..=25_001).collect::<Vec<_>>());
        assert_eq!(service.keys(&KeyFilter::default(), u32::MAX).unwrap().len(), 25_001);
        for key in [&issued[0], &issued[10_000], &issued[25_000]] {
            activate(&service, key, 1).unwrap();
        }
    });
}

#[test]
fn a_run_that_stops_leaves_no_key() {
    in_both(|place| {
        let service = place.service();
        let mut parts = 0;
        let stopped = service.issue_keys(&Issue::of(MAKS, 30_000), &mut |_| {
            parts += 1;
            if parts == 2 { Err(Error::new(Code::DiskFull, "the disk is full", "free some")) } else { Ok(()) }
        });
        refused(stopped, Code::DiskFull, "the disk is full");
        assert_eq!(service.keys(&KeyFilter::default(), 9).unwrap().len(), 0);
        // Its serials are not used again: somebody may have seen the keys.
        assert_eq!(key(&service, MAKS).id().serial(), 30_001);
        assert_eq!(service.keys(&KeyFilter::default(), u32::MAX).unwrap().len(), 1);

        // The last part counts like the others: nothing is issued that could not be given.
        let mut parts = 0;
        let stopped = service.issue_keys(&Issue::of(MAKS, 20_001), &mut |_| {
            parts += 1;
            if parts == 3 { Err(Error::new(Code::DiskFull, "the disk is full", "free some")) } else { Ok(()) }
        });
        refused(stopped, Code::DiskFull, "the disk is full");
        let stopped = service.issue_keys(&Issue::of(MAKS, 1), &mut |_| {
            Err(Error::new(Code::DiskFull, "the disk is full", "free some"))
        });
        refused(stopped, Code::DiskFull, "the disk is full");
        assert_eq!(service.keys(&KeyFilter::default(), u32::MAX).unwrap().len(), 1);
        let issued = service.audit(None, 99).unwrap();
        assert_eq!(issued.iter().filter(|entry| entry.action == "key.issue").count(), 1);

        // One that slept so long that others gave it up does not go on.
        let mut parts = 0;
        let slept = service.issue_keys(&Issue::of(MAKS, 30_000), &mut |_| {
            parts += 1;
            if parts == 2 {
                place.meddle("UPDATE key_run SET touched = 1");
                key(&service, HOST_KEYS);
            }
            Ok(())
        });
        assert_eq!(slept.unwrap_err().code, Code::Internal);
        assert_eq!(service.keys(&KeyFilter::default(), u32::MAX).unwrap().len(), 2);
        service.issue_few(&Issue::of(HOST_KEYS, 1)).unwrap();
        place.meddle("DELETE FROM product_key WHERE key_group = 96");

        // One that is killed leaves keys that nobody finds; they go later.
        place.meddle(
            "INSERT INTO key_run (key_group, first, last, touched) VALUES (97, 40000, 40009, 1);
             INSERT INTO product_key (key_group, serial, verifier, partial, issued)
                 SELECT key_group, 40000, verifier, partial, issued FROM product_key",
        );
        assert_eq!(service.keys(&KeyFilter::default(), 9).unwrap().len(), 1);
        key(&service, MAKS);
        place.meddle("DELETE FROM key_run");
        assert_eq!(service.keys(&KeyFilter::default(), 9).unwrap().len(), 2);
    });
}

#[test]
fn a_group_has_so_many_serials() {
    in_both(|place| {
        let service = place.service();
        let last = key(&service, MAKS);
        place.meddle("UPDATE key_serial SET last = 999999997 WHERE key_group = 97");
        let error = service.issue_few(&Issue::of(MAKS, 3)).unwrap_err();
        assert_eq!(
            error.report(),
            "error Q411: key group 97 has 2 serials left; 3 are wanted\n\
             next: add another key group for the same SKU to the product file"
        );
        let issued = service.issue_few(&Issue::of(MAKS, 2)).unwrap();
        assert_eq!(issued[1].id().to_string(), "00097-999-999999");
        refused(
            service.issue_few(&Issue::of(MAKS, 1)),
            Code::SerialsUsedUp,
            "key group 97 has 0 serials left; 1 is wanted",
        );
        // Other groups have their own, and the keys that there are go on.
        key(&service, HOST_KEYS);
        activate(&service, &last, 1).unwrap();
    });
}

/// Products are imported while keys of a group are issued that the new ones do not have: nobody has the keys yet, so the
/// import goes through, and the run says what happened and leaves nothing.
#[test]
fn a_run_whose_group_is_dropped_meanwhile_leaves_no_key() {
    in_both(|place| {
        let service = place.service();
        key(&service, HOST_KEYS);
        let start = EXAMPLE.find("[[key-group]]\nnumber = 98").unwrap();
        let end = EXAMPLE.find("[[key-group]]\nnumber = 99").unwrap();
        let without = format!("{}{}", &EXAMPLE[..start], &EXAMPLE[end..]);
        // The edition of the MAKs in place of the one that is sold in boxes.
        let moved = EXAMPLE.replace(
            "name = \"Contoso Office retail keys\"\nsku = \"6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f05\"",
            "name = \"Contoso Office retail keys\"\nsku = \"6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f04\"",
        );
        let import = |text: &str| service.import(parse_products(text, "new.toml").unwrap()).unwrap();
        let mut first = 1;
        for (count, other, catalog) in [(30_000, &without, 2), (3, &without, 4), (30_000, &moved, 6)] {
            let (mut parts, mut given) = (0, 0);
            let issued = service.issue_keys(&Issue::of(98, count), &mut |keys| {
                (parts, given) = (parts + 1, given + keys.len());
                assert_eq!(keys[0].id().serial(), first + u32::try_from(given - keys.len()).unwrap());
                if parts == 1 {
                    import(other);
                }
                Ok(())
            });
            refused(
                issued,
                Code::KeyGroupUnknown,
                &format!(
                    "the keys were not issued: catalog {catalog} came meanwhile, and has no key group 98 of RETAIL channel"
                ),
            );
            // At the next part, not at the end.
            assert!(given <= 10_000, "{given}");
            assert_eq!(service.keys(&KeyFilter::default(), 9).unwrap().len(), 1);
            import(EXAMPLE);
            first += count;
        }
        // Serials are not used again: somebody may have seen the keys.
        assert_eq!(key(&service, 98).id().serial(), first);
    });
}
