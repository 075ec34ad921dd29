//! `landfall simulate`: simulated clouds, for people's own clients and tests.

use std::sync::Arc;

use serde_json::json;

use crate::cli::go::{runtime, wait_for_signal};
use crate::front;
use crate::model::failure::{Failure, Kind};
use crate::model::system::System;
use crate::rehearsal::hetzner::{FAST, Hetzner};
use crate::rehearsal::machines::{LocalHosts, Machines, StandIn};
use crate::rehearsal::serve::serve;

/// Serves simulated clouds until told to stop. With `hosts`, their servers are real local hosts.
pub fn simulate(_apis: &[String], hosts: bool) -> Result<u8, Failure> {
    runtime()?.block_on(async {
        let machines = match hosts {
            true => Some(Arc::new(open_hosts(vec![], &[System::default()]).await?)),
            false => None,
        };
        let hetzner = Arc::new(Hetzner::new(machines.clone().map(|m| m as Arc<dyn Machines>), FAST));
        let served = serve(hetzner.clone(), false).await.map_err(cannot_serve)?;
        let line = json!({
            "hetzner": { "url": served.url, "token": hetzner.token(), "read_only_token": hetzner.read_only_token() },
        });
        front::print(&format!("{line}\n"));
        front::complain(&format!(
            "hetzner: {} (HCLOUD_ENDPOINT, LANDFALL_HETZNER_URL); servers are {}; Ctrl-C ends it\n",
            served.url,
            if hosts { "local hosts" } else { "modelled: they have a state, but nothing runs on them" }
        ));
        wait_for_signal().await.map_err(|e| Failure::new(Kind::Failed, "cannot wait for Ctrl-C").because(e))?;
        if let Some(machines) = machines {
            machines.close().await;
        }
        Ok(0)
    })
}

/// Why a port could not be had.
pub fn cannot_serve(e: std::io::Error) -> Failure {
    Failure::new(Kind::Failed, "cannot serve on the loopback address").because(e)
}

/// Local hosts, with the base images of `systems` made if they are missing. Fails as `Human` where there is no
/// engine.
pub async fn open_hosts(stand_ins: Vec<StandIn>, systems: &[System]) -> Result<LocalHosts, Failure> {
    let engine = LocalHosts::engine().await.map_err(|why| {
        Failure::new(Kind::Human, "there is no Docker engine for local hosts")
            .because(why)
            .hint("install and start Docker, or run `make rehearse`, which does both")
    })?;
    for system in systems {
        if !LocalHosts::has_base_image(&engine, *system).await {
            front::complain(&format!(
                "making the base image of local {} hosts: about two minutes, once\n",
                system.as_str()
            ));
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
