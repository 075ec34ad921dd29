//! Step `app`: what the server is for. An image, a compose file, or a folder of static files.

use std::collections::BTreeMap;

use minijinja::context;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::draft::Draft;
use crate::model::machine::{Compose, Directory, File, GeneratedSecret, Health, HostAt};
use crate::model::name::Name;
use crate::model::playbook::{Entry, Playbook};
use crate::model::problem::Problem;
use crate::model::question::Page;
use crate::model::resource::{Resource, Spec};
use crate::model::value::{Input, Quoting, Value};
use crate::steps::app::compose::ComposeFile;
use crate::steps::app::compose::rights::Right;
use crate::steps::render::{Held, render};
use crate::steps::{About, Needs, Site, Source, Sources, Step, Wanted, database, firewall};

mod checks;
mod compose;
mod limits;
mod pages;
mod sent;

/// The step itself.
pub struct AppStep;

/// More than this is not sent over SSH in one go.
const STATIC_LIMIT: usize = 16 << 20;

/// Answers of the step `app`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppAnswers {
    /// The server it is on.
    pub on: Name,
    /// A container image with its tag, such as `ghcr.io/acme/web:1.4.2`. Either this, `compose` or `static`.
    pub image: Option<String>,
    /// A compose file beside the playbook.
    pub compose: Option<String>,
    /// A folder of files beside the playbook, served as they are.
    #[serde(rename = "static")]
    pub folder: Option<String>,
    /// The service of the compose file that the proxy talks to. Default: the only one.
    pub service: Option<String>,
    /// The port the app listens on inside its container.
    pub port: Option<u16>,
    /// The port on the server's loopback address. Default: the value of `port`.
    pub listen: Option<u16>,
    /// The name visitors use, such as `app.acme.dev`. Without one, the proxy leaves the app alone.
    pub host: Option<String>,
    /// A path that answers with success when the app is healthy, such as `/healthz`.
    pub health: Option<String>,
    /// The memory the container of an `image` may use, such as `512m` or `2g`; `none` for no limit. Default `1g`.
    /// A compose file says it itself.
    pub memory: Option<String>,
    /// What the container of an `image` may do beyond an ordinary program, such as `["NET_ADMIN"]`. Default: what
    /// images need that begin as root and then become somebody else. A compose file says it itself.
    pub capabilities: Option<Vec<String>>,
    /// May the container of an `image` write nowhere but to /tmp, /run and its volumes? Default no.
    pub read_only: Option<bool>,
    /// Where the container of an `image` keeps what must stay, such as `["/data"]`: each becomes a volume. A compose file
    /// says it itself.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Rights that give a container the server, or much of it: `privileged`, `host-network`, `host-namespaces`,
    /// `docker-socket`, `host-files`, `capabilities`, `devices`, `outer-network`, `unconfined`. Each that a compose file
    /// asks for, or an image's `capabilities`, is refused unless it stands here.
    #[serde(default)]
    pub allow: Vec<Right>,
    /// Environment variables: literals, outputs or secrets. For a compose file they also fill its `${VARIABLES}`, in
    /// every service.
    #[serde(default)]
    pub env: BTreeMap<String, Input>,
}

impl AppAnswers {
    /// The port on the server's loopback address that answers for the app; `None` for static files.
    pub fn loopback_port(&self) -> Option<u16> {
        self.listen.or(self.port).filter(|_| self.folder.is_none())
    }
}

/// An image an app runs, and how it answers; for those who must bring images themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct RunImage {
    /// The image's name.
    pub image: String,
    /// The port it listens on.
    pub port: u16,
    /// The path that answers when it is healthy.
    pub health: String,
}

/// Every image the apps and databases of `playbook` run on servers.
pub fn images(playbook: &Playbook, sources: &Sources) -> Vec<RunImage> {
    let mut all = Vec::new();
    for answers in playbook
        .steps
        .iter()
        .filter(|e| e.kind == "database")
        .filter_map(|e| e.answers::<database::DatabaseAnswers>().ok())
    {
        if let Some(image) = database::image_on_host(&answers) {
            all.push(RunImage { image, port: 5432, health: "/".to_owned() });
        }
    }
    for answers in
        playbook.steps.iter().filter(|entry| entry.kind == "app").filter_map(|e| e.answers::<AppAnswers>().ok())
    {
        let port = answers.port.unwrap_or(8080);
        let health = answers.health.clone().unwrap_or_else(|| "/".to_owned());
        if let Some(image) = answers.image.clone() {
            all.push(RunImage { image, port, health });
        } else if let Some(Source::File(bytes)) = answers.compose.as_ref().and_then(|path| sources.get(path)) {
            let text = String::from_utf8_lossy(bytes);
            let Ok(file) = ComposeFile::read(&text, &answers) else { continue };
            let chosen = file.chosen(answers.service.as_deref()).unwrap_or_default();
            for (service, image) in file.images() {
                let port = if service == chosen { port } else { 8080 };
                all.push(RunImage { image, port, health: health.clone() });
            }
        }
    }
    all
}

/// The folder on the host that holds a static app's files.
pub fn static_root(folder: &str) -> String {
    format!("{folder}/site")
}

impl Step for AppStep {
    fn kind(&self) -> &'static str {
        "app"
    }

    fn about(&self) -> About {
        About {
            title: "An app",
            summary: "Runs a container image or a compose file, bound to the loopback address so that only the \
                      proxy reaches it, and waits until it is healthy; or places a folder of static files. Containers get limits \
                      on memory and processes, few capabilities, and no way to more, unless a compose file says otherwise.",
            outputs: &[("url", "where visitors find it; only with `host`")],
        }
    }

    fn pages(&self, draft: &Draft) -> Vec<Page> {
        pages::pages(draft)
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<AppAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<AppAnswers>()?;
        checks::by_itself(entry, &answers)?;
        let mut needs = Needs::on(entry, &answers.on);
        for (variable, input) in &answers.env {
            if let Input::Output(key) = input {
                needs.outputs.push((key.clone(), entry.place_of(&format!("env.{variable}"))));
            }
        }
        for (key, path) in [("compose", &answers.compose), ("static", &answers.folder)] {
            if let Some(path) = path {
                needs.files.push((path.clone(), entry.place_of(key)));
            }
        }
        Ok(needs)
    }

    fn more_files(&self, entry: &Entry, sources: &Sources) -> Result<Vec<Wanted>, Problem> {
        sent::wanted(entry, sources)
    }

    fn notes(&self, site: &Site<'_>) -> Vec<String> {
        let Ok(answers) = site.entry.answers::<AppAnswers>() else { return vec![] };
        let mut notes: Vec<String> = answers
            .allow
            .iter()
            .map(|right| {
                format!("`{}` may use {}: whoever breaks into it has the server", site.entry.id, right.as_str())
            })
            .collect();
        for (variable, input) in &answers.env {
            if matches!(input, Input::Literal(value) if looks_secret(variable, value)) {
                notes.push(format!(
                    "{variable} of `{}` looks like a secret, and stands in the open in the playbook: write {variable} = {{ secret = \
                     \"{}\" }}, and give its value to `landfall secrets set`",
                    site.entry.id,
                    variable.to_lowercase().replace('_', "-"),
                ));
            }
        }
        let file = answers.compose.as_ref().and_then(|path| compose::beside::gather(path, &answers, site.sources).ok());
        for service in file.iter().flat_map(|(file, _)| file.databases()) {
            notes.push(format!(
                "`{service}` of `{}` keeps a database in a volume, which backups copy while it runs: such a copy may be torn. The \
                 step `database` is dumped; so is what the app itself dumps into one of the `folders` of the step `backups`",
                site.entry.id
            ));
        }
        notes
    }

    fn outputs(&self, entry: &Entry) -> Vec<&'static str> {
        let has_host = entry.answers::<AppAnswers>().is_ok_and(|answers| answers.host.is_some());
        if has_host { vec!["url"] } else { vec![] }
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<AppAnswers>()?;
        checks::among_the_others(site, &answers)?;
        let host = site.host(&answers.on)?;
        let mut all = match &answers.folder {
            Some(path) => vec![static_files(site, &host, path)?],
            None => containers(site, &host, &answers)?,
        };
        if let (Some(name), Some(last)) = (&answers.host, all.last_mut()) {
            last.gives.push(("url", format!("https://{name}")));
        }
        Ok(all)
    }
}

fn root() -> (String, String) {
    ("root".to_owned(), "root".to_owned())
}

fn static_files(site: &Site<'_>, host: &HostAt, path: &str) -> Result<Resource, Problem> {
    let place = site.entry.place_of("static");
    let Some(Source::Folder(files)) = site.sources.get(path) else {
        return Err(Problem::new(place, format!("`{path}` is not a folder")).expected("a folder of files"));
    };
    let size: usize = files.values().map(Vec::len).sum();
    if size > STATIC_LIMIT {
        return Err(Problem::new(place, format!("`{path}` holds {} MB", size >> 20))
            .expected(format!("at most {} MB", STATIC_LIMIT >> 20))
            .hint("build an image that serves the files, and use `image`"));
    }
    let directory = static_root(&site.folder());
    let spec = Directory { path: directory.clone(), owner: root(), mode: 0o755, tree: Some(files.clone()) };
    Ok(site.on_host(host, "directory", directory, Spec::Directory(spec)))
}

fn containers(site: &Site<'_>, host: &HostAt, answers: &AppAnswers) -> Result<Vec<Resource>, Problem> {
    let folder = site.folder();
    let mut all = vec![site.on_host(
        host,
        "directory",
        folder.clone(),
        Spec::Directory(Directory { path: folder.clone(), owner: root(), mode: 0o755, tree: None }),
    )];

    // A secret that may be made is made on the host and read by Compose from a file of its own.
    let mut env_files = Vec::new();
    let mut held = Held::default();
    let mut environment = Vec::new();
    for (variable, input) in &answers.env {
        if let Input::Secret { name, generate: Some(length) } = input {
            let path = format!("{folder}/{name}.env");
            let spec = GeneratedSecret { path: path.clone(), variable: variable.clone(), length: *length };
            all.push(site.on_host(host, "generated-secret", path.clone(), Spec::GeneratedSecret(spec)));
            env_files.push(format!("{name}.env"));
            continue;
        }
        let value = match site.value(input, Quoting::Compose) {
            Value::Text(text) => Quoting::Compose.quote(&text).into(),
            other => other,
        };
        environment.push(context! { name => variable, value => held.hold(value) });
    }

    let publish = answers.port.zip(answers.loopback_port());
    let publish = publish.map(|(inside, outside)| format!("127.0.0.1:{outside}:{inside}"));
    let mut files = vec!["compose.yaml".to_owned()];
    let mut services = vec!["app".to_owned()];
    let mut limited = Vec::new();
    let mut forbidden = Vec::new();
    let mut sent = sent::Sent::default();
    let mut kept_ports: Vec<String> = Vec::new();
    let (file, template, service) = match &answers.compose {
        None => ("compose.yaml", include_str!("../../templates/compose.yaml"), "app".to_owned()),
        Some(path) => {
            let at = |problem: Problem| Problem {
                at: site.entry.place_of("compose"),
                message: format!("`{path}`: {}", problem.message),
                ..problem
            };
            let (file, beside) = compose::beside::gather(path, answers, site.sources).map_err(at)?;
            let service = file.chosen(answers.service.as_deref()).map_err(at)?.to_owned();
            let opens = |protocol: &str, port: u16| firewall::opens(site, &answers.on, protocol, port);
            let kept = file.ports_to_keep(&service, answers.port, &opens).map_err(at)?;
            kept_ports = kept.iter().map(|port| port.to_string().replace('$', "$$")).collect();
            file.check_images().map_err(at)?;
            file.check_rights(&answers.allow).map_err(at)?;
            file.check_external(site, answers).map_err(at)?;
            forbidden = ComposeFile::forbidden(&answers.allow);
            services = file.always();
            sent = sent::files(site, host, &folder, path, &beside).map_err(at)?;
            limited = file
                .services
                .iter()
                .map(|(name, spec)| limits::missing(name, spec, *name == service, sent.digests.get(name)))
                .collect();
            files.push("compose.landfall.yaml".to_owned());
            ("compose.landfall.yaml", include_str!("../../templates/compose.landfall.yaml"), service)
        }
    };
    let mut value_files = Vec::new();
    if answers.compose.is_some() {
        // For the variables in the file; what is generated has files of its own.
        let lines = answers.env.iter().filter(|(_, input)| !matches!(input, Input::Secret { generate: Some(_), .. }));
        let mut parts: Vec<Value> = vec!["# Written by Landfall: values for the variables in compose.yaml.\n".into()];
        for (variable, input) in lines {
            let value = match site.value(input, Quoting::Dotenv) {
                Value::Text(text) => Quoting::Dotenv.quote(&text).into(),
                other => other,
            };
            parts.extend([format!("{variable}=").into(), value, "\n".into()]);
        }
        all.push(file_resource(site, host, &format!("{folder}/landfall.env"), Value::Joined(parts), 0o600));
        value_files.push("landfall.env".to_owned());
        value_files.extend(env_files.iter().cloned());
    }
    all.append(&mut sent.resources);
    // No name holds an underscore, so no two playbooks and apps meet in one project.
    let project = format!("{}_{}", site.playbook.name, site.entry.id);
    let mut networks: Vec<String> = Vec::new();
    for input in answers.env.values() {
        let Input::Output(key) = input else { continue };
        let entry = site.playbook.step(key.step.as_str()).filter(|entry| entry.kind == "database");
        let network = entry.and_then(|entry| database::network(site, entry, &answers.on));
        networks.extend(network.filter(|network| !networks.contains(network)));
    }
    let context = context! {
        networks,
        service, publish, kept_ports, environment, project => &project, env_files => &env_files, services => limited,
        memory => answers.memory.as_deref().or(Some(limits::MEMORY)).filter(|memory| *memory != "none"),
        processes => limits::PROCESSES,
        capabilities => answers.capabilities.clone().unwrap_or_else(|| limits::CAPABILITIES.iter().map(|c| (*c).to_owned()).collect()),
        read_only => answers.read_only.unwrap_or(false),
        image => answers.image.clone().unwrap_or_default(),
        volumes => answers.volumes.iter().map(|path| context! { name => volume_name(path), path }).collect::<Vec<_>>(),
    };
    let content = render(file, template, context, held)
        .map_err(|e| Problem::new(site.entry.at.clone(), format!("cannot write {file}: {e}")))?;
    // Secrets may stand in it, so only root reads it.
    all.push(file_resource(site, host, &format!("{folder}/{file}"), content, 0o600));

    let mut reads: Vec<String> = files.iter().map(|file| format!("{folder}/{file}")).collect();
    reads.extend(env_files.iter().map(|file| format!("{folder}/{file}")));
    if answers.compose.is_some() {
        reads.push(format!("{folder}/landfall.env"));
    }
    reads.append(&mut sent.paths);
    // What visitors ask for must answer; what nobody asks for may speak another protocol.
    let is_asked = answers.health.is_some() || answers.host.is_some();
    let health = answers.loopback_port().filter(|_| is_asked).map(|port| Health {
        port,
        path: answers.health.clone(),
        host: answers.host.clone(),
    });
    let given = answers.env.values().filter_map(|input| match input {
        Input::Secret { name, generate: None } => Some(name.clone()),
        _ => None,
    });
    let derived = answers.env.values().flat_map(|input| match input {
        Input::Output(key) => site.output(&key.step, &key.name).secrets(),
        _ => vec![],
    });
    let secrets = given.chain(derived).collect();
    let spec = Compose {
        project: project.clone(),
        directory: folder,
        files,
        reads,
        services,
        secrets,
        env_files: value_files,
        forbidden,
        health,
        cluster: None,
    };
    all.push(site.on_host(host, "compose", project, Spec::Compose(spec)));
    Ok(all)
}

/// Does this literal look like one that only few should see: by its name, or by how well-known services begin theirs?
fn looks_secret(variable: &str, value: &str) -> bool {
    const BEGINNINGS: &[&str] =
        &["sk_live_", "sk_test_", "rk_live_", "ghp_", "github_pat_", "glpat-", "AKIA", "xoxb-", "-----BEGIN "];
    const ENDINGS: &[&str] = &["KEY", "SECRET", "TOKEN", "PASSWORD", "PASSWD"];
    let name = variable.to_ascii_uppercase();
    let by_name = ENDINGS.iter().any(|end| name.ends_with(end)) && !name.contains("PUBLIC") && value.len() >= 8;
    by_name || BEGINNINGS.iter().any(|begin| value.starts_with(begin))
}

/// What Compose calls the volume at `path`, which was checked.
fn volume_name(path: &str) -> String {
    path.trim_matches('/').replace('/', "-")
}

fn file_resource(site: &Site<'_>, host: &HostAt, path: &str, content: Value, mode: u32) -> Resource {
    let spec = File { path: path.to_owned(), content, owner: root(), mode, check: None, hidden: false };
    site.on_host(host, "file", path.to_owned(), Spec::File(spec))
}
