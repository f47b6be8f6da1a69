//! SQLite, as the vendor's service and the host both use it: opened for full durability, with its failures
//! in our words.

use crate::files;
use quorate_core::{Code, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Transaction, TransactionBehavior, ffi};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An open database file.
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Makes the file, readable for its owner alone and with what `fill` puts into it, unless it is there
    /// already. Whoever finds the file finds it whole.
    pub fn create_if_missing(
        path: &Path,
        fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        let journal = path.with_extension("db-wal");
        if journal.exists() {
            // SQLite would put the old journal's pages into the new file.
            return Err(damaged(
                path,
                &format!("it is missing, but its journal {} is there", journal.display()),
            ));
        }
        let image = || -> rusqlite::Result<Vec<u8>> {
            let connection = Connection::open_in_memory()?;
            fill(&connection)?;
            Ok(connection.serialize(MAIN_DB)?.to_vec())
        };
        let image = image().map_err(|error| explain(path, &error))?;
        files::write_if_missing(path, &image, files::Access::OfDirectory)
    }

    /// Opens the file. A committed change is on the disk (write-ahead log, flushed at every commit).
    pub fn open(path: &Path) -> Result<Self> {
        match path.metadata() {
            // SQLite would take it for a new one, and throw its journal away.
            Ok(file) if file.len() == 0 => return Err(damaged(path, "it is empty")),
            Ok(_) => {}
            Err(error) => return Err(files::reading(path, &error)),
        }
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            keep_as_it_is(&connection, true);
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "cache_size", -CACHE)?;
            connection.pragma_update(None, "wal_autocheckpoint", JOURNAL)?;
            keep_as_it_is(&connection, false);
            Ok(connection)
        };
        let connection = open().map_err(|error| explain(path, &error))?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Finds out whether the whole file is sound, which takes a second for each few hundred megabytes.
    pub fn check(&self) -> Result<()> {
        let found: String =
            self.read(|connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        if found == "ok" {
            return Ok(());
        }
        keep_as_it_is(&self.connection, true);
        Err(self.damaged("it is not a sound database"))
    }

    /// Finds out whether every page, row and index of the file is sound, which takes longer.
    pub fn check_everything(&self) -> Result<()> {
        let found: String =
            self.read(|connection| connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)))?;
        if found == "ok" { Ok(()) } else { Err(self.damaged(&found)) }
    }

    /// Brings the file to the newest form. It is made in form 1; `steps` lead from each form to the next, one
    /// transaction each. A file of a newer program is left as it is.
    pub fn migrate(&mut self, steps: &[&str]) -> Result<()> {
        let form: i64 =
            self.read(|connection| connection.query_row("PRAGMA user_version", [], |row| row.get(0)))?;
        let form = usize::try_from(form).unwrap_or(usize::MAX);
        let newest = steps.len() + 1;
        if form > newest {
            return Err(Error::new(
                Code::StoreDamaged,
                format!("{} is of form {form}; this program knows forms up to {newest}", self.path.display()),
                "use the program that wrote it, or a newer one; the file was not changed",
            ));
        }
        for (step, to) in steps.iter().zip(2..).skip(form.saturating_sub(1)) {
            self.change(|transaction| {
                transaction.execute_batch(step)?;
                transaction.pragma_update(None, "user_version", to)
            })?;
        }
        Ok(())
    }

    /// Writes the content of this moment into another file, readable for its owner alone. Others may go on changing
    /// this one.
    pub fn back_up(&self, to: &Path) -> Result<()> {
        let directory = files::directory_of(to);
        let writing = |error: &io::Error| files::writing(to, error);
        let file = tempfile::Builder::new().prefix(".quorate-").tempfile_in(directory);
        let file = file.map_err(|error| writing(&error))?;
        let path = file.path().to_string_lossy().into_owned();
        self.connection.execute("VACUUM INTO ?1", [path]).map_err(|error| explain(to, &error))?;
        file.as_file().sync_all().map_err(|error| writing(&error))?;
        file.persist(to).map_err(|error| writing(&error.error))?;
        std::fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| writing(&error))
    }

    /// Makes sure that no other program has the file open, and puts the journal's pages into it.
    pub fn close_alone(self) -> Result<()> {
        // SQLite leaves the journal only when nobody else is there.
        self.connection.busy_timeout(Duration::from_millis(200)).map_err(|error| self.failed(&error))?;
        let alone: rusqlite::Result<String> =
            self.connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0));
        match alone {
            Ok(mode) if mode == "delete" => Ok(()),
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                Err(self.failed(&error))
            }
            _ => Err(Error::new(
                Code::Unwritable,
                format!("{} is open in another program", self.path.display()),
                "stop the program that serves from it, and try again",
            )),
        }
    }

    /// The file stays as it is when this is closed, and its journal beside it.
    pub fn leave_as_it_is(&self) {
        keep_as_it_is(&self.connection, true);
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks something.
    pub fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        query(&self.connection).map_err(|error| self.failed(&error))
    }

    /// Asks several things, of one moment whatever others write meanwhile.
    pub fn read_together<T>(&self, queries: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.read(|connection| {
            let _moment = connection.unchecked_transaction()?;
            queries(connection)
        })
    }

    /// Begins a transaction of which the caller makes sure that it is the only one.
    #[cfg(feature = "sql")]
    pub(crate) fn begin(&self, behavior: TransactionBehavior) -> Result<Transaction<'_>> {
        Transaction::new_unchecked(&self.connection, behavior).map_err(|error| self.failed(&error))
    }

    /// Changes something, whole or not at all; it is on the disk when this returns.
    pub fn change<T>(&mut self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let apply = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        apply(&mut self.connection).map_err(|error| self.failed(&error))
    }

    /// A value in the file, for the error that says it can't be.
    pub fn damaged(&self, what: &str) -> Error {
        damaged(&self.path, what)
    }

    pub(crate) fn failed(&self, error: &rusqlite::Error) -> Error {
        let error = explain(&self.path, error);
        if error.code == Code::StoreDamaged {
            keep_as_it_is(&self.connection, true);
        }
        error
    }
}

/// Whether the last to close the file leaves it alone, instead of moving the journal's pages into it: what is
/// damaged is to stay as it was found.
fn keep_as_it_is(connection: &Connection, keep: bool) {
    // The setting exists since SQLite 3.17, and a newer one is built in.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep);
}

pub(crate) fn explain(path: &Path, error: &rusqlite::Error) -> Error {
    let unwritable = |why: &str, next: &str| {
        Error::new(Code::Unwritable, format!("{} cannot be written: {why}", path.display()), next)
    };
    let sqlite = error.sqlite_error();
    match sqlite.map(|error| error.code) {
        Some(ErrorCode::DiskFull) => Error::new(
            Code::DiskFull,
            format!("{} cannot be written: no space left on device", path.display()),
            "free some space; nothing that was stored before is lost",
        ),
        Some(ErrorCode::SystemIoFailure)
            if sqlite.is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHORT_READ) =>
        {
            damaged(path, "it is cut off")
        }
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure,
        ) => match write_beside(path) {
            Err(error) => files::writing(path, &error),
            Ok(()) => unwritable("the disk reports an error", "check the disk and its free space"),
        },
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

/// SQLite does not say why the system would not let it write; the system says so when it is asked again.
fn write_beside(path: &Path) -> io::Result<()> {
    std::fs::File::options().append(true).open(path)?;
    let mut file = tempfile::tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(&[0; SHARED_MEMORY])?;
    file.sync_all()
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(
        Code::StoreDamaged,
        format!("{} is damaged: {what}", path.display()),
        // A journal that stays beside an older file would be put into it.
        "put a backup of the whole directory in its place; the file was not changed",
    )
}

/// Pages that are kept in memory, in KiB.
const CACHE: i32 = 16 * 1024;
/// Pages that the journal may hold before they are put into the file, 32 MiB: a page that changes often is then
/// moved once in a while instead of each time.
const JOURNAL: i32 = 8 * 1024;
/// What SQLite takes beside the database before it writes anything.
const SHARED_MEMORY: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn database(directory: &tempfile::TempDir) -> Database {
        let path = directory.path().join("some.db");
        let fill = |connection: &Connection| {
            connection.execute_batch("CREATE TABLE thing (name TEXT) STRICT; PRAGMA user_version = 1")
        };
        Database::create_if_missing(&path, fill).unwrap();
        Database::open(&path).unwrap()
    }

    #[test]
    fn a_file_is_brought_to_the_newest_form_step_by_step() {
        let directory = tempfile::tempdir().unwrap();
        let steps = [
            "ALTER TABLE thing ADD COLUMN size INTEGER",
            "UPDATE thing SET size = 7",
            "INSERT INTO nothing VALUES (1)",
        ];
        let mut old = database(&directory);
        old.change(|transaction| transaction.execute("INSERT INTO thing VALUES ('one')", [])).unwrap();
        old.migrate(&steps[..1]).unwrap();
        // Again is no change; a step that fails leaves the file at the form before it.
        old.migrate(&steps[..1]).unwrap();
        assert!(old.migrate(&steps).is_err());
        let size = |database: &Database| {
            database.read(|connection| {
                connection.query_row("SELECT size FROM thing", [], |row| row.get::<_, i64>(0))
            })
        };
        assert_eq!(size(&old).unwrap(), 7);
        // A program that knows less leaves it alone.
        let error = old.migrate(&[]).unwrap_err();
        assert_eq!(error.code, Code::StoreDamaged);
        assert!(error.what.ends_with("some.db is of form 3; this program knows forms up to 1"), "{error}");
    }

    #[test]
    fn a_backup_is_of_one_moment_and_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let mut one = database(&directory);
        one.change(|transaction| transaction.execute("INSERT INTO thing VALUES ('one')", [])).unwrap();
        let to = directory.path().join("backup.db");
        one.back_up(&to).unwrap();
        one.change(|transaction| transaction.execute("DELETE FROM thing", [])).unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        let copy = Database::open(&to).unwrap();
        copy.check_everything().unwrap();
        let count =
            copy.read(|connection| connection.query_row("SELECT count(*) FROM thing", [], |row| row.get(0)));
        assert_eq!(count, Ok(1));
    }

    #[test]
    fn nobody_is_alone_while_another_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (database(&directory), database(&directory));
        other
            .read(|connection| {
                connection.query_row("SELECT count(*) FROM thing", [], |row| row.get::<_, i64>(0))
            })
            .unwrap();
        let error = one.close_alone().unwrap_err();
        assert!(error.what.ends_with("some.db is open in another program"), "{error}");
        other.close_alone().unwrap();
        database(&directory).close_alone().unwrap();
    }
}
