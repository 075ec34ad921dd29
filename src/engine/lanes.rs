//! The ready set: what can begin does. Resources on one host keep the order of the file; everything else
//! runs side by side.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Instant;

use tokio::task::{Id, JoinSet};

use crate::engine::Run;
use crate::engine::chains::Chains;
use crate::engine::settle::settle;
use crate::engine::survey::{Lane, Survey, lane_of};
use crate::engine::teller::Teller;
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Address, Observed, Resource};
use crate::model::value::Outputs;
use crate::{providers, steps};

/// Makes everything as it is wanted. Gives what is known then.
pub(super) async fn carry_out(
    run: &Run,
    mut survey: Survey,
    allowed: BTreeSet<String>,
    teller: &Teller,
) -> Result<Survey, Failure> {
    let unknown = steps::desired(&run.playbook, &Outputs::new(), &run.sources).unwrap_or_default();
    let mut chains = Chains::of(&unknown);
    let mut settled: BTreeSet<Address> = BTreeSet::new();
    let mut busy: BTreeSet<Lane> = BTreeSet::new();
    let mut tasks = JoinSet::new();
    let mut lanes_of_tasks: BTreeMap<Id, Lane> = BTreeMap::new();
    // Nothing but the end of all tasks ends the loop: what is under way may be paid for already.
    let mut failed: Option<Failure> = None;
    loop {
        if let Err(failure) = survey.work_out(run) {
            failed = failed.or(Some(failure));
        }
        if failed.is_none() && !teller.report(false).stopping() {
            for (lane, batch) in ready(&survey, &settled, &busy) {
                let Some(provider) = providers::find(lane.0) else {
                    failed = Some(Failure::new(Kind::Failed, format!("there is no provider `{}`", lane.0)));
                    break;
                };
                // A lane that was looked at in the survey is not looked at again.
                let seen: Option<Vec<Observed>> = batch
                    .iter()
                    .map(|resource| survey.seen.get(&resource.address).cloned())
                    .collect::<Option<Vec<_>>>();
                let (doors, allowed, teller) = (run.doors.clone(), allowed.clone(), teller.clone());
                busy.insert(lane.clone());
                let begun = Instant::now();
                let of_task = lane.clone();
                let task = tasks.spawn(async move {
                    let after = settle(provider, &doors, &batch, seen, &allowed, &teller).await;
                    (lane, batch, after, begun)
                });
                lanes_of_tasks.insert(task.id(), of_task);
            }
        }
        let Some(ended) = tasks.join_next().await else { break };
        let (lane, batch, after, begun) = match ended {
            Ok(ended) => ended,
            Err(e) => {
                if let Some(lane) = lanes_of_tasks.get(&e.id()) {
                    busy.remove(lane);
                }
                failed = failed.or(Some(Failure::new(Kind::Failed, "a part of the run broke off").because(e)));
                continue;
            }
        };
        busy.remove(&lane);
        match after {
            Ok(after) => {
                chains.ended(&lane, &batch, &after, begun);
                teller.note_chain(&chains);
                for (resource, seen) in batch.iter().zip(after) {
                    survey.note(resource, seen);
                    settled.insert(resource.address.clone());
                }
                // What comes later in this lane is looked at again: this batch may have changed what it reads.
                let later: Vec<Resource> = survey
                    .wanted
                    .iter()
                    .filter(|resource| lane_of(resource) == lane && !settled.contains(&resource.address))
                    .cloned()
                    .collect();
                later.iter().for_each(|resource| survey.forget(resource));
            }
            // The others are let finish; nothing new begins.
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    if teller.report(false).stopping() && survey.wanted.iter().any(|resource| !settled.contains(&resource.address)) {
        return Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand"));
    }
    match survey.wanted.iter().find(|resource| !settled.contains(&resource.address)) {
        None => Ok(survey),
        Some(resource) => {
            let key = resource.unknown().map_or_else(String::new, |key| key.to_string());
            Err(Failure::new(Kind::Failed, format!("{} waits for the output `{key}`, which nothing gives", resource.address))
                .hint("a server made without Landfall lacks its label `landfall-host-key`: destroy it, or use provider `existing`"))
        }
    }
}

/// What can begin now, by lane: everything that waits for no output, and on a host only as far as nothing
/// before it waits.
fn ready(survey: &Survey, settled: &BTreeSet<Address>, busy: &BTreeSet<Lane>) -> BTreeMap<Lane, Vec<Resource>> {
    let mut lanes: BTreeMap<Lane, Vec<Resource>> = BTreeMap::new();
    let mut waiting: BTreeSet<Lane> = BTreeSet::new();
    let open = || survey.wanted.iter().filter(|resource| !settled.contains(&resource.address));
    // Secrets first: whatever comes later may need them, and it is done in an instant.
    let secrets_open = open().any(|resource| resource.address.provider == "vault");
    for resource in open() {
        let lane = lane_of(resource);
        if secrets_open && lane.0 != "vault" {
            continue;
        }
        if busy.contains(&lane) || waiting.contains(&lane) {
            continue;
        }
        // A host whose server is about to change may be another one, or off, until that is done.
        let server_is_settled =
            resource.on.is_none() || survey.server_of(resource).all(|server| settled.contains(&server.address));
        if resource.unknown().is_none() && server_is_settled {
            lanes.entry(lane).or_default().push(resource.clone());
        } else if resource.on.is_some() {
            waiting.insert(lane);
        }
    }
    lanes
}
