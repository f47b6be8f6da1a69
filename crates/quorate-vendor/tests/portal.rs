//! The portal: in a real browser as people use it, and by requests as nobody should be able to.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::browser::Browser;
use common::people::{PASSWORD, over_https, people};
use common::place::{Place, key};
use common::web::Web;
use common::{HOST_KEYS, MAKS, SETUP_KEYS, installation_id};
use quorate_core::Timestamp;
use quorate_core::check_digit;
use quorate_core::license_pack::LicensePack;
use quorate_vendor::keys::{Issue, NewLimits};
use quorate_vendor::store::keys::KeyFilter;
use quorate_vendor::webhooks::Event;
use reqwest::{Method, StatusCode};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};
use thirtyfour::{By, Key};

/// Runs a test in a browser against the portal, in SQLite.
fn in_browser(size: (u32, u32), dark: bool, test: impl AsyncFn(&Browser, &Web, &Place)) {
    let place = Place::in_sqlite();
    people(&place.service());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let web = Web::serve_service(place.service()).await;
        let browser = Browser::open(size.0, size.1, dark).await;
        test(&browser, &web, &place).await;
        browser.close().await;
    });
}

async fn sign_in(browser: &Browser, web: &Web, name: &str) {
    browser.go(&web.url("/sign-in")).await;
    browser.fill("input[name=name]", name).await;
    browser.fill("input[name=password]", PASSWORD).await;
    browser.click("main button").await;
    browser.find(".who").await;
}

/// An admin's day, by mouse.
#[test]
fn an_admin_issues_limits_and_blocks() {
    in_browser((1200, 900), false, async |browser, web, place| {
        browser.go(&web.url("/customers")).await;
        // First who it is, then where it was.
        browser.shows("h1", "Sign in").await;
        browser.fill("input[name=name]", "alice").await;
        browser.fill("input[name=password]", "wrong").await;
        browser.click("main button").await;
        browser.shows(".error", "Q705 the name or the password is wrong").await;
        browser.fill("input[name=password]", PASSWORD).await;
        browser.click("main button").await;
        browser.shows("h1", "Customers").await;

        browser.fill("form.card input[name=name]", "Adventure <b>Works").await;
        browser.click("form.card button").await;
        // A name is a text, whatever it looks like.
        browser.shows("h1", "Adventure <b>Works").await;

        browser.go(&web.url("/keys")).await;
        browser.find("form.card option[value='97']").await.click().await.unwrap();
        browser.fill("form.card input[name=count]", "2").await;
        browser.fill("form.card input[name=customer]", "Fabrikam").await;
        browser.click("form.card button").await;
        browser.shows("h1", "Issued keys").await;
        browser.shows("tbody", "00097-000-000002").await;
        let issued = browser.text("tbody").await;
        // Loaded again, as after a broken connection, they are the same.
        browser.driver.refresh().await.unwrap();
        browser.shows("tbody", &issued).await;
        assert_eq!(place.ask(|service| service.keys(&KeyFilter::default(), 9).unwrap().len()), 2);

        browser.click("tbody a").await;
        browser.shows("dl", "0 of 50 machines, 50 left").await;
        browser.fill("input[name=machines]", "75").await;
        browser.click("form[action$='/limit'] button").await;
        browser.shows("dl", "0 of 75 machines, 75 left").await;
        // It asks first.
        browser.click("form[action$='/block'] summary").await;
        browser.shows("form[action$='/block'] details p", "Nothing is activated with it yet.").await;
        browser.click("form[action$='/block'] button").await;
        browser.shows("p.warning", "this key is blocked").await;
        browser.click("nav a[href='/revocation']").await;
        browser.shows("main", "00097-000-000001").await;
        // What cannot be undone is not done by the key that ends a line.
        browser.fill("input[name=certificate]", "0123").await;
        let form = "document.querySelector('main form')";
        browser
            .script(&format!(
                "window.sent = false; {form}.addEventListener('submit', () => {{ window.sent = true; }})"
            ))
            .await;
        browser.keys(Key::Enter).await;
        assert_eq!(browser.script("return window.sent").await, serde_json::json!(false));
        browser.click("form[action='/revocation'] summary").await;
        browser.click("form[action='/revocation'] details button").await;
        browser.shows(".error", "Q408").await;

        // A public key has a page as well, with nothing on it that would do nothing.
        let public = place.ask(|service| {
            let public = key(service, SETUP_KEYS).id();
            service.assign_key(public, Some("Fabrikam")).unwrap();
            public
        });
        let fabrikam = place.ask(|service| service.customer_named("Fabrikam").unwrap().id);
        browser.go(&web.url(&format!("/customers/{fabrikam}"))).await;
        browser.shows("tbody tr:last-child", "public, never counted").await;
        browser.click(&format!("a[href='/keys/{public}']")).await;
        browser.shows("dl", "Contoso Office Standard client setup keys").await;
        browser.shows("dl", "nothing: it is public and never counted").await;
        assert!(!browser.text("main").await.contains("Activations"));
        let forms = browser.driver.find_all(By::Css("main form")).await.unwrap();
        let action = forms[0].attr("action").await.unwrap();
        assert_eq!((forms.len(), action.unwrap()), (1, format!("/keys/{public}/assign")));

        browser.click("nav a[href='/products']").await;
        let products = browser.find("textarea[name=file]:not([hidden])").await;
        let file = products.value().await.unwrap().unwrap();
        let changed = file.replace("threshold = 25", "threshold = 30");
        assert_ne!(changed, file);
        browser
            .script(&format!("document.querySelector('textarea:not([hidden])').value = {changed:?}"))
            .await;
        browser.click("form[action='/products/diff'] button").await;
        browser.shows("section li", "~ policy system: threshold: 25 → 30").await;
        browser.click("form[action='/products/import'] button").await;
        browser.shows("main", "Catalog 2, signed").await;

        browser.click("nav a[href='/tokens']").await;
        browser.fill("form.card input[name=name]", "web shop").await;
        browser.click("input[name=read]").await;
        browser.click("form.card button").await;
        let token = browser.text("#made").await;
        place.ask(|service| service.access_by_token(&token).unwrap());
        browser.click("nav a[href='/users']").await;
        browser.fill("form.card input[name=name]", "bob").await;
        browser.find("option:nth-child(2)").await.click().await.unwrap();
        browser.click("form.card button").await;
        let password = browser.text("#made").await;
        place.ask(|service| service.sign_in("bob", &password).unwrap());

        browser.click("nav a[href='/audit']").await;
        browser.click("main form button").await;
        browser.shows("[role=status]", "none changed and none missing").await;
        browser.shows("tbody", "user alice").await;
        browser.click(".who button").await;
        browser.shows("h1", "Sign in").await;
        browser.go(&web.url("/audit")).await;
        browser.shows("h1", "Sign in").await;
    });
}

/// The desk, by keyboard alone.
#[test]
fn a_support_agent_confirms_by_keyboard() {
    in_browser((1200, 900), false, async |browser, web, place| {
        let key = place.ask(|service| {
            let key = key(service, HOST_KEYS);
            service.pack(key.id(), 12).unwrap();
            service.assign_key(key.id(), Some("Fabrikam")).unwrap();
            key
        });
        browser.go(&web.url("/sign-in")).await;
        // The first field has the focus.
        browser.keys("sam").await;
        browser.keys(Key::Tab).await;
        browser.keys(PASSWORD).await;
        browser.keys(Key::Enter).await;
        browser.find(".who").await;
        for path in ["/audit", "/tokens", "/webhooks", "/users"] {
            browser.go(&web.url(path)).await;
            browser.shows(".error", "Q702").await;
        }
        assert!(browser.driver.find_all(By::Css("nav a[href='/audit']")).await.unwrap().is_empty());

        browser.go(&web.url("/desk")).await;
        // The script checks by the same digits as the core.
        for number in [0u32, 57_240, 11_111, 98_765, 43_210, 99_999] {
            let digits: Vec<u8> = format!("{number:05}").bytes().map(|digit| digit - b'0').collect();
            for last in 0..10 {
                let sound = check_digit::is_sound(digits.iter().copied().chain([last]));
                let said = browser.script(&format!("return isSound('{number:05}{last}')")).await;
                assert_eq!(said, serde_json::json!(sound), "{number:05}{last}");
            }
        }
        let spoken = installation_id(&key, 1).to_string();
        let groups: Vec<&str> = spoken.split('-').collect();
        let misheard = if groups[0].starts_with('9') { "8" } else { "9" }.to_owned() + &groups[0][1..];
        browser.keys(misheard.as_str()).await;
        browser.shows("#say1", "wrong: ask for this group again").await;
        // It is typed over; each right group leads to the next.
        for group in &groups {
            browser.keys(*group).await;
        }
        browser.shows("#say9", "right").await;
        browser.keys(Key::Enter).await;
        // First whose it is and what it costs; nothing is given away yet.
        browser.shows("#looked", "Confirm?").await;
        browser.shows("dl", "Fabrikam").await;
        browser.shows("dl", "0 of 6 hosts, 6 left").await;
        browser.shows("dl", "one more host: the key is then activated on 1 of 6").await;
        assert_eq!(place.ask(|service| service.usage(key.id()).unwrap().machines), 0);
        browser.keys(Key::Enter).await;
        browser.shows("h1", "Confirmation ID").await;
        let confirmed = place.ask(|service| service.confirm(&installation_id(&key, 1)).unwrap());
        let expected = confirmed.confirmation_id.to_string();
        assert_eq!(browser.text(".wrap").await, expected);
        let shown = browser.text("#spoken").await;
        let lines: Vec<String> =
            ('A'..).zip(expected.split('-')).map(|(letter, digits)| format!("{letter} {digits}")).collect();
        assert_eq!(shown.split('\n').collect::<Vec<_>>(), lines);
        browser.shows("dl", "Fabrikam").await;
        browser.shows("dl", "1 of 6 hosts, 5 left").await;
        browser.find("figure svg").await;
        // It is read aloud group by group: what is spoken is recorded in place of being heard.
        browser
            .script(
                "window.said = []; speechSynthesis.speak = (words) => said.push(words.text);
                 document.getElementById('aloud').click();",
            )
            .await;
        let said = browser.script("return window.said").await;
        let digits = |group: &str| group.chars().map(String::from).collect::<Vec<_>>().join(", ");
        assert_eq!(said[0], format!("A: {}.", digits(&expected[..6])));
        assert_eq!(said.as_array().unwrap().len(), 8);

        // The next caller is refused: the digits stay, and it is said whose key it is and what can be done.
        place.ask(|service| {
            let one = NewLimits { hosts: Some(Some(1)), ..NewLimits::default() };
            service.limit_key(key.id(), &one).unwrap();
        });
        browser.click("main a[href='/desk']").await;
        let other = installation_id(&key, 2).to_string();
        for group in other.split('-') {
            browser.keys(group).await;
        }
        browser.keys(Key::Enter).await;
        browser.shows("#looked", "No Confirmation ID").await;
        browser.shows(".error", "is activated on 1 host; 1 is allowed").await;
        browser
            .shows(".error", "Next: release a host that is gone, raise the key's limit, or issue another key")
            .await;
        browser.shows("dl", "Fabrikam").await;
        assert!(browser.driver.find_all(By::Css("#give")).await.unwrap().is_empty());
        let mut kept = Vec::new();
        for field in browser.driver.find_all(By::Css("#desk .groups input")).await.unwrap() {
            kept.push(field.value().await.unwrap().unwrap());
        }
        assert_eq!(kept.join("-"), other);
        let link = browser.find("dl a").await.attr("href").await.unwrap().unwrap();
        // When a group is typed over, what was looked up is another Installation ID.
        browser.keys("1").await;
        assert!(browser.driver.find_all(By::Css("#card")).await.unwrap().is_empty());
        browser.go(&web.url(&link)).await;
        browser.shows("h1", &key.id().to_string()).await;
    });
}

/// A webhook from its adding to its end, by keyboard, on a small screen.
#[test]
fn an_admin_keeps_webhooks() {
    in_browser((390, 844), false, async |browser, web, place| {
        let nowhere = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/hook", nowhere.local_addr().unwrap());
        drop(nowhere);
        let fits = async || {
            let wide =
                browser.script("return document.documentElement.scrollWidth <= window.innerWidth").await;
            assert_eq!(wide, serde_json::json!(true));
        };
        sign_in(browser, web, "alice").await;
        browser.go(&web.url("/webhooks")).await;
        browser.shows("main", "None.").await;
        // Past the navigation to the first field.
        browser.keys(Key::Tab).await;
        browser.keys(Key::Enter).await;
        browser.keys(Key::Tab).await;
        browser.keys("shop.example").await;
        browser.keys(Key::Tab).await;
        browser.keys(Key::Space).await;
        for _ in 0..3 {
            browser.keys(Key::Tab).await;
        }
        browser.keys(Key::Enter).await;
        browser.shows(".error", "Q507 this is not the URL of a webhook").await;
        fits().await;
        // What was typed is there still.
        assert_eq!(browser.find("input[name=url]").await.value().await.unwrap().unwrap(), "shop.example");
        assert!(browser.find("input[name=activation]").await.is_selected().await.unwrap());
        browser.fill("input[name=url]", &url).await;
        browser.keys(Key::Enter).await;
        let secret = browser.text("#made").await;
        assert!(secret.starts_with("whsec_"), "{secret}");
        browser.shows("tbody", &url).await;
        fits().await;
        // Only this once.
        browser.go(&web.url("/webhooks")).await;
        browser.shows("tbody", "nothing delivered yet").await;
        assert!(!browser.driver.source().await.unwrap().contains(&secret[6..]));
        let told = place.ask(|service| service.webhooks().unwrap());
        assert_eq!((told[0].url.as_str(), told[0].events.as_str()), (url.as_str(), "activation"));

        place.ask(|service| {
            let key = key(service, MAKS);
            service.pack(key.id(), 1).unwrap();
            service.confirm(&installation_id(&key, 1)).unwrap();
        });
        // The service sends it as soon as it looks, and will send it again.
        let began = Instant::now();
        while !browser.text("tbody").await.contains("connection refused") {
            assert!(began.elapsed() < Duration::from_secs(30), "{}", browser.text("tbody").await);
            browser.driver.refresh().await.unwrap();
        }
        browser.shows("tbody .warning", "connection refused").await;
        browser.shows("tbody", "1 waiting").await;
        fits().await;
        browser.find("tbody a").await.send_keys(Key::Enter + "").await.unwrap();
        browser.shows("h1", "Webhook 1").await;
        browser.shows("tbody", "activation").await;
        browser.shows("tbody .warning", "connection refused").await;
        fits().await;
        browser.go(&web.url("/webhooks")).await;
        browser.find("tbody summary").await.send_keys(Key::Enter + "").await.unwrap();
        browser.find("tbody button").await.send_keys(Key::Enter + "").await.unwrap();
        browser.shows("tbody", "removed").await;
        assert!(browser.driver.find_all(By::Css("tbody button")).await.unwrap().is_empty());
        assert!(place.ask(|service| service.webhooks().unwrap()[0].removed.is_some()));
        browser.go(&web.url("/webhooks/1")).await;
        browser.shows("p.warning", "it is told nothing more").await;
        browser.go(&web.url("/webhooks/2")).await;
        browser.shows(".error", "Q704 there is no webhook 2").await;
    });
}

/// Pages with wide tables and forms fit a telephone's screen; the navigation opens by keyboard and leads on.
#[test]
fn every_page_fits_a_small_screen() {
    in_browser((390, 844), false, async |browser, web, place| {
        let id = place.ask(|service| {
            let key = key(service, HOST_KEYS);
            service.assign_key(key.id(), Some("Fabrikam")).unwrap();
            service.pack(key.id(), 12).unwrap();
            service.confirm(&installation_id(&key, 1)).unwrap();
            key.id()
        });
        sign_in(browser, web, "alice").await;
        for path in [
            "/",
            "/customers",
            "/customers/1",
            "/keys",
            &format!("/keys/{id}"),
            "/activations",
            "/desk",
            "/products",
            "/revocation",
            "/audit",
            "/tokens",
            "/webhooks",
            "/users",
            "/nowhere",
        ] {
            browser.go(&web.url(path)).await;
            browser.find("main h1").await;
            let wide = browser.script("return document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().unwrap() <= 390, "{path} is {wide} wide");
            // The header is a line or two, and not half of the screen.
            let high = browser.script("return document.querySelector('header').offsetHeight").await;
            assert!(high.as_u64().unwrap() <= 100, "{path}: the header is {high} high");
        }
        assert!(!browser.find("nav a[href='/users']").await.is_displayed().await.unwrap());
        browser.find(".menu").await.send_keys(Key::Enter + "").await.unwrap();
        let users = browser.find("nav a[href='/users']").await;
        assert!(users.is_displayed().await.unwrap());
        users.send_keys(Key::Enter + "").await.unwrap();
        browser.shows("h1", "Users").await;
    });
}

/// A customer with a telephone in one hand.
#[test]
fn a_customer_helps_itself_on_a_small_screen() {
    in_browser((390, 844), true, async |browser, web, place| {
        let (own, other) = place.ask(|service| {
            let (own, other) = (key(service, MAKS), key(service, MAKS));
            service.assign_key(own.id(), Some("Fabrikam")).unwrap();
            service.assign_key(other.id(), Some("Northwind")).unwrap();
            service.pack(own.id(), 12).unwrap();
            (own, other)
        });
        sign_in(browser, web, "frank").await;
        browser.shows("h1", "Fabrikam").await;
        // Without a pack there is nothing to confirm; where to get one is said in a customer's words.
        browser.click("a.button").await;
        let host = place.ask(|service| {
            let host = key(service, HOST_KEYS);
            service.assign_key(host.id(), Some("Fabrikam")).unwrap();
            host
        });
        for group in installation_id(&host, 1).to_string().split('-') {
            browser.keys(group).await;
        }
        browser.keys(Key::Enter).await;
        browser.shows(".error", "Q405").await;
        browser.shows(".error", "Next: download the key's license pack on the page Keys").await;
        browser.go(&web.url("/my")).await;
        let page = browser.text("main").await;
        assert!(
            page.contains(&format!("…{}", own.partial()))
                && page.contains("50 left; activated on 0 of 50 machines"),
            "{page}"
        );
        // It fits.
        let wide = browser.script("return document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(wide, serde_json::json!(true));
        browser.click("a.button").await;
        let spoken = installation_id(&own, 1).to_string();
        // The whole of it pasted into the first field, which has the focus; the browser inserts it as by a key.
        let paste = format!("return document.execCommand('insertText', false, ' {spoken}')");
        assert_eq!(browser.script(&paste).await, serde_json::json!(true));
        browser.click("#desk button").await;
        browser.shows("dl", "one more machine: the key is then activated on 1 of 50").await;
        browser.click("#give").await;
        browser.shows("h1", "Confirmation ID").await;
        let wide = browser.script("return document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(wide, serde_json::json!(true));
        // What is another's is as if there were none.
        browser.go(&web.url("/desk")).await;
        browser.script(&paste.replace(&spoken, &installation_id(&other, 1).to_string())).await;
        browser.click("#desk button").await;
        let refused = browser.text(".error").await;
        assert!(refused.contains(&format!("product key {} is not one of yours", other.id())), "{refused}");
        assert_eq!(place.ask(|service| service.usage(other.id()).unwrap().machines), 0);
        let public = place.ask(|service| {
            let public = key(service, SETUP_KEYS).id();
            service.assign_key(public, Some("Fabrikam")).unwrap();
            public
        });
        browser.go(&web.url("/my")).await;
        browser.shows("section:last-child", "A public key, never counted").await;
        let packs = format!("form[action='/my/{public}/pack']");
        assert!(browser.driver.find_all(By::Css(packs)).await.unwrap().is_empty());
        for path in [
            "/customers",
            "/keys",
            &format!("/keys/{}", own.id()),
            "/activations",
            "/products",
            "/revocation",
        ] {
            browser.go(&web.url(path)).await;
            browser.shows(".error", "Q702 this page is for the vendor's own people").await;
            // From there it goes on.
            browser.find("nav a[href='/my']").await;
        }
    });
}

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

/// The pictures of the documentation, made anew with SCREENSHOTS=overwrite; and always: each page is there, in light
/// and in dark.
#[test]
fn pages_look_as_in_the_documentation() {
    for (dark, ground) in [(false, "rgb(247, 248, 250)"), (true, "rgb(15, 19, 24)")] {
        in_browser((1200, 900), dark, async |browser, web, place| {
            let id = place.ask(|service| {
                let key = key(service, HOST_KEYS);
                service.assign_key(key.id(), Some("Fabrikam")).unwrap();
                service.pack(key.id(), 12).unwrap();
                for machine in 1..=5 {
                    service.confirm(&installation_id(&key, machine)).unwrap();
                }
                for (url, events) in [
                    ("https://shop.contoso.example/quorate", BTreeSet::from(Event::ALL)),
                    ("https://crm.contoso.example/hooks/licenses", BTreeSet::from([Event::LimitReached])),
                ] {
                    service.add_webhook(url, &events).unwrap();
                }
                // As if they had been sent; nothing leaves this machine.
                let now = Timestamp::now().as_second();
                place.meddle(&format!(
                    "INSERT INTO delivery (id, webhook, event, body, created, attempts, due, delivered, said) VALUES
                     (1, 1, 'activation', '', {now}, 1, NULL, {now}, 'delivered'),
                     (2, 2, 'limit-reached', '', {now}, 1, {now} + 9000, NULL, 'answered with status 503')"
                ));
                key.id()
            });
            sign_in(browser, web, "alice").await;
            let kind = if dark { "dark" } else { "light" };
            for (name, path) in [
                ("overview", "/".to_owned()),
                ("key", format!("/keys/{id}")),
                ("desk", "/desk".to_owned()),
                ("webhooks", "/webhooks".to_owned()),
            ] {
                browser.go(&web.url(&path)).await;
                browser.find("main h1").await;
                let shown = browser.script("return getComputedStyle(document.body).backgroundColor").await;
                assert_eq!(shown, serde_json::json!(ground), "{path}");
                if std::env::var("SCREENSHOTS").is_ok_and(|wanted| wanted == "overwrite") {
                    let file =
                        format!("{}/../../docs/screenshots/{name}-{kind}.png", env!("CARGO_MANIFEST_DIR"));
                    std::fs::create_dir_all(Path::new(&file).parent().unwrap()).unwrap();
                    browser.driver.screenshot(Path::new(&file)).await.unwrap();
                }
            }
        });
    }
}
