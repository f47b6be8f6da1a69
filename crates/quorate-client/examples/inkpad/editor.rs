//! What a key does: rules over the text and the license; whatever touches the world is a [`Wish`].

use crate::document::{Document, Move};
use quorate_client::{Check, Mode};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The editor between two keys.
pub struct Editor {
    /// The text.
    pub document: Document,
    /// What the file is called.
    pub name: String,
    /// What the license said last.
    pub check: Check,
    /// What the user should know about the last key; else empty.
    pub message: String,
    /// The user was told that there are unsaved changes, and has pressed no other key since.
    asked: bool,
}

/// What the program must do for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Write the file.
    Save,
    /// Stop.
    Quit,
}

impl Editor {
    /// A text that was opened just now.
    pub fn new(name: String, text: &str, check: Check) -> Self {
        Self { document: Document::new(text), name, check, message: String::new(), asked: false }
    }

    /// Does what a key says; `page` is how many lines of text the screen has.
    pub fn press(&mut self, key: KeyEvent, page: usize) -> Option<Wish> {
        self.message.clear();
        let asked = std::mem::take(&mut self.asked);
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.press_control(key.code, asked);
        }
        match key.code {
            KeyCode::Left => self.document.go(Move::Left),
            KeyCode::Right => self.document.go(Move::Right),
            KeyCode::Home => self.document.go(Move::Home),
            KeyCode::End => self.document.go(Move::End),
            KeyCode::Up => self.document.go(Move::Up(1)),
            KeyCode::Down => self.document.go(Move::Down(1)),
            KeyCode::PageUp => self.document.go(Move::Up(page)),
            KeyCode::PageDown => self.document.go(Move::Down(page)),
            KeyCode::Char(character) => self.edit(|document| document.insert(character)),
            KeyCode::Tab => self.edit(|document| document.insert('\t')),
            KeyCode::Enter => self.edit(Document::insert_newline),
            KeyCode::Backspace => self.edit(Document::delete_before),
            KeyCode::Delete => self.edit(Document::delete_after),
            _ => {}
        }
        None
    }

    fn press_control(&mut self, key: KeyCode, asked: bool) -> Option<Wish> {
        match key {
            // Also when the license ended in the middle of a text: nobody's work is taken hostage.
            KeyCode::Char('s') if self.document.changed() || self.check.mode != Mode::ReadOnly => {
                Some(Wish::Save)
            }
            KeyCode::Char('s') => {
                "View only: there is nothing to save.".clone_into(&mut self.message);
                None
            }
            KeyCode::Char('q') if asked || !self.document.changed() => Some(Wish::Quit),
            KeyCode::Char('q') => {
                "Not saved: Ctrl-S saves, Ctrl-Q again quits without saving.".clone_into(&mut self.message);
                self.asked = true;
                None
            }
            _ => None,
        }
    }

    /// The one place where the license decides what the user may do.
    fn edit(&mut self, change: impl FnOnce(&mut Document)) {
        match self.check.mode {
            Mode::Full | Mode::Notify => change(&mut self.document),
            Mode::ReadOnly => "View only: the text was not changed.".clone_into(&mut self.message),
        }
    }
}
