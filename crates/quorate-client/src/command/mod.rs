//! The command line of `quorate`: its arguments, and what each command does. What a command finds is in
//! `found`, how it is shown in `printer`; the commands for product keys are in `keys`.

mod found;
mod keys;
mod printer;

use crate::activation::{Activated, Client, ServiceWay};
use crate::discovery::Dns;
use crate::host_address::HostAddress;
use crate::report::{Concern, Report};
use crate::{doctor, known_host, registration, renewal, watch};
use clap::{Args, Parser, Subcommand};
use found::{Activation, Diagnosis, Discovered, HostCleared, HostSet, Rearmed, Registered};
use printer::{Outcome, Printer};
use quorate_core::identifier::{ActivationId, quoted};
use quorate_core::license_state::Situation;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::help_files::{self, HelpFiles, Manual};
use quorate_edge::command_line::{self, slash_forms};
use quorate_edge::machine::Machine;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Activation of this machine's products.
#[derive(Parser)]
#[command(name = "quorate", version)]
struct Arguments {
    /// The directory of registered products and their license stores.
    #[arg(
        long,
        value_name = "DIR",
        env = "QUORATE_DIR",
        hide_env_values = true,
        default_value = "/var/lib/quorate",
        global = true
    )]
    dir: PathBuf,
    /// Play the machine that this file describes, for tests and demonstrations.
    #[arg(long, value_name = "FILE", env = "QUORATE_MACHINE", hide_env_values = true, global = true)]
    machine: Option<PathBuf>,
    /// Ask this name server instead of the system's.
    #[arg(
        long,
        value_name = "ADDRESS[:PORT]",
        env = "QUORATE_DNS_SERVER",
        hide_env_values = true,
        value_parser = command_line::name_server,
        global = true
    )]
    dns_server: Option<SocketAddr>,
    /// Look for hosts in this domain instead of the system's suffix and search list; may be repeated.
    #[arg(
        long = "domain",
        value_name = "DOMAIN",
        env = "QUORATE_DOMAIN",
        value_delimiter = ',',
        hide_env_values = true,
        global = true
    )]
    domains: Vec<String>,
    /// The file that names this machine's host when neither a command nor QUORATE_HOST does.
    #[arg(
        long,
        value_name = "FILE",
        env = "QUORATE_HOST_FILE",
        hide_env_values = true,
        default_value = known_host::FILE,
        global = true
    )]
    host_file: PathBuf,
    /// Print one JSON document instead of text, and errors as JSON too.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Register a vendor's catalog and an installed product; installers do this.
    Register {
        /// The signed catalog, catalog.jws.
        catalog: PathBuf,
        /// The vendor's root certificate, vendor-root.pem.
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        /// The activation id of the installed edition, when the catalog has several.
        #[arg(long, value_name = "ACTIVATION_ID")]
        product: Option<ActivationId>,
    },
    /// Show the license of each product [/dstatus].
    Status {
        /// Show every edition that is installed side by side, not only those in use [/dstatusall].
        #[arg(long)]
        all: bool,
        /// End with 3 when a product is in a grace and with 4 when one is in notification or unlicensed.
        #[arg(long)]
        exit_code: bool,
    },
    /// Watch the license of each product in this terminal, until q is typed.
    Watch,
    /// Ask a host, or the vendor's service, to activate the products now [/act].
    Activate {
        #[command(flatten)]
        service: ServiceArguments,
    },
    /// Set the host by hand: a name or an IP address, and a port unless it is 1688 [/sethst:].
    SetHost {
        /// HOST or HOST:PORT.
        host: String,
    },
    /// Set the port of the host that was set by hand [/setprt:].
    SetPort {
        /// The port, 1 to 65535.
        port: String,
    },
    /// Go back to finding the host in DNS [/remhst].
    ClearHost,
    /// Restart the initial grace, as often as the policy permits [/rearm].
    Rearm,
    #[command(flatten)]
    Keys(keys::Command),
    /// Renew in the background: ask whenever a product is due, until stopped.
    Run {
        #[command(flatten)]
        service: ServiceArguments,
        /// Ask for what is due now, and end.
        #[arg(long)]
        once: bool,
    },
    /// Walk the whole way of an activation and say at which step it ends, why, and what to do.
    ///
    /// A host is asked for real: it counts the machine, and the product is activated if that is enough. A MAK or a retail
    /// key is not used.
    Doctor {
        #[command(flatten)]
        service: ServiceArguments,
    },
    /// Show which hosts would be asked, and how they were found [/dhistorykms].
    Discover,
    #[command(flatten)]
    HelpFiles(HelpFiles),
}

/// The way to the vendor's service, for editions with a product key of their own.
#[derive(Args, Default)]
struct ServiceArguments {
    /// The proxy to the vendor's service, as a URL, instead of the one that HTTPS_PROXY names.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// The URL of the vendor's service, instead of the catalog's.
    #[arg(long, value_name = "URL")]
    service: Option<String>,
}

impl ServiceArguments {
    fn way(self) -> Result<ServiceWay> {
        // Read here, since clap would repeat what it can't read, and that may hold a password.
        let proxy = self.proxy.as_deref().map(str::parse).transpose()?;
        Ok(ServiceWay { url: self.service, proxy })
    }
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Arguments = match command_line::parse(arguments, slash_forms::QUORATE) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let json = arguments.json;
    if let Some(command) = arguments.command.without_json().filter(|_| json) {
        return command_line::wrong_usage::<Arguments>(&format!(
            "`{command}` has no result to print as JSON"
        ));
    }
    match run(arguments, &Clock::system(), &mut command_line::standard_output()) {
        Ok(status) => status,
        Err(error) => {
            printer::tell(&error, json);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, clock: &Clock, out: &mut impl Write) -> Result<ExitCode> {
    let Arguments { dir: directory, machine, dns_server, domains, host_file, json, command } = arguments;
    // This needs nothing of the machine.
    if let Command::HelpFiles(files) = command {
        return files.write::<Arguments>(&MANUAL, out).map(|()| ExitCode::SUCCESS);
    }
    let machine = Machine::read(machine.as_deref())?;
    let dns = Dns { server: dns_server, domains };
    let mut printer = Printer::new(out, json);
    if let Command::Register { catalog, root, product } = command {
        let now = clock.now();
        let (vendor, product) = registration::register(&directory, &root, &catalog, product, &machine, now)?;
        printer.print(&Registered::new(&vendor, vendor.sku(product.sku)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let clients = clients(&directory, &machine, &dns, clock, &printer)?;
    let with_host_file = |client: Client| client.with_host_file(host_file.clone());
    let clients: Vec<Client> = clients.into_iter().map(with_host_file).collect();
    match command {
        Command::Status { all, exit_code } => {
            let mut worst = 0;
            let editions = clients.iter().flat_map(|client| match all.then(|| client.all_statuses()) {
                None => vec![(client, client.status())],
                Some(Ok(editions)) => editions.into_iter().map(|status| (client, Ok(status))).collect(),
                Some(Err(error)) => vec![(client, Err(error))],
            });
            printer.each_of(editions, |_, status| {
                let report = Report::new(status);
                if report.in_use {
                    worst = worst.max(exit_code_of(&report));
                }
                Ok(report)
            })?;
            return Ok(ExitCode::from(if exit_code { worst } else { 0 }));
        }
        Command::Watch => watch::run(&clients)?,
        Command::Activate { service } => {
            let (runtime, clients) = (runtime()?, by_way(clients, service)?);
            printer.each(&clients, |client, _| runtime.block_on(client.activate()).map(Activation::from))?;
        }
        Command::SetHost { host } => {
            let host: HostAddress = host.parse()?;
            for client in &clients {
                client.set_host(Some(host.clone()))?;
            }
            printer.print(&HostSet { host: host.to_string() })?;
        }
        Command::SetPort { port } => {
            let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Error::new(
                    Code::AddressInvalid,
                    format!("{} is not a port", quoted(&port)),
                    "give a number from 1 to 65535; hosts listen on 1688 unless they are told otherwise",
                )
            })?;
            let mut host = None;
            for client in &clients {
                host = Some(client.set_port(port)?);
            }
            if let Some(host) = host {
                printer.print(&HostSet { host: host.to_string() })?;
            }
        }
        Command::Keys(command) => command.run(&clients, clock, &mut printer)?,
        Command::ClearHost => {
            let mut known = Ok(None);
            for client in &clients {
                client.set_host(None)?;
                known = client.status()?.host;
            }
            printer.print(&HostCleared::new(known, host_file.display().to_string()))?;
        }
        Command::Rearm => printer.each(&clients, |client, _| client.rearm().map(Rearmed::from))?,
        Command::Run { service, once } => run_in_background(&by_way(clients, service)?, once)?,
        Command::Doctor { service } => {
            let (runtime, clients) = (runtime()?, by_way(clients, service)?);
            printer.each(&clients, |client, _| {
                let (diagnosis, failed) = Diagnosis::new(runtime.block_on(doctor::examine(client)));
                Outcome::partial(diagnosis, failed)
            })?;
        }
        Command::Discover => {
            let runtime = runtime()?;
            printer.each(&clients, |client, _| runtime.block_on(client.discover()).map(Discovered::from))?;
        }
        // Done above, before any product was opened.
        Command::Register { .. } | Command::HelpFiles(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What the manual pages say besides.
const MANUAL: Manual = Manual {
    statuses: &[
        ("quorate-status", 3, "With --exit-code: a product is in a grace, and none is worse."),
        ("quorate-status", 4, "With --exit-code: a product is in notification or unlicensed."),
    ],
    environment: &[
        ("QUORATE_HOST", "The activation host of this machine, before that of the host file and of DNS."),
        ("HTTPS_PROXY", help_files::PROXY),
    ],
};

fn by_way(clients: Vec<Client>, service: ServiceArguments) -> Result<Vec<Client>> {
    let way = service.way()?;
    Ok(clients.into_iter().map(|client| client.with_service(way.clone())).collect())
}

/// Every registered product that can be opened; there is one at least.
fn clients<W: Write>(
    directory: &Path,
    machine: &Machine,
    dns: &Dns,
    clock: &Clock,
    printer: &Printer<W>,
) -> Result<Vec<Client>> {
    let (clients, mut errors) = Client::all(directory, machine, dns, clock)?;
    if clients.is_empty() {
        return Err(errors.pop().unwrap_or_else(|| {
            Error::new(
                Code::NotSetUp,
                format!("no product is registered in {}", directory.display()),
                "`quorate register CATALOG --root FILE`, or name the directory with --dir",
            )
        }));
    }
    // One vendor whose files are damaged must not hide the others.
    errors.iter().for_each(|error| printer.tell(error));
    Ok(clients)
}

fn run_in_background(clients: &[Client], once: bool) -> Result<()> {
    command_line::start_log();
    runtime()?.block_on(async {
        if once {
            let mut asked = false;
            let mut tell = |client: &Client, outcome: &Result<Activated>| {
                asked = true;
                tell(client, outcome);
            };
            let next = renewal::once(clients, &mut tell).await;
            match next {
                _ if asked => {}
                Some(next) => tracing::info!("nothing is due; the next request is at {next:.0}"),
                None => tracing::info!("nothing is due, and nothing needs to be renewed"),
            }
            return;
        }
        tracing::info!(products = clients.len(), "renewing in the background");
        renewal::run(clients, tell, quorate_edge::stop::asked()).await;
    });
    Ok(())
}

/// One log line for each attempt.
fn tell(client: &Client, outcome: &Result<Activated>) {
    let product = client.status().map(|status| status.sku.name).unwrap_or_default();
    match outcome {
        Ok(activated) => match activated.by_host() {
            Some(by) => tracing::info!(product, host = %by.host, count = by.count, "activated"),
            None => tracing::info!(product, "activated by its vendor"),
        },
        Err(error) => tracing::warn!(product, %error, next = error.next, "not activated"),
    }
}

/// What `status --exit-code` ends with for one product; `docs/errors.md` has the table.
fn exit_code_of(report: &Report) -> u8 {
    match (report.situation, report.concern()) {
        (Situation::Notification | Situation::Unlicensed, _) => 4,
        (_, Concern::None) => 0,
        (_, Concern::Soon | Concern::Now) => 3,
    }
}

impl Command {
    /// The command's name, when it goes on for long or prints what is no result.
    fn without_json(&self) -> Option<&'static str> {
        match self {
            Command::Run { .. } => Some("run"),
            Command::Watch => Some("watch"),
            Command::HelpFiles(files) => Some(files.name()),
            _ => None,
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Error::new(Code::Internal, format!("no network can be used ({error})"), "check the system's limits")
    })
}
