//! People: lines in a pipe, bars on a terminal.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use inquire::InquireError;

use crate::front::actions;
use crate::front::plan::{Summary, render, render_bill};
use crate::front::{complain, print};
use crate::model::event::{Event, FailureView, What};
use crate::model::failure::{Failure, Kind};
use crate::model::secret::Secret;
use crate::text::{count, duration};

/// The plain front end.
pub struct Plain {
    quiet: bool,
    command: String,
    /// Bars, where standard error is a terminal.
    bars: Option<MultiProgress>,
    running: HashMap<String, ProgressBar>,
    waiting: Option<ProgressBar>,
    last_wait: String,
    /// Is this a job of GitHub Actions?
    actions: bool,
    /// Was something of a backup told as kept back, lost or left out?
    incomplete: bool,
}

impl Plain {
    /// A front end that says little when `quiet`.
    pub fn new(quiet: bool) -> Plain {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Plain {
            quiet,
            command: String::new(),
            bars,
            running: HashMap::new(),
            waiting: None,
            last_wait: String::new(),
            actions: actions::are_here(),
            incomplete: false,
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        let event = &*event.visible();
        if !matches!(event.event, What::Waiting { .. } | What::Retrying { .. }) {
            self.waiting.take().inspect(ProgressBar::finish_and_clear);
            self.last_wait.clear();
        }
        match &event.event {
            What::RunStarted { command, playbook, .. } => {
                self.command.clone_from(command);
                if self.actions && !self.quiet {
                    print(&actions::group(&format!("landfall {command}: {playbook}")));
                }
                self.line(&format!("landfall {command}: {}", style(playbook).bold()));
                self.wait(&format!("looking at what {playbook} has"));
            }
            What::PlaybookRefused { problems } => {
                let text: Vec<String> = problems.iter().map(|problem| problem.render()).collect();
                complain(&text.join("\n"));
            }
            What::Planned { changes, bill, orphans } => {
                if self.quiet {
                    print(&format!("plan: {}\n", Summary::of(changes).in_words()));
                } else {
                    print(&render(changes, bill, orphans));
                }
            }
            What::Intended { .. } => {}
            What::ChangeStarted { address } => self.start(address),
            What::ChangeDone { address, took_ms } => {
                self.end(address);
                let took = duration(Duration::from_millis(*took_ms));
                self.line(&format!("  {} {address}  {}", style("done").green(), style(took).dim()));
            }
            What::ChangeFailed { address, failure } => {
                self.end(address);
                self.line(&format!("  {} {address}: {}", style("failed").red(), failure.message));
            }
            What::Waiting { what } => self.wait(&format!("waiting for {what}")),
            What::Retrying { what, attempt, wait_ms } => {
                let wait = duration(Duration::from_millis(*wait_ms));
                self.line(&format!("  trying {what} again in {wait} (try {attempt})"));
            }
            What::Note { text } => self.line(&format!("  note: {text}")),
            What::Probe { what, passed, saw } => {
                self.incomplete |= [" kept", " lost", " left-out", " beside"].iter().any(|word| what.ends_with(word));
                let word = if *passed { style("ok").green() } else { style("NOT OK").red() };
                self.line(&format!("  {word} {what}: {saw}"));
            }
            What::RunFinished { code, changes, failure, exists, bill, took_ms } => {
                self.running.drain().for_each(|(_, bar)| bar.finish_and_clear());
                if self.actions {
                    if !self.quiet {
                        print(actions::END_OF_GROUP);
                    }
                    if let Some(failure) = failure {
                        print(&actions::failure(&self.command, failure));
                    }
                }
                let took = duration(Duration::from_millis(*took_ms));
                match failure {
                    None => print(&format!("{}: {}, in {took}\n", self.command, self.summary(*changes))),
                    Some(failure) => complain(&render_failure(failure)),
                }
                if *code != 0 && !exists.is_empty() {
                    let mut text = format!("what exists now: {}\n", exists.join(", "));
                    if !bill.is_empty() {
                        text.push_str(&render_bill(bill));
                    }
                    complain(&text);
                }
            }
        }
    }

    fn summary(&self, changes: usize) -> String {
        match (self.command.as_str(), changes) {
            ("plan", n) => format!("{} to make", count(n, "change")),
            ("rehearse", _) => "passed".to_owned(),
            ("backup", _) => "done".to_owned(),
            ("drill", _) => "the backup comes back".to_owned(),
            ("recover", _) if self.incomplete => "done, as told above".to_owned(),
            ("recover", _) => "everything is back".to_owned(),
            ("list" | "accept", _) => "done".to_owned(),
            ("check", _) => "everything is as the playbook says".to_owned(),
            (_, 0) => "0 changes, everything is as wanted".to_owned(),
            (_, n) => format!("{} made", count(n, "change")),
        }
    }

    fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        // Text from elsewhere writes no lines that look like ours.
        let text = &text.replace('\n', "\n    ");
        match &self.bars {
            // Suspended, so that a bar is never left standing between lines.
            Some(bars) => bars.suspend(|| print(&format!("{text}\n"))),
            None => print(&format!("{text}\n")),
        }
    }

    fn start(&mut self, address: &str) {
        match &self.bars {
            Some(bars) => {
                let bar = spinner(bars, address.to_owned());
                self.running.insert(address.to_owned(), bar);
            }
            None => self.line(&format!("  begin {address}")),
        }
    }

    fn end(&mut self, address: &str) {
        if let Some(bar) = self.running.remove(address) {
            bar.finish_and_clear();
        }
    }

    /// Shows what is waited for: as a bar, or as a line when it changes.
    fn wait(&mut self, what: &str) {
        if what == self.last_wait {
            return;
        }
        self.last_wait = what.to_owned();
        match (&self.bars, &self.waiting) {
            (Some(_), Some(bar)) => bar.set_message(what.to_owned()),
            (Some(bars), None) => self.waiting = Some(spinner(bars, what.to_owned())),
            (None, _) if what.starts_with("waiting") => self.line(&format!("  {what}")),
            (None, _) => {}
        }
    }
}

fn spinner(bars: &MultiProgress, text: String) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(look) = ProgressStyle::with_template("  {spinner} {msg}  {elapsed}") {
        bar.set_style(look);
    }
    bar.set_message(text);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A failure, with its causes and what to do.
pub fn render_failure(failure: &FailureView) -> String {
    let message: Vec<&str> = failure.message.lines().collect();
    let mut text = format!("{}: {}\n", style("error").for_stderr().red().bold(), message.join("\n    "));
    for cause in &failure.causes {
        let cause: Vec<&str> = cause.lines().collect();
        let _ = writeln!(text, "  because: {}", cause.join("\n    "));
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "  hint: {}", hint.lines().collect::<Vec<_>>().join("\n    "));
    }
    text
}

/// Asks whether the plan shall be carried out; where data is lost, asks for the playbook's name. Gives
/// whether it may lose data. Blocks; never call it while bars are drawn.
pub fn ask_approval(summary: &Summary, playbook: &str) -> Result<bool, Failure> {
    let stopped = || Failure::new(Kind::Stopped, "you did not approve the plan").hint("nothing was done");
    let trouble = |e: InquireError| match e {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => stopped(),
        other => {
            Failure::new(Kind::Failed, "cannot ask for your approval").because(other).hint("add --yes to go without")
        }
    };
    if !summary.losses.is_empty() {
        complain(&format!("data will be lost: {}\n", summary.losses.join(", ")));
        let typed = inquire::Text::new(&format!("type `{playbook}` to go on:")).prompt().map_err(trouble)?;
        return if typed.trim() == playbook { Ok(true) } else { Err(stopped()) };
    }
    let question = format!("make {}?", count(summary.total(), "change"));
    match inquire::Confirm::new(&question).with_default(false).prompt().map_err(trouble)? {
        true => Ok(false),
        false => Err(stopped()),
    }
}

/// Asks for the passphrase of the vault file at `path`; for a `new` one twice. Fails as `Stopped` when the user
/// would rather not.
pub fn ask_passphrase(path: &str, new: bool) -> Result<Secret, Failure> {
    let what = if new { "a passphrase for the new vault file" } else { "the passphrase of" };
    ask_masked(&format!("{what} {path}:"), new)
}

/// Asks for a secret whose letters are not shown; `twice` when nothing can tell a typing error.
pub fn ask_masked(question: &str, twice: bool) -> Result<Secret, Failure> {
    let mut prompt = inquire::Password::new(question).with_display_mode(inquire::PasswordDisplayMode::Masked);
    if !twice {
        prompt = prompt.without_confirmation();
    }
    match prompt.prompt() {
        Ok(typed) if typed.is_empty() => Err(Failure::new(Kind::Usage, "nothing was typed")),
        Ok(typed) => Ok(Secret::new(typed)),
        Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => {
            Err(Failure::new(Kind::Stopped, "stopped as you asked"))
        }
        Err(e) => Err(Failure::new(Kind::Failed, "cannot ask").because(e)),
    }
}
