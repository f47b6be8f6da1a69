//! The vendor's signed policy decides, and no number of it is the program's own.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Hands, Pc, Vendor, products};
use quorate_core::Interval;
use quorate_core::license_state::LicenseStatus;

/// As long as here, nothing lasts by default.
const SHORT: [(&str, &str); 5] = [
    ("activation-interval = \"2h\"", "activation-interval = \"1h\""),
    ("renewal-interval = \"7d\"", "renewal-interval = \"3d\""),
    ("validity = \"180d\"", "validity = \"90d\""),
    ("initial-grace = \"30d\"", "initial-grace = \"10d\""),
    ("grace = \"30d\"\nafter-grace", "grace = \"20d\"\nafter-grace"),
];

fn with(changes: &[(&str, &str)]) -> String {
    let mut text = products("contoso", 1);
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_interval_is_the_policys() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &with(&SHORT), hands.clock());
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let client = pc.client_of(&host, &hands.clock());
    let status = || client.status().unwrap().state.status;
    hands.forward(Interval::minutes(10 * 24 * 60 - 1));
    assert_eq!(status(), LicenseStatus::InitialGrace);
    hands.forward(Interval::minutes(2));
    assert_eq!(status(), LicenseStatus::Notification);

    client.activate().await.unwrap();
    let wait = Interval::between(hands.now(), client.due().unwrap().unwrap());
    assert!((Interval::minutes(36 * 60)..=Interval::days(3)).contains(&wait), "{wait}");
    host.stop().await;
    hands.forward(Interval::minutes(90 * 24 * 60 - 1));
    assert_eq!(status(), LicenseStatus::Licensed);
    hands.forward(Interval::minutes(2));
    assert_eq!(status(), LicenseStatus::OutOfToleranceGrace);
    client.activate().await.unwrap_err();
    let wait = Interval::between(hands.now(), client.due().unwrap().unwrap());
    assert!((Interval::minutes(30)..=Interval::minutes(60)).contains(&wait), "{wait}");
    hands.forward(Interval::days(20));
    assert_eq!(status(), LicenseStatus::Notification);
}

/// Where only the processor counts, another disk is nothing, and another processor everything; by default it is
/// the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn the_weights_of_hardware_are_the_policys() {
    let weights = "[policy.office.hardware]\nmachine-id = 0\nboard = 0\ndisk = 0\nnetwork = 0\nprocessor = 100\n\n\
                   [policy.office-retail]";
    let own = with(&[("[policy.office-retail]", weights)]);
    for (products, other_processor, other_disk) in
        [(own, "---OOT_GRACE---", "---LICENSED---"), (with(&[]), "---LICENSED---", "---OOT_GRACE---")]
    {
        let mut vendor = Vendor::new("contoso");
        vendor.import(&products);
        let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
        let machine = |disk: &str, processor: &str| {
            let text = format!(
                "name = \"pc-1\"\nkind = \"physical\"\n[readings]\ndisk = [{disk:?}]\nprocessor = [{processor:?}]\n"
            );
            std::fs::write(pc.machine_file(), text).unwrap();
        };
        let status = || pc.run(&["status"]).line("LICENSE STATUS").to_owned();
        machine("d", "p");
        pc.activate_at(host.address).succeeds();
        machine("d", "another");
        assert_eq!(status(), other_processor);
        machine("another", "p");
        assert_eq!(status(), other_disk);
    }
}
