//! A look at 60 resources of a real host that are all as wanted, beside a bare `ssh host true`, in turns.
//! Each look is a new connection: handshake, login, one exec. Prints medians and their ratio.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot run says so and ends")]
#![expect(clippy::disallowed_types, reason = "it starts the OpenSSH client it is compared with")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall::cli::load::vault;
use landfall::cupboard::lockline::LockLine;
use landfall::doors::Doors;
use landfall::doors::http::{Http, Pace};
use landfall::doors::ssh::{Patience, Ssh};
use landfall::model::diff::{ReadyChange, diff};
use landfall::model::event::Report;
use landfall::model::machine::{AuthorizedKey, Directory, File, HostAt, Package, Service, TakeUp, User};
use landfall::model::name::Name;
use landfall::model::resource::{Address, Resource, Spec};
use landfall::model::secret::Keys;
use landfall::model::system::System;
use landfall::providers;
use landfall::rehearsal::machines::{Arrival, Birth, LocalHosts, Machines};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};

#[path = "host_pass/peers.rs"]
mod peers;
#[path = "host_pass/relay.rs"]
mod relay;

const ROUNDS: usize = 21;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(bench());
}

async fn bench() {
    let engine = LocalHosts::engine().await.unwrap();
    if !LocalHosts::has_base_image(&engine, System::default()).await {
        LocalHosts::build_base_image(&engine, System::default()).await.unwrap();
    }
    let machines = LocalHosts::open(engine, vec![]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = boot(&machines, folder.path()).await;
    let want = resources(&at);
    let provider = providers::find("host").unwrap();
    let report = Report::silent();

    let first = doors(folder.path());
    let seen = provider.observe(&first, &want, &report).await.unwrap();
    let changes: Vec<ReadyChange> = want
        .iter()
        .zip(&seen)
        .map(|(w, s)| diff(w, s))
        .filter(|c| !c.is_keep())
        .map(|c| ReadyChange::new(c).unwrap())
        .collect();
    provider.apply(&first, &changes, &report).await.unwrap();

    println!("no-op pass over {} resources, medians of {ROUNDS}; aim: at most 1.5 times the bare client", want.len());
    let ours = compare("no delay", folder.path(), &at, &want).await;
    // Half of it on the way there, half on the way back, in a relay of our own: not every kernel can delay packets.
    let far = relay::start(&at, Duration::from_millis(25));
    let far_at = HostAt { address: "127.0.0.1".into(), port: far, ..at.clone() };
    let far_want: Vec<Resource> = want.iter().map(|r| Resource { on: Some(far_at.clone()), ..r.clone() }).collect();
    compare("50 ms of delay", folder.path(), &far_at, &far_want).await;
    peers::compare(folder.path(), &at, &want, ours);
    machines.close().await;
}

/// Ours and the bare client in turns; prints and gives our median.
async fn compare(what: &str, folder: &Path, at: &HostAt, want: &[Resource]) -> Duration {
    let provider = providers::find("host").unwrap();
    let report = Report::silent();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let doors = doors(folder);
        let seen = provider.observe(&doors, want, &report).await.unwrap();
        assert!(want.iter().zip(&seen).all(|(want, seen)| diff(want, seen).is_keep()), "nothing is to be done");
        ours.push(begun.elapsed());
        bare.push(openssh(folder, at));
    }
    let (ours, bare) = (median(ours), median(bare));
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    println!("{what:<15} landfall {ours:>8.1?}   ssh host true {bare:>8.1?}   ratio {ratio:.2}");
    ours
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn boot(machines: &LocalHosts, folder: &Path) -> HostAt {
    let key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
    key.write_openssh_file(&folder.join("key"), LineEnding::LF).unwrap();
    let host_key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
    let public_key = key.public_key().to_openssh().unwrap();
    let arrival = Arrival {
        user: "deploy".into(),
        public_key: public_key.clone(),
        host_key: host_key.to_openssh(LineEnding::LF).unwrap().to_string(),
        host_public_key: host_key.public_key().to_openssh().unwrap(),
    };
    let address = machines.address(10);
    let public = host_key.public_key().to_openssh().unwrap();
    // Once as it is, and once as the relay shows it, whatever its port.
    let known = format!("{address} {public}\n[127.0.0.1]:* {public}\n");
    std::fs::write(folder.join("known_hosts"), known).unwrap();
    let birth = Birth {
        id: 1,
        address: address.clone(),
        host_name: "bench".into(),
        image: "debian-13".into(),
        user_data: arrival.user_data(),
        root_keys: vec![],
    };
    machines.bear(birth).await.unwrap();
    let step = Name::parse("web").unwrap();
    let host_key = host_key.fingerprint(HashAlg::Sha256).to_string().into();
    HostAt {
        step,
        address: address.into(),
        port: 22,
        user: "deploy".into(),
        host_key,
        system: System::default(),
        made_by_us: true,
        keys: vec![public_key],
    }
}

fn doors(folder: &Path) -> Doors {
    let playbook = folder.join("playbook.toml");
    let keys: Arc<dyn Keys> = Arc::new(vault(&Name::parse("bench").unwrap(), &playbook));
    let patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
    Doors {
        http: Http::new(BTreeMap::new(), keys.clone(), Pace::default()),
        ssh: Ssh::new(keys.clone(), Some(folder.join("key")), None, patience),
        keys,
        references: Arc::new(LockLine::of(&playbook, "")),
    }
}

/// The OpenSSH client doing nothing, with the same key, without its own configuration.
fn openssh(folder: &Path, at: &HostAt) -> Duration {
    let known: PathBuf = folder.join("known_hosts");
    let begun = Instant::now();
    let status = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .arg("-p")
        .arg(at.port.to_string())
        .arg("-i")
        .arg(folder.join("key"))
        .arg(format!("{}@{}", at.user, at.address))
        .arg("true")
        .status()
        .unwrap();
    assert!(status.success());
    begun.elapsed()
}

/// Sixty things of seven kinds, as a server has them.
fn resources(at: &HostAt) -> Vec<Resource> {
    let root = || ("root".to_owned(), "root".to_owned());
    let mut specs: Vec<(&'static str, String, Spec)> = Vec::new();
    for number in 0..24 {
        let path = format!("/etc/bench/file-{number}.conf");
        let content = format!("# file {number}\nkey = {number}\n").repeat(20);
        let spec = File {
            path: path.clone(),
            content: content.into(),
            owner: root(),
            mode: 0o644,
            check: None,
            hidden: false,
        };
        specs.push(("file", path, Spec::File(spec)));
    }
    for number in 0..10 {
        let path = format!("/srv/bench/{number}");
        specs.push((
            "directory",
            path.clone(),
            Spec::Directory(Directory { path, owner: root(), mode: 0o755, tree: None }),
        ));
    }
    for name in [
        "bash",
        "coreutils",
        "curl",
        "dbus",
        "openssh-server",
        "sudo",
        "systemd",
        "tar",
        "util-linux",
        "cloud-init",
        "iproute2",
        "dash",
    ] {
        specs.push(("package", name.into(), Spec::Package(Package { name: name.into(), instead: &[] })));
    }
    for unit in ["ssh.service", "dbus.service", "systemd-journald.service", "systemd-logind.service"] {
        let reads = vec!["/etc/bench/file-0.conf".to_owned()];
        specs.push((
            "service",
            unit.into(),
            Spec::Service(Service {
                unit: unit.into(),
                reads,
                take_up: TakeUp::Restart,
                unit_files: vec![],
                works: None,
                own_kernel: false,
            }),
        ));
    }
    for number in 0..5 {
        let name = format!("bench{number}");
        specs.push((
            "user",
            name.clone(),
            Spec::User(User { name: name.clone(), shell: Some("/bin/sh".into()), groups: vec!["users".into()] }),
        ));
        let key = at.keys[0].clone();
        specs.push(("authorized-key", format!("{name}/1"), Spec::AuthorizedKey(AuthorizedKey { user: name, key })));
    }
    // Logging in restarts nothing that matters here: services come last and only once.
    specs
        .into_iter()
        .map(|(kind, name, spec)| Resource {
            address: Address { provider: "host", place: Some(at.step.clone()), kind, name },
            owner: Name::parse("bench").unwrap(),
            step: at.step.clone(),
            on: Some(at.clone()),
            spec,
            gives: vec![],
            gone: false,
            adopt: false,
        })
        .collect()
}
