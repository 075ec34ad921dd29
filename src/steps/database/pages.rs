//! What the wizard asks about a database.

use crate::model::draft::Draft;
use crate::model::question::{Choice, Field, Key, Lookup, NONE, Page, Question};

const DATABASE: &str = "database";

fn key(name: &'static str) -> Key {
    Key::Step(DATABASE, name)
}

pub(super) fn pages(draft: &Draft) -> Vec<Page> {
    let whose = Question::new(
        key("provider"),
        "whose",
        Field::Choice(vec![
            Choice::new("supabase", "a Supabase project: PostgreSQL, logins and an API"),
            Choice::new("neon", "a Neon project: PostgreSQL that sleeps when nobody comes"),
            Choice::new("host", "PostgreSQL in a container on your server"),
            Choice::new(NONE, "no database for now"),
        ]),
        "Where your data lives. The app is given its address either way.",
    )
    .default(NONE);
    let region = |default: &'static str, provider: &'static str| {
        Question::new(
            key("region"),
            "region",
            Field::Text(|text| match text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
                true => Ok(()),
                false => Err("the provider's name of a region, such as eu-central-1".to_owned()),
            }),
            "The provider's name of the place. Near the server is fast.",
        )
        .default(default)
        .lookup(Lookup::Account(provider, "region"))
    };
    let provider = draft.get(DATABASE, "provider");
    let mut questions = vec![whose];
    let mut dropped: Vec<&'static str> = Vec::new();
    match provider {
        Some("supabase") => {
            questions.push(
                Question::new(
                    key("organization"),
                    "organisation",
                    Field::Text(|_| Ok(())),
                    "Its name, as https://supabase.com/dashboard shows it. It decides the plan and who pays.",
                )
                .lookup(Lookup::Account("supabase", "organization")),
            );
            questions.push(region("eu-central-1", "supabase"));
            dropped.extend(["on", "version", "compute", "sleeps_after", "most_gb"]);
        }
        Some("neon") => {
            questions.push(region("aws-eu-central-1", "neon"));
            dropped.extend(["on", "organization", "size", "migrations", "point_in_time", "login_seconds"]);
            dropped.push("confirm_email");
        }
        Some("host") => {
            dropped.extend(["region", "organization", "size", "migrations", "point_in_time", "login_seconds", "from"]);
            dropped.extend(["confirm_email", "compute", "sleeps_after", "most_gb"]);
        }
        _ => {}
    }
    vec![Page::new("database", "database", "Where your data lives.", questions).dropping(DATABASE, &dropped)]
}
