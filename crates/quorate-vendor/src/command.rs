//! The command line of `quorate-vendor`.

use crate::api;
use crate::authority::{self, Directories};
use crate::service::{self, Service, Vendor};
use clap::{Parser, Subcommand};
use quorate_core::Result;
use quorate_core::identifier::VendorId;
use quorate_core::installation_id::InstallationId;
use quorate_core::product_key::KeyId;
use quorate_edge::clock::Clock;
use quorate_edge::command_line::help_files::HelpFiles;
use quorate_edge::command_line::slash_forms::QUORATE_VENDOR;
use quorate_edge::command_line::{self, print};
use quorate_edge::files::{self, Access};
use quorate_edge::server::{self, Limits};
use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The vendor's activation service: products, product keys, host activation, license packs, phone desk.
#[derive(Parser)]
#[command(name = "quorate-vendor", version)]
struct Arguments {
    /// The vendor's directory.
    #[arg(
        long,
        value_name = "DIR",
        env = "QUORATE_VENDOR_DIR",
        hide_env_values = true,
        default_value = "/var/lib/quorate-vendor",
        global = true
    )]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set a vendor up: root, activation CA and database.
    Init {
        /// The vendor's short name, as it stands in certificates: a-z, 0-9 and "-".
        #[arg(long, value_name = "NAME")]
        vendor: VendorId,
        /// The vendor's name as people know it.
        #[arg(long)]
        name: String,
        /// Where hosts will reach this service.
        #[arg(long, value_name = "URL")]
        url: String,
        /// Where the root's key goes; move it offline afterwards.
        #[arg(long, value_name = "DIR")]
        root_dir: PathBuf,
    },
    /// Products, SKUs, key groups and policies.
    Product {
        #[command(subcommand)]
        command: ProductCommand,
    },
    /// Product keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Write what the product ships with: the vendor root and the signed catalog.
    Catalog {
        /// The directory to write vendor-root.pem and catalog.jws to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make a license pack for a host key, a MAK or a retail key: for activation by telephone.
    Pack {
        /// The key's id, as `key list` shows it.
        #[arg(value_name = "KEY_ID")]
        key: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How many activations by telephone the pack is good for.
        #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
        slots: u32,
    },
    /// The phone desk: the Confirmation ID for an Installation ID.
    Confirm {
        /// The 54 digits that the host shows.
        #[arg(value_name = "INSTALLATION_ID", required = true, num_args = 1..)]
        installation_id: Vec<String>,
    },
    /// Run the activation service.
    Serve {
        /// The address to listen on.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
        listen: SocketAddr,
        /// A certificate chain from elsewhere, in PEM, instead of one by the activation CA.
        #[arg(long, value_name = "FILE", requires = "tls_key")]
        tls_certificate: Option<PathBuf>,
        /// The private key that belongs to it, in PEM.
        #[arg(long, value_name = "FILE", requires = "tls_certificate")]
        tls_key: Option<PathBuf>,
    },
    #[command(flatten)]
    HelpFiles(HelpFiles),
}

#[derive(Subcommand)]
enum ProductCommand {
    /// Check a product file and sign it as the next catalog.
    Import {
        /// The product file, TOML.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Issue product keys. They are shown this once: only what verifies them is kept.
    Issue {
        /// The key group's number.
        #[arg(long, value_name = "NUMBER")]
        group: u16,
        /// For whom.
        #[arg(long, value_name = "NAME", default_value = "")]
        customer: String,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
    },
    /// List the keys by id and last five characters.
    List,
    /// Take a key back.
    Block {
        /// The key's id, as `key list` shows it.
        #[arg(value_name = "KEY_ID")]
        key: String,
    },
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command_line::parse(arguments, QUORATE_VENDOR) {
        Ok(arguments) => {
            command_line::exit(run(arguments, &Clock::system(), &mut command_line::standard_output()))
        }
        Err(status) => status,
    }
}

fn run(arguments: Arguments, clock: &Clock, out: &mut impl Write) -> Result<()> {
    let dir = arguments.dir;
    let open = || Service::open(&dir, clock.clone());
    match arguments.command {
        Command::Init { vendor, name, url, root_dir } => {
            let directories = Directories { service: dir.clone(), root: root_dir.clone() };
            Service::create(&directories, &Vendor { id: vendor.clone(), name: name.clone(), url }, clock)?;
            let root = open()?.authority().root().fingerprint();
            print(
                out,
                &format!(
                    "Vendor {vendor} ({name}) is set up in {}.\n\
                     Root SHA-256: {root}\n\
                     The root's key is in {}. Move that directory to where no network reaches it.\n\
                     next: quorate-vendor product import FILE",
                    dir.display(),
                    root_dir.display()
                ),
            )
        }
        Command::Product { command: ProductCommand::Import { file } } => {
            let products = service::read_products(&file)?;
            let catalog = open()?.import(products)?;
            let products = &catalog.products;
            print(
                out,
                &format!(
                    "Catalog {}: {} applications, {} SKUs, {} key groups.\n\
                     next: quorate-vendor key issue --group NUMBER",
                    catalog.number,
                    products.applications.len(),
                    products.skus.len(),
                    products.key_groups.len()
                ),
            )
        }
        Command::Key { command: KeyCommand::Issue { group, customer, count } } => {
            for key in open()?.issue_keys(group, count, &customer)? {
                print(out, &format!("{}  {}", key.id(), key.reveal()))?;
            }
            Ok(())
        }
        Command::Key { command: KeyCommand::List } => {
            for key in open()?.keys()? {
                let blocked = if key.blocked { "  blocked" } else { "" };
                let customer = if key.customer.is_empty() { "-" } else { &key.customer };
                print(out, &format!("{}  …{}  {:.0}  {customer}{blocked}", key.id, key.partial, key.issued))?;
            }
            Ok(())
        }
        Command::Key { command: KeyCommand::Block { key } } => {
            // Read here, since clap would repeat what it can't read, and that may be a product key.
            let key: KeyId = key.parse()?;
            open()?.block_key(key)?;
            print(
                out,
                &format!(
                    "Product key {key} is blocked and activates nothing more; what it activated learns it at its next request."
                ),
            )
        }
        Command::Catalog { out: directory } => write_catalog(&open()?, &directory, out),
        Command::Pack { key, out: file, slots } => {
            let key: KeyId = key.parse()?;
            let pack = open()?.pack(key, slots)?;
            files::write(&file, pack.as_bytes(), Access::Private)?;
            print(out, &format!("{} is good for {slots} activations of {key} by telephone.", file.display()))
        }
        Command::Confirm { installation_id } => {
            let installation_id: InstallationId = installation_id.concat().parse()?;
            let confirmation_id = open()?.confirm(&installation_id)?.to_string();
            for (letter, group) in ('A'..).zip(confirmation_id.split('-')) {
                print(out, &format!("{letter}  {group}"))?;
            }
            print(out, &format!("Confirmation ID: {confirmation_id}"))
        }
        Command::HelpFiles(files) => files.write::<Arguments>(out),
        Command::Serve { listen, tls_certificate, tls_key } => {
            command_line::start_log();
            let service = open()?;
            // A service without products could answer nothing; say so at the start.
            service.catalog()?;
            let tls = match tls_certificate.zip(tls_key) {
                Some((certificate, key)) => authority::tls_from_files(&certificate, &key)?,
                None => service.authority().service_tls(&service.service_name()?, clock.now())?,
            };
            server::runtime()?.block_on(async {
                let listener = server::listen(listen).await?;
                let address = listener.local_addr().unwrap_or(listen);
                tracing::info!(%address, "the activation service is listening");
                serve(service, tls, listener, quorate_edge::stop::asked()).await;
                Ok(())
            })
        }
    }
}

/// Answers on `listener` until `stop` completes.
pub async fn serve(
    service: Service,
    tls: rustls::ServerConfig,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    let traffic = Arc::default();
    server::serve(listener, Some(Arc::new(tls)), api::router(service), Limits::default, traffic, stop).await;
}

/// Writes the vendor root and the signed catalog: what the vendor's product ships with.
pub fn write_catalog(service: &Service, directory: &Path, out: &mut impl Write) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|error| files::writing(directory, &error))?;
    let (root, catalog) = (directory.join("vendor-root.pem"), directory.join("catalog.jws"));
    files::write(&root, service.authority().root_pem().as_bytes(), Access::Public)?;
    files::write(&catalog, service.catalog_jws()?.as_bytes(), Access::Public)?;
    print(out, &format!("{}\n{}", root.display(), catalog.display()))
}
