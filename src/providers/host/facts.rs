//! Facts of a host: which are asked for, the one script that asks, and what its answer means.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;

use crate::model::machine::digest;
use crate::model::resource::Resource;
use crate::providers::host::script::{Script, quote, words};

/// Where Landfall keeps its marks on a host.
pub(super) const MARKS: &str = "/var/lib/landfall/marks";
/// The list of what Landfall made on a host, one address per line.
pub(super) const MADE: &str = "/var/lib/landfall/made";
/// The line of that list that says a resource is its playbook's.
pub(crate) fn made_line(resource: &Resource) -> String {
    format!("{} {}", resource.owner, resource.address)
}

/// More of a file than this is not sent home to be shown.
const SHOWN: usize = 64 << 10;

/// What is asked of a host.
#[derive(Default)]
pub(super) struct Questions {
    /// Owner, mode and type of these paths.
    pub stat: BTreeSet<String>,
    /// Digests of these files.
    pub sums: BTreeSet<String>,
    /// The content of these files, unless their digest is this one.
    pub texts: BTreeMap<String, String>,
    /// Digests of all files below these directories.
    pub trees: BTreeSet<String>,
    /// The state of these packages.
    pub packages: BTreeSet<String>,
    /// The state of these units.
    pub units: BTreeSet<String>,
    /// These accounts.
    pub users: BTreeSet<String>,
    /// These groups.
    pub groups: BTreeSet<String>,
    /// The keys that may log in to these accounts.
    pub authorized: BTreeSet<String>,
    /// These marks.
    pub marks: BTreeSet<String>,
    /// Containers of Compose projects?
    pub containers: bool,
    /// The answers of these loopback ports and paths.
    pub health: BTreeSet<(u16, String)>,
    /// The variable in these files and the length of its value.
    pub secrets: BTreeSet<String>,
}

/// A path's owner, mode and type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stat {
    /// Four octal digits.
    pub mode: String,
    /// `owner:group`.
    pub owner: String,
    /// As stat(1) says it: `regular file`, `directory`, …
    pub kind: String,
}

impl Stat {
    /// May everybody on the host read it?
    pub(crate) fn is_public(&self) -> bool {
        self.mode.chars().next_back().and_then(|digit| digit.to_digit(8)).is_some_and(|bits| bits & 4 != 0)
    }
}

/// A unit's state, in systemd's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unit {
    /// `loaded`, `not-found`, …
    pub load: String,
    /// `enabled`, `disabled`, `static`, …
    pub file: String,
    /// `active`, `inactive`, `failed`, …
    pub active: String,
}

/// What a host answered.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// By path.
    pub stat: BTreeMap<String, Stat>,
    /// Digest by path.
    pub sums: BTreeMap<String, String>,
    /// Content by path.
    pub texts: BTreeMap<String, Vec<u8>>,
    /// By directory: digest, two spaces and path below it.
    pub trees: BTreeMap<String, Vec<String>>,
    /// Installed packages.
    pub packages: BTreeSet<String>,
    /// By the name asked for.
    pub units: BTreeMap<String, Unit>,
    /// Shell by account.
    pub users: BTreeMap<String, String>,
    /// Members by group.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Lines of `authorized_keys` by account.
    pub authorized: BTreeMap<String, Vec<String>>,
    /// Content by mark.
    pub marks: BTreeMap<String, String>,
    /// Service, state and status of each container, by project.
    pub containers: BTreeMap<String, Vec<[String; 3]>>,
    /// HTTP status by port and path; 0 where nothing answered.
    pub health: BTreeMap<(u16, String), u16>,
    /// Variable and length by path.
    pub secrets: BTreeMap<String, (String, usize)>,
    /// Lines of the list of what Landfall made.
    pub made: BTreeSet<String>,
    /// What cloud-init said of the first boot, as JSON, where it ran.
    pub first_boot: String,
    /// Did the answer come to its end?
    pub complete: bool,
}

impl Questions {
    /// The lines of a script that ask everything, each answer line beginning with `mark`. They write to
    /// file descriptor 3, change nothing, and need no more processes than there are kinds of questions.
    pub(super) fn script(&self, mark: &str, out: &mut Script) {
        out.line(format!("if [ -e {MADE} ]; then while IFS= read -r line; do printf '{mark}made\\t%s\\n' \"$line\"; done <{MADE} >&3; fi"));
        if !self.stat.is_empty() {
            let paths = words(&self.stat);
            out.line(format!("stat --printf='{mark}stat\\t%a\\t%U:%G\\t%F\\t%n\\n' -- {paths} >&3 2>/dev/null"));
        }
        self.ask_sums(mark, out);
        for tree in &self.trees {
            let tree = quote(tree);
            out.line(format!("[ -d {tree} ] && find {tree} -type f -exec sha256sum -- {{}} + 2>/dev/null | while IFS= read -r line; do printf '{mark}tree\\t%s\\t%s\\n' {tree} \"$line\"; done >&3"));
        }
        if !self.packages.is_empty() {
            let names = words(&self.packages);
            out.line(format!("dpkg-query --show --showformat='{mark}package\\t${{Package}}\\t${{db:Status-Status}}\\n' {names} >&3 2>/dev/null"));
        }
        if !self.units.is_empty() {
            let names = words(&self.units);
            // Answers come in the order of the names, with an empty line between two.
            out.line(format!("systemctl show --property=LoadState,UnitFileState,ActiveState -- {names} 2>/dev/null | while IFS= read -r line; do printf '{mark}unit\\t%s\\n' \"$line\"; done >&3"));
        }
        if !self.users.is_empty() {
            out.line(format!(
                "getent passwd {} | while IFS= read -r line; do printf '{mark}user\\t%s\\n' \"$line\"; done >&3",
                words(&self.users)
            ));
        }
        if !self.groups.is_empty() {
            out.line(format!(
                "getent group {} | while IFS= read -r line; do printf '{mark}group\\t%s\\n' \"$line\"; done >&3",
                words(&self.groups)
            ));
        }
        for user in &self.authorized {
            // The name was checked to be an account's name, so the tilde is safe to expand.
            out.line(format!("home=~{user}; if [ -r \"$home/.ssh/authorized_keys\" ]; then while IFS= read -r line || [ -n \"$line\" ]; do printf '{mark}authorized\\t{user}\\t%s\\n' \"$line\"; done <\"$home/.ssh/authorized_keys\" >&3; fi"));
        }
        for name in &self.marks {
            let path = quote(&format!("{MARKS}/{name}"));
            out.line(format!("if [ -e {path} ]; then IFS= read -r line <{path}; printf '{mark}mark\\t%s\\t%s\\n' {} \"$line\" >&3; fi", quote(name)));
        }
        for path in &self.secrets {
            let path = quote(path);
            out.line(format!("if [ -e {path} ]; then IFS='=' read -r name value <{path}; printf '{mark}secret\\t%s\\t%s\\t%s\\n' {path} \"$name\" \"${{#value}}\" >&3; value=; fi"));
        }
        if self.containers {
            out.line(format!("command -v docker >/dev/null && docker ps --all --no-trunc --filter label=com.docker.compose.project --format '{mark}container\t{{{{.Label \"com.docker.compose.project\"}}}}\t{{{{.Label \"com.docker.compose.service\"}}}}\t{{{{.State}}}}\t{{{{.Status}}}}' >&3 2>/dev/null"));
        }
        for (port, path) in &self.health {
            let url = quote(&format!("http://127.0.0.1:{port}{path}"));
            out.line(format!("command -v curl >/dev/null && printf '{mark}health\\t{port}\\t%s\\t%s\\n' {} \"$(curl --silent --output /dev/null --max-time 5 --write-out '%{{http_code}}' -- {url})\" >&3", quote(path)));
        }
        out.line(format!("printf '{mark}end\\n' >&3"));
    }

    fn ask_sums(&self, mark: &str, out: &mut Script) {
        if self.sums.is_empty() {
            return;
        }
        let same: Vec<String> = self.texts.iter().map(|(path, sum)| quote(&format!("{sum}  {path}"))).collect();
        let shown: Vec<String> = self.texts.keys().map(|path| quote(path)).collect();
        out.line("while IFS= read -r line; do");
        out.line(format!("    printf '{mark}sum\\t%s\\n' \"$line\""));
        if !self.texts.is_empty() {
            out.line(format!("    case $line in {}) continue ;; esac", same.join("|")));
            out.line("    path=${line#*  }");
            out.line(format!("    case $path in {}) printf '{mark}text\\t%s\\t%s\\n' \"$path\" \"$(head -c {SHOWN} -- \"$path\" | base64 -w 0)\" ;; esac", shown.join("|")));
        }
        out.line("done >&3 <<LANDFALL");
        out.line(format!("$(sha256sum -- {} 2>/dev/null)", words(&self.sums)));
        out.line("LANDFALL");
    }
}

impl Facts {
    /// Takes in one line of the answer, without its mark. `questions` are those that were asked.
    pub(super) fn take(&mut self, line: &str, questions: &Questions) {
        let (tag, rest) = line.split_once('\t').unwrap_or((line, ""));
        let fields: Vec<&str> = rest.split('\t').collect();
        match (tag, &fields[..]) {
            ("made", _) => {
                self.made.insert(rest.to_owned());
            }
            ("stat", [mode, owner, kind, path]) => {
                let stat = Stat { mode: format!("{mode:0>4}"), owner: (*owner).to_owned(), kind: (*kind).to_owned() };
                self.stat.insert((*path).to_owned(), stat);
            }
            ("sum", _) => {
                if let Some((sum, path)) = rest.split_once("  ") {
                    self.sums.insert(path.to_owned(), sum.to_owned());
                }
            }
            ("text", [path, content]) => {
                if let Ok(bytes) = BASE64.decode(content.as_bytes()) {
                    self.texts.insert((*path).to_owned(), bytes);
                }
            }
            ("tree", [tree, line]) => {
                let below = line.split_once("  ").and_then(|(sum, path)| {
                    let path = path.strip_prefix(*tree)?.trim_start_matches('/');
                    Some(format!("{sum}  {path}"))
                });
                self.trees.entry((*tree).to_owned()).or_default().extend(below);
            }
            ("package", [name, "installed"]) => {
                self.packages.insert((*name).to_owned());
            }
            ("unit", _) => self.take_unit(rest, questions),
            ("user", _) => {
                let parts: Vec<&str> = rest.split(':').collect();
                if let [name, .., shell] = parts[..] {
                    self.users.insert(name.to_owned(), shell.to_owned());
                }
            }
            ("group", _) => {
                let parts: Vec<&str> = rest.split(':').collect();
                if let [name, _, _, members] = parts[..] {
                    self.groups.insert(name.to_owned(), members.split(',').map(str::to_owned).collect());
                }
            }
            ("authorized", _) => {
                if let Some((user, line)) = rest.split_once('\t') {
                    self.authorized.entry(user.to_owned()).or_default().push(line.to_owned());
                }
            }
            ("mark", [name, content]) => {
                self.marks.insert((*name).to_owned(), (*content).to_owned());
            }
            ("secret", [path, variable, length]) => {
                if let Ok(length) = length.parse() {
                    self.secrets.insert((*path).to_owned(), ((*variable).to_owned(), length));
                }
            }
            ("container", [project, service, state, status]) => {
                let container = [*service, *state, *status].map(str::to_owned);
                self.containers.entry((*project).to_owned()).or_default().push(container);
            }
            ("health", [port, path, status]) => {
                if let (Ok(port), Ok(status)) = (port.parse(), status.parse()) {
                    self.health.insert((port, (*path).to_owned()), status);
                }
            }
            ("boot", _) => self.first_boot.push_str(rest),
            ("end", _) => self.complete = true,
            _ => {}
        }
    }

    /// systemctl(1) answers in the order it was asked, an empty line between two units.
    fn take_unit(&mut self, line: &str, questions: &Questions) {
        if line.is_empty() || self.units.is_empty() {
            let next = questions.units.iter().find(|unit| !self.units.contains_key(*unit));
            if let Some(unit) = next {
                self.units.insert(unit.clone(), Unit::default());
            }
        }
        let current = questions.units.iter().rfind(|unit| self.units.contains_key(*unit));
        let Some(unit) = current.and_then(|name| self.units.get_mut(name)) else { return };
        match line.split_once('=') {
            Some(("LoadState", value)) => unit.load = value.to_owned(),
            Some(("UnitFileState", value)) => unit.file = value.to_owned(),
            Some(("ActiveState", value)) => unit.active = value.to_owned(),
            _ => {}
        }
    }

    /// Is this its playbook's, and no other's? What two playbooks use goes with neither of them.
    pub(crate) fn is_ours(&self, resource: &Resource) -> bool {
        let own = made_line(resource);
        // Two playbooks may call the same host differently: what follows the host's name is compared.
        let thing = |line: &str| line.splitn(3, '/').nth(2).map(str::to_owned);
        let shared = self.made.iter().any(|line| *line != own && thing(line) == thing(&own));
        self.made.contains(&own) && !shared
    }

    /// The digest of what `paths` hold now, as [`content_digest`] computes it on the host.
    pub(super) fn digest_of(&self, paths: &[String]) -> String {
        let lines: String =
            paths.iter().filter_map(|path| Some(format!("{}  {path}\n", self.sums.get(path)?))).collect();
        digest(lines.as_bytes())
    }
}

/// A shell expression for the digest of what `paths` hold now.
pub(super) fn content_digest(paths: &[String]) -> String {
    format!("$(sha256sum -- {} 2>/dev/null | sha256sum | cut -c 1-64)", words(paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(questions: &Questions, lines: &[&str]) -> Facts {
        let mut facts = Facts::default();
        for line in lines {
            facts.take(line, questions);
        }
        facts
    }

    #[test]
    fn units_are_told_apart_by_the_order_they_were_asked_in() {
        let units = ["caddy.service", "docker.service", "gone.service"].map(str::to_owned);
        let questions = Questions { units: units.into(), ..Questions::default() };
        let lines = [
            "unit\tLoadState=loaded",
            "unit\tActiveState=active",
            "unit\tUnitFileState=enabled",
            "unit\t",
            "unit\tLoadState=loaded",
            "unit\tActiveState=failed",
            "unit\tUnitFileState=disabled",
            "unit\t",
            "unit\tLoadState=not-found",
            "unit\tActiveState=inactive",
            "unit\tUnitFileState=",
        ];
        let facts = facts(&questions, &lines);
        let summary: Vec<String> = facts
            .units
            .iter()
            .map(|(name, unit)| format!("{name} {} {} {}", unit.load, unit.file, unit.active))
            .collect();
        assert_eq!(
            summary,
            [
                "caddy.service loaded enabled active",
                "docker.service loaded disabled failed",
                "gone.service not-found  inactive"
            ]
        );
    }

    #[test]
    fn only_installed_packages_count() {
        let lines = ["package\tcaddy\tinstalled", "package\tdocker.io\tconfig-files", "package\tcurl\thalf-configured"];
        assert_eq!(facts(&Questions::default(), &lines).packages.into_iter().collect::<Vec<_>>(), ["caddy"]);
    }

    #[test]
    fn an_answer_cut_off_is_not_complete() {
        assert!(!facts(&Questions::default(), &["stat\t644\troot:root\tregular file\t/etc/x"]).complete);
        assert!(facts(&Questions::default(), &["end"]).complete);
    }

    #[test]
    fn junk_in_an_answer_is_passed_over() {
        let facts =
            facts(&Questions::default(), &["", "stat", "stat\t1\t2", "health\tx\ty\tz", "text\t/a\t!!!", "\t\t\t\t"]);
        assert!(facts.stat.is_empty() && facts.health.is_empty() && facts.texts.is_empty());
    }
}
