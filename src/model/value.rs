//! Values of fields: known, not yet known, or secret.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::name::Name;

/// Names an output: `web.ipv4` is the output `ipv4` of the step `web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputKey {
    /// The step that gives it.
    pub step: Name,
    /// What that step calls it.
    pub name: String,
}

impl OutputKey {
    /// Reads `step.output`; `None` when it does not look like that.
    pub fn parse(text: &str) -> Option<OutputKey> {
        let (step, name) = text.split_once('.')?;
        let legal = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        Some(OutputKey { step: Name::parse(step)?, name: legal.then(|| name.to_owned())? })
    }
}

impl fmt::Display for OutputKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.step, self.name)
    }
}

/// Outputs known so far.
pub type Outputs = BTreeMap<OutputKey, String>;

/// How a secret must be written where it is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// As it is.
    Plain,
    /// As a value in a Docker Compose file: a JSON string with every `$` doubled, because Compose
    /// replaces variables after reading the YAML.
    Compose,
    /// As a part of such a string, whose quotes stand around it.
    WithinCompose,
    /// As a value in an environment file that Compose reads: in double quotes, with what Compose would expand escaped.
    Dotenv,
    /// As a part of such a value, whose quotes stand around it.
    WithinDotenv,
}

impl Quoting {
    /// Writes `text` in this way.
    pub fn quote(self, text: &str) -> String {
        match self {
            Quoting::Plain => text.to_owned(),
            Quoting::Compose => serde_json::Value::from(text.replace('$', "$$")).to_string(),
            Quoting::WithinCompose => {
                let quoted = Quoting::Compose.quote(text);
                quoted[1..quoted.len() - 1].to_owned()
            }
            Quoting::Dotenv => format!("\"{}\"", Quoting::WithinDotenv.quote(text)),
            Quoting::WithinDotenv => text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$"),
        }
    }
}

/// A value of a resource's field.
///
/// `Output` and `Secret` stand for what is not known yet and for what must not be seen; both have a
/// printable form that gives nothing away, so a plan can show every value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
    /// Several values in order.
    List(Vec<Value>),
    /// An output that does not exist yet; shown as `‹web.ipv4›`.
    Output(OutputKey),
    /// A secret, by name; shown as `‹secret name›`.
    Secret(Name, Quoting),
    /// Text put together from parts.
    Joined(Vec<Value>),
}

impl Value {
    /// A list of texts.
    pub fn texts<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Value {
        Value::List(items.into_iter().map(|item| Value::Text(item.into())).collect())
    }

    /// The first output in this value that is not known yet.
    pub fn unknown(&self) -> Option<&OutputKey> {
        match self {
            Value::Output(key) => Some(key),
            Value::List(items) | Value::Joined(items) => items.iter().find_map(Value::unknown),
            Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Secret(..) => None,
        }
    }

    /// The outputs in this value that are not known yet.
    pub fn outputs(&self) -> Vec<&OutputKey> {
        match self {
            Value::Output(key) => vec![key],
            Value::List(items) | Value::Joined(items) => items.iter().flat_map(Value::outputs).collect(),
            Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Secret(..) => vec![],
        }
    }

    /// The secrets in this value.
    pub fn secrets(&self) -> Vec<Name> {
        match self {
            Value::Secret(name, _) => vec![name.clone()],
            Value::List(items) | Value::Joined(items) => items.iter().flat_map(Value::secrets).collect(),
            Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Output(_) => vec![],
        }
    }

    /// Does this value hold a secret?
    pub fn is_secret(&self) -> bool {
        match self {
            Value::Secret(..) => true,
            Value::List(items) | Value::Joined(items) => items.iter().any(Value::is_secret),
            Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Output(_) => false,
        }
    }

    /// The same value, written as `quoting` says wherever it is filled in.
    pub fn quoted(self, quoting: Quoting) -> Value {
        match (self, quoting) {
            (Value::Text(text), _) => Value::Text(quoting.quote(&text)),
            (Value::Secret(name, _), _) => Value::Secret(name, quoting),
            (Value::Joined(parts), Quoting::Compose | Quoting::Dotenv) => {
                let within = if quoting == Quoting::Dotenv { Quoting::WithinDotenv } else { Quoting::WithinCompose };
                let mut quoted = vec!["\"".into()];
                quoted.extend(parts.into_iter().map(|part| part.quoted(within)));
                quoted.push("\"".into());
                Value::Joined(quoted)
            }
            (Value::Joined(parts), _) => Value::Joined(parts.into_iter().map(|part| part.quoted(quoting)).collect()),
            (other, _) => other,
        }
    }

    /// The parts of a text value, in order; one part for anything that is not joined.
    pub fn parts(&self) -> &[Value] {
        match self {
            Value::Joined(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Value {
        Value::Bool(yes)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(yes) => write!(f, "{yes}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                Ok(())
            }
            Value::Output(key) => write!(f, "‹{key}›"),
            Value::Secret(name, _) => write!(f, "‹secret {name}›"),
            Value::Joined(parts) => parts.iter().try_for_each(|part| part.fmt(f)),
        }
    }
}

/// What a playbook may say where a value is wanted: a literal, an output, or a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Text, a number or a boolean, as text.
    Literal(String),
    /// `{ output = "web.ipv4" }`
    Output(OutputKey),
    /// `{ secret = "name" }`, with `generate = 32` where one may be made (characters).
    Secret {
        /// What the secret is called.
        name: Name,
        /// How long a generated one is, in characters; `None` when it must be given.
        generate: Option<u16>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputTable {
    output: Option<String>,
    secret: Option<Name>,
    generate: Option<u16>,
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Input, D::Error> {
        struct InputVisitor;

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, a boolean, { output = \"step.name\" } or { secret = \"name\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Input, E> {
                Ok(Input::Literal(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Input, E> {
                Ok(Input::Literal(number.to_string()))
            }

            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Input, E> {
                Ok(Input::Literal(yes.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Input, A::Error> {
                let table = InputTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                match (table.output, table.secret, table.generate) {
                    (Some(key), None, None) => OutputKey::parse(&key)
                        .map(Input::Output)
                        .ok_or_else(|| de::Error::custom(format!("bad output `{key}`, expected \"step.name\""))),
                    (None, Some(name), generate) => {
                        if generate.is_some_and(|length| !(16..=256).contains(&length)) {
                            return Err(de::Error::custom("bad `generate`, expected 16 to 256 characters"));
                        }
                        Ok(Input::Secret { name, generate })
                    }
                    _ => Err(de::Error::custom("expected either `output`, or `secret` with an optional `generate`")),
                }
            }
        }

        from.deserialize_any(InputVisitor)
    }
}

impl JsonSchema for Input {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Input".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A literal, an output of another step, or a secret by name.",
            "anyOf": [
                { "type": ["string", "integer", "boolean"] },
                {
                    "type": "object",
                    "properties": { "output": { "type": "string", "pattern": r"^[a-z][a-z0-9-]*\.[a-z0-9_]+$" } },
                    "required": ["output"],
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "properties": {
                        "secret": { "type": "string", "pattern": "^[a-z][a-z0-9-]*$" },
                        "generate": { "type": "integer", "minimum": 16, "maximum": 256 }
                    },
                    "required": ["secret"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_show_names_and_nothing_else() {
        let key = OutputKey::parse("web.ipv4").unwrap();
        let name = Name::parse("session-key").unwrap();
        let value =
            Value::Joined(vec!["URL=".into(), Value::Output(key), " KEY=".into(), Value::Secret(name, Quoting::Plain)]);
        assert_eq!(value.to_string(), "URL=‹web.ipv4› KEY=‹secret session-key›");
        assert!(value.is_secret());
        assert_eq!(value.unknown().unwrap().to_string(), "web.ipv4");
    }

    #[test]
    fn inputs_are_read_from_a_playbook() {
        #[derive(Deserialize)]
        struct Holder {
            v: Input,
        }
        let read = |text: &str| toml::from_str::<Holder>(text).map(|h| h.v).map_err(|e| e.message().to_owned());
        assert_eq!(read("v = 3000"), Ok(Input::Literal("3000".into())));
        assert_eq!(read("v = true"), Ok(Input::Literal("true".into())));
        assert!(matches!(read("v = { output = 'db.url' }"), Ok(Input::Output(_))));
        assert!(matches!(read("v = { secret = 'k', generate = 32 }"), Ok(Input::Secret { generate: Some(32), .. })));
        assert!(read("v = { secret = 'k', generate = 4 }").unwrap_err().contains("16 to 256"));
        assert!(read("v = { output = 'db.url', secret = 'k' }").unwrap_err().contains("either"));
        assert!(read("v = { otput = 'db.url' }").unwrap_err().contains("unknown field"));
        assert!(read("v = [1]").unwrap_err().contains("expected text"));
    }
}
