use landfall::rehearsal::serve::Simulator as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use landfall::doors::ssh::Patience;
use landfall::engine::Goal;
use landfall::model::system::System;
use landfall::rehearsal::machines::{Birth, LocalHosts, Machines, StandIn};
use tokio::net::TcpStream;

use crate::bare::{Bare, hosts_are_asked_for, open_hosts};
use crate::binary::landfall;
use crate::world::{World, told};

/// ssh-audit's own words on the host at `address`. `tests/lab/setup.sh` installs it; without it, the test fails.
fn ssh_audit(address: &str, arguments: &[&str]) -> (bool, String) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/judges/bin/ssh-audit");
    let ran = Command::new(program).args(["--skip-rate-test", "--no-colors"]).args(arguments).arg(address).output();
    let ran = ran.expect("ssh-audit: run `make setup`");
    (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr))
}

/// The newest of ssh-audit's own policies for a release.
fn newest_policy(release: &str) -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/judges/bin/ssh-audit");
    let listed = Command::new(program).args(["--no-colors", "--list-policies"]).output().expect("ssh-audit");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let named = listed.lines().filter_map(|line| line.split('"').nth(1)).filter(|name| name.starts_with(release));
    named.max().unwrap_or_else(|| panic!("no policy for {release} in:\n{listed}")).to_owned()
}

fn assert_policy_passes(address: &str, release: &str) {
    let policy = newest_policy(release);
    let (passed, said) = ssh_audit(address, &["--policy", &policy]);
    assert!(passed && said.contains("Passed"), "{policy}:\n{said}");
}

/// How many of ssh-audit's remarks are failures and warnings; and how many things it looked at.
fn remarks(address: &str) -> (usize, usize, usize) {
    let (_, said) = ssh_audit(address, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let lists = ["kex", "key", "enc", "mac"];
    let entries: Vec<&serde_json::Value> = lists.iter().flat_map(|list| report[*list].as_array().unwrap()).collect();
    let count = |kind: &str| entries.iter().filter_map(|e| e["notes"][kind].as_array()).map(Vec::len).sum();
    (count("fail"), count("warn"), entries.len())
}

/// Lynis' hardening index of a host, and how many tests it made.
async fn lynis(machines: &LocalHosts, id: i64) -> (u32, u32) {
    let install =
        "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends lynis";
    let audit = "lynis audit system --cronjob --quiet --logfile /dev/null --report-file /run/lynis.dat </dev/null";
    let script = format!(
        "{{ {install} && {audit}; }} >/run/lynis.log 2>&1; grep -E '^(hardening_index|lynis_tests_done)=' /run/lynis.dat"
    );
    let said = machines.at_the_console(id, &script).await.expect("Lynis");
    let values: BTreeMap<&str, u32> =
        said.lines().filter_map(|line| line.split_once('=')).map(|(key, n)| (key, n.parse().unwrap())).collect();
    (values["hardening_index"], values["lynis_tests_done"])
}

/// Which of `ports` of `address` let anybody in.
async fn scan(address: &str, ports: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut open = Vec::new();
    let ports: Vec<u16> = ports.collect();
    for batch in ports.chunks(500) {
        let tries = batch.iter().map(|port| {
            let at: SocketAddr = format!("{address}:{port}").parse().unwrap();
            let port = *port;
            tokio::spawn(async move {
                let tried = tokio::time::timeout(Duration::from_millis(400), TcpStream::connect(at)).await;
                matches!(tried, Ok(Ok(_))).then_some(port)
            })
        });
        for tried in tries.collect::<Vec<_>>() {
            open.extend(tried.await.unwrap());
        }
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_server_with_everything_on_it_satisfies_them_and_shows_no_other_port() {
    if !hosts_are_asked_for() {
        return;
    }
    let stand_in = |image: &str, port| StandIn { image: image.into(), port, health: "/healthz".into() };
    let machines = open_hosts(vec![stand_in("registry.test/acme:1", 3000), stand_in("registry.test/db:1", 5432)]).await;
    let mut world = World::with(Some(machines.clone() as Arc<dyn Machines>)).await;
    world.patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
    let playbook = format!(
        "{}\n[[step]]\nuse = \"hardening\"\non = \"web\"\nprofile = \"strict\"\n\n[[step]]\nuse = \"firewall\"\non = \"web\"\n\n\
         [[step]]\nuse = \"docker\"\non = \"web\"\n\n[[step]]\nuse = \"app\"\non = \"web\"\nimage = \"registry.test/acme:1\"\n\
         port = 3000\nhost = \"app.test\"\nhealth = \"/healthz\"\n\n[[step]]\nuse = \"proxy\"\non = \"web\"\n",
        world.server_playbook()
    );
    // A fresh server beside it, to compare with, and a neighbour in the same network.
    let neighbour = Birth {
        id: 900,
        address: machines.address(200),
        host_name: "neighbour".into(),
        image: "debian-13".into(),
        user_data: "#cloud-config\n{}\n".into(),
        root_keys: vec![],
    };
    machines.bear(neighbour).await.expect("a neighbour");

    let applied = world.go(&playbook, Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    let again = world.go(&playbook, Goal::Apply).await;
    assert_eq!((again.outcome.code, again.plan()), (0, vec![]), "it still logs in, and nothing is left to do");

    let address = world.api.address_of("acme-web").unwrap();
    let id = world.api.server_id("acme-web").unwrap();
    let at_host = async |command: &str| {
        machines.at_the_console(id, command).await.unwrap_or_else(|why| panic!("{command}: {why}"))
    };
    let at_neighbour = async |command: &str| machines.at_the_console(900, command).await.unwrap_or_default();

    assert_policy_passes(&address, "Hardened Debian 13");
    let (fails, warns, judged) = remarks(&address);
    assert_eq!((fails, warns), (0, 0));
    assert_eq!(judged, 17, "five of kex, three of keys, six ciphers, three macs");

    // A container that publishes its port to the world, past the playbook.
    at_host("docker run --detach --name db --publish 0.0.0.0:5432:5432 registry.test/db:1").await;
    at_neighbour("cd /tmp && echo neighbour >index.html && nohup busybox httpd -f -p 8000 >/dev/null 2>&1 &").await;
    let container = at_host("docker inspect --format '{{.NetworkSettings.IPAddress}}' db").await.trim().to_owned();
    at_neighbour(&format!("ip route add {container} via {address}")).await;
    let (open, fresh) = tokio::join!(scan(&address, 1..=u16::MAX), lynis(&machines, 900));
    assert_eq!(open, [22, 80, 443]);
    let usual = [21, 22, 25, 80, 443, 2019, 2375, 3000, 5432, 6379, 8080, 9999];
    for disturbance in
        [":", "systemctl restart docker && sleep 1 && docker start db", "systemctl reload landfall-firewall"]
    {
        at_host(disturbance).await;
        assert_eq!(scan(&address, usual.into_iter()).await, [22, 80, 443], "after `{disturbance}`");
        let straight = at_neighbour(&format!("curl --silent --max-time 2 http://{container}:5432/ || echo shut")).await;
        assert_eq!(straight.trim(), "shut", "straight at the container, after `{disturbance}`");
        let neighbour = machines.address(200);
        let out =
            at_host(&format!("docker run --rm registry.test/db:1 wget -q -T 5 -O - http://{neighbour}:8000/")).await;
        assert_eq!(out.trim(), "neighbour", "containers reach out, after `{disturbance}`");
    }
    // Without our table, the same probes succeed: they would have noticed.
    at_host("nft delete table inet landfall").await;
    assert!(scan(&address, usual.into_iter()).await.contains(&5432));
    let check = world.go(&playbook, Goal::Check).await;
    assert_eq!(check.plan(), ["update host/web/nftables/landfall"], "a firewall that is gone is drift");
    assert_eq!(world.go(&playbook, Goal::Apply).await.outcome.code, 0);
    at_host("docker rm --force db").await;

    // A log that grows over its limit is rotated, and the site stays up.
    at_host("truncate -s 10485700 /var/log/caddy/app.log && systemctl restart caddy").await;
    for _ in 0..5 {
        at_host(
            "curl -sk --resolve app.test:443:127.0.0.1 --retry 5 --retry-connrefused -o /dev/null https://app.test/",
        )
        .await;
    }
    assert!(at_host("ls /var/log/caddy").await.contains("app-"), "an old log stands beside the new one");
    assert_eq!(
        at_host("systemctl is-active caddy; systemctl show --value --property NRestarts caddy").await,
        "active\n0\n"
    );

    // Caddy's unit, as systemd itself judges it: from 0, safe, to 10, unsafe.
    let exposure =
        at_host("systemd-analyze security --no-pager caddy.service | tail -n 1 | grep -oE '[0-9]+[.][0-9]+'").await;
    assert!(exposure.trim().parse::<f64>().unwrap() <= 2.0, "{exposure}");
    let limits = at_host("docker inspect --format '{{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' acme_app-app-1").await;
    assert_eq!(limits.trim(), "[ALL] [no-new-privileges:true] 1073741824 512");
    // Four versions of the app ran here: the last three stay when what is no longer needed goes.
    at_host(
        "for n in 1 2 3; do docker image inspect registry.test/acme:1 >/dev/null; echo $n >/tmp/n; \
         tar -C /tmp -cf /tmp/n.tar n; docker import /tmp/n.tar old:$n; done >/dev/null; file=/var/lib/landfall/images/acme_app; \
         now=$(cat $file); for n in 1 2 3; do docker image inspect --format 'app {{.Id}}' old:$n; done >$file; echo \"$now\" >>$file; \
         systemctl start landfall-prune",
    )
    .await;
    let kept = at_host("docker image ls --format '{{.Repository}}:{{.Tag}}' | sort").await;
    assert_eq!(kept.split_whitespace().filter(|name| name.starts_with("old:")).collect::<Vec<_>>(), ["old:2", "old:3"]);
    assert!(kept.contains("registry.test/db:1"), "what is not an app's is left alone: {kept}");

    // All of it outlives a restart, and nothing has failed.
    machines.switch(id, "reboot").await.unwrap();
    let mut check = world.go(&playbook, Goal::Check).await;
    // The app's container may still be on its way up.
    for _ in 0..20 {
        if check.outcome.code == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        check = world.go(&playbook, Goal::Check).await;
    }
    assert_eq!(check.outcome.code, 0, "{:?} {}", check.plan(), check.failure());
    assert_eq!(at_host("systemctl is-system-running --wait").await.trim(), "running");
    assert_eq!(scan(&address, usual.into_iter()).await, [22, 80, 443], "after a restart");
    let (index, tests) = lynis(&machines, id).await;
    // The same through the program, twice: the second time it stands beside the first.
    let beside = world.folder.path();
    std::fs::write(beside.join("p.toml"), &playbook).unwrap();
    let judges = format!("{}/target/judges/bin:{}", env!("CARGO_MANIFEST_DIR"), std::env::var("PATH").unwrap());
    let audit = || {
        let output = landfall(beside)
            .args(["audit", "p.toml"])
            .env("LANDFALL_HETZNER_URL", &world.served("hetzner").url)
            .env("HCLOUD_TOKEN", world.api.token())
            .env("LANDFALL_SSH_KEY", beside.join("key"))
            .env("PATH", &judges)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (first, second) = (audit(), audit());
    assert!(first.contains("0 failures, 0 warnings") && first.contains(&format!("{index} of 100")), "{first}");
    assert!(!first.contains("before") && second.matches("as before").count() == 2, "{second}");
    told(&format!("Lynis: {} fresh ({} tests), {index} strict ({tests} tests)", fresh.0, fresh.1));
    assert!(index >= 85 && index >= fresh.0 + 25, "Lynis: {} fresh, {index} strict", fresh.0);
    assert!(tests >= fresh.1 && tests >= 250, "no test was left out: {tests} of {}", fresh.1);

    // Measures that are switched off go, and those that stay are not touched.
    let fewer = playbook.replace(
        "profile = \"strict\"",
        "profile = \"strict\"\nmeasures = { idle-sessions = false, file-integrity = false, modules = false }",
    );
    let went = world.go(&fewer, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(
        went.plan().iter().filter(|change| change.starts_with("delete ")).count(),
        6,
        "a shell's file, a list of modules, and AIDE's three files and its timer: {:?}",
        went.plan()
    );
    let left = at_host("ls /etc/profile.d/landfall-idle.sh /etc/modprobe.d/landfall.conf /etc/systemd/system/landfall-aide.timer 2>&1 || :").await;
    assert_eq!(left.matches("No such file").count(), 3, "{left}");
    assert_eq!(world.go(&fewer, Goal::Apply).await.plan(), Vec::<String>::new());
    assert_eq!(world.go(&playbook, Goal::Apply).await.outcome.code, 0, "and on again");

    // Somebody flushes every rule there is: ours and Docker's are both put back. (The rules by which a local host
    // itself finds names are not, so this comes last.)
    at_host("nft flush ruleset").await;
    let mended = world.go(&playbook, Goal::Apply).await;
    assert_eq!(mended.outcome.code, 0, "{}", mended.failure());
    assert!(at_host("nft list ruleset").await.contains("chain DOCKER"));
    assert_eq!(machines.close().await, Vec::<String>::new());
}

/// A playbook that hardens a host which was there before.
fn existing(host: &Bare, system: System, profile: &str) -> String {
    format!(
        "schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"server\"\nid = \"web\"\nprovider = \"existing\"\nimage = \"{}\"\n\
         address = \"{}\"\nuser = \"{}\"\nhost_key = \"{}\"\nkeys = [\"{}\"]\n\n[[step]]\nuse = \"hardening\"\non = \"web\"\n\
         profile = \"{profile}\"\n\n[[step]]\nuse = \"firewall\"\non = \"web\"\n",
        system.as_str(),
        host.at.address,
        host.at.user,
        host.at.host_key,
        host.world.public_key(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_debian_12_and_ubuntu_satisfy_ssh_audit_and_open_scap() {
    if !hosts_are_asked_for() {
        return;
    }
    let judge = async |system: System, release: &str| {
        let host = Bare::boot_as(system, "deploy", serde_json::json!({})).await;
        let playbook = existing(&host, system, "strict");
        let applied = host.world.go(&playbook, Goal::Apply).await;
        assert_eq!(applied.outcome.code, 0, "{release}: {}", applied.failure());
        let again = host.world.go(&playbook, Goal::Apply).await;
        assert_eq!((again.outcome.code, again.plan()), (0, vec![]), "{release}: {}", again.failure());
        let address = host.at.address.to_string();
        assert_policy_passes(&address, release);
        let (fails, _, judged) = remarks(&address);
        assert_eq!(fails, 0, "{release}");
        assert!(judged >= 20, "{release}: {judged}");
        host
    };
    let (debian, ubuntu) = tokio::join!(
        judge(System::Debian12, "Hardened Debian 12"),
        judge(System::Ubuntu2404, "Hardened Ubuntu Server 24.04 LTS")
    );
    ubuntu.close().await;
    let (score, evaluated, failed) = open_scap(&debian).await;
    told(&format!(
        "OpenSCAP, ANSSI intermediary, Debian 12: {score:.1} of 100 over {evaluated} rules, {} failed",
        failed.len()
    ));
    assert!(score >= 80.0 && evaluated >= 165, "{score} over {evaluated} rules");
    let unexplained: Vec<&String> =
        failed.iter().filter(|rule| !exceptions().iter().any(|e| matches(e, rule))).collect();
    assert!(unexplained.is_empty(), "docs/security.md does not say why these fail: {unexplained:#?}");
    debian.close().await;
}

/// The rules that fail on purpose, from the table in docs/security.md; `*` stands for anything.
fn exceptions() -> Vec<String> {
    let text = std::fs::read_to_string("docs/security.md").unwrap();
    let table = text.split("| rule | why it fails |").nth(1).unwrap().split("\n\n").next().unwrap();
    let cells = table.lines().filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split(',')).map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()).collect()
}

fn matches(pattern: &str, rule: &str) -> bool {
    let mut rest = rule;
    let mut parts = pattern.split('*');
    let Some(after) = rest.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    rest = after;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || pattern.ends_with('*')
}

/// The score of ANSSI's intermediary profile on a Debian 12 host, how many rules were evaluated, and which failed.
///
/// A container cannot listen to the kernel's audit, so a local host does not start the daemon. To have it run as it
/// would on a server, it is started here all the same and told not to listen; that part of the score is modelled.
async fn open_scap(host: &Bare) -> (f64, usize, Vec<String>) {
    host.console(
        "rm -rf /etc/systemd/system/auditd.service.d && systemctl daemon-reload && \
         sed -i 's/^local_events = yes/local_events = no/' /etc/audit/auditd.conf && systemctl start auditd && \
         apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends \
         openscap-scanner linux-base >/dev/null && rm -f /var/cache/apt/*.bin && apt-get -qq update && cd /root && \
         mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1) && \
         curl --silent --fail --remote-name \"${mirror}pool/main/s/scap-security-guide/ssg-debian_0.1.76-1_all.deb\" && \
         dpkg-deb -x ssg-debian_0.1.76-1_all.deb ssg",
    )
    .await;
    let said = host
        .console(
            "cd /root; oscap xccdf eval --profile xccdf_org.ssgproject.content_profile_anssi_bp28_intermediary --results \
             results.xml ssg/usr/share/xml/scap/ssg/content/ssg-debian12-ds.xml >out 2>err; \
             grep -oE '<score [^>]*>[0-9.]+' results.xml | grep -oE '[0-9.]+$'; grep -cE '^Result[[:space:]]+(pass|fail)$' out",
        )
        .await;
    let numbers: Vec<&str> = said.lines().collect();
    let told = host.console("grep -E '^(Rule|Result)[[:space:]]' /root/out").await;
    let mut failed = Vec::new();
    let mut rule = "";
    for line in told.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["Rule", id] => rule = id.trim_start_matches("xccdf_org.ssgproject.content_rule_"),
            ["Result", "fail"] => failed.push(rule.to_owned()),
            _ => {}
        }
    }
    assert!(!failed.is_empty(), "no server passes all: the report was not read");
    (numbers[0].parse().unwrap(), numbers[1].parse().unwrap(), failed)
}
