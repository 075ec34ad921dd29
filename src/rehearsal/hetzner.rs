//! A simulated Hetzner Cloud: strict and stateful, with the errors, pages, actions and limits of the real
//! one. Its truth is the official OpenAPI specification; tests hold every answer against it.

mod addresses;
mod catalog;
mod lists;
mod refusal;
mod servers;
mod state;
mod things;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::rehearsal::hetzner::lists::list;
use crate::rehearsal::hetzner::refusal::Refusal;
use crate::rehearsal::hetzner::state::{RATE_LIMIT, State};
use crate::rehearsal::machines::Machines;
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request, Simulator};

pub use crate::rehearsal::hetzner::servers::{FAST, REAL};

/// The simulated API, for one project.
pub struct Hetzner {
    state: Arc<Mutex<State>>,
    machines: Option<Arc<dyn Machines>>,
    token: String,
    read_only_token: String,
}

impl Hetzner {
    /// An empty project. Servers are local machines where there are `machines`, and modelled otherwise;
    /// modelled actions take `pace`.
    pub fn new(machines: Option<Arc<dyn Machines>>, pace: Duration) -> Hetzner {
        Hetzner {
            state: Arc::new(Mutex::new(State::new(pace))),
            machines,
            token: made_up::token(64),
            read_only_token: made_up::token(64),
        }
    }

    /// A token that may only read.
    pub fn read_only_token(&self) -> &str {
        &self.read_only_token
    }

    /// From now on the plan called `name` is sold out everywhere.
    pub fn sell_out(&self, name: &str) {
        lock(&self.state).sold_out.insert(name.to_owned());
    }

    /// The IPv4 address of the server called `name`.
    pub fn address_of(&self, name: &str) -> Option<String> {
        let state = lock(&self.state);
        let (id, _) = state.servers.iter().find(|(_, server)| server["name"] == name)?;
        state.show_server(*id)["public_net"]["ipv4"]["ip"].as_str().map(str::to_owned)
    }

    /// The identifier of the server called `name`.
    pub fn server_id(&self, name: &str) -> Option<i64> {
        let state = lock(&self.state);
        state.servers.iter().find(|(_, server)| server["name"] == name).map(|(id, _)| *id)
    }

    /// The address with this number within the machines' network, or within the documentation's (RFC 5737).
    fn ipv4(&self, number: u8) -> String {
        match &self.machines {
            Some(machines) => machines.address(number),
            None => format!("203.0.113.{number}"),
        }
    }

    fn route(&self, request: &Request) -> Result<Answer, Refusal> {
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let method = request.method.as_str();
        let state = &mut *lock(&self.state);
        state.tick();
        let id = |text: &str, what: &str| text.parse::<i64>().ok().ok_or_else(|| Refusal::not_found(what, text));
        match (method, &parts[..]) {
            ("GET", ["actions"]) => actions(state, request),
            ("GET", ["actions", text]) => {
                let action = state.action(id(text, "action")?);
                action.map(|action| ok(json!({ "action": action }))).ok_or_else(|| Refusal::not_found("action", text))
            }
            ("GET", ["server_types"]) => list(state.server_types(), "server_types", request),
            ("GET", ["server_types", text]) => one(state.server_types(), "server_type", text),
            ("GET", ["locations"]) => list(catalog::locations(), "locations", request),
            ("GET", ["locations", text]) => one(catalog::locations(), "location", text),
            ("GET", ["images"]) => list(catalog::images(), "images", request),
            ("GET", ["images", text]) => one(catalog::images(), "image", text),
            ("GET", ["pricing"]) => Ok(ok(json!({ "pricing": catalog::pricing() }))),
            ("GET", ["datacenters", ..]) => {
                Err(Refusal::new(410, "deprecated_api_endpoint", "this endpoint has been removed, use locations"))
            }
            // What the simulator does not have is empty, so that clients which look there find nothing.
            (
                "GET",
                [
                    empty @ ("networks" | "placement_groups" | "load_balancers" | "floating_ips" | "isos"
                    | "certificates"),
                ],
            ) => list(vec![], empty, request),
            (_, [kind @ ("servers" | "ssh_keys" | "firewalls" | "volumes" | "primary_ips"), rest @ ..]) => {
                self.resource(state, request, kind, rest)
            }
            (_, ["actions" | "server_types" | "locations" | "images" | "pricing", ..]) => Err(not_allowed()),
            _ => Err(Refusal::new(404, "not_found", "endpoint not found")),
        }
    }

    fn resource(&self, state: &mut State, request: &Request, kind: &str, rest: &[&str]) -> Result<Answer, Refusal> {
        let body = &request.body[..];
        let (table, single) = match kind {
            "servers" => (&state.servers, "server"),
            "ssh_keys" => (&state.ssh_keys, "ssh_key"),
            "firewalls" => (&state.firewalls, "firewall"),
            "volumes" => (&state.volumes, "volume"),
            _ => (&state.primary_ips, "primary_ip"),
        };
        let [text, rest @ ..] = rest else {
            return match (request.method.as_str(), kind) {
                ("GET", _) => {
                    let ids: Vec<i64> = table.keys().copied().collect();
                    list(ids.into_iter().map(|id| show(state, kind, id)).collect(), kind, request)
                }
                ("POST", "servers") => self.create_server(state, body),
                ("POST", "ssh_keys") => self.create_ssh_key(state, body),
                ("POST", "firewalls") => self.create_firewall(state, body),
                ("POST", "volumes") => self.create_volume(state, body),
                ("POST", _) => self.create_primary_ip(state, body),
                _ => Err(not_allowed()),
            };
        };
        let id = text.parse::<i64>().ok().filter(|id| table.contains_key(id));
        let id = id.ok_or_else(|| Refusal::not_found(&single.replace('_', " "), text))?;
        match (request.method.as_str(), kind, rest) {
            ("GET", _, []) => Ok(ok(json!({ single: show(state, kind, id) }))),
            ("GET", _, ["actions"]) => list(state.actions_of(id, single), "actions", request),
            ("PUT", "servers", []) => self.change_server(state, id, body),
            ("PUT", "ssh_keys", []) => self.change_ssh_key(state, id, body),
            ("PUT", "firewalls", []) => self.change_firewall(state, id, body),
            ("PUT", "volumes", []) => self.change_volume(state, id, body),
            ("PUT", _, []) => self.change_primary_ip(state, id, body),
            ("DELETE", "servers", []) => self.delete_server(state, id),
            ("DELETE", "ssh_keys", []) => {
                state.ssh_keys.remove(&id);
                Ok(gone())
            }
            ("DELETE", "firewalls", []) => self.delete_firewall(state, id),
            ("DELETE", "volumes", []) => self.delete_volume(state, id),
            ("DELETE", _, []) => self.delete_primary_ip(state, id),
            ("POST", "servers", ["actions", verb]) => self.act_on_server(state, id, verb, body),
            ("POST", "firewalls", ["actions", verb]) => self.act_on_firewall(state, id, verb, body),
            ("POST", "volumes", ["actions", verb]) => self.act_on_volume(state, id, verb, body),
            ("POST", "primary_ips", ["actions", verb]) => self.act_on_primary_ip(state, id, verb, body),
            _ => Err(not_allowed()),
        }
    }
}

#[async_trait]
impl Simulator for Hetzner {
    fn base(&self) -> &'static str {
        "/v1"
    }

    async fn answer(&self, request: Request) -> Answer {
        // Unauthenticated calls count towards the limit too.
        let left = lock(&self.state).spend();
        let mut answer = match (left, &request.token) {
            (None, _) => {
                Refusal::new(429, "rate_limit_exceeded", "limit of 3600 requests per hour reached").into_answer()
            }
            (_, Some(token)) if *token == self.read_only_token && request.method != "GET" => {
                Refusal::new(401, "token_readonly", "token is only allowed to perform GET requests").into_answer()
            }
            (_, Some(token)) if *token == self.token || *token == self.read_only_token => {
                self.route(&request).unwrap_or_else(Refusal::into_answer)
            }
            _ => Refusal::new(401, "unauthorized", "unable to authenticate").into_answer(),
        };
        let left = left.unwrap_or(0);
        let reset = jiff::Timestamp::now().as_second() + i64::from(RATE_LIMIT - left);
        answer.headers.push(("ratelimit-limit", RATE_LIMIT.to_string()));
        answer.headers.push(("ratelimit-remaining", left.to_string()));
        answer.headers.push(("ratelimit-reset", reset.to_string()));
        answer.headers.push(("x-correlation-id", made_up::token(16)));
        answer
    }

    fn name(&self) -> &'static str {
        "hetzner"
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn holds(&self) -> Vec<String> {
        let state = lock(&self.state);
        let tables = [
            ("server", &state.servers),
            ("volume", &state.volumes),
            ("firewall", &state.firewalls),
            ("primary-ip", &state.primary_ips),
            ("ssh-key", &state.ssh_keys),
        ];
        let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
        tables
            .into_iter()
            .flat_map(|(kind, table)| table.values().map(move |e| format!("{kind} {}", name(e))))
            .collect()
    }

    fn error(&self, code: &str, message: &str) -> Value {
        json!({ "error": { "code": code, "message": message, "details": null } })
    }
}

fn show(state: &State, kind: &str, id: i64) -> Value {
    match kind {
        "servers" => state.show_server(id),
        "primary_ips" => addresses::show(&state.primary_ips[&id]),
        "ssh_keys" => state.ssh_keys[&id].clone(),
        "firewalls" => state.firewalls[&id].clone(),
        _ => state.volumes[&id].clone(),
    }
}

/// Several actions by identifier; listing them all is gone since 2025-01-30.
fn actions(state: &State, request: &Request) -> Result<Answer, Refusal> {
    let ids: Vec<&str> = request.query.iter().filter(|(key, _)| key == "id").map(|(_, id)| id.as_str()).collect();
    if ids.is_empty() {
        return Err(Refusal::new(410, "deprecated_api_endpoint", "listing all actions has been removed"));
    }
    let found = ids.iter().filter_map(|id| state.action(id.parse().ok()?)).collect();
    list(found, "actions", request)
}

fn one(entries: Vec<Value>, key: &str, text: &str) -> Result<Answer, Refusal> {
    let found = entries.into_iter().find(|entry| entry["id"].as_i64() == text.parse().ok());
    found.map(|entry| ok(json!({ key: entry }))).ok_or_else(|| Refusal::not_found(&key.replace('_', " "), text))
}

fn not_allowed() -> Refusal {
    Refusal::new(405, "method_not_allowed", "method not allowed")
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, body: Some(body), headers: vec![] }
}

fn created(body: Value) -> Answer {
    Answer { status: 201, body: Some(body), headers: vec![] }
}

fn gone() -> Answer {
    Answer { status: 204, body: None, headers: vec![] }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
