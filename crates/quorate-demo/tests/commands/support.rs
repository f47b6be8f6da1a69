//! Transcripts: files that read like a session at a terminal, run again and compared word for word.
//!
//! A line that begins with `$ ` is a command for the shell; what follows it, up to the next, is everything
//! that it must print, standard error included, and `[exit N]` when its status is not 0. What differs from
//! run to run (keys, times, ports) stands in brackets. `SNAPSHOTS=overwrite cargo test` writes the files anew.

use snapbox::{Assert, Data, Redactions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A terminal: a directory, variables, and the programs on its path.
pub struct Terminal {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Terminal {
    /// A terminal in an empty directory.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sets a variable for the commands to come.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.variables.push((name.to_owned(), value.to_string()));
    }

    /// One command for the shell, and what it printed.
    pub fn run(&self, command: &str) -> String {
        let path = format!("{}:{}", PROGRAMS.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(self.directory())
            .env("PATH", path)
            // Nothing of the machine that runs the tests may show through.
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .env_remove("ALL_PROXY")
            .env_remove("all_proxy")
            .env_remove("QUORATE_LOG")
            .env_remove("QUORATE_HOST")
            .env_remove("QUORATE_VENDOR_DATABASE")
            .env_remove("SUDO_USER")
            .env("QUORATE_HOST_FILE", "no-host-file")
            .env("QUORATE_VENDOR_DIR", "vendor")
            .env("QUORATE_HOST_DIR", "host")
            .env("QUORATE_DIR", "client")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let mut text = String::from_utf8(output.stdout).unwrap();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => text += &format!("[exit {code}]\n"),
            None => text += "[killed]\n",
        }
        text
    }

    /// Runs the commands of a transcript and compares everything.
    pub fn follow(&self, transcript: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(transcript);
        let expected = std::fs::read_to_string(&path).unwrap();
        let mut actual = String::new();
        let mut commands = 0;
        for line in expected.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                actual += &format!("{line}\n{}", self.run(command));
                commands += 1;
            } else if line.starts_with('#') {
                actual += &format!("{line}\n");
            }
        }
        assert!(commands > 0, "{transcript} has no command");
        Assert::new()
            .action_env("SNAPSHOTS")
            .redact_with(redactions(self.directory()))
            // A backslash is the shell's.
            .normalize_paths(false)
            .eq(actual, Data::read_from(&path, None));
    }
}

/// What differs from run to run.
fn redactions(directory: &Path) -> Redactions {
    let mut redactions = Redactions::new();
    let mut hide = |placeholder: &'static str, pattern: &str| {
        redactions.insert(placeholder, regex::Regex::new(pattern).unwrap()).unwrap();
    };
    hide("[KEY]", "(?<redacted>([BCDFGHJKMPQRTVWXY2-46-9]{5}-){4}[BCDFGHJKMPQRTVWXY2-46-9]{5})");
    hide(
        "[PARTIAL]",
        "(…|Partial Product Key: |INSTALLED PRODUCT KEY: )(?<redacted>[BCDFGHJKMPQRTVWXY2-46-9]{5})\\b",
    );
    hide("[IID]", "(?<redacted>\\b([0-9]{6}-){8}[0-9]{6}\\b)");
    hide("[CID]", "(?m)\\s(?<redacted>([0-9]{6}-){7}[0-9]{6})$");
    hide("[GROUP]", "(?m)^[A-H1-9]  (?<redacted>[0-9]{6})$");
    hide("[TIME]", "(?<redacted>20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)");
    hide("[DATE]", "-0001\\.0000-(?<redacted>[0-9]{7})");
    hide("[CMID]", "CLIENT MACHINE ID: (?<redacted>[0-9a-f-]{36})");
    hide("[PARTIAL]", "\"last-five\": \"(?<redacted>[^\"]{5})\"");
    hide("[HASH]", "(?<redacted>\\b[0-9a-f]{64}\\b)");
    hide("[FINGERPRINT]", "(?<redacted>([0-9A-F]{2}:){31}[0-9A-F]{2})");
    hide("[FINGERPRINT]", "root (?<redacted>([0-9A-F]{2}:){7}[0-9A-F]{2})…");
    hide("[PORT]", "(127\\.0\\.0\\.1|kms\\.demo\\.test):(?<redacted>[0-9]{2,5})\\b");
    hide("[PORT]", "127\\.0\\.0\\.1 (?<redacted>[0-9]{2,5}) port");
    hide("[MACHINE]", "machine (?<redacted>[0-9a-f]{12})\\b");
    hide("[SERIAL]", "certificate (?<redacted>[0-9a-f]{32})\\b");
    hide("[PORT]", "Listening on Port: (?<redacted>[0-9]{2,5})");
    hide("[PORT]", "IN SRV 0 0 (?<redacted>[0-9]{2,5}) ");
    hide("[USER]", "command line \\((?<redacted>[^)]+)\\)");
    redactions.insert("[CWD]", directory.to_path_buf()).unwrap();
    redactions
}

/// Where the programs are, built from the sources of now.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // As the tests themselves are built, so that nothing is built twice.
    let arguments = ["test", "--quiet", "--workspace", "--no-run"];
    let built = Command::new(cargo).args(arguments).status().unwrap();
    assert!(built.success(), "the programs do not build");
    // This test is in target/PROFILE/deps; the programs are one level up.
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_path_buf()
});

/// The directory that holds the programs.
pub fn programs() -> &'static Path {
    &PROGRAMS
}
