//! The command line of `quorate`.

use crate::activation::{Activated, Client};
use crate::discovery::Dns;
use crate::host_address::HostAddress;
use crate::{doctor, known_host, registration, renewal, report};
use clap::{Parser, Subcommand};
use quorate_core::identifier::ActivationId;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::{self, print};
use quorate_edge::machine::Machine;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
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
        value_name = "ADDRESS:PORT",
        env = "QUORATE_DNS_SERVER",
        hide_env_values = true,
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
    Status,
    /// Ask a host to activate the products now [/act].
    Activate,
    /// Set the host by hand: a name or an IP address, and a port unless it is 1688 [/sethst:].
    SetHost {
        /// HOST or HOST:PORT.
        host: String,
    },
    /// Go back to finding the host in DNS [/remhst].
    ClearHost,
    /// Restart the initial grace, as often as the policy permits [/rearm].
    Rearm,
    /// Renew in the background: ask a host whenever a product is due, until stopped.
    Run {
        /// Ask for what is due now, and end.
        #[arg(long)]
        once: bool,
    },
    /// Walk the whole way of an activation and say at which step it ends, why, and what to do.
    Doctor,
    /// Show which hosts would be asked, and how they were found [/dhistorykms].
    Discover,
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = Arguments::parse_from(command_line::plain_arguments(arguments, SLASH_FORMS));
    command_line::exit(run(arguments, &Clock::system(), &mut std::io::stdout()))
}

fn run(arguments: Arguments, clock: &Clock, out: &mut impl Write) -> Result<()> {
    let machine = Machine::read(arguments.machine.as_deref())?;
    let dns = Dns { server: arguments.dns_server, domains: arguments.domains };
    let directory = arguments.dir;
    let clients = || -> Result<Vec<Client>> {
        let (clients, mut errors) = Client::all(&directory, &machine, &dns, clock)?;
        if clients.is_empty()
            && let Some(error) = errors.pop()
        {
            return Err(error);
        }
        // One vendor whose files are damaged must not hide the others.
        errors.iter().for_each(|error| eprintln!("{}", error.report()));
        if clients.is_empty() {
            return Err(Error::new(
                Code::NotSetUp,
                format!("no product is registered in {}", directory.display()),
                "`quorate register CATALOG --root FILE`, or name the directory with --dir",
            ));
        }
        Ok(clients.into_iter().map(|client| client.with_host_file(arguments.host_file.clone())).collect())
    };
    match arguments.command {
        Command::Register { catalog, root, product } => {
            let (vendor, product) =
                registration::register(&directory, &root, &catalog, product, &machine, clock.now())?;
            let sku = vendor.sku(product.sku)?;
            print(
                out,
                &format!(
                    "Registered {} of {} (catalog {}).\nVendor root SHA-256: {}\nnext: quorate activate",
                    sku.name,
                    vendor.catalog.vendor_name,
                    vendor.catalog.number,
                    vendor.root.fingerprint()
                ),
            )
        }
        Command::Status => for_each(&clients()?, |client| print(out, &report::status(&client.status()?))),
        Command::Activate => {
            let runtime = runtime()?;
            for_each(&clients()?, |client| {
                let name = client.status()?.sku.name;
                match runtime.block_on(client.activate()) {
                    Ok(activated) => print(
                        out,
                        &format!(
                            "{name}: activated by {} ({}), count {} of {}.",
                            activated.host, activated.found, activated.count, activated.threshold
                        ),
                    ),
                    Err(error) => {
                        print(out, &format!("{name}: not activated."))?;
                        Err(error)
                    }
                }
            })
        }
        Command::SetHost { host } => {
            let host: HostAddress = host.parse()?;
            for client in clients()? {
                client.set_host(Some(host.clone()))?;
            }
            print(out, &format!("The host is set to {host}.\nnext: quorate activate"))
        }
        Command::ClearHost => {
            for client in clients()? {
                client.set_host(None)?;
            }
            print(out, "The host is found in DNS again.")
        }
        Command::Rearm => {
            for client in clients()? {
                let status = client.rearm()?;
                print(
                    out,
                    &format!(
                        "{}: initial grace for {} days.",
                        status.sku.name,
                        status.state.remaining(status.judged_at).as_days()
                    ),
                )?;
            }
            Ok(())
        }
        Command::Doctor => {
            let runtime = runtime()?;
            for_each(&clients()?, |client| {
                let mut failed = None;
                for finding in runtime.block_on(doctor::examine(client)) {
                    match finding.outcome {
                        Ok(found) => print(out, &format!("ok      {:<20}{found}", finding.step))?,
                        Err(error) => {
                            print(out, &format!("FAILED  {:<20}{}", finding.step, error.what))?;
                            failed = Some(error);
                        }
                    }
                }
                failed.map_or(Ok(()), Err)
            })
        }
        Command::Run { once } => {
            command_line::start_log();
            let clients = clients()?;
            runtime()?.block_on(async {
                if once {
                    renewal::once(&clients, &mut tell).await;
                    return Ok(());
                }
                tracing::info!(products = clients.len(), "renewing in the background");
                renewal::run(&clients, tell, quorate_edge::stop::asked()).await;
                Ok(())
            })
        }
        Command::Discover => {
            let runtime = runtime()?;
            for client in clients()? {
                let name = client.status()?.sku.name;
                for (host, found) in runtime.block_on(client.discover())? {
                    print(out, &format!("{name}: {host} ({found})"))?;
                }
            }
            Ok(())
        }
    }
}

/// Does something for every product; one that fails keeps no other from its turn, and each error is shown.
fn for_each(clients: &[Client], mut job: impl FnMut(&Client) -> Result<()>) -> Result<()> {
    let mut failed: Option<Error> = None;
    for client in clients {
        if let Err(error) = job(client)
            && let Some(earlier) = failed.replace(error)
        {
            eprintln!("{}", earlier.report());
        }
    }
    failed.map_or(Ok(()), Err)
}

/// One log line for each attempt.
fn tell(client: &Client, outcome: &Result<Activated>) {
    let product = client.status().map(|status| status.sku.name).unwrap_or_default();
    match outcome {
        Ok(activated) => {
            tracing::info!(product, host = %activated.host, count = activated.count, "activated")
        }
        Err(error) => tracing::warn!(product, %error, next = error.next, "not activated"),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Error::new(Code::Internal, format!("no network can be used ({error})"), "check the system's limits")
    })
}

const SLASH_FORMS: &[(&str, &str)] = &[
    ("dstatus", "status"),
    ("dstatusall", "status"),
    ("act", "activate"),
    ("sethst", "set-host"),
    ("remhst", "clear-host"),
    ("dhistorykms", "discover"),
    ("rearm", "rearm"),
];
