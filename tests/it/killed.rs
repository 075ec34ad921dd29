use std::path::Path;

use landfall::interview;
use landfall::model::draft::Draft;

use crate::binary::Simulated;
use crate::newcomer::{home_with_key, page_of, place, walk};
use crate::stage::TYPED;
use crate::terminal::{CONTROL_C, CONTROL_U, DOWN, ENTER, PAGE_DOWN, TAB, Terminal};

fn text_of(home: &Path) -> Option<String> {
    std::fs::read_to_string(home.join("acme.toml")).ok()
}

/// Every chapter with questions, in order, as the rail calls them.
const CHAPTERS: [&str; 8] = ["project", "provider", "size and place", "access", "hardening", "database", "app", "DNS"];

#[test]
fn killed_in_any_chapter_it_goes_on_there_and_the_terminal_is_free() {
    let home = home_with_key();
    for (index, chapter) in CHAPTERS.iter().enumerate() {
        let arguments: &[&str] = if index < 2 { &[] } else { &["--playbook", "acme.toml"] };
        let _ = index < 2 && std::fs::remove_file(home.path().join("acme.toml")).is_ok();
        let mut terminal = Terminal::start(home.path(), arguments, &[]);
        walk(&mut terminal, TYPED, chapter);
        let before = text_of(home.path());
        // In the middle of the page, with something typed that was not saved.
        terminal.press("half");
        terminal.see("half");
        terminal.kill();
        terminal.is_as_it_was();
        assert_eq!(text_of(home.path()), before, "{chapter}: a page is saved whole or not at all");
        let Some(text) = before else {
            assert_eq!(*chapter, "project", "only the first page has nothing to lose but itself");
            continue;
        };
        let draft = Draft::parse(&text).unwrap();
        assert_eq!(interview::pages(&draft)[interview::next_page(&draft)].title, *chapter);
        let mut again = Terminal::start(home.path(), &["--playbook", "acme.toml"], &[]);
        again.until("the page one was at", |screen| (place(&page_of(screen))?.0 == *chapter).then_some(()));
        again.press(CONTROL_C);
        assert_eq!(again.ended(), 130);
        again.is_as_it_was();
    }
}

#[test]
fn killed_at_the_beginning_in_the_review_and_in_a_run_nothing_is_lost_either() {
    let home = home_with_key();
    let mut terminal = Terminal::start(home.path(), &[], &[]);
    terminal.see("set up something new");
    terminal.kill();
    terminal.is_as_it_was();

    // The server is modelled: the run waits for it until it is killed.
    let cloud = Simulated::start(home.path());
    let variables = [("LANDFALL_HETZNER_URL", cloud.url.as_str()), ("HCLOUD_TOKEN", cloud.token.as_str())];
    let typed = [TYPED, &[("what runs", "none"), ("name servers", "none")]].concat();
    let typed: Vec<(&str, &str)> = typed.into_iter().filter(|(ask, _)| *ask != "whose").collect();
    let mut terminal = Terminal::start(home.path(), &[], &variables);
    walk(&mut terminal, &typed, "review");
    let whole = text_of(home.path()).unwrap();
    terminal.kill();
    terminal.is_as_it_was();
    for round in 0..2 {
        let mut terminal = Terminal::start(home.path(), &["--playbook", "acme.toml"], &variables);
        terminal.see("the playbook is whole");
        terminal.press(DOWN);
        terminal.press(ENTER);
        if round == 0 {
            terminal.see("Enter yes, Esc no");
            terminal.press(ENTER);
        }
        terminal.see("waiting for");
        terminal.kill();
        terminal.is_as_it_was();
        assert_eq!(text_of(home.path()).unwrap(), whole);
    }
}

#[test]
fn a_terminal_that_changes_its_size_two_hundred_times_shows_the_page_still() {
    let home = home_with_key();
    let mut terminal = Terminal::start(home.path(), &[], &[]);
    walk(&mut terminal, TYPED, "app");
    for round in 0..200 {
        terminal.resize(20 + (round * 37) % 180, 5 + (round * 13) % 60);
    }
    terminal.resize(80, 24);
    terminal.see("What your visitors come for.");
    terminal.press(PAGE_DOWN);
    terminal.see("an answer is needed here");
    terminal.press(CONTROL_C);
    assert_eq!(terminal.ended(), 130);
    terminal.is_as_it_was();
}

#[test]
fn a_key_that_comes_with_a_change_of_size_is_not_lost() {
    let home = home_with_key();
    let mut terminal = Terminal::start(home.path(), &[], &[]);
    walk(&mut terminal, TYPED, "project");
    for round in 0..30 {
        terminal.resize(80 + 40 * (round % 2), 24);
        terminal.press("x");
    }
    terminal.see(&"x".repeat(30));
}

#[test]
fn an_existing_playbook_is_edited_in_place_and_keeps_its_comments() {
    let home = home_with_key();
    let mut terminal = Terminal::start(home.path(), &[], &[]);
    walk(&mut terminal, TYPED, "review");
    terminal.press(CONTROL_C);
    assert_eq!(terminal.ended(), 130);
    let commented =
        text_of(home.path()).unwrap().replace("[[step]]\nuse = \"app\"", "# the shop\n[[step]]\nuse = \"app\"  # v2");
    std::fs::write(home.path().join("acme.toml"), &commented).unwrap();
    let mut terminal = Terminal::start(home.path(), &["--playbook", "acme.toml", "--set", "app.port=8080"], &[]);
    terminal.see("the playbook is whole");
    // Back over the names to the app, whose health path changes.
    terminal.press("\x1b[5~");
    terminal.see("The names that lead to your server.");
    terminal.press("\x1b[5~");
    terminal.see("What runs on the server.");
    (0..4).for_each(|_| terminal.press(TAB));
    terminal.see("A path that answers with success");
    terminal.press(CONTROL_U);
    terminal.press("/healthz");
    terminal.press(PAGE_DOWN);
    terminal.see("The names that lead to your server.");
    terminal.press(CONTROL_C);
    assert_eq!(terminal.ended(), 130);
    let wanted = commented.replace("port = 3000", "port = 8080").replace("health = \"/\"", "health = \"/healthz\"");
    assert_eq!(text_of(home.path()).unwrap(), wanted);
}
