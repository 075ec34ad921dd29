//! What is on offer, as choices for the wizard.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::estimate::side_by_side;
use crate::model::catalog::Catalog;
use crate::model::money::Money;
use crate::model::question::{Choice, Choices};

/// A catalog, and where it is from: `read now`, or `prices of 2026-09-03`.
#[derive(Clone, Debug)]
pub struct Priced {
    /// What is sold.
    pub catalog: Catalog,
    /// Where that is from.
    pub source: String,
}

/// The providers side by side: the cheapest plan of each with two cores and four gigabytes.
pub fn providers(catalogs: &[Priced]) -> Choices {
    let mut all = Vec::new();
    for priced in catalogs {
        let one = std::slice::from_ref(&priced.catalog);
        let Some(fit) = side_by_side(one, 2, 4, 1).into_iter().next() else { continue };
        let traffic = fit.offer.traffic_tb.map(|tb| format!("{} TB", tb.normalize())).unwrap_or_default();
        all.push(Choice {
            value: priced.catalog.provider.clone(),
            cells: vec![
                fit.monthly.to_string(),
                now(fit.offer.orderable).to_owned(),
                fit.plan.name.clone(),
                fit.offer.place.clone(),
                traffic,
            ],
            usable: true,
        });
    }
    let mut sources: Vec<&str> = catalogs.iter().map(|priced| priced.source.as_str()).collect();
    sources.dedup();
    Choices { columns: vec!["from, a month", "now", "plan", "place", "traffic"], all, source: sources.join(", ") }
}

/// The places of a provider, each with how many plans can be ordered there and the cheapest price.
pub fn places(priced: &Priced) -> Choices {
    let mut places: BTreeMap<&str, (usize, Option<Decimal>)> = BTreeMap::new();
    for offer in priced.catalog.plans.iter().flat_map(|plan| &plan.offers) {
        let (count, least) = places.entry(&offer.place).or_default();
        if offer.orderable {
            *count += 1;
            *least = Some(least.map_or(offer.monthly, |least| least.min(offer.monthly)));
        }
    }
    let choice = |(place, (count, least)): (&str, (usize, Option<Decimal>))| Choice {
        value: place.to_owned(),
        cells: vec![
            least.map(|amount| money(priced, amount)).unwrap_or_default(),
            match count {
                0 => "sold out".to_owned(),
                _ => plans_in_words(count),
            },
        ],
        usable: count > 0,
    };
    let all = places.into_iter().map(choice).collect();
    Choices { columns: vec!["from, a month", "to order now"], all, source: priced.source.clone() }
}

fn plans_in_words(count: usize) -> String {
    if count == 1 { "1 plan".to_owned() } else { format!("{count} plans") }
}

/// The plans of a provider in a place, the cheapest that fits most first.
pub fn plans(priced: &Priced, place: &str) -> Choices {
    let mut offers: Vec<_> = priced.catalog.plans.iter().filter_map(|plan| Some((plan, plan.offer(place)?))).collect();
    offers.sort_by_key(|(plan, offer)| (!offer.orderable, plan.arm, offer.monthly));
    let all = offers.into_iter().map(|(plan, offer)| Choice {
        value: plan.name.clone(),
        cells: vec![
            format!("{}{}", plan.cores.normalize(), if plan.arm { " ARM" } else { "" }),
            format!("{} GB", plan.memory_gb.normalize()),
            money(priced, offer.monthly),
            now(offer.orderable).to_owned(),
            format!("{} GB", plan.disk_gb.normalize()),
        ],
        usable: offer.orderable,
    });
    let columns = vec!["cores", "memory", "a month", "now", "disk"];
    Choices { columns, all: all.collect(), source: priced.source.clone() }
}

fn now(orderable: bool) -> &'static str {
    if orderable { "orderable" } else { "sold out" }
}

fn money(priced: &Priced, amount: Decimal) -> String {
    Money { amount, currency: priced.catalog.currency.clone() }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::snapshot::snapshot;

    #[test]
    fn what_is_sold_out_comes_last_and_cannot_be_taken() {
        let mut dated = snapshot().unwrap();
        let catalog = &mut dated[0].catalog;
        for plan in &mut catalog.plans {
            for offer in plan.offers.iter_mut().filter(|offer| offer.place == "fsn1") {
                offer.orderable = plan.name == "cx33";
            }
        }
        let priced = Priced { catalog: catalog.clone(), source: "x".into() };
        let choices = plans(&priced, "fsn1").all;
        assert!(choices.len() > 3 && choices[0].value == "cx33" && choices[0].usable);
        assert!(choices[1..].iter().all(|choice| !choice.usable && choice.cells[3].starts_with("sold out")));
        let place = places(&priced).all.into_iter().find(|choice| choice.value == "fsn1").unwrap();
        assert_eq!(place.cells[1], "1 plan");
    }
}
