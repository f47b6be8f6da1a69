//! The doctor: walks the whole way of an activation and says at which step it ends, why, and what to do.

use crate::activation::{Client, Status, no_key};
use crate::transport;
use quorate_core::Result;
use quorate_core::license_state::Situation;

/// One step of the way.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at.
    pub step: &'static str,
    /// What was found, or what is wrong.
    pub outcome: Result<String>,
}

/// Walks the way until a step fails. For what a host activates, the last step is a real request: the machine is
/// counted, and activated if that is enough. A key of the machine's own is not used up.
pub async fn examine(client: &Client) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    // The first step that fails has told why.
    let _ = walk(client, &mut findings).await;
    findings.0
}

async fn walk(client: &Client, findings: &mut Findings) -> std::result::Result<(), Stopped> {
    let vendor = client.vendor();
    findings.note(
        "catalog",
        Ok(format!(
            "{}, catalog {} of {:.0}, root {}…",
            vendor.catalog.vendor_name,
            vendor.catalog.number,
            vendor.catalog.issued,
            &vendor.root.fingerprint()[..23]
        )),
    )?;
    let status = client.status().and_then(|status| match status.damage.clone() {
        Some(damage) => Err(damage),
        None => Ok(status),
    });
    let name = |status: &Status| format!("{}, {}", status.sku.name, status.state.situation);
    findings.note("store", status.as_ref().map(name).map_err(Clone::clone))?;
    // The step before has stopped the walk otherwise.
    let Ok(status) = status else { return Err(Stopped) };
    let (now, latest) = (client.now(), status.product.latest_time);
    let clock = if status.policy.clock_tolerance.after(now) < latest {
        format!("{now:.0}, but {latest:.0} has been seen already: the host's signed time puts that right")
    } else if status.sku.channel.has_own_key() {
        format!("{now:.0}")
    } else {
        format!("{now:.0}; the host compares it with its own")
    };
    findings.note("clock", Ok(clock))?;
    if status.sku.channel.has_own_key() {
        return walk_to_the_vendor(client, &status, findings).await;
    }

    let hosts = client.discover().await;
    let list = |hosts: &Vec<(crate::host_address::HostAddress, crate::discovery::Found)>| {
        hosts.iter().map(|(host, found)| format!("{host} ({found})")).collect::<Vec<_>>().join(", ")
    };
    findings.note("host", hosts.as_ref().map(list).map_err(Clone::clone))?;
    let host = hosts.ok().and_then(|hosts| hosts.into_iter().next()).ok_or(Stopped)?.0;
    let addresses = client.dns.addresses(&host).await;
    let text = addresses
        .as_ref()
        .map(|addresses| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    findings.note("address", text.map_err(Clone::clone))?;
    let addresses = addresses.map_err(|_| Stopped)?;

    let reached = transport::reach(&addresses).await;
    let text = reached.as_ref().map(|(address, _)| format!("{address} answers"));
    findings.note("TCP", text.map_err(Clone::clone))?;
    let (address, stream) = reached.map_err(|_| Stopped)?;
    let peer = client.peer();
    let greeted = transport::greet(&peer, address, stream).await;
    let certificate = greeted.map(|_| format!("TLS 1.3, a host of {}", vendor.catalog.vendor));
    findings.note("TLS and certificate", certificate)?;
    let asked = client.activate().await.map(|activated| {
        activated.by_host().map_or_else(String::new, |by| {
            format!("{} of {}: activated by {}", by.count, by.threshold, by.host)
        })
    });
    findings.note("count", asked)
}

/// The way of an edition with a product key of its own. It ends at the service's door: to go in would activate the
/// machine, and the key is counted.
async fn walk_to_the_vendor(
    client: &Client,
    status: &Status,
    findings: &mut Findings,
) -> std::result::Result<(), Stopped> {
    let key = match &status.key {
        Some(key) => Ok(format!("…{} ({}), {}", key.partial, key.id, status.sku.channel)),
        None => Err(no_key(&status.sku)),
    };
    findings.note("product key", key)?;
    if let (Situation::Licensed, Ok(Some(license))) = (status.state.situation, &status.license) {
        return findings.note("license", Ok(format!("{} holds on this hardware", license.extended_pid())));
    }
    let reached = client.reach_service().await;
    findings
        .note("vendor's service", reached.map(|(url, number)| format!("{url} answers, catalog {number}")))?;
    let outcome = match status.problem() {
        Some(problem) => Err(problem),
        None => Ok("not activated yet: `quorate activate`".to_owned()),
    };
    findings.note("license", outcome)
}

struct Findings(Vec<Finding>);

/// A step has failed, and has told why.
struct Stopped;

impl Findings {
    fn note(&mut self, step: &'static str, outcome: Result<String>) -> std::result::Result<(), Stopped> {
        let failed = outcome.is_err();
        self.0.push(Finding { step, outcome });
        if failed { Err(Stopped) } else { Ok(()) }
    }
}
