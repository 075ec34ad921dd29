//! Secrets from the environment.

use crate::model::name::Name;
use crate::model::secret::{Keys, Secret};

/// The environment as a vault: `LANDFALL_SECRET_<NAME>`, and for the clouds' tokens also the variable
/// their own tools read.
pub struct Environment;

const ALSO: &[(&str, &str)] = &[("hetzner-token", "HCLOUD_TOKEN")];

impl Keys for Environment {
    fn get(&self, name: &Name) -> Option<Secret> {
        let also =
            ALSO.iter().filter(|(secret, _)| *secret == name.as_str()).map(|(_, variable)| (*variable).to_owned());
        std::iter::once(variable(name))
            .chain(also)
            .find_map(|variable| std::env::var(variable).ok())
            .filter(|value| !value.is_empty())
            .map(Secret::new)
    }

    fn how_to_set(&self, name: &Name) -> String {
        format!("set the environment variable {}", variable(name))
    }
}

/// One secret that is known, and behind it another vault for all others. For rehearsals, whose tokens are
/// made on the spot.
pub struct Known {
    name: Name,
    value: Secret,
    rest: Environment,
}

impl Known {
    /// A vault that answers `value` for `name`, and the environment for everything else.
    pub fn new(name: Name, value: Secret) -> Known {
        Known { name, value, rest: Environment }
    }
}

impl Keys for Known {
    fn get(&self, name: &Name) -> Option<Secret> {
        match *name == self.name {
            true => Some(Secret::new(self.value.expose().to_owned())),
            false => self.rest.get(name),
        }
    }

    fn how_to_set(&self, name: &Name) -> String {
        self.rest.how_to_set(name)
    }
}

/// The variable that holds the secret `name`.
fn variable(name: &Name) -> String {
    format!("LANDFALL_SECRET_{}", name.as_str().to_uppercase().replace('-', "_"))
}
