//! `landfall secrets`: a playbook's secrets. Values come from standard input or a masked question, and go to standard
//! output only with a second word.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;

use crate::cli::Settings;
use crate::cli::go::{doors, refuse, runtime};
use crate::cli::load::{Cupboard, Loaded, load, vault};
use crate::cupboard::disk;
use crate::cupboard::lockline::LockLine;
use crate::cupboard::vault::file::path_beside;
use crate::cupboard::vault::memory::Memory;
use crate::cupboard::vault::{Place, Vault};
use crate::engine::Goal;
use crate::front::{self, Style};
use crate::model::event::{FailureView, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::name::{NAME_RULE, Name};
use crate::model::playbook::Playbook;
use crate::model::resource::Spec;
use crate::model::secret::{Keys, Secret};
use crate::model::value::Outputs;
use crate::providers::{self, Provider};
use crate::steps;

/// What to do with them.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Keep a secret; its value is read from standard input, or asked for. A cloud's token is checked first
    Set {
        /// The playbook
        playbook: PathBuf,
        /// What it is called, such as `hetzner-token`
        name: String,
        /// Keep it in the encrypted file beside the playbook, which is made if it is not there
        #[arg(long, conflicts_with = "keyring")]
        file: bool,
        /// Keep it in the system's keyring
        #[arg(long)]
        keyring: bool,
    },
    /// List the secrets the playbook uses, and where each comes from; never their values
    List {
        /// The playbook
        playbook: PathBuf,
    },
    /// Keep many secrets in the vault file: lines of `name = "value"` from standard input
    Import {
        /// The playbook
        playbook: PathBuf,
    },
    /// Print every secret of the playbook in the open, in the form `import` reads
    Export {
        /// The playbook
        playbook: PathBuf,
        /// Yes, in the open
        #[arg(long, required = true)]
        reveal: bool,
    },
}

/// Does it. Gives the exit code.
pub fn secrets(settings: &Settings, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Set { playbook, name, file, keyring } => {
            let place = match (file, keyring) {
                (true, _) => Some(Place::File),
                (_, true) => Some(Place::Keyring),
                _ => None,
            };
            set(settings, &open(&playbook)?, &playbook, &name, place)
        }
        Verb::Import { playbook } => import(settings, &open(&playbook)?, &playbook),
        Verb::List { playbook } => match load(&playbook) {
            Ok(loaded) => list(settings, &loaded, open(&playbook)?.as_ref()),
            Err(refused) => Ok(refuse(settings.style, refused)),
        },
        Verb::Export { playbook, .. } => match load(&playbook) {
            Ok(loaded) => export(settings, &loaded, open(&playbook)?.as_ref()),
            Err(refused) => Ok(refuse(settings.style, refused)),
        },
    }
}

/// The vault of the playbook at `path`, of which only the name must be right: what it names beside it may still be
/// missing on a laptop where everything is brought back.
fn open(path: &Path) -> Result<Arc<Vault>, Failure> {
    let text = disk::read_playbook(path)?;
    let playbook = Playbook::parse(&text).map_err(|problems| {
        let text: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        Failure::new(Kind::Playbook, text.join("; ")).hint("`landfall plan` shows where")
    })?;
    Ok(Arc::new(vault(&playbook.name, path)))
}

/// Everything on standard input, which is at most a mebibyte.
fn read_input() -> Result<String, Failure> {
    let refused =
        |why: String| Failure::new(Kind::Usage, "cannot read standard input").because(why).hint("nothing was kept");
    let mut text = String::new();
    let read =
        std::io::stdin().take(LONGEST_INPUT + 1).read_to_string(&mut text).map_err(|e| refused(e.to_string()))?;
    match read as u64 > LONGEST_INPUT {
        true => Err(refused(format!("it holds more than {} MiB", LONGEST_INPUT >> 20))),
        false => Ok(text),
    }
}

fn name_of(text: &str) -> Result<Name, Failure> {
    Name::parse(text).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("bad name `{text}`")).hint(format!("a secret's name is {NAME_RULE}"))
    })
}

/// How many bytes of standard input are read: all secrets of a playbook together are far less.
const LONGEST_INPUT: u64 = 1 << 20;

fn set(
    settings: &Settings,
    vault: &Arc<Vault>,
    playbook: &Path,
    name: &str,
    place: Option<Place>,
) -> Result<u8, Failure> {
    let name = name_of(name)?;
    let value = match std::io::stdin().is_terminal() {
        true => front::plain::ask_masked(&format!("{name}:"), false)?,
        false => {
            let text = read_input()?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Secret::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
    };
    if value.expose().is_empty() {
        return Err(Failure::new(Kind::Usage, "the value is empty").hint("nothing was kept"));
    }
    check(settings, vault, &name, &value)?;
    let kept = vault.keep(&name, value, place)?;
    let at = match kept {
        Place::File => format!("{} ({})", kept.as_str(), path_beside(playbook).display()),
        _ => kept.as_str().to_owned(),
    };
    front::complain(&format!("kept `{name}` in the {at}\n"));
    Ok(0)
}

/// Asks the provider about a token before it is kept. One that is refused is not kept; one that cannot be checked is.
fn check(settings: &Settings, vault: &Arc<Vault>, name: &Name, value: &Secret) -> Result<(), Failure> {
    match runtime()?.block_on(judge(settings, vault.clone(), name, value)) {
        Ok(None) => Ok(()),
        Ok(Some(whose)) => {
            front::complain(&format!("the token opens {whose}\n"));
            Ok(())
        }
        Err(failure) if failure.kind == Kind::Unreachable => {
            let text = front::plain::render_failure(&FailureView::from(&failure));
            front::complain(&format!("the token could not be checked, and is kept all the same:\n{text}"));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Whose account the token `name` opens; `None` for a secret that is no token. Fails as `Human` when it is refused or
/// lacks rights, as `Unreachable` when nobody could be asked.
pub(super) async fn judge(
    settings: &Settings,
    vault: Arc<dyn Keys>,
    name: &Name,
    value: &Secret,
) -> Result<Option<String>, Failure> {
    let of_token = |provider: &&&dyn Provider| provider.api().is_some_and(|api| api.token == name.as_str());
    let Some(provider) = providers::PROVIDERS.iter().find(of_token) else { return Ok(None) };
    let keys = Memory::over(vault, [(name.clone(), value.expose().to_owned())]);
    let references = Arc::new(LockLine::of(Path::new(""), ""));
    let doors = doors(settings, &Cupboard { keys: Arc::new(keys), references }, Goal::Plan);
    let Some(checked) = provider.check(&doors, &Report::silent()).await else { return Ok(None) };
    let account = checked?;
    if account.lacks.is_empty() {
        return Ok(Some(account.whose));
    }
    let hint = provider.api().map_or("", |api| api.make_token);
    let what = format!("the token opens {}, but lacks: {}", account.whose, account.lacks.join("; "));
    Err(Failure::new(Kind::Human, what).hint(format!("{hint}; nothing was kept")))
}

/// Every secret the playbook uses: tokens of its clouds, secrets in its answers, and what is made for it.
fn used(loaded: &Loaded) -> Result<BTreeSet<Name>, Failure> {
    let wanted = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
        Failure::new(Kind::Playbook, text.join("; "))
    })?;
    let mut names = BTreeSet::new();
    for resource in &wanted {
        let api = providers::find(resource.address.provider).and_then(|provider| provider.api());
        names.extend(api.and_then(|api| Name::parse(api.token)));
        names.extend(resource.spec.makes_secrets().into_iter().cloned());
        names.extend(resource.spec.fields().values().flat_map(crate::model::value::Value::secrets));
        if let Spec::Compose(spec) = &resource.spec {
            names.extend(spec.secrets.iter().cloned());
        }
    }
    Ok(names)
}

/// Secrets that a run would ask for and that nobody has given: tokens of clouds, and values of files on hosts that are
/// not made on the way.
pub(super) fn missing(loaded: &Loaded) -> Result<Vec<Name>, Failure> {
    let wanted = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
        Failure::new(Kind::Playbook, text.join("; "))
    })?;
    let made: BTreeSet<&Name> = wanted.iter().flat_map(|resource| resource.spec.makes_secrets()).collect();
    let mut names = BTreeSet::new();
    for resource in &wanted {
        let api = providers::find(resource.address.provider).and_then(|provider| provider.api());
        names.extend(api.and_then(|api| Name::parse(api.token)));
        if let Spec::File(_) = &resource.spec {
            let inside =
                resource.spec.fields().values().flat_map(crate::model::value::Value::secrets).collect::<Vec<_>>();
            names.extend(inside.into_iter().filter(|name| !made.contains(name)));
        }
    }
    let mut missing = Vec::new();
    for name in names {
        if loaded.cupboard.keys.find(&name)?.is_none() {
            missing.push(name);
        }
    }
    Ok(missing)
}

fn list(settings: &Settings, loaded: &Loaded, vault: &Vault) -> Result<u8, Failure> {
    let mut names = used(loaded)?;
    names.extend(vault.names_in_file()?);
    for name in names {
        let place = vault.locate(&name)?.map(|(_, place)| place.as_str());
        match settings.style {
            Style::Json => front::json::print_document(&json!({ "type": "secret", "name": name, "place": place })),
            Style::Plain { .. } => front::print(&format!("{name:<32} {}\n", place.unwrap_or("missing"))),
        }
    }
    Ok(0)
}

fn import(settings: &Settings, vault: &Arc<Vault>, playbook: &Path) -> Result<u8, Failure> {
    let text = read_input()?;
    let table: BTreeMap<String, String> = toml::from_str(&text).map_err(|e| {
        // The parser's own message would show the line.
        let line = e.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        Failure::new(Kind::Usage, format!("about line {line}: not of the form `name = \"value\"`, or a name twice"))
            .hint("nothing was kept")
    })?;
    let mut secrets = Vec::new();
    for (name, value) in table {
        let name = name_of(&name)?;
        if value.is_empty() {
            return Err(Failure::new(Kind::Usage, format!("the value of `{name}` is empty")).hint("nothing was kept"));
        }
        let value = Secret::new(value);
        check(settings, vault, &name, &value)?;
        secrets.push((name, value));
    }
    let count = secrets.len();
    for (name, value) in secrets {
        vault.keep(&name, value, Some(Place::File))?;
    }
    let path = path_beside(playbook);
    front::complain(&format!("kept {} in {}\n", crate::text::count(count, "secret"), path.display()));
    Ok(0)
}

fn export(settings: &Settings, loaded: &Loaded, vault: &Vault) -> Result<u8, Failure> {
    let mut names = used(loaded)?;
    names.extend(vault.names_in_file()?);
    let mut table: BTreeMap<String, String> = BTreeMap::new();
    for name in names {
        if let Some((secret, _)) = vault.locate(&name)? {
            table.insert(name.to_string(), secret.expose().to_owned());
        }
    }
    if settings.style == Style::Json {
        front::json::print_document(&json!(table));
        return Ok(0);
    }
    let text =
        toml::to_string(&table).map_err(|e| Failure::new(Kind::Failed, "cannot write the secrets").because(e))?;
    front::print(&text);
    Ok(0)
}
