//! The playbook's `lock` line: what services call the things that carry no ownership mark there, by step.
//! It is written into the playbook itself, because without it those things could not be told from a stranger's.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

use crate::cupboard::disk;
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::secret::References;

/// The `lock` line of the playbook at a path.
pub struct LockLine {
    path: PathBuf,
    text: Mutex<String>,
}

impl LockLine {
    /// That of the playbook at `path`, whose text is `text`.
    pub fn of(path: &Path, text: &str) -> LockLine {
        LockLine { path: path.to_owned(), text: Mutex::new(text.to_owned()) }
    }
}

impl References for LockLine {
    fn get(&self, step: &Name) -> Option<String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let document: DocumentMut = text.parse().ok()?;
        document.get("lock")?.get(step.as_str())?.as_str().map(str::to_owned)
    }

    fn all(&self) -> Vec<(Name, String)> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(document) = text.parse::<DocumentMut>() else { return vec![] };
        let lock = document.get("lock").and_then(Item::as_table_like);
        let entries = lock.into_iter().flat_map(|lock| lock.iter());
        entries.filter_map(|(step, value)| Some((Name::parse(step)?, value.as_str()?.to_owned()))).collect()
    }

    fn put(&self, step: &Name, reference: Option<&str>) -> Result<(), Failure> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have edited the playbook since it was read: what is on disk counts.
        let now = disk::read_playbook(&self.path)?;
        let changed = with_reference(&now, step, reference).map_err(|e| {
            Failure::new(Kind::Failed, format!("cannot write the lock line of {}", self.path.display())).because(e)
        })?;
        if changed != now {
            disk::write_in_place(&self.path, changed.as_bytes())?;
        }
        *text = changed;
        Ok(())
    }
}

/// The playbook `text` with `reference` for `step` in its lock line. Everything else stays as it is.
fn with_reference(text: &str, step: &Name, reference: Option<&str>) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    // Somebody may have written it as a table of its own: every entry is kept, in one line.
    let mut lock = InlineTable::new();
    for (step, value) in document.get("lock").and_then(Item::as_table_like).into_iter().flat_map(|lock| lock.iter()) {
        if let Some(value) = value.as_value() {
            lock.insert(step, value.clone());
        }
    }
    match reference {
        Some(reference) => drop(lock.insert(step.as_str(), reference.into())),
        None => drop(lock.remove(step.as_str())),
    }
    lock.fmt();
    let table: &mut Table = document.as_table_mut();
    if lock.is_empty() {
        table.remove("lock");
    } else {
        match table.get_mut("lock").and_then(Item::as_value_mut) {
            Some(value) => {
                let behind = value.decor().suffix().and_then(|text| text.as_str()).unwrap_or_default().to_owned();
                *value = Value::InlineTable(lock).decorated(" ", behind);
            }
            None => {
                table.remove("lock");
                table.insert("lock", Item::Value(Value::InlineTable(lock)));
            }
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# mine\nschema = 1 # first\nname   = \"acme\"\n\n[[step]] # a step\nuse = \"docker\"\non = \"web\"\n";

    #[test]
    fn a_reference_is_written_kept_apart_and_taken_out_and_nothing_else_changes() {
        let step = Name::parse("database").unwrap();
        let locked = with_reference(TEXT, &step, Some("abcdefghij")).unwrap();
        let lines: Vec<&str> = locked.lines().collect();
        assert!(lines.contains(&"lock = { database = \"abcdefghij\" }"), "{locked}");
        assert!(locked.find("lock =").unwrap() < locked.find("[[step]]").unwrap(), "above the steps: {locked}");
        for line in TEXT.lines() {
            assert!(lines.contains(&line), "{line:?} is gone: {locked}");
        }
        let other = Name::parse("other").unwrap();
        let both = with_reference(&locked, &other, Some("x")).unwrap();
        assert!(both.contains("lock = { database = \"abcdefghij\", other = \"x\" }"), "{both}");
        let one = with_reference(&both, &other, None).unwrap();
        assert_eq!(with_reference(&one, &step, None).unwrap(), TEXT);
    }

    #[test]
    fn a_lock_that_is_written_as_a_table_keeps_its_entries() {
        let step = Name::parse("other").unwrap();
        for form in ["\n[lock]\ndatabase = \"abc\"\n", ""] {
            let text = match form {
                "" => TEXT.replace("\n[[step]]", "lock.database = \"abc\"\n\n[[step]]"),
                table => format!("{TEXT}{table}"),
            };
            let locked = with_reference(&text, &step, Some("x")).unwrap();
            let line = LockLine::of(Path::new("nowhere"), &locked);
            let kept: Vec<String> = line.all().into_iter().map(|(step, value)| format!("{step} {value}")).collect();
            assert_eq!(kept, ["database abc", "other x"], "{locked}");
        }
    }

    #[test]
    fn it_is_on_disk_before_it_returns_and_an_edit_in_between_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme.toml");
        std::fs::write(&path, TEXT).unwrap();
        let line = LockLine::of(&path, TEXT);
        std::fs::write(&path, TEXT.replace("# mine", "# edited")).unwrap();
        let step = Name::parse("database").unwrap();
        line.put(&step, Some("ref")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("# edited") && text.contains("database = \"ref\""), "{text}");
        assert_eq!(line.get(&step).as_deref(), Some("ref"));
    }
}
