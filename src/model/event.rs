//! What the engine tells: one stream of events for every front end and for the journal.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::diff::{Change, FieldChange, Verb};
use crate::model::failure::{Failure, Kind};
use crate::model::money::PriceLine;
use crate::model::problem::Located;
use crate::model::resource::Address;
use crate::model::visible::{excerpt, visible, visible_json};

/// The version of the event format: it grows when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// One event, as it stands in the journal and in the output of `--json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The format's version.
    pub v: u32,
    /// Its place in the stream, from 1.
    pub seq: u64,
    /// When it happened, in UTC.
    pub at: Timestamp,
    /// What happened.
    pub event: What,
}

/// How many characters of one message, cause or hint are shown.
const LONGEST: usize = 4000;

impl Event {
    /// The event with nothing in it that could steer a terminal, whoever wrote it.
    pub fn visible(&self) -> Cow<'_, Event> {
        let Ok(document) = serde_json::to_value(self) else { return Cow::Borrowed(self) };
        let shown = visible_json(document.clone());
        match shown == document {
            true => Cow::Borrowed(self),
            false => serde_json::from_value(shown).map_or(Cow::Borrowed(self), Cow::Owned),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum What {
    /// A run began.
    RunStarted {
        /// `plan`, `apply`, `check` or `destroy`.
        command: String,
        /// The playbook's name.
        playbook: String,
        /// The run's name, when it is kept in the journal.
        run: Option<String>,
    },
    /// The playbook was refused; nothing was done.
    PlaybookRefused {
        /// Everything that is wrong with it.
        problems: Vec<Located>,
    },
    /// The whole plan.
    Planned {
        /// Every resource, in order.
        changes: Vec<ChangeView>,
        /// What it will cost per month, net.
        bill: Vec<BillLine>,
        /// Ours, but no longer wanted.
        orphans: Vec<String>,
    },
    /// Changes will now be made; written to disk before the first of them.
    Intended {
        /// What will change.
        addresses: Vec<String>,
    },
    /// A change began.
    ChangeStarted {
        /// What changes.
        address: String,
    },
    /// A change has been made.
    ChangeDone {
        /// What changed.
        address: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// A change failed.
    ChangeFailed {
        /// What failed.
        address: String,
        /// Why.
        failure: FailureView,
    },
    /// Something is being waited for.
    Waiting {
        /// What, in words.
        what: String,
    },
    /// A request is tried again.
    Retrying {
        /// What is tried again, in words.
        what: String,
        /// Which try comes next, from 2.
        attempt: usize,
        /// How long it waits first, in milliseconds.
        wait_ms: u64,
    },
    /// Something worth knowing.
    Note {
        /// A sentence.
        text: String,
    },
    /// One part of a rehearsal ended, or a site was asked from outside.
    Probe {
        /// What was looked at.
        what: String,
        /// Was it as it should be?
        passed: bool,
        /// What was seen.
        saw: String,
    },
    /// The run ended. The last event of a stream.
    RunFinished {
        /// The exit code.
        code: u8,
        /// How many changes were made, or would be for `plan` and `check`.
        changes: usize,
        /// Why it did not end well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureView>,
        /// What exists now and is ours, where the run stopped early.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exists: Vec<String>,
        /// What that costs per month, net.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bill: Vec<BillLine>,
        /// How long the run took, in milliseconds.
        took_ms: u64,
    },
}

/// A change, for people and machines: nothing in it is secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeView {
    /// What changes.
    pub address: String,
    /// The step that wants it.
    pub step: String,
    /// `keep`, `create`, `update`, `replace`, `delete` or `conflict`.
    pub verb: String,
    /// The fields that differ; for a new resource, all of them.
    pub fields: Vec<FieldView>,
    /// Is data lost?
    pub loses_data: bool,
    /// What stands in the way, for a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
}

/// A field of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FieldView {
    /// Its name.
    pub name: String,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> ChangeView {
        let field = |change: &FieldChange| FieldView {
            name: change.field.into(),
            from: change.from.as_ref().map(ToString::to_string),
            to: change.to.as_ref().map(ToString::to_string),
        };
        let (verb, fields, conflict) = match &change.verb {
            Verb::Keep => ("keep", vec![], None),
            Verb::Create => {
                let all = change.resource.spec.fields().into_iter();
                let new =
                    all.map(|(name, value)| FieldView { name: name.into(), from: None, to: Some(value.to_string()) });
                ("create", new.collect(), None)
            }
            Verb::Update(changes) => ("update", changes.iter().map(field).collect(), None),
            Verb::Replace(changes) => ("replace", changes.iter().map(field).collect(), None),
            Verb::Delete => ("delete", vec![], None),
            Verb::Conflict(what) => ("conflict", vec![], Some(what.clone())),
        };
        ChangeView {
            address: change.resource.address.to_string(),
            step: change.resource.step.to_string(),
            verb: verb.into(),
            fields,
            loses_data: change.loses_data(),
            conflict,
        }
    }
}

/// What sort of thing an address in an event names, whatever its name is: `hetzner/server`, `host/sshd`.
pub fn kind_of(address: &str) -> String {
    let mut parts = address.split('/');
    let place = parts.next().unwrap_or_default();
    // `host/web/sshd/…`: the name of the host says nothing about the sort.
    let kind = if place == "host" { parts.nth(1) } else { parts.next() };
    format!("{place}/{}", kind.unwrap_or_default())
}

/// One line of a bill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BillLine {
    /// What it is paid for.
    pub address: String,
    /// That in words.
    pub what: String,
    /// Net amount per month, decimal, to the cent.
    pub monthly: String,
    /// The currency's code.
    pub currency: String,
}

impl From<&PriceLine> for BillLine {
    fn from(line: &PriceLine) -> BillLine {
        let monthly = format!("{:.2}", line.monthly.amount.round_dp(2));
        BillLine {
            address: line.address.to_string(),
            what: line.what.clone(),
            monthly,
            currency: line.monthly.currency.clone(),
        }
    }
}

/// A failure, for people and machines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailureView {
    /// What sort of failure it is.
    pub kind: Kind,
    /// What happened.
    pub message: String,
    /// Why, outermost cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> FailureView {
        let shown = |text: &String| visible(&excerpt(text, LONGEST)).into_owned();
        let mut chain: Vec<String> = failure.chain().iter().map(shown).collect();
        let message = chain.remove(0);
        FailureView { kind: failure.kind, message, causes: chain, hint: failure.hint.as_ref().map(shown) }
    }
}

/// How a provider tells what it is doing, and learns that it should stop. Cheap to clone.
#[derive(Clone)]
pub struct Report {
    tell: Arc<dyn Fn(Progress) + Send + Sync>,
    stop: Arc<AtomicBool>,
    silent: bool,
}

/// What a provider tells.
#[derive(Debug)]
pub enum Progress {
    /// A change begins.
    Started(Address),
    /// A change has been made.
    Done(Address),
    /// A change failed; the failure itself is what the provider returns.
    Failed(Address),
    /// Something is being waited for.
    Waiting(String),
    /// A request is tried again: what, which try comes next, and after how many milliseconds.
    Retrying(String, usize, u64),
    /// Something worth knowing.
    Note(String),
}

impl Report {
    /// A report that hands everything to `tell`, and reads the wish to stop from `stop`.
    pub fn new(tell: impl Fn(Progress) + Send + Sync + 'static, stop: Arc<AtomicBool>) -> Report {
        Report { tell: Arc::new(tell), stop, silent: false }
    }

    /// A report nobody listens to.
    pub fn silent() -> Report {
        Report { silent: true, ..Report::new(|_| {}, Arc::default()) }
    }

    /// Tells what happens.
    pub fn tell(&self, progress: Progress) {
        (self.tell)(progress);
    }

    /// Does nobody listen, and nobody stop it? Then nothing may take long.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Does the user want to stop after the change in hand?
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
