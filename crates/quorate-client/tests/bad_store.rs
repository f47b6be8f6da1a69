//! A license store that is damaged, copied, or cannot be written, and a clock that is wrong: each has a
//! defined outcome, never a panic and never a license.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Hands, Pc, Ran, STANDARD, Vendor, products};
use quorate_client::Client;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Interval};
use quorate_edge::clock::Clock;
use std::path::Path;
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_cut_off_anywhere_is_damaged_and_no_license() {
    let (pc, _vendor) = licensed_pc().await;
    let (file, client) = (pc.store("contoso"), pc.client(&Clock::system()));
    let whole = std::fs::read(&file).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&file, &whole[..length]).unwrap();
        let status = client.status().unwrap();
        assert_eq!(status.state.status, LicenseStatus::InitialGrace, "cut to {length} bytes");
        let damage = status.damage.unwrap();
        assert_eq!(damage.code, Code::StoreDamaged);
        assert_eq!(damage.what, format!("{} is damaged: it is cut off or overwritten", file.display()));
        // To look does not change what was found.
        assert_eq!(std::fs::read(&file).unwrap(), &whole[..length]);
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_is_noticed_and_makes_no_license() {
    let (pc, _vendor) = licensed_pc().await;
    let hands = Hands::new();
    hands.forward(Interval::days(300));
    let (file, licensed) = (pc.store("contoso"), pc.client(&Clock::system()));
    let given = licensed.status().unwrap().state;
    let whole = std::fs::read(&file).unwrap();
    // Where the license has long run out, no bit brings it back.
    let run_out = pc.client(&hands.clock());
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 1 << (index % 8);
        std::fs::write(&file, &flipped).unwrap();
        assert_eq!(run_out.status().unwrap().state.status, LicenseStatus::Notification, "byte {index}");
        let status = licensed.status().unwrap();
        match status.damage {
            Some(_) => assert_eq!(status.state.status, LicenseStatus::InitialGrace, "byte {index}"),
            None => assert_eq!(status.state, given, "byte {index}"),
        }
    }
}

/// The grace that is left is that of the installation: losing the license restarts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_deleted_store_restarts_no_grace_and_is_healed_by_the_next_activation() {
    let (pc, vendor) = licensed_pc().await;
    let file = pc.store("contoso");
    let first = pc.client(&Clock::system()).status().unwrap().product;
    for spoil in [|file: &Path| std::fs::write(file, "{}"), |file: &Path| std::fs::remove_file(file)] {
        let before = pc.run(&["status"]);
        spoil(&file).unwrap();
        let hands = Hands::new();
        hands.forward(Interval::days(29));
        let status = pc.client(&hands.clock()).status().unwrap();
        assert_eq!(status.state.status, LicenseStatus::InitialGrace);
        assert_eq!(status.state.until, Some(status.policy.initial_grace.after(first.first_run)));

        pc.run(&["set-host", &vendor.1.address.to_string()]).succeeds();
        pc.run(&["activate"]).succeeds();
        let after = pc.run(&["status"]);
        assert_eq!(after.line("LICENSE STATUS"), "---LICENSED---");
        assert_ne!(after.line("CLIENT MACHINE ID"), before.line("CLIENT MACHINE ID"));
    }
    // What was damaged is kept beside it, to be looked at.
    assert_eq!(std::fs::read(file.with_extension("damaged")).unwrap(), b"{}");
}

/// Whoever may delete both has the rights of an administrator, who could install the system anew as well.
#[tokio::test(flavor = "multi_thread")]
async fn without_either_file_the_product_is_installed_anew() {
    let (pc, vendor) = licensed_pc().await;
    let license = pc.store("contoso");
    let installation = license.with_file_name(format!("{}.installed.json", common::OFFICE));
    for file in [&license, &installation] {
        std::fs::remove_file(file).unwrap();
    }
    let ran = pc.run(&["status"]);
    assert!(ran.status != Some(0) && ran.err.contains("quorate register"), "{ran:?}");
    let (catalog, root) = (vendor.0.catalog(), vendor.0.root());
    let arguments =
        ["register", catalog.to_str().unwrap(), "--root", root.to_str().unwrap(), "--product", STANDARD];
    pc.run(&arguments).succeeds();
    assert_eq!(pc.license(), LicenseStatus::InitialGrace);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_installation_is_named_and_registering_again_restarts_no_grace() {
    let (pc, vendor) = licensed_pc().await;
    let file = pc.store("contoso").with_file_name(format!("{}.installed.json", common::OFFICE));
    std::fs::write(&file, "{}").unwrap();
    pc.run(&["status"]).fails(
        &format!("Q604 (0x8007000D): {} is damaged: it is cut off or overwritten", file.display()),
        "register the product again: `quorate register`",
    );
    let first_run = || {
        let text = std::fs::read_to_string(pc.store("contoso")).unwrap();
        text.split("\"first-run\":").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    let before = first_run();
    let (catalog, root) = (vendor.0.catalog(), vendor.0.root());
    let arguments =
        ["register", catalog.to_str().unwrap(), "--root", root.to_str().unwrap(), "--product", STANDARD];
    pc.run(&arguments).succeeds();
    assert_eq!(pc.license(), LicenseStatus::Licensed);
    assert_eq!(first_run(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_store_licenses_no_other_machine() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    pc.activate_at(host.address).succeeds();
    let copy = pc.copied_to(2);
    let status = copy.run(&["status"]);
    assert_eq!(status.line("LICENSE STATUS"), "---OOT_GRACE---");
    assert_eq!(status.line("REMAINING GRACE"), "30 days (43200 minutes)");
    assert_eq!(status.line("ERROR CODE"), "Q607 (0xC004F00F)");
    assert_eq!(
        status.line("ERROR DESCRIPTION"),
        "the activation was given to other hardware: the machine has changed, or its store was copied"
    );
    assert_eq!(status.line("NEXT"), "activate this machine: `quorate activate`");

    // The copy becomes a machine of its own, and the original stays what it was.
    let out = copy.run(&["activate"]).succeeds();
    assert!(out.ends_with("count 2 of 1.\n"), "{out}");
    let (original, copy) = (pc.run(&["status"]), copy.run(&["status"]));
    assert_ne!(copy.line("CLIENT MACHINE ID"), original.line("CLIENT MACHINE ID"));
    for ran in [original, copy] {
        assert_eq!(ran.line("LICENSE STATUS"), "---LICENSED---");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_store_is_not_licensed_after_a_failure_either() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    pc.activate_at(host.address).succeeds();
    host.stop().await;
    let copy = pc.copied_to(2);
    assert_eq!(copy.run(&["activate"]).status, Some(1));
    let (original, copied) = (pc.run(&["status"]), copy.run(&["status"]));
    assert_eq!(copied.line("LICENSE STATUS"), "---OOT_GRACE---");
    assert_ne!(copied.line("CLIENT MACHINE ID"), original.line("CLIENT MACHINE ID"));
    assert_eq!(original.line("LICENSE STATUS"), "---LICENSED---");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_lengthens_nothing() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 1), hands.clock());
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let client = pc.client_of(&host, &hands.clock());
    hands.forward(Interval::days(100));
    client.activate().await.unwrap();
    let (granted, until) = (hands.now(), client.status().unwrap().state.until.unwrap());
    host.stop().await;

    // The license ends; the machine notices, since it asks every two hours.
    hands.forward(Interval::days(181));
    client.activate().await.unwrap_err();
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::OutOfToleranceGrace);
    hands.back(Interval::days(181));
    assert_eq!(hands.now(), granted);
    let status = client.status().unwrap();
    assert_eq!(status.state.status, LicenseStatus::OutOfToleranceGrace);
    let end = status.policy.grace.after(until);
    assert_eq!(status.state.until, Some(end));
    // Nor does it look longer: what is left is counted from the latest time seen.
    let report = quorate_client::report::status(&status);
    assert!(report.contains("\nREMAINING GRACE: 29 days (41760 minutes)\n"), "{report}");
    // Years back, the vendor's own catalog has not begun.
    hands.back(Interval::days(5 * 365));
    let (clients, errors) =
        Client::all(&pc.state(), &pc.machine, &Default::default(), &hands.clock()).unwrap();
    assert!(clients.is_empty());
    assert_eq!(errors[0].code, Code::CertificateExpired);
}

/// A product looks at its license more often than a host is asked; that is enough to notice the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_after_the_license_was_seen_to_end_lengthens_nothing() {
    let (pc, _vendor) = licensed_pc().await;
    let hands = Hands::new();
    let status = || pc.client(&hands.clock()).status().unwrap().state.status;
    hands.forward(Interval::days(179));
    assert_eq!(status(), LicenseStatus::Licensed);
    hands.forward(Interval::days(32));
    assert_eq!(status(), LicenseStatus::Notification);
    hands.back(Interval::days(100));
    assert_eq!(status(), LicenseStatus::Notification);
}

/// A response is worth what its signer's time makes it, so it must be the time of now.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_before_the_activation_has_no_license_until_it_is_right_again() {
    let hands = Hands::new();
    let mut vendor = Vendor::with("contoso", &products("contoso", 1), hands.clock());
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let client = pc.client_of(&host, &hands.clock());
    hands.forward(Interval::days(40));
    let activated = hands.now();
    client.activate().await.unwrap();
    hands.back(Interval::days(2));
    let status = client.status().unwrap();
    assert_eq!(status.state.status, LicenseStatus::Notification);
    let error = status.license.unwrap_err();
    assert_eq!(error.code, Code::ClockSetBack);
    assert_eq!(
        error.what,
        format!("the clock says {:.0}, but the product was activated at {activated:.0}", hands.now())
    );
    hands.forward(Interval::days(2));
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Licensed);
}

/// A clock that once ran ahead (a bad battery, a wrong year) is forgiven by the host's signed time.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_does_not_spoil_the_next_activation() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let hands = Hands::new();
    let client = pc.client_of(&host, &hands.clock());
    hands.forward(Interval::days(365));
    assert_eq!(client.activate().await.unwrap_err().code, Code::ClockSkew);
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Notification);
    hands.back(Interval::days(365));
    // What was seen is not forgotten by itself,
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Notification);
    assert!(client.due().unwrap().unwrap() <= hands.now());
    // but a host that answers this very request knows the time.
    let activated = client.activate().await.unwrap();
    assert_eq!(activated.state.status, LicenseStatus::Licensed);
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Licensed);
}

/// Whatever moment the program dies in, the old content is there or the new.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_a_whole_store() {
    let (pc, vendor) = licensed_pc().await;
    pc.run(&["set-host", &vendor.1.address.to_string()]).succeeds();
    let client = pc.client(&Clock::system());
    let mut killed = 0;
    for attempt in 0..40u64 {
        let mut asking =
            pc.command(&["activate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From before its first write to after its last.
        std::thread::sleep(std::time::Duration::from_micros(500 * attempt));
        asking.kill().unwrap();
        killed += u32::from(asking.wait().unwrap().code().is_none());
        let status = client.status().unwrap();
        assert_eq!(
            (status.damage, status.state.status),
            (None, LicenseStatus::Licensed),
            "attempt {attempt}"
        );
    }
    assert!(killed > 5, "{killed} of 40 died by the kill; the others had ended before");
}

/// To look at a license while the clock is wrong is enough; the next request is not left for a week.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_while_licensed_is_put_right_soon() {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    let hands = Hands::new();
    let client = pc.client_of(&host, &hands.clock());
    client.activate().await.unwrap();
    hands.forward(Interval::days(400));
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Notification);
    hands.back(Interval::days(400));
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Notification);
    assert!(client.due().unwrap().unwrap() <= Interval::hours(2).after(hands.now()));
    client.activate().await.unwrap();
    assert_eq!(client.status().unwrap().state.status, LicenseStatus::Licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_root_that_was_deleted_is_registered_again() {
    let (pc, vendor) = licensed_pc().await;
    std::fs::remove_file(pc.state().join("contoso").join("vendor-root.pem")).unwrap();
    let (catalog, root) = (vendor.0.catalog(), vendor.0.root());
    let arguments =
        ["register", catalog.to_str().unwrap(), "--root", root.to_str().unwrap(), "--product", STANDARD];
    pc.run(&arguments).succeeds();
    assert_eq!(pc.license(), LicenseStatus::Licensed);
}

/// What the rules say with a clock that is a number, the built program does with the system's.
#[tokio::test(flavor = "multi_thread")]
async fn the_built_program_lives_by_the_systems_clock() {
    let (pc, _vendor) = licensed_pc().await;
    for (days, status) in [(1, "LICENSED"), (179, "LICENSED"), (181, "OOT_GRACE"), (211, "NOTIFICATIONS")] {
        let plain = pc.command(&["status"]);
        let mut moved = Command::new("faketime");
        moved.args(["-f", &format!("+{days}d")]).arg(plain.get_program()).args(plain.get_args());
        moved.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = Ran::from(&mut moved);
        assert_eq!(ran.line("LICENSE STATUS"), format!("---{status}---"), "after {days} days");
    }
    // The clock that was seen last is not forgotten when it is right again.
    assert_eq!(pc.run(&["status"]).line("LICENSE STATUS"), "---NOTIFICATIONS---");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_the_license_held_so_far() {
    let (pc, _vendor) = licensed_pc().await;
    let (ran, small) = on_its_own_disk(&pc, "cat /dev/zero > \"$DISK/fill\" 2>/dev/null || true");
    let store = small.join("contoso").join(format!("{}.license.json", common::OFFICE));
    assert_eq!(
        ran.err,
        format!(
            "error Q603: {} cannot be written: no space left on device\n\
             next: free some space; nothing that was stored before is lost\n",
            store.display()
        )
    );
    assert_eq!(
        ran.out,
        "mounted\nContoso Office, Standard edition: asked without success; the activation holds.\nended with 1\n\
                         LICENSE STATUS: ---LICENSED---\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_store_leaves_the_license_held_so_far() {
    let (pc, _vendor) = licensed_pc().await;
    let (ran, small) = on_its_own_disk(&pc, "mount -o remount,ro \"$DISK\"");
    let lock = small.join("contoso").join(format!("{}.lock", common::OFFICE));
    assert_eq!(
        ran.err,
        format!(
            "error Q602: {} cannot be written: read-only file system\n\
             next: mount the file system for writing\n",
            lock.display()
        )
    );
    assert_eq!(
        ran.out,
        "mounted\nContoso Office, Standard edition: asked without success; the activation holds.\nended with 1\n\
                         LICENSE STATUS: ---LICENSED---\n"
    );
}

/// A machine that is activated by a host that still runs, with the vendor that keeps it.
async fn licensed_pc() -> (Pc, (Vendor, common::Host)) {
    let mut vendor = Vendor::new("contoso");
    let (pc, host) = (Pc::with_product(1, &vendor), vendor.host().await);
    pc.activate_at(host.address).succeeds();
    assert_eq!(pc.license(), LicenseStatus::Licensed);
    (pc, (vendor, host))
}

/// Copies the machine's state onto a disk of its own, of 256 KiB, spoils the disk and runs
/// `quorate activate` there, then `quorate status`. Gives what was printed, and where the disk was.
fn on_its_own_disk(pc: &Pc, spoil: &str) -> (Ran, std::path::PathBuf) {
    let disk = pc.state().with_file_name("disk");
    std::fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=256k tmpfs \"$DISK\"; echo mounted; cp -a \"$STATE/.\" \"$DISK\"; {spoil}
         ended=0; \"$QUORATE\" activate || ended=$?; echo \"ended with $ended\"
         \"$QUORATE\" status | grep 'LICENSE STATUS'"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-euc", &script])
        .env("DISK", &disk)
        .env("STATE", pc.state())
        .env("QUORATE", env!("CARGO_BIN_EXE_quorate"))
        .env("QUORATE_DIR", &disk)
        .env("QUORATE_MACHINE", pc.machine_file());
    let ran = Ran::from(&mut command);
    assert!(
        ran.out.starts_with("mounted\n"),
        "this test needs unprivileged user and mount namespaces (`unshare -rm`): {ran:?}"
    );
    (ran, disk)
}
