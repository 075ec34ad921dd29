//! Is a playbook one that can be carried out? Everything that can be known before the world is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::model::name::Name;
use crate::model::playbook::Playbook;
use crate::model::problem::Problem;
use crate::steps::{Needs, STEPS, find};

/// Checks steps, answers and what they refer to. Gives what each step needs, by its name, or every problem.
pub fn check(playbook: &Playbook) -> Result<BTreeMap<Name, Needs>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut all = BTreeMap::new();
    for entry in &playbook.steps {
        let Some(step) = find(&entry.kind) else {
            let kinds: Vec<&str> = STEPS.iter().map(|step| step.kind()).collect();
            problems.push(
                Problem::new(entry.kind_at.clone(), format!("unknown step `{}`", entry.kind))
                    .expected(format!("one of `{}`", kinds.join("`, `")))
                    .did_you_mean(&entry.kind, kinds),
            );
            continue;
        };
        match step.needs(entry) {
            Ok(needs) => {
                all.insert(entry.id.clone(), needs);
            }
            Err(problem) => problems.push(problem),
        }
    }
    for needs in all.values() {
        problems.extend(check_references(playbook, &all, needs));
    }
    if problems.is_empty() {
        problems.extend(check_order(playbook, &all));
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// Do the steps and outputs named exist?
fn check_references(playbook: &Playbook, all: &BTreeMap<Name, Needs>, needs: &Needs) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some((server, at)) = &needs.on {
        match playbook.step(server.as_str()) {
            Some(entry) if entry.kind == "server" => {}
            Some(entry) => problems.push(
                Problem::new(at.clone(), format!("`{server}` is a step `{}`, not a server", entry.kind))
                    .expected("the name of a step with `use = \"server\"`"),
            ),
            None => {
                let servers: Vec<&str> =
                    playbook.steps.iter().filter(|e| e.kind == "server").map(|e| e.id.as_str()).collect();
                problems.push(
                    Problem::new(at.clone(), format!("there is no step called `{server}`"))
                        .expected(name_list("a server", &servers))
                        .did_you_mean(server.as_str(), servers),
                );
            }
        }
    }
    for (key, at) in &needs.outputs {
        let Some(entry) = playbook.step(key.step.as_str()) else {
            let ids: Vec<&str> = playbook.steps.iter().map(|e| e.id.as_str()).collect();
            problems.push(
                Problem::new(at.clone(), format!("output `{key}` is missing: there is no step called `{}`", key.step))
                    .expected(name_list("a step", &ids))
                    .did_you_mean(key.step.as_str(), ids),
            );
            continue;
        };
        // What a step gives that could not be read is not known: it has a problem of its own.
        if !all.contains_key(&entry.id) {
            continue;
        }
        let outputs = find(&entry.kind).map(|step| step.outputs(entry)).unwrap_or_default();
        if !outputs.contains(&key.name.as_str()) {
            problems.push(
                Problem::new(at.clone(), format!("output `{key}` is missing: `{}` does not give it", key.step))
                    .expected(name_list("an output", &outputs))
                    .did_you_mean(&key.name, outputs.iter().copied()),
            );
        }
    }
    problems
}

fn name_list(what: &str, names: &[&str]) -> String {
    match names {
        [] => format!("{what}, but there is none"),
        [one] => format!("`{one}`"),
        many => format!("one of `{}`", many.join("`, `")),
    }
}

/// Can every step get its turn? Steps on one host run in file order; outputs must come first.
fn check_order(playbook: &Playbook, all: &BTreeMap<Name, Needs>) -> Option<Problem> {
    let mut waits: BTreeMap<&Name, Vec<(&Name, Range<usize>)>> = BTreeMap::new();
    let mut last_on_host: BTreeMap<&Name, &Name> = BTreeMap::new();
    for entry in &playbook.steps {
        let needs = all.get(&entry.id)?;
        let edges = waits.entry(&entry.id).or_default();
        for (key, at) in &needs.outputs {
            edges.push((&key.step, at.clone()));
        }
        if let Some((server, at)) = &needs.on {
            edges.push((server, at.clone()));
            if let Some(before) = last_on_host.insert(server, &entry.id) {
                edges.push((before, entry.at.clone()));
            }
        }
    }
    let mut done = BTreeSet::new();
    for entry in &playbook.steps {
        if let Some((path, at)) = find_cycle(&entry.id, &waits, &mut done, &mut Vec::new()) {
            let names: Vec<String> = path.iter().map(|name| format!("`{name}`")).collect();
            return Some(
                Problem::new(at, format!("these steps wait for each other: {}", names.join(" waits for ")))
                    .expected("an order in which every step can begin")
                    .hint("steps on one host run in the order of the file: move the step that gives the output up, or drop the output"),
            );
        }
    }
    None
}

/// The first cycle reached from `id`: its steps, the first one again at the end, and where it is closed.
fn find_cycle<'a>(
    id: &'a Name,
    waits: &BTreeMap<&'a Name, Vec<(&'a Name, Range<usize>)>>,
    done: &mut BTreeSet<&'a Name>,
    path: &mut Vec<&'a Name>,
) -> Option<(Vec<&'a Name>, Range<usize>)> {
    if done.contains(id) {
        return None;
    }
    path.push(id);
    for (next, at) in waits.get(id).into_iter().flatten() {
        if let Some(start) = path.iter().position(|seen| seen == next) {
            let mut cycle = path[start..].to_vec();
            cycle.push(next);
            return Some((cycle, at.clone()));
        }
        if let Some(found) = find_cycle(next, waits, done, path) {
            return Some(found);
        }
    }
    path.pop();
    done.insert(id);
    None
}
