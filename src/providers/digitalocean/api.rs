//! DigitalOcean's API: calls, pages, actions and what its refusals mean. Facts are from the official specification.

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
    name: "digitalocean",
    base: "https://api.digitalocean.com/v2",
    token: "digitalocean-token",
    make_token: "make one at https://cloud.digitalocean.com/account/api/tokens with full access, or with the scopes \
                 account, droplet, ssh_key, firewall, block_storage, block_storage_action, reserved_ip, vpc, tag, regions, sizes, \
                 actions and image",
    limit_reset: LimitReset::At("ratelimit-reset"),
};

/// The most entries a page may have.
const PER_PAGE: u32 = 200;
/// An action that takes longer than this is given up on; the next run looks again.
const ACTION_DEADLINE: Duration = Duration::from_secs(600);
/// How long something that another action holds is waited for.
const BUSY_DEADLINE: Duration = Duration::from_secs(120);

/// The API as one run uses it.
#[derive(Clone, Copy)]
pub(super) struct Ocean<'a> {
    pub doors: &'a Doors,
    report: &'a Report,
}

impl<'a> Ocean<'a> {
    /// The API behind `doors`.
    pub(super) fn new(doors: &'a Doors, report: &'a Report) -> Ocean<'a> {
        Ocean { doors, report }
    }

    /// Every entry of the list at `path`, whose entries stand under `key`, page after page. The links in the answers
    /// are whole URLs and are not followed: the token goes nowhere but where it was meant to.
    pub(super) async fn list<T: DeserializeOwned>(
        self,
        path: &str,
        key: &str,
        query: &[(&'static str, String)],
    ) -> Result<Vec<T>, Failure> {
        let mut entries = Vec::new();
        for page in 1.. {
            if page > MOST_PAGES {
                return Err(too_many_pages("digitalocean", path));
            }
            let mut call = Call::new(Method::Get, path).query("page", page).query("per_page", PER_PAGE);
            call.query.extend(query.iter().cloned());
            let mut body = self.send(&call).await?;
            entries.extend(parse::<Vec<T>>(take(&mut body, key), path)?);
            if !body["links"]["pages"]["next"].is_string() {
                break;
            }
        }
        Ok(entries)
    }

    /// The single thing at `path`, which stands under `key`.
    pub(super) async fn get<T: DeserializeOwned>(self, path: &str, key: &str) -> Result<T, Failure> {
        parse(take(&mut self.send(&Call::new(Method::Get, path)).await?, key), path)
    }

    /// Makes or changes something. What another action holds is waited for: such a refusal says that nothing was done.
    pub(super) async fn act(self, method: Method, path: &str, body: Value) -> Result<Value, Failure> {
        let call = Call::new(method, path).body(body);
        let begun = Instant::now();
        let mut gap = self.doors.http.pace().first / 2;
        loop {
            match self.send(&call).await {
                Err(failure) if is_busy(&failure) && begun.elapsed() < BUSY_DEADLINE => {
                    self.report.tell(Progress::Waiting(format!("digitalocean to finish with {path}")));
                    sleep(gap).await;
                    gap = (gap * 2).min(Duration::from_secs(5));
                }
                other => return other,
            }
        }
    }

    /// Deletes what is at `path`; what is already gone is fine. A network whose members are only just going is
    /// waited for.
    pub(super) async fn delete(self, path: &str) -> Result<(), Failure> {
        let call = Call::new(Method::Delete, path);
        let begun = Instant::now();
        let mut gap = self.doors.http.pace().first / 2;
        loop {
            let reply = self.doors.http.send(&API, &call, self.report).await?;
            let failure = match reply.status {
                200..300 | 404 => return Ok(()),
                status => denied(status, &reply.body, &call),
            };
            if !is_busy(&failure) || begun.elapsed() > BUSY_DEADLINE {
                return Err(failure);
            }
            sleep(gap).await;
            gap = (gap * 2).min(Duration::from_secs(5));
        }
    }

    /// Waits before the `round`-th look (from 0, which does not wait): each time twice as long.
    pub(super) async fn pause(self, round: u32) {
        if round > 0 {
            sleep(self.doors.http.pace().first / 2 * 2_u32.pow(round - 1)).await;
        }
    }

    /// Waits for the action in an answer, under `action` or `links.actions`. Fails when it fails; the API gives no
    /// reason.
    pub(super) async fn settle(self, answer: &Value) -> Result<(), Failure> {
        let linked = answer["links"]["actions"].as_array().into_iter().flatten();
        let ids = linked.map(|link| &link["id"]).chain(std::iter::once(&answer["action"]["id"]));
        for id in ids.filter_map(Value::as_i64).collect::<Vec<_>>() {
            let begun = Instant::now();
            let mut gap = self.doors.http.pace().first / 2;
            loop {
                let action: Value = self.get(&format!("/actions/{id}"), "action").await?;
                match action["status"].as_str() {
                    Some("completed") => break,
                    Some("errored") => {
                        let what = action["type"].as_str().unwrap_or_default();
                        return Err(Failure::new(Kind::Failed, format!("digitalocean could not carry out `{what}`"))
                            .hint("run the same command again; if it fails again, look at it in the control panel"));
                    }
                    _ if begun.elapsed() > ACTION_DEADLINE => {
                        return Err(Failure::new(Kind::Failed, "digitalocean has not finished in ten minutes")
                            .hint("look at it in the control panel; then run the same command again"));
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

/// Whose account the token opens, and which lists it may not read. Whether it may write is only told by writing.
pub(super) async fn check(api: Ocean<'_>) -> Result<Account, Failure> {
    let account: Value = api.get("/account", "account").await?;
    let mut lacks = Vec::new();
    for (path, scope) in [
        ("/droplets", "droplet"),
        ("/account/keys", "ssh_key"),
        ("/firewalls", "firewall"),
        ("/volumes", "block_storage"),
        ("/reserved_ips", "reserved_ip"),
        ("/vpcs", "vpc"),
        ("/sizes", "sizes"),
    ] {
        let call = Call::new(Method::Get, path).query("page", 1).query("per_page", 1);
        match api.send(&call).await {
            Err(failure) if failure.kind == Kind::Human => lacks.push(scope.to_owned()),
            other => drop(other?),
        }
    }
    Ok(Account { whose: format!("the account of {}", account["email"].as_str().unwrap_or_default()), lacks })
}

fn parse<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|e| {
        Failure::new(Kind::Failed, format!("digitalocean's answer to {path} is not understood"))
            .because(e)
            .hint("the API may have changed: look for a newer landfall")
    })
}

/// Does another action hold it?
fn is_busy(failure: &Failure) -> bool {
    failure.chain().iter().any(|line| line.contains("pending event") || line.contains("with members"))
}

/// Is this the refusal of a size that is sold out?
pub(super) fn is_sold_out(failure: &Failure) -> bool {
    const WORDS: &[&str] =
        &["not available in", "region is not available", "size is unavailable", "size is not available"];
    failure.chain().iter().any(|line| WORDS.iter().any(|words| line.to_lowercase().contains(words)))
}

fn denied(status: u16, body: &Value, call: &Call) -> Failure {
    let what = match call.method {
        Method::Get => "look at",
        Method::Post => "create or change",
        Method::Put | Method::Patch => "change",
        Method::Delete => "delete",
    };
    let said = body["message"].as_str().or(body["error"].as_str());
    let said = said.map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    let message = format!("digitalocean refused to {what} {}", call.path.trim_start_matches('/'));
    match status {
        401 => Failure::new(Kind::Human, "DigitalOcean does not accept the token")
            .because(said)
            .hint(format!("was it deleted, or is it from another provider? {}", API.make_token)),
        403 if said.contains("member") => Failure::new(Kind::Failed, message).because(said).hint("run the same command again"),
        403 => Failure::new(Kind::Human, message)
            .because(said)
            .hint(format!("the token lacks a scope: {}", API.make_token)),
        _ if said.contains("limit") => Failure::new(Kind::Human, message).because(said).hint(
            "ask for more at https://cloud.digitalocean.com/support, or delete something; then run the same command again",
        ),
        409 => Failure::new(Kind::Conflict, message)
            .because(said)
            .hint("something of that name appeared while this run was under way: look at `landfall plan`"),
        _ => Failure::new(Kind::Failed, message).because(said).hint("run the same command again"),
    }
}
