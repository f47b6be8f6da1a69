//! Backup, restore and verify: with a host at work, with damaged files, and with the wrong ones.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Site, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lost_its_disk_is_restored() {
    let site = Site::activated();
    let mut host = site.serve(&[]);
    for number in 1..=5u32 {
        site.ask(number, host.address).await.unwrap();
    }
    let backup = site.directory.path().join("backup.db");
    let file = backup.to_str().unwrap();
    // While the host serves.
    assert_eq!(
        stdout(&site.run(&["backup", file])),
        format!(
            "{file} holds host key 00096-000-000001 and 5 machines. Keep it where only you can read it.\n"
        )
    );
    assert_eq!(site.ask(6, host.address).await, Ok(6));
    let again = stderr(&site.run(&["backup", file]));
    assert!(again.starts_with(&format!("error Q606: {file} is there already\n")), "{again}");

    // Not under the feet of a daemon.
    let refused = stderr(&site.run(&["restore", file]));
    assert!(refused.contains("host.db is open in another program\nnext: stop the program"), "{refused}");
    assert_eq!(site.ask(1, host.address).await, Ok(6));
    host.kill();
    std::fs::remove_dir_all(site.host_directory()).unwrap();
    assert_eq!(
        stdout(&site.run(&["restore", file])),
        "Restored host key 00096-000-000001 and 5 machines.\nnext: quorate-host dlv, then quorate-host serve\n"
    );
    let host = site.serve(&[]);
    // Machine 6 asked after the backup: it is counted when it asks again.
    assert_eq!(site.ask(1, host.address).await, Ok(5));
    assert_eq!(site.ask(6, host.address).await, Ok(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_is_kept_beside_it() {
    let site = Site::activated();
    let mut host = site.serve(&[]);
    site.ask(1, host.address).await.unwrap();
    host.kill();
    let backup = site.directory.path().join("backup.db");
    assert_eq!(stderr(&site.run(&["backup", backup.to_str().unwrap()])), "");
    // What is damaged is what a backup is for.
    let mut damaged = std::fs::read(site.database()).unwrap();
    damaged.iter_mut().skip(100).step_by(7).for_each(|byte| *byte ^= 0x55);
    std::fs::write(site.database(), &damaged).unwrap();
    let found = stderr(&site.run(&["verify"]));
    assert!(
        found.starts_with("error Q604 (0x8007000D): ") && found.contains("host.db is damaged"),
        "{found}"
    );
    assert_eq!(stderr(&site.run(&["restore", backup.to_str().unwrap()])), "");
    assert_eq!(std::fs::read(site.database().with_extension("db.before-restore")).unwrap(), damaged);
    assert_eq!(
        stdout(&site.run(&["verify"])),
        format!("{} is sound: host key 00096-000-000001 and 1 machine.\n", site.database().display())
    );
    assert_eq!(site.count(), "1");
}

#[test]
fn a_file_that_is_no_backup_replaces_nothing() {
    let site = Site::activated();
    let before = std::fs::read(site.database()).unwrap();
    let file = site.write("letter", b"Dear ink");
    let text = file.to_str().unwrap();
    for command in ["restore", "verify"] {
        let report = stderr(&site.run(&[command, text]));
        assert!(report.starts_with(&format!("error Q604 (0x8007000D): {text} is damaged")), "{report}");
        let missing = stderr(&site.run(&[command, "missing.db"]));
        assert!(
            missing.starts_with("error Q601: missing.db cannot be read: no such file or directory"),
            "{missing}"
        );
    }
    // A vendor's database is a sound one, and none of a host.
    let vendors = site.directory.path().join("vendor/vendor.db");
    let report = stderr(&site.run(&["restore", vendors.to_str().unwrap()]));
    assert!(report.starts_with("error Q604"), "{report}");
    assert_eq!(std::fs::read(site.database()).unwrap(), before);
}
