//! `${VAR}` in a compose file, as Compose fills it (docs.docker.com/reference/compose-file/interpolation): defaults, errors
//! and alternatives, nested in each other; `$$` is a dollar sign.

use serde_json::Value;

/// Stands for a value that is known only on the server: a secret, or an output that is not there yet.
pub(super) const HIDDEN: char = '\u{F0002}';

/// What a variable is worth: `None` when nothing sets it.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// `text` with its variables filled in. An error says what is wrong: a variable that nothing sets, the author's own message
/// of a `:?`, or a form that Compose would not read either.
pub(super) fn interpolate(text: &str, lookup: &Lookup<'_>) -> Result<String, String> {
    within(text, lookup, 0)
}

/// How deep variables may stand in each other's defaults.
const DEEPEST: usize = 16;

fn within(text: &str, lookup: &Lookup<'_>, depth: usize) -> Result<String, String> {
    if depth > DEEPEST {
        return Err(format!("variables stand in each other more than {DEEPEST} deep"));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| format!("`${{{}` has no closing brace", head(after)))?;
            out.push_str(&braced(&after[..end], lookup, depth + 1)?);
            rest = &after[end + 1..];
        } else {
            let name = name_at(rest);
            if name.is_empty() {
                return Err(format!("`${}` is no variable; a dollar sign is written `$$`", head(rest)));
            }
            out.push_str(&lookup(name).ok_or_else(|| unset(name))?);
            rest = &rest[name.len()..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Every text of `document` filled in; problems are told with the place, such as `services.db.environment`.
pub(super) fn fill(document: &Value, place: &str, lookup: &Lookup<'_>, problems: &mut Vec<String>) -> Value {
    let below = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match document {
        Value::String(text) => match interpolate(text, lookup) {
            Ok(text) => Value::String(text),
            Err(why) => {
                problems.push(format!("{place}: {why}"));
                Value::Null
            }
        },
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, place, lookup, problems)).collect()),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), fill(value, &below(key), lookup, problems))).collect()
        }
        other => other.clone(),
    }
}

fn unset(name: &str) -> String {
    format!("`${{{name}}}` has no value")
}

fn head(text: &str) -> String {
    text.chars().take(20).collect()
}

fn name_at(text: &str) -> &str {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !legal(c)).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

/// Where the brace that closes what stands before `text` is.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        before = c;
    }
    None
}

/// What stands between the braces: a name, and what to do when it is set, unset or empty.
fn braced(inside: &str, lookup: &Lookup<'_>, depth: usize) -> Result<String, String> {
    let name = name_at(inside);
    if name.is_empty() {
        return Err(format!("`${{{}}}` names no variable", head(inside)));
    }
    let value = lookup(name);
    let rest = &inside[name.len()..];
    // A colon makes an empty value count as none.
    let (counts, rest) = match rest.strip_prefix(':') {
        Some(rest) => (value.clone().filter(|value| !value.is_empty()), rest),
        None => (value.clone(), rest),
    };
    match (rest.chars().next(), rest.get(1..).unwrap_or_default()) {
        (None, _) => value.ok_or_else(|| unset(name)),
        (Some('-'), default) => counts.map_or_else(|| within(default, lookup, depth), Ok),
        (Some('+'), other) => counts.map_or_else(|| Ok(String::new()), |_| within(other, lookup, depth)),
        (Some('?'), why) => counts.ok_or_else(|| match within(why, lookup, depth) {
            Ok(why) if !why.is_empty() => format!("`${{{name}}}` has no value: {why}"),
            _ => unset(name),
        }),
        _ => Err(format!("`${{{}}}` is no form that Compose knows", head(inside))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        interpolate(text, &|name| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn every_form_of_compose_means_what_compose_makes_of_it() {
        for (text, right) in [
            ("$SET-${SET}", "value-value"),
            ("${SET:-no}${NONE:-yes}${EMPTY:-yes}${EMPTY-no}", "valueyesyes"),
            ("${NONE-a${NONE:-b${SET}}c}", "abvaluec"),
            ("${SET:+on}${NONE:+off}${EMPTY:+off}${EMPTY+on}", "onon"),
            ("$$SET costs 5$$", "$SET costs 5$"),
            ("${SET:?must}${EMPTY?must}", "value"),
            ("no variables {at} all", "no variables {at} all"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(right), "{text}");
        }
    }

    #[test]
    fn what_nothing_sets_is_said_by_name() {
        for (text, why) in [
            ("${NONE}", "`${NONE}` has no value"),
            ("x$NONE.y", "`${NONE}` has no value"),
            ("${NONE:?set me}", "`${NONE}` has no value: set me"),
            ("${EMPTY:?}", "`${EMPTY}` has no value"),
            ("${NONE", "no closing brace"),
            ("5 $ a day", "a dollar sign is written `$$`"),
            ("${SET!x}", "no form that Compose knows"),
        ] {
            assert!(filled(text).unwrap_err().contains(why), "{text}: {:?}", filled(text));
        }
    }
}
