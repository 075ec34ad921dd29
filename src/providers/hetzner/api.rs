//! Hetzner's API: calls, error codes, pages and actions. Facts are from the official specification's
//! introduction ("Errors", "Pagination", "Actions") and the behaviour of the official client, hcloud-go.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::doors::Doors;
use crate::doors::http::{Api, Call, LimitReset, MOST_PAGES, Method, take, too_many_pages};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::providers::Account;

/// Where the API is, and where tokens are made.
pub(super) const API: Api = Api {
    name: "hetzner",
    base: "https://api.hetzner.cloud/v1",
    token: "hetzner-token",
    make_token: "make one with read and write rights at https://console.hetzner.com: your project, Security, API tokens",
    limit_reset: LimitReset::Unsaid,
};

/// The most entries a page may have.
const PER_PAGE: u32 = 50;
/// The most actions the official client asks for in one call.
const ACTIONS_PER_CALL: usize = 25;
/// An action that takes longer than this is given up on; the next run looks again.
const ACTION_DEADLINE: Duration = Duration::from_secs(600);
/// How long a resource that another action holds is waited for.
const LOCK_DEADLINE: Duration = Duration::from_secs(120);

/// The API refused a call, or could not be asked.
#[derive(Debug)]
pub struct Denied {
    /// The API's error code, such as `uniqueness_error`; empty when it gave none.
    pub code: String,
    /// What that means.
    pub failure: Failure,
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        denied.failure
    }
}

impl From<Failure> for Denied {
    fn from(failure: Failure) -> Denied {
        Denied { code: String::new(), failure }
    }
}

/// An asynchronous action.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Action {
    id: i64,
    command: String,
    status: String,
    error: Option<ActionError>,
}

#[derive(Clone, Debug, Deserialize)]
struct ActionError {
    code: String,
    message: String,
}

/// The API as one run uses it.
#[derive(Clone, Copy)]
pub(super) struct Hcloud<'a> {
    doors: &'a Doors,
    report: &'a Report,
}

impl<'a> Hcloud<'a> {
    /// The API behind `doors`.
    pub(super) fn new(doors: &'a Doors, report: &'a Report) -> Hcloud<'a> {
        Hcloud { doors, report }
    }

    /// Every entry of the list at `path`, whose entries stand under `key`, page after page.
    pub(super) async fn list<T: DeserializeOwned>(
        self,
        path: &str,
        key: &str,
        query: &[(&'static str, String)],
    ) -> Result<Vec<T>, Failure> {
        let mut entries = Vec::new();
        let mut page = 1;
        loop {
            let mut call = Call::new(Method::Get, path).query("page", page).query("per_page", PER_PAGE);
            call.query.extend(query.iter().cloned());
            let mut body = self.call(&call).await?;
            let list = take(&mut body, key);
            entries.extend(parse::<Vec<T>>(list, path)?);
            match body["meta"]["pagination"]["next_page"].as_i64() {
                Some(next) if next > page && next <= MOST_PAGES => page = next,
                Some(next) if next > MOST_PAGES => return Err(too_many_pages("hetzner", path)),
                _ => return Ok(entries),
            }
        }
    }

    /// The single thing at `path`, which stands under `key`.
    pub(super) async fn get<T: DeserializeOwned>(self, path: &str, key: &str) -> Result<T, Failure> {
        let mut body = self.call(&Call::new(Method::Get, path)).await?;
        parse(take(&mut body, key), path)
    }

    /// Creates something, or asks for an action. What another action holds is waited for: those refusals
    /// (409 `conflict`, 423 `locked`) say that nothing was done, so asking again is safe.
    pub(super) async fn post(self, path: &str, body: Option<Value>) -> Result<Value, Denied> {
        let mut call = Call::new(Method::Post, path);
        call.body = body;
        self.when_free(&call).await
    }

    /// Changes what is at `path`.
    pub(super) async fn put(self, path: &str, body: Value) -> Result<Value, Denied> {
        let mut call = Call::new(Method::Put, path);
        call.body = Some(body);
        self.when_free(&call).await
    }

    /// Deletes what is at `path`; what is already gone is fine.
    pub(super) async fn delete(self, path: &str) -> Result<Value, Denied> {
        match self.when_free(&Call::new(Method::Delete, path)).await {
            Err(denied) if denied.code == "not_found" => Ok(Value::Null),
            other => other,
        }
    }

    /// Waits before the `round`-th look (from 0, which does not wait): each time twice as long.
    pub(crate) async fn pause(self, round: u32) {
        if round > 0 {
            sleep(self.doors.http.pace().first / 2 * 2_u32.pow(round - 1)).await;
        }
    }

    async fn when_free(self, call: &Call) -> Result<Value, Denied> {
        let begun = Instant::now();
        let mut gap = self.doors.http.pace().first / 2;
        loop {
            match self.call(call).await {
                Err(denied)
                    if matches!(denied.code.as_str(), "conflict" | "locked" | "resource_in_use")
                        && begun.elapsed() < LOCK_DEADLINE =>
                {
                    self.report.tell(Progress::Waiting(format!("hetzner to finish with {}", call.path)));
                    sleep(gap).await;
                    gap = (gap * 2).min(Duration::from_secs(5));
                }
                other => return other,
            }
        }
    }

    /// Waits for the actions in an answer: `action`, `actions` and `next_actions`. Fails when one fails.
    pub(super) async fn settle(self, answers: &[Value]) -> Result<(), Failure> {
        let mut open: Vec<i64> = Vec::new();
        for answer in answers {
            let lists = [&answer["actions"], &answer["next_actions"]];
            let listed = lists.into_iter().filter_map(Value::as_array).flatten();
            for action in listed.chain(std::iter::once(&answer["action"]).filter(|action| action.is_object())) {
                let action: Action = parse(action.clone(), "actions")?;
                if !self.is_over(&action)? {
                    open.push(action.id);
                }
            }
        }
        let begun = Instant::now();
        let mut gap = self.doors.http.pace().first / 2;
        while !open.is_empty() {
            if begun.elapsed() > ACTION_DEADLINE {
                return Err(Failure::new(Kind::Failed, "hetzner has not finished in ten minutes")
                    .hint("look at the project in the Hetzner Console; then run the same command again"));
            }
            sleep(gap).await;
            gap = (gap * 3 / 2).min(Duration::from_secs(5));
            let mut still_open = Vec::new();
            for ids in open.chunks(ACTIONS_PER_CALL) {
                let mut call = Call::new(Method::Get, "/actions");
                for id in ids {
                    call = call.query("id", id);
                }
                let mut body = self.call(&call).await?;
                let actions: Vec<Action> = parse(take(&mut body, "actions"), "/actions")?;
                for id in ids {
                    let action = actions.iter().find(|action| action.id == *id).ok_or_else(|| {
                        Failure::new(Kind::Failed, format!("hetzner no longer knows the action {id}"))
                            .hint("run the same command again: it looks at what is there")
                    })?;
                    if !self.is_over(action)? {
                        still_open.push(*id);
                    }
                }
            }
            open = still_open;
        }
        Ok(())
    }

    fn is_over(self, action: &Action) -> Result<bool, Failure> {
        match (action.status.as_str(), &action.error) {
            ("running", _) => Ok(false),
            ("success", _) => Ok(true),
            (_, error) => {
                let why = error.as_ref().map_or_else(String::new, |e| format!("{} ({})", e.message, e.code));
                Err(Failure::new(Kind::Failed, format!("hetzner could not carry out `{}`", action.command))
                    .because(why)
                    .hint("run the same command again; if it fails again, look at the project in the Hetzner Console"))
            }
        }
    }

    async fn call(self, call: &Call) -> Result<Value, Denied> {
        let reply = self.doors.http.send(&API, call, self.report).await?;
        if (200..300).contains(&reply.status) {
            return Ok(reply.body);
        }
        let error = &reply.body["error"];
        let code = error["code"].as_str().unwrap_or_default();
        let said = error["message"].as_str().unwrap_or("no reason given");
        Err(Denied { code: code.to_owned(), failure: denied(reply.status, code, said, error, call) })
    }
}

/// What a refusal means for the user.
fn denied(status: u16, code: &str, said: &str, error: &Value, call: &Call) -> Failure {
    let what = match call.method {
        Method::Get => "look at",
        Method::Post => "create or change",
        Method::Put | Method::Patch => "change",
        Method::Delete => "delete",
    };
    let message = format!("hetzner refused to {what} {}", call.path.trim_start_matches('/'));
    let fields = error["details"]["fields"].as_array().into_iter().flatten();
    let fields: Vec<String> = fields.filter_map(|field| field["name"].as_str().map(str::to_owned)).collect();
    let said = match fields.is_empty() {
        true => format!("{said} ({code})"),
        false => format!("{said} ({code}: {})", fields.join(", ")),
    };
    match (status, code) {
        (401 | 403, "token_readonly") => {
            Failure::new(Kind::Human, "the Hetzner token may only read").because(said).hint(API.make_token)
        }
        (401, _) => Failure::new(Kind::Human, "Hetzner does not accept the token")
            .because(said)
            .hint(format!("was it deleted, or is it from another provider? {}", API.make_token)),
        (403, "resource_limit_exceeded") => Failure::new(Kind::Human, message).because(said).hint(
            "your project's limit is reached: ask for more at https://console.hetzner.com under Limits, or delete \
             something; then run the same command again",
        ),
        (403, _) => Failure::new(Kind::Human, message).because(said).hint(API.make_token),
        (409, "uniqueness_error") => Failure::new(Kind::Conflict, message)
            .because(said)
            .hint("something of this name exists in the project and is not Landfall's: rename it, or the playbook"),
        (423, "protected") => Failure::new(Kind::Human, message)
            .because(said)
            .hint("it is protected: lift the protection in the Hetzner Console if you mean it"),
        (412 | 422, "resource_unavailable" | "placement_error" | "no_space_left_in_location") => {
            Failure::new(Kind::Failed, message)
                .because(said)
                .hint("it is sold out for now: name other sizes or another location in the playbook")
        }
        (410, _) => Failure::new(Kind::Failed, message).because(said).hint("install a newer landfall"),
        _ => Failure::new(Kind::Failed, message).because(said),
    }
}

/// Whose project the token opens, and whether it may write. An empty order tells the latter: one token is refused as
/// read-only, the other because the order is empty.
pub(super) async fn check(api: Hcloud<'_>) -> Result<Account, Failure> {
    let servers: Vec<Value> = api.list("/servers", "servers", &[]).await?;
    let lacks = match api.post("/ssh_keys", Some(serde_json::json!({}))).await {
        Err(denied) if denied.code == "token_readonly" => vec!["Read & Write".to_owned()],
        _ => vec![],
    };
    Ok(Account { whose: format!("a project with {}", servers_in_words(servers.len())), lacks })
}

fn servers_in_words(servers: usize) -> String {
    if servers == 1 { "1 server".to_owned() } else { format!("{servers} servers") }
}

fn parse<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|e| {
        Failure::new(Kind::Failed, format!("hetzner's answer about {} is not understood", what.trim_start_matches('/')))
            .because(e)
            .hint("the API may have changed: install a newer landfall")
    })
}
