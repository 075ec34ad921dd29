//! Provider `hetzner`: servers, addresses, firewalls, volumes and SSH keys of Hetzner Cloud. A token belongs
//! to one project; what is ours there carries the label `landfall=<playbook>`.

mod api;
mod apply;
mod observe;
mod sizes;
mod wire;

use async_trait::async_trait;

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::diff::ReadyChange;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::money::PriceLine;
use crate::model::name::Name;
use crate::model::resource::{Address, Observed, Owned, Resource};
use crate::providers::Provider;
use crate::providers::hetzner::api::{API, Hcloud};
use crate::providers::hetzner::apply::KINDS;
use crate::providers::hetzner::observe::Project;
use crate::providers::hetzner::wire::{Labelled, Pricing, Server, ServerType};

/// The provider itself.
pub struct Hetzner;

#[async_trait]
impl Provider for Hetzner {
    fn name(&self) -> &'static str {
        "hetzner"
    }

    fn api(&self) -> Option<&'static Api> {
        Some(&API)
    }

    async fn observe(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure> {
        let mut kinds: Vec<&str> = want.iter().map(|resource| resource.address.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let project = Project::load(Hcloud::new(doors, report), &kinds, None).await?;
        Ok(want.iter().map(|resource| project.see(resource)).collect())
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        apply::apply(Hcloud::new(doors, report), changes, report).await.map(|()| None)
    }

    async fn owned(&self, doors: &Doors, playbook: &Name, report: &Report) -> Result<Vec<Owned>, Failure> {
        let project = Project::load(Hcloud::new(doors, report), KINDS, Some(playbook.as_str())).await?;
        fn owned<T: Labelled>(kind: &'static str, playbook: &Name, all: &[T]) -> Vec<Owned> {
            let prefix = format!("{playbook}-");
            all.iter()
                .filter(|entry| entry.is_owned_by(playbook))
                .map(|entry| {
                    let name = entry.name().strip_prefix(&prefix).unwrap_or(entry.name()).to_owned();
                    let address = Address { provider: "hetzner", place: None, kind, name };
                    Owned { address, id: entry.id().to_string() }
                })
                .collect()
        }
        // In the order in which they can be deleted.
        let mut all = owned("server", playbook, &project.servers);
        all.extend(owned("volume", playbook, &project.volumes));
        all.extend(owned("firewall", playbook, &project.firewalls));
        all.extend(owned("primary-ip", playbook, &project.primary_ips));
        all.extend(owned("ssh-key", playbook, &project.ssh_keys));
        Ok(all)
    }

    async fn remove(&self, doors: &Doors, owned: &Owned, report: &Report) -> Result<(), Failure> {
        match owned.id.parse() {
            Ok(id) => apply::delete_by_id(Hcloud::new(doors, report), owned.address.kind, id).await,
            Err(_) => Ok(()),
        }
    }

    async fn prices(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<PriceLine>, Failure> {
        let api = Hcloud::new(doors, report);
        let Some(owner) = want.first().map(|resource| format!("landfall={}", resource.owner)) else { return Ok(vec![]) };
        let ours = [("label_selector", owner)];
        let (plans, pricing, servers) = tokio::try_join!(
            api.list::<ServerType>("/server_types", "server_types", &[]),
            api.get::<Pricing>("/pricing", "pricing"),
            api.list::<Server>("/servers", "servers", &ours),
        )?;
        sizes::bill(want, &plans, &pricing, &servers)
    }
}
