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
