//! The page before anything is done: the bill, what will be made, and the playbook.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::estimate;
use crate::front::tui::progress::totals;
use crate::front::tui::state::{Hit, Review, State};
use crate::front::tui::view::{Hits, scrolled, wrap};
use crate::interview;

const TABS: [&str; 3] = ["bill", "what will be made", "playbook"];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, review: &Review, hits: &mut Hits) {
    let look = state.look;
    let width = usize::from(area.width);
    let mut foot: Vec<Line<'_>> = Vec::new();
    match &review.problems {
        None => foot.push(Line::styled(format!("{} checking the playbook", look.turning(state.tick)), look.faint())),
        Some(problems) if problems.is_empty() => {
            foot.push(Line::styled(format!("{} the playbook is whole", look.done()), look.good()));
        }
        Some(problems) => {
            for problem in problems {
                for (index, part) in wrap(&look.text(problem), width.saturating_sub(2)).into_iter().enumerate() {
                    let sign = if index == 0 { look.failed() } else { " " };
                    foot.push(Line::styled(format!("{sign} {part}"), look.bad()));
                }
            }
        }
    }
    let actions = foot.len();
    for (index, action) in Review::ACTIONS.iter().enumerate() {
        let here = index == review.action;
        let sign = if here { look.here() } else { " " };
        let style = if here { look.chosen() } else { ratatui::style::Style::new() };
        foot.push(Line::from(vec![Span::raw(format!("{sign} ")), Span::styled(*action, style)]));
    }
    let [head, list, below] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length((foot.len() as u16 + 1).min(area.height / 2)),
    ])
    .areas(area);
    let mut x = head.x;
    let mut spans = Vec::new();
    for (index, tab) in TABS.iter().enumerate() {
        let style = if index == review.tab { look.chosen() } else { look.faint() };
        hits.push((Rect { x, width: tab.len() as u16 + 2, height: 1, ..head }, Hit::Tab(index)));
        x += tab.len() as u16 + 3;
        spans.push(Span::styled(format!(" {tab} "), style));
        spans.push(Span::raw(" "));
    }
    frame.render_widget(Line::from(spans), Rect { height: 1, ..head });
    let lines = match review.tab {
        0 => bill(state, width),
        1 => made(state, width),
        _ => look.text(&state.draft.text()).lines().flat_map(|line| playbook_line(line, width)).collect(),
    };
    scrolled(frame, list, look, lines, review.scroll);
    let top = below.y + 1 + actions as u16;
    for index in 0..Review::ACTIONS.len() {
        hits.push((Rect { y: top + index as u16, height: 1, ..below }, Hit::Action(index)));
    }
    foot.insert(0, Line::from(""));
    frame.render_widget(Paragraph::new(foot), below);
}

/// A line of the playbook, broken where it is wider than the page.
fn playbook_line(line: &str, width: usize) -> Vec<Line<'static>> {
    let mut parts = vec![String::new()];
    for c in line.chars() {
        let full = parts.last().is_some_and(|part| part.width() + c.width().unwrap_or(0) > width.max(4));
        if full {
            parts.push("  ".to_owned());
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.into_iter().map(Line::from).collect()
}

fn bill(state: &State, width: usize) -> Vec<Line<'static>> {
    let look = state.look;
    let mut lines = Vec::new();
    for line in &state.bill {
        let amount = format!("{} {}", line.monthly, line.currency);
        let room = width.saturating_sub(amount.len() + 2);
        let parts = wrap(&look.text(&line.what), room);
        for (index, part) in parts.into_iter().enumerate() {
            let text = if index == 0 { format!("{part:<room$}  {amount}") } else { format!("  {part}") };
            lines.push(Line::from(text));
        }
    }
    if state.bill.is_empty() && state.bill_trouble.is_none() {
        lines.push(Line::from("costs nothing a month"));
    } else if !state.bill.is_empty() {
        lines.push(Line::styled(format!("together {} a month, net of tax", totals(&state.bill)), look.strong()));
    }
    if let Some(trouble) = &state.bill_trouble {
        lines.extend(wrap(&look.text(trouble), width).into_iter().map(|line| Line::styled(line, look.bad())));
    }
    let wanted = interview::wanted(&state.draft);
    for note in estimate::limits(&wanted) {
        lines.push(Line::from(""));
        lines.extend(wrap(&look.text(&note), width).into_iter().map(|line| Line::styled(line, look.faint())));
    }
    lines.push(Line::from(""));
    for priced in &state.catalogs {
        lines.push(Line::styled(format!("{}: {}", priced.catalog.provider, priced.source), look.faint()));
    }
    lines
}

fn made(state: &State, width: usize) -> Vec<Line<'static>> {
    let look = state.look;
    let wanted = interview::wanted(&state.draft);
    let mut lines = Vec::new();
    let about = "Before anything is made, the world is looked at: what is there already stays.";
    lines.extend(wrap(about, width).into_iter().map(|line| Line::styled(line, look.faint())));
    let mut step = None;
    for resource in &wanted {
        if step != Some(&resource.step) {
            step = Some(&resource.step);
            lines.push(Line::from(""));
            lines.push(Line::styled(resource.step.to_string(), look.strong()));
        }
        let text = look.text(&resource.address.to_string());
        for (index, part) in wrap(&text, width.saturating_sub(4)).into_iter().enumerate() {
            lines.push(Line::from(format!("{} {part}", if index == 0 { "+" } else { " " })));
        }
    }
    lines
}
