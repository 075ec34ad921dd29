//! Two operators: a run that changes something hangs out a lease at every provider that keeps leases, and gives way to
//! another's. The order is write, then look: of two that begin at the same moment, whoever writes later sees both.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::cupboard::disk;
use crate::doors::Doors;
use crate::engine::survey::Survey;
use crate::engine::teller::Teller;
use crate::engine::{Goal, Run};
use crate::model::event::{Report, What};
use crate::model::failure::{Failure, Kind};
use crate::model::lease::{Lease, Operator};
use crate::model::name::Name;
use crate::providers::{Leases, PROVIDERS};

/// How often a lease is written and looked for, until it is seen.
const LOOKS: u32 = 6;

/// One provider that keeps leases of this run's playbook.
#[derive(Clone)]
struct Keeper {
    name: &'static str,
    leases: &'static dyn Leases,
    doors: Arc<Doors>,
    playbook: Name,
    operator: Operator,
}

/// The leases a run has while it changes things.
pub(super) struct Held {
    keepers: Vec<Keeper>,
    renewing: Option<JoinHandle<()>>,
    lost: Arc<Mutex<Option<Failure>>>,
}

impl Run {
    /// Whose runs are going on elsewhere, as the survey saw them: only told to a run that changes nothing. Fails as `Busy`
    /// where one stands in the way of a change and shall not be broken.
    pub(super) fn check_leases(&self, survey: &Survey, teller: &Teller, goal: Goal) -> Result<(), Failure> {
        if survey.leases.is_empty() {
            return Ok(());
        }
        for keeper in self.keepers(survey, &disk::operator(&self.state)) {
            let leases = keeper.among(survey);
            let Some(lease) = keeper.in_the_way(&leases) else { continue };
            let what_follows = match (goal.changes_the_world(), self.wishes.break_lease) {
                (false, _) => "what is seen may be halfway",
                (true, true) => "its lease is broken",
                (true, false) => return Err(keeper.refusal(lease)),
            };
            teller.tell(What::Note { text: format!("{}; {what_follows}", keeper.says(lease)) })?;
        }
        Ok(())
    }

    /// Takes a lease at every provider that keeps some, and renews it until it is released. Fails as `Busy` where another
    /// run was quicker.
    pub(super) async fn take_leases(&self, survey: &Survey, teller: &Teller) -> Result<Held, Failure> {
        let operator = disk::lasting_operator(&self.state)?;
        let mut held = Held { keepers: vec![], renewing: None, lost: Arc::default() };
        for keeper in self.keepers(survey, &operator) {
            match keeper.take(keeper.among(survey).is_empty(), self.wishes.break_lease, &teller.report(false)).await {
                Ok(true) => held.keepers.push(keeper),
                Ok(false) => teller.tell(What::Note {
                    text: format!("{} has no room for a lease: other laptops do not see this run", keeper.name),
                })?,
                Err(failure) => return held.release(Err(failure), teller).await,
            }
        }
        held.renew(self);
        Ok(held)
    }

    /// Takes away what runs of this operator that broke off have left, and what has ended, where nothing else is to do.
    pub(super) async fn clear_leases(&self, survey: &Survey, teller: &Teller) -> Result<(), Failure> {
        if survey.leases.is_empty() {
            return Ok(());
        }
        for keeper in self.keepers(survey, &disk::operator(&self.state)) {
            for lease in keeper.among(survey).iter().filter(|lease| !keeper.is_in_the_way(lease)) {
                keeper.leases.erase(&self.doors, lease, &teller.report(true)).await?;
            }
        }
        Ok(())
    }

    /// The providers that keep leases and matter to this run: what is wanted or ours is there, or another's lease.
    fn keepers(&self, survey: &Survey, operator: &Operator) -> Vec<Keeper> {
        let wanted = survey.wanted.iter().map(|resource| resource.address.provider);
        let owned = survey.owned.iter().map(|owned| owned.address.provider);
        let met: Vec<&str> = wanted.chain(owned).chain(survey.leases.iter().map(|(name, _)| *name)).collect();
        let keepers = PROVIDERS.iter().filter(|provider| met.contains(&provider.name()));
        let keeper = |name: &'static str, leases: &'static dyn Leases| Keeper {
            name,
            leases,
            doors: self.doors.clone(),
            playbook: self.playbook.name.clone(),
            operator: operator.clone(),
        };
        keepers.filter_map(|provider| Some(keeper(provider.name(), provider.leases()?))).collect()
    }
}

impl Keeper {
    /// The time at the provider.
    fn now(&self) -> Timestamp {
        let api = crate::providers::find(self.name).and_then(|provider| provider.api());
        api.map_or_else(Timestamp::now, |api| self.doors.http.time_at(api))
    }

    /// The leases that the survey saw there.
    fn among(&self, survey: &Survey) -> Vec<Lease> {
        survey.leases.iter().filter(|(name, _)| *name == self.name).map(|(_, lease)| lease.clone()).collect()
    }

    /// A lease of this operator that begins now, in the place of `before`.
    fn lease(&self, before: Option<&Lease>) -> Lease {
        // Marks hold whole seconds.
        let term = SignedDuration::try_from(self.doors.http.pace().lease).unwrap_or_default().as_secs() + 1;
        Lease {
            holder: self.operator.clone(),
            until: Timestamp::from_second(self.now().as_second() + term).unwrap_or(Timestamp::MAX),
            id: before.map(|lease| lease.id.clone()).unwrap_or_default(),
        }
    }

    async fn list(&self, report: &Report) -> Result<Vec<Lease>, Failure> {
        self.leases.list(&self.doors, &self.playbook, report).await
    }

    fn is_in_the_way(&self, lease: &Lease) -> bool {
        lease.is_in_the_way(&self.operator, self.now())
    }

    fn in_the_way<'a>(&self, leases: &'a [Lease]) -> Option<&'a Lease> {
        leases.iter().find(|lease| self.is_in_the_way(lease))
    }

    fn mine<'a>(&self, leases: &'a [Lease]) -> impl Iterator<Item = &'a Lease> {
        leases.iter().filter(|lease| lease.holder.id == self.operator.id)
    }

    /// Takes the lease; false where there is no room for one. `clear` says that none was there just now.
    async fn take(&self, clear: bool, breaking: bool, report: &Report) -> Result<bool, Failure> {
        if !clear {
            let found = self.list(report).await?;
            for lease in &found {
                if self.is_in_the_way(lease) && !breaking {
                    return Err(self.refusal(lease));
                }
                self.leases.erase(&self.doors, lease, report).await?;
            }
        }
        let lease = self.lease(None);
        for round in 0..LOOKS {
            match self.leases.write(&self.doors, &self.playbook, &lease, report).await {
                Ok(false) => return Ok(false),
                // An answer that was lost is looked for; writing it again changes nothing.
                Err(failure) if failure.kind != Kind::Lost => return Err(failure),
                Ok(true) | Err(_) => {}
            }
            let found = self.list(report).await?;
            if let Some(other) = self.in_the_way(&found) {
                for mine in self.mine(&found) {
                    self.leases.erase(&self.doors, mine, report).await?;
                }
                return Err(self.refusal(other));
            }
            if self.mine(&found).next().is_some() {
                return Ok(true);
            }
            sleep(self.doors.http.pace().first / 4 * 2_u32.pow(round)).await;
        }
        Err(Failure::new(Kind::Failed, format!("the lease at {} was written and cannot be seen", self.name))
            .hint("nothing was done; run the same command again in a minute"))
    }

    /// Writes the lease anew. Fails as `Busy` where it is gone, because somebody broke it.
    async fn renew(&self) -> Result<(), Failure> {
        let report = Report::silent();
        let found = self.list(&report).await?;
        match (self.mine(&found).next(), self.in_the_way(&found)) {
            (Some(mine), None) => {
                self.leases.write(&self.doors, &self.playbook, &self.lease(Some(mine)), &report).await.map(drop)
            }
            (_, other) => {
                let by = other.map_or_else(|| "somebody".to_owned(), |lease| lease.holder.to_string());
                Err(Failure::new(Kind::Busy, format!("{by} broke the lease of this run at {}", self.name)).hint(
                    "this run stopped after the change in hand; agree on who goes on, then run the same command again",
                ))
            }
        }
    }

    /// Takes this operator's lease away, also after Ctrl-C: others should not have to wait for its end. There are two of it
    /// where a tag was being renewed.
    async fn release(&self) -> Result<(), Failure> {
        let report = Report::silent();
        let found = self.list(&report).await?;
        for mine in self.mine(&found) {
            self.leases.erase(&self.doors, mine, &report).await?;
        }
        Ok(())
    }

    fn says(&self, lease: &Lease) -> String {
        format!("{} is changing `{}` now, as a lease at {} says", lease.holder, self.playbook, self.name)
    }

    fn refusal(&self, lease: &Lease) -> Failure {
        Failure::new(Kind::Busy, self.says(lease)).hint(format!(
            "wait until that run has ended. If it broke off, its lease ends by itself at {}; if you know that it is dead, \
             add --break-lease. Nothing was done",
            lease.end()
        ))
    }
}

impl Held {
    /// Are there any?
    pub(super) fn is_empty(&self) -> bool {
        self.keepers.is_empty()
    }

    fn renew(&mut self, run: &Run) {
        if self.keepers.is_empty() {
            return;
        }
        let (keepers, lost, stop) = (self.keepers.clone(), self.lost.clone(), run.stop.clone());
        let every = run.doors.http.pace().lease / 3;
        self.renewing = Some(tokio::spawn(async move {
            let mut clock = interval(every);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            clock.tick().await;
            loop {
                clock.tick().await;
                for keeper in &keepers {
                    // A provider that cannot be asked just now is asked again; only a lease that is gone stops the run.
                    if let Err(failure) = keeper.renew().await
                        && failure.kind == Kind::Busy
                    {
                        *lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                        stop.store(true, std::sync::atomic::Ordering::Relaxed);
                        return;
                    }
                }
            }
        }));
    }

    /// Takes the leases away. `ended` is how the run went: one that stopped because its lease was broken says so.
    pub(super) async fn release<T>(mut self, ended: Result<T, Failure>, teller: &Teller) -> Result<T, Failure> {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
            // One that is being written must not come after it was taken away.
            let _ = renewing.await;
        }
        for keeper in &self.keepers {
            if let Err(failure) = keeper.release().await {
                let text = format!("{failure}; the lease at {} stays, and ends by itself", keeper.name);
                teller.tell(What::Note { text })?;
            }
        }
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (ended, lost) {
            (Err(stopped), Some(lost)) if stopped.kind == Kind::Stopped => Err(lost),
            (ended, _) => ended,
        }
    }
}
