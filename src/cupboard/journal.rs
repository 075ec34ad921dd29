//! The journal: what a run did, one event per line. History, never truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::cupboard::disk;
use crate::model::event::{Event, What, kind_of};
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;

/// An open journal of one run.
pub struct Journal {
    file: File,
    path: PathBuf,
    run: String,
}

impl Journal {
    /// Begins the journal of a new run of the playbook `name`. A run is named by the time it began; the
    /// playbook's lock makes sure that no two begin at once.
    pub fn begin(state: &Path, name: &Name) -> Result<Journal, Failure> {
        let folder = state.join(name.as_str()).join("runs");
        let trouble = |e: std::io::Error| {
            Failure::new(Kind::Failed, format!("cannot write the journal in {}", folder.display()))
                .because(e)
                .hint("set XDG_STATE_HOME to a folder you may write to; nothing was done")
        };
        disk::make_private_folder(&folder).and_then(|()| disk::note_format(state)).map_err(trouble)?;
        let run = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
        let path = folder.join(format!("{run}.jsonl"));
        let mut options = OpenOptions::new();
        let file = options.create_new(true).append(true).mode(0o600).open(&path).map_err(trouble)?;
        let mut order = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(order_file(state, name.as_str()))
            .map_err(trouble)?;
        order.write_all(format!("{run}\n").as_bytes()).map_err(trouble)?;
        Ok(Journal { file, path, run })
    }

    /// The run's name.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Appends `event`. What is intended is on the disk before this returns.
    pub fn write(&mut self, event: &Event) -> Result<(), Failure> {
        let trouble = |e: std::io::Error| {
            Failure::new(Kind::Failed, format!("cannot write the journal {}", self.path.display()))
                .because(e)
                .hint("make room on the disk, then run the same command again")
        };
        let mut line = serde_json::to_vec(event).map_err(|e| trouble(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(trouble)?;
        if matches!(event.event, What::Intended { .. } | What::RunFinished { .. }) {
            self.file.sync_data().map_err(trouble)?;
        }
        Ok(())
    }
}

/// An earlier run, as the journal tells it.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The run's name.
    pub run: String,
    /// The playbook's name.
    pub playbook: String,
    /// `apply` or `destroy`; empty when the journal broke off before it said so.
    pub command: String,
    /// How many changes were made.
    pub changes: usize,
    /// The exit code; `None` when the run was cut off.
    pub code: Option<u8>,
}

/// The order in which the runs of a playbook began, a name per line. Their names tell the time, and a clock may have been
/// wrong.
fn order_file(state: &Path, playbook: &str) -> PathBuf {
    state.join(playbook).join("order")
}

/// Earlier runs of every playbook under `state`, or of the one called `only`; those of one playbook oldest first. A journal
/// that was cut off in the middle of a line is read as far as it goes.
pub fn runs(state: &Path, only: Option<&str>) -> Vec<Run> {
    let mut all = Vec::new();
    for playbook in names_in(state) {
        if only.is_some_and(|only| only != playbook) {
            continue;
        }
        let folder = state.join(&playbook).join("runs");
        let order = fs::read_to_string(order_file(state, &playbook)).unwrap_or_default();
        let places: BTreeMap<&str, usize> = order.lines().enumerate().map(|(place, run)| (run, place)).collect();
        let mut files = names_in(&folder);
        // Runs from before there was an order began before it.
        files.sort_by_key(|file| file.strip_suffix(".jsonl").and_then(|run| places.get(run)).copied());
        for file in files {
            if let Some(run) = file.strip_suffix(".jsonl") {
                all.push(read(&folder.join(&file), run, &playbook));
            }
        }
    }
    all
}

/// The events of the run whose name begins with or contains `name`, with the playbook's name. Lines that were cut off are
/// passed over. Fails as `Usage` when there is none such, or several.
pub fn read_events(state: &Path, name: &str) -> Result<(String, Vec<Event>), Failure> {
    let all = runs(state, None);
    let exact: Vec<&Run> = all.iter().filter(|run| run.run == name).collect();
    let fitting = if exact.is_empty() { all.iter().filter(|run| run.run.contains(name)).collect() } else { exact };
    let run = match fitting.as_slice() {
        [run] => run,
        [] => {
            return Err(
                Failure::new(Kind::Usage, format!("there is no run `{name}`")).hint("`landfall runs` lists them")
            );
        }
        several => {
            let names: Vec<&str> = several.iter().take(5).map(|run| run.run.as_str()).collect();
            return Err(Failure::new(Kind::Usage, format!("several runs fit `{name}`"))
                .hint(format!("say which: {}", names.join(", "))));
        }
    };
    Ok((run.playbook.clone(), events_of(state, run)?))
}

/// The events of an earlier run; lines that were cut off are passed over.
fn events_of(state: &Path, run: &Run) -> Result<Vec<Event>, Failure> {
    let path = state.join(&run.playbook).join("runs").join(format!("{}.jsonl", run.run));
    let file = File::open(&path)
        .map_err(|e| Failure::new(Kind::Failed, format!("cannot read {}", path.display())).because(e))?;
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()).collect())
}

/// What the last run of the playbook `name` that had a plan left behind, if it was an `apply`: the run's name, and the
/// address of everything that was there, or that it made.
pub fn left_by_the_last_apply(state: &Path, name: &Name) -> Option<(String, BTreeSet<String>)> {
    let planned = |event: &Event| match &event.event {
        What::Planned { changes, .. } => Some(changes.clone()),
        _ => None,
    };
    for run in runs(state, Some(name.as_str())).into_iter().rev() {
        let events = events_of(state, &run).unwrap_or_default();
        let Some(plan) = events.iter().find_map(planned) else { continue };
        let is_begun = |event: &Event| matches!(event.event, What::Intended { .. });
        // A run that takes things away may have come further than its journal; one that was not approved has done nothing.
        if run.command != "apply" {
            if !events.iter().any(is_begun) {
                continue;
            }
            return None;
        }
        let is_there = |verb: &str| matches!(verb, "keep" | "update" | "replace" | "delete");
        let there = plan.iter().filter(|change| is_there(&change.verb)).map(|change| change.address.clone());
        let mut left: BTreeSet<String> = there.collect();
        for event in events {
            if let What::ChangeDone { address, .. } = event.event {
                match plan.iter().any(|change| change.address == address && change.verb == "delete") {
                    true => left.remove(&address),
                    false => left.insert(address),
                };
            }
        }
        return Some((run.run, left));
    }
    None
}

/// How many earlier runs tell what is usual.
const RECENT: usize = 10;

/// How long changes usually took in the latest runs, by [`kind_of`] their address: the median, in milliseconds.
pub fn usual_times(state: &Path) -> BTreeMap<String, u64> {
    let mut times: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for run in runs(state, None).iter().rev().take(RECENT) {
        for event in events_of(state, run).unwrap_or_default() {
            if let What::ChangeDone { address, took_ms } = event.event {
                times.entry(kind_of(&address)).or_default().push(took_ms);
            }
        }
    }
    let median = |mut all: Vec<u64>| {
        all.sort_unstable();
        all[all.len() / 2]
    };
    times.into_iter().map(|(kind, all)| (kind, median(all))).collect()
}

fn read(path: &Path, run: &str, playbook: &str) -> Run {
    let mut seen =
        Run { run: run.to_owned(), playbook: playbook.to_owned(), command: String::new(), changes: 0, code: None };
    let Ok(file) = File::open(path) else { return seen };
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        let event = &event["event"];
        match event["type"].as_str() {
            Some("run-started") => seen.command = event["command"].as_str().unwrap_or_default().to_owned(),
            Some("change-done") => seen.changes += 1,
            Some("run-finished") => seen.code = event["code"].as_u64().and_then(|code| u8::try_from(code).ok()),
            _ => {}
        }
    }
    seen
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
