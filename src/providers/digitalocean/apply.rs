//! Changing an account.

use serde_json::{Value, json};

use crate::doors::http::Method;
use crate::model::access::VouchFor;
use crate::model::cloud;
use crate::model::diff::{FieldChange, ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Resource, Spec};
use crate::providers::digitalocean::account::{Account, PENDING, catalog, reserved_key};
use crate::providers::digitalocean::api::Ocean;
use crate::providers::digitalocean::droplets;
use crate::providers::digitalocean::wire::{BORN_KEY, HOST_KEY, Volume, mark, server_mark};
use crate::providers::first_boot::to_label;

/// Carries the changes out. What must be replaced is deleted first, in reverse order; the rest follows in order.
pub(super) async fn apply(api: Ocean<'_>, changes: &[ReadyChange], report: &Report) -> Result<(), Failure> {
    let replaced: Vec<&ReadyChange> =
        changes.iter().rev().filter(|change| matches!(change.verb, Verb::Replace(_))).collect();
    for change in &replaced {
        // Nothing is deleted that cannot be had again.
        if let Spec::Server(spec) = &change.resource.spec {
            catalog(api).await?.candidates(&spec.size, &spec.location)?;
        }
    }
    for change in replaced {
        stop_if_asked(report)?;
        delete(api, &change.resource).await?;
    }
    for change in changes.iter().filter(|change| !matches!(change.verb, Verb::Keep | Verb::Conflict(_))) {
        stop_if_asked(report)?;
        let address = change.resource.address.clone();
        report.tell(Progress::Started(address.clone()));
        let done = carry_out(api, change, report).await;
        report.tell(if done.is_ok() { Progress::Done(address) } else { Progress::Failed(address) });
        done?;
    }
    Ok(())
}

fn stop_if_asked(report: &Report) -> Result<(), Failure> {
    match report.stopping() {
        true => Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand")),
        false => Ok(()),
    }
}

async fn carry_out(api: Ocean<'_>, change: &ReadyChange, report: &Report) -> Result<(), Failure> {
    let resource = &change.resource;
    match (&change.verb, &resource.spec) {
        (Verb::Delete, _) => delete(api, resource).await,
        (_, Spec::Vouch(_)) => vouch(api, resource).await,
        (_, Spec::ReservedIp(spec)) => reserve(api, resource, spec).await,
        (Verb::Update(fields), _) => update(api, resource, fields, report).await,
        _ => create(api, resource, report).await,
    }
}

async fn create(api: Ocean<'_>, resource: &Resource, report: &Report) -> Result<(), Failure> {
    let name = resource.cloud_name();
    let (path, body) = match &resource.spec {
        Spec::SshKey(spec) => {
            let name = format!("{}:{}", mark(&resource.owner), resource.address.name);
            ("/account/keys", json!({ "name": name, "public_key": spec.public_key }))
        }
        Spec::PrivateNetwork(spec) => {
            ("/vpcs", json!({ "name": name, "region": spec.location, "description": mark(&resource.owner) }))
        }
        Spec::Firewall(spec) => {
            // A firewall can only aim at a tag that is there.
            let tag = server_mark(&resource.owner, &resource.address.name);
            api.act(Method::Post, "/tags", json!({ "name": tag })).await?;
            ("/firewalls", firewall(&name, spec, &tag))
        }
        Spec::Volume(spec) => (
            "/volumes",
            json!({
                "name": name, "size_gigabytes": spec.size_gb, "region": spec.location, "filesystem_type": spec.format,
                "tags": [mark(&resource.owner)],
            }),
        ),
        Spec::Server(spec) => return droplets::create(api, resource, spec, report).await,
        _ => return Err(not_ours(resource)),
    };
    api.act(Method::Post, path, body).await.map(|_| ())
}

/// A firewall as the API wants it. Everything may go out: what comes in is what it is for.
fn firewall(name: &str, spec: &cloud::Firewall, tag: &str) -> Value {
    let everywhere = json!({ "addresses": ["0.0.0.0/0", "::/0"] });
    let inbound: Vec<Value> = spec
        .open
        .iter()
        .map(|open| {
            let (what, from) = open.split_once(" from ").unwrap_or((open, "0.0.0.0/0 ::/0"));
            let sources = json!({ "addresses": from.split(' ').collect::<Vec<_>>() });
            let (protocol, ports) = what.split_once('/').unwrap_or((what, "0"));
            json!({ "protocol": protocol, "ports": ports, "sources": sources })
        })
        .collect();
    let outbound: Vec<Value> = [("tcp", "0"), ("udp", "0"), ("icmp", "0")]
        .iter()
        .map(|(protocol, ports)| json!({ "protocol": protocol, "ports": ports, "destinations": everywhere }))
        .collect();
    json!({ "name": name, "inbound_rules": inbound, "outbound_rules": outbound, "tags": [tag] })
}

async fn update(api: Ocean<'_>, resource: &Resource, fields: &[FieldChange], report: &Report) -> Result<(), Failure> {
    let account = Account::load(api, &resource.owner).await?;
    let name = resource.cloud_name();
    match &resource.spec {
        Spec::Firewall(spec) => {
            let known = account.firewalls.iter().find(|f| f.name == name).ok_or_else(|| not_ours(resource))?;
            let tag = server_mark(&resource.owner, &resource.address.name);
            let body = firewall(&name, spec, &tag);
            api.act(Method::Put, &format!("/firewalls/{}", known.id), body).await.map(|_| ())
        }
        Spec::Volume(spec) => {
            let volume = account.volume(&name).ok_or_else(|| not_ours(resource))?;
            if spec.size_gb < volume.size_gigabytes {
                return Err(Failure::new(
                    Kind::Failed,
                    format!("the volume {name} has {} GB and cannot shrink to {}", volume.size_gigabytes, spec.size_gb),
                )
                .hint("set `volume_gb` to its size or more"));
            }
            let body = json!({ "type": "resize", "size_gigabytes": spec.size_gb, "region": volume.region.slug });
            let answer = api.act(Method::Post, &format!("/volumes/{}/actions", volume.id), body).await?;
            api.settle(&answer).await
        }
        Spec::Server(spec) => droplets::update(api, &account, resource, spec, fields, report).await,
        _ => Err(not_ours(resource)),
    }
}

/// Reserves an address for a server, or gives it the one it had. What is reserved is in the lock line before anything is
/// waited for: nothing else says that it is ours.
async fn reserve(api: Ocean<'_>, resource: &Resource, spec: &cloud::ReservedIp) -> Result<(), Failure> {
    let account = Account::load(api, &resource.owner).await?;
    let droplet = account.droplet(&spec.server).ok_or_else(|| not_ours(resource))?;
    let key = reserved_key(&spec.server).ok_or_else(|| not_ours(resource))?;
    let adopted = || account.at_droplet(&spec.server).filter(|_| resource.adopt);
    let known = account.reserved(&spec.server).or_else(adopted);
    let Some(reserved) = known.filter(|reserved| reserved.region.slug == spec.location) else {
        api.doors.references.put(&key, Some(PENDING))?;
        let answer = api.act(Method::Post, "/reserved_ips", json!({ "droplet_id": droplet.id })).await;
        if answer.as_ref().is_err_and(|failure| !matches!(failure.kind, Kind::Lost | Kind::Unreachable)) {
            api.doors.references.put(&key, None)?;
        }
        let answer = answer?;
        api.doors.references.put(&key, answer["reserved_ip"]["ip"].as_str())?;
        return api.settle(&answer).await;
    };
    api.doors.references.put(&key, Some(&reserved.ip))?;
    if reserved.droplet.as_ref().is_some_and(|d| d.id == droplet.id) {
        return Ok(());
    }
    let body = json!({ "type": "assign", "droplet_id": droplet.id });
    let answer = api.act(Method::Post, &format!("/reserved_ips/{}/actions", reserved.ip), body).await?;
    api.settle(&answer).await
}

/// Writes a fingerprint into a droplet's tags.
async fn vouch(api: Ocean<'_>, resource: &Resource) -> Result<(), Failure> {
    let Spec::Vouch(spec) = &resource.spec else { return Err(not_ours(resource)) };
    let account = Account::load(api, &resource.owner).await?;
    let droplet = account.droplet(&spec.server).ok_or_else(|| not_ours(resource))?;
    let prefix = match spec.what {
        VouchFor::Used => HOST_KEY,
        VouchFor::Born => BORN_KEY,
    };
    let tag = format!("{prefix}{}", to_label(&spec.fingerprint.to_string())?);
    api.act(Method::Post, "/tags", json!({ "name": tag })).await?;
    let which = json!({ "resources": [{ "resource_id": droplet.id.to_string(), "resource_type": "droplet" }] });
    api.act(Method::Post, &format!("/tags/{tag}/resources"), which).await?;
    // A fingerprint is one droplet's alone: with its tag goes what said it before.
    for old in droplet.tags.iter().flatten().filter(|old| old.starts_with(prefix) && **old != tag) {
        api.delete(&format!("/tags/{old}")).await?;
    }
    Ok(())
}

/// What the run relied on is gone.
pub(super) fn not_ours(resource: &Resource) -> Failure {
    Failure::new(Kind::Failed, format!("{} is no longer there", resource.address))
        .hint("it went while this run was under way: run the same command again")
}

async fn delete(api: Ocean<'_>, resource: &Resource) -> Result<(), Failure> {
    let account = Account::load(api, &resource.owner).await?;
    let name = resource.cloud_name();
    let kind = resource.address.kind;
    let owned = account.owned();
    if let Spec::Server(_) = &resource.spec
        && let Some(droplet) = account.droplet(&resource.address.name)
    {
        for tag in droplet.tags.iter().flatten().filter(|tag| tag.starts_with("landfall-host-key")) {
            api.delete(&format!("/tags/{tag}")).await?;
        }
    }
    for thing in owned.iter().filter(|thing| thing.address.kind == kind) {
        let is_it =
            thing.address.name == resource.address.name || format!("{}-{}", resource.owner, thing.address.name) == name;
        if is_it {
            delete_by_id(api, kind, &thing.id).await?;
        }
    }
    match (&resource.spec, reserved_key(resource.address.name.trim_end_matches("-ipv4"))) {
        (Spec::ReservedIp(_), Some(key)) => api.doors.references.put(&key, None),
        _ => Ok(()),
    }
}

/// Deletes the thing of this kind and identifier.
pub(super) async fn delete_by_id(api: Ocean<'_>, kind: &str, id: &str) -> Result<(), Failure> {
    if kind == "volume" {
        // A volume must be detached first.
        let volumes: Vec<Volume> = api.list("/volumes", "volumes", &[]).await?;
        let Some(volume) = volumes.into_iter().find(|volume| volume.id == id) else { return Ok(()) };
        for droplet in volume.droplet_ids.into_iter().flatten() {
            let body = json!({ "type": "detach", "droplet_id": droplet, "region": volume.region.slug });
            let answer = api.act(Method::Post, &format!("/volumes/{id}/actions"), body).await?;
            api.settle(&answer).await?;
        }
    }
    let path = match kind {
        "ssh-key" => "account/keys",
        "private-network" => "vpcs",
        "firewall" => "firewalls",
        "volume" => "volumes",
        "reserved-ip" => "reserved_ips",
        "server" => "droplets",
        other => return Err(Failure::new(Kind::Failed, format!("digitalocean has no `{other}` to delete"))),
    };
    api.delete(&format!("/{path}/{id}")).await
}
