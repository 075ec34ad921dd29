//! Records of a zone: what may stand beside what, and batches that happen whole or not at all.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use crate::rehearsal::cloudflare::refusal::Refusal;
use crate::rehearsal::cloudflare::zones::Zone;
use crate::rehearsal::cloudflare::{ok, page};
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request};
use crate::rehearsal::strict::{Is, read_body, read_object};

/// What the free plan takes.
const LONGEST_COMMENT: usize = 100;
const LARGEST_BATCH: usize = 200;

const FIELDS: &[(&str, Is, bool)] = &[
    ("id", Is::Text, false),
    ("type", Is::OneOf(&["A", "AAAA", "CNAME", "TXT", "CAA", "MX", "NS", "SRV"]), false),
    ("name", Is::Text, false),
    ("content", Is::Text, false),
    ("data", Is::Object, false),
    ("priority", Is::Number, false),
    ("proxied", Is::Flag, false),
    ("ttl", Is::Number, false),
    ("comment", Is::Text, false),
    ("tags", Is::Texts, false),
    ("settings", Is::Object, false),
];

type Records = BTreeMap<u64, Value>;

impl Zone {
    pub(super) fn records(&mut self, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        let key = |records: &Records, id: &str| {
            let found = records.iter().find(|(_, record)| record["id"] == id).map(|(key, _)| *key);
            found.ok_or_else(|| Refusal::new(404, 81044, "Record does not exist."))
        };
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                let fits = |record: &&Value| request.query.iter().all(|(name, value)| matches(record, name, value));
                page(self.records.values().filter(fits).cloned().collect(), request, (1, 5_000_000, 100))
            }
            ("POST", []) => {
                let body = read_body(&request.body, FIELDS)?;
                let mut records = self.records.clone();
                let made = self.post(&mut records, body)?;
                self.records = records;
                Ok(ok(made))
            }
            ("POST", ["batch"]) => self.batch(&request.body),
            ("GET", [id]) => Ok(ok(self.records[&key(&self.records, id)?].clone())),
            ("PUT" | "PATCH", [id]) => {
                let key = key(&self.records, id)?;
                let body = read_body(&request.body, FIELDS)?;
                let mut records = self.records.clone();
                let changed = self.change(&mut records, key, body, request.method == "PUT")?;
                self.records = records;
                Ok(ok(changed))
            }
            ("DELETE", [id]) => {
                let key = key(&self.records, id)?;
                self.records.remove(&key);
                // The one answer without an envelope.
                Ok(Answer { status: 200, body: Some(json!({ "result": { "id": id } })), headers: vec![] })
            }
            _ => Err(Refusal::no_route()),
        }
    }

    /// Deletes, patches, puts, posts: in this order, all or none.
    fn batch(&mut self, body: &[u8]) -> Result<Answer, Refusal> {
        let lists = ["deletes", "patches", "puts", "posts"];
        let fields: Vec<(&str, Is, bool)> = lists.iter().map(|list| (*list, Is::Objects, false)).collect();
        let mut body = read_body(body, &fields)?;
        let size: usize = body.values().filter_map(Value::as_array).map(Vec::len).sum();
        if size > LARGEST_BATCH {
            return Err(Refusal::validation(9217, format!("a batch may hold {LARGEST_BATCH} records on this plan")));
        }
        let mut records = self.records.clone();
        let mut result = json!({ "deletes": [], "patches": [], "puts": [], "posts": [] });
        for list in lists {
            let items = body.remove(list).and_then(|items| items.as_array().cloned()).unwrap_or_default();
            for (index, item) in items.into_iter().enumerate() {
                let Value::Object(item) = item else { continue };
                let item = read_object(item, FIELDS, &format!("{list}[{index}]."))?;
                let found = records.iter().find(|(_, r)| Some(&r["id"]) == item.get("id")).map(|(key, _)| *key);
                let gone = || Refusal::new(400, 81044, "Record does not exist.");
                let done = match list {
                    "posts" => self.post(&mut records, item)?,
                    "deletes" => records.remove(&found.ok_or_else(gone)?).unwrap_or_default(),
                    _ => self.change(&mut records, found.ok_or_else(gone)?, item, list == "puts")?,
                };
                if let Some(done_of_list) = result[list].as_array_mut() {
                    done_of_list.push(done);
                }
            }
        }
        self.records = records;
        Ok(ok(result))
    }

    fn post(&mut self, records: &mut Records, mut body: Map<String, Value>) -> Result<Value, Refusal> {
        body.remove("id");
        let record = self.checked(records, None, body)?;
        self.next += 1;
        records.insert(self.next, record.clone());
        Ok(record)
    }

    fn change(
        &self,
        records: &mut Records,
        key: u64,
        mut body: Map<String, Value>,
        whole: bool,
    ) -> Result<Value, Refusal> {
        body.remove("id");
        let old = records[&key].as_object().cloned().unwrap_or_default();
        if !whole {
            let kept = ["type", "name", "content", "data", "priority", "proxied", "ttl", "comment", "tags"];
            for field in kept {
                if let (false, Some(value)) = (body.contains_key(field), old.get(field)) {
                    body.insert(field.to_owned(), value.clone());
                }
            }
        }
        let mut record = self.checked(records, Some(key), body)?;
        record["id"] = old["id"].clone();
        record["created_on"] = old["created_on"].clone();
        records.insert(key, record.clone());
        Ok(record)
    }

    /// The record that `body` asks for, if it may stand among `records`; `except` is the one it takes the place of.
    fn checked(&self, records: &Records, except: Option<u64>, body: Map<String, Value>) -> Result<Value, Refusal> {
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type").to_owned();
        let name = match text("name") {
            "" => return Err(Refusal::validation(9000, "DNS name is invalid.")),
            "@" => self.name.clone(),
            name if self.covers(&name.to_lowercase()) => name.to_lowercase(),
            name => format!("{}.{}", name.to_lowercase(), self.name),
        };
        let content = match kind.as_str() {
            "CAA" => {
                let data = &body.get("data").cloned().unwrap_or_default();
                match (data["flags"].as_u64(), data["tag"].as_str(), data["value"].as_str()) {
                    (Some(flags), Some(tag), Some(value)) => format!("{flags} {tag} \"{value}\""),
                    _ => return Err(Refusal::validation(9101, "CAA records need data with flags, tag and value.")),
                }
            }
            _ => text("content").to_owned(),
        };
        let bad_content = |what: &str| Refusal::validation(9005, format!("Content for {kind} record {what}."));
        match kind.as_str() {
            "" => return Err(Refusal::validation(9000, "type is required.")),
            "A" if content.parse::<Ipv4Addr>().is_err() => return Err(bad_content("must be a valid IPv4 address")),
            "AAAA" if content.parse::<Ipv6Addr>().is_err() => return Err(bad_content("must be a valid IPv6 address")),
            "MX" if !body.contains_key("priority") => return Err(bad_content("needs a priority")),
            "SRV" => {}
            _ if content.is_empty() => return Err(bad_content("is missing")),
            _ => {}
        }
        let ttl = body.get("ttl").and_then(Value::as_i64).unwrap_or(1);
        if ttl != 1 && !(60..=86400).contains(&ttl) {
            return Err(Refusal::validation(
                9021,
                "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.",
            ));
        }
        let proxiable = matches!(kind.as_str(), "A" | "AAAA" | "CNAME");
        let proxied = body.get("proxied").and_then(Value::as_bool).unwrap_or(false);
        if proxied && !proxiable {
            return Err(Refusal::validation(9004, "This record type cannot be proxied."));
        }
        let comment = text("comment");
        if comment.chars().count() > LONGEST_COMMENT || comment.contains('\n') {
            return Err(Refusal::validation(9313, "DNS record comment exceeds the maximum length of 100 characters."));
        }
        let tags = body.get("tags").and_then(Value::as_array).map_or(0, Vec::len);
        if tags > 0 {
            return Err(Refusal::validation(9300, format!("DNS record has {tags} tags, exceeding the quota of 0.")));
        }
        for other in records.iter().filter(|(key, _)| Some(**key) != except).map(|(_, other)| other) {
            if other["name"] != name.as_str() {
                continue;
            }
            let other_kind = other["type"].as_str().unwrap_or_default();
            if other_kind == kind && other["content"] == content.as_str() {
                return Err(Refusal::new(400, 81058, "An identical record already exists."));
            }
            let addresses = |kind: &str| matches!(kind, "A" | "AAAA" | "CNAME");
            match (kind.as_str(), other_kind) {
                ("CNAME", other) if addresses(other) => {
                    return Err(Refusal::new(400, 81053, "An A, AAAA, or CNAME record with that host already exists."));
                }
                (kind, "CNAME") if addresses(kind) => {
                    return Err(Refusal::new(400, 81054, "A CNAME record with that host already exists."));
                }
                _ => {}
            }
        }
        let mut record = json!({
            "id": made_up::hex(32), "type": kind, "name": name, "content": content, "ttl": ttl,
            "proxiable": proxiable, "proxied": proxied, "settings": {}, "tags": [], "meta": {},
            "created_on": made_up::now(), "modified_on": made_up::now(),
        });
        for field in ["comment", "data", "priority"] {
            if let Some(value) = body.get(field) {
                record[field] = value.clone();
            }
        }
        Ok(record)
    }
}

/// Does a record fit a filter of the list?
fn matches(record: &Value, filter: &str, value: &str) -> bool {
    let (field, how) = filter.split_once('.').unwrap_or((filter, "exact"));
    let text = match field {
        "page" | "per_page" | "order" | "direction" | "match" | "tag_match" => return true,
        "proxied" => return record["proxied"].as_bool() == value.parse().ok(),
        "type" | "name" | "content" | "comment" => record[field].as_str().unwrap_or_default(),
        _ => return true,
    };
    match how {
        "contains" => text.contains(value),
        "startswith" => text.starts_with(value),
        "endswith" => text.ends_with(value),
        "present" => !text.is_empty(),
        "absent" => text.is_empty(),
        _ => text == value,
    }
}
