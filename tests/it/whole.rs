use landfall::rehearsal::serve::Simulator as _;
use std::sync::Arc;
use std::time::Duration;

use landfall::doors::ssh::Patience;
use landfall::engine::Goal;
use landfall::model::system::System;
use landfall::rehearsal::machines::{LocalHosts, Machines, StandIn};

use crate::bare::{engine_with_base_image, hosts_are_asked_for, open_hosts};
use crate::binary::landfall;
use crate::world::World;

/// A server with everything on it, at the simulated cloud.
fn full_playbook(world: &World) -> String {
    let server = world.server_playbook();
    format!(
        "{server}\n[[step]]\nuse = \"docker\"\non = \"web\"\n\n[[step]]\nuse = \"app\"\non = \"web\"\nimage = \"registry.test/acme:1\"\n\
         port = 3000\nhost = \"app.test\"\nhealth = \"/healthz\"\n\n[step.env]\nAT = {{ output = \"web.ipv4\" }}\n\
         KEY = {{ secret = \"session\", generate = 32 }}\nPASS = {{ secret = \"pass\" }}\n\n[[step]]\nuse = \"app\"\nid = \"stack\"\n\
         on = \"web\"\ncompose = \"compose.yaml\"\nservice = \"web\"\nport = 8080\nlisten = 8081\nhost = \"stack.test\"\nhealth = \"/\"\n\n\
         [[step]]\nuse = \"app\"\nid = \"pages\"\non = \"web\"\nstatic = \"site\"\nhost = \"pages.test\"\n\n\
         [[step]]\nuse = \"proxy\"\non = \"web\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_site_and_back_through_bad_luck() {
    if !hosts_are_asked_for() {
        return;
    }
    let stand_in = |image: &str, port| StandIn { image: image.into(), port, health: "/healthz".into() };
    let machines =
        open_hosts(vec![stand_in("registry.test/acme:1", 3000), stand_in("registry.test/stack:1", 8080)]).await;
    let mut world = World::with(Some(machines.clone() as Arc<dyn Machines>)).await;
    world.patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
    let canary = "Can4ry$with'quotes\"";
    world.secrets.0.lock().unwrap().insert("pass".into(), canary.into());
    let beside = world.folder.path().join("beside");
    std::fs::create_dir_all(beside.join("site")).unwrap();
    std::fs::write(beside.join("site/index.html"), "pages of acme\n").unwrap();
    let compose = "services:\n  web:\n    image: registry.test/stack:1\n    ports: [\"8080:8080\"]\n  side:\n    image: registry.test/stack:1\n";
    std::fs::write(beside.join("compose.yaml"), compose).unwrap();
    let playbook = full_playbook(&world);

    let applied = world.go_in(&beside, &playbook, Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    let again = world.go_in(&beside, &playbook, Goal::Apply).await;
    assert_eq!((again.outcome.code, again.plan()), (0, vec![]), "the second apply has nothing to do");
    let everything = serde_json::to_string(&[&applied.events, &again.events]).unwrap();
    assert!(!everything.contains("Can4ry"), "a secret's value is in no event");

    // What visitors and neighbours see.
    let id = server_id(&machines).await;
    let console = async |command: &str| {
        machines.at_the_console(id, command).await.unwrap_or_else(|why| panic!("{command}: {why}"))
    };
    for (host, text) in [
        ("app.test", "stand-in for registry.test/acme:1"),
        ("stack.test", "stand-in for registry.test/stack:1"),
        ("pages.test", "pages of acme"),
    ] {
        let page = console(&format!("curl -sk --resolve {host}:443:127.0.0.1 https://{host}/")).await;
        assert!(page.contains(text), "{host}: {page}");
    }
    let listening = console("ss -Hltn").await;
    let public: Vec<&str> = listening
        .lines()
        .filter(|l| !l.contains("127.0.0.1:") && !l.contains("127.0.0.11:") && !l.contains("[::1]:"))
        .collect();
    assert!(public.iter().all(|line| [":22 ", ":80 ", ":443 "].iter().any(|port| line.contains(port))), "{listening}");
    let inside = console("docker exec acme_app-app-1 env").await;
    assert!(inside.contains(&format!("PASS={canary}\n")), "the secret arrives as it was typed: {inside}");
    assert!(inside.lines().any(|line| line.starts_with("KEY=") && line.len() == 36), "{inside}");

    // By hand, behind its back: `check` names it and shows it; `apply` mends it.
    console("sed -i 's/nosniff/sniff/' /etc/caddy/Caddyfile; systemctl reload caddy; docker rm -f acme_stack-side-1; rm /srv/landfall/acme/pages/site/index.html").await;
    let check = world.go_in(&beside, &playbook, Goal::Check).await;
    assert_eq!(check.outcome.code, 3, "{}", check.failure());
    let mut names = check.plan();
    names.sort();
    assert_eq!(
        names,
        [
            "update host/web/compose/acme_stack",
            "update host/web/directory/srv/landfall/acme/pages/site",
            "update host/web/file/etc/caddy/Caddyfile",
            "update host/web/service/caddy.service",
        ]
    );
    assert!(
        serde_json::to_string(&check.events).unwrap().contains("X-Content-Type-Options sniff"),
        "the difference is shown"
    );
    let mended = world.go_in(&beside, &playbook, Goal::Apply).await;
    assert_eq!(mended.outcome.code, 0, "{}", mended.failure());
    assert!(console("curl -skI --resolve app.test:443:127.0.0.1 https://app.test/").await.contains("nosniff"));
    assert_eq!(world.go_in(&beside, &playbook, Goal::Check).await.outcome.code, 0);

    // A changed playbook is taken up in one go: file, containers, proxy.
    let changed = playbook.replace("[step.env]\n", "[step.env]\nNEW = \"one\"\n").replace("pages.test", "leaves.test");
    let applied = world.go_in(&beside, &changed, Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    assert_eq!(world.go_in(&beside, &changed, Goal::Check).await.outcome.code, 0, "nothing was left for a second run");
    assert!(console("docker exec acme_app-app-1 env").await.contains("NEW=one"));
    let page = console("curl -sk --resolve leaves.test:443:127.0.0.1 https://leaves.test/").await;
    assert!(page.contains("pages of acme"), "{page}");
    // What the playbook no longer says may have been a secret: the old file is not shown.
    let plain = changed.replace("PASS = { secret = \"pass\" }\n", "");
    let plan = world.go_in(&beside, &plain, Goal::Plan).await;
    assert!(!serde_json::to_string(&plan.events).unwrap().contains("Can4ry"));
    assert_eq!(world.go_in(&beside, &playbook, Goal::Apply).await.outcome.code, 0);

    // A step that is taken out leaves what it made: listed, not forgotten. A paused container is woken.
    let start = playbook.find("[[step]]\nuse = \"app\"\nid = \"pages\"").unwrap();
    let end = start + playbook[start..].find("[[step]]\nuse = \"proxy\"").unwrap();
    let fewer = format!("{}{}", &playbook[..start], &playbook[end..]);
    let plan = world.go_in(&beside, &fewer, Goal::Plan).await;
    let text = serde_json::to_string(&plan.events).unwrap();
    assert!(text.contains("\"orphans\":[\"host/web/directory/srv/landfall/acme/pages/site\"]"), "{text}");
    console("docker pause acme_app-app-1; systemctl disable --now caddy; systemctl mask caddy").await;
    let mended = world.go_in(&beside, &playbook, Goal::Apply).await;
    assert_eq!(mended.outcome.code, 0, "{}", mended.failure());

    // No state, another folder: nothing to do.
    std::fs::remove_dir_all(world.state()).unwrap();
    let elsewhere = world.folder.path().join("elsewhere");
    std::fs::rename(&beside, &elsewhere).unwrap();
    let again = world.go_in(&elsewhere, &playbook, Goal::Apply).await;
    assert_eq!((again.outcome.code, again.plan()), (0, vec![]));

    // The server is off, then gone: `check` names it, `apply` brings it back.
    let endpoint = Api { world: &world };
    endpoint.post(&format!("/servers/{id}/actions/poweroff")).await;
    let check = world.go_in(&elsewhere, &playbook, Goal::Check).await;
    assert!(check.outcome.code == 3 && check.failure().contains("hetzner/server/web"), "{}", check.failure());
    let back = world.go_in(&elsewhere, &playbook, Goal::Apply).await;
    assert_eq!(back.outcome.code, 0, "{}", back.failure());
    endpoint.delete(&format!("/servers/{id}")).await;
    let check = world.go_in(&elsewhere, &playbook, Goal::Check).await;
    assert!(check.outcome.code == 3 && check.failure().contains("hetzner/server/web"), "{}", check.failure());
    let back = world.go_in(&elsewhere, &playbook, Goal::Apply).await;
    assert_eq!(back.outcome.code, 0, "{}", back.failure());
    assert_eq!(world.go_in(&elsewhere, &playbook, Goal::Check).await.outcome.code, 0);

    let gone = world.go_in(&elsewhere, &playbook, Goal::Destroy).await;
    assert_eq!(gone.outcome.code, 0, "{}", gone.failure());
    assert_eq!(world.api.holds(), Vec::<String>::new());
    let left: Vec<String> = machines.left().await.into_iter().filter(|name| !name.starts_with("network ")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(machines.close().await, Vec::<String>::new());
}

/// Rehearses `playbook` with the program itself; gives the probes' names and whether they passed.
fn rehearse(playbook: &str) -> Vec<(String, bool)> {
    let folder = tempfile::tempdir().unwrap();
    let playbook = std::fs::canonicalize(playbook).unwrap();
    let output = landfall(folder.path()).args(["rehearse", "--stand-ins", "--json"]).arg(&playbook).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}\n{}", String::from_utf8_lossy(&output.stderr));
    let events = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("only JSON"));
    let probes = events.filter(|event| event["event"]["type"] == "probe");
    probes.map(|p| (p["event"]["what"].as_str().unwrap().to_owned(), p["event"]["passed"] == true)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_playbook_we_ship_is_rehearsed_from_beginning_to_end() {
    if !hosts_are_asked_for() {
        return;
    }
    engine_with_base_image(System::default()).await;
    for (playbook, pages) in [
        ("playbooks/solo-hetzner.toml", 1),
        ("playbooks/existing-server.toml", 2),
        ("playbooks/solo-digitalocean.toml", 1),
        ("playbooks/solo-full.toml", 1),
        ("playbooks/solo-neon.toml", 1),
    ] {
        let probes = rehearse(playbook);
        assert!(probes.iter().all(|(_, passed)| *passed), "{probes:?}");
        assert_eq!(probes.iter().filter(|(what, _)| what.starts_with("page https://")).count(), pages, "{probes:?}");
        for what in ["second apply", "check", "what the simulated clouds hold", "containers and volumes left"] {
            assert!(probes.iter().any(|(probe, _)| probe == what), "{what}: {probes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_playbook_goes_well_on_ubuntu() {
    if !hosts_are_asked_for() {
        return;
    }
    engine_with_base_image(System::Ubuntu2404).await;
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string("playbooks/solo-hetzner.toml").unwrap();
    let path = folder.path().join("ubuntu.toml");
    std::fs::write(&path, text.replace("\"debian-13\"", "\"ubuntu-24.04\"")).unwrap();
    let probes = rehearse(path.to_str().unwrap());
    assert!(probes.len() >= 6 && probes.iter().all(|(_, passed)| *passed), "{probes:?}");
}

/// The simulated cloud, as its console would use it.
struct Api<'a> {
    world: &'a World,
}

impl Api<'_> {
    async fn send(&self, method: &str, path: &str) {
        use landfall::rehearsal::serve::{Request, Simulator};
        let token = Some(self.world.api.token().to_owned());
        let request = Request { method: method.into(), path: path.into(), query: vec![], token, body: vec![] };
        let answer = self.world.api.answer(request).await;
        assert!(answer.status < 300, "{method} {path}: {:?}", answer.body);
        // Until what was begun is over, as a person would wait.
        let id = answer.body.unwrap_or_default()["action"]["id"].as_i64().unwrap();
        loop {
            let path = format!("/actions/{id}");
            let request = Request {
                method: "GET".into(),
                path,
                query: vec![],
                token: Some(self.world.api.token().into()),
                body: vec![],
            };
            let body = self.world.api.answer(request).await.body.unwrap_or_default();
            if body["action"]["status"] != "running" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn post(&self, path: &str) {
        self.send("POST", path).await;
    }

    async fn delete(&self, path: &str) {
        self.send("DELETE", path).await;
    }
}

/// The identifier of the only server there is.
async fn server_id(machines: &LocalHosts) -> i64 {
    let names = machines.left().await;
    let name = names.iter().find_map(|name| name.strip_prefix("container ")).expect("a host");
    name.rsplit('-').next().unwrap().parse().unwrap()
}
