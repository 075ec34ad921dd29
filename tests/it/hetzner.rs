use landfall::rehearsal::serve::Simulator as _;
use std::collections::BTreeSet;
use std::sync::Arc;

use landfall::engine::Goal;
use landfall::model::failure::Kind;
use landfall::rehearsal::faults::{Fault, Trouble};
use serde_json::{Value, json};

use crate::world::{Nowhere, Went, World, told};

async fn world() -> World {
    World::with(Some(Arc::new(Nowhere))).await
}

/// What a cloud without hosts can come to: everything made, and then a host that cannot be reached.
fn assert_only_the_host_is_missing(went: &Went) {
    assert_eq!(went.outcome.code, Kind::Unreachable.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("cannot reach the host 127.0.77."), "{}", went.failure());
}

fn holds(world: &World) -> Vec<String> {
    let mut holds = world.api.holds();
    holds.sort();
    holds
}

/// Everything the one-server playbook makes in the cloud, once.
fn assert_complete(world: &World) {
    let holds = holds(world);
    let kinds: Vec<&str> = holds.iter().map(|entry| entry.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["firewall", "primary-ip", "primary-ip", "server", "ssh-key"], "{holds:?}");
}

async fn ask(world: &World, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    crate::world::ask(world, "hetzner", method, path, body).await
}

fn judge(world: &World) -> BTreeSet<String> {
    crate::openapi::judge(world, "hetzner")
}

/// Is this a change on the host, or one that waits for it?
fn is_of_the_host(change: &str) -> bool {
    change.contains(" host/") || change.contains(" hetzner/vouch/")
}

#[tokio::test]
async fn a_server_is_made_kept_changed_and_taken_away() {
    let world = world().await;
    let playbook = world.server_playbook();
    assert_only_the_host_is_missing(&world.go(&playbook, Goal::Apply).await);
    assert_complete(&world);

    // Everything in the cloud is as wanted; only the host is asked for again.
    let again = world.go(&playbook, Goal::Apply).await;
    assert_only_the_host_is_missing(&again);
    assert_complete(&world);
    // A lease is taken by each run, because the host is still to be done.
    let made = |exchange: &landfall::rehearsal::serve::Exchange| {
        let body = String::from_utf8_lossy(&exchange.request.body);
        exchange.request.method == "POST" && !body.contains("landfall-lease")
    };
    let posts = world.served("hetzner").exchanges().into_iter().filter(made).count();
    assert_eq!(posts, 5, "one POST for each resource, none for what is there");

    // Backups, a volume, another size and fewer doors: all in place.
    let changed = playbook.replace("size = \"cx23\"", "size = \"cx33\"\nbackups = true\nvolume_gb = 20")
        + "\n[[step]]\nuse = \"firewall\"\non = \"web\"\nopen = [\"ssh\", \"https\"]\nweb_from = \"cloudflare\"\n\
           ssh_from = [\"203.0.113.7\", \"198.51.100.0/24\", \"2001:db8::/48\"]\n";
    assert_only_the_host_is_missing(&world.go(&changed, Goal::Apply).await);
    let (_, body) = ask(&world, "GET", "/servers", None).await;
    let server = &body["servers"][0];
    assert_eq!(server["server_type"]["name"], "cx33");
    assert_eq!(server["status"], "running");
    assert!(server["backup_window"].is_string());
    assert_eq!(server["volumes"].as_array().unwrap().len(), 1);
    let (_, body) = ask(&world, "GET", "/firewalls", None).await;
    let rules = body["firewalls"][0]["rules"].as_array().unwrap();
    let sources = |port: &str, protocol: &str| {
        let rule = rules.iter().find(|rule| rule["port"] == port && rule["protocol"] == protocol).unwrap();
        rule["source_ips"].as_array().unwrap().len()
    };
    assert_eq!(rules.len(), 4, "SSH, HTTPS twice, and ICMP: {rules:?}");
    assert_eq!((sources("22", "tcp"), sources("443", "tcp"), sources("443", "udp")), (3, 22, 22));

    // A bigger volume, and no backups any more.
    let grown = changed.replace("volume_gb = 20", "volume_gb = 30").replace("backups = true\n", "");
    assert_only_the_host_is_missing(&world.go(&grown, Goal::Apply).await);
    let (_, body) = ask(&world, "GET", "/volumes", None).await;
    assert_eq!(body["volumes"][0]["size"], 30);

    let gone = world.go(&grown, Goal::Destroy).await;
    assert_eq!(gone.outcome.code, 0, "{}", gone.failure());
    assert_eq!(holds(&world), Vec::<String>::new());

    let operations = judge(&world);
    told(&format!("{} operations held against the official specification: {operations:?}", operations.len()));
}

#[tokio::test]
async fn a_lost_answer_never_buys_twice() {
    for at in ["POST /ssh_keys", "POST /primary_ips", "POST /firewalls", "POST /servers"] {
        let world = world().await;
        world.served("hetzner").faults.add(Fault { at, nth: 1, trouble: Trouble::CutAfter });
        let went = world.go(&world.server_playbook(), Goal::Apply).await;
        assert_only_the_host_is_missing(&went);
        assert_complete(&world);
    }
}

#[tokio::test]
async fn a_request_cut_before_its_effect_stops_the_run_and_the_next_one_converges() {
    // The first firewall is the lease, which is written again.
    for (at, nth) in [("POST /ssh_keys", 1), ("POST /primary_ips", 1), ("POST /firewalls", 2), ("POST /servers", 1)] {
        let world = world().await;
        world.served("hetzner").faults.add(Fault { at, nth, trouble: Trouble::CutBefore });
        let went = world.go(&world.server_playbook(), Goal::Apply).await;
        assert_eq!(went.outcome.code, 1);
        assert!(went.failure().contains("was lost"), "{}", went.failure());
        assert_only_the_host_is_missing(&world.go(&world.server_playbook(), Goal::Apply).await);
        assert_complete(&world);
    }
}

#[tokio::test]
async fn reads_are_tried_again_and_the_rate_limit_is_honoured() {
    let world = world().await;
    let limit = Trouble::Refuse(429, "rate_limit_exceeded", vec![("retry-after", "0".into())]);
    world.served("hetzner").faults.add(Fault { at: "GET /servers", nth: 1, trouble: limit.clone() });
    world.served("hetzner").faults.add(Fault {
        at: "GET /firewalls",
        nth: 1,
        trouble: Trouble::Refuse(502, "bad_gateway", vec![]),
    });
    world.served("hetzner").faults.add(Fault { at: "GET /pricing", nth: 1, trouble: Trouble::CutBefore });
    world.served("hetzner").faults.add(Fault { at: "POST /servers", nth: 1, trouble: limit });
    let went = world.go(&world.server_playbook(), Goal::Apply).await;
    assert_only_the_host_is_missing(&went);
    assert_eq!(went.retries(), 4, "each told as an event");
    assert_complete(&world);
}

#[tokio::test]
async fn what_another_action_holds_is_waited_for() {
    let world = world().await;
    for (nth, (status, code)) in [(423, "locked"), (409, "conflict")].into_iter().enumerate() {
        let trouble = Trouble::Refuse(status, code, vec![]);
        world.served("hetzner").faults.add(Fault { at: "POST /servers", nth: nth + 1, trouble });
    }
    assert_only_the_host_is_missing(&world.go(&world.server_playbook(), Goal::Apply).await);
    assert_complete(&world);
}

#[tokio::test]
async fn sold_out_means_the_next_choice_or_a_failure_that_names_what_can_be_had() {
    let world = world().await;
    let list = world.server_playbook().replace("\"cx23\"", "[\"cax11\", \"cx23\"]");
    assert_only_the_host_is_missing(&world.go(&list, Goal::Apply).await);
    let (_, body) = ask(&world, "GET", "/servers", None).await;
    assert_eq!(body["servers"][0]["server_type"]["name"], "cx23");

    // Sold out between the look at the catalog and the order: the next one that fits.
    let world = self::world().await;
    world.served("hetzner").faults.add(Fault {
        at: "POST /servers",
        nth: 1,
        trouble: Trouble::Refuse(412, "resource_unavailable", vec![]),
    });
    let fitting = world.server_playbook().replace("\"cx23\"", "{ cpu = 2, memory_gb = 4 }");
    assert_only_the_host_is_missing(&world.go(&fitting, Goal::Apply).await);
    let (_, body) = ask(&world, "GET", "/servers", None).await;
    assert_eq!(body["servers"][0]["server_type"]["name"], "cx33", "the second cheapest");

    // Unless that is more than the budget.
    let world = self::world().await;
    world.served("hetzner").faults.add(Fault {
        at: "POST /servers",
        nth: 1,
        trouble: Trouble::Refuse(412, "resource_unavailable", vec![]),
    });
    let frugal = world
        .server_playbook()
        .replace("\"cx23\"", "{ cpu = 2, memory_gb = 4 }")
        .replace("\n\n[[step]]", "\nbudget = { monthly = 8, currency = \"EUR\" }\n\n[[step]]");
    let went = world.go(&frugal, Goal::Apply).await;
    assert!(went.failure().contains("cx33 at 8.49 a month, which is more than the budget"), "{}", went.failure());
    assert!(!holds(&world).iter().any(|entry| entry.starts_with("server")));

    let world = self::world().await;
    let went = world.go(&world.server_playbook().replace("\"cx23\"", "[\"cax11\", \"cx53\"]"), Goal::Plan).await;
    assert_eq!(went.outcome.code, 1);
    assert!(went.failure().contains("cannot be ordered in fsn1 now"), "{}", went.failure());
    assert!(went.failure().contains("orderable in fsn1: cx23 (2 cores, 4 GB, 5.49 a month)"), "{}", went.failure());

    for (wrong, hint) in [("size = \"cx32\"", "did you mean `cx"), ("location = \"fns1\"", "did you mean `fsn1`")] {
        let field = wrong.split(' ').next().unwrap();
        let line = world.server_playbook().lines().find(|line| line.starts_with(field)).unwrap().to_owned();
        let went = world.go(&world.server_playbook().replace(&line, wrong), Goal::Plan).await;
        assert!(went.failure().contains(hint), "{}", went.failure());
    }
    assert_eq!(holds(&world), Vec::<String>::new(), "planning makes nothing");
}

#[tokio::test]
async fn quota_and_bad_tokens_need_a_person() {
    let world = world().await;
    let limit = Trouble::Refuse(403, "resource_limit_exceeded", vec![]);
    world.served("hetzner").faults.add(Fault { at: "POST /servers", nth: 1, trouble: limit });
    let went = world.go(&world.server_playbook(), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code());
    assert!(went.failure().contains("Limits"), "{}", went.failure());
    assert!(went.exists().contains(&"hetzner/firewall/web".to_owned()), "it says what is there: {:?}", went.exists());
    assert!(!went.exists().contains(&"hetzner/server/web".to_owned()));

    let canary = "not-a-token-but-secret-all-the-same";
    for (token, words) in
        [(canary, "does not accept"), (world.api.read_only_token(), "may only read")].map(|(t, w)| (t.to_owned(), w))
    {
        world.secrets.0.lock().unwrap().insert("hetzner-token".into(), token.clone());
        let playbook = world.server_playbook().replace("name = \"acme\"", "name = \"other\"");
        let went = world.go(&playbook, Goal::Apply).await;
        assert_eq!(went.outcome.code, Kind::Human.exit_code());
        assert!(went.failure().contains(words), "{}", went.failure());
        assert!(went.failure().contains("https://console.hetzner.com"), "where to make one: {}", went.failure());
        assert!(!serde_json::to_string(&went.events).unwrap().contains(&token), "no token in any event");
    }
    world.secrets.0.lock().unwrap().clear();
    let went = world.go(&world.server_playbook(), Goal::Plan).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code());
    assert!(went.failure().contains("there is no token for hetzner"), "{}", went.failure());
}

#[tokio::test]
async fn strangers_are_never_touched() {
    let world = world().await;
    let (status, _) = ask(&world, "POST", "/firewalls", Some(json!({ "name": "acme-web" }))).await;
    assert_eq!(status, 201);
    let went = world.go(&world.server_playbook(), Goal::Apply).await;
    assert_eq!(went.outcome.code, 1);
    assert!(went.failure().contains("hetzner/firewall/web is in the way"), "{}", went.failure());
    assert!(went.failure().contains("label landfall=acme"), "how to hand it over: {}", went.failure());
    assert_eq!(holds(&world), ["firewall acme-web"], "nothing was made beside it");
    assert_eq!(world.go(&world.server_playbook(), Goal::Destroy).await.outcome.code, 0);
    assert_eq!(holds(&world), ["firewall acme-web"], "nor is it taken away");
}

#[tokio::test]
async fn a_key_the_project_has_under_another_name_is_used_and_left_there() {
    let world = world().await;
    let body = json!({ "name": "my laptop", "public_key": world.public_key() });
    assert_eq!(ask(&world, "POST", "/ssh_keys", Some(body)).await.0, 201);
    assert_only_the_host_is_missing(&world.go(&world.server_playbook(), Goal::Apply).await);
    assert_complete(&world);
    assert_eq!(world.go(&world.server_playbook(), Goal::Destroy).await.outcome.code, 0);
    assert_eq!(holds(&world), ["ssh-key my laptop"]);
}

#[tokio::test]
async fn what_the_playbook_no_longer_wants_is_listed_and_destroyed() {
    let mut world = world().await;
    let with_volume = world.server_playbook().replace("size =", "volume_gb = 10\nsize =");
    world.go(&with_volume, Goal::Apply).await;
    let went = world.go(&world.server_playbook(), Goal::Plan).await;
    let text = serde_json::to_string(&went.events).unwrap();
    assert!(text.contains("\"orphans\":[\"hetzner/volume/web\"]") || went.plan().is_empty(), "{text}");
    // It holds data: destroying it needs its own word, even though the playbook no longer names it.
    world.losing_data = false;
    let went = world.go(&world.server_playbook(), Goal::Destroy).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code());
    assert!(
        went.failure().contains("hetzner/volume/web") && went.failure().contains("--allow-data-loss"),
        "{}",
        went.failure()
    );
    assert_eq!(holds(&world).len(), 6, "nothing went");
    world.losing_data = true;
    assert_eq!(world.go(&world.server_playbook(), Goal::Destroy).await.outcome.code, 0);
    assert_eq!(holds(&world), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_was_deleted_comes_back_with_its_address() {
    let world = world().await;
    world.go(&world.server_playbook(), Goal::Apply).await;
    let (_, before) = ask(&world, "GET", "/servers", None).await;
    let id = &before["servers"][0]["id"];
    assert_eq!(ask(&world, "DELETE", &format!("/servers/{id}"), None).await.0, 200);
    let check = world.go(&world.server_playbook(), Goal::Check).await;
    assert_eq!(check.outcome.code, Kind::Drift.exit_code());
    assert!(check.failure().contains("hetzner/server/web"), "{}", check.failure());
    assert_only_the_host_is_missing(&world.go(&world.server_playbook(), Goal::Apply).await);
    let (_, after) = ask(&world, "GET", "/servers", None).await;
    assert_eq!(before["servers"][0]["public_net"]["ipv4"]["ip"], after["servers"][0]["public_net"]["ipv4"]["ip"]);
    assert_ne!(
        before["servers"][0]["labels"]["landfall-host-key"], after["servers"][0]["labels"]["landfall-host-key"],
        "a new machine has a new key"
    );
}

#[tokio::test]
async fn moving_a_server_says_that_data_is_lost_and_a_plan_over_budget_stops() {
    let world = world().await;
    world.go(&world.server_playbook(), Goal::Apply).await;
    let moved = world.server_playbook().replace("fsn1", "nbg1");
    let plan = world.go(&moved, Goal::Plan).await;
    assert!(plan.plan().contains(&"replace hetzner/server/web".to_owned()), "{:?}", plan.plan());
    assert_only_the_host_is_missing(&world.go(&moved, Goal::Apply).await);
    let (_, body) = ask(&world, "GET", "/servers", None).await;
    assert_eq!(body["servers"][0]["location"]["name"], "nbg1");
    assert_complete(&world);

    let poor = self::world().await;
    let budget = |cents: &str| {
        poor.server_playbook()
            .replace("\n\n[[step]]", &format!("\nbudget = {{ monthly = {cents}, currency = \"EUR\" }}\n\n[[step]]"))
    };
    let went = poor.go(&budget("5.98"), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Budget.exit_code(), "5.49 for the server and 0.50 for its address");
    assert!(went.failure().contains("server web: cx23 in fsn1"), "the line that broke it: {}", went.failure());
    assert_eq!(holds(&poor), Vec::<String>::new());
    assert_only_the_host_is_missing(&poor.go(&budget("5.99"), Goal::Apply).await);
}

#[tokio::test]
async fn nothing_is_taken_down_for_what_cannot_be_had() {
    let world = world().await;
    let playbook = world.server_playbook().replace("cx23", "cx33");
    world.go(&playbook, Goal::Apply).await;
    // Its disk does not fit the smaller plan: said before anybody is shut down.
    let went = world.go(&playbook.replace("cx33", "cx23"), Goal::Apply).await;
    assert!(went.failure().contains("cannot become cx23"), "{}", went.failure());
    // Not sold over there: the server here stays.
    let went = world.go(&playbook.replace("fsn1", "sin"), Goal::Apply).await;
    assert!(went.failure().contains("cx33 cannot be ordered in sin now"), "{}", went.failure());
    let (_, body) = ask(&world, "GET", "/servers", None).await;
    assert_eq!(body["servers"][0]["status"], "running");
    assert_eq!(body["servers"][0]["server_type"]["name"], "cx33");
    assert_complete(&world);
    // A change that needs it off fails in the middle: it is started again all the same.
    let refused = Trouble::Refuse(403, "forbidden", vec![]);
    world.served("hetzner").faults.add(Fault { at: "POST /primary_ips/", nth: 1, trouble: refused });
    let went = world.go(&playbook.replace("size =", "ipv6 = false\nsize ="), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code(), "{}", went.failure());
    let (_, body) = ask(&world, "GET", "/servers", None).await;
    assert_eq!(body["servers"][0]["status"], "running");
    // Neither is a server replaced without the word for it.
    let mut careful = world;
    careful.losing_data = false;
    let went = careful.go(&playbook.replace("fsn1", "nbg1"), Goal::Apply).await;
    assert!(went.failure().contains("data would be lost: hetzner/server/web"), "{}", went.failure());
    assert_complete(&careful);
}

#[tokio::test]
async fn a_plan_is_seven_requests() {
    let world = world().await;
    world.go(&world.server_playbook(), Goal::Plan).await;
    assert_eq!(world.served("hetzner").exchanges().len(), 7, "one list per kind, the catalog and the prices");
}

#[tokio::test]
async fn pages_are_followed_to_the_last_one() {
    let world = world().await;
    for number in 0..60 {
        let (status, body) =
            ask(&world, "POST", "/firewalls", Some(json!({ "name": format!("other-{number}") }))).await;
        assert_eq!(status, 201, "{body}");
    }
    assert_only_the_host_is_missing(&world.go(&world.server_playbook(), Goal::Apply).await);
    let (_, body) = ask(&world, "GET", "/firewalls?per_page=50&page=2", None).await;
    assert_eq!(body["firewalls"].as_array().unwrap().len(), 11);
    assert_eq!(body["meta"]["pagination"]["next_page"], Value::Null);
    // Ours is on the second page, and is found there.
    let went = world.go(&world.server_playbook(), Goal::Apply).await;
    assert_only_the_host_is_missing(&went);
    assert!(went.plan().iter().all(|change| is_of_the_host(change)), "{:?}", went.plan());
    judge(&world);
}

#[tokio::test]
async fn the_simulator_refuses_what_the_real_api_refuses() {
    let world = world().await;
    let key = json!({ "name": "k", "public_key": world.public_key() });
    assert_eq!(ask(&world, "POST", "/ssh_keys", Some(key.clone())).await.0, 201);
    let server = |field: &str, value: Value| {
        let mut body = json!({ "name": "s", "server_type": "cx23", "image": "debian-13", "location": "fsn1" });
        body[field] = value;
        Some(body)
    };
    for (method, path, body, status, code) in [
        ("POST", "/ssh_keys", Some(key), 409, "uniqueness_error"),
        ("POST", "/servers", server("server_type", json!("cax11")), 412, "resource_unavailable"),
        ("POST", "/servers", server("server_type", json!("nope")), 422, "invalid_input"),
        ("POST", "/servers", server("name", json!("no spaces")), 422, "invalid_input"),
        ("POST", "/servers", server("unknown", json!(1)), 422, "invalid_input"),
        ("POST", "/servers", server("labels", json!({ "a b": "c" })), 422, "invalid_input"),
        ("POST", "/servers", Some(json!({ "name": "s" })), 422, "invalid_input"),
        ("POST", "/servers", Some(json!([1])), 400, "json_error"),
        ("POST", "/volumes", Some(json!({ "name": "v", "size": 5, "location": "fsn1" })), 422, "invalid_input"),
        ("GET", "/servers/1", None, 404, "not_found"),
        ("GET", "/actions", None, 410, "deprecated_api_endpoint"),
        ("GET", "/nothing", None, 404, "not_found"),
        ("DELETE", "/servers", None, 405, "method_not_allowed"),
        ("GET", "/servers?label_selector=%3D%3D", None, 422, "invalid_input"),
    ] {
        let (seen, answer) = ask(&world, method, path, body).await;
        assert_eq!((seen, answer["error"]["code"].as_str()), (status, Some(code)), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn a_deleted_state_folder_loses_nothing() {
    let world = world().await;
    world.go(&world.server_playbook(), Goal::Apply).await;
    std::fs::remove_dir_all(world.state()).unwrap();
    let went = world.go(&world.server_playbook(), Goal::Apply).await;
    assert!(went.plan().iter().all(|change| is_of_the_host(change)), "{:?}", went.plan());
    assert_complete(&world);
}

#[tokio::test]
async fn the_intent_is_in_the_journal_before_the_effect() {
    let world = world().await;
    world.served("hetzner").faults.add(Fault {
        at: "POST /servers",
        nth: 1,
        trouble: Trouble::Refuse(403, "forbidden", vec![]),
    });
    world.go(&world.server_playbook(), Goal::Apply).await;
    let runs = std::fs::read_dir(world.state().join("acme/runs")).unwrap().flatten().next().unwrap().path();
    let journal = std::fs::read_to_string(runs).unwrap();
    let kinds: Vec<String> = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["type"].as_str().unwrap().to_owned())
        .collect();
    let first = |kind: &str| kinds.iter().position(|seen| seen == kind).unwrap();
    assert!(first("intended") < first("change-started"), "{kinds:?}");
    assert!(first("change-failed") < first("run-finished"), "{kinds:?}");
    assert!(!journal.contains(world.api.token()));
}

#[tokio::test]
async fn a_kill_at_any_effect_leaves_a_world_that_converges() {
    // The n-th request of a run is the last one that gets through; then the process is gone.
    for nth in 1..=24 {
        let world = world().await;
        let playbook = world.server_playbook();
        let killed = {
            let run = world.go(&playbook, Goal::Apply);
            let seen = async {
                while world.served("hetzner").exchanges().len() < nth {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = seen => true,
                _ = run => false,
            }
        };
        // What was on its way when the process died still arrives.
        let mut arrived = 0;
        while arrived != world.served("hetzner").exchanges().len() {
            arrived = world.served("hetzner").exchanges().len();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let went = world.go(&playbook, Goal::Apply).await;
        assert_only_the_host_is_missing(&went);
        assert_complete(&world);
        if !killed {
            return;
        }
    }
}

#[tokio::test]
async fn user_data_holds_the_host_key_the_admin_and_nothing_else() {
    let world = world().await;
    world.go(&world.server_playbook(), Goal::Apply).await;
    let exchanges = world.served("hetzner").exchanges();
    let made = exchanges.iter().find(|e| e.request.method == "POST" && e.request.path == "/servers").unwrap();
    let body: Value = serde_json::from_slice(&made.request.body).unwrap();
    let text = body["user_data"].as_str().unwrap().strip_prefix("#cloud-config\n").unwrap();
    let config: Value = serde_json::from_str(text).unwrap();
    let mut keys: Vec<&str> = config.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["disable_root", "ssh_deletekeys", "ssh_genkeytypes", "ssh_keys", "ssh_pwauth", "users"]);
    // The label says which host key the first connection must meet.
    let public = config["ssh_keys"]["ed25519_public"].as_str().unwrap();
    let digest = ssh_key::PublicKey::from_openssh(public).unwrap().fingerprint(ssh_key::HashAlg::Sha256);
    let label = body["labels"]["landfall-host-key"].as_str().unwrap();
    assert_eq!(data_encoding::BASE32_NOPAD.decode(label.as_bytes()).unwrap(), digest.as_bytes());
    assert!(label.len() <= 63 && label.chars().all(|c| c.is_ascii_alphanumeric()), "within every cloud's label rules");
}

#[tokio::test]
async fn a_delete_that_fails_is_a_failure_and_the_next_one_finishes() {
    let world = world().await;
    world.go(&world.server_playbook(), Goal::Apply).await;
    let protected = Trouble::Refuse(423, "protected", vec![]);
    world.served("hetzner").faults.add(Fault { at: "DELETE /servers", nth: 1, trouble: protected });
    let went = world.go(&world.server_playbook(), Goal::Destroy).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("protection"), "{}", went.failure());
    assert!(went.exists().contains(&"hetzner/server/web".to_owned()), "{:?}", went.exists());
    assert_complete(&world);
    // The answer to a delete may get lost: asking again is safe, and gone is gone.
    world.served("hetzner").faults.add(Fault { at: "DELETE /servers", nth: 1, trouble: Trouble::CutAfter });
    let went = world.go(&world.server_playbook(), Goal::Destroy).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(holds(&world), Vec::<String>::new());
    assert_eq!(
        world.go(&world.server_playbook(), Goal::Destroy).await.outcome.code,
        0,
        "nothing left is nothing to do"
    );
}

#[tokio::test]
async fn the_bill_is_for_the_place_chosen_and_names_every_part() {
    let world = world().await;
    let lines = |went: &Went| -> Vec<(String, String)> {
        let planned = serde_json::to_value(&went.events).unwrap();
        let event = planned.as_array().unwrap().iter().find(|e| e["event"]["type"] == "planned").unwrap().clone();
        let bill = event["event"]["bill"].as_array().unwrap().clone();
        bill.iter()
            .map(|l| (l["what"].as_str().unwrap().to_owned(), l["monthly"].as_str().unwrap().to_owned()))
            .collect()
    };
    let playbook = world.server_playbook().replace("\"cx23\"", "\"cpx22\"\nbackups = true\nvolume_gb = 100");
    let europe = lines(&world.go(&playbook, Goal::Plan).await);
    let expected = [
        ("server web: cpx22 in fsn1, 20 TB of traffic included, then 1.00 EUR a TB", "19.49"),
        ("backups of web: 20 % of it", "3.90"),
        ("address web-ipv4", "0.50"),
        ("volume web: 100 GB", "5.72"),
    ];
    for (what, monthly) in expected {
        assert!(europe.contains(&(what.to_owned(), monthly.to_owned())), "{what}: {europe:?}");
    }
    let asia = lines(&world.go(&playbook.replace("fsn1", "sin"), Goal::Plan).await);
    assert!(
        asia.contains(&(
            "server web: cpx22 in sin, 20 TB of traffic included, then 1.00 EUR a TB".to_owned(),
            "27.29".to_owned()
        )),
        "{asia:?}"
    );
    // `check` prints what all of it costs, too.
    world.go(&world.server_playbook(), Goal::Apply).await;
    let mine = lines(&world.go(&world.server_playbook(), Goal::Destroy).await);
    assert!(mine.is_empty(), "what goes costs nothing more");
}
