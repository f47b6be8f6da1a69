//! A backup: a vendor's certificates, its signing keys and every row of its database, as one file.
//!
//! The file is a tar archive, written and read piece by piece, so that a large vendor needs no more memory than a small
//! one. Rows are in it as JSON, the same from either database: so a backup is also the way from SQLite to PostgreSQL and
//! back. Its last entry says how many rows there are and bears the SHA-256 of everything before it; a file that was cut
//! off or changed is no backup.

use crate::authority::Authority;
use crate::service::{self, Service};
use crate::store::{self, rows};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::files::{self, Access, NewFile};
use quorate_edge::sql::{Location, Session, Value};
use serde::{Deserialize, Serialize};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Writes a backup of this moment; of the certificates and keys alone, where the database is kept by other means.
pub fn back_up(service: &Service, directory: &Path, to: &Path, with_database: bool) -> Result<()> {
    if to.exists() {
        return Err(Error::new(
            Code::AlreadyThere,
            format!("{} is there already", to.display()),
            "give another name",
        ));
    }
    let mut file = NewFile::create(to, Access::Private)?;
    let mut archive = Archive::new(to, file.writer());
    for name in Authority::FILES.into_iter().filter(|name| directory.join(name).exists()) {
        archive.add(name, &Zeroizing::new(files::read(&directory.join(name))?))?;
    }
    let count = match with_database {
        true => Some(service.sql.read(|session| add_rows(session, &mut archive))?),
        false => None,
    };
    archive.end(count)?;
    file.finish()
}

/// Adds every row of every table, and says how many these are.
fn add_rows<W: Write>(session: &mut Session<'_>, archive: &mut Archive<'_, W>) -> Result<u64> {
    let form = rows::form(session)?;
    let (mut count, mut part) = (0, 0);
    for table in rows::TABLES {
        let columns = session.columns(table.name)?;
        let head = Head { form, table: table.name.to_owned(), columns: columns.clone() };
        let mut lines = Lines::of(&head)?;
        let mut flush = |lines: &mut Lines, least: usize| {
            if lines.rows == 0 || lines.text.len() < least {
                return Ok(());
            }
            part += 1;
            count += lines.rows;
            let full = std::mem::replace(lines, Lines::of(&head)?);
            archive.add(&format!("{ROWS}{part:06}-{}", table.name), &full.text)
        };
        rows::each(session, table, &columns, &mut |page| {
            page.iter().try_for_each(|row| {
                lines.add(row);
                flush(&mut lines, PART)
            })
        })?;
        flush(&mut lines, 0)?;
    }
    Ok(count)
}

/// Sets a vendor up from a backup, in a directory and a database where there is none: all of it, or nothing.
pub fn restore(directory: &Path, database: &Location, from: &Path, clock: &Clock) -> Result<()> {
    // The whole of it is read before anything is written.
    let contents = Contents::of(from)?;
    let mut made = Made::default();
    if !directory.exists() {
        made.directory = Some(directory.to_owned());
    }
    files::make_private_directory(directory)?;
    // Nobody else sets a vendor up here meanwhile.
    let _alone = service::lock(directory)?;
    match (&contents.rows, database) {
        (None, Location::File(_)) => {
            return Err(Error::new(
                Code::RequestInvalid,
                format!("{} holds no database", from.display()),
                "name the PostgreSQL that is the vendor's with --database, or give a backup that was made without \
                 --without-database",
            ));
        }
        (Some(_), Location::File(path)) => refuse_if_there(
            ["db", "db-wal", "db-shm", "db-journal"].map(|extension| path.with_extension(extension)),
        )?,
        (_, Location::Postgres(_)) => {}
    }
    refuse_if_there(contents.files.iter().map(|name| directory.join(name)))?;

    each_entry(from, &mut |name, content| {
        if name.starts_with(ROWS) || name == END {
            return Ok(());
        }
        let private = name.ends_with(".key.pem");
        let path = directory.join(name);
        made.files.push(path.clone());
        files::write(&path, content, if private { Access::OfDirectory } else { Access::Public })
    })?;
    if contents.rows.is_some() {
        store::create_filled(database, |session| {
            each_entry(from, &mut |name, content| match name.starts_with(ROWS) {
                true => take_rows(session, from, content),
                false => Ok(()),
            })?;
            // What does not fit together is noticed before it is kept.
            Service::vendor_in(session, directory).map(drop)
        })?;
    } else {
        Service::open_in(directory, database, clock.clone())?;
    }
    made.keep();
    Ok(())
}

fn take_rows(session: &mut Session<'_>, from: &Path, content: &[u8]) -> Result<()> {
    let unreadable = |error: serde_json::Error| not_whole(from, &error.to_string());
    let mut lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let head: Head = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(unreadable)?;
    let form = rows::form(session)?;
    let table = rows::table_named(&head.table).filter(|_| head.form == form).ok_or_else(|| {
        let (table, of) = (&head.table, head.form);
        not_whole(from, &format!("its table {table:?} is of form {of}; this program knows form {form}"))
    })?;
    let row = |line: &[u8]| {
        let fields: Vec<Field> = serde_json::from_slice(line).map_err(unreadable)?;
        let values: Option<Vec<Value>> = fields.into_iter().map(Field::value).collect();
        values.ok_or_else(|| not_whole(from, "a value is not base64"))
    };
    let given: Vec<Vec<Value>> = lines.map(row).collect::<Result<_>>()?;
    rows::add(session, table, &head.columns, given).map_err(|error| match error.code {
        Code::StoreDamaged => not_whole(from, &error.what),
        _ => error,
    })
}

/// What an archive holds, when it is whole.
struct Contents {
    files: Vec<String>,
    /// How many rows of a database, when there is one.
    rows: Option<u64>,
}

impl Contents {
    fn of(from: &Path) -> Result<Self> {
        let (mut names, mut lines, mut end) = (Vec::new(), 0, None);
        let mut sum = Sum::new();
        each_entry(from, &mut |name, content| {
            if end.is_some() {
                return Err(not_whole(from, "it goes on behind its end"));
            }
            if name == END {
                let said: End =
                    serde_json::from_slice(content).map_err(|_| not_whole(from, "its end is damaged"))?;
                end = Some(said);
                return Ok(());
            }
            sum.add(name, content);
            if name.starts_with(ROWS) {
                lines += content.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1) as u64;
            } else if Authority::FILES.contains(&name) {
                names.push(name.to_owned());
            } else {
                return Err(not_whole(from, &format!("it holds {name:?}")));
            }
            Ok(())
        })?;
        let end = end.ok_or_else(|| not_whole(from, "its end is missing"))?;
        if end.sha256 != sum.finish() || end.rows.unwrap_or_default() != lines {
            return Err(not_whole(from, "it was changed"));
        }
        Authority::are_whole(|wanted| names.iter().any(|name| name == wanted))
            .map_err(|missing| not_whole(from, &format!("{missing} is missing")))?;
        Ok(Self { files: names, rows: end.rows })
    }
}

/// Reads an archive, an entry at a time.
fn each_entry(from: &Path, give: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
    let damaged = |error: std::io::Error| not_whole(from, &files::plain(&error));
    let file = std::fs::File::open(from).map_err(|error| files::reading(from, &error))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.display().to_string();
        let size = entry.size();
        if size > LARGEST {
            return Err(not_whole(from, &format!("{name:?} is too large")));
        }
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default()));
        entry.take(LARGEST).read_to_end(&mut content).map_err(damaged)?;
        if content.len() as u64 != size {
            return Err(not_whole(from, "it is cut off"));
        }
        give(&name, &content)?;
    }
    Ok(())
}

/// The archive as it is written.
struct Archive<'p, W: Write> {
    path: &'p Path,
    tar: tar::Builder<W>,
    sum: Sum,
}

impl<'p, W: Write> Archive<'p, W> {
    fn new(path: &'p Path, writer: W) -> Self {
        Self { path, tar: tar::Builder::new(writer), sum: Sum::new() }
    }

    fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.sum.add(name, content);
        self.append(name, content)
    }

    fn append(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        let appended = self.tar.append_data(&mut header, name, content);
        appended.map_err(|error| files::writing(self.path, &error))
    }

    fn end(mut self, rows: Option<u64>) -> Result<()> {
        let sha256 = std::mem::replace(&mut self.sum, Sum::new()).finish();
        let end = serde_json::to_vec(&End { rows, sha256 }).map_err(internal)?;
        self.append(END, &end)?;
        let writer = self.tar.into_inner();
        writer.and_then(|mut writer| writer.flush()).map_err(|error| files::writing(self.path, &error))
    }
}

/// What entries of rows begin with: the table, and which value of each row is which column's.
#[derive(Serialize, Deserialize)]
struct Head {
    form: u32,
    table: String,
    columns: Vec<String>,
}

/// The last entry.
#[derive(Serialize, Deserialize)]
struct End {
    rows: Option<u64>,
    sha256: String,
}

/// Rows on their way into an entry, a line each. They may be secrets, so they are wiped.
struct Lines {
    text: Zeroizing<Vec<u8>>,
    rows: u64,
}

impl Lines {
    fn of(head: &Head) -> Result<Self> {
        let mut text = Zeroizing::new(Vec::with_capacity(PART * 2));
        serde_json::to_writer(&mut *text, head).map_err(internal)?;
        text.push(b'\n');
        Ok(Self { text, rows: 0 })
    }

    fn add(&mut self, row: &[Value]) {
        let fields: Vec<Field> = row.iter().map(Field::of).collect();
        // Neither memory nor these types refuse to be written.
        let _ = serde_json::to_writer(&mut *self.text, &fields);
        self.text.push(b'\n');
        self.rows += 1;
    }
}

/// A value in a line.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Field {
    Null,
    Integer(i64),
    Text(Zeroizing<String>),
    Bytes { base64: Zeroizing<String> },
}

impl Field {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Field::Null,
            Value::Integer(number) => Field::Integer(*number),
            Value::Text(text) => Field::Text(Zeroizing::new(text.clone())),
            Value::Bytes(bytes) => Field::Bytes { base64: Zeroizing::new(BASE64.encode(bytes.as_slice())) },
        }
    }

    fn value(self) -> Option<Value> {
        Some(match self {
            Field::Null => Value::Null,
            Field::Integer(number) => Value::Integer(number),
            Field::Text(text) => Value::Text(text.to_string()),
            Field::Bytes { base64 } => Value::Bytes(Zeroizing::new(BASE64.decode(base64.as_bytes()).ok()?)),
        })
    }
}

/// SHA-256 over the names and contents of entries.
struct Sum(digest::Context);

impl Sum {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    fn add(&mut self, name: &str, content: &[u8]) {
        self.0.update(format!("{name}\n{}\n", content.len()).as_bytes());
        self.0.update(content);
    }

    fn finish(self) -> String {
        BASE64.encode(self.0.finish())
    }
}

/// What a restore has made so far: gone again, unless it is kept.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    directory: Option<PathBuf>,
}

impl Made {
    fn keep(mut self) {
        self.files.clear();
        self.directory = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Half a vendor would only be in the way of the next attempt. That the attempt has failed is told.
        for path in &self.files {
            let _ = std::fs::remove_file(path);
        }
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_file(directory.join(service::LOCK));
            let _ = std::fs::remove_dir(directory);
        }
    }
}

fn refuse_if_there(paths: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    match paths.into_iter().find(|path| path.exists()) {
        Some(path) => Err(Error::new(
            Code::AlreadyThere,
            format!("{} is there already", path.display()),
            "move it away, or restore into another directory with --dir",
        )),
        None => Ok(()),
    }
}

fn not_whole(path: &Path, why: &str) -> Error {
    Error::new(
        Code::StoreDamaged,
        format!("{} is not a whole backup: {why}", path.display()),
        "give another backup; nothing was changed",
    )
}

fn internal(error: serde_json::Error) -> Error {
    Error::new(Code::Internal, format!("a backup cannot be written ({error})"), "please report this")
}

/// Entries of rows are named so, and numbered.
const ROWS: &str = "rows/";
/// The last entry.
const END: &str = "end.json";
/// An entry is written when its rows are as large as this, in bytes.
const PART: usize = 1024 * 1024;
/// No entry of a whole backup is as large as this.
const LARGEST: u64 = 256 * 1024 * 1024;
