//! Cloudflare's API: calls, pages, error codes. Facts are from the official specification and the behaviour of the
//! official Python client.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::doors::Doors;
use crate::doors::http::{Api, Call, LimitReset, MOST_PAGES, Method, take, too_many_pages};
use crate::model::event::Report;
use crate::model::failure::{Failure, Kind};
use crate::providers::Account;

/// Where the API is, and where tokens are made.
pub(super) const API: Api = Api {
    name: "cloudflare",
    base: "https://api.cloudflare.com/client/v4",
    token: "cloudflare-token",
    make_token: "make one at https://dash.cloudflare.com/profile/api-tokens with the rights Zone: Read, DNS: Edit, \
                 Zone Settings: Edit, and SSL and Certificates: Edit, for the zone; for backups at R2 also Workers R2 \
                 Storage: Edit and Account Settings: Read, for the account",
    limit_reset: LimitReset::Unsaid,
};

/// Records of a page; the API takes up to five million, other lists at most fifty.
const RECORDS_PER_PAGE: u32 = 1000;
const PER_PAGE: u32 = 50;

/// The API as one run uses it.
#[derive(Clone, Copy)]
pub(super) struct Cf<'a> {
    doors: &'a Doors,
    report: &'a Report,
}

#[derive(Default, Deserialize)]
struct PageInfo {
    total_pages: Option<u32>,
    total_count: Option<u32>,
}

impl<'a> Cf<'a> {
    /// The API behind `doors`.
    pub(super) fn new(doors: &'a Doors, report: &'a Report) -> Cf<'a> {
        Cf { doors, report }
    }

    /// How long to wait before the first look at something that takes its time.
    pub(super) fn first_gap(self) -> std::time::Duration {
        self.doors.http.pace().first
    }

    /// Every entry of the list at `path`, page after page.
    pub(super) async fn list<T: DeserializeOwned>(
        self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<Vec<T>, Failure> {
        let per_page = if path.ends_with("/dns_records") { RECORDS_PER_PAGE } else { PER_PAGE };
        let mut entries = Vec::new();
        for page in 1.. {
            if i64::from(page) > MOST_PAGES {
                return Err(too_many_pages("cloudflare", path));
            }
            let mut call = Call::new(Method::Get, path).query("page", page).query("per_page", per_page);
            call.query.extend(query.iter().cloned());
            let mut body = self.send(&call).await?;
            let info: PageInfo = serde_json::from_value(take(&mut body, "result_info")).unwrap_or_default();
            let batch: Vec<T> = parse(take(&mut body, "result"), path)?;
            let last = info.total_pages.or(info.total_count.map(|count| count.div_ceil(per_page))).unwrap_or(page);
            entries.extend(batch);
            if page >= last {
                break;
            }
        }
        Ok(entries)
    }

    /// What is at `path`, whole.
    pub(super) async fn get<T: DeserializeOwned>(
        self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<T, Failure> {
        let mut call = Call::new(Method::Get, path);
        call.query.extend(query.iter().cloned());
        parse(take(&mut self.send(&call).await?, "result"), path)
    }

    /// Is there something at `path`?
    pub(super) async fn is_there(self, path: &str) -> Result<bool, Failure> {
        let reply = self.doors.http.send(&API, &Call::new(Method::Get, path), self.report).await?;
        match reply.status {
            200..300 => Ok(true),
            404 => Ok(false),
            status => Err(denied(status, &reply.body, Method::Get, path)),
        }
    }

    /// Changes or makes something. Gives its result.
    pub(super) async fn act(self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let mut call = Call::new(method, path);
        call.body = body;
        Ok(take(&mut self.send(&call).await?, "result"))
    }

    /// Deletes what is at `path`; what is already gone is fine.
    pub(super) async fn delete(self, path: &str) -> Result<(), Failure> {
        let reply = self.doors.http.send(&API, &Call::new(Method::Delete, path), self.report).await?;
        match reply.status {
            200..300 | 404 => Ok(()),
            status => Err(denied(status, &reply.body, Method::Delete, path)),
        }
    }

    async fn send(self, call: &Call) -> Result<Value, Failure> {
        let reply = self.doors.http.send(&API, call, self.report).await?;
        match reply.status {
            200..300 => Ok(reply.body),
            status => Err(denied(status, &reply.body, call.method, &call.path)),
        }
    }
}

/// Which zones the token opens, and which rights it lacks for the first of them.
pub(super) async fn check(api: Cf<'_>) -> Result<Account, Failure> {
    // A token that belongs to an account is unknown there, and judged by what it opens.
    let verified: Value = match api.get("/user/tokens/verify", &[]).await {
        Ok(verified) => verified,
        Err(failure) => match api.list::<Value>("/zones", &[]).await {
            Ok(zones) if !zones.is_empty() => serde_json::json!({ "status": "active" }),
            _ => return Err(failure),
        },
    };
    if verified["status"] != "active" {
        let status = verified["status"].as_str().unwrap_or("not active").to_owned();
        return Err(Failure::new(Kind::Human, format!("the Cloudflare token is {status}")).hint(API.make_token));
    }
    let zones: Vec<Value> = match api.list("/zones", &[]).await {
        Err(failure) if failure.kind == Kind::Human => {
            return Ok(Account { whose: "no zone at all".to_owned(), lacks: vec!["Zone, Zone, Read".to_owned()] });
        }
        other => other?,
    };
    let mut lacks = Vec::new();
    if let Some(id) = zones.first().and_then(|zone| zone["id"].as_str()) {
        for path in [format!("/zones/{id}/dns_records"), format!("/zones/{id}/settings"), "/certificates".to_owned()] {
            let mut call = Call::new(Method::Get, &path);
            if path == "/certificates" {
                call = call.query("zone_id", id);
            }
            match api.send(&call).await {
                Err(failure) if failure.kind == Kind::Human => lacks.push(right_for(&path, Method::Get).to_owned()),
                other => drop(other?),
            }
        }
    }
    let names: Vec<&str> = zones.iter().filter_map(|zone| zone["name"].as_str()).take(5).collect();
    let whose = if names.is_empty() {
        "an account without zones".to_owned()
    } else {
        format!("the zones {}", names.join(", "))
    };
    Ok(Account { whose, lacks })
}

fn parse<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|e| {
        Failure::new(Kind::Failed, format!("cloudflare's answer to {path} is not understood"))
            .because(e)
            .hint("the API may have changed: look for a newer landfall")
    })
}

/// The right a token needs for `path`, as the dashboard calls it.
fn right_for(path: &str, method: Method) -> &'static str {
    match path {
        path if path.contains("/dns_records") => "Zone, DNS, Edit",
        path if path.contains("/dnssec") => "Zone, DNS, Edit",
        path if path.contains("/settings") => "Zone, Zone Settings, Edit",
        path if path.contains("/r2/") => "Account, Workers R2 Storage, Edit",
        path if path.starts_with("/certificates") => "Zone, SSL and Certificates, Edit",
        "/zones" if method == Method::Post => "Account, Zone, Edit (for all zones of the account)",
        "/accounts" => "Account, Account Settings, Read",
        _ => "Zone, Zone, Read",
    }
}

/// What a refusal means for the user. The true cause often stands in the error's chain.
fn denied(status: u16, body: &Value, method: Method, path: &str) -> Failure {
    let what = match method {
        Method::Get => "look at",
        Method::Post => "create or change",
        Method::Put | Method::Patch => "change",
        Method::Delete => "delete",
    };
    let said = |error: &Value| {
        let message = error["message"].as_str().unwrap_or_default();
        format!("{message} ({})", error["code"])
    };
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    let chain = errors.iter().flat_map(|error| error["error_chain"].as_array().into_iter().flatten());
    let texts: Vec<String> = errors.iter().chain(chain).map(said).collect();
    let codes: Vec<i64> = errors.iter().filter_map(|error| error["code"].as_i64()).collect();
    let texts = if texts.is_empty() { format!("HTTP status {status}") } else { texts.join("; ") };
    let message = format!("cloudflare refused to {what} {}", path.trim_start_matches('/'));
    let is_taken = |code: &i64| matches!(code, 81053 | 81054 | 81057 | 81058);
    match status {
        // An invalid token is told as 400 or 401 with one of these codes, a missing right as 403 or 10000.
        // 9109 says three things, and only its words tell which.
        _ if codes.contains(&9109) && texts.contains("from location") => Failure::new(Kind::Human, message)
            .because(texts)
            .hint("the token is only valid from other addresses: see its filter at https://dash.cloudflare.com/profile/api-tokens"),
        _ if codes.contains(&9109) && texts.contains("Unauthorized") => lacks_right(texts, message, path, method),
        _ if codes.iter().any(|code| matches!(code, 1000 | 6003 | 6111 | 9106 | 9109)) => {
            Failure::new(Kind::Human, "Cloudflare does not accept the token").because(texts).hint(API.make_token)
        }
        _ if codes.contains(&10042) => Failure::new(Kind::Human, message)
            .because(texts)
            .hint("R2 is not switched on for the account: enable it at https://dash.cloudflare.com, under R2, then run the same command again"),
        _ if codes.contains(&1061) => Failure::new(Kind::Human, message)
            .because(texts)
            .hint("another account holds the zone, or this one under another spelling: use that account's token, or remove the zone there"),
        _ if codes.contains(&1116) => Failure::new(Kind::Human, message)
            .because(texts)
            .hint("a zone is a whole domain such as acme.dev: give that as `zone`, and the names below it as records"),
        401 | 403 => lacks_right(texts, message, path, method),
        _ if codes.contains(&10000) => lacks_right(texts, message, path, method),
        _ if codes.iter().any(is_taken) => Failure::new(Kind::Conflict, message)
            .because(texts)
            .hint("a record of that name appeared while this run was under way: look at `landfall plan`"),
        400..=499 => Failure::new(Kind::Failed, message)
            .because(texts)
            .hint("the same request would be refused again: change what the message names, then run the same command again"),
        _ => Failure::new(Kind::Failed, message).because(texts).hint("run the same command again"),
    }
}

fn lacks_right(texts: String, message: String, path: &str, method: Method) -> Failure {
    Failure::new(Kind::Human, message).because(texts).hint(format!(
        "the token lacks the right \"{}\": add it at https://dash.cloudflare.com/profile/api-tokens",
        right_for(path, method)
    ))
}
