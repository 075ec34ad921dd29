//! What the simulated DigitalOcean sells. Prices are those of the basic droplets of 2026-09 in dollars; one size is
//! sold out, so that this can be rehearsed.

use serde_json::{Value, json};

/// Places: slug and name.
const REGIONS: &[(&str, &str)] = &[
    ("nyc3", "New York 3"),
    ("sfo3", "San Francisco 3"),
    ("ams3", "Amsterdam 3"),
    ("fra1", "Frankfurt 1"),
    ("sgp1", "Singapore 1"),
];

/// Sizes: slug, memory in MB, cores, disk in GB, transfer in TB, dollars a month and an hour, available.
type SizeRow = (&'static str, u32, u32, u32, f64, f64, f64, bool);
const SIZES: &[SizeRow] = &[
    ("s-1vcpu-512mb-10gb", 512, 1, 10, 0.5, 4.0, 0.00595, true),
    ("s-1vcpu-1gb", 1024, 1, 25, 1.0, 6.0, 0.00893, true),
    ("s-1vcpu-2gb", 2048, 1, 50, 2.0, 12.0, 0.01786, true),
    ("s-2vcpu-2gb", 2048, 2, 60, 3.0, 18.0, 0.02679, true),
    ("s-2vcpu-4gb", 4096, 2, 80, 4.0, 24.0, 0.03571, true),
    ("s-4vcpu-8gb", 8192, 4, 160, 5.0, 48.0, 0.07143, true),
    ("c-2", 4096, 2, 25, 4.0, 42.0, 0.0625, false),
];

const IMAGES: &[(&str, &str, &str)] = &[
    ("debian-12-x64", "Debian", "12 x64"),
    ("debian-13-x64", "Debian", "13 x64"),
    ("ubuntu-24-04-x64", "Ubuntu", "24.04 (LTS) x64"),
];

pub(super) fn region(slug: &str) -> Value {
    let name = REGIONS.iter().find(|(known, _)| *known == slug).map_or(slug, |(_, name)| *name);
    let sizes: Vec<&str> = SIZES.iter().filter(|size| size.7).map(|size| size.0).collect();
    json!({
        "name": name, "slug": slug, "features": ["backups", "ipv6", "metadata", "storage"], "available": true,
        "sizes": sizes,
    })
}

pub(super) fn has_region(slug: &str) -> bool {
    REGIONS.iter().any(|(known, _)| *known == slug)
}

pub(super) fn regions() -> Vec<Value> {
    REGIONS.iter().map(|(slug, _)| region(slug)).collect()
}

pub(super) fn sizes() -> Vec<Value> {
    let regions: Vec<&str> = REGIONS.iter().map(|(slug, _)| *slug).collect();
    let show = |(slug, memory, vcpus, disk, transfer, monthly, hourly, available): &SizeRow| {
        json!({
            "slug": slug, "memory": memory, "vcpus": vcpus, "disk": disk, "transfer": transfer,
            "price_monthly": monthly, "price_hourly": hourly, "regions": regions, "available": available,
            "description": "Basic",
        })
    };
    SIZES.iter().map(show).collect()
}

pub(super) fn size(slug: &str) -> Option<Value> {
    sizes().into_iter().find(|size| size["slug"] == slug)
}

pub(super) fn images() -> Vec<Value> {
    let regions: Vec<&str> = REGIONS.iter().map(|(slug, _)| *slug).collect();
    (129_211_873..)
        .zip(IMAGES)
        .map(|(id, (slug, distribution, name)): (i64, _)| {
            json!({
                "id": id, "name": name, "type": "base", "distribution": distribution, "slug": slug, "public": true,
                "regions": regions, "created_at": "2026-01-04T22:23:02Z", "min_disk_size": 7, "size_gigabytes": 0.62,
                "description": format!("{distribution} {name}"), "tags": [], "status": "available",
            })
        })
        .collect()
}

pub(super) fn image(reference: &Value) -> Option<Value> {
    images().into_iter().find(|image| image["slug"] == *reference || image["id"] == *reference)
}
