//! `landfall`: the wizard. Puts the screen together with those who do the work.

mod desk;
mod lookups;
mod plain;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use crate::cli::Settings;
use crate::cli::wizard::desk::Desk;
use crate::cupboard::vault::file::VaultFile;
use crate::cupboard::{disk, journal};
use crate::doors::programs;
use crate::front::tui::look::Look;
use crate::front::tui::messages::{Home, News, Shelf};
use crate::front::tui::run_screen::{Purpose, RunScreen};
use crate::front::tui::state::{Screen, State};
use crate::front::{self, Style, tui};
use crate::interview::{self, Given};
use crate::model::failure::{Failure, Kind};
use crate::providers::PROVIDERS;

pub use plain::plain;

/// Runs the full-screen wizard, on the playbook `file` if one was named, with the answers of `--set`. Gives the exit
/// code.
pub fn wizard(settings: &Settings, file: Option<PathBuf>, set: &[String]) -> Result<u8, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::new(Kind::Usage, "the wizard needs a terminal")
            .hint("`landfall --plain` asks line by line, and not at all for answers given with --set; `landfall --help` shows the commands"));
    }
    let mut state = new_state();
    state.given = given(set)?;
    let mut disk = Disk;
    if let Some(path) = file {
        open(&mut state, &path, &mut disk)?;
    }
    run(settings, state, &mut disk)
}

/// Plays the run called `name` back. Gives the exit code.
pub fn show(settings: &Settings, name: &str) -> Result<u8, Failure> {
    let (playbook, events) = journal::read_events(&settings.state, name)?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let mut plain = front::plain::Plain::new(settings.style == Style::Plain { quiet: true });
        for event in &events {
            front::replay(settings.style, event, &mut plain);
        }
        return Ok(0);
    }
    let mut state = new_state();
    let mut screen = RunScreen::new(Purpose::Replay);
    screen.progress.playbook = playbook;
    events.iter().for_each(|event| screen.progress.take(event));
    screen.over = Some(screen.progress.end.as_ref().map_or(1, |end| end.code));
    state.bill = vec![];
    state.screen = Screen::Run(Box::new(screen));
    run(settings, state, &mut Disk)?;
    Ok(0)
}

fn new_state() -> State {
    let look = Look::of(|name| std::env::var(name).ok());
    let mut state = State::new(look, PathBuf::new(), playbooks_here());
    let hints = PROVIDERS.iter().filter_map(|provider| provider.api());
    state.token_hints = hints.map(|api| (api.name.to_owned(), api.make_token.to_owned())).collect();
    state
}

fn given(set: &[String]) -> Result<Given, Failure> {
    Given::read(set).map_err(|why| {
        Failure::new(Kind::Usage, format!("bad --set: {why}"))
            .hint(format!("write it as --set server.size=2/4; the keys are {}", interview::known_keys()))
    })
}

/// Opens the playbook at `path`, or begins one that will be there once its first page is finished.
fn open(state: &mut State, path: &Path, disk: &mut Disk) -> Result<(), Failure> {
    if !path.exists() {
        // It is written once there is something in it.
        state.target = Some(path.to_owned());
        state.go_to(0);
        return Ok(());
    }
    state.open(path, disk).map_err(|why| Failure::new(Kind::Playbook, why))?;
    let before = state.draft.text();
    state.given.put(&mut state.draft).map_err(|why| Failure::new(Kind::Usage, why))?;
    state.saved = state.draft.text();
    if state.saved != before {
        disk.save(path, &state.saved, false)?;
    }
    let next = interview::next_page(&state.draft);
    state.go_to(next);
    Ok(())
}

fn run(settings: &Settings, state: State, disk: &mut Disk) -> Result<u8, Failure> {
    let (news, heard) = mpsc::channel::<News>();
    let (orders, taken) = tokio::sync::mpsc::unbounded_channel();
    let (settings, worker) = (settings.clone(), news.clone());
    // What takes time is done beside the screen.
    let desk = thread::spawn(move || Desk::open(settings, worker).work(taken));
    let standby = programs::stand_by();
    let ended = tui::show(state, disk, news, &heard, move |order| drop(orders.send(order)));
    // The desk ends when nobody can give orders any more; what is under way there ends with the process.
    drop(desk);
    drop(standby);
    let (code, words) = ended?;
    words.iter().for_each(|line| front::complain(&format!("{line}\n")));
    Ok(code)
}

/// The playbooks of this folder, and of the one that comes with the program.
fn playbooks_here() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "playbooks"] {
        let entries = std::fs::read_dir(if folder.is_empty() { "." } else { folder }).into_iter().flatten().flatten();
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.ends_with(".toml") || name.starts_with('.') {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let is_one = std::fs::read_to_string(&path).is_ok_and(|text| {
                text.len() < 1 << 20 && text.lines().any(|line| line.trim_start().starts_with("schema"))
            });
            if is_one {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The real disk.
struct Disk;

impl Home for Disk {
    fn save(&mut self, path: &Path, text: &str, new: bool) -> Result<(), Failure> {
        if new && path.exists() {
            return Err(Failure::new(Kind::Playbook, format!("{} is there already", path.display()))
                .hint(format!("`--playbook {}` goes on with it; or choose another name", path.display())));
        }
        if path.exists() {
            disk::write_in_place(path, text.as_bytes())
        } else {
            disk::write_whole(path, text.as_bytes())
        }
    }

    fn open(&mut self, path: &Path) -> Result<String, Failure> {
        disk::read_playbook(path)
    }

    fn shelf(&self, path: &Path) -> Shelf {
        if VaultFile::beside(path).exists() { Shelf::File } else { Shelf::Keyring }
    }
}

/// What both wizards know of the passphrase of a vault file.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<std::sync::Mutex<Option<String>>>);
