//! Every simulated cloud of a rehearsal, served side by side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::rehearsal::cloudflare::Cloudflare;
use crate::rehearsal::databases::Databases;
use crate::rehearsal::digitalocean::DigitalOcean;
use crate::rehearsal::faults::Rule;
use crate::rehearsal::hetzner::Hetzner;
use crate::rehearsal::machines::Machines;
use crate::rehearsal::modelled::ModelledHosts;
use crate::rehearsal::neon::Neon;
use crate::rehearsal::serve::{Served, Simulator, serve};
use crate::rehearsal::supabase::Supabase;

/// What can be simulated, by the names `landfall simulate` and `--endpoint` take.
pub const APIS: &[&str] = &["hetzner", "digitalocean", "cloudflare", "supabase", "neon"];

/// What simulated clouds stand on.
#[derive(Clone, Default)]
pub struct Ground {
    /// Local machines behind the servers; modelled ones without.
    pub machines: Option<Arc<dyn Machines>>,
    /// How long what takes its time takes.
    pub pace: Duration,
    /// Domains whose zones are there and active.
    pub domains: Vec<String>,
    /// Real PostgreSQL behind database projects, which need it.
    pub databases: Option<Arc<Databases>>,
    /// The folder behind a storage that speaks S3.
    pub storage: Option<PathBuf>,
    /// Organisations that are there, by name.
    pub organizations: Vec<String>,
    /// Are exchanges kept, for those who judge them?
    pub keep: bool,
}

/// The clouds.
pub struct Clouds {
    served: BTreeMap<&'static str, (Served, Arc<dyn Simulator>)>,
    /// Hetzner, where it is simulated.
    pub hetzner: Option<Arc<Hetzner>>,
    /// DigitalOcean, where it is simulated.
    pub digitalocean: Option<Arc<DigitalOcean>>,
    /// Cloudflare, where it is simulated.
    pub cloudflare: Option<Arc<Cloudflare>>,
    /// Supabase, where it is simulated.
    pub supabase: Option<Arc<Supabase>>,
    /// Neon, where it is simulated.
    pub neon: Option<Arc<Neon>>,
    /// Modelled hosts, where they are asked for.
    pub hosts: Option<Arc<ModelledHosts>>,
}

impl Clouds {
    /// Serves those of [`APIS`] that `names` holds. The error says what does not work.
    pub async fn open(names: &[&str], ground: &Ground) -> Result<Clouds, String> {
        let mut clouds = Clouds {
            served: BTreeMap::new(),
            hetzner: None,
            digitalocean: None,
            cloudflare: None,
            supabase: None,
            neon: None,
            hosts: None,
        };
        for name in names {
            match *name {
                "hetzner" => {
                    let hetzner = Arc::new(Hetzner::new(ground.machines.clone(), ground.pace));
                    clouds.hetzner = Some(hetzner.clone());
                    clouds.serve(hetzner, ground).await?;
                }
                "digitalocean" => {
                    let digitalocean = Arc::new(DigitalOcean::new(ground.machines.clone(), ground.pace));
                    clouds.digitalocean = Some(digitalocean.clone());
                    clouds.serve(digitalocean, ground).await?;
                }
                "cloudflare" => {
                    let cloudflare = Arc::new(Cloudflare::new(&ground.domains, ground.storage.clone())?);
                    clouds.cloudflare = Some(cloudflare.clone());
                    clouds.serve(cloudflare, ground).await?;
                }
                "supabase" => {
                    let databases = ground.databases.clone().ok_or("a database project needs PostgreSQL")?;
                    let supabase = Arc::new(Supabase::new(&ground.organizations, databases, ground.pace));
                    clouds.supabase = Some(supabase.clone());
                    clouds.serve(supabase, ground).await?;
                }
                "neon" => {
                    let databases = ground.databases.clone().ok_or("a database project needs PostgreSQL")?;
                    let neon = Arc::new(Neon::new(databases, ground.pace));
                    clouds.neon = Some(neon.clone());
                    clouds.serve(neon, ground).await?;
                }
                "host" => {
                    let hosts = Arc::new(ModelledHosts::default());
                    clouds.hosts = Some(hosts.clone());
                    clouds.serve(hosts, ground).await?;
                }
                other => return Err(format!("there is no simulator of `{other}`")),
            }
        }
        Ok(clouds)
    }

    async fn serve(&mut self, simulator: Arc<dyn Simulator>, ground: &Ground) -> Result<(), String> {
        let served = serve(simulator.clone(), ground.keep).await;
        let served = served.map_err(|e| format!("cannot serve on the loopback address: {e}"))?;
        self.served.insert(simulator.name(), (served, simulator));
        Ok(())
    }

    /// Where each API is, by name.
    pub fn endpoints(&self) -> BTreeMap<String, String> {
        self.served.iter().map(|(name, (served, _))| ((*name).to_owned(), served.url.clone())).collect()
    }

    /// A token for each API, by the API's name.
    pub fn tokens(&self) -> BTreeMap<String, String> {
        self.served.iter().map(|(name, (_, simulator))| ((*name).to_owned(), simulator.token().to_owned())).collect()
    }

    /// From now on these faults befall every API they are about; none of them means good weather. Chance goes by `seed`.
    pub fn weather(&self, rules: &[Rule], seed: u64) {
        for (served, _) in self.served.values() {
            served.faults.rule(rules.to_vec(), seed);
        }
    }

    /// Accepts tokens again that faults took away, as new ones would be.
    pub fn accept_tokens_again(&self) {
        self.served.values().for_each(|(served, _)| served.accept_again());
    }

    /// How many faults were met so far, everywhere.
    pub fn faults_met(&self) -> usize {
        self.served.values().map(|(served, _)| served.faults.met()).sum()
    }

    /// The API called `name` as it is served: its faults and exchanges.
    pub fn served(&self, name: &str) -> Option<&Served> {
        self.served.get(name).map(|(served, _)| served)
    }

    /// The simulator called `name` itself.
    pub fn simulator(&self, name: &str) -> Option<&Arc<dyn Simulator>> {
        self.served.get(name).map(|(_, simulator)| simulator)
    }

    /// Everything of the user's in every cloud: cloud, kind and name, sorted.
    pub fn holds(&self) -> Vec<String> {
        let all = self.served.iter();
        let mut held: Vec<String> = all
            .flat_map(|(name, (_, simulator))| simulator.holds().into_iter().map(move |held| format!("{name} {held}")))
            .collect();
        held.sort();
        held
    }
}
