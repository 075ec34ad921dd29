//! What the wizard asks about names.

use crate::model::draft::Draft;
use crate::model::name::is_host_name;
use crate::model::question::{Choice, Field, Key, Lookup, NONE, Page, Question};

const DNS: &str = "dns";

fn key(name: &'static str) -> Key {
    Key::Step(DNS, name)
}

pub(super) fn pages(draft: &Draft) -> Vec<Page> {
    let wanted = draft.head("domain").is_some();
    let whose = Question::new(
        key("provider"),
        "name servers",
        Field::Choice(vec![
            Choice::new("cloudflare", "Cloudflare, whose free plan is enough"),
            Choice::new(NONE, "I look after the names myself"),
        ]),
        "Who tells the world where your names lead. A zone that is not there yet is made, and you are told which \
         name servers to give the registrar.",
    )
    .default(if wanted { "cloudflare" } else { NONE });
    let mut questions = vec![whose];
    if draft.has(DNS) {
        let zone = Question::new(
            key("zone"),
            "zone",
            Field::Text(|text| match is_host_name(text) && text.contains('.') {
                true => Ok(()),
                false => Err("a domain such as acme.dev".to_owned()),
            }),
            "The domain whose records are written. Records that are not Landfall's are never touched.",
        )
        .lookup(Lookup::Account("cloudflare", "zone"));
        questions.push(match draft.head("domain") {
            Some(domain) => zone.default(domain),
            None => zone,
        });
        questions.push(
            Question::new(
                key("proxied"),
                "through Cloudflare",
                Field::YesNo,
                "Do visitors come through Cloudflare's network? It hides your server and takes attacks; the way \
                 behind it is encrypted with a certificate made for it alone.",
            )
            .default("yes"),
        );
        let mail = Question::new(
            key("mail"),
            "mail",
            Field::Choice(vec![
                Choice::new("keep", "leave records for mail as they are"),
                Choice::new("none", "tell the world that this domain sends no mail"),
            ]),
            "A domain that sends no mail should say so: then nobody can send in its name.",
        )
        .default("keep");
        // Whoever is reached at the domain has mail there.
        let zone = draft.get(DNS, "zone").or(draft.head("domain")).unwrap_or_default();
        let has_mail = draft.head("email").is_some_and(|email| email.ends_with(&format!("@{zone}")));
        if !has_mail || draft.answers(DNS, "mail") {
            questions.push(mail);
        }
    }
    let there = draft.get(DNS, "zone").map(|zone| Lookup::Records("cloudflare", zone.to_owned()));
    vec![Page::new("dns", "DNS", "The names that lead to your server.", questions).showing(DNS, there)]
}
