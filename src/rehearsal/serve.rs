//! Serves a simulated API over HTTP on the loopback address.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::rehearsal::faults::{Faults, Moment, Trouble};

/// A request, taken apart.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path below the API's base.
    pub path: String,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// What the Authorization header bears.
    pub token: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first query parameter called `key`.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body, if there is one.
    pub body: Option<Value>,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
}

/// A simulated API.
#[async_trait]
pub trait Simulator: Send + Sync + 'static {
    /// The path all others are below, such as `/v1`.
    fn base(&self) -> &'static str;

    /// Answers a request as the real API would.
    async fn answer(&self, request: Request) -> Answer;

    /// What `--endpoint` and the environment call the API.
    fn name(&self) -> &'static str;

    /// A token that may do everything.
    fn token(&self) -> &str;

    /// Everything of the user's that is there: kind and name.
    fn holds(&self) -> Vec<String>;

    /// The body of an error with this code, in the API's own form.
    fn error(&self, code: &str, message: &str) -> Value;
}

/// One request and its answer, for those who judge them.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub answer: Answer,
}

/// A simulated API that is being served. Ends when dropped.
pub struct Served {
    /// Where it is, with its base path and without a slash at the end.
    pub url: String,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    revoked: Arc<AtomicBool>,
    read_only: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Every exchange so far that was answered by the simulator itself.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Accepts the token again after [`Trouble::Revoke`] or [`Trouble::ReadOnly`], as a new one would be.
    pub fn accept_again(&self) {
        self.read_only.store(false, Ordering::Relaxed);
        self.revoked.store(false, Ordering::Relaxed);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    simulator: Arc<dyn Simulator>,
    faults: Arc<Faults>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    keep: bool,
    /// The last answer to each look, for looks that come too early.
    seen: Mutex<BTreeMap<String, Answer>>,
    /// Are tokens no longer accepted?
    revoked: Arc<AtomicBool>,
    /// May tokens only read?
    read_only: Arc<AtomicBool>,
}

/// Serves `simulator` on a free port of the loopback address. With `keep`, exchanges are kept for later.
pub async fn serve(simulator: Arc<dyn Simulator>, keep: bool) -> std::io::Result<Served> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let url = format!("http://{}{}", listener.local_addr()?, simulator.base());
    let faults = Arc::new(Faults::default());
    let exchanges = Arc::default();
    let revoked = Arc::new(AtomicBool::new(false));
    let read_only = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Shared {
        simulator,
        faults: faults.clone(),
        exchanges: Arc::clone(&exchanges),
        keep,
        seen: Mutex::default(),
        revoked: Arc::clone(&revoked),
        read_only: Arc::clone(&read_only),
    });
    let router = axum::Router::new().fallback(handle).with_state(shared);
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    Ok(Served { url, faults, exchanges, revoked, read_only, task })
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let simulator = &shared.simulator;
    let path = decode(uri.path().strip_prefix(simulator.base()).unwrap_or("").trim_end_matches('/'));
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let query = parse_query(uri.query().unwrap_or_default());
    let mut request = Request { method: method.to_string(), path, query, token, body: body.to_vec() };

    let name = simulator.name();
    if shared.faults.is_gone(name, &request.method, &request.path, Moment::Before) {
        return cut();
    }
    let trouble = shared.faults.meet(name, &request.method, &request.path);
    match &trouble {
        Some(Trouble::CutBefore) => return cut(),
        Some(Trouble::Refuse(status, code, headers)) => {
            let body = simulator.error(code, "refused on purpose");
            return respond(Answer { status: *status, body: Some(body), headers: headers.clone() });
        }
        Some(Trouble::Late(delay)) => tokio::time::sleep(*delay).await,
        Some(Trouble::Revoke) => shared.revoked.store(true, Ordering::Relaxed),
        Some(Trouble::ReadOnly) => shared.read_only.store(true, Ordering::Relaxed),
        Some(Trouble::CutAfter | Trouble::Stale) | None => {}
    }
    if shared.revoked.load(Ordering::Relaxed) {
        request.token = Some("revoked".to_owned());
    }
    if shared.read_only.load(Ordering::Relaxed) && request.method != "GET" {
        let body = simulator.error("forbidden", "the token may only read");
        return respond(Answer { status: 403, body: Some(body), headers: vec![] });
    }
    let look = format!("{} {uri}", request.method);
    if trouble == Some(Trouble::Stale)
        && let Some(before) = shared.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&look)
    {
        return respond(before.clone());
    }
    let answer = simulator.answer(request.clone()).await;
    if shared.faults.is_gone(name, &request.method, &request.path, Moment::After) {
        return cut();
    }
    if request.method == "GET" && shared.keep {
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(look, answer.clone());
    }
    if shared.keep {
        let exchange = Exchange { request, answer: answer.clone() };
        shared.exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }
    if trouble == Some(Trouble::CutAfter) {
        return cut();
    }
    respond(answer)
}

/// An answer that promises more than it holds: the client sees the connection break.
fn cut() -> Response {
    let mut response = Response::new(Body::from_stream(Broken(false)));
    response.headers_mut().insert("content-length", HeaderValue::from_static("100000"));
    response
}

/// A body that breaks off after its first bytes.
struct Broken(bool);

impl futures_core::Stream for Broken {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let begun = std::mem::replace(&mut self.0, true);
        let item = if begun { Err(std::io::Error::other("cut on purpose")) } else { Ok(Bytes::from_static(b"{")) };
        std::task::Poll::Ready(Some(item))
    }
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(body) = answer.body {
        *response.body_mut() = Body::from(body.to_string());
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    }
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The text behind `%20` and the like.
fn decode(part: &str) -> String {
    let mut out = Vec::new();
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Takes `a=1&b=x%20y` apart.
fn parse_query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (decode(&key.replace('+', " ")), decode(&value.replace('+', " "))))
        .collect()
}
