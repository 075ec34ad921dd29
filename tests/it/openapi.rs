use std::path::PathBuf;

use landfall::rehearsal::serve::Exchange;
use serde_json::{Value, json};

use crate::world::skipped;

/// An official OpenAPI file.
pub(crate) struct Spec(Value);

impl Spec {
    /// Reads the file `name` from the folder LANDFALL_SPECS names. The files are not ours and not in the
    /// repository: where the folder is missing, says so and gives nothing.
    pub(crate) fn load(name: &str) -> Option<Spec> {
        let folder = std::env::var_os("LANDFALL_SPECS").map_or_else(|| PathBuf::from("../shared/specs"), PathBuf::from);
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Spec(serde_json::from_str(&text).expect("the specification is JSON"))),
            Err(e) => {
                skipped(&format!("no official specification at {} ({e}); set LANDFALL_SPECS", path.display()));
                None
            }
        }
    }

    /// Holds a request and its answer against the file. Gives the operation, or everything that is wrong.
    pub(crate) fn judge(&self, exchange: &Exchange) -> Result<String, Vec<String>> {
        let request = &exchange.request;
        let method = request.method.to_lowercase();
        let Some((path, operation)) = self.operation(&method, &request.path) else {
            return Err(vec![format!("{} {} is not in the specification", request.method, request.path)]);
        };
        let name = format!("{} {path}", request.method);
        let mut wrong = Vec::new();

        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for (key, _) in &request.query {
            if !parameters.iter().any(|p| p["in"] == "query" && p["name"] == *key) {
                wrong.push(format!("{name}: unknown query parameter {key}"));
            }
        }
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if request.body.is_empty() {
            if operation["requestBody"]["required"] == true {
                wrong.push(format!("{name}: no body"));
            }
        } else if schema.is_null() {
            wrong.push(format!("{name}: a body that nobody asks for"));
        } else {
            let body: Value = serde_json::from_slice(&request.body).expect("a body we sent is JSON");
            wrong.extend(validate(schema, &body, true).into_iter().map(|e| format!("{name}: request {e}")));
        }

        let status = exchange.answer.status;
        let range = format!("{}XX", status / 100);
        let responses = &operation["responses"];
        let response = [&responses[status.to_string()], &responses[range], &responses["default"]];
        match response.into_iter().find(|response| !response.is_null()) {
            None => wrong.push(format!("{name}: status {status} is not in the specification")),
            Some(response) => {
                let schema = &response["content"]["application/json"]["schema"];
                match (&exchange.answer.body, schema.is_null()) {
                    (Some(body), false) => {
                        wrong.extend(
                            validate(schema, body, false).into_iter().map(|e| format!("{name} {status}: answer {e}")),
                        );
                    }
                    (None, false) => wrong.push(format!("{name} {status}: no body")),
                    (Some(_), true) => wrong.push(format!("{name} {status}: a body where none should be")),
                    (None, true) => {}
                }
            }
        }
        if wrong.is_empty() { Ok(name) } else { Err(wrong) }
    }

    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == parts.len()
                && wanted.iter().zip(&parts).all(|(w, p)| w == p || w.starts_with('{') && p.parse::<i64>().is_ok())
        };
        let paths = self.0["paths"].as_object()?;
        let found = paths.iter().find(|(template, item)| fits(template) && !item[method].is_null())?;
        Some((found.0, &found.1[method]))
    }
}

/// Everything in which `value` does not fit `schema`. `strict` also refuses fields the schema does not name.
fn validate(schema: &Value, value: &Value, strict: bool) -> Vec<String> {
    let mut schema = schema.clone();
    to_json_schema(&mut schema, strict);
    let validator = jsonschema::validator_for(&schema).expect("the specification holds JSON schemas");
    validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path)).collect()
}

/// OpenAPI 3.0 says `nullable` where JSON Schema lists the type `null`.
fn to_json_schema(schema: &mut Value, strict: bool) {
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
            if strict && fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".into(), false.into());
            }
            // Examples hold data, not schemas.
            fields.remove("example");
            fields.remove("examples");
            fields.values_mut().for_each(|value| to_json_schema(value, strict));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| to_json_schema(item, strict)),
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
    assert!(validate(&schema, &json!({ "id": 1, "name": null }), true).is_empty());
    for wrong in [json!({}), json!({ "id": "1" }), json!({ "id": 1, "name": 2 }), json!({ "id": 1, "more": 2 })] {
        assert_eq!(validate(&schema, &wrong, true).len(), 1, "{wrong}");
    }
}
