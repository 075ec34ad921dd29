//! Step `server`: a machine, from a cloud or one that is there already, and who may log in to it.

mod pages;

use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::access::{BornKey, KeyInUse, Vouch, VouchFor};
use crate::model::cloud::{Firewall, IpFamily, PrimaryIp, PrivateNetwork, ReservedIp, Server, Size, SshKey, Volume};
use crate::model::draft::Draft;
use crate::model::machine::{AuthorizedKey, Existing, HostAt, User, digest};
use crate::model::name::is_user_name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::question::Page;
use crate::model::resource::{Resource, Spec};
use crate::model::system::System;
use crate::model::value::{OutputKey, Value};
use crate::steps::{About, Needs, Site, Step, firewall};

/// The step itself.
pub struct ServerStep;

/// Where the machine comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerProvider {
    /// Hetzner Cloud.
    Hetzner,
    /// DigitalOcean.
    Digitalocean,
    /// A machine you already have.
    Existing,
}

impl ServerProvider {
    /// What playbooks and addresses call it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerProvider::Hetzner => "hetzner",
            ServerProvider::Digitalocean => "digitalocean",
            ServerProvider::Existing => "existing",
        }
    }
}

/// Answers of the step `server`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerAnswers {
    /// Where the machine comes from.
    pub provider: ServerProvider,
    /// Where: the provider's name for the place, such as `fsn1`, or an area that every cloud has: `europe`, `germany`,
    /// `us-east`, `us-west` or `singapore`. Not for `existing`.
    pub location: Option<String>,
    /// How big: a plan's name, a list of names tried in order, or `{ cpu = 2, memory_gb = 4 }` for the
    /// cheapest orderable plan that fits. Not for `existing`.
    pub size: Option<Size>,
    /// The operating system, made or found.
    #[serde(default)]
    pub image: System,
    /// The account that administers the machine; it is made. Default `deploy`. Not for `existing`.
    pub admin: Option<String>,
    /// Public keys that may log in, one line each. The private half of one of them must be on this
    /// machine, in a file or in the agent.
    pub keys: Vec<String>,
    /// Does the provider keep daily backups? Default no.
    pub backups: Option<bool>,
    /// Does it have an IPv4 address? Default yes.
    pub ipv4: Option<bool>,
    /// Does it have an IPv6 network? Default yes.
    pub ipv6: Option<bool>,
    /// A volume of this many gigabytes, formatted and attached, that outlives the server.
    #[schemars(range(min = 10, max = 10240))]
    pub volume_gb: Option<u32>,
    /// The address of an `existing` machine.
    pub address: Option<IpAddr>,
    /// The port its sshd listens on. Default 22. Only for `existing`.
    pub port: Option<u16>,
    /// The account to log in to: root, or one that may use sudo without a password. Default `root`.
    /// Only for `existing`.
    pub user: Option<String>,
    /// The fingerprint of its ed25519 host key, `SHA256:…`, as `ssh-keygen -lf` prints it, or that public key.
    /// Only for `existing`.
    pub host_key: Option<String>,
}

impl Step for ServerStep {
    fn kind(&self) -> &'static str {
        "server"
    }

    fn about(&self) -> About {
        About {
            title: "A server",
            summary: "Makes a server with its addresses, firewall, backups and admin account, or takes over \
                      one that is there already. Every other step that runs on a machine names this one with `on`. \
                      The provider's firewall lets in what a step `firewall` says, or SSH, HTTP and HTTPS without one. \
                      A made server is known by a host key it was handed, and soon by one born on it.",
            outputs: &[
                ("address", "the address Landfall connects to"),
                ("ipv4", "its IPv4 address"),
                ("ipv6", "its IPv6 address"),
                ("host_key", "the fingerprint of its SSH host key"),
            ],
        }
    }

    fn pages(&self, draft: &Draft) -> Vec<Page> {
        pages::pages(draft)
    }

    fn named_server(&self, _draft: &Draft) -> Option<&'static str> {
        None
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<ServerAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<ServerAnswers>()?;
        check_provider(entry, &answers)?;
        if answers.keys.is_empty() {
            return Err(Problem::new(entry.place_of("keys"), "no keys: nobody could log in")
                .expected("at least one public key")
                .hint("print yours with `cat ~/.ssh/id_ed25519.pub`, or make one with `ssh-keygen -t ed25519`"));
        }
        for key in &answers.keys {
            if key.contains("PRIVATE KEY") {
                return Err(Problem::new(entry.place_of("keys"), "this is the private half of a key")
                    .expected("the public half: a line such as \"ssh-ed25519 AAAA… me@laptop\", as in the file that ends in .pub")
                    .hint("whoever has seen the private half can log in with it: make a new pair with `ssh-keygen -t ed25519`"));
            }
            if key.ends_with(".pub") {
                return Err(Problem::new(entry.place_of("keys"), format!("`{key}` is a file's name"))
                    .expected("what stands in it: a line such as \"ssh-ed25519 AAAA… me@laptop\"")
                    .hint(format!("print it with `cat {key}`")));
            }
            if key.chars().any(char::is_control) || ssh_key::PublicKey::from_openssh(key).is_err() {
                let shown: String = key.chars().take(24).collect();
                return Err(Problem::new(entry.place_of("keys"), format!("bad public key `{shown}`"))
                    .expected("a line such as \"ssh-ed25519 AAAA… me@laptop\""));
            }
        }
        for (field, name) in [("admin", &answers.admin), ("user", &answers.user)] {
            if let Some(name) = name
                && !is_user_name(name)
            {
                return Err(Problem::new(entry.place_of(field), format!("bad account name `{name}`"))
                    .expected("a lower-case letter, then lower-case letters, digits, hyphens and underscores"));
            }
        }
        if answers.admin.as_deref() == Some("root") {
            return Err(Problem::new(entry.place_of("admin"), "root as the admin")
                .expected("an account of its own, such as \"deploy\"")
                .hint("it gets sudo, and root's own login stays shut"));
        }
        if let Some(size @ (0..10 | 10241..)) = answers.volume_gb {
            return Err(
                Problem::new(entry.place_of("volume_gb"), format!("a volume of {size} GB")).expected("10 to 10240")
            );
        }
        if answers.ipv4 == Some(false) && answers.ipv6 == Some(false) {
            return Err(Problem::new(entry.place_of("ipv4"), "a server without any address")
                .expected("`ipv4` or `ipv6` to be true"));
        }
        if let Some(key) = &answers.host_key
            && fingerprint(key).is_none()
        {
            return Err(Problem::new(entry.place_of("host_key"), "bad host key")
                .expected("a fingerprint such as \"SHA256:…\", or a line such as \"ssh-ed25519 AAAA…\"")
                .hint("on the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"));
        }
        Ok(Needs::default())
    }

    fn outputs(&self, entry: &Entry) -> Vec<&'static str> {
        let Ok(answers) = entry.answers::<ServerAnswers>() else { return vec![] };
        let mut names = vec!["address", "host_key"];
        names.extend(families(&answers).into_iter().map(IpFamily::as_str));
        names
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<ServerAnswers>()?;
        let id = site.entry.id.to_string();
        let host = host_at(site, site.entry)?;
        let mut all = Vec::new();

        match answers.provider {
            ServerProvider::Hetzner | ServerProvider::Digitalocean => {
                all.extend(in_a_cloud(site, &answers, &host)?);
                all.extend(own_host_key(site, &host, answers.provider.as_str(), &id));
                let user =
                    User { name: host.user.clone(), shell: Some("/bin/bash".into()), groups: vec!["sudo".to_owned()] };
                all.push(site.on_host(&host, "user", host.user.clone(), Spec::User(user)));
            }
            ServerProvider::Existing => {
                let spec = Existing {
                    address: answers.address.map(|ip| ip.to_string()).unwrap_or_default(),
                    port: host.port,
                    host_key: host.host_key.to_string(),
                };
                all.push(site.in_cloud("existing", "server", id, Spec::Existing(spec)));
            }
        }
        for key in &host.keys {
            let name = format!("{}/{}", host.user, &digest(key.as_bytes())[..8]);
            let spec = AuthorizedKey { user: host.user.clone(), key: key.clone() };
            all.push(site.on_host(&host, "authorized-key", name, Spec::AuthorizedKey(spec)));
        }
        Ok(all)
    }
}

/// The server and what it needs of its cloud, in an order in which it can be made.
fn in_a_cloud(site: &Site<'_>, answers: &ServerAnswers, host: &HostAt) -> Result<Vec<Resource>, Problem> {
    let cloud = answers.provider.as_str();
    let id = site.entry.id.to_string();
    let location = place(answers.provider, answers.location.as_deref().unwrap_or_default()).to_owned();
    let families = families(answers);
    let mut all = Vec::new();
    for key in &host.keys {
        let name = digest(key.as_bytes())[..8].to_owned();
        let spec = SshKey { public_key: key.clone() };
        all.push(site.in_cloud(cloud, "ssh-key", name, Spec::SshKey(spec)));
    }
    match answers.provider {
        // Addresses of their own, made before their server.
        ServerProvider::Hetzner => {
            for family in &families {
                let name = format!("{id}-{}", family.as_str());
                let spec = PrimaryIp { family: *family, location: location.clone() };
                all.push(site.in_cloud(cloud, "primary-ip", name, Spec::PrimaryIp(spec)));
            }
        }
        _ => {
            let spec = PrivateNetwork { location: location.clone() };
            all.push(site.in_cloud(cloud, "private-network", id.clone(), Spec::PrivateNetwork(spec)));
        }
    }
    let open = firewall::of_provider(site, &site.entry.id)?;
    all.push(site.in_cloud(cloud, "firewall", id.clone(), Spec::Firewall(Firewall { open })));
    if let Some(size_gb) = answers.volume_gb {
        let spec = Volume { size_gb, location: location.clone(), format: "ext4" };
        all.push(site.in_cloud(cloud, "volume", id.clone(), Spec::Volume(spec)));
    }
    let server = Server {
        size: answers.size.clone().unwrap_or(Size::AtLeast { cpu: 1, memory_gb: 1 }),
        location: location.clone(),
        image: answers.image.as_str().to_owned(),
        backups: answers.backups.unwrap_or(false),
        families,
        volume: answers.volume_gb.is_some(),
        admin: host.user.clone(),
        keys: host.keys.clone(),
        ceiling: budget(site, answers.provider),
    };
    all.push(site.in_cloud(cloud, "server", id.clone(), Spec::Server(server)));
    if answers.provider == ServerProvider::Digitalocean {
        // A droplet's own address goes with it; this one stays.
        let spec = ReservedIp { server: id.clone(), location };
        all.push(site.in_cloud(cloud, "reserved-ip", format!("{id}-ipv4"), Spec::ReservedIp(spec)));
    }
    Ok(all)
}

/// The most a server may cost: the budget in the currency its provider sells in.
fn budget(site: &Site<'_>, provider: ServerProvider) -> Option<rust_decimal::Decimal> {
    let currency = if provider == ServerProvider::Hetzner { "EUR" } else { "USD" };
    site.playbook.budget.iter().find(|budget| budget.currency == currency).map(|budget| budget.monthly)
}

/// Areas that mean a place at every cloud, so that a playbook moves from one to another by one word: area, Hetzner's
/// name, DigitalOcean's name.
const AREAS: &[(&str, &str, &str)] = &[
    ("europe", "fsn1", "fra1"),
    ("germany", "fsn1", "fra1"),
    ("us-east", "ash", "nyc3"),
    ("us-west", "hil", "sfo3"),
    ("singapore", "sin", "sgp1"),
];

/// The provider's name of a place: what was said, or its place in the area that was said.
fn place(provider: ServerProvider, said: &str) -> &str {
    match AREAS.iter().find(|(area, _, _)| *area == said) {
        Some((_, hetzner, _)) if provider == ServerProvider::Hetzner => hetzner,
        Some((_, _, digitalocean)) => digitalocean,
        None => said,
    }
}

/// The way from the host key that was handed over at creation, and has been in other hands, to one that
/// was born on the host: made there, vouched for by the provider beside the first, taken into use, and from
/// then on the only one. At every moment the provider vouches for the key sshd shows.
fn own_host_key(site: &Site<'_>, host: &HostAt, cloud: &'static str, id: &str) -> Vec<Resource> {
    let step = &site.entry.id;
    let vouch = |name: &str, key: &str, what: VouchFor| {
        let spec = Vouch { server: id.to_owned(), fingerprint: site.output(step, key), what };
        site.in_cloud(cloud, "vouch", format!("{id}/{name}"), Spec::Vouch(spec))
    };
    let used = KeyInUse { fingerprint: site.output(step, "vouched_key") };
    vec![
        site.on_host(host, "host-key", "born".into(), Spec::BornKey(BornKey)),
        vouch("host-key-born", "born_key", VouchFor::Born),
        site.on_host(host, "host-key", "in-use".into(), Spec::KeyInUse(used)),
        vouch("host-key", "key_in_use", VouchFor::Used),
    ]
}

/// How to reach the host that `entry`, a step `server`, makes.
pub fn host_at(site: &Site<'_>, entry: &Entry) -> Result<HostAt, Problem> {
    let answers = entry.answers::<ServerAnswers>()?;
    let keys = answers.keys.iter().map(|key| without_comment(key)).collect();
    let step = entry.id.clone();
    Ok(match answers.provider {
        ServerProvider::Hetzner | ServerProvider::Digitalocean => HostAt {
            address: site.output(&step, "address"),
            port: 22,
            user: answers.admin.clone().unwrap_or_else(|| "deploy".to_owned()),
            host_key: site.output(&step, "host_key"),
            system: answers.image,
            made_by_us: true,
            keys,
            step,
        },
        ServerProvider::Existing => HostAt {
            address: answers.address.map_or_else(
                || Value::Output(OutputKey { step: step.clone(), name: "address".into() }),
                |ip| ip.to_string().into(),
            ),
            port: answers.port.unwrap_or(22),
            user: answers.user.clone().unwrap_or_else(|| "root".to_owned()),
            host_key: answers.host_key.as_deref().and_then(fingerprint).unwrap_or_default().into(),
            system: answers.image,
            made_by_us: false,
            keys,
            step,
        },
    })
}

/// Are the answers those of their provider?
fn check_provider(entry: &Entry, answers: &ServerAnswers) -> Result<(), Problem> {
    let of_clouds = [
        ("location", answers.location.is_some()),
        ("size", answers.size.is_some()),
        ("admin", answers.admin.is_some()),
        ("backups", answers.backups.is_some()),
        ("ipv4", answers.ipv4.is_some()),
        ("ipv6", answers.ipv6.is_some()),
        ("volume_gb", answers.volume_gb.is_some()),
    ];
    let of_existing = [
        ("address", answers.address.is_some()),
        ("host_key", answers.host_key.is_some()),
        ("port", answers.port.is_some()),
        ("user", answers.user.is_some()),
    ];
    // The first two of each are needed.
    let (wanted, others) = match answers.provider {
        ServerProvider::Hetzner | ServerProvider::Digitalocean => (&of_clouds[..2], &of_existing[..]),
        ServerProvider::Existing => (&of_existing[..2], &of_clouds[..]),
    };
    let provider = answers.provider.as_str();
    if let Some((missing, _)) = wanted.iter().find(|(_, given)| !given) {
        return Err(Problem::new(entry.at.clone(), format!("missing field `{missing}`"))
            .hint(format!("a server of provider `{provider}` needs `{missing}`")));
    }
    if let Some((extra, _)) = others.iter().find(|(_, given)| *given) {
        return Err(Problem::new(entry.place_of(extra), format!("`{extra}` means nothing to provider `{provider}`"))
            .hint("take the line out, or change the provider"));
    }
    if answers.provider == ServerProvider::Digitalocean && entry.id.as_str().len() > 35 {
        return Err(Problem::new(entry.place_of("id"), format!("the name `{}` is too long", entry.id))
            .expected("at most 35 characters with provider `digitalocean`")
            .hint("the lock line keeps its reserved address under that name with `-ipv4` behind it"));
    }
    if answers.provider == ServerProvider::Digitalocean && answers.ipv4 == Some(false) {
        return Err(Problem::new(entry.place_of("ipv4"), "a droplet without IPv4")
            .expected("`ipv4` to be left out")
            .hint("DigitalOcean gives every droplet an IPv4 address"));
    }
    if let Some(location) = &answers.location
        && !location.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return Err(Problem::new(entry.place_of("location"), format!("bad location `{location}`"))
            .expected("the provider's name for a place, such as \"fsn1\""));
    }
    Ok(())
}

pub(crate) fn families(answers: &ServerAnswers) -> Vec<IpFamily> {
    let of_address = |family| match (answers.address, family) {
        (Some(ip), IpFamily::V4) => ip.is_ipv4(),
        (Some(ip), IpFamily::V6) => ip.is_ipv6(),
        (None, IpFamily::V4) => answers.ipv4.unwrap_or(true),
        (None, IpFamily::V6) => answers.ipv6.unwrap_or(true),
    };
    [IpFamily::V4, IpFamily::V6].into_iter().filter(|family| of_address(*family)).collect()
}

/// A public key without its comment: what tells keys apart.
fn without_comment(key: &str) -> String {
    key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// The SHA-256 fingerprint meant by `text`: itself, or that of the public key it is.
fn fingerprint(text: &str) -> Option<String> {
    // Or the whole line of `ssh-keygen -lf`: bits, fingerprint, comment, kind.
    if let Some(text) = text.split_whitespace().find(|word| word.starts_with("SHA256:")) {
        return text.parse::<ssh_key::Fingerprint>().ok().map(|fingerprint| fingerprint.to_string());
    }
    let key = ssh_key::PublicKey::from_openssh(text).ok()?;
    Some(key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
}
