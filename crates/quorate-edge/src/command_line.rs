//! Habits that the programs share at the command line: slash forms, exit status, log lines.

use crate::files;
use quorate_core::Result;
use std::ffi::OsString;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Turns the slash forms that administrators know into plain subcommands: `/sethst:kms.example.com`
/// becomes `set-host kms.example.com`. `forms` pairs each slash name with its subcommand.
pub fn plain_arguments(
    arguments: impl IntoIterator<Item = OsString>,
    forms: &[(&str, &str)],
) -> Vec<OsString> {
    let mut plain = Vec::new();
    for argument in arguments {
        let form = argument.to_str().and_then(|text| slash_form(text, forms));
        match form {
            Some((subcommand, value)) => {
                plain.push(subcommand.into());
                plain.extend(value.map(OsString::from));
            }
            None => plain.push(argument),
        }
    }
    plain
}

fn slash_form<'a>(text: &'a str, forms: &[(&str, &'a str)]) -> Option<(&'a str, Option<&'a str>)> {
    let (name, value) = match text.strip_prefix('/')?.split_once(':') {
        Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
        None => (text.strip_prefix('/')?, None),
    };
    let (_, subcommand) = forms.iter().find(|(slash, _)| slash.eq_ignore_ascii_case(name))?;
    Some((subcommand, value))
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

/// Ends a program: 0, or the error on standard error and 1. Wrong usage is 2, by clap.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{}", error.report());
            ExitCode::FAILURE
        }
    }
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

/// Sends log lines to standard error; `QUORATE_LOG` chooses which, as in `QUORATE_LOG=debug`.
pub fn start_log() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var("QUORATE_LOG")
        .from_env_lossy();
    // A second start, as in tests that run a program's code twice, keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}

/// Longer than any key or ID, however it is spaced.
const LONGEST_LINE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slash_forms_become_subcommands() {
        let forms = [("sethst", "set-host"), ("act", "activate")];
        let plain = |arguments: &[&str]| {
            plain_arguments(arguments.iter().map(OsString::from), &forms)
                .into_iter()
                .map(|argument| argument.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&["q", "/sethst:10.0.0.1"]), ["q", "set-host", "10.0.0.1"]);
        assert_eq!(plain(&["q", "/SETHST:", "::1"]), ["q", "set-host", "::1"]);
        assert_eq!(plain(&["q", "--dir", "/var/lib", "/act"]), ["q", "--dir", "/var/lib", "activate"]);
        assert_eq!(plain(&["q", "/unknown"]), ["q", "/unknown"]);
    }
}
