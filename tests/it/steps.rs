use std::path::Path;

use landfall::cli::load::{Refused, check, load};
use landfall::model::diff::{Verb, diff};
use landfall::model::resource::{Observed, Resource, Spec};
use landfall::model::value::{OutputKey, Outputs};
use landfall::steps;

const HEAD: &str = r#"schema = 1
name = "acme"

[[step]]
use = "server"
id = "web"
provider = "existing"
address = "127.0.0.1"
host_key = "SHA256:replaceThisWithYourServersOwnFingerprintAAA"
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me"]

[[step]]
use = "docker"
on = "web"
"#;

fn desired(steps: &str, outputs: &Outputs) -> Vec<Resource> {
    let loaded = match check(Path::new("playbooks/test.toml"), &format!("{HEAD}{steps}")) {
        Ok(loaded) => loaded,
        Err(Refused::Wrong(problems)) => panic!("{}", problems.iter().map(|p| p.render()).collect::<String>()),
        Err(Refused::Unread(failure)) => panic!("{failure}"),
    };
    steps::desired(&loaded.playbook, outputs, &loaded.sources).expect("a playbook that was checked")
}

/// The content of the file at `path`, as a plan would show it.
fn content(resources: &[Resource], path: &str) -> String {
    let file = resources.iter().find_map(|resource| match &resource.spec {
        Spec::File(file) if file.path == path => Some(file.content.to_string()),
        _ => None,
    });
    file.unwrap_or_else(|| panic!("no file {path}"))
}

#[test]
fn every_playbook_we_ship_can_be_carried_out() {
    let mut seen = 0;
    for entry in std::fs::read_dir("playbooks").unwrap().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let loaded = load(&entry.path()).unwrap_or_else(|_| panic!("{} is refused", entry.path().display()));
        let resources = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).unwrap();
        let mut addresses: Vec<String> = resources.iter().map(|r| r.address.to_string()).collect();
        assert!(addresses.len() > 10);
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), resources.len(), "no address twice");
    }
    assert_eq!(seen, 5);
}

#[test]
fn every_step_explains_itself() {
    let mut kinds: Vec<&str> = steps::STEPS.iter().map(|step| step.kind()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), steps::STEPS.len(), "no kind twice");
    let reference = steps::reference::markdown();
    for line in reference.lines().filter(|line| line.starts_with("| `")) {
        assert!(
            line.split('|').all(|cell| cell.is_empty() || !cell.trim().is_empty()),
            "an answer without a word: {line}"
        );
    }
}

#[test]
fn an_app_from_an_image_is_bound_to_loopback_and_its_values_arrive_as_typed() {
    let app = r#"
[[step]]
use = "app"
on = "web"
image = "ghcr.io/acme/web:1"
port = 3000

[step.env]
AT       = { output = "web.address" }
COUNT    = 3
PASSWORD = { secret = "db-password" }
QUOTES   = "it's \"quoted\", costs $5 and has\ntwo lines: ü"
TOKEN    = { secret = "token", generate = 32 }
"#;
    let first = desired(app, &Outputs::new());
    insta::assert_snapshot!(content(&first, "/srv/landfall/acme/app/compose.yaml"), @r#"
    # Written by Landfall. A change made here is drift, and the next apply takes it back.
    name: "acme_app"
    services:
      "app":
        image: "ghcr.io/acme/web:1"
        restart: unless-stopped
        security_opt:
          - no-new-privileges:true
        cap_drop:
          - ALL
        cap_add:
          - "CHOWN"
          - "DAC_OVERRIDE"
          - "FOWNER"
          - "KILL"
          - "NET_BIND_SERVICE"
          - "SETGID"
          - "SETUID"
        pids_limit: 512
        mem_limit: "1g"
        ports:
          - "127.0.0.1:3000:3000"
        environment:
          "AT": ‹web.address›
          "COUNT": "3"
          "PASSWORD": ‹secret db-password›
          "QUOTES": "it's \"quoted\", costs $$5 and has\ntwo lines: ü"
        env_file:
          - "token.env"
    "#);
    let key = OutputKey::parse("web.address").unwrap();
    let known = desired(app, &Outputs::from([(key, "127.0.0.1".to_owned())]));
    let text = content(&known, "/srv/landfall/acme/app/compose.yaml");
    assert!(text.contains("\"AT\": \"127.0.0.1\""), "{text}");
    let file = known.iter().find(|r| matches!(&r.spec, Spec::File(f) if f.path.ends_with("compose.yaml"))).unwrap();
    assert_eq!(file.spec.fields()["mode"].to_string(), "0600", "secrets stand in it");
}

#[test]
fn the_proxy_has_a_site_for_each_app_with_a_name() {
    let apps = r#"
[[step]]
use = "app"
on = "web"
image = "a"
port = 3000
host = "app.acme.dev"
health = "/healthz"

[[step]]
use = "app"
id = "pages"
on = "web"
static = "site"
host = "pages.internal"

[[step]]
use = "app"
id = "worker"
on = "web"
image = "b"

[[step]]
use = "proxy"
on = "web"
email = "me@acme.dev"
"#;
    insta::assert_snapshot!(content(&desired(apps, &Outputs::new()), "/etc/caddy/Caddyfile"), @r#"
    # Written by Landfall. A change made here is drift, and the next apply takes it back.
    {
    	# Only root and Caddy itself can change its configuration.
    	admin unix//run/caddy/admin.sock
    	email me@acme.dev
    	servers {
    		timeouts {
    			read_header 10s
    			idle 2m
    		}
    		max_header_size 32KB
    	}
    }

    (landfall) {
    	encode zstd gzip
    	# Defaults: what the app says itself stays. Each stands alone: those of one block are only set where none of them is.
    	header ?Strict-Transport-Security "max-age=63072000"
    	header ?X-Content-Type-Options nosniff
    	header ?Referrer-Policy strict-origin-when-cross-origin
    	header ?X-Frame-Options SAMEORIGIN
    	header -Server
    }

    app.acme.dev {
    	import landfall
    	log {
    		output file /var/log/caddy/app.log {
    			roll_size 10MiB
    			roll_keep 5
    		}
    	}
    	reverse_proxy 127.0.0.1:3000 {
    		health_uri /healthz
    		health_interval 10s
    		health_timeout 5s
    		health_headers {
    			Host app.acme.dev
    			X-Forwarded-Proto https
    		}
    		# What only a proxy may say of a visitor.
    		header_up X-Real-IP {remote_host}
    		header_up -CF-Connecting-IP
    		header_up -Forwarded
    		header_up -True-Client-IP
    		header_up -X-Client-IP
    	}
    }

    pages.internal {
    	import landfall
    	log {
    		output file /var/log/caddy/pages.log {
    			roll_size 10MiB
    			roll_keep 5
    		}
    	}
    	tls internal
    	root * /srv/landfall/acme/pages/site
    	file_server
    }
    "#);
}

#[test]
fn two_apps_on_one_port_or_of_one_name_are_refused() {
    let refused = |steps: &str| match check(Path::new("playbooks/test.toml"), &format!("{HEAD}{steps}")) {
        Err(Refused::Wrong(problems)) => problems.iter().map(|p| p.render()).collect::<String>(),
        _ => panic!("not refused"),
    };
    let app = |id: &str, more: &str| {
        format!("[[step]]\nuse = \"app\"\nid = \"{id}\"\non = \"web\"\nimage = \"a\"\nport = 3000\n{more}\n")
    };
    let said = refused(&format!("{}{}", app("one", ""), app("two", "")));
    assert!(said.contains("both listen on port 3000") && said.contains("add `listen = 3001`"), "{said}");
    let twice = app("one", "env = { A = { secret = \"k\", generate = 32 }, B = { secret = \"k\", generate = 32 } }");
    assert!(refused(&twice).contains("`k` would be generated twice"));
    let proxy = "[[step]]\nuse = \"proxy\"\non = \"web\"\n";
    assert!(
        refused(&format!("{proxy}{}", proxy.replace("use", "id = \"p2\"\nuse")))
            .contains("already is the proxy of `web`")
    );
    let twins = format!("{}{}{proxy}", app("one", "host = \"a.test\""), app("two", "listen = 3001\nhost = \"a.test\""));
    assert!(refused(&twins).contains("two apps are called `a.test`"));
}

#[test]
fn containers_are_limited_unless_somebody_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let compose = "services:\n  web: {image: a, restart: 'no', mem_limit: 64m, cap_add: [NET_ADMIN]}\n  db: {image: b}\n  \
                   agent: {image: c, privileged: true, security_opt: ['no-new-privileges:false']}\n";
    let allowed = "allow = [\"privileged\"]\n";
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let text = |steps: &str, path: &str| {
        let loaded =
            check(&folder.path().join("p.toml"), &format!("{HEAD}{steps}")).unwrap_or_else(|_| panic!("refused"));
        content(&steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).unwrap(), path)
    };
    let app = "[[step]]\nuse = \"app\"\non = \"web\"\nport = 3000\n";
    insta::assert_snapshot!(text(&format!("{app}compose = \"compose.yaml\"\nservice = \"web\"\n{allowed}"), "/srv/landfall/acme/app/compose.landfall.yaml"), @r#"
    # Written by Landfall, and read after compose.yaml: what the playbook says of this app, and limits for the
    # services that say nothing of them.
    name: "acme_app"
    services:
      "agent":
        pids_limit: 4096
      "db":
        security_opt:
          - no-new-privileges:true
        pids_limit: 4096
      "web":
        security_opt:
          - no-new-privileges:true
        pids_limit: 4096
        ports: !override
          - "127.0.0.1:3000:3000"
    "#);
    let loose = text(
        &format!("{app}image = \"a\"\nmemory = \"none\"\ncapabilities = []\nread_only = true\n"),
        "/srv/landfall/acme/app/compose.yaml",
    );
    assert!(!loose.contains("mem_limit") && !loose.contains("cap_add"), "{loose}");
    assert!(loose.contains("read_only: true") && loose.contains("- /tmp"), "{loose}");
}

#[test]
fn what_somebody_should_know_is_told_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let compose = "services:\n  web: {image: a, volumes: ['/var/run/docker.sock:/x']}\n  db: {image: 'postgres:17', volumes: ['data:/var/lib/postgresql/data']}\nvolumes: {data: }\n";
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let steps = "[[step]]\nuse = \"app\"\non = \"web\"\ncompose = \"compose.yaml\"\nservice = \"web\"\nport = 3000\nhost = \"app.other.dev\"\nallow = [\"docker-socket\"]\n\n\
                 [step.env]\nSTRIPE = \"sk_live_abcdefgh\"\nAPP_PASSWORD = \"hunter2hunter2\"\nNEXT_PUBLIC_KEY = \"abcdefghij\"\nMODE = \"production\"\n\n\
                 [[step]]\nuse = \"dns\"\nprovider = \"cloudflare\"\nzone = \"acme.dev\"\nto = \"web\"\n";
    let loaded = check(&folder.path().join("p.toml"), &format!("{HEAD}{steps}")).unwrap_or_else(|_| panic!("refused"));
    let notes = steps::notes(&loaded.playbook, &loaded.sources);
    assert_eq!(notes.len(), 5, "{notes:#?}");
    for words in [
        "`app` may use docker-socket",
        "STRIPE of `app` looks like a secret",
        "APP_PASSWORD of `app` looks like a secret",
        "`db` of `app` keeps a database in a volume",
        "no zone of the playbook holds app.other.dev",
    ] {
        assert!(notes.iter().any(|note| note.contains(words)), "`{words}` is not in {notes:#?}");
    }
    assert!(!notes.iter().any(|note| note.contains("sk_live_") || note.contains("hunter2")), "no value is repeated");
}

#[test]
fn a_database_of_version_18_keeps_its_data_where_its_image_takes_it() {
    for (version, place) in [(17, "data:/var/lib/postgresql/data\n"), (18, "data:/var/lib/postgresql\n")] {
        let step = format!("[[step]]\nuse = \"database\"\nprovider = \"host\"\non = \"web\"\nversion = {version}\n");
        let file = content(&desired(&step, &Outputs::new()), "/srv/landfall/acme/database/compose.yaml");
        assert!(file.contains(place), "{version}: {file}");
    }
}

#[test]
fn another_major_version_on_living_data_needs_a_second_word() {
    let compose = |version: u32| {
        let step = format!("[[step]]\nuse = \"database\"\nprovider = \"host\"\non = \"web\"\nversion = {version}\n");
        let all = desired(&step, &Outputs::new());
        all.into_iter().find(|resource| matches!(resource.spec, Spec::Compose(_))).unwrap()
    };
    let there = |version| Observed::Present { fields: compose(version).spec.fields(), outputs: vec![], ours: true };
    assert!(diff(&compose(17), &there(17)).is_keep());
    let change = diff(&compose(18), &there(17));
    assert!(matches!(change.verb, Verb::Replace(_)) && change.loses_data(), "{:?}", change.verb);
}

#[test]
fn every_measure_can_be_switched_and_says_why_it_is_there() {
    use landfall::steps::hardening::measures::MEASURES;
    let resources = |lines: &str| {
        let step = format!("[[step]]\nuse = \"hardening\"\non = \"web\"\n{lines}\n");
        let all = desired(&step, &Outputs::new());
        all.iter().filter(|r| !r.gone).map(|r| r.address.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    let (none, baseline, strict) = (
        resources(&format!(
            "measures = {{ {} }}",
            MEASURES.iter().map(|m| format!("{} = false", m.name)).collect::<Vec<_>>().join(", ")
        )),
        resources(""),
        resources("profile = \"strict\""),
    );
    assert!(none.is_subset(&baseline) && baseline.is_subset(&strict), "each profile goes further");
    for measure in MEASURES {
        let on = resources(&format!("measures = {{ {} = true }}", measure.name));
        let off = resources(&format!("measures = {{ {} = false }}", measure.name));
        assert!(on.len() > off.len(), "`{}` changes something", measure.name);
        assert!(measure.protects.ends_with('.') && measure.protects.len() > 30, "`{}` says why", measure.name);
    }
}

/// What people, and those who mean ill, may type.
const HOSTILE: &[&str] = &[
    "it's",
    "a \"b\"",
    "two words",
    "$HOME",
    "$(id)",
    "`id`",
    "line\nbreak",
    "tab\there",
    "ü",
    "}",
    "{{ x }}",
    "a\\b",
    "#",
    "; rm -rf /",
    "-x",
    "",
];

#[test]
fn hostile_text_is_refused_wherever_it_would_reach_a_template() {
    let step = |kind: &str, lines: &str| format!("[[step]]\nuse = \"{kind}\"\non = \"web\"\n{lines}\n");
    let (app, proxy) = (step("app", "image = \"a\"\nport = 3000\n@"), step("proxy", "@"));
    let server = HEAD.split("[[step]]\nuse = \"docker\"").next().unwrap();
    for (head, steps, key, good) in [
        (HEAD, &app, "host", "\"a.test\""),
        (HEAD, &app, "health", "\"/ok\""),
        (HEAD, &app, "memory", "\"2g\""),
        (HEAD, &app, "capabilities", "[\"NET_ADMIN\"]"),
        (HEAD, &step("app", "port = 3000\n@"), "image", "\"a:1\""),
        (HEAD, &proxy, "email", "\"me@acme.dev\""),
        (HEAD, &proxy, "max_body", "\"1GB\""),
        (HEAD, &proxy, "tls", "\"staging\""),
        (HEAD, &step("hardening", "@"), "time_zone", "\"Europe/Berlin\""),
        (HEAD, &step("hardening", "@"), "reboot", "\"23:59\""),
        (HEAD, &step("hardening", "@"), "profile", "\"strict\""),
        (server, &step("firewall", "@"), "open", "[\"ssh\", \"udp/51820\"]"),
        (server, &step("firewall", "@"), "web_from", "\"cloudflare\""),
        (server, &step("firewall", "@"), "ssh_from", "[\"203.0.113.7\", \"2001:db8::/48\"]"),
        (server, &step("docker", "@"), "id", "\"engine\""),
    ] {
        let is_refused = |value: &str| {
            let playbook = format!("{head}{}", steps.replace('@', &format!("{key} = {value}")));
            check(Path::new("playbooks/test.toml"), &playbook).is_err()
        };
        assert!(!is_refused(good), "{key} = {good} was refused");
        for text in HOSTILE {
            let value = toml_edit::Value::from(*text).to_string();
            let value = good.strip_suffix(']').map_or(value.clone(), |list| format!("{list}, {value}]"));
            assert!(is_refused(&value), "{key} = {text:?} was accepted");
        }
    }
}

#[test]
fn hostile_values_arrive_in_containers_as_typed() {
    for text in HOSTILE {
        let value = toml_edit::Value::from(*text).to_string();
        let app =
            format!("[[step]]\nuse = \"app\"\non = \"web\"\nimage = \"a\"\nport = 3000\nenv = {{ X = {value} }}\n");
        let file = content(&desired(&app, &Outputs::new()), "/srv/landfall/acme/app/compose.yaml");
        let parsed: serde_json::Value = serde_saphyr::from_str(&file).unwrap();
        // Compose itself makes one dollar of two.
        let arrives = parsed["services"]["app"]["environment"]["X"].as_str().unwrap().replace("$$", "$");
        assert_eq!(arrives, *text);
    }
}

#[test]
fn what_one_step_wants_stays_although_another_switches_it_off() {
    let step = |id: &str, audit: bool| {
        format!("[[step]]\nuse = \"hardening\"\nid = \"{id}\"\non = \"web\"\nmeasures = {{ audit = {audit} }}\n")
    };
    for (first, second) in [(true, false), (false, true)] {
        let all = desired(&(step("one", first) + &step("two", second)), &Outputs::new());
        let rules: Vec<&Resource> =
            all.iter().filter(|r| r.address.to_string().ends_with("90-landfall.rules")).collect();
        assert!(matches!(rules[..], [rules] if !rules.gone), "{rules:?}");
    }
}
