//! A client that is none of ours activates against the host: Python with stock grpcio, stubs generated from the
//! published `.proto` at test time, and a JWS and an X.509 library of other people's. See `interop/activate.py`.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/python.rs"]
mod python;

use common::{OFFICE, OFFICE_STANDARD, Site, stderr, stdout};
use std::path::Path;
use std::process::{Command, Output};

#[tokio::test]
async fn a_client_in_python_is_activated_and_believes_nothing_unverified() {
    let python = python::with(&here().join("tests/interop/requirements.txt"));
    let site = Site::activated();
    let host = site.serve(&[]);
    let here = here();
    let stubs = site.directory.path().join("stubs");
    std::fs::create_dir(&stubs).unwrap();
    let output = run(Command::new(&python)
        .arg(here.join("tests/interop/activate.py"))
        .arg(here.join("../quorate-proto/proto"))
        .arg(&stubs)
        .arg(host.address.to_string())
        .arg("contoso")
        .arg(site.directory.path().join("vendor-root.pem"))
        .args([OFFICE, OFFICE_STANDARD, "5"]));
    assert!(output.status.success(), "{}{}\nhost:\n{}", stdout(&output), stderr(&output), host.log());
    assert_eq!(stdout(&output), "5\n");
    // They are machines like any other to the next client of ours.
    assert_eq!(site.ask(1, host.address).await, Ok(6));
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
