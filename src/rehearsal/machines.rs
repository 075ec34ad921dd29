//! Machines that stand in for a cloud's servers: local Debian hosts in containers, booted by systemd, with
//! the user data run by real cloud-init.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::RwLock;

use crate::model::system::System;
use crate::rehearsal::engine::Engine;

/// What a new server is born with.
#[derive(Clone, Debug)]
pub struct Birth {
    /// The cloud's identifier.
    pub id: i64,
    /// Its IPv4 address.
    pub address: String,
    /// Its name.
    pub host_name: String,
    /// The image's name.
    pub image: String,
    /// What cloud-init shall do.
    pub user_data: String,
    /// Public keys that may log in as root, where the image lets root in.
    pub root_keys: Vec<String>,
}

/// Machines behind a simulated cloud. Errors are sentences for the cloud's own error messages.
#[async_trait]
pub trait Machines: Send + Sync {
    /// The IPv4 address with this number.
    fn address(&self, number: u8) -> String;
    /// Makes and boots a machine.
    async fn bear(&self, birth: Birth) -> Result<(), String>;
    /// Switches it: `poweron`, `poweroff`, `shutdown`, `reboot` or `reset`.
    async fn switch(&self, id: i64, verb: &str) -> Result<(), String>;
    /// Takes it away, with its disk.
    async fn bury(&self, id: i64) -> Result<(), String>;
}

/// An image no registry can serve, and what stands in for it.
#[derive(Clone, Debug)]
pub struct StandIn {
    /// The image's name.
    pub image: String,
    /// The port it listens on.
    pub port: u16,
    /// The path that answers when it is healthy.
    pub health: String,
}

/// Containers of this machine's Docker engine, in a network of their own.
pub struct LocalHosts {
    engine: Engine,
    session: String,
    prefix: String,
    stand_ins: Vec<StandIn>,
    /// Births wait for burials: a new machine may take over the address of one that is just going.
    graveyard: RwLock<()>,
}

/// An account and a host key for a machine that no cloud makes.
pub struct Arrival {
    /// The account that may log in: root, or one that may use sudo.
    pub user: String,
    /// The key that may log in to it.
    pub public_key: String,
    /// The host's private key, in OpenSSH format.
    pub host_key: String,
    /// Its public half.
    pub host_public_key: String,
}

impl Arrival {
    /// What cloud-init shall do about it.
    pub fn user_data(&self) -> String {
        let mut config = json!({
            "ssh_deletekeys": true,
            "ssh_genkeytypes": [],
            "ssh_keys": { "ed25519_private": self.host_key, "ed25519_public": self.host_public_key },
        });
        if self.user == "root" {
            config["disable_root"] = false.into();
            config["users"] = json!([{ "name": "root", "ssh_authorized_keys": [self.public_key] }]);
        } else {
            config["users"] = json!([{
                "name": self.user, "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL", "lock_passwd": true,
                "ssh_authorized_keys": [self.public_key],
            }]);
        }
        format!("#cloud-config\n{config:#}\n")
    }
}

/// Files the base image is made of.
const INIT: &str = include_str!("../../templates/rehearsal/init");
const STAND_INS: &str = include_str!("../../templates/rehearsal/stand-in-images");
const BASE_IMAGE: &str = include_str!("../../templates/rehearsal/base-image");
/// Folders of /var/lib in which a host's own engine keeps images.
const KEEPERS: [&str; 2] = ["docker", "containerd"];
/// The label that says which rehearsal a container, network or volume belongs to.
const LABEL: &str = "landfall.rehearsal";

/// What lets systemd run in a container on cgroup v1 as well as v2, without `--privileged`, which fails
/// where the machine itself lacks a capability. Each was needed on a Debian 12 machine.
const RUN: &[&str] = &[
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    "--cap-add=SYS_PTRACE",
    "--cap-add=NET_RAW",
    "--cap-add=DAC_READ_SEARCH",
    "--cap-add=SYSLOG",
    "--cap-add=AUDIT_CONTROL",
    "--cap-add=SYS_NICE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--cgroupns=private",
    "--device-cgroup-rule=a *:* rwm",
    "--tmpfs=/run",
    "--tmpfs=/tmp",
    "--stop-signal=SIGRTMIN+3",
];

impl LocalHosts {
    /// Is there an engine that can run hosts? The error says what is missing, and what to do.
    pub async fn engine() -> Result<Engine, String> {
        Engine::find().await
    }

    /// Is the base image of this release there already?
    pub async fn has_base_image(engine: &Engine, system: System) -> bool {
        engine.docker(&["image", "inspect", "--format", "{{.Id}}", &base_image_name(system)]).await.is_ok()
    }

    /// Makes the base image of a release, which takes some minutes, once. Fails with the last lines of the
    /// attempt.
    pub async fn build_base_image(engine: &Engine, system: System) -> Result<(), String> {
        let folder = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|e| e.to_string())?;
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).map_err(|e| e.to_string());
        put("init", INIT)?;
        put("stand-in-images", STAND_INS)?;
        put("base-image", BASE_IMAGE)?;
        let script = folder.path().join("base-image");
        let suite = match system {
            System::Debian12 => "bookworm",
            System::Debian13 => "trixie",
            System::Ubuntu2404 => "noble",
        };
        let image = base_image_name(system);
        engine.shell(&script, &[&image, &folder.path().display().to_string(), suite]).await.map(|_| ())
    }

    /// Makes a network for a new rehearsal, whose hosts serve `stand_ins`. What earlier rehearsals left
    /// behind because they were killed is taken away first.
    pub async fn open(engine: Engine, stand_ins: Vec<StandIn>) -> Result<LocalHosts, String> {
        sweep(&engine, |session| !is_alive(session)).await;
        // One process may rehearse several times at once.
        static SESSIONS: AtomicUsize = AtomicUsize::new(0);
        let session = format!("{}-{}", std::process::id(), SESSIONS.fetch_add(1, Ordering::Relaxed));
        let mut last = String::new();
        // The first free network of a range nobody else is likely to use.
        for third in 0..=255_u8 {
            let prefix = format!("10.213.{third}");
            let subnet = format!("--subnet={prefix}.0/24");
            let label = format!("--label={LABEL}={session}");
            let name = format!("landfall-{session}");
            match engine.docker(&["network", "create", &subnet, &label, &name]).await {
                Ok(_) => {
                    return Ok(LocalHosts { engine, session, prefix, stand_ins, graveyard: RwLock::new(()) });
                }
                Err(why) if why.contains("overlap") => last = why,
                Err(why) => return Err(why),
            }
        }
        Err(last)
    }

    /// The engine the machines run on.
    pub fn engine_used(&self) -> &Engine {
        &self.engine
    }

    /// Reads a file on the machine with this address.
    pub async fn read(&self, address: &str, path: &str) -> Result<String, String> {
        let name = self.name_at(address).await?;
        self.engine.docker(&["exec", &name, "cat", path]).await
    }

    /// Runs a command on the machine with this address.
    pub async fn run(&self, address: &str, command: &str) -> Result<String, String> {
        let name = self.name_at(address).await?;
        self.engine.docker(&["exec", &name, "sh", "-c", command]).await
    }

    async fn name_at(&self, address: &str) -> Result<String, String> {
        let filter = format!("label={LABEL}={}", self.session);
        let names = self.engine.docker(&["ps", "--filter", &filter, "--format", "{{.Names}}"]).await?;
        for name in names.lines() {
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            if self.engine.docker(&["inspect", "--format", format, name]).await?.trim() == address {
                return Ok(name.to_owned());
            }
        }
        Err(format!("no machine has the address {address}"))
    }

    /// Runs a command on the machine with this number, past SSH: what a hand at the console would do.
    pub async fn at_the_console(&self, id: i64, command: &str) -> Result<String, String> {
        self.engine.docker(&["exec", &self.name(id), "sh", "-c", command]).await
    }

    /// Takes everything of this rehearsal away, and tells what is left all the same.
    pub async fn close(&self) -> Vec<String> {
        sweep(&self.engine, |session| session == self.session).await;
        self.left().await.into_iter().filter(|name| !name.starts_with("network ")).collect()
    }

    /// Containers, volumes and networks of this rehearsal that exist.
    pub async fn left(&self) -> Vec<String> {
        let filter = format!("label={LABEL}={}", self.session);
        let mut left = Vec::new();
        for (kind, arguments) in [
            ("container", ["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"].as_slice()),
            ("volume", &["volume", "ls", "--filter", &filter, "--format", "{{.Name}}"]),
            ("network", &["network", "ls", "--filter", &filter, "--format", "{{.Name}}"]),
        ] {
            let names = self.engine.docker(arguments).await.unwrap_or_default();
            left.extend(names.lines().map(|name| format!("{kind} {name}")));
        }
        left
    }

    fn name(&self, id: i64) -> String {
        format!("landfall-{}-{id}", self.session)
    }

    /// The files cloud-init reads, packed.
    fn seed(&self, birth: &Birth) -> Result<Vec<u8>, String> {
        let stand_ins: String =
            self.stand_ins.iter().map(|s| format!("{} {} {}\n", s.image, s.port, s.health)).collect();
        let meta_data = json!({
            "instance-id": format!("landfall-{}", birth.id), "local-hostname": birth.host_name, "public-keys": birth.root_keys,
        });
        let files = [
            ("var/lib/cloud/seed/nocloud/user-data", birth.user_data.clone()),
            ("var/lib/cloud/seed/nocloud/meta-data", meta_data.to_string()),
            ("etc/landfall-rehearsal/stand-ins", stand_ins),
        ];
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, Path::new(path), content.as_bytes()).map_err(|e| e.to_string())?;
        }
        archive.into_inner().map_err(|e| e.to_string())
    }
}

#[async_trait]
impl Machines for LocalHosts {
    fn address(&self, number: u8) -> String {
        format!("{}.{number}", self.prefix)
    }

    async fn bear(&self, birth: Birth) -> Result<(), String> {
        let base_image = match System::ALL.iter().find(|system| system.as_str() == birth.image) {
            Some(system) => base_image_name(*system),
            None => return Err(format!("a rehearsal has no local host of image {}", birth.image)),
        };
        let _burials_are_over = self.graveyard.read().await;
        let (name, label) = (self.name(birth.id), format!("--label={LABEL}={}", self.session));
        let network = format!("--network=landfall-{}", self.session);
        // Layers cannot be stacked on layers: what keeps images needs a disk of its own.
        for keeper in KEEPERS {
            self.engine.docker(&["volume", "create", &label, &format!("{name}-{keeper}")]).await?;
        }
        let mounts = KEEPERS.map(|keeper| format!("--volume={name}-{keeper}:/var/lib/{keeper}"));
        let address = format!("--ip={}", birth.address);
        let (named, host_name) = (format!("--name={name}"), format!("--hostname={}", birth.host_name));
        let mut arguments = vec!["create", &label, &named, &host_name, &network, &address, &mounts[0], &mounts[1]];
        arguments.extend(RUN);
        if Path::new("/sys/fs/cgroup/memory").exists() {
            // systemd 257 refuses cgroup v1 unless it is told to make do with it.
            arguments.push(
                "--env=SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
            );
        }
        arguments.push(&base_image);
        self.engine.docker(&arguments).await?;
        self.engine.docker_with_input(&["cp", "-", &format!("{name}:/")], self.seed(&birth)?).await?;
        self.engine.docker(&["start", &name]).await.map(|_| ())
    }

    async fn switch(&self, id: i64, verb: &str) -> Result<(), String> {
        let name = self.name(id);
        let arguments: &[&str] = match verb {
            "poweron" => &["start", &name],
            "poweroff" => &["kill", &name],
            "shutdown" => &["stop", "--time=20", &name],
            _ => &["restart", "--time=20", &name],
        };
        match self.engine.docker(arguments).await {
            // Off already is as good as off.
            Err(why) if verb == "poweroff" && why.contains("is not running") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn bury(&self, id: i64) -> Result<(), String> {
        let _alone = self.graveyard.write().await;
        let name = self.name(id);
        self.engine.docker(&["rm", "--force", "--volumes", &name]).await?;
        let volumes = KEEPERS.map(|keeper| format!("{name}-{keeper}"));
        self.engine.docker(&["volume", "rm", "--force", &volumes[0], &volumes[1]]).await.map(|_| ())
    }
}

/// Takes away what belongs to the rehearsals that `condemned` chooses.
async fn sweep(engine: &Engine, condemned: impl Fn(&str) -> bool) {
    let filter = format!("label={LABEL}");
    let format = format!("{{{{.Label \"{LABEL}\"}}}} {{{{.ID}}}}");
    let volumes = format!("{{{{.Label \"{LABEL}\"}}}} {{{{.Name}}}}");
    for (list, remove) in [
        (
            ["ps", "--all", "--filter", &filter, "--format", &format].as_slice(),
            ["rm", "--force", "--volumes"].as_slice(),
        ),
        (&["volume", "ls", "--filter", &filter, "--format", &volumes], &["volume", "rm", "--force"]),
        (&["network", "ls", "--filter", &filter, "--format", &format], &["network", "rm"]),
    ] {
        let listed = engine.docker(list).await.unwrap_or_default();
        for (session, id) in listed.lines().filter_map(|line| line.split_once(' ')) {
            if condemned(session) {
                let mut arguments = remove.to_vec();
                arguments.push(id);
                let _ = engine.docker(&arguments).await;
            }
        }
    }
}

/// Does the process that began this rehearsal still run?
fn is_alive(session: &str) -> bool {
    let process = session.split('-').next().unwrap_or_default();
    PathBuf::from(format!("/proc/{process}")).exists()
}

/// The base image's name. It changes with the files it is made of, so that an old one is never used.
fn base_image_name(system: System) -> String {
    let digest = crate::model::machine::digest([INIT, STAND_INS, BASE_IMAGE].concat().as_bytes());
    format!("landfall-rehearsal:{}-{}", system.as_str(), &digest[..12])
}
