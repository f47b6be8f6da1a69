//! What every Quorate program needs of the machine it runs on.
//!
//! The rules in `quorate-core` take the time, the machine's identity and random bytes as arguments. This
//! crate is where these come from, and where the programs share what would otherwise be written three
//! times: files that are never half-written, the slash forms that administrators are used to, the accept
//! loop that no silent connection can hold up, the way to the vendor's service through a proxy.
//!
//! Where to go next: `quorate-client`, `quorate-host` and `quorate-vendor`, the programs.

pub mod clock;
#[cfg(feature = "command-line")]
pub mod command_line;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "database")]
pub mod database;
pub mod files;
#[cfg(feature = "https")]
pub mod https;
pub mod machine;
#[cfg(feature = "server")]
pub mod monitoring;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod problem;
pub mod random;
#[cfg(feature = "server")]
pub mod rate;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(any(feature = "server", feature = "tls"))]
pub mod stop;
