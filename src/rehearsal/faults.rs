//! Bad days on purpose: what goes wrong with which request. Faults are values: tests make them, and people write them on the
//! command line, as `cut-after-effect@hetzner:servers.create` or `429:10%`.

mod words;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use crate::rehearsal::faults::words::{Rule, When};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The connection is cut before the request has any effect.
    CutBefore,
    /// The request has its effect, and its answer is lost.
    CutAfter,
    /// Refused with this status, this error code and these headers; without effect.
    Refuse(u16, &'static str, Vec<(&'static str, String)>),
    /// Answered late.
    Late(Duration),
    /// Answered as the last time this was asked, as if nothing had happened since.
    Stale,
    /// From now on the token is not accepted.
    Revoke,
    /// From now on the token may only read.
    ReadOnly,
}

/// A fault: the `nth` request (from 1) whose method and path begin like this.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `POST /servers`, for instance.
    pub at: &'static str,
    /// Which of the matching requests, from 1.
    pub nth: usize,
    /// What goes wrong with it.
    pub trouble: Trouble,
}

/// A moment at which the other side may be gone: before a request has its effect, or after it, before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// It has happened, and nobody has been told.
    After,
}

/// Told of every moment of every request: API, method, path. Says whether the other side is gone, so that no answer is
/// needed any more.
pub type Watch = Arc<dyn Fn(&str, &str, &str, Moment) -> bool + Send + Sync>;

/// The faults of one API in one rehearsal.
#[derive(Default)]
pub struct Faults {
    state: Mutex<State>,
    met: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// In no order; each is used once.
    exact: Vec<Fault>,
    rules: Vec<Rule>,
    seed: u64,
    /// How often each sort of request came, for those who leave it to chance.
    seen: BTreeMap<String, u64>,
    watch: Option<Watch>,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.lock().exact.push(fault);
    }

    /// From now on these rules hold, and chance goes by `seed`: the same requests meet the same faults, in whatever order
    /// they come. No rules means good weather again.
    pub fn rule(&self, rules: Vec<Rule>, seed: u64) {
        let mut state = self.lock();
        (state.rules, state.seed) = (rules, seed);
        state.seen.clear();
    }

    /// From now on, `watch` is told of every request.
    pub fn watch(&self, watch: Option<Watch>) {
        self.lock().watch = watch;
    }

    /// How many faults were met so far.
    pub fn met(&self) -> usize {
        self.met.load(Ordering::Relaxed)
    }

    /// Is the other side gone, at this moment of this request?
    pub(super) fn is_gone(&self, api: &str, method: &str, path: &str, moment: Moment) -> bool {
        let watch = self.lock().watch.clone();
        watch.is_some_and(|watch| watch(api, method, path, moment))
    }

    /// What goes wrong with this request, if anything. Counts it.
    pub fn meet(&self, api: &str, method: &str, path: &str) -> Option<Trouble> {
        let mut state = self.lock();
        let request = format!("{method} {path}");
        let mut met = None;
        for (index, fault) in state.exact.iter_mut().enumerate().filter(|(_, fault)| request.starts_with(fault.at)) {
            fault.nth -= 1;
            if fault.nth == 0 && met.is_none() {
                met = Some(index);
            }
        }
        let trouble = met.map(|index| state.exact.remove(index).trouble).or_else(|| state.by_rule(api, method, path));
        if trouble.is_some() {
            self.met.fetch_add(1, Ordering::Relaxed);
        }
        trouble
    }
}

impl State {
    fn by_rule(&mut self, api: &str, method: &str, path: &str) -> Option<Trouble> {
        if self.rules.is_empty() {
            return None;
        }
        // Identifiers are made up anew each time: they must not change what meets what.
        let is_word =
            |part: &&str| part.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '-') && part.len() < 24;
        let shape: Vec<&str> = path.split('/').map(|part| if is_word(&part) { part } else { "*" }).collect();
        let request = format!("{api} {method} {}", shape.join("/"));
        let nth = self.seen.entry(request.clone()).or_insert(0);
        *nth += 1;
        let nth = *nth;
        let seed = self.seed;
        for (index, rule) in self.rules.iter_mut().enumerate().filter(|(_, rule)| rule.is_about(api, method, path)) {
            let dice = Sha256::digest(format!("{seed} {index} {request} {nth}").as_bytes());
            let number = |at: usize| u16::from_be_bytes([dice[at], dice[at + 1]]);
            let hit = match &mut rule.when {
                When::Nth(left) => {
                    *left = left.saturating_sub(1);
                    *left == 0 && !std::mem::replace(&mut rule.used, true)
                }
                When::Percent(percent) => f64::from(number(0)) / 65_536.0 * 100.0 < *percent,
            };
            if hit {
                return Some(rule.kind.trouble(api, method, number(2)));
            }
        }
        None
    }
}
