//! How often a key may be activated, and what is taken back.

use crate::common::place::{in_both, key};
use crate::common::{HOST_KEYS, MAKS, SETUP_KEYS, installation_id};
use crate::{activate, activate_host, refused};
use quorate_core::hardware::ShortHardwareId;
use quorate_core::product_key::ProductKey;
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Timestamp, signed};
use quorate_edge::clock::Clock;
use quorate_vendor::keys::NewLimits;
use quorate_vendor::store::activations::{ActivationFilter, Standing};
use std::collections::BTreeSet;

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
            "product key 00096-000-000001 is activated on 1 host; 1 is allowed",
        );
        refused(
            activate_host(&service, &host, 1),
            Code::ReactivationsUsedUp,
            "product key 00096-000-000001 was activated again 0 times on this host; 0 are allowed",
        );

        // A certificate that is to end is renewed for nothing; soon after, the host is activated again, as before.
        let years = |years: i64| {
            move || Timestamp::from_second(Timestamp::now().as_second() + years * 31_536_000).unwrap()
        };
        refused(
            activate_host(&place.service_at(Clock::new(years(2))), &host, 1),
            Code::ReactivationsUsedUp,
            "product key 00096-000-000001 was activated again 0 times on this host; 0 are allowed",
        );
        let later = place.service_at(Clock::new(years(3)));
        activate_host(&later, &host, 1).unwrap();
        refused(
            activate_host(&later, &host, 1),
            Code::ReactivationsUsedUp,
            "product key 00096-000-000001 was activated again 0 times on this host; 0 are allowed",
        );
        let filter = ActivationFilter { key: Some(host.id()), ..ActivationFilter::default() };
        let how: Vec<String> =
            service.activations(&filter, 9).unwrap().into_iter().map(|one| one.how).collect();
        assert_eq!(how, ["renewal", "online"]);
        assert_eq!(service.usage(host.id()).unwrap().machines, 1);

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

/// A host's certificates before the one that is named may be good for years still: they are revoked with it. A newer one
/// is not, and it is said which.
#[test]
fn a_host_is_revoked_with_what_it_had_before() {
    in_both(|place| {
        let service = place.service();
        let key = key(&service, HOST_KEYS);
        for machine in [1, 2, 1, 1] {
            activate_host(&service, &key, machine).unwrap();
        }
        let filter = ActivationFilter { key: Some(key.id()), ..ActivationFilter::default() };
        let standings = || {
            let mut listed = service.activations(&filter, 9).unwrap();
            listed.reverse();
            listed.into_iter().map(|one| one.standing.unwrap()).collect::<Vec<_>>()
        };
        use Standing::{Current, Revoked, Superseded};
        assert_eq!(standings(), [Superseded, Current, Superseded, Current]);
        let mut certificates: Vec<String> = service
            .activations(&filter, 9)
            .unwrap()
            .into_iter()
            .map(|one| one.certificate.unwrap())
            .collect();
        certificates.reverse();
        let number = || {
            let jws = service.revocations_jws().unwrap();
            let (authority, now) = (service.authority(), Timestamp::now());
            signed::verify::<RevocationList>(&jws, authority.root(), authority.vendor(), now)
                .unwrap()
                .document
                .number
        };
        let before = number();
        let host = service.revoke_certificate(&certificates[2]).unwrap();
        assert_eq!((host.key, host.machine), (key.id(), ShortHardwareId([1; 6])));
        assert_eq!(host.revoked, [certificates[0].clone(), certificates[2].clone()]);
        assert_eq!(host.newer.as_ref(), Some(&certificates[3]));
        assert_eq!(standings(), [Revoked, Current, Revoked, Current]);
        // One list for all of them, and none where nothing is new.
        assert_eq!(number(), before + 1);
        let again = service.revoke_certificate(&certificates[0]).unwrap();
        assert_eq!((again.revoked.len(), again.newer), (0, Some(certificates[3].clone())));
        assert_eq!(number(), before + 1);
        let host = service.revoke_certificate(&certificates[3]).unwrap();
        assert_eq!((host.revoked, host.newer), (vec![certificates[3].clone()], None));
        assert_eq!(standings(), [Revoked, Current, Revoked, Revoked]);
    });
}

/// A certificate that was given by telephone, and again after the machine was released, is newer than one between.
#[test]
fn a_certificate_that_is_given_again_is_the_newest() {
    in_both(|place| {
        let service = place.service();
        let key = key(&service, HOST_KEYS);
        service.pack(key.id(), 1).unwrap();
        service.confirm(&installation_id(&key, 1)).unwrap();
        activate_host(&service, &key, 1).unwrap();
        service.release_machine(key.id(), ShortHardwareId([1; 6])).unwrap();
        service.confirm(&installation_id(&key, 1)).unwrap();
        let filter = ActivationFilter { key: Some(key.id()), ..ActivationFilter::default() };
        let listed = service.activations(&filter, 9).unwrap();
        let standings: Vec<Standing> = listed.iter().map(|one| one.standing.unwrap()).collect();
        assert_eq!(standings, [Standing::Current, Standing::Superseded, Standing::Current]);
        let [again, between, first] =
            [0, 1, 2].map(|index: usize| listed[index].certificate.clone().unwrap());
        assert_eq!(again, first);
        let host = service.revoke_certificate(&between).unwrap();
        assert_eq!((host.revoked, host.newer), (vec![between], Some(again)));
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
