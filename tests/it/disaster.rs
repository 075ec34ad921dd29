use crate::bare::hosts_are_asked_for;
use crate::binary::landfall;
use crate::world::told;

/// The worst day, as anybody can rehearse it: everything is lost, and comes back at another provider.
#[test]
fn everything_comes_back_byte_for_byte_at_another_provider() {
    if !hosts_are_asked_for() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let playbook = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/solo-full.toml");
    let mut command = landfall(folder.path());
    command.args([
        "rehearse",
        playbook,
        "--disaster",
        "--onto",
        "digitalocean",
        "--database-mb",
        "30",
        "--files",
        "1200",
    ]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for seen in [
        "ok web drilled",
        "ok web recovered up to",
        "ok files of app.acme.dev: 1200 files: every byte as it was at the last backup",
        "ok rows of `database`: 30000 rows",
        "ok secrets on `web`: 1 files: every byte as it was at the last backup",
        "ok apply after the recovery: 0 changes",
        "ok what the simulated clouds hold: nothing",
    ] {
        assert!(said.lines().any(|line| line.contains(seen)), "`{seen}` is not in:\n{said}");
    }
    told(said.lines().find(|line| line.starts_with("rehearsed: ")).unwrap_or_default());
}

/// A laptop with a playbook that has backups, and nothing else.
fn empty_laptop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/solo-full.toml")).unwrap();
    let text = text.replace("migrations   = \"migrations\"", "");
    std::fs::write(folder.path().join("p.toml"), text).unwrap();
    folder
}

#[test]
fn without_what_opens_the_backups_nothing_is_begun() {
    let folder = empty_laptop();
    let before = std::fs::read_to_string(folder.path().join("p.toml")).unwrap();
    let output = landfall(folder.path()).args(["recover", "p.toml", "--yes"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("backups-password") && said.contains("vault file") && said.contains("nothing was done"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(folder.path().join("p.toml")).unwrap(), before);
    assert!(!folder.path().join(".ssh").exists(), "no key is made before it is needed");
}

#[test]
fn an_answer_that_cannot_be_is_refused_before_anything_is_asked() {
    let folder = empty_laptop();
    let before = std::fs::read_to_string(folder.path().join("p.toml")).unwrap();
    for (set, word) in
        [("web", "there is no value"), ("db.provider=x", "no step `db`"), ("web.provider=nobody", "nobody")]
    {
        let output = landfall(folder.path()).args(["recover", "p.toml", "--yes", "--set", set]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{set}: {said}");
        assert!(said.contains(word), "{set}: {said}");
        assert_eq!(std::fs::read_to_string(folder.path().join("p.toml")).unwrap(), before, "{set}");
    }
}

#[test]
fn a_drill_without_backups_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/solo-hetzner.toml"), folder.path().join("p.toml"))
        .unwrap();
    for verb in ["drill", "backup"] {
        let output = landfall(folder.path()).args([verb, "p.toml"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb}: {said}");
        assert!(said.contains("no step `backups`"), "{verb}: {said}");
    }
}
