//! Everything the screen knows, and how it changes. Draws nothing and waits for nothing: news go in, orders come out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::estimate::menu::{self, Priced};
use crate::estimate::{self, snapshot};
use crate::front::tui::MAKE_KEY;
use crate::front::tui::dialog::Dialog;
use crate::front::tui::form::{Form, Found, Lookups};
use crate::front::tui::look::Look;
use crate::front::tui::messages::{Home, News, Order};
use crate::front::tui::progress::totals;
use crate::front::tui::run_screen::{Purpose, RunScreen};
use crate::interview::{self, Given};
use crate::model::draft::Draft;
use crate::model::event::{BillLine, FailureView};
use crate::model::question::{Choices, Lookup};

/// What can be chosen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// A new playbook.
    New,
    /// One that is there.
    Open,
    /// One that is there, on this machine.
    Rehearse,
    /// One whose world is gone.
    Recover,
}

impl Beginning {
    /// All, in order, with what each means.
    pub const ALL: &'static [(Beginning, &'static str, &'static str)] = &[
        (Beginning::New, "set up something new", "answer some twenty questions; nothing is made before you say so"),
        (Beginning::Open, "open a playbook", "go on with one, look at it, or change it"),
        (Beginning::Rehearse, "rehearse a playbook", "all of it on this machine, with simulated clouds: costs nothing"),
        (
            Beginning::Recover,
            "recover after a disaster",
            "make everything anew that a playbook says and that is gone, with its data where there are backups",
        ),
    ];
}

/// What is on the screen.
#[derive(Clone, Debug)]
pub enum Screen {
    /// The first page, with the line that is selected.
    Start(usize),
    /// Questions.
    Page(Box<Form>),
    /// What will be made, and what it costs.
    Review(Review),
    /// A run.
    Run(Box<RunScreen>),
    /// What to do next.
    Done,
}

/// The page before anything is done.
#[derive(Clone, Debug, Default)]
pub struct Review {
    /// Which of bill, plan and playbook is shown.
    pub tab: usize,
    /// The first line that is shown.
    pub scroll: usize,
    /// Which action is selected.
    pub action: usize,
    /// What is wrong with the playbook, once that is known.
    pub problems: Option<Vec<String>>,
}

impl Review {
    /// What can be done, in words.
    pub const ACTIONS: &'static [&'static str] =
        &["rehearse it on this machine: costs nothing", "make it real", "leave: everything is saved"];
}

/// Something on the screen that can be clicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// A chapter of the rail.
    Chapter(usize),
    /// A field.
    Field(usize),
    /// A choice in a list.
    Choice(usize),
    /// An action.
    Action(usize),
    /// A tab.
    Tab(usize),
}

/// The state.
pub struct State {
    /// How it looks.
    pub look: Look,
    /// What is on the screen.
    pub screen: Screen,
    /// What lies on top of it.
    pub dialog: Option<Dialog>,
    /// The playbook as it is saved.
    pub draft: Draft,
    /// Where it is saved.
    pub path: Option<PathBuf>,
    /// The text of it, as it was read or written last.
    pub saved: String,
    /// Has the passphrase of the vault file been typed?
    pub is_vault_open: bool,
    /// Is the terminal too small to show anything?
    pub is_small: bool,
    /// Where a new one is saved, if that was said.
    pub target: Option<PathBuf>,
    /// The folder a new one is saved in.
    pub folder: PathBuf,
    /// The playbooks that are there.
    pub files: Vec<String>,
    /// What was looked up.
    pub lookups: Lookups,
    /// What providers sell.
    pub catalogs: Vec<Priced>,
    /// Why a provider could not say what it sells.
    pub catalog_trouble: Vec<(String, FailureView)>,
    /// What is being fetched.
    pub fetching: BTreeSet<String>,
    /// What is being tried again, in words.
    pub trying: Option<String>,
    /// What a month of it costs.
    pub bill: Vec<BillLine>,
    /// Why the bill is not whole.
    pub bill_trouble: Option<String>,
    /// A line at the bottom that goes away with the next key.
    pub message: Option<String>,
    /// For things that turn.
    pub tick: usize,
    /// The time, as of the last news.
    pub now: Timestamp,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
    /// Where things are on the screen, from the last drawing.
    pub hits: Vec<(ratatui::layout::Rect, Hit)>,
    /// Answers given on the command line.
    pub given: Given,
    /// Has it ended? With this exit code.
    pub quit: Option<u8>,
    /// What shall be done; taken by the loop.
    pub orders: Vec<Order>,
    /// Where one makes a token, in words, by provider.
    pub token_hints: BTreeMap<String, String>,
    /// How long changes usually take, in milliseconds, by the sort of thing that changes.
    pub usual: BTreeMap<String, u64>,
    /// What is done once every missing secret is there.
    pub then: Option<Purpose>,
}

impl State {
    /// A state at the first page.
    pub fn new(look: Look, folder: PathBuf, files: Vec<String>) -> State {
        let prices = snapshot::snapshot().unwrap_or_default();
        let priced =
            |dated: snapshot::Dated| Priced { source: format!("prices of {}", dated.date), catalog: dated.catalog };
        let mut state = State {
            look,
            screen: Screen::Start(0),
            dialog: None,
            draft: Draft::default(),
            path: None,
            saved: String::new(),
            target: None,
            is_vault_open: false,
            is_small: false,
            folder,
            files,
            lookups: Lookups::new(),
            catalogs: prices.into_iter().map(priced).collect(),
            catalog_trouble: vec![],
            fetching: BTreeSet::new(),
            trying: None,
            bill: vec![],
            bill_trouble: None,
            message: None,
            tick: 0,
            now: Timestamp::now(),
            clock: Timestamp::now,
            hits: vec![],
            given: Given::default(),
            quit: None,
            orders: vec![],
            token_hints: BTreeMap::new(),
            usual: BTreeMap::new(),
            then: None,
        };
        state.spread_catalogs();
        // Needed some pages later; found by then.
        state.lookups.insert(Lookup::PublicKeys, Found::Fetching);
        state.orders.push(Order::Look(Lookup::PublicKeys));
        state
    }

    /// Takes in what happened.
    pub fn update(&mut self, news: News, home: &mut dyn Home) {
        self.now = (self.clock)();
        match news {
            News::Key(key) => self.key(key, home),
            News::Paste(text) => self.paste(&text),
            News::Mouse(mouse) => self.mouse(mouse, home),
            News::Resize => {}
            News::Tick => self.tick += 1,
            News::Catalog(provider, result) => {
                self.fetching.remove(&provider);
                self.trying = None;
                self.catalog_trouble.retain(|(name, _)| *name != provider);
                match result {
                    Ok(Some(catalog)) => {
                        self.catalogs.retain(|priced| priced.catalog.provider != provider);
                        self.catalogs.push(Priced { catalog, source: "read now".to_owned() });
                        self.catalogs.sort_by_key(|priced| priced.catalog.provider != "hetzner");
                        self.spread_catalogs();
                    }
                    Ok(None) => {}
                    Err(failure) => self.catalog_trouble.push((provider, failure)),
                }
                self.reckon();
            }
            News::Found(lookup, result) => {
                self.trying = None;
                match result {
                    Ok(Some(choices)) => drop(self.lookups.insert(lookup, Found::Here(choices))),
                    Ok(None) => drop(self.lookups.remove(&lookup)),
                    Err(failure) => drop(self.lookups.insert(lookup, Found::Failed(failure))),
                }
                if matches!(&self.screen, Screen::Page(form) if form.awaiting) {
                    self.accept(home);
                }
            }
            News::Trying(what) => self.trying = Some(what),
            News::KeyMade(result) => self.key_made(result),
            News::Checked(problems) => {
                if let Screen::Review(review) = &mut self.screen {
                    review.problems = Some(problems);
                }
            }
            News::Missing(result) => self.missing(result, home),
            News::Kept(result) => self.kept(result),
            News::Event(event) => {
                if let Screen::Run(run) = &mut self.screen {
                    run.progress.take(&event);
                    if run.progress.asked.is_none() || run.over.is_some() {
                        return;
                    }
                    // The word was given before: to stop, or by typing the name of all that shall go.
                    if run.stopping {
                        run.progress.asked = None;
                        self.orders.push(Order::Decline);
                    } else if run.purpose == Purpose::Destroy {
                        run.progress.asked = None;
                        self.orders.push(Order::Approve { losing_data: true });
                    }
                }
            }
            News::Usual(times) => self.usual = times,
            News::RunEnded(code) => self.run_ended(code, home),
        }
    }

    /// Is anything turning, so that time must go by?
    pub fn is_turning(&self) -> bool {
        let looking = self.lookups.values().any(|found| matches!(found, Found::Fetching));
        let running = matches!(&self.screen, Screen::Run(run) if run.over.is_none());
        let checking = self.dialog.as_ref().is_some_and(Dialog::is_busy);
        looking || running || checking || !self.fetching.is_empty()
    }

    /// Works out again what follows from the catalogs: choices of providers, places and plans.
    fn spread_catalogs(&mut self) {
        self.lookups.insert(Lookup::Providers, Found::Here(menu::providers(&self.catalogs)));
        for priced in &self.catalogs {
            let name = &priced.catalog.provider;
            self.lookups.insert(Lookup::Places(name.clone()), Found::Here(menu::places(priced)));
        }
        let known: Vec<Lookup> =
            self.lookups.keys().filter(|lookup| matches!(lookup, Lookup::Plans(..))).cloned().collect();
        for lookup in known {
            self.lookups.remove(&lookup);
        }
        self.look();
    }

    /// Asks for what the page wants to know and nobody has asked for yet.
    pub fn look(&mut self) {
        let Screen::Page(form) = &self.screen else { return };
        for lookup in form.lookups() {
            if self.lookups.contains_key(&lookup) {
                continue;
            }
            if let Lookup::Plans(provider, place) = &lookup {
                let of_it = self.catalogs.iter().find(|priced| priced.catalog.provider == *provider);
                let plans = of_it.map(|priced| menu::plans(priced, place)).unwrap_or_else(Choices::default);
                self.lookups.insert(lookup, Found::Here(plans));
            } else if matches!(lookup, Lookup::PublicKeys | Lookup::Account(..) | Lookup::Records(..)) {
                self.lookups.insert(lookup.clone(), Found::Fetching);
                self.orders.push(Order::Look(lookup));
            }
        }
    }

    /// Asks what is sold now: every provider, or the one the server comes from. What is known is shown meanwhile.
    fn fetch_catalogs(&mut self, all: bool) {
        let chosen = self.draft.get("server", "provider");
        for priced in &self.catalogs {
            let provider = &priced.catalog.provider;
            if (all || Some(provider.as_str()) == chosen) && self.fetching.insert(provider.clone()) {
                self.orders.push(Order::Catalog(provider.clone()));
            }
        }
    }

    /// Reckons the bill of what has been answered so far.
    pub fn reckon(&mut self) {
        let draft = match &self.screen {
            Screen::Page(form) => &form.scratch,
            _ => &self.draft,
        };
        let wanted = interview::wanted_for_bill(draft);
        let mut lines = Vec::new();
        self.bill_trouble = None;
        for priced in &self.catalogs {
            match estimate::bill(&priced.catalog, &wanted) {
                Ok(of_it) => lines.extend(of_it),
                Err(failure) => self.bill_trouble = Some(failure.message),
            }
        }
        lines.extend(estimate::rented_bill(&wanted));
        if let Some(over) = crate::model::money::over_budget(
            &crate::model::playbook::Playbook::parse(&draft.text()).map(|playbook| playbook.budget).unwrap_or_default(),
            &lines,
        ) {
            self.bill_trouble.get_or_insert(over.message);
        }
        self.bill = lines.iter().map(BillLine::from).collect();
    }

    /// Opens the page `index`, or the review behind the last.
    pub fn go_to(&mut self, index: usize) {
        let pages = interview::pages(&self.draft);
        match pages.get(index) {
            Some(page) => {
                let mut form = Form::open(&self.draft, page.id);
                for field in &mut form.fields {
                    if let Some(given) = self.given.of(&field.question)
                        && field.input.value().is_empty()
                    {
                        field.input = tui_input::Input::new(given.to_owned());
                    }
                }
                self.screen = Screen::Page(Box::new(form));
                match page.id {
                    "provider" => self.fetch_catalogs(true),
                    "size" => self.fetch_catalogs(false),
                    _ => {}
                }
                self.look();
            }
            None => {
                self.screen = Screen::Review(Review::default());
                // Much may have been sold while one answered.
                self.fetch_catalogs(false);
                if let Some(path) = &self.path {
                    self.orders.push(Order::Check(path.clone()));
                }
            }
        }
        self.reckon();
    }

    /// Which page is on the screen, or the number of pages for what comes behind them.
    pub fn at(&self) -> Option<usize> {
        let pages = interview::pages(&self.draft);
        match &self.screen {
            Screen::Start(_) => None,
            Screen::Page(form) => pages.iter().position(|page| page.id == form.id),
            Screen::Review(_) => Some(pages.len()),
            Screen::Run(_) => Some(pages.len() + 1),
            Screen::Done => Some(pages.len() + 2),
        }
    }

    /// Saves the page and goes on to the next.
    pub fn finish_page(&mut self, home: &mut dyn Home) {
        let Screen::Page(form) = &mut self.screen else { return };
        let makes_key = |index: usize| form.standing(index, &self.lookups) == MAKE_KEY;
        if (0..form.fields.len()).any(makes_key) {
            self.orders.push(Order::MakeKey);
            return;
        }
        let Some(draft) = form.finish(&self.lookups) else { return };
        let id = form.id;
        if let Some((index, why)) = self.not_sold(&draft) {
            let Screen::Page(form) = &mut self.screen else { return };
            form.move_to(index);
            form.fields[index].error = Some(why);
            return;
        }
        if self.was_changed_outside(home) {
            self.message =
                Some("the file was changed by something else: it was read anew, look at this page again".into());
            let at = interview::pages(&self.draft).iter().position(|page| page.id == id).unwrap_or_default();
            return self.go_to(at);
        }
        let Screen::Page(form) = &mut self.screen else { return };
        let new = self.path.is_none();
        let path = self
            .path
            .clone()
            .or_else(|| self.target.clone())
            .unwrap_or_else(|| self.folder.join(format!("{}.toml", draft.head("name").unwrap_or("landfall"))));
        if let Err(failure) = home.save(&path, &draft.text(), new) {
            let view = FailureView::from(&failure);
            let text = format!("{}{}", view.message, view.hint.map(|hint| format!(": {hint}")).unwrap_or_default());
            match form.fields.first_mut() {
                Some(field) if new => {
                    field.error = Some(text);
                    form.focus = 0;
                }
                _ => self.message = Some(text),
            }
            return;
        }
        self.orders.push(Order::At(path.clone()));
        let name = path.display().to_string();
        if !self.files.contains(&name) {
            self.files.insert(0, name);
        }
        self.path = Some(path);
        self.saved = draft.text();
        self.draft = draft;
        let at = interview::pages(&self.draft).iter().position(|page| page.id == id).unwrap_or_default();
        self.go_to(at + 1);
    }

    /// Does the file say something else than when it was read or written last? Then it is read anew. One that cannot be
    /// read is written again.
    fn was_changed_outside(&mut self, home: &mut dyn Home) -> bool {
        let Some(text) = self.path.as_ref().and_then(|path| home.open(path).ok()) else { return false };
        if text == self.saved {
            return false;
        }
        let Ok(draft) = Draft::parse(&text) else { return false };
        self.saved = text;
        self.draft = draft;
        true
    }

    /// The field of a page whose place or plan the provider does not have, and what it says.
    fn not_sold(&self, draft: &Draft) -> Option<(usize, String)> {
        let Screen::Page(form) = &self.screen else { return None };
        let of = |wanted: fn(&Lookup) -> bool| {
            form.fields.iter().position(|field| field.question.lookup.as_ref().is_some_and(wanted))
        };
        let (place, plan) =
            (of(|lookup| matches!(lookup, Lookup::Places(_)))?, of(|l| matches!(l, Lookup::Plans(..)))?);
        let provider = draft.get("server", "provider")?;
        let priced = self.catalogs.iter().find(|priced| priced.catalog.provider == provider)?;
        let failure = estimate::bill(&priced.catalog, &interview::wanted_for_bill(draft)).err()?;
        let index = match &failure.message {
            text if text.contains("no location") => place,
            text if text.contains("no plan") => plan,
            // What is sold out in a list some weeks old may be there again.
            _ => return None,
        };
        Some((index, format!("{} ({}): choose from the list", failure.message, priced.source)))
    }

    /// Opens the playbook at `path`.
    pub fn open(&mut self, path: &Path, home: &mut dyn Home) -> Result<(), String> {
        let text = home.open(path).map_err(|failure| {
            let view = FailureView::from(&failure);
            view.causes.iter().fold(view.message, |text, cause| format!("{text}: {cause}"))
        })?;
        self.draft = Draft::parse(&text).map_err(|why| format!("{} is no playbook: {why}", path.display()))?;
        self.saved = text;
        self.path = Some(path.to_owned());
        self.orders.push(Order::At(path.to_owned()));
        Ok(())
    }

    /// Goes on with the playbook that was opened, as `beginning` says.
    pub fn begin(&mut self, beginning: Beginning) {
        match beginning {
            Beginning::Rehearse => self.run(Purpose::Rehearsal),
            _ => self.go_to(interview::next_page(&self.draft)),
        }
        if beginning == Beginning::Recover
            && let Screen::Review(review) = &mut self.screen
        {
            review.action = 1;
        }
    }

    /// Begins a run.
    pub fn run(&mut self, purpose: Purpose) {
        let Some(path) = self.path.clone() else { return };
        match purpose {
            Purpose::Rehearsal => self.orders.push(Order::Rehearse(path)),
            Purpose::Replay => {}
            Purpose::Apply | Purpose::Destroy => {
                // First every secret must be there.
                if self.then.is_none() {
                    self.then = Some(purpose);
                    self.orders.push(Order::Missing(path));
                    return;
                }
                self.then = None;
                self.orders.push(Order::Run { path, destroy: purpose == Purpose::Destroy });
            }
        }
        self.screen = Screen::Run(Box::new(RunScreen::new(purpose)));
    }

    /// What is said once the screen is gone: how it ended, what exists, and how to go on.
    pub fn parting(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let path = self.path.as_ref().map(|path| path.display().to_string());
        if let Screen::Run(run) = &self.screen
            && run.purpose != Purpose::Replay
        {
            match (&run.progress.end, run.over) {
                (_, None) => lines.push(
                    "stopped in the middle: what was under way may exist, and cost money; the next run looks first"
                        .into(),
                ),
                (Some(end), Some(_)) => {
                    if let Some(failure) = &end.failure {
                        lines.push(format!("failed: {}", failure.message));
                        lines.extend(failure.hint.iter().map(|hint| format!("what to do: {hint}")));
                    }
                    if !end.exists.is_empty() {
                        let costs = totals(&end.bill);
                        let costs = if costs.is_empty() { costs } else { format!(", for {costs} a month") };
                        lines.push(format!("what exists now{costs}: {}", end.exists.join(", ")));
                    }
                }
                (None, Some(_)) => {}
            }
        }
        if let (Some(path), false) = (path, matches!(self.screen, Screen::Done)) {
            lines.push(format!("every page you finished is in {path}; `landfall --playbook {path}` goes on"));
        } else if matches!(self.screen, Screen::Page(_)) {
            lines.push("nothing was saved yet: the first page had not been finished".into());
        }
        lines
    }

    fn run_ended(&mut self, code: u8, home: &mut dyn Home) {
        if let Screen::Run(run) = &mut self.screen {
            run.over = Some(code);
        }
        // The run may have written references into it.
        if let Some(path) = self.path.clone()
            && let Ok(text) = home.open(&path)
            && let Ok(draft) = Draft::parse(&text)
        {
            self.saved = text;
            self.draft = draft;
        }
    }
}
