//! `quorate-host backup`, `restore` and `verify`.

use crate::store::{Content, Store};
use clap::Subcommand;
use quorate_core::{Result, words};
use quorate_edge::command_line::print;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What can be done for the host's database.
#[derive(Subcommand)]
pub enum Safekeeping {
    /// Write the host's database of this moment into a file, while the host goes on; it holds the host's credentials.
    Backup {
        /// The file, which must not be there yet.
        file: PathBuf,
    },
    /// Put a backup in the place of the host's database; what was there is kept beside it.
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Find out whether the host's database, or a backup, is sound.
    Verify {
        /// The backup; without one, the host's database.
        file: Option<PathBuf>,
    },
}

impl Safekeeping {
    /// Does it for the host in this directory.
    pub fn run(self, directory: &Path, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Backup { file } => {
                Store::open(directory)?.back_up(&file)?;
                let content = Store::verify(&file)?;
                print(
                    out,
                    &format!(
                        "{} holds {}. Keep it where only you can read it.",
                        file.display(),
                        in_words(&content)
                    ),
                )
            }
            Self::Restore { file } => {
                let content = Store::restore(directory, &file)?;
                print(
                    out,
                    &format!(
                        "Restored {}.\nnext: quorate-host dlv, then quorate-host serve",
                        in_words(&content)
                    ),
                )
            }
            Self::Verify { file } => {
                let file = match file {
                    Some(file) => file,
                    None => {
                        Store::open(directory)?;
                        directory.join(crate::store::FILE)
                    }
                };
                print(out, &format!("{} is sound: {}.", file.display(), in_words(&Store::verify(&file)?)))
            }
        }
    }
}

fn in_words(content: &Content) -> String {
    let keys = match content.keys.len() {
        0 => "no host key".to_owned(),
        1 => format!("host key {}", content.keys[0]),
        several => format!("{several} host keys"),
    };
    format!("{keys} and {}", words::counted(content.machines, "machine"))
}
