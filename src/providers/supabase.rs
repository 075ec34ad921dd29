//! Provider `supabase`: database projects. They carry no ownership mark, so the playbook's lock line keeps what
//! Supabase calls ours; a project that only has our name is a stranger until it is adopted.

mod account;
mod api;
mod apply;
mod migrations;

use async_trait::async_trait;

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::diff::ReadyChange;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::question::{Choice, Choices};
use crate::model::resource::{Observed, Owned, Resource, Stock};
use crate::providers::supabase::account::Account;
use crate::providers::supabase::api::{API, Supa};
use crate::providers::{self, Provider};

/// The provider itself.
pub struct Supabase;

#[async_trait]
impl Provider for Supabase {
    fn name(&self) -> &'static str {
        "supabase"
    }

    fn api(&self) -> Option<&'static Api> {
        Some(&API)
    }

    async fn observe(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure> {
        let account = Account::load(Supa::new(doors, report)).await?;
        let mut seen = Vec::new();
        for resource in want {
            seen.push(account.see(resource).await?);
        }
        Ok(seen)
    }

    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure> {
        let account = Account::load(Supa::new(doors, report)).await?;
        let mut seen = Vec::new();
        for resource in want {
            seen.push(account.see(resource).await?);
        }
        Ok(Stock { owned: account.owned(playbook), bill: account.bill(want).await, ..Stock::free(seen) })
    }

    async fn check(&self, doors: &Doors, report: &Report) -> Option<Result<providers::Account, Failure>> {
        Some(api::check(Supa::new(doors, report)).await)
    }

    async fn choices(&self, doors: &Doors, what: &str, report: &Report) -> Option<Result<Choices, Failure>> {
        if what != "organization" {
            return None;
        }
        let organizations = Supa::new(doors, report).get::<Vec<account::Organization>>("/organizations").await;
        Some(organizations.map(|all| {
            let all = all.into_iter().map(|one| Choice::new(one.slug, one.name)).collect();
            Choices { columns: vec!["name"], all, source: "read now".to_owned() }
        }))
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        apply::apply(Supa::new(doors, report), changes, report).await.map(|()| None)
    }

    async fn remove(&self, doors: &Doors, owned: &Owned, report: &Report) -> Result<(), Failure> {
        let api = Supa::new(doors, report);
        api.delete_project(&owned.id).await?;
        match Name::parse(&owned.address.name) {
            Some(step) => doors.references.put(&step, None),
            None => Ok(()),
        }
    }
}
