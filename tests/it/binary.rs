use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::world::new_key;

/// The program, with nothing of this machine's user in its environment; its home is `folder`.
pub(crate) fn landfall(folder: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
    command.env_clear().current_dir(folder).env("HOME", folder).env("XDG_STATE_HOME", folder.join("state"));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// `landfall simulate` as a process of its own; ends when dropped.
pub(crate) struct Simulated {
    child: Child,
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) read_only_token: String,
}

impl Simulated {
    pub(crate) fn start(folder: &Path) -> Simulated {
        let mut child = landfall(folder).arg("simulate").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("one line of JSON when ready");
        let text = |key: &str| ready["hetzner"][key].as_str().unwrap().to_owned();
        Simulated { child, url: text("url"), token: text("token"), read_only_token: text("read_only_token") }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program. Gives exit code, standard output and standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn help_teaches_and_the_version_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = run(landfall(folder.path()).arg("--help"));
    assert_eq!(code, 0);
    for word in
        ["plan", "apply", "check", "destroy", "rehearse", "simulate", "runs", "schema", "completions", "Exit codes"]
    {
        assert!(out.contains(word), "no `{word}` in the help");
    }
    let (code, out, _) = run(landfall(folder.path()).arg("--version"));
    assert_eq!((code, out), (0, format!("landfall {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(run(landfall(folder.path()).arg("paln")).0, 2);
    let (code, _, err) = run(landfall(folder.path()).args(["--plain", "plan", "no.toml"]));
    assert!(code == 2 && err.contains("are for the wizard"), "an option that would do nothing is refused: {err}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(landfall(folder.path()).args(["completions", shell])).1.contains("rehearse"), "{shell}");
    }
}

#[test]
fn the_schema_accepts_our_playbooks_and_refuses_what_we_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let (_, out, _) = run(landfall(folder.path()).arg("schema"));
    let schema: Value = serde_json::from_str(&out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for entry in
        std::fs::read_dir("playbooks").unwrap().flatten().filter(|e| e.path().extension().is_some_and(|x| x == "toml"))
    {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let playbook: Value = serde_json::to_value(toml::from_str::<toml::Value>(&text).unwrap()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&playbook).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", entry.path().display());
        let mut wrong = playbook.clone();
        wrong["step"][0]["loction"] = "fsn1".into();
        assert!(!validator.is_valid(&wrong), "an unknown answer");
        wrong = playbook;
        wrong["surprise"] = 1.into();
        assert!(!validator.is_valid(&wrong), "an unknown key");
    }
}

#[test]
fn tokens_and_endpoints_are_guarded() {
    let folder = tempfile::tempdir().unwrap();
    let simulated = Simulated::start(folder.path());
    let playbook = std::fs::canonicalize("playbooks/solo-hetzner.toml").unwrap();
    let plan = || {
        let mut command = landfall(folder.path());
        command.arg("plan").arg(&playbook);
        command
    };
    let endpoint = format!("hetzner={}", simulated.url);
    let (code, _, err) = run(plan().args(["--endpoint", &endpoint]));
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("https://console.hetzner.com") && err.contains("LANDFALL_SECRET_HETZNER_TOKEN"), "{err}");
    let (code, _, err) = run(plan().args(["--endpoint", &endpoint]).env("HCLOUD_TOKEN", "wrong-one"));
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("does not accept the token") && !err.contains("wrong-one"), "{err}");
    let (code, out, err) = run(plan().args(["--endpoint", &endpoint]).env("HCLOUD_TOKEN", &simulated.read_only_token));
    assert_eq!(code, 0, "a plan only reads: {err}");
    assert!(out.contains("‹web.ipv4›") || out.contains("+ host/web/compose/acme_app"), "a first plan is whole: {out}");
    for bad in ["hetzner=http://example.org/v1", "hetzner=ftp://x", "hetzner", "nobody=http://127.0.0.1:1"] {
        assert_eq!(run(plan().args(["--endpoint", bad])).0, 2, "{bad}");
    }
}

#[test]
fn a_plan_is_whole_and_silent_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let simulated = Simulated::start(folder.path());
    let playbook = std::fs::canonicalize("playbooks/solo-hetzner.toml").unwrap();
    let plan = |option: &str| {
        let mut command = landfall(folder.path());
        command.arg("plan").arg(&playbook).arg(option);
        command.env("LANDFALL_HETZNER_URL", &simulated.url).env("LANDFALL_SECRET_HETZNER_TOKEN", &simulated.token);
        run(&mut command)
    };
    let (code, out, _) = plan("--json");
    assert_eq!(code, 0);
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().enumerate().all(|(i, event)| event["v"] == 1 && event["seq"] == i + 1), "{out}");
    let planned = events.iter().find(|event| event["event"]["type"] == "planned").unwrap();
    let changes = planned["event"]["changes"].as_array().unwrap();
    let compose = changes.iter().find(|c| c["address"] == "host/web/file/srv/landfall/acme/app/compose.yaml").unwrap();
    let content = compose["fields"].as_array().unwrap().iter().find(|f| f["name"] == "content").unwrap();
    assert!(content["to"].as_str().unwrap().contains("‹web.ipv4›"), "what is not known yet stands as its name");
    assert_eq!(events.last().unwrap()["event"]["type"], "run-finished");
    let mut before = landfall(folder.path());
    before.args(["--json", "plan"]).arg(&playbook);
    before.env("LANDFALL_HETZNER_URL", &simulated.url).env("LANDFALL_SECRET_HETZNER_TOKEN", &simulated.token);
    let (_, same, _) = run(&mut before);
    assert_eq!(same.lines().count(), out.lines().count(), "an option of every command may stand before it");
    let (code, out, err) = plan("--quiet");
    assert_eq!((code, out.lines().count(), err.as_str()), (0, 2, ""), "{out}");
    assert!(!folder.path().join("state").exists(), "a plan leaves nothing behind");
}

#[test]
fn nothing_is_applied_without_a_word_and_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let simulated = Simulated::start(folder.path());
    new_key(&folder.path().join("key"));
    let public = std::fs::read_to_string(folder.path().join("key.pub")).unwrap();
    let text = std::fs::read_to_string("playbooks/solo-hetzner.toml").unwrap();
    let start = text.find("keys     = [").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    let text = format!("{}keys = [\"{}\"]{}", &text[..start], public.trim(), &text[end..]);
    std::fs::write(folder.path().join("p.toml"), text).unwrap();
    let apply = |key: &str| {
        let mut command = landfall(folder.path());
        command.args(["apply", "p.toml"]).env("LANDFALL_SSH_KEY", folder.path().join(key));
        command.env("LANDFALL_HETZNER_URL", &simulated.url).env("HCLOUD_TOKEN", &simulated.token);
        command
    };
    let (code, _, err) = run(&mut apply("key"));
    assert_eq!(code, 2, "nobody is here to approve: {err}");
    assert!(err.contains("--yes"), "{err}");

    new_key(&folder.path().join("other"));
    let (code, _, err) = run(apply("other").arg("--yes"));
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("is none of the playbook's keys"), "{err}");

    let (code, _, err) = run(apply("key").arg("--yes").env_remove("LANDFALL_SSH_KEY"));
    assert_eq!(code, 4, "no key anywhere: {err}");
    assert!(err.contains("ssh-add") && err.contains("~/.ssh"), "{err}");

    let (_, out, _) = run(landfall(folder.path()).arg("runs"));
    assert!(out.lines().all(|line| line.contains("failed, exit code")), "{out}");
    assert_eq!(out.lines().count(), 3, "each attempt is in the journal: {out}");
}

#[test]
fn of_two_at_the_same_time_one_runs_and_the_other_says_who_does() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state/landfall");
    let name = landfall::model::name::Name::parse("acme").unwrap();
    let held = landfall::cupboard::disk::lock(&state, &name, "apply").unwrap();
    let playbook = std::fs::canonicalize("playbooks/solo-hetzner.toml").unwrap();
    let (code, _, err) = run(landfall(folder.path()).arg("apply").arg(&playbook).arg("--yes").env("HCLOUD_TOKEN", "x"));
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&format!("`landfall apply`, process {}", std::process::id())), "{err}");
    drop(held);
    let (code, _, err) = run(landfall(folder.path())
        .arg("apply")
        .arg(&playbook)
        .arg("--yes")
        .env("HCLOUD_TOKEN", "x")
        .env("LANDFALL_HETZNER_URL", "http://127.0.0.1:1/v1"));
    assert_eq!(code, 4, "the lock is free again, and the next thing missing is a key: {err}");
}

#[test]
fn a_journal_cut_off_in_the_middle_is_read_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("state/landfall/acme/runs");
    std::fs::create_dir_all(&runs).unwrap();
    let journal = "{\"v\":1,\"event\":{\"type\":\"run-started\",\"command\":\"apply\"}}\n{\"v\":1,\"event\":{\"type\":\"change-done\"}}\n{\"v\":1,\"ev";
    for cut in 0..=journal.len() {
        std::fs::write(runs.join("20260101T000000.000Z.jsonl"), &journal[..cut]).unwrap();
        let read = landfall::cupboard::journal::runs(&folder.path().join("state/landfall"), None);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].code, None);
    }
    let (code, out, _) = run(landfall(folder.path()).arg("runs"));
    assert_eq!(code, 0);
    assert!(out.contains("cut off") && out.contains("apply") && out.contains("1 change"), "{out}");
}

#[test]
fn something_else_in_an_apis_place_is_told_and_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let playbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
    for (answer, word) in
        [("<html>please log in</html>", "no JSON"), ("\"hello\"", "understood"), ("[[]]", "understood")]
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 8192]);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
                let _ = std::io::Write::write_all(&mut stream, format!("{head}{answer}").as_bytes());
            }
        });
        let mut plan = landfall(folder.path());
        plan.arg("plan").arg(playbooks.join("solo-full.toml"));
        for api in ["HETZNER", "CLOUDFLARE", "SUPABASE"] {
            plan.env(format!("LANDFALL_{api}_URL"), &url).env(format!("LANDFALL_SECRET_{api}_TOKEN"), "x");
        }
        let (code, _, said) = run(&mut plan);
        assert_eq!(code, 1, "{answer}: {said}");
        assert!(said.contains(word), "{answer}: {said}");
    }
}
