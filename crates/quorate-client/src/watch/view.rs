//! What `watch` shows: drawn from what was found and the time, and from nothing else.

use crate::report::{self, Concern, LastRequest, MINUTES_A_DAY, Report};
use quorate_core::catalog::Channel;
use quorate_core::{Interval, Timestamp};
use quorate_edge::command_line::Problem;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Widget};

/// One screen.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time.
    pub now: Timestamp,
    /// Every product.
    pub products: &'a [Product],
    /// The first line to show, after scrolling.
    pub first: u16,
}

/// What was found of a product.
#[derive(Clone, Debug)]
pub enum Product {
    /// What its status says.
    Found(Box<Report>),
    /// Its store cannot be read.
    Unreadable {
        /// What it is called as far as is known.
        name: String,
        /// Why.
        problem: Problem,
    },
}

impl View<'_> {
    /// Draws everything anew. Gives the last line from which scrolling shows something more.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) -> u16 {
        if area.is_empty() {
            return 0;
        }
        let time = format!("{:.0} ", self.now);
        put(buffer, Rect { height: 1, ..area }, between(" quorate watch", &time, area.width).reversed());
        let body = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
        let page = self.page(area.width);
        let most = page.area.height.saturating_sub(body.height);
        let first = self.first.min(most);
        for y in 0..body.height.min(page.area.height - first) {
            for x in 0..body.width {
                buffer[(body.x + x, body.y + y)] = page[(x, first + y)].clone();
            }
        }
        if area.height > 1 {
            let more = if first < most { format!("{} more below ", most - first) } else { String::new() };
            let keys = if most > 0 { " q quit  ↑ ↓ scroll" } else { " q quit" };
            let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
            put(buffer, foot, between(keys, &more, area.width).dim());
        }
        most
    }

    /// All products below one another, as long as they are.
    fn page(&self, width: u16) -> Buffer {
        let mut page = Buffer::empty(Rect::new(0, 0, width, 0));
        for product in self.products {
            let top = page.area.height;
            let mut area = Rect::new(0, top, width, LONGEST_PRODUCT.min(u16::MAX - top));
            page.resize(Rect { y: 0, height: area.bottom(), ..area });
            area.height = product.draw(self.now, area, &mut page).min(area.height);
            page.resize(Rect { y: 0, height: area.bottom(), ..area });
        }
        page
    }
}

impl Product {
    /// Draws a product into the top of the area, and says how many rows it takes.
    fn draw(&self, now: Timestamp, area: Rect, buffer: &mut Buffer) -> u16 {
        let width = area.width.saturating_sub(4);
        let (name, concern, kind) = match self {
            Self::Found(report) => (&report.name, report.concern(), report::activation_of(report.activation)),
            Self::Unreadable { name, .. } => (name, Concern::Now, ""),
        };
        let fits = Span::raw(name).width() + Span::raw(kind).width() + 8 <= usize::from(area.width);
        let lines = match self {
            Self::Found(report) => described(report, now, width, !fits),
            Self::Unreadable { problem, .. } => explained(problem, width),
        };
        let rows = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
        let mut block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(Style::new().fg(colour(concern)))
            .title(Line::from(format!(" {name} ")).bold());
        if fits && !kind.is_empty() {
            block = block.title(Line::from(format!(" {kind} ")).dim().right_aligned());
        }
        let area = Rect { height: rows.min(area.height), ..area };
        let inner = block.inner(area);
        block.render(area, buffer);
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        Paragraph::new(lines).render(inner.intersection(area), buffer);
        rows
    }
}

/// The lines inside a product's frame.
fn described(report: &Report, now: Timestamp, width: u16, with_kind: bool) -> Vec<Line<'static>> {
    let strong = Style::new().fg(colour(report.concern())).bold();
    let until = match report.until {
        Some(until) => Span::from(format!("  until {until}")).dim(),
        None => Span::raw(""),
    };
    let mut lines = vec![Line::from(vec![
        Span::styled("● ", strong),
        Span::styled(report.situation.to_string(), strong),
        until,
    ])];
    if let (Some(left), Some(whole)) = (report.remaining_minutes, report.period_minutes) {
        let label = format!(" {} left", minutes_in_words(left));
        lines.push(gauge("", left, whole, label, width, colour(report.concern())));
    }
    if with_kind {
        lines.extend(row("By", report::activation_of(report.activation), width));
    }
    let by_a_host = report.activation == Channel::KmsClient;
    if by_a_host {
        lines.extend(row("Host", &report.host_in_words(), width));
    }
    if let Some(key) = &report.key {
        let machines = report.key_machines.zip(report.key_machines_allowed);
        let used = machines.map(|(machines, allowed)| format!(", {machines} of {allowed} machines"));
        lines.extend(row("Key", &format!("…{key}{}", used.unwrap_or_default()), width));
    }
    if let Some(last) = &report.last_request {
        lines.extend(asked(last, report, now, width));
    }
    if by_a_host || report.next_request.is_some() {
        lines.extend(row("Next", &next_in_words(report, now), width));
    }
    if let Some(problem) = &report.problem {
        lines.push(Line::default());
        lines.extend(explained(problem, width));
    }
    lines
}

/// When a host was asked last; with the count as a gauge while it is waited for.
fn asked(last: &LastRequest, report: &Report, now: Timestamp, width: u16) -> Vec<Line<'static>> {
    let ago = format!("{} ago", in_words(Interval::between(last.at.0, now)));
    let Some(count) = last.count else { return row("Asked", &ago, width) };
    let counted = format!("count {count} of {}", report.threshold);
    if report.concern() == Concern::None {
        return row("Asked", &format!("{ago}, {counted}"), width);
    }
    let colour = if count < report.threshold { Color::Yellow } else { Color::Green };
    let label = format!(" {count} of {}", report.threshold);
    let mut lines = row("Asked", &ago, width);
    lines.push(gauge("Count", count, report.threshold, label, width, colour));
    lines
}

fn next_in_words(report: &Report, now: Timestamp) -> String {
    match report.next_request {
        Some(next) if next.0 > now => format!("in {}", countdown(Interval::between(now, next.0))),
        Some(_) => "due, as soon as `quorate run` runs".to_owned(),
        None => "as soon as `quorate run` runs".to_owned(),
    }
}

/// An error and its next step, wrapped.
fn explained(problem: &Problem, width: u16) -> Vec<Line<'static>> {
    let paragraph = |word: &'static str, style: Style, text: &str| {
        let mut lines = wrapped(&format!("{word} {text}"), width).into_iter();
        let first = lines.next().unwrap_or_default();
        // The word itself may have been cut, where there is hardly any room.
        let rest = first.strip_prefix(word).map(str::to_owned);
        let first = match rest {
            Some(rest) => Line::from(vec![Span::styled(word, style), Span::raw(rest)]),
            None => Line::styled(first, style),
        };
        std::iter::once(first).chain(lines.map(Line::from)).collect::<Vec<_>>()
    };
    let what = format!("{}: {}", problem.number(), problem.what);
    let mut lines = paragraph("error", Style::new().fg(Color::Red).bold(), &what);
    lines.extend(paragraph("next:", Style::new().fg(Color::Cyan), &problem.next));
    lines
}

/// A name and what is to be said of it, wrapped beside it.
fn row(name: &'static str, text: &str, width: u16) -> Vec<Line<'static>> {
    let room = width.saturating_sub(NAME_COLUMNS);
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let line = |(name, text)| Line::from(vec![named(name).dim(), Span::raw(text)]);
    names.zip(wrapped(text, room)).map(line).collect()
}

fn named(name: &str) -> Span<'static> {
    Span::from(format!("{name:<width$}", width = usize::from(NAME_COLUMNS)))
}

/// A bar of which `part` of `whole` is filled.
fn gauge(name: &str, part: u32, whole: u32, label: String, width: u16, colour: Color) -> Line<'static> {
    let name = if name.is_empty() { Span::raw("") } else { named(name) };
    let taken = name.width() + Span::raw(&label).width();
    let room = u64::from(width).saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
    let whole = u64::from(whole.max(1));
    let filled = (room * u64::from(part).min(whole)).div_ceil(whole);
    let bar = |length: u64, symbol: &str| symbol.repeat(usize::try_from(length).unwrap_or(0));
    Line::from(vec![
        name.dim(),
        Span::from(bar(filled, "━")).fg(colour),
        Span::from(bar(room - filled, "─")).dim(),
        Span::raw(label),
    ])
}

/// Text on the left and on the right of a line; the right gives way.
fn between(left: &str, right: &str, width: u16) -> Line<'static> {
    let room = usize::from(width).saturating_sub(Span::raw(left).width());
    let right = if Span::raw(right).width() < room { right } else { "" };
    let pad = room.saturating_sub(Span::raw(right).width());
    Line::from(format!("{left}{}{right}", " ".repeat(pad)))
}

/// Breaks a text between its words, and within one that is longer than a line.
fn wrapped(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| Span::raw(line).width());
        if last > 0 && last + 1 + Span::raw(word).width() <= width {
            if let Some(line) = lines.last_mut() {
                line.push(' ');
                line.push_str(word);
            }
            continue;
        }
        if last > 0 {
            lines.push(String::new());
        }
        for letter in word.chars() {
            let letter = letter.to_string();
            let full = lines.last().is_some_and(|line| {
                !line.is_empty() && Span::raw(line).width() + Span::raw(&letter).width() > width
            });
            if full {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push_str(&letter);
            }
        }
    }
    lines
}

fn minutes_in_words(minutes: u32) -> String {
    in_words(Interval::seconds(minutes.saturating_mul(60)))
}

/// In the largest unit of which there are two at least.
fn in_words(interval: Interval) -> String {
    let (seconds, minutes) = (interval.as_seconds(), interval.as_minutes());
    if minutes >= 2 * MINUTES_A_DAY {
        format!("{} days", interval.as_days())
    } else if minutes >= 120 {
        format!("{} hours", minutes / 60)
    } else if minutes >= 2 {
        format!("{minutes} minutes")
    } else if seconds == 1 {
        "1 second".to_owned()
    } else {
        format!("{seconds} seconds")
    }
}

fn countdown(interval: Interval) -> String {
    let (seconds, days) = (interval.as_seconds() % 86_400, interval.as_days());
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match days {
        0 => clock,
        1 => format!("1 day {clock}"),
        days => format!("{days} days {clock}"),
    }
}

fn colour(concern: Concern) -> Color {
    match concern {
        Concern::None => Color::Green,
        Concern::Soon => Color::Yellow,
        Concern::Now => Color::Red,
    }
}

fn put(buffer: &mut Buffer, area: Rect, line: Line) {
    line.render(area, buffer);
}

/// An error is wrapped, and a window may be a few columns wide.
const LONGEST_PRODUCT: u16 = 2_000;
const NAME_COLUMNS: u16 = 7;
