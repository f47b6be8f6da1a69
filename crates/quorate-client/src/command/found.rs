//! What each command finds, for people and for programs. The fields are documented in `docs/json.md`.

use super::printer::Found;
use crate::activation::{Activated, Activator, ByHost, ByVendor, Status};
use crate::doctor::Finding;
use crate::host_address::HostAddress;
use crate::registration::Vendor;
use crate::report::{KnownHost, Moment, Report};
use crate::{discovery, known_host};
use quorate_core::catalog::Sku;
use quorate_core::{Error, Result};
use quorate_edge::command_line::Problem;
use serde::Serialize;

impl Found for Report {
    fn text(&self, _: &str) -> String {
        Report::text(self)
    }
}

/// `register`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Registered {
    vendor: String,
    vendor_name: String,
    catalog_number: u64,
    root_sha256: String,
    application_id: String,
    sku_id: String,
    name: String,
    #[serde(skip)]
    needs_key: bool,
}

impl Registered {
    /// This edition of this vendor.
    pub fn new(vendor: &Vendor, sku: &Sku) -> Self {
        Self {
            vendor: vendor.catalog.vendor.to_string(),
            vendor_name: vendor.catalog.vendor_name.clone(),
            catalog_number: vendor.catalog.number,
            root_sha256: vendor.root.fingerprint(),
            application_id: sku.application.to_string(),
            sku_id: sku.id.to_string(),
            name: sku.name.clone(),
            needs_key: sku.channel.has_own_key(),
        }
    }
}

impl Found for Registered {
    fn text(&self, _: &str) -> String {
        let next = if self.needs_key { "quorate install-key KEY" } else { "quorate activate" };
        format!(
            "Registered {} of {} (catalog {}).\nVendor root SHA-256: {}\nnext: {next}",
            self.name, self.vendor_name, self.catalog_number, self.root_sha256
        )
    }
}

/// `activate`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Activation {
    by: &'static str,
    host: Option<String>,
    found: Option<discovery::Found>,
    count: Option<u32>,
    threshold: Option<u32>,
    key: Option<String>,
    key_machines: Option<u32>,
    key_machines_allowed: Option<u32>,
    until: Option<Moment>,
}

impl From<Activated> for Activation {
    fn from(activated: Activated) -> Self {
        let until = activated.state.until.map(Moment);
        match activated.by {
            Activator::Host(ByHost { host, found, count, threshold }) => Self {
                by: "host",
                host: Some(host.to_string()),
                found: Some(found),
                count: Some(count),
                threshold: Some(threshold),
                key: None,
                key_machines: None,
                key_machines_allowed: None,
                until,
            },
            Activator::Vendor(ByVendor { key, machines }) => Self {
                by: "vendor",
                host: None,
                found: None,
                count: None,
                threshold: None,
                key: Some(key.partial.to_string()),
                key_machines: machines.map(|(machines, _)| machines),
                key_machines_allowed: machines.map(|(_, allowed)| allowed),
                until,
            },
        }
    }
}

impl Found for Activation {
    const NONE: Option<&'static str> = Some("not activated.");

    fn text(&self, product: &str) -> String {
        match self {
            Self {
                host: Some(host),
                found: Some(found),
                count: Some(count),
                threshold: Some(threshold),
                ..
            } => {
                format!("{product}: activated by {host} ({found}), count {count} of {threshold}.")
            }
            Self { key_machines: Some(machines), key_machines_allowed: Some(allowed), .. } => format!(
                "{product}: activated by its vendor for this hardware; {machines} of {allowed} machines have this key."
            ),
            _ => format!("{product}: activated by its vendor for this hardware."),
        }
    }
}

/// A host, and how it was found.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Host {
    host: String,
    found: discovery::Found,
}

impl From<(HostAddress, discovery::Found)> for Host {
    fn from((host, found): (HostAddress, discovery::Found)) -> Self {
        Self { host: host.to_string(), found }
    }
}

/// `set-host`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostSet {
    /// The host.
    pub host: String,
}

impl Found for HostSet {
    fn text(&self, _: &str) -> String {
        format!("The host is set to {}.\nnext: quorate activate", self.host)
    }
}

/// `clear-host`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostCleared {
    still_set: Option<KnownHost>,
    problem: Option<Problem>,
    #[serde(skip)]
    file: String,
}

impl HostCleared {
    /// What the environment and this file say now that no host is set by hand.
    pub fn new(known: Result<Option<(HostAddress, discovery::Found)>>, file: String) -> Self {
        let (still_set, problem) = match known {
            Ok(known) => {
                let set = known.filter(|(_, found)| found.is_set());
                (set.map(|(host, found)| KnownHost { address: host.to_string(), found }), None)
            }
            Err(error) => (None, Some(Problem::from(&error))),
        };
        Self { still_set, problem, file }
    }
}

impl Found for HostCleared {
    fn text(&self, _: &str) -> String {
        if let Some(problem) = &self.problem {
            return format!(
                "The host that was set by hand is forgotten. No host is asked while this stands: {}\nnext: {}",
                problem.what, problem.next
            );
        }
        let Some(KnownHost { address, found }) = &self.still_set else {
            return "The host is found in DNS again.".to_owned();
        };
        let (place, next) = match found {
            discovery::Found::Environment => (known_host::VARIABLE, "unset the variable".to_owned()),
            _ => (self.file.as_str(), format!("remove {}", self.file)),
        };
        format!(
            "The host that was set by hand is forgotten, but {place} still names {address}: that is asked.\n\
             next: {next}, if DNS shall be asked"
        )
    }
}

/// `rearm`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rearmed {
    until: Option<Moment>,
    remaining_minutes: u32,
    rearms_left: u32,
}

impl From<Status> for Rearmed {
    fn from(status: Status) -> Self {
        Self {
            until: status.state.until.map(Moment),
            remaining_minutes: status.state.remaining(status.judged_at).as_minutes(),
            rearms_left: status.rearms_left,
        }
    }
}

impl Found for Rearmed {
    fn text(&self, product: &str) -> String {
        let more = match self.rearms_left {
            0 => "no more restart is allowed".to_owned(),
            1 => "1 more restart is allowed".to_owned(),
            left => format!("{left} more restarts are allowed"),
        };
        let days = self.remaining_minutes / crate::report::MINUTES_A_DAY;
        format!("{product}: initial grace for {days} days; {more}.")
    }
}

/// `doctor`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diagnosis {
    steps: Vec<Step>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Step {
    step: &'static str,
    ok: bool,
    found: String,
}

impl Diagnosis {
    /// The steps, and what stopped the last of them.
    pub fn new(findings: Vec<Finding>) -> (Self, Option<Error>) {
        let mut failed = None;
        let steps = findings
            .into_iter()
            .map(|Finding { step, outcome }| {
                let ok = outcome.is_ok();
                let found = outcome.unwrap_or_else(|error| failed.insert(error).what.clone());
                Step { step, ok, found }
            })
            .collect();
        (Self { steps }, failed)
    }
}

impl Found for Diagnosis {
    fn text(&self, _: &str) -> String {
        let line = |step: &Step| {
            format!("{:<8}{:<20}{}", if step.ok { "ok" } else { "FAILED" }, step.step, step.found)
        };
        self.steps.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// `discover`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Discovered {
    hosts: Vec<Host>,
}

impl From<Vec<(HostAddress, discovery::Found)>> for Discovered {
    fn from(hosts: Vec<(HostAddress, discovery::Found)>) -> Self {
        Self { hosts: hosts.into_iter().map(Host::from).collect() }
    }
}

impl Found for Discovered {
    fn text(&self, product: &str) -> String {
        let line = |Host { host, found }: &Host| format!("{product}: {host} ({found})");
        self.hosts.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
