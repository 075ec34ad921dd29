//! What a host answers: whatever it says, facts are taken in or passed over.
#![no_main]

use landfall::providers::host::take_in;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| take_in(text));
