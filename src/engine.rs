//! The one loop: desired, observe, diff, approve, journal, apply, observe until nothing differs.
//! `plan`, `check`, `apply` and `destroy` are that loop stopped at different places.

mod account;
mod chains;
mod destroy;
mod lanes;
mod leases;
pub mod places;
mod settle;
mod sites;
mod survey;
mod teller;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cupboard::{disk, journal::Journal};
use crate::doors::Doors;
use crate::engine::survey::Survey;
use crate::engine::teller::Teller;
use crate::model::diff::{Change, Verb};
use crate::model::event::{BillLine, ChangeView, Event, FailureView, Report, What};
use crate::model::failure::{Failure, Kind};
use crate::model::money::{PriceLine, over_budget};
use crate::model::playbook::Playbook;
use crate::model::resource::{Owned, Spec};
use crate::model::value::Value;
use crate::providers;
use crate::steps::{self, Sources};

/// Where the loop stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// After planning.
    Plan,
    /// After planning; a plan that is not empty is drift.
    Check,
    /// When everything is as wanted.
    Apply,
    /// When nothing is left.
    Destroy,
}

impl Goal {
    /// The command's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Goal::Plan => "plan",
            Goal::Check => "check",
            Goal::Apply => "apply",
            Goal::Destroy => "destroy",
        }
    }

    fn changes_the_world(self) -> bool {
        matches!(self, Goal::Apply | Goal::Destroy)
    }
}

/// What goes into the engine. Never serialized.
#[derive(Debug)]
pub enum Command {
    /// Carry the plan out.
    Approve {
        /// Also where data is lost.
        losing_data: bool,
    },
    /// Leave everything as it is, for this reason.
    Decline(Failure),
}

/// What the user wants beyond the playbook.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Addresses of what may be taken over although it is not ours.
    pub adopt: Vec<String>,
    /// Take away what is ours and no longer wanted, after everything else is as it shall be.
    pub retire: bool,
    /// Go ahead although another's run is going on, and take its lease away.
    pub break_lease: bool,
    /// Go on even where nothing at all is left of what was made: it was lost, not looked for in another account.
    pub gone: bool,
    /// Which backup a new server takes up instead of the newest: a snapshot's name, or `@` and seconds.
    pub backup: Option<String>,
}

/// One going-through.
pub struct Run {
    /// The playbook, already checked.
    pub playbook: Playbook,
    /// The files beside it.
    pub sources: Sources,
    /// The ways out.
    pub doors: Arc<Doors>,
    /// Where the journal and the lock are kept.
    pub state: PathBuf,
    /// Where events go.
    pub events: mpsc::UnboundedSender<Event>,
    /// Where commands come from.
    pub commands: mpsc::Receiver<Command>,
    /// What the user wants beyond the playbook.
    pub wishes: Wishes,
    /// Set when the user wants to stop after the change in hand.
    pub stop: Arc<AtomicBool>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: u8,
    /// How many changes were made, or would be.
    pub changes: usize,
    /// How many changes the plan held.
    pub planned: usize,
    /// What everything costs per month, net.
    pub bill: Vec<BillLine>,
    /// How long the longest chain of changes that wait for each other took, with the look before it.
    pub chain: Option<Duration>,
}

impl Run {
    /// Goes through the loop as far as `goal` says. Every way it can end is told as an event; the last one
    /// is `run-finished`.
    pub async fn go(mut self, goal: Goal) -> Outcome {
        let teller = Teller::new(self.events.clone(), self.stop.clone());
        if providers::host::modelled::is_asked_for(&self.doors) {
            teller.hosts_are_modelled();
        }
        let ended = self.go_to(goal, &teller).await;
        let (changes, failure) = match ended {
            Ok(Reached { changes, failure }) => (changes, failure),
            Err(failure) => (teller.done(), Some(failure)),
        };
        let code = failure.as_ref().map_or(0, |failure| failure.kind.exit_code());
        let stopped_early = failure.as_ref().is_some_and(|f| f.kind != Kind::Drift) && goal.changes_the_world();
        if stopped_early {
            self.look_at_what_exists(&teller).await;
        }
        let (exists, bill) = if stopped_early { teller.exists() } else { (vec![], vec![]) };
        teller.finish(code, changes, failure.as_ref().map(FailureView::from), exists, bill);
        let (planned, bill) = teller.plan();
        Outcome { code, changes, planned, bill, chain: teller.chain() }
    }

    async fn go_to(&mut self, goal: Goal, teller: &Teller) -> Result<Reached, Failure> {
        let name = self.playbook.name.clone();
        // Held until the run has ended.
        let _lock = match goal.changes_the_world() {
            true => Some(disk::lock(&self.state, &name, goal.as_str())?),
            false => None,
        };
        let journal = if goal.changes_the_world() { Some(Journal::begin(&self.state, &name)?) } else { None };
        teller.begin(goal.as_str(), name.as_str(), journal)?;

        if goal == Goal::Destroy {
            return self.destroy(teller).await;
        }
        for text in steps::notes(&self.playbook, &self.sources) {
            teller.tell(What::Note { text })?;
        }
        let mut survey = Survey::take(self, teller, goal).await?;
        let is_wanted = |address: &&String| !survey.wanted.iter().any(|r| r.address.to_string() == **address);
        if let Some(unknown) = self.wishes.adopt.iter().find(is_wanted) {
            return Err(Failure::new(Kind::Usage, format!("the playbook wants nothing with the address `{unknown}`"))
                .hint("give --adopt an address as `landfall plan` shows it; nothing was done"));
        }
        if goal == Goal::Apply {
            self.check_accounts(&survey, goal)?;
        }
        let changes = survey.changes();
        let orphans = survey.orphans();
        // What is on a host goes with the step that put it there, not by itself.
        let (retired, orphans): (Vec<Owned>, Vec<Owned>) =
            orphans.into_iter().partition(|orphan| self.wishes.retire && orphan.address.place.is_none());
        let todo = changes.iter().filter(|change| !change.is_keep()).count() + retired.len();
        let views = changes.iter().map(ChangeView::from).chain(retired.iter().map(destroy::delete_view)).collect();
        let orphans = orphans.iter().map(|orphan| orphan.address.to_string()).collect();
        Run::tell_plan(teller, views, &survey.bill, orphans)?;
        if let Some(failure) = conflict(&changes) {
            return Err(failure);
        }
        match goal {
            Goal::Check if todo > 0 => {
                let failure = drift(&changes);
                Ok(Reached { changes: todo, failure: Some(failure) })
            }
            Goal::Plan => {
                let over = self.over_budget(&survey.bill);
                Ok(Reached { changes: todo, failure: over })
            }
            Goal::Apply if todo > 0 => {
                if let Some(failure) = self.over_budget(&survey.bill) {
                    return Err(failure);
                }
                let losses = changes.iter().filter(|c| c.loses_data()).map(|c| c.resource.address.to_string());
                let retired_losses = retired.iter().map(|orphan| &orphan.address).filter(|a| destroy::holds_data(a));
                let losses = losses.chain(retired_losses.map(ToString::to_string)).collect();
                let allowed = self.wait_for_approval(losses).await?;
                let held = self.take_leases(&survey, teller).await?;
                if !held.is_empty() {
                    // Another's run may have begun and ended since the survey.
                    survey.doubt(&changes);
                }
                let carried_out = async {
                    let survey = lanes::carry_out(self, survey, allowed, teller).await?;
                    // Only now: what takes its place serves.
                    self.take_away(&retired, teller).await?;
                    sites::ask(self, &survey, goal, teller).await
                };
                let carried_out = carried_out.await;
                held.release(carried_out, teller).await?;
                Ok(Reached { changes: teller.done(), failure: None })
            }
            Goal::Apply => {
                self.clear_leases(&survey, teller).await?;
                sites::ask(self, &survey, goal, teller).await?;
                Ok(Reached { changes: 0, failure: None })
            }
            Goal::Check => {
                sites::ask(self, &survey, goal, teller).await?;
                Ok(Reached { changes: 0, failure: None })
            }
            Goal::Destroy => Ok(Reached { changes: todo, failure: None }),
        }
    }

    /// Looks once more at what is ours in the clouds, for a run that stops early. Where even that fails,
    /// what is known from before has to do.
    async fn look_at_what_exists(&self, teller: &Teller) {
        for name in teller.providers() {
            let Some(provider) = providers::find(name).filter(|provider| provider.api().is_some()) else { continue };
            let report = Report::silent();
            if let Ok(stock) = provider.take_stock(&self.doors, &self.playbook.name, &[], &report).await {
                teller.note_all(name, stock.owned.iter().map(|owned| &owned.address));
            }
        }
    }

    fn tell_plan(
        teller: &Teller,
        changes: Vec<ChangeView>,
        bill: &[PriceLine],
        orphans: Vec<String>,
    ) -> Result<(), Failure> {
        teller.note_plan(changes.iter().filter(|change| change.verb != "keep").count(), bill);
        teller.tell(What::Planned { changes, bill: bill.iter().map(BillLine::from).collect(), orphans })
    }

    /// Waits until the user has seen the plan, which loses the data of `losses`. Gives the addresses whose
    /// data may be lost.
    async fn wait_for_approval(&mut self, losses: Vec<String>) -> Result<BTreeSet<String>, Failure> {
        match self.commands.recv().await {
            Some(Command::Approve { losing_data }) if losing_data || losses.is_empty() => {
                Ok(losses.into_iter().collect())
            }
            Some(Command::Approve { .. }) => {
                Err(Failure::new(Kind::Human, format!("data would be lost: {}", losses.join(", ")))
                    .hint("make a copy of it first; then add --allow-data-loss. Nothing was done"))
            }
            Some(Command::Decline(failure)) => Err(failure),
            None => Err(Failure::new(Kind::Stopped, "nobody approved the plan").hint("nothing was done")),
        }
    }

    fn over_budget(&self, bill: &[PriceLine]) -> Option<Failure> {
        over_budget(&self.playbook.budget, bill)
    }

    /// Checks, before anything is asked of the world, that every secret has a value and that a key to log
    /// in with is here. Fails as `Human`.
    fn check_keys(&self, survey: &Survey) -> Result<(), Failure> {
        let mut asked = BTreeSet::new();
        // What this run makes need not be there yet.
        let made: BTreeSet<_> = survey.wanted.iter().flat_map(|resource| resource.spec.makes_secrets()).collect();
        for resource in &survey.wanted {
            if let Spec::File(file) = &resource.spec {
                for part in file.content.parts() {
                    if let Value::Secret(name, _) = part
                        && !made.contains(name)
                        && self.doors.keys.get(name).is_none()
                    {
                        return Err(Failure::new(Kind::Human, format!("the secret `{name}` has no value"))
                            .hint(format!("{}; nothing was done", self.doors.keys.how_to_set(name))));
                    }
                }
            }
            if let Some(at) = &resource.on
                && asked.insert(&at.keys)
            {
                self.doors.ssh.has_key(&at.keys)?;
            }
        }
        Ok(())
    }
}

/// Where the loop came to.
struct Reached {
    changes: usize,
    failure: Option<Failure>,
}

fn conflict(changes: &[Change]) -> Option<Failure> {
    changes.iter().find_map(|change| match &change.verb {
        Verb::Conflict(what) => Some(
            Failure::new(Kind::Conflict, format!("{} is in the way", change.resource.address))
                .because(what.clone())
                .hint("nothing was done"),
        ),
        _ => None,
    })
}

fn drift(changes: &[Change]) -> Failure {
    let names: Vec<String> =
        changes.iter().filter(|c| !c.is_keep()).map(|c| c.resource.address.to_string()).take(5).collect();
    let more = changes.iter().filter(|c| !c.is_keep()).count().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Failure::new(Kind::Drift, format!("the world differs from the playbook: {}{more}", names.join(", ")))
        .hint("`landfall apply` makes it as the playbook says")
}
