//! The vault file: secrets encrypted with a passphrase, in the format of `age` (age-encryption.org/v1), so that
//! `age --decrypt` opens it, too. Inside are lines of `name = "value"` (TOML).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use age::scrypt;
use age::secrecy::SecretString;
use zeroize::Zeroize as _;

use crate::cupboard::disk;
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::secret::Secret;

/// How hard the passphrase is to try: 2 to this power. A quarter of a second on a small machine.
const WORK: u8 = 16;
/// The hardest a file may be to open, in a quarter of a gibibyte of memory; a file made to keep us busy is refused.
const MOST_WORK: u8 = 18;
/// How many bytes of a vault file are read.
const LONGEST: u64 = 1 << 20;
/// How many characters a new passphrase has at least: the file is meant to travel, and whoever has it can guess in peace.
const SHORTEST_PASSPHRASE: usize = 12;

/// Where the passphrase comes from.
pub trait Passphrase: Send + Sync {
    /// The passphrase of the vault file at `path`, or one for a new file. Fails as `Human` when there is nobody
    /// to ask.
    fn get(&self, path: &Path, new: bool) -> Result<Secret, Failure>;
}

/// The file, opened when it is first needed.
pub struct VaultFile {
    path: PathBuf,
    open: Option<Opened>,
}

struct Opened {
    passphrase: Secret,
    secrets: BTreeMap<Name, Secret>,
}

/// Where the vault file of the playbook at `path` is.
pub fn path_beside(playbook: &Path) -> PathBuf {
    playbook.with_extension("vault.age")
}

impl VaultFile {
    /// The vault file of the playbook at `path`.
    pub fn beside(playbook: &Path) -> VaultFile {
        VaultFile { path: path_beside(playbook), open: None }
    }

    /// Is it there?
    pub fn exists(&self) -> bool {
        self.open.is_some() || self.path.exists()
    }

    pub(super) fn get(&mut self, name: &Name, ask: &dyn Passphrase) -> Result<Option<Secret>, Failure> {
        let secret = self.opened(ask)?.secrets.get(name);
        Ok(secret.map(|secret| Secret::new(secret.expose().to_owned())))
    }

    pub(super) fn names(&mut self, ask: &dyn Passphrase) -> Result<Vec<Name>, Failure> {
        Ok(self.opened(ask)?.secrets.keys().cloned().collect())
    }

    /// Keeps `value` under `name`, or forgets that name; on disk before it returns.
    pub(super) fn put(&mut self, name: &Name, value: Option<Secret>, ask: &dyn Passphrase) -> Result<(), Failure> {
        let path = self.path.clone();
        let opened = self.opened(ask)?;
        let before = match value {
            Some(value) => opened.secrets.insert(name.clone(), value),
            None => opened.secrets.remove(name),
        };
        let written = opened.seal().and_then(|sealed| disk::write_private(&path, &sealed));
        if written.is_err() {
            match before {
                Some(before) => drop(opened.secrets.insert(name.clone(), before)),
                None => drop(opened.secrets.remove(name)),
            }
        }
        written
    }

    fn opened(&mut self, ask: &dyn Passphrase) -> Result<&mut Opened, Failure> {
        if self.open.is_none() {
            let is_there = self.path.exists();
            let passphrase = ask.get(&self.path, !is_there)?;
            if !is_there && passphrase.expose().chars().count() < SHORTEST_PASSPHRASE {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("the passphrase of a new vault file has at least {SHORTEST_PASSPHRASE} characters"),
                )
                .hint("four or five random words make a good one; nothing was kept"));
            }
            let secrets = if is_there { unseal(&self.path, &passphrase)? } else { BTreeMap::new() };
            self.open = Some(Opened { passphrase, secrets });
        }
        self.open.as_mut().ok_or_else(|| Failure::new(Kind::Failed, "the vault did not open"))
    }
}

impl Opened {
    fn seal(&self) -> Result<Vec<u8>, Failure> {
        let mut recipient = scrypt::Recipient::new(SecretString::from(self.passphrase.expose().to_owned()));
        recipient.set_work_factor(WORK);
        let table: BTreeMap<&str, &str> =
            self.secrets.iter().map(|(name, secret)| (name.as_str(), secret.expose())).collect();
        let trouble = |e: &dyn std::fmt::Display| {
            Failure::new(Kind::Failed, "cannot encrypt the vault file").because(e.to_string())
        };
        let mut text = toml::to_string(&table).map_err(|e| trouble(&e))?;
        let sealed = age::encrypt_and_armor(&recipient, text.as_bytes()).map_err(|e| trouble(&e));
        text.zeroize();
        sealed.map(String::into_bytes)
    }
}

fn unseal(path: &Path, passphrase: &Secret) -> Result<BTreeMap<Name, Secret>, Failure> {
    let shown = path.display();
    let sealed = disk::read_limited(path, LONGEST)
        .map_err(|e| Failure::new(Kind::Failed, format!("cannot read {shown}")).because(e))?;
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase.expose().to_owned()));
    identity.set_max_work_factor(MOST_WORK);
    let opened = age::decrypt(&identity, &sealed).map_err(|e| match e {
        age::DecryptError::DecryptionFailed
        | age::DecryptError::NoMatchingKeys
        | age::DecryptError::KeyDecryptionFailed => {
            Failure::new(Kind::Human, format!("the passphrase does not open {shown}"))
                .hint("is it that of another vault file? Nothing was done")
        }
        other => Failure::new(Kind::Human, format!("{shown} is damaged, or no vault file"))
            .because(other)
            .hint("bring it back from a copy of the playbook's folder"),
    })?;
    let damaged = || Failure::new(Kind::Human, format!("{shown} does not hold lines of `name = \"value\"`"));
    let mut text = String::from_utf8(opened).map_err(|_hidden| damaged())?;
    let table: Result<BTreeMap<Name, String>, _> = toml::from_str(&text);
    text.zeroize();
    // The parser's own message would show the line.
    let table = table.map_err(|_hidden| damaged())?;
    Ok(table.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static str);

    impl Passphrase for Fixed {
        fn get(&self, _: &Path, _: bool) -> Result<Secret, Failure> {
            Ok(Secret::new(self.0.to_owned()))
        }
    }

    #[test]
    fn what_is_kept_is_found_again_and_the_file_gives_nothing_away() {
        let folder = tempfile::tempdir().unwrap();
        let playbook = folder.path().join("acme.toml");
        let name = Name::parse("session-key").unwrap();
        let mut file = VaultFile::beside(&playbook);
        assert!(!file.exists());
        file.put(&name, Some(Secret::new("hunter2 \"quoted\"\n".into())), &Fixed("correct horse")).unwrap();

        let raw = std::fs::read_to_string(folder.path().join("acme.vault.age")).unwrap();
        assert!(raw.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"), "{raw}");
        assert!(!raw.contains("hunter2") && !raw.contains("session"));
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.path().join("acme.vault.age")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let mut again = VaultFile::beside(&playbook);
        let found = again.get(&name, &Fixed("correct horse")).unwrap().unwrap();
        assert_eq!(found.expose(), "hunter2 \"quoted\"\n");
        again.put(&name, None, &Fixed("correct horse")).unwrap();
        assert!(VaultFile::beside(&playbook).get(&name, &Fixed("correct horse")).unwrap().is_none());
    }

    #[test]
    fn a_wrong_passphrase_and_a_damaged_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let playbook = folder.path().join("acme.toml");
        let name = Name::parse("k").unwrap();
        VaultFile::beside(&playbook).put(&name, Some(Secret::new("v".into())), &Fixed("the right words")).unwrap();
        let wrong = VaultFile::beside(&playbook).get(&name, &Fixed("wrong")).unwrap_err();
        assert_eq!(wrong.kind, Kind::Human);
        assert!(wrong.message.contains("does not open"), "{wrong}");

        let path = path_beside(&playbook);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        let damaged = VaultFile::beside(&playbook).get(&name, &Fixed("the right words")).unwrap_err();
        assert!(damaged.message.contains("damaged"), "{damaged}");
    }
}
