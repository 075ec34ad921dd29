//! What else runs on a host that was there before Landfall: who listens, which firewalls are in force, which engine
//! runs containers. Asked of the host in the same exec as everything else; judged here, before anything is changed.

mod filters;
mod judge;

use std::net::IpAddr;

use crate::providers::host::others::filters::Filter;
pub(super) use crate::providers::host::others::judge::judge;

/// The shell function `others` that tells it.
pub(super) const ASK: &str = include_str!("../../../templates/host-others");
/// The package that calls Podman by Docker's name. Other engines are asked for by the packages they stand in for.
pub(super) const PODMAN: &str = "podman-docker";

/// A protocol, as it stands before a port: `tcp` or `udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    fn parse(text: &str) -> Option<Protocol> {
        match text {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// A socket that waits for others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listener {
    protocol: Protocol,
    port: u16,
    /// Can only the host itself reach it?
    is_local: bool,
    /// Is its address 127.0.0.1, or every address?
    takes_loopback: bool,
    /// The program that has it, where the host tells.
    program: String,
    /// The systemd unit of that program, or nothing.
    unit: String,
}

/// A running container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Container {
    name: String,
    /// The Compose project it belongs to, or nothing.
    project: String,
    /// What it publishes, and whether only the host itself reaches that.
    ports: Vec<(Protocol, u16, bool)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Others {
    listeners: Vec<Listener>,
    containers: Vec<Container>,
    /// Compose's version, as it says it.
    compose: String,
    /// The engine's version, as it says it.
    engine: String,
    /// Is there a Docker from a snap?
    has_snap: bool,
    /// Accounts with an engine of their own.
    rootless: Vec<String>,
    iptables: Vec<String>,
    ip6tables: Vec<String>,
    nft: Vec<String>,
    /// What firewalld lets in, as it says it itself; empty where nft tells.
    firewalld: Vec<String>,
    /// Memory and swap, in KiB; 0 where it is not known.
    memory: u64,
    swap: u64,
    has_ipv4: bool,
    /// Was all of this asked for?
    pub asked: bool,
}

impl Others {
    /// Takes in one line of the answer.
    pub(super) fn take(&mut self, rest: &str) {
        self.asked = true;
        let (tag, rest) = rest.split_once('\t').unwrap_or((rest, ""));
        let fields: Vec<&str> = rest.split('\t').collect();
        match (tag, &fields[..]) {
            ("listen", [protocol, at, users, unit]) => self.listeners.extend(listener(protocol, at, users, unit)),
            ("container", [name, project, ports]) => self.containers.push(Container {
                name: (*name).to_owned(),
                project: (*project).to_owned(),
                ports: ports.split(", ").flat_map(published).collect(),
            }),
            ("compose", [version]) => self.compose = (*version).to_owned(),
            ("engine", [version]) => self.engine = (*version).to_owned(),
            ("snap", _) => self.has_snap = true,
            ("rootless", [user]) => self.rootless.push((*user).to_owned()),
            ("iptables", _) => self.iptables.push(rest.to_owned()),
            ("ip6tables", _) => self.ip6tables.push(rest.to_owned()),
            ("nft", _) => self.nft.push(rest.to_owned()),
            ("firewalld", [ports]) => self.firewalld.push((*ports).to_owned()),
            ("memory", [memory, swap, limit]) => {
                let limit = limit.parse().map_or(u64::MAX, |bytes: u64| bytes >> 10);
                self.memory = memory.parse().unwrap_or(0).min(limit);
                self.swap = swap.parse().unwrap_or(0);
            }
            ("ipv4", _) => self.has_ipv4 = true,
            _ => {}
        }
    }

    /// The firewalls in force beside Landfall's, as they treat what comes to an address like `address`.
    fn filters(&self, address: Option<IpAddr>) -> Vec<Filter> {
        let (saved, same, other) = match address {
            Some(IpAddr::V6(_)) => (&self.ip6tables, "table ip6 ", "table ip "),
            Some(IpAddr::V4(_)) | None => (&self.iptables, "table ip ", "table ip6 "),
        };
        // What iptables made is shown by nft, too, but not all that it means.
        let is_told = saved.iter().any(|line| line == "*filter");
        let of_nft = filters::of_nft(&self.nft)
            .into_iter()
            .filter(|filter| !filter.name.starts_with(other))
            .filter(|filter| !is_told || filter.name != format!("{same}filter"));
        let all = filters::of_iptables(saved).into_iter().chain(of_nft).chain(filters::of_firewalld(&self.firewalld));
        all.filter(|filter| filter.name != "table inet landfall" && filter.is_in_force()).collect()
    }
}

/// A line of `ss -lntup`: `tcp`, `0.0.0.0:80`, `users:(("nginx",pid=12,fd=5))`.
fn listener(protocol: &str, at: &str, users: &str, unit: &str) -> Option<Listener> {
    let (address, port) = at.rsplit_once(':')?;
    let address = address.split('%').next().unwrap_or(address).trim_matches(['[', ']']);
    let is_local = address.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
    let takes_loopback = matches!(address, "127.0.0.1" | "0.0.0.0" | "*" | "::");
    let program = users.split('"').nth(1).unwrap_or_default().to_owned();
    let unit = if unit.ends_with(".service") { unit.to_owned() } else { String::new() };
    Some(Listener {
        protocol: Protocol::parse(protocol)?,
        port: port.parse().ok()?,
        is_local,
        takes_loopback,
        program,
        unit,
    })
}

/// One entry of what `docker ps` says of ports: `0.0.0.0:8080->80/tcp`, `[::]:9000-9001->9000-9001/tcp`, or `80/tcp` for
/// what is not published.
fn published(entry: &str) -> Vec<(Protocol, u16, bool)> {
    let parse = || {
        let (outside, inside) = entry.split_once("->")?;
        let (address, ports) = outside.rsplit_once(':')?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        let protocol = Protocol::parse(inside.rsplit_once('/')?.1)?;
        let address = address.trim_matches(['[', ']']);
        let is_local = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        Some((first..=last).take(1000).map(|port| (protocol, port, is_local)).collect())
    };
    parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_as_ss_shows_them() {
        let read =
            |at: &str| listener("tcp", at, "users:((\"nginx\",pid=7,fd=6),(\"nginx\",pid=8,fd=6))", "nginx.service");
        for (at, port, is_local) in [
            ("0.0.0.0:80", 80, false),
            ("*:80", 80, false),
            ("[::]:443", 443, false),
            ("127.0.0.1:5432", 5432, true),
            ("[::1]:25", 25, true),
            ("127.0.0.53%lo:53", 53, true),
            ("[fe80::1%eth0]:546", 546, false),
        ] {
            let seen = read(at).unwrap();
            assert_eq!((seen.port, seen.is_local, seen.program.as_str()), (port, is_local, "nginx"), "{at}");
        }
        assert_eq!(listener("icmp6", "*:58", "", ""), None);
    }

    #[test]
    fn published_ports_are_read_as_docker_shows_them() {
        let ports =
            |text: &str| text.split(", ").flat_map(published).map(|(_, port, local)| (port, local)).collect::<Vec<_>>();
        assert_eq!(ports("0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"), [(8080, false), (8080, false)]);
        assert_eq!(ports(":::8080->80/tcp"), [(8080, false)]);
        assert_eq!(ports("127.0.0.1:3000->3000/tcp, 5432/tcp"), [(3000, true)]);
        assert_eq!(ports("0.0.0.0:9000-9001->9000-9001/udp"), [(9000, false), (9001, false)]);
        assert_eq!(ports(""), []);
    }
}
