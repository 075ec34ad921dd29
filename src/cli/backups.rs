//! `landfall backup` and `landfall drill`: what the step `backups` put on the hosts, asked to do its work now.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cli::Settings;
use crate::cli::go::{doors, refuse, runtime};
use crate::cli::load::{Loaded, load};
use crate::cli::show::Show;
use crate::cupboard::disk;
use crate::cupboard::journal::Journal;
use crate::doors::Doors;
use crate::engine::{Goal, places};
use crate::model::event::{Report, What};
use crate::model::failure::{Failure, Kind};
use crate::model::machine::HostAt;
use crate::model::playbook::Playbook;
use crate::providers::host::errand::{Said, errand};
use crate::steps::backups::{BackupsAnswers, PROGRAM};

/// What is asked of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A backup, now.
    Backup,
    /// A note that what the host holds now is what counts.
    Accept,
    /// Which backups there are.
    List,
    /// A restore beside what runs, compared and deleted again; of a backup other than the newest.
    Drill(Option<String>),
    /// A copy of this backup beside what runs, which stays.
    Beside(String),
    /// When the last ones were, and what was restored.
    Status,
}

impl Errand {
    fn as_str(&self) -> &'static str {
        match self {
            Errand::Backup => "backup",
            Errand::Accept => "accept",
            Errand::List => "list",
            Errand::Drill(_) => "drill",
            Errand::Beside(_) => "beside",
            Errand::Status => "status",
        }
    }

    fn which(&self) -> Option<&str> {
        match self {
            Errand::Drill(which) => which.as_deref(),
            Errand::Beside(which) => Some(which),
            Errand::Backup | Errand::Accept | Errand::List | Errand::Status => None,
        }
    }
}

/// What the host's script takes for the `text` that a person typed: a snapshot's name as it is, a time as `@` and the
/// seconds since 1970. A time without a zone is one of this machine's time zone. Fails as `Usage`.
pub fn chosen(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if (6..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(format!("@{}", at.as_second()));
    }
    let here = jiff::tz::TimeZone::system();
    let at = text.parse::<jiff::civil::DateTime>().ok().and_then(|at| at.to_zoned(here).ok());
    at.map(|at| format!("@{}", at.timestamp().as_second())).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("`{text}` is neither a time nor a snapshot"))
            .hint("write a time such as '2026-11-27 09:00' or 2026-11-27T08:00:00Z, or a snapshot as `landfall backups` lists it")
    })
}

/// Makes a backup on every host of the playbook at `path`; with `accept`, also of what would be refused. Gives the exit
/// code.
pub fn back_up(settings: &Settings, path: &Path, accept: bool) -> Result<u8, Failure> {
    if accept {
        let code = on_all(settings, path, &Errand::Accept)?;
        if code != 0 {
            return Ok(code);
        }
    }
    on_all(settings, path, &Errand::Backup)
}

/// Does it on every host of the playbook at `path` that has backups. Gives the exit code.
pub fn on_all(settings: &Settings, path: &Path, what: &Errand) -> Result<u8, Failure> {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(refused) => return Ok(refuse(settings.style, refused)),
    };
    let name = loaded.playbook.name.clone();
    let _lock = disk::lock(&settings.state, &name, what.as_str())?;
    let journal = Journal::begin(&settings.state, &name)?;
    let run = Some(journal.run().to_owned());
    let mut show = Show::new(settings, Some(journal));
    show.tell(What::RunStarted { command: what.as_str().to_owned(), playbook: name.to_string(), run });
    let done = runtime()?.block_on(async {
        let doors = Arc::new(doors(settings, &loaded.cupboard, Goal::Check));
        ask_all(&loaded, &doors, what, &mut show).await
    });
    Ok(show.end(done.err()))
}

/// Asks every host that has backups, one after the other, and shows what each says. Gives it by the server's step.
pub(super) async fn ask_all(
    loaded: &Loaded,
    doors: &Arc<Doors>,
    what: &Errand,
    show: &mut Show,
) -> Result<Vec<(String, Vec<Said>)>, Failure> {
    let report = Report::silent();
    let wanted = servers(&loaded.playbook);
    if wanted.is_empty() {
        return Err(Failure::new(Kind::Usage, "the playbook has no step `backups`")
            .hint("docs/playbook.md says what it can do; it stands above the apps of its server"));
    }
    let hosts = places::hosts(&loaded.playbook, &loaded.sources, doors, &report).await?;
    let mut all = Vec::new();
    for server in wanted {
        let Some(at) = hosts.iter().find(|host| host.step.as_str() == server) else {
            return Err(Failure::new(Kind::Human, format!("the server `{server}` is not there"))
                .hint("`landfall recover` builds it anew and brings its data back"));
        };
        let said = ask(&loaded.playbook, doors, at, what, show).await?;
        all.push((server, said));
    }
    Ok(all)
}

/// The steps of the servers that have backups.
pub(super) fn servers(playbook: &Playbook) -> Vec<String> {
    let steps = playbook.steps.iter().filter(|entry| entry.kind == "backups");
    steps.filter_map(|entry| entry.answers::<BackupsAnswers>().ok()).map(|answers| answers.on.to_string()).collect()
}

async fn ask(
    playbook: &Playbook,
    doors: &Arc<Doors>,
    at: &HostAt,
    what: &Errand,
    show: &mut Show,
) -> Result<Vec<Said>, Failure> {
    let (to_show, mut lines) = mpsc::unbounded_channel::<Said>();
    let mut run = vec![PROGRAM, playbook.name.as_str(), what.as_str()];
    run.extend(what.which());
    let report = Report::silent();
    let mut asking = std::pin::pin!(errand(doors, at, &run, &report, move |said| drop(to_show.send(said.clone()))));
    let asked = loop {
        tokio::select! {
            asked = &mut asking => break asked,
            Some((word, text)) = lines.recv() => tell(show, at, what, &word, text),
        }
    };
    while let Ok((word, text)) = lines.try_recv() {
        tell(show, at, what, &word, text);
    }
    let (said, status) = asked?;
    if status == 0 {
        return Ok(said);
    }
    let why = said.iter().rev().find(|(word, _)| word == "failed").map(|(_, text)| text.clone());
    let why = why.unwrap_or_else(|| format!("it ended with exit status {status}"));
    let (message, hint) = match what {
        Errand::Backup => (
            "the backup of",
            "the backups made before are as they were; mend the cause and run `landfall backup` again",
        ),
        // What is damaged is cured by a new backup; a dump that does not go in is cured in the database.
        Errand::Drill(_) if why.contains("does not go in") => (
            "the drill of",
            "what runs was not touched. Change what the error names in the database: a function that is not found needs a \
             search_path of its own, as in `alter function public.NAME set search_path = public`. Then run `landfall backup` and \
             `landfall drill` again",
        ),
        Errand::Drill(_) => (
            "the drill of",
            "what runs was not touched. Run `landfall backup` for a new backup, then `landfall drill` again; if that fails, too, \
             begin a new repository with another `path` in the step `backups`",
        ),
        Errand::Beside(_) => ("the copy beside", "what runs was not touched; `landfall backups` lists what there is"),
        Errand::Accept | Errand::List | Errand::Status => ("asking", "run `landfall apply`"),
    };
    Err(Failure::new(Kind::Failed, format!("{message} `{}` failed", at.step)).because(why).hint(hint))
}

fn tell(show: &mut Show, at: &HostAt, what: &Errand, word: &str, text: String) {
    if *what == Errand::Status {
        return;
    }
    // What failed is told as the failure of the whole.
    match word {
        "failed" => {}
        "left-out" => show.tell(What::Note { text: format!("{}: not in the backup: {text}", at.step) }),
        "note" => show.tell(What::Note { text: format!("{}: {text}", at.step) }),
        word => show.tell(What::Probe { what: format!("{} {word}", at.step), passed: true, saw: text }),
    }
}
