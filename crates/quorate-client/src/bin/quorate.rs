//! The `quorate` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_client::command::main(std::env::args_os())
}
