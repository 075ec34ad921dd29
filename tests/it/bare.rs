use std::sync::Arc;
use std::time::Duration;

use landfall::doors::Doors;
use landfall::doors::ssh::Patience;
use landfall::model::diff::{Change, ReadyChange, diff};
use landfall::model::event::Report;
use landfall::model::failure::Failure;
use landfall::model::machine::{File, HostAt};
use landfall::model::name::Name;
use landfall::model::resource::{Address, Observed, Resource, Spec};
use landfall::model::system::System;
use landfall::model::value::Value;
use landfall::providers;
use landfall::rehearsal::engine::Engine;
use landfall::rehearsal::machines::{Arrival, Birth, LocalHosts, Machines, StandIn};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};

use crate::world::{World, skipped};

/// May tests start hosts here? `make test` sets it; elsewhere they say that they were skipped.
pub(crate) fn hosts_are_asked_for() -> bool {
    let asked = std::env::var_os("LANDFALL_HOST_TESTS").is_some();
    if !asked {
        skipped("tests on real local hosts run with LANDFALL_HOST_TESTS=1, which `make test` sets");
    }
    asked
}

/// This machine's engine, with the base image of local hosts made if it is missing: by one test for all.
pub(crate) async fn engine_with_base_image(system: System) -> Engine {
    let engine = LocalHosts::engine().await.expect("a Docker engine: sh tests/lab/setup.sh");
    if !LocalHosts::has_base_image(&engine, system).await {
        // Several tests may want it at once; it is built by one of them.
        static BUILDING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = BUILDING.lock().await;
        if !LocalHosts::has_base_image(&engine, system).await {
            LocalHosts::build_base_image(&engine, system).await.expect("the base image");
        }
    }
    engine
}

/// A network for the hosts of one test.
pub(crate) async fn open_hosts(stand_ins: Vec<StandIn>) -> Arc<LocalHosts> {
    let engine = engine_with_base_image(System::default()).await;
    Arc::new(LocalHosts::open(engine, stand_ins).await.expect("a network"))
}

/// A host nobody's API made, as the provider `existing` finds it.
pub(crate) struct Bare {
    pub(crate) world: World,
    pub(crate) machines: Arc<LocalHosts>,
    pub(crate) at: HostAt,
}

impl Bare {
    /// Boots a host whose account `user` may log in, and does what `more` says at its first boot.
    pub(crate) async fn boot(user: &str, more: serde_json::Value) -> Bare {
        Bare::boot_as(System::default(), user, more).await
    }

    /// The same with another release.
    pub(crate) async fn boot_as(system: System, user: &str, more: serde_json::Value) -> Bare {
        let engine = engine_with_base_image(system).await;
        let machines = Arc::new(LocalHosts::open(engine, vec![]).await.expect("a network"));
        let mut world = World::with(None).await;
        world.patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
        let host_key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
        let arrival = Arrival {
            user: user.to_owned(),
            public_key: world.public_key(),
            host_key: host_key.to_openssh(LineEnding::LF).unwrap().to_string(),
            host_public_key: host_key.public_key().to_openssh().unwrap(),
        };
        let text = arrival.user_data();
        let mut user_data: serde_json::Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        for (key, value) in more.as_object().unwrap() {
            user_data[key] = value.clone();
        }
        let address = machines.address(10);
        let birth = Birth {
            id: 1,
            address: address.clone(),
            host_name: "bare".into(),
            image: system.as_str().into(),
            user_data: format!("#cloud-config\n{user_data:#}\n"),
            root_keys: vec![],
        };
        machines.bear(birth).await.expect("a host");
        let at = HostAt {
            step: Name::parse("web").unwrap(),
            address: address.into(),
            port: 22,
            user: user.to_owned(),
            host_key: host_key.fingerprint(HashAlg::Sha256).to_string().into(),
            system,
            made_by_us: true,
            keys: vec![world.public_key()],
        };
        Bare { world, machines, at }
    }

    pub(crate) fn resource(&self, kind: &'static str, name: &str, spec: Spec) -> Resource {
        let step = self.at.step.clone();
        let address = Address { provider: "host", place: Some(step.clone()), kind, name: name.into() };
        Resource {
            address,
            owner: Name::parse("acme").unwrap(),
            step,
            on: Some(self.at.clone()),
            spec,
            gives: vec![],
            gone: false,
            adopt: false,
        }
    }

    pub(crate) fn file(&self, path: &str, content: impl Into<Value>) -> Resource {
        let spec =
            File { path: path.into(), content: content.into(), owner: root(), mode: 0o644, check: None, hidden: false };
        self.resource("file", path, Spec::File(spec))
    }

    pub(crate) async fn console(&self, command: &str) -> String {
        self.machines.at_the_console(1, command).await.unwrap_or_else(|why| panic!("{command}: {why}"))
    }

    pub(crate) async fn close(self) {
        assert_eq!(self.machines.close().await, Vec::<String>::new());
    }
}

pub(crate) fn root() -> (String, String) {
    ("root".into(), "root".into())
}

pub(crate) async fn observe(doors: &Doors, want: &[Resource]) -> Result<Vec<Observed>, Failure> {
    providers::find("host").unwrap().observe(doors, want, &Report::silent()).await
}

/// What must change, in words: verb and address.
pub(crate) async fn plan(doors: &Doors, want: &[Resource]) -> Vec<Change> {
    let seen = observe(doors, want).await.unwrap();
    want.iter().zip(&seen).map(|(want, seen)| diff(want, seen)).filter(|change| !change.is_keep()).collect()
}

pub(crate) async fn carry_out(doors: &Doors, changes: Vec<Change>) -> Result<Vec<Observed>, Failure> {
    let ready: Vec<ReadyChange> = changes.into_iter().map(|change| ReadyChange::new(change).unwrap()).collect();
    let after = providers::find("host").unwrap().apply(doors, &ready, &Report::silent()).await?;
    Ok(after.unwrap_or_default())
}
