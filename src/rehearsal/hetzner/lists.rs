//! Lists: filters, label selectors, order and pages.

use serde_json::{Value, json};

use crate::rehearsal::hetzner::refusal::Refusal;
use crate::rehearsal::serve::{Answer, Request};

/// The page of `entries` the request asks for, under `key`, after filtering and sorting. `path` stands in
/// the links to other pages.
pub(super) fn list(mut entries: Vec<Value>, key: &str, request: &Request) -> Result<Answer, Refusal> {
    for (filter, field) in
        [("name", "name"), ("fingerprint", "fingerprint"), ("ip", "ip"), ("architecture", "architecture")]
    {
        if let Some(wanted) = request.query(filter) {
            entries.retain(|entry| entry[field] == wanted);
        }
    }
    for filter in ["status", "type"] {
        let wanted: Vec<&str> =
            request.query.iter().filter(|(name, _)| name == filter).map(|(_, value)| value.as_str()).collect();
        if !wanted.is_empty() {
            entries.retain(|entry| entry[filter].as_str().is_some_and(|value| wanted.contains(&value)));
        }
    }
    if let Some(selector) = request.query("label_selector") {
        let selector = parse_selector(selector)?;
        entries.retain(|entry| selector.iter().all(|requirement| requirement.is_met(&entry["labels"])));
    }
    sort(&mut entries, request)?;
    page(entries, key, request)
}

fn sort(entries: &mut [Value], request: &Request) -> Result<(), Refusal> {
    let orders: Vec<&str> = request.query.iter().filter(|(key, _)| key == "sort").map(|(_, v)| v.as_str()).collect();
    // The last order named weighs least, so it is applied first.
    for order in orders.into_iter().rev() {
        let (field, direction) = order.split_once(':').unwrap_or((order, "asc"));
        if !["id", "name", "created"].contains(&field) || !["asc", "desc"].contains(&direction) {
            return Err(Refusal::invalid("sort", "Not a valid sort order."));
        }
        entries.sort_by(|a, b| {
            let ordering = match (&a[field], &b[field]) {
                (Value::Number(a), Value::Number(b)) => a.as_i64().cmp(&b.as_i64()),
                (a, b) => a.as_str().cmp(&b.as_str()),
            };
            if direction == "desc" { ordering.reverse() } else { ordering }
        });
    }
    Ok(())
}

fn page(entries: Vec<Value>, key: &str, request: &Request) -> Result<Answer, Refusal> {
    let number = |name: &str, default: usize, most: usize| match request.query(name) {
        None => Ok(default),
        Some(text) => match text.parse::<usize>() {
            Ok(number) if number >= 1 => Ok(number.min(most)),
            _ => Err(Refusal::invalid(name, "Not a valid integer.")),
        },
    };
    let page = number("page", 1, usize::MAX)?;
    let per_page = number("per_page", 25, 50)?;
    let total = entries.len();
    let last = total.div_ceil(per_page).max(1);
    let next = (page < last).then_some(page + 1);
    let previous = (page > 1).then_some(page - 1);
    let shown: Vec<Value> = entries.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();

    // Relative, so that no client is led to another host than the one it asked; filters stay as they were.
    let kept: String = request
        .query
        .iter()
        .filter(|(key, _)| key != "page" && key != "per_page")
        .map(|(key, value)| format!("&{key}={}", percent_encode(value)))
        .collect();
    let mut links = Vec::new();
    for (relation, number) in [("prev", previous), ("next", next), ("last", Some(last))] {
        if let Some(number) = number {
            links.push(format!("</v1{}?page={number}&per_page={per_page}{kept}>; rel={relation}", request.path));
        }
    }
    let body = json!({
        key: shown,
        "meta": { "pagination": {
            "page": page, "per_page": per_page, "previous_page": previous, "next_page": next, "last_page": last,
            "total_entries": total,
        } },
    });
    Ok(Answer { status: 200, body: Some(body), headers: vec![("link", links.join(", "))] })
}

/// `text` as a value in a query.
fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// One requirement of a label selector.
#[derive(Debug, PartialEq)]
pub(super) enum Requirement {
    /// `k=v` and `k in (a,b)`.
    In(String, Vec<String>),
    /// `k!=v` and `k notin (a,b)`; also met where there is no such label.
    NotIn(String, Vec<String>),
    /// `k`
    Has(String),
    /// `!k`
    HasNot(String),
}

impl Requirement {
    /// Do these labels meet it?
    pub(super) fn is_met(&self, labels: &Value) -> bool {
        let value = |key: &str| labels[key].as_str();
        match self {
            Requirement::In(key, values) => value(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Requirement::Has(key) => value(key).is_some(),
            Requirement::HasNot(key) => value(key).is_none(),
        }
    }
}

/// Reads a label selector.
pub(super) fn parse_selector(text: &str) -> Result<Vec<Requirement>, Refusal> {
    let bad = || Refusal::invalid("label_selector", "Not a valid label selector.");
    let mut requirements = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        // A comma within parentheses belongs to its set.
        let open = rest.find('(');
        let comma = rest.find(',');
        let end = match (open, comma) {
            (Some(open), Some(comma)) if open < comma => {
                let close = rest.find(')').ok_or_else(bad)?;
                rest[close..].find(',').map_or(rest.len(), |i| close + i)
            }
            (_, Some(comma)) => comma,
            (_, None) => rest.len(),
        };
        requirements.push(parse_requirement(rest[..end].trim()).ok_or_else(bad)?);
        rest = rest.get(end + 1..).unwrap_or_default().trim();
    }
    Ok(requirements)
}

fn parse_requirement(text: &str) -> Option<Requirement> {
    let key = |text: &str| {
        let text = text.trim();
        let legal = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        legal.then(|| text.to_owned())
    };
    let set = |text: &str| -> Option<Vec<String>> {
        let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((name, values)) = text.split_once(" notin ") {
        return Some(Requirement::NotIn(key(name)?, set(values)?));
    }
    if let Some((name, values)) = text.split_once(" in ") {
        return Some(Requirement::In(key(name)?, set(values)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In(key(name)?, vec![value.trim().to_owned()]));
    }
    match text.strip_prefix('!') {
        Some(name) => key(name).map(Requirement::HasNot),
        None => key(text).map(Requirement::Has),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select() {
        let labels = json!({ "env": "prod", "team": "a" });
        let selects = |text: &str| parse_selector(text).unwrap().iter().all(|r| r.is_met(&labels));
        for yes in [
            "env=prod",
            "env==prod",
            "env!=dev",
            "env",
            "!other",
            "env in (dev, prod)",
            "other notin (x)",
            "env=prod,team in (a,b),!x",
        ] {
            assert!(selects(yes), "{yes}");
        }
        for no in ["env=dev", "env!=prod", "other", "!env", "env notin (prod,x)", "env=prod,team=b"] {
            assert!(!selects(no), "{no}");
        }
        for bad in ["=x", "env in prod", "a b", "env in (a"] {
            assert!(parse_selector(bad).is_err(), "{bad}");
        }
    }
}
