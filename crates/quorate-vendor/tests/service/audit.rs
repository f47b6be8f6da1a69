//! The audit log: who did what, and what keeps it.

use crate::common::place::{in_both, key};
use crate::common::{HOST_KEYS, MAKS};
use crate::{activate, refused};
use quorate_core::{Code, Error};
use quorate_vendor::keys::Issue;
use quorate_vendor::service::Actor;

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

        for no_hash in ["zz", "", &entries[2].hash[1..], &format!("g{}", &entries[2].hash[1..])] {
            refused(
                service.verify_audit(Some(no_hash)),
                Code::RequestInvalid,
                "what was given is not a hash of the audit log: one has 64 digits from 0 to 9 and a to f",
            );
        }

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

/// What changes nothing is no entry; what gives something away is one, also the second time.
#[test]
fn every_change_is_an_entry() {
    in_both(|place| {
        let service = place.service();
        let newest = || {
            let entry = service.audit(None, 1).unwrap().remove(0);
            format!("{} {} {}", entry.action, entry.subject, entry.detail)
        };
        let host = key(&service, HOST_KEYS);
        service.pack(host.id(), 2).unwrap();
        assert_eq!(newest(), "pack.make 00096-000-000001 {\"slots\":2}");
        service.pack(host.id(), 2).unwrap();
        assert_eq!(newest(), "pack.give 00096-000-000001 {\"slots\":0}");

        let id = service.add_customer("Fabrikam", "owes us 3").unwrap().id;
        service.change_customer(id, None, Some("owes us 4")).unwrap();
        let note = r#"customer.change Fabrikam {"id":1,"before":"Fabrikam","changed":["note"]}"#;
        assert_eq!(newest(), note);
        service.change_customer(id, Some("Fabrikam"), Some("owes us 4")).unwrap();
        assert_eq!(newest(), note);
        service.change_customer(id, Some("Fabrikam Inc"), Some("")).unwrap();
        let both = r#"customer.change Fabrikam Inc {"id":1,"before":"Fabrikam","changed":["name","note"]}"#;
        assert_eq!(newest(), both);
        assert_eq!(service.audit(None, 9).unwrap().len(), 7);

        // Keys that were thrown away have been somewhere.
        let full = service.issue_keys(&Issue::of(MAKS, 20_001), &mut |_| {
            Err(Error::new(Code::DiskFull, "the disk is full", "free some"))
        });
        refused(full, Code::DiskFull, "the disk is full");
        assert_eq!(newest(), "key.discard 00097-000-000001 {\"last\":\"00097-000-020001\"}");
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
