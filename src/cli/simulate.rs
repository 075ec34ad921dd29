//! `landfall simulate`: simulated clouds, for people's own clients and tests.

use std::sync::Arc;

use serde_json::json;

use crate::cli::Weather;
use crate::cli::go::{runtime, wait_for_signal};
use crate::front;
use crate::model::failure::{Failure, Kind};
use crate::model::system::System;
use crate::rehearsal::clouds::{APIS, Clouds, Ground};
use crate::rehearsal::databases::Databases;
use crate::rehearsal::hetzner::FAST;
use crate::rehearsal::machines::{LocalHosts, Machines, StandIn};

/// Serves the simulated clouds called `apis`, or all, until told to stop. With `hosts`, their servers are real local
/// hosts.
pub fn simulate(apis: &[String], hosts: bool, weather: &Weather) -> Result<u8, Failure> {
    let wanted: Vec<&str> =
        APIS.iter().copied().filter(|api| apis.is_empty() || apis.iter().any(|a| a == api)).collect();
    runtime()?.block_on(async {
        let machines = match hosts {
            true => Some(Arc::new(
                open_hosts(vec![], &[System::default()], |text| front::complain(&format!("{text}\n"))).await?,
            )),
            false => None,
        };
        let ground = Ground {
            machines: machines.clone().map(|m| m as Arc<dyn Machines>),
            pace: FAST,
            domains: vec![],
            databases: open_databases(&wanted, vec![]).await?,
            organizations: vec!["acme".to_owned(), "acme-pro".to_owned()],
            storage: None,
            keep: false,
        };
        let clouds = Clouds::open(&wanted, &ground).await.map_err(cannot_simulate)?;
        clouds.weather(&weather.fault, weather.seed);
        let tokens = clouds.tokens();
        let mut line = json!({});
        for (api, url) in clouds.endpoints() {
            line[&api] = json!({ "url": url, "token": tokens[&api] });
            let variable = format!("LANDFALL_{}_URL", api.to_uppercase());
            front::complain(&format!("{api}: {url} ({variable})\n"));
        }
        if let Some(hetzner) = &clouds.hetzner {
            line["hetzner"]["read_only_token"] = hetzner.read_only_token().into();
        }
        front::print(&format!("{line}\n"));
        front::complain(&format!(
            "servers are {}; Ctrl-C ends it\n",
            if hosts { "local hosts" } else { "modelled: they have a state, but nothing runs on them" }
        ));
        wait_for_signal().await.map_err(|e| Failure::new(Kind::Failed, "cannot wait for Ctrl-C").because(e))?;
        if let Some(machines) = machines {
            // A second signal does not wait for them: the next rehearsal or simulation clears them away.
            tokio::select! {
                _ = machines.close() => {}
                _ = wait_for_signal() => {}
            }
        }
        Ok(0)
    })
}

/// Why a cloud cannot be simulated.
pub fn cannot_simulate(why: String) -> Failure {
    Failure::new(Kind::Failed, "cannot simulate a cloud").because(why)
}

/// Local hosts, with the base images of `systems` made if they are missing, which is told. Fails as `Human` where there is no
/// engine.
pub async fn open_hosts(
    stand_ins: Vec<StandIn>,
    systems: &[System],
    mut tell: impl FnMut(String),
) -> Result<LocalHosts, Failure> {
    let engine = LocalHosts::engine().await.map_err(|why| {
        Failure::new(Kind::Human, "there is no Docker engine for local hosts")
            .because(why)
            .hint("install and start Docker, or run `make rehearse`, which does both")
    })?;
    for system in systems {
        if !LocalHosts::has_base_image(&engine, *system).await {
            tell(format!("making the base image of local {} hosts: about two minutes, once", system.as_str()));
            LocalHosts::build_base_image(&engine, *system).await.map_err(|why| {
                Failure::new(Kind::Failed, "cannot make the base image of local hosts")
                    .because(why)
                    .hint("it needs root, debootstrap and a mirror of the distribution")
            })?;
        }
    }
    LocalHosts::open(engine, stand_ins)
        .await
        .map_err(|why| Failure::new(Kind::Failed, "cannot make a network for local hosts").because(why))
}

/// PostgreSQL for those of `apis` that need it, listening on `addresses`, too. Fails as `Human` where it is not
/// installed.
pub async fn open_databases(apis: &[&str], addresses: Vec<String>) -> Result<Option<Arc<Databases>>, Failure> {
    if !apis.iter().any(|api| matches!(*api, "supabase" | "neon")) {
        return Ok(None);
    }
    Databases::find(addresses).await.map(|databases| Some(Arc::new(databases))).map_err(|why| {
        Failure::new(Kind::Human, "there is no PostgreSQL for simulated databases")
            .because(why)
            .hint("install it, or run `make rehearse`, which does that")
    })
}
