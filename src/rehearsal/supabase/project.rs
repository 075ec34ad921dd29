//! One project: its states, its settings, and what may be asked of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rehearsal::databases::{Cluster, Databases, identifier, literal};
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request};
use crate::rehearsal::strict::{Is, read_body};
use crate::rehearsal::supabase::{Refusal, SIZES, done, ok};

/// Every key of the auth configuration: the specification requires all of them in every answer.
const AUTH: &str = include_str!("../../../templates/rehearsal/supabase-auth.json");
/// What the database of a new project holds.
const DATABASE: &str = include_str!("../../../templates/rehearsal/supabase.sql");
/// Keys of it that cannot be changed.
const AUTH_FIXED: &[&str] =
    &["custom_oauth_max_providers", "nimbus_oauth_email_optional", "saml_allow_encrypted_assertions"];

/// A project.
pub(super) struct Project {
    pub reference: String,
    pub name: String,
    pub organization: String,
    pub is_asleep: bool,
    pub has_failed: bool,
    pub cluster: Option<Arc<Cluster>>,
    region: String,
    size: &'static str,
    created: String,
    born: Instant,
    pace: Duration,
    /// Until when it is busy, and with what.
    busy: Option<(Instant, &'static str)>,
    auth: Value,
    encrypted: bool,
    networks: [Vec<String>; 2],
    applied: Instant,
    postgres: Value,
    secrets: Vec<Value>,
    keys: Vec<Value>,
    pitr: Option<&'static str>,
}

/// Starts the database of a new project, with the accounts the real one has.
pub(super) async fn begin(databases: &Databases, reference: &str, password: &str) -> Result<Cluster, String> {
    let cluster = databases.create().await?;
    let pooled = identifier(&format!("postgres.{reference}"));
    let sql =
        format!("{DATABASE}create role {pooled} login in role postgres;\nalter role {pooled} set role = postgres;\n");
    cluster.run("postgres", &sql).await?;
    set_password(&cluster, reference, password).await?;
    Ok(cluster)
}

/// Sets the password of a project's accounts.
pub(super) async fn set_password(cluster: &Cluster, reference: &str, password: &str) -> Result<(), String> {
    let (pooled, password) = (identifier(&format!("postgres.{reference}")), literal(password));
    let sql = format!("alter role postgres password {password};\nalter role {pooled} password {password};\n");
    cluster.run("postgres", &sql).await.map(|_| ())
}

impl Project {
    pub(super) fn new(name: &str, organization: &str, region: &str, size: &'static str, pace: Duration) -> Project {
        let key = |id: &str, kind: &str, value: String| {
            json!({
                "api_key": value, "id": id, "type": kind, "prefix": null, "name": id, "description": null,
                "hash": null, "secret_jwt_template": null, "inserted_at": null, "updated_at": null,
            })
        };
        let jwt = || format!("eyJhbGciOiJIUzI1NiJ9.{}.{}", made_up::token(60), made_up::token(43));
        Project {
            reference: made_up::text(b"abcdefghijklmnopqrstuvwxyz", 20),
            name: name.to_owned(),
            organization: organization.to_owned(),
            is_asleep: false,
            has_failed: false,
            cluster: None,
            region: region.to_owned(),
            size,
            // To the microsecond, as the real one tells it.
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            born: Instant::now(),
            pace,
            busy: None,
            auth: serde_json::from_str(AUTH).unwrap_or_default(),
            encrypted: false,
            networks: [vec!["0.0.0.0/0".to_owned()], vec!["::/0".to_owned()]],
            applied: Instant::now(),
            postgres: json!({}),
            secrets: vec![],
            keys: vec![key("anon", "legacy", jwt()), key("service_role", "legacy", jwt())],
            pitr: None,
        }
    }

    /// The same, made so many seconds later.
    pub(super) fn made(mut self, seconds: i64) -> Project {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        self.created = at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        self
    }

    pub(super) fn status(&self) -> &'static str {
        match self.busy {
            Some((until, what)) if until > Instant::now() => return what,
            _ => {}
        }
        match () {
            () if self.has_failed => "INIT_FAILED",
            () if self.is_asleep => "INACTIVE",
            () if self.cluster.is_none() || self.born.elapsed() < self.pace * 4 => "COMING_UP",
            () => "ACTIVE_HEALTHY",
        }
    }

    /// The pooler is there later than the project.
    fn has_pooler(&self) -> bool {
        self.status() == "ACTIVE_HEALTHY" && self.born.elapsed() > self.pace * 6
    }

    /// As the answer to its creation shows it: without a database, whose host is not known yet.
    pub(super) fn show_new(&self) -> Value {
        json!({
            "id": self.reference, "ref": self.reference, "organization_id": self.organization,
            "organization_slug": self.organization, "name": self.name, "region": self.region,
            "created_at": self.created, "status": self.status(),
        })
    }

    pub(super) fn show(&self) -> Value {
        let mut shown = self.show_new();
        // A local cluster has a port of its own, and no other place to say so.
        let host = match &self.cluster {
            Some(cluster) => format!("{}:{}", cluster.address, cluster.port),
            None => self.host(),
        };
        shown["database"] = json!({
            "host": host, "version": "17.6.1.054", "postgres_engine": "17", "release_channel": "ga",
        });
        shown
    }

    pub(super) fn show_in_list(&self) -> Value {
        let status = self.status();
        let of_database = if status == "INACTIVE" { "REMOVED" } else { status };
        json!({
            "ref": self.reference, "name": self.name, "cloud_provider": "AWS", "region": self.region,
            "is_branch": false, "status": status, "inserted_at": self.created,
            "databases": [{
                "infra_compute_size": self.size, "region": self.region, "status": of_database,
                "cloud_provider": "AWS", "identifier": self.reference, "type": "PRIMARY",
            }],
        })
    }

    /// The real one is a name; this one has an address, since nothing here resolves names.
    fn host(&self) -> String {
        match &self.cluster {
            Some(cluster) => cluster.address.clone(),
            None => format!("db.{}.supabase.co", self.reference),
        }
    }

    fn port(&self) -> u16 {
        self.cluster.as_ref().map_or(5432, |cluster| cluster.port)
    }

    pub(super) fn route(&mut self, request: &Request, rest: &[&str], is_paid: bool) -> Result<Answer, Refusal> {
        let body = &request.body[..];
        match (request.method.as_str(), rest) {
            ("GET", []) => Ok(ok(self.show())),
            ("PATCH", []) => {
                let body = read_body(body, &[("name", Is::Text, true)])?;
                self.name = body["name"].as_str().unwrap_or_default().to_owned();
                Ok(ok(json!({ "id": 1_234_567, "ref": self.reference, "name": self.name })))
            }
            ("GET", ["health"]) => self.health(request),
            ("POST", ["pause"]) => {
                self.is_asleep = true;
                Ok(done(200))
            }
            ("POST", ["restore"]) => {
                if !self.is_asleep {
                    return Err(Refusal(400, "The project is not paused".into()));
                }
                self.is_asleep = false;
                self.busy = Some((Instant::now() + self.pace * 4, "RESTORING"));
                Ok(done(200))
            }
            ("GET", ["api-keys"]) => {
                let reveal = request.query("reveal") == Some("true");
                let show = |key: &Value| {
                    let mut key = key.clone();
                    // Legacy keys are shown as they are; new secret ones only when asked for.
                    if !reveal && key["type"] == "secret" {
                        key["api_key"] = "sb_secret_···".into();
                    }
                    key
                };
                Ok(ok(self.keys.iter().map(show).collect()))
            }
            ("GET", ["config", "auth"]) => Ok(ok(self.auth.clone())),
            ("PATCH", ["config", "auth"]) => self.change_auth(body),
            ("GET", ["ssl-enforcement"]) => Ok(ok(self.show_encryption())),
            ("GET", ["network-restrictions"]) => Ok(ok(self.show_networks())),
            ("GET", ["config", "database", "pooler"]) => match self.has_pooler() {
                true => Ok(ok(json!([self.show_pooler()]))),
                false => Ok(ok(json!([]))),
            },
            ("GET", ["config", "database", "postgres"]) => Ok(ok(self.postgres.clone())),
            ("PUT", ["config", "database", "postgres"]) => {
                let keys = ["max_connections", "statement_timeout", "work_mem", "shared_buffers", "max_wal_size"];
                let mut fields: Vec<(&str, Is, bool)> = keys.iter().map(|key| (*key, Is::Any, false)).collect();
                fields.push(("restart_database", Is::Flag, false));
                let mut body = read_body(body, &fields)?;
                body.remove("restart_database");
                self.postgres = Value::Object(body);
                Ok(ok(self.postgres.clone()))
            }
            ("GET", ["database", "backups"]) => Ok(ok(json!({
                "region": self.region, "walg_enabled": true, "pitr_enabled": self.pitr.is_some(), "backups": [],
                "physical_backup_data": {},
            }))),
            // Only for partners, whatever the token may do.
            (_, ["database", "migrations", ..]) => Err(Refusal(403, "Forbidden resource".into())),
            ("GET", ["billing", "addons"]) => Ok(ok(self.show_addons())),
            ("PATCH", ["billing", "addons"]) => self.change_addons(body, is_paid),
            ("GET", ["secrets"]) => Ok(ok(self.secrets.clone().into())),
            ("POST" | "DELETE", ["secrets"]) => self.change_secrets(request),
            ("GET", ["postgrest"]) => Ok(ok(json!({
                "db_schema": "public,graphql_public", "max_rows": 1000, "db_extra_search_path": "public,extensions",
                "db_pool": null,
            }))),
            _ => Err(Refusal(404, "Cannot find this path".into())),
        }
    }

    fn health(&self, request: &Request) -> Result<Answer, Refusal> {
        let asked: Vec<&str> =
            request.query.iter().filter(|(key, _)| key == "services").map(|(_, value)| value.as_str()).collect();
        if asked.is_empty() {
            return Err(Refusal(400, "services: must be given".into()));
        }
        let up = self.status() == "ACTIVE_HEALTHY";
        let show = |service: &&str| {
            let healthy = if *service == "pooler" { self.has_pooler() } else { up };
            let status = if healthy { "ACTIVE_HEALTHY" } else { "COMING_UP" };
            json!({ "name": service, "healthy": healthy, "status": status })
        };
        Ok(ok(asked.iter().map(show).collect()))
    }

    fn change_auth(&mut self, body: &[u8]) -> Result<Answer, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|e| Refusal(400, e.to_string()))?;
        for (key, value) in body.as_object().into_iter().flatten() {
            let known = self.auth.get(key).filter(|_| !AUTH_FIXED.contains(&key.as_str()));
            let Some(known) = known else { return Err(Refusal(400, format!("{key}: unknown key"))) };
            let same_kind =
                known.is_null() || value.is_null() || std::mem::discriminant(known) == std::mem::discriminant(value);
            let in_range = key != "jwt_exp" || value.as_u64().is_some_and(|seconds| seconds <= 604_800);
            if !same_kind || !in_range {
                return Err(Refusal(400, format!("{key}: not a valid value")));
            }
        }
        for (key, value) in body.as_object().into_iter().flatten() {
            self.auth[key] = value.clone();
        }
        Ok(ok(self.auth.clone()))
    }

    /// Takes in whether connections must be encrypted, and from where they may come. Gives the networks, whether
    /// they must be encrypted, and the answer.
    pub(super) fn change_access(&mut self, what: &[&str], body: &[u8]) -> Result<(Vec<String>, bool, Answer), Refusal> {
        let mut old = json!({});
        if what == ["ssl-enforcement"] {
            let body = read_body(body, &[("requestedConfig", Is::Object, true)])?;
            let wanted = body["requestedConfig"]["database"].as_bool();
            self.encrypted =
                wanted.ok_or_else(|| Refusal(400, "requestedConfig.database: must be a boolean".into()))?;
            // Whatever it was before: the database is restarted.
            self.busy = Some((Instant::now() + self.pace * 4, "RESTARTING"));
        } else {
            let body =
                read_body(body, &[("dbAllowedCidrs", Is::Texts, false), ("dbAllowedCidrsV6", Is::Texts, false)])?;
            old = json!({ "dbAllowedCidrs": self.networks[0], "dbAllowedCidrsV6": self.networks[1] });
            for (index, key) in ["dbAllowedCidrs", "dbAllowedCidrsV6"].into_iter().enumerate() {
                let list = body.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                let list: Vec<String> = list.iter().filter_map(|cidr| cidr.as_str().map(str::to_owned)).collect();
                let fits = |cidr: &String| cidr.contains('/') && (cidr.contains(':') == (index == 1));
                if let Some(bad) = list.iter().find(|cidr| !fits(cidr)) {
                    return Err(Refusal(400, format!("{key}: {bad} is not a network in CIDR form")));
                }
                self.networks[index] = list;
            }
            self.applied = Instant::now() + self.pace;
        }
        let networks = self.networks.concat();
        let answer = match what {
            ["ssl-enforcement"] => ok(self.show_encryption()),
            _ => {
                let mut shown = self.show_networks();
                shown["old_config"] = old;
                Answer { status: 201, body: Some(shown), headers: vec![] }
            }
        };
        Ok((networks, self.encrypted, answer))
    }

    fn show_encryption(&self) -> Value {
        json!({ "currentConfig": { "database": self.encrypted }, "appliedSuccessfully": true })
    }

    fn show_networks(&self) -> Value {
        let status = if self.applied > Instant::now() { "stored" } else { "applied" };
        json!({
            "entitlement": "allowed", "status": status,
            "config": { "dbAllowedCidrs": self.networks[0], "dbAllowedCidrsV6": self.networks[1] },
        })
    }

    fn show_pooler(&self) -> Value {
        let user = format!("postgres.{}", self.reference);
        let uri = format!("postgresql://{user}:[YOUR-PASSWORD]@{}:{}/postgres", self.host(), self.port());
        json!({
            "identifier": self.reference, "database_type": "PRIMARY", "is_using_scram_auth": true, "db_user": user,
            "db_host": self.host(), "db_port": self.port(), "db_name": "postgres", "connection_string": uri,
            "connectionString": uri, "default_pool_size": null, "max_client_conn": null, "pool_mode": "transaction",
        })
    }

    fn show_addons(&self) -> Value {
        let variant = |id: String, name: &str, amount: f64, interval: &str| {
            json!({ "id": id, "name": name, "price": {
                "description": format!("${amount}/{interval}"), "type": "usage", "interval": interval, "amount": amount,
            } })
        };
        let compute: Vec<Value> =
            SIZES.iter().map(|(size, price)| variant(format!("ci_{size}"), size, *price, "hourly")).collect();
        let pitr: Vec<Value> = [("pitr_7", 0.137), ("pitr_14", 0.274), ("pitr_28", 0.55)]
            .iter()
            .map(|(id, price)| variant((*id).to_owned(), id, *price, "hourly"))
            .collect();
        let mut selected = Vec::new();
        // A free project has no compute add-on.
        if let Some(variant) = compute.iter().find(|variant| variant["id"] == format!("ci_{}", self.size)) {
            selected.push(json!({ "type": "compute_instance", "variant": variant }));
        }
        if let Some(variant) = self.pitr.and_then(|id| pitr.iter().find(|variant| variant["id"] == id)) {
            selected.push(json!({ "type": "pitr", "variant": variant }));
        }
        json!({ "selected_addons": selected, "available_addons": [
            { "type": "compute_instance", "name": "Compute Instance", "variants": compute },
            { "type": "pitr", "name": "Point in Time Recovery", "variants": pitr },
        ] })
    }

    fn change_addons(&mut self, body: &[u8], is_paid: bool) -> Result<Answer, Refusal> {
        let body = read_body(body, &[("addon_variant", Is::Text, true), ("addon_type", Is::Text, true)])?;
        if !is_paid {
            return Err(Refusal(400, "add-ons require a paid plan".into()));
        }
        let variant = body["addon_variant"].as_str().unwrap_or_default();
        if let Some((size, _)) = SIZES.iter().find(|(size, _)| variant == format!("ci_{size}")) {
            self.size = size;
            self.busy = Some((Instant::now() + self.pace * 4, "RESIZING"));
        } else if let Some(pitr) = ["pitr_7", "pitr_14", "pitr_28"].into_iter().find(|id| *id == variant) {
            self.pitr = Some(pitr);
        } else {
            return Err(Refusal(400, "addon_variant: not a valid value".into()));
        }
        Ok(done(200))
    }

    fn change_secrets(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let list: Vec<Value> = serde_json::from_slice(&request.body).map_err(|e| Refusal(400, e.to_string()))?;
        for item in list {
            let name = item["name"].as_str().or(item.as_str()).unwrap_or_default().to_owned();
            if name.is_empty() || name.starts_with("SUPABASE_") {
                return Err(Refusal(400, "name: must not be empty or begin with SUPABASE_".into()));
            }
            self.secrets.retain(|secret| secret["name"] != name.as_str());
            if let Some(value) = item["value"].as_str() {
                let digest = crate::model::machine::digest(value.as_bytes());
                self.secrets.push(json!({ "name": name, "value": digest, "updated_at": made_up::now() }));
            }
        }
        Ok(done(if request.method == "POST" { 201 } else { 200 }))
    }
}
