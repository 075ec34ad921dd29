//! `landfall audit`: the outside judges that are installed, and what they said before.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::Settings;
use crate::cli::go::{doors, refuse, runtime};
use crate::cli::load::{Loaded, load};
use crate::cupboard::disk;
use crate::doors::ssh::Signs;
use crate::doors::{Doors, programs};
use crate::engine::{Goal, places};
use crate::front::{self, Style};
use crate::model::event::Report;
use crate::model::failure::{Failure, Kind};
use crate::model::machine::HostAt;
use crate::model::visible::visible;
use crate::probes::{self, Verdict};
use crate::providers::host::host_id;
use crate::steps::app::AppAnswers;

/// Lets every judge look at every server and site of the playbook at `path`. Gives the exit code.
pub fn audit(settings: &Settings, path: &Path) -> Result<u8, Failure> {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(refused) => return Ok(refuse(settings.style, refused)),
    };
    let kept = settings.state.join("audits").join(format!("{}.json", loaded.playbook.name));
    let before: Vec<Verdict> =
        std::fs::read(&kept).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut show = Show { style: settings.style, before: &before, verdicts: vec![] };
    let ended = runtime()?.block_on(async {
        let doors = Arc::new(doors(settings, &loaded.cupboard, Goal::Check));
        let hosts = places::hosts(&loaded.playbook, &loaded.sources, &doors, &Report::silent()).await?;
        if hosts.is_empty() {
            return Err(Failure::new(Kind::Human, "none of the playbook's servers is there yet")
                .hint("`landfall apply` makes them"));
        }
        for host in &hosts {
            judge_sshd(host, &mut show).await?;
            judge_host(host, &doors, &mut show).await?;
            judge_sites(host, &loaded, &mut show).await?;
        }
        Ok(())
    });
    let none = show.verdicts.is_empty();
    // What no judge looked at this time keeps its verdict; what was said before something failed counts.
    let mut all = show.verdicts;
    let old: Vec<Verdict> =
        before.into_iter().filter(|old| !all.iter().any(|new| new.judge == old.judge && new.of == old.of)).collect();
    all.extend(old);
    disk::write_whole(&kept, &serde_json::to_vec_pretty(&all).unwrap_or_default())?;
    ended?;
    if none {
        return Err(Failure::new(Kind::Human, "none of the judges is installed")
            .hint("here: `pip install ssh-audit`, `apt install testssl.sh`; on the server: `apt install lynis`"));
    }
    Ok(0)
}

/// Verdicts as they come.
struct Show<'a> {
    style: Style,
    before: &'a [Verdict],
    verdicts: Vec<Verdict>,
}

impl Show<'_> {
    fn begin(&self, what: &str) {
        if self.style != Style::Json {
            front::complain(&format!("{what} …\n"));
        }
    }

    fn missing(&self, what: &str, hint: &str) {
        front::complain(&format!("note: {what}: {hint}\n"));
    }

    fn tell(&mut self, verdict: Verdict) {
        let before = self.before.iter().find(|old| old.judge == verdict.judge && old.of == verdict.of);
        match self.style {
            Style::Json => {
                front::json::print_document(&serde_json::json!({ "verdict": verdict, "before": before }));
            }
            Style::Plain { .. } => front::print(&(visible(&probes::in_words(&verdict, before)).into_owned() + "\n")),
        }
        self.verdicts.push(verdict);
    }
}

async fn judge_sshd(host: &HostAt, show: &mut Show<'_>) -> Result<(), Failure> {
    let Some(program) = programs::find(&["ssh-audit", "ssh-audit.py"]) else {
        show.missing("ssh-audit is not installed here", "`pip install ssh-audit`, or `apt install ssh-audit`");
        return Ok(());
    };
    show.begin(&format!("ssh-audit looks at {}", host.step));
    let id = host_id(host)?;
    let said = programs::output(program, probes::ssh_audit_arguments(&id.address.to_string(), id.port)).await?;
    match probes::read_ssh_audit(&said, host.step.as_str()) {
        Some(verdict) => show.tell(verdict),
        None => show.missing("ssh-audit gave no report", "run it by hand to see why"),
    }
    Ok(())
}

async fn judge_host(host: &HostAt, doors: &Doors, show: &mut Show<'_>) -> Result<(), Failure> {
    show.begin(&format!("Lynis looks at {}, which takes about half a minute", host.step));
    let report = Report::silent();
    let session = doors.ssh.open(&host_id(host)?, &report).await?;
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = lines.clone();
    let hear = move |line: &str| heard.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    let mark = "landfall-audit:".to_owned();
    let stop = "/run/landfall/stop.audit".to_owned();
    session.run(probes::lynis_script(&mark), mark, stop, Signs::default(), report, hear).await?;
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    match probes::read_lynis(&lines, host.step.as_str()) {
        Some(verdict) => show.tell(verdict),
        None if lines.iter().any(|line| line == "none") => {
            show.missing(&format!("Lynis is not installed on {}", host.step), "`apt install lynis` there");
        }
        None => show.missing("Lynis gave no report", "run it on the server by hand to see why"),
    }
    Ok(())
}

async fn judge_sites(host: &HostAt, loaded: &Loaded, show: &mut Show<'_>) -> Result<(), Failure> {
    let apps = loaded.playbook.steps.iter().filter(|entry| entry.kind == "app");
    let names: Vec<String> = apps
        .filter_map(|entry| entry.answers::<AppAnswers>().ok())
        .filter(|app| app.on == host.step)
        .filter_map(|app| app.host.clone())
        .collect();
    let Some(program) = programs::find(&["testssl.sh", "testssl"]).filter(|_| !names.is_empty()) else {
        if !names.is_empty() {
            show.missing("testssl is not installed here", "`apt install testssl.sh`; grades come with version 3.2");
        }
        return Ok(());
    };
    for name in names {
        show.begin(&format!("testssl looks at {name}, which takes some minutes"));
        let folder =
            disk::temporary_folder().map_err(|e| Failure::new(Kind::Failed, "cannot make a folder").because(e))?;
        let file: PathBuf = folder.path().join("report.json");
        let address = host_id(host)?.address.to_string();
        programs::output(program.clone(), probes::testssl_arguments(&name, &address, &file.display().to_string()))
            .await?;
        match probes::read_testssl(&std::fs::read_to_string(&file).unwrap_or_default(), &name) {
            Some(verdict) => show.tell(verdict),
            None => show.missing("testssl gave no grade", "they come with version 3.2; run it by hand to see why"),
        }
    }
    Ok(())
}
