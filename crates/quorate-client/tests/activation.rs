//! How machines are activated: by a host set by hand or found in DNS, counted, renewed, told apart from their
//! clones; through the library and through `quorate`, against a real host.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::name_server::{DOMAIN, NameServer};
use common::{Hands, Host, PROFESSIONAL, Pc, STANDARD, Vendor, products};
use quorate_client::Client;
use quorate_client::activation::{Activator, ByHost};
use quorate_client::discovery::Found;
use quorate_client::stored::HeldLicense;
use quorate_core::license_state::{LicenseStatus, Mode};
use quorate_core::{Code, Interval};
use quorate_edge::clock::Clock;
use std::path::Path;

/// The administrator knows the host's IP address: set it, activate, look.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_set_by_its_ip_address_activates() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let hands = Hands::new();
    let client = pc.client(&hands.clock());
    client.set_host(Some(host.host_address())).unwrap();
    let activated = client.activate().await.unwrap();
    let until = Interval::days(180).after(hands.now());
    // The host's own clock goes on while this one stands.
    let off = until.duration_since(activated.state.until.unwrap()).abs();
    assert!(off.as_secs() < 60, "{activated:?}");
    let by = ByHost { host: host.host_address(), found: Found::SetByHand, count: 1, threshold: 1 };
    assert_eq!(activated.by, Activator::Host(by));
    assert_eq!((activated.state.status, activated.state.mode), (LicenseStatus::Licensed, Mode::Full));
    let status = client.status().unwrap();
    assert_eq!(status.state, activated.state);
    let Some(HeldLicense::Host(response)) = status.license.unwrap() else { panic!("activated by a host") };
    assert_eq!((response.cmid, response.hardware), (status.product.cmid, pc.machine.components().id()));
    assert_eq!(status.product.last.unwrap().error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slash_forms_that_administrators_know_work() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let address = host.address;
    assert_eq!(
        pc.run(&[&format!("/sethst:{address}")]).succeeds(),
        format!("The host is set to {address}.\nnext: quorate activate\n")
    );
    assert_eq!(
        pc.run(&["/dhistorykms"]).succeeds(),
        format!("Contoso Office, Standard edition: {address} (set by hand)\n")
    );
    assert_eq!(
        pc.run(&["/act"]).succeeds(),
        format!("Contoso Office, Standard edition: activated by {address} (set by hand), count 1 of 1.\n")
    );
    let status = pc.run(&["/dstatus"]);
    assert_eq!(status.line("SKU ID"), STANDARD);
    assert_eq!(status.line("LICENSE NAME"), "Contoso Office, Standard edition");
    assert_eq!(status.line("LICENSE DESCRIPTION"), "Contoso Office, VOLUME_KMSCLIENT channel");
    assert_eq!(status.line("LICENSE STATUS"), "---LICENSED---");
    assert_eq!(status.line("REMAINING GRACE"), "179 days (259199 minutes)");
    assert_eq!(status.line("HOST"), format!("{address} (set by hand)"));
    assert!(status.line("PRODUCT ID").starts_with("55041-00096-000-000001-03-1033-"), "{status:?}");
    assert!(status.line("LAST REQUEST").ends_with(", count 1 of 1"), "{status:?}");
    assert!(!status.out.contains("ERROR"), "{status:?}");
    assert_eq!(pc.run(&["/DSTATUSALL"]).succeeds().lines().count(), status.succeeds().lines().count());
    assert_eq!(pc.run(&["/remhst"]).succeeds(), "The host is found in DNS again.\n");
    assert_eq!(pc.run(&["status"]).line("HOST"), "(none yet; looked for in DNS)");
    // Without a host set by hand, and with nothing in DNS, the license stays.
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_published_in_dns_activates_without_any_setting() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let port = host.address.port();
    let names = NameServer::publishing(&[(0, "kms", port)]).await;
    assert_eq!(
        pc.activate_by_dns(names.address, DOMAIN).succeeds(),
        format!("Contoso Office, Standard edition: activated by kms.corp.test:{port} (DNS), count 1 of 1.\n")
    );
    let status = pc.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---LICENSED---");
    assert_eq!(status.line("HOST"), format!("kms.corp.test:{port} (answered last)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_wait_in_their_grace_until_enough_have_asked() {
    let mut vendor = Vendor::with("contoso", &products("contoso", 5), Clock::system());
    let host = vendor.host().await;
    let pcs: Vec<Pc> = (1..=5).map(|number| Pc::with_product(number, &vendor)).collect();
    let clients: Vec<Client> = pcs.iter().map(|pc| pc.client_of(&host, &Clock::system())).collect();
    for (client, count) in clients[..4].iter().zip(1..) {
        // Asking again does not count again.
        for _ in 0..2 {
            let error = client.activate().await.unwrap_err();
            assert_eq!(error.code, Code::CountTooLow);
            assert_eq!(
                error.what,
                format!("count {count} of 5: the host has not been asked by enough machines yet")
            );
            let machines =
                if count == 4 { "1 more machine" } else { &format!("{} more machines", 5 - count) };
            assert_eq!(
                error.next,
                format!(
                    "wait: `quorate run` asks again by itself. {machines} must ask this host; \
                     clones of one image count once"
                )
            );
        }
        let status = client.status().unwrap();
        assert_eq!(status.state.status, LicenseStatus::InitialGrace);
        assert_eq!(status.product.last.unwrap().count, Some(count));
    }
    let activated = clients[4].activate().await.unwrap();
    assert_eq!((activated.by_host().unwrap().count, activated.by_host().unwrap().threshold), (5, 5));
    for client in &clients {
        assert_eq!(client.activate().await.unwrap().by_host().unwrap().count, 5);
        assert_eq!(client.status().unwrap().state.status, LicenseStatus::Licensed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_starts_the_time_anew() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 1), hands.clock());
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let client = pc.client_of(&host, &hands.clock());
    let validity = Interval::days(180);
    client.activate().await.unwrap();
    assert_eq!(client.status().unwrap().state.until, Some(validity.after(hands.now())));
    hands.forward(Interval::days(7));
    let renewed = client.activate().await.unwrap();
    assert_eq!(
        (renewed.by_host().unwrap().count, renewed.state.until),
        (1, Some(validity.after(hands.now())))
    );

    let status = |client: &Client| client.status().unwrap().state.status;
    hands.forward(Interval::days(179));
    assert_eq!(status(&client), LicenseStatus::Licensed);
    hands.forward(Interval::days(2));
    assert_eq!(status(&client), LicenseStatus::OutOfToleranceGrace);
    hands.forward(Interval::days(30));
    assert_eq!(status(&client), LicenseStatus::Notification);
    // However late, the next answer licenses it again.
    client.activate().await.unwrap();
    assert_eq!(status(&client), LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_forgets_machines_that_ask_no_more() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 2), hands.clock());
    let host = vendor.host().await;
    let (one, two) = (Pc::with_product(1, &vendor), Pc::with_product(2, &vendor));
    let client = |pc: &Pc| pc.client_of(&host, &hands.clock());
    client(&one).activate().await.unwrap_err();
    assert_eq!(client(&two).activate().await.unwrap().by_host().unwrap().count, 2);
    hands.forward(Interval::days(31));
    let error = client(&two).activate().await.unwrap_err();
    assert_eq!(error.what, "count 1 of 2: the host has not been asked by enough machines yet");
    // The license of before stays until its own end.
    assert_eq!(client(&two).status().unwrap().state.status, LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_of_one_image_are_told_apart() {
    let mut vendor = Vendor::with("contoso", &products("contoso", 2), Clock::system());
    let host = vendor.host().await;
    let (original, clone) = (Pc::with_product(1, &vendor), Pc::with_product(2, &vendor));
    let cmid = |pc: &Pc| pc.client(&Clock::system()).status().unwrap().product.cmid;
    // As if the image's maker had copied the CMID alone: only the host can notice.
    let shared = cmid(&original);
    edit(&clone.store("contoso"), &cmid(&clone).to_string(), &shared.to_string());
    assert_eq!(cmid(&clone), shared);

    let asked = original.client_of(&host, &Clock::system()).activate().await;
    assert_eq!(asked.unwrap_err().what, "count 1 of 2: the host has not been asked by enough machines yet");
    assert_eq!(
        clone.client_of(&host, &Clock::system()).activate().await.unwrap().by_host().unwrap().count,
        2
    );
    assert_eq!(original.client(&Clock::system()).activate().await.unwrap().by_host().unwrap().count, 2);
    assert_eq!(cmid(&original), shared);
    assert_ne!(cmid(&clone), shared);
    for pc in [original, clone] {
        assert_eq!(pc.license(), LicenseStatus::Licensed);
        assert_eq!(pc.client(&Clock::system()).status().unwrap().product.previous_cmid, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_made_from_one_installed_image_count_one_each() {
    let mut vendor = Vendor::with("contoso", &products("contoso", 3), Clock::system());
    let host = vendor.host().await;
    let image = Pc::with_product(1, &vendor);
    let copies = [image.copied_to(2), image.copied_to(3)];
    let mut counts = Vec::new();
    for pc in std::iter::once(&image).chain(&copies) {
        let client = pc.client_of(&host, &Clock::system());
        // The first two are too few; what counts is what the host saw.
        let _ = client.activate().await;
        counts.push(client.status().unwrap().product.last.unwrap().count);
    }
    assert_eq!(counts, [Some(1), Some(2), Some(3)]);
    assert_eq!(copies[1].license(), LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_that_answered_last_is_asked_first_and_dns_when_it_fails() {
    let mut vendor = Vendor::new("contoso");
    let (pc, first, second) = (Pc::with_product(1, &vendor), vendor.host().await, vendor.host().await);
    let published = |host: &Host| host.address.port();
    let before = NameServer::publishing(&[(0, "one", published(&first))]).await;
    let activated = pc.client_with(&before.dns(), &Clock::system()).activate().await.unwrap();
    assert_eq!(activated.by_host().unwrap().found, Found::Dns);

    // DNS names another now, and the one that answered is not left for it,
    let after =
        NameServer::publishing(&[(0, "two", published(&second)), (10, "one", published(&first))]).await;
    let client = pc.client_with(&after.dns(), &Clock::system());
    let activated = client.activate().await.unwrap();
    assert_eq!(
        (activated.by_host().unwrap().found, &activated.by_host().unwrap().host.name[..]),
        (Found::Cached, "one.corp.test")
    );
    let hosts: Vec<_> =
        client.discover().await.unwrap().into_iter().map(|(host, found)| (host.name, found)).collect();
    let name = |name: &str, found| (format!("{name}.corp.test"), found);
    assert_eq!(hosts, [name("one", Found::Cached), name("two", Found::Dns)]);

    // until it fails.
    first.stop().await;
    let activated = client.activate().await.unwrap();
    assert_eq!(
        (activated.by_host().unwrap().found, &activated.by_host().unwrap().host.name[..]),
        (Found::Dns, "two.corp.test")
    );
    assert_eq!(client.activate().await.unwrap().by_host().unwrap().found, Found::Cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_set_by_hand_is_the_only_one_asked() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host, gone) = (Pc::with_product(1, &vendor), vendor.host().await, vendor.host().await);
    let names = NameServer::publishing(&[(0, "kms", host.address.port())]).await;
    let client = pc.client_with(&names.dns(), &Clock::system());
    client.activate().await.unwrap();
    client.set_host(Some(gone.host_address())).unwrap();
    gone.stop().await;
    assert_eq!(client.activate().await.unwrap_err().code, Code::HostUnreachable);
    client.set_host(None).unwrap();
    assert_eq!(client.activate().await.unwrap().by_host().unwrap().found, Found::Dns);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_edition_keeps_its_machine_and_its_grace_and_needs_its_own_activation() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 1), hands.clock());
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let client = pc.client_of(&host, &hands.clock());
    client.activate().await.unwrap();
    let before = client.status().unwrap().product;
    hands.forward(Interval::days(10));
    let edition = Some(PROFESSIONAL.parse().unwrap());
    quorate_client::registration::register(
        &pc.state(),
        &vendor.root(),
        &vendor.catalog(),
        edition,
        &pc.machine,
        hands.now(),
    )
    .unwrap();
    let status = client.status().unwrap();
    assert_eq!(status.state.status, LicenseStatus::InitialGrace);
    assert_eq!((status.product.cmid, status.product.first_run), (before.cmid, before.first_run));
    assert_eq!(client.activate().await.unwrap().by_host().unwrap().count, 1);
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Licensed);
}

/// Two vendors' products on one machine, each activated by its own vendor's host.
#[tokio::test(flavor = "multi_thread")]
async fn products_of_two_vendors_live_side_by_side() {
    let (mut contoso, fabrikam) = (Vendor::new("contoso"), Vendor::new("fabrikam"));
    let (pc, host) = (Pc::with_product(1, &contoso), contoso.host().await);
    let (catalog, root) = (fabrikam.catalog(), fabrikam.root());
    let arguments = ["register", text(&catalog), "--root", text(&root), "--product", STANDARD];
    let out = pc.run(&arguments).succeeds();
    assert!(out.starts_with("Registered Contoso Office, Standard edition of fabrikam Ltd (catalog 1).\n"));
    pc.run(&["set-host", &host.address.to_string()]).succeeds();
    let ran = pc.run(&["activate"]);
    assert_eq!(
        ran.out,
        format!(
            "Contoso Office, Standard edition: activated by {} (set by hand), count 1 of 1.\n\
             Contoso Office, Standard edition: not activated.\n",
            host.address
        )
    );
    assert_eq!(ran.status, Some(1));
    let start = format!(
        "error Q302 (0xC004F041): the host at {} has no activated key of vendor fabrikam",
        host.address
    );
    assert!(ran.err.starts_with(&start), "{ran:?}");
    let out = pc.run(&["status"]).succeeds();
    for status in ["LICENSED", "OOB_GRACE"] {
        assert_eq!(out.matches(&format!("LICENSE STATUS: ---{status}---")).count(), 1, "{out}");
    }
}

/// Commands that run at the same time wait for one another at the store.
#[tokio::test(flavor = "multi_thread")]
async fn commands_at_the_same_time_do_not_lose_a_license() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    pc.run(&["set-host", &host.address.to_string()]).succeeds();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| pc.run(&["activate"]))).collect();
        for ran in asking {
            let out = ran.join().unwrap().succeeds();
            assert!(out.ends_with(", count 1 of 1.\n"), "{out}");
        }
    });
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

/// Changes a store as somebody would who knows how it is made.
fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let (_, content) = text.split_once("\"content\":").unwrap();
    let content = content.strip_suffix('}').unwrap();
    assert!(content.contains(from), "{content}");
    let content = content.replace(from, to);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content.as_bytes());
    let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(file, format!("{{\"sha256\":\"{sha256}\",\"content\":{content}}}")).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
