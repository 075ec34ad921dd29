//! Droplets and reserved addresses.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::rehearsal::digitalocean::{DigitalOcean, Refusal, State, answer, catalog, gone, list, ok};
use crate::rehearsal::machines::Birth;
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request};
use crate::rehearsal::strict::{Is, read_body};

/// Reserved addresses of one account.
const RESERVED: usize = 3;
/// The longest user data.
const USER_DATA: usize = 64 << 10;

impl State {
    fn show_droplet(&self, id: &str) -> Value {
        let mut shown = self.droplets.get(id).cloned().unwrap_or_default();
        let is_new = shown["status"] == "new";
        let mut v4 = vec![];
        let mut v6 = vec![];
        if !is_new {
            let private = json!({ "ip_address": "10.114.0.2", "netmask": "255.255.240.0", "type": "private" });
            let gateway = "198.51.100.1";
            let public = json!({
                "ip_address": shown["public"], "netmask": "255.255.255.0", "gateway": gateway, "type": "public",
            });
            v4 = vec![private, public];
            if shown["ipv6"] == true {
                v6 = vec![json!({
                    "ip_address": format!("2604:a880:0:1010::{:x}", shown["id"].as_i64().unwrap_or_default() & 0xffff),
                    "netmask": 64, "gateway": "2604:a880:0:1010::1", "type": "public",
                })];
            }
        }
        shown["networks"] = json!({ "v4": v4, "v6": v6 });
        let volumes = self.volumes.iter();
        let attached =
            volumes.filter(|(_, volume)| volume["droplet_ids"].as_array().is_some_and(|d| d.contains(&shown["id"])));
        shown["volume_ids"] = attached.map(|(id, _)| id.clone()).collect();
        let busy = |act: &super::Act| act.value["status"] == "in-progress" && act.value["resource_id"] == shown["id"];
        shown["locked"] = self.actions.values().any(busy).into();
        if let Some(fields) = shown.as_object_mut() {
            fields.remove("public");
            fields.remove("ipv6");
        }
        shown
    }

    pub(super) fn remove_droplet(&mut self, id: &str) {
        let Some(droplet) = self.droplets.remove(id) else { return };
        // What outlives it is only let go.
        for address in self.addresses.values_mut().filter(|address| address["droplet"] == id) {
            address["droplet"] = Value::Null;
        }
        for table in [&mut self.volumes, &mut self.firewalls] {
            for entry in table.values_mut() {
                if let Some(droplets) = entry["droplet_ids"].as_array_mut() {
                    droplets.retain(|other| *other != droplet["id"]);
                }
            }
        }
    }
}

impl DigitalOcean {
    pub(super) fn droplets(&self, state: &mut State, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                let fits = |id: &&String| {
                    let droplet = &state.droplets[*id];
                    let tagged =
                        |tag: &str| droplet["tags"].as_array().is_some_and(|tags| tags.iter().any(|t| t == tag));
                    request.query("tag_name").is_none_or(tagged)
                        && request.query("name").is_none_or(|name| droplet["name"] == name)
                };
                let ids: Vec<String> = state.droplets.keys().filter(fits).cloned().collect();
                list(ids.iter().map(|id| state.show_droplet(id)).collect(), "droplets", request)
            }
            ("DELETE", []) => {
                let tag = request.query("tag_name").ok_or_else(|| Refusal::unprocessable("tag_name must be given"))?;
                let tagged =
                    |droplet: &Value| droplet["tags"].as_array().is_some_and(|tags| tags.iter().any(|t| t == tag));
                let ids: Vec<String> =
                    state.droplets.iter().filter(|(_, droplet)| tagged(droplet)).map(|(id, _)| id.clone()).collect();
                for id in ids {
                    self.delete_droplet(state, &id);
                }
                Ok(gone())
            }
            ("POST", []) => self.create_droplets(state, &request.body),
            (_, [id, rest @ ..]) => {
                if !state.droplets.contains_key(*id) {
                    return Err(Refusal::not_found());
                }
                match (request.method.as_str(), rest) {
                    ("GET", []) => Ok(ok(json!({ "droplet": state.show_droplet(id) }))),
                    ("DELETE", []) => {
                        self.delete_droplet(state, id);
                        Ok(gone())
                    }
                    ("GET", ["actions"]) => {
                        let number = state.droplets[*id]["id"].clone();
                        let of_it = state.actions.values().filter(|act| act.value["resource_id"] == number);
                        list(of_it.map(|act| act.value.clone()).collect(), "actions", request)
                    }
                    ("GET", ["actions", action]) => state.action(action).map(|action| ok(json!({ "action": action }))),
                    ("POST", ["actions"]) => self.act_on_droplet(state, id, &request.body),
                    _ => Err(Refusal::not_found()),
                }
            }
            _ => Err(Refusal::not_found()),
        }
    }

    fn delete_droplet(&self, state: &mut State, id: &str) {
        state.remove_droplet(id);
        if let (Some(machines), Ok(id)) = (self.machines.clone(), id.parse::<i64>()) {
            tokio::spawn(async move { machines.bury(id).await });
        }
    }

    /// One droplet, or up to ten that differ in their names only.
    fn create_droplets(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let mut body: Value = serde_json::from_slice(body)
            .map_err(|_invalid| Refusal(400, "bad_request", "error parsing request body".into()))?;
        let Some(names) = body.as_object_mut().and_then(|fields| fields.remove("names")) else {
            return self.create_droplet(state, body.to_string().as_bytes());
        };
        let names = names.as_array().cloned().unwrap_or_default();
        if names.is_empty() || names.len() > 10 || body["name"].is_string() {
            return Err(Refusal::unprocessable("names must be a list of at most 10 names"));
        }
        let mut all = json!({ "droplets": [], "links": { "actions": [] } });
        for name in names {
            body["name"] = name;
            let one = self.create_droplet(state, body.to_string().as_bytes())?.body.unwrap_or_default();
            if let Some(droplets) = all["droplets"].as_array_mut() {
                droplets.push(one["droplet"].clone());
            }
            if let Some(actions) = all["links"]["actions"].as_array_mut() {
                actions.extend(one["links"]["actions"].as_array().cloned().unwrap_or_default());
            }
        }
        Ok(answer(202, all))
    }

    fn create_droplet(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let fields = [
            ("name", Is::Text, true),
            ("size", Is::Text, true),
            ("image", Is::Reference, true),
            ("region", Is::Text, false),
            ("ssh_keys", Is::References, false),
            ("backups", Is::Flag, false),
            ("backup_policy", Is::Object, false),
            ("ipv6", Is::Flag, false),
            ("monitoring", Is::Flag, false),
            ("tags", Is::Texts, false),
            ("user_data", Is::Text, false),
            ("private_networking", Is::Flag, false),
            ("volumes", Is::Texts, false),
            ("vpc_uuid", Is::Text, false),
            ("with_droplet_agent", Is::Flag, false),
            ("public_networking", Is::Flag, false),
        ];
        let body = read_body(body, &fields)?;
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
        let flag = |field: &str| body.get(field).and_then(Value::as_bool).unwrap_or(false);
        let name = text("name").to_owned();
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if name.is_empty() || !name.chars().all(legal) {
            return Err(Refusal::unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)"));
        }
        let size = catalog::size(text("size"))
            .ok_or_else(|| Refusal::unprocessable("You specified an invalid size for Droplet creation."))?;
        let region = if body.contains_key("region") { text("region") } else { "nyc3" }.to_owned();
        if !catalog::has_region(&region) {
            return Err(Refusal::unprocessable("You specified an invalid region for Droplet creation."));
        }
        if size["available"] == false {
            return Err(Refusal::unprocessable("Size is not available in this region."));
        }
        let image = catalog::image(&body["image"])
            .ok_or_else(|| Refusal::unprocessable("You specified an invalid image for Droplet creation."))?;
        if text("user_data").len() > USER_DATA {
            return Err(Refusal::unprocessable("User data is too long."));
        }
        let mut keys = Vec::new();
        for wanted in body.get("ssh_keys").and_then(Value::as_array).into_iter().flatten() {
            let found = state.keys.values().find(|key| key["id"] == *wanted || key["fingerprint"] == *wanted);
            let key = found.ok_or_else(|| {
                Refusal::unprocessable(format!("{wanted} are invalid key identifiers for Droplet creation."))
            })?;
            keys.push(key["public_key"].as_str().unwrap_or_default().to_owned());
        }
        let vpc = match text("vpc_uuid") {
            "" => state.default_network(&region),
            uuid => match state.networks.get(uuid).filter(|network| network["region"] == region.as_str()) {
                Some(_) => uuid.to_owned(),
                None => return Err(Refusal::unprocessable("The VPC is not in the region of the Droplet.")),
            },
        };
        let tags = body.get("tags").cloned().unwrap_or_else(|| json!([]));
        state.add_tags(&tags)?;
        let volumes: Vec<String> = body
            .get("volumes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect();
        for volume in &volumes {
            let there = state.volumes.get(volume).ok_or_else(Refusal::not_found)?;
            if there["droplet_ids"].as_array().is_some_and(|droplets| !droplets.is_empty()) {
                return Err(Refusal::unprocessable("The volume is attached to another Droplet."));
            }
        }
        let (number, address) = (state.next_id(), self.ipv4(state.next_address()));
        let id = number.to_string();
        for volume in &volumes {
            if let Some(volume) = state.volumes.get_mut(volume) {
                volume["droplet_ids"] = json!([number]);
            }
        }
        let mut features = vec!["private_networking"];
        features.extend(flag("ipv6").then_some("ipv6"));
        features.extend(flag("backups").then_some("backups"));
        let window = json!({ "start": "2026-11-22T00:00:00Z", "end": "2026-11-22T23:00:00Z" });
        state.droplets.insert(
            id.clone(),
            json!({
                "id": number, "name": name, "memory": size["memory"], "vcpus": size["vcpus"], "disk": size["disk"],
                "locked": false, "status": "new", "kernel": null, "created_at": made_up::now(), "features": features,
                "backup_ids": [], "next_backup_window": if flag("backups") { window } else { Value::Null },
                "snapshot_ids": [], "image": image, "size": size, "size_slug": size["slug"],
                "region": catalog::region(&region), "tags": tags, "vpc_uuid": vpc, "public": address,
                "ipv6": flag("ipv6"),
            }),
        );
        let then = Some((id.clone(), "active"));
        let after = self.machines.is_none().then_some(state.pace * 2);
        let action = state.begin("create", ("droplet", Some(number)), &region, after, then);
        if let Some(machines) = self.machines.clone() {
            // The names of images here end in the processor's kind.
            let slug = image["slug"].as_str().unwrap_or_default().trim_end_matches("-x64").replace("24-04", "24.04");
            let birth = Birth {
                id: number,
                address,
                host_name: name,
                image: slug,
                user_data: text("user_data").to_owned(),
                root_keys: keys,
            };
            end_later(self.state.clone(), action, async move { machines.bear(birth).await });
        }
        let link = json!({ "id": action, "rel": "create", "href": format!("https://api.digitalocean.com/v2/actions/{action}") });
        Ok(answer(202, json!({ "droplet": state.show_droplet(&id), "links": { "actions": [link] } })))
    }

    fn act_on_droplet(&self, state: &mut State, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
        let fields = [
            ("type", Is::Text, true),
            ("size", Is::Text, false),
            ("disk", Is::Flag, false),
            ("backup_policy", Is::Object, false),
            ("name", Is::Text, false),
        ];
        let body = read_body(body, &fields)?;
        let droplet = state.droplets.get(id).cloned().unwrap_or_default();
        let number = droplet["id"].as_i64();
        if state.show_droplet(id)["locked"] == true {
            return Err(Refusal::unprocessable("Droplet already has a pending event."));
        }
        let kind = body["type"].as_str().unwrap_or_default().to_owned();
        let is_off = droplet["status"] == "off";
        let after = state.pace;
        let region = droplet["region"]["slug"].as_str().unwrap_or_default().to_owned();
        let status = match kind.as_str() {
            "power_on" | "reboot" | "power_cycle" => Some("active"),
            "power_off" | "shutdown" => Some("off"),
            "resize" => {
                let slug = body.get("size").and_then(Value::as_str).unwrap_or_default();
                let size =
                    catalog::size(slug).ok_or_else(|| Refusal::unprocessable("You specified an invalid size."))?;
                if !is_off {
                    return Err(Refusal::unprocessable("Droplet must be powered off before it can be resized."));
                }
                if size["disk"].as_u64() < droplet["disk"].as_u64() {
                    return Err(Refusal::unprocessable("This size is not available because it has a smaller disk."));
                }
                let keeps_disk = body.get("disk").and_then(Value::as_bool) != Some(true);
                if let Some(entry) = state.droplets.get_mut(id) {
                    for field in ["memory", "vcpus"] {
                        entry[field] = size[field].clone();
                    }
                    if !keeps_disk {
                        entry["disk"] = size["disk"].clone();
                    }
                    entry["size_slug"] = size["slug"].clone();
                    entry["size"] = size;
                }
                None
            }
            "rename" => {
                let name = body.get("name").cloned().ok_or_else(|| Refusal::unprocessable("name must be given"))?;
                if let Some(entry) = state.droplets.get_mut(id) {
                    entry["name"] = name;
                }
                None
            }
            "enable_ipv6" => {
                if let Some(entry) = state.droplets.get_mut(id) {
                    entry["ipv6"] = true.into();
                    if let Some(features) = entry["features"].as_array_mut() {
                        features.push("ipv6".into());
                    }
                }
                None
            }
            "enable_backups" | "disable_backups" => {
                let on = kind == "enable_backups";
                if let Some(features) = state.droplets.get_mut(id).and_then(|d| d["features"].as_array_mut()) {
                    features.retain(|feature| feature != "backups");
                    features.extend(on.then(|| "backups".into()));
                }
                None
            }
            _ => return Err(Refusal::unprocessable("type is not a valid action")),
        };
        let machine = self.machines.clone().zip(number).filter(|_| status.is_some());
        let then = status.map(|status| (id.to_owned(), status));
        let action = state.begin(&kind, ("droplet", number), &region, machine.is_none().then_some(after), then);
        if let Some((machines, number)) = machine {
            let verb = match kind.as_str() {
                "power_on" => "poweron",
                "power_off" => "poweroff",
                "shutdown" => "shutdown",
                _ => "reboot",
            };
            end_later(self.state.clone(), action, async move { machines.switch(number, verb).await });
        }
        state.action(&action.to_string()).map(|action| answer(201, json!({ "action": action })))
    }

    pub(super) fn reserved_ips(&self, state: &mut State, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        let show = |state: &State, ip: &str| {
            let mut shown = state.addresses[ip].clone();
            shown["droplet"] = match shown["droplet"].as_str() {
                Some(id) => state.show_droplet(id),
                None => Value::Null,
            };
            shown
        };
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                let all: Vec<Value> = state.addresses.keys().map(|ip| show(state, ip)).collect();
                list(all, "reserved_ips", request)
            }
            ("POST", []) => {
                let fields =
                    [("droplet_id", Is::Number, false), ("region", Is::Text, false), ("project_id", Is::Text, false)];
                let body = read_body(&request.body, &fields)?;
                if body.contains_key("droplet_id") == body.contains_key("region") {
                    return Err(Refusal::unprocessable("Either droplet_id or region must be given."));
                }
                if state.addresses.len() >= RESERVED {
                    return Err(Refusal::unprocessable("You have reached your reserved IP limit."));
                }
                let droplet = body.get("droplet_id").map(|id| id.to_string());
                let region = match &droplet {
                    Some(id) => state.droplets.get(id).ok_or_else(Refusal::not_found)?["region"]["slug"].clone(),
                    None => body["region"].clone(),
                };
                let region = region.as_str().unwrap_or_default().to_owned();
                if !catalog::has_region(&region) {
                    return Err(Refusal::unprocessable("region is not valid"));
                }
                // A machine of this one has only one address, and that is the one that must lead to it.
                let own = droplet.as_ref().and_then(|id| state.droplets[id]["public"].as_str().map(str::to_owned));
                let ip = match (own.filter(|_| self.machines.is_some()), state.next_address()) {
                    (Some(own), _) => own,
                    (None, number) => self.ipv4(number),
                };
                let entry = json!({
                    "ip": ip, "region": catalog::region(&region), "droplet": droplet, "locked": false,
                    "project_id": "746c6152-2fa2-11ed-92d3-27aaa54e4988",
                });
                state.addresses.insert(ip.clone(), entry);
                Ok(answer(202, json!({ "reserved_ip": show(state, &ip), "links": { "droplets": [], "actions": [] } })))
            }
            (_, [ip, rest @ ..]) => {
                if !state.addresses.contains_key(*ip) {
                    return Err(Refusal::not_found());
                }
                match (request.method.as_str(), rest) {
                    ("GET", []) => Ok(ok(json!({ "reserved_ip": show(state, ip) }))),
                    ("DELETE", []) => {
                        state.addresses.remove(*ip);
                        Ok(gone())
                    }
                    ("POST", ["actions"]) => {
                        let fields =
                            [("type", Is::OneOf(&["assign", "unassign"]), true), ("droplet_id", Is::Number, false)];
                        let body = read_body(&request.body, &fields)?;
                        let droplet = match body["type"].as_str() {
                            Some("assign") => {
                                let id = body.get("droplet_id").map(|id| id.to_string()).unwrap_or_default();
                                if !state.droplets.contains_key(&id) {
                                    return Err(Refusal::unprocessable("droplet_id is not valid"));
                                }
                                Value::from(id)
                            }
                            _ => Value::Null,
                        };
                        let region = state.addresses[*ip]["region"]["slug"].as_str().unwrap_or_default().to_owned();
                        if let Some(entry) = state.addresses.get_mut(*ip) {
                            entry["droplet"] = droplet;
                        }
                        let kind = if body["type"] == "assign" { "assign_ip" } else { "unassign_ip" };
                        let after = Some(state.pace);
                        let action = state.begin(kind, ("reserved_ip", None), &region, after, None);
                        state.action(&action.to_string()).map(|action| answer(201, json!({ "action": action })))
                    }
                    ("GET", ["actions", action]) => state.action(action).map(|action| ok(json!({ "action": action }))),
                    _ => Err(Refusal::not_found()),
                }
            }
            _ => Err(Refusal::not_found()),
        }
    }
}

/// Ends an action when a machine has done its part.
fn end_later(state: Arc<Mutex<State>>, action: i64, doing: impl Future<Output = Result<(), String>> + Send + 'static) {
    tokio::spawn(async move {
        let done = doing.await;
        state.lock().unwrap_or_else(PoisonError::into_inner).end(action, done.is_ok());
    });
}
