//! A simulated Cloudflare: zones, records, settings, DNSSEC and an Origin CA that really signs. Strict and stateful,
//! with the error codes and the limits of the free plan.

mod records;
mod refusal;
mod zones;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

use crate::rehearsal::cloudflare::refusal::Refusal;
use crate::rehearsal::cloudflare::zones::Zone;
use crate::rehearsal::made_up;
use crate::rehearsal::serve::{Answer, Request, Simulator};
use crate::rehearsal::strict::{Is, read_body};

/// The simulated API, for one account.
pub struct Cloudflare {
    state: Mutex<State>,
    authority: Authority,
    token: String,
}

/// What the account holds.
#[derive(Default)]
struct State {
    account: String,
    zones: Vec<Zone>,
    certificates: Vec<Value>,
    buckets: Vec<Value>,
    /// Where buckets are real folders of a storage that speaks S3.
    storage: Option<PathBuf>,
    /// Requests spent in the current five minutes, and when those began.
    spent: (u32, Option<std::time::Instant>),
}

/// The origin authority: a real one, made anew for each simulation.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

/// Requests a token may make in five minutes, and how long it is then shut out.
const RATE_LIMIT: (u32, Duration) = (1200, Duration::from_secs(300));

impl Cloudflare {
    /// An account with these zones, active already, whose buckets are folders in `storage`. The error says why there is no authority.
    pub fn new(zones: &[String], storage: Option<PathBuf>) -> Result<Cloudflare, String> {
        let mut state = State { storage, account: made_up::hex(32), ..State::default() };
        for name in zones {
            let account = state.account.clone();
            state.zones.push(Zone::new(name, "active", &account));
        }
        Ok(Cloudflare { state: Mutex::new(state), authority: Authority::new()?, token: made_up::token(40) })
    }

    /// The root certificate of the origin authority, in PEM form.
    pub fn origin_root(&self) -> &str {
        &self.authority.root
    }

    /// What records of this name and type say, in the zone they are in.
    pub fn contents(&self, name: &str, kind: &str) -> Vec<String> {
        let state = self.lock();
        let records = state.zones.iter().flat_map(|zone| zone.records.values());
        let found = records.filter(|record| record["name"] == name && record["type"] == kind);
        found.filter_map(|record| record["content"].as_str().map(str::to_owned)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, request: &Request) -> Result<Answer, Refusal> {
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let state = &mut *self.lock();
        state.spend()?;
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["user", "tokens", "verify"]) => Ok(ok(json!({ "id": made_up::hex(32), "status": "active" }))),
            ("GET", ["accounts"]) => {
                let account = json!({ "id": state.account, "name": "Simulated", "type": "standard" });
                page(vec![account], request, (5, 50, 20))
            }
            ("GET", ["zones"]) => {
                let wanted = |key: &str, value: &str| request.query(key).is_none_or(|asked| asked == value);
                let zones = state.zones.iter().filter(|zone| {
                    wanted("name", &zone.name) && wanted("status", zone.status) && wanted("account.id", &zone.account)
                });
                page(zones.map(Zone::show).collect(), request, (5, 50, 20))
            }
            ("GET", ["accounts", owner, "r2", "buckets", name]) if *owner == state.account => {
                let found = state.buckets.iter().find(|bucket| bucket["name"] == *name);
                found.cloned().map(ok).ok_or_else(|| Refusal::new(404, 10006, "The specified bucket does not exist."))
            }
            ("POST", ["accounts", owner, "r2", "buckets"]) if *owner == state.account => {
                state.create_bucket(&request.body)
            }
            ("POST", ["zones"]) => state.create_zone(&request.body),
            (_, ["zones", id, rest @ ..]) => {
                let index = state.zones.iter().position(|zone| zone.id == *id).ok_or_else(Refusal::no_route)?;
                if let ("DELETE", []) = (request.method.as_str(), rest) {
                    let zone = state.zones.remove(index);
                    return Ok(ok(json!({ "id": zone.id })));
                }
                state.zones[index].route(request, rest)
            }
            ("GET", ["certificates"]) => {
                let zone = request.query("zone_id").and_then(|id| state.zones.iter().find(|zone| zone.id == id));
                let zone = zone.ok_or_else(|| Refusal::new(400, 1001, "Missing or invalid zone_id."))?;
                let of_zone = |certificate: &&Value| {
                    let names = certificate["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str);
                    names.into_iter().any(|name| zone.covers(name.trim_start_matches("*.")))
                };
                let all: Vec<Value> = state.certificates.iter().filter(of_zone).cloned().collect();
                // Twenty at a time unless asked for more, and never more than fifty.
                let number = |name: &str| request.query(name).and_then(|text| text.parse::<usize>().ok());
                let (page, per_page) =
                    (number("page").unwrap_or(1).max(1), number("per_page").unwrap_or(20).clamp(1, 50));
                let count = all.len();
                let shown: Vec<Value> = all.into_iter().skip((page - 1) * per_page).take(per_page).collect();
                let info = json!({ "page": page, "per_page": per_page, "count": shown.len(), "total_count": count });
                Ok(with_info(shown, info))
            }
            ("POST", ["certificates"]) => self.sign(state, &request.body),
            ("GET", ["certificates", id]) => {
                let found = state.certificates.iter().find(|certificate| certificate["id"] == *id);
                found.cloned().map(ok).ok_or_else(|| Refusal::new(404, 1101, "Certificate not found."))
            }
            ("DELETE", ["certificates", id]) => {
                let before = state.certificates.len();
                state.certificates.retain(|certificate| certificate["id"] != *id);
                match state.certificates.len() < before {
                    true => Ok(ok(json!({ "id": id }))),
                    false => Err(Refusal::new(404, 1101, "Certificate not found.")),
                }
            }
            _ => Err(Refusal::no_route()),
        }
    }

    fn sign(&self, state: &mut State, body: &[u8]) -> Result<Answer, Refusal> {
        let days: &[i64] = &[7, 30, 90, 365, 730, 1095, 5475];
        let fields = [
            ("csr", Is::Text, true),
            ("hostnames", Is::Texts, true),
            ("request_type", Is::OneOf(&["origin-rsa", "origin-ecc", "keyless-certificate"]), true),
            ("requested_validity", Is::Number, false),
        ];
        let mut body = read_body(body, &fields)?;
        let asked = body.get("requested_validity").and_then(Value::as_i64).unwrap_or(5475);
        if !days.contains(&asked) {
            return Err(Refusal::new(400, 1100, "requested_validity is not one of 7, 30, 90, 365, 730, 1095, 5475."));
        }
        let names: Vec<String> =
            body["hostnames"].as_array().into_iter().flatten().filter_map(|n| n.as_str().map(str::to_owned)).collect();
        let known = |name: &String| state.zones.iter().any(|zone| zone.covers(name.trim_start_matches("*.")));
        if names.is_empty() || !names.iter().all(known) {
            return Err(Refusal::new(400, 1010, "This zone is not in the account."));
        }
        let pem = body["csr"].as_str().unwrap_or_default().to_owned();
        let bad = |e: rcgen::Error| Refusal::new(400, 1000, format!("The CSR is invalid: {e}"));
        let mut request = CertificateSigningRequestParams::from_pem(&pem).map_err(bad)?;
        let sans = names.iter().map(|name| Ok(rcgen::SanType::DnsName(name.as_str().try_into()?)));
        request.params.subject_alt_names = sans.collect::<Result<_, rcgen::Error>>().map_err(bad)?;
        let (from, to) = (jiff::Timestamp::now(), jiff::Span::new().hours(asked * 24));
        let to = from.checked_add(to).unwrap_or(from);
        request.params.not_before = date(from);
        request.params.not_after = date(to);
        let signed = request.signed_by(&self.authority.issuer).map_err(bad)?;
        body.insert("id".into(), made_up::text(b"123456789", 32).into());
        body.insert("requested_validity".into(), asked.into());
        body.insert("certificate".into(), signed.pem().into());
        body.insert("expires_on".into(), to.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
        let certificate = Value::Object(body);
        state.certificates.push(certificate.clone());
        Ok(ok(certificate))
    }
}

fn date(at: jiff::Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

impl Authority {
    fn new() -> Result<Authority, String> {
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let mut params = CertificateParams::new(vec![]).map_err(|e| e.to_string())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "Simulated Origin Authority");
        let root = params.self_signed(&key).map_err(|e| e.to_string())?.pem();
        Ok(Authority { issuer: Issuer::new(params, key), root })
    }
}

impl State {
    /// Spends one request of the token's allowance; what is over it is refused for the rest of the five minutes.
    fn spend(&mut self) -> Result<(), Refusal> {
        let now = std::time::Instant::now();
        let (spent, since) = &mut self.spent;
        if since.is_none_or(|since| now.duration_since(since) > RATE_LIMIT.1) {
            (*spent, *since) = (0, Some(now));
        }
        *spent += 1;
        match *spent > RATE_LIMIT.0 {
            true => Err(Refusal::new(429, 10429, "Rate limited. Please wait and try again.")),
            false => Ok(()),
        }
    }

    fn create_bucket(&mut self, body: &[u8]) -> Result<Answer, Refusal> {
        let fields = [
            ("name", Is::Text, true),
            ("locationHint", Is::OneOf(&["apac", "eeur", "enam", "weur", "wnam"]), false),
            ("storageClass", Is::OneOf(&["Standard", "InfrequentAccess"]), false),
        ];
        let body = read_body(body, &fields)?;
        let name = body["name"].as_str().unwrap_or_default();
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(3..=63).contains(&name.len()) || !name.chars().all(legal) || name.starts_with('-') || name.ends_with('-') {
            return Err(Refusal::new(400, 10005, "The specified bucket name is not valid."));
        }
        if self.buckets.iter().any(|bucket| bucket["name"] == name) {
            return Err(Refusal::new(409, 10004, "The bucket you tried to create already exists, and you own it."));
        }
        if let Some(storage) = &self.storage {
            let made = std::fs::create_dir_all(storage.join(name));
            made.map_err(|e| Refusal::new(500, 10001, format!("We encountered an internal error: {e}")))?;
        }
        let bucket = json!({
            "name": name, "creation_date": jiff::Timestamp::now().to_string(),
            "location": body.get("locationHint").cloned().unwrap_or_else(|| "weur".into()), "storage_class": "Standard",
        });
        self.buckets.push(bucket.clone());
        Ok(ok(bucket))
    }

    fn create_zone(&mut self, body: &[u8]) -> Result<Answer, Refusal> {
        let fields = [
            ("name", Is::Text, true),
            ("account", Is::Object, true),
            ("type", Is::OneOf(&["full", "partial", "secondary"]), false),
            ("jump_start", Is::Flag, false),
        ];
        let body = read_body(body, &fields)?;
        let name = body["name"].as_str().unwrap_or_default().to_lowercase();
        if !crate::model::name::is_host_name(&name) || !name.contains('.') {
            return Err(Refusal::new(400, 1097, "Invalid zone name."));
        }
        if body["account"]["id"] != self.account.as_str() {
            return Err(Refusal::new(403, 1068, "Permission denied: no such account."));
        }
        if self.zones.iter().any(|zone| zone.name == name) {
            return Err(Refusal::new(400, 1061, format!("{name} already exists")));
        }
        // A new zone waits until its registrar names the servers.
        let zone = Zone::new(&name, "pending", &self.account);
        let shown = zone.show();
        self.zones.push(zone);
        Ok(ok(shown))
    }
}

#[async_trait]
impl Simulator for Cloudflare {
    fn base(&self) -> &'static str {
        "/client/v4"
    }

    async fn answer(&self, request: Request) -> Answer {
        let token = request.token.as_deref().unwrap_or_default();
        if token != self.token {
            return Refusal::new(401, 1000, "Invalid API Token").into_answer();
        }
        self.route(&request).unwrap_or_else(Refusal::into_answer)
    }

    fn name(&self) -> &'static str {
        "cloudflare"
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn holds(&self) -> Vec<String> {
        let state = self.lock();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let records = state.zones.iter().flat_map(|zone| zone.records.values());
        let records = records.map(|record| format!("record {} {}", text(&record["type"]), text(&record["name"])));
        let certificates =
            state.certificates.iter().map(|c| format!("origin-certificate {}", text(&c["hostnames"][0])));
        records.chain(certificates).collect()
    }

    fn error(&self, code: &str, message: &str) -> Value {
        // Codes are numbers here; faults name them in words.
        let number = match code {
            "unauthorized" => 1000,
            "forbidden" => 10000,
            _ => 10429,
        };
        Refusal::new(400, number, message).body()
    }
}

/// A success with this result.
fn ok(result: Value) -> Answer {
    let body = json!({ "success": true, "errors": [], "messages": [], "result": result });
    Answer { status: 200, body: Some(body), headers: vec![("ratelimit", "\"default\";r=1100;t=300".to_owned())] }
}

fn with_info(result: Vec<Value>, info: Value) -> Answer {
    let body = json!({ "success": true, "errors": [], "messages": [], "result": result, "result_info": info });
    Answer { status: 200, body: Some(body), headers: vec![] }
}

/// One page of `entries`, whose size may be between the first two of `bounds` and is the third unless asked for.
fn page(entries: Vec<Value>, request: &Request, bounds: (usize, usize, usize)) -> Result<Answer, Refusal> {
    let number = |key: &str, usual: usize| match request.query(key) {
        None => Ok(usual),
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| Refusal::new(400, 1004, format!("Invalid value for {key}"))),
    };
    let (page, per_page) = (number("page", 1)?, number("per_page", bounds.2)?);
    if !(bounds.0..=bounds.1).contains(&per_page) {
        return Err(Refusal::new(400, 1004, format!("per_page must be between {} and {}", bounds.0, bounds.1)));
    }
    let total = entries.len();
    let shown: Vec<Value> = entries.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
    let info = json!({
        "page": page, "per_page": per_page, "count": shown.len(), "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    Ok(with_info(shown, info))
}
