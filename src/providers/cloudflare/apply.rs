//! Changing zones. Settings come before records, so that nothing is proxied before the way to the server is
//! strict; records of a zone go out together, in one transaction; the registrar is waited for last.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::doors::http::Method;
use crate::model::diff::{ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Resource, Spec};
use crate::model::service::{Bucket, Preferences};
use crate::providers::cloudflare::api::Cf;
use crate::providers::cloudflare::observe::{Account, ZoneInfo, only_account};
use crate::providers::cloudflare::{records, zone_of};

/// How many records the free plan takes in one batch.
const BATCH: usize = 200;
/// How long the registrar is waited for; it may take a day, so the next run looks again.
const REGISTRAR_DEADLINE: Duration = Duration::from_secs(20);

/// Carries the changes out.
pub(super) async fn apply(api: Cf<'_>, changes: &[ReadyChange], report: &Report) -> Result<(), Failure> {
    let resources: Vec<Resource> = changes.iter().map(|change| change.resource.clone()).collect();
    for change in changes.iter().filter(|change| change.verb == Verb::Create) {
        if let Spec::Zone(spec) = &change.resource.spec {
            track(report, change, create_zone(api, &spec.domain)).await?;
        }
    }
    let account = Account::load(api, &resources).await?;
    let zone_id = |resource: &Resource| -> Result<String, Failure> {
        let domain = zone_of(resource).unwrap_or_default();
        account.domains.get(domain).map(|domain| domain.zone.id.clone()).ok_or_else(|| {
            Failure::new(Kind::Failed, format!("the zone {domain} is not there"))
                .hint("it went while this run was under way: run the same command again")
        })
    };
    for change in changes.iter().filter(|change| !matches!(change.verb, Verb::Keep | Verb::Conflict(_))) {
        if report.stopping() {
            return Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand"));
        }
        let resource = &change.resource;
        match &resource.spec {
            Spec::Preferences(spec) => {
                let path = format!("/zones/{}", zone_id(resource)?);
                track(report, change, set(api, &path, resource.address.kind, spec, &change.verb)).await?;
            }
            Spec::Bucket(spec) => track(report, change, create_bucket(api, spec)).await?,
            Spec::OriginCertificate(_) => track(report, change, certificate(api, &account, change)).await?,
            _ => {}
        }
    }
    let mut by_zone: BTreeMap<String, Vec<&ReadyChange>> = BTreeMap::new();
    for change in changes.iter().filter(|change| matches!(change.resource.spec, Spec::Record(_))) {
        by_zone.entry(zone_id(&change.resource)?).or_default().push(change);
    }
    for (zone, changes) in by_zone {
        for some in changes.chunks(BATCH) {
            if report.stopping() {
                return Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand"));
            }
            write_records(api, &account, &zone, some, report).await?;
        }
    }
    for change in changes.iter().filter(|change| matches!(change.verb, Verb::Update(_))) {
        if let Spec::Zone(spec) = &change.resource.spec {
            track(report, change, wait_for_registrar(api, &zone_id(&change.resource)?, &spec.domain, report)).await?;
        }
    }
    Ok(())
}

async fn track(
    report: &Report,
    change: &ReadyChange,
    doing: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let address = change.resource.address.clone();
    report.tell(Progress::Started(address.clone()));
    let done = doing.await;
    report.tell(if done.is_ok() { Progress::Done(address) } else { Progress::Failed(address) });
    done
}

async fn create_zone(api: Cf<'_>, domain: &str) -> Result<(), Failure> {
    let account = only_account(api, &format!("the zone {domain}")).await?;
    let body = json!({ "name": domain, "account": { "id": account }, "type": "full" });
    api.act(Method::Post, "/zones", Some(body)).await.map(|_| ())
}

/// Makes a bucket. One of that name that appeared meanwhile is as good.
async fn create_bucket(api: Cf<'_>, spec: &Bucket) -> Result<(), Failure> {
    let account = only_account(api, &format!("the bucket {}", spec.name)).await?;
    let mut body = json!({ "name": spec.name });
    if let Some(place) = &spec.place {
        body["locationHint"] = place.as_str().into();
    }
    api.act(Method::Post, &format!("/accounts/{account}/r2/buckets"), Some(body)).await.map(|_| ())
}

/// Sets preferences of a zone, those that browsers remember last.
async fn set(api: Cf<'_>, path: &str, kind: &str, spec: &Preferences, verb: &Verb) -> Result<(), Failure> {
    let Verb::Update(fields) = verb else { return Ok(()) };
    if kind == "dnssec" {
        return api
            .act(Method::Patch, &format!("{path}/dnssec"), Some(json!({ "status": "active" })))
            .await
            .map(|_| ());
    }
    let mut fields: Vec<&'static str> = fields.iter().map(|change| change.field).collect();
    fields.sort_by_key(|field| *field == "hsts");
    for field in fields {
        let Some(value) = spec.wishes.get(field).map(ToString::to_string) else { continue };
        let (id, value) = match field {
            "hsts" => ("security_header", hsts(&value)),
            id => (id, Json::from(value)),
        };
        api.act(Method::Patch, &format!("{path}/settings/{id}"), Some(json!({ "value": value }))).await?;
    }
    Ok(())
}

fn hsts(words: &str) -> Json {
    let age: u64 = words.split(' ').next().and_then(|age| age.parse().ok()).unwrap_or_default();
    json!({ "strict_transport_security": {
        "enabled": age > 0, "max_age": age, "include_subdomains": words.contains("includeSubDomains"),
        "preload": words.contains("preload"), "nosniff": true,
    } })
}

/// Makes, replaces or revokes a certificate. A new one is there before the old one goes.
async fn certificate(api: Cf<'_>, account: &Account, change: &ReadyChange) -> Result<(), Failure> {
    let Spec::OriginCertificate(spec) = &change.resource.spec else { return Ok(()) };
    if matches!(change.verb, Verb::Create | Verb::Replace(_)) {
        let body = json!({
            "csr": spec.request.to_string(), "hostnames": spec.names, "request_type": "origin-ecc",
            "requested_validity": spec.days,
        });
        api.act(Method::Post, "/certificates", Some(body)).await?;
    }
    if matches!(change.verb, Verb::Delete | Verb::Replace(_)) {
        let domain = account.domains.get(&spec.zone);
        for old in domain.into_iter().flat_map(|domain| &domain.certificates) {
            let is_it =
                old.marked_name(&change.resource.owner).as_deref() == Some(change.resource.address.name.as_str());
            if let Some(id) = old.id.as_ref().filter(|_| is_it) {
                api.delete(&format!("/certificates/{id}")).await?;
            }
        }
    }
    Ok(())
}

/// Writes records of one zone, at most [`BATCH`], in one transaction.
async fn write_records(
    api: Cf<'_>,
    account: &Account,
    zone: &str,
    changes: &[&ReadyChange],
    report: &Report,
) -> Result<(), Failure> {
    let there = account.domains.values().find(|domain| domain.zone.id == zone);
    let there = there.map(|domain| domain.records.as_slice()).unwrap_or_default();
    let (mut deletes, mut patches, mut posts) = (vec![], vec![], vec![]);
    for change in changes {
        report.tell(Progress::Started(change.resource.address.clone()));
        let Spec::Record(spec) = &change.resource.spec else { continue };
        let found = records::find(there, &change.resource, spec);
        match (&change.verb, found) {
            (Verb::Delete, Some(record)) => deletes.push(json!({ "id": record.id })),
            (Verb::Delete | Verb::Keep | Verb::Conflict(_), _) => {}
            (_, Some(record)) => {
                let mut body = records::body(&change.resource, spec);
                body["id"] = record.id.as_str().into();
                patches.push(body);
            }
            (_, None) => {
                let obstacles = records::in_the_way(there, &change.resource, spec);
                for record in obstacles {
                    // Two records may have the same one in their way.
                    let delete = json!({ "id": record.id });
                    if !deletes.contains(&delete) {
                        deletes.push(delete);
                    }
                }
                posts.push(records::body(&change.resource, spec));
            }
        }
    }
    let mut body = json!({});
    for (key, list) in [("deletes", deletes), ("patches", patches), ("posts", posts)] {
        if !list.is_empty() {
            body[key] = list.into();
        }
    }
    let done = match body.as_object().is_some_and(serde_json::Map::is_empty) {
        true => Ok(()),
        false => api.act(Method::Post, &format!("/zones/{zone}/dns_records/batch"), Some(body)).await.map(|_| ()),
    };
    for change in changes {
        let address = change.resource.address.clone();
        report.tell(if done.is_ok() { Progress::Done(address) } else { Progress::Failed(address) });
    }
    done
}

/// Waits a little for the registrar to name Cloudflare's servers. Only the domain's owner can bring that about.
async fn wait_for_registrar(api: Cf<'_>, id: &str, domain: &str, report: &Report) -> Result<(), Failure> {
    let path = format!("/zones/{id}");
    let zone: ZoneInfo = api.get(&path, &[]).await?;
    let servers = zone.name_servers.join(" and ");
    report.tell(Progress::Waiting(format!("the registrar of {domain} to name the servers {servers}")));
    // It may be asked once an hour on the free plan; when it was asked already, that is as good.
    let _ = api.act(Method::Put, &format!("{path}/activation_check"), None).await;
    let begun = Instant::now();
    let mut gap = api.first_gap();
    loop {
        let zone: ZoneInfo = api.get(&path, &[]).await?;
        if zone.status.as_deref() == Some("active") {
            return Ok(());
        }
        if begun.elapsed() + gap > REGISTRAR_DEADLINE || report.stopping() {
            return Err(Failure::new(Kind::Human, format!("the zone {domain} is not active yet"))
                .because("its registrar does not name Cloudflare's servers")
                .hint(format!(
                    "at the registrar, set the name servers of {domain} to {servers}; that may take some hours to be \
                     seen. Its records are written already; then run the same command again, and it goes on from here"
                )));
        }
        sleep(gap).await;
        gap = (gap * 2).min(Duration::from_secs(5));
    }
}
