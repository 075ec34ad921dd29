//! Secrets from the environment.

use crate::model::name::Name;
use crate::model::secret::Secret;

/// The variables in which the clouds' own tools look for their tokens.
const ALSO: &[(&str, &str)] = &[
    ("hetzner-token", "HCLOUD_TOKEN"),
    ("digitalocean-token", "DIGITALOCEAN_ACCESS_TOKEN"),
    ("digitalocean-token", "DIGITALOCEAN_TOKEN"),
    ("cloudflare-token", "CLOUDFLARE_API_TOKEN"),
    ("supabase-token", "SUPABASE_ACCESS_TOKEN"),
    ("neon-token", "NEON_API_KEY"),
];

/// The secret `name`: from `LANDFALL_SECRET_<NAME>`, and for the clouds' tokens also from the variable their
/// own tools read.
pub fn get(name: &Name) -> Option<Secret> {
    let also = ALSO.iter().filter(|(secret, _)| *secret == name.as_str()).map(|(_, variable)| (*variable).to_owned());
    std::iter::once(variable(name))
        .chain(also)
        .find_map(|variable| std::env::var(variable).ok().filter(|value| !value.is_empty()))
        .map(Secret::new)
}

/// The variable that holds the secret `name`.
pub fn variable(name: &Name) -> String {
    format!("LANDFALL_SECRET_{}", name.as_str().to_uppercase().replace('-', "_"))
}
