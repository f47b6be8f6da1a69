//! What a package installs beside the program: the systemd unit, compared with what the program and its documents say.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

/// The unit gives the host a user of its own, its own directory, and nothing else.
#[test]
fn the_unit_is_hardened_and_can_be_reloaded() {
    let unit = unit();
    let service = &unit["Service"];
    let is = |key: &str, value: &str| {
        assert_eq!(service.get(key).map(Vec::as_slice), Some(&[value.to_owned()][..]), "{key}");
    };
    for (key, value) in [
        ("ExecStartPre", "/usr/bin/quorate-host config check"),
        ("ExecStart", "/usr/bin/quorate-host serve $OPTIONS"),
        ("Type", "notify"),
        ("ExecReload", "/bin/sh -c 'kill -HUP $MAINPID'"),
        ("User", "quorate-host"),
        // Where the program looks unless it is told otherwise.
        ("StateDirectory", "quorate-host"),
        ("StateDirectoryMode", "0700"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("MemoryDenyWriteExecute", "yes"),
        ("NoNewPrivileges", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("SystemCallArchitectures", "native"),
    ] {
        is(key, value);
    }
    assert_eq!(service["SystemCallFilter"][0], "@system-service");
    // Requests under way have thirty seconds.
    let stop: u32 = service["TimeoutStopSec"][0].parse().unwrap();
    assert!(stop > 30);
    assert_eq!(unit["Install"]["WantedBy"], ["multi-user.target"]);
}

/// The package's scripts make the user that the unit names.
#[test]
fn the_package_makes_the_user_of_the_unit() {
    // As `packaging/debian/build` fills it in for each package.
    let script = include_str!("../../../packaging/debian/postinst").replace("@package@", "quorate-host");
    let user = &unit()["Service"]["User"][0];
    assert!(script.contains(&format!("adduser --system --group --home /var/lib/quorate-host {user}\n")));
    assert!(!script.contains('@'), "{script}");
}

type Unit = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Sections, keys and values; a line that is none of them fails.
fn unit() -> Unit {
    let mut unit = Unit::new();
    let mut section = String::new();
    for line in UNIT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        unit.entry(section.clone()).or_default().entry(key.to_owned()).or_default().push(value.to_owned());
    }
    unit
}

const UNIT: &str = include_str!("../../../packaging/systemd/quorate-host.service");
