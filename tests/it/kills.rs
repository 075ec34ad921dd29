use std::io::BufRead as _;
use std::sync::Arc;

use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::databases::Databases;
use landfall::rehearsal::machines::{LocalHosts, Machines, StandIn};
use landfall::rehearsal::storage::Storage;

use crate::bare::{hosts_are_asked_for, open_hosts};
use crate::chaos::{all_of_it, laptop, playbooks, program_to, read};
use crate::world::{World, ground, told};

/// A world in which `solo-full` can be applied to a real local host, and its text.
pub(crate) struct Real {
    pub(crate) world: World,
    pub(crate) machines: Arc<LocalHosts>,
    storage: Storage,
    pub(crate) text: String,
}

impl Real {
    /// The program, told of this world and its storage, about to do what `verb` says.
    pub(crate) fn program_to(&self, verb: &str, folder: &std::path::Path) -> std::process::Command {
        let mut command = program_to(verb, &self.world, folder);
        for (name, value) in [("ACCESS", &self.storage.access_key), ("SECRET", &self.storage.secret_key)] {
            command.env(format!("LANDFALL_SECRET_BACKUPS_{name}_KEY"), value);
        }
        command
    }
}

pub(crate) async fn real() -> Real {
    let image = StandIn { image: "ghcr.io/acme/web:1.4.2".into(), port: 3000, health: "/healthz".into() };
    let machines = open_hosts(vec![image]).await;
    let storage = Storage::open(&machines.address(1)).await.expect("a storage");
    let databases = Databases::find(vec![machines.address(1)]).await.expect("PostgreSQL");
    let ground = Ground {
        machines: Some(machines.clone() as Arc<dyn Machines>),
        domains: vec!["acme.dev".into()],
        organizations: vec!["acme".into()],
        databases: Some(Arc::new(databases)),
        storage: Some(storage.folder().to_owned()),
        ..ground()
    };
    let world = World::of(&["hetzner", "cloudflare", "supabase"], ground).await;
    let text = std::fs::read_to_string(playbooks().join("solo-full.toml")).unwrap();
    let text = text.replace("keys     = [", &format!("keys     = [\"{}\", ", world.public_key()));
    let text = text.replace("region = \"weur\"", &format!("region = \"weur\"\nendpoint = \"{}\"", storage.url));
    Real { world, machines, storage, text }
}

/// Runs the program, and kills it with SIGKILL when it has told the `nth` beginning or end of a change on the host; 0 lets
/// it live. Gives what it told, how many such moments there were, and the last of them.
fn run(real: &Real, folder: &std::path::Path, nth: usize) -> (std::process::Output, usize, String) {
    let mut child = real.program_to("apply", folder).spawn().unwrap();
    let mut stdout = Vec::new();
    let (mut moments, mut last) = (0, String::new());
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let (kind, address) = (&event["event"]["type"], event["event"]["address"].as_str().unwrap_or_default());
        stdout.extend([line.as_bytes(), b"\n"].concat());
        if (*kind == "change-started" || *kind == "change-done") && address.starts_with("host/") {
            moments += 1;
            last = format!("{} {address}", kind.as_str().unwrap_or_default());
            if moments == nth {
                child.kill().expect("SIGKILL");
            }
        }
    }
    (std::process::Output { status: child.wait().unwrap(), stdout, stderr: vec![] }, moments, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_a_real_host_is_changed_leaves_one_from_which_the_same_command_converges() {
    if !hosts_are_asked_for() {
        return;
    }
    // Of a little more than two hundred moments: packages, guarded changes, the restore, the app, the proxy. At the 14th,
    // packages are being put in, and the host goes on with that.
    let points: Vec<usize> = if all_of_it() { (1..=20).map(|point| point * 11 - 8).collect() } else { vec![14] };
    let turn = Arc::new(tokio::sync::Semaphore::new(3));
    let mut running = tokio::task::JoinSet::new();
    for nth in points {
        let turn = turn.clone();
        running.spawn(async move {
            let _turn = turn.acquire().await.unwrap();
            kill_at(nth).await
        });
    }
    let (mut kills, mut wrong) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        kills += 1;
        wrong.extend(ended.unwrap());
    }
    told(&format!("kills on a real host: {kills}, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Kills one run at its `nth` moment on a host of its own. Gives everything that is wrong after the same command, twice.
async fn kill_at(nth: usize) -> Vec<String> {
    let real = real().await;
    let folder = laptop(&real.text);
    let (_, _, at) = tokio::task::block_in_place(|| run(&real, folder.path(), nth));
    let (again, ..) = tokio::task::block_in_place(|| run(&real, folder.path(), 0));
    let again = read(&again);
    let mut wrong = Vec::new();
    if again.code != Some(0) {
        wrong.push(format!("the same command ended with {:?}: {}", again.code, again.text));
    }
    let (third, ..) = tokio::task::block_in_place(|| run(&real, folder.path(), 0));
    let third = read(&third);
    if (third.code, third.planned) != (Some(0), 0) {
        wrong.push(format!("the third run has {} changes", third.planned));
    }
    let mut held = real.world.clouds.holds();
    let all = held.len();
    held.dedup();
    if held.len() != all {
        wrong.push(format!("something is there twice: {held:?}"));
    }
    let left = real.machines.close().await;
    if !left.is_empty() {
        wrong.push(format!("left over: {left:?}"));
    }
    told(&format!("kill on a real host, {nth}, {at}: {}", if wrong.is_empty() { "converged" } else { "WRONG" }));
    wrong.into_iter().map(|wrong| format!("killed at {nth}, {at}: {wrong}")).collect()
}
