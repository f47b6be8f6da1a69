//! One round of asking hosts: who has failed, and which of the failures to tell.
//!
//! A host that failed is struck and not asked again in this round. When all have failed, the error shown is
//! that of the host which came furthest: that a host is not activated helps an administrator more than that
//! another could not be reached, and a lying machine must not cover up what a real host said.

use crate::host_address::HostAddress;
use quorate_core::{Code, Error};

/// The hosts that have failed so far.
#[derive(Debug, Default)]
pub struct Round {
    struck: Vec<(HostAddress, Error)>,
}

impl Round {
    /// Leaves a host out from now on.
    pub fn strike(&mut self, host: &HostAddress, error: Error) {
        self.struck.push((host.clone(), error));
    }

    /// Whether a host has failed in this round.
    pub fn has_struck(&self, host: &HostAddress) -> bool {
        self.struck
            .iter()
            .any(|(struck, _)| struck.port == host.port && struck.name.eq_ignore_ascii_case(&host.name))
    }

    /// The error to show when all that DNS named have failed.
    pub fn failure(self) -> Option<Error> {
        // `max_by_key` takes the last of equals; the first was drawn first.
        self.struck.into_iter().rev().map(|(_, error)| error).max_by_key(|error| said(error.code))
    }

    /// The error to show when DNS gave none, for this reason.
    pub fn failure_without_dns(self, dns: Error) -> Error {
        match self.struck.last().map(|(host, _)| host.clone()).zip(self.failure()) {
            Some((_, error)) if said(error.code) > Said::Nothing => error,
            Some((host, _)) => Error::new(
                dns.code,
                format!("{host}, which answered last time, cannot be reached; and {}", dns.what),
                dns.next,
            ),
            None => dns,
        }
    }
}

/// How much was heard of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// There was no connection.
    Nothing,
    /// Something answered that is not a host, or not one to believe.
    NothingToBelieve,
    /// A host of the vendor answered.
    Something,
}

fn said(code: Code) -> Said {
    match code {
        Code::HostUnreachable | Code::DnsUnavailable | Code::NoHostFound => Said::Nothing,
        Code::NotAHost
        | Code::UntrustedRoot
        | Code::CertificateExpired
        | Code::CertificateWrongName
        | Code::SignatureInvalid
        | Code::DocumentInvalid => Said::NothingToBelieve,
        _ => Said::Something,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(codes: &[Code]) -> Round {
        let mut round = Round::default();
        for (number, code) in codes.iter().enumerate() {
            round.strike(
                &format!("host-{number}").parse().unwrap(),
                Error::new(*code, number.to_string(), ""),
            );
        }
        round
    }

    #[test]
    fn the_host_that_came_furthest_is_told_and_among_equals_the_first() {
        use Code::{ClockSkew, HostNotActivated, HostUnreachable, NotAHost, UntrustedRoot};
        for (codes, told) in [
            (&[HostUnreachable, HostUnreachable][..], "0"),
            (&[HostUnreachable, NotAHost], "1"),
            (&[UntrustedRoot, HostUnreachable], "0"),
            (&[UntrustedRoot, HostNotActivated, HostUnreachable], "1"),
            (&[HostNotActivated, UntrustedRoot, ClockSkew], "0"),
        ] {
            assert_eq!(round(codes).failure().unwrap().what, told, "{codes:?}");
        }
        assert!(round(&[]).failure().is_none());
    }

    #[test]
    fn a_struck_host_is_known_by_name_and_port() {
        let round = round(&[Code::HostUnreachable]);
        for (host, struck) in
            [("host-0", true), ("HOST-0:1688", true), ("host-0:1", false), ("host-1", false)]
        {
            assert_eq!(round.has_struck(&host.parse().unwrap()), struck, "{host}");
        }
    }

    #[test]
    fn dns_that_has_nothing_does_not_cover_up_what_the_cached_host_said() {
        let dns = || Error::new(Code::NoHostFound, "no host is published in DNS", "publish one");
        assert_eq!(round(&[Code::ClockSkew]).failure_without_dns(dns()).code, Code::ClockSkew);
        assert_eq!(round(&[]).failure_without_dns(dns()), dns());
        let both = round(&[Code::HostUnreachable]).failure_without_dns(dns());
        assert_eq!(both.code, Code::NoHostFound);
        assert_eq!(
            both.what,
            "host-0:1688, which answered last time, cannot be reached; and no host is published in DNS"
        );
        assert_eq!(both.next, "publish one");
    }
}
