//! Journals: whatever is left of one, runs are listed and played back as far as it goes.
#![no_main]

use landfall::cupboard::journal;
use landfall::front::plain::Plain;
use landfall::front::{Style, replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let state = std::env::temp_dir().join(format!("landfall-fuzz-journal-{}", std::process::id()));
    let runs = state.join("acme/runs");
    std::fs::create_dir_all(&runs).expect("a folder");
    std::fs::write(runs.join("20260101T000000.000Z.jsonl"), bytes).expect("a file");
    journal::runs(&state, None);
    journal::usual_times(&state);
    if let Ok((_, events)) = journal::read_events(&state, "2026") {
        let mut plain = Plain::new(true);
        events.iter().for_each(|event| replay(Style::Plain { quiet: true }, event, &mut plain));
    }
});
