use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use fastrand::Rng;
use landfall::front::tui::messages::News;
use landfall::front::tui::run_screen::Purpose;
use landfall::front::tui::state::Screen;
use landfall::interview;
use landfall::model::draft::Draft;
use landfall::model::playbook::Playbook;

use crate::screens::{drawn, rows};
use crate::stage::{COLOUR, KEY, Stage, failed, half_way, rehearsed};
use crate::world::told;

/// How many keys are pressed on every page.
const KEYS: usize = 10_000;
/// After so many, one begins at the page again.
const SITTING: usize = 250;

/// Letters of all kinds: of answers, of other alphabets, two cells wide, none at all, and what is no letter.
const LETTERS: &[char] = &[
    'a', 'b', 'e', 's', 't', '0', '4', '9', '.', '-', '_', '/', ':', '@', ' ', '=', ',', '"', '\'', '\\', '[', ']',
    '#', '{', '}', '$', '?', 'Ä', 'ß', 'ф', '表', '🚀', '\u{301}', '\u{200b}', '\u{202e}', '\u{feff}', '\u{85}',
];

const PASTED: &[&str] = &[
    "acme",
    "two\nlines",
    "\r\n\r\n",
    "me@acme.dev\n",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "name = \"x\"\n[[step]]",
    "{ secret = 'a' }",
    "\"\"\"",
    "e\u{301}e\u{301}e\u{301}",
];

/// Answers that are right in some field.
const RIGHT: &[&str] = &[
    "acme",
    "me@acme.dev",
    "acme.dev",
    "ghcr.io/acme/web:1.4.2",
    "203.0.113.7",
    "site",
    "PLAIN=1 KEY=generate:key",
    "40 EUR",
    "existing",
    "digitalocean",
    "neon",
    "none",
    "compose",
    "static",
    "2/4",
    "no",
    KEY,
];

/// What fingers do next: mostly one thing, sometimes a whole answer that may be right.
fn fingers(rng: &mut Rng) -> Vec<News> {
    if rng.u8(..8) > 0 {
        return vec![any_news(rng)];
    }
    let control_u = News::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
    let right = RIGHT[rng.usize(..RIGHT.len())].to_owned();
    vec![control_u, News::Paste(right), News::Key(KeyEvent::from(KeyCode::Enter))]
}

fn any_news(rng: &mut Rng) -> News {
    let codes = [
        KeyCode::Enter,
        KeyCode::Enter,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Esc,
        KeyCode::F(1),
        KeyCode::F(12),
        KeyCode::Insert,
    ];
    match rng.u8(0..20) {
        0..=8 => News::Key(KeyEvent::from(KeyCode::Char(LETTERS[rng.usize(..LETTERS.len())]))),
        9 => {
            // Not those that leave: that they do is tested elsewhere.
            let letter = ['u', 'u', 'u', 't', 'w', 'a', 'e', 'x'][rng.usize(..8)];
            News::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL))
        }
        10 | 11 => News::Paste(PASTED[rng.usize(..PASTED.len())].to_owned()),
        12 => {
            let kinds = [MouseEventKind::Down(MouseButton::Left), MouseEventKind::ScrollDown, MouseEventKind::ScrollUp];
            let (column, row) = (rng.u16(..130), rng.u16(..50));
            News::Mouse(MouseEvent { kind: kinds[rng.usize(..3)], column, row, modifiers: KeyModifiers::NONE })
        }
        13 => News::Resize,
        _ => News::Key(KeyEvent::from(codes[rng.usize(..codes.len())])),
    }
}

/// Is everything that was saved right? Every page that counts as answered holds answers its questions accept.
fn saved_is_right(stage: &Stage) {
    for (path, text) in &stage.home.files {
        let draft = Draft::parse(text).unwrap_or_else(|why| panic!("{}: {why}\n{text}", path.display()));
        assert_eq!(draft.text(), *text, "what is read is what was written");
        let next = interview::next_page(&draft);
        // Without a step it is no playbook yet.
        if next > 1 {
            Playbook::parse(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        }
        for page in interview::pages(&draft).iter().take(next) {
            for question in &page.questions {
                let key = question.key.as_text();
                match draft.answer(question) {
                    Some(answer) => drop(question.read(&answer).unwrap_or_else(|why| panic!("{key}: {why}\n{text}"))),
                    None => assert!(
                        question.optional || question.may_remove_step() || draft.is_beyond(question),
                        "{key} has no answer\n{text}"
                    ),
                }
            }
            assert_eq!(interview::problems(&draft, page), [], "{}\n{text}", page.id);
        }
    }
}

/// No escape sequence and no control character ever gets to the screen.
fn screen_is_whole(stage: &mut Stage, rng: &mut Rng) {
    let size = (rng.u16(1..140), rng.u16(1..50));
    let buffer = drawn(stage, size);
    assert!(buffer.content.iter().all(|cell| !cell.symbol().chars().any(char::is_control)));
}

fn mash(name: &str, begin: impl Fn() -> Stage) {
    let mut rng = Rng::with_seed(name.bytes().map(u64::from).sum());
    let (mut pressed, mut saves) = (0, 0);
    while pressed < KEYS {
        let mut stage = begin();
        let saved = stage.home.saves;
        for _ in 0..SITTING {
            let before = stage.home.saves;
            for news in fingers(&mut rng) {
                stage.news(news);
                pressed += 1;
            }
            if stage.home.saves != before {
                saved_is_right(&stage);
            }
            if rng.u8(..50) == 0 {
                screen_is_whole(&mut stage, &mut rng);
            }
            if stage.state.quit.is_some() {
                break;
            }
        }
        saves += stage.home.saves - saved;
    }
    told(&format!("{name}: {pressed} random keys, {saves} saves, all right"));
}

#[test]
fn random_keys_on_every_page_of_questions_save_nothing_wrong() {
    std::thread::scope(|scope| {
        for ids in [["project", "provider", "size", "access"], ["hardening", "database", "app", "dns"]] {
            scope.spawn(move || ids.map(|id| mash(id, || Stage::at(COLOUR, id))));
        }
    });
}

#[test]
fn random_keys_anywhere_else_do_no_harm() {
    mash("start", || Stage::new(COLOUR));
    mash("review", || Stage::reviewing(COLOUR));
    mash("run", || Stage::running(COLOUR, Purpose::Apply, &half_way(), None));
    mash("approve", || Stage::running(COLOUR, Purpose::Apply, &half_way()[..2], None));
    mash("failed", || Stage::running(COLOUR, Purpose::Apply, &failed(), Some(4)));
    mash("rehearsed", || Stage::running(COLOUR, Purpose::Rehearsal, &rehearsed(), Some(0)));
    mash("show", || Stage::running(COLOUR, Purpose::Replay, &failed(), Some(4)));
    mash("done", || {
        let mut stage = Stage::reviewing(COLOUR);
        stage.state.screen = Screen::Done;
        stage
    });
}

#[test]
fn two_hundred_sizes_in_a_row_are_survived() {
    let mut rng = Rng::with_seed(200);
    for mut stage in [Stage::at(COLOUR, "app"), Stage::running(COLOUR, Purpose::Apply, &failed(), Some(4))] {
        for _ in 0..200 {
            stage.news(News::Resize);
            screen_is_whole(&mut stage, &mut rng);
        }
        assert!(rows(&drawn(&stage, (80, 24)), 0)[0].contains("landfall"));
    }
}

#[test]
fn whatever_is_typed_or_pasted_into_any_field_is_accepted_or_refused_with_a_reason() {
    let long = |letter: &str| letter.repeat(300);
    let hostile = [
        "two\nlines".to_owned(),
        "\u{1b}[31mred\u{7}".to_owned(),
        "\u{0}\u{1}\u{7f}\u{9b}".to_owned(),
        "表示".to_owned(),
        "e\u{301}\u{301}\u{301}".to_owned(),
        "\u{202e}evil".to_owned(),
        "🚀👩‍👩‍👧".to_owned(),
        "' OR 1=1; $(rm -rf /) `x` \\".to_owned(),
        "\"\"\"".to_owned(),
        long("a"),
        long("表"),
        long("e\u{301}"),
        long("a b "),
        "x".repeat(5_000),
    ];
    let (mut accepted, mut refused) = (0, 0);
    for id in ["project", "provider", "size", "access", "hardening", "database", "app", "dns"] {
        for focus in 0.. {
            let Some(mut stage) = Stage::focused(COLOUR, id, focus) else { break };
            for (round, text) in hostile.iter().enumerate() {
                stage.control('u');
                let Screen::Page(form) = &stage.state.screen else { unreachable!() };
                let (asked, focus) = (form.fields[form.focus].question.clone(), form.focus);
                let key = asked.key.as_text();
                stage.news(News::Paste(text.clone()));
                let Screen::Page(form) = &stage.state.screen else { unreachable!() };
                let told_at_once = form.fields[focus].error.is_some();
                let taken = form.fields[focus].input.value().to_owned();
                assert!(!taken.chars().any(char::is_control), "{key}: {taken:?}");
                let screen = rows(&drawn(&stage, (80, 24)), 0);
                assert!(screen.iter().all(|row| unicode_width::UnicodeWidthStr::width(row.as_str()) <= 80), "{key}");
                let right = asked.read(&taken).is_ok();
                let before = stage.home.saves;
                stage.press(KeyCode::Enter);
                let error = match &stage.state.screen {
                    Screen::Page(form) if form.id == id => form.fields.get(focus).and_then(|field| field.error.clone()),
                    _ => None,
                };
                if right || taken.is_empty() {
                    accepted += 1;
                } else {
                    refused += 1;
                    assert!(error.is_some_and(|why| !why.is_empty()), "{key}: {taken:?} is refused without a reason");
                    assert_eq!(stage.home.saves, before, "{key}: {taken:?}");
                }
                let whole = !text.contains('\n') && text.chars().count() <= 2000 && !text.chars().any(char::is_control);
                assert!(whole || told_at_once || taken.len() < text.len(), "{key}, {round}");
                saved_is_right(&stage);
                if !matches!(&stage.state.screen, Screen::Page(form) if form.id == id && form.focus == focus) {
                    stage = Stage::focused(COLOUR, id, focus).unwrap();
                }
            }
        }
    }
    told(&format!("hostile answers: {accepted} accepted, {refused} refused with a reason"));
}
