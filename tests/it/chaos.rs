use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use landfall::engine::Goal;
use landfall::model::event::What;
use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::databases::Databases;
use landfall::rehearsal::faults::{Moment, Rule, Watch};

use crate::binary::landfall;
use crate::world::{Went, World, ground, skipped, told};

/// The clouds of `playbooks/solo-full.toml`, and hosts that are modelled.
const APIS: &[&str] = &["hetzner", "cloudflare", "supabase", "host"];

/// All of it, or the cut that `make test` has time for?
pub(crate) fn all_of_it() -> bool {
    std::env::var_os("LANDFALL_CHAOS").is_some()
}

pub(crate) fn playbooks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks")
}

/// A world in which `solo-full` can be applied, and its text with this world's key; `None` where there is no PostgreSQL.
pub(crate) async fn solo_full(databases: &Arc<Databases>) -> (World, String) {
    let ground = Ground {
        domains: vec!["acme.dev".into()],
        organizations: vec!["acme".into()],
        databases: Some(databases.clone()),
        ..ground()
    };
    let world = World::of(APIS, ground).await;
    for name in ["backups-access-key", "backups-secret-key"] {
        world.secrets.0.lock().unwrap().insert(name.into(), format!("made-up-{name}"));
    }
    let text = std::fs::read_to_string(playbooks().join("solo-full.toml")).unwrap();
    let text = text.replace("keys     = [", &format!("keys     = [\"{}\", ", world.public_key()));
    (world, text)
}

pub(crate) async fn databases() -> Option<Arc<Databases>> {
    match Databases::find(vec![]).await {
        Ok(databases) => Some(Arc::new(databases)),
        Err(why) => {
            assert!(std::env::var_os("LANDFALL_HOST_TESTS").is_none(), "{why}");
            skipped(&format!("there is no PostgreSQL for simulated databases: {why}"));
            None
        }
    }
}

/// What a run of good weather leaves behind, and what it costs: the measure of every other one.
pub(crate) struct Measure {
    holds: Vec<String>,
    on_hosts: Vec<String>,
    secrets: Vec<String>,
    bill: Vec<String>,
    changes: usize,
}

fn bill_of(went: &Went) -> Vec<String> {
    went.outcome.bill.iter().map(|line| format!("{line:?}")).collect()
}

/// Everything in the clouds by kind and name. Identifiers that are made up anew each time are left out.
fn holdings(world: &World) -> (Vec<String>, Vec<String>) {
    // The key of a world is its own.
    let own = |held: &String| !held.contains("ssh-key") && !held.contains("ssh_key");
    let mut on_hosts = world.clouds.hosts.as_ref().map(|hosts| hosts.everything()).unwrap_or_default();
    on_hosts.retain(|address| !address.contains("authorized-key"));
    on_hosts.sort();
    (world.clouds.holds().into_iter().filter(own).collect(), on_hosts)
}

impl Measure {
    pub(crate) async fn take(databases: &Arc<Databases>) -> Measure {
        let (world, text) = solo_full(databases).await;
        let went = world.go_in(&playbooks(), &text, Goal::Apply).await;
        assert_eq!(went.outcome.code, 0, "in good weather: {}", went.failure());
        let again = world.go_in(&playbooks(), &text, Goal::Apply).await;
        assert_eq!(
            again.plan(),
            Vec::<String>::new(),
            "in good weather: {:?}",
            again.events.iter().find(|e| matches!(e.event, What::Planned { .. })).map(|e| serde_json::to_string(e)
                .unwrap()
                .split("supabase/network")
                .nth(1)
                .map(|t| t.chars().take(500).collect::<String>()))
        );
        let buckets = crate::openapi::judge(&world, "cloudflare");
        assert!(buckets.is_empty() || buckets.iter().any(|operation| operation.contains("r2/buckets")), "{buckets:?}");
        let (holds, on_hosts) = holdings(&world);
        let secrets = world.secrets.0.lock().unwrap().keys().cloned().collect();
        Measure { holds, on_hosts, secrets, bill: bill_of(&went), changes: went.outcome.changes }
    }

    /// What is there more than once or too much, what is missing, and whether the bill is another one.
    pub(crate) fn differences(&self, world: &World, last: &Went) -> Vec<String> {
        let (holds, on_hosts) = holdings(world);
        let mut wrong = Vec::new();
        for (wanted, found) in [(&self.holds, &holds), (&self.on_hosts, &on_hosts)] {
            let count = |list: &[String], item: &String| list.iter().filter(|other| *other == item).count();
            for item in wanted.iter().chain(found) {
                let (wanted, found) = (count(wanted, item), count(found, item));
                if wanted != found && !wrong.contains(&format!("{item}: {found} instead of {wanted}")) {
                    wrong.push(format!("{item}: {found} instead of {wanted}"));
                }
            }
        }
        let secrets: Vec<String> = world.secrets.0.lock().unwrap().keys().cloned().collect();
        if secrets != self.secrets {
            wrong.push(format!("secrets: {secrets:?} instead of {:?}", self.secrets));
        }
        let orphans = last.events.iter().find_map(|event| match &event.event {
            What::Planned { orphans, .. } => Some(orphans.clone()),
            _ => None,
        });
        let orphans = orphans.unwrap_or_default();
        if !orphans.is_empty() {
            wrong.push(format!("orphans: {orphans:?}"));
        }
        if bill_of(last) != self.bill {
            wrong.push(format!("the bill: {:?}", bill_of(last)));
        }
        wrong
    }
}

/// What came of the runs at one rate.
#[derive(Default)]
struct Row {
    runs: usize,
    converged: usize,
    stopped: usize,
    met: usize,
    retries: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_day_ends_well_or_with_a_word() {
    let Some(databases) = databases().await else { return };
    let measure = Arc::new(Measure::take(&databases).await);
    let seeds: u64 = std::env::var("LANDFALL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(9);
    let rows: Arc<Mutex<BTreeMap<u32, Row>>> = Arc::default();
    let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
    let turn = Arc::new(tokio::sync::Semaphore::new(3));
    let mut running = tokio::task::JoinSet::new();
    for seed in 1..=seeds {
        let rate = [1_u32, 10, 30][usize::try_from(seed % 3).unwrap()];
        let (databases, measure, rows, wrong, turn) =
            (databases.clone(), measure.clone(), rows.clone(), wrong.clone(), turn.clone());
        running.spawn(async move {
            let _turn = turn.acquire().await.unwrap();
            let (world, text) = solo_full(&databases).await;
            let weather = |rules: fn(u32) -> Vec<Rule>| {
                APIS.iter().for_each(|api| world.served(api).faults.rule(rules(rate), seed));
            };
            weather(|rate| vec![Rule::mixed(f64::from(rate))]);
            let stormy = world.go_in(&playbooks(), &text, Goal::Apply).await;
            let met: usize = APIS.iter().map(|api| world.served(api).faults.met()).sum();
            weather(|_| vec![]);
            let mut problems = word_of(&stormy);
            let calm = world.go_in(&playbooks(), &text, Goal::Apply).await;
            if calm.outcome.code != 0 {
                problems.push(format!("the next run ended with {}: {}", calm.outcome.code, calm.failure()));
            }
            let last = world.go_in(&playbooks(), &text, Goal::Apply).await;
            if !last.plan().is_empty() {
                problems.push(format!("the third run has {:?}", last.plan()));
            }
            problems.extend(measure.differences(&world, &last));
            let mut rows = rows.lock().unwrap();
            let row = rows.entry(rate).or_default();
            row.runs += 1;
            row.met += met;
            row.retries += stormy.retries();
            *if stormy.outcome.code == 0 { &mut row.converged } else { &mut row.stopped } += 1;
            let say = |problem: String| format!("seed {seed} at {rate} %: {problem}");
            wrong.lock().unwrap().extend(problems.into_iter().map(say));
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    let wrong = wrong.lock().unwrap();
    told("| faults | runs | converged | stopped with a word | faults met | retries | duplicates, orphans, lost |");
    told("|---|---|---|---|---|---|---|");
    for (rate, row) in rows.lock().unwrap().iter() {
        told(&format!(
            "| {rate} % | {} | {} | {} | {} | {} | {} |",
            row.runs,
            row.converged,
            row.stopped,
            row.met,
            row.retries,
            wrong.iter().filter(|problem| problem.contains(&format!("at {rate} %"))).count()
        ));
    }
    assert!(wrong.is_empty(), "{} of {seeds} seeds:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_connection_breaks_again_and_again_is_finished_as_long_as_it_comes_further() {
    let Some(databases) = databases().await else { return };
    let (world, text) = solo_full(&databases).await;
    world.served("host").faults.rule(vec!["cut-after-effect:15%".parse().unwrap()], 1);
    let went = world.go_in(&playbooks(), &text, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let met = world.served("host").faults.met();
    assert!(met > 10, "it broke more often than nothing could come further: {met}");
}

/// A run that did not end well must say what went wrong, what exists and what to do. Gives what it does not say.
pub(crate) fn word_of(went: &Went) -> Vec<String> {
    if went.outcome.code == 0 {
        return vec![];
    }
    let Some(What::RunFinished { failure: Some(failure), .. }) = went.events.last().map(|event| &event.event) else {
        return vec!["it ended without a word".into()];
    };
    let mut missing = Vec::new();
    if failure.hint.as_deref().unwrap_or_default().is_empty() {
        missing.push(format!("no hint what to do: {} {:?}", failure.message, failure.causes));
    }
    let made = went
        .events
        .iter()
        .any(|event| matches!(&event.event, What::ChangeDone { address, .. } if address.starts_with("hetzner/server")));
    if made && !went.exists().iter().any(|address| address.starts_with("hetzner/server")) {
        missing.push(format!("the server is there, and not among what exists: {:?}", went.exists()));
    }
    missing
}

/// One run of the program that is killed at one moment, if it lives that long.
struct Victim {
    child: Mutex<Option<Child>>,
    moments: AtomicUsize,
    killed_at: Mutex<Option<String>>,
}

/// The program, told of this world, about to `apply`.
pub(crate) fn program(world: &World, folder: &Path) -> std::process::Command {
    program_to("apply", world, folder)
}

/// The program, told of this world, about to do what `verb` says.
pub(crate) fn program_to(verb: &str, world: &World, folder: &Path) -> std::process::Command {
    let mut command = landfall(folder);
    command.args([verb, "solo-full.toml", "--yes", "--json"]);
    for (api, url) in world.clouds.endpoints() {
        command.env(format!("LANDFALL_{}_URL", api.to_uppercase()), url);
    }
    for (api, token) in world.clouds.tokens() {
        command.env(format!("LANDFALL_SECRET_{}_TOKEN", api.to_uppercase()), token);
    }
    command.env("LANDFALL_SECRET_BACKUPS_ACCESS_KEY", "made-up").env("LANDFALL_SECRET_BACKUPS_SECRET_KEY", "made-up");
    command.env("LANDFALL_SSH_KEY", world.folder.path().join("key")).env("LANDFALL_PASSPHRASE", "correct horse");
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// How a run of the program ended: its exit code, how many changes its plan held, and its events.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) planned: usize,
    orphans: Vec<String>,
    bill: String,
    pub(crate) text: String,
}

pub(crate) fn read(output: &std::process::Output) -> Ran {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let events: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let plan = events.iter().map(|event| &event["event"]).find(|event| event["type"] == "planned");
    let changes = plan.map(|plan| plan["changes"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
    let planned = changes.iter().filter(|change| change["verb"] != "keep").count();
    let orphans = plan.map(|plan| plan["orphans"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
    let orphans = orphans.iter().map(ToString::to_string).collect();
    let bill = plan.map(|plan| plan["bill"].to_string()).unwrap_or_default();
    Ran { code: output.status.code(), planned, orphans, bill, text }
}

/// Runs the program against `world`, and kills it at the `nth` moment of a request; 0 lets it live. Gives how it ended,
/// the moments counted, and where it was killed.
pub(crate) async fn run(world: &World, folder: &Path, nth: usize) -> (Ran, usize, Option<String>) {
    let victim =
        Arc::new(Victim { child: Mutex::new(None), moments: AtomicUsize::new(0), killed_at: Mutex::default() });
    let watching = victim.clone();
    let watch: Watch = Arc::new(move |api, method, path, moment| {
        if watching.killed_at.lock().unwrap().is_some() {
            return true;
        }
        if watching.moments.fetch_add(1, Ordering::SeqCst) + 1 != nth {
            return false;
        }
        let when = if moment == Moment::Before { "before" } else { "after" };
        *watching.killed_at.lock().unwrap() = Some(format!("{when} {api} {method} {path}"));
        if let Some(child) = watching.child.lock().unwrap().as_mut() {
            child.kill().expect("SIGKILL");
        }
        true
    });
    APIS.iter().for_each(|api| world.served(api).faults.watch(Some(watch.clone())));
    let mut child = program(world, folder).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    *victim.child.lock().unwrap() = Some(child);
    let holder = victim.clone();
    let output = tokio::task::spawn_blocking(move || {
        let mut stdout = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut stdout).unwrap();
        let mut child = holder.child.lock().unwrap().take().unwrap();
        std::process::Output { status: child.wait().unwrap(), stdout, stderr: vec![] }
    });
    let output = output.await.unwrap();
    APIS.iter().for_each(|api| world.served(api).faults.watch(None));
    let killed_at = victim.killed_at.lock().unwrap().clone();
    (read(&output), victim.moments.load(Ordering::SeqCst), killed_at)
}

/// A laptop with the playbook, what it names, and a vault file.
pub(crate) fn laptop(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("solo-full.toml"), text).unwrap();
    let migrations = folder.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    for entry in std::fs::read_dir(playbooks().join("migrations")).unwrap().flatten() {
        std::fs::copy(entry.path(), migrations.join(entry.file_name())).unwrap();
    }
    let mut make = landfall(folder.path());
    make.args(["secrets", "set", "solo-full.toml", "unused", "--file"]).env("LANDFALL_PASSPHRASE", "correct horse");
    let mut make = make.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut make.stdin.take().unwrap(), b"value\n").unwrap();
    assert!(make.wait().unwrap().success());
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_a_world_from_which_the_same_command_converges() {
    let Some(databases) = databases().await else { return };
    let measure = Arc::new(Measure::take(&databases).await);
    let (world, text) = solo_full(&databases).await;
    let folder = laptop(&text);
    let (whole, moments, _) = run(&world, folder.path(), 0).await;
    assert_eq!(whole.code, Some(0), "{}", whole.text);
    told(&format!("kill sweep: a whole run has {moments} moments: before and after each of {} calls", moments / 2));
    assert!(moments >= 200, "there are at least two hundred");
    let step = if all_of_it() { 1 } else { moments / 12 };
    let turn = Arc::new(tokio::sync::Semaphore::new(3));
    let bill = Arc::new(whole.bill);
    let mut running = tokio::task::JoinSet::new();
    for nth in (1..=moments).step_by(step) {
        let (databases, measure, turn, bill) = (databases.clone(), measure.clone(), turn.clone(), bill.clone());
        running.spawn(async move {
            let _turn = turn.acquire().await.unwrap();
            let (world, text) = solo_full(&databases).await;
            let folder = laptop(&text);
            let (_, _, killed_at) = run(&world, folder.path(), nth).await;
            let mut wrong = Vec::new();
            let (again, ..) = run(&world, folder.path(), 0).await;
            if again.code != Some(0) {
                wrong.push(format!("the same command ended with {:?}: {}", again.code, last_line(&again.text)));
            }
            let (third, ..) = run(&world, folder.path(), 0).await;
            if third.planned != 0 || third.code != Some(0) {
                wrong.push(format!("the third run has {} changes, exit {:?}", third.planned, third.code));
            }
            if !third.orphans.is_empty() {
                wrong.push(format!("orphans: {:?}", third.orphans));
            }
            if third.bill != *bill {
                wrong.push(format!("the bill: {}", third.bill));
            }
            wrong.extend(secrets_lost(&folder));
            let (holds, on_hosts) = holdings(&world);
            if (&holds, &on_hosts) != (&measure.holds, &measure.on_hosts) {
                wrong.push(format!("what is there: {:?}", differing(&measure, &holds, &on_hosts)));
            }
            let at = killed_at.unwrap_or_else(|| "never: the run was over".to_owned());
            if all_of_it() {
                told(&format!("kill {nth}: {at}: {}", if wrong.is_empty() { "converged" } else { "WRONG" }));
            }
            wrong.into_iter().map(|wrong| format!("killed at {nth}, {at}: {wrong}")).collect::<Vec<_>>()
        });
    }
    let (mut points, mut wrong) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        points += 1;
        wrong.extend(ended.unwrap());
    }
    told(&format!(
        "kill sweep: {points} kills of {moments}, each converged to {} changes, third run 0: {} wrong",
        measure.changes,
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

fn differing(measure: &Measure, holds: &[String], on_hosts: &[String]) -> Vec<String> {
    let less = |a: &[String], b: &[String], word: &str| -> Vec<String> {
        a.iter().filter(|item| !b.contains(item)).map(|item| format!("{word} {item}")).collect()
    };
    let mut all = less(holds, &measure.holds, "more:");
    all.extend(less(&measure.holds, holds, "less:"));
    all.extend(less(on_hosts, &measure.on_hosts, "more:"));
    all.extend(less(&measure.on_hosts, on_hosts, "less:"));
    all
}

/// Every secret that was made must be in the vault file, and nothing half-written beside it.
fn secrets_lost(folder: &tempfile::TempDir) -> Vec<String> {
    let mut list = landfall(folder.path());
    list.args(["secrets", "list", "solo-full.toml"]).env("LANDFALL_PASSPHRASE", "correct horse");
    let output = list.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut wrong = Vec::new();
    for name in ["backups-password", "database-password", "database-anon-key", "database-service-key"] {
        if !text.lines().any(|line| line.starts_with(&format!("{name} ")) && line.contains("vault file")) {
            wrong.push(format!("the secret {name} is lost: {text}"));
        }
    }
    let text = std::fs::read_to_string(folder.path().join("solo-full.toml")).unwrap();
    if !text.contains("provider = \"cloudflare\"") {
        wrong.push("the playbook is cut short".to_owned());
    }
    wrong
}
