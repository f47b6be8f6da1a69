//! Discovery: where the activation host is.
//!
//! In this order: a host that is known already ([`crate::known_host`]); SRV records in the primary DNS suffix
//! and then in each name of the search list, in the order of [`crate::srv`]. A host that fails is struck and
//! the next is asked ([`crate::round`]).

use crate::happy_eyeballs;
use crate::host_address::HostAddress;
use crate::srv::{self, Srv};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record};
use quorate_core::catalog::Catalog;
use quorate_core::{Code, Error, Result};
use serde::Serialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How a host was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// The administrator set it.
    SetByHand,
    /// The environment variable names it.
    Environment,
    /// The machine's file names it.
    MachineFile,
    /// It answered last time.
    Cached,
    /// An SRV record names it.
    Dns,
}

impl Found {
    /// Whether somebody has set the host, which is then the only one asked.
    pub fn is_set(self) -> bool {
        matches!(self, Found::SetByHand | Found::Environment | Found::MachineFile)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Found::SetByHand => "set by hand",
            Found::Environment => "environment variable QUORATE_HOST",
            Found::MachineFile => "this machine's host file",
            Found::Cached => "answered last time",
            Found::Dns => "DNS",
        })
    }
}

/// Where names are looked up.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// A name server to ask instead of the system's.
    pub server: Option<SocketAddr>,
    /// The domains to look in, one after the other, instead of the system's suffix and search list.
    pub domains: Vec<String>,
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
        let (mut negative, mut failure) = (Vec::new(), None);
        for domain in &domains {
            let name = catalog.srv_name(domain);
            let why = match resolver.srv_lookup(name.clone()).await {
                Ok(lookup) => match usable(lookup.answers()) {
                    Ok(records) => return Ok(srv::in_order(records, &mut draw)),
                    Err(why) => why,
                },
                Err(error) => match absence(&error) {
                    Some(why) => why,
                    // It would not answer for the next domain either.
                    None if matches!(error, NetError::Timeout) => {
                        return Err(failure.unwrap_or_else(|| self.unavailable(&error, &name)));
                    }
                    // One domain that is set up wrongly does not stop the look in the next.
                    None => {
                        failure = failure.or_else(|| Some(self.unavailable(&error, &name)));
                        continue;
                    }
                },
            };
            negative.push(format!("{name} {why}"));
        }
        Err(failure.unwrap_or_else(|| {
            Error::new(
                Code::NoHostFound,
                format!("no host is published in DNS: {}", negative.join("; ")),
                "publish the host there, or set it by hand: `quorate set-host HOST`",
            )
        }))
    }

    /// The addresses of a host.
    pub async fn addresses(&self, host: &HostAddress) -> Result<Vec<SocketAddr>> {
        if let Ok(address) = host.name.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, host.port)]);
        }
        let (resolver, _) = self.resolver()?;
        let found = resolver.lookup_ip(host.name.clone()).await.map_err(|error| {
            if absence(&error).is_some() {
                Error::new(
                    Code::HostUnreachable,
                    format!("the host's name {} has no address in DNS", host.name),
                    "compare the name, or set the host by its IP address: `quorate set-host ADDRESS`",
                )
            } else {
                self.unavailable(&error, &host.name)
            }
        })?;
        let found: Vec<SocketAddr> =
            found.iter().map(|address| SocketAddr::new(address, host.port)).collect();
        Ok(happy_eyeballs::interleave(&found))
    }

    fn resolver(&self) -> Result<(TokioResolver, Vec<String>)> {
        let unusable = |error: NetError| {
            let error = match error {
                NetError::Io(error) => quorate_edge::files::plain(&error),
                other => other.to_string(),
            };
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
                system_domains = suffixes(&config);
                let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
                *builder.options_mut() = options;
                builder
            }
        };
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        options.attempts = 1;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        // A look-up is wanted when the last answer has turned out wrong.
        options.cache_size = 0;
        let resolver = builder.build().map_err(unusable)?;
        Ok((resolver, if self.domains.is_empty() { system_domains } else { self.domains.clone() }))
    }

    fn unavailable(&self, error: &NetError, name: &str) -> Error {
        let server =
            self.server.map_or_else(|| "the system's name server".to_owned(), |server| server.to_string());
        let why = match error {
            NetError::Timeout => format!("did not answer within {} seconds", 2 * PATIENCE.as_secs()),
            NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => "refused (REFUSED)".to_owned(),
            NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => "failed (SERVFAIL)".to_owned(),
            NetError::Dns(DnsError::ResponseCode(code)) => format!("answered {code}"),
            NetError::Dns(DnsError::NoRecordsFound(_)) => "only referred to other name servers".to_owned(),
            other => format!("could not be asked ({other})"),
        };
        Error::new(
            Code::DnsUnavailable,
            format!("{server} {why} when asked for {name}"),
            "try again, or set the host by its IP address: `quorate set-host ADDRESS`",
        )
    }
}

/// The primary suffix, then the search list, each once.
fn suffixes(config: &ResolverConfig) -> Vec<String> {
    let mut suffixes = Vec::new();
    for name in config.domain().into_iter().chain(config.search()) {
        let name = name.to_string().trim_end_matches('.').to_ascii_lowercase();
        if !name.is_empty() && !suffixes.contains(&name) {
            suffixes.push(name);
        }
    }
    suffixes
}

/// Why there is no record, when the name server says so; none when it does not know.
fn absence(error: &NetError) -> Option<&'static str> {
    let NetError::Dns(DnsError::NoRecordsFound(negative)) = error else { return None };
    match negative.response_code {
        ResponseCode::NXDomain => Some("does not exist"),
        // Name servers without the zone's own record are where to ask instead: this one does not know (a lame
        // delegation, or a server that does not resolve for clients).
        _ if negative.soa.is_none() && negative.ns.is_some() => None,
        _ => Some("has no such record"),
    }
}

/// The hosts of an answer, or why there is none among them.
fn usable(answers: &[Record]) -> std::result::Result<Vec<Srv>, &'static str> {
    let targets: Vec<_> = answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        })
        .collect();
    if !targets.is_empty() && targets.iter().all(|srv| srv.target.is_root()) {
        return Err("says that there is no such service here");
    }
    let records: Vec<Srv> = targets
        .into_iter()
        .filter_map(|srv| {
            // A host that answers is kept in the store as text, so one that does not read back is not followed.
            let name = srv.target.to_string();
            let host = format!("{}:{}", name.trim_end_matches('.'), srv.port).parse().ok()?;
            Some(Srv { priority: srv.priority, weight: srv.weight, host })
        })
        .collect();
    if records.is_empty() { Err("names nothing that could be a host") } else { Ok(records) }
}

const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::system_conf::parse_resolv_conf;

    #[test]
    fn the_primary_suffix_goes_before_the_search_list() {
        for (file, expected) in [
            ("domain corp.test\nnameserver 127.0.0.1\n", &["corp.test"][..]),
            (
                "domain corp.test\nsearch one.test Corp.test two.test.\nnameserver 127.0.0.1\n",
                &["corp.test", "one.test", "two.test"],
            ),
        ] {
            let (config, _) = parse_resolv_conf(file).unwrap();
            assert_eq!(suffixes(&config), expected, "{file}");
        }
        assert_eq!(suffixes(&ResolverConfig::from_parts(None, vec![], vec![])), [""; 0]);
    }
}
