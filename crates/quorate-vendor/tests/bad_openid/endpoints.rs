//! A provider that is down, or says what none would; passwords are taken all the while.

use crate::common::openid::{Stand, Wanderer, field, on_the_network, shown};
use crate::common::people::{PASSWORD, people};
use crate::common::place::Place;
use crate::common::web::Web;
use crate::fake::Fake;
use crate::{back, begin, finish, portal, sign_in};
use quorate_vendor::service::Service;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// What stands where a provider should.
#[test]
fn what_is_no_provider_is_told() {
    const HOME: &str = "/.well-known/openid-configuration";
    let place = Place::in_sqlite();
    on_the_network(async {
        place.ask(people);
        let describes = |change: fn(&mut Value)| {
            move |fake: &Fake| {
                let mut description = fake.description();
                change(&mut description);
                fake.answers(HOME, 200, description.to_string());
            }
        };
        type Breaks = Box<dyn Fn(&Fake)>;
        let cases: Vec<(Breaks, &str)> = vec![
            (
                Box::new(describes(|all| all["issuer"] = json!("https://evil.example"))),
                "{home}: it is of the issuer \"https://evil.example\", and not of \"{issuer}\"",
            ),
            (
                Box::new(describes(|all| {
                    all["issuer"] = json!(format!("{}/", all["issuer"].as_str().unwrap()))
                })),
                "{home}: it is of the issuer \"{issuer}/\", and not of \"{issuer}\"",
            ),
            (
                Box::new(describes(|all| all["token_endpoint"] = json!("http://evil.example/token"))),
                "{home}: it names \"http://evil.example/token\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| all["authorization_endpoint"] = json!("javascript:alert(1)"))),
                "{home}: it names \"javascript:alert(1)\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| {
                    all["authorization_endpoint"] = json!("https://a.example/\r\nSet-Cookie: a=b")
                })),
                "{home}: it names \"https://a.example/\\r\\nSet-Cookie: a=b\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| all["jwks_uri"] = json!("https://l\u{f6}gin.example/"))),
                "{home}: it names \"https://l\u{f6}gin.example/\", which is no URL to use",
            ),
            (
                Box::new(describes(|all| drop(all.as_object_mut().unwrap().remove("token_endpoint")))),
                "{home}: answered with HTTP status 200 and no such JSON",
            ),
            (
                Box::new(|fake| fake.answers(HOME, 200, "<html>")),
                "{home}: answered with HTTP status 200 and no such JSON",
            ),
            (Box::new(|fake| fake.answers(HOME, 302, "")), "{home}: answered with HTTP status 302"),
            (Box::new(|fake| fake.answers(HOME, 503, "{}")), "{home}: answered with HTTP status 503"),
            (
                Box::new(|fake| fake.answers(HOME, 200, " ".repeat(600 * 1024))),
                "{home}: the answer is larger than 512 KB",
            ),
            (Box::new(|fake| fake.answers(HOME, 0, "")), "{home}: operation timed out"),
            (
                Box::new(|fake| fake.answers("/jwks", 404, "")),
                "\"{issuer}/jwks\": answered with HTTP status 404",
            ),
            (
                Box::new(|fake| fake.answers("/jwks", 200, "{\"keys\": 1}")),
                "\"{issuer}/jwks\": answered with HTTP status 200 and no such JSON",
            ),
            // With no key that is known here, nothing is believed.
            (Box::new(|fake| fake.answers("/jwks", 200, "{\"keys\": [1, {}]}")), ""),
            (
                Box::new(|fake| fake.answers("/token", 200, "{\"access_token\": \"at\"}")),
                "\"{issuer}/token\": answered with HTTP status 200 and no such JSON",
            ),
            (
                Box::new(|fake| fake.answers("/token", 500, "at")),
                "\"{issuer}/token\": answered with HTTP status 500 and no such JSON",
            ),
            (
                Box::new(|fake| {
                    fake.makes(|fake, mut claims| {
                        claims.as_object_mut().unwrap().remove("groups");
                        fake.sign(&claims)
                    });
                    fake.answers("/me", 401, "");
                }),
                "\"{issuer}/me\": answered with HTTP status 401",
            ),
        ];
        for (breaks, expected) in cases {
            let fake = Fake::start().await;
            breaks(&fake);
            let web = portal(&place, &fake).await;
            let began = Instant::now();
            let (code, what) = sign_in(&web).await.unwrap_err();
            assert!(began.elapsed() < Duration::from_secs(10), "{expected}: {:?}", began.elapsed());
            if expected.is_empty() {
                assert!(code == "Q708" && what.ends_with("does not publish"), "{code} {what}");
                continue;
            }
            let home = format!("\"{}{HOME}\"", fake.issuer);
            let expected = expected.replace("{home}", &home).replace("{issuer}", &fake.issuer);
            assert_eq!(
                (code.as_str(), what),
                ("Q707", format!("the OpenID Connect provider cannot be used: {expected}"))
            );
        }
    });
}

/// The provider's own refusals are shown by their names alone.
#[test]
fn what_the_token_endpoint_refuses_is_told_without_its_words() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = portal(&place, &fake).await;
        for (error, shown) in [
            ("invalid_client", "invalid_client"),
            ("invalid_grant", "invalid_grant"),
            ("server_error", "server_error"),
            ("my secret is 7", "something unknown"),
        ] {
            let body = json!({ "error": error, "error_description": "your secret is hunter2" });
            fake.answers("/token", 401, body.to_string());
            let (code, what) = sign_in(&web).await.unwrap_err();
            let expected =
                format!("the OpenID Connect provider {} refuses the sign-in: {shown}", fake.issuer);
            assert_eq!((code.as_str(), what), ("Q708", expected));
        }
        // Userinfo of somebody else.
        fake.answers.lock().unwrap().clear();
        fake.makes(|fake, mut claims| {
            claims.as_object_mut().unwrap().remove("groups");
            fake.sign(&claims)
        });
        let token = sign_in(&web).await.unwrap();
        assert_eq!(place.ask(|service| service.signed_in(&token).unwrap().account.role), "support");
        let asked = fake.asked.lock().unwrap().clone();
        assert_eq!(asked.iter().find(|(path, _, _)| path == "/me").unwrap().1, "Bearer at");
        for said in [json!({ "sub": "2", "groups": ["bosses"] }), json!({ "groups": ["bosses"] })] {
            fake.answers("/me", 200, said.to_string());
            let (code, what) = sign_in(&web).await.unwrap_err();
            assert!(
                code == "Q708" && what.ends_with("its userinfo endpoint speaks of somebody else"),
                "{what}"
            );
        }
        // Nor does it replace what is signed.
        fake.answers(
            "/me",
            200,
            json!({ "sub": "1", "groups": ["all"], "preferred_username": "root" }).to_string(),
        );
        sign_in(&web).await.unwrap();
        let names: Vec<_> =
            place.ask(|service| service.accounts().unwrap()).into_iter().map(|of| of.name).collect();
        assert_eq!(names, ["anna"]);
        // It is asked for a name as well; without any, somebody is called what the provider calls him for itself.
        fake.makes(|fake, mut claims| {
            claims["sub"] = json!("2");
            claims["preferred_username"] = json!("\u{7}");
            fake.sign(&claims)
        });
        fake.answers("/me", 200, json!({ "sub": "2", "email": " bert@contoso.example" }).to_string());
        sign_in(&web).await.unwrap();
        fake.makes(|fake, mut claims| {
            claims["sub"] = json!("3".repeat(255));
            claims["preferred_username"] = json!("");
            fake.sign(&claims)
        });
        fake.answers("/me", 200, json!({ "sub": "3".repeat(255), "name": "x".repeat(101) }).to_string());
        sign_in(&web).await.unwrap();
        let names: Vec<_> =
            place.ask(|service| service.accounts().unwrap()).into_iter().map(|of| of.name).collect();
        assert_eq!(names, ["3".repeat(100).as_str(), "anna", "bert@contoso.example"]);
    });
}

/// Userinfo is for what the ID token leaves out, and no more.
#[test]
fn userinfo_that_is_down_matters_to_who_needs_it() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = portal(&place, &fake).await;
        fake.answers("/me", 503, "");
        // All that is missing is what people call him.
        fake.makes(|fake, mut claims| {
            claims["preferred_username"] = Value::Null;
            fake.sign(&claims)
        });
        let session = sign_in(&web).await.unwrap();
        assert_eq!(place.ask(|service| service.signed_in(&session).unwrap().account.name), "1");
        // Of groups it has said that there are none.
        fake.makes(|fake, mut claims| {
            claims["groups"] = json!([]);
            fake.sign(&claims)
        });
        assert_eq!(sign_in(&web).await.unwrap_err().0, "Q709");
        assert!(place.ask(|service| service.signed_in(&session).is_err()), "he has no role any more");
        fake.makes(|fake, mut claims| {
            claims.as_object_mut().unwrap().remove("groups");
            fake.sign(&claims)
        });
        assert_eq!(sign_in(&web).await.unwrap_err().0, "Q707");
    });
}

/// That one address is verified says nothing of another.
#[test]
fn an_address_is_verified_by_who_names_it() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        let web = Stand::new(&place).await.serve(&fake.issuer, "q", "claim = 'email'\n").await;
        fake.makes(|fake, mut claims| {
            claims["email"] = json!("bosses");
            fake.sign(&claims)
        });
        let says = |email: &str, verified: bool| {
            let said = json!({ "sub": "1", "email": email, "email_verified": verified });
            fake.answers("/me", 200, said.to_string());
        };
        says("all", true);
        assert_eq!(sign_in(&web).await.unwrap_err().0, "Q709");
        says("bosses", false);
        assert_eq!(sign_in(&web).await.unwrap_err().0, "Q709");
        says("bosses", true);
        let session = sign_in(&web).await.unwrap();
        assert_eq!(place.ask(|service| service.signed_in(&session).unwrap().account.role), "admin");
    });
}

/// Without a provider there is no way to it; with one that is down, a password is good still.
#[test]
fn passwords_are_taken_whatever_the_provider_does() {
    let place = Place::in_sqlite();
    on_the_network(async {
        place.ask(people);
        let web = Web::serve_service(place.ask(Service::clone)).await;
        let page = web.get("/sign-in").await.text().await.unwrap();
        assert!(!page.contains("/sign-in/openid"), "{page}");
        for path in ["/sign-in/openid", "/sign-in/openid/callback?code=x&state=y"] {
            let answer = web.get(path).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            assert_eq!(shown(&answer.text().await.unwrap()).unwrap().0, "Q704");
        }
        let nowhere = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let issuer = format!("http://{}", nowhere.local_addr().unwrap());
        drop(nowhere);
        let web = Stand::new(&place).await.serve(&issuer, "q", "name = 'Go <there>'\n").await;
        let page = web.get("/sign-in").await.text().await.unwrap();
        assert!(page.contains(">Go &#60;there&#62;</a>"), "{page}");
        let answer = web.get("/sign-in/openid").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let page = answer.text().await.unwrap();
        let (code, what, next) = shown(&page).unwrap();
        assert_eq!(code, "Q707");
        assert!(what.ends_with("connection refused"), "{what}");
        assert!(next.starts_with("sign in by name and password, or try again later"), "{next}");
        let form = [("name", "alice"), ("password", PASSWORD), ("to", "/keys")];
        let mut wanderer = Wanderer::new(&web);
        let answer = wanderer.ask(&web.url("/sign-in").parse().unwrap(), Some(&form)).await;
        assert_eq!(
            (answer.status(), &answer.headers()["location"]),
            (StatusCode::SEE_OTHER, &"/keys".parse().unwrap())
        );
    });
}

/// A provider that does not answer is not asked by everybody at once, and one that answers again is found again.
#[test]
fn a_provider_that_is_down_is_left_alone_for_a_moment() {
    const HOME: &str = "/.well-known/openid-configuration";
    let place = Place::in_sqlite();
    on_the_network(async {
        let fake = Fake::start().await;
        fake.answers(HOME, 503, "");
        let web = portal(&place, &fake).await;
        let mut wanderer = Wanderer::new(&web);
        for _ in 0..20 {
            assert_eq!(begin(&mut wanderer, &web).await.unwrap_err().0, "Q707");
        }
        assert!(fake.asked(HOME) <= 2, "{}", fake.asked(HOME));
        fake.answers.lock().unwrap().clear();
        let began = Instant::now();
        while begin(&mut wanderer, &web).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "it is not found again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        sign_in(&web).await.unwrap();
        // Known for an hour.
        let asked = fake.asked(HOME);
        sign_in(&web).await.unwrap();
        assert_eq!(fake.asked(HOME), asked);
        // Who tries codes is slowed down like who tries passwords.
        let mut refused = 0;
        for _ in 0..40 {
            let there = begin(&mut wanderer, &web).await.unwrap();
            let mut back = back(&web, &there);
            back.query_pairs_mut()
                .clear()
                .append_pair("error", "x")
                .append_pair("state", &field(&there, "state").unwrap());
            let (code, _) = finish(&mut wanderer, &web, &back).await.unwrap_err();
            refused += i32::from(code == "Q706");
        }
        assert!(refused > 0);
    });
}
