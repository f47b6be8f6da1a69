//! The portal: in a real browser as people use it, and by requests as nobody should be able to.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod pages;
mod requests;
