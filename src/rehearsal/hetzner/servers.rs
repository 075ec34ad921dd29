//! Servers of the simulated API.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::rehearsal::hetzner::Hetzner;
use crate::rehearsal::hetzner::addresses::new_primary_ip;
use crate::rehearsal::hetzner::catalog;
use crate::rehearsal::hetzner::refusal::Refusal;
use crate::rehearsal::hetzner::state::{SERVER_LIMIT, State, check_name_is_free, find, merge, now};
use crate::rehearsal::machines::Birth;
use crate::rehearsal::serve::Answer;
use crate::rehearsal::strict::{Is, read_body, read_object};

impl Hetzner {
    pub(super) fn create_server(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(
            body,
            &[
                ("name", Is::Text, true),
                ("server_type", Is::Reference, true),
                ("image", Is::Reference, true),
                ("location", Is::Reference, false),
                ("start_after_create", Is::Flag, false),
                ("placement_group", Is::Number, false),
                ("ssh_keys", Is::References, false),
                ("volumes", Is::References, false),
                ("networks", Is::References, false),
                ("firewalls", Is::Objects, false),
                ("user_data", Is::Text, false),
                ("labels", Is::Labels, false),
                ("automount", Is::Flag, false),
                ("public_net", Is::Object, false),
            ],
        )?;
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        if !crate::model::name::is_host_name(&name) {
            return Err(Refusal::invalid("name", "must be a valid hostname."));
        }
        check_name_is_free(&state.servers, &body, None, "server")?;
        let types = state.server_types();
        let plan = find(&types, &body["server_type"])
            .ok_or_else(|| Refusal::invalid("server_type", "server type not found"))?;
        let locations = catalog::locations();
        let location = match body.get("location") {
            Some(wanted) => {
                find(&locations, wanted).ok_or_else(|| Refusal::invalid("location", "location not found"))?
            }
            None => &locations[0],
        };
        let images = catalog::images();
        let image = find(images.iter().filter(|image| image["architecture"] == plan["architecture"]), &body["image"])
            .ok_or_else(|| Refusal::invalid("image", "image not found"))?;
        let user_data = body.get("user_data").and_then(Value::as_str).unwrap_or_default();
        if user_data.len() > 32 << 10 {
            return Err(Refusal::invalid("user_data", "Longer than maximum length 32768."));
        }
        let keys = referred(&state.ssh_keys.values().cloned().collect::<Vec<_>>(), &body, "ssh_keys")?;
        let volumes = referred(&state.volumes.values().cloned().collect::<Vec<_>>(), &body, "volumes")?;
        for volume in &volumes {
            if volume["location"]["name"] != location["name"] {
                return Err(Refusal::invalid("volumes", "volume is in another location"));
            }
            if !volume["server"].is_null() {
                return Err(Refusal::new(422, "service_error", "volume is already attached to a server"));
            }
        }
        let firewalls = listed_firewalls(state, &body)?;
        let net = PublicNet::read(state, &body, location)?;
        let stock = plan["locations"].as_array().into_iter().flatten().find(|place| place["name"] == location["name"]);
        if stock.is_none_or(|place| place["available"] != true) {
            return Err(Refusal::new(412, "resource_unavailable", "error during placement"));
        }
        if state.servers.len() >= SERVER_LIMIT {
            return Err(Refusal {
                details: json!({ "limits": [{ "name": "server_limit" }] }),
                ..Refusal::new(403, "resource_limit_exceeded", "server limit exceeded")
            });
        }

        // Nothing is refused any more: from here on it takes effect.
        let id = state.next_id();
        let server = json!({
            "id": id, "name": name, "status": "initializing", "created": now(), "server_type": plan,
            "location": location, "image": image, "iso": null, "rescue_enabled": false, "backup_window": null,
            "outgoing_traffic": null, "ingoing_traffic": null, "included_traffic": 21_990_232_555_520_u64,
            "protection": { "delete": false, "rebuild": false },
            "labels": body.get("labels").cloned().unwrap_or_else(|| json!({})),
            "load_balancers": [], "private_net": [], "primary_disk_size": plan["disk"], "placement_group": null,
        });
        state.servers.insert(id, server);
        let address = net.assign(self, state, id, &name, location)?;
        for volume in &volumes {
            if let Some(volume) = volume["id"].as_i64().and_then(|id| state.volumes.get_mut(&id)) {
                volume["server"] = id.into();
            }
        }
        for firewall in firewalls {
            if let Some(targets) = state.firewalls.get_mut(&firewall).and_then(|f| f["applied_to"].as_array_mut()) {
                targets.push(json!({ "type": "server", "server": { "id": id } }));
            }
        }
        let starts = body.get("start_after_create") != Some(&Value::Bool(false));
        let after = if starts { "running" } else { "off" };
        // A real machine ends its own actions; a modelled one after a while.
        let pace = self.machines.is_none().then_some(state.pace);
        let create = state.begin_action("create_server", &[(id, "server")], pace, Some((id, after)));
        let mut next = Vec::new();
        if starts {
            next.push(state.begin_action(
                "start_server",
                &[(id, "server")],
                pace.map(|p| p * 2),
                Some((id, "running")),
            ));
        }
        let root_password = keys.is_empty().then(|| crate::rehearsal::made_up::token(20));
        let birth = Birth {
            id,
            address,
            host_name: name,
            image: image["name"].as_str().unwrap_or_default().to_owned(),
            user_data: user_data.to_owned(),
            root_keys: keys.iter().filter_map(|key| key["public_key"].as_str().map(str::to_owned)).collect(),
        };
        self.bear(birth, [create].into_iter().chain(next.iter().copied()).collect());
        let body = json!({
            "server": state.show_server(id),
            "action": state.action(create),
            "next_actions": next.iter().filter_map(|id| state.action(*id)).collect::<Vec<_>>(),
            "root_password": root_password,
        });
        Ok(Answer { status: 201, body: Some(body), headers: vec![] })
    }

    pub(super) fn change_server(&self, state: &mut State, id: i64, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("name", Is::Text, false), ("labels", Is::Labels, false)])?;
        check_name_is_free(&state.servers, &body, Some(id), "server")?;
        merge(&mut state.servers, id, body);
        Ok(super::ok(json!({ "server": state.show_server(id) })))
    }

    pub(super) fn delete_server(&self, state: &mut State, id: i64) -> Result<Answer, Refusal> {
        if state.is_locked(id) {
            return Err(locked());
        }
        state.remove_server(id);
        let pace = self.machines.is_none().then_some(state.pace);
        let action = state.begin_action("delete_server", &[(id, "server")], pace, None);
        self.bury(id, action);
        Ok(super::ok(json!({ "action": state.action(action) })))
    }

    pub(super) fn act_on_server(&self, state: &mut State, id: i64, verb: &str, body: &[u8]) -> Result<Answer, Refusal> {
        if state.is_locked(id) {
            return Err(locked());
        }
        let is_off = state.servers[&id]["status"] == "off";
        let pace = Some(state.pace);
        let nothing = || read_body(body, &[]).map(|_| ());
        let (command, then): (&str, Option<&'static str>) = match verb {
            "poweron" => ("start_server", Some("running")),
            "poweroff" => ("stop_server", Some("off")),
            "shutdown" => ("shutdown_server", Some("off")),
            "reboot" => ("reboot_server", Some("running")),
            "reset" => ("reset_server", Some("running")),
            "enable_backup" | "disable_backup" => (verb, None),
            "change_type" => return self.change_type(state, id, body),
            _ => return Err(Refusal::new(404, "not_found", "action not found")),
        };
        nothing()?;
        if let Some(server) = state.servers.get_mut(&id) {
            match verb {
                "enable_backup" => server["backup_window"] = "22-02".into(),
                "disable_backup" => server["backup_window"] = Value::Null,
                "poweron" if is_off => server["status"] = "starting".into(),
                "poweroff" | "shutdown" if !is_off => server["status"] = "stopping".into(),
                _ => {}
            }
        }
        let machine =
            matches!(verb, "poweron" | "poweroff" | "shutdown" | "reboot" | "reset") && self.machines.is_some();
        let action =
            state.begin_action(command, &[(id, "server")], pace.filter(|_| !machine), then.map(|status| (id, status)));
        if machine {
            self.switch(id, verb, action);
        }
        Ok(super::created(json!({ "action": state.action(action) })))
    }

    fn change_type(&self, state: &mut State, id: i64, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("server_type", Is::Reference, true), ("upgrade_disk", Is::Flag, true)])?;
        let types = state.server_types();
        let plan = find(&types, &body["server_type"])
            .ok_or_else(|| Refusal::invalid("server_type", "server type not found"))?;
        let server = &state.servers[&id];
        let stock = plan["locations"].as_array().into_iter().flatten();
        if !stock.into_iter().any(|place| place["name"] == server["location"]["name"] && place["available"] == true) {
            return Err(Refusal::new(412, "resource_unavailable", "server type is not available"));
        }
        if server["status"] != "off" {
            return Err(Refusal::new(422, "server_not_stopped", "server is not stopped"));
        }
        if server["server_type"]["architecture"] != plan["architecture"] {
            return Err(Refusal::invalid("server_type", "incompatible architecture"));
        }
        if server["primary_disk_size"].as_u64() > plan["disk"].as_u64() {
            return Err(Refusal::new(
                422,
                "invalid_server_type",
                "the disk of the server is larger than that of the server type",
            ));
        }
        if let Some(server) = state.servers.get_mut(&id) {
            server["server_type"] = plan.clone();
            if body["upgrade_disk"] == true {
                server["primary_disk_size"] = plan["disk"].clone();
            }
        }
        let action = state.begin_action("change_server_type", &[(id, "server")], Some(state.pace), Some((id, "off")));
        Ok(super::created(json!({ "action": state.action(action) })))
    }

    /// Starts the machine behind a new server, where there are machines; the actions end when it runs.
    fn bear(&self, birth: Birth, actions: Vec<i64>) {
        let Some(machines) = self.machines.clone() else { return };
        let state = self.state.clone();
        tokio::spawn(async move {
            let born = machines.bear(birth).await;
            let mut state = super::lock(&state);
            for action in actions {
                state.end_action(action, born.as_ref().err().map(String::as_str));
            }
        });
    }

    fn bury(&self, id: i64, action: i64) {
        let Some(machines) = self.machines.clone() else { return };
        let state = self.state.clone();
        tokio::spawn(async move {
            let buried = machines.bury(id).await;
            super::lock(&state).end_action(action, buried.as_ref().err().map(String::as_str));
        });
    }

    fn switch(&self, id: i64, verb: &str, action: i64) {
        let Some(machines) = self.machines.clone() else { return };
        let (state, verb) = (self.state.clone(), verb.to_owned());
        tokio::spawn(async move {
            let switched = machines.switch(id, &verb).await;
            super::lock(&state).end_action(action, switched.as_ref().err().map(String::as_str));
        });
    }
}

pub(super) fn locked() -> Refusal {
    Refusal::new(423, "locked", "server is locked")
}

/// The entries of `table` that the list under `key` names.
fn referred(table: &[Value], body: &Map<String, Value>, key: &str) -> Result<Vec<Value>, Refusal> {
    let wanted = body.get(key).and_then(Value::as_array).into_iter().flatten();
    wanted.map(|reference| find(table, reference).cloned().ok_or_else(|| Refusal::invalid(key, "not found"))).collect()
}

fn listed_firewalls(state: &State, body: &Map<String, Value>) -> Result<Vec<i64>, Refusal> {
    let mut ids = Vec::new();
    for (index, entry) in body.get("firewalls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let entry = entry.as_object().cloned().unwrap_or_default();
        let entry = read_object(entry, &[("firewall", Is::Number, true)], &format!("firewalls[{index}]."))?;
        let id = entry["firewall"].as_i64().filter(|id| state.firewalls.contains_key(id));
        ids.push(id.ok_or_else(|| Refusal::invalid("firewalls", "firewall not found"))?);
    }
    Ok(ids)
}

/// Which addresses a new server gets: existing ones, or new ones that go with it.
struct PublicNet {
    families: Vec<(&'static str, Option<i64>)>,
}

impl PublicNet {
    fn read(state: &State, body: &Map<String, Value>, location: &Value) -> Result<PublicNet, Refusal> {
        let net = body.get("public_net").and_then(Value::as_object).cloned().unwrap_or_default();
        let net = read_object(
            net,
            &[
                ("enable_ipv4", Is::Flag, false),
                ("enable_ipv6", Is::Flag, false),
                ("ipv4", Is::Number, false),
                ("ipv6", Is::Number, false),
            ],
            "public_net.",
        )?;
        let mut families = Vec::new();
        for (family, switch) in [("ipv4", "enable_ipv4"), ("ipv6", "enable_ipv6")] {
            if net.get(switch) == Some(&Value::Bool(false)) {
                continue;
            }
            let id = net.get(family).and_then(Value::as_i64);
            if let Some(id) = id {
                let ip = state
                    .primary_ips
                    .get(&id)
                    .ok_or_else(|| Refusal::invalid(&format!("public_net.{family}"), "not found"))?;
                if ip["type"] != family {
                    return Err(Refusal::new(412, "primary_ip_version_mismatch", "primary IP has the wrong version"));
                }
                if !ip["assignee_id"].is_null() {
                    return Err(Refusal::new(422, "primary_ip_assigned", "primary IP is already assigned"));
                }
                if ip["location"]["name"] != location["name"] {
                    return Err(Refusal::invalid(&format!("public_net.{family}"), "primary IP is in another location"));
                }
            }
            families.push((family, id));
        }
        Ok(PublicNet { families })
    }

    /// Gives the server its addresses; the IPv4 address is returned for the machine behind it.
    fn assign(
        &self,
        api: &Hetzner,
        state: &mut State,
        server: i64,
        name: &str,
        location: &Value,
    ) -> Result<String, Refusal> {
        let mut address = String::new();
        for (family, id) in &self.families {
            let id = match id {
                Some(id) => *id,
                None => {
                    let id =
                        new_primary_ip(api, state, &format!("{name}-{family}-{server}"), family, location, &json!({}))?;
                    if let Some(ip) = state.primary_ips.get_mut(&id) {
                        ip["auto_delete"] = true.into();
                    }
                    id
                }
            };
            if let Some(ip) = state.primary_ips.get_mut(&id) {
                ip["assignee_id"] = server.into();
                ip["assignee_type"] = "server".into();
                if *family == "ipv4" {
                    address = ip["ip"].as_str().unwrap_or_default().to_owned();
                }
            }
        }
        Ok(address)
    }
}

/// How long a modelled action takes unless told otherwise.
pub const FAST: Duration = Duration::from_millis(200);
/// How long it takes where time is taken as the clouds do: a database project then comes up within a minute.
pub const REAL: Duration = Duration::from_secs(12);
