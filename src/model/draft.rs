//! A playbook that is being written: answers go in one by one, comments and order stay as they are.

use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use crate::model::playbook::SCHEMA;
use crate::model::question::{Field, Key, Question};

/// The comment that says where the wizard goes on. It is gone once every page has been answered.
const GOES_ON: &str = "# landfall goes on with: ";

/// The first page.
pub const FIRST: &str = "project";

/// A playbook that need not be whole yet.
#[derive(Clone, Debug)]
pub struct Draft {
    document: DocumentMut,
    /// The page the wizard goes on with, if not every one has been answered.
    pub goes_on: Option<String>,
}

impl Default for Draft {
    fn default() -> Draft {
        let mut document = DocumentMut::new();
        document.insert("schema", toml_edit::value(SCHEMA));
        Draft { document, goes_on: Some(FIRST.to_owned()) }
    }
}

impl Draft {
    /// Reads a draft. Fails with the reader's message where `text` is no TOML.
    pub fn parse(text: &str) -> Result<Draft, String> {
        let mut goes_on = None;
        let mut rest = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            match line.strip_prefix(GOES_ON) {
                Some(page) => goes_on = Some(page.trim().to_owned()),
                None => rest.push_str(line),
            }
        }
        let document = rest.parse::<DocumentMut>().map_err(|e| e.message().to_owned())?;
        Ok(Draft { document, goes_on })
    }

    /// The playbook's text.
    pub fn text(&self) -> String {
        let mut text = self.document.to_string();
        if let Some(page) = &self.goes_on {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(GOES_ON);
            text.push_str(page);
            text.push('\n');
        }
        text
    }

    /// The first step of this kind.
    fn step(&self, kind: &str) -> Option<&Table> {
        let steps = self.document.get("step")?.as_array_of_tables()?;
        steps.iter().find(|step| step.get("use").and_then(Item::as_str) == Some(kind))
    }

    fn step_mut(&mut self, kind: &str) -> Option<&mut Table> {
        let steps = self.document.get_mut("step")?.as_array_of_tables_mut()?;
        steps.iter_mut().find(|step| step.get("use").and_then(Item::as_str) == Some(kind))
    }

    /// How many steps of this kind there are.
    pub fn count(&self, kind: &str) -> usize {
        let steps = self.document.get("step").and_then(Item::as_array_of_tables);
        let of_it = |step: &&Table| step.get("use").and_then(Item::as_str) == Some(kind);
        steps.map_or(0, |steps| steps.iter().filter(of_it).count())
    }

    /// Is there a step of this kind?
    pub fn has(&self, kind: &str) -> bool {
        self.step(kind).is_some()
    }

    /// The name of the first step of this kind.
    pub fn id(&self, kind: &str) -> Option<&str> {
        let step = self.step(kind)?;
        step.get("id").or(step.get("use"))?.as_str()
    }

    /// The text answer at the top called `key`.
    pub fn head(&self, key: &str) -> Option<&str> {
        self.document.get(key)?.as_str()
    }

    /// The text answer `key` of the first step of `kind`.
    pub fn get(&self, kind: &str, key: &str) -> Option<&str> {
        self.step(kind)?.get(key)?.as_str()
    }

    /// Does the first step of `kind` answer `key`?
    pub fn answers(&self, kind: &str, key: &str) -> bool {
        self.step(kind).is_some_and(|step| step.contains_key(key))
    }

    /// The answer to `question` as it would have been typed. `None` where there is none, and where it says more than
    /// the question can: [`Draft::is_beyond`] tells these apart.
    pub fn answer(&self, question: &Question) -> Option<String> {
        match question.key {
            Key::Which(kind, keys) => {
                let step = self.step(kind)?;
                keys.iter().find(|key| step.contains_key(key)).map(|key| (*key).to_owned())
            }
            _ => question.field.show(&self.value(question.key)?).filter(|text| !text.is_empty()),
        }
    }

    /// Is there an answer that the question cannot show, such as several keys? It is left alone unless a new one is
    /// typed.
    pub fn is_beyond(&self, question: &Question) -> bool {
        let is_there = |item: &Item| item.as_str() != Some("");
        !matches!(question.key, Key::Which(..))
            && self.item(question.key).is_some_and(is_there)
            && self.answer(question).is_none()
    }

    fn item(&self, key: Key) -> Option<&Item> {
        match key {
            Key::Head(key) => self.document.get(key),
            Key::Step(kind, key) => self.step(kind)?.get(key),
            Key::Which(..) => None,
        }
    }

    fn value(&self, key: Key) -> Option<Value> {
        match self.item(key)? {
            Item::Value(value) => Some(value.clone()),
            // `[step.env]` is a table of its own.
            Item::Table(table) => {
                let mut inline = InlineTable::new();
                for (name, item) in table.iter() {
                    inline.insert(name, item.as_value()?.clone());
                }
                Some(Value::InlineTable(inline))
            }
            _ => None,
        }
    }

    /// Writes an answer; `None` takes it out. An answer that is there already and says the same stays as it is written.
    pub fn put(&mut self, question: &Question, value: Option<Value>) {
        let same = match (&value, self.value(question.key)) {
            (Some(new), Some(old)) => question.field.show(new) == question.field.show(&old),
            _ => false,
        };
        if same {
            return;
        }
        match question.key {
            Key::Head(key) => write(self.document.as_table_mut(), key, value),
            Key::Step(kind, key) => {
                if let Some(step) = self.step_mut(kind) {
                    let whole = matches!(question.field, Field::Variables);
                    match value {
                        // Variables read better one below the other.
                        Some(Value::InlineTable(inline)) if whole && !inline.is_empty() => {
                            let mut table = Table::new();
                            for (name, value) in inline.iter() {
                                table.insert(name, Item::Value(value.clone().decorated(" ", "")));
                            }
                            step.insert(key, Item::Table(table));
                        }
                        Some(Value::InlineTable(_)) if whole => write(step, key, None),
                        value => write(step, key, value),
                    }
                }
            }
            // The answer itself comes with the next question; until then its place is kept.
            Key::Which(kind, keys) => {
                let chosen = value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
                if let Some(step) = self.step_mut(kind) {
                    for other in keys.iter().filter(|key| **key != chosen) {
                        step.remove(other);
                    }
                    if !step.contains_key(&chosen) && keys.contains(&chosen.as_str()) {
                        step.insert(&chosen, toml_edit::value(""));
                    }
                }
            }
        }
    }

    /// Takes the answer `key` of the first step of `kind` out, if it is there.
    pub fn drop(&mut self, kind: &str, key: &str) {
        if let Some(step) = self.step_mut(kind) {
            step.remove(key);
        }
    }

    /// Sets a text answer of the first step of `kind`.
    pub fn set(&mut self, kind: &str, key: &str, text: &str) {
        if let Some(step) = self.step_mut(kind)
            && step.get(key).and_then(Item::as_str) != Some(text)
        {
            write(step, key, Some(text.into()));
        }
    }

    /// Adds a step of `kind` with these answers, unless there is one. It is put before the first step that comes
    /// later in `order`, which lists all kinds.
    pub fn add_step(&mut self, kind: &'static str, answers: &[(&str, &str)], order: &[&str]) {
        if self.has(kind) {
            return;
        }
        let mut table = Table::new();
        table.insert("use", toml_edit::value(kind));
        for (key, text) in answers {
            table.insert(key, toml_edit::value(*text));
        }
        // A blank line between steps.
        table.decor_mut().set_prefix("\n");
        let rank = |kind: &str| order.iter().position(|known| *known == kind);
        let own = rank(kind);
        let mut steps: Vec<Table> = self.take_steps();
        let kind_of = |step: &Table| step.get("use").and_then(Item::as_str).unwrap_or_default().to_owned();
        let at = steps.iter().position(|step| rank(&kind_of(step)) > own).unwrap_or(steps.len());
        steps.insert(at, table);
        self.put_steps(steps);
    }

    /// Takes the first step of `kind` out, if there is one.
    pub fn remove_step(&mut self, kind: &str) {
        let mut steps = self.take_steps();
        if let Some(at) = steps.iter().position(|step| step.get("use").and_then(Item::as_str) == Some(kind)) {
            steps.remove(at);
        }
        self.put_steps(steps);
    }

    fn take_steps(&mut self) -> Vec<Table> {
        match self.document.remove("step") {
            Some(Item::ArrayOfTables(steps)) => steps.into_iter().collect(),
            _ => vec![],
        }
    }

    fn put_steps(&mut self, steps: Vec<Table>) {
        if steps.is_empty() {
            return;
        }
        let mut all = ArrayOfTables::new();
        // Tables are written in the order of their positions.
        let mut position = 1;
        for mut step in steps {
            step.set_position(Some(position));
            for (_, item) in step.iter_mut() {
                if let Some(table) = item.as_table_mut() {
                    position += 1;
                    table.set_position(Some(position));
                }
            }
            position += 1;
            all.push(step);
        }
        self.document.insert("step", Item::ArrayOfTables(all));
    }
}

/// Puts `value` under `key`, keeping the comment behind what was there; `None` takes it out.
fn write(table: &mut Table, key: &str, value: Option<Value>) {
    match value {
        None => drop(table.remove(key)),
        Some(value) => match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(old) => {
                let behind = old.decor().suffix().and_then(|text| text.as_str()).unwrap_or_default().to_owned();
                let before = old.decor().prefix().and_then(|text| text.as_str()).unwrap_or(" ").to_owned();
                *old = value.decorated(before, behind);
            }
            None => {
                table.remove(key);
                table.insert(key, Item::Value(value));
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &[&str] = &["server", "docker", "app"];

    fn question(key: Key, field: Field) -> Question {
        Question::new(key, "", field, "")
    }

    fn answer(draft: &mut Draft, key: Key, field: Field, typed: &str) {
        let question = question(key, field).optional();
        let value = question.read(typed).unwrap();
        draft.put(&question, value);
    }

    #[test]
    fn a_playbook_grows_answer_by_answer_and_steps_stand_in_their_order() {
        let mut draft = Draft::default();
        answer(&mut draft, Key::Head("name"), Field::Text(|_| Ok(())), "acme");
        draft.add_step("app", &[("on", "web")], ORDER);
        answer(&mut draft, Key::Step("app", "port"), Field::Number(1, 65535), "3000");
        answer(&mut draft, Key::Step("app", "env"), Field::Variables, "A=1 B=generate:b");
        draft.add_step("server", &[("id", "web")], ORDER);
        draft.add_step("docker", &[("on", "web")], ORDER);
        draft.goes_on = Some("dns".into());
        insta::assert_snapshot!(draft.text(), @r#"
        schema = 1
        name = "acme"

        [[step]]
        use = "server"
        id = "web"

        [[step]]
        use = "docker"
        on = "web"

        [[step]]
        use = "app"
        on = "web"
        port = 3000

        [step.env]
        A = "1"
        B = { secret = "b", generate = 32 }
        # landfall goes on with: dns
        "#);
        let again = Draft::parse(&draft.text()).unwrap();
        assert_eq!((again.text(), again.goes_on.as_deref()), (draft.text(), Some("dns")));
    }

    #[test]
    fn comments_order_and_spelling_stay_whatever_is_edited() {
        let text = "# mine\nschema = 1\nname   = 'acme' # the owner\nbudget = {monthly=40,currency='EUR'}\n\n# the box\n\
                    [[step]]\nuse = \"server\" # big\nid = \"web\"\nkeys = [\"a\", \"b\"]\n\n# last\n[[step]]\nuse = \"app\"\non = \"web\"\n";
        let mut draft = Draft::parse(text).unwrap();
        answer(&mut draft, Key::Head("name"), Field::Text(|_| Ok(())), "acme");
        answer(&mut draft, Key::Head("budget"), Field::Budget, "40 EUR");
        assert_eq!(draft.text(), text, "the same answers change nothing");
        assert!(draft.is_beyond(&question(Key::Step("server", "keys"), Field::PublicKey(|_| Ok(())))));

        answer(&mut draft, Key::Head("name"), Field::Text(|_| Ok(())), "other");
        draft.add_step("docker", &[("on", "web")], ORDER);
        draft.set("app", "on", "web");
        let expected = text
            .replace("'acme' # the owner", "\"other\" # the owner")
            .replace("\n# last\n", "\n[[step]]\nuse = \"docker\"\non = \"web\"\n\n# last\n");
        assert_eq!(draft.text(), expected);
        draft.remove_step("docker");
        assert_eq!(draft.text(), text.replace("'acme' # the owner", "\"other\" # the owner"));
    }
}
