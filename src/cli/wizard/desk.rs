//! Those who do the work for the screen: orders come in, news go out. Nothing here draws, nothing there waits.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::cli::go::{doors, runtime};
use crate::cli::load::{Cupboard, Loaded, Refused, check_with};
use crate::cli::wizard::{Told, lookups};
use crate::cli::{Settings, rehearse, secrets};
use crate::cupboard::lockline::LockLine;
use crate::cupboard::vault::file::Passphrase;
use crate::cupboard::vault::{Place, Vault};
use crate::cupboard::{disk, journal};
use crate::doors::Doors;
use crate::doors::http::{Http, Pace};
use crate::engine::{Command, Goal, Run, Wishes};
use crate::front::tui::messages::{Missing, News, NotKept, Order, PASSPHRASE, Shelf, Wrong};
use crate::model::event::{Event, FailureView, Progress, Report, VERSION, What};
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::playbook::Playbook;
use crate::model::question::{Choices, Lookup};
use crate::model::secret::Secret;
use crate::providers;
use crate::text::duration;

impl Passphrase for Told {
    fn get(&self, path: &Path, _new: bool) -> Result<Secret, Failure> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told = told.or_else(|| std::env::var("LANDFALL_PASSPHRASE").ok()).filter(|text| !text.is_empty());
        told.map(Secret::new).ok_or_else(|| {
            Failure::new(Kind::Human, format!("{} is locked", path.display())).hint("give its passphrase")
        })
    }
}

/// The desk.
pub(super) struct Desk {
    settings: Settings,
    news: Sender<News>,
    passphrase: Told,
    /// The playbook in hand.
    at: Mutex<Option<PathBuf>>,
    stop: Arc<AtomicBool>,
    /// Where a run listens for a word.
    commands: Mutex<Option<mpsc::Sender<Command>>>,
}

impl Desk {
    pub(super) fn open(settings: Settings, news: Sender<News>) -> Desk {
        Desk {
            settings,
            news,
            passphrase: Told::default(),
            at: Mutex::default(),
            stop: Arc::default(),
            commands: Mutex::default(),
        }
    }

    /// Works until nobody gives orders any more.
    pub(super) fn work(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let Ok(runtime) = runtime() else { return };
        let local = LocalSet::new();
        let desk = Rc::new(self);
        local.block_on(&runtime, async move {
            while let Some(order) = orders.recv().await {
                let desk = desk.clone();
                tokio::task::spawn_local(async move { desk.carry_out(order).await });
            }
        });
    }

    fn tell(&self, news: News) {
        // A screen that is gone needs no news.
        let _ = self.news.send(news);
    }

    /// This is the playbook in hand.
    pub(super) fn is_at(&self, path: PathBuf) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
    }

    fn path(&self) -> PathBuf {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        at.unwrap_or_else(|| PathBuf::from("landfall.toml"))
    }

    async fn carry_out(&self, order: Order) {
        match order {
            Order::At(path) => self.is_at(path),
            Order::Catalog(provider) => {
                let result = self.catalog(&provider).await.map_err(|failure| FailureView::from(&failure));
                self.tell(News::Catalog(provider, result));
            }
            Order::Look(lookup) => {
                let result = self.look(&lookup).await.map_err(|failure| FailureView::from(&failure));
                self.tell(News::Found(lookup, result));
            }
            Order::MakeKey => {
                let made = lookups::make_key().map_err(|failure| FailureView::from(&failure));
                self.tell(News::KeyMade(made));
            }
            Order::Check(path) => self.tell(News::Checked(self.problems(&path))),
            Order::Missing(path) => {
                let missing = self.missing(&path).map_err(|failure| FailureView::from(&failure));
                self.tell(News::Missing(missing));
            }
            Order::Keep { name, value, place, passphrase } => {
                let kept = self.keep(&name, value, place, passphrase).await;
                self.tell(News::Kept(kept));
            }
            Order::Rehearse(path) => {
                self.stop.store(false, Ordering::Relaxed);
                let (listener, heard) = mpsc::unbounded_channel();
                let settings = Settings { listener: Some(listener), ..self.settings.clone() };
                let play = async {
                    let loaded = self.load(&path)?;
                    let wishes = rehearse::Wishes::default();
                    rehearse::rehearsal(&settings, &path, &loaded, &wishes, &self.stop).await
                };
                self.follow(heard, play).await;
            }
            Order::Run { path, destroy } => {
                self.stop.store(false, Ordering::Relaxed);
                self.tell(News::Usual(journal::usual_times(&self.settings.state)));
                let goal = if destroy { Goal::Destroy } else { Goal::Apply };
                let (listener, heard) = mpsc::unbounded_channel();
                let run = async {
                    let loaded = self.load(&path)?;
                    Ok(self.run(loaded, goal, listener).await)
                };
                self.follow(heard, run).await;
            }
            Order::Approve { losing_data } => self.command(Command::Approve { losing_data }).await,
            Order::Decline => {
                let failure = Failure::new(Kind::Stopped, "you did not approve the plan").hint("nothing was done");
                self.command(Command::Decline(failure)).await;
            }
            Order::Stop => self.stop.store(true, Ordering::Relaxed),
        }
    }

    async fn command(&self, command: Command) {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(commands) = commands {
            let _ = commands.send(command).await;
        }
    }

    /// Hands every event on until `doing` is over, and then how it ended.
    async fn follow(
        &self,
        mut heard: mpsc::UnboundedReceiver<Event>,
        doing: impl Future<Output = Result<u8, Failure>>,
    ) {
        tokio::pin!(doing);
        let ended = loop {
            tokio::select! {
                ended = &mut doing => break ended,
                Some(event) = heard.recv() => self.tell(News::Event(event)),
            }
        };
        while let Ok(event) = heard.try_recv() {
            self.tell(News::Event(event));
        }
        let code = match ended {
            Ok(code) => code,
            Err(failure) => {
                // It ended before it could tell so itself.
                let what = What::RunFinished {
                    code: failure.kind.exit_code(),
                    changes: 0,
                    failure: Some(FailureView::from(&failure)),
                    exists: vec![],
                    bill: vec![],
                    took_ms: 0,
                };
                self.tell(News::Event(Event { v: VERSION, seq: 0, at: jiff::Timestamp::now(), event: what }));
                failure.kind.exit_code()
            }
        };
        self.tell(News::RunEnded(code));
    }

    async fn run(&self, loaded: Loaded, goal: Goal, events: mpsc::UnboundedSender<Event>) -> u8 {
        let (answers, commands) = mpsc::channel(1);
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = Some(answers);
        let doors = Arc::new(doors(&self.settings, &loaded.cupboard, goal));
        let run = Run {
            playbook: loaded.playbook,
            sources: loaded.sources,
            doors,
            state: self.settings.state.clone(),
            events,
            commands,
            wishes: Wishes::default(),
            stop: self.stop.clone(),
        };
        run.go(goal).await.code
    }

    fn load(&self, path: &Path) -> Result<Loaded, Failure> {
        let text = disk::read_playbook(path)?;
        check_with(path, &text, Box::new(self.passphrase.clone())).map_err(|refused| match refused {
            Refused::Unread(failure) => failure,
            Refused::Wrong(problems) => {
                let text: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
                Failure::new(Kind::Playbook, text.join("; ")).hint("the review shows where")
            }
        })
    }

    /// What is wrong with the whole playbook at `path`, each with its line.
    pub(super) fn problems(&self, path: &Path) -> Vec<String> {
        let text = match disk::read_playbook(path) {
            Ok(text) => text,
            Err(failure) => return vec![failure.message],
        };
        match check_with(path, &text, Box::new(self.passphrase.clone())) {
            Ok(_) => vec![],
            Err(Refused::Unread(failure)) => vec![failure.message],
            Err(Refused::Wrong(problems)) => problems
                .into_iter()
                .map(|problem| {
                    let hint = problem.expected.or(problem.hint).map(|hint| format!(" ({hint})")).unwrap_or_default();
                    format!("line {}: {}{hint}", problem.line, problem.message)
                })
                .collect(),
        }
    }

    /// The vault of the playbook in hand.
    fn vault(&self) -> Result<Arc<Vault>, Failure> {
        let path = self.path();
        let name = std::fs::read_to_string(&path).ok().and_then(|text| name_in(&text));
        let name = name.or_else(|| Name::parse("landfall"));
        let name = name.ok_or_else(|| Failure::new(Kind::Failed, "the playbook has no name yet"))?;
        Ok(Arc::new(Vault::of(&name, &path, Box::new(self.passphrase.clone()))))
    }

    /// The ways out, and whether there is a token for `provider`.
    fn doors_for(&self, provider: &str) -> Result<Option<Doors>, Failure> {
        let vault = self.vault()?;
        let api = providers::find(provider).and_then(|provider| provider.api());
        let token = api.and_then(|api| Name::parse(api.token));
        // A locked file is no reason to ask for its passphrase before anything needs it.
        let has = token.is_some_and(|token| vault.locate(&token).ok().flatten().is_some());
        let references = Arc::new(LockLine::of(Path::new(""), ""));
        Ok(has.then(|| {
            // Somebody is looking at the page: rather a word soon than an answer late.
            let pace = Pace { retries: 2, timeout: Duration::from_secs(20), ..Pace::default() };
            let http = Http::new(self.settings.endpoints.clone(), vault.clone(), pace);
            Doors { http, ..doors(&self.settings, &Cupboard { keys: vault, references }, Goal::Plan) }
        }))
    }

    /// Tells the screen when something is tried again.
    fn report(&self) -> Report {
        let news = self.news.clone();
        let tell = move |progress| {
            if let Progress::Retrying(what, attempt, wait_ms) = progress {
                let wait = duration(Duration::from_millis(wait_ms));
                let _ = news.send(News::Trying(format!("{what} did not go well; try {attempt} in {wait}")));
            }
        };
        Report::new(tell, Arc::default())
    }

    async fn catalog(&self, provider: &str) -> Result<Option<crate::model::catalog::Catalog>, Failure> {
        let Some(doors) = self.doors_for(provider)? else { return Ok(None) };
        let Some(provider) = providers::find(provider) else { return Ok(None) };
        provider.catalog(&doors, &self.report()).await.transpose()
    }

    /// Looks up what an account or this machine holds; `None` where there is no token.
    pub(super) async fn look(&self, lookup: &Lookup) -> Result<Option<Choices>, Failure> {
        match lookup {
            Lookup::PublicKeys => Ok(Some(lookups::public_keys())),
            Lookup::Account(provider, what) => self.choices(provider, what).await,
            Lookup::Records(provider, zone) => self.choices(provider, &format!("record {zone}")).await,
            _ => Ok(None),
        }
    }

    async fn choices(&self, provider: &str, what: &str) -> Result<Option<Choices>, Failure> {
        let Some(doors) = self.doors_for(provider)? else { return Ok(None) };
        let Some(provider) = providers::find(provider) else { return Ok(None) };
        provider.choices(&doors, what, &self.report()).await.transpose()
    }

    fn missing(&self, path: &Path) -> Result<Vec<Missing>, Failure> {
        let loaded = self.load(path)?;
        match secrets::missing(&loaded) {
            Ok(names) => Ok(names
                .into_iter()
                .map(|name| {
                    let mut apis = providers::PROVIDERS.iter().filter_map(|provider| provider.api());
                    let api = apis.find(|api| api.token == name.as_str());
                    Missing { hint: api.map_or("", |api| api.make_token).to_owned(), name: name.to_string() }
                })
                .collect()),
            Err(failure) if failure.kind == Kind::Human => {
                Ok(vec![Missing { name: PASSPHRASE.to_owned(), hint: failure.message }])
            }
            Err(failure) => Err(failure),
        }
    }

    async fn keep(
        &self,
        name: &str,
        value: Secret,
        place: Shelf,
        passphrase: Option<Secret>,
    ) -> Result<String, NotKept> {
        let wrong = |failure: Failure| NotKept { why: FailureView::from(&failure), wrong: Wrong::Secret };
        if name == PASSPHRASE {
            lookups::tell(&self.passphrase, &value);
            let opened = self.vault().and_then(|vault| vault.names_in_file());
            if opened.is_err() {
                lookups::forget(&self.passphrase);
            }
            return opened.map(|_| "the vault is open".to_owned()).map_err(wrong);
        }
        let name =
            Name::parse(name).ok_or_else(|| Failure::new(Kind::Usage, format!("bad name `{name}`"))).map_err(wrong)?;
        let said = self.judge(&name, &value).await.map_err(wrong)?;
        if let Some(passphrase) = &passphrase {
            lookups::tell(&self.passphrase, passphrase);
        }
        self.put_away(name, value, place).await.map_err(|failure| {
            lookups::forget(&self.passphrase);
            let wrong = if passphrase.is_some() { Wrong::Passphrase } else { Wrong::Place };
            NotKept { why: FailureView::from(&failure), wrong }
        })?;
        Ok(said)
    }

    /// Says what the secret `value` opens. Fails where it is known to open nothing, or not enough.
    async fn judge(&self, name: &Name, value: &Secret) -> Result<String, Failure> {
        match secrets::judge(&self.settings, self.vault()?, name, value).await {
            Ok(Some(whose)) => Ok(format!("the token opens {whose}")),
            Ok(None) => Ok(format!("kept {name}")),
            Err(failure) if failure.kind == Kind::Unreachable => {
                Ok(format!("kept {name}, but nobody could be asked whether it is right"))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn put_away(&self, name: Name, value: Secret, place: Shelf) -> Result<(), Failure> {
        let (vault, place) = match place {
            Shelf::File => (self.vault()?, Place::File),
            Shelf::Keyring => (self.vault()?, Place::Keyring),
        };
        let kept = tokio::task::spawn_blocking(move || vault.keep(&name, value, Some(place))).await;
        let kept = kept.map_err(|e| Failure::new(Kind::Failed, "cannot keep it").because(e))?;
        kept.map(|_| ()).map_err(|failure| match place {
            Place::Keyring => failure.hint("press Tab: then it is kept in an encrypted file beside the playbook"),
            _ => failure,
        })
    }
}

/// The name in a playbook that need not be whole.
fn name_in(text: &str) -> Option<Name> {
    match Playbook::parse(text) {
        Ok(playbook) => Some(playbook.name),
        Err(_) => Name::parse(crate::model::draft::Draft::parse(text).ok()?.head("name")?),
    }
}
