//! The ways out: HTTP, SSH, and other people's programs. Nothing else in the program touches the world.

pub mod http;
pub mod identity;
pub mod programs;
pub mod ssh;
pub mod visit;

use std::sync::Arc;

use crate::model::secret::{Keys, References};

/// Both doors, and the vault their secrets come from.
pub struct Doors {
    /// To the clouds.
    pub http: http::Http,
    /// To the hosts.
    pub ssh: ssh::Ssh,
    /// Where secrets come from, and where those that are made go.
    pub keys: Arc<dyn Keys>,
    /// Where references to things without a mark are kept.
    pub references: Arc<dyn References>,
}
