//! What the wizard asks about an app.

use crate::model::draft::Draft;
use crate::model::name::is_host_name;
use crate::model::question::{Choice, Field, Key, NONE, Page, Question};

const APP: &str = "app";

fn key(name: &'static str) -> Key {
    Key::Step(APP, name)
}

pub(super) fn pages(draft: &Draft) -> Vec<Page> {
    const KINDS: &[&str] = &["image", "compose", "static"];
    let what = Question::new(
        Key::Which(APP, KINDS),
        "what runs",
        Field::Choice(vec![
            Choice::new("image", "a container image from a registry"),
            Choice::new("compose", "a compose file beside the playbook"),
            Choice::new("static", "a folder of files beside the playbook"),
            Choice::new(NONE, "no app for now"),
        ]),
        "What your visitors come for.",
    )
    .default("image");
    let chosen = KINDS.iter().find(|kind| draft.answers(APP, kind)).copied();
    let mut questions = vec![what];
    let mut dropped: Vec<&'static str> = Vec::new();
    match chosen {
        Some("image") => questions.push(Question::new(
            key("image"),
            "image",
            Field::Text(is_image),
            "The image with its tag. Landfall starts it bound to the loopback address; only the proxy reaches it.",
        )),
        Some("compose") => questions.push(Question::new(
            key("compose"),
            "compose file",
            Field::Text(is_path),
            "The path, taken from the folder the playbook is in.",
        )),
        Some("static") => questions.push(Question::new(
            key("static"),
            "folder",
            Field::Text(is_path),
            "The path, taken from the folder the playbook is in. Its files are served as they are.",
        )),
        _ => {}
    }
    if matches!(chosen, Some("image" | "compose")) {
        questions.push(
            Question::new(key("port"), "port", Field::Number(1, 65535), "Where the app listens in its container; on the server it gets the same one, on the loopback address. 80 and 443 are \
                 the proxy's.")
                .default("3000"),
        );
    } else {
        dropped.extend(["port", "env", "health"]);
    }
    if chosen.is_some() {
        questions.push(host(draft));
    }
    if matches!(chosen, Some("image" | "compose")) {
        questions.push(
            Question::new(
                key("health"),
                "health path",
                Field::Text(|text| match text.starts_with('/') && !text.contains(char::is_whitespace) {
                    true => Ok(()),
                    false => Err("a path such as /healthz".to_owned()),
                }),
                "A path that answers with success when the app is well.",
            )
            .default("/"),
        );
    }
    if chosen == Some("image") {
        questions.push(variables(draft));
    }
    vec![Page::new("app", "app", "What runs on the server.", questions).dropping(APP, &dropped)]
}

fn host(draft: &Draft) -> Question {
    let question = Question::new(
        key("host"),
        "host name",
        Field::Text(|text| match is_host_name(text) && text.contains('.') {
            true => Ok(()),
            false => Err("a name such as app.acme.dev".to_owned()),
        }),
        "The name visitors type. The proxy gets its certificate by itself.",
    );
    match draft.head("domain") {
        Some(domain) => question.default(format!("app.{domain}")),
        None => question.optional(),
    }
}

fn variables(draft: &Draft) -> Question {
    let question = Question::new(
        key("env"),
        "environment",
        Field::Variables,
        "NAME=value, with spaces between. For a value: generate:session-key is made on the server and kept there, \
         secret:pay-key is asked for, output:database.url is the database's address.",
    )
    .optional();
    match draft.id("database") {
        Some(database) => question.default(format!("DATABASE_URL=output:{database}.url")),
        None => question,
    }
}

fn is_image(text: &str) -> Result<(), String> {
    const RIGHT: &str = "an image with its tag, such as ghcr.io/acme/web:1.4.2";
    let legal = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    match legal && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.ends_with([':', '/', '@']) {
        true => Ok(()),
        false => Err(RIGHT.to_owned()),
    }
}

fn is_path(text: &str) -> Result<(), String> {
    match text.starts_with('/') || text.split('/').any(|part| part == "..") {
        true => Err("a path below the folder the playbook is in, such as site".to_owned()),
        false => Ok(()),
    }
}
