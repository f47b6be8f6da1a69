//! An SRV record of this host (RFC 2782), as it is published, remembered and shown.

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record};
use quorate_core::identifier::quoted;
use quorate_core::{Code, Error, Result};
use std::fmt;
use std::net::IpAddr;

/// An SRV record. Names end in a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// The name under which it stands: service, protocol and domain.
    pub owner: String,
    /// For how many seconds it may be cached.
    pub ttl: u32,
    /// Hosts with the lowest are asked first.
    pub priority: u16,
    /// The share among hosts of one priority.
    pub weight: u16,
    /// The port of the host.
    pub port: u16,
    /// The name of the host.
    pub target: String,
}

impl SrvRecord {
    /// Whether both are one record for DNS, where the TTL belongs to all records of a name.
    pub fn is(&self, other: &Self) -> bool {
        let identity = |record: &Self| (record.priority, record.weight, record.port);
        self.owner == other.owner && self.target == other.target && identity(self) == identity(other)
    }

    /// As it goes over the wire.
    pub(super) fn to_wire(&self) -> Result<Record> {
        let data = SRV::new(self.priority, self.weight, self.port, name(&self.target)?);
        Ok(Record::from_rdata(name(&self.owner)?, self.ttl, RData::SRV(data)))
    }
}

/// The line for a zone file.
impl fmt::Display for SrvRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, ttl, priority, weight, port, target } = self;
        write!(f, "{owner} {ttl} IN SRV {priority} {weight} {port} {target}")
    }
}

/// A name as DNS compares it: with all its labels, in lower case.
pub(super) fn name(text: &str) -> Result<Name> {
    let mut name = Name::from_ascii(text).map_err(|_| not_a_name(text))?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

/// The name of a host, which is not its address.
pub(super) fn host_name(text: &str) -> Result<Name> {
    let name = name(text)?;
    if name.is_root() || text.parse::<IpAddr>().is_ok() {
        return Err(not_a_name(text));
    }
    Ok(name)
}

fn not_a_name(text: &str) -> Error {
    Error::new(
        Code::AddressInvalid,
        format!("{} is not a domain name", quoted(text)),
        "write it as in \"corp.example.com\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> SrvRecord {
        SrvRecord {
            owner: "_contoso-kms._tcp.example.com.".to_owned(),
            ttl: 3600,
            priority: 10,
            weight: 20,
            port: 1688,
            target: "kms1.example.com.".to_owned(),
        }
    }

    #[test]
    fn the_line_for_a_zone_file() {
        assert_eq!(
            record().to_string(),
            "_contoso-kms._tcp.example.com. 3600 IN SRV 10 20 1688 kms1.example.com."
        );
    }

    #[test]
    fn the_ttl_does_not_make_another_record_and_all_else_does() {
        assert!(record().is(&SrvRecord { ttl: 60, ..record() }));
        for other in [
            SrvRecord { owner: "_other._tcp.example.com.".to_owned(), ..record() },
            SrvRecord { priority: 0, ..record() },
            SrvRecord { weight: 0, ..record() },
            SrvRecord { port: 1689, ..record() },
            SrvRecord { target: "kms2.example.com.".to_owned(), ..record() },
        ] {
            assert!(!record().is(&other), "{other}");
        }
    }

    #[test]
    fn a_host_has_a_name() {
        assert_eq!(host_name("KMS1.Example.com").unwrap().to_ascii(), "kms1.example.com.");
        for text in ["", ".", "192.0.2.10", "a..b", "no name.example.com"] {
            assert_eq!(host_name(text).map_err(|error| error.code), Err(Code::AddressInvalid), "{text}");
        }
    }
}
