//! Landfall takes a solo developer from an empty cloud account to a production server, and back again
//! after a disaster. A playbook remembers the answers; one loop makes them true, as often as you like.
//!
//! The map of the house is in `docs/architecture.md`.

pub mod cli;
pub mod cupboard;
pub mod doors;
pub mod engine;
pub mod estimate;
pub mod front;
pub mod interview;
pub mod model;
pub mod probes;
pub mod providers;
pub mod rehearsal;
pub mod steps;
pub mod text;
