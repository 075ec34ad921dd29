//! What a simulated project holds, and how time passes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::rehearsal::hetzner::catalog;
use crate::rehearsal::hetzner::refusal::Refusal;

/// How many servers a project may have.
pub(super) const SERVER_LIMIT: usize = 25;
/// Requests an hour; one comes back each second.
pub(super) const RATE_LIMIT: u32 = 3600;

/// A kind of resource: by identifier, in the API's own form.
pub(super) type Table = BTreeMap<i64, Value>;

/// A running or ended action.
#[derive(Debug)]
pub(super) struct Act {
    /// In the API's own form.
    pub value: Value,
    /// When it ends by itself; `None` when something else ends it.
    ends: Option<Instant>,
    /// The status a server has afterwards.
    then: Option<(i64, &'static str)>,
}

/// A project.
pub(super) struct State {
    next: i64,
    /// Plans that are sold out everywhere, beside those that always are.
    pub sold_out: BTreeSet<String>,
    /// By identifier.
    pub ssh_keys: Table,
    /// By identifier; the server it is assigned to stands in `assignee_id`.
    pub primary_ips: Table,
    /// By identifier; what it is applied to stands in `applied_to`.
    pub firewalls: Table,
    /// By identifier; the server it is attached to stands in `server`.
    pub volumes: Table,
    /// By identifier; addresses, firewalls, volumes and the lock are worked out when it is shown.
    pub servers: Table,
    actions: BTreeMap<i64, Act>,
    /// How long an action takes.
    pub pace: Duration,
    tokens: f64,
    refilled: Instant,
    next_address: u8,
}

impl State {
    /// An empty project whose actions take `pace`.
    pub(super) fn new(pace: Duration) -> State {
        State {
            next: 1_000_000,
            sold_out: BTreeSet::new(),
            ssh_keys: Table::new(),
            primary_ips: Table::new(),
            firewalls: Table::new(),
            volumes: Table::new(),
            servers: Table::new(),
            actions: BTreeMap::new(),
            pace,
            tokens: f64::from(RATE_LIMIT),
            refilled: Instant::now(),
            next_address: 9,
        }
    }

    /// All plans, as they can be ordered now.
    pub(super) fn server_types(&self) -> Vec<Value> {
        let mut all = catalog::server_types();
        for plan in all.iter_mut().filter(|plan| plan["name"].as_str().is_some_and(|name| self.sold_out.contains(name)))
        {
            plan["locations"].as_array_mut().into_iter().flatten().for_each(|place| place["available"] = false.into());
        }
        all
    }

    /// A new identifier.
    pub(super) fn next_id(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    /// The next number of an address, from 10 up; numbers of addresses that are gone are used again.
    pub(super) fn next_address(&mut self) -> Option<u8> {
        let taken = |number: u8| self.primary_ips.values().any(|ip| ip["number"] == number);
        for _ in 10..250 {
            self.next_address = if self.next_address >= 249 { 10 } else { self.next_address + 1 };
            if !taken(self.next_address) {
                return Some(self.next_address);
            }
        }
        None
    }

    /// Spends one request. Gives how many are left, or `None` when none was.
    pub(super) fn spend(&mut self) -> Option<u32> {
        let now = Instant::now();
        let refill = now.duration_since(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + refill).min(f64::from(RATE_LIMIT));
        self.refilled = now;
        if self.tokens < 1.0 {
            return None;
        }
        self.tokens -= 1.0;
        Some(self.tokens as u32)
    }

    /// Lets time pass: ends the actions whose time has come.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let due: Vec<i64> = self
            .actions
            .iter()
            .filter(|(_, act)| act.value["status"] == "running" && act.ends.is_some_and(|ends| ends <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.end_action(id, None);
        }
    }

    /// Begins an action on `resources` that ends after `after`, or when it is told to; a server's status
    /// is then as `then` says.
    pub(super) fn begin_action(
        &mut self,
        command: &str,
        resources: &[(i64, &str)],
        after: Option<Duration>,
        then: Option<(i64, &'static str)>,
    ) -> i64 {
        let id = self.next_id();
        let resources: Vec<Value> = resources.iter().map(|(id, kind)| json!({ "id": id, "type": kind })).collect();
        let value = json!({
            "id": id, "command": command, "status": "running", "progress": 0, "started": now(), "finished": null,
            "resources": resources, "error": null,
        });
        self.actions.insert(id, Act { value, ends: after.map(|after| Instant::now() + after), then });
        id
    }

    /// Ends an action, well or with an error.
    pub(super) fn end_action(&mut self, id: i64, error: Option<&str>) {
        let Some(act) = self.actions.get_mut(&id) else { return };
        act.value["finished"] = now().into();
        act.value["progress"] = 100.into();
        match error {
            None => {
                act.value["status"] = "success".into();
                if let Some((server, status)) = act.then
                    && let Some(server) = self.servers.get_mut(&server)
                {
                    server["status"] = status.into();
                }
            }
            Some(message) => {
                act.value["status"] = "error".into();
                act.value["error"] = json!({ "code": "action_failed", "message": message });
                if let Some((server, _)) = act.then
                    && let Some(server) = self.servers.get_mut(&server)
                {
                    server["status"] = "off".into();
                }
            }
        }
    }

    /// An action in the API's form.
    pub(super) fn action(&self, id: i64) -> Option<Value> {
        self.actions.get(&id).map(|act| act.value.clone())
    }

    /// Every action on this resource, oldest first.
    pub(super) fn actions_of(&self, id: i64, kind: &str) -> Vec<Value> {
        let on = |act: &&Act| {
            act.value["resources"].as_array().into_iter().flatten().any(|r| r["id"] == id && r["type"] == kind)
        };
        self.actions.values().filter(on).map(|act| act.value.clone()).collect()
    }

    /// Does an action hold this server?
    pub(super) fn is_locked(&self, server: i64) -> bool {
        self.actions_of(server, "server").iter().any(|action| action["status"] == "running")
    }

    /// The server, in the API's form.
    pub(super) fn show_server(&self, id: i64) -> Value {
        let mut server = self.servers.get(&id).cloned().unwrap_or_default();
        let ip = |family: &str| {
            self.primary_ips.values().find(|ip| ip["assignee_id"] == id && ip["type"] == family).map(|ip| {
                let mut shown = json!({ "id": ip["id"], "ip": ip["ip"], "blocked": false });
                shown["dns_ptr"] = match family {
                    "ipv4" => ip["dns_ptr"][0]["dns_ptr"].clone(),
                    _ => json!([]),
                };
                shown
            })
        };
        let firewalls: Vec<Value> = self
            .firewalls
            .values()
            .filter(|firewall| self.is_applied(firewall, id))
            .map(|firewall| json!({ "id": firewall["id"], "status": "applied" }))
            .collect();
        server["public_net"] =
            json!({ "ipv4": ip("ipv4"), "ipv6": ip("ipv6"), "floating_ips": [], "firewalls": firewalls });
        server["volumes"] = self.volumes.values().filter(|v| v["server"] == id).map(|v| v["id"].clone()).collect();
        server["locked"] = self.is_locked(id).into();
        server
    }

    /// Is this firewall in front of the server, directly or by a label selector?
    pub(super) fn is_applied(&self, firewall: &Value, server: i64) -> bool {
        let labels = &self.servers[&server]["labels"];
        firewall["applied_to"].as_array().into_iter().flatten().any(|target| match target["type"].as_str() {
            Some("server") => target["server"]["id"] == server,
            _ => target["label_selector"]["selector"].as_str().is_some_and(|selector| {
                super::lists::parse_selector(selector).is_ok_and(|all| all.iter().all(|r| r.is_met(labels)))
            }),
        })
    }

    /// Takes a server out, with what goes with it.
    pub(super) fn remove_server(&mut self, id: i64) {
        self.servers.remove(&id);
        self.primary_ips.retain(|_, ip| !(ip["assignee_id"] == id && ip["auto_delete"] == true));
        for ip in self.primary_ips.values_mut().filter(|ip| ip["assignee_id"] == id) {
            ip["assignee_id"] = Value::Null;
            ip["assignee_type"] = "unassigned".into();
        }
        for volume in self.volumes.values_mut().filter(|volume| volume["server"] == id) {
            volume["server"] = Value::Null;
        }
        for firewall in self.firewalls.values_mut() {
            if let Some(targets) = firewall["applied_to"].as_array_mut() {
                targets.retain(|target| target["server"]["id"] != id);
            }
        }
    }
}

/// Now, as the API writes it.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The identifier a body's reference means in `table`: itself, or that of the entry with this name.
pub(super) fn find<'a>(table: impl IntoIterator<Item = &'a Value>, reference: &Value) -> Option<&'a Value> {
    let text = reference.as_str();
    let number = reference.as_i64().or_else(|| text.and_then(|text| text.parse().ok()));
    table
        .into_iter()
        .find(|entry| number.is_some_and(|id| entry["id"] == id) || text.is_some_and(|name| entry["name"] == name))
}

/// Checks that no other entry of `table` has the name in `body`.
pub(super) fn check_name_is_free(
    table: &Table,
    body: &Map<String, Value>,
    except: Option<i64>,
    what: &str,
) -> Result<(), Refusal> {
    let Some(name) = body.get("name") else { return Ok(()) };
    if name.as_str().is_none_or(str::is_empty) {
        return Err(Refusal::invalid("name", "Shorter than minimum length 1."));
    }
    match table.iter().any(|(id, entry)| entry["name"] == *name && Some(*id) != except) {
        true => Err(Refusal::taken("name", &format!("{what} name is already used"))),
        false => Ok(()),
    }
}

/// Puts the fields of `body` into the entry with this identifier.
pub(crate) fn merge(table: &mut Table, id: i64, body: Map<String, Value>) {
    if let Some(entry) = table.get_mut(&id).and_then(Value::as_object_mut) {
        entry.extend(body);
    }
}
