//! `landfall ssh`: a session on a host whose key is known, without anybody's known_hosts.

use std::path::Path;
use std::sync::Arc;

use crate::cli::Settings;
use crate::cli::go::{doors, refuse, runtime};
use crate::cli::load::load;
use crate::cupboard::disk;
use crate::doors::identity::Identity;
use crate::doors::programs;
use crate::doors::ssh::{Guest, HostId};
use crate::engine::{Goal, places};
use crate::model::event::Report;
use crate::model::failure::{Failure, Kind};
use crate::model::machine::HostAt;
use crate::providers::host::host_id;

/// Opens a session with the host that the step `step` of the playbook at `path` made, or runs `command` there.
/// Gives the exit code of the SSH client.
pub fn login(settings: &Settings, path: &Path, step: Option<&str>, command: &[String]) -> Result<u8, Failure> {
    let Some(client) = programs::find(&["ssh"]) else {
        return Err(Failure::new(Kind::Human, "there is no SSH client on this machine")
            .hint("install OpenSSH's, such as with `apt install openssh-client`"));
    };
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(refused) => return Ok(refuse(settings.style, refused)),
    };
    let (id, guest) = runtime()?.block_on(async {
        let doors = Arc::new(doors(settings, &loaded.cupboard, Goal::Check));
        let report = Report::silent();
        let hosts = places::hosts(&loaded.playbook, &loaded.sources, &doors, &report).await?;
        let id = host_id(choose(&hosts, step)?)?;
        let guest = doors.ssh.guest(&id, &report).await?;
        Ok::<(HostId, Guest), Failure>((id, guest))
    })?;
    let cannot = |e: std::io::Error| Failure::new(Kind::Failed, "cannot write a file for the SSH client").because(e);
    let folder = disk::temporary_folder().map_err(cannot)?;
    let known = folder.path().join("known_hosts");
    std::fs::write(&known, &guest.known_hosts).map_err(cannot)?;
    let key = match guest.identity {
        Identity::File(path, _) => path,
        Identity::Agent(blob) => {
            let path = folder.path().join("key.pub");
            let kind = ssh_key::PublicKey::from_bytes(&blob).and_then(|key| key.to_openssh());
            let line = kind.map_err(|e| Failure::new(Kind::Failed, "cannot name the agent's key").because(e))?;
            std::fs::write(&path, line + "\n").map_err(cannot)?;
            path
        }
    };
    programs::foreground(&client, &arguments(&id, &known, &key, command))
}

/// The host that is meant: the one of this step, or the only one.
fn choose<'a>(hosts: &'a [HostAt], step: Option<&str>) -> Result<&'a HostAt, Failure> {
    let names = || hosts.iter().map(|host| host.step.to_string()).collect::<Vec<_>>().join(", ");
    match (step, hosts) {
        (_, []) => Err(Failure::new(Kind::Human, "none of the playbook's servers is there yet")
            .hint("`landfall apply` makes them")),
        (Some(step), _) => hosts.iter().find(|host| host.step.as_str() == step).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("there is no server `{step}`")).hint(format!("there are: {}", names()))
        }),
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Failure::new(Kind::Usage, "the playbook has several servers")
                .hint(format!("say which one: {}", names())))
        }
    }
}

/// What the SSH client is told: one identity, one known key, and nothing of its own configuration.
fn arguments(id: &HostId, known: &Path, key: &Path, command: &[String]) -> Vec<String> {
    let options = [
        format!("UserKnownHostsFile={}", known.display()),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "HostKeyAlgorithms=ssh-ed25519".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        format!("IdentityFile={}", key.display()),
    ];
    let mut arguments = vec!["-F".to_owned(), "none".to_owned()];
    // As in its configuration file: spaces need quotes, and a percent sign is two.
    let quoted = |option: String| match option.split_once('=') {
        Some((keyword, value)) => format!("{keyword}=\"{}\"", value.replace('%', "%%")),
        None => option,
    };
    arguments.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), quoted(option)]));
    arguments.extend(["-p".to_owned(), id.port.to_string(), "-l".to_owned(), id.user.clone(), id.address.to_string()]);
    if !command.is_empty() {
        arguments.push("--".to_owned());
        arguments.extend(command.iter().cloned());
    }
    arguments
}
