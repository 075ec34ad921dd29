//! Prices as they were on a day, for those who have no token yet.

use serde::Deserialize;

use crate::model::catalog::Catalog;

/// What one provider sold on one day.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dated {
    /// The day.
    pub date: String,
    /// What was seen.
    pub catalog: Catalog,
}

/// The prices in the program, by provider.
pub fn snapshot() -> Result<Vec<Dated>, serde_json::Error> {
    serde_json::from_str(include_str!("../../templates/prices.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_can_be_read_and_says_its_days() {
        let snapshot = snapshot().unwrap();
        let providers: Vec<&str> = snapshot.iter().map(|dated| dated.catalog.provider.as_str()).collect();
        assert_eq!(providers, ["hetzner", "digitalocean"]);
        for dated in &snapshot {
            assert!(dated.date.parse::<jiff::civil::Date>().is_ok(), "{}", dated.date);
            assert!(!dated.catalog.plans.is_empty());
        }
    }
}
