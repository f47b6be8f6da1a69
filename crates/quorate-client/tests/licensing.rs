//! The few lines that an application needs: open with what is compiled in, check, show.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Hands, Pc, STANDARD, Vendor, products};
use quorate_client::{Client, Mode};
use quorate_core::license_state::Situation;
use quorate_core::{Code, Interval, Result};
use quorate_edge::clock::Clock;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_told_how_to_behave_from_its_first_start_to_its_last_day() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 1), hands.clock());
    let (pc, host) = (Pc::new(1), vendor.host().await);
    let client = open(&pc, &vendor, hands.clock()).unwrap();
    let check = client.check();
    assert_eq!((check.mode, check.situation, check.text.as_str()), (Mode::Full, Situation::InitialGrace, ""));

    client.set_host(Some(host.host_address())).unwrap();
    client.activate().await.unwrap();
    assert_eq!(client.check().situation, Situation::Licensed);
    host.stop().await;
    hands.forward(Interval::days(180));
    assert_eq!((client.check().mode, client.check().situation), (Mode::Full, Situation::ExpiryGrace));
    client.activate().await.unwrap_err();
    hands.forward(Interval::days(30));
    let check = client.check();
    assert_eq!((check.mode, check.situation), (Mode::Notify, Situation::Notification));
    let start = "Contoso Office, Standard edition is not activated. The host at 127.0.0.1:";
    assert!(check.text.starts_with(start), "{}", check.text);

    // Opened again, it is the same product.
    assert_eq!(open(&pc, &vendor, hands.clock()).unwrap().check(), check);
}

/// The administrator owns the state directory and can put another vendor's root into it, with a catalog as
/// he likes it. The program that has its vendor's root compiled in does not believe it.
#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_made_up_on_the_machine_means_nothing_to_the_program() {
    let vendor = Vendor::new("contoso");
    let mut made_up = Vendor::with("contoso", &products("contoso", 1), Clock::system());
    let (pc, host) = (Pc::with_product(1, &made_up), made_up.host().await);
    pc.activate_at(host.address).succeeds();
    // The command shows what lies there; the program does not go by it.
    assert_eq!(pc.run(&["status"]).line("LICENSE STATUS"), "---LICENSED---");
    let client = open(&pc, &vendor, Clock::system()).unwrap();
    assert_eq!(client.check().situation, Situation::InitialGrace);
    assert_eq!(client.activate().await.unwrap_err().code, Code::UntrustedRoot);
}

/// A store that cannot be read is no way around the license.
#[test]
fn a_damaged_installation_is_not_licensed_and_says_so() {
    let vendor = Vendor::new("contoso");
    let pc = Pc::with_product(1, &vendor);
    let client = open(&pc, &vendor, Clock::system()).unwrap();
    let file = pc.store("contoso").with_file_name(format!("{}.installed.json", common::OFFICE));
    std::fs::write(&file, "{}").unwrap();
    let check = client.check();
    assert_ne!(check.mode, Mode::Full);
    assert_eq!(
        check.text,
        format!(
            "This product is not activated. {} is damaged: it is cut off or overwritten (Q604, 0x8007000D).",
            file.display()
        )
    );
}

#[test]
fn what_is_compiled_in_must_fit_together() {
    let (vendor, other) = (Vendor::new("contoso"), Vendor::new("contoso"));
    let pc = Pc::new(1);
    let (root, catalog) =
        (std::fs::read(vendor.root()).unwrap(), std::fs::read_to_string(other.catalog()).unwrap());
    let open = |root: &[u8]| {
        Client::open_at(
            &pc.state(),
            root,
            &catalog,
            STANDARD.parse().unwrap(),
            pc.machine.clone(),
            Clock::system(),
        )
    };
    assert_eq!(open(&root).unwrap_err().code, Code::UntrustedRoot);
    assert_eq!(open(b"root").unwrap_err().code, Code::DocumentInvalid);
}

/// The goal is a millisecond, optimised; the tests run without optimisation, so the bound is wide.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_stored_license_is_quick() {
    let mut vendor = Vendor::with("contoso", &products("contoso", 1), Clock::system());
    let (pc, host) = (Pc::new(1), vendor.host().await);
    let client = open(&pc, &vendor, Clock::system()).unwrap();
    client.set_host(Some(host.host_address())).unwrap();
    client.activate().await.unwrap();
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(client.check().mode, Mode::Full);
    }
    let each = started.elapsed() / 100;
    println!("a check takes {each:?}");
    assert!(each < Duration::from_millis(20), "{each:?}");
}

fn open(pc: &Pc, vendor: &Vendor, clock: Clock) -> Result<Client> {
    let (root, catalog) =
        (std::fs::read(vendor.root()).unwrap(), std::fs::read_to_string(vendor.catalog()).unwrap());
    Client::open_at(&pc.state(), &root, &catalog, STANDARD.parse().unwrap(), pc.machine.clone(), clock)
}
