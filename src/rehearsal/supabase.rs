//! A simulated Supabase management API. Its projects' databases are real PostgreSQL, with a model of the tables that
//! Supabase's own services bring; the services themselves (auth, storage, realtime) have a state and settings, and nothing
//! behind them. Its states, delays and odd shapes are those of the official specification and of threads about the real
//! API.

mod project;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::rehearsal::databases::{Cluster, Databases, rows};
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request, Simulator};
use crate::rehearsal::strict::{Is, Wrong, read_body};
use crate::rehearsal::supabase::project::Project;

/// The simulated API, as one user sees it.
pub struct Supabase {
    state: Arc<Mutex<State>>,
    databases: Arc<Databases>,
    token: String,
    pace: Duration,
}

struct State {
    organizations: Vec<Organization>,
    projects: BTreeMap<String, Project>,
    /// What was deleted is listed for a while, on its way out: until when, and how it is shown.
    leaving: Vec<(Instant, Value)>,
    /// How many seconds later than the next project another run makes one of its name.
    twin: Option<i64>,
    spent: BTreeMap<String, (u32, Instant)>,
}

struct Organization {
    slug: String,
    name: String,
    plan: &'static str,
}

impl State {
    fn list(&mut self) -> Value {
        self.leaving.retain(|(until, _)| *until > Instant::now());
        let leaving = self.leaving.iter().map(|(_, shown)| shown.clone());
        self.projects.values().map(Project::show).chain(leaving).collect()
    }
}

/// A request the API refuses: status and message.
struct Refusal(u16, String);

/// Calls of one endpoint a user may make in a minute.
const RATE_LIMIT: u32 = 120;
/// Active projects of a free organisation.
const FREE_PROJECTS: usize = 2;
/// Places.
const REGIONS: &[&str] = &[
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ap-southeast-1",
    "ap-northeast-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-north-1",
    "eu-central-1",
    "eu-central-2",
    "ca-central-1",
    "ap-south-1",
    "sa-east-1",
];
/// Sizes that can be ordered, with their price an hour in dollars as the add-on list gives it.
const SIZES: &[(&str, f64)] =
    &[("micro", 0.01344), ("small", 0.0206), ("medium", 0.0822), ("large", 0.1517), ("xlarge", 0.2877)];

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Refusal {
        match wrong {
            Wrong::Body(why) => Refusal(400, why),
            Wrong::Field(field, why) => Refusal(400, format!("{field}: {why}")),
        }
    }
}

impl Supabase {
    /// An account with these organisations, by name; those whose name ends in `-pro` have a paid plan. What takes
    /// its time takes `pace`.
    pub fn new(organizations: &[String], databases: Arc<Databases>, pace: Duration) -> Supabase {
        let organizations = organizations.iter().map(|name| Organization {
            slug: made_up::text(b"abcdefghijklmnopqrstuvwxyz", 20),
            name: name.clone(),
            plan: if name.ends_with("-pro") { "pro" } else { "free" },
        });
        let state = State {
            organizations: organizations.collect(),
            projects: BTreeMap::new(),
            leaving: vec![],
            twin: None,
            spent: BTreeMap::new(),
        };
        let token = format!("sbp_{}", made_up::hex(40));
        Supabase { state: Arc::new(Mutex::new(state)), databases, token, pace }
    }

    /// Runs SQL in the database of the project called `name`, past the API: what a hand at the dashboard would do.
    pub async fn sql(&self, name: &str, sql: &str) -> Result<String, String> {
        let cluster = self.lock().projects.values().find(|p| p.name == name).and_then(|p| p.cluster.clone());
        cluster.ok_or("no such project")?.run_as("postgres", "postgres", sql).await
    }

    /// Lets a project of this name fall asleep, as a free one does after a week without visitors.
    pub fn fall_asleep(&self, name: &str) {
        if let Some(project) = self.lock().projects.values_mut().find(|project| project.name == name) {
            project.is_asleep = true;
        }
    }

    /// With the next project that is made, another run makes one of the same name, so many seconds later.
    pub fn meet_a_twin(&self, seconds: i64) {
        self.lock().twin = Some(seconds);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A minute is shorter where everything is faster, so that the limit means the same to a test.
    fn minute(&self) -> Duration {
        Duration::from_secs(60).min(self.pace * 100)
    }

    /// Spends one call of this endpoint.
    fn spend(&self, request: &Request) -> Result<(), Refusal> {
        let minute = self.minute();
        let endpoint = format!("{} {}", request.method, request.path);
        let mut state = self.lock();
        let (spent, since) = state.spent.entry(endpoint).or_insert_with(|| (0, Instant::now()));
        if since.elapsed() > minute {
            (*spent, *since) = (0, Instant::now());
        }
        *spent += 1;
        match *spent > RATE_LIMIT {
            true => Err(Refusal(429, "Too Many Requests".into())),
            false => Ok(()),
        }
    }

    async fn route(&self, request: &Request) -> Result<Answer, Refusal> {
        self.spend(request)?;
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["organizations"]) => {
                let show = |o: &Organization| json!({ "id": o.slug, "slug": o.slug, "name": o.name });
                Ok(ok(self.lock().organizations.iter().map(show).collect()))
            }
            ("GET", ["organizations", slug]) => {
                let state = self.lock();
                let found = state.organizations.iter().find(|o| o.slug == *slug).ok_or_else(not_found)?;
                Ok(ok(json!({
                    "id": found.slug, "name": found.name, "plan": found.plan, "opt_in_tags": [],
                    "allowed_release_channels": ["ga", "preview"],
                })))
            }
            ("GET", ["organizations", slug, "projects"]) => self.projects_of(slug, request),
            ("GET", ["projects"]) => Ok(ok(self.lock().list())),
            ("POST", ["projects"]) => self.create(&request.body),
            ("GET", ["projects", "available-regions"]) => Ok(ok(regions())),
            (_, ["projects", reference, rest @ ..]) => self.project(request, reference, rest).await,
            _ => Err(Refusal(404, "Cannot find this path".into())),
        }
    }

    fn projects_of(&self, slug: &str, request: &Request) -> Result<Answer, Refusal> {
        let state = self.lock();
        if !state.organizations.iter().any(|o| o.slug == slug) {
            return Err(not_found());
        }
        let number = |key: &str, usual: usize| request.query(key).and_then(|n| n.parse().ok()).unwrap_or(usual);
        let (offset, limit) = (number("offset", 0), number("limit", 100).min(100));
        let search = request.query("search").unwrap_or_default();
        let all: Vec<&Project> =
            state.projects.values().filter(|p| p.organization == slug && p.name.contains(search)).collect();
        let shown: Vec<Value> = all.iter().skip(offset).take(limit).map(|project| project.show_in_list()).collect();
        let pagination = json!({ "count": all.len(), "limit": limit, "offset": offset });
        Ok(ok(json!({ "projects": shown, "pagination": pagination })))
    }

    fn create(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let sizes = ["nano", "micro", "small", "medium", "large", "xlarge"];
        let fields = [
            ("db_pass", Is::Text, true),
            ("name", Is::Text, true),
            ("organization_slug", Is::Text, true),
            ("region_selection", Is::Object, false),
            ("region", Is::Text, false),
            ("desired_instance_size", Is::OneOf(&["nano", "micro", "small", "medium", "large", "xlarge"]), false),
            ("organization_id", Is::Text, false),
            ("plan", Is::Text, false),
            ("kps_enabled", Is::Flag, false),
            ("template_url", Is::Text, false),
            // The official client sends it, though the specification does not have it yet.
            ("high_availability", Is::Flag, false),
        ];
        let body = read_body(body, &fields)?;
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let selection = body.get("region_selection").cloned().unwrap_or_default();
        let region = match selection["type"].as_str() {
            Some("specific") => selection["code"].as_str().unwrap_or_default().to_owned(),
            Some("smartGroup") => match selection["code"].as_str() {
                Some("americas") => "us-east-1".to_owned(),
                Some("emea") => "eu-central-1".to_owned(),
                _ => "ap-southeast-1".to_owned(),
            },
            _ => text("region"),
        };
        if !REGIONS.contains(&region.as_str()) {
            return Err(Refusal(400, "region_selection: must be a region that is offered".into()));
        }
        let (name, password) = (text("name"), text("db_pass"));
        if name.is_empty() || name.len() > 256 {
            return Err(Refusal(400, "name: must have 1 to 256 characters".into()));
        }
        if password.len() < 8 {
            return Err(Refusal(400, format!("db_pass: the password {password} is too weak")));
        }
        let mut state = self.lock();
        let organization = state.organizations.iter().find(|o| o.slug == text("organization_slug"));
        let organization = organization.ok_or_else(|| Refusal(404, "Organization not found".into()))?;
        let (slug, is_free) = (organization.slug.clone(), organization.plan == "free");
        let active = state.projects.values().filter(|p| p.organization == slug && !p.is_asleep).count();
        if is_free && active >= FREE_PROJECTS {
            return Err(Refusal(
                400,
                "The following organization members have reached their maximum limits for the number of active free \
                 projects within organizations where they are an administrator or owner: exceeded their free project \
                 limits"
                    .into(),
            ));
        }
        let size = match text("desired_instance_size") {
            _ if is_free => "nano",
            size => sizes.iter().find(|known| **known == size).copied().unwrap_or("micro"),
        };
        let project = Project::new(&name, &slug, &region, size, self.pace);
        if let Some(seconds) = state.twin.take() {
            let twin = Project::new(&name, &slug, &region, size, self.pace).made(seconds);
            state.projects.insert(twin.reference.clone(), twin);
        }
        let (shown, reference) = (project.show_new(), project.reference.clone());
        state.projects.insert(reference.clone(), project);
        drop(state);
        let (state, databases) = (self.state.clone(), self.databases.clone());
        tokio::spawn(async move {
            let begun = project::begin(&databases, &reference, &password).await;
            if let Some(project) = state.lock().unwrap_or_else(PoisonError::into_inner).projects.get_mut(&reference) {
                match begun {
                    Ok(cluster) => project.cluster = Some(Arc::new(cluster)),
                    Err(_) => project.has_failed = true,
                }
            }
        });
        Ok(Answer { status: 201, body: Some(shown), headers: vec![] })
    }

    async fn project(&self, request: &Request, reference: &str, rest: &[&str]) -> Result<Answer, Refusal> {
        if reference.len() != 20 || !reference.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(Refusal(400, "ref: must be 20 lower-case letters".into()));
        }
        let (cluster, is_paid) = {
            let state = self.lock();
            let project = state.projects.get(reference).ok_or_else(not_found)?;
            let is_paid = state.organizations.iter().any(|o| o.slug == project.organization && o.plan != "free");
            (project.cluster.clone(), is_paid)
        };
        let method = request.method.as_str();
        match (method, rest) {
            ("POST", ["database", "query"]) => {
                let status = self.lock().projects.get(reference).map(Project::status);
                if status == Some("RESTARTING") {
                    return Err(Refusal(400, "Failed to run sql query: Connection terminated unexpectedly".into()));
                }
                return query(cluster, &request.body).await;
            }
            ("PATCH", ["database", "password"]) => {
                let body = read_body(&request.body, &[("password", Is::Text, true)])?;
                let password = body["password"].as_str().unwrap_or_default();
                let cluster = cluster.ok_or_else(not_ready)?;
                project::set_password(&cluster, reference, password).await.map_err(|why| Refusal(500, why))?;
                return Ok(ok(json!({ "message": "Successfully updated password" })));
            }
            ("PUT", ["ssl-enforcement"]) | ("POST", ["network-restrictions", "apply"]) => {
                let (networks, encrypted, answer) = self.change(reference, |p| p.change_access(rest, &request.body))?;
                let cluster = cluster.ok_or_else(not_ready)?;
                cluster.let_in(&networks, encrypted).await.map_err(|why| Refusal(500, why))?;
                return Ok(answer);
            }
            ("DELETE", []) => {
                let mut state = self.lock();
                let project = state.projects.remove(reference).ok_or_else(not_found)?;
                let mut shown = project.show();
                shown["status"] = "GOING_DOWN".into();
                state.leaving.push((Instant::now() + self.pace * 8, shown));
                return Ok(ok(json!({ "id": 1_234_567, "ref": project.reference, "name": project.name })));
            }
            _ => {}
        }
        self.change(reference, |project| project.route(request, rest, is_paid))
    }

    fn change<T>(&self, reference: &str, act: impl FnOnce(&mut Project) -> Result<T, Refusal>) -> Result<T, Refusal> {
        act(self.lock().projects.get_mut(reference).ok_or_else(not_found)?)
    }
}

/// Runs a query of `database/query`.
async fn query(cluster: Option<Arc<Cluster>>, body: &[u8]) -> Result<Answer, Refusal> {
    let fields = [("query", Is::Text, true), ("parameters", Is::Any, false), ("read_only", Is::Flag, false)];
    let body: Map<String, Value> = read_body(body, &fields)?;
    let cluster = cluster.ok_or_else(not_ready)?;
    let sql = body["query"].as_str().unwrap_or_default();
    match rows(&cluster, "postgres", "postgres", sql).await {
        Ok(rows) => Ok(Answer { status: 201, body: Some(rows), headers: vec![] }),
        Err(why) => Err(Refusal(400, format!("Failed to run sql query: {why}"))),
    }
}

fn not_found() -> Refusal {
    Refusal(404, "Project not found".into())
}

fn not_ready() -> Refusal {
    Refusal(400, "The project is not ready yet".into())
}

fn regions() -> Value {
    let specific: Vec<Value> = REGIONS
        .iter()
        .map(|code| json!({ "name": code, "code": code, "type": "specific", "provider": "AWS" }))
        .collect();
    let groups = [("Americas", "americas"), ("Europe", "emea"), ("Asia-Pacific", "apac")];
    let groups: Vec<Value> =
        groups.iter().map(|(name, code)| json!({ "name": name, "code": code, "type": "smartGroup" })).collect();
    json!({
        "recommendations": { "smartGroup": groups[1], "specific": [specific[10]] },
        "all": { "smartGroup": groups, "specific": specific },
    })
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, body: Some(body), headers: vec![] }
}

/// A success without a body.
fn done(status: u16) -> Answer {
    Answer { status, body: None, headers: vec![] }
}

#[async_trait]
impl Simulator for Supabase {
    fn base(&self) -> &'static str {
        "/v1"
    }

    async fn answer(&self, request: Request) -> Answer {
        if request.token.as_deref() != Some(self.token.as_str()) {
            return Answer { status: 401, body: Some(json!({ "message": "Unauthorized" })), headers: vec![] };
        }
        self.route(&request).await.unwrap_or_else(|Refusal(status, message)| {
            // Seconds left, as there are in a minute that is running.
            let left = self.minute().as_secs_f64().ceil().to_string();
            let headers = if status == 429 { vec![("x-ratelimit-reset", left)] } else { vec![] };
            Answer { status, body: Some(json!({ "message": message })), headers }
        })
    }

    fn name(&self) -> &'static str {
        "supabase"
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn holds(&self) -> Vec<String> {
        self.lock().projects.values().map(|project| format!("project {}", project.name)).collect()
    }

    fn error(&self, _: &str, message: &str) -> Value {
        json!({ "message": message })
    }
}
