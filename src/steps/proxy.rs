//! Step `proxy`: Caddy from the distribution, one site per app.

use minijinja::context;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::access::CertificateRequest;
use crate::model::draft::Draft;
use crate::model::machine::{Check, Directory, File, HostAt, Package, Service, TakeUp};
use crate::model::name::{Name, is_email, is_public_name};
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::resource::{Resource, Spec};
use crate::steps::app::{AppAnswers, static_root};
use crate::steps::render::{Held, render};
use crate::steps::{About, Needs, Site, Step, dns, firewall, folder};

/// The step itself.
pub struct ProxyStep;

const CADDYFILE: &str = "/etc/caddy/Caddyfile";
const ORIGIN_KEY: &str = "/etc/caddy/landfall/origin.key";
const ORIGIN_REQUEST: &str = "/etc/caddy/landfall/origin.csr";
const ORIGIN_CERTIFICATE: &str = "/etc/caddy/landfall/origin.crt";
const UNIT_FILE: &str = "/etc/systemd/system/caddy.service.d/landfall.conf";

/// Which proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyKind {
    /// Caddy.
    #[default]
    Caddy,
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// From a public authority for public names, from Caddy's own for all others; for names that a step `dns`
    /// proxies, one that Cloudflare makes for the way between it and the server.
    #[default]
    Auto,
    /// From Caddy's own authority, which browsers do not know.
    Internal,
    /// From the trial authority of Let's Encrypt, which browsers do not know: to see whether names are reachable
    /// without using up the real one's few tries.
    Staging,
}

/// What browsers are told to remember: that your names are only ever visited by HTTPS.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hsts {
    /// Every subdomain as well, also those that other servers serve.
    pub subdomains: bool,
    /// In the lists that browsers are shipped with, too. That is hard to take back, and needs `subdomains`.
    pub preload: bool,
}

/// Answers of the step `proxy`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyAnswers {
    /// The server it is on.
    pub on: Name,
    /// Which proxy.
    #[serde(default)]
    pub kind: ProxyKind,
    /// Where certificate authorities can reach you when something is wrong. Default: the playbook's `email`.
    pub email: Option<String>,
    /// Where certificates come from.
    #[serde(default)]
    pub tls: TlsMode,
    /// What browsers are told to remember beyond the name itself, such as `{ subdomains = true }`.
    #[serde(default)]
    pub hsts: Hsts,
    /// The most a visitor may send in one request, such as `10MB`. Default: no limit, as the app knows its own.
    pub max_body: Option<String>,
}

/// How many bytes `size`, such as `10MB`, is: as Caddy counts, in thousands.
fn bytes(size: &str) -> Option<u64> {
    let units = [("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
    let (number, unit) = units.iter().find_map(|(unit, bytes)| Some((size.strip_suffix(unit)?, bytes)))?;
    number.parse::<u32>().ok().filter(|number| *number > 0).map(|number| u64::from(number) * unit)
}

impl Step for ProxyStep {
    fn kind(&self) -> &'static str {
        "proxy"
    }

    fn about(&self) -> About {
        About {
            title: "A proxy",
            summary: "Installs Caddy from the distribution and gives every app of the server that has a `host` a \
                      site: HTTPS, security headers, compression, an access log, and an upstream whose health is \
                      watched. A new configuration is validated before it takes the old one's place.",
            outputs: &[],
        }
    }

    fn comes_along(&self, draft: &Draft) -> bool {
        draft.answers("app", "host")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<ProxyAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<ProxyAnswers>()?;
        if let Some(email) = &answers.email
            && !is_email(email)
        {
            return Err(Problem::new(entry.place_of("email"), format!("bad e-mail address `{email}`"))
                .expected("an address such as \"me@acme.dev\""));
        }
        if answers.hsts.preload && !answers.hsts.subdomains {
            return Err(Problem::new(entry.place_of("hsts"), "`preload` without `subdomains`")
                .expected("`hsts = { subdomains = true, preload = true }`")
                .hint("browsers' lists take only whole domains"));
        }
        if let Some(size) = answers.max_body.as_ref().filter(|size| bytes(size).is_none()) {
            return Err(Problem::new(entry.place_of("max_body"), format!("bad size `{size}`"))
                .expected("a size such as \"10MB\""));
        }
        Ok(Needs::on(entry, &answers.on))
    }

    fn outputs(&self, _: &Entry) -> Vec<&'static str> {
        vec![]
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<ProxyAnswers>()?;
        let above = site.playbook.steps.iter().take_while(|entry| entry.id != site.entry.id);
        for other in above.filter(|entry| entry.kind == "proxy") {
            if other.answers::<ProxyAnswers>()?.on == answers.on {
                return Err(Problem::new(
                    site.entry.kind_at.clone(),
                    format!("`{}` already is the proxy of `{}`", other.id, answers.on),
                )
                .expected("one proxy for each server")
                .hint("one proxy serves every app of its server: take this one out"));
            }
        }
        let host = site.host(&answers.on)?;
        let origin = dns::origin(site, &answers.on)?.filter(|_| answers.tls == TlsMode::Auto);
        let sites = sites(site, &answers, origin.as_ref())?;
        let content = render(
            "Caddyfile",
            include_str!("../../templates/Caddyfile"),
            context! {
                email => answers.email.as_ref().or(site.playbook.email.as_ref()),
                hsts => hsts(answers.hsts),
                max_body => &answers.max_body,
                max_bytes => answers.max_body.as_deref().and_then(bytes),
                staging => answers.tls == TlsMode::Staging,
                trusted => firewall::trusted_proxies(site, &answers.on)?,
                sites,
            },
            Held::default(),
        )
        .map_err(|e| Problem::new(site.entry.at.clone(), format!("cannot write the Caddyfile: {e}")))?;

        let caddy = ("caddy".to_owned(), "caddy".to_owned());
        let logs = Directory { path: "/var/log/caddy".into(), owner: caddy, mode: 0o750, tree: None };
        let file = File {
            path: CADDYFILE.to_owned(),
            content,
            owner: ("root".to_owned(), "root".to_owned()),
            mode: 0o644,
            // Validating opens the logs, so it must not run as root: Caddy could not write to them later.
            check: Some(Check {
                run: ["env", "HOME=/var/lib/caddy", "caddy", "validate", "--adapter", "caddyfile", "--config", "{}"]
                    .map(str::to_owned)
                    .into(),
                user: "caddy",
            }),
            hidden: false,
        };
        let unit = File {
            path: UNIT_FILE.to_owned(),
            content: include_str!("../../templates/caddy-unit.conf").into(),
            owner: ("root".to_owned(), "root".to_owned()),
            mode: 0o644,
            check: None,
            hidden: false,
        };
        let mut service = Service {
            unit: "caddy.service".to_owned(),
            reads: vec![CADDYFILE.to_owned()],
            take_up: TakeUp::Reload,
            unit_files: vec![UNIT_FILE.to_owned()],
            works: None,
            own_kernel: false,
        };
        let mut all = vec![
            site.on_host(
                &host,
                "package",
                "caddy".into(),
                Spec::Package(Package { name: "caddy".into(), instead: &[] }),
            ),
            site.on_host(&host, "directory", logs.path.clone(), Spec::Directory(logs)),
            site.on_host(&host, "file", UNIT_FILE.into(), Spec::File(unit)),
        ];
        if let Some(origin) = origin {
            all.extend(origin_certificate(site, &host, &answers, origin));
            service.reads.push(ORIGIN_CERTIFICATE.to_owned());
        }
        all.push(site.on_host(&host, "file", CADDYFILE.into(), Spec::File(file)));
        all.push(site.on_host(&host, "service", "caddy.service".into(), Spec::Service(service)));
        Ok(all)
    }
}

/// The key for the way between Cloudflare and this server, the request for its certificate, and the certificate
/// when the step `dns` has it.
fn origin_certificate(site: &Site<'_>, host: &HostAt, answers: &ProxyAnswers, origin: dns::Origin) -> Vec<Resource> {
    let caddy = ("caddy".to_owned(), "caddy".to_owned());
    let request = CertificateRequest {
        key: ORIGIN_KEY.to_owned(),
        request: ORIGIN_REQUEST.to_owned(),
        owner: caddy,
        names: origin.names,
    };
    let certificate = File {
        path: ORIGIN_CERTIFICATE.to_owned(),
        content: site.output(&origin.dns, "certificate"),
        owner: ("root".to_owned(), "root".to_owned()),
        mode: 0o644,
        check: None,
        hidden: false,
    };
    vec![
        site.on_host(
            host,
            "package",
            "openssl".into(),
            Spec::Package(Package { name: "openssl".into(), instead: &[] }),
        ),
        site.on_host(host, "certificate-request", answers.on.to_string(), Spec::CertificateRequest(request)),
        site.on_host(host, "file", ORIGIN_CERTIFICATE.into(), Spec::File(certificate)),
    ]
}

/// The header's value: two years, and what was asked for beyond the name itself.
fn hsts(asked: Hsts) -> String {
    let mut value = "max-age=63072000".to_owned();
    if asked.subdomains {
        value += "; includeSubDomains";
    }
    if asked.preload {
        value += "; preload";
    }
    value
}

/// One site per app of this server that has a name.
fn sites(
    site: &Site<'_>,
    answers: &ProxyAnswers,
    origin: Option<&dns::Origin>,
) -> Result<Vec<minijinja::Value>, Problem> {
    let mut sites = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for entry in site.playbook.steps.iter().filter(|entry| entry.kind == "app") {
        let app = entry.answers::<AppAnswers>()?;
        let Some(name) = app.host.clone().filter(|_| app.on == answers.on) else { continue };
        if names.contains(&name) {
            return Err(Problem::new(entry.place_of("host"), format!("two apps are called `{name}`"))
                .expected("a host name of its own for each app"));
        }
        let root = app.folder.is_some().then(|| static_root(&folder(site.playbook, &entry.id)));
        let internal = answers.tls == TlsMode::Internal || !is_public_name(&name);
        sites.push(context! {
            name => &name,
            id => entry.id.as_str(),
            port => app.loopback_port(),
            health => &app.health,
            root,
            internal,
            certificate => origin.filter(|origin| origin.names.contains(&name.to_lowercase())).map(|_| ORIGIN_CERTIFICATE),
            key => ORIGIN_KEY,
        });
        names.push(name);
    }
    Ok(sites)
}
