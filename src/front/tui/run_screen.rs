//! The run page: what is under way, the log of what is selected, and what can be done when it has failed.

use jiff::Timestamp;
use tui_input::Input;

use crate::front::tui::progress::{Line, Progress};
use crate::model::failure::Kind;

/// What kind of run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// On this machine, for nothing.
    Rehearsal,
    /// For real.
    Apply,
    /// Taking it all away.
    Destroy,
    /// An earlier run, played back.
    Replay,
}

/// What can be done once a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Once more.
    Again,
    /// Change an answer.
    Edit,
    /// Give another token.
    Token,
    /// Take away what exists.
    Undo,
    /// Rehearsed: now for real.
    ForReal,
    /// On to the last page.
    Done,
    /// Leave.
    Leave,
}

impl Choice {
    /// In words.
    pub fn in_words(self) -> &'static str {
        match self {
            Choice::Again => "try again: what is done already stays done",
            Choice::Edit => "change an answer",
            Choice::Token => "give another token",
            Choice::Undo => "take away what exists",
            Choice::ForReal => "make it real",
            Choice::Done => "what to do next",
            Choice::Leave => "leave: the same command goes on later",
        }
    }
}

/// The page.
#[derive(Clone, Debug)]
pub struct RunScreen {
    /// What kind of run.
    pub purpose: Purpose,
    /// What has happened.
    pub progress: Progress,
    /// Which step's log is shown; 0 is everything.
    pub selected: usize,
    /// Only lines with this in them.
    pub filter: Input,
    /// Is the filter being typed?
    pub filtering: bool,
    /// How many lines from the end the log is scrolled up.
    pub scroll: usize,
    /// Which choice is selected at the end.
    pub choice: usize,
    /// How often it was asked to stop.
    pub stopping: bool,
    /// What has been typed to allow the loss of data.
    pub typed: Input,
    /// The exit code, once everything is over.
    pub over: Option<u8>,
}

impl RunScreen {
    /// The page of a run that is about to begin.
    pub fn new(purpose: Purpose) -> RunScreen {
        RunScreen {
            purpose,
            progress: Progress::default(),
            selected: 0,
            filter: Input::default(),
            filtering: false,
            scroll: 0,
            choice: 0,
            stopping: false,
            typed: Input::default(),
            over: None,
        }
    }

    /// The lines of the log that are wanted.
    pub fn lines(&self) -> Vec<&Line> {
        let step = self.selected.checked_sub(1).and_then(|index| self.progress.steps.get(index));
        let word = self.filter.value();
        let fits = |line: &&Line| {
            step.is_none_or(|step| line.step.as_ref() == Some(&step.step))
                && (word.is_empty() || line.text.contains(word))
        };
        self.progress.log.iter().filter(fits).collect()
    }

    /// What can be done now that it is over.
    pub fn choices(&self) -> Vec<Choice> {
        let Some(code) = self.over else { return vec![] };
        let kind = self.progress.end.as_ref().and_then(|end| end.failure.as_ref()).map(|failure| failure.kind);
        match (self.purpose, code) {
            (Purpose::Replay, _) => vec![Choice::Leave],
            (Purpose::Rehearsal, 0) => vec![Choice::ForReal, Choice::Edit, Choice::Leave],
            (Purpose::Apply, 0) => vec![Choice::Done],
            (Purpose::Destroy, 0) => vec![Choice::Leave],
            (purpose, _) => {
                let mut all = vec![Choice::Again, Choice::Edit];
                if purpose != Purpose::Rehearsal && kind == Some(Kind::Human) {
                    all.insert(0, Choice::Token);
                }
                let exists = self.progress.end.as_ref().is_some_and(|end| !end.exists.is_empty());
                if purpose == Purpose::Apply && exists {
                    all.push(Choice::Undo);
                }
                all.push(Choice::Leave);
                all
            }
        }
    }

    /// How long it has taken, in milliseconds.
    pub fn elapsed_ms(&self, now: Timestamp) -> u64 {
        self.progress.elapsed_ms(now)
    }
}
