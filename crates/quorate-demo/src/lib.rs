//! The whole story in one process on loopback: a vendor, a host, a DNS server and as many machines as wanted.
//!
//! Nothing is acted: the code is that of the real programs, the TLS, gRPC, HTTPS and DNS between them are
//! real, and what they store is on the disk in a temporary directory, where the real commands find it. The
//! one thing that is played is time, and each machine's identity.
//!
//! [`story`] tells it, [`stage`] sets it up, [`name_server`] is the DNS server, [`command`] the program.
//!
//! Where to go next: [`story`].

pub mod command;
pub mod name_server;
pub mod stage;
pub mod story;
