//! What went wrong, in a form both people and callers can use.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of failure it is. Decides the exit code, and what a caller may do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The command line was wrong.
    Usage,
    /// The playbook was refused.
    Playbook,
    /// An effect failed; trying again may or may not help.
    Failed,
    /// The other side could not be reached, and nothing was asked of it.
    Unreachable,
    /// A request was sent and its answer lost: the effect may have happened.
    Lost,
    /// Something of the same name exists and is not ours.
    Conflict,
    /// Another run holds the lock.
    Busy,
    /// A person must act: a token, a quota, a key.
    Human,
    /// The plan costs more than the playbook allows.
    Budget,
    /// `check` found drift.
    Drift,
    /// The user stopped the run.
    Stopped,
}

impl Kind {
    /// Every kind, for the tests and the documents that walk them.
    pub const ALL: &'static [Kind] = &[
        Kind::Usage,
        Kind::Playbook,
        Kind::Failed,
        Kind::Unreachable,
        Kind::Lost,
        Kind::Conflict,
        Kind::Busy,
        Kind::Human,
        Kind::Budget,
        Kind::Drift,
        Kind::Stopped,
    ];

    /// The process's exit code for a failure of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed | Kind::Unreachable | Kind::Lost | Kind::Conflict | Kind::Busy => 1,
            Kind::Usage | Kind::Playbook => 2,
            Kind::Drift => 3,
            Kind::Human => 4,
            Kind::Budget => 5,
            Kind::Stopped => 130,
        }
    }
}

/// A failure at the border of a layer: kind, what this layer was doing, what to do next, and the cause.
///
/// The message never repeats its source; whoever prints it walks the chain.
#[derive(Debug)]
pub struct Failure {
    /// What sort of failure it is.
    pub kind: Kind,
    /// A lower-case sentence without a full stop.
    pub message: String,
    /// What the user can do next.
    pub hint: Option<String>,
    /// What caused it, if that is known.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds what the user can do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        self.source = Some(source.into());
        self
    }

    /// The message and its causes, outermost first.
    pub fn chain(&self) -> Vec<String> {
        let mut lines = vec![self.message.clone()];
        let mut cause = self.source.as_ref().map(|s| &**s as &dyn Error);
        while let Some(error) = cause {
            let text = error.to_string();
            if lines.last() != Some(&text) {
                lines.push(text);
            }
            cause = error.source();
        }
        lines
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_each_cause_once_and_outermost_first() {
        let inner = Failure::new(Kind::Unreachable, "connection refused");
        let outer = Failure::new(Kind::Failed, "cannot list servers").because(inner);
        assert_eq!(outer.chain(), ["cannot list servers", "connection refused"]);
    }
}
