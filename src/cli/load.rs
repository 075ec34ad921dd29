//! From a path to a playbook that can be carried out: read, checked, with the files beside it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
use crate::model::visible::visible;
use crate::steps::{self, Source, Sources, Wanted};

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

/// How long reading a playbook may take before something is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the environment for the passphrase of a vault file, and else a person.
struct AskPassphrase;

impl Passphrase for AskPassphrase {
    fn get(&self, path: &Path, new: bool) -> Result<Secret, Failure> {
        if let Ok(passphrase) = std::env::var("LANDFALL_PASSPHRASE")
            && !passphrase.is_empty()
        {
            // A CI's secret often ends with the line's end it was pasted with.
            return Ok(Secret::new(passphrase.trim_end_matches(['\r', '\n']).to_owned()));
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
    Vault::of(playbook, &disk::real_place(path), Box::new(AskPassphrase))
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
    let text = read_playbook(path).map_err(Refused::Unread)?;
    check(path, &text)
}

/// Reads the playbook at `path`, and says so when that takes a while: a pipe may have nobody at its other end.
fn read_playbook(path: &Path) -> Result<String, Failure> {
    let (done, told) = std::sync::mpsc::channel();
    let from = path.to_owned();
    std::thread::spawn(move || drop(done.send(disk::read_playbook(&from))));
    if let Ok(read) = told.recv_timeout(PATIENCE) {
        return read;
    }
    front::complain(&format!("waiting for {} to be written; Ctrl-C stops\n", visible(&path.display().to_string())));
    told.recv().unwrap_or_else(|_gone| Err(Failure::new(Kind::Failed, "the playbook could not be read")))
}

/// Checks the playbook `text`, which is or stands for the file at `path`.
pub fn check(path: &Path, text: &str) -> Result<Loaded, Refused> {
    check_with(path, text, Box::new(AskPassphrase))
}

/// Reads what the files beside the playbook name in turn.
fn read_more(playbook: &Playbook, folder: &Path, sources: &mut Sources, problems: &mut Vec<Problem>) {
    let mut tried = BTreeSet::new();
    loop {
        let mut wanted = Vec::new();
        for entry in &playbook.steps {
            match steps::find(&entry.kind).map(|step| step.more_files(entry, sources)) {
                Some(Ok(more)) => wanted.extend(more),
                Some(Err(problem)) => problems.push(problem),
                None => {}
            }
        }
        wanted.retain(|wanted| !sources.contains_key(&wanted.path) && tried.insert(wanted.path.clone()));
        if wanted.is_empty() || !problems.is_empty() {
            return;
        }
        for Wanted { path, at, optional } in wanted {
            match disk::read_beside(folder, &path) {
                Ok(Beside::File(bytes)) => drop(sources.insert(path, Source::File(bytes))),
                Ok(Beside::Folder(files)) => drop(sources.insert(path, Source::Folder(files))),
                Err(e) if optional && e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => problems.push(
                    Problem::new(at, format!("cannot read `{path}`, which the compose file names: {e}")).hint(
                        "a path in a compose file is taken from its own folder, and what it names is sent with it",
                    ),
                ),
            }
        }
    }
}

/// The same, with `passphrase` to open the vault file.
pub fn check_with(path: &Path, text: &str, passphrase: Box<dyn Passphrase>) -> Result<Loaded, Refused> {
    let wrong = |problems: Vec<Problem>| {
        let shown = path.display().to_string();
        Refused::Wrong(problems.iter().map(|problem| problem.locate(&shown, text)).collect())
    };
    let playbook = Playbook::parse(text).map_err(wrong)?;
    let needs = steps::check::check(&playbook).map_err(wrong)?;

    // A link to a playbook is that playbook: it has one vault, and the files beside it are those where it really is.
    let real = disk::real_place(path);
    let folder = real.parent().unwrap_or(Path::new(""));
    let mut sources = Sources::new();
    let mut problems = Vec::new();
    for (name, at) in needs.into_values().flat_map(|needs| needs.files) {
        match disk::read_beside(folder, &name) {
            Ok(Beside::File(bytes)) => drop(sources.insert(name, Source::File(bytes))),
            Ok(Beside::Folder(files)) => drop(sources.insert(name, Source::Folder(files))),
            Err(e) => problems.push(
                Problem::new(at, format!("cannot read `{name}`: {e}"))
                    .hint("it is taken from the folder the playbook is in, and stays inside it"),
            ),
        }
    }
    read_more(&playbook, folder, &mut sources, &mut problems);
    if !problems.is_empty() {
        return Err(wrong(problems));
    }
    steps::desired(&playbook, &Outputs::new(), &sources).map_err(wrong)?;
    let cupboard = Cupboard {
        keys: Arc::new(Vault::of(&playbook.name, &real, passphrase)),
        references: Arc::new(LockLine::of(path, text)),
    };
    Ok(Loaded { playbook, sources, cupboard })
}
