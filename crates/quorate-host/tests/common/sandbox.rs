//! A shell as root of its own user, mount and process namespaces: there it may mount a file system that is
//! small or read-only, whoever runs the tests. What it starts ends with it.

use super::{PROGRAM, finish, listening_port, stderr};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// The shell.
pub struct Sandbox {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Sandbox {
    /// Starts the shell.
    pub fn new() -> Self {
        let mut shell = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{NEEDED}: {error}"));
        let (input, output) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut sandbox = Self { shell, input, output: BufReader::new(output) };
        sandbox.succeed("true");
        sandbox
    }

    /// Runs commands. Gives their exit status, and what they printed on either output.
    pub fn run(&mut self, script: &str) -> (i32, String) {
        let mut printed = String::new();
        // A shell that has gone is noticed at reading.
        let _ = writeln!(self.input, "{{ {script}\n}} 2>&1; echo \"{END}$?\"");
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                let mut complaint = String::new();
                self.shell.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
                panic!("{NEEDED}: {complaint}");
            }
            if let Some((rest, status)) = line.split_once(END) {
                printed.push_str(rest);
                return (status.trim().parse().unwrap(), printed);
            }
            printed.push_str(&line);
        }
    }

    /// Runs commands that must succeed. Gives what they printed.
    pub fn succeed(&mut self, script: &str) -> String {
        let (status, printed) = self.run(script);
        assert_eq!(status, 0, "{script}: {printed}");
        printed
    }

    /// Mounts a file system of this size over a directory, with a copy of another directory in it.
    pub fn mount(&mut self, size: &str, at: &Path, copy: &Path) {
        std::fs::create_dir_all(at).unwrap();
        let (at, copy) = (at.display(), copy.display());
        self.succeed(&format!(
            "mount -t tmpfs -o size={size},mode=700 tmpfs '{at}' && cp -a '{copy}/.' '{at}'"
        ));
    }

    /// Starts a daemon over a directory.
    pub fn serve(&mut self, directory: &Path, log: &Path) -> SocketAddr {
        self.start(directory, log, "--listen 127.0.0.1:0");
        let port = listening_port(log, || self.run("kill -0 $!").0 != 0);
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Starts a daemon over a directory, with these options of `serve`.
    pub fn start(&mut self, directory: &Path, log: &Path, options: &str) {
        let (directory, log) = (directory.display(), log.display());
        self.succeed(&format!("env -i '{PROGRAM}' --dir '{directory}' serve {options} 2>'{log}' &"));
    }

    /// Kills the daemon that was started last.
    pub fn kill(&mut self) {
        self.succeed("kill -9 $!; wait $!; true");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Processes of the namespace die with its first, the shell.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Runs a command as the same user in a user namespace, where even root is nobody in particular.
pub fn without_privileges(command: &Command) -> Output {
    let mut unshare = Command::new("unshare");
    let output = finish(unshare.arg("--user").arg(command.get_program()).args(command.get_args()));
    assert!(!stderr(&output).starts_with("unshare"), "{NEEDED}: {}", stderr(&output));
    output
}

const END: &str = "= end of the script: ";
const NEEDED: &str = "this test needs unshare (util-linux) and a kernel that lets this user make namespaces \
     (sysctl user.max_user_namespaces above 0, and no ban by kernel.unprivileged_userns_clone, AppArmor or \
     a container's seccomp profile)";
