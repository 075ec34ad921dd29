//! Looking at a Hetzner project: one list call per kind, side by side.

use crate::model::access::{Vouch, VouchFor};
use crate::model::cloud;
use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::resource::{Address, Fields, Observed, Owned, Resource, Spec};
use crate::model::value::Value;
use crate::providers::first_boot::from_label;
use crate::providers::hetzner::api::Hcloud;
use crate::providers::hetzner::sizes::satisfies;
use crate::providers::hetzner::wire::{
    BORN_KEY, Firewall, HOST_KEY, Labelled, PrimaryIp, Rule, Server, SshKey, Volume,
};

/// Everything in the project of the kinds that were asked for.
#[derive(Debug, Default)]
pub(super) struct Project {
    /// Its SSH keys.
    pub ssh_keys: Vec<SshKey>,
    /// Its primary addresses.
    pub primary_ips: Vec<PrimaryIp>,
    /// Its firewalls.
    pub firewalls: Vec<Firewall>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Its servers.
    pub servers: Vec<Server>,
}

impl Project {
    /// Lists what is in the project, leaving out the kinds that nobody asks for. `only` narrows the lists
    /// to one playbook's mark; without it they hold everything, so that a stranger of the same name is seen.
    pub(super) async fn load(api: Hcloud<'_>, kinds: &[&str], only: Option<&str>) -> Result<Project, Failure> {
        let query: Vec<(&'static str, String)> =
            only.map(|owner| ("label_selector", format!("landfall={owner}"))).into_iter().collect();
        // A server's firewall and volume are known by their identifiers only.
        let has = |kind: &str| {
            kinds.contains(&kind)
                || kinds.contains(&"server") && matches!(kind, "firewall" | "volume")
                || kinds.contains(&"vouch") && kind == "server"
        };
        let (ssh_keys, primary_ips, firewalls, volumes, servers) = tokio::try_join!(
            list_if(has("ssh-key"), api, "/ssh_keys", "ssh_keys", &query),
            list_if(has("primary-ip"), api, "/primary_ips", "primary_ips", &query),
            list_if(has("firewall"), api, "/firewalls", "firewalls", &query),
            list_if(has("volume"), api, "/volumes", "volumes", &query),
            list_if(has("server"), api, "/servers", "servers", &query),
        )?;
        Ok(Project { ssh_keys, primary_ips, firewalls, volumes, servers })
    }

    /// What was seen of `resource`.
    pub(super) fn see(&self, resource: &Resource) -> Observed {
        match &resource.spec {
            // A key is known by itself: the project takes each key only once, under whatever name.
            Spec::SshKey(spec) => match self.ssh_key(&spec.public_key) {
                Some(key) => Observed::Present {
                    fields: Fields::from([("public_key", spec.public_key.as_str().into())]),
                    outputs: vec![],
                    ours: key.is_owned_by(&resource.owner),
                },
                None => Observed::Absent,
            },
            Spec::PrimaryIp(_) => named(&self.primary_ips, resource, |ip| {
                (
                    Fields::from([
                        ("family", ip.family.as_str().into()),
                        ("location", ip.location.name.as_str().into()),
                    ]),
                    vec![],
                )
            }),
            Spec::Firewall(_) => named(&self.firewalls, resource, |firewall| {
                let mut open: Vec<String> = firewall.rules.iter().map(in_words).collect();
                open.sort();
                (Fields::from([("open", Value::texts(open))]), vec![])
            }),
            Spec::Volume(_) => named(&self.volumes, resource, |volume| {
                let fields = Fields::from([
                    ("size_gb", Value::Int(volume.size.into())),
                    ("location", volume.location.name.as_str().into()),
                    ("format", volume.format.as_deref().unwrap_or("none").into()),
                ]);
                (fields, vec![])
            }),
            Spec::Server(spec) => named(&self.servers, resource, |server| {
                (self.server_fields(server, spec, &resource.cloud_name()), outputs(server))
            }),
            Spec::Vouch(spec) => {
                let name = format!("{}-{}", resource.owner, spec.server);
                let server = self.servers.iter().find(|s| s.name == name && s.is_owned_by(&resource.owner));
                server.map_or(Observed::Absent, |server| vouch(server, spec))
            }
            _ => Observed::Absent,
        }
    }

    /// Everything that carries the mark of `playbook`, in the order in which it can be deleted.
    pub(super) fn owned(&self, playbook: &Name) -> Vec<Owned> {
        fn owned<T: Labelled>(kind: &'static str, playbook: &Name, all: &[T]) -> Vec<Owned> {
            let prefix = format!("{playbook}-");
            let ours = all.iter().filter(|entry| entry.is_owned_by(playbook));
            ours.map(|entry| {
                let name = entry.name().strip_prefix(&prefix).unwrap_or(entry.name()).to_owned();
                let address = Address { provider: "hetzner", place: None, kind, name };
                Owned { address, id: entry.id().to_string() }
            })
            .collect()
        }
        let mut all = owned("server", playbook, &self.servers);
        all.extend(owned("volume", playbook, &self.volumes));
        all.extend(owned("firewall", playbook, &self.firewalls));
        all.extend(owned("primary-ip", playbook, &self.primary_ips));
        all.extend(owned("ssh-key", playbook, &self.ssh_keys));
        all
    }

    /// The project's entry for a public key, whatever its name and comment.
    pub(super) fn ssh_key(&self, public_key: &str) -> Option<&SshKey> {
        let core = |key: &str| key.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
        self.ssh_keys.iter().find(|key| core(&key.public_key) == core(public_key))
    }

    fn server_fields(&self, server: &Server, spec: &cloud::Server, name: &str) -> Fields {
        let size = match satisfies(&server.server_type, &spec.size) {
            true => spec.size.to_string(),
            false => server.server_type.name.clone(),
        };
        let image = server.image.as_ref().and_then(|image| image.name.clone());
        let net = &server.public_net;
        let addresses = [("ipv4", net.ipv4.is_some()), ("ipv6", net.ipv6.is_some())];
        let guarded = self.firewalls.iter().any(|f| f.name == name && net.firewalls.iter().any(|a| a.id == f.id));
        let has_volume = self.volumes.iter().any(|v| v.name == name && server.volumes.contains(&v.id));
        Fields::from([
            ("size", size.into()),
            ("location", server.location.name.as_str().into()),
            ("image", image.unwrap_or_else(|| "(no longer known)".to_owned()).into()),
            ("backups", server.backup_window.is_some().into()),
            ("addresses", Value::texts(addresses.into_iter().filter(|(_, there)| *there).map(|(name, _)| name))),
            ("firewall", guarded.into()),
            ("volume", has_volume.into()),
            // On the way up counts as up: the host itself is waited for when it is needed.
            ("running", matches!(server.status.as_str(), "running" | "starting" | "initializing").into()),
        ])
    }
}

async fn list_if<T: serde::de::DeserializeOwned>(
    wanted: bool,
    api: Hcloud<'_>,
    path: &str,
    key: &str,
    query: &[(&'static str, String)],
) -> Result<Vec<T>, Failure> {
    if wanted { api.list(path, key, query).await } else { Ok(vec![]) }
}

/// What has the resource's name: ours, or a stranger.
fn named<T: Labelled>(
    all: &[T],
    resource: &Resource,
    read: impl FnOnce(&T) -> (Fields, Vec<(&'static str, String)>),
) -> Observed {
    let name = resource.cloud_name();
    match all.iter().find(|entry| entry.name() == name) {
        Some(entry) if entry.is_owned_by(&resource.owner) => {
            let (fields, outputs) = read(entry);
            Observed::Present { fields, outputs, ours: true }
        }
        Some(entry) => Observed::Foreign(format!(
            "a {} called {name} (id {}) is in the project and is not Landfall's; rename it, or give it the label \
             landfall={} to hand it over",
            resource.address.kind,
            entry.id(),
            resource.owner
        )),
        None => Observed::Absent,
    }
}

/// A rule in the words of [`cloud::Firewall`]; one that is not open to the world is told in full.
fn in_words(rule: &Rule) -> String {
    let mut text = rule.protocol.clone();
    if let Some(port) = &rule.port {
        text = format!("{text}/{port}");
    }
    let mut sources = rule.source_ips.clone();
    sources.sort();
    match (rule.direction.as_str(), sources == ["0.0.0.0/0", "::/0"]) {
        ("in", true) => text,
        ("in", false) => format!("{text} from {}", sources.join(" ")),
        (direction, _) => format!("{text} {direction} {}", sources.join(" ")),
    }
}

/// The fingerprint a label of a server holds.
pub(super) fn fingerprint(server: &Server, label: &str) -> Option<String> {
    from_label(server.labels.get(label)?)
}

/// Every host key the labels vouch for: one, or two with a space between while one gives way to the other.
fn host_keys(server: &Server) -> Option<String> {
    let mut keys = vec![fingerprint(server, HOST_KEY)?];
    keys.extend(fingerprint(server, BORN_KEY).filter(|born| *born != keys[0]));
    Some(keys.join(" "))
}

fn vouch(server: &Server, spec: &Vouch) -> Observed {
    let label = match spec.what {
        VouchFor::Used => HOST_KEY,
        VouchFor::Born => BORN_KEY,
    };
    let Some(key) = fingerprint(server, label) else { return Observed::Absent };
    let mut outputs: Vec<_> = host_keys(server).into_iter().map(|keys| ("host_key", keys)).collect();
    if spec.what == VouchFor::Born {
        outputs.push(("vouched_key", key.clone()));
    }
    // A label goes with its server.
    Observed::Present { fields: Fields::from([("fingerprint", key.into())]), outputs, ours: false }
}

fn outputs(server: &Server) -> Vec<(&'static str, String)> {
    let ipv4 = server.public_net.ipv4.as_ref().map(|v4| v4.ip.clone());
    // The API gives the network; the server has its first address.
    let ipv6 = server.public_net.ipv6.as_ref().map(|v6| match v6.ip.split_once('/') {
        Some((network, _)) => format!("{network}1"),
        None => v6.ip.clone(),
    });
    let host_key = host_keys(server);
    [("address", ipv4.clone().or_else(|| ipv6.clone())), ("ipv4", ipv4), ("ipv6", ipv6), ("host_key", host_key)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
