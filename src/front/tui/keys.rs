//! What keys and the mouse do.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use tui_input::{Input, InputRequest};

use crate::front::tui::dialog::{Dialog, SecretDialog};
use crate::front::tui::messages::{Home, Missing, Order, Shelf};
use crate::front::tui::run_screen::{Choice, Purpose, RunScreen};
use crate::front::tui::state::{Beginning, Hit, Review, Screen, State};
use crate::interview;
use crate::model::event::FailureView;
use crate::model::question::{Key, Lookup};
use crate::model::secret::Secret;

/// The exit code of a wizard that was left before it came to an end.
const STOPPED: u8 = 130;

/// What an editing key asks of a line of text.
fn editing(key: &KeyEvent) -> Option<InputRequest> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Backspace if control => InputRequest::DeletePrevWord,
        KeyCode::Char('w') if control => InputRequest::DeletePrevWord,
        KeyCode::Char('u') if control => InputRequest::DeleteLine,
        KeyCode::Char('a') if control => InputRequest::GoToStart,
        KeyCode::Char('e') if control => InputRequest::GoToEnd,
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        _ => return None,
    })
}

/// A letter that was typed.
fn letter(key: &KeyEvent) -> Option<char> {
    match key.code {
        KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => Some(c),
        _ => None,
    }
}

/// Types into a line outside of forms.
fn type_into(input: &mut Input, key: &KeyEvent) {
    if let Some(c) = letter(key) {
        if input.value().chars().count() < crate::model::question::LONGEST {
            input.handle(InputRequest::InsertChar(c));
        }
    } else if let Some(request) = editing(key) {
        input.handle(request);
    }
}

fn step(index: usize, down: bool, count: usize) -> usize {
    if down { (index + 1).min(count.saturating_sub(1)) } else { index.saturating_sub(1) }
}

impl State {
    /// A key.
    pub fn key(&mut self, key: KeyEvent, home: &mut dyn Home) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        self.message = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'q')) {
            return self.leave();
        }
        if self.dialog.is_some() {
            return self.key_in_dialog(key, home);
        }
        if key.code == KeyCode::F(1) || (letter(&key) == Some('?') && self.is_free_for_help()) {
            self.dialog = Some(Dialog::Keys);
            return;
        }
        match &self.screen {
            Screen::Start(_) => self.key_at_start(key, home),
            Screen::Page(_) => self.key_in_page(key, home),
            Screen::Review(_) => self.key_in_review(key),
            Screen::Run(_) => self.key_in_run(key),
            Screen::Done => match key.code {
                KeyCode::Enter | KeyCode::Char('q') => self.quit = Some(0),
                KeyCode::Esc | KeyCode::PageUp => self.go_to(usize::MAX),
                _ => {}
            },
        }
    }

    /// Would a question mark be part of an answer?
    fn is_free_for_help(&self) -> bool {
        match &self.screen {
            Screen::Page(form) => form.focused().is_none_or(|field| field.input.value().is_empty() || !field.by_hand),
            Screen::Run(run) => !run.filtering && run.progress.asked.is_none(),
            _ => true,
        }
    }

    /// Ctrl-C: leaves at once where nothing is under way.
    fn leave(&mut self) {
        if let Screen::Run(run) = &mut self.screen
            && run.over.is_none()
            && run.purpose != Purpose::Replay
        {
            if run.progress.asked.is_some() && run.purpose != Purpose::Rehearsal {
                self.orders.push(Order::Decline);
            } else if run.stopping {
                self.quit = Some(STOPPED);
            } else {
                run.stopping = true;
                self.orders.push(Order::Stop);
                self.dialog = Some(Dialog::Stop);
            }
            return;
        }
        let code = match &self.screen {
            Screen::Run(run) => run.over.unwrap_or(0),
            Screen::Done => 0,
            _ => STOPPED,
        };
        self.quit = Some(code);
    }

    fn key_at_start(&mut self, key: KeyEvent, home: &mut dyn Home) {
        let Screen::Start(at) = &mut self.screen else { return };
        match key.code {
            KeyCode::Up | KeyCode::BackTab => *at = step(*at, false, Beginning::ALL.len()),
            KeyCode::Down | KeyCode::Tab => *at = step(*at, true, Beginning::ALL.len()),
            KeyCode::Char(c @ '1'..='4') => {
                *at = c as usize - '1' as usize;
                self.choose_beginning(home);
            }
            KeyCode::Enter => self.choose_beginning(home),
            KeyCode::Esc => self.leave(),
            _ => {}
        }
    }

    fn choose_beginning(&mut self, _home: &mut dyn Home) {
        let Screen::Start(at) = &self.screen else { return };
        match Beginning::ALL[*at].0 {
            Beginning::New => {
                self.path = None;
                self.draft = crate::model::draft::Draft::default();
                self.go_to(0);
            }
            beginning => {
                let first = self.files.first().cloned().unwrap_or_default();
                self.dialog = Some(Dialog::Path { beginning, input: Input::new(first), error: None });
            }
        }
    }

    fn key_in_page(&mut self, key: KeyEvent, home: &mut dyn Home) {
        let Screen::Page(form) = &mut self.screen else { return };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => {
                if form.standing(form.focus, &self.lookups) == MAKE_KEY {
                    self.orders.push(Order::MakeKey);
                    return;
                }
                if form.accept(&self.lookups) {
                    return self.finish_page(home);
                }
                self.look();
                self.reckon();
            }
            KeyCode::PageDown => self.finish_page(home),
            KeyCode::Esc | KeyCode::PageUp => match self.at() {
                Some(0) | None => self.screen = Screen::Start(0),
                Some(at) => self.go_to(at - 1),
            },
            KeyCode::Tab => form.move_to((form.focus + 1) % form.fields.len().max(1)),
            KeyCode::BackTab => form.move_to((form.focus + form.fields.len().max(1) - 1) % form.fields.len().max(1)),
            KeyCode::Up | KeyCode::Down if control => {
                form.scroll = if key.code == KeyCode::Down { form.scroll + 1 } else { form.scroll.saturating_sub(1) };
            }
            KeyCode::Up | KeyCode::Down => {
                let down = key.code == KeyCode::Down;
                if form.choose(down, &self.lookups) {
                    self.look();
                    self.reckon();
                } else {
                    form.move_to(step(form.focus, down, form.fields.len()));
                }
            }
            KeyCode::Char('t') if control => self.ask_for_token(None),
            _ => {
                if let Some(c) = letter(&key) {
                    form.type_text(c.encode_utf8(&mut [0; 4]));
                } else if let Some(request) = editing(&key) {
                    form.edit(request);
                }
            }
        }
    }

    /// Opens the dialog for the token of the account this page is about, or of `provider`.
    fn ask_for_token(&mut self, provider: Option<String>) {
        let account = provider.or_else(|| match &self.screen {
            Screen::Page(form) => form.account(),
            _ => None,
        });
        let Some(account) = account else {
            self.message = Some("nothing on this page asks for a token".to_owned());
            return;
        };
        if self.path.is_none() {
            self.message = Some("first give the playbook a name: tokens are kept under it".to_owned());
            return;
        }
        let hint = self.token_hints.get(&account).cloned().unwrap_or_default();
        let wanted = Missing { name: format!("{account}-token"), hint };
        self.dialog = SecretDialog::for_these(vec![wanted], Shelf::Keyring).map(Dialog::Secret);
    }

    fn key_in_review(&mut self, key: KeyEvent) {
        let Screen::Review(review) = &mut self.screen else { return };
        match key.code {
            KeyCode::Left | KeyCode::BackTab => {
                review.tab = (review.tab + 2) % 3;
                review.scroll = 0;
            }
            KeyCode::Right | KeyCode::Tab => {
                review.tab = (review.tab + 1) % 3;
                review.scroll = 0;
            }
            KeyCode::Up => review.action = step(review.action, false, Review::ACTIONS.len()),
            KeyCode::Down => review.action = step(review.action, true, Review::ACTIONS.len()),
            KeyCode::Char(' ') => review.scroll += 5,
            KeyCode::Char('b') => review.scroll = review.scroll.saturating_sub(5),
            KeyCode::Esc | KeyCode::PageUp => {
                let count = interview::pages(&self.draft).len();
                self.go_to(count.saturating_sub(1));
            }
            KeyCode::Enter => self.choose_action(),
            _ => {}
        }
    }

    fn choose_action(&mut self) {
        let Screen::Review(review) = &self.screen else { return };
        let ready = review.problems.as_ref().is_some_and(Vec::is_empty);
        match review.action {
            2 => self.quit = Some(0),
            _ if !ready => self.message = Some("the playbook is not right yet: see above".to_owned()),
            0 => self.run(Purpose::Rehearsal),
            _ => self.run(Purpose::Apply),
        }
    }

    fn key_in_run(&mut self, key: KeyEvent) {
        let Screen::Run(run) = &mut self.screen else { return };
        if run.filtering {
            match key.code {
                KeyCode::Enter => run.filtering = false,
                KeyCode::Esc => {
                    run.filtering = false;
                    run.filter = Input::default();
                }
                _ => type_into(&mut run.filter, &key),
            }
            run.scroll = 0;
            return;
        }
        // A rehearsal approves its own plans.
        if let Some(asked) = run.progress.asked.clone().filter(|_| run.purpose != Purpose::Rehearsal)
            && run.over.is_none()
            && run.purpose != Purpose::Replay
        {
            return approve(run, &mut self.orders, &key, &asked);
        }
        let choices = run.choices();
        match key.code {
            KeyCode::Up if choices.is_empty() => run.selected = run.selected.saturating_sub(1),
            KeyCode::Down if choices.is_empty() => {
                run.selected = step(run.selected, true, run.progress.steps.len() + 1)
            }
            KeyCode::Up | KeyCode::Down => run.choice = step(run.choice, key.code == KeyCode::Down, choices.len()),
            KeyCode::Tab => run.selected = (run.selected + 1) % (run.progress.steps.len() + 1),
            KeyCode::PageUp => run.scroll = (run.scroll + 10).min(run.lines().len()),
            KeyCode::PageDown => run.scroll = run.scroll.saturating_sub(10),
            KeyCode::Home => run.scroll = run.lines().len(),
            KeyCode::End => run.scroll = 0,
            KeyCode::Char('/') => run.filtering = true,
            KeyCode::Enter => {
                if let Some(choice) = choices.get(run.choice).copied() {
                    self.choose_after_run(choice);
                }
            }
            _ => {}
        }
    }

    fn choose_after_run(&mut self, choice: Choice) {
        let Screen::Run(run) = &self.screen else { return };
        let (purpose, over) = (run.purpose, run.over.unwrap_or(0));
        match choice {
            Choice::Again => self.run(purpose),
            Choice::Edit => self.go_to(0),
            Choice::ForReal => self.run(Purpose::Apply),
            Choice::Done => self.screen = Screen::Done,
            Choice::Leave => self.quit = Some(over),
            Choice::Undo => self.dialog = Some(Dialog::Undo { input: Input::default(), error: None }),
            Choice::Token => {
                // The failure names the API; else the first one of the playbook is meant.
                let message = run.progress.end.as_ref().and_then(|end| end.failure.as_ref());
                let message = message.map(|failure| failure.message.to_lowercase()).unwrap_or_default();
                let named = ["hetzner", "digitalocean", "cloudflare", "supabase", "neon"]
                    .into_iter()
                    .find(|name| message.contains(name));
                self.ask_for_token(named.or(self.draft.get("server", "provider")).map(str::to_owned));
            }
        }
    }

    fn key_in_dialog(&mut self, key: KeyEvent, home: &mut dyn Home) {
        match self.dialog.take() {
            None | Some(Dialog::Keys | Dialog::Stop) => {}
            Some(Dialog::Path { beginning, mut input, error }) => match key.code {
                KeyCode::Esc => {}
                KeyCode::Up | KeyCode::Down => {
                    let at = self.files.iter().position(|file| file == input.value());
                    let next = at.map_or(0, |at| step(at, key.code == KeyCode::Down, self.files.len()));
                    let input = self.files.get(next).cloned().map_or(input, Input::new);
                    self.dialog = Some(Dialog::Path { beginning, input, error: None });
                }
                KeyCode::Enter => {
                    let path = std::path::PathBuf::from(input.value().trim());
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
                    KeyCode::Tab | KeyCode::BackTab => {
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
        if secret.shelf == Shelf::File && !secret.opened && !secret.at_passphrase {
            secret.at_passphrase = true;
            return;
        }
        if secret.shelf == Shelf::File && !secret.opened && secret.passphrase.value().is_empty() {
            secret.error = Some("the file needs a passphrase".to_owned());
            return;
        }
        secret.busy = true;
        let passphrase =
            (secret.shelf == Shelf::File && !secret.opened).then(|| Secret::new(secret.passphrase.value().to_owned()));
        self.orders.push(Order::Keep {
            name: secret.wanted.name.clone(),
            value: Secret::new(secret.input.value().trim().to_owned()),
            place: secret.shelf,
            passphrase,
        });
    }

    /// A secret was kept, or refused.
    pub fn kept(&mut self, result: Result<String, FailureView>) {
        let Some(Dialog::Secret(mut secret)) = self.dialog.take() else { return };
        secret.busy = false;
        match result {
            Err(failure) => {
                let causes: String = failure.causes.iter().map(|cause| format!(": {cause}")).collect();
                let hint = failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                secret.error = Some(format!("{}{causes}{hint}", failure.message));
                self.dialog = Some(Dialog::Secret(secret));
            }
            Ok(whose) => {
                self.message = Some(whose);
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
        self.lookups.retain(|lookup, _| !matches!(lookup, Lookup::Account(provider, _) if *provider == account));
        if let Some(priced) = self.catalogs.iter_mut().find(|priced| priced.catalog.provider == account)
            && self.fetching.insert(account.to_owned())
        {
            self.orders.push(Order::Catalog(priced.catalog.provider.clone()));
        }
        self.look();
    }

    /// Which secrets are missing before a run.
    pub fn missing(&mut self, result: Result<Vec<Missing>, FailureView>) {
        match (result, self.then) {
            (Err(failure), _) => {
                self.then = None;
                self.message = Some(failure.message);
            }
            (Ok(missing), Some(purpose)) => match SecretDialog::for_these(missing, Shelf::Keyring) {
                Some(secret) => self.dialog = Some(Dialog::Secret(secret)),
                None => self.run(purpose),
            },
            (Ok(_), None) => {}
        }
    }

    /// A pair of keys was made.
    pub fn key_made(&mut self, result: Result<String, FailureView>) {
        let Screen::Page(form) = &mut self.screen else { return };
        let Some(index) = form.fields.iter().position(|field| field.question.key == Key::Step("server", "keys")) else {
            return;
        };
        match result {
            Ok(line) => {
                form.move_to(index);
                form.put(line, false);
                self.message = Some("made a new pair of keys: Enter takes it".to_owned());
                self.lookups.remove(&Lookup::PublicKeys);
                self.look();
            }
            Err(failure) => {
                let hint = failure.hint.map(|hint| format!(": {hint}")).unwrap_or_default();
                form.fields[index].error = Some(format!("{}{hint}", failure.message));
            }
        }
    }

    /// Text was pasted.
    pub fn paste(&mut self, text: &str) {
        match (&mut self.dialog, &mut self.screen) {
            (Some(Dialog::Secret(secret)), _) if !secret.busy => {
                let input = if secret.at_passphrase { &mut secret.passphrase } else { &mut secret.input };
                paste_into(input, text);
            }
            (Some(Dialog::Path { input, .. } | Dialog::Undo { input, .. }), _) => paste_into(input, text),
            (None, Screen::Page(form)) => form.type_text(text),
            (None, Screen::Run(run)) if run.filtering => paste_into(&mut run.filter, text),
            _ => {}
        }
    }

    /// The mouse.
    pub fn mouse(&mut self, mouse: MouseEvent, home: &mut dyn Home) {
        let wheel = match mouse.kind {
            MouseEventKind::ScrollDown => Some(true),
            MouseEventKind::ScrollUp => Some(false),
            _ => None,
        };
        if let Some(down) = wheel {
            match &mut self.screen {
                Screen::Page(form) => form.scroll = if down { form.scroll + 1 } else { form.scroll.saturating_sub(1) },
                Screen::Review(review) => {
                    review.scroll = if down { review.scroll + 1 } else { review.scroll.saturating_sub(1) };
                }
                Screen::Run(run) => {
                    let most = run.lines().len();
                    run.scroll = if down { run.scroll.saturating_sub(3) } else { (run.scroll + 3).min(most) };
                }
                _ => {}
            }
            return;
        }
        if mouse.kind != MouseEventKind::Down(MouseButton::Left) || self.dialog.is_some() {
            return;
        }
        let place = ratatui::layout::Position { x: mouse.column, y: mouse.row };
        let Some(hit) = self.hits.iter().find(|(area, _)| area.contains(place)).map(|(_, hit)| *hit) else { return };
        match (hit, &mut self.screen) {
            (Hit::Chapter(index), Screen::Page(_) | Screen::Review(_))
                if index <= interview::next_page(&self.draft) =>
            {
                self.go_to(index);
            }
            (Hit::Field(index), Screen::Page(form)) => form.move_to(index),
            (Hit::Choice(index), Screen::Page(form)) => {
                let choices = form.choices(&self.lookups).all;
                if let Some(choice) = choices.get(index).filter(|choice| choice.usable) {
                    form.put(choice.value.clone(), false);
                    self.look();
                    self.reckon();
                }
            }
            (Hit::Action(index), Screen::Start(at)) => {
                *at = index;
                self.choose_beginning(home);
            }
            (Hit::Action(index), Screen::Review(review)) => {
                review.action = index;
                self.choose_action();
            }
            (Hit::Action(index), Screen::Run(run)) => {
                run.choice = index;
                if let Some(choice) = run.choices().get(index).copied() {
                    self.choose_after_run(choice);
                }
            }
            (Hit::Tab(index), Screen::Review(review)) => {
                review.tab = index;
                review.scroll = 0;
            }
            (Hit::Tab(index), Screen::Run(run)) => run.selected = index,
            _ => {}
        }
    }
}

/// The choice of public keys that stands for a new pair.
pub const MAKE_KEY: &str = "make a new pair of keys";

fn paste_into(input: &mut Input, text: &str) {
    for c in text.trim().chars().filter(|c| !c.is_control()).take(crate::model::question::LONGEST) {
        input.handle(InputRequest::InsertChar(c));
    }
}

fn approve(run: &mut RunScreen, orders: &mut Vec<Order>, key: &KeyEvent, asked: &crate::front::tui::progress::Asked) {
    match key.code {
        KeyCode::Esc => orders.push(Order::Decline),
        KeyCode::Enter if asked.losses.is_empty() => {
            run.progress.asked = None;
            orders.push(Order::Approve { losing_data: false });
        }
        KeyCode::Enter if run.typed.value().trim() == run.progress.playbook => {
            run.progress.asked = None;
            orders.push(Order::Approve { losing_data: true });
        }
        KeyCode::Enter => {}
        _ if !asked.losses.is_empty() => type_into(&mut run.typed, key),
        _ => {}
    }
}
