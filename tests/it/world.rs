use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use landfall::cli::load::{Refused, check};
use landfall::doors::Doors;
use landfall::doors::http::{Http, Pace};
use landfall::doors::ssh::{Patience, Ssh};
use landfall::engine::{Command, Goal, Outcome, Run, Wishes};
use landfall::model::event::{Event, What};
use landfall::model::failure::Failure;
use landfall::model::name::Name;
use landfall::model::secret::{Keys, References, Secret};
use landfall::rehearsal::clouds::{Clouds, Ground};
use landfall::rehearsal::hetzner::Hetzner;
use landfall::rehearsal::machines::{Birth, Machines};
use landfall::rehearsal::serve::{Request, Served};
use serde_json::Value;
use tokio::sync::mpsc;

/// A vault with the secrets of a test, which keeps what it is given.
#[derive(Clone, Default)]
pub(crate) struct Vault(pub(crate) Arc<Mutex<BTreeMap<String, String>>>);

impl Keys for Vault {
    fn get(&self, name: &Name) -> Option<Secret> {
        self.0.lock().unwrap().get(name.as_str()).cloned().map(Secret::new)
    }

    fn how_to_set(&self, name: &Name) -> String {
        format!("set {name}")
    }

    fn put(&self, name: &Name, value: Secret) -> Result<(), Failure> {
        self.0.lock().unwrap().insert(name.to_string(), value.expose().to_owned());
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<(), Failure> {
        self.0.lock().unwrap().remove(name.as_str());
        Ok(())
    }
}

/// A lock line that is nowhere on disk.
#[derive(Clone, Default)]
pub(crate) struct LockLine(pub(crate) Arc<Mutex<BTreeMap<String, String>>>);

impl References for LockLine {
    fn get(&self, step: &Name) -> Option<String> {
        self.0.lock().unwrap().get(step.as_str()).cloned()
    }

    fn all(&self) -> Vec<(Name, String)> {
        let kept = self.0.lock().unwrap();
        kept.iter().map(|(step, reference)| (Name::parse(step).unwrap(), reference.clone())).collect()
    }

    fn put(&self, step: &Name, reference: Option<&str>) -> Result<(), Failure> {
        let mut kept = self.0.lock().unwrap();
        match reference {
            Some(reference) => drop(kept.insert(step.to_string(), reference.to_owned())),
            None => drop(kept.remove(step.as_str())),
        }
        Ok(())
    }
}

/// Machines that never come up: their addresses are this machine's own, where no sshd listens.
pub(crate) struct Nowhere;

#[async_trait]
impl Machines for Nowhere {
    fn address(&self, number: u8) -> String {
        format!("127.0.77.{number}")
    }

    async fn bear(&self, _: Birth) -> Result<(), String> {
        Ok(())
    }

    async fn switch(&self, _: i64, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn bury(&self, _: i64) -> Result<(), String> {
        Ok(())
    }
}

/// A simulated cloud, a key, and a place for the journal.
pub(crate) struct World {
    pub(crate) api: Arc<Hetzner>,
    pub(crate) clouds: Clouds,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) secrets: Vault,
    pub(crate) references: LockLine,
    pub(crate) patience: Patience,
    /// Is the loss of data approved, too?
    pub(crate) losing_data: bool,
    /// What may be taken over.
    pub(crate) adopt: Vec<String>,
    /// Shall what is no longer wanted go?
    pub(crate) retire: bool,
    /// Is it known that what is not seen was deleted?
    pub(crate) gone: bool,
    /// Where an API is, if not at the world's own clouds.
    pub(crate) elsewhere: BTreeMap<String, String>,
    /// How long a lease holds.
    pub(crate) lease: Duration,
}

/// Who goes through a playbook.
#[derive(Clone, Copy, Default)]
pub(crate) struct Laptop {
    /// Which one it is: each has a state folder of its own.
    pub(crate) number: u8,
    /// Does its user break leases?
    pub(crate) breaks_leases: bool,
}

/// What simulated clouds of a test stand on: no machines, no time to lose.
pub(crate) fn ground() -> Ground {
    Ground { pace: Duration::from_millis(5), keep: true, ..Ground::default() }
}

/// How a run went.
pub(crate) struct Went {
    pub(crate) outcome: Outcome,
    pub(crate) events: Vec<Event>,
}

impl Went {
    /// Addresses and verbs of the plan, without what is kept.
    pub(crate) fn plan(&self) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|event| match &event.event {
                What::Planned { changes, .. } => Some(changes),
                _ => None,
            })
            .flatten()
            .filter(|change| change.verb != "keep")
            .map(|change| format!("{} {}", change.verb, change.address))
            .collect()
    }

    /// The failure's message and causes, in one text.
    pub(crate) fn failure(&self) -> String {
        let Some(What::RunFinished { failure: Some(failure), .. }) = self.events.last().map(|e| &e.event) else {
            return String::new();
        };
        format!("{} {} {}", failure.message, failure.causes.join(" "), failure.hint.clone().unwrap_or_default())
    }

    /// What the run said exists.
    pub(crate) fn exists(&self) -> Vec<String> {
        match self.events.last().map(|e| &e.event) {
            Some(What::RunFinished { exists, .. }) => exists.clone(),
            _ => vec![],
        }
    }

    /// How often something was tried again.
    pub(crate) fn retries(&self) -> usize {
        self.events.iter().filter(|event| matches!(event.event, What::Retrying { .. })).count()
    }
}

impl World {
    /// A world whose servers are `machines`.
    pub(crate) async fn with(machines: Option<Arc<dyn Machines>>) -> World {
        World::of(&["hetzner"], Ground { machines, ..ground() }).await
    }

    /// A world of these clouds, Hetzner among them.
    pub(crate) async fn of(names: &[&str], ground: Ground) -> World {
        let clouds = Clouds::open(names, &ground).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        new_key(&folder.path().join("key"));
        let tokens = clouds.tokens().into_iter().map(|(api, token)| (format!("{api}-token"), token));
        let secrets = Vault(Arc::new(Mutex::new(tokens.collect())));
        let patience = Patience { reach: Duration::ZERO, login: Duration::ZERO };
        let api = clouds.hetzner.clone().unwrap_or_else(|| Arc::new(Hetzner::new(None, Duration::ZERO)));
        World {
            api,
            clouds,
            folder,
            secrets,
            references: LockLine::default(),
            patience,
            losing_data: true,
            adopt: vec![],
            retire: false,
            gone: false,
            elsewhere: BTreeMap::new(),
            lease: Pace::default().lease,
        }
    }

    /// The cloud called `name`, as it is served.
    pub(crate) fn served(&self, name: &str) -> &Served {
        self.clouds.served(name).unwrap()
    }

    /// The public half of the world's key.
    pub(crate) fn public_key(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("key.pub")).unwrap().trim().to_owned()
    }

    /// The ways out of this world.
    pub(crate) fn doors(&self) -> Doors {
        let keys: Arc<dyn Keys> = Arc::new(self.secrets.clone());
        let mut endpoints = self.clouds.endpoints();
        endpoints.extend(self.elsewhere.clone());
        let (first, longest) = (Duration::from_millis(5), Duration::from_millis(20));
        let pace = Pace { first, longest, lease: self.lease, ..Pace::default() };
        Doors {
            http: Http::new(endpoints, keys.clone(), pace),
            ssh: Ssh::new(keys.clone(), Some(self.folder.path().join("key")), None, self.patience),
            keys,
            references: Arc::new(self.references.clone()),
        }
    }

    /// Where the journal is kept.
    pub(crate) fn state(&self) -> PathBuf {
        self.state_of(0)
    }

    /// The same, on one of several laptops.
    pub(crate) fn state_of(&self, laptop: u8) -> PathBuf {
        self.folder.path().join(format!("state-{laptop}"))
    }

    /// Goes through `text`, a playbook in the folder `beside`, as far as `goal` says, approving the plan.
    pub(crate) async fn go_in(&self, beside: &Path, text: &str, goal: Goal) -> Went {
        self.go_from(Laptop::default(), beside, text, goal).await
    }

    /// The same, from one of several laptops.
    pub(crate) async fn go_from(&self, laptop: Laptop, beside: &Path, text: &str, goal: Goal) -> Went {
        let loaded = match check(&beside.join("test.toml"), text) {
            Ok(loaded) => loaded,
            Err(Refused::Wrong(problems)) => panic!("{}", problems.iter().map(|p| p.render()).collect::<String>()),
            Err(Refused::Unread(failure)) => panic!("{failure}"),
        };
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let (answers, commands) = mpsc::channel(1);
        answers.send(Command::Approve { losing_data: self.losing_data }).await.unwrap();
        let run = Run {
            playbook: loaded.playbook,
            sources: loaded.sources,
            doors: Arc::new(self.doors()),
            state: self.state_of(laptop.number),
            events: sender,
            commands,
            wishes: Wishes {
                adopt: self.adopt.clone(),
                retire: self.retire,
                break_lease: laptop.breaks_leases,
                gone: self.gone,
                backup: None,
            },
            stop: Arc::new(AtomicBool::new(false)),
        };
        let outcome = run.go(goal).await;
        let mut events = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            events.push(event);
        }
        Went { outcome, events }
    }

    /// The same, with nothing beside the playbook.
    pub(crate) async fn go(&self, text: &str, goal: Goal) -> Went {
        self.go_in(self.folder.path(), text, goal).await
    }

    /// A playbook with one server and nothing on it.
    pub(crate) fn server_playbook(&self) -> String {
        format!(
            "schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"server\"\nid = \"web\"\nprovider = \"hetzner\"\n\
             location = \"fsn1\"\nsize = \"cx23\"\nkeys = [\"{}\"]\n",
            self.public_key()
        )
    }
}

/// Says that a test was skipped, and why.
pub(crate) fn skipped(why: &str) {
    told(&format!("SKIPPED: {why}"));
}

/// Says what was counted: past the harness, which swallows what a passing test prints.
pub(crate) fn told(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a new key pair to `path` and `path.pub`.
pub(crate) fn new_key(path: &Path) {
    use ssh_key::{Algorithm, LineEnding, PrivateKey};
    let key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
    key.write_openssh_file(path, LineEnding::LF).unwrap();
    std::fs::write(path.with_extension("pub"), key.public_key().to_openssh().unwrap() + "\n").unwrap();
}

/// Asks the simulator called `api` directly, as any client would.
pub(crate) async fn ask(world: &World, api: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let simulator = world.clouds.simulator(api).unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split('&').filter_map(|part| part.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.collect(),
        token: Some(simulator.token().to_owned()),
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
    };
    let answer = simulator.answer(request).await;
    (answer.status, answer.body.unwrap_or_default())
}
