//! A page as a form: fields with what has been typed, errors below them, and a list to choose from.

use std::collections::BTreeMap;

use tui_input::Input;

use crate::interview;
use crate::model::draft::Draft;
use crate::model::event::FailureView;
use crate::model::failure::Kind;
use crate::model::question::{Choice, Choices, Field, LONGEST, Lookup, Page, Question};

/// What is known of the choices of a lookup.
#[derive(Clone, Debug)]
pub enum Found {
    /// They are being fetched.
    Fetching,
    /// They are here.
    Here(Choices),
    /// They could not be fetched.
    Failed(FailureView),
}

/// Everything that was looked up.
pub type Lookups = BTreeMap<Lookup, Found>;

/// One question on the screen.
#[derive(Clone, Debug)]
pub struct FieldState {
    /// The question.
    pub question: Question,
    /// What has been typed.
    pub input: Input,
    /// What is wrong with it.
    pub error: Option<String>,
    /// Has something been typed by hand, so that the list is filtered by it?
    pub by_hand: bool,
    /// Does the finished playbook leave it out on purpose? Then nothing is written unless something is typed.
    pub left_out: bool,
    /// May what the page cannot show be replaced?
    pub replacing: bool,
}

/// A page being filled in.
#[derive(Clone, Debug)]
pub struct Form {
    /// Which page.
    pub id: &'static str,
    /// The fields.
    pub fields: Vec<FieldState>,
    /// Which of them has the focus.
    pub focus: usize,
    /// Has Enter been pressed before the choices were there? Then the first of them is taken once they are.
    pub awaiting: bool,
    /// The first line of the list or notes that is shown.
    pub scroll: usize,
    /// The playbook with the answers of this page that are right.
    pub scratch: Draft,
    /// The playbook as it was before.
    saved: Draft,
    /// Had the page been answered before?
    passed: bool,
}

impl Form {
    /// The form of the page called `id`.
    pub fn open(draft: &Draft, id: &'static str) -> Form {
        let pages = interview::pages(draft);
        let at = pages.iter().position(|page| page.id == id).unwrap_or_default();
        let passed = at < interview::next_page(draft);
        let mut form = Form {
            id,
            fields: vec![],
            focus: 0,
            awaiting: false,
            scroll: 0,
            scratch: draft.clone(),
            saved: draft.clone(),
            passed,
        };
        form.refresh();
        // Defaults decide which questions there are and what it costs: all of that is shown from the start.
        let mut index = 0;
        while let Some(field) = form.fields.get(index) {
            let question = field.question.clone();
            let typed = field.input.value().to_owned();
            if typed.is_empty() && question.default.is_some() && !field.left_out {
                let _ = interview::answer(&mut form.scratch, &question, "");
                form.refresh();
            }
            index += 1;
        }
        form
    }

    /// The page itself.
    pub fn page(&self) -> Page {
        let mut pages = interview::pages(&self.scratch);
        let at = pages.iter().position(|page| page.id == self.id).unwrap_or_default();
        pages.swap_remove(at)
    }

    /// Asks again which questions there are; what has been typed stays.
    fn refresh(&mut self) {
        let mut old = std::mem::take(&mut self.fields);
        for question in interview::questions(&self.scratch, self.id) {
            let known = old.iter().position(|field| field.question.key == question.key);
            let field = match known {
                Some(index) => {
                    let field = old.swap_remove(index);
                    FieldState { question, ..field }
                }
                None => {
                    let typed = interview::current(&self.scratch, &question, self.passed).unwrap_or_default();
                    let left_out = self.leaves_out(&question);
                    let input = Input::new(typed);
                    FieldState { question, input, error: None, by_hand: false, left_out, replacing: false }
                }
            };
            self.fields.push(field);
        }
        self.focus = self.focus.min(self.fields.len().saturating_sub(1));
    }

    /// Was the question there when the page was answered, and has it no answer in the playbook?
    fn leaves_out(&self, question: &Question) -> bool {
        let needless = question.optional || question.default.is_some();
        let asked = || interview::questions(&self.saved, self.id).iter().any(|other| other.key == question.key);
        let silent = self.saved.answer(question).is_none() && !self.saved.is_beyond(question);
        self.passed && needless && silent && !question.may_remove_step() && asked()
    }

    /// The field with the focus.
    pub fn focused(&self) -> Option<&FieldState> {
        self.fields.get(self.focus)
    }

    /// What the field `index` stands for now: what was typed, or else the default.
    pub fn standing(&self, index: usize, lookups: &Lookups) -> String {
        let Some(field) = self.fields.get(index) else { return String::new() };
        match field.input.value() {
            "" => self.default_of(field, lookups).unwrap_or_default(),
            typed => typed.to_owned(),
        }
    }

    /// What is taken when nothing is typed.
    pub fn default_of(&self, field: &FieldState, lookups: &Lookups) -> Option<String> {
        if field.left_out || self.scratch.is_beyond(&field.question) {
            return None;
        }
        if let Some(default) = &field.question.default {
            return Some(default.clone());
        }
        // Keys have no default but the first that was found.
        match (&field.question.lookup, field.question.lookup.as_ref().and_then(|lookup| lookups.get(lookup))) {
            (Some(Lookup::PublicKeys), Some(Found::Here(found))) if !self.scratch.is_beyond(&field.question) => {
                found.all.first().map(|choice| choice.value.clone())
            }
            _ => None,
        }
    }

    /// The choices of the field with the focus: its own, with what was looked up about them; filtered by what was
    /// typed by hand.
    pub fn choices(&self, lookups: &Lookups) -> Choices {
        let Some(field) = self.focused() else { return Choices::default() };
        let found = field.question.lookup.as_ref().and_then(|lookup| lookups.get(lookup));
        let mut choices = match (&field.question.field, found) {
            (Field::Choice(own), Some(Found::Here(more))) => merge(own, more),
            (Field::Choice(own), _) => Choices { all: own.clone(), ..Choices::default() },
            (Field::YesNo, _) => {
                Choices { all: vec![Choice::new("yes", ""), Choice::new("no", "")], ..Choices::default() }
            }
            (_, Some(Found::Here(more))) => more.clone(),
            _ => Choices::default(),
        };
        if field.by_hand && !field.input.value().is_empty() {
            let typed = field.input.value().to_lowercase();
            let fits = |choice: &Choice| {
                choice.value.to_lowercase().contains(&typed)
                    || choice.cells.iter().any(|cell| cell.to_lowercase().contains(&typed))
            };
            choices.all.retain(fits);
        }
        choices
    }

    /// Which choice is the one that stands in the field.
    pub fn chosen(&self, lookups: &Lookups) -> Option<usize> {
        let standing = self.standing(self.focus, lookups);
        self.choices(lookups).all.iter().position(|choice| choice.value == standing)
    }

    /// Takes the choice before or behind the one that stands there. False when there are none.
    pub fn choose(&mut self, down: bool, lookups: &Lookups) -> bool {
        let choices = self.choices(lookups).all;
        let usable: Vec<&Choice> = choices.iter().filter(|choice| choice.usable).collect();
        if usable.is_empty() {
            return false;
        }
        let standing = self.standing(self.focus, lookups);
        let at = usable.iter().position(|choice| choice.value == standing);
        let next = match (at, down) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % usable.len(),
            (Some(at), false) => (at + usable.len() - 1) % usable.len(),
        };
        let value = usable[next].value.clone();
        self.put(value, false);
        true
    }

    /// Puts `value` into the field with the focus.
    pub fn put(&mut self, value: String, by_hand: bool) {
        let Some(field) = self.fields.get_mut(self.focus) else { return };
        field.input = Input::new(value);
        field.by_hand = by_hand;
        field.error = None;
        if !by_hand && matches!(field.question.field, Field::Choice(_)) {
            self.take(self.focus);
        }
    }

    /// Types text into the field with the focus: a line of it, without what moves the cursor.
    pub fn type_text(&mut self, text: &str) {
        let Some(field) = self.fields.get_mut(self.focus) else { return };
        if self.scratch.is_beyond(&field.question) && field.input.value().is_empty() && !field.replacing {
            let why = "more stands in the playbook than fits here, and stays: change it there; or Ctrl-U, and what you \
                       type replaces all of it";
            field.error = Some(why.to_owned());
            return;
        }
        let mut line = text.trim_matches(['\n', '\r']).to_owned();
        if line.contains(['\n', '\r']) {
            field.error = Some("only one line goes in here: nothing was pasted".to_owned());
            return;
        }
        line.retain(|c| !c.is_control());
        for c in line.chars() {
            if field.input.value().chars().count() >= LONGEST {
                field.error = Some(format!("at most {LONGEST} characters"));
                break;
            }
            field.input.handle(tui_input::InputRequest::InsertChar(c));
            field.error = None;
        }
        field.by_hand = true;
        self.judge_while_typing();
    }

    /// Edits the field with the focus.
    pub fn edit(&mut self, request: tui_input::InputRequest) {
        if let Some(field) = self.fields.get_mut(self.focus)
            && request == tui_input::InputRequest::DeleteLine
        {
            field.replacing = true;
            field.error = None;
        }
        if let Some(field) = self.fields.get_mut(self.focus)
            && field.input.handle(request).is_some_and(|changed| changed.value)
        {
            field.by_hand = true;
            field.error = None;
            self.judge_while_typing();
        }
    }

    /// Tells what is wrong as soon as it is clear that typing on cannot make it right: a character that no answer has.
    fn judge_while_typing(&mut self) {
        let Some(field) = self.fields.get_mut(self.focus) else { return };
        let typed = field.input.value().to_owned();
        let is_text = matches!(field.question.field, Field::Text(_) | Field::Number(..));
        // One more letter would not help a text that holds a space or a letter beyond ASCII.
        let hopeless = typed.trim().contains(' ') || !typed.is_ascii();
        if is_text
            && hopeless
            && let Err(why) = field.question.read(&typed)
        {
            field.error = Some(why);
        }
    }

    /// Reads the field `index` into the scratch playbook. True when it is right.
    fn take(&mut self, index: usize) -> bool {
        let Some(field) = self.fields.get_mut(index) else { return false };
        if field.left_out && field.input.value().trim().is_empty() {
            field.error = None;
            return true;
        }
        match interview::answer(&mut self.scratch, &field.question, field.input.value()) {
            Ok(()) => {
                field.error = None;
                self.refresh();
                true
            }
            Err(why) => {
                field.error = Some(why);
                false
            }
        }
    }

    /// Where what was typed is the beginning of one choice alone, takes that.
    fn complete(&mut self, lookups: &Lookups) {
        let Some(field) = self.focused().filter(|field| field.by_hand) else { return };
        let typed = field.input.value().trim().to_owned();
        let listed = matches!(field.question.field, Field::Choice(_))
            || matches!(field.question.lookup, Some(Lookup::Plans(..) | Lookup::Places(_)));
        let choices = self.choices(lookups).all;
        let mut fitting = choices.iter().filter(|choice| choice.usable && choice.value.starts_with(&typed));
        if let (true, false, Some(one), None) = (listed, typed.is_empty(), fitting.next(), fitting.next()) {
            let value = one.value.clone();
            if let Some(field) = self.fields.get_mut(self.focus) {
                field.input = Input::new(value);
            }
        }
    }

    /// Writes what stands in the empty field `index` into it, where its question knows no default of its own.
    fn fill(&mut self, index: usize, lookups: &Lookups) {
        let standing = self.standing(index, lookups);
        if let Some(field) = self.fields.get_mut(index)
            && field.input.value().is_empty()
            && field.question.default.is_none()
        {
            field.input = Input::new(standing);
        }
    }

    /// Accepts the field with the focus, and goes on to the next. True when it was the last.
    pub fn accept(&mut self, lookups: &Lookups) -> bool {
        self.complete(lookups);
        self.fill(self.focus, lookups);
        if !self.take(self.focus) {
            let waiting = |field: &&mut FieldState| {
                let lookup = field.question.lookup.as_ref().and_then(|lookup| lookups.get(lookup));
                field.input.value().is_empty() && matches!(lookup, Some(Found::Fetching))
            };
            if let Some(field) = self.fields.get_mut(self.focus).filter(waiting) {
                field.error = None;
                self.awaiting = true;
            }
            return false;
        }
        if self.focus + 1 < self.fields.len() {
            self.move_to(self.focus + 1);
            return false;
        }
        true
    }

    /// Moves the focus.
    pub fn move_to(&mut self, index: usize) {
        if let Some(field) = self.fields.get_mut(self.focus) {
            field.by_hand = false;
        }
        self.focus = index.min(self.fields.len().saturating_sub(1));
        self.scroll = 0;
        if let Some(field) = self.fields.get_mut(self.focus) {
            // Keys such as End have nothing to do then.
            field.input.handle(tui_input::InputRequest::GoToEnd);
        }
    }

    /// Reads every field, and lets the steps judge. The finished playbook, or `None` with the focus on what is wrong.
    pub fn finish(&mut self, lookups: &Lookups) -> Option<Draft> {
        self.complete(lookups);
        let mut index = 0;
        let mut wrong = None;
        // Anew and in order, so that the same answers make the same file however they came about.
        self.scratch = self.saved.clone();
        while index < self.fields.len() {
            self.fill(index, lookups);
            if !self.take(index) {
                wrong.get_or_insert(index);
            }
            index += 1;
        }
        if wrong.is_none() {
            let page = self.page();
            for (index, why) in interview::problems(&self.scratch, &page) {
                if let Some(field) = self.fields.get_mut(index) {
                    field.error = Some(why);
                    wrong.get_or_insert(index);
                }
            }
        }
        if let Some(index) = wrong {
            self.move_to(index);
            return None;
        }
        let mut draft = self.scratch.clone();
        interview::finish(&mut draft, &self.saved, self.id);
        Some(draft)
    }

    /// What the page wants to know from an account or this machine.
    pub fn lookups(&self) -> Vec<Lookup> {
        self.fields.iter().filter_map(|field| field.question.lookup.clone()).chain(self.page().there).collect()
    }

    /// The account whose token would tell this page more.
    pub fn account(&self) -> Option<String> {
        let provider = |kind: &str| self.scratch.get(kind, "provider").map(str::to_owned);
        match self.id {
            "provider" | "size" => provider("server").filter(|name| name != "existing"),
            "database" => provider("database").filter(|name| name != "host"),
            "dns" => provider("dns"),
            _ => None,
        }
    }
}

/// The field's own choices, each with what was looked up about it.
fn merge(own: &[Choice], more: &Choices) -> Choices {
    let mut all = Vec::new();
    for choice in own {
        match more.all.iter().find(|other| other.value == choice.value) {
            Some(other) => all.push(other.clone()),
            None => all.push(Choice { cells: vec![], ..choice.clone() }),
        }
    }
    Choices { columns: more.columns.clone(), all, source: more.source.clone() }
}

/// What went wrong with a lookup, in a line.
pub fn lookup_trouble(failure: &FailureView) -> String {
    let what = match failure.kind {
        Kind::Unreachable => "cannot be reached",
        Kind::Human => "did not accept the token, or it lacks a right",
        _ => "gave no answer",
    };
    format!("{what}: {}", failure.message)
}
