//! The first page and the last.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::front::tui::state::{Beginning, Hit, State};
use crate::front::tui::view::{Hits, scrolled, wrap};
use crate::interview;

/// Cells of the labels of the last page.
const LABEL: usize = 23;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, at: usize, hits: &mut Hits) {
    let look = state.look;
    let width = usize::from(area.width);
    let mut lines = vec![Line::from("")];
    let about = "From an empty cloud account to a hardened server with your app on it, and back again after a disaster. \
                 Your answers become a playbook: a file you can read, keep and run again.";
    lines.extend(wrap(about, width).into_iter().map(Line::from));
    lines.push(Line::from(""));
    for (index, (_, title, about)) in Beginning::ALL.iter().enumerate() {
        let here = index == at;
        let sign = if here { look.here() } else { " " };
        let style = if here { look.chosen() } else { look.strong() };
        hits.push((Rect { y: area.y + lines.len() as u16, height: 2, ..area }, Hit::Action(index)));
        lines.push(Line::from(vec![
            Span::raw(format!("{sign} ")),
            Span::styled(format!("{} {title}", index + 1), style),
        ]));
        lines.extend(
            wrap(about, width.saturating_sub(4))
                .into_iter()
                .map(|line| Line::styled(format!("    {line}"), look.faint())),
        );
    }
    scrolled(frame, area, look, lines, 0);
}

pub(super) fn done(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let look = state.look;
    let width = usize::from(area.width);
    let mut lines =
        vec![Line::from(""), Line::styled(format!("{} everything is as the playbook says", look.done()), look.good())];
    let path = state.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    lines.push(Line::from(""));
    for (label, text) in interview::farewell(&state.draft, &path) {
        for (index, part) in wrap(&look.text(&text), width.saturating_sub(LABEL)).into_iter().enumerate() {
            let label = if index == 0 { label.as_str() } else { "" };
            lines.push(Line::from(vec![Span::styled(format!("{label:<LABEL$}"), look.faint()), Span::raw(part)]));
        }
    }
    scrolled(frame, area, look, lines, 0);
}
