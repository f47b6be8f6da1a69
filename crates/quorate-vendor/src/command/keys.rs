//! `key` and `customer`: to whom what was issued, and how often it may be activated.

use super::output::{self, Output};
use crate::keys::{Issue, NewLimits};
use crate::products::key_group;
use crate::service::Service;
use crate::store::activations::{Activation, ActivationFilter};
use crate::store::customers::Customer;
use crate::store::keys::KeyFilter;
use crate::view::{ActivationView, CustomerView, KeyView, UsageView};
use clap::{Args, Subcommand};
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use quorate_core::certificate::Role;
use quorate_core::product_key::KeyId;
use quorate_core::{Code, Error, Result, words};
use quorate_edge::command_line::print;
use quorate_edge::files::{self, Access, NewFile};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Issue product keys. They are shown this once: only what verifies them is kept.
    Issue {
        /// The key group's number.
        #[arg(long, value_name = "NUMBER")]
        group: u16,
        /// For which customer, by name.
        #[arg(long, value_name = "NAME")]
        customer: Option<String>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        count: u32,
        /// Write them into this CSV file, which only you can read, instead of showing them.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List keys by id, last five characters and customer.
    List {
        /// Only those of this key group.
        #[arg(long, value_name = "NUMBER")]
        group: Option<u16>,
        /// Only those of this customer.
        #[arg(long, value_name = "NAME")]
        customer: Option<String>,
        /// Only those with these last five characters.
        #[arg(long, value_name = "XXXXX")]
        last_five: Option<String>,
        /// Only those that are blocked.
        #[arg(long)]
        blocked: bool,
    },
    /// Show one key: customer, activations used and left, machines and certificates.
    Show(KeyName),
    /// Make a key a customer's, or every key of a file.
    Assign {
        /// A CSV file with the columns key-id and customer: all of its keys are assigned or none.
        #[arg(long, value_name = "FILE", required_unless_present = "key", conflicts_with_all = ["key", "customer"])]
        file: Option<PathBuf>,
        #[command(flatten)]
        key: Option<KeyName>,
        /// The customer's name; without one, the key is nobody's.
        #[arg(value_name = "CUSTOMER")]
        customer: Option<String>,
    },
    /// Change how often a key may be activated.
    Limit {
        #[command(flatten)]
        key: KeyName,
        /// A host key: on how many machines.
        #[arg(long, value_name = "N")]
        hosts: Option<u32>,
        /// A host key: how often again on each.
        #[arg(long, value_name = "N")]
        reactivations: Option<u32>,
        /// A MAK or retail key: on how many machines.
        #[arg(long, value_name = "N")]
        machines: Option<u32>,
        /// Back to what the key group says.
        #[arg(long, conflicts_with_all = ["hosts", "reactivations", "machines"])]
        usual: bool,
    },
    /// Take a key back.
    Block(KeyName),
    /// Give a blocked key free again.
    Unblock(KeyName),
    /// Stop counting a machine, as when it was scrapped: another may take its place.
    Release {
        #[command(flatten)]
        key: KeyName,
        /// The machine, as `key show` names it.
        #[arg(value_name = "MACHINE")]
        machine: String,
    },
}

#[derive(Args)]
pub struct KeyName {
    /// The key's id, as `key list` shows it.
    // Text, since clap would repeat what it can't read, and that may be a product key.
    #[arg(value_name = "KEY_ID")]
    key: String,
}

impl KeyName {
    pub fn id(&self) -> Result<KeyId> {
        self.key.parse()
    }
}

#[derive(Subcommand)]
pub enum CustomerCommand {
    /// Add a customer.
    Add {
        /// Its name.
        name: String,
        /// What you want to remember.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Add every customer of a CSV file with the columns name and note: all of them or none.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// List the customers.
    List {
        /// Only those whose name contains this.
        #[arg(default_value = "")]
        name: String,
    },
    /// Show a customer: its keys, and how far each is used up.
    Show {
        /// Its name.
        name: String,
    },
    /// Change a customer's name or note.
    Change {
        /// Its name.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME", required_unless_present = "note")]
        rename: Option<String>,
        /// The new note.
        #[arg(long)]
        note: Option<String>,
    },
}

impl KeyCommand {
    pub fn run<W: Write>(self, service: &Service, output: &mut Output<'_, W>) -> Result<()> {
        match self {
            Self::Issue { group, customer, count, out } => {
                issue(service, &Issue { group, count, customer }, out.as_deref(), output)
            }
            Self::List { group, customer, last_five, blocked } => {
                let customer = customer.map(|name| service.customer_named(&name)).transpose()?;
                if let Some(group) = group {
                    key_group(&service.current()?.catalog, group)?;
                }
                let last_five = last_five.as_deref().map(last_five_of).transpose()?;
                let mut filter = KeyFilter {
                    group,
                    customer: customer.map(|customer| customer.id),
                    partial: last_five,
                    blocked: blocked.then_some(true),
                    after: None,
                };
                if output.json {
                    let keys = service.keys(&filter, u32::MAX)?;
                    return output.list::<_, KeyView>("keys", &keys, output::key);
                }
                loop {
                    let keys = service.keys(&filter, PAGE)?;
                    output.list::<_, KeyView>("keys", &keys, output::key)?;
                    match keys.last().filter(|_| keys.len() == PAGE as usize) {
                        Some(last) => filter.after = Some(last.id),
                        None => return Ok(()),
                    }
                }
            }
            Self::Show(key) => show(service, key.id()?, output),
            Self::Assign { file: Some(file), .. } => {
                let name = file.display().to_string();
                let count = service.assign_keys(&files::read(&file)?, &name)?;
                output.say(&serde_json::json!({ "count": count }), || {
                    format!("{} assigned.", words::counted(count, "key"))
                })
            }
            Self::Assign { file: None, key: None, .. } => Err(Error::new(
                Code::RequestInvalid,
                "neither a key nor a file of keys is given",
                "name the key, or the file with --file",
            )),
            Self::Assign { file: None, key: Some(key), customer } => {
                let key = service.assign_key(key.id()?, customer.as_deref())?;
                output.say(&KeyView::from(&key), || match &key.customer_name {
                    Some(name) => format!("Product key {} is {name}'s.", key.id),
                    None => format!("Product key {} is nobody's.", key.id),
                })
            }
            Self::Limit { key, hosts, reactivations, machines, usual } => {
                let id = key.id()?;
                if !usual && hosts.or(reactivations).or(machines).is_none() {
                    return Err(no_limit(id, service.usage(id)?.role));
                }
                let new = match usual {
                    true if service.usage(id)?.role == Some(Role::Host) => {
                        NewLimits { hosts: Some(None), reactivations: Some(None), machines: None }
                    }
                    true => NewLimits { machines: Some(None), ..NewLimits::default() },
                    false => NewLimits {
                        hosts: hosts.map(Some),
                        reactivations: reactivations.map(Some),
                        machines: machines.map(Some),
                    },
                };
                service.limit_key(id, &new)?;
                let usage = service.usage(id)?;
                output.say(&UsageView::from(&usage), || output::usage(&usage))
            }
            Self::Block(key) => {
                let before = service.key(key.id()?)?.blocked;
                let key = service.block_key(key.id()?)?;
                output.say(&KeyView::from(&key), || match before {
                    Some(at) => format!("Product key {} is blocked since {at:.0}; nothing changed.", key.id),
                    None => format!(
                        "Product key {} is blocked and activates nothing more; what it activated learns it at its next request.",
                        key.id
                    ),
                })
            }
            Self::Unblock(key) => {
                let before = service.key(key.id()?)?.blocked;
                let key = service.unblock_key(key.id()?)?;
                output.say(&KeyView::from(&key), || match before {
                    None => format!("Product key {} was not blocked; nothing changed.", key.id),
                    Some(_) => format!(
                        "Product key {} is free again; hosts learn it from the next revocation list.",
                        key.id
                    ),
                })
            }
            Self::Release { key, machine } => {
                let id = key.id()?;
                service.release_machine(id, machine.parse()?)?;
                let usage = service.usage(id)?;
                output.say(&UsageView::from(&usage), || output::usage(&usage))
            }
        }
    }
}

/// Somebody may have typed the whole key, so what was typed is not repeated.
fn last_five_of(typed: &str) -> Result<String> {
    let last = typed.trim_start_matches('…');
    if last.len() == 5 && last.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(last.to_ascii_uppercase());
    }
    Err(Error::new(
        Code::RequestInvalid,
        "--last-five was given something else than five letters and digits",
        "give the last five characters of the key, as `quorate-vendor key list` shows them",
    ))
}

/// Which limits there are goes by what the key activates.
fn no_limit(id: KeyId, role: Option<Role>) -> Error {
    let (kind, options) = match role {
        Some(Role::Host) => {
            ("activates hosts", "--hosts N, --reactivations N, or --usual for what its key group says")
        }
        Some(_) => ("activates machines", "--machines N, or --usual for what its key group says"),
        None => ("is never counted", "none: limit the host key by which the machines are activated"),
    };
    Error::new(
        Code::RequestInvalid,
        format!("no limit is given for product key {id}, which {kind}"),
        format!("its options are: {options}"),
    )
}

fn issue<W: Write>(
    service: &Service,
    issue: &Issue,
    file: Option<&Path>,
    output: &mut Output<'_, W>,
) -> Result<()> {
    let Some(path) = file else {
        if issue.count > MOST_SHOWN {
            return Err(Error::new(
                Code::RequestInvalid,
                format!("{} keys are too many to be shown", issue.count),
                "write them into a file: --out keys.csv",
            ));
        }
        return show_issued(service, issue, output);
    };
    if path.exists() {
        return Err(Error::new(
            Code::AlreadyThere,
            format!("{} is there already, and may hold keys that are nowhere else", path.display()),
            "give another name",
        ));
    }
    let mut file = NewFile::create(path, Access::Private)?;
    file.write(b"key-id,product-key\n")?;
    let progress = ProgressBar::new(issue.count.into()).with_style(
        ProgressStyle::with_template(
            "{wide_bar} {human_pos} of {human_len} keys, {rate} a second, {eta} left",
        )
        .map(|style| {
            style.with_key("rate", |state: &ProgressState, to: &mut dyn std::fmt::Write| {
                // Keys are whole; a progress bar that can't be written is no loss.
                let _ = write!(to, "{}", HumanCount(state.per_sec() as u64));
            })
        })
        // The template is written here.
        .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let issued = service.issue_keys(issue, &mut |keys| {
        let mut rows = csv::Writer::from_writer(Vec::new());
        for key in keys {
            let row = [key.id().to_string(), key.reveal()];
            rows.write_record(&row).map_err(|error| files::writing(path, &error.into()))?;
        }
        let rows = rows.into_inner().map_err(|error| files::writing(path, error.error()))?;
        file.write(&rows)?;
        // On the disk before the keys are worth anything.
        file.flush()?;
        progress.inc(keys.len() as u64);
        Ok(())
    });
    progress.finish_and_clear();
    issued?;
    file.finish()?;
    let (count, path) = (issue.count, path.display().to_string());
    output.say(&serde_json::json!({ "count": count, "file": path }), || {
        let are = if count == 1 { "is" } else { "are" };
        format!("{} {are} in {path}, and nowhere else.", words::counted(count, "key"))
    })
}

/// Shows keys before they are worth anything, as a file has them before: what nobody has seen is not issued.
fn show_issued<W: Write>(service: &Service, issue: &Issue, output: &mut Output<'_, W>) -> Result<()> {
    let mut made = Vec::new();
    let issued = service.issue_keys(issue, &mut |keys| {
        made.extend_from_slice(keys);
        if made.len() < issue.count as usize {
            return Ok(());
        }
        let document: Vec<_> = made
            .iter()
            .map(|key| serde_json::json!({ "id": key.id(), "product-key": key.reveal() }))
            .collect();
        output.say_or_fail(&serde_json::json!({ "keys": document }), || {
            let lines = made.iter().map(|key| format!("{}  {}", key.id(), key.reveal()));
            lines.collect::<Vec<_>>().join("\n")
        })
    });
    issued.map_err(|error| match made.len() < issue.count as usize {
        true => error,
        false => Error { what: format!("{}; keys that were shown are not issued", error.what), ..error },
    })
}

fn show<W: Write>(service: &Service, id: KeyId, output: &mut Output<'_, W>) -> Result<()> {
    let usage = service.usage(id)?;
    let mut filter = ActivationFilter { key: Some(id), ..ActivationFilter::default() };
    if output.json {
        let activations = service.activations(&filter, u32::MAX)?;
        let activations: Vec<_> = activations.into_iter().map(ActivationView::from).collect();
        let document = serde_json::json!({ "usage": UsageView::from(&usage), "activations": activations });
        return output.say(&document, String::new);
    }
    print(output.out, &output::usage(&usage))?;
    loop {
        let activations = service.activations(&filter, PAGE)?;
        activations.iter().try_for_each(|activation| print(output.out, &activation_line(activation)))?;
        match activations.last().filter(|_| activations.len() == PAGE as usize) {
            Some(last) => filter.before = Some(last.id),
            None => return Ok(()),
        }
    }
}

fn activation_line(activation: &Activation) -> String {
    let certificate = activation.certificate.as_deref().zip(activation.standing);
    let certificate =
        certificate.map(|(serial, standing)| format!("  certificate {serial} ({})", standing.as_str()));
    let released = activation.released.map(|at| format!("  released {at:.0}"));
    format!(
        "{:.0}  machine {}  {:<6}{}{}",
        activation.at,
        activation.machine,
        activation.how,
        certificate.unwrap_or_default(),
        released.unwrap_or_default()
    )
}

impl CustomerCommand {
    pub fn run<W: Write>(self, service: &Service, output: &mut Output<'_, W>) -> Result<()> {
        match self {
            Self::Add { name, note } => {
                let customer = service.add_customer(&name, &note)?;
                let line = format!("Customer {} is {}.", customer.id, customer.name);
                output.say(&CustomerView::from(customer), || line)
            }
            Self::Import { file } => {
                let name = file.display().to_string();
                let count = service.import_customers(&files::read(&file)?, &name)?;
                output.say(&serde_json::json!({ "count": count }), || {
                    format!("{} added.", words::counted(count, "customer"))
                })
            }
            Self::List { name } => {
                let customers = service.customers(&name, "", u32::MAX)?;
                output.list::<_, CustomerView>("customers", &customers, line)
            }
            Self::Show { name } => {
                let customer = service.customer_named(&name)?;
                show_customer(service, customer, output)
            }
            Self::Change { name, rename, note } => {
                let id = service.customer_named(&name)?.id;
                let customer = service.change_customer(id, rename.as_deref(), note.as_deref())?;
                let line = line(&customer);
                output.say(&CustomerView::from(customer), || line)
            }
        }
    }
}

fn show_customer<W: Write>(service: &Service, customer: Customer, output: &mut Output<'_, W>) -> Result<()> {
    let mut filter = KeyFilter::of_customer(customer.id);
    if output.json {
        let usages = service.usages_of(&filter, u32::MAX)?;
        let usages: Vec<_> = usages.iter().map(UsageView::from).collect();
        let customer = CustomerView::from(customer);
        let document = serde_json::json!({ "customer": customer, "keys": usages });
        return output.say(&document, String::new);
    }
    print(output.out, &line(&customer))?;
    loop {
        let usages = service.usages_of(&filter, PAGE)?;
        for usage in &usages {
            print(output.out, &format!("\n{}", output::usage(usage)))?;
        }
        match usages.last().filter(|_| usages.len() == PAGE as usize) {
            Some(last) => filter.after = Some(last.key.id),
            None => return Ok(()),
        }
    }
}

fn line(customer: &Customer) -> String {
    let note = if customer.note.is_empty() { String::new() } else { format!("  ({})", customer.note) };
    format!("{:>6}  {}{note}", customer.id, customer.name)
}

/// Keys, or activations, that are read at a time.
const PAGE: u32 = 1_000;
/// Keys on a screen.
const MOST_SHOWN: u32 = 100_000;
