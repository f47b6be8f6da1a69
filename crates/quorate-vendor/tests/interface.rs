//! The interface for the vendor's own programs: tokens and their scopes, pages, problems, requests sent again, and its
//! own description, against which Schemathesis tries it.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../quorate-host/tests/common/python.rs"]
mod python;

use common::place::{Place, in_both};
use common::web::{Web, content_type};
use common::{HOST_KEYS, MAKS, SETUP_KEYS, installation_id};
use quorate_core::Interval;
use quorate_core::license_pack::LicensePack;
use quorate_core::product_key::ProductKey;
use quorate_core::revocation::RevocationList;
use quorate_core::signed;
use quorate_edge::clock::Clock;
use quorate_vendor::access::Scope;
use quorate_vendor::keys::Issue;
use quorate_vendor::service::Service;
use quorate_vendor::store::keys::KeyFilter;
use quorate_vendor::webhooks::Event;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The interface of a vendor, and a program with a token for it.
struct Program<'w> {
    web: &'w Web,
    token: String,
}

impl<'w> Program<'w> {
    fn new(web: &'w Web, place: &Place, scopes: &[Scope]) -> Self {
        let scopes = BTreeSet::from_iter(scopes.iter().copied());
        let (_, token) = place.ask(|service| service.add_token("test", &scopes, None).unwrap());
        Self { web, token: token.reveal().to_owned() }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>, once: Option<&str>) -> Response {
        let mut request = self.web.client.request(method, self.web.url(path)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(key) = once {
            request = request.header("Idempotency-Key", key);
        }
        request.send().await.unwrap()
    }

    /// Status and body.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let response = self.send(method, path, body, None).await;
        let status = response.status().as_u16();
        let expected = if status < 300 { "application/json" } else { "application/problem+json" };
        assert_eq!(content_type(&response), expected, "{path}");
        (status, response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.ask(Method::POST, path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> (u16, String, String) {
        let (status, problem) = self.ask(method, path, body).await;
        let text = |name: &str| problem[name].as_str().unwrap_or_else(|| panic!("{problem}")).to_owned();
        (status, text("code"), text("detail"))
    }
}

/// Runs a test against the interface, in SQLite and in PostgreSQL.
fn over_https(test: impl AsyncFn(&Web, &Place)) {
    in_both(|place| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let web = Web::serve_service(place.ask(Service::clone)).await;
            test(&web, place).await;
        });
    });
}

#[test]
fn a_web_shop_sells_and_finds_keys() {
    over_https(async |web, place| {
        let shop = Program::new(web, place, &[Scope::Read, Scope::Keys]);
        let fabrikam = shop.post("/v1/customers", json!({"name": "Fabrikam", "note": "by invoice"})).await;
        assert_eq!((&fabrikam["id"], &fabrikam["note"]), (&json!(1), &json!("by invoice")));
        let issued = shop.post("/v1/keys", json!({"group": MAKS, "count": 3, "customer": "Fabrikam"})).await;
        let keys: Vec<ProductKey> = issued["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["product-key"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(issued["keys"][2]["id"], json!("00097-000-000003"));

        let first = shop.get("/v1/keys?limit=2&customer=1").await;
        assert_eq!(first["keys"].as_array().unwrap().len(), 2);
        assert_eq!(first["next"], json!("00097-000-000002"));
        let rest = shop.get("/v1/keys?limit=2&customer=1&after=00097-000-000002").await;
        assert_eq!((rest["keys"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
        let found = shop.get(&format!("/v1/keys?last-five={}", keys[1].partial())).await;
        assert_eq!(found["keys"][0]["id"], json!("00097-000-000002"));
        assert_eq!(found["keys"][0]["customer"], json!({"id": 1, "name": "Fabrikam"}));

        let key = "/v1/keys/00097-000-000001";
        let changed = json!({"machines": 75, "blocked": true, "customer": null});
        let (_, changed) = shop.ask(Method::PATCH, key, Some(changed)).await;
        assert_eq!((&changed["machines"], &changed["customer"]), (&json!(75), &Value::Null));
        assert!(changed["blocked"].is_string());
        let (_, changed) =
            shop.ask(Method::PATCH, key, Some(json!({"machines": null, "blocked": false}))).await;
        assert_eq!((&changed["machines"], &changed["blocked"]), (&Value::Null, &Value::Null));
        // All of a change or nothing.
        let wrong = json!({"blocked": true, "hosts": 3});
        let (status, code, _) = shop.refused(Method::PATCH, key, Some(wrong)).await;
        assert_eq!((status, code.as_str()), (409, "Q102"));
        assert_eq!(shop.get(key).await["blocked"], Value::Null);
        let usage = shop.get(&format!("{key}/usage")).await;
        assert_eq!(
            (&usage["allowed"], &usage["left"], &usage["activates"]),
            (&json!(50), &json!(50), &json!("machines"))
        );
        // Who it was is in the audit log.
        let entries = place.ask(|service| service.audit(None, 9).unwrap());
        assert_eq!(entries[0].who, "token 1 (test)");
    });
}

#[test]
fn a_public_key_is_shown_as_what_it_is() {
    over_https(async |web, place| {
        let shop = Program::new(web, place, &[Scope::Read, Scope::Keys, Scope::Desk]);
        shop.post("/v1/customers", json!({"name": "Fabrikam"})).await;
        let issued = shop.post("/v1/keys", json!({"group": SETUP_KEYS, "customer": "Fabrikam"})).await;
        let issued: ProductKey = issued["keys"][0]["product-key"].as_str().unwrap().parse().unwrap();
        let key = "/v1/keys/00099-000-000001";
        let about = shop.get(key).await;
        assert_eq!((&about["group"], &about["blocked"]), (&json!(SETUP_KEYS), &Value::Null));
        let usage = shop.get(&format!("{key}/usage")).await;
        assert_eq!(
            usage,
            json!({
                "key": about,
                "group-name": "Contoso Office Standard client setup keys",
                "sku": {
                    "id": "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02",
                    "name": "Contoso Office, Standard edition",
                },
                "public": true,
                "activates": "nothing",
                "activated": 0, "allowed": 0, "left": 0, "slots-left": 0, "slots": 0,
                "warning": null,
            })
        );
        let activations = shop.get("/v1/activations?key=00099-000-000001").await;
        assert_eq!(activations["activations"], json!([]));
        // It can be given away, and nothing else.
        let (status, changed) = shop.ask(Method::PATCH, key, Some(json!({"customer": null}))).await;
        assert_eq!((status, &changed["customer"]), (200, &Value::Null));
        let refused = async |method, path: &str, body| {
            let (status, code, what) = shop.refused(method, path, Some(body)).await;
            assert_eq!((status, code.as_str()), (409, "Q102"), "{what}");
            what
        };
        let public = "product key 00099-000-000001 is a public client setup key: ";
        assert_eq!(
            refused(Method::PATCH, key, json!({"blocked": true})).await,
            format!("{public}nothing is activated with it, so blocking it takes nothing back")
        );
        for limit in [json!({"machines": 5}), json!({"hosts": 5}), json!({"machines": null})] {
            let what = refused(Method::PATCH, key, limit).await;
            assert_eq!(what, format!("{public}it is never counted and has no limit"));
        }
        let nothing = "product key 00099-000-000001 is of \"Contoso Office Standard client setup keys\": nothing is \
                       activated with it here";
        assert_eq!(refused(Method::POST, &format!("{key}/pack"), json!({})).await, nothing);
        for path in ["/v1/inquiries", "/v1/confirmations"] {
            let spoken = json!({"installation-id": installation_id(&issued, 1).to_string()});
            assert_eq!(refused(Method::POST, path, spoken).await, nothing);
        }
        let (_, unchanged) = shop.ask(Method::PATCH, key, Some(json!({"blocked": false}))).await;
        assert_eq!(unchanged["blocked"], Value::Null);
        // Nothing was revoked.
        let list = place.ask(|service| {
            let (authority, now) = (service.authority(), quorate_core::Timestamp::now());
            let jws = service.revocations_jws().unwrap();
            signed::verify::<RevocationList>(&jws, authority.root(), authority.vendor(), now)
                .unwrap()
                .document
        });
        assert_eq!((list.number, list.keys.len()), (1, 0));
    });
}

#[test]
fn a_request_that_is_sent_again_is_done_once() {
    over_https(async |web, place| {
        let shop = Program::new(web, place, &[Scope::Keys]);
        let order = || Some(json!({"group": MAKS, "count": 2}));
        let issue = async |program: &Program<'_>, body, once| {
            let response = program.send(Method::POST, "/v1/keys", body, Some(once)).await;
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        };
        let first = issue(&shop, order(), "order-1").await;
        assert_eq!(first.0, 200);
        // Its answer was lost; the very keys come again, and no others are issued.
        assert_eq!(issue(&shop, order(), "order-1").await, first);
        assert_ne!(issue(&shop, order(), "order-2").await, first);
        assert_eq!(place.ask(|service| service.keys(&KeyFilter::default(), 9).unwrap().len()), 4);
        // At the same time as well.
        let at_once = tokio::join!(issue(&shop, order(), "order-3"), issue(&shop, order(), "order-3"));
        assert_eq!(at_once.0, at_once.1);
        assert_eq!(place.ask(|service| service.keys(&KeyFilter::default(), 9).unwrap().len()), 6);

        let (status, problem) = issue(&shop, Some(json!({"group": MAKS, "count": 9})), "order-1").await;
        assert_eq!((status, &problem["code"]), (422, &json!("Q703")));
        let (status, problem) = issue(&shop, order(), "").await;
        assert_eq!((status, &problem["code"]), (400, &json!("Q306")));
        // Another program's keys are its own.
        let other = Program::new(web, place, &[Scope::Keys]);
        assert_ne!(issue(&other, order(), "order-1").await, first);
        // What is kept of an answer holds no product key.
        if let Some(cluster) = &place.cluster {
            let kept = cluster.sql("SELECT string_agg(encode(sealed, 'escape'), ' ') FROM answer");
            let key = first.1["keys"][0]["product-key"].as_str().unwrap();
            assert!(!kept.contains(key) && !kept.contains("product-key"));
        }
        // A refusal is not kept: the customer may be there the next time.
        let for_fabrikam = || Some(json!({"group": MAKS, "customer": "Fabrikam"}));
        assert_eq!(issue(&shop, for_fabrikam(), "order-4").await.0, 404);
        place.ask(|service| service.add_customer("Fabrikam", "").unwrap());
        assert_eq!(issue(&shop, for_fabrikam(), "order-4").await.0, 200);
    });
}

#[test]
fn the_desk_confirms_and_makes_packs() {
    over_https(async |web, place| {
        let key = place.ask(|service| common::place::key(service, HOST_KEYS));
        let desk = Program::new(web, place, &[Scope::Desk, Scope::Read]);
        let path = format!("/v1/keys/{}/pack", key.id());
        let pack = desk.send(Method::POST, &path, Some(json!({"slots": 2})), None).await;
        assert_eq!((pack.status().as_u16(), content_type(&pack)), (200, "application/jose".to_owned()));
        let pack = pack.text().await.unwrap();
        let (pack, _) = LicensePack::open(&pack, quorate_core::Timestamp::now()).unwrap();
        assert_eq!(pack.slots.len(), 2);

        let spoken = installation_id(&key, 1);
        let inquiry = json!({"installation-id": spoken.to_string().replace('-', " ")});
        let looked = desk.post("/v1/inquiries", inquiry.clone()).await;
        let usage = &looked["usage"];
        assert_eq!((&usage["activated"], &usage["slots-left"]), (&json!(0), &json!(2)));
        assert_eq!((&looked["cost"], &looked["refusal"]), (&json!("host"), &json!(null)));
        let confirmed = desk.post("/v1/confirmations", inquiry.clone()).await;
        assert_eq!(desk.post("/v1/inquiries", inquiry.clone()).await["cost"], json!("nothing"));
        assert_eq!(
            desk.post("/v1/confirmations", inquiry.clone()).await["confirmation-id"],
            confirmed["confirmation-id"]
        );
        assert_eq!(confirmed["usage"]["activated"], json!(1));
        let activations = desk.get("/v1/activations?key=00096-000-000001").await;
        let activation = &activations["activations"][0];
        assert_eq!(
            (&activation["how"], &activation["certificate-standing"]),
            (&json!("phone"), &json!("current"))
        );
        place.ask(|service| service.block_key(key.id()).map(drop).unwrap());
        let looked = desk.post("/v1/inquiries", inquiry.clone()).await;
        assert_eq!((&looked["cost"], &looked["refusal"]["code"]), (&json!(null), &json!("Q402")));
        place.ask(|service| service.unblock_key(key.id()).map(drop).unwrap());
        let since = desk.get("/v1/activations?since=2200-01-01T00:00:00Z").await;
        assert_eq!(since["activations"], json!([]));

        // A wrong group is named, and nothing is confirmed.
        let digits = spoken.to_string();
        let wrong = format!("{}{}", if digits.starts_with('1') { '2' } else { '1' }, &digits[1..]);
        let refused =
            desk.refused(Method::POST, "/v1/confirmations", Some(json!({"installation-id": wrong}))).await;
        assert_eq!((refused.0, refused.1.as_str()), (400, "Q104"));
        assert!(refused.2.contains("group 1"), "{}", refused.2);

        let keys = Program::new(web, place, &[Scope::Keys]);
        let certificate = &activations["activations"][0]["certificate"];
        let revoked = keys.post("/v1/revoked-certificates", json!({"certificate": certificate})).await;
        let machine = &activations["activations"][0]["machine"];
        let host =
            json!({"key": "00096-000-000001", "machine": machine, "revoked": [certificate], "newer": null});
        assert_eq!(revoked, host);
        let listed = Program::new(web, place, &[Scope::Read]).get("/v1/revoked-certificates").await;
        assert_eq!(listed, json!({"certificates": [certificate]}));
        let released = json!({"machine": activations["activations"][0]["machine"]});
        let usage = keys.post("/v1/keys/00096-000-000001/released-machines", released).await;
        assert_eq!(usage["activated"], json!(0));
    });
}

#[test]
fn products_are_reviewed_and_signed() {
    over_https(async |web, place| {
        let program = Program::new(web, place, &[Scope::Products, Scope::Read]);
        let post = async |path: &str, file: &str| {
            let request = web.client.post(web.url(path)).bearer_auth(&program.token);
            let answer = request.body(file.to_owned()).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        };
        let changed = common::EXAMPLE.replace("threshold = 25", "threshold = 30");
        let (_, differences) = post("/v1/catalogs/differences", &changed).await;
        assert_eq!(
            differences["differences"],
            json!([{"of": "policy system", "change": "changed", "field": "threshold", "old": "25", "new": "30"}])
        );
        assert_eq!(post("/v1/catalogs", &changed).await, (200, json!({"number": 2})));
        assert_eq!(program.get("/v1/catalogs").await["catalogs"][0]["number"], json!(2));
        let file = program.send(Method::GET, "/v1/catalogs/2/products", None, None).await;
        let file = file.text().await.unwrap();
        assert_eq!(post("/v1/catalogs", &file).await, (200, json!({"number": 2})));
        let (status, problem) =
            post("/v1/catalogs", &changed.replace("threshold = 30", "threshold = 0")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("Q107")));
        assert_eq!(problem["detail"], json!("the product file: policy \"system\": threshold is 0"));
        let long = "#".repeat(512 * 1024 + 1);
        assert_eq!(post("/v1/catalogs", &long).await.0, 413);
    });
}

/// A token that may not see customers does not hear of them by typing errors either.
#[test]
fn what_a_token_may_not_see_no_error_tells() {
    over_https(async |web, place| {
        place.ask(|service| service.add_customer("Fabrikam", "").unwrap());
        let order = || Some(json!({"group": MAKS, "customer": "fabri"}));
        let next = async |scopes: &[Scope], method, path: &str, body| {
            let (status, problem) = Program::new(web, place, scopes).ask(method, path, body).await;
            assert_eq!((status, &problem["code"]), (404, &json!("Q407")));
            assert_eq!(problem["detail"], json!("there is no customer \"fabri\""));
            problem["next"].as_str().unwrap().to_owned()
        };
        let sees = [Scope::Keys, Scope::Read];
        assert_eq!(next(&sees, Method::POST, "/v1/keys", order()).await, "did you mean Fabrikam?");
        let hidden = "correct the name or the number";
        assert_eq!(next(&[Scope::Keys], Method::POST, "/v1/keys", order()).await, hidden);
        place.ask(|service| service.issue_few(&Issue::of(MAKS, 1)).unwrap());
        let (key, change) = ("/v1/keys/00097-000-000001", Some(json!({"customer": "fabri"})));
        assert_eq!(next(&[Scope::Keys], Method::PATCH, key, change).await, hidden);
    });
}

/// A webhook of every URL that the program takes can be made by whoever goes by the description.
#[test]
fn the_urls_of_webhooks_are_as_described() {
    over_https(async |web, place| {
        let admin = Program::new(web, place, &[Scope::Admin]);
        let described: Value = web.get("/openapi.json").await.json().await.unwrap();
        let url = &described["components"]["schemas"]["NewWebhook"]["properties"]["url"];
        let pattern = regex::Regex::new(url["pattern"].as_str().unwrap()).unwrap();
        for (url, taken) in [
            ("https://shop.contoso.example/quorate", true),
            ("https://Shop_1.contoso.example:8443/quorate?tenant=7&x='%20'#top", true),
            ("HTTPS://192.0.2.7", true),
            ("https://[2001:db8::7]:8443/", true),
            ("http://127.0.0.1:9/hook?a=b", true),
            ("http://localhost/", true),
            ("http://shop.contoso.example/", false),
            ("https://shop.contoso.example:99999/", false),
            ("https://user:secret@shop.contoso.example/", false),
            ("https://shop.contoso.example/a b", false),
            ("shop.contoso.example", false),
        ] {
            let made = json!({"url": url, "events": ["activation"]});
            let (status, answer) = admin.ask(Method::POST, "/v1/webhooks", Some(made)).await;
            assert_eq!(status, if taken { 200 } else { 400 }, "{url}: {answer}");
            assert!(!taken || pattern.is_match(url), "{url} is not as described");
        }
    });
}

#[test]
fn what_a_query_does_not_take_is_named() {
    over_https(async |web, place| {
        let admin = Program::new(web, place, &[Scope::Admin, Scope::Read]);
        let names = "its parameters are: group, customer, last-five, blocked, limit, after";
        let compare = "compare it with the description of the interface (GET /openapi.json)";
        for (query, what, next) in [
            ("/v1/keys?customer=Fabrikam", "the parameter customer of the query takes a number", compare),
            ("/v1/keys?group=70000", "the parameter group of the query takes a number", compare),
            ("/v1/keys?blocked=yes", "the parameter blocked of the query takes true or false", compare),
            ("/v1/keys?custommer=7", "the query has no parameter \"custommer\"", names),
            ("/v1/keys?limit=1&limit=2", "the query has the parameter limit twice", "give it once"),
            (
                "/v1/audit?after=3",
                "the query has no parameter \"after\"",
                "its parameters are: limit, before",
            ),
        ] {
            let (status, problem) = admin.ask(Method::GET, query, None).await;
            assert_eq!((status, &problem["code"]), (400, &json!("Q306")), "{problem}");
            assert_eq!((&problem["detail"], &problem["next"]), (&json!(what), &json!(next)));
        }
        assert_eq!(admin.get("/v1/keys?blocked=false&limit=1").await["keys"], json!([]));
    });
}

#[test]
fn deliveries_come_in_pages() {
    over_https(async |web, place| {
        let admin = Program::new(web, place, &[Scope::Admin]);
        let webhook = place.ask(|service| {
            let events = BTreeSet::from([Event::Activation]);
            let (webhook, _) = service.add_webhook("http://127.0.0.1:9/", &events).unwrap();
            let mak = common::place::key(service, MAKS);
            service.pack(mak.id(), 9).unwrap();
            for machine in 1..=3 {
                service.confirm(&installation_id(&mak, machine)).unwrap();
            }
            webhook.id
        });
        let page = async |query: String| {
            let page = admin.get(&format!("/v1/webhooks/{webhook}/deliveries?limit=2{query}")).await;
            let deliveries = page["deliveries"].as_array().unwrap();
            let ids: Vec<u64> = deliveries.iter().map(|one| one["id"].as_u64().unwrap()).collect();
            (ids, page["next"].clone())
        };
        let (first, next) = page(String::new()).await;
        assert_eq!((first.len(), &next), (2, &json!(first[1])));
        let (rest, next) = page(format!("&before={next}")).await;
        assert_eq!((rest.len(), next), (1, Value::Null));
        assert!(first[0] > first[1] && first[1] > rest[0], "{first:?} {rest:?}");
    });
}

#[test]
fn a_token_permits_what_its_scopes_say_until_it_ends() {
    over_https(async |web, place| {
        let reader = Program::new(web, place, &[Scope::Read]);
        for (method, path, body, scope) in [
            (Method::POST, "/v1/keys", json!({"group": MAKS}), "keys"),
            (
                Method::POST,
                "/v1/confirmations",
                json!({"installation-id": installation_id(&place.ask(|service| common::place::key(service, MAKS)), 1)}),
                "desk",
            ),
            (Method::POST, "/v1/tokens", json!({"name": "x", "scopes": ["admin"]}), "admin"),
        ] {
            let refused = reader.refused(method, path, Some(body)).await;
            let what = format!("this needs the scope {scope}; there is read");
            assert_eq!(refused, (403, "Q702".to_owned(), what));
        }
        let admin = Program::new(web, place, &[Scope::Admin]);
        assert_eq!(admin.refused(Method::GET, "/v1/audit?limit=0", None).await.0, 400);
        assert!(admin.get("/v1/audit").await["entries"].as_array().unwrap().len() > 2);
        let made =
            admin.post("/v1/tokens", json!({"name": "desk", "scopes": ["desk", "read"], "days": 1})).await;
        let made_id = made["about"]["id"].as_i64().unwrap();
        let desk = Program { web, token: made["token"].as_str().unwrap().to_owned() };
        desk.get("/v1/keys").await;
        let listed = admin.get("/v1/tokens").await;
        assert!(!listed.to_string().contains(&desk.token[4..]));
        admin.ask(Method::DELETE, &format!("/v1/tokens/{made_id}"), None).await;
        let refused = desk.refused(Method::GET, "/v1/keys", None).await;
        assert_eq!(refused, (401, "Q701".to_owned(), "the token is not one that is valid".to_owned()));

        // A day later.
        let later = || Interval::days(2).after(quorate_core::Timestamp::now());
        let for_a_day = (BTreeSet::from([Scope::Read]), Some(Interval::days(1)));
        tokio::task::block_in_place(|| {
            let service = place.service();
            let (_, token) = service.add_token("for a day", &for_a_day.0, for_a_day.1).unwrap();
            service.access_by_token(token.reveal()).unwrap();
            let tomorrow = place.service_at(Clock::new(later));
            let error = tomorrow.access_by_token(token.reveal()).unwrap_err();
            assert_eq!(error.what, "the token is not one that is valid");
        });

        // None, of another form, of nobody.
        for header in [None, Some("Basic YTpi"), Some("Bearer"), Some("Bearer qv_nobody")] {
            let mut request = web.client.get(web.url("/v1/keys"));
            if let Some(header) = header {
                request = request.header("Authorization", header);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            assert_eq!(
                (answer.status().as_u16(), content_type(&answer).as_str()),
                (401, "application/problem+json")
            );
        }
    });
}

/// Schemathesis makes requests by the description, right ones and wrong ones, and compares the answers with it.
#[test]
fn the_interface_keeps_what_it_describes() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schemathesis =
        python::with(&here.join("tests/schemathesis/requirements.txt")).with_file_name("schemathesis");
    over_https(async |web, place| {
        let root = place.path("root.pem");
        let token = place.ask(|service| {
            service.add_customer("Fabrikam", "").unwrap();
            service.issue_few(&Issue::of(HOST_KEYS, 3)).unwrap();
            service.issue_few(&Issue::of(SETUP_KEYS, 1)).unwrap();
            std::fs::write(&root, service.authority().root_pem()).unwrap();
            service.add_token("schemathesis", &BTreeSet::from(Scope::ALL), None).unwrap().1
        });
        let mut command = Command::new(&schemathesis);
        command
            .current_dir(place.path(""))
            .arg("--config-file")
            .arg(here.join("tests/schemathesis/schemathesis.toml"))
            .arg("run")
            .arg(web.url("/openapi.json"))
            .args(["--header", &format!("Authorization: Bearer {}", token.reveal())])
            .env("SCHEMATHESIS_HOOKS", here.join("tests/schemathesis/hooks.py"))
            .arg("--tls-verify")
            .arg(&root)
            .args(["--seed", "1", "--generation-deterministic", "--max-examples", "25", "--no-color"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
    });
}
