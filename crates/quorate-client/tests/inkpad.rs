//! The example programs as a user meets them: Inkpad in a terminal, its screen compared as text and colour.
//!
//! The programs are the built ones, with the real license store of this machine in a temporary directory;
//! `faketime` moves their clock.

// The helpers of a test may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod common;
/// The unit tests of Inkpad's text run here: cargo runs none that are inside an example.
#[allow(dead_code)]
#[path = "../examples/inkpad/document.rs"]
mod document;

use common::terminal::{Terminal, rows};
use common::{STANDARD, Vendor};
use quorate_client::Client;
use quorate_edge::clock::Clock;
use quorate_edge::machine::Machine;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

#[test]
fn in_its_grace_it_is_an_editor_like_any_other() {
    let desk = Desk::new(STANDARD);
    std::fs::write(desk.file(), "Dear 墨,\n").unwrap();
    let mut inkpad = desk.opens(&[]);
    inkpad.shows(&[bar(" Inkpad: letter.txt"), row("Dear 墨,"), row(""), row(""), row(""), keys(1, 1)]);

    // Down, type, a new line, type; then the wide character is taken out from behind.
    inkpad.types("\x1b[Bthank you");
    inkpad.types("\rInk é\x1b[A\x1b[A\x1b[H\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x7fpad");
    inkpad.shows(&[
        bar(" Inkpad: letter.txt *"),
        row("Dear pad,"),
        row("thank you"),
        row("Ink é"),
        row(""),
        keys(1, 9),
    ]);
    inkpad.types(QUIT);
    let unsaved = " Not saved: Ctrl-S saves, Ctrl-Q again quits without saving.";
    inkpad.shows_last(dim(unsaved));
    inkpad.types(SAVE);
    inkpad.shows_last(dim(" Saved."));
    assert_eq!(desk.text(), "Dear pad,\nthank you\nInk é");

    // Delete joins lines; quitting twice leaves the file as it was saved.
    inkpad.types("\x1b[F\x1b[3~");
    inkpad.shows_row(1, row("Dear pad,thank you"));
    inkpad.types(QUIT);
    inkpad.shows_last(dim(unsaved));
    inkpad.types(QUIT);
    inkpad.has_ended_and_left_the_terminal_as_it_was();
    assert_eq!(desk.text(), "Dear pad,\nthank you\nInk é");
}

#[test]
fn long_texts_and_long_lines_scroll() {
    let desk = Desk::new(STANDARD);
    let lines: Vec<String> = (1..=20).map(|number| format!("line {number}")).collect();
    std::fs::write(desk.file(), format!("{}\n{}", lines.join("\n"), "墨".repeat(60))).unwrap();
    let mut inkpad = desk.opens(&[]);
    inkpad.types("\x1b[6~\x1b[6~");
    inkpad.shows(&[
        bar(" Inkpad: letter.txt"),
        row("line 6"),
        row("line 7"),
        row("line 8"),
        row("line 9"),
        keys(9, 1),
    ]);
    inkpad.types("\x1b[5~");
    inkpad.shows_last(keys(5, 1));
    // To the end of the last line: 120 columns of wide characters, of which the first shown is cut in two.
    inkpad.types("\x1b[6~\x1b[6~\x1b[6~\x1b[6~\x1b[F");
    inkpad.shows_last(keys(21, 121));
    inkpad.shows_row(4, row(&format!(" {}", "墨".repeat(35))));
    // In a larger window there is more of it.
    inkpad.resize(ROWS + 2, COLUMNS);
    inkpad.shows_row(6, row(&format!(" {}", "墨".repeat(35))));
    inkpad.types(QUIT);
    inkpad.has_ended_and_left_the_terminal_as_it_was();
}

#[test]
fn after_the_grace_the_title_bar_is_red_and_everything_works() {
    let desk = Desk::new(STANDARD);
    let mut inkpad = desk.opens(&faketime("+31d"));
    inkpad.shows(&[
        red_bar(" Inkpad: letter.txt"),
        red_bar(" Contoso Office, Standard edition is not activated. The time in which"),
        red_bar(" the product runs without an activation is over (Q610, 0xC004F009)."),
        row(""),
        row(""),
        keys(1, 1),
    ]);
    inkpad.types("ink");
    inkpad.shows_row(0, red_bar(" Inkpad: letter.txt *"));
    inkpad.types(SAVE);
    inkpad.shows_last(dim(" Saved."));
    assert_eq!(desk.text(), "ink");
    inkpad.types(QUIT);
    inkpad.has_ended_and_left_the_terminal_as_it_was();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activated_product_has_no_red_title_bar_on_that_day() {
    let mut desk = Desk::new(STANDARD);
    let host = desk.vendor.host().await;
    let client = desk.client();
    client.set_host(Some(host.host_address())).unwrap();
    client.activate().await.unwrap();
    let mut inkpad = desk.opens(&faketime("+31d"));
    inkpad.shows(&[bar(" Inkpad: letter.txt"), row(""), row(""), row(""), row(""), keys(1, 1)]);
    inkpad.types(QUIT);
    inkpad.has_ended_and_left_the_terminal_as_it_was();
}

#[test]
fn in_reduced_functionality_the_text_can_be_read_and_not_changed() {
    let desk = Desk::new(HOME);
    std::fs::write(desk.file(), "Dear ink\n").unwrap();
    let mut inkpad = desk.opens(&faketime("+31d"));
    let mut screen = [
        red_bar(" Inkpad: letter.txt (view only)"),
        row("Dear ink"),
        row(""),
        red(" Contoso Office, Home edition is not activated. The time in which the"),
        red(" product runs without an activation is over (Q610, 0xC004F009)."),
        keys(1, 1),
    ];
    inkpad.shows(&screen);
    for typed in ["x", "\r", "\x7f", "\x1b[3~", "\t"] {
        inkpad.types(typed);
        screen[5] = dim(" View only: the text was not changed.");
        inkpad.shows(&screen);
        // The cursor moves all the same.
        inkpad.types("\x1b[C\x1b[H");
        screen[5] = keys(1, 1);
        inkpad.shows(&screen);
    }
    inkpad.types(SAVE);
    inkpad.shows_last(dim(" View only: there is nothing to save."));
    inkpad.types(QUIT);
    inkpad.has_ended_and_left_the_terminal_as_it_was();
    assert_eq!(desk.text(), "Dear ink\n");
}

/// The program's minutes are seconds here. What was typed before the license was gone can still be saved.
#[test]
fn the_license_is_checked_again_every_minute() {
    let desk = Desk::new(STANDARD);
    let mut inkpad = desk.opens(&faketime("+0 x60"));
    inkpad.types("ink");
    inkpad.shows_row(0, bar(" Inkpad: letter.txt *"));
    let installed = desk.state().join("contoso").join(format!("{}.installed.json", common::OFFICE));
    let whole = std::fs::read(&installed).unwrap();
    std::fs::write(&installed, "{}").unwrap();
    inkpad.shows_row(0, red_bar(" Inkpad: letter.txt * (view only)"));
    inkpad.types("x");
    inkpad.shows_last(dim(" View only: the text was not changed."));
    inkpad.types(SAVE);
    inkpad.shows_last(dim(" Saved."));
    assert_eq!(desk.text(), "ink");
    std::fs::write(&installed, whole).unwrap();
    inkpad.shows_row(0, bar(" Inkpad: letter.txt"));
    inkpad.types(QUIT);
    inkpad.has_ended_and_left_the_terminal_as_it_was();
}

#[test]
fn what_cannot_be_read_or_written_is_told() {
    let mut desk = Desk::new(STANDARD);
    std::fs::write(desk.file(), [0xff, 0xfe]).unwrap();
    let fails = |desk: &Desk, file: &Path, what: &str| {
        let output = desk.command("inkpad").arg(file).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((error.lines().next(), output.stdout.as_slice()), (Some(what), [].as_slice()));
    };
    let path = desk.file().display().to_string();
    fails(&desk, &desk.file(), &format!("error Q209 (0x8007000D): {path} is not a text file"));
    let directory = desk.directory.path();
    let what = format!("error Q601: {} cannot be read: is a directory", directory.display());
    fails(&desk, directory, &what);
    let redirected = "error Q601: the terminal cannot be used: input or output is redirected";
    fails(&desk, Path::new("new.txt"), redirected);

    // A directory that is not there is seen when the text is saved; the text stays.
    desk.name = "missing/letter.txt";
    let mut inkpad = desk.opens(&[]);
    inkpad.types("ink");
    inkpad.types(SAVE);
    inkpad.shows_row(0, bar(" Inkpad: letter.txt *"));
    inkpad.shows_last(dim(" letter.txt cannot be written: no such file or directory"));
    inkpad.types(QUIT);
    inkpad.types(QUIT);
    inkpad.has_ended_and_left_the_terminal_as_it_was();
}

#[test]
fn the_minimal_program_says_where_it_stands() {
    let desk = Desk::new(STANDARD);
    let says = |faketime: &[&str]| {
        let plain = desk.command("minimal");
        let mut command = Command::new("env");
        command.args(faketime).arg(plain.get_program()).args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        common::Ran::from(&mut command).succeeds()
    };
    assert_eq!(says(&[]), "Everything works.\n");
    assert!(
        says(&faketime("+31d"))
            .starts_with("Everything works. Contoso Office, Standard edition is not activated. ")
    );
}

/// A user's desk: a product that was installed just now, and a letter to write.
struct Desk {
    vendor: Vendor,
    edition: &'static str,
    directory: TempDir,
    name: &'static str,
}

impl Desk {
    fn new(edition: &'static str) -> Self {
        let desk = Self {
            vendor: Vendor::new("contoso"),
            edition,
            directory: tempfile::tempdir().unwrap(),
            name: "letter.txt",
        };
        desk.client();
        desk
    }

    /// The product, as the examples open it.
    fn client(&self) -> Client {
        let root = std::fs::read(self.vendor.root()).unwrap();
        let catalog = std::fs::read_to_string(self.vendor.catalog()).unwrap();
        let (edition, machine) = (self.edition.parse().unwrap(), Machine::read(None).unwrap());
        Client::open_at(&self.state(), &root, &catalog, edition, machine, Clock::system()).unwrap()
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    /// An example with the product and its edition as arguments.
    fn command(&self, example: &str) -> Command {
        let mut command = Command::new(EXAMPLES.join(example));
        command.arg(self.vendor.directory.path().join("product")).arg(self.edition);
        command.env("QUORATE_DIR", self.state());
        command
    }

    /// Inkpad in a terminal of its own, behind what moves its clock.
    fn opens(&self, faketime: &[&str]) -> Terminal {
        let inkpad = self.command("inkpad");
        let mut command: Vec<&OsStr> = faketime.iter().map(OsStr::new).collect();
        command.push(inkpad.get_program());
        command.extend(inkpad.get_args());
        let (file, state) = (self.file(), self.state());
        command.push(file.as_ref());
        let mut terminal = Terminal::new(ROWS, COLUMNS, &command, &[("QUORATE_DIR", state.as_os_str())]);
        terminal.waits_for(|screen| screen.alternate_screen() && screen.contents().contains("Inkpad"));
        terminal
    }
}

/// Inkpad's screen.
impl Terminal {
    /// The whole screen is or becomes this.
    #[track_caller]
    fn shows(&mut self, expected: &[String]) {
        self.waits_for(|screen| rows(screen) == expected);
        assert_eq!(rows(self.parser.screen()), expected);
    }

    #[track_caller]
    fn shows_row(&mut self, row: usize, expected: String) {
        self.waits_for(|screen| rows(screen)[row] == expected);
        assert_eq!(rows(self.parser.screen())[row], expected, "{}", self.parser.screen().contents());
    }

    #[track_caller]
    fn shows_last(&mut self, expected: String) {
        self.shows_row(usize::from(ROWS) - 1, expected);
    }
}

fn bar(text: &str) -> String {
    format!("<inverse>{text}")
}

fn red_bar(text: &str) -> String {
    format!("<white on red>{text}")
}

fn red(text: &str) -> String {
    format!("<red>{text}")
}

fn dim(text: &str) -> String {
    format!("<dim>{text}")
}

fn row(text: &str) -> String {
    text.to_owned()
}

fn keys(line: usize, column: usize) -> String {
    dim(&format!(" Ctrl-S save  Ctrl-Q quit  line {line}, column {column}"))
}

/// What stands before a program to move its clock.
fn faketime(by: &str) -> [&str; 3] {
    let found = Command::new("faketime").arg("--version").stdout(Stdio::null()).status();
    assert!(found.is_ok(), "faketime is missing: install the Debian package faketime, as ./setup does");
    ["faketime", "-f", by]
}

/// The examples, built from the sources of now and as the tests themselves are, so that nothing is built twice.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    // This test is in target/PROFILE/deps.
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--workspace", "--examples"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "the examples do not build");
    profile.join("examples")
});

const SAVE: &str = "\x13";
const QUIT: &str = "\x11";
const ROWS: u16 = 6;
const COLUMNS: u16 = 72;
/// An edition of the example that is sold one by one.
const HOME: &str = "6d5f1a5e-6f0b-4d7e-9c63-0a3c1d8e5f05";
