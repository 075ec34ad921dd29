//! Step `docker`: the engine and its Compose plugin, from the distribution.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::machine::{Check, File, Package, Service, TakeUp};
use crate::model::name::Name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::resource::{Resource, Spec};
use crate::steps::{About, Needs, Site, Step};

/// The step itself.
pub struct DockerStep;

const DAEMON_JSON: &str = "/etc/docker/daemon.json";

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
                      files that rotate, and containers keep running while the engine restarts.",
            outputs: &[],
        }
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<DockerAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers: DockerAnswers = entry.answers()?;
        Ok(Needs::on(entry, &answers.on))
    }

    fn outputs(&self, _: &Entry) -> Vec<&'static str> {
        vec![]
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers: DockerAnswers = site.entry.answers()?;
        let host = site.host(&answers.on)?;
        // curl asks an app whether it is healthy; the names are Debian 13's.
        let mut all: Vec<Resource> = ["docker.io", "docker-cli", "docker-compose", "curl"]
            .map(|name| {
                let spec = Package { name: name.to_owned() };
                site.on_host(&host, "package", name.to_owned(), Spec::Package(spec))
            })
            .into();
        let daemon = File {
            path: DAEMON_JSON.to_owned(),
            content: include_str!("../../templates/daemon.json").into(),
            owner: ("root".to_owned(), "root".to_owned()),
            mode: 0o644,
            check: Some(Check {
                run: ["dockerd", "--validate", "--config-file", "{}"].map(str::to_owned).into(),
                user: "root",
            }),
        };
        all.push(site.on_host(&host, "file", DAEMON_JSON.to_owned(), Spec::File(daemon)));
        let service = Service {
            unit: "docker.service".to_owned(),
            reads: vec![DAEMON_JSON.to_owned()],
            take_up: TakeUp::Restart,
            own_kernel: false,
        };
        all.push(site.on_host(&host, "service", "docker.service".to_owned(), Spec::Service(service)));
        Ok(all)
    }
}
