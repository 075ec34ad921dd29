use std::fs;

use crate::binary::landfall;

const HEAD: &str = "schema = 1\nname = \"acme\"\n";
const SERVER: &str = "[[step]]\nuse = \"server\"\nid = \"web\"\nprovider = \"hetzner\"\nlocation = \"fsn1\"\nsize = \"cx23\"\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me\"]\n";

/// Applies `playbook` and demands that it is refused before anything is done; gives what is said.
fn refuse(playbook: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.toml"), playbook).unwrap();
    // An endpoint where nobody listens: whoever asks the world fails with another code.
    let output = landfall(folder.path())
        .args(["apply", "p.toml", "--yes"])
        .env("LANDFALL_HETZNER_URL", "http://127.0.0.1:1/v1")
        .env("HCLOUD_TOKEN", "x")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{playbook}\n{said}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "nothing but the refusal");
    assert!(!folder.path().join("state").exists(), "no journal was begun");
    said
}

/// Demands that `playbook` is refused at `place` (line:column), with `carets` under it and all of `words`.
#[track_caller]
fn check(playbook: &str, place: &str, carets: usize, words: &[&str]) {
    let said = refuse(playbook);
    assert!(said.contains(&format!("--> p.toml:{place}\n")), "{said}");
    let line = said.lines().find(|line| line.contains('^')).unwrap_or_default();
    assert_eq!(line.matches('^').count(), carets, "{said}");
    for word in words {
        assert!(said.contains(word), "no “{word}” in:\n{said}");
    }
}

#[test]
fn an_unknown_key() {
    check(
        &format!("{HEAD}{SERVER}loction = \"fsn1\"\n"),
        "10:1",
        7,
        &["unknown field `loction`", "expected: one of", "hint: did you mean `location`?"],
    );
    check(&format!("{HEAD}nmae = 1\n{SERVER}"), "3:1", 4, &["unknown field `nmae`", "did you mean `name`?"]);
}

#[test]
fn habits_of_other_formats_are_told_as_what_they_are_and_once() {
    let app = |line: &str| format!("{HEAD}{SERVER}[[step]]\nuse = \"app\"\non = \"web\"\n{line}\n");
    check(
        &format!("{HEAD}{}", SERVER.replace("[[step]]", "[step]")),
        "3:1",
        6,
        &["`[step]` makes one table", "`[[step]]`, in two brackets"],
    );
    check(&app("port: 3000"), "13:1", 10, &["TOML has `port = 3000`, not `port: 3000`"]);
    check(&app("image = acme"), "13:9", 4, &["write image = \"acme\""]);
    check(&app("image = \"a\"\nport = \"3000\""), "14:8", 6, &["take the quotes away: 3000"]);
    for playbook in [app("port: 3000"), app("image = acme")] {
        assert_eq!(refuse(&playbook).matches("error:").count(), 1, "one mistake, one problem");
    }
    // A mistake in a server is not told again at every place that uses it.
    let said = refuse(&format!(
        "{}[[step]]\nuse = \"dns\"\nprovider = \"cloudflare\"\nzone = \"acme.dev\"\nto = \"web\"\n",
        format!("{HEAD}{SERVER}").replace("\"cx23\"", "{ cpu = -2, memory_gb = 4 }")
    ));
    assert_eq!(said.matches("error:").count(), 1, "{said}");
}

#[test]
fn a_private_key_is_recognised_and_never_shown() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEAAAAA\\n-----END OPENSSH PRIVATE KEY-----";
    let playbook = format!("{HEAD}{SERVER}")
        .replace("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me", key);
    let said = refuse(&playbook);
    assert!(said.contains("this is the private half of a key") && !said.contains("b3Blbn"), "{said}");
    let file = format!("{HEAD}{SERVER}").replace(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me",
        "~/.ssh/id_ed25519.pub",
    );
    assert!(refuse(&file).contains("print it with `cat ~/.ssh/id_ed25519.pub`"));
}

#[test]
fn nobody_is_led_to_destroy_by_a_typing_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = landfall(folder.path()).args(["deploy", "p.toml"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!said.contains("destroy"), "{said}");
    let help = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status =
        landfall(folder.path()).arg("--help").stdout(help).stderr(std::process::Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1), "help that does not arrive is a failure");
}

#[test]
fn a_wrong_type() {
    let app = format!("{HEAD}{SERVER}[[step]]\nuse = \"app\"\non = \"web\"\nimage = \"a\"\nport = \"three\"\n");
    check(&app, "14:8", 7, &["invalid type: string \"three\"", "expected: a whole number up to 65535"]);
    check(&format!("{HEAD}{SERVER}backups = 1\n"), "10:11", 1, &["expected: true or false"]);
    check(&format!("{HEAD}{SERVER}").replace("\"cx23\"", "{ cpu = 2 }"), "8:8", 11, &["missing field `memory_gb`"]);
}

#[test]
fn a_missing_output() {
    let app = |value: &str| {
        format!(
            "{HEAD}{SERVER}[[step]]\nuse = \"app\"\non = \"web\"\nimage = \"a\"\n[step.env]\nA = {{ output = \"{value}\" }}\n"
        )
    };
    check(&app("web.ipv5"), "15:5", 23, &["output `web.ipv5` is missing", "expected: one of", "did you mean `ipv"]);
    check(&app("wbe.ipv4"), "15:5", 23, &["there is no step called `wbe`", "did you mean `web`?"]);
    check(&app("nonsense"), "15:5", 23, &["bad output `nonsense`"]);
}

#[test]
fn a_cycle() {
    let app = |id: &str, other: &str, port: u16| {
        format!(
            "[[step]]\nuse = \"app\"\nid = \"{id}\"\non = \"web\"\nimage = \"a\"\nport = {port}\nhost = \"{id}.test\"\n\
             env = {{ U = {{ output = \"{other}.url\" }} }}\n"
        )
    };
    let said = refuse(&format!("{HEAD}{SERVER}{}{}", app("one", "two", 1), app("two", "one", 2)));
    assert!(said.contains("these steps wait for each other: `one` waits for `two` waits for `one`"), "{said}");
    assert!(said.contains('^') && said.contains("hint:"), "{said}");
    // On one host the order of the file counts.
    let said = refuse(&format!("{HEAD}{SERVER}{}{}", app("one", "two", 1), app("two", "one", 2).replace("env =", "#")));
    assert!(said.contains("move the step that gives the output up"), "{said}");
}

#[test]
fn a_newer_schema_is_judged_before_anything_else() {
    let newer = format!("{}{SERVER}surprise = true\n", HEAD.replace("schema = 1", "schema = 2"));
    check(&newer, "1:10", 1, &["schema 2 is newer than this landfall", "hint: install a newer landfall"]);
    check(&format!("name = \"acme\"\n{SERVER}"), "1:1", 1, &["missing field `schema`", "schema = 1"]);
}

#[test]
fn an_unknown_provider_or_step() {
    check(
        &format!("{HEAD}{SERVER}").replace("hetzner", "hetzer"),
        "6:12",
        8,
        &["unknown variant `hetzer`", "`hetzner`", "did you mean `hetzner`?"],
    );
    check(
        &format!("{HEAD}{SERVER}[[step]]\nuse = \"servr\"\n"),
        "11:7",
        7,
        &["unknown step `servr`", "did you mean `server`?"],
    );
}

#[test]
fn two_steps_of_one_name_and_bad_names() {
    check(&format!("{HEAD}{SERVER}{SERVER}"), "12:6", 5, &["two steps are called `web`"]);
    for bad in ["Web", "web_1", "-web", "web site", "$(reboot)"] {
        check(
            &format!("{HEAD}{SERVER}").replace("\"web\"", &format!("\"{bad}\"")),
            "5:6",
            bad.len() + 2,
            &["bad name", "expected: a lower-case letter"],
        );
    }
    check(&format!("{HEAD}{SERVER}").replace("acme", "A"), "2:8", 3, &["bad name `A`"]);
}

#[test]
fn references_to_hosts() {
    let docker = |on: &str| format!("{HEAD}{SERVER}[[step]]\nuse = \"docker\"\non = \"{on}\"\n");
    check(&docker("wbe"), "12:6", 5, &["there is no step called `wbe`", "did you mean `web`?"]);
    check(&docker("docker"), "12:6", 8, &["is a step `docker`, not a server"]);
}

#[test]
fn answers_that_do_not_fit_each_other() {
    let app = |lines: &str| format!("{HEAD}{SERVER}[[step]]\nuse = \"app\"\non = \"web\"\n{lines}\n");
    for (lines, words) in [
        ("port = 1", "an app needs `image`, `compose` or `static`"),
        ("image = \"a\"\nstatic = \"site\"", "`image` and `static` together"),
        ("image = \"a; rm -rf /\"", "bad image name"),
        ("image = \"a\"\nhost = \"a b\"\nport = 1", "bad host name"),
        ("image = \"a\"\nhealth = \"/x\\ny\"\nport = 1", "bad health path"),
        ("image = \"a\"\nhost = \"a.test\"", "`host` without a `port`"),
        ("image = \"a\"\nenv = { \"A B\" = \"x\" }", "bad variable name"),
        ("image = \"a\"\nport = 80", "port 80 of the server is taken"),
        ("image = \"a\"", "nothing runs containers on `web`"),
        ("static = \"missing\"", "cannot read `missing`"),
        ("static = \"site\"\nport = 1", "means nothing to static files"),
    ] {
        let said = refuse(&app(lines));
        assert!(said.contains(words), "no “{words}” in:\n{said}");
    }
    let server = format!("{HEAD}{SERVER}");
    for (from, to, words) in [
        ("keys = [", "keys = [] #", "nobody could log in"),
        ("ssh-ed25519 AAAA", "ssh-ed25519 BBBB", "bad public key"),
        ("location = \"fsn1\"\n", "", "missing field `location`"),
        ("\"cx23\"", "\"cx23\"\naddress = \"127.0.0.1\"", "means nothing to provider `hetzner`"),
        ("\"cx23\"", "\"cx23\"\nadmin = \"root\"", "root as the admin"),
        ("\"cx23\"", "\"cx23\"\nvolume_gb = 5", "a volume of 5 GB"),
        ("TVn me\"", "TVn me\\nssh-rsa AAAA\"", "bad public key"),
        (
            "\n[[step]]",
            "\nbudget = { monthly = \"40\", currency = \"EUR\" }\n[[step]]",
            "an amount such as 40 or 39.99",
        ),
        ("\n[[step]]", "\nbudget = { monthly = -4, currency = \"EUR\" }\n[[step]]", "an amount such as 40 or 39.99"),
        ("\n[[step]]", "\nbudget = { monthly = 4, currency = \"EURO\" }\n[[step]]", "three capital letters"),
        ("\"cx23\"", "\"cx23\"\nipv4 = false\nipv6 = false", "without any address"),
    ] {
        let said = refuse(&server.replace(from, to));
        assert!(said.contains(words), "no “{words}” in:\n{said}");
    }
}

#[test]
fn hardening_and_firewall_are_refused_where_they_cannot_be_right() {
    let step = |kind: &str, lines: &str| format!("\n[[step]]\nuse = \"{kind}\"\non = \"web\"\n{lines}\n");
    let docker = step("docker", "");
    for (steps, words) in [
        (step("firewall", "open = [\"http\"]"), "a firewall without SSH"),
        (step("firewall", "open = [\"ssh\", \"shh\"]"), "bad opening `shh`"),
        (step("firewall", "open = [\"ssh\", \"tcp/0\"]"), "bad opening `tcp/0`"),
        (step("firewall", "open = [\"ssh\", \"tcp/22; flush ruleset\"]"), "bad opening"),
        (step("firewall", "web_from = \"cloudfare\""), "unknown variant `cloudfare`"),
        (step("firewall", "ssh_from = [\"203.0.113.7/24\"]"), "bits beyond its network"),
        (step("firewall", "ssh_from = [\"0.0.0.0/0\"]"), "bad address"),
        (docker.clone() + &step("firewall", ""), "the firewall comes after the step `docker`"),
        (step("firewall", "") + &step("firewall", "id = \"second\""), "already is the firewall of `web`"),
        (step("hardening", "measures = { shd = false }"), "did you mean `sshd`?"),
        (step("hardening", "profile = \"paranoid\""), "unknown variant `paranoid`"),
        (step("hardening", "time_zone = \"../../etc/passwd\""), "bad time zone"),
        (step("hardening", "reboot = \"24:00\""), "bad time `24:00`"),
        (step("hardening", "reboot = \"04:30\\\"; }; x \\\"\""), "bad time"),
    ] {
        let said = refuse(&format!("{HEAD}{SERVER}{steps}"));
        assert!(said.contains(words), "no “{words}” in:\n{said}");
    }
}

#[test]
fn what_is_no_toml_and_several_problems_at_once() {
    let said = refuse("schema = 1\nname = \"acme\n");
    assert!(said.contains("--> p.toml:2:"), "{said}");
    let said = refuse(&format!("{HEAD}[[step]]\nuse = \"servr\"\n[[step]]\nuse = \"dokcer\"\n"));
    assert_eq!(said.matches("error:").count(), 2, "{said}");
    let folder = tempfile::tempdir().unwrap();
    let output = landfall(folder.path()).args(["plan", "missing.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read the playbook missing.toml"));
}

#[test]
fn machines_get_the_same_refusal_as_events() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.toml"), format!("{HEAD}{SERVER}loction = 1\n")).unwrap();
    let output = landfall(folder.path()).args(["plan", "p.toml", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["event"]["problems"][0]["line"], 10);
    assert_eq!(lines[0]["event"]["problems"][0]["hint"], "did you mean `location`?");
    assert_eq!(lines[1]["event"]["type"], "run-finished");
    assert_eq!(lines[1]["event"]["code"], 2);
}

#[test]
fn backups_that_could_not_be_made_or_would_come_too_late() {
    let step = |answers: &str| format!("{HEAD}{SERVER}[[step]]\nuse = \"backups\"\non = \"web\"\n{answers}");
    for (answers, place, carets, words) in [
        ("to = \"tape\"\n", "13:6", 6, "unknown variant `tape`"),
        ("to = \"hetzner\"\nbucket = \"acme\"\n", "10:1", 8, "missing field `region`"),
        ("to = \"s3\"\nbucket = \"a'b\"\nendpoint = \"https://s3.test\"\n", "14:10", 5, "bad bucket"),
        ("to = \"s3\"\nbucket = \"acme\"\nendpoint = \"https://s3.test';reboot\"\n", "15:12", 25, "bad endpoint"),
        ("to = \"sftp\"\nbucket = \"acme\"\n", "14:10", 6, "means nothing to this storage"),
        ("to = \"b2\"\nbucket = \"acme\"\nregion = \"x\"\nfolders = [\"/srv/$(id)\"]\n", "16:11", 14, "bad folders"),
        ("to = \"b2\"\nbucket = \"acme\"\nregion = \"x\"\nevery_hours = 5\n", "16:15", 1, "1, 2, 3, 4, 6, 8, 12 or 24"),
        (
            "to = \"b2\"\nbucket = \"acme\"\nregion = \"x\"\nkeep = { daily = 0 }\n",
            "16:8",
            13,
            "no daily backup is kept",
        ),
        ("to = \"b2\"\nbucket = \"acme\"\nregion = \"x\"\nalarm_after_hours = 24\n", "16:21", 2, "between two backups"),
        (
            "to = \"b2\"\nbucket = \"acme\"\nregion = \"x\"\nalarm = \"http://plain.test\"\n",
            "16:9",
            19,
            "https://ntfy.sh",
        ),
    ] {
        check(&step(answers), place, carets, &[words]);
    }
    let app = "[[step]]\nuse = \"docker\"\non = \"web\"\n[[step]]\nuse = \"app\"\non = \"web\"\nimage = \"a:1\"\n";
    let late = format!(
        "{HEAD}{SERVER}{app}[[step]]\nuse = \"backups\"\non = \"web\"\nto = \"b2\"\nbucket = \"acme\"\nregion = \"x\"\n"
    );
    check(&late, "18:7", 9, &["stands below the app `app`", "before its apps start"]);
}

#[test]
fn a_byte_order_mark_of_an_editor_shifts_nothing() {
    check(&format!("\u{feff}{HEAD}nmae = 1\n"), "3:1", 4, &["nmae"]);
    // The parser's own complaints, too.
    let said = refuse("\u{feff}schema = \n");
    assert!(said.contains("--> p.toml:1:") && said.contains('^'), "{said}");
}
