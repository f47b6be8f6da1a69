//! One store in SQLite or in PostgreSQL, by the same statements.
//!
//! Statements are written in what both understand, with parameters as `$1`. Whoever changes something waits for his
//! turn, in whatever program or on whatever machine he is, so a rule may look, decide and write as if it were alone:
//! there is nothing to repeat and no number to exceed. Whoever reads sees one moment and waits for nobody.
//!
//! In SQLite a turn is the file's write lock; in PostgreSQL the one row of the table `schema_form`, which also says what
//! form the tables have.

mod value;

pub use value::{FromValue, Row, Value, values};

use crate::database::Database;
use crate::files;
use crate::postgres::Server;
use postgres::IsolationLevel;
use postgres::types::ToSql;
use quorate_core::{Code, Error, Result};
use rusqlite::{Connection, TransactionBehavior};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a store is kept.
#[derive(Clone)]
pub enum Location {
    /// In an SQLite file.
    File(PathBuf),
    /// In the PostgreSQL of this connection string.
    Postgres(String),
}

impl Location {
    /// A PostgreSQL as it is given to a program: its connection string, or `@FILE` for a file that holds one.
    pub fn given(text: &str) -> Result<Self> {
        let url = match text.strip_prefix('@') {
            Some(path) => files::read_text(Path::new(path))?.trim().to_owned(),
            None => text.to_owned(),
        };
        crate::postgres::check(&url)?;
        Ok(Self::Postgres(url))
    }
}

/// The connection string may hold a password.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path) => path.fmt(f),
            Location::Postgres(_) => f.write_str("PostgreSQL"),
        }
    }
}

/// A store that several threads, programs and machines use together.
pub struct Sql(Kind);

enum Kind {
    Sqlite { path: PathBuf, writer: Mutex<Database>, readers: Mutex<Vec<Database>> },
    Postgres { url: String, program: &'static str, servers: Mutex<Vec<Server>> },
}

impl Sql {
    /// Makes the tables of form 1 and fills them, in a new file or in a database that has none of them. Whoever finds
    /// them finds them whole.
    pub fn create(
        location: &Location,
        program: &'static str,
        schema: &str,
        fill: impl FnOnce(&mut Session<'_>) -> Result<()>,
    ) -> Result<()> {
        match location {
            Location::File(path) => {
                let (mut refused, failed) = (None, |error: &_| crate::database::explain(path, error));
                let made = Database::create_if_missing(path, |connection| {
                    connection.execute_batch(FORM)?;
                    connection.execute_batch(schema)?;
                    fill(&mut Session(Open::Sqlite { connection, failed: &failed })).map_err(|error| {
                        refused = Some(error);
                        rusqlite::Error::InvalidQuery
                    })
                });
                refused.map_or(made, Err)?;
                // There must be room for its journal as well, or it would be made and could not be used.
                Self::open(location, program)?.change(|session| {
                    session.execute("UPDATE schema_form SET number = number", values![]).map(drop)
                })
            }
            Location::Postgres(url) => {
                let mut server = Server::new(url, program)?;
                if form(&mut server)?.is_some() {
                    return Err(Error::new(
                        Code::AlreadyThere,
                        "the tables are in this database already",
                        "give each its own database",
                    ));
                }
                server.with(|client| {
                    let mut transaction = client.transaction()?;
                    transaction.batch_execute(FORM)?;
                    transaction.batch_execute(schema)?;
                    in_turn(transaction, fill)
                })?
            }
        }
    }

    /// Opens what [`Sql::create`] made.
    pub fn open(location: &Location, program: &'static str) -> Result<Self> {
        Ok(Self(match location {
            Location::File(path) => Kind::Sqlite {
                path: path.clone(),
                writer: Mutex::new(Database::open(path)?),
                readers: Mutex::default(),
            },
            Location::Postgres(url) => {
                let mut server = Server::new(url, program)?;
                if form(&mut server)?.is_none() {
                    return Err(Error::new(
                        Code::NotSetUp,
                        "the database has none of the tables",
                        "set them up first, or correct the connection string",
                    ));
                }
                Kind::Postgres { url: url.clone(), program, servers: Mutex::new(vec![server]) }
            }
        }))
    }

    /// Brings the tables to the newest form: `steps` lead from form 1 to the next and so on, each whole or not at all.
    /// What a newer program has written is left as it is.
    pub fn migrate(&self, steps: &[&str]) -> Result<()> {
        let newest = steps.len() + 1;
        for (step, to) in steps.iter().zip(2i64..) {
            self.change(|session| {
                let form: i64 = session.row("SELECT number FROM schema_form", values![])?.take()?;
                if form + 1 == to {
                    step.split(';')
                        .map(str::trim)
                        .filter(|one| !one.is_empty())
                        .try_for_each(|one| session.execute(one, values![]).map(drop))?;
                    session.execute("UPDATE schema_form SET number = $1", values![to])?;
                }
                Ok(())
            })?;
        }
        let form: u32 =
            self.read(|session| session.row("SELECT number FROM schema_form", values![])?.take())?;
        if usize::try_from(form).is_ok_and(|form| form <= newest) {
            return Ok(());
        }
        Err(Error::new(
            Code::StoreDamaged,
            format!("the tables are of form {form}; this program knows forms up to {newest}"),
            "use the program that wrote them, or a newer one; nothing was changed",
        ))
    }

    /// Asks, of one moment.
    pub fn read<T>(&self, work: impl FnOnce(&mut Session<'_>) -> Result<T>) -> Result<T> {
        match &self.0 {
            Kind::Sqlite { path, readers, .. } => {
                let reader = match lock(readers).pop() {
                    Some(reader) => reader,
                    None => Database::open(path)?,
                };
                let read = in_sqlite(&reader, TransactionBehavior::Deferred, work);
                lock(readers).push(reader);
                read
            }
            Kind::Postgres { .. } => self.in_postgres(false, work),
        }
    }

    /// Changes something, whole or not at all, and alone meanwhile; it is on the disk when this returns.
    pub fn change<T>(&self, work: impl FnOnce(&mut Session<'_>) -> Result<T>) -> Result<T> {
        match &self.0 {
            // A panic elsewhere has left nothing half-done: its transaction has ended with it.
            Kind::Sqlite { writer, .. } => in_sqlite(&lock(writer), TransactionBehavior::Immediate, work),
            Kind::Postgres { .. } => self.in_postgres(true, work),
        }
    }

    /// Copies an SQLite file as of this moment, and says whether it is one: a PostgreSQL has its own means.
    pub fn back_up(&self, to: &Path) -> Result<bool> {
        match &self.0 {
            Kind::Sqlite { path, .. } => Database::open(path)?.back_up(to).map(|()| true),
            Kind::Postgres { .. } => Ok(false),
        }
    }

    /// Finds out whether every page of an SQLite file is sound.
    pub fn check(&self) -> Result<()> {
        match &self.0 {
            Kind::Sqlite { path, writer, .. } => {
                let checked = Database::open(path)?.check_everything();
                if checked.is_err() {
                    lock(writer).leave_as_it_is();
                }
                checked
            }
            Kind::Postgres { .. } => self.read(|session| session.execute("SELECT 1", values![]).map(drop)),
        }
    }

    fn in_postgres<T>(&self, change: bool, work: impl FnOnce(&mut Session<'_>) -> Result<T>) -> Result<T> {
        let Kind::Postgres { url, program, servers } = &self.0 else {
            return Err(Error::new(Code::Internal, "a store is of two kinds", "please report this"));
        };
        let mut server = match lock(servers).pop() {
            Some(server) => server,
            None => Server::new(url, program)?,
        };
        let done = server.with(|client| {
            let transaction = match change {
                // What others have written is seen from the moment that it is one's turn.
                true => {
                    let mut transaction =
                        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start()?;
                    transaction.execute("SELECT number FROM schema_form FOR UPDATE", &[])?;
                    transaction
                }
                false => client
                    .build_transaction()
                    .isolation_level(IsolationLevel::RepeatableRead)
                    .read_only(true)
                    .start()?,
            };
            in_turn(transaction, work)
        });
        lock(servers).push(server);
        done?
    }
}

/// Connections to PostgreSQL cannot be closed from within an asynchronous task, where a service ends.
impl Drop for Sql {
    fn drop(&mut self) {
        if let Kind::Postgres { servers, .. } = &self.0 {
            let servers = std::mem::take(&mut *lock(servers));
            // A thread that cannot be started closes nothing; the program ends, and the server notices.
            let closing = std::thread::Builder::new().spawn(move || drop(servers));
            let _ = closing.map(std::thread::JoinHandle::join);
        }
    }
}

/// What one turn, or one look, is made of.
pub struct Session<'c>(Open<'c>);

enum Open<'c> {
    Sqlite { connection: &'c Connection, failed: &'c dyn Fn(&rusqlite::Error) -> Error },
    Postgres { transaction: postgres::Transaction<'c>, failed: Option<postgres::Error> },
}

impl Session<'_> {
    /// Every row that a statement gives.
    pub fn rows(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>> {
        refuse_zeros(values)?;
        match &mut self.0 {
            Open::Sqlite { connection, failed } => {
                rows(connection, statement, values).map_err(|error| failed(&error))
            }
            Open::Postgres { transaction, failed } => {
                let found = transaction
                    .query(statement, &parameters(values))
                    .and_then(|rows| rows.iter().map(Row::postgres).collect());
                keep(failed, found)
            }
        }
    }

    /// The only row that a statement gives, if it gives one.
    pub fn find(&mut self, statement: &str, values: &[Value]) -> Result<Option<Row>> {
        Ok(self.rows(statement, values)?.into_iter().next())
    }

    /// The row that a statement always gives.
    pub fn row(&mut self, statement: &str, values: &[Value]) -> Result<Row> {
        self.find(statement, values)?.ok_or_else(value::damaged)
    }

    /// Does something, and says how many rows it touched.
    pub fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64> {
        refuse_zeros(values)?;
        match &mut self.0 {
            Open::Sqlite { connection, failed } => rows(connection, statement, values)
                .map(|_| connection.changes())
                .map_err(|error| failed(&error)),
            Open::Postgres { transaction, failed } => {
                let done = transaction.execute(statement, &parameters(values));
                keep(failed, done)
            }
        }
    }

    /// Makes a table one to which rows are only added, in the order of a column: from now on the database refuses to
    /// change or remove any, whoever asks, until somebody takes away the trigger that refuses it.
    pub fn keep_rows(&mut self, table: &str, column: &str) -> Result<()> {
        let statements = match &self.0 {
            // To replace a row is no update and no deletion to SQLite, so an old number is refused as well.
            Open::Sqlite { .. } => [
                ("updated", format!("UPDATE ON {table}")),
                ("deleted", format!("DELETE ON {table}")),
                (
                    "replaced",
                    format!("INSERT ON {table} WHEN NEW.{column} <= (SELECT max({column}) FROM {table})"),
                ),
            ]
            .map(|(what, when)| {
                format!(
                    "CREATE TRIGGER {table}_is_not_{what} BEFORE {when}
                     BEGIN SELECT RAISE(ABORT, 'rows of {table} are only added'); END"
                )
            })
            .to_vec(),
            Open::Postgres { .. } => vec![
                format!(
                    "CREATE FUNCTION {table}_is_kept() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'rows of {table} are only added'; END $$"
                ),
                format!(
                    "CREATE TRIGGER {table}_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
                     EXECUTE FUNCTION {table}_is_kept()"
                ),
            ],
        };
        statements.iter().try_for_each(|statement| self.execute(statement, values![]).map(drop))
    }

    /// Inserts many rows: `insert` ends in `VALUES`, and each row has as many values as the others.
    pub fn insert<const N: usize>(
        &mut self,
        insert: &str,
        rows: impl IntoIterator<Item = [Value; N]>,
    ) -> Result<()> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let values: Vec<Value> = rows.by_ref().take(ROWS).flatten().collect();
            let tuple = |row: usize| {
                let numbers: Vec<String> = (1..=N).map(|column| format!("${}", row * N + column)).collect();
                format!("({})", numbers.join(", "))
            };
            let tuples: Vec<String> = (0..values.len() / N).map(tuple).collect();
            self.execute(&format!("{insert} {}", tuples.join(", ")), &values)?;
        }
        Ok(())
    }
}

fn in_sqlite<T>(
    database: &Database,
    behavior: TransactionBehavior,
    work: impl FnOnce(&mut Session<'_>) -> Result<T>,
) -> Result<T> {
    let transaction = database.begin(behavior)?;
    let failed = |error: &_| database.failed(error);
    let value = work(&mut Session(Open::Sqlite { connection: &transaction, failed: &failed }))?;
    transaction.commit().map_err(|error| failed(&error))?;
    Ok(value)
}

/// Works in a transaction of PostgreSQL. The outer result is the database's, the inner one the work's.
fn in_turn<T>(
    transaction: postgres::Transaction<'_>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T>,
) -> std::result::Result<Result<T>, postgres::Error> {
    let mut session = Session(Open::Postgres { transaction, failed: None });
    let worked = work(&mut session);
    match (session.0, worked) {
        (Open::Postgres { failed: Some(error), .. }, _) => Err(error),
        (Open::Postgres { transaction, .. }, Ok(value)) => transaction.commit().map(|()| Ok(value)),
        // A refusal by a rule: nothing is wrong with the database, and nothing is kept.
        (_, refused) => Ok(refused),
    }
}

fn rows(connection: &Connection, statement: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(statement)?;
    bind(&mut statement, values)?;
    let columns = statement.column_count();
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next()? {
        found.push(Row::sqlite(row, columns)?);
    }
    Ok(found)
}

/// PostgreSQL keeps no zero in a text. Nobody who types one means it, and it must not look as if the database failed.
fn refuse_zeros(values: &[Value]) -> Result<()> {
    if values.iter().any(|value| matches!(value, Value::Text(text) if text.contains('\0'))) {
        return Err(Error::new(Code::RequestInvalid, "a text holds a zero byte", "write it in plain text"));
    }
    Ok(())
}

/// A parameter that a statement does not have is an error, as it is in PostgreSQL.
fn bind(statement: &mut rusqlite::Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    for (number, value) in (1..).zip(values) {
        let index = statement.parameter_index(&format!("${number}"))?;
        let index = index.ok_or_else(|| rusqlite::Error::InvalidParameterName(format!("${number}")))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// Keeps the failure for the one who holds the connection, and says it to the one who asked.
fn keep<T>(failed: &mut Option<postgres::Error>, done: std::result::Result<T, postgres::Error>) -> Result<T> {
    done.map_err(|error| {
        let said = crate::postgres::explain(&error);
        *failed = Some(error);
        said
    })
}

/// The form of the tables, where there are any.
fn form(server: &mut Server) -> Result<Option<i64>> {
    server.with(|client| {
        let found = client.query_one(
            "SELECT count(*) FROM information_schema.tables
             WHERE table_name = 'schema_form' AND table_schema = current_schema()",
            &[],
        )?;
        if found.try_get::<_, i64>(0)? == 0 {
            return Ok(None);
        }
        client.query_one("SELECT number FROM schema_form", &[])?.try_get(0).map(Some)
    })
}

/// Each piece of work ends with whole transactions, so what a panic has left is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const FORM: &str = "
CREATE TABLE schema_form (number BIGINT NOT NULL);
INSERT INTO schema_form (number) VALUES (1);
";
/// How many rows are inserted by one statement: SQLite takes up to 32,766 values, PostgreSQL 65,535.
const ROWS: usize = 1_000;
