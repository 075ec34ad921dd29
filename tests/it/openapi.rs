use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use landfall::rehearsal::serve::Exchange;
use serde_json::{Value, json};

use crate::world::{World, skipped, told};

/// The official file of each API.
const FILES: &[(&str, &str)] = &[
    ("hetzner", "hetzner-cloud.openapi.json"),
    ("digitalocean", "digitalocean.openapi.json"),
    ("cloudflare", "cloudflare.openapi.json"),
    ("supabase", "supabase-management.openapi.json"),
    ("neon", "neon.openapi.json"),
];

/// What the files get wrong, by API and operation: what is not held against them, and why. `request`, `answer` or a
/// status.
const WRONG: &[(&str, &str, &str, &str)] = &[
    (
        "cloudflare",
        "PATCH /zones/{zone_id}/settings/{setting_id}",
        "request",
        "the body's schema asks for the whole setting with its id; the real API takes `value` alone, and it says so in its examples",
    ),
    (
        "cloudflare",
        "GET /user/tokens/verify",
        "4XX",
        "a failure must be both a success and a failure: no body can fit (allOf of both envelopes)",
    ),
    ("cloudflare", "GET /accounts", "4XX", "the same"),
    ("cloudflare", "GET /zones/{zone_id}/dnssec", "4XX", "the same"),
    ("cloudflare", "PATCH /zones/{zone_id}/dnssec", "4XX", "the same"),
    ("cloudflare", "GET /certificates", "4XX", "the same"),
    (
        "cloudflare",
        "GET /certificates",
        "query",
        "the reference says page and per_page, 20 unless asked for more and 50 at most; the file has neither",
    ),
    ("cloudflare", "POST /certificates", "4XX", "the same"),
    ("cloudflare", "GET /certificates/{certificate_id}", "4XX", "the same"),
    ("cloudflare", "DELETE /certificates/{certificate_id}", "4XX", "the same"),
    (
        "cloudflare",
        "DELETE /certificates/{certificate_id}",
        "request",
        "a body without a schema is required; the official client sends none",
    ),
    (
        "supabase",
        "*",
        "undocumented",
        "only 401, 403, 429 and 500 are in the file, and none with a schema; the real API also refuses with 400, 404 and others",
    ),
    ("supabase", "POST /v1/projects/{ref}/database/query", "answer", "the answer has no schema"),
];

/// An official OpenAPI file.
pub(crate) struct Spec {
    api: &'static str,
    whole: Value,
    /// Where the API's base path ends and the paths of the file begin.
    base: &'static str,
    /// Schemas that were read already, by their text.
    known: RefCell<HashMap<String, jsonschema::Validator>>,
}

/// Holds every exchange with `api` so far against the official file. Gives the operations seen.
pub(crate) fn judge(world: &World, api: &str) -> BTreeSet<String> {
    let Some(spec) = Spec::of(api) else { return BTreeSet::new() };
    let (mut operations, mut wrong) = (BTreeSet::new(), BTreeSet::new());
    for exchange in world.served(api).exchanges() {
        match spec.judge(&exchange) {
            Ok(name) => drop(operations.insert(name)),
            Err(problems) => wrong.extend(problems),
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "against the official specification:\n{}", wrong.join("\n"));
    operations
}

impl Spec {
    /// Reads the file of `api` from the folder LANDFALL_SPECS names. The files are not ours and not in the
    /// repository: where the folder is missing, says so and gives nothing.
    pub(crate) fn of(api: &str) -> Option<Spec> {
        let (api, name) = FILES.iter().find(|(known, _)| *known == api).expect("an API with a file");
        let folder = std::env::var_os("LANDFALL_SPECS").map_or_else(|| PathBuf::from("../shared/specs"), PathBuf::from);
        let path = folder.join(name);
        let base = match *api {
            "digitalocean" => "/v2",
            "supabase" => "/v1",
            _ => "",
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let whole = serde_json::from_str(&text).expect("the specification is JSON");
                Some(Spec { api, whole, base, known: RefCell::default() })
            }
            Err(e) => {
                skipped(&format!("no official specification at {} ({e}); set LANDFALL_SPECS", path.display()));
                None
            }
        }
    }

    /// Is this part of the operation one that the file gets wrong?
    fn is_wrong_about(&self, operation: &str, part: &str) -> bool {
        WRONG
            .iter()
            .any(|(api, name, wrong, _)| *api == self.api && (*name == operation || *name == "*") && *wrong == part)
    }

    /// Holds a request and its answer against the file. Gives the operation, or everything that is wrong.
    pub(crate) fn judge(&self, exchange: &Exchange) -> Result<String, Vec<String>> {
        let request = &exchange.request;
        let method = request.method.to_lowercase();
        let Some((path, operation)) = self.operation(&method, &format!("{}{}", self.base, request.path)) else {
            return Err(vec![format!("{} {} is not in the specification", request.method, request.path)]);
        };
        let name = format!("{} {path}", request.method);
        let mut wrong = Vec::new();

        let shared = self.whole["paths"][path]["parameters"].as_array().cloned().unwrap_or_default();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let parameters: Vec<Value> = parameters.iter().chain(&shared).map(|p| self.resolve(p).clone()).collect();
        for (key, value) in &request.query {
            match parameters.iter().find(|p| p["in"] == "query" && p["name"] == *key) {
                None if self.is_wrong_about(&name, "query") => {}
                None => wrong.push(format!("{name}: unknown query parameter {key}")),
                Some(parameter) => {
                    let number = value.parse::<f64>().ok().map(Value::from);
                    let texts = [Some(Value::from(value.as_str())), number, value.parse::<i64>().ok().map(Value::from)];
                    let schema = &parameter["schema"];
                    let fits = |value: &Value| self.validate(schema, value, false).is_empty();
                    let flag = value.parse::<bool>().ok().map(Value::from);
                    let list = Some(json!([value]));
                    let numbers = value.parse::<i64>().ok().map(|number| json!([number]));
                    if !texts.into_iter().chain([flag, list, numbers]).flatten().any(|value| fits(&value)) {
                        wrong.push(format!("{name}: query parameter {key}={value} does not fit"));
                    }
                }
            }
        }
        let body = self.resolve(&operation["requestBody"]);
        let schema = &body["content"]["application/json"]["schema"];
        if self.is_wrong_about(&name, "request") {
        } else if request.body.is_empty() {
            if body["required"] == true {
                wrong.push(format!("{name}: no body"));
            }
        } else if schema.is_null() {
            wrong.push(format!("{name}: a body that nobody asks for"));
        } else {
            let body: Value = serde_json::from_slice(&request.body).expect("a body we sent is JSON");
            // A body the API itself refused was sent to be refused.
            if exchange.answer.status < 400 {
                let errors = self.validate(schema, &body, true);
                wrong.extend(errors.into_iter().map(|e| format!("{name}: request {e}")));
            }
        }

        let status = exchange.answer.status;
        let range = format!("{}XX", status / 100);
        let responses = &operation["responses"];
        let response = [&responses[status.to_string()], &responses[&range], &responses["default"]];
        match response.into_iter().find(|response| !response.is_null()) {
            None if self.is_wrong_about(&name, "undocumented") => {}
            None => wrong.push(format!("{name}: status {status} is not in the specification")),
            Some(_) if self.is_wrong_about(&name, &range) => {}
            Some(_) if status < 300 && self.is_wrong_about(&name, "answer") => {}
            Some(response) => {
                let content = self.resolve(response)["content"].as_object();
                let json = content.and_then(|c| c.iter().find(|(kind, _)| kind.starts_with("application/json")));
                let schema = json.map_or(Value::Null, |(_, content)| content["schema"].clone());
                match (&exchange.answer.body, schema.is_null()) {
                    (Some(body), false) => {
                        let errors = self.validate(&schema, body, false);
                        wrong.extend(errors.into_iter().map(|e| format!("{name} {status}: answer {e}")));
                    }
                    (None, false) => wrong.push(format!("{name} {status}: no body")),
                    (Some(_), true) if status >= 400 => {}
                    (Some(_), true) => wrong.push(format!("{name} {status}: a body where none should be")),
                    (None, true) => {}
                }
            }
        }
        if wrong.is_empty() { Ok(name) } else { Err(wrong) }
    }

    /// The thing itself, where `value` refers to it.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.whole.pointer(pointer)).unwrap_or(value)
    }

    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let parts: Vec<&str> = path.split('/').collect();
        // A template with fewer parameters is nearer to the path.
        let distance = |template: &str| -> Option<usize> {
            let wanted: Vec<&str> = template.split('/').collect();
            let fits = wanted.len() == parts.len()
                && wanted.iter().zip(&parts).all(|(w, p)| w == p || w.starts_with('{') && !p.is_empty());
            fits.then(|| wanted.iter().filter(|part| part.starts_with('{')).count())
        };
        let paths = self.whole["paths"].as_object()?;
        let fitting = paths.iter().filter(|(_, item)| !item[method].is_null());
        let (found, _) =
            fitting.filter_map(|(path, item)| Some(((path, item), distance(path)?))).min_by_key(|(_, d)| *d)?;
        Some((found.0, &found.1[method]))
    }

    /// Everything in which `value` does not fit `schema`, which may refer to components of the file. `strict` also
    /// refuses fields that none of the schema's parts names.
    fn validate(&self, schema: &Value, value: &Value, strict: bool) -> Vec<String> {
        let mut known = self.known.borrow_mut();
        let validator = known.entry(schema.to_string()).or_insert_with(|| {
            let mut whole = schema.clone();
            if schema.to_string().contains("$ref") {
                whole["components"] = self.whole["components"].clone();
            }
            to_json_schema(&mut whole);
            jsonschema::validator_for(&whole).expect("the specification holds JSON schemas")
        });
        let mut wrong: Vec<String> =
            validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path)).collect();
        drop(known);
        if strict {
            wrong.extend(self.unknown(&[schema], value, ""));
        }
        wrong
    }

    /// Fields of `value` that none of `schemas`, or of what they are put together from, names.
    fn unknown(&self, schemas: &[&Value], value: &Value, path: &str) -> Vec<String> {
        let mut parts: Vec<&Value> = Vec::new();
        let mut open: Vec<&Value> = schemas.to_vec();
        while let Some(schema) = open.pop() {
            let schema = self.resolve(schema);
            parts.push(schema);
            for joined in ["allOf", "anyOf", "oneOf"] {
                open.extend(schema[joined].as_array().into_iter().flatten());
            }
        }
        match value {
            Value::Object(fields) => {
                // What takes anything, or says nothing of its fields, refuses nothing.
                let is_open =
                    |part: &&&Value| part["additionalProperties"].is_object() || part["additionalProperties"] == true;
                let names_fields = parts.iter().any(|part| part["properties"].is_object());
                if parts.iter().any(|part| is_open(&part)) || !names_fields {
                    return vec![];
                }
                let mut wrong = Vec::new();
                for (name, value) in fields {
                    let known: Vec<&Value> =
                        parts.iter().map(|part| &part["properties"][name]).filter(|s| !s.is_null()).collect();
                    match known.is_empty() {
                        true => wrong.push(format!("{path}/{name}: nobody asks for this field")),
                        false => wrong.extend(self.unknown(&known, value, &format!("{path}/{name}"))),
                    }
                }
                wrong
            }
            Value::Array(items) => {
                let of_items: Vec<&Value> = parts.iter().map(|part| &part["items"]).filter(|s| !s.is_null()).collect();
                let check = |(index, item): (usize, &Value)| self.unknown(&of_items, item, &format!("{path}/{index}"));
                items.iter().enumerate().flat_map(check).collect()
            }
            _ => vec![],
        }
    }
}

/// OpenAPI 3.0 says `nullable` where JSON Schema lists the type `null`.
fn to_json_schema(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.remove("nullable") == Some(Value::Bool(true)) {
                if let Some(kind) = fields.get_mut("type") {
                    *kind = json!([kind.clone(), "null"]);
                }
                if let Some(Value::Array(values)) = fields.get_mut("enum") {
                    values.push(Value::Null);
                }
            }
            // Examples hold data, not schemas.
            fields.remove("example");
            fields.remove("examples");
            fields.values_mut().for_each(to_json_schema);
        }
        Value::Array(items) => items.iter_mut().for_each(to_json_schema),
        _ => {}
    }
}

#[test]
fn the_judge_sees_what_is_wrong() {
    let schema = json!({
        "type": "object",
        "properties": { "id": { "type": "integer" }, "name": { "type": "string", "nullable": true } },
        "required": ["id"],
    });
    let spec = Spec { api: "test", whole: json!({ "components": {} }), base: "", known: RefCell::default() };
    assert!(spec.validate(&schema, &json!({ "id": 1, "name": null }), true).is_empty());
    for wrong in [json!({}), json!({ "id": "1" }), json!({ "id": 1, "name": 2 }), json!({ "id": 1, "more": 2 })] {
        assert_eq!(spec.validate(&schema, &wrong, true).len(), 1, "{wrong}");
    }
    // A field is known when any part of what the schema is put together from names it.
    let joined = json!({ "allOf": [schema, { "properties": { "tags": { "type": "array" } } }] });
    assert!(spec.validate(&joined, &json!({ "id": 1, "tags": [] }), true).is_empty());
    assert_eq!(spec.validate(&joined, &json!({ "id": 1, "tag": [] }), true).len(), 1);
}
#[test]
fn what_the_files_get_wrong_is_in_them() {
    for (api, operation, _, reason) in WRONG {
        assert!(!reason.is_empty());
        let Some(spec) = Spec::of(api) else { return };
        if let Some((method, path)) = operation.split_once(' ') {
            assert!(!spec.whole["paths"][path][method.to_lowercase()].is_null(), "{api}: there is no {operation}");
        }
        told(&format!("{api}: {operation}: not held against the file: {reason}"));
    }
}
