use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::world::{skipped, told};

/// The program's simulators, served until dropped.
struct Simulated {
    child: std::process::Child,
    apis: Value,
}

impl Simulated {
    fn start(api: &str) -> Simulated {
        use std::io::BufRead as _;
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        let mut child = command.args(["simulate", api]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Simulated { child, apis: serde_json::from_str(&line).expect("one line of JSON") }
    }

    fn get(&self, api: &str, field: &str) -> String {
        self.apis[api][field].as_str().unwrap().to_owned()
    }

    /// Asks an API directly.
    fn ask(&self, api: &str, path: &str) -> Value {
        let url = format!("{}{path}", self.get(api, "url"));
        let header = format!("Authorization: Bearer {}", self.get(api, "token"));
        let output = Command::new("curl").args(["--silent", "--header", &header, &url]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `make test` installs other people's clients; `None`, said aloud, where that was not done.
fn clients() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients");
    if folder.join("installed").exists() {
        return Some(folder);
    }
    assert!(std::env::var_os("LANDFALL_HOST_TESTS").is_none(), "the clients are not installed: run `make test`");
    skipped("other people's clients are not installed in target/clients; `make test` does that");
    None
}

/// Runs the script `with_<api>.py` with these variables. Everything in it must pass, and there must be something.
fn run(folder: &Path, api: &str, variables: &[(&str, String)]) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.arg(format!("tests/clients/with_{api}.py")).env("HOME", home.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    for (name, value) in variables {
        command.env(name, value);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{api}:\n{out}\n{err}");
    let passed = out.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= 10, "{api}: only {passed} checks:\n{out}");
    told(&format!("{api}: {passed} checks by a client of others"));
}

#[test]
fn hcloud_for_python_works_with_the_simulated_hetzner() {
    let Some(folder) = clients() else { return };
    let simulated = Simulated::start("hetzner");
    let variables = [
        ("HCLOUD_URL", simulated.get("hetzner", "url")),
        ("HCLOUD_TOKEN", simulated.get("hetzner", "token")),
        ("HCLOUD_READ_ONLY_TOKEN", simulated.get("hetzner", "read_only_token")),
    ];
    run(&folder, "hetzner", &variables);
}

#[test]
fn pydo_works_with_the_simulated_digitalocean() {
    let Some(folder) = clients() else { return };
    let simulated = Simulated::start("digitalocean");
    let url = simulated.get("digitalocean", "url").trim_end_matches("/v2").to_owned();
    run(&folder, "digitalocean", &[("DO_URL", url), ("DO_TOKEN", simulated.get("digitalocean", "token"))]);
}

#[test]
fn cloudflare_for_python_works_with_the_simulated_cloudflare() {
    let Some(folder) = clients() else { return };
    let simulated = Simulated::start("cloudflare");
    let account = simulated.ask("cloudflare", "/accounts")["result"][0]["id"].as_str().unwrap().to_owned();
    let variables = [
        ("CF_URL", simulated.get("cloudflare", "url")),
        ("CF_TOKEN", simulated.get("cloudflare", "token")),
        ("CF_ACCOUNT", account),
    ];
    run(&folder, "cloudflare", &variables);
}

#[test]
fn neon_api_for_python_works_with_the_simulated_neon() {
    let Some(folder) = clients() else { return };
    let simulated = Simulated::start("neon");
    let variables = [("NEON_URL", simulated.get("neon", "url")), ("NEON_TOKEN", simulated.get("neon", "token"))];
    run(&folder, "neon", &variables);
}

#[test]
fn the_supabase_command_line_works_with_the_simulated_supabase() {
    let Some(folder) = clients() else { return };
    let simulated = Simulated::start("supabase");
    let organizations = simulated.ask("supabase", "/organizations");
    let paid = organizations.as_array().unwrap().iter().find(|o| o["name"] == "acme-pro").unwrap();
    let variables = [
        ("SUPABASE_CLI", folder.join("node_modules/@supabase/cli-linux-x64/bin/supabase").display().to_string()),
        ("SB_URL", simulated.get("supabase", "url").trim_end_matches("/v1").to_owned()),
        ("SB_TOKEN", simulated.get("supabase", "token")),
        ("SB_ORG", paid["slug"].as_str().unwrap().to_owned()),
    ];
    run(&folder, "supabase", &variables);
}
