//! The command line: what was typed, and what it means.

pub mod audit;
pub mod backups;
pub mod cost;
pub mod go;
pub mod load;
pub mod login;
pub mod recover;
pub mod rehearse;
pub mod secrets;
mod show;
pub mod simulate;
pub mod wizard;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::UnboundedSender;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::cupboard::{disk, journal};
use crate::engine::{Goal, Wishes};
use crate::front::{self, Style};
use crate::model::event::{Event, FailureView};
use crate::model::failure::{Failure, Kind};
use crate::model::visible::{is_hidden, visible};
use crate::rehearsal::clouds::APIS;
use crate::rehearsal::faults::Rule;
use crate::{providers, steps};

/// Takes a solo developer from an empty cloud account to a production server.
///
/// Without a command, a wizard asks and writes a playbook. A playbook says what shall be; `plan` shows what would change,
/// `apply` makes it so, `check` tells whether it still is, `destroy` takes it away. `rehearse` does all of that on this
/// machine, for nothing.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done · 1 failed · 2 wrong use or playbook · 3 drift · 4 a person must act · \
                        5 over budget · 130 stopped")]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    /// Ask line by line instead of on the full screen
    #[arg(long)]
    plain: bool,
    /// An answer given beforehand, such as server.size=2/4; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The playbook to write, or to go on with [default: NAME.toml in this folder]
    #[arg(long, value_name = "FILE")]
    playbook: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Cmd>,
}

/// Options of every command.
#[derive(Args, Debug)]
struct Globals {
    /// One JSON event per line on standard output; everything else on standard error
    #[arg(long, global = true)]
    json: bool,
    /// Only summaries and failures
    #[arg(long, global = true)]
    quiet: bool,
    /// No colours; the variable NO_COLOR does the same
    #[arg(long, global = true)]
    no_color: bool,
    /// Where an API is instead of its usual place; the variable LANDFALL_<API>_URL does the same
    #[arg(long, global = true, value_name = "API=URL")]
    endpoint: Vec<String>,
}

/// How a command that changes something goes ahead.
#[derive(Args, Clone, Copy, Debug)]
struct GoAhead {
    /// Go ahead without asking
    #[arg(long)]
    yes: bool,
    /// Go ahead although a run on another laptop seems to be changing the same things, and take its lease away: only when
    /// you know that it is dead
    #[arg(long)]
    break_lease: bool,
}

/// What goes wrong on purpose in the simulated clouds.
#[derive(Args, Clone, Debug, Default)]
pub struct Weather {
    /// What goes wrong: KIND@API:OPERATION:NTH, such as cut-after-effect@hetzner:servers.create, or KIND:RATE%, such as
    /// 429:10%. Kinds are cut-before-effect, cut-after-effect, 429, 500, 503, slow, stale, revoked, read-only, and mixed;
    /// may be repeated
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Rule>,
    /// What chance goes by: the same number meets the same faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Show what would change; changes nothing
    Plan {
        /// The playbook
        file: PathBuf,
    },
    /// Make everything as the playbook says
    Apply {
        /// The playbook
        file: PathBuf,
        #[command(flatten)]
        go_ahead: GoAhead,
        /// Also make changes that lose data, such as replacing a server
        #[arg(long)]
        allow_data_loss: bool,
        /// Take over what has this address and is not Landfall's, such as cloudflare/record/app.acme.dev/A
        #[arg(long, value_name = "ADDRESS")]
        adopt: Vec<String>,
        /// Take away what is Landfall's and no longer in the playbook, once everything else is as it shall be
        #[arg(long)]
        retire: bool,
        /// Go on although nothing is left at a cloud of what was made there, because it was deleted by hand or by `landfall
        /// destroy` on another laptop
        #[arg(long)]
        gone: bool,
    },
    /// Tell whether everything still is as the playbook says; exit code 3 if not
    Check {
        /// The playbook
        file: PathBuf,
    },
    /// Take everything away that carries the playbook's name
    Destroy {
        /// The playbook
        file: PathBuf,
        #[command(flatten)]
        go_ahead: GoAhead,
        /// Also delete volumes and the data of hosts that stay
        #[arg(long)]
        allow_data_loss: bool,
        /// Go on although nothing at all is left at a cloud of what was made there, because it was deleted by hand
        #[arg(long)]
        gone: bool,
    },
    /// Make a backup now, on every server that has the step `backups`
    ///
    /// Refuses to back up a server that has not taken up its data yet, and what holds far less than the last backup: such
    /// a backup would push the good ones out.
    #[command(
        after_help = "Examples:\n  landfall backup acme.toml\n  landfall backup acme.toml --accept    after half of the rows were deleted on purpose"
    )]
    Backup {
        /// The playbook
        file: PathBuf,
        /// What the servers hold now is what counts: also where it is far less than the last backup, or a restore did not
        /// end. The last backup that held more is kept, whatever its age
        #[arg(long)]
        accept: bool,
    },
    /// List the backups there are, oldest first
    #[command(after_help = "Examples:\n  landfall backups acme.toml\n  landfall backups acme.toml --json")]
    Backups {
        /// The playbook
        file: PathBuf,
    },
    /// Prove that a backup comes back: restore it beside what runs, compare, and delete the copy
    #[command(after_help = "Examples:\n  landfall drill acme.toml\n  landfall drill acme.toml --at '2026-11-27 09:00'")]
    Drill {
        /// The playbook
        file: PathBuf,
        /// Another backup than the newest
        #[arg(long, value_name = "TIME|SNAPSHOT")]
        at: Option<String>,
    },
    /// Bring everything back, data included, with nothing but the playbook, its vault file and tokens
    ///
    /// For the day when the server is lost, the account is, or the laptop is. Builds what is missing, restores the newest
    /// backup before the apps start, compares it with what was backed up, and says up to which moment. What still holds
    /// data is left as it is: with --at, a copy is put beside it.
    #[command(
        after_help = "Examples:\n  landfall recover acme.toml\n  landfall recover acme.toml --at '2026-11-27 09:00'\n  landfall recover acme.toml --set web.provider=digitalocean"
    )]
    Recover {
        /// The playbook
        file: PathBuf,
        /// Another backup than the newest: a time such as '2026-11-27 09:00' (of this machine's time zone) or
        /// 2026-11-27T08:00:00Z, or a snapshot as `landfall backups` lists it
        #[arg(long, value_name = "TIME|SNAPSHOT")]
        at: Option<String>,
        /// Go on without what does not come back, after a recovery that has named it
        #[arg(long)]
        accept_loss: bool,
        /// Change an answer of the playbook first, such as web.provider=digitalocean; may be repeated
        #[arg(long, value_name = "STEP.ANSWER=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        go_ahead: GoAhead,
    },
    /// Log in to a server of the playbook, whose key is known from its provider or the playbook
    Ssh {
        /// The playbook
        file: PathBuf,
        /// The step that made the server [default: the only one]
        step: Option<String>,
        /// A command to run there instead of a shell
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Let outside judges look at the playbook's servers: ssh-audit, Lynis, testssl
    Audit {
        /// The playbook
        file: PathBuf,
    },
    /// Show what a month costs: of a playbook, or of a server of some size at every provider
    Cost {
        /// The playbook
        #[arg(required_unless_present_all = ["cpu", "memory"], conflicts_with_all = ["cpu", "memory"])]
        file: Option<PathBuf>,
        /// Processor cores, at least
        #[arg(long, requires = "memory", value_parser = clap::value_parser!(u32).range(1..=1024))]
        cpu: Option<u32>,
        /// Memory in gigabytes, at least
        #[arg(long, requires = "cpu", value_parser = clap::value_parser!(u32).range(1..=16384))]
        memory: Option<u32>,
    },
    /// Do it all on this machine, with simulated clouds and a real local host; costs nothing
    Rehearse {
        /// The playbook
        file: PathBuf,
        /// Leave everything up at the end, until Ctrl-C
        #[arg(long)]
        keep: bool,
        /// Use stand-in images without asking whether a registry can be reached
        #[arg(long)]
        stand_ins: bool,
        /// Let what takes its time in a cloud take it here, too, instead of a moment
        #[arg(long)]
        real_time: bool,
        /// The bad day: write data through the app, back it up, destroy the servers, the databases and what this laptop
        /// knows, recover, and compare byte for byte. Apps of an image become stand-ins
        #[arg(long)]
        disaster: bool,
        /// Recover onto another provider, such as digitalocean
        #[arg(long, value_name = "PROVIDER", requires = "disaster", value_parser = ["hetzner", "digitalocean"])]
        onto: Option<String>,
        /// How much is written into the database, in megabytes
        #[arg(long, value_name = "N", requires = "disaster", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        database_mb: u32,
        /// How many files are written
        #[arg(long, value_name = "N", requires = "disaster", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        files: u32,
        #[command(flatten)]
        weather: Weather,
    },
    /// Serve simulated clouds on the loopback address; prints a line of URLs and tokens when ready
    Simulate {
        /// Which APIs [default: all]
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(APIS))]
        apis: Vec<String>,
        /// Make every simulated server a real local host; needs Docker
        #[arg(long)]
        hosts: bool,
        #[command(flatten)]
        weather: Weather,
    },
    /// Keep, list, import and export a playbook's secrets
    Secrets {
        #[command(subcommand)]
        verb: secrets::Verb,
    },
    /// List earlier runs
    Runs {
        /// Only those of the playbook of this name
        playbook: Option<String>,
    },
    /// Play an earlier run back
    Show {
        /// The run's name, as `landfall runs` lists it; or a part of it that only one has
        run: String,
    },
    /// Print the JSON Schema of playbooks, for editors
    Schema,
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What the options mean.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How events are shown.
    pub style: Style,
    /// Who is told of events instead, if somebody is.
    pub listener: Option<UnboundedSender<Event>>,
    /// Where APIs are instead of their usual places, by name.
    pub endpoints: BTreeMap<String, String>,
    /// Where the journal and the locks are kept.
    pub state: PathBuf,
    /// The private key to log in with, if one was named.
    pub key_file: Option<PathBuf>,
}

/// How the user answers the plan.
#[derive(Clone, Debug, Default)]
pub struct Consent {
    /// Go ahead without asking.
    pub yes: bool,
    /// Also where data is lost.
    pub losing_data: bool,
    /// What is wanted beyond the playbook.
    pub wishes: Wishes,
}

/// Runs the program. Gives its exit code.
pub fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if std::env::args_os().any(|argument| argument.to_string_lossy().contains(is_hidden)) => {
            front::complain(&visible(&e.render().to_string()));
            return Kind::Usage.exit_code();
        }
        Err(mut e) if e.use_stderr() => {
            never_suggest_destroy(&mut e);
            e.exit()
        }
        // Help and the version were asked for, and must arrive.
        Err(e) => {
            let text = e.render();
            front::print(&if console::colors_enabled() { text.ansi().to_string() } else { text.to_string() });
            return if front::is_unwritten() { Kind::Failed.exit_code() } else { 0 };
        }
    };
    if cli.globals.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        console::set_colors_enabled(false);
        console::set_colors_enabled_stderr(false);
    }
    let json = cli.globals.json;
    let code = match dispatch(cli) {
        Ok(code) => code,
        Err(failure) if json => {
            go::finish_json(&[], &failure);
            failure.kind.exit_code()
        }
        Err(failure) => {
            front::complain(&front::plain::render_failure(&FailureView::from(&failure)));
            failure.kind.exit_code()
        }
    };
    // What was asked for did not arrive, whatever else went well.
    if code == 0 && front::is_unwritten() { Kind::Failed.exit_code() } else { code }
}

/// What is like a command that is not there may be `destroy`: nobody is led there by a typing error.
fn never_suggest_destroy(error: &mut clap::Error) {
    use clap::error::{ContextKind, ContextValue};
    let suggested = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names.clone(),
        _ => return,
    };
    let kept: Vec<String> = suggested.into_iter().filter(|name| name != "destroy").collect();
    match kept.is_empty() {
        true => drop(error.remove(ContextKind::SuggestedSubcommand)),
        false => drop(error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(kept))),
    }
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let settings = |globals: &Globals| settings(globals);
    let Some(command) = cli.command else {
        let settings = settings(&cli.globals)?;
        return match cli.plain {
            true => wizard::plain(&settings, cli.playbook, &cli.set),
            false => wizard::wizard(&settings, cli.playbook, &cli.set),
        };
    };
    if cli.plain || !cli.set.is_empty() || cli.playbook.is_some() {
        return Err(Failure::new(Kind::Usage, "--plain, --set and --playbook before a command are for the wizard")
            .hint("leave them out, or leave out the command; what belongs to a command stands behind it"));
    }
    match command {
        Cmd::Plan { file } => go::go(&settings(&cli.globals)?, &file, Goal::Plan, Consent::default()),
        Cmd::Check { file } => go::go(&settings(&cli.globals)?, &file, Goal::Check, Consent::default()),
        Cmd::Apply { file, go_ahead: GoAhead { yes, break_lease }, allow_data_loss, adopt, retire, gone } => {
            let wishes = Wishes { adopt, retire, break_lease, gone, backup: None };
            let consent = Consent { yes, losing_data: allow_data_loss, wishes };
            go::go(&settings(&cli.globals)?, &file, Goal::Apply, consent)
        }
        Cmd::Destroy { file, go_ahead: GoAhead { yes, break_lease }, allow_data_loss, gone } => {
            let wishes = Wishes { break_lease, gone, ..Wishes::default() };
            let consent = Consent { yes, losing_data: allow_data_loss, wishes };
            go::go(&settings(&cli.globals)?, &file, Goal::Destroy, consent)
        }
        Cmd::Backup { file, accept } => backups::back_up(&settings(&cli.globals)?, &file, accept),
        Cmd::Backups { file } => backups::on_all(&settings(&cli.globals)?, &file, &backups::Errand::List),
        Cmd::Drill { file, at } => {
            let at = at.as_deref().map(backups::chosen).transpose()?;
            backups::on_all(&settings(&cli.globals)?, &file, &backups::Errand::Drill(at))
        }
        Cmd::Recover { file, at, accept_loss, set, go_ahead: GoAhead { yes, break_lease } } => {
            let backup = at.as_deref().map(backups::chosen).transpose()?;
            let wishes = Wishes { break_lease, gone: true, backup, ..Wishes::default() };
            let consent = Consent { yes, losing_data: false, wishes };
            recover::recover(&settings(&cli.globals)?, &file, &set, accept_loss, consent)
        }
        Cmd::Ssh { file, step, command } => login::login(&settings(&cli.globals)?, &file, step.as_deref(), &command),
        Cmd::Audit { file } => audit::audit(&settings(&cli.globals)?, &file),
        Cmd::Cost { file: Some(file), .. } => cost::of_playbook(&settings(&cli.globals)?, &file),
        Cmd::Cost { cpu, memory, .. } => {
            cost::of_size(&settings(&cli.globals)?, cpu.unwrap_or_default(), memory.unwrap_or_default())
        }
        Cmd::Rehearse { file, keep, stand_ins, real_time, disaster, onto, database_mb, files, weather } => {
            let disaster = disaster.then_some(rehearse::Disaster { onto, database_mb, files });
            let wishes = rehearse::Wishes { keep, stand_ins, real_time, disaster, weather };
            rehearse::rehearse(&settings(&cli.globals)?, &file, &wishes)
        }
        Cmd::Simulate { apis, hosts, weather } => simulate::simulate(&apis, hosts, &weather),
        Cmd::Secrets { verb } => secrets::secrets(&settings(&cli.globals)?, verb),
        Cmd::Runs { playbook } => {
            list_runs(&settings(&cli.globals)?.state, playbook.as_deref(), cli.globals.json);
            Ok(0)
        }
        Cmd::Show { run } => wizard::show(&settings(&cli.globals)?, &run),
        Cmd::Schema => {
            front::print(&format!("{:#}\n", steps::reference::schema()));
            Ok(0)
        }
        Cmd::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "landfall", &mut script);
            front::print(&String::from_utf8_lossy(&script));
            Ok(0)
        }
    }
}

fn settings(globals: &Globals) -> Result<Settings, Failure> {
    let mut apis: Vec<&str> = providers::PROVIDERS.iter().filter_map(|p| p.api()).map(|api| api.name).collect();
    // Modelled hosts, which only a rehearsal has.
    apis.push("host");
    let mut endpoints = BTreeMap::new();
    for api in &apis {
        let variable = format!("LANDFALL_{}_URL", api.to_uppercase());
        if let Some(url) = std::env::var(&variable).ok().filter(|url| !url.is_empty()) {
            endpoints.insert((*api).to_owned(), endpoint_url(&variable, &url)?);
        }
    }
    for option in &globals.endpoint {
        let (api, url) = option.split_once('=').ok_or_else(|| {
            Failure::new(Kind::Usage, format!("bad endpoint `{option}`"))
                .hint("write it as --endpoint hetzner=http://127.0.0.1:8080/v1")
        })?;
        if !apis.contains(&api) {
            return Err(Failure::new(Kind::Usage, format!("there is no API `{api}`"))
                .hint(format!("there are: {}", apis.join(", "))));
        }
        endpoints.insert(api.to_owned(), endpoint_url("--endpoint", url)?);
    }
    let style = if globals.json { Style::Json } else { Style::Plain { quiet: globals.quiet } };
    let key_file = std::env::var_os("LANDFALL_SSH_KEY").filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = disk::state_folder()?;
    disk::check_format(&state)?;
    Ok(Settings { style, listener: None, endpoints, state, key_file })
}

/// Checks that a token sent to `url` cannot be read on the way: HTTPS, or plain HTTP to this machine.
fn endpoint_url(source: &str, url: &str) -> Result<String, Failure> {
    let rest =
        url.strip_prefix("http://").map(|rest| (rest, false)).or(url.strip_prefix("https://").map(|rest| (rest, true)));
    let host = |rest: &str| {
        let place = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        match place.rsplit_once(':') {
            // An address of IPv6 has colons of its own.
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
            _ => place.to_owned(),
        }
    };
    let local = |rest: &str| matches!(host(rest).as_str(), "127.0.0.1" | "localhost" | "[::1]");
    match rest {
        // A name before the host's would only hide where the token really goes.
        _ if url.contains('@') => Err(Failure::new(Kind::Usage, format!("{source} has the bad URL `{url}`"))
            .hint("leave out everything before an @")),
        Some((rest, true)) if !rest.is_empty() => Ok(url.trim_end_matches('/').to_owned()),
        Some((rest, false)) if local(rest) => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(Failure::new(Kind::Usage, format!("{source} has the bad URL `{url}`"))
            .hint("use https://…, or http://127.0.0.1… for a simulator: a token must not travel in the open")),
    }
}

fn list_runs(state: &Path, playbook: Option<&str>, json: bool) {
    let runs = journal::runs(state, playbook);
    if json {
        for run in &runs {
            front::json::print_document(&serde_json::to_value(run).unwrap_or_default());
        }
        return;
    }
    if runs.is_empty() {
        front::complain("no runs yet\n");
    }
    for run in runs {
        let end = match run.code {
            Some(0) => "done".to_owned(),
            Some(130) => "stopped".to_owned(),
            Some(code) => format!("failed, exit code {code}"),
            None => "cut off".to_owned(),
        };
        let changes = crate::text::count(run.changes, "change");
        let line = format!("{}  {:<8} {:<20} {:<12} {end}\n", run.run, run.command, run.playbook, changes);
        front::print(&visible(&line));
    }
}
