//! The rehearsal of a bad day: everything is lost but the playbook, its vault and the backups, and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::cli::backups::{Errand, ask_all};
use crate::cli::go;
use crate::cli::recover::{bring_back, with_answers};
use crate::cli::rehearse::{Disaster, Stage, playbook};
use crate::cli::show::Show;
use crate::cli::{Consent, Settings};
use crate::cupboard::disk;
use crate::engine::{Goal, Wishes};
use crate::model::event::What;
use crate::model::failure::{Failure, Kind};
use crate::rehearsal::serve::{Request, Simulator};

/// Rows and files of one request to an app.
const ROWS_AT_ONCE: u32 = 20_000;
const FILES_AT_ONCE: u32 = 1_000;
/// Rows of a megabyte: each holds a kilobyte.
const ROWS_PER_MB: u32 = 1_000;

/// What an app holds, by what it is: a digest, and words.
type Holdings = BTreeMap<String, (String, String)>;

impl Stage {
    /// Builds, writes, backs up, loses, recovers, compares.
    pub(super) async fn disaster(
        &self,
        show: &mut Show,
        stop: &Arc<AtomicBool>,
        wish: &Disaster,
    ) -> Result<(), Failure> {
        let applied = self.part(show, "apply", Goal::Apply, stop).await?;
        show.bill = applied.bill;
        self.timed(show, "write", self.write(wish, 0)).await?;
        let before = self.holdings().await?;
        for (what, (_, words)) in &before {
            show.tell(What::Note { text: format!("written through the app: {what}, {words}") });
        }
        let began = Instant::now();
        self.errand(show, Errand::Backup).await?;
        show.parts.push(("backup", began.elapsed()));
        let began = Instant::now();
        self.errand(show, Errand::Drill(None)).await?;
        show.parts.push(("drill", began.elapsed()));
        // Too late for the backup: it must be said that it is gone.
        self.write(&Disaster { onto: None, database_mb: 1, files: 1 }, 1_000_000_000).await?;

        let began = Instant::now();
        self.lose().await?;
        show.parts.push(("loss", began.elapsed()));
        show.tell(What::Note {
            text: "lost, behind Landfall's back: every server, every database, and what this machine knew".into(),
        });
        if let Some(provider) = &wish.onto {
            self.move_to(provider)?;
            show.tell(What::Note { text: format!("recovering at {provider}") });
        }
        // Another laptop: nothing is known there.
        let laptop = Settings { state: self.folder.path().join("another-laptop"), ..self.settings.clone() };
        let consent = Consent { yes: true, losing_data: false, wishes: Wishes::default() };
        let began = Instant::now();
        let code = bring_back(&laptop, || self.load(), consent, stop, show).await?;
        show.parts.push(("recover", began.elapsed()));
        if code != 0 {
            return Err(Failure::new(Kind::Failed, format!("`recover` ended with exit code {code}")));
        }
        let after = self.holdings().await?;
        for (what, (digest, words)) in &before {
            let now = after.get(what);
            let same = now.is_some_and(|(now, _)| now == digest);
            let saw = match now {
                Some(_) if same => format!("{words}: every byte as it was at the last backup"),
                Some((_, now)) => format!("{now}, and was {words}"),
                None => "it is not there".to_owned(),
            };
            show.probe(what, same, saw)?;
        }
        self.look_from_outside(show).await?;
        let again = self.part(show, "apply again", Goal::Apply, stop).await?;
        show.probe("apply after the recovery", again.planned == 0, crate::text::count(again.planned, "change"))?;
        self.leave_nothing(show, stop).await
    }

    async fn timed(
        &self,
        show: &mut Show,
        name: &'static str,
        doing: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        doing.await?;
        show.parts.push((name, began.elapsed()));
        Ok(())
    }

    async fn errand(&self, show: &mut Show, what: Errand) -> Result<(), Failure> {
        let loaded = self.load()?;
        let doors = Arc::new(go::doors(&self.settings, &self.cupboard, Goal::Check));
        ask_all(&loaded, &doors, &what, show).await.map(|_| ())
    }

    /// Has every app write rows and files, numbered from `from`.
    async fn write(&self, wish: &Disaster, from: u64) -> Result<(), Failure> {
        let loaded = self.load()?;
        let mut requests = Vec::new();
        let rows = wish.database_mb * ROWS_PER_MB;
        for begin in (0..rows).step_by(ROWS_AT_ONCE as usize) {
            requests.push(format!("from={}&rows={}", from + u64::from(begin), ROWS_AT_ONCE.min(rows - begin)));
        }
        for begin in (0..wish.files).step_by(FILES_AT_ONCE as usize) {
            requests.push(format!("from={}&files={}", from + u64::from(begin), FILES_AT_ONCE.min(wish.files - begin)));
        }
        for site in playbook::sites(&loaded.playbook) {
            let address = self.address_of_site(&loaded.playbook.name, &site);
            let authority = self.authority(&site, &address).await?;
            for request in &requests {
                let url = format!("https://{}/cgi-bin/fill?{request}", site.host);
                let engine = self.machines.engine_used();
                let page = engine.fetch(&url, &site.host, &address, &authority).await.unwrap_or_else(|why| why);
                let said = page.split("\r\n\r\n").nth(1).unwrap_or(&page).trim().to_owned();
                if !said.ends_with("done") || said.contains("cannot") || said.contains("ERROR") {
                    return Err(Failure::new(Kind::Failed, "the app did not write").because(said));
                }
            }
        }
        Ok(())
    }

    /// Digests of what the apps hold: rows, files with their owners, modes and times, and secrets made on the host.
    async fn holdings(&self) -> Result<Holdings, Failure> {
        let loaded = self.load()?;
        let name = &loaded.playbook.name;
        let cannot = |why: String| Failure::new(Kind::Failed, "cannot look at what the app holds").because(why);
        let mut held = Holdings::new();
        for site in playbook::sites(&loaded.playbook) {
            let address = self.address_of_site(name, &site);
            if let Some(database) = &site.database {
                let sql = "select count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric), 0), \
                           coalesce(sum(length(text)), 0) / 1000000 from landfall_rehearsal_data t where id < 1000000000";
                let printed = self.sql(name.as_str(), database, &address, sql).await.map_err(cannot)?;
                let parts: Vec<&str> = printed.trim().split('|').collect();
                if let [rows, digest, megabytes] = parts[..] {
                    held.insert(
                        format!("rows of `{database}`"),
                        (format!("{rows} {digest}"), format!("{rows} rows, {megabytes} MB")),
                    );
                }
            }
            let script = "cd /var/lib/docker/volumes/*_data/_data/files && { find . -type f ! -path './2000*/*' -exec sha256sum {} + ; \
                          find . ! -path './2000*' -type f -printf '%p %m %U:%G %s %T@\\n'; } | LC_ALL=C sort | sha256sum; find . -type f ! -path './2000*/*' | wc -l";
            let printed = self.machines.run(&address, script).await.map_err(cannot)?;
            if let [digest, count] = printed.lines().collect::<Vec<_>>()[..] {
                held.insert(format!("files of {}", site.host), (digest.to_owned(), format!("{} files", count.trim())));
            }
            let script = "cat /srv/landfall/*/*/*.env | sha256sum; ls /srv/landfall/*/*/*.env | wc -l";
            let printed = self.machines.run(&address, script).await.map_err(cannot)?;
            if let [digest, count] = printed.lines().collect::<Vec<_>>()[..] {
                held.insert(
                    format!("secrets on `{}`", site.server),
                    (digest.to_owned(), format!("{} files", count.trim())),
                );
            }
        }
        Ok(held)
    }

    /// Deletes every server and every database project with the simulators' own calls, and what this machine knew.
    async fn lose(&self) -> Result<(), Failure> {
        for (api, list, key) in [
            ("hetzner", "/servers", "servers"),
            ("digitalocean", "/droplets", "droplets"),
            ("supabase", "/projects", ""),
            ("neon", "/projects", "projects"),
        ] {
            let Some(simulator) = self.clouds.simulator(api) else { continue };
            let listed = call(&**simulator, "GET", list).await;
            let entries = if key.is_empty() { &listed } else { &listed[key] };
            for entry in entries.as_array().into_iter().flatten() {
                let id = entry.get("ref").or(entry.get("id")).map(|id| id.to_string()).unwrap_or_default();
                call(&**simulator, "DELETE", &format!("{list}/{}", id.trim_matches('"'))).await;
            }
        }
        // A cloud says that a server is gone while its machine is still being cleared away.
        for _ in 0..100 {
            let left = self.machines.left().await;
            if !left.iter().any(|left| left.starts_with("container ")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        std::fs::remove_dir_all(&self.settings.state)
            .map_err(|e| Failure::new(Kind::Failed, "cannot remove the state directory").because(e))
    }

    /// Changes the provider of every server, as `--set` would.
    fn move_to(&self, provider: &str) -> Result<(), Failure> {
        let text = disk::read_playbook(&self.copy)?;
        let loaded = self.load()?;
        let mut set = Vec::new();
        for entry in loaded.playbook.steps.iter().filter(|entry| entry.kind == "server") {
            set.push(format!("{}.provider={provider}", entry.id));
            set.push(format!("{}.location=europe", entry.id));
            set.push(format!("{}.size={{ cpu = 2, memory_gb = 4 }}", entry.id));
        }
        disk::write_in_place(&self.copy, with_answers(&text, &set)?.as_bytes())
    }
}

/// One call to a simulator, past the network, with a token that may do everything. Gives the answer's body.
async fn call(simulator: &dyn Simulator, method: &str, path: &str) -> serde_json::Value {
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: vec![],
        token: Some(simulator.token().to_owned()),
        body: vec![],
    };
    simulator.answer(request).await.body.unwrap_or_default()
}
