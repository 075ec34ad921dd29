//! Changing a Hetzner project.

use data_encoding::BASE32_NOPAD;
use rand_core::OsRng;
use serde_json::{Value, json};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};

use crate::model::cloud;
use crate::model::diff::{FieldChange, ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Resource, Spec};
use crate::providers::hetzner::api::{Denied, Hcloud};
use crate::providers::hetzner::observe::Project;
use crate::providers::hetzner::sizes;
use crate::providers::hetzner::wire::{HOST_KEY, Labelled, OWNER, Server, ServerType};

/// Every kind, for a look at the whole project.
pub(super) const KINDS: &[&str] = &["ssh-key", "primary-ip", "firewall", "volume", "server"];

/// Carries the changes out. What must be replaced is deleted first, in reverse order, so that a server is
/// gone before its address and volume go; the rest follows in order. Actions of creations run side by side
/// and are waited for together at the end.
pub(super) async fn apply(api: Hcloud<'_>, changes: &[ReadyChange], report: &Report) -> Result<(), Failure> {
    let replaced: Vec<&ReadyChange> =
        changes.iter().rev().filter(|change| matches!(change.verb, Verb::Replace(_))).collect();
    for change in &replaced {
        // Nothing is deleted that cannot be had again.
        if let Spec::Server(spec) = &change.resource.spec {
            let plans: Vec<ServerType> = api.list("/server_types", "server_types", &[]).await?;
            sizes::candidates(&plans, &spec.size, &spec.location)?;
        }
    }
    for change in replaced {
        if report.stopping() {
            return Err(Failure::new(Kind::Stopped, "stopped as you asked, before the next change"));
        }
        delete(api, &change.resource).await?;
    }
    let mut open: Vec<(&ReadyChange, Value)> = Vec::new();
    for change in changes {
        if report.stopping() {
            finish(api, open, report).await?;
            return Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand"));
        }
        let address = change.resource.address.clone();
        report.tell(Progress::Started(address.clone()));
        let done = match &change.verb {
            Verb::Create | Verb::Replace(_) => create(api, &change.resource, report).await.map(Some),
            Verb::Update(fields) => update(api, &change.resource, fields, report).await.map(|()| None),
            Verb::Delete => delete(api, &change.resource).await.map(|()| None),
            Verb::Keep | Verb::Conflict(_) => Ok(None),
        };
        match done {
            Ok(Some(answer)) => open.push((change, answer)),
            Ok(None) => report.tell(Progress::Done(address)),
            Err(failure) => {
                report.tell(Progress::Failed(address));
                // What was begun before is still brought to its end, so that it can be seen as it is.
                let _ = finish(api, open, report).await;
                return Err(failure);
            }
        }
    }
    finish(api, open, report).await
}

async fn finish(api: Hcloud<'_>, open: Vec<(&ReadyChange, Value)>, report: &Report) -> Result<(), Failure> {
    let answers: Vec<Value> = open.iter().map(|(_, answer)| answer.clone()).collect();
    let settled = api.settle(&answers).await;
    for (change, _) in open {
        let address = change.resource.address.clone();
        report.tell(if settled.is_ok() { Progress::Done(address) } else { Progress::Failed(address) });
    }
    settled
}

fn labels(resource: &Resource) -> Value {
    json!({ OWNER: resource.owner.as_str(), "landfall-step": resource.step.as_str() })
}

async fn create(api: Hcloud<'_>, resource: &Resource, report: &Report) -> Result<Value, Failure> {
    let name = resource.cloud_name();
    let labels = labels(resource);
    let (path, body) = match &resource.spec {
        Spec::SshKey(spec) => ("/ssh_keys", json!({ "name": name, "public_key": spec.public_key, "labels": labels })),
        Spec::PrimaryIp(spec) => (
            "/primary_ips",
            json!({
                "name": name, "type": spec.family.as_str(), "location": spec.location, "labels": labels,
                "assignee_type": "server", "auto_delete": false,
            }),
        ),
        Spec::Firewall(spec) => ("/firewalls", json!({ "name": name, "labels": labels, "rules": rules(spec) })),
        Spec::Volume(spec) => (
            "/volumes",
            json!({ "name": name, "size": spec.size_gb, "location": spec.location, "format": spec.format, "labels": labels }),
        ),
        Spec::Server(spec) => return create_server(api, resource, spec, report).await,
        _ => return Err(not_ours(resource)),
    };
    Ok(api.post(path, Some(body)).await?)
}

fn rules(spec: &cloud::Firewall) -> Vec<Value> {
    spec.open
        .iter()
        .map(|open| {
            let anywhere = ["0.0.0.0/0", "::/0"];
            match open.split_once('/') {
                Some((protocol, port)) => {
                    json!({ "direction": "in", "protocol": protocol, "port": port, "source_ips": anywhere })
                }
                None => json!({ "direction": "in", "protocol": open, "source_ips": anywhere }),
            }
        })
        .collect()
}

async fn create_server(
    api: Hcloud<'_>,
    resource: &Resource,
    spec: &cloud::Server,
    report: &Report,
) -> Result<Value, Failure> {
    let name = resource.cloud_name();
    let (plans, project) =
        tokio::try_join!(api.list::<ServerType>("/server_types", "server_types", &[]), load_parts(api, &name, spec))?;
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

    // The key is made here and handed over, so that the first connection is already verified.
    let trouble = |e: ssh_key::Error| Failure::new(Kind::Failed, "cannot make a host key").because(e);
    let host_key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(trouble)?;
    let private = host_key.to_openssh(LineEnding::LF).map_err(trouble)?;
    let public = host_key.public_key().to_openssh().map_err(trouble)?;
    let fingerprint = host_key.fingerprint(HashAlg::Sha256);
    let mut labels = labels(resource);
    labels[HOST_KEY] = BASE32_NOPAD.encode(fingerprint.as_bytes()).into();
    let user_data = format!(
        "#cloud-config\n{:#}\n",
        json!({
            "ssh_deletekeys": true,
            "ssh_genkeytypes": [],
            "ssh_keys": { "ed25519_private": &*private, "ed25519_public": public },
            "disable_root": true,
            "ssh_pwauth": false,
            "users": [{
                "name": spec.admin,
                "groups": "sudo",
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": true,
                "ssh_authorized_keys": spec.keys,
            }],
        })
    );
    if user_data.len() > 32 << 10 {
        return Err(Failure::new(Kind::Failed, "the server's first instructions are longer than hetzner takes")
            .hint("list fewer keys in the step `server`"));
    }

    let mut last: Option<Failure> = None;
    for plan in sizes::candidates(&plans, &spec.size, &spec.location)? {
        if let Some(sold_out) = last.take() {
            let price = sizes::price_at(&plan.prices, &spec.location).unwrap_or_default();
            let offer = format!("the next choice is {} at {price:.2} a month", plan.name);
            if spec.ceiling.is_some_and(|ceiling| price > ceiling) {
                return Err(sold_out.hint(format!("{offer}, which is more than the budget")));
            }
            report.tell(Progress::Note(format!("sold out in {}: {offer}", spec.location)));
        }
        let body = json!({
            "name": name, "server_type": plan.name, "image": spec.image, "location": spec.location,
            "ssh_keys": keys, "firewalls": firewalls, "volumes": volumes, "automount": false,
            "labels": labels, "user_data": user_data, "public_net": public_net, "start_after_create": true,
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

async fn update(api: Hcloud<'_>, resource: &Resource, fields: &[FieldChange], report: &Report) -> Result<(), Failure> {
    let project = Project::load(api, KINDS, Some(resource.owner.as_str())).await?;
    let name = resource.cloud_name();
    match &resource.spec {
        Spec::Firewall(spec) => {
            let id = id_of(&project.firewalls, resource)?;
            let answer =
                api.post(&format!("/firewalls/{id}/actions/set_rules"), Some(json!({ "rules": rules(spec) }))).await?;
            api.settle(&[answer]).await
        }
        Spec::Volume(spec) => {
            let volume = project.volumes.iter().find(|v| v.name == name).ok_or_else(|| not_ours(resource))?;
            if spec.size_gb < volume.size {
                return Err(Failure::new(
                    Kind::Failed,
                    format!("the volume {name} has {} GB and cannot shrink to {}", volume.size, spec.size_gb),
                )
                .hint("set `volume_gb` to its size or more"));
            }
            let path = format!("/volumes/{}/actions/resize", volume.id);
            let answer = api.post(&path, Some(json!({ "size": spec.size_gb }))).await?;
            api.settle(&[answer]).await
        }
        Spec::Server(spec) => update_server(api, &project, resource, spec, fields, report).await,
        _ => Err(not_ours(resource)),
    }
}

async fn update_server(
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
    if let Some(plan) = plan {
        let body = json!({ "server_type": plan, "upgrade_disk": false });
        let resized = act(format!("/servers/{id}/actions/change_type"), Some(body)).await;
        if let Err(failure) = resized {
            // Better the old size than no server.
            act(format!("/servers/{id}/actions/poweron"), None).await?;
            return Err(failure);
        }
    }
    if changed("addresses") {
        for family in [cloud::IpFamily::V4, cloud::IpFamily::V6] {
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
    }
    if must_be_off || changed("running") {
        act(format!("/servers/{id}/actions/poweron"), None).await?;
    }
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

/// The best plan that the server can become without losing its disk. Checked before it is shut down.
async fn plan_to_change_to(
    api: Hcloud<'_>,
    project: &Project,
    id: i64,
    spec: &cloud::Server,
) -> Result<String, Failure> {
    let plans: Vec<ServerType> = api.list("/server_types", "server_types", &[]).await?;
    let candidates = sizes::candidates(&plans, &spec.size, &spec.location)?;
    let server = project.servers.iter().find(|server| server.id == id);
    let fits = |plan: &&&ServerType| {
        server.is_none_or(|s| plan.architecture == s.server_type.architecture && plan.disk >= s.primary_disk_size)
    };
    match candidates.iter().find(fits) {
        Some(plan) => Ok(plan.name.clone()),
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

fn id_of<T: Labelled>(all: &[T], resource: &Resource) -> Result<i64, Failure> {
    let name = resource.cloud_name();
    all.iter().find(|entry| entry.name() == name).map(Labelled::id).ok_or_else(|| not_ours(resource))
}

fn not_ours(resource: &Resource) -> Failure {
    Failure::new(Kind::Failed, format!("{} is no longer there", resource.address))
        .hint("it went while this run was under way: run the same command again")
}

async fn delete(api: Hcloud<'_>, resource: &Resource) -> Result<(), Failure> {
    let project = Project::load(api, &[resource.address.kind], Some(resource.owner.as_str())).await?;
    let id = match &resource.spec {
        Spec::SshKey(spec) => project.ssh_key(&spec.public_key).map(|key| key.id),
        Spec::PrimaryIp(_) => id_of(&project.primary_ips, resource).ok(),
        Spec::Firewall(_) => id_of(&project.firewalls, resource).ok(),
        Spec::Volume(_) => id_of(&project.volumes, resource).ok(),
        Spec::Server(_) => id_of(&project.servers, resource).ok(),
        _ => None,
    };
    match id {
        Some(id) => delete_by_id(api, resource.address.kind, id).await,
        None => Ok(()),
    }
}

/// Deletes the resource of this kind and identifier, and waits until that is done.
pub(super) async fn delete_by_id(api: Hcloud<'_>, kind: &str, id: i64) -> Result<(), Failure> {
    if kind == "volume" {
        // A volume must be detached first; one that is not attached says so, which is as good.
        if let Ok(answer) = api.post(&format!("/volumes/{id}/actions/detach"), None).await {
            api.settle(&[answer]).await?;
        }
    }
    let path = match kind {
        "ssh-key" => "ssh_keys",
        "primary-ip" => "primary_ips",
        "firewall" => "firewalls",
        "volume" => "volumes",
        _ => "servers",
    };
    let answer = api.delete(&format!("/{path}/{id}")).await?;
    api.settle(&[answer]).await
}
