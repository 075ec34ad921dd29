use std::sync::Arc;

use landfall::engine::Goal;
use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::databases::Databases;
use landfall::rehearsal::faults::{Fault, Trouble};
use serde_json::{Value, json};

use crate::chaos::word_of;
use crate::openapi::judge;
use crate::world::{Went, World, ask, ground, skipped, told};

/// What one provider must do like all others, and how it is asked to.
struct Contract {
    api: &'static str,
    /// A playbook; the same with something changed in place; the same with something that must be made anew.
    playbook: fn(&World) -> String,
    updated: fn(String) -> String,
    replaced: fn(String) -> String,
    /// What the cloud holds when everything is there: kinds, sorted.
    complete: &'static [&'static str],
}

const CONTRACTS: &[Contract] = &[
    Contract {
        api: "hetzner",
        playbook: |world| server(world, "hetzner", "fsn1", "cx23"),
        updated: |text| text.replace("\"cx23\"", "\"cx33\"\nbackups = true"),
        replaced: |text| text.replace("fsn1", "nbg1"),
        complete: &["firewall", "primary-ip", "primary-ip", "server", "ssh-key"],
    },
    Contract {
        api: "digitalocean",
        playbook: |world| server(world, "digitalocean", "fra1", "s-2vcpu-2gb"),
        updated: |text| text.replace("\"s-2vcpu-2gb\"", "\"s-2vcpu-4gb\"\nbackups = true"),
        replaced: |text| text.replace("fra1", "ams3"),
        complete: &["droplet", "firewall", "reserved-ip", "ssh-key", "vpc"],
    },
    Contract {
        api: "cloudflare",
        playbook: |_| {
            "schema = 1\nname = \"acme\"\ndomain = \"acme.dev\"\n\n[[step]]\nuse = \"dns\"\nprovider = \"cloudflare\"\n\
             caa = [\"letsencrypt.org\"]\nrecords = [{ type = \"A\", name = \"www\", content = \"203.0.113.7\" }]\n"
                .to_owned()
        },
        updated: |text| text.replace("203.0.113.7", "203.0.113.8"),
        // Nothing of a zone is ever made anew: a record of another kind takes the first one's place.
        replaced: |text| {
            text.replace(
                "type = \"A\", name = \"www\", content = \"203.0.113.7\"",
                "type = \"CNAME\", name = \"www\", content = \"acme.example\"",
            )
        },
        complete: &["record", "record"],
    },
    Contract {
        api: "supabase",
        playbook: |_| database("supabase", "organization = \"acme-pro\"\nregion = \"eu-central-1\"\nsize = \"micro\""),
        updated: |text| text.replace("\"micro\"", "\"small\"\nlogin_seconds = 3600"),
        replaced: |text| text.replace("eu-central-1", "eu-west-1"),
        complete: &["project"],
    },
    Contract {
        api: "neon",
        playbook: |_| database("neon", "region = \"aws-eu-central-1\"\nversion = 17"),
        updated: |text| text + "compute = [\"0.25\", \"2\"]\nmost_gb = 10\n",
        replaced: |text| text.replace("version = 17", "version = 16"),
        complete: &["project"],
    },
];

fn server(world: &World, provider: &str, location: &str, size: &str) -> String {
    world.server_playbook().replace("hetzner", provider).replace("fsn1", location).replace("cx23", size)
}

fn database(provider: &str, more: &str) -> String {
    format!("schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"database\"\nprovider = \"{provider}\"\n{more}\n")
}

impl Contract {
    /// A world with this cloud; `None`, said aloud, where it needs a PostgreSQL that is not here.
    async fn world(&self) -> Option<World> {
        let databases = match self.api {
            "supabase" | "neon" => match Databases::find(vec![]).await {
                Ok(databases) => Some(Arc::new(databases)),
                Err(why) if std::env::var_os("LANDFALL_HOST_TESTS").is_some() => panic!("{why}"),
                Err(why) => {
                    skipped(&why);
                    return None;
                }
            },
            _ => None,
        };
        let ground = Ground {
            domains: vec!["acme.dev".to_owned()],
            organizations: vec!["acme-pro".to_owned()],
            databases,
            ..ground()
        };
        // What is on hosts is modelled.
        Some(World::of(&[self.api, "host"], ground).await)
    }

    fn assert_done(&self, went: &Went, what: &str) {
        assert!(went.outcome.code == 0, "{}: {what}: exit {}: {}", self.api, went.outcome.code, went.failure());
    }

    /// Is everything there once, and nothing twice?
    fn assert_complete(&self, world: &World, what: &str) {
        assert_eq!(kinds(world), self.complete, "{}: {what}: {:?}", self.api, world.clouds.holds());
    }

    /// Runs until nothing remains to be done, at most this many times.
    async fn converge(&self, world: &World, text: &str, what: &str) {
        for _ in 0..2 {
            let went = world.go(text, Goal::Apply).await;
            if went.outcome.code == 0 {
                return;
            }
        }
        self.assert_done(&world.go(text, Goal::Apply).await, what);
    }

    /// Requests that changed something, since `from`.
    fn writes(&self, world: &World, from: usize) -> Vec<String> {
        let exchanges = world.served(self.api).exchanges();
        let writes = exchanges.into_iter().skip(from).filter(|exchange| exchange.request.method != "GET");
        writes
            // A question in SQL is asked by POST, and a registrar is asked for by PUT; neither changes anything.
            .filter(|exchange| !exchange.request.path.ends_with("/database/query"))
            .map(|exchange| format!("{} {}", exchange.request.method, exchange.request.path))
            .collect()
    }
}

/// The kinds of what the clouds hold, sorted. A default network that came with a droplet is not ours.
fn kinds(world: &World) -> Vec<String> {
    world.clouds.holds().iter().map(|held| held.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn absent_create_present_keep_update_replace_delete_absent() {
    let mut checked = 0;
    for contract in CONTRACTS {
        let Some(world) = contract.world().await else { continue };
        let text = (contract.playbook)(&world);
        contract.assert_done(&world.go(&text, Goal::Apply).await, "create");
        contract.assert_complete(&world, "created");

        for (what, text) in [
            ("create", text.clone()),
            ("update", (contract.updated)(text.clone())),
            ("replace", (contract.replaced)(text.clone())),
        ] {
            contract.assert_done(&world.go(&text, Goal::Apply).await, what);
            // What another kind of record took the place of is gone with it.
            contract.assert_complete(&world, what);
            let from = world.served(contract.api).exchanges().len();
            let again = world.go(&text, Goal::Apply).await;
            contract.assert_done(&again, "the same again");
            assert_eq!(again.plan(), Vec::<String>::new(), "{}: {what}: twice is once", contract.api);
            assert_eq!(contract.writes(&world, from), Vec::<String>::new(), "{}: {what}: twice is once", contract.api);
        }
        let text = (contract.replaced)(text);
        let gone = world.go(&text, Goal::Destroy).await;
        assert_eq!(gone.outcome.code, 0, "{}: {}", contract.api, gone.failure());
        assert_eq!(world.clouds.holds(), Vec::<String>::new(), "{}", contract.api);
        assert_eq!(world.references.0.lock().unwrap().len(), 0, "{}: the lock line is empty again", contract.api);
        let again = world.go(&text, Goal::Destroy).await;
        assert_eq!((again.outcome.code, again.outcome.changes), (0, 0), "{}: {}", contract.api, again.failure());
        let operations = judge(&world, contract.api);
        told(&format!("{}: {} operations held against the official file", contract.api, operations.len()));
        checked += operations.len();
    }
    told(&format!("{checked} operations of five APIs held against the official files, requests and answers"));
}

/// The writes of a run in which everything goes well.
async fn writes_of(contract: &Contract) -> Option<Vec<String>> {
    let world = contract.world().await?;
    let text = (contract.playbook)(&world);
    contract.assert_done(&world.go(&text, Goal::Apply).await, "create");
    Some(contract.writes(&world, 0))
}

/// How many of each method.
fn by_method(writes: &[String]) -> Vec<(&'static str, usize)> {
    let count = |method: &'static str| writes.iter().filter(|write| write.starts_with(method)).count();
    ["POST", "PUT", "PATCH"].into_iter().map(|method| (method, count(method))).filter(|(_, n)| *n > 0).collect()
}

#[tokio::test]
async fn whatever_happens_to_a_write_nothing_is_made_twice_and_the_next_run_converges() {
    let mut met = 0;
    for contract in CONTRACTS {
        let Some(writes) = writes_of(contract).await else { continue };
        for (method, count) in by_method(&writes) {
            for nth in 1..=count {
                for (name, trouble) in [
                    ("answer lost after the effect", Trouble::CutAfter),
                    ("cut before the effect", Trouble::CutBefore),
                    ("500", Trouble::Refuse(500, "server_error", vec![])),
                ] {
                    let Some(world) = contract.world().await else { continue };
                    let text = (contract.playbook)(&world);
                    let what = format!("{name}, {method} number {nth}");
                    world.served(contract.api).faults.add(Fault { at: method, nth, trouble });
                    let first = world.go(&text, Goal::Apply).await;
                    assert_eq!(word_of(&first), Vec::<String>::new(), "{}: {what}", contract.api);
                    contract.converge(&world, &text, &what).await;
                    contract.assert_complete(&world, &what);
                    met += 1;
                }
            }
        }
    }
    told(&format!("{met} faults met: 0 duplicates, 0 orphans"));
}

#[tokio::test]
async fn a_list_that_lags_behind_does_not_make_anything_twice() {
    let mut met = 0;
    for contract in CONTRACTS {
        let Some(world) = contract.world().await else { continue };
        let text = (contract.playbook)(&world);
        world.go(&text, Goal::Apply).await;
        let looks = world.served(contract.api).exchanges().iter().filter(|e| e.request.method == "GET").count();
        // Every third look is enough to meet each kind of list before and after each write.
        for nth in (1..=looks).step_by(3) {
            let Some(world) = contract.world().await else { continue };
            let text = (contract.playbook)(&world);
            for nth in [nth, nth + 1] {
                world.served(contract.api).faults.add(Fault { at: "GET", nth, trouble: Trouble::Stale });
            }
            contract.converge(&world, &text, &format!("looks {nth} and {} lag behind", nth + 1)).await;
            contract.assert_complete(&world, &format!("look {nth}"));
            met += 1;
        }
    }
    told(&format!("{met} lagging looks: 0 duplicates"));
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_with_and_without_a_time() {
    for contract in CONTRACTS {
        for (at, headers) in [
            ("GET", vec![]),
            ("GET", vec![("retry-after", "0".to_owned())]),
            ("POST", vec![]),
            ("POST", vec![("retry-after", "0".to_owned())]),
        ] {
            let Some(world) = contract.world().await else { continue };
            let text = (contract.playbook)(&world);
            let trouble = Trouble::Refuse(429, "too_many_requests", headers);
            world.served(contract.api).faults.add(Fault { at, nth: 1, trouble });
            let went = world.go(&text, Goal::Apply).await;
            contract.assert_done(&went, "429");
            assert!(went.retries() > 0, "{}: it is told that something is tried again", contract.api);
            contract.assert_complete(&world, "429");
        }
    }
}

#[tokio::test]
async fn a_read_that_fails_is_tried_again() {
    for contract in CONTRACTS {
        let Some(world) = contract.world().await else { continue };
        let text = (contract.playbook)(&world);
        let trouble = Trouble::Refuse(503, "unavailable", vec![]);
        world.served(contract.api).faults.add(Fault { at: "GET", nth: 2, trouble });
        let went = world.go(&text, Goal::Apply).await;
        contract.assert_done(&went, "503");
        assert!(went.retries() > 0, "{}", contract.api);
        contract.assert_complete(&world, "503");
    }
}

#[tokio::test]
async fn a_token_revoked_in_mid_run_stops_it_and_a_new_one_takes_it_up() {
    for contract in CONTRACTS {
        let Some(writes) = writes_of(contract).await else { continue };
        for nth in 1..=writes.iter().filter(|write| write.starts_with("POST")).count() {
            let Some(world) = contract.world().await else { continue };
            let text = (contract.playbook)(&world);
            world.served(contract.api).faults.add(Fault { at: "POST", nth, trouble: Trouble::Revoke });
            let went = world.go(&text, Goal::Apply).await;
            assert_eq!(went.outcome.code, 4, "{}: POST {nth}: {}", contract.api, went.failure());
            assert!(went.failure().contains("make one"), "{}: {}", contract.api, went.failure());
            world.served(contract.api).accept_again();
            contract.converge(&world, &text, &format!("token revoked at POST {nth}")).await;
            contract.assert_complete(&world, &format!("token revoked at POST {nth}"));
        }
    }
}

/// Fills the account with things of somebody else's, so that ours is not on the first page of its list.
async fn strangers(world: &World, api: &str) {
    match api {
        "hetzner" => {
            for number in 0..51 {
                let body = json!({ "name": format!("other-{number}") });
                assert_eq!(ask(world, api, "POST", "/firewalls", Some(body)).await.0, 201);
            }
        }
        "digitalocean" => {
            for number in 0..201 {
                let body = json!({ "name": format!("other-{number}"), "region": "fra1", "size_gigabytes": 1 });
                let (status, body) = ask(world, api, "POST", "/volumes", Some(body)).await;
                assert_eq!(status, 201, "{body}");
                if number == 150 {
                    // Within what a minute allows.
                    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
                }
            }
        }
        "cloudflare" => {
            let (_, body) = ask(world, api, "GET", "/zones", None).await;
            let path = format!("/zones/{}/dns_records/batch", body["result"][0]["id"].as_str().unwrap());
            for batch in 0..6 {
                let posts: Vec<Value> = (0..200)
                    .map(|n| json!({ "type": "A", "name": format!("a{}", batch * 200 + n), "content": "192.0.2.1" }))
                    .collect();
                assert_eq!(ask(world, api, "POST", &path, Some(json!({ "posts": posts }))).await.0, 200);
            }
        }
        "neon" => world.clouds.neon.as_ref().unwrap().add_strangers((0..101).map(|n| format!("acme-other-{n}"))),
        // One flat list without pages.
        _ => {}
    }
}

#[tokio::test]
async fn what_is_ours_is_found_beyond_the_first_page() {
    for contract in CONTRACTS {
        let Some(world) = contract.world().await else { continue };
        strangers(&world, contract.api).await;
        let theirs = world.clouds.holds().len();
        let text = (contract.playbook)(&world).replace("\nkeys =", "\nvolume_gb = 10\nkeys =");
        contract.assert_done(&world.go(&text, Goal::Apply).await, "create");
        let ours = world.clouds.holds().len() - theirs;
        let from = world.served(contract.api).exchanges().len();
        contract.assert_done(&world.go(&text, Goal::Apply).await, "again");
        assert_eq!(contract.writes(&world, from), Vec::<String>::new(), "{}", contract.api);
        assert_eq!(world.go(&text, Goal::Destroy).await.outcome.code, 0);
        assert_eq!(world.clouds.holds().len(), theirs, "{}: {ours} of ours gone, theirs still there", contract.api);
    }
}
