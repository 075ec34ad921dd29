//! The playbook's JSON Schema and its reference, generated from the steps.

use std::fmt::Write as _;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::model::playbook::{Budgets, SCHEMA};
use crate::steps::hardening::Profile;
use crate::steps::hardening::measures::MEASURES;
use crate::steps::{STEPS, Step};

/// The JSON Schema of a playbook.
pub fn schema() -> Value {
    let mut generator = generator();
    let budget = generator.subschema_for::<Budgets>().to_value();
    let steps: Vec<Value> = STEPS.iter().map(|step| step_schema(*step, &mut generator)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Landfall playbook",
        "type": "object",
        "properties": {
            "schema": { "const": SCHEMA, "description": "The version of the playbook format." },
            "name": name_schema("The name that owns every resource the playbook makes."),
            "domain": { "type": "string", "description": "The apex domain." },
            "email": { "type": "string", "description": "Where those who issue certificates can reach you." },
            "budget": budget,
            "step": { "type": "array", "minItems": 1, "items": { "oneOf": steps } },
        },
        "required": ["schema", "name", "step"],
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn name_schema(description: &str) -> Value {
    json!({ "type": "string", "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": 40, "description": description })
}

/// The schema of one `[[step]]` table: the answers, and what all steps have.
fn step_schema(step: &dyn Step, generator: &mut SchemaGenerator) -> Value {
    let mut schema = answers_schema(step, generator);
    schema["title"] = step.about().title.into();
    schema["description"] = step.about().summary.into();
    schema["properties"]["use"] = json!({ "const": step.kind() });
    schema["properties"]["id"] = name_schema("The step's name. Default: the value of `use`.");
    if let Some(required) = schema["required"].as_array_mut() {
        required.insert(0, "use".into());
    }
    schema
}

fn answers_schema(step: &dyn Step, generator: &mut SchemaGenerator) -> Value {
    let reference = step.schema(generator).to_value();
    let name = reference["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
    generator.definitions_mut().remove(&name).unwrap_or(reference)
}

/// The reference of the playbook, as Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "<!-- Generated from the steps; `LANDFALL_BLESS=1 cargo test generated_documents` writes it anew. -->\n\n\
         # Playbook reference\n\n\
         A playbook is a TOML file. At its top stand `schema = 1`, `name` (which owns every resource the playbook \
         makes), and, if you like, `domain`, `email` (for those who issue certificates) and \
         `budget = { monthly = 40, currency = \"EUR\" }`. Then come the steps, \
         each a `[[step]]` table with `use`, the step's kind, and `id`, its name (default: the value of `use`). Steps \
         `on` the same server are carried out in the order of the file.\n\n\
         Where a **value** is wanted, it is a literal, `{ output = \"web.ipv4\" }`, or `{ secret = \"name\" }`. A secret \
         is read from the environment variable `LANDFALL_SECRET_<NAME>`; with `generate = 32` it is made on the host, \
         32 letters and digits long, and never leaves it.\n",
    );
    let mut generator = generator();
    for step in STEPS {
        let schema = answers_schema(*step, &mut generator);
        let about = step.about();
        let _ = write!(out, "\n## `{}`: {}\n\n{}\n\n", step.kind(), about.title.to_lowercase(), about.summary);
        out.push_str("| answer | value | meaning |\n|---|---|---|\n");
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let must = if required.contains(&name.as_str()) { " (required)" } else { "" };
            let definition = resolve(property, &generator);
            let text = property["description"].as_str().or(definition["description"].as_str()).unwrap_or_default();
            let text = text.replace('\n', " ").replace('|', "\\|");
            let _ = writeln!(out, "| `{name}`{must} | {} | {text} |", in_words(&definition, &generator));
        }
        if !about.outputs.is_empty() {
            out.push_str("\n| output | meaning |\n|---|---|\n");
            for (name, meaning) in about.outputs {
                let _ = writeln!(out, "| `{name}` | {meaning} |");
            }
        }
    }
    out
}

/// The schema a property refers to, directly or as one of two choices of which the other is null.
fn resolve(property: &Value, generator: &SchemaGenerator) -> Value {
    let choices = property["anyOf"].as_array().into_iter().flatten();
    let reference = choices.chain([property]).find_map(|schema| schema["$ref"].as_str());
    let name = reference.and_then(|path| path.rsplit('/').next());
    name.and_then(|name| generator.definitions().get(name)).unwrap_or(property).clone()
}

fn in_words(schema: &Value, generator: &SchemaGenerator) -> String {
    if schema["title"] == "Input"
        || schema["description"].as_str().is_some_and(|d| d.starts_with("A literal, an output"))
    {
        return "value".into();
    }
    if schema["pattern"].is_string() {
        return "name".into();
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        let names: Vec<String> =
            variants.iter().filter_map(|v| v["const"].as_str()).map(|name| format!("`{name}`")).collect();
        return names.join(", ");
    }
    if schema["anyOf"].is_array() {
        return "text, list or table".into();
    }
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    match kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null") {
        Some("array") => format!("list of {}", in_words(&resolve(&schema["items"], generator), generator)),
        Some("object") => "table of values".into(),
        Some("integer") => "number".into(),
        Some("boolean") => "true or false".into(),
        _ => "text".into(),
    }
}

/// The table of hardening measures, in Markdown.
pub fn measures() -> String {
    let mut text =
        "| measure | from | what it does | what it protects from | judged by |\n|---|---|---|---|---|\n".to_owned();
    for measure in MEASURES {
        let since = match measure.since {
            Profile::Baseline => "baseline",
            Profile::Strict => "strict",
        };
        let row = [measure.does, measure.protects, measure.judged_by].join(" | ");
        text += &["| `", measure.name, "` | ", since, " | ", &row, " |\n"].concat();
    }
    text
}
