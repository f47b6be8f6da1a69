//! What goes into a statement and comes out of a row, whichever database it is.

use bytes::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use quorate_core::{Code, Error, Result, Timestamp};
use rusqlite::types::{ToSqlOutput, ValueRef};
use zeroize::Zeroizing;

/// A value. Bytes may be secrets: they are wiped when dropped, and a value does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// None.
    Null,
    /// A number, a truth (0 or 1), or a time in seconds since 1970, UTC.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Zeroizing<Vec<u8>>),
}

/// The values of a statement: `values![name, number]`.
#[macro_export]
#[doc(hidden)]
macro_rules! sql_values {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Value::from($value)),*] };
}
pub use crate::sql_values as values;

macro_rules! from_number {
    ($($number:ty),+) => { $(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Value::Integer(number.into())
            }
        }
    )+ };
}

from_number!(i64, i32, u32, u16, u8, bool);

/// Numbers of rows and documents, of which none is ever beyond an `i64`.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Value::Integer(at.as_second())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Value::Text(text.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value::Bytes(Zeroizing::new(bytes.to_vec()))
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Value::from(bytes.as_slice())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Value::Null => "Null",
            Value::Integer(_) => "Integer(…)",
            Value::Text(_) => "Text(…)",
            Value::Bytes(_) => "Bytes(…)",
        })
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) if *kind == Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
            Value::Integer(number) => number.to_sql_checked(kind, out),
            Value::Text(text) => text.to_sql_checked(kind, out),
            Value::Bytes(bytes) => bytes.as_slice().to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Each kind is checked where it is written.
        true
    }

    to_sql_checked!();
}

/// A row that is read from the left to the right.
pub struct Row(std::vec::IntoIter<Value>);

impl Row {
    pub(super) fn sqlite(row: &rusqlite::Row<'_>, columns: usize) -> rusqlite::Result<Self> {
        let value = |column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Text(_) => Value::Text(row.get(column)?),
                ValueRef::Blob(bytes) => Value::from(bytes),
                ValueRef::Real(_) => {
                    return Err(rusqlite::Error::InvalidColumnType(
                        column,
                        String::new(),
                        rusqlite::types::Type::Real,
                    ));
                }
            })
        };
        (0..columns).map(value).collect::<rusqlite::Result<Vec<_>>>().map(|values| Self(values.into_iter()))
    }

    pub(super) fn postgres(row: &postgres::Row) -> std::result::Result<Self, postgres::Error> {
        let value = |(column, of): (usize, &postgres::Column)| {
            Ok(match *of.type_() {
                Type::TEXT | Type::VARCHAR | Type::NAME => row.try_get::<_, Option<String>>(column)?.into(),
                Type::BYTEA => row.try_get::<_, Option<&[u8]>>(column)?.into(),
                Type::INT4 => row.try_get::<_, Option<i32>>(column)?.into(),
                Type::BOOL => row.try_get::<_, Option<bool>>(column)?.into(),
                // Whatever else it is, the driver says so.
                _ => row.try_get::<_, Option<i64>>(column)?.into(),
            })
        };
        let values: std::result::Result<Vec<Value>, _> =
            row.columns().iter().enumerate().map(value).collect();
        values.map(|values| Self(values.into_iter()))
    }

    /// The next value.
    pub fn take<T: FromValue>(&mut self) -> Result<T> {
        self.0.next().and_then(T::from_value).ok_or_else(damaged)
    }

    /// All values that are left.
    pub fn into_values(self) -> Vec<Value> {
        self.0.collect()
    }

    /// The next value, read from its text.
    pub fn parse<T: std::str::FromStr>(&mut self) -> Result<T> {
        self.take::<String>()?.parse().map_err(|_| damaged())
    }
}

/// What can be read from a row.
pub trait FromValue: Sized {
    /// The value as this type, if it is one.
    fn from_value(value: Value) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }
}

macro_rules! number {
    ($($number:ty),+) => { $(
        impl FromValue for $number {
            fn from_value(value: Value) -> Option<Self> {
                <$number>::try_from(i64::from_value(value)?).ok()
            }
        }
    )+ };
}

number!(u64, u32, u16, usize);

impl FromValue for bool {
    fn from_value(value: Value) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value) -> Option<Self> {
        Timestamp::from_second(i64::from_value(value)?).ok()
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl FromValue for Zeroizing<Vec<u8>> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl<const N: usize> FromValue for Zeroizing<[u8; N]> {
    fn from_value(value: Value) -> Option<Self> {
        let bytes = Zeroizing::<Vec<u8>>::from_value(value)?;
        bytes.as_slice().try_into().ok().map(Zeroizing::new)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// A row that is not as this program writes it.
pub(super) fn damaged() -> Error {
    Error::new(
        Code::StoreDamaged,
        "the database holds a value that cannot be read",
        "put a backup in its place; nothing was changed",
    )
}
