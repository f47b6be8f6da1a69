//! `oidc-provider` of npm, a certified provider, on the loopback.

use crate::common::openid::SECRET;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A running provider, which ends with this.
pub struct RealProvider {
    process: Child,
    directory: TempDir,
    settings: serde_json::Value,
    pub issuer: String,
}

impl RealProvider {
    /// One that knows these people, and has the claims in its ID tokens or at its userinfo endpoint.
    pub fn start(redirect: &str, people: serde_json::Value) -> Self {
        Self::start_with(redirect, people, serde_json::json!({}))
    }

    /// The same, with other settings of `provider.mjs`.
    pub fn start_with(redirect: &str, people: serde_json::Value, other: serde_json::Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("people.json");
        std::fs::write(&file, people.to_string()).unwrap();
        let mut settings = serde_json::json!({
            "port": 0, "people": file, "redirect": redirect, "secret": SECRET,
            "inIdToken": false, "basic": true
        });
        settings.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        let (process, issuer) = run(&settings);
        Self { process, directory, settings, issuer }
    }

    /// Other people, or the same with other claims.
    pub fn knows(&self, people: serde_json::Value) {
        std::fs::write(self.directory.path().join("people.json"), people.to_string()).unwrap();
    }

    pub fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops and starts it: with other keys, at the same address.
    pub fn restart(&mut self) {
        self.stop();
        let port = self.issuer.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
        self.settings["port"] = port.into();
        self.process = run(&self.settings).0;
    }
}

impl Drop for RealProvider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(settings: &serde_json::Value) -> (Child, String) {
    let mut process = Command::new("node")
        .arg(program())
        .arg(settings.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut issuer = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut issuer).unwrap();
    assert!(issuer.starts_with("http"), "the provider does not start: {issuer:?}");
    (process, issuer.trim().to_owned())
}

/// The provider's program among the packages that it needs, made once for each content of the lock file.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openid");
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openid-node");
        std::fs::create_dir_all(&to).unwrap();
        for name in ["package.json", "package-lock.json", ".npmrc", "provider.mjs"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
        let wanted = std::fs::read_to_string(from.join("package-lock.json")).unwrap();
        let made = to.join("made-of.json");
        if std::fs::read_to_string(&made).is_ok_and(|of| of == wanted) {
            return to.join("provider.mjs");
        }
        let installed = Command::new("npm").arg("ci").current_dir(&to).output();
        let output =
            installed.expect("this test needs node and npm (Debian: nodejs and npm, which ./setup installs)");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "this test needs packages from npm, which could not be installed: {out}{err}"
        );
        std::fs::write(made, wanted).unwrap();
        to.join("provider.mjs")
    })
}
