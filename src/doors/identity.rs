//! Which key to log in with: exactly one, chosen by what it is and not by trying.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};

use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::secret::{Keys, Secret};

/// The vault's name for the passphrase of an encrypted key file.
pub const PASSPHRASE: &str = "ssh-key-passphrase";

/// The one key that is offered.
#[derive(Debug)]
pub enum Identity {
    /// A private key in a file, with its passphrase if it is encrypted.
    File(PathBuf, Option<Secret>),
    /// A key the agent holds, by its public half.
    Agent(Vec<u8>),
}

/// Finds the private half of one of `wanted`, public keys in order of preference: the file `explicit`,
/// files in `folder`, and the keys the agent holds. Fails as `Human` when there is none, or when it is
/// encrypted and nobody can say its passphrase.
pub fn find(
    wanted: &[String],
    explicit: Option<&Path>,
    folder: Option<&Path>,
    in_agent: &[Vec<u8>],
    keys: &dyn Keys,
) -> Result<Identity, Failure> {
    let wanted: Vec<PublicKey> = wanted.iter().filter_map(|key| PublicKey::from_openssh(key).ok()).collect();
    if let Some(path) = explicit {
        let key = PrivateKey::read_openssh_file(path).map_err(|e| {
            Failure::new(Kind::Human, format!("cannot read the SSH key {}", path.display()))
                .because(e)
                .hint("give the path of a private key in OpenSSH format with LANDFALL_SSH_KEY")
        })?;
        if !wanted.iter().any(|public| public.key_data() == key.public_key().key_data()) {
            return Err(Failure::new(
                Kind::Human,
                format!("the SSH key {} is none of the playbook's keys", path.display()),
            )
            .hint("add its public half to `keys` of the step `server`, or give another key with LANDFALL_SSH_KEY"));
        }
        return unlock(path, &key, keys);
    }

    let mut locked = None;
    for (path, key) in folder.map(private_keys).unwrap_or_default() {
        if !wanted.iter().any(|public| public.key_data() == key.public_key().key_data()) {
            continue;
        }
        if !key.is_encrypted() {
            return Ok(Identity::File(path, None));
        }
        locked.get_or_insert((path, key));
    }
    for public in &wanted {
        if let Ok(blob) = public.to_bytes()
            && in_agent.contains(&blob)
        {
            return Ok(Identity::Agent(blob));
        }
    }
    match locked {
        Some((path, key)) => unlock(&path, &key, keys),
        None => Err(Failure::new(Kind::Human, "none of the playbook's SSH keys has its private half here").hint(
            "put the private key into ~/.ssh, load it into the agent with `ssh-add`, or name its file with LANDFALL_SSH_KEY",
        )),
    }
}

/// Every public key whose private half is in `folder` or in the agent, as a line for a playbook, with where it is.
pub fn public_lines(folder: Option<&Path>, in_agent: &[(Vec<u8>, String)]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |line: String, place: String| {
        let body = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        if !found.iter().any(|(known, _)| body(known) == body(&line)) {
            found.push((line, place));
        }
    };
    for (path, key) in folder.map(private_keys).unwrap_or_default() {
        let mut public = key.public_key().clone();
        // The comment of an encrypted key is locked away with it; the file beside it has it, too.
        let beside = std::fs::read_to_string(path.with_extension("pub")).ok();
        if let Some(named) = beside.and_then(|line| PublicKey::from_openssh(line.trim()).ok())
            && named.key_data() == public.key_data()
        {
            public = named;
        }
        if let Ok(line) = public.to_openssh() {
            add(line, path.display().to_string());
        }
    }
    for (blob, comment) in in_agent {
        if let Ok(mut public) = PublicKey::from_bytes(blob) {
            public.set_comment(comment.as_str());
            if let Ok(line) = public.to_openssh() {
                add(line, "the agent".to_owned());
            }
        }
    }
    // Newer kinds of key first.
    found.sort_by_key(|(line, _)| !line.starts_with("ssh-ed25519"));
    found
}

/// Makes a pair of ed25519 keys in `folder`, under a name that is not taken yet. Gives the public line.
pub fn make_pair(folder: &Path) -> Result<String, Failure> {
    let trouble = |e: ssh_key::Error| {
        Failure::new(Kind::Failed, format!("cannot make a key in {}", folder.display()))
            .because(e)
            .hint("make one with `ssh-keygen -t ed25519`")
    };
    let name = ["id_ed25519", "landfall_ed25519"].into_iter().find(|name| !folder.join(name).exists());
    let name = name.ok_or_else(|| {
        Failure::new(Kind::Failed, format!("there are keys in {} already", folder.display())).hint("choose one of them")
    })?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| trouble(e.into()))?;
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(trouble)?;
    key.set_comment("landfall");
    let line = key.public_key().to_openssh().map_err(trouble)?;
    key.write_openssh_file(&folder.join(name), LineEnding::LF).map_err(trouble)?;
    key.public_key().write_openssh_file(&folder.join(format!("{name}.pub"))).map_err(trouble)?;
    Ok(line)
}

fn unlock(path: &Path, key: &PrivateKey, keys: &dyn Keys) -> Result<Identity, Failure> {
    if !key.is_encrypted() {
        return Ok(Identity::File(path.to_owned(), None));
    }
    match Name::parse(PASSPHRASE).and_then(|name| keys.get(&name)) {
        Some(passphrase) if key.decrypt(passphrase.expose()).is_ok() => {
            Ok(Identity::File(path.to_owned(), Some(passphrase)))
        }
        Some(_) => Err(Failure::new(Kind::Human, format!("wrong passphrase for the SSH key {}", path.display()))
            .hint("set LANDFALL_SECRET_SSH_KEY_PASSPHRASE anew, or load the key into the agent with `ssh-add`")),
        None => Err(Failure::new(Kind::Human, format!("the SSH key {} is protected by a passphrase", path.display()))
            .hint("load it into the agent with `ssh-add`, or set LANDFALL_SECRET_SSH_KEY_PASSPHRASE")),
    }
}

/// Every private key in OpenSSH format in `folder`, in order of file name. Anything else is passed over.
fn private_keys(folder: &Path) -> Vec<(PathBuf, PrivateKey)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(PathBuf, PrivateKey)> = entries
        .filter(|entry| entry.metadata().is_ok_and(|m| m.is_file() && m.len() < 64 << 10))
        .filter_map(|entry| Some((entry.path(), PrivateKey::read_openssh_file(&entry.path()).ok()?)))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
