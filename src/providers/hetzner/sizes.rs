//! Which plan fits, can be ordered, and what it costs. Read from the API, never remembered.

use rust_decimal::Decimal;

use crate::model::cloud::{self, Size};
use crate::model::failure::{Failure, Kind};
use crate::model::money::{Money, PriceLine};
use crate::model::name::nearest;
use crate::model::resource::{Resource, Spec};
use crate::providers::hetzner::wire::{LocationPrice, Pricing, Server, ServerType};

/// Does a server of this plan satisfy `size`? Prices and stock do not matter once it is there.
pub(super) fn satisfies(plan: &ServerType, size: &Size) -> bool {
    match size {
        Size::Plans(names) => names.contains(&plan.name),
        Size::AtLeast { cpu, memory_gb } => {
            plan.cores >= Decimal::from(*cpu) && plan.memory >= Decimal::from(*memory_gb)
        }
    }
}

/// The plans that satisfy `size` and can be ordered in `location` now, best first: in the order named, or
/// the cheapest first. Without names only x86 plans are taken, since not every image runs on ARM.
/// Fails when there is none, naming what can be ordered.
pub(super) fn candidates<'a>(
    plans: &'a [ServerType],
    size: &Size,
    location: &str,
) -> Result<Vec<&'a ServerType>, Failure> {
    let orderable = |plan: &ServerType| plan.locations.iter().any(|place| place.name == location && place.available);
    let mut places: Vec<&str> = plans.iter().flat_map(|plan| plan.prices.iter().map(|p| p.location.as_str())).collect();
    places.sort_unstable();
    places.dedup();
    if !places.contains(&location) {
        let near = nearest(location, places.iter().copied()).map(|name| format!("did you mean `{name}`? "));
        return Err(Failure::new(Kind::Failed, format!("hetzner has no location `{location}`")).hint(format!(
            "{}there are {}",
            near.unwrap_or_default(),
            places.join(", ")
        )));
    }

    let mut fitting: Vec<&ServerType> = match size {
        Size::Plans(names) => {
            for name in names {
                if !plans.iter().any(|plan| plan.name == *name) {
                    let near = nearest(name, plans.iter().map(|plan| plan.name.as_str()));
                    return Err(Failure::new(Kind::Failed, format!("hetzner has no plan `{name}`")).hint(match near {
                        Some(near) => format!("did you mean `{near}`? {}", on_offer(plans, location)),
                        None => on_offer(plans, location),
                    }));
                }
            }
            names.iter().filter_map(|name| plans.iter().find(|plan| plan.name == *name)).collect()
        }
        Size::AtLeast { .. } => {
            let mut fitting: Vec<&ServerType> =
                plans.iter().filter(|plan| plan.architecture == "x86" && satisfies(plan, size)).collect();
            fitting.sort_by_key(|plan| price_at(&plan.prices, location));
            fitting
        }
    };
    // A plan without a price here cannot be judged against a budget, so it is not taken.
    fitting.retain(|plan| orderable(plan) && price_at(&plan.prices, location).is_some());
    if fitting.is_empty() {
        return Err(Failure::new(Kind::Failed, format!("{size} cannot be ordered in {location} now"))
            .hint(on_offer(plans, location)));
    }
    Ok(fitting)
}

/// What can be ordered in `location` now, the cheapest first, with net prices.
fn on_offer(plans: &[ServerType], location: &str) -> String {
    let mut offers: Vec<(Decimal, String)> = plans
        .iter()
        .filter(|plan| plan.locations.iter().any(|place| place.name == location && place.available))
        .filter_map(|plan| {
            let price = price_at(&plan.prices, location)?;
            Some((
                price,
                format!(
                    "{} ({} cores, {} GB, {price:.2} a month)",
                    plan.name,
                    plan.cores.normalize(),
                    plan.memory.normalize()
                ),
            ))
        })
        .collect();
    offers.sort();
    let names: Vec<String> = offers.into_iter().take(5).map(|(_, text)| text).collect();
    match names.is_empty() {
        true => format!("nothing can be ordered in {location} now: choose another location"),
        false => format!("orderable in {location}: {}", names.join(", ")),
    }
}

/// Is this server where it shall be, and of the system it shall have?
fn stays(server: &Server, spec: &cloud::Server) -> bool {
    let image = server.image.as_ref().and_then(|image| image.name.as_deref());
    server.location.name == spec.location && image == Some(spec.image.as_str())
}

/// The net price per month in `location`, if it is sold there.
pub(crate) fn price_at(prices: &[LocationPrice], location: &str) -> Option<Decimal> {
    prices.iter().find(|price| price.location == location).map(|price| price.price_monthly.net)
}

/// The monthly bill, net, of `want`: what is there at the price of its plan, what is not yet at the price
/// of the plan that would be ordered.
pub(super) fn bill(
    want: &[Resource],
    plans: &[ServerType],
    pricing: &Pricing,
    servers: &[Server],
) -> Result<Vec<PriceLine>, Failure> {
    let mut lines = Vec::new();
    for resource in want {
        let mut add = |what: String, amount: Decimal| {
            if !amount.is_zero() {
                let monthly = Money { amount, currency: pricing.currency.clone() };
                lines.push(PriceLine { address: resource.address.clone(), what, monthly });
            }
        };
        let name = &resource.address.name;
        match &resource.spec {
            Spec::Server(spec) => {
                let there = servers.iter().find(|server| server.name == resource.cloud_name());
                let (plan, location) = match there {
                    // One that will be made anew is ordered anew.
                    Some(server) if satisfies(&server.server_type, &spec.size) && stays(server, spec) => {
                        (&server.server_type, server.location.name.as_str())
                    }
                    _ => (candidates(plans, &spec.size, &spec.location)?[0], spec.location.as_str()),
                };
                // The plan inside a server lists the same prices as the plan itself.
                let price = price_at(&plan.prices, location).unwrap_or_default();
                add(format!("server {name}: {} in {location}", plan.name), price);
                if spec.backups {
                    let share = pricing.server_backup.percentage / Decimal::ONE_HUNDRED;
                    add(
                        format!("backups of {name}: {} % of it", pricing.server_backup.percentage.normalize()),
                        price * share,
                    );
                }
            }
            Spec::PrimaryIp(spec) => {
                let family = spec.family.as_str();
                let price = pricing.primary_ips.iter().find(|prices| prices.family == family);
                let price = price.and_then(|prices| price_at(&prices.prices, &spec.location)).unwrap_or_default();
                add(format!("address {name}"), price);
            }
            Spec::Volume(spec) => {
                let price = pricing.volume.price_per_gb_month.net * Decimal::from(spec.size_gb);
                add(format!("volume {name}: {} GB", spec.size_gb), price);
            }
            _ => {}
        }
    }
    Ok(lines)
}
