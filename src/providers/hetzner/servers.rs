//! Making and changing servers at Hetzner.

use serde_json::{Value, json};

use crate::model::catalog::Plan;
use crate::model::cloud;
use crate::model::diff::FieldChange;
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::Resource;
use crate::providers::first_boot::FirstBoot;
use crate::providers::hetzner::api::{Denied, Hcloud};
use crate::providers::hetzner::apply::{id_of, labels, not_ours};
use crate::providers::hetzner::observe::Project;
use crate::providers::hetzner::sizes;
use crate::providers::hetzner::wire::{HOST_KEY, Server};

/// The longest user data the API takes.
const USER_DATA: usize = 32 << 10;

/// Orders a server, put together from what is there. Gives the API's answer, whose actions are still open.
pub(super) async fn create(
    api: Hcloud<'_>,
    resource: &Resource,
    spec: &cloud::Server,
    report: &Report,
) -> Result<Value, Failure> {
    let name = resource.cloud_name();
    let (catalog, project) = tokio::try_join!(sizes::catalog(api), load_parts(api, &name, spec))?;
    // By name: the specification lists text here.
    let keys: Vec<&str> =
        spec.keys.iter().filter_map(|key| project.ssh_key(key)).map(|key| key.name.as_str()).collect();
    let by_name = |name: &str| project.primary_ips.iter().find(|ip| ip.name == name).map(|ip| ip.id);
    let firewalls: Vec<Value> =
        project.firewalls.iter().filter(|f| f.name == name).map(|f| json!({ "firewall": f.id })).collect();
    let volumes: Vec<i64> = project.volumes.iter().filter(|v| spec.volume && v.name == name).map(|v| v.id).collect();

    let mut public_net = json!({});
    for family in [cloud::IpFamily::V4, cloud::IpFamily::V6] {
        let wanted = spec.families.contains(&family);
        public_net[format!("enable_{}", family.as_str())] = wanted.into();
        if let Some(id) = by_name(&format!("{name}-{}", family.as_str())).filter(|_| wanted) {
            public_net[family.as_str()] = id.into();
        }
    }

    let boot = FirstBoot::of(spec, USER_DATA)?;
    let mut labels = labels(resource);
    labels[HOST_KEY] = boot.label.into();

    let mut last: Option<Failure> = None;
    for (plan, here) in catalog.candidates(&spec.size, &spec.location)? {
        if let Some(sold_out) = last.take() {
            let price = here.monthly;
            let offer = format!("the next choice is {} at {price:.2} a month", plan.name);
            if spec.ceiling.is_some_and(|ceiling| price > ceiling) {
                return Err(sold_out.hint(format!("{offer}, which is more than the budget")));
            }
            report.tell(Progress::Note(format!("sold out in {}: {offer}", spec.location)));
        }
        let body = json!({
            "name": name, "server_type": plan.name, "image": spec.image, "location": spec.location,
            "ssh_keys": keys, "firewalls": firewalls, "volumes": volumes, "automount": false,
            "labels": labels, "user_data": boot.user_data, "public_net": public_net, "start_after_create": true,
        });
        match api.post("/servers", Some(body)).await {
            Ok(answer) => return Ok(answer),
            Err(Denied { code, failure }) if is_sold_out(&code) => {
                last = Some(failure);
            }
            Err(denied) => return Err(denied.into()),
        }
    }
    Err(last.unwrap_or_else(|| not_ours(resource)))
}

/// Changes a server in place. What needs it to be off shuts it down first and starts it again.
pub(super) async fn update(
    api: Hcloud<'_>,
    project: &Project,
    resource: &Resource,
    spec: &cloud::Server,
    fields: &[FieldChange],
    report: &Report,
) -> Result<(), Failure> {
    let id = id_of(&project.servers, resource)?;
    let name = resource.cloud_name();
    let act = async |path: String, body: Option<Value>| -> Result<(), Failure> {
        let answer = api.post(&path, body).await?;
        api.settle(&[answer]).await
    };
    let changed = |field: &str| fields.iter().any(|change| change.field == field);
    let must_be_off = changed("size") || changed("addresses");
    let plan = match changed("size") {
        true => Some(plan_to_change_to(api, project, id, spec).await?),
        false => None,
    };
    if must_be_off && !changed("running") {
        report.tell(Progress::Note(format!("{name} is shut down for this change")));
        shut_down(api, id).await?;
    }
    let while_off = async {
        if let Some(plan) = plan {
            let body = json!({ "server_type": plan, "upgrade_disk": false });
            act(format!("/servers/{id}/actions/change_type"), Some(body)).await?;
        }
        for family in [cloud::IpFamily::V4, cloud::IpFamily::V6].into_iter().filter(|_| changed("addresses")) {
            let ip = project.primary_ips.iter().find(|ip| ip.name == format!("{name}-{}", family.as_str()));
            match (ip, spec.families.contains(&family)) {
                (Some(ip), true) if ip.assignee_id != Some(id) => {
                    let body = json!({ "assignee_id": id, "assignee_type": "server" });
                    act(format!("/primary_ips/{}/actions/assign", ip.id), Some(body)).await?;
                }
                (Some(ip), false) if ip.assignee_id == Some(id) => {
                    act(format!("/primary_ips/{}/actions/unassign", ip.id), None).await?;
                }
                _ => {}
            }
        }
        Ok::<(), Failure>(())
    }
    .await;
    // Even when that failed: better a server as it was than none.
    if must_be_off || changed("running") {
        act(format!("/servers/{id}/actions/poweron"), None).await?;
    }
    while_off?;
    if changed("backups") {
        let verb = if spec.backups { "enable_backup" } else { "disable_backup" };
        act(format!("/servers/{id}/actions/{verb}"), None).await?;
    }
    if changed("firewall") {
        let firewall = id_of(&project.firewalls, resource)?;
        let body = json!({ "apply_to": [{ "type": "server", "server": { "id": id } }] });
        act(format!("/firewalls/{firewall}/actions/apply_to_resources"), Some(body)).await?;
    }
    if changed("volume") {
        let volume = project.volumes.iter().find(|v| v.name == name).map(|v| v.id);
        match (volume, spec.volume) {
            (Some(volume), true) => {
                let body = json!({ "server": id, "automount": false });
                act(format!("/volumes/{volume}/actions/attach"), Some(body)).await?;
            }
            (Some(volume), false) => act(format!("/volumes/{volume}/actions/detach"), None).await?,
            (None, _) => {}
        }
    }
    Ok(())
}

/// What the server is put together from. Keys may be the project's own; everything else is ours and was
/// just made, so a list that does not show it yet is asked again: without it, the cloud would make do with a
/// server that has another address, no firewall, or a password.
async fn load_parts(api: Hcloud<'_>, name: &str, spec: &cloud::Server) -> Result<Project, Failure> {
    let mut missing = String::new();
    for round in 0..6 {
        api.pause(round).await;
        let project = Project::load(api, &["ssh-key", "primary-ip", "firewall", "volume"], None).await?;
        let has_ip = |family: &cloud::IpFamily| {
            project.primary_ips.iter().any(|ip| ip.name == format!("{name}-{}", family.as_str()))
        };
        missing = match () {
            () if !spec.keys.iter().all(|key| project.ssh_key(key).is_some()) => "an SSH key".to_owned(),
            () if !spec.families.iter().all(has_ip) => "an address".to_owned(),
            () if !project.firewalls.iter().any(|f| f.name == name) => "the firewall".to_owned(),
            () if spec.volume && !project.volumes.iter().any(|v| v.name == name) => "the volume".to_owned(),
            () => return Ok(project),
        };
    }
    Err(Failure::new(Kind::Failed, format!("{missing} of the server {name} is not there"))
        .hint("run the same command again: it looks at what is there"))
}

fn is_sold_out(code: &str) -> bool {
    matches!(code, "resource_unavailable" | "placement_error" | "no_space_left_in_location")
}

/// The best plan that the server can become without losing its disk. Checked before it is shut down.
async fn plan_to_change_to(
    api: Hcloud<'_>,
    project: &Project,
    id: i64,
    spec: &cloud::Server,
) -> Result<String, Failure> {
    let catalog = sizes::catalog(api).await?;
    let candidates = catalog.candidates(&spec.size, &spec.location)?;
    let server = project.servers.iter().find(|server| server.id == id);
    let fits = |plan: &Plan| {
        server.is_none_or(|s| plan.arm == (s.server_type.architecture == "arm") && plan.disk_gb >= s.primary_disk_size)
    };
    match candidates.iter().find(|(plan, _)| fits(plan)) {
        Some((plan, _)) => Ok(plan.name.clone()),
        None => Err(Failure::new(Kind::Failed, format!("the server cannot become {}", spec.size))
            .because("its disk is larger than theirs, or they have another kind of processor")
            .hint("choose another size; nothing was changed")),
    }
}

/// Asks the system to shut down, and cuts the power when it has not done so in half a minute.
async fn shut_down(api: Hcloud<'_>, id: i64) -> Result<(), Failure> {
    let asked = api.post(&format!("/servers/{id}/actions/shutdown"), None).await?;
    api.settle(&[asked]).await?;
    for round in 0..7 {
        api.pause(round).await;
        let server: Server = api.get(&format!("/servers/{id}"), "server").await?;
        if server.status == "off" {
            return Ok(());
        }
    }
    let cut = api.post(&format!("/servers/{id}/actions/poweroff"), None).await?;
    api.settle(&[cut]).await
}
