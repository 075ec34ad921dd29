//! Looking at zones: each list once, side by side.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use jiff::{Span, Timestamp, Zoned};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::model::dns::OriginCertificate;
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::resource::{Address, Fields, Observed, Owned, Resource, Spec};
use crate::model::service::Preferences;
use crate::model::value::Value;
use crate::providers::cloudflare::api::Cf;
use crate::providers::cloudflare::records::{self, Entry, mark};
use crate::providers::cloudflare::zone_of;

/// A certificate with less time left is made anew.
const DAYS_LEFT: i64 = 30;

/// A zone as the API shows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ZoneInfo {
    pub id: String,
    pub name: String,
    pub status: Option<String>,
    #[serde(default)]
    pub name_servers: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Setting {
    id: String,
    #[serde(default)]
    value: Json,
    editable: Option<bool>,
}

/// A certificate as the API shows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Certificate {
    pub id: Option<String>,
    pub csr: String,
    #[serde(default)]
    hostnames: Vec<String>,
    certificate: Option<String>,
    expires_on: Option<String>,
}

/// A zone with what was asked for of it.
#[derive(Debug)]
pub(super) struct Domain {
    pub zone: ZoneInfo,
    pub records: Vec<Entry>,
    settings: Vec<Setting>,
    dnssec: Json,
    pub certificates: Vec<Certificate>,
}

/// A zone as far as it tells whose it is.
#[derive(Deserialize)]
struct ZoneOwner {
    account: Owner,
}

/// An account as the API shows it.
#[derive(Deserialize)]
struct Owner {
    id: String,
    #[serde(default)]
    name: String,
}

/// The zone of this domain among those that were found: one that answers for it, before one that was moved away or never
/// came. Fails as `Human` where two accounts say they do.
fn choose(domain: &str, found: Vec<ZoneInfo>) -> Result<Option<ZoneInfo>, Failure> {
    // The API may tell a name in Unicode that it was given in punycode.
    let is_it =
        |zone: &ZoneInfo| idna::domain_to_ascii(&zone.name).is_ok_and(|name| name == domain) || zone.name == domain;
    let (active, waiting): (Vec<ZoneInfo>, Vec<ZoneInfo>) =
        found.into_iter().filter(is_it).partition(|zone| zone.status.as_deref() == Some("active"));
    let mut candidates: Vec<ZoneInfo> = match active.is_empty() {
        false => active,
        true => waiting
            .into_iter()
            .filter(|zone| !matches!(zone.status.as_deref(), Some("moved" | "deleted" | "deactivated")))
            .collect(),
    };
    if candidates.len() > 1 {
        let ids: Vec<&str> = candidates.iter().map(|zone| zone.id.as_str()).collect();
        return Err(Failure::new(Kind::Human, format!("the token sees {} zones called {domain}", ids.len()))
            .because(format!("their identifiers: {}", ids.join(", ")))
            .hint("use a token for one account, so that it is clear which of them is meant"));
    }
    Ok(candidates.pop())
}

/// Fails as `Human` where a zone above `domain` is there: Cloudflare makes none below it.
async fn look_above(api: Cf<'_>, domain: &str) -> Result<(), Failure> {
    let mut above = domain;
    while let Some((_, rest)) = above.split_once('.').filter(|(_, rest)| rest.contains('.')) {
        above = rest;
        let found: Vec<ZoneInfo> = api.list("/zones", &[("name", above.to_owned())]).await?;
        if choose(above, found)?.is_some() {
            return Err(Failure::new(
                Kind::Human,
                format!("`{domain}` is no zone of its own: it lies in the zone `{above}`"),
            )
            .hint(format!("write `zone = \"{above}\"` in the step `dns`; names below it are records of that zone")));
        }
    }
    Ok(())
}

/// The one account the token can see, for what belongs to no zone.
pub(super) async fn only_account(api: Cf<'_>, what: &str) -> Result<String, Failure> {
    let mut accounts: Vec<Owner> = match api.list("/accounts", &[]).await {
        Ok(accounts) => accounts,
        Err(failure) if !failure.chain().iter().any(|line| line.contains("(1001)")) => return Err(failure),
        // A token that belongs to an account may not list them; its zones tell which it is.
        Err(failure) => {
            let zones: Vec<ZoneOwner> = api.list("/zones", &[]).await.unwrap_or_default();
            let mut owners: Vec<Owner> = zones.into_iter().map(|zone| zone.account).collect();
            owners.sort_by(|a, b| a.id.cmp(&b.id));
            owners.dedup_by(|a, b| a.id == b.id);
            match owners.is_empty() {
                true => return Err(failure),
                false => owners,
            }
        }
    };
    match accounts.pop() {
        Some(account) if accounts.is_empty() => Ok(account.id),
        last => {
            let names: Vec<String> = accounts.into_iter().chain(last).map(|account| account.name).collect();
            Err(Failure::new(Kind::Human, format!("it is not clear in which account {what} shall be"))
                .because(format!("accounts the token can see: {}", names.join(", ")))
                .hint("use a token for one account; or make it yourself, at https://dash.cloudflare.com"))
        }
    }
}

/// What was seen of the account.
pub(super) struct Account {
    /// Buckets that are there, by name, with the account they are in.
    buckets: BTreeMap<String, String>,
    /// Zones by domain.
    pub domains: BTreeMap<String, Domain>,
}

impl Account {
    /// Looks at the zones `want` is about, and in each at the lists that are asked for.
    pub(super) async fn load(api: Cf<'_>, want: &[Resource]) -> Result<Account, Failure> {
        let zones: BTreeSet<&str> = want.iter().filter_map(zone_of).collect();
        let mut domains = BTreeMap::new();
        for domain in zones {
            let found: Vec<ZoneInfo> = api.list("/zones", &[("name", domain.to_owned())]).await?;
            let Some(zone) = choose(domain, found)? else {
                look_above(api, domain).await?;
                continue;
            };
            let mut kinds: BTreeSet<&str> =
                want.iter().filter(|r| zone_of(r) == Some(domain)).map(|r| r.address.kind).collect();
            // Whether wanted or not: what is ours and no longer wanted is only found here.
            kinds.extend(["record", "origin-certificate"]);
            domains.insert(domain.to_owned(), Domain::load(api, zone, &kinds, &[]).await?);
        }
        let mut buckets = BTreeMap::new();
        let mut owner = None;
        for resource in want {
            let Spec::Bucket(spec) = &resource.spec else { continue };
            let account = match &owner {
                Some(account) => account,
                None => owner.insert(only_account(api, &format!("the bucket {}", spec.name)).await?),
            };
            if api.is_there(&format!("/accounts/{account}/r2/buckets/{}", spec.name)).await? {
                buckets.insert(spec.name.clone(), account.clone());
            }
        }
        Ok(Account { buckets, domains })
    }

    /// Looks in every zone the token can see for what carries the mark of `playbook`.
    pub(super) async fn load_marked(api: Cf<'_>, playbook: &Name) -> Result<Account, Failure> {
        let zones: Vec<ZoneInfo> = api.list("/zones", &[]).await?;
        let kinds = BTreeSet::from(["record", "origin-certificate"]);
        let mut domains = BTreeMap::new();
        for zone in zones {
            let only = [("comment.exact", mark(playbook))];
            domains.insert(zone.name.clone(), Domain::load(api, zone, &kinds, &only).await?);
        }
        Ok(Account { buckets: BTreeMap::new(), domains })
    }

    /// What was seen of `resource`.
    pub(super) fn see(&self, resource: &Resource) -> Observed {
        if let Spec::Bucket(spec) = &resource.spec {
            return match self.buckets.get(&spec.name) {
                Some(account) => {
                    let fields = Fields::from([("name", spec.name.as_str().into())]);
                    Observed::Present { fields, outputs: vec![("account", account.clone())], ours: false }
                }
                None => Observed::Absent,
            };
        }
        let Some(domain) = zone_of(resource).and_then(|zone| self.domains.get(zone)) else { return Observed::Absent };
        match &resource.spec {
            Spec::Zone(spec) => Observed::Present {
                fields: Fields::from([
                    ("domain", spec.domain.as_str().into()),
                    ("active", (domain.zone.status.as_deref() == Some("active")).into()),
                ]),
                outputs: vec![("name_servers", domain.zone.name_servers.join(" "))],
                ours: false,
            },
            Spec::Record(spec) => records::see(&domain.records, resource, spec),
            Spec::Preferences(spec) if resource.address.kind == "dnssec" => domain.see_dnssec(spec),
            Spec::Preferences(spec) => domain.see_settings(spec),
            Spec::OriginCertificate(spec) => domain.see_certificate(resource, spec),
            _ => Observed::Absent,
        }
    }

    /// Every record and certificate that carries the mark of `playbook`.
    pub(super) fn owned(&self, playbook: &Name) -> Vec<Owned> {
        let mut owned = Vec::new();
        let mut add = |kind: &'static str, name: String, id: String| {
            owned.push(Owned { address: Address { provider: "cloudflare", place: None, kind, name }, id });
        };
        for domain in self.domains.values() {
            for entry in domain.records.iter().filter(|entry| entry.is_owned_by(playbook)) {
                add("record", address_name(entry), format!("{}/{}", domain.zone.id, entry.id));
            }
            for certificate in &domain.certificates {
                if let (Some(name), Some(id)) = (certificate.marked_name(playbook), &certificate.id) {
                    add("origin-certificate", name, id.clone());
                }
            }
        }
        owned
    }
}

/// What the address of a record calls it. Of kinds that may stand beside their like, the content belongs to it.
pub(super) fn address_name(entry: &Entry) -> String {
    crate::model::dns::Record::address_name(&entry.kind, &entry.name, &entry.content())
}

impl Domain {
    async fn load(
        api: Cf<'_>,
        zone: ZoneInfo,
        kinds: &BTreeSet<&str>,
        only: &[(&'static str, String)],
    ) -> Result<Domain, Failure> {
        let path = format!("/zones/{}", zone.id);
        let (records, settings, dnssec, certificates) = tokio::try_join!(
            async {
                match kinds.contains("record") {
                    true => api.list(&format!("{path}/dns_records"), only).await,
                    false => Ok(vec![]),
                }
            },
            async {
                match kinds.contains("zone-settings") {
                    true => api.get(&format!("{path}/settings"), &[]).await,
                    false => Ok(vec![]),
                }
            },
            async {
                match kinds.contains("dnssec") {
                    true => api.get(&format!("{path}/dnssec"), &[]).await,
                    false => Ok(Json::Null),
                }
            },
            async {
                match kinds.contains("origin-certificate") {
                    true => api.list("/certificates", &[("zone_id", zone.id.clone())]).await,
                    false => Ok(vec![]),
                }
            },
        )?;
        Ok(Domain { zone, records, settings, dnssec, certificates })
    }

    fn see_dnssec(&self, spec: &Preferences) -> Observed {
        let status = self.dnssec["status"].as_str().unwrap_or("disabled");
        // It stays pending until the registrar has the DS record, which nobody but the owner can bring there.
        let on = matches!(status, "active" | "pending");
        let ds = self.dnssec["ds"].as_str().filter(|_| on).map(|ds| ("ds", ds.to_owned()));
        let fields = spec.wishes.keys().map(|field| (*field, on.into())).collect();
        Observed::Present { fields, outputs: ds.into_iter().collect(), ours: false }
    }

    fn see_settings(&self, spec: &Preferences) -> Observed {
        let see = |(field, want): (&&'static str, &Value)| {
            let id = if *field == "hsts" { "security_header" } else { *field };
            let found = match self.settings.iter().find(|setting| setting.id == id) {
                // What the zone's plan does not let anybody change is as good as it gets.
                Some(setting) if setting.editable == Some(false) => want.clone(),
                // 0-RTT comes on top of TLS 1.3.
                Some(setting) if *field == "tls_1_3" && setting.value == "zrt" => "on".into(),
                Some(setting) if *field == "hsts" => {
                    let found = hsts_in_words(&setting.value);
                    let age = |words: &str| words.split(' ').next().and_then(|age| age.parse::<u64>().ok());
                    // What browsers remember for longer is never made shorter.
                    if age(&found) >= age(&want.to_string()) { want.clone() } else { found.into() }
                }
                Some(setting) => setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned).into(),
                None => return None,
            };
            Some((*field, found))
        };
        Observed::Present { fields: spec.wishes.iter().filter_map(see).collect(), outputs: vec![], ours: false }
    }

    fn see_certificate(&self, resource: &Resource, spec: &OriginCertificate) -> Observed {
        let named = |certificate: &&Certificate| {
            certificate.marked_name(&resource.owner).as_deref() == Some(resource.address.name.as_str())
        };
        let ours: Vec<&Certificate> = self.certificates.iter().filter(named).collect();
        let fits = |certificate: &&&Certificate| same_text(&certificate.csr, &spec.request.to_string());
        let Some(certificate) = ours.iter().find(fits).or(ours.first()) else { return Observed::Absent };
        let mut names = certificate.hostnames.clone();
        names.sort();
        let request = match fits(&certificate) {
            true => spec.request.clone(),
            false => certificate.csr.as_str().into(),
        };
        let fields = Fields::from([
            ("names", Value::texts(names)),
            ("request", request),
            ("in_time", certificate.is_in_time().into()),
        ]);
        let outputs = certificate.certificate.iter().map(|pem| ("certificate", format!("{}\n", pem.trim())));
        Observed::Present { fields, outputs: outputs.collect(), ours: true }
    }
}

impl Certificate {
    /// The name of the resource of `playbook` that it was made for. It stands in the request's own name, because
    /// a certificate has no other place for a mark.
    pub(super) fn marked_name(&self, playbook: &Name) -> Option<String> {
        let base64: String = self.csr.lines().filter(|line| !line.starts_with('-') && !line.starts_with('#')).collect();
        let request = BASE64.decode(base64.trim().as_bytes()).ok()?;
        let mark = format!("landfall:{playbook}:");
        let at = request.windows(mark.len()).position(|window| window == mark.as_bytes())?;
        // A text in DER has its length in the byte before it.
        let length = usize::from(*request.get(at.checked_sub(1)?)?);
        let text = std::str::from_utf8(request.get(at..at + length)?).ok()?;
        text.strip_prefix(&mark).map(str::to_owned)
    }

    fn is_in_time(&self) -> bool {
        let Some(text) = &self.expires_on else { return true };
        // The API writes RFC 3339; older certificates say `2026-11-20 10:00:00 +0000 UTC`.
        let end = text.parse::<Timestamp>().ok().or_else(|| {
            let text = text.trim_end_matches(" UTC");
            Zoned::strptime("%Y-%m-%d %H:%M:%S %z", text).ok().map(|zoned| zoned.timestamp())
        });
        let soon = Timestamp::now().checked_add(Span::new().hours(DAYS_LEFT * 24));
        end.zip(soon.ok()).is_none_or(|(end, soon)| end > soon)
    }
}

fn same_text(one: &str, other: &str) -> bool {
    let core = |text: &str| -> String {
        text.lines().filter(|line| !line.starts_with('#')).flat_map(str::chars).filter(|c| !c.is_whitespace()).collect()
    };
    core(one) == core(other)
}

/// What browsers are told to remember, in one line: `31536000 includeSubDomains preload`, or `off`.
fn hsts_in_words(value: &Json) -> String {
    let hsts = &value["strict_transport_security"];
    if hsts["enabled"] != true {
        return "off".to_owned();
    }
    let mut text = hsts["max_age"].to_string();
    for (key, word) in [("include_subdomains", " includeSubDomains"), ("preload", " preload")] {
        if hsts[key] == true {
            text.push_str(word);
        }
    }
    text
}
