//! From a path to a playbook that can be carried out: read, checked, with the files beside it.

use std::path::Path;

use crate::cupboard::disk::{self, Beside};
use crate::model::failure::Failure;
use crate::model::playbook::Playbook;
use crate::model::problem::{Located, Problem};
use crate::model::value::Outputs;
use crate::steps::{self, Source, Sources};

/// A playbook and the files beside it.
pub struct Loaded {
    /// The playbook.
    pub playbook: Playbook,
    /// The files it names.
    pub sources: Sources,
}

/// Why a playbook was not loaded.
pub enum Refused {
    /// It could not be read.
    Unread(Failure),
    /// It is wrong: everything that is.
    Wrong(Vec<Located>),
}

/// Reads the playbook at `path` and all it names, and checks everything that can be checked at home.
pub fn load(path: &Path) -> Result<Loaded, Refused> {
    let text = disk::read_playbook(path).map_err(Refused::Unread)?;
    check(path, &text)
}

/// Checks the playbook `text`, which is or stands for the file at `path`.
pub fn check(path: &Path, text: &str) -> Result<Loaded, Refused> {
    let wrong = |problems: Vec<Problem>| {
        let shown = path.display().to_string();
        Refused::Wrong(problems.iter().map(|problem| problem.locate(&shown, text)).collect())
    };
    let playbook = Playbook::parse(text).map_err(wrong)?;
    let needs = steps::check::check(&playbook).map_err(wrong)?;

    let folder = path.parent().unwrap_or(Path::new(""));
    let mut sources = Sources::new();
    let mut problems = Vec::new();
    for (name, at) in needs.into_values().flat_map(|needs| needs.files) {
        match disk::read_beside(&folder.join(&name)) {
            Ok(Beside::File(bytes)) => drop(sources.insert(name, Source::File(bytes))),
            Ok(Beside::Folder(files)) => drop(sources.insert(name, Source::Folder(files))),
            Err(e) => problems.push(
                Problem::new(at, format!("cannot read `{name}`: {e}"))
                    .hint("paths are taken from the folder the playbook is in"),
            ),
        }
    }
    if !problems.is_empty() {
        return Err(wrong(problems));
    }
    steps::desired(&playbook, &Outputs::new(), &sources).map_err(wrong)?;
    Ok(Loaded { playbook, sources })
}
