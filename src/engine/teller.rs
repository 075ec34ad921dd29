//! Tells what happens: to the journal first, then to whoever listens. Keeps in mind what exists.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::cupboard::journal::Journal;
use crate::engine::chains::Chains;
use crate::model::event::{BillLine, Event, FailureView, Progress, Report, VERSION, What};
use crate::model::failure::Failure;
use crate::model::money::PriceLine;
use crate::model::resource::Address;

/// The one place events come from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Teller {
    inner: Arc<Mutex<Inner>>,
    stop: Arc<AtomicBool>,
}

struct Inner {
    seq: u64,
    begun: Instant,
    events: mpsc::UnboundedSender<Event>,
    journal: Option<Journal>,
    running: BTreeMap<Address, Instant>,
    failed: Vec<Address>,
    done: usize,
    exists: BTreeMap<Address, bool>,
    planned: usize,
    bill: Vec<PriceLine>,
    /// How long the run took until there was a plan.
    first_look: Duration,
    chain: Option<Duration>,
    /// Are hosts modelled? Then every line about one says so.
    modelled: bool,
}

impl Teller {
    /// Takes in how long the longest chain of changes is so far.
    pub(super) fn note_chain(&self, chains: &Chains) {
        let mut inner = self.inner();
        let first_look = inner.first_look;
        inner.chain = Some(chains.longest(first_look));
    }

    /// The longest chain of changes that had to wait for each other, if there were any, with the first look.
    pub(super) fn chain(&self) -> Option<Duration> {
        self.inner().chain
    }

    /// A teller without a journal yet.
    pub(super) fn new(events: mpsc::UnboundedSender<Event>, stop: Arc<AtomicBool>) -> Teller {
        let inner = Inner {
            seq: 0,
            begun: Instant::now(),
            events,
            journal: None,
            running: BTreeMap::new(),
            failed: vec![],
            done: 0,
            exists: BTreeMap::new(),
            planned: 0,
            bill: vec![],
            first_look: Duration::ZERO,
            chain: None,
            modelled: false,
        };
        Teller { inner: Arc::new(Mutex::new(inner)), stop }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, every line about what is on a host says that it is modelled.
    pub(super) fn hosts_are_modelled(&self) {
        self.inner().modelled = true;
    }

    /// Tells that the run begins, in `journal` if there is one.
    pub(super) fn begin(&self, command: &str, playbook: &str, journal: Option<Journal>) -> Result<(), Failure> {
        let run = journal.as_ref().map(|journal| journal.run().to_owned());
        self.inner().journal = journal;
        self.tell(What::RunStarted { command: command.to_owned(), playbook: playbook.to_owned(), run })
    }

    /// Tells one thing. Fails when the journal cannot be written.
    pub(super) fn tell(&self, what: What) -> Result<(), Failure> {
        self.inner().tell(what)
    }

    /// Tells that the run has ended. A journal that cannot be written does not change how it ended.
    pub(super) fn finish(
        &self,
        code: u8,
        changes: usize,
        failure: Option<FailureView>,
        exists: Vec<String>,
        bill: Vec<BillLine>,
    ) {
        let took_ms = millis(self.inner().begun);
        let _ = self.tell(What::RunFinished { code, changes, failure, exists, bill, took_ms });
    }

    /// Keeps in mind that `address` is there and ours, or that it is not.
    pub(super) fn note_existing(&self, address: &Address, there: bool) {
        self.inner().exists.insert(address.clone(), there);
    }

    /// Keeps in mind that of the provider `name`, these and no others are there and ours.
    pub(crate) fn note_all<'a>(&self, name: &str, there: impl Iterator<Item = &'a Address>) {
        let mut inner = self.inner();
        inner.exists.retain(|address, _| address.provider != name);
        inner.exists.extend(there.map(|address| (address.clone(), true)));
    }

    /// The providers of what was looked at and is on no host.
    pub(crate) fn providers(&self) -> Vec<&'static str> {
        let inner = self.inner();
        let mut names: Vec<&'static str> = inner
            .exists
            .keys()
            .filter(|a| a.place.is_none())
            .map(|a| a.provider)
            .filter(|n| *n != "existing")
            .collect();
        names.dedup();
        names
    }

    /// Keeps the plan in mind: how many changes, and the bill.
    pub(super) fn note_plan(&self, changes: usize, bill: &[PriceLine]) {
        let mut inner = self.inner();
        inner.planned = changes;
        inner.first_look = inner.begun.elapsed();
        inner.bill = bill.to_vec();
    }

    /// What was kept in mind of the plan.
    pub(super) fn plan(&self) -> (usize, Vec<BillLine>) {
        let inner = self.inner();
        (inner.planned, inner.bill.iter().map(BillLine::from).collect())
    }

    /// What is there and ours in the clouds, and what that costs.
    pub(super) fn exists(&self) -> (Vec<String>, Vec<BillLine>) {
        let inner = self.inner();
        let there = |address: &Address| inner.exists.get(address).copied().unwrap_or(false);
        let names = inner.exists.keys().filter(|a| a.place.is_none() && there(a)).map(ToString::to_string).collect();
        let bill = inner.bill.iter().filter(|line| there(&line.address)).map(BillLine::from).collect();
        (names, bill)
    }

    /// How many changes have been made.
    pub(super) fn done(&self) -> usize {
        self.inner().done
    }

    /// Tells that what was under way has failed, because of `failure`. Gives the addresses.
    pub(super) fn tell_failed(&self, failure: &Failure) -> Vec<Address> {
        let mut inner = self.inner();
        let mut failed = std::mem::take(&mut inner.failed);
        if failed.is_empty() {
            failed = inner.running.keys().cloned().collect();
        }
        for address in &failed {
            inner.running.remove(address);
            let _ = inner.tell(What::ChangeFailed { address: address.to_string(), failure: failure.into() });
        }
        failed
    }

    /// A report for a provider. `deleting` says that what is done there is no longer there.
    pub(super) fn report(&self, deleting: bool) -> Report {
        let teller = self.clone();
        Report::new(
            move |progress| {
                let mut inner = teller.inner();
                let what = match progress {
                    Progress::Started(address) => {
                        inner.running.insert(address.clone(), Instant::now());
                        What::ChangeStarted { address: address.to_string() }
                    }
                    Progress::Done(address) => {
                        let took_ms = inner.running.remove(&address).map_or(0, millis);
                        inner.done += 1;
                        inner.exists.insert(address.clone(), !deleting);
                        What::ChangeDone { address: address.to_string(), took_ms }
                    }
                    Progress::Failed(address) => {
                        inner.failed.push(address);
                        return;
                    }
                    Progress::Waiting(what) => What::Waiting { what },
                    Progress::Retrying(what, attempt, wait_ms) => What::Retrying { what, attempt, wait_ms },
                    Progress::Note(text) => What::Note { text },
                };
                // What was intended is on the disk already; a report that cannot be kept is still shown.
                let _ = inner.tell(what);
            },
            self.stop.clone(),
        )
    }
}

impl Inner {
    fn tell(&mut self, what: What) -> Result<(), Failure> {
        self.seq += 1;
        let what = if self.modelled { modelled(what) } else { what };
        let event = Event { v: VERSION, seq: self.seq, at: Timestamp::now(), event: what };
        let kept = match &mut self.journal {
            Some(journal) => journal.write(&event),
            None => Ok(()),
        };
        // Nobody listening is no reason to stop.
        let _ = self.events.send(event);
        kept
    }
}

/// The same, saying that what is on hosts is modelled.
fn modelled(mut what: What) -> What {
    let say = |address: &mut String| {
        if address.starts_with("host/") {
            address.push_str(" (modelled)");
        }
    };
    match &mut what {
        What::Planned { changes, .. } => changes.iter_mut().for_each(|change| say(&mut change.address)),
        What::Intended { addresses } => addresses.iter_mut().for_each(say),
        What::ChangeStarted { address } | What::ChangeDone { address, .. } | What::ChangeFailed { address, .. } => {
            say(address)
        }
        _ => {}
    }
    what
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
