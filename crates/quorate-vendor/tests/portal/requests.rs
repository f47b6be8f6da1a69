//! What bare requests get: by forms of others, with mistakes, to addresses that lead nowhere.

use crate::common::people::{PASSWORD, over_https, people};
use crate::common::place::{Place, key};
use crate::common::web::Web;
use crate::common::{self, HOST_KEYS, MAKS};
use quorate_core::Timestamp;
use quorate_core::license_pack::LicensePack;
use quorate_vendor::keys::Issue;
use quorate_vendor::store::keys::KeyFilter;
use reqwest::{Method, StatusCode};

/// Requests with the cookie of somebody who has signed in.
struct Client<'w> {
    web: &'w Web,
    cookie: String,
    form: String,
}

impl<'w> Client<'w> {
    async fn sign_in(web: &'w Web, place: &Place, name: &str) -> Self {
        let token = place.ask(|service| service.sign_in(name, PASSWORD).unwrap());
        Self { web, cookie: format!("__Host-quorate={}", token.reveal()), form: token.form_token() }
    }

    async fn send(&self, method: Method, path: &str, form: &[(&str, &str)]) -> (StatusCode, String) {
        let request =
            self.web.client.request(method.clone(), self.web.url(path)).header("cookie", &self.cookie);
        let request = if method == Method::POST { request.form(form) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, String) {
        self.send(Method::POST, path, &[&[("csrf", self.form.as_str())], form].concat()).await
    }
}

#[test]
fn a_form_is_taken_from_its_own_session_alone() {
    over_https(async |web, place| {
        let (alice, sam) =
            (Client::sign_in(web, place, "alice").await, Client::sign_in(web, place, "sam").await);
        let customers = || place.ask(|service| service.customers("", "", 9).unwrap().len());
        for csrf in [None, Some(""), Some("x"), Some(sam.form.as_str())] {
            let form: Vec<(&str, &str)> =
                csrf.map(|csrf| ("csrf", csrf)).into_iter().chain([("name", "Evil")]).collect();
            let (status, page) = alice.send(Method::POST, "/customers", &form).await;
            assert_eq!(status, 400, "{page}");
            assert!(page.contains("the form is not of this session"), "{page}");
        }
        assert_eq!(customers(), 2);
        assert_eq!(alice.post("/customers", &[("name", "Good")]).await.0, 200);
        assert_eq!(customers(), 3);
        // Who may not, may not by a form of his own either.
        for (path, form) in [
            ("/customers", &[("name", "Evil")][..]),
            ("/keys", &[("group", "97"), ("count", "1"), ("once", "1")]),
            ("/revocation", &[("certificate", "00")]),
            ("/products/import", &[("file", "")]),
            ("/products/diff", &[("file", "")]),
            ("/tokens", &[("name", "x"), ("admin", "true")]),
            ("/webhooks", &[("url", "https://evil.example/"), ("activation", "true")]),
            ("/webhooks/1/remove", &[]),
            ("/users", &[("name", "x"), ("role", "admin")]),
            ("/users/password", &[("name", "alice")]),
            ("/users/close", &[("name", "alice")]),
        ] {
            let (status, page) = sam.post(path, form).await;
            assert_eq!(status, 403, "{path}: {page}");
            assert!(page.contains("Q702"), "{path}");
        }
        assert_eq!(customers(), 3);
        // A closed account is out at once.
        assert_eq!(alice.post("/users/close", &[("name", "sam")]).await.0, 200);
        assert!(sam.send(Method::GET, "/keys", &[]).await.1.contains("Sign in"));
        let (status, page) = alice.post("/users/close", &[("name", "alice")]).await;
        assert_eq!(status, 400, "{page}");
    });
}

/// A form that is refused comes back with what was typed, and with the navigation around it.
#[test]
fn what_was_typed_is_not_lost() {
    over_https(async |web, place| {
        let (host, mak) = place.ask(|service| (key(service, HOST_KEYS).id(), key(service, MAKS).id()));
        let fabrikam = place.ask(|service| service.customer_named("Fabrikam").unwrap().id);
        let alice = Client::sign_in(web, place, "alice").await;
        let (host, mak) = (format!("/keys/{host}"), format!("/keys/{mak}"));
        let keys = || place.ask(|service| service.keys(&KeyFilter::default(), 99).unwrap().len());
        for (path, form, code, kept) in [
            (
                "/customers",
                &[("name", "fabrikam"), ("note", "net 30")][..],
                "Q606",
                &["value=\"fabrikam\"", "value=\"net 30\""][..],
            ),
            (
                &format!("/customers/{fabrikam}"),
                &[("name", "Northwind"), ("note", "net 30")],
                "Q606",
                &["value=\"Northwind\"", "value=\"net 30\"", "<h1>Fabrikam</h1>"],
            ),
            (
                "/keys",
                &[("group", "97"), ("count", "7"), ("customer", "Contoso"), ("once", "1")],
                "Q407",
                &["value=\"97\" selected", "value=\"7\"", "value=\"Contoso\"", "name=\"once\" value=\"1\""],
            ),
            (
                &format!("{host}/limit"),
                &[("hosts", "0"), ("reactivations", "3")],
                "Q306",
                &["value=\"0\"", "value=\"3\""],
            ),
            (&format!("{mak}/limit"), &[("machines", "many")], "Q306", &["value=\"many\""]),
            (&format!("{mak}/assign"), &[("customer", "Contoso")], "Q407", &["value=\"Contoso\""]),
            (&format!("{mak}/release"), &[("machine", "0a0b0c0d0e0f")], "Q704", &["value=\"0a0b0c0d0e0f\""]),
            ("/revocation", &[("certificate", "0123")], "Q408", &["value=\"0123\""]),
            (
                "/tokens",
                &[("name", "shop"), ("read", "true"), ("days", "9999")],
                "Q306",
                &["value=\"shop\"", "name=\"read\" value=\"true\" checked", "value=\"9999\""],
            ),
            (
                "/users",
                &[("name", "carl"), ("role", "customer"), ("customer", "Contoso")],
                "Q407",
                &["value=\"carl\"", "<option selected>customer", "value=\"Contoso\""],
            ),
        ] {
            let before = keys();
            let (status, page) = alice.post(path, form).await;
            assert!(status.is_client_error(), "{path}: {status}");
            assert!(page.contains(&format!("<strong>{code}</strong>")), "{path}: {page}");
            for kept in kept {
                assert!(page.contains(kept), "{path}: {kept}: {page}");
            }
            assert!(page.contains("href=\"/users\""), "{path}");
            assert_eq!(keys(), before, "{path}");
        }
    });
}

/// An address that leads nowhere is a page for a browser, with the way back, and a problem for a program.
#[test]
fn a_wrong_address_is_a_page() {
    over_https(async |web, place| {
        let alice = Client::sign_in(web, place, "alice").await;
        let ask = async |path: &str, accept: &str, cookie: &str| {
            let request = web.client.get(web.url(path)).header("accept", accept).header("cookie", cookie);
            let answer = request.send().await.unwrap();
            let guarded = answer.headers().contains_key("content-security-policy");
            (answer.status().as_u16(), guarded, answer.text().await.unwrap())
        };
        let browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
        for (path, status, code) in [
            ("/keyz", 404, "Q704"),
            ("/keys/none", 404, "Q704"),
            ("/customers/none", 404, "Q704"),
            ("/customers/99", 404, "Q407"),
            ("/products/import", 405, "Q306"),
            ("/desk/confirm", 405, "Q306"),
            ("/activations?before=x", 400, "Q306"),
            ("/keys?group=x", 400, "Q306"),
        ] {
            let (answered, guarded, page) = ask(path, browser, &alice.cookie).await;
            assert_eq!((answered, guarded), (status, true), "{path}: {page}");
            assert!(page.contains(&format!("<strong>{code}</strong>")), "{path}: {page}");
            assert!(page.contains("href=\"/users\""), "{path}: {page}");
        }
        let (_, _, page) = ask("/keyz", browser, "").await;
        assert!(page.contains("Q704") && !page.contains("href=\"/users\""), "{page}");
        for path in ["/keyz", "/products/import"] {
            let (_, guarded, problem) = ask(path, "application/json", &alice.cookie).await;
            assert!(!guarded && problem.starts_with('{'), "{path}: {problem}");
        }
    });
}

/// A customer of many keys sees how many, page by page, and finds one by its last five characters.
#[test]
fn a_customer_finds_each_of_many_keys() {
    over_https(async |web, place| {
        let keys = place.ask(|service| {
            let issue = Issue { group: HOST_KEYS, count: 60, customer: Some("Fabrikam".to_owned()) };
            service.issue_few(&issue).unwrap()
        });
        let frank = Client::sign_in(web, place, "frank").await;
        let (_, page) = frank.send(Method::GET, "/my", &[]).await;
        assert!(page.contains("50 of your 60 keys."), "{page}");
        assert_eq!(page.matches("<section class=\"card\">").count(), 50);
        let after = format!("/my?last_five=&after={}", keys[49].id());
        assert!(page.contains(&after.replace('&', "&amp;")), "{page}");
        let (_, page) = frank.send(Method::GET, &after, &[]).await;
        assert_eq!(page.matches("<section class=\"card\">").count(), 10);
        let last = keys[59].partial();
        let (_, page) = frank.send(Method::GET, &format!("/my?last_five={last}"), &[]).await;
        assert_eq!(page.matches("<section class=\"card\">").count(), 1);
        assert!(page.contains(&format!("…{last}")), "{page}");
        let alice = Client::sign_in(web, place, "alice").await;
        let id = place.ask(|service| service.customer_named("Fabrikam").unwrap().id);
        let (_, page) = alice.send(Method::GET, &format!("/customers/{id}"), &[]).await;
        assert!(page.contains("The first 50 of 60;"), "{page}");
    });
}

/// Who has just set a vendor up can go on in the portal.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_product_file_can_come_by_the_portal() {
    let vendor = common::Vendor::without_products();
    people(&vendor.service());
    let web = Web::serve(&vendor).await;
    let token = vendor.service().sign_in("alice", PASSWORD).unwrap();
    let alice =
        Client { web: &web, cookie: format!("__Host-quorate={}", token.reveal()), form: token.form_token() };
    for path in ["/", "/keys", "/customers", "/desk", "/products"] {
        let (status, page) = alice.send(Method::GET, path, &[]).await;
        assert_eq!(status, 200, "{path}: {page}");
    }
    let (_, page) = alice.send(Method::GET, "/products", &[]).await;
    assert!(page.contains("No products have been imported yet"), "{page}");
    let (_, page) = alice.post("/products/diff", &[("file", "")]).await;
    assert!(page.contains("Q107"), "{page}");
    let file = [("file", common::EXAMPLE)];
    let (_, page) = alice.post("/products/diff", &file).await;
    assert!(page.matches("<li>+ SKU ").count() == 7 && page.contains("Sign as catalog 1"), "{page}");
    let (status, page) = alice.post("/products/import", &file).await;
    assert_eq!(status, 200, "{page}");
    let (_, page) = alice.send(Method::GET, "/products", &[]).await;
    assert!(page.contains("Catalog 1, signed") && !page.contains("No products"), "{page}");
}

#[test]
fn pages_tell_browsers_to_keep_to_themselves() {
    over_https(async |web, place| {
        let alice = Client::sign_in(web, place, "alice").await;
        for path in ["/", "/keys", "/desk", "/sign-in"] {
            let request = web.client.get(web.url(path)).header("cookie", &alice.cookie);
            let answer = request.send().await.unwrap();
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("referrer-policy"), "no-referrer");
        }
        let client = common::web::client_that_stays(&web.root);
        let sign_in = |to: &str| {
            let form = [("name", "alice"), ("password", PASSWORD), ("to", to)];
            client.post(web.url("/sign-in")).form(&form)
        };
        for (to, goes) in [
            ("/keys", "/keys"),
            ("//evil.example/", "/"),
            ("https://evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("/\n", "/"),
        ] {
            let answer = sign_in(to).send().await.unwrap();
            let went = (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap());
            assert_eq!(went, (303, goes), "{to:?}");
        }
        let answer = sign_in("/").header("sec-fetch-site", "cross-site").send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let answer = sign_in("/").header("sec-fetch-site", "same-origin").send().await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        assert!(
            cookie.starts_with("__Host-quorate=")
                && cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax")
        );
    });
}

#[test]
fn a_customer_downloads_its_own_packs() {
    over_https(async |web, place| {
        let (own, other) = place.ask(|service| {
            let keys = service.issue_few(&Issue::of(HOST_KEYS, 2)).unwrap();
            service.assign_key(keys[0].id(), Some("Fabrikam")).unwrap();
            (keys[0].id(), keys[1].id())
        });
        let frank = Client::sign_in(web, place, "frank").await;
        let (status, pack) = frank.post(&format!("/my/{own}/pack"), &[]).await;
        assert_eq!(status, 200);
        let (pack, _) = LicensePack::open(&pack, Timestamp::now()).unwrap();
        // As many as the key has activations left.
        assert_eq!((pack.key, pack.slots.len()), (own, 6));
        let (status, page) = frank.post(&format!("/my/{other}/pack"), &[]).await;
        assert_eq!(status, 404);
        assert!(page.contains("is not one of yours"), "{page}");
        // The vendor's own people are not customers.
        let alice = Client::sign_in(web, place, "alice").await;
        assert_eq!(alice.send(Method::GET, "/my", &[]).await.0, 403);
        let (status, _) = alice.post(&format!("/keys/{own}/pack"), &[("slots", "12")]).await;
        assert_eq!(status, 200);
    });
}
