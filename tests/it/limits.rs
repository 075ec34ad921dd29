//! Every input and every wait has a limit of ours, and nothing from elsewhere reaches a terminal as it is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::binary::landfall;

const SERVER: &str = "schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"server\"\nid = \"web\"\nprovider = \"hetzner\"\nlocation = \"fsn1\"\nsize = \
     \"cx23\"\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me\"]\n";

/// Runs it with at most 400 MB of address space beyond what it maps itself, so that what grows without a limit ends.
fn bounded(command: &Command, folder: &Path) -> (Option<i32>, String) {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("ulimit -v 1500000; exec \"$0\" \"$@\"").arg(command.get_program()).args(command.get_args());
    shell.current_dir(folder).env_clear().stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let output = shell.output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
    )
}

/// Answers every request with `body`, again and again until nobody listens or `most` bytes are out.
fn answer_with(head: &'static str, body: Vec<u8>, most: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(200) {
            let Ok(mut stream) = stream else { return };
            let body = body.clone();
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked);
                let _ = stream.write_all(head.as_bytes());
                let mut sent = 0;
                while sent < most && stream.write_all(&body).is_ok() {
                    sent += body.len();
                }
            });
        }
    });
    format!("http://{address}/v1")
}

fn plan(folder: &Path, url: &str) -> (Option<i32>, String) {
    fs::write(folder.join("p.toml"), SERVER).unwrap();
    let mut command = landfall(folder);
    command.args(["plan", "p.toml"]).env("LANDFALL_HETZNER_URL", url).env("HCLOUD_TOKEN", "x");
    bounded(&command, folder)
}

#[test]
fn an_answer_without_an_end_and_one_of_a_gigabyte_are_cut_off_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"] {
        let url = answer_with(head, vec![b' '; 1 << 20], 1 << 30);
        let (code, said) = plan(folder.path(), &url);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("with more than 8 MiB") && said.contains("is the endpoint the right one"), "{said}");
    }
}

#[test]
fn what_an_api_says_steers_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let body = "{\"error\":{\"code\":\"invalid_input\",\"message\":\"\\u001b[31mred \\u001b]0;title\\u0007 \\u202eturned\\r\\nerror: forged\"}}";
    let url = answer_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", body.into(), 1);
    let (code, said) = plan(folder.path(), &url);
    assert!(code.is_some_and(|code| code != 0), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{said:?}");
    assert!(said.contains("red"), "what it says is still told: {said}");
    assert!(!said.lines().any(|line| line.starts_with("error: forged")), "nor does it write lines of ours: {said}");
}

#[test]
fn what_is_no_playbook_is_refused_before_much_of_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = |file: &str| {
        let mut command = landfall(folder.path());
        command.args(["plan", file]);
        bounded(&command, folder.path())
    };
    let (code, said) = run("/dev/zero");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("more than 1 MiB"), "{said}");
    fs::write(folder.path().join("wide.toml"), [0xff, 0xfe, b's', 0]).unwrap();
    assert!(run("wide.toml").1.contains("UTF-16"));
    fs::write(folder.path().join("latin.toml"), b"schema = 1\nname = \"caf\xe9\"\n").unwrap();
    assert!(run("latin.toml").1.contains("line 2 is not in UTF-8"));
    // A line of ten megabytes is not shown whole, and five hundred mistakes are not all told.
    fs::write(folder.path().join("long.toml"), format!("schema = 1\n{} = 1\n", "k".repeat(900_000))).unwrap();
    assert!(run("long.toml").1.len() < 5_000);
    let many: String = (0..500).map(|n| format!("[[step]]\nuse = \"nothing\"\nid = \"n{n}\"\n")).collect();
    fs::write(folder.path().join("many.toml"), format!("schema = 1\nname = \"acme\"\n{many}")).unwrap();
    let said = run("many.toml").1;
    assert!(said.matches("error:").count() <= 20 && said.contains("and 480 more problems"), "{said}");
    let (_, said) = run("\u{1b}[31mred\u{202e}.toml");
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    // A pipe that nobody writes into is told, and a signal ends it.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut waiting = landfall(folder.path()).args(["plan", "pipe"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = [0; 20];
    waiting.stderr.as_mut().unwrap().read_exact(&mut told).unwrap();
    assert_eq!(&told, b"waiting for pipe to ");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

#[test]
fn files_beside_a_playbook_stay_inside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("project");
    fs::create_dir_all(inside.join("site")).unwrap();
    fs::create_dir_all(folder.path().join("victim/.aws")).unwrap();
    fs::write(folder.path().join("victim/credentials"), "AKIA").unwrap();
    symlink("../victim", inside.join("link")).unwrap();
    symlink("../victim/credentials", inside.join("file.yaml")).unwrap();
    fs::write(inside.join("site/index.html"), "hi").unwrap();
    let hole = fs::File::create(inside.join("hole")).unwrap();
    hole.set_len(3 << 30).unwrap();
    fs::create_dir_all(inside.join("large")).unwrap();
    fs::File::create(inside.join("large/film")).unwrap().set_len(3 << 30).unwrap();
    let docker = "\n[[step]]\nuse = \"docker\"\non = \"web\"\n";
    for (app, said) in [
        ("static = \"../victim\"", "leads out of the playbook's folder"),
        ("static = \"link\"", "leads out of the playbook's folder"),
        ("static = \"/etc\"", "leads out of the playbook's folder"),
        ("compose = \"file.yaml\"", "leads out of the playbook's folder"),
        ("compose = \"/dev/zero\"", "leads out of the playbook's folder"),
        ("compose = \"hole\"", "more than 16 MiB"),
        ("static = \"large\"", "more than 16 MB"),
    ] {
        let text = format!("{SERVER}{docker}\n[[step]]\nuse = \"app\"\non = \"web\"\n{app}\n");
        fs::write(inside.join("p.toml"), text).unwrap();
        let mut command = landfall(&inside);
        command.args(["plan", "p.toml"]);
        let (code, told) = bounded(&command, &inside);
        assert_eq!(code, Some(2), "{app}: {told}");
        assert!(told.contains(said), "{app}: {told}");
    }
}

#[test]
fn output_that_does_not_arrive_is_a_failure_and_what_is_kept_is_private() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["schema"][..], &["completions", "bash"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = landfall(folder.path()).args(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
    }
    fs::write(folder.path().join("p.toml"), SERVER).unwrap();
    let program = landfall(folder.path()).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; \"$0\" apply p.toml --yes"]).arg(program).current_dir(folder.path()).env_clear();
    shell.env("HOME", folder.path()).env("XDG_STATE_HOME", folder.path().join("state")).env("HCLOUD_TOKEN", "x");
    shell.env("LANDFALL_HETZNER_URL", "http://127.0.0.1:1/v1").env("PATH", std::env::var_os("PATH").unwrap());
    assert!(!shell.stdin(Stdio::null()).output().unwrap().status.success());
    let (mut open, mut seen) = (vec![folder.path().join("state")], 0);
    while let Some(path) = open.pop() {
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o077, 0, "{} is nobody else's", path.display());
        seen += 1;
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        }
    }
    assert!(seen > 3, "a journal and a lock were looked at");
}
