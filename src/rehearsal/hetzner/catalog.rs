//! What the simulated Hetzner sells: places, plans, images, prices. Names and prices are those seen for the
//! middle of 2026; the largest shared plan and the ARM plans are sold out, so that this can be rehearsed.

use serde_json::{Value, json};

/// Places: name, country, city, network zone, latitude and longitude.
const LOCATIONS: &[(&str, &str, &str, &str, f64, f64)] = &[
    ("fsn1", "DE", "Falkenstein", "eu-central", 50.47612, 12.370071),
    ("nbg1", "DE", "Nuremberg", "eu-central", 49.452102, 11.076665),
    ("hel1", "FI", "Helsinki", "eu-central", 60.169855, 24.938379),
    ("ash", "US", "Ashburn, VA", "us-east", 39.045821, -77.487073),
    ("sin", "SG", "Singapore", "ap-southeast", 1.283333, 103.833333),
];

/// Plans: name, cores, memory in GB, disk in GB, net price per month in Europe, orderable.
const PLANS: &[(&str, u32, u32, u32, &str, bool)] = &[
    ("cx23", 2, 4, 40, "5.4900", true),
    ("cx33", 4, 8, 80, "8.4900", true),
    ("cx43", 8, 16, 160, "15.9900", true),
    ("cx53", 16, 32, 320, "29.4900", false),
    ("cax11", 2, 4, 40, "5.9900", false),
    ("cax21", 4, 8, 80, "10.4900", false),
    ("cax31", 8, 16, 160, "20.9900", false),
    ("cax41", 16, 32, 320, "40.9900", false),
    ("cpx12", 1, 2, 40, "11.4900", true),
    ("cpx22", 2, 4, 80, "19.4900", true),
    ("ccx13", 2, 8, 80, "42.9900", true),
];

const IMAGES: &[(&str, &str, &str, &str)] = &[
    ("debian-12", "Debian 12", "debian", "12"),
    ("debian-13", "Debian 13", "debian", "13"),
    ("ubuntu-24.04", "Ubuntu 24.04", "ubuntu", "24.04"),
];

const TAX: f64 = 1.19;

fn price(net: f64) -> Value {
    json!({ "net": format!("{net:.4}"), "gross": format!("{:.16}", net * TAX) })
}

/// All places.
pub(super) fn locations() -> Vec<Value> {
    (1..)
        .zip(LOCATIONS)
        .map(|(id, (name, country, city, zone, latitude, longitude))| {
            json!({
                "id": id, "name": name, "description": format!("{city} DC Park 1"), "country": country, "city": city,
                "latitude": latitude, "longitude": longitude, "network_zone": zone,
            })
        })
        .collect()
}

fn is_sold_in(plan: &str, zone: &str) -> bool {
    zone == "eu-central" || plan.starts_with("cp") || plan.starts_with("cc")
}

/// Singapore costs more than the rest.
fn factor(location: &str) -> f64 {
    if location == "sin" { 1.4 } else { 1.0 }
}

fn plan_prices(name: &str, net: f64) -> Vec<Value> {
    LOCATIONS
        .iter()
        .filter(|(_, _, _, zone, _, _)| is_sold_in(name, zone))
        .map(|(location, ..)| {
            let monthly = net * factor(location);
            json!({
                "location": location, "price_hourly": price(monthly / 625.0), "price_monthly": price(monthly),
                "included_traffic": 21_990_232_555_520_u64, "price_per_tb_traffic": price(1.0),
            })
        })
        .collect()
}

/// All plans.
pub(super) fn server_types() -> Vec<Value> {
    (101..)
        .zip(PLANS)
        .map(|(id, (name, cores, memory, disk, net, orderable))| {
            let net: f64 = net.parse().unwrap_or_default();
            let locations: Vec<Value> = (1..)
                .zip(LOCATIONS)
                .filter(|(_, (_, _, _, zone, _, _))| is_sold_in(name, zone))
                .map(|(id, (location, ..))| {
                    json!({ "id": id, "name": location, "deprecation": null, "recommended": *orderable, "available": orderable })
                })
                .collect();
            json!({
                "id": id, "name": name, "description": name.to_uppercase(), "cores": cores, "memory": memory,
                "disk": disk, "deprecated": false, "deprecation": null, "prices": plan_prices(name, net),
                "storage_type": "local", "cpu_type": if name.starts_with("cc") { "dedicated" } else { "shared" },
                "category": if name.starts_with("cc") { "general_purpose" } else { "cost_optimized" },
                "architecture": if name.starts_with("ca") { "arm" } else { "x86" }, "locations": locations,
            })
        })
        .collect()
}

/// All images, for both architectures.
pub(super) fn images() -> Vec<Value> {
    ["x86", "arm"]
        .iter()
        .flat_map(|architecture| IMAGES.iter().map(move |image| (architecture, image)))
        .zip(201..)
        .map(|((architecture, (name, description, flavor, version)), id)| {
            json!({
                "id": id, "type": "system", "status": "available", "name": name, "description": description,
                "image_size": null, "disk_size": 5, "created": "2026-01-15T09:00:00+00:00", "created_from": null,
                "bound_to": null, "os_flavor": flavor, "os_version": version, "rapid_deploy": true,
                "protection": { "delete": false }, "deprecated": null, "deleted": null, "labels": {},
                "architecture": architecture,
            })
        })
        .collect()
}

/// The price list.
pub(super) fn pricing() -> Value {
    let plans: Vec<Value> = server_types()
        .into_iter()
        .map(|plan| json!({ "id": plan["id"], "name": plan["name"], "prices": plan["prices"] }))
        .collect();
    let per_place = |monthly: f64| -> Vec<Value> {
        LOCATIONS
            .iter()
            .map(|(location, ..)| {
                json!({ "location": location, "price_hourly": price(monthly / 625.0), "price_monthly": price(monthly) })
            })
            .collect()
    };
    let floating: Vec<Value> =
        LOCATIONS.iter().map(|(name, ..)| json!({ "location": name, "price_monthly": price(3.0) })).collect();
    json!({
        "currency": "EUR", "vat_rate": "19.00",
        "primary_ips": [
            { "type": "ipv4", "prices": per_place(0.5) },
            { "type": "ipv6", "prices": per_place(0.0) },
        ],
        "floating_ips": [{ "type": "ipv4", "prices": floating }],
        "floating_ip": { "price_monthly": price(3.0) },
        "image": { "price_per_gb_month": price(0.0143) },
        "volume": { "price_per_gb_month": price(0.0572) },
        "server_backup": { "percentage": "20.00" },
        "server_types": plans,
        "load_balancer_types": [],
    })
}
