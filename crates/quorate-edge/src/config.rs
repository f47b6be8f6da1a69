//! Configuration files of the programs: TOML, every key optional, each checked when it is read.
//!
//! A mistake is met with the line and what is wanted there; an unknown key with the nearest known one. Values are
//! never repeated in errors, since some are passwords. What keys there are, each program says with its [`Kind`].

use crate::command_line::{self, LogFormat};
use crate::files;
use crate::rate::Rate;
use crate::server::Limits;
use quorate_core::identifier::quoted;
use quorate_core::{Code, Error, Interval, Result};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The files of one program.
#[derive(Debug)]
pub struct Kind {
    /// Read when no other file is named.
    pub usual: &'static str,
    /// Every key there is, as in `listen.address`, in the order of the document and of the example.
    pub keys: &'static [&'static str],
    /// The tables that may stand there several times, as `[[dns]]` may.
    pub lists: &'static [&'static str],
    /// The document that explains the keys.
    pub document: &'static str,
    /// A file with all of them.
    pub example: &'static str,
}

impl Kind {
    /// The file to read: the one that is named, or the usual one when it is there.
    pub fn choose<'a>(&'a self, named: Option<&'a Path>) -> Option<&'a Path> {
        let named = named.filter(|path| !path.as_os_str().is_empty());
        named.or_else(|| Some(Path::new(self.usual)).filter(|usual| usual.exists()))
    }

    /// Reads the text of a file, which is at `path`, and gives each key with its value to `take`; of a table that may
    /// stand there several times, all at once.
    pub fn read(
        &self,
        text: &str,
        path: &Path,
        mut take: impl FnMut(&Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let file = File { text, path, kind: self };
        let table = DeTable::parse(text).map_err(|error| {
            // What TOML says is about the form and repeats no value.
            let what = format!("it is not TOML: {}", error.message());
            file.wrong(
                &error.span().unwrap_or(0..0),
                what,
                format!("write it as in the example, {}", self.example),
            )
        })?;
        for (section, value) in table.get_ref() {
            let name = section.get_ref().as_ref();
            let section = Entry { file: &file, key: name.to_owned(), at: section.span(), value };
            if !self.sections().any(|known| known == name) {
                return Err(section.unknown());
            }
            if self.lists.contains(&name) {
                take(&section)?;
                continue;
            }
            let wanted = format!("a table: write [{name}] on a line of its own, and its keys below");
            for entry in section.keys(name, value).ok_or_else(|| section.wanted(&wanted))? {
                take(&entry)?;
            }
        }
        Ok(())
    }

    /// The names of the tables.
    fn sections(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().filter_map(|key| key.split('.').next())
    }
}

/// A file that is being read.
struct File<'a> {
    text: &'a str,
    path: &'a Path,
    kind: &'a Kind,
}

impl File<'_> {
    fn wrong(&self, at: &Range<usize>, what: impl AsRef<str>, next: impl Into<String>) -> Error {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let what = format!("line {line} of {}: {}", self.path.display(), what.as_ref());
        Error::new(Code::DocumentInvalid, what, next)
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

/// A key with its value.
pub struct Entry<'a> {
    file: &'a File<'a>,
    key: String,
    at: Range<usize>,
    value: &'a Value<'a>,
}

impl<'a> Entry<'a> {
    /// The key with its table, as in `listen.address`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A text that is not empty.
    pub fn text(&self) -> Result<String> {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        self.parsed("a text in quotation marks", text)
    }

    /// A text that is something: `wanted`, unless `parse` finds it there.
    pub fn parsed<T>(&self, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        self.value.get_ref().as_str().and_then(parse).ok_or_else(|| self.wanted(wanted))
    }

    /// Texts in brackets, none of them empty.
    pub fn texts(&self) -> Result<Vec<String>> {
        let text =
            |value: &Value<'_>| value.get_ref().as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let array = match self.value.get_ref() {
            DeValue::Array(values) => values.iter().map(text).collect(),
            _ => None,
        };
        array.ok_or_else(|| self.wanted("texts in brackets, as in [\"one\", \"two\"]"))
    }

    /// A time within these limits.
    pub fn time(&self, range: RangeInclusive<Interval>) -> Result<Interval> {
        let wanted = format!("a time from {} to {}, as in \"{}\"", range.start(), range.end(), range.start());
        self.parsed(&wanted, |text| text.parse().ok().filter(|time| range.contains(time)))
    }

    /// A whole number within these limits.
    pub fn number(&self, range: RangeInclusive<u64>) -> Result<u64> {
        let integer = self.value.get_ref().as_integer();
        let number = integer.and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.wanted(&format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// A path, seen from the file's own directory.
    pub fn path(&self) -> Result<PathBuf> {
        let directory = self.file.path.parent().unwrap_or(Path::new(""));
        Ok(directory.join(self.text()?))
    }

    /// Puts a URL, or the file that it stands in (for a key that ends with `url-file`), where no other stands yet.
    pub fn url(&self, place: &mut Option<Url>) -> Result<()> {
        let url = match self.key.ends_with("url-file") {
            true => Url::File(self.path()?),
            false => Url::Given(self.text()?),
        };
        match place.replace(url) {
            None => Ok(()),
            Some(_) => Err(self.file.wrong(
                &self.value.span(),
                "url and url-file stand side by side",
                "keep one of them; a file that others cannot read is the safer place",
            )),
        }
    }

    /// The tables of a list.
    pub fn tables(&'a self) -> Result<Vec<Table<'a>>> {
        let name = &self.key;
        let wanted = || self.wanted(&format!("tables: write [[{name}]] on a line of its own for each"));
        let DeValue::Array(tables) = self.value.get_ref() else {
            return Err(wanted());
        };
        let table = |table: &'a Value<'a>| {
            let entries = self.keys(name, table).ok_or_else(wanted)?;
            Ok(Table { file: self.file, name, at: table.span(), entries })
        };
        tables.iter().map(table).collect()
    }

    /// The error of a key that is none of this file's.
    pub fn unknown(&self) -> Error {
        let (kind, key) = (self.file.kind, self.key.as_str());
        let near = |known: &&str| strsim::damerau_levenshtein(key, known);
        let nearest = kind.sections().chain(kind.keys.iter().copied()).min_by_key(near).unwrap_or_default();
        let next = match key.split_once('.') {
            // Somebody may have left out the table's name.
            None if key.len() > 2 => {
                kind.keys.iter().find(|known| known.ends_with(&format!(".{key}"))).copied()
            }
            _ => None,
        };
        let next = format!("did you mean {}? {} has all keys", next.unwrap_or(nearest), kind.document);
        self.file.wrong(&self.at, format!("{} is not a key of this file", quoted(key)), next)
    }

    /// The error of a value that is not what is wanted.
    pub fn wanted(&self, wanted: &str) -> Error {
        let what = format!("the value of {} cannot be used", self.key);
        self.file.wrong(&self.value.span(), what, format!("it wants {wanted}"))
    }

    fn keys(&self, name: &str, value: &'a Value<'a>) -> Option<Vec<Entry<'a>>> {
        let DeValue::Table(table) = value.get_ref() else {
            return None;
        };
        let entry = |(key, value): (&'a Spanned<_>, &'a Value<'a>)| {
            let full = format!("{name}.{}", AsRef::<str>::as_ref(key.get_ref()));
            Entry { file: self.file, key: full, at: key.span(), value }
        };
        Some(table.iter().map(entry).collect())
    }
}

/// One table of a list.
pub struct Table<'a> {
    file: &'a File<'a>,
    name: &'a str,
    at: Range<usize>,
    /// What stands in it.
    pub entries: Vec<Entry<'a>>,
}

impl Table<'_> {
    /// The error of a table that lacks a key.
    pub fn missing(&self, key: &str) -> Error {
        self.file.wrong(&self.at, format!("this [[{}]] has no {key}", self.name), "add it below")
    }
}

/// A URL that may hold a password, or the file that it stands in.
#[derive(Clone, PartialEq, Eq)]
pub enum Url {
    /// As it is.
    Given(String),
    /// In a file that others cannot read.
    File(PathBuf),
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Url {
    /// As it is given to a program: itself, or `@FILE` for a file that holds it.
    pub fn given(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None => Self::Given(text.to_owned()),
        }
    }

    /// The URL.
    pub fn read(&self) -> Result<String> {
        match self {
            Self::Given(url) => Ok(url.clone()),
            Self::File(path) => Ok(files::read_text(path)?.trim().to_owned()),
        }
    }
}

/// `[limits]`, so far as every server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitKeys {
    /// `limits.handshake`.
    pub handshake: Option<Interval>,
    /// `limits.idle`.
    pub idle: Option<Interval>,
    /// `limits.request`.
    pub request: Option<Interval>,
    /// `limits.connections`.
    pub connections: Option<usize>,
    /// `limits.connections-per-address`.
    pub connections_per_address: Option<u32>,
}

impl LimitKeys {
    /// Takes a key, when it is one of these.
    pub fn take(&mut self, entry: &Entry<'_>) -> Result<bool> {
        match entry.key() {
            "limits.handshake" => self.handshake = Some(entry.time(SECOND..=DAY)?),
            "limits.idle" => self.idle = Some(entry.time(SECOND..=DAY)?),
            "limits.request" => self.request = Some(entry.time(SECOND..=DAY)?),
            "limits.connections" => self.connections = usize::try_from(entry.number(1..=200_000)?).ok(),
            "limits.connections-per-address" => {
                self.connections_per_address = u32::try_from(entry.number(0..=MOST_A_SECOND)?).ok();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// These limits, and others where the file names none.
    pub fn or(&self, otherwise: Limits) -> Limits {
        Limits {
            handshake: self.handshake.map_or(otherwise.handshake, Into::into),
            idle: self.idle.map_or(otherwise.idle, Into::into),
            request: self.request.map_or(otherwise.request, Into::into),
            connections: self.connections.unwrap_or(otherwise.connections),
            per_address: self.connections_per_address.map_or(otherwise.per_address, Rate::per_second),
        }
    }
}

/// `[log]`, so far as every program has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogKeys {
    /// `log.format`.
    pub format: Option<LogFormat>,
    /// `log.filter`.
    pub filter: Option<String>,
}

impl LogKeys {
    /// Takes a key, when it is one of these.
    pub fn take(&mut self, entry: &Entry<'_>) -> Result<bool> {
        match entry.key() {
            "log.format" => {
                self.format = Some(entry.parsed("\"text\" or \"json\"", |text| match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })?);
            }
            "log.filter" => {
                let wanted = "a level or levels of modules, as in \"info\" or \"info,quorate_edge=debug\"";
                let sound = |text: &str| command_line::is_log_filter(text).then(|| text.to_owned());
                self.filter = Some(entry.parsed(wanted, sound)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The most that a limit by the second can be.
pub const MOST_A_SECOND: u64 = 1_000_000;
const SECOND: Interval = Interval::seconds(1);
const DAY: Interval = Interval::days(1);
