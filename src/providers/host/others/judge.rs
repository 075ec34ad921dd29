//! What it means for the playbook that others are on the host: what is in the way, and what people should know before
//! they approve a plan. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::diff::diff;
use crate::model::machine::HostAt;
use crate::model::resource::{Observed, Resource, Spec};
use crate::providers::host::facts::Facts;
use crate::providers::host::others::filters::{self, Fate, Filter};
use crate::providers::host::others::{Others, PODMAN, Protocol};

/// The oldest Compose that knows `!override` (docker/compose, release 2.24.4).
const OLDEST_COMPOSE: [u32; 3] = [2, 24, 4];
/// Below this much memory and swap together, in KiB, an engine, a proxy and an app seldom fit.
const LITTLE_MEMORY: u64 = 900 << 10;

/// What follows.
#[derive(Debug, Default, PartialEq)]
pub(in crate::providers::host) struct Judgement {
    /// What cannot be made as long as the others are there: the index of the resource, and why.
    pub in_the_way: Vec<(usize, String)>,
    /// What should be known before the plan is approved.
    pub notes: Vec<String>,
}

/// Judges `want`, all of it on the host `at`, by what was seen of it and of the others there.
pub(in crate::providers::host) fn judge(at: &HostAt, want: &[Resource], seen: &[Observed], facts: &Facts) -> Judgement {
    let mut judgement = Judgement::default();
    if !facts.others.asked {
        return judgement;
    }
    let ground = Ground { at, want, seen, facts, others: &facts.others };
    ground.firewalls(&mut judgement);
    ground.closings(&mut judgement);
    ground.web_ports(&mut judgement);
    ground.app_ports(&mut judgement);
    ground.engines(&mut judgement);
    ground.room(&mut judgement);
    judgement
}

struct Ground<'a> {
    at: &'a HostAt,
    want: &'a [Resource],
    seen: &'a [Observed],
    facts: &'a Facts,
    others: &'a Others,
}

/// A port as people and playbooks write it.
fn written((protocol, port): (Protocol, u16)) -> String {
    format!("{}/{port}", protocol.as_str())
}

impl Ground<'_> {
    /// The first wanted resource that `is` it.
    fn find(&self, is: impl Fn(&Spec) -> bool) -> Option<usize> {
        self.want.iter().position(|resource| !resource.gone && is(&resource.spec))
    }

    fn is_pending(&self, index: usize) -> bool {
        let pair = self.want.get(index).zip(self.seen.get(index));
        pair.is_some_and(|(want, seen)| !diff(want, seen).is_keep())
    }

    fn table(&self) -> Option<usize> {
        self.find(|spec| matches!(spec, Spec::Nftables(_)))
    }

    fn proxy(&self) -> Option<usize> {
        self.find(|spec| matches!(spec, Spec::Service(service) if service.unit == "caddy.service"))
    }

    /// Is this container one of the playbook's own?
    fn is_ours(&self, project: &str) -> bool {
        let is_it = |resource: &Resource| matches!(&resource.spec, Spec::Compose(spec) if spec.project == project);
        self.want.iter().any(is_it)
    }

    /// What the playbook opens to visitors. sshd's port is not among it: we came in through it.
    fn opened(&self) -> Vec<(Protocol, u16)> {
        let mut ports = match self.table().and_then(|index| self.want.get(index)).map(|resource| &resource.spec) {
            Some(Spec::Nftables(table)) => opened_by(&table.text),
            _ if self.proxy().is_some() => vec![(Protocol::Tcp, 80), (Protocol::Tcp, 443)],
            _ => vec![],
        };
        // DHCPv6 needs no visitors, and HTTP/3 comes after HTTP/2 has been reached.
        let spared = [(Protocol::Tcp, self.at.port), (Protocol::Udp, 546), (Protocol::Udp, 443)];
        ports.retain(|port| !spared.contains(port));
        ports
    }

    /// Firewalls beside ours: in the way where they close what the playbook opens.
    fn firewalls(&self, judgement: &mut Judgement) {
        let opened = self.opened();
        let (Some(index), false) = (self.table().or_else(|| self.proxy()), opened.is_empty()) else { return };
        let address = self.at.address.to_string().parse().ok();
        for filter in self.others.filters(address) {
            let with = |fate: Fate| -> Vec<(Protocol, u16)> {
                opened.iter().copied().filter(|(protocol, port)| filter.fate(*protocol, *port) == fate).collect()
            };
            let (closed, unclear) = (with(Fate::Closed), with(Fate::Unclear));
            if !closed.is_empty() {
                judgement.in_the_way.push((index, closes(&filter, &closed)));
            } else if !unclear.is_empty() && self.is_pending(index) {
                let ports: Vec<String> = unclear.into_iter().map(written).collect();
                judgement.notes.push(format!(
                    "{} is in force on the host, too; whether everybody reaches {} through it, its rules do not tell: the sites \
                     are asked from outside at the end of `apply`",
                    filter.name,
                    ports.join(", ")
                ));
            } else if self.is_pending(index) {
                judgement.notes.push(format!(
                    "{} is in force on the host, too; it lets in what the playbook opens, and stays as it is",
                    filter.name
                ));
            }
        }
    }

    /// Who listens on which port, as people would say it; our own containers and our proxy left out.
    fn users(&self) -> BTreeMap<(Protocol, u16), (BTreeSet<String>, bool)> {
        let mut users: BTreeMap<(Protocol, u16), (BTreeSet<String>, bool)> = BTreeMap::new();
        for container in &self.others.containers {
            for (protocol, port, is_local) in &container.ports {
                let entry = users.entry((*protocol, *port)).or_insert((BTreeSet::new(), true));
                if !self.is_ours(&container.project) {
                    entry.0.insert(format!("the container `{}`", container.name));
                }
                entry.1 &= is_local;
            }
        }
        for listener in &self.others.listeners {
            let key = (listener.protocol, listener.port);
            // A container's port, which the engine holds for it, is told by the container.
            let is_of_engine = matches!(listener.program.as_str(), "docker-proxy" | "dockerd");
            if is_of_engine && users.contains_key(&key) || listener.unit == "caddy.service" {
                continue;
            }
            let who = match (listener.program.as_str(), listener.unit.as_str()) {
                ("", _) => "a program that does not tell its name".to_owned(),
                (program, "") => format!("`{program}`"),
                (program, unit) => format!("`{program}` ({unit})"),
            };
            let entry = users.entry(key).or_insert((BTreeSet::new(), true));
            entry.0.insert(who);
            entry.1 &= listener.is_local;
        }
        users.retain(|_, (who, _)| !who.is_empty());
        users
    }

    /// What the firewall will close that somebody uses, told while it is not yet in force.
    fn closings(&self, judgement: &mut Judgement) {
        let Some(index) = self.table().filter(|index| self.is_pending(*index)) else { return };
        let Some(Spec::Nftables(table)) = self.want.get(index).map(|resource| &resource.spec) else { return };
        let stay_open = opened_by(&table.text);
        // Answers to what a DHCP client asks come in all the same.
        let spared = [(Protocol::Tcp, self.at.port), (Protocol::Udp, 68), (Protocol::Udp, 546)];
        for (port, (who, is_local)) in self.users() {
            if !is_local && !stay_open.contains(&port) && !spared.contains(&port) {
                let who = who.into_iter().collect::<Vec<_>>().join(" and ");
                let port = written(port);
                judgement.notes.push(format!(
                    "the firewall closes {port}, which {who} uses; to keep it open, write \"{port}\" in `open` of the step `firewall`"
                ));
            }
        }
    }

    /// Web servers of others on the proxy's ports.
    fn web_ports(&self, judgement: &mut Judgement) {
        let Some(index) = self.proxy() else { return };
        let users = self.users();
        for port in [80, 443] {
            if let Some((who, _)) = users.get(&(Protocol::Tcp, port)) {
                judgement.in_the_way.push((index, taken(port, who)));
            }
        }
    }

    /// Programs of others on the ports that apps get on the loopback address.
    fn app_ports(&self, judgement: &mut Judgement) {
        // A listener on another address does not conflict with an app on 127.0.0.1.
        let has_it = |port: u16| {
            self.others.listeners.iter().any(|listener| listener.port == port && listener.takes_loopback)
                || self.others.containers.iter().any(|container| container.ports.iter().any(|(_, one, _)| *one == port))
        };
        let mut users = self.users();
        users.retain(|(_, port), _| has_it(*port));
        for (index, resource) in self.want.iter().enumerate().filter(|(_, resource)| !resource.gone) {
            let Spec::Compose(spec) = &resource.spec else { continue };
            let Some(port) = spec.health.as_ref().map(|health| health.port) else { continue };
            if let Some((who, _)) = users.get(&(Protocol::Tcp, port)) {
                judgement.in_the_way.push((index, taken(port, who)));
            }
        }
    }

    /// Engines that are not the distribution's.
    fn engines(&self, judgement: &mut Judgement) {
        let named =
            |name: &'static str| move |spec: &Spec| matches!(spec, Spec::Package(package) if package.name == name);
        let Some(engine) = self.find(named("docker.io")) else { return };
        let has = |name: &str| self.facts.packages.contains(name);
        if self.others.has_snap {
            judgement.in_the_way.push((
                engine,
                "Docker from a snap is installed, and two engines on one host get in each other's way: keep a copy of its data, \
                 then `sudo snap remove docker`"
                    .into(),
            ));
        }
        if has(PODMAN) {
            judgement.in_the_way.push((
                engine,
                "the package podman-docker is installed, which calls Podman by Docker's name: `sudo apt remove podman-docker`".into(),
            ));
        }
        let compose = self.find(named("docker-compose")).or_else(|| self.find(named("docker-compose-v2")));
        if let Some(others) = ["docker-ce", "moby-engine"].into_iter().find(|name| has(name)) {
            match compose {
                Some(index) if self.is_pending(index) => judgement.in_the_way.push((
                    index,
                    format!("{others} is installed without its Compose: `sudo apt install docker-compose-plugin`"),
                )),
                _ if self.is_first_visit() => judgement.notes.push(format!(
                    "{others} {} is installed, from another source than the distribution; it is used and stays as it is",
                    self.others.engine
                )),
                _ => {}
            }
        }
        if let Some(index) = compose.filter(|index| !self.is_pending(*index))
            && version(&self.others.compose).is_some_and(|version| version < OLDEST_COMPOSE)
        {
            judgement.in_the_way.push((
                index,
                format!(
                    "Compose {} on the host is too old: version {} or newer is needed; update its package",
                    self.others.compose,
                    OLDEST_COMPOSE.map(|part| part.to_string()).join(".")
                ),
            ));
        }
        if !self.is_first_visit() {
            return;
        }
        for user in &self.others.rootless {
            judgement
                .notes
                .push(format!("the account `{user}` has an engine of its own (rootless Docker); it stays as it is"));
        }
        let living: Vec<&str> = self
            .others
            .containers
            .iter()
            .filter(|container| !self.is_ours(&container.project))
            .map(|container| container.name.as_str())
            .collect();
        if !living.is_empty() {
            judgement.notes.push(format!(
                "Docker restarts with new settings. These containers, which Landfall did not create, keep running: {}. The new \
                 settings apply to them once they are recreated",
                some_of(&living)
            ));
        }
    }

    /// Is Docker yet to be set up as the playbook says?
    fn is_first_visit(&self) -> bool {
        self.find(|spec| matches!(spec, Spec::Service(service) if service.unit == "docker.service"))
            .is_some_and(|index| self.is_pending(index))
    }

    /// Little memory, and no way to where images come from.
    fn room(&self, judgement: &mut Judgement) {
        let engine = self.find(|spec| matches!(spec, Spec::Package(package) if package.name == "docker.io"));
        if !engine.is_some_and(|_| self.is_first_visit()) {
            return;
        }
        let room = self.others.memory + self.others.swap;
        if self.others.memory > 0 && room < LITTLE_MEMORY {
            judgement.notes.push(format!(
                "the host has {} MiB of memory and swap together: an engine, a proxy and an app want 1 GiB; add memory or swap",
                room >> 10
            ));
        }
        if !self.others.has_ipv4 {
            judgement.notes.push(
                "the host has no route to IPv4 addresses: registries without IPv6, such as ghcr.io, cannot be reached from it".into(),
            );
        }
    }
}

/// The ports that our own table opens, wherever visitors may come from.
fn opened_by(text: &str) -> Vec<(Protocol, u16)> {
    let anyone = |line: &str| match line.split_once("saddr ") {
        Some((_, rest)) => rest.split_once(' ').map(|(_, rule)| rule.to_owned()).unwrap_or_default(),
        None => line.to_owned(),
    };
    let lines: Vec<String> = text.lines().map(anyone).collect();
    let all = filters::of_nft(&lines);
    let mut ports: Vec<(Protocol, u16)> = all.iter().flat_map(Filter::opened).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn closes(filter: &Filter, closed: &[(Protocol, u16)]) -> String {
    let ports: Vec<String> = closed.iter().copied().map(written).collect();
    let ufw = |(protocol, port): &(Protocol, u16)| format!("sudo ufw allow {port}/{}", protocol.as_str());
    let firewalld = |(protocol, port): &(Protocol, u16)| {
        format!("sudo firewall-cmd --permanent --add-port={port}/{}", protocol.as_str())
    };
    let join = |commands: Vec<String>| commands.join(" && ");
    let way_on = match filter.name.as_str() {
        "ufw" => format!(
            "open them with `{}`, or hand the firewall over to Landfall with `sudo ufw disable`",
            join(closed.iter().map(ufw).collect())
        ),
        "firewalld" => format!(
            "open them with `{} && sudo firewall-cmd --reload`, or hand the firewall over to Landfall with `sudo systemctl disable --now \
             firewalld`",
            join(closed.iter().map(firewalld).collect())
        ),
        other => format!("accept them in {other}, or take its rules away"),
    };
    format!("{} is in force on the host and closes {}: {way_on}", filter.name, ports.join(", "))
}

fn taken(port: u16, who: &BTreeSet<String>) -> String {
    let who = who.iter().cloned().collect::<Vec<_>>().join(" and ");
    format!(
        "port {port} of the host is used by {who}: stop that and keep it from starting again, or leave this step out"
    )
}

/// A version's three numbers: `2.26.1-4`, `v2.24.0`.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.trim().trim_start_matches('v').split(['.', '-', '+']).map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)])
}

/// The first few, and how many more there are.
fn some_of(names: &[&str]) -> String {
    match names.len() {
        0..=5 => names.join(", "),
        many => format!("{} and {} more", names.get(..5).unwrap_or_default().join(", "), many - 5),
    }
}
