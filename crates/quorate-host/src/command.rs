//! The command line of `quorate-host`.

use crate::dns::{Publication, TsigKey};
use crate::keys::{self, HostKey};
use crate::report;
use crate::server::{self, Options};
use crate::store::Store;
use clap::{Parser, Subcommand};
use quorate_core::Result;
use quorate_edge::clock::Clock;
use quorate_edge::command_line::{self, print};
use quorate_edge::files;
use quorate_edge::machine::Machine;
use quorate_edge::server::Limits;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
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
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install a host key with its license pack [/ipk].
    Ipk {
        /// The product key, 5×5 characters, in one piece or in groups.
        #[arg(required = true, num_args = 1..)]
        key: Vec<String>,
        /// The license pack that belongs to the key.
        #[arg(long, value_name = "FILE")]
        pack: PathBuf,
    },
    /// Remove a host key [/upk].
    Upk {
        /// Its activation id, when several are installed.
        id: Option<String>,
    },
    /// Activate the host online [/ato].
    Ato {
        /// The activation id of the key, when several are installed.
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
        /// The activation id of the key, when several are installed.
        id: Option<String>,
    },
    /// Activate the host by a Confirmation ID from the phone desk [/atp].
    Atp {
        /// The 48 digits that the phone desk reads out, in one piece or in groups; then, when several keys
        /// are installed, the activation id.
        #[arg(value_name = "CONFIRMATION_ID", required = true, num_args = 1..)]
        confirmation_id: Vec<String>,
    },
    /// Show the full status of a key, or of all [/dlv].
    Dlv {
        /// An activation id, or "all".
        id: Option<String>,
    },
    /// Run the activation host.
    Serve(Serve),
}

#[derive(clap::Args)]
struct Serve {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::from(([0u16; 8], quorate_proto::DEFAULT_PORT)))]
    listen: SocketAddr,
    /// Publish the host in this domain by dynamic DNS update; may be repeated.
    #[arg(long, value_name = "DOMAIN", requires_all = ["dns_server", "host_name"])]
    publish: Vec<String>,
    /// The primary name server of these domains.
    #[arg(long, value_name = "ADDRESS:PORT")]
    dns_server: Option<SocketAddr>,
    /// The name under which clients reach this host.
    #[arg(long, value_name = "NAME")]
    host_name: Option<String>,
    /// A file with the TSIG key for the updates: hmac-sha256:NAME:BASE64.
    #[arg(long, value_name = "FILE")]
    tsig_key: Option<PathBuf>,
    /// Close a connection that has not finished its TLS handshake after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    handshake_limit: u64,
    /// Close a connection without a request after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    idle_limit: u64,
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = Arguments::parse_from(command_line::plain_arguments(arguments, SLASH_FORMS));
    command_line::exit(run(arguments, &Clock::system(), &mut std::io::stdout()))
}

fn run(arguments: Arguments, clock: &Clock, out: &mut impl Write) -> Result<()> {
    let now = clock.now();
    let directory = arguments.dir;
    let open = || Store::open(&directory);
    match arguments.command {
        Command::Ipk { key, pack } => {
            let pack = files::read_text(&pack)?;
            let hardware = Machine::read(None)?.components().id();
            let key = keys::install(&mut open()?, &key.concat(), &pack, hardware, now)?;
            print(
                out,
                &format!(
                    "Installed product key …{} for {}.\nVendor root SHA-256: {}\n\
                     next: quorate-host ato, or by telephone: quorate-host dti",
                    key.installed.partial,
                    key.sku.name,
                    key.root.fingerprint()
                ),
            )
        }
        Command::Upk { id } => {
            let mut store = open()?;
            let key = select(&store, id.as_deref(), clock)?;
            store.remove_key(key.installed.id)?;
            print(out, &format!("Removed product key …{} of {}.", key.installed.partial, key.sku.name))
        }
        Command::Ato { id, proxy, service } => {
            let mut store = open()?;
            let key = select(&store, id.as_deref(), clock)?;
            let activation =
                keys::activate_online(&mut store, key, service.as_deref(), proxy.as_deref(), clock);
            let key = quorate_edge::server::runtime()?.block_on(activation)?;
            print(out, &activated(&key))
        }
        Command::Dti { id } => {
            let key = select(&open()?, id.as_deref(), clock)?;
            print(
                out,
                &format!(
                    "Installation ID for {}:\n{}\nnext: read it to the vendor's phone desk, \
                     then: quorate-host atp CONFIRMATION_ID",
                    key.sku.name, key.installed.installation_id
                ),
            )
        }
        Command::Atp { mut confirmation_id } => {
            let mut store = open()?;
            // Digits alone are the Confirmation ID; a GUID at the end names the key.
            let id = confirmation_id.pop_if(|last| last.contains(|c: char| c.is_ascii_alphabetic()));
            let key = select(&store, id.as_deref(), clock)?;
            let key = keys::confirm(&mut store, key, &confirmation_id.concat(), now)?;
            print(out, &activated(&key))
        }
        Command::Dlv { id } => {
            let store = open()?;
            let keys = match id.as_deref() {
                Some("all") => HostKey::at_least_one(&store, now)?,
                id => vec![select(&store, id, clock)?],
            };
            for (index, key) in keys.iter().enumerate() {
                let separator = if index == 0 { "" } else { "\n" };
                let text = report::dlv(&store, key, now)?;
                print(out, &format!("{separator}{}", text.trim_end()))?;
            }
            Ok(())
        }
        Command::Serve(serve) => {
            command_line::start_log();
            let listen = serve.listen;
            let options = options(directory, serve)?;
            quorate_edge::server::runtime()?.block_on(async {
                let listener = quorate_edge::server::listen(listen).await?;
                server::serve(options, listener, clock.clone(), quorate_edge::stop::asked()).await
            })
        }
    }
}

fn options(directory: PathBuf, serve: Serve) -> Result<Options> {
    let key = match &serve.tsig_key {
        Some(path) => Some(TsigKey::read(&files::read_text(path)?)?),
        None => None,
    };
    let mut publications = Vec::new();
    // clap has made sure that both are there when a domain is.
    if let (Some(server), Some(target)) = (serve.dns_server, serve.host_name) {
        for domain in serve.publish {
            let (key, target) = (key.clone(), target.clone());
            publications.push(Publication { server, domain, key, target, port: serve.listen.port() });
        }
    }
    let limits = Limits {
        handshake: Duration::from_secs(serve.handshake_limit),
        idle: Duration::from_secs(serve.idle_limit),
        ..Limits::default()
    };
    Ok(Options { directory, limits, publications })
}

fn select(store: &Store, id: Option<&str>, clock: &Clock) -> Result<HostKey> {
    let id = id.map(keys::activation_id).transpose()?;
    HostKey::select(store, id, clock.now())
}

fn activated(key: &HostKey) -> String {
    format!("Activated {} (…{}).\nnext: quorate-host serve", key.sku.name, key.installed.partial)
}

const SLASH_FORMS: &[(&str, &str)] =
    &[("ipk", "ipk"), ("upk", "upk"), ("ato", "ato"), ("dti", "dti"), ("atp", "atp"), ("dlv", "dlv")];
