use std::time::Duration;

use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::faults::{Fault, Trouble};
use serde_json::json;

use crate::cloudflare::stranger;
use crate::newcomer::{home_with_key, walk, walk_plain};
use crate::stage::TYPED;
use crate::terminal::{CONTROL_C, CONTROL_T, CONTROL_U, ENTER, PAGE_DOWN, TAB, Terminal};
use crate::world::{World, ground};

/// A wizard at the page called `chapter`, in a world of simulated clouds.
fn at(chapter: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Terminal) {
    let home = home_with_key();
    let mut terminal = Terminal::start(home.path(), &[], variables);
    walk(&mut terminal, TYPED, chapter);
    (home, terminal)
}

/// Runs `doing` beside the simulators.
async fn beside(doing: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(doing).await.unwrap();
}

#[test]
fn with_the_network_off_the_page_says_so_and_the_dated_prices_stay() {
    let nobody = "http://127.0.0.1:9";
    let (_home, mut terminal) = at("provider", &[("LANDFALL_HETZNER_URL", nobody), ("HCLOUD_TOKEN", "any")]);
    terminal.see_pass("looking it up; you need not wait");
    terminal.see_pass("did not go well; try 2");
    terminal.see("cannot be reached");
    terminal.see("prices of 2026-09-03");
    // And one goes on.
    terminal.press(ENTER);
    terminal.see("How big the server is, and where it stands.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_one_without_rights_are_told_at_once_and_a_good_one_opens_the_list() {
    let world = World::of(&["hetzner"], ground()).await;
    let url = world.served("hetzner").url.clone();
    let (good, weak) =
        (world.secrets.0.lock().unwrap()["hetzner-token"].clone(), world.api.read_only_token().to_owned());
    beside(move || {
        let variables = [("LANDFALL_HETZNER_URL", url.as_str()), ("HCLOUD_TOKEN", "wrong")];
        let (home, mut terminal) = at("provider", &variables);
        terminal.see("did not accept the token");
        for (token, said) in [("still-wrong", "Hetzner does not accept the token"), (&weak, "but lacks: Read & Write")]
        {
            terminal.press(CONTROL_T);
            terminal.see("make one with read and write rights");
            terminal.press(token);
            terminal.press(TAB);
            terminal.press(ENTER);
            terminal.see("its passphrase");
            terminal.press("a long passphrase");
            terminal.press(ENTER);
            terminal.see(said);
            terminal.press("\x1b");
            terminal.until("the page", |screen| (!screen.contains("a secret")).then_some(()));
        }
        assert!(!home.path().join("acme.vault.age").exists(), "a token that is not good enough is not kept");
        drop(terminal);

        let mut terminal = Terminal::start(home.path(), &["--playbook", "acme.toml"], &variables[..1]);
        terminal.press(CONTROL_T);
        terminal.see("make one with read and write rights");
        terminal.press(&good);
        terminal.press(TAB);
        terminal.press(ENTER);
        terminal.see("its passphrase");
        terminal.press("a long passphrase");
        terminal.press(ENTER);
        terminal.see("the token opens");
        terminal.see("read now");
        let text = std::fs::read_to_string(home.path().join("acme.toml")).unwrap();
        assert!(!text.contains(&good), "never in the playbook");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_never_holds_a_key_up() {
    let world = World::of(&["hetzner"], ground()).await;
    let served = world.served("hetzner");
    let late = |at| Fault { at, nth: 1, trouble: Trouble::Late(Duration::from_secs(5)) };
    for at in ["GET /server_types", "GET /pricing", "GET /locations"] {
        served.faults.add(late(at));
    }
    let (url, token) = (served.url.clone(), world.secrets.0.lock().unwrap()["hetzner-token"].clone());
    beside(move || {
        let variables = [("LANDFALL_HETZNER_URL", url.as_str()), ("HCLOUD_TOKEN", token.as_str())];
        let (_home, mut terminal) = at("provider", &variables);
        terminal.see("looking it up; you need not wait");
        // The answer is not there yet, and every key has its effect.
        for (key, seen) in [("x", "xetzner"), (CONTROL_U, "hetzner"), ("digital", "digitalocean")] {
            terminal.press(key);
            if key != "x" {
                terminal.see(seen);
            }
            assert!(terminal.screen().contains("looking it up"), "a key waited for the API");
        }
        terminal.press(CONTROL_U);
        terminal.see("read now");
        terminal.press(CONTROL_C);
        assert_eq!(terminal.ended(), 130);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_waited_out_in_sight_and_told_when_it_lasts() {
    let world = World::of(&["hetzner"], ground()).await;
    let served = world.served("hetzner");
    for nth in 1..=3 {
        let refused = Trouble::Refuse(429, "rate_limit_exceeded", vec![("Retry-After", "1".to_owned())]);
        served.faults.add(Fault { at: "GET /server_types", nth, trouble: refused });
    }
    let (url, token) = (served.url.clone(), world.secrets.0.lock().unwrap()["hetzner-token"].clone());
    beside(move || {
        let variables = [("LANDFALL_HETZNER_URL", url.as_str()), ("HCLOUD_TOKEN", token.as_str())];
        let (_home, mut terminal) = at("provider", &variables);
        terminal.see("did not go well; try 2");
        terminal.see("gave no answer: hetzner");
        terminal.see("prices of 2026-09-03");
        // The next page asks again, and by then the limit has passed.
        terminal.press(ENTER);
        terminal.see("How big the server is, and where it stands.");
        terminal.press(TAB);
        terminal.see("read now");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_sold_out_while_one_reads_is_told_by_name() {
    let world = World::of(&["hetzner"], ground()).await;
    let served = world.served("hetzner");
    let (url, token) = (served.url.clone(), world.secrets.0.lock().unwrap()["hetzner-token"].clone());
    let api = world.api.clone();
    beside(move || {
        let variables = [("LANDFALL_HETZNER_URL", url.as_str()), ("HCLOUD_TOKEN", token.as_str())];
        let (_home, mut terminal) = at("size and place", &variables);
        terminal.press(TAB);
        terminal.see("read now");
        terminal.press("cx23");
        terminal.see("5.49 EUR");
        api.sell_out("cx23");
        terminal.press(PAGE_DOWN);
        walk(&mut terminal, TYPED, "review");
        terminal.see("cx23 cannot be ordered in fsn1 now");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_zone_already_is_shown_beside_what_will_be_written() {
    let world = World::of(&["cloudflare"], Ground { domains: vec!["acme.dev".into()], ..ground() }).await;
    for (name, content) in [("app.acme.dev", "198.51.100.9"), ("elsewhere.acme.dev", "198.51.100.10")] {
        stranger(&world, json!({ "type": "A", "name": name, "content": content, "ttl": 1 })).await;
    }
    let (url, token) =
        (world.served("cloudflare").url.clone(), world.secrets.0.lock().unwrap()["cloudflare-token"].clone());
    beside(move || {
        let variables = [("LANDFALL_CLOUDFLARE_URL", url.as_str()), ("CLOUDFLARE_API_TOKEN", token.as_str())];
        let (_home, mut terminal) = at("DNS", &variables);
        terminal.resize(120, 40);
        terminal.press(TAB);
        terminal.see("acme.dev active");
        terminal.see("what is there already under these names: = app.acme.dev A 198.51.100.9");
        terminal.see("what will be written, where it is not there already:");
        assert!(!terminal.screen().contains("elsewhere"), "records of other names are nobody's business here");

        let home = home_with_key();
        let mut plain = Terminal::start(home.path(), &["--plain"], &variables);
        walk_plain(&mut plain, TYPED, "zone");
        plain.see("acme.dev active");
    })
    .await;
    let wrote = |exchange: &landfall::rehearsal::serve::Exchange| {
        exchange.request.method != "GET" && exchange.request.token.is_some()
    };
    let written = world.served("cloudflare").exchanges().into_iter().filter(wrote).count();
    assert_eq!(written, 0, "looking writes nothing");
}
