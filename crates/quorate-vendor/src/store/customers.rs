//! Those to whom product keys are issued.

use super::next_number;
use quorate_core::{Result, Timestamp};
use quorate_edge::sql::{Row, Session, Value, values};
use std::collections::BTreeMap;

/// A customer, as the vendor knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Customer {
    /// Its number.
    pub id: i64,
    /// Its name, of which there is one, however it is capitalised.
    pub name: String,
    /// What the vendor wants to remember.
    pub note: String,
    /// Since when it is known.
    pub created: Timestamp,
}

/// A customer by its number.
pub fn find(session: &mut Session<'_>, id: i64) -> Result<Option<Customer>> {
    session.find(&format!("{SELECT} WHERE id = $1"), values![id])?.map(customer).transpose()
}

/// A customer by its name.
pub fn named(session: &mut Session<'_>, name: &str) -> Result<Option<Customer>> {
    session.find(&format!("{SELECT} WHERE folded = $1"), values![folded(name)])?.map(customer).transpose()
}

/// The customers of these names, all as they are compared.
pub fn among<'n>(
    session: &mut Session<'_>,
    folded: impl IntoIterator<Item = &'n String>,
) -> Result<BTreeMap<String, Customer>> {
    let (mut names, mut found) = (folded.into_iter().peekable(), BTreeMap::new());
    while names.peek().is_some() {
        let some: Vec<Value> = names.by_ref().take(AT_A_TIME).map(Value::from).collect();
        let numbers: Vec<String> = (1..=some.len()).map(|number| format!("${number}")).collect();
        let select = format!("{SELECT} WHERE folded IN ({})", numbers.join(", "));
        for row in session.rows(&select, &some)? {
            let customer = customer(row)?;
            found.insert(self::folded(&customer.name), customer);
        }
    }
    Ok(found)
}

/// The customers whose name contains this, in the order of their names: so many, after this one.
pub fn list(session: &mut Session<'_>, containing: &str, after: &str, most: u32) -> Result<Vec<Customer>> {
    if containing.chars().count() > LONGEST_NAME {
        // No name contains it, and SQLite takes no pattern of any length.
        return Ok(Vec::new());
    }
    let pattern = format!("%{}%", escaped(&folded(containing)));
    let select = format!("{SELECT} WHERE folded LIKE $1 ESCAPE '!' AND folded > $2 ORDER BY folded LIMIT $3");
    let rows = session.rows(&select, values![pattern, folded(after), i64::from(most)])?;
    rows.into_iter().map(customer).collect()
}

/// Keeps new customers, whose names are not taken.
pub fn add<'n>(
    session: &mut Session<'_>,
    names: impl IntoIterator<Item = (&'n str, &'n str)>,
    now: Timestamp,
) -> Result<i64> {
    let first = next_number(session, "customer", "id")?;
    let rows = (first..).zip(names).map(|(id, (name, note))| {
        [id.into(), name.into(), folded(name).into(), note.into(), now.into()] as [Value; 5]
    });
    session.insert("INSERT INTO customer (id, name, folded, note, created) VALUES", rows)?;
    Ok(first)
}

/// Changes a customer's name and note.
pub fn update(session: &mut Session<'_>, id: i64, name: &str, note: &str) -> Result<()> {
    let update = "UPDATE customer SET name = $2, folded = $3, note = $4 WHERE id = $1";
    session.execute(update, values![id, name, folded(name), note]).map(drop)
}

fn customer(mut row: Row) -> Result<Customer> {
    Ok(Customer { id: row.take()?, name: row.take()?, note: row.take()?, created: row.take()? })
}

/// The name as it is compared: the databases do not agree on letters beyond ASCII.
pub fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A text that stands for itself in a pattern.
fn escaped(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// Names that are asked for in one statement.
const AT_A_TIME: usize = 1_000;
/// Of a customer's name, in characters.
pub const LONGEST_NAME: usize = 200;
const SELECT: &str = "SELECT id, name, note, created FROM customer";
