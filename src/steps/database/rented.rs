//! Databases that are rented whole.

use std::collections::BTreeMap;

use crate::model::cloud::IpFamily;
use crate::model::name::Name;
use crate::model::problem::Problem;
use crate::model::resource::{Fields, Resource, Spec};
use crate::model::service::{AllowList, Migrations, Preferences, Project};
use crate::model::value::Value;
use crate::steps::database::{DatabaseAnswers, secret};
use crate::steps::server::{self, ServerAnswers, ServerProvider};
use crate::steps::{Site, Source};

/// For how long a login lasts unless said otherwise: a day, in seconds.
const LOGIN: u32 = 86_400;

/// A Supabase project and what belongs to it.
pub(super) fn supabase(site: &Site<'_>, answers: &DatabaseAnswers, password: Name) -> Result<Vec<Resource>, Problem> {
    let id = site.entry.id.to_string();
    let mut wishes = Fields::new();
    if let Some(size) = &answers.size {
        wishes.insert("size", size.as_str().into());
    }
    if let Some(days) = answers.point_in_time {
        wishes.insert("point_in_time", format!("{} days", days.as_str()).into());
    }
    let project = Project {
        organization: answers.organization.clone(),
        region: answers.region.clone().unwrap_or_default(),
        password,
        secrets: vec![secret(site.entry, "anon-key")?, secret(site.entry, "service-key")?],
        wishes,
    };
    let settings = Fields::from([
        ("login_seconds", Value::Int(answers.login_seconds.unwrap_or(LOGIN).into())),
        ("confirm_email", answers.confirm_email.unwrap_or(true).into()),
        ("encrypted_only", true.into()),
    ]);
    let settings = Preferences { of: id.clone(), wishes: settings };
    let mut all = vec![
        site.in_cloud("supabase", "project", id.clone(), Spec::Project(project)),
        site.in_cloud("supabase", "settings", id.clone(), Spec::Preferences(settings)),
    ];
    let addresses = addresses(site, answers)?;
    if !addresses.is_empty() {
        all.push(site.in_cloud("supabase", "network", id.clone(), Spec::AllowList(AllowList { addresses })));
    }
    if let Some(path) = &answers.migrations {
        let files = migrations(site, path)?;
        all.push(site.in_cloud("supabase", "migrations", id, Spec::Migrations(Migrations { files })));
    }
    Ok(all)
}

/// A Neon project.
pub(super) fn neon(site: &Site<'_>, answers: &DatabaseAnswers, password: Name) -> Resource {
    let [least, most] = answers.compute.clone().unwrap_or_else(|| ["0.25".to_owned(), "0.25".to_owned()]);
    let plain = |units: &str| units.parse::<rust_decimal::Decimal>().unwrap_or_default().normalize().to_string();
    let wishes = Fields::from([
        ("version", answers.version.unwrap_or(17).to_string().into()),
        ("smallest", plain(&least).into()),
        ("largest", plain(&most).into()),
        ("sleeps_after", answers.sleeps_after.unwrap_or(300).to_string().into()),
        ("most_gb", answers.most_gb.map_or_else(|| "no limit".to_owned(), |most| most.to_string()).into()),
    ]);
    let project = Project {
        organization: answers.organization.clone(),
        region: answers.region.clone().unwrap_or_default(),
        password,
        secrets: vec![],
        wishes,
    };
    site.in_cloud("neon", "project", site.entry.id.to_string(), Spec::Project(project))
}

/// The addresses of the servers it may be reached from.
fn addresses(site: &Site<'_>, answers: &DatabaseAnswers) -> Result<Vec<Value>, Problem> {
    let servers = site.playbook.steps.iter().filter(|entry| entry.kind == "server");
    let wanted = servers.filter(|entry| answers.from.as_ref().is_none_or(|from| from.contains(&entry.id)));
    let mut addresses = Vec::new();
    for entry in wanted {
        let answers = entry.answers::<ServerAnswers>()?;
        if answers.provider == ServerProvider::Digitalocean {
            // What goes out of a droplet comes from its own address, not from the one that is reserved for visitors.
            addresses.push(site.output(&entry.id, "address"));
        }
        for family in server::families(&answers) {
            let family = if family == IpFamily::V4 { "ipv4" } else { "ipv6" };
            addresses.push(site.output(&entry.id, family));
        }
    }
    Ok(addresses)
}

/// The SQL files of a folder, by name.
fn migrations(site: &Site<'_>, path: &str) -> Result<BTreeMap<String, String>, Problem> {
    let place = || site.entry.place_of("migrations");
    let Some(Source::Folder(files)) = site.sources.get(path) else {
        return Err(Problem::new(place(), format!("`{path}` is not a folder")).expected("a folder of SQL files"));
    };
    let mut all = BTreeMap::new();
    for (name, bytes) in files {
        let Some(stem) = name.strip_suffix(".sql") else { continue };
        let version = stem.split('_').next().unwrap_or_default();
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Problem::new(place(), format!("bad migration name `{name}`"))
                .expected("digits first, such as `20260101120000_accounts.sql`")
                .hint("they are carried out in the order of their names"));
        }
        let text = String::from_utf8(bytes.clone())
            .map_err(|e| Problem::new(place(), format!("`{path}/{name}` is no text: {e}")))?;
        all.insert(stem.to_owned(), text);
    }
    Ok(all)
}
