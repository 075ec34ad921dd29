//! The door to other people's programs on this machine: the SSH client, and judges.
#![expect(clippy::disallowed_types, reason = "this is the door")]

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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

/// Runs a program in the foreground, with our own terminal. Gives its exit code.
pub fn foreground(program: &PathBuf, arguments: &[String]) -> Result<u8, Failure> {
    let status = command(program, arguments)
        .status()
        .map_err(|e| Failure::new(Kind::Failed, format!("cannot run {}", program.display())).because(e))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
