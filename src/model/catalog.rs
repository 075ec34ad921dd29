//! What a provider sells, where and for how much, and what follows: which plan fits, and what a month costs.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::model::cloud::{self, IpFamily, Size};
use crate::model::failure::{Failure, Kind};
use crate::model::money::{Money, PriceLine, cents};
use crate::model::name::nearest;
use crate::model::resource::{Address, Resource, Spec};

/// What one provider of servers sells. Prices are per month and net of tax.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The provider's name.
    pub provider: String,
    /// The currency's code as the provider gives it.
    pub currency: String,
    /// Value added tax that comes on top, in per cent, where the provider says so.
    pub vat: Option<Decimal>,
    /// Its plans.
    pub plans: Vec<Plan>,
    /// What a public address costs, by family and place; the place `*` stands for every one not named.
    pub addresses: BTreeMap<String, BTreeMap<String, Decimal>>,
    /// What a gigabyte of a volume costs.
    pub volume_gb: Decimal,
    /// What backups cost, in per cent of the server's price.
    pub backups: Decimal,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Processor cores.
    pub cores: Decimal,
    /// Memory in gigabytes.
    pub memory_gb: Decimal,
    /// Disk in gigabytes.
    pub disk_gb: Decimal,
    /// Is it an ARM machine? Those are taken only by name, since not every image runs on them.
    #[serde(default)]
    pub arm: bool,
    /// Where it is sold.
    pub offers: Vec<Offer>,
}

/// A plan in one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The provider's name of the place.
    pub place: String,
    /// Its price.
    pub monthly: Decimal,
    /// Can it be ordered now?
    pub orderable: bool,
    /// Traffic included, in terabytes.
    pub traffic_tb: Option<Decimal>,
    /// What a further terabyte costs.
    pub more_tb: Option<Decimal>,
}

impl Plan {
    /// Does it satisfy `size`? Prices and stock do not matter.
    pub fn satisfies(&self, size: &Size) -> bool {
        match size {
            Size::Plans(names) => names.contains(&self.name),
            Size::AtLeast { cpu, memory_gb } => {
                self.cores >= Decimal::from(*cpu) && self.memory_gb >= Decimal::from(*memory_gb)
            }
        }
    }

    /// What it is in `place`, if it is sold there.
    pub fn offer(&self, place: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.place == place)
    }
}

impl Catalog {
    /// The plan of this name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.name == name)
    }

    /// The plans that satisfy `size` and can be ordered in `place` now, with what each is there, best first:
    /// in the order named, or the cheapest first. Fails when there is none, naming what can be ordered.
    pub fn candidates(&self, size: &Size, place: &str) -> Result<Vec<(&Plan, &Offer)>, Failure> {
        let provider = &self.provider;
        let mut places: Vec<&str> =
            self.plans.iter().flat_map(|plan| plan.offers.iter().map(|offer| offer.place.as_str())).collect();
        places.sort_unstable();
        places.dedup();
        if !places.contains(&place) {
            let near = nearest(place, places.iter().copied()).map(|name| format!("did you mean `{name}`? "));
            return Err(Failure::new(Kind::Playbook, format!("{provider} has no location `{place}`")).hint(format!(
                "{}there are {}",
                near.unwrap_or_default(),
                places.join(", ")
            )));
        }
        let mut fitting: Vec<&Plan> = match size {
            Size::Plans(names) => {
                let missing = names.iter().find(|name| self.plan(name).is_none());
                if let Some(name) = missing {
                    let near = nearest(name, self.plans.iter().map(|plan| plan.name.as_str()));
                    let offer = self.on_offer(place);
                    return Err(Failure::new(Kind::Playbook, format!("{provider} has no plan `{name}`"))
                        .hint(near.map_or(offer.clone(), |near| format!("did you mean `{near}`? {offer}"))));
                }
                names.iter().filter_map(|name| self.plan(name)).collect()
            }
            Size::AtLeast { .. } => self.plans.iter().filter(|plan| !plan.arm && plan.satisfies(size)).collect(),
        };
        if matches!(size, Size::AtLeast { .. }) {
            fitting.sort_by_key(|plan| plan.offer(place).map(|offer| offer.monthly));
        }
        let found: Vec<(&Plan, &Offer)> = fitting
            .into_iter()
            .filter_map(|plan| Some((plan, plan.offer(place).filter(|offer| offer.orderable)?)))
            .collect();
        match found.is_empty() {
            true => Err(Failure::new(Kind::Failed, format!("{size} cannot be ordered in {place} now"))
                .hint(self.on_offer(place))),
            false => Ok(found),
        }
    }

    /// What can be ordered in `place` now, the cheapest first, with net prices.
    fn on_offer(&self, place: &str) -> String {
        let mut offers: Vec<(Decimal, String)> = self
            .plans
            .iter()
            .filter_map(|plan| {
                let price = plan.offer(place).filter(|offer| offer.orderable)?.monthly;
                let (cores, memory) = (plan.cores.normalize(), plan.memory_gb.normalize());
                Some((price, format!("{} ({cores} cores, {memory} GB, {price:.2} a month)", plan.name)))
            })
            .collect();
        offers.sort();
        let names: Vec<String> = offers.into_iter().take(5).map(|(_, text)| text).collect();
        match names.is_empty() {
            true => format!("nothing can be ordered in {place} now: choose another location"),
            false => format!("orderable in {place}: {}", names.join(", ")),
        }
    }

    /// What an address of this family costs in `place`.
    pub fn address(&self, family: IpFamily, place: &str) -> Decimal {
        let places = self.addresses.get(family.as_str());
        places.and_then(|places| places.get(place).or_else(|| places.get("*"))).copied().unwrap_or_default()
    }

    /// The monthly bill of those of `want` that this provider sells: a server that is there at the price of its
    /// plan (`there` gives that plan's name for a server's cloud name), one that is not at the price of the plan
    /// that would be ordered. Fails when that cannot be ordered.
    pub fn bill(
        &self,
        want: &[Resource],
        there: impl Fn(&Resource, &cloud::Server) -> Option<(String, String)>,
    ) -> Result<Vec<PriceLine>, Failure> {
        let mut lines = Vec::new();
        let mut add = |address: &Address, what: String, amount: Decimal| {
            if !amount.is_zero() {
                let monthly = Money { amount: cents(amount), currency: self.currency.clone() };
                lines.push(PriceLine { address: address.clone(), what, monthly });
            }
        };
        for resource in want.iter().filter(|resource| resource.address.provider == self.provider && !resource.gone) {
            let (address, name) = (&resource.address, &resource.address.name);
            match &resource.spec {
                Spec::Server(spec) => {
                    let (plan, place) = match there(resource, spec) {
                        Some(plan_and_place) => plan_and_place,
                        None => {
                            let (plan, offer) = self.candidates(&spec.size, &spec.location)?[0];
                            (plan.name.clone(), offer.place.clone())
                        }
                    };
                    let offer = self.plan(&plan).and_then(|plan| plan.offer(&place));
                    let price = offer.map(|offer| offer.monthly).unwrap_or_default();
                    let traffic = match offer.and_then(|offer| Some((offer.traffic_tb?.normalize(), offer.more_tb?))) {
                        Some((included, more)) => {
                            format!(", {included} TB of traffic included, then {more:.2} {} a TB", self.currency)
                        }
                        None => String::new(),
                    };
                    add(address, format!("server {name}: {plan} in {place}{traffic}"), price);
                    if spec.backups {
                        let share = price.saturating_mul(self.backups) / Decimal::ONE_HUNDRED;
                        add(address, format!("backups of {name}: {} % of it", self.backups.normalize()), share);
                    }
                }
                Spec::PrimaryIp(spec) => {
                    add(address, format!("address {name}"), self.address(spec.family, &spec.location));
                }
                Spec::Volume(spec) => {
                    let price = self.volume_gb.saturating_mul(Decimal::from(spec.size_gb));
                    add(address, format!("volume {name}: {} GB", spec.size_gb), price);
                }
                _ => {}
            }
        }
        Ok(lines)
    }
}
