use std::path::Path;

use crate::binary::{Simulated, landfall};
use crate::newcomer::home_with_key;
use crate::stage::{COLOUR, KEY, Stage, TYPED};

/// `landfall --plain` with these answers and nobody to ask. Gives exit code and what was said.
fn plain(folder: &Path, answers: &[String]) -> (i32, String) {
    let mut command = landfall(folder);
    command.arg("--plain");
    command.args(answers.iter().flat_map(|answer| ["--set", answer]));
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn answers() -> Vec<String> {
    let given = [
        ("name", "acme"),
        ("domain", "acme.dev"),
        ("email", "me@acme.dev"),
        ("server.keys", KEY),
        ("database.provider", "supabase"),
        ("database.organization", "acme"),
        ("app.image", "ghcr.io/acme/web:1.4.2"),
    ];
    given.map(|(key, answer)| format!("{key}={answer}")).to_vec()
}

#[test]
fn given_answers_make_the_same_file_as_typed_ones() {
    let home = tempfile::tempdir().unwrap();
    let (code, said) = plain(home.path(), &answers());
    assert_eq!(code, 0, "{said}");
    let written = std::fs::read_to_string(home.path().join("acme.toml")).unwrap();
    let typed = Stage::reviewing(COLOUR);
    assert_eq!(typed.home.files.values().next().unwrap(), &written, "{TYPED:?}");
    let (code, out) = {
        let output = landfall(home.path()).args(["cost", "acme.toml"]).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(code, 0, "what the wizard wrote is a playbook: {out}");

    // Once more, and one answer changes that answer alone.
    let change = |answer: &str| {
        let mut command = landfall(home.path());
        command.args(["--plain", "--playbook", "acme.toml", "--set", answer]).output().unwrap()
    };
    assert!(change("app.port=8080").status.success());
    let changed = std::fs::read_to_string(home.path().join("acme.toml")).unwrap();
    assert_eq!(changed, written.replace("port = 3000", "port = 8080"));
}

#[test]
fn an_answer_that_is_missing_or_wrong_is_named_and_what_was_right_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let without = |key: &str| answers().into_iter().filter(|answer| !answer.starts_with(key)).collect::<Vec<_>>();
    let (code, said) = plain(home.path(), &without("app.image"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("`app.image` has no answer") && said.contains("--set app.image="), "{said}");
    let kept = std::fs::read_to_string(home.path().join("acme.toml")).unwrap();
    assert!(kept.contains("landfall goes on with: app"), "{kept}");
    let output = landfall(home.path())
        .args(["--plain", "--playbook", "acme.toml", "--set", "app.image=ghcr.io/acme/web:1.4.2"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    std::fs::remove_file(home.path().join("acme.toml")).unwrap();
    for (wrong, said) in [
        ("server.size=huge plan", "server.size"),
        ("server.keys=ssh-rsa what", "server.keys"),
        ("name=Acme", "name"),
        ("app.replicas=3", "nothing asks for `app.replicas`"),
        ("app.static=site", "nothing asks for that"),
        ("nonsense", "key=value"),
    ] {
        let mut all = answers();
        all.push(wrong.to_owned());
        let (code, told) = plain(home.path(), &all);
        assert!(code == 2 && told.contains(said), "{wrong}: {code} {told}");
        assert!(!home.path().join("acme.toml").exists() || wrong.starts_with("server"), "{wrong}");
        let _ = std::fs::remove_file(home.path().join("acme.toml"));
    }
}

#[test]
fn without_a_terminal_the_wizard_says_what_to_use_instead() {
    let home = home_with_key();
    let output = landfall(home.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("the wizard needs a terminal") && said.contains("landfall --plain"), "{said}");
}

#[test]
fn in_github_actions_there_are_groups_and_annotations() {
    let home = tempfile::tempdir().unwrap();
    let mut given: Vec<String> = answers().into_iter().filter(|answer| !answer.starts_with("database")).collect();
    given.push("dns.provider=none".to_owned());
    let (code, said) = plain(home.path(), &given);
    assert_eq!(code, 0, "{said}");
    let simulated = Simulated::start(home.path());
    let plan = |file: &str| {
        let mut command = landfall(home.path());
        command.args(["plan", file]).env("GITHUB_ACTIONS", "true").env("LANDFALL_HETZNER_URL", &simulated.url);
        let output = command.env("HCLOUD_TOKEN", "wrong").output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let said = plan("acme.toml");
    let begins = said.find("::group::landfall plan: acme").expect("a group that folds");
    let ends = said.find("::endgroup::").expect("its end");
    let error = said.find("::error title=landfall plan::").expect("an annotation");
    assert!(begins < ends && ends < error, "the annotation stands outside of the fold: {said}");

    let text = std::fs::read_to_string(home.path().join("acme.toml")).unwrap();
    std::fs::write(home.path().join("bad.toml"), text.replace("port = 3000", "prot = 3000")).unwrap();
    let line = text.lines().position(|line| line == "port = 3000").unwrap() + 1;
    let said = plan("bad.toml");
    assert!(said.contains(&format!("::error file=bad.toml,line={line},col=")), "{said}");
}
