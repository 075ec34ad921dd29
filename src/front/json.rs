//! Machines: one event per line.

use std::fmt::Write as _;

use crate::front::print;
use crate::model::event::Event;
use crate::model::visible::is_hidden;

/// Writes one event as a line of JSON.
pub fn show(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        print(&format!("{}\n", escaped(&line)));
    }
}

/// Writes a document as a line of JSON.
pub fn print_document(document: &serde_json::Value) {
    print(&format!("{}\n", escaped(&document.to_string())));
}

/// A line of JSON whose texts steer no terminal: what JSON itself leaves as it is, is escaped, too.
fn escaped(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut out, c| {
        match is_hidden(c) {
            true => drop(write!(out, "\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
        out
    })
}
