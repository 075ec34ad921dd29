//! Leases in a Hetzner project: a firewall without rules, applied to nothing, with labels. It costs nothing, and a
//! project takes its name only once, so that of two runs that begin at the same moment one gets it.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::doors::Doors;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::lease::{Lease, Operator};
use crate::model::name::Name;
use crate::providers::Leases;
use crate::providers::hetzner::Hetzner;
use crate::providers::hetzner::api::Hcloud;
use crate::providers::hetzner::wire::{Firewall, Labels};

/// The label that says of which playbook it is a lease; the others begin with it.
const LEASE: &str = "landfall-lease";

#[async_trait]
impl Leases for Hetzner {
    async fn list(&self, doors: &Doors, playbook: &Name, report: &Report) -> Result<Vec<Lease>, Failure> {
        let query = [("label_selector", format!("{LEASE}={playbook}"))];
        let firewalls: Vec<Firewall> = Hcloud::new(doors, report).list("/firewalls", "firewalls", &query).await?;
        Ok(among(&firewalls, playbook))
    }

    async fn write(&self, doors: &Doors, playbook: &Name, lease: &Lease, report: &Report) -> Result<bool, Failure> {
        let api = Hcloud::new(doors, report);
        let name = format!("{LEASE}-{playbook}");
        let labels = labels(playbook, lease);
        let written = match lease.id.as_str() {
            "" => api.post("/firewalls", Some(json!({ "name": name, "labels": labels }))).await,
            id => api.put(&format!("/firewalls/{id}"), json!({ "labels": labels })).await,
        };
        match written {
            Err(denied) if denied.code == "resource_limit_exceeded" => Ok(false),
            // Somebody was quicker, or it is there already: looking tells.
            Err(denied) if matches!(denied.code.as_str(), "uniqueness_error" | "not_found") => Ok(true),
            other => other.map(|_| true).map_err(Failure::from),
        }
    }

    async fn erase(&self, doors: &Doors, lease: &Lease, report: &Report) -> Result<(), Failure> {
        Ok(Hcloud::new(doors, report).delete(&format!("/firewalls/{}", lease.id)).await.map(drop)?)
    }
}

fn labels(playbook: &Name, lease: &Lease) -> Value {
    json!({
        LEASE: playbook.as_str(),
        format!("{LEASE}-id"): lease.holder.id,
        format!("{LEASE}-user"): lease.holder.user(),
        format!("{LEASE}-machine"): lease.holder.machine(),
        format!("{LEASE}-until"): lease.until.as_second().to_string(),
    })
}

/// The leases of `playbook` among the project's firewalls.
pub(super) fn among(firewalls: &[Firewall], playbook: &Name) -> Vec<Lease> {
    let label = |labels: &Labels, what: &str| labels.get(&format!("{LEASE}{what}")).cloned().unwrap_or_default();
    let is_lease = |firewall: &&Firewall| label(&firewall.labels, "") == playbook.as_str();
    let read = |firewall: &Firewall| {
        let of = |what: &str| label(&firewall.labels, what);
        let holder = Operator::new(&of("-id"), &of("-user"), &of("-machine"));
        Lease::read(&firewall.id.to_string(), holder, &of("-until"))
    };
    firewalls.iter().filter(is_lease).map(read).collect()
}
