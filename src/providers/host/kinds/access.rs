//! What decides who gets in: sshd's settings, the table of nftables, the host key.

use crate::model::access::{KeyInUse, Nftables, Sshd};
use crate::model::failure::{Failure, Kind};
use crate::model::machine::digest;
use crate::model::resource::{Fields, Spec};
use crate::model::value::Value;
use crate::providers::host::facts::{Facts, MARKS};
use crate::providers::host::questions::{BORN_KEY, CONDITIONAL, Questions, USED_KEY, table_digest};
use crate::providers::host::script::{Script, quote, words};

/// The mark that says what sshd has taken up.
const SSHD_MARK: &str = "sshd";

/// The mark that says what has taken up a resource of these kinds, where there is one.
pub(crate) fn mark(spec: &Spec) -> Option<String> {
    match spec {
        Spec::Sshd(_) | Spec::KeyInUse(_) => Some(SSHD_MARK.to_owned()),
        Spec::Nftables(table) => Some(table_mark(table)),
        _ => None,
    }
}

/// Shell text that makes sshd take up its files, and starts it where it was brought down. Where systemd
/// listens for it, a new connection starts a new sshd, which reads them anyway.
pub(crate) const RELOAD_SSHD: &str = "if systemctl is-active --quiet ssh.service || ! systemctl is-active --quiet ssh.socket; then \
     systemctl reset-failed ssh.service 2>/dev/null || :; systemctl reload-or-restart ssh.service; fi";

/// Shell text that puts `text` at `path`, beside it first. Nothing in it is secret.
fn place(path: &str, text: &str, mode: &str, out: &mut Script) {
    let new = quote(&format!("{path}.landfall-new"));
    out.line(format!("mkdir -p -- \"$(dirname -- {})\"", quote(path)));
    out.feed(&format!("cat >{new} || {{ rm -f -- {new}; exit 1; }}"), text.as_bytes());
    out.line(format!("chmod {mode} -- {new}"));
}

/// The accounts whose way in matters most: root, and those that may log in.
fn accounts(spec: &Sshd) -> Vec<String> {
    let allowed = spec.settings.iter().filter(|(keyword, _)| keyword == "AllowUsers").map(|(_, name)| name.clone());
    std::iter::once("root".to_owned()).chain(allowed).collect()
}

pub(super) fn ask_sshd(spec: &Sshd, questions: &mut Questions) {
    questions.sshd.extend(spec.effective().iter().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
    questions.sshd_users.extend(accounts(spec));
    questions.sums.insert(spec.path.clone());
    questions.texts.insert(spec.path.clone(), digest(spec.text().as_bytes()));
    questions.marks.insert(SSHD_MARK.to_owned());
}

pub(super) fn read_sshd(spec: &Sshd, facts: &Facts) -> Option<Fields> {
    let settings = facts.text_beside(&spec.path, spec.text())?;
    let in_force = match &facts.sshd {
        // A keyword may have more values than ours: an account more that may log in is drift.
        Some(Ok(lines)) => {
            let mut lines = lines.clone();
            lines.sort();
            Value::texts(lines)
        }
        Some(Err(why)) => format!("(sshd refuses its configuration: {why})").into(),
        None => "(sshd says nothing)".into(),
    };
    let up_to_date = facts.marks.get(SSHD_MARK) == Some(&facts.sshd_digest);
    Some(Fields::from([("settings", settings.into()), ("in_force", in_force), ("up_to_date", up_to_date.into())]))
}

pub(super) fn make_sshd(spec: &Sshd, out: &mut Script) {
    let path = quote(&spec.path);
    out.line(format!("save_original {path}"));
    place(&spec.path, &spec.text(), "0600", out);
    out.line(format!("mv -fT -- {path}.landfall-new {path}"));
    out.line("mkdir -p -m 0755 /run/sshd");
    out.line("sshd -t");
    // The judge is what sshd says, not what the file says: something may be read before it.
    out.line("effective=$(sshd -T 2>/dev/null)");
    out.line(CONDITIONAL);
    out.line("wrong=");
    out.line("while IFS= read -r wanted; do");
    out.line("    printf '%s\\n' \"$effective\" | grep -qixF -e \"$wanted\" || wrong=\"$wrong, $wanted\"");
    out.line("done <<'LANDFALL'");
    for line in spec.effective() {
        out.line(line);
    }
    out.line("LANDFALL");
    let keywords: Vec<String> =
        spec.effective().iter().filter_map(|l| Some(format!("{}' '*", l.split_once(' ')?.0))).collect();
    out.line(format!(
        "others=$(conditional {} | while IFS= read -r line; do case ${{line#*: }} in {}) printf ', %s' \"$line\" ;; esac; done)",
        words(accounts(spec)),
        keywords.join("|")
    ));
    out.line("wrong=$wrong$others");
    out.line(format!(
        "[ -z \"$wrong\" ] || {{ echo \"these settings are not in force, although {} is read early: ${{wrong#, }}. Something in /etc/ssh/sshd_config or beside it says otherwise, or does not read it at all\"; exit 1; }}",
        spec.path
    ));
    out.line(RELOAD_SSHD);
    out.line(format!("leave_mark {SSHD_MARK} \"$(printf '%s\\n' \"$effective\" | sha256sum | cut -c 1-64)\""));
}

pub(super) fn unmake_sshd(spec: &Sshd, out: &mut Script) {
    out.line(format!("put_original {}", quote(&spec.path)));
    out.line("sshd -t");
    out.line(RELOAD_SSHD);
}

fn table_mark(spec: &Nftables) -> String {
    format!("nftables.{}", spec.table)
}

pub(super) fn ask_table(spec: &Nftables, questions: &mut Questions) {
    questions.tables.insert(spec.table.clone());
    questions.sums.insert(spec.path.clone());
    questions.texts.insert(spec.path.clone(), digest(spec.text.as_bytes()));
    questions.marks.insert(table_mark(spec));
}

pub(super) fn read_table(spec: &Nftables, facts: &Facts) -> Option<Fields> {
    let rules = facts.text_beside(&spec.path, spec.text.clone())?;
    let in_force = facts.tables.get(&spec.table).is_some_and(|live| facts.marks.get(&table_mark(spec)) == Some(live));
    Some(Fields::from([("rules", rules.into()), ("in_force", in_force.into())]))
}

pub(super) fn make_table(spec: &Nftables, out: &mut Script) {
    let path = quote(&spec.path);
    place(&spec.path, &spec.text, "0600", out);
    out.line(format!(
        "nft --check --file {path}.landfall-new || {{ rm -f -- {path}.landfall-new; echo 'the new rules were refused; the old ones stay'; exit 1; }}"
    ));
    out.line(format!("mv -fT -- {path}.landfall-new {path}"));
    out.line(format!("nft --file {path}"));
    out.line(format!("leave_mark {} \"$({})\"", quote(&table_mark(spec)), table_digest(&spec.table)));
}

pub(super) fn unmake_table(spec: &Nftables, out: &mut Script) {
    out.line(format!("rm -f -- {} {}", quote(&spec.path), quote(&format!("{MARKS}/{}", table_mark(spec)))));
    out.line(format!("nft delete table inet {} 2>/dev/null || :", quote(&spec.table)));
}

pub(super) fn ask_host_keys(questions: &mut Questions) {
    questions.host_keys = true;
}

/// The fields and outputs of the key that waits.
pub(super) fn read_born(facts: &Facts) -> Option<(Fields, Vec<(&'static str, String)>)> {
    let born = facts.host_keys.get("born")?;
    Some((Fields::from([("there", true.into())]), vec![("born_key", born.clone())]))
}

pub(super) fn make_born(out: &mut Script) {
    out.line(format!("mkdir -p -m 0700 \"$(dirname {BORN_KEY})\""));
    out.line(format!("rm -f {BORN_KEY} {BORN_KEY}.pub"));
    out.line(format!("ssh-keygen -q -t ed25519 -N '' -C '' -f {BORN_KEY}"));
}

pub(super) fn unmake_born(out: &mut Script) {
    out.line(format!("rm -f {BORN_KEY} {BORN_KEY}.pub"));
}

/// The fields and outputs of the key in use. It is an output only once it is the one that is wanted, so
/// that nobody relies on a key that is about to go.
pub(super) fn read_used(spec: &KeyInUse, facts: &Facts) -> Option<(Fields, Vec<(&'static str, String)>)> {
    let used = facts.host_keys.get("used")?;
    let fields = Fields::from([("fingerprint", used.as_str().into())]);
    let is_wanted = spec.fingerprint == Value::Text(used.clone());
    Some((fields, if is_wanted { vec![("key_in_use", used.clone())] } else { vec![] }))
}

pub(super) fn make_used(spec: &KeyInUse, out: &mut Script) -> Result<(), Failure> {
    let Value::Text(wanted) = &spec.fingerprint else {
        return Err(Failure::new(Kind::Failed, "the host key to use is not known yet"));
    };
    out.line(format!("set -- $(ssh-keygen -l -f {BORN_KEY}.pub)"));
    out.line(format!(
        "[ \"${{2-}}\" = {} ] || {{ echo \"the key that waits is ${{2-not there}}, which nobody vouches for\"; exit 1; }}",
        quote(wanted)
    ));
    for suffix in ["", ".pub"] {
        out.line(format!("cp -p -- {BORN_KEY}{suffix} {USED_KEY}{suffix}.landfall-new"));
        out.line(format!("mv -fT -- {USED_KEY}{suffix}.landfall-new {USED_KEY}{suffix}"));
    }
    out.line(RELOAD_SSHD);
    Ok(())
}
