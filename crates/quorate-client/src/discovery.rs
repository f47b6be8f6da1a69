//! Discovery: where the activation host is.
//!
//! In this order: a host set by hand; the one that answered last; SRV records in the primary DNS suffix and
//! then in each name of the search list. Among records the order is RFC 2782's: lowest priority first, and
//! among equals a random draw by weight. A host that does not answer is left out and another is drawn.

use crate::host_address::HostAddress;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::RData;
use quorate_core::catalog::Catalog;
use quorate_core::{Code, Error, Result};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How a host was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The administrator set it.
    SetByHand,
    /// It answered last time.
    Cached,
    /// An SRV record names it.
    Dns,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Found::SetByHand => "set by hand",
            Found::Cached => "answered last time",
            Found::Dns => "DNS",
        })
    }
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Drawn more often among equals.
    pub weight: u16,
    /// The host.
    pub host: HostAddress,
}

/// Where names are looked up.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// A name server to ask instead of the system's.
    pub server: Option<SocketAddr>,
    /// The domain to look in instead of the system's suffix and search list.
    pub domain: Option<String>,
}

impl Dns {
    /// The hosts that are published for a vendor, in the order in which to try them.
    pub async fn hosts(
        &self,
        catalog: &Catalog,
        mut draw: impl FnMut(u32) -> u32,
    ) -> Result<Vec<HostAddress>> {
        let (resolver, domains) = self.resolver()?;
        if domains.is_empty() {
            return Err(Error::new(
                Code::NoHostFound,
                "this machine has no DNS suffix to look for a host in",
                "set the host by hand: `quorate set-host HOST`, or name a domain with --domain",
            ));
        }
        let mut names = Vec::new();
        for domain in &domains {
            let name = catalog.srv_name(domain);
            match resolver.srv_lookup(name.clone()).await {
                Ok(lookup) => {
                    let records: Vec<Srv> =
                        lookup.answers().iter().filter_map(|record| srv(&record.data)).collect();
                    if !records.is_empty() {
                        return Ok(in_order(records, &mut draw));
                    }
                }
                // NXDOMAIN and an empty answer both say: there is none.
                Err(error) if error.is_nx_domain() || error.is_no_records_found() => {}
                Err(error) => return Err(self.unavailable(&error, &name)),
            }
            names.push(name);
        }
        Err(Error::new(
            Code::NoHostFound,
            format!("no host is published in DNS: there is no SRV record {}", names.join(" nor ")),
            "publish the host there, or set it by hand: `quorate set-host HOST`",
        ))
    }

    /// The addresses of a host.
    pub async fn addresses(&self, host: &HostAddress) -> Result<Vec<SocketAddr>> {
        if let Ok(address) = host.name.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, host.port)]);
        }
        let (resolver, _) = self.resolver()?;
        let found = resolver.lookup_ip(host.name.clone()).await.map_err(|error| {
            if error.is_nx_domain() || error.is_no_records_found() {
                Error::new(
                    Code::HostUnreachable,
                    format!("the host's name {} has no address in DNS", host.name),
                    "compare the name, or set the host by its IP address: `quorate set-host ADDRESS`",
                )
            } else {
                self.unavailable(&error, &host.name)
            }
        })?;
        Ok(found.iter().map(|address| SocketAddr::new(address, host.port)).collect())
    }

    fn resolver(&self) -> Result<(TokioResolver, Vec<String>)> {
        let unusable = |error: NetError| {
            Error::new(
                Code::DnsUnavailable,
                format!("no name server is set up on this machine ({error})"),
                "see /etc/resolv.conf, or set the host by its IP address: `quorate set-host ADDRESS`",
            )
        };
        let mut system_domains = Vec::new();
        let mut builder = match self.server {
            Some(server) => {
                let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
                (udp.port, tcp.port) = (server.port(), server.port());
                let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => {
                let (config, options) =
                    hickory_resolver::system_conf::read_system_conf().map_err(unusable)?;
                // The primary suffix first, then the search list, each once.
                for name in config.domain().into_iter().chain(config.search()) {
                    let name = name.to_string();
                    if !name.trim_matches('.').is_empty() && !system_domains.contains(&name) {
                        system_domains.push(name);
                    }
                }
                let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
                *builder.options_mut() = options;
                builder
            }
        };
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        options.attempts = 1;
        // A look-up is wanted when the last answer has turned out wrong.
        options.cache_size = 0;
        let resolver = builder.build().map_err(unusable)?;
        Ok((resolver, self.domain.clone().map_or(system_domains, |domain| vec![domain])))
    }

    fn unavailable(&self, error: &NetError, name: &str) -> Error {
        let server =
            self.server.map_or_else(|| "the system's name server".to_owned(), |server| server.to_string());
        let why = match error {
            NetError::Timeout => format!("did not answer within {} seconds", 2 * PATIENCE.as_secs()),
            NetError::Dns(DnsError::ResponseCode(code)) => format!("answered {code}"),
            other => format!("could not be asked ({other})"),
        };
        Error::new(
            Code::DnsUnavailable,
            format!("{server} {why} when asked for {name}"),
            "try again, or set the host by its IP address: `quorate set-host ADDRESS`",
        )
    }
}

/// Puts SRV records in the order in which RFC 2782 has them tried. `draw(n)` gives a random number from 0 to
/// n, both included.
pub fn in_order(mut records: Vec<Srv>, draw: &mut impl FnMut(u32) -> u32) -> Vec<HostAddress> {
    // Weight 0 goes first within a priority, so that it has a small chance of being drawn.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::new();
    while let Some(first) = records.first() {
        let priority = first.priority;
        let equals = records.iter().take_while(|record| record.priority == priority);
        let total = equals.clone().map(|record| u32::from(record.weight)).sum();
        let index = if total == 0 {
            // Weight 0 everywhere is the usual case: each host has the same chance.
            let others = u32::try_from(equals.count()).unwrap_or(u32::MAX) - 1;
            usize::try_from(draw(others)).ok()
        } else {
            let drawn = draw(total);
            let mut running = 0;
            equals.clone().position(|record| {
                running += u32::from(record.weight);
                running >= drawn
            })
        };
        ordered.push(records.remove(index.unwrap_or(0)).host);
    }
    ordered
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(srv) = data else { return None };
    // A target of "." says that there is decidedly no such service (RFC 2782).
    if srv.target.is_root() {
        return None;
    }
    // A host that answers is kept in the store as text, so one that does not read back is not followed.
    let name = srv.target.to_string();
    let host = format!("{}:{}", name.trim_end_matches('.'), srv.port).parse().ok()?;
    Some(Srv { priority: srv.priority, weight: srv.weight, host })
}

const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, name: &str) -> Srv {
        Srv { priority, weight, host: HostAddress { name: name.to_owned(), port: 1688 } }
    }

    fn names(records: &[Srv], draw: u32) -> Vec<String> {
        in_order(records.to_vec(), &mut |total| draw.min(total)).into_iter().map(|host| host.name).collect()
    }

    #[test]
    fn lower_priorities_go_first_and_weights_are_drawn() {
        let records = [record(10, 0, "last"), record(0, 1, "light"), record(0, 3, "heavy")];
        assert_eq!(names(&records, 0), ["light", "heavy", "last"]);
        assert_eq!(names(&records, 1), ["light", "heavy", "last"]);
        assert_eq!(names(&records, 2), ["heavy", "light", "last"]);
        assert_eq!(names(&records, 4), ["heavy", "light", "last"]);
        assert_eq!(names(&[], 0), [""; 0]);
    }

    #[test]
    fn without_weights_each_host_has_the_same_chance() {
        let records = [record(0, 0, "a"), record(0, 0, "b"), record(0, 0, "c")];
        let firsts: Vec<String> = (0..3).map(|draw| names(&records, draw).remove(0)).collect();
        assert_eq!(firsts, ["a", "b", "c"]);
    }

    /// Among weights 1 and 3 the heavier is first in three of four draws: over every possible draw, exactly.
    #[test]
    fn weights_have_their_share() {
        let records = [record(0, 10, "light"), record(0, 30, "heavy")];
        let heavy_first = (1..=40).filter(|draw| names(&records, *draw)[0] == "heavy").count();
        assert_eq!(heavy_first, 30);
    }
}
