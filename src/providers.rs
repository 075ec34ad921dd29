//! Providers: who can observe and change a kind of resource. A new one is one file and one line.

pub mod cloudflare;
pub mod digitalocean;
pub mod existing;
mod first_boot;
pub mod hetzner;
pub mod host;
pub mod neon;
pub mod supabase;
mod twins;
pub mod vault;

use async_trait::async_trait;

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::catalog::Catalog;
use crate::model::diff::ReadyChange;
use crate::model::event::Report;
use crate::model::failure::Failure;
use crate::model::lease::Lease;
use crate::model::name::Name;
use crate::model::question::Choices;
use crate::model::resource::{Observed, Owned, Resource, Stock};

/// What a token opens.
#[derive(Debug, Default)]
pub struct Account {
    /// Whose account it is and what is in it, in words.
    pub whose: String,
    /// Rights that Landfall needs and the token does not have, as the provider calls them.
    pub lacks: Vec<String>,
}

/// Who can observe and change a kind of resource.
#[async_trait]
pub trait Provider: Sync {
    /// What addresses and playbooks call it.
    fn name(&self) -> &'static str;

    /// The API it speaks to, if it speaks to one.
    fn api(&self) -> Option<&'static Api>;

    /// Looks at each of `want`: one answer each, in order, in as few round trips as the service allows.
    async fn observe(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure>;

    /// Looks at `want`, at everything else that carries the mark of `playbook`, and at the prices of it all.
    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure>;

    /// Whose account the token in `doors` opens, and what it lacks; `None` where there are no tokens. Fails as `Human`
    /// when the token is not accepted.
    async fn check(&self, _doors: &Doors, _report: &Report) -> Option<Result<Account, Failure>> {
        None
    }

    /// Where it keeps leases, if what it has can hold marks.
    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    /// What it sells, where it sells servers.
    async fn catalog(&self, _doors: &Doors, _report: &Report) -> Option<Result<Catalog, Failure>> {
        None
    }

    /// What the account holds that a person may choose from: `zone`, `organization` or `region`; or wants to see: `record
    /// ZONE`. `None` where there is nothing of that sort.
    async fn choices(&self, _doors: &Doors, _what: &str, _report: &Report) -> Option<Result<Choices, Failure>> {
        None
    }

    /// Carries the changes out in order, telling `report` as each begins and ends. Stops at the first
    /// that fails. Gives what is there afterwards, where the same round trip could look again.
    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure>;

    /// Deletes something of ours that no step wants any more.
    async fn remove(&self, doors: &Doors, owned: &Owned, report: &Report) -> Result<(), Failure>;
}

/// Where runs on other laptops are seen: marks at a provider.
#[async_trait]
pub trait Leases: Sync {
    /// Every lease of `playbook` that is there, of whoever it is.
    async fn list(&self, doors: &Doors, playbook: &Name, report: &Report) -> Result<Vec<Lease>, Failure>;

    /// Writes `lease`, in the place of the one that it has the id of, if it has one. Whether it counts is only known after
    /// looking: where there is room for one only, another's stays. False where the account has no room for marks.
    async fn write(&self, doors: &Doors, playbook: &Name, lease: &Lease, report: &Report) -> Result<bool, Failure>;

    /// Takes `lease` away; what is already gone is fine.
    async fn erase(&self, doors: &Doors, lease: &Lease, report: &Report) -> Result<(), Failure>;
}

/// All providers.
pub static PROVIDERS: &[&dyn Provider] = &[
    &hetzner::Hetzner,
    &digitalocean::DigitalOcean,
    &cloudflare::Cloudflare,
    &supabase::Supabase,
    &neon::Neon,
    &existing::ExistingServers,
    &host::Hosts,
    &vault::Vault,
];

/// The provider called `name`.
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
}
