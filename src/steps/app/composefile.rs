//! Judges a compose file before it is sent: nothing in it may be reachable past the proxy, and
//! everything it names must be there.

use serde::Deserialize;
use serde_json::Value;

use crate::model::problem::Problem;

#[derive(Deserialize)]
struct ComposeFile {
    services: Option<serde_json::Map<String, Value>>,
    include: Option<Value>,
}

/// Checks `text`; gives the service the proxy talks to: `wanted`, or the only one there is.
///
/// The chosen service's own ports are replaced by the step's, where the step `has_port`.
/// The problem's place is for the caller to fill in.
pub(super) fn check(text: &str, wanted: Option<&str>, has_port: bool) -> Result<String, Problem> {
    let problem = |message: String| Problem::new(0..0, message);
    let file: ComposeFile = serde_saphyr::from_str(text).map_err(|e| {
        let first = e.to_string().lines().next().unwrap_or_default().to_owned();
        problem(format!("not a compose file: {first}"))
    })?;
    if file.include.is_some() {
        return Err(problem("it includes other files".into()).hint("put everything into one file: only it is sent"));
    }
    let services = file.services.unwrap_or_default();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    let service = match (wanted, &names[..]) {
        (Some(name), _) if names.contains(&name) => name,
        (Some(name), _) => {
            return Err(problem(format!("it has no service `{name}`"))
                .expected(format!("one of `{}`", names.join("`, `")))
                .did_you_mean(name, names));
        }
        (None, [only]) => only,
        (None, []) => return Err(problem("it has no services".into())),
        (None, many) => {
            return Err(problem("it has several services".into())
                .hint(format!("say which one the proxy talks to: `service = \"{}\"`", many[0])));
        }
    };
    for (name, spec) in &services {
        for (key, why) in [
            ("build", "the server gets no sources to build from: build the image elsewhere and name it"),
            ("extends", "put everything into one file: only it is sent"),
            ("env_file", "use the step's `env`: files beside the compose file are not sent"),
        ] {
            if spec.get(key).is_some() {
                return Err(problem(format!("service `{name}` has `{key}`")).hint(why));
            }
        }
        if spec.get("network_mode").and_then(Value::as_str) == Some("host") {
            return Err(problem(format!("service `{name}` uses the host's network"))
                .hint("every port it opens would be open to the world: use networks and `port`"));
        }
        let is_replaced = name == service && has_port;
        if !is_replaced && let Some(port) = public_port(spec) {
            return Err(problem(format!("service `{name}` publishes {port} to the world"))
                .expected(format!("\"127.0.0.1:{port}\", or no published port"))
                .hint(
                    "Docker's published ports go past most firewalls; other services of the file reach it by its name",
                ));
        }
    }
    Ok(service.to_owned())
}

/// Every service's name and image, in no order; none where `text` is not a compose file.
pub(super) fn images(text: &str) -> Vec<(String, String)> {
    let services = serde_saphyr::from_str::<ComposeFile>(text).ok().and_then(|file| file.services).unwrap_or_default();
    let image = |(name, spec): (String, Value)| Some((name, spec.get("image")?.as_str()?.to_owned()));
    services.into_iter().filter_map(image).collect()
}

/// The services of a compose file that are always up: those in no profile.
pub(crate) fn services(text: &str) -> Vec<String> {
    let services = serde_saphyr::from_str::<ComposeFile>(text).ok().and_then(|file| file.services).unwrap_or_default();
    services.into_iter().filter(|(_, spec)| spec.get("profiles").is_none()).map(|(name, _)| name).collect()
}

/// Every service's name and what is said of it, in order of name.
pub(crate) fn all(text: &str) -> Vec<(String, Value)> {
    let services = serde_saphyr::from_str::<ComposeFile>(text).ok().and_then(|file| file.services).unwrap_or_default();
    let mut all: Vec<(String, Value)> = services.into_iter().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The first published port of a service that is not bound to a loopback address.
fn public_port(service: &Value) -> Option<String> {
    service.get("ports")?.as_array()?.iter().find_map(|port| match port {
        Value::String(text) => {
            let loopback = text.starts_with("127.") || text.starts_with("[::1]:") || text.starts_with("localhost:");
            (!loopback).then(|| text.clone())
        }
        Value::Object(long) => {
            let loopback =
                long.get("host_ip").and_then(Value::as_str).is_some_and(|ip| ip.starts_with("127.") || ip == "::1");
            (!loopback).then(|| long.get("target").map(ToString::to_string).unwrap_or_default())
        }
        other => Some(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, wanted: Option<&str>) -> String {
        check(text, wanted, true).unwrap_err().message
    }

    #[test]
    fn the_only_service_is_chosen_and_others_must_be_named() {
        let two = "services:\n  web: {image: a}\n  db: {image: b}\n";
        assert_eq!(check("services:\n  web: {image: a}\n", None, true).unwrap(), "web");
        assert_eq!(check(two, Some("db"), true).unwrap(), "db");
        assert_eq!(problem(two, None), "it has several services");
        assert_eq!(check(two, Some("wbe"), true).unwrap_err().hint.as_deref(), Some("did you mean `web`?"));
    }

    #[test]
    fn nothing_may_be_published_to_the_world() {
        for port in ["\"5432:5432\"", "5432", "\"0.0.0.0:5432:5432\"", "{target: 5432, published: 5432}"] {
            let text = format!("services:\n  web: {{image: a}}\n  db:\n    image: b\n    ports: [{port}]\n");
            assert!(problem(&text, Some("web")).contains("to the world"), "{port}");
        }
        let safe = "services:\n  web: {image: a, ports: ['80:80']}\n  db: {image: b, ports: ['127.0.0.1:5432:5432']}\n";
        assert_eq!(check(safe, Some("web"), true).unwrap(), "web");
        assert!(check(safe, Some("web"), false).is_err(), "without a port of the step, its own count");
    }

    #[test]
    fn what_cannot_work_on_the_server_is_refused_here() {
        assert!(problem("services:\n  web: {build: .}\n", None).contains("`build`"));
        assert!(problem("services:\n  web: {image: a, network_mode: host}\n", None).contains("host's network"));
        assert!(problem("include: [x.yaml]\nservices:\n  web: {image: a}\n", None).contains("includes"));
        assert!(problem("services: [a", None).contains("not a compose file"));
    }
}
