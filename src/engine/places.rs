//! Where a playbook's hosts are, and how each is known, without looking at anything on them.

use std::sync::Arc;

use crate::doors::Doors;
use crate::model::event::Report;
use crate::model::failure::{Failure, Kind};
use crate::model::machine::HostAt;
use crate::model::playbook::Playbook;
use crate::model::resource::{Observed, Resource};
use crate::model::value::{OutputKey, Outputs};
use crate::providers;
use crate::steps::{self, Sources};

/// The hosts of `playbook` that are there, in order. One that is not there yet is left out.
pub async fn hosts(
    playbook: &Playbook,
    sources: &Sources,
    doors: &Arc<Doors>,
    report: &Report,
) -> Result<Vec<HostAt>, Failure> {
    let desired = |outputs: &Outputs| {
        steps::desired(playbook, outputs, sources).map_err(|problems| {
            let text: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
            Failure::new(Kind::Playbook, text.join("; "))
        })
    };
    let wanted = desired(&Outputs::new())?;
    let mut outputs = Outputs::new();
    for provider in providers::PROVIDERS {
        let asked: Vec<Resource> =
            wanted.iter().filter(|r| r.on.is_none() && r.address.provider == provider.name()).cloned().collect();
        if asked.is_empty() {
            continue;
        }
        let seen = provider.observe(doors, &asked, report).await?;
        for (resource, seen) in asked.iter().zip(seen) {
            if let Observed::Present { outputs: given, .. } = seen {
                for (name, value) in given {
                    outputs.insert(OutputKey { step: resource.step.clone(), name: name.to_owned() }, value);
                }
            }
        }
    }
    let mut hosts: Vec<HostAt> = Vec::new();
    for at in desired(&outputs)?.into_iter().filter_map(|resource| resource.on) {
        if at.unknown().is_none() && !hosts.iter().any(|known| known.step == at.step) {
            hosts.push(at);
        }
    }
    Ok(hosts)
}
