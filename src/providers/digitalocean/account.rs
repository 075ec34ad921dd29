//! Looking at an account: one list call per kind, side by side.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::model::access::{Vouch, VouchFor};
use crate::model::catalog::{Catalog, Offer, Plan};
use crate::model::cloud;
use crate::model::failure::Failure;
use crate::model::money::PriceLine;
use crate::model::name::Name;
use crate::model::resource::{Address, Fields, Observed, Owned, Resource, Spec};
use crate::model::value::Value;
use crate::providers::digitalocean::api::Ocean;
use crate::providers::digitalocean::wire::{
    BORN_KEY, Droplet, Firewall, HOST_KEY, Key, Network, Reserved, Rule, Size, Volume, decimal, mark, server_mark,
};
use crate::providers::first_boot::from_label;

/// Prices that the API does not tell, of the price pages of 2026-09: a gigabyte of a volume a month, a further
/// terabyte of traffic, and backups in per cent of the droplet.
const VOLUME_CENTS: i64 = 10;
const TRAFFIC_CENTS: i64 = 1000;
const BACKUPS_PERCENT: i64 = 20;

/// What the account holds.
pub(super) struct Account<'a> {
    api: Ocean<'a>,
    owner: Name,
    pub keys: Vec<Key>,
    pub networks: Vec<Network>,
    pub firewalls: Vec<Firewall>,
    pub volumes: Vec<Volume>,
    pub reserved: Vec<Reserved>,
    /// Only those of the playbook: names of others do not matter, since they are not unique.
    pub droplets: Vec<Droplet>,
}

impl<'a> Account<'a> {
    /// Lists what is there, and the droplets that carry the mark of `owner`.
    pub(super) async fn load(api: Ocean<'a>, owner: &Name) -> Result<Account<'a>, Failure> {
        let tagged = [("tag_name", mark(owner))];
        let (keys, networks, firewalls, volumes, reserved, droplets) = tokio::try_join!(
            api.list("/account/keys", "ssh_keys", &[]),
            api.list("/vpcs", "vpcs", &[]),
            api.list("/firewalls", "firewalls", &[]),
            api.list("/volumes", "volumes", &[]),
            api.list("/reserved_ips", "reserved_ips", &[]),
            api.list("/droplets", "droplets", &tagged),
        )?;
        let mut droplets: Vec<Droplet> = droplets;
        droplets.sort_by_key(|droplet| droplet.id);
        Ok(Account { api, owner: owner.clone(), keys, networks, firewalls, volumes, reserved, droplets })
    }

    /// The droplet of this server.
    pub(super) fn droplet(&self, server: &str) -> Option<&Droplet> {
        let name = format!("{}-{server}", self.owner);
        self.droplets.iter().filter(|droplet| droplet.name == name && droplet.status != "archive").min_by_key(|d| d.id)
    }

    /// The account's entry for a public key, whatever its name and comment.
    pub(super) fn key(&self, public_key: &str) -> Option<&Key> {
        let core = |key: &str| key.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
        self.keys.iter().find(|key| core(&key.public_key) == core(public_key))
    }

    /// The name our keys have: it is their only place for a mark.
    pub(super) fn key_name(&self, resource: &Resource) -> String {
        format!("{}:{}", mark(&self.owner), resource.address.name)
    }

    /// The reserved address of a server: the one the lock line names, or, while one is being reserved, the one its
    /// droplet has. Another one at the droplet is somebody's own.
    pub(super) fn reserved(&self, server: &str) -> Option<&Reserved> {
        let kept = reserved_key(server).and_then(|step| self.api.doors.references.get(&step))?;
        match kept == PENDING {
            true => self.at_droplet(server),
            false => self.reserved.iter().find(|reserved| reserved.ip == kept),
        }
    }

    /// The reserved address that leads to a server's droplet, whosever it is.
    pub(super) fn at_droplet(&self, server: &str) -> Option<&Reserved> {
        let droplet = self.droplet(server)?.id;
        self.reserved.iter().find(|reserved| reserved.droplet.as_ref().is_some_and(|d| d.id == droplet))
    }

    /// Our own volume of this name.
    pub(super) fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == name && volume.is_owned_by(&self.owner))
    }

    /// What was seen of `resource`.
    pub(super) fn see(&self, resource: &Resource) -> Observed {
        let name = resource.cloud_name();
        let present = |fields: Fields, ours: bool| Observed::Present { fields, outputs: vec![], ours };
        match &resource.spec {
            Spec::SshKey(spec) => match self.key(&spec.public_key) {
                Some(key) => present(
                    Fields::from([("public_key", spec.public_key.as_str().into())]),
                    key.name == self.key_name(resource),
                ),
                None => Observed::Absent,
            },
            Spec::PrivateNetwork(_) => match self.networks.iter().find(|network| network.name == name) {
                // The first network of a place becomes its default, which nobody can delete.
                Some(network) if network.is_owned_by(&self.owner) => {
                    present(Fields::from([("location", network.region.as_str().into())]), !network.default)
                }
                Some(network) => self.stranger(resource, &network.id, "the description"),
                None => Observed::Absent,
            },
            Spec::Firewall(_) => match self.firewalls.iter().find(|firewall| firewall.name == name) {
                Some(firewall) if firewall.is_owned_by(&self.owner) => {
                    let mut open: Vec<String> = firewall.inbound_rules.iter().flatten().map(in_words).collect();
                    open.sort();
                    present(Fields::from([("open", Value::texts(open))]), true)
                }
                Some(firewall) => Observed::Foreign(format!(
                    "a firewall called {name} (id {}) is in the account and is not Landfall's; rename it, or hand it over \
                     with the tag {}",
                    firewall.id,
                    server_mark(&self.owner, &resource.address.name)
                )),
                None => Observed::Absent,
            },
            Spec::Volume(spec) => self.see_volume(resource, spec, &name),
            Spec::ReservedIp(spec) => self.see_reserved(resource, spec),
            Spec::Server(spec) => match self.droplet(&resource.address.name) {
                Some(droplet) => Observed::Present {
                    fields: self.droplet_fields(droplet, spec, resource),
                    outputs: outputs(droplet),
                    ours: true,
                },
                None => Observed::Absent,
            },
            Spec::Vouch(spec) => self.droplet(&spec.server).map_or(Observed::Absent, |droplet| vouch(droplet, spec)),
            _ => Observed::Absent,
        }
    }

    fn see_reserved(&self, resource: &Resource, spec: &cloud::ReservedIp) -> Observed {
        let kept = reserved_key(&spec.server).and_then(|step| self.api.doors.references.get(&step));
        let found = match self.reserved(&spec.server) {
            Some(reserved) => reserved,
            None => match self.at_droplet(&spec.server) {
                Some(stranger) if resource.adopt => stranger,
                Some(stranger) => {
                    return Observed::Foreign(format!(
                        "the droplet has the reserved address {}, and this playbook's lock line does not name it. Add \
                         --adopt {} to take it over; it then goes with the server",
                        stranger.ip, resource.address
                    ));
                }
                None => return Observed::Absent,
            },
        };
        let droplet = self.droplet(&spec.server).map(|droplet| droplet.id);
        let assigned = found.droplet.as_ref().is_some_and(|d| Some(d.id) == droplet);
        let fields = Fields::from([
            ("location", found.region.slug.as_str().into()),
            ("assigned", assigned.into()),
            ("kept", (kept.as_ref() == Some(&found.ip)).into()),
        ]);
        Observed::Present { fields, outputs: vec![("ipv4", found.ip.clone())], ours: true }
    }

    fn see_volume(&self, resource: &Resource, spec: &cloud::Volume, name: &str) -> Observed {
        let ours = |volume: &&Volume| volume.name == name && volume.is_owned_by(&self.owner);
        let found =
            self.volumes.iter().find(ours).or_else(|| {
                self.volumes.iter().find(|volume| volume.name == name && volume.region.slug == spec.location)
            });
        match found {
            Some(volume) if volume.is_owned_by(&self.owner) => {
                let format = volume.filesystem_type.as_deref().filter(|format| !format.is_empty());
                let fields = Fields::from([
                    ("size_gb", Value::Int(volume.size_gigabytes.into())),
                    ("location", volume.region.slug.as_str().into()),
                    ("format", format.unwrap_or("none").into()),
                ]);
                Observed::Present { fields, outputs: vec![], ours: true }
            }
            Some(volume) => self.stranger(resource, &volume.id, "the tag"),
            None => Observed::Absent,
        }
    }

    fn stranger(&self, resource: &Resource, id: &str, place: &str) -> Observed {
        Observed::Foreign(format!(
            "a {} called {} (id {id}) is in the account and is not Landfall's; rename it, or hand it over with {place} {}",
            resource.address.kind,
            resource.cloud_name(),
            mark(&self.owner)
        ))
    }

    fn droplet_fields(&self, droplet: &Droplet, spec: &cloud::Server, resource: &Resource) -> Fields {
        let name = resource.cloud_name();
        let own = Plan {
            name: droplet.size_slug.clone(),
            cores: droplet.vcpus.into(),
            memory_gb: Decimal::from(droplet.memory) / Decimal::from(1024),
            disk_gb: droplet.disk.into(),
            arm: false,
            offers: vec![],
        };
        let size = if own.satisfies(&spec.size) { spec.size.to_string() } else { droplet.size_slug.clone() };
        // Slugs follow the newest build of an image: an older droplet has one without, of the same release.
        let image = match droplet.image.slug.as_deref() {
            Some(slug) => plain_image(slug).to_owned(),
            None => droplet.image.release().unwrap_or_else(|| spec.image.clone()),
        };
        let mut addresses = vec!["ipv4"];
        addresses.extend((droplet.features.iter().any(|f| f == "ipv6")).then_some("ipv6"));
        let tag = server_mark(&self.owner, &resource.address.name);
        let tagged = droplet.tags.iter().flatten().any(|known| *known == tag);
        let aims = |firewall: &&Firewall| firewall.name == name && firewall.tags.iter().flatten().any(|t| *t == tag);
        let has_volume = self.volumes.iter().any(|v| v.name == name && droplet.volume_ids.contains(&v.id));
        Fields::from([
            ("size", size.into()),
            ("location", droplet.region.slug.as_str().into()),
            ("image", image.into()),
            ("backups", droplet.features.iter().any(|f| f == "backups").into()),
            ("addresses", Value::texts(addresses)),
            ("firewall", (tagged && self.firewalls.iter().any(|firewall| aims(&firewall))).into()),
            ("volume", has_volume.into()),
            // On the way up counts as up: the host itself is waited for when it is needed.
            ("running", matches!(droplet.status.as_str(), "active" | "new").into()),
        ])
    }

    /// Everything that carries the playbook's mark, in the order in which it can be deleted.
    pub(super) fn owned(&self) -> Vec<Owned> {
        let prefix = format!("{}-", self.owner);
        let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
        let owned = |kind: &'static str, name: String, id: String| Owned {
            address: Address { provider: "digitalocean", place: None, kind, name },
            id,
        };
        let mut all = Vec::new();
        for (step, _) in self.api.doors.references.all() {
            let Some(server) = step.as_str().strip_suffix("-ipv4") else { continue };
            if let Some(reserved) = self.reserved(server) {
                all.push(owned("reserved-ip", step.to_string(), reserved.ip.clone()));
            }
        }
        all.extend(self.droplets.iter().map(|d| owned("server", short(&d.name), d.id.to_string())));
        let volumes = self.volumes.iter().filter(|volume| volume.is_owned_by(&self.owner));
        all.extend(volumes.map(|v| owned("volume", short(&v.name), v.id.clone())));
        let firewalls = self.firewalls.iter().filter(|firewall| firewall.is_owned_by(&self.owner));
        all.extend(firewalls.map(|f| owned("firewall", short(&f.name), f.id.clone())));
        let networks = self.networks.iter().filter(|n| n.is_owned_by(&self.owner) && !n.default);
        all.extend(networks.map(|n| owned("private-network", short(&n.name), n.id.clone())));
        let own_key = format!("{}:", mark(&self.owner));
        let keys = self.keys.iter().filter_map(|key| Some((key.name.strip_prefix(&own_key)?, key.id)));
        all.extend(keys.map(|(name, id)| owned("ssh-key", name.to_owned(), id.to_string())));
        all
    }

    /// The monthly bill, net, of `want`.
    pub(super) fn bill(&self, catalog: &Catalog, want: &[Resource]) -> Result<Vec<PriceLine>, Failure> {
        catalog.bill(want, |resource, spec| {
            let droplet = self.droplet(&resource.address.name)?;
            let fields = self.droplet_fields(droplet, spec, resource);
            let stays = ["size", "location", "image"];
            let wanted = resource.spec.fields();
            // One that will be made anew is ordered anew.
            stays
                .iter()
                .all(|field| fields.get(field) == wanted.get(field))
                .then(|| (droplet.size_slug.clone(), droplet.region.slug.clone()))
        })
    }
}

impl Network {
    fn is_owned_by(&self, owner: &Name) -> bool {
        self.description.as_deref() == Some(&mark(owner))
    }
}

impl Firewall {
    fn is_owned_by(&self, owner: &Name) -> bool {
        let prefix = format!("{}:", mark(owner));
        self.tags.iter().flatten().any(|tag| tag.starts_with(&prefix))
    }
}

impl Volume {
    fn is_owned_by(&self, owner: &Name) -> bool {
        self.tags.iter().flatten().any(|tag| *tag == mark(owner))
    }
}

/// What the lock line says while an address is being reserved.
pub(super) const PENDING: &str = "pending";

/// The name under which the lock line keeps a server's reserved address.
pub(super) fn reserved_key(server: &str) -> Option<Name> {
    Name::parse(&format!("{server}-ipv4"))
}

/// The name clouds agree on for an image: `debian-13-x64` is `debian-13`.
fn plain_image(slug: &str) -> &str {
    match slug {
        "ubuntu-24-04-x64" => "ubuntu-24.04",
        slug => slug.strip_suffix("-x64").unwrap_or(slug),
    }
}

/// The other way round.
pub(super) fn image_slug(name: &str) -> String {
    format!("{}-x64", name.replace('.', "-"))
}

/// A rule in the words of [`cloud::Firewall`].
fn in_words(rule: &Rule) -> String {
    let what = match (rule.protocol.as_str(), rule.ports.as_str()) {
        ("icmp", _) => "icmp".to_owned(),
        (protocol, "0") => protocol.to_owned(),
        (protocol, ports) => format!("{protocol}/{ports}"),
    };
    let mut sources: Vec<String> = Vec::new();
    for (kind, list) in rule.sources.as_object().into_iter().flatten() {
        let texts = list.as_array().into_iter().flatten().map(|item| match (kind.as_str(), item.as_str()) {
            ("addresses", Some(text)) => text.to_owned(),
            (kind, _) => format!("{kind}:{item}"),
        });
        sources.extend(texts);
    }
    sources.sort();
    match sources == ["0.0.0.0/0", "::/0"] {
        true => what,
        false => format!("{what} from {}", sources.join(" ")),
    }
}

/// The fingerprint in the tag of a droplet that begins like this.
fn fingerprint(droplet: &Droplet, prefix: &str) -> Option<String> {
    from_label(droplet.tags.iter().flatten().find_map(|tag| tag.strip_prefix(prefix))?)
}

/// Every host key the tags vouch for: one, or two with a space between while one gives way to the other.
fn host_keys(droplet: &Droplet) -> Option<String> {
    let mut keys = vec![fingerprint(droplet, HOST_KEY)?];
    keys.extend(fingerprint(droplet, BORN_KEY).filter(|born| *born != keys[0]));
    Some(keys.join(" "))
}

fn vouch(droplet: &Droplet, spec: &Vouch) -> Observed {
    let prefix = match spec.what {
        VouchFor::Used => HOST_KEY,
        VouchFor::Born => BORN_KEY,
    };
    let Some(key) = fingerprint(droplet, prefix) else { return Observed::Absent };
    let mut outputs: Vec<_> = host_keys(droplet).into_iter().map(|keys| ("host_key", keys)).collect();
    if spec.what == VouchFor::Born {
        outputs.push(("vouched_key", key.clone()));
    }
    // A tag goes with its droplet.
    Observed::Present { fields: Fields::from([("fingerprint", key.into())]), outputs, ours: false }
}

fn outputs(droplet: &Droplet) -> Vec<(&'static str, String)> {
    let public = |list: &[crate::providers::digitalocean::wire::Ip]| {
        list.iter().find(|ip| ip.kind == "public").map(|ip| ip.ip_address.clone())
    };
    let (v4, v6) = (public(&droplet.networks.v4), public(&droplet.networks.v6));
    let known = [("address", v4.or_else(|| v6.clone())), ("ipv6", v6), ("host_key", host_keys(droplet))];
    known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Reads sizes, prices and stock.
pub(super) async fn catalog(api: Ocean<'_>) -> Result<Catalog, Failure> {
    let sizes: Vec<Size> = api.list("/sizes", "sizes", &[]).await?;
    let offers = |size: &Size| {
        let offer = |place: &String| Offer {
            place: place.clone(),
            monthly: decimal(&size.price_monthly),
            orderable: size.available,
            traffic_tb: Some(decimal(&size.transfer)),
            more_tb: Some(Decimal::new(TRAFFIC_CENTS, 2)),
        };
        size.regions.iter().map(offer).collect()
    };
    let plan = |size: &Size| Plan {
        name: size.slug.clone(),
        cores: size.vcpus.into(),
        memory_gb: Decimal::from(size.memory) / Decimal::from(1024),
        disk_gb: size.disk.into(),
        arm: false,
        offers: offers(size),
    };
    Ok(Catalog {
        provider: "digitalocean".to_owned(),
        currency: "USD".to_owned(),
        vat: None,
        plans: sizes.iter().map(plan).collect(),
        addresses: BTreeMap::new(),
        volume_gb: Decimal::new(VOLUME_CENTS, 2),
        backups: Decimal::from(BACKUPS_PERCENT),
    })
}
