//! Provider `hetzner`: servers, addresses, firewalls, volumes and SSH keys of Hetzner Cloud. A token belongs
//! to one project; what is ours there carries the label `landfall=<playbook>`.

mod api;
mod apply;
mod leases;
mod observe;
mod servers;
mod sizes;
mod wire;

use async_trait::async_trait;

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::catalog::Catalog;
use crate::model::diff::ReadyChange;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::resource::{Observed, Owned, Resource, Stock};
use crate::providers::hetzner::api::{API, Hcloud};
use crate::providers::hetzner::apply::KINDS;
use crate::providers::hetzner::observe::Project;
use crate::providers::{Account, Leases, Provider};

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

    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure> {
        let api = Hcloud::new(doors, report);
        let (project, catalog) = tokio::try_join!(Project::load(api, KINDS, None), sizes::catalog(api))?;
        Ok(Stock {
            seen: want.iter().map(|resource| project.see(resource)).collect(),
            owned: project.owned(playbook),
            bill: sizes::bill(catalog, want, &project.servers),
            leases: leases::among(&project.firewalls, playbook),
        })
    }

    async fn check(&self, doors: &Doors, report: &Report) -> Option<Result<Account, Failure>> {
        Some(api::check(Hcloud::new(doors, report)).await)
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(self)
    }

    async fn catalog(&self, doors: &Doors, report: &Report) -> Option<Result<Catalog, Failure>> {
        Some(sizes::catalog(Hcloud::new(doors, report)).await)
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        apply::apply(Hcloud::new(doors, report), changes, report).await.map(|()| None)
    }

    async fn remove(&self, doors: &Doors, owned: &Owned, report: &Report) -> Result<(), Failure> {
        match owned.id.parse() {
            Ok(id) => apply::delete_by_id(Hcloud::new(doors, report), owned.address.kind, id).await,
            Err(_) => Ok(()),
        }
    }
}
