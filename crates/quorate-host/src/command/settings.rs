//! `quorate-host config`, and the commands that set something for the host: `sprt`, `sai`, `sri`, `sdns`, `cdns`,
//! `spri`, `cpri`.

use super::serve;
use crate::config::Config;
use crate::dns::Publication;
use crate::settings::{self, Patience, Settings};
use crate::store::Store;
use clap::Subcommand;
use quorate_core::{Code, Interval, Result};
use quorate_edge::command_line::print;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What can be done about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Find out whether a configuration file, and the files that it names, can be used.
    Check {
        /// The file [default: the one that `serve` reads].
        file: Option<PathBuf>,
    },
    /// Show what file and settings say, and where each value comes from; URLs are hidden, since they may hold passwords.
    Show,
}

impl ConfigCommand {
    /// Does it.
    pub fn run(self, named: Option<&Path>, directory: &Path, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Check { file } => {
                let config = Config::load(file.as_deref().or(named))?;
                config.check()?;
                match &config.path {
                    Some(path) => print(out, &format!("{} is in order.", path.display())),
                    None => print(out, "There is no configuration file; the host runs without."),
                }
            }
            Self::Show => {
                let config = Config::load(named)?;
                let settings = match Store::open(directory) {
                    Ok(store) => Settings::read(&store)?,
                    Err(error) if error.code == Code::NotSetUp => Settings::default(),
                    Err(error) => return Err(error),
                };
                show(&config, &settings, directory, out)
            }
        }
    }
}

fn show(config: &Config, settings: &Settings, directory: &Path, out: &mut impl Write) -> Result<()> {
    match &config.path {
        Some(path) => print(out, &format!("# file: {}", path.display()))?,
        None => print(out, "# file: none")?,
    }
    for (key, value, from) in serve::shown(config, settings, directory) {
        print(out, &format!("{key} = {value}  # {from}"))?;
    }
    if settings.unpublished {
        print(out, "# dns: off  # command (`quorate-host sdns` turns it on)")?;
    }
    for domain in &config.dns {
        let Publication { priority, weight, ttl, .. } = domain.unsigned(settings);
        let key = domain
            .tsig_key_file
            .as_ref()
            .map_or_else(|| "no key".to_owned(), |path| path.display().to_string());
        print(
            out,
            &format!(
                "# dns: {} at {} as {}, priority {priority}, weight {weight}, ttl {ttl}, {key}  # file",
                domain.domain, domain.server, domain.host_name,
            ),
        )?;
    }
    Ok(())
}

/// What can be set.
#[derive(Debug, Subcommand)]
pub enum SetCommand {
    /// Set the port that the host listens on, from its next start [/sprt].
    Sprt {
        /// The port, 1688 unless it is set.
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
    },
    /// Set how often machines that are not activated ask, at least as long as the vendor's policy [/sai].
    Sai {
        /// From 15 (a quarter of an hour) to 43200 (30 days).
        #[arg(value_parser = clap::value_parser!(u32).range(Patience::MINUTES))]
        minutes: u32,
    },
    /// Set how often activated machines renew, at least as long as the vendor's policy [/sri].
    Sri {
        /// From 15 (a quarter of an hour) to 43200 (30 days).
        #[arg(value_parser = clap::value_parser!(u32).range(Patience::MINUTES))]
        minutes: u32,
    },
    /// Publish the host in DNS where the configuration file says; so it is unless `cdns` was typed [/sdns].
    Sdns,
    /// Do not publish the host in DNS; `serve --publish` still does [/cdns].
    Cdns,
    /// Set the priority of the host's SRV records: hosts with the lowest are asked first [/spri].
    Spri {
        /// The priority.
        priority: u16,
    },
    /// Forget the priority that was set: it is 0 again [/cpri].
    Cpri,
}

impl SetCommand {
    /// Does it.
    pub fn run(self, directory: &Path, config: &Config, out: &mut impl Write) -> Result<()> {
        let mut store = Store::open_or_create(directory)?;
        let priority_in_file = config.dns.iter().any(|domain| domain.priority.is_some());
        // With the key of the file, and whether that has it.
        let (name, value, done, (key, in_file)) = match self {
            Self::Sprt { port } => {
                let done =
                    format!("The host listens on port {port} from the next start of `quorate-host serve`.");
                (settings::SET_PORT, port.to_string(), done, ("listen.address", config.listen.is_some()))
            }
            Self::Sai { minutes } => {
                let done = format!(
                    "Machines that are not activated ask every {} ({minutes} minutes), {POLICY}.",
                    Interval::minutes(minutes)
                );
                let in_file = config.patience.activation.is_some();
                (settings::SET_ACTIVATION, minutes.to_string(), done, ("intervals.activation", in_file))
            }
            Self::Sri { minutes } => {
                let done = format!(
                    "Activated machines renew every {} ({minutes} minutes), {POLICY}.",
                    Interval::minutes(minutes)
                );
                let in_file = config.patience.renewal.is_some();
                (settings::SET_RENEWAL, minutes.to_string(), done, ("intervals.renewal", in_file))
            }
            Self::Sdns => {
                let done = "DNS publishing is on, where the configuration file or --publish says.";
                (settings::SET_PUBLISHING, String::new(), done.to_owned(), ("", false))
            }
            Self::Cdns => {
                let done = "DNS publishing is off.\nnext: what is in DNS stays; `quorate-host dns withdraw` removes it";
                (settings::SET_PUBLISHING, "off".to_owned(), done.to_owned(), ("", false))
            }
            Self::Spri { priority } => {
                let done = format!("The host's SRV records have priority {priority}.");
                (settings::SET_PRIORITY, priority.to_string(), done, ("dns.priority", priority_in_file))
            }
            Self::Cpri => {
                let done = format!("The host's SRV records have priority {}.", crate::dns::PRIORITY);
                (settings::SET_PRIORITY, String::new(), done, ("dns.priority", priority_in_file))
            }
        };
        store.set(name, &value)?;
        print(out, &done)?;
        match &config.path {
            Some(path) if in_file => print(
                out,
                &format!(
                    "But {} has {key}, which comes first.\nnext: change it there, or take it out",
                    path.display()
                ),
            ),
            _ => Ok(()),
        }
    }
}

const POLICY: &str = "or as rarely as the vendor's policy says where that is longer";
