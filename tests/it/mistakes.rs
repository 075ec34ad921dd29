use std::path::PathBuf;

use crossterm::event::KeyCode;
use landfall::front::tui::dialog::Dialog;
use landfall::front::tui::messages::{Missing, News, NotKept, PASSPHRASE, Wrong};
use landfall::front::tui::run_screen::Purpose;
use landfall::front::tui::state::Screen;
use landfall::model::event::FailureView;
use landfall::model::failure::Kind;

use crate::screens::{drawn, rows};
use crate::stage::{COLOUR, Stage, failed, half_way, missing};

fn text(stage: &Stage) -> String {
    rows(&drawn(stage, (80, 24)), 0).join("\n")
}

fn file(stage: &Stage) -> String {
    stage.home.files[&PathBuf::from("acme.toml")].clone()
}

/// The error under the field with the focus.
fn error(stage: &Stage) -> String {
    match &stage.state.screen {
        Screen::Page(form) => form.focused().and_then(|field| field.error.clone()).unwrap_or_default(),
        _ => String::new(),
    }
}

/// From the review back to the page called `id`.
fn back_to(stage: &mut Stage, id: &str) {
    for _ in 0..10 {
        if stage.is_at(id) {
            return;
        }
        stage.press(KeyCode::PageUp);
    }
    panic!("no page {id}");
}

#[test]
fn what_something_else_wrote_into_the_file_is_read_and_never_overwritten() {
    let mut stage = Stage::reviewing(COLOUR);
    back_to(&mut stage, "app");
    let edited = file(&stage).replace("web:1.4.2", "web:2.0.0");
    stage.home.files.insert("acme.toml".into(), edited.clone());
    stage.press(KeyCode::PageDown);
    assert_eq!(file(&stage), edited);
    assert!(stage.is_at("app") && text(&stage).contains("changed by something else"), "{}", text(&stage));
    assert!(text(&stage).contains("web:2.0.0"));
    stage.press(KeyCode::PageDown);
    assert_eq!(file(&stage), edited, "and the next time it is saved");
}

#[test]
fn what_the_page_cannot_show_is_not_lost_by_typing() {
    let mut stage = Stage::reviewing(COLOUR);
    let beyond = file(&stage).replace("DATABASE_URL =", "KEY = { secret = \"key\", generate = 64 }\nDATABASE_URL =");
    stage.home.files.insert("acme.toml".into(), beyond.clone());
    back_to(&mut stage, "dns");
    stage.press(KeyCode::PageDown);
    back_to(&mut stage, "app");
    (0..5).for_each(|_| stage.press(KeyCode::Tab));
    assert!(text(&stage).contains("as in the playbook"), "{}", text(&stage));
    stage.type_text("Z=1");
    assert!(error(&stage).contains("Ctrl-U"), "{}", error(&stage));
    stage.press(KeyCode::PageDown);
    assert_eq!(file(&stage), beyond);
    back_to(&mut stage, "app");
    (0..5).for_each(|_| stage.press(KeyCode::Tab));
    stage.control('u');
    stage.type_text("Z=1");
    stage.press(KeyCode::PageDown);
    assert!(file(&stage).contains("Z = \"1\"") && !file(&stage).contains("generate = 64"), "{}", file(&stage));
}

#[test]
fn a_plan_or_place_that_is_not_sold_is_refused_and_the_beginning_of_one_is_enough() {
    let mut stage = Stage::at(COLOUR, "size");
    stage.control('u');
    stage.type_text("narnia");
    stage.press(KeyCode::PageDown);
    assert!(error(&stage).contains("no location `narnia`"), "{}", error(&stage));
    stage.control('u');
    stage.press(KeyCode::Enter);
    stage.type_text("gibberish");
    stage.press(KeyCode::PageDown);
    assert!(error(&stage).contains("no plan `gibberish`"), "{}", error(&stage));
    stage.control('u');
    stage.type_text("cpx2");
    stage.press(KeyCode::PageDown);
    assert!(stage.is_at("access"), "{}", text(&stage));
    assert!(file(&stage).contains("size = \"cpx22\""), "{}", file(&stage));
}

#[test]
fn paging_through_a_finished_playbook_writes_nothing_into_it() {
    let mut stage = Stage::reviewing(COLOUR);
    let short = file(&stage)
        .lines()
        .filter(|line| !["backups =", "health =", "email ="].iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let short = short.replace("[[step]]\nuse = \"hardening\"\non = \"web\"\nprofile = \"strict\"\n\n", "");
    stage.home.files.insert("acme.toml".into(), short.clone());
    // Read anew on the first page, and then page by page to the end.
    back_to(&mut stage, "project");
    for _ in 0..10 {
        stage.press(KeyCode::PageDown);
    }
    assert!(matches!(stage.state.screen, Screen::Review(_)));
    assert_eq!(file(&stage), short);
}

#[test]
fn whoever_asked_to_stop_is_not_asked_for_approval() {
    let mut stage = Stage::running(COLOUR, Purpose::Apply, &half_way()[..1], None);
    stage.control('c');
    stage.news(News::Event(half_way()[1].clone()));
    assert!(stage.ordered.contains(&"Decline".to_owned()), "{:?}", stage.ordered);
    assert!(!text(&stage).contains("Enter yes"), "{}", text(&stage));
    // And whoever has typed the name of all that shall go is not asked again.
    let mut stage = Stage::running(COLOUR, Purpose::Destroy, &half_way()[..1], None);
    stage.news(News::Event(half_way()[1].clone()));
    assert!(stage.ordered.iter().any(|order| order.starts_with("Approve")), "{:?}", stage.ordered);
}

#[test]
fn parting_words_say_what_exists_and_how_to_go_on() {
    let said = |stage: &Stage| stage.state.parting().join("\n");
    let stage = Stage::running(COLOUR, Purpose::Apply, &failed(), Some(4));
    for word in
        ["does not accept the token", "what to do:", "for 5.49 EUR a month: hetzner/server/web", "--playbook acme.toml"]
    {
        assert!(said(&stage).contains(word), "no {word} in {}", said(&stage));
    }
    let stage = Stage::running(COLOUR, Purpose::Apply, &half_way(), None);
    assert!(said(&stage).contains("stopped in the middle"), "{}", said(&stage));
    assert!(said(&Stage::at(COLOUR, "project")).contains("nothing was saved yet"));
    assert_eq!(said(&Stage::running(COLOUR, Purpose::Replay, &[], Some(0))).lines().count(), 1);
}

#[test]
fn a_locked_vault_is_opened_once_with_one_passphrase() {
    let mut stage = Stage::reviewing(COLOUR);
    stage.press(KeyCode::Down);
    stage.press(KeyCode::Enter);
    let locked = Missing { name: PASSPHRASE.to_owned(), hint: "acme.vault.age is locked".to_owned() };
    stage.news(News::Missing(Ok(vec![locked])));
    stage.type_text("a long passphrase");
    stage.press(KeyCode::Tab);
    stage.press(KeyCode::Enter);
    let kept = |order: &&String| order.starts_with("Keep") && order.contains(PASSPHRASE);
    let orders: Vec<String> = stage.ordered.iter().filter(kept).cloned().collect();
    assert!(orders.len() == 1 && orders[0].contains("passphrase: None"), "{orders:?}");
    assert!(!orders[0].contains("a long"), "an order never shows what it carries");
    stage.ordered.clear();
    stage.news(News::Kept(Ok("the vault is open".to_owned())));
    assert!(stage.ordered.iter().any(|order| order.starts_with("Missing")), "what is missing is asked again");
}

#[test]
fn a_secret_that_cannot_be_kept_in_one_place_need_not_be_typed_again() {
    let view = || FailureView { kind: Kind::Human, message: "no".into(), causes: vec![], hint: None };
    for (wrong, left) in [(Wrong::Place, 6), (Wrong::Secret, 0)] {
        let mut stage = Stage::reviewing(COLOUR);
        stage.press(KeyCode::Down);
        stage.press(KeyCode::Enter);
        stage.news(News::Missing(Ok(missing())));
        stage.type_text("secret");
        stage.press(KeyCode::Enter);
        stage.news(News::Kept(Err(NotKept { why: view(), wrong })));
        let Some(Dialog::Secret(secret)) = &stage.state.dialog else { panic!("no dialog") };
        assert_eq!(secret.input.value().len(), left, "{wrong:?}");
    }
}

#[test]
fn no_key_does_anything_that_nobody_can_see() {
    let mut stage = Stage::reviewing(COLOUR);
    stage.state.is_small = true;
    stage.press(KeyCode::Enter);
    assert!(matches!(stage.state.screen, Screen::Review(_)));
    stage.control('c');
    assert!(stage.state.quit.is_some(), "leaving always works");
}

#[test]
fn a_page_says_that_there_are_more_steps_of_its_kind() {
    let mut stage = Stage::reviewing(COLOUR);
    let two = file(&stage) + "\n[[step]]\nuse = \"app\"\nid = \"second\"\non = \"web\"\nstatic = \"site\"\n";
    stage.home.files.insert("acme.toml".into(), two.clone());
    back_to(&mut stage, "app");
    stage.press(KeyCode::PageDown);
    assert!(text(&stage).contains("the first of 2 steps `app`"), "{}", text(&stage));
    stage.press(KeyCode::PageDown);
    assert_eq!(file(&stage), two);
}
