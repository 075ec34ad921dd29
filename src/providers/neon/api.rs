//! Neon's API: calls, operations and what its refusals mean. Facts are from the official specification.

use std::time::Duration;

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
    name: "neon",
    base: "https://console.neon.tech/api/v2",
    token: "neon-token",
    make_token: "make one at https://console.neon.tech/app/settings/api-keys; for a personal key, name the \
                 `organization` in the playbook",
    limit_reset: LimitReset::Unsaid,
};

/// Projects of a page.
const PER_PAGE: usize = 100;
/// How long operations may take; the next run looks again.
const DEADLINE: Duration = Duration::from_secs(300);

/// The API as one run uses it.
#[derive(Clone, Copy)]
pub(super) struct NeonApi<'a> {
    pub doors: &'a Doors,
    report: &'a Report,
}

impl<'a> NeonApi<'a> {
    /// The API behind `doors`.
    pub(super) fn new(doors: &'a Doors, report: &'a Report) -> NeonApi<'a> {
        NeonApi { doors, report }
    }

    /// Every project whose name contains `search`, page after page. The last page may carry a cursor, too: it is
    /// known by its length.
    pub(super) async fn projects<T: DeserializeOwned>(
        self,
        search: &str,
        organization: Option<&str>,
    ) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        let mut pages = 0;
        loop {
            let mut call = Call::new(Method::Get, "/projects").query("limit", PER_PAGE).query("search", search);
            if let Some(organization) = organization {
                call = call.query("org_id", organization);
            }
            if let Some(cursor) = &cursor {
                call = call.query("cursor", cursor);
            }
            let mut body = self.send(&call).await?;
            let page: Vec<T> = parse(take(&mut body, "projects"), "/projects")?;
            let length = page.len();
            all.extend(page);
            cursor = body["pagination"]["cursor"].as_str().map(str::to_owned);
            if length < PER_PAGE || cursor.is_none() {
                return Ok(all);
            }
            pages += 1;
            if pages > MOST_PAGES {
                return Err(too_many_pages("neon", "/projects"));
            }
        }
    }

    /// The organisations the key sees; none where it may not ask.
    pub(super) async fn organizations(self) -> Result<Vec<String>, Failure> {
        let call = Call::new(Method::Get, "/users/me/organizations");
        let reply = self.doors.http.send(&API, &call, self.report).await?;
        match reply.status {
            200..300 => {
                let list = reply.body["organizations"].as_array().cloned().unwrap_or_default();
                Ok(list.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect())
            }
            401 => Err(denied(401, &reply.body, &call)),
            _ => Ok(vec![]),
        }
    }

    /// What is at `path`.
    pub(super) async fn get(self, path: &str) -> Result<Value, Failure> {
        self.send(&Call::new(Method::Get, path)).await
    }

    /// Makes or changes something, and waits until that is done. What another operation holds is waited for: such a
    /// refusal says that nothing was done.
    pub(super) async fn act(self, method: Method, path: &str, body: Value) -> Result<Value, Failure> {
        let call = Call::new(method, path).body(body);
        let begun = Instant::now();
        let mut gap = self.doors.http.pace().first / 2;
        let answer = loop {
            let reply = self.doors.http.send(&API, &call, self.report).await?;
            match reply.status {
                200..300 => break reply.body,
                423 if begun.elapsed() < DEADLINE => {
                    self.report.tell(Progress::Waiting("neon to finish what it is doing".to_owned()));
                    sleep(gap).await;
                    gap = (gap * 2).min(Duration::from_secs(5));
                }
                status => return Err(denied(status, &reply.body, &call)),
            }
        };
        self.settle(&answer).await?;
        Ok(answer)
    }

    /// Deletes what is at `path`; what is already gone is fine.
    pub(super) async fn delete(self, path: &str) -> Result<(), Failure> {
        let call = Call::new(Method::Delete, path);
        let begun = Instant::now();
        let mut gap = self.doors.http.pace().first / 2;
        loop {
            let reply = self.doors.http.send(&API, &call, self.report).await?;
            match reply.status {
                200..300 | 404 => return Ok(()),
                423 if begun.elapsed() < DEADLINE => {
                    sleep(gap).await;
                    gap = (gap * 2).min(Duration::from_secs(5));
                }
                status => return Err(denied(status, &reply.body, &call)),
            }
        }
    }

    /// Waits for the operations in an answer.
    async fn settle(self, answer: &Value) -> Result<(), Failure> {
        let begun = Instant::now();
        for operation in answer["operations"].as_array().into_iter().flatten() {
            let (Some(project), Some(id)) = (operation["project_id"].as_str(), operation["id"].as_str()) else {
                continue;
            };
            let mut gap = self.doors.http.pace().first / 2;
            loop {
                let body = self.get(&format!("/projects/{project}/operations/{id}")).await?;
                let action = body["operation"]["action"].as_str().unwrap_or_default();
                match body["operation"]["status"].as_str() {
                    Some("finished" | "skipped") => break,
                    Some(status @ ("failed" | "cancelled")) => {
                        let why = body["operation"]["error"].as_str().unwrap_or(status).to_owned();
                        return Err(Failure::new(Kind::Failed, format!("neon could not carry out `{action}`"))
                            .because(why)
                            .hint("run the same command again; if it fails again, look at https://console.neon.tech"));
                    }
                    _ if begun.elapsed() > DEADLINE => {
                        return Err(Failure::new(
                            Kind::Failed,
                            format!("neon has not finished `{action}` in five minutes"),
                        )
                        .hint("run the same command again later: it looks at what is there"));
                    }
                    _ => sleep(gap).await,
                }
                gap = (gap * 3 / 2).min(Duration::from_secs(5));
            }
        }
        Ok(())
    }

    async fn send(self, call: &Call) -> Result<Value, Failure> {
        let reply = self.doors.http.send(&API, call, self.report).await?;
        match reply.status {
            200..300 => Ok(reply.body),
            status => Err(denied(status, &reply.body, call)),
        }
    }
}

/// Whose key it is.
pub(super) async fn check(api: NeonApi<'_>) -> Result<Account, Failure> {
    let body = api.get("/users/me/organizations").await?;
    let organizations = body["organizations"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = organizations.iter().filter_map(|organization| organization["id"].as_str()).collect();
    Ok(Account { whose: format!("the organisations {}", names.join(", ")), lacks: vec![] })
}

/// Reads a part of an answer.
pub(super) fn parse<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|e| {
        Failure::new(Kind::Failed, format!("neon's answer to {path} is not understood"))
            .because(e)
            .hint("the API may have changed: look for a newer landfall")
    })
}

fn denied(status: u16, body: &Value, call: &Call) -> Failure {
    let what = match call.method {
        Method::Get => "look at",
        Method::Post => "create or change",
        Method::Put | Method::Patch => "change",
        Method::Delete => "delete",
    };
    let said = body["message"].as_str().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    let message = format!("neon refused to {what} {}", call.path.trim_start_matches('/'));
    match status {
        401 => Failure::new(Kind::Human, "Neon does not accept the token").because(said).hint(API.make_token),
        403 => {
            Failure::new(Kind::Human, message).because(said).hint(format!("the key lacks a right: {}", API.make_token))
        }
        400 if said.contains("org_id is required") => Failure::new(Kind::Human, message)
            .because(said)
            .hint("set `organization` in the step `database` to the organisation's id, which begins with `org-`"),
        _ if said.contains("limit") => Failure::new(Kind::Human, message).because(said).hint(
            "your plan's limit is reached: delete a project or choose another plan at https://console.neon.tech; then \
             run the same command again",
        ),
        _ => Failure::new(Kind::Failed, message).because(said).hint("run the same command again"),
    }
}
