//! Events of a command that is more than one run, or none: a rehearsal, a drill, a recovery.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::cli::Settings;
use crate::cupboard::journal::Journal;
use crate::front::{self, Style};
use crate::model::event::{BillLine, Event, FailureView, VERSION, What};
use crate::model::failure::{Failure, Kind};
use crate::text::duration;

/// Tells how it goes, to whoever listens, and to a journal if there is one.
pub(super) struct Show {
    style: Style,
    journal: Option<Journal>,
    listener: Option<UnboundedSender<Event>>,
    seq: u64,
    /// The parts of a rehearsal, and how long each took.
    pub parts: Vec<(&'static str, Duration)>,
    /// What it would cost for real.
    pub bill: Vec<BillLine>,
    /// How long the longest chain of changes took that wait for each other.
    pub chain: Option<Duration>,
    begun: Instant,
    plain: front::plain::Plain,
}

impl Show {
    /// For these settings; with `journal`, every event is kept there, too.
    pub(super) fn new(settings: &Settings, journal: Option<Journal>) -> Show {
        let (style, listener) = (settings.style, settings.listener.clone());
        let plain = front::plain::Plain::new(matches!(style, Style::Plain { quiet: true }));
        Show {
            style,
            journal,
            listener,
            seq: 0,
            parts: vec![],
            bill: vec![],
            chain: None,
            begun: Instant::now(),
            plain,
        }
    }

    /// Tells one thing.
    pub(super) fn tell(&mut self, event: What) {
        self.seq += 1;
        let event = Event { v: VERSION, seq: self.seq, at: jiff::Timestamp::now(), event };
        if let Some(journal) = &mut self.journal {
            // What is shown matters more than that it is kept.
            let _ = journal.write(&event);
        }
        match (&self.listener, self.style) {
            (Some(listener), _) => drop(listener.send(event)),
            (None, Style::Json) => front::json::show(&event),
            (None, Style::Plain { .. }) => self.plain.show(&event),
        }
    }

    /// Tells what was looked at. Fails when it is not as it should be.
    pub(super) fn probe(&mut self, what: &str, passed: bool, saw: String) -> Result<(), Failure> {
        self.tell(What::Probe { what: what.to_owned(), passed, saw: saw.clone() });
        match passed {
            true => Ok(()),
            false => Err(Failure::new(Kind::Failed, format!("{what}: {saw}"))),
        }
    }

    /// Tells how it all went. Gives the exit code.
    pub(super) fn end(mut self, failure: Option<Failure>) -> u8 {
        let code = failure.as_ref().map_or(0, |failure| failure.kind.exit_code());
        if self.style != Style::Json && self.listener.is_none() {
            let parts: Vec<String> =
                self.parts.iter().map(|(name, took)| format!("{name} {}", duration(*took))).collect();
            if !parts.is_empty() {
                front::print(&format!("\nrehearsed: {}\n", parts.join(", ")));
            }
            if let (Some(chain), Some((_, took))) = (self.chain, self.parts.first()) {
                let ratio = took.as_secs_f64() / chain.as_secs_f64().max(0.001);
                front::print(&format!(
                    "what had to wait for each other in it: {}; the whole took {ratio:.2} times that\n",
                    duration(chain)
                ));
            }
            if !self.bill.is_empty() {
                front::print(&format!("for real it {}", front::plan::render_bill(&self.bill).trim_start()));
            }
        }
        let took_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let failure = failure.as_ref().map(FailureView::from);
        let bill = std::mem::take(&mut self.bill);
        self.tell(What::RunFinished { code, changes: 0, failure, exists: vec![], bill, took_ms });
        code
    }
}
