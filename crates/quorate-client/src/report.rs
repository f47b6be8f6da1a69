//! What is said of one product's license: found once, and shown as text, as JSON and on the screen of `watch`.

use crate::activation::Status;
use crate::discovery::Found;
use anstyle::{AnsiColor, Style};
use quorate_core::catalog::Channel;
use quorate_core::license_state::{LicenseStatus, Mode, Situation};
use quorate_core::{Interval, Timestamp};
use quorate_edge::command_line::Problem;
use serde::{Serialize, Serializer};
use std::fmt::{self, Write};

/// The fields that administrators know, for one product. Their names in JSON are documented in `docs/json.md`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The activation id of the installed edition; in JSON it stands with the product.
    #[serde(skip)]
    pub sku_id: String,
    /// The edition's name; in JSON it stands with the product.
    #[serde(skip)]
    pub name: String,
    /// How the edition is activated.
    #[serde(serialize_with = "short")]
    pub activation: Channel,
    /// Whether it is the edition in use, of several that are installed side by side.
    pub in_use: bool,
    /// The last five characters of its product key; none for a registered KMS client, which needs no key.
    pub key: Option<String>,
    /// The key's group and serial.
    pub key_id: Option<String>,
    /// On how many machines the key was activated when it was here.
    pub key_machines: Option<u32>,
    /// On how many it may be.
    pub key_machines_allowed: Option<u32>,
    /// The extended PID of the host that activated it, or of the activation by its own key.
    pub product_id: Option<String>,
    /// The description, with the channel.
    pub description: String,
    /// The license status.
    pub status: LicenseStatus,
    /// Its documented number.
    pub status_number: u32,
    /// Why it has this status: the documents have one for two situations.
    pub situation: Situation,
    /// How the product behaves.
    pub mode: Mode,
    /// When the situation ends by itself, if it does.
    pub until: Option<Moment>,
    /// How long it is until then.
    pub remaining_minutes: Option<u32>,
    /// How long the situation is as a whole.
    pub period_minutes: Option<u32>,
    /// How often the initial grace may be restarted still.
    pub rearms_left: u32,
    /// What an administrator should know first, if anything is wrong.
    pub problem: Option<Problem>,
    /// This machine, as hosts know it.
    pub client_machine_id: String,
    /// The host that is asked before DNS is, if one is known.
    pub host: Option<KnownHost>,
    /// Why it cannot be told which that is.
    pub host_problem: Option<Problem>,
    /// The last time that a host or the vendor's service was asked.
    pub last_request: Option<LastRequest>,
    /// How many machines must have asked the host.
    pub threshold: u32,
    /// When that is done next.
    pub next_request: Option<Moment>,
    /// How often it is asked while the product is not activated.
    pub activation_interval_minutes: u32,
    /// How often it is asked while the product is activated.
    pub renewal_interval_minutes: u32,
    /// The time by which all this was judged: the latest seen, where the clock has been set back.
    pub judged_at: Moment,
}

/// A host, and how it is known.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KnownHost {
    /// Its name or address, and its port.
    pub address: String,
    /// How it is known.
    pub found: Found,
}

/// How the last request went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastRequest {
    /// When it was.
    pub at: Moment,
    /// Whether it activated or renewed the product.
    pub activated: bool,
    /// The count that the host gave, if it answered.
    pub count: Option<u32>,
    /// What went wrong, if anything.
    pub error: Option<Problem>,
}

/// A moment, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

/// How much a situation is to worry about; it decides the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Nothing needs to be done.
    None,
    /// Everything works, for a while.
    Soon,
    /// The product is not licensed, or its license was taken back.
    Now,
}

impl Report {
    /// What is to be said of a product as it stands.
    pub fn new(status: &Status) -> Self {
        let Status { product, sku, policy, state, judged_at, intervals, host, license, .. } = status;
        let period = match state.situation {
            Situation::Licensed => policy.validity,
            Situation::InitialGrace => policy.initial_grace,
            _ => policy.grace,
        };
        let minutes = |interval: Interval| state.until.map(|_| interval.as_minutes());
        let known = host.as_ref().ok().and_then(Option::as_ref);
        let license = license.as_ref().ok().and_then(Option::as_ref);
        let key = status.key.as_ref();
        let machines = status.machines;
        // No host is asked for an edition with a product key of its own.
        let by_host = !sku.channel.has_own_key();
        Self {
            sku_id: sku.id.to_string(),
            name: sku.name.clone(),
            activation: sku.channel,
            in_use: status.in_use,
            key: key.map(|key| key.partial.to_string()),
            key_id: key.map(|key| key.id.to_string()),
            key_machines: machines.map(|(machines, _)| machines),
            key_machines_allowed: machines.map(|(_, allowed)| allowed),
            product_id: license.map(|license| license.extended_pid().to_string()),
            description: format!("{}, {}", sku.description, sku.channel),
            status: state.status,
            status_number: state.status.number(),
            situation: state.situation,
            mode: state.mode,
            until: state.until.map(Moment),
            remaining_minutes: minutes(state.remaining(*judged_at)),
            period_minutes: minutes(period),
            rearms_left: status.rearms_left,
            problem: status.problem().as_ref().map(Problem::from),
            client_machine_id: product.cmid.to_string(),
            host: known
                .filter(|_| by_host)
                .map(|(host, found)| KnownHost { address: host.to_string(), found: *found }),
            host_problem: host.as_ref().err().filter(|_| by_host).map(Problem::from),
            last_request: product.last.as_ref().map(|last| LastRequest {
                at: Moment(last.attempt.at),
                activated: last.attempt.activated,
                count: last.count,
                error: last.error.as_ref().map(Problem::from),
            }),
            threshold: policy.threshold,
            next_request: product.next_request.map(Moment),
            activation_interval_minutes: intervals.activation.as_minutes(),
            renewal_interval_minutes: intervals.renewal.as_minutes(),
            judged_at: Moment(*judged_at),
        }
    }

    /// Line by line, with colours for a terminal.
    pub fn text(&self) -> String {
        self.lines(self.concern().style())
    }

    /// Line by line, with the status in this style.
    fn lines(&self, style: Style) -> String {
        let mut text = format!("{FRAME}\n");
        let mut line = |name: &str, value: &dyn fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        };
        let not_in_use = if self.in_use { "" } else { ", installed beside the one in use" };
        line("ACTIVATION", &format_args!("{}{not_in_use}", activation_of(self.activation)));
        line("PRODUCT ID", &self.product_id.as_deref().unwrap_or("(none before activation)"));
        line("SKU ID", &self.sku_id);
        line("LICENSE NAME", &self.name);
        line("LICENSE DESCRIPTION", &self.description);
        line("LICENSE STATUS", &format_args!("{style}---{}---{style:#}", called(self.status)));
        if let Some(problem) = &self.problem {
            line("ERROR CODE", &problem.number());
            line("ERROR DESCRIPTION", &problem.what);
            line("NEXT", &problem.next);
        }
        if let Some(minutes) = self.remaining_minutes {
            line("REMAINING GRACE", &format_args!("{} days ({minutes} minutes)", minutes / MINUTES_A_DAY));
        }
        line("REMAINING REARM COUNT", &self.rearms_left);
        if let Some(key) = &self.key {
            line("LAST 5 CHARACTERS OF INSTALLED PRODUCT KEY", key);
        }
        if let Some(id) = &self.key_id {
            line("PRODUCT KEY ID", id);
        }
        if let Some((machines, allowed)) = self.key_machines.zip(self.key_machines_allowed) {
            line("MACHINES ACTIVATED WITH THE KEY", &format_args!("{machines} of {allowed}"));
        }
        let by_host = !self.activation.has_own_key();
        if by_host {
            line("CLIENT MACHINE ID", &self.client_machine_id);
            line("HOST", &self.host_in_words());
        }
        if let Some(last) = &self.last_request {
            let count = last.count.map(|count| format!(", count {count} of {}", self.threshold));
            line("LAST REQUEST", &format_args!("{}{}", last.at, count.unwrap_or_default()));
        }
        if let Some(next) = self.next_request {
            line("NEXT REQUEST", &next);
        }
        line("ACTIVATION INTERVAL", &format_args!("{} minutes", self.activation_interval_minutes));
        if by_host {
            line("RENEWAL INTERVAL", &format_args!("{} minutes", self.renewal_interval_minutes));
        }
        text.push_str(FRAME);
        text
    }

    /// The host, and how it is known; or why there is none.
    pub fn host_in_words(&self) -> String {
        match (&self.host, &self.host_problem) {
            (Some(KnownHost { address, found: Found::Cached }), _) => {
                format!("{address} (answered last)")
            }
            (Some(KnownHost { address, found }), _) => format!("{address} ({found})"),
            (None, Some(problem)) => format!("({})", problem.what),
            (None, None) => "(none yet; looked for in DNS)".to_owned(),
        }
    }

    /// How much the situation is to worry about.
    pub fn concern(&self) -> Concern {
        match self.situation {
            Situation::Licensed => Concern::None,
            Situation::InitialGrace | Situation::ExpiryGrace | Situation::OutOfToleranceGrace => {
                Concern::Soon
            }
            Situation::NonGenuineGrace | Situation::Notification | Situation::Unlicensed => Concern::Now,
        }
    }
}

/// The status of one product, line by line and without colours.
pub fn status(status: &Status) -> String {
    Report::new(status).lines(Style::new())
}

/// How an edition is activated, at a glance.
pub fn activation_of(channel: Channel) -> &'static str {
    match channel {
        Channel::KmsClient => "KMS (by a host of this network)",
        Channel::KmsHost => "KMS host (at the vendor's service)",
        Channel::Mak => "MAK (at the vendor's service)",
        Channel::Retail => "retail (at the vendor's service)",
    }
}

/// The same as JSON has it.
pub(crate) fn short<S: Serializer>(channel: &Channel, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match channel {
        Channel::KmsClient => "kms",
        Channel::KmsHost => "kms-host",
        Channel::Mak => "mak",
        Channel::Retail => "retail",
    })
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

impl Concern {
    fn style(self) -> Style {
        let colour = match self {
            Concern::None => AnsiColor::Green,
            Concern::Soon => AnsiColor::Yellow,
            Concern::Now => AnsiColor::Red,
        };
        colour.on_default()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.0)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const FRAME: &str = "---------------------------------------";
pub(crate) const MINUTES_A_DAY: u32 = 24 * 60;
