use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use landfall::front::tui::look::Look;
use landfall::front::tui::messages::{Home, Missing, News, Order, Shelf};
use landfall::front::tui::run_screen::{Purpose, RunScreen};
use landfall::front::tui::state::{Screen, State};
use landfall::model::event::{BillLine, ChangeView, Event, FailureView, VERSION, What};
use landfall::model::failure::{Failure, Kind};
use landfall::model::question::{Choice, Choices, Lookup};

/// In colour and Unicode.
pub(crate) const COLOUR: Look = Look { colour: true, ascii: false };
/// A key that nobody has the other half of.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me@laptop";

/// What a newcomer types; everything else is taken as it is offered.
pub(crate) const TYPED: &[(&str, &str)] = &[
    ("name", "acme"),
    ("domain", "acme.dev"),
    ("e-mail", "me@acme.dev"),
    ("whose", "supabase"),
    ("organisation", "acme"),
    ("image", "ghcr.io/acme/web:1.4.2"),
];

/// A disk that is none.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<PathBuf, String>,
    /// How often something was saved.
    pub(crate) saves: usize,
}

impl Home for Memory {
    fn save(&mut self, path: &Path, text: &str, new: bool) -> Result<(), Failure> {
        if new && self.files.contains_key(path) {
            return Err(Failure::new(Kind::Playbook, format!("{} is there already", path.display())));
        }
        self.saves += 1;
        self.files.insert(path.to_owned(), text.to_owned());
        Ok(())
    }

    fn open(&mut self, path: &Path) -> Result<String, Failure> {
        let text = self.files.get(path).cloned();
        text.ok_or_else(|| Failure::new(Kind::Playbook, format!("there is no {}", path.display())))
    }

    fn shelf(&self, _: &Path) -> Shelf {
        Shelf::Keyring
    }
}

/// A wizard on no terminal, and what stands around it.
pub(crate) struct Stage {
    pub(crate) state: State,
    pub(crate) home: Memory,
    /// Everything that was ordered, as text.
    pub(crate) ordered: Vec<String>,
}

impl Stage {
    pub(crate) fn new(look: Look) -> Stage {
        let files = vec!["acme.toml".to_owned(), "playbooks/solo-full.toml".to_owned()];
        let mut state = State::new(look, PathBuf::new(), files);
        state.clock = || second(95);
        state.now = second(95);
        let hint = "https://dash.cloudflare.com/profile/api-tokens: Zone Read, DNS Edit, Zone Settings Edit";
        state.token_hints.insert("cloudflare".to_owned(), hint.to_owned());
        Stage { state, home: Memory::default(), ordered: vec![] }
    }

    /// A wizard in which everything was answered up to the page called `id`.
    pub(crate) fn at(look: Look, id: &str) -> Stage {
        let mut stage = Stage::new(look);
        stage.press(KeyCode::Enter);
        while !stage.is_at(id) {
            if matches!(stage.state.screen, Screen::Review(_)) {
                panic!("there is no page {id}");
            }
            stage.answer();
        }
        stage
    }

    /// The same, with every page answered.
    pub(crate) fn reviewing(look: Look) -> Stage {
        let mut stage = Stage::new(look);
        stage.press(KeyCode::Enter);
        while !matches!(stage.state.screen, Screen::Review(_)) {
            stage.answer();
        }
        stage
    }

    /// A wizard at the field `focus` of the page called `id`, if there is one.
    pub(crate) fn focused(look: Look, id: &str, focus: usize) -> Option<Stage> {
        let mut stage = Stage::at(look, id);
        for _ in 0..focus {
            stage.answer();
            if !stage.is_at(id) {
                return None;
            }
        }
        Some(stage)
    }

    pub(crate) fn is_at(&self, id: &str) -> bool {
        matches!(&self.state.screen, Screen::Page(form) if form.id == id)
    }

    /// Answers the field with the focus as a newcomer does.
    pub(crate) fn answer(&mut self) {
        let Screen::Page(form) = &self.state.screen else { panic!("no page") };
        let asked = form.focused().unwrap().question.ask;
        let typed = TYPED.iter().find(|(ask, _)| *ask == asked).map(|(_, typed)| *typed);
        if let Some(typed) = typed {
            self.type_text(typed);
        }
        self.press(KeyCode::Enter);
    }

    pub(crate) fn type_text(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(KeyCode::Char(c)));
    }

    pub(crate) fn press(&mut self, code: KeyCode) {
        self.news(News::Key(KeyEvent::from(code)));
    }

    pub(crate) fn control(&mut self, letter: char) {
        self.news(News::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)));
    }

    /// Hands news in, and answers what is ordered as a machine without tokens does.
    pub(crate) fn news(&mut self, news: News) {
        self.state.update(news, &mut self.home);
        while !self.state.orders.is_empty() {
            for order in std::mem::take(&mut self.state.orders) {
                self.ordered.push(format!("{order:?}"));
                let news = match order {
                    Order::Look(Lookup::PublicKeys) => News::Found(Lookup::PublicKeys, Ok(Some(keys()))),
                    Order::Look(lookup) => News::Found(lookup, Ok(None)),
                    Order::Catalog(provider) => News::Catalog(provider, Ok(None)),
                    Order::Check(_) => News::Checked(vec![]),
                    _ => continue,
                };
                self.state.update(news, &mut self.home);
            }
        }
    }

    /// A run on the screen, as far as `events` tell.
    pub(crate) fn running(look: Look, purpose: Purpose, events: &[Event], over: Option<u8>) -> Stage {
        let mut stage = Stage::reviewing(look);
        let mut run = RunScreen::new(purpose);
        events.iter().for_each(|event| run.progress.take(event));
        run.over = over;
        stage.news(News::Usual([("supabase/project".to_owned(), 118_000)].into()));
        stage.state.screen = Screen::Run(Box::new(run));
        stage
    }
}

fn keys() -> Choices {
    let all = vec![
        Choice::new(KEY, "in the agent"),
        Choice::new("make a new pair of keys", "an ed25519 key in ~/.ssh, without a passphrase"),
    ];
    Choices { columns: vec![], all, source: String::new() }
}

/// So many seconds into a certain day.
pub(crate) fn second(seconds: i64) -> Timestamp {
    "2026-09-03T10:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds)
}

/// One event, at a second of that day.
pub(crate) fn event(at: i64, event: What) -> Event {
    Event { v: VERSION, seq: 1, at: second(at), event }
}

fn change(step: &str, address: &str) -> ChangeView {
    let verb = "create".to_owned();
    ChangeView { address: address.into(), step: step.into(), verb, fields: vec![], loses_data: false, conflict: None }
}

/// A bill with two currencies.
pub(crate) fn a_bill() -> Vec<BillLine> {
    let line = |address: &str, what: &str, monthly: &str, currency: &str| BillLine {
        address: address.into(),
        what: what.into(),
        monthly: monthly.into(),
        currency: currency.into(),
    };
    vec![
        line("hetzner/server/web", "server web: cx23 in fsn1, 20 TB of traffic included", "5.49", "EUR"),
        line("supabase/project/database", "project database: Pro plan", "25.00", "USD"),
    ]
}

/// A run that has come half of the way.
pub(crate) fn half_way() -> Vec<Event> {
    let started = |address: &str| What::ChangeStarted { address: address.into() };
    let done = |address: &str, took_ms: u64| What::ChangeDone { address: address.into(), took_ms };
    vec![
        event(0, What::RunStarted { command: "apply".into(), playbook: "acme".into(), run: Some("acme-1".into()) }),
        event(
            1,
            What::Planned {
                changes: vec![
                    change("web", "hetzner/ssh-key/web-1"),
                    change("web", "hetzner/server/web"),
                    change("hardening", "host/web/sshd/settings"),
                    change("hardening", "host/web/file//etc/sysctl.d/90-landfall-and-a-rather-long-name-of-it.conf"),
                    change("database", "supabase/project/database"),
                    change("app", "host/web/compose/app"),
                    change("dns", "cloudflare/record/app.acme.dev/A"),
                ],
                bill: a_bill(),
                orphans: vec![],
            },
        ),
        event(2, What::Intended { addresses: vec![] }),
        event(2, started("hetzner/ssh-key/web-1")),
        event(3, done("hetzner/ssh-key/web-1", 512)),
        event(3, started("supabase/project/database")),
        event(4, started("hetzner/server/web")),
        event(21, done("hetzner/server/web", 17_210)),
        event(22, started("host/web/sshd/settings")),
        event(24, done("host/web/sshd/settings", 1_312)),
        event(24, started("host/web/file//etc/sysctl.d/90-landfall-and-a-rather-long-name-of-it.conf")),
        event(25, What::Retrying { what: "GET /v1/projects".into(), attempt: 2, wait_ms: 2_000 }),
        event(26, What::Note { text: "the host shares its kernel with another machine: vm.mmap_min_addr and 12 more cannot be set from it, only written down".into() }),
        event(27, What::Waiting { what: "the project to come up (COMING_UP)".into() }),
    ]
}

/// How that run fails.
pub(crate) fn failed() -> Vec<Event> {
    let failure = FailureView {
        kind: Kind::Human,
        message: "supabase does not accept the token".into(),
        causes: vec!["401 Unauthorized: JWT could not be decoded".into()],
        hint: Some("make a new one at https://supabase.com/dashboard/account/tokens".into()),
    };
    let mut events = half_way();
    events
        .push(event(29, What::ChangeFailed { address: "supabase/project/database".into(), failure: failure.clone() }));
    events.push(event(
        30,
        What::RunFinished {
            code: 4,
            changes: 3,
            failure: Some(failure),
            exists: vec!["hetzner/server/web".into(), "hetzner/ssh-key/web-1".into()],
            bill: a_bill().into_iter().take(1).collect(),
            took_ms: 30_120,
        },
    ));
    events
}

/// A rehearsal that went well.
pub(crate) fn rehearsed() -> Vec<Event> {
    let part =
        |at, name: &str| event(at, What::RunStarted { command: name.into(), playbook: "acme".into(), run: None });
    let end = |at: i64, changes| {
        event(
            at,
            What::RunFinished {
                code: 0,
                changes,
                failure: None,
                exists: vec![],
                bill: vec![],
                took_ms: u64::try_from(at).unwrap() * 1000,
            },
        )
    };
    let mut events = vec![part(0, "rehearse")];
    events.push(part(1, "apply"));
    events.extend(half_way().into_iter().skip(1).take(8));
    events.push(end(40, 7));
    for (what, saw) in [("second apply", "0 changes"), ("page https://app.acme.dev/", "HTTP/2 200")] {
        events.push(event(41, What::Probe { what: what.into(), passed: true, saw: saw.into() }));
    }
    events.push(end(64, 7));
    events
}

/// A secret that is missing.
pub(crate) fn missing() -> Vec<Missing> {
    let hint = "https://dash.cloudflare.com/profile/api-tokens: Zone Read, DNS Edit, Zone Settings Edit".to_owned();
    vec![Missing { name: "cloudflare-token".into(), hint }, Missing { name: "pay-key".into(), hint: String::new() }]
}
