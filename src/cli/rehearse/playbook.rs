//! The playbook as it is rehearsed: the same, but for what would need the world.

use std::collections::BTreeSet;
use std::sync::Arc;

use std::path::Path;

use rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};
use toml_edit::{Array, DocumentMut, value};

use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::playbook::{Entry, Playbook};
use crate::model::system::System;
use crate::model::value::Input;
use crate::rehearsal::clouds::APIS;
use crate::rehearsal::machines::{Arrival, Birth, Machines};
use crate::rehearsal::storage::Storage;
use crate::steps::app::AppAnswers;
use crate::steps::backups::{BackupStore, BackupsAnswers};
use crate::steps::dns::DnsAnswers;
use crate::steps::proxy::ProxyAnswers;
use crate::steps::server::{ServerAnswers, ServerProvider};

/// A playbook that can be rehearsed.
pub(super) struct Rehearsed {
    /// Its text.
    pub text: String,
    /// Machines that must be there before it is applied: those of provider `existing`.
    pub births: Vec<Birth>,
    /// What was changed, and what is not real, in sentences.
    pub notes: Vec<String>,
}

/// Adapts `text`, the text of `playbook`: a key made for the rehearsal may log in, certificates come from
/// Caddy's own authority, and existing servers become local hosts. Writes the private key to `key_file`.
pub(super) fn adapt(
    text: &str,
    playbook: &Playbook,
    key_file: &Path,
    machines: &dyn Machines,
    storage: Option<&Storage>,
) -> Result<Rehearsed, Failure> {
    let trouble = |what: &str| Failure::new(Kind::Failed, what.to_owned());
    let mut document: DocumentMut =
        text.parse().map_err(|e: toml_edit::TomlError| trouble("cannot edit the playbook").because(e))?;
    let key = new_key(&playbook.name)?;
    key.write_openssh_file(key_file, LineEnding::LF).map_err(|e| trouble("cannot write a key").because(e))?;
    let public = key.public_key().to_openssh().map_err(|e| trouble("cannot make a key").because(e))?;

    let mut births = Vec::new();
    let mut notes = vec!["a key pair made for this rehearsal may log in beside the playbook's own keys".to_owned()];
    let steps = document.get_mut("step").and_then(|step| step.as_array_of_tables_mut());
    for (entry, table) in playbook.steps.iter().zip(steps.into_iter().flat_map(|steps| steps.iter_mut())) {
        match entry.kind.as_str() {
            "server" => {
                let keys = table.entry("keys").or_insert(value(Array::new()));
                if let Some(keys) = keys.as_array_mut() {
                    keys.push(public.as_str());
                }
                let Ok(answers) = entry.answers::<ServerAnswers>() else { continue };
                match answers.provider {
                    ServerProvider::Existing => {
                        let id = i64::try_from(births.len()).unwrap_or_default() + 1;
                        let address = machines.address(250 - u8::try_from(births.len()).unwrap_or_default());
                        let host_key = new_key(&playbook.name)?;
                        let user = answers.user.clone().unwrap_or_else(|| "root".to_owned());
                        table["address"] = value(&address);
                        table["port"] = value(22);
                        table["host_key"] = value(host_key.fingerprint(HashAlg::Sha256).to_string());
                        births.push(birth(id, address, entry.id.as_str(), user, &public, &host_key, answers.image)?);
                        notes.push(format!("a local host takes the place of the existing server `{}`", entry.id));
                    }
                    cloud => notes.push(format!(
                        "modelled: `{}` is a local host; {}'s API, its firewall, backups and volumes are simulated",
                        entry.id,
                        cloud.as_str()
                    )),
                }
            }
            "backups" => {
                let Some(storage) = storage else { continue };
                table["endpoint"] = value(&storage.url);
                if entry.answers::<BackupsAnswers>().is_ok_and(|backups| backups.to == BackupStore::Sftp) {
                    for answer in ["address", "port", "user", "host_key", "path"] {
                        table.remove(answer);
                    }
                    table["to"] = value("s3");
                    table["bucket"] = value("rehearsal");
                }
                notes.push("modelled: backups go to a storage on this machine that speaks S3".to_owned());
            }
            "firewall" if table.contains_key("ssh_from") => {
                if let Some(from) = table["ssh_from"].as_array_mut() {
                    from.push(machines.address(1));
                    notes.push("modelled: this machine may come in by SSH, too".to_owned());
                }
            }
            "proxy" if entry.answers::<ProxyAnswers>().is_ok_and(|proxy| is_proxied(playbook, proxy.on.as_str())) => {
                notes
                    .push("modelled: certificates come from a simulated origin authority that really signs".to_owned());
            }
            "proxy" if entry.answers::<ProxyAnswers>().is_ok() => {
                table["tls"] = value("internal");
                notes.push("modelled: certificates come from Caddy's own authority, not from a public one".to_owned());
            }
            _ => {}
        }
    }
    Ok(Rehearsed { text: document.to_string(), births, notes })
}

fn new_key(name: &crate::model::name::Name) -> Result<PrivateKey, Failure> {
    let trouble = |e: ssh_key::Error| Failure::new(Kind::Failed, "cannot make a key").because(e);
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(trouble)?;
    key.set_comment(format!("rehearsal-of-{name}"));
    Ok(key)
}

fn birth(
    id: i64,
    address: String,
    host_name: &str,
    user: String,
    public_key: &str,
    host_key: &PrivateKey,
    image: System,
) -> Result<Birth, Failure> {
    let trouble = |e: ssh_key::Error| Failure::new(Kind::Failed, "cannot make a host key").because(e);
    let arrival = Arrival {
        user,
        public_key: public_key.to_owned(),
        host_key: host_key.to_openssh(LineEnding::LF).map_err(trouble)?.to_string(),
        host_public_key: host_key.public_key().to_openssh().map_err(trouble)?,
    };
    Ok(Birth {
        id,
        address,
        host_name: host_name.to_owned(),
        image: image.as_str().to_owned(),
        user_data: arrival.user_data(),
        root_keys: vec![],
    })
}

/// The systems of the playbook's servers, each once.
pub(super) fn systems(playbook: &Playbook) -> Vec<System> {
    let servers = playbook.steps.iter().filter(|entry| entry.kind == "server");
    let images = servers.filter_map(|entry| entry.answers::<ServerAnswers>().ok()).map(|answers| answers.image);
    let mut systems = Vec::new();
    for image in images {
        if !systems.contains(&image) {
            systems.push(image);
        }
    }
    systems
}

/// What the vault must hold to open `storage`: names and values.
pub(super) fn keys_of_storage(playbook: &Playbook, storage: &Storage) -> Vec<(Name, String)> {
    let steps = playbook.steps.iter().filter(|entry| entry.kind == "backups");
    let keys = [("access-key", &storage.access_key), ("secret-key", &storage.secret_key)];
    steps
        .flat_map(|entry| keys.map(|(what, key)| Some((Name::parse(&format!("{}-{what}", entry.id))?, key.clone()))))
        .flatten()
        .collect()
}

/// The clouds whose simulators `playbook` needs.
pub(super) fn apis(playbook: &Playbook) -> Vec<&'static str> {
    #[derive(serde::Deserialize)]
    struct Provider {
        provider: String,
    }
    let mut named: Vec<String> =
        playbook.steps.iter().filter_map(|entry| Some(entry.answers::<Provider>().ok()?.provider.clone())).collect();
    // A bucket at R2 is made through Cloudflare's API, whoever serves the names.
    let is_r2 = |entry: &Entry| entry.answers::<BackupsAnswers>().is_ok_and(|backups| backups.to == BackupStore::R2);
    if playbook.steps.iter().any(|entry| entry.kind == "backups" && is_r2(entry)) {
        named.push("cloudflare".to_owned());
    }
    named.sort();
    APIS.iter().copied().filter(|api| named.iter().any(|name| name == api)).collect()
}

/// The organisations that `playbook` names.
pub(super) fn organizations(playbook: &Playbook) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Member {
        organization: String,
    }
    playbook.steps.iter().filter_map(|entry| Some(entry.answers::<Member>().ok()?.organization.clone())).collect()
}

/// The domains that are somebody's already when `playbook` is applied.
pub(super) fn domains(playbook: &Playbook) -> Vec<String> {
    let of_steps = playbook.steps.iter().filter(|entry| entry.kind == "dns");
    let of_steps = of_steps.filter_map(|entry| entry.answers::<DnsAnswers>().ok()?.zone.clone());
    let all: BTreeSet<String> =
        playbook.domain.clone().into_iter().chain(of_steps).map(|name| name.to_lowercase()).collect();
    all.into_iter().collect()
}

/// Do visitors of this server come through a proxy in front of it?
fn is_proxied(playbook: &Playbook, server: &str) -> bool {
    dns_of(playbook, server).any(|dns| dns.proxied)
}

/// The steps `dns` whose names lead to this server.
fn dns_of<'a>(playbook: &'a Playbook, server: &'a str) -> impl Iterator<Item = Arc<DnsAnswers>> + 'a {
    let steps = playbook.steps.iter().filter(|entry| entry.kind == "dns");
    steps
        .filter_map(|entry| entry.answers::<DnsAnswers>().ok())
        .filter(move |dns| dns.to.as_ref().is_some_and(|to| to.as_str() == server))
}

/// A site visitors can see.
pub(super) struct Site {
    /// Does it come with records?
    pub named: bool,
    /// Do visitors come through a proxy in front of the server?
    pub proxied: bool,
    /// The step `database` whose address its app is given.
    pub database: Option<String>,
    /// Its name.
    pub host: String,
    /// The step that made its server.
    pub server: String,
    /// The server's address, where the playbook knows it.
    pub address: Option<String>,
}

/// Every app that has a name and a proxy in front of it.
pub(super) fn sites(playbook: &Playbook) -> Vec<Site> {
    let proxied = |server: &str| {
        let proxies = playbook.steps.iter().filter(|entry| entry.kind == "proxy");
        proxies.filter_map(|entry| entry.answers::<ProxyAnswers>().ok()).any(|proxy| proxy.on.as_str() == server)
    };
    let apps = playbook.steps.iter().filter(|entry| entry.kind == "app");
    apps.filter_map(|entry| entry.answers::<AppAnswers>().ok())
        .filter(|app| proxied(app.on.as_str()))
        .filter_map(|app| {
            let server = playbook.step(app.on.as_str()).and_then(|entry| entry.answers::<ServerAnswers>().ok());
            let address = server.and_then(|server| server.address).map(|ip| ip.to_string());
            let database = app.env.values().find_map(|input| match input {
                Input::Output(key) if key.name == "url" => {
                    let entry = playbook.step(key.step.as_str()).filter(|entry| entry.kind == "database");
                    entry.map(|entry| entry.id.to_string())
                }
                _ => None,
            });
            let server = app.on.to_string();
            let named = dns_of(playbook, &server).next().is_some();
            Some(Site {
                named,
                proxied: is_proxied(playbook, &server),
                database,
                host: app.host.clone()?,
                server,
                address,
            })
        })
        .collect()
}
