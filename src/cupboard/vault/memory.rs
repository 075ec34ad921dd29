//! A vault that keeps what it is given in memory, and finds everything else in another one. For rehearsals, whose
//! tokens and passwords are made on the spot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::secret::{Keys, Secret};

/// The vault.
pub struct Memory {
    kept: Mutex<BTreeMap<Name, Secret>>,
    rest: Arc<dyn Keys>,
}

impl Memory {
    /// A vault that holds `kept`, by name, and finds everything else in `rest`.
    pub fn over(rest: Arc<dyn Keys>, kept: impl IntoIterator<Item = (Name, String)>) -> Memory {
        let kept = kept.into_iter().map(|(name, value)| (name, Secret::new(value)));
        Memory { kept: Mutex::new(kept.collect()), rest }
    }
}

impl Keys for Memory {
    fn get(&self, name: &Name) -> Option<Secret> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).map(|secret| Secret::new(secret.expose().to_owned())).or_else(|| self.rest.get(name))
    }

    fn find(&self, name: &Name) -> Result<Option<Secret>, Failure> {
        match self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            Some(secret) => Ok(Some(Secret::new(secret.expose().to_owned()))),
            None => self.rest.find(name),
        }
    }

    fn how_to_set(&self, name: &Name) -> String {
        self.rest.how_to_set(name)
    }

    fn put(&self, name: &Name, value: Secret) -> Result<(), Failure> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), value);
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<(), Failure> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }
}
