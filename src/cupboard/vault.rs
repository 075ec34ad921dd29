//! The vault: secrets from the environment, from an encrypted file beside the playbook, or from the system's
//! keyring, in that order. What Landfall makes is kept in the file where there is one, else in the keyring.

pub mod environment;
pub mod file;
pub mod memory;
mod ring;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::cupboard::vault::file::{Passphrase, VaultFile};
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::secret::{Keys, Secret};

/// Where a secret is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A variable of the environment.
    Environment,
    /// The encrypted file beside the playbook.
    File,
    /// The system's keyring.
    Keyring,
}

impl Place {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Place::Environment => "environment",
            Place::File => "vault file",
            Place::Keyring => "system keyring",
        }
    }
}

/// The vault of one playbook.
pub struct Vault {
    playbook: Name,
    file: Mutex<VaultFile>,
    /// Whether the file is there cannot change behind our back: only we make it.
    passphrase: Box<dyn Passphrase>,
}

impl Vault {
    /// The vault of `playbook`, whose file is at `path`. A passphrase is asked for only when the file is needed.
    pub fn of(playbook: &Name, path: &Path, passphrase: Box<dyn Passphrase>) -> Vault {
        let file = VaultFile::beside(path);
        Vault { playbook: playbook.clone(), file: Mutex::new(file), passphrase }
    }

    fn file(&self) -> std::sync::MutexGuard<'_, VaultFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret of this name, and where it was found. Fails when the file is there and cannot be opened.
    pub fn locate(&self, name: &Name) -> Result<Option<(Secret, Place)>, Failure> {
        if let Some(secret) = environment::get(name) {
            return Ok(Some((secret, Place::Environment)));
        }
        let mut file = self.file();
        if file.exists()
            && let Some(secret) = file.get(name, &*self.passphrase)?
        {
            return Ok(Some((secret, Place::File)));
        }
        drop(file);
        Ok(ring::get(&self.playbook, name)?.map(|secret| (secret, Place::Keyring)))
    }

    /// Keeps a secret in `place`, or where this vault keeps things. Gives that place.
    pub fn keep(&self, name: &Name, value: Secret, place: Option<Place>) -> Result<Place, Failure> {
        let place = place.unwrap_or(match self.file().exists() {
            true => Place::File,
            false => Place::Keyring,
        });
        match place {
            Place::File => self.file().put(name, Some(value), &*self.passphrase)?,
            Place::Keyring => ring::put(&self.playbook, name, &value)?,
            Place::Environment => {
                return Err(Failure::new(Kind::Usage, "the environment keeps nothing for later")
                    .hint("choose the vault file or the keyring"));
            }
        }
        Ok(place)
    }

    /// Every name in the vault file.
    pub fn names_in_file(&self) -> Result<Vec<Name>, Failure> {
        let mut file = self.file();
        if file.exists() { file.names(&*self.passphrase) } else { Ok(vec![]) }
    }
}

impl Keys for Vault {
    fn get(&self, name: &Name) -> Option<Secret> {
        self.locate(name).ok().flatten().map(|(secret, _)| secret)
    }

    fn find(&self, name: &Name) -> Result<Option<Secret>, Failure> {
        Ok(self.locate(name)?.map(|(secret, _)| secret))
    }

    fn how_to_set(&self, name: &Name) -> String {
        let locked = match self.locate(name) {
            Err(failure) => format!("{failure}; or "),
            Ok(_) => String::new(),
        };
        format!("{locked}set the environment variable {}, or run `landfall secrets set`", environment::variable(name))
    }

    fn put(&self, name: &Name, value: Secret) -> Result<(), Failure> {
        self.keep(name, value, None).map(|_| ())
    }

    fn remove(&self, name: &Name) -> Result<(), Failure> {
        let mut file = self.file();
        if file.exists() {
            file.put(name, None, &*self.passphrase)?;
        }
        drop(file);
        ring::remove(&self.playbook, name);
        Ok(())
    }
}
