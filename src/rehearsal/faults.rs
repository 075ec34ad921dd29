//! Bad days on purpose: what goes wrong with which request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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

/// The faults of one rehearsal, in no order; each is used once.
#[derive(Default)]
pub struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// What goes wrong with this request, if anything. Counts it.
    pub fn meet(&self, method: &str, path: &str) -> Option<Trouble> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let request = format!("{method} {path}");
        let mut met = None;
        for (index, fault) in faults.iter_mut().enumerate().filter(|(_, fault)| request.starts_with(fault.at)) {
            fault.nth -= 1;
            if fault.nth == 0 && met.is_none() {
                met = Some(index);
            }
        }
        met.map(|index| faults.remove(index).trouble)
    }
}
