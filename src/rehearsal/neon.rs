//! A simulated Neon: projects with one or more branches, computes, databases and roles. The default branch's database
//! is a real PostgreSQL.

mod parts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::rehearsal::databases::{Cluster, Databases, identifier, literal};
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request, Simulator};
use crate::rehearsal::strict::{Is, Wrong, read_body, read_object};

/// The simulated API, for one organisation.
pub struct Neon {
    state: Mutex<State>,
    databases: Arc<Databases>,
    token: String,
    pace: Duration,
}

struct State {
    organization: String,
    projects: BTreeMap<String, Project>,
    /// How many seconds later than the next project another run makes one of its name.
    twin: Option<i64>,
}

/// A project and everything in it.
struct Project {
    value: Value,
    branches: Vec<Value>,
    annotations: BTreeMap<String, Value>,
    endpoints: Vec<Value>,
    databases: Vec<Value>,
    roles: Vec<Value>,
    passwords: BTreeMap<String, String>,
    operations: Vec<(Value, Instant)>,
    cluster: Option<Arc<Cluster>>,
}

/// A request the API refuses: status, code and message.
#[derive(Debug)]
struct Refusal(u16, &'static str, String);

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Refusal {
        match wrong {
            Wrong::Body(why) => Refusal(400, "BAD_REQUEST", why),
            Wrong::Field(field, why) => Refusal(400, "BAD_REQUEST", format!("{field}: {why}")),
        }
    }
}

const REGIONS: &[&str] = &["aws-us-east-1", "aws-us-west-2", "aws-eu-central-1", "aws-eu-west-2", "aws-ap-southeast-1"];

fn not_found(what: &str) -> Refusal {
    Refusal(404, "NOT_FOUND", format!("{what} not found"))
}

impl Neon {
    /// An empty organisation.
    pub fn new(databases: Arc<Databases>, pace: Duration) -> Neon {
        let organization = format!("org-calm-field-{}", made_up::text(b"0123456789", 8));
        let state = State { organization, projects: BTreeMap::new(), twin: None };
        Neon { state: Mutex::new(state), databases, token: format!("napi_{}", made_up::token(64)), pace }
    }

    /// The organisation's identifier.
    pub fn organization(&self) -> String {
        self.lock().organization.clone()
    }

    /// Projects of somebody else's with these names, without a database behind them.
    pub fn add_strangers(&self, names: impl IntoIterator<Item = String>) {
        let mut state = self.lock();
        let organization = state.organization.clone();
        for name in names {
            let project = Project::new(&name, "aws-eu-central-1", 17, &organization, self.pace);
            state.projects.insert(project.id(), project);
        }
    }

    /// With the next project that is made, another run makes one of the same name, so many seconds later.
    pub fn meet_a_twin(&self, seconds: i64) {
        self.lock().twin = Some(seconds);
    }

    /// Runs SQL in the database of the project called `name`, past the API.
    pub async fn sql(&self, name: &str, sql: &str) -> Result<String, String> {
        let found = self.lock().projects.values().find(|p| p.value["name"] == name).and_then(|p| {
            let text = |list: &[Value]| Some(list.first()?["name"].as_str()?.to_owned());
            Some((p.cluster.clone()?, text(&p.roles)?, text(&p.databases)?))
        });
        let (cluster, role, database) = found.ok_or("no such project")?;
        cluster.run_as(&role, &database, sql).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn route(&self, request: &Request) -> Result<Answer, Refusal> {
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        if let ("POST", ["projects"]) = (request.method.as_str(), &parts[..]) {
            return self.create(&request.body).await;
        }
        let state = &mut *self.lock();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["auth"]) => Ok(ok(json!({ "account_id": state.organization, "auth_method": "api_key_org" }))),
            ("GET", ["regions"]) => {
                let show = |id: &&str| json!({ "region_id": id, "name": id, "default": *id == "aws-us-east-1", "geo_lat": "50.11", "geo_long": "8.68" });
                Ok(ok(json!({ "regions": REGIONS.iter().map(show).collect::<Vec<_>>() })))
            }
            ("GET", ["users", "me", "organizations"]) => Ok(ok(json!({ "organizations": [{
                "id": state.organization, "name": "Simulated", "handle": state.organization, "plan": "launch",
                "created_at": made_up::now(), "managed_by": "console", "updated_at": made_up::now(),
            }] }))),
            ("GET", ["projects"]) => state.list(request),
            (_, ["projects", id, rest @ ..]) => {
                if let ("DELETE", []) = (request.method.as_str(), rest) {
                    let project = state.projects.remove(*id).ok_or_else(|| not_found("project"))?;
                    return Ok(ok(json!({ "project": project.value })));
                }
                let project = state.projects.get_mut(*id).ok_or_else(|| not_found("project"))?;
                project.route(request, rest, self.pace)
            }
            _ => Err(not_found("path")),
        }
    }

    async fn create(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("project", Is::Object, true)])?;
        let fields = [
            ("name", Is::Text, false),
            ("region_id", Is::Text, false),
            ("pg_version", Is::Number, false),
            ("org_id", Is::Text, false),
            ("store_passwords", Is::Flag, false),
            ("history_retention_seconds", Is::Number, false),
            ("provisioner", Is::Text, false),
            ("default_endpoint_settings", Is::Object, false),
            ("autoscaling_limit_min_cu", Is::Any, false),
            ("autoscaling_limit_max_cu", Is::Any, false),
            ("branch", Is::Object, false),
            ("settings", Is::Object, false),
        ];
        let wanted = read_object(body["project"].as_object().cloned().unwrap_or_default(), &fields, "project.")?;
        let text = |field: &str, usual: &str| wanted.get(field).and_then(Value::as_str).unwrap_or(usual).to_owned();
        let region = text("region_id", "aws-us-east-1");
        if !REGIONS.contains(&region.as_str()) {
            return Err(Refusal(400, "BAD_REQUEST", format!("region {region} is not available")));
        }
        let version = wanted.get("pg_version").and_then(Value::as_i64).unwrap_or(17);
        if !(14..=18).contains(&version) {
            return Err(Refusal(400, "BAD_REQUEST", "pg_version must be between 14 and 18".into()));
        }
        let organization = self.organization();
        if wanted.get("org_id").is_some_and(|org| *org != organization.as_str()) {
            return Err(Refusal(404, "NOT_FOUND", "organization not found".into()));
        }
        let branch = wanted.get("branch").cloned().unwrap_or_default();
        let database = branch["database_name"].as_str().unwrap_or("neondb").to_owned();
        let role = branch["role_name"].as_str().map_or_else(|| format!("{database}_owner"), str::to_owned);
        let password = format!("npg_{}", made_up::token(16));

        let cluster = self.databases.create().await.map_err(|why| Refusal(500, "INTERNAL", why))?;
        let sql = format!(
            "create role {role} login createdb createrole password {password};\ncreate database {database} owner {role};\n",
            role = identifier(&role),
            password = literal(&password),
            database = identifier(&database),
        );
        cluster.run("postgres", &sql).await.map_err(|why| Refusal(500, "INTERNAL", why))?;

        let name = wanted.get("name").and_then(Value::as_str).map(str::to_owned);
        let mut project = Project::new(name.as_deref().unwrap_or(""), &region, version, &organization, self.pace);
        if name.is_none() {
            project.value["name"] = project.id().into();
        }
        let cluster = Arc::new(cluster);
        project.begin_with(&wanted, &database, &role, &password, cluster.clone(), self.pace)?;
        let twin = self.lock().twin.take();
        if let Some(seconds) = twin {
            let mut twin = Project::new(name.as_deref().unwrap_or(""), &region, version, &organization, self.pace);
            twin.begin_with(&wanted, &database, &role, &password, cluster, self.pace)?;
            let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            twin.value["created_at"] = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
            self.lock().projects.insert(twin.id(), twin);
        }
        let answer = project.show_created(&role, &database, &password);
        let id = project.id();
        self.lock().projects.insert(id, project);
        Ok(Answer { status: 201, body: Some(answer), headers: vec![] })
    }
}

impl State {
    fn list(&self, request: &Request) -> Result<Answer, Refusal> {
        let limit = match request.query("limit") {
            None => 10,
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|n| (1..=400).contains(n))
                .ok_or_else(|| Refusal(400, "BAD_REQUEST", "limit must be between 1 and 400".into()))?,
        };
        if request.query("org_id").is_some_and(|org| org != self.organization) {
            return Err(Refusal(404, "NOT_FOUND", "organization not found".into()));
        }
        let search = request.query("search").unwrap_or_default();
        let after = request.query("cursor").unwrap_or_default();
        let fits = |(id, project): &(&String, &Project)| {
            let name = project.value["name"].as_str().unwrap_or_default();
            (name.contains(search) || id.contains(search)) && (after.is_empty() || id.as_str() > after)
        };
        let shown: Vec<Value> =
            self.projects.iter().filter(fits).take(limit).map(|(_, project)| project.show_in_list()).collect();
        let mut body = json!({ "projects": shown, "applications": {}, "integrations": {} });
        // Even the last page has a cursor.
        if let Some(last) = shown.last() {
            body["pagination"] = json!({ "cursor": last["id"] });
        }
        Ok(ok(body))
    }
}

#[async_trait]
impl Simulator for Neon {
    fn base(&self) -> &'static str {
        "/api/v2"
    }

    async fn answer(&self, request: Request) -> Answer {
        let answered = match request.token.as_deref() == Some(self.token.as_str()) {
            true => self.route(&request).await,
            false => Err(Refusal(401, "", "authentication failed".into())),
        };
        answered.unwrap_or_else(|Refusal(status, code, message)| {
            let body = json!({ "request_id": made_up::uuid(), "code": code, "message": message });
            Answer { status, body: Some(body), headers: vec![] }
        })
    }

    fn name(&self) -> &'static str {
        "neon"
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn holds(&self) -> Vec<String> {
        let name = |project: &Project| format!("project {}", project.value["name"].as_str().unwrap_or_default());
        self.lock().projects.values().map(name).collect()
    }

    fn error(&self, code: &str, message: &str) -> Value {
        json!({ "code": code, "message": message })
    }
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, body: Some(body), headers: vec![] }
}
