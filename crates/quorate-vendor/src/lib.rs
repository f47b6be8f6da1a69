//! The vendor's activation service: products, product keys, host activation, license packs, phone desk.
//!
//! Three floors, each knowing only the one below: [`authority`] holds the certificates and signs (the CA's key may be in a [`token`]), [`store`]
//! keeps what has been decided, [`service`] decides, one file for each subject: [`products`], [`customers`], [`keys`],
//! [`activations`], [`phone`], [`usage`], [`revocation`], [`webhooks`], [`audit`]. [`voice`] is the automated telephone line,
//! [`openid`] the way to a provider by which people sign in.
//! [`api`] puts the service on HTTPS and `portal` shows it in a browser, [`command`] at the
//! command line. The rules themselves (how many activations a key has, what a product file may say) are in
//! `quorate-core`.
//!
//! Where to go next: [`service`].

pub mod access;
pub mod accounts;
pub mod activations;
mod address;
pub mod api;
pub mod audit;
pub mod authority;
pub mod backup;
pub mod command;
pub mod config;
pub mod customers;
pub mod device;
pub mod keys;
pub mod metrics;
pub mod once;
pub mod openid;
pub mod phone;
mod portal;
pub mod products;
pub mod revocation;
mod rights;
pub mod service;
mod sha256;
pub mod store;
pub mod token;
pub mod usage;
pub mod view;
pub mod voice;
pub mod webhooks;
