//! What lies on top of a page.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

use crate::front::tui::dialog::{Dialog, SecretDialog};
use crate::front::tui::messages::{PASSPHRASE, Shelf};
use crate::front::tui::state::State;
use crate::front::tui::view::{fit, wrap};

const KEYS: &[(&str, &str)] = &[
    ("Enter", "take the answer and go on"),
    ("Tab, Shift-Tab", "next field, field before"),
    ("Up, Down", "choose from the list"),
    ("typing", "filters the list, or is the answer"),
    ("PgDn", "take the defaults of the whole page"),
    ("Esc, PgUp", "page before"),
    ("Ctrl-Up, Ctrl-Down", "scroll what stands below"),
    ("Ctrl-T", "give a token"),
    ("Ctrl-U", "empty the field"),
    ("/", "filter the log of a run"),
    ("Ctrl-C", "leave; in a run: stop"),
    ("the mouse", "click on whatever you want, or scroll"),
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, dialog: &Dialog) {
    let look = state.look;
    let width = usize::from(area.width).saturating_sub(8).min(72);
    let mut cursor: Option<usize> = None;
    let mut lines: Vec<Line<'_>> = Vec::new();
    let title;
    match dialog {
        Dialog::Keys => {
            title = " keys ";
            for (key, what) in KEYS {
                lines.push(Line::from(format!("{key:<20}{what}")));
            }
            lines.push(Line::styled("any key closes this", look.faint()));
        }
        Dialog::Stop => {
            title = " stopping ";
            let text = "The change in hand is finished first; then everything stops, and you are told what exists. \
                        Ctrl-C once more stops at once. Any other key closes this.";
            lines.extend(wrap(text, width).into_iter().map(Line::from));
        }
        Dialog::Path { input, error, .. } => {
            title = " which playbook? ";
            cursor = Some(lines.len());
            lines.push(Line::styled(fit(&look.text(input.value()), width), look.typed()));
            if let Some(error) = error {
                lines.extend(wrap(&look.text(error), width).into_iter().map(|line| Line::styled(line, look.bad())));
            }
            for file in state.files.iter().take(8) {
                let here = file == input.value() || (input.value().is_empty() && Some(file) == state.files.first());
                let sign = if here { look.here() } else { " " };
                lines.push(Line::from(format!("{sign} {}", fit(&look.text(file), width.saturating_sub(2)))));
            }
            if state.files.is_empty() {
                lines.push(Line::styled("there is none in this folder: type a path", look.faint()));
            }
            lines.push(Line::styled("Up Down choose  Enter open  Esc back", look.faint()));
        }
        Dialog::Undo { input, error } => {
            title = " take everything away? ";
            let name = state.draft.head("name").unwrap_or_default();
            let text =
                format!("Everything that carries the name `{name}` will be gone, data included. Type {name} to go on:");
            lines.extend(wrap(&text, width).into_iter().map(Line::from));
            cursor = Some(lines.len());
            lines.push(Line::styled(fit(&look.text(input.value()), width), look.typed()));
            if let Some(error) = error {
                lines.push(Line::styled(look.text(error), look.bad()));
            }
            lines.push(Line::styled("Enter go  Esc back", look.faint()));
        }
        Dialog::Secret(secret) => {
            title = " a secret ";
            cursor = secret_lines(state, secret, width, &mut lines);
        }
    }
    let height = (lines.len() as u16 + 2).min(area.height);
    let width = (width as u16 + 4).min(area.width);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let block = Block::bordered().border_set(look.border()).title(title).title_style(look.strong());
    let inner = block.inner(place);
    frame.render_widget(Clear, place);
    frame.render_widget(block, place);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
    if let Some(row) = cursor {
        let input = match dialog {
            Dialog::Path { input, .. } | Dialog::Undo { input, .. } => input,
            Dialog::Secret(secret) if secret.at_passphrase => &secret.passphrase,
            Dialog::Secret(secret) => &secret.input,
            _ => return,
        };
        let x = (input.visual_cursor() as u16).min(inner.width.saturating_sub(1));
        frame.set_cursor_position((inner.x + x, (inner.y + row as u16).min(inner.bottom().saturating_sub(1))));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn secret_lines<'a>(state: &State, secret: &'a SecretDialog, width: usize, lines: &mut Vec<Line<'a>>) -> Option<usize> {
    let look = state.look;
    let masked = |input: &tui_input::Input| look.mask().repeat(input.value().chars().count().min(width));
    let more = match secret.queue.len() {
        0 => String::new(),
        more => format!(" ({more} more after it)"),
    };
    lines.push(Line::styled(format!("{}{more}", secret.wanted.name), look.strong()));
    if !secret.wanted.hint.is_empty() {
        lines.extend(
            wrap(&look.text(&secret.wanted.hint), width).into_iter().map(|line| Line::styled(line, look.faint())),
        );
    }
    let mut cursor = Some(lines.len());
    lines.push(Line::styled(
        if secret.input.value().is_empty() { " ".repeat(24) } else { masked(&secret.input) },
        look.typed(),
    ));
    let shelf = match secret.shelf {
        Shelf::Keyring => "kept in the system's keyring; Tab: in an encrypted file beside the playbook",
        Shelf::File => "kept in an encrypted file beside the playbook; Tab: in the system's keyring",
    };
    let is_passphrase = secret.wanted.name == PASSPHRASE;
    if !is_passphrase {
        lines.extend(wrap(shelf, width).into_iter().map(Line::from));
    }
    if secret.at_passphrase {
        lines.push(Line::from("its passphrase; a new file takes this one from now on:"));
        cursor = Some(lines.len());
        let text = if secret.passphrase.value().is_empty() { " ".repeat(24) } else { masked(&secret.passphrase) };
        lines.push(Line::styled(text, look.typed()));
    }
    if secret.busy {
        lines.push(Line::styled(format!("{} checking it", look.turning(state.tick)), look.faint()));
    }
    if let Some(error) = &secret.error {
        lines.extend(wrap(&look.text(error), width).into_iter().map(|line| Line::styled(line, look.bad())));
    }
    let keys = if is_passphrase { "Enter open it  Esc not now" } else { "Enter keep it  Esc not now" };
    lines.push(Line::styled(keys, look.faint()));
    cursor
}
