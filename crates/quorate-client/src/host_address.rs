//! A host's address as administrators type it: a name or an IP address, and a port unless it is 1688.

use quorate_core::identifier::quoted;
use quorate_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostAddress {
    /// A domain name or an IP address.
    pub name: String,
    /// The TCP port.
    pub port: u16,
}

impl FromStr for HostAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |what: &str| {
            Error::new(
                Code::AddressInvalid,
                format!("{} is not a host: {what}", quoted(text)),
                "write it as in \"kms.example.com\", \"192.0.2.10:1688\" or \"[2001:db8::10]:1688\"",
            )
        };
        if text.contains("://") {
            return Err(invalid("it is a URL, and a host name or an IP address is wanted"));
        }
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, rest)) => (
                name,
                Some(rest.strip_prefix(':').ok_or_else(|| invalid("a colon must follow the bracket"))?),
            ),
            // An IPv6 address without brackets has no port behind it.
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let port = match port {
            None => quorate_proto::DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(invalid("a port is a number from 1 to 65535")),
                Ok(port) => port,
            },
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let mut labels = name.strip_suffix('.').unwrap_or(name).split('.');
        // A name that ends in a number is a mistyped IP address (RFC 1123, section 2.1).
        let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        let is_name =
            name.len() <= 253 && labels.clone().all(label) && !labels.next_back().is_some_and(is_number);
        if name.parse::<IpAddr>().is_err() && !is_name {
            return Err(invalid("it has neither the form of a domain name nor of an IP address"));
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl TryFrom<String> for HostAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HostAddress> for String {
    fn from(address: HostAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_administrators_type() {
        for (text, printed) in [
            ("kms.example.com", "kms.example.com:1688"),
            ("kms:1700", "kms:1700"),
            ("192.0.2.10", "192.0.2.10:1688"),
            ("192.0.2.10:1700", "192.0.2.10:1700"),
            ("2001:db8::10", "[2001:db8::10]:1688"),
            ("[2001:db8::10]:1700", "[2001:db8::10]:1700"),
        ] {
            assert_eq!(text.parse::<HostAddress>().unwrap().to_string(), printed);
        }
        for (text, why) in [
            ("", "it has neither the form of a domain name nor of an IP address"),
            ("kms example", "it has neither the form of a domain name nor of an IP address"),
            ("192.0.2.256", "it has neither the form of a domain name nor of an IP address"),
            ("kms:70000", "a port is a number from 1 to 65535"),
            ("kms:0", "a port is a number from 1 to 65535"),
            ("kms:", "a port is a number from 1 to 65535"),
            ("[::1]1688", "a colon must follow the bracket"),
        ] {
            let error = text.parse::<HostAddress>().unwrap_err();
            assert_eq!(error.code, Code::AddressInvalid);
            assert_eq!(error.what, format!("{text:?} is not a host: {why}"));
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_and_parses_again(text in "[a-z0-9.:\\[\\]-]{0,30}|.*") {
            if let Ok(address) = text.parse::<HostAddress>() {
                prop_assert_eq!(address.to_string().parse::<HostAddress>().unwrap(), address);
            }
        }
    }
}
