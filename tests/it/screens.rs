use std::fmt::Write as _;

use crossterm::event::KeyCode;
use landfall::front::tui::dialog::{Dialog, SecretDialog};
use landfall::front::tui::look::Look;
use landfall::front::tui::messages::{News, Shelf};
use landfall::front::tui::run_screen::Purpose;
use landfall::front::tui::state::Screen;
use landfall::front::tui::view;
use landfall::interview;
use landfall::model::event::FailureView;
use landfall::model::failure::Kind;
use landfall::model::question::{Choice, Choices, Lookup};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr as _;

use crate::stage::{COLOUR, Stage, failed, half_way, missing, rehearsed};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];
const PLAIN: Look = Look { colour: false, ascii: false };
const ASCII: Look = Look { colour: true, ascii: true };

/// A page's name, and how one gets there.
type Way = (&'static str, fn(Look) -> Stage);

/// Every page there is.
const PAGES: &[Way] = &[
    ("start", Stage::new),
    ("open", |look| {
        let mut stage = Stage::new(look);
        stage.type_text("2");
        stage
    }),
    ("project", |look| {
        let mut stage = Stage::at(look, "project");
        stage.type_text("Acme & Sons");
        stage.press(KeyCode::Tab);
        stage.type_text("acme.dev");
        stage.press(KeyCode::PageDown);
        stage
    }),
    ("provider", |look| Stage::at(look, "provider")),
    ("size", |look| {
        let mut stage = Stage::at(look, "size");
        stage.press(KeyCode::Enter);
        stage
    }),
    ("access", |look| Stage::at(look, "access")),
    ("hardening", |look| Stage::at(look, "hardening")),
    ("database", |look| {
        let mut stage = Stage::at(look, "database");
        stage.answer();
        stage
    }),
    ("app", |look| {
        let mut stage = Stage::at(look, "app");
        stage.answer();
        stage
    }),
    ("dns", |look| {
        let mut stage = Stage::at(look, "dns");
        stage.answer();
        let zones = Choices {
            columns: vec!["state", "plan"],
            all: ["acme.dev", "acme.example"]
                .map(|zone| Choice { value: zone.into(), cells: vec!["active".into(), "Free".into()], usable: true })
                .to_vec(),
            source: "read now".into(),
        };
        stage.news(News::Found(Lookup::Account("cloudflare", "zone"), Ok(Some(zones))));
        stage
    }),
    ("token", |look| {
        let mut stage = Stage::at(look, "dns");
        let mut secret = SecretDialog::for_these(missing(), Shelf::Keyring).unwrap();
        secret.input = "not-a-good-token".into();
        secret.error = Some("cloudflare does not accept the token: Invalid API Token".into());
        stage.state.dialog = Some(Dialog::Secret(secret));
        stage
    }),
    ("bill", Stage::reviewing),
    ("made", |look| {
        let mut stage = Stage::reviewing(look);
        stage.press(KeyCode::Right);
        stage
    }),
    ("playbook", |look| {
        let mut stage = Stage::reviewing(look);
        stage.press(KeyCode::Left);
        stage
    }),
    ("run", |look| Stage::running(look, Purpose::Apply, &half_way(), None)),
    ("approve", |look| Stage::running(look, Purpose::Apply, &half_way()[..2], None)),
    ("failed", |look| Stage::running(look, Purpose::Apply, &failed(), Some(4))),
    ("rehearsed", |look| Stage::running(look, Purpose::Rehearsal, &rehearsed(), Some(0))),
    ("show", |look| Stage::running(look, Purpose::Replay, &failed(), Some(4))),
    ("done", |look| {
        let mut stage = Stage::reviewing(look);
        stage.state.screen = Screen::Done;
        stage
    }),
    ("keys", |look| {
        let mut stage = Stage::at(look, "hardening");
        stage.type_text("?");
        stage
    }),
    ("stop", |look| {
        let mut stage = Stage::running(look, Purpose::Apply, &half_way(), None);
        stage.control('c');
        stage
    }),
    ("undo", |look| {
        let mut stage = Stage::running(look, Purpose::Apply, &failed(), Some(4));
        for _ in 0..3 {
            stage.press(KeyCode::Down);
        }
        stage.press(KeyCode::Enter);
        stage.type_text("acne");
        stage.press(KeyCode::Enter);
        stage
    }),
    ("trouble", |look| {
        let mut stage = Stage::at(look, "size");
        let failure = FailureView {
            kind: Kind::Unreachable,
            message: "cannot reach hetzner".into(),
            causes: vec!["connection refused".into()],
            hint: Some("is the network up?".into()),
        };
        stage.news(News::Catalog("hetzner".into(), Err(failure)));
        stage
    }),
];

/// What is drawn of `stage` in so many cells.
pub(crate) fn drawn(stage: &Stage, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| drop(view::draw(frame, &stage.state))).unwrap();
    terminal.backend().buffer().clone()
}

/// The rows of `buffer` from the column `left` on, without spaces at their ends.
pub(crate) fn rows(buffer: &Buffer, left: u16) -> Vec<String> {
    let row = |y| {
        let mut text = String::new();
        let mut x = left;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            text.push_str(symbol);
            x += symbol.width().max(1) as u16;
        }
        text.trim_end().to_owned()
    };
    (0..buffer.area.height).map(row).collect()
}

/// How a cell looks, in words.
fn style(cell: &Cell) -> String {
    let mut words = Vec::new();
    for (colour, kind) in [(cell.fg, "on"), (cell.bg, "behind")] {
        if colour != Color::Reset {
            words.push(format!("{colour} {kind}").to_lowercase().replace(" on", ""));
        }
    }
    let known = [
        (Modifier::BOLD, "bold"),
        (Modifier::DIM, "dim"),
        (Modifier::REVERSED, "reversed"),
        (Modifier::UNDERLINED, "underlined"),
    ];
    words.extend(known.iter().filter(|(one, _)| cell.modifier.contains(*one)).map(|(_, word)| (*word).to_owned()));
    words.join(" ")
}

/// Stretches of a row that look alike: first column, column behind the last, style.
fn stretches(buffer: &Buffer, y: u16) -> Vec<(u16, u16, String)> {
    let mut all: Vec<(u16, u16, String)> = Vec::new();
    for x in 0..buffer.area.width {
        let style = style(&buffer[(x, y)]);
        match all.last_mut() {
            Some((_, end, last)) if *last == style => *end = x + 1,
            _ => all.push((x, x + 1, style)),
        }
    }
    all
}

fn styles(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let styled: Vec<String> = stretches(buffer, y)
            .into_iter()
            .filter(|(_, _, style)| !style.is_empty())
            .map(|(from, to, style)| format!("{from}-{to} {style}"))
            .collect();
        if !styled.is_empty() {
            let _ = writeln!(text, "{y}: {}", styled.join(", "));
        }
    }
    text
}

#[test]
fn every_page_looks_as_it_did_in_every_size_with_and_without_colour_and_in_ascii() {
    for (name, page) in PAGES {
        let mut text = String::new();
        for size in SIZES {
            let (width, height) = size;
            let colour = drawn(&page(COLOUR), size);
            let plain = drawn(&page(PLAIN), size);
            assert_eq!(rows(&colour, 0), rows(&plain, 0), "{name}: colours change what is told");
            let ascii = drawn(&page(ASCII), size);
            let _ = writeln!(text, "== {width}x{height}\n{}", rows(&colour, 0).join("\n"));
            let _ = writeln!(text, "== {width}x{height}, colours\n{}", styles(&colour));
            let _ = writeln!(text, "== {width}x{height}, without colour\n{}", styles(&plain));
            let _ = writeln!(text, "== {width}x{height}, ASCII\n{}", rows(&ascii, 0).join("\n"));
        }
        insta::with_settings!({ snapshot_path => "screens", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(*name, text);
        });
    }
}

#[test]
fn no_colour_is_none_and_ascii_is_ascii() {
    for (name, page) in PAGES {
        for size in SIZES {
            let plain = drawn(&page(PLAIN), size);
            assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset), "{name}");
            // Where one is must be seen without colours, too: by a sign in the text.
            let rail = rows(&plain, 0).iter().filter(|row| row.starts_with(" ▸ ")).count();
            let covered = page(PLAIN).state.dialog.is_some();
            assert!(rail == 1 || covered, "{name}: {rail} chapters are marked");
            let colour = drawn(&page(COLOUR), size);
            assert!(
                colour
                    .content
                    .iter()
                    .all(|cell| !matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)) && cell.bg == Color::Reset),
                "{name}: more than sixteen colours, or a background of our own"
            );
            let ascii = rows(&drawn(&page(ASCII), size), 0).join("\n");
            assert!(ascii.is_ascii(), "{name}: {ascii}");
        }
    }
}

/// Words with single spaces between them.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_is_cut_at_80_by_24() {
    let size = (80, 24);
    let pages = ["project", "provider", "size", "access", "hardening", "database", "app", "dns"];
    for id in pages {
        for focus in 0.. {
            let Some(stage) = Stage::focused(COLOUR, id, focus) else { break };
            let Screen::Page(form) = &stage.state.screen else { unreachable!() };
            let rows = rows(&drawn(&stage, size), 21);
            let text = words(&rows.join(" "));
            let asked = form.focused().unwrap().question.clone();
            for wanted in [&form.page().about, &asked.help] {
                assert!(text.contains(&words(wanted)), "{id}: `{wanted}` is not whole:\n{}", rows.join("\n"));
            }
            for field in &form.fields {
                assert!(text.contains(field.question.ask), "{id}: no `{}`", field.question.ask);
            }
            assert!(!text.contains("..."), "{id}, {}: something is shortened:\n{}", asked.ask, rows.join("\n"));
            // Everything to choose from is there, each with all that is said of it, if only by scrolling.
            let choices = form.choices(&stage.state.lookups);
            for (index, choice) in choices.all.iter().enumerate() {
                if asked.lookup == Some(Lookup::PublicKeys) {
                    break;
                }
                let mut moved = Stage::focused(COLOUR, id, focus).unwrap();
                let Screen::Page(form) = &mut moved.state.screen else { unreachable!() };
                form.put(choice.value.clone(), false);
                let rows = self::rows(&drawn(&moved, size), 21);
                let text = words(&rows.join(" "));
                for wanted in [vec![choice.value.clone()], choice.cells.clone()].concat() {
                    assert!(
                        text.contains(&words(&wanted)),
                        "{id}: `{wanted}` of choice {index} is not whole:\n{}",
                        rows.join("\n")
                    );
                }
            }
        }
    }
    for (name, page) in PAGES {
        let stage = page(COLOUR);
        let rows = rows(&drawn(&stage, size), 0);
        assert!(!rows.iter().any(|row| row.contains("...")), "{name}: something is shortened:\n{}", rows.join("\n"));
    }
}

#[test]
fn what_a_failure_says_and_offers_is_whole_at_80_by_24() {
    let stage = Stage::running(COLOUR, Purpose::Apply, &failed(), Some(4));
    let text = words(&rows(&drawn(&stage, (80, 24)), 21).join(" "));
    for wanted in [
        "what happened: supabase does not accept the token",
        "because: 401 Unauthorized: JWT could not be decoded",
        "what to do: make a new one at https://supabase.com/dashboard/account/tokens",
        "what exists now, for 5.49 EUR a month: hetzner/server/web, hetzner/ssh-key/web-1",
        "give another token",
        "try again: what is done already stays done",
        "change an answer",
        "take away what exists",
        "leave: the same command goes on later",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
}

#[test]
fn the_last_page_tells_everything_at_80_by_24() {
    let mut stage = Stage::reviewing(COLOUR);
    stage.state.screen = Screen::Done;
    let text = words(&rows(&drawn(&stage, (80, 24)), 21).join(" "));
    for (label, told) in interview::farewell(&stage.state.draft, "acme.toml") {
        assert!(text.contains(&words(&label)) && text.contains(&words(&told)), "no {label}: {told} in:\n{text}");
    }
}

/// A picture of a screen, for documents: text and rectangles, nothing else.
fn picture(buffer: &Buffer) -> String {
    const CELL: (f32, f32) = (8.4, 18.0);
    const MARGIN: f32 = 12.0;
    let (columns, lines) = (f32::from(buffer.area.width), f32::from(buffer.area.height));
    let (width, height) = (columns * CELL.0 + 2.0 * MARGIN, lines * CELL.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-size=\"14\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n"
    );
    for y in 0..buffer.area.height {
        for (from, to, _) in stretches(buffer, y) {
            let cell = &buffer[(from, y)];
            let text: String = (from..to).map(|x| buffer[(x, y)].symbol()).collect();
            let reversed = cell.modifier.contains(Modifier::REVERSED);
            let decorated = cell.modifier.contains(Modifier::UNDERLINED);
            if text.trim().is_empty() && !reversed && !decorated {
                continue;
            }
            let colour = match cell.fg {
                Color::Red => "#ff7b72",
                Color::Green => "#7ee787",
                Color::Magenta => "#d2a8ff",
                _ if cell.modifier.contains(Modifier::DIM) => "#8b949e",
                _ => "#e6edf3",
            };
            let (left, top) = (MARGIN + f32::from(from) * CELL.0, MARGIN + f32::from(y) * CELL.1);
            let long = f32::from(to - from) * CELL.0;
            if reversed {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{long:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                    CELL.1
                );
            }
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = writeln!(
                svg,
                "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{long:.1}\" fill=\"{}\" xml:space=\"preserve\"{}{}>{escaped}</text>",
                top + 13.5,
                if reversed { "#16181d" } else { colour },
                if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" },
                if decorated { " text-decoration=\"underline\"" } else { "" },
            );
        }
    }
    svg + "</svg>\n"
}

#[test]
fn pictures_in_the_documents_are_current() {
    let mut old = Vec::new();
    for (name, page) in PAGES {
        let path = format!("docs/screens/{name}.svg");
        let wanted = picture(&drawn(&page(COLOUR), (112, 32)));
        if std::env::var_os("LANDFALL_BLESS").is_some() {
            std::fs::create_dir_all("docs/screens").unwrap();
            std::fs::write(&path, &wanted).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != wanted {
            old.push(path);
        }
    }
    assert!(old.is_empty(), "{old:?} are old: LANDFALL_BLESS=1 cargo test pictures writes them anew");
    let told = std::fs::read_to_string("docs/screens.md").unwrap_or_default();
    for (name, _) in PAGES {
        assert!(told.contains(&format!("screens/{name}.svg")), "docs/screens.md lacks {name}");
    }
}
