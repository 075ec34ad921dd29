//! Zones, their settings and DNSSEC.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::rehearsal::cloudflare::ok;
use crate::rehearsal::cloudflare::refusal::Refusal;
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request};
use crate::rehearsal::strict::{Is, read_body};

/// A zone of the free plan.
pub(super) struct Zone {
    pub id: String,
    pub account: String,
    pub name: String,
    pub status: &'static str,
    /// By identifier, in the order they were made.
    pub records: BTreeMap<u64, Value>,
    pub next: u64,
    servers: [String; 2],
    created: String,
    settings: BTreeMap<&'static str, Value>,
    dnssec: &'static str,
    checks: u32,
    paused: bool,
}

/// Settings of a new zone, as the specification gives their defaults, and the values they take.
const SETTINGS: &[(&str, &str, &[&str])] = &[
    ("ssl", "off", &["off", "flexible", "full", "strict"]),
    ("min_tls_version", "1.0", &["1.0", "1.1", "1.2", "1.3"]),
    ("always_use_https", "off", &["on", "off"]),
    ("automatic_https_rewrites", "on", &["on", "off"]),
    ("opportunistic_encryption", "on", &["on", "off"]),
    ("browser_check", "on", &["on", "off"]),
    ("http3", "off", &["on", "off"]),
    ("tls_1_3", "off", &["on", "off", "zrt"]),
    ("security_level", "medium", &["off", "essentially_off", "low", "medium", "high", "under_attack"]),
    // The free plan does not let anybody change it.
    ("true_client_ip_header", "off", &[]),
];

impl Zone {
    pub(super) fn new(name: &str, status: &'static str, account: &str) -> Zone {
        let mut settings: BTreeMap<&'static str, Value> =
            SETTINGS.iter().map(|(id, value, _)| (*id, Value::from(*value))).collect();
        let hsts = json!({
            "enabled": false, "max_age": 0, "include_subdomains": false, "preload": false, "nosniff": false,
        });
        settings.insert("security_header", json!({ "strict_transport_security": hsts }));
        Zone {
            id: made_up::hex(32),
            account: account.to_owned(),
            name: name.to_owned(),
            status,
            records: BTreeMap::new(),
            next: 0,
            servers: ["amy.ns.cloudflare.com".to_owned(), "bob.ns.cloudflare.com".to_owned()],
            created: made_up::now(),
            settings,
            dnssec: "disabled",
            checks: 0,
            paused: false,
        }
    }

    /// Is `name` this zone or below it?
    pub(super) fn covers(&self, name: &str) -> bool {
        name == self.name || name.ends_with(&format!(".{}", self.name))
    }

    pub(super) fn show(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "status": self.status, "paused": self.paused, "type": "full",
            "development_mode": 0, "name_servers": self.servers, "original_name_servers": ["ns1.registrar.example"],
            "original_registrar": null, "original_dnshost": null, "created_on": self.created,
            "modified_on": self.created,
            "activated_on": if self.status == "active" { Value::from(self.created.as_str()) } else { Value::Null },
            "owner": { "id": self.account, "type": "user", "name": "Simulated" },
            "account": { "id": self.account, "name": "Simulated" },
            "meta": { "step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": false },
            "plan": { "id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website", "price": 0, "currency": "USD" },
        })
    }

    pub(super) fn route(&mut self, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                self.tick();
                Ok(ok(self.show()))
            }
            ("PATCH", []) => {
                let body = read_body(&request.body, &[("paused", Is::Flag, false), ("type", Is::Text, false)])?;
                self.paused = body.get("paused").and_then(Value::as_bool).unwrap_or(self.paused);
                Ok(ok(self.show()))
            }
            ("PUT", ["activation_check"]) => {
                // The simulated registrar is quick, but not so quick as to be done at once.
                self.checks += 1;
                Ok(ok(json!({ "id": self.id })))
            }
            (_, ["dns_records", rest @ ..]) => self.records(request, rest),
            ("GET", ["dnssec"]) => Ok(ok(self.show_dnssec())),
            ("PATCH", ["dnssec"]) => {
                let fields = [
                    ("status", Is::OneOf(&["active", "disabled"]), false),
                    ("dnssec_multi_signer", Is::Flag, false),
                    ("dnssec_presigned", Is::Flag, false),
                ];
                let body = read_body(&request.body, &fields)?;
                // Pending until the registrar has the DS record.
                match body.get("status").and_then(Value::as_str) {
                    Some("active") if self.dnssec == "disabled" => self.dnssec = "pending",
                    Some("disabled") => self.dnssec = "disabled",
                    _ => {}
                }
                Ok(ok(self.show_dnssec()))
            }
            ("DELETE", ["dnssec"]) => {
                self.dnssec = "disabled";
                Ok(ok("".into()))
            }
            ("GET", ["settings"]) => Ok(ok(self.settings.keys().map(|id| self.setting(id)).collect())),
            ("GET", ["settings", id]) => match self.settings.contains_key(id) {
                true => Ok(ok(self.setting(id))),
                false => Err(Refusal::new(400, 1005, format!("Undefined zone setting: {id}"))),
            },
            ("PATCH", ["settings", id]) => self.set(id, &request.body),
            _ => Err(Refusal::no_route()),
        }
    }

    /// Lets the registrar do its part: a zone that was asked to look becomes active at the next look.
    pub(super) fn tick(&mut self) {
        if self.checks > 0 && self.status == "pending" {
            self.status = "active";
        }
    }

    fn setting(&self, id: &str) -> Value {
        let editable = !SETTINGS.iter().any(|(name, _, values)| *name == id && values.is_empty());
        json!({ "id": id, "value": self.settings[id], "editable": editable, "modified_on": null })
    }

    fn set(&mut self, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("value", Is::Any, true), ("id", Is::Text, false)])?;
        let value = body["value"].clone();
        let bad = || Refusal::new(400, 1007, format!("Invalid value for zone setting {id}"));
        if id == "security_header" {
            let parts = value["strict_transport_security"].as_object().ok_or_else(bad)?;
            let fits = |(key, value): (&String, &Value)| match key.as_str() {
                "enabled" | "include_subdomains" | "preload" | "nosniff" => value.is_boolean(),
                "max_age" => value.as_u64().is_some_and(|age| age <= 31_536_000),
                _ => false,
            };
            if !parts.iter().all(fits) {
                return Err(bad());
            }
            let mut merged: Map<String, Value> =
                self.settings["security_header"]["strict_transport_security"].as_object().cloned().unwrap_or_default();
            merged.extend(parts.clone());
            self.settings.insert("security_header", json!({ "strict_transport_security": merged }));
            return Ok(ok(self.setting(id)));
        }
        let (name, _, values) = SETTINGS
            .iter()
            .find(|(name, _, _)| *name == id)
            .ok_or_else(|| Refusal::new(400, 1005, format!("Undefined zone setting: {id}")))?;
        if values.is_empty() {
            return Err(Refusal::new(403, 1023, format!("Not allowed to edit setting for {id}")));
        }
        if !value.as_str().is_some_and(|value| values.contains(&value)) {
            return Err(bad());
        }
        self.settings.insert(name, value);
        Ok(ok(self.setting(id)))
    }

    fn show_dnssec(&self) -> Value {
        if self.dnssec == "disabled" {
            return json!({ "status": "disabled", "flags": null, "algorithm": null, "key_tag": null, "ds": null });
        }
        let digest = crate::model::machine::digest(self.name.as_bytes()).to_uppercase();
        json!({
            "status": self.dnssec, "flags": 257, "algorithm": "13", "key_type": "ECDSAP256SHA256", "digest_type": "2",
            "digest_algorithm": "SHA256", "digest": digest, "key_tag": 2371,
            "ds": format!("{}. 3600 IN DS 2371 13 2 {digest}", self.name),
            "public_key": "oXiGYrSTO+LSCJ3mohc8EP+CzF9KxBj8==", "modified_on": self.created,
        })
    }
}
