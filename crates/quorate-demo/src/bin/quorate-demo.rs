//! The `quorate-demo` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_demo::command::main(std::env::args_os())
}
