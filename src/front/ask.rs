//! The plain wizard's prompts: one line each, nothing that moves.

use std::fmt::Write as _;
use std::path::PathBuf;

use inquire::InquireError;

use crate::estimate::{self, menu::Priced};
use crate::front::plan::render_bill;
use crate::front::tui::state::{Beginning, Review};
use crate::interview;
use crate::model::draft::Draft;
use crate::model::event::BillLine;
use crate::model::failure::{Failure, Kind};
use crate::model::question::{Choices, Lookup, Question};

/// How many choices of a list are printed.
const SHOWN: usize = 12;

fn trouble(e: InquireError) -> Failure {
    match e {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            Failure::new(Kind::Stopped, "stopped as you asked")
                .hint("every page you finished is saved; `landfall --plain --playbook FILE` goes on")
        }
        other => Failure::new(Kind::Failed, "cannot ask").because(other).hint("give answers with --set key=value"),
    }
}

fn number_of(question: &str, titles: &[&str]) -> Result<usize, Failure> {
    let mut text = String::new();
    for (index, title) in titles.iter().enumerate() {
        let _ = writeln!(text, "  {} {title}", index + 1);
    }
    super::complain(&text);
    let count = titles.len();
    let right = move |typed: &str| {
        let number = typed.trim().parse::<usize>().ok().filter(|number| (1..=count).contains(number));
        Ok(match number {
            Some(_) => inquire::validator::Validation::Valid,
            None => inquire::validator::Validation::Invalid(format!("a number from 1 to {count}").into()),
        })
    };
    let typed = inquire::Text::new(question).with_default("1").with_validator(right).prompt().map_err(trouble)?;
    Ok(typed.trim().parse::<usize>().unwrap_or(1) - 1)
}

/// What shall be done first.
pub fn beginning() -> Result<Beginning, Failure> {
    let titles: Vec<&str> = Beginning::ALL.iter().map(|(_, title, _)| *title).collect();
    Ok(Beginning::ALL[number_of("what now?", &titles)?].0)
}

/// What shall be done with a playbook that is whole: the number of the review's action.
pub fn what_now() -> Result<usize, Failure> {
    number_of("what now?", Review::ACTIONS)
}

/// The path of a playbook; the first of `files` unless another is typed.
pub fn path(files: &[String]) -> Result<PathBuf, Failure> {
    let first = files.first().cloned().unwrap_or_default();
    let mut prompt = inquire::Text::new("which playbook?");
    if !first.is_empty() {
        prompt = prompt.with_default(&first);
    }
    Ok(PathBuf::from(prompt.prompt().map_err(trouble)?.trim()))
}

/// Asks one question until the answer is right. Gives what was typed; nothing for the default.
pub fn question(question: &Question, choices: &Choices, draft: &Draft) -> Result<String, Failure> {
    let mut text = format!("  {}\n", question.help);
    for choice in choices.all.iter().filter(|choice| choice.usable).take(SHOWN) {
        let cells: Vec<&str> = choice.cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        let _ = writeln!(text, "    {}  {}", choice.value, cells.join(", "));
    }
    if !choices.source.is_empty() {
        let _ = writeln!(text, "    {}", choices.source);
    }
    super::complain(&text);
    let mut default = interview::current(draft, question, false).or_else(|| question.default.clone());
    if default.is_none() && question.lookup == Some(Lookup::PublicKeys) {
        default = choices.all.first().map(|choice| choice.value.clone());
    }
    let asked = question.clone();
    let has_default = default.is_some();
    let is_key_list = question.lookup == Some(Lookup::PublicKeys);
    let right = move |typed: &str| {
        let typed = typed.trim();
        if (typed.is_empty() && has_default) || (is_key_list && typed == crate::front::tui::MAKE_KEY) {
            return Ok(inquire::validator::Validation::Valid);
        }
        Ok(match asked.read(typed) {
            Ok(_) => inquire::validator::Validation::Valid,
            Err(why) => inquire::validator::Validation::Invalid(why.into()),
        })
    };
    let label = format!("{}:", question.ask);
    let mut prompt = inquire::Text::new(&label).with_validator(right);
    if let Some(default) = &default {
        prompt = prompt.with_default(default);
    }
    Ok(prompt.prompt().map_err(trouble)?.trim().to_owned())
}

/// The bill of a finished playbook, in lines.
pub fn bill(draft: &Draft, priced: &[Priced]) -> String {
    let wanted = interview::wanted(draft);
    let mut lines = Vec::new();
    let mut out = String::new();
    for priced in priced {
        match estimate::bill(&priced.catalog, &wanted) {
            Ok(of_it) => lines.extend(of_it),
            Err(failure) => {
                let _ = writeln!(out, "  {failure} ({})", priced.source);
            }
        }
    }
    lines.extend(estimate::rented_bill(&wanted));
    let views: Vec<BillLine> = lines.iter().map(BillLine::from).collect();
    if views.is_empty() {
        out.push_str("costs nothing a month\n");
    } else {
        out.push_str(&render_bill(&views));
    }
    out
}
