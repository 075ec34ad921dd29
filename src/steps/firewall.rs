//! Step `firewall`: who may come in, twice over: the provider's firewall, and a table of our own on the host
//! that also governs what Docker publishes.

use std::sync::Arc;

use std::fmt;
use std::net::IpAddr;

use minijinja::context;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::model::access::Nftables;
use crate::model::draft::Draft;
use crate::model::machine::{File, Package, Service, TakeUp};
use crate::model::name::Name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::resource::{Resource, Spec};
use crate::model::value::Value;
use crate::steps::render::{Held, render};
use crate::steps::{About, Needs, Site, Step};

/// The step itself.
pub struct FirewallStep;

const RULES: &str = "/etc/landfall/firewall.nft";
const UNIT: &str = "landfall-firewall.service";

/// The networks Cloudflare's proxies come from, IPv4 and IPv6, as published at www.cloudflare.com/ips on
/// 2026-11-20; they last changed in 2021.
const CLOUDFLARE: [&[&str]; 2] = [
    &[
        "103.21.244.0/22",
        "103.22.200.0/22",
        "103.31.4.0/22",
        "104.16.0.0/13",
        "104.24.0.0/14",
        "108.162.192.0/18",
        "131.0.72.0/22",
        "141.101.64.0/18",
        "162.158.0.0/15",
        "172.64.0.0/13",
        "173.245.48.0/20",
        "188.114.96.0/20",
        "190.93.240.0/20",
        "197.234.240.0/22",
        "198.41.128.0/17",
    ],
    &[
        "2400:cb00::/32",
        "2405:8100::/32",
        "2405:b500::/32",
        "2606:4700::/32",
        "2803:f800::/32",
        "2a06:98c0::/29",
        "2c0f:f248::/32",
    ],
];

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// sshd.
    Ssh,
    /// TCP port 80.
    Http,
    /// TCP and UDP port 443.
    Https,
    /// Another TCP port.
    Tcp(u16),
    /// Another UDP port.
    Udp(u16),
}

impl Opening {
    fn parse(text: &str) -> Option<Opening> {
        // As the schema has it: no sign, no zeros in front.
        let port = |text: &str| text.parse().ok().filter(|port: &u16| *port > 0 && port.to_string() == text);
        Some(match text.split_once('/') {
            None if text == "ssh" => Opening::Ssh,
            None if text == "http" => Opening::Http,
            None if text == "https" => Opening::Https,
            Some(("tcp", number)) => Opening::Tcp(port(number)?),
            Some(("udp", number)) => Opening::Udp(port(number)?),
            _ => return None,
        })
    }

    /// Protocols and ports, where sshd listens on `ssh`; and whether visitors of web sites come this way.
    fn doors(self, ssh: u16) -> Vec<(&'static str, u16, bool)> {
        match self {
            Opening::Ssh => vec![("tcp", ssh, false)],
            Opening::Http => vec![("tcp", 80, true)],
            Opening::Https => vec![("tcp", 443, true), ("udp", 443, true)],
            Opening::Tcp(port) => vec![("tcp", port, matches!(port, 80 | 443))],
            Opening::Udp(port) => vec![("udp", port, port == 443)],
        }
    }
}

impl<'de> Deserialize<'de> for Opening {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Opening, D::Error> {
        let text = String::deserialize(from)?;
        Opening::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "bad opening `{text}`, expected \"ssh\", \"http\", \"https\", \"tcp/PORT\" or \"udp/PORT\""
            ))
        })
    }
}

impl JsonSchema for Opening {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Opening".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A service by name, or a protocol and a port.",
            "type": "string",
            "pattern": "^(ssh|http|https|(tcp|udp)/[1-9][0-9]{0,4})$"
        })
    }
}

/// Where visitors of web sites come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebFrom {
    /// From anywhere.
    #[default]
    Anywhere,
    /// Through Cloudflare's proxies only, so that nobody walks around them.
    Cloudflare,
}

/// Addresses that may come in: one, or a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `203.0.113.7`, `203.0.113.0/24` or `2001:db8::/48`. An error says what would be right.
    pub fn parse(text: &str) -> Result<Network, String> {
        const RIGHT: &str = "an address or a network such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48";
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok().ok_or(RIGHT)?;
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(text) => {
                text.parse().ok().filter(|bits| (1..=most).contains(bits) && bits.to_string() == text).ok_or(RIGHT)?
            }
        };
        let (number, width) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let beyond = u32::from(width - bits);
        if beyond > 0 && number & ((1 << beyond) - 1) != 0 {
            return Err(format!("`{text}` has bits beyond its network; {RIGHT}"));
        }
        Ok(Network { address, bits })
    }

    /// What nftables compares a source with.
    fn as_source(&self) -> String {
        format!("{} saddr {self} ", if self.address.is_ipv4() { "ip" } else { "ip6" })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        let text = String::deserialize(from)?;
        Network::parse(&text).map_err(|right| de::Error::custom(format!("bad address `{text}`, expected {right}")))
    }
}

impl JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An IP address, or a network such as 203.0.113.0/24.",
            "type": "string",
            "pattern": "^[0-9a-fA-F.:]+(/[1-9][0-9]{0,2})?$"
        })
    }
}

/// Answers of the step `firewall`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallAnswers {
    /// The server it protects.
    pub on: Name,
    /// What is open: `ssh`, `http`, `https`, or protocol and port such as `udp/51820`.
    #[serde(default = "usual")]
    pub open: Vec<Opening>,
    /// Where visitors of web sites, ports 80 and 443, come from.
    #[serde(default)]
    pub web_from: WebFrom,
    /// Where SSH comes from: addresses or networks that never change. Without it, from anywhere, with keys only.
    #[serde(default)]
    pub ssh_from: Vec<Network>,
}

fn usual() -> Vec<Opening> {
    vec![Opening::Ssh, Opening::Http, Opening::Https]
}

impl Step for FirewallStep {
    fn kind(&self) -> &'static str {
        "firewall"
    }

    fn about(&self) -> About {
        About {
            title: "A firewall",
            summary: "Two walls with the same doors: the provider's firewall, and on the server one nftables table \
                      of our own. The table judges by the port a visitor asked for, so it also governs what \
                      containers publish; it is replaced in one go, and a change that would lock us out is undone \
                      by the server itself.",
            outputs: &[],
        }
    }

    fn comes_along(&self, draft: &Draft) -> bool {
        draft.has("server")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<FirewallAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<FirewallAnswers>()?;
        if !answers.open.contains(&Opening::Ssh) {
            return Err(Problem::new(entry.place_of("open"), "a firewall without SSH")
                .expected("\"ssh\" among what is open")
                .hint("Landfall itself comes in by SSH: without it, nothing on the server could be set up or mended"));
        }
        Ok(Needs::on(entry, &answers.on))
    }

    fn outputs(&self, _: &Entry) -> Vec<&'static str> {
        vec![]
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<FirewallAnswers>()?;
        check_order(site, &answers)?;
        let host = site.host(&answers.on)?;
        let root = || ("root".to_owned(), "root".to_owned());
        let unit = format!("/etc/systemd/system/{UNIT}");
        let unit_file = File {
            path: unit.clone(),
            content: include_str!("../../templates/landfall-firewall.service").into(),
            owner: root(),
            mode: 0o644,
            check: None,
            hidden: false,
        };
        let table = Nftables { table: "landfall".into(), path: RULES.into(), text: rules(site, &answers, host.port)? };
        let service = Service {
            unit: UNIT.into(),
            reads: vec![unit.clone()],
            take_up: TakeUp::Restart,
            unit_files: vec![],
            works: None,
            own_kernel: false,
        };
        Ok(vec![
            site.on_host(
                &host,
                "package",
                "nftables".into(),
                Spec::Package(Package { name: "nftables".into(), instead: &[] }),
            ),
            site.on_host(&host, "file", unit, Spec::File(unit_file)),
            site.on_host(&host, "nftables", "landfall".into(), Spec::Nftables(table)),
            site.on_host(&host, "service", UNIT.into(), Spec::Service(service)),
        ])
    }
}

/// Is there one firewall, and does it stand before everything that listens?
fn check_order(site: &Site<'_>, answers: &FirewallAnswers) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct On {
        on: Name,
    }
    let is_on_it = |entry: &&Entry| entry.answers::<On>().is_ok_and(|other| other.on == answers.on);
    for other in site.playbook.steps.iter().take_while(|entry| entry.id != site.entry.id).filter(is_on_it) {
        match other.kind.as_str() {
            "firewall" => {
                return Err(Problem::new(
                    site.entry.kind_at.clone(),
                    format!("`{}` already is the firewall of `{}`", other.id, answers.on),
                )
                .expected("one firewall for each server")
                .hint("list everything that is open in one step"));
            }
            "docker" | "app" | "proxy" => {
                return Err(Problem::new(
                    site.entry.kind_at.clone(),
                    format!("the firewall comes after the step `{}`", other.id),
                )
                .expected("the step `firewall` above everything that listens")
                .hint("firewall first, services second: otherwise they are open to the world for a while"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn rules(site: &Site<'_>, answers: &FirewallAnswers, ssh: u16) -> Result<String, Problem> {
    let only_cloudflare = answers.web_from == WebFrom::Cloudflare;
    let mut doors = Vec::new();
    for opening in &answers.open {
        for (protocol, port, web) in opening.doors(ssh) {
            let sources: Vec<String> = match (web && only_cloudflare, opening) {
                (true, _) => vec!["ip saddr @cloudflare_v4 ".into(), "ip6 saddr @cloudflare_v6 ".into()],
                (false, Opening::Ssh) if !answers.ssh_from.is_empty() => {
                    answers.ssh_from.iter().map(Network::as_source).collect()
                }
                (false, _) => vec![String::new()],
            };
            doors.extend(sources.into_iter().map(|from| context! { from, protocol, port }));
        }
    }
    let sets = match only_cloudflare {
        true => vec![
            context! { name => "cloudflare_v4", type => "ipv4_addr", elements => CLOUDFLARE[0].join(", ") },
            context! { name => "cloudflare_v6", type => "ipv6_addr", elements => CLOUDFLARE[1].join(", ") },
        ],
        false => vec![],
    };
    let template = include_str!("../../templates/firewall.nft");
    match render("firewall.nft", template, context! { doors, sets }, Held::default()) {
        Ok(Value::Text(text)) => Ok(text),
        Ok(other) => Ok(other.to_string()),
        Err(e) => Err(Problem::new(site.entry.at.clone(), format!("cannot write the firewall: {e}"))),
    }
}

/// Does a step `firewall` of `server` open this port on purpose, beside what every web server has open?
pub(super) fn opens(site: &Site<'_>, server: &Name, protocol: &str, port: u16) -> bool {
    let is_it = |opening: &Opening| match opening {
        Opening::Tcp(open) => protocol == "tcp" && *open == port,
        Opening::Udp(open) => protocol == "udp" && *open == port,
        Opening::Ssh | Opening::Http | Opening::Https => false,
    };
    let firewalls = site.playbook.steps.iter().filter(|entry| entry.kind == "firewall");
    let answers =
        firewalls.filter_map(|entry| entry.answers::<FirewallAnswers>().ok()).find(|answers| answers.on == *server);
    answers.is_some_and(|answers| answers.open.iter().any(is_it))
}

/// The answers of the step `firewall` for `server`, or the usual without one.
fn answers_for(site: &Site<'_>, server: &Name) -> Result<Arc<FirewallAnswers>, Problem> {
    for entry in site.playbook.steps.iter().filter(|entry| entry.kind == "firewall") {
        let found = entry.answers::<FirewallAnswers>()?;
        if found.on == *server {
            return Ok(found);
        }
    }
    Ok(Arc::new(FirewallAnswers { on: server.clone(), open: usual(), web_from: WebFrom::Anywhere, ssh_from: vec![] }))
}

/// The networks whose word on a visitor's address counts, with spaces between: those of the proxies that
/// visitors must come through.
pub fn trusted_proxies(site: &Site<'_>, server: &Name) -> Result<String, Problem> {
    Ok(match answers_for(site, server)?.web_from {
        WebFrom::Cloudflare => CLOUDFLARE.concat().join(" "),
        WebFrom::Anywhere => String::new(),
    })
}

/// What the provider's firewall in front of `server` lets in, in the words of [`crate::model::cloud::Firewall`]:
/// what its step `firewall` says, or the usual without one.
pub fn of_provider(site: &Site<'_>, server: &Name) -> Result<Vec<String>, Problem> {
    let answers = answers_for(site, server)?;
    let mut networks: Vec<&str> = CLOUDFLARE.concat();
    networks.sort_unstable();
    let from = format!(" from {}", networks.join(" "));
    // Without ICMP, path MTU discovery fails and connections hang.
    let mut open = vec!["icmp".to_owned()];
    let mut ssh: Vec<String> = answers.ssh_from.iter().map(ToString::to_string).collect();
    ssh.sort_unstable();
    ssh.dedup();
    let ssh_from = format!(" from {}", ssh.join(" "));
    for opening in &answers.open {
        for (protocol, port, web) in opening.doors(22) {
            let from = match opening {
                Opening::Ssh if !ssh.is_empty() => ssh_from.as_str(),
                _ if web && answers.web_from == WebFrom::Cloudflare => from.as_str(),
                _ => "",
            };
            open.push(format!("{protocol}/{port}{from}"));
        }
    }
    open.sort();
    open.dedup();
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_they_are_meant_or_not_at_all() {
        for (text, read) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("2001:db8::/48", "2001:db8::/48"),
            ("2001:DB8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(Network::parse(text).unwrap().to_string(), read);
        }
        for text in
            ["203.0.113.7/24", "203.0.113.0/33", "0.0.0.0/0", "::/0", "10.0.0.0/08", "me.example", "", "1.2.3.4 }"]
        {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
