//! `landfall --plain`: the same questions, line by line. For screen readers, serial consoles and scripts.

use std::path::{Path, PathBuf};

use crate::cli::Settings;
use crate::cli::wizard::desk::Desk;
use crate::cli::wizard::{Disk, given, lookups, playbooks_here};
use crate::cli::{Consent, go, rehearse};
use crate::engine::Goal;
use crate::estimate::menu::{self, Priced};
use crate::estimate::snapshot::snapshot;
use crate::front::tui::MAKE_KEY;
use crate::front::tui::messages::Home;
use crate::front::tui::state::Beginning;
use crate::front::{self, ask};
use crate::interview;
use crate::model::draft::Draft;
use crate::model::failure::{Failure, Kind};
use crate::model::question::{Choice, Choices, Field, Lookup, Question};

/// Asks every question that is open, saves after every page, and does what is wished then. Gives the exit code.
pub fn plain(settings: &Settings, file: Option<PathBuf>, set: &[String]) -> Result<u8, Failure> {
    let given = given(set)?;
    let interactive = front::is_interactive();
    let mut path = file;
    let here = playbooks_here();
    // With no playbook in sight there is only one thing to begin with.
    if path.is_none() && interactive && given.is_empty() && !here.is_empty() {
        match ask::beginning()? {
            Beginning::New => {}
            Beginning::Rehearse => {
                let path = ask::path(&here)?;
                return rehearse_it(settings, &path);
            }
            _ => path = Some(ask::path(&here)?),
        }
    }
    let mut disk = Disk;
    let mut draft = match &path {
        Some(path) if path.exists() => {
            let text = disk.open(path)?;
            Draft::parse(&text)
                .map_err(|why| Failure::new(Kind::Playbook, format!("{} is no playbook: {why}", path.display())))?
        }
        _ => Draft::default(),
    };
    let mut is_new = !path.as_ref().is_some_and(|path| path.exists());
    if !is_new {
        // An answer given for a playbook that is there changes it.
        given.put(&mut draft).map_err(|why| Failure::new(Kind::Usage, why))?;
        save(&mut disk, path.as_deref(), &draft, false)?;
    }
    if !interactive {
        given.fits(&draft).map_err(|why| Failure::new(Kind::Usage, why))?;
    }
    let priced = catalogs()?;
    while let Some(page) = interview::pages(&draft).get(interview::next_page(&draft)).cloned() {
        if interactive {
            front::complain(&format!("\n{}: {}\n", page.title, page.about));
        }
        let before = draft.clone();
        let mut at = 0;
        while let Some(question) = interview::questions(&draft, page.id).get(at).cloned() {
            let choices = match (&question.lookup, interactive) {
                (Some(lookup @ Lookup::Account(..)), true) => looked_up(settings, path.as_deref(), lookup)?,
                _ => choices(&question, &priced),
            };
            let typed = match (given.of(&question), interactive) {
                (Some(typed), _) => typed.to_owned(),
                (None, true) => ask::question(&question, &choices, &draft)?,
                (None, false) => unasked(&question, &choices)?,
            };
            let typed = if typed == MAKE_KEY { lookups::make_key()? } else { typed };
            interview::answer(&mut draft, &question, &typed).map_err(|why| {
                let key = question.key.as_text();
                Failure::new(Kind::Usage, format!("{key}: {why}")).hint(format!("give it with --set {key}=…"))
            })?;
            at += 1;
        }
        let problems = interview::problems(&draft, &page);
        if let Some((index, why)) = problems.first() {
            let key = interview::questions(&draft, page.id).get(*index).map(|question| question.key.as_text());
            let failure = Failure::new(Kind::Usage, format!("{}: {why}", key.unwrap_or_default()));
            match interactive {
                // Nothing is saved; the page is asked again.
                true => front::complain(&format!("{failure}\n")),
                false => return Err(failure),
            }
            continue;
        }
        interview::finish(&mut draft, &before, page.id);
        let place =
            path.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", draft.head("name").unwrap_or("landfall"))));
        save(&mut disk, Some(&place), &draft, is_new)?;
        is_new = false;
        path = Some(place);
    }
    let Some(path) = path else { return Ok(0) };
    front::complain(&format!("\nsaved {}\n", path.display()));
    let (news, _heard) = std::sync::mpsc::channel();
    let problems = Desk::open(settings.clone(), news).problems(&path);
    if !problems.is_empty() {
        let hint = format!("mend it, then `landfall --plain --playbook {}` goes on", path.display());
        return Err(Failure::new(Kind::Playbook, problems.join("; ")).hint(hint));
    }
    if !interactive {
        return Ok(0);
    }
    front::complain(&ask::bill(&draft, &priced));
    match ask::what_now()? {
        0 => rehearse_it(settings, &path),
        1 => go::go(settings, &path, Goal::Apply, Consent::default()),
        _ => Ok(0),
    }
}

fn rehearse_it(settings: &Settings, path: &Path) -> Result<u8, Failure> {
    rehearse::rehearse(settings, path, &rehearse::Wishes::default())
}

fn save(disk: &mut Disk, path: Option<&Path>, draft: &Draft, new: bool) -> Result<(), Failure> {
    match path {
        Some(path) => disk.save(path, &draft.text(), new),
        None => Ok(()),
    }
}

fn catalogs() -> Result<Vec<Priced>, Failure> {
    let dated =
        snapshot().map_err(|e| Failure::new(Kind::Failed, "the prices in the program cannot be read").because(e))?;
    let priced = |dated: crate::estimate::snapshot::Dated| Priced {
        source: format!("prices of {}", dated.date),
        catalog: dated.catalog,
    };
    Ok(dated.into_iter().map(priced).collect())
}

/// What an account holds to choose from; nothing where there is no token, or nobody answers, which is told.
fn looked_up(settings: &Settings, path: Option<&Path>, lookup: &Lookup) -> Result<Choices, Failure> {
    let (news, heard) = std::sync::mpsc::channel();
    let desk = Desk::open(settings.clone(), news);
    if let Some(path) = path {
        desk.is_at(path.to_owned());
    }
    let found = go::runtime()?.block_on(desk.look(lookup));
    drop(heard);
    Ok(match found {
        Ok(found) => found.unwrap_or_default(),
        Err(failure) => {
            front::complain(&format!("  ! {failure}: type the answer instead\n"));
            Choices::default()
        }
    })
}

/// What there is to choose from.
fn choices(question: &Question, priced: &[Priced]) -> Choices {
    let of = |name: &str| priced.iter().find(|priced| priced.catalog.provider == name);
    let found = match &question.lookup {
        Some(Lookup::Providers) => menu::providers(priced),
        Some(Lookup::Places(provider)) => of(provider).map(menu::places).unwrap_or_default(),
        Some(Lookup::Plans(provider, place)) => {
            of(provider).map(|priced| menu::plans(priced, place)).unwrap_or_default()
        }
        Some(Lookup::PublicKeys) => lookups::public_keys(),
        Some(Lookup::Account(..) | Lookup::Records(..)) | None => Choices::default(),
    };
    match &question.field {
        Field::Choice(own) => Choices { all: own.clone(), ..Choices::default() },
        Field::YesNo => Choices { all: vec![Choice::new("yes", ""), Choice::new("no", "")], ..Choices::default() },
        _ => found,
    }
}

/// The answer nobody is asked for: the default, or the first key that was found.
fn unasked(question: &Question, choices: &Choices) -> Result<String, Failure> {
    if question.lookup == Some(Lookup::PublicKeys)
        && let Some(first) = choices.all.first().filter(|choice| choice.value != MAKE_KEY)
    {
        return Ok(first.value.clone());
    }
    if question.default.is_none() && !question.optional {
        let key = question.key.as_text();
        return Err(Failure::new(Kind::Usage, format!("`{key}` has no answer, and nobody is here to ask"))
            .hint(format!("add --set {key}=…; {}", question.help)));
    }
    Ok(String::new())
}
