//! Inkpad: a small text editor that is licensed by Quorate, so that a vendor sees what its users will see.
//!
//! `inkpad PRODUCT EDITION FILE`. The license is the few lines around [`Client`] here, one decision in
//! `editor.rs` and the colours in `screen.rs`; the rest is an editor like any other.

mod document;
mod editor;
mod screen;

use clap::Parser;
use editor::{Editor, Wish};
use quorate_client::Client;
use quorate_core::identifier::ActivationId;
use quorate_core::{Code, Error, Result};
use quorate_edge::{command_line, files};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use screen::Screen;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A small text editor that is licensed by Quorate.
#[derive(Parser)]
#[command(name = "inkpad")]
struct Arguments {
    /// The directory that `quorate-vendor catalog --out` has written; a real product has its files compiled in.
    product: PathBuf,
    /// The activation id of the edition to be.
    edition: ActivationId,
    /// The file to edit; it need not exist yet.
    file: PathBuf,
}

fn main() -> ExitCode {
    command_line::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let client = open(&arguments.product, arguments.edition)?;
    let text = match arguments.file.try_exists() {
        Ok(false) => String::new(),
        _ => files::read_text(&arguments.file)?,
    };
    let name = arguments.file.file_name().unwrap_or(arguments.file.as_os_str()).to_string_lossy();
    let mut editor = Editor::new(name.into_owned(), &text, client.check());

    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(no_terminal("input or output is redirected"));
    }
    // From here until `restore` the terminal is the editor's; after a panic it is restored as well.
    let edited =
        ratatui::try_init().and_then(|terminal| edit(terminal, &mut editor, &client, &arguments.file));
    ratatui::restore();
    edited.map_err(|error| no_terminal(&files::plain(&error)))
}

fn no_terminal(why: &str) -> Error {
    let what = format!("the terminal cannot be used: {why}");
    Error::new(Code::Unreadable, what, "start inkpad in a terminal, without redirection")
}

fn open(product: &Path, edition: ActivationId) -> Result<Client> {
    // In a product: include_bytes!("../product/vendor-root.pem") and include_str!("../product/catalog.jws").
    let root = files::read(&product.join("vendor-root.pem"))?;
    let catalog = files::read_text(&product.join("catalog.jws"))?;
    Client::open(&root, &catalog, edition)
}

fn edit(mut terminal: DefaultTerminal, editor: &mut Editor, client: &Client, file: &Path) -> io::Result<()> {
    let mut screen = Screen::default();
    let mut checked = Instant::now();
    loop {
        terminal.draw(|frame| screen.draw(frame, editor))?;
        if event::poll(CHECK_INTERVAL.saturating_sub(checked.elapsed()))?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            match editor.press(key, screen.page()) {
                Some(Wish::Save) => save(editor, file),
                Some(Wish::Quit) => return Ok(()),
                None => {}
            }
        }
        // A license can end, or be renewed, while the program is open.
        if checked.elapsed() >= CHECK_INTERVAL {
            editor.check = client.check();
            checked = Instant::now();
        }
    }
}

/// Whatever goes wrong is told; the text stays in the editor.
fn save(editor: &mut Editor, file: &Path) {
    // Written in place: a link and the permissions of a file are its owner's affair.
    match std::fs::write(file, editor.document.text()) {
        Ok(()) => {
            editor.document.saved();
            "Saved.".clone_into(&mut editor.message);
        }
        // With its name alone, the reason is not cut off by the edge of the screen.
        Err(error) => editor.message = files::writing(Path::new(&editor.name), &error).what,
    }
}

const CHECK_INTERVAL: Duration = Duration::from_secs(60);
