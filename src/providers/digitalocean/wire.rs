//! What we read of DigitalOcean's answers: only the fields we use. From the official OpenAPI specification.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Number, Value};

use crate::model::name::Name;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Key {
    pub id: i64,
    #[serde(default)]
    pub name: String,
    pub public_key: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Network {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    pub region: String,
    #[serde(default)]
    pub default: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Firewall {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub inbound_rules: Option<Vec<Rule>>,
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Rule {
    pub protocol: String,
    #[serde(default)]
    pub ports: String,
    pub sources: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Volume {
    pub id: String,
    pub name: String,
    pub size_gigabytes: u32,
    pub region: Place,
    #[serde(default)]
    pub filesystem_type: Option<String>,
    #[serde(default)]
    pub droplet_ids: Option<Vec<i64>>,
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Place {
    pub slug: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reserved {
    pub ip: String,
    pub region: Place,
    /// The whole droplet, of which only the identifier matters.
    pub droplet: Option<Id>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Id {
    pub id: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Droplet {
    pub id: i64,
    pub name: String,
    pub status: String,
    pub memory: u32,
    pub vcpus: u32,
    pub disk: u32,
    pub features: Vec<String>,
    pub image: Image,
    pub size_slug: String,
    pub networks: Networks,
    pub region: Place,
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    #[serde(default)]
    pub volume_ids: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Image {
    pub slug: Option<String>,
    #[serde(default)]
    distribution: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl Image {
    /// The release it is of, as clouds agree to call it: `Debian` and `13 x64` is `debian-13`.
    pub(super) fn release(&self) -> Option<String> {
        let version = self.name.as_deref()?.split(' ').next()?;
        Some(format!("{}-{version}", self.distribution.as_deref()?.to_lowercase()))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Networks {
    #[serde(default)]
    pub v4: Vec<Ip>,
    #[serde(default)]
    pub v6: Vec<Ip>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ip {
    pub ip_address: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A size. The API gives money as JSON numbers; their text is taken, never their floating point value.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Size {
    pub slug: String,
    pub memory: u32,
    pub vcpus: u32,
    pub disk: u32,
    pub transfer: Number,
    pub price_monthly: Number,
    pub regions: Vec<String>,
    pub available: bool,
}

/// The decimal a JSON number stands for: the shortest text that means it is what was sent.
pub(super) fn decimal(number: &Number) -> Decimal {
    number.to_string().parse().unwrap_or_default()
}

/// The tag of everything of `playbook`.
pub(super) fn mark(playbook: &Name) -> String {
    format!("landfall:{playbook}")
}

/// The tag of one server of `playbook`, at which its firewall aims.
pub(super) fn server_mark(playbook: &Name, server: &str) -> String {
    format!("landfall:{playbook}:{server}")
}

/// What stands before the fingerprint of a droplet's host key in its tag.
pub(super) const HOST_KEY: &str = "landfall-host-key:";
/// The same for the key that was born on the host.
pub(super) const BORN_KEY: &str = "landfall-host-key-born:";
