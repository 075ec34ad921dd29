//! One run, from a playbook's path to an exit code.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::load::{Cupboard, Loaded, Refused, load};
use crate::cli::{Consent, Settings};
use crate::cupboard::disk;
use crate::doors::Doors;
use crate::doors::http::{Http, Pace};
use crate::doors::ssh::{Patience, Ssh};
use crate::engine::{Command, Goal, Outcome, Run};
use crate::front::{self, Style};
use crate::model::event::{Event, FailureView, VERSION, What};
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::problem::Located;
use crate::model::value::Outputs;
use crate::{providers, steps};

/// Goes through the playbook at `path` as far as `goal` says. Gives the exit code.
pub fn go(settings: &Settings, path: &Path, goal: Goal, consent: Consent) -> Result<u8, Failure> {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(refused) => return Ok(refuse(settings.style, refused)),
    };
    open_vault(&loaded)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        watch_for_stop(stop.clone(), goal == Goal::Plan || goal == Goal::Check, settings.style);
        let doors = doors(settings, &loaded.cupboard, goal);
        Ok(run(settings, loaded, doors, goal, consent, stop).await.code)
    })
}

/// Looks for the tokens that will be needed, so that a vault file is opened, and its passphrase asked for, before the first
/// request and before anything is drawn. Fails where it cannot be opened.
fn open_vault(loaded: &Loaded) -> Result<(), Failure> {
    let wanted = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).unwrap_or_default();
    let apis: BTreeSet<&str> = wanted
        .iter()
        .filter_map(|resource| providers::find(resource.address.provider)?.api())
        .map(|api| api.token)
        .collect();
    for token in apis.into_iter().filter_map(Name::parse) {
        loaded.cupboard.keys.find(&token)?;
    }
    Ok(())
}

/// The runtime of one command. One thread drives everything; what blocks has threads of its own.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Kind::Failed, "cannot start").because(e))
}

/// The ways out, for a run that goes as far as `goal`.
pub fn doors(settings: &Settings, cupboard: &Cupboard, goal: Goal) -> Doors {
    let keys = cupboard.keys.clone();
    // A host that was just made boots for a while; one that is only looked at should be there.
    let patience = match goal {
        Goal::Apply => Patience { reach: Duration::from_secs(300), login: Duration::from_secs(120) },
        _ => Patience { reach: Duration::from_secs(20), login: Duration::ZERO },
    };
    Doors {
        http: Http::new(settings.endpoints.clone(), keys.clone(), Pace::default()),
        ssh: Ssh::new(keys.clone(), settings.key_file.clone(), disk::ssh_folder(), patience),
        keys,
        references: cupboard.references.clone(),
    }
}

/// Runs the engine and shows what it tells.
pub async fn run(
    settings: &Settings,
    loaded: Loaded,
    doors: Doors,
    goal: Goal,
    consent: Consent,
    stop: Arc<AtomicBool>,
) -> Outcome {
    let (events, shown) = mpsc::unbounded_channel();
    let (answers, commands) = mpsc::channel(1);
    let name = loaded.playbook.name.to_string();
    let interactive = front::is_interactive() && settings.style != Style::Json;
    let run = Run {
        playbook: loaded.playbook,
        sources: loaded.sources,
        doors: Arc::new(doors),
        state: settings.state.clone(),
        events,
        commands,
        wishes: consent.wishes.clone(),
        stop,
    };
    let showing = front::show(settings.style, settings.listener.as_ref(), shown, move |summary| {
        if !matches!(goal, Goal::Apply | Goal::Destroy) {
            return;
        }
        let (answers, summary, name) = (answers.clone(), summary.clone(), name.clone());
        tokio::task::spawn_blocking(move || {
            let answer = match (consent.yes, interactive) {
                (true, _) => Command::Approve { losing_data: consent.losing_data },
                (false, true) => match front::plain::ask_approval(&summary, &name) {
                    Ok(losing_data) => Command::Approve { losing_data },
                    Err(failure) => Command::Decline(failure),
                },
                (false, false) => Command::Decline(
                    Failure::new(Kind::Usage, "nobody is here to approve the plan")
                        .hint("add --yes to go ahead without asking; nothing was done"),
                ),
            };
            // The engine asks only when there is something to do.
            let _ = answers.blocking_send(answer);
        });
    });
    let (outcome, ()) = tokio::join!(run.go(goal), showing);
    outcome
}

/// How many problems of a playbook are shown to a person.
const MOST_PROBLEMS: usize = 20;

/// Tells why a playbook was refused. Gives the exit code.
pub fn refuse(style: Style, refused: Refused) -> u8 {
    match (refused, style) {
        (Refused::Unread(failure), Style::Json) => finish_json(&[], &failure),
        (Refused::Unread(failure), Style::Plain { .. }) => {
            front::complain(&front::plain::render_failure(&FailureView::from(&failure)));
        }
        (Refused::Wrong(problems), Style::Json) => {
            let count = crate::text::count(problems.len(), "problem");
            finish_json(&problems, &Failure::new(Kind::Playbook, format!("the playbook was refused: {count}")));
        }
        (Refused::Wrong(problems), Style::Plain { .. }) => {
            let text: Vec<String> = problems.iter().take(MOST_PROBLEMS).map(Located::render).collect();
            front::complain(&text.join("\n"));
            if problems.len() > MOST_PROBLEMS {
                front::complain(&format!("\nand {} more problems\n", problems.len() - MOST_PROBLEMS));
            }
            if front::actions::are_here() {
                problems.iter().for_each(|problem| front::print(&front::actions::problem(problem)));
            }
        }
    }
    Kind::Playbook.exit_code()
}

/// Tells machines that nothing was done, and why.
pub fn finish_json(problems: &[Located], failure: &Failure) {
    let at = jiff::Timestamp::now();
    let mut events = Vec::new();
    if !problems.is_empty() {
        events.push(What::PlaybookRefused { problems: problems.to_vec() });
    }
    events.push(What::RunFinished {
        code: failure.kind.exit_code(),
        changes: 0,
        failure: Some(failure.into()),
        exists: vec![],
        bill: vec![],
        took_ms: 0,
    });
    for (seq, event) in (1..).zip(events) {
        front::json::show(&Event { v: VERSION, seq, at, event });
    }
}

/// First Ctrl-C: finish the change in progress, then stop. Second: stop now. Where nothing is changed, the first one stops at
/// once. It has a thread of its own: a prompt or a pipe that nobody reads may hold the others up.
pub fn watch_for_stop(stop: Arc<AtomicBool>, at_once: bool, style: Style) {
    std::thread::spawn(move || {
        if let Ok(runtime) = runtime() {
            runtime.block_on(listen_for_stop(stop, at_once, style));
        }
    });
}

async fn listen_for_stop(stop: Arc<AtomicBool>, at_once: bool, style: Style) {
    while wait_for_signal().await.is_ok() {
        if at_once || stop.swap(true, Ordering::Relaxed) {
            if std::io::stderr().is_terminal() {
                let _ = console::Term::stderr().show_cursor();
            }
            front::complain(match at_once {
                true => "\nstopped\n",
                false => {
                    "\nstopped at once. The change in progress may have happened, and a lease of this run may be left: it ends by \
                     itself within five minutes. Run the same command again: it looks first and goes on from there\n"
                }
            });
            std::process::exit(i32::from(Kind::Stopped.exit_code()));
        }
        if style != Style::Json {
            front::complain("\nstopping after the change in progress; press Ctrl-C again to stop now\n");
        }
    }
}

/// Returns when the user or the system asks the program to end.
pub async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
