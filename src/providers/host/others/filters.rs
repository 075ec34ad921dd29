//! Firewalls that others put in force, read from what the kernel says of them: which TCP and UDP ports they let in.

use std::ops::RangeInclusive;

use crate::providers::host::others::Protocol;

/// Ports of one protocol.
type Ports = (Protocol, RangeInclusive<u16>);

/// What becomes of a visitor from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Let in.
    Open,
    /// Turned away.
    Closed,
    /// The rules do not tell it to us.
    Unclear,
}

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
    /// What it lets in by rules that may not hold for every visitor: on one interface, or by a set or map.
    may_accept: Vec<Ports>,
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

    /// What becomes of a visitor from anywhere who comes to this port.
    pub(super) fn fate(&self, protocol: Protocol, port: u16) -> Fate {
        let has = |list: &[Ports]| list.iter().any(|(of, ports)| *of == protocol && ports.contains(&port));
        match (has(&self.accepts), has(&self.refuses), has(&self.may_accept)) {
            // Which of them comes first is not looked at.
            (true, true, _) => Fate::Unclear,
            (true, false, _) => Fate::Open,
            (false, true, _) => Fate::Closed,
            (false, false, _) if !self.drops => Fate::Open,
            (false, false, true) => Fate::Unclear,
            (false, false, false) => Fate::Closed,
        }
    }
}

/// Every port of the protocols named, or of both.
fn all_ports(protocol: Option<Protocol>) -> Vec<Ports> {
    let both = [Protocol::Tcp, Protocol::Udp];
    both.into_iter().filter(|one| protocol.is_none_or(|named| named == *one)).map(|one| (one, 1..=u16::MAX)).collect()
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
        if !elsewhere.iter().any(|part| chain.contains(part)) {
            take_rule_of_iptables(&mut filter, chain, rule);
        }
    }
    (!lines.is_empty()).then_some(filter)
}

fn take_rule_of_iptables(filter: &mut Filter, chain: &str, rule: &[&str]) {
    let after = |names: &[&str]| {
        let at = rule.iter().position(|word| names.contains(word))?;
        rule.get(at + 1).copied()
    };
    let Some(target) = after(&["-j"]) else { return };
    let (accepts, refuses) = (target == "ACCEPT" || target.ends_with("accept"), matches!(target, "DROP" | "REJECT"));
    let matchers = rule.split(|word| *word == "-j").next().unwrap_or_default();
    if refuses && matchers.is_empty() && chain == "INPUT" {
        filter.drops = true;
    }
    // For some visitors only, or for packets to somewhere else.
    let narrowed = ["-s", "-d", "!", "--src-range", "--match-set"].iter().any(|word| rule.contains(word));
    let plain = ["tcp", "udp", "multiport", "comment", "conntrack", "state"];
    let mut modules = rule.windows(2).filter(|pair| pair[0] == "-m").map(|pair| pair[1]);
    let is_plain = !rule.contains(&"-i") && modules.all(|module| plain.contains(&module));
    let answers = ["ESTABLISHED", "RELATED", "INVALID", "lo", "icmp", "ipv6-icmp"];
    let is_for_answers = |word: &&str| {
        let parts: Vec<&str> = word.split(',').collect();
        parts.iter().any(|part| answers.contains(part)) && !parts.contains(&"NEW")
    };
    // A chain that is called after its verdict is where judged rules lead.
    if narrowed || rule.iter().any(is_for_answers) || chain.ends_with("accept") {
        return;
    }
    let protocol = after(&["-p"]).map(Protocol::parse);
    let named = after(&["--dport", "--dports"]);
    let ports: Vec<Ports> = match (named, protocol) {
        (Some(ports), Some(Some(protocol))) => {
            ports.split(',').filter_map(|part| range(part, ':')).map(|ports| (protocol, ports)).collect()
        }
        (Some(_), _) | (None, Some(None)) => vec![],
        (None, protocol) => all_ports(protocol.flatten()),
    };
    let is_named = named.is_some();
    match (accepts, refuses) {
        (true, _) if is_named && is_plain => filter.accepts.extend(ports),
        (true, _) => filter.may_accept.extend(ports),
        (_, true) if is_named && is_plain => filter.refuses.extend(ports),
        _ => {}
    }
}

/// What `nft list ruleset` says, one firewall for each table that looks at what comes in.
pub(super) fn of_nft(lines: &[String]) -> Vec<Filter> {
    let mut filters: Vec<Filter> = Vec::new();
    // Does the chain that is being read look at packets on their way through, or out?
    let mut elsewhere = false;
    for line in lines {
        let line = line.split(" comment ").next().unwrap_or(line).trim();
        // A table that a program owns says so behind the brace.
        if let Some((table, _)) = line.split_once(" {").filter(|_| line.starts_with("table ")) {
            let name = if table == "table inet firewalld" { "firewalld" } else { table };
            filters.push(Filter { name: name.to_owned(), ..Filter::default() });
            continue;
        }
        let Some(filter) = filters.last_mut() else { continue };
        if let Some(chain) = line.strip_prefix("chain ") {
            // firewalld names chains after where they stand, and so do most people.
            let chain = chain.to_lowercase();
            elsewhere = ["fwd", "forward", "_out", "output", "_post", "docker"].iter().any(|part| chain.contains(part));
            continue;
        }
        if line.starts_with("type ") && line.contains(" hook ") {
            elsewhere = !(line.starts_with("type filter ") && line.contains(" hook input "));
            filter.drops |= !elsewhere && line.contains("policy drop");
            continue;
        }
        if !elsewhere {
            take_rule_of_nft(filter, line);
        }
    }
    filters
}

fn take_rule_of_nft(filter: &mut Filter, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let (accepts, refuses) = (has(&["accept"]), has(&["drop", "reject"]));
    let bare = match words[..] {
        ["counter", "packets", _, "bytes", _, ref rest @ ..] | ["counter", ref rest @ ..] => rest,
        ref all => all,
    };
    match bare.first() {
        Some(&"drop" | &"reject") => filter.drops = true,
        Some(&"accept") => filter.may_accept.extend(all_ports(None)),
        _ => {}
    }
    // For some visitors only, or for packets to somewhere else.
    if has(&["saddr", "daddr"]) {
        return;
    }
    let is_plain = !has(&["iifname", "iif", "limit", "meter", "count", "add", "update", "oifname", "oif"]);
    let Some(at) = words.iter().position(|word| *word == "dport") else { return };
    let protocols: Vec<Protocol> = match words[..at].last() {
        Some(&"th") => vec![Protocol::Tcp, Protocol::Udp],
        word => word.and_then(|word| Protocol::parse(word)).into_iter().collect(),
    };
    let rest = words[at + 1..].join(" ");
    // What a set or a map holds is not read.
    if rest.starts_with('@') || rest.starts_with("vmap") || rest.starts_with("!= @") {
        filter.may_accept.extend(protocols.iter().flat_map(|protocol| all_ports(Some(*protocol))));
        return;
    }
    let (all_but, rest) = rest.strip_prefix("!= ").map_or((false, rest.as_str()), |rest| (true, rest));
    let ports: Vec<RangeInclusive<u16>> = match rest.strip_prefix("{ ") {
        Some(set) => {
            set.split(" }").next().unwrap_or_default().split(", ").filter_map(|part| range(part, '-')).collect()
        }
        None => rest.split(' ').next().and_then(|part| range(part, '-')).into_iter().collect(),
    };
    let ports = protocols.iter().flat_map(|protocol| ports.iter().map(|ports| (*protocol, ports.clone())));
    match (accepts, refuses, all_but) {
        (true, _, false) if is_plain => filter.accepts.extend(ports),
        (true, _, false) => filter.may_accept.extend(ports),
        (_, true, false) if is_plain => filter.refuses.extend(ports),
        (_, true, true) if is_plain => {
            filter.drops = true;
            filter.accepts.extend(ports);
        }
        _ => {}
    }
}

/// What firewalld says it lets in: lists such as `80/tcp 60000-61000/udp`. It turns everything else away.
pub(super) fn of_firewalld(lists: &[String]) -> Option<Filter> {
    let port = |text: &str| {
        let (ports, protocol) = text.split_once('/')?;
        Some((Protocol::parse(protocol)?, range(ports, '-')?))
    };
    let accepts = lists.iter().flat_map(|list| list.split_whitespace()).filter_map(port).collect();
    (!lists.is_empty()).then(|| Filter { name: "firewalld".into(), drops: true, accepts, ..Filter::default() })
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
        ports.iter().copied().filter(|port| filter.fate(Protocol::Tcp, *port) == Fate::Open).collect()
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
                     -A ufw-user-limit-accept -j ACCEPT\n-A ufw-skip-to-policy-input -j DROP\n\
                     -A ufw-user-forward -p tcp -m tcp --dport 8080 -j ACCEPT\n";
        let filter = of_iptables(&lines(saved)).unwrap();
        assert_eq!((filter.name.as_str(), filter.is_in_force()), ("ufw", true));
        assert_eq!(lets_in(&filter, &PORTS), [22, 80, 443]);
        assert_eq!(filter.fate(Protocol::Tcp, 8080), Fate::Closed);
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
        assert_eq!(in_force[0].fate(Protocol::Udp, 80), Fate::Closed);
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
        assert_eq!(filters.last().unwrap().fate(Protocol::Tcp, 80), Fate::Open);
    }

    #[test]
    fn what_rules_do_not_tell_is_unclear_and_not_closed() {
        let fate = |rule: &str| {
            let saved = format!(":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n{rule}\n");
            of_iptables(&lines(&saved)).unwrap().fate(Protocol::Tcp, 443)
        };
        for (rule, wanted) in [
            ("-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT", Fate::Open),
            ("-A INPUT -i eth0 -p tcp -m tcp --dport 443 -j ACCEPT", Fate::Unclear),
            ("-A INPUT -p tcp -m state --state NEW,ESTABLISHED -m tcp --dport 443 -j ACCEPT", Fate::Open),
            ("-A INPUT -p tcp -j ACCEPT", Fate::Unclear),
            ("-A INPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 443 -j ACCEPT", Fate::Closed),
            ("-A INPUT -p tcp -m connlimit --connlimit-above 50 -m tcp --dport 443 -j REJECT", Fate::Closed),
            ("-A INPUT -i lo -j ACCEPT", Fate::Closed),
            ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", Fate::Closed),
            ("-A INPUT -p icmp -j ACCEPT", Fate::Closed),
        ] {
            assert_eq!(fate(rule), wanted, "{rule}");
        }
        // A limit turns some away, not everybody.
        let limited =
            ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 443 -m hashlimit --hashlimit-above 9/sec -j DROP\n";
        assert!(!of_iptables(&lines(limited)).unwrap().is_in_force());
        let fate = |rule: &str| {
            let ruleset = format!(
                "table inet t {{ # progname x\n\tchain c {{\n\t\ttype filter hook input priority 0; policy drop;\n\t\t{rule}\n\t}}\n}}"
            );
            of_nft(&lines(&ruleset))[0].fate(Protocol::Tcp, 443)
        };
        for (rule, wanted) in [
            ("tcp dport { 80, 443 } accept", Fate::Open),
            ("tcp dport @web accept", Fate::Unclear),
            ("tcp dport vmap { 80 : accept, 443 : accept }", Fate::Unclear),
            ("iifname \"wg0\" tcp dport 443 accept", Fate::Unclear),
            ("ip daddr 10.0.0.1 tcp dport 443 accept", Fate::Closed),
            ("tcp dport 443 ct state new limit rate over 50/second drop", Fate::Closed),
        ] {
            assert_eq!(fate(rule), wanted, "{rule}");
        }
    }
}
