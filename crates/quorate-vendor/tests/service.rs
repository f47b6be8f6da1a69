//! The service itself, in SQLite and in PostgreSQL: keys, customers, limits, packs, revocation, audit.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::place::{Place, in_both, key};
use common::{EXAMPLE, HOST_KEYS, MAKS, SETUP_KEYS, installation_id};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quorate_core::hardware::{HardwareId, ShortHardwareId};
use quorate_core::host_activation::HostActivationRequest;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::KeyActivationRequest;
use quorate_core::license_pack::LicensePack;
use quorate_core::product_key::ProductKey;
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, Interval, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_vendor::keys::{Issue, NewLimits};
use quorate_vendor::products::parse_products;
use quorate_vendor::service::{Actor, Service};
use quorate_vendor::store::activations::ActivationFilter;
use quorate_vendor::store::keys::KeyFilter;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::collections::BTreeSet;

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

#[test]
fn customers_have_a_name_each() {
    in_both(|place| {
        let service = place.service();
        let fabrikam = service.add_customer("Fabrikam", "by invoice").unwrap();
        refused(
            service.add_customer("  fabrikam ", ""),
            Code::AlreadyThere,
            "there is a customer \"Fabrikam\" already",
        );
        refused(service.add_customer(" ", ""), Code::RequestInvalid, "a customer has no name");
        refused(
            service.add_customer("a\u{1b}[31m", ""),
            Code::RequestInvalid,
            "a customer's name or note holds a control character",
        );
        refused(
            service.add_customer(&"x".repeat(201), ""),
            Code::RequestInvalid,
            "a customer's name has 201 characters",
        );

        // A name that is longer than any is nobody's, in either database.
        let long = "x".repeat(60_000);
        refused(
            service.customer_named(&long),
            Code::CustomerUnknown,
            "there is no customer of a name with 60000 characters",
        );
        assert_eq!(service.customers(&long, "", 9).unwrap(), []);
        let error = service.customer_named("Fabri").unwrap_err();
        assert_eq!((error.code, error.next.as_str()), (Code::CustomerUnknown, "did you mean Fabrikam?"));
        let csv = "note,name\n,Northwind\n\"two\",\"Ärger & Söhne\"\n";
        assert_eq!(service.import_customers(csv.as_bytes(), "new.csv").unwrap(), 2);
        let names = |containing: &str, after: &str, most| {
            let customers = service.customers(containing, after, most).unwrap();
            customers.into_iter().map(|customer| customer.name).collect::<Vec<_>>()
        };
        assert_eq!(names("", "", 9), ["Fabrikam", "Northwind", "Ärger & Söhne"]);
        assert_eq!(names("", "Fabrikam", 1), ["Northwind"]);
        assert_eq!(names("ÄRGER", "", 9), ["Ärger & Söhne"]);
        // What would be a pattern is a text.
        assert_eq!(names("%", "", 9), [""; 0]);
        assert_eq!(names("_", "", 9), [""; 0]);

        let renamed = service.change_customer(fabrikam.id, Some("Fabrikam Inc"), None).unwrap();
        assert_eq!((renamed.name.as_str(), renamed.note.as_str()), ("Fabrikam Inc", "by invoice"));
        // Its own name, written otherwise, is not taken.
        service.change_customer(fabrikam.id, Some("FABRIKAM INC"), Some("")).unwrap();
        refused(
            service.change_customer(fabrikam.id, Some("northwind"), None),
            Code::AlreadyThere,
            "there is a customer \"Northwind\" already",
        );
        refused(service.customer(77), Code::CustomerUnknown, "there is no customer 77");
    });
}

#[test]
fn a_file_of_customers_is_taken_whole_or_not_at_all() {
    in_both(|place| {
        let service = place.service();
        service.add_customer("Fabrikam", "").unwrap();
        let refused = |csv: &[u8], what: &str| {
            refused(service.import_customers(csv, "new.csv"), Code::DocumentInvalid, what);
            assert_eq!(service.customers("", "", 9).unwrap().len(), 1);
        };
        refused(
            b"name\nNorthwind\n\"\"\nfabrikam\nNORTHWIND\nfine\n",
            "nothing of new.csv was taken: line 3: a customer has no name; \
             line 4: there is a customer \"Fabrikam\" already; line 5: \"NORTHWIND\" is in line 2 already",
        );
        refused(
            b"name,note\nNorthwind\nfine,\n",
            "nothing of new.csv was taken: line 2: it has 1 fields, not 2",
        );
        refused(b"name\nfine\n\xff\xfe\n", "nothing of new.csv was taken: line 3: it is not UTF-8");
        refused(b"name\n", "new.csv has no rows");
        refused(b"", "new.csv has no rows");
        let many: String = (0..12).fold("name\n".to_owned(), |csv, _| csv + "\"\"\n");
        let error = service.import_customers(many.as_bytes(), "new.csv").unwrap_err();
        assert!(error.what.ends_with("line 11: a customer has no name; and 2 more"), "{error}");
        let error = service.import_customers(b"customer\nfine\n", "new.csv").unwrap_err();
        assert!(error.what.contains("line 2: unknown field `customer`"), "{error}");
    });
}

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
            "key group 97 has 0 serials left; 1 are wanted",
        );
        // Other groups have their own, and the keys that there are go on.
        key(&service, HOST_KEYS);
        activate(&service, &last, 1).unwrap();
    });
}

#[test]
fn limits_are_the_groups_or_the_keys_own() {
    in_both(|place| {
        let service = place.service();
        let (host, mak, setup) = (key(&service, HOST_KEYS), key(&service, MAKS), key(&service, SETUP_KEYS));
        let set = |key: &ProductKey, new: NewLimits| service.limit_key(key.id(), &new).map(|key| key.limits);
        let hosts = |hosts| NewLimits { hosts: Some(hosts), ..NewLimits::default() };
        let machines = |machines| NewLimits { machines: Some(machines), ..NewLimits::default() };
        set(&mak, machines(Some(2))).unwrap();
        for machine in [1, 2] {
            activate(&service, &mak, machine).unwrap();
        }
        refused(
            activate(&service, &mak, 3),
            Code::MachinesUsedUp,
            "product key 00097-000-000001 (Contoso Office MAKs) is activated on 2 machines; 2 are allowed",
        );
        set(&mak, machines(Some(3))).unwrap();
        activate(&service, &mak, 3).unwrap();
        assert_eq!(service.usage(mak.id()).unwrap().allowed, 3);
        set(&mak, machines(None)).unwrap();
        assert_eq!(service.usage(mak.id()).unwrap().allowed, 50);

        set(&host, hosts(Some(1))).unwrap();
        let again = NewLimits { reactivations: Some(Some(0)), ..NewLimits::default() };
        assert_eq!(set(&host, again).unwrap().hosts, Some(1));
        activate_host(&service, &host, 1).unwrap();
        refused(
            activate_host(&service, &host, 2),
            Code::HostsUsedUp,
            "product key 00096-000-000001 is activated on 1 host; 1 are allowed",
        );
        refused(
            activate_host(&service, &host, 1),
            Code::ReactivationsUsedUp,
            "product key 00096-000-000001 was activated again 0 times on this host; 0 are allowed",
        );

        for (key, new, code, what) in [
            (
                &mak,
                hosts(Some(3)),
                Code::ProductKeyUnsuited,
                "product key 00097-000-000001 activates machines: it has no limit of hosts or re-activations",
            ),
            (
                &host,
                machines(Some(3)),
                Code::ProductKeyUnsuited,
                "product key 00096-000-000001 activates hosts: it has no limit of machines",
            ),
            (
                &host,
                hosts(Some(0)),
                Code::RequestInvalid,
                "product key 00096-000-000001 cannot have a limit of 0",
            ),
        ] {
            refused(set(key, new), code, what);
        }
        // Nothing to change changes nothing.
        assert_eq!(set(&host, NewLimits::default()).unwrap().hosts, Some(1));
        assert_eq!(set(&setup, machines(Some(3))).unwrap_err().code, Code::ProductKeyUnsuited);
    });
}

#[test]
fn a_machine_that_was_scrapped_makes_room() {
    in_both(|place| {
        let service = place.service();
        let key = key(&service, MAKS);
        service.limit_key(key.id(), &NewLimits { machines: Some(Some(1)), ..NewLimits::default() }).unwrap();
        activate(&service, &key, 1).unwrap();
        assert_eq!(activate(&service, &key, 2).unwrap_err().code, Code::MachinesUsedUp);
        service.release_machine(key.id(), ShortHardwareId([1; 6])).unwrap();
        activate(&service, &key, 2).unwrap();
        // It counts again when it asks again.
        assert_eq!(activate(&service, &key, 1).unwrap_err().code, Code::MachinesUsedUp);
        let usage = service.usage(key.id()).unwrap();
        assert_eq!((usage.machines, usage.left()), (1, 0));
        let listed = service.activations(&ActivationFilter::default(), 9).unwrap();
        let released: Vec<bool> = listed.iter().map(|activation| activation.released.is_some()).collect();
        assert_eq!(released, [false, true]);
        refused(
            service.release_machine(key.id(), ShortHardwareId([9; 6])),
            Code::NotFound,
            "product key 00097-000-000001 does not count machine 090909090909",
        );
    });
}

#[test]
fn a_pack_made_again_opens_by_every_confirmation_id() {
    in_both(|place| {
        let service = place.service();
        let key = key(&service, HOST_KEYS);
        let old = service.pack(key.id(), 2).unwrap();
        // As many as are wanted are there already.
        assert_eq!(slots(&service.pack(key.id(), 2).unwrap()), [1, 2]);
        let spoken = service.confirm(&installation_id(&key, 1)).unwrap();
        assert_eq!((spoken.usage.machines, spoken.usage.slots_left, spoken.usage.slots), (1, 1, 2));
        let new = service.pack(key.id(), 4).unwrap();
        assert_eq!(slots(&new), [1, 2, 3, 4, 5]);
        let later = service.confirm(&installation_id(&key, 2)).unwrap();
        for (confirmed, machine) in [(&spoken, 1), (&later, 2)] {
            let iid = installation_id(&key, machine);
            let secret = confirmed.confirmation_id.reveal(&iid, &key.verifier());
            for pack in [&old, &new] {
                let (pack, _) = LicensePack::open(pack, Timestamp::now()).unwrap();
                assert!(pack.unseal(&secret).is_some(), "machine {machine}");
            }
        }
    });
}

#[test]
fn the_desk_sees_what_runs_low() {
    in_both(|place| {
        let service = place.service();
        let key = key(&service, HOST_KEYS);
        let warning = |service: &Service| service.usage(key.id()).unwrap().warning();
        assert_eq!(warning(&service), None);
        service.pack(key.id(), 2).unwrap();
        assert_eq!(
            warning(&service).unwrap(),
            "the license pack is good for 2 activations by telephone: make a new one"
        );
        service.pack(key.id(), 12).unwrap();
        assert_eq!(warning(&service), None);
        for machine in 1..=5 {
            service.confirm(&installation_id(&key, machine)).unwrap();
        }
        assert_eq!(warning(&service).unwrap(), "this key is nearly used up: 1 host left of 6");
        let usage = service.confirm(&installation_id(&key, 6)).unwrap().usage;
        assert_eq!(usage.warning().unwrap(), "this key is used up: 6 of 6 hosts");
        service.block_key(key.id()).unwrap();
        assert_eq!(warning(&service).unwrap(), "this key is blocked");
        // Who shows an Installation ID that was made without the key learns nothing of it.
        let guessed = ProductKey::new(key.id(), [9; 8]);
        assert_eq!(
            service.inquire(&installation_id(&guessed, 1)).unwrap_err().code,
            Code::InstallationIdInvalid
        );
        assert_eq!(service.inquire(&installation_id(&key, 1)).unwrap().machines, 6);
    });
}

#[test]
fn what_is_revoked_is_in_the_next_list() {
    in_both(|place| {
        let service = place.service();
        let key = key(&service, HOST_KEYS);
        activate_host(&service, &key, 1).unwrap();
        service.pack(key.id(), 1).unwrap();
        service.confirm(&installation_id(&key, 2)).unwrap();
        let listed = service.activations(&ActivationFilter { key: Some(key.id()), ..Default::default() }, 9);
        let certificates: Vec<String> =
            listed.unwrap().into_iter().map(|activation| activation.certificate.unwrap()).collect();
        assert_eq!(certificates.len(), 2);
        let list = || {
            let (authority, now) = (service.authority(), Timestamp::now());
            let jws = service.revocations_jws().unwrap();
            signed::verify::<RevocationList>(&jws, authority.root(), authority.vendor(), now)
                .unwrap()
                .document
        };
        assert_eq!(list().number, 1);
        // However a tool writes serial numbers.
        let with_colons: Vec<&str> = (0..16).map(|byte| &certificates[0][2 * byte..2 * byte + 2]).collect();
        service.revoke_certificate(&with_colons.join(":").to_uppercase()).unwrap();
        service.revoke_certificate(&certificates[0]).unwrap();
        let revoked = list();
        assert_eq!((revoked.number, revoked.keys.len()), (2, 0));
        assert_eq!(revoked.certificates, BTreeSet::from([certificates[0].clone()]));
        refused(
            service.revoke_certificate("00ff"),
            Code::CertificateUnknown,
            "no host has a certificate of this vendor with that serial number",
        );

        service.block_key(key.id()).unwrap();
        assert_eq!((list().number, list().keys), (3, BTreeSet::from([key.id()])));
        service.unblock_key(key.id()).unwrap();
        assert_eq!((list().number, list().keys.len(), list().certificates.len()), (4, 0, 1));
        activate_host(&service, &key, 1).unwrap();
    });
}

#[test]
fn the_audit_log_shows_who_did_what_and_what_was_changed_since() {
    in_both(|place| {
        let service = place.service().by(Actor::named("alice"));
        let key = key(&service, MAKS);
        activate(&service, &key, 1).unwrap();
        service.block_key(key.id()).unwrap();
        let entries = service.audit(None, 9).unwrap();
        let said: Vec<[&str; 3]> =
            entries.iter().map(|entry| [&*entry.who, &*entry.action, &*entry.subject]).collect();
        let id = "00097-000-000001";
        assert_eq!(
            said[..3],
            [["alice", "key.block", id], ["service", "activation", id], ["alice", "key.issue", id]]
        );
        assert_eq!(said[3][1..], ["product.import", "catalog 1"]);
        // A refusal changes nothing, and is no entry.
        activate(&service, &key, 2).unwrap_err();
        let last = service.verify_audit(None).unwrap().unwrap();
        assert_eq!((last.number, &last.hash), (4, &entries[0].hash));
        service.verify_audit(Some(&entries[2].hash.to_uppercase())).unwrap();

        place.let_the_audit_log_be_changed();
        let broken = |meddling: &str, repair: &str, what: &str| {
            place.meddle(meddling);
            refused(service.verify_audit(Some(&entries[0].hash)), Code::StoreDamaged, what);
            place.meddle(repair);
            service.verify_audit(Some(&entries[0].hash)).unwrap();
        };
        broken(
            "UPDATE audit SET who = 'bob' WHERE number = 3",
            "UPDATE audit SET who = 'service' WHERE number = 3",
            "entry 3 of the audit log, or one before it, was changed",
        );
        broken(
            "UPDATE audit SET number = 9 WHERE number = 2",
            "UPDATE audit SET number = 2 WHERE number = 9",
            "entry 2 of the audit log is missing",
        );
        place.meddle("DELETE FROM audit WHERE number = 4");
        service.verify_audit(None).unwrap();
        refused(
            service.verify_audit(Some(&entries[0].hash)),
            Code::StoreDamaged,
            "none of the 3 entries of the audit log has the hash that was kept: the log was cut off or written anew",
        );
    });
}

#[test]
fn the_database_keeps_the_audit_log() {
    in_both(|place| {
        let service = place.service();
        key(&service, MAKS);
        let before = service.audit(None, 9).unwrap();
        let entry = "INTO audit (number, at, who, action, subject, detail, hash)
                     SELECT 1, at, 'bob', action, subject, detail, hash FROM audit WHERE number = 2";
        let mut statements = vec![
            "UPDATE audit SET who = 'bob' WHERE number = 2".to_owned(),
            "UPDATE audit SET number = 9".to_owned(),
            "DELETE FROM audit WHERE number = 2".to_owned(),
            "DELETE FROM audit".to_owned(),
        ];
        statements.extend(match place.cluster {
            Some(_) => vec![
                "TRUNCATE audit".to_owned(),
                format!("INSERT {entry} ON CONFLICT (number) DO UPDATE SET who = 'bob'"),
            ],
            None => vec![
                format!("REPLACE {entry}"),
                format!("INSERT OR REPLACE {entry}"),
                entry
                    .replace("INTO audit (number", "REPLACE INTO audit (rowid, number")
                    .replace("SELECT 1,", "SELECT 1, 99,"),
                // SQLite wants to be told where the selection ends.
                format!("INSERT {entry} AND true ON CONFLICT (number) DO UPDATE SET who = 'bob'"),
            ],
        });
        for statement in &statements {
            let refused = place.try_to_meddle(statement).unwrap_err();
            assert!(refused.contains("rows of audit are only added"), "{statement}: {refused}");
        }
        assert_eq!(service.audit(None, 9).unwrap(), before);
        // What is added is added still.
        key(&service, MAKS);
        assert_eq!(service.verify_audit(None).unwrap().unwrap().number, before[0].number + 1);
        place.let_the_audit_log_be_changed();
        place.meddle(&statements[0]);
        refused(
            service.verify_audit(None),
            Code::StoreDamaged,
            "entry 2 of the audit log, or one before it, was changed",
        );
    });
}

/// Two replicas, each with several who ask at a time: whatever they ask, no key is activated on more machines than it
/// may be, no slot is given twice, and what was granted is kept.
#[test]
fn concurrent_activations_never_exceed_a_limit() {
    in_both(|place| {
        let replicas = [place.service(), place.service()];
        let requests = prop::collection::vec((0..2usize, 1..=9u8, any::<bool>()), 1..40);
        let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&(1..=4u32, requests), |(limit, requests)| {
                let key = key(&replicas[0], MAKS);
                replicas[0]
                    .limit_key(key.id(), &NewLimits { machines: Some(Some(limit)), ..NewLimits::default() })
                    .unwrap();
                replicas[0].pack(key.id(), 40).unwrap();
                let granted: Vec<(u8, bool, String)> = std::thread::scope(|scope| {
                    let ask = |share: Vec<(usize, u8, bool)>| {
                        let (replicas, key) = (&replicas, &key);
                        scope.spawn(move || {
                            let mut granted = Vec::new();
                            for (replica, machine, by_phone) in share {
                                let answer = match by_phone {
                                    true => replicas[replica]
                                        .confirm(&installation_id(key, machine))
                                        .map(|confirmed| confirmed.confirmation_id.to_string()),
                                    false => {
                                        activate(&replicas[replica], key, machine).map(|_| String::new())
                                    }
                                };
                                match answer {
                                    Ok(said) => granted.push((machine, by_phone, said)),
                                    Err(error) => assert_eq!(error.code, Code::MachinesUsedUp, "{error}"),
                                }
                            }
                            granted
                        })
                    };
                    let threads: Vec<_> = requests
                        .chunks(requests.len().div_ceil(6))
                        .map(|share| ask(share.to_vec()))
                        .collect();
                    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
                });
                let machines: BTreeSet<u8> = granted.iter().map(|(machine, ..)| *machine).collect();
                let asked: BTreeSet<u8> = requests.iter().map(|(_, machine, _)| *machine).collect();
                prop_assert_eq!(machines.len(), asked.len().min(limit as usize));
                prop_assert_eq!(replicas[1].usage(key.id()).unwrap().machines as usize, machines.len());
                // The same Installation ID has the same Confirmation ID, and no two have the same.
                let spoken: BTreeSet<(u8, &str)> = granted
                    .iter()
                    .filter(|(_, by_phone, _)| *by_phone)
                    .map(|(machine, _, said)| (*machine, said.as_str()))
                    .collect();
                let by_phone: BTreeSet<u8> = spoken.iter().map(|(machine, _)| *machine).collect();
                prop_assert_eq!(spoken.len(), by_phone.len());
                let left = replicas[0].usage(key.id()).unwrap().slots_left as usize;
                prop_assert_eq!(left, 40 - by_phone.len());
                Ok(())
            })
            .unwrap();
        replicas[0].verify_audit(None).unwrap();
    });
}

/// A certificate in a pack ends some day; a slot whose certificate has ended is not given, nor in the pack.
#[test]
fn slots_end_with_their_certificates() {
    in_both(|place| {
        let key = key(&place.service(), HOST_KEYS);
        place.service().pack(key.id(), 2).unwrap();
        let later = || Interval::days(5 * 365 + 1).after(Timestamp::now());
        let service = place.service_at(Clock::new(later));
        assert_eq!(service.confirm(&installation_id(&key, 1)).unwrap_err().code, Code::SlotsUsedUp);
        assert_eq!(slots(&service.pack(key.id(), 1).unwrap()), [3]);
        service.confirm(&installation_id(&key, 1)).unwrap();
    });
}

/// The slots of one pack end together: whoever asks in the last month of one is not given another that ends with it.
#[test]
fn a_slot_that_ends_soon_is_not_given() {
    in_both(|place| {
        let key = key(&place.service(), HOST_KEYS);
        place.service().pack(key.id(), 2).unwrap();
        place.service().confirm(&installation_id(&key, 1)).unwrap();
        let late = place.service_at(Clock::new(|| Interval::days(5 * 365 - 21).after(Timestamp::now())));
        assert_eq!(late.usage(key.id()).unwrap().slots_left, 0);
        assert_eq!(late.confirm(&installation_id(&key, 2)).unwrap_err().code, Code::SlotsUsedUp);
        // The new pack opens by what was given of the old one, and has another to give.
        assert_eq!(slots(&late.pack(key.id(), 1).unwrap()), [1, 2, 3]);
        late.confirm(&installation_id(&key, 2)).unwrap();
        assert_eq!(late.usage(key.id()).unwrap().slots_left, 0);
    });
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: quorate_core::Result<T>, code: Code, what: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code, error.what.as_str()), (code, what));
}

fn activate(service: &Service, key: &ProductKey, machine: u8) -> quorate_core::Result<u32> {
    let verifier = key.verifier();
    let hardware = HardwareId::from_bytes(&[machine; 32]).unwrap();
    let iid = InstallationId::new(key.id(), &verifier, hardware.short(), 1);
    let request = KeyActivationRequest::new(iid, hardware, &verifier);
    service.activate_key(&request).map(|answer| answer.machines)
}

/// Each time with a key pair of its own, as after a new installation.
fn activate_host(service: &Service, key: &ProductKey, machine: u8) -> quorate_core::Result<()> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let request = CertificateParams::default().serialize_request(&pair).unwrap();
    let iid = installation_id(key, machine);
    service.activate_host(&HostActivationRequest::new(iid, request.der(), &key.verifier())).map(drop)
}

fn slots(pack: &str) -> Vec<u32> {
    let (pack, _) = LicensePack::open(pack, Timestamp::now()).unwrap();
    pack.slots.iter().map(|slot| slot.number).collect()
}

#[test]
fn the_tables_are_set_up_once() {
    in_both(|place| {
        let Place { database, .. } = place;
        let directory = tempfile::tempdir().unwrap();
        let directories = quorate_vendor::authority::Directories {
            service: directory.path().join("vendor"),
            root: directory.path().join("root"),
        };
        let vendor = quorate_vendor::service::Vendor {
            id: "fabrikam".parse().unwrap(),
            name: "Fabrikam".to_owned(),
            url: "https://127.0.0.1".to_owned(),
        };
        let error = Service::create_in(&directories, database, None, &vendor, &Clock::system()).unwrap_err();
        assert_eq!(error.code, Code::AlreadyThere, "{error}");
        assert!(!directories.service.join("ca.pem").exists());
        place.service().catalog().unwrap();
        // A newer program's tables are left alone.
        place.meddle("UPDATE schema_form SET number = 7");
        let error = Service::open_in(&place.service_directory(), database, Clock::system()).err().unwrap();
        assert_eq!(error.what, "the tables are of form 7; this program knows forms up to 1");
    });
}
