//! Signing in: who guesses, whose browser is known, and what changes meanwhile.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::people::{PASSWORD, over_https, people};
use common::place::{Place, in_both};
use common::web::client_that_stays;
use quorate_core::{Code, Interval, Timestamp};
use quorate_edge::clock::Clock;
use quorate_vendor::accounts::Role;
use quorate_vendor::device::DeviceToken;
use quorate_vendor::service::Service;
use std::time::{Duration, Instant};

#[test]
fn who_guesses_is_slowed_down() {
    over_https(async |web, place| {
        let sign_in = async |name: &str, password: &str| {
            let form = [("name", name), ("password", password), ("to", "/")];
            let answer = web.client.post(web.url("/sign-in")).form(&form).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let (status, nobody) = sign_in("nobody", "x").await;
        let (_, alice) = sign_in("alice", "x").await;
        assert_eq!((status, nobody.replace("nobody", "alice")), (401, alice));
        for _ in 0..9 {
            assert_eq!(sign_in("alice", "guess").await.0, 401);
        }
        // Now not even the right one is taken, for a while.
        let (status, page) = sign_in("alice", PASSWORD).await;
        assert_eq!(status, 401);
        // In the same words as ever: nobody learns whether there is such a name.
        assert!(page.contains("after 10 wrong passwords a name is closed for 5m"), "{page}");
        let later = || Interval::minutes(6).after(Timestamp::now());
        tokio::task::block_in_place(|| {
            place.service_at(Clock::new(later)).sign_in("alice", PASSWORD).unwrap();
            // A right one forgives the wrong ones.
            place.service().sign_in("alice", "guess").unwrap_err();
            place.service().sign_in("alice", PASSWORD).unwrap();
        });
        // The address has tried 12 times; after 30 it is slow.
        let mut refused = 0;
        for _ in 0..40 {
            let (status, page) = sign_in("rita", PASSWORD).await;
            if status == 429 {
                assert!(page.contains("this address has tried to sign in too often"), "{page}");
                refused += 1;
            }
        }
        assert!(refused > 0);
    });
}

#[test]
fn a_session_ends_with_the_day_or_the_password() {
    over_https(async |_, place| {
        tokio::task::block_in_place(|| {
            let service = place.service();
            let token = service.sign_in("alice", PASSWORD).unwrap();
            assert_eq!(service.signed_in(&token).unwrap().role, Role::Admin);
            let later = || Interval::hours(13).after(Timestamp::now());
            assert!(place.service_at(Clock::new(later)).signed_in(&token).is_err());
            service.set_password("alice", Some("another good password")).unwrap();
            assert!(service.signed_in(&token).is_err());
            let made = service.set_password("alice", None).unwrap().unwrap();
            let token = service.sign_in("ALICE", &made).unwrap();
            service.sign_out(&token).unwrap();
            assert!(service.signed_in(&token).is_err());
            let short = service.set_password("alice", Some("short")).unwrap_err();
            assert_eq!(short.what, "the password has 5 characters");
            let error = service.add_account("Alice", Role::Admin, None, None).unwrap_err();
            assert_eq!(error.what, "there is a user \"alice\" already");
            for (role, customer) in [(Role::Customer, None), (Role::Admin, Some("Fabrikam"))] {
                let error = service.add_account("new", role, customer, None).unwrap_err();
                assert_eq!(error.what, "a customer's people, and only these, belong to a customer");
            }
        });
    });
}

/// Wrong passwords until there are too many.
fn guess(service: &Service, device: Option<&DeviceToken>, name: &str) {
    for _ in 0..10 {
        let error = service.sign_in_from(device, name, "guess").unwrap_err();
        assert_eq!(error.code, Code::SignInFailed);
    }
}

fn can(service: &Service, device: Option<&DeviceToken>, name: &str) -> bool {
    service.sign_in_from(device, name, PASSWORD).is_ok()
}

/// Wrong ones that lie a day back are no guesses; ten of one day are.
#[test]
fn mistyping_now_and_then_is_forgiven() {
    on_two_replicas(|place, one, _| {
        for _ in 0..9 {
            one.sign_in("alice", "typo").unwrap_err();
        }
        let next_day = place.service_at(Clock::new(|| Interval::hours(25).after(Timestamp::now())));
        next_day.sign_in("alice", "typo").unwrap_err();
        assert!(can(&next_day, None, "alice"), "the tenth of two days");
        guess(&next_day, None, "alice");
        assert!(!can(&next_day, None, "alice"));
    });
}

#[test]
fn who_changes_his_password_stays_signed_in_there_alone() {
    on_two_replicas(|_, one, other| {
        let (before, device) = one.sign_in_from(None, "alice", PASSWORD).unwrap();
        let new = "another good password";
        let refused =
            |old: &str, new: &str| one.change_password(Some(&device), "alice", old, new).unwrap_err();
        assert_eq!(refused("guess", new).code, Code::SignInFailed);
        assert_eq!(refused(PASSWORD, "short").what, "the password has 5 characters");
        assert!(other.signed_in(&before).is_ok() && can(other, None, "alice"), "nothing has changed");
        // Strangers have closed the name meanwhile.
        guess(other, None, "alice");
        let (session, device) = one.change_password(Some(&device), "alice", PASSWORD, new).unwrap();
        assert_eq!(other.signed_in(&session).unwrap().account.name, "alice");
        assert!(other.signed_in(&before).is_err());
        guess(other, None, "alice");
        assert!(other.sign_in_from(Some(&device), "alice", new).is_ok(), "the browser is known");
    });
}

/// The service as two replicas on one database.
fn on_two_replicas(test: impl Fn(&Place, &Service, &Service)) {
    in_both(|place| {
        people(&place.service());
        test(place, &place.service(), &place.service());
    });
}

#[test]
fn strangers_keep_nobody_out_of_the_browser_he_uses() {
    on_two_replicas(|place, one, other| {
        let (_, alices) = one.sign_in_from(None, "alice", PASSWORD).unwrap();
        let (_, sams) = one.sign_in_from(None, "sam", PASSWORD).unwrap();
        guess(one, None, "alice");
        assert!(!can(other, None, "alice"));
        // Neither another account's browser is known, nor what somebody made up, nor a token in the place of a session.
        assert!(!can(other, Some(&sams), "alice"));
        assert!(!can(other, Some(&DeviceToken::new("x")), "alice"));
        assert!(one.signed_in(&quorate_vendor::accounts::SessionToken::new(alices.reveal())).is_err());
        assert!(can(other, Some(&alices), "ALICE"));
        // That she is in leaves the name closed to strangers.
        assert!(!can(one, None, "alice"));
        let later = || Interval::minutes(6).after(Timestamp::now());
        assert!(can(&place.service_at(Clock::new(later)), None, "alice"));
    });
}

#[test]
fn a_known_browser_has_wrong_passwords_of_its_own() {
    on_two_replicas(|place, one, other| {
        let (_, office) = one.sign_in_from(None, "alice", PASSWORD).unwrap();
        let (_, home) = other.sign_in_from(None, "alice", PASSWORD).unwrap();
        guess(one, Some(&office), "alice");
        assert!(!can(other, Some(&office), "alice"));
        assert!(can(other, Some(&home), "alice"));
        // Nor do they count for others.
        assert!(can(other, None, "alice"));
        assert!(!can(one, Some(&office), "alice"));
        let later = || Interval::minutes(6).after(Timestamp::now());
        let later = place.service_at(Clock::new(later));
        // One more is enough to close it again, and a right one forgives them.
        later.sign_in_from(Some(&office), "alice", "guess").unwrap_err();
        assert!(!can(&later, Some(&office), "alice"));
        later.set_closed("alice", true).unwrap();
        assert!(!can(&later, Some(&home), "alice"), "the account is closed, whatever the browser");
        later.set_closed("alice", false).unwrap();
        assert!(can(&later, Some(&office), "alice"));
        for _ in 0..9 {
            later.sign_in_from(Some(&office), "alice", "guess").unwrap_err();
        }
        assert!(can(&later, Some(&office), "alice"));
    });
}

#[test]
fn a_new_password_makes_every_browser_a_stranger() {
    on_two_replicas(|_, one, other| {
        let (_, device) = one.sign_in_from(None, "alice", PASSWORD).unwrap();
        one.set_password("alice", Some("another good password")).unwrap();
        one.set_password("alice", Some(PASSWORD)).unwrap();
        guess(other, Some(&device), "alice");
        // They were a stranger's.
        assert!(!can(one, None, "alice"));
        assert!(!can(one, Some(&device), "alice"));
    });
}

/// Whatever is wrong, it is said in the same words and takes the same work.
#[test]
fn who_guesses_learns_nothing() {
    let place = Place::in_sqlite();
    people(&place.service());
    let service = place.service();
    let (_, known) = service.sign_in_from(None, "rita", PASSWORD).unwrap();
    guess(&service, None, "alice");
    guess(&service, Some(&known), "rita");
    service.set_closed("frank", true).unwrap();
    let cases = [
        ("nobody", None, "guess"),
        ("sam", None, "guess"),
        ("sam", Some(&known), "guess"),
        ("alice", None, "guess"),
        ("alice", None, PASSWORD),
        ("rita", Some(&known), PASSWORD),
        ("frank", None, PASSWORD),
    ];
    let mut said = Vec::new();
    let mut took: Vec<Duration> = Vec::new();
    for (name, device, password) in cases {
        let once = || {
            let began = Instant::now();
            let error = service.sign_in_from(device, name, password).unwrap_err();
            (began.elapsed(), error)
        };
        let tries: Vec<_> = (0..3).map(|_| once()).collect();
        took.push(tries.iter().map(|(took, _)| *took).min().unwrap());
        said.extend(tries.into_iter().map(|(_, error)| error));
    }
    assert!(said.iter().all(|error| *error == said[0]), "{said:?}");
    // A password that is not verified at all takes a hundredth.
    let (least, most) = (took.iter().min().unwrap(), took.iter().max().unwrap());
    assert!(*most < *least * 4, "{took:?}");
}

#[test]
fn a_browser_keeps_its_token_and_shows_it_again() {
    over_https(async |web, place| {
        let client = client_that_stays(&web.root);
        let sign_in = async |password: &str, cookies: &str| {
            let form = [("name", "alice"), ("password", password), ("to", "/")];
            let request = client.post(web.url("/sign-in")).header("cookie", cookies).form(&form);
            let answer = request.send().await.unwrap();
            let cookies = answer.headers().get_all("set-cookie").iter();
            let cookies: Vec<String> = cookies.map(|cookie| cookie.to_str().unwrap().to_owned()).collect();
            (answer.status().as_u16(), cookies)
        };
        let pair = |cookie: &str| cookie.split_once(';').unwrap().0.to_owned();
        let (status, cookies) = sign_in(PASSWORD, "").await;
        assert_eq!((status, cookies.len()), (303, 2));
        assert!(cookies[0].starts_with("__Host-quorate="));
        assert!(cookies[0].ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"));
        assert!(cookies[1].starts_with("__Host-quorate-device="));
        assert!(cookies[1].ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=31536000"));
        let device = pair(&cookies[1]);
        tokio::task::block_in_place(|| guess(&place.service(), None, "alice"));
        assert_eq!(sign_in(PASSWORD, "").await, (401, vec![]));
        let (status, again) = sign_in(PASSWORD, &format!("other=1; {device}")).await;
        assert_eq!((status, again.len()), (303, 2));
        // It opens no page.
        let page = client.get(web.url("/keys")).header("cookie", device.as_str()).send().await.unwrap();
        assert_eq!(page.status(), 303);
        // Her own password is changed where she is known, and she is known again after that.
        let session = pair(&again[0]);
        let form_token =
            quorate_vendor::accounts::SessionToken::new(session.split_once('=').unwrap().1).form_token();
        let form = [("csrf", form_token.as_str()), ("old", PASSWORD), ("new", "another good password")];
        let change = async |cookies: String| {
            client.post(web.url("/password")).header("cookie", cookies).form(&form).send().await.unwrap()
        };
        assert_eq!(change(session.clone()).await.status(), 400);
        let changed = change(format!("{session}; {}", pair(&again[1]))).await;
        assert_eq!(
            (changed.status().as_u16(), changed.headers().get_all("set-cookie").iter().count()),
            (303, 2)
        );
        let device = changed.headers().get_all("set-cookie").iter().nth(1).unwrap().to_str().unwrap();
        let device = pair(device);
        tokio::task::block_in_place(|| guess(&place.service(), None, "alice"));
        assert_eq!(sign_in("another good password", "").await.0, 401);
        assert_eq!(sign_in("another good password", &device).await.0, 303);
    });
}
