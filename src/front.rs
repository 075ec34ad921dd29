//! Front ends: the same events, shown to people or handed to machines.

pub mod actions;
pub mod ask;
pub mod json;
pub mod plain;
pub mod plan;
pub mod tui;

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::model::event::{Event, What};

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One JSON event per line on standard output.
    Json,
    /// Lines and bars for people.
    Plain {
        /// Only the plan's summary, failures and the end.
        quiet: bool,
    },
}

/// Can a person be asked? Only where both input and output are a terminal.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows events until the last one, or hands them to `listener`. `on_plan` is told of a plan in which there is
/// something to do.
pub async fn show(
    style: Style,
    listener: Option<&mpsc::UnboundedSender<Event>>,
    mut events: mpsc::UnboundedReceiver<Event>,
    mut on_plan: impl FnMut(&plan::Summary),
) {
    let mut plain = plain::Plain::new(matches!(style, Style::Plain { quiet: true }));
    while let Some(event) = events.recv().await {
        match (listener, style) {
            // One that has gone away is no reason to stop.
            (Some(listener), _) => drop(listener.send(event.clone())),
            (None, Style::Json) => json::show(&event),
            (None, Style::Plain { .. }) => plain.show(&event),
        }
        if let What::Planned { changes, .. } = &event.visible().event {
            let summary = plan::Summary::of(changes);
            if summary.total() > 0 {
                on_plan(&summary);
            }
        }
    }
}

/// Shows one event of an earlier run.
pub fn replay(style: Style, event: &Event, plain: &mut plain::Plain) {
    match style {
        Style::Json => json::show(event),
        Style::Plain { .. } => plain.show(event),
    }
}

/// Has something that was meant for standard output not arrived there?
static UNWRITTEN: AtomicBool = AtomicBool::new(false);

/// Writes to standard output. A reader that has gone away is no failure of ours; a full disk is: `is_unwritten` tells.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && e.kind() != std::io::ErrorKind::BrokenPipe
        && !UNWRITTEN.swap(true, Ordering::Relaxed)
    {
        complain(&format!("error: cannot write to standard output: {e}\n"));
    }
}

/// Was anything that `print` was given lost?
pub fn is_unwritten() -> bool {
    UNWRITTEN.load(Ordering::Relaxed)
}

/// Writes to standard error.
pub fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
