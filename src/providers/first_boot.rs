//! What a new server is told at its first boot: who may log in, and the host key by which it is known from the first
//! packet. The same for every cloud.

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD};
use rand_core::OsRng;
use serde_json::json;
use ssh_key::{Algorithm, Fingerprint, HashAlg, LineEnding, PrivateKey};

use crate::model::cloud;
use crate::model::failure::{Failure, Kind};

/// Instructions for cloud-init, and the fingerprint of the host key in them.
pub(super) struct FirstBoot {
    /// The user data.
    pub user_data: String,
    /// The fingerprint as a label holds it: base32, because labels and tags may hold letters and digits.
    pub label: String,
}

impl FirstBoot {
    /// Of a server like `spec`, with a new host key. Fails when it is longer than `limit` bytes.
    pub(super) fn of(spec: &cloud::Server, limit: usize) -> Result<FirstBoot, Failure> {
        // The key is made here and handed over, so that the first connection is already verified.
        let trouble = |e: ssh_key::Error| Failure::new(Kind::Failed, "cannot make a host key").because(e);
        let host_key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(trouble)?;
        let private = host_key.to_openssh(LineEnding::LF).map_err(trouble)?;
        let public = host_key.public_key().to_openssh().map_err(trouble)?;
        let user_data = format!(
            "#cloud-config\n{:#}\n",
            json!({
                "ssh_deletekeys": true,
                "ssh_genkeytypes": [],
                "ssh_keys": { "ed25519_private": &*private, "ed25519_public": public },
                "disable_root": true,
                "ssh_pwauth": false,
                "users": [{
                    "name": spec.admin,
                    "groups": "sudo",
                    "shell": "/bin/bash",
                    "sudo": "ALL=(ALL) NOPASSWD:ALL",
                    "lock_passwd": true,
                    "ssh_authorized_keys": spec.keys,
                }],
            })
        );
        if user_data.len() > limit {
            return Err(Failure::new(Kind::Failed, "the server's first instructions are longer than the cloud takes")
                .hint("list fewer keys in the step `server`"));
        }
        let label = BASE32_NOPAD.encode(host_key.fingerprint(HashAlg::Sha256).as_bytes());
        Ok(FirstBoot { user_data, label })
    }
}

/// The fingerprint `SHA256:…` that a label holds.
pub(super) fn from_label(label: &str) -> Option<String> {
    let digest = BASE32_NOPAD.decode(label.to_uppercase().as_bytes()).ok()?;
    Some(format!("SHA256:{}", BASE64_NOPAD.encode(&digest)))
}

/// What a label holds for the fingerprint `SHA256:…`.
pub(super) fn to_label(fingerprint: &str) -> Result<String, Failure> {
    let trouble = |e: ssh_key::Error| Failure::new(Kind::Failed, "not a fingerprint").because(e);
    let fingerprint: Fingerprint = fingerprint.parse().map_err(trouble)?;
    Ok(BASE32_NOPAD.encode(fingerprint.as_bytes()))
}
