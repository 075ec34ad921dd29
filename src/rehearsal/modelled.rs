//! Modelled hosts: no machine, only a list of what was put where. For rehearsals where no Docker engine is there, and for
//! going through thousands of bad days in minutes. Whoever speaks to it says on every line that it is modelled.
//!
//! `POST /look {keys}` gives everything on the host that has one of these host keys; `POST /change {keys, address, fields,
//! outputs, born}` puts one thing there or, with `fields` null, takes it away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request, Simulator};

/// All modelled hosts.
pub struct ModelledHosts {
    hosts: Mutex<Vec<Host>>,
    token: String,
}

/// A host: the keys it is known by, and what is on it by address.
#[derive(Default)]
struct Host {
    keys: BTreeSet<String>,
    things: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    keys: BTreeSet<String>,
    address: Option<String>,
    #[serde(default)]
    fields: Value,
    #[serde(default)]
    outputs: Value,
    born: Option<String>,
}

impl Default for ModelledHosts {
    fn default() -> ModelledHosts {
        ModelledHosts { hosts: Mutex::default(), token: made_up::token(40) }
    }
}

impl ModelledHosts {
    fn lock(&self) -> MutexGuard<'_, Vec<Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on all hosts, by address, as far as it is there once; and what is there twice.
    pub fn everything(&self) -> Vec<String> {
        self.lock().iter().flat_map(|host| host.things.keys().cloned()).collect()
    }

    fn route(&self, request: &Request) -> Result<Value, String> {
        let asked: Asked = serde_json::from_slice(&request.body).map_err(|e| e.to_string())?;
        let mut hosts = self.lock();
        let index = match hosts.iter().position(|host| !host.keys.is_disjoint(&asked.keys)) {
            Some(index) => index,
            None => {
                hosts.push(Host { keys: asked.keys.clone(), things: BTreeMap::new() });
                hosts.len() - 1
            }
        };
        let host = &mut hosts[index];
        match (request.path.as_str(), asked.address) {
            ("/look", None) => Ok(json!({ "things": host.things })),
            ("/change", Some(address)) => {
                host.keys.extend(asked.born);
                match asked.fields {
                    Value::Null => drop(host.things.remove(&address)),
                    fields => drop(host.things.insert(address, json!({ "fields": fields, "outputs": asked.outputs }))),
                }
                Ok(json!({}))
            }
            (path, _) => Err(format!("nothing is at {path}")),
        }
    }
}

#[async_trait]
impl Simulator for ModelledHosts {
    fn base(&self) -> &'static str {
        "/v1"
    }

    async fn answer(&self, request: Request) -> Answer {
        let (status, body) = match self.route(&request) {
            _ if request.token.as_deref() != Some(self.token()) => (401, self.error("unauthorized", "no token")),
            Ok(body) => (200, body),
            Err(why) => (400, self.error("invalid", &why)),
        };
        Answer { status, body: Some(body), headers: vec![] }
    }

    fn name(&self) -> &'static str {
        "host"
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn holds(&self) -> Vec<String> {
        vec![]
    }

    fn error(&self, code: &str, message: &str) -> Value {
        json!({ "error": { "code": code, "message": message } })
    }
}
