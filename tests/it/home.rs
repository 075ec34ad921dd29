use std::path::Path;
use std::process::{Command, Stdio};

use crate::binary::landfall;
use crate::chaos::{databases, laptop, program, run, solo_full};
use crate::world::told;

/// `program`, with files that may not grow beyond so many blocks of 512 bytes: every write beyond fails, as on a full
/// disk.
fn short_of_room(program: &Command, blocks: usize) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    command.arg(program.get_program()).args(program.get_args());
    command.env_clear().current_dir(program.get_current_dir().unwrap());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_any_write_costs_a_word_and_nothing_else() {
    let Some(databases) = databases().await else { return };
    let (world, text) = solo_full(&databases).await;
    let folder = laptop(&text);
    let (whole, ..) = run(&world, folder.path(), 0).await;
    assert_eq!(whole.code, Some(0), "{}", whole.text);
    let runs = folder.path().join("state/landfall/acme/runs");
    let journal = std::fs::read_dir(&runs).unwrap().flatten().next().unwrap().metadata().unwrap().len();
    let most = usize::try_from(journal / 512).unwrap() + 2;
    let mut told_of = 0;
    // Every block while the small files are written, and some of the journal's.
    let points: Vec<usize> = (0..8).chain((8..most).step_by(most / 6)).collect();
    for &blocks in &points {
        let (world, text) = solo_full(&databases).await;
        let folder = laptop(&text);
        let mut command = short_of_room(&program(&world, folder.path()), blocks);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1 | 4)), "{blocks} blocks: {code:?} {said}");
        if code != Some(0) {
            told_of += 1;
            let last = said.lines().last().unwrap_or_default();
            assert!(last.contains("cannot write") && last.contains("\"hint\":\""), "{blocks} blocks: {last}");
        }
        let now = std::fs::read_to_string(folder.path().join("solo-full.toml")).unwrap();
        assert!(now.contains("provider = \"cloudflare\""), "{blocks} blocks: the playbook is whole");
        let (again, ..) = run(&world, folder.path(), 0).await;
        assert_eq!(again.code, Some(0), "{blocks} blocks, with room again: {}", again.text);
        let (third, ..) = run(&world, folder.path(), 0).await;
        assert_eq!((third.code, third.planned), (Some(0), 0), "{blocks} blocks");
    }
    told(&format!("full disk: {} places, {told_of} of them stopped with a word, all went on", points.len()));
    assert!(told_of > points.len() / 2);
}

/// A playbook that asks nothing of the world before it is written down that it will.
fn small_playbook(folder: &Path) {
    let text = "schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"server\"\nprovider = \"existing\"\naddress = \"127.0.0.1\"\nport = 9\n\
                user = \"root\"\nhost_key = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n\
                keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me\"]\n";
    std::fs::write(folder.join("p.toml"), text).unwrap();
}

#[test]
fn a_home_that_cannot_be_written_to_is_told_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    small_playbook(folder.path());
    let mut command = landfall(folder.path());
    // Nobody may make anything there, not even root.
    command.args(["apply", "p.toml", "--yes"]).env("XDG_STATE_HOME", "/proc/1/state");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("XDG_STATE_HOME") && said.to_lowercase().contains("nothing was done"), "{said}");
}

#[test]
fn what_a_newer_version_left_at_home_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    small_playbook(folder.path());
    let state = folder.path().join("state/landfall");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("format"), "2\n").unwrap();
    for words in [&["apply", "p.toml", "--yes"][..], &["runs"], &["show", "2026"]] {
        let output = landfall(folder.path()).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{words:?}: {said}");
        assert!(said.contains("newer") && said.contains("XDG_STATE_HOME"), "{words:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1, "nothing was added to it");
}

#[test]
fn a_clock_that_goes_back_hides_no_run() {
    let folder = tempfile::tempdir().unwrap();
    small_playbook(folder.path());
    let runs = folder.path().join("state/landfall/acme/runs");
    std::fs::create_dir_all(&runs).unwrap();
    // A run of tomorrow, as a clock that was a day ahead wrote it.
    let tomorrow = "{\"v\":1,\"seq\":1,\"at\":\"2099-01-01T00:00:00Z\",\"event\":{\"type\":\"run-started\",\"command\":\"apply\",\"playbook\":\"acme\",\"run\":\"20990101T000000.000Z\"}}\n";
    std::fs::write(runs.join("20990101T000000.000Z.jsonl"), tomorrow).unwrap();
    let apply = landfall(folder.path()).args(["apply", "p.toml", "--yes"]).output().unwrap();
    assert_ne!(apply.status.code(), Some(101));
    let output = landfall(folder.path()).arg("runs").output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("20990101T000000.000Z") && listed.contains("cut off"), "{listed}");
}

#[test]
fn a_run_of_the_future_is_the_last_one_only_until_the_next() {
    use landfall::cupboard::journal;
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("acme/runs");
    std::fs::create_dir_all(&runs).unwrap();
    // One from before there was an order, one while the clock was a day ahead, and one after it was put right.
    let (old, ahead) = ("20260101T000000.000Z", "29991231T235959.000Z");
    for run in [old, ahead] {
        std::fs::write(runs.join(format!("{run}.jsonl")), "").unwrap();
    }
    std::fs::write(folder.path().join("acme/order"), format!("{ahead}\n")).unwrap();
    let name = landfall::model::name::Name::parse("acme").unwrap();
    let now = journal::Journal::begin(folder.path(), &name).unwrap().run().to_owned();
    let order: Vec<String> = journal::runs(folder.path(), Some("acme")).into_iter().map(|run| run.run).collect();
    assert_eq!(order, [old, ahead, &now]);
}
