//! Leases in a DigitalOcean account: a tag at nothing, whose name says it all. Tags hold letters, digits, colons,
//! hyphens and underscores, at most 255 of them.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::doors::Doors;
use crate::doors::http::Method;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::lease::{Lease, Operator};
use crate::model::name::Name;
use crate::providers::Leases;
use crate::providers::digitalocean::DigitalOcean;
use crate::providers::digitalocean::api::Ocean;

/// What a lease's tag begins with.
const LEASE: &str = "landfall-lease";

#[derive(Debug, Deserialize)]
struct Tag {
    name: String,
}

#[async_trait]
impl Leases for DigitalOcean {
    async fn list(&self, doors: &Doors, playbook: &Name, report: &Report) -> Result<Vec<Lease>, Failure> {
        list(Ocean::new(doors, report), playbook).await
    }

    async fn write(&self, doors: &Doors, playbook: &Name, lease: &Lease, report: &Report) -> Result<bool, Failure> {
        let api = Ocean::new(doors, report);
        let name = tag(playbook, lease);
        api.act(Method::Post, "/tags", json!({ "name": name })).await?;
        // A tag has no fields that could change: the one before gives way to it.
        if !lease.id.is_empty() && lease.id != name {
            api.delete(&format!("/tags/{}", lease.id)).await?;
        }
        Ok(true)
    }

    async fn erase(&self, doors: &Doors, lease: &Lease, report: &Report) -> Result<(), Failure> {
        Ocean::new(doors, report).delete(&format!("/tags/{}", lease.id)).await
    }
}

fn tag(playbook: &Name, lease: &Lease) -> String {
    let holder = &lease.holder;
    let until = lease.until.as_second();
    format!("{LEASE}:{playbook}:{}:{until}:{}:{}", holder.id, holder.user(), holder.machine())
}

/// Every lease of `playbook` in the account.
pub(super) async fn list(api: Ocean<'_>, playbook: &Name) -> Result<Vec<Lease>, Failure> {
    let tags: Vec<Tag> = api.list("/tags", "tags", &[]).await?;
    Ok(tags.iter().filter_map(|tag| read(&tag.name, playbook)).collect())
}

/// What a tag says, if it is a lease of `playbook`.
fn read(tag: &str, playbook: &Name) -> Option<Lease> {
    let mut parts = tag.split(':');
    if parts.next() != Some(LEASE) || parts.next() != Some(playbook.as_str()) {
        return None;
    }
    let mut next = || parts.next().unwrap_or_default();
    let (id, until, user, machine) = (next(), next(), next(), next());
    Some(Lease::read(tag, Operator::new(id, user, machine), until))
}
