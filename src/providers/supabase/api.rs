//! Supabase's management API: calls and what its refusals mean. The specification documents no error body; what is
//! relied on is the status, and a `message` where there is one (seen in the official client's tests).

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::doors::Doors;
use crate::doors::http::{Api, Call, LimitReset, Method};
use crate::model::event::Report;
use crate::model::failure::{Failure, Kind};
use crate::providers::Account;

/// Where the API is, and where tokens are made.
pub(super) const API: Api = Api {
    name: "supabase",
    base: "https://api.supabase.com/v1",
    token: "supabase-token",
    make_token: "make one at https://supabase.com/dashboard/account/tokens",
    limit_reset: LimitReset::In("x-ratelimit-reset"),
};

/// The API as one run uses it.
#[derive(Clone, Copy)]
pub(super) struct Supa<'a> {
    pub doors: &'a Doors,
    pub report: &'a Report,
}

impl<'a> Supa<'a> {
    /// The API behind `doors`.
    pub(super) fn new(doors: &'a Doors, report: &'a Report) -> Supa<'a> {
        Supa { doors, report }
    }

    /// How long to wait before the first look at something that takes its time.
    pub(super) fn first_gap(self) -> Duration {
        self.doors.http.pace().first
    }

    /// What is at `path`.
    pub(super) async fn get<T: DeserializeOwned>(self, path: &str) -> Result<T, Failure> {
        self.get_call(Call::new(Method::Get, path)).await
    }

    /// What a look gives.
    pub(super) async fn get_call<T: DeserializeOwned>(self, call: Call) -> Result<T, Failure> {
        let body = self.send(&call).await?;
        serde_json::from_value(body).map_err(|e| {
            Failure::new(Kind::Failed, format!("supabase's answer to {} is not understood", call.path))
                .because(e)
                .hint("the API may have changed: look for a newer landfall")
        })
    }

    /// Makes or changes something. Gives the answer, null where it has no body.
    pub(super) async fn act(self, method: Method, path: &str, body: Value) -> Result<Value, Failure> {
        self.send(&Call::new(method, path).body(body)).await
    }

    /// The project called so, if it is there. Fails where the token may not see it.
    pub(super) async fn project<T: DeserializeOwned>(self, reference: &str) -> Result<Option<T>, Failure> {
        let call = Call::new(Method::Get, format!("/projects/{reference}"));
        let reply = self.doors.http.send(&API, &call, self.report).await?;
        match reply.status {
            404 => Ok(None),
            200..300 => Ok(serde_json::from_value(reply.body).ok()),
            status => Err(denied(status, &reply.body, &call)),
        }
    }

    /// Deletes a project; one that is already gone is fine.
    pub(super) async fn delete_project(self, reference: &str) -> Result<(), Failure> {
        let call = Call::new(Method::Delete, format!("/projects/{reference}"));
        let reply = self.doors.http.send(&API, &call, self.report).await?;
        match reply.status {
            200..300 | 404 => Ok(()),
            status => Err(denied(status, &reply.body, &call)),
        }
    }

    pub(super) async fn send(self, call: &Call) -> Result<Value, Failure> {
        let reply = self.doors.http.send(&API, call, self.report).await?;
        match reply.status {
            200..300 => Ok(reply.body),
            status => Err(denied(status, &reply.body, call)),
        }
    }
}

/// Which organisations the token sees.
pub(super) async fn check(api: Supa<'_>) -> Result<Account, Failure> {
    let organizations: Vec<Value> = api.get("/organizations").await?;
    let names: Vec<&str> = organizations.iter().filter_map(|organization| organization["name"].as_str()).collect();
    let whose =
        if names.is_empty() { "no organisation".to_owned() } else { format!("the organisations {}", names.join(", ")) };
    Ok(Account { whose, lacks: vec![] })
}

fn denied(status: u16, body: &Value, call: &Call) -> Failure {
    let what = match call.method {
        Method::Get => "look at",
        Method::Post => "create or change",
        Method::Put | Method::Patch => "change",
        Method::Delete => "delete",
    };
    let said = body["message"].as_str().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    let message = format!("supabase refused to {what} {}", call.path.trim_start_matches('/'));
    match status {
        401 => Failure::new(Kind::Human, "Supabase does not accept the token").because(said).hint(API.make_token),
        403 => Failure::new(Kind::Human, message)
            .because(said)
            .hint(format!("the token lacks a right, or you are no owner of the organisation: {}", API.make_token)),
        _ if said.contains("free project limit") || said.contains("maximum limits") => {
            Failure::new(Kind::Human, "no further free project can be made").because(said).hint(
                "every member may have two active free projects in all organisations together: pause or delete one at \
                 https://supabase.com/dashboard, or choose a paid plan; then run the same command again",
            )
        }
        402 => Failure::new(Kind::Human, message)
            .because(said)
            .hint("choose another plan at https://supabase.com/dashboard, or take the wish out of the playbook"),
        _ if said.contains("paid plan") => Failure::new(Kind::Human, message)
            .because(said)
            .hint("choose another plan at https://supabase.com/dashboard, or take the wish out of the playbook"),
        _ => Failure::new(Kind::Failed, message).because(said).hint("run the same command again"),
    }
}
