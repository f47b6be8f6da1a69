//! One host for the products of two vendors, on one port: the name that a client asks for chooses certificate,
//! catalog and count, and what happens to one vendor's key is nothing to the other's clients.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::wire::send;
use common::{Site, request, stderr, stdout, until};
use quorate_core::activation::ActivationResponse;
use quorate_core::license_state::Situation;
use quorate_core::revocation::RevocationList;
use quorate_core::{Code, Error, signed};
use quorate_edge::clock::Clock;

#[tokio::test]
async fn machines_of_two_vendors_are_counted_apart() {
    let (contoso, fabrikam) = customer_of_two_vendors();
    let all = stdout(&contoso.run(&["dlv", "all"]));
    assert_eq!(all.matches("License Status: Licensed\n").count(), 2, "{all}");

    let mut host = contoso.serve(&[]);
    // Both have an application of the same id, and the machines are the same: only the vendor tells them apart.
    for machine in 1..=5 {
        assert_eq!(contoso.ask(machine, host.address).await, Ok(machine));
        if machine <= 2 {
            assert_eq!(fabrikam.ask(machine, host.address).await, Ok(machine));
        }
    }
    assert_eq!([count(&contoso, &contoso), count(&contoso, &fabrikam)], ["5", "2"]);
    // Five are enough for the one, two are too few for the other.
    assert_eq!(contoso.client(5).status().unwrap().state.situation, Situation::Licensed);
    assert_eq!(fabrikam.client(2).status().unwrap().state.situation, Situation::InitialGrace);

    host.kill();
    let host = contoso.serve(&[]);
    assert_eq!(contoso.ask(6, host.address).await, Ok(6));
    assert_eq!(fabrikam.ask(3, host.address).await, Ok(3));
}

#[tokio::test]
async fn each_client_is_answered_by_what_its_own_vendor_has_certified() {
    let (contoso, fabrikam) = customer_of_two_vendors();
    let host = contoso.serve(&[]);
    for (site, other) in [(&contoso, &fabrikam), (&fabrikam, &contoso)] {
        let answer = site.send(host.address, request()).await.unwrap();
        let (own, other, now) = (site.vendor.authority(), other.vendor.authority(), Clock::system().now());
        let verified = signed::verify::<ActivationResponse>(&answer.response, own.root(), own.vendor(), now);
        assert_eq!(verified.unwrap().document.count, 1);
        let list = signed::verify::<RevocationList>(&answer.revocations, own.root(), own.vendor(), now);
        assert_eq!(list.unwrap().document.vendor, *own.vendor());
        let crossed =
            signed::verify::<ActivationResponse>(&answer.response, other.root(), other.vendor(), now);
        assert_eq!(crossed.unwrap_err().code, Code::UntrustedRoot);

        // So it is with the certificate of the connection.
        let crossed = send(other.root(), own.vendor(), host.address, request()).await;
        let error = Error::new(
            Code::UntrustedRoot,
            format!(
                "the host at {} is not believed: the certificate does not chain to the root of vendor {}",
                host.address,
                own.vendor()
            ),
            format!(
                "this machine trusts the root with SHA-256 {}…; ask the vendor for its own",
                &other.root().fingerprint()[..23]
            ),
        );
        assert_eq!(crossed, Err(error));
    }
}

#[tokio::test]
async fn a_vendor_whose_key_is_removed_leaves_the_other_at_work() {
    let (contoso, fabrikam) = customer_of_two_vendors();
    let host = contoso.serve(&[]);
    for site in [&contoso, &fabrikam] {
        assert_eq!(site.ask(1, host.address).await, Ok(1));
    }
    assert_eq!(stderr(&contoso.run(&["upk", &name(&contoso)])), "");
    let error = Error::new(
        Code::HostNotActivated,
        format!("the host at {} has no activated key of vendor contoso", host.address),
        "activate the host (`quorate-host ato`), or set another",
    );
    until("one vendor's clients are refused", async || {
        contoso.send(host.address, request()).await == Err(error.clone())
    })
    .await;
    assert_eq!(fabrikam.ask(2, host.address).await, Ok(2));
}

/// A customer of Contoso, on whose host a key of Fabrikam is activated as well, by telephone; and Fabrikam.
fn customer_of_two_vendors() -> (Site, Site) {
    let contoso = Site::activated();
    let fabrikam = Site::of_vendor("fabrikam", "https://activation.fabrikam.example");
    assert_eq!(stderr(&contoso.install(&fabrikam.key.reveal(), &fabrikam.pack)), "");
    // Number, edition and last five characters are the same as of the other vendor's key.
    contoso.refuses(
        &["dti", &fabrikam.key.partial().to_string()],
        "error Q103 (0xC004F014): 2 host keys are installed for these five characters\n\
         next: name one by its vendor and key id: 6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f01, contoso/00096-000-000001, \
         …RXWDC, Contoso Office, KMSHost edition; 6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f01, fabrikam/00096-000-000001, \
         …RXWDC, Contoso Office, KMSHost edition",
    );
    contoso.refuses(
        &["dti", "northwind/00096-000-000001"],
        "error Q103 (0xC004F014): no host key is installed for 00096-000-000001 of vendor northwind\n\
         next: name one of: 6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f01, contoso/00096-000-000001, …RXWDC, Contoso Office, \
         KMSHost edition; 6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f01, fabrikam/00096-000-000001, …RXWDC, Contoso Office, \
         KMSHost edition",
    );
    let name = name(&fabrikam);
    let told = contoso.run(&["dti", &name]);
    assert_eq!(stderr(&told), "");
    let shown = stdout(&told);
    let installation_id = shown.lines().nth(1).unwrap().parse().unwrap();
    let spoken = fabrikam.vendor.confirm(&installation_id).unwrap().confirmation_id.to_string();
    assert_eq!(stderr(&contoso.run(&["atp", &spoken, &name])), "");
    (contoso, fabrikam)
}

/// What the host of a customer says the count of a vendor is.
fn count(customer: &Site, vendor: &Site) -> String {
    let shown = stdout(&customer.run(&["dlv", &name(vendor)]));
    let line = shown.lines().find_map(|line| line.strip_prefix("    Current count: "));
    line.unwrap_or_else(|| panic!("dlv shows no count: {shown}")).to_owned()
}

/// By which a vendor's key is named.
fn name(vendor: &Site) -> String {
    format!("{}/{}", vendor.vendor.authority().vendor(), vendor.key.id())
}
