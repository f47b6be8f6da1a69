//! SQLite, as the vendor's service and the host both use it: opened for full durability, with its failures
//! in our words.

use crate::files;
use quorate_core::{Code, Error, Result};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An open database file.
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Makes the file, readable for its owner alone, when it is not there, and opens it. A committed change
    /// is on the disk (write-ahead log, flushed at every commit).
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            // SQLite gives its journal the mode that the file has.
            files::write(path, b"", files::Access::Private)?;
        }
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| explain(path, &error))?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Asks something.
    pub fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        query(&self.connection).map_err(|error| explain(&self.path, &error))
    }

    /// Changes something, whole or not at all; it is on the disk when this returns.
    pub fn change<T>(&mut self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let apply = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        apply(&mut self.connection).map_err(|error| explain(&self.path, &error))
    }

    /// A value in the file, for the error that says it can't be.
    pub fn damaged(&self, what: &str) -> Error {
        damaged(&self.path, what)
    }
}

fn explain(path: &Path, error: &rusqlite::Error) -> Error {
    let unwritable = |why: &str, next: &str| {
        Error::new(Code::Unwritable, format!("{} cannot be written: {why}", path.display()), next)
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::new(
            Code::DiskFull,
            format!("{} cannot be written: no space left on device", path.display()),
            "free some space; nothing that was stored before is lost",
        ),
        Some(ErrorCode::ReadOnly) => {
            unwritable("it is read-only", "run the command as the user who owns it, or with sudo")
        }
        Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            unwritable("permission denied", "run the command as the user who owns it, or with sudo")
        }
        Some(ErrorCode::SystemIoFailure) => {
            unwritable("the disk reports an error", "check the disk and its free space")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => unwritable(
            "another program has held it for ten seconds",
            "try again; see which program has the file open",
        ),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            damaged(path, "it is not a sound database")
        }
        _ => damaged(path, &error.to_string()),
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(
        Code::StoreDamaged,
        format!("{} is damaged: {what}", path.display()),
        "restore it from a backup; it was not changed",
    )
}
