//! `landfall recover`: everything back, data included, from the playbook, its vault file and tokens.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use toml_edit::{Array, DocumentMut, TableLike, Value, value};

use crate::cli::backups::{Errand, ask_all, servers};
use crate::cli::go::{self, refuse, runtime, watch_for_stop};
use crate::cli::load::{Loaded, check};
use crate::cli::secrets::{judge, missing};
use crate::cli::show::Show;
use crate::cli::{Consent, Settings};
use crate::cupboard::disk;
use crate::doors::identity;
use crate::engine::Goal;
use crate::front;
use crate::model::event::What;
use crate::model::failure::{Failure, Kind};
use crate::model::resource::Spec;
use crate::model::value::Outputs;
use crate::steps;

/// How often everything is made as the playbook says until nothing differs: what was restored may itself call for a
/// change, such as a migration that is newer than the backup.
const ROUNDS: usize = 3;

/// Brings the playbook at `path` back, with the answers `set` changed first. Gives the exit code.
pub fn recover(
    settings: &Settings,
    path: &Path,
    set: &[String],
    accept_loss: bool,
    consent: Consent,
) -> Result<u8, Failure> {
    let before = disk::read_playbook(path)?;
    let mut text = with_answers(&before, set)?;
    let mut loaded = match check(path, &text) {
        Ok(loaded) => loaded,
        Err(refused) => return Ok(refuse(settings.style, refused)),
    };
    check_vault(&loaded)?;
    let runtime = runtime()?;
    runtime.block_on(ask_for_missing(settings, &loaded))?;
    if let Some(with_key) = with_key_of_this_machine(settings, &loaded, &text)? {
        text = with_key;
        loaded = match check(path, &text) {
            Ok(loaded) => loaded,
            Err(refused) => return Ok(refuse(settings.style, refused)),
        };
    }
    if text != before {
        disk::write_in_place(path, text.as_bytes())?;
    }
    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        watch_for_stop(stop.clone(), false, settings.style);
        let mut show = Show::new(settings, None);
        show.tell(What::RunStarted {
            command: "recover".into(),
            playbook: loaded.playbook.name.to_string(),
            run: None,
        });
        if accept_loss {
            let doors = Arc::new(go::doors(settings, &loaded.cupboard, Goal::Check));
            if let Err(failure) = ask_all(&loaded, &doors, &Errand::Accept, &mut show).await {
                return Ok(show.end(Some(failure)));
            }
        }
        let again = || match check(path, &disk::read_playbook(path)?) {
            Ok(loaded) => Ok(loaded),
            Err(_) => Err(Failure::new(Kind::Failed, "the playbook was changed meanwhile, and is wrong now").hint(
                "`landfall plan` says what is wrong with it; mend it, then run the same command again: it goes on",
            )),
        };
        match bring_back(settings, again, consent, &stop, &mut show).await {
            // It was told already.
            Ok(code) if code != 0 => Ok(code),
            Ok(_) => Ok(show.end(None)),
            Err(failure) => Ok(show.end(Some(failure))),
        }
    })
}

/// Makes everything as the playbook says until nothing differs, and tells what was restored. Gives the exit code of a
/// run that failed, which was told, or 0.
pub(super) async fn bring_back(
    settings: &Settings,
    load: impl Fn() -> Result<Loaded, Failure>,
    consent: Consent,
    stop: &Arc<AtomicBool>,
    show: &mut Show,
) -> Result<u8, Failure> {
    let mut is_new = true;
    let wanted = consent.wishes.backup.clone();
    for round in 0..ROUNDS {
        let loaded = load()?;
        let doors = go::doors(settings, &loaded.cupboard, Goal::Apply);
        let outcome = go::run(settings, loaded, doors, Goal::Apply, consent.clone(), stop.clone()).await;
        if outcome.code != 0 {
            return Ok(outcome.code);
        }
        if outcome.planned == 0 {
            if round == 0 {
                is_new = false;
                let text = match &wanted {
                    Some(_) => {
                        "nothing was missing: what lives is left as it is, and a copy of the backup is put beside it"
                    }
                    None => "nothing was missing: what stands below was restored earlier",
                };
                show.tell(What::Note { text: text.into() });
            }
            break;
        }
    }
    let loaded = load()?;
    if servers(&loaded.playbook).is_empty() {
        show.tell(What::Note {
            text: "the playbook has no step `backups`: everything was built anew, without data".into(),
        });
        return Ok(0);
    }
    let doors = Arc::new(go::doors(settings, &loaded.cupboard, Goal::Check));
    if let (Some(backup), false) = (wanted, is_new) {
        ask_all(&loaded, &doors, &Errand::Beside(backup), show).await?;
        return Ok(0);
    }
    let mut kept = Vec::new();
    for (server, said) in ask_all(&loaded, &doors, &Errand::Status, show).await? {
        let restored: Vec<(&str, &str)> =
            said.iter().filter_map(|(word, text)| Some((word.strip_prefix("restored-")?, text.as_str()))).collect();
        let Some((_, moment)) = restored.iter().find(|(word, _)| *word == "moment") else {
            if !is_new {
                show.tell(What::Note { text: format!("when `{server}` was built there was no backup of it yet") });
                continue;
            }
            return Err(Failure::new(
                Kind::Human,
                format!("there is no backup of `{server}`: it was built anew, without data"),
            )
            .hint("does the step `backups` name the right storage, bucket and path?"));
        };
        for (word, text) in restored
            .iter()
            .filter(|(word, _)| matches!(*word, "database" | "files" | "secrets" | "kept" | "lost" | "left-out"))
        {
            // A database that was lost is empty, unless something was quicker than the backup.
            let passed = match *word {
                "kept" => !is_new || !text.starts_with("database"),
                "lost" => false,
                _ => true,
            };
            show.tell(What::Probe { what: format!("{server} {word}"), passed, saw: (*text).to_owned() });
            if !passed {
                kept.push(format!("{text} (on `{server}`)"));
            }
        }
        show.tell(What::Probe { what: format!("{server} recovered up to"), passed: true, saw: (*moment).to_owned() });
    }
    if kept.is_empty() {
        return Ok(0);
    }
    let failure = Failure::new(Kind::Human, format!("not brought back: {}", kept.join("; "))).hint(format!(
        "rows are never overwritten. If a migration put them there, empty those tables, and run `sudo landfall-backup {} \
         restore` on the server, which `landfall ssh` opens; if they are alive, nothing is lost. What is told as lost was \
         accepted with --accept-loss",
        loaded.playbook.name
    ));
    Err(failure)
}

/// What a new one cannot be made of, because the old one opens what is stored.
fn check_vault(loaded: &Loaded) -> Result<(), Failure> {
    let wanted = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).unwrap_or_default();
    for resource in wanted.iter().filter(|resource| resource.spec.outlives()) {
        if let Spec::MadeSecret(spec) = &resource.spec
            && loaded.cupboard.keys.find(&spec.name)?.is_none()
        {
            return Err(Failure::new(
                Kind::Human,
                format!("the vault does not hold `{}`, which opens the backups", spec.name),
            )
            .hint("put the vault file beside the playbook, or give it with `landfall secrets set`; nothing was done"));
        }
    }
    Ok(())
}

/// Asks for tokens and keys that nobody has given, checks them, and keeps them in the vault.
async fn ask_for_missing(settings: &Settings, loaded: &Loaded) -> Result<(), Failure> {
    let keys = &loaded.cupboard.keys;
    for name in missing(loaded)? {
        if !front::is_interactive() {
            return Err(Failure::new(Kind::Human, format!("the secret `{name}` has no value"))
                .hint(format!("{}; nothing was done", keys.how_to_set(&name))));
        }
        let value = front::plain::ask_masked(&format!("{name}:"), false)?;
        judge(settings, keys.clone(), &name, &value).await?;
        keys.put(&name, value)?;
    }
    Ok(())
}

/// The playbook with a key of this machine among those that may log in, where it has none of them. Makes the key, and
/// says so.
fn with_key_of_this_machine(settings: &Settings, loaded: &Loaded, text: &str) -> Result<Option<String>, Failure> {
    let doors = go::doors(settings, &loaded.cupboard, Goal::Plan);
    let wanted = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).unwrap_or_default();
    let has_none = |keys: &Vec<String>| doors.ssh.has_key(keys).is_err();
    let lacks = wanted.iter().filter_map(|resource| resource.on.as_ref()).any(|at| at.made_by_us && has_none(&at.keys));
    let Some(folder) = disk::ssh_folder().filter(|_| lacks && settings.key_file.is_none()) else { return Ok(None) };
    let line = identity::make_pair(&folder)?;
    let mut document = parse(text)?;
    for table in steps_of(&mut document).filter(|table| text_of(table, "use") == Some("server")) {
        let keys = table.entry("keys").or_insert(value(Array::new()));
        if let Some(keys) = keys.as_array_mut() {
            keys.push(line.as_str());
        }
    }
    front::complain(&format!(
        "none of the playbook's SSH keys is on this machine: a new one was made in {} and may log in, too\n",
        folder.display()
    ));
    Ok(Some(document.to_string()))
}

/// The playbook `text` with answers changed: `web.provider=digitalocean` changes `provider` of the step `web`.
pub(super) fn with_answers(text: &str, set: &[String]) -> Result<String, Failure> {
    let mut document = parse(text)?;
    for one in set {
        let wrong = |why: String| {
            Failure::new(Kind::Usage, format!("--set {one}: {why}"))
                .hint("write it as --set web.provider=digitalocean; nothing was done")
        };
        let (key, new) = one.split_once('=').ok_or_else(|| wrong("there is no value".into()))?;
        let (step, answer) = key.trim().split_once('.').ok_or_else(|| wrong("there is no step".into()))?;
        // What reads as a value of TOML is one; everything else is text.
        let new: Value = new.trim().parse().unwrap_or_else(|_not_a_value| new.trim().into());
        let table = steps_of(&mut document)
            .find(|table| text_of(table, "id").or(text_of(table, "use")) == Some(step))
            .ok_or_else(|| wrong(format!("there is no step `{step}`")))?;
        match table.get_mut(answer).and_then(toml_edit::Item::as_value_mut) {
            Some(old) => {
                let decor = old.decor().clone();
                *old = new;
                *old.decor_mut() = decor;
            }
            None => drop(table.insert(answer, value(new))),
        }
    }
    Ok(document.to_string())
}

fn parse(text: &str) -> Result<DocumentMut, Failure> {
    text.parse().map_err(|e: toml_edit::TomlError| {
        Failure::new(Kind::Playbook, "the playbook is no TOML").because(e).hint("`landfall plan` shows where")
    })
}

fn steps_of(document: &mut DocumentMut) -> impl Iterator<Item = &mut toml_edit::Table> {
    document
        .get_mut("step")
        .and_then(|step| step.as_array_of_tables_mut())
        .into_iter()
        .flat_map(|steps| steps.iter_mut())
}

fn text_of<'a>(table: &'a toml_edit::Table, key: &str) -> Option<&'a str> {
    TableLike::get(table, key).and_then(|item| item.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_changed_in_its_place_and_everything_else_stays() {
        let text = "name = \"acme\"\n\n[[step]]\nuse = \"server\"\nid  = \"web\"\nprovider = \"hetzner\" # cheap\n";
        let set = ["web.provider=digitalocean".to_owned(), "web.size={ cpu = 2, memory_gb = 4 }".to_owned()];
        let changed = with_answers(text, &set).unwrap();
        assert_eq!(changed, text.replace("\"hetzner\"", "\"digitalocean\"") + "size = { cpu = 2, memory_gb = 4 }\n");
    }

    #[test]
    fn a_step_that_is_not_there_is_refused() {
        for set in ["web", "provider=x", "db.provider=x"] {
            let failure = with_answers("[[step]]\nuse = \"server\"\n", &[set.to_owned()]).unwrap_err();
            assert_eq!(failure.kind, Kind::Usage, "{failure}");
        }
    }
}
