//! Steps: pure functions from answers to the resources we want. A new step is one file and one line.

pub mod app;
pub mod backups;
pub mod check;
pub mod database;
pub mod dns;
pub mod docker;
pub mod firewall;
pub mod hardening;
pub mod proxy;
pub mod reference;
pub mod render;
pub mod server;

use std::collections::BTreeMap;
use std::ops::Range;

use schemars::{Schema, SchemaGenerator};

use crate::model::draft::Draft;
use crate::model::machine::HostAt;
use crate::model::name::Name;
use crate::model::playbook::{Entry, Playbook};
use crate::model::problem::Problem;
use crate::model::question::Page;
use crate::model::resource::{Address, Resource, Spec};
use crate::model::value::{Input, OutputKey, Outputs, Value};

/// A chapter of the playbook.
pub trait Step: Sync {
    /// What a playbook's `use` calls it.
    fn kind(&self) -> &'static str;

    /// What it is for, for the reference and the wizard.
    fn about(&self) -> About;

    /// The JSON Schema of its answers.
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;

    /// Reads the answers and says what they refer to. The problem says why they cannot be right.
    fn needs(&self, entry: &Entry) -> Result<Needs, Problem>;

    /// What else must be read from beside the playbook, as far as what was read already lets one see.
    fn more_files(&self, _entry: &Entry, _sources: &Sources) -> Result<Vec<Wanted>, Problem> {
        Ok(vec![])
    }

    /// What somebody should know before anything is done, and that is no mistake.
    fn notes(&self, _site: &Site<'_>) -> Vec<String> {
        vec![]
    }

    /// The outputs this step will give, by name.
    fn outputs(&self, entry: &Entry) -> Vec<&'static str>;

    /// The output `name` of `entry`, where it is put together from others or from secrets.
    fn derive(&self, _site: &Site<'_>, _entry: &Entry, _name: &str) -> Option<Value> {
        None
    }

    /// The pages of the wizard that ask for its answers, as far as they can be told from `draft`.
    fn pages(&self, _draft: &Draft) -> Vec<Page> {
        vec![]
    }

    /// Shall the wizard add this step by itself, because of what else is wanted?
    fn comes_along(&self, _draft: &Draft) -> bool {
        false
    }

    /// The answer that names the server this step is for, where it has one.
    fn named_server(&self, _draft: &Draft) -> Option<&'static str> {
        Some("on")
    }

    /// The resources these answers ask for. Outputs that do not exist yet stand in them as placeholders.
    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem>;
}

/// All steps, in the order of the reference.
pub static STEPS: &[&dyn Step] = &[
    &server::ServerStep,
    &hardening::HardeningStep,
    &firewall::FirewallStep,
    &docker::DockerStep,
    &database::DatabaseStep,
    &backups::BackupsStep,
    &app::AppStep,
    &proxy::ProxyStep,
    &dns::DnsStep,
];

/// The step a playbook calls `kind`.
pub fn find(kind: &str) -> Option<&'static dyn Step> {
    STEPS.iter().copied().find(|step| step.kind() == kind)
}

/// What a step is for.
pub struct About {
    /// A few words.
    pub title: &'static str,
    /// One or two sentences.
    pub summary: &'static str,
    /// Every output it can give, with a sentence each.
    pub outputs: &'static [(&'static str, &'static str)],
}

/// What a step's answers refer to, with the place of each in the playbook.
#[derive(Debug, Default)]
pub struct Needs {
    /// The server it is on.
    pub on: Option<(Name, Range<usize>)>,
    /// Outputs it uses.
    pub outputs: Vec<(OutputKey, Range<usize>)>,
    /// Files and folders beside the playbook.
    pub files: Vec<(String, Range<usize>)>,
}

impl Needs {
    /// Needs of a step that is on `server`.
    pub fn on(entry: &Entry, server: &Name) -> Needs {
        Needs { on: Some((server.clone(), entry.place_of("on"))), ..Needs::default() }
    }
}

/// A file or folder beside the playbook, as it was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file's content.
    File(Vec<u8>),
    /// Every file of a folder, by relative path.
    Folder(BTreeMap<String, Vec<u8>>),
}

/// A file or folder that something beside the playbook names.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its path from the playbook's folder.
    pub path: String,
    /// What in the playbook leads to it.
    pub at: Range<usize>,
    /// May it be missing?
    pub optional: bool,
}

/// What was read from beside the playbook, by the path the playbook gives.
pub type Sources = BTreeMap<String, Source>;

/// What a step may look at.
pub struct Site<'a> {
    /// The whole playbook.
    pub playbook: &'a Playbook,
    /// The step's own entry.
    pub entry: &'a Entry,
    /// Outputs known so far.
    pub outputs: &'a Outputs,
    /// Files and folders beside the playbook.
    pub sources: &'a Sources,
}

impl Site<'_> {
    /// The output `step.name`: its value, or a placeholder. What is put together from secrets names them.
    pub fn output(&self, step: &Name, name: &str) -> Value {
        let entry = self.playbook.step(step.as_str());
        let derived = entry.and_then(|entry| find(&entry.kind)?.derive(self, entry, name));
        derived.unwrap_or_else(|| self.plain_output(step, name))
    }

    /// The output `step.name` as the world gave it, or a placeholder.
    pub fn plain_output(&self, step: &Name, name: &str) -> Value {
        let key = OutputKey { step: step.clone(), name: name.to_owned() };
        self.outputs.get(&key).map_or_else(|| Value::Output(key.clone()), |value| value.as_str().into())
    }

    /// The value an answer stands for.
    pub fn value(&self, input: &Input, quoting: crate::model::value::Quoting) -> Value {
        match input {
            Input::Literal(text) => text.as_str().into(),
            Input::Output(key) => match self.output(&key.step, &key.name) {
                value @ (Value::Joined(_) | Value::Secret(..)) => value.quoted(quoting),
                value => value,
            },
            Input::Secret { name, .. } => Value::Secret(name.clone(), quoting),
        }
    }

    /// How to reach the host that the step `server` makes.
    pub fn host(&self, server: &Name) -> Result<HostAt, Problem> {
        let entry = self
            .playbook
            .step(server.as_str())
            .ok_or_else(|| Problem::new(self.entry.place_of("on"), format!("there is no step called `{server}`")))?;
        server::host_at(self, entry)
    }

    /// Is the server of the step `server` one that was there before?
    pub fn is_existing(&self, server: &Name) -> bool {
        let entry = self.playbook.step(server.as_str());
        let answers = entry.and_then(|entry| entry.answers::<server::ServerAnswers>().ok());
        answers.is_some_and(|answers| answers.provider == server::ServerProvider::Existing)
    }

    /// A resource in the cloud.
    pub fn in_cloud(&self, provider: &'static str, kind: &'static str, name: String, spec: Spec) -> Resource {
        let address = Address { provider, place: None, kind, name };
        self.resource(address, None, spec)
    }

    /// A resource on a host.
    pub fn on_host(&self, at: &HostAt, kind: &'static str, name: String, spec: Spec) -> Resource {
        let address = Address { provider: "host", place: Some(at.step.clone()), kind, name };
        self.resource(address, Some(at.clone()), spec)
    }

    /// Where this step keeps its files on a host.
    pub fn folder(&self) -> String {
        folder(self.playbook, &self.entry.id)
    }

    fn resource(&self, address: Address, on: Option<HostAt>, spec: Spec) -> Resource {
        let owner = self.playbook.name.clone();
        Resource { address, owner, step: self.entry.id.clone(), on, spec, gives: vec![], gone: false, adopt: false }
    }
}

/// Where the step `id` keeps its files on a host.
pub fn folder(playbook: &Playbook, id: &Name) -> String {
    format!("/srv/landfall/{}/{id}", playbook.name)
}

/// What all steps of the playbook have to say before anything is done.
pub fn notes(playbook: &Playbook, sources: &Sources) -> Vec<String> {
    let outputs = Outputs::new();
    let site = |entry| Site { playbook, entry, outputs: &outputs, sources };
    let steps = playbook.steps.iter().filter_map(|entry| Some((entry, find(&entry.kind)?)));
    steps.flat_map(|(entry, step)| step.notes(&site(entry))).collect()
}

/// Everything the playbook asks for, in order, with `outputs` filled in. A resource that several steps
/// ask for in the same way is listed once, under the first of them.
pub fn desired(playbook: &Playbook, outputs: &Outputs, sources: &Sources) -> Result<Vec<Resource>, Vec<Problem>> {
    let mut resources: Vec<Resource> = Vec::new();
    let mut known: BTreeMap<Address, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for entry in &playbook.steps {
        let Some(step) = find(&entry.kind) else { continue };
        match step.desired(&Site { playbook, entry, outputs, sources }) {
            Ok(wanted) => {
                for resource in wanted {
                    match known.get(&resource.address).and_then(|at| resources.get_mut(*at)) {
                        None => {
                            known.insert(resource.address.clone(), resources.len());
                            resources.push(resource);
                        }
                        // What one step wants stays, whatever another no longer does.
                        Some(twin) if twin.gone != resource.gone => {
                            if twin.gone {
                                *twin = resource;
                            }
                        }
                        Some(twin) if twin.spec.fields() == resource.spec.fields() => {}
                        Some(twin) => problems.push(Problem::new(
                            entry.at.clone(),
                            format!("`{}` and `{}` want {} to be different things", twin.step, entry.id, twin.address),
                        )),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(resources) } else { Err(problems) }
}
