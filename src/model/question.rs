//! Questions: what a step must know, how an answer is typed, and how it stands in the playbook. The full-screen
//! wizard, the plain prompts and `--set` ask and read the same ones.

use toml_edit::{Array, InlineTable, Value};

use crate::model::name::Name;
use crate::model::value::OutputKey;

/// Longer answers than this are refused: nothing a playbook holds is as long.
pub const LONGEST: usize = 2000;

/// Where an answer stands in the playbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// At the top, such as `name`.
    Head(&'static str),
    /// In the step of a kind, such as `size` of `server`.
    Step(&'static str, &'static str),
    /// Which of these answers the step of a kind gives, such as `image` or `compose` of `app`.
    Which(&'static str, &'static [&'static str]),
}

impl Key {
    /// What `--set` calls it: `name`, `server.size`, `app`.
    pub fn as_text(&self) -> String {
        match self {
            Key::Head(key) => (*key).to_owned(),
            Key::Step(kind, key) => format!("{kind}.{key}"),
            Key::Which(kind, _) => (*kind).to_owned(),
        }
    }

    /// The step it belongs to.
    pub fn step(&self) -> Option<&'static str> {
        match self {
            Key::Head(_) => None,
            Key::Step(kind, _) | Key::Which(kind, _) => Some(kind),
        }
    }
}

/// Questions that belong together, on one page of the wizard.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its name, lasting: what a half-written playbook goes on with.
    pub id: &'static str,
    /// What the rail calls it.
    pub title: &'static str,
    /// One or two sentences above the questions.
    pub about: String,
    /// The questions, in order.
    pub questions: Vec<Question>,
    /// Answers that mean nothing beside these, by step and key; taken out when the page is saved.
    pub drops: Vec<(&'static str, &'static str)>,
    /// More to read: names with a sentence each.
    pub notes: Vec<(String, String)>,
    /// The step whose resources are shown as far as they can be told.
    pub shows: Option<&'static str>,
    /// What tells which of them are there already.
    pub there: Option<Lookup>,
}

impl Page {
    /// A page that asks `questions`.
    pub fn new(id: &'static str, title: &'static str, about: &str, questions: Vec<Question>) -> Page {
        Page { id, title, about: about.to_owned(), questions, drops: vec![], notes: vec![], shows: None, there: None }
    }

    /// Shows what the step `kind` will make, and what `there` finds of it.
    pub fn showing(mut self, kind: &'static str, there: Option<Lookup>) -> Page {
        self.shows = Some(kind);
        self.there = there;
        self
    }

    /// Says which answers of the step `kind` mean nothing beside these.
    pub fn dropping(mut self, kind: &'static str, keys: &[&'static str]) -> Page {
        self.drops.extend(keys.iter().map(|key| (kind, *key)));
        self
    }
}

/// The choice that a step is not wanted at all.
pub const NONE: &str = "none";

/// One thing to be known.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where the answer goes.
    pub key: Key,
    /// Its label: a few words.
    pub ask: &'static str,
    /// One or two sentences for those who have never seen it.
    pub help: String,
    /// How it is typed.
    pub field: Field,
    /// What is taken when nothing is typed.
    pub default: Option<String>,
    /// May it be left empty?
    pub optional: bool,
    /// Where more choices than those of the field come from.
    pub lookup: Option<Lookup>,
}

impl Question {
    /// A question whose answer goes to `key`, which must be answered and has no default.
    pub fn new(key: Key, ask: &'static str, field: Field, help: impl Into<String>) -> Question {
        Question { key, ask, help: help.into(), field, default: None, optional: false, lookup: None }
    }

    /// What is taken when nothing is typed.
    pub fn default(mut self, text: impl Into<String>) -> Question {
        self.default = Some(text.into());
        self
    }

    /// It may be left empty.
    pub fn optional(mut self) -> Question {
        self.optional = true;
        self
    }

    /// Choices come from an account.
    pub fn lookup(mut self, lookup: Lookup) -> Question {
        self.lookup = Some(lookup);
        self
    }

    /// Does the answer `none` mean that the step is not wanted?
    pub fn may_remove_step(&self) -> bool {
        matches!(&self.field, Field::Choice(choices) if choices.iter().any(|choice| choice.value == NONE))
            && matches!(self.key, Key::Which(..) | Key::Step(_, "provider"))
    }

    /// Reads what was typed. `None` is a permitted empty answer; an error says what would be right.
    pub fn read(&self, typed: &str) -> Result<Option<Value>, String> {
        let text = typed.trim();
        let text = match (text.is_empty(), &self.default) {
            (true, Some(default)) => default,
            _ => text,
        };
        if text.is_empty() {
            return if self.optional { Ok(None) } else { Err("an answer is needed here".to_owned()) };
        }
        if text.chars().any(|c| c.is_control()) {
            return Err("one line without control characters, please".to_owned());
        }
        if text.chars().count() > LONGEST {
            return Err(format!("at most {LONGEST} characters"));
        }
        self.field.read(text).map(Some)
    }
}

/// A rule for a text: says what would be right when it is broken.
pub type Rule = fn(&str) -> Result<(), String>;

/// How an answer is typed.
#[derive(Clone, Debug)]
pub enum Field {
    /// A text.
    Text(Rule),
    /// One of these.
    Choice(Vec<Choice>),
    /// Yes or no.
    YesNo,
    /// A whole number.
    Number(i64, i64),
    /// A public key.
    PublicKey(Rule),
    /// Several texts, with commas between.
    List(Rule),
    /// A plan's name, several in order of preference, or cores and gigabytes such as `2/4`.
    Size,
    /// Variables: `NAME=value`, with `secret:name`, `generate:name` or `output:step.name` for a value.
    Variables,
    /// An amount a month: `40 EUR`, or one for each currency: `40 EUR, 30 USD`.
    Budget,
}

/// One choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What is written.
    pub value: String,
    /// More about it, in columns.
    pub cells: Vec<String>,
    /// Can it be taken now? What cannot says why in its cells.
    pub usable: bool,
}

impl Choice {
    /// A choice that can be taken.
    pub fn new(value: impl Into<String>, about: impl Into<String>) -> Choice {
        Choice { value: value.into(), cells: vec![about.into()], usable: true }
    }
}

/// Where choices come from that only an account or this machine knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lookup {
    /// Providers of servers side by side.
    Providers,
    /// The places of a provider of servers.
    Places(String),
    /// The plans of a provider of servers in a place.
    Plans(String, String),
    /// Public keys in the agent and the home folder.
    PublicKeys,
    /// What a provider's account holds: zones, organisations, regions.
    Account(&'static str, &'static str),
    /// The records of a provider's zone, by name.
    Records(&'static str, String),
}

/// Choices that were looked up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices {
    /// What the cells of each choice are.
    pub columns: Vec<&'static str>,
    /// The choices.
    pub all: Vec<Choice>,
    /// Where they are from, such as `prices of 2026-09-03` or `read now`.
    pub source: String,
}

fn one_of(choices: &[Choice]) -> String {
    let values: Vec<&str> = choices.iter().map(|choice| choice.value.as_str()).collect();
    format!("one of {}", values.join(", "))
}

impl Field {
    /// Reads `text`, which is not empty. An error says what would be right.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        match self {
            Field::Text(rule) => rule(text).map(|()| text.into()),
            Field::PublicKey(rule) => {
                rule(text)?;
                Ok(Value::Array(Array::from_iter([text])))
            }
            Field::List(rule) => {
                let all: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
                all.iter().try_for_each(|part| rule(part))?;
                Ok(Value::Array(all.into_iter().collect()))
            }
            Field::Choice(choices) => match choices.iter().any(|choice| choice.value == text) {
                true => Ok(text.into()),
                false => Err(one_of(choices)),
            },
            Field::YesNo => match text.to_lowercase().as_str() {
                "yes" | "y" | "true" => Ok(true.into()),
                "no" | "n" | "false" => Ok(false.into()),
                _ => Err("yes or no".to_owned()),
            },
            Field::Number(least, most) => match text.parse::<i64>() {
                Ok(number) if (*least..=*most).contains(&number) => Ok(number.into()),
                _ => Err(format!("a whole number from {least} to {most}")),
            },
            Field::Size => read_size(text),
            Field::Variables => read_variables(text),
            Field::Budget => read_budget(text),
        }
    }

    /// How a value of the playbook would have been typed; `None` for what this field cannot say.
    pub fn show(&self, value: &Value) -> Option<String> {
        match (self, value) {
            (Field::YesNo, Value::Boolean(yes)) => Some(if *yes.value() { "yes" } else { "no" }.to_owned()),
            (Field::Number(..), Value::Integer(number)) => Some(number.value().to_string()),
            (Field::Text(_) | Field::Choice(_), Value::String(text)) => Some(text.value().clone()),
            (Field::PublicKey(_), Value::Array(all)) if all.len() == 1 => all.get(0)?.as_str().map(str::to_owned),
            (Field::Size, Value::String(name)) => Some(name.value().clone()),
            (Field::Size | Field::List(_), Value::Array(all)) => {
                Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
            }
            (Field::Size, Value::InlineTable(size)) => {
                Some(format!("{}/{}", size.get("cpu")?.as_integer()?, size.get("memory_gb")?.as_integer()?))
            }
            (Field::Variables, Value::InlineTable(table)) => {
                let shown: Option<Vec<String>> = table.iter().map(|(name, value)| show_variable(name, value)).collect();
                Some(shown?.join(" "))
            }
            (Field::Budget, Value::InlineTable(_)) => show_budget(value),
            (Field::Budget, Value::Array(all)) => {
                all.iter().map(show_budget).collect::<Option<Vec<_>>>().map(|all| all.join(", "))
            }
            _ => None,
        }
    }
}

fn read_size(text: &str) -> Result<Value, String> {
    const RIGHT: &str = "cores and gigabytes such as 2/4, or a plan's name";
    if let Some((cpu, memory)) = text.split_once('/') {
        let number = |text: &str| text.trim().parse::<i64>().ok().filter(|n| (1..=16384).contains(n));
        let (Some(cpu), Some(memory)) = (number(cpu), number(memory)) else { return Err(RIGHT.to_owned()) };
        let mut table = InlineTable::new();
        table.insert("cpu", cpu.into());
        table.insert("memory_gb", memory.into());
        return Ok(Value::InlineTable(table));
    }
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let legal = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c))
    };
    match names.as_slice() {
        all if !all.iter().all(legal) => Err(RIGHT.to_owned()),
        [name] => Ok((*name).into()),
        _ => Ok(Value::Array(names.into_iter().collect())),
    }
}

fn read_budget(text: &str) -> Result<Value, String> {
    const RIGHT: &str = "an amount and a currency such as 40 EUR, or 40 EUR, 30 USD";
    let mut all = Array::new();
    for part in text.split(',') {
        let (amount, currency) = part.trim().split_once(' ').ok_or(RIGHT)?;
        let currency = currency.trim();
        let decimal = amount.parse::<rust_decimal::Decimal>().ok().ok_or(RIGHT)?;
        let few = amount.split_once('.').is_none_or(|(_, cents)| cents.len() <= 2);
        if decimal.is_sign_negative() || !few || decimal > rust_decimal::Decimal::from(1_000_000) {
            return Err(RIGHT.to_owned());
        }
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(RIGHT.to_owned());
        }
        let known = |value: &Value| value.as_inline_table().and_then(|t| t.get("currency")?.as_str()) == Some(currency);
        if all.iter().any(known) {
            return Err(format!("{currency} only once"));
        }
        let mut table = InlineTable::new();
        let number = match decimal.normalize().to_string().parse::<i64>() {
            Ok(whole) => whole.into(),
            Err(_) => decimal.normalize().to_string().parse::<Value>().ok().ok_or(RIGHT)?,
        };
        table.insert("monthly", number);
        table.insert("currency", currency.into());
        all.push(table);
    }
    Ok(match all.len() {
        1 => all.remove(0),
        _ => Value::Array(all),
    })
}

fn show_budget(value: &Value) -> Option<String> {
    let table = value.as_inline_table()?;
    let amount = table.get("monthly")?.to_string();
    Some(format!("{} {}", amount.trim(), table.get("currency")?.as_str()?))
}

fn read_variables(text: &str) -> Result<Value, String> {
    const RIGHT: &str = "NAME=value, with spaces between; values with spaces in quotes";
    let words = shlex::split(text).ok_or("a quotation mark is never closed")?;
    let mut table = InlineTable::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or(RIGHT)?;
        let legal = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !legal {
            return Err(format!("`{name}` is no variable's name: letters, digits and underscores, please"));
        }
        if table.contains_key(name) {
            return Err(format!("{name} only once"));
        }
        table.insert(name, read_variable(value)?);
    }
    Ok(Value::InlineTable(table))
}

fn read_variable(text: &str) -> Result<Value, String> {
    let secret = |name: &str, made: bool| {
        let name = Name::parse(name).ok_or("a secret's name has lower-case letters, digits and hyphens")?;
        let mut table = InlineTable::new();
        table.insert("secret", name.as_str().into());
        if made {
            table.insert("generate", 32.into());
        }
        Ok(Value::InlineTable(table))
    };
    match text.split_once(':') {
        Some(("secret", name)) => secret(name, false),
        Some(("generate", name)) => secret(name, true),
        Some(("output", key)) => {
            OutputKey::parse(key).ok_or("an output is a step and a name, such as output:database.url")?;
            let mut table = InlineTable::new();
            table.insert("output", key.into());
            Ok(Value::InlineTable(table))
        }
        _ => Ok(text.into()),
    }
}

fn show_variable(name: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Boolean(yes) => yes.value().to_string(),
        Value::InlineTable(table) => match (table.get("output"), table.get("secret"), table.get("generate")) {
            (Some(output), _, _) => format!("output:{}", output.as_str()?),
            (_, Some(secret), None) => format!("secret:{}", secret.as_str()?),
            (_, Some(secret), Some(length)) if length.as_integer() == Some(32) => {
                format!("generate:{}", secret.as_str()?)
            }
            _ => return None,
        },
        _ => return None,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.,:;/@%+=".contains(c);
    match text.chars().all(plain) {
        true => Some(format!("{name}={text}")),
        false => Some(format!("{name}={}", shlex::try_quote(&text).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(field: &Field, text: &str) -> (String, String) {
        let value = field.read(text).unwrap();
        (value.to_string(), field.show(&value).unwrap())
    }

    #[test]
    fn what_was_typed_stands_in_the_playbook_and_can_be_shown_again() {
        let cases = [
            (Field::YesNo, "Y", "true", "yes"),
            (Field::Number(1, 65535), "3000", "3000", "3000"),
            (Field::Size, "2/4", "{ cpu = 2, memory_gb = 4 }", "2/4"),
            (Field::Size, "cx23, cx33", r#"["cx23", "cx33"]"#, "cx23, cx33"),
            (Field::Budget, "40 EUR", r#"{ monthly = 40, currency = "EUR" }"#, "40 EUR"),
            (
                Field::Budget,
                "39.90 EUR, 30 USD",
                r#"[{ monthly = 39.9, currency = "EUR" }, { monthly = 30, currency = "USD" }]"#,
                "39.9 EUR, 30 USD",
            ),
            (
                Field::Variables,
                "A='b c' KEY=generate:session-key URL=output:database.url P=secret:pay",
                r#"{ A = "b c", KEY = { secret = "session-key", generate = 32 }, URL = { output = "database.url" }, P = { secret = "pay" } }"#,
                "A='b c' KEY=generate:session-key URL=output:database.url P=secret:pay",
            ),
        ];
        for (field, typed, stands, shown) in cases {
            assert_eq!(round(&field, typed), (stands.to_owned(), shown.to_owned()), "{typed}");
            // What is shown means the same when it is typed.
            assert_eq!(round(&field, shown).0, stands);
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_what_would_be() {
        let cases = [
            (Field::YesNo, "perhaps"),
            (Field::Number(1, 65535), "65536"),
            (Field::Number(1, 65535), "12a"),
            (Field::Size, "2/x"),
            (Field::Size, "2/0"),
            (Field::Size, "CX 23"),
            (Field::Size, ","),
            (Field::Budget, "40"),
            (Field::Budget, "-1 EUR"),
            (Field::Budget, "1.005 EUR"),
            (Field::Budget, "1 EUR, 2 EUR"),
            (Field::Budget, "1 euro"),
            (Field::Variables, "no-equals"),
            (Field::Variables, "A=1 A=2"),
            (Field::Variables, "A='open"),
            (Field::Variables, "1A=x"),
            (Field::Variables, "A=output:nothing"),
            (Field::Variables, "A=secret:Bad_Name"),
        ];
        for (field, typed) in cases {
            assert!(!field.read(typed).unwrap_err().is_empty(), "{typed}");
        }
        let question = Question::new(Key::Head("name"), "name", Field::Text(|_| Ok(())), "");
        for typed in ["", "   ", "a\nb", "a\u{1b}[2J", &"x".repeat(LONGEST + 1)] {
            assert!(question.read(typed).is_err(), "{typed:?}");
        }
        assert!(question.clone().optional().read(" ").unwrap().is_none());
        assert_eq!(question.default("acme").read("").unwrap().unwrap().as_str(), Some("acme"));
    }
}
