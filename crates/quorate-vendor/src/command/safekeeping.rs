//! `backup`, `restore` and `verify`: the vendor's directory as one file, while the service goes on.
//!
//! What a backup is made of, [`crate::backup`] says.

use super::output::Output;
use crate::backup;
use crate::service::Service;
use clap::Subcommand;
use quorate_core::{Result, words};
use quorate_edge::clock::Clock;
use quorate_edge::sql::Location;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Safekeeping {
    /// Write the vendor's certificates, signing keys and database of this moment into a file, while the service goes on.
    Backup {
        /// The file, which must not be there yet; whoever reads it can sign as the vendor.
        file: PathBuf,
        /// Leave the database out: for another replica, or where PostgreSQL's own means keep it.
        #[arg(long)]
        without_database: bool,
    },
    /// Set the vendor up from a backup, in a directory where there is none.
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Find out whether the database is sound, and the audit log whole.
    Verify,
}

impl Safekeeping {
    pub fn run<W: Write>(
        self,
        directory: &Path,
        database: &Location,
        clock: &Clock,
        output: &mut Output<'_, W>,
    ) -> Result<()> {
        match self {
            Self::Backup { file, without_database } => {
                let service = Service::open_in(directory, database, clock.clone())?;
                backup::back_up(&service, directory, &file, !without_database)?;
                let path = file.display().to_string();
                output.say(&serde_json::json!({ "file": path, "database": !without_database }), || {
                    let what = match without_database {
                        true => "the certificates and signing keys",
                        false => "all of the vendor",
                    };
                    format!("{path} holds {what}. Keep it where only you can read it.")
                })
            }
            Self::Restore { file } => {
                backup::restore(directory, database, &file, clock)?;
                let directory = directory.display().to_string();
                output.say(&serde_json::json!({ "directory": directory }), || {
                    format!("The vendor is in {directory} again.\nnext: quorate-vendor verify")
                })
            }
            Self::Verify => {
                let service = Service::open_in(directory, database, clock.clone())?;
                service.check()?;
                service.authority().check()?;
                let entries = service.verify_audit(None)?.map_or(0, |last| last.number);
                output.say(&serde_json::json!({ "sound": true, "audit-entries": entries }), || {
                    let entries = words::counted(entries, "entry");
                    format!("The database is sound, and the audit log of {entries} is whole.")
                })
            }
        }
    }
}
