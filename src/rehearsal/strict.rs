//! The strict reading of bodies, the same for every simulator: nothing unknown, nothing of the wrong kind, nothing
//! missing.

use serde_json::{Map, Value};

/// What is wrong with a body.
#[derive(Debug, PartialEq)]
pub(super) enum Wrong {
    /// It is not what it should be altogether.
    Body(String),
    /// This field is wrong, for this reason.
    Field(String, &'static str),
}

/// What a field of a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// Text.
    Text,
    /// A whole number.
    Number,
    /// A list of texts.
    Texts,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Anything; it is looked at where it is used.
    Any,
    /// An identifier or a name.
    Reference,
    /// Yes or no.
    Flag,
    /// Labels.
    Labels,
    /// A list of objects; what is in them is looked at where they are used.
    Objects,
    /// A list of identifiers or names.
    References,
    /// An object.
    Object,
}

/// Reads a body strictly: it must be a JSON object, hold every field marked as required, and nothing that
/// is not listed. Null counts as absent.
pub(super) fn read_body(body: &[u8], fields: &[(&str, Is, bool)]) -> Result<Map<String, Value>, Wrong> {
    let not_json = Wrong::Body;
    if body.iter().all(u8::is_ascii_whitespace) && fields.iter().all(|(_, _, required)| !required) {
        return Ok(Map::new());
    }
    let value: Value = serde_json::from_slice(body).map_err(|e| not_json(format!("invalid JSON: {e}")))?;
    let Value::Object(object) = value else { return Err(not_json("the body is not a JSON object".into())) };
    read_object(object, fields, "")
}

/// Reads an object within a body strictly. `within` is its place, for messages.
pub(super) fn read_object(
    mut object: Map<String, Value>,
    fields: &[(&str, Is, bool)],
    within: &str,
) -> Result<Map<String, Value>, Wrong> {
    object.retain(|_, value| !value.is_null());
    for (name, value) in &object {
        let place = format!("{within}{name}");
        let Some((_, is, _)) = fields.iter().find(|(field, _, _)| field == name) else {
            return Err(Wrong::Field(place, "Unknown field."));
        };
        check(value, *is, &place)?;
    }
    match fields.iter().find(|(field, _, required)| *required && !object.contains_key(*field)) {
        Some((missing, _, _)) => Err(Wrong::Field(format!("{within}{missing}"), "Missing data for required field.")),
        None => Ok(object),
    }
}

fn check(value: &Value, is: Is, place: &str) -> Result<(), Wrong> {
    let list_of = |good: fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(good));
    let good = match is {
        Is::Text => value.is_string(),
        Is::Number => value.is_i64() || value.is_u64(),
        Is::Texts => list_of(Value::is_string),
        Is::OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
        Is::Any => true,
        Is::Reference => value.is_string() || value.is_i64() || value.is_u64(),
        Is::Flag => value.is_boolean(),
        Is::Object => value.is_object(),
        Is::Objects => list_of(Value::is_object),
        Is::References => list_of(|item| item.is_string() || item.is_u64()),
        Is::Labels => return check_labels(value, place),
    };
    if good { Ok(()) } else { Err(Wrong::Field(place.to_owned(), "Not a valid value.")) }
}

/// Label rules: `[prefix/]name`, 63 characters of letters, digits, `-`, `_` and `.`, letters or digits at
/// both ends; values the same or empty.
fn check_labels(labels: &Value, place: &str) -> Result<(), Wrong> {
    let part = |text: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= 63
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let key_is_good = |key: &str| match key.split_once('/') {
        Some((prefix, name)) => prefix.len() <= 253 && prefix.split('.').all(part) && part(name),
        None => part(key),
    };
    let good = labels.as_object().is_some_and(|labels| {
        labels.iter().all(|(key, value)| key_is_good(key) && value.as_str().is_some_and(|v| v.is_empty() || part(v)))
    });
    if good { Ok(()) } else { Err(Wrong::Field(place.to_owned(), "Not valid labels.")) }
}
