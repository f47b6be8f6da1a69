//! The `quorate-host` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_host::command::main(std::env::args_os())
}
