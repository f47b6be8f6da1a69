//! The domain of Quorate: what a product key is, what a host may activate, when a machine is licensed.
//!
//! Everything here is a value or a pure function. Nothing reads a clock, a file, the network or a source
//! of randomness; whoever calls hands these in, so that every rule is tested in microseconds. There is no
//! tokio here and never will be.
//!
//! The modules in the order in which the data flows:
//!
//! 1. What the vendor says: [`catalog`] (products and [`policy`]; what two of them differ in, [`catalog_diff`]),
//!    [`product_key`], [`license_pack`].
//! 2. What people type: [`product_key`], [`installation_id`], [`confirmation_id`], [`extended_pid`].
//! 3. Who may say what: [`certificate`] (the chain to the vendor root), [`signed`] (JWS documents),
//!    [`revocation`].
//! 4. What a machine asks and the host answers: [`activation`], [`cmid_table`], [`host_activation`]; and where
//!    a machine has a product key of its own, what it asks of the vendor: [`key_activation`], [`machine_license`].
//! 5. What follows from it: [`license_state`], and when to ask again: [`schedule`].
//!
//! Every failure is an [`Error`] with a stable [`Code`]; both are in [`error`].
//!
//! Where to go next: `quorate-proto` puts [`activation`] on the wire.

pub mod activation;
pub mod catalog;
pub mod catalog_diff;
pub mod certificate;
pub mod check_digit;
pub mod cmid_table;
pub mod confirmation_id;
mod digit_groups;
pub mod error;
pub mod extended_pid;
pub mod hardware;
pub mod host_activation;
pub mod identifier;
pub mod installation_id;
pub mod interval;
pub mod key_activation;
pub mod license_pack;
pub mod license_state;
pub mod machine_license;
pub mod policy;
pub mod product_key;
pub mod revocation;
pub mod schedule;
pub mod signed;
pub mod words;

pub use error::{Code, Error, Result};
pub use interval::Interval;
/// A moment in UTC, to the nanosecond; written as RFC 3339.
pub use jiff::Timestamp;
