use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use landfall::doors::ssh::Patience;
use landfall::engine::Goal;
use landfall::rehearsal::faults::{Fault, Trouble};
use landfall::rehearsal::machines::{Birth, LocalHosts, Machines};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};

use crate::bare::{hosts_are_asked_for, open_hosts};
use crate::binary::landfall;
use crate::world::World;

/// Machines whose every server comes up with another host key than it was handed: somebody answers in its place.
struct Impostors(Arc<LocalHosts>);

#[async_trait]
impl Machines for Impostors {
    fn address(&self, number: u8) -> String {
        self.0.address(number)
    }

    async fn bear(&self, mut birth: Birth) -> Result<(), String> {
        let key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
        let text = birth.user_data.strip_prefix("#cloud-config\n").unwrap();
        let mut config: serde_json::Value = serde_json::from_str(text).unwrap();
        config["ssh_keys"]["ed25519_private"] = key.to_openssh(LineEnding::LF).unwrap().to_string().into();
        config["ssh_keys"]["ed25519_public"] = key.public_key().to_openssh().unwrap().into();
        birth.user_data = format!("#cloud-config\n{config:#}\n");
        self.0.bear(birth).await
    }

    async fn switch(&self, id: i64, verb: &str) -> Result<(), String> {
        self.0.switch(id, verb).await
    }

    async fn bury(&self, id: i64) -> Result<(), String> {
        self.0.bury(id).await
    }
}

/// Machines that note the host key each server was handed.
struct Notary(Arc<LocalHosts>, Mutex<Vec<String>>);

#[async_trait]
impl Machines for Notary {
    fn address(&self, number: u8) -> String {
        self.0.address(number)
    }

    async fn bear(&self, birth: Birth) -> Result<(), String> {
        let config: serde_json::Value =
            serde_json::from_str(birth.user_data.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        let handed = config["ssh_keys"]["ed25519_private"].as_str().unwrap();
        let key = PrivateKey::from_openssh(handed).unwrap();
        self.1.lock().unwrap().push(key.fingerprint(HashAlg::Sha256).to_string());
        self.0.bear(birth).await
    }

    async fn switch(&self, id: i64, verb: &str) -> Result<(), String> {
        self.0.switch(id, verb).await
    }

    async fn bury(&self, id: i64) -> Result<(), String> {
        self.0.bury(id).await
    }
}

async fn world(machines: Arc<dyn Machines>) -> World {
    let mut world = World::with(Some(machines)).await;
    world.patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
    world
}

const USED: &str = "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_refused_before_anything_is_sent() {
    if !hosts_are_asked_for() {
        return;
    }
    // Swapped during the first boot.
    let hosts = open_hosts(vec![]).await;
    let swapped = world(Arc::new(Impostors(hosts.clone()))).await;
    let playbook = playbook_of(&swapped);
    let went = swapped.go(&playbook, Goal::Apply).await;
    assert_eq!(went.outcome.code, 4, "{}", went.failure());
    assert!(went.failure().contains("is not the one it should be"), "{}", went.failure());
    let id = swapped.api.server_id("acme-web").unwrap();
    let heard = hosts.at_the_console(id, "journalctl --no-pager --unit ssh").await.unwrap();
    assert!(!heard.contains("publickey") && !heard.contains("user deploy"), "nobody tried to log in: {heard}");
    assert_eq!(hosts.close().await, Vec::<String>::new());

    // Swapped between two runs; and the user's own known_hosts, full of rubbish, changes nothing.
    let hosts = open_hosts(vec![]).await;
    let world = world(hosts.clone()).await;
    assert_eq!(world.go(&playbook_of(&world), Goal::Apply).await.outcome.code, 0);
    let id = world.api.server_id("acme-web").unwrap();
    let beside = world.folder.path();
    std::fs::create_dir_all(beside.join(".ssh")).unwrap();
    std::fs::write(beside.join(".ssh/known_hosts"), b"rubbish \xff\xfe @cert-authority\n|1|x\n").unwrap();
    std::fs::write(beside.join("p.toml"), playbook_of(&world)).unwrap();
    let run = |arguments: &[&str]| {
        let output = landfall(beside)
            .args(arguments)
            .env("LANDFALL_HETZNER_URL", &world.served("hetzner").url)
            .env("HCLOUD_TOKEN", world.api.token())
            .env("LANDFALL_SSH_KEY", beside.join("key"))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&["ssh", "p.toml", "--", "sudo", "id", "-un"]);
    assert_eq!((code, out.as_str()), (Some(0), "root\n"), "{err}");
    assert_eq!(run(&["ssh", "p.toml", "web", "--", "exit", "7"]).0, Some(7), "the exit code is the command's");
    let (code, _, err) = run(&["ssh", "p.toml", "wbe"]);
    assert!(code == Some(2) && err.contains("there is no server `wbe`") && err.contains("there are: web"), "{err}");

    let swap = "cd /etc/ssh && rm ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && systemctl restart ssh";
    hosts.at_the_console(id, swap).await.unwrap();
    let went = world.go(&playbook_of(&world), Goal::Check).await;
    assert_eq!(went.outcome.code, 4, "{}", went.failure());
    assert!(went.failure().contains("nothing was sent to it"), "{}", went.failure());
    let (code, out, err) = run(&["ssh", "p.toml", "--", "id"]);
    assert!(code == Some(4) && out.is_empty() && err.contains("is not the one it should be"), "{err}");

    // Made anew on purpose, it is known again by its label.
    let mut world = world;
    world.losing_data = true;
    let request = |method: &str, path: String| landfall::rehearsal::serve::Request {
        method: method.into(),
        path,
        query: vec![],
        token: Some(world.api.token().into()),
        body: vec![],
    };
    use landfall::rehearsal::serve::Simulator as _;
    world.api.answer(request("DELETE", format!("/servers/{id}"))).await;
    while world.api.server_id("acme-web").is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let went = world.go(&playbook_of(&world), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(hosts.close().await, Vec::<String>::new());
}

fn playbook_of(world: &World) -> String {
    world.server_playbook()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_a_server_was_handed_gives_way_to_one_born_on_it_through_every_interruption() {
    if !hosts_are_asked_for() {
        return;
    }
    let interrupted = async |nth: Option<usize>, trouble: Trouble| {
        let hosts = open_hosts(vec![]).await;
        let notary = Arc::new(Notary(hosts.clone(), Mutex::default()));
        let world = world(notary.clone()).await;
        if let Some(nth) = nth {
            world.served("hetzner").faults.add(Fault { at: "PUT /servers", nth, trouble });
        }
        let playbook = world.server_playbook();
        let went = world.go(&playbook, Goal::Apply).await;
        if nth.is_none() {
            assert_eq!(went.outcome.code, 0, "{}", went.failure());
        } else if went.outcome.code != 0 {
            let next = world.go(&playbook, Goal::Apply).await;
            assert_eq!(next.outcome.code, 0, "{}", next.failure());
        }
        let last = world.go(&playbook, Goal::Apply).await;
        assert_eq!((last.outcome.code, last.plan()), (0, vec![]), "{}", last.failure());
        let id = world.api.server_id("acme-web").unwrap();
        let used = hosts.at_the_console(id, USED).await.unwrap().trim().to_owned();
        let handed = notary.1.lock().unwrap().clone();
        assert!(used.starts_with("SHA256:") && !handed.contains(&used), "{used} was never handed over: {handed:?}");
        assert_eq!(hosts.close().await, Vec::<String>::new());
    };
    tokio::join!(
        interrupted(None, Trouble::CutBefore),
        interrupted(Some(1), Trouble::CutBefore),
        interrupted(Some(1), Trouble::CutAfter),
        interrupted(Some(2), Trouble::CutBefore),
        interrupted(Some(2), Trouble::Refuse(403, "forbidden", vec![])),
    );
}
