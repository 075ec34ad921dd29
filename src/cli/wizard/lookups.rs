//! What the wizard looks up on this machine.

use std::sync::PoisonError;

use crate::cli::wizard::Told;
use crate::cupboard::disk;
use crate::doors::{identity, ssh};
use crate::front::tui::MAKE_KEY;
use crate::model::failure::{Failure, Kind};
use crate::model::question::{Choice, Choices};
use crate::model::secret::Secret;

/// The public keys of this machine, and the choice to make a new pair.
pub(super) fn public_keys() -> Choices {
    let found = identity::public_lines(disk::ssh_folder().as_deref(), &ssh::keys_in_agent());
    let mut all: Vec<Choice> = found.into_iter().map(|(line, place)| Choice::new(line, place)).collect();
    all.push(Choice::new(MAKE_KEY, "an ed25519 key in ~/.ssh, without a passphrase"));
    Choices { columns: vec![], all, source: String::new() }
}

/// Makes a pair of keys. Gives the public line.
pub(super) fn make_key() -> Result<String, Failure> {
    let folder = disk::ssh_folder()
        .ok_or_else(|| Failure::new(Kind::Failed, "cannot tell where your home folder is").hint("set HOME"))?;
    identity::make_pair(&folder)
}

/// Keeps a passphrase in mind until the program ends.
pub(super) fn tell(told: &Told, passphrase: &Secret) {
    *told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(passphrase.expose().to_owned());
}

/// Forgets it: it opened nothing.
pub(super) fn forget(told: &Told) {
    *told.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
