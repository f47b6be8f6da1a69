//! The commands for product keys of a machine's own: installing and removing them, activation by telephone, and
//! for machines that no network reaches, by files.

use super::found::Activation;
use super::printer::{Found, Printer};
use super::{ServiceArguments, runtime};
use crate::activation::Client;
use crate::registration::Vendor;
use crate::report::{Problem, activation_of, short};
use crate::store::InstalledKey;
use crate::{by_service, keys};
use clap::Subcommand;
use quorate_core::catalog::Channel;
use quorate_core::identifier::VendorId;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::{self, Answer, AnswerEntry, RequestEntry};
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::or_standard_input;
use quorate_edge::files::{self, Access};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What can be done with product keys.
#[derive(Subcommand)]
pub enum Command {
    /// Install a product key and bring it into use: a MAK, a retail key, or the public key of KMS clients [/inpkey:].
    InstallKey {
        /// The product key, 5×5 characters, in one piece or in groups; "-" reads it from standard input.
        #[arg(required = true, num_args = 1.., value_name = "KEY")]
        key: Vec<String>,
        /// The license pack of the key, for activation by telephone.
        #[arg(long, value_name = "FILE")]
        pack: Option<PathBuf>,
        /// The vendor, when several that are registered here have such keys.
        #[arg(long)]
        vendor: Option<VendorId>,
    },
    /// Remove a product key; the one before it, or the registered edition, comes into use [/unpkey:].
    RemoveKey {
        /// The last five characters of the key, or its key id.
        #[arg(value_name = "LAST_FIVE")]
        key: String,
    },
    /// Show the Installation ID to read to the vendor's phone desk [/dinstid].
    InstallationId {
        /// The last five characters of the key, when it is not the one in use.
        #[arg(long, value_name = "LAST_FIVE")]
        key: Option<String>,
    },
    /// Activate by the Confirmation ID that the phone desk has read out [/actcid:].
    Confirm {
        /// The Confirmation ID, 48 digits, in one piece or in groups; "-" reads it from standard input.
        #[arg(required = true, num_args = 1.., value_name = "CONFIRMATION_ID")]
        confirmation_id: Vec<String>,
        /// The license pack of the key, when none was installed with it or the vendor has made a newer one.
        #[arg(long, value_name = "FILE")]
        pack: Option<PathBuf>,
        /// The last five characters of the key, when it is not the one in use.
        #[arg(long, value_name = "LAST_FIVE")]
        key: Option<String>,
    },
    /// On a machine that no network reaches: add its request to a file.
    ExportRequest {
        /// The file; requests of other machines that are in it stay.
        file: PathBuf,
        /// The last five characters of the key, when it is not the one in use.
        #[arg(long, value_name = "LAST_FIVE")]
        key: Option<String>,
    },
    /// On a connected machine: have a file of requests answered by the vendor's service.
    ForwardRequests {
        /// The file of requests.
        requests: PathBuf,
        /// The file of answers to write.
        answers: PathBuf,
        #[command(flatten)]
        service: ServiceArguments,
    },
    /// Back on the machine that no network reaches: take its answers out of a file.
    ImportResponse {
        /// The file of answers.
        answers: PathBuf,
    },
}

impl Command {
    /// Does it.
    pub fn run<W: Write>(
        self,
        clients: &[Client],
        clock: &Clock,
        printer: &mut Printer<'_, W>,
    ) -> Result<()> {
        match self {
            Self::InstallKey { key, pack, vendor } => {
                let key: ProductKey = or_standard_input(key.concat())?.parse()?;
                let client = keys::product_of(&key, clients, vendor.as_ref())?;
                let pack = pack.map(|pack| files::read_text(&pack)).transpose()?;
                let installed = client.install_key(&key, pack.as_deref())?;
                printer.print(&KeyInstalled::new(client, installed)?)
            }
            Self::RemoveKey { key } => {
                let (client, key) = keys::named(&key, clients)?;
                client.remove_key(key.id)?;
                printer.print(&KeyRemoved::new(client, key)?)
            }
            Self::InstallationId { key } => {
                let (clients, key) = meant(clients, key.as_deref())?;
                printer.each(&clients, |client, _| client.installation_id(key).map(ToRead::from))
            }
            Self::Confirm { confirmation_id, pack, key } => {
                let typed = or_standard_input(confirmation_id.concat())?;
                let pack = pack.map(|pack| files::read_text(&pack)).transpose()?;
                let (clients, key) = meant(clients, key.as_deref())?;
                if clients.len() > 1 {
                    return Err(Error::new(
                        Code::IdentifierInvalid,
                        format!("{} products with a key of their own are in use here", clients.len()),
                        "name the key that the Confirmation ID is for with --key; `quorate status` shows their last \
                         five characters",
                    ));
                }
                let confirm = |client: &Client| client.confirm(&typed, key, pack.as_deref());
                printer.each(&clients, |client, _| confirm(client).map(Activation::from))
            }
            Self::ExportRequest { file, key } => {
                let (clients, key) = meant(clients, key.as_deref())?;
                let mut text = if file.exists() { files::read_text(&file)? } else { String::new() };
                for client in &clients {
                    text = key_activation::with_request(&text, &client.export_request(key)?)?;
                }
                files::write(&file, text.as_bytes(), Access::Public)?;
                let requests = key_activation::read_entries::<RequestEntry>(&text).len();
                printer.print(&Exported { file: file.display().to_string(), requests })
            }
            Self::ForwardRequests { requests, answers, service } => {
                let way = service.way()?;
                let vendors = vendors(clients);
                let text = files::read_text(&requests)?;
                let (mut lines, mut bad) = (Vec::new(), Vec::new());
                for (number, entry) in key_activation::read_entries::<RequestEntry>(&text) {
                    let machine = entry.as_ref().map(|entry| entry.machine.clone()).ok();
                    let answered = match entry {
                        Ok(entry) => runtime()?.block_on(by_service::forward(&entry, &vendors, &way, clock)),
                        Err(error) => Err(error),
                    };
                    match answered {
                        Ok(answer) => {
                            lines.push(key_activation::write_entry(&answer)?);
                            if let Answer::Error(error) = &answer.answer {
                                bad.push(Line::new(number, machine, error));
                            }
                        }
                        Err(error) => bad.push(Line::new(number, machine, &error)),
                    }
                }
                let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
                files::write(&answers, text.as_bytes(), Access::Public)?;
                let found = Forwarded { file: answers.display().to_string(), answers: lines.len(), bad };
                printer.print(&found)?;
                not_all(&requests, &found.bad)
            }
            Self::ImportResponse { answers } => import(&answers, clients, printer),
        }
    }
}

/// Takes what is for this machine out of a file of answers. A bad line spoils no other, and is named.
fn import<W: Write>(file: &Path, clients: &[Client], printer: &mut Printer<'_, W>) -> Result<()> {
    let entries = key_activation::read_entries::<AnswerEntry>(&files::read_text(file)?);
    let mut found = Imported { activated: Vec::new(), for_others: 0, bad: Vec::new() };
    for (number, entry) in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.bad.push(Line::new(number, None, &error));
                continue;
            }
        };
        let taken = clients.iter().find_map(|client| Some((client, client.import_answer(&entry)?)));
        match taken {
            None => found.for_others += 1,
            Some((client, Ok(_))) => found.activated.push(client.status()?.sku.name),
            Some((_, Err(error))) => found.bad.push(Line::new(number, Some(entry.machine), &error)),
        }
    }
    printer.print(&found)?;
    not_all(file, &found.bad)?;
    if found.activated.is_empty() {
        return Err(Error::new(
            Code::ResponseMismatch,
            format!("none of the {} answers in {} is for this machine", found.for_others, file.display()),
            "a machine whose hardware has changed, or whose key was installed anew, must ask again: \
             `quorate export-request FILE`",
        ));
    }
    Ok(())
}

/// The products that are meant: the one with the named key, or all that have a key of their own in use.
fn meant(clients: &[Client], name: Option<&str>) -> Result<(Vec<Client>, Option<KeyId>)> {
    if let Some(name) = name {
        let (client, key) = keys::named(name, clients)?;
        return Ok((vec![client.clone()], Some(key.id)));
    }
    let mut own = Vec::new();
    for client in clients {
        if client.status()?.sku.channel.has_own_key() {
            own.push(client.clone());
        }
    }
    // Where there is none, the first product says why.
    Ok((if own.is_empty() { clients[..1].to_vec() } else { own }, None))
}

fn vendors(clients: &[Client]) -> Vec<Vendor> {
    clients.iter().map(|client| client.vendor().clone()).collect()
}

fn not_all(file: &Path, bad: &[Line]) -> Result<()> {
    let Some(first) = bad.first() else { return Ok(()) };
    Err(Error::new(
        first.code,
        format!("{} of the lines in {} came to nothing; they are named above", bad.len(), file.display()),
        "see to these; the others are done",
    ))
}

/// `install-key`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct KeyInstalled {
    name: String,
    #[serde(serialize_with = "short")]
    activation: Channel,
    key: String,
    key_id: String,
    activated: bool,
}

impl KeyInstalled {
    fn new(client: &Client, key: InstalledKey) -> Result<Self> {
        let status = client.status()?;
        Ok(Self {
            name: status.sku.name,
            activation: status.sku.channel,
            key: key.partial.to_string(),
            key_id: key.id.to_string(),
            activated: matches!(status.license, Ok(Some(_))),
        })
    }
}

impl Found for KeyInstalled {
    fn text(&self, _: &str) -> String {
        let Self { name, key, key_id, .. } = self;
        let activation = activation_of(self.activation);
        let next = match (self.activated, self.activation.has_own_key()) {
            (true, _) => "\nIt is activated on this machine already.",
            (false, false) => "\nnext: quorate activate",
            (false, true) => {
                "\nnext: quorate activate; or by telephone: quorate installation-id, then quorate confirm"
            }
        };
        format!("Product key …{key} ({key_id}) is installed and in use: {name}, {activation}.{next}")
    }
}

/// `remove-key`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct KeyRemoved {
    key: String,
    key_id: String,
    name: String,
    #[serde(serialize_with = "short")]
    activation: Channel,
    #[serde(skip)]
    needs_key: bool,
}

impl KeyRemoved {
    fn new(client: &Client, key: InstalledKey) -> Result<Self> {
        let status = client.status()?;
        Ok(Self {
            key: key.partial.to_string(),
            key_id: key.id.to_string(),
            activation: status.sku.channel,
            needs_key: status.key.is_none() && status.sku.channel.has_own_key(),
            name: status.sku.name,
        })
    }
}

impl Found for KeyRemoved {
    fn text(&self, _: &str) -> String {
        let Self { key, key_id, name, activation, needs_key } = self;
        let now = match needs_key {
            true => format!("{name} has no product key now.\nnext: quorate install-key KEY"),
            false => format!("In use is {name}, {}.\nnext: quorate status", activation_of(*activation)),
        };
        format!("Product key …{key} ({key_id}) is removed. {now}")
    }
}

/// `installation-id`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ToRead {
    installation_id: String,
    key: String,
    key_id: String,
}

impl From<(InstalledKey, InstallationId)> for ToRead {
    fn from((key, installation_id): (InstalledKey, InstallationId)) -> Self {
        Self {
            installation_id: installation_id.to_string(),
            key: key.partial.to_string(),
            key_id: key.id.to_string(),
        }
    }
}

impl Found for ToRead {
    fn text(&self, product: &str) -> String {
        let mut text = format!("{product}, product key …{} ({})\n", self.key, self.key_id);
        for (number, group) in (1..).zip(self.installation_id.split('-')) {
            text += &format!("{number}  {group}\n");
        }
        text + &format!(
            "Installation ID: {}\nRead it to the vendor's phone desk.\nnext: quorate confirm CONFIRMATION_ID",
            self.installation_id
        )
    }
}

/// `export-request`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Exported {
    file: String,
    requests: usize,
}

impl Found for Exported {
    fn text(&self, _: &str) -> String {
        let Self { file, requests } = self;
        let requests = if *requests == 1 { "1 request".to_owned() } else { format!("{requests} requests") };
        format!(
            "{file} holds {requests}. Nothing in it is secret.\nnext: on a connected machine, quorate forward-requests \
             {file} ANSWERS; then here, quorate import-response ANSWERS"
        )
    }
}

/// `forward-requests`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Forwarded {
    file: String,
    answers: usize,
    bad: Vec<Line>,
}

impl Found for Forwarded {
    fn text(&self, _: &str) -> String {
        let refused = lines(&self.bad);
        let Self { file, answers, .. } = self;
        let answers = if *answers == 1 { "1 answer".to_owned() } else { format!("{answers} answers") };
        format!(
            "{refused}{file} holds {answers}.\nnext: on the machines that asked, quorate import-response {file}"
        )
    }
}

/// `import-response`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Imported {
    activated: Vec<String>,
    for_others: usize,
    bad: Vec<Line>,
}

impl Found for Imported {
    fn text(&self, _: &str) -> String {
        let mut text = lines(&self.bad);
        for name in &self.activated {
            text += &format!("{name}: activated by its vendor for this hardware.\n");
        }
        match self.for_others {
            0 => {}
            1 => text += "1 answer is for another machine.\n",
            others => text += &format!("{others} answers are for other machines.\n"),
        }
        text.trim_end().to_owned()
    }
}

/// A line of a file that came to nothing.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    line: usize,
    machine: Option<String>,
    error: Problem,
    #[serde(skip)]
    code: Code,
}

impl Line {
    fn new(line: usize, machine: Option<String>, error: &Error) -> Self {
        Self { line, machine, error: Problem::from(error), code: error.code }
    }
}

fn lines(bad: &[Line]) -> String {
    let line = |Line { line, machine, error, .. }: &Line| {
        let machine = machine.as_ref().map(|machine| format!(" ({machine})")).unwrap_or_default();
        format!("line {line}{machine}: {}: {}\n    next: {}\n", error.number(), error.what, error.next)
    };
    bad.iter().map(line).collect()
}
