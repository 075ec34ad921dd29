//! Provider `neon`: projects with their branch, database and role. A project carries no mark, but its branch does:
//! the annotation `landfall` says which playbook owns it. It can only be set when the project is made.

mod api;
mod projects;

use async_trait::async_trait;

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::diff::ReadyChange;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::question::{Choice, Choices};
use crate::model::resource::{Observed, Owned, Resource, Stock};
use crate::providers::neon::api::{API, NeonApi};
use crate::providers::{self, Provider};

/// The provider itself.
pub struct Neon;

#[async_trait]
impl Provider for Neon {
    fn name(&self) -> &'static str {
        "neon"
    }

    fn api(&self) -> Option<&'static Api> {
        Some(&API)
    }

    async fn observe(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure> {
        let Some(first) = want.first() else { return Ok(vec![]) };
        let api = NeonApi::new(doors, report);
        let owned = projects::load(api, &first.owner, want).await?;
        Ok(want.iter().map(|resource| projects::see(api, &owned, resource)).collect())
    }

    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure> {
        let api = NeonApi::new(doors, report);
        let owned = projects::load(api, playbook, want).await?;
        let seen = want.iter().map(|resource| projects::see(api, &owned, resource)).collect();
        Ok(Stock { owned: projects::owned(&owned), bill: Ok(projects::bill(want)), ..Stock::free(seen) })
    }

    async fn check(&self, doors: &Doors, report: &Report) -> Option<Result<providers::Account, Failure>> {
        Some(api::check(NeonApi::new(doors, report)).await)
    }

    async fn choices(&self, doors: &Doors, what: &str, report: &Report) -> Option<Result<Choices, Failure>> {
        if what != "region" {
            return None;
        }
        let answer = NeonApi::new(doors, report).get("/regions").await;
        Some(answer.map(|answer| {
            let regions = answer["regions"].as_array().cloned().unwrap_or_default();
            let choice = |region: &serde_json::Value| {
                Some(Choice::new(region["region_id"].as_str()?, region["name"].as_str().unwrap_or_default()))
            };
            Choices {
                columns: vec!["name"],
                all: regions.iter().filter_map(choice).collect(),
                source: "read now".into(),
            }
        }))
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        projects::apply(NeonApi::new(doors, report), changes, report).await.map(|()| None)
    }

    async fn remove(&self, doors: &Doors, owned: &Owned, report: &Report) -> Result<(), Failure> {
        NeonApi::new(doors, report).delete(&format!("/projects/{}", owned.id)).await
    }
}
