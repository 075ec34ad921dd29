//! Running one of our own programs on a host, and handing on what it says line by line.

use std::sync::{Arc, Mutex, PoisonError};

use crate::doors::Doors;
use crate::doors::ssh::Signs;
use crate::model::event::Report;
use crate::model::failure::{Failure, Kind};
use crate::model::machine::HostAt;
use crate::providers::host::apply::stop_file;
use crate::providers::host::script::{Script, words};
use crate::providers::host::{host_id, new_mark};

/// One line of such a program: a word, and a text.
pub type Said = (String, String);

/// Runs the program `run`, its name and its arguments, as root on the host `at`. What it prints are lines of a word, a
/// tab and a text, each handed to `tell`, too. Gives all of them and its exit status. Fails when the host cannot be
/// reached or the program is not there.
pub async fn errand(
    doors: &Doors,
    at: &HostAt,
    run: &[&str],
    report: &Report,
    mut tell: impl FnMut(&Said) + Send + 'static,
) -> Result<(Vec<Said>, i32), Failure> {
    let host = doors.ssh.open(&host_id(at)?, report).await?;
    let mark = new_mark();
    let mut script = Script::default();
    script.line(format!("mark={mark}"));
    script.line("exec 3>&1");
    // A sign of life, so that a lost connection is told apart from a long silence.
    script.line(
        "( while sleep 10 >/dev/null 3>&-; do printf '%salive\\n' \"$mark\"; done ) >&3 2>/dev/null </dev/null &",
    );
    script.line("heart=$!");
    script.line("trap 'kill \"$heart\" 2>/dev/null' EXIT");
    script.line(format!("status=$({{ {{ {} </dev/null 3>&- 4>&-; echo \"$?\" >&4; }} | while IFS= read -r line; do printf '%ssaid\\t%s\\n' \"$mark\" \"$line\" >&3; done; }} 4>&1)", words(run)));
    script.line("exit \"$status\"");

    let said: Arc<Mutex<Vec<Said>>> = Arc::default();
    let all = said.clone();
    let on_line = move |line: &str| {
        let Some((word, text)) = line.strip_prefix("said\t").map(|said| said.split_once('\t').unwrap_or((said, "")))
        else {
            return;
        };
        let said = (word.to_owned(), text.to_owned());
        tell(&said);
        all.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    };
    let stop = stop_file(&mark);
    let output = host.run(script.into_text(), mark, stop, Signs::default(), report.clone(), on_line).await?;
    let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    if output.status == 127 {
        return Err(Failure::new(
            Kind::Failed,
            format!("the program {} is not on the host", run.first().unwrap_or(&"")),
        )
        .hint("`landfall apply` puts it there"));
    }
    Ok((said, output.status))
}
