//! The door to other people's programs on this machine: the SSH client, and judges.
#![expect(clippy::disallowed_types, reason = "this is the door")]

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::model::failure::{Failure, Kind};
use crate::model::secret::is_secret_variable;

/// The first of `names` that is on the path.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

/// A program with these arguments, and without the secrets in our own environment.
fn command(program: &PathBuf, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if is_secret_variable(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a program to its end, whatever its exit status. Gives what it printed. Fails where it cannot be started.
pub async fn output(program: PathBuf, arguments: Vec<String>) -> Result<String, Failure> {
    let name = program.display().to_string();
    let ran = tokio::task::spawn_blocking(move || command(&program, &arguments).stdin(Stdio::null()).output()).await;
    match ran.map_err(io::Error::other).and_then(|ran| ran) {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(e) => Err(Failure::new(Kind::Failed, format!("cannot run {name}")).because(e)),
    }
}

/// Stands by while the terminal is not as it was found, and puts it back when this process is ended in a way that leaves
/// it no time to do so itself.
pub struct Standby {
    child: Child,
    word: Option<ChildStdin>,
}

/// What the one who stands by does: keeps the settings, waits for the end of its input, and unless that ends with a word,
/// puts everything back. It ignores what ends others in its group, and keeps the terminal open from the start: where the
/// one that is killed began the session, nobody could open it later.
const STANDBY: &str = r#"trap "" HUP INT TERM TTOU; exec 3<>/dev/tty || exit 0; saved=$(stty -g <&3) || exit 0; echo ready
read -r word; [ "$word" = well ] && exit 0
stty "$saved" <&3; printf '\033[?1000l\033[?1002l\033[?1003l\033[?1006l\033[?2004l\033[?1049l\033[?25h' >&3"#;

/// Has somebody stand by for this terminal. `None` where that cannot be: then only the process itself looks after it.
pub fn stand_by() -> Option<Standby> {
    let shell = find(&["sh"])?;
    let mut command = command(&shell, &["-c".to_owned(), STANDBY.to_owned()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    // The settings must have been read before they are changed.
    let mut ready = String::new();
    let _ = child.stdout.take().map(|out| io::BufReader::new(out).read_line(&mut ready));
    let word = child.stdin.take();
    Some(Standby { child, word })
}

impl Drop for Standby {
    fn drop(&mut self) {
        if let Some(mut word) = self.word.take() {
            let _ = word.write_all(b"well\n");
        }
        let _ = self.child.wait();
    }
}

/// Runs a program in the foreground, with our own terminal. Gives its exit code.
pub fn foreground(program: &PathBuf, arguments: &[String]) -> Result<u8, Failure> {
    let status = command(program, arguments)
        .status()
        .map_err(|e| Failure::new(Kind::Failed, format!("cannot run {}", program.display())).because(e))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
