//! Compose files as the authors of well-known projects write them, each in its shape: it means what its author meant, or it
//! is refused before anything is bought, with what to do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use landfall::cli::load::{Refused, load};
use landfall::doors::ssh::Patience;
use landfall::engine::Goal;
use landfall::model::resource::Spec;
use landfall::model::value::Outputs;
use landfall::rehearsal::machines::{Machines, StandIn};
use landfall::steps;

use crate::bare::{hosts_are_asked_for, open_hosts};
use crate::world::World;

const HEAD: &str = r#"schema = 1
name = "acme"

[[step]]
use = "server"
id = "web"
provider = "hetzner"
location = "fsn1"
size = "cx23"
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me"]

[[step]]
use = "docker"
on = "web"
"#;

/// A firewall that opens a port on purpose.
const OPEN: &str = "[[step]]\nuse = \"firewall\"\non = \"web\"\nopen = [\"ssh\", \"http\", \"https\", \"tcp/222\"]\n";

/// What a compose file makes of the step: the files on the server by path, or the problem.
fn sent(compose: &str, beside: &[(&str, &str)], step: &str) -> Result<Vec<(String, String)>, String> {
    sent_with("", compose, beside, step)
}

/// The same with a step above Docker.
fn sent_with(above: &str, compose: &str, beside: &[(&str, &str)], step: &str) -> Result<Vec<(String, String)>, String> {
    let head = HEAD.replace("[[step]]\nuse = \"docker\"", &format!("{above}\n[[step]]\nuse = \"docker\""));
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in [("compose.yaml", compose)].iter().chain(beside) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let path = folder.path().join("acme.toml");
    let app = format!("{head}\n[[step]]\nuse = \"app\"\non = \"web\"\ncompose = \"compose.yaml\"\nport = 3000\n{step}");
    std::fs::write(&path, app).unwrap();
    let loaded = match load(Path::new(&path)) {
        Ok(loaded) => loaded,
        Err(Refused::Wrong(problems)) => return Err(problems.iter().map(|problem| problem.render()).collect()),
        Err(Refused::Unread(failure)) => return Err(failure.to_string()),
    };
    let all = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).expect("what was checked");
    Ok(all
        .into_iter()
        .filter_map(|resource| match resource.spec {
            Spec::File(file) => {
                let name = file.path.strip_prefix("/srv/landfall/acme/app/")?.to_owned();
                Some((name, file.shown().to_string()))
            }
            Spec::Directory(directory) => {
                Some((format!("{}/", directory.path.strip_prefix("/srv/landfall/acme/app/")?), String::new()))
            }
            _ => None,
        })
        .collect())
}

fn file<'a>(sent: &'a [(String, String)], name: &str) -> &'a str {
    sent.iter().find(|(path, _)| path == name).map_or_else(|| panic!("{name} is not among {sent:?}"), |(_, text)| text)
}

#[test]
fn compose_files_mean_what_their_authors_meant() {
    // A photo library: a database whose password every service gets, one of them from the playbook's vault.
    let photos = "services:\n  server:\n    image: ghcr.io/x/server:${VERSION:-release}\n    volumes: [\"${UPLOADS}:/upload\"]\n    environment:\n      \
        DB_PASSWORD: ${DB_PASSWORD}\n  database:\n    image: postgres:16\n    environment:\n      POSTGRES_PASSWORD: ${DB_PASSWORD}\n    volumes: \
        [\"pgdata:/var/lib/postgresql/data\"]\n    restart: always\nvolumes: {pgdata: }\n";
    let step = "service = \"server\"\n[step.env]\nUPLOADS = \"./uploads\"\nDB_PASSWORD = { secret = \"db\", generate = 32 }\nMAIL = { secret = \"mail\" }\nODD = \"a$b\\\"c\"\n";
    let files = sent(photos, &[], step).unwrap();
    assert_eq!(
        file(&files, "landfall.env"),
        "# Written by Landfall: values for the variables in compose.yaml.\nMAIL=‹secret mail›\nODD=\"a\\$b\\\"c\"\nUPLOADS=\"./uploads\"\n"
    );
    assert_eq!(file(&files, "uploads/"), "", "a folder for data is made");

    // An analytics server: its configuration lies beside it, and so does a script; the label tells when they change.
    let analytics = "services:\n  web:\n    image: x/analytics:v3\n    command: sh -c \"/entry.sh $$HOME\"\n    volumes: [\"./clickhouse/logs.xml:/etc/logs.xml:ro\", \
        \"./init:/init:ro\"]\n    configs: [conf]\nconfigs: {conf: {file: ./conf.yml}}\n";
    let beside = [("clickhouse/logs.xml", "<x/>"), ("init/run.sh", "#!/bin/sh\n"), ("conf.yml", "a: 1\n")];
    let files = sent(analytics, &beside, "").unwrap();
    for (name, content) in beside {
        assert_eq!(file(&files, name), content);
    }
    let before = file(&files, "compose.landfall.yaml").to_owned();
    assert!(before.contains("dev.landfall.files"), "{before}");
    let after = sent(analytics, &[("clickhouse/logs.xml", "<y/>"), beside[1], beside[2]], "").unwrap();
    assert_ne!(file(&after, "compose.landfall.yaml"), before, "its container is made anew when they change");

    // A helpdesk: a migration that ends, a worker, env files, a profile. Nothing gets a restart but what visitors see.
    let helpdesk = "x-base: &base\n  image: x/desk:1\n  env_file: [desk.env, {path: local.env, required: false}]\nservices:\n  web:\n    <<: *base\n    depends_on: {migrate: \
        {condition: service_completed_successfully}}\n  migrate: {<<: *base, command: migrate}\n  worker: {<<: *base, restart: on-failure}\n  tools: {<<: *base, profiles: [tools]}\n";
    let files = sent(helpdesk, &[("desk.env", "A=1\n")], "service = \"web\"\n").unwrap();
    let ours = file(&files, "compose.landfall.yaml");
    assert_eq!(ours.matches("restart:").count(), 1, "{ours}");
    // What an env file holds is on no screen; a file that is only extended brings no service of its own.
    let based = "services: {web: {extends: {file: base.yaml, service: base}, env_file: desk.env}}\n";
    let base = "services: {base: {image: \"x/desk:1\"}, other: {command: x}}\n";
    let files = sent(based, &[("desk.env", "A=hunter2\n"), ("base.yaml", base)], "").unwrap();
    assert!(!file(&files, "compose.landfall.yaml").contains("other"), "{files:?}");
    assert!(file(&files, "desk.env").starts_with("(not shown; SHA-256 "), "{files:?}");
    assert!(ours.find("restart:") > ours.find("  web:") || ours.find("  worker:") > ours.find("restart:"), "{ours}");
    for never in ["mem_limit", "cap_drop"] {
        assert!(!ours.contains(never), "what the author left open stays open: {ours}");
    }

    // A Git server: SSH beside HTTP, open on purpose; another file of services.
    let forge = "include: [db.yaml]\nservices:\n  server: {image: \"x/forge:1\", ports: [\"3000:3000\", \"222:22\"]}\n";
    let database = [("db.yaml", "services:\n  db: {image: \"postgres:16\"}\n")];
    let files = sent_with(OPEN, forge, &database, "service = \"server\"\n").unwrap();
    let ours = file(&files, "compose.landfall.yaml");
    assert!(ours.contains("127.0.0.1:3000:3000") && ours.contains("222:22"), "{ours}");
    assert!(file(&files, "db.yaml").contains("postgres"));

    // A home portal that reads Docker's socket, with the word for it.
    let portal = "services: {web: {image: \"x/portal:1\", volumes: [\"/var/run/docker.sock:/var/run/docker.sock:ro\", \"/etc/localtime:/etc/localtime:ro\"]}}\n";
    assert!(sent(portal, &[], "allow = [\"docker-socket\"]\n").is_ok());
}

#[test]
fn what_would_mean_something_else_on_the_server_is_refused_with_the_way_out() {
    let web = |rest: &str| format!("services:\n  web:\n    image: x:1\n{rest}");
    let two = |rest: &str| format!("services:\n  web:\n    image: x:1\n  db:\n    image: y:1\n{rest}");
    let cases: &[(&str, String, &str, &[&str])] = &[
        (
            "a variable",
            two("    environment: {POSTGRES_PASSWORD: \"${DB_PASSWORD}\"}\n"),
            "service = \"web\"\n",
            &["services.db.environment.POSTGRES_PASSWORD: `${DB_PASSWORD}` has no value", "secret = "],
        ),
        (
            "a variable without braces",
            two("    command: run $TOKEN\n"),
            "service = \"web\"\n",
            &["`${TOKEN}` has no value"],
        ),
        (
            "an author's own word",
            web("    command: \"${KEY:?make one with openssl}\"\n"),
            "",
            &["make one with openssl"],
        ),
        (
            "a file that is not there",
            web("    volumes: [\"./app.conf:/etc/app.conf:ro\"]\n"),
            "",
            &["cannot read `app.conf`, which the compose file names"],
        ),
        ("a secret's file", web("    secrets: [db]\nsecrets: {db: {file: ./db.txt}}\n"), "", &["cannot read `db.txt`"]),
        ("an env file", web("    env_file: .env.production\n"), "", &["cannot read `.env.production`"]),
        (
            "a file elsewhere",
            web("    volumes: [\"../secrets/app.conf:/x\"]\n"),
            "",
            &["leads out of the compose file's folder"],
        ),
        (
            "a port",
            two("    ports: [\"5432:5432\"]\n"),
            "service = \"web\"\n",
            &["publishes 5432/tcp to the world", "add \"tcp/5432\" to `open`"],
        ),
        (
            "a port of the same service",
            web("    ports: [\"3000:3000\", \"222:22\"]\n"),
            "",
            &["publishes 222/tcp to the world"],
        ),
        (
            "a port by a variable",
            two("    ports: [\"${BIND:-0.0.0.0}:8081:8081\"]\n"),
            "service = \"web\"\n",
            &["publishes 8081/tcp"],
        ),
        (
            "an external network",
            web("    networks: [proxy]\nnetworks: {proxy: {external: true}}\n"),
            "",
            &["`networks.proxy` is external", "take `external: true` out"],
        ),
        ("no image", "services: {web: {command: x}}\n".into(), "", &["service `web` has no `image`"]),
        ("nothing said", "services: {web: }\n".into(), "", &["service `web` says nothing"]),
        (
            "an upper-case name",
            "services: {web: {image: \"ghcr.io/Acme/Web:1\"}}\n".into(),
            "",
            &["bad image name", "ghcr.io/acme/web:1"],
        ),
        (
            "the host's network",
            web("    network_mode: \"${MODE:-host}\"\n"),
            "",
            &["asks for network_mode: host", "allow = [\"host-network\"]"],
        ),
        ("every right", web("    privileged: \"${P:-true}\"\n"), "", &["privileged", "allow = [\"privileged\"]"]),
        ("processes of the host", web("    pid: host\n"), "", &["allow = [\"host-namespaces\"]"]),
        ("the whole disk", web("    volumes: [\"/:/host:ro\"]\n"), "", &["the mount of /", "allow = [\"host-files\"]"]),
        (
            "the whole disk, long",
            web("    volumes: [{type: bind, source: /etc, target: /x}]\n"),
            "",
            &["allow = [\"host-files\"]"],
        ),
        ("Docker", web("    volumes: [\"/var/run/docker.sock:/x\"]\n"), "", &["allow = [\"docker-socket\"]"]),
        ("Docker by its folder", web("    volumes: [\"/run:/run\"]\n"), "", &["allow = [\"docker-socket\"]"]),
        ("all capabilities", web("    cap_add: [ALL]\n"), "", &["allow = [\"capabilities\"]"]),
        (
            "a network past the firewall",
            web("networks: {out: {driver: macvlan}}\n"),
            "",
            &["allow = [\"outer-network\"]"],
        ),
        ("a way around", web("    volumes: [\"/srv/../etc//:/x\"]\n"), "", &["allow = [\"host-files\"]"]),
        (
            "a volume that is a folder",
            web("    volumes: [d:/x]\nvolumes: {d: {driver_opts: {type: none, o: bind, device: /root}}}\n"),
            "",
            &["allow = [\"host-files\"]"],
        ),
        (
            "a secret of the server",
            web("    secrets: [s]\nsecrets: {s: {file: /etc/shadow}}\n"),
            "",
            &["the server's file /etc/shadow", "allow = [\"host-files\"]"],
        ),
        ("an environment of the server", web("    env_file: /root/.env\n"), "", &["allow = [\"host-files\"]"]),
        ("Docker by another word", web("    use_api_socket: true\n"), "", &["allow = [\"docker-socket\"]"]),
        ("a hook", web("    post_start: [{command: x, privileged: true}]\n"), "", &["allow = [\"privileged\"]"]),
        (
            "capabilities from a secret",
            web("    cap_add: [\"${CAP}\"]\n"),
            "[step.env]\nCAP = { secret = \"cap\" }\n",
            &["`cap_add` is filled from a secret"],
        ),
        ("a key twice", web("    image: y:1\n"), "", &["not a compose file", "twice"]),
        ("a build", "services: {web: {build: .}}\n".into(), "", &["has `build`", "build the image elsewhere"]),
    ];
    for (what, compose, step, expected) in cases {
        let problem = sent(compose, &[], step).expect_err(what);
        for words in *expected {
            assert!(problem.contains(words), "{what}: `{words}` is not in\n{problem}");
        }
        assert!(!problem.contains("DuplicateKeyPolicy") && !problem.contains('\u{F0002}'), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_files_do_on_a_server_what_their_authors_meant_and_a_bad_version_gives_way() {
    if !hosts_are_asked_for() {
        return;
    }
    let stand_in = |image: &str, port| StandIn { image: image.into(), port, health: "/up".into() };
    let machines = open_hosts(vec![stand_in("registry.test/shop:1", 3000), stand_in("postgres:17", 5432)]).await;
    let mut world = World::with(Some(machines.clone() as Arc<dyn Machines>)).await;
    world.patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
    let beside = world.folder.path().join("beside");
    std::fs::create_dir_all(&beside).unwrap();
    std::fs::write(beside.join("app.conf"), "colour = blue\n").unwrap();
    let write = |compose: &str| std::fs::write(beside.join("compose.yaml"), compose).unwrap();
    let playbook = |rest: &str| {
        format!(
            "{}\n[[step]]\nuse = \"docker\"\non = \"web\"\n\n[[step]]\nuse = \"app\"\non = \"web\"\ncompose = \"compose.yaml\"\nservice = \"web\"\n\
             port = 3000\nhost = \"shop.test\"\n{rest}\n[step.env]\nDB_PASSWORD = {{ secret = \"db\", generate = 32 }}\nGREETING = \"it's $5 \\\"now\\\"\"\n",
            world.server_playbook()
        )
    };
    // A migration that ends and that the web service waits for, a database with a password of its own, a file beside it.
    let good = "services:\n  migrate:\n    image: registry.test/shop:1\n    command: [sh, -c, \"echo ran >>/data/runs\"]\n    volumes: [data:/data]\n  web:\n    image: \
        registry.test/shop:1\n    depends_on: {migrate: {condition: service_completed_successfully}, db: {condition: service_healthy}}\n    volumes: [data:/data, \
        ./app.conf:/etc/app.conf:ro]\n    environment: {PASSWORD: \"${DB_PASSWORD}\", WORDS: \"${GREETING}\"}\n  db:\n    image: postgres:17\n    restart: always\n    \
        environment: {POSTGRES_PASSWORD: \"${DB_PASSWORD}\"}\n    healthcheck: {test: [CMD, pg_isready, -U, postgres], interval: 1s, retries: 30}\nvolumes: {data: }\n";
    write(good);
    let applied = world.go_in(&beside, &playbook("health = \"/up\""), Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    let id = world.api.server_id("acme-web").expect("a server");
    let console = async |command: &str| {
        machines.at_the_console(id, command).await.unwrap_or_else(|why| panic!("{command}: {why}"))
    };
    let env = console("docker exec acme_app-web-1 env; docker exec acme_app-db-1 env").await;
    let value =
        |name: &str| env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap_or_default().to_owned();
    assert!(
        value("PASSWORD").len() == 32 && value("PASSWORD") == value("POSTGRES_PASSWORD"),
        "one secret for two services: {env}"
    );
    assert_eq!(value("WORDS"), "it's $5 \"now\"");
    assert_eq!(console("docker exec acme_app-web-1 cat /etc/app.conf").await, "colour = blue\n");
    assert_eq!(console("docker run --rm -v acme_app_data:/data registry.test/shop:1 cat /data/runs").await, "ran\n");
    assert_eq!(world.go_in(&beside, &playbook("health = \"/up\""), Goal::Check).await.outcome.code, 0);

    // A change in the file beside it is taken up.
    std::fs::write(beside.join("app.conf"), "colour = red\n").unwrap();
    let applied = world.go_in(&beside, &playbook("health = \"/up\""), Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    assert_eq!(console("docker exec acme_app-web-1 cat /etc/app.conf").await, "colour = red\n");

    // Versions that do not work, each in its way: a word about it, and the one before serves again.
    let serves = async || console("curl -s http://127.0.0.1:3000/up").await;
    for (what, compose, said) in [
        ("a command that is not there", good.replace("image: registry.test/shop:1\n    depends_on", "image: registry.test/shop:1\n    command: [/nowhere]\n    depends_on"), "nowhere"),
        ("an image that is not there", good.replace("registry.test/shop:1\n    depends_on", "registry.test/shop:2\n    depends_on"), "what ran before was not touched"),
        ("a migration that fails", good.replace("echo ran >>/data/runs", "echo oh no; exit 3"), "oh no"),
        ("another port", good.replace("image: registry.test/shop:1\n    depends_on", "image: registry.test/shop:1\n    command: [httpd, -f, -p, \"127.0.0.1:3000\", -h, /www]\n    depends_on"), "on 0.0.0.0 rather than 127.0.0.1"),
        ("a health check whose program is not there", good.replace("\nvolumes: {data: }", "\n  side:\n    image: registry.test/shop:1\n    healthcheck: {test: [CMD, curl, -f, \"http://localhost\"], interval: 1s, retries: 1}\nvolumes: {data: }"), "curl"),
    ] {
        write(&compose);
        // Nothing but the port is asked for: an app without a health path is looked at, too.
        let rest = if what == "another port" { "" } else { "health = \"/up\"" };
        let applied = world.go_in(&beside, &playbook(rest), Goal::Apply).await;
        assert_ne!(applied.outcome.code, 0, "{what}");
        assert!(applied.failure().contains(said), "{what}: `{said}` is not in\n{}", applied.failure());
        assert_eq!(serves().await, "ok\n", "{what}: what ran before serves");
    }
    assert_eq!(machines.close().await, Vec::<String>::new());
}
