//! What GitHub Actions reads from a job's output: groups that fold, and annotations. See "Workflow commands for GitHub
//! Actions" in its documentation.

use crate::model::event::FailureView;
use crate::model::problem::Located;

/// Is this a job of GitHub Actions? It says so in its environment.
pub fn are_here() -> bool {
    std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true")
}

/// A value behind the last colons.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value between the name and the colons.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Opens a group.
pub fn group(title: &str) -> String {
    format!("::group::{}\n", data(title))
}

/// Closes it.
pub const END_OF_GROUP: &str = "::endgroup::\n";

/// Marks a run as failed.
pub fn failure(command: &str, failure: &FailureView) -> String {
    let mut text = failure.message.clone();
    for cause in &failure.causes {
        text.push_str("\nbecause: ");
        text.push_str(cause);
    }
    if let Some(hint) = &failure.hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    format!("::error title={}::{}\n", property(&format!("landfall {command}")), data(&text))
}

/// Marks a place in a playbook.
pub fn problem(problem: &Located) -> String {
    let hint = problem.expected.as_ref().map(|expected| format!("\nexpected: {expected}")).unwrap_or_default();
    format!(
        "::error file={},line={},col={}::{}\n",
        property(&problem.path),
        problem.line,
        problem.column,
        data(&format!("{}{hint}", problem.message))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Kind;

    #[test]
    fn a_message_cannot_break_out_of_its_annotation() {
        let view = FailureView {
            kind: Kind::Failed,
            message: "100 %\n::set-output name=x::y".into(),
            causes: vec![],
            hint: Some("a, b: c".into()),
        };
        let text = failure("apply", &view);
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("::error title=landfall apply::100 %25%0A::set-output"), "{text}");
        let located = Located {
            path: "a,b:c.toml".into(),
            line: 2,
            column: 3,
            indent: 0,
            width: 1,
            source: String::new(),
            message: "bad".into(),
            expected: None,
            hint: None,
        };
        assert_eq!(problem(&located), "::error file=a%2Cb%3Ac.toml,line=2,col=3::bad\n");
    }
}
