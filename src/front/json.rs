//! Machines: one event per line.

use crate::front::print;
use crate::model::event::Event;

/// Writes one event as a line of JSON.
pub fn show(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        print(&format!("{line}\n"));
    }
}
