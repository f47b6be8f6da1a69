//! Every row of every table, as it is, whatever database it is in: what backups are made of.

use quorate_core::{Code, Error, Result};
use quorate_edge::sql::{Row, Session, Value, values};
use std::collections::BTreeSet;

/// A table, and the columns that tell its rows apart.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    key: &'static [&'static str],
    /// How many of its rows are read at a time.
    page: u32,
}

/// The tables, each behind those to which its rows refer.
pub const TABLES: [Table; 19] = [
    table("setting", &["name"]),
    Table { page: FEW, ..table("catalog", &["number"]) },
    table("customer", &["id"]),
    table("key_serial", &["key_group"]),
    table("key_run", &["key_group", "first"]),
    table("product_key", &["key_group", "serial"]),
    table("revocation_list", &["number"]),
    table("revoked_certificate", &["certificate"]),
    table("slot", &["key_group", "serial", "number"]),
    table("activation", &["id"]),
    table("token", &["id"]),
    table("account", &["id"]),
    table("openid_used", &["mark"]),
    table("sign_in_failure", &["account", "device"]),
    table("portal_session", &["hash"]),
    Table { page: FEW, ..table("answer", &["token", "name"]) },
    table("webhook", &["id"]),
    table("delivery", &["id"]),
    table("audit", &["number"]),
];

const fn table(name: &'static str, key: &'static [&'static str]) -> Table {
    Table { name, key, page: MANY }
}

/// The table of this name.
pub fn table_named(name: &str) -> Option<Table> {
    TABLES.into_iter().find(|table| table.name == name)
}

/// The form of the tables.
pub fn form(session: &mut Session<'_>) -> Result<u32> {
    session.row("SELECT number FROM schema_form", values![])?.take()
}

/// Gives the rows of a table away, a page at a time, each with a value for every one of these columns.
pub fn each(
    session: &mut Session<'_>,
    table: Table,
    columns: &[String],
    give: &mut dyn FnMut(Vec<Vec<Value>>) -> Result<()>,
) -> Result<()> {
    let key = table.key.join(", ");
    let place = |name: &&str| columns.iter().position(|column| column == name);
    let places: Option<Vec<usize>> = table.key.iter().map(place).collect();
    let places = places.ok_or_else(|| unknown(table.name))?;
    let mut after: Vec<Value> = Vec::new();
    loop {
        let numbers: Vec<String> = (1..=after.len()).map(|number| format!("${number}")).collect();
        let behind = match after.is_empty() {
            true => String::new(),
            false => format!("WHERE ({key}) > ({})", numbers.join(", ")),
        };
        let (columns, name) = (columns.join(", "), table.name);
        let select = format!("SELECT {columns} FROM {name} {behind} ORDER BY {key} LIMIT {}", table.page);
        let page: Vec<Vec<Value>> =
            session.rows(&select, &after)?.into_iter().map(Row::into_values).collect();
        let Some(last) = page.last() else { return Ok(()) };
        after = places.iter().filter_map(|place| last.get(*place).cloned()).collect();
        give(page)?;
    }
}

/// Keeps rows that have a value for every one of these columns.
pub fn add(session: &mut Session<'_>, table: Table, columns: &[String], rows: Vec<Vec<Value>>) -> Result<()> {
    let known: BTreeSet<String> = session.columns(table.name)?.into_iter().collect();
    let given: BTreeSet<String> = columns.iter().cloned().collect();
    if given != known || rows.iter().any(|row| row.len() != columns.len()) {
        return Err(unknown(table.name));
    }
    let insert = format!("INSERT INTO {} ({}) VALUES", table.name, columns.join(", "));
    session.insert_rows(&insert, rows)
}

fn unknown(table: &str) -> Error {
    Error::new(
        Code::StoreDamaged,
        format!("the table {table} has other columns than this program knows"),
        "use the program that wrote it",
    )
}

/// Of small rows.
const MANY: u32 = 1_000;
/// Of rows that may be a whole document.
const FEW: u32 = 20;
