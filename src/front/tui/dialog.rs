//! What lies on top of a page: the keys, a path, a secret, a second word.

use tui_input::Input;

use crate::front::tui::messages::{Missing, Shelf};
use crate::front::tui::state::Beginning;

/// A dialog.
#[derive(Debug)]
pub enum Dialog {
    /// Which keys there are.
    Keys,
    /// A path to open, and what for.
    Path {
        /// What for.
        beginning: Beginning,
        /// What has been typed.
        input: Input,
        /// What is wrong with it.
        error: Option<String>,
    },
    /// A secret.
    Secret(SecretDialog),
    /// A run is under way: stop it?
    Stop,
    /// Everything that exists shall go: the playbook's name is typed as a second word.
    Undo {
        /// What has been typed.
        input: Input,
        /// What is wrong with it.
        error: Option<String>,
    },
}

/// A secret being typed.
#[derive(Debug)]
pub struct SecretDialog {
    /// Which.
    pub wanted: Missing,
    /// The others that are missing.
    pub queue: Vec<Missing>,
    /// What has been typed. Never shown.
    pub input: Input,
    /// Where it will be kept.
    pub shelf: Shelf,
    /// What opens the vault file. Never shown.
    pub passphrase: Input,
    /// Is the passphrase being typed?
    pub at_passphrase: bool,
    /// Is it being checked?
    pub busy: bool,
    /// What was wrong with it.
    pub error: Option<String>,
    /// What opens the vault file, once it was typed, is asked only once.
    pub opened: bool,
}

impl SecretDialog {
    /// A dialog for the first of `missing`; `None` when there are none.
    pub fn for_these(mut missing: Vec<Missing>, shelf: Shelf) -> Option<SecretDialog> {
        if missing.is_empty() {
            return None;
        }
        let wanted = missing.remove(0);
        Some(SecretDialog {
            wanted,
            queue: missing,
            input: Input::default(),
            shelf,
            passphrase: Input::default(),
            at_passphrase: false,
            busy: false,
            error: None,
            opened: false,
        })
    }
}

impl Dialog {
    /// Is something being waited for?
    pub fn is_busy(&self) -> bool {
        matches!(self, Dialog::Secret(secret) if secret.busy)
    }
}
