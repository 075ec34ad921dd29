//! What Hetzner sells, as the API says now, and which of it a server that is there has.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::model::catalog::{Catalog, Offer, Plan};
use crate::model::cloud;
use crate::model::failure::Failure;
use crate::model::money::PriceLine;
use crate::model::resource::Resource;
use crate::providers::hetzner::api::Hcloud;
use crate::providers::hetzner::wire::{Pricing, Server, ServerType};

/// Bytes in a terabyte as the API counts traffic: `included_traffic` is 21990232555520 where the price list
/// says 20 TB.
const TERABYTE: i64 = 1 << 40;

/// Reads plans, prices and stock.
pub(super) async fn catalog(api: Hcloud<'_>) -> Result<Catalog, Failure> {
    let (plans, pricing) = tokio::try_join!(
        api.list::<ServerType>("/server_types", "server_types", &[]),
        api.get::<Pricing>("/pricing", "pricing"),
    )?;
    let mut addresses: BTreeMap<String, BTreeMap<String, Decimal>> = BTreeMap::new();
    for ip in &pricing.primary_ips {
        let places = ip.prices.iter().map(|price| (price.location.clone(), price.price_monthly.net));
        addresses.entry(ip.family.clone()).or_default().extend(places);
    }
    Ok(Catalog {
        provider: "hetzner".to_owned(),
        currency: pricing.currency,
        vat: pricing.vat_rate,
        plans: plans.iter().map(plan).collect(),
        addresses,
        volume_gb: pricing.volume.price_per_gb_month.net,
        backups: pricing.server_backup.percentage,
    })
}

fn plan(kind: &ServerType) -> Plan {
    let orderable = |place: &str| kind.locations.iter().any(|at| at.name == place && at.available);
    let offers = kind.prices.iter().map(|price| Offer {
        place: price.location.clone(),
        monthly: price.price_monthly.net,
        orderable: orderable(&price.location),
        traffic_tb: price.included_traffic.map(|bytes| Decimal::from(bytes) / Decimal::from(TERABYTE)),
        more_tb: price.price_per_tb_traffic.as_ref().map(|price| price.net),
    });
    Plan {
        name: kind.name.clone(),
        cores: kind.cores,
        memory_gb: kind.memory,
        disk_gb: kind.disk,
        arm: kind.architecture == "arm",
        offers: offers.collect(),
    }
}

/// Is this server where it shall be, and of the system it shall have?
fn stays(server: &Server, spec: &cloud::Server) -> bool {
    let image = server.image.as_ref().and_then(|image| image.name.as_deref());
    server.location.name == spec.location && image == Some(spec.image.as_str())
}

/// Does a server of this plan satisfy what is wanted?
pub(super) fn satisfies(kind: &ServerType, size: &cloud::Size) -> bool {
    plan(kind).satisfies(size)
}

/// The monthly bill, net, of `want`.
pub(super) fn bill(mut catalog: Catalog, want: &[Resource], servers: &[Server]) -> Result<Vec<PriceLine>, Failure> {
    // A plan that is no longer sold is still known from the servers that have it.
    for server in servers {
        if catalog.plan(&server.server_type.name).is_none() {
            catalog.plans.push(plan(&server.server_type));
        }
    }
    catalog.bill(want, |resource, spec| {
        let server = servers.iter().find(|server| server.name == resource.cloud_name())?;
        // One that will be made anew is ordered anew.
        (satisfies(&server.server_type, &spec.size) && stays(server, spec))
            .then(|| (server.server_type.name.clone(), server.location.name.clone()))
    })
}
