//! What is wrong with a playbook, and where: rendered with the line, a caret and a hint.

use std::fmt::Write as _;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::model::name::nearest;
use crate::model::visible::{excerpt, is_hidden, visible};

/// How many characters of a line of the playbook, or of a message about it, are shown.
const LONGEST: usize = 400;

/// `text` as it may be shown: nothing that steers a terminal, and not endless.
fn short(text: &str) -> String {
    visible(&excerpt(text, LONGEST)).into_owned()
}

/// One thing that is wrong with a playbook.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where, in bytes of the playbook's text.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at `at` that says `message`.
    pub fn new(at: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { at, message: short(&message.into()), expected: None, hint: None }
    }

    /// Says what would have been right.
    pub fn expected(mut self, expected: impl Into<String>) -> Problem {
        self.expected = Some(short(&expected.into()));
        self
    }

    /// Says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(short(&hint.into()));
        self
    }

    /// Offers the name most likely meant by `typed`, if one is near.
    pub fn did_you_mean<'a>(self, typed: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        match nearest(typed, known) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Turns an error of the TOML reader into a problem; `otherwise` is where it is when the reader does not say.
    pub fn from_toml(error: &toml::de::Error, otherwise: Range<usize>) -> Problem {
        let at = error.span().unwrap_or(otherwise);
        let text = error.message().lines().collect::<Vec<_>>().join("; ");
        let Some((message, expected)) = text.split_once(", expected ") else {
            let missing = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
            let hint = missing.map(|field| format!("add a line `{field} = …`; docs/playbook.md says what it takes"));
            return Problem { hint, ..Problem::new(at, text) };
        };
        let problem = Problem::new(at, message.to_owned()).expected(in_words(expected));
        let quoted = message.strip_prefix("invalid type: string \"").and_then(|rest| rest.strip_suffix('"'));
        if let Some(number) = quoted.filter(|text| text.parse::<f64>().is_ok() || matches!(*text, "true" | "false")) {
            return problem.hint(format!("take the quotes away: {number}"));
        }
        let unknown = message.strip_prefix("unknown field `").or(message.strip_prefix("unknown variant `"));
        match unknown.and_then(|rest| rest.strip_suffix('`')) {
            Some(typed) => problem.did_you_mean(typed, expected.split('`').skip(1).step_by(2)),
            None => problem,
        }
    }

    /// Where the problem is, and its text, for people and for machines.
    pub fn locate(&self, path: &str, text: &str) -> Located {
        // Whoever read the text may count without a mark at its beginning, which others put there.
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let start = boundary(self.at.start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = boundary(self.at.end.clamp(start, line_end));
        // Of a very long line only what stands around the place.
        let before =
            text[line_start..start].char_indices().rev().nth(LONGEST / 2).map_or(line_start, |(i, _)| line_start + i);
        let after = text[start..line_end].char_indices().nth(LONGEST / 2).map_or(line_end, |(i, _)| start + i);
        let end = end.min(after);
        Located {
            path: visible(path).into_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            indent: text[before..start].chars().count(),
            width: text[start..end].chars().count().max(1),
            source: match text[line_start..line_end].contains("PRIVATE KEY") {
                true => "(a private key is not shown)".to_owned(),
                false => text[before..after].trim_end_matches('\r').replace(is_hidden, "\u{fffd}"),
            },
            message: self.message.clone(),
            expected: self.expected.clone(),
            hint: self.hint.clone(),
        }
    }
}

/// A problem with its line, ready to be shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Located {
    /// The playbook's path as the user gave it.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters of `source` stand before the place.
    #[serde(skip)]
    pub indent: usize,
    /// How many characters are meant, on this line.
    #[serde(skip)]
    pub width: usize,
    /// The line itself.
    pub source: String,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Located {
    /// The problem as people read it.
    pub fn render(&self) -> String {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs keep their width above the caret.
        let indent: String =
            self.source.chars().take(self.indent).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let mut out = format!("error: {}\n", self.message);
        let carets = "^".repeat(self.width);
        let _ = writeln!(out, "{margin}--> {}:{}:{}", self.path, self.line, self.column);
        let _ = writeln!(out, "{margin} |\n{number} | {}\n{margin} | {indent}{carets}", self.source);
        if let Some(expected) = &self.expected {
            let _ = writeln!(out, "{margin} = expected: {expected}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "{margin} = hint: {hint}");
        }
        out
    }
}

/// Says a type's name as a person would.
fn in_words(expected: &str) -> String {
    match expected {
        "u16" => "a whole number up to 65535".to_owned(),
        "u32" | "u64" => "a whole number".to_owned(),
        "i32" | "i64" => "a whole number, perhaps negative".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text in quotes".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table in braces".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_with_line_caret_expectation_and_hint() {
        let text = "schema = 1\n\tprot = 3000\n";
        let at = text.find("prot").unwrap();
        let problem =
            Problem::new(at..at + 4, "unknown field `prot`").expected("one of `port`").hint("did you mean `port`?");
        insta::assert_snapshot!(problem.locate("acme.toml", text).render(), @r"
        error: unknown field `prot`
         --> acme.toml:2:2
          |
        2 | 	prot = 3000
          | 	^^^^
          = expected: one of `port`
          = hint: did you mean `port`?
        ");
    }

    #[test]
    fn a_place_beyond_the_text_is_no_panic() {
        let located = Problem::new(90..99, "gone").locate("x", "a\nö");
        assert_eq!((located.line, located.column), (2, 2));
    }
}
