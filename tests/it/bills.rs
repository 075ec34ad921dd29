use std::collections::BTreeMap;

use landfall::cli::load::{Refused, check};
use landfall::estimate;
use landfall::model::catalog::{Catalog, Offer, Plan};
use landfall::model::money::{Money, over_budget, totals};
use landfall::model::value::Outputs;
use landfall::steps;
use rust_decimal::Decimal;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Hetzner's prices at a time: plan, cores, memory, net price, orderable.
fn hetzner(plans: &[(&str, u32, u32, &str, bool)], ipv4: &str) -> Catalog {
    let plan = |(name, cores, memory, price, orderable): &(&str, u32, u32, &str, bool)| Plan {
        name: (*name).to_owned(),
        cores: (*cores).into(),
        memory_gb: (*memory).into(),
        disk_gb: d("40"),
        arm: name.starts_with("cax"),
        offers: vec![Offer {
            place: "fsn1".into(),
            monthly: d(price),
            orderable: *orderable,
            traffic_tb: None,
            more_tb: None,
        }],
    };
    Catalog {
        provider: "hetzner".into(),
        currency: "EUR".into(),
        vat: Some(d("19")),
        plans: plans.iter().map(plan).collect(),
        addresses: BTreeMap::from([("ipv4".to_owned(), BTreeMap::from([("*".to_owned(), d(ipv4))]))]),
        volume_gb: d("0.0572"),
        backups: d("20"),
    }
}

/// Before 15 June 2026; from that day; and as the website of 3 September had it, where the CX plans were not orderable.
fn may() -> Catalog {
    hetzner(
        &[
            ("cx23", 2, 4, "3.99", true),
            ("cx33", 4, 8, "6.49", true),
            ("cpx22", 2, 4, "7.99", true),
            ("ccx13", 2, 8, "15.99", true),
        ],
        "0.50",
    )
}

fn june() -> Catalog {
    hetzner(
        &[
            ("cx23", 2, 4, "5.49", true),
            ("cx33", 4, 8, "8.49", true),
            ("cpx22", 2, 4, "19.49", true),
            ("ccx13", 2, 8, "42.99", true),
        ],
        "0.50",
    )
}

fn september() -> Catalog {
    hetzner(
        &[
            ("cx23", 2, 4, "5.49", false),
            ("cx33", 4, 8, "8.49", false),
            ("cpx12", 1, 2, "11.49", true),
            ("cpx22", 2, 4, "19.49", true),
        ],
        "0.50",
    )
}

fn resources(step: &str) -> Vec<landfall::model::resource::Resource> {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn";
    let text = format!("schema = 1\nname = \"acme\"\n\n[[step]]\n{}\n", step.replace("KEY", key));
    let loaded = match check(std::path::Path::new("test.toml"), &text) {
        Ok(loaded) => loaded,
        Err(Refused::Wrong(problems)) => panic!("{}", problems.iter().map(|p| p.render()).collect::<String>()),
        Err(Refused::Unread(failure)) => panic!("{failure}"),
    };
    steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).unwrap()
}

fn server(more: &str) -> String {
    format!("use = \"server\"\nprovider = \"hetzner\"\nlocation = \"fsn1\"\nkeys = [\"KEY\"]\n{more}")
}

fn sum(catalog: &Catalog, step: &str) -> String {
    let lines = estimate::bill(catalog, &resources(step)).unwrap();
    totals(&lines).iter().map(Money::to_string).collect::<Vec<_>>().join(" + ")
}

#[test]
fn bills_are_those_computed_by_hand_to_the_cent() {
    for (catalog, more, by_hand) in [
        // 3.99 + 0.50
        (may(), "size = \"cx23\"", "4.49 EUR"),
        // 6.49 + 0.50
        (may(), "size = \"cx33\"", "6.99 EUR"),
        // 7.99 + 0.50
        (may(), "size = \"cpx22\"", "8.49 EUR"),
        // 5.49 + 0.50
        (june(), "size = \"cx23\"", "5.99 EUR"),
        // 5.49 + a fifth of it, 1.098, so 1.10 + 0.50
        (june(), "size = \"cx23\"\nbackups = true", "7.09 EUR"),
        // 42.99 + 8.598, so 8.60 + 0.50 + 100 GB at 0.0572, 5.72
        (june(), "size = \"ccx13\"\nbackups = true\nvolume_gb = 100", "57.81 EUR"),
        // 5.49 alone: no IPv4 address
        (june(), "size = \"cx23\"\nipv4 = false", "5.49 EUR"),
        // Sold out in September, so the next in the list: 19.49 + 0.50, the website's 19.99
        (september(), "size = [\"cx23\", \"cpx22\"]", "19.99 EUR"),
        // The cheapest orderable with two cores and four gigabytes then
        (september(), "size = { cpu = 2, memory_gb = 4 }", "19.99 EUR"),
        // 11.49 + 0.50, the website's 11.99
        (september(), "size = \"cpx12\"", "11.99 EUR"),
        // 8.49 + 0.50 + 33 GB at 0.0572, 1.8876, so 1.89
        (june(), "size = \"cx33\"\nvolume_gb = 33", "10.88 EUR"),
    ] {
        assert_eq!(sum(&catalog, &server(more)), by_hand, "{more}");
    }
}

#[test]
fn rented_databases_cost_what_their_price_pages_say() {
    let supabase = |more: &str| {
        let step = format!(
            "use = \"database\"\nprovider = \"supabase\"\norganization = \"o\"\nregion = \"eu-central-1\"\n{more}"
        );
        totals(&estimate::rented_bill(&resources(&step))).iter().map(Money::to_string).collect::<Vec<_>>().join(" + ")
    };
    // The free plan.
    assert_eq!(supabase(""), "");
    // 25.00 + 730 hours at 0.01344, 9.81, of which the plan includes 9.81
    assert_eq!(supabase("size = \"micro\""), "25.00 USD");
    // 25.00 + 730 hours at 0.0206, 15.038, so 15.04, less 10.00
    assert_eq!(supabase("size = \"small\""), "30.04 USD");
    // 25.00 + 730 hours at 0.0822, 60.006, so 60.01, less 10.00
    assert_eq!(supabase("size = \"medium\""), "75.01 USD");
    let neon = |more: &str| {
        let step = format!("use = \"database\"\nprovider = \"neon\"\nregion = \"aws-eu-central-1\"\n{more}");
        totals(&estimate::rented_bill(&resources(&step))).iter().map(Money::to_string).collect::<Vec<_>>().join(" + ")
    };
    // What sleeps has no fee.
    assert_eq!(neon(""), "");
    // 730 hours at a quarter of 0.106, 19.345, so 19.35
    assert_eq!(neon("sleeps_after = -1"), "19.35 USD");
}

#[test]
fn a_plan_that_cannot_be_ordered_is_skipped_or_refused_by_name() {
    let refused = estimate::bill(&september(), &resources(&server("size = \"cx23\""))).unwrap_err();
    assert!(refused.message.contains("cx23 cannot be ordered in fsn1"), "{refused}");
    let hint = refused.hint.unwrap();
    assert!(hint.contains("cpx22 (2 cores, 4 GB, 19.49 a month)") && !hint.contains("cx33"), "{hint}");
    let catalogs = [september()];
    let fits = estimate::side_by_side(&catalogs, 2, 4, 5);
    let shown: Vec<(&str, bool)> = fits.iter().map(|fit| (fit.plan.name.as_str(), fit.offer.orderable)).collect();
    assert_eq!(shown, [("cpx22", true), ("cx23", false), ("cx33", false)], "orderable first, then the cheapest");
}

#[test]
fn a_budget_one_cent_too_small_names_the_line_that_breaks_it() {
    let lines = estimate::bill(&june(), &resources(&server("size = \"cx23\"\nbackups = true"))).unwrap();
    let budget = |amount: &str| landfall::model::playbook::Budget { monthly: d(amount), currency: "EUR".into() };
    assert!(over_budget(&[budget("7.09")], &lines).is_none(), "to the cent is enough");
    let over = over_budget(&[budget("7.08")], &lines).unwrap();
    assert_eq!(over.kind.exit_code(), 5);
    assert!(
        over.message.contains("7.09 EUR") && over.message.contains("backups of server: 20 % of it with 1.10 EUR"),
        "{over}"
    );
    // Currencies are never added together silently.
    let dollars = landfall::model::playbook::Budget { monthly: d("1000"), currency: "USD".into() };
    let over = over_budget(&[dollars], &lines).unwrap();
    assert!(over.message.contains("cannot judge"), "{over}");
}
