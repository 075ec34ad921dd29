//! What must hold of a host before anything is changed on it, and what is said where it does not.

use std::collections::BTreeMap;

use crate::doors::Doors;
use crate::model::diff::{ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::machine::{HostAt, Service};
use crate::model::resource::{Resource, Spec};
use crate::model::system::System;
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::sysctl_path;

/// Could we still speak with sshd after these changes? Asked before anything is demanded of it.
pub(super) fn check_demands(changes: &[ReadyChange], doors: &Doors) -> Result<(), Failure> {
    let demands = changes.iter().filter(|change| change.verb != Verb::Delete).filter_map(|c| match &c.resource.spec {
        Spec::Sshd(sshd) => Some((&c.resource.address, sshd)),
        _ => None,
    });
    for (address, sshd) in demands {
        for keyword in ["KexAlgorithms", "Ciphers", "MACs", "HostKeyAlgorithms"] {
            let offered = sshd.list(keyword);
            if !offered.is_empty() && !doors.ssh.speaks(keyword, &offered) {
                return Err(Failure::new(
                    Kind::Human,
                    format!("{address} would leave no {keyword} that this build of Landfall speaks"),
                )
                .because(format!("on offer would be {}", offered.join(", ")))
                .hint("use `profile = \"baseline\"`, or a build with a newer SSH library; nothing was changed on the host"));
            }
        }
    }
    Ok(())
}

/// Does the host run what the playbook says? Names of packages and settings depend on it.
pub(super) fn check_system(facts: &Facts, at: &HostAt) -> Result<(), Failure> {
    let [id, version, pretty] = &facts.system;
    match System::of_release(id, version) {
        Some(system) if system == at.system => Ok(()),
        Some(system) => Err(Failure::new(
            Kind::Human,
            format!("the host {} runs {pretty}, not {} as the playbook says", at.address, at.system.as_str()),
        )
        .hint(format!("set `image = \"{}\"` in the step `{}`; nothing was changed", system.as_str(), at.step))),
        None => {
            let known: Vec<&str> = System::ALL.iter().map(|system| system.as_str()).collect();
            let what = if pretty.is_empty() { "something that has no name" } else { pretty };
            Err(Failure::new(Kind::Human, format!("the host {} runs {what}, which Landfall does not know", at.address))
                .hint(format!("it sets up {}; nothing was changed", known.join(", "))))
        }
    }
}

/// Says which settings of the kernel are written down but not in force, because the kernel is not the host's.
pub(super) fn note_foreign_kernel(facts: &Facts, want: &[Resource], report: &Report) {
    let wanted: BTreeMap<&String, &String> = want
        .iter()
        .filter(|resource| !resource.gone)
        .filter_map(|resource| match &resource.spec {
            Spec::Sysctl(sysctl) => Some(&sysctl.settings),
            _ => None,
        })
        .flatten()
        .collect();
    let elses = |(key, value): &(&&String, &&String)| {
        facts.sysctls.get(&sysctl_path(key)).is_some_and(|knob| !knob.ours && knob.value != ***value)
    };
    let keys: Vec<&str> = wanted.iter().filter(elses).map(|(key, _)| key.as_str()).collect();
    if let Some(first) = keys.first() {
        let more = match keys.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        report.tell(Progress::Note(format!(
            "the host shares its kernel with another machine: {first}{more} cannot be set from it, only written down"
        )));
    }
    for resource in want.iter().filter(|resource| !resource.gone) {
        if let Spec::Service(Service { unit, own_kernel: true, .. }) = &resource.spec
            && facts.in_container
        {
            report.tell(Progress::Note(format!("{unit} rests: the kernel it works on is another machine's")));
        }
    }
}

/// cloud-init's own word on the first boot. Fails when a stage of it failed on a host that was `made_by_us`;
/// elsewhere that is only worth a note.
pub(super) fn check_first_boot(result: &str, made_by_us: bool, report: &Report) -> Result<(), Failure> {
    let Ok(result) = serde_json::from_str::<serde_json::Value>(result) else { return Ok(()) };
    let errors: Vec<&str> =
        result["v1"]["errors"].as_array().into_iter().flatten().filter_map(|e| e.as_str()).collect();
    if errors.is_empty() {
        return Ok(());
    }
    if !made_by_us {
        report.tell(Progress::Note(format!("cloud-init on the host has something to say: {}", errors.join("; "))));
        return Ok(());
    }
    Err(Failure::new(Kind::Failed, "the first boot of the host went wrong")
        .because(errors.join("\n"))
        .hint("look at /var/log/cloud-init.log on the host, or destroy it and apply again"))
}
