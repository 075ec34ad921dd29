use std::fmt::Write as _;

use landfall::engine::Goal;
use landfall::model::event::What;
use landfall::model::failure::Kind;

use crate::bare::{Bare, hosts_are_asked_for};
use crate::world::Went;

/// A server that was there before, with these steps on it.
fn playbook(host: &Bare, steps: &[&str]) -> String {
    let mut text = format!(
        "schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"server\"\nid = \"web\"\nprovider = \"existing\"\naddress = \"{}\"\n\
         user = \"{}\"\nhost_key = \"{}\"\nkeys = [\"{}\"]\n",
        host.at.address,
        host.at.user,
        host.at.host_key,
        host.world.public_key(),
    );
    for step in steps {
        let (kind, answers) = step.split_once(' ').unwrap_or((step, ""));
        write!(text, "\n[[step]]\nuse = \"{kind}\"\non = \"web\"\n{answers}\n").unwrap();
    }
    text
}

const FIREWALL: &str = "firewall";
const DOCKER: &str = "docker";
const SITE: &str = "app id = \"site\"\nstatic = \"public\"\nhost = \"app.acme.test\"";
const PROXY: &str = "proxy tls = \"internal\"";

/// What a run says before anything is changed: notes, and what is in the way of what.
fn said(went: &Went) -> String {
    let mut text = String::new();
    for event in &went.events {
        match &event.event {
            What::Note { text: note } => writeln!(text, "note: {note}").unwrap(),
            What::Planned { changes, .. } => {
                for change in changes.iter().filter(|change| change.conflict.is_some()) {
                    writeln!(text, "! {}: {}", change.address, change.conflict.as_deref().unwrap()).unwrap();
                }
            }
            _ => {}
        }
    }
    text
}

/// Asserts that `went` names each of `wanted` and nothing of `unwanted`.
fn assert_said(went: &Went, wanted: &[&str], unwanted: &[&str]) {
    let said = said(went);
    for text in wanted {
        assert!(said.contains(text), "`{text}` is not in:\n{said}{}", went.failure());
    }
    for text in unwanted {
        assert!(!said.contains(text), "`{text}` is in:\n{said}");
    }
}

async fn install(host: &Bare, packages: &str) {
    let command = format!(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update && apt-get -qq -y --no-install-recommends install {packages} >/dev/null 2>&1; \
         dpkg-query --show --showformat='${{db:Status-Status}}\\n' {packages}"
    );
    let states = host.console(&command).await;
    assert!(states.lines().all(|state| state == "installed"), "{packages}: {states}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_plan_of_an_existing_server_names_firewalls_web_servers_and_ports_of_others() {
    if !hosts_are_asked_for() {
        return;
    }
    let mut host = Bare::boot("deploy", serde_json::json!({})).await;
    install(&host, "nginx-light ufw firewalld iptables").await;
    host.console("systemctl disable --now firewalld; systemctl enable --now nginx").await;
    let public = host.world.folder.path().join("public");
    std::fs::create_dir(&public).unwrap();
    std::fs::write(public.join("index.html"), "here\n").unwrap();
    let text = playbook(&host, &[FIREWALL, SITE, PROXY]);
    let plan = async |host: &Bare| host.world.go(&text, Goal::Plan).await;
    let before = host.console("nft list ruleset; cat /etc/nginx/nginx.conf | sha256sum").await;

    // nginx on the proxy's port, and a program on a port that the firewall will close.
    host.console("systemd-run --unit=shop.service --quiet python3 -m http.server 8080 && sleep 1").await;
    let went = plan(&host).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", went.failure());
    assert_said(
        &went,
        &[
            "! host/web/service/caddy.service: port 80 of the host is used by `nginx` (nginx.service)",
            "the firewall closes tcp/8080, which `python3` (shop.service) uses",
            "\"tcp/8080\" in `open`",
        ],
        &["tcp/22", "ufw", "port 443"],
    );
    let kept = playbook(&host, &["firewall open = [\"ssh\", \"http\", \"https\", \"tcp/8080\"]", SITE, PROXY]);
    assert_said(&host.world.go(&kept, Goal::Plan).await, &[], &["8080"]);
    assert_eq!(
        host.console("nft list ruleset; cat /etc/nginx/nginx.conf | sha256sum").await,
        before,
        "nothing was changed"
    );
    assert!(host.console("curl -s http://127.0.0.1/").await.contains("nginx"), "and nginx still serves");

    // ufw: in the way where it closes what visitors need, used where it lets them in.
    host.console("systemctl disable --now nginx; ufw allow 22/tcp; ufw --force enable").await;
    let went = plan(&host).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code());
    assert_said(
        &went,
        &[
            "! host/web/nftables/landfall: ufw is in force on the host and closes tcp/80, tcp/443",
            "`sudo ufw allow 80/tcp && sudo ufw allow 443/tcp`",
        ],
        &["nginx"],
    );
    host.console("ufw allow 80/tcp && ufw allow 443/tcp").await;
    let went = plan(&host).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_said(&went, &["ufw is in force on the host, too; it lets in what the playbook opens"], &["! "]);
    host.console("ufw --force disable").await;

    // firewalld, likewise.
    host.console("systemctl start firewalld").await;
    let went = plan(&host).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", said(&went));
    assert_said(
        &went,
        &["firewalld is in force on the host and closes tcp/80, tcp/443", "--add-port=80/tcp"],
        &["ufw"],
    );
    host.console(
        "firewall-cmd --quiet --permanent --add-service=http --add-service=https && firewall-cmd --quiet --reload",
    )
    .await;
    let went = plan(&host).await;
    assert_eq!(went.outcome.code, 0, "{}", said(&went));
    assert_said(&went, &["firewalld is in force on the host, too"], &["! "]);
    host.console("systemctl stop firewalld").await;

    // Tables and rules of somebody's own, of both kinds.
    install(&host, "nftables").await;
    host.console("nft add table inet mine; nft add chain inet mine in '{ type filter hook input priority 5; policy drop; }'; \
                  nft add rule inet mine in ct state established,related accept; nft add rule inet mine in tcp dport '{ 22, 80 }' accept")
        .await;
    assert_said(&plan(&host).await, &["table inet mine is in force on the host and closes tcp/443:"], &["ufw"]);
    host.console("nft delete table inet mine; iptables -A INPUT -p tcp --dport 443 -j REJECT").await;
    assert_said(&plan(&host).await, &["iptables is in force on the host and closes tcp/443:"], &["mine"]);
    host.console("iptables -F INPUT").await;

    // A Caddyfile of somebody's own is in the way until it is handed over; so is an account that sudo asks for a password.
    install(&host, "caddy").await;
    host.console("systemctl stop caddy; printf 'old.acme.test {\\n\\trespond \"old\"\\n}\\n' >/etc/caddy/Caddyfile")
        .await;
    let went = plan(&host).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code());
    let adopt = "host/web/file/etc/caddy/Caddyfile";
    assert_said(&went, &[&format!("! {adopt}:"), &format!("`--adopt {adopt}`")], &[]);
    host.console("mv /etc/sudoers.d/90-cloud-init-users /root/ && echo 'deploy ALL=(ALL) ALL' >/etc/sudoers.d/deploy")
        .await;
    let went = plan(&host).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code());
    assert!(went.failure().contains("sudo on the host asks for a password"), "{}", went.failure());
    host.console("mv /root/90-cloud-init-users /etc/sudoers.d/ && rm /etc/sudoers.d/deploy").await;
    host.world.adopt = vec![adopt.to_owned()];

    // With nothing of others in between, it goes well, and a second look finds nothing to say.
    let went = host.world.go(&text, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(asked(&went), ["ok site https://app.acme.test/: answers 200"]);
    let went = host.world.go(&text, Goal::Check).await;
    assert_eq!((went.outcome.code, said(&went)), (0, String::new()));
    assert_eq!(asked(&went), ["ok site https://app.acme.test/: answers 200"]);

    // What the server does not know of itself: somebody closes the way to it, or the proxy has lost its app.
    host.console(
        "nft add table inet mine; nft add chain inet mine in '{ type filter hook input priority 5; policy accept; }'; \
                  nft add rule inet mine in tcp dport 443 drop",
    )
    .await;
    let went = host.world.go(&text, Goal::Check).await;
    assert_eq!(went.outcome.code, Kind::Drift.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("nothing answers on port 443"), "{}", went.failure());
    assert_said(&went, &["table inet mine is in force on the host and closes tcp/443"], &[]);
    assert_eq!(went.plan(), Vec::<String>::new(), "the server itself is as the playbook says");
    let went = host.world.go(&text, Goal::Destroy).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert!(host.console("cat /etc/caddy/Caddyfile").await.contains("old.acme.test"), "what was there is back");
    host.close().await;
}

/// The sites that were asked from outside, and what was met.
fn asked(went: &Went) -> Vec<String> {
    let probe = |event: &landfall::model::event::Event| match &event.event {
        What::Probe { what, passed, saw } => Some(format!("{} {what}: {saw}", if *passed { "ok" } else { "NOT OK" })),
        _ => None,
    };
    went.events.iter().filter_map(probe).collect()
}

/// An engine under the names of Docker's own packages: the distribution's, packed anew, as no test can reach Docker's own
/// repository. What matters is what dpkg says of them, and that they exclude each other as the real ones do.
const REPACK: &str = "set -e; export DEBIAN_FRONTEND=noninteractive; cd /root; apt-get -qq update
apt-get -qq -y --no-install-recommends install containerd runc iptables git >/dev/null 2>&1
for pair in docker.io:docker-ce docker-cli:docker-ce-cli docker-compose:docker-compose-plugin; do
    apt-get -qq download ${pair%%:*}; dpkg-deb -R ${pair%%:*}_*.deb tree
    sed -i \"s/^Package: .*/Package: ${pair#*:}/; s/^\\(Depends\\|Recommends\\|Suggests\\|Breaks\\|Replaces\\|Conflicts\\|Provides\\|Enhances\\):.*/X-Was: x/; /^ /!b\" tree/DEBIAN/control
    sed -i '/^X-Was/d' tree/DEBIAN/control
    sed -i \"/^Version:/a Conflicts: ${pair%%:*}\" tree/DEBIAN/control
    dpkg-deb -b tree ${pair#*:}.deb >/dev/null; rm -rf tree
done
dpkg -i docker-ce-cli.deb docker-ce.deb >/dev/null 2>&1";

#[tokio::test(flavor = "multi_thread")]
async fn engines_containers_and_their_settings_on_an_existing_server_live_on() {
    if !hosts_are_asked_for() {
        return;
    }
    let host = Bare::boot("deploy", serde_json::json!({})).await;
    let text = playbook(&host, &[FIREWALL, DOCKER]);

    // Docker's own packages without their Compose; little memory; no way to IPv4.
    host.console(REPACK).await;
    host.console(
        "for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do [ ! -e $file ] || echo 600M >$file; done; \
         ip route show default >/root/route; ip route del default",
    )
    .await;
    let went = host.world.go(&text, Goal::Plan).await;
    assert_said(
        &went,
        &[
            "docker-compose: docker-ce is installed without its Compose: `sudo apt install docker-compose-plugin`",
            "the host has 600 MiB of memory and swap together",
            "no route to IPv4",
        ],
        &["package/docker.io"],
    );
    host.console(
        "for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do [ ! -e $file ] || echo 8G >$file; done; \
         ip route add $(cat /root/route); dpkg -i /root/docker-compose-plugin.deb",
    )
    .await;

    // A shop of somebody else's: its data under another root, settings of its own, a port that it publishes.
    let theirs = r#"{"data-root":"/mnt/big/docker","log-driver":"json-file","insecure-registries":["127.0.0.1:5000"],"icc":true}"#;
    host.console(&format!(
        "systemctl stop docker.socket docker; mkdir -p /mnt/big/docker; echo '{theirs}' >/etc/docker/daemon.json; systemctl start docker; \
         mkdir box; cp /usr/bin/busybox box/; tar -C box -c . | docker import --change 'CMD [\"/busybox\",\"httpd\",\"-f\",\"-p\",\"80\"]' - box:1; \
         docker run -d --name shop -p 8081:80 -v shopdata:/data box:1"
    ))
    .await;
    let alive = async || {
        host.console("docker inspect --format '{{.State.StartedAt}} {{.State.Running}} {{.RestartCount}}' shop; docker volume ls -q").await
    };
    let before = alive().await;
    assert!(before.contains(" true 0") && before.contains("shopdata"), "{before}");
    let went = host.world.go(&text, Goal::Plan).await;
    assert_said(
        &went,
        &[
            "docker-ce 2",
            "it is used and stays as it is",
            "These containers, which Landfall did not create, keep running: shop",
            "the firewall closes tcp/8081, which the container `shop` uses",
        ],
        &["! "],
    );
    let changes = went.plan();
    assert!(changes.contains(&"update host/web/settings/etc/docker/daemon.json".to_owned()), "{changes:?}");
    assert!(!changes.iter().any(|change| change.contains("package/docker")), "{changes:?}");

    let went = host.world.go(&text, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(alive().await, before, "the same container, never stopped, and its data");
    let root =
        host.console("docker info --format '{{.DockerRootDir}} {{.LiveRestoreEnabled}} {{.LoggingDriver}}'").await;
    assert_eq!(root.trim(), "/mnt/big/docker true json-file");
    let merged = host.console("jq -c . /etc/docker/daemon.json").await;
    for kept in ["\"insecure-registries\":[\"127.0.0.1:5000\"]", "\"data-root\":\"/mnt/big/docker\"", "\"icc\":false"] {
        assert!(merged.contains(kept), "{kept} is not in {merged}");
    }
    let went = host.world.go(&text, Goal::Check).await;
    assert_eq!((went.outcome.code, said(&went)), (0, String::new()));

    // An app of the playbook's own: the engine holds its port, and is no neighbour.
    let with_app =
        playbook(&host, &[FIREWALL, DOCKER, "app id = \"own\"\nimage = \"box:1\"\nport = 80\nlisten = 3000"]);
    let went = host.world.go(&with_app, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let went = host.world.go(&with_app, Goal::Check).await;
    assert_eq!((went.outcome.code, said(&went)), (0, String::new()), "{}", went.failure());

    // What was theirs is theirs again.
    let went = host.world.go(&with_app, Goal::Destroy).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(alive().await, before, "still the same container");
    let back: serde_json::Value = serde_json::from_str(&host.console("cat /etc/docker/daemon.json").await).unwrap();
    assert_eq!(back, serde_json::from_str::<serde_json::Value>(theirs).unwrap());

    // A setting that is also a flag: the engine refuses the file while it runs, and would not start again with it.
    host.console(
        "mkdir -p /etc/systemd/system/docker.service.d; \
         printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// --icc=true --live-restore\\n' >/etc/systemd/system/docker.service.d/theirs.conf; \
         echo >/etc/docker/daemon.json; mkdir -p /mnt/big; systemctl daemon-reload; systemctl reset-failed docker; systemctl restart docker; \
         docker image inspect box:1 >/dev/null 2>&1 || tar -C box -c . | docker import --change 'CMD [\"/busybox\",\"httpd\",\"-f\",\"-p\",\"80\"]' - box:1; \
         docker run -d --name other box:1",
    )
    .await;
    let went = host.world.go(&text, Goal::Apply).await;
    assert_eq!(went.outcome.code, 1, "{}", went.failure());
    assert!(went.failure().contains("both as a flag and in the configuration file"), "{}", went.failure());
    assert!(went.failure().contains("the old one stays"), "{}", went.failure());
    assert!(host.console("docker ps --format '{{.Names}}'").await.contains("other"), "what ran runs on");
    host.close().await;
}
