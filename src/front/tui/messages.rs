//! What passes between the screen and those who do the work: orders out, news in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossterm::event::{KeyEvent, MouseEvent};

use crate::model::catalog::Catalog;
use crate::model::event::{Event, FailureView};
use crate::model::failure::Failure;
use crate::model::question::{Choices, Lookup};
use crate::model::secret::Secret;

/// What the screen wants to be done. Never serialized: some carry secrets.
#[derive(Debug)]
pub enum Order {
    /// This is the playbook from now on.
    At(PathBuf),
    /// Read what this provider sells, if there is a token.
    Catalog(String),
    /// Look this up.
    Look(Lookup),
    /// Make a pair of keys.
    MakeKey,
    /// Check the whole playbook.
    Check(PathBuf),
    /// Which secrets are still missing?
    Missing(PathBuf),
    /// Check a secret, and keep it.
    Keep {
        /// The secret's name.
        name: String,
        /// Its value.
        value: Secret,
        /// Where.
        place: Shelf,
        /// What opens the vault file.
        passphrase: Option<Secret>,
    },
    /// Rehearse the playbook.
    Rehearse(PathBuf),
    /// Make it so; or take it all away.
    Run {
        /// The playbook.
        path: PathBuf,
        /// Take it all away?
        destroy: bool,
    },
    /// The plan may be carried out.
    Approve {
        /// Also where data is lost.
        losing_data: bool,
    },
    /// The plan shall not be carried out.
    Decline,
    /// Stop after the change in hand.
    Stop,
}

/// What the passphrase of a vault file is called where it is asked for like a secret.
pub const PASSPHRASE: &str = "vault-passphrase";

/// Where a secret is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// The system's keyring.
    Keyring,
    /// The encrypted file beside the playbook.
    File,
}

/// A secret that is needed and not there.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// Where one gets it, in words.
    pub hint: String,
}

/// Why a secret was not kept.
#[derive(Debug)]
pub struct NotKept {
    /// Why.
    pub why: FailureView,
    /// What would have to be another.
    pub wrong: Wrong,
}

/// What is wrong when a secret was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The secret itself.
    Secret,
    /// The passphrase of the vault file.
    Passphrase,
    /// The place it should be kept in.
    Place,
}

/// What happened.
#[derive(Debug)]
pub enum News {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The mouse did something.
    Mouse(MouseEvent),
    /// The terminal has another size.
    Resize,
    /// Time goes by, where something turns.
    Tick,
    /// What a provider sells; `None` where there is no token.
    Catalog(String, Result<Option<Catalog>, FailureView>),
    /// What was looked up; `None` where there is no token.
    Found(Lookup, Result<Option<Choices>, FailureView>),
    /// A lookup did not go well at once, and is tried again: in words.
    Trying(String),
    /// A pair of keys was made: the public line.
    KeyMade(Result<String, FailureView>),
    /// What is wrong with the playbook.
    Checked(Vec<String>),
    /// The secrets that are missing.
    Missing(Result<Vec<Missing>, FailureView>),
    /// A secret was kept: whose account it opens, if that was asked.
    Kept(Result<String, NotKept>),
    /// Something happened in a run.
    Event(Event),
    /// How long changes usually take, in milliseconds, by the sort of thing that changes.
    Usual(BTreeMap<String, u64>),
    /// The run is over.
    RunEnded(u8),
}

/// The disk, as far as the screen needs it at once.
pub trait Home {
    /// Writes the playbook in one go. A `new` one must not be there yet.
    fn save(&mut self, path: &Path, text: &str, new: bool) -> Result<(), Failure>;

    /// Reads a playbook.
    fn open(&mut self, path: &Path) -> Result<String, Failure>;

    /// Where secrets of the playbook at `path` are kept unless one says otherwise: where others are.
    fn shelf(&self, path: &Path) -> Shelf;
}
