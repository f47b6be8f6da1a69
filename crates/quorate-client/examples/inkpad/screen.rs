//! What the user sees: drawn from the text and the license, and from nothing else.
//!
//! An activated product and one in its grace look alike. One in notification works as before under a red
//! title bar that says why; one in reduced functionality shows the text, and at the foot why it can't be
//! changed.

use crate::document::{cells, width};
use crate::editor::Editor;
use quorate_client::Mode;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Text};
use std::ops::Range;

/// Which part of the text is on the screen.
#[derive(Default)]
pub struct Screen {
    top: usize,
    left: usize,
    rows: usize,
}

impl Screen {
    /// How many lines of text the screen had when it was drawn last.
    pub fn page(&self) -> usize {
        self.rows
    }

    /// Draws everything anew.
    pub fn draw(&mut self, frame: &mut Frame, editor: &Editor) {
        let columns = usize::from(frame.area().width);
        let mode = editor.check.mode;
        let mut title = vec![title(editor)];
        let mut foot = Vec::new();
        match mode {
            Mode::Full => {}
            Mode::Notify => title.extend(wrapped(&editor.check.text, columns)),
            Mode::ReadOnly => foot = wrapped(&editor.check.text, columns),
        }
        let [title_area, text_area, foot_area, status_area] = Layout::vertical([
            Constraint::Length(rows(&title)),
            Constraint::Min(1),
            Constraint::Length(rows(&foot)),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let (bar, warning) = match mode {
            Mode::Full => (Style::new().reversed(), Style::new()),
            Mode::Notify | Mode::ReadOnly => {
                (Style::new().fg(Color::White).bg(Color::Red).bold(), Style::new().fg(Color::Red))
            }
        };
        put(frame, title_area, title, bar);
        put(frame, foot_area, foot, warning);
        put(frame, status_area, vec![status(editor)], Style::new().dim());
        self.draw_text(frame, text_area, editor);
    }

    fn draw_text(&mut self, frame: &mut Frame, area: Rect, editor: &Editor) {
        let (line, column) = editor.document.cursor();
        self.rows = usize::from(area.height);
        // In a window that has grown, the end of the text stays at its foot.
        let last = editor.document.lines().len().saturating_sub(self.rows);
        self.top = following(self.top.min(last), line, self.rows);
        self.left = following(self.left, column, usize::from(area.width));
        let columns = self.left..self.left + usize::from(area.width);
        let lines = editor.document.lines().iter().skip(self.top).take(self.rows);
        let shown = lines.map(|line| part(line, &columns)).collect();
        put(frame, area, shown, Style::new());
        let offset = |from: u16, by: usize| u16::try_from(by).map_or(from, |by| from.saturating_add(by));
        frame.set_cursor_position(Position::new(
            offset(area.x, column - self.left),
            offset(area.y, line - self.top),
        ));
    }
}

fn title(editor: &Editor) -> String {
    let changed = if editor.document.changed() { " *" } else { "" };
    let state = match editor.check.mode {
        Mode::Full | Mode::Notify => "",
        Mode::ReadOnly => " (view only)",
    };
    // A name may hold what a terminal would obey.
    format!(" Inkpad: {}{changed}{state}", part(&editor.name, &(0..usize::MAX)))
}

fn status(editor: &Editor) -> String {
    if !editor.message.is_empty() {
        return format!(" {}", editor.message);
    }
    let (line, column) = editor.document.cursor();
    format!(" Ctrl-S save  Ctrl-Q quit  line {}, column {}", line + 1, column + 1)
}

/// The first of `size` lines or columns, moved no further than it takes to show the cursor.
fn following(first: usize, cursor: usize, size: usize) -> usize {
    let size = size.max(1);
    first.clamp((cursor + 1).saturating_sub(size), cursor)
}

/// What of a line falls into these columns. A wide character that is cut by the edge leaves a blank.
fn part(line: &str, columns: &Range<usize>) -> String {
    let mut shown = String::new();
    for cell in cells(line).take_while(|cell| cell.start < columns.end) {
        if cell.start >= columns.start && cell.end <= columns.end {
            shown += cell.shown;
        } else if cell.end > columns.start {
            let visible = cell.end.min(columns.end) - cell.start.max(columns.start);
            shown.extend(std::iter::repeat_n(' ', visible));
        }
    }
    shown
}

/// A text in lines of this width, broken between words; a longer word is cut by the edge of the screen.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && width(&lines[last]) + 1 + width(word) > columns {
            lines.push(String::new());
        }
        let last = lines.len() - 1;
        lines[last] += " ";
        lines[last] += word;
    }
    lines
}

fn rows(lines: &[String]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}

fn put(frame: &mut Frame, area: Rect, lines: Vec<String>, style: Style) {
    let text = Text::from(lines.into_iter().map(Line::raw).collect::<Vec<_>>());
    frame.render_widget(text.style(style), area);
}
