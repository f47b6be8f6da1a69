//! What `clients` and `events` print: which machines are activated, and what happened; as text, CSV or JSON.

use crate::book::{ClientRecord, Event};
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Error, Interval, Result, Timestamp, words};
use quorate_edge::command_line::print;
use quorate_edge::files;
use std::io::Write;
use std::path::Path;

/// Which machines are wanted.
#[derive(Clone, Debug, Default)]
pub struct ClientFilter {
    /// Whose name holds this, in any case.
    pub name: Option<String>,
    /// Of this application only, by its id.
    pub application: Option<String>,
    /// Only those that are licensed, or only those that are not.
    pub licensed: Option<bool>,
    /// Only those whose license ends within this time.
    pub ending_within: Option<Interval>,
    /// Only those that have not asked for this long.
    pub silent_for: Option<Interval>,
}

impl ClientFilter {
    /// Whether a machine is wanted.
    pub fn wants(&self, client: &ClientRecord, now: Timestamp) -> bool {
        let licensed = client.licensed_until.filter(|until| *until > now);
        let name = |part: &String| client.name.to_lowercase().contains(&part.to_lowercase());
        self.name.as_ref().is_none_or(name)
            && self.application.as_ref().is_none_or(|id| client.application.eq_ignore_ascii_case(id))
            && self.licensed.is_none_or(|wanted| licensed.is_some() == wanted)
            && self.ending_within.is_none_or(|time| licensed.is_some_and(|until| until <= time.after(now)))
            && self.silent_for.is_none_or(|time| client.last_seen <= time.before(now))
    }
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// Comma-separated values (RFC 4180), with a line of names.
    Csv,
    /// One JSON document.
    Json,
}

/// Prints machines.
pub fn clients(out: &mut impl Write, clients: &[ClientRecord], form: Form, now: Timestamp) -> Result<()> {
    match form {
        Form::Json => document(out, "clients", clients),
        Form::Csv => csv(out, clients),
        Form::Text => {
            let row = |client: &ClientRecord| {
                let status = LicenseStatus::from_number(client.status).map(|status| status.to_string());
                let licensed = match client.licensed_until {
                    Some(until) if until > now => format!("licensed until {until:.0}"),
                    Some(until) => format!("ran out at {until:.0}"),
                    None => "not licensed yet".to_owned(),
                };
                let kind = if client.virtual_machine { "virtual" } else { "" };
                format!(
                    "{:<24} {}  {licensed:<37}  last {:.0}  {:<7} {} (asked as: {})",
                    plain(&client.name),
                    client.cmid,
                    client.last_seen,
                    kind,
                    plain(&client.address),
                    status.unwrap_or_default()
                )
            };
            clients.iter().try_for_each(|client| print(out, &row(client)))?;
            let licensed =
                clients.iter().filter(|client| client.licensed_until.is_some_and(|until| until > now));
            let machines = words::counted(clients.len(), "machine");
            print(out, &format!("{machines}, {} of them licensed.", licensed.count()))
        }
    }
}

/// Prints events.
pub fn events(out: &mut impl Write, events: &[Event], json: bool) -> Result<()> {
    if json {
        return document(out, "events", events);
    }
    events.iter().try_for_each(|event| {
        let fields = event.fields.as_object().into_iter().flatten();
        let fields =
            fields.filter(|(_, value)| !value.is_null()).map(|(name, value)| format!("{name}={value}"));
        print(
            out,
            &format!(
                "{:.0}  {}  {}  {}  {}",
                event.at,
                event.kind,
                event.result,
                plain(event.machine.as_deref().unwrap_or("-")),
                fields.collect::<Vec<_>>().join(" ")
            ),
        )
    })
}

fn document<T: serde::Serialize>(out: &mut impl Write, name: &str, rows: &[T]) -> Result<()> {
    let text = serde_json::to_string_pretty(&serde_json::json!({ name: rows })).map_err(|error| {
        Error::new(
            Code::Internal,
            format!("a list cannot be written as JSON ({error})"),
            "please report this",
        )
    })?;
    print(out, &text)
}

fn csv(out: &mut impl Write, clients: &[ClientRecord]) -> Result<()> {
    let failed = |error: csv::Error| {
        let error = std::io::Error::from(error);
        // The reader has gone, as with `| head`.
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(files::writing(Path::new("standard output"), &error)),
        }
    };
    let mut writer = csv::Writer::from_writer(out);
    for client in clients {
        if let Err(error) = writer.serialize(client) {
            return failed(error);
        }
    }
    writer.flush().map_err(csv::Error::from).or_else(failed)
}

/// A machine's name is its own word.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, licensed_until: Option<i64>, last_seen: i64) -> ClientRecord {
        let day = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
        ClientRecord {
            vendor: "contoso".to_owned(),
            application: "0ff1ce15-a989-479d-af46-f275c6370663".to_owned(),
            sku: "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f02".to_owned(),
            cmid: "f81d4fae-7dec-41d0-a765-00a0c91e6bf6".to_owned(),
            name: name.to_owned(),
            virtual_machine: false,
            address: "192.0.2.7:50000".to_owned(),
            status: 2,
            first_seen: day(0),
            last_seen: day(last_seen),
            licensed_until: licensed_until.map(day),
        }
    }

    #[test]
    fn machines_are_wanted_by_name_license_and_silence() {
        let now = Timestamp::from_second(100 * 86_400).unwrap();
        let all = [client("PC-1", Some(110), 99), client("pc-2", None, 60), client("lab", Some(90), 20)];
        let wanted = |filter: ClientFilter| {
            let wanted = all.iter().filter(|client| filter.wants(client, now));
            wanted.map(|client| client.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(wanted(ClientFilter::default()), ["PC-1", "pc-2", "lab"]);
        let name = Some("pc".to_owned());
        assert_eq!(wanted(ClientFilter { name, ..ClientFilter::default() }), ["PC-1", "pc-2"]);
        assert_eq!(wanted(ClientFilter { licensed: Some(true), ..ClientFilter::default() }), ["PC-1"]);
        assert_eq!(
            wanted(ClientFilter { licensed: Some(false), ..ClientFilter::default() }),
            ["pc-2", "lab"]
        );
        let soon =
            |days| ClientFilter { ending_within: Some(Interval::days(days)), ..ClientFilter::default() };
        assert_eq!((wanted(soon(9)), wanted(soon(10))), (vec![], vec!["PC-1"]));
        let silent = ClientFilter { silent_for: Some(Interval::days(40)), ..ClientFilter::default() };
        assert_eq!(wanted(silent), ["pc-2", "lab"]);
    }

    #[test]
    fn csv_keeps_whatever_a_machine_is_called() {
        let mut out = Vec::new();
        let odd = client("a,\"b\"\nc", None, 1);
        clients(&mut out, std::slice::from_ref(&odd), Form::Csv, Timestamp::UNIX_EPOCH).unwrap();
        let mut reader = csv::Reader::from_reader(&out[..]);
        assert_eq!(reader.headers().unwrap().get(4), Some("name"));
        assert_eq!(reader.records().next().unwrap().unwrap().get(4), Some("a,\"b\"\nc"));
        let mut out = Vec::new();
        clients(&mut out, &[odd], Form::Text, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
    }
}
