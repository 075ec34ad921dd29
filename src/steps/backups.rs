//! Step `backups`: what a server holds, every night, encrypted, somewhere else; and back again on a new server, before
//! its apps start.

use std::sync::Arc;

use minijinja::context;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::machine::{Command, Directory, File, HostAt, Package, Service, TakeUp};
use crate::model::name::Name;
use crate::model::playbook::{Entry, Playbook};
use crate::model::problem::Problem;
use crate::model::resource::{Resource, Spec};
use crate::model::service::{Bucket, MadeSecret};
use crate::model::system::System;
use crate::model::value::{Input, Quoting, Value};
use crate::steps::app::AppAnswers;
use crate::steps::backups::store::Store;
use crate::steps::database::{self, DatabaseAnswers, DatabaseProvider};
use crate::steps::render::{Held, render};
use crate::steps::{About, Needs, Site, Step, folder};

mod checks;
mod store;

/// The step itself.
pub struct BackupsStep;

/// The program on the host that does it all. Its source is in four parts.
pub const PROGRAM: &str = "/usr/local/sbin/landfall-backup";
const SCRIPT: &str = concat!(
    include_str!("../../templates/backups/landfall-backup.begin"),
    include_str!("../../templates/backups/landfall-backup.databases"),
    include_str!("../../templates/backups/landfall-backup.refill"),
    include_str!("../../templates/backups/landfall-backup.verbs"),
);

/// Where backups go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupStore {
    /// Cloudflare R2. The bucket is made through Cloudflare's API.
    R2,
    /// Hetzner Object Storage.
    Hetzner,
    /// DigitalOcean Spaces.
    Spaces,
    /// Backblaze B2.
    B2,
    /// Any other storage that speaks S3.
    S3,
    /// A server that speaks SFTP, such as a Hetzner Storage Box.
    Sftp,
}

/// How many backups stay.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// The newest of each of so many hours. All backups of the last two days stay anyway.
    pub hourly: u16,
    /// The newest of each of so many days.
    pub daily: u16,
    /// The newest of each of so many weeks.
    pub weekly: u16,
    /// The newest of each of so many months.
    pub monthly: u16,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { hourly: 0, daily: 7, weekly: 5, monthly: 12 }
    }
}

/// Answers of the step `backups`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupsAnswers {
    /// The server whose data it is.
    pub on: Name,
    /// Where backups go.
    pub to: BackupStore,
    /// The bucket's name. For everything but `sftp`.
    pub bucket: Option<String>,
    /// The storage's own name for the place, such as `fsn1`, `fra1` or `eu-central-003`. For `hetzner`, `spaces` and
    /// `b2`; for `r2` one of `weur`, `eeur`, `enam`, `wnam`, `apac`.
    pub region: Option<String>,
    /// Where the storage is, such as `https://s3.example.org`. Only needed for `s3`.
    pub endpoint: Option<String>,
    /// The server, such as `u123456.your-storagebox.de`. Only for `sftp`.
    pub address: Option<String>,
    /// The port sshd listens on there; a Storage Box has 23. Only for `sftp`.
    pub port: Option<u16>,
    /// The account there. Only for `sftp`.
    pub user: Option<String>,
    /// The public key that server shows, `ssh-ed25519 AAAA…`, as `ssh-keyscan` prints it. Only for `sftp`.
    pub host_key: Option<String>,
    /// The folder in the bucket or on that server. Default: the playbook's name and the server's.
    pub path: Option<String>,
    /// More folders on the server, beside the volumes of its apps.
    #[serde(default)]
    pub folders: Vec<String>,
    /// A backup every so many hours: 1, 2, 3, 4, 6, 8, 12 or 24. Default 24, in the night.
    pub every_hours: Option<u8>,
    /// How many backups stay. Default `{ daily = 7, weekly = 5, monthly = 12 }`.
    #[serde(default)]
    pub keep: Keep,
    /// The most it may send, in kibibytes per second. Default: no limit.
    pub upload_kib: Option<u32>,
    /// How much of the stored data is read and judged every week, in percent. Default 5.
    #[schemars(range(min = 1, max = 100))]
    pub check_percent: Option<u8>,
    /// After how many hours without a good backup an alarm is raised. Default: two missed ones and two hours.
    pub alarm_after_hours: Option<u16>,
    /// A web address that is told when an alarm is raised, such as one of ntfy.sh. Often a secret.
    pub alarm: Option<Input>,
}

impl BackupsAnswers {
    fn every(&self) -> u8 {
        self.every_hours.unwrap_or(24)
    }

    fn alarm_after(&self) -> u16 {
        self.alarm_after_hours.unwrap_or(u16::from(self.every()) * 2 + 2)
    }
}

/// What the host and the repository call the backups of `entry`: the playbook and the server.
pub fn source_name(playbook: &Playbook, answers: &BackupsAnswers) -> String {
    format!("{}-{}", playbook.name, answers.on)
}

impl Step for BackupsStep {
    fn kind(&self) -> &'static str {
        "backups"
    }

    fn about(&self) -> About {
        About {
            title: "Backups",
            summary: "Dumps the databases that a server's apps use, and backs the dumps, the volumes of its apps, more folders \
                      and what Landfall made there up with restic: encrypted with a password that only the vault \
                      and the server know, to a storage somewhere else. Every week the repository is judged. A server that is new \
                      takes up the newest backup before its apps start; what holds data already is left as it is. \
                      `landfall drill` proves that a backup comes back, `landfall recover` brings everything back. \
                      Stands above the apps of its server, and below a database on it.",
            outputs: &[("account", "the account the bucket is in; only with `r2`")],
        }
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<BackupsAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<BackupsAnswers>()?;
        checks::by_itself(entry, &answers)?;
        let mut needs = Needs::on(entry, &answers.on);
        if let Some(Input::Output(key)) = &answers.alarm {
            needs.outputs.push((key.clone(), entry.place_of("alarm")));
        }
        Ok(needs)
    }

    fn outputs(&self, entry: &Entry) -> Vec<&'static str> {
        let is_r2 = entry.answers::<BackupsAnswers>().is_ok_and(|answers| answers.to == BackupStore::R2);
        if is_r2 { vec!["account"] } else { vec![] }
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<BackupsAnswers>()?;
        checks::among_others(site, &answers)?;
        let host = site.host(&answers.on)?;
        let sources = sources(site, &answers, host.system)?;
        let store = Store::of(site, &answers)?;
        let mut all = vec![password(site)?];
        if answers.to == BackupStore::R2 {
            let bucket = answers.bucket.clone().unwrap_or_default();
            let spec = Bucket { name: bucket.clone(), place: answers.region.clone() };
            all.push(site.in_cloud("cloudflare", "bucket", bucket, Spec::Bucket(spec)));
        }
        all.extend(on_host(site, &host, &answers, &sources, &store)?);
        Ok(all)
    }
}

/// The repository's password. It outlives everything else: without it, no backup is worth anything.
fn password(site: &Site<'_>) -> Result<Resource, Problem> {
    let name = secret(site.entry, "password")?;
    let spec = MadeSecret { name: name.clone(), length: 40, outlives: true };
    Ok(site.in_cloud("vault", "secret", name.to_string(), Spec::MadeSecret(spec)))
}

/// What the vault calls a secret of this step.
fn secret(entry: &Entry, what: &str) -> Result<Name, Problem> {
    Name::parse(&format!("{}-{what}", entry.id)).ok_or_else(|| {
        Problem::new(entry.place_of("id"), format!("the name `{}` is too long for its secrets", entry.id))
            .expected("at most 29 characters")
    })
}

/// What is backed up.
#[derive(Default)]
struct Sources {
    /// Lines for the host, each a word and what it means.
    lines: Vec<String>,
    /// psql's service file.
    services: Vec<Value>,
}

fn sources(site: &Site<'_>, answers: &BackupsAnswers, system: System) -> Result<Sources, Problem> {
    let mut sources = Sources::default();
    let mut used: Vec<&Name> = Vec::new();
    let apps: Vec<(&Entry, Arc<AppAnswers>)> = site
        .playbook
        .steps
        .iter()
        .filter(|entry| entry.kind == "app")
        .filter_map(|entry| Some((entry, entry.answers::<AppAnswers>().ok()?)))
        .filter(|(_, app)| app.on == answers.on)
        .collect();
    for (entry, app) in &apps {
        if app.folder.is_none() {
            sources.lines.push(format!("project {}_{}", site.playbook.name, entry.id));
        }
        used.extend(app.env.values().filter_map(|input| {
            match input {
                Input::Output(key) => Some(key.step.clone()),
                _ => None,
            }
            .and_then(|step| site.playbook.step(step.as_str()))
            .map(|entry| &entry.id)
        }));
    }
    sources.lines.extend(answers.folders.iter().map(|folder| format!("folder {folder}")));
    for entry in site.playbook.steps.iter().filter(|entry| entry.kind == "database") {
        let database = entry.answers::<DatabaseAnswers>()?;
        match database.provider {
            DatabaseProvider::Host if database.on.as_ref() == Some(&answers.on) => {
                sources.lines.push(format!("container {} {}_{}", entry.id, site.playbook.name, entry.id));
            }
            DatabaseProvider::Host => {}
            provider if used.contains(&&entry.id) => {
                checks::can_dump(site, provider, &database, system)?;
                let sort = if provider == DatabaseProvider::Supabase { "supabase" } else { "postgres" };
                sources.lines.push(format!("{sort} {}", entry.id));
                sources.services.extend(service(site, entry));
            }
            _ => {}
        }
    }
    Ok(sources)
}

/// How psql reaches the database of `entry`, as a section of its service file.
fn service(site: &Site<'_>, entry: &Entry) -> Vec<Value> {
    let part = |name: &str| site.plain_output(&entry.id, name);
    let password = database::secret_name(&entry.id, "password").map(|name| Value::Secret(name, Quoting::Plain));
    vec![
        format!("[{}]\nhost=", entry.id).into(),
        part("direct_host"),
        "\nport=".into(),
        part("direct_port"),
        "\nuser=".into(),
        part("direct_user"),
        "\ndbname=".into(),
        part("database"),
        "\nsslmode=require\npassword=".into(),
        password.unwrap_or_else(|| "".into()),
        "\n".into(),
    ]
}

fn on_host(
    site: &Site<'_>,
    host: &HostAt,
    answers: &BackupsAnswers,
    sources: &Sources,
    store: &Store,
) -> Result<Vec<Resource>, Problem> {
    let name = site.playbook.name.as_str();
    let config = format!("/etc/landfall/backups/{name}");
    let file = |path: String, content: Value, mode: u32| {
        let owner = ("root".to_owned(), "root".to_owned());
        site.on_host(
            host,
            "file",
            path.clone(),
            Spec::File(File { path, content, owner, mode, check: None, hidden: false }),
        )
    };
    let rendered = |path: &str, template: &str, context: minijinja::Value, held: Held| {
        render(path, template, context, held)
            .map_err(|e| Problem::new(site.entry.at.clone(), format!("cannot write {path}: {e}")))
    };

    let mut packages = vec!["restic", "curl"];
    if !sources.services.is_empty() {
        packages.push("postgresql-client");
    }
    if answers.to == BackupStore::Sftp {
        packages.push("openssh-client");
    }
    let package = |name: &&str| {
        site.on_host(
            host,
            "package",
            (*name).to_owned(),
            Spec::Package(Package { name: (*name).to_owned(), instead: &[] }),
        )
    };
    let mut all: Vec<Resource> = packages.iter().map(package).collect();

    let owner = ("root".to_owned(), "root".to_owned());
    let directory = Directory { path: config.clone(), owner, mode: 0o700, tree: None };
    all.push(site.on_host(host, "directory", config.clone(), Spec::Directory(directory)));
    all.push(file(PROGRAM.to_owned(), SCRIPT.into(), 0o755));
    let mut held = Held::default();
    let context = context! {
        repository => held.hold(store.repository.clone()),
        region => &store.region,
        sftp => &store.sftp,
        host => source_name(site.playbook, answers),
        project_folder => folder_of(site.playbook),
        keep => keep_options(&answers.keep),
        upload_kib => answers.upload_kib.unwrap_or(0),
        check_percent => answers.check_percent.unwrap_or(5),
        max_age_hours => answers.alarm_after(),
    };
    let settings = rendered("settings", include_str!("../../templates/backups/settings"), context, held)?;
    all.push(file(format!("{config}/settings"), settings, 0o600));
    let lines: String = sources.lines.iter().map(|line| format!("{line}\n")).collect();
    all.push(file(format!("{config}/sources"), lines.into(), 0o600));
    if !sources.services.is_empty() {
        all.push(file(format!("{config}/services"), Value::Joined(sources.services.clone()), 0o600));
    }
    for (what, content) in &store.secrets {
        all.push(file(format!("{config}/{what}"), content.clone(), 0o600));
    }
    if let Some(known) = &store.known_hosts {
        all.push(file(format!("{config}/known_hosts"), known.as_str().into(), 0o600));
    }
    if let Some(alarm) = &answers.alarm {
        all.push(file(format!("{config}/alarm"), site.value(alarm, Quoting::Plain), 0o600));
    }

    // In this order: there is a repository, what it holds is brought back, and only then something new is added.
    let command = |what: &str, more: Option<&String>| {
        let mut run = vec![PROGRAM.to_owned(), name.to_owned(), what.to_owned()];
        run.extend(more.cloned());
        let mark = Name::parse(&format!("{what}-{name}")).or_else(|| Name::parse(&format!("{what}-of-backups")));
        let mark = mark.ok_or_else(|| Problem::new(site.entry.at.clone(), "no name for a mark"))?;
        Ok(Command { mark, run, creates: None, fresh_minutes: None, reads: vec![], takes_backup: false, backup: None })
    };
    let carry_out = |spec: Command| site.on_host(host, "command", spec.mark.to_string(), Spec::Command(spec));
    let state = format!("/var/lib/landfall/backups/{name}");
    all.push(carry_out(command("init", Some(&store.shown))?));
    // Another storage may hold what was missing, and a database that is reached in another way may be a new one.
    let services = if sources.services.is_empty() { vec![] } else { vec![format!("{config}/services")] };
    all.push(carry_out(Command { reads: services, takes_backup: true, ..command("restore", Some(&store.shown))? }));
    let fresh_minutes = Some(u32::from(answers.alarm_after()) * 60);
    let creates = Some(format!("{state}/last-good"));
    all.push(carry_out(Command { creates, fresh_minutes, ..command("backup", None)? }));

    let every = match answers.every() {
        24 => "*-*-* 02:30:00".to_owned(),
        hours => format!("*-*-* 00/{hours}:20:00"),
    };
    for (verb, about, calendar, delay) in [
        ("backup", "Back up what this server holds", every.as_str(), "20min"),
        ("judge", "Judge the backups, and clear away what is no longer needed", "Sun *-*-* 05:00:00", "2h"),
        ("alarm", "Raise an alarm when the last good backup is too old", "hourly", "5min"),
    ] {
        let unit = format!("landfall-{verb}-{name}");
        let context = context! { name, verb, about, calendar, delay, program => PROGRAM };
        let service =
            rendered("unit", include_str!("../../templates/backups/unit.service"), context.clone(), Held::default())?;
        let timer = rendered("unit", include_str!("../../templates/backups/unit.timer"), context, Held::default())?;
        let timer_path = format!("/etc/systemd/system/{unit}.timer");
        all.push(file(format!("/etc/systemd/system/{unit}.service"), service, 0o644));
        all.push(file(timer_path.clone(), timer, 0o644));
        let spec = Service {
            unit: format!("{unit}.timer"),
            reads: vec![],
            take_up: TakeUp::Restart,
            unit_files: vec![timer_path],
            works: None,
            own_kernel: false,
        };
        all.push(site.on_host(host, "service", format!("{unit}.timer"), Spec::Service(spec)));
    }
    Ok(all)
}

/// What restic is told to keep. It takes no nought.
fn keep_options(keep: &Keep) -> String {
    let all = [("hourly", keep.hourly), ("daily", keep.daily), ("weekly", keep.weekly), ("monthly", keep.monthly)];
    let given: Vec<String> = all.iter().filter(|(_, n)| *n > 0).map(|(of, n)| format!("--keep-{of} {n}")).collect();
    given.join(" ")
}

/// The folder all steps of a playbook keep their files in.
fn folder_of(playbook: &Playbook) -> String {
    let of_a_step = folder(playbook, &playbook.name);
    of_a_step.rsplit_once('/').map_or(of_a_step.clone(), |(parent, _)| parent.to_owned())
}
