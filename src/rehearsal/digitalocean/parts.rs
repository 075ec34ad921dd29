//! SSH keys, firewalls, volumes and private networks.

use serde_json::{Value, json};

use crate::rehearsal::digitalocean::{Refusal, State, answer, catalog, gone, list, ok};
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request};
use crate::rehearsal::strict::{Is, read_body, read_object};

/// The specification's list of places that have volumes.
const FIREWALL: &[(&str, Is, bool)] = &[
    ("name", Is::Text, true),
    ("inbound_rules", Is::Objects, false),
    ("outbound_rules", Is::Objects, false),
    ("droplet_ids", Is::References, false),
    ("tags", Is::Texts, false),
];

impl State {
    pub(super) fn ssh_keys(&mut self, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        let find = |state: &State, id: &str| {
            let mut all = state.keys.iter();
            let found = all.find(|(key, entry)| *key == id || entry["fingerprint"] == id).map(|(key, _)| key.clone());
            found.ok_or_else(Refusal::not_found)
        };
        match (request.method.as_str(), rest) {
            ("GET", []) => list(self.keys.values().cloned().collect(), "ssh_keys", request),
            ("POST", []) => {
                let body = read_body(&request.body, &[("name", Is::Text, true), ("public_key", Is::Text, true)])?;
                let public = body["public_key"].as_str().unwrap_or_default();
                let key = ssh_key::PublicKey::from_openssh(public)
                    .map_err(|_invalid| Refusal::unprocessable("Key invalid, key should be in OpenSSH format"))?;
                let raw = key.to_bytes().unwrap_or_default();
                let fingerprint = md5_fingerprint(&raw);
                if self.keys.values().any(|known| known["fingerprint"] == fingerprint.as_str()) {
                    return Err(Refusal::unprocessable("SSH Key is already in use on your account"));
                }
                let id = self.next_id();
                let entry = json!({ "id": id, "fingerprint": fingerprint, "public_key": public, "name": body["name"] });
                self.keys.insert(id.to_string(), entry.clone());
                Ok(answer(201, json!({ "ssh_key": entry })))
            }
            ("GET", [id]) => Ok(ok(json!({ "ssh_key": self.keys[&find(self, id)?] }))),
            ("PUT", [id]) => {
                let id = find(self, id)?;
                let body = read_body(&request.body, &[("name", Is::Text, false)])?;
                if let (Some(entry), Some(name)) = (self.keys.get_mut(&id), body.get("name")) {
                    entry["name"] = name.clone();
                }
                Ok(ok(json!({ "ssh_key": self.keys[&id] })))
            }
            ("DELETE", [id]) => {
                let id = find(self, id)?;
                self.keys.remove(&id);
                Ok(gone())
            }
            _ => Err(Refusal::not_found()),
        }
    }

    pub(super) fn firewalls(&mut self, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        match (request.method.as_str(), rest) {
            ("GET", []) => list(self.firewalls.values().cloned().collect(), "firewalls", request),
            ("POST", []) => {
                let entry = self.checked_firewall(&request.body, None)?;
                let id = entry["id"].as_str().unwrap_or_default().to_owned();
                self.firewalls.insert(id, entry.clone());
                Ok(answer(202, json!({ "firewall": entry })))
            }
            (_, [id, rest @ ..]) => {
                let id = (*id).to_owned();
                if !self.firewalls.contains_key(&id) {
                    return Err(Refusal::not_found());
                }
                match (request.method.as_str(), rest) {
                    ("GET", []) => Ok(ok(json!({ "firewall": self.firewalls[&id] }))),
                    ("PUT", []) => {
                        let entry = self.checked_firewall(&request.body, Some(&id))?;
                        self.firewalls.insert(id, entry.clone());
                        Ok(ok(json!({ "firewall": entry })))
                    }
                    ("DELETE", []) => {
                        self.firewalls.remove(&id);
                        Ok(gone())
                    }
                    ("POST" | "DELETE", ["rules"]) => {
                        let fields = [("inbound_rules", Is::Objects, false), ("outbound_rules", Is::Objects, false)];
                        let body = read_body(&request.body, &fields)?;
                        for (list, rules) in body {
                            let rules = rules.as_array().cloned().unwrap_or_default();
                            if let Some(known) =
                                self.firewalls.get_mut(&id).and_then(|entry| entry[&list].as_array_mut())
                            {
                                known.retain(|rule| !rules.contains(rule));
                                if request.method == "POST" {
                                    known.extend(rules);
                                }
                            }
                        }
                        Ok(gone())
                    }
                    ("POST" | "DELETE", [list @ ("droplets" | "tags")]) => {
                        let field = if *list == "tags" { "tags" } else { "droplet_ids" };
                        let body = read_body(&request.body, &[(field, Is::References, true)])?;
                        let items = body[field].as_array().cloned().unwrap_or_default();
                        if let Some(known) = self.firewalls.get_mut(&id).and_then(|entry| entry[field].as_array_mut()) {
                            known.retain(|item| !items.contains(item));
                            if request.method == "POST" {
                                known.extend(items);
                            }
                        }
                        Ok(gone())
                    }
                    _ => Err(Refusal::not_found()),
                }
            }
            _ => Err(Refusal::not_found()),
        }
    }

    fn checked_firewall(&self, body: &[u8], id: Option<&str>) -> Result<Value, Refusal> {
        let body = read_body(body, FIREWALL)?;
        let name = body["name"].as_str().unwrap_or_default();
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if name.len() < 2 || !name.chars().all(legal) {
            return Err(Refusal::unprocessable("name must contain only alphanumeric characters, dashes, and periods"));
        }
        if self.firewalls.iter().any(|(other, entry)| entry["name"] == name && Some(other.as_str()) != id) {
            return Err(Refusal::conflict("duplicate name"));
        }
        let mut entry = json!({
            "id": id.map_or_else(made_up::uuid, str::to_owned), "name": name, "status": "succeeded",
            "created_at": made_up::now(), "pending_changes": [], "inbound_rules": [], "outbound_rules": [],
            "droplet_ids": [], "tags": [],
        });
        let mut has_rules = false;
        for (list, end) in [("inbound_rules", "sources"), ("outbound_rules", "destinations")] {
            for (index, rule) in body.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
                has_rules = true;
                let fields = [
                    ("protocol", Is::OneOf(&["tcp", "udp", "icmp"]), true),
                    ("ports", Is::Text, false),
                    (end, Is::Object, true),
                ];
                let rule =
                    read_object(rule.as_object().cloned().unwrap_or_default(), &fields, &format!("{list}[{index}]."))?;
                let mut rule = Value::Object(rule);
                // ICMP has no ports, and is answered with zero.
                if rule["protocol"] == "icmp" || rule["ports"] == "all" {
                    rule["ports"] = "0".into();
                }
                if rule["ports"].is_null() {
                    return Err(Refusal::unprocessable("ports must be given"));
                }
                if let Some(rules) = entry[list].as_array_mut() {
                    rules.push(rule);
                }
            }
        }
        if !has_rules {
            return Err(Refusal::unprocessable("must specify at least one rule"));
        }
        for tag in body.get("tags").and_then(Value::as_array).into_iter().flatten() {
            if !self.tags.iter().any(|known| *tag == known.as_str()) {
                return Err(Refusal::unprocessable(format!("tag {tag} does not exist")));
            }
        }
        for field in ["droplet_ids", "tags"] {
            if let Some(list) = body.get(field) {
                entry[field] = list.clone();
            }
        }
        Ok(entry)
    }

    pub(super) fn volumes(&mut self, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                let fits = |volume: &&Value| {
                    request.query("name").is_none_or(|name| volume["name"] == name)
                        && request.query("region").is_none_or(|region| volume["region"]["slug"] == region)
                };
                list(self.volumes.values().filter(fits).cloned().collect(), "volumes", request)
            }
            ("POST", []) => self.create_volume(&request.body),
            (_, [id, rest @ ..]) => {
                let id = (*id).to_owned();
                if !self.volumes.contains_key(&id) {
                    return Err(Refusal::not_found());
                }
                match (request.method.as_str(), rest) {
                    ("GET", []) => Ok(ok(json!({ "volume": self.volumes[&id] }))),
                    ("DELETE", []) => {
                        if self.volumes[&id]["droplet_ids"].as_array().is_some_and(|droplets| !droplets.is_empty()) {
                            return Err(Refusal::conflict("failed to delete volume: volume is attached"));
                        }
                        self.volumes.remove(&id);
                        Ok(gone())
                    }
                    ("POST", ["actions"]) => self.act_on_volume(&id, &request.body),
                    ("GET", ["actions", action]) => self.action(action).map(|action| ok(json!({ "action": action }))),
                    _ => Err(Refusal::not_found()),
                }
            }
            _ => Err(Refusal::not_found()),
        }
    }

    fn create_volume(&mut self, body: &[u8]) -> Result<Answer, Refusal> {
        let fields = [
            ("name", Is::Text, true),
            ("size_gigabytes", Is::Number, true),
            ("region", Is::Text, true),
            ("description", Is::Text, false),
            ("filesystem_type", Is::OneOf(&["ext4", "xfs"]), false),
            ("filesystem_label", Is::Text, false),
            ("tags", Is::Texts, false),
            ("snapshot_id", Is::Text, false),
        ];
        let body = read_body(body, &fields)?;
        let (name, region) = (body["name"].as_str().unwrap_or_default(), body["region"].as_str().unwrap_or_default());
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.len() > 64 || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(legal) {
            return Err(Refusal::unprocessable("name must be lower case, alphanumeric and start with a letter"));
        }
        if !catalog::has_region(region) {
            return Err(Refusal::unprocessable("region is not valid"));
        }
        if self.volumes.values().any(|volume| volume["name"] == name && volume["region"]["slug"] == region) {
            return Err(Refusal::conflict("a volume with that name already exists in this region"));
        }
        let tags = body.get("tags").cloned().unwrap_or_else(|| json!([]));
        self.add_tags(&tags)?;
        let id = made_up::uuid();
        let entry = json!({
            "id": id, "name": name, "description": body.get("description").cloned().unwrap_or_else(|| "".into()),
            "size_gigabytes": body["size_gigabytes"], "region": catalog::region(region), "droplet_ids": [],
            "created_at": made_up::now(), "filesystem_label": "", "tags": tags,
            "filesystem_type": body.get("filesystem_type").cloned().unwrap_or_else(|| "".into()),
        });
        self.volumes.insert(id, entry.clone());
        Ok(answer(201, json!({ "volume": entry })))
    }

    fn act_on_volume(&mut self, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
        let fields = [
            ("type", Is::OneOf(&["attach", "detach", "resize"]), true),
            ("droplet_id", Is::Number, false),
            ("size_gigabytes", Is::Number, false),
            ("region", Is::Text, false),
            ("tags", Is::Texts, false),
        ];
        let body = read_body(body, &fields)?;
        let kind = body["type"].as_str().unwrap_or_default();
        let droplet = body.get("droplet_id").cloned().unwrap_or_default();
        let known = self.droplets.contains_key(&droplet.to_string());
        let volume = self.volumes.get_mut(id).ok_or_else(Refusal::not_found)?;
        match kind {
            "attach" if !known => return Err(Refusal::unprocessable("droplet_id is not valid")),
            "attach" if volume["droplet_ids"].as_array().is_some_and(|d| !d.is_empty()) => {
                return Err(Refusal::unprocessable("volume is already attached"));
            }
            "attach" => volume["droplet_ids"] = json!([droplet]),
            "detach" => volume["droplet_ids"] = json!([]),
            _ => {
                let size = body.get("size_gigabytes").and_then(Value::as_u64);
                match size {
                    Some(size) if Some(size) > volume["size_gigabytes"].as_u64() => {
                        volume["size_gigabytes"] = size.into()
                    }
                    _ => return Err(Refusal::unprocessable("new size must be larger than the current one")),
                }
            }
        }
        let region = volume["region"]["slug"].as_str().unwrap_or_default().to_owned();
        let after = Some(self.pace);
        let action = self.begin(&format!("{kind}_volume"), ("volume", None), &region, after, None);
        self.action(&action.to_string()).map(|action| answer(202, json!({ "action": action })))
    }

    pub(super) fn vpcs(&mut self, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        match (request.method.as_str(), rest) {
            ("GET", []) => list(self.networks.values().cloned().collect(), "vpcs", request),
            ("POST", []) => {
                let fields = [
                    ("name", Is::Text, true),
                    ("region", Is::Text, true),
                    ("description", Is::Text, false),
                    ("ip_range", Is::Text, false),
                ];
                let body = read_body(&request.body, &fields)?;
                let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
                if !catalog::has_region(text("region")) {
                    return Err(Refusal::unprocessable("region is not valid"));
                }
                if self.networks.values().any(|network| network["name"] == text("name")) {
                    return Err(Refusal::conflict("a VPC with that name already exists"));
                }
                // The first network of a place becomes its default, and can never be deleted.
                let first = !self.networks.values().any(|network| network["region"] == text("region"));
                let id = self.add_network(text("name"), text("region"), text("description"), first);
                Ok(answer(201, json!({ "vpc": self.networks[&id] })))
            }
            ("GET", [id]) => Ok(ok(json!({ "vpc": self.networks.get(*id).ok_or_else(Refusal::not_found)? }))),
            ("PUT", [id]) => {
                let fields = [("name", Is::Text, true), ("description", Is::Text, false), ("default", Is::Flag, false)];
                let body = read_body(&request.body, &fields)?;
                let entry = self.networks.get_mut(*id).ok_or_else(Refusal::not_found)?;
                for field in ["name", "description"] {
                    if let Some(value) = body.get(field) {
                        entry[field] = value.clone();
                    }
                }
                Ok(ok(json!({ "vpc": entry })))
            }
            ("GET", [id, "members"]) => {
                let members = self.droplets.values().filter(|droplet| droplet["vpc_uuid"] == *id);
                let show = |droplet: &Value| json!({ "name": droplet["name"], "urn": format!("do:droplet:{}", droplet["id"]), "created_at": droplet["created_at"] });
                list(members.map(show).collect(), "members", request)
            }
            ("DELETE", [id]) => {
                let network = self.networks.get(*id).ok_or_else(Refusal::not_found)?;
                if network["default"] == true {
                    return Err(Refusal(403, "forbidden", "Can not delete default VPC".into()));
                }
                if self.droplets.values().any(|droplet| droplet["vpc_uuid"] == *id) {
                    return Err(Refusal(403, "forbidden", "Can not delete VPC with members".into()));
                }
                self.networks.remove(*id);
                Ok(gone())
            }
            _ => Err(Refusal::not_found()),
        }
    }

    pub(super) fn add_network(&mut self, name: &str, region: &str, description: &str, default: bool) -> String {
        let id = made_up::uuid();
        let number = self.networks.len();
        let entry = json!({
            "id": id, "urn": format!("do:vpc:{id}"), "name": name, "description": description, "region": region,
            "ip_range": format!("10.{}.0.0/20", 100 + number), "default": default, "created_at": made_up::now(),
        });
        self.networks.insert(id.clone(), entry);
        id
    }

    /// The default network of a place, which is made with its first droplet.
    pub(super) fn default_network(&mut self, region: &str) -> String {
        let found = self.networks.iter().find(|(_, n)| n["region"] == region && n["default"] == true);
        match found.map(|(id, _)| id.clone()) {
            Some(id) => id,
            None => self.add_network(&format!("default-{region}"), region, "", true),
        }
    }
}

/// The MD5 fingerprint of a key, as this API shows it.
fn md5_fingerprint(key: &[u8]) -> String {
    use md5::Digest as _;
    let digest = md5::Md5::digest(key);
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
