//! What a compose file names beside itself: files and folders that are bind-mounted, configs, secrets, env files, and other
//! compose files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::interpolate::HIDDEN;
use super::{ComposeFile, problem};
use crate::model::problem::Problem;
use crate::steps::app::AppAnswers;
use crate::steps::{Source, Sources};

/// Something beside a compose file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::steps::app) struct Beside {
    /// Its path below the compose file's folder.
    pub path: String,
    /// May it be missing? Then it is a folder for data, which the server makes.
    pub optional: bool,
    /// What it is for.
    pub role: Role,
    /// The services that read it, so that they take up what changes in it.
    pub services: BTreeSet<String>,
}

/// What something beside a compose file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::steps::app) enum Role {
    /// A service or a config reads it.
    Read,
    /// Environment variables: Compose reads it, and nobody else.
    Environment,
    /// A secret: the service reads it.
    Secret,
    /// A compose file whose services are services of ours.
    Included,
    /// A compose file of which services take what they are based on.
    Extended,
}

impl Role {
    fn is_compose(self) -> bool {
        matches!(self, Role::Included | Role::Extended)
    }
}

/// Where a bind mount comes from, and whether it is read only; no source where it is a volume.
pub(super) fn mount(volume: &Value) -> (Option<String>, bool) {
    match volume {
        Value::String(text) => {
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default();
            let options = parts.nth(1).unwrap_or_default();
            let is_path = source.starts_with(['.', '/', '~', HIDDEN]);
            (is_path.then(|| source.to_owned()), options.split(',').any(|option| option == "ro"))
        }
        Value::Object(long) => {
            let text = |key: &str| long.get(key).and_then(Value::as_str);
            let source = (text("type") == Some("bind")).then(|| text("source").unwrap_or_default().to_owned());
            (source, long.get("read_only") == Some(&Value::Bool(true)))
        }
        _ => (None, false),
    }
}

/// `path` below the compose file's folder, without dots; `None` for an absolute path. An error for what leads out of it.
fn below(path: &str) -> Result<Option<String>, Problem> {
    if path.starts_with('/') {
        return Ok(None);
    }
    if path.starts_with('~') {
        return Err(problem(format!("`{path}` is in somebody's home"))
            .hint("the server has another one: put the file beside the compose file, or give an absolute path"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." if parts.pop().is_some() => {}
            ".." => {
                return Err(problem(format!("`{path}` leads out of the compose file's folder"))
                    .hint("only what lies beside or below the compose file is sent"));
            }
            part => parts.push(part),
        }
    }
    Ok(Some(parts.join("/")))
}

impl ComposeFile {
    /// Everything the file names beside itself, by path.
    fn named(&self) -> Result<Vec<Beside>, Problem> {
        let mut all: BTreeMap<String, Beside> = BTreeMap::new();
        let mut add = |path: &str, optional: bool, role: Role, service: Option<&String>| -> Result<(), Problem> {
            if path.contains(HIDDEN) {
                return Err(problem("a path is filled from a secret or an output")
                    .expected("a path that is known before anything is sent"));
            }
            let Some(path) = below(path)? else {
                return match role.is_compose() {
                    true => Err(problem(format!("`{path}` is another compose file somewhere else"))
                        .expected("one beside this compose file")),
                    false => Ok(()),
                };
            };
            if path.is_empty() {
                return Err(problem("the compose file's whole folder is mounted")
                    .hint("mount the files and folders that are needed, each by its name"));
            }
            let beside = Beside { path: path.clone(), optional, role, services: BTreeSet::new() };
            let beside = all.entry(path).or_insert(beside);
            beside.optional &= optional;
            beside.role = beside.role.max(role);
            beside.services.extend(service.cloned());
            Ok(())
        };
        for (name, service) in &self.services {
            let list = |key: &str| match service.get(key) {
                Some(Value::Array(items)) => items.clone(),
                Some(Value::Null) | None => vec![],
                Some(other) => vec![other.clone()],
            };
            for volume in list("volumes") {
                if let (Some(source), read_only) = mount(&volume) {
                    // A name with an ending, or what is only read, must be there; anything else may be a folder for data.
                    let has_ending =
                        source.rsplit('/').next().is_some_and(|name| name.trim_start_matches('.').contains('.'));
                    add(&source, !has_ending && !read_only, Role::Read, Some(name))?;
                }
            }
            for file in list("env_file").iter().chain(&list("label_file")) {
                let (path, required) = match file {
                    Value::String(path) => (path.as_str(), true),
                    other => (
                        other.get("path").and_then(Value::as_str).unwrap_or_default(),
                        other.get("required") != Some(&Value::Bool(false)),
                    ),
                };
                add(path, !required, Role::Environment, Some(name))?;
            }
            if let Some(path) = service.get("extends").and_then(|extends| extends.get("file")).and_then(Value::as_str) {
                add(path, false, Role::Extended, Some(name))?;
            }
        }
        for kind in ["configs", "secrets"] {
            for (name, spec) in self.table(kind) {
                let Some(path) = spec.get("file").and_then(Value::as_str) else { continue };
                let users: Vec<&String> = self
                    .services
                    .iter()
                    .filter(|(_, service)| uses(service, kind, name))
                    .map(|(name, _)| name)
                    .collect();
                let role = if kind == "secrets" { Role::Secret } else { Role::Read };
                add(path, false, role, None)?;
                for user in users {
                    add(path, false, role, Some(user))?;
                }
            }
        }
        for include in match self.document.get("include") {
            Some(Value::Array(items)) => items.clone(),
            Some(Value::Null) | None => vec![],
            Some(other) => vec![other.clone()],
        } {
            match &include {
                Value::String(path) => add(path, false, Role::Included, None)?,
                _ => {
                    return Err(problem("an `include` with more than a path")
                        .expected("the path of a compose file in the same folder"));
                }
            }
        }
        Ok(all.into_values().collect())
    }
}

fn uses(service: &Value, kind: &str, name: &str) -> bool {
    service
        .get(kind)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|used| used.as_str() == Some(name) || used.get("source").and_then(Value::as_str) == Some(name))
}

/// The compose file at `path` beside the playbook and all others it leads to, as one for judging; and what they all name
/// beside themselves, with paths below the first one's folder. What `sources` does not hold yet is named, not followed.
pub(in crate::steps::app) fn gather(
    path: &str,
    answers: &AppAnswers,
    sources: &Sources,
) -> Result<(ComposeFile, Vec<Beside>), Problem> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let text_of = |path: &str| match sources.get(path) {
        Some(Source::File(bytes)) => {
            Some(std::str::from_utf8(bytes).map_err(|_not_text| problem(format!("`{path}` is not in UTF-8"))))
        }
        _ => None,
    };
    let text = text_of(path).ok_or_else(|| problem("it is not a file").expected("a compose file"))??;
    let mut whole = ComposeFile::read(text, answers)?;
    let mut named = whole.named()?;
    let mut seen = BTreeSet::new();
    while let Some(other) =
        named.iter().find(|beside| beside.role.is_compose() && !seen.contains(&beside.path)).cloned()
    {
        seen.insert(other.path.clone());
        if other.path.contains('/') {
            return Err(problem(format!("`{}` is another compose file in another folder", other.path))
                .hint("put it beside the first one: paths in it are meant from there"));
        }
        let Some(text) = text_of(&join(folder, &other.path)) else { continue };
        let read = ComposeFile::read(text?, answers)?;
        read.check_rights(&answers.allow)?;
        for beside in read.named()? {
            match named.iter_mut().find(|known| known.path == beside.path) {
                Some(known) => known.services.extend(beside.services),
                None => named.push(beside),
            }
        }
        // Of a file that is only extended nothing runs by itself.
        if other.role == Role::Included {
            for (name, service) in read.services {
                if whole.services.insert(name.clone(), service).is_some() {
                    return Err(problem(format!("`{}` has a service `{name}`, too", other.path))
                        .expected("each service in one of the files"));
                }
            }
        }
    }
    Ok((whole, named))
}

/// A path below `folder`, which may be empty.
pub(in crate::steps::app) fn join(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}
