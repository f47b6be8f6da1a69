//! Customers: to whom keys are issued.

use crate::once::Once;
use crate::service::Service;
use crate::store::customers::{self, Customer};
use quorate_core::product_key::quoted_unless_a_key;
use quorate_core::{Code, Error, Result, words};
use quorate_edge::sql::Session;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

impl Service {
    /// A new customer.
    pub fn add_customer(&self, name: &str, note: &str) -> Result<Customer> {
        self.add_customer_once(None, name, note)
    }

    /// A new customer, once under an idempotency key.
    pub fn add_customer_once(&self, once: Option<&Once>, name: &str, note: &str) -> Result<Customer> {
        let new = NewCustomer { name: name.to_owned(), note: note.to_owned() };
        new.check()?;
        self.change_once(once, |turn| {
            refuse_taken(turn.session, &new.name, None)?;
            let id = customers::add(turn.session, [(new.name.trim(), new.note.trim())], turn.now)?;
            turn.note("customer.add", new.name.trim(), serde_json::json!({ "id": id }))?;
            numbered(turn.session, id)
        })
    }

    /// Every customer of a CSV file with the columns `name` and, if wanted, `note`: all of them or none.
    pub fn import_customers(&self, csv: &[u8], file: &str) -> Result<u32> {
        let Rows { read: new, mut bad } = read_csv::<NewCustomer>(csv, file, &["name"], &["note"])?;
        let mut lines = BTreeMap::new();
        for (line, customer) in &new {
            if let Err(error) = customer.check() {
                bad.push((*line, error.what));
            } else if let Some(first) = lines.insert(customers::folded(&customer.name), *line) {
                bad.push((*line, format!("{:?} is in line {first} already", customer.name.trim())));
            }
        }
        self.change(|turn| {
            for (folded, customer) in customers::among(turn.session, lines.keys())? {
                bad.extend(lines.get(&folded).map(|line| (*line, already(&customer.name).what)));
            }
            refuse_lines(file, bad)?;
            let names = new.iter().map(|(_, customer)| (customer.name.trim(), customer.note.trim()));
            customers::add(turn.session, names, turn.now)?;
            turn.note("customer.import", file, serde_json::json!({ "count": new.len() }))
        })?;
        Ok(u32::try_from(new.len()).unwrap_or(u32::MAX))
    }

    /// Changes a customer's name or note.
    pub fn change_customer(&self, id: i64, name: Option<&str>, note: Option<&str>) -> Result<Customer> {
        self.change(|turn| {
            let old = numbered(turn.session, id)?;
            let new = NewCustomer {
                name: name.unwrap_or(&old.name).trim().to_owned(),
                note: note.unwrap_or(&old.note).trim().to_owned(),
            };
            new.check()?;
            refuse_taken(turn.session, &new.name, Some(id))?;
            let changed: Vec<&str> = [("name", old.name != new.name), ("note", old.note != new.note)]
                .into_iter()
                .filter_map(|(what, changed)| changed.then_some(what))
                .collect();
            if changed.is_empty() {
                return Ok(old);
            }
            customers::update(turn.session, id, &new.name, &new.note)?;
            // What a note said is nobody's in a log that forgets nothing.
            let detail = serde_json::json!({ "id": id, "before": old.name, "changed": changed });
            turn.note("customer.change", &new.name, detail)?;
            numbered(turn.session, id)
        })
    }

    /// The customers whose name contains this, in the order of their names: so many, after this one.
    pub fn customers(&self, containing: &str, after: &str, most: u32) -> Result<Vec<Customer>> {
        self.sql.read(|session| customers::list(session, containing, after, most))
    }

    /// A customer by its number.
    pub fn customer(&self, id: i64) -> Result<Customer> {
        self.sql.read(|session| numbered(session, id))
    }

    /// A customer by its name.
    pub fn customer_named(&self, name: &str) -> Result<Customer> {
        self.sql.read(|session| named(session, name))
    }
}

/// A customer by its name.
pub(crate) fn named(session: &mut Session<'_>, name: &str) -> Result<Customer> {
    if let Some(customer) = customers::named(session, name)? {
        return Ok(customer);
    }
    if name.chars().count() > customers::LONGEST_NAME {
        let what = format!("there is no customer of a name with {} characters", name.chars().count());
        return Err(Error::new(Code::CustomerUnknown, what, "correct the name"));
    }
    let like: Vec<String> =
        customers::list(session, name, "", 3)?.into_iter().map(|customer| customer.name).collect();
    let next = match like.is_empty() {
        true => {
            format!("correct the name, or add the customer first (`quorate-vendor customer add {name:?}`)")
        }
        false => format!("did you mean {}?", like.join(", ")),
    };
    Err(Error::new(Code::CustomerUnknown, format!("there is no customer {name:?}"), next))
}

fn numbered(session: &mut Session<'_>, id: i64) -> Result<Customer> {
    customers::find(session, id)?.ok_or_else(|| {
        Error::new(
            Code::CustomerUnknown,
            format!("there is no customer {id}"),
            "list the customers to find its number",
        )
    })
}

/// A customer that is to be added; a row of a CSV file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCustomer {
    name: String,
    #[serde(default)]
    note: String,
}

impl NewCustomer {
    fn check(&self) -> Result<()> {
        let refuse = |what: String, next: &str| Err(Error::new(Code::RequestInvalid, what, next));
        let name = self.name.trim();
        if name.is_empty() {
            return refuse("a customer has no name".to_owned(), "give it one");
        }
        for (what, text, longest) in
            [("name", name, customers::LONGEST_NAME), ("note", self.note.trim(), LONGEST_NOTE)]
        {
            if text.chars().count() > longest {
                return refuse(
                    format!("a customer's {what} has {} characters", text.chars().count()),
                    &format!("a {what} has at most {longest}"),
                );
            }
        }
        if self.name.chars().chain(self.note.chars()).any(char::is_control) {
            return refuse(
                "a customer's name or note holds a control character".to_owned(),
                "write it in one line of plain text",
            );
        }
        Ok(())
    }
}

fn refuse_taken(session: &mut Session<'_>, name: &str, but: Option<i64>) -> Result<()> {
    match customers::named(session, name)? {
        Some(taken) if Some(taken.id) != but => Err(already(&taken.name)),
        _ => Ok(()),
    }
}

fn already(name: &str) -> Error {
    Error::new(
        Code::AlreadyThere,
        format!("there is a customer {name:?} already"),
        "use that one, or another name",
    )
}

/// The rows of a CSV file with their lines.
pub(crate) struct Rows<T> {
    /// What could be read.
    pub(crate) read: Vec<(u64, T)>,
    /// What could not, and why.
    pub(crate) bad: Vec<(u64, String)>,
}

/// Reads a CSV file that has these columns, and perhaps those. What a row lacks hides no fault of another: the caller adds
/// what is wrong with the rows that could be read, and has all refused together ([`refuse_lines`]).
pub(crate) fn read_csv<T: serde::de::DeserializeOwned>(
    csv: &[u8],
    file: &str,
    needed: &[&str],
    wanted: &[&str],
) -> Result<Rows<T>> {
    let ended = [csv, b"\n", LAST_ROW, b",\n"].concat();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(ended.as_slice());
    let (mut line, mut counted) = (1, 0);
    // The reader takes a row to begin above the empty lines before it.
    let mut line_of = |position: Option<&csv::Position>| {
        let begin = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(counted);
        let empty = ended.iter().skip(begin).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let ends = ended.get(counted..begin + empty).unwrap_or_default();
        line += ends.iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = begin + empty;
        line
    };
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for record in reader.byte_records() {
        match record {
            Ok(record) => rows.push((line_of(record.position()), record)),
            Err(error) => bad.push((line_of(error.position()), reason(&error))),
        }
    }
    if let Some((line, last)) = rows.pop()
        && (last.len(), last.get(0)) != (2, Some(LAST_ROW))
    {
        bad.push((line, "a quote that opens here is not closed".to_owned()));
    }
    let mut rows = rows.into_iter();
    let headers = rows.next().map(|(_, headers)| headers).unwrap_or_default();
    check_columns(&headers, file, needed, wanted)?;
    let mut read = Vec::new();
    for (line, record) in rows {
        if record.iter().any(|field| std::str::from_utf8(field).is_err()) {
            bad.push((line, "it is not UTF-8".to_owned()));
            continue;
        }
        if record.iter().any(|field| field.contains(&b'\n') || field.contains(&b'\r')) {
            bad.push((line, "a quote that opens here is closed in a later line only".to_owned()));
            continue;
        }
        if record.len() != headers.len() {
            let fields = words::counted(record.len(), "field");
            bad.push((line, format!("it has {fields}, not {}", headers.len())));
            continue;
        }
        match record.deserialize(Some(&headers)) {
            Ok(row) => read.push((line, row)),
            Err(error) => bad.push((line, reason(&error))),
        }
    }
    match read.is_empty() && bad.is_empty() {
        true => Err(Error::new(
            Code::DocumentInvalid,
            format!("{file} has no rows"),
            "the first line names the columns, and each line behind it is a row",
        )),
        false => Ok(Rows { read, bad }),
    }
}

fn check_columns(headers: &csv::ByteRecord, file: &str, needed: &[&str], wanted: &[&str]) -> Result<()> {
    let found: Vec<String> =
        headers.iter().map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()).collect();
    let is_known = |name: &String| needed.contains(&name.as_str()) || wanted.contains(&name.as_str());
    let distinct = found.iter().collect::<BTreeSet<_>>().len() == found.len();
    let has = |name: &&str| found.iter().any(|found| found == name);
    if headers.is_empty() || distinct && found.iter().all(is_known) && needed.iter().all(has) {
        return Ok(());
    }
    let perhaps =
        if wanted.is_empty() { String::new() } else { format!(", and if wanted {}", wanted.join(", ")) };
    // A file without names of columns begins with a row.
    let found: Vec<String> = found.iter().map(|name| quoted_unless_a_key(name)).collect();
    Err(Error::new(
        Code::DocumentInvalid,
        format!("line 1 of {file} names the columns {}", found.join(", ")),
        format!("write as its first line the columns: {}{perhaps}", needed.join(", ")),
    ))
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        _ => error.to_string(),
    }
}

/// Names the lines that can't be taken; then none is.
pub(crate) fn refuse_lines(file: &str, mut bad: Vec<(u64, String)>) -> Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    bad.sort();
    let more = bad.len().saturating_sub(NAMED_LINES);
    let mut said: Vec<String> =
        bad.iter().take(NAMED_LINES).map(|(line, why)| format!("line {line}: {why}")).collect();
    if more > 0 {
        said.push(format!("and {more} more"));
    }
    Err(Error::new(
        Code::DocumentInvalid,
        format!("nothing of {file} was taken: {}", said.join("; ")),
        "correct these lines and give the file again",
    ))
}

/// With a comma behind the last row of a file: where a quote is not closed, both are part of one field of that row, and no
/// row of two.
const LAST_ROW: &[u8] = b"end of the file";
const LONGEST_NOTE: usize = 2_000;
/// An error is read by a person.
const NAMED_LINES: usize = 10;
