//! Several replicas that are asked at a time.

use crate::activate;
use crate::common::place::{in_both, key};
use crate::common::{MAKS, installation_id};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quorate_core::Code;
use quorate_vendor::keys::NewLimits;
use std::collections::BTreeSet;

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
