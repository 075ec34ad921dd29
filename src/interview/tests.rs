use super::*;

/// Answers every page as a newcomer would: what is given, and else the default.
fn walk(given: &[(&str, &str)]) -> Draft {
    let given = Given::read(&given.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()).unwrap();
    let mut draft = Draft::default();
    while let Some(page) = pages(&draft).get(next_page(&draft)).cloned() {
        let before = draft.clone();
        let mut at = 0;
        while let Some(question) = questions(&draft, page.id).get(at).cloned() {
            let typed = given.of(&question).unwrap_or_default().to_owned();
            answer(&mut draft, &question, &typed).unwrap_or_else(|why| panic!("{}: {why}", question.key.as_text()));
            at += 1;
        }
        finish(&mut draft, &before, page.id);
    }
    draft
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me@laptop";

fn solo() -> Vec<(&'static str, &'static str)> {
    vec![
        ("name", "acme"),
        ("domain", "acme.dev"),
        ("email", "me@acme.dev"),
        ("server.keys", KEY),
        ("database.provider", "supabase"),
        ("database.organization", "acme"),
        ("app.image", "ghcr.io/acme/web:1.4.2"),
    ]
}

#[test]
fn a_newcomers_answers_make_a_whole_playbook() {
    let draft = walk(&solo());
    insta::assert_snapshot!(draft.text(), @r#"
    schema = 1
    name = "acme"
    domain = "acme.dev"
    email = "me@acme.dev"

    [[step]]
    use = "server"
    id = "web"
    provider = "hetzner"
    location = "fsn1"
    size = { cpu = 2, memory_gb = 4 }
    backups = true
    keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me@laptop"]
    admin = "deploy"

    [[step]]
    use = "hardening"
    on = "web"
    profile = "strict"

    [[step]]
    use = "firewall"
    on = "web"

    [[step]]
    use = "docker"
    on = "web"

    [[step]]
    use = "database"
    provider = "supabase"
    organization = "acme"
    region = "eu-central-1"

    [[step]]
    use = "app"
    on = "web"
    image = "ghcr.io/acme/web:1.4.2"
    port = 3000
    host = "app.acme.dev"
    health = "/"

    [step.env]
    DATABASE_URL = { output = "database.url" }

    [[step]]
    use = "proxy"
    on = "web"

    [[step]]
    use = "dns"
    to = "web"
    provider = "cloudflare"
    zone = "acme.dev"
    proxied = true
    "#);
    let playbook = Playbook::parse(&draft.text()).unwrap();
    steps::check::check(&playbook).unwrap();
}

#[test]
fn every_choice_of_every_question_leads_to_a_playbook_that_can_be_planned() {
    let base = solo();
    for (key, value, more) in [
        ("server.provider", "digitalocean", vec![]),
        (
            "server.provider",
            "existing",
            vec![("server.address", "203.0.113.7"), ("server.host_key", KEY), ("database.provider", "host")],
        ),
        ("database.provider", "neon", vec![]),
        ("database.provider", "host", vec![]),
        ("database.provider", "none", vec![]),
        ("app", "static", vec![("app.static", "site")]),
        ("app", "compose", vec![("app.compose", "compose.yaml")]),
        ("app", "none", vec![("dns.provider", "none")]),
        ("dns.provider", "none", vec![]),
        ("hardening.profile", "baseline", vec![]),
    ] {
        let mut given = base.clone();
        given.push((key, value));
        given.extend(more);
        let draft = walk(&given);
        let playbook = Playbook::parse(&draft.text()).unwrap_or_else(|why| panic!("{key}={value}: {why:?}"));
        steps::check::check(&playbook).unwrap_or_else(|why| panic!("{key}={value}: {why:?}\n{}", draft.text()));
    }
}

#[test]
fn another_provider_takes_the_answers_of_the_first_away() {
    let mut draft = walk(&solo());
    let before = draft.clone();
    let page = pages(&draft).into_iter().find(|page| page.id == "provider").unwrap();
    answer(&mut draft, &page.questions[0], "existing").unwrap();
    for (at, typed) in [(1, "203.0.113.7"), (2, KEY)] {
        let question = questions(&draft, "provider")[at].clone();
        answer(&mut draft, &question, typed).unwrap();
    }
    finish(&mut draft, &before, "provider");
    for gone in ["location", "size", "backups", "admin"] {
        assert!(!draft.answers("server", gone), "{gone}");
    }
    assert!(draft.goes_on.is_none(), "a page that is changed later does not ask for the others again");
}

#[test]
fn every_question_has_a_label_and_help_and_a_default_it_accepts() {
    let mut draft = walk(&solo());
    for database in ["supabase", "neon", "host"] {
        let question = questions(&draft, "database")[0].clone();
        answer(&mut draft, &question, database).unwrap();
        for page in pages(&draft) {
            assert!(!page.about.is_empty() && !page.title.is_empty());
            for question in &page.questions {
                let key = question.key.as_text();
                assert!(!question.ask.is_empty() && question.help.len() > 20, "{key}");
                if let Some(default) = &question.default {
                    assert!(question.field.read(default).is_ok(), "{key}: {default}");
                }
                if question.optional || question.default.is_some() {
                    assert!(question.read("").is_ok(), "{key}");
                }
            }
        }
    }
}

#[test]
fn a_given_answer_that_nothing_asks_for_is_refused() {
    for (given, word) in [
        ("server.sise=2/4", "did you mean `server.size`?"),
        ("server.size=big plan", "2/4"),
        ("neon.x", "key=value"),
        ("app.static=site", "nothing asks"),
    ] {
        let put = Given::read(&[given.to_owned()]).and_then(|given| given.put(&mut walk(&solo())));
        assert!(put.as_ref().is_err_and(|why| why.contains(word)), "{given}: {put:?}");
    }
    // For a page that is still to come, the answer waits; where nobody will change the others, it does not fit.
    let given = Given::read(&["app.static=site".to_owned()]).unwrap();
    given.put(&mut Draft::default()).unwrap();
    assert!(given.fits(&Draft::default()).is_err());
    Given::read(&["app=static".to_owned(), "app.static=site".to_owned()]).unwrap().fits(&Draft::default()).unwrap();
}

#[test]
fn what_the_steps_themselves_refuse_stands_under_its_question() {
    let mut draft = walk(&solo());
    let page = pages(&draft).into_iter().find(|page| page.id == "app").unwrap();
    let index = page.questions.iter().position(|question| question.ask == "port").unwrap();
    answer(&mut draft, &page.questions[index], "80").unwrap();
    let found = problems(&draft, &page);
    assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [index], "{found:?}");
}

/// Changes one answer of a finished playbook, as its page does.
fn change(draft: &mut Draft, key: &str, typed: &str) {
    let before = draft.clone();
    let all = pages(draft);
    let page = all.iter().find(|page| page.questions.iter().any(|question| question.key.as_text() == key)).unwrap();
    let question = page.questions.iter().find(|question| question.key.as_text() == key).unwrap();
    answer(draft, question, typed).unwrap();
    finish(draft, &before, page.id);
}

#[test]
fn answers_nobody_typed_follow_what_they_were_made_of() {
    let mut draft = walk(&solo());
    change(&mut draft, "domain", "right.dev");
    assert_eq!((draft.get("app", "host"), draft.get("dns", "zone")), (Some("app.right.dev"), Some("right.dev")));
    change(&mut draft, "app.host", "www.right.dev");
    change(&mut draft, "domain", "other.dev");
    assert_eq!(draft.get("app", "host"), Some("www.right.dev"), "what was typed stays");
    change(&mut draft, "server.provider", "digitalocean");
    assert_eq!(draft.get("server", "location"), Some("fra1"));
    change(&mut draft, "database.provider", "none");
    assert!(!draft.text().contains("DATABASE_URL"), "{}", draft.text());
}

#[test]
fn a_finished_playbook_gets_no_step_it_never_had_and_loses_what_only_came_along() {
    let mut draft = walk(&solo());
    draft.remove_step("firewall");
    change(&mut draft, "app.port", "8080");
    assert!(!draft.has("firewall") && draft.has("proxy"));
    change(&mut draft, "app", "none");
    assert!(!draft.has("proxy") && !draft.has("docker"));
    change(&mut draft, "app", "static");
    assert!(!draft.has("firewall"));
}

#[test]
fn an_output_of_a_step_that_is_not_there_is_told_on_its_page() {
    let mut draft = walk(&solo());
    change(&mut draft, "app.env", "A=output:nothing.url B=output:database.url");
    let page = pages(&draft).into_iter().find(|page| page.id == "app").unwrap();
    let found = problems(&draft, &page);
    assert!(found.len() == 1 && found[0].1.contains("`nothing`"), "{found:?}");
}
