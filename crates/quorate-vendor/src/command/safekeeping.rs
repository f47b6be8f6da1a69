//! `backup`, `restore` and `verify`: the vendor's directory as one file, while the service goes on.
//!
//! A backup is a tar archive of the certificates, the keys that sign, and the database of one moment. A PostgreSQL is
//! backed up by its own means; then the archive holds the certificates and keys alone, and says so.

use super::output::Output;
use crate::authority::Authority;
use crate::service::{self, Service};
use clap::Subcommand;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::files::{self, Access};
use quorate_edge::sql::Location;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Safekeeping {
    /// Write the vendor's certificates, signing keys and database of this moment into a file, while the service goes on.
    Backup {
        /// The file, which must not be there yet; whoever reads it can sign as the vendor.
        file: PathBuf,
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
            Self::Backup { file } => {
                let service = Service::open_in(directory, database, clock.clone())?;
                let whole = back_up(&service, directory, &file)?;
                let path = file.display().to_string();
                output.say(&serde_json::json!({ "file": path, "database": whole }), || match whole {
                    true => format!("{path} holds all of the vendor. Keep it where only you can read it."),
                    false => format!(
                        "{path} holds the certificates and signing keys. Keep it where only you can read it.\n\
                         The database is in PostgreSQL: back it up with pg_dump."
                    ),
                })
            }
            Self::Restore { file } => {
                restore(directory, &file, matches!(database, Location::File(_)))?;
                Service::open_in(directory, database, clock.clone())?;
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
                    format!("The database is sound, and the audit log of {entries} entries is whole.")
                })
            }
        }
    }
}

/// Writes the archive, and says whether the database is in it.
fn back_up(service: &Service, directory: &Path, to: &Path) -> Result<bool> {
    if to.exists() {
        return Err(Error::new(
            Code::AlreadyThere,
            format!("{} is there already", to.display()),
            "give another name",
        ));
    }
    let place = tempfile::Builder::new().prefix(".quorate-").tempdir_in(files::directory_of(to));
    let place = place.map_err(|error| files::writing(to, &error))?;
    let copy = place.path().join(service::DATABASE);
    let whole = service.back_up(&copy)?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, content).map_err(|error| files::writing(to, &error))
    };
    for name in Authority::FILES.into_iter().filter(|name| directory.join(name).exists()) {
        add(name, &files::read(&directory.join(name))?)?;
    }
    if whole {
        add(service::DATABASE, &files::read(&copy)?)?;
    }
    let archive = archive.into_inner().map_err(|error| files::writing(to, &error))?;
    files::write(to, &archive, Access::Private)?;
    Ok(whole)
}

/// Reads the whole archive before anything is written, and writes only what a vendor's directory has.
fn restore(directory: &Path, from: &Path, with_database: bool) -> Result<()> {
    let damaged = |why: &str| {
        Error::new(
            Code::StoreDamaged,
            format!("{} is not a whole backup: {why}", from.display()),
            "give another backup; nothing was changed",
        )
    };
    let content = files::read(from)?;
    let mut archive = tar::Archive::new(content.as_slice());
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in archive.entries().map_err(|error| damaged(&error.to_string()))? {
        let mut entry = entry.map_err(|error| damaged(&error.to_string()))?;
        let name = entry.path().map_err(|error| damaged(&error.to_string()))?.display().to_string();
        if name != service::DATABASE && !Authority::FILES.contains(&name.as_str()) {
            return Err(damaged(&format!("it holds {name:?}")));
        }
        let mut part = Vec::new();
        entry.read_to_end(&mut part).map_err(|error| damaged(&error.to_string()))?;
        parts.push((name, part));
    }
    Authority::are_whole(|wanted| parts.iter().any(|(name, _)| name == wanted))
        .map_err(|missing| damaged(&format!("{missing} is missing")))?;
    match (parts.iter().any(|(name, _)| name == service::DATABASE), with_database) {
        (true, true) | (false, false) => {}
        (false, true) => {
            return Err(Error::new(
                Code::RequestInvalid,
                format!("{} is of a vendor whose database is in PostgreSQL", from.display()),
                "name that database with --database",
            ));
        }
        (true, false) => {
            return Err(Error::new(
                Code::RequestInvalid,
                format!("{} holds a database, and --database names another", from.display()),
                "restore it without --database",
            ));
        }
    }
    files::make_private_directory(directory)?;
    // A journal that is left over would be taken for the restored database's own.
    let journals = ["vendor.db-wal", "vendor.db-shm", "vendor.db-journal"];
    for name in parts.iter().map(|(name, _)| name.as_str()).chain(journals) {
        let path = directory.join(name);
        if path.exists() {
            return Err(Error::new(
                Code::AlreadyThere,
                format!("{} is there already", path.display()),
                "move it away, or restore into another directory with --dir",
            ));
        }
    }
    let write = |(name, part): &(String, Vec<u8>)| {
        let private = name.ends_with(".key.pem") || name == service::DATABASE;
        let access = if private { Access::OfDirectory } else { Access::Public };
        files::write(&directory.join(name), part, access)
    };
    parts.iter().try_for_each(write).inspect_err(|_| {
        // Half a vendor would only be in the way of the next attempt.
        for (name, _) in &parts {
            let _ = std::fs::remove_file(directory.join(name));
        }
    })
}
