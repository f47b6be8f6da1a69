//! Signing in by an OpenID Connect provider: a real one, `oidc-provider` of npm, and a real browser.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "openid/provider.rs"]
mod provider;

use common::browser::Browser;
use common::openid::{Stand, Wanderer, field, shown};
use common::people::{PASSWORD, people};
use common::place::{Place, in_both};
use common::web::{Web, client_of};
use common::{Ran, vendor_program};
use provider::RealProvider;
use quorate_vendor::accounts::{Role, SessionToken};
use quorate_vendor::service::Service;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{StatusCode, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use thirtyfour::By;

/// What the provider says of some people.
fn staff() -> Value {
    json!({
        "1": { "preferred_username": "anna", "email": "anna@contoso.example", "groups": ["bosses", "all"] },
        "2": { "email": "sam@contoso.example", "email_verified": true, "groups": ["desk", "all"] },
        "3": { "preferred_username": "rolf", "groups": "all" },
        "4": { "preferred_username": "nick", "groups": ["Bosses", "gardeners"] },
        "5": { "preferred_username": "nora" },
    })
}

fn on_the_network(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test);
}

/// A vendor with its people, a provider, and the portal that leads there.
async fn portal(place: &Place) -> (Web, RealProvider) {
    place.ask(people);
    let stand = Stand::new(place).await;
    let provider = RealProvider::start(&stand.redirect(), staff());
    let web = stand.serve(&provider.issuer, "RS256", "name = 'Sign in with Example'\n").await;
    (web, provider)
}

/// In a browser, from the portal to the provider, as whoever it is, and back.
async fn by_browser(browser: &Browser, web: &Web, provider: &RealProvider, login: &str) {
    // Who was signed in before, at either, is so no more.
    browser.go(&format!("{}/jwks", provider.issuer)).await;
    browser.driver.delete_all_cookies().await.unwrap();
    browser.go(&web.url("/assets/portal.css")).await;
    browser.driver.delete_all_cookies().await.unwrap();
    browser.go(&web.url("/customers")).await;
    browser.shows("main a.button", "Sign in with Example").await;
    browser.click("main a.button").await;
    browser.fill("input[name=login]", login).await;
    browser.click("button").await;
}

#[test]
fn a_browser_goes_to_the_provider_and_comes_back_with_a_role() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let (web, provider) = portal(&place).await;
        // The provider is another site to a browser: its cookies and ours must stand that.
        assert!(provider.issuer.starts_with("http://localhost:"));
        let browser = Browser::open(1200, 900, false).await;
        by_browser(&browser, &web, &provider, "1").await;
        // First who it is, then where it was.
        browser.shows("h1", "Customers").await;
        browser.shows(".who", "anna\nadmin").await;
        // There is no password of hers here.
        assert!(browser.driver.find_all(By::Css(".who a")).await.unwrap().is_empty());
        browser.go(&web.url("/password")).await;
        browser.shows(".error", "you sign in by OpenID Connect and have no password here").await;
        browser.click("nav a[href='/users']").await;
        browser.shows("tbody", "anna admin OpenID Connect").await;
        browser.shows("tbody", "alice admin password").await;
        let buttons = browser.driver.find_all(By::Css("form[action='/users/password']")).await.unwrap();
        assert_eq!(buttons.len(), 4, "four people have passwords");
        browser.click("nav a[href='/audit']").await;
        browser.shows("tbody", "OpenID Connect user.sign-in anna").await;
        browser.click(".who button").await;
        browser.shows("h1", "Sign in").await;
        browser.go(&web.url("/keys")).await;
        browser.shows("h1", "Sign in").await;

        by_browser(&browser, &web, &provider, "2").await;
        browser.shows(".who", "sam@contoso.example\nsupport").await;
        browser.find("nav a[href='/desk']").await;
        browser.go(&web.url("/users")).await;
        browser.shows(".error", "Q702").await;

        by_browser(&browser, &web, &provider, "3").await;
        browser.shows(".who", "rolf\nread-only").await;
        assert!(browser.driver.find_all(By::Css("nav a[href='/desk']")).await.unwrap().is_empty());

        // Case counts, and who has no role learns what an admin can do about it.
        by_browser(&browser, &web, &provider, "4").await;
        browser
            .shows(".error", "Q709 the provider knows \"nick\", but gives no role here by \"groups\"")
            .await;
        browser.shows(".error", "of which it says 2 values").await;
        by_browser(&browser, &web, &provider, "5").await;
        browser.shows(".error", "says nothing of \"groups\"").await;
        // Whom the provider does not know.
        by_browser(&browser, &web, &provider, "6").await;
        browser.shows(".error", "Q708").await;
        browser.shows(".error", "refuses the sign-in: access_denied").await;
        // The same page takes a password still.
        browser.fill("input[name=name]", "alice").await;
        browser.fill("input[name=password]", PASSWORD).await;
        browser.click("main button").await;
        browser.shows("h1", "Customers").await;
        browser.shows(".who a", "alice").await;
        browser.close().await;
    });
}

/// A small screen in the dark: it fits.
#[test]
fn the_button_fits_a_small_screen() {
    let place = Place::in_sqlite();
    on_the_network(async {
        let (web, _provider) = portal(&place).await;
        for (dark, size) in [(true, (390, 844)), (false, (1200, 900)), (true, (1200, 900))] {
            let browser = Browser::open(size.0, size.1, dark).await;
            browser.go(&web.url("/sign-in?to=/keys")).await;
            let link = browser.find("main a.button").await;
            assert_eq!(link.attr("href").await.unwrap().unwrap(), "/sign-in/openid?to=%2Fkeys");
            let wide = "return document.documentElement.scrollWidth <= window.innerWidth";
            assert_eq!(browser.script(wide).await, json!(true));
            if std::env::var("SCREENSHOTS").is_ok_and(|wanted| wanted == "overwrite") && size.0 == 1200 {
                let kind = if dark { "dark" } else { "light" };
                let file =
                    format!("{}/../../docs/screenshots/sign-in-{kind}.png", env!("CARGO_MANIFEST_DIR"));
                browser.driver.screenshot(std::path::Path::new(&file)).await.unwrap();
            }
            browser.close().await;
        }
    });
}

/// Somebody who uses a browser by hand, as far as a session or an error.
async fn by_hand(wanderer: &mut Wanderer, web: &Web, login: &str) -> Result<SessionToken, String> {
    let back = to_the_way_back(wanderer, web, login).await;
    finish(wanderer, web, &back).await
}

/// The same, as far as where the provider sends the browser.
async fn to_the_way_back(wanderer: &mut Wanderer, web: &Web, login: &str) -> Url {
    let there = wanderer.begin(web, "/keys").await;
    let (at, page) = wanderer.follow(there.as_str(), &web.url("/")).await;
    // With a session of its own, the provider does not ask.
    let Some(page) = page else { return at };
    assert!(at.path().starts_with("/who/"), "{at}: {}", page.text().await.unwrap());
    let answer = wanderer.ask(&at, Some(&[("login", login)])).await;
    let next = at.join(answer.headers()["location"].to_str().unwrap()).unwrap();
    wanderer.follow(next.as_str(), &web.url("/")).await.0
}

async fn finish(wanderer: &mut Wanderer, web: &Web, back: &Url) -> Result<SessionToken, String> {
    let answer = wanderer.ask(back, None).await;
    let site = web.address.to_string();
    if answer.status() == StatusCode::SEE_OTHER {
        assert_eq!(answer.headers()["location"], "/keys");
        assert_eq!(wanderer.cookie(&site, "__Host-quorate-openid"), None, "it is used up");
        return Ok(SessionToken::new(wanderer.cookie(&site, "__Host-quorate").unwrap()));
    }
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer", "the code stays here");
    let (code, what, _) = shown(&answer.text().await.unwrap()).unwrap();
    Err(format!("{code} {what}"))
}

/// Anew at vendor and provider.
async fn anew(web: &Web, login: &str) -> Result<SessionToken, String> {
    by_hand(&mut Wanderer::new(web), web, login).await
}

fn role(place: &Place, token: &SessionToken) -> Option<Role> {
    place.ask(|service| service.signed_in(token).ok().map(|signed_in| signed_in.role))
}

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

fn role_of(service: &Service, token: &SessionToken) -> Option<Role> {
    service.signed_in(token).ok().map(|signed_in| signed_in.role)
}

/// Every algorithm that the provider signs with here, both ways to send the secret, claims in the token and beside it.
#[test]
fn a_provider_may_be_set_up_in_other_ways() {
    on_the_network(async {
        for (client, other) in [
            ("PS256", json!({ "inIdToken": true })),
            ("ES256", json!({ "basic": false })),
            ("EdDSA", json!({ "basic": false, "inIdToken": true })),
        ] {
            let place = tokio::task::block_in_place(Place::in_sqlite);
            let stand = Stand::new(&place).await;
            let provider = RealProvider::start_with(&stand.redirect(), staff(), other);
            let web = stand.serve(&provider.issuer, client, "").await;
            let token = anew(&web, "2").await.unwrap();
            assert_eq!(role(&place, &token), Some(Role::Support), "{client}");
        }
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

#[test]
fn a_provider_changes_its_keys_and_stops() {
    on_the_network(async {
        let place = tokio::task::block_in_place(Place::in_sqlite);
        let (web, mut provider) = portal(&place).await;
        anew(&web, "1").await.unwrap();
        tokio::task::block_in_place(|| provider.restart());
        // The keys that are known are others.
        anew(&web, "1").await.unwrap();
        provider.stop();
        // What it says about itself is known; that it is not there shows when the code is to be redeemed.
        let mut wanderer = Wanderer::new(&web);
        let there = wanderer.begin(&web, "/keys").await;
        let back = format!(
            "/sign-in/openid/callback?code=x&state={}&iss={}",
            field(&there, "state").unwrap(),
            provider.issuer
        );
        let refused = finish(&mut wanderer, &web, &web.url(&back).parse().unwrap()).await.unwrap_err();
        assert!(refused.starts_with("Q707 the OpenID Connect provider cannot be used"), "{refused}");
        assert!(refused.ends_with("/token\": connection refused"), "{refused}");
    });
}

/// What came back once does not come back again, neither here nor at the provider.
#[test]
fn an_answer_is_good_once_and_in_its_own_browser() {
    on_the_network(async {
        let place = tokio::task::block_in_place(Place::in_sqlite);
        let (web, _provider) = portal(&place).await;
        let site = web.address.to_string();
        let cookie = "__Host-quorate-openid";
        let mut wanderer = Wanderer::new(&web);
        let back = to_the_way_back(&mut wanderer, &web, "1").await;
        let kept = wanderer.cookie(&site, cookie).unwrap().to_owned();
        let over = "Q710 this sign-in is over: it was begun in another browser or another window, more than 10m ago, \
                    or has ended already";
        // In another browser, with no attempt or with one of its own.
        let mut other = Wanderer::new(&web);
        assert_eq!(finish(&mut other, &web, &back).await.unwrap_err(), over);
        other.begin(&web, "/keys").await;
        assert_eq!(finish(&mut other, &web, &back).await.unwrap_err(), over);
        // Somebody puts his own state into it; what the code is for, the provider knows.
        let there = other.begin(&web, "/keys").await;
        let mut stolen = back.clone();
        stolen.query_pairs_mut().clear().extend_pairs([
            ("code", field(&back, "code").unwrap()),
            ("state", field(&there, "state").unwrap()),
            ("iss", field(&back, "iss").unwrap()),
        ]);
        let refused = finish(&mut other, &web, &stolen).await.unwrap_err();
        assert!(
            refused.starts_with("Q708") && refused.ends_with("refuses the sign-in: invalid_grant"),
            "{refused}"
        );
        // The code is burnt; a new one is good for one session.
        let mut wanderer = Wanderer::new(&web);
        let back = to_the_way_back(&mut wanderer, &web, "1").await;
        let kept_too = wanderer.cookie(&site, cookie).unwrap().to_owned();
        assert_ne!(kept, kept_too);
        finish(&mut wanderer, &web, &back).await.unwrap();
        assert_eq!(finish(&mut wanderer, &web, &back).await.unwrap_err(), over);
        wanderer.put(&site, cookie, &kept_too);
        let refused = finish(&mut wanderer, &web, &back).await.unwrap_err();
        assert!(
            refused.starts_with("Q708") && refused.ends_with("refuses the sign-in: invalid_grant"),
            "{refused}"
        );
    });
}

/// TLS 1.2 and an authority that no machine trusts by itself.
#[test]
fn a_provider_in_the_own_network_is_trusted_by_its_authority() {
    on_the_network(async {
        let place = tokio::task::block_in_place(Place::in_sqlite);
        let (key, certificate, ca) = certificates();
        let path = |name: &str, text: &str| {
            std::fs::write(place.path(name), text).unwrap();
            place.path(name)
        };
        let files = json!({ "key": path("p.key", &key), "certificate": path("p.pem", &certificate) });
        let ca_file = path("ca.pem", &ca);
        let trusts = format!("ca-file = '{}'\n", ca_file.display());

        let stand = Stand::new(&place).await;
        let provider = RealProvider::start_with(&stand.redirect(), staff(), json!({ "tls": files }));
        assert!(provider.issuer.starts_with("https://"));
        let web = stand.serve(&provider.issuer, "RS256", &trusts).await;
        let mut roots = RootCertStore::empty();
        roots.add(web.root.der().clone()).unwrap();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let token = by_hand(&mut Wanderer::with(roots), &web, "1").await.unwrap();
        assert_eq!(role(&place, &token), Some(Role::Admin));

        // Without it.
        let web = Stand::new(&place).await.serve(&provider.issuer, "RS256", "").await;
        let page = client_of(&web.root).get(web.url("/sign-in/openid")).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
        let (code, what, _) = shown(&page.text().await.unwrap()).unwrap();
        assert_eq!(code, "Q707");
        assert!(what.ends_with("invalid peer certificate: unknownissuer"), "{what}");
    });
}

/// The program itself, with its file; what it writes says nothing that could be used.
#[test]
fn the_program_reads_its_file_and_tells_no_secret() {
    let place = Place::in_sqlite();
    on_the_network(async {
        place.ask(people);
        let stand = Stand::new(&place).await;
        let mut provider = RealProvider::start(&stand.redirect(), staff());
        let file = place.path("vendor.toml");
        std::fs::write(&file, common::openid::configuration(&place, &provider.issuer, "RS256", "")).unwrap();
        let command = |arguments: &[&str]| {
            let mut command = vendor_program(&place.service_directory());
            command.arg("--config").arg(&file).args(arguments);
            command
        };
        let checked = Ran::from(&mut command(&["config", "check"])).succeeds();
        assert_eq!(checked, format!("{} is in order.\n", file.display()));
        let address = stand.leave();
        let mut program = command(&["serve", "--listen", &address.to_string()])
            .env("QUORATE_LOG", "debug")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let mut lines = BufReader::new(program.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut log = Vec::new();
        while !log.last().is_some_and(|line: &String| line.contains("listening address=")) {
            log.push(lines.next().unwrap());
        }
        let root = place.ask(|service| service.authority().root().clone());
        let web = Web { address, client: client_of(&root), root };
        let mut wanderer = Wanderer::new(&web);
        let back = to_the_way_back(&mut wanderer, &web, "1").await;
        let token = finish(&mut wanderer, &web, &back).await.unwrap();
        assert_eq!(role(&place, &token), Some(Role::Admin));
        let again = to_the_way_back(&mut wanderer, &web, "1").await;
        provider.stop();
        let refused = finish(&mut wanderer, &web, &again).await.unwrap_err();
        assert!(refused.starts_with("Q707"), "{refused}");

        let listed = Ran::from(&mut command(&["user", "list"])).succeeds();
        assert!(listed.contains("\nanna                             admin  by OpenID Connect\n"), "{listed}");
        let listed: Value =
            serde_json::from_str(&Ran::from(&mut command(&["--json", "user", "list"])).succeeds()).unwrap();
        let users = listed["users"].as_array().unwrap();
        let anna = users.iter().find(|user| user["name"] == "anna").unwrap();
        assert_eq!((&anna["openid-issuer"], &anna["openid-subject"]), (&json!(provider.issuer), &json!("1")));
        let alice = users.iter().find(|user| user["name"] == "alice").unwrap();
        assert_eq!((&alice["openid-issuer"], &alice["openid-subject"]), (&Value::Null, &Value::Null));
        Ran::from(&mut command(&["user", "password", "anna"])).fails(
            "Q306: anna signs in by OpenID Connect and has no password here",
            "change the password at the provider; `quorate-vendor user close` keeps somebody out",
        );
        Ran::from(&mut command(&["user", "close", "anna"])).succeeds();
        assert_eq!(role(&place, &token), None);

        let asked = Command::new("kill").args(["-TERM", &program.0.id().to_string()]).status().unwrap();
        assert!(asked.success() && program.0.wait().unwrap().success());
        log.extend(lines);
        let log = log.join("\n");
        assert!(log.contains("a sign-in by OpenID Connect has failed") && log.contains("Q707"), "{log}");
        let secrets = [
            common::openid::SECRET.to_owned(),
            field(&back, "code").unwrap(),
            field(&again, "code").unwrap(),
            field(&again, "state").unwrap(),
            token.reveal().to_owned(),
        ];
        for secret in secrets {
            assert!(!log.contains(&secret), "{secret}: {log}");
        }
    });
}

/// A program that ends with the test, also when that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_files_of_the_configuration_are_looked_at() {
    let place = Place::in_sqlite();
    let file = place.path("vendor.toml");
    let check = |besides: &str| {
        let text = common::openid::configuration(&place, "https://login.example", "q", besides);
        std::fs::write(&file, text).unwrap();
        let mut command = vendor_program(&place.service_directory());
        command.args(["config", "check"]).arg(&file);
        command
    };
    Ran::from(&mut check("")).succeeds();
    let secret = place.path("openid-secret");
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut command = check("");
    mode(0o640);
    Ran::from(&mut command).fails(
        &format!("Q613: {} can be read by others than its owner (mode 640)", secret.display()),
        &format!(
            "chmod 600 {}; with it, somebody can pass for this service at the provider",
            secret.display()
        ),
    );
    for text in ["", "two words\n", "two\nlines\n"] {
        let mut command = check("");
        std::fs::write(&secret, text).unwrap();
        Ran::from(&mut command).fails(
            &format!("Q209 (0x8007000D): {} does not hold a secret and nothing else", secret.display()),
            "put the secret that the provider shows for this client into the file, alone on one line",
        );
    }
    let mut command = check("");
    std::fs::remove_file(&secret).unwrap();
    Ran::from(&mut command).fails(
        &format!("Q601: {} cannot be read: no such file or directory", secret.display()),
        "check the path",
    );
    let ca = place.path("ca.pem");
    let mut command = check(&format!("ca-file = '{}'\n", ca.display()));
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nnot base64 at all!\n-----END CERTIFICATE-----\n")
        .unwrap();
    Ran::from(&mut command).fails(
        &format!("Q209 (0x8007000D): {} holds no certificates in PEM", ca.display()),
        "give the file with the certificate of the authority that the provider's own chains to",
    );
}

/// The key and the certificate of "localhost", and its authority.
fn certificates() -> (String, String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &Issuer::new(ca, &ca_key)).unwrap();
    (key.serialize_pem(), certificate.pem(), ca_certificate.pem())
}
