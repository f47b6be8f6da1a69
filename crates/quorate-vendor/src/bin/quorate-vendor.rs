//! The `quorate-vendor` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_vendor::command::main(std::env::args_os())
}
