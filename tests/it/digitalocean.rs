use std::sync::Arc;

use landfall::engine::Goal;
use landfall::model::event::{Event, What};
use landfall::model::failure::Kind;
use landfall::rehearsal::clouds::Ground;
use serde_json::json;

use crate::world::{Nowhere, World, ask, ground};

async fn world() -> World {
    World::of(&["digitalocean"], Ground { machines: Some(Arc::new(Nowhere)), ..ground() }).await
}

fn playbook(world: &World) -> String {
    world.server_playbook().replace("hetzner", "digitalocean").replace("fsn1", "fra1").replace("cx23", "s-2vcpu-2gb")
}

#[tokio::test]
async fn a_droplet_of_somebody_elses_with_our_name_is_left_alone() {
    let world = world().await;
    let body = json!({ "name": "acme-web", "region": "fra1", "size": "s-1vcpu-1gb", "image": "debian-13-x64" });
    assert_eq!(ask(&world, "digitalocean", "POST", "/droplets", Some(body)).await.0, 202);
    world.go(&playbook(&world), Goal::Apply).await;
    let droplets = || world.clouds.holds().iter().filter(|held| held.contains("droplet acme-web")).count();
    assert_eq!(droplets(), 2, "names are not unique there");
    assert_eq!(world.go(&playbook(&world), Goal::Destroy).await.outcome.code, 0);
    assert_eq!(droplets(), 1, "{:?}", world.clouds.holds());
}

#[tokio::test]
async fn a_reserved_address_that_the_lock_line_does_not_name_is_never_given_back() {
    let mut world = world().await;
    world.go(&playbook(&world), Goal::Apply).await;
    let address = world.references.0.lock().unwrap().get("web-ipv4").cloned().unwrap();
    // As on a laptop with an old copy of the playbook, or when somebody put an address of their own there.
    world.references.0.lock().unwrap().clear();
    let went = world.go(&playbook(&world), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", went.failure());
    assert!(went.failure().contains(&address) && went.failure().contains("--adopt"), "{}", went.failure());
    let went = world.go(&playbook(&world), Goal::Destroy).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let named = |event: &Event| matches!(&event.event, What::Note { text } if text.contains(&address) && text.contains("left alone"));
    assert!(went.events.iter().any(named), "what is left is named: {:?}", went.events);
    assert_eq!(world.clouds.holds(), [format!("digitalocean reserved-ip {address}")]);

    // One that leads nowhere any more is not taken for the new droplet's.
    world.go(&playbook(&world), Goal::Apply).await;
    world.references.0.lock().unwrap().clear();
    world.adopt = vec!["digitalocean/reserved-ip/web-ipv4".to_owned()];
    world.go(&playbook(&world), Goal::Apply).await;
    assert!(world.references.0.lock().unwrap().contains_key("web-ipv4"), "adopted");
    assert_eq!(world.go(&playbook(&world), Goal::Destroy).await.outcome.code, 0);
    assert_eq!(world.clouds.holds(), [format!("digitalocean reserved-ip {address}")]);
}

#[tokio::test]
async fn a_used_up_rate_limit_is_waited_for_as_long_as_the_api_says() {
    // Its minute is two seconds: far longer than all tries together would wait by themselves.
    let pace = std::time::Duration::from_millis(20);
    let world = World::of(&["digitalocean"], Ground { pace, machines: Some(Arc::new(Nowhere)), ..ground() }).await;
    while ask(&world, "digitalocean", "GET", "/sizes", None).await.0 != 429 {}
    let went = world.go(&playbook(&world), Goal::Apply).await;
    assert!(went.retries() > 0, "it is told");
    assert!(!went.failure().contains("429"), "{}", went.failure());
    assert!(world.clouds.holds().iter().any(|held| held.contains("droplet acme-web")), "{:?}", world.clouds.holds());
}

#[tokio::test]
async fn a_volume_of_the_same_name_in_another_place_is_never_touched() {
    let world = world().await;
    let body = json!({ "name": "acme-web", "region": "ams3", "size_gigabytes": 10 });
    assert_eq!(ask(&world, "digitalocean", "POST", "/volumes", Some(body)).await.0, 201);
    let text = playbook(&world).replace("\nkeys =", "\nvolume_gb = 20\nkeys =");
    world.go(&text, Goal::Apply).await;
    world.go(&text.replace("volume_gb = 20", "volume_gb = 30"), Goal::Apply).await;
    let (_, body) = ask(&world, "digitalocean", "GET", "/volumes", None).await;
    let mut sizes: Vec<(&str, u64)> = body["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["region"]["slug"].as_str().unwrap(), v["size_gigabytes"].as_u64().unwrap()))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [("ams3", 10), ("fra1", 30)]);
}
