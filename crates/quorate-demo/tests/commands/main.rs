//! The programs as people use them: transcripts of their commands, and the commands that the demo suggests.

#![expect(clippy::unwrap_used, reason = "a test fails where it stops")]

mod help_files;
mod keep;
mod support;
mod transcripts;
mod vendor_json;
