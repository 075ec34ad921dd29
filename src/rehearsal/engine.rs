//! This machine's Docker engine, by its command line.
#![expect(clippy::disallowed_types, reason = "the rehearsal's own door")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::model::secret::is_secret_variable;

/// A Docker engine that answers.
#[derive(Clone, Debug)]
pub struct Engine(());

impl Engine {
    /// Finds the engine that the command `docker` speaks to. The error says what to do.
    pub async fn find() -> Result<Engine, String> {
        let engine = Engine(());
        match engine.docker(&["version", "--format", "{{.Server.Version}}"]).await {
            Ok(_) => Ok(engine),
            Err(why) => Err(why),
        }
    }

    /// Runs `docker` with these arguments. Gives what it prints, or the end of what it complains.
    pub async fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        self.docker_with_input(arguments, vec![]).await
    }

    /// The same, with `input` on its standard input.
    pub async fn docker_with_input(&self, arguments: &[&str], input: Vec<u8>) -> Result<String, String> {
        let mut command = Command::new("docker");
        command.args(arguments);
        run(command, input).await
    }

    /// Fetches `url` from `address`, whatever its name resolves to, trusting only the authority whose
    /// certificate is in the file `authority`. Gives headers and body.
    pub async fn fetch(&self, url: &str, host: &str, address: &str, authority: &Path) -> Result<String, String> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "60"]);
        command.args(["--resolve", &format!("{host}:443:{address}"), "--resolve", &format!("{host}:80:{address}")]);
        command.arg("--cacert").arg(authority).args(["--", url]);
        run(command, vec![]).await
    }

    /// Runs a shell script with these arguments.
    pub async fn shell(&self, script: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("/bin/sh");
        command.arg(script).args(arguments);
        run(command, vec![]).await
    }
}

/// Runs a program of this machine: its words, and what it reads. Gives what it prints, or the end of what it complains.
pub(super) async fn program(words: &[&str], input: Vec<u8>) -> Result<String, String> {
    let (name, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(name);
    command.args(arguments).current_dir("/");
    run(command, input).await
}

/// Tells a process of ours to stop at once.
pub(super) fn quit(process: &str) {
    let _ = Command::new("kill").args(["-QUIT", process]).output();
}

async fn run(mut command: Command, input: Vec<u8>) -> Result<String, String> {
    // Secrets come in the environment; nothing that is started here needs them.
    for (name, _) in std::env::vars_os() {
        if is_secret_variable(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    let what = command.get_program().to_string_lossy().into_owned();
    let ran = tokio::task::spawn_blocking(move || {
        // A group of its own, so that Ctrl-C reaches us alone and we clean up in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that does not read all of it says so itself.
            let _ = pipe.write_all(&input);
        }
        child.wait_with_output()
    });
    match ran.await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let lines: Vec<&str> = text.trim().lines().collect();
            Err(lines[lines.len().saturating_sub(12)..].join("\n"))
        }
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => Err(format!("the command `{what}` is not installed")),
        Ok(Err(e)) => Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}
