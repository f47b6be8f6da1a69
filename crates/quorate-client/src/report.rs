//! What `status` prints: the fields that administrators know, for one product.

use crate::activation::Status;
use crate::discovery::Found;
use quorate_core::license_state::LicenseStatus;
use std::fmt::Write;

/// The status of one product, line by line.
pub fn status(status: &Status) -> String {
    let Status { product, sku, policy, state, judged_at, intervals, host, license, .. } = status;
    let mut text = String::from("---------------------------------------\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {value}");
    };
    let pid = match license {
        Ok(Some(response)) => response.host_pid.to_string(),
        _ => "(none before activation)".to_owned(),
    };
    line("PRODUCT ID", &pid);
    line("SKU ID", &sku.id.to_string());
    line("LICENSE NAME", &sku.name);
    line("LICENSE DESCRIPTION", &format!("{}, {}", sku.description, sku.channel));
    line("LICENSE STATUS", &format!("---{}---", called(state.status)));
    if let Some(error) = status.problem() {
        line("ERROR CODE", &error.code.to_string());
        line("ERROR DESCRIPTION", &error.what);
        line("NEXT", &error.next);
    }
    if state.until.is_some() {
        let left = state.remaining(*judged_at);
        line("REMAINING GRACE", &format!("{} days ({} minutes)", left.as_days(), left.as_minutes()));
    }
    line("CLIENT MACHINE ID", &product.cmid.to_string());
    match host {
        Ok(Some((host, Found::Cached))) => line("HOST", &format!("{host} (found in DNS, answered last)")),
        Ok(Some((host, found))) => line("HOST", &format!("{host} ({found})")),
        Ok(None) => line("HOST", "(none yet; looked for in DNS)"),
        Err(error) => line("HOST", &format!("({})", error.what)),
    }
    if let Some(last) = &product.last {
        let count =
            last.count.map(|count| format!(", count {count} of {}", policy.threshold)).unwrap_or_default();
        line("LAST REQUEST", &format!("{:.0}{count}", last.attempt.at));
    }
    if let Some(next) = product.next_request {
        line("NEXT REQUEST", &format!("{next:.0}"));
    }
    line("ACTIVATION INTERVAL", &format!("{} minutes", intervals.activation.as_minutes()));
    line("RENEWAL INTERVAL", &format!("{} minutes", intervals.renewal.as_minutes()));
    text.push_str("---------------------------------------");
    text
}

fn called(status: LicenseStatus) -> &'static str {
    match status {
        LicenseStatus::Unlicensed => "UNLICENSED",
        LicenseStatus::Licensed => "LICENSED",
        LicenseStatus::InitialGrace => "OOB_GRACE",
        LicenseStatus::OutOfToleranceGrace => "OOT_GRACE",
        LicenseStatus::NonGenuineGrace => "NON_GENUINE_GRACE",
        LicenseStatus::Notification => "NOTIFICATIONS",
        LicenseStatus::ExtendedGrace => "EXTENDED_GRACE",
    }
}
