//! Where the log goes: to standard error, or with its fields to the journal, or to syslog. What happens to a request or
//! in DNS is in the log as well as in the book, so this is how events leave the host.

use crate::config::Config;
use quorate_core::{Code, Error, Result};
use quorate_edge::command_line::{self, LogFormat};
use std::path::Path;
use syslog_tracing::{Facility, Options, Syslog};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// `log.to`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error, which a service manager keeps.
    #[default]
    Stderr,
    /// The journal of systemd, each field of an event as one of its own.
    Journald,
    /// The syslog of this machine.
    Syslog,
}

impl LogTarget {
    /// As the configuration file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stderr => "stderr",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Stderr, Self::Journald, Self::Syslog].into_iter().find(|target| target.name() == name)
    }

    /// Finds out whether somebody receives there, so far as that can be seen.
    pub fn check(self) -> Result<()> {
        let socket = match self {
            Self::Stderr => return Ok(()),
            Self::Journald => JOURNAL,
            Self::Syslog => SYSLOG,
        };
        // What is sent to a syslog that is not there is lost without an error.
        if Path::new(socket).exists() {
            return Ok(());
        }
        Err(unavailable(self, &format!("{socket} does not exist")))
    }
}

/// Sends the log where the configuration says.
pub fn start(config: &Config) -> Result<()> {
    let target = config.log_target.unwrap_or_default();
    target.check()?;
    let (format, filter) = (config.log.format.unwrap_or_default(), config.log.filter.as_deref());
    let levels = || command_line::log_filter(filter);
    // A second start, as in tests that run a program's code twice, keeps the first.
    match target {
        LogTarget::Stderr => command_line::start_log_as(format, filter),
        LogTarget::Journald => {
            let journal =
                tracing_journald::layer().map_err(|error| unavailable(target, &error.to_string()))?;
            let journal = journal.with_field_prefix(Some(FIELDS.to_owned()));
            let journal = journal.with_syslog_identifier(NAME.to_string_lossy().into_owned());
            drop(tracing_subscriber::registry().with(levels()).with(journal).try_init());
        }
        LogTarget::Syslog => {
            let syslog = Syslog::new(NAME, Options::LOG_PID, Facility::Daemon)
                .ok_or_else(|| unavailable(target, "it is in use already"))?;
            let log = tracing_subscriber::fmt().with_env_filter(levels()).with_writer(syslog);
            // Syslog has the time and the level itself.
            let log = log.with_ansi(false).with_level(false).without_time();
            drop(match format {
                LogFormat::Text => log.try_init(),
                LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
            });
        }
    }
    Ok(())
}

fn unavailable(target: LogTarget, why: &str) -> Error {
    Error::new(
        Code::Unwritable,
        format!("the log cannot be written to {}: {why}", target.name()),
        "start that service, or write the log to standard error: log.to = \"stderr\"",
    )
}

const NAME: &std::ffi::CStr = c"quorate-host";
/// Fields of the journal are of all programs, so ours begin with the name.
const FIELDS: &str = "QUORATE";
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
