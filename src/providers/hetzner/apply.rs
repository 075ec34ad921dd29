//! Changing a Hetzner project.

use serde_json::{Value, json};

use crate::model::access::VouchFor;
use crate::model::cloud;
use crate::model::diff::{FieldChange, ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Resource, Spec};
use crate::providers::first_boot::to_label;
use crate::providers::hetzner::api::Hcloud;
use crate::providers::hetzner::observe::Project;
use crate::providers::hetzner::wire::{BORN_KEY, HOST_KEY, Labelled, OWNER};
use crate::providers::hetzner::{servers, sizes};

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
            sizes::catalog(api).await?.candidates(&spec.size, &spec.location)?;
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
            Verb::Create | Verb::Update(_) if matches!(change.resource.spec, Spec::Vouch(_)) => {
                vouch(api, &change.resource).await.map(|()| None)
            }
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

/// The marks everything of ours carries.
pub(super) fn labels(resource: &Resource) -> Value {
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
        Spec::Server(spec) => return servers::create(api, resource, spec, report).await,
        _ => return Err(not_ours(resource)),
    };
    Ok(api.post(path, Some(body)).await?)
}

fn rules(spec: &cloud::Firewall) -> Vec<Value> {
    spec.open
        .iter()
        .map(|open| {
            let (what, from) = open.split_once(" from ").unwrap_or((open, "0.0.0.0/0 ::/0"));
            let mut rule = json!({ "direction": "in", "source_ips": from.split(' ').collect::<Vec<_>>() });
            let (protocol, port) = what.split_once('/').map_or((what, None), |(protocol, port)| (protocol, Some(port)));
            rule["protocol"] = protocol.into();
            if let Some(port) = port {
                rule["port"] = port.into();
            }
            rule
        })
        .collect()
}

/// Writes a fingerprint into a server's label, beside the labels it has.
async fn vouch(api: Hcloud<'_>, resource: &Resource) -> Result<(), Failure> {
    let Spec::Vouch(spec) = &resource.spec else { return Err(not_ours(resource)) };
    let project = Project::load(api, &["server"], Some(resource.owner.as_str())).await?;
    let name = format!("{}-{}", resource.owner, spec.server);
    let server = project.servers.iter().find(|server| server.name == name).ok_or_else(|| not_ours(resource))?;
    let label = match spec.what {
        VouchFor::Used => HOST_KEY,
        VouchFor::Born => BORN_KEY,
    };
    let mut labels = server.labels.clone();
    labels.insert(label.to_owned(), to_label(&spec.fingerprint.to_string())?);
    api.put(&format!("/servers/{}", server.id), json!({ "labels": labels })).await?;
    Ok(())
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
        Spec::Server(spec) => servers::update(api, &project, resource, spec, fields, report).await,
        _ => Err(not_ours(resource)),
    }
}

/// The identifier of what has the resource's name.
pub(super) fn id_of<T: Labelled>(all: &[T], resource: &Resource) -> Result<i64, Failure> {
    let name = resource.cloud_name();
    all.iter().find(|entry| entry.name() == name).map(Labelled::id).ok_or_else(|| not_ours(resource))
}

/// What the run relied on is gone.
pub(super) fn not_ours(resource: &Resource) -> Failure {
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
        "server" => "servers",
        other => return Err(Failure::new(Kind::Failed, format!("hetzner has no `{other}` to delete"))),
    };
    let answer = api.delete(&format!("/{path}/{id}")).await?;
    api.settle(&[answer]).await
}
