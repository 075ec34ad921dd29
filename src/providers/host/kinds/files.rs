//! Files, directories, and secrets made on the host.

use crate::model::failure::{Failure, Kind};
use crate::model::machine::{Directory, File, GeneratedSecret, digest, tree_field};
use crate::model::resource::Fields;
use crate::model::secret::Keys;
use crate::model::value::Value;
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::Questions;
use crate::providers::host::script::{Script, quote, words};

/// The bytes of a file, with its secrets filled in; `None` while an output in it is not known. Fails as
/// `Human` when a secret is missing.
fn bytes_of(content: &Value, keys: &dyn Keys) -> Result<Option<Vec<u8>>, Failure> {
    let mut text = String::new();
    for part in content.parts() {
        match part {
            Value::Text(part) => text.push_str(part),
            Value::Secret(name, quoting) => {
                let secret = keys.get(name).ok_or_else(|| {
                    Failure::new(Kind::Human, format!("the secret `{name}` has no value")).hint(keys.how_to_set(name))
                })?;
                text.push_str(&quoting.quote(secret.expose()));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(text.into_bytes()))
}

pub(super) fn ask_file(spec: &File, keys: &dyn Keys, questions: &mut Questions) -> Result<(), Failure> {
    questions.stat.insert(spec.path.clone());
    questions.sums.insert(spec.path.clone());
    // What holds secrets, or may have held some, is never sent home to be shown.
    if let Some(bytes) = bytes_of(&spec.content, keys)?
        && !spec.content.is_secret()
        && !spec.hidden
        && spec.mode & 0o004 != 0
    {
        questions.texts.insert(spec.path.clone(), digest(&bytes));
    }
    Ok(())
}

pub(super) fn read_file(spec: &File, keys: &dyn Keys, facts: &Facts) -> Result<Option<Fields>, Failure> {
    let Some(stat) = facts.stat.get(&spec.path) else { return Ok(None) };
    let sum = facts.sums.get(&spec.path);
    let wanted = bytes_of(&spec.content, keys)?.map(|bytes| digest(&bytes));
    let content = match (sum, facts.texts.get(&spec.path).map(|bytes| std::str::from_utf8(bytes))) {
        (Some(sum), _) if wanted.as_ref() == Some(sum) => spec.shown(),
        (Some(sum), _) if spec.hidden => format!("(not shown; SHA-256 {sum})").into(),
        (Some(_), _) if spec.content.is_secret() => "(differs; it holds secrets, so it is not shown)".into(),
        // A secret may stand in it that the playbook no longer names.
        (Some(_), _) if !stat.is_public() => {
            "(differs; not everybody on the host may read it, so it is not shown)".into()
        }
        (Some(_), Some(Ok(text))) => text.into(),
        (Some(sum), _) => format!("(something else, with SHA-256 {sum})").into(),
        (None, _) => format!("(a {})", stat.kind).into(),
    };
    Ok(Some(Fields::from([
        ("content", content),
        ("owner", stat.owner.as_str().into()),
        ("mode", stat.mode.as_str().into()),
    ])))
}

pub(super) fn make_file(spec: &File, keys: &dyn Keys, out: &mut Script) -> Result<(), Failure> {
    let bytes = bytes_of(&spec.content, keys)?
        .ok_or_else(|| Failure::new(Kind::Failed, format!("the content of {} is not known yet", spec.path)))?;
    let new = format!("{}.landfall-new", spec.path);
    out.line(format!(
        "[ ! -d {0} ] || {{ echo {1}; exit 1; }}",
        quote(&spec.path),
        quote(&format!("there is a directory at {}, where a file shall be: move it away", spec.path))
    ));
    out.line(format!("save_original {}", quote(&spec.path)));
    out.line(format!("mkdir -p -- \"$(dirname -- {})\"", quote(&spec.path)));
    out.line(format!("rm -f -- {}", quote(&new)));
    out.line("old_umask=$(umask); umask 077");
    // On a full disk, nothing of it stays behind.
    out.feed(&format!("cat >{0} || {{ rm -f -- {0}; exit 1; }}", quote(&new)), &bytes);
    out.line("umask \"$old_umask\"");
    out.line(format!("chown {}:{} -- {}", quote(&spec.owner.0), quote(&spec.owner.1), quote(&new)));
    out.line(format!("chmod {:04o} -- {}", spec.mode, quote(&new)));
    if let Some(check) = &spec.check {
        let command = words(check.run.iter().map(|word| word.replace("{}", &new)));
        let user = if check.user == "root" { String::new() } else { format!("runuser -u {} -- ", quote(check.user)) };
        out.line(format!(
            "{user}{command} || {{ rm -f -- {}; echo 'the new file was refused; the old one stays'; exit 1; }}",
            quote(&new)
        ));
    }
    out.line(format!("mv -fT -- {} {}", quote(&new), quote(&spec.path)));
    Ok(())
}

pub(super) fn unmake_file(spec: &File, out: &mut Script) {
    out.line(format!("put_original {}", quote(&spec.path)));
}

pub(super) fn ask_directory(spec: &Directory, questions: &mut Questions) {
    questions.stat.insert(spec.path.clone());
    if spec.tree.is_some() {
        questions.trees.insert(spec.path.clone());
    }
}

pub(super) fn read_directory(spec: &Directory, facts: &Facts) -> Option<Fields> {
    let stat = facts.stat.get(&spec.path).filter(|stat| stat.kind == "directory")?;
    let mut fields = Fields::from([("owner", stat.owner.as_str().into()), ("mode", stat.mode.as_str().into())]);
    if spec.tree.is_some() {
        let lines = facts.trees.get(&spec.path).cloned().unwrap_or_default();
        fields.insert("files", tree_field(lines.into_iter()));
    }
    Some(fields)
}

pub(super) fn make_directory(spec: &Directory, out: &mut Script) -> Result<(), Failure> {
    let path = quote(&spec.path);
    let owner = format!("{}:{}", quote(&spec.owner.0), quote(&spec.owner.1));
    out.line(format!(
        "[ ! -e {path} ] || [ -d {path} ] || {{ echo {}; exit 1; }}",
        quote(&format!("there is a file at {}, where a directory shall be: move it away", spec.path))
    ));
    let Some(tree) = &spec.tree else {
        out.line(format!("mkdir -p -- {path}"));
        out.line(format!("chown {owner} -- {path}"));
        out.line(format!("chmod {:04o} -- {path}", spec.mode));
        return Ok(());
    };
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, &bytes[..])
            .map_err(|e| Failure::new(Kind::Failed, format!("cannot pack {name} for {}", spec.path)).because(e))?;
    }
    let bytes = archive.into_inner().map_err(|e| Failure::new(Kind::Failed, "cannot pack files").because(e))?;
    let (new, old) = (quote(&format!("{}.landfall-new", spec.path)), quote(&format!("{}.landfall-old", spec.path)));
    out.line(format!("rm -rf -- {new} {old}"));
    out.line(format!("mkdir -p -- {new}"));
    out.feed(&format!("tar -x --no-same-owner -f - -C {new}"), &bytes);
    out.line(format!("chown -R {owner} -- {new}"));
    out.line(format!("find {new} -type d -exec chmod {:04o} {{}} +", spec.mode));
    // Two renames: visitors see the old files or the new ones, and for an instant none.
    out.line(format!("[ ! -e {path} ] || mv -T -- {path} {old}"));
    out.line(format!("mv -T -- {new} {path}"));
    out.line(format!("rm -rf -- {old}"));
    Ok(())
}

pub(super) fn unmake_directory(spec: &Directory, out: &mut Script) {
    let path = quote(&spec.path);
    match spec.tree {
        Some(_) => out.line(format!("rm -rf -- {path}")),
        None => out.line(format!("rmdir --ignore-fail-on-non-empty -- {path}")),
    };
}

pub(super) fn ask_secret(spec: &GeneratedSecret, questions: &mut Questions) {
    questions.secrets.insert(spec.path.clone());
}

pub(super) fn read_secret(spec: &GeneratedSecret, facts: &Facts) -> Option<Fields> {
    let (variable, length) = facts.secrets.get(&spec.path)?;
    let length = i64::try_from(*length).unwrap_or(i64::MAX);
    Some(Fields::from([("variable", variable.as_str().into()), ("length", Value::Int(length))]))
}

pub(super) fn make_secret(spec: &GeneratedSecret, out: &mut Script) {
    let (path, new) = (quote(&spec.path), quote(&format!("{}.landfall-new", spec.path)));
    // The value is only ever in the shell's own memory and in the file; a value of the right length stays.
    out.line("value=");
    out.line(format!("[ ! -e {path} ] || IFS='=' read -r name value <{path} || :"));
    out.line(format!(
        "[ \"${{#value}}\" -eq {length} ] || value=$(tr -dc A-Za-z0-9 </dev/urandom | head -c {length})",
        length = spec.length
    ));
    out.line(format!("( umask 077; printf '%s=%s\\n' {} \"$value\" >{new} )", quote(&spec.variable)));
    out.line("value=");
    out.line(format!("mv -fT -- {new} {path}"));
}

pub(super) fn unmake_secret(spec: &GeneratedSecret, out: &mut Script) {
    out.line(format!("rm -f -- {}", quote(&spec.path)));
}
