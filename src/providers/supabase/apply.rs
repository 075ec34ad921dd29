//! Making and changing projects.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::doors::http::{Call, Method};
use crate::model::diff::{FieldChange, ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Resource, Spec};
use crate::model::secret::Secret;
use crate::model::service::{AllowList, Preferences, Project};
use crate::providers::supabase::account::{Account, Found, Info, Organization, PENDING, password_mark, reference};
use crate::providers::supabase::api::Supa;
use crate::providers::supabase::migrations;
use crate::providers::twins::{Made, came_first, gave_way, older_twin};

/// How long a project may take to come up; the next run takes the wait up where this one left it.
const DEADLINE: Duration = Duration::from_secs(600);

/// Carries the changes out, in order.
pub(super) async fn apply(api: Supa<'_>, changes: &[ReadyChange], report: &Report) -> Result<(), Failure> {
    for change in changes.iter().filter(|change| !matches!(change.verb, Verb::Keep | Verb::Conflict(_))) {
        if report.stopping() {
            return Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand"));
        }
        let address = change.resource.address.clone();
        report.tell(Progress::Started(address.clone()));
        let done = carry_out(api, change, report).await;
        report.tell(if done.is_ok() { Progress::Done(address) } else { Progress::Failed(address) });
        done?;
    }
    Ok(())
}

async fn carry_out(api: Supa<'_>, change: &ReadyChange, report: &Report) -> Result<(), Failure> {
    let resource = &change.resource;
    let account = Account::load(api).await?;
    if let Spec::Project(spec) = &resource.spec {
        let known: Vec<String> = account.projects.iter().map(|project| project.reference.clone()).collect();
        return match &change.verb {
            Verb::Delete => delete(api, &account, resource, spec).await,
            Verb::Replace(_) => {
                // Nothing is deleted that cannot be had again.
                let organization = organization_of(&account, spec)?;
                check_region(api, &organization.slug, &spec.region).await?;
                delete(api, &account, resource, spec).await?;
                create(api, &Account::load(api).await?, resource, spec, &known, report).await
            }
            Verb::Update(fields) => update(api, &account, resource, spec, fields, report).await,
            _ => match account.find(resource) {
                // It was not there at the last look: this run's own, whose answer was lost, or another run's.
                Found::Ours(..) => Ok(()),
                Found::Stranger(other) if !resource.adopt => Err(came_first(&other.name, &other.reference)),
                Found::Stranger(_) | Found::None => create(api, &account, resource, spec, &known, report).await,
            },
        };
    }
    let info = project_of(&account, resource)?;
    let path = format!("/projects/{}", info.reference);
    match &resource.spec {
        Spec::Preferences(spec) => {
            if set(api, &path, spec).await? {
                come_up(api, &info.reference, &info.name, report).await?;
            }
            Ok(())
        }
        Spec::AllowList(spec) => allow(api, &path, spec).await,
        Spec::Migrations(spec) => migrations::apply(api, spec, &info.reference).await,
        _ => Ok(()),
    }
}

fn project_of<'a>(account: &'a Account<'_>, resource: &Resource) -> Result<&'a Info, Failure> {
    match account.find(resource) {
        Found::Ours(info, _) => Ok(info),
        Found::Stranger(info) if resource.adopt => Ok(info),
        _ => Err(Failure::new(Kind::Failed, format!("the project of {} is not there", resource.address))
            .hint("it went while this run was under way: run the same command again")),
    }
}

pub(super) fn organization_of<'a>(account: &'a Account<'_>, spec: &Project) -> Result<&'a Organization, Failure> {
    let asked = spec.organization.as_deref().unwrap_or_default();
    account.organization(asked).ok_or_else(|| {
        let names: Vec<&str> = account.organizations.iter().map(|o| o.name.as_str()).collect();
        Failure::new(Kind::Human, format!("the token sees no organisation `{asked}`"))
            .hint(format!("it sees: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }))
    })
}

/// Is this a region where a project can be made?
pub(super) async fn check_region(api: Supa<'_>, organization: &str, region: &str) -> Result<(), Failure> {
    let call = Call::new(Method::Get, "/projects/available-regions").query("organization_slug", organization);
    let offered: Json = api.get_call(call).await?;
    let codes: Vec<&str> = offered["all"]["specific"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|place| place["code"].as_str())
        .collect();
    match codes.contains(&region) {
        true => Ok(()),
        false => Err(Failure::new(Kind::Playbook, format!("supabase has no region `{region}`"))
            .hint(format!("there are {}; nothing was done", codes.join(", ")))),
    }
}

fn password_of(api: Supa<'_>, spec: &Project) -> Result<Secret, Failure> {
    api.doors.keys.get(&spec.password).ok_or_else(|| {
        Failure::new(Kind::Human, format!("the secret `{}` has no value", spec.password))
            .hint(api.doors.keys.how_to_set(&spec.password))
    })
}

/// Makes the project, unless another run made one just before. Those of `known` were there already.
async fn create(
    api: Supa<'_>,
    account: &Account<'_>,
    resource: &Resource,
    spec: &Project,
    known: &[String],
    report: &Report,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct New {
        #[serde(rename = "ref")]
        reference: String,
        created_at: String,
    }
    let organization = organization_of(account, spec)?;
    let password = password_of(api, spec)?;
    // Before the effect: whatever of this name appears from now on is ours.
    api.doors.references.put(&resource.step, Some(PENDING))?;
    let mut body = json!({
        "db_pass": password.expose(), "name": resource.cloud_name(), "organization_slug": organization.slug,
        "region_selection": { "type": "specific", "code": spec.region },
    });
    if let Some(size) = spec.wishes.get("size") {
        body["desired_instance_size"] = size.to_string().into();
    }
    let call = Call::new(Method::Post, "/projects").body(body).hiding(password.expose());
    let made = api.send(&call).await;
    if let Err(failure) = &made
        && !matches!(failure.kind, Kind::Lost | Kind::Unreachable)
    {
        // Refused: nothing was made, and nothing of this name is ours.
        api.doors.references.put(&resource.step, None)?;
    }
    let made: New = serde_json::from_value(made?)
        .map_err(|e| Failure::new(Kind::Lost, "supabase's answer to a new project is not understood").because(e))?;
    let kept = reference(&made.reference, &password_mark(password.expose()));
    api.doors.references.put(&resource.step, Some(&kept))?;
    let ours = Made { id: &made.reference, at: &made.created_at };
    give_way(api, resource, known, ours).await?;
    come_up(api, &made.reference, &resource.cloud_name(), report).await?;
    if let Some(days) = spec.wishes.get("point_in_time") {
        order(api, &made.reference, "pitr", &days.to_string()).await?;
    }
    keep_keys(api, &made.reference, spec).await
}

/// Deletes `ours` again where another run made a project of the same name just before.
async fn give_way(api: Supa<'_>, resource: &Resource, known: &[String], ours: Made<'_>) -> Result<(), Failure> {
    let name = resource.cloud_name();
    // What is on its way out is left out there.
    let account = Account::load(api).await?;
    let twins = account.projects.iter().filter(|project| project.name == name);
    let twins = twins.map(|project| Made { id: &project.reference, at: &project.created_at });
    let Some(older) = older_twin(ours, known, twins) else { return Ok(()) };
    api.delete_project(ours.id).await?;
    api.doors.references.put(&resource.step, None)?;
    Err(gave_way(&name, older, ours.id))
}

async fn update(
    api: Supa<'_>,
    account: &Account<'_>,
    resource: &Resource,
    spec: &Project,
    fields: &[FieldChange],
    report: &Report,
) -> Result<(), Failure> {
    let info = project_of(account, resource)?;
    let path = format!("/projects/{}", info.reference);
    let changed = |field: &str| fields.iter().any(|change| change.field == field);
    if info.status == "INACTIVE" {
        report.tell(Progress::Note(format!("{} was paused for lack of visitors; it is woken up", info.name)));
        api.send(&Call::new(Method::Post, format!("{path}/restore"))).await?;
    }
    if info.status != "ACTIVE_HEALTHY" || changed("running") {
        come_up(api, &info.reference, &info.name, report).await?;
    }
    if changed("password") {
        let password = password_of(api, spec)?;
        // One that was just being made has this password already; setting it again changes nothing.
        let body = json!({ "password": password.expose() });
        let call = Call::new(Method::Patch, format!("{path}/database/password")).body(body);
        api.send(&call.hiding(password.expose())).await?;
        let kept = reference(&info.reference, &password_mark(password.expose()));
        api.doors.references.put(&resource.step, Some(&kept))?;
    }
    for (field, kind) in [("size", "compute_instance"), ("point_in_time", "pitr")] {
        if let Some(wish) = spec.wishes.get(field).filter(|_| changed(field)) {
            order(api, &info.reference, kind, &wish.to_string()).await?;
            come_up(api, &info.reference, &info.name, report).await?;
        }
    }
    if changed("secrets_kept") {
        keep_keys(api, &info.reference, spec).await?;
    }
    Ok(())
}

async fn delete(api: Supa<'_>, account: &Account<'_>, resource: &Resource, spec: &Project) -> Result<(), Failure> {
    if let Found::Ours(info, _) = account.find(resource) {
        api.delete_project(&info.reference).await?;
    }
    // Only then: until it is gone, the lock line is the only one who knows that it is ours.
    api.doors.references.put(&resource.step, None)?;
    spec.secrets.iter().try_for_each(|name| api.doors.keys.remove(name))
}

/// Orders an add-on: `compute_instance` of a size, or `pitr` for so many days.
async fn order(api: Supa<'_>, reference: &str, kind: &str, wish: &str) -> Result<(), Failure> {
    let variant = match kind {
        "pitr" => format!("pitr_{}", wish.trim_end_matches(" days")),
        _ => format!("ci_{wish}"),
    };
    let body = json!({ "addon_variant": variant, "addon_type": kind });
    api.act(Method::Patch, &format!("/projects/{reference}/billing/addons"), body).await.map(|_| ())
}

/// Waits until the project and what belongs to it is up. Bounded: projects were seen to be stuck for hours.
async fn come_up(api: Supa<'_>, reference: &str, name: &str, report: &Report) -> Result<(), Failure> {
    let path = format!("/projects/{reference}");
    let begun = Instant::now();
    let mut gap = api.first_gap();
    loop {
        let info: Info = api.get(&path).await?;
        let mut state = info.status.clone();
        match state.as_str() {
            "ACTIVE_HEALTHY" => {
                let mut call = Call::new(Method::Get, format!("{path}/health"));
                for service in ["auth", "db", "pooler", "rest"] {
                    call = call.query("services", service);
                }
                let health: Vec<Json> = api.get_call(call).await?;
                let late = health.iter().find(|service| service["status"] != "ACTIVE_HEALTHY");
                match late {
                    None => return Ok(()),
                    Some(service) => state = format!("its {} is {}", service["name"], service["status"]),
                }
            }
            "INIT_FAILED" | "RESTORE_FAILED" | "PAUSE_FAILED" | "REMOVED" => {
                return Err(Failure::new(Kind::Human, format!("supabase could not bring {name} up: {state}")).hint(
                    format!("delete it at https://supabase.com/dashboard/project/{reference}, then run the same command again"),
                ));
            }
            _ => {}
        }
        if begun.elapsed() > DEADLINE || report.stopping() {
            let kind = if report.stopping() { Kind::Stopped } else { Kind::Human };
            return Err(Failure::new(kind, format!("{name} is not up yet: {state}")).hint(format!(
                "run the same command again later: it goes on waiting. If nothing moves for an hour, write to \
                 https://supabase.com/dashboard/support: \"project {reference} is stuck in {state}\""
            )));
        }
        report.tell(Progress::Waiting(format!("supabase to bring up {name}: {state}")));
        sleep(gap).await;
        gap = (gap * 2).min(Duration::from_secs(5));
    }
}

/// Takes the project's keys into the vault.
async fn keep_keys(api: Supa<'_>, reference: &str, spec: &Project) -> Result<(), Failure> {
    let call = Call::new(Method::Get, format!("/projects/{reference}/api-keys")).query("reveal", true);
    let keys: Vec<Json> = api.get_call(call).await?;
    for secret in &spec.secrets {
        let (kind, old) = match secret.as_str().ends_with("-anon-key") {
            true => ("publishable", "anon"),
            false => ("secret", "service_role"),
        };
        let new = keys.iter().find(|key| key["type"] == kind);
        let key = new.or_else(|| keys.iter().find(|key| key["name"] == old));
        let value = key.and_then(|key| key["api_key"].as_str()).ok_or_else(|| {
            Failure::new(Kind::Failed, format!("supabase gives no key of the kind `{old}` for {reference}"))
                .hint("run the same command again")
        })?;
        api.doors.keys.put(secret, Secret::new(value.to_owned()))?;
    }
    Ok(())
}

/// Sets what differs. Enforcing TLS restarts the database (supabase.com/docs/guides/platform/ssl-enforcement), so that is
/// only asked for where it is off; tells whether it was.
async fn set(api: Supa<'_>, path: &str, spec: &Preferences) -> Result<bool, Failure> {
    let mut auth = json!({});
    if let Some(seconds) = spec.wishes.get("login_seconds") {
        auth["jwt_exp"] = seconds.to_string().parse::<u32>().unwrap_or_default().into();
    }
    if let Some(confirm) = spec.wishes.get("confirm_email") {
        auth["mailer_autoconfirm"] = (confirm.to_string() != "true").into();
    }
    api.act(Method::Patch, &format!("{path}/config/auth"), auth).await?;
    let seen: Json = api.get(&format!("{path}/ssl-enforcement")).await?;
    if seen["currentConfig"]["database"] == true {
        return Ok(false);
    }
    let body = json!({ "requestedConfig": { "database": true } });
    api.act(Method::Put, &format!("{path}/ssl-enforcement"), body).await.map(|_| true)
}

async fn allow(api: Supa<'_>, path: &str, spec: &AllowList) -> Result<(), Failure> {
    let texts = spec.addresses.iter().map(ToString::to_string);
    let (six, four): (Vec<String>, Vec<String>) = texts.partition(|address| address.contains(':'));
    let cidrs = |list: Vec<String>, bits: u8| -> Vec<String> {
        list.into_iter().map(|a| if a.contains('/') { a } else { format!("{a}/{bits}") }).collect()
    };
    let body = json!({ "dbAllowedCidrs": cidrs(four, 32), "dbAllowedCidrsV6": cidrs(six, 128) });
    api.act(Method::Post, &format!("{path}/network-restrictions/apply"), body).await.map(|_| ())
}
