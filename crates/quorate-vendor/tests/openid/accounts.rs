//! Whose account it is, and with which role.

use crate::common::openid::{Stand, on_the_network};
use crate::common::people::PASSWORD;
use crate::common::place::{Place, in_both};
use crate::provider::RealProvider;
use crate::{anew, portal, role, role_of, staff};
use quorate_vendor::accounts::Role;
use quorate_vendor::service::Service;
use serde_json::json;

fn actions(service: &Service) -> Vec<String> {
    let entries = service.audit(None, 100).unwrap().into_iter().rev();
    let entries = entries.filter(|entry| entry.who == "OpenID Connect");
    entries.map(|entry| format!("{} {}", entry.action, entry.subject)).collect()
}

#[test]
fn what_the_provider_says_now_is_what_counts() {
    in_both(|place| {
        on_the_network(async {
            let (web, provider) = portal(place).await;
            let first = anew(&web, "1").await.unwrap();
            assert_eq!(role(place, &first), Some(Role::Admin));
            let second = anew(&web, "1").await.unwrap();
            let mut people = staff();
            people["1"]["groups"] = json!(["all"]);
            provider.knows(people.clone());
            // Roles are read when somebody signs in, and then hold for all his sessions.
            assert_eq!(role(place, &first), Some(Role::Admin));
            let third = anew(&web, "1").await.unwrap();
            for token in [&first, &second, &third] {
                assert_eq!(role(place, token), Some(Role::ReadOnly));
            }
            people["1"]["groups"] = json!([]);
            provider.knows(people.clone());
            let refused = anew(&web, "1").await.unwrap_err();
            assert!(
                refused.starts_with("Q709 the provider knows \"anna\", but says nothing of"),
                "{refused}"
            );
            // Who has no role any more is out.
            for token in [&first, &second, &third] {
                assert_eq!(role(place, token), None);
            }
            // Another name is the same person, and another person of the same name is another.
            people["1"] = json!({ "preferred_username": "anna-lena", "groups": ["desk"] });
            people["7"] = json!({ "preferred_username": "ANNA", "groups": ["all"] });
            provider.knows(people);
            assert_eq!(role(place, &anew(&web, "1").await.unwrap()), Some(Role::Support));
            assert_eq!(role(place, &anew(&web, "7").await.unwrap()), Some(Role::ReadOnly));
            let accounts = place.ask(|service| service.accounts().unwrap());
            let known: Vec<_> = accounts
                .iter()
                .filter_map(|account| {
                    Some((account.name.as_str(), account.identity.as_ref()?.subject.as_str()))
                })
                .collect();
            assert_eq!(known, [("anna", "1"), ("ANNA (OpenID)", "7")]);
            assert_eq!(
                place.ask(actions),
                [
                    "user.add anna",
                    "user.sign-in anna",
                    "user.sign-in anna",
                    "user.role anna",
                    "user.sign-in anna",
                    "user.refuse anna",
                    "user.role anna",
                    "user.sign-in anna",
                    "user.add ANNA (OpenID)",
                    "user.sign-in ANNA (OpenID)",
                ]
            );
        });
    });
}

#[test]
fn a_closed_account_stays_out() {
    in_both(|place| {
        on_the_network(async {
            let (web, _provider) = portal(place).await;
            let token = anew(&web, "2").await.unwrap();
            let name = "Sam@contoso.example";
            place.ask(|service| service.set_closed(name, true).unwrap());
            assert_eq!(role(place, &token), None);
            assert_eq!(anew(&web, "2").await.unwrap_err(), "Q709 the account sam@contoso.example is closed");
            place.ask(|service| service.set_closed(name, false).unwrap());
            assert_eq!(role(place, &token), None);
            assert_eq!(role(place, &anew(&web, "2").await.unwrap()), Some(Role::Support));
        });
    });
}

#[test]
fn nobody_takes_over_an_account_by_its_name() {
    in_both(|place| {
        on_the_network(async {
            let (web, provider) = portal(place).await;
            provider.knows(json!({
                "8": { "preferred_username": "Alice", "groups": ["all"] },
                "9": { "preferred_username": "alice", "groups": ["all"] },
            }));
            let by_password = place.ask(|service| service.sign_in("alice", PASSWORD).unwrap());
            let by_openid = anew(&web, "8").await.unwrap();
            assert_eq!(role(place, &by_password), Some(Role::Admin));
            assert_eq!(role(place, &by_openid), Some(Role::ReadOnly));
            anew(&web, "9").await.unwrap();
            place.ask(|service| {
                let names: Vec<_> =
                    service.accounts().unwrap().into_iter().map(|account| account.name).collect();
                assert!(names.contains(&"Alice (OpenID)".to_owned()), "{names:?}");
                assert!(names.contains(&"alice (OpenID 2)".to_owned()), "{names:?}");
                service.sign_in("alice", PASSWORD).unwrap();
                // Nor is there a password that would open the others, or that could be set.
                for password in ["", PASSWORD] {
                    assert_eq!(
                        service.sign_in("Alice (OpenID)", password).unwrap_err().code.as_str(),
                        "Q705"
                    );
                }
                for given in [None, Some(PASSWORD)] {
                    let error = service.set_password("Alice (OpenID)", given).unwrap_err();
                    assert_eq!(
                        error.what,
                        "Alice (OpenID) signs in by OpenID Connect and has no password here"
                    );
                }
                let error = service.add_account("alice (openid)", Role::Admin, None, None).unwrap_err();
                assert_eq!(error.code.as_str(), "Q606");
                assert_eq!(role_of(service, &by_openid), Some(Role::ReadOnly));
            });
        });
    });
}

/// A claim other than the usual one; an address counts when the provider has verified it.
#[test]
fn a_verified_address_can_give_a_role() {
    on_the_network(async {
        let place = tokio::task::block_in_place(Place::in_sqlite);
        let stand = Stand::new(&place).await;
        let provider = RealProvider::start(
            &stand.redirect(),
            json!({
                "2": { "email": "all", "email_verified": true },
                "3": { "email": "all", "email_verified": false },
                "4": { "email": "all" },
            }),
        );
        let web = stand.serve(&provider.issuer, "RS256", "claim = 'email'\n").await;
        let token = anew(&web, "2").await.unwrap();
        assert_eq!(role(&place, &token), Some(Role::ReadOnly));
        for login in ["3", "4"] {
            let refused = anew(&web, login).await.unwrap_err();
            assert!(
                refused.starts_with("Q709") && refused.contains("says nothing of \"email\""),
                "{refused}"
            );
        }
    });
}
