//! Files that help at the command line, made from the arguments that a program has: completions for shells, and
//! manual pages. Packages are made with them, so they can't lag behind the program.

use super::print;
use crate::files;
use clap::{Command, CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use quorate_core::Result;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The subcommands that write them: the last ones of every program.
#[derive(Clone, Debug, Subcommand)]
pub enum HelpFiles {
    /// Print the completions of this program for a shell.
    Completions {
        /// The shell that is to read them.
        shell: Shell,
    },
    /// Write the manual pages of this program and its commands to a directory.
    ManPages {
        /// The directory; it is made when it is not there.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// What the manual pages of a program say that its arguments do not.
pub struct Manual {
    /// Ways to end besides those that all programs have: on which page, with which status, and what it means.
    pub statuses: &'static [(&'static str, u8, &'static str)],
    /// Environment variables that are not those of an option.
    pub environment: &'static [(&'static str, &'static str)],
}

impl HelpFiles {
    /// The subcommand, as it is typed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Completions { .. } => "completions",
            Self::ManPages { .. } => "man-pages",
        }
    }

    /// Writes them for the program with these arguments.
    pub fn write<A: CommandFactory>(&self, manual: &Manual, out: &mut impl Write) -> Result<()> {
        let mut command = A::command();
        match self {
            Self::Completions { shell } => {
                let (name, mut script) = (command.get_name().to_owned(), Vec::new());
                clap_complete::generate(*shell, &mut command, &name, &mut script);
                // For bash a program with a hyphen in its name is spelled in two ways (clap issue 6421), and
                // nothing is completed behind its subcommands. This is the one way for both.
                let (wrong, right) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
                let script = String::from_utf8_lossy(&script).replace(&wrong, &right);
                print(out, script.trim_end())
            }
            Self::ManPages { directory } => {
                let failed = |error| files::writing(directory, &error);
                std::fs::create_dir_all(directory).map_err(failed)?;
                // There is no page for `help`, which shows what the others say.
                command = command.disable_help_subcommand(true);
                command.build();
                let version = command.get_version().unwrap_or_default();
                let source = format!("{} {version}", command.get_name());
                write_pages(&command, manual, &source, directory).map_err(failed)
            }
        }
    }
}

/// The page of a command and of all below it.
fn write_pages(command: &Command, manual: &Manual, source: &str, directory: &Path) -> io::Result<()> {
    let man = Man::new(command.clone()).source(source).manual("Quorate");
    let (name, mut page) = (man.get_filename(), Vec::new());
    man.render(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    let sections = statuses_and_environment(command, name.trim_end_matches(".1"), manual);
    page.insert_str(page.find(VERSION).map_or(page.len(), |newline| newline + 1), &sections);
    std::fs::write(directory.join(name), page)?;
    command.get_subcommands().try_for_each(|command| write_pages(command, manual, source, directory))
}

fn statuses_and_environment(command: &Command, page: &str, manual: &Manual) -> String {
    let mut roff = Roff::new();
    let item = |roff: &mut Roff, term: &str, text: &str| {
        roff.control("TP", []).text([bold(term)]).text([roman(text)]);
    };
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in STATUSES {
        item(&mut roff, &status.to_string(), meaning);
    }
    for (_, status, meaning) in manual.statuses.iter().filter(|(on, _, _)| *on == page) {
        item(&mut roff, &status.to_string(), meaning);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
        if let Some((variable, long)) = option.get_env().zip(option.get_long()) {
            item(&mut roff, &variable.to_string_lossy(), &format!("As --{long}, which comes before it."));
        }
    }
    for (variable, meaning) in manual.environment.iter().chain(ENVIRONMENT) {
        item(&mut roff, variable, meaning);
    }
    roff.to_roff()
}

/// Where a page says the program's version, at its end.
const VERSION: &str = "\n.SH VERSION";
/// As `docs/errors.md` has them.
const STATUSES: [(u8, &str); 3] = [
    (0, "Done."),
    (1, "Failed: the error is on standard error, with a stable code, what happened, and what to do next."),
    (2, "Typed wrongly: nothing was done."),
];
/// What each program heeds.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "QUORATE_LOG",
        "Which log lines are written, as in debug or quorate_edge=trace; info and above, unless told.",
    ),
    ("NO_COLOR", "Where it is set, nothing is printed in colour."),
];
/// The way through a proxy, for the programs that ask something by HTTPS.
pub const PROXY: &str = "The proxy on the way to other services; ALL_PROXY and NO_PROXY are heeded as well.";
