use std::collections::BTreeMap;

use landfall::engine::Goal;
use landfall::model::failure::Kind;
use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::faults::{Fault, Trouble};
use serde_json::{Value, json};

use crate::openapi::judge;
use crate::world::{World, ask, ground, told};

/// A world with an existing server, whose address is known, and the zone acme.dev.
async fn world() -> World {
    World::of(&["cloudflare"], Ground { domains: vec!["acme.dev".into()], ..ground() }).await
}

/// A playbook with a zone and nothing else.
fn playbook(more: &str) -> String {
    format!(
        "schema = 1\nname = \"acme\"\ndomain = \"acme.dev\"\n\n[[step]]\nuse = \"dns\"\nprovider = \
         \"cloudflare\"\nmail = \"none\"\ncaa = [\"letsencrypt.org\"]\n{more}\n"
    )
}

pub(crate) async fn zone_id(world: &World) -> String {
    ask(world, "cloudflare", "GET", "/zones", None).await.1["result"][0]["id"].as_str().unwrap().to_owned()
}

/// Every record of the zone: `TYPE name content`, sorted.
async fn zone(world: &World) -> Vec<String> {
    let path = format!("/zones/{}/dns_records?per_page=5000", zone_id(world).await);
    let (_, body) = ask(world, "cloudflare", "GET", &path, None).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |r: &Value| format!("{} {} {}", text(&r["type"]), text(&r["name"]), text(&r["content"]));
    let mut lines: Vec<String> = body["result"].as_array().unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

/// Posts a record that is somebody else's.
pub(crate) async fn stranger(world: &World, record: Value) {
    let path = format!("/zones/{}/dns_records", zone_id(world).await);
    let (status, body) = ask(world, "cloudflare", "POST", &path, Some(record)).await;
    assert_eq!(status, 200, "{body}");
}

/// How often something was asked since `from`.
fn asked(world: &World, from: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for exchange in world.served("cloudflare").exchanges().into_iter().skip(from) {
        *counts.entry(exchange.request.method).or_default() += 1;
    }
    counts
}

const WWW: &str = "records = [{ type = \"A\", name = \"www\", content = \"203.0.113.7\" }]\n";

#[tokio::test]
async fn records_are_made_in_one_batch_kept_changed_and_taken_away() {
    let world = world().await;
    let text = playbook(WWW);
    let went = world.go(&text, Goal::Plan).await;
    assert!(went.plan().contains(&"create cloudflare/record/www.acme.dev/A".to_owned()), "{:?}", went.plan());
    world.go(&text, Goal::Apply).await;
    let made = zone(&world).await;
    assert_eq!(
        made,
        [
            "A www.acme.dev 203.0.113.7",
            "CAA acme.dev 0 issue \"letsencrypt.org\"",
            "TXT *._domainkey.acme.dev \"v=DKIM1; p=\"",
            "TXT _dmarc.acme.dev \"v=DMARC1; p=reject; sp=reject; adkim=s; aspf=s\"",
            "TXT acme.dev \"v=spf1 -all\"",
        ]
    );
    let is_batch = |path: &str| path.ends_with("/dns_records/batch");
    let batches =
        |world: &World| world.served("cloudflare").exchanges().iter().filter(|e| is_batch(&e.request.path)).count();
    assert_eq!(batches(&world), 1, "five records, one batch");

    let again = world.go(&text, Goal::Plan).await;
    assert_eq!(again.plan().iter().filter(|c| c.contains(" cloudflare/")).count(), 0, "{:?}", again.plan());

    let moved = text.replace("203.0.113.7", "203.0.113.8").replace("mail = \"none\"\n", "");
    let went = world.go(&moved, Goal::Plan).await;
    assert!(went.plan().contains(&"update cloudflare/record/www.acme.dev/A".to_owned()), "{:?}", went.plan());
    world.go(&moved, Goal::Apply).await;
    assert!(zone(&world).await.contains(&"A www.acme.dev 203.0.113.8".to_owned()));
    assert_eq!(zone(&world).await.len(), 5, "what is no longer wanted stays until it is retired");

    world.go(&moved, Goal::Destroy).await;
    assert_eq!(zone(&world).await, Vec::<String>::new());
    let path = format!("/zones/{}/settings/ssl", zone_id(&world).await);
    let (_, body) = ask(&world, "cloudflare", "GET", &path, None).await;
    assert_eq!(body["result"]["value"], "strict", "settings of the zone stay safe");
    let operations = judge(&world, "cloudflare");
    told(&format!("cloudflare: {} operations held against the specification: {operations:?}", operations.len()));
}

#[tokio::test]
async fn three_thousand_foreign_records_are_listed_once_and_left_alone() {
    let world = world().await;
    let id = zone_id(&world).await;
    for batch in 0..15 {
        let posts: Vec<Value> = (0..200)
            .map(|n| json!({ "type": "A", "name": format!("h{}.acme.dev", batch * 200 + n), "content": "192.0.2.1" }))
            .collect();
        let path = format!("/zones/{id}/dns_records/batch");
        let (status, _) = ask(&world, "cloudflare", "POST", &path, Some(json!({ "posts": posts }))).await;
        assert_eq!(status, 200);
    }
    let before = zone(&world).await;
    assert_eq!(before.len(), 3000);
    let from = world.served("cloudflare").exchanges().len();
    let text = playbook(WWW);
    let went = world.go(&text, Goal::Plan).await;
    assert!(went.plan().contains(&"create cloudflare/record/www.acme.dev/A".to_owned()), "{:?}", went.plan());
    let gets = asked(&world, from);
    let lists = world.served("cloudflare").exchanges().into_iter().skip(from);
    let lists = lists.filter(|e| e.request.path.ends_with("/dns_records")).count();
    assert_eq!(lists, 3, "one pass of pages of a thousand: {gets:?}");
    assert_eq!(gets.keys().collect::<Vec<_>>(), ["GET"], "a plan changes nothing");

    world.go(&text, Goal::Apply).await;
    world.go(&text, Goal::Destroy).await;
    assert_eq!(zone(&world).await, before, "nothing foreign changed");
}

#[tokio::test]
async fn a_foreign_record_of_the_same_name_is_a_conflict_with_both_values_until_it_is_adopted() {
    for (foreign, kind) in [
        (json!({ "type": "A", "name": "www.acme.dev", "content": "192.0.2.99", "comment": "by hand" }), "A"),
        (json!({ "type": "CNAME", "name": "www.acme.dev", "content": "old.example" }), "CNAME"),
    ] {
        let mut world = world().await;
        let theirs = foreign["content"].as_str().unwrap().to_owned();
        stranger(&world, foreign).await;
        let before = zone(&world).await;
        let text = playbook(WWW);
        let went = world.go(&text, Goal::Apply).await;
        assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", went.failure());
        assert!(went.failure().contains(&theirs) && went.failure().contains("203.0.113.7"), "{}", went.failure());
        assert_eq!(zone(&world).await, before, "nothing at all was done");

        world.adopt = vec!["cloudflare/record/www.acme.dev/A".to_owned()];
        world.go(&text, Goal::Apply).await;
        let after = zone(&world).await;
        // Only a record of the same kind can be taken over.
        assert_eq!(after.contains(&"A www.acme.dev 203.0.113.7".to_owned()), kind == "A", "{after:?}");
    }
}

#[tokio::test]
async fn a_mail_policy_that_is_there_is_never_joined_by_a_second_one() {
    let world = world().await;
    stranger(&world, json!({ "type": "TXT", "name": "acme.dev", "content": "v=spf1 include:mail.example ~all" })).await;
    stranger(&world, json!({ "type": "TXT", "name": "acme.dev", "content": "site-verification=1" })).await;
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("include:mail.example"), "{}", went.failure());
    assert_eq!(zone(&world).await.len(), 2);
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_not_sent_again() {
    let world = world().await;
    let at = Box::leak(format!("POST /zones/{}/dns_records/batch", zone_id(&world).await).into_boxed_str());
    world.served("cloudflare").faults.add(Fault { at, nth: 1, trouble: Trouble::CutAfter });
    world.go(&playbook(WWW), Goal::Apply).await;
    assert_eq!(zone(&world).await.len(), 5);
}

#[tokio::test]
async fn a_new_zone_says_which_name_servers_the_registrar_must_be_given() {
    let world = World::of(&["cloudflare"], ground()).await;
    let went = world.go(&playbook(WWW), Goal::Plan).await;
    assert!(went.plan().contains(&"create cloudflare/zone/acme.dev".to_owned()), "{:?}", went.plan());
    let went = world.go(&playbook(WWW), Goal::Apply).await;
    let told = serde_json::to_string(&went.events).unwrap();
    assert!(told.contains("the registrar of acme.dev to name the servers amy.ns.cloudflare.com and bob"), "{told}");
    assert_eq!(zone(&world).await.len(), 5, "records are written before the registrar is waited for");
}

#[tokio::test]
async fn a_token_without_a_right_is_told_which_one() {
    for (at, right) in [("GET", "Zone, Zone, Read"), ("PATCH", "Zone Settings, Edit")] {
        let world = world().await;
        let id = zone_id(&world).await;
        let at: &'static str = match at {
            "PATCH" => Box::leak(format!("PATCH /zones/{id}/settings").into_boxed_str()),
            _ => "GET /zones",
        };
        let trouble = Trouble::Refuse(403, "forbidden", vec![]);
        world.served("cloudflare").faults.add(Fault { at, nth: 1, trouble });
        let went = world.go(&playbook(WWW), Goal::Apply).await;
        assert_eq!(went.outcome.code, Kind::Human.exit_code(), "{}", went.failure());
        assert!(went.failure().contains(right), "{}", went.failure());
    }
}

#[tokio::test]
async fn a_changed_mail_policy_takes_the_old_ones_place() {
    let world = world().await;
    world.go(&playbook(""), Goal::Apply).await;
    let other =
        playbook("records = [{ type = \"TXT\", name = \"@\", content = \"v=spf1 include:mail.example -all\" }]\n")
            .replace("mail = \"none\"\n", "");
    let went = world.go(&other, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let policies: Vec<String> = zone(&world).await.into_iter().filter(|record| record.contains("v=spf1")).collect();
    assert_eq!(policies, ["TXT acme.dev \"v=spf1 include:mail.example -all\""], "two policies count as none");
}

#[tokio::test]
async fn one_record_in_the_way_of_two_goes_once() {
    let world = world().await;
    let cname = "records = [{ type = \"CNAME\", name = \"www\", content = \"Target.Example.\" }]\n";
    let went = world.go(&playbook(cname), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.go(&playbook(cname), Goal::Apply).await.outcome.planned, 0, "however it is spelled");
    let both = "records = [{ type = \"A\", name = \"www\", content = \"203.0.113.7\" }, { type = \"AAAA\", name = \"www\", \
                content = \"2001:DB8:0::7\" }]\n";
    let went = world.go(&playbook(both), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.go(&playbook(both), Goal::Apply).await.outcome.planned, 0);
}

#[tokio::test]
async fn what_is_ours_in_another_zone_is_shown_by_destroy_and_goes_with_it() {
    let domains = vec!["acme.dev".to_owned(), "other.dev".to_owned()];
    let world = World::of(&["cloudflare"], Ground { domains, ..ground() }).await;
    assert_eq!(world.go(&playbook(WWW), Goal::Apply).await.outcome.code, 0);
    let moved = playbook(WWW).replace("acme.dev", "other.dev");
    assert_eq!(world.go(&moved, Goal::Apply).await.outcome.code, 0);
    let gone = world.go(&moved, Goal::Destroy).await;
    assert_eq!(gone.outcome.code, 0, "{}", gone.failure());
    assert!(gone.plan().contains(&"delete cloudflare/record/www.acme.dev/A".to_owned()), "{:?}", gone.plan());
    assert_eq!(world.clouds.holds(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_domain_in_the_playbook_is_not_taken_for_another_account() {
    let world = World::of(&["cloudflare"], Ground { domains: vec!["acme.dev".into()], ..ground() }).await;
    assert_eq!(world.go(&playbook(""), Goal::Apply).await.outcome.code, 0);
    let moved = playbook("").replace("acme.dev", "acme.example");
    let went = world.go(&moved, Goal::Apply).await;
    assert!(!went.failure().contains("another account"), "{}", went.failure());
}
