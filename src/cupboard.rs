//! What is kept at home: the playbook, the journal, the secrets.

pub mod disk;
pub mod journal;
pub mod lockline;
pub mod vault;
