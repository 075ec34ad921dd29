use std::sync::Arc;
use std::time::Duration;

use landfall::engine::Goal;
use landfall::model::event::What;
use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::faults::Moment;
use serde_json::json;
use tokio::sync::mpsc;

use crate::world::{Laptop, Nowhere, Went, World, ask, ground, told};

/// The clouds that keep leases.
const KEEPERS: &[&str] = &["hetzner", "digitalocean"];
const OTHER: Laptop = Laptop { number: 1, breaks_leases: false };

async fn world(api: &str, pace: Duration) -> World {
    World::of(&[api, "host"], Ground { pace, ..ground() }).await
}

fn playbook(world: &World, api: &str) -> String {
    match api {
        "hetzner" => world.server_playbook(),
        _ => world.server_playbook().replace("hetzner", api).replace("fsn1", "fra1").replace("cx23", "s-2vcpu-2gb"),
    }
}

async fn go(world: &World, laptop: Laptop, text: &str, goal: Goal) -> Went {
    world.go_from(laptop, world.folder.path(), text, goal).await
}

/// What a cloud calls each lease that hangs there.
async fn leases(world: &World, api: &str) -> Vec<String> {
    let (list, name) = if api == "hetzner" { ("firewalls", "id") } else { ("tags", "name") };
    let (_, body) = ask(world, api, "GET", &format!("/{list}?per_page=50"), None).await;
    let all = body[list].as_array().unwrap().clone();
    let is_lease = |entry: &serde_json::Value| entry["name"].as_str().unwrap().starts_with("landfall-lease");
    all.iter().filter(|entry| is_lease(entry)).map(|entry| entry[name].to_string().replace('"', "")).collect()
}

/// A world with a playbook, in which a run on laptop 0 broke off, as if its power were cut, when it ordered the server.
async fn broken_off(api: &'static str) -> (Arc<World>, String) {
    let world = Arc::new(world(api, Duration::from_millis(5)).await);
    let text = playbook(&world, api);
    let order = if api == "hetzner" { "/servers" } else { "/droplets" };
    let (told, mut begun) = mpsc::unbounded_channel();
    world.served(api).faults.watch(Some(Arc::new(move |_, method, path, moment| {
        let is_order = method == "POST" && path.ends_with(order) && moment == Moment::Before;
        if is_order {
            told.send(()).unwrap();
        }
        is_order
    })));
    let (running, script) = (world.clone(), text.clone());
    let run = tokio::spawn(async move { go(&running, Laptop::default(), &script, Goal::Apply).await });
    begun.recv().await.expect("a server is ordered");
    run.abort();
    assert!(run.await.is_err_and(|ended| ended.is_cancelled()));
    world.served(api).faults.watch(None);
    (world, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_broke_off_keeps_another_laptop_away_but_not_its_own() {
    for api in KEEPERS {
        let (world, text) = broken_off(api).await;
        assert_eq!(leases(&world, api).await.len(), 1, "{api}");
        let before = world.clouds.holds();

        for goal in [Goal::Apply, Goal::Destroy] {
            let refused = go(&world, OTHER, &text, goal).await;
            assert_eq!(refused.outcome.code, 1, "{api}: {}", refused.failure());
            let failure = refused.failure();
            let wanted = ["is changing `acme` now", api, "ends by itself at", "--break-lease", "Nothing was done"];
            assert!(wanted.iter().all(|word| failure.contains(word)), "{failure}");
            assert_eq!(world.clouds.holds(), before, "{api}: nothing was done");
        }
        let planned = go(&world, Laptop { number: 2, ..OTHER }, &text, Goal::Plan).await;
        assert_eq!(planned.outcome.code, 0, "whoever only looks is not kept away: {}", planned.failure());
        assert_noted(&planned, "may be halfway");
        assert!(!world.state_of(2).exists(), "looking leaves nothing behind");

        let own = go(&world, Laptop::default(), &text, Goal::Apply).await;
        assert_eq!(own.outcome.code, 0, "{api}: {}", own.failure());
        assert_eq!(leases(&world, api).await, Vec::<String>::new(), "{api}: it went with the run");
        assert!(go(&world, OTHER, &text, Goal::Apply).await.plan().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_laptop_is_refused_before_it_looks_for_a_host_that_is_only_being_made() {
    let mut world = World::of(&["hetzner"], Ground { machines: Some(Arc::new(Nowhere)), ..ground() }).await;
    let text = playbook(&world, "hetzner");
    // Everything is made but the host, which never comes up; then another run is at it.
    assert!(go(&world, Laptop::default(), &text, Goal::Apply).await.failure().contains("cannot reach the host"));
    let until = (jiff::Timestamp::now().as_second() + 300).to_string();
    let labels = json!({ "landfall-lease": "acme", "landfall-lease-id": "0011", "landfall-lease-user": "ann",
        "landfall-lease-machine": "desk", "landfall-lease-until": until });
    let lease = json!({ "name": "landfall-lease-acme", "labels": labels });
    assert_eq!(ask(&world, "hetzner", "POST", "/firewalls", Some(lease)).await.0, 201);
    // Whoever looked for the host would find the test waiting here.
    world.patience.reach = Duration::from_secs(3600);
    let refused = go(&world, OTHER, &text, Goal::Apply).await;
    assert!(refused.failure().contains("ann@desk is changing `acme` now"), "{}", refused.failure());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_has_ended_or_is_broken_keeps_nobody_away() {
    for api in KEEPERS {
        let (world, text) = broken_off(api).await;
        let breaking = go(&world, Laptop { breaks_leases: true, ..OTHER }, &text, Goal::Apply).await;
        assert_eq!(breaking.outcome.code, 0, "{api}: {}", breaking.failure());
        assert_eq!(leases(&world, api).await, Vec::<String>::new(), "{api}");

        // One that ended in 2020, as the clouds write it.
        let (path, mark) = match *api {
            "hetzner" => {
                let labels =
                    [("", "acme"), ("-id", "0011"), ("-user", "ann"), ("-machine", "desk"), ("-until", "1600000000")];
                let labels: std::collections::BTreeMap<String, &str> =
                    labels.iter().map(|(name, value)| (format!("landfall-lease{name}"), *value)).collect();
                ("/firewalls", json!({ "name": "landfall-lease-acme", "labels": labels }))
            }
            _ => ("/tags", json!({ "name": "landfall-lease:acme:0011:1600000000:ann:desk" })),
        };
        for goal in [Goal::Apply, Goal::Destroy] {
            assert_eq!(ask(&world, api, "POST", path, Some(mark.clone())).await.0, 201);
            let went = go(&world, OTHER, &text, goal).await;
            assert_eq!(went.outcome.code, 0, "{api}: {}", went.failure());
            assert_eq!(leases(&world, api).await, Vec::<String>::new(), "{api}, {goal:?}: nobody misses it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_laptops_that_begin_at_once_never_both_go_on() {
    let (mut done, mut away) = (0, 0);
    for api in KEEPERS {
        for _ in 0..8 {
            let world = world(api, Duration::from_millis(5)).await;
            let text = playbook(&world, api);
            let both =
                tokio::join!(go(&world, Laptop::default(), &text, Goal::Apply), go(&world, OTHER, &text, Goal::Apply));
            for went in [&both.0, &both.1] {
                match went.outcome.code {
                    0 => done += 1,
                    _ => {
                        away += 1;
                        assert!(went.failure().contains("is changing `acme` now"), "{api}: {}", went.failure());
                    }
                }
            }
            let servers = world
                .clouds
                .holds()
                .iter()
                .filter(|held| held.contains("acme-web") && (held.contains("server") || held.contains("droplet")))
                .count();
            assert!(servers <= 1, "{api}: {:?}", world.clouds.holds());
            let last = go(&world, OTHER, &text, Goal::Apply).await;
            assert_eq!(last.outcome.code, 0, "{api}: {}", last.failure());
            assert_eq!(leases(&world, api).await, Vec::<String>::new(), "{api}");
        }
    }
    told(&format!("two laptops at once: {done} runs went through, {away} gave way"));
    assert!(away > 0, "they met at least once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_and_a_run_whose_lease_was_broken_stops() {
    for api in KEEPERS {
        let mut world = world(api, Duration::from_secs(2)).await;
        world.lease = Duration::from_secs(1);
        let world = Arc::new(world);
        let text = playbook(&world, api);
        let (told, mut renewed) = mpsc::unbounded_channel();
        world.served(api).faults.watch(Some(Arc::new(move |_, method, path, moment| {
            // The first one takes the lease, further ones renew it.
            let writes =
                (method == "PUT" && path.contains("/firewalls/")) || (method == "POST" && path.ends_with("/tags"));
            if writes && moment == Moment::After {
                let _ = told.send(());
            }
            false
        })));
        let (running, script) = (world.clone(), text.clone());
        let run = tokio::spawn(async move { go(&running, Laptop::default(), &script, Goal::Apply).await });
        let writes = if *api == "hetzner" { 2 } else { 6 };
        for _ in 0..writes {
            renewed.recv().await.expect("a lease is renewed");
        }
        let hanging = leases(&world, api).await;
        assert!(!hanging.is_empty(), "{api}: a lease hangs there");
        let breaking = go(&world, Laptop { breaks_leases: true, ..OTHER }, &text, Goal::Apply);
        let (first, breaking) = tokio::join!(run, breaking);
        let first = first.unwrap();
        assert_eq!(first.outcome.code, 1, "{api}: {}", first.failure());
        assert!(first.failure().contains("broke the lease of this run"), "{api}: {}", first.failure());
        assert_noted(&breaking, "its lease is broken");
        let last = go(&world, OTHER, &text, Goal::Apply).await;
        assert_eq!(last.outcome.code, 0, "{api}: {}", last.failure());
        assert_eq!(leases(&world, api).await, Vec::<String>::new(), "{api}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_was_cut_short_leaves_no_lease() {
    let world = Arc::new(world("digitalocean", Duration::from_secs(2)).await);
    let text = playbook(&world, "digitalocean");
    let (told, mut begun) = mpsc::unbounded_channel();
    world.served("digitalocean").faults.watch(Some(Arc::new(move |_, method, path, moment| {
        if method == "POST" && path.ends_with("/droplets") && moment == Moment::Before {
            let _ = told.send(());
        }
        false
    })));
    let (running, script) = (world.clone(), text.clone());
    let run = tokio::spawn(async move { go(&running, Laptop::default(), &script, Goal::Apply).await });
    begun.recv().await.expect("a droplet is ordered");
    // The next tag is written, the one before is still there.
    let hanging = leases(&world, "digitalocean").await;
    let [tag] = &hanging[..] else { panic!("one lease: {hanging:?}") };
    let mut parts: Vec<String> = tag.split(':').map(str::to_owned).collect();
    parts[3] = (parts[3].parse::<i64>().unwrap() + 100).to_string();
    assert_eq!(ask(&world, "digitalocean", "POST", "/tags", Some(json!({ "name": parts.join(":") }))).await.0, 201);
    let went = run.await.unwrap();
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(leases(&world, "digitalocean").await, Vec::<String>::new());
}

/// Was there a note that says `word`?
fn assert_noted(went: &Went, word: &str) {
    let is_note = |what: &What| matches!(what, What::Note { text } if text.contains(word));
    assert!(went.events.iter().any(|event| is_note(&event.event)), "{word}: {}", went.failure());
}
