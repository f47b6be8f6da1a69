//! The phone desk: license packs, and the slots that Confirmation IDs open.

use crate::common::place::{in_both, key};
use crate::common::{HOST_KEYS, MAKS, RETAIL_KEYS, installation_id};
use crate::refused;
use quorate_core::hardware::ShortHardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_pack::LicensePack;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Code, Interval, Timestamp};
use quorate_edge::clock::Clock;
use quorate_vendor::keys::NewLimits;
use quorate_vendor::phone::Cost;
use quorate_vendor::service::Service;
use quorate_vendor::store::activations::ActivationFilter;

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
        assert_eq!(service.inquire(&installation_id(&key, 1)).unwrap().usage.machines, 6);
    });
}

/// Of a pack that holds what the machines left can use, nothing is missing; hosts come back when their certificates end.
#[test]
fn a_pack_for_the_last_machine_is_no_warning() {
    in_both(|place| {
        let service = place.service();
        let retail = key(&service, RETAIL_KEYS);
        service.pack(retail.id(), 1).unwrap();
        let usage = service.usage(retail.id()).unwrap();
        assert_eq!((usage.left(), usage.slots_left, usage.warning()), (1, 1, None));
        service.confirm(&installation_id(&retail, 1)).unwrap();
        let used_up = service.usage(retail.id()).unwrap().warning();
        assert_eq!(used_up.unwrap(), "this key is used up: 1 of 1 machine");
    });
}

/// What is asked at the desk first: whose it is, and what it would cost. Nothing is spent by asking.
#[test]
fn the_desk_looks_before_it_gives() {
    in_both(|place| {
        let service = place.service();
        let (host, mak) = (key(&service, HOST_KEYS), key(&service, MAKS));
        let cost = |key: &ProductKey, machine| service.inquire(&installation_id(key, machine)).unwrap().cost;
        let said = |key: &ProductKey, machine| {
            let inquiry = service.inquire(&installation_id(key, machine)).unwrap();
            inquiry.cost.ok().map(|cost| cost.said(&inquiry.usage))
        };
        assert_eq!(cost(&host, 1).unwrap_err().code, Code::SlotsUsedUp);
        assert_eq!(said(&host, 1), None);
        for key in [&host, &mak] {
            service.pack(key.id(), 5).unwrap();
        }
        assert_eq!(cost(&host, 1), Ok(Cost::Machine));
        assert_eq!(said(&host, 1).unwrap(), "one more host: the key is then activated on 1 of 6");
        let usage = service.usage(host.id()).unwrap();
        assert_eq!((usage.machines, usage.slots_left), (0, 5));
        service.confirm(&installation_id(&host, 1)).unwrap();
        assert_eq!(cost(&host, 1), Ok(Cost::Nothing));
        // The same host with another Installation ID, as after the key was installed again.
        let again = reinstalled(&host, 1);
        assert_eq!(service.inquire(&again).unwrap().cost, Ok(Cost::Reactivation { number: 1, allowed: 9 }));
        service.confirm(&again).unwrap();
        assert_eq!(service.inquire(&again).unwrap().cost, Ok(Cost::Nothing));
        service.confirm(&installation_id(&mak, 1)).unwrap();
        assert_eq!(service.inquire(&reinstalled(&mak, 1)).unwrap().cost, Ok(Cost::Slot));

        service.limit_key(host.id(), &NewLimits { hosts: Some(Some(1)), ..NewLimits::default() }).unwrap();
        // The same is said as when it is refused.
        let refusal = cost(&host, 2).unwrap_err();
        assert_eq!(service.confirm(&installation_id(&host, 2)).unwrap_err(), refusal);
        assert_eq!(refusal.code, Code::HostsUsedUp);
        // A machine that was released would count again.
        service.release_machine(mak.id(), ShortHardwareId([1; 6])).unwrap();
        assert_eq!(cost(&mak, 1), Ok(Cost::Machine));
        let elsewhere = ProductKey::new(KeyId::new(HOST_KEYS, 99).unwrap(), [1; 8]);
        service.block_key(mak.id()).unwrap();
        assert_eq!(cost(&mak, 1).unwrap_err().code, Code::KeyBlocked);
        assert_eq!(service.inquire(&installation_id(&elsewhere, 1)).unwrap_err().code, Code::KeyUnknown);
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

/// A certificate that was revoked is given to nobody again: the caller is activated once more, as far as he may be.
#[test]
fn what_was_revoked_is_not_given_again() {
    in_both(|place| {
        let service = place.service();
        let key = key(&service, HOST_KEYS);
        service.pack(key.id(), 3).unwrap();
        let iid = installation_id(&key, 1);
        let confirm = || service.confirm(&iid).map(|confirmed| confirmed.confirmation_id.to_string());
        let revoke = || {
            let newest = service.activations(&ActivationFilter::default(), 1).unwrap().remove(0);
            service.revoke_certificate(&newest.certificate.unwrap()).unwrap();
        };
        let first = confirm().unwrap();
        assert_eq!(confirm().unwrap(), first);
        revoke();
        let second = confirm().unwrap();
        assert_ne!(second, first);
        assert_eq!(confirm().unwrap(), second);
        let usage = service.usage(key.id()).unwrap();
        assert_eq!((usage.machines, usage.slots_left), (1, 1));
        // It is a re-activation like others.
        let again = |times| NewLimits { reactivations: Some(Some(times)), ..NewLimits::default() };
        service.limit_key(key.id(), &again(1)).unwrap();
        revoke();
        refused(
            confirm(),
            Code::ReactivationsUsedUp,
            "product key 00096-000-000001 was activated again 1 time on this host; 1 is allowed",
        );
        // A refusal has spent no slot; the last one is spent then, and no other is left.
        service.limit_key(key.id(), &again(9)).unwrap();
        assert!(![first, second].contains(&confirm().unwrap()));
        revoke();
        assert_eq!(confirm().unwrap_err().code, Code::SlotsUsedUp);
    });
}

/// Nor is one that has ended, or ends so soon that it is no help.
#[test]
fn what_ends_soon_is_not_given_again() {
    in_both(|place| {
        for group in [HOST_KEYS, MAKS] {
            let key = key(&place.service(), group);
            place.service().pack(key.id(), 1).unwrap();
            let iid = installation_id(&key, 1);
            let confirm = |service: &Service| {
                service.confirm(&iid).map(|confirmed| confirmed.confirmation_id.to_string())
            };
            let first = confirm(&place.service()).unwrap();
            let year = place.service_at(Clock::new(|| Interval::days(365).after(Timestamp::now())));
            assert_eq!(confirm(&year).unwrap(), first);
            let late = place.service_at(Clock::new(|| Interval::days(5 * 365 - 21).after(Timestamp::now())));
            let ended = place.service_at(Clock::new(|| Interval::days(5 * 365 + 1).after(Timestamp::now())));
            for service in [&late, &ended] {
                assert_eq!(confirm(service).unwrap_err().code, Code::SlotsUsedUp);
            }
            late.pack(key.id(), 1).unwrap();
            let second = confirm(&late).unwrap();
            assert_ne!(second, first);
            assert_eq!(confirm(&ended).unwrap(), second);
            // The same machine: of a host key, a re-activation.
            assert_eq!(late.usage(key.id()).unwrap().machines, 1);
        }
    });
}

/// The same machine after its key was removed and installed again.
fn reinstalled(key: &ProductKey, machine: u8) -> InstallationId {
    InstallationId::new(key.id(), &key.verifier(), ShortHardwareId([machine; 6]), 2)
}

fn slots(pack: &str) -> Vec<u32> {
    let (pack, _) = LicensePack::open(pack, Timestamp::now()).unwrap();
    pack.slots.iter().map(|slot| slot.number).collect()
}
