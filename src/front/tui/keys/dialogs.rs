//! What keys do in dialogs, and what becomes of the secrets that are typed there.

use crossterm::event::{KeyCode, KeyEvent};
use tui_input::Input;

use super::{step, type_into};
use crate::front::tui::dialog::{Dialog, SecretDialog};
use crate::front::tui::messages::{Home, Missing, NotKept, Order, PASSPHRASE, Shelf, Wrong};
use crate::front::tui::run_screen::Purpose;
use crate::front::tui::state::{Screen, State};
use crate::model::event::FailureView;
use crate::model::question::Lookup;
use crate::model::secret::Secret;

impl State {
    /// Opens the dialog for the token of the account this page is about, or of `provider`.
    pub(super) fn ask_for_token(&mut self, provider: Option<String>, home: &dyn Home) {
        let account = provider.or_else(|| match &self.screen {
            Screen::Page(form) => form.account(),
            _ => None,
        });
        let Some(account) = account else {
            self.message = Some("nothing on this page asks for a token".to_owned());
            return;
        };
        let Some(path) = &self.path else {
            self.message = Some("first give the playbook a name: tokens are kept under it".to_owned());
            return;
        };
        let shelf = home.shelf(path);
        let hint = self.token_hints.get(&account).cloned().unwrap_or_default();
        let wanted = match shelf == Shelf::File && !self.is_vault_open {
            // It may be in there already.
            true => {
                Missing { name: PASSPHRASE.to_owned(), hint: "opens the encrypted file beside the playbook".to_owned() }
            }
            false => Missing { name: format!("{account}-token"), hint },
        };
        self.dialog = SecretDialog::for_these(vec![wanted], shelf).map(Dialog::Secret);
    }

    pub(super) fn key_in_dialog(&mut self, key: KeyEvent, home: &mut dyn Home) {
        match self.dialog.take() {
            None | Some(Dialog::Keys | Dialog::Stop) => {}
            Some(Dialog::Path { beginning, mut input, error }) => match key.code {
                KeyCode::Esc => {}
                KeyCode::Up | KeyCode::Down => {
                    // Nothing typed stands for the first.
                    let at = self.files.iter().position(|file| file == input.value()).unwrap_or(0);
                    let next = step(at, key.code == KeyCode::Down, self.files.len());
                    let input = self.files.get(next).cloned().map_or(input, Input::new);
                    self.dialog = Some(Dialog::Path { beginning, input, error: None });
                }
                KeyCode::Enter => {
                    let typed = Some(input.value().trim()).filter(|typed| !typed.is_empty());
                    let Some(typed) = typed.or(self.files.first().map(String::as_str)) else {
                        self.dialog = Some(Dialog::Path { beginning, input, error: Some("type a path".to_owned()) });
                        return;
                    };
                    let path = std::path::PathBuf::from(typed);
                    match self.open(&path, home) {
                        Ok(()) => self.begin(beginning),
                        Err(why) => self.dialog = Some(Dialog::Path { beginning, input, error: Some(why) }),
                    }
                }
                _ => {
                    type_into(&mut input, &key);
                    self.dialog = Some(Dialog::Path { beginning, input, error });
                }
            },
            Some(Dialog::Undo { mut input, error }) => match key.code {
                KeyCode::Esc => {}
                KeyCode::Enter if Some(input.value().trim()) == self.draft.head("name") => {
                    self.run(Purpose::Destroy);
                }
                KeyCode::Enter => {
                    let name = self.draft.head("name").unwrap_or_default();
                    let error = Some(format!("that is not `{name}`"));
                    self.dialog = Some(Dialog::Undo { input, error });
                }
                _ => {
                    type_into(&mut input, &key);
                    self.dialog = Some(Dialog::Undo { input, error });
                }
            },
            Some(Dialog::Secret(mut secret)) => {
                if secret.busy && key.code != KeyCode::Esc {
                    self.dialog = Some(Dialog::Secret(secret));
                    return;
                }
                match key.code {
                    KeyCode::Esc => {
                        self.then = None;
                        return;
                    }
                    KeyCode::Tab | KeyCode::BackTab if secret.wanted.name != PASSPHRASE => {
                        secret.error = None;
                        secret.shelf = match secret.shelf {
                            Shelf::Keyring => Shelf::File,
                            Shelf::File => Shelf::Keyring,
                        };
                        secret.at_passphrase = false;
                    }
                    KeyCode::Enter => self.keep(&mut secret),
                    _ if secret.at_passphrase => type_into(&mut secret.passphrase, &key),
                    _ => type_into(&mut secret.input, &key),
                }
                self.dialog = Some(Dialog::Secret(secret));
            }
        }
    }

    /// Hands a typed secret over to be checked and kept.
    fn keep(&mut self, secret: &mut SecretDialog) {
        secret.error = None;
        if secret.input.value().trim().is_empty() {
            secret.error = Some("nothing has been typed yet".to_owned());
            return;
        }
        let is_passphrase = secret.wanted.name == PASSPHRASE;
        if secret.shelf == Shelf::File && !secret.opened && !secret.at_passphrase && !is_passphrase {
            secret.at_passphrase = true;
            return;
        }
        if secret.shelf == Shelf::File && !secret.opened && secret.passphrase.value().is_empty() && !is_passphrase {
            secret.error = Some("the file needs a passphrase".to_owned());
            return;
        }
        secret.busy = true;
        let passphrase = (secret.shelf == Shelf::File && !secret.opened && !is_passphrase)
            .then(|| Secret::new(secret.passphrase.value().to_owned()));
        self.orders.push(Order::Keep {
            name: secret.wanted.name.clone(),
            value: Secret::new(secret.input.value().trim().to_owned()),
            place: secret.shelf,
            passphrase,
        });
    }

    /// A secret was kept, or refused.
    pub fn kept(&mut self, result: Result<String, NotKept>) {
        let Some(Dialog::Secret(mut secret)) = self.dialog.take() else { return };
        secret.busy = false;
        match result {
            Err(NotKept { why: failure, wrong }) => {
                // What was wrong is typed anew.
                match wrong {
                    Wrong::Secret => secret.input = Input::default(),
                    Wrong::Passphrase => secret.passphrase = Input::default(),
                    Wrong::Place => {}
                }
                secret.at_passphrase = wrong == Wrong::Passphrase;
                let causes: String = failure.causes.iter().map(|cause| format!(": {cause}")).collect();
                let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                secret.error = Some(format!("{}{causes}{hint}", failure.message));
                self.dialog = Some(Dialog::Secret(secret));
            }
            Ok(whose) => {
                self.message = Some(whose);
                if secret.wanted.name == PASSPHRASE {
                    self.is_vault_open = true;
                    if let (Some(path), Some(_)) = (&self.path, self.then) {
                        // Now that the file is open, one can tell what is missing.
                        self.orders.push(Order::Missing(path.clone()));
                        return;
                    }
                    for account in self.token_hints.keys().cloned().collect::<Vec<_>>() {
                        self.forget_lookups(&account);
                    }
                    return;
                }
                self.is_vault_open |= secret.shelf == Shelf::File;
                let account = secret.wanted.name.trim_end_matches("-token").to_owned();
                self.forget_lookups(&account);
                if secret.queue.is_empty() {
                    if let Some(purpose) = self.then {
                        self.run(purpose);
                    }
                    return;
                }
                let opened = secret.opened || secret.shelf == Shelf::File;
                if let Some(mut next) = SecretDialog::for_these(secret.queue, secret.shelf) {
                    next.opened = opened;
                    self.dialog = Some(Dialog::Secret(next));
                }
            }
        }
    }

    /// With another token, everything that was asked of the account is asked again.
    fn forget_lookups(&mut self, account: &str) {
        self.lookups
            .retain(|lookup, _| !matches!(lookup, Lookup::Account(of, _) | Lookup::Records(of, _) if *of == account));
        if let Some(priced) = self.catalogs.iter_mut().find(|priced| priced.catalog.provider == account)
            && self.fetching.insert(account.to_owned())
        {
            self.orders.push(Order::Catalog(priced.catalog.provider.clone()));
        }
        self.look();
    }

    /// Which secrets are missing before a run.
    pub fn missing(&mut self, result: Result<Vec<Missing>, FailureView>, home: &dyn Home) {
        let shelf = self.path.as_deref().map_or(Shelf::Keyring, |path| home.shelf(path));
        match (result, self.then) {
            (Err(failure), _) => {
                self.then = None;
                self.message = Some(failure.message);
            }
            (Ok(missing), Some(purpose)) => match SecretDialog::for_these(missing, shelf) {
                Some(secret) => self.dialog = Some(Dialog::Secret(secret)),
                None => self.run(purpose),
            },
            (Ok(_), None) => {}
        }
    }
}
