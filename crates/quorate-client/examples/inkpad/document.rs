//! The text and the place in it where the user writes. Pure: no file, no terminal, no license.
//!
//! A step of the cursor is a grapheme, which is what a user takes for one character however many code
//! points it has; a column is a cell of the terminal, of which wide characters take two.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// A text with a cursor.
pub struct Document {
    /// Never empty: a text without a newline is one line.
    lines: Vec<String>,
    line: usize,
    /// A byte of the line, between two graphemes.
    byte: usize,
    /// The column to return to after shorter lines, while the cursor goes up or down.
    goal: Option<usize>,
    newline: &'static str,
    changed: bool,
}

/// A movement of the cursor.
#[derive(Clone, Copy)]
pub enum Move {
    Left,
    Right,
    /// To the beginning of the line.
    Home,
    /// To the end of the line.
    End,
    /// By so many lines.
    Up(usize),
    /// By so many lines.
    Down(usize),
}

impl Document {
    /// A text as it is in a file; the cursor is at its beginning.
    pub fn new(text: &str) -> Self {
        // Only when every line ends so; otherwise a carriage return is a character like others.
        let windows = text.contains('\n') && text.matches('\n').count() == text.matches("\r\n").count();
        let newline = if windows { "\r\n" } else { "\n" };
        let lines = text.split(newline).map(str::to_owned).collect();
        Self { lines, line: 0, byte: 0, goal: None, newline, changed: false }
    }

    /// The text as it goes into a file.
    pub fn text(&self) -> String {
        self.lines.join(self.newline)
    }

    /// Its lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The line and the column of the cursor, from 0.
    pub fn cursor(&self) -> (usize, usize) {
        (self.line, width(&self.lines[self.line][..self.byte]))
    }

    /// Whether there is something that has not been saved.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// Notes that the text is in its file.
    pub fn saved(&mut self) {
        self.changed = false;
    }

    /// Moves the cursor.
    pub fn go(&mut self, movement: Move) {
        let goal = self.goal.take();
        match movement {
            Move::Left => match self.before() {
                Some(start) => self.byte = start,
                None if self.line > 0 => {
                    self.line -= 1;
                    self.byte = self.lines[self.line].len();
                }
                None => {}
            },
            Move::Right => match self.after() {
                Some(end) => self.byte = end,
                None if self.line + 1 < self.lines.len() => (self.line, self.byte) = (self.line + 1, 0),
                None => {}
            },
            Move::Home => self.byte = 0,
            Move::End => self.byte = self.lines[self.line].len(),
            Move::Up(count) => self.go_to_line(self.line.saturating_sub(count), goal),
            Move::Down(count) => self.go_to_line((self.line + count).min(self.lines.len() - 1), goal),
        }
    }

    /// Writes a character at the cursor.
    pub fn insert(&mut self, character: char) {
        self.lines[self.line].insert(self.byte, character);
        self.edited(self.byte + character.len_utf8());
    }

    /// Breaks the line at the cursor.
    pub fn insert_newline(&mut self) {
        let rest = self.lines[self.line].split_off(self.byte);
        self.line += 1;
        self.lines.insert(self.line, rest);
        self.edited(0);
    }

    /// Removes what is before the cursor.
    pub fn delete_before(&mut self) {
        if let Some(start) = self.before() {
            self.lines[self.line].replace_range(start..self.byte, "");
            self.edited(start);
        } else if self.line > 0 {
            let rest = self.lines.remove(self.line);
            self.line -= 1;
            let end = self.lines[self.line].len();
            self.lines[self.line] += &rest;
            self.edited(end);
        }
    }

    /// Removes what is after the cursor.
    pub fn delete_after(&mut self) {
        if let Some(end) = self.after() {
            self.lines[self.line].replace_range(self.byte..end, "");
            self.edited(self.byte);
        } else if self.line + 1 < self.lines.len() {
            let next = self.lines.remove(self.line + 1);
            self.lines[self.line] += &next;
            self.edited(self.byte);
        }
    }

    /// A change can join what were two graphemes: a combining accent, typed after its letter.
    fn edited(&mut self, byte: usize) {
        let line = &self.lines[self.line];
        self.byte = boundaries(line).find(|boundary| *boundary >= byte).unwrap_or(line.len());
        self.goal = None;
        self.changed = true;
    }

    fn go_to_line(&mut self, line: usize, goal: Option<usize>) {
        let goal = goal.unwrap_or_else(|| self.cursor().1);
        let text = &self.lines[line];
        let there = boundaries(text).zip(cells(text)).find(|(_, cell)| cell.end > goal);
        let byte = there.map_or(text.len(), |(byte, _)| byte);
        (self.line, self.byte, self.goal) = (line, byte, Some(goal));
    }

    /// Where the grapheme before the cursor begins.
    fn before(&self) -> Option<usize> {
        let line = &self.lines[self.line][..self.byte];
        line.grapheme_indices(true).next_back().map(|(start, _)| start)
    }

    /// Where the grapheme after the cursor ends.
    fn after(&self) -> Option<usize> {
        let rest = &self.lines[self.line][self.byte..];
        rest.graphemes(true).next().map(|grapheme| self.byte + grapheme.len())
    }
}

/// How many columns a piece of text takes, from the beginning of its line.
pub fn width(text: &str) -> usize {
    cells(text).last().map_or(0, |cell| cell.end)
}

/// What a line shows, and in which columns.
pub fn cells(line: &str) -> impl Iterator<Item = Cell<'_>> {
    let mut column = 0;
    line.graphemes(true).map(move |grapheme| {
        let start = column;
        let shown = match grapheme {
            "\t" => &TAB[..TAB.len() - start % TAB.len()],
            // A terminal would obey it.
            control if control.contains(char::is_control) => "\u{fffd}",
            // An accent without a letter would have no column where the cursor could be.
            lone if lone.width() == 0 => "\u{fffd}",
            plain => plain,
        };
        column += shown.width();
        Cell { shown, start, end: column }
    })
}

/// A grapheme as it is shown.
pub struct Cell<'a> {
    /// The text for the terminal.
    pub shown: &'a str,
    /// Its first column.
    pub start: usize,
    /// The column after its last.
    pub end: usize,
}

/// The places in a line where the cursor may be.
fn boundaries(line: &str) -> impl Iterator<Item = usize> {
    line.grapheme_indices(true).map(|(start, _)| start).chain([line.len()])
}

/// A tab goes on to the next multiple of its length.
const TAB: &str = "    ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_edited_goes_back_into_the_file_as_it_came() {
        for text in ["", "\n", "a", "a\n", "a\r\nb\r\n", "a\r\nb\n", "\r", "  \t\n\n"] {
            let document = Document::new(text);
            assert_eq!((document.text().as_str(), document.changed()), (text, false));
        }
    }

    #[test]
    fn typing_breaking_and_joining_lines() {
        let mut document = Document::new("");
        type_into(&mut document, "pen and ink");
        (0..3).for_each(|_| document.go(Move::Left));
        document.insert_newline();
        assert_eq!((document.text().as_str(), document.cursor()), ("pen and \nink", (1, 0)));
        document.delete_before();
        document.delete_before();
        assert_eq!((document.text().as_str(), document.cursor()), ("pen andink", (0, 7)));
        document.go(Move::Home);
        document.delete_before();
        document.delete_after();
        assert_eq!((document.text().as_str(), document.cursor()), ("en andink", (0, 0)));
        document.go(Move::End);
        document.delete_after();
        document.insert_newline();
        document.go(Move::Left);
        document.delete_after();
        assert_eq!((document.text().as_str(), document.cursor()), ("en andink", (0, 9)));
        assert!(document.changed());
        document.saved();
        assert!(!document.changed());
    }

    #[test]
    fn at_the_edges_of_the_text_the_cursor_stays() {
        let mut document = Document::new("a\nb");
        document.go(Move::Left);
        document.go(Move::Up(3));
        document.delete_before();
        assert_eq!(document.cursor(), (0, 0));
        document.go(Move::Down(9));
        document.go(Move::End);
        document.go(Move::Right);
        document.delete_after();
        assert_eq!((document.cursor(), document.changed()), ((1, 1), false));
    }

    #[test]
    fn a_wide_character_takes_two_columns_and_one_step() {
        let mut document = Document::new("墨a");
        document.go(Move::Right);
        assert_eq!(document.cursor(), (0, 2));
        document.go(Move::Right);
        assert_eq!(document.cursor(), (0, 3));
        document.go(Move::Home);
        document.delete_after();
        assert_eq!(document.text(), "a");
    }

    /// A family of four is seven code points; "é" here is two.
    #[test]
    fn what_looks_like_one_character_is_one_step_and_is_removed_whole() {
        let mut document = Document::new("e\u{301}👨‍👩‍👧‍👦.");
        document.go(Move::Right);
        assert_eq!(document.cursor(), (0, 1));
        document.go(Move::Right);
        assert_eq!(document.cursor(), (0, 3));
        document.delete_before();
        document.delete_before();
        assert_eq!(document.text(), ".");
        type_into(&mut document, "e\u{301}");
        assert_eq!((document.text().as_str(), document.cursor()), ("e\u{301}.", (0, 1)));
        // Typed before an accent, a letter takes it.
        let mut document = Document::new("\u{301}x");
        document.insert('e');
        assert_eq!(document.cursor(), (0, 1));
        document.go(Move::Left);
        assert_eq!(document.cursor(), (0, 0));
    }

    #[test]
    fn up_and_down_keep_the_column_over_short_lines_and_never_split_a_wide_character() {
        let mut document = Document::new("abcde\nx\n墨墨墨");
        document.go(Move::End);
        document.go(Move::Down(1));
        assert_eq!(document.cursor(), (1, 1));
        document.go(Move::Down(1));
        assert_eq!(document.cursor(), (2, 4));
        document.go(Move::Up(2));
        assert_eq!(document.cursor(), (0, 5));
    }

    #[test]
    fn tabs_go_to_the_next_stop_and_control_characters_are_only_shown() {
        let shown = |line| cells(line).map(|cell| cell.shown.to_owned()).collect::<String>();
        assert_eq!((shown("a\tb"), width("a\tb")), ("a   b".to_owned(), 5));
        assert_eq!(shown("\u{1b}[31mred"), "\u{fffd}[31mred");
        assert_eq!((shown("\u{301}"), width("\u{301}")), ("\u{fffd}".to_owned(), 1));
    }

    fn type_into(document: &mut Document, text: &str) {
        text.chars().for_each(|character| document.insert(character));
    }
}
