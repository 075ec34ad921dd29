//! What is asked of a host, and the one script that asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::machine::Health;
use crate::providers::host::facts::{MADE, MARKS};
use crate::providers::host::kinds::compose::asking;
use crate::providers::host::others;
use crate::providers::host::script::{Script, quote, words};

/// The host key sshd shows.
pub(super) const USED_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
/// The host key that waits until it is vouched for.
pub(super) const BORN_KEY: &str = "/var/lib/landfall/host-key/ed25519";

/// More of a file than this is not sent home to be shown.
const SHOWN: usize = 64 << 10;
/// A shell condition: is this host a container?
pub(super) const IN_CONTAINER: &str = "systemd-detect-virt --quiet --container";

/// What is asked of a host.
#[derive(Default)]
pub(super) struct Questions {
    /// Owner, mode and type of these paths.
    pub stat: BTreeSet<String>,
    /// Whether these files are older than so many minutes.
    pub ages: BTreeMap<String, u32>,
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
    pub health: BTreeSet<Health>,
    /// The variable in these files and the length of its value.
    pub secrets: BTreeSet<String>,
    /// What sshd says of these keywords, in lower case.
    pub sshd: BTreeSet<String>,
    /// The accounts for which sshd's conditional settings matter.
    pub sshd_users: BTreeSet<String>,
    /// What these tables of nftables hold.
    pub tables: BTreeSet<String>,
    /// Whether these units do their work: a shell condition for each.
    pub works: BTreeMap<String, &'static str>,
    /// Whether these files are as their packages brought them.
    pub pristine: BTreeSet<String>,
    /// Whether it is a container?
    pub container: bool,
    /// The host keys?
    pub host_keys: bool,
    /// Settings of the kernel, and the values they shall have.
    pub sysctls: BTreeMap<String, String>,
    /// What is mounted here, and what fstab says of it.
    pub mounts: BTreeSet<String>,
    /// The time zone?
    pub time_zone: bool,
    /// What else runs there?
    pub others: bool,
    /// Keys in settings files.
    pub settings: BTreeMap<String, BTreeSet<String>>,
}

impl Questions {
    /// The lines of a script that ask everything, each answer line beginning with `mark`. They write to
    /// file descriptor 3, change nothing, and need no more processes than there are kinds of questions.
    pub(super) fn script(&self, mark: &str, out: &mut Script) {
        out.line(format!("if [ -e {MADE} ]; then while IFS= read -r line; do printf '{mark}made\\t%s\\n' \"$line\"; done <{MADE} >&3; fi"));
        if self.container {
            out.line(format!("! {IN_CONTAINER} || printf '{mark}container-host\\n' >&3"));
        }
        // Read, not sourced: whatever stands there is text.
        out.line("id= version= pretty=");
        out.line("while IFS='=' read -r key value; do value=${value#\\\"}; value=${value%\\\"}; case $key in ID) id=$value ;; VERSION_ID) version=$value ;; PRETTY_NAME) pretty=$value ;; esac; done </etc/os-release");
        out.line(format!("printf '{mark}system\\t%s\\t%s\\t%s\\n' \"$id\" \"$version\" \"$pretty\" >&3"));
        if !self.stat.is_empty() {
            let paths = words(&self.stat);
            out.line(format!("stat --printf='{mark}stat\\t%a\\t%U:%G\\t%F\\t%n\\n' -- {paths} >&3 2>/dev/null"));
        }
        for (path, minutes) in &self.ages {
            let path = quote(path);
            out.line(format!(
                "[ -z \"$(find {path} -mmin +{minutes} 2>/dev/null)\" ] || printf '{mark}stale\\t%s\\n' {path} >&3"
            ));
        }
        self.ask_sums(mark, out);
        if !self.pristine.is_empty() {
            let paths = words(&self.pristine);
            out.line(format!("md5sum -- {paths} 2>/dev/null | while IFS= read -r line; do printf '{mark}md5\\t%s\\n' \"$line\"; done >&3"));
            let choice: Vec<String> = self.pristine.iter().map(|path| quote(path)).collect();
            out.line(format!("dpkg-query --show --showformat='${{Conffiles}}\\n' | while read -r path sum rest; do case $path in {}) printf '{mark}conffile\\t%s  %s\\n' \"$sum\" \"$path\" ;; esac; done >&3", choice.join("|")));
        }
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
            out.line(format!("systemctl show --property=LoadState,UnitFileState,ActiveState,ConditionResult,ConditionTimestampMonotonic -- {names} 2>/dev/null | while IFS= read -r line; do printf '{mark}unit\\t%s\\n' \"$line\"; done >&3"));
        }
        for (unit, condition) in &self.works {
            out.line(format!("! {condition} || printf '{mark}works\\t%s\\n' {} >&3", quote(unit)));
        }
        if !self.users.is_empty() {
            out.line(format!(
                "getent passwd {} | while IFS= read -r line; do printf '{mark}user\\t%s\\n' \"$line\"; done >&3",
                words(&self.users)
            ));
            // Of the password only whether it locks the account.
            out.line(format!(
                "getent shadow {} | while IFS=: read -r name password last min max warn inactive expire rest; do case $password in '!'|'!!'|'!*') password=locked ;; *) password=open ;; esac; printf '{mark}account\\t%s\\t%s\\t%s\\t%s\\t%s\\n' \"$name\" \"$password\" \"$last\" \"$max\" \"$expire\"; done >&3",
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
            out.line(format!("command -v docker >/dev/null && docker ps --all --no-trunc --filter label=com.docker.compose.project --format '{mark}container\t{{{{.Label \"com.docker.compose.project\"}}}}\t{{{{.Label \"com.docker.compose.service\"}}}}\t{{{{.State}}}}\t{{{{.Status}}}}\t{{{{.Image}}}}' >&3 2>/dev/null"));
        }
        for health in &self.health {
            let (port, path, asking) = (health.port, quote(health.asked()), asking(health));
            out.line(format!(
                "command -v curl >/dev/null && printf '{mark}health\\t{port}\\t%s\\t%s\\n' {path} \"$({asking})\" >&3"
            ));
        }
        if self.others {
            out.line(others::ASK).line("others >&3");
        }
        self.ask_access(mark, out);
        self.ask_tuning(mark, out);
        out.line(format!("printf '{mark}end\\n' >&3"));
    }

    fn ask_access(&self, mark: &str, out: &mut Script) {
        if !self.sshd.is_empty() {
            let wanted: Vec<String> = self.sshd.iter().map(|keyword| format!("{}' '*", quote(keyword))).collect();
            // sshd wants its run directory even for a test.
            out.line("mkdir -p -m 0755 /run/sshd");
            out.line("if effective=$(sshd -T 2>/dev/null); then");
            out.line(format!("    printf '%s\\n' \"$effective\" | while IFS= read -r line; do case $line in {}) printf '{mark}sshd\\t%s\\n' \"$line\" ;; esac; done >&3", wanted.join("|")));
            out.line(CONDITIONAL);
            let users = words(&self.sshd_users);
            out.line(format!("    conditional {users} | while IFS= read -r line; do case ${{line#*: }} in {}) printf '{mark}sshd\\t%s\\n' \"$line\" ;; esac; done >&3", wanted.join("|")));
            out.line(format!("    printf '{mark}sshd-digest\\t%s\\n' \"$(printf '%s\\n' \"$effective\" | sha256sum | cut -c 1-64)\" >&3"));
            out.line(format!("else printf '{mark}sshd-refused\\t%s\\n' \"$(sshd -T 2>&1 | head -n 1)\" >&3; fi"));
        }
        for table in &self.tables {
            out.line(format!(
                "! command -v nft >/dev/null || printf '{mark}table\\t%s\\t%s\\n' {} \"$({})\" >&3",
                quote(table),
                table_digest(table)
            ));
        }
        if self.host_keys {
            out.line(format!("for pair in used:{USED_KEY}.pub born:{BORN_KEY}.pub; do [ ! -e \"${{pair#*:}}\" ] || {{ set -- $(ssh-keygen -l -f \"${{pair#*:}}\"); printf '{mark}host-key\\t%s\\t%s\\n' \"${{pair%%:*}}\" \"$2\"; }}; done >&3"));
        }
    }

    fn ask_tuning(&self, mark: &str, out: &mut Script) {
        if !self.sysctls.is_empty() {
            let paths = words(self.sysctls.keys().map(|key| sysctl_path(key)));
            out.line(format!(
                "for path in {paths}; do [ ! -w \"$path\" ] || printf '{mark}knob-ours\\t%s\\n' \"$path\"; done >&3"
            ));
            // Not with the shell's own `read`: byte by byte, the kernel tells only the first one.
            out.line(format!(
                "grep -sH '' -- {paths} | while IFS= read -r line; do printf '{mark}knob\\t%s\\n' \"$line\"; done >&3"
            ));
        }
        if !self.mounts.is_empty() {
            let points = words(&self.mounts).replace(' ', "|");
            out.line(format!("while read -r what at kind options rest; do case $at in {points}) printf '{mark}mount\\t%s\\t%s\\n' \"$at\" \"$options\" ;; esac; done </proc/mounts >&3"));
            out.line(format!("[ ! -e /etc/fstab ] || while read -r what at kind options rest; do case $what in '#'*) continue ;; esac; case $at in {points}) printf '{mark}fstab\\t%s\\t%s\\n' \"$at\" \"$what $at $kind $options $rest\" ;; esac; done </etc/fstab >&3"));
        }
        if self.time_zone {
            out.line(format!(
                "zone=$(readlink /etc/localtime); printf '{mark}time-zone\\t%s\\n' \"${{zone##*/zoneinfo/}}\" >&3"
            ));
        }
        for (path, keys) in &self.settings {
            let path = quote(path);
            let keys = words(keys).replace(' ', "|");
            out.line(format!("[ ! -r {path} ] || while read -r key value; do case $key in {keys}) printf '{mark}setting\\t%s\\t%s\\n' {path} \"$key $value\" ;; esac; done <{path} >&3"));
        }
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

/// Shell text that prints the digest of what a table of nftables holds, without its counters; nothing where
/// there is no such table.
pub(super) fn table_digest(table: &str) -> String {
    format!("nft --stateless list table inet {} 2>/dev/null | sha256sum | cut -c 1-64", quote(table))
}

/// A shell function that prints what sshd would do for these accounts and not for others, each line after
/// `for ACCOUNT: `; plain `sshd -T` passes over conditional blocks. Expects `$effective`.
pub(super) const CONDITIONAL: &str = "conditional() { grep -qisE '^[[:space:]]*match[[:space:]]' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf || return 0; \
     for account in \"$@\"; do sshd -T -C \"user=$account,host=localhost,addr=192.0.2.1\" 2>/dev/null | while IFS= read -r line; do \
     printf '%s\\n' \"$effective\" | grep -qxF -e \"$line\" || printf 'for %s: %s\\n' \"$account\" \"$line\"; done; done; }";

/// Where the kernel shows a setting.
pub(super) fn sysctl_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}
