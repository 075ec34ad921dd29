//! What keys and the mouse do.

mod dialogs;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use tui_input::{Input, InputRequest};

use crate::front::tui::dialog::Dialog;
use crate::front::tui::messages::{Home, Order};
use crate::front::tui::run_screen::{Choice, Purpose, RunScreen};
use crate::front::tui::state::{Beginning, Hit, Review, Screen, State};
use crate::interview;
use crate::model::event::FailureView;
use crate::model::question::{Key, Lookup};

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
        // Nobody sees what a key would do.
        if self.is_small {
            return;
        }
        if self.dialog.is_some() {
            return self.key_in_dialog(key, home);
        }
        if key.code == KeyCode::F(1) || (letter(&key) == Some('?') && self.is_free_for_help()) {
            self.dialog = Some(Dialog::Keys);
            return;
        }
        match &self.screen {
            Screen::Start(_) => self.key_at_start(key),
            Screen::Page(_) => self.key_in_page(key, home),
            Screen::Review(_) => self.key_in_review(key),
            Screen::Run(_) => self.key_in_run(key, home),
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
                run.progress.asked = None;
                run.stopping = true;
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

    fn key_at_start(&mut self, key: KeyEvent) {
        let Screen::Start(at) = &mut self.screen else { return };
        match key.code {
            KeyCode::Up | KeyCode::BackTab => *at = step(*at, false, Beginning::ALL.len()),
            KeyCode::Down | KeyCode::Tab => *at = step(*at, true, Beginning::ALL.len()),
            KeyCode::Char(c @ '1'..='4') => {
                *at = c as usize - '1' as usize;
                self.choose_beginning();
            }
            KeyCode::Enter => self.choose_beginning(),
            KeyCode::Esc => self.leave(),
            _ => {}
        }
    }

    fn choose_beginning(&mut self) {
        let Screen::Start(at) = &self.screen else { return };
        match Beginning::ALL[*at].0 {
            Beginning::New => {
                self.path = None;
                self.draft = crate::model::draft::Draft::default();
                self.go_to(0);
            }
            beginning => {
                self.dialog = Some(Dialog::Path { beginning, input: Input::default(), error: None });
            }
        }
    }

    /// Takes what stands in the field with the focus, and goes on.
    pub fn accept(&mut self, home: &mut dyn Home) {
        let Screen::Page(form) = &mut self.screen else { return };
        form.awaiting = false;
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

    fn key_in_page(&mut self, key: KeyEvent, home: &mut dyn Home) {
        let Screen::Page(form) = &mut self.screen else { return };
        form.awaiting = false;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => self.accept(home),
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
            KeyCode::Char('t') if control => self.ask_for_token(None, home),
            _ => {
                if let Some(c) = letter(&key) {
                    form.type_text(c.encode_utf8(&mut [0; 4]));
                } else if let Some(request) = editing(&key) {
                    form.edit(request);
                }
            }
        }
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

    fn key_in_run(&mut self, key: KeyEvent, home: &dyn Home) {
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
                    self.choose_after_run(choice, home);
                }
            }
            _ => {}
        }
    }

    fn choose_after_run(&mut self, choice: Choice, home: &dyn Home) {
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
                let named = self.token_hints.keys().map(String::as_str).find(|name| message.contains(name));
                self.ask_for_token(named.or(self.draft.get("server", "provider")).map(str::to_owned), home);
            }
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
                self.choose_beginning();
            }
            (Hit::Action(index), Screen::Review(review)) => {
                review.action = index;
                self.choose_action();
            }
            (Hit::Action(index), Screen::Run(run)) => {
                run.choice = index;
                if let Some(choice) = run.choices().get(index).copied() {
                    self.choose_after_run(choice, home);
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
