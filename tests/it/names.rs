//! DNS with respect for what is there: what is written is what was meant, and nobody's mail or site is switched off.

use landfall::engine::Goal;
use landfall::rehearsal::clouds::Ground;
use serde_json::json;

use crate::cloudflare::{stranger, zone_id};
use crate::world::{World, ask, ground};

fn playbook(more: &str) -> String {
    format!(
        "schema = 1\nname = \"acme\"\ndomain = \"acme.dev\"\n\n[[step]]\nuse = \"dns\"\nprovider = \"cloudflare\"\n{more}\n"
    )
}

async fn world() -> World {
    World::of(&["cloudflare"], Ground { domains: vec!["acme.dev".into()], ..ground() }).await
}

/// Every record of the zone by name and type, with its content.
async fn records(world: &World) -> Vec<String> {
    let path = format!("/zones/{}/dns_records?per_page=5000", zone_id(world).await);
    let (_, body) = ask(world, "cloudflare", "GET", &path, None).await;
    let line = |r: &serde_json::Value| {
        format!("{} {} {}", r["type"].as_str().unwrap(), r["name"].as_str().unwrap(), r["content"].as_str().unwrap())
    };
    let mut all: Vec<String> = body["result"].as_array().unwrap().iter().map(line).collect();
    all.sort();
    all
}

#[tokio::test]
async fn records_are_published_as_a_zone_file_means_them() {
    let world = world().await;
    let text = playbook(
        "records = [\n{ type = \"TXT\", name = \"send\", content = '\"v=spf1 include:_spf.mailhost.example -all\"' },\n\
         { type = \"TXT\", name = \"k2._domainkey\", content = '\"v=DKIM1; k=rsa; p=AAAA\" \"CC\\\"\\065CC\"' },\n\
         { type = \"A\", name = \"www.acme.dev\", content = \"203.0.113.7\" },\n\
         { type = \"CNAME\", name = \"selector1._domainkey\", content = \"selector1-acme-dev._domainkey.acme.onmicrosoft.example\" },\n\
         { type = \"MX\", name = \"quiet\", content = \"0 .\" },\n\
         { type = \"CNAME\", name = \"@\", content = \"acme.pages.example\" }, { type = \"MX\", name = \"@\", content = \"10 mx.mailhost.example\" },\n]",
    );
    let applied = world.go(&text, Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    let all = records(&world).await;
    for wanted in [
        "TXT send.acme.dev \"v=spf1 include:_spf.mailhost.example -all\"",
        "TXT k2._domainkey.acme.dev \"v=DKIM1; k=rsa; p=AAAACC\\\"ACC\"",
        "A www.acme.dev 203.0.113.7",
        "CNAME selector1._domainkey.acme.dev selector1-acme-dev._domainkey.acme.onmicrosoft.example",
        "CNAME acme.dev acme.pages.example",
        "MX acme.dev mx.mailhost.example",
    ] {
        assert!(all.iter().any(|line| line == wanted), "`{wanted}` is not among {all:#?}");
    }
    assert!(!all.iter().any(|line| line.contains("acme.dev.acme.dev")), "{all:#?}");
    let again = world.go(&text, Goal::Apply).await;
    assert_eq!((again.outcome.code, again.plan()), (0, vec![]), "and is read back as the same");
}

#[test]
fn what_would_break_mail_or_certificates_is_refused_at_home() {
    let refused = |more: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.toml"), playbook(more)).unwrap();
        let mut command = crate::binary::landfall(folder.path());
        command
            .args(["plan", "p.toml"])
            .env("CLOUDFLARE_API_TOKEN", "x")
            .env("LANDFALL_CLOUDFLARE_URL", "http://127.0.0.1:1");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{more}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (more, said) in [
        (
            "mail = \"none\"\nrecords = [{ type = \"MX\", name = \"@\", content = \"10 mx.example.com\" }]",
            "`mail = \"none\"` beside the MX",
        ),
        (
            "mail = \"none\"\nrecords = [{ type = \"TXT\", name = \"_dmarc\", content = \"v=DMARC1; p=none\" }]",
            "two records `v=dmarc1` of `_dmarc.acme.dev`",
        ),
        (
            "records = [{ type = \"TXT\", name = \"@\", content = \"v=spf1 a -all\" }, { type = \"TXT\", name = \"acme.dev\", content = \"v=spf1 mx -all\" }]",
            "two records `v=spf1`",
        ),
        (
            "records = [{ type = \"A\", name = \"api.staging\", content = \"203.0.113.7\", proxied = true }]",
            "whose certificate is only for `acme.dev` and `*.acme.dev`",
        ),
        ("records = [{ type = \"TXT\", name = \"x\", content = '\"no end' }]", "bad content"),
    ] {
        let told = refused(more);
        assert!(told.contains(said), "`{said}` is not in\n{told}");
    }
}

#[tokio::test]
async fn a_domain_that_takes_mail_is_not_told_to_send_none() {
    let world = world().await;
    stranger(&world, json!({ "type": "MX", "name": "acme.dev", "content": "mx1.mailhost.example", "priority": 10 }))
        .await;
    let before = records(&world).await;
    let refused = world.go(&playbook("mail = \"none\""), Goal::Apply).await;
    assert_eq!(refused.outcome.code, 1, "a conflict");
    let said = serde_json::to_string(&refused.events).unwrap();
    assert!(said.contains("the zone takes mail: there is MX acme.dev"), "{said}");
    assert_eq!(records(&world).await, before, "nothing was written");
}

#[tokio::test]
async fn a_zone_is_found_by_what_it_is() {
    let world = world().await;
    let below = playbook("").replace("acme.dev", "staging.acme.dev");
    let refused = world.go(&below, Goal::Plan).await;
    assert_eq!(refused.outcome.code, 4, "{}", refused.failure());
    assert!(refused.failure().contains("it lies in the zone `acme.dev`"), "{}", refused.failure());
}
