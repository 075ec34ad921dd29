//! What a playbook can want of a cloud, in words all clouds share.

use std::fmt;

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::resource::Fields;
use crate::model::value::Value;

/// A public key the cloud injects into new servers.
#[derive(Clone, Debug)]
pub struct SshKey {
    /// `ssh-ed25519 AAAA…`, without a comment.
    pub public_key: String,
}

impl SshKey {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("public_key", self.public_key.as_str().into())])
    }
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamily {
    /// One IPv4 address.
    V4,
    /// One IPv6 network.
    V6,
}

impl IpFamily {
    /// `ipv4` or `ipv6`.
    pub fn as_str(self) -> &'static str {
        match self {
            IpFamily::V4 => "ipv4",
            IpFamily::V6 => "ipv6",
        }
    }
}

/// A public address that outlives its server.
#[derive(Clone, Debug)]
pub struct PrimaryIp {
    /// Which family.
    pub family: IpFamily,
    /// The place it is bound to.
    pub location: String,
}

impl PrimaryIp {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("family", self.family.as_str().into()), ("location", self.location.as_str().into())])
    }
}

/// The cloud's own firewall, in front of a server.
#[derive(Clone, Debug)]
pub struct Firewall {
    /// What may come in: `tcp/22`, `udp/443`, `icmp`, or `tcp/80 from 192.0.2.0/24 2001:db8::/32` with the
    /// networks sorted; all sorted.
    pub open: Vec<String>,
}

impl Firewall {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("open", Value::texts(self.open.iter().map(String::as_str)))])
    }
}

/// A disk that outlives its server.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Size in gigabytes as the provider counts them.
    pub size_gb: u32,
    /// The place it is in.
    pub location: String,
    /// The file system it is given when it is made.
    pub format: &'static str,
}

impl Volume {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([
            ("size_gb", Value::Int(self.size_gb.into())),
            ("location", self.location.as_str().into()),
            ("format", self.format.into()),
        ])
    }
}

/// A network between servers of one place.
#[derive(Clone, Debug)]
pub struct PrivateNetwork {
    /// The place it is in.
    pub location: String,
}

impl PrivateNetwork {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("location", self.location.as_str().into())])
    }
}

/// A public address that is kept for a server, whichever machine that is.
#[derive(Clone, Debug)]
pub struct ReservedIp {
    /// The server it leads to, without the playbook's name.
    pub server: String,
    /// The place it is in.
    pub location: String,
}

impl ReservedIp {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("location", self.location.as_str().into()), ("assigned", true.into()), ("kept", true.into())])
    }
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// How big.
    pub size: Size,
    /// Where; the provider's own name of the place.
    pub location: String,
    /// Which system, by the name clouds agree on: `debian-13`.
    pub image: String,
    /// Does the provider keep daily backups?
    pub backups: bool,
    /// Which families of public address it has.
    pub families: Vec<IpFamily>,
    /// Does it have a volume of its own name?
    pub volume: bool,
    /// The account that administers it.
    pub admin: String,
    /// Public keys that may log in as the admin.
    pub keys: Vec<String>,
    /// The most that may be paid for it a month, when the plan that was planned is sold out in between.
    pub ceiling: Option<Decimal>,
}

impl Server {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([
            ("size", self.size.to_string().into()),
            ("location", self.location.as_str().into()),
            ("image", self.image.as_str().into()),
            ("backups", self.backups.into()),
            ("addresses", Value::texts(self.families.iter().map(|family| family.as_str()))),
            ("firewall", true.into()),
            ("volume", self.volume.into()),
            ("running", true.into()),
            ("admin", self.admin.as_str().into()),
            ("keys", Value::texts(self.keys.iter().map(String::as_str))),
        ])
    }
}

/// How big a server shall be.
#[derive(Clone, Debug, PartialEq)]
pub enum Size {
    /// Names of plans, tried in order.
    Plans(Vec<String>),
    /// The cheapest orderable plan that fits.
    AtLeast {
        /// Processor cores.
        cpu: u32,
        /// Memory in gigabytes.
        memory_gb: u32,
    },
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Plans(names) => f.write_str(&names.join(" or ")),
            Size::AtLeast { cpu, memory_gb } => write!(f, "at least {cpu} cores and {memory_gb} GB"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeTable {
    cpu: u32,
    memory_gb: u32,
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
        struct SizeVisitor;

        impl<'de> Visitor<'de> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a plan's name, a list of names, or { cpu = 2, memory_gb = 4 }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Size, E> {
                plans(vec![name.to_owned()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Size, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                plans(names)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Size, A::Error> {
                let SizeTable { cpu, memory_gb } = SizeTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Size::AtLeast { cpu, memory_gb })
            }
        }

        fn plans<E: de::Error>(names: Vec<String>) -> Result<Size, E> {
            let legal = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            match names.iter().find(|name| !legal(name)) {
                Some(name) => {
                    Err(de::Error::custom(format!("bad plan name `{name}`, expected letters, digits and hyphens")))
                }
                None if names.is_empty() => Err(de::Error::custom("an empty list, expected at least one plan's name")),
                None => Ok(Size::Plans(names)),
            }
        }

        from.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A plan's name, a list of names tried in order, or the least it must have.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                {
                    "type": "object",
                    "properties": {
                        "cpu": { "type": "integer", "minimum": 1 },
                        "memory_gb": { "type": "integer", "minimum": 1 }
                    },
                    "required": ["cpu", "memory_gb"],
                    "additionalProperties": false
                }
            ]
        })
    }
}
