//! The one script that changes a host, and what its lines mean.

use crate::model::diff::{ReadyChange, Verb};
use crate::model::failure::Failure;
use crate::model::resource::Spec;
use crate::model::secret::Keys;
use crate::providers::host::facts::{MADE, MARKS, made_line};
use crate::providers::host::guard::{self, GUARD, WINDOW};
use crate::providers::host::kinds;
use crate::providers::host::questions::Questions;
use crate::providers::host::script::{Script, quote, words};

const FUNCTIONS: &str = include_str!("../../../templates/host-functions");
const GUARD_FUNCTIONS: &str = include_str!("../../../templates/host-guard");

/// The file that is made on the host when the user wants to stop this run; the script looks for it before
/// each change. `mark` tells runs apart.
pub(crate) fn stop_file(mark: &str) -> String {
    format!("/run/landfall/stop.{}", mark.trim_end_matches(':'))
}

/// The script for `changes`, each told as it begins and ends in lines that begin with `mark`, and after
/// them the answers to `questions`. All packages are installed first and in one transaction.
pub(super) fn script(
    changes: &[ReadyChange],
    questions: &Questions,
    keys: &dyn Keys,
    mark: &str,
) -> Result<String, Failure> {
    let mut out = Script::default();
    // The script looks five times a second.
    let window = WINDOW * 5;
    out.line(format!("mark={mark} marks={MARKS} made={MADE} stop={} guard={GUARD} window={window}", stop_file(mark)));
    out.line(FUNCTIONS);
    out.line(GUARD_FUNCTIONS);
    let token = |index: usize| token(mark, index);

    let is_install =
        |change: &ReadyChange| matches!(change.resource.spec, Spec::Package(_)) && change.verb == Verb::Create;
    let installs: Vec<(usize, &ReadyChange)> = changes.iter().enumerate().filter(|(_, c)| is_install(c)).collect();
    if !installs.is_empty() {
        let names = words(installs.iter().map(|(_, change)| change.resource.address.name.as_str()));
        out.line("install_all() {");
        out.line(format!("install_packages {names}"));
        out.line("}");
    }
    for (index, change) in changes.iter().enumerate().filter(|(_, c)| !is_install(c)) {
        guard::arm(index, &change.resource, &token(index), &mut out);
        out.line(format!("change_{index}() {{"));
        match &change.verb {
            Verb::Delete => {
                kinds::unmake(&change.resource, &mut out);
                // What is guarded may yet be undone, and then is ours as before.
                if !change.resource.spec.is_guarded() {
                    forget(change, &mut out);
                }
            }
            verb => {
                if matches!(verb, Verb::Replace(_)) {
                    kinds::unmake(&change.resource, &mut out);
                }
                kinds::make(&change.resource, keys, &mut out)?;
            }
        }
        out.line("}");
        if change.resource.spec.is_guarded() {
            out.line(format!("after_{index}() {{"));
            match change.verb {
                Verb::Delete => forget(change, &mut out),
                _ => drop(out.line(":")),
            }
            out.line("}");
        }
    }

    out.line("observe() {");
    questions.script(mark, &mut out);
    out.line("}");
    out.line("main() {");
    out.line("undo_what_was_cut_off");
    for change in changes {
        kinds::forget(&change.resource, &mut out);
        if change.verb != Verb::Delete && takes_over(change) {
            out.line(format!("note_made {}", quote(&made_line(&change.resource))));
        }
    }
    if !installs.is_empty() {
        out.line(format!("change install_all {}", words(installs.iter().map(|(index, _)| index.to_string()))));
    }
    for (index, change) in changes.iter().enumerate().filter(|(_, c)| !is_install(c)) {
        match change.resource.spec.is_guarded() {
            true => out.line(format!("guarded change_{index} {index} {}", token(index))),
            false => out.line(format!("change change_{index} {index}")),
        };
    }
    out.line("observe");
    out.line("}");
    // All of it has been read before any of it runs, so no command can swallow the rest.
    out.line("main </dev/null");
    Ok(out.into_text())
}

/// Shell text after which a resource that was taken away is no longer ours, and what stood in its place before
/// is no longer kept.
fn forget(change: &ReadyChange, out: &mut Script) {
    out.line(format!("note_unmade {}", quote(&made_line(&change.resource))));
    if let Some(path) = change.resource.spec.path() {
        out.line(format!("forget_original {}", quote(path)));
    }
}

/// Does this change make the resource ours? What is made anew is; so is a file whose former content is
/// kept aside and comes back when ours goes.
fn takes_over(change: &ReadyChange) -> bool {
    match (&change.verb, &change.resource.spec) {
        (Verb::Create, _) | (_, Spec::File(_) | Spec::Settings(_) | Spec::JsonSettings(_) | Spec::Mount(_)) => true,
        // A service that slept until we woke it.
        (Verb::Update(fields), Spec::Service(_)) => {
            fields.iter().any(|change| change.field == "enabled" && change.from == Some(false.into()))
        }
        _ => false,
    }
}

/// What the guarded change of this index asks to be proved with: the end of a file's name.
pub(super) fn token(mark: &str, index: usize) -> String {
    format!("{}-{index}", mark.trim_end_matches(':'))
}

/// A line of the answer, apart from the facts.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// The changes of these indices begin.
    Begin(Vec<usize>),
    /// They are done.
    Done(Vec<usize>),
    /// They failed with this exit status and these last lines of output.
    Failed(Vec<usize>, i32, String),
    /// The guarded change of this index waits until a new connection has left this token.
    Prove(String, usize),
    /// The script stopped because the user wanted to.
    Stopped,
    /// Another Landfall changes this host.
    Busy,
    /// Something else.
    Other,
}

/// Reads one line of the answer, without its mark.
pub(super) fn read(line: &str) -> Line {
    let indices = |text: &str| text.split(' ').filter_map(|index| index.parse().ok()).collect();
    match line.split('\t').collect::<Vec<_>>()[..] {
        ["begin", list] => Line::Begin(indices(list)),
        ["done", list] => Line::Done(indices(list)),
        ["failed", list, status, log] => {
            let log = data_encoding::BASE64.decode(log.as_bytes()).unwrap_or_default();
            Line::Failed(indices(list), status.parse().unwrap_or(-1), String::from_utf8_lossy(&log).trim().to_owned())
        }
        ["prove", token, index] => Line::Prove(token.to_owned(), index.parse().unwrap_or(usize::MAX)),
        ["stopped"] => Line::Stopped,
        ["busy"] => Line::Busy,
        _ => Line::Other,
    }
}
