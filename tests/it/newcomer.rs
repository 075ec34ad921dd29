use std::path::Path;
use std::time::Duration;

use crate::stage::TYPED;
use crate::terminal::{CONTROL_C, ENTER, Terminal};
use crate::world::{new_key, skipped, told};

/// A home with a key in it, as somebody has who has used a server before.
pub(crate) fn home_with_key() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".ssh")).unwrap();
    new_key(&home.path().join(".ssh/id_ed25519"));
    home
}

/// The chapter that is marked, and the label of the field that is.
pub(crate) fn place(screen: &str) -> Option<(String, String)> {
    let mut chapter = None;
    let mut field = None;
    for line in screen.lines() {
        let (rail, page) = line.split_once('│')?.to_owned();
        if let Some(name) = rail.trim_start().strip_prefix("▸ ") {
            chapter = Some(name.trim().to_owned());
        }
        if let (None, Some(rest)) = (&field, page.trim_start().strip_prefix("▸ ")) {
            field = Some(rest.chars().take(19).collect::<String>().trim().to_owned());
        }
    }
    Some((chapter?, field.unwrap_or_default()))
}

/// Where the cursor's page is, once `Enter` has had its effect.
fn place_after(terminal: &Terminal, before: &(String, String)) -> (String, String) {
    terminal.until("another field", |screen| {
        let now = place(&page_of(screen))?;
        (now != *before).then_some(now)
    })
}

/// The screen without its first and its last line.
pub(crate) fn page_of(screen: &str) -> String {
    let lines: Vec<&str> = screen.lines().collect();
    lines[1.min(lines.len())..lines.len().saturating_sub(1).max(1.min(lines.len()))].join("\n")
}

/// Answers the pages one after the other as a newcomer does until the chapter `end`. Gives how many answers that took,
/// with the choice of the first page, and how many of them were typed.
pub(crate) fn walk(terminal: &mut Terminal, typed: &[(&str, &str)], end: &str) -> (usize, usize) {
    let (mut answers, mut by_hand) = (0, 0);
    let mut here = terminal.until("a page", |screen| place(&page_of(screen)));
    while here.0 != end {
        if let Some((_, text)) = typed.iter().find(|(ask, _)| *ask == here.1) {
            terminal.press(text);
            by_hand += 1;
        }
        terminal.press(ENTER);
        answers += 1;
        here = place_after(terminal, &here);
    }
    (answers, by_hand)
}

/// Answers the prompts of the plain wizard until the one called `end`. Gives how many answers that took, and how many of
/// them were typed.
pub(crate) fn walk_plain(terminal: &mut Terminal, typed: &[(&str, &str)], end: &str) -> (usize, usize) {
    let (mut answers, mut by_hand) = (0, 0);
    let mut last = String::new();
    loop {
        let prompt = terminal.until("the next prompt", |screen| {
            // The last line, or the one before it where it is longer than a line.
            let mut lines = screen.lines().rev().filter(|line| !line.trim().is_empty());
            let last_line = lines.next()?;
            let above = Some(last_line).filter(|line| !line.starts_with([' ', '>', '#'])).and_then(|_| lines.next());
            let asked = last_line.strip_prefix("? ").or_else(|| above?.strip_prefix("? "))?;
            // Half a line may have come so far.
            let label = asked[..asked.find([':', '?'])?].to_owned();
            (label != last).then_some(label)
        });
        if prompt == end {
            return (answers, by_hand);
        }
        if let Some((_, text)) = typed.iter().find(|(ask, _)| *ask == prompt) {
            terminal.press(text);
            by_hand += 1;
        }
        answers += 1;
        terminal.press(ENTER);
        let answered = format!("> {prompt}:");
        terminal.until("the answer to be taken", |screen| screen.contains(&answered).then_some(()));
        last = prompt;
    }
}

fn playbook(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("acme.toml")).unwrap()
}

#[test]
fn a_newcomer_comes_to_a_finished_rehearsal_on_the_full_screen_and_line_by_line() {
    if std::env::var_os("LANDFALL_HOST_TESTS").is_none() {
        return skipped("tests on real local hosts run with LANDFALL_HOST_TESTS=1, which `make test` sets");
    }
    const LONG: Duration = Duration::from_secs(600);
    let home = home_with_key();
    let mut terminal = Terminal::start(home.path(), &[], &[]);
    let (answers, typed) = walk(&mut terminal, TYPED, "review");
    terminal.see("the playbook is whole");
    terminal.press(ENTER);
    terminal.within(LONG, "the end of the rehearsal", |screen| screen.contains("rehearsed: ").then_some(()));
    // Eight of the rehearsal itself, and the site as three of its runs asked for it.
    terminal.see("11 of 11 looks passed");
    terminal.press(CONTROL_C);
    assert_eq!(terminal.ended(), 0);
    terminal.is_as_it_was();

    let other = home_with_key();
    for file in [".ssh/id_ed25519", ".ssh/id_ed25519.pub"] {
        std::fs::copy(home.path().join(file), other.path().join(file)).unwrap();
    }
    let mut plain = Terminal::start(other.path(), &["--plain"], &[]);
    let (answers_plain, typed_plain) = walk_plain(&mut plain, TYPED, "what now");
    plain.press(ENTER);
    plain.within(LONG, "the end of the rehearsal", |screen| screen.contains("rehearse: passed").then_some(()));
    assert_eq!(plain.ended(), 0);

    told(&format!(
        "newcomer: {answers} answers on the full screen, {typed} of them typed; {answers_plain} line by line, {typed_plain} of them typed"
    ));
    assert!(answers <= 25 && answers_plain <= 25);
    assert!(typed <= 6 && typed_plain <= 6);
    assert_eq!(playbook(home.path()), playbook(other.path()), "the same answers make the same playbook");
}
