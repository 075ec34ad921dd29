//! Playbooks: whatever stands in one, it is read or refused, and what is read can be worked out and edited.
#![no_main]

use landfall::model::draft::Draft;
use landfall::model::playbook::Playbook;
use landfall::model::value::Outputs;
use landfall::steps::{self, Sources};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Draft::parse(text).map(|draft| draft.text());
    match Playbook::parse(text) {
        Ok(playbook) => {
            if steps::check::check(&playbook).is_ok()
                && let Ok(wanted) = steps::desired(&playbook, &Outputs::new(), &Sources::new())
            {
                wanted.iter().for_each(|resource| drop(resource.spec.fields()));
            }
        }
        Err(problems) => problems.iter().for_each(|problem| drop(problem.locate("p.toml", text).render())),
    }
});
