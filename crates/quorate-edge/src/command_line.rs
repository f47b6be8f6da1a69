//! Habits that the programs share at the command line: slash forms, exit status, colours, log lines.
//!
//! Colours are for terminals: what is printed may hold them, and [`standard_output`] takes them out where there is
//! none, or where `NO_COLOR` is set.

pub mod help_files;
pub mod slash_forms;

use crate::files;
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::Parser;
use clap::error::ErrorKind;
use quorate_core::product_key::ProductKey;
use quorate_core::{Code, Error, Result};
use serde::Serialize;
use slash_forms::Program;
use std::ffi::OsString;
use std::io::{BufRead, Read, Stdout, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Reads the arguments of a program, slash forms included. When there is nothing to run (wrong usage, or a wish
/// for help), what is to be said has been, and the status to end with is given.
pub fn parse<A: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    program: Program,
) -> Result<A, ExitCode> {
    let arguments = Vec::from_iter(arguments);
    let typed = arguments.clone();
    slash_forms::plain_arguments(arguments, &mut A::command(), program)
        .and_then(A::try_parse_from)
        .map_err(|error| end_without_keys(&error, &typed))
}

/// Ends as [`end`] does; but what clap can't read it repeats, and that may be a product key in the wrong place.
fn end_without_keys(error: &clap::Error, typed: &[OsString]) -> ExitCode {
    let typed = typed.iter().filter_map(|argument| argument.to_str());
    let words = typed.flat_map(|argument| argument.split([':', '=']));
    let keys: Vec<&str> = words.filter(|word| word.parse::<ProductKey>().is_ok()).collect();
    if keys.is_empty() {
        return end(error);
    }
    let mut text = error.to_string();
    for key in keys {
        text = text.replace(key, "(a product key)");
    }
    // Nothing can be done when standard error is closed.
    let _ = write!(std::io::stderr(), "{text}");
    ExitCode::from(WRONG_USAGE)
}

/// Says that arguments don't go together, as clap would.
pub fn wrong_usage<A: Parser>(what: &str) -> ExitCode {
    end(&A::command().error(ErrorKind::ArgumentConflict, what))
}

fn end(error: &clap::Error) -> ExitCode {
    // Nothing can be done when the stream is closed.
    let _ = error.print();
    // Help was asked for, or something was typed wrongly.
    ExitCode::from(if error.use_stderr() { WRONG_USAGE } else { 0 })
}

/// What was typed as an argument; `-` stands for a line of standard input, where no list of processes and no
/// shell's history shows it.
pub fn or_standard_input(typed: String) -> Result<String> {
    if typed != "-" {
        return Ok(typed);
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(LONGEST_LINE)
        .read_line(&mut line)
        .map_err(|error| files::reading(Path::new("standard input"), &error))?;
    Ok(line.trim().to_owned())
}

/// A name server as it is typed: an address, and a port unless it is 53.
pub fn name_server(typed: &str) -> std::result::Result<SocketAddr, String> {
    let bare = typed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(typed);
    let address = typed.parse().or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)));
    address.map_err(|_| "write an IP address as in 192.0.2.53, 192.0.2.53:53 or [2001:db8::53]:53".to_owned())
}

/// Ends a program: 0, or the error on standard error and 1. Wrong usage is 2, by clap. What does harm when it is tried
/// again as it is has a status of its own, by which a unit of systemd doesn't start the program again.
pub fn exit(result: Result<()>) -> ExitCode {
    result.inspect_err(tell).map_or_else(|error| status(&error), |()| ExitCode::SUCCESS)
}

/// The same for a program whose results are JSON: its error is as well.
pub fn exit_as_json(result: Result<()>) -> ExitCode {
    result.inspect_err(tell_as_json).map_or_else(|error| status(&error), |()| ExitCode::SUCCESS)
}

fn status(error: &Error) -> ExitCode {
    match error.code {
        Code::PinRefused => ExitCode::from(NOT_AGAIN),
        _ => ExitCode::FAILURE,
    }
}

/// An error for a person: what happened, and what to do next.
pub fn tell(error: &Error) {
    let (red, cyan) = (colour(AnsiColor::Red).bold(), colour(AnsiColor::Cyan));
    // Nothing can be done when standard error is closed.
    let _ = writeln!(
        AutoStream::auto(std::io::stderr()),
        "{red}error{red:#} {}: {}\n{cyan}next{cyan:#}: {}",
        error.code,
        error.what,
        error.next
    );
}

/// An error for a program: one line of JSON, as `docs/json.md` describes it.
pub fn tell_as_json(error: &Error) {
    let line = serde_json::json!({ "error": Problem::from(error) });
    // Nothing can be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An error, as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// The stable code.
    pub code: &'static str,
    /// The documented number that administrators know for it.
    pub known_number: Option<String>,
    /// What happened.
    pub what: String,
    /// What to do next.
    pub next: String,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code.as_str(),
            known_number: error.code.known_number().map(|number| format!("0x{number:08X}")),
            what: error.what.clone(),
            next: error.next.clone(),
        }
    }
}

impl Problem {
    /// The code, with the known number behind it.
    pub fn number(&self) -> String {
        match &self.known_number {
            Some(number) => format!("{} ({number})", self.code),
            None => self.code.to_owned(),
        }
    }
}

/// A colour of the terminal's own, so that it suits the background.
pub fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(colour.into()))
}

/// Standard output, which shows colours on a terminal only.
pub fn standard_output() -> AutoStream<Stdout> {
    AutoStream::auto(std::io::stdout())
}

/// Prints lines. When the reader has gone, as with `| head`, nothing more is printed and nothing is wrong.
pub fn print(out: &mut impl Write, text: &str) -> Result<()> {
    match writeln!(out, "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(files::writing(Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object in each line.
    Json,
}

/// Sends log lines to standard error; `QUORATE_LOG` chooses which, as in `QUORATE_LOG=debug`.
pub fn start_log() {
    start_log_as(LogFormat::Text, None);
}

/// As [`start_log`], in a format, and with a filter for when `QUORATE_LOG` is not set.
pub fn start_log_as(format: LogFormat, filter: Option<&str>) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(log_filter(filter))
        .with_writer(std::io::stderr)
        .with_ansi(AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never);
    // A second start, as in tests that run a program's code twice, keeps the first.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
}

/// Which lines are written: what `QUORATE_LOG` says, or else this, or else those of `info` and above.
pub fn log_filter(otherwise: Option<&str>) -> EnvFilter {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let set = std::env::var("QUORATE_LOG").ok().filter(|set| !set.is_empty());
    builder.parse_lossy(set.as_deref().or(otherwise).unwrap_or_default())
}

/// Whether a text chooses log lines, as `QUORATE_LOG` does.
pub fn is_log_filter(text: &str) -> bool {
    !text.trim().is_empty() && EnvFilter::builder().parse(text).is_ok()
}

/// Longer than any key or ID, however it is spaced.
const LONGEST_LINE: u64 = 4096;
const DNS_PORT: u16 = 53;
/// As clap has it.
const WRONG_USAGE: u8 = 2;
/// By sysexits.h: something is configured wrongly.
pub const NOT_AGAIN: u8 = 78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_has_port_53_unless_it_is_given() {
        for (typed, read) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(name_server(typed).unwrap().to_string(), read);
        }
        for typed in ["", "ns.example.com", "192.0.2.53:", "192.0.2.53:70000", "[192.0.2.53", "53"] {
            assert!(name_server(typed).is_err(), "{typed}");
        }
    }
}
