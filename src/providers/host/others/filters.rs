//! Firewalls that others put in force, read from what the kernel says of them: which TCP and UDP ports they let in.

use std::ops::RangeInclusive;

use crate::providers::host::others::Protocol;

/// Ports of one protocol.
type Ports = (Protocol, RangeInclusive<u16>);

/// One firewall.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Filter {
    /// What people call it: `ufw`, `firewalld`, `iptables`, or a table of nftables.
    pub name: String,
    /// Does it turn away what no rule of it lets in?
    drops: bool,
    /// What it lets in from anywhere.
    accepts: Vec<Ports>,
    /// What it turns away by name.
    refuses: Vec<Ports>,
}

impl Filter {
    /// Does it turn anything away by port?
    pub(super) fn is_in_force(&self) -> bool {
        self.drops || !self.refuses.is_empty()
    }

    /// Every port it lets in by name.
    pub(super) fn opened(&self) -> impl Iterator<Item = (Protocol, u16)> {
        self.accepts.iter().flat_map(|(protocol, ports)| ports.clone().map(|port| (*protocol, port)))
    }

    /// Does a visitor from anywhere reach this port in spite of it?
    pub(super) fn lets_in(&self, protocol: Protocol, port: u16) -> bool {
        let has = |list: &[Ports]| list.iter().any(|(of, ports)| *of == protocol && ports.contains(&port));
        !has(&self.refuses) && (!self.drops || has(&self.accepts))
    }
}

/// What `iptables-save -t filter` says, in at most one firewall. Only what concerns packets for the host itself counts.
pub(super) fn of_iptables(lines: &[String]) -> Option<Filter> {
    let mut filter = Filter { name: "iptables".into(), ..Filter::default() };
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [":INPUT", policy, ..] = words[..] {
            filter.drops |= policy == "DROP";
        }
        // Some of its chains stay when it is disabled, but not the one with people's rules.
        if line.starts_with(":ufw-user-input ") {
            filter.name = "ufw".into();
        }
        let ["-A", chain, rule @ ..] = &words[..] else { continue };
        let elsewhere = ["FORWARD", "OUTPUT", "forward", "output", "DOCKER"];
        if elsewhere.iter().any(|part| chain.contains(part)) {
            continue;
        }
        let after = |names: &[&str]| {
            let at = rule.iter().position(|word| names.contains(word))?;
            rule.get(at + 1).copied()
        };
        let Some(target) = after(&["-j"]) else { continue };
        let (accepts, refuses) =
            (target == "ACCEPT" || target.ends_with("accept"), matches!(target, "DROP" | "REJECT"));
        let narrowed = ["-s", "!", "--src-range", "--match-set"].iter().any(|word| rule.contains(word));
        let matches = rule.iter().take_while(|word| **word != "-j").count();
        if refuses && matches == 0 && *chain == "INPUT" {
            filter.drops = true;
        }
        if narrowed {
            continue;
        }
        let ports = after(&["--dport", "--dports"]).unwrap_or_default();
        let ports = ports.split(',').filter_map(|part| range(part, ':'));
        let protocol = after(&["-p"]).and_then(Protocol::parse);
        let ports = ports.filter_map(|ports| Some((protocol?, ports)));
        match (accepts, refuses) {
            (true, _) => filter.accepts.extend(ports),
            (_, true) => filter.refuses.extend(ports),
            (false, false) => {}
        }
    }
    (!lines.is_empty()).then_some(filter)
}

/// What `nft list ruleset` says, one firewall for each table that looks at what comes in.
pub(super) fn of_nft(lines: &[String]) -> Vec<Filter> {
    let mut filters: Vec<Filter> = Vec::new();
    // Does the chain that is being read look at packets on their way through, or out?
    let mut elsewhere = false;
    for line in lines {
        let line = line.split(" comment ").next().unwrap_or(line).trim();
        if let Some(table) = line.strip_suffix(" {").filter(|line| line.starts_with("table ")) {
            let name = if table == "table inet firewalld" { "firewalld" } else { table };
            filters.push(Filter { name: name.to_owned(), ..Filter::default() });
            continue;
        }
        let Some(filter) = filters.last_mut() else { continue };
        if line.starts_with("chain ") {
            // firewalld names chains after where they stand.
            elsewhere = ["_FWD", "_FORWARD", "_OUT", "_POST"].iter().any(|part| line.contains(part));
            continue;
        }
        if line.starts_with("type ") && line.contains(" hook ") {
            elsewhere = !(line.starts_with("type filter ") && line.contains(" hook input "));
            filter.drops |= !elsewhere && line.contains("policy drop");
            continue;
        }
        if !elsewhere {
            take_rule(filter, line);
        }
    }
    filters
}

/// What firewalld says it lets in: lists such as `80/tcp 60000-61000/udp`. It turns everything else away.
pub(super) fn of_firewalld(lists: &[String]) -> Option<Filter> {
    let port = |text: &str| {
        let (ports, protocol) = text.split_once('/')?;
        Some((Protocol::parse(protocol)?, range(ports, '-')?))
    };
    let accepts = lists.iter().flat_map(|list| list.split_whitespace()).filter_map(port).collect();
    (!lists.is_empty()).then(|| Filter { name: "firewalld".into(), drops: true, accepts, refuses: vec![] })
}

fn take_rule(filter: &mut Filter, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    let (accepts, refuses) = (has("accept"), has("drop") || has("reject"));
    let bare = match words[..] {
        ["counter", "packets", _, "bytes", _, ref rest @ ..] | ["counter", ref rest @ ..] => rest,
        ref all => all,
    };
    if matches!(bare.first(), Some(&"drop" | &"reject")) {
        filter.drops = true;
    }
    if has("saddr") || has("iifname") && refuses {
        return;
    }
    let Some(at) = words.iter().position(|word| *word == "dport") else { return };
    let protocols: Vec<Protocol> = match words[..at].last() {
        Some(&"th") => vec![Protocol::Tcp, Protocol::Udp],
        word => word.and_then(|word| Protocol::parse(word)).into_iter().collect(),
    };
    let rest = words[at + 1..].join(" ");
    let (all_but, rest) = rest.strip_prefix("!= ").map_or((false, rest.as_str()), |rest| (true, rest));
    let ports: Vec<RangeInclusive<u16>> = match rest.strip_prefix("{ ") {
        Some(set) => {
            set.split(" }").next().unwrap_or_default().split(", ").filter_map(|part| range(part, '-')).collect()
        }
        None => rest.split(' ').next().and_then(|part| range(part, '-')).into_iter().collect(),
    };
    let ports = protocols.iter().flat_map(|protocol| ports.iter().map(|ports| (*protocol, ports.clone())));
    match (accepts, refuses, all_but) {
        (true, _, false) => filter.accepts.extend(ports),
        (_, true, false) => filter.refuses.extend(ports),
        (_, true, true) => {
            filter.drops = true;
            filter.accepts.extend(ports);
        }
        _ => {}
    }
}

/// A port, or two with `between` between them.
fn range(text: &str, between: char) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(between).unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn lets_in(filter: &Filter, ports: &[u16]) -> Vec<u16> {
        ports.iter().copied().filter(|port| filter.lets_in(Protocol::Tcp, *port)).collect()
    }

    const PORTS: [u16; 5] = [22, 80, 443, 5432, 8080];

    #[test]
    fn ufw_is_told_by_its_chains() {
        let saved = ":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:ufw-user-input - [0:0]\n:ufw-user-forward - [0:0]\n\
                     -A INPUT -j ufw-before-input\n-A ufw-before-input -i lo -j ACCEPT\n\
                     -A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT\n\
                     -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\n\
                     -A ufw-user-input -p tcp -m multiport --dports 80,443 -j ACCEPT\n\
                     -A ufw-user-input -s 10.0.0.0/8 -p tcp -m tcp --dport 5432 -j ACCEPT\n\
                     -A ufw-user-forward -p tcp -m tcp --dport 8080 -j ACCEPT\n";
        let filter = of_iptables(&lines(saved)).unwrap();
        assert_eq!((filter.name.as_str(), filter.is_in_force()), ("ufw", true));
        assert_eq!(lets_in(&filter, &PORTS), [22, 80, 443]);
        let limited = saved.replace(
            "-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT",
            "-A ufw-user-input -p tcp -m tcp --dport 22 -j ufw-user-limit-accept",
        );
        assert_eq!(lets_in(&of_iptables(&lines(&limited)).unwrap(), &PORTS), [22, 80, 443]);
    }

    #[test]
    fn rules_of_iptables_are_a_firewall_only_where_they_turn_something_away() {
        let open = ":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\n";
        assert!(!of_iptables(&lines(open)).unwrap().is_in_force());
        let classic = ":INPUT ACCEPT [0:0]\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n\
                       -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n";
        let filter = of_iptables(&lines(classic)).unwrap();
        assert!(filter.is_in_force());
        assert_eq!(lets_in(&filter, &PORTS), [22]);
        let one = ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 443 -j DROP\n-A INPUT -s 192.0.2.9/32 -j DROP\n";
        assert_eq!(lets_in(&of_iptables(&lines(one)).unwrap(), &PORTS), [22, 80, 5432, 8080]);
        assert_eq!(of_iptables(&[]), None);
    }

    #[test]
    fn tables_of_nftables_are_read_with_their_sets_and_ranges() {
        let ruleset = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\
                       \t\tct state established,related accept\n\t\tiifname \"lo\" accept\n\
                       \t\ttcp dport { 22, 80, 8000-8100 } accept comment \"web\"\n\t\tip saddr 10.0.0.0/8 tcp dport 5432 accept\n\t}\n\
                       \tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t\ttcp dport 443 accept\n\t}\n}\n\
                       table ip nat {\n\tchain POSTROUTING {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t}\n}";
        let filters = of_nft(&lines(ruleset));
        let in_force: Vec<&Filter> = filters.iter().filter(|filter| filter.is_in_force()).collect();
        assert_eq!(in_force.len(), 1);
        assert_eq!(in_force[0].name, "table inet filter");
        assert_eq!(lets_in(in_force[0], &PORTS), [22, 80, 8080]);
        assert!(!in_force[0].lets_in(Protocol::Udp, 80));
    }

    #[test]
    fn firewalld_is_told_by_its_table_and_ends_in_a_refusal() {
        let ruleset = "table inet firewalld {\n\tchain filter_INPUT {\n\t\ttype filter hook input priority filter + 10; policy accept;\n\
                       \t\tct state { established, related } accept\n\t\tiifname \"lo\" accept\n\t\tjump filter_INPUT_POLICIES\n\
                       \t\treject with icmpx admin-prohibited\n\t}\n\tchain filter_IN_public_allow {\n\t\ttcp dport 22 accept\n\
                       \t\ttcp dport 80 ct state { new, untracked } accept\n\t}\n\tchain filter_FWD_public_allow {\n\t\ttcp dport 443 accept\n\t}\n}";
        let filters = of_nft(&lines(ruleset));
        assert_eq!(filters[0].name, "firewalld");
        assert_eq!(lets_in(&filters[0], &PORTS), [22, 80]);
    }

    #[test]
    fn what_refuses_only_some_visitors_is_no_firewall() {
        let fail2ban = "table inet f2b-table {\n\tset addr-set-sshd {\n\t\ttype ipv4_addr\n\t}\n\tchain f2b-chain {\n\
                        \t\ttype filter hook input priority filter - 1; policy accept;\n\
                        \t\ttcp dport 22 ip saddr @addr-set-sshd reject\n\t}\n}";
        assert!(!of_nft(&lines(fail2ban))[0].is_in_force());
        let but = "table inet t {\n\tchain c {\n\t\ttype filter hook input priority 0; policy accept;\n\t\ttcp dport != { 22, 80 } drop\n\t}\n}";
        assert_eq!(lets_in(&of_nft(&lines(but))[0], &PORTS), [22, 80]);
    }

    #[test]
    fn our_own_rules_are_read_like_anybodys() {
        let rules = include_str!("../../../../templates/firewall.nft").split("{%").next().unwrap();
        let filters = of_nft(&lines(&format!(
            "{rules}\n\tchain input {{\n\t\ttype filter hook input priority filter; policy drop;\n\t\ttcp dport 80 ct state new accept\n\t}}\n}}"
        )));
        assert!(filters.last().unwrap().lets_in(Protocol::Tcp, 80));
    }
}
