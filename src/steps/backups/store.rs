//! Where a repository is, and what opens the way to it.

use crate::model::problem::Problem;
use crate::model::value::{Quoting, Value};
use crate::steps::Site;
use crate::steps::backups::{BackupStore, BackupsAnswers, secret};

/// A repository as restic needs to know it.
pub(super) struct Store {
    /// Its address.
    pub repository: Value,
    /// The same for people; changes with everything that makes it another one.
    pub shown: String,
    /// What S3 calls the region, where it must be said.
    pub region: String,
    /// What ssh is told to get there, for SFTP: options and target.
    pub sftp: String,
    /// The line of known_hosts, for SFTP.
    pub known_hosts: Option<String>,
    /// Files with secrets, by name.
    pub secrets: Vec<(&'static str, Value)>,
}

impl Store {
    /// What `answers`, which were checked, say.
    pub(super) fn of(site: &Site<'_>, answers: &BackupsAnswers) -> Result<Store, Problem> {
        let held = |what: &str| Ok(Value::Secret(secret(site.entry, what)?, Quoting::Plain));
        let text = |answer: &Option<String>| answer.clone().unwrap_or_default();
        let path = answers.path.clone().unwrap_or_else(|| format!("{}/{}", site.playbook.name, answers.on));
        let mut secrets = vec![("password", held("password")?)];
        if answers.to == BackupStore::Sftp {
            secrets.push(("ssh-key", held("ssh-key")?));
            let (user, address, port) = (text(&answers.user), text(&answers.address), answers.port.unwrap_or(22));
            let place = if port == 22 { address.clone() } else { format!("[{address}]:{port}") };
            // The place itself is said by ssh's own words; restic only needs the folder.
            let shown = format!("sftp:{user}@{address}:{path}");
            return Ok(Store {
                repository: shown.as_str().into(),
                shown: format!("{shown} port {port}"),
                region: String::new(),
                sftp: format!("-p {port} -l {user} {address}"),
                known_hosts: Some(format!("{place} {}\n", text(&answers.host_key))),
                secrets,
            });
        }
        secrets.extend([("access-key", held("access-key")?), ("secret-key", held("secret-key")?)]);
        let (bucket, region) = (text(&answers.bucket), text(&answers.region));
        let place: Vec<Value> = match (&answers.endpoint, answers.to) {
            (Some(endpoint), _) => vec![endpoint.trim_end_matches('/').into()],
            (None, BackupStore::R2) => {
                vec![
                    "https://".into(),
                    site.plain_output(&site.entry.id, "account"),
                    ".r2.cloudflarestorage.com".into(),
                ]
            }
            (None, BackupStore::Hetzner) => vec![format!("https://{region}.your-objectstorage.com").into()],
            (None, BackupStore::Spaces) => vec![format!("https://{region}.digitaloceanspaces.com").into()],
            (None, _) => vec![format!("https://s3.{region}.backblazeb2.com").into()],
        };
        let mut repository: Vec<Value> = vec!["s3:".into()];
        repository.extend(place);
        repository.push(format!("/{bucket}/{path}").into());
        let to = match answers.to {
            BackupStore::R2 => "r2",
            BackupStore::Hetzner => "hetzner",
            BackupStore::Spaces => "spaces",
            BackupStore::B2 => "b2",
            BackupStore::S3 | BackupStore::Sftp => "s3",
        };
        let where_ = answers.endpoint.clone().unwrap_or(region.clone());
        Ok(Store {
            repository: Value::Joined(repository),
            shown: format!("{to} {where_} {bucket}/{path}"),
            // R2 knows one region only; the others take it from the address.
            region: if answers.to == BackupStore::R2 { "auto".to_owned() } else { String::new() },
            sftp: String::new(),
            known_hosts: None,
            secrets,
        })
    }
}
