//! Provider `cloudflare`: zones, records, zone settings, DNSSEC and Origin CA certificates. A record of ours says
//! `landfall:<playbook>` in its comment, a certificate in the name of its request; zones and settings are found
//! and changed, never deleted.

mod api;
mod apply;
mod observe;
mod records;

use async_trait::async_trait;

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::diff::ReadyChange;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::question::{Choice, Choices};
use crate::model::resource::{Observed, Owned, Resource, Spec, Stock};
use crate::providers::cloudflare::api::{API, Cf};
use crate::providers::cloudflare::observe::{Account, ZoneInfo};
use crate::providers::cloudflare::records::Entry;
use crate::providers::{self, Provider};

/// The provider itself.
pub struct Cloudflare;

#[async_trait]
impl Provider for Cloudflare {
    fn name(&self) -> &'static str {
        "cloudflare"
    }

    fn api(&self) -> Option<&'static Api> {
        Some(&API)
    }

    async fn observe(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure> {
        let account = Account::load(Cf::new(doors, report), want).await?;
        Ok(want.iter().map(|resource| account.see(resource)).collect())
    }

    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure> {
        let api = Cf::new(doors, report);
        let account = match want.is_empty() {
            true => Account::load_marked(api, playbook).await?,
            false => Account::load(api, want).await?,
        };
        let seen = want.iter().map(|resource| account.see(resource)).collect();
        // A zone on the free plan costs nothing, and no other is ever ordered.
        Ok(Stock { owned: account.owned(playbook), ..Stock::free(seen) })
    }

    async fn check(&self, doors: &Doors, report: &Report) -> Option<Result<providers::Account, Failure>> {
        Some(api::check(Cf::new(doors, report)).await)
    }

    async fn choices(&self, doors: &Doors, what: &str, report: &Report) -> Option<Result<Choices, Failure>> {
        if let Some(zone) = what.strip_prefix("record ") {
            return Some(records_of(Cf::new(doors, report), zone).await);
        }
        if what != "zone" {
            return None;
        }
        let zones = Cf::new(doors, report).list::<ZoneInfo>("/zones", &[]).await;
        Some(zones.map(|zones| {
            let choice = |zone: ZoneInfo| Choice::new(zone.name, zone.status.unwrap_or_default());
            Choices { columns: vec!["state"], all: zones.into_iter().map(choice).collect(), source: "read now".into() }
        }))
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        apply::apply(Cf::new(doors, report), changes, report).await.map(|()| None)
    }

    async fn remove(&self, doors: &Doors, owned: &Owned, report: &Report) -> Result<(), Failure> {
        let api = Cf::new(doors, report);
        match (owned.address.kind, owned.id.split_once('/')) {
            ("record", Some((zone, id))) => api.delete(&format!("/zones/{zone}/dns_records/{id}")).await,
            ("origin-certificate", _) => api.delete(&format!("/certificates/{}", owned.id)).await,
            _ => Ok(()),
        }
    }
}

/// The domain of the zone a resource belongs to.
fn zone_of(resource: &Resource) -> Option<&str> {
    match &resource.spec {
        Spec::Zone(spec) => Some(&spec.domain),
        Spec::Record(spec) => Some(&spec.zone),
        Spec::OriginCertificate(spec) => Some(&spec.zone),
        Spec::Preferences(spec) => Some(&spec.of),
        _ => None,
    }
}

/// Every record of the zone called `domain`, by its name; none where there is no such zone.
async fn records_of(api: Cf<'_>, domain: &str) -> Result<Choices, Failure> {
    let zones = api.list::<ZoneInfo>("/zones", &[("name", domain.to_owned())]).await?;
    let mut all = Vec::new();
    if let Some(zone) = zones.iter().find(|zone| zone.name == domain) {
        for entry in api.list::<Entry>(&format!("/zones/{}/dns_records", zone.id), &[]).await? {
            let content = entry.content();
            all.push(Choice { value: entry.name, cells: vec![entry.kind, content], usable: true });
        }
    }
    Ok(Choices { columns: vec!["type", "content"], all, source: "read now".into() })
}
