//! Rehearsal: simulated clouds on the loopback address, and local machines that stand in for servers. It
//! speaks HTTP and SSH as the world does and never sees a provider's inside.

pub mod cloudflare;
pub mod clouds;
pub mod databases;
pub mod digitalocean;
pub mod engine;
pub mod faults;
pub mod hetzner;
pub mod machines;
mod made_up;
pub mod modelled;
pub mod neon;
pub mod serve;
pub mod storage;
mod strict;
pub mod supabase;
