//! A terminal with a program in it, and what is shown there as text and colour.

use pty_process::Size;
use pty_process::blocking::{Command, Pty};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A terminal, and what is shown on it.
pub struct Terminal {
    pub parser: vt100::Parser,
    pty: Arc<Pty>,
    written: Receiver<Vec<u8>>,
    shell: Child,
}

impl Terminal {
    /// A terminal of this size, with a shell that runs this command and then tells how it has ended.
    pub fn new(rows: u16, columns: u16, command: &[&OsStr], variables: &[(&str, &OsStr)]) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let shell = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .args(command)
            .envs(variables.iter().copied())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .spawn(pts)
            .unwrap();
        let pty = Arc::new(pty);
        let (sender, written) = channel();
        let reading = Arc::clone(&pty);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when nobody has the other side open.
            while let Ok(length @ 1..) = (&*reading).read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let [rows, columns] = [rows, columns].map(|length| NonZeroU16::new(length).unwrap());
        Self { parser: vt100::Parser::new(rows, columns, 0), pty, written, shell }
    }

    pub fn types(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.parser.set_size(NonZeroU16::new(rows).unwrap(), NonZeroU16::new(columns).unwrap());
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// The shell goes on below what was there before, the cursor is seen, and typing is echoed.
    #[track_caller]
    pub fn has_ended_and_left_the_terminal_as_it_was(&mut self) {
        let expected = "before\nended with 0\nisig icanon echo";
        self.waits_for(|screen| screen.contents().contains("echo"));
        let screen = self.parser.screen();
        assert_eq!(screen.contents(), expected);
        assert_eq!((screen.alternate_screen(), screen.hide_cursor()), (false, false));
        assert_eq!(screen.bgcolor(), vt100::Color::Default);
        assert!(self.shell.wait().unwrap().success());
    }

    /// Until the screen is so, or so much time has passed that it never will be.
    pub fn waits_for(&mut self, so: impl Fn(&vt100::Screen) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so(self.parser.screen()) {
            match self.written.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.parser.process(&bytes),
                Err(_) => return,
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The lines of a screen; what has colour stands in angle brackets.
pub fn rows(screen: &vt100::Screen) -> Vec<String> {
    let (rows, columns) = screen.size();
    (0..rows.get()).map(|row| row_of(screen, row, columns.get())).collect()
}

fn row_of(screen: &vt100::Screen, row: u16, columns: u16) -> String {
    let (mut line, mut look) = (String::new(), String::new());
    for column in 0..columns {
        let cell = screen.cell(row, column).unwrap();
        if cell.is_wide_continuation() {
            continue;
        }
        if look != look_of(cell) {
            look = look_of(cell);
            line += &format!("<{look}>");
        }
        line += if cell.has_contents() { cell.contents() } else { " " };
    }
    line.trim_end().to_owned()
}

fn look_of(cell: &vt100::Cell) -> String {
    let colour = |colour| match colour {
        vt100::Color::Default => String::new(),
        vt100::Color::Idx(1) => "red".to_owned(),
        vt100::Color::Idx(2) => "green".to_owned(),
        vt100::Color::Idx(3) => "yellow".to_owned(),
        vt100::Color::Idx(6) => "cyan".to_owned(),
        vt100::Color::Idx(7 | 15) => "white".to_owned(),
        other => format!("{other:?}"),
    };
    let mut look = vec![];
    look.extend(Some(colour(cell.fgcolor())).filter(|name| !name.is_empty()));
    look.extend(
        Some(colour(cell.bgcolor())).filter(|name| !name.is_empty()).map(|name| format!("on {name}")),
    );
    look.extend(cell.inverse().then(|| "inverse".to_owned()));
    look.extend(cell.dim().then(|| "dim".to_owned()));
    look.join(" ")
}

const SHELL: &str = "echo before; \"$@\"; echo \"ended with $?\"; \
     stty -a | tr ' ;' '\\n' | grep -xE -e '-?(isig|icanon|echo)' | xargs";
/// Far longer than it takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
