//! A Python with packages from PyPI, for programs of others that tests run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that has what a list of packages names, made once for each content of the list.
pub fn with(requirements: &Path) -> PathBuf {
    let wanted = std::fs::read_to_string(requirements).unwrap();
    let name = requirements.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-venv"));
    let (python, made) = (environment.join("bin/python"), environment.join("made-of.txt"));
    if std::fs::read_to_string(&made).is_ok_and(|of| of == wanted) {
        return python;
    }
    step(
        "this test needs python3 with venv (Debian: python3-venv, which ./setup installs)",
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment),
    );
    step(
        "this test needs packages from PyPI, which could not be installed",
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements),
    );
    std::fs::write(made, wanted).unwrap();
    python
}

fn step(what: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {out}{err}");
}
