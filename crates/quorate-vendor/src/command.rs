//! The command line of `quorate-vendor`.

mod choices;
mod keys;
mod output;
mod safekeeping;
mod serve;
mod tokens;
mod users;
mod webhooks;

use crate::authority::Directories;
use crate::config::Config;
use crate::phone::for_vendor;
use crate::products;
use crate::revocation::RevokedHost;
use crate::service::{self, Service, Vendor};
use crate::token::TokenPlace;
use crate::view::{
    AuditView, CatalogView, ConfirmedView, DifferenceView, InquiryView, RevokedHostView, UsageView,
};
use clap::{Parser, Subcommand};
use keys::{CustomerCommand, KeyCommand, KeyName};
use output::Output;
use quorate_core::identifier::VendorId;
use quorate_core::installation_id::InstallationId;
use quorate_core::{Error, Result, words};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::help_files::{self, HelpFiles, Manual};
use quorate_edge::command_line::slash_forms::QUORATE_VENDOR;
use quorate_edge::command_line::{self, print};
use quorate_edge::files::{self, Access};
use quorate_edge::sql::Location;
use safekeeping::Safekeeping;
use serve::Serve;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokens::TokenCommand;
use users::UserCommand;
use webhooks::WebhookCommand;

pub use serve::{Beside, serve, serve_with};

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
    /// The vendor's PostgreSQL, in place of the database in its directory: a connection string, or "@FILE" for a file that
    /// holds one.
    #[arg(long, value_name = "URL", env = "QUORATE_VENDOR_DATABASE", hide_env_values = true, global = true)]
    database: Option<String>,
    /// The configuration file [default: /etc/quorate/vendor.toml, when it is there].
    #[arg(long, value_name = "FILE", env = "QUORATE_VENDOR_CONFIG", hide_env_values = true, global = true)]
    config: Option<PathBuf>,
    /// Print the result as one JSON document.
    #[arg(long, global = true)]
    json: bool,
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
        /// Make the activation CA's key in a PKCS #11 token: a TOML file with module, token, label and pin-file.
        #[arg(long, value_name = "FILE")]
        ca_token: Option<PathBuf>,
    },
    /// Products, SKUs, key groups and policies.
    Product {
        #[command(subcommand)]
        command: ProductCommand,
    },
    /// Customers, to whom keys are issued.
    Customer {
        #[command(subcommand)]
        command: CustomerCommand,
    },
    /// Product keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Certificates of hosts that are revoked.
    Certificate {
        #[command(subcommand)]
        command: CertificateCommand,
    },
    /// Tokens of programs that use the interface.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Who signs in to the portal.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Programs that are told of what happens.
    Webhook {
        #[command(subcommand)]
        command: WebhookCommand,
    },
    #[command(flatten)]
    Safekeeping(Safekeeping),
    /// Who did what and when.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Write what the product ships with: the vendor root and the signed catalog.
    Catalog {
        /// The directory to write vendor-root.pem and catalog.jws to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Write the license pack of a host key, a MAK or a retail key, for activation by telephone; made as far as it lacks
    /// slots.
    Pack {
        #[command(flatten)]
        key: KeyName,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How many activations by telephone the pack is good for at least.
        #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
        slots: u32,
    },
    /// The phone desk, before it confirms: whose key it is, how far it is used up, and what a Confirmation ID would cost.
    Inquire {
        /// The 54 digits that the host shows.
        #[arg(value_name = "INSTALLATION_ID", required = true, num_args = 1..)]
        installation_id: Vec<String>,
    },
    /// The phone desk: the Confirmation ID for an Installation ID.
    Confirm {
        /// The 54 digits that the host shows.
        #[arg(value_name = "INSTALLATION_ID", required = true, num_args = 1..)]
        installation_id: Vec<String>,
    },
    /// Run the activation service.
    Serve(Box<Serve>),
    /// The configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
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
    /// What a product file would change, without changing it.
    Diff {
        /// The product file, TOML.
        file: PathBuf,
    },
    /// List every catalog that was signed.
    History,
    /// Print the products of a catalog as a product file.
    Export {
        /// The catalog; the newest, unless told.
        #[arg(long, value_name = "NUMBER")]
        number: Option<u64>,
    },
}

#[derive(Subcommand)]
enum CertificateCommand {
    /// Revoke the certificate of one host, and those that it had of the key before; the key's other hosts go on.
    Revoke {
        /// The certificate's serial number in hexadecimal, as `key show` lists it.
        #[arg(value_name = "SERIAL")]
        certificate: String,
    },
    /// List the revoked certificates.
    List,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Find out whether a configuration file, and the files that it names, can be used.
    Check {
        /// The file [default: the one that `serve` reads].
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// List the entries, the newest last.
    List {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        most: u32,
    },
    /// Follow the chain of hashes from the first entry to the last.
    Verify {
        /// The hash of an entry, as it was kept elsewhere: it must be there still.
        #[arg(long, value_name = "SHA-256")]
        hash: Option<String>,
    },
}

impl Command {
    /// The command's name, when it goes on for long or prints what is no result.
    fn without_json(&self) -> Option<&'static str> {
        match self {
            Command::Serve(_) => Some("serve"),
            Command::HelpFiles(files) => Some(files.name()),
            _ => None,
        }
    }
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command_line::parse::<Arguments>(arguments, QUORATE_VENDOR) {
        Ok(arguments) => {
            let json = arguments.json;
            if let Some(command) = arguments.command.without_json().filter(|_| json) {
                return command_line::wrong_usage::<Arguments>(&format!(
                    "`{command}` has no result to print as JSON"
                ));
            }
            let result = run(arguments, &Clock::system(), &mut command_line::standard_output());
            if json { command_line::exit_as_json(result) } else { command_line::exit(result) }
        }
        Err(status) => status,
    }
}

/// What the manual pages say besides.
const MANUAL: Manual = Manual {
    statuses: &[
        ("quorate-vendor", command_line::NOT_AGAIN, PIN_REFUSED),
        ("quorate-vendor-init", command_line::NOT_AGAIN, PIN_REFUSED),
        ("quorate-vendor-pack", command_line::NOT_AGAIN, PIN_REFUSED),
        ("quorate-vendor-serve", command_line::NOT_AGAIN, PIN_REFUSED),
    ],
    environment: &[("HTTPS_PROXY", help_files::PROXY)],
};
const PIN_REFUSED: &str =
    "A PKCS #11 token refuses its PIN (Q615), and would lock itself after some more tries.";

fn run(arguments: Arguments, clock: &Clock, out: &mut impl Write) -> Result<()> {
    let (dir, json) = (arguments.dir, arguments.json);
    let mut output = Output { out, json };
    let named = arguments.config.as_deref();
    // These want no vendor, nor a file that can be read.
    match arguments.command {
        Command::Config { command: ConfigCommand::Check { file } } => {
            return check(&Config::load(file.as_deref().or(named))?, &mut output);
        }
        Command::HelpFiles(files) => return files.write::<Arguments>(&MANUAL, output.out),
        _ => {}
    }
    let config = Config::load(named)?;
    let database = match (&arguments.database, &config.database) {
        (Some(given), _) => Location::given(given)?,
        (None, Some(url)) => Location::given(&url.read()?)?,
        (None, None) => service::own_database(&dir),
    };
    let open = || Service::open_in(&dir, &database, clock.clone());
    match arguments.command {
        Command::Init { vendor, name, url, root_dir, ca_token } => {
            let directories = Directories { service: dir.clone(), root: root_dir.clone() };
            let new = Vendor { id: vendor.clone(), name, url };
            let token = ca_token.as_deref().map(TokenPlace::read).transpose()?;
            Service::create_in(&directories, &database, token.as_ref(), &new, clock)?;
            let service = open()?;
            let (name, root) = (service.vendor_name(), service.authority().root().fingerprint());
            let document =
                serde_json::json!({ "vendor": vendor, "name": name, "root-sha256": root.to_string() });
            output.say(&document, || {
                format!(
                    "Vendor {vendor} ({name}) is set up in {}.\n\
                     Root SHA-256: {root}\n\
                     The root's key is in {}. Move that directory to where no network reaches it.\n\
                     next: quorate-vendor product import FILE",
                    dir.display(),
                    root_dir.display()
                )
            })
        }
        Command::Product { command } => product(command, &open()?, &mut output),
        Command::Customer { command } => command.run(&open()?, &mut output),
        Command::Key { command } => command.run(&open()?, &mut output),
        Command::Certificate { command } => certificate(command, &open()?, &mut output),
        Command::Token { command } => command.run(&open()?, &mut output),
        Command::User { command } => command.run(&open()?, &mut output),
        Command::Webhook { command } => command.run(&open()?, &mut output),
        Command::Safekeeping(what) => what.run(&dir, &database, clock, &mut output),
        Command::Audit { command } => audit(command, &open()?, &mut output),
        Command::Catalog { out: directory } => {
            let files = catalog_files(&open()?, &directory)?.map(|file| file.display().to_string());
            output.say(&serde_json::json!({ "files": files }), || files.join("\n"))
        }
        Command::Pack { key, out: file, slots } => {
            let (key, service) = (key.id()?, open()?);
            let pack = service.pack(key, slots).map_err(for_vendor)?;
            files::write(&file, pack.as_bytes(), Access::Private)?;
            let usage = service.usage(key)?;
            output.say(&UsageView::from(&usage), || {
                format!(
                    "{} is good for {} of {key} by telephone.",
                    file.display(),
                    words::counted(usage.slots_left, "activation")
                )
            })
        }
        Command::Inquire { installation_id } => {
            let installation_id: InstallationId = installation_id.concat().parse()?;
            let inquiry = open()?.inquire(&installation_id)?;
            let usage = output::usage(&inquiry.usage);
            let verdict = match &inquiry.cost {
                Ok(cost) => format!("Would cost:    {}", cost.said(&inquiry.usage)),
                Err(error) => {
                    let Error { code, what, next } = for_vendor(error.clone());
                    format!("Would be refused, {code}: {what}\nnext: {next}")
                }
            };
            output.say(&InquiryView::from(inquiry), || format!("{usage}\n{verdict}"))
        }
        Command::Confirm { installation_id } => {
            let installation_id: InstallationId = installation_id.concat().parse()?;
            let confirmed = open()?.confirm(&installation_id).map_err(for_vendor)?;
            let confirmation_id = confirmed.confirmation_id.to_string();
            output.say(&ConfirmedView::from(&confirmed), || {
                let groups = ('A'..).zip(confirmation_id.split('-'));
                let groups = groups.map(|(letter, group)| format!("{letter}  {group}\n"));
                format!(
                    "{}\n{}Confirmation ID: {confirmation_id}",
                    output::usage(&confirmed.usage),
                    groups.collect::<String>()
                )
            })
        }
        // Done already.
        Command::Config { .. } | Command::HelpFiles(_) => Ok(()),
        Command::Serve(serve) => serve.run(open, config, clock),
    }
}

fn check<W: Write>(config: &Config, output: &mut Output<'_, W>) -> Result<()> {
    config.check()?;
    let path = config.path.as_ref().map(|path| path.display().to_string());
    output.say(&serde_json::json!({ "file": path }), || match &path {
        Some(path) => format!("{path} is in order."),
        None => "There is no configuration file; the service runs without.".to_owned(),
    })
}

fn product<W: Write>(command: ProductCommand, service: &Service, output: &mut Output<'_, W>) -> Result<()> {
    match command {
        ProductCommand::Import { file } => {
            let before = service.newest()?.map(|before| before.catalog.number);
            let current = service.import(products::read_products(&file)?)?;
            let (number, products) = (current.catalog.number, &current.catalog.products);
            let (applications, skus, groups) =
                (products.applications.len(), products.skus.len(), products.key_groups.len());
            let document = serde_json::json!({
                "number": number, "applications": applications, "skus": skus, "key-groups": groups
            });
            output.say(&document, || {
                if before == Some(number) {
                    return format!("Nothing differs from catalog {number}, which stays the newest.");
                }
                format!(
                    "Catalog {number}: {applications} applications, {skus} SKUs, {groups} key groups.\n\
                     next: quorate-vendor key issue --group NUMBER"
                )
            })
        }
        ProductCommand::Diff { file } => {
            let differences = service.differences(&products::read_products(&file)?)?;
            let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
            let views: Vec<_> = differences.into_iter().map(DifferenceView::from).collect();
            output.say(&serde_json::json!({ "differences": views }), || match lines.is_empty() {
                true => "Nothing differs from the newest catalog.".to_owned(),
                false => lines.join("\n"),
            })
        }
        ProductCommand::History => {
            let catalogs = service.catalogs()?;
            let lines: Vec<String> =
                catalogs.iter().map(|entry| format!("catalog {}  {:.0}", entry.number, entry.at)).collect();
            let views: Vec<_> = catalogs.into_iter().map(CatalogView::from).collect();
            output.say(&serde_json::json!({ "catalogs": views }), || lines.join("\n"))
        }
        ProductCommand::Export { number } => {
            let file = service.product_file(number)?;
            output.say(&serde_json::json!({ "toml": file }), || file.trim_end().to_owned())
        }
    }
}

fn certificate<W: Write>(
    command: CertificateCommand,
    service: &Service,
    output: &mut Output<'_, W>,
) -> Result<()> {
    match command {
        CertificateCommand::Revoke { certificate } => {
            let host = service.revoke_certificate(&certificate)?;
            output.say(&RevokedHostView::from(&host), || revoked_host(&host))
        }
        CertificateCommand::List => {
            let revoked = service.revoked_certificates()?;
            output.say(&serde_json::json!({ "revoked": revoked }), || {
                Vec::from_iter(revoked.iter().map(String::as_str)).join("\n")
            })
        }
    }
}

fn revoked_host(host: &RevokedHost) -> String {
    let RevokedHost { key, machine, revoked, newer } = host;
    let first = match revoked.as_slice() {
        [] => format!("Nothing is changed: that certificate of machine {machine} was revoked before."),
        [_] => format!("A certificate of machine {machine} with product key {key} is revoked."),
        several => {
            format!("{} certificates of machine {machine} with product key {key} are revoked.", several.len())
        }
    };
    let then = match newer {
        Some(newer) => format!(
            "The host has a newer one, {newer}, and goes on with that.\n\
             next: quorate-vendor certificate revoke {newer}, if that is to end as well"
        ),
        None => {
            "The host answers nobody once it has the next revocation list, and no client that has seen that list \
                 believes it."
                .to_owned()
        }
    };
    format!("{first}\n{then}")
}

fn audit<W: Write>(command: AuditCommand, service: &Service, output: &mut Output<'_, W>) -> Result<()> {
    match command {
        AuditCommand::List { most } => {
            let mut entries = service.audit(None, most)?;
            entries.reverse();
            let lines: Vec<String> = entries
                .iter()
                .map(|entry| {
                    let (number, action, subject) = (entry.number, &entry.action, &entry.subject);
                    format!(
                        "{number:>6}  {:.0}  {}  {action}  {subject}  {}",
                        entry.at, entry.who, entry.detail
                    )
                })
                .collect();
            let views: Vec<_> = entries.into_iter().map(AuditView::from).collect();
            output.say(&serde_json::json!({ "entries": views }), || lines.join("\n"))
        }
        AuditCommand::Verify { hash } => {
            let last = service.verify_audit(hash.as_deref())?;
            let (entries, hash) = last.map_or((0, String::new()), |last| (last.number, last.hash));
            output.say(&serde_json::json!({ "entries": entries, "hash": hash }), || {
                format!(
                    "{}, none changed and none missing.\n\
                     Hash of the last: {hash}\n\
                     Keep it elsewhere, and give it next time: quorate-vendor audit verify --hash {hash}",
                    words::counted(entries, "entry")
                )
            })
        }
    }
}

/// Writes the vendor root and the signed catalog, what the vendor's product ships with, and prints where they are.
pub fn write_catalog(service: &Service, directory: &Path, out: &mut impl Write) -> Result<()> {
    let [root, catalog] = catalog_files(service, directory)?;
    print(out, &format!("{}\n{}", root.display(), catalog.display()))
}

fn catalog_files(service: &Service, directory: &Path) -> Result<[PathBuf; 2]> {
    std::fs::create_dir_all(directory).map_err(|error| files::writing(directory, &error))?;
    let (root, catalog) = (directory.join("vendor-root.pem"), directory.join("catalog.jws"));
    files::write(&root, service.authority().root_pem().as_bytes(), Access::Public)?;
    files::write(&catalog, service.catalog_jws()?.as_bytes(), Access::Public)?;
    Ok([root, catalog])
}
