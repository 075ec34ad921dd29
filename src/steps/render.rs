//! Fills templates. Text is escaped by the template's file name; values that may be unknown or secret
//! keep their identity, so that they can be shown as placeholders and filled in at the door.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use crate::model::value::Value;

/// Characters of a private plane mark where a value goes; no checked answer can contain them.
const OPEN: char = '\u{F0000}';
const CLOSE: char = '\u{F0001}';

/// Values that a template places but does not see.
#[derive(Default)]
pub struct Held(Vec<Value>);

impl Held {
    /// Puts `value` aside and gives the text that stands for it in a template.
    pub fn hold(&mut self, value: Value) -> String {
        self.0.push(value);
        format!("{OPEN}{}{CLOSE}", self.0.len() - 1)
    }
}

/// Renders `template`, called `name`, with `context`, and puts the `held` values in their places.
///
/// In `.yaml` templates every value is written as a JSON string; elsewhere as it is. An unknown name in
/// the template is an error: templates ship with the program, so it means a bug and is found by tests.
pub fn render(name: &str, template: &str, context: minijinja::Value, held: Held) -> Result<Value, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    environment.set_syntax(syntax.build()?);
    environment.set_auto_escape_callback(|name| match name.rsplit_once('.') {
        Some((_, "yaml" | "json")) => AutoEscape::Json,
        _ => AutoEscape::None,
    });
    let text = environment.template_from_named_str(name, template)?.render(context)?;

    let mut parts = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (index, after) = after.split_once(CLOSE).unwrap_or(("", after));
        parts.push(Value::Text(before.to_owned()));
        let value = index.parse::<usize>().ok().and_then(|i| held.0.get(i));
        parts.extend(value.into_iter().flat_map(Value::parts).cloned());
        rest = after;
    }
    parts.push(Value::Text(rest.to_owned()));
    Ok(join(parts))
}

/// Joins parts, merging neighbouring text.
fn join(parts: Vec<Value>) -> Value {
    let mut merged: Vec<Value> = Vec::new();
    for part in parts {
        match (merged.last_mut(), part) {
            (Some(Value::Text(text)), Value::Text(more)) => text.push_str(&more),
            (_, part) => merged.push(part),
        }
    }
    match merged.len() {
        1 => merged.remove(0),
        _ => Value::Joined(merged),
    }
}
