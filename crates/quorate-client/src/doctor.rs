//! The doctor: walks the whole way of an activation and says at which step it ends, why, and what to do.

use crate::activation::{Activator, ByVendor, Client, Status};
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

/// Walks the way until a step fails. The last step is a real request: the machine is counted.
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

/// The way of an edition with a product key of its own. One that is licensed need not go it again.
async fn walk_to_the_vendor(
    client: &Client,
    status: &Status,
    findings: &mut Findings,
) -> std::result::Result<(), Stopped> {
    let key = match (&status.key, status.problem()) {
        (Some(key), _) => Ok(format!("…{} ({}), {}", key.partial, key.id, status.sku.channel)),
        (None, Some(problem)) => Err(problem),
        (None, None) => Ok("none is installed".to_owned()),
    };
    findings.note("product key", key)?;
    if let (Situation::Licensed, Ok(Some(license))) = (status.state.situation, &status.license) {
        return findings.note("license", Ok(format!("{} holds on this hardware", license.extended_pid())));
    }
    let activated = client.activate().await.map(|activated| match activated.by {
        Activator::Vendor(ByVendor { machines: Some((machines, allowed)), .. }) => {
            format!("activated; {machines} of {allowed} machines have this key")
        }
        _ => "activated".to_owned(),
    });
    findings.note("vendor's service", activated)
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
