//! Step `database`: a PostgreSQL an app can use without knowing whose it is.

mod own;
mod pages;
mod rented;

pub(crate) use own::{image_on_host, network};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::draft::Draft;
use crate::model::name::Name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::question::Page;
use crate::model::resource::{Resource, Spec};
use crate::model::service::MadeSecret;
use crate::model::value::{OutputKey, Quoting, Value};
use crate::steps::{About, Needs, Site, Step};

/// The step itself.
pub struct DatabaseStep;

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseProvider {
    /// A Supabase project.
    Supabase,
    /// A Neon project.
    Neon,
    /// A container on a server of the playbook.
    Host,
}

impl DatabaseProvider {
    fn as_str(self) -> &'static str {
        match self {
            DatabaseProvider::Supabase => "supabase",
            DatabaseProvider::Neon => "neon",
            DatabaseProvider::Host => "host",
        }
    }
}

/// How far back in time a project can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Days {
    /// A week.
    #[serde(rename = "7")]
    Seven,
    /// Two weeks.
    #[serde(rename = "14")]
    Fourteen,
    /// Four weeks.
    #[serde(rename = "28")]
    TwentyEight,
}

impl Days {
    fn as_str(self) -> &'static str {
        match self {
            Days::Seven => "7",
            Days::Fourteen => "14",
            Days::TwentyEight => "28",
        }
    }
}

/// Answers of the step `database`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseAnswers {
    /// Whose it is.
    pub provider: DatabaseProvider,
    /// The organisation it is in, by name or as the provider's addresses call it.
    pub organization: Option<String>,
    /// The provider's name for the place, such as `eu-central-1`.
    pub region: Option<String>,
    /// How big, as the provider calls it: `micro`, `small`, `medium`. Default: the smallest the plan has.
    pub size: Option<String>,
    /// The servers it may be reached from. Default: every server of the playbook.
    pub from: Option<Vec<Name>>,
    /// A folder beside the playbook with SQL files such as `20260101120000_accounts.sql`, each carried out once, in
    /// order of their names.
    pub migrations: Option<String>,
    /// How many days back it can be taken to any moment: `"7"`, `"14"` or `"28"`. Costs extra, on a paid plan.
    pub point_in_time: Option<Days>,
    /// For how many seconds a login of a visitor lasts. Default a day.
    #[schemars(range(min = 300, max = 604800))]
    pub login_seconds: Option<u32>,
    /// Must visitors confirm their e-mail address? Default yes. Only for `supabase`.
    pub confirm_email: Option<bool>,
    /// PostgreSQL's major version, such as 17. For `neon` and `host`. Changing it
    /// recreates the database and deletes its data: run `landfall backup` first.
    #[schemars(range(min = 14, max = 18))]
    pub version: Option<u32>,
    /// The least and the most compute units it has, such as `["0.25", "1"]`. Only for `neon`.
    pub compute: Option<[String; 2]>,
    /// After how many seconds without visitors it sleeps, 60 to 604800; -1 for never. Only for `neon`. Default 300.
    #[schemars(range(min = -1, max = 604800))]
    pub sleeps_after: Option<i64>,
    /// The most it may hold, in gigabytes. Only for `neon`. Default: no limit.
    #[schemars(range(min = 1))]
    pub most_gb: Option<u32>,
    /// The server it is on. Only for `host`.
    pub on: Option<Name>,
}

/// Outputs that every provider gives.
const COMMON: &[&str] = &["url", "direct_url", "host", "port", "user", "database", "password"];
/// Outputs that only Supabase gives.
const OF_SUPABASE: &[&str] = &["api_url", "anon_key", "service_key"];

impl Step for DatabaseStep {
    fn kind(&self) -> &'static str {
        "database"
    }

    fn about(&self) -> About {
        About {
            title: "A database",
            summary: "Makes a PostgreSQL: a Supabase or Neon project, or a container on a server of the playbook that only \
                      its apps reach. The password is kept in the vault. A Supabase project only takes encrypted \
                      connections, and only from the servers of the playbook. An app gets the connection string with \
                      `{ output = \"database.url\" }`, which is the same whoever the provider is.",
            outputs: &[
                ("url", "the connection string for apps, through the provider's pooler where there is one"),
                ("direct_url", "the connection string past the pooler, for migrations and dumps"),
                ("host", "the host of `url`"),
                ("port", "the port of `url`"),
                ("user", "the account of `url`"),
                ("database", "the database of `url`"),
                ("password", "the password of `url`"),
                ("api_url", "where Supabase's own API is; only with `supabase`"),
                ("anon_key", "the key for browsers; only with `supabase`"),
                ("service_key", "the key that may do everything; only with `supabase`"),
            ],
        }
    }

    fn pages(&self, draft: &Draft) -> Vec<Page> {
        pages::pages(draft)
    }

    fn named_server(&self, draft: &Draft) -> Option<&'static str> {
        (draft.get("database", "provider") == Some("host")).then_some("on")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<DatabaseAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<DatabaseAnswers>()?;
        check(entry, &answers)?;
        let mut needs = Needs::default();
        for server in answers.from.iter().flatten() {
            let key = OutputKey { step: server.clone(), name: "address".into() };
            needs.outputs.push((key, entry.place_of("from")));
        }
        if let Some(server) = &answers.on {
            needs.on = Some((server.clone(), entry.place_of("on")));
        }
        if let Some(path) = &answers.migrations {
            needs.files.push((path.clone(), entry.place_of("migrations")));
        }
        Ok(needs)
    }

    fn outputs(&self, entry: &Entry) -> Vec<&'static str> {
        match entry.answers::<DatabaseAnswers>() {
            Ok(answers) if answers.provider == DatabaseProvider::Supabase => [COMMON, OF_SUPABASE].concat(),
            Ok(_) => COMMON.to_vec(),
            Err(_) => vec![],
        }
    }

    fn derive(&self, site: &Site<'_>, entry: &Entry, name: &str) -> Option<Value> {
        let secret = |what: &str| Some(Value::Secret(secret_name(&entry.id, what)?, Quoting::Plain));
        let url = |host: &str, port: &str, user: &str| {
            let part = |name: &str| site.plain_output(&entry.id, name);
            Some(Value::Joined(vec![
                "postgresql://".into(),
                part(user),
                ":".into(),
                secret("password")?,
                "@".into(),
                part(host),
                ":".into(),
                part(port),
                "/".into(),
                part("database"),
                part("options"),
            ]))
        };
        match name {
            "url" => url("host", "port", "user"),
            "direct_url" => url("direct_host", "direct_port", "direct_user"),
            "password" => secret("password"),
            "anon_key" => secret("anon-key"),
            "service_key" => secret("service-key"),
            _ => None,
        }
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<DatabaseAnswers>()?;
        let password = secret(site.entry, "password")?;
        let spec = MadeSecret { name: password.clone(), length: 32, outlives: false };
        let mut all = vec![site.in_cloud("vault", "secret", password.to_string(), Spec::MadeSecret(spec))];
        match answers.provider {
            DatabaseProvider::Supabase => all.extend(rented::supabase(site, &answers, password)?),
            // Neon makes the password itself; the vault only keeps it.
            DatabaseProvider::Neon => all = vec![rented::neon(site, &answers, password)],
            DatabaseProvider::Host => all.extend(own::container(site, &answers, password)?),
        }
        Ok(all)
    }
}

/// What the vault calls a secret of the step `id`; `None` when that would be too long.
pub(super) fn secret_name(id: &Name, what: &str) -> Option<Name> {
    Name::parse(&format!("{id}-{what}"))
}

fn secret(entry: &Entry, what: &str) -> Result<Name, Problem> {
    secret_name(&entry.id, what).ok_or_else(|| {
        Problem::new(entry.place_of("id"), format!("the name `{}` is too long for its secrets", entry.id))
            .expected("at most 27 characters")
    })
}

fn check(entry: &Entry, answers: &DatabaseAnswers) -> Result<(), Problem> {
    for what in ["password", "service-key"] {
        secret(entry, what)?;
    }
    let provider = answers.provider.as_str();
    let given = [
        ("organization", answers.organization.is_some(), "supabase neon"),
        ("region", answers.region.is_some(), "supabase neon"),
        ("on", answers.on.is_some(), "host"),
        ("size", answers.size.is_some(), "supabase"),
        ("from", answers.from.is_some(), "supabase"),
        ("migrations", answers.migrations.is_some(), "supabase"),
        ("point_in_time", answers.point_in_time.is_some(), "supabase"),
        ("login_seconds", answers.login_seconds.is_some(), "supabase"),
        ("confirm_email", answers.confirm_email.is_some(), "supabase"),
        ("version", answers.version.is_some(), "neon host"),
        ("compute", answers.compute.is_some(), "neon"),
        ("sleeps_after", answers.sleeps_after.is_some(), "neon"),
        ("most_gb", answers.most_gb.is_some(), "neon"),
    ];
    let needed: &[&str] = match answers.provider {
        DatabaseProvider::Supabase => &["organization", "region"],
        DatabaseProvider::Neon => &["region"],
        DatabaseProvider::Host => &["on"],
    };
    if let Some((missing, _, _)) = given.iter().find(|(field, given, _)| needed.contains(field) && !given) {
        return Err(Problem::new(entry.at.clone(), format!("missing field `{missing}`"))
            .hint(format!("a database of provider `{provider}` needs `{missing}`")));
    }
    if let Some((extra, _, of)) = given.iter().find(|(_, given, of)| *given && !of.split(' ').any(|p| p == provider)) {
        return Err(Problem::new(entry.place_of(extra), format!("`{extra}` means nothing to provider `{provider}`"))
            .expected(format!("it only with {}", of.replace(' ', " and ")))
            .hint("take the line out, or change the provider"));
    }
    if let Some(version @ (0..14 | 19..)) = answers.version {
        return Err(Problem::new(entry.place_of("version"), format!("PostgreSQL {version}")).expected("14 to 18"));
    }
    let units =
        |text: &String| text.parse::<rust_decimal::Decimal>().ok().filter(|u| *u >= rust_decimal::Decimal::new(25, 2));
    if let Some([least, most]) = &answers.compute
        && units(least).zip(units(most)).is_none_or(|(least, most)| least > most)
    {
        return Err(Problem::new(entry.place_of("compute"), format!("bad compute `{least}` to `{most}`"))
            .expected("the least and the most units, such as `[\"0.25\", \"1\"]`"));
    }
    if let Some(seconds) = answers.sleeps_after
        && seconds != -1
        && !(60..=604_800).contains(&seconds)
    {
        return Err(Problem::new(entry.place_of("sleeps_after"), format!("sleep after {seconds} seconds"))
            .expected("60 to 604800, or -1 for never"));
    }
    let legal = |text: &str| {
        !text.is_empty() && text.len() <= 100 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_. ".contains(c))
    };
    for (field, text) in [("organization", &answers.organization), ("region", &answers.region), ("size", &answers.size)]
    {
        if let Some(text) = text.as_ref().filter(|text| !legal(text)) {
            return Err(Problem::new(entry.place_of(field), format!("bad {field} `{text}`"))
                .expected("letters, digits, hyphens, dots and spaces"));
        }
    }
    if let Some(seconds @ (0..300 | 604_801..)) = answers.login_seconds {
        return Err(Problem::new(entry.place_of("login_seconds"), format!("logins of {seconds} seconds"))
            .expected("300 to 604800"));
    }
    Ok(())
}
