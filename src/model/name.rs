//! Names that were checked once and are trusted from then on.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// The name of a playbook, a step, or a secret: a lower-case letter, then letters, digits and single
/// hyphens, at most 40 characters. That is within the rules of every cloud's labels and host names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// What a [`Name`] looks like, in words for an error message.
pub const NAME_RULE: &str =
    "a lower-case letter, then lower-case letters, digits and single hyphens, at most 40 characters";

impl Name {
    /// Checks `text`; `None` when it is not a name.
    pub fn parse(text: &str) -> Option<Name> {
        let legal = text.len() <= 40
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && !text.contains("--")
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        legal.then(|| Name(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
        let text = String::deserialize(from)?;
        Name::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("bad name `{text}`, expected {NAME_RULE}")))
    }
}

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": 40 })
    }
}

/// A host name with other letters than ASCII's, in the spelling that DNS has for it; `None` where it has none or needs none.
pub fn in_ascii(name: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii(name).ok()?;
    (!name.is_ascii() && is_host_name(&ascii)).then_some(ascii)
}

/// Is this a DNS host name: labels of letters, digits and hyphens, at most 253 characters, no
/// trailing dot (RFC 1123)?
pub fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
}

/// Is this an e-mail address that can go into a proxy's configuration: something, an `@`, and a host name?
pub fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && is_host_name(host) && user.chars().all(|c| c.is_ascii_alphanumeric() || "._%+-".contains(c))
    })
}

/// Is this an account name Debian accepts: a lower-case letter or underscore, then letters, digits,
/// hyphens and underscores, at most 32 characters (useradd(8))?
pub fn is_user_name(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

/// Can public authorities issue a certificate for this name? Not for reserved and private suffixes
/// (RFC 2606, RFC 6761, RFC 8375), names without a dot, or addresses.
pub fn is_public_name(host: &str) -> bool {
    const PRIVATE: &[&str] =
        &["test", "example", "invalid", "localhost", "local", "internal", "lan", "home", "corp", "home.arpa"];
    host.contains('.')
        && host.parse::<std::net::IpAddr>().is_err()
        && !PRIVATE.iter().any(|suffix| host.ends_with(&format!(".{suffix}")))
        && !["example.com", "example.net", "example.org"]
            .iter()
            .any(|name| host == *name || host.ends_with(&format!(".{name}")))
}

/// Of `known`, the one a person most likely meant by `typed`, if any is near enough.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(typed, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(typed.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "web", "web-1", "a1-b2-c3"] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        for bad in ["", "Web", "1web", "-web", "web-", "we--b", "we b", "wéb", "a.b", "$(id)", &"a".repeat(41)] {
            assert!(Name::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn host_names_are_checked() {
        for good in ["app.acme.dev", "localhost", "xn--bcher-kva.example"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "a..b", "-a.b", "a b", "a_b.c", "a.b.", "app.acme.dev {"] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn only_public_names_get_public_certificates() {
        assert!(is_public_name("app.acme.dev"));
        for private in ["app.test", "nas.local", "box", "203.0.113.7", "www.example.com", "a.home.arpa"] {
            assert!(!is_public_name(private), "{private}");
        }
    }

    #[test]
    fn a_near_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("prot", ["port", "host"]), Some("port"));
        assert_eq!(nearest("databse", ["database", "app"]), Some("database"));
        assert_eq!(nearest("zebra", ["port", "host"]), None);
    }
}
