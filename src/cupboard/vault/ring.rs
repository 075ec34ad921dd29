//! The system's keyring. On Linux it is a Secret Service, which servers and CI do not have: then it holds
//! nothing, and keeping something in it fails.

use keyring::v1::{Entry, Error};

use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::secret::Secret;

fn entry(playbook: &Name, name: &Name) -> Result<Entry, Error> {
    Entry::new("landfall", &format!("{playbook}/{name}"))
}

/// Where there is no session bus there is no Secret Service, and looking for one would only take time.
fn is_there() -> bool {
    !cfg!(target_os = "linux")
        || ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"].iter().any(|name| std::env::var_os(name).is_some())
}

/// The secret of this name. One that is not there is no failure, and neither is a system without a keyring; a keyring
/// that does not open is.
pub(super) fn get(playbook: &Name, name: &Name) -> Result<Option<Secret>, Failure> {
    if !is_there() {
        return Ok(None);
    }
    match entry(playbook, name).and_then(|entry| entry.get_password()) {
        Ok(value) => Ok(Some(Secret::new(value))),
        Err(Error::NoEntry | Error::NoDefaultStore) => Ok(None),
        Err(e) => Err(Failure::new(Kind::Human, format!("the system's keyring does not tell whether it has `{name}`"))
            .because(e)
            .hint("unlock it, or set the secret in the environment or in a vault file")),
    }
}

pub(super) fn put(playbook: &Name, name: &Name, value: &Secret) -> Result<(), Failure> {
    let trouble = |cause: Option<Error>| {
        let failure = Failure::new(Kind::Human, format!("there is no place to keep the secret `{name}`")).hint(
            "this system has no keyring: make a vault file beside the playbook with `landfall secrets set --file`",
        );
        match cause {
            Some(cause) => failure.because(cause),
            None => failure,
        }
    };
    if !is_there() {
        return Err(trouble(None));
    }
    entry(playbook, name).and_then(|entry| entry.set_password(value.expose())).map_err(|e| trouble(Some(e)))
}

pub(super) fn remove(playbook: &Name, name: &Name) {
    if is_there() {
        // One that is not there is as good as removed.
        let _ = entry(playbook, name).and_then(|entry| entry.delete_credential());
    }
}
