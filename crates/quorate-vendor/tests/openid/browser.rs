//! In a real browser.

use crate::common::browser::Browser;
use crate::common::openid::on_the_network;
use crate::common::people::PASSWORD;
use crate::common::place::Place;
use crate::common::web::Web;
use crate::portal;
use crate::provider::RealProvider;
use serde_json::json;
use thirtyfour::By;

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
