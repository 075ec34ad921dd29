//! Step `hardening`: measures, each with one sentence on what it protects from, each of which can be
//! switched on and off by itself.

pub mod measures;
mod pages;
mod sshd;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::model::draft::Draft;
use crate::model::machine::{Check, Command, Directory, File, HostAt, Package, Service, TakeUp};
use crate::model::name::Name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::question::Page;
use crate::model::resource::{Resource, Spec};
use crate::model::tuning::{Mount, Settings, Sysctl, TimeZone};
use crate::steps::hardening::measures::{MEASURES, Measure};
use crate::steps::{About, Needs, Site, Step};

/// The step itself.
pub struct HardeningStep;

/// How far it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// What every server should have; nothing that is in use stops working.
    #[default]
    Baseline,
    /// As far as outside auditors ask for it and Docker, remote work and recovery still go well.
    Strict,
}

/// Answers of the step `hardening`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardeningAnswers {
    /// The server it hardens.
    pub on: Name,
    /// How far it goes.
    #[serde(default)]
    pub profile: Profile,
    /// Measures switched on or off by themselves, such as `process-hiding = false`.
    #[serde(default)]
    pub measures: BTreeMap<String, bool>,
    /// The server's time zone, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// When it may restart by itself after an upgrade that asks for it, as `HH:MM` in its time zone;
    /// `never` leaves that to you.
    #[serde(default = "at_night")]
    pub reboot: String,
}

fn utc() -> String {
    "Etc/UTC".to_owned()
}

fn at_night() -> String {
    "04:30".to_owned()
}

impl Step for HardeningStep {
    fn kind(&self) -> &'static str {
        "hardening"
    }

    fn about(&self) -> About {
        About {
            title: "Hardening",
            summary: "Makes the server hard to break into and quick to tell: sshd, sudo, accounts, kernel, logs, \
                      upgrades and more, as two profiles of single measures (see docs/security.md). Changes that \
                      could lock us out are undone by the server itself unless a new connection gets in.",
            outputs: &[],
        }
    }

    fn pages(&self, _draft: &Draft) -> Vec<Page> {
        pages::pages()
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<HardeningAnswers>()
    }

    fn needs(&self, entry: &Entry) -> Result<Needs, Problem> {
        let answers = entry.answers::<HardeningAnswers>()?;
        for name in answers.measures.keys() {
            if !MEASURES.iter().any(|measure| measure.name == name) {
                let names = || MEASURES.iter().map(|measure| measure.name);
                return Err(Problem::new(
                    entry.place_of(&format!("measures.{name}")),
                    format!("there is no measure `{name}`"),
                )
                .expected(format!("one of `{}`", names().collect::<Vec<_>>().join("`, `")))
                .did_you_mean(name, names()));
            }
        }
        let is_zone = |text: &str| {
            !text.is_empty()
                && text.split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()))
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c))
        };
        if !is_zone(&answers.time_zone) {
            return Err(Problem::new(entry.place_of("time_zone"), format!("bad time zone `{}`", answers.time_zone))
                .expected("a name such as \"Europe/Berlin\" or \"Etc/UTC\""));
        }
        if answers.reboot != "never" && !is_clock(&answers.reboot) {
            return Err(Problem::new(entry.place_of("reboot"), format!("bad time `{}`", answers.reboot))
                .expected("a time such as \"04:30\", or \"never\""));
        }
        Ok(Needs::on(entry, &answers.on))
    }

    fn outputs(&self, _: &Entry) -> Vec<&'static str> {
        vec![]
    }

    fn desired(&self, site: &Site<'_>) -> Result<Vec<Resource>, Problem> {
        let answers = site.entry.answers::<HardeningAnswers>()?;
        let host = site.host(&answers.on)?;
        let ground = Ground { site, host: &host, answers: &answers };
        let (on, off): (Vec<&Measure>, Vec<&Measure>) = MEASURES.iter().partition(|measure| answers.wants(measure));
        let mut all: Vec<Resource> = on.iter().flat_map(|measure| (measure.make)(&ground)).collect();
        // What a measure made goes when it is switched off, in reverse: services before their files.
        for mut resource in off.iter().rev().flat_map(|measure| (measure.make)(&ground).into_iter().rev()) {
            let kept =
                matches!(resource.spec, Spec::Package(_) | Spec::Directory(_) | Spec::User(_) | Spec::Command(_));
            if !kept && !all.iter().any(|wanted| wanted.address == resource.address) {
                resource.gone = true;
                all.push(resource);
            }
        }
        Ok(all)
    }
}

impl HardeningAnswers {
    /// Is this measure part of what is asked for?
    pub fn wants(&self, measure: &Measure) -> bool {
        self.measures.get(measure.name).copied().unwrap_or(measure.since <= self.profile)
    }
}

fn is_clock(text: &str) -> bool {
    let number = |text: &str, below: u8| text.len() == 2 && text.parse::<u8>().is_ok_and(|n| n < below);
    text.split_once(':').is_some_and(|(hours, minutes)| number(hours, 24) && number(minutes, 60))
}

/// What a measure stands on, and what it is built with.
pub struct Ground<'a> {
    site: &'a Site<'a>,
    host: &'a HostAt,
    answers: &'a HardeningAnswers,
}

impl Ground<'_> {
    fn strict(&self) -> bool {
        self.answers.profile == Profile::Strict
    }

    fn has(&self, measure: &str) -> bool {
        MEASURES.iter().any(|known| known.name == measure && self.answers.wants(known))
    }

    fn on_host(&self, kind: &'static str, name: &str, spec: Spec) -> Resource {
        self.site.on_host(self.host, kind, name.to_owned(), spec)
    }

    fn packages(&self, names: &[&str]) -> Vec<Resource> {
        let package = |name: &&str| {
            self.on_host("package", name, Spec::Package(Package { name: (*name).to_owned(), instead: &[] }))
        };
        names.iter().map(package).collect()
    }

    fn file(&self, path: &str, text: &str) -> Resource {
        self.checked(path, text, 0o644, None)
    }

    fn checked(&self, path: &str, text: &str, mode: u32, check: Option<&[&str]>) -> Resource {
        let check =
            check.map(|words| Check { run: words.iter().map(|word| (*word).to_owned()).collect(), user: "root" });
        let owner = ("root".to_owned(), "root".to_owned());
        let spec = File { path: path.to_owned(), content: text.into(), owner, mode, check, hidden: false };
        self.on_host("file", path, Spec::File(spec))
    }

    fn directory(&self, path: &str, mode: u32) -> Resource {
        let owner = ("root".to_owned(), "root".to_owned());
        let spec = Directory { path: path.to_owned(), owner, mode, tree: None };
        self.on_host("directory", path, Spec::Directory(spec))
    }

    fn service(&self, unit: &str, reads: &[&str], take_up: TakeUp) -> Resource {
        let reads = reads.iter().map(|path| (*path).to_owned()).collect();
        let spec =
            Service { unit: unit.to_owned(), reads, take_up, unit_files: vec![], works: None, own_kernel: false };
        self.on_host("service", unit, Spec::Service(spec))
    }

    /// A service that works on the kernel itself.
    fn kernel_service(&self, unit: &str) -> Resource {
        let spec = Service {
            unit: unit.to_owned(),
            reads: vec![],
            take_up: TakeUp::Restart,
            unit_files: vec![],
            works: None,
            own_kernel: true,
        };
        self.on_host("service", unit, Spec::Service(spec))
    }

    /// A command that is run when its text changes, or when the file it `creates` is gone. No resource where the
    /// mark is no name, which a test of every measure would find.
    fn command(&self, mark: &str, script: &str, creates: Option<&str>) -> Vec<Resource> {
        let run = ["sh", "-c", script].map(str::to_owned).into();
        let creates = creates.map(str::to_owned);
        let spec = Name::parse(mark).map(|mark| Command {
            mark,
            run,
            creates,
            fresh_minutes: None,
            reads: vec![],
            takes_backup: false,
            backup: None,
        });
        spec.into_iter().map(|spec| self.on_host("command", mark, Spec::Command(spec))).collect()
    }

    fn sysctl(&self, name: &str, settings: &[(&str, &str)]) -> Resource {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        // The last file to be read wins; Debian's own go up to 99-protect-links.conf.
        let path = format!("/etc/sysctl.d/99-zz-landfall-{name}.conf");
        self.on_host("sysctl", name, Spec::Sysctl(Sysctl { path, settings }))
    }

    fn mount(&self, mount: Mount) -> Resource {
        self.on_host("mount", mount.at, Spec::Mount(mount))
    }

    fn time_zone(&self) -> Resource {
        self.on_host("time-zone", "local", Spec::TimeZone(TimeZone { name: self.answers.time_zone.clone() }))
    }

    fn settings(&self, path: &str, values: &[(&'static str, &'static str)]) -> Resource {
        let spec = Settings { path: path.to_owned(), values: values.iter().copied().collect() };
        self.on_host("settings", path, Spec::Settings(spec))
    }
}
