//! Leases: how a run on one laptop is seen from another. A lease is a mark at a provider that ends by itself unless it
//! is renewed, so that a run which broke off does not stand in the way for ever.

use std::fmt;

use jiff::Timestamp;

/// The most characters of a user's or a machine's name in a mark. Hetzner's label values hold 63.
const LONGEST: usize = 40;

/// Whoever runs Landfall: one account on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// What tells this one from every other: letters and digits, made once and kept.
    pub id: String,
    user: String,
    machine: String,
}

impl Operator {
    /// The operator `id`, as `user` on `machine`. What no cloud's mark can hold of the names becomes a hyphen.
    pub fn new(id: &str, user: &str, machine: &str) -> Operator {
        Operator { id: fit_for_a_mark(id), user: fit_for_a_mark(user), machine: fit_for_a_mark(machine) }
    }

    /// The user's name, fit for a mark.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The machine's name, fit for a mark.
    pub fn machine(&self) -> &str {
        &self.machine
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.machine)
    }
}

/// Letters, digits and hyphens, a letter or digit at either end: what Hetzner's label values and DigitalOcean's tags
/// both hold.
fn fit_for_a_mark(name: &str) -> String {
    let fit = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(LONGEST).collect::<String>();
    match fit.trim_matches('-') {
        "" => "unknown".to_owned(),
        fit => fit.to_owned(),
    }
}

/// A lease as it hangs at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose run it is.
    pub holder: Operator,
    /// When it ends unless it is renewed, by the provider's clock.
    pub until: Timestamp,
    /// What the provider calls it; empty while it is not there yet.
    pub id: String,
}

impl Lease {
    /// What a mark called `mark` says. `until` is in seconds since 1970; a lease whose end cannot be read has ended.
    pub fn read(mark: &str, holder: Operator, until: &str) -> Lease {
        let until = until.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
        Lease { holder, until: until.unwrap_or(Timestamp::UNIX_EPOCH), id: mark.to_owned() }
    }

    /// Does it keep `operator`, who runs nothing else, from changing anything at `now`? Another's does that has not ended;
    /// the operator's own is of a run that broke off.
    pub fn is_in_the_way(&self, operator: &Operator, now: Timestamp) -> bool {
        self.holder.id != operator.id && self.until > now
    }

    /// When it ends, for people.
    pub fn end(&self) -> String {
        self.until.strftime("%H:%M:%S UTC").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: &str, until: i64) -> Lease {
        let holder = Operator::new(id, "ann", "desk");
        Lease { holder, until: Timestamp::from_second(until).unwrap(), id: String::new() }
    }

    #[test]
    fn only_a_lease_of_another_that_has_not_ended_is_in_the_way() {
        let me = Operator::new("me", "bob", "laptop");
        let now = Timestamp::from_second(1000).unwrap();
        assert!(lease("other", 1001).is_in_the_way(&me, now));
        assert!(!lease("other", 1000).is_in_the_way(&me, now), "it has ended");
        assert!(!lease("me", 2000).is_in_the_way(&me, now), "it is of a run that broke off");
    }

    #[test]
    fn names_are_fit_for_the_marks_of_every_cloud() {
        let operator = Operator::new("a1", "дима.k", &"x".repeat(200));
        assert_eq!(operator.to_string(), format!("k@{}", "x".repeat(LONGEST)));
        assert_eq!(Operator::new("a1", "", "_").to_string(), "unknown@unknown");
    }
}
