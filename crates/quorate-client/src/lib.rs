//! The client: finds a host, asks it, verifies the answer, keeps the license.
//!
//! [`Client`] is the whole of it: a vendor's catalog and root, a directory for the license store, and the
//! machine it runs on. [`known_host`] and [`discovery`] find hosts, [`transport`] speaks to one; a product key of
//! the machine's own ([`keys`]) is activated at the vendor's service ([`by_service`]). [`store`] keeps what came of
//! it, as [`stored`] has it; whether the product is licensed is decided by `quorate_core::license_state` from what is kept.
//!
//! The program, behind the feature `cli`: `command` is the `quorate` command line, `report` what its `status` says,
//! `watch` the same live, `doctor` what walks the whole way. An application does without.
//!
//! Where to go next: [`licensing`] for an application, [`activation`] for how it works.

pub mod activation;
mod by_host;
pub mod by_service;
#[cfg(feature = "cli")]
pub mod command;
pub mod discovery;
#[cfg(feature = "cli")]
pub mod doctor;
pub mod happy_eyeballs;
pub mod host_address;
pub mod key_ring;
pub mod keys;
pub mod known_host;
pub mod licensing;
pub mod registration;
pub mod renewal;
#[cfg(feature = "cli")]
pub mod report;
pub mod round;
mod sealed_file;
pub mod srv;
pub mod store;
pub mod stored;
pub mod transport;
#[cfg(feature = "cli")]
pub mod watch;

pub use activation::Client;
pub use licensing::Check;
pub use quorate_core::license_state::Mode;
