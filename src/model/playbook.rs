//! The playbook: answers, in order of steps. What the steps' answers mean is not known here.

use std::any::{Any, TypeId};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Visitor};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::model::money::Money;
use crate::model::name::{NAME_RULE, Name, in_ascii, is_email, is_host_name};
use crate::model::problem::Problem;

/// The playbook format this program reads and writes.
pub const SCHEMA: i64 = 1;

/// A playbook that has been read. Its steps' answers are read by the steps.
#[derive(Clone, Debug)]
pub struct Playbook {
    /// Its name: the owner of every resource it makes.
    pub name: Name,
    /// The apex domain, if it has one.
    pub domain: Option<String>,
    /// Where those who issue certificates can reach its owner.
    pub email: Option<String>,
    /// What it may cost, in each currency at most once.
    pub budget: Vec<Budget>,
    /// Its steps, in order.
    pub steps: Vec<Entry>,
}

/// What a playbook may cost per month.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The most it may cost per month, net of tax.
    #[schemars(with = "f64", range(min = 0))]
    #[serde(deserialize_with = "amount")]
    pub monthly: Decimal,
    /// The currency's code, such as `EUR`.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    #[serde(deserialize_with = "currency")]
    pub currency: String,
}

/// Reads an amount of money: a number, and not a negative one.
fn amount<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
    struct Amount;

    impl Visitor<'_> for Amount {
        type Value = Decimal;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an amount such as 40 or 39.99")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Decimal, E> {
            match u64::try_from(number) {
                Ok(number) => Ok(number.into()),
                Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
            }
        }

        // The shortest text of a float is what was typed, so no cent is lost on the way.
        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Decimal, E> {
            let amount = number.to_string().parse::<Decimal>().ok().filter(|amount| !amount.is_sign_negative());
            amount.ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
        }
    }

    from.deserialize_any(Amount)
}

/// Reads a currency's code: three capital letters (ISO 4217).
fn currency<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let code = String::deserialize(from)?;
    match code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(code),
        false => Err(de::Error::custom(format!(
            "bad currency `{code}`, expected a code of three capital letters such as \"EUR\""
        ))),
    }
}

/// One budget, or one for each currency.
#[derive(Clone, Debug, Default)]
pub struct Budgets(pub Vec<Budget>);

impl<'de> Deserialize<'de> for Budgets {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Budgets, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Budgets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ monthly = 40, currency = \"EUR\" }, or a list of such budgets in different currencies")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Budgets, A::Error> {
                let budget = Budget::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Budgets(vec![budget]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Budgets, A::Error> {
                let mut all: Vec<Budget> = Vec::new();
                while let Some(budget) = seq.next_element::<Budget>()? {
                    if all.iter().any(|other| other.currency == budget.currency) {
                        return Err(de::Error::custom(format!("two budgets in {}", budget.currency)));
                    }
                    all.push(budget);
                }
                Ok(Budgets(all))
            }
        }

        from.deserialize_any(OneOrMore)
    }
}

impl JsonSchema for Budgets {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Budgets".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Budget>();
        schemars::json_schema!({
            "description": "What it may cost a month, net: one budget, or one for each currency.",
            "anyOf": [one, { "type": "array", "items": one }]
        })
    }
}

impl Budget {
    /// The budget as money.
    pub fn money(&self) -> Money {
        Money { amount: self.monthly, currency: self.currency.clone() }
    }
}

/// One `[[step]]` of a playbook.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which step: the value of `use`.
    pub kind: String,
    /// Its name within the playbook: `id`, or else the value of `use`.
    pub id: Name,
    /// Where it begins in the text.
    pub at: Range<usize>,
    /// Where its `use` stands.
    pub kind_at: Range<usize>,
    /// The playbook as it was parsed, and which of its steps this is.
    text: Arc<Parsed>,
    index: usize,
    /// Answers that were read already: every step asks for those of many others.
    read: Arc<Mutex<Vec<Known>>>,
}

self_cell::self_cell! {
    /// A text, and its top-level tables called `step`.
    struct Parsed {
        owner: String,
        #[covariant]
        dependent: Steps,
    }
    impl {Debug}
}

type Steps<'a> = Vec<Spanned<DeValue<'a>>>;

/// Answers as one type.
type Known = (TypeId, Arc<dyn Any + Send + Sync>);

fn steps_of(text: &str) -> Steps<'_> {
    let (mut document, _) = DeTable::parse_recoverable(text);
    match document.get_mut().remove("step").map(Spanned::into_inner) {
        Some(DeValue::Array(steps)) => steps.into_iter().collect(),
        _ => vec![],
    }
}

impl Entry {
    /// Reads the answers as `T`, once; the problem says where and why they do not fit.
    pub fn answers<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, Problem> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.iter().find(|(kind, _)| *kind == TypeId::of::<T>());
        if let Some(known) = known.and_then(|(_, known)| known.clone().downcast::<T>().ok()) {
            return Ok(known);
        }
        let mut table = self.table().cloned().unwrap_or_default();
        for read_already in ["use", "id"] {
            table.remove(read_already);
        }
        let answers = T::deserialize(Deserializer::from(Spanned::new(self.at.clone(), table)));
        let answers = Arc::new(answers.map_err(|e| Problem::from_toml(&e, self.at.clone()))?);
        read.push((TypeId::of::<T>(), answers.clone()));
        Ok(answers)
    }

    /// Where the answer called `key` stands, following dots into tables; the nearest thing that
    /// contains it when it is not there.
    pub fn place_of(&self, key: &str) -> Range<usize> {
        let mut place = self.at.clone();
        let mut within = self.table();
        for part in key.split('.') {
            let Some(value) = within.and_then(|table| table.get(part)) else { break };
            place = value.span();
            within = value.get_ref().as_table();
        }
        place
    }

    fn table(&self) -> Option<&DeTable<'_>> {
        self.text.borrow_dependent().get(self.index)?.get_ref().as_table()
    }
}

impl Playbook {
    /// Reads a playbook's text. Gives every problem that can be seen without knowing the steps.
    pub fn parse(text: &str) -> Result<Playbook, Vec<Problem>> {
        let (mut table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(in_plain_words(text, errors.iter().map(|e| Problem::from_toml(e, 0..1)).collect()));
        }
        // A newer schema may mean anything, so nothing else is judged before it.
        check_schema(table.get_ref()).map_err(|problem| vec![problem])?;

        let mut problems = Vec::new();
        let parsed = Arc::new(Parsed::new(text.to_owned(), |text| steps_of(text)));
        let steps = read_steps(table.get_mut(), &parsed, &mut problems);
        let head = match Head::deserialize(Deserializer::from(table)) {
            Ok(head) => head,
            Err(e) => {
                problems.insert(0, Problem::from_toml(&e, 0..1));
                return Err(problems);
            }
        };
        if let Some(domain) = &head.domain
            && !is_host_name(domain.get_ref())
        {
            let bad = Problem::new(domain.span(), format!("bad domain `{}`", domain.get_ref()));
            problems.push(match in_ascii(domain.get_ref()) {
                Some(ascii) => bad.expected(format!("the same in ASCII: \"{ascii}\"")),
                None => bad.expected("a domain such as \"acme.dev\""),
            });
        }
        if let Some(email) = &head.email
            && !is_email(email.get_ref())
        {
            problems.push(
                Problem::new(email.span(), format!("bad address `{}`", email.get_ref()))
                    .expected("an e-mail address such as \"me@acme.dev\""),
            );
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let email = head.email.map(Spanned::into_inner);
        let domain = head.domain.map(Spanned::into_inner);
        Ok(Playbook { name: head.name, domain, email, budget: head.budget.0, steps })
    }

    /// The step of this name.
    pub fn step(&self, id: &str) -> Option<&Entry> {
        self.steps.iter().find(|entry| entry.id.as_str() == id)
    }
}

fn one_bracket(at: Range<usize>) -> Problem {
    Problem::new(at, "`[step]` makes one table").expected("`[[step]]`, in two brackets, at the beginning of every step")
}

/// What the TOML reader found, with the habits of other formats told as what they are: one problem for one mistake.
fn in_plain_words(text: &str, found: Vec<Problem>) -> Vec<Problem> {
    let mut begin = 0;
    let mut lines: Vec<(Range<usize>, &str)> = Vec::new();
    for line in text.split_inclusive('\n') {
        lines.push((begin..begin + line.trim_end().len(), line.trim_end()));
        begin += line.len();
    }
    if let Some((at, _)) = lines.iter().find(|(_, line)| line.trim() == "[step]") {
        return vec![one_bracket(at.clone())];
    }
    let mut all: Vec<Problem> = Vec::new();
    for problem in found {
        let line = lines.iter().find(|(at, _)| (at.start..=at.end).contains(&problem.at.start));
        let Some((at, line)) = line else {
            all.push(problem);
            continue;
        };
        if all.last().is_some_and(|last| last.at == *at) {
            continue;
        }
        let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let colon = line.split_once(": ").filter(|(key, value)| is_key(key.trim()) && !value.contains('='));
        let unquoted = problem.message.contains("must be quoted");
        let equals = line.split_once('=').filter(|(key, _)| unquoted && is_key(key.trim()));
        all.push(match (colon, equals) {
            (Some((key, value)), _) => {
                let (key, value) = (key.trim(), value.trim());
                Problem::new(at.clone(), format!("TOML has `{key} = {value}`, not `{key}: {value}`"))
                    .expected("an equals sign between a name and its value; text in quotes")
            }
            (None, Some((key, value))) => {
                let hint = format!("write {} = \"{}\"", key.trim(), value.trim());
                problem.expected("text in quotes").hint(hint)
            }
            (None, None) => problem,
        });
    }
    all
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(rename = "schema")]
    _schema: i64,
    name: Name,
    domain: Option<Spanned<String>>,
    email: Option<Spanned<String>>,
    #[serde(default)]
    budget: Budgets,
    /// Read and written by the cupboard; here only so that it is no unknown key.
    #[serde(default, rename = "lock")]
    _lock: std::collections::BTreeMap<Name, String>,
}

fn check_schema(table: &DeTable<'_>) -> Result<(), Problem> {
    let Some(value) = table.get("schema") else {
        return Err(
            Problem::new(0..1, "missing field `schema`").hint(format!("begin the playbook with `schema = {SCHEMA}`"))
        );
    };
    let number = value.get_ref().as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
    match number {
        Some(SCHEMA) => Ok(()),
        Some(newer) if newer > SCHEMA => {
            Err(Problem::new(value.span(), format!("schema {newer} is newer than this landfall"))
                .expected(format!("`schema = {SCHEMA}` at most"))
                .hint("install a newer landfall; nothing was changed"))
        }
        _ => Err(Problem::new(value.span(), "bad schema").expected(format!("`schema = {SCHEMA}`"))),
    }
}

/// Takes the `[[step]]` tables out of `table`.
fn read_steps(table: &mut DeTable<'_>, text: &Arc<Parsed>, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut steps: Vec<Entry> = Vec::new();
    let Some(value) = table.remove("step") else {
        problems.push(
            Problem::new(0..1, "a playbook without steps")
                .hint("add a step, such as `[[step]]` with `use = \"server\"`"),
        );
        return steps;
    };
    let at = value.span();
    let DeValue::Array(list) = value.into_inner() else {
        problems.push(one_bracket(at));
        return steps;
    };
    for (index, item) in list.iter().enumerate() {
        let Some(answers) = item.get_ref().as_table() else {
            problems.push(Problem::new(item.span(), "bad step").expected("a `[[step]]` table"));
            continue;
        };
        let (entry, name_at) = match read_step(answers, item.span(), text, index) {
            Ok(read) => read,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if steps.iter().any(|other| other.id == entry.id) {
            problems.push(
                Problem::new(name_at, format!("two steps are called `{}`", entry.id))
                    .expected("a name of its own for each step")
                    .hint("give one of them an `id` of its own"),
            );
        } else {
            steps.push(entry);
        }
    }
    steps
}

/// Reads what all steps have; gives the step, and where its name stands.
fn read_step(
    answers: &DeTable<'_>,
    at: Range<usize>,
    text: &Arc<Parsed>,
    index: usize,
) -> Result<(Entry, Range<usize>), Problem> {
    let get = |key: &str| -> Result<Option<(&str, Range<usize>)>, Problem> {
        let Some(value) = answers.get(key) else { return Ok(None) };
        match value.get_ref().as_str() {
            Some(text) => Ok(Some((text, value.span()))),
            None => Err(Problem::new(value.span(), format!("`{key}` is {}", value.get_ref().type_str()))
                .expected("text in quotes")),
        }
    };
    let (kind, kind_at) = get("use")?.ok_or_else(|| {
        Problem::new(at.clone(), "a step without `use`").hint("say which step it is, such as `use = \"server\"`")
    })?;
    let (id, id_at) = get("id")?.unwrap_or((kind, kind_at.clone()));
    let name =
        Name::parse(id).ok_or_else(|| Problem::new(id_at.clone(), format!("bad name `{id}`")).expected(NAME_RULE))?;
    let entry = Entry { kind: kind.to_owned(), id: name, at, kind_at, text: text.clone(), index, read: Arc::default() };
    Ok((entry, id_at))
}
