//! A run: its steps, what is under way, the log, and what can be done at the end.

use std::fmt::Write as _;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::front::tui::progress::{Stand, StepRows, millis, totals};
use crate::front::tui::run_screen::{Purpose, RunScreen};
use crate::front::tui::state::{Hit, State};
use crate::front::tui::view::{Hits, fit, scrolled, wrap};
use crate::model::event::kind_of;
use crate::text::{count, duration};

/// Cells of the names of steps.
const NAME: usize = 12;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, run: &RunScreen, hits: &mut Hits) {
    let look = state.look;
    let width = usize::from(area.width);
    let foot = foot(state, run, width);
    // The end has the most to say.
    let most = usize::from(area.height).saturating_sub(if run.over.is_some() { 5 } else { 8 });
    let foot_height = foot.len().min(most);
    let mut lines = step_lines(state, run, 0, "everything", None, width);
    let mut owners = vec![0; lines.len()];
    for (index, step) in run.progress.steps.iter().enumerate() {
        let more = step_lines(state, run, index + 1, &step.step, Some(step), width);
        owners.resize(owners.len() + more.len(), index + 1);
        lines.extend(more);
    }
    let step_rows = lines.len().min(usize::from(area.height) / 2 - 1) as u16;
    let [head, steps, log, below] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(if run.over.is_some_and(|code| code != 0) { step_rows.min(3) } else { step_rows }),
        Constraint::Min(2),
        Constraint::Length(foot_height as u16),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(heading(state, run, width)), head);

    let selected = owners.iter().rposition(|owner| *owner == run.selected).unwrap_or(0);
    let scroll = (selected + 1).saturating_sub(usize::from(steps.height).saturating_sub(1).max(1));
    let first = scrolled(frame, steps, look, lines, scroll);
    for (row, owner) in owners.iter().skip(first).take(steps.height.into()).enumerate() {
        hits.push((Rect { y: steps.y + row as u16, height: 1, ..steps }, Hit::Tab(*owner)));
    }
    draw_log(frame, log, state, run);
    let choices = run.choices().len();
    for index in 0..choices {
        let y = below.bottom().saturating_sub((choices - index) as u16);
        hits.push((Rect { y, height: 1, ..below }, Hit::Action(index)));
    }
    // Where there is not room for all of it, the choices stay.
    let skip = foot.len() - foot_height;
    frame.render_widget(Paragraph::new(foot.into_iter().skip(skip).collect::<Vec<_>>()), below);
}

fn heading(state: &State, run: &RunScreen, width: usize) -> Vec<Line<'static>> {
    let look = state.look;
    let (done, all) = run.progress.measure();
    let took = duration(Duration::from_millis(run.elapsed_ms(state.now)));
    let what = match (run.purpose, run.progress.command.as_str()) {
        (_, "") => "beginning".to_owned(),
        (Purpose::Rehearsal, _) if run.over.is_some() => format!("rehearsal of {}", run.progress.playbook),
        (Purpose::Rehearsal, _) => match run.progress.parts.last() {
            Some(part) => format!("rehearsal: {part}"),
            None => "rehearsal: setting the stage".to_owned(),
        },
        (_, command) => format!("{command} {}", run.progress.playbook),
    };
    let sign = match run.over {
        None => look.turning(state.tick),
        Some(0) => look.done(),
        Some(_) => look.failed(),
    };
    let style = match run.over {
        None => look.strong(),
        Some(0) => look.good(),
        Some(_) => look.bad(),
    };
    let first = Line::styled(fit(&format!("{sign} {what}, {took}"), width), style);
    let mut words = format!(" {done} of {}", count(all, "change"));
    let so_far = totals(&run.progress.bill_so_far());
    if run.purpose == Purpose::Apply && !so_far.is_empty() {
        let _ = write!(words, ", {so_far} so far");
    }
    let bar = look.bar(width.saturating_sub(words.len() + 1).min(40), done, all.max(1));
    vec![first, Line::from(format!("{bar}{words}"))]
}

fn step_lines(
    state: &State,
    run: &RunScreen,
    index: usize,
    name: &str,
    step: Option<&StepRows>,
    width: usize,
) -> Vec<Line<'static>> {
    let look = state.look;
    let here = run.selected == index;
    let mut text = String::new();
    let mut style = ratatui::style::Style::new();
    let sign = match step {
        None => " ",
        Some(step) => {
            let made = step.rows.iter().filter(|row| matches!(row.stand, Stand::Done(_))).count();
            text = format!("{made}/{}", step.rows.len());
            let running = step.rows.iter().find_map(|row| match row.stand {
                Stand::Running(since) => Some((row, since)),
                _ => None,
            });
            if let Some(failed) = step.rows.iter().find(|row| row.stand == Stand::Failed) {
                let _ = write!(text, "  failed: {}", failed.address);
                style = look.bad();
                look.failed()
            } else if let (Some((row, _)), true) = (running, run.over.is_some()) {
                let _ = write!(text, "  was at {}", row.address);
                look.ahead()
            } else if let Some((row, since)) = running {
                let took = duration(Duration::from_millis(millis(since, state.now)));
                let within = row.address.strip_prefix("host/").and_then(|rest| rest.split_once('/'));
                let what = within.map_or(row.address.as_str(), |(_, what)| what);
                let usual = state.usual.get(&kind_of(&row.address)).filter(|_| run.purpose == Purpose::Apply);
                let usual = usual.map(|ms| format!(" of usually {}", duration(Duration::from_millis(*ms))));
                let _ = write!(text, "  {took}{}, {} {what}", usual.unwrap_or_default(), row.verb);
                style = look.strong();
                look.turning(state.tick)
            } else if made == step.rows.len() {
                style = look.good();
                look.done()
            } else {
                let needed = run.progress.waits_for(step);
                let is_next =
                    run.progress.steps.iter().find(|other| !other.is_done()).is_some_and(|next| next.step == step.step);
                let _ = match &run.progress.waiting {
                    _ if run.over.is_some() && made > 0 => write!(text, "  not finished"),
                    _ if run.over.is_some() => write!(text, "  not begun"),
                    Some(what) if is_next => write!(text, "  waits for {what}"),
                    _ if needed.is_empty() => write!(text, "  waits for its turn"),
                    _ => write!(text, "  waits for {}", needed.join(", ")),
                };
                look.ahead()
            }
        }
    };
    let mark = if here { look.here() } else { " " };
    let style = if here { style.patch(look.chosen()) } else { style };
    let parts = wrap(&look.text(&text), width.saturating_sub(NAME + 5)).into_iter().enumerate();
    parts
        .map(|(part, text)| match part {
            0 => Line::from(vec![
                Span::raw(format!("{mark} ")),
                Span::styled(format!("{sign} {:<NAME$} {text}", fit(name, NAME)), style),
            ]),
            _ => Line::styled(format!("{}{text}", " ".repeat(NAME + 5)), look.faint()),
        })
        .collect()
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, state: &State, run: &RunScreen) {
    let look = state.look;
    if area.height == 0 {
        return;
    }
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let lines = run.lines();
    let mut title = format!("{} log, {}", if look.ascii { "--" } else { "──" }, count(lines.len(), "line"));
    if run.filtering || !run.filter.value().is_empty() {
        let _ = write!(title, ", with /{}", run.filter.value());
    }
    if run.scroll > 0 {
        let _ = write!(title, ", {} back", run.scroll);
    }
    frame.render_widget(Line::styled(look.text(&title), look.faint()), head);
    // Only what is in sight is laid out, so that a long log costs nothing.
    let width = usize::from(area.width);
    let height = usize::from(body.height);
    let end = lines.len().saturating_sub(run.scroll);
    let mut shown: Vec<Line<'_>> = Vec::new();
    for line in lines[..end].iter().rev() {
        if shown.len() >= height {
            break;
        }
        let clock = line.at.strftime("%H:%M:%S").to_string();
        let parts = wrap(&look.text(&line.text), width.saturating_sub(10));
        for (index, part) in parts.iter().enumerate().rev() {
            let lead = if index == 0 { format!("{clock} ") } else { " ".repeat(9) };
            shown.push(Line::from(vec![Span::styled(lead, look.faint()), Span::raw(part.clone())]));
        }
    }
    shown.truncate(height);
    shown.reverse();
    frame.render_widget(Paragraph::new(shown), body);
}

fn foot(state: &State, run: &RunScreen, width: usize) -> Vec<Line<'static>> {
    let look = state.look;
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut say = |text: &str, style, indent: usize| {
        for line in wrap(&look.text(text), width.saturating_sub(indent)) {
            lines.push(Line::styled(format!("{}{line}", " ".repeat(indent)), style));
        }
    };
    let plain = ratatui::style::Style::new();
    if let (None, Some(what)) = (run.over, &run.progress.waiting) {
        say(&format!("waiting for {what}"), look.faint(), 0);
    }
    if run.stopping && run.over.is_none() {
        say("stopping after the change in hand; Ctrl-C once more to stop now", look.bad(), 0);
    }
    if let Some(asked) = run.progress.asked.as_ref().filter(|_| run.purpose != Purpose::Rehearsal && run.over.is_none())
    {
        let bill = totals(&run.progress.bill);
        let bill = if bill.is_empty() { String::new() } else { format!(", for {bill} a month") };
        match asked.losses.is_empty() {
            true => say(&format!("make {}{bill}? Enter yes, Esc no", count(asked.changes, "change")), look.strong(), 0),
            false => {
                say(&format!("data will be lost: {}", asked.losses.join(", ")), look.bad(), 0);
                let name = &run.progress.playbook;
                say(&format!("type {name} and Enter to go on, Esc for no: {}", run.typed.value()), look.strong(), 0);
            }
        }
    }
    let Some(code) = run.over else { return lines };
    if let Some(end) = &run.progress.end
        && let Some(failure) = &end.failure
    {
        say(&format!("what happened: {}", failure.message), look.bad(), 0);
        for cause in &failure.causes {
            say(&format!("because: {}", cause.replace('\n', " ")), plain, 2);
        }
        if let Some(hint) = &failure.hint {
            say(&format!("what to do: {hint}"), plain, 2);
        }
        if !end.exists.is_empty() {
            let costs = totals(&end.bill);
            let costs = if costs.is_empty() { String::new() } else { format!(", for {costs} a month") };
            say(&format!("what exists now{costs}: {}", end.exists.join(", ")), plain, 2);
        }
    }
    if run.purpose == Purpose::Destroy && code == 0 {
        say(&format!("everything that carried the name {} is gone", run.progress.playbook), look.good(), 0);
    }
    if run.purpose == Purpose::Rehearsal {
        let passed = run.progress.probes.iter().filter(|(_, passed, _)| *passed).count();
        for (what, _, saw) in run.progress.probes.iter().filter(|(_, passed, _)| !passed) {
            say(&format!("NOT OK {what}: {saw}"), look.bad(), 0);
        }
        let all = run.progress.probes.len();
        let bill = totals(&state.bill);
        let bill = if bill.is_empty() { String::new() } else { format!("; for real it costs {bill} a month") };
        if code == 0 {
            say(&format!("rehearsed: {passed} of {} passed{bill}", count(all, "look")), look.good(), 0);
        }
    }
    for (index, choice) in run.choices().into_iter().enumerate() {
        let here = index == run.choice;
        let sign = if here { look.here() } else { " " };
        let style = if here { look.chosen() } else { plain };
        lines.push(Line::from(vec![Span::raw(format!("{sign} ")), Span::styled(choice.in_words(), style)]));
    }
    lines
}
