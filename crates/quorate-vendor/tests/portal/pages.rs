//! What people see and do in a real browser, by mouse, by keyboard and on a small screen.

use crate::common::browser::Browser;
use crate::common::people::{PASSWORD, people};
use crate::common::place::{Place, key};
use crate::common::web::Web;
use crate::common::{HOST_KEYS, MAKS, SETUP_KEYS, installation_id};
use quorate_core::Timestamp;
use quorate_core::check_digit;
use quorate_vendor::keys::NewLimits;
use quorate_vendor::store::keys::KeyFilter;
use quorate_vendor::webhooks::Event;
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
