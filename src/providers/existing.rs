//! Provider `existing`: servers the user already has. There is no API; they are taken as given.

use async_trait::async_trait;

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::diff::ReadyChange;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::resource::{Observed, Owned, Resource, Spec, Stock};
use crate::providers::Provider;

/// The provider itself.
pub struct ExistingServers;

#[async_trait]
impl Provider for ExistingServers {
    fn name(&self) -> &'static str {
        "existing"
    }

    fn api(&self) -> Option<&'static Api> {
        None
    }

    async fn observe(&self, _: &Doors, want: &[Resource], _: &Report) -> Result<Vec<Observed>, Failure> {
        let see = |resource: &Resource| match &resource.spec {
            Spec::Existing(server) => {
                let family = if server.address.contains(':') { "ipv6" } else { "ipv4" };
                let outputs = vec![
                    ("address", server.address.clone()),
                    (family, server.address.clone()),
                    ("host_key", server.host_key.clone()),
                ];
                Observed::Present { fields: resource.spec.fields(), outputs, ours: false }
            }
            _ => Observed::Absent,
        };
        Ok(want.iter().map(see).collect())
    }

    async fn take_stock(&self, doors: &Doors, _: &Name, want: &[Resource], report: &Report) -> Result<Stock, Failure> {
        Ok(Stock::free(self.observe(doors, want, report).await?))
    }

    async fn apply(&self, _: &Doors, _: &[ReadyChange], _: &Report) -> Result<Option<Vec<Observed>>, Failure> {
        Ok(None)
    }

    async fn remove(&self, _: &Doors, _: &Owned, _: &Report) -> Result<(), Failure> {
        Ok(())
    }
}
