//! Projects: which are ours, what they are like, and how they are made and changed.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::doors::http::Method;
use crate::model::diff::{FieldChange, ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::money::{Money, PriceLine};
use crate::model::name::Name;
use crate::model::rented;
use crate::model::resource::{Address, Fields, Observed, Owned, Resource, Spec};
use crate::model::secret::Secret;
use crate::model::service::Project;
use crate::model::value::{Quoting, Value};
use crate::providers::neon::api::{NeonApi, parse};
use crate::providers::twins::{Made, gave_way, older_twin};

/// The annotation that says which playbook owns a project's branch, and which says for which step it was made.
const OWNER: &str = "landfall";
const STEP: &str = "landfall-step";
/// What the database and its role are called.
const DATABASE: &str = "app";
const ROLE: &str = "app_owner";

/// A project of ours, with what belongs to it.
pub(super) struct Mine {
    info: Info,
    step: String,
    branch: String,
    endpoint: Option<Endpoint>,
    quota: Json,
}

/// A project of our name: ours or somebody else's.
pub(super) enum Found {
    /// It carries our mark.
    Mine(Box<Mine>),
    /// It only has our name.
    Stranger(Info),
}

impl Found {
    fn info(&self) -> &Info {
        match self {
            Found::Mine(mine) => &mine.info,
            Found::Stranger(info) => info,
        }
    }
}

/// A project as the API lists it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Info {
    id: String,
    name: String,
    region_id: String,
    pg_version: i64,
    org_id: Option<String>,
    created_at: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    id: String,
    branch_id: String,
    host: String,
    #[serde(rename = "type")]
    kind: String,
    autoscaling_limit_min_cu: serde_json::Number,
    autoscaling_limit_max_cu: serde_json::Number,
    suspend_timeout_seconds: i64,
    #[serde(default)]
    disabled: bool,
}

/// Looks at every project of the playbook's names, in every organisation the key sees and in those that `want` names,
/// and at the branch of each for the mark.
pub(super) async fn load(api: NeonApi<'_>, owner: &Name, want: &[Resource]) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for info in list(api, owner, want).await? {
        found.push(look(api, owner, info).await?);
    }
    Ok(found)
}

/// Every project of the playbook's names.
async fn list(api: NeonApi<'_>, owner: &Name, want: &[Resource]) -> Result<Vec<Info>, Failure> {
    let mut organizations = api.organizations().await?;
    for resource in want {
        if let Spec::Project(Project { organization: Some(named), .. }) = &resource.spec
            && !organizations.contains(named)
        {
            organizations.push(named.clone());
        }
    }
    let prefix = format!("{owner}-");
    let mut named: Vec<Info> = Vec::new();
    for organization in &organizations {
        named.extend(api.projects::<Info>(&prefix, Some(organization)).await?);
    }
    if organizations.is_empty() {
        named = api.projects(&prefix, None).await?;
    }
    named.retain(|info| info.name.starts_with(&prefix));
    Ok(named)
}

async fn look(api: NeonApi<'_>, owner: &Name, info: Info) -> Result<Found, Failure> {
    let path = format!("/projects/{}", info.id);
    let (whole, branches_path, endpoints_path) =
        (path.clone(), format!("{path}/branches"), format!("{path}/endpoints"));
    let (project, branches, endpoints) =
        tokio::try_join!(api.get(&whole), api.get(&branches_path), api.get(&endpoints_path))?;
    let branches_list = branches["branches"].as_array().cloned().unwrap_or_default();
    let branch = branches_list.iter().find(|branch| branch["default"] == true).and_then(|branch| branch["id"].as_str());
    let Some(branch) = branch else { return Ok(Found::Stranger(info)) };
    let marks = &branches["annotations"][branch]["value"];
    if marks[OWNER] != owner.as_str() {
        return Ok(Found::Stranger(info));
    }
    let all: Vec<Endpoint> = parse(endpoints["endpoints"].clone(), "endpoints")?;
    Ok(Found::Mine(Box::new(Mine {
        step: marks[STEP].as_str().unwrap_or_default().to_owned(),
        branch: branch.to_owned(),
        // Other branches, such as previews, have endpoints of their own.
        endpoint: all.into_iter().find(|endpoint| endpoint.kind == "read_write" && endpoint.branch_id == branch),
        quota: project["project"]["settings"]["quota"].clone(),
        info,
    })))
}

fn mine<'a>(found: &'a [Found], resource: &Resource) -> Option<&'a Mine> {
    found.iter().find_map(|found| match found {
        Found::Mine(mine) if mine.step == resource.step.as_str() => Some(&**mine),
        _ => None,
    })
}

/// What was seen of `resource`.
pub(super) fn see(api: NeonApi<'_>, found: &[Found], resource: &Resource) -> Observed {
    let Spec::Project(spec) = &resource.spec else { return Observed::Absent };
    let name = resource.cloud_name();
    let Some(mine) = mine(found, resource) else {
        let stranger = found.iter().find_map(|found| match found {
            Found::Stranger(info) if info.name == name => Some(info),
            _ => None,
        });
        return stranger.map_or(Observed::Absent, |info| {
            Observed::Foreign(format!(
                "there is a project {name} ({}) without Landfall's annotation; rename it, or rename the step",
                info.id
            ))
        });
    };
    let is_kept = api.doors.keys.get(&spec.password).is_some();
    let password = match is_kept {
        true => Value::Secret(spec.password.clone(), Quoting::Plain),
        false => "(not in the vault)".into(),
    };
    let mut fields = Fields::from([
        ("region", mine.info.region_id.as_str().into()),
        ("password", password),
        ("secrets_kept", spec.secrets.iter().all(|name| api.doors.keys.get(name).is_some()).into()),
        ("running", mine.endpoint.as_ref().is_some_and(|endpoint| !endpoint.disabled).into()),
        ("version", mine.info.pg_version.to_string().into()),
    ]);
    if let Some(organization) = &mine.info.org_id {
        fields.insert("organization", organization.as_str().into());
    }
    if let Some(endpoint) = &mine.endpoint {
        fields.insert("smallest", endpoint.autoscaling_limit_min_cu.to_string().into());
        fields.insert("largest", endpoint.autoscaling_limit_max_cu.to_string().into());
        // Zero stands for the usual five minutes.
        let seconds = if endpoint.suspend_timeout_seconds == 0 { 300 } else { endpoint.suspend_timeout_seconds };
        fields.insert("sleeps_after", seconds.to_string().into());
    }
    let size = mine.quota["logical_size_bytes"].as_i64().filter(|bytes| *bytes > 0);
    fields.insert("most_gb", size.map_or_else(|| "no limit".to_owned(), |bytes| (bytes >> 30).to_string()).into());
    let outputs = match &mine.endpoint {
        Some(endpoint) if is_kept => outputs(&endpoint.host),
        _ => vec![],
    };
    Observed::Present { fields, outputs, ours: true }
}

/// How it is reached: through the pooler, whose host has a word more, and directly.
fn outputs(host: &str) -> Vec<(&'static str, String)> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "5432"));
    // An address, as a rehearsal has it, has no pooler of its own.
    let pooled = match name.split_once('.') {
        Some((endpoint, rest)) if endpoint.starts_with("ep-") => format!("{endpoint}-pooler.{rest}"),
        _ => name.to_owned(),
    };
    vec![
        ("host", pooled),
        ("port", port.to_owned()),
        ("user", ROLE.to_owned()),
        ("database", DATABASE.to_owned()),
        ("options", "?sslmode=require".to_owned()),
        ("direct_host", name.to_owned()),
        ("direct_port", port.to_owned()),
        ("direct_user", ROLE.to_owned()),
    ]
}

/// Everything that carries the mark.
pub(super) fn owned(found: &[Found]) -> Vec<Owned> {
    let mine = found.iter().filter_map(|found| match found {
        Found::Mine(mine) => Some(mine),
        Found::Stranger(_) => None,
    });
    mine.map(|mine| Owned {
        address: Address { provider: "neon", place: None, kind: "project", name: mine.step.clone() },
        id: mine.info.id.clone(),
    })
    .collect()
}

/// What it costs at least a month: a project that never sleeps uses its smallest compute all the time.
pub(super) fn bill(want: &[Resource]) -> Vec<PriceLine> {
    let mut lines = Vec::new();
    for resource in want {
        let Spec::Project(spec) = &resource.spec else { continue };
        for (what, amount) in rented::neon(spec) {
            let monthly = Money { amount, currency: "USD".to_owned() };
            lines.push(PriceLine { address: resource.address.clone(), what, monthly });
        }
    }
    lines
}

/// Carries the changes out, in order.
pub(super) async fn apply(api: NeonApi<'_>, changes: &[ReadyChange], report: &Report) -> Result<(), Failure> {
    for change in changes.iter().filter(|change| !matches!(change.verb, Verb::Keep | Verb::Conflict(_))) {
        if report.stopping() {
            return Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand"));
        }
        let address = change.resource.address.clone();
        report.tell(Progress::Started(address.clone()));
        let done = carry_out(api, change).await;
        report.tell(if done.is_ok() { Progress::Done(address) } else { Progress::Failed(address) });
        done?;
    }
    Ok(())
}

async fn carry_out(api: NeonApi<'_>, change: &ReadyChange) -> Result<(), Failure> {
    let resource = &change.resource;
    let Spec::Project(spec) = &resource.spec else { return Ok(()) };
    let found = load(api, &resource.owner, std::slice::from_ref(resource)).await?;
    let there = mine(&found, resource);
    let known: Vec<String> = found.iter().map(|found| found.info().id.clone()).collect();
    match (&change.verb, there) {
        (Verb::Delete, Some(mine)) => delete(api, mine, spec).await,
        (Verb::Delete, None) => forget(api, spec),
        (Verb::Replace(_), Some(mine)) => {
            // Nothing is deleted that cannot be had again.
            check_region(api, &spec.region).await?;
            prove_place(api, &spec.password)?;
            delete(api, mine, spec).await?;
            create(api, resource, spec, &known).await
        }
        (Verb::Update(fields), Some(mine)) => update(api, mine, spec, fields).await,
        (_, Some(_)) => Ok(()),
        (_, None) => create(api, resource, spec, &known).await,
    }
}

/// Is this a region where a project can be made?
async fn check_region(api: NeonApi<'_>, region: &str) -> Result<(), Failure> {
    let offered = api.get("/regions").await?;
    let ids: Vec<&str> =
        offered["regions"].as_array().into_iter().flatten().filter_map(|region| region["region_id"].as_str()).collect();
    match ids.contains(&region) {
        true => Ok(()),
        false => Err(Failure::new(Kind::Playbook, format!("neon has no region `{region}`"))
            .hint(format!("there are {}; nothing was done", ids.join(", ")))),
    }
}

async fn delete(api: NeonApi<'_>, mine: &Mine, spec: &Project) -> Result<(), Failure> {
    api.delete(&format!("/projects/{}", mine.info.id)).await?;
    forget(api, spec)
}

fn forget(api: NeonApi<'_>, spec: &Project) -> Result<(), Failure> {
    api.doors.keys.remove(&spec.password)
}

/// Proves that a secret can be kept, before anything is made that gives one: a project costs money, and its password is only
/// told once.
fn prove_place(api: NeonApi<'_>, password: &Name) -> Result<(), Failure> {
    let Some(trial) = Name::parse(&format!("{password}-trial")) else { return Ok(()) };
    api.doors.keys.put(&trial, Secret::new("trial".to_owned()))?;
    api.doors.keys.remove(&trial)
}

/// Makes the project, unless another run made one just before. Those of `known` were there already.
async fn create(api: NeonApi<'_>, resource: &Resource, spec: &Project, known: &[String]) -> Result<(), Failure> {
    prove_place(api, &spec.password)?;
    let mut project = json!({
        "name": resource.cloud_name(),
        "region_id": spec.region,
        "store_passwords": true,
        "default_endpoint_settings": compute(spec),
        "branch": {
            "name": "main", "database_name": DATABASE, "role_name": ROLE,
            "annotations": { OWNER: resource.owner.as_str(), STEP: resource.step.as_str() },
        },
        "settings": { "quota": quota(spec) },
    });
    if let Some(version) = text(spec, "version").and_then(|version| version.parse::<u32>().ok()) {
        project["pg_version"] = version.into();
    }
    if let Some(organization) = &spec.organization {
        project["org_id"] = organization.as_str().into();
    }
    let answer = api.act(Method::Post, "/projects", json!({ "project": project })).await?;
    give_way(api, resource, known, &answer["project"]).await?;
    let uris = answer["connection_uris"].as_array().cloned().unwrap_or_default();
    match uris.first().and_then(|uri| uri["connection_parameters"]["password"].as_str()) {
        Some(password) => api.doors.keys.put(&spec.password, Secret::new(password.to_owned())),
        // The next look sees that it is missing, and asks for it.
        None => Ok(()),
    }
}

/// Deletes what was `made` again where another run made a project of the same name just before.
async fn give_way(api: NeonApi<'_>, resource: &Resource, known: &[String], made: &Json) -> Result<(), Failure> {
    let (Some(id), Some(at)) = (made["id"].as_str(), made["created_at"].as_str()) else { return Ok(()) };
    let listed = list(api, &resource.owner, std::slice::from_ref(resource)).await?;
    let name = resource.cloud_name();
    let twins = listed.iter().filter(|info| info.name == name).map(|info| Made { id: &info.id, at: &info.created_at });
    let Some(older) = older_twin(Made { id, at }, known, twins) else { return Ok(()) };
    api.delete(&format!("/projects/{id}")).await?;
    Err(gave_way(&name, older, id))
}

async fn update(api: NeonApi<'_>, mine: &Mine, spec: &Project, fields: &[FieldChange]) -> Result<(), Failure> {
    let path = format!("/projects/{}", mine.info.id);
    let changed = |names: &[&str]| fields.iter().any(|change| names.contains(&change.field));
    if changed(&["smallest", "largest", "sleeps_after", "running"]) {
        match &mine.endpoint {
            Some(endpoint) => {
                let mut body = compute(spec);
                body["disabled"] = false.into();
                api.act(Method::Patch, &format!("{path}/endpoints/{}", endpoint.id), json!({ "endpoint": body }))
                    .await?;
            }
            None => {
                let mut body = compute(spec);
                body["branch_id"] = mine.branch.as_str().into();
                body["type"] = "read_write".into();
                api.act(Method::Post, &format!("{path}/endpoints"), json!({ "endpoint": body })).await?;
            }
        }
    }
    if changed(&["most_gb"]) {
        let body = json!({ "project": { "settings": { "quota": quota(spec) } } });
        api.act(Method::Patch, &path, body).await?;
    }
    if changed(&["password"]) {
        let body = api.get(&format!("{path}/branches/{}/roles/{ROLE}/reveal_password", mine.branch)).await?;
        let password = body["password"].as_str().ok_or_else(|| {
            Failure::new(Kind::Failed, "neon does not tell the password of the database")
                .hint("give the role a new one at https://console.neon.tech, and run the same command again")
        })?;
        api.doors.keys.put(&spec.password, Secret::new(password.to_owned()))?;
    }
    Ok(())
}

fn text(spec: &Project, wish: &str) -> Option<String> {
    spec.wishes.get(wish).map(ToString::to_string)
}

fn number(text: &str) -> Json {
    text.parse::<Decimal>()
        .ok()
        .and_then(|n| serde_json::from_str(&n.normalize().to_string()).ok())
        .unwrap_or(Json::Null)
}

fn compute(spec: &Project) -> Json {
    let mut compute = json!({});
    for (wish, field) in [
        ("smallest", "autoscaling_limit_min_cu"),
        ("largest", "autoscaling_limit_max_cu"),
        ("sleeps_after", "suspend_timeout_seconds"),
    ] {
        if let Some(text) = text(spec, wish) {
            compute[field] = number(&text);
        }
    }
    compute
}

fn quota(spec: &Project) -> Json {
    let gigabytes = text(spec, "most_gb").and_then(|text| text.parse::<i64>().ok());
    // Zero means that there is no limit.
    json!({ "logical_size_bytes": gigabytes.unwrap_or_default() << 30 })
}
