//! Step `dns`: names that lead to a server, and a zone that is set up safely.

mod pages;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::cloud::IpFamily;
use crate::model::dns::{OriginCertificate, Record, Zone};
use crate::model::draft::Draft;
use crate::model::name::{Name, in_ascii, is_host_name};
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::question::Page;
use crate::model::resource::{Fields, Resource, Spec};
use crate::model::service::Preferences;
use crate::model::value::{Input, OutputKey, Quoting, Value};
use crate::steps::app::AppAnswers;
use crate::steps::server::{self, ServerAnswers};
use crate::steps::{About, Needs, Site, Step};

/// The step itself.
pub struct DnsStep;

/// Who serves the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DnsProvider {
    /// Cloudflare.
    Cloudflare,
}

/// How Cloudflare speaks with the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneTls {
    /// Encrypted, and only with a certificate it can check.
    #[default]
    Strict,
    /// Encrypted, whatever certificate the server shows.
    Full,
}

/// What the world is told about the domain's mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mail {
    /// Nothing: records for mail are yours.
    #[default]
    Keep,
    /// That it sends none, so that nobody can send in its name.
    None,
}

/// What kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordKind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// A text.
    Txt,
    /// Who may issue certificates.
    Caa,
    /// Where mail goes.
    Mx,
}

impl RecordKind {
    fn as_str(self) -> &'static str {
        match self {
            RecordKind::A => "A",
            RecordKind::Aaaa => "AAAA",
            RecordKind::Cname => "CNAME",
            RecordKind::Txt => "TXT",
            RecordKind::Caa => "CAA",
            RecordKind::Mx => "MX",
        }
    }
}

/// A record of your own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordAnswers {
    /// `A`, `AAAA`, `CNAME`, `TXT`, `CAA` or `MX`.
    #[serde(rename = "type")]
    pub kind: RecordKind,
    /// The name within the zone, such as `www`, or `@` for the zone itself.
    pub name: String,
    /// What it says, as a zone file would: an address, a name, a text, `0 issue "letsencrypt.org"`, `10 mail.example`.
    pub content: Input,
    /// Do visitors come through Cloudflare? Default no.
    #[serde(default)]
    pub proxied: bool,
}

/// Answers of the step `dns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsAnswers {
    /// Who serves the zone.
    pub provider: DnsProvider,
    /// The server that the names of its apps shall lead to. Without one, only `records` are written.
    pub to: Option<Name>,
    /// The zone. Default: the playbook's `domain`.
    pub zone: Option<String>,
    /// Do visitors come through Cloudflare? Then the server shows Cloudflare a certificate made for that way alone.
    /// Default no.
    #[serde(default)]
    pub proxied: bool,
    /// How Cloudflare speaks with the server; for every proxied name of the zone.
    #[serde(default)]
    pub tls: ZoneTls,
    /// What the world is told about the domain's mail.
    #[serde(default)]
    pub mail: Mail,
    /// Who may issue certificates for the domain, such as `["letsencrypt.org"]`. Default: not said.
    #[serde(default)]
    pub caa: Vec<String>,
    /// Sign the zone, so that nobody can forge its answers? The DS record must then be brought to the registrar.
    /// Default yes.
    #[serde(default = "yes")]
    pub dnssec: bool,
    /// Set the whole zone up safely: TLS 1.2 at least, HTTPS always, HTTP/3, HSTS, a check for bad browsers? Default yes.
    #[serde(default = "yes")]
    pub settings: bool,
    /// More records: tables with `type` (A, AAAA, CNAME, TXT, CAA or MX), `name` within the zone or `@`, `content` as a
    /// zone file has it, and `proxied` if visitors shall come through Cloudflare.
    #[serde(default)]
    pub records: Vec<RecordAnswers>,
}

fn yes() -> bool {
    true
}

/// For how long browsers remember that the zone's proxied names are HTTPS only: half a year, in seconds.
const HSTS: u32 = 15_552_000;
/// For how long an origin certificate is asked for: the longest the authority grants.
const CERTIFICATE_DAYS: u32 = 5475;

impl Step for DnsStep {
    fn kind(&self) -> &'static str {
        "dns"
    }

    fn about(&self) -> About {
        About {
            title: "Names",
            summary: "Writes records for every app of a server that has a `host` in the zone, and your own; sets the \
                      zone up safely, and asks for a certificate for the way between Cloudflare and the server where \
                      names are proxied. A record that is not Landfall's is never touched: one that is in the way is \
                      shown, with what the playbook wants.",
            outputs: &[
                ("name_servers", "the name servers the registrar must be given"),
                ("ds", "the DS record the registrar must be given, for DNSSEC"),
            ],
        }
    }

    fn pages(&self, draft: &Draft) -> Vec<Page> {
        pages::pages(draft)
    }

    fn named_server(&self, _draft: &Draft) -> Option<&'static str> {
        Some("to")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<DnsAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<DnsAnswers>()?;
        if let Some(zone) = &answers.zone
            && !is_host_name(zone)
        {
            let bad = Problem::new(entry.place_of("zone"), format!("bad zone `{zone}`"));
            return Err(match in_ascii(zone) {
                Some(ascii) => bad.expected(format!("the same in ASCII: \"{ascii}\"")),
                None => bad.expected("a domain such as \"acme.dev\""),
            });
        }
        for authority in &answers.caa {
            if !is_host_name(authority) {
                return Err(Problem::new(entry.place_of("caa"), format!("bad authority `{authority}`"))
                    .expected("a name such as \"letsencrypt.org\""));
            }
        }
        let mut needs = Needs::default();
        for record in &answers.records {
            check_record(entry, record)?;
            match &record.content {
                Input::Output(key) => needs.outputs.push((key.clone(), entry.place_of("records"))),
                Input::Secret { .. } => return Err(secret_in_record(entry)),
                Input::Literal(_) => {}
            }
        }
        // That the server is one is checked like an output of it.
        if let Some(server) = &answers.to {
            needs.outputs.push((OutputKey { step: server.clone(), name: "address".into() }, entry.place_of("to")));
        }
        Ok(needs)
    }

    fn notes(&self, site: &Site<'_>) -> Vec<String> {
        let Ok(answers) = site.entry.answers::<DnsAnswers>() else { return vec![] };
        let Some(server) = &answers.to else { return vec![] };
        let zones: Vec<String> = site
            .playbook
            .steps
            .iter()
            .filter(|entry| entry.kind == "dns")
            .filter_map(|entry| zone(site, entry.answers::<DnsAnswers>().ok()?.as_ref()).ok())
            .collect();
        let apps = site.playbook.steps.iter().filter(|entry| entry.kind == "app");
        let hosts = apps.filter_map(|entry| {
            let app = entry.answers::<AppAnswers>().ok()?;
            app.host.as_ref().filter(|_| app.on == *server).map(|host| host.to_lowercase())
        });
        let is_inside = |host: &String| zones.iter().any(|zone| host == zone || host.ends_with(&format!(".{zone}")));
        hosts
            .filter(|host| !is_inside(host))
            .map(|host| format!("no zone of the playbook holds {host}: its DNS records are yours to write"))
            .collect()
    }

    fn outputs(&self, entry: &Entry) -> Vec<&'static str> {
        match entry.answers::<DnsAnswers>() {
            Ok(answers) if answers.dnssec => vec!["name_servers", "ds"],
            _ => vec!["name_servers"],
        }
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<DnsAnswers>()?;
        let zone = zone(site, &answers)?;
        let mut all =
            vec![site.in_cloud("cloudflare", "zone", zone.clone(), Spec::Zone(Zone { domain: zone.clone() }))];
        if answers.settings {
            let wishes = settings(&answers);
            let spec = Preferences { of: zone.clone(), wishes };
            all.push(site.in_cloud("cloudflare", "zone-settings", zone.clone(), Spec::Preferences(spec)));
        }
        if answers.dnssec {
            let spec = Preferences { of: zone.clone(), wishes: Fields::from([("signed", true.into())]) };
            all.push(site.in_cloud("cloudflare", "dnssec", zone.clone(), Spec::Preferences(spec)));
        }
        let mut add = |kind: &'static str, name: String, content: Value, proxied: bool| {
            let address = Record::address_name(kind, &name, &content.to_string());
            let spec = Record { zone: zone.clone(), kind, name, content, proxied };
            all.push(site.in_cloud("cloudflare", "record", address, Spec::Record(spec)));
        };
        if let Some(server) = &answers.to {
            for name in names(site, server, &zone)? {
                for family in families(site, server) {
                    let kind = if family == IpFamily::V4 { "A" } else { "AAAA" };
                    add(kind, name.clone(), site.output(server, family.as_str()), answers.proxied);
                }
            }
        }
        for authority in &answers.caa {
            add("CAA", zone.clone(), format!("0 issue \"{authority}\"").into(), false);
        }
        if answers.mail == Mail::None {
            add("TXT", zone.clone(), "v=spf1 -all".into(), false);
            add("TXT", format!("_dmarc.{zone}"), "v=DMARC1; p=reject; sp=reject; adkim=s; aspf=s".into(), false);
            add("TXT", format!("*._domainkey.{zone}"), "v=DKIM1; p=".into(), false);
        }
        for record in &answers.records {
            if record.name.len() > 1
                && record.name.ends_with('.')
                && !name_in(&zone, &record.name).eq_ignore_ascii_case(record.name.trim_end_matches('.'))
            {
                return Err(Problem::new(
                    site.entry.place_of("records"),
                    format!("`{}` lies outside the zone `{zone}`", record.name),
                )
                .expected("a name within the zone such as \"www\", or \"@\""));
            }
            let name = name_in(&zone, &record.name);
            let content = site.value(&record.content, Quoting::Plain);
            if content.is_secret() {
                return Err(secret_in_record(site.entry));
            }
            add(record.kind.as_str(), name, plain(record.kind, content), record.proxied);
        }
        check_aliases(site.entry, &all, &zone)?;
        check_policies(site.entry, &all, answers.mail)?;
        check_certificates(site, &all, &zone)?;
        let Some(server) = &answers.to else { return Ok(all) };
        if let Some(origin) = origin(site, server)?.filter(|origin| origin.dns == site.entry.id) {
            let spec = OriginCertificate {
                zone: zone.clone(),
                names: origin.names,
                request: site.output(&origin.proxy, "certificate_request"),
                days: CERTIFICATE_DAYS,
            };
            all.push(site.in_cloud(
                "cloudflare",
                "origin-certificate",
                server.to_string(),
                Spec::OriginCertificate(spec),
            ));
        }
        Ok(all)
    }
}

/// The whole name of a record that a playbook calls `name`: within the zone, or written in full already.
fn name_in(zone: &str, name: &str) -> String {
    let name = name.to_lowercase();
    let whole = name.strip_suffix('.').unwrap_or(&name);
    match whole {
        "@" => zone.to_owned(),
        whole if whole == zone || whole.ends_with(&format!(".{zone}")) => whole.to_owned(),
        whole => format!("{whole}.{zone}"),
    }
}

/// The text that a zone file's `"one" "two"` is, with its escapes (RFC 1035, section 5.1); text without quotes is itself.
/// `None` where quotes do not fit.
fn text_of(content: &str) -> Option<String> {
    let mut rest = content.trim();
    if !rest.starts_with('"') {
        return Some(content.to_owned());
    }
    let mut text: Vec<u8> = Vec::new();
    while let Some(inside) = rest.strip_prefix('"') {
        let mut letters = inside.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (at, '\\') => {
                    let number = inside.get(at + 1..at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
                    match number {
                        Some(digits) => {
                            text.push(digits.parse::<u8>().ok()?);
                            letters.nth(2)?;
                        }
                        None => text.extend(letters.next()?.1.to_string().into_bytes()),
                    }
                }
                (_, letter) => text.extend(letter.to_string().into_bytes()),
            }
        };
        rest = inside[end + 1..].trim_start();
    }
    String::from_utf8(text).ok().filter(|_| rest.is_empty())
}

/// One mail policy for each name: two of them count as none (RFC 7208, section 3.2; RFC 7489, section 6.6.3). And what sends
/// no mail takes none.
fn check_policies(entry: &Entry, all: &[Resource], mail: Mail) -> Result<(), Problem> {
    let mut seen: Vec<(String, String)> = Vec::new();
    for resource in all {
        let Spec::Record(record) = &resource.spec else { continue };
        let content = record.content.to_string();
        if record.kind == "MX" && mail == Mail::None && content != "0 ." {
            return Err(Problem::new(entry.place_of("mail"), format!("`mail = \"none\"` beside the MX of `{}`", record.name))
                .expected("one of them")
                .hint("with `none`, receivers reject all mail of the domain: leave `mail` out, and write its SPF and DMARC as records"));
        }
        let policy = content.to_lowercase().split([' ', ';']).next().unwrap_or_default().to_owned();
        if record.kind != "TXT" || !matches!(policy.as_str(), "v=spf1" | "v=dmarc1") {
            continue;
        }
        let this = (record.name.clone(), policy);
        if seen.contains(&this) {
            let (name, policy) = this;
            let of_mail = if mail == Mail::None { "; one of them comes from `mail = \"none\"`" } else { "" };
            return Err(Problem::new(
                entry.place_of("records"),
                format!("two records `{policy}` of `{name}`{of_mail}"),
            )
            .expected("one: two of them count as none"));
        }
        seen.push(this);
    }
    Ok(())
}

/// Names that go through Cloudflare need its certificate, which is for the zone and one level below it
/// (developers.cloudflare.com/ssl/edge-certificates/universal-ssl/limitations).
fn check_certificates(site: &Site<'_>, all: &[Resource], zone: &str) -> Result<(), Problem> {
    for resource in all {
        let Spec::Record(record) = &resource.spec else { continue };
        let below = record.name.strip_suffix(zone).unwrap_or_default().trim_end_matches('.');
        if record.proxied && below.contains('.') {
            return Err(Problem::new(
                site.entry.place_of("proxied"),
                format!(
                    "`{}` goes through Cloudflare, whose certificate is only for `{zone}` and `*.{zone}`",
                    record.name
                ),
            )
            .expected(format!("a name such as `{}.{zone}`, or no `proxied`", below.replace('.', "-")))
            .hint("visitors of such a name get a TLS error"));
        }
    }
    Ok(())
}

/// A literal in the spelling in which it is read back.
fn plain(kind: RecordKind, content: Value) -> Value {
    let Value::Text(text) = &content else { return content };
    match kind {
        RecordKind::Aaaa => text.parse::<std::net::Ipv6Addr>().map_or(content, |address| address.to_string().into()),
        RecordKind::Mx if text == "0 ." => content,
        RecordKind::Cname | RecordKind::Mx => text.trim_end_matches('.').to_lowercase().into(),
        RecordKind::Txt => text_of(text).map_or(content, Value::from),
        _ => content,
    }
}

/// An alias stands alone: nothing else may have its name.
/// Only at the top of a zone Cloudflare answers with what the alias leads to (CNAME flattening), so others may stand beside it.
fn check_aliases(entry: &Entry, all: &[Resource], zone: &str) -> Result<(), Problem> {
    let records: Vec<&Record> = all
        .iter()
        .filter_map(|resource| match &resource.spec {
            Spec::Record(record) => Some(record),
            _ => None,
        })
        .collect();
    for alias in records.iter().filter(|record| record.kind == "CNAME") {
        let excluded = |other: &Record| alias.name != zone || matches!(other.kind, "A" | "AAAA" | "CNAME");
        if records.iter().filter(|other| other.name == alias.name && excluded(other)).count() > 1 {
            return Err(Problem::new(
                entry.place_of("records"),
                format!("`{}` is a CNAME and something else", alias.name),
            )
            .expected("nothing else of the name of a CNAME"));
        }
        if alias.content.to_string() == alias.name {
            return Err(Problem::new(entry.place_of("records"), format!("`{}` is an alias of itself", alias.name))
                .expected("another name"));
        }
    }
    Ok(())
}

fn secret_in_record(entry: &Entry) -> Problem {
    Problem::new(entry.place_of("records"), "a secret in a record")
        .expected("text, or an output that holds no secret")
        .hint("the whole world can read what a zone says")
}

fn settings(answers: &DnsAnswers) -> Fields {
    let tls = match answers.tls {
        ZoneTls::Strict => "strict",
        ZoneTls::Full => "full",
    };
    let mut wishes: Fields = [
        ("ssl", tls),
        ("min_tls_version", "1.2"),
        ("tls_1_3", "on"),
        ("http3", "on"),
        ("always_use_https", "on"),
        ("automatic_https_rewrites", "on"),
        // What the free plan has against bots and bad visitors.
        ("browser_check", "on"),
        ("security_level", "medium"),
    ]
    .into_iter()
    .map(|(field, value)| (field, Value::from(value)))
    .collect();
    if answers.proxied {
        wishes.insert("hsts", HSTS.to_string().into());
    }
    wishes
}

fn zone(site: &Site<'_>, answers: &DnsAnswers) -> Result<String, Problem> {
    let zone = answers.zone.clone().or_else(|| site.playbook.domain.clone());
    zone.map(|zone| zone.to_lowercase()).ok_or_else(|| {
        Problem::new(site.entry.at.clone(), "no zone")
            .expected("`zone` here, or `domain` at the top of the playbook")
            .hint("such as `domain = \"acme.dev\"`")
    })
}

/// The names of the apps of the server, as far as they are in the zone, sorted.
fn names(site: &Site<'_>, server: &Name, zone: &str) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    for entry in site.playbook.steps.iter().filter(|entry| entry.kind == "app") {
        let app = entry.answers::<AppAnswers>()?;
        let Some(host) = app.host.as_ref().filter(|_| app.on == *server) else { continue };
        let host = host.to_lowercase();
        if host == *zone || host.ends_with(&format!(".{zone}")) {
            names.push(host);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn families(site: &Site<'_>, server: &Name) -> Vec<IpFamily> {
    let answers = site.playbook.step(server.as_str()).and_then(|entry| entry.answers::<ServerAnswers>().ok());
    answers.map(|answers| server::families(&answers)).unwrap_or_default()
}

/// The way between a proxy in front of a server and the server itself.
pub(crate) struct Origin {
    /// The step `dns` that asks for its certificate.
    pub dns: Name,
    /// The step `proxy` that shows it.
    pub proxy: Name,
    /// The names it is for, sorted.
    pub names: Vec<String>,
}

/// How visitors of `server` come through Cloudflare, if they do: then the step `proxy` needs a certificate that
/// Cloudflare knows. A public authority could not check a name that leads to Cloudflare.
pub(crate) fn origin(site: &Site<'_>, server: &Name) -> Result<Option<Origin>, Problem> {
    #[derive(Deserialize)]
    struct On {
        on: Name,
    }
    let is_proxy =
        |entry: &&Entry| entry.kind == "proxy" && entry.answers::<On>().is_ok_and(|proxy| proxy.on == *server);
    let Some(proxy) = site.playbook.steps.iter().find(is_proxy) else { return Ok(None) };
    for entry in site.playbook.steps.iter().filter(|entry| entry.kind == "dns") {
        let answers = entry.answers::<DnsAnswers>()?;
        if answers.to.as_ref() != Some(server) || !answers.proxied {
            continue;
        }
        let zone = zone(site, &answers)?;
        let names = names(site, server, &zone)?;
        if !names.is_empty() {
            return Ok(Some(Origin { dns: entry.id.clone(), proxy: proxy.id.clone(), names }));
        }
    }
    Ok(None)
}

fn check_record(entry: &Entry, record: &RecordAnswers) -> Result<(), Problem> {
    let bad = |what: String, expected: &str| Err(Problem::new(entry.place_of("records"), what).expected(expected));
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && (part == "*" || part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'))
    };
    let name = record.name.strip_suffix('.').unwrap_or(&record.name);
    if name != "@" && !name.split('.').all(label) {
        return bad(format!("bad record name `{}`", record.name), "a name within the zone such as \"www\", or \"@\"");
    }
    let Input::Literal(content) = &record.content else { return Ok(()) };
    if content.is_empty() || content.chars().any(char::is_control) {
        return bad(format!("a record `{}` that says nothing readable", record.name), "its content in one line");
    }
    let caa = |text: &str| {
        let mut parts = text.splitn(3, ' ');
        parts.next().is_some_and(|flags| flags.parse::<u8>().is_ok())
            && parts.next().is_some_and(|tag| matches!(tag, "issue" | "issuewild" | "iodef"))
            && parts.next().is_some_and(|value| value.len() > 2 && value.starts_with('"') && value.ends_with('"'))
    };
    // A name in full may end in a dot; an address is no name.
    let host = |text: &str| {
        let name = text.strip_suffix('.').unwrap_or(text);
        // What is no host may have underscores: keys of mail and checks of certificates do.
        // Without a dot a zone file would mean a name of this zone, which here is written in full.
        name.contains('.') && is_host_name(&name.replace('_', "u")) && name.parse::<std::net::IpAddr>().is_err()
    };
    // A domain that takes no mail says so with a dot (RFC 7505).
    let mx = |text: &str| {
        text == "0 ." || text.split_once(' ').is_some_and(|(p, name)| p.parse::<u16>().is_ok() && host(name))
    };
    let (fits, expected) = match record.kind {
        RecordKind::A => (content.parse::<std::net::Ipv4Addr>().is_ok(), "an IPv4 address"),
        RecordKind::Aaaa => (content.parse::<std::net::Ipv6Addr>().is_ok(), "an IPv6 address"),
        RecordKind::Cname => (host(content), "a host name"),
        RecordKind::Caa => (caa(content), "such as `0 issue \"letsencrypt.org\"`"),
        RecordKind::Mx => (mx(content), "a priority and a host name, such as `10 mail.example`"),
        RecordKind::Txt => (
            text_of(content).is_some_and(|text| text.len() <= 2048),
            "at most 2048 characters, plain or as a zone file has them: \"one\" \"two\"",
        ),
    };
    if !fits {
        return bad(format!("bad content `{content}` of a record {}", record.kind.as_str()), expected);
    }
    if record.proxied && !matches!(record.kind, RecordKind::A | RecordKind::Aaaa | RecordKind::Cname) {
        return bad(format!("a proxied record {}", record.kind.as_str()), "`proxied` only with A, AAAA and CNAME");
    }
    Ok(())
}
