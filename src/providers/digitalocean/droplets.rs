//! Making and changing droplets.

use serde_json::{Value, json};

use crate::doors::http::Method;
use crate::model::cloud::{self, IpFamily};
use crate::model::diff::FieldChange;
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::Resource;
use crate::providers::digitalocean::account::{Account, catalog, image_slug};
use crate::providers::digitalocean::api::{Ocean, is_sold_out};
use crate::providers::digitalocean::apply::not_ours;
use crate::providers::digitalocean::wire::{Droplet, HOST_KEY, mark, server_mark};
use crate::providers::first_boot::FirstBoot;

/// The longest user data the API takes.
const USER_DATA: usize = 64 << 10;

/// Orders a droplet, put together from what is there, and waits until it is made.
pub(super) async fn create(
    api: Ocean<'_>,
    resource: &Resource,
    spec: &cloud::Server,
    report: &Report,
) -> Result<(), Failure> {
    let name = resource.cloud_name();
    let (catalog, account) = tokio::try_join!(catalog(api), load_parts(api, resource, spec))?;
    let keys: Vec<i64> = spec.keys.iter().filter_map(|key| account.key(key)).map(|key| key.id).collect();
    let volumes: Vec<&str> = account.volume(&name).filter(|_| spec.volume).map(|v| v.id.as_str()).into_iter().collect();
    let network = account.networks.iter().find(|n| n.name == name).map(|n| n.id.as_str());
    let boot = FirstBoot::of(spec, USER_DATA)?;
    let tags = [
        mark(&resource.owner),
        server_mark(&resource.owner, &resource.address.name),
        format!("{HOST_KEY}{}", boot.label),
    ];

    let mut last: Option<Failure> = None;
    for (plan, here) in catalog.candidates(&spec.size, &spec.location)? {
        if let Some(sold_out) = last.take() {
            let offer = format!("the next choice is {} at {:.2} a month", plan.name, here.monthly);
            if spec.ceiling.is_some_and(|ceiling| here.monthly > ceiling) {
                return Err(sold_out.hint(format!("{offer}, which is more than the budget")));
            }
            report.tell(Progress::Note(format!("sold out in {}: {offer}", spec.location)));
        }
        let body = json!({
            "name": name, "region": spec.location, "size": plan.name, "image": image_slug(&spec.image),
            "ssh_keys": keys, "backups": spec.backups, "ipv6": spec.families.contains(&IpFamily::V6),
            "tags": tags, "user_data": boot.user_data, "volumes": volumes, "vpc_uuid": network,
        });
        match api.act(Method::Post, "/droplets", body).await {
            Ok(answer) => return api.settle(&answer).await,
            Err(failure) if is_sold_out(&failure) => last = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    Err(last.unwrap_or_else(|| not_ours(resource)))
}

/// The account once it shows everything the droplet is put together from: a list may lag behind a create.
async fn load_parts<'a>(api: Ocean<'a>, resource: &Resource, spec: &cloud::Server) -> Result<Account<'a>, Failure> {
    let name = resource.cloud_name();
    let mut missing = String::new();
    for round in 0..6 {
        api.pause(round).await;
        let account = Account::load(api, &resource.owner).await?;
        missing = match () {
            () if !spec.keys.iter().all(|key| account.key(key).is_some()) => "an SSH key".to_owned(),
            () if !account.firewalls.iter().any(|f| f.name == name) => "the firewall".to_owned(),
            () if !account.networks.iter().any(|n| n.name == name) => "the private network".to_owned(),
            () if spec.volume && account.volume(&name).is_none() => "the volume".to_owned(),
            () => return Ok(account),
        };
    }
    Err(Failure::new(Kind::Failed, format!("{missing} of the droplet {name} is not there"))
        .hint("run the same command again: it looks at what is there"))
}

/// Changes a droplet in place. What needs it to be off shuts it down first and starts it again.
pub(super) async fn update(
    api: Ocean<'_>,
    account: &Account<'_>,
    resource: &Resource,
    spec: &cloud::Server,
    fields: &[FieldChange],
    report: &Report,
) -> Result<(), Failure> {
    let droplet = account.droplet(&resource.address.name).ok_or_else(|| not_ours(resource))?;
    let name = resource.cloud_name();
    let path = format!("/droplets/{}/actions", droplet.id);
    let changed = |field: &str| fields.iter().any(|change| change.field == field);
    let plan = match changed("size") {
        true => Some(plan_to_change_to(api, droplet, spec).await?),
        false => None,
    };
    if let Some(plan) = plan {
        if !changed("running") {
            report.tell(Progress::Note(format!("{name} is shut down for this change")));
            shut_down(api, droplet.id).await?;
        }
        // Without its disk, so that it can be made smaller again.
        let resized = act(api, &path, json!({ "type": "resize", "size": plan, "disk": false })).await;
        // Even when that failed: better a droplet as it was than none.
        act(api, &path, json!({ "type": "power_on" })).await?;
        resized?;
    } else if changed("running") {
        act(api, &path, json!({ "type": "power_on" })).await?;
    }
    if changed("backups") {
        let kind = if spec.backups { "enable_backups" } else { "disable_backups" };
        act(api, &path, json!({ "type": kind })).await?;
    }
    if changed("addresses") {
        match spec.families.contains(&IpFamily::V6) {
            true => act(api, &path, json!({ "type": "enable_ipv6" })).await?,
            false => {
                return Err(Failure::new(Kind::Failed, format!("{name} cannot lose its IPv6 network"))
                    .because("DigitalOcean has no way to take it away")
                    .hint("leave `ipv6` out, or destroy the server and make it anew"));
            }
        }
    }
    if changed("firewall") {
        let tag = server_mark(&resource.owner, &resource.address.name);
        api.act(Method::Post, "/tags", json!({ "name": tag })).await?;
        let which = json!({ "resources": [{ "resource_id": droplet.id.to_string(), "resource_type": "droplet" }] });
        api.act(Method::Post, &format!("/tags/{tag}/resources"), which).await?;
        let firewall = account.firewalls.iter().find(|f| f.name == name).ok_or_else(|| not_ours(resource))?;
        api.act(Method::Post, &format!("/firewalls/{}/tags", firewall.id), json!({ "tags": [tag] })).await?;
    }
    if changed("volume")
        && let Some(volume) = account.volume(&name)
    {
        let kind = if spec.volume { "attach" } else { "detach" };
        let body = json!({ "type": kind, "droplet_id": droplet.id, "region": volume.region.slug });
        let answer = api.act(Method::Post, &format!("/volumes/{}/actions", volume.id), body).await?;
        api.settle(&answer).await?;
    }
    Ok(())
}

/// The best plan that the droplet can become without losing its disk. Checked before it is shut down.
async fn plan_to_change_to(api: Ocean<'_>, droplet: &Droplet, spec: &cloud::Server) -> Result<String, Failure> {
    let catalog = catalog(api).await?;
    let candidates = catalog.candidates(&spec.size, &spec.location)?;
    match candidates.iter().find(|(plan, _)| plan.disk_gb >= droplet.disk.into()) {
        Some((plan, _)) => Ok(plan.name.clone()),
        None => Err(Failure::new(Kind::Failed, format!("the server cannot become {}", spec.size))
            .because("its disk is larger than theirs")
            .hint("choose another size; nothing was changed")),
    }
}

/// Asks the system to shut down, and cuts the power when it has not done so in a while: a completed `shutdown` does
/// not mean that it is off.
async fn shut_down(api: Ocean<'_>, id: i64) -> Result<(), Failure> {
    let path = format!("/droplets/{id}/actions");
    act(api, &path, json!({ "type": "shutdown" })).await?;
    for round in 0..7 {
        api.pause(round).await;
        let droplet: Droplet = api.get(&format!("/droplets/{id}"), "droplet").await?;
        if droplet.status == "off" {
            return Ok(());
        }
    }
    act(api, &path, json!({ "type": "power_off" })).await
}

/// Asks for an action and waits for its end.
async fn act(api: Ocean<'_>, path: &str, body: Value) -> Result<(), Failure> {
    let answer = api.act(Method::Post, path, body).await?;
    api.settle(&answer).await
}
