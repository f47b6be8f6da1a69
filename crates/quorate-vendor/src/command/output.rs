//! What commands print: lines for people, or the same as one JSON document.

use crate::store::keys::KeyRecord;
use crate::usage::Usage;
use crate::view::UsageView;
use quorate_core::certificate::Role;
use quorate_core::{Code, Error, Result, words};
use quorate_edge::command_line::print;
use quorate_edge::files;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Where a command prints.
pub struct Output<'o, W> {
    pub out: &'o mut W,
    pub json: bool,
}

impl<W: Write> Output<'_, W> {
    /// Prints the lines, or the document.
    pub fn say(&mut self, document: &impl Serialize, lines: impl FnOnce() -> String) -> Result<()> {
        print(self.out, &self.text(document, lines)?)
    }

    /// The same, where it is an error when nobody reads it to its end.
    pub fn say_or_fail(&mut self, document: &impl Serialize, lines: impl FnOnce() -> String) -> Result<()> {
        let text = self.text(document, lines)?;
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        written.map_err(|error| files::writing(Path::new("standard output"), &error))
    }

    fn text(&self, document: &impl Serialize, lines: impl FnOnce() -> String) -> Result<String> {
        if !self.json {
            return Ok(lines());
        }
        serde_json::to_string_pretty(document).map_err(|error| {
            Error::new(
                Code::Internal,
                format!("this cannot be written as JSON ({error})"),
                "please report this",
            )
        })
    }

    /// Prints a line for each, or one list.
    pub fn list<T, V: Serialize + for<'t> From<&'t T>>(
        &mut self,
        name: &str,
        list: &[T],
        line: impl Fn(&T) -> String,
    ) -> Result<()> {
        if self.json {
            let views: Vec<V> = list.iter().map(V::from).collect();
            return self.say(&BTreeMap::from([(name, views)]), String::new);
        }
        list.iter().try_for_each(|one| print(self.out, &line(one)))
    }
}

/// A key in one line.
pub fn key(key: &KeyRecord) -> String {
    let blocked = if key.blocked.is_some() { "  blocked" } else { "" };
    let customer = key.customer_name.as_deref().unwrap_or("-");
    format!("{}  …{}  {:.0}  {customer}{blocked}", key.id, key.partial, key.issued)
}

/// How far a key is used up, in a few lines.
pub fn usage(usage: &Usage) -> String {
    let view = UsageView::from(usage);
    let customer = usage.key.customer_name.as_deref().unwrap_or("-");
    let mut lines = vec![
        format!("Product key:   {} (…{}), {}", usage.key.id, usage.key.partial, usage.group),
        format!("Customer:      {customer}"),
    ];
    if usage.role.is_none() {
        lines.extend([
            format!("For:           {}", usage.sku.name),
            format!("Issued:        {:.0}", usage.key.issued),
            "Public:        it makes a machine a client of an activation host; nothing is activated with it or counted"
                .to_owned(),
        ]);
        return lines.join("\n");
    }
    lines.push(format!("Activated on:  {} of {} {}", usage.machines, usage.allowed, view.activates));
    if usage.role == Some(Role::Host)
        && let Some(reactivations) = usage.key.limits.reactivations
    {
        lines.push(format!("Again on each: {}", words::counted(reactivations, "time")));
    }
    if usage.slots > 0 {
        lines.push(format!(
            "License pack:  {} of {} activations by telephone left",
            usage.slots_left, usage.slots
        ));
    }
    lines.extend(usage.warning().map(|warning| format!("Note:          {warning}")));
    lines.join("\n")
}
