//! Step `docker`: the engine and its Compose plugin, from the distribution.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::draft::Draft;
use crate::model::machine::{Check, File, HostAt, Package, Service, TakeUp};
use crate::model::name::Name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::resource::{Resource, Spec};
use crate::model::system::System;
use crate::model::tuning::JsonSettings;
use crate::steps::{About, Needs, Site, Step};

/// The step itself.
pub struct DockerStep;

const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// Holds once a restart of the engine no longer ends the containers.
const LIVES_ON: &str = "[ \"$(timeout 10 docker info --format '{{.LiveRestoreEnabled}}' 2>/dev/null)\" = true ]";
/// Holds while what the engine does for containers' networks is in force, unless somebody told it to leave that alone.
const WORKS: &str = "{ iptables -t nat -n -L DOCKER >/dev/null 2>&1 || \
                     grep -Eqs '\"iptables\"[[:space:]]*:[[:space:]]*false' /etc/docker/daemon.json; }";
/// Judges new settings of the engine, with the flags of the one that runs: one that is given in both places keeps it from
/// starting. dockerd itself says nothing of a swarm before it fails to start.
const JUDGE: &str = "if [ \"$(docker info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null)\" = active ]; then echo 'this engine \
                     is part of a swarm, which `live-restore` does not allow: leave the swarm first'; exit 1; fi; \
                     flags=$({ tr '\\0' '\\n' <\"/proc/$(cat /run/docker.pid)/cmdline\" | tail -n +2; } 2>/dev/null); \
                     exec dockerd --validate --config-file \"$0\" $flags";

/// Answers of the step `docker`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DockerAnswers {
    /// The server it is on.
    pub on: Name,
}

impl Step for DockerStep {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn about(&self) -> About {
        About {
            title: "Docker",
            summary: "Installs the Docker engine and its Compose plugin from the distribution. Logs are kept in \
                      files that rotate, containers keep running while the engine restarts and cannot gain \
                      privileges, and once a week images that apps no longer need go, but for the last three.",
            outputs: &[],
        }
    }

    fn comes_along(&self, draft: &Draft) -> bool {
        draft.answers("app", "image")
            || draft.answers("app", "compose")
            || draft.get("database", "provider") == Some("host")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<DockerAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<DockerAnswers>()?;
        Ok(Needs::on(entry, &answers.on))
    }

    fn outputs(&self, _: &Entry) -> Vec<&'static str> {
        vec![]
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<DockerAnswers>()?;
        let host = site.host(&answers.on)?;
        let Some(packages) = packages(host.system) else {
            return Err(Problem::new(
                site.entry.place_of("on"),
                format!("{} brings no Docker Compose 2", host.system.as_str()),
            )
            .expected("a server of `image = \"debian-13\"` or `\"ubuntu-24.04\"`")
            .hint("hardening, the firewall and static sites work there, too"));
        };
        // curl asks an app whether it is healthy.
        let package = |name: &&str| {
            let spec = Package { name: (*name).to_owned(), instead: instead_of(name) };
            site.on_host(&host, "package", (*name).to_owned(), Spec::Package(spec))
        };
        // jq writes settings into a file that others may have written to.
        let tools: &[&str] = if host.made_by_us { &["curl"] } else { &["curl", "jq"] };
        let mut all: Vec<Resource> = packages.iter().chain(tools).map(package).collect();
        all.push(daemon(site, &host)?);
        all.extend(prune(site, &host));
        let service = Service {
            unit: "docker.service".to_owned(),
            reads: vec![DAEMON_JSON.to_owned()],
            take_up: TakeUp::ReloadThenRestart(LIVES_ON),
            unit_files: vec![],
            works: Some(WORKS),
            own_kernel: false,
        };
        all.push(site.on_host(&host, "service", "docker.service".to_owned(), Spec::Service(service)));
        Ok(all)
    }
}

/// The engine's settings: a file of our own, or on a server that was there before our keys among others. Where the engine
/// keeps its data, and how it keeps logs where that was decided, stays as it is there.
fn daemon(site: &Site<'_>, host: &HostAt) -> Result<Resource, Problem> {
    let text = include_str!("../../templates/daemon.json");
    let check = Check { run: ["sh", "-c", JUDGE, "{}"].map(str::to_owned).into(), user: "root" };
    if host.made_by_us {
        let owner = ("root".to_owned(), "root".to_owned());
        let path = DAEMON_JSON.to_owned();
        let file = File { path, content: text.into(), owner, mode: 0o644, check: Some(check), hidden: false };
        return Ok(site.on_host(host, "file", DAEMON_JSON.to_owned(), Spec::File(file)));
    }
    let values = serde_json::from_str(text)
        .map_err(|e| Problem::new(site.entry.at.clone(), format!("cannot read the engine's settings: {e}")))?;
    let proposals = &["log-driver", "log-opts"];
    let settings = JsonSettings { path: DAEMON_JSON.to_owned(), values, proposals, check };
    Ok(site.on_host(host, "settings", DAEMON_JSON.to_owned(), Spec::JsonSettings(settings)))
}

/// What the engine and Compose are called in a release; `None` where one of them is missing.
fn packages(system: System) -> Option<&'static [&'static str]> {
    match system {
        System::Debian12 => None,
        System::Debian13 => Some(&["docker.io", "docker-cli", "docker-compose"]),
        System::Ubuntu2404 => Some(&["docker.io", "docker-compose-v2"]),
    }
}

/// The packages of Docker's own repository, and of Microsoft's, that bring the same as one of the distribution's.
fn instead_of(package: &str) -> &'static [&'static str] {
    match package {
        "docker.io" => &["docker-ce", "moby-engine"],
        "docker-cli" => &["docker-ce-cli", "moby-cli"],
        "docker-compose" | "docker-compose-v2" => &["docker-compose-plugin", "moby-compose"],
        _ => &[],
    }
}

/// Takes away, once a week, images that apps no longer need.
fn prune(site: &Site<'_>, host: &HostAt) -> Vec<Resource> {
    let timer = "/etc/systemd/system/landfall-prune.timer";
    let files = [
        ("/usr/local/sbin/landfall-prune", include_str!("../../templates/prune"), 0o755),
        ("/etc/systemd/system/landfall-prune.service", include_str!("../../templates/landfall-prune.service"), 0o644),
        (timer, include_str!("../../templates/landfall-prune.timer"), 0o644),
    ];
    let file = |(path, text, mode): (&str, &str, u32)| {
        let owner = ("root".to_owned(), "root".to_owned());
        let spec = File { path: path.to_owned(), content: text.into(), owner, mode, check: None, hidden: false };
        site.on_host(host, "file", path.to_owned(), Spec::File(spec))
    };
    let mut all: Vec<Resource> = files.into_iter().map(file).collect();
    let unit = "landfall-prune.timer".to_owned();
    let unit_files = vec![timer.to_owned()];
    let service = Service {
        unit: unit.clone(),
        reads: vec![],
        take_up: TakeUp::Restart,
        unit_files,
        works: None,
        own_kernel: false,
    };
    all.push(site.on_host(host, "service", unit, Spec::Service(service)));
    all
}
