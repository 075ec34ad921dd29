//! Faults as people write them: `KIND[@API[:OPERATION[:NTH]]]`, or `KIND:RATE%[@API[:OPERATION]]`.

use std::str::FromStr;
use std::time::Duration;

use crate::rehearsal::faults::Trouble;

/// What people call a sort of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The connection is cut before anything happens.
    CutBeforeEffect,
    /// It is cut after it has happened.
    CutAfterEffect,
    /// Too many requests.
    TooMany,
    /// The API has a fault of its own.
    ServerError,
    /// The API is not there for a moment.
    Unavailable,
    /// The answer takes its time.
    Slow,
    /// The answer is that of the last time.
    Stale,
    /// The token is no longer accepted.
    Revoked,
    /// The token may only read.
    ReadOnly,
    /// Any of the passing ones.
    Mixed,
}

const KINDS: &[(&str, Kind)] = &[
    ("cut-before-effect", Kind::CutBeforeEffect),
    ("cut-after-effect", Kind::CutAfterEffect),
    ("429", Kind::TooMany),
    ("500", Kind::ServerError),
    ("503", Kind::Unavailable),
    ("slow", Kind::Slow),
    ("stale", Kind::Stale),
    ("revoked", Kind::Revoked),
    ("read-only", Kind::ReadOnly),
    ("mixed", Kind::Mixed),
];

impl Kind {
    /// The trouble itself, for a request with this method to `api`; of mixed ones, `dice` decides which.
    pub(super) fn trouble(self, api: &str, method: &str, dice: u16) -> Trouble {
        let soon = || vec![("retry-after", "0".to_owned())];
        match self {
            Kind::CutBeforeEffect => Trouble::CutBefore,
            Kind::CutAfterEffect => Trouble::CutAfter,
            Kind::TooMany => Trouble::Refuse(429, "rate_limit_exceeded", soon()),
            Kind::ServerError => Trouble::Refuse(500, "server_error", vec![]),
            Kind::Unavailable => Trouble::Refuse(503, "unavailable", vec![]),
            Kind::Slow => Trouble::Late(Duration::from_millis(300)),
            Kind::Stale => Trouble::Stale,
            Kind::Revoked => Trouble::Revoke,
            Kind::ReadOnly => Trouble::ReadOnly,
            Kind::Mixed => {
                let some: &[Kind] = match (api, method) {
                    // A connection to a host breaks; it does not answer with a status.
                    ("host", _) => &[Kind::CutBeforeEffect, Kind::CutAfterEffect],
                    (_, "GET") => {
                        &[Kind::CutBeforeEffect, Kind::TooMany, Kind::ServerError, Kind::Unavailable, Kind::Stale]
                    }
                    _ => &[
                        Kind::CutBeforeEffect,
                        Kind::CutAfterEffect,
                        Kind::TooMany,
                        Kind::ServerError,
                        Kind::Unavailable,
                    ],
                };
                some[usize::from(dice) % some.len()].trouble(api, method, dice)
            }
        }
    }
}

/// When a rule holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// For one request: so many must come until it is this one.
    Nth(usize),
    /// For so many of a hundred, by chance.
    Percent(f64),
}

/// A fault as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What goes wrong.
    pub kind: Kind,
    /// With which requests.
    pub when: When,
    pub(super) used: bool,
    api: Option<String>,
    operation: Option<(String, String)>,
}

impl Rule {
    /// Any of the passing troubles, for so many of a hundred requests.
    pub fn mixed(percent: f64) -> Rule {
        Rule { kind: Kind::Mixed, when: When::Percent(percent), used: false, api: None, operation: None }
    }

    /// Is it about this request?
    pub(super) fn is_about(&self, api: &str, method: &str, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.api.as_deref().is_none_or(|known| known == api)
            && self.operation.as_ref().is_none_or(|(thing, verb)| {
                let place = parts.iter().rposition(|part| part == thing);
                let is_last = place.is_some_and(|place| place + 1 == parts.len());
                match verb.as_str() {
                    "create" => method == "POST" && is_last,
                    "list" => method == "GET" && is_last,
                    "get" => method == "GET" && place.is_some() && !is_last,
                    "delete" => method == "DELETE" && place.is_some(),
                    "update" => matches!(method, "PUT" | "PATCH") && place.is_some(),
                    // What can only be asked for: an action below the thing.
                    action => method == "POST" && place.is_some() && parts.last() == Some(&action),
                }
            })
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        let (what, place) = text.split_once('@').map_or((text, None), |(what, place)| (what, Some(place)));
        let (kind, rate) = what.split_once(':').map_or((what, None), |(kind, rate)| (kind, Some(rate)));
        let kinds = || KINDS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let kind = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| format!("there is no fault `{what}`; there are {}", kinds()))?;
        let mut place = place.into_iter().flat_map(|place| place.split(':'));
        let api = place.next().map(str::to_owned);
        let operation = match place.next() {
            None => None,
            Some(operation) => Some(operation.split_once('.').map(|(thing, verb)| (thing.to_owned(), verb.to_owned())).ok_or_else(
                || format!("`{operation}` is no operation; write it as servers.create, servers.list, servers.get, servers.update or servers.delete"),
            )?),
        };
        let nth = place.next().map(|nth| {
            nth.parse().ok().filter(|nth| *nth > 0).ok_or(format!("`{nth}` is no number of a request, from 1"))
        });
        let percent = |rate: &str| {
            rate.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|p| (0.0..=100.0).contains(p))
        };
        let when = match (rate, nth) {
            (Some(rate), None) => {
                When::Percent(percent(rate).ok_or_else(|| format!("`{rate}` is no rate; write it as 10%"))?)
            }
            (Some(_), Some(_)) => return Err("either a rate or the number of a request, not both".to_owned()),
            (None, nth) => When::Nth(nth.transpose()?.unwrap_or(1)),
        };
        Ok(Rule { kind, when, used: false, api, operation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn an_operation_is_a_thing_and_what_is_done_to_it() {
        for (operation, method, path, about) in [
            ("servers.create", "POST", "/servers", true),
            ("servers.create", "POST", "/servers/7/actions/poweron", false),
            ("servers.create", "GET", "/servers", false),
            ("servers.get", "GET", "/servers/7", true),
            ("servers.list", "GET", "/servers/7", false),
            ("servers.poweron", "POST", "/servers/7/actions/poweron", true),
            ("dns_records.update", "PATCH", "/zones/1/dns_records/2", true),
            ("zones.delete", "DELETE", "/zones/1", true),
        ] {
            let rule = rule(&format!("500@hetzner:{operation}"));
            assert_eq!(rule.is_about("hetzner", method, path), about, "{operation} {method} {path}");
            assert!(!rule.is_about("neon", method, path), "another API");
        }
    }

    #[test]
    fn rates_numbers_and_nonsense() {
        assert_eq!(rule("429:10%").when, When::Percent(10.0));
        assert_eq!(rule("cut-after-effect@hetzner:servers.create:2").when, When::Nth(2));
        assert_eq!(rule("slow").when, When::Nth(1));
        for nonsense in [
            "",
            "teapot",
            "429:10",
            "429:101%",
            "500@hetzner:servers",
            "500@hetzner:servers.list:0",
            "429:5%@hetzner:servers.list:2",
        ] {
            assert!(nonsense.parse::<Rule>().is_err(), "{nonsense}");
        }
    }
}
