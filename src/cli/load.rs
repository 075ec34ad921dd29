//! From a path to a playbook that can be carried out: read, checked, with the files beside it.

use std::path::Path;
use std::sync::Arc;

use crate::cupboard::disk::{self, Beside};
use crate::cupboard::lockline::LockLine;
use crate::cupboard::vault::Vault;
use crate::cupboard::vault::file::Passphrase;
use crate::front;
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::playbook::Playbook;
use crate::model::problem::{Located, Problem};
use crate::model::secret::{Keys, References, Secret};
use crate::model::value::Outputs;
use crate::steps::{self, Source, Sources};

/// A playbook and the files beside it.
pub struct Loaded {
    /// The playbook.
    pub playbook: Playbook,
    /// The files it names.
    pub sources: Sources,
    /// What is kept for it at home.
    pub cupboard: Cupboard,
}

/// What is kept at home for a playbook: its secrets, and references to things without a mark.
#[derive(Clone)]
pub struct Cupboard {
    /// Its vault.
    pub keys: Arc<dyn Keys>,
    /// Its lock line.
    pub references: Arc<dyn References>,
}

/// Asks the environment for the passphrase of a vault file, and else a person.
struct AskPassphrase;

impl Passphrase for AskPassphrase {
    fn get(&self, path: &Path, new: bool) -> Result<Secret, Failure> {
        if let Ok(passphrase) = std::env::var("LANDFALL_PASSPHRASE")
            && !passphrase.is_empty()
        {
            return Ok(Secret::new(passphrase));
        }
        match front::is_interactive() {
            true => front::plain::ask_passphrase(&path.display().to_string(), new),
            false => Err(Failure::new(Kind::Human, format!("{} is locked, and nobody is here to ask", path.display()))
                .hint("set LANDFALL_PASSPHRASE to its passphrase")),
        }
    }
}

/// The vault of the playbook at `path`.
pub fn vault(playbook: &Name, path: &Path) -> Vault {
    Vault::of(playbook, path, Box::new(AskPassphrase))
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
    check_with(path, text, Box::new(AskPassphrase))
}

/// The same, with `passphrase` to open the vault file.
pub fn check_with(path: &Path, text: &str, passphrase: Box<dyn Passphrase>) -> Result<Loaded, Refused> {
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
    let cupboard = Cupboard {
        keys: Arc::new(Vault::of(&playbook.name, path, passphrase)),
        references: Arc::new(LockLine::of(path, text)),
    };
    Ok(Loaded { playbook, sources, cupboard })
}
