//! Files that help at the command line, made from the arguments that a program has: completions for shells, and
//! manual pages. Packages are made with them, so they can't lag behind the program.

use super::print;
use crate::files;
use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use quorate_core::Result;
use std::io::Write;
use std::path::PathBuf;

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
    /// Writes them for the program with these arguments.
    pub fn write<A: CommandFactory>(&self, out: &mut impl Write) -> Result<()> {
        let mut command = A::command();
        match self {
            Self::Completions { shell } => {
                let (name, mut script) = (command.get_name().to_owned(), Vec::new());
                clap_complete::generate(*shell, &mut command, name, &mut script);
                print(out, String::from_utf8_lossy(&script).trim_end())
            }
            Self::ManPages { directory } => {
                let failed = |error| files::writing(directory, &error);
                std::fs::create_dir_all(directory).map_err(failed)?;
                clap_mangen::generate_to(command, directory).map_err(failed)
            }
        }
    }
}
