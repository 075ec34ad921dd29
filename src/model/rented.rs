//! What rented databases cost. Their APIs do not tell every price; what they do not tell is from the providers'
//! price pages of the dates below.

use rust_decimal::Decimal;

use crate::model::money::cents;
use crate::model::service::Project;

/// When the prices here were read.
pub const READ: &str = "2026-11-20";
/// Hours of a month, as the providers' own monthly figures have it.
pub const HOURS: i64 = 730;
/// Supabase's Pro plan, per organisation and month, and the compute it includes, in cents.
const SUPABASE_PRO: i64 = 2500;
const SUPABASE_CREDIT: i64 = 1000;
/// Hourly prices of Supabase's compute, and of point-in-time recovery per month, in hundred-thousandths of a dollar.
const SUPABASE_COMPUTE: &[(&str, i64)] = &[("micro", 1344), ("small", 2060), ("medium", 8220), ("large", 15170)];
const SUPABASE_PITR: &[(&str, i64)] = &[("7 days", 13_700), ("14 days", 27_400), ("28 days", 55_000)];

/// What a Supabase project costs a month, in dollars: in words and amount. `first` of its organisation it pays the
/// plan's fee and gets the included compute; `live` gives an add-on's hourly price where the API told it.
pub fn supabase(
    spec: &Project,
    organization: &str,
    is_paid: bool,
    first: bool,
    live: impl Fn(&str) -> Option<Decimal>,
) -> Vec<(String, Decimal)> {
    if !is_paid {
        return vec![];
    }
    let hours = Decimal::from(HOURS);
    let mut lines = Vec::new();
    if first {
        lines.push((format!("Supabase Pro plan of {organization} (price of {READ})"), Decimal::new(SUPABASE_PRO, 2)));
    }
    let size = spec.wishes.get("size").map_or_else(|| "micro".to_owned(), ToString::to_string);
    let known = SUPABASE_COMPUTE.iter().find(|(name, _)| *name == size).map(|(_, price)| Decimal::new(*price, 5));
    if let Some(hourly) = live(&format!("ci_{size}")).or(known) {
        let monthly = cents(hourly * hours);
        lines.push((format!("compute {size}: {HOURS} hours at {} USD", hourly.normalize()), monthly));
        if first {
            lines.push(("compute included in the plan".to_owned(), -monthly.min(Decimal::new(SUPABASE_CREDIT, 2))));
        }
    }
    if let Some(days) = spec.wishes.get("point_in_time").map(ToString::to_string) {
        let known = SUPABASE_PITR.iter().find(|(name, _)| *name == days).map(|(_, price)| Decimal::new(*price, 5));
        let variant = format!("pitr_{}", days.trim_end_matches(" days"));
        if let Some(hourly) = live(&variant).or(known) {
            lines.push((
                format!("any moment of {days}: {HOURS} hours at {} USD", hourly.normalize()),
                cents(hourly * hours),
            ));
        }
    }
    lines
}

/// Neon's Launch plan: a compute unit per hour, in thousandths of a dollar. There is no fee besides.
const NEON_UNIT: i64 = 106;

/// What a Neon project costs at least a month, in dollars: nothing while it may sleep, its smallest compute all month
/// where it never does.
pub fn neon(spec: &Project) -> Vec<(String, Decimal)> {
    let wish = |name: &str| spec.wishes.get(name).map(ToString::to_string);
    let units: Decimal = wish("smallest").and_then(|units| units.parse().ok()).unwrap_or_default();
    if wish("sleeps_after").as_deref() != Some("-1") || units.is_zero() {
        return vec![];
    }
    let amount = cents(Decimal::new(NEON_UNIT, 3) * Decimal::from(HOURS) * units);
    vec![(format!("compute of {} units that never sleeps: {HOURS} hours (price of {READ})", units.normalize()), amount)]
}
