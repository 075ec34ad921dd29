//! Accounts, and the keys that may log in to them.

use crate::model::machine::{AuthorizedKey, User};
use crate::model::resource::Fields;
use crate::model::value::Value;
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::Questions;
use crate::providers::host::script::{Script, quote, words};

pub(super) fn ask_user(spec: &User, questions: &mut Questions) {
    questions.users.insert(spec.name.clone());
    questions.groups.extend(spec.groups.iter().cloned());
}

pub(super) fn read_user(spec: &User, facts: &Facts) -> Option<Fields> {
    let shell = facts.users.get(&spec.name)?;
    let is_in = |group: &&String| facts.groups.get(*group).is_some_and(|members| members.contains(&spec.name));
    let groups = spec.groups.iter().filter(is_in).map(String::as_str);
    let account = facts.accounts.get(&spec.name)?;
    let mut fields = Fields::from([
        ("groups", Value::texts(groups)),
        ("locked", account.locked.into()),
        ("expires", account.expires.into()),
    ]);
    if spec.shell.is_some() {
        fields.insert("shell", shell.as_str().into());
    }
    Some(fields)
}

pub(super) fn make_user(spec: &User, out: &mut Script) {
    let name = quote(&spec.name);
    let shell = spec.shell.as_ref().map_or_else(String::new, |shell| format!("--shell {}", quote(shell)));
    out.line(format!("if getent passwd {name} >/dev/null; then"));
    out.line(if shell.is_empty() { "    :".to_owned() } else { format!("    usermod {shell} {name}") });
    out.line("else");
    // `*` is no password; `!` would mean a locked account, which sshd with `UsePAM no` refuses.
    out.line(format!("    useradd --create-home {shell} --password '*' {name}"));
    out.line("fi");
    // An account that never had a password is not locked for its keys; one that expires would shut them out, too.
    // A password that somebody locked on purpose is left as it is.
    out.line(format!(
        "case $(getent shadow {name} | cut -d : -f 2) in '!'|'!!'|'!*') usermod --password '*' {name} ;; esac"
    ));
    out.line(format!("chage --mindays 0 --maxdays -1 --inactive -1 --expiredate -1 {name}"));
    out.line(format!("case $(getent shadow {name} | cut -d : -f 3) in 0) chage --lastday -1 {name} ;; esac"));
    if !spec.groups.is_empty() {
        out.line(format!("usermod --append --groups {} {name}", quote(&spec.groups.join(","))));
    }
}

/// The home directory stays: it may hold something of worth.
pub(super) fn unmake_user(spec: &User, out: &mut Script) {
    out.line(format!("userdel {}", quote(&spec.name)));
}

pub(super) fn ask_key(spec: &AuthorizedKey, questions: &mut Questions) {
    questions.authorized.insert(spec.user.clone());
}

pub(super) fn read_key(spec: &AuthorizedKey, facts: &Facts) -> Option<Fields> {
    let lines = facts.authorized.get(&spec.user)?;
    // Options may stand before a key and a comment behind it.
    let there = lines.iter().any(|line| {
        !line.trim_start().starts_with('#') && format!(" {} ", line.trim()).contains(&format!(" {} ", spec.key))
    });
    there.then(|| Fields::from([("key", spec.key.as_str().into())]))
}

pub(super) fn make_key(spec: &AuthorizedKey, out: &mut Script) {
    let user = &spec.user;
    let group = format!("\"$(id -g -- {})\"", quote(user));
    out.line(format!("home=~{user}"));
    out.line("file=$home/.ssh/authorized_keys");
    out.line(format!("install -d -m 0700 -o {} -g {group} -- \"$home/.ssh\"", quote(user)));
    out.line("if [ -e \"$file\" ]; then cp -p -- \"$file\" \"$file.landfall-new\"; else ( umask 077; : >\"$file.landfall-new\" ); fi");
    // A last line without its end would otherwise grow together with ours.
    out.line("[ -z \"$(tail -c 1 -- \"$file.landfall-new\")\" ] || echo >>\"$file.landfall-new\"");
    out.line(format!("printf '%s\\n' {} >>\"$file.landfall-new\"", quote(&spec.key)));
    out.line(format!("chown {}:{group} -- \"$file.landfall-new\"", quote(user)));
    out.line("mv -fT -- \"$file.landfall-new\" \"$file\"");
}

pub(super) fn unmake_key(spec: &AuthorizedKey, out: &mut Script) {
    out.line(format!("file=~{}/.ssh/authorized_keys", spec.user));
    out.line("cp -p -- \"$file\" \"$file.landfall-new\"");
    out.line(format!("grep -vF {} \"$file\" >\"$file.landfall-new\" || :", words(["-e", spec.key.as_str(), "--"])));
    out.line("mv -fT -- \"$file.landfall-new\" \"$file\"");
}
