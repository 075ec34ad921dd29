//! Primary addresses of the simulated API.

use serde_json::{Value, json};

use crate::rehearsal::hetzner::Hetzner;
use crate::rehearsal::hetzner::catalog;
use crate::rehearsal::hetzner::refusal::Refusal;
use crate::rehearsal::hetzner::servers::locked;
use crate::rehearsal::hetzner::state::{State, check_name_is_free, find, merge, now};
use crate::rehearsal::serve::Answer;
use crate::rehearsal::strict::{Is, read_body};

/// Makes a primary address that is assigned to nobody. Gives its identifier.
pub(super) fn new_primary_ip(
    api: &Hetzner,
    state: &mut State,
    name: &str,
    family: &str,
    location: &Value,
    labels: &Value,
) -> Result<i64, Refusal> {
    let number = state
        .next_address()
        .ok_or_else(|| Refusal::new(403, "resource_limit_exceeded", "primary IP limit exceeded"))?;
    let id = state.next_id();
    let (ip, dns_ptr) = match family {
        "ipv4" => {
            let ip = api.ipv4(number);
            let name = format!("static.{}.clients.your-server.de", ip.split('.').rev().collect::<Vec<_>>().join("."));
            (ip.clone(), json!([{ "ip": ip, "dns_ptr": name }]))
        }
        _ => (format!("2001:db8:{number:x}::/64"), json!([])),
    };
    let value = json!({
        "id": id, "name": name, "type": family, "ip": ip, "labels": labels, "created": now(), "blocked": false,
        "location": location, "dns_ptr": dns_ptr, "protection": { "delete": false }, "auto_delete": false,
        "assignee_type": "unassigned", "assignee_id": null, "number": number,
    });
    state.primary_ips.insert(id, value);
    Ok(id)
}

/// An address in the API's form.
pub(super) fn show(ip: &Value) -> Value {
    let mut shown = ip.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("number");
    }
    shown
}

impl Hetzner {
    pub(super) fn create_primary_ip(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(
            body,
            &[
                ("name", Is::Text, true),
                ("type", Is::Text, true),
                ("labels", Is::Labels, false),
                ("location", Is::Reference, false),
                ("assignee_type", Is::Text, false),
                ("assignee_id", Is::Number, false),
                ("auto_delete", Is::Flag, false),
            ],
        )?;
        check_name_is_free(&state.primary_ips, &body, None, "primary IP")?;
        let family = match body["type"].as_str() {
            Some("ipv4") => "ipv4",
            Some("ipv6") => "ipv6",
            _ => return Err(Refusal::invalid("type", "Must be one of: ipv4, ipv6.")),
        };
        if body.get("assignee_type").is_some_and(|kind| kind != "server" && kind != "unassigned") {
            return Err(Refusal::invalid("assignee_type", "Must be one of: server, unassigned."));
        }
        let locations = catalog::locations();
        let assignee = body.get("assignee_id").and_then(Value::as_i64);
        let location = match (body.get("location"), assignee) {
            (Some(_), Some(_)) => {
                return Err(Refusal::invalid("location", "must not be given together with assignee_id"));
            }
            (Some(wanted), None) => {
                find(&locations, wanted).ok_or_else(|| Refusal::invalid("location", "location not found"))?.clone()
            }
            (None, Some(server)) => {
                check_free_for(state, server, family)?;
                state.servers[&server]["location"].clone()
            }
            (None, None) => locations[0].clone(),
        };
        let labels = body.get("labels").cloned().unwrap_or_else(|| json!({}));
        let name = body["name"].as_str().unwrap_or_default();
        let id = new_primary_ip(self, state, name, family, &location, &labels)?;
        let mut action = Value::Null;
        if let Some(ip) = state.primary_ips.get_mut(&id) {
            ip["auto_delete"] = body.get("auto_delete").cloned().unwrap_or(Value::Bool(false));
            if let Some(server) = assignee {
                ip["assignee_id"] = server.into();
                ip["assignee_type"] = "server".into();
            }
        }
        if let Some(server) = assignee {
            let pace = Some(state.pace);
            let begun = state.begin_action("assign_primary_ip", &[(id, "primary_ip"), (server, "server")], pace, None);
            action = state.action(begun).unwrap_or_default();
        }
        let mut answer = json!({ "primary_ip": show(&state.primary_ips[&id]) });
        if !action.is_null() {
            answer["action"] = action;
        }
        Ok(super::created(answer))
    }

    pub(super) fn change_primary_ip(&self, state: &mut State, id: i64, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(
            body,
            &[("name", Is::Text, false), ("labels", Is::Labels, false), ("auto_delete", Is::Flag, false)],
        )?;
        check_name_is_free(&state.primary_ips, &body, Some(id), "primary IP")?;
        merge(&mut state.primary_ips, id, body);
        Ok(super::ok(json!({ "primary_ip": show(&state.primary_ips[&id]) })))
    }

    pub(super) fn delete_primary_ip(&self, state: &mut State, id: i64) -> Result<Answer, Refusal> {
        if !state.primary_ips[&id]["assignee_id"].is_null() {
            return Err(Refusal::new(
                422,
                "must_be_unassigned",
                "primary IP must be unassigned before it can be deleted",
            ));
        }
        state.primary_ips.remove(&id);
        Ok(super::gone())
    }

    pub(super) fn act_on_primary_ip(
        &self,
        state: &mut State,
        id: i64,
        verb: &str,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let server = match verb {
            "assign" => {
                let body = read_body(body, &[("assignee_id", Is::Number, true), ("assignee_type", Is::Text, true)])?;
                let server = body["assignee_id"].as_i64().unwrap_or_default();
                if !state.primary_ips[&id]["assignee_id"].is_null() {
                    return Err(Refusal::new(422, "primary_ip_already_assigned", "primary IP is already assigned"));
                }
                let family = state.primary_ips[&id]["type"].as_str().unwrap_or_default().to_owned();
                check_free_for(state, server, &family)?;
                server
            }
            "unassign" => {
                read_body(body, &[])?;
                let server = state.primary_ips[&id]["assignee_id"].as_i64();
                server.ok_or_else(|| Refusal::new(422, "primary_ip_not_assigned", "primary IP is not assigned"))?
            }
            _ => return Err(Refusal::new(404, "not_found", "action not found")),
        };
        if state.is_locked(server) {
            return Err(locked());
        }
        if state.servers[&server]["status"] != "off" {
            return Err(Refusal::new(422, "server_not_stopped", "server is not stopped"));
        }
        if let Some(ip) = state.primary_ips.get_mut(&id) {
            let assigns = verb == "assign";
            ip["assignee_id"] = if assigns { server.into() } else { Value::Null };
            ip["assignee_type"] = if assigns { "server" } else { "unassigned" }.into();
        }
        let command = format!("{verb}_primary_ip");
        let action = state.begin_action(&command, &[(id, "primary_ip"), (server, "server")], Some(state.pace), None);
        Ok(super::created(json!({ "action": state.action(action) })))
    }
}

/// Can this server take an address of this family?
fn check_free_for(state: &State, server: i64, family: &str) -> Result<(), Refusal> {
    if !state.servers.contains_key(&server) {
        return Err(Refusal::invalid("assignee_id", "server not found"));
    }
    if state.primary_ips.values().any(|ip| ip["assignee_id"] == server && ip["type"] == family) {
        let code = if family == "ipv4" { "server_has_ipv4" } else { "server_has_ipv6" };
        return Err(Refusal::new(422, code, "the server already has such an address"));
    }
    Ok(())
}
