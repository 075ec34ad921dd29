//! Files that stand beside a compose file and go to the server with it.

use std::collections::BTreeMap;

use crate::model::machine::{Directory, HostAt, digest};
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::resource::{Resource, Spec};
use crate::steps::app::compose::beside::{Beside, Role, gather, join};
use crate::steps::app::{AppAnswers, file_resource, root};
use crate::steps::{Site, Source, Sources, Wanted};

/// What must be read from beside the playbook for the app of `entry`, as far as `sources` lets one see.
pub(super) fn wanted(entry: &Entry, sources: &Sources) -> Result<Vec<Wanted>, Problem> {
    let answers = entry.answers::<AppAnswers>()?;
    let Some(path) = answers.compose.as_deref().filter(|path| sources.contains_key(*path)) else { return Ok(vec![]) };
    // What is wrong with the file itself is told where it is used.
    let Ok((_, beside)) = gather(path, &answers, sources) else { return Ok(vec![]) };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let want = |beside: &Beside| Wanted {
        path: join(folder, &beside.path),
        at: entry.place_of("compose"),
        optional: beside.optional,
    };
    Ok(beside.iter().map(want).collect())
}

/// What goes to the server beside a compose file.
#[derive(Default)]
pub(super) struct Sent {
    /// Files, and folders for them.
    pub resources: Vec<Resource>,
    /// Every file's path on the server.
    pub paths: Vec<String>,
    /// A digest of what each service reads, so that it takes up what changes in it.
    pub digests: BTreeMap<String, String>,
}

/// The resources for `path`, a compose file, and everything it names beside itself, below `folder` on the server.
pub(super) fn files(
    site: &Site<'_>,
    host: &HostAt,
    folder: &str,
    path: &str,
    beside: &[Beside],
) -> Result<Sent, Problem> {
    let mut sent = Sent::default();
    let at_home = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let add = |sent: &mut Sent, name: &str, bytes: &[u8], target: &str, role: Role| -> Result<(), Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_not_text| {
            Problem::new(0..0, format!("`{name}` beside it is not text"))
                .hint("put it into an image, or into a volume: only text is sent beside a compose file")
        })?;
        // What begins like a program is one.
        let mode = match (role, text.starts_with("#!")) {
            (Role::Environment, _) => 0o600,
            (_, true) => 0o755,
            (_, false) => 0o644,
        };
        let mut resource = file_resource(site, host, target, text.into(), mode);
        if let Spec::File(file) = &mut resource.spec {
            file.hidden = matches!(role, Role::Environment | Role::Secret);
        }
        sent.resources.push(resource);
        Ok(())
    };
    if let Some(Source::File(bytes)) = site.sources.get(path) {
        add(&mut sent, path, bytes, &format!("{folder}/compose.yaml"), Role::Included)?;
    }
    let mut read: BTreeMap<String, String> = BTreeMap::new();
    for one in beside {
        let name = join(at_home, &one.path);
        let target = format!("{folder}/{}", one.path);
        if matches!(one.path.as_str(), "compose.yaml" | "compose.landfall.yaml" | "landfall.env") {
            return Err(Problem::new(
                0..0,
                format!("`{}` beside it has a name that Landfall uses on the server", one.path),
            )
            .hint("give it another name"));
        }
        let mut files: Vec<(String, &[u8], String)> = Vec::new();
        match site.sources.get(&name) {
            Some(Source::File(bytes)) => files.push((name.clone(), bytes, target.clone())),
            Some(Source::Folder(tree)) => {
                files.extend(tree.iter().map(|(below, bytes)| (join(&name, below), &bytes[..], join(&target, below))));
            }
            None => {}
        }
        // Every folder on the way, so that nobody else has to make it; a folder for data is one more.
        let mut folders: Vec<&str> =
            files.iter().filter_map(|(_, _, target)| Some(target.rsplit_once('/')?.0)).collect();
        if !matches!(site.sources.get(&name), Some(Source::File(_))) {
            folders.push(&target);
        }
        for deep in folders {
            let mut path = folder.to_owned();
            for part in deep.strip_prefix(folder).unwrap_or_default().split('/').filter(|part| !part.is_empty()) {
                path = format!("{path}/{part}");
                let spec = Directory { path: path.clone(), owner: root(), mode: 0o755, tree: None };
                let resource = site.on_host(host, "directory", path.clone(), Spec::Directory(spec));
                if !sent.resources.iter().any(|other| other.address == resource.address) {
                    sent.resources.push(resource);
                }
            }
        }
        for (name, bytes, target) in files {
            add(&mut sent, &name, bytes, &target, one.role)?;
            for service in &one.services {
                read.entry(service.clone()).or_default().extend([target.as_str(), " ", &digest(bytes), "\n"]);
            }
            sent.paths.push(target);
        }
    }
    sent.digests =
        read.into_iter().map(|(service, lines)| (service, digest(lines.as_bytes())[..16].to_owned())).collect();
    Ok(sent)
}
