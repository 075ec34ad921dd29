//! Secrets: values that cannot be printed, serialized or cloned, and the names that stand for them.

use std::fmt;

use zeroize::Zeroize;

use crate::model::failure::Failure;
use crate::model::name::Name;

/// A secret value. Wiped from memory when dropped.
pub struct Secret(String);

impl Secret {
    /// Takes the value over.
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    /// The value itself. Only the two doors and the code that fills in what they send may call this;
    /// `grep expose` is the audit.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Does this variable of the environment hold a secret, so that no other program may inherit it?
pub fn is_secret_variable(name: &str) -> bool {
    name.starts_with("LANDFALL_SECRET_")
        || name == "LANDFALL_PASSPHRASE"
        || name.ends_with("_TOKEN")
        || name.ends_with("_API_KEY")
}

/// Where secrets come from. The cupboard's vault implements it; tests bring their own.
pub trait Keys: Send + Sync {
    /// The secret of this name, or `None` when the vault has none.
    fn get(&self, name: &Name) -> Option<Secret>;

    /// The same, where it matters whether there is none or it cannot be read now: the latter fails.
    fn find(&self, name: &Name) -> Result<Option<Secret>, Failure> {
        Ok(self.get(name))
    }

    /// How a person can provide the secret of this name: a sentence for a hint.
    fn how_to_set(&self, name: &Name) -> String;

    /// Keeps `value` under `name`, so that [`Keys::get`] gives it from now on. Fails as `Human` where nothing
    /// can be kept, and says what to do.
    fn put(&self, name: &Name, value: Secret) -> Result<(), Failure>;

    /// Forgets the secret of this name; one that is not there is fine.
    fn remove(&self, name: &Name) -> Result<(), Failure>;
}

/// Where references are kept: what a service calls the things that carry no ownership mark there. The playbook's
/// `lock` line implements it; tests bring their own.
pub trait References: Send + Sync {
    /// The reference kept for `step`.
    fn get(&self, step: &Name) -> Option<String>;

    /// Every reference, by step.
    fn all(&self) -> Vec<(Name, String)>;

    /// Keeps `reference` for `step`, on disk before it returns; `None` takes it out.
    fn put(&self, step: &Name, reference: Option<&str>) -> Result<(), Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_not_impl_any!(Secret: Clone, fmt::Display, serde::Serialize);

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let secret = Secret::new("hunter2-and-more".to_owned());
        assert!(!format!("{secret:?} {secret:#?}").contains("hunter"));
    }
}
