//! A page of questions: its fields, the help of the one with the focus, and what there is to choose from.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use crate::front::tui::form::{FieldState, Form, Found, lookup_trouble};
use crate::front::tui::state::{Hit, State};
use crate::front::tui::view::{Hits, fit, scrolled, wrap};
use crate::interview;
use crate::model::question::{Choices, Field, Lookup, Page};

/// Cells of the labels.
const LABEL: usize = 19;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, form: &Form, hits: &mut Hits) {
    let look = state.look;
    let width = usize::from(area.width);
    let page = form.page();
    let about = wrap(&look.text(&page.about), width).into_iter();
    let mut lines: Vec<Line<'_>> = about.map(|line| Line::styled(line, look.strong())).collect();
    let kind = page.questions.first().and_then(|question| question.key.step());
    if let Some((kind, count @ 2..)) = kind.map(|kind| (kind, form.scratch.count(kind))) {
        let note = format!("this is the first of {count} steps `{kind}`; the others stay as they are");
        lines.extend(wrap(&note, width).into_iter().map(|line| Line::styled(line, look.faint())));
    }
    lines.push(Line::from(""));
    let mut cursor = None;
    for (index, field) in form.fields.iter().enumerate() {
        let here = index == form.focus;
        let y = area.y + lines.len() as u16;
        hits.push((Rect { y, height: 1, ..area }, Hit::Field(index)));
        let sign = if here { look.here() } else { " " };
        let room = width.saturating_sub(LABEL + 2);
        let label = Span::styled(
            format!("{sign} {:<LABEL$}", field.question.ask),
            if here { look.strong() } else { look.faint() },
        );
        let (text, at) = shown(state, form, field, here, room);
        let style = match (here, field.input.value().is_empty()) {
            (true, _) => look.typed(),
            (false, true) => look.faint(),
            (false, false) => ratatui::style::Style::new(),
        };
        if here {
            cursor = Some(Position { x: area.x + (LABEL + 2 + at.min(room)) as u16, y });
        }
        lines.push(Line::from(vec![label, Span::styled(text, style)]));
        if let Some(error) = &field.error {
            let indent = " ".repeat(4);
            for (index, part) in wrap(&look.text(error), width.saturating_sub(6)).into_iter().enumerate() {
                let sign = if index == 0 { look.failed() } else { " " };
                lines.push(Line::styled(format!("{indent}{sign} {part}"), look.bad()));
            }
        }
    }
    lines.push(Line::from(""));
    if let Some(field) = form.focused() {
        for line in wrap(&look.text(&field.question.help), width) {
            lines.push(Line::styled(line, look.faint()));
        }
        lines.extend(trouble(state, form, field, width));
    }
    lines.push(Line::from(""));
    // Fields always stay in sight; help gives way to them.
    let used = lines.len().min(usize::from(area.height));
    frame.render_widget(Paragraph::new(lines), Rect { height: used as u16, ..area });
    if let (Some(place), None) = (cursor, &state.dialog)
        && place.y < area.bottom()
    {
        frame.set_cursor_position(place);
    }
    let rest = Rect { y: area.y + used as u16, height: area.height - used as u16, ..area };
    if rest.height == 0 {
        return;
    }
    let choices = form.choices(&state.lookups);
    let (mut list, rows) = match choices.all.is_empty() {
        false => table(state, form, &choices, width),
        true if form.focused().is_some_and(|field| field.by_hand && field.question.lookup.is_some()) => {
            (vec![Line::styled("nothing in the list fits; what you typed is taken as it is", look.faint())], vec![])
        }
        true => (vec![], vec![]),
    };
    let chosen = form.chosen(&state.lookups).and_then(|index| rows.get(index).copied()).unwrap_or(0);
    for (name, text) in page.notes.iter().filter(|_| !rows.is_empty()) {
        list.push(Line::from(""));
        list.push(Line::styled(look.text(name), look.strong()));
        list.extend(
            wrap(&look.text(text), width.saturating_sub(2)).into_iter().map(|line| Line::from(format!("  {line}"))),
        );
    }
    let made = made(state, form, &page, width);
    if !made.is_empty() && !list.is_empty() {
        list.push(Line::from(""));
    }
    list.extend(made);
    if list.is_empty() {
        return;
    }
    // What is chosen stays in sight.
    let room = usize::from(rest.height).saturating_sub(1);
    let scroll = form.scroll + (chosen + 1).saturating_sub(room.max(1));
    let first = scrolled(frame, rest, look, list, scroll);
    for (index, row) in rows.into_iter().enumerate() {
        if row >= first && row - first < usize::from(rest.height) {
            hits.push((Rect { y: rest.y + (row - first) as u16, height: 1, ..rest }, Hit::Choice(index)));
        }
    }
}

/// What is there already under the names the page's step will write, and what it will write.
fn made(state: &State, form: &Form, page: &Page, width: usize) -> Vec<Line<'static>> {
    let look = state.look;
    let made = page.shows.map(|kind| interview::made_by(&form.scratch, kind)).unwrap_or_default();
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut say = |head: &'static str, sign: &str, texts: Vec<String>| {
        lines.push(Line::styled(head, look.strong()));
        for text in texts {
            for (index, part) in wrap(&look.text(&text), width.saturating_sub(4)).into_iter().enumerate() {
                lines.push(Line::from(format!("{} {part}", if index == 0 { sign } else { "   " })));
            }
        }
    };
    if let Some(Found::Here(found)) = page.there.as_ref().and_then(|there| state.lookups.get(there)) {
        let same = |name: &str| made.iter().any(|(address, _)| address.split('/').any(|part| part == name));
        let there = found.all.iter().filter(|record| same(&record.value));
        let there: Vec<String> = there.map(|record| format!("{} {}", record.value, record.cells.join(" "))).collect();
        match there.is_empty() {
            true => say("nothing is there yet under these names", "=", vec![]),
            false => say("what is there already under these names:", "=", there),
        }
    }
    if !made.is_empty() {
        let texts = made.iter().map(|(address, says)| format!("{address}: {says}")).collect();
        say("what will be written, where it is not there already:", "+", texts);
    }
    lines
}

/// What a field shows in `room` cells, and where the cursor is in it.
fn shown(state: &State, form: &Form, field: &FieldState, here: bool, room: usize) -> (String, usize) {
    let look = state.look;
    let typed = field.input.value();
    if typed.is_empty() {
        let text = match form.default_of(field, &state.lookups) {
            Some(default) => short(&default, &field.question.field),
            None if form.scratch.is_beyond(&field.question) => "as in the playbook".to_owned(),
            None if field.left_out => "(not in the playbook)".to_owned(),
            None if field.question.optional => "(may stay empty)".to_owned(),
            None => String::new(),
        };
        let text = fit(&look.text(&text), room);
        return (if text.is_empty() { " ".repeat(room.min(24)) } else { text }, 0);
    }
    if !here || !field.by_hand {
        let text = fit(&look.text(&short(typed, &field.question.field)), room);
        let end = text.width();
        return (text, end);
    }
    // The part around the cursor.
    let scroll = field.input.visual_scroll(room.saturating_sub(1));
    let mut text = String::new();
    let (mut skipped, mut used) = (0, 0);
    for c in typed.chars() {
        let cells = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if skipped < scroll {
            skipped += cells;
            continue;
        }
        if used + cells > room {
            break;
        }
        used += cells;
        text.push(c);
    }
    (look.text(&text), field.input.visual_cursor().saturating_sub(scroll))
}

/// A value as it is shown in a line: of a public key its kind, its comment and its end.
fn short(text: &str, field: &Field) -> String {
    let mut parts = text.splitn(3, ' ');
    match (field, parts.next(), parts.next()) {
        (Field::PublicKey(_), Some(kind), Some(body)) if body.len() > 12 && body.is_ascii() => {
            let comment = parts.next().map(|comment| format!(" {comment}")).unwrap_or_default();
            format!("{}{comment}, ending {}", kind.trim_start_matches("ssh-"), &body[body.len() - 8..])
        }
        _ => text.to_owned(),
    }
}

/// What is being fetched for the field, or why it could not be.
fn trouble(state: &State, form: &Form, field: &FieldState, width: usize) -> Vec<Line<'static>> {
    let look = state.look;
    let Some(lookup) = &field.question.lookup else { return vec![] };
    let provider = match lookup {
        Lookup::Places(name) | Lookup::Plans(name, _) => Some(name.clone()),
        Lookup::Providers => form.account(),
        _ => None,
    };
    let mut lines = Vec::new();
    let fetching = provider.as_ref().is_some_and(|name| state.fetching.contains(name));
    if fetching || matches!(state.lookups.get(lookup), Some(Found::Fetching)) {
        lines
            .push(Line::styled(format!("{} looking it up; you need not wait", look.turning(state.tick)), look.faint()));
        if form.awaiting {
            lines.push(Line::styled("  the first one is taken once it is there, unless you type", look.faint()));
        }
        let again = state.trying.iter().flat_map(|what| wrap(&look.text(what), width.saturating_sub(2)));
        lines.extend(again.map(|part| Line::styled(format!("  {part}"), look.faint())));
    }
    let failure = match (state.lookups.get(lookup), &provider) {
        (Some(Found::Failed(failure)), _) => Some(failure),
        (_, Some(name)) => state.catalog_trouble.iter().find(|(other, _)| other == name).map(|(_, failure)| failure),
        _ => None,
    };
    if let Some(failure) = failure {
        for (index, part) in wrap(&look.text(&lookup_trouble(failure)), width.saturating_sub(4)).into_iter().enumerate()
        {
            let sign = if index == 0 { "!" } else { " " };
            lines.push(Line::styled(format!("{sign} {part}"), look.bad()));
        }
    }
    if let (Lookup::Account(..), None) = (lookup, state.lookups.get(lookup)) {
        lines.push(Line::styled("Ctrl-T gives a token; then there is a list to choose from", look.faint()));
    }
    lines
}

/// The choices as a table; and the line of each.
fn table(state: &State, form: &Form, choices: &Choices, width: usize) -> (Vec<Line<'static>>, Vec<usize>) {
    let look = state.look;
    let chosen = form.chosen(&state.lookups);
    let field = form.focused().map(|field| field.question.field.clone());
    let names: Vec<String> = choices
        .all
        .iter()
        .map(|choice| look.text(&field.as_ref().map_or(choice.value.clone(), |field| short(&choice.value, field))))
        .collect();
    let count = choices.all.iter().map(|choice| choice.cells.len()).max().unwrap_or(0);
    let name_width = names.iter().map(|name| name.width()).max().unwrap_or(0).min(width.saturating_sub(4));
    let cell_width = |column: usize| {
        let head = choices.columns.get(column).map_or(0, |head| head.width());
        let cells = choices.all.iter().filter_map(|choice| choice.cells.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0).max(head)
    };
    // The last columns give way where there is no room; a single one is wrapped below.
    let mut widths: Vec<usize> = Vec::new();
    let mut used = 2 + name_width;
    for column in 0..count {
        let next = cell_width(column) + 2;
        if used + next > width {
            break;
        }
        used += next;
        widths.push(next);
    }
    let mut lines = Vec::new();
    // First of all, so that it is in sight however long the list is.
    if !choices.source.is_empty() {
        lines.push(Line::styled(look.text(&choices.source), look.faint()));
    }
    if !choices.columns.is_empty() {
        let mut head = format!("  {:name_width$}", "");
        for (column, width) in widths.iter().enumerate() {
            let name = choices.columns.get(column).copied().unwrap_or_default();
            head.push_str(&pad(name, *width));
        }
        lines.push(Line::styled(head.trim_end().to_owned(), look.faint()));
    }
    let mut rows = Vec::new();
    for (index, choice) in choices.all.iter().enumerate() {
        let here = chosen == Some(index);
        let sign = if here { look.here() } else { " " };
        let name = &names[index];
        let mut row = format!("{name}{}", " ".repeat(name_width.saturating_sub(name.width())));
        for (column, width) in widths.iter().enumerate() {
            let cell = choice.cells.get(column).map(String::as_str).unwrap_or_default();
            row.push_str(&pad(&look.text(cell), *width));
        }
        let style = match (here, choice.usable) {
            (true, _) => look.chosen(),
            (false, true) => ratatui::style::Style::new(),
            (false, false) => look.faint(),
        };
        rows.push(lines.len());
        lines.push(Line::from(vec![Span::raw(format!("{sign} ")), Span::styled(row.trim_end().to_owned(), style)]));
        // What has no room beside its choice stands below it: all of it where nothing else does, else only where one is.
        let left_out = choice.cells.iter().enumerate().skip(widths.len()).filter(|(_, cell)| !cell.is_empty());
        if here || widths.is_empty() {
            let named = left_out.map(|(column, cell)| match choices.columns.get(column) {
                Some(head) if !head.is_empty() => format!("{head}: {cell}"),
                _ => cell.clone(),
            });
            let text = look.text(&named.collect::<Vec<_>>().join(", "));
            if !text.is_empty() {
                let parts = wrap(&text, width.saturating_sub(4));
                lines.extend(parts.into_iter().map(|line| Line::styled(format!("    {line}"), look.faint())));
            }
        }
    }
    (lines, rows)
}

fn pad(text: &str, width: usize) -> String {
    format!("  {text}{}", " ".repeat(width.saturating_sub(2 + text.width())))
}
