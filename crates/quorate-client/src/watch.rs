//! Live status in the terminal. The stores are read once a second; no host is asked.

pub mod view;

use crate::activation::Client;
use crate::report::Report;
use quorate_core::{Code, Error, Result};
use quorate_edge::command_line::Problem;
use quorate_edge::files;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use view::{Product, View};

/// Shows the products until the user or the system has enough.
pub fn run(clients: &[Client]) -> Result<()> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(no_terminal("input or output is redirected"));
    }
    let stopped = stopped()?;
    // From here until `restore` the terminal is this program's; after a panic it is restored as well.
    let watched = ratatui::try_init().and_then(|terminal| watch(terminal, clients, &stopped));
    ratatui::restore();
    watched.map_err(|error| no_terminal(&files::plain(&error)))
}

fn watch(mut terminal: DefaultTerminal, clients: &[Client], stopped: &AtomicBool) -> io::Result<()> {
    let mut first = 0;
    loop {
        let products: Vec<Product> = clients.iter().map(read).collect();
        let next = Instant::now() + READ_EVERY;
        while Instant::now() < next {
            let now = clients.first().map(Client::now).unwrap_or_default();
            let view = View { now, products: &products, first };
            let mut most = 0;
            terminal.draw(|frame| most = view.draw(frame.area(), frame.buffer_mut()))?;
            first = first.min(most);
            match wish(next, stopped)? {
                Wish::None => break,
                Wish::Redraw => {}
                Wish::Up => first = first.saturating_sub(1),
                Wish::Down => first = (first + 1).min(most),
                Wish::Quit => return Ok(()),
            }
        }
    }
}

fn read(client: &Client) -> Product {
    match client.status() {
        Ok(status) => Product::Found(Box::new(Report::new(&status))),
        Err(error) => {
            let name = format!("{}, {}", client.vendor().catalog.vendor_name, client.store.application);
            Product::Unreadable { name, problem: Problem::from(&error) }
        }
    }
}

/// What the user or the system wants.
enum Wish {
    None,
    Redraw,
    Up,
    Down,
    Quit,
}

/// Waits for a wish, until this moment.
fn wish(until: Instant, stopped: &AtomicBool) -> io::Result<Wish> {
    loop {
        if stopped.load(Ordering::Relaxed) {
            return Ok(Wish::Quit);
        }
        let left = until.saturating_duration_since(Instant::now());
        if event::poll(left.min(LOOK_EVERY))? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(meant(key)),
                Event::Resize(..) => return Ok(Wish::Redraw),
                _ => {}
            }
        }
        if left.is_zero() {
            return Ok(Wish::None);
        }
    }
}

fn meant(key: KeyEvent) -> Wish {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Up | KeyCode::Char('k') => Wish::Up,
        KeyCode::Down | KeyCode::Char('j') => Wish::Down,
        _ => Wish::Redraw,
    }
}

/// Becomes true when the system asks the program to stop, so that the terminal is restored then too.
fn stopped() -> Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| no_terminal(&files::plain(&error)))?;
    let stopped = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stopped);
    // It ends with the program.
    std::thread::spawn(move || {
        runtime.block_on(quorate_edge::stop::asked());
        asked.store(true, Ordering::Relaxed);
    });
    Ok(stopped)
}

fn no_terminal(why: &str) -> Error {
    let what = format!("the terminal cannot be used: {why}");
    Error::new(Code::Unreadable, what, "`quorate status` prints the same once, wherever its output goes")
}

const READ_EVERY: Duration = Duration::from_secs(1);
/// How often the wish to stop is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
