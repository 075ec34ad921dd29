//! Looking at an account: which projects there are, which of them is ours, and what it is like.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::model::event::Progress;
use crate::model::failure::Failure;
use crate::model::machine::digest;
use crate::model::money::{Money, PriceLine};
use crate::model::name::Name;
use crate::model::rented;
use crate::model::resource::{Address, Fields, Observed, Owned, Resource, Spec};
use crate::model::service::{Preferences, Project};
use crate::model::value::{Quoting, Value};
use crate::providers::supabase::api::Supa;
use crate::providers::supabase::apply::{check_region, organization_of};
use crate::providers::supabase::migrations;

/// The reference kept while a project is being made: whatever of our name appears then is ours.
pub(super) const PENDING: &str = "pending";

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Organization {
    pub slug: String,
    pub name: String,
}

/// A project as the API lists it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Info {
    #[serde(rename = "ref")]
    pub reference: String,
    pub organization_slug: String,
    pub name: String,
    pub region: String,
    pub status: String,
    pub created_at: String,
    pub database: Option<Host>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Host {
    pub host: String,
}

#[derive(Deserialize)]
struct Pooler {
    database_type: String,
    db_user: String,
    db_host: String,
    db_port: u16,
    db_name: String,
}

/// What the account holds.
pub(super) struct Account<'a> {
    api: Supa<'a>,
    pub organizations: Vec<Organization>,
    pub projects: Vec<Info>,
}

/// What a reference and the list of projects say together.
pub(super) enum Found<'a> {
    /// There is none.
    None,
    /// Ours, made with the password whose digest this is; `None` while it is being made or taken over.
    Ours(&'a Info, Option<String>),
    /// One of our name that is not known to be ours.
    Stranger(&'a Info),
}

/// The reference of a project: what Supabase calls it, and which password it was given.
pub(super) fn reference(info: &str, password: &str) -> String {
    format!("{info} {password}")
}

/// The first digits of a password's digest: enough to see that it is another one, far too few to find it.
pub(super) fn password_mark(password: &str) -> String {
    digest(password.as_bytes())[..8].to_owned()
}

impl<'a> Account<'a> {
    /// Two list calls.
    pub(super) async fn load(api: Supa<'a>) -> Result<Account<'a>, Failure> {
        let (organizations, mut projects): (Vec<Organization>, Vec<Info>) =
            tokio::try_join!(api.get("/organizations"), api.get("/projects"))?;
        // A token may not see all of an organisation: what the lock line names is only gone when it is said to be.
        for (_, kept) in api.doors.references.all() {
            let reference = kept.split(' ').next().unwrap_or_default();
            let looks_like_one = reference.len() == 20 && reference.bytes().all(|byte| byte.is_ascii_lowercase());
            if looks_like_one && !projects.iter().any(|project| project.reference == reference) {
                projects.extend(api.project(reference).await?);
            }
        }
        // What is on its way out is as good as gone.
        projects.retain(|project| !matches!(project.status.as_str(), "REMOVED" | "GOING_DOWN"));
        Ok(Account { api, organizations, projects })
    }

    /// The organisation that `asked`, its name or slug, means.
    pub(super) fn organization(&self, asked: &str) -> Option<&Organization> {
        self.organizations.iter().find(|o| o.slug == asked || o.name == asked)
    }

    /// The project of the step that wants `resource`.
    pub(super) fn find(&self, resource: &Resource) -> Found<'_> {
        let name = format!("{}-{}", resource.owner, resource.step);
        let named: Vec<&Info> = self.projects.iter().filter(|project| project.name == name).collect();
        let kept = self.api.doors.references.get(&resource.step);
        match kept.as_deref().map(|kept| kept.split_once(' ').unwrap_or((kept, ""))) {
            Some((PENDING, _)) => match named.first() {
                Some(project) => Found::Ours(project, None),
                None => Found::None,
            },
            Some((reference, mark)) => {
                let known = self.projects.iter().find(|project| project.reference == reference);
                match (known, named.first()) {
                    (Some(project), _) => Found::Ours(project, Some(mark.to_owned())),
                    (None, Some(project)) => Found::Stranger(project),
                    (None, None) => Found::None,
                }
            }
            None => named.first().map_or(Found::None, |project| Found::Stranger(project)),
        }
    }

    /// What was seen of `resource`.
    pub(super) async fn see(&self, resource: &Resource) -> Result<Observed, Failure> {
        let (info, mark) = match self.find(resource) {
            Found::None => return Ok(Observed::Absent),
            Found::Ours(info, mark) => (info, mark),
            Found::Stranger(info) if resource.adopt => (info, None),
            Found::Stranger(info) if matches!(resource.spec, Spec::Project(_)) => {
                return Ok(Observed::Foreign(format!(
                    "there is a project {} ({}) in the organisation {}, and this playbook's lock line does not name \
                     it. If it is yours, bring the lock line back, or add --adopt {}: its database gets a new password",
                    info.name, info.reference, info.organization_slug, resource.address
                )));
            }
            Found::Stranger(_) => return Ok(Observed::Absent),
        };
        // Asking a project that is not up only gives errors.
        let is_up = info.status == "ACTIVE_HEALTHY";
        match &resource.spec {
            Spec::Project(spec) => {
                let twins =
                    self.projects.iter().filter(|other| other.name == info.name && other.reference != info.reference);
                for twin in twins {
                    self.api.report.tell(Progress::Note(format!(
                        "there is a second project {} ({}) in the organisation {}, which this playbook does not use and which may \
                         cost money; delete it in the dashboard if nobody needs it",
                        twin.name, twin.reference, twin.organization_slug
                    )));
                }
                self.see_project(spec, info, mark, is_up).await
            }
            _ if !is_up => Ok(Observed::Absent),
            Spec::Preferences(spec) => self.see_settings(spec, info).await,
            Spec::AllowList(_) => self.see_networks(info).await,
            Spec::Migrations(spec) => migrations::see(self.api, spec, &info.reference).await,
            _ => Ok(Observed::Absent),
        }
    }

    async fn see_project(
        &self,
        spec: &Project,
        info: &Info,
        mark: Option<String>,
        is_up: bool,
    ) -> Result<Observed, Failure> {
        let path = format!("/projects/{}", info.reference);
        let keys = &self.api.doors.keys;
        let kept = keys.get(&spec.password).map(|secret| password_mark(secret.expose()));
        let password = match (&mark, kept) {
            (Some(mark), Some(kept)) if *mark == kept => Value::Secret(spec.password.clone(), Quoting::Plain),
            (Some(_), _) => "(another one)".into(),
            (None, _) => "(not known to be ours yet)".into(),
        };
        let asked = spec.organization.as_deref().unwrap_or_default();
        let known = |o: &&Organization| o.slug == asked || o.name == asked;
        let named: Vec<&Organization> = self.organizations.iter().filter(known).collect();
        if named.is_empty() {
            return Ok(Observed::Foreign(format!(
                "the project {} is there, but the token sees no organisation `{asked}`: was it renamed?",
                info.reference
            )));
        }
        let organization = match named.iter().any(|o| o.slug == info.organization_slug) {
            true => asked.to_owned(),
            false => info.organization_slug.clone(),
        };
        let poolers: Vec<Pooler> = match is_up {
            true => self.api.get(&format!("{path}/config/database/pooler")).await?,
            false => vec![],
        };
        let pooler = poolers.iter().find(|pooler| pooler.database_type == "PRIMARY");
        let mut fields = Fields::from([
            ("region", info.region.as_str().into()),
            ("organization", organization.into()),
            ("password", password),
            ("secrets_kept", spec.secrets.iter().all(|name| keys.get(name).is_some()).into()),
            // A project can be up before its pooler is, and nobody could reach it then.
            ("running", pooler.is_some().into()),
        ]);
        if is_up && !spec.wishes.is_empty() {
            let addons: Json = self.api.get(&format!("{path}/billing/addons")).await?;
            let variant = |kind: &str| {
                let mut selected = addons["selected_addons"].as_array().into_iter().flatten();
                let found = selected.find(|addon| addon["type"] == kind)?;
                found["variant"]["id"].as_str().map(str::to_owned)
            };
            let size = variant("compute_instance");
            let size = size.as_deref().and_then(|id| id.strip_prefix("ci_")).unwrap_or("nano");
            fields.insert("size", size.into());
            if let Some(days) = variant("pitr").as_deref().and_then(|id| id.strip_prefix("pitr_")) {
                fields.insert("point_in_time", format!("{days} days").into());
            }
        }
        let mut outputs = Vec::new();
        if let Some(pooler) = pooler {
            // The direct host may carry a port of its own.
            let direct = info.database.as_ref().map(|database| database.host.as_str()).unwrap_or_default();
            let (direct_host, direct_port) = direct.rsplit_once(':').unwrap_or((direct, "5432"));
            outputs = vec![
                ("host", pooler.db_host.clone()),
                ("port", pooler.db_port.to_string()),
                ("user", pooler.db_user.clone()),
                ("database", pooler.db_name.clone()),
                ("options", "?sslmode=require".to_owned()),
                ("direct_host", direct_host.to_owned()),
                ("direct_port", direct_port.to_owned()),
                ("direct_user", "postgres".to_owned()),
                ("api_url", format!("https://{}.supabase.co", info.reference)),
            ];
        }
        Ok(Observed::Present { fields, outputs, ours: true })
    }

    async fn see_settings(&self, spec: &Preferences, info: &Info) -> Result<Observed, Failure> {
        let path = format!("/projects/{}", info.reference);
        let (auth_path, encryption_path) = (format!("{path}/config/auth"), format!("{path}/ssl-enforcement"));
        let (auth, encryption): (Json, Json) =
            tokio::try_join!(self.api.get(&auth_path), self.api.get(&encryption_path))?;
        let mut fields = Fields::from([
            ("login_seconds", Value::Int(auth["jwt_exp"].as_i64().unwrap_or_default())),
            ("confirm_email", (auth["mailer_autoconfirm"] != true).into()),
            ("encrypted_only", (encryption["currentConfig"]["database"] == true).into()),
        ]);
        fields.retain(|field, _| spec.wishes.contains_key(field));
        Ok(Observed::Present { fields, outputs: vec![], ours: false })
    }

    async fn see_networks(&self, info: &Info) -> Result<Observed, Failure> {
        let path = format!("/projects/{}/network-restrictions", info.reference);
        let found: Json = self.api.get(&path).await?;
        let lists = ["dbAllowedCidrs", "dbAllowedCidrsV6"].map(|key| found["config"][key].as_array().cloned());
        let mut networks: Vec<String> =
            lists.into_iter().flatten().flatten().filter_map(|cidr| cidr.as_str().map(plain)).collect();
        networks.sort();
        networks.dedup();
        if found["status"] != "applied" {
            networks.push("(not in force yet)".to_owned());
        }
        let fields = Fields::from([("addresses", Value::texts(networks))]);
        Ok(Observed::Present { fields, outputs: vec![], ours: false })
    }

    /// Projects the lock line names, wanted or not.
    pub(super) fn owned(&self, playbook: &Name) -> Vec<Owned> {
        let kept = self.api.doors.references.all();
        let find = |(step, kept): &(Name, String)| {
            let reference = kept.split(' ').next().unwrap_or_default();
            let name = format!("{playbook}-{step}");
            let is_it =
                |project: &&Info| project.reference == reference || (reference == PENDING && project.name == name);
            let project = self.projects.iter().find(is_it)?;
            let address = Address { provider: "supabase", place: None, kind: "project", name: step.to_string() };
            Some(Owned { address, id: project.reference.clone() })
        };
        kept.iter().filter_map(find).collect()
    }

    /// What the projects in `want` cost a month: the organisation's plan once, and the compute of each.
    pub(super) async fn bill(&self, want: &[Resource]) -> Result<Vec<PriceLine>, Failure> {
        let mut lines: Vec<PriceLine> = Vec::new();
        let mut billed: Vec<String> = Vec::new();
        for resource in want {
            let Spec::Project(spec) = &resource.spec else { continue };
            let asked = spec.organization.as_deref().unwrap_or_default();
            let organization = organization_of(self, spec)?;
            if let Found::None = self.find(resource) {
                check_region(self.api, &organization.slug, &spec.region).await?;
            }
            let details: Json = self.api.get(&format!("/organizations/{}", organization.slug)).await?;
            let is_paid = details["plan"].as_str().is_some_and(|plan| plan != "free");
            // What is there says what compute costs; before that, the list of the program's own date does.
            let live = match self.find(resource) {
                Found::Ours(info, _) if info.status == "ACTIVE_HEALTHY" => {
                    Some(self.api.get::<Json>(&format!("/projects/{}/billing/addons", info.reference)).await?)
                }
                _ => None,
            };
            let price = |variant: &str| live.as_ref().and_then(|addons| price_of(addons, variant));
            let first = !billed.contains(&organization.slug);
            billed.push(organization.slug.clone());
            for (what, amount) in rented::supabase(spec, asked, is_paid, first, price) {
                let monthly = Money { amount, currency: "USD".to_owned() };
                lines.push(PriceLine { address: resource.address.clone(), what, monthly });
            }
        }
        Ok(lines)
    }
}

/// An address without the prefix length that says it is one address.
fn plain(cidr: &str) -> String {
    cidr.strip_suffix("/32").or_else(|| cidr.strip_suffix("/128")).unwrap_or(cidr).to_owned()
}

/// The hourly price of an add-on's variant, exactly as the API writes it: the shortest text of a number is what was
/// sent.
fn price_of(addons: &Json, variant: &str) -> Option<Decimal> {
    let mut all =
        addons["available_addons"].as_array()?.iter().flat_map(|a| a["variants"].as_array().into_iter().flatten());
    let found = all.find(|known| known["id"] == variant)?;
    let amount: Decimal = found["price"]["amount"].to_string().parse().ok()?;
    Some(if found["price"]["interval"] == "monthly" { amount / Decimal::from(rented::HOURS) } else { amount })
}
