//! The HTTP door: the only file that names reqwest. Tokens, retries and scrubbing live here.
#![expect(clippy::disallowed_types, reason = "this is the door")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use serde_json::Value;

use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::secret::Keys;

/// How many bytes of one answer are read. The longest real one, a page of 5,000 DNS records, has about three million.
const LONGEST_ANSWER: usize = 8 << 20;

/// How many pages of one list are read.
pub const MOST_PAGES: i64 = 500;

/// Why a list of more pages than that is not read on.
pub fn too_many_pages(api: &str, path: &str) -> Failure {
    Failure::new(Kind::Failed, format!("{api}'s list {path} has more than {MOST_PAGES} pages"))
        .hint("something else may answer in its place: is the endpoint the right one?")
}

/// The methods the clouds' APIs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or asks for an action.
    Post,
    /// Replaces.
    Put,
    /// Changes some fields.
    Patch,
    /// Deletes.
    Delete,
}

/// An API: where it is and which token it takes.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// What `--endpoint` and the environment call it.
    pub name: &'static str,
    /// Where it is unless told otherwise, without a slash at the end.
    pub base: &'static str,
    /// The token's name in the vault.
    pub token: &'static str,
    /// Where a person makes a token, and with which rights.
    pub make_token: &'static str,
    /// How it says when its rate limit lets the next request through.
    pub limit_reset: LimitReset,
}

/// The header of a 429, beside `Retry-After`, that says when the rate limit lets the next request through.
#[derive(Clone, Copy, Debug)]
pub enum LimitReset {
    /// There is none that helps.
    Unsaid,
    /// The header of this name: a time in seconds since 1970.
    At(&'static str),
    /// The header of this name: seconds from now.
    In(&'static str),
}

/// The longest time that an API is waited for when it says how long its rate limit lasts. Cloudflare blocks a token
/// for five minutes.
const LONGEST_BLOCK: Duration = Duration::from_secs(600);
/// How soon a wait ends once the user wants to stop.
const NOTICE: Duration = Duration::from_millis(200);

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path below the API's base, beginning with a slash.
    pub path: String,
    /// Query parameters, in order.
    pub query: Vec<(&'static str, String)>,
    /// A JSON body.
    pub body: Option<Value>,
    /// Texts in the body that no failure may repeat.
    pub hidden: Vec<String>,
}

impl Call {
    /// A request without query or body.
    pub fn new(method: Method, path: impl Into<String>) -> Call {
        Call { method, path: path.into(), query: vec![], body: None, hidden: vec![] }
    }

    /// Adds a query parameter.
    pub fn query(mut self, key: &'static str, value: impl ToString) -> Call {
        self.query.push((key, value.to_string()));
        self
    }

    /// Adds a JSON body.
    pub fn body(mut self, body: Value) -> Call {
        self.body = Some(body);
        self
    }

    /// Marks `text`, which stands in the body, as secret: what the API says of it is scrubbed.
    pub fn hiding(mut self, text: &str) -> Call {
        self.hidden.push(text.to_owned());
        self
    }

    /// May it be sent again when its answer was lost? A second POST could buy a second server.
    fn is_repeatable(&self) -> bool {
        self.method != Method::Post
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body: JSON, or its text where it is not, or null where there is none.
    pub body: Value,
}

/// Takes the part under `key` out of `body`; null where there is none, or where `body`, whatever it is, has no parts.
pub fn take(body: &mut Value, key: &str) -> Value {
    body.get_mut(key).map(Value::take).unwrap_or_default()
}

/// How often and how long the door tries.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first wait; each further one is twice as long, with jitter.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// How many times a request is sent again at most.
    pub retries: usize,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long a lease holds unless it is renewed, which is done three times as often.
    pub lease: Duration,
}

impl Default for Pace {
    /// As the official client of Hetzner does it: five times, one second doubled, at most a minute.
    fn default() -> Pace {
        Pace {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            retries: 5,
            timeout: Duration::from_secs(30),
            lease: Duration::from_secs(300),
        }
    }
}

/// The door.
pub struct Http {
    client: OnceLock<Client>,
    endpoints: BTreeMap<String, String>,
    keys: Arc<dyn Keys>,
    pace: Pace,
    /// How far each API's clock is ahead of ours, as its last answer said.
    ahead: Mutex<BTreeMap<&'static str, SignedDuration>>,
}

impl Http {
    /// A door that finds the APIs at `endpoints` (by name) instead of their usual place, and their
    /// tokens in `keys`.
    pub fn new(endpoints: BTreeMap<String, String>, keys: Arc<dyn Keys>, pace: Pace) -> Http {
        Http { client: OnceLock::new(), endpoints, keys, pace, ahead: Mutex::default() }
    }

    /// Was the API of this name said to be somewhere else?
    pub fn has_endpoint(&self, name: &str) -> bool {
        self.endpoints.contains_key(name)
    }

    /// Does any API stand on this machine, where only simulators do?
    pub fn is_simulated(&self) -> bool {
        self.endpoints.values().any(|url| url.starts_with("http://"))
    }

    /// How often and how long this door tries; whoever polls begins with half of its first wait.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The time at `api`, as its answers told (RFC 9110, field `Date`); ours before the first. What several laptops
    /// compare must not go by the clock of one of them.
    pub fn time_at(&self, api: &Api) -> Timestamp {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::now().saturating_add(ahead.get(api.name).copied().unwrap_or_default()).unwrap_or(Timestamp::MAX)
    }

    /// Sends `call` to `api`. Any answer below 500 except 429 is returned as it is. Fails as
    /// `Human` without a token, `Unreachable` when nothing arrived, `Lost` when the effect is unknown.
    pub async fn send(&self, api: &Api, call: &Call, report: &Report) -> Result<Reply, Failure> {
        let token_name = Name::parse(api.token)
            .ok_or_else(|| Failure::new(Kind::Failed, format!("`{}` is no name for a token", api.token)))?;
        let token = self.keys.get(&token_name).ok_or_else(|| {
            Failure::new(Kind::Human, format!("there is no token for {}", api.name)).hint(format!(
                "{}; then {}",
                api.make_token,
                self.keys.how_to_set(&token_name)
            ))
        })?;
        let what = format!("{} {}", api.name, call.path);
        let attempts = AtomicUsize::new(1);
        // A token that was pasted with its line end is still a token.
        let once = || self.send_once(api, call, token.expose().trim());
        let stop = report.clone();
        once.retry(
            ExponentialBuilder::default()
                .with_min_delay(self.pace.first)
                .with_max_delay(self.pace.longest)
                .with_max_times(self.pace.retries)
                .with_jitter(),
        )
        .sleep(move |wait| sleep_unless_stopped(wait, stop.clone()))
        .when(|attempt: &Refused| attempt.retry && !report.stopping())
        .adjust(|attempt, delay| match (delay, attempt.wait) {
            // Where nobody sees the wait or can end it, it is no longer than any other.
            (Some(delay), Some(asked)) if report.is_silent() => Some(delay.max(asked.min(self.pace.longest))),
            (Some(delay), Some(asked)) => Some(delay.max(asked)),
            (delay, _) => delay,
        })
        .notify(|_, wait| {
            let next = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            report.tell(Progress::Retrying(what.clone(), next, wait));
        })
        .await
        .map_err(|refused| refused.failure)
    }

    async fn send_once(&self, api: &Api, call: &Call, token: &str) -> Result<Reply, Refused> {
        let base = self.endpoints.get(api.name).map_or(api.base, String::as_str);
        let url = format!("{base}{}", call.path);
        let client = self.client()?;
        let mut request = match call.method {
            Method::Get => client.get(&url),
            Method::Post => client.post(&url),
            Method::Put => client.put(&url),
            Method::Patch => client.patch(&url),
            Method::Delete => client.delete(&url),
        };
        request = request.bearer_auth(token).query(&call.query);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|e| Refused::from_transport(api, call, &e, token))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
        let date = response.headers().get("date").and_then(|value| value.to_str().ok());
        if let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
            let ahead = date.timestamp().duration_since(Timestamp::now());
            self.ahead.lock().unwrap_or_else(PoisonError::into_inner).insert(api.name, ahead);
        }
        let asked = header("retry-after").map(Duration::from_secs);
        let wait = match (status, api.limit_reset) {
            (429, LimitReset::At(name)) => asked.or_else(|| header(name).map(|at| until(at, self.time_at(api)))),
            (429, LimitReset::In(name)) => asked.or_else(|| header(name).map(Duration::from_secs)),
            (429, LimitReset::Unsaid) => asked,
            _ => asked.map(|asked| asked.min(self.pace.longest)),
        };
        let wait = wait.map(|wait| wait.min(LONGEST_BLOCK));
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| Refused::from_transport(api, call, &e, token))? {
            if bytes.len() + chunk.len() > LONGEST_ANSWER {
                return Err(Refused::endless(api, call));
            }
            bytes.extend_from_slice(&chunk);
        }
        let (body, is_json) = match serde_json::from_slice(&bytes) {
            Ok(body) => (body, true),
            Err(_) if bytes.is_empty() => (Value::Null, true),
            Err(_) => (Value::String(String::from_utf8_lossy(&bytes).chars().take(400).collect()), false),
        };
        let mut body = scrub(body, token);
        if status >= 400 {
            body = call.hidden.iter().fold(body, |body, text| scrub(body, text));
        }
        if (200..300).contains(&status) && !is_json {
            let kind = if call.is_repeatable() { Kind::Failed } else { Kind::Lost };
            let what = format!("{} answered {:?} {} with something that is no JSON", api.name, call.method, call.path);
            let failure = Failure::new(kind, what).hint(
                "a proxy or the login page of a network may have answered instead: open any page in a browser, then run \
                 the same command again",
            );
            return Err(Refused { failure, retry: false, wait: None });
        }
        if status != 429 && status < 500 {
            return Ok(Reply { status, body });
        }
        // 429 says that nothing was done; a 5xx may come after the effect.
        let certain = status == 429 || call.is_repeatable();
        let kind = if certain { Kind::Failed } else { Kind::Lost };
        let places = [&body["error"]["message"], &body["message"], &body["errors"][0]["message"], &body];
        let said = places.into_iter().find_map(Value::as_str).unwrap_or_default().trim();
        let failure = Failure::new(kind, format!("{} answered {status} to {:?} {}", api.name, call.method, call.path));
        let failure = match (status, said) {
            (429, _) => {
                failure.hint("the API's rate limit is used up: wait some minutes, then run the same command again")
            }
            (_, "") => failure.hint("the API has a problem of its own: run the same command again later"),
            (_, said) => failure
                .because(said.to_owned())
                .hint("the API has a problem of its own: run the same command again later"),
        };
        Err(Refused { failure, retry: certain, wait })
    }

    fn client(&self) -> Result<&Client, Refused> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // A redirect would carry the token to a place nobody chose.
        let mut client = Client::builder();
        // Plain HTTP only ever goes to this machine; through a proxy it would leave it.
        if self.is_simulated() {
            client = client.no_proxy();
        }
        let client = client
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(self.pace.timeout)
            .build()
            .map_err(|e| {
                let failure = Failure::new(Kind::Failed, "cannot set up HTTPS").because(e);
                Refused { failure, retry: false, wait: None }
            })?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// How long it is from `now` until the second `at` of those since 1970 has begun.
fn until(at: u64, now: Timestamp) -> Duration {
    let ms = i64::try_from(at).unwrap_or(i64::MAX).saturating_mul(1000).saturating_sub(now.as_millisecond());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Waits this long, or until the user wants to stop.
async fn sleep_unless_stopped(wait: Duration, report: Report) {
    let stopped = async {
        while !report.stopping() {
            tokio::time::sleep(NOTICE).await;
        }
    };
    let _ = tokio::time::timeout(wait, stopped).await;
}

/// An attempt that gave no usable answer.
struct Refused {
    failure: Failure,
    retry: bool,
    wait: Option<Duration>,
}

impl Refused {
    fn endless(api: &Api, call: &Call) -> Refused {
        let kind = if call.is_repeatable() { Kind::Failed } else { Kind::Lost };
        let what = format!(
            "{} answered {:?} {} with more than {} MiB",
            api.name,
            call.method,
            call.path,
            LONGEST_ANSWER >> 20
        );
        let failure =
            Failure::new(kind, what).hint("something else may answer in its place: is the endpoint the right one?");
        Refused { failure, retry: false, wait: None }
    }

    fn from_transport(api: &Api, call: &Call, error: &reqwest::Error, token: &str) -> Refused {
        let never_arrived = error.is_connect() || error.is_builder();
        let kind = if never_arrived || call.is_repeatable() { Kind::Unreachable } else { Kind::Lost };
        // The error's own text holds the URL; its causes say what happened.
        let mut cause = std::error::Error::source(error);
        let mut text = String::new();
        while let Some(inner) = cause {
            text = inner.to_string();
            cause = inner.source();
        }
        if text.is_empty() {
            text = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
        }
        let message = match kind {
            Kind::Lost => format!("the answer of {} to {:?} {} was lost", api.name, call.method, call.path),
            _ => format!("cannot reach {}", api.name),
        };
        // A certificate that nobody vouches for does not become better by asking again.
        let forged = text.contains("certificate");
        let failure = Failure::new(kind, message).because(text.replace(token, "‹secret›")).hint(match forged {
            true => {
                "something on the way answers in its place: a proxy of your network, or an attacker. Nothing was sent to it. If a \
                 proxy's certificate is to be trusted, add it to this machine's own"
            }
            false => "check the network, then run the same command again: it takes up where this run stopped",
        });
        if forged {
            return Refused { failure, retry: false, wait: None };
        }
        Refused { failure, retry: (never_arrived && !error.is_builder()) || call.is_repeatable(), wait: None }
    }
}

/// Takes a secret out of everything that came back.
fn scrub(body: Value, secret: &str) -> Value {
    match body {
        Value::String(text) if text.contains(secret) => Value::String(text.replace(secret, "‹secret›")),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| scrub(item, secret)).collect()),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, scrub(value, secret))).collect(),
        other => other,
    }
}
