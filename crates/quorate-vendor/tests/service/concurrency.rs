//! Several replicas that are asked at a time.

use crate::activate;
use crate::common::people::{PASSWORD, people};
use crate::common::place::{in_both, key};
use crate::common::web::Web;
use crate::common::{MAKS, installation_id};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quorate_core::Code;
use quorate_core::hardware::HardwareId;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::KeyActivationRequest;
use quorate_vendor::keys::NewLimits;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;

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

/// Wrong passwords that come at the same time are counted one by one: nine are not too many, ten are.
#[test]
fn wrong_passwords_that_come_together_are_counted_exactly() {
    in_both(|place| {
        people(&place.service());
        let replicas = [place.service(), place.service()];
        let together = |wrong: usize| {
            std::thread::scope(|scope| {
                for number in 0..wrong {
                    let replica = &replicas[number % 2];
                    scope.spawn(move || {
                        let error = replica.sign_in("alice", "guess").unwrap_err();
                        assert_eq!(error.code, Code::SignInFailed, "{error}");
                    });
                }
            });
        };
        together(9);
        // The right one forgives them.
        replicas[1].sign_in("alice", PASSWORD).unwrap();
        together(10);
        assert_eq!(replicas[0].sign_in("alice", PASSWORD).unwrap_err().code, Code::SignInFailed);
    });
}

/// Few work at the database at a time. Whoever hangs up gives his place back: when his work is done, or at once when it
/// has not begun.
#[test]
fn a_request_that_is_cancelled_gives_its_place_back() {
    in_both(|place| {
        let mak = key(&place.service(), MAKS);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let web = runtime.block_on(Web::serve_service(place.service()));
        let catalog =
            async |patience: Duration| web.client.get(web.url("/v1/catalog")).timeout(patience).send().await;
        let bodies: Vec<String> = (1..=12)
            .map(|machine| {
                let hardware = HardwareId::from_bytes(&[machine; 32]).unwrap();
                let iid = InstallationId::new(mak.id(), &mak.verifier(), hardware.short(), 1);
                serde_json::to_string(&KeyActivationRequest::new(iid, hardware, &mak.verifier())).unwrap()
            })
            .collect();
        // So often that any place that was lost would be missed.
        for _ in 0..3 {
            place.during_a_turn(|| {
                runtime.block_on(async {
                    // More than there are places; each waits for a turn, or for a place to wait in.
                    let mut asked = JoinSet::new();
                    for body in &bodies {
                        let request = web.client.post(web.url("/v1/activations")).body(body.clone());
                        asked.spawn(request.timeout(Duration::from_millis(700)).send());
                    }
                    while let Some(answer) = asked.join_next().await {
                        assert!(answer.unwrap().unwrap_err().is_timeout());
                    }
                    // They are gone, and what they have begun still has every place.
                    assert!(catalog(Duration::from_millis(300)).await.unwrap_err().is_timeout());
                });
            });
            runtime.block_on(async {
                assert_eq!(catalog(Duration::from_secs(20)).await.unwrap().status(), 200);
            });
        }
        // What had begun was done, once.
        let machines = place.service().usage(mak.id()).unwrap().machines;
        assert!((8..=12).contains(&machines), "{machines}");
        place.service().verify_audit(None).unwrap();
    });
}
