//! What a compose file publishes (docs.docker.com/reference/compose-file/services/#ports).

use serde_json::Value;

use super::{ComposeFile, problem};
use crate::model::problem::Problem;

/// One published port.
#[derive(Debug, PartialEq)]
struct Port {
    /// The address it is bound to on the host; none for all of them.
    host_ip: Option<String>,
    /// The port on the host; none where Docker chooses one.
    published: Option<String>,
    /// The port in the container.
    target: String,
    protocol: String,
}

impl Port {
    /// Reads the short and the long form.
    fn read(value: &Value) -> Option<Port> {
        if let Value::Object(long) = value {
            let text = |key: &str| match long.get(key)? {
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            let protocol = text("protocol").unwrap_or_else(|| "tcp".to_owned());
            return Some(Port {
                host_ip: text("host_ip"),
                published: text("published"),
                target: text("target")?,
                protocol,
            });
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        let (outside, target) =
            ports.rsplit_once(':').map_or((None, ports), |(outside, target)| (Some(outside), target));
        let (host_ip, published) = match outside.map(|outside| outside.rsplit_once(':').ok_or(outside)) {
            Some(Ok((ip, published))) => (Some(ip.trim_matches(['[', ']']).to_owned()), Some(published.to_owned())),
            Some(Err(published)) => (None, Some(published.to_owned())),
            None => (None, None),
        };
        Some(Port { host_ip, published, target: target.to_owned(), protocol: protocol.to_owned() })
    }

    fn is_local(&self) -> bool {
        self.host_ip.as_deref().is_some_and(|ip| ip.starts_with("127.") || ip == "::1" || ip == "localhost")
    }
}

impl ComposeFile {
    /// The ports of the service `chosen` that stay beside the one the proxy talks to, which is `port` in its container.
    /// What would be open to the world must be open in the firewall on purpose: `opens` tells that of a protocol and a
    /// port.
    pub(in crate::steps::app) fn ports_to_keep(
        &self,
        chosen: &str,
        port: Option<u16>,
        opens: &dyn Fn(&str, u16) -> bool,
    ) -> Result<Vec<Value>, Problem> {
        let mut kept = Vec::new();
        for (name, service) in &self.services {
            for value in service.get("ports").and_then(Value::as_array).into_iter().flatten() {
                let Some(read) = Port::read(value) else {
                    return Err(problem(format!("service `{name}`: bad port {value}"))
                        .expected("such as \"127.0.0.1:8080:80\""));
                };
                let is_the_proxys = name == chosen && port.is_some_and(|port| read.target == port.to_string());
                if is_the_proxys && read.protocol == "tcp" {
                    continue;
                }
                let public = read.published.as_deref().and_then(|port| port.parse::<u16>().ok());
                if !read.is_local() && !public.is_some_and(|public| opens(&read.protocol, public)) {
                    let shown = read.published.as_deref().unwrap_or(&read.target);
                    return Err(problem(format!("service `{name}` publishes {shown}/{} to the world", read.protocol))
                        .expected(format!("\"127.0.0.1:{shown}:{}\", or no published port", read.target))
                        .hint(format!(
                            "other services of the file reach it by its name. To open it on purpose, add \"{}/{shown}\" to `open` of \
                             the step `firewall`, beside \"ssh\", \"http\" and \"https\"",
                            read.protocol
                        )));
                }
                if name == chosen {
                    kept.push(value.clone());
                }
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_forms_are_read() {
        let port = |ip: Option<&str>, published: Option<&str>, target: &str, protocol: &str| Port {
            host_ip: ip.map(str::to_owned),
            published: published.map(str::to_owned),
            target: target.to_owned(),
            protocol: protocol.to_owned(),
        };
        for (text, right) in [
            ("\"222:22\"", port(None, Some("222"), "22", "tcp")),
            ("\"127.0.0.1:222:22/udp\"", port(Some("127.0.0.1"), Some("222"), "22", "udp")),
            ("\"[::1]:222:22\"", port(Some("::1"), Some("222"), "22", "tcp")),
            ("3000", port(None, None, "3000", "tcp")),
            (
                "{\"target\": 80, \"published\": \"8080\", \"host_ip\": \"::1\"}",
                port(Some("::1"), Some("8080"), "80", "tcp"),
            ),
        ] {
            assert_eq!(Port::read(&serde_json::from_str(text).unwrap()), Some(right), "{text}");
        }
    }
}
