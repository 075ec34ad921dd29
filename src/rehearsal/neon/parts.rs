//! What is in a project: branches, computes, databases, roles and operations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::rehearsal::databases::Cluster;
use crate::rehearsal::made_up;
use crate::rehearsal::neon::{Project, Refusal, not_found, ok};
use crate::rehearsal::serve::{Answer, Request};
use crate::rehearsal::strict::{Is, read_body, read_object};

const COMPUTE: &[(&str, Is, bool)] = &[
    ("autoscaling_limit_min_cu", Is::Any, false),
    ("autoscaling_limit_max_cu", Is::Any, false),
    ("suspend_timeout_seconds", Is::Number, false),
    ("branch_id", Is::Text, false),
    ("type", Is::OneOf(&["read_write", "read_only"]), false),
    ("disabled", Is::Flag, false),
    ("settings", Is::Object, false),
    ("name", Is::Text, false),
    ("provisioner", Is::Text, false),
    ("pg_settings", Is::Object, false),
    ("passwordless_access", Is::Flag, false),
    ("pooler_enabled", Is::Flag, false),
    ("pooler_mode", Is::Text, false),
    ("region_id", Is::Text, false),
];

impl Project {
    pub(super) fn new(name: &str, region: &str, version: i64, organization: &str, pace: Duration) -> Project {
        let id = format!("calm-river-{}", made_up::text(b"0123456789", 8));
        let now = made_up::now();
        let value = json!({
            "id": id, "platform_id": "aws", "region_id": region, "name": name, "provisioner": "k8s-neonvm",
            "pg_version": version, "proxy_host": format!("{region}.aws.neon.tech"), "store_passwords": true,
            "history_retention_seconds": 86400, "org_id": organization, "owner_id": organization,
            "default_endpoint_settings": {}, "settings": { "quota": {} }, "data_storage_bytes_hour": 0,
            "data_transfer_bytes": 0, "written_data_bytes": 0, "compute_time_seconds": 0, "active_time_seconds": 0,
            "cpu_used_sec": 0, "branch_logical_size_limit": 0, "branch_logical_size_limit_bytes": 0,
            "creation_source": "console", "consumption_period_start": now, "consumption_period_end": now,
            "created_at": now, "updated_at": now,
        });
        let mut project = Project {
            value,
            branches: vec![],
            annotations: BTreeMap::new(),
            endpoints: vec![],
            databases: vec![],
            roles: vec![],
            passwords: BTreeMap::new(),
            operations: vec![],
            cluster: None,
        };
        project.add_branch("main", true, None);
        project.operate("create_timeline", pace);
        project
    }

    pub(super) fn id(&self) -> String {
        self.value["id"].as_str().unwrap_or_default().to_owned()
    }

    fn default_branch(&self) -> String {
        self.branches.first().and_then(|branch| branch["id"].as_str()).unwrap_or_default().to_owned()
    }

    /// Fills a new project with what was asked for.
    pub(super) fn begin_with(
        &mut self,
        wanted: &Map<String, Value>,
        database: &str,
        role: &str,
        password: &str,
        cluster: Arc<Cluster>,
        pace: Duration,
    ) -> Result<(), Refusal> {
        self.cluster = Some(cluster);
        let compute = wanted.get("default_endpoint_settings").cloned().unwrap_or_else(|| json!({}));
        let compute =
            read_object(compute.as_object().cloned().unwrap_or_default(), COMPUTE, "default_endpoint_settings.")?;
        check_compute(&compute)?;
        self.value["default_endpoint_settings"] = Value::Object(compute.clone());
        if let Some(quota) = wanted.get("settings").map(|settings| settings["quota"].clone()) {
            self.value["settings"]["quota"] = if quota.is_object() { quota } else { json!({}) };
        }
        let branch = wanted.get("branch").cloned().unwrap_or_default();
        let id = self.default_branch();
        if let (Some(name), Some(entry)) = (branch["name"].as_str(), self.branches.first_mut()) {
            entry["name"] = name.into();
        }
        if let Some(marks) = branch["annotations"].as_object() {
            if marks.len() > 50 {
                return Err(Refusal(400, "BAD_REQUEST", "at most 50 annotations".into()));
            }
            self.annotations.insert(id.clone(), json!(marks));
        }
        self.add_endpoint(&id, "read_write", &compute);
        self.add_role(&id, role, password);
        self.add_database(&id, database, role);
        self.operate("start_compute", pace);
        Ok(())
    }

    pub(super) fn show_in_list(&self) -> Value {
        let keys = [
            "id",
            "platform_id",
            "region_id",
            "name",
            "provisioner",
            "pg_version",
            "proxy_host",
            "store_passwords",
            "branch_logical_size_limit",
            "branch_logical_size_limit_bytes",
            "cpu_used_sec",
            "creation_source",
            "created_at",
            "updated_at",
            "owner_id",
            "org_id",
        ];
        let mut shown: Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), self.value[*key].clone())).collect();
        shown.insert("active_time".into(), 0.into());
        Value::Object(shown)
    }

    pub(super) fn show_created(&self, role: &str, database: &str, password: &str) -> Value {
        let host = self.endpoints[0]["host"].as_str().unwrap_or_default();
        let uri = format!("postgresql://{role}:{password}@{host}/{database}?sslmode=require");
        let mut roles = self.roles.clone();
        roles[0]["password"] = password.into();
        json!({
            "project": self.value, "roles": roles, "databases": self.databases, "branch": self.branches[0],
            "endpoints": self.endpoints, "operations": self.show_operations(2),
            "connection_uris": [{ "connection_uri": uri, "connection_parameters": {
                "database": database, "password": password, "role": role, "host": host, "pooler_host": host,
            } }],
        })
    }

    /// The last operations, newest last.
    fn show_operations(&self, count: usize) -> Vec<Value> {
        let from = self.operations.len().saturating_sub(count);
        self.operations[from..].iter().map(|(value, ends)| show_operation(value, *ends)).collect()
    }

    fn operate(&mut self, action: &str, pace: Duration) {
        let now = made_up::now();
        let value = json!({
            "id": made_up::uuid(), "project_id": self.id(), "branch_id": self.default_branch(), "action": action,
            "failures_count": 0, "created_at": now, "updated_at": now, "total_duration_ms": 0,
        });
        self.operations.push((value, Instant::now() + pace));
    }

    fn is_busy(&self) -> bool {
        self.operations.iter().any(|(_, ends)| *ends > Instant::now())
    }

    fn add_branch(&mut self, name: &str, default: bool, parent: Option<&str>) -> Value {
        let now = made_up::now();
        let mut branch = json!({
            "id": format!("br-cool-leaf-{}", made_up::text(b"0123456789", 8)), "project_id": self.id(), "name": name,
            "current_state": "ready", "state_changed_at": now, "creation_source": "console", "default": default,
            "primary": default, "protected": false, "cpu_used_sec": 0, "compute_time_seconds": 0,
            "active_time_seconds": 0, "written_data_bytes": 0, "data_transfer_bytes": 0, "created_at": now,
            "updated_at": now,
        });
        if let Some(parent) = parent {
            branch["parent_id"] = parent.into();
        }
        self.branches.push(branch.clone());
        branch
    }

    /// The real host is a name; this one is an address with a port, since nothing here resolves names.
    fn host(&self, id: &str) -> String {
        match &self.cluster {
            Some(cluster) => format!("{}:{}", cluster.address, cluster.port),
            None => format!("{id}.eu-central-1.aws.neon.tech"),
        }
    }

    fn add_endpoint(&mut self, branch: &str, kind: &str, wanted: &Map<String, Value>) -> Value {
        let id = format!("ep-still-sun-{}", made_up::text(b"0123456789", 8));
        let now = made_up::now();
        let wish = |field: &str, usual: Value| wanted.get(field).cloned().unwrap_or(usual);
        let endpoint = json!({
            "host": self.host(&id), "id": id, "project_id": self.id(), "branch_id": branch,
            "autoscaling_limit_min_cu": wish("autoscaling_limit_min_cu", json!(0.25)),
            "autoscaling_limit_max_cu": wish("autoscaling_limit_max_cu", json!(0.25)),
            "region_id": self.value["region_id"], "type": kind, "current_state": "active", "settings": {},
            "pooler_enabled": false, "pooler_mode": "transaction", "disabled": false, "passwordless_access": true,
            "creation_source": "console", "created_at": now, "updated_at": now,
            "proxy_host": self.value["proxy_host"],
            "suspend_timeout_seconds": wish("suspend_timeout_seconds", json!(0)), "provisioner": "k8s-neonvm",
        });
        self.endpoints.push(endpoint.clone());
        endpoint
    }

    fn add_role(&mut self, branch: &str, name: &str, password: &str) -> Value {
        let now = made_up::now();
        let role = json!({
            "branch_id": branch, "name": name, "protected": false, "authentication_method": "password",
            "created_at": now, "updated_at": now,
        });
        self.roles.push(role.clone());
        self.passwords.insert(name.to_owned(), password.to_owned());
        role
    }

    fn add_database(&mut self, branch: &str, name: &str, owner: &str) -> Value {
        let now = made_up::now();
        let database = json!({
            "id": 834_000 + self.databases.len(), "branch_id": branch, "name": name, "owner_name": owner,
            "created_at": now, "updated_at": now,
        });
        self.databases.push(database.clone());
        database
    }

    pub(super) fn route(&mut self, request: &Request, rest: &[&str], pace: Duration) -> Result<Answer, Refusal> {
        let method = request.method.as_str();
        if method != "GET" && self.is_busy() {
            return Err(Refusal(
                423,
                "LOCKED",
                "project already has running conflicting operations, scheduling of new ones is prohibited".into(),
            ));
        }
        match (method, rest) {
            ("GET", []) => Ok(ok(json!({ "project": self.value }))),
            ("PATCH", []) => self.change(&request.body),
            ("GET", ["operations"]) => {
                let limit = request.query("limit").and_then(|n| n.parse().ok()).unwrap_or(1000);
                let skip: usize = request.query("cursor").and_then(|n| n.parse().ok()).unwrap_or(0);
                let shown: Vec<Value> = self.show_operations(usize::MAX).into_iter().skip(skip).take(limit).collect();
                let cursor = (skip + shown.len()).to_string();
                Ok(ok(json!({ "operations": shown, "pagination": { "cursor": cursor } })))
            }
            ("GET", ["operations", id]) => {
                let found = self.operations.iter().find(|(operation, _)| operation["id"] == *id);
                let (value, ends) = found.ok_or_else(|| not_found("operation"))?;
                Ok(ok(json!({ "operation": show_operation(value, *ends) })))
            }
            ("GET", ["connection_uri"]) => {
                let (Some(database), Some(role)) = (request.query("database_name"), request.query("role_name")) else {
                    return Err(Refusal(400, "BAD_REQUEST", "database_name and role_name are required".into()));
                };
                let password = self.passwords.get(role).ok_or_else(|| not_found("role"))?;
                let host =
                    self.endpoints.first().and_then(|e| e["host"].as_str()).ok_or_else(|| not_found("endpoint"))?;
                Ok(ok(json!({ "uri": format!("postgresql://{role}:{password}@{host}/{database}?sslmode=require") })))
            }
            (_, ["branches", rest @ ..]) => self.branches(request, rest, pace),
            (_, ["endpoints", rest @ ..]) => self.endpoints(request, rest, pace),
            _ => Err(not_found("path")),
        }
    }

    fn change(&mut self, body: &[u8]) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("project", Is::Object, true)])?;
        let fields = [
            ("name", Is::Text, false),
            ("settings", Is::Object, false),
            ("default_endpoint_settings", Is::Object, false),
            ("history_retention_seconds", Is::Number, false),
        ];
        let wanted = read_object(body["project"].as_object().cloned().unwrap_or_default(), &fields, "project.")?;
        for (field, value) in wanted {
            match (field.as_str(), value["quota"].as_object()) {
                ("settings", Some(quota)) => self.value["settings"]["quota"] = json!(quota),
                _ => self.value[&field] = value,
            }
        }
        Ok(ok(json!({ "project": self.value, "operations": [] })))
    }

    fn branches(&mut self, request: &Request, rest: &[&str], pace: Duration) -> Result<Answer, Refusal> {
        let annotation = |project: &Project, id: &str| {
            let value = project.annotations.get(id).cloned().unwrap_or_else(|| json!({}));
            json!({ "object": { "type": "console/branch", "id": id }, "value": value })
        };
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                let marked: Map<String, Value> =
                    self.annotations.keys().map(|id| (id.clone(), annotation(self, id))).collect();
                let limit = request.query("limit").and_then(|n| n.parse().ok()).unwrap_or(100);
                let skip = request.query("cursor").and_then(|n| n.parse().ok()).unwrap_or(0);
                let shown: Vec<Value> = self.branches.iter().skip(skip).take(limit).cloned().collect();
                let mut body = json!({ "branches": shown, "annotations": marked });
                if skip + limit < self.branches.len() {
                    body["pagination"] =
                        json!({ "next": (skip + limit).to_string(), "sort_by": "updated_at", "sort_order": "desc" });
                }
                Ok(ok(body))
            }
            ("POST", []) => {
                let fields = [
                    ("branch", Is::Object, false),
                    ("endpoints", Is::Objects, false),
                    ("annotation_value", Is::Object, false),
                ];
                let body = read_body(&request.body, &fields)?;
                let name = body.get("branch").and_then(|branch| branch["name"].as_str()).unwrap_or("dev").to_owned();
                let parent = self.default_branch();
                let branch = self.add_branch(&name, false, Some(&parent));
                let id = branch["id"].as_str().unwrap_or_default().to_owned();
                if let Some(marks) = body.get("annotation_value") {
                    self.annotations.insert(id.clone(), marks.clone());
                }
                let wanted = body.get("endpoints").and_then(Value::as_array).cloned().unwrap_or_default();
                let endpoints: Vec<Value> = wanted
                    .iter()
                    .map(|e| self.add_endpoint(&id, e["type"].as_str().unwrap_or("read_only"), &Map::new()))
                    .collect();
                self.operate("create_branch", pace);
                let body = json!({
                    "branch": branch, "endpoints": endpoints, "operations": self.show_operations(1), "roles": [],
                    "databases": [],
                });
                Ok(Answer { status: 201, body: Some(body), headers: vec![] })
            }
            (method, [id, rest @ ..]) => {
                let Some(index) = self.branches.iter().position(|branch| branch["id"] == *id) else {
                    return match (method, rest) {
                        // Gone already is as good as deleted.
                        ("DELETE", []) => Ok(Answer { status: 204, body: None, headers: vec![] }),
                        _ => Err(not_found("branch")),
                    };
                };
                match (method, rest) {
                    ("GET", []) => {
                        Ok(ok(json!({ "branch": self.branches[index], "annotation": annotation(self, id) })))
                    }
                    ("PATCH", []) => {
                        let body = read_body(&request.body, &[("branch", Is::Object, true)])?;
                        if let Some(name) = body["branch"]["name"].as_str() {
                            self.branches[index]["name"] = name.into();
                        }
                        Ok(ok(json!({ "branch": self.branches[index], "operations": [] })))
                    }
                    ("DELETE", []) => {
                        if self.branches[index]["default"] == true {
                            return Err(Refusal(422, "UNPROCESSABLE", "cannot delete the default branch".into()));
                        }
                        let branch = self.branches.remove(index);
                        self.endpoints.retain(|endpoint| endpoint["branch_id"] != *id);
                        self.operate("delete_timeline", pace);
                        Ok(ok(json!({ "branch": branch, "operations": self.show_operations(1) })))
                    }
                    (_, [kind @ ("databases" | "roles"), rest @ ..]) => self.named(request, id, kind, rest, pace),
                    _ => Err(not_found("path")),
                }
            }
            _ => Err(not_found("path")),
        }
    }

    /// Databases and roles of a branch: both are called by their names.
    fn named(
        &mut self,
        request: &Request,
        branch: &str,
        kind: &str,
        rest: &[&str],
        pace: Duration,
    ) -> Result<Answer, Refusal> {
        let single = kind.trim_end_matches('s');
        let list = if kind == "roles" { &self.roles } else { &self.databases };
        let index = |name: &str| list.iter().position(|entry| entry["name"] == name);
        match (request.method.as_str(), rest) {
            ("GET", []) => Ok(ok(json!({ kind: list }))),
            ("GET", [name]) => {
                let index = index(name).ok_or_else(|| not_found(single))?;
                Ok(ok(json!({ single: list[index] })))
            }
            ("GET", [name, "reveal_password"]) if kind == "roles" => match self.passwords.get(*name) {
                Some(password) => Ok(ok(json!({ "password": password }))),
                None => Err(not_found("Role")),
            },
            ("POST", []) => {
                let fields = [
                    ("name", Is::Text, true),
                    ("owner_name", Is::Text, kind == "databases"),
                    ("no_login", Is::Flag, false),
                ];
                let body = read_body(&request.body, &[(single, Is::Object, true)])?;
                let wanted = read_object(body[single].as_object().cloned().unwrap_or_default(), &fields, "")?;
                let name = wanted["name"].as_str().unwrap_or_default().to_owned();
                if index(&name).is_some() {
                    return Err(Refusal(409, "CONFLICT", format!("{single} already exists")));
                }
                let made = match kind {
                    "roles" => {
                        let password = format!("npg_{}", made_up::token(16));
                        let mut role = self.add_role(branch, &name, &password);
                        role["password"] = password.into();
                        role
                    }
                    _ => {
                        let owner = wanted["owner_name"].as_str().unwrap_or_default().to_owned();
                        if !self.roles.iter().any(|role| role["name"] == owner.as_str()) {
                            return Err(not_found("role"));
                        }
                        self.add_database(branch, &name, &owner)
                    }
                };
                self.operate("apply_config", pace);
                let body = json!({ single: made, "operations": self.show_operations(1) });
                Ok(Answer { status: 201, body: Some(body), headers: vec![] })
            }
            ("PATCH", [name]) if kind == "databases" => {
                let index = index(name).ok_or_else(|| not_found(single))?;
                let body = read_body(&request.body, &[(single, Is::Object, true)])?;
                for field in ["name", "owner_name"] {
                    if let Some(text) = body[single][field].as_str() {
                        self.databases[index][field] = text.into();
                    }
                }
                self.operate("apply_config", pace);
                Ok(ok(json!({ single: self.databases[index], "operations": self.show_operations(1) })))
            }
            ("POST", [name, "reset_password"]) if kind == "roles" => {
                let index = index(name).ok_or_else(|| not_found(single))?;
                let password = format!("npg_{}", made_up::token(16));
                self.passwords.insert((*name).to_owned(), password.clone());
                self.operate("apply_config", pace);
                let mut role = self.roles[index].clone();
                role["password"] = password.into();
                Ok(ok(json!({ "role": role, "operations": self.show_operations(1) })))
            }
            ("DELETE", [name]) => {
                let Some(index) = index(name) else {
                    return Ok(Answer { status: 204, body: None, headers: vec![] });
                };
                let gone = if kind == "roles" { self.roles.remove(index) } else { self.databases.remove(index) };
                self.operate("apply_config", pace);
                Ok(ok(json!({ single: gone, "operations": self.show_operations(1) })))
            }
            _ => Err(not_found("path")),
        }
    }

    fn endpoints(&mut self, request: &Request, rest: &[&str], pace: Duration) -> Result<Answer, Refusal> {
        match (request.method.as_str(), rest) {
            ("GET", []) => Ok(ok(json!({ "endpoints": self.endpoints }))),
            ("POST", []) => {
                let body = read_body(&request.body, &[("endpoint", Is::Object, true)])?;
                let wanted =
                    read_object(body["endpoint"].as_object().cloned().unwrap_or_default(), COMPUTE, "endpoint.")?;
                check_compute(&wanted)?;
                let text = |field: &str| wanted.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                let (branch, kind) = (text("branch_id"), text("type"));
                if !self.branches.iter().any(|known| known["id"] == branch.as_str()) {
                    return Err(not_found("branch"));
                }
                let writes = |e: &Value| e["branch_id"] == branch.as_str() && e["type"] == "read_write";
                if kind == "read_write" && self.endpoints.iter().any(writes) {
                    return Err(Refusal(400, "BAD_REQUEST", "read_write endpoint already exists".into()));
                }
                let endpoint = self.add_endpoint(&branch, &kind, &wanted);
                self.operate("start_compute", pace);
                let body = json!({ "endpoint": endpoint, "operations": self.show_operations(1) });
                Ok(Answer { status: 201, body: Some(body), headers: vec![] })
            }
            ("POST", [id, verb @ ("start" | "suspend" | "restart")]) => {
                let found = self.endpoints.iter_mut().find(|endpoint| endpoint["id"] == *id);
                let endpoint = found.ok_or_else(|| not_found("endpoint"))?;
                endpoint["current_state"] = if *verb == "suspend" { "idle" } else { "active" }.into();
                let endpoint = endpoint.clone();
                self.operate(if *verb == "suspend" { "suspend_compute" } else { "start_compute" }, pace);
                Ok(ok(json!({ "endpoint": endpoint, "operations": self.show_operations(1) })))
            }
            (method, [id]) => {
                let Some(index) = self.endpoints.iter().position(|endpoint| endpoint["id"] == *id) else {
                    return match method {
                        "DELETE" => Ok(Answer { status: 204, body: None, headers: vec![] }),
                        _ => Err(not_found("endpoint")),
                    };
                };
                match method {
                    "GET" => Ok(ok(json!({ "endpoint": self.endpoints[index] }))),
                    "PATCH" => {
                        let body = read_body(&request.body, &[("endpoint", Is::Object, true)])?;
                        let wanted = read_object(
                            body["endpoint"].as_object().cloned().unwrap_or_default(),
                            COMPUTE,
                            "endpoint.",
                        )?;
                        check_compute(&wanted)?;
                        for (field, value) in wanted {
                            self.endpoints[index][&field] = value;
                        }
                        self.operate("apply_config", pace);
                        Ok(ok(json!({ "endpoint": self.endpoints[index], "operations": self.show_operations(1) })))
                    }
                    "DELETE" => {
                        let endpoint = self.endpoints.remove(index);
                        self.operate("suspend_compute", pace);
                        Ok(ok(json!({ "endpoint": endpoint, "operations": self.show_operations(1) })))
                    }
                    _ => Err(not_found("path")),
                }
            }
            _ => Err(not_found("path")),
        }
    }
}

fn show_operation(value: &Value, ends: Instant) -> Value {
    let mut shown = value.clone();
    shown["status"] = if ends > Instant::now() { "running" } else { "finished" }.into();
    shown
}

/// What the prose says of computes and the schema does not.
fn check_compute(wanted: &Map<String, Value>) -> Result<(), Refusal> {
    let bad = |why: &str| Err(Refusal(400, "BAD_REQUEST", why.to_owned()));
    let units = |field: &str| wanted.get(field).map(Value::as_f64);
    for field in ["autoscaling_limit_min_cu", "autoscaling_limit_max_cu"] {
        if units(field).is_some_and(|units| units.is_none_or(|units| units < 0.25)) {
            return bad("a compute has at least a quarter of a unit");
        }
    }
    if let (Some(Some(least)), Some(Some(most))) =
        (units("autoscaling_limit_min_cu"), units("autoscaling_limit_max_cu"))
        && least > most
    {
        return bad("the smallest size is larger than the largest");
    }
    match wanted.get("suspend_timeout_seconds").and_then(Value::as_i64) {
        None | Some(-1 | 0 | 60..=604_800) => Ok(()),
        Some(_) => bad("suspend_timeout_seconds must be -1, 0, or 60 to 604800"),
    }
}
