//! A client that is none of ours activates against the host: Python with stock grpcio, stubs generated from the
//! published `.proto` at test time, and a JWS and an X.509 library of other people's. See `interop/activate.py`.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{OFFICE, OFFICE_STANDARD, Site, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[tokio::test]
async fn a_client_in_python_is_activated_and_believes_nothing_unverified() {
    let python = python();
    let site = Site::activated();
    let host = site.serve(&[]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
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

/// A Python that has what the script needs, made once for each list of packages.
fn python() -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-venv");
    let (python, made) = (environment.join("bin/python"), environment.join("made-of.txt"));
    if std::fs::read_to_string(&made).is_ok_and(|of| of == wanted) {
        return python;
    }
    let step = |what: &str, command: &mut Command| {
        let output = run(command);
        assert!(output.status.success(), "{what}: {}{}", stdout(&output), stderr(&output));
    };
    step(
        "this test needs python3 with venv (Debian: python3-venv, which ./setup installs)",
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment),
    );
    step(
        "this test needs packages from PyPI, which could not be installed",
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements),
    );
    std::fs::write(made, wanted).unwrap();
    python
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
