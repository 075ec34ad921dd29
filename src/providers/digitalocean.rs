//! Provider `digitalocean`: droplets with their SSH keys, firewalls, reserved addresses, volumes and private networks.
//! Names are not unique there: what is ours carries the tag `landfall:<playbook>`, or, where there are no tags, the
//! same in its name or description. A reserved address has neither: it is known by its droplet and by the lock line.

mod account;
mod api;
mod apply;
mod droplets;
mod leases;
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
use crate::providers::digitalocean::account::Account;
use crate::providers::digitalocean::api::{API, Ocean};
use crate::providers::{self, Leases, Provider};

/// The provider itself.
pub struct DigitalOcean;

#[async_trait]
impl Provider for DigitalOcean {
    fn name(&self) -> &'static str {
        "digitalocean"
    }

    fn api(&self) -> Option<&'static Api> {
        Some(&API)
    }

    async fn observe(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure> {
        let Some(owner) = want.first().map(|resource| &resource.owner) else { return Ok(vec![]) };
        let account = Account::load(Ocean::new(doors, report), owner).await?;
        Ok(want.iter().map(|resource| account.see(resource)).collect())
    }

    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure> {
        let api = Ocean::new(doors, report);
        let catalog = async {
            match want.is_empty() {
                true => Ok(None),
                false => account::catalog(api).await.map(Some),
            }
        };
        let (account, catalog, leases) =
            tokio::try_join!(Account::load(api, playbook), catalog, leases::list(api, playbook))?;
        let seen = want.iter().map(|resource| account.see(resource)).collect();
        let bill = catalog.map_or(Ok(vec![]), |catalog| account.bill(&catalog, want));
        Ok(Stock { seen, owned: account.owned(), bill, leases })
    }

    async fn check(&self, doors: &Doors, report: &Report) -> Option<Result<providers::Account, Failure>> {
        Some(api::check(Ocean::new(doors, report)).await)
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(self)
    }

    async fn catalog(&self, doors: &Doors, report: &Report) -> Option<Result<Catalog, Failure>> {
        Some(account::catalog(Ocean::new(doors, report)).await)
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        apply::apply(Ocean::new(doors, report), changes, report).await.map(|()| None)
    }

    async fn remove(&self, doors: &Doors, owned: &Owned, report: &Report) -> Result<(), Failure> {
        apply::delete_by_id(Ocean::new(doors, report), owned.address.kind, &owned.id).await
    }
}
