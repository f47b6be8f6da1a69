//! The command line of `quorate-host`.

mod confirm;
mod dns;
mod safekeeping;
mod serve;
mod settings;

use crate::book::EventFilter;
use crate::config::Config;
use crate::keys::{self, HostKey, Installed};
use crate::listing::{self, ClientFilter, Form};
use crate::report;
use crate::settings::{Serving, Settings};
use crate::store::Store;
use clap::{Parser, Subcommand};
use dns::DnsCommand;
use quorate_core::identifier::{ActivationId, quoted};
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Interval, Result, Timestamp};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::help_files::{self, HelpFiles, Manual};
use quorate_edge::command_line::slash_forms::QUORATE_HOST;
use quorate_edge::command_line::{self, print};
use quorate_edge::files;
use quorate_edge::machine::Machine;
use safekeeping::Safekeeping;
use serve::{Serve, Sources};
use settings::{ConfigCommand, SetCommand};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The activation host: answers every machine of a network, once enough of them have asked.
#[derive(Parser)]
#[command(name = "quorate-host", version)]
struct Arguments {
    /// The host's directory.
    #[arg(
        long,
        value_name = "DIR",
        env = "QUORATE_HOST_DIR",
        hide_env_values = true,
        default_value = "/var/lib/quorate-host",
        global = true
    )]
    dir: PathBuf,
    /// Play the machine that this file describes, for tests and demonstrations.
    #[arg(long, value_name = "FILE", env = "QUORATE_MACHINE", hide_env_values = true, global = true)]
    machine: Option<PathBuf>,
    /// Keep machines, statistics and events in this PostgreSQL, which several hosts may share, instead of in the host's
    /// directory: a connection string, or "@FILE" for a file that holds one.
    #[arg(long, value_name = "URL", env = "QUORATE_HOST_DATABASE", hide_env_values = true, global = true)]
    database: Option<String>,
    /// The configuration file [default: /etc/quorate/host.toml, when it is there].
    #[arg(long, value_name = "FILE", env = "QUORATE_HOST_CONFIG", hide_env_values = true, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install a host key with its license pack [/ipk].
    Ipk {
        /// The product key, 5×5 characters, in one piece or in groups; "-" reads it from standard input.
        #[arg(required = true, num_args = 1..)]
        key: Vec<String>,
        /// The license pack that belongs to the key.
        #[arg(long, value_name = "FILE")]
        pack: PathBuf,
    },
    /// Remove a host key [/upk].
    Upk {
        /// Its activation id, key id or last five characters, when several are installed.
        id: Option<String>,
    },
    /// Activate the host online [/ato].
    Ato {
        /// The activation id, key id or last five characters of the key, when several are installed.
        id: Option<String>,
        /// The proxy to use instead of the one that HTTPS_PROXY names.
        #[arg(long, value_name = "URL")]
        proxy: Option<String>,
        /// Another activation service than the catalog names.
        #[arg(long, value_name = "URL")]
        service: Option<String>,
    },
    /// Show the Installation ID for activation by telephone [/dti].
    Dti {
        /// The activation id, key id or last five characters of the key, when several are installed.
        id: Option<String>,
        /// Show it as a QR code as well, for a phone that reads it out.
        #[arg(long)]
        qr: bool,
    },
    /// Activate the host by a Confirmation ID from the phone desk [/atp].
    Atp {
        /// The 48 digits that the phone desk reads out, in one piece or in groups, or "-" to read them from
        /// standard input; then, when several keys are installed, the activation id, key id or last five
        /// characters of the key. Without digits, on a terminal, it is asked for group by group.
        #[arg(value_name = "CONFIRMATION_ID", num_args = 0..)]
        confirmation_id: Vec<String>,
    },
    /// Show in short what is installed, and its license status [/dli].
    Dli {
        /// An activation id, key id or the last five characters of a key, or "all".
        id: Option<String>,
    },
    /// Show until when the host's certificate holds [/xpr].
    Xpr {
        /// An activation id, key id or the last five characters of a key, or "all".
        id: Option<String>,
    },
    /// Show the full status of a key, or of all [/dlv].
    Dlv {
        /// An activation id, key id or the last five characters of a key, or "all".
        id: Option<String>,
    },
    /// List the machines that have asked: who is licensed, since when, until when.
    Clients {
        /// Only those whose name holds this text.
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// Only those of this application, by its id.
        #[arg(long, value_name = "APPLICATION_ID")]
        application: Option<String>,
        /// Only those that are licensed.
        #[arg(long, conflicts_with = "unlicensed")]
        licensed: bool,
        /// Only those that are not licensed.
        #[arg(long)]
        unlicensed: bool,
        /// Only those whose license ends within this time, as in 30d.
        #[arg(long, value_name = "INTERVAL")]
        ending_within: Option<Interval>,
        /// Only those that have not asked for this long, as in 7d.
        #[arg(long, value_name = "INTERVAL")]
        silent_for: Option<Interval>,
        /// Print comma-separated values.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List what happened: one event for each request, by the fields of event 12290.
    Events {
        /// None before this time (RFC 3339), or not older than this, as in 24h.
        #[arg(long, value_name = "TIME|INTERVAL")]
        since: Option<String>,
        /// None from this time on (RFC 3339).
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
        /// Of this kind only: 12290 requests, 12293 and 12294 DNS publishing.
        #[arg(long, value_name = "NUMBER")]
        kind: Option<u32>,
        /// Of this machine only, by its name or CMID.
        #[arg(long, value_name = "NAME|CMID")]
        client: Option<String>,
        /// Only those that failed.
        #[arg(long)]
        failed: bool,
        /// The newest so many.
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the activation host.
    #[command(mut_arg("publish", |arg| arg.requires("dns_server").requires("host_name")))]
    Serve(Box<Serve>),
    /// The host's records in DNS: show them, publish the host now, withdraw it.
    #[command(subcommand)]
    Dns(DnsCommand),
    /// The configuration file: check it, show what is in force.
    #[command(subcommand)]
    Config(ConfigCommand),
    #[command(flatten)]
    Set(SetCommand),
    #[command(flatten)]
    Safekeeping(Safekeeping),
    #[command(flatten)]
    HelpFiles(HelpFiles),
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command_line::parse::<Arguments>(arguments, QUORATE_HOST) {
        Ok(arguments) => {
            let json = matches!(
                arguments.command,
                Command::Clients { json: true, .. } | Command::Events { json: true, .. }
            );
            let result = run(arguments, &Clock::system(), &mut command_line::standard_output());
            if json { command_line::exit_as_json(result) } else { command_line::exit(result) }
        }
        Err(status) => status,
    }
}

/// What the manual pages say besides.
const MANUAL: Manual = Manual { statuses: &[], environment: &[("HTTPS_PROXY", help_files::PROXY)] };

fn run(arguments: Arguments, clock: &Clock, out: &mut impl Write) -> Result<()> {
    let now = clock.now();
    let directory = arguments.dir;
    let config = || Config::load(arguments.config.as_deref());
    let open = || Store::open(&directory);
    // A book of one's own is where the host is.
    let book = || {
        open()?;
        serve::location(arguments.database.as_deref(), &config()?)?.open(&directory)
    };
    let hardware = || Machine::read(arguments.machine.as_deref()).map(|machine| machine.components());
    // A key is activated on the machine on which it was installed.
    let select_here = |store: &Store, name: Option<&str>| -> Result<HostKey> {
        let key = HostKey::select(store, name, now)?;
        key.check_hardware(&hardware()?)?;
        Ok(key)
    };
    match arguments.command {
        Command::Ipk { key, pack } => {
            let key = command_line::or_standard_input(key.concat())?;
            let pack = files::read_text(&pack)?;
            let mut store = Store::open_or_create(&directory)?;
            let key = keys::install(&mut store, &key, &pack, &hardware()?, now)?;
            let next = match key.installed.activation {
                Some(_) => "quorate-host dlv",
                None => "quorate-host ato, or by telephone: quorate-host dti",
            };
            print(
                out,
                &format!(
                    "Installed product key …{} for {}.\nVendor root SHA-256: {}\nnext: {next}",
                    key.installed.partial,
                    key.sku.name,
                    key.root.fingerprint()
                ),
            )
        }
        Command::Upk { id } => {
            let mut store = open()?;
            let installed = Installed::select(&store, id.as_deref(), now)?;
            store.remove_key(&installed.vendor, installed.id)?;
            let what = installed.key.map_or_else(|_| installed.id.to_string(), |key| key.sku.name);
            print(out, &format!("Removed product key …{} of {what}.", installed.partial))
        }
        Command::Ato { id, proxy, service } => {
            let mut store = open()?;
            let key = select_here(&store, id.as_deref())?;
            // Read here, since clap would repeat what it can't read, and that may hold a password.
            let proxy = match proxy {
                Some(proxy) => Some(proxy.parse()?),
                None => config()?.proxy()?,
            };
            let tell = |error: &Error, pause: Duration| {
                // Nothing can be done when standard error is closed.
                let _ = writeln!(std::io::stderr(), "{}; trying again in {} s", error.what, pause.as_secs());
            };
            let (service, proxy) = (service.as_deref(), proxy.as_ref());
            let activation = keys::activate_online_patiently(&mut store, key, service, proxy, clock, tell);
            let key = quorate_edge::server::runtime()?.block_on(activation)?;
            print(out, &activated(&key))
        }
        Command::Dti { id, qr } => {
            let mut store = open()?;
            let key = select_here(&store, id.as_deref())?;
            let name = key.sku.name.clone();
            let installation_id = keys::installation_id(&mut store, key, now)?;
            print(
                out,
                &format!(
                    "Installation ID for {name}:\n{installation_id}\n{}{}\
                     next: read it to the vendor's phone desk, then: quorate-host atp CONFIRMATION_ID",
                    report::numbered(&installation_id),
                    if qr { report::qr(&installation_id)? } else { String::new() },
                ),
            )
        }
        Command::Atp { confirmation_id } => {
            let mut store = open()?;
            let (typed, name) = name_behind(confirmation_id);
            let key = select_here(&store, name.as_deref())?;
            let typed = match typed.is_empty() {
                true => confirm::ask(out)?,
                false => command_line::or_standard_input(typed)?,
            };
            let key = keys::confirm(&mut store, key, &typed, now)?;
            print(out, &activated(&key))
        }
        Command::Dli { id } => {
            let (store, hardware) = (open()?, hardware()?);
            show(out, select_shown(&store, id.as_deref(), now)?, |key| Ok(report::dli(key, &hardware, now)))
        }
        Command::Xpr { id } => {
            let store = open()?;
            show(out, select_shown(&store, id.as_deref(), now)?, |key| report::xpr(&store, key, now))
        }
        Command::Dlv { id } => {
            let store = open()?;
            let keys = select_shown(&store, id.as_deref(), now)?;
            let host = report::Host {
                hardware: hardware()?,
                patience: config()?.patience.or(Settings::read(&store)?.patience),
                runs: Serving::is_under_way(&directory),
            };
            show(out, keys, |key| report::dlv(&store, &mut *book()?, key, &host, now))
        }
        Command::Clients {
            name,
            application,
            licensed,
            unlicensed,
            ending_within,
            silent_for,
            csv,
            json,
        } => {
            let licensed = (licensed || unlicensed).then_some(licensed);
            let filter = ClientFilter { name, application, licensed, ending_within, silent_for };
            let mut clients = book()?.clients()?;
            clients.retain(|client| filter.wants(client, now));
            let form = match (csv, json) {
                (true, _) => Form::Csv,
                (_, true) => Form::Json,
                _ => Form::Text,
            };
            listing::clients(out, &clients, form, now)
        }
        Command::Events { since, until, kind, client, failed, limit, json } => {
            let since = since.map(|since| since_when(&since, now)).transpose()?;
            let filter = EventFilter { since, until, kind, machine: client, failed, limit };
            listing::events(out, &book()?.events(&filter)?, json)
        }
        Command::Serve(serve) => {
            let (config, database) = (arguments.config, arguments.database);
            Sources { directory, config, database, serve: *serve }.run(hardware()?, clock.clone())
        }
        Command::Dns(command) => command.run(&mut open()?, &config()?, &hardware()?, clock, out),
        Command::Config(command) => command.run(arguments.config.as_deref(), &directory, out),
        Command::Set(command) => command.run(&directory, &config()?, out),
        Command::Safekeeping(command) => command.run(&directory, out),
        Command::HelpFiles(files) => files.write::<Arguments>(&MANUAL, out),
    }
}

/// The keys to show: the one that is named, or the only one, or all.
fn select_shown(store: &Store, name: Option<&str>, now: Timestamp) -> Result<Vec<Installed>> {
    match name {
        Some(all) if all.eq_ignore_ascii_case("all") => Installed::at_least_one(store, now),
        name => Ok(vec![Installed::select(store, name, now)?]),
    }
}

/// Shows each key, with a line between. One that cannot be read keeps no other from being shown.
fn show(
    out: &mut impl Write,
    keys: Vec<Installed>,
    mut text: impl FnMut(&HostKey) -> Result<String>,
) -> Result<()> {
    let alone = keys.len() == 1;
    for (index, installed) in keys.into_iter().enumerate() {
        let separator = if index == 0 { "" } else { "\n" };
        let text = match &installed.key {
            Ok(key) => text(key)?,
            Err(error) if alone => return Err(error.clone()),
            Err(error) => report::unreadable(&installed, error),
        };
        print(out, &format!("{separator}{}", text.trim_end()))?;
    }
    Ok(())
}

fn since_when(text: &str, now: Timestamp) -> Result<Timestamp> {
    let ago = text.parse::<Interval>().map(|interval| interval.before(now)).ok();
    ago.or_else(|| text.parse().ok()).ok_or_else(|| {
        Error::new(
            Code::RequestInvalid,
            format!("{} is neither a time nor an interval", quoted(text)),
            "write it as in \"2026-03-01T08:00:00Z\" or \"24h\"",
        )
    })
}

/// Parts a typed Confirmation ID from the name of a key behind it: something with a letter in it, a key id,
/// or whatever follows 48 digits.
fn name_behind(mut typed: Vec<String>) -> (String, Option<String>) {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    // Where two vendors have the same, the vendor stands before it.
    let is_key = |text: &str| text.rsplit('/').next().is_some_and(|key| key.parse::<KeyId>().is_ok());
    let name = match typed.split_last() {
        // What stands alone is the Confirmation ID, however mistyped, unless it has the form of another id.
        Some((last, [])) => last.parse::<ActivationId>().is_ok() || is_key(last),
        Some((last, before)) => {
            last.contains(|c: char| c.is_ascii_alphabetic())
                || is_key(last)
                || digits(&before.concat()) == 48
                || before == ["-"]
        }
        None => false,
    };
    let name = if name { typed.pop() } else { None };
    (typed.concat(), name)
}

fn activated(key: &HostKey) -> String {
    format!("Activated {} (…{}).\nnext: quorate-host serve", key.sku.name, key.installed.partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_named_behind_a_confirmation_id() {
        let parts = |typed: &[&str]| name_behind(typed.iter().map(ToString::to_string).collect());
        let (group, whole) = ("123456", "123456-".repeat(8));
        let whole = whole.trim_end_matches('-');
        let groups = [group; 8];
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(parts(&[whole]), (whole.to_owned(), None));
        assert_eq!(parts(&groups), (groups.concat(), None));
        assert_eq!(parts(&["-"]), ("-".to_owned(), None));
        assert_eq!(parts(&[]), (String::new(), None));
        assert_eq!(parts(&["00096-000-000001"]), (String::new(), name("00096-000-000001")));
        let vendors = "contoso/00096-000-000001";
        assert_eq!(parts(&[vendors]), (String::new(), name(vendors)));
        assert_eq!(parts(&["O23456"]), ("O23456".to_owned(), None));
        assert_eq!(parts(&["-", "23467"]), ("-".to_owned(), name("23467")));
        assert_eq!(parts(&[whole, "23467"]), (whole.to_owned(), name("23467")));
        assert_eq!(parts(&[group, "00096-000-000001"]), (group.to_owned(), name("00096-000-000001")));
        assert_eq!(parts(&[group, "BCDFG"]), (group.to_owned(), name("BCDFG")));
        // The last group lacks a digit: that is a typing error, not a name.
        assert_eq!(
            parts(&[&groups[..7], &["12345"]].concat()),
            (format!("{}12345", groups[..7].concat()), None)
        );
    }
}
