//! What things cost: the bill of a playbook, and providers side by side. Pure; fed by catalogs, which are read from the
//! clouds or, without a token, taken from the dated snapshot in the program.

pub mod menu;
pub mod snapshot;

use rust_decimal::Decimal;

use crate::model::catalog::{Catalog, Offer, Plan};
use crate::model::cloud::{IpFamily, Size};
use crate::model::failure::Failure;
use crate::model::money::{Money, PriceLine};
use crate::model::rented;
use crate::model::resource::{Resource, Spec};

/// One plan of one provider that fits, where it is cheapest.
pub struct Fit<'a> {
    /// Who sells it.
    pub catalog: &'a Catalog,
    /// The plan.
    pub plan: &'a Plan,
    /// What it is at that place.
    pub offer: &'a Offer,
    /// Its price with an IPv4 address, net per month.
    pub monthly: Money,
}

/// The cheapest plans with at least so many cores and so much memory, at most `count` of each provider, orderable ones
/// before those that are sold out, the cheapest first.
pub fn side_by_side<'a>(catalogs: &'a [Catalog], cpu: u32, memory_gb: u32, count: usize) -> Vec<Fit<'a>> {
    let size = Size::AtLeast { cpu, memory_gb };
    let mut all = Vec::new();
    for catalog in catalogs {
        let mut fits: Vec<Fit<'a>> = Vec::new();
        for plan in catalog.plans.iter().filter(|plan| !plan.arm && plan.satisfies(&size)) {
            let price = |offer: &Offer| offer.monthly + catalog.address(IpFamily::V4, &offer.place);
            let cheapest = plan.offers.iter().min_by_key(|offer| (!offer.orderable, price(offer)));
            if let Some(offer) = cheapest {
                let monthly = Money { amount: price(offer), currency: catalog.currency.clone() };
                fits.push(Fit { catalog, plan, offer, monthly });
            }
        }
        fits.sort_by_key(|fit| (!fit.offer.orderable, fit.monthly.amount));
        all.extend(fits.into_iter().take(count));
    }
    all
}

/// The bill of what `want` asks of the provider that sells what is in `catalog`, as if nothing were there yet.
pub fn bill(catalog: &Catalog, want: &[Resource]) -> Result<Vec<PriceLine>, Failure> {
    catalog.bill(want, |_, _| None)
}

/// The bill of rented databases as far as it can be told without asking: a Supabase project is taken to be free unless
/// something is wanted that only a paid plan has.
pub fn rented_bill(want: &[Resource]) -> Vec<PriceLine> {
    let mut lines = Vec::new();
    let mut paid: Vec<&str> = Vec::new();
    for resource in want {
        let Spec::Project(spec) = &resource.spec else { continue };
        let priced = match resource.address.provider {
            "neon" => rented::neon(spec),
            _ => {
                let organization = spec.organization.as_deref().unwrap_or_default();
                let is_paid = ["size", "point_in_time"].iter().any(|wish| spec.wishes.contains_key(wish));
                let first = !paid.contains(&organization);
                paid.push(organization);
                rented::supabase(spec, organization, is_paid, first, |_| None)
            }
        };
        for (what, amount) in priced {
            let monthly = Money { amount, currency: "USD".to_owned() };
            lines.push(PriceLine { address: resource.address.clone(), what, monthly });
        }
    }
    lines
}

/// What a bill does not show: free things and their limits.
pub fn limits(want: &[Resource]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut add = |note: &str| {
        if !notes.iter().any(|known| known == note) {
            notes.push(note.to_owned());
        }
    };
    for resource in want {
        match (resource.address.provider, &resource.spec) {
            ("supabase", Spec::Project(spec)) if !spec.wishes.contains_key("size") => add(
                "Supabase's free plan: two active projects for each member over all organisations; a project without \
                 visitors for a week is paused, and `apply` wakes it up",
            ),
            ("neon", Spec::Project(_)) => add(
                "Neon: no fee; a compute unit costs by the hour while it is awake, storage by the gigabyte; what sleeps \
                 costs storage only",
            ),
            ("cloudflare", _) => add("Cloudflare's free plan: nothing; 200 records in one batch"),
            ("digitalocean", Spec::ReservedIp(_)) => {
                add("DigitalOcean: a reserved address is free while it leads to a droplet")
            }
            _ => {}
        }
    }
    notes
}

/// `net` with value added tax of so many per cent.
pub fn with_vat(net: Decimal, percent: Decimal) -> Decimal {
    crate::model::money::cents(net * (Decimal::ONE_HUNDRED + percent) / Decimal::ONE_HUNDRED)
}
