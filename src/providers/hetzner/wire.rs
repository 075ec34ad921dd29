//! What we read of Hetzner's answers: only the fields we use. From the official OpenAPI specification.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::model::name::Name;

/// The label that says which playbook owns a resource.
pub(super) const OWNER: &str = "landfall";
/// The label that holds the fingerprint of a server's host key: SHA-256 in base32, because label values
/// may hold letters, digits, `-`, `_` and `.` only, and at most 63 of them.
pub(super) const HOST_KEY: &str = "landfall-host-key";
/// The same for the key that was born on the host.
pub(super) const BORN_KEY: &str = "landfall-host-key-born";

/// Labels.
pub(super) type Labels = BTreeMap<String, String>;

/// Anything with a name and labels.
pub(super) trait Labelled {
    /// The cloud's identifier.
    fn id(&self) -> i64;
    /// Its name.
    fn name(&self) -> &str;
    /// Its labels.
    fn labels(&self) -> &Labels;

    /// Does it carry the mark of `playbook`?
    fn is_owned_by(&self, playbook: &Name) -> bool {
        self.labels().get(OWNER).is_some_and(|owner| owner == playbook.as_str())
    }
}

macro_rules! labelled {
    ($($kind:ty),*) => {$(
        impl Labelled for $kind {
            fn id(&self) -> i64 {
                self.id
            }
            fn name(&self) -> &str {
                &self.name
            }
            fn labels(&self) -> &Labels {
                &self.labels
            }
        }
    )*};
}
labelled!(SshKey, PrimaryIp, Firewall, Volume, Server);

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SshKey {
    pub id: i64,
    pub name: String,
    pub public_key: String,
    pub labels: Labels,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PrimaryIp {
    pub id: i64,
    pub name: String,
    #[serde(rename = "type")]
    pub family: String,
    pub location: Named,
    pub labels: Labels,
    pub assignee_id: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Firewall {
    pub id: i64,
    pub name: String,
    #[serde(default)]
    pub labels: Labels,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Rule {
    pub direction: String,
    pub protocol: String,
    pub port: Option<String>,
    #[serde(default)]
    pub source_ips: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Volume {
    pub id: i64,
    pub name: String,
    pub size: u32,
    pub location: Named,
    pub format: Option<String>,
    pub labels: Labels,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Server {
    pub id: i64,
    pub name: String,
    pub status: String,
    pub public_net: PublicNet,
    pub server_type: ServerType,
    pub location: Named,
    pub image: Option<Image>,
    pub backup_window: Option<String>,
    pub primary_disk_size: Decimal,
    pub labels: Labels,
    #[serde(default)]
    pub volumes: Vec<i64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PublicNet {
    pub ipv4: Option<Ip>,
    pub ipv6: Option<Ip>,
    #[serde(default)]
    pub firewalls: Vec<AppliedFirewall>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ip {
    pub ip: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct AppliedFirewall {
    pub id: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Named {
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Image {
    pub name: Option<String>,
}

/// A plan. Prices are decimal strings, net of tax.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServerType {
    pub name: String,
    pub cores: Decimal,
    pub memory: Decimal,
    pub architecture: String,
    pub disk: Decimal,
    #[serde(default)]
    pub prices: Vec<LocationPrice>,
    #[serde(default)]
    pub locations: Vec<Availability>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct LocationPrice {
    pub location: String,
    pub price_monthly: Price,
    /// Bytes.
    pub included_traffic: Option<i64>,
    pub price_per_tb_traffic: Option<Price>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Price {
    pub net: Decimal,
}

/// Whether a plan can be ordered somewhere; in the API since 2026-04-01.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Availability {
    pub name: String,
    pub available: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pricing {
    pub currency: String,
    pub vat_rate: Option<Decimal>,
    pub primary_ips: Vec<PrimaryIpPrices>,
    pub volume: VolumePrice,
    pub server_backup: BackupPrice,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PrimaryIpPrices {
    #[serde(rename = "type")]
    pub family: String,
    pub prices: Vec<LocationPrice>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct VolumePrice {
    pub price_per_gb_month: Price,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct BackupPrice {
    pub percentage: Decimal,
}
