//! The activation host: one program inside a customer's network that activates every machine there.
//!
//! The way of a request: [`server`] receives it and asks `quorate_core::activation::admit` whether this host
//! may answer; [`ledger`] counts the machine and has that on the disk; [`server`] signs the answer with a key
//! of [`credentials`]. Beside it, [`keys`] installs and activates host keys, [`documents`] fetches what the vendor
//! says since, [`dns`] publishes the host, and [`report`] prints what an administrator wants to know. [`config`] is
//! the configuration file, [`settings`] what was set by command, and [`log`] where the log goes. [`store`] is the one
//! database file under them.
//!
//! [`limit`] holds whoever asks without end; [`metrics`], [`health`], [`monitoring`] and [`inquiries`] are for
//! those who watch over the host.
//!
//! Where to go next: [`server`].

pub mod book;
pub mod command;
pub mod config;
pub mod credentials;
pub mod dns;
pub mod documents;
pub mod health;
pub mod inquiries;
pub mod keys;
pub mod ledger;
pub mod limit;
pub mod listing;
pub mod log;
pub mod metrics;
pub mod monitoring;
pub mod report;
pub mod server;
pub mod settings;
pub mod store;
