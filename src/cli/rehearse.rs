//! `landfall rehearse`: the whole run against simulated clouds and real local hosts, and what came of it.

mod disaster;
mod playbook;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cli::backups::servers;
use crate::cli::go::{self, refuse, run, runtime, wait_for_signal, watch_for_stop};
use crate::cli::load::{Cupboard, Loaded, Refused, check, load};
use crate::cli::rehearse::playbook::{Rehearsed, Site, adapt};
use crate::cli::show::Show;
use crate::cli::simulate::{cannot_simulate, open_databases, open_hosts};
use crate::cli::{Consent, Settings, Weather};
use crate::cupboard::disk;
use crate::cupboard::lockline::LockLine;
use crate::cupboard::vault::memory::Memory;
use crate::engine::{Goal, Outcome};
use crate::front;
use crate::model::event::What;
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::rehearsal::clouds::{APIS, Clouds, Ground};
use crate::rehearsal::hetzner::{FAST, REAL};
use crate::rehearsal::machines::{LocalHosts, Machines, StandIn};
use crate::rehearsal::storage::Storage;
use crate::steps;

/// How a rehearsal shall be.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Leave everything up at the end.
    pub keep: bool,
    /// Use stand-in images whatever can be reached.
    pub stand_ins: bool,
    /// Let what takes its time in a cloud take it here, too.
    pub real_time: bool,
    /// Lose everything, and bring it back.
    pub disaster: Option<Disaster>,
    /// What goes wrong in the simulated clouds during the first apply.
    pub weather: Weather,
}

/// How bad the day shall be.
#[derive(Clone, Debug)]
pub struct Disaster {
    /// The provider that everything is brought back at; `None` for the same.
    pub onto: Option<String>,
    /// How much is written into the database, in megabytes.
    pub database_mb: u32,
    /// How many files are written.
    pub files: u32,
}

/// Rehearses the playbook at `path`: apply, apply again, check, look at it from outside, destroy, and see
/// that nothing is left. Gives the exit code.
pub fn rehearse(settings: &Settings, path: &Path, wishes: &Wishes) -> Result<u8, Failure> {
    let original = match load(path) {
        Ok(loaded) => loaded,
        Err(refused) => return Ok(refuse(settings.style, refused)),
    };
    runtime()?.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        watch_for_stop(stop.clone(), false, settings.style);
        rehearsal(settings, path, &original, wishes, &stop).await
    })
}

/// The rehearsal itself, until it is over or `stop` is set. Gives the exit code.
pub async fn rehearsal(
    settings: &Settings,
    path: &Path,
    original: &Loaded,
    wishes: &Wishes,
    stop: &Arc<AtomicBool>,
) -> Result<u8, Failure> {
    // Before anything is built for it.
    if wishes.disaster.is_some() && servers(&original.playbook).is_empty() {
        return Err(Failure::new(Kind::Usage, "the playbook has no step `backups`: what is lost would stay lost")
            .hint("docs/playbook.md says what it can do"));
    }
    let mut show = Show::new(settings, None);
    let playbook = original.playbook.name.to_string();
    show.tell(What::RunStarted { command: "rehearse".into(), playbook, run: None });
    let stage = Stage::set(settings, path, original, wishes, &mut show).await?;
    let played = stage.play(&mut show, stop, wishes).await;
    let left = stage.machines.close().await;
    let failure = match played {
        Ok(()) if left.is_empty() => None,
        Ok(()) => Some(Failure::new(Kind::Failed, format!("left behind: {}", left.join(", ")))),
        Err(failure) => Some(failure),
    };
    Ok(show.end(failure))
}

/// Everything a rehearsal plays with.
pub(super) struct Stage {
    settings: Settings,
    /// The playbook as it is rehearsed, where its lock line is written.
    copy: PathBuf,
    path: PathBuf,
    cupboard: Cupboard,
    clouds: Clouds,
    machines: Arc<LocalHosts>,
    /// Where backups go: served for as long as this is held.
    _storage: Option<Storage>,
    existing: Vec<i64>,
    folder: TempDir,
}

impl Stage {
    /// Makes the hosts' network, the simulators and a key pair, and adapts the playbook to them.
    async fn set(
        settings: &Settings,
        path: &Path,
        original: &Loaded,
        wishes: &Wishes,
        show: &mut Show,
    ) -> Result<Stage, Failure> {
        let stand_ins = choose_stand_ins(original, wishes, show).await;
        let systems = playbook::systems(&original.playbook);
        let machines = open_hosts(stand_ins, &systems, |text| show.tell(What::Note { text })).await?;
        let machines = Arc::new(machines);
        let mut apis = playbook::apis(&original.playbook);
        let onto = wishes.disaster.as_ref().and_then(|disaster| disaster.onto.as_deref());
        apis.extend(APIS.iter().copied().filter(|api| Some(*api) == onto && !apis.contains(api)).collect::<Vec<_>>());
        let storage = match servers(&original.playbook).is_empty() {
            true => None,
            false => Some(Storage::open(&machines.address(1)).await.map_err(cannot_simulate)?),
        };
        let ground = Ground {
            machines: Some(machines.clone() as Arc<dyn Machines>),
            pace: if wishes.real_time { REAL } else { FAST },
            domains: playbook::domains(&original.playbook),
            // This machine, as the hosts see it.
            databases: open_databases(&apis, vec![machines.address(1)]).await?,
            organizations: playbook::organizations(&original.playbook),
            storage: storage.as_ref().map(|storage| storage.folder().to_owned()),
            keep: false,
        };
        let clouds = Clouds::open(&apis, &ground).await.map_err(cannot_simulate)?;
        let folder =
            disk::temporary_folder().map_err(|e| Failure::new(Kind::Failed, "cannot make a folder").because(e))?;

        let text = disk::read_playbook(path)?;
        let key_file = folder.path().join("key");
        let Rehearsed { text, births, notes } =
            adapt(&text, &original.playbook, &key_file, &*machines, storage.as_ref())?;
        for note in notes {
            show.tell(What::Note { text: note });
        }
        let mut existing = Vec::new();
        for birth in births {
            existing.push(birth.id);
            machines
                .bear(birth)
                .await
                .map_err(|why| Failure::new(Kind::Failed, "cannot start a local host").because(why))?;
        }
        let mut settings = settings.clone();
        settings.endpoints.extend(clouds.endpoints());
        settings.state = folder.path().join("state");
        settings.key_file = Some(key_file);
        let copy = folder.path().join("playbook.toml");
        disk::write_whole(&copy, text.as_bytes())?;
        let tokens = clouds.tokens().into_iter();
        let tokens = tokens.filter_map(|(api, token)| Some((Name::parse(&format!("{api}-token"))?, token)));
        let opens = storage.iter().flat_map(|storage| playbook::keys_of_storage(&original.playbook, storage));
        let cupboard = Cupboard {
            keys: Arc::new(Memory::over(original.cupboard.keys.clone(), tokens.chain(opens))),
            references: Arc::new(LockLine::of(&copy, &text)),
        };
        Ok(Stage {
            settings,
            copy,
            path: path.to_owned(),
            cupboard,
            clouds,
            machines,
            _storage: storage,
            existing,
            folder,
        })
    }

    async fn play(&self, show: &mut Show, stop: &Arc<AtomicBool>, wishes: &Wishes) -> Result<(), Failure> {
        if let Some(disaster) = &wishes.disaster {
            return self.disaster(show, stop, disaster).await;
        }
        let applied = self.apply_in(&wishes.weather, show, stop).await?;
        show.bill = applied.bill;
        show.chain = applied.chain;
        let again = self.part(show, "apply again", Goal::Apply, stop).await?;
        show.probe("second apply", again.planned == 0, crate::text::count(again.planned, "change"))?;
        self.part(show, "check", Goal::Check, stop).await?;
        show.probe("check", true, "everything is as the playbook says".into())?;
        self.look_from_outside(show).await?;
        self.look_at_names(show)?;
        if wishes.keep {
            return self.wait(show).await;
        }
        self.leave_nothing(show, stop).await
    }

    /// Takes everything away, and looks whether something is left.
    async fn leave_nothing(&self, show: &mut Show, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
        self.part(show, "destroy", Goal::Destroy, stop).await?;
        let held = self.clouds.holds();
        show.probe("what the simulated clouds hold", held.is_empty(), list(&held))?;
        for id in &self.existing {
            self.machines.bury(*id).await.map_err(|why| Failure::new(Kind::Failed, "a host stays").because(why))?;
        }
        let mut left: Vec<String> = Vec::new();
        // A cloud says that a server is gone while its machine is still being cleared away.
        for _ in 0..100 {
            left = self.machines.left().await.into_iter().filter(|l| !l.starts_with("network ")).collect();
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        show.probe("containers and volumes left", left.is_empty(), list(&left))
    }

    /// The first apply, in this weather. Where it ends badly, the weather turns good, and the same command goes on.
    async fn apply_in(&self, weather: &Weather, show: &mut Show, stop: &Arc<AtomicBool>) -> Result<Outcome, Failure> {
        if weather.fault.is_empty() {
            return self.part(show, "apply", Goal::Apply, stop).await;
        }
        self.clouds.weather(&weather.fault, weather.seed);
        show.tell(What::Note { text: format!("faults on purpose, by the seed {}", weather.seed) });
        let ended = self.part(show, "apply with faults", Goal::Apply, stop).await;
        let met = crate::text::count(self.clouds.faults_met(), "fault");
        self.clouds.weather(&[], weather.seed);
        // As a new token would be.
        self.clouds.accept_tokens_again();
        match ended {
            Ok(outcome) => {
                show.tell(What::Note { text: format!("{met} met, and everything was made all the same") });
                Ok(outcome)
            }
            Err(failure) if failure.kind == Kind::Stopped => Err(failure),
            Err(failure) => {
                show.tell(What::Note {
                    text: format!("{met} met: {failure}. No more faults: the same command goes on"),
                });
                self.part(show, "apply without faults", Goal::Apply, stop).await
            }
        }
    }

    /// One run of the engine, as the command itself would do it.
    async fn part(
        &self,
        show: &mut Show,
        name: &'static str,
        goal: Goal,
        stop: &Arc<AtomicBool>,
    ) -> Result<Outcome, Failure> {
        let begun = Instant::now();
        let loaded = self.load()?;
        let doors = go::doors(&self.settings, &self.cupboard, goal);
        let consent = Consent { yes: true, losing_data: true, wishes: crate::engine::Wishes::default() };
        let outcome = run(&self.settings, loaded, doors, goal, consent, stop.clone()).await;
        show.parts.push((name, begun.elapsed()));
        match outcome.code {
            0 => Ok(outcome),
            _ if stop.load(Ordering::Relaxed) => Err(Failure::new(Kind::Stopped, "stopped as you asked")),
            3 => Err(Failure::new(Kind::Drift, "a host that was just made differs from the playbook")),
            code => Err(Failure::new(Kind::Failed, format!("`{name}` ended with exit code {code}"))),
        }
    }

    fn load(&self) -> Result<Loaded, Failure> {
        // Where the original is, because the files it names are beside it.
        let loaded = check(&self.path, &disk::read_playbook(&self.copy)?);
        let loaded = loaded.map(|loaded| Loaded { cupboard: self.cupboard.clone(), ..loaded });
        loaded.map_err(|refused| {
            let failure = Failure::new(Kind::Failed, "the playbook cannot be adapted to a rehearsal");
            match refused {
                Refused::Unread(cause) => failure.because(cause),
                Refused::Wrong(problems) => {
                    failure.because(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
                }
            }
        })
    }

    /// The address of the server of this name, in whichever simulated cloud it is.
    fn address_of(&self, name: &str) -> Option<String> {
        let at_hetzner = self.clouds.hetzner.as_ref().and_then(|hetzner| hetzner.address_of(name));
        at_hetzner.or_else(|| self.clouds.digitalocean.as_ref()?.address_of(name))
    }

    /// Fetches every app's page through the proxy, as a visitor would.
    async fn look_from_outside(&self, show: &mut Show) -> Result<(), Failure> {
        let loaded = self.load()?;
        for site in playbook::sites(&loaded.playbook) {
            let address = self.address_of_site(&loaded.playbook.name, &site);
            let authority = self.authority(&site, &address).await?;
            let url = format!("https://{}/", site.host);
            let engine = self.machines.engine_used();
            let page = engine.fetch(&url, &site.host, &address, &authority).await.unwrap_or_else(|why| why);
            let status = page.lines().next().unwrap_or_default().trim().to_owned();
            let text = page.split("\r\n\r\n").nth(1).unwrap_or_default().trim().replace('\n', " ");
            let seen: String = format!("{status}, “{text}”").chars().take(90).collect();
            show.probe(&format!("page {url}"), status.contains(" 200"), seen)?;
            let hsts = page.to_lowercase().contains("strict-transport-security:");
            show.probe(
                &format!("security headers of {}", site.host),
                hsts,
                if hsts { "there" } else { "missing" }.into(),
            )?;
            if let Some(database) = &site.database {
                self.look_at_row(show, &loaded.playbook.name, database, &site.host, &address, &authority).await?;
            }
        }
        Ok(())
    }

    /// The address of the server a site is on.
    fn address_of_site(&self, playbook: &Name, site: &Site) -> String {
        let made = || self.address_of(&format!("{playbook}-{}", site.server));
        site.address.clone().or_else(made).unwrap_or_default()
    }

    /// A file with the certificate of the authority that visitors of `site` must trust.
    async fn authority(&self, site: &Site, address: &str) -> Result<PathBuf, Failure> {
        let root = match self.clouds.cloudflare.as_ref().filter(|_| site.proxied) {
            Some(cloudflare) => cloudflare.origin_root().to_owned(),
            None => {
                // Caddy's own authority, from the host itself: the certificate is verified like any other.
                let path = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt";
                let root = self.machines.read(address, path).await;
                root.map_err(|why| Failure::new(Kind::Failed, "cannot read Caddy's root certificate").because(why))?
            }
        };
        let path = self.folder.path().join("authority.crt");
        std::fs::write(&path, root).map_err(|e| Failure::new(Kind::Failed, "cannot write a file").because(e))?;
        Ok(path)
    }

    /// Runs SQL in the database of the step `database`, past everything. Gives what it prints, unaligned.
    async fn sql(&self, playbook: &str, database: &str, address: &str, sql: &str) -> Result<String, String> {
        let name = format!("{playbook}-{database}");
        match (&self.clouds.supabase, &self.clouds.neon) {
            (Some(supabase), _) => supabase.sql(&name, sql).await,
            (None, Some(neon)) => neon.sql(&name, sql).await,
            (None, None) => {
                let container = format!("{playbook}_{database}-postgres-1");
                let command = format!("docker exec {container} psql -U app -d app -q -A -t -c \"{sql}\"");
                self.machines.run(address, &command).await
            }
        }
    }

    /// Writes a row into the database, past everything, and has the app's stand-in read it with what it was given.
    async fn look_at_row(
        &self,
        show: &mut Show,
        playbook: &Name,
        database: &str,
        host: &str,
        address: &str,
        authority: &Path,
    ) -> Result<(), Failure> {
        let word = format!("word-{}-{}", std::process::id(), self.machines.address(0).replace('.', "-"));
        let sql = format!(
            "create table if not exists landfall_rehearsal (word text); alter table landfall_rehearsal enable row level \
             security; truncate landfall_rehearsal; insert into landfall_rehearsal values ('{word}')"
        );
        let written = self.sql(playbook.as_str(), database, address, &sql).await;
        written.map_err(|why| Failure::new(Kind::Failed, "cannot write a row").because(why))?;
        let url = format!("https://{host}/cgi-bin/row");
        let engine = self.machines.engine_used();
        let page = engine.fetch(&url, host, address, authority).await.unwrap_or_else(|why| why);
        let text = page.split("\r\n\r\n").nth(1).unwrap_or(&page).trim().replace('\n', " ");
        show.probe(&format!("row read by the app from `{database}`"), text == word, format!("“{text}”"))
    }

    /// Do the names lead to the hosts?
    fn look_at_names(&self, show: &mut Show) -> Result<(), Failure> {
        let Some(cloudflare) = &self.clouds.cloudflare else { return Ok(()) };
        let loaded = self.load()?;
        for site in playbook::sites(&loaded.playbook).into_iter().filter(|site| site.named) {
            let server = format!("{}-{}", loaded.playbook.name, site.server);
            let address = site.address.or_else(|| self.address_of(&server)).unwrap_or_default();
            let found = cloudflare.contents(&site.host, "A");
            show.probe(&format!("record A {}", site.host), found == [address], found.join(", "))?;
        }
        Ok(())
    }

    /// Leaves everything up until the user has seen enough.
    async fn wait(&self, show: &mut Show) -> Result<(), Failure> {
        // Beside the original, because the files it names are.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let copy = folder.join(format!(".rehearsed-{}.toml", std::process::id()));
        std::fs::copy(&self.copy, &copy)
            .map_err(|e| Failure::new(Kind::Failed, "cannot write the playbook").because(e))?;
        let key = self.settings.key_file.as_deref().unwrap_or(Path::new(""));
        let (tokens, mut exports) = (self.clouds.tokens(), String::new());
        for (api, url) in self.clouds.endpoints() {
            let name = api.to_uppercase();
            let token = &tokens[&api];
            let _ = writeln!(exports, "  export LANDFALL_{name}_URL={url} LANDFALL_SECRET_{name}_TOKEN={token}");
        }
        front::complain(&format!(
            "\neverything is up. In another terminal:\n{exports}  export LANDFALL_SSH_KEY={}\n  landfall check {}\n\
             Ctrl-C takes it all away.\n",
            key.display(),
            copy.display(),
        ));
        let waited = wait_for_signal().await;
        let _ = std::fs::remove_file(&copy);
        show.tell(What::Note { text: "taking everything away".into() });
        waited.map_err(|e| Failure::new(Kind::Failed, "cannot wait for Ctrl-C").because(e))
    }
}

/// Which images must be brought, because no registry serves them here.
async fn choose_stand_ins(original: &Loaded, wishes: &Wishes, show: &mut Show) -> Vec<StandIn> {
    let mut chosen = Vec::new();
    let engine = LocalHosts::engine().await.ok();
    for image in steps::app::images(&original.playbook, &original.sources) {
        let served = match (&engine, wishes.stand_ins || wishes.disaster.is_some()) {
            (Some(engine), false) => engine.docker(&["manifest", "inspect", &image.image]).await.map(|_| ()),
            _ => Err("asked for".to_owned()),
        };
        if let Err(why) = served {
            let why = why.lines().last().unwrap_or_default().to_owned();
            show.tell(What::Note {
                text: format!("modelled: a stand-in image takes the place of {} ({why})", image.image),
            });
            chosen.push(StandIn { image: image.image, port: image.port, health: image.health });
        }
    }
    chosen
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
