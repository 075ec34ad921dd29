//! Are the answers ones that can be carried out? By themselves, and among the other steps.

use crate::model::name::is_host_name;
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::system::System;
use crate::model::value::Input;
use crate::steps::Site;
use crate::steps::app::AppAnswers;
use crate::steps::backups::{BackupStore, BackupsAnswers, secret};
use crate::steps::database::{DatabaseAnswers, DatabaseProvider};

/// How R2 calls the places it can keep a bucket in.
const R2_PLACES: &[&str] = &["weur", "eeur", "enam", "wnam", "apac", "oc"];
/// What Supabase gives new projects.
const SUPABASE_VERSION: u32 = 17;

/// Do the answers fit each other, whatever else the playbook holds?
pub(super) fn by_itself(entry: &Entry, answers: &BackupsAnswers) -> Result<(), Problem> {
    secret(entry, "access-key")?;
    let is_sftp = answers.to == BackupStore::Sftp;
    let regional = matches!(answers.to, BackupStore::Hetzner | BackupStore::Spaces | BackupStore::B2 | BackupStore::R2);
    let given = [
        ("bucket", answers.bucket.is_some(), !is_sftp, !is_sftp),
        (
            "region",
            answers.region.is_some(),
            regional,
            regional && answers.to != BackupStore::R2 && answers.endpoint.is_none(),
        ),
        ("endpoint", answers.endpoint.is_some(), !is_sftp, answers.to == BackupStore::S3),
        ("address", answers.address.is_some(), is_sftp, is_sftp),
        ("port", answers.port.is_some(), is_sftp, false),
        ("user", answers.user.is_some(), is_sftp, is_sftp),
        ("host_key", answers.host_key.is_some(), is_sftp, is_sftp),
    ];
    for (field, is_given, allowed, needed) in given {
        if is_given && !allowed {
            return Err(Problem::new(entry.place_of(field), format!("`{field}` means nothing to this storage"))
                .hint("take the line out, or change `to`"));
        }
        if needed && !is_given {
            return Err(Problem::new(entry.at.clone(), format!("missing field `{field}`"))
                .hint("the storage that `to` names needs it"));
        }
    }
    let bad = |field: &str, text: &str, expected: &str| {
        Err(Problem::new(entry.place_of(field), format!("bad {field} `{text}`")).expected(expected.to_owned()))
    };
    let is_word = |text: &str, more: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            && !text.starts_with(['-', '.'])
    };
    if let Some(bucket) = &answers.bucket
        && !((3..=63).contains(&bucket.len()) && is_word(bucket, "-.") && !bucket.contains(char::is_uppercase))
    {
        return bad("bucket", bucket, "3 to 63 lower-case letters, digits, hyphens and dots");
    }
    match &answers.region {
        Some(region) if answers.to == BackupStore::R2 && !R2_PLACES.contains(&region.as_str()) => {
            return bad("region", region, &format!("one of `{}`", R2_PLACES.join("`, `")));
        }
        Some(region) if !is_word(region, "-") => return bad("region", region, "a name such as `fsn1`"),
        _ => {}
    }
    if let Some(endpoint) = &answers.endpoint {
        // In the open only to this very network: what is stored is encrypted, but what is signed could be replayed.
        let private = |rest: &str| {
            let host = rest.trim_end_matches('/').rsplit_once(':').map_or(rest.trim_end_matches('/'), |(host, _)| host);
            let address = host.parse::<std::net::Ipv4Addr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback() || address.is_private())
        };
        let rest = endpoint.strip_prefix("https://").or(endpoint.strip_prefix("http://").filter(|rest| private(rest)));
        let rest = rest.unwrap_or_default();
        if !is_word(rest.trim_end_matches('/'), "-.:") {
            return bad("endpoint", endpoint, "an address such as \"https://s3.example.org\"");
        }
    }
    if let Some(address) = &answers.address
        && !is_host_name(address)
        && address.parse::<std::net::IpAddr>().is_err()
    {
        return bad("address", address, "a name such as \"u123456.your-storagebox.de\"");
    }
    if let Some(user) = answers.user.as_ref().filter(|user| !is_word(user, "-_.")) {
        return bad("user", user, "an account such as \"u123456\"");
    }
    if let Some(key) = &answers.host_key
        && ssh_key::PublicKey::from_openssh(key).is_err()
    {
        return bad("host_key", key, "a line such as \"ssh-ed25519 AAAA…\", as `ssh-keyscan -p 23 ADDRESS` prints it");
    }
    if let Some(path) =
        answers.path.as_ref().filter(|path| !is_word(path.trim_start_matches('/'), "-_./") || path.contains(".."))
    {
        return bad("path", path, "a folder such as \"backups/acme\"");
    }
    for folder in &answers.folders {
        let inside = folder.strip_prefix('/').unwrap_or_default();
        if !is_word(inside, "-_./@") || folder.contains("..") || folder.ends_with('/') {
            return bad("folders", folder, "an absolute path such as \"/srv/uploads\"");
        }
    }
    if let Some(hours) = answers.every_hours
        && ![1, 2, 3, 4, 6, 8, 12, 24].contains(&hours)
    {
        return bad("every_hours", &hours.to_string(), "1, 2, 3, 4, 6, 8, 12 or 24");
    }
    if let Some(percent @ (0 | 101..)) = answers.check_percent {
        return bad("check_percent", &percent.to_string(), "1 to 100");
    }
    if answers.keep.daily == 0 {
        return Err(Problem::new(entry.place_of("keep"), "no daily backup is kept").expected("`daily` of 1 or more"));
    }
    if let Some(hours) = answers.alarm_after_hours.filter(|hours| *hours <= u16::from(answers.every())) {
        return bad("alarm_after_hours", &hours.to_string(), "more hours than lie between two backups");
    }
    match &answers.alarm {
        Some(Input::Literal(url)) if !url.starts_with("https://") || url.contains(['"', '\\', '\n']) => {
            bad("alarm", url, "an address such as \"https://ntfy.sh/my-alarms\"")
        }
        _ => Ok(()),
    }
}

/// Does it stand where it can do its work: below what it needs, above what must not start before it?
pub(super) fn among_others(site: &Site<'_>, answers: &BackupsAnswers) -> Result<(), Problem> {
    let place = |step: &Entry| site.playbook.steps.iter().position(|entry| entry.id == step.id);
    let own = place(site.entry);
    for entry in &site.playbook.steps {
        match entry.kind.as_str() {
            "app" if place(entry) < own && entry.answers::<AppAnswers>().is_ok_and(|app| app.on == answers.on) => {
                return Err(Problem::new(
                    site.entry.kind_at.clone(),
                    format!("`{}` stands below the app `{}`", site.entry.id, entry.id),
                )
                .expected(format!("the step `backups` above `{}`", entry.id))
                .hint("a new server takes up the newest backup before its apps start"));
            }
            "database"
                if place(entry) > own
                    && entry.answers::<DatabaseAnswers>().is_ok_and(|db| db.on.as_ref() == Some(&answers.on)) =>
            {
                return Err(Problem::new(
                    site.entry.kind_at.clone(),
                    format!("`{}` stands above the database `{}`", site.entry.id, entry.id),
                )
                .expected(format!("the step `backups` below `{}`", entry.id))
                .hint("a new database is filled from the newest backup"));
            }
            "backups"
                if entry.id != site.entry.id
                    && entry.answers::<BackupsAnswers>().is_ok_and(|other| other.on == answers.on) =>
            {
                return Err(Problem::new(
                    site.entry.kind_at.clone(),
                    format!("`{}` and `{}` back the same server up", entry.id, site.entry.id),
                )
                .expected("one step `backups` for each server"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Can the host's own programs dump this database? They read no newer version than their own.
pub(super) fn can_dump(
    site: &Site<'_>,
    provider: DatabaseProvider,
    database: &DatabaseAnswers,
    system: System,
) -> Result<(), Problem> {
    let theirs = match provider {
        DatabaseProvider::Supabase => SUPABASE_VERSION,
        DatabaseProvider::Neon | DatabaseProvider::Host => database.version.unwrap_or(17),
    };
    let ours = match system {
        System::Debian12 => 15,
        System::Debian13 => 17,
        System::Ubuntu2404 => 16,
    };
    match theirs > ours {
        true => Err(Problem::new(
            site.entry.place_of("on"),
            format!("the database is a PostgreSQL {theirs}, and the programs of {} dump up to {ours}", system.as_str()),
        )
        .expected("a server of `image = \"debian-13\"`, or an older database")),
        false => Ok(()),
    }
}
