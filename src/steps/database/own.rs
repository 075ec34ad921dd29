//! A PostgreSQL in a container on a server of the playbook. Only containers of apps that use it reach it, over a network
//! of their own: no port of the server leads to it.

use minijinja::context;

use crate::model::machine::{Cluster, Compose, Directory, File};
use crate::model::name::Name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::resource::{Resource, Spec};
use crate::model::value::{Quoting, Value};
use crate::steps::database::{DatabaseAnswers, DatabaseProvider};
use crate::steps::render::{Held, render};
use crate::steps::{Site, Step as _};

/// What the database and its owner are called.
const DATABASE: &str = "app";
/// The version it has unless told otherwise.
const VERSION: u32 = 17;

/// The network that leads to the database of `entry`, and its host's name in it; `None` where it is not on the server
/// `on`.
pub(crate) fn network(site: &Site<'_>, entry: &Entry, on: &Name) -> Option<String> {
    let answers = entry.answers::<DatabaseAnswers>().ok()?;
    let is_here = answers.provider == DatabaseProvider::Host && answers.on.as_ref() == Some(on);
    is_here.then(|| format!("{}_{}", site.playbook.name, entry.id))
}

/// The image it runs, where it runs one on a server.
pub(crate) fn image_on_host(answers: &DatabaseAnswers) -> Option<String> {
    (answers.provider == DatabaseProvider::Host).then(|| image(answers))
}

/// Where its image keeps data. From version 18 on it refuses to start with a volume at the old place
/// (github.com/docker-library/postgres/pull/1259).
fn mount(answers: &DatabaseAnswers) -> &'static str {
    match answers.version.unwrap_or(VERSION) {
        ..18 => "/var/lib/postgresql/data",
        18.. => "/var/lib/postgresql",
    }
}

fn image(answers: &DatabaseAnswers) -> String {
    format!("postgres:{}", answers.version.unwrap_or(VERSION))
}

/// The container and what it needs.
pub(super) fn container(site: &Site<'_>, answers: &DatabaseAnswers, password: Name) -> Result<Vec<Resource>, Problem> {
    let on = answers.on.clone().ok_or_else(|| Problem::new(site.entry.at.clone(), "missing field `on`"))?;
    if !site.playbook.steps.iter().take_while(|entry| entry.id != site.entry.id).any(|entry| entry.kind == "docker") {
        return Err(Problem::new(site.entry.kind_at.clone(), format!("no step `docker` for `{on}` above this one"))
            .expected("a step with `use = \"docker\"` and the same `on`, above")
            .hint(format!("`{}` runs a container", super::DatabaseStep.kind())));
    }
    let host = site.host(&on)?;
    let folder = site.folder();
    let root = || ("root".to_owned(), "root".to_owned());
    let project = format!("{}_{}", site.playbook.name, site.entry.id);
    let context = context! {
        mount => mount(answers), project => &project, image => image(answers), host => site.entry.id.as_str(), database => DATABASE,
    };
    let content =
        render("compose.yaml", include_str!("../../../templates/compose.postgres.yaml"), context, Held::default())
            .map_err(|e| Problem::new(site.entry.at.clone(), format!("cannot write compose.yaml: {e}")))?;
    let file = |path: String, content: Value, mode: u32| {
        let spec = File { path: path.clone(), content, owner: root(), mode, check: None, hidden: false };
        site.on_host(&host, "file", path, Spec::File(spec))
    };
    let directory = Directory { path: folder.clone(), owner: root(), mode: 0o755, tree: None };
    let compose = Compose {
        project: project.clone(),
        directory: folder.clone(),
        files: vec!["compose.yaml".to_owned()],
        reads: vec![format!("{folder}/compose.yaml"), format!("{folder}/password")],
        services: vec!["postgres".to_owned()],
        secrets: vec![password.clone()],
        env_files: vec![],
        forbidden: vec![],
        health: None,
        cluster: Some(Cluster { service: "postgres".to_owned(), version: answers.version.unwrap_or(VERSION) }),
    };
    let mut compose = site.on_host(&host, "compose", project, Spec::Compose(compose));
    compose.gives = vec![
        ("host", site.entry.id.to_string()),
        ("port", "5432".to_owned()),
        ("user", DATABASE.to_owned()),
        ("database", DATABASE.to_owned()),
        // The network is the host's own, and nobody else is in it.
        ("options", "?sslmode=disable".to_owned()),
        ("direct_host", site.entry.id.to_string()),
        ("direct_port", "5432".to_owned()),
        ("direct_user", DATABASE.to_owned()),
    ];
    Ok(vec![
        site.on_host(&host, "directory", folder.clone(), Spec::Directory(directory)),
        file(
            format!("{folder}/password"),
            Value::Joined(vec![Value::Secret(password, Quoting::Plain), "\n".into()]),
            0o600,
        ),
        file(format!("{folder}/compose.yaml"), content, 0o644),
        compose,
    ])
}
