use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::binary::landfall;
use crate::newcomer::{home_with_key, walk};
use crate::terminal::{CONTROL_C, DOWN, ENTER, TAB, Terminal, flat};
use crate::world::skipped;

const PASSPHRASE: &str = "correct horse battery staple";

/// `landfall simulate --hosts`, which takes its hosts away when it is told to end.
struct Clouds {
    child: Child,
    ready: Value,
}

impl Clouds {
    fn start(folder: &Path) -> Clouds {
        let mut command = landfall(folder);
        command.args(["simulate", "--hosts", "hetzner", "supabase"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Clouds { child, ready: serde_json::from_str(&line).unwrap() }
    }

    fn text(&self, api: &str, key: &str) -> String {
        self.ready[api][key].as_str().unwrap().to_owned()
    }
}

impl Drop for Clouds {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

#[test]
fn the_wizard_makes_it_real_and_the_playbook_plans_nothing_more() {
    if std::env::var_os("LANDFALL_HOST_TESTS").is_none() {
        return skipped("tests on real local hosts run with LANDFALL_HOST_TESTS=1, which `make test` sets");
    }
    const LONG: Duration = Duration::from_secs(300);
    let home = home_with_key();
    std::fs::create_dir(home.path().join("site")).unwrap();
    std::fs::write(home.path().join("site/index.html"), "hello\n").unwrap();
    let clouds = Clouds::start(home.path());
    let (hetzner, supabase) = (clouds.text("hetzner", "url"), clouds.text("supabase", "url"));
    let variables = [("LANDFALL_HETZNER_URL", hetzner.as_str()), ("LANDFALL_SUPABASE_URL", supabase.as_str())];
    let mut terminal = Terminal::start(home.path(), &[], &variables);
    let typed = [
        ("name", "acme"),
        ("domain", "acme.dev"),
        ("whose", "supabase"),
        ("organisation", "acme"),
        ("what runs", "static"),
        ("folder", "site"),
        ("name servers", "none"),
    ];
    walk(&mut terminal, &typed, "review");
    terminal.see("the playbook is whole");
    terminal.press(DOWN);
    terminal.press(ENTER);
    // A wrong one first: it is checked before it is kept, and another can be typed.
    terminal.see("hetzner-token");
    terminal.press("wrong");
    terminal.press(TAB);
    terminal.press(ENTER);
    terminal.see("its passphrase");
    terminal.press(PASSPHRASE);
    terminal.press(ENTER);
    terminal.see("does not accept the token");
    assert!(!home.path().join("acme.vault.age").exists(), "a token that opens nothing is not kept");
    terminal.press(&clouds.text("hetzner", "token"));
    terminal.press(ENTER);
    terminal.see("its passphrase");
    terminal.press(ENTER);
    terminal.see("supabase-token");
    terminal.press(&clouds.text("supabase", "token"));
    terminal.press(ENTER);
    terminal.see("Enter yes, Esc no");
    assert!(flat(&terminal.screen()).contains("a month?"), "the price stands beside the question");
    terminal.press(ENTER);
    terminal.within(LONG, "the end of the run", |screen| screen.contains("what to do next").then_some(()));
    terminal.press(ENTER);
    terminal.see("everything is as the playbook says");
    terminal.see("https://console.hetzner.com");
    terminal.press(CONTROL_C);
    assert_eq!(terminal.ended(), 0);
    terminal.is_as_it_was();

    let text = std::fs::read_to_string(home.path().join("acme.toml")).unwrap();
    for secret in [clouds.text("hetzner", "token"), clouds.text("supabase", "token"), PASSPHRASE.to_owned()] {
        assert!(!text.contains(&secret), "a secret in the playbook");
    }
    let plan = landfall(home.path())
        .args(["plan", "acme.toml"])
        .envs(variables)
        .env("LANDFALL_PASSPHRASE", PASSPHRASE)
        .output()
        .unwrap();
    let said = String::from_utf8(plan.stdout).unwrap();
    assert!(
        plan.status.success() && said.contains("plan: 0 changes"),
        "{said}{}",
        String::from_utf8_lossy(&plan.stderr)
    );

    // The same page shows it once more, from the journal.
    let runs = landfall(home.path()).arg("runs").output().unwrap();
    let runs = String::from_utf8(runs.stdout).unwrap();
    let run = runs.split_whitespace().find(|word| word.ends_with('Z')).unwrap().to_owned();
    let mut replay = Terminal::start(home.path(), &["show", &run], &[]);
    replay.see("apply acme");
    replay.see("done host/web");
    replay.press(CONTROL_C);
    assert_eq!(replay.ended(), 0);
    let plain = landfall(home.path()).args(["show", &run]).output().unwrap();
    assert!(String::from_utf8(plain.stdout).unwrap().contains("changes made"), "in a pipe it is told in lines");
}
