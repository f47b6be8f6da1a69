//! The commands for product keys of a machine's own: installing and removing them, activation by telephone, and
//! for machines that no network reaches, by files.

use super::found::Activation;
use super::printer::{Found, Printer};
use super::{ServiceArguments, runtime};
use crate::activation::{Client, ServiceWay, Status};
use crate::registration::Vendor;
use crate::report::{activation_of, short};
use crate::stored::InstalledKey;
use crate::{by_service, keys};
use clap::Subcommand;
use quorate_core::catalog::Channel;
use quorate_core::installation_id::InstallationId;
use quorate_core::key_activation::{self, Answer, AnswerEntry, RequestEntry};
use quorate_core::license_state::Situation;
use quorate_core::product_key::{KeyId, ProductKey};
use quorate_core::{Code, Error, Result, words};
use quorate_edge::clock::Clock;
use quorate_edge::command_line::{Problem, or_standard_input};
use quorate_edge::files::{self, Access};
use serde::Serialize;
use serde::de::DeserializeOwned;
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
        /// The short name of the vendor, when several that are registered here have such keys.
        #[arg(long)]
        vendor: Option<String>,
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
                let client = keys::product_of(&key, clients, vendor.as_deref())?;
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
                let meant = Meant::of(clients, key.as_deref(), printer)?;
                printer.each_of(meant.looked_at(), |client, _| {
                    client.installation_id(meant.key).map(ToRead::from)
                })
            }
            Self::Confirm { confirmation_id, pack, key } => {
                let typed = or_standard_input(confirmation_id.concat())?;
                let pack = pack.map(|pack| files::read_text(&pack)).transpose()?;
                let meant = Meant::of(clients, key.as_deref(), printer)?;
                if meant.clients.len() > 1 {
                    return Err(Error::new(
                        Code::IdentifierInvalid,
                        format!("{} products with a key of their own are in use here", meant.clients.len()),
                        "name the key that the Confirmation ID is for with --key; `quorate status` shows their last \
                         five characters",
                    ));
                }
                printer.each_of(meant.looked_at(), |client, _| {
                    client.confirm(&typed, meant.key, pack.as_deref()).map(Activation::from)
                })
            }
            Self::ExportRequest { file, key } => {
                let meant = Meant::of(clients, key.as_deref(), printer)?;
                let mut text = before::<RequestEntry>(&file, "requests")?;
                for client in &meant.clients {
                    text = key_activation::with_request(&text, &client.export_request(meant.key)?)?;
                }
                files::write(&file, text.as_bytes(), Access::Public)?;
                let requests = key_activation::read_entries::<RequestEntry>(&text).len();
                printer.print(&Exported { file: file.display().to_string(), requests })
            }
            Self::ForwardRequests { requests, answers, service } => {
                forward(clients, &requests, &answers, &service.way()?, clock, printer)
            }
            Self::ImportResponse { answers } => import(&answers, clients, printer),
        }
    }
}

/// Has every request of a file answered. A bad line spoils no other, and is named; but without a way to the service
/// nothing is answered, and the file of answers stays as it was.
fn forward<W: Write>(
    clients: &[Client],
    requests: &Path,
    answers: &Path,
    way: &ServiceWay,
    clock: &Clock,
    printer: &mut Printer<'_, W>,
) -> Result<()> {
    before::<AnswerEntry>(answers, "answers")?;
    let vendors: Vec<Vendor> = clients.iter().map(|client| client.vendor().clone()).collect();
    let runtime = runtime()?;
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    for (number, entry) in entries::<RequestEntry>(requests, "requests")? {
        let machine = entry.as_ref().map(|entry| entry.machine.clone()).ok();
        let answered = match entry {
            Ok(entry) => runtime.block_on(by_service::forward(&entry, &vendors, way, clock)),
            Err(error) => Err(error),
        };
        match answered {
            Ok(answer) => {
                lines.push(key_activation::write_entry(&answer)?);
                if let Answer::Error(error) = &answer.answer {
                    bad.push(Line::new(number, machine, error));
                }
            }
            Err(error) if matches!(error.code, Code::DocumentInvalid | Code::NotSetUp) => {
                bad.push(Line::new(number, machine, &error));
            }
            Err(error) => return Err(error),
        }
    }
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    if !lines.is_empty() {
        files::write(answers, text.as_bytes(), Access::Public)?;
    }
    let found = Forwarded { file: answers.display().to_string(), answers: lines.len(), bad };
    printer.print(&found)?;
    not_all(requests, &found.bad, lines.len())
}

/// The entries of a file, of which there must be one.
fn entries<T: DeserializeOwned>(file: &Path, called: &str) -> Result<Vec<(usize, Result<T>)>> {
    let text = files::read_text(file)?;
    let entries = key_activation::read_entries::<T>(&text);
    if entries.iter().any(|(_, entry)| entry.is_ok()) {
        return Ok(entries);
    }
    let is = |holds: bool, what: &str| holds.then(|| format!("; it holds {what}"));
    let holds =
        is(holds_any::<RequestEntry>(&text), "requests").or(is(holds_any::<AnswerEntry>(&text), "answers"));
    Err(Error::new(
        Code::DocumentInvalid,
        format!("{} holds no {called}{}", file.display(), holds.unwrap_or_default()),
        "requests are made by `quorate export-request FILE` and answered by `quorate forward-requests REQUESTS ANSWERS`; \
         answers go to `quorate import-response ANSWERS`",
    ))
}

fn holds_any<T: DeserializeOwned>(text: &str) -> bool {
    key_activation::read_entries::<T>(text).iter().any(|(_, entry)| entry.is_ok())
}

/// What is in a file that is to be written: nothing, or entries of the same kind. Anything else was not meant.
fn before<T: DeserializeOwned>(file: &Path, called: &str) -> Result<String> {
    let text = if file.exists() { files::read_text(file)? } else { String::new() };
    if text.trim().is_empty() || holds_any::<T>(&text) {
        return Ok(text);
    }
    Err(Error::new(
        Code::AlreadyThere,
        format!("{} is there already, and holds no {called}", file.display()),
        "name another file; this one was left as it is",
    ))
}

/// Takes what is for this machine out of a file of answers. A bad line spoils no other, and is named.
fn import<W: Write>(file: &Path, clients: &[Client], printer: &mut Printer<'_, W>) -> Result<()> {
    let entries = entries::<AnswerEntry>(file, "answers")?;
    let clients = readable(clients, printer);
    let mut found = Imported { activated: Vec::new(), for_others: 0, bad: Vec::new() };
    for (number, entry) in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.bad.push(Line::new(number, None, &error));
                continue;
            }
        };
        let mut clients = clients.iter().map(|client| (client, client.import_answer(&entry)));
        match clients.find(|(_, taken)| !matches!(taken, Ok(None))) {
            None => found.for_others += 1,
            Some((client, Ok(_))) => {
                let key = entry.installation_id.key();
                found.activated.push(client.status_with(Some(key))?.sku.name);
            }
            Some((_, Err(error))) => found.bad.push(Line::new(number, Some(entry.machine), &error)),
        }
    }
    printer.print(&found)?;
    not_all(file, &found.bad, found.activated.len())?;
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
struct Meant {
    clients: Vec<Client>,
    key: Option<KeyId>,
}

impl Meant {
    fn of<W: Write>(clients: &[Client], name: Option<&str>, printer: &Printer<'_, W>) -> Result<Self> {
        if let Some(name) = name {
            let (client, key) = keys::named(name, clients)?;
            return Ok(Self { clients: vec![client.clone()], key: Some(key.id) });
        }
        let readable = readable(clients, printer);
        let has_own_key =
            |client: &&Client| client.status().is_ok_and(|status| status.sku.channel.has_own_key());
        let own: Vec<Client> = readable.iter().filter(has_own_key).cloned().collect();
        // Where there is none, the first product says why.
        let clients = if own.is_empty() { readable.into_iter().take(1).collect() } else { own };
        Ok(Self { clients, key: None })
    }

    /// Each product as it is with the key that is meant.
    fn looked_at(&self) -> Vec<(&Client, Result<Status>)> {
        let look = |client: &Client| match self.key {
            Some(key) => client.status_with(Some(key)),
            None => client.status(),
        };
        self.clients.iter().map(|client| (client, look(client))).collect()
    }
}

/// The products whose stores can be read; why others can't is told, and keeps none from its turn.
fn readable<W: Write>(clients: &[Client], printer: &Printer<'_, W>) -> Vec<Client> {
    let mut readable = Vec::new();
    for client in clients {
        match client.status() {
            Ok(_) => readable.push(client.clone()),
            Err(error) => printer.tell(&error),
        }
    }
    readable
}

fn not_all(file: &Path, bad: &[Line], done: usize) -> Result<()> {
    let Some(first) = bad.first() else { return Ok(()) };
    let lines = words::counted(bad.len(), "line");
    let next =
        if done == 0 { "see to what is named above" } else { "see to what is named above; the rest is done" };
    Err(Error::new(first.code, format!("{lines} of {} came to nothing", file.display()), next))
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
            activated: status.state.situation == Situation::Licensed,
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
        let requests = words::counted(*requests, "request");
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
        let answers = words::counted(*answers, "answer");
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
