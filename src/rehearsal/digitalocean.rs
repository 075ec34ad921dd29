//! A simulated DigitalOcean: droplets, SSH keys, firewalls, reserved addresses, volumes, private networks and tags.
//! Strict and stateful; names of droplets are not unique, and lists end where the real ones end.

mod catalog;
mod droplets;
mod parts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::rehearsal::machines::Machines;
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request, Simulator};
use crate::rehearsal::strict::Wrong;

/// The simulated API, for one account.
pub struct DigitalOcean {
    state: Arc<Mutex<State>>,
    machines: Option<Arc<dyn Machines>>,
    token: String,
}

/// A request the API refuses: status, identifier and message.
#[derive(Debug)]
struct Refusal(u16, &'static str, String);

/// Entries by what the path calls them.
type Table = BTreeMap<String, Value>;

/// Everything in the account.
struct State {
    next: i64,
    next_address: u8,
    pace: Duration,
    droplets: Table,
    keys: Table,
    firewalls: Table,
    volumes: Table,
    addresses: Table,
    networks: Table,
    tags: Vec<String>,
    actions: BTreeMap<i64, Act>,
    /// When recent requests were made: the limit is a sliding window.
    spent: VecDeque<Instant>,
}

/// An action and what it does when it ends.
struct Act {
    value: Value,
    ends: Option<Instant>,
    then: Option<(String, &'static str)>,
}

/// Requests in a minute; the hourly limit of 5000 is never the first to be met by one user.
const RATE_LIMIT: usize = 250;

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Refusal {
        match wrong {
            Wrong::Body(_) => Refusal(400, "bad_request", "error parsing request body".into()),
            Wrong::Field(field, why) => Refusal(422, "unprocessable_entity", format!("{field}: {why}")),
        }
    }
}

impl Refusal {
    fn not_found() -> Refusal {
        Refusal(404, "not_found", "The resource you requested could not be found.".into())
    }

    fn unprocessable(message: impl Into<String>) -> Refusal {
        Refusal(422, "unprocessable_entity", message.into())
    }

    fn conflict(message: impl Into<String>) -> Refusal {
        Refusal(409, "conflict", message.into())
    }
}

impl DigitalOcean {
    /// An empty account. Droplets are local machines where there are `machines`, and modelled otherwise; modelled
    /// actions take `pace`.
    pub fn new(machines: Option<Arc<dyn Machines>>, pace: Duration) -> DigitalOcean {
        let mut state = State {
            next: 3_000_000,
            next_address: 99,
            pace,
            droplets: Table::new(),
            keys: Table::new(),
            firewalls: Table::new(),
            volumes: Table::new(),
            addresses: Table::new(),
            networks: Table::new(),
            tags: vec![],
            actions: BTreeMap::new(),
            spent: VecDeque::new(),
        };
        // An account that was used before has a default network in some places; others get theirs with their first
        // droplet.
        for place in ["fra1", "ams3"] {
            state.add_network(&format!("default-{place}"), place, "", true);
        }
        let token = format!("dop_v1_{}", made_up::hex(64));
        DigitalOcean { state: Arc::new(Mutex::new(state)), machines, token }
    }

    /// The public IPv4 address visitors of the droplet called `name` use: its reserved one, or its own.
    pub fn address_of(&self, name: &str) -> Option<String> {
        let state = self.lock();
        let (id, droplet) = state.droplets.iter().find(|(_, droplet)| droplet["name"] == name)?;
        let reserved = state.addresses.iter().find(|(_, entry)| entry["droplet"] == id.as_str());
        let own = || droplet["public"].as_str().map(str::to_owned);
        reserved.map(|(ip, _)| ip.clone()).or_else(own)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, request: &Request) -> Result<Answer, Refusal> {
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let state = &mut *self.lock();
        state.spend()?;
        state.tick();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["account"]) => Ok(ok(json!({ "account": {
                "droplet_limit": 25, "floating_ip_limit": 3, "email": "me@acme.example", "name": "Simulated",
                "uuid": made_up::hex(40), "email_verified": true, "status": "active", "status_message": "",
            } }))),
            ("GET", ["sizes"]) => list(catalog::sizes(), "sizes", request),
            ("GET", ["regions"]) => list(catalog::regions(), "regions", request),
            ("GET", ["images"]) => list(catalog::images(), "images", request),
            ("GET", ["actions", id]) => state.action(id).map(|action| ok(json!({ "action": action }))),
            (_, ["account", "keys", rest @ ..]) => state.ssh_keys(request, rest),
            (_, ["droplets", rest @ ..]) => self.droplets(state, request, rest),
            (_, ["firewalls", rest @ ..]) => state.firewalls(request, rest),
            (_, ["volumes", rest @ ..]) => state.volumes(request, rest),
            (_, ["reserved_ips", rest @ ..]) => self.reserved_ips(state, request, rest),
            (_, ["vpcs", rest @ ..]) => state.vpcs(request, rest),
            (_, ["tags", rest @ ..]) => state.tags(request, rest),
            _ => Err(Refusal::not_found()),
        }
    }

    /// The address with this number within the machines' network, or within the documentation's (RFC 5737).
    fn ipv4(&self, number: u8) -> String {
        match &self.machines {
            Some(machines) => machines.address(number),
            None => format!("198.51.100.{number}"),
        }
    }
}

impl State {
    fn next_id(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn next_address(&mut self) -> u8 {
        self.next_address = if self.next_address >= 199 { 100 } else { self.next_address + 1 };
        self.next_address
    }

    /// A minute is shorter where everything is faster, so that the limit means the same to a test.
    fn minute(&self) -> Duration {
        Duration::from_secs(60).min(self.pace * 100)
    }

    /// The second since 1970 by which the oldest request counts no more.
    fn limit_resets(&self) -> i64 {
        let left = self.spent.front().map_or(Duration::ZERO, |first| self.minute().saturating_sub(first.elapsed()));
        let now = jiff::Timestamp::now().as_millisecond();
        (now + i64::try_from(left.as_millis()).unwrap_or(0)).div_euclid(1000) + 1
    }

    fn spend(&mut self) -> Result<(), Refusal> {
        let now = Instant::now();
        let minute = self.minute();
        while self.spent.front().is_some_and(|first| now.duration_since(*first) > minute) {
            self.spent.pop_front();
        }
        if self.spent.len() >= RATE_LIMIT {
            return Err(Refusal(429, "too_many_requests", "API rate limit exceeded.".into()));
        }
        self.spent.push_back(now);
        Ok(())
    }

    /// Lets time pass: ends the actions whose time has come.
    fn tick(&mut self) {
        let now = Instant::now();
        let running = |act: &&mut Act| act.value["status"] == "in-progress" && act.ends.is_some_and(|ends| ends <= now);
        for act in self.actions.values_mut().filter(running) {
            act.value["status"] = "completed".into();
            act.value["completed_at"] = made_up::now().into();
            if let Some((droplet, status)) = &act.then
                && let Some(droplet) = self.droplets.get_mut(droplet)
            {
                droplet["status"] = (*status).into();
            }
        }
    }

    /// Begins an action that ends after `after`, or when it is told to; a droplet's status is then as `then` says.
    fn begin(
        &mut self,
        kind: &str,
        of: (&str, Option<i64>),
        region: &str,
        after: Option<Duration>,
        then: Option<(String, &'static str)>,
    ) -> i64 {
        let id = self.next_id();
        let value = json!({
            "id": id, "status": "in-progress", "type": kind, "started_at": made_up::now(), "completed_at": null,
            "resource_id": of.1, "resource_type": of.0, "region": catalog::region(region), "region_slug": region,
        });
        self.actions.insert(id, Act { value, ends: after.map(|after| Instant::now() + after), then });
        id
    }

    /// Ends an action that a machine carried out.
    fn end(&mut self, id: i64, went_well: bool) {
        if let Some(act) = self.actions.get_mut(&id) {
            act.ends = Some(Instant::now());
            if !went_well {
                act.value["status"] = "errored".into();
                act.value["completed_at"] = made_up::now().into();
            }
        }
        self.tick();
    }

    fn action(&self, id: &str) -> Result<Value, Refusal> {
        let found = id.parse().ok().and_then(|id: i64| self.actions.get(&id));
        found.map(|act| act.value.clone()).ok_or_else(Refusal::not_found)
    }

    fn tags(&mut self, request: &Request, rest: &[&str]) -> Result<Answer, Refusal> {
        use crate::rehearsal::strict::{Is, read_body};
        let show = |name: &String| json!({ "name": name, "resources": { "count": 0 } });
        match (request.method.as_str(), rest) {
            ("GET", []) => list(self.tags.iter().map(show).collect(), "tags", request),
            ("POST", []) => {
                let body = read_body(&request.body, &[("name", Is::Text, true)])?;
                let name = body["name"].as_str().unwrap_or_default().to_owned();
                self.add_tags(&json!([name]))?;
                Ok(answer(201, json!({ "tag": show(&name) })))
            }
            ("GET", [name]) => match self.tags.iter().find(|tag| tag == name) {
                Some(tag) => Ok(ok(json!({ "tag": show(tag) }))),
                None => Err(Refusal::not_found()),
            },
            ("DELETE", [name]) => {
                self.tags.retain(|tag| tag != name);
                // What had it is untagged, and stays.
                for entry in
                    self.droplets.values_mut().chain(self.volumes.values_mut()).chain(self.firewalls.values_mut())
                {
                    if let Some(tags) = entry["tags"].as_array_mut() {
                        tags.retain(|tag| tag != name);
                    }
                }
                Ok(gone())
            }
            ("POST" | "DELETE", [name, "resources"]) => {
                let adds = request.method == "POST";
                if !self.tags.iter().any(|tag| tag == name) {
                    return Err(Refusal::not_found());
                }
                let body = read_body(&request.body, &[("resources", Is::Objects, true)])?;
                for resource in body["resources"].as_array().into_iter().flatten() {
                    let id = resource["resource_id"].as_str().ok_or_else(|| Refusal::unprocessable("resource_id"))?;
                    let table = match resource["resource_type"].as_str() {
                        Some("droplet") => &mut self.droplets,
                        Some("volume") => &mut self.volumes,
                        _ => return Err(Refusal::unprocessable("resource_type is not valid")),
                    };
                    let entry = table.get_mut(id).ok_or_else(Refusal::not_found)?;
                    let tags = entry["tags"].as_array_mut().ok_or_else(Refusal::not_found)?;
                    tags.retain(|tag| tag != name);
                    if adds {
                        tags.push((*name).into());
                    }
                }
                Ok(gone())
            }
            _ => Err(Refusal::not_found()),
        }
    }

    /// Makes tags that are not there yet.
    fn add_tags(&mut self, tags: &Value) -> Result<(), Refusal> {
        for tag in tags.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let legal = |c: char| c.is_ascii_alphanumeric() || "_-:".contains(c);
            if tag.is_empty() || tag.len() > 255 || !tag.chars().all(legal) {
                return Err(Refusal::unprocessable(format!("{tag} is not a valid tag")));
            }
            if !self.tags.iter().any(|known| known == tag) {
                self.tags.push(tag.to_owned());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Simulator for DigitalOcean {
    fn base(&self) -> &'static str {
        "/v2"
    }

    async fn answer(&self, request: Request) -> Answer {
        let answered = match request.token.as_deref() == Some(self.token.as_str()) {
            true => self.route(&request),
            false => Err(Refusal(401, "unauthorized", "Unable to authenticate you.".into())),
        };
        answered.unwrap_or_else(|Refusal(status, id, message)| {
            let body = json!({ "id": id, "message": message, "request_id": made_up::uuid() });
            let mut headers = vec![("ratelimit-limit", "5000".to_owned())];
            if status == 429 {
                headers.push(("ratelimit-reset", self.lock().limit_resets().to_string()));
            }
            Answer { status, body: Some(body), headers }
        })
    }

    fn name(&self) -> &'static str {
        "digitalocean"
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn holds(&self) -> Vec<String> {
        let state = self.lock();
        let tables = [
            ("droplet", &state.droplets, "name"),
            ("volume", &state.volumes, "name"),
            ("firewall", &state.firewalls, "name"),
            ("ssh-key", &state.keys, "name"),
            ("reserved-ip", &state.addresses, "ip"),
        ];
        let name = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let all = tables.into_iter();
        let held = all.flat_map(|(kind, table, key)| table.values().map(move |e| format!("{kind} {}", name(e, key))));
        // A default network costs nothing and cannot be deleted.
        let networks = state.networks.values().filter(|network| network["default"] == false);
        held.chain(networks.map(|network| format!("vpc {}", name(network, "name")))).collect()
    }

    fn error(&self, code: &str, message: &str) -> Value {
        json!({ "id": code, "message": message })
    }
}

fn answer(status: u16, body: Value) -> Answer {
    Answer { status, body: Some(body), headers: vec![("ratelimit-limit", "5000".to_owned())] }
}

fn ok(body: Value) -> Answer {
    answer(200, body)
}

fn gone() -> Answer {
    Answer { status: 204, body: None, headers: vec![] }
}

/// One page of `entries` under `key`. Links are whole URLs of the real API, which a client that was pointed elsewhere
/// must not follow.
fn list(entries: Vec<Value>, key: &str, request: &Request) -> Result<Answer, Refusal> {
    let number = |name: &str, usual: usize| match request.query(name) {
        None => Ok(usual),
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| Refusal::unprocessable(format!("{name} is not valid"))),
    };
    let (page, per_page) = (number("page", 1)?, number("per_page", 20)?);
    if per_page > 200 {
        return Err(Refusal::unprocessable("per_page must be at most 200"));
    }
    let total = entries.len();
    let last = total.div_ceil(per_page).max(1);
    let shown: Vec<Value> = entries.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
    let url = |page: usize| format!("https://api.digitalocean.com/v2{}?page={page}&per_page={per_page}", request.path);
    let mut pages = json!({});
    if page > 1 {
        pages["first"] = url(1).into();
        pages["prev"] = url(page - 1).into();
    }
    if page < last {
        pages["next"] = url(page + 1).into();
        pages["last"] = url(last).into();
    }
    let links = if last > 1 { json!({ "pages": pages }) } else { json!({}) };
    Ok(ok(json!({ key: shown, "links": links, "meta": { "total": total } })))
}
