//! MAKs are activated online, directly and through proxies.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_reached_through_a_proxy() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    let (url, dead) = (service.url(), ClosedPort::new());
    let dead = format!("http://{}", dead.address);
    let activate = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["activate", "--service", &url], arguments].concat();
        Ran::from(pc.command(&arguments).envs(environment.iter().copied()))
    };
    let open = Proxy::open();
    let through = format!("http://{}", open.address);
    activate(&[], &[("HTTPS_PROXY", &through)]).succeeds();
    assert!(open.has_connected_to(service.address));

    // What is named wins over the environment; what NO_PROXY names is reached without one.
    let named = Proxy::open();
    activate(&["--proxy", &format!("http://{}", named.address)], &[("HTTPS_PROXY", &dead)]).succeeds();
    assert!(named.has_connected_to(service.address));
    let without = Proxy::open();
    let through = format!("http://{}", without.address);
    activate(&[], &[("HTTPS_PROXY", &through), ("NO_PROXY", "127.0.0.1")]).succeeds();
    assert!(!without.has_connected_to(service.address));
    let refused = activate(&[], &[("https_proxy", &dead)]);
    assert!(
        refused.err.contains("error Q504 (0x80072EE7): the activation service https://127.0.0.1:"),
        "{refused:?}"
    );
    assert!(
        refused.err.contains(" cannot be reached through the proxy that is set: connection refused\n"),
        "{refused:?}"
    );
    // The license that was held stays.
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_ask_who_is_there() {
    let mut vendor = Vendor::new("contoso");
    let service = Online::serve(&vendor).await;
    let key = vendor.key(MAKS);
    let pc = with_key(1, &vendor, &key);
    let proxy = Proxy::for_user("alice", "wonder4land");
    let activate = |proxy: &str| pc.run(&["activate", "--service", &service.url(), "--proxy", proxy]);
    for (stranger, why) in [
        ("", "the proxy asks for a user's name and password"),
        ("alice:wrong4you@", "the proxy refuses to connect to it, or to take the name and password"),
    ] {
        let ran = activate(&format!("http://{stranger}{}", proxy.address));
        assert!(ran.err.contains("error Q504 (0x80072EE7)"), "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
        assert!(!ran.err.contains("wrong4you"), "{ran:?}");
    }
    let with_password = format!("http://alice:wonder4land@{}", proxy.address);
    activate(&with_password).succeeds();
    assert!(proxy.has_connected_to(service.address));
    let from_the_environment =
        Ran::from(pc.command(&["activate", "--service", &service.url()]).env("HTTPS_PROXY", &with_password));
    from_the_environment.succeeds();
    for malformed in ["alice:wonder4land@proxy", "ftp://alice:wonder4land@proxy"] {
        activate(malformed)
            .fails("Q507: the proxy is not given as a URL", "write it as in \"http://proxy.example:3128\"");
    }
}
