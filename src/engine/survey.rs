//! The first look: everything that can be seen at once, by provider, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::doors::Doors;
use crate::engine::teller::Teller;
use crate::engine::{Goal, Run};
use crate::model::diff::{Change, Verb, diff, take_up};
use crate::model::event::What;
use crate::model::failure::{Failure, Kind};
use crate::model::lease::Lease;
use crate::model::money::PriceLine;
use crate::model::name::Name;
use crate::model::problem::Problem;
use crate::model::resource::{Address, Observed, Owned, Resource, Spec, Stock};
use crate::model::value::{OutputKey, Outputs};
use crate::{providers, steps};

/// One provider, at one place: what it is asked travels together.
pub(super) type Lane = (&'static str, Option<Name>);

/// The lane of a resource.
pub(super) fn lane_of(resource: &Resource) -> Lane {
    (resource.address.provider, resource.address.place.clone())
}

/// What is wanted, what was seen, and what follows from it.
pub(super) struct Survey {
    /// Every resource, in order, with the outputs known so far.
    pub wanted: Vec<Resource>,
    /// What was seen of each.
    pub seen: BTreeMap<Address, Observed>,
    /// Outputs known so far.
    pub outputs: Outputs,
    /// Has everything been looked at that can be? Before, what seems to be another thing may only be unknown yet.
    looked: bool,
    /// What carries our mark in the clouds.
    pub owned: Vec<Owned>,
    /// What it all costs per month, net.
    pub bill: Vec<PriceLine>,
    /// The leases of this playbook, by provider.
    pub leases: Vec<(&'static str, Lease)>,
}

impl Survey {
    /// Looks at the clouds, and then at every host that is there, unless all shall go: then hosts of the
    /// clouds go with their servers and are not looked at.
    pub(super) async fn take(run: &Run, teller: &Teller, goal: Goal) -> Result<Survey, Failure> {
        let mut survey = Survey {
            wanted: vec![],
            seen: BTreeMap::new(),
            outputs: Outputs::new(),
            looked: false,
            owned: vec![],
            bill: vec![],
            leases: vec![],
        };
        survey.work_out(run)?;
        if goal == Goal::Apply {
            run.check_keys(&survey)?;
        }
        survey.look(run, teller, goal, |resource| resource.on.is_none()).await?;
        survey.look_elsewhere(run, teller, goal).await?;
        // Before hosts are looked at: one that another run is just making is not there yet.
        run.check_leases(&survey, teller, goal)?;
        survey.work_out(run)?;
        let hosts: Vec<Address> = survey
            .wanted
            .iter()
            .filter(|r| r.on.as_ref().is_some_and(|at| at.unknown().is_none()) && survey.is_worth_a_look(r, goal))
            .map(|r| r.address.clone())
            .collect();
        let looked = survey.look(run, teller, goal, |resource| hosts.contains(&resource.address)).await;
        if let Err(failure) = looked {
            // What is about to change in the cloud may be what keeps the host away; it is looked at again then.
            let pending = survey.changes().iter().any(|change| change.resource.on.is_none() && !change.is_keep());
            if goal != Goal::Apply || failure.kind != Kind::Unreachable || !pending {
                return Err(failure);
            }
            teller.tell(What::Note {
                text: format!("{failure}; it is looked at again after the changes in the cloud"),
            })?;
        }
        // What a host says of one thing may be what another on it was only waiting for: that is looked at again.
        let waited: Vec<Address> = survey
            .wanted
            .iter()
            .filter(|r| hosts.contains(&r.address) && r.unknown().is_some())
            .map(|r| r.address.clone())
            .collect();
        survey.work_out(run)?;
        let known_now = |resource: &&Resource| waited.contains(&resource.address) && resource.unknown().is_none();
        let again: Vec<Address> = survey.wanted.iter().filter(known_now).map(|r| r.address.clone()).collect();
        if !again.is_empty() {
            survey.look(run, teller, goal, |resource| again.contains(&resource.address)).await?;
            survey.work_out(run)?;
        }
        survey.looked = true;
        survey.work_out(run)?;
        for (address, seen) in &survey.seen {
            teller.note_existing(address, matches!(seen, Observed::Present { ours: true, .. }));
        }
        for owned in &survey.owned {
            teller.note_existing(&owned.address, true);
        }
        Ok(survey)
    }

    /// Works out anew what is wanted, with the outputs known now. What a thing gave that will be made anew is forgotten: a
    /// certificate for the key of a server that is gone must not reach the next one.
    pub(super) fn work_out(&mut self, run: &Run) -> Result<(), Failure> {
        loop {
            self.work_out_with(run)?;
            let in_vain: Vec<OutputKey> =
                self.wanted.iter().filter(|_| self.looked).flat_map(|resource| self.given_in_vain(resource)).collect();
            let before = self.outputs.len();
            in_vain.iter().for_each(|key| drop(self.outputs.remove(key)));
            if self.outputs.len() == before {
                return Ok(());
            }
        }
    }

    /// The outputs of something that is there and will be made anew, or goes with something that will.
    fn given_in_vain(&self, resource: &Resource) -> Vec<OutputKey> {
        let Some(Observed::Present { outputs, .. }) = self.seen.get(&resource.address) else { return vec![] };
        let is_made_anew = |other: &Resource| {
            let seen = self.seen.get(&other.address);
            seen.is_some_and(|seen| matches!(diff(other, seen).verb, Verb::Replace(_)))
        };
        // What a server's marks say of its keys goes with the server.
        let goes_along = matches!(resource.spec, Spec::Vouch(_))
            && self.wanted.iter().any(|other| {
                other.step == resource.step && matches!(other.spec, Spec::Server(_)) && is_made_anew(other)
            });
        match goes_along || is_made_anew(resource) {
            true => outputs.iter().map(|(name, _)| output_key(resource, name)).collect(),
            false => vec![],
        }
    }

    fn work_out_with(&mut self, run: &Run) -> Result<(), Failure> {
        self.wanted = steps::desired(&run.playbook, &self.outputs, &run.sources).map_err(|problems| {
            // Checked when the playbook was read; what is found only now is told all the same.
            let text: Vec<String> = problems.iter().map(|problem: &Problem| problem.message.clone()).collect();
            Failure::new(Kind::Playbook, text.join("; "))
        })?;
        for resource in &mut self.wanted {
            resource.adopt = run.wishes.adopt.contains(&resource.address.to_string());
            if let Spec::Command(command) = &mut resource.spec
                && command.takes_backup
            {
                command.backup.clone_from(&run.wishes.backup);
            }
        }
        Ok(())
    }

    /// Takes in what was seen of `resource`.
    pub(super) fn note(&mut self, resource: &Resource, seen: Observed) {
        if let Observed::Present { outputs, .. } = &seen {
            for (name, value) in outputs {
                self.outputs.insert(output_key(resource, name), value.clone());
            }
        }
        self.seen.insert(resource.address.clone(), seen);
    }

    /// Forgets what was seen of `resource`, because what was changed since may matter to it.
    pub(crate) fn forget(&mut self, resource: &Resource) {
        self.seen.remove(&resource.address);
    }

    /// Forgets what was seen of every cloud's lane in which something of `changes` is to change, so that it is looked at
    /// again just before.
    pub(super) fn doubt(&mut self, changes: &[Change]) {
        let is_cloud = |lane: &Lane| providers::find(lane.0).is_some_and(|provider| provider.api().is_some());
        let lanes: BTreeSet<Lane> =
            changes.iter().filter(|c| !c.is_keep()).map(|c| lane_of(&c.resource)).filter(is_cloud).collect();
        changes.iter().filter(|c| lanes.contains(&lane_of(&c.resource))).for_each(|c| self.forget(&c.resource));
    }

    /// What must change, in order.
    pub(super) fn changes(&self) -> Vec<Change> {
        let unreached = Observed::Unreached;
        let see = |want: &Resource| diff(want, self.seen.get(&want.address).unwrap_or(&unreached));
        let mut changes: Vec<Change> = self.wanted.iter().map(see).collect();
        take_up(&mut changes);
        changes
    }

    /// The resources that make up the server a resource on a host is on.
    pub(crate) fn server_of(&self, resource: &Resource) -> impl Iterator<Item = &Resource> {
        let step = resource.step_of_host();
        // What is said of the server does not make it up: some of it is only known once the server is there.
        let makes_it_up = |other: &&Resource| other.on.is_none() && !matches!(other.spec, Spec::Vouch(_));
        self.wanted.iter().filter(makes_it_up).filter(move |other| other.step == step)
    }

    /// Is the host of `resource` there, and will it stay the same? A server that shall go or be made anew
    /// takes everything on it along; one that is off cannot be asked.
    fn is_worth_a_look(&self, resource: &Resource, goal: Goal) -> bool {
        let unreached = Observed::Unreached;
        self.server_of(resource).filter(|server| matches!(server.spec, Spec::Server(_))).all(|server| {
            let verb = diff(server, self.seen.get(&server.address).unwrap_or(&unreached)).verb;
            match verb {
                _ if goal == Goal::Destroy => false,
                Verb::Keep => true,
                Verb::Update(fields) => !fields.iter().any(|change| change.field == "running"),
                _ => false,
            }
        })
    }

    /// Takes in what is ours. What was seen before is not taken twice.
    fn own(&mut self, owned: Vec<Owned>) {
        for owned in owned {
            if !self.owned.iter().any(|known| known.id == owned.id && known.address == owned.address) {
                self.owned.push(owned);
            }
        }
    }

    /// What is ours and no longer wanted: also a second thing of the same name, which only bad luck can have made.
    pub(super) fn orphans(&self) -> Vec<Owned> {
        let mut met: Vec<&Address> = Vec::new();
        let mut orphans = Vec::new();
        for owned in &self.owned {
            let is_second = owned.address.place.is_none() && met.contains(&&owned.address);
            met.push(&owned.address);
            // By what is shown: the list on a host leaves out the slash a path begins with.
            let shown = owned.address.to_string();
            if is_second {
                let name = format!("{} (a second one, {})", owned.address.name, owned.id);
                orphans.push(Owned { address: Address { name, ..owned.address.clone() }, id: owned.id.clone() });
            } else if !self.wanted.iter().any(|resource| resource.address.to_string() == shown) {
                orphans.push(owned.clone());
            }
        }
        orphans
    }

    /// Looks for what is ours in clouds that the playbook does not name any more, as far as there are tokens for
    /// them. What cannot be looked at there is only noted: nothing is wanted of it.
    async fn look_elsewhere(&mut self, run: &Run, teller: &Teller, goal: Goal) -> Result<(), Failure> {
        // What shall all go is looked for beyond what is wanted, in other zones and organisations, too.
        let named: Vec<&str> = match goal {
            Goal::Destroy => vec![],
            _ => self.wanted.iter().map(|resource| resource.address.provider).collect(),
        };
        let has_token = |token: &str| Name::parse(token).is_some_and(|name| run.doors.keys.get(&name).is_some());
        let mut looking = JoinSet::new();
        for provider in providers::PROVIDERS.iter().filter(|provider| !named.contains(&provider.name())) {
            if provider.api().is_some_and(|api| has_token(api.token)) {
                let (doors, name, report) = (run.doors.clone(), run.playbook.name.clone(), teller.report(false));
                let provider_name = provider.name();
                looking.spawn(async move {
                    let stock = stock(&doors, (provider_name, None), &name, &[], &report).await?;
                    Ok::<_, Failure>((provider_name, stock))
                });
            }
        }
        while let Some(looked) = looking.join_next().await {
            match looked.map_err(|e| Failure::new(Kind::Failed, "looking at the world broke off").because(e))? {
                Ok((name, stock)) => {
                    self.own(stock.owned);
                    self.leases.extend(stock.leases.into_iter().map(|lease| (name, lease)));
                }
                Err(failure) => teller.tell(What::Note {
                    text: format!("{failure}; whether something of this playbook is left there is not known"),
                })?,
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        run: &Run,
        teller: &Teller,
        goal: Goal,
        choose: impl Fn(&Resource) -> bool,
    ) -> Result<(), Failure> {
        let mut lanes: BTreeMap<Lane, Vec<Resource>> = BTreeMap::new();
        for resource in self.wanted.iter().filter(|resource| choose(resource)) {
            lanes.entry(lane_of(resource)).or_default().push(resource.clone());
        }
        let mut looking = JoinSet::new();
        for (lane, resources) in lanes {
            let (doors, name, report) = (run.doors.clone(), run.playbook.name.clone(), teller.report(false));
            looking.spawn(async move {
                let provider = lane.0;
                let stock = stock(&doors, lane, &name, &resources, &report).await;
                (provider, resources, stock)
            });
        }
        let mut failed = None;
        while let Some(looked) = looking.join_next().await {
            let (provider, resources, stock) =
                looked.map_err(|e| Failure::new(Kind::Failed, "looking at the world broke off").because(e))?;
            match stock {
                Ok(stock) => {
                    for (resource, seen) in resources.iter().zip(stock.seen) {
                        self.note(resource, seen);
                    }
                    self.own(stock.owned);
                    self.leases.extend(stock.leases.into_iter().map(|lease| (provider, lease)));
                    match (stock.bill, goal) {
                        (Ok(bill), _) => self.bill.extend(bill),
                        // What cannot be ordered matters only to those who would order it.
                        (Err(failure), Goal::Plan | Goal::Apply) => failed = failed.or(Some(failure)),
                        (Err(_), Goal::Check | Goal::Destroy) => {}
                    }
                }
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

fn output_key(resource: &Resource, name: &str) -> OutputKey {
    OutputKey { step: resource.step.clone(), name: name.to_owned() }
}

async fn stock(
    doors: &Arc<Doors>,
    lane: Lane,
    playbook: &Name,
    resources: &[Resource],
    report: &crate::model::event::Report,
) -> Result<Stock, Failure> {
    let provider = providers::find(lane.0)
        .ok_or_else(|| Failure::new(Kind::Failed, format!("there is no provider `{}`", lane.0)))?;
    provider.take_stock(doors, playbook, resources, report).await
}
