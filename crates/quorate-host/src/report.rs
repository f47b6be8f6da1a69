//! What `dlv`, `dli` and `xpr` print for one installed key, and how `dti` shows an Installation ID.

use crate::book::{Book, Statistics};
use crate::dns::SrvRecord;
use crate::keys::{self, HostKey, Installed};
use crate::ledger;
use crate::settings::{Patience, Settings};
use crate::store::{Published, Store};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use quorate_core::catalog::Catalog;
use quorate_core::hardware::Components;
use quorate_core::installation_id::InstallationId;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Error, Result, Timestamp};
use std::fmt::Write;

/// What of the host itself is shown beside a key.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The machine that this is.
    pub hardware: Components,
    /// How patient clients are to be.
    pub patience: Patience,
    /// Whether the daemon runs.
    pub runs: bool,
}

/// The full status of one key, line by line.
pub fn dlv(store: &Store, book: &mut dyn Book, key: &HostKey, host: &Host, now: Timestamp) -> Result<String> {
    let account = key.account();
    let application = account.application;
    let pid = match key.certificate(now) {
        None => "(assigned at activation)".to_owned(),
        Some(Ok(certificate)) => certificate
            .entitlement
            .map_or_else(|| "(none)".to_owned(), |entitlement| entitlement.extended_pid.to_string()),
        Some(Err(_)) => "(not valid now)".to_owned(),
    };
    let standing = key.standing(&host.hardware, now);
    let status = match &standing {
        Ok(Some(_)) => LicenseStatus::Licensed.to_string(),
        Ok(None) => LicenseStatus::Unlicensed.to_string(),
        Err(error) => unlicensed(error),
    };
    let service = &key.catalog.service_url;
    let rows = [
        ("Name", key.sku.name.clone()),
        ("Description", format!("{}, {}", key.sku.description, key.sku.channel)),
        ("Activation ID", key.sku.id.to_string()),
        ("Application ID", application.to_string()),
        ("Extended PID", pid),
        ("Installation ID", key.installed.installation_id.to_string()),
        ("Processor Certificate URL", format!("{service}/v1/revocations")),
        ("Machine Certificate URL", format!("{service}/v1/host-activations")),
        ("Use License URL", format!("{service}/v1/catalog")),
        ("Product Key Certificate URL", format!("{service}/v1/host-activations")),
        ("Partial Product Key", key.installed.partial.to_string()),
        ("License Status", status),
        ("Remaining rearm count", "0 (a host has no grace to restart)".to_owned()),
        ("Trusted time", format!("{now:.0}")),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        line(&mut text, name, &value);
    }
    match &standing {
        Ok(Some(_)) => {
            let retention = ledger::retention(&key.catalog.products, application);
            let count = book.count(&account, retention.before(now))?;
            let statistics = book.statistics(&account)?;
            service_lines(&mut text, store, key, host, (count, &statistics), now)?;
        }
        Ok(None) => not_enabled(&mut text, "activate it with `ato`, or `dti` and `atp`"),
        Err(error) => not_enabled(&mut text, &error.next),
    }
    Ok(text)
}

/// The short status of one key.
pub fn dli(key: &HostKey, hardware: &Components, now: Timestamp) -> String {
    let status = match key.standing(hardware, now) {
        Ok(Some(_)) => LicenseStatus::Licensed.to_string(),
        Ok(None) => LicenseStatus::Unlicensed.to_string(),
        Err(error) => unlicensed(&error),
    };
    let mut text = String::new();
    line(&mut text, "Name", &key.sku.name);
    line(&mut text, "Description", &format!("{}, {}", key.sku.description, key.sku.channel));
    line(&mut text, "Partial Product Key", &key.installed.partial.to_string());
    line(&mut text, "License Status", &status);
    text
}

/// Until when the certificate of one key holds.
pub fn xpr(store: &Store, key: &HostKey, now: Timestamp) -> Result<String> {
    let standing = match key.certificate(now) {
        None => "not activated".to_owned(),
        Some(Err(error)) => format!("the host's certificate does not hold ({error})"),
        Some(Ok(certificate)) => {
            let until = format!("the host's certificate holds until {:.0}", certificate.not_after);
            match keys::renewal(store, &key.installed)? {
                Some(at) => format!("{until}; it is renewed online from {at:.0} on"),
                None => format!("{until}; renew it by telephone before (`quorate-host dti`)"),
            }
        }
    };
    Ok(format!("{}: {standing}", key.sku.name))
}

/// The groups of an Installation ID, each with its number, as they are read to the phone desk.
pub fn numbered(installation_id: &InstallationId) -> String {
    let mut text = String::new();
    for (number, group) in (1..).zip(installation_id.to_string().split('-')) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{number}  {group}");
    }
    text
}

/// An Installation ID as a QR code in half blocks, dark on light on the usual dark terminal.
pub fn qr(installation_id: &InstallationId) -> Result<String> {
    let code = QrCode::new(installation_id.digits()).map_err(|error| {
        Error::new(Code::Internal, format!("no QR code can be made ({error})"), "please report this")
    })?;
    let blocks = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Ok(format!("{blocks}\n"))
}

/// What can be said of a key that cannot be read.
pub fn unreadable(key: &Installed, error: &Error) -> String {
    let mut text = String::new();
    line(&mut text, "Product Key ID", &key.id.to_string());
    line(&mut text, "Partial Product Key", &key.partial.to_string());
    line(&mut text, "License Status", &unlicensed(error));
    not_enabled(&mut text, &error.next);
    text
}

fn unlicensed(error: &Error) -> String {
    format!("{} ({error})", LicenseStatus::Unlicensed)
}

fn not_enabled(text: &mut String, next: &str) {
    line(text, "Activation host is not enabled on this computer", next);
}

fn service_lines(
    text: &mut String,
    store: &Store,
    key: &HostKey,
    host: &Host,
    (count, statistics): (u32, &Statistics),
    now: Timestamp,
) -> Result<()> {
    text.push_str("Activation host is enabled on this computer\n");
    line(text, "    Current count", &count.to_string());
    line(text, "    Listening on Port", &port(store, host)?);
    let intervals = host.patience.over(key.catalog.products.policy(&key.sku));
    for (name, interval) in
        [("Activation interval", intervals.activation), ("Renewal interval", intervals.renewal)]
    {
        line(text, &format!("    {name}"), &format!("{} minutes", interval.as_minutes()));
    }
    dns_lines(text, store, &key.catalog, now)?;
    line(text, "    Priority", "as the system runs it (the host does not change it)");
    text.push_str("Cumulative requests received from clients\n");
    line(text, "    Total requests received", &statistics.total().to_string());
    line(text, "    Failed requests received", &statistics.failed.to_string());
    for status in DOCUMENTED_ORDER {
        let requests =
            usize::try_from(status.number()).ok().and_then(|number| statistics.by_status.get(number));
        line(
            text,
            &format!("    Requests with License Status {status}"),
            &requests.copied().unwrap_or(0).to_string(),
        );
    }
    Ok(())
}

/// The port of the daemon that runs, or that of the next.
fn port(store: &Store, host: &Host) -> Result<String> {
    let noted = store.setting(PORT)?;
    let set = Settings::read(store)?.port.map(|port| port.to_string());
    Ok(match (host.runs, noted, set) {
        (true, Some(port), Some(set)) if port != set => format!("{port} (`sprt` has set {set})"),
        (true, Some(port), _) => port,
        (_, noted, set) => {
            let port = set.or(noted).unwrap_or_else(|| quorate_proto::DEFAULT_PORT.to_string());
            format!("{port} (not running)")
        }
    })
}

/// Where this vendor's clients find the host: what the name server was last seen to give out.
fn dns_lines(text: &mut String, store: &Store, catalog: &Catalog, now: Timestamp) -> Result<()> {
    let mut seen = store.published()?;
    seen.retain(|published| {
        let owner = catalog.srv_name(&published.place.domain);
        published.seen.is_some() && published.record.owner.eq_ignore_ascii_case(&owner)
    });
    let publishing = store.setting(PUBLISHING)?.unwrap_or_default();
    let domains: Vec<&str> = publishing.split_whitespace().collect();
    if domains.is_empty() {
        text.push_str("    DNS publishing disabled\n");
    }
    for domain in &domains {
        let value = match seen.iter().find(|published| published.place.domain == *domain) {
            Some(published) => format!("{domain} ({})", standing(published, now)),
            None => format!("{domain} (not published yet; why is in the log of `quorate-host serve`)"),
        };
        line(text, "    DNS publishing enabled", &value);
    }
    for published in seen.iter().filter(|published| !domains.contains(&published.place.domain.as_str())) {
        let Published { place, .. } = published;
        line(text, "    Still in DNS", &format!("{} ({})", place.domain, standing(published, now)));
    }
    Ok(())
}

fn standing(published: &Published, now: Timestamp) -> String {
    let SrvRecord { priority, weight, .. } = published.record;
    let mut standing = format!("priority {priority}, weight {weight}");
    if let Some(seen) = published.seen.filter(|seen| now.as_second() - seen.as_second() > MISSED) {
        standing += &format!(", last seen {seen:.0}");
    }
    standing
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name}: {value}");
}

/// The port that the daemon listens on, as it noted when it started.
pub const PORT: &str = "port";
/// The domains in which the daemon publishes the host, as it noted when it started.
pub const PUBLISHING: &str = "publishing";

/// The host is published daily; by then once at least it has failed.
const MISSED: i64 = 25 * 60 * 60;

const DOCUMENTED_ORDER: [LicenseStatus; 6] = [
    LicenseStatus::Unlicensed,
    LicenseStatus::Licensed,
    LicenseStatus::InitialGrace,
    LicenseStatus::OutOfToleranceGrace,
    LicenseStatus::NonGenuineGrace,
    LicenseStatus::Notification,
];
