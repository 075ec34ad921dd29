//! What the wizard asks about hardening.

use crate::model::question::{Choice, Field, Key, Page, Question};
use crate::steps::hardening::Profile;
use crate::steps::hardening::measures::MEASURES;

pub(super) fn pages() -> Vec<Page> {
    let profile = Question::new(
        Key::Step("hardening", "profile"),
        "profile",
        Field::Choice(vec![
            Choice::new("strict", "as far as outside auditors ask, and Docker still works"),
            Choice::new("baseline", "what every server should have"),
        ]),
        "How far it goes. Each measure below can be switched off by itself later, in the playbook.",
    )
    .default("strict");
    let mut page = Page::new("hardening", "hardening", "What makes the server hard to break into.", vec![profile]);
    page.notes = MEASURES
        .iter()
        .map(|measure| {
            let only = if measure.since == Profile::Strict { " (strict)" } else { "" };
            (format!("{}{only}", measure.name), measure.protects.to_owned())
        })
        .collect();
    vec![page]
}
