//! A run as it can be shown: events folded into rows. Pure; a run under way and one that is played back look the same.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::event::{BillLine, ChangeView, Event, FailureView, What};

/// How far a change is.
#[derive(Clone, Debug, PartialEq)]
pub enum Stand {
    /// It waits for its turn.
    Waiting,
    /// It is being made.
    Running(Timestamp),
    /// It took so many milliseconds.
    Done(u64),
    /// It failed.
    Failed,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Row {
    /// What changes.
    pub address: String,
    /// `create`, `update`, `replace`, `delete` or `conflict`.
    pub verb: String,
    /// How far it is.
    pub stand: Stand,
    /// The steps whose outputs it needs, and the one whose server it is on.
    pub needs: Vec<String>,
}

/// The changes of one step.
#[derive(Clone, Debug)]
pub struct StepRows {
    /// The step's name.
    pub step: String,
    /// Its changes, in order.
    pub rows: Vec<Row>,
}

impl StepRows {
    /// Are all its changes made?
    pub fn is_done(&self) -> bool {
        self.rows.iter().all(|row| matches!(row.stand, Stand::Done(_)))
    }
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// The step it is about, if it is about one.
    pub step: Option<String>,
    /// What.
    pub text: String,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct End {
    /// The exit code.
    pub code: u8,
    /// Why it did not end well.
    pub failure: Option<FailureView>,
    /// What exists now.
    pub exists: Vec<String>,
    /// What that costs.
    pub bill: Vec<BillLine>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A plan that waits for a word.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// How many changes.
    pub changes: usize,
    /// What would lose data.
    pub losses: Vec<String>,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// `apply`, `destroy`, `rehearse`.
    pub command: String,
    /// The playbook.
    pub playbook: String,
    /// The parts of a rehearsal, in order.
    pub parts: Vec<String>,
    /// When it began.
    pub begun: Option<Timestamp>,
    /// The time of the newest event.
    pub now: Option<Timestamp>,
    /// What is done, by step.
    pub steps: Vec<StepRows>,
    /// What has been said.
    pub log: Vec<Line>,
    /// What is waited for.
    pub waiting: Option<String>,
    /// What was looked at from outside.
    pub probes: Vec<(String, bool, String)>,
    /// What a month of it costs.
    pub bill: Vec<BillLine>,
    /// How it ended; the end of a part of a rehearsal does not count.
    pub end: Option<End>,
    /// Is a plan waiting for a word?
    pub asked: Option<Asked>,
}

impl Progress {
    /// Takes in one event.
    pub fn take(&mut self, event: &Event) {
        let event = &*event.visible();
        self.now = Some(event.at);
        if !matches!(event.event, What::Waiting { .. }) {
            self.waiting = None;
        }
        match &event.event {
            What::RunStarted { command, playbook, .. } => {
                self.begun.get_or_insert(event.at);
                match self.command.as_str() {
                    "rehearse" => {
                        self.parts.push(command.clone());
                        self.say(event.at, None, format!("{command} begins"));
                    }
                    _ => {
                        self.command.clone_from(command);
                        self.playbook.clone_from(playbook);
                    }
                }
            }
            What::PlaybookRefused { problems } => {
                for problem in problems {
                    self.say(event.at, None, format!("line {}: {}", problem.line, problem.message));
                }
            }
            What::Planned { changes, bill, orphans } => self.plan(event.at, changes, bill, orphans),
            What::Intended { .. } => self.asked = None,
            What::ChangeStarted { address } => {
                self.set(address, Stand::Running(event.at));
                let step = self.step_of(address);
                self.say(event.at, step, format!("begin {address}"));
            }
            What::ChangeDone { address, took_ms } => {
                self.set(address, Stand::Done(*took_ms));
                let step = self.step_of(address);
                self.say(event.at, step, format!("done {address}"));
            }
            What::ChangeFailed { address, failure } => {
                self.set(address, Stand::Failed);
                let step = self.step_of(address);
                self.say(event.at, step, format!("failed {address}: {}", failure.message));
            }
            What::Waiting { what } => {
                if self.waiting.as_ref() != Some(what) {
                    self.say(event.at, None, format!("waiting for {what}"));
                }
                self.waiting = Some(what.clone());
            }
            What::Retrying { what, attempt, wait_ms } => {
                let wait = crate::text::duration(std::time::Duration::from_millis(*wait_ms));
                self.say(event.at, None, format!("trying {what} again in {wait} (try {attempt})"));
            }
            What::Note { text } => self.say(event.at, None, text.clone()),
            What::Probe { what, passed, saw } => {
                self.probes.push((what.clone(), *passed, saw.clone()));
                let word = if *passed { "ok" } else { "NOT OK" };
                self.say(event.at, None, format!("{word} {what}: {saw}"));
            }
            What::RunFinished { code, failure, exists, bill, took_ms, .. } => self.finish(
                event.at,
                End {
                    code: *code,
                    failure: failure.clone(),
                    exists: exists.clone(),
                    bill: bill.clone(),
                    took_ms: *took_ms,
                },
            ),
        }
    }

    fn plan(&mut self, at: Timestamp, changes: &[ChangeView], bill: &[BillLine], orphans: &[String]) {
        let mut steps: Vec<StepRows> = Vec::new();
        let todo: Vec<&ChangeView> = changes.iter().filter(|change| change.verb != "keep").collect();
        for change in &todo {
            let row = Row {
                address: change.address.clone(),
                verb: change.verb.clone(),
                stand: Stand::Waiting,
                needs: needs(change),
            };
            match steps.iter_mut().find(|rows| rows.step == change.step) {
                Some(rows) => rows.rows.push(row),
                None => steps.push(StepRows { step: change.step.clone(), rows: vec![row] }),
            }
        }
        self.say(at, None, format!("{} to make", crate::text::count(todo.len(), "change")));
        for orphan in orphans {
            self.say(at, None, format!("no longer wanted, and left alone: {orphan}"));
        }
        for change in &todo {
            if let Some(conflict) = &change.conflict {
                self.say(at, Some(change.step.clone()), format!("in the way of {}: {conflict}", change.address));
            }
        }
        let losses = todo.iter().filter(|change| change.loses_data).map(|change| change.address.clone()).collect();
        self.asked = Some(Asked { changes: todo.len(), losses }).filter(|asked| asked.changes > 0);
        self.steps = steps;
        if !bill.is_empty() {
            self.bill = bill.to_vec();
        }
    }

    fn finish(&mut self, at: Timestamp, end: End) {
        self.asked = None;
        // A part of a rehearsal ends before the whole does.
        let is_part = self.command == "rehearse" && self.open_parts() > 0;
        if is_part {
            let name = self.parts.last().cloned().unwrap_or_default();
            let took = crate::text::duration(std::time::Duration::from_millis(end.took_ms));
            let word = if end.failure.is_none() { "done" } else { "failed" };
            self.say(at, None, format!("{name} {word}, in {took}"));
            if let Some(failure) = &end.failure {
                self.say(at, None, failure.message.clone());
            }
            if let Some(part) = self.parts.last_mut() {
                part.push_str(if end.failure.is_none() { " done" } else { " failed" });
            }
            return;
        }
        if let Some(failure) = &end.failure {
            self.say(at, None, format!("failed: {}", failure.message));
        }
        self.end = Some(end);
    }

    fn open_parts(&self) -> usize {
        self.parts.iter().filter(|part| !part.ends_with(" done") && !part.ends_with(" failed")).count()
    }

    fn say(&mut self, at: Timestamp, step: Option<String>, text: String) {
        self.log.push(Line { at, step, text });
    }

    fn step_of(&self, address: &str) -> Option<String> {
        let has = |rows: &&StepRows| rows.rows.iter().any(|row| row.address == address);
        self.steps.iter().find(has).map(|rows| rows.step.clone())
    }

    fn set(&mut self, address: &str, stand: Stand) {
        for row in self.steps.iter_mut().flat_map(|rows| &mut rows.rows) {
            if row.address == address {
                row.stand = stand;
                return;
            }
        }
    }

    /// How many changes are made, and how many there are.
    pub fn measure(&self) -> (usize, usize) {
        let rows = || self.steps.iter().flat_map(|rows| &rows.rows);
        (rows().filter(|row| matches!(row.stand, Stand::Done(_))).count(), rows().count())
    }

    /// The part of the bill that is for what exists, or may exist by now.
    pub fn bill_so_far(&self) -> Vec<BillLine> {
        if let Some(end) = self.end.as_ref().filter(|end| end.failure.is_some()) {
            return end.bill.clone();
        }
        let rows = || self.steps.iter().flat_map(|rows| &rows.rows);
        let waits = |line: &&BillLine| {
            rows().any(|row| row.address == line.address && row.verb == "create" && row.stand == Stand::Waiting)
        };
        self.bill.iter().filter(|line| !waits(line)).cloned().collect()
    }

    /// What `step`, which has not begun, waits for: the steps it needs that are not done yet.
    pub fn waits_for(&self, step: &StepRows) -> Vec<&str> {
        let open = |rows: &&StepRows| {
            rows.step != step.step && rows.rows.iter().any(|row| !matches!(row.stand, Stand::Done(_)))
        };
        let needed = |rows: &&StepRows| step.rows.iter().any(|row| row.needs.contains(&rows.step));
        self.steps.iter().filter(open).filter(needed).map(|rows| rows.step.as_str()).collect()
    }

    /// How long it has taken until `now`, in milliseconds.
    pub fn elapsed_ms(&self, now: Timestamp) -> u64 {
        if let Some(end) = &self.end {
            return end.took_ms;
        }
        self.begun.map_or(0, |begun| millis(begun, now))
    }
}

/// The steps a change needs, as its view tells: outputs stand in it as `‹step.output›`, and what is on a host names it.
fn needs(change: &ChangeView) -> Vec<String> {
    let host = change.address.strip_prefix("host/").and_then(|rest| rest.split_once('/')).map(|(host, _)| host);
    let values = change.fields.iter().filter_map(|field| field.to.as_deref());
    let outputs = values.flat_map(|value| value.split('‹').skip(1)).filter_map(|rest| {
        let (key, _) = rest.split_once('›')?;
        key.split_once('.').map(|(step, _)| step)
    });
    let mut all: Vec<String> = host.into_iter().chain(outputs).map(str::to_owned).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Milliseconds from one time to another, 0 where that is negative.
pub fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

/// What a run shows for the totals of its bill: `10.59 EUR`, several with a plus between.
pub fn totals(bill: &[BillLine]) -> String {
    let mut sums: BTreeMap<&str, rust_decimal::Decimal> = BTreeMap::new();
    for line in bill {
        *sums.entry(&line.currency).or_default() += line.monthly.parse::<rust_decimal::Decimal>().unwrap_or_default();
    }
    let words: Vec<String> = sums.iter().map(|(currency, amount)| format!("{amount:.2} {currency}")).collect();
    words.join(" + ")
}
