//! Reads a compose file as Compose would, before anything is sent: variables filled in, what it names beside itself found,
//! what it publishes and what rights it asks for known.

pub(super) mod beside;
mod interpolate;
pub(super) mod ports;
pub(super) mod rights;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::problem::Problem;
use crate::model::value::Input;
use crate::steps::Site;
use crate::steps::app::AppAnswers;
use interpolate::HIDDEN;

/// Images of databases, by the last part of their names.
const DATABASES: &[&str] = &[
    "postgres",
    "postgresql",
    "postgis",
    "pgvector",
    "timescaledb",
    "mysql",
    "mariadb",
    "percona",
    "mongo",
    "mongodb",
    "redis",
    "valkey",
    "keydb",
    "clickhouse",
    "elasticsearch",
    "opensearch",
    "couchdb",
    "influxdb",
];

/// A compose file with its variables filled in.
#[derive(Debug)]
pub(super) struct ComposeFile {
    /// The whole document.
    document: Value,
    /// Every service, in order of name.
    pub services: BTreeMap<String, Value>,
}

/// What fills variables: literals as they are, everything else as a sign that it is known on the server only.
pub(super) fn values(answers: &AppAnswers) -> impl Fn(&str) -> Option<String> + '_ {
    |name| {
        answers.env.get(name).map(|input| match input {
            Input::Literal(text) => text.clone(),
            Input::Output(_) | Input::Secret { .. } => HIDDEN.to_string(),
        })
    }
}

fn problem(message: impl Into<String>) -> Problem {
    Problem::new(0..0, message.into())
}

/// Reads YAML with its anchors and merges. The problem says what is wrong in an author's words.
fn parse(text: &str) -> Result<Value, Problem> {
    serde_saphyr::from_str::<Value>(text).map_err(|e| {
        let first = e.to_string().lines().next().unwrap_or_default().to_owned();
        match first.contains("uplicate") {
            true => problem(format!("not a compose file: {}", first.split(", set ").next().unwrap_or(&first)))
                .hint("one of its keys stands there twice: take one of them out"),
            false => problem(format!("not a compose file: {first}")),
        }
    })
}

impl ComposeFile {
    /// Reads `text`, filled from the answers. Problems have no place yet: it is for the caller to give.
    pub(super) fn read(text: &str, answers: &AppAnswers) -> Result<ComposeFile, Problem> {
        let mut problems = Vec::new();
        let document = interpolate::fill(&parse(text)?, "", &values(answers), &mut problems);
        if let Some(first) = problems.first() {
            let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
            return Err(problem(format!("{first}{more}")).hint(
                "give it in the step, for every service: env = { NAME = \"value\" }, or a secret, made on the server: \
                 env = { NAME = { secret = \"name\", generate = 32 } }",
            ));
        }
        let empty = Map::new();
        let services = match document.get("services") {
            Some(Value::Object(services)) => services,
            None | Some(Value::Null) => &empty,
            Some(_) => return Err(problem("`services` is no table of services")),
        };
        for (name, service) in services {
            if !service.is_object() {
                return Err(problem(format!("service `{name}` says nothing")).expected("an `image`, at least"));
            }
        }
        let services = services.iter().map(|(name, service)| (name.clone(), service.clone())).collect();
        Ok(ComposeFile { document, services })
    }

    /// The service the proxy talks to: `wanted`, or the only one there is.
    pub(super) fn chosen(&self, wanted: Option<&str>) -> Result<&str, Problem> {
        let names: Vec<&str> = self.services.keys().map(String::as_str).collect();
        match (wanted, &names[..]) {
            (Some(name), _) => names.iter().find(|known| **known == name).copied().ok_or_else(|| {
                problem(format!("it has no service `{name}`"))
                    .expected(format!("one of `{}`", names.join("`, `")))
                    .did_you_mean(name, names.iter().copied())
            }),
            (None, [only]) => Ok(only),
            (None, []) => Err(problem("it has no services")),
            (None, many) => Err(problem("it has several services")
                .hint(format!("say which one the proxy talks to: `service = \"{}\"`", many[0]))),
        }
    }

    /// The services that are always up: those in no profile.
    pub(super) fn always(&self) -> Vec<String> {
        let always = self.services.iter().filter(|(_, service)| service.get("profiles").is_none());
        always.map(|(name, _)| name.clone()).collect()
    }

    /// Every service's name and image.
    pub(super) fn images(&self) -> Vec<(String, String)> {
        let image =
            |(name, service): (&String, &Value)| Some((name.clone(), service.get("image")?.as_str()?.to_owned()));
        self.services.iter().filter_map(image).collect()
    }

    /// The services that keep a database of their own in a volume or folder.
    pub(super) fn databases(&self) -> Vec<&str> {
        let kept = |(_, service): &(&String, &Value)| {
            let image = service.get("image").and_then(Value::as_str).unwrap_or_default();
            let name_of = image.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
            let has_data = service.get("volumes").and_then(Value::as_array).is_some_and(|volumes| !volumes.is_empty());
            has_data && DATABASES.iter().any(|known| name_of == *known || name_of.starts_with(&format!("{known}-")))
        };
        self.services.iter().filter(kept).map(|(name, _)| name.as_str()).collect()
    }

    /// Can every service run on the server: does each have an image that can be pulled?
    pub(super) fn check_images(&self) -> Result<(), Problem> {
        for (name, service) in &self.services {
            if service.get("build").is_some() {
                return Err(problem(format!("service `{name}` has `build`"))
                    .hint("the server gets no sources to build from: build the image elsewhere and name it"));
            }
            match service.get("image").and_then(Value::as_str) {
                Some(image) if image.contains(HIDDEN) => {}
                Some(image) => super::checks::image_name(image)
                    .map_err(|why| problem(format!("service `{name}`: bad image name `{image}`")).expected(why))?,
                None if service.get("extends").is_some() => {}
                None => return Err(problem(format!("service `{name}` has no `image`"))),
            }
        }
        Ok(())
    }

    /// Networks and volumes that somebody else must have made: none of ours would be there on a new server.
    pub(super) fn check_external(&self, site: &Site<'_>, answers: &AppAnswers) -> Result<(), Problem> {
        if site.is_existing(&answers.on) {
            return Ok(());
        }
        // The network that databases of this server share.
        let known = [site.playbook.name.to_string()];
        for kind in ["networks", "volumes"] {
            for (name, spec) in self.table(kind) {
                let is_external = match spec.get("external") {
                    Some(Value::Bool(external)) => *external,
                    Some(Value::Object(_)) => true,
                    _ => false,
                };
                let real = spec.get("name").and_then(Value::as_str).unwrap_or(name);
                if is_external && !known.iter().any(|known| known == real) {
                    return Err(problem(format!(
                        "`{kind}.{name}` is external, and nothing makes `{real}` on the server"
                    ))
                    .hint("take `external: true` out: Compose then makes it"));
                }
            }
        }
        Ok(())
    }

    fn table(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.document.get(key).and_then(Value::as_object).into_iter().flatten()
    }
}
