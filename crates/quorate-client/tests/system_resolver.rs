//! Discovery by the system's own settings: suffix and search list of a `resolv.conf`, each in a network of its
//! own, with BIND 9 at the port where name servers are.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::bind;
use common::{Pc, Ran, Vendor};
use std::process::Command;

#[test]
fn the_suffix_goes_first_and_then_the_search_list() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    let published = |name: &str| format!("_contoso-kms._tcp SRV 0 0 1688 {name}");
    let (one, two) = (published("one"), published("two"));
    let zones = [("empty.test", ""), ("one.test", &one[..]), ("two.test", &two)];
    for (resolv_conf, found) in [
        ("domain one.test\n", "one.one.test"),
        ("search two.test one.test\n", "two.two.test"),
        ("search empty.test broken.test two.test one.test\n", "two.two.test"),
        ("domain one.test\nsearch two.test\n", "one.one.test"),
    ] {
        let ran = with_resolv_conf(&pc, &format!("nameserver 127.0.0.1\n{resolv_conf}"), &zones, "discover");
        let expected = format!("Contoso Office, Standard edition: {found}:1688 (DNS)\n");
        assert_eq!(ran.succeeds(), expected, "{resolv_conf}");
    }
    with_resolv_conf(&pc, "nameserver 127.0.0.1\nsearch empty.test\n", &zones, "activate").is_not_activated(
        "Q501 (0x8007232B): no host is published in DNS: _contoso-kms._tcp.empty.test. does not exist",
        "publish the host there, or set it by hand: `quorate set-host HOST`",
    );
}

#[test]
fn a_machine_without_a_suffix_or_a_name_server_is_told_so() {
    let pc = Pc::with_product(1, &Vendor::new("contoso"));
    with_resolv_conf(&pc, "nameserver 127.0.0.1\n", &[], "activate").is_not_activated(
        "Q501 (0x8007232B): this machine has no DNS suffix to look for a host in",
        "set the host by hand: `quorate set-host HOST`, or name a domain with --domain",
    );
    with_resolv_conf(&pc, "search corp.test\n", &[], "activate").is_not_activated(
        "Q503 (0x8007267C): no name server is set up on this machine (no nameservers found in config)",
        "see /etc/resolv.conf, or set the host by its IP address: `quorate set-host ADDRESS`",
    );
    with_resolv_conf(&pc, "nameserver 127.0.0.1\nsearch elsewhere.test\n", &[], "activate").is_not_activated(
        "Q503 (0x8007267C): the system's name server refused (REFUSED) when asked for \
         _contoso-kms._tcp.elsewhere.test.",
        "try again, or set the host by its IP address: `quorate set-host ADDRESS`",
    );
}

/// Runs a command of `quorate` where this is the machine's `resolv.conf` and these are the zones of its network.
fn with_resolv_conf(pc: &Pc, text: &str, zones: &[(&str, &str)], command: &str) -> Ran {
    let directory = bind::written(zones);
    let file = directory.path().join("resolv.conf");
    std::fs::write(&file, text).unwrap();
    // The host's name may not carry a domain: that would be a suffix, too.
    let script = "mount --bind \"$RESOLV_CONF\" /etc/resolv.conf
        hostname machine
        ip link set lo up
        \"$NAMED\" -f -n 1 -c \"$NAMED_CONF\" -p 53 & named=$!
        until dig +time=1 +tries=1 @127.0.0.1 broken.test SOA | grep -q SERVFAIL; do sleep 0.05; done
        echo ready
        ended=0; \"$QUORATE\" \"$@\" || ended=$?
        kill $named; wait $named || true; exit $ended";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--user", "--map-root-user", "--mount", "--net", "--uts", "--pid", "--fork"])
        .args(["timeout", "60", "sh", "-euc", script, "sh", command])
        .env("RESOLV_CONF", file)
        .env("NAMED", bind::NAMED)
        .env("NAMED_CONF", directory.path().join("named.conf"))
        .env("QUORATE", env!("CARGO_BIN_EXE_quorate"))
        .env("QUORATE_DIR", pc.state())
        .env("QUORATE_MACHINE", pc.machine_file())
        .env("QUORATE_HOST_FILE", pc.state().with_file_name("host"));
    for variable in ["QUORATE_DNS_SERVER", "QUORATE_DOMAIN", "QUORATE_HOST"] {
        unshare.env_remove(variable);
    }
    let mut ran = Ran::from(&mut unshare);
    let Some(out) = ran.out.strip_prefix("ready\n") else {
        panic!(
            "this test needs namespaces for ordinary users (`unshare --user --net`) and the Debian packages bind9, \
             bind9-dnsutils and iproute2, which ./setup installs: {ran:?}"
        )
    };
    ran.out = out.to_owned();
    ran
}
