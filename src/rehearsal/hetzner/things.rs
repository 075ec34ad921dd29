//! SSH keys, firewalls and volumes of the simulated API.

use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use crate::rehearsal::hetzner::Hetzner;
use crate::rehearsal::hetzner::catalog;
use crate::rehearsal::hetzner::lists::parse_selector;
use crate::rehearsal::hetzner::refusal::Refusal;
use crate::rehearsal::hetzner::servers::locked;
use crate::rehearsal::hetzner::state::{State, check_name_is_free, find, merge, now};
use crate::rehearsal::serve::Answer;
use crate::rehearsal::strict::{Is, read_body, read_object};

impl Hetzner {
    pub(super) fn create_ssh_key(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(
            body,
            &[("name", Is::Text, true), ("public_key", Is::Text, true), ("labels", Is::Labels, false)],
        )?;
        let text = body["public_key"].as_str().unwrap_or_default().trim();
        let key = ssh_key::PublicKey::from_openssh(text)
            .ok()
            .and_then(|key| key.to_bytes().ok())
            .ok_or_else(|| Refusal::invalid("public_key", "is not a valid SSH public key"))?;
        let digest = Md5::digest(&key);
        let fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
        if state.ssh_keys.values().any(|other| other["fingerprint"] == fingerprint) {
            return Err(Refusal::taken("public_key", "SSH key with the same fingerprint already exists"));
        }
        check_name_is_free(&state.ssh_keys, &body, None, "SSH key")?;
        let id = state.next_id();
        let value = json!({
            "id": id, "name": body["name"], "fingerprint": fingerprint, "public_key": text, "created": now(),
            "labels": body.get("labels").cloned().unwrap_or_else(|| json!({})),
        });
        state.ssh_keys.insert(id, value.clone());
        Ok(super::created(json!({ "ssh_key": value })))
    }

    pub(super) fn change_ssh_key(&self, state: &mut State, id: i64, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("name", Is::Text, false), ("labels", Is::Labels, false)])?;
        check_name_is_free(&state.ssh_keys, &body, Some(id), "SSH key")?;
        merge(&mut state.ssh_keys, id, body);
        Ok(super::ok(json!({ "ssh_key": state.ssh_keys[&id] })))
    }

    pub(super) fn create_firewall(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(
            body,
            &[
                ("name", Is::Text, true),
                ("labels", Is::Labels, false),
                ("rules", Is::Objects, false),
                ("apply_to", Is::Objects, false),
            ],
        )?;
        check_name_is_free(&state.firewalls, &body, None, "firewall")?;
        let rules = read_rules(&body)?;
        let targets = read_targets(state, &body, "apply_to")?;
        let id = state.next_id();
        let value = json!({
            "id": id, "name": body["name"], "created": now(), "rules": rules, "applied_to": targets,
            "labels": body.get("labels").cloned().unwrap_or_else(|| json!({})),
        });
        state.firewalls.insert(id, value);
        let pace = Some(state.pace);
        let mut actions = vec![state.begin_action("set_firewall_rules", &[(id, "firewall")], pace, None)];
        if !targets.is_empty() {
            actions.push(state.begin_action("apply_firewall", &[(id, "firewall")], pace, None));
        }
        let actions: Vec<Value> = actions.into_iter().filter_map(|action| state.action(action)).collect();
        Ok(super::created(json!({ "firewall": state.firewalls[&id], "actions": actions })))
    }

    pub(super) fn change_firewall(&self, state: &mut State, id: i64, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("name", Is::Text, false), ("labels", Is::Labels, false)])?;
        check_name_is_free(&state.firewalls, &body, Some(id), "firewall")?;
        merge(&mut state.firewalls, id, body);
        Ok(super::ok(json!({ "firewall": state.firewalls[&id] })))
    }

    pub(super) fn delete_firewall(&self, state: &mut State, id: i64) -> Result<Answer, Refusal> {
        if state.firewalls[&id]["applied_to"].as_array().is_some_and(|targets| !targets.is_empty()) {
            return Err(Refusal::new(422, "resource_in_use", format!("firewall with ID '{id}' is still in use")));
        }
        state.firewalls.remove(&id);
        Ok(super::gone())
    }

    pub(super) fn act_on_firewall(
        &self,
        state: &mut State,
        id: i64,
        verb: &str,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let command = match verb {
            "set_rules" => {
                let body = read_body(body, &[("rules", Is::Objects, true)])?;
                let rules = read_rules(&body)?;
                if let Some(firewall) = state.firewalls.get_mut(&id) {
                    firewall["rules"] = rules.into();
                }
                "set_firewall_rules"
            }
            "apply_to_resources" => {
                let body = read_body(body, &[("apply_to", Is::Objects, true)])?;
                let targets = read_targets(state, &body, "apply_to")?;
                if let Some(applied) = state.firewalls.get_mut(&id).and_then(|f| f["applied_to"].as_array_mut()) {
                    if targets.iter().any(|target| applied.contains(target)) {
                        return Err(Refusal::new(422, "firewall_already_applied", "firewall is already applied"));
                    }
                    applied.extend(targets);
                }
                "apply_firewall"
            }
            "remove_from_resources" => {
                let body = read_body(body, &[("remove_from", Is::Objects, true)])?;
                let targets = read_targets(state, &body, "remove_from")?;
                if let Some(applied) = state.firewalls.get_mut(&id).and_then(|f| f["applied_to"].as_array_mut()) {
                    if !targets.iter().all(|target| applied.contains(target)) {
                        return Err(Refusal::new(422, "firewall_already_removed", "firewall is not applied"));
                    }
                    applied.retain(|target| !targets.contains(target));
                }
                "remove_firewall"
            }
            _ => return Err(Refusal::new(404, "not_found", "action not found")),
        };
        let action = state.begin_action(command, &[(id, "firewall")], Some(state.pace), None);
        Ok(super::created(json!({ "actions": [state.action(action)] })))
    }

    pub(super) fn create_volume(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(
            body,
            &[
                ("name", Is::Text, true),
                ("size", Is::Number, true),
                ("labels", Is::Labels, false),
                ("automount", Is::Flag, false),
                ("format", Is::Text, false),
                ("location", Is::Reference, false),
                ("server", Is::Number, false),
            ],
        )?;
        check_name_is_free(&state.volumes, &body, None, "volume")?;
        if !(10..=10240).contains(&body["size"].as_i64().unwrap_or_default()) {
            return Err(Refusal::invalid("size", "Must be between 10 and 10240."));
        }
        if body.get("format").is_some_and(|format| format != "ext4" && format != "xfs") {
            return Err(Refusal::invalid("format", "Must be one of: xfs, ext4."));
        }
        let locations = catalog::locations();
        let server = body.get("server").and_then(Value::as_i64);
        let location = match (server, body.get("location")) {
            (Some(server), _) => match state.servers.get(&server) {
                Some(_) if state.is_locked(server) => return Err(locked()),
                Some(server) => server["location"].clone(),
                None => return Err(Refusal::invalid("server", "server not found")),
            },
            (None, Some(wanted)) => {
                find(&locations, wanted).ok_or_else(|| Refusal::invalid("location", "location not found"))?.clone()
            }
            (None, None) => return Err(Refusal::invalid("location", "either server or location must be given")),
        };
        if server.is_none() && body.get("automount") == Some(&Value::Bool(true)) {
            return Err(Refusal::invalid("automount", "server must be given"));
        }
        let id = state.next_id();
        let value = json!({
            "id": id, "name": body["name"], "created": now(), "server": server, "location": location,
            "size": body["size"], "linux_device": format!("/dev/disk/by-id/scsi-0HC_Volume_{id}"),
            "protection": { "delete": false }, "status": "available", "format": body.get("format"),
            "labels": body.get("labels").cloned().unwrap_or_else(|| json!({})),
        });
        state.volumes.insert(id, value);
        let pace = Some(state.pace);
        let action = state.begin_action("create_volume", &[(id, "volume")], pace, None);
        let next =
            server.map(|server| state.begin_action("attach_volume", &[(id, "volume"), (server, "server")], pace, None));
        let next: Vec<Value> = next.into_iter().filter_map(|action| state.action(action)).collect();
        let answer = json!({ "volume": state.volumes[&id], "action": state.action(action), "next_actions": next });
        Ok(super::created(answer))
    }

    pub(super) fn change_volume(&self, state: &mut State, id: i64, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("name", Is::Text, false), ("labels", Is::Labels, false)])?;
        check_name_is_free(&state.volumes, &body, Some(id), "volume")?;
        merge(&mut state.volumes, id, body);
        Ok(super::ok(json!({ "volume": state.volumes[&id] })))
    }

    pub(super) fn delete_volume(&self, state: &mut State, id: i64) -> Result<Answer, Refusal> {
        if !state.volumes[&id]["server"].is_null() {
            return Err(Refusal::new(422, "service_error", "volume is still attached to a server"));
        }
        state.volumes.remove(&id);
        Ok(super::gone())
    }

    pub(super) fn act_on_volume(&self, state: &mut State, id: i64, verb: &str, body: &[u8]) -> Result<Answer, Refusal> {
        let attached = state.volumes[&id]["server"].as_i64();
        let (command, server) = match verb {
            "attach" => {
                let body = read_body(body, &[("server", Is::Number, true), ("automount", Is::Flag, false)])?;
                let server = body["server"].as_i64().unwrap_or_default();
                let there = state.servers.get(&server).ok_or_else(|| Refusal::invalid("server", "server not found"))?;
                if attached.is_some() {
                    return Err(Refusal::new(422, "volume_already_attached", "volume is already attached to a server"));
                }
                if there["location"]["name"] != state.volumes[&id]["location"]["name"] {
                    return Err(Refusal::invalid("server", "server is in another location"));
                }
                ("attach_volume", Some(server))
            }
            "detach" => {
                read_body(body, &[])?;
                if attached.is_none() {
                    return Err(Refusal::new(422, "service_error", "volume is not attached to a server"));
                }
                ("detach_volume", attached)
            }
            "resize" => {
                let body = read_body(body, &[("size", Is::Number, true)])?;
                let size = body["size"].as_i64().unwrap_or_default();
                if size <= state.volumes[&id]["size"].as_i64().unwrap_or_default() || size > 10240 {
                    return Err(Refusal::invalid("size", "must be greater than the current size and at most 10240"));
                }
                if let Some(volume) = state.volumes.get_mut(&id) {
                    volume["size"] = size.into();
                }
                ("resize_volume", None)
            }
            _ => return Err(Refusal::new(404, "not_found", "action not found")),
        };
        if server.is_some_and(|server| state.is_locked(server)) {
            return Err(locked());
        }
        if let (Some(server), Some(volume)) = (server, state.volumes.get_mut(&id)) {
            volume["server"] = if verb == "attach" { server.into() } else { Value::Null };
        }
        let mut on = vec![(id, "volume")];
        on.extend(server.map(|server| (server, "server")));
        let action = state.begin_action(command, &on, Some(state.pace), None);
        Ok(super::created(json!({ "action": state.action(action) })))
    }
}

/// Rules, checked: directions, protocols, ports, addresses, and their number.
fn read_rules(body: &Map<String, Value>) -> Result<Vec<Value>, Refusal> {
    let rules = body.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    if rules.len() > 50 {
        return Err(Refusal::invalid("rules", "Longer than maximum length 50."));
    }
    let mut read = Vec::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let within = format!("rules[{index}].");
        let object = rule.as_object().cloned().unwrap_or_default();
        let rule = read_object(
            object,
            &[
                ("direction", Is::Text, true),
                ("protocol", Is::Text, true),
                ("port", Is::Text, false),
                ("source_ips", Is::References, false),
                ("destination_ips", Is::References, false),
                ("description", Is::Text, false),
            ],
            &within,
        )?;
        let text = |key: &str| rule.get(key).and_then(Value::as_str);
        let direction = text("direction").unwrap_or_default();
        if !["in", "out"].contains(&direction) {
            return Err(Refusal::invalid(&format!("{within}direction"), "Must be one of: in, out."));
        }
        let protocol = text("protocol").unwrap_or_default();
        if !["tcp", "udp", "icmp", "esp", "gre"].contains(&protocol) {
            return Err(Refusal::invalid(&format!("{within}protocol"), "Must be one of: tcp, udp, icmp, esp, gre."));
        }
        let has_ports = ["tcp", "udp"].contains(&protocol);
        let port_is_good = |text: &str| {
            let bounds: Vec<Option<u16>> = text.split('-').map(|port| port.parse().ok().filter(|p| *p > 0)).collect();
            matches!(bounds[..], [Some(_)]) || matches!(bounds[..], [Some(low), Some(high)] if low <= high)
        };
        match (has_ports, text("port")) {
            (true, Some(port)) if port == "any" || port_is_good(port) => {}
            (false, None) => {}
            _ => return Err(Refusal::invalid(&format!("{within}port"), "Not a valid port or port range.")),
        }
        let side = if direction == "in" { "source_ips" } else { "destination_ips" };
        let addresses = rule.get(side).and_then(Value::as_array).cloned().unwrap_or_default();
        if addresses.is_empty() || !addresses.iter().all(is_network) {
            return Err(Refusal::invalid(&format!("{within}{side}"), "Not valid CIDR blocks."));
        }
        read.push(json!({
            "direction": direction, "protocol": protocol, "port": rule.get("port"), "description": rule.get("description"),
            "source_ips": rule.get("source_ips").cloned().unwrap_or_else(|| json!([])),
            "destination_ips": rule.get("destination_ips").cloned().unwrap_or_else(|| json!([])),
        }));
    }
    Ok(read)
}

fn is_network(value: &Value) -> bool {
    let Some((address, bits)) = value.as_str().and_then(|text| text.split_once('/')) else { return false };
    match (address.parse::<std::net::IpAddr>(), bits.parse::<u8>()) {
        (Ok(address), Ok(bits)) => bits <= if address.is_ipv4() { 32 } else { 128 },
        _ => false,
    }
}

/// What a firewall is applied to, checked.
fn read_targets(state: &State, body: &Map<String, Value>, key: &str) -> Result<Vec<Value>, Refusal> {
    let mut targets = Vec::new();
    for (index, target) in body.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
        let within = format!("{key}[{index}].");
        let object = target.as_object().cloned().unwrap_or_default();
        let target = read_object(
            object,
            &[("type", Is::Text, true), ("server", Is::Object, false), ("label_selector", Is::Object, false)],
            &within,
        )?;
        targets.push(match target["type"].as_str() {
            Some("server") => {
                let id = target.get("server").and_then(|server| server["id"].as_i64());
                let id = id.filter(|id| state.servers.contains_key(id));
                let id = id.ok_or_else(|| Refusal::invalid(&format!("{within}server"), "server not found"))?;
                json!({ "type": "server", "server": { "id": id } })
            }
            Some("label_selector") => {
                let selector = target.get("label_selector").and_then(|s| s["selector"].as_str()).unwrap_or_default();
                parse_selector(selector)?;
                json!({ "type": "label_selector", "label_selector": { "selector": selector }, "applied_to_resources": [] })
            }
            _ => return Err(Refusal::invalid(&format!("{within}type"), "Must be one of: server, label_selector.")),
        });
    }
    Ok(targets)
}
