//! Resources: what shall exist, what was seen, and how they are named.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::access::{BornKey, CertificateRequest, KeyInUse, Nftables, Sshd, Vouch};
use crate::model::cloud::{Firewall, PrimaryIp, PrivateNetwork, ReservedIp, Server, SshKey, Volume};
use crate::model::dns::{OriginCertificate, Record, Zone};
use crate::model::failure::Failure;
use crate::model::lease::Lease;
use crate::model::machine::{
    AuthorizedKey, Command, Compose, Directory, Existing, File, GeneratedSecret, HostAt, Package, Service, User,
};
use crate::model::money::PriceLine;
use crate::model::name::Name;
use crate::model::service::{AllowList, Bucket, MadeSecret, Migrations, Preferences, Project};
use crate::model::tuning::{JsonSettings, Mount, Settings, Sysctl, TimeZone};
use crate::model::value::{OutputKey, Value};

/// Fields by name, for the planner and for people.
pub type Fields = BTreeMap<&'static str, Value>;

/// A resource's lasting name: `hetzner/server/web`, or `host/web/package/caddy` for what is on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The provider's name.
    pub provider: &'static str,
    /// The step that made the host, for resources on one.
    pub place: Option<Name>,
    /// The kind of resource.
    pub kind: &'static str,
    /// The resource's own name; a path for files.
    pub name: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.provider)?;
        if let Some(place) = &self.place {
            write!(f, "{place}/")?;
        }
        write!(f, "{}/{}", self.kind, self.name.trim_start_matches('/'))
    }
}

/// What is wanted of a resource, by kind. Closed on purpose: a plan can be printed and compared.
#[derive(Clone, Debug)]
pub enum Spec {
    /// A public key the cloud injects into new servers.
    SshKey(SshKey),
    /// A public address that outlives its server.
    PrimaryIp(PrimaryIp),
    /// The cloud's own firewall.
    Firewall(Firewall),
    /// A disk that outlives its server.
    Volume(Volume),
    /// A server.
    Server(Server),
    /// A server the user already has.
    Existing(Existing),
    /// A file on a host.
    File(File),
    /// A directory on a host, with its content if that is ours.
    Directory(Directory),
    /// A package of the distribution.
    Package(Package),
    /// A systemd unit.
    Service(Service),
    /// An account.
    User(User),
    /// A key that may log in to an account.
    AuthorizedKey(AuthorizedKey),
    /// A command that leaves a mark.
    Command(Command),
    /// A Docker Compose project.
    Compose(Compose),
    /// A secret made on the host.
    GeneratedSecret(GeneratedSecret),
    /// Settings of sshd.
    Sshd(Sshd),
    /// A table of nftables.
    Nftables(Nftables),
    /// A host key born on the host.
    BornKey(BornKey),
    /// The host key sshd shows.
    KeyInUse(KeyInUse),
    /// What the provider says of a server's host key.
    Vouch(Vouch),
    /// Settings of the kernel.
    Sysctl(Sysctl),
    /// Options of a mount.
    Mount(Mount),
    /// The time zone.
    TimeZone(TimeZone),
    /// Values in a settings file of a package.
    Settings(Settings),
    /// Keys in a settings file of JSON.
    JsonSettings(JsonSettings),
    /// A network between servers of one place.
    PrivateNetwork(PrivateNetwork),
    /// A public address kept for a server.
    ReservedIp(ReservedIp),
    /// A domain's zone.
    Zone(Zone),
    /// A record of a zone.
    Record(Record),
    /// A certificate for the way between a proxy and the server.
    OriginCertificate(OriginCertificate),
    /// A private key on a host, and the request for its certificate.
    CertificateRequest(CertificateRequest),
    /// A database project.
    Project(Project),
    /// Settings of something that is there.
    Preferences(Preferences),
    /// From where a service may be reached.
    AllowList(AllowList),
    /// Changes of a database's schema.
    Migrations(Migrations),
    /// A secret in the vault.
    MadeSecret(MadeSecret),
    /// A place for objects.
    Bucket(Bucket),
}

impl Spec {
    /// The fields the planner compares and people read.
    pub fn fields(&self) -> Fields {
        match self {
            Spec::SshKey(spec) => spec.fields(),
            Spec::PrimaryIp(spec) => spec.fields(),
            Spec::Firewall(spec) => spec.fields(),
            Spec::Volume(spec) => spec.fields(),
            Spec::Server(spec) => spec.fields(),
            Spec::Existing(spec) => spec.fields(),
            Spec::File(spec) => spec.fields(),
            Spec::Directory(spec) => spec.fields(),
            Spec::Package(spec) => spec.fields(),
            Spec::Service(spec) => spec.fields(),
            Spec::User(spec) => spec.fields(),
            Spec::AuthorizedKey(spec) => spec.fields(),
            Spec::Command(spec) => spec.fields(),
            Spec::Compose(spec) => spec.fields(),
            Spec::GeneratedSecret(spec) => spec.fields(),
            Spec::Sshd(spec) => spec.fields(),
            Spec::Nftables(spec) => spec.fields(),
            Spec::BornKey(_) => BornKey::fields(),
            Spec::KeyInUse(spec) => spec.fields(),
            Spec::Vouch(spec) => spec.fields(),
            Spec::Sysctl(spec) => spec.fields(),
            Spec::Mount(spec) => spec.fields(),
            Spec::TimeZone(spec) => spec.fields(),
            Spec::Settings(spec) => spec.fields(),
            Spec::JsonSettings(spec) => spec.fields(),
            Spec::PrivateNetwork(spec) => spec.fields(),
            Spec::ReservedIp(spec) => spec.fields(),
            Spec::Zone(spec) => spec.fields(),
            Spec::Record(spec) => spec.fields(),
            Spec::OriginCertificate(spec) => spec.fields(),
            Spec::CertificateRequest(spec) => spec.fields(),
            Spec::Project(spec) => spec.fields(),
            Spec::Preferences(spec) => spec.wishes.clone(),
            Spec::AllowList(spec) => spec.fields(),
            Spec::Migrations(spec) => spec.fields(),
            Spec::MadeSecret(spec) => spec.fields(),
            Spec::Bucket(spec) => spec.fields(),
        }
    }

    /// Secrets that are in the vault once this is there.
    pub fn makes_secrets(&self) -> Vec<&Name> {
        match self {
            Spec::MadeSecret(spec) => vec![&spec.name],
            Spec::Project(spec) => std::iter::once(&spec.password).chain(&spec.secrets).collect(),
            _ => vec![],
        }
    }

    /// Could this change shut us out? Then it is carried out under a guard, which undoes it unless a new
    /// connection gets in afterwards.
    pub fn is_guarded(&self) -> bool {
        match self {
            Spec::Sshd(_) | Spec::Nftables(_) | Spec::KeyInUse(_) => true,
            Spec::Sysctl(sysctl) => sysctl.settings.keys().any(|key| key.starts_with("net.ip")),
            Spec::File(file) => file.path.starts_with("/etc/sudoers.d/"),
            _ => false,
        }
    }

    /// Does it stay when everything else is destroyed?
    pub fn outlives(&self) -> bool {
        match self {
            Spec::MadeSecret(spec) => spec.outlives,
            Spec::Bucket(_) => true,
            _ => false,
        }
    }

    /// The path on the host, for what has one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Spec::File(spec) => Some(&spec.path),
            Spec::Directory(spec) => Some(&spec.path),
            Spec::GeneratedSecret(spec) => Some(&spec.path),
            Spec::Sshd(spec) => Some(&spec.path),
            Spec::Sysctl(spec) => Some(&spec.path),
            Spec::Settings(spec) => Some(&spec.path),
            Spec::JsonSettings(spec) => Some(&spec.path),
            Spec::CertificateRequest(spec) => Some(&spec.key),
            _ => None,
        }
    }

    /// The paths it must have read since they last changed.
    pub fn reads(&self) -> impl Iterator<Item = &String> {
        let (reads, more): (&[String], &[String]) = match self {
            Spec::Service(spec) => (&spec.reads, &spec.unit_files),
            Spec::Compose(spec) => (&spec.reads, &[]),
            Spec::Command(spec) => (&spec.reads, &[]),
            _ => (&[], &[]),
        };
        reads.iter().chain(more)
    }

    /// The rules the planner follows for this kind.
    pub fn rules(&self) -> Rules {
        match self {
            Spec::SshKey(_) => Rules { replace_on: &["public_key"], ..Rules::PLAIN },
            Spec::PrimaryIp(_) => Rules { replace_on: &["location"], ..Rules::PLAIN },
            Spec::Volume(_) => Rules { replace_on: &["location", "format"], holds_data: true, ..Rules::PLAIN },
            Spec::Server(_) => {
                Rules { replace_on: &["location", "image"], write_only: &["admin", "keys"], holds_data: true }
            }
            Spec::Compose(_) => Rules { replace_on: &["data"], holds_data: true, ..Rules::PLAIN },
            Spec::PrivateNetwork(_) | Spec::ReservedIp(_) => Rules { replace_on: &["location"], ..Rules::PLAIN },
            Spec::OriginCertificate(_) => Rules { replace_on: &["names", "request", "in_time"], ..Rules::PLAIN },
            Spec::Project(_) => {
                Rules { replace_on: &["region", "organization", "version"], holds_data: true, ..Rules::PLAIN }
            }
            _ => Rules::PLAIN,
        }
    }
}

/// How the planner must treat a kind of resource.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Fields that cannot be changed in place.
    pub replace_on: &'static [&'static str],
    /// Fields that cannot be read back.
    pub write_only: &'static [&'static str],
    /// Is data lost when it is replaced or deleted?
    pub holds_data: bool,
}

impl Rules {
    const PLAIN: Rules = Rules { replace_on: &[], write_only: &[], holds_data: false };
}

/// One thing that shall exist.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its lasting name.
    pub address: Address,
    /// The playbook that owns it.
    pub owner: Name,
    /// The step that wants it.
    pub step: Name,
    /// The host it is on, for resources on a host.
    pub on: Option<HostAt>,
    /// What is wanted of it.
    pub spec: Spec,
    /// Outputs that are known as soon as it is there, by name.
    pub gives: Vec<(&'static str, String)>,
    /// Shall it go? What is not ours stays all the same.
    pub gone: bool,
    /// May something of this name that is not ours be taken over?
    pub adopt: bool,
}

impl Resource {
    /// The first output this resource still waits for.
    pub fn unknown(&self) -> Option<OutputKey> {
        let of_host = self.on.as_ref().and_then(HostAt::unknown);
        of_host.or_else(|| self.spec.fields().values().find_map(|value| value.unknown().cloned()))
    }

    /// The step that makes the host this is on; its own step for what is on none.
    pub fn step_of_host(&self) -> Name {
        self.on.as_ref().map_or_else(|| self.step.clone(), |at| at.step.clone())
    }

    /// The name a cloud shows: playbook and resource, unique within a project.
    pub fn cloud_name(&self) -> String {
        format!("{}-{}", self.owner, self.address.name)
    }
}

/// What was seen of a resource.
#[derive(Clone, Debug)]
pub enum Observed {
    /// It is not there.
    Absent,
    /// It is there, with these fields and outputs.
    Present {
        /// What was read, normalized to what a playbook would say.
        fields: Fields,
        /// Values the world gave, by name.
        outputs: Vec<(&'static str, String)>,
        /// Does it carry our mark? What does not is never deleted.
        ours: bool,
    },
    /// Something else has its name; the text says what.
    Foreign(String),
    /// Not looked at, because its host does not exist yet.
    Unreached,
}

/// What a provider knows at one look.
#[derive(Debug)]
pub struct Stock {
    /// What was seen of each resource asked about, in order.
    pub seen: Vec<Observed>,
    /// Everything that carries the playbook's mark, wanted or not, in an order in which it can be deleted.
    pub owned: Vec<Owned>,
    /// What the resources asked about cost per month where they are or would be, net; or why one of them
    /// cannot be ordered.
    pub bill: Result<Vec<PriceLine>, Failure>,
    /// The leases of the playbook that hang there.
    pub leases: Vec<Lease>,
}

impl Stock {
    /// Of a provider that costs nothing and whose resources carry no mark.
    pub fn free(seen: Vec<Observed>) -> Stock {
        Stock { seen, owned: vec![], bill: Ok(vec![]), leases: vec![] }
    }
}

/// Something that carries our ownership mark.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Provider, kind and name.
    pub address: Address,
    /// The provider's own identifier.
    pub id: String,
}
