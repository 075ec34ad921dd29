//! Draws the state. Changes nothing but where things are on the screen, which it gives back.

mod dialog;
mod page;
mod review;
mod run;
mod start;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::front::tui::look::Look;
use crate::front::tui::progress::totals;
use crate::front::tui::run_screen::Purpose;
use crate::front::tui::state::{Hit, Screen, State};
use crate::interview;
use crate::model::event::BillLine;

/// Smaller terminals than this get a word instead of a page.
const LEAST: (u16, u16) = (60, 18);
/// From this width on the bill stands at the right.
const WIDE: u16 = 110;

/// What is drawn so far: where one can click.
type Hits = Vec<(Rect, Hit)>;

/// Is there no room for a page?
pub fn is_too_small(area: Rect) -> bool {
    area.width < LEAST.0 || area.height < LEAST.1
}

/// Draws everything. Gives where things are.
pub fn draw(frame: &mut Frame<'_>, state: &State) -> Hits {
    let area = frame.area();
    let mut hits = Hits::new();
    if is_too_small(area) {
        let text = format!("landfall needs {}x{}: please make the terminal larger", LEAST.0, LEAST.1);
        let lines: Vec<Line<'_>> = wrap(&text, area.width.into()).into_iter().map(Line::from).collect();
        frame.render_widget(Paragraph::new(lines), area);
        return hits;
    }
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    title(frame, top, state);
    keys(frame, bottom, state);
    let wide = area.width >= WIDE;
    let rail_width = if wide { 22 } else { 19 };
    let bill_width = if wide { 34 } else { 0 };
    let [left, page, right] =
        Layout::horizontal([Constraint::Length(rail_width), Constraint::Min(0), Constraint::Length(bill_width)])
            .areas(middle);
    let rail_height = rail(frame, left, state, &mut hits);
    if wide {
        bill(frame, right, state);
    } else {
        let below = Rect {
            y: left.y + rail_height,
            height: left.height.saturating_sub(rail_height),
            width: left.width.saturating_sub(1),
            ..left
        };
        short_bill(frame, below, state);
    }
    let look = state.look;
    let block = Block::new()
        .borders(if wide { Borders::LEFT | Borders::RIGHT } else { Borders::LEFT })
        .border_set(look.border())
        .border_style(look.faint());
    let inside = block.inner(page);
    frame.render_widget(block, page);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    match &state.screen {
        Screen::Start(at) => start::draw(frame, inside, state, *at, &mut hits),
        Screen::Page(form) => page::draw(frame, inside, state, form, &mut hits),
        Screen::Review(review) => review::draw(frame, inside, state, review, &mut hits),
        Screen::Run(run) => run::draw(frame, inside, state, run, &mut hits),
        Screen::Done => start::done(frame, inside, state),
    }
    if let Some(dialog) = &state.dialog {
        dialog::draw(frame, middle, state, dialog);
    }
    hits
}

fn title(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let look = state.look;
    let mut spans = vec![Span::styled(" landfall", look.strong())];
    if let Some(path) = &state.path {
        spans.push(Span::raw("  "));
        spans.push(Span::raw(look.text(&fit(&path.display().to_string(), usize::from(area.width).saturating_sub(30)))));
    }
    if state.path.is_some() && matches!(state.screen, Screen::Page(_) | Screen::Review(_)) {
        spans.push(Span::styled("  saved", look.faint()));
    }
    frame.render_widget(Line::from(spans), area);
}

fn keys(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let look = state.look;
    if let Some(message) = &state.message {
        let text = fit(&look.text(message), usize::from(area.width).saturating_sub(2));
        frame.render_widget(Line::styled(format!(" {text}"), look.strong()), area);
        return;
    }
    let keys = match &state.screen {
        Screen::Start(_) => "Up Down choose  Enter go  F1 keys  Ctrl-C leave",
        Screen::Page(form) => match form.account() {
            Some(_) => "Enter next  Tab field  Up Down choose  Esc back  Ctrl-T token  F1 keys",
            None => "Enter next  Tab field  Up Down choose  Esc back  F1 keys",
        },
        Screen::Review(_) => "Left Right tab  Space more  Up Down choose  Enter go  Esc back  F1 keys",
        Screen::Run(run) if run.filtering => "type to filter the log  Enter keep it  Esc all lines",
        Screen::Run(run) if run.over.is_some() => "Up Down choose  Enter go  Tab step  / filter  PgUp PgDn log",
        Screen::Run(_) => "Up Down step  / filter  PgUp PgDn log  F1 keys  Ctrl-C stop",
        Screen::Done => "Enter leave  Esc back",
    };
    frame.render_widget(Line::styled(format!(" {keys}"), look.faint()), area);
}

/// The chapters. Gives how many lines they took.
fn rail(frame: &mut Frame<'_>, area: Rect, state: &State, hits: &mut Hits) -> u16 {
    let look = state.look;
    let pages = interview::pages(&state.draft);
    let next = interview::next_page(&state.draft);
    let at = state.at();
    let started = state.path.is_some() || at.is_some();
    let mut names: Vec<(&str, Option<usize>)> = vec![("start", None)];
    names.extend(pages.iter().enumerate().map(|(index, page)| (page.title, Some(index))));
    names.extend(["review", "run", "done"].into_iter().zip(pages.len()..).map(|(name, index)| (name, Some(index))));
    let mut lines = Vec::new();
    for (row, (name, index)) in names.iter().enumerate() {
        let passed = match index {
            None => started,
            Some(index) if *index < pages.len() => *index < next,
            Some(index) => at.is_some_and(|at| at > *index),
        };
        let here = *index == at;
        let (sign, style) = match (here, passed) {
            (true, _) => (look.here(), look.strong()),
            (false, true) => (look.done(), look.good()),
            (false, false) => (look.ahead(), look.faint()),
        };
        lines.push(Line::from(vec![Span::styled(format!(" {sign} "), style), Span::styled(*name, style)]));
        if let Some(index) = index {
            hits.push((Rect { y: area.y + row as u16, height: 1, ..area }, Hit::Chapter(*index)));
        }
    }
    let height = lines.len() as u16;
    frame.render_widget(Paragraph::new(lines), area);
    height
}

/// What the bill is of.
fn shown_bill(state: &State) -> &[BillLine] {
    match &state.screen {
        // What simulators charge is nobody's price.
        Screen::Run(run) if !run.progress.bill.is_empty() && run.purpose != Purpose::Rehearsal => &run.progress.bill,
        _ => &state.bill,
    }
}

fn budget_words(state: &State) -> Vec<String> {
    let draft = match &state.screen {
        Screen::Page(form) => &form.scratch,
        _ => &state.draft,
    };
    interview::budget(draft).iter().map(ToString::to_string).collect()
}

fn short_bill(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let look = state.look;
    let width = usize::from(area.width).saturating_sub(2);
    let mut lines = vec![Line::from(""), Line::styled(" a month", look.faint())];
    let bill = shown_bill(state);
    if bill.is_empty() {
        lines.push(Line::from(" nothing yet"));
    }
    for part in totals(bill).split(" + ").filter(|part| !part.is_empty()) {
        lines.push(Line::styled(format!(" {part}"), look.strong()));
    }
    for (index, budget) in budget_words(state).into_iter().enumerate() {
        lines.push(Line::styled(format!(" {} {budget}", if index == 0 { "of" } else { "  " }), look.faint()));
    }
    if let Some(trouble) = &state.bill_trouble {
        for line in wrap(&look.text(trouble), width) {
            lines.push(Line::styled(format!(" {line}"), look.bad()));
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn bill(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let look = state.look;
    let width = usize::from(area.width).saturating_sub(2);
    let mut lines = vec![Line::styled(" a month, net", look.strong()), Line::from("")];
    let bill = shown_bill(state);
    if bill.is_empty() {
        lines.push(Line::styled(" nothing yet", look.faint()));
    }
    for line in bill {
        let amount = format!("{} {}", line.monthly, line.currency);
        for (index, part) in wrap(&look.text(&line.what), width.saturating_sub(1)).into_iter().enumerate() {
            lines.push(Line::styled(format!(" {}{part}", if index == 0 { "" } else { " " }), look.faint()));
        }
        lines.push(Line::from(format!("{amount:>width$}")));
    }
    for part in totals(bill).split(" + ").filter(|part| !part.is_empty()) {
        lines.push(Line::styled(format!("{part:>width$}"), look.strong()));
    }
    for budget in budget_words(state) {
        lines.push(Line::styled(format!("{:>width$}", format!("budget {budget}")), look.faint()));
    }
    if let Some(trouble) = &state.bill_trouble {
        for line in wrap(&look.text(trouble), width) {
            lines.push(Line::styled(format!(" {line}"), look.bad()));
        }
    }
    if !matches!(&state.screen, Screen::Run(run) if run.purpose == Purpose::Replay) {
        lines.push(Line::from(""));
        for priced in &state.catalogs {
            for line in wrap(&format!("{}: {}", priced.catalog.provider, priced.source), width) {
                lines.push(Line::styled(format!(" {line}"), look.faint()));
            }
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// Shows `lines` from `scroll` on, with a word about what is above and below. Gives the first line that is shown.
fn scrolled(frame: &mut Frame<'_>, area: Rect, look: Look, lines: Vec<Line<'_>>, scroll: usize) -> usize {
    let height = usize::from(area.height);
    if lines.len() <= height || height < 2 {
        frame.render_widget(Paragraph::new(lines), area);
        return 0;
    }
    let room = height - 1;
    let first = scroll.min(lines.len() - room);
    let below = lines.len() - room - first;
    let shown: Vec<Line<'_>> = lines.into_iter().skip(first).take(room).collect();
    let word = match (first, below) {
        (0, below) => format!("{} {below} more", look.more(false)),
        (first, 0) => format!("{} {first} above", look.more(true)),
        (first, below) => format!("{} {first} above  {} {below} more", look.more(true), look.more(false)),
    };
    let [list, foot] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(shown), list);
    frame.render_widget(Line::styled(word, look.faint()), foot);
    first
}

/// `text` in lines of at most `width` cells, broken at spaces, and within words that are longer.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map(|line| line.width()).unwrap_or_default();
        if line > 0 && line + 1 + word.width() <= width {
            if let Some(last) = lines.last_mut() {
                last.push(' ');
                last.push_str(word);
            }
            continue;
        }
        if line > 0 {
            lines.push(String::new());
        }
        for c in word.chars() {
            let full = lines.last().is_some_and(|line| line.width() + c.width().unwrap_or(0) > width);
            if full {
                lines.push(String::new());
            }
            if let Some(last) = lines.last_mut() {
                last.push(c);
            }
        }
    }
    lines
}

/// The end of `text` that fits into `width` cells, with dots before it where something is left out.
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept: Vec<char> = Vec::new();
    let mut used = 3;
    for c in text.chars().rev() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(c);
    }
    format!("...{}", kept.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_never_wider_than_they_may_be() {
        for text in
            ["a few words that wrap", "oneverylongwordwithoutanyspaces", "表表表表表 wide", "", "e\u{301}e\u{301}"]
        {
            for width in 2..12 {
                let lines = wrap(text, width);
                assert!(lines.iter().all(|line| line.width() <= width), "{text} at {width}: {lines:?}");
                let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
                assert_eq!(letters(&lines.concat()), letters(text));
            }
        }
        assert_eq!(fit("/a/long/path.toml", 10), "...th.toml");
    }
}
