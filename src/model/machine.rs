//! What a playbook can want of a host.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::model::name::Name;
use crate::model::resource::Fields;
use crate::model::system::System;
use crate::model::value::{OutputKey, Value};

/// How to reach a host, and how to know it is the right one.
#[derive(Clone, Debug)]
pub struct HostAt {
    /// The step that made the host.
    pub step: Name,
    /// Its address: never a name, so that stale DNS cannot lead anywhere else.
    pub address: Value,
    /// The port sshd listens on.
    pub port: u16,
    /// The account to log in to.
    pub user: String,
    /// The SHA-256 fingerprint of its host key, as `SHA256:…`; two with a space between while the key it
    /// was made with gives way to one of its own.
    pub host_key: Value,
    /// The operating system it is said to run; a host that runs another one is left alone.
    pub system: System,
    /// Was it made by this playbook, or was it there before?
    pub made_by_us: bool,
    /// Public keys of the admin; exactly one of them, whose private half is here, is offered.
    pub keys: Vec<String>,
}

impl HostAt {
    /// The first output that is not known yet, without which the host cannot be reached.
    pub fn unknown(&self) -> Option<OutputKey> {
        self.address.unknown().or_else(|| self.host_key.unknown()).cloned()
    }
}

/// A server the user already has. It is never created and never deleted.
#[derive(Clone, Debug)]
pub struct Existing {
    /// Its address.
    pub address: String,
    /// The port sshd listens on.
    pub port: u16,
    /// The pinned fingerprint, as `SHA256:…`.
    pub host_key: String,
}

impl Existing {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([
            ("address", self.address.as_str().into()),
            ("port", Value::Int(self.port.into())),
            ("host_key", self.host_key.as_str().into()),
        ])
    }
}

/// A command that judges a file before it takes its place. `{}` stands for the file.
#[derive(Clone, Debug)]
pub struct Check {
    /// Program and arguments.
    pub run: Vec<String>,
    /// The account it runs as.
    pub user: &'static str,
}

/// A file on a host.
#[derive(Clone, Debug)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Its content.
    pub content: Value,
    /// Owner and group.
    pub owner: (String, String),
    /// Permissions, such as `0o644`.
    pub mode: u32,
    /// What must accept it first.
    pub check: Option<Check>,
    /// May secrets stand in it that the playbook does not name? Then nothing of it is shown but a digest.
    pub hidden: bool,
}

impl File {
    /// The content as it may be shown.
    pub fn shown(&self) -> Value {
        match (&self.content, self.hidden) {
            (Value::Text(text), true) => format!("(not shown; SHA-256 {})", digest(text.as_bytes())).into(),
            _ => self.content.clone(),
        }
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::from([
            ("content", self.shown()),
            ("owner", format!("{}:{}", self.owner.0, self.owner.1).into()),
            ("mode", format!("{:04o}", self.mode).into()),
        ])
    }
}

/// A directory on a host.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Absolute path.
    pub path: String,
    /// Owner and group.
    pub owner: (String, String),
    /// Permissions, such as `0o755`.
    pub mode: u32,
    /// Every file in it by relative path, where the whole content is ours; `None` leaves it alone.
    pub tree: Option<BTreeMap<String, Vec<u8>>>,
}

impl Directory {
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::from([
            ("owner", format!("{}:{}", self.owner.0, self.owner.1).into()),
            ("mode", format!("{:04o}", self.mode).into()),
        ]);
        if let Some(tree) = &self.tree {
            let lines = tree.iter().map(|(path, bytes)| format!("{}  {path}", digest(bytes)));
            fields.insert("files", tree_field(lines));
        }
        fields
    }
}

/// The `files` field of a directory: lines of digest, two spaces and path, in order of path.
pub fn tree_field(lines: impl Iterator<Item = String>) -> Value {
    let mut lines: Vec<String> = lines.collect();
    lines.sort_by(|a, b| a.get(66..).cmp(&b.get(66..)));
    Value::Text(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// The SHA-256 digest of `bytes` in lower-case hexadecimal, as `sha256sum` prints it.
pub fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// A package of the distribution.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Packages of other sources that do as well where they are installed.
    pub instead: &'static [&'static str],
}

impl Package {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("installed", true.into())])
    }
}

/// How a service takes up changed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeUp {
    /// `systemctl reload`: connections live on.
    Reload,
    /// `systemctl restart`.
    Restart,
    /// First the one, for settings that decide what a restart does, then the other, once this shell condition holds:
    /// Docker's `live-restore`, without which a restart ends every container, is taken up by a reload.
    ReloadThenRestart(&'static str),
}

/// A systemd unit that shall be enabled and active, and shall have read its files.
#[derive(Clone, Debug)]
pub struct Service {
    /// The unit's name with its suffix.
    pub unit: String,
    /// Files it must have read since they last changed.
    pub reads: Vec<String>,
    /// How it reads them again.
    pub take_up: TakeUp,
    /// Files of the unit itself; it is restarted when they have changed since it started.
    pub unit_files: Vec<String>,
    /// A shell condition that holds while it does its work; it is restarted when that fails.
    pub works: Option<&'static str>,
    /// Does it work on the kernel itself, so that it rests on a host that shares its kernel with others?
    pub own_kernel: bool,
}

impl Service {
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::from([("enabled", true.into()), ("active", true.into()), ("up_to_date", true.into())]);
        if self.works.is_some() {
            fields.insert("works", true.into());
        }
        fields
    }
}

/// An account with a home directory, a shell and no password.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its shell; `None` leaves it as it is.
    pub shell: Option<String>,
    /// Groups it is in beside its own; membership in others is left alone.
    pub groups: Vec<String>,
}

impl User {
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::from([
            ("groups", Value::texts(self.groups.iter().map(String::as_str))),
            // A locked account is refused by sshd without PAM, and one that expires shuts us out some day.
            ("locked", false.into()),
            ("expires", false.into()),
        ]);
        if let Some(shell) = &self.shell {
            fields.insert("shell", shell.as_str().into());
        }
        fields
    }
}

/// A key that may log in to an account. Other keys of the account are left alone.
#[derive(Clone, Debug)]
pub struct AuthorizedKey {
    /// The account.
    pub user: String,
    /// `ssh-ed25519 AAAA…`, without a comment.
    pub key: String,
}

impl AuthorizedKey {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("key", self.key.as_str().into())])
    }
}

/// A command that is run when its inputs change. What it does cannot be observed; the mark it leaves can.
#[derive(Clone, Debug)]
pub struct Command {
    /// The mark's name.
    pub mark: Name,
    /// Program and arguments.
    pub run: Vec<String>,
    /// A path it makes; it is run again when that is gone.
    pub creates: Option<String>,
    /// How old, in minutes, that path may become before the command is run again.
    pub fresh_minutes: Option<u32>,
    /// Files it reads; it is run again when they have changed.
    pub reads: Vec<String>,
    /// Does it take one more argument when a person chose an older backup than the newest? That one is not among the
    /// inputs: what was restored stays restored.
    pub takes_backup: bool,
    /// That argument, in this run.
    pub backup: Option<String>,
}

impl Command {
    /// What the mark holds once the command has succeeded: the digest of its inputs.
    pub fn mark_content(&self) -> String {
        digest(self.run.join("\0").as_bytes())
    }

    pub(super) fn fields(&self) -> Fields {
        let mut fields =
            Fields::from([("run", Value::texts(self.run.iter().map(String::as_str))), ("done", true.into())]);
        if !self.reads.is_empty() {
            fields.insert("up_to_date", true.into());
        }
        fields
    }
}

/// A Docker Compose project that shall be up, healthy, and made from its present files.
#[derive(Clone, Debug)]
pub struct Compose {
    /// The project's name.
    pub project: String,
    /// The directory its files are in.
    pub directory: String,
    /// Its compose files within the directory, in order.
    pub files: Vec<String>,
    /// Every file whose change means the containers must be made anew.
    pub reads: Vec<String>,
    /// The services that shall be up.
    pub services: Vec<String>,
    /// The secrets its containers are given, so that they can be taken out of what the containers say.
    pub secrets: Vec<Name>,
    /// Files of values for the variables in its compose files, within the directory.
    pub env_files: Vec<String>,
    /// Patterns of what must not stand in what Compose makes of its files: rights that nobody allowed.
    pub forbidden: Vec<String>,
    /// What answers when the project is healthy.
    pub health: Option<Health>,
    /// The PostgreSQL whose data one of its volumes holds.
    pub cluster: Option<Cluster>,
}

/// A PostgreSQL whose data is in a volume of a Compose project. Data of one major version is not read by another
/// (postgresql.org/docs/current/upgrading.html).
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The service that runs it.
    pub service: String,
    /// Its major version.
    pub version: u32,
}

impl Cluster {
    /// The version whose data is there, in the planner's words.
    pub fn data(version: u32) -> Value {
        format!("of PostgreSQL {version}").as_str().into()
    }
}

/// Where an app answers, and how it is asked: as its visitors' proxy would.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Health {
    /// The port on the loopback address.
    pub port: u16,
    /// The path that answers with success; without one, any answer will do.
    pub path: Option<String>,
    /// The name visitors use.
    pub host: Option<String>,
}

impl Health {
    /// The path that is asked for.
    pub fn asked(&self) -> &str {
        self.path.as_deref().unwrap_or("/")
    }

    /// Is an answer with this status a good one? 0 stands for no answer.
    pub fn is_good(&self, status: u16) -> bool {
        match self.path {
            Some(_) => (200..300).contains(&status),
            None => status > 0,
        }
    }
}

impl Compose {
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::from([("running", true.into()), ("up_to_date", true.into())]);
        if self.health.is_some() {
            fields.insert("healthy", true.into());
        }
        if let Some(cluster) = &self.cluster {
            fields.insert("data", Cluster::data(cluster.version));
        }
        fields
    }
}

/// A secret that is made on the host, kept there and never leaves it, as a line of an environment file.
#[derive(Clone, Debug)]
pub struct GeneratedSecret {
    /// The file that holds the line.
    pub path: String,
    /// The variable's name.
    pub variable: String,
    /// How many letters and digits the secret has.
    pub length: u16,
}

impl GeneratedSecret {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("variable", self.variable.as_str().into()), ("length", Value::Int(self.length.into()))])
    }
}
