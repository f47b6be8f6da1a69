//! Files that help at the command line, made from the arguments that a program has: completions for shells, and
//! manual pages. Packages are made with them, so they can't lag behind the program.

use super::print;
use crate::files;
use clap::{Command, CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
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

impl HelpFiles {
    /// The subcommand, as it is typed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Completions { .. } => "completions",
            Self::ManPages { .. } => "man-pages",
        }
    }

    /// Writes them for the program with these arguments.
    pub fn write<A: CommandFactory>(&self, out: &mut impl Write) -> Result<()> {
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
                write_pages(&command, &source, directory).map_err(failed)
            }
        }
    }
}

/// The page of a command and of all below it.
fn write_pages(command: &Command, source: &str, directory: &Path) -> io::Result<()> {
    Man::new(command.clone()).source(source).manual("Quorate").generate_to(directory)?;
    command.get_subcommands().try_for_each(|command| write_pages(command, source, directory))
}
