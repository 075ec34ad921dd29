//! Facts of a host: what its answer means.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;

use crate::model::machine::digest;
use crate::model::resource::Resource;
use crate::providers::host::others::Others;
use crate::providers::host::questions::Questions;
use crate::providers::host::script::words;

/// Where Landfall keeps its marks on a host.
pub(super) const MARKS: &str = "/var/lib/landfall/marks";
/// The list of what Landfall made on a host, one address per line.
pub(super) const MADE: &str = "/var/lib/landfall/made";
/// The line of that list that says a resource is its playbook's.
pub(crate) fn made_line(resource: &Resource) -> String {
    format!("{} {}", resource.owner, resource.address)
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
    /// systemd looked at the unit's conditions and found that it has no place on this machine, such as a
    /// clock to set in a container.
    pub out_of_place: bool,
}

/// Whether an account can be used, as shadow(5) has it. The password itself is never asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// Its password is one that locks it.
    pub locked: bool,
    /// It, or its password, ends some day or has ended.
    pub expires: bool,
}

/// A setting of the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Knob {
    /// Its value, words with a space between.
    pub value: String,
    /// Can this host set it?
    pub ours: bool,
}

/// What a host answered.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// By path.
    pub stat: BTreeMap<String, Stat>,
    /// Paths that are older than they may be.
    pub stale: BTreeSet<String>,
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
    /// Service, state, status and image of each container, by project.
    pub containers: BTreeMap<String, Vec<[String; 4]>>,
    /// HTTP status by port and path; 0 where nothing answered.
    pub health: BTreeMap<(u16, String), u16>,
    /// Variable and length by path.
    pub secrets: BTreeMap<String, (String, usize)>,
    /// `ID` and `VERSION_ID` of os-release, and its `PRETTY_NAME`.
    pub system: [String; 3],
    /// MD5 digests of files: digest, two spaces and path.
    pub md5: BTreeSet<String>,
    /// What dpkg says of the files that packages brought, in the same form.
    pub conffiles: BTreeSet<String>,
    /// Units that do their work.
    pub working: BTreeSet<String>,
    /// Is the host a container, so that its kernel is another machine's?
    pub in_container: bool,
    /// By account.
    pub accounts: BTreeMap<String, Account>,
    /// What `sshd -T` says, line by line; `Err` with its words where it refuses its own configuration.
    pub sshd: Option<Result<Vec<String>, String>>,
    /// The digest of all that `sshd -T` says.
    pub sshd_digest: String,
    /// Digests of the tables of nftables in force, by name.
    pub tables: BTreeMap<String, String>,
    /// Fingerprints of host keys: `used` for the one sshd has, `born` for the one that waits.
    pub host_keys: BTreeMap<String, String>,
    /// Settings of the kernel it knows, by path.
    pub sysctls: BTreeMap<String, Knob>,
    /// Options in force, by mount point.
    pub mounts: BTreeMap<String, Vec<String>>,
    /// Lines of fstab, words with a space between, by mount point.
    pub fstab: BTreeMap<String, String>,
    /// The name of the time zone.
    pub time_zone: String,
    /// Lines of settings files asked for, by path.
    pub settings: BTreeMap<String, Vec<String>>,
    /// Lines of the list of what Landfall made.
    pub made: BTreeSet<String>,
    /// What else runs there, on a host that was there before Landfall.
    pub others: Others,
    /// What cloud-init said of the first boot, as JSON, where it ran.
    pub first_boot: String,
    /// Did the answer come to its end?
    pub complete: bool,
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
            ("stale", _) => {
                self.stale.insert(rest.to_owned());
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
            ("container", [project, service, state, status, image]) => {
                let container = [*service, *state, *status, *image].map(str::to_owned);
                self.containers.entry((*project).to_owned()).or_default().push(container);
            }
            ("health", [port, path, status]) => {
                if let (Ok(port), Ok(status)) = (port.parse(), status.parse()) {
                    self.health.insert((port, (*path).to_owned()), status);
                }
            }
            ("system", [id, version, pretty]) => self.system = [*id, *version, *pretty].map(str::to_owned),
            ("account", [name, locked, last, max, expire]) => {
                // A day of change of 0 means that it must be changed now; see shadow(5).
                let never = |days: &str| days.is_empty() || days.starts_with('-') || days.len() > 4;
                let expires = *last == "0" || !never(max) || !expire.is_empty();
                let account = Account { locked: *locked == "locked", expires };
                self.accounts.insert((*name).to_owned(), account);
            }
            ("sshd", _) => {
                if let Ok(lines) = self.sshd.get_or_insert_with(|| Ok(vec![])) {
                    lines.push(rest.to_owned());
                }
            }
            ("md5", _) => {
                self.md5.insert(rest.to_owned());
            }
            ("conffile", _) => {
                self.conffiles.insert(rest.to_owned());
            }
            ("works", [unit]) => {
                self.working.insert((*unit).to_owned());
            }
            ("container-host", _) => self.in_container = true,
            ("sshd-digest", [digest]) => self.sshd_digest = (*digest).to_owned(),
            ("sshd-refused", [why]) => self.sshd = Some(Err((*why).to_owned())),
            ("table", [name, digest]) => {
                self.tables.insert((*name).to_owned(), (*digest).to_owned());
            }
            ("host-key", [which, fingerprint]) => {
                self.host_keys.insert((*which).to_owned(), (*fingerprint).to_owned());
            }
            ("knob-ours", [path]) => self.sysctls.entry((*path).to_owned()).or_default().ours = true,
            ("knob", _) => {
                if let Some((path, value)) = rest.split_once(':') {
                    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                    self.sysctls.entry(path.to_owned()).or_default().value = value;
                }
            }
            ("mount", [at, options]) => {
                self.mounts.insert((*at).to_owned(), options.split(',').map(str::to_owned).collect());
            }
            ("fstab", [at, line]) => {
                self.fstab.insert((*at).to_owned(), (*line).to_owned());
            }
            ("time-zone", [name]) => self.time_zone = (*name).to_owned(),
            ("setting", [path, line]) => {
                self.settings.entry((*path).to_owned()).or_default().push((*line).to_owned());
            }
            ("other", _) => self.others.take(rest),
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
            // Both come after the state; a unit that was never started has looked at no condition.
            Some(("ConditionResult", "no")) => unit.out_of_place = true,
            Some(("ConditionTimestampMonotonic", "0")) => unit.out_of_place = false,
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

    /// The text of the file at `path`, which is `wanted` where its digest says so; `None` where there is no file.
    pub(super) fn text_beside(&self, path: &str, wanted: String) -> Option<String> {
        let sum = self.sums.get(path)?;
        Some(match self.texts.get(path) {
            _ if *sum == digest(wanted.as_bytes()) => wanted,
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => format!("(something else, with SHA-256 {sum})"),
        })
    }

    /// Is the file at `path` still as its package brought it? Then nobody's work is in it.
    pub(super) fn is_pristine(&self, path: &str) -> bool {
        self.md5.intersection(&self.conffiles).any(|line| line.split_once("  ").is_some_and(|(_, known)| known == path))
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
